//! Runs on this machine, without a window: which there are, what each has told, how one is looked through, started, stopped and
//! used. Everything here may wait for files or processes and is called from worker threads, never from the window's.
//!
//! In reading order: `told` (what is known of a run), `column` (its figures), `list` and `follower` (how it becomes known),
//! `rollouts` and `log` (what is read on demand), `trainer` and `launch` (the programs), `alarm` and `difference` (what follows).

pub mod alarm;
pub mod column;
pub mod difference;
pub mod export;
pub mod follower;
pub mod launch;
pub mod list;
pub mod log;
pub mod rollouts;
pub mod told;
pub mod trainer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which run: its folder, as an absolute path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunKey(Arc<Path>);

impl RunKey {
    /// Of an absolute path; the same folder by another path is another key.
    pub fn new(folder: PathBuf) -> Self {
        Self(folder.into())
    }

    /// The run's folder.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The folder's own name.
    pub fn name(&self) -> String {
        self.0.file_name().unwrap_or(self.0.as_os_str()).to_string_lossy().into_owned()
    }
}
