//! What can go wrong in training, one sentence each.

use std::path::PathBuf;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{source}: {path}", path = path.display())]
    Io { source: std::io::Error, path: PathBuf },
    #[error("the configuration is not valid: {reason}: {path}", path = path.display())]
    Config { reason: String, path: PathBuf },
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
    #[error("the computation failed: {0}")]
    Compute(#[from] candle_core::Error),
    #[error("the tokenizer cannot be made: {0}")]
    Tokenizer(String),
    #[error("{0}")]
    Features(String),
    /// A benchmark or an ablation that cannot be run.
    #[error("{0}")]
    Benchmark(String),
    #[error("the loss is not a number at step {step} of {stage}")]
    NotANumber { stage: String, step: usize },
    #[error("stopped as asked")]
    Stopped,
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An input or output error with its file.
    pub fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { source, path }
    }
}
