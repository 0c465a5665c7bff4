//! What a run tells while it goes on: JSON lines on stdout and in the run folder.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// An event of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum RunEvent {
    /// The resolved configuration.
    Started {
        config: serde_json::Value,
    },
    Stage {
        stage: String,
        steps: usize,
    },
    Step(Step),
    /// What a stage reached on examples that it did not train on.
    Measured {
        stage: String,
        measure: String,
        right: usize,
        total: usize,
    },
    Warning {
        warning: String,
    },
    /// The usable package.
    Finished {
        package: PathBuf,
        secs: f64,
    },
    Failed {
        error: String,
    },
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
    /// Seconds since the stage began.
    pub secs: f64,
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
