//! How much memory a package's model takes, reckoned from its files without reading a weight: what can be said before
//! anything is loaded.
//!
//! Weights, by what `weights.rs` and `weights/gguf.rs` make of a file:
//! - safetensors: 4 bytes a value, as the arithmetic is f32 (a stored f16 or bf16 doubles); of an encoder's file only
//!   the tensors below its prefix;
//! - GGUF: the file's size, as its matrices stay as they are stored; twice that where it holds f16 or bf16;
//! - PyTorch's files: their size, likewise doubled for a language model in 16 bits.
//!
//! A Qwen2.5-VL's files hold language model and vision tower side by side: of each only its own tensors count. The tower
//! is held in f32 whatever it is stored in.
//!
//! A language model whose arithmetic is in 16 bits, as on a GPU, takes 2 bytes a value ([`Package::memory_in`]); the
//! encoders stay in f32, and so does what comes from a GGUF file.
//!
//! KV cache, for the longest question that is reckoned with ([`QUESTION_PATCHES`], [`QUESTION_TOKENS`]):
//! `2 (keys and values) × layers × kv_heads × head_dim × 4 bytes × tokens`, where `context` is
//! `QUESTION_PATCHES × image_tokens + QUESTION_TOKENS + max_tokens`, and at most what the language model reads; the
//! image tokens twice, as they are kept for the next question.
//!
//! Not counted are the values between layers, which come and go, and what a question with more patches takes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Error, Package, VisionSpec};

/// Patches of the longest question that memory is reckoned for.
pub const QUESTION_PATCHES: usize = 4;
/// Tokens of its text: the prompt's frame, the question, its options and its context.
pub const QUESTION_TOKENS: usize = 512;

/// Bytes of a value in memory.
const VALUE: u64 = 4;
/// How PyTorch's zip files begin.
const ZIP: &[u8] = b"PK\x03\x04";
/// Bytes before the header of a safetensors file: its length.
const LENGTH_BYTES: u64 = 8;
/// The longest header that the safetensors format allows.
const LONGEST_HEADER: u64 = 100_000_000;

/// Bytes of memory that a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryNeed {
    /// The weights.
    pub weights: u64,
    /// The KV cache; `None` where the package does not state the language model's sizes in a JSON file.
    pub cache: Option<u64>,
}

impl MemoryNeed {
    /// All that is known of.
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.cache.unwrap_or(0))
    }
}

/// A safetensors file's header.
#[derive(Deserialize)]
struct Header {
    #[serde(rename = "__metadata__", default)]
    _metadata: Option<IgnoredAny>,
    #[serde(flatten)]
    tensors: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    shape: Vec<u64>,
}

impl Header {
    /// Bytes in memory of some tensors, at so many bytes a value.
    fn bytes(&self, part: Part<'_>, value: u64) -> u64 {
        let counted = self.tensors.iter().filter(|(name, _)| part.has(name));
        counted.fold(0, |sum: u64, (_, entry)| {
            sum.saturating_add(entry.shape.iter().fold(value, |bytes, &length| bytes.saturating_mul(length)))
        })
    }
}

/// Which tensors of a file count.
#[derive(Clone, Copy)]
enum Part<'a> {
    /// Those below a prefix, with or without its dot; nothing: all.
    Below(&'a str),
    Tower,
    /// All but the tower.
    Decoder,
}

impl Part<'_> {
    fn has(self, name: &str) -> bool {
        let is_of_the_tower = || VisionSpec::own_name(name).is_some();
        match self {
            Self::Below(prefix) => {
                let prefix = prefix.trim_end_matches('.');
                let rest = name.strip_prefix(prefix);
                rest.is_some_and(|rest| prefix.is_empty() || rest.starts_with('.'))
            }
            Self::Tower => is_of_the_tower(),
            Self::Decoder => !is_of_the_tower(),
        }
    }
}

/// The sizes of a Llama, in Hugging Face's names or in Meta's.
#[derive(Deserialize)]
struct Sizes {
    #[serde(alias = "n_layers")]
    num_hidden_layers: u64,
    #[serde(alias = "dim")]
    hidden_size: u64,
    #[serde(alias = "n_heads")]
    num_attention_heads: u64,
    #[serde(alias = "n_kv_heads")]
    num_key_value_heads: Option<u64>,
    head_dim: Option<u64>,
    max_position_embeddings: Option<u64>,
}

impl Sizes {
    /// Reads them where they are: in the file itself, or in the part of it that is the language model's.
    fn read(text: &[u8]) -> serde_json::Result<Self> {
        let mut file: Value = serde_json::from_slice(text)?;
        match file.get_mut("text_config").map(Value::take) {
            Some(inner) if inner.get("num_hidden_layers").is_some() => serde_json::from_value(inner),
            _ => serde_json::from_value(file),
        }
    }
}

/// How the bytes of a file become bytes in memory.
#[derive(Clone, Copy)]
struct Growth {
    /// Bytes of a value in memory.
    value: u64,
    /// Bytes of a value in a file whose size is all that is looked at.
    stored: u64,
}

impl Growth {
    const NONE: Self = Self { value: VALUE, stored: VALUE };

    /// Of a vision tower that is stored in this precision. Eight bits a value and their scales are one byte here, as
    /// whoever reckons must not promise too little.
    fn of_tower(precision: &str) -> Self {
        let stored = match precision {
            "f16" | "bf16" => 2,
            "q8_0" => 1,
            _ => VALUE,
        };
        Self { value: VALUE, stored }
    }

    /// Of so many bytes in a file.
    fn of(self, bytes: u64) -> u64 {
        bytes.saturating_mul(self.value) / self.stored
    }
}

impl Package {
    /// The memory that the model takes, reckoned from the headers and sizes of the package's files.
    pub fn memory(&self) -> Result<MemoryNeed, Error> {
        self.memory_in(VALUE)
    }

    /// The same where the language model's arithmetic has so many bytes a value (4 for f32, 2 for bf16 and f16).
    pub fn memory_in(&self, value: u64) -> Result<MemoryNeed, Error> {
        let weights = self.other_memory()?.saturating_add(self.language_memory(value)?);
        Ok(MemoryNeed { weights, cache: self.cache_memory(value)? })
    }

    /// Bytes of the language model's weights alone, as in [`Self::memory_in`].
    pub fn language_memory(&self, value: u64) -> Result<u64, Error> {
        let language = &self.manifest.language;
        let stored = match language.precision.as_str() {
            "f16" | "bf16" => 2,
            // Also what is quantised, of which only the size counts.
            _ => VALUE,
        };
        let part = if self.manifest.vision.is_some() { Part::Decoder } else { Part::Below("") };
        language.weights.iter().try_fold(0, |sum: u64, name| {
            // What a GGUF file has in full precision is held in f32.
            let value = if is_gguf(name) { VALUE } else { value };
            Ok(sum.saturating_add(self.file_memory(name, part, Growth { value, stored })?))
        })
    }

    /// Bytes of everything but the language model.
    fn other_memory(&self) -> Result<u64, Error> {
        let m = &self.manifest;
        let encoders = (m.encoders.iter())
            .flat_map(|e| e.weights.iter().map(move |name| (name.clone(), Part::Below(&e.prefix))));
        let projector = (!m.projector.is_absent())
            .then(|| (m.projector.weights.clone(), Part::Below(m.projector.prefix.as_str())));
        let range = m.knows.feature_range.iter().map(|range| (range.weights.clone(), Part::Below("")));
        let files: Vec<(String, Part<'_>)> = encoders
            .chain(projector)
            .chain(range)
            // An adapter's tensors are there at least until they are merged.
            .chain(self.adapter_files().map(|name| (name, Part::Below(""))))
            .collect();
        let tower = m.vision.as_ref().map_or(Ok(0), |vision| self.tower_memory(vision))?;
        files.into_iter().try_fold(tower, |sum: u64, (name, part)| {
            Ok(sum.saturating_add(self.file_memory(&name, part, Growth::NONE)?))
        })
    }

    /// Bytes of the vision tower.
    fn tower_memory(&self, vision: &VisionSpec) -> Result<u64, Error> {
        let growth = Growth::of_tower(&vision.precision);
        vision.weights.iter().try_fold(0, |sum: u64, name| {
            Ok(sum.saturating_add(self.file_memory(name, Part::Tower, growth)?))
        })
    }

    /// The adapters' weight files.
    fn adapter_files(&self) -> impl Iterator<Item = String> {
        let folders: Vec<&Path> =
            self.manifest.adapters.iter().map(|a| Path::new(a.folder.as_str())).collect();
        self.files().filter(move |name| {
            !is_json(name) && folders.iter().any(|folder| Path::new(name.as_str()).starts_with(folder))
        })
    }

    /// Bytes that a weight file takes in memory.
    fn file_memory(&self, name: &str, part: Part<'_>, growth: Growth) -> Result<u64, Error> {
        let path = self.file(name);
        let unreadable = |source| Error::Read { source, path: path.clone() };
        let damaged = |reason: String| Error::Damaged { reason, path: path.clone() };
        let file = File::open(&path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        if is_gguf(name) {
            return Ok(growth.of(length));
        }
        let mut begin = Vec::new();
        (&file).take(LENGTH_BYTES).read_to_end(&mut begin).map_err(unreadable)?;
        if begin.starts_with(ZIP) {
            // Which tensors it holds is not looked at: all count as the language model's.
            return Ok(if matches!(part, Part::Tower) { 0 } else { growth.of(length) });
        }
        let Ok(begin) = <[u8; LENGTH_BYTES as usize]>::try_from(begin) else {
            return Err(damaged(format!("{length} bytes are no weight file")));
        };
        let header = u64::from_le_bytes(begin);
        if header > length.saturating_sub(LENGTH_BYTES).min(LONGEST_HEADER) {
            return Err(damaged("it is no whole safetensors file".to_owned()));
        }
        let mut text = Vec::new();
        (&file).take(header).read_to_end(&mut text).map_err(unreadable)?;
        let header: Header = serde_json::from_slice(&text)
            .map_err(|error| damaged(format!("its header is not understood, {error}")))?;
        Ok(header.bytes(part, growth.value))
    }

    fn cache_memory(&self, value: u64) -> Result<Option<u64>, Error> {
        let m = &self.manifest;
        let value = if m.language.weights.iter().any(|name| is_gguf(name)) { VALUE } else { value };
        if !is_json(&m.language.config) {
            return Ok(None);
        }
        let path = self.file(&m.language.config);
        let text = std::fs::read(&path).map_err(|source| Error::Read { source, path: path.clone() })?;
        let damaged = |reason: String| Error::Damaged { reason, path: path.clone() };
        let sizes = Sizes::read(&text)
            .map_err(|error| damaged(format!("the language model's sizes are not understood, {error}")))?;
        let heads = sizes.num_attention_heads;
        let head_dim = sizes
            .head_dim
            .or_else(|| sizes.hidden_size.checked_div(heads))
            .ok_or_else(|| damaged("the language model has no heads".to_owned()))?;
        let wanted = QUESTION_PATCHES
            .saturating_mul(m.image_tokens())
            .saturating_add(QUESTION_TOKENS)
            .saturating_add(m.generation.max_tokens);
        let context = sizes.max_position_embeddings.unwrap_or(u64::MAX).min(wanted as u64);
        // What goes before the question is kept for the next one, beside the answer's own cache (`recent.rs`).
        let kept = (QUESTION_PATCHES.saturating_mul(m.image_tokens()) as u64).min(context);
        let tokens = context.saturating_add(kept);
        let factors =
            [sizes.num_hidden_layers, sizes.num_key_value_heads.unwrap_or(heads), head_dim, value, tokens];
        Ok(Some(factors.into_iter().fold(2, u64::saturating_mul)))
    }
}

fn is_gguf(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "gguf")
}

fn is_json(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "json")
}

#[cfg(test)]
mod tests;
