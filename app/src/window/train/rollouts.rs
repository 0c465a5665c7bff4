//! Answers that a run wrote: those of a step in columns, one question over the whole run, and runs side by side.

use egui::Ui;
use reinpath_training::rollout_record::RolloutRecord;

use super::super::command::CommandSender;
use super::super::state::AppState;
use super::super::update::Effect;
use super::super::workers::EventSender;
use super::TrainPlaces;
use crate::runs::RunKey;
use crate::runs::rollouts::{RolloutStep, RowHistory};

/// What this part shows.
#[derive(Debug, Default)]
pub struct RolloutsState {
    /// Stage and step whose rollouts are shown; `None`: the newest.
    pub step: Option<(String, usize)>,
    /// The records of the step, or why they could not be read, as a sentence; `None` while they are read.
    pub records: Option<Result<Vec<RolloutRecord>, String>>,
    /// Which of them is shown.
    pub question: usize,
    pub history: Option<RowHistory>,
}

/// Wishes about it.
#[derive(Clone, Debug, PartialEq)]
pub enum RolloutsCommand {
    /// The step nearest to this one that has rollouts.
    ShowStep {
        stage: String,
        step: usize,
    },
    ShowNewest,
    Question(usize),
    /// How the answers to a row changed over the run.
    History(String),
}

/// What happened to it.
#[derive(Debug)]
pub enum RolloutsEvent {
    Records { run: RunKey, stage: String, step: usize, records: Result<Vec<RolloutRecord>, String> },
    History { run: RunKey, history: Result<RowHistory, String> },
}

/// What is to be done for it outside the state.
#[derive(Clone, Debug, PartialEq)]
pub enum RolloutsEffect {
    Read { run: RunKey, step: RolloutStep },
    ReadHistory { run: RunKey, steps: Vec<RolloutStep>, row: String },
}

/// Carries out a wish.
pub(in crate::window) fn command(_state: &mut AppState, _wish: RolloutsCommand) -> Vec<Effect> {
    Vec::new()
}

/// Takes in what happened.
pub(in crate::window) fn event(_state: &mut AppState, _news: RolloutsEvent) -> Vec<Effect> {
    Vec::new()
}

/// A run that is followed has told more; called after `state.train.runs.told` has it.
pub(super) fn told(_state: &mut AppState, _run: &RunKey) -> Vec<Effect> {
    Vec::new()
}

/// Another run is in view.
pub(super) fn shown(_state: &mut AppState) -> Vec<Effect> {
    Vec::new()
}

/// The threads behind it.
pub(super) struct RolloutsDesk {
    _events: EventSender,
    _places: TrainPlaces,
}

impl RolloutsDesk {
    pub(super) fn new(events: EventSender, places: TrainPlaces) -> Self {
        Self { _events: events, _places: places }
    }

    pub(super) fn carry_out(&mut self, _effect: RolloutsEffect) {}
}

/// What is being typed, and what drawing keeps from frame to frame.
#[derive(Default)]
pub(super) struct RolloutsPanel {}

impl RolloutsPanel {
    /// Draws it.
    pub(super) fn ui(&mut self, _ui: &mut Ui, _state: &AppState, _commands: &CommandSender) {}

    /// Draws it.
    pub(super) fn compare_ui(&mut self, _ui: &mut Ui, _state: &AppState, _commands: &CommandSender) {}
}
