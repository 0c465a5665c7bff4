//! CONCH's image tower: the trunk, and the two attentional poolers with what follows them (`vision_tower.py` and
//! `coca_model.py`, CONCH at 141cc09).
//!
//! The language model reads the trunk's cells alone. The poolers serve comparisons of whole fields: with words, and
//! with one another.

use candle_core::{D, Result, Tensor};
use candle_nn::{Init, VarBuilder};

use crate::layers::{LayerNorm, Linear};
use crate::ops::{self, Attention};
use crate::package::EncoderSpec;
use crate::tensors::Matrix;
use crate::vit::Vit;

/// PyTorch's epsilon, of everything but the trunk.
const EPS: f64 = 1e-5;
/// A constant of the published code (`attn_pooler_heads`).
const HEADS: usize = 8;

/// Sizes of the poolers, which are in no file but the weights themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConchSpec {
    /// Channels of the latent that is compared with words.
    pub embedding: usize,
    /// Channels of the caption tokens.
    pub caption: usize,
    /// Queries of the caption pooler.
    pub caption_queries: usize,
}

/// CONCH's image tower.
#[derive(Clone, Debug)]
pub struct ConchImage {
    trunk: Vit,
    contrast: Pooler,
    contrast_norm: LayerNorm,
    /// (embedding, embedding)
    contrast_projection: Tensor,
    caption: Pooler,
    caption_norm: LayerNorm,
}

impl ConchImage {
    /// Reads the tensors below `visual`; `vb` stands there.
    pub fn load(vb: &VarBuilder<'_>, trunk: &EncoderSpec, spec: &ConchSpec) -> Result<Self> {
        let ConchSpec { embedding, caption, caption_queries } = *spec;
        Ok(Self {
            contrast: Pooler::load(&vb.pp("attn_pool_contrast"), 1, embedding, trunk.width)?,
            contrast_norm: LayerNorm::load(&vb.pp("ln_contrast"), embedding, EPS)?,
            contrast_projection: vb.get((embedding, embedding), "proj_contrast")?,
            caption: Pooler::load(&vb.pp("attn_pool_caption"), caption_queries, caption, trunk.width)?,
            caption_norm: LayerNorm::load(&vb.pp("ln_caption"), caption, EPS)?,
            trunk: Vit::load(&vb.pp("trunk"), trunk)?,
        })
    }

    /// The trunk's tokens, (batch, 1 + cells, width), of normalised `pixels` (batch, 3, height, width).
    pub fn trunk(&self, pixels: &Tensor) -> Result<Tensor> {
        self.trunk.forward(pixels)
    }

    /// What CONCH's authors recommend as the feature of a field: (batch, embedding) of the trunk's tokens
    /// (`encode_image(proj_contrast=False, normalize=False)`).
    pub fn feature(&self, tokens: &Tensor) -> Result<Tensor> {
        self.contrast_norm.forward(&self.contrast.forward(tokens)?.squeeze(1)?)
    }

    /// What is compared with words: (batch, embedding) of length 1, of a [`Self::feature`]
    /// (`encode_image(proj_contrast=True, normalize=True)`).
    pub fn latent(&self, feature: &Tensor) -> Result<Tensor> {
        let latent = feature.matmul(&self.contrast_projection)?;
        latent.broadcast_div(&latent.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?)
    }

    /// The unordered caption tokens, (batch, queries, caption), of the trunk's tokens.
    pub fn caption_tokens(&self, tokens: &Tensor) -> Result<Tensor> {
        self.caption_norm.forward(&self.caption.forward(tokens)?)
    }
}

/// Learned queries that attend to all tokens of the trunk, the class token among them.
#[derive(Clone, Debug)]
struct Pooler {
    /// (queries, width)
    query: Tensor,
    query_norm: LayerNorm,
    key_norm: LayerNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
}

impl Pooler {
    /// PyTorch's `MultiheadAttention` keeps one packed weight where queries and tokens have as many channels, and
    /// three where they have not.
    fn load(vb: &VarBuilder<'_>, queries: usize, width: usize, tokens: usize) -> Result<Self> {
        let attention = vb.pp("attn");
        let weights = if width == tokens {
            attention.get((3 * width, width), "in_proj_weight")?.chunk(3, 0)?
        } else {
            vec![
                attention.get((width, width), "q_proj_weight")?,
                attention.get((width, tokens), "k_proj_weight")?,
                attention.get((width, tokens), "v_proj_weight")?,
            ]
        };
        let biases = attention.get(3 * width, "in_proj_bias")?.chunk(3, 0)?;
        let part = |i: usize| -> Result<Linear> {
            Ok(Linear::new(Matrix::Full(weights[i].contiguous()?), Some(biases[i].contiguous()?)))
        };
        Ok(Self {
            query: vb.get_with_hints((queries, width), "query", Init::Randn { mean: 0.0, stdev: 1.0 })?,
            query_norm: LayerNorm::load(&vb.pp("ln_q"), width, EPS)?,
            key_norm: LayerNorm::load(&vb.pp("ln_k"), tokens, EPS)?,
            q: part(0)?,
            k: part(1)?,
            v: part(2)?,
            out: Linear::load_with_bias(&attention.pp("out_proj"), width, width)?,
        })
    }

    /// (batch, tokens, channels) to (batch, queries, width).
    fn forward(&self, tokens: &Tensor) -> Result<Tensor> {
        let (batch, n, _) = tokens.dims3()?;
        let (queries, width) = self.query.dims2()?;
        let tokens = self.key_norm.forward(tokens)?;
        let query = self.q.forward(&self.query_norm.forward(&self.query)?)?;
        let query = query.unsqueeze(0)?.broadcast_as((batch, queries, width))?.contiguous()?;
        let heads = |x: Tensor, n: usize| x.reshape((batch, n, HEADS, width / HEADS));
        let pooled = ops::attention(
            &heads(query, queries)?,
            &heads(self.k.forward(&tokens)?, n)?,
            &heads(self.v.forward(&tokens)?, n)?,
            &Attention::default(),
        )?;
        self.out.forward(&pooled)
    }
}
