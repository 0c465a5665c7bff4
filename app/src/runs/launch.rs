//! Starts and ends processes that train: detached from the window, each in a folder of its own.

use std::path::PathBuf;

use reinpath_training::config::RunConfig;

/// A run to be started.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// Its folder, which has no run yet.
    pub folder: PathBuf,
    pub config: RunConfig,
    /// It begins when the runs in these folders have ended.
    pub after: Vec<PathBuf>,
}

/// How a process that this window started came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// `exit code 1`, or `killed by signal 9 (out of memory?)`, in words.
    pub how: String,
    pub is_good: bool,
    /// The last lines of its log and of what it said outside of it.
    pub last_lines: Vec<String>,
}
