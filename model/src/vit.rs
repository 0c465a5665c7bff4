//! The vision transformer of both encoders, with timm's tensor names (`vision_transformer.py`, timm 1.0.15).
//!
//! Pre-norm blocks, exact GELU, a class token, learned positions, LayerScale where the encoder has it (UNI). The result
//! keeps the grid's order; CONCH's unordered caption queries are not used. Another input size than the one the
//! positions were trained at is refused here: resizing positions comes with the published weights.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};

use crate::layers::{LayerNorm, Linear};
use crate::ops;
use crate::package::EncoderSpec;

/// timm's epsilon for vision transformers.
const EPS: f64 = 1e-6;

/// A vision transformer.
#[derive(Clone, Debug)]
pub struct Vit {
    /// (width, 3 · patch · patch): the patch embedding's convolution as a product.
    patch_weight: Tensor,
    patch_bias: Tensor,
    /// (1, 1, width)
    cls_token: Tensor,
    /// (1, 1 + cells, width)
    pos_embed: Tensor,
    blocks: Vec<Block>,
    norm: LayerNorm,
    patch_size: usize,
    width: usize,
}

impl Vit {
    /// Reads the tensors that `spec` implies; `vb` stands at the encoder's prefix.
    pub fn load(vb: &VarBuilder<'_>, spec: &EncoderSpec) -> Result<Self> {
        let (width, patch) = (spec.width, spec.patch_size as usize);
        let cells = (spec.image_size / spec.patch_size).pow(2) as usize;
        let small = Init::Randn { mean: 0.0, stdev: 0.02 };
        let embed = vb.pp("patch_embed.proj");
        let fan_in = (3 * patch * patch) as f64;
        let patch_init = Init::Randn { mean: 0.0, stdev: fan_in.powf(-0.5) };
        let patch_weight = embed.get_with_hints((width, 3, patch, patch), "weight", patch_init)?;
        Ok(Self {
            patch_weight: patch_weight.reshape((width, 3 * patch * patch))?,
            patch_bias: embed.get_with_hints(width, "bias", Init::Const(0.0))?,
            cls_token: vb.get_with_hints((1, 1, width), "cls_token", small)?,
            pos_embed: vb.get_with_hints((1, 1 + cells, width), "pos_embed", small)?,
            blocks: (0..spec.layers)
                .map(|i| Block::load(&vb.pp(format!("blocks.{i}")), spec))
                .collect::<Result<_>>()?,
            norm: LayerNorm::load(&vb.pp("norm"), width, EPS)?,
            patch_size: patch,
            width,
        })
    }

    /// `pixels` (batch, 3, side, side), normalised, to (batch, 1 + cells, width): the class token, then the grid row by
    /// row, after the final norm.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let (batch, _, side, _) = pixels.dims4()?;
        let (grid, patch) = (side / self.patch_size, self.patch_size);
        if 1 + grid * grid != self.pos_embed.dim(1)? {
            candle_core::bail!("an encoder with {} positions got {side} px", self.pos_embed.dim(1)?);
        }
        let cells = pixels
            .reshape(vec![batch, 3, grid, patch, grid, patch])?
            .permute(vec![0, 2, 4, 1, 3, 5])? // (batch, row, column, channel, y, x)
            .reshape((batch, grid * grid, 3 * patch * patch))?;
        let cells = ops::linear(&cells, &self.patch_weight, Some(&self.patch_bias))?;
        let cls = self.cls_token.broadcast_as((batch, 1, self.width))?;
        let mut x = Tensor::cat(&[&cls, &cells], 1)?.broadcast_add(&self.pos_embed)?;
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        self.norm.forward(&x)
    }
}

#[derive(Clone, Debug)]
struct Block {
    norm1: LayerNorm,
    qkv: Linear,
    proj: Linear,
    scale1: Option<Tensor>,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    scale2: Option<Tensor>,
    heads: usize,
}

impl Block {
    fn load(vb: &VarBuilder<'_>, spec: &EncoderSpec) -> Result<Self> {
        let width = spec.width;
        // Published encoders were trained from 1e-5; four layers trained for minutes learn faster from 1.
        let scale = |name: &str| {
            spec.layer_scale.then(|| vb.pp(name).get_with_hints(width, "gamma", Init::Const(1.0))).transpose()
        };
        Ok(Self {
            norm1: LayerNorm::load(&vb.pp("norm1"), width, EPS)?,
            qkv: Linear::load_with_bias(&vb.pp("attn.qkv"), width, 3 * width)?,
            proj: Linear::load_with_bias(&vb.pp("attn.proj"), width, width)?,
            scale1: scale("ls1")?,
            norm2: LayerNorm::load(&vb.pp("norm2"), width, EPS)?,
            fc1: Linear::load_with_bias(&vb.pp("mlp.fc1"), width, spec.mlp_width)?,
            fc2: Linear::load_with_bias(&vb.pp("mlp.fc2"), spec.mlp_width, width)?,
            scale2: scale("ls2")?,
            heads: spec.heads,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, tokens, width) = x.dims3()?;
        let qkv = self.qkv.forward(&self.norm1.forward(x)?)?;
        let qkv = qkv.reshape((batch, tokens, 3, self.heads, width / self.heads))?;
        let x = (x + self.proj.forward_scaled(&ops::self_attention(&qkv)?, self.scale1.as_ref())?)?;
        let y = ops::gelu(&self.fc1.forward(&self.norm2.forward(&x)?)?)?;
        &x + self.fc2.forward_scaled(&y, self.scale2.as_ref())?
    }
}
