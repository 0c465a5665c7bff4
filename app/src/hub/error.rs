//! What can go wrong between the Hub and the disk, one sentence each.

use std::io;
use std::path::{Path, PathBuf};

/// Why a repository is not there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a repository is named OWNER/NAME, as in the address of its page: {name}")]
    RepositoryName { name: String },
    #[error("a revision is a branch, a tag or a commit: {name}")]
    RevisionName { name: String },
    #[error("this system names no home folder: set HF_HOME to a folder for downloaded models")]
    NoHome,
    #[error("HF_ENDPOINT is no address that begins with http:// or https://: {endpoint}")]
    Endpoint { endpoint: String },
    #[error("the access token from {origin} cannot be one, it has characters that no token has")]
    Token { origin: String },
    #[error("the server cannot be reached ({reason}): {url}")]
    Unreachable { reason: String, url: String },
    #[error("the server sends from one address to another without end: {url}")]
    Redirects { url: String },
    #[error("{repository} was refused ({status}): {advice}: {page}")]
    Refused { repository: String, status: u16, advice: String, page: String },
    #[error("the server knows no {what}: {url}")]
    NotFound { what: String, url: String },
    #[error("the server answered with the status {status}: {url}")]
    Status { status: u16, url: String },
    #[error("the server's list of files cannot be read ({reason}): {url}")]
    Listing { reason: String, url: String },
    #[error("the server names a file that would lie outside of its folder, so nothing was fetched: {name:?}")]
    FileName { name: String },
    #[error("{repository} has no file that --include asks for, or none at all")]
    NothingIncluded { repository: String },
    #[error(
        "the server states no {what} for the file, so it could not be verified and was not fetched: {url}"
    )]
    Unverifiable { what: &'static str, url: String },
    #[error("the file has {stated} bytes by the server's list, but {sent} by what it sends: {url}")]
    Size { stated: u64, sent: u64, url: String },
    #[error("the server sends another part of the file than was asked for: {url}")]
    Range { url: String },
    #[error(
        "the download broke off ({reason}), what came is kept and the same command goes on from there: {url}"
    )]
    BrokenOff { reason: String, url: String },
    #[error(
        "the file is not the one that the server describes (checksum {found} instead of {stated}) and was deleted: {url}"
    )]
    Checksum { stated: String, found: String, url: String },
    #[error("the disk is full: what came is kept, and the same command goes on from there when there is room: {path}", path = .0.display())]
    DiskFull(PathBuf),
    #[error("cannot write ({reason}): {path}", path = path.display())]
    Write { reason: io::Error, path: PathBuf },
    #[error("cannot read ({reason}): {path}", path = path.display())]
    Read { reason: io::Error, path: PathBuf },
    #[error("nothing is downloaded offline, and {repository} at {revision} is not in the cache{files}: {path}", path = path.display())]
    NotCached {
        repository: String,
        revision: String,
        /// Empty, or which part of it is meant.
        files: &'static str,
        path: PathBuf,
    },
    #[error("nothing is downloaded offline, so nothing can be put into another folder than the cache: {path}", path = .0.display())]
    OfflineOutput(PathBuf),
}

impl Error {
    /// Cannot write, or the disk is full.
    pub(super) fn write(reason: io::Error, path: &Path) -> Self {
        match reason.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull(path.to_owned()),
            _ => Self::Write { reason, path: path.to_owned() },
        }
    }

    pub(super) fn read(reason: io::Error, path: &Path) -> Self {
        Self::Read { reason, path: path.to_owned() }
    }

    /// Whether the same request may succeed in a moment.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::BrokenOff { .. } => true,
            Self::Status { status, .. } => matches!(status, 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }
}
