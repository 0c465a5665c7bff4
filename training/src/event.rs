//! What a run tells while it goes on: JSON lines on stdout and in the run folder.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::phantom::Tally;

/// An event of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum RunEvent {
    /// The resolved configuration.
    Started {
        config: serde_json::Value,
    },
    /// A killed or stopped run goes on after this step of this stage.
    Resumed {
        stage: String,
        step: usize,
    },
    Stage {
        stage: String,
        steps: usize,
    },
    Step(Step),
    /// Answers of a step were written to a file of the run folder.
    Rollout {
        stage: String,
        step: usize,
        /// Relative to the run folder; a [`crate::rollout_record::RolloutRecord`] a line.
        file: PathBuf,
        questions: usize,
    },
    /// What a stage reached on examples that it did not train on.
    Measured {
        stage: String,
        measure: String,
        right: usize,
        total: usize,
    },
    /// Held-out rows were answered.
    Evaluation {
        stage: String,
        step: usize,
        figures: RowFigures,
    },
    Checkpoint {
        stage: String,
        step: usize,
        /// Relative to the run folder.
        path: PathBuf,
    },
    Warning {
        warning: String,
        /// How often it came so far.
        #[serde(default = "one")]
        count: usize,
    },
    /// The usable package.
    Finished {
        package: PathBuf,
        secs: f64,
    },
    /// Stopped as asked; the run can go on.
    Stopped {
        stage: String,
        step: usize,
    },
    Failed {
        error: String,
    },
}

fn one() -> usize {
    1
}

/// One update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub stage: String,
    /// From 1.
    pub step: usize,
    pub loss: f64,
    pub learning_rate: f64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Seconds since the stage began, without the time in which the run stood still.
    pub secs: f64,
    /// What else is measured, by the names in [`measure`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub measures: BTreeMap<String, f64>,
}

/// Names of what a step measures beside its loss.
pub mod measure {
    /// Answer tokens that the loss is on.
    pub const TOKENS: &str = "tokens";
    /// Means over a batch's answers: the whole reward, then its parts, unweighted.
    pub const REWARD: &str = "reward";
    pub const REWARD_FORMAT: &str = "reward_format";
    pub const REWARD_ACCURACY: &str = "reward_accuracy";
    pub const REWARD_SEMANTIC: &str = "reward_semantic";
    pub const REWARD_EXTERNAL: &str = "reward_external";
    /// Standard deviation of the rewards of a question's answers, mean over questions.
    pub const REWARD_SPREAD: &str = "reward_spread";
    /// Share of questions whose answers all earn the same.
    pub const NO_SPREAD: &str = "no_spread";
    /// Share of answers whose conclusion is right.
    pub const ACCURACY: &str = "accuracy";
    /// Mean estimate of the distance to the reference policy, per token.
    pub const KL: &str = "kl";
    /// Mean entropy of the next token.
    pub const ENTROPY: &str = "entropy";
    /// Share of tokens (or of answers) whose ratio lies beyond its bounds and is held.
    pub const CLIPPED: &str = "clipped";
    /// Mean length of an answer in tokens.
    pub const LENGTH: &str = "length";
    /// Share of answers that were cut off.
    pub const CUT_OFF: &str = "cut_off";
    /// Largest difference between a log-probability kept from sampling and the same computed again.
    pub const DRIFT: &str = "drift";
    /// Seconds of a step that went into writing answers, and into updates.
    pub const ROLLOUT_SECS: &str = "rollout_secs";
    pub const UPDATE_SECS: &str = "update_secs";
    /// Answers that the external program could not score.
    pub const UNSCORED: &str = "unscored";
}

/// What answers to held-out rows reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RowFigures {
    /// Rows with a label that were answered.
    pub n: usize,
    /// Share of right conclusions.
    pub accuracy: f64,
    /// Mean over labels of the share of right conclusions.
    pub balanced_accuracy: f64,
    /// Wilson's 95 % interval of the accuracy.
    pub interval_95: [f64; 2],
    /// Share of answers with all three stages, once each, in order.
    pub stages_present: f64,
    /// Answers whose conclusion names no option.
    pub parse_failures: usize,
    /// Mean length of an answer in tokens.
    pub answer_tokens: f64,
    pub by_kind: BTreeMap<String, Tally>,
    pub by_subtask: BTreeMap<String, Tally>,
    pub by_class: BTreeMap<String, Tally>,
}

/// Where events go: the run folder's `events.jsonl`, and stdout.
#[derive(Debug)]
pub struct EventSink {
    file: File,
    path: PathBuf,
}

impl EventSink {
    /// Begins `events.jsonl` in a run folder, which is made.
    pub fn create(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let path = folder.join("events.jsonl");
        Ok(Self { file: File::create(&path).map_err(Error::io(&path))?, path })
    }

    /// Writes one event to both.
    pub fn send(&mut self, event: &RunEvent) -> Result<()> {
        let mut line = serde_json::to_vec(event)
            .map_err(|e| Error::Config { reason: e.to_string(), path: self.path.clone() })?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(Error::io(&self.path))?;
        std::io::stdout().lock().write_all(&line).map_err(Error::io(Path::new("stdout")))
    }
}
