//! Writes a package: its files one by one, then the manifest with their sizes and hashes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{Error, FileRecord, MANIFEST, Manifest};

/// A package being written.
#[derive(Debug)]
pub struct PackageWriter {
    folder: PathBuf,
    files: Vec<String>,
}

impl PackageWriter {
    /// Begins a package in a folder, which is made where it is not there.
    pub fn create(folder: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
        Ok(Self { folder: folder.to_owned(), files: Vec::new() })
    }

    /// The path of a file of the package, which will be recorded; its folder is made.
    pub fn path(&mut self, name: &str) -> Result<PathBuf, Error> {
        let path = self.folder.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed(parent))?;
        }
        self.files.push(name.to_owned());
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
        let mut source = File::open(from).map_err(failed_to_read(from))?;
        let mut target = File::create(&path).map_err(failed(&path))?;
        io::copy(&mut source, &mut target).map_err(failed(&path)).map(drop)
    }

    /// Puts a file into the package without taking room for it: a hard link, or a copy where the file system allows
    /// none. A link to the file is followed, as in Hugging Face's cache.
    pub fn link(&mut self, from: &Path, name: &str) -> Result<(), Error> {
        let unreadable = |source| Error::Read { source, path: from.to_owned() };
        let file = std::fs::canonicalize(from).map_err(unreadable)?;
        let path = self.path(name)?;
        if let Err(reason) = std::fs::hard_link(&file, &path) {
            tracing::debug!("{name} is copied: {reason}");
            std::fs::copy(&file, &path).map_err(failed(from))?;
        }
        Ok(())
    }

    /// Sizes and hashes of what was written.
    pub fn records(&self) -> Result<BTreeMap<String, FileRecord>, Error> {
        self.files.iter().map(|name| Ok((name.clone(), record(&self.folder.join(name))?))).collect()
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

/// Size and hash of a file.
pub(super) fn record(path: &Path) -> Result<FileRecord, Error> {
    let read = failed_to_read(path);
    let mut hash = Hashed { sha256: Sha256::new(), bytes: 0 };
    io::copy(&mut File::open(path).map_err(&read)?, &mut hash).map_err(&read)?;
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
