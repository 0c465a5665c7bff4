//! A block of the tower: attention in windows or over the image, and a gated MLP, all with biases.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::windows;
use crate::layers::{Linear, RmsNorm};
use crate::ops::{self, Rotation, RowCount};
use crate::package::VisionSpec;

/// The tower's epsilon, whatever its file says.
pub(super) const EPS: f64 = 1e-6;

#[derive(Clone, Debug)]
pub(super) struct Block {
    norm1: RmsNorm,
    qkv: Linear,
    proj: Linear,
    norm2: RmsNorm,
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
    heads: usize,
}

impl Block {
    pub(super) fn load(vb: &VarBuilder<'_>, spec: &VisionSpec) -> Result<Self> {
        let (width, mlp) = (spec.width, spec.mlp_width);
        Ok(Self {
            norm1: RmsNorm::load(&vb.pp("norm1"), width, EPS)?,
            qkv: Linear::load_with_bias(&vb.pp("attn.qkv"), width, 3 * width)?,
            proj: Linear::load_with_bias(&vb.pp("attn.proj"), width, width)?,
            norm2: RmsNorm::load(&vb.pp("norm2"), width, EPS)?,
            gate_proj: Linear::load_with_bias(&vb.pp("mlp.gate_proj"), width, mlp)?,
            up_proj: Linear::load_with_bias(&vb.pp("mlp.up_proj"), width, mlp)?,
            down_proj: Linear::load_with_bias(&vb.pp("mlp.down_proj"), mlp, width)?,
            heads: spec.heads,
        })
    }

    pub(super) fn pack(&mut self) -> Result<()> {
        let Self { qkv, proj, gate_proj, up_proj, down_proj, .. } = self;
        [qkv, proj, gate_proj, up_proj, down_proj]
            .into_iter()
            .try_for_each(|layer| layer.pack(RowCount::Many))
    }

    /// `x` is (cells, width), in stretches of these lengths that see themselves.
    pub(super) fn forward(&self, x: &Tensor, rotation: &Rotation, lengths: &[usize]) -> Result<Tensor> {
        let (cells, width) = x.dims2()?;
        let (heads, head_dim) = (self.heads, width / self.heads);
        let qkv = self.qkv.forward(&self.norm1.forward(x)?)?;
        let qkv = qkv.reshape((1, cells, 3 * heads, head_dim))?;
        // Queries and keys turn together.
        let turned = ops::rope(&qkv.narrow(2, 0, 2 * heads)?, rotation)?;
        let (q, k) = (turned.narrow(2, 0, heads)?, turned.narrow(2, heads, heads)?);
        let v = qkv.narrow(2, 2 * heads, heads)?;
        let seen = windows::attention(&q, &k, &v, lengths)?.squeeze(0)?; // (cells, width)
        let x = self.proj.forward_onto(x, &seen, None)?;
        let y = self.norm2.forward(&x)?;
        let y = ops::silu_mul(&self.gate_proj.forward(&y)?, &self.up_proj.forward(&y)?)?;
        self.down_proj.forward_onto(&x, &y, None)
    }
}
