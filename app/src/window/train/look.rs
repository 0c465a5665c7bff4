//! A look before the start: rows as the model receives them, data sets looked through, and the preflight of the whole run.
//!
//! Each look has a number, which what it tells repeats: what comes from one that was given up is not listened to.

use std::path::PathBuf;
use std::sync::Arc;

use egui::Ui;
use reinpath_training::config::RunConfig;
use reinpath_training::dataset;
use reinpath_training::event::Finding;
use reinpath_training::rollout_record::RolloutRecord;

use super::super::command::CommandSender;
use super::super::state::AppState;

mod check_panel;
mod data_findings;
mod desk;
mod machine_findings;
mod preflight_panel;
mod preview;
mod preview_panel;
mod rehearsal_panel;
mod row_index;
mod update;

pub(super) use self::desk::LookDesk;
pub use self::preview::{CheckSummary, EncoderInput, EncoderPicture, RowPreview, RowView};
pub use self::row_index::RowIndex;
pub(in crate::window) use self::update::{command, event};

/// What this part shows.
#[derive(Debug, Default)]
pub struct LookState {
    /// Of the last preflight, while it goes on and after.
    pub preflight: Preflight,
    /// What the preflight is doing now, or did last, in words.
    pub preflight_at: String,
    /// Answers that the model wrote in the last preflight, a record a question.
    pub rehearsals: Vec<RolloutRecord>,
    pub are_rehearsals_shown: bool,
    pub preview: PreviewState,
    pub check: CheckState,
    /// Number of the last preflight.
    preflight_number: u64,
}

/// Rows of a data set as the model receives them, one at a time.
#[derive(Debug, Default)]
pub struct PreviewState {
    pub is_shown: bool,
    pub is_running: bool,
    pub data: PathBuf,
    /// The row that was read last; it stays while the next one is read.
    pub view: Option<Arc<RowView>>,
    /// Why the last row that was asked for is not shown, as a sentence.
    pub fault: Option<String>,
    number: u64,
}

/// A data set looked through.
#[derive(Debug, Default)]
pub struct CheckState {
    pub is_shown: bool,
    pub is_running: bool,
    pub data: PathBuf,
    /// What stops a run comes first.
    pub findings: Vec<dataset::Finding>,
    /// Once it was looked through to the end.
    pub report: Option<CheckSummary>,
    /// Why it came to no end, as a sentence.
    pub fault: Option<String>,
    number: u64,
}

/// Wishes about it.
#[derive(Clone, Debug, PartialEq)]
pub enum LookCommand {
    /// Rows of a data set as the model gets them; the first ones where none is named.
    Preview {
        data: PathBuf,
        rows: Vec<String>,
    },
    /// The row this many further on in the data set that is shown.
    PreviewNext(i32),
    ClosePreview,
    Check {
        data: PathBuf,
    },
    CloseCheck,
    /// Looks the draft through.
    Preflight,
    ShowRehearsals(bool),
    /// Ends what is being looked at; where nothing is, closes what is shown of an earlier look.
    Stop,
}

/// What a look told.
#[derive(Debug)]
pub struct LookEvent {
    /// That of the look.
    pub number: u64,
    pub news: LookNews,
}

/// What happened to it.
#[derive(Debug)]
pub enum LookNews {
    /// What a preflight does now, in words.
    At(String),
    Finding(Finding),
    /// Answers to a question in a preflight.
    Rehearsal(RolloutRecord),
    /// The preflight has ended; an error is a sentence.
    PreflightEnded(Result<(), String>),
    Row(Arc<RowView>),
    /// The preview has ended; an error is a sentence.
    PreviewEnded(Result<(), String>),
    Checked(dataset::Finding),
    Report(CheckSummary),
    /// The check has ended; an error is a sentence.
    CheckEnded(Result<(), String>),
}

/// What is to be done for it outside the state.
#[derive(Clone, Debug, PartialEq)]
pub enum LookEffect {
    /// Begins a look; one of the same kind that goes on is given up.
    Start {
        number: u64,
        job: Box<LookJob>,
    },
    Stop(LookKind),
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq)]
pub enum LookJob {
    /// The first row where none is named.
    Preview {
        data: PathBuf,
        package: PathBuf,
        row: Option<String>,
    },
    Check {
        data: PathBuf,
        package: PathBuf,
    },
    Preflight {
        config: Box<RunConfig>,
        folder: PathBuf,
        /// Bytes that the assistant's model holds on the run's device.
        model_holds: Option<u64>,
    },
}

/// Of each kind one look goes on at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LookKind {
    Preview,
    Check,
    Preflight,
}

impl LookJob {
    fn kind(&self) -> LookKind {
        match self {
            Self::Preview { .. } => LookKind::Preview,
            Self::Check { .. } => LookKind::Check,
            Self::Preflight { .. } => LookKind::Preflight,
        }
    }
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

/// What is being typed, and what drawing keeps from frame to frame.
#[derive(Default)]
pub(super) struct LookPanel {
    preview: preview_panel::PreviewPanel,
}

impl LookPanel {
    /// Draws it: the preflight in its place, and what else was asked for in windows of its own.
    pub(super) fn ui(&mut self, ui: &mut Ui, state: &AppState, commands: &CommandSender) {
        preflight_panel::ui(ui, state, commands);
        let look = &state.train.look;
        if look.are_rehearsals_shown {
            rehearsal_panel::ui(ui, &look.rehearsals, commands);
        }
        if look.check.is_shown {
            check_panel::ui(ui, &look.check, commands);
        }
        if look.preview.is_shown {
            self.preview.ui(ui, &look.preview, commands);
        }
    }
}
