//! The training mode: what to run on the left, a run in the middle, its rollouts on the right.
//!
//! Six parts, each with its state, its wishes, its news, its threads (a desk) and its panel, in files of its own: `setup` (what to run),
//! `look` (data and preflight, before a start), `runs` (which runs there are, and following them), `chart` (progress, plots, log),
//! `rollouts` (answers, and runs side by side) and `control` (start, stop, alarms, closing). They meet in [`TrainState`], and send
//! each other commands.

use std::path::PathBuf;

use egui::{CentralPanel, Frame, Margin, Panel, Rect, Ui};

use super::command::CommandSender;
use super::state::AppState;
use super::theme;
use super::update::Effect;
use super::workers::EventSender;
use crate::places::{self, Places};

pub mod chart;
pub mod control;
pub mod keys;
pub mod look;
pub mod rollouts;
pub mod runs;
pub mod setup;
mod staged;
mod words;

/// What the training mode shows, as plain data.
#[derive(Debug, Default)]
pub struct TrainState {
    pub places: TrainPlaces,
    pub setup: setup::SetupState,
    pub look: look::LookState,
    pub runs: runs::RunsState,
    pub chart: chart::ChartState,
    pub rollouts: rollouts::RolloutsState,
    pub control: control::ControlState,
}

/// A wish of the user about training.
#[derive(Clone, Debug, PartialEq)]
pub enum TrainCommand {
    Setup(setup::SetupCommand),
    Look(look::LookCommand),
    Runs(runs::RunsCommand),
    Chart(chart::ChartCommand),
    Rollouts(rollouts::RolloutsCommand),
    Control(control::ControlCommand),
}

/// Something about training that happened outside the window thread.
#[derive(Debug)]
pub enum TrainEvent {
    Setup(setup::SetupEvent),
    Look(look::LookEvent),
    Runs(runs::RunsEvent),
    Chart(chart::ChartEvent),
    Rollouts(rollouts::RolloutsEvent),
    Control(control::ControlEvent),
}

/// Something about training to be done outside the state.
#[derive(Clone, Debug, PartialEq)]
pub enum TrainEffect {
    Setup(setup::SetupEffect),
    Look(look::LookEffect),
    Runs(runs::RunsEffect),
    Chart(chart::ChartEffect),
    Rollouts(rollouts::RolloutsEffect),
    Control(control::ControlEffect),
}

/// Where the training mode finds its things; by default nowhere, as in tests that do not train.
#[derive(Clone, Debug, Default)]
pub struct TrainPlaces {
    /// Folder of the runs folder's runs.
    pub runs: Option<PathBuf>,
    /// The program `reinpath-train`, or why it is not there, as a sentence.
    pub program: Option<Result<PathBuf, String>>,
    /// The package that a new run starts from when none is chosen.
    pub demo_package: Option<PathBuf>,
    /// Presets: `*.toml`, each with a first line that says what it is for.
    pub presets: Option<PathBuf>,
    /// The settings that were not started yet are kept here.
    pub draft: Option<PathBuf>,
}

impl TrainPlaces {
    /// The real ones.
    pub(super) fn usual() -> Self {
        let places = Places::find().ok();
        Self {
            runs: places.as_ref().map(|places| places.data.join("runs")),
            program: Some(places::program("reinpath-train").map_err(|error| error.to_string())),
            demo_package: places::demo_package().ok(),
            presets: places::assets().map(|assets| assets.join("presets")),
            draft: places.map(|places| places.configuration.join("training.toml")),
        }
    }
}

/// Carries out a wish.
pub(super) fn command(state: &mut AppState, wish: TrainCommand) -> Vec<Effect> {
    match wish {
        TrainCommand::Setup(wish) => setup::command(state, wish),
        TrainCommand::Look(wish) => look::command(state, wish),
        TrainCommand::Runs(wish) => runs::command(state, wish),
        TrainCommand::Chart(wish) => chart::command(state, wish),
        TrainCommand::Rollouts(wish) => rollouts::command(state, wish),
        TrainCommand::Control(wish) => control::command(state, wish),
    }
}

/// Takes in what happened.
pub(super) fn event(state: &mut AppState, news: TrainEvent) -> Vec<Effect> {
    match news {
        TrainEvent::Setup(news) => setup::event(state, news),
        TrainEvent::Look(news) => look::event(state, news),
        TrainEvent::Runs(news) => runs::event(state, news),
        TrainEvent::Chart(news) => chart::event(state, news),
        TrainEvent::Rollouts(news) => rollouts::event(state, news),
        TrainEvent::Control(news) => control::event(state, news),
    }
}

/// The threads behind the training mode; dropping them ends what they do, but no run.
pub(super) struct TrainDesks {
    setup: setup::SetupDesk,
    look: look::LookDesk,
    runs: runs::RunsDesk,
    chart: chart::ChartDesk,
    rollouts: rollouts::RolloutsDesk,
    control: control::ControlDesk,
}

impl TrainDesks {
    pub(super) fn new(events: &EventSender, places: &TrainPlaces) -> Self {
        Self {
            setup: setup::SetupDesk::new(events.clone(), places.clone()),
            look: look::LookDesk::new(events.clone(), places.clone()),
            runs: runs::RunsDesk::new(events.clone(), places.clone()),
            chart: chart::ChartDesk::new(events.clone(), places.clone()),
            rollouts: rollouts::RolloutsDesk::new(events.clone(), places.clone()),
            control: control::ControlDesk::new(events.clone(), places.clone()),
        }
    }

    pub(super) fn carry_out(&mut self, effect: TrainEffect) {
        match effect {
            TrainEffect::Setup(effect) => self.setup.carry_out(effect),
            TrainEffect::Look(effect) => self.look.carry_out(effect),
            TrainEffect::Runs(effect) => self.runs.carry_out(effect),
            TrainEffect::Chart(effect) => self.chart.carry_out(effect),
            TrainEffect::Rollouts(effect) => self.rollouts.carry_out(effect),
            TrainEffect::Control(effect) => self.control.carry_out(effect),
        }
    }
}

/// What is being typed, and what is kept from frame to frame to draw fast.
#[derive(Default)]
pub(super) struct TrainPanels {
    setup: setup::SetupPanel,
    look: look::LookPanel,
    runs: runs::RunsPanel,
    chart: chart::ChartPanel,
    rollouts: rollouts::RolloutsPanel,
    control: control::ControlPanel,
}

impl TrainPanels {
    /// Draws the mode between the window's top and bottom bars; returns the rectangle in the middle.
    pub(super) fn ui(&mut self, ui: &mut Ui, state: &AppState, commands: &CommandSender) -> Rect {
        let frame = Frame::new().fill(theme::of(ui).panel).inner_margin(Margin::same(8));
        if !state.left_folded {
            let left = Panel::left("training setup").default_size(360.0).size_range(280.0..=560.0);
            left.frame(frame).show(ui, |ui| {
                // First what lies below, as high as it is: Start is always in view.
                let below = Panel::bottom("preflight and start").resizable(false).show_separator_line(false);
                below.frame(Frame::NONE).show(ui, |ui| {
                    self.look.ui(ui, state, commands);
                    self.control.start_ui(ui, state, commands);
                });
                self.setup.ui(ui, state, commands);
            });
        }
        let right = Panel::right("rollouts").default_size(420.0).size_range(300.0..=720.0);
        right.frame(frame).show(ui, |ui| {
            self.control.alarms_ui(ui, state, commands);
            self.rollouts.ui(ui, state, commands);
        });
        let middle = CentralPanel::default().frame(frame).show(ui, |ui| {
            self.runs.ui(ui, state, commands);
            self.control.run_ui(ui, state, commands);
            if state.train.runs.compared.is_empty() {
                self.chart.ui(ui, state, commands);
            } else {
                self.rollouts.compare_ui(ui, state, commands);
            }
        });
        middle.response.rect
    }

    /// What lies over the whole window in both modes.
    pub(super) fn over_all(&mut self, ui: &Ui, state: &AppState, commands: &CommandSender) {
        self.control.closing_ui(ui, state, commands);
    }
}
