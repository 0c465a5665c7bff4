//! What to run: package, data, stages and settings, as a form made from the configuration's own schema; presets; the command and the
//! TOML that it stands for.

use std::path::PathBuf;

use egui::Ui;
use reinpath_training::config::RunConfig;
use serde_json::Value;

use super::super::command::CommandSender;
use super::super::state::AppState;
use super::super::update::Effect;
use super::super::workers::EventSender;
use super::TrainPlaces;

/// What this part shows.
#[derive(Debug, Default)]
pub struct SetupState {
    /// The settings as they are edited, in the shape of `RunConfig`; `Null` before the first preset was read. They need not be valid.
    pub draft: Value,
    /// Why the draft is no configuration, as a sentence with the setting's name; `None` where it is one.
    pub fault: Option<String>,
    /// Folder that the run will have; empty: one named after the run and the time, below the runs folder.
    pub folder: Option<PathBuf>,
}

/// Wishes about it.
#[derive(Clone, Debug, PartialEq)]
pub enum SetupCommand {
    /// Takes settings from a preset.
    UsePreset(String),
    /// Takes the settings of a file of TOML or of a run's `config.toml`.
    Load(PathBuf),
    /// Starts from another package, as that of a run.
    ContinueFrom(PathBuf),
    /// Changes one setting, named as in `grpo.max_tokens` or `grpo.data.0.folder`; `Null` takes it away.
    Change(String, Value),
    Undo,
    Redo,
}

/// What happened to it.
#[derive(Debug)]
pub enum SetupEvent {
    /// A configuration was read, or why it could not be, as a sentence.
    Loaded(Result<Value, String>),
}

/// What is to be done for it outside the state.
#[derive(Clone, Debug, PartialEq)]
pub enum SetupEffect {
    ReadPreset(String),
    ReadFile(PathBuf),
    SaveDraft(Value),
}

/// Carries out a wish.
pub(in crate::window) fn command(_state: &mut AppState, _wish: SetupCommand) -> Vec<Effect> {
    Vec::new()
}

/// Takes in what happened.
pub(in crate::window) fn event(_state: &mut AppState, _news: SetupEvent) -> Vec<Effect> {
    Vec::new()
}

/// The configuration that the draft stands for.
///
/// # Errors
/// A sentence that names the setting, where the draft is none.
pub(super) fn config(state: &AppState) -> Result<RunConfig, String> {
    serde_json::from_value(state.train.setup.draft.clone())
        .map_err(|error| format!("The settings are not complete: {error}."))
}

/// The threads behind it.
pub(super) struct SetupDesk {
    _events: EventSender,
    _places: TrainPlaces,
}

impl SetupDesk {
    pub(super) fn new(events: EventSender, places: TrainPlaces) -> Self {
        Self { _events: events, _places: places }
    }

    pub(super) fn carry_out(&mut self, _effect: SetupEffect) {}
}

/// What is being typed, and what drawing keeps from frame to frame.
#[derive(Default)]
pub(super) struct SetupPanel {}

impl SetupPanel {
    /// Draws it.
    pub(super) fn ui(&mut self, _ui: &mut Ui, _state: &AppState, _commands: &CommandSender) {}
}
