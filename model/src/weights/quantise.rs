//! Quantising a Llama, or the language model of a Qwen2.5-VL: from its full-precision files to one GGUF file.
//!
//! Which matrix gets how many bits is llama.cpp's recipe (`llama-quant.cpp`, `llama_tensor_get_type`); norms and biases
//! stay in full precision. Rows of a Llama's queries and keys are stored in pairs, as llama.cpp reads them.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

use super::gguf::{Architecture, ROPE_FACTORS, paired, stored_name};
use super::{Error, Weights};
use crate::llama::LlamaConfig;
use crate::package::more_bits;

/// How a model is quantised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// Eight bits everywhere: hardly to be told from full precision.
    Q8_0,
    /// Four bits, six where it matters most.
    Q4KM,
}

impl Recipe {
    /// Every recipe.
    pub const ALL: &[Self] = &[Self::Q8_0, Self::Q4KM];

    /// The name that llama.cpp gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q8_0 => "q8_0",
            Self::Q4KM => "q4_k_m",
        }
    }

    /// Bytes that the Llama of `config` takes when it is quantised so, in the file and in memory.
    pub fn bytes(self, config: &LlamaConfig) -> u64 {
        let of = |(name, shape): &(String, Vec<usize>)| {
            let values = shape.iter().fold(1, |values: u64, &length| values.saturating_mul(length as u64));
            let kind = match shape.as_slice() {
                [_, columns] => self.kind(name, *columns, config),
                _ => GgmlDType::F32,
            };
            // A matrix that no block fits is held in f32.
            let kind = if kind == GgmlDType::F16 { GgmlDType::F32 } else { kind };
            (values / kind.block_size() as u64).saturating_mul(kind.type_size() as u64)
        };
        names(config).iter().map(of).fold(0, u64::saturating_add)
    }

    /// llama.cpp's number of it (`llama_ftype`).
    fn file_type(self) -> u32 {
        match self {
            Self::Q8_0 => 7,
            Self::Q4KM => 15,
        }
    }

    /// What a matrix of `columns` is stored as; `name` is Hugging Face's.
    pub(super) fn kind(self, name: &str, columns: usize, config: &LlamaConfig) -> GgmlDType {
        // No block fits: llama.cpp's last resort, too (`tensor_type_fallback`).
        if !columns.is_multiple_of(32) {
            return GgmlDType::F16;
        }
        if self == Self::Q8_0 {
            return GgmlDType::Q8_0;
        }
        let layer = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.')?.0.parse().ok());
        let is_output =
            name == "lm_head.weight" || config.tie_word_embeddings && name == "model.embed_tokens.weight";
        let is_telling = name.ends_with("v_proj.weight") || name.ends_with("down_proj.weight");
        let layers = config.num_hidden_layers as u64;
        let more = is_output || is_telling && layer.is_some_and(|i| more_bits(i, layers));
        // Blocks of 256 do not fit every matrix.
        match (more, columns.is_multiple_of(256)) {
            (true, true) => GgmlDType::Q6K,
            (true, false) => GgmlDType::Q8_0,
            (false, true) => GgmlDType::Q4K,
            (false, false) => GgmlDType::Q5_0,
        }
    }
}

/// Writes the Llama of `config` in `weights` to `path`. `progress` gets the share that is done; `false` from it stops,
/// and nothing is written.
pub fn quantise(
    weights: &Weights,
    config: &LlamaConfig,
    recipe: Recipe,
    path: &Path,
    progress: &mut dyn FnMut(f32) -> bool,
) -> Result<(), Error> {
    let wanted = names(config);
    let mut tensors = Vec::with_capacity(wanted.len() + 1);
    for (done, (name, shape)) in wanted.iter().enumerate() {
        if !progress(done as f32 / wanted.len() as f32) {
            return Err(Error::Cancelled);
        }
        tensors.push((stored_name(name), quantised(weights, config, recipe, name, shape)?));
    }
    write(tensors, config, recipe, path)?;
    progress(1.0);
    Ok(())
}

/// Writes a file of a Llama's tensors under llama.cpp's names.
pub(super) fn write(
    mut tensors: Vec<(String, QTensor)>,
    config: &LlamaConfig,
    recipe: Recipe,
    path: &Path,
) -> Result<(), Error> {
    if let Some(factors) = config.rope_divisors() {
        let shape = factors.len();
        let factors = Tensor::from_vec(factors, shape, &Device::Cpu).and_then(|f| full(&f));
        tensors.push((ROPE_FACTORS.to_owned(), factors.map_err(|e| compute(&e))?));
    }
    let metadata = metadata(config, recipe);
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let tensors: Vec<(&str, &QTensor)> =
        tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let failed = |source| Error::Write { source, path: path.to_owned() };
    // Beside the file that is wanted, so that half a file never has its name.
    let part = path.with_extension("part");
    let mut file = BufWriter::new(File::create(&part).map_err(failed)?);
    gguf_file::write(&mut file, &metadata, &tensors).map_err(|e| failed(std::io::Error::other(e)))?;
    file.flush().map_err(failed)?;
    std::fs::rename(&part, path).map_err(failed)
}

pub(super) fn compute(error: &candle_core::Error) -> Error {
    Error::Compute(crate::reinpath::sentence(error))
}

/// Names and shapes of a Llama's tensors, a matrix as (out, in).
pub(super) fn names(config: &LlamaConfig) -> Vec<(String, Vec<usize>)> {
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let queries = config.num_attention_heads * config.head_dim;
    let keys = config.num_key_value_heads * config.head_dim;
    let mut names = vec![("model.embed_tokens.weight".to_owned(), vec![config.vocab_size, hidden])];
    for layer in 0..config.num_hidden_layers {
        for (part, shape) in [
            ("input_layernorm", vec![hidden]),
            ("self_attn.q_proj", vec![queries, hidden]),
            ("self_attn.k_proj", vec![keys, hidden]),
            ("self_attn.v_proj", vec![keys, hidden]),
            ("self_attn.o_proj", vec![hidden, queries]),
            ("post_attention_layernorm", vec![hidden]),
            ("mlp.gate_proj", vec![inner, hidden]),
            ("mlp.up_proj", vec![inner, hidden]),
            ("mlp.down_proj", vec![hidden, inner]),
        ] {
            names.push((format!("model.layers.{layer}.{part}.weight"), shape));
        }
        if config.attention_bias {
            for (part, rows) in [("q_proj", queries), ("k_proj", keys), ("v_proj", keys)] {
                names.push((format!("model.layers.{layer}.self_attn.{part}.bias"), vec![rows]));
            }
        }
    }
    names.push(("model.norm.weight".to_owned(), vec![hidden]));
    if !config.tie_word_embeddings {
        names.push(("lm_head.weight".to_owned(), vec![config.vocab_size, hidden]));
    }
    names
}

fn quantised(
    weights: &Weights,
    config: &LlamaConfig,
    recipe: Recipe,
    name: &str,
    shape: &[usize],
) -> Result<QTensor, Error> {
    let stored = weights.find(name, shape)?;
    let values =
        Tensor::from_vec(weights.values(name, stored)?, shape, &Device::Cpu).map_err(|e| compute(&e))?;
    let made = || match (paired(name, config), shape) {
        (Some(heads), &[rows, columns]) => {
            // (heads, 2, half, columns) to (heads, half, 2, columns): halves to pairs.
            let paired = values.reshape((heads, 2, rows / heads / 2, columns))?.transpose(1, 2)?;
            QTensor::quantize(&paired.reshape((rows, columns))?, recipe.kind(name, columns, config))
        }
        (None, &[_, columns]) => QTensor::quantize(&values, recipe.kind(name, columns, config)),
        _ => full(&values),
    };
    made().map_err(|e| compute(&e))
}

pub(super) fn full(values: &Tensor) -> candle_core::Result<QTensor> {
    QTensor::quantize(values, GgmlDType::F32)
}

fn metadata(config: &LlamaConfig, recipe: Recipe) -> Vec<(String, Value)> {
    let number = |value: usize| Value::U32(value as u32);
    let architecture = Architecture::of(config).name();
    let general = [
        ("general.architecture", Value::String(architecture.to_owned())),
        ("general.file_type", Value::U32(recipe.file_type())),
        ("general.quantization_version", Value::U32(2)),
        // The tokenizer lies beside the file, as tokenizer.json.
        ("tokenizer.ggml.model", Value::String("no_vocab".to_owned())),
    ];
    let own = [
        ("block_count", number(config.num_hidden_layers)),
        ("context_length", number(config.max_position_embeddings)),
        ("embedding_length", number(config.hidden_size)),
        ("feed_forward_length", number(config.intermediate_size)),
        ("attention.head_count", number(config.num_attention_heads)),
        ("attention.head_count_kv", number(config.num_key_value_heads)),
        ("attention.key_length", number(config.head_dim)),
        ("attention.value_length", number(config.head_dim)),
        ("attention.layer_norm_rms_epsilon", Value::F32(config.rms_norm_eps as f32)),
        ("rope.dimension_count", number(config.head_dim)),
        ("rope.freq_base", Value::F32(config.rope_theta as f32)),
        ("vocab_size", number(config.vocab_size)),
    ];
    let sections = config.mrope_section.map(|[time, row, column]| {
        let sections = [time, row, column, 0].map(|planes| Value::I32(planes as i32));
        ("rope.dimension_sections", Value::Array(sections.into()))
    });
    let own = own.into_iter().chain(sections).map(|(key, value)| (format!("{architecture}.{key}"), value));
    general.map(|(key, value)| (key.to_owned(), value)).into_iter().chain(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_tells_its_size_before_anything_is_quantised() {
        // Llama 3 8B, of which llama.cpp's files have 8.54 GB in Q8_0 and 4.92 GB in Q4_K_M, their tokenizer included.
        let config = serde_json::json!({
            "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
            "num_key_value_heads": 8, "vocab_size": 128_256, "rms_norm_eps": 1e-5,
            "max_position_embeddings": 8192, "tie_word_embeddings": false
        });
        let config: LlamaConfig = serde_json::from_value(config).unwrap();
        let gigabytes = |recipe: Recipe| recipe.bytes(&config) as f64 / 1e9;
        assert!((gigabytes(Recipe::Q8_0) - 8.53).abs() < 0.05, "{}", gigabytes(Recipe::Q8_0));
        assert!((gigabytes(Recipe::Q4KM) - 4.91).abs() < 0.05, "{}", gigabytes(Recipe::Q4KM));
    }

    /// The language model of a Qwen2.5-VL of these sizes.
    fn qwen([hidden, inner, layers, heads, kv_heads, vocabulary]: [usize; 6], is_tied: bool) -> LlamaConfig {
        let head_dim = hidden / heads;
        let config = serde_json::json!({
            "model_type": "qwen2_5_vl", "hidden_size": hidden, "intermediate_size": inner,
            "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
            "vocab_size": vocabulary, "rms_norm_eps": 1e-6, "rope_theta": 1e6, "max_position_embeddings": 128_000,
            "rope_scaling": {"type": "mrope", "mrope_section": [head_dim / 8, head_dim * 3 / 16, head_dim * 3 / 16]},
            "tie_word_embeddings": is_tied
        });
        LlamaConfig::of_qwen(&config).unwrap()
    }

    #[test]
    fn the_language_model_of_a_qwen_is_as_large_as_its_file() {
        // All that is written and loaded, to the byte; no matrix is in f16.
        let folder = tempfile::tempdir().unwrap();
        for is_tied in [true, false] {
            let config = qwen([512, 1280, 9, 4, 2, 1000], is_tied);
            for recipe in Recipe::ALL {
                let path = folder.path().join("model.gguf");
                crate::weights::seeded::write_seeded(&config, *recipe, 1, &path).unwrap();
                let gguf = std::sync::Arc::new(crate::weights::gguf::Gguf::open(&path).unwrap());
                let read = gguf.config().unwrap();
                assert_eq!(LlamaConfig { rms_norm_eps: 1e-6, ..read.clone() }, config);
                let load = |tensors: &crate::tensors::Tensors<'_>| crate::llama::Llama::load(tensors, &read);
                let (_, size) = gguf.build(&Device::Cpu, &read, load).unwrap();
                assert_eq!(size.memory, recipe.bytes(&config), "{recipe:?}");
                let file = std::fs::metadata(&path).unwrap().len();
                assert!((size.memory..size.memory + (64 << 10)).contains(&file), "{file}");
            }
        }
        // The published sizes, reckoned apart from this code: 34 bytes a block of 32, 144 or 210 a block of 256.
        let three = qwen([2048, 11_008, 36, 16, 2, 151_936], true);
        let seven = qwen([3584, 18_944, 28, 28, 4, 152_064], false);
        for (config, recipe, want) in [
            (&three, Recipe::Q8_0, 3.2795),
            (&three, Recipe::Q4KM, 1.9239),
            (&seven, Recipe::Q8_0, 8.0926),
            (&seven, Recipe::Q4KM, 4.6771),
        ] {
            let gigabytes = recipe.bytes(config) as f64 / 1e9;
            assert!((gigabytes / want - 1.0).abs() < 0.0005, "{gigabytes} and {want}");
        }
    }

    #[test]
    fn more_bits_go_to_the_layers_that_llama_cpp_gives_them() {
        let more: Vec<u64> = (0..32).filter(|&i| more_bits(i, 32)).collect();
        assert_eq!(more, [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]);
    }
}
