//! Repositories of the Hugging Face Hub, fetched because somebody asked: the one thing in this project that uses the network.
//!
//! A file appears under its name only when all of it is there and its checksum is right; until then its bytes lie in a
//! partial file, to which they are appended as they come, so that a process that ends at any moment leaves what the next one
//! goes on from. Files go to the cache that all of the Hub's tools share (`destination.rs`), or to a folder of the user's.
//!
//! Written on ureq and not on the crate hf-hub, whose cache layout is kept. Version 1 of hf-hub needs tokio, and there is no
//! async runtime in this project. The synchronous side of its version 0.5 (`src/api/sync.rs`) compares no checksum, appends to
//! a partial file whatever a server that ignores the range sends, joins names and etags from the server to paths unchecked,
//! panics on a redirect without an address, and knows neither `HF_TOKEN` nor `HF_HUB_OFFLINE`. What remained, the names of
//! three folders, saves nothing. What the server's headers mean is taken from huggingface_hub's `file_download.py`.
//!
//! Not here: data sets, uploads, Xet's own protocol (its files come over plain HTTP as well), several files at once.

mod cached;
mod checksum;
mod client;
mod destination;
mod download;
mod error;
mod lock;
mod partial;
mod settings;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

pub use glob::Pattern;

pub use self::error::Error;
pub use self::settings::{Settings, Token};

/// The name of a repository, `OWNER/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository(String);

impl FromStr for Repository {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let is_name = |part: &str| {
            !part.is_empty()
                && part.len() <= 96
                && !part.starts_with('.')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        match text.split_once('/') {
            Some((owner, name)) if is_name(owner) && is_name(name) => Ok(Self(text.to_owned())),
            _ => Err(Error::RepositoryName { name: text.to_owned() }),
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A branch, a tag or a commit. It names a file in the cache (`refs/…`), so it is checked like one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision(String);

impl Revision {
    /// Whether this is the commit itself, which no branch moves.
    fn is_commit(&self) -> bool {
        is_hexadecimal(&self.0, COMMIT_DIGITS)
    }
}

impl FromStr for Revision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if stays_inside(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::RevisionName { name: text.to_owned() })
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What to fetch, and where to.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub repository: Repository,
    pub revision: Revision,
    /// Which files; all where there is no pattern. `*` also stands for what has slashes in it, as in huggingface_hub.
    pub include: Vec<Pattern>,
    /// A folder instead of the shared cache.
    pub output: Option<PathBuf>,
}

impl Wanted {
    fn includes(&self, name: &str) -> bool {
        self.include.is_empty() || self.include.iter().any(|pattern| pattern.matches(name))
    }
}

/// How it goes, in this order: `Begun` once, then for each file `File`, at most one `Waiting`, `Progress` up to many times,
/// and `Have`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News<'a> {
    /// What there is to have.
    Begun { commit: &'a str, files: usize, bytes: u64 },
    /// A file's turn.
    File { name: &'a str },
    /// Another process is downloading it, and is waited for.
    Waiting { name: &'a str },
    /// Bytes that are there, of all files together; not `is_received` where they were there before or were thrown away.
    Progress { bytes: u64, is_received: bool },
    /// A file is there, whole and verified; `fetched` of its bytes came over the network now.
    Have { name: &'a str, bytes: u64, fetched: u64 },
}

/// A repository's files on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub folder: PathBuf,
    pub commit: String,
    pub files: usize,
    pub bytes: u64,
    /// How many of the bytes came over the network now.
    pub fetched: u64,
}

/// Fetches what is not there yet; offline, finds what the cache has.
pub fn get(settings: &Settings, wanted: &Wanted, news: &mut dyn FnMut(News<'_>)) -> Result<Fetched, Error> {
    if settings.is_offline {
        cached::find(settings, wanted, news)
    } else {
        download::fetch(settings, wanted, news)
    }
}

/// Digits of a commit, and of a git blob's SHA-1.
const COMMIT_DIGITS: usize = 40;

fn is_hexadecimal(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a name joined to a folder stays below that folder, on every system: `a/b.json`, not `../b`, `/b`, `C:b` or `a\b`.
fn stays_inside(name: &str) -> bool {
    let is_part = |part: &str| {
        !matches!(part, "" | "." | "..") && !part.contains(['\\', ':']) && !part.contains(char::is_control)
    };
    name.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_has_an_owner_and_a_name() {
        assert_eq!("MahmoodLab/CONCH".parse::<Repository>().unwrap().to_string(), "MahmoodLab/CONCH");
        for wrong in ["", "gpt2", "a/b/c", "/b", "a/", "../b", "a/..", "a/b c", "a/b?x", "a\\b"] {
            assert!(wrong.parse::<Repository>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_revision_never_leaves_the_folder_of_revisions() {
        for right in ["main", "refs/pr/1", "v1.0"] {
            assert!(right.parse::<Revision>().is_ok(), "{right}");
        }
        for wrong in ["", "../main", "a/../../b", "/main", "a//b", "C:main", "a\\b", "a\nb"] {
            assert!(wrong.parse::<Revision>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_star_stands_for_slashes_too() {
        let wanted = |patterns: &[&str]| Wanted {
            repository: "a/b".parse().unwrap(),
            revision: "main".parse().unwrap(),
            include: patterns.iter().map(|pattern| pattern.parse().unwrap()).collect(),
            output: None,
        };
        assert!(wanted(&[]).includes("anything/at.all"));
        assert!(wanted(&["*.json"]).includes("onnx/config.json"));
        assert!(wanted(&["*.md", "original/*"]).includes("original/tokenizer.model"));
        assert!(!wanted(&["*.json"]).includes("model.safetensors"));
    }
}
