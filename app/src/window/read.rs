//! The reading mode beside slides and questions, in five parts, each with its state, wishes, news, threads (a desk) and panel in files of
//! its own: `navigate` (where one looks), `views` (several slides), `colour` (how they look), `annotate` (what is drawn and measured on
//! them), `survey` (tissue and patches by rule). They meet in [`ReadState`], and send each other commands.

use std::path::PathBuf;

use egui::Ui;

use super::command::{CommandSender, Named};
use super::state::AppState;
use super::update::Effect;
use super::widgets::toggle;
use super::workers::{EventSender, Workers};
use crate::places::Places;
use crate::viewer::tile_cache::SlideKey;

pub mod annotate;
pub mod colour;
pub mod navigate;
pub mod survey;
pub mod views;

/// What the reading mode shows, as plain data.
#[derive(Debug, Default)]
pub struct ReadState {
    pub places: ReadPlaces,
    pub side: Side,
    pub navigate: navigate::NavigateState,
    pub views: views::ViewsState,
    pub colour: colour::ColourState,
    pub annotate: annotate::AnnotateState,
    pub survey: survey::SurveyState,
}

/// What the right side shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    #[default]
    Ask,
    Annotations,
    Colour,
    Tissue,
    Cases,
}

/// A wish of the user about reading.
#[derive(Clone, Debug, PartialEq)]
pub enum ReadCommand {
    Side(Side),
    Navigate(navigate::NavigateCommand),
    Views(views::ViewsCommand),
    Colour(colour::ColourCommand),
    Annotate(annotate::AnnotateCommand),
    Survey(survey::SurveyCommand),
}

/// Something about reading that happened outside the window thread.
#[derive(Debug)]
pub enum ReadEvent {
    Navigate(navigate::NavigateEvent),
    Views(views::ViewsEvent),
    Colour(colour::ColourEvent),
    Annotate(annotate::AnnotateEvent),
    Survey(survey::SurveyEvent),
}

/// Something about reading to be done outside the state.
#[derive(Clone, Debug, PartialEq)]
pub enum ReadEffect {
    Navigate(navigate::NavigateEffect),
    Views(views::ViewsEffect),
    Colour(colour::ColourEffect),
    Annotate(annotate::AnnotateEffect),
    Survey(survey::SurveyEffect),
}

/// Where the reading mode keeps its things; by default nowhere, as in tests that keep nothing.
#[derive(Clone, Debug, Default)]
pub struct ReadPlaces {
    /// The file of the store; `None`: annotations and cases live as long as the window.
    pub store: Option<PathBuf>,
    /// Folder of the pixels that questions were about; `None`: they are not kept.
    pub patches: Option<PathBuf>,
    /// The user's own glossary; `None`: its changes are not kept.
    pub glossary: Option<PathBuf>,
    /// Folder that exports are offered to be written to.
    pub exports: Option<PathBuf>,
    /// Whether a gamepad is listened to.
    pub has_gamepad: bool,
}

impl ReadPlaces {
    /// The real ones.
    pub(super) fn usual() -> Self {
        let places = Places::find().ok();
        let data = |name: &str| places.as_ref().map(|places| places.data.join(name));
        Self {
            store: data("store.sqlite"),
            patches: data("patches"),
            glossary: places.as_ref().map(|places| places.configuration.join("glossary.toml")),
            exports: data("exports"),
            has_gamepad: true,
        }
    }
}

/// Every command of the reading mode's parts that has a name.
pub fn named() -> impl Iterator<Item = &'static Named> {
    [navigate::NAMED, views::NAMED, colour::NAMED, annotate::NAMED, survey::NAMED].into_iter().flatten()
}

/// Carries out a wish.
pub(super) fn command(state: &mut AppState, wish: ReadCommand) -> Vec<Effect> {
    match wish {
        ReadCommand::Side(side) => {
            state.read.side = side;
            Vec::new()
        }
        ReadCommand::Navigate(wish) => navigate::command(state, wish),
        ReadCommand::Views(wish) => views::command(state, wish),
        ReadCommand::Colour(wish) => colour::command(state, wish),
        ReadCommand::Annotate(wish) => annotate::command(state, wish),
        ReadCommand::Survey(wish) => survey::command(state, wish),
    }
}

/// Takes in what happened.
pub(super) fn event(state: &mut AppState, news: ReadEvent) -> Vec<Effect> {
    match news {
        ReadEvent::Navigate(news) => navigate::event(state, news),
        ReadEvent::Views(news) => views::event(state, news),
        ReadEvent::Colour(news) => colour::event(state, news),
        ReadEvent::Annotate(news) => annotate::event(state, news),
        ReadEvent::Survey(news) => survey::event(state, news),
    }
}

/// A slide was opened; its info is known.
pub(super) fn opened(state: &mut AppState, key: SlideKey) -> Vec<Effect> {
    let mut effects = views::opened(state, key);
    effects.extend(colour::opened(state, key));
    effects.extend(annotate::opened(state, key));
    effects.extend(survey::opened(state, key));
    effects
}

/// A slide was closed, or is about to be opened again.
pub(super) fn closed(state: &mut AppState, key: SlideKey) -> Vec<Effect> {
    let mut effects = views::closed(state, key);
    effects.extend(colour::closed(state, key));
    effects.extend(annotate::closed(state, key));
    effects.extend(survey::closed(state, key));
    navigate::closed(state, key);
    effects
}

/// `state.shown` is another slide, or none.
pub(super) fn shown(state: &mut AppState) {
    views::shown(state);
}

/// What is seen of the slide in view was changed by a wish.
pub(super) fn moved(state: &mut AppState) {
    navigate::moved(state);
    views::moved(state);
}

/// The threads behind the reading mode's parts; dropping them ends what they do.
pub(super) struct ReadDesks {
    navigate: navigate::NavigateDesk,
    views: views::ViewsDesk,
    colour: colour::ColourDesk,
    annotate: annotate::AnnotateDesk,
    survey: survey::SurveyDesk,
}

impl ReadDesks {
    pub(super) fn new(events: &EventSender, places: &ReadPlaces) -> Self {
        Self {
            navigate: navigate::NavigateDesk::new(events.clone(), places),
            views: views::ViewsDesk::new(events.clone(), places),
            colour: colour::ColourDesk::new(events.clone(), places),
            annotate: annotate::AnnotateDesk::new(events.clone(), places),
            survey: survey::SurveyDesk::new(events.clone(), places),
        }
    }

    /// Must not wait; `workers` gives the handles of open slides.
    pub(super) fn carry_out(&mut self, effect: ReadEffect, workers: &Workers) {
        match effect {
            ReadEffect::Navigate(effect) => self.navigate.carry_out(effect, workers),
            ReadEffect::Views(effect) => self.views.carry_out(effect, workers),
            ReadEffect::Colour(effect) => self.colour.carry_out(effect, workers),
            ReadEffect::Annotate(effect) => self.annotate.carry_out(effect, workers),
            ReadEffect::Survey(effect) => self.survey.carry_out(effect, workers),
        }
    }
}

/// What is being typed or drawn, and what is kept from frame to frame to draw fast.
#[derive(Default)]
pub(super) struct ReadPanels {
    pub navigate: navigate::NavigatePanel,
    pub views: views::ViewsPanel,
    pub colour: colour::ColourPanel,
    pub annotate: annotate::AnnotatePanel,
    pub survey: survey::SurveyPanel,
}

impl ReadPanels {
    /// What the right side shows is chosen here.
    pub(super) fn side_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing.x = 2.0;
            for (side, name) in [
                (Side::Ask, "Questions"),
                (Side::Annotations, "Annotations"),
                (Side::Colour, "Colour"),
                (Side::Tissue, "Tissue"),
                (Side::Cases, "Cases"),
            ] {
                if toggle(ui, state.read.side == side, name).clicked() {
                    commands.read(ReadCommand::Side(side));
                }
            }
        });
    }

    /// What lies over the whole window in both modes: the command list, dialogs.
    pub(super) fn over_all(&mut self, ui: &Ui, state: &AppState, commands: &CommandSender) {
        self.navigate.over_all(ui, state, commands);
        self.views.over_all(ui, state, commands);
    }
}
