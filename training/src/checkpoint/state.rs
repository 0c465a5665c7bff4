//! `state.json`: where a run stands at a checkpoint.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::FORMAT;
use crate::error::{Error, Result};
use crate::run_folder::write_whole;

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub format: u32,
    /// Version of the program that wrote it.
    pub program: String,
    /// BLAKE3 of the run's `config.toml`.
    pub config: String,
    /// Hash of the package that the run started from.
    pub base: String,
    /// Which checkpoint of the run it is, from 1.
    pub sequence: u64,
    pub stage: String,
    /// Steps of the stage that are done.
    pub step: usize,
    /// Updates among them: a step whose gradient was no number is left out.
    pub updates: u64,
    /// Seconds that the stage has taken.
    pub secs: f64,
    /// Bytes of `events.jsonl` up to here.
    pub events: u64,
    /// Name of the checkpoint from which the stage was entered; `None` in the first one.
    #[serde(default)]
    pub entry: Option<String>,
    /// Whether held-out rows are still to be answered at this step.
    #[serde(default)]
    pub is_evaluation_due: bool,
    #[serde(default)]
    pub best: Option<Best>,
    /// How often each warning came.
    #[serde(default)]
    pub warnings: BTreeMap<String, usize>,
    #[serde(default)]
    pub streaks: Streaks,
    /// The checkpoint's other files.
    #[serde(default)]
    pub files: BTreeMap<String, FileRecord>,
}

/// The best evaluation so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Best {
    pub checkpoint: String,
    /// Share of right conclusions.
    pub accuracy: f64,
}

/// Batches in a row in which something went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streaks {
    pub no_reward: usize,
    pub cut_off: usize,
}

/// Size and hash of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    pub bytes: u64,
    pub blake3: String,
}

impl FileRecord {
    /// Of a file as it is.
    pub(super) fn of(path: &Path) -> Result<Self> {
        let mut hasher = blake3::Hasher::new();
        let read = File::open(path).and_then(|file| hasher.update_reader(file).map(|_| ()));
        read.map_err(Error::io(path))?;
        Ok(Self { bytes: hasher.count(), blake3: hasher.finalize().to_hex().to_string() })
    }
}

impl State {
    /// A run that has done nothing yet.
    pub fn new(config: String, base: String) -> Self {
        let program = env!("CARGO_PKG_VERSION").to_owned();
        Self { format: FORMAT, program, config, base, ..Self::default() }
    }

    /// Begins a stage; `entry` is the checkpoint that ended the stage before.
    pub fn enter(&mut self, stage: &str, entry: Option<String>) {
        stage.clone_into(&mut self.stage);
        self.entry = entry;
        self.step = 0;
        self.updates = 0;
        self.secs = 0.0;
        self.is_evaluation_due = false;
        self.streaks = Streaks::default();
    }

    /// Name of the checkpoint's folder.
    pub fn name(&self) -> String {
        format!("{}-{:06}", self.stage, self.step)
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|e| Error::Config { reason: e.to_string(), path: path.to_owned() })?;
        write_whole(path, &text)
    }

    /// Reads and checks `state.json`.
    pub(super) fn read(path: &Path) -> Result<Self> {
        /// All that is read of a state that may be of another version.
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let text = std::fs::read(path).map_err(Error::io(path))?;
        let damaged = |reason: String| Error::Checkpoint { reason, path: path.to_owned() };
        let not_a_state = |e: serde_json::Error| damaged(format!("it says nothing of the run ({e})"));
        let Version { format } = serde_json::from_slice(&text).map_err(not_a_state)?;
        if format > FORMAT {
            return Err(Error::CheckpointFormat { found: format, known: FORMAT, path: path.to_owned() });
        }
        serde_json::from_slice(&text).map_err(not_a_state)
    }

    /// Checks that the files in the checkpoint's folder are those that were written.
    pub(super) fn check_files(&self, folder: &Path) -> Result<()> {
        for (name, record) in &self.files {
            let path = folder.join(name);
            let reason = match FileRecord::of(&path) {
                Ok(found) if found == *record => continue,
                Ok(_) => "a file of it is not as it was written".to_owned(),
                Err(Error::Io { source, .. }) => format!("a file of it cannot be read ({source})"),
                Err(error) => return Err(error),
            };
            return Err(Error::Checkpoint { reason, path });
        }
        Ok(())
    }
}
