//! The runs of this machine, and what those that are looked at have told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use egui::Ui;
use reinpath_training::machine::MachineSample;

use super::super::command::CommandSender;
use super::super::state::AppState;
use super::super::update::Effect;
use super::super::workers::EventSender;
use super::{TrainEffect, TrainPlaces, chart, control, rollouts};
use crate::runs::RunKey;
use crate::runs::told::{ListedRun, RunTold};

/// What this part shows.
#[derive(Debug, Default)]
pub struct RunsState {
    /// The newest first; `None` before they were first looked for.
    pub list: Option<Vec<ListedRun>>,
    pub is_list_shown: bool,
    pub shown: Option<RunKey>,
    /// Runs that are laid beside the shown one.
    pub compared: Vec<RunKey>,
    /// What the shown and the compared runs, and those that this window started, have told.
    pub told: BTreeMap<RunKey, Arc<RunTold>>,
    /// The machine now; `None` where nothing is told.
    pub machine: Option<MachineSample>,
}

/// Wishes about it.
#[derive(Clone, Debug, PartialEq)]
pub enum RunsCommand {
    /// Looks for runs anew.
    Refresh,
    ToggleList,
    Show(RunKey),
    /// Shows the run in a folder that may lie anywhere.
    Open(PathBuf),
    Compare(RunKey, bool),
}

/// What happened to it.
#[derive(Debug)]
pub enum RunsEvent {
    List(Vec<ListedRun>),
    /// What a run has told by now.
    Told(Arc<RunTold>),
    Machine(MachineSample),
}

/// What is to be done for it outside the state.
#[derive(Clone, Debug, PartialEq)]
pub enum RunsEffect {
    ReadList,
    /// Follow exactly these.
    Follow(Vec<RunKey>),
}

impl RunsState {
    /// What the run in view has told.
    pub fn shown_run(&self) -> Option<&Arc<RunTold>> {
        self.told.get(self.shown.as_ref()?)
    }

    /// The shown run and those beside it, the shown one first.
    pub fn laid_out(&self) -> impl Iterator<Item = &Arc<RunTold>> {
        self.shown.iter().chain(&self.compared).filter_map(|key| self.told.get(key))
    }
}

/// Carries out a wish.
pub(in crate::window) fn command(state: &mut AppState, wish: RunsCommand) -> Vec<Effect> {
    let runs = &mut state.train.runs;
    match wish {
        RunsCommand::Refresh => return vec![effect(RunsEffect::ReadList)],
        RunsCommand::ToggleList => {
            runs.is_list_shown = !runs.is_list_shown;
            return Vec::new();
        }
        RunsCommand::Show(key) => {
            runs.compared.retain(|other| *other != key);
            runs.shown = Some(key);
        }
        RunsCommand::Open(folder) => {
            if !state.settings.runs.contains(&folder) {
                state.settings.runs.push(folder.clone());
            }
            runs.shown = Some(RunKey::new(folder));
        }
        RunsCommand::Compare(key, true)
            if runs.shown.as_ref() != Some(&key) && !runs.compared.contains(&key) =>
        {
            runs.compared.push(key);
        }
        RunsCommand::Compare(_, true) => return Vec::new(),
        RunsCommand::Compare(key, false) => runs.compared.retain(|other| *other != key),
    }
    let mut effects = vec![follow(state)];
    effects.extend(chart::shown(state));
    effects.extend(rollouts::shown(state));
    effects.extend(control::shown(state));
    effects
}

/// Takes in what happened.
pub(in crate::window) fn event(state: &mut AppState, news: RunsEvent) -> Vec<Effect> {
    match news {
        RunsEvent::List(list) => state.train.runs.list = Some(list),
        RunsEvent::Machine(sample) => state.train.runs.machine = Some(sample),
        RunsEvent::Told(told) => {
            let key = told.key.clone();
            state.train.runs.told.insert(key.clone(), told);
            let mut effects = chart::told(state, &key);
            effects.extend(rollouts::told(state, &key));
            effects.extend(control::told(state, &key));
            return effects;
        }
    }
    Vec::new()
}

/// Follows the shown run, those beside it and those that this window started.
pub(super) fn follow(state: &AppState) -> Effect {
    let runs = &state.train.runs;
    let mut keys: Vec<RunKey> =
        runs.shown.iter().chain(&runs.compared).chain(&state.train.control.started).cloned().collect();
    keys.sort();
    keys.dedup();
    effect(RunsEffect::Follow(keys))
}

fn effect(effect: RunsEffect) -> Effect {
    Effect::Train(TrainEffect::Runs(effect))
}

/// The threads behind it.
pub(super) struct RunsDesk {
    _events: EventSender,
    _places: TrainPlaces,
}

impl RunsDesk {
    pub(super) fn new(events: EventSender, places: TrainPlaces) -> Self {
        Self { _events: events, _places: places }
    }

    pub(super) fn carry_out(&mut self, _effect: RunsEffect) {}
}

/// What is being typed, and what drawing keeps from frame to frame.
#[derive(Default)]
pub(super) struct RunsPanel {}

impl RunsPanel {
    /// Draws it.
    pub(super) fn ui(&mut self, _ui: &mut Ui, _state: &AppState, _commands: &CommandSender) {}
}
