//! A model package: a folder with a manifest `reinpath.toml` and weight files in the formats they are published in.
//!
//! The manifest is data from outside: it is read into these types, checked once, and every message names the file.
//! Tensors are checked where weights are read (`weights.rs`).

#[cfg(feature = "inference")]
mod beside;
mod catalogue;
mod encoder;
mod instructions;
mod manifest;
mod memory;
mod vision;
mod writer;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[cfg(feature = "inference")]
pub(crate) use self::beside::Beside;
#[cfg(feature = "inference")]
pub(crate) use self::catalogue::more_bits;
pub use self::catalogue::{Dimensions, KNOWN, Known, Terms};
pub use self::encoder::{EncoderKind, EncoderSpec, PatchSpec, ResizeFilter};
pub use self::instructions::{AnswerForm, Instructions, OptionMark, STAGED, THINK};
pub use self::manifest::*;
pub use self::memory::{MemoryNeed, QUESTION_PATCHES, QUESTION_TOKENS};
pub use self::vision::{Grid, ImageSize, USUAL_PIXELS, VisionSpec};
pub use self::writer::PackageWriter;

/// Name of the manifest in a package's folder.
pub const MANIFEST: &str = "reinpath.toml";
/// The manifest version this program writes and reads.
pub const FORMAT: u32 = 1;

/// The configuration in a PEFT adapter's folder.
pub(crate) const ADAPTER_CONFIG: &str = "adapter_config.json";
/// Its weights, in the order in which they are looked for.
pub(crate) const ADAPTER_WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];

/// What is wrong with a package.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no model package here (no {MANIFEST}): {path}", path = .0.display())]
    Missing(PathBuf),
    #[error("the model package cannot be read: {source}: {path}", path = path.display())]
    Read { source: std::io::Error, path: PathBuf },
    #[error("the model package cannot be written: {source}: {path}", path = path.display())]
    Write { source: std::io::Error, path: PathBuf },
    #[error("the model package's manifest is not valid: {reason}: {path}", path = path.display())]
    Manifest { reason: String, path: PathBuf },
    #[error("the language model's configuration is not as expected, {reason}: {path}", path = path.display())]
    Config { reason: String, path: PathBuf },
    #[error("the model package has format {found}, this program reads up to {FORMAT}: {path}", path = path.display())]
    Format { found: u32, path: PathBuf },
    #[error("a file of the model package is missing: {path}", path = .0.display())]
    MissingFile(PathBuf),
    #[error("a file of the model package is not the one its manifest describes ({reason}): {path}", path = path.display())]
    Changed { reason: String, path: PathBuf },
    #[error("a file of the model package is damaged ({reason}): {path}", path = path.display())]
    Damaged { reason: String, path: PathBuf },
    /// What is wanted of it is against its licence, or not there for its family.
    #[error("{sentence}: {path}", path = path.display())]
    Terms { sentence: String, path: PathBuf },
    #[error("cancelled")]
    Cancelled,
}

/// A package whose manifest was read and whose files are there.
#[derive(Clone, Debug)]
pub struct Package {
    pub folder: PathBuf,
    pub manifest: Manifest,
    /// BLAKE3 of the manifest, which holds the files' hashes, in hexadecimal.
    pub hash: String,
}

impl Package {
    /// Reads and checks the manifest and that each file is there with its recorded size.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(MANIFEST);
        let text = std::fs::read_to_string(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::Missing(folder.to_owned()),
            _ => Error::Read { source, path: path.clone() },
        })?;
        let manifest = Manifest::parse(&text, &path)?;
        let package = Self {
            folder: folder.to_owned(),
            manifest,
            hash: blake3::hash(text.as_bytes()).to_hex().to_string(),
        };
        package.check_files()?;
        Ok(package)
    }

    /// The path of a file named in the manifest.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The files that the model is made of, each once, by their names in the package.
    pub fn files(&self) -> impl Iterator<Item = String> {
        let m = &self.manifest;
        let named = (m.encoders.iter().flat_map(|e| &e.weights))
            .chain(m.vision.iter().flat_map(|vision| &vision.weights))
            .chain((!m.projector.is_absent()).then_some(&m.projector.weights))
            .chain(&m.language.weights)
            .chain([&m.language.config, &m.language.tokenizer])
            .chain(&m.language.template)
            .chain(m.knows.feature_range.iter().map(|range| &range.weights))
            .cloned();
        let adapters = m.adapters.iter().flat_map(|adapter| {
            [format!("{}/{ADAPTER_CONFIG}", adapter.folder), self.adapter_weights(adapter)]
        });
        named.chain(adapters).collect::<BTreeSet<_>>().into_iter()
    }

    /// The name of an adapter's weight file: the first that is there.
    pub(crate) fn adapter_weights(&self, adapter: &AdapterSpec) -> String {
        let names = ADAPTER_WEIGHTS.map(|file| format!("{}/{file}", adapter.folder));
        let [usual, _] = &names;
        names.iter().find(|name| self.file(name).is_file()).unwrap_or(usual).clone()
    }

    /// A reason why there can be no such vision tower, or why its image processor's limits make no sense.
    #[cfg(feature = "inference")]
    pub(crate) fn check_vision(spec: &VisionSpec) -> Result<(), String> {
        spec.check()
    }

    fn check_files(&self) -> Result<(), Error> {
        self.files().try_for_each(|name| self.check_file(&name))
    }

    fn check_file(&self, name: &str) -> Result<(), Error> {
        let path = self.file(name);
        let found = std::fs::metadata(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::MissingFile(path.clone()),
            _ => Error::Read { source, path: path.clone() },
        })?;
        match self.manifest.files.get(name) {
            Some(record) if record.bytes != found.len() => Err(Error::Changed {
                reason: format!("{} bytes instead of {}", found.len(), record.bytes),
                path,
            }),
            _ => Ok(()),
        }
    }
}
