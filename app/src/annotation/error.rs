//! What can go wrong with files of annotations: one sentence each, with the path last.

use std::path::{Path, PathBuf};

/// A file of annotations that cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("The annotations cannot be read, {reason}: {}", path.display())]
    Read { reason: String, path: PathBuf },
    #[error("The file holds more than 2 GiB of annotations, split it and import the parts: {}", path.display())]
    TooLarge { path: PathBuf },
    #[error("These are no annotations that this program understands, {reason}: {}", path.display())]
    NotUnderstood { reason: String, path: PathBuf },
    #[error("The annotations cannot be written, {reason}: {}", path.display())]
    Write { reason: String, path: PathBuf },
}

impl Error {
    pub(super) fn read(path: &Path, reason: &dyn std::fmt::Display) -> Self {
        Self::Read { reason: reason.to_string(), path: path.to_owned() }
    }

    pub(super) fn write(path: &Path, reason: &dyn std::fmt::Display) -> Self {
        Self::Write { reason: reason.to_string(), path: path.to_owned() }
    }
}
