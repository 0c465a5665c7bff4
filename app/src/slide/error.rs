//! What can go wrong with a slide: each variant is one sentence for the user, with the path last.

use std::path::{Path, PathBuf};

/// A slide that cannot be opened or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Opening or reading the file failed before its contents were looked at.
    #[error("Cannot open the file, {reason}: {}", path.display())]
    File { reason: String, path: PathBuf },
    /// The file is something else than a slide that this program reads; `what` says what it is.
    #[error("This is {what}: {}", path.display())]
    NotASlide { what: String, path: PathBuf },
    /// Pixels of an open slide could not be read.
    #[error("Cannot read {place}, {reason}: {}", path.display())]
    Read { place: String, reason: String, path: PathBuf },
    /// The slide has no associated image of this name.
    #[error("There is no associated image “{name}”{known}: {}", path.display())]
    NoAssociatedImage { name: String, known: String, path: PathBuf },
    /// The request asks for no pixels, for too many, or for a level that does not exist.
    #[error("Cannot read {place}, {reason}: {}", path.display())]
    BadRequest { place: String, reason: String, path: PathBuf },
    /// The reading process was killed because it gave no answer.
    #[error("The slide gave no answer for {seconds} s while reading {place}: {}", path.display())]
    Hung { place: String, seconds: u64, path: PathBuf },
    /// The reading process ended by itself, most likely in the C code that parses the file.
    #[error("The program that reads the slide ended ({status}) while reading {place}: {}", path.display())]
    Crashed { place: String, status: String, path: PathBuf },
    /// Crashed or hung before and again after its one restart: nothing more can be read from this handle.
    #[error("The slide cannot be read any more because its reading process failed twice, open it again to retry: {}", path.display())]
    Dead { path: PathBuf },
    /// The reading process could not be started or spoke out of turn.
    #[error("Cannot start the program that reads slides, {reason}: {}", path.display())]
    Start { reason: String, path: PathBuf },
    /// The request was dropped by its owner before it was answered.
    #[error("Reading {place} was cancelled: {}", path.display())]
    Cancelled { place: String, path: PathBuf },
}

impl Error {
    /// Whether the same request may succeed another time: the reading process hung or died, perhaps over another request that
    /// it was answering. Its one restart bounds such attempts; after it the error is [`Self::Dead`].
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Hung { .. } | Self::Crashed { .. } | Self::Cancelled { .. })
    }

    /// The file the error is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::File { path, .. }
            | Self::NotASlide { path, .. }
            | Self::Read { path, .. }
            | Self::NoAssociatedImage { path, .. }
            | Self::BadRequest { path, .. }
            | Self::Hung { path, .. }
            | Self::Crashed { path, .. }
            | Self::Dead { path }
            | Self::Start { path, .. }
            | Self::Cancelled { path, .. } => path,
        }
    }
}
