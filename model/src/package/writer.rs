//! Writes a package: its files one by one, then the manifest with their sizes and hashes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest as _, Sha256};

use super::{Error, FileRecord, MANIFEST, Manifest};

/// Bytes that are copied or hashed between two looks at a cancel.
const PIECE: u64 = 64 << 20;

/// A package being written.
#[derive(Debug)]
pub struct PackageWriter {
    folder: PathBuf,
    files: Vec<String>,
    /// Looked at while files are copied and hashed.
    cancel: Arc<AtomicBool>,
}

impl PackageWriter {
    /// Begins a package in a folder, which is made where it is not there.
    pub fn create(folder: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
        Ok(Self { folder: folder.to_owned(), files: Vec::new(), cancel: Arc::default() })
    }

    /// The same writer, whose copying and hashing end with [`Error::Cancelled`] when `cancel` is set.
    #[must_use]
    pub fn until(self, cancel: &Arc<AtomicBool>) -> Self {
        Self { cancel: Arc::clone(cancel), ..self }
    }

    /// The path of a file of the package, which will be recorded; its folder is made.
    pub fn path(&mut self, name: &str) -> Result<PathBuf, Error> {
        let path = self.place(name)?;
        self.files.push(name.to_owned());
        Ok(path)
    }

    fn place(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.folder.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed(parent))?;
        }
        Ok(path)
    }

    /// Writes a text file.
    pub fn text(&mut self, name: &str, text: &str) -> Result<(), Error> {
        let path = self.path(name)?;
        std::fs::write(&path, text).map_err(failed(&path))
    }

    /// Copies a file of another package.
    pub fn copy(&mut self, from: &Path, name: &str) -> Result<(), Error> {
        let path = self.path(name)?;
        let source = File::open(from).map_err(failed_to_read(from))?;
        let mut target = File::create(&path).map_err(failed(&path))?;
        pour(&source, &mut target, &self.cancel, failed(&path))
    }

    /// Puts a file into the package without taking room for it: a hard link, or a copy where the file system allows
    /// none. A link to the file is followed, as in Hugging Face's cache.
    pub fn link(&mut self, from: &Path, name: &str) -> Result<(), Error> {
        let unreadable = |source| Error::Read { source, path: from.to_owned() };
        let file = std::fs::canonicalize(from).map_err(unreadable)?;
        let path = self.place(name)?;
        if let Err(reason) = std::fs::hard_link(&file, &path) {
            tracing::debug!("{name} is copied: {reason}");
            return self.copy(&file, name);
        }
        self.files.push(name.to_owned());
        Ok(())
    }

    /// Sizes and hashes of what was written.
    pub fn records(&self) -> Result<BTreeMap<String, FileRecord>, Error> {
        self.files
            .iter()
            .map(|name| Ok((name.clone(), record(&self.folder.join(name), &self.cancel)?)))
            .collect()
    }

    /// Writes the manifest, last.
    pub fn manifest(&mut self, manifest: &Manifest) -> Result<(), Error> {
        let path = self.folder.join(MANIFEST);
        let text = toml::to_string_pretty(manifest)
            .map_err(|e| Error::Manifest { reason: e.to_string(), path: path.clone() })?;
        // A package without a manifest is none; one with half a manifest would be a broken one.
        let part = self.folder.join(format!("{MANIFEST}.part"));
        std::fs::write(&part, text).map_err(failed(&part))?;
        std::fs::rename(&part, &path).map_err(failed(&path))
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::Write { source, path: path.to_owned() }
}

fn failed_to_read(path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::Read { source, path: path.to_owned() }
}

/// All that is left of a file, unless it is cancelled.
fn pour(
    from: &File,
    to: &mut impl io::Write,
    cancel: &AtomicBool,
    failed: impl Fn(io::Error) -> Error,
) -> Result<(), Error> {
    loop {
        if cancel.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        if io::copy(&mut from.take(PIECE), to).map_err(&failed)? == 0 {
            return Ok(());
        }
    }
}

/// Size and hash of a file.
fn record(path: &Path, cancel: &AtomicBool) -> Result<FileRecord, Error> {
    let read = failed_to_read(path);
    let mut hash = Hashed { sha256: Sha256::new(), bytes: 0 };
    pour(&File::open(path).map_err(&read)?, &mut hash, cancel, &read)?;
    Ok(FileRecord { bytes: hash.bytes, sha256: format!("{:x}", hash.sha256.finalize()) })
}

struct Hashed {
    sha256: Sha256,
    bytes: u64,
}

impl io::Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sha256.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
