//! What a run tells while it goes on: JSON lines on stdout and in the run folder.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::phantom::Tally;
use crate::rollout_record::RolloutRecord;

/// Name of the file of events in a run folder.
pub const EVENTS: &str = "events.jsonl";

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
    /// How far something is that takes long before the first step, such as the features of all images.
    Progress {
        what: String,
        done: usize,
        total: usize,
    },
    /// The run has not begun: another one, in this folder, is to end first.
    Waiting {
        run: PathBuf,
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
    /// What a dry run found.
    Finding(Finding),
    /// Answers that the policy writes before the first step, with what they would earn (dry runs only).
    Rehearsal(RolloutRecord),
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

/// A sentence of a dry run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at and what came out.
    pub finding: String,
    /// What to do about it; `None` where nothing is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
    /// Whether the run would fail on it.
    #[serde(default)]
    pub is_fatal: bool,
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
    use crate::reward::part;

    /// Answer tokens that the loss is on.
    pub const TOKENS: &str = "tokens";
    /// Means over a batch's answers: the whole reward, then its parts, unweighted.
    pub const REWARD: &str = "reward";
    pub const REWARD_FORMAT: &str = "reward_format";
    pub const REWARD_ACCURACY: &str = "reward_accuracy";
    pub const REWARD_SEMANTIC: &str = "reward_semantic";
    pub const REWARD_EXTERNAL: &str = "reward_external";
    pub const REWARD_REPETITION: &str = "reward_repetition";
    pub const REWARD_OVERLONG: &str = "reward_overlong";
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

    /// The measure that is the mean of a part of the reward; `None` of a name that is none of [`part`].
    pub fn of_part(name: &str) -> Option<&'static str> {
        Some(match name {
            part::FORMAT => REWARD_FORMAT,
            part::ACCURACY => REWARD_ACCURACY,
            part::SEMANTIC => REWARD_SEMANTIC,
            part::EXTERNAL => REWARD_EXTERNAL,
            part::REPETITION => REWARD_REPETITION,
            part::OVERLONG => REWARD_OVERLONG,
            _ => return None,
        })
    }
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
    /// `None` in a dry run, which leaves nothing behind.
    file: Option<File>,
    path: PathBuf,
    /// Bytes of the file.
    written: u64,
    /// Whether somebody reads stdout; a run goes on when the program that started it is gone.
    is_heard: bool,
}

impl EventSink {
    /// Begins `events.jsonl` in a run folder, which is made.
    pub fn create(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        Self::open(folder.join(EVENTS), 0)
    }

    /// Goes on with the `events.jsonl` of a run folder after its first `length` bytes, or fewer, so that it ends with a
    /// whole line; the rest is cut off.
    pub fn reopen(folder: &Path, length: u64) -> Result<Self> {
        let path = folder.join(EVENTS);
        let mut kept = Vec::new();
        match File::open(&path) {
            Ok(file) => file.take(length).read_to_end(&mut kept).map(drop).map_err(Error::io(&path))?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io(&path)(error)),
        }
        let whole = kept.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at as u64 + 1);
        Self::open(path, whole)
    }

    /// Writes to stdout alone.
    pub fn to_stdout() -> Self {
        Self { file: None, path: PathBuf::from("stdout"), written: 0, is_heard: true }
    }

    fn open(path: PathBuf, length: u64) -> Result<Self> {
        let open = || -> std::io::Result<File> {
            let mut file = File::options().write(true).create(true).truncate(false).open(&path)?;
            file.set_len(length)?;
            file.seek(SeekFrom::Start(length))?;
            Ok(file)
        };
        let file = open().map_err(Error::io(&path))?;
        Ok(Self { file: Some(file), path, written: length, is_heard: true })
    }

    /// Writes one event to both, to stdout also where the file has no room for it: how a run on a full disk ended is told
    /// there. Stdout that is closed is no error: the run folder tells the same.
    pub fn send(&mut self, event: &RunEvent) -> Result<()> {
        let mut line = serde_json::to_vec(event)
            .map_err(|e| Error::Config { reason: e.to_string(), path: self.path.clone() })?;
        line.push(b'\n');
        let kept = self.keep(&line);
        if self.is_heard && std::io::stdout().lock().write_all(&line).is_err() {
            tracing::info!("stdout is closed; the events go on in {}", self.path.display());
            self.is_heard = false;
        }
        kept
    }

    /// Writes a line to the file.
    fn keep(&mut self, line: &[u8]) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        if let Err(error) = file.write_all(line) {
            // What came through of the line would spoil the next one. When that fails too, a reader skips it.
            file.set_len(self.written).ok();
            file.seek(SeekFrom::Start(self.written)).ok();
            return Err(Error::io(&self.path)(error));
        }
        self.written += line.len() as u64;
        Ok(())
    }

    /// Makes sure that what was sent is on the disk; returns the file's length in bytes.
    pub fn sync(&mut self) -> Result<u64> {
        if let Some(file) = &self.file {
            file.sync_data().map_err(Error::io(&self.path))?;
        }
        Ok(self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::{EVENTS, EventSink, RunEvent, measure};
    use crate::reward::part;

    fn stage(steps: usize) -> RunEvent {
        RunEvent::Stage { stage: "alignment".to_owned(), steps }
    }

    fn steps(folder: &std::path::Path) -> Vec<usize> {
        let text = std::fs::read_to_string(folder.join(EVENTS)).unwrap();
        let event = |line: &str| match serde_json::from_str(line).unwrap() {
            RunEvent::Stage { steps, .. } => steps,
            other => panic!("{other:?}"),
        };
        text.lines().map(event).collect()
    }

    #[test]
    fn each_part_of_the_reward_is_measured_by_its_name() {
        let parts =
            [part::FORMAT, part::ACCURACY, part::SEMANTIC, part::EXTERNAL, part::REPETITION, part::OVERLONG];
        for name in parts {
            assert_eq!(measure::of_part(name), Some(format!("reward_{name}").as_str()));
        }
        assert_eq!(measure::of_part("spread"), None, "the measure of that name is none of a part");
    }

    #[test]
    fn a_run_that_goes_on_forgets_the_events_after_its_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = EventSink::create(folder.path()).unwrap();
        sink.send(&stage(1)).unwrap();
        let length = sink.sync().unwrap();
        assert_eq!(length, std::fs::metadata(folder.path().join(EVENTS)).unwrap().len());
        sink.send(&stage(2)).unwrap();
        drop(sink);
        let mut sink = EventSink::reopen(folder.path(), length).unwrap();
        sink.send(&stage(3)).unwrap();
        assert_eq!(steps(folder.path()), [1, 3]);
        assert_eq!(sink.sync().unwrap(), 2 * length);
    }

    #[test]
    fn events_that_are_shorter_than_the_checkpoint_says_end_with_a_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = EventSink::create(folder.path()).unwrap();
        sink.send(&stage(1)).unwrap();
        let length = sink.sync().unwrap();
        drop(sink);
        let path = folder.path().join(EVENTS);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..], b"{\"type\":\"sta"].concat()).unwrap();
        EventSink::reopen(folder.path(), length + 500).unwrap().send(&stage(2)).unwrap();
        assert_eq!(steps(folder.path()), [1, 2]);
        std::fs::remove_file(&path).unwrap();
        EventSink::reopen(folder.path(), length).unwrap().send(&stage(4)).unwrap();
        assert_eq!(steps(folder.path()), [4]);
    }
}
