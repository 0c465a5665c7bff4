//! GGUF files of Llamas: configuration, and tensors under Hugging Face's names, matrices as they are stored.
//!
//! llama.cpp stores the rows of queries and keys in pairs (`permute` in `convert_hf_to_gguf.py`); here they are put
//! back into halves, row by row and without touching what is quantised, so that one rotation serves all formats and
//! adapters fit. Quantised matrices stay in the mapped file (`quantised.rs`). Frequencies that are scaled for long
//! contexts (Llama 3.1 and 3.2) come as a tensor of factors.

mod header;

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
        let stated = header.value(&map, "llama.block_count").and_then(Value::unsigned);
        if stated.is_some_and(|stated| stated < layers) {
            return Err(foreign(format!("it has {layers} layers and claims fewer")));
        }
        Ok(Self { path: path.to_owned(), map: Arc::new(map), header })
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

    /// The shape of the Llama in the file.
    pub fn config(&self) -> Result<LlamaConfig, Error> {
        match self.text("general.architecture") {
            Some("llama") => {}
            Some(other) => {
                return Err(self.error(format!("this is a model of the kind '{other}', not a Llama")));
            }
            None => return Err(self.error("general.architecture is missing")),
        }
        if self.number_or("llama.expert_count", 0.0)? > 0.0 {
            return Err(self.error("a Llama with experts is not supported"));
        }
        if let Some(other) = self.text("llama.rope.scaling.type").filter(|&kind| kind != "none") {
            return Err(
                self.error(format!("positions that are scaled in the way '{other}' are not supported"))
            );
        }
        let embedding = self.info("model.embed_tokens.weight")?;
        let heads = self.number("llama.attention.head_count")?;
        let hidden = self.number("llama.embedding_length")?;
        let mut config = serde_json::json!({
            "hidden_size": hidden as u64,
            "intermediate_size": self.number("llama.feed_forward_length")? as u64,
            "num_hidden_layers": self.number("llama.block_count")? as u64,
            "num_attention_heads": heads as u64,
            "num_key_value_heads": self.number_or("llama.attention.head_count_kv", heads)? as u64,
            "vocab_size": embedding.shape.first(),
            "rms_norm_eps": self.number("llama.attention.layer_norm_rms_epsilon")?,
            "rope_theta": self.number_or("llama.rope.freq_base", 10_000.0)?,
            "max_position_embeddings": self.number("llama.context_length")? as u64,
            "tie_word_embeddings": self.info("lm_head.weight").is_err(),
        });
        if let Ok(head_dim) = self.number("llama.attention.key_length") {
            config["head_dim"] = (head_dim as u64).into();
        }
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
        let source = Arc::new(Source {
            gguf: Arc::clone(self),
            heads: (config.num_attention_heads, config.num_key_value_heads),
            ledger: Ledger::default(),
        });
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
    fn values(&self, name: &str, shape: &[usize], paired: Option<usize>) -> Result<Vec<f32>, Error> {
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

/// The tensor of factors that frequencies are divided by.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// `blk.0.attn_q.weight` for `model.layers.0.self_attn.q_proj.weight`.
pub(super) fn stored_name(name: &str) -> String {
    match name {
        "model.embed_tokens.weight" => return "token_embd.weight".to_owned(),
        "model.norm.weight" => return "output_norm.weight".to_owned(),
        "lm_head.weight" => return "output.weight".to_owned(),
        _ => {}
    }
    let Some((layer, part)) = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.')) else {
        return name.to_owned();
    };
    let stored = match part {
        "input_layernorm.weight" => "attn_norm",
        "self_attn.q_proj.weight" => "attn_q",
        "self_attn.k_proj.weight" => "attn_k",
        "self_attn.v_proj.weight" => "attn_v",
        "self_attn.o_proj.weight" => "attn_output",
        "post_attention_layernorm.weight" => "ffn_norm",
        "mlp.gate_proj.weight" => "ffn_gate",
        "mlp.up_proj.weight" => "ffn_up",
        "mlp.down_proj.weight" => "ffn_down",
        _ => return name.to_owned(),
    };
    format!("blk.{layer}.{stored}.weight")
}

/// Values that are stored in blocks, one after the other.
fn quantised(bytes: &[u8], kind: GgmlDType, shape: &[usize]) -> candle_core::Result<Tensor> {
    // A vector is to candle one row.
    let rows = if let &[length] = shape { vec![1, length] } else { shape.to_vec() };
    // Candle reads whole blocks, which need not lie in the file as they would in memory. Only vectors come here: a matrix
    // stays quantised.
    let storage = QStorage::from_data(bytes.to_vec().into(), &Device::Cpu, kind)?;
    QTensor::new(storage, rows)?.dequantize(&Device::Cpu)?.flatten_all()
}

struct Source {
    gguf: Arc<Gguf>,
    /// Heads of queries and of keys.
    heads: (usize, usize),
    ledger: Ledger,
}

impl Source {
    /// Heads in whose rows a tensor is stored in pairs.
    fn paired(&self, name: &str) -> Option<usize> {
        match name {
            name if name.ends_with("self_attn.q_proj.weight") => Some(self.heads.0),
            name if name.ends_with("self_attn.k_proj.weight") => Some(self.heads.1),
            _ => None,
        }
    }

    /// A tensor in full precision.
    fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        self.gguf.values(name, shape, self.paired(name))
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
        let matrix = Quantised::mapped(&self.gguf.map, place, kind, shape, self.paired(name))
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
mod tests {
    use candle_nn::VarMap;
    use half::f16;

    use super::super::Weights;
    use super::super::quantise::{Recipe, quantise};
    use super::*;
    use crate::llama::Llama;

    #[test]
    fn matrices_in_16_bits_come_back_as_they_were_with_their_rows_in_halves() {
        let folder = tempfile::tempdir().unwrap();
        // No block fits 16 columns, so that all matrices are stored in f16.
        let config = serde_json::json!({
            "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4,
            "num_key_value_heads": 2, "vocab_size": 30, "rms_norm_eps": 1e-5, "max_position_embeddings": 64
        });
        let config: LlamaConfig = serde_json::from_value(config).unwrap();
        let map = VarMap::new();
        Llama::load(&VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu), &config).unwrap();
        let (path, file) = (folder.path().join("whole.safetensors"), folder.path().join("tiny.gguf"));
        map.save(&path).unwrap();
        let whole = Weights::open(&[path]).unwrap();
        quantise(&whole, &config, Recipe::Q8_0, &file, &mut |_| true).unwrap();
        let gguf = Gguf::open(&file).unwrap();
        for (part, heads) in [("q_proj", Some(4)), ("k_proj", Some(2)), ("v_proj", None)] {
            let name = format!("model.layers.0.self_attn.{part}.weight");
            let shape = whole.shape(&name).unwrap().to_vec();
            assert_eq!(gguf.bytes(&name, &shape).unwrap().1, GgmlDType::F16);
            let values = whole.values(&name, whole.find(&name, &shape).unwrap()).unwrap();
            let want: Vec<f32> = values.iter().map(|&value| f16::from_f32(value).to_f32()).collect();
            assert_eq!(gguf.values(&name, &shape, heads).unwrap(), want, "{part}");
        }
    }

    #[test]
    fn names_are_translated_and_others_kept() {
        assert_eq!(stored_name("model.layers.12.mlp.down_proj.weight"), "blk.12.ffn_down.weight");
        assert_eq!(stored_name("lm_head.weight"), "output.weight");
        assert_eq!(stored_name("rope_freqs.weight"), "rope_freqs.weight");
    }
}
