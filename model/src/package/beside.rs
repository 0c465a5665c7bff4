//! A folder that is made beside the place where it will be, so that there is never half of one.
//!
//! What a process leaves that was ended in the middle of it, the next one that makes the same folder removes. Which
//! process lives is told by a lock, which the system takes from the dead: numbers of processes are given again, and say
//! nothing on a drive that several machines share.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Ends the name of a folder that is being made, `.NAME.PROCESS.part`.
const PART: &str = ".part";
/// Ends the name of its lock.
const LOCK: &str = ".lock";

/// A folder that is being made; it goes with all that is in it unless it was put where it will be.
#[derive(Debug)]
pub(crate) struct Beside {
    to: PathBuf,
    path: PathBuf,
    /// Held for as long as the folder is made.
    lock: Option<File>,
}

impl Beside {
    /// Makes an empty folder beside `to`, whose last part is a name. What dead processes left of the same is removed.
    pub(crate) fn create(to: &Path) -> io::Result<Self> {
        let name = to.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        let folder = match to.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(folder)?;
        remove_what_the_dead_left(folder, name);
        let path = folder.join(part_name(name, std::process::id()));
        // The lock first and last: a folder without one is nobody's.
        let lock = open_lock(&path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::AlreadyExists.into()),
            // Some network drives know no locks; nothing is removed there either.
            Err(TryLockError::Error(reason)) => {
                tracing::debug!("cannot lock ({reason}): {}", path.display());
            }
        }
        let beside = Self { to: to.to_owned(), path, lock: Some(lock) };
        std::fs::create_dir(&beside.path)?;
        Ok(beside)
    }

    /// Where it is while it is made.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it where it will be, whole.
    pub(crate) fn put(self) -> io::Result<()> {
        std::fs::rename(&self.path, &self.to)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // After it was put there is nothing to remove but the lock, which some systems remove only when it is closed.
        drop(std::fs::remove_dir_all(&self.path));
        drop(self.lock.take());
        drop(std::fs::remove_file(lock_of(&self.path)));
    }
}

/// `.NAME.PROCESS.part`
fn part_name(name: &OsStr, process: u32) -> OsString {
    let mut part = OsString::from(".");
    part.push(name);
    part.push(format!(".{process}{PART}"));
    part
}

fn lock_of(path: &Path) -> PathBuf {
    let mut lock = path.as_os_str().to_owned();
    lock.push(LOCK);
    lock.into()
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(lock_of(path))
}

/// Whether this is the name of a folder that some process makes or made of `name`.
fn is_part_of(file: &OsStr, name: &OsStr) -> bool {
    let (Some(file), Some(name)) = (file.to_str(), name.to_str()) else { return false };
    let process = file
        .strip_prefix('.')
        .and_then(|rest| rest.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(PART));
    process.is_some_and(|process| !process.is_empty() && process.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What cannot be looked at stays: it is in nobody's way.
fn remove_what_the_dead_left(folder: &Path, name: &OsStr) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && is_part_of(&entry.file_name(), name) && !is_being_made(&entry.path()) {
            tracing::debug!(
                "a process that was ended left this, which is removed: {}",
                entry.path().display()
            );
            drop(std::fs::remove_dir_all(entry.path()));
            drop(std::fs::remove_file(lock_of(&entry.path())));
        }
    }
}

fn is_being_made(path: &Path) -> bool {
    match File::open(lock_of(path)) {
        // Locked, or on a drive that knows no locks.
        Ok(lock) => lock.try_lock().is_err(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let names = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_appears_whole_or_not_at_all() {
        let home = tempfile::tempdir().unwrap();
        let to = home.path().join("deep/mine");
        let beside = Beside::create(&to).unwrap();
        std::fs::write(beside.path().join("file"), "half").unwrap();
        assert!(!to.exists() && beside.path().starts_with(home.path().join("deep")));
        drop(beside);
        assert!(names(&home.path().join("deep")).is_empty());
        let beside = Beside::create(&to).unwrap();
        std::fs::write(beside.path().join("file"), "whole").unwrap();
        beside.put().unwrap();
        assert_eq!(names(&home.path().join("deep")), ["mine"]);
        assert_eq!(std::fs::read_to_string(to.join("file")).unwrap(), "whole");
        assert!(Beside::create(Path::new("/")).is_err());
    }

    #[test]
    fn what_the_dead_left_is_removed_and_what_is_being_made_is_not() {
        let home = tempfile::tempdir().unwrap();
        let part = |name: &str, process: u32| {
            let path = home.path().join(part_name(name.as_ref(), process));
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("weights"), "half").unwrap();
            path
        };
        let (dead, unlocked) = (part("mine", 1), part("mine", 2));
        drop(open_lock(&unlocked).unwrap());
        let alive = part("mine", 3);
        let lock = open_lock(&alive).unwrap();
        lock.try_lock().unwrap();
        let others = [part("mine.x", 4), part("other", 5)];
        std::fs::create_dir(home.path().join(".mine.part")).unwrap();
        let beside = Beside::create(&home.path().join("mine")).unwrap();
        assert!(!dead.exists() && !unlocked.exists() && !lock_of(&unlocked).exists());
        assert!(alive.exists() && others.iter().all(|other| other.exists()));
        assert!(home.path().join(".mine.part").exists(), "not ours by its name");
        drop(lock);
        drop(beside);
        drop(Beside::create(&home.path().join("mine")).unwrap());
        assert!(!alive.exists());
    }
}
