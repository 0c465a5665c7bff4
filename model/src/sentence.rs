//! Sentences as unit vectors whose cosine says how near they are in meaning: the frozen text encoder of the semantic
//! reward (paper, section 2.3). The folder is one that sentence-transformers writes, or a plain BERT's.
//!
//! BERT itself is candle-transformers'; pooling and normalisation follow sentence-transformers' `Pooling` and
//! `util.cos_sim`.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_transformers::models::bert::{BertModel, Config};
use serde::Deserialize;
use tokenizers::{PaddingParams, PaddingStrategy, Tokenizer, TruncationParams};

use crate::weights::{self, Weights};

/// Sentences that are read at a time.
const BATCH: usize = 32;

/// A text encoder that cannot be loaded or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the file cannot be read: {source}: {path}", path = path.display())]
    Read { source: std::io::Error, path: PathBuf },
    #[error("{reason}: {path}", path = path.display())]
    Config { reason: String, path: PathBuf },
    #[error(transparent)]
    Weights(#[from] weights::Error),
    #[error("the text cannot be tokenised: {0}")]
    Encode(String),
    #[error("the text encoder's arithmetic failed: {}", crate::reinpath::sentence(.0))]
    Compute(#[from] candle_core::Error),
}

/// What of `config.json` is needed here, and checked before candle divides by it.
#[derive(Deserialize)]
struct Sizes {
    hidden_size: usize,
    num_attention_heads: usize,
    max_position_embeddings: usize,
    vocab_size: usize,
}

/// How one vector is made of those of all tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pooling {
    Mean,
    /// The first token's.
    First,
}

/// sentence-transformers' `1_Pooling/config.json`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct PoolingFile {
    #[serde(rename = "pooling_mode_mean_tokens")]
    mean: bool,
    #[serde(rename = "pooling_mode_cls_token")]
    first: bool,
    /// Since version 5.
    #[serde(rename = "pooling_mode")]
    mode: Option<String>,
}

/// sentence-transformers' `sentence_bert_config.json`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct LengthFile {
    max_seq_length: Option<usize>,
}

/// What of `tokenizer_config.json` matters here: where the length stands since sentence-transformers 6. Files without a
/// limit have 10³⁰.
#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenizerFile {
    model_max_length: Option<f64>,
}

/// A BERT with its tokenizer and pooling.
pub struct SentenceEncoder {
    bert: BertModel,
    tokenizer: Tokenizer,
    pooling: Pooling,
    width: usize,
    device: Device,
}

impl SentenceEncoder {
    /// Reads `config.json`, `tokenizer.json`, the weights (`model.safetensors` or `pytorch_model.bin`) and, where they
    /// are, sentence-transformers' own files.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, Error> {
        let path = folder.join("config.json");
        let (sizes, config): (Sizes, Config) = (read(&path)?, read(&path)?);
        if sizes.num_attention_heads == 0 || sizes.hidden_size % sizes.num_attention_heads != 0 {
            let reason = "the width is no multiple of the number of heads".to_owned();
            return Err(Error::Config { reason, path });
        }
        let length: LengthFile = read_if_there(&folder.join("sentence_bert_config.json"))?;
        let stated: TokenizerFile = read_if_there(&folder.join("tokenizer_config.json"))?;
        // The cast ends at the largest number.
        let limits = [length.max_seq_length, stated.model_max_length.map(|length| length as usize)];
        let limit = limits.into_iter().flatten().chain([sizes.max_position_embeddings]).min();
        let limit = limit.unwrap_or(sizes.max_position_embeddings);
        let tokenizer = tokenizer(&folder.join("tokenizer.json"), limit, sizes.vocab_size)?;
        let pooling = pooling(&folder.join("1_Pooling").join("config.json"))?;
        let safetensors = folder.join("model.safetensors");
        let file = if safetensors.exists() { safetensors } else { folder.join("pytorch_model.bin") };
        let weights = Weights::open(&[file])?;
        let is_prefixed = weights.shapes().any(|(name, _)| name.starts_with("bert.embeddings."));
        let (bert, _) = weights
            .build(device, |vb| BertModel::load(if is_prefixed { vb.pp("bert") } else { vb }, &config))?;
        Ok(Self { bert, tokenizer, pooling, width: sizes.hidden_size, device: device.clone() })
    }

    /// Unit vectors of the texts, (texts, width). What is longer than the encoder reads is cut off at the end.
    pub fn embed(&self, texts: &[String]) -> Result<Tensor, Error> {
        if texts.is_empty() {
            return Ok(Tensor::zeros((0, self.width), DType::F32, &self.device)?);
        }
        let parts =
            texts.chunks(BATCH).map(|texts| self.embed_at_once(texts)).collect::<Result<Vec<_>, _>>()?;
        Ok(Tensor::cat(&parts, 0)?)
    }

    fn embed_at_once(&self, texts: &[String]) -> Result<Tensor, Error> {
        let encodings =
            self.tokenizer.encode_batch(texts.to_vec(), true).map_err(|e| Error::Encode(e.to_string()))?;
        let rows = |part: &dyn Fn(&tokenizers::Encoding) -> Vec<u32>| {
            let values: Vec<u32> = encodings.iter().flat_map(part).collect();
            Tensor::from_vec(values, (texts.len(), encodings[0].len()), &self.device)
        };
        let ids = rows(&|e| e.get_ids().to_vec())?;
        let kinds = rows(&|e| e.get_type_ids().to_vec())?;
        let mask = rows(&|e| e.get_attention_mask().to_vec())?;
        let hidden = self.bert.forward(&ids, &kinds, Some(&mask))?; // (texts, tokens, width)
        let pooled = match self.pooling {
            Pooling::First => hidden.narrow(1, 0, 1)?.squeeze(1)?,
            Pooling::Mean => {
                let mask = mask.to_dtype(DType::F32)?.unsqueeze(2)?;
                hidden.broadcast_mul(&mask)?.sum(1)?.broadcast_div(&mask.sum(1)?)?
            }
        };
        // A vector of zeros, which no real text has, stays one instead of becoming no number.
        let norm = pooled.sqr()?.sum_keepdim(1)?.sqrt()?.clamp(1e-12, f64::INFINITY)?;
        Ok(pooled.broadcast_div(&norm)?)
    }
}

impl std::fmt::Debug for SentenceEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SentenceEncoder").field("pooling", &self.pooling).finish_non_exhaustive()
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text =
        std::fs::read_to_string(path).map_err(|source| Error::Read { source, path: path.to_owned() })?;
    serde_json::from_str(&text).map_err(|e| Error::Config {
        reason: format!("the file is not as expected, {e}"),
        path: path.to_owned(),
    })
}

fn read_if_there<T: serde::de::DeserializeOwned + Default>(path: &Path) -> Result<T, Error> {
    if path.exists() { read(path) } else { Ok(T::default()) }
}

/// The tokenizer, cutting and padding as needed here, whatever its file says.
fn tokenizer(path: &Path, limit: usize, vocabulary: usize) -> Result<Tokenizer, Error> {
    let refused = |reason: String| Error::Config { reason, path: path.to_owned() };
    let mut tokenizer =
        Tokenizer::from_file(path).map_err(|e| refused(format!("the tokenizer cannot be read, {e}")))?;
    let last = tokenizer.get_vocab(true).into_values().max();
    if let Some(last) = last.filter(|&id| id as usize >= vocabulary) {
        return Err(refused(format!("it has a token {last}, but the text encoder only {vocabulary}")));
    }
    if limit < 8 {
        return Err(refused(format!("texts of {limit} tokens are too short to be read")));
    }
    tokenizer
        .with_truncation(Some(TruncationParams { max_length: limit, ..TruncationParams::default() }))
        .map_err(|e| refused(format!("the tokenizer cannot cut texts to {limit} tokens, {e}")))?;
    let strategy = PaddingStrategy::BatchLongest;
    let padding = match tokenizer.get_padding() {
        Some(params) => PaddingParams { strategy, pad_to_multiple_of: None, ..params.clone() },
        None => PaddingParams { strategy, ..PaddingParams::default() },
    };
    tokenizer.with_padding(Some(padding));
    Ok(tokenizer)
}

/// Mean, unless the folder says otherwise.
fn pooling(path: &Path) -> Result<Pooling, Error> {
    if !path.exists() {
        return Ok(Pooling::Mean);
    }
    let file: PoolingFile = read(path)?;
    match (file.mode.as_deref(), file.mean, file.first) {
        (Some("mean"), ..) | (None, true, false) => Ok(Pooling::Mean),
        (Some("cls"), ..) | (None, false, true) => Ok(Pooling::First),
        _ => Err(Error::Config {
            reason: "only pooling by the mean or by the first token is supported".to_owned(),
            path: path.to_owned(),
        }),
    }
}
