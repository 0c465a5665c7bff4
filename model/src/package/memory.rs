//! How much memory a package's model takes, reckoned from its files without reading a weight: what can be said before
//! anything is loaded.
//!
//! Weights, by what `weights.rs` and `weights/gguf.rs` make of a file:
//! - safetensors: 4 bytes a value, as the arithmetic is f32 (a stored f16 or bf16 doubles); of an encoder's file only
//!   the tensors below its prefix;
//! - GGUF: the file's size, as its matrices stay as they are stored; twice that where it holds f16 or bf16;
//! - PyTorch's files: their size, likewise doubled for a language model in 16 bits.
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

use super::{Error, Package};

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
    /// Bytes in memory of the tensors below a prefix, which has its dot, at so many bytes a value.
    fn bytes(&self, prefix: &str, value: u64) -> u64 {
        let below = self.tensors.iter().filter(|(name, _)| name.starts_with(prefix));
        below.fold(0, |sum: u64, (_, entry)| {
            sum.saturating_add(entry.shape.iter().fold(value, |bytes, &length| bytes.saturating_mul(length)))
        })
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
        language.weights.iter().try_fold(0, |sum: u64, name| {
            // What a GGUF file has in full precision is held in f32.
            let value = if is_gguf(name) { VALUE } else { value };
            Ok(sum.saturating_add(self.file_memory(name, "", Growth { value, stored })?))
        })
    }

    /// Bytes of everything but the language model.
    fn other_memory(&self) -> Result<u64, Error> {
        let m = &self.manifest;
        let encoders = m
            .encoders
            .iter()
            .flat_map(|e| e.weights.iter().map(move |name| (name.clone(), e.prefix.as_str())));
        let single = [(&m.projector.weights, m.projector.prefix.as_str())]
            .into_iter()
            .chain(m.knows.feature_range.iter().map(|range| (&range.weights, "")));
        let files: Vec<(String, &str)> = encoders
            .chain(single.map(|(name, prefix)| (name.clone(), prefix)))
            // An adapter's tensors are there at least until they are merged.
            .chain(self.adapter_files().map(|name| (name, "")))
            .collect();
        files.into_iter().try_fold(0, |sum: u64, (name, prefix)| {
            Ok(sum.saturating_add(self.file_memory(&name, prefix, Growth::NONE)?))
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
    fn file_memory(&self, name: &str, prefix: &str, growth: Growth) -> Result<u64, Error> {
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
            return Ok(growth.of(length));
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
        let prefix = match prefix.trim_end_matches('.') {
            "" => String::new(),
            prefix => format!("{prefix}."),
        };
        Ok(header.bytes(&prefix, growth.value))
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
        let sizes: Sizes = serde_json::from_slice(&text)
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
mod tests {
    use super::super::Manifest;
    use super::*;

    /// 16 image tokens a patch, answers of at most 100 tokens.
    const MANIFEST: &str = r#"
        format = 1
        name = "test"
        architecture = "reinpath"
        [patch]
        size_px = 224
        mpp = 0.5
        [[encoders]]
        kind = "conch"
        weights = ["conch.safetensors"]
        image_size = 32
        resize = "bicubic"
        mean = [0.5, 0.5, 0.5]
        std = [0.5, 0.5, 0.5]
        patch_size = 8
        width = 8
        layers = 1
        heads = 1
        mlp_width = 8
        prefix = "visual.trunk."
        [fusion]
        grid = "pooled"
        [projector]
        weights = "projector.safetensors"
        hidden = 4
        [language]
        kind = "llama"
        weights = ["language.gguf"]
        config = "config.json"
        tokenizer = "tokenizer.json"
        chat_template = "llama-3"
        precision = "q8_0"
        [generation]
        temperature = 0.0
        top_p = 1.0
        max_tokens = 100
        stop = []
    "#;

    const CONFIG: &str = r#"{"num_hidden_layers": 3, "hidden_size": 64, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 4096}"#;

    fn safetensors(header: &str) -> Vec<u8> {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file
    }

    /// A package whose encoder has 6 values in f16 beside a text tower, whose projector has 10, and whose language model
    /// is a file of 1000 bytes.
    fn package() -> (tempfile::TempDir, Package) {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        let conch = r#"{"__metadata__": {"format": "pt"},
            "visual.trunk.w": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]},
            "text.w": {"dtype": "F16", "shape": [500], "data_offsets": [12, 1012]}}"#;
        write("conch.safetensors", &safetensors(conch));
        let projector = r#"{"w": {"dtype": "F32", "shape": [2, 5], "data_offsets": [0, 40]}}"#;
        write("projector.safetensors", &safetensors(projector));
        write("language.gguf", &[0; 1000]);
        write("config.json", CONFIG.as_bytes());
        let manifest = Manifest::parse(MANIFEST, Path::new("reinpath.toml")).unwrap();
        let package = Package { folder: folder.path().to_owned(), manifest, hash: String::new() };
        (folder, package)
    }

    #[test]
    fn halves_double_and_quantised_files_stay_as_they_are() {
        let (_folder, mut package) = package();
        assert_eq!(package.memory().unwrap().weights, 6 * 4 + 10 * 4 + 1000);
        package.manifest.language.precision = "bf16".to_owned();
        assert_eq!(package.memory().unwrap().weights, 6 * 4 + 10 * 4 + 2000);
        package.manifest.encoders[0].prefix = String::new();
        assert_eq!(package.memory().unwrap().weights, 506 * 4 + 10 * 4 + 2000, "the text tower too");
    }

    #[test]
    fn in_16_bits_the_language_model_takes_half_and_the_encoders_do_not() {
        let (folder, mut package) = package();
        let language = r#"{"w": {"dtype": "BF16", "shape": [10, 7], "data_offsets": [0, 140]}}"#;
        std::fs::write(folder.path().join("language.safetensors"), safetensors(language)).unwrap();
        let quantised = package.memory_in(2).unwrap();
        assert_eq!(quantised, package.memory().unwrap(), "a GGUF file is computed with in f32");
        package.manifest.language.weights = vec!["language.safetensors".to_owned()];
        package.manifest.language.precision = "bf16".to_owned();
        let (full, half) = (package.memory().unwrap(), package.memory_in(2).unwrap());
        assert_eq!((full.weights, half.weights), (6 * 4 + 10 * 4 + 70 * 4, 6 * 4 + 10 * 4 + 70 * 2));
        assert_eq!(half.cache.unwrap() * 2, full.cache.unwrap());
        assert_eq!(package.language_memory(2).unwrap(), 140);
    }

    #[test]
    fn the_cache_holds_a_long_question_and_its_answer_but_no_more_than_the_model_reads() {
        let (folder, package) = package();
        let context = 4 * 16 + 512 + 100;
        let a_token = 2 * 3 * 2 * 16 * 4;
        let need = package.memory().unwrap();
        assert_eq!(need.cache, Some(a_token * (context + 64)));
        assert_eq!(need.total(), need.weights + a_token * (context + 64));
        std::fs::write(folder.path().join("config.json"), CONFIG.replace("4096", "128")).unwrap();
        assert_eq!(package.memory().unwrap().cache, Some(a_token * (128 + 64)));
        // Meta's names; how much it reads is not stated.
        let params = r#"{"dim": 64, "n_layers": 3, "n_heads": 4, "n_kv_heads": 2, "norm_eps": 1e-5}"#;
        std::fs::write(folder.path().join("config.json"), params).unwrap();
        assert_eq!(package.memory().unwrap().cache, Some(a_token * (context + 64)));
    }

    #[test]
    fn sizes_that_are_in_no_json_file_are_not_guessed() {
        let (_folder, mut package) = package();
        package.manifest.language.config = "language.gguf".to_owned();
        let need = package.memory().unwrap();
        assert_eq!((need.cache, need.total()), (None, need.weights));
    }

    #[test]
    fn damaged_files_are_named() {
        let (folder, package) = package();
        let refused = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            let before = std::fs::read(&path).unwrap();
            std::fs::write(&path, bytes).unwrap();
            let error = package.memory().unwrap_err().to_string();
            std::fs::write(&path, before).unwrap();
            assert!(error.ends_with(name), "{error}");
            error
        };
        assert!(refused("conch.safetensors", b"short").contains("5 bytes"));
        assert!(refused("conch.safetensors", &u64::MAX.to_le_bytes()).contains("no whole safetensors"));
        assert!(refused("projector.safetensors", &safetensors("[1]")).contains("header"));
        assert!(refused("config.json", b"{}").contains("num_hidden_layers"));
        let headless = CONFIG.replace("\"num_attention_heads\": 4", "\"num_attention_heads\": 0");
        assert!(refused("config.json", headless.as_bytes()).contains("no heads"));
        // Sizes beyond all bounds are no reason to stop.
        let huge = r#"{"w": {"dtype": "F32", "shape": [18446744073709551615, 9], "data_offsets": [0, 0]}}"#;
        std::fs::write(folder.path().join("projector.safetensors"), safetensors(huge)).unwrap();
        assert_eq!(package.memory().unwrap().total(), u64::MAX);
    }

    #[cfg(feature = "inference")]
    #[test]
    fn what_is_reckoned_is_what_a_loaded_model_takes() {
        use crate::fixture::{Speech, write_package};
        use crate::reinpath::ReinPath;

        let folder = tempfile::tempdir().unwrap();
        write_package(folder.path(), Speech::Babble(2)).unwrap();
        let package = Package::open(folder.path()).unwrap();
        let model = ReinPath::load(&package, &candle_core::Device::Cpu, &mut |_, _| true).unwrap();
        assert_eq!(package.memory().unwrap().weights, model.size.memory);
    }
}
