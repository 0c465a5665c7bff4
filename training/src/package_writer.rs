//! Writes model packages: weights in f16, every file's size and hash in the manifest.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use candle_nn::VarMap;
use reinpath_model::package::{FileRecord, MANIFEST, Manifest};

use crate::error::{Error, Result};
use crate::init::sorted_vars;

/// A package being written.
#[derive(Debug)]
pub struct PackageWriter {
    folder: PathBuf,
    files: Vec<String>,
}

impl PackageWriter {
    /// Begins a package in an empty or new folder.
    pub fn create(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        Ok(Self { folder: folder.to_owned(), files: Vec::new() })
    }

    /// The path of a file of the package, which will be recorded; its folder is made.
    pub fn path(&mut self, name: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(Error::io(parent))?;
        }
        self.files.push(name.to_owned());
        Ok(path)
    }

    /// Writes a text file.
    pub fn text(&mut self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name)?;
        std::fs::write(&path, text).map_err(Error::io(&path))
    }

    /// Copies a file of another package.
    pub fn copy(&mut self, from: &Path, name: &str) -> Result<()> {
        let path = self.path(name)?;
        std::fs::copy(from, &path).map_err(Error::io(from)).map(drop)
    }

    /// Writes the variables whose names begin with `prefix`, without it, in f16.
    pub fn tensors(&mut self, name: &str, vars: &VarMap, prefix: &str) -> Result<()> {
        let path = self.path(name)?;
        let tensors: HashMap<String, _> = sorted_vars(vars)
            .into_iter()
            .filter_map(|(name, var)| {
                let name = name.strip_prefix(prefix)?.to_owned();
                Some(var.to_dtype(DType::F16).map(|t| (name, t)))
            })
            .collect::<candle_core::Result<_>>()?;
        candle_core::safetensors::save(&tensors, &path)?;
        Ok(())
    }

    /// Writes tensors as they are.
    pub fn values(&mut self, name: &str, tensors: &HashMap<String, Tensor>) -> Result<()> {
        let path = self.path(name)?;
        Ok(candle_core::safetensors::save(tensors, &path)?)
    }

    /// Sizes and hashes of what was written.
    pub fn records(&self) -> Result<BTreeMap<String, FileRecord>> {
        self.files.iter().map(|name| Ok((name.clone(), record(&self.folder.join(name))?))).collect()
    }

    /// Writes the manifest, last.
    pub fn manifest(&mut self, manifest: &Manifest) -> Result<()> {
        let path = self.folder.join(MANIFEST);
        let text = toml::to_string_pretty(manifest)
            .map_err(|e| Error::Config { reason: e.to_string(), path: path.clone() })?;
        std::fs::write(&path, text).map_err(Error::io(&path))
    }
}

fn record(path: &Path) -> Result<FileRecord> {
    use sha2::{Digest as _, Sha256};
    let mut file = File::open(path).map_err(Error::io(path))?;
    let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut buffer).map_err(Error::io(path))?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
    Ok(FileRecord { bytes, sha256: format!("{:x}", hash.finalize()) })
}
