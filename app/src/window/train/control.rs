//! Starting, stopping and going on with runs; alarms; using what they make; and what closing the window does.

use std::collections::BTreeMap;
use std::path::PathBuf;

use egui::Ui;

use super::super::command::CommandSender;
use super::super::state::AppState;
use super::super::update::Effect;
use super::super::workers::EventSender;
use super::TrainPlaces;
use crate::runs::RunKey;
use crate::runs::alarm::Alarm;
use crate::runs::launch::{Ended, Launch};

/// What this part shows.
#[derive(Debug, Default)]
pub struct ControlState {
    /// Runs whose process this window started and has not seen end.
    pub started: Vec<RunKey>,
    /// How processes that this window started ended.
    pub ended: BTreeMap<RunKey, Ended>,
    /// Whether the window is to be closed while runs go on, and asks what is to become of them.
    pub closing: Closing,
    /// Alarms of the runs that are followed, by run, the worst first.
    pub alarms: BTreeMap<RunKey, Vec<Alarm>>,
    /// The run whose model is being made ready for the Ask panel.
    pub preparing: Option<RunKey>,
}

/// Wishes about it.
#[derive(Clone, Debug, PartialEq)]
pub enum ControlCommand {
    /// Starts the draft, if the preflight allows it; behind the running runs on the same device where `queued`.
    Start {
        queued: bool,
    },
    /// A checkpoint, then the end.
    Stop(RunKey),
    /// At once, without a checkpoint.
    Kill(RunKey),
    Resume(RunKey),
    /// Asks with the model of a run from now on: its finished package.
    UsePackage(PathBuf),
    /// The same of a checkpoint, from which a package is made first.
    UseCheckpoint {
        run: RunKey,
        checkpoint: PathBuf,
    },
    /// The window is being closed.
    AskToClose,
    CloseAndLeaveRunning,
    CloseAndStop,
    StayOpen,
}

/// What happened to it.
#[derive(Debug)]
pub enum ControlEvent {
    Started(RunKey),
    /// It could not be started, as a sentence.
    NotStarted {
        run: RunKey,
        sentence: String,
    },
    Ended {
        run: RunKey,
        ended: Ended,
    },
    /// A package was made of a checkpoint, or why not, as a sentence.
    Exported {
        run: RunKey,
        package: Result<PathBuf, String>,
    },
}

/// What is to be done for it outside the state.
#[derive(Clone, Debug, PartialEq)]
pub enum ControlEffect {
    Launch(Box<Launch>),
    Resume { run: RunKey, after: Vec<PathBuf> },
    Stop(RunKey),
    Kill(RunKey),
    Export { run: RunKey, checkpoint: PathBuf },
}

/// How far closing the window has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Closing {
    #[default]
    No,
    /// The dialog is open.
    Asking,
    /// The runs were asked to stop, and the window closes once they have.
    Stopping,
    /// It closes now.
    Now,
}

impl ControlState {
    /// Whether closing the window needs an answer first: a run goes on that this window started.
    pub fn must_ask_to_close(&self) -> bool {
        self.closing != Closing::Now && !self.started.is_empty()
    }
}

/// Carries out a wish.
pub(in crate::window) fn command(_state: &mut AppState, _wish: ControlCommand) -> Vec<Effect> {
    Vec::new()
}

/// Takes in what happened.
pub(in crate::window) fn event(_state: &mut AppState, _news: ControlEvent) -> Vec<Effect> {
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
pub(super) struct ControlDesk {
    _events: EventSender,
    _places: TrainPlaces,
}

impl ControlDesk {
    pub(super) fn new(events: EventSender, places: TrainPlaces) -> Self {
        Self { _events: events, _places: places }
    }

    pub(super) fn carry_out(&mut self, _effect: ControlEffect) {}
}

/// What is being typed, and what drawing keeps from frame to frame.
#[derive(Default)]
pub(super) struct ControlPanel {}

impl ControlPanel {
    /// Draws it.
    pub(super) fn start_ui(&mut self, _ui: &mut Ui, _state: &AppState, _commands: &CommandSender) {}

    /// Draws it.
    pub(super) fn alarms_ui(&mut self, _ui: &mut Ui, _state: &AppState, _commands: &CommandSender) {}

    /// Draws it.
    pub(super) fn run_ui(&mut self, _ui: &mut Ui, _state: &AppState, _commands: &CommandSender) {}

    /// Asks what is to become of the runs when the window is closed.
    pub(super) fn closing_ui(&mut self, _ui: &Ui, _state: &AppState, _commands: &CommandSender) {}
}
