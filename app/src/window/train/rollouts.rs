//! Answers that a run wrote: those of a step in columns, one question over the whole run, and runs side by side.
//!
//! The records lie in files, one a step, and are read when they are looked at, in threads (`desk`). What is on screen
//! changes only with its records: a step that was chosen stays, and the newest one is followed at most every two seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use egui::Ui;
use reinpath_training::rollout_record::RolloutRecord;

use super::super::command::CommandSender;
use super::super::picture::Picture;
use super::super::state::AppState;
use crate::runs::RunKey;
use crate::runs::rollouts::{RolloutIndex, RolloutStep, RowHistory};

mod answers;
mod checkpoints;
mod comparison;
mod curves;
mod desk;
mod held_out;
mod history_view;
mod kept;
mod patch_file;
mod question;
mod samples;
mod sort;
mod step_view;
mod update;

pub(super) use self::desk::RolloutsDesk;
pub use self::sort::{Column, Sort};
pub(in crate::window) use self::update::{command, event};
pub(super) use self::update::{shown, told};

/// A newer step than the one on screen is read at most so often.
pub const EVERY: Duration = Duration::from_secs(2);

/// What this part shows.
#[derive(Debug, Default)]
pub struct RolloutsState {
    /// Stage and step whose rollouts are shown; `None`: the newest.
    pub step: Option<(String, usize)>,
    /// The records of the step, or why they could not be read, as a sentence; `None` before the first were read. They stay
    /// until others have come.
    pub records: Option<Result<Vec<RolloutRecord>, String>>,
    /// Which of them is shown.
    pub question: usize,
    pub history: Option<RowHistory>,
    /// The run that all of this is of.
    pub run: Option<RunKey>,
    /// The step that `records` are of.
    pub read: Option<RolloutStep>,
    /// The step whose records are on their way.
    pub reading: Option<RolloutStep>,
    /// Grows with every change of `records`.
    pub version: u64,
    pub sort: Sort,
    /// Numbers of the answers that are shown whole, from 0.
    pub opened: BTreeSet<usize>,
    /// Patches of the shown question by their path in the record, or why one cannot be shown, as a sentence.
    pub pictures: BTreeMap<String, Result<Picture, String>>,
    /// What a wish came to that could not be met, as a sentence.
    pub note: Option<String>,
    /// The row whose answers are followed over the run; `None`: those of one step are shown.
    pub history_of: Option<String>,
    /// Why they could not be read, as a sentence.
    pub history_fault: Option<String>,
    /// Places in the history whose answers are laid side by side.
    pub history_chosen: Vec<usize>,
    /// Steps of the run that the history left out before anything was read.
    history_left_out: usize,
    /// The same question in the runs that are side by side.
    pub same: Same,
    /// When a newer step was last read without being asked for.
    followed_at: Option<Instant>,
    /// Whether a look for a newer step is due.
    is_waiting: bool,
}

/// The newest answers of several runs to one question.
#[derive(Debug, Default)]
pub struct Same {
    pub row: String,
    /// Grows with every change of `samples`.
    pub version: u64,
    pub samples: Vec<(RunKey, Sample)>,
    /// Runs whose rollouts were, or are being, looked through.
    asked: Vec<RunKey>,
}

/// The newest record of a row; `None` where the steps that were looked through have none, an error is a sentence.
pub type Sample = Result<Option<RolloutRecord>, String>;

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
    /// Back to the answers of a step.
    CloseHistory,
    /// Lays the answers at a place of the history beside others, or takes them away.
    HistoryStep(usize, bool),
    SortBy(Column),
    /// Shows an answer whole, or its first line only.
    OpenAnswer(usize, bool),
    /// Looks for newer answers of the runs side by side.
    ReadSame,
}

/// What happened to it.
#[derive(Debug)]
pub enum RolloutsEvent {
    Records {
        run: RunKey,
        stage: String,
        step: usize,
        records: Result<Vec<RolloutRecord>, String>,
    },
    History {
        run: RunKey,
        history: Result<RowHistory, String>,
    },
    Pictures {
        run: RunKey,
        pictures: Vec<(String, Result<Picture, String>)>,
    },
    Same {
        row: String,
        samples: Vec<(RunKey, Sample)>,
    },
    /// It is time to look for a newer step again.
    Due(RunKey),
}

/// What is to be done for it outside the state.
#[derive(Clone, Debug, PartialEq)]
pub enum RolloutsEffect {
    Read {
        run: RunKey,
        step: RolloutStep,
    },
    ReadHistory {
        run: RunKey,
        steps: Vec<RolloutStep>,
        row: String,
    },
    /// Patches by their paths in a record, which are looked for in the data's folders too.
    ReadPictures {
        run: RunKey,
        images: Vec<String>,
        folders: Vec<PathBuf>,
    },
    /// The newest answers of each run to a row.
    ReadSame {
        runs: Vec<(RunKey, Arc<RolloutIndex>)>,
        row: String,
    },
    /// Tell when so much time has passed.
    Wait {
        run: RunKey,
        time: Duration,
    },
}

impl RolloutsState {
    /// The question on screen with its answers.
    pub fn record(&self) -> Option<&RolloutRecord> {
        self.records.as_ref()?.as_ref().ok()?.get(self.question)
    }
}

/// What is being typed, and what drawing keeps from frame to frame.
#[derive(Default)]
pub(super) struct RolloutsPanel {
    step: step_view::StepView,
    comparison: comparison::Comparison,
}

impl RolloutsPanel {
    /// Draws it.
    pub(super) fn ui(&mut self, ui: &mut Ui, state: &AppState, commands: &CommandSender) {
        self.step.ui(ui, state, commands);
    }

    /// Draws it.
    pub(super) fn compare_ui(&mut self, ui: &mut Ui, state: &AppState, commands: &CommandSender) {
        self.comparison.ui(ui, state, commands);
    }
}

#[cfg(test)]
mod tests;
