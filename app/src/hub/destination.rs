//! Where the files of a repository lie: in the cache that the Hub's tools share, or in a folder of the user's.
//!
//! The cache, below `HF_HUB_CACHE`, as huggingface_hub and hf-hub have it: `models--OWNER--NAME/blobs/ETAG` holds content by
//! its checksum, `snapshots/COMMIT/FILE` links to it, `refs/REVISION` names a commit. On systems where links need a
//! privilege, snapshots hold second names of the content, or copies where the drive knows none.

use std::io;
use std::path::{Path, PathBuf};

use super::client::Remote;
use super::{Error, Repository, Revision};

/// What stands at the end of a partial file's name, as in huggingface_hub.
const PARTIAL: &str = "incomplete";
/// Digits of the checksum in the name of a partial file in the user's folder: another version is another file.
const SHORT: usize = 12;

/// Where the cache keeps its locks, and how their names end, as in huggingface_hub.
const LOCKS: &str = ".locks";
const LOCK: &str = "lock";

/// A repository's folder in the cache.
pub(super) fn in_cache(cache: &Path, repository: &Repository) -> PathBuf {
    cache.join(format!("models--{}", repository.to_string().replace('/', "--")))
}

/// The file that names the commit of a revision.
pub(super) fn reference(repository_folder: &Path, revision: &Revision) -> PathBuf {
    repository_folder.join("refs").join(&revision.0)
}

/// The files of a commit under their names.
pub(super) fn snapshot(repository_folder: &Path, commit: &str) -> PathBuf {
    repository_folder.join("snapshots").join(commit)
}

/// Where files go.
#[derive(Debug)]
pub(super) enum Destination {
    Cache { repository_folder: PathBuf, commit: String },
    Folder(PathBuf),
}

impl Destination {
    /// The folder in which the files stand under their names.
    pub(super) fn folder(&self) -> PathBuf {
        match self {
            Self::Cache { repository_folder, commit } => snapshot(repository_folder, commit),
            Self::Folder(folder) => folder.clone(),
        }
    }

    /// Where the content lies when it is whole and verified.
    pub(super) fn content(&self, remote: &Remote) -> PathBuf {
        match self {
            Self::Cache { repository_folder, .. } => {
                repository_folder.join("blobs").join(remote.checksum.digits())
            }
            Self::Folder(folder) => folder.join(&remote.name),
        }
    }

    /// Where it lies before.
    pub(super) fn partial(&self, remote: &Remote) -> PathBuf {
        let mut name = self.content(remote).into_os_string();
        if let Self::Folder(_) = self {
            name.push(".");
            name.push(&remote.checksum.digits()[..SHORT]);
        }
        name.push(".");
        name.push(PARTIAL);
        name.into()
    }

    /// The file that is locked by who downloads this one, and whether it goes afterwards.
    pub(super) fn lock(&self, remote: &Remote) -> (PathBuf, bool) {
        match self {
            Self::Cache { repository_folder, .. } => {
                let cache = repository_folder.parent().unwrap_or(Path::new("."));
                let name = repository_folder.file_name().unwrap_or_default();
                let file = format!("{}.{LOCK}", remote.checksum.digits());
                (cache.join(LOCKS).join(name).join(file), false)
            }
            Self::Folder(_) => {
                let mut name = self.partial(remote).into_os_string();
                name.push(".");
                name.push(LOCK);
                (name.into(), true)
            }
        }
    }

    /// Lets verified content appear under the file's name.
    pub(super) fn publish(&self, remote: &Remote) -> Result<(), Error> {
        match self {
            Self::Folder(_) => Ok(()),
            Self::Cache { .. } => {
                let name = self.folder().join(&remote.name);
                // From the name's folder up to the repository's, past `snapshots/COMMIT`.
                let mut target: PathBuf =
                    std::iter::repeat_n("..", remote.name.split('/').count() + 1).collect();
                target.extend(["blobs", remote.checksum.digits()]);
                make_folder_of(&name)?;
                link(&target, &self.content(remote), &name).map_err(|reason| Error::write(reason, &name))
            }
        }
    }

    /// Notes which commit a revision means now, when all that was asked for is there.
    pub(super) fn note(&self, revision: &Revision) -> Result<(), Error> {
        let Self::Cache { repository_folder, commit } = self else { return Ok(()) };
        if revision.is_commit() {
            return Ok(());
        }
        let path = reference(repository_folder, revision);
        make_folder_of(&path)?;
        std::fs::write(&path, commit).map_err(|reason| Error::write(reason, &path))
    }
}

/// The folder that a file is to lie in.
pub(super) fn make_folder_of(path: &Path) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|reason| Error::write(reason, folder))
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn link(target: &Path, content: &Path, name: &Path) -> io::Result<()> {
    let leads_there = || std::fs::read_link(name).is_ok_and(|found| found == target);
    if leads_there() {
        return Ok(());
    }
    remove(name)?;
    match std::os::unix::fs::symlink(target, name) {
        // Another download was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && leads_there() => Ok(()),
        // Some drives know no links.
        Err(_no_links) => second_name(content, name),
        Ok(()) => Ok(()),
    }
}

#[cfg(not(unix))]
fn link(_target: &Path, content: &Path, name: &Path) -> io::Result<()> {
    second_name(content, name)
}

/// The content under another name, as a hard link or a copy.
fn second_name(content: &Path, name: &Path) -> io::Result<()> {
    remove(name)?;
    std::fs::hard_link(content, name).or_else(|_no_links| {
        let mut partial = name.as_os_str().to_owned();
        partial.push(".");
        partial.push(PARTIAL);
        std::fs::copy(content, &partial)?;
        std::fs::rename(&partial, name)
    })
}

#[cfg(test)]
mod tests {
    use super::super::checksum::Checksum;
    use super::*;

    fn remote(name: &str) -> Remote {
        let digits = "ce013625030ba8dba906f756967f9e9ca394464a".to_owned();
        Remote { name: name.to_owned(), url: String::new(), bytes: 6, checksum: Checksum::GitBlob(digits) }
    }

    #[test]
    fn names_in_the_cache_lead_to_the_content() {
        let cache = tempfile::tempdir().unwrap();
        let repository_folder = in_cache(cache.path(), &"owner/name".parse().unwrap());
        assert!(repository_folder.ends_with("models--owner--name"));
        let commit = "0123456789012345678901234567890123456789".to_owned();
        let destination =
            Destination::Cache { repository_folder: repository_folder.clone(), commit: commit.clone() };
        for name in ["hello.txt", "deep/er/hello.txt"] {
            let remote = remote(name);
            make_folder_of(&destination.content(&remote)).unwrap();
            std::fs::write(destination.content(&remote), "hello\n").unwrap();
            // Twice: what is there already stays.
            destination.publish(&remote).unwrap();
            destination.publish(&remote).unwrap();
            assert_eq!(std::fs::read_to_string(destination.folder().join(name)).unwrap(), "hello\n");
        }
        let revision = "refs/pr/1".parse().unwrap();
        destination.note(&revision).unwrap();
        assert_eq!(std::fs::read_to_string(reference(&repository_folder, &revision)).unwrap(), commit);
    }

    #[test]
    fn partial_files_are_told_apart_by_content() {
        let cache = Destination::Cache { repository_folder: "r".into(), commit: String::new() };
        let folder = Destination::Folder("f".into());
        let digits = "ce013625030ba8dba906f756967f9e9ca394464a";
        assert_eq!(
            cache.partial(&remote("a/b.bin")),
            Path::new("r/blobs").join(format!("{digits}.incomplete"))
        );
        assert_eq!(folder.partial(&remote("a/b.bin")), Path::new("f/a/b.bin.ce013625030b.incomplete"));
        let lock = Path::new("f/a/b.bin.ce013625030b.incomplete.lock").to_owned();
        assert_eq!(folder.lock(&remote("a/b.bin")), (lock, true));
        let cache =
            Destination::Cache { repository_folder: "hub/models--a--b".into(), commit: String::new() };
        let lock = Path::new("hub/.locks/models--a--b").join(format!("{digits}.lock"));
        assert_eq!(cache.lock(&remote("a/b.bin")), (lock, false), "where huggingface_hub has it");
    }
}
