//! Exports of reviewed answers: JSON, HTML, PDF, GeoJSON, a table, rows to train on; and the way to the training mode with them.
//!
//! In reading order: state and wishes below, `update` (every change), `desk` (files and dialogs, each in its thread), `panel` (what is
//! drawn). What is to be exported is read by the store's owner, `cases`, and written by the desk.

use std::path::PathBuf;
use std::sync::Arc;

use egui::Key;

use super::super::command::{Command, Named, ctrl_alt, named};
use super::ReviewCommand;
use crate::review::export::Form;
use crate::review::export::teach::Teaching;
use crate::review::{Collection, Selection};

mod desk;
mod panel;
mod update;

pub(in crate::window) use desk::ExportDesk;
pub(in crate::window) use panel::ExportPanel;
pub(super) use update::{command, event};

/// What of it is shown.
#[derive(Debug, Default)]
pub struct ExportState {
    /// What is being written, in words.
    pub running: Option<String>,
    /// What the last export came to, as a sentence.
    pub news: Option<String>,
    /// Whether its window is open.
    pub is_open: bool,
    /// Where it is to be written, as it is typed.
    pub to: PathBuf,
    /// Whether names of slides and of the reviewer are told.
    pub tells_names: bool,
    pub is_picking: bool,
    /// What its window offers to write.
    pub form: Form,
    pub which: Which,
    /// What the store is being read for, and the number that it answers with.
    pending: Option<(u64, Work)>,
}

/// Which answers its window offers to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// The one in view.
    Answer,
    /// All of the open case.
    Case,
    /// All with a verdict, of all cases.
    #[default]
    Reviewed,
}

/// What is made of answers once they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    Write {
        form: Form,
        tells_names: bool,
        to: PathBuf,
    },
    /// Rows and settings in a new folder.
    Teach {
        folder: PathBuf,
        teaching: Teaching,
    },
}

/// Wishes about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportCommand {
    /// Shows its window, or hides it.
    Toggle,
    TellNames(bool),
    To(PathBuf),
    Form(Form),
    Which(Which),
    /// Asks for a path by a dialog.
    Pick(Form),
    Export(Form, Selection),
    /// Writes rows of everything that was reviewed and opens the training mode with them.
    Teach,
    DismissNews,
}

/// What happened to it.
#[derive(Debug)]
pub enum ExportEvent {
    /// What was asked for with this number, or why it cannot be read, as a sentence.
    Collected {
        number: u64,
        what: Result<Box<Collection>, String>,
    },
    Written {
        what: Result<String, String>,
    },
    /// Rows were written into this folder, with the settings of a run beside them; what was written, as a sentence.
    RowsWritten {
        folder: PathBuf,
        news: String,
    },
    /// A dialog was closed.
    Picked {
        form: Form,
        path: Result<Option<PathBuf>, String>,
    },
}

/// What is to be done by threads.
#[derive(Clone, Debug, PartialEq)]
pub enum ExportEffect {
    Pick(Form),
    Write { collection: Gathered, work: Work },
}

/// What was read for an export; equal only to itself, since nobody compares thousands of answers.
#[derive(Clone, Debug)]
pub struct Gathered(pub Arc<Collection>);

impl PartialEq for Gathered {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Its commands with names and keys; not while one types, where AltGr arrives as Ctrl+Alt on some systems.
pub const NAMED: &[Named] = &[
    named("Export reviews…", &[ctrl_alt(Key::E)], false, || {
        Command::Review(ReviewCommand::Export(ExportCommand::Toggle))
    }),
    named("Teach from these reviews", &[ctrl_alt(Key::T)], false, || {
        Command::Review(ReviewCommand::Export(ExportCommand::Teach))
    }),
];
