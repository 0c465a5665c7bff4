//! GGUF files of Llamas and of the language models of Qwen2.5-VL: configuration, and tensors under Hugging Face's names,
//! matrices as they are stored.
//!
//! llama.cpp stores the rows of a Llama's queries and keys in pairs (`permute` in `convert_hf_to_gguf.py`); here they are
//! put back into halves, row by row and without touching what is quantised, so that one rotation serves all formats and
//! adapters fit. Quantised matrices stay in the mapped file (`quantised.rs`). Frequencies that are scaled for long
//! contexts (Llama 3.1 and 3.2) come as a tensor of factors.

mod header;
mod names;

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use memmap2::Mmap;

pub(crate) use self::header::Value;
use self::header::{Header, TensorInfo};
pub(super) use self::names::{Architecture, ROPE_FACTORS, paired, stored_name};
use super::{Error, Float, Ledger, Size, in_halves, mapped};
use crate::llama::LlamaConfig;
use crate::quantised::Quantised;
use crate::tensors::{QuantisedMatrices, Tensors};

/// A mapped GGUF file.
pub struct Gguf {
    pub(super) path: PathBuf,
    map: Arc<Mmap>,
    header: Header,
}

impl Gguf {
    /// Maps a file and reads its header.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let unreadable = |source| Error::Read { source, path: path.to_owned() };
        let foreign = |reason: String| Error::Gguf { reason, path: path.to_owned() };
        let map = mapped(&File::open(path).map_err(unreadable)?).map_err(unreadable)?;
        let header = Header::read(&map).map_err(foreign)?;
        let all = header.tensors.values().try_fold(0usize, |all, info| all.checked_add(info.bytes()?));
        if all.is_none_or(|all| all > map.len()) {
            return Err(foreign("its tensors would take more than the file holds".to_owned()));
        }
        let layers = header.tensors.keys().filter_map(|name| name.strip_prefix("blk.")?.split('.').next());
        let layers =
            layers.filter_map(|layer| layer.parse::<u32>().ok()).max().map_or(0, |last| u64::from(last) + 1);
        let gguf = Self { path: path.to_owned(), map: Arc::new(map), header };
        let stated = gguf.text("general.architecture").map(|kind| format!("{kind}.block_count"));
        let stated = stated.and_then(|key| gguf.value(&key)?.unsigned());
        if stated.is_some_and(|stated| stated < layers) {
            return Err(gguf.error(format!("it has {layers} layers and claims fewer")));
        }
        Ok(gguf)
    }

    pub(super) fn error(&self, reason: impl Into<String>) -> Error {
        Error::Gguf { reason: reason.into(), path: self.path.clone() }
    }

    /// A value of the metadata.
    pub(crate) fn value(&self, key: &str) -> Option<Value<'_>> {
        self.header.value(&self.map, key)
    }

    /// An array of the metadata, each element as `of` reads it; `None` where there is none such.
    pub(crate) fn list<'a, T>(&'a self, key: &str, of: impl Fn(Value<'a>) -> Option<T>) -> Option<Vec<T>> {
        self.header.list(&self.map, key, of)
    }

    /// A text of the metadata.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self.value(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// llama.cpp's name of how the file is quantised (`llama_ftype` in `llama.h`); `gguf` where it is none of the usual.
    pub fn file_type(&self) -> &'static str {
        match self.value("general.file_type").and_then(Value::unsigned) {
            Some(0) => "f32",
            Some(1) => "f16",
            Some(2) => "q4_0",
            Some(7) => "q8_0",
            Some(8) => "q5_0",
            Some(14) => "q4_k_s",
            Some(15) => "q4_k_m",
            Some(16) => "q5_k_s",
            Some(17) => "q5_k_m",
            Some(18) => "q6_k",
            Some(32) => "bf16",
            _ => "gguf",
        }
    }

    fn number(&self, key: &str) -> Result<f64, Error> {
        let value = self.value(key).ok_or_else(|| self.error(format!("{key} is missing")))?;
        value.float().ok_or_else(|| self.error(format!("{key} is no number")))
    }

    /// A number that may be missing, but not be something else.
    fn number_or(&self, key: &str, default: f64) -> Result<f64, Error> {
        if self.value(key).is_none() { Ok(default) } else { self.number(key) }
    }

    /// Which of llama.cpp's architectures the file holds.
    fn architecture(&self) -> Result<Architecture, Error> {
        let kind = self.text("general.architecture");
        let kind = kind.ok_or_else(|| self.error("general.architecture is missing"))?;
        Architecture::named(kind).ok_or_else(|| {
            self.error(format!("this is a model of the kind '{kind}', not a Llama and not a Qwen2.5-VL"))
        })
    }

    /// The shape of the language model in the file.
    pub fn config(&self) -> Result<LlamaConfig, Error> {
        let architecture = self.architecture()?;
        let key = |name: &str| format!("{}.{name}", architecture.name());
        if self.number_or(&key("expert_count"), 0.0)? > 0.0 {
            return Err(self.error("a language model with experts is not supported"));
        }
        if let Some(other) = self.text(&key("rope.scaling.type")).filter(|&kind| kind != "none") {
            return Err(
                self.error(format!("positions that are scaled in the way '{other}' are not supported"))
            );
        }
        let embedding = self.info("model.embed_tokens.weight")?;
        let heads = self.number(&key("attention.head_count"))?;
        let hidden = self.number(&key("embedding_length"))?;
        let mut config = serde_json::json!({
            "hidden_size": hidden as u64,
            "intermediate_size": self.number(&key("feed_forward_length"))? as u64,
            "num_hidden_layers": self.number(&key("block_count"))? as u64,
            "num_attention_heads": heads as u64,
            "num_key_value_heads": self.number_or(&key("attention.head_count_kv"), heads)? as u64,
            "vocab_size": embedding.shape.first(),
            "rms_norm_eps": self.number(&key("attention.layer_norm_rms_epsilon"))?,
            "rope_theta": self.number_or(&key("rope.freq_base"), 10_000.0)?,
            "max_position_embeddings": self.number(&key("context_length"))? as u64,
            "tie_word_embeddings": self.info("lm_head.weight").is_err(),
        });
        if let Ok(head_dim) = self.number(&key("attention.key_length")) {
            config["head_dim"] = (head_dim as u64).into();
        }
        match architecture {
            Architecture::Llama => self.with_factors(config),
            Architecture::Qwen2Vl => {
                let sections = key("rope.dimension_sections");
                let sections = self.list(&sections, Value::unsigned).ok_or_else(|| {
                    self.error(format!("{sections}, which tells how positions turn, is missing"))
                })?;
                // The fourth is of no use to these models.
                let sections = sections.strip_suffix(&[0]).unwrap_or(&sections);
                config["model_type"] = "qwen2_5_vl_text".into();
                config["rope_parameters"] = serde_json::json!({ "mrope_section": sections });
                LlamaConfig::of_qwen(&config).map_err(|reason| self.error(reason))
            }
        }
    }

    /// The configuration of a Llama, with what the file says of its frequencies.
    fn with_factors(&self, config: serde_json::Value) -> Result<LlamaConfig, Error> {
        let mut config: LlamaConfig =
            serde_json::from_value(config).map_err(|e| self.error(e.to_string()))?;
        if self.header.tensors.contains_key(ROPE_FACTORS) {
            let factors = self.values(ROPE_FACTORS, &[config.head_dim / 2], None)?;
            if factors.iter().any(|f| !f.is_finite() || *f <= 0.0) {
                return Err(self.error(format!("the tensor {ROPE_FACTORS} holds no factors")));
            }
            config.rope_factors = Some(factors);
        }
        Ok(config)
    }

    /// Builds something from the tensors, as [`super::Weights::build`] does.
    pub fn build<T>(
        self: &Arc<Self>,
        device: &Device,
        config: &LlamaConfig,
        build: impl FnOnce(&Tensors<'_>) -> candle_core::Result<T>,
    ) -> Result<(T, Size), Error> {
        let source =
            Arc::new(Source { gguf: Arc::clone(self), config: config.clone(), ledger: Ledger::default() });
        let full = VarBuilder::from_backend(Box::new(Full(Arc::clone(&source))), DType::F32, device.clone());
        let built = build(&Tensors::with_quantised(&full, Arc::clone(&source) as Arc<dyn QuantisedMatrices>));
        source.ledger.settle(built)
    }

    pub(super) fn not_finite(&self, name: &str) -> Error {
        Error::NotFinite { tensor: stored_name(name), path: self.path.clone() }
    }

    pub(super) fn info(&self, name: &str) -> Result<&TensorInfo, Error> {
        let stored = stored_name(name);
        self.header.tensors.get(&stored).ok_or_else(|| self.error(format!("the tensor {stored} is missing")))
    }

    /// Where the bytes of a tensor lie; shape and place are checked before anything is allocated.
    fn place(&self, name: &str, expected: &[usize]) -> Result<(Range<usize>, GgmlDType), Error> {
        let info = self.info(name)?;
        if info.shape != expected {
            return Err(Error::Shape {
                tensor: stored_name(name),
                expected: expected.to_vec(),
                found: info.shape.clone(),
                path: self.path.clone(),
            });
        }
        let (block, size) = (info.kind.block_size(), info.kind.type_size());
        let columns = expected.last().copied().unwrap_or_default();
        let values = expected.iter().try_fold(1usize, |n, dim| n.checked_mul(*dim));
        let end = values
            .filter(|_| columns.is_multiple_of(block))
            .and_then(|values| (values / block).checked_mul(size))
            .and_then(|bytes| {
                let start = usize::try_from(self.header.data.checked_add(info.offset)?).ok()?;
                Some(start..start.checked_add(bytes)?)
            })
            .filter(|place| place.end <= self.map.len());
        let place =
            end.ok_or_else(|| self.error(format!("the tensor {} lies outside the file", stored_name(name))))?;
        Ok((place, info.kind))
    }

    /// The bytes of a tensor.
    pub(super) fn bytes(&self, name: &str, expected: &[usize]) -> Result<(&[u8], GgmlDType), Error> {
        let (place, kind) = self.place(name, expected)?;
        Ok((&self.map[place], kind))
    }

    /// The values of a tensor. Those in full precision are converted from where they lie in the file to where they
    /// belong: besides the result nothing of its size is held. `paired`: heads in whose rows pairs are stored.
    pub(super) fn values(
        &self,
        name: &str,
        shape: &[usize],
        paired: Option<usize>,
    ) -> Result<Vec<f32>, Error> {
        let (bytes, kind) = self.bytes(name, shape)?;
        let rows = shape.first().copied().unwrap_or(1);
        let paired = paired.filter(|&heads| heads > 0 && rows > 0 && rows.is_multiple_of(2 * heads));
        let mut values = Vec::with_capacity(shape.iter().product());
        if let Some(kind) = in_full(kind) {
            match paired {
                None => kind.append(bytes, &mut values),
                Some(heads) => {
                    let length = bytes.len() / rows;
                    in_halves(rows, heads)
                        .for_each(|row| kind.append(&bytes[row * length..][..length], &mut values));
                }
            }
        } else {
            let dequantised = quantised(bytes, kind, shape).and_then(|tensor| tensor.to_vec1::<f32>());
            let dequantised = dequantised.map_err(|e| {
                let (name, reason) = (stored_name(name), crate::reinpath::sentence(&e));
                self.error(format!("the tensor {name} cannot be used, {reason}"))
            })?;
            match paired {
                None => values = dequantised,
                Some(heads) => {
                    let length = dequantised.len() / rows;
                    in_halves(rows, heads)
                        .for_each(|row| values.extend_from_slice(&dequantised[row * length..][..length]));
                }
            }
        }
        if values.iter().any(|value| !value.is_finite()) {
            return Err(self.not_finite(name));
        }
        Ok(values)
    }
}

/// How values of a kind are stored, where that is in full precision.
fn in_full(kind: GgmlDType) -> Option<Float> {
    match kind {
        GgmlDType::F32 => Some(Float::F32),
        GgmlDType::F16 => Some(Float::F16),
        GgmlDType::BF16 => Some(Float::Bf16),
        _ => None,
    }
}

/// Values that are stored in blocks, one after the other.
fn quantised(bytes: &[u8], kind: GgmlDType, shape: &[usize]) -> candle_core::Result<Tensor> {
    // A vector is to candle one row.
    let rows = if let &[length] = shape { vec![1, length] } else { shape.to_vec() };
    // Candle reads whole blocks, which need not lie in the file as they would in memory. A language model's matrices do not
    // come here: they stay quantised.
    let storage = QStorage::from_data(bytes.to_vec().into(), &Device::Cpu, kind)?;
    QTensor::new(storage, rows)?.dequantize(&Device::Cpu)?.flatten_all()
}

struct Source {
    gguf: Arc<Gguf>,
    config: LlamaConfig,
    ledger: Ledger,
}

impl Source {
    /// A tensor in full precision.
    fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        self.gguf.values(name, shape, paired(name, &self.config))
    }
}

impl QuantisedMatrices for Source {
    fn matrix(
        &self,
        name: &str,
        shape: (usize, usize),
        device: &Device,
    ) -> candle_core::Result<Option<Quantised>> {
        let (place, kind) = self.ledger.keep(self.gguf.place(name, &[shape.0, shape.1]))?;
        if matches!(kind, GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16) {
            return Ok(None);
        }
        let paired = paired(name, &self.config);
        let matrix = Quantised::mapped(&self.gguf.map, place, kind, shape, paired)
            .map_err(|reason| self.gguf.error(format!("the tensor {} {reason}", stored_name(name))));
        let matrix = self.ledger.keep(matrix)?;
        self.ledger.count(shape.0 * shape.1, matrix.bytes());
        matrix.on(device).map(Some)
    }
}

struct Full(Arc<Source>);

impl SimpleBackend for Full {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _init: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let values = self.0.ledger.keep(self.0.values(name, shape.dims()))?;
        self.0.ledger.count(shape.elem_count(), shape.elem_count() * dtype.size_in_bytes());
        Tensor::from_vec(values, shape, device)?.to_dtype(dtype)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let shape = self
            .0
            .gguf
            .info(name)
            .map_or_else(|_missing| Shape::from(()), |info| Shape::from(info.shape.clone()));
        self.get(shape, name, Init::Const(0.0), dtype, device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.gguf.info(name).is_ok()
    }
}

#[cfg(test)]
mod tests;
