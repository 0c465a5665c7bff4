//! What is known of a run from its folder alone, as plain data. A follower makes it in its own thread and hands it to the window as
//! an `Arc`, a new one at each change, so that the window thread never builds or copies it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use reinpath_training::config::RunConfig;
use reinpath_training::event::RowFigures;
use reinpath_training::machine::MachineSample;
use reinpath_training::run_folder::RunState;

use super::RunKey;
use super::column::Column;
use super::rollouts::RolloutIndex;

/// A run in the list: what can be told without reading its events.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedRun {
    pub key: RunKey,
    pub state: Listed,
    /// When something was last written into it, in seconds since 1970.
    pub changed: u64,
}

/// How far a run in the list has come.
#[derive(Clone, Debug, PartialEq)]
pub enum Listed {
    /// Asked for, and no process has begun it: only `asked.toml` is there.
    NeverBegan,
    Known(RunState),
    /// Its folder cannot be read, as a sentence.
    Unreadable(String),
}

/// All that a run has told so far.
#[derive(Clone, Debug)]
pub struct RunTold {
    pub key: RunKey,
    /// Grows with every change; what is derived from the same version need not be derived again.
    pub version: u64,
    pub listed: Listed,
    /// Once the run has written it.
    pub config: Option<Arc<RunConfig>>,
    /// The run that is to end first, while this one waits.
    pub waits_for: Option<PathBuf>,
    /// In the order in which they began.
    pub stages: Vec<StageTold>,
    /// What takes long before the first step.
    pub progress: Option<Progress>,
    pub checkpoints: Vec<CheckpointTold>,
    /// The latest, the newest last, each sentence once.
    pub warnings: Vec<WarningTold>,
    /// Steps with rollouts, to be read on demand.
    pub rollouts: Arc<RolloutIndex>,
    /// The load of the machine while the run went on, thinned to at most a few thousand samples, the newest last.
    pub machine: Arc<Vec<MachineSample>>,
    /// Lines among the events that are none: how many, and the last of them.
    pub strange: Option<(usize, String)>,
    /// Why the folder could not be read on, as a sentence.
    pub fault: Option<String>,
    /// When something was last written into it, in seconds since 1970.
    pub changed: u64,
    /// Seconds from the start to the end of a run that has finished.
    pub secs: Option<f64>,
}

/// A stage of a run: columns of the same length.
#[derive(Clone, Debug, Default)]
pub struct StageTold {
    /// `alignment`, `cold_start` or `grpo`.
    pub name: String,
    /// Steps that it will take.
    pub planned: usize,
    /// The step of each row, from 1, growing.
    pub steps: Column,
    /// By the names of [`series`] and [`reinpath_training::event::measure`].
    pub measures: BTreeMap<String, Column>,
    pub evaluations: Vec<EvaluationTold>,
}

/// Names of the columns that every step has.
pub mod series {
    pub const LOSS: &str = "loss";
    pub const LEARNING_RATE: &str = "learning_rate";
    pub const GRADIENT_NORM: &str = "gradient_norm";
    /// Seconds since the stage began.
    pub const SECS: &str = "secs";
}

/// Held-out rows that were answered after a step.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluationTold {
    pub step: usize,
    pub figures: RowFigures,
}

/// How far something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub what: String,
    pub done: usize,
    pub total: usize,
}

/// A checkpoint that is, or was, on the disk: old ones are removed by the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointTold {
    pub stage: String,
    pub step: usize,
    /// Absolute.
    pub path: PathBuf,
}

/// A sentence that the run warned with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarningTold {
    pub sentence: String,
    pub count: usize,
}

impl RunTold {
    /// Of a run that nothing is known of yet.
    pub fn new(key: RunKey) -> Self {
        Self {
            key,
            version: 0,
            listed: Listed::NeverBegan,
            config: None,
            waits_for: None,
            stages: Vec::new(),
            progress: None,
            checkpoints: Vec::new(),
            warnings: Vec::new(),
            rollouts: Arc::default(),
            machine: Arc::default(),
            strange: None,
            fault: None,
            changed: 0,
            secs: None,
        }
    }

    /// The stage that is, or was last, at work.
    pub fn current_stage(&self) -> Option<&StageTold> {
        self.stages.last()
    }

    pub fn stage(&self, name: &str) -> Option<&StageTold> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// Whether a process is at work in it, be it that it waits for another run.
    pub fn is_running(&self) -> bool {
        matches!(self.listed, Listed::Known(RunState::Running(_)))
    }
}

impl StageTold {
    /// The last step that was taken; 0 before the first.
    pub fn step(&self) -> usize {
        self.steps.len().checked_sub(1).and_then(|last| self.steps.get(last)).map_or(0, |step| step as usize)
    }

    pub fn measure(&self, name: &str) -> Option<&Column> {
        self.measures.get(name)
    }

    /// The newest value of a measure.
    pub fn latest(&self, name: &str) -> Option<f32> {
        let column = self.measures.get(name)?;
        column.len().checked_sub(1).and_then(|last| column.get(last))
    }
}
