//! A file that is being downloaded: bytes are appended as they come. One process at a time does so (`lock.rs`).

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::Error;

/// A partial file, open.
#[derive(Debug)]
pub(super) struct Partial {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl Partial {
    /// Opens what an earlier download left, or begins.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let mut file = file.map_err(|reason| Error::write(reason, path))?;
        let bytes = file.seek(SeekFrom::End(0)).map_err(|reason| Error::read(reason, path))?;
        Ok(Self { file, path: path.to_owned(), bytes })
    }

    /// How many bytes there are.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Throws away what there is.
    pub(super) fn restart(&mut self) -> Result<(), Error> {
        if self.bytes > 0 {
            let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
            emptied.map_err(|reason| Error::write(reason, &self.path))?;
            self.bytes = 0;
        }
        Ok(())
    }

    /// Not buffered: whenever the process ends, the file holds a beginning of the content.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|reason| Error::write(reason, &self.path))?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_appended_is_there_the_next_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.incomplete");
        let mut partial = Partial::open(&path).unwrap();
        partial.append(b"one").unwrap();
        drop(partial);
        let mut partial = Partial::open(&path).unwrap();
        assert_eq!(partial.bytes(), 3);
        partial.append(b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"onetwo");
        partial.restart().unwrap();
        partial.append(b"three").unwrap();
        assert_eq!((partial.bytes(), std::fs::read(&path).unwrap()), (5, b"three".to_vec()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_called_so() {
        let error = Partial::open(Path::new("/dev/full")).unwrap().append(b"one").unwrap_err();
        assert!(matches!(error, Error::DiskFull(_)), "{error}");
    }
}
