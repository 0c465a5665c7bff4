//! A look before the start: rows as the model receives them, data sets looked through, and the preflight of the whole run.

use std::path::PathBuf;

use egui::Ui;
use reinpath_training::event::Finding;

use super::super::command::CommandSender;
use super::super::state::AppState;
use super::super::update::Effect;
use super::super::workers::EventSender;
use super::TrainPlaces;

/// What this part shows.
#[derive(Debug, Default)]
pub struct LookState {
    /// Of the last preflight, while it goes on and after.
    pub preflight: Preflight,
}

/// Wishes about it.
#[derive(Clone, Debug, PartialEq)]
pub enum LookCommand {
    /// Rows of a data set as the model gets them; the first ones where none is named.
    Preview {
        data: PathBuf,
        rows: Vec<String>,
    },
    Check {
        data: PathBuf,
    },
    /// Looks the draft through.
    Preflight,
    Stop,
}

/// What happened to it.
#[derive(Debug)]
pub enum LookEvent {
    Finding(Finding),
    /// The preflight has ended; an error is a sentence.
    PreflightEnded(Result<(), String>),
}

/// What is to be done for it outside the state.
#[derive(Clone, Debug, PartialEq)]
pub enum LookEffect {
    Look(Box<crate::runs::trainer::Look>),
    Stop,
}

/// What is known of whether the draft could run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preflight {
    /// The draft that was looked through; what is found counts for no other.
    pub of: Option<serde_json::Value>,
    pub is_running: bool,
    pub findings: Vec<Finding>,
    /// Why it came to no end, as a sentence.
    pub fault: Option<String>,
}

impl Preflight {
    /// Whether this draft was looked through to the end and nothing fatal was found.
    pub fn allows(&self, draft: &serde_json::Value) -> bool {
        self.of.as_ref() == Some(draft)
            && !self.is_running
            && self.fault.is_none()
            && self.findings.iter().all(|finding| !finding.is_fatal)
    }
}

/// Carries out a wish.
pub(in crate::window) fn command(_state: &mut AppState, _wish: LookCommand) -> Vec<Effect> {
    Vec::new()
}

/// Takes in what happened.
pub(in crate::window) fn event(_state: &mut AppState, _news: LookEvent) -> Vec<Effect> {
    Vec::new()
}

/// The threads behind it.
pub(super) struct LookDesk {
    _events: EventSender,
    _places: TrainPlaces,
}

impl LookDesk {
    pub(super) fn new(events: EventSender, places: TrainPlaces) -> Self {
        Self { _events: events, _places: places }
    }

    pub(super) fn carry_out(&mut self, _effect: LookEffect) {}
}

/// What is being typed, and what drawing keeps from frame to frame.
#[derive(Default)]
pub(super) struct LookPanel {}

impl LookPanel {
    /// Draws it.
    pub(super) fn ui(&mut self, _ui: &mut Ui, _state: &AppState, _commands: &CommandSender) {}
}
