//! A run on its way: the stages with their progress, plots of what is measured, the machine's load, the log; and their export.

use std::path::PathBuf;

use egui::Ui;

use super::super::command::CommandSender;
use super::super::state::AppState;
use super::super::update::Effect;
use super::super::workers::EventSender;
use super::TrainPlaces;
use crate::runs::RunKey;
use crate::runs::log::LogPage;

/// What this part shows.
#[derive(Debug, Default)]
pub struct ChartState {
    /// The stage whose figures are shown; `None`: the one at work.
    pub stage: Option<String>,
    pub log: LogPage,
    /// What is searched for in the log.
    pub search: String,
}

/// Wishes about it.
#[derive(Clone, Debug, PartialEq)]
pub enum ChartCommand {
    Stage(Option<String>),
    SearchLog(String),
    /// Writes the figures of the shown run as CSV, or as TensorBoard's event files, into a file or folder that a dialog asks for.
    SaveCsv,
    SaveTensorBoard,
}

/// What happened to it.
#[derive(Debug)]
pub enum ChartEvent {
    Log {
        run: RunKey,
        page: LogPage,
    },
    /// Something was written there, or why not, as a sentence.
    Saved(Result<PathBuf, String>),
}

/// What is to be done for it outside the state.
#[derive(Clone, Debug, PartialEq)]
pub enum ChartEffect {
    ReadLog { run: RunKey, search: String },
    SaveCsv(RunKey),
    SaveTensorBoard(RunKey),
}

/// Carries out a wish.
pub(in crate::window) fn command(_state: &mut AppState, _wish: ChartCommand) -> Vec<Effect> {
    Vec::new()
}

/// Takes in what happened.
pub(in crate::window) fn event(_state: &mut AppState, _news: ChartEvent) -> Vec<Effect> {
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
pub(super) struct ChartDesk {
    _events: EventSender,
    _places: TrainPlaces,
}

impl ChartDesk {
    pub(super) fn new(events: EventSender, places: TrainPlaces) -> Self {
        Self { _events: events, _places: places }
    }

    pub(super) fn carry_out(&mut self, _effect: ChartEffect) {}
}

/// What is being typed, and what drawing keeps from frame to frame.
#[derive(Default)]
pub(super) struct ChartPanel {}

impl ChartPanel {
    /// Draws it.
    pub(super) fn ui(&mut self, _ui: &mut Ui, _state: &AppState, _commands: &CommandSender) {}
}
