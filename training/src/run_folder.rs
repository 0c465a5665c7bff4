//! A run's folder: where its files lie, who is at work in it, and how far it has come.
//!
//! A run outlives the program that started it, so that everybody else, the window too, knows it by its folder alone:
//! they follow its events, ask it to stop by a file, and see by its lock whether it is alive. No arithmetic here.

mod follower;
mod lock;
mod stop;

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::follower::{EventFollower, News};
pub use self::lock::{Holder, RunLock};
pub use self::stop::StopSignal;
use crate::config::{self, RunConfig};
use crate::error::{Error, Result};
use crate::event::{EVENTS, RunEvent};

/// From the end of the events, what is read to find the last one; an event is far shorter.
const TAIL_BYTES: u64 = 1 << 16;

/// The folder of a run, which need not be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

/// How far a run has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// A process is at work in it.
    Running(Holder),
    /// It stopped as asked, and can go on.
    Stopped,
    /// Its process ended without a word, as when it is killed; it can go on.
    Interrupted,
    /// It ended with an error, and can go on once its reason is gone.
    Failed(String),
    /// Its package is in this folder.
    Finished(PathBuf),
}

impl RunFolder {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The resolved configuration.
    pub fn config_file(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    pub fn events_file(&self) -> PathBuf {
        self.path.join(EVENTS)
    }

    /// What is said beside the events.
    pub fn log_file(&self) -> PathBuf {
        self.path.join("log.txt")
    }

    /// A run stops when this file is there.
    pub fn stop_file(&self) -> PathBuf {
        self.path.join("stop")
    }

    /// Load of the machine while the run went on ([`crate::machine`]).
    pub fn machine_file(&self) -> PathBuf {
        self.path.join("machine.jsonl")
    }

    /// The configuration that a launcher asked for. It is there before the run has resolved it, so that a run that
    /// never began is seen too.
    pub fn asked_file(&self) -> PathBuf {
        self.path.join("asked.toml")
    }

    /// What the process says outside its log, such as what it dies of.
    pub fn stderr_file(&self) -> PathBuf {
        self.path.join("stderr.txt")
    }

    pub fn lock_file(&self) -> PathBuf {
        self.path.join("run.lock")
    }

    pub fn rollouts(&self) -> PathBuf {
        self.path.join("rollouts")
    }

    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// The package that the run makes.
    pub fn package(&self) -> PathBuf {
        self.path.join("package")
    }

    /// The package after a stage that others follow.
    pub fn stage_package(&self, stage: &str) -> PathBuf {
        self.path.join("stages").join(stage).join("package")
    }

    /// Makes the folder, and those above it.
    pub fn create(&self) -> Result<()> {
        std::fs::create_dir_all(&self.path).map_err(Error::io(&self.path))
    }

    /// Keeps every other process from working in this folder until the lock is dropped or this process ends, however
    /// it ends.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process is at work in it.
    pub fn lock(&self) -> Result<RunLock> {
        RunLock::take(&self.lock_file())
    }

    /// The configuration that the run was started with.
    pub fn config(&self) -> Result<RunConfig> {
        let path = self.config_file();
        if !path.is_file() {
            return Err(Error::NoRun(self.path.clone()));
        }
        config::read(&path)
    }

    /// BLAKE3 of the configuration's file, in hexadecimal.
    pub fn config_hash(&self) -> Result<String> {
        let path = self.config_file();
        let text = std::fs::read(&path).map_err(Error::io(&path))?;
        Ok(blake3::hash(&text).to_hex().to_string())
    }

    pub fn write_config(&self, config: &RunConfig) -> Result<()> {
        let path = self.config_file();
        let text = toml::to_string_pretty(config)
            .map_err(|e| Error::Config { reason: e.to_string(), path: path.clone() })?;
        write_whole(&path, text.as_bytes())
    }

    /// Asks the run to stop after a checkpoint.
    pub fn ask_to_stop(&self) -> Result<()> {
        let path = self.stop_file();
        File::create(&path).map(drop).map_err(Error::io(&path))
    }

    /// Takes back what [`Self::ask_to_stop`] asked.
    pub fn forget_stop(&self) -> Result<()> {
        let path = self.stop_file();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(&path)(error)),
            _ => Ok(()),
        }
    }

    /// How far the run has come.
    ///
    /// # Errors
    /// [`Error::NoRun`] when there is none.
    pub fn state(&self) -> Result<RunState> {
        if let Some(holder) = lock::holder(&self.lock_file())? {
            return Ok(RunState::Running(holder));
        }
        if !self.config_file().is_file() {
            return Err(Error::NoRun(self.path.clone()));
        }
        Ok(match self.last_event()? {
            Some(RunEvent::Stopped { .. }) => RunState::Stopped,
            Some(RunEvent::Failed { error }) => RunState::Failed(error),
            Some(RunEvent::Finished { package, .. }) => RunState::Finished(package),
            _ => RunState::Interrupted,
        })
    }

    /// The event in the last whole line; `None` where there is none that this program knows.
    fn last_event(&self) -> Result<Option<RunEvent>> {
        let path = self.events_file();
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&path)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
            let mut tail = Vec::new();
            file.read_to_end(&mut tail)?;
            Ok(tail)
        };
        let tail = match read() {
            Ok(tail) => tail,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(&path)(error)),
        };
        let Some(end) = tail.iter().rposition(|&byte| byte == b'\n') else { return Ok(None) };
        let begin = tail[..end].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        Ok(serde_json::from_slice(&tail[begin..end]).ok())
    }
}

/// Writes a file such that whoever reads it, even after a crash, finds all of it or what was there before.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    };
    write().map_err(Error::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventSink;

    const CONFIG: &str = "name = \"a\"\nseed = 1\nbase = \"b\"\n[cold_start]\ndata = [{ folder = \"d\" }]\noptimisation = {}\n";

    fn folder() -> (tempfile::TempDir, RunFolder) {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(place.path().join("run"));
        folder.create().unwrap();
        (place, folder)
    }

    #[test]
    fn a_folder_says_how_far_its_run_has_come() {
        let (_place, folder) = folder();
        assert!(matches!(folder.state(), Err(Error::NoRun(_))));
        assert!(folder.config().unwrap_err().to_string().starts_with("there is no run here"));
        folder.write_config(&toml::from_str(CONFIG).unwrap()).unwrap();
        assert_eq!(folder.state().unwrap(), RunState::Interrupted, "killed before its first event");
        let mut sink = EventSink::create(folder.path()).unwrap();
        let ends = [
            (RunEvent::Stage { stage: "cold_start".to_owned(), steps: 3 }, RunState::Interrupted),
            (RunEvent::Stopped { stage: "cold_start".to_owned(), step: 2 }, RunState::Stopped),
            (RunEvent::Failed { error: "no".to_owned() }, RunState::Failed("no".to_owned())),
            (RunEvent::Finished { package: "p".into(), secs: 1.0 }, RunState::Finished("p".into())),
        ];
        for (event, state) in ends {
            sink.send(&event).unwrap();
            assert_eq!(folder.state().unwrap(), state);
        }
        std::fs::write(folder.events_file(), "{\"type\":\"failed\",\"data\":{\"error\":\"x\"}}\n{\"ty")
            .unwrap();
        assert_eq!(folder.state().unwrap(), RunState::Failed("x".to_owned()), "half a line is none");
        let lock = folder.lock().unwrap();
        let RunState::Running(holder) = folder.state().unwrap() else { panic!("it is running") };
        assert_eq!(holder.pid, Some(std::process::id()));
        drop(lock);
        assert_eq!(folder.state().unwrap(), RunState::Failed("x".to_owned()));
    }

    #[test]
    fn a_configuration_survives_its_file_whole() {
        let (_place, folder) = folder();
        let mut config: RunConfig = toml::from_str(CONFIG).unwrap();
        folder.write_config(&config).unwrap();
        assert_eq!(folder.config().unwrap(), config);
        let first = folder.config_hash().unwrap();
        config.seed = 2;
        folder.write_config(&config).unwrap();
        assert_eq!(folder.config().unwrap(), config);
        assert_ne!(folder.config_hash().unwrap(), first);
        let names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["config.toml"], "nothing half written stays");
    }
}
