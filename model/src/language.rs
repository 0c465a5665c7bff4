//! The files of a package's language model: configuration and tensors in Hugging Face's layout, in Meta's and in GGUF; of a
//! Qwen2.5-VL in Hugging Face's, beside its vision tower, and in GGUF.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device};
use serde_json::Value;

use crate::llama::{Llama, LlamaConfig, Params};
use crate::package::{LanguageKind, Package};
use crate::reinpath::{Error, read_json};
use crate::weights::gguf::Gguf;
use crate::weights::{self, Size, Weights, keys};

/// Who wrote the weight files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    HuggingFace,
    Meta,
    Gguf,
}

fn layout(package: &Package) -> Layout {
    let spec = &package.manifest.language;
    match spec.weights.as_slice() {
        [file] if has_extension(file, "gguf") => Layout::Gguf,
        // Hugging Face's files of PyTorch end in .bin.
        [file, ..] if spec.kind == LanguageKind::Llama && has_extension(file, "pth") => Layout::Meta,
        _ => Layout::HuggingFace,
    }
}

fn has_extension(file: &str, extension: &str) -> bool {
    Path::new(file).extension().is_some_and(|own| own == extension)
}

/// The language model's configuration.
pub(crate) fn config(package: &Package) -> Result<LlamaConfig, Error> {
    let spec = &package.manifest.language;
    let path = package.file(&spec.config);
    if layout(package) == Layout::Gguf && spec.weights.contains(&spec.config) {
        let config = Gguf::open(&path)?.config()?;
        if config.mrope_section.is_some() != (spec.kind == LanguageKind::Qwen25Vl) {
            let reason = "the file holds a language model of another kind than the package names".to_owned();
            return Err(Error::Config { reason, path });
        }
        return Ok(config);
    }
    let mut config = read_config(&path, spec.kind)?;
    match layout(package) {
        Layout::Meta => {
            let first = Weights::open(&[package.file(&spec.weights[0])])?;
            // `params.json` does not tell whether the head is the embeddings again.
            config.tie_word_embeddings = first.shape("output.weight").is_none();
        }
        // Where there is no head the embeddings are, whether the file says so or not.
        Layout::HuggingFace if spec.kind == LanguageKind::Qwen25Vl && !config.tie_word_embeddings => {
            config.tie_word_embeddings = hugging_face(package)?.shape("lm_head.weight").is_none();
        }
        Layout::HuggingFace | Layout::Gguf => {}
    }
    Ok(config)
}

/// Reads `config.json` or `params.json`.
fn read_config(path: &Path, kind: LanguageKind) -> Result<LlamaConfig, Error> {
    let value: Value = read_json(path)?;
    let config = match kind {
        LanguageKind::Qwen25Vl => LlamaConfig::of_qwen(&value),
        LanguageKind::Llama if value.get("n_layers").is_some() => {
            serde_json::from_value::<Params>(value).map_err(|e| e.to_string()).and_then(LlamaConfig::try_from)
        }
        LanguageKind::Llama => serde_json::from_value(value).map_err(|e| e.to_string()),
    };
    config.map_err(|reason| Error::Config {
        reason: format!("the file is not as expected, {reason}"),
        path: path.to_owned(),
    })
}

fn files(package: &Package) -> Vec<PathBuf> {
    package.manifest.language.weights.iter().map(|name| package.file(name)).collect()
}

/// Hugging Face's files, under a Llama's names: without the tower of a Qwen2.5-VL.
fn hugging_face(package: &Package) -> Result<Weights, weights::Error> {
    let weights = Weights::open(&files(package))?;
    Ok(match package.manifest.language.kind {
        LanguageKind::Llama => weights,
        LanguageKind::Qwen25Vl => weights.renamed(keys::decoder),
    })
}

/// The weights in full precision, under Hugging Face's names; those of a GGUF file are refused.
pub(crate) fn weights(package: &Package, config: &LlamaConfig) -> Result<Weights, weights::Error> {
    match layout(package) {
        Layout::Meta => with_all_layers(Weights::open_meta(&files(package), config)?, config),
        Layout::HuggingFace => with_all_layers(hugging_face(package)?, config),
        Layout::Gguf => Err(weights::Error::Gguf {
            reason: "the language model is not in full precision any more".to_owned(),
            path: files(package).into_iter().next().unwrap_or_default(),
        }),
    }
}

/// A model with fewer layers than its files hold would answer, and badly.
fn with_all_layers(weights: Weights, config: &LlamaConfig) -> Result<Weights, weights::Error> {
    weights.end_before(&format!("model.layers.{}.", config.num_hidden_layers))?;
    Ok(weights)
}

/// The language model, and how much of it was loaded. What is stored in full precision is held in `dtype`.
/// `going` gets the share that is done before each layer, and `false` from it ends with [`Error::Cancelled`].
pub(crate) fn load(
    package: &Package,
    config: &LlamaConfig,
    dtype: DType,
    device: &Device,
    going: &mut dyn FnMut(f32) -> bool,
) -> Result<(Llama, Size), Error> {
    layer_by_layer(going, |layer| {
        if layout(package) == Layout::Gguf {
            let (gguf, stored) = open_gguf(package, config)?;
            Ok(gguf.build(device, &stored, |tensors| Llama::load_watched(tensors, &stored, layer))?)
        } else {
            let weights = weights(package, config)?;
            Ok(weights.build_in(dtype, device, |vb| Llama::load_watched(&vb, config, layer))?)
        }
    })
}

/// What is called before each layer, with the share that is done; an error from it ends the work.
type BeforeLayer<'a> = &'a mut dyn FnMut(f32) -> candle_core::Result<()>;

/// Does `work` for as long as `going` says so; `false` from it ends with [`Error::Cancelled`].
fn layer_by_layer<T>(
    going: &mut dyn FnMut(f32) -> bool,
    work: impl FnOnce(BeforeLayer<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut is_stopped = false;
    let done = work(&mut |done| {
        if going(done) {
            return Ok(());
        }
        is_stopped = true;
        candle_core::bail!("cancelled")
    });
    if is_stopped { Err(Error::Cancelled) } else { done }
}

/// Whether merged adapters stay beside the weights.
pub(crate) fn keeps_adapters(package: &Package) -> bool {
    layout(package) == Layout::Gguf
}

/// A language model without values, of which every tensor is there as it should be, and how much would be loaded.
/// `going` is as in [`load`].
pub(crate) fn check(
    package: &Package,
    config: &LlamaConfig,
    going: &mut dyn FnMut(f32) -> bool,
) -> Result<(Llama, Size), Error> {
    layer_by_layer(going, |layer| {
        if layout(package) == Layout::Gguf {
            let (gguf, stored) = open_gguf(package, config)?;
            return Ok(gguf.check(|vb| Llama::load_watched(&vb, &stored, layer))?);
        }
        Ok(weights(package, config)?.check(|vb| Llama::load_watched(&vb, config, layer))?)
    })
}

fn open_gguf(package: &Package, config: &LlamaConfig) -> Result<(Arc<Gguf>, LlamaConfig), Error> {
    let spec = &package.manifest.language;
    let file = &spec.weights[0];
    let gguf = Arc::new(Gguf::open(&package.file(file))?);
    let mut stored = gguf.config()?;
    let other = || Error::Config {
        reason: format!("it describes another language model than {file}"),
        path: package.file(&spec.config),
    };
    let alike = |own: &LlamaConfig| (shape(own), own.mrope_section, own.attention_bias);
    if alike(&stored) != alike(config) || (stored.rope_theta / config.rope_theta - 1.0).abs() > 1e-6 {
        return Err(other());
    }
    match (stored.rope_divisors(), config.rope_divisors()) {
        // Older converters leave the factors out.
        (None, Some(divisors)) => stored.rope_factors = Some(divisors),
        (None, None) => {}
        (Some(a), Some(b))
            if a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| (a / b - 1.0).abs() < 1e-3) => {}
        _ => return Err(other()),
    }
    Ok((gguf, stored))
}

/// What two configurations of one model agree in.
fn shape(config: &LlamaConfig) -> [usize; 7] {
    [
        config.num_hidden_layers,
        config.hidden_size,
        config.intermediate_size,
        config.num_attention_heads,
        config.num_key_value_heads,
        config.head_dim,
        config.vocab_size,
    ]
}

#[cfg(test)]
mod tests;
