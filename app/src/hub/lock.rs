//! One process at a time downloads a file; another one waits, and finds it there afterwards.
//!
//! In the shared cache the locks are those of huggingface_hub (`.locks`, held by `flock` where the system has it), so that
//! its tools and this program wait for each other.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::Error;

/// How often is looked whether the other process is done.
const LOOK: Duration = Duration::from_millis(200);

/// A lock, until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    /// Of the lock's file, where that goes with the lock.
    removed: Option<PathBuf>,
    _file: File,
}

impl Lock {
    /// Holds the lock at `path`, after another process did; `waits` is called once where one does. The file goes with the
    /// lock where `is_removed`; else it stays, as in the shared cache.
    pub(super) fn hold(path: &Path, is_removed: bool, waits: &mut dyn FnMut()) -> Result<Self, Error> {
        let mut is_told = false;
        loop {
            // Windows locks only what can be read.
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
            let file = file.map_err(|reason| Error::write(reason, path))?;
            match file.try_lock() {
                // The one before may have removed what was locked now, and the next one would lock another file.
                Ok(()) if !is_at(&file, path) => {}
                Ok(()) => return Ok(Self { removed: is_removed.then(|| path.to_owned()), _file: file }),
                Err(TryLockError::WouldBlock) => {
                    if !is_told {
                        waits();
                        is_told = true;
                    }
                    thread::sleep(LOOK);
                }
                // Some network drives know no locks; the checksum still tells when two processes wrote.
                Err(TryLockError::Error(error)) => {
                    tracing::warn!("cannot lock ({error}): {}", path.display());
                    return Ok(Self { removed: None, _file: file });
                }
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Before it is let go: nobody must lock what is about to be removed and find nobody else there.
        if let Some(path) = &self.removed
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::debug!("cannot remove ({error}): {}", path.display());
        }
    }
}

/// Whether a path still leads to this file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(own), Ok(there)) => (own.dev(), own.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn the_second_one_waits_until_the_first_one_is_done() {
        for is_removed in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("file.lock");
            let first = Lock::hold(&path, is_removed, &mut || panic!("nobody is there")).unwrap();
            let (waits, is_waiting) = mpsc::sync_channel(1);
            let second_path = path.clone();
            let second = thread::Builder::new().name("second".to_owned()).spawn(move || {
                drop(Lock::hold(&second_path, is_removed, &mut || waits.send(()).unwrap()).unwrap());
            });
            let second = second.unwrap();
            is_waiting.recv().unwrap();
            assert!(!second.is_finished());
            drop(first);
            second.join().unwrap();
            assert_eq!(path.exists(), !is_removed);
        }
    }
}
