//! One process at a time in a run's folder.
//!
//! The file `run.lock` says who: its process id and when it began. Whether that process still lives is not guessed from
//! its id, which another process may have by now: it holds the operating system's lock of the file, which ends with the
//! process however it ends.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How often and after how long the lock is tried: who looks at the run's state holds it for a moment.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(25);

/// Who is at work in a run's folder; unknown where the system lets nobody read a locked file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Process id.
    pub pid: Option<u32>,
    /// When it began, in seconds since 1970.
    pub started: Option<u64>,
}

/// The hold on a run's folder, until it is dropped.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

impl RunLock {
    pub(super) fn take(path: &Path) -> Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(Error::io(path))?;
        for _ in 0..TRIES {
            match file.try_lock() {
                Ok(()) => return Self::written(file).map_err(Error::io(path)),
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
                Err(TryLockError::Error(error)) => return Err(Error::io(path)(error)),
            }
        }
        let by = match read(path).pid {
            Some(pid) => format!("process {pid}"),
            None => "another process".to_owned(),
        };
        Err(Error::Locked { by, path: path.to_owned() })
    }

    fn written(mut file: File) -> std::io::Result<Self> {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs());
        let holder = Holder { pid: Some(std::process::id()), started };
        file.set_len(0)?;
        file.write_all(&serde_json::to_vec(&holder)?)?;
        file.sync_all()?;
        Ok(Self { _file: file })
    }
}

/// Who holds the lock, if anybody.
pub(super) fn holder(path: &Path) -> Result<Option<Holder>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(path)(error)),
    };
    match file.try_lock_shared() {
        // Dropping the file gives the lock back.
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(read(path))),
        Err(TryLockError::Error(error)) => Err(Error::io(path)(error)),
    }
}

fn read(path: &Path) -> Holder {
    let text = std::fs::read(path).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_told_who_is_at_work() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.lock");
        assert_eq!(holder(&path).unwrap(), None, "nobody was ever there");
        let lock = RunLock::take(&path).unwrap();
        assert_eq!(holder(&path).unwrap().unwrap().pid, Some(std::process::id()));
        let refused = RunLock::take(&path).unwrap_err().to_string();
        assert!(
            refused.starts_with(&format!("process {} is already at work", std::process::id())),
            "{refused}"
        );
        assert!(refused.ends_with("run.lock"));
        drop(lock);
        assert_eq!(holder(&path).unwrap(), None);
        assert!(RunLock::take(&path).is_ok());
    }

    #[test]
    fn the_lock_of_a_dead_process_holds_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.lock");
        // Even when another process has got its number since: this one's.
        let dead = Holder { pid: Some(std::process::id()), started: Some(1) };
        std::fs::write(&path, serde_json::to_vec(&dead).unwrap()).unwrap();
        assert_eq!(holder(&path).unwrap(), None);
        let lock = RunLock::take(&path).unwrap();
        let holder = holder(&path).unwrap().unwrap();
        assert!(holder.started.unwrap() > 1, "the new one is written in its place");
        drop(lock);
    }

    #[test]
    fn a_look_at_the_lock_keeps_no_run_from_starting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.lock");
        drop(RunLock::take(&path).unwrap());
        let look = File::open(&path).unwrap();
        look.lock_shared().unwrap();
        let looking = std::thread::Builder::new().name("look".to_owned()).spawn(move || {
            std::thread::sleep(2 * PAUSE);
            drop(look);
        });
        assert!(RunLock::take(&path).is_ok());
        looking.unwrap().join().unwrap();
    }
}
