//! What can go wrong in training, one sentence each.

use std::io::ErrorKind;
use std::path::PathBuf;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{source}: {path}", path = path.display())]
    Io { source: std::io::Error, path: PathBuf },
    #[error("the disk is full: {path}", path = path.display())]
    DiskFull { path: PathBuf },
    #[error("the configuration is not valid: {reason}: {path}", path = path.display())]
    Config { reason: String, path: PathBuf },
    #[error("{0}")]
    Setting(String),
    #[error("there is no run here (no config.toml): {path}", path = .0.display())]
    NoRun(PathBuf),
    #[error(
        "a run is here already: go on with it by `reinpath-train resume`, or name another folder with --run: {path}",
        path = .0.display()
    )]
    RunExists(PathBuf),
    #[error("the package that the run starts from is not the one that it began with: {path}", path = .0.display())]
    AnotherBase(PathBuf),
    #[error("{by} is already at work on this run: {path}", path = path.display())]
    Locked { by: String, path: PathBuf },
    #[error("the checkpoint cannot be used, {reason}: {path}", path = path.display())]
    Checkpoint { reason: String, path: PathBuf },
    #[error("the checkpoint has format {found}, this program reads up to {known}: {path}", path = path.display())]
    CheckpointFormat { found: u32, known: u32, path: PathBuf },
    #[error(transparent)]
    Dataset(#[from] crate::dataset::DatasetError),
    #[error(transparent)]
    Tissue(#[from] crate::tissue::TissueError),
    #[error(transparent)]
    Package(#[from] reinpath_model::package::Error),
    #[error(transparent)]
    Patch(#[from] reinpath_model::patch::Error),
    #[cfg(feature = "engine")]
    #[error(transparent)]
    Prompt(#[from] reinpath_model::prompt::Error),
    #[cfg(feature = "engine")]
    #[error(transparent)]
    Model(#[from] reinpath_model::reinpath::Error),
    #[cfg(feature = "engine")]
    #[error(transparent)]
    Device(#[from] reinpath_model::device::Error),
    #[cfg(feature = "engine")]
    #[error("the computation failed: {0}")]
    Compute(#[from] candle_core::Error),
    #[error(transparent)]
    Reward(#[from] crate::reward::Error),
    #[error("the tokenizer cannot be made: {0}")]
    Tokenizer(String),
    #[error("{0}")]
    Features(String),
    /// What is wrong with an image of a row, whose path stands in it.
    #[error("row “{row}” (line {line}): {source}")]
    Image { row: String, line: usize, source: Box<Error> },
    /// A benchmark or an ablation that cannot be run.
    #[error("{0}")]
    Benchmark(String),
    #[error("the loss is not a number at step {step} of {stage}")]
    NotANumber { stage: String, step: usize },
    /// Weights that would be no numbers in a package.
    #[error(
        "the package is not written: values of {tensor} are no numbers, or too large for its 16 bits; a run with a \
         smaller learning rate may help: {path}",
        path = path.display()
    )]
    NoWeights { tensor: String, path: PathBuf },
    /// What a run's [`crate::config::TroubleRule`] stops it for.
    #[error("{trouble}: the run stops at step {step} of {stage}, as its setting `trouble.{setting}` says")]
    Trouble { trouble: String, setting: &'static str, stage: String, step: usize },
    #[error("stopped as asked")]
    Stopped,
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An input or output error with its file; a full disk is told from the rest.
    pub fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Io { source, path },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use super::Error;

    #[test]
    fn a_full_disk_is_named_and_the_path_comes_last() {
        let path = Path::new("runs/a/events.jsonl");
        let full = Error::io(path)(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.to_string(), "the disk is full: runs/a/events.jsonl");
        let other = Error::io(path)(io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(matches!(&other, Error::Io { .. }) && other.to_string().ends_with("events.jsonl"), "{other}");
    }
}
