//! From cells to image tokens: four neighbours become one (`Qwen2_5_VLPatchMerger`).

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::block::EPS;
use crate::layers::{Linear, RmsNorm};
use crate::ops::RowCount;
use crate::package::VisionSpec;

#[derive(Clone, Debug)]
pub(super) struct Merger {
    ln_q: RmsNorm,
    first: Linear,
    second: Linear,
    /// Channels of the cells of a token, one after another.
    merged: usize,
}

impl Merger {
    pub(super) fn load(vb: &VarBuilder<'_>, spec: &VisionSpec) -> Result<Self> {
        let merged = spec.width * (spec.merge_size as usize).pow(2);
        Ok(Self {
            ln_q: RmsNorm::load(&vb.pp("ln_q"), spec.width, EPS)?,
            first: Linear::load_with_bias(&vb.pp("mlp.0"), merged, merged)?,
            second: Linear::load_with_bias(&vb.pp("mlp.2"), merged, spec.out_width)?,
            merged,
        })
    }

    pub(super) fn pack(&mut self) -> Result<()> {
        self.first.pack(RowCount::Many)?;
        self.second.pack(RowCount::Many)
    }

    /// (cells, width) to (cells / 4, out_width); the four cells of a token stand together.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.ln_q.forward(x)?.reshape(((), self.merged))?;
        self.second.forward(&self.first.forward_gelu(&x)?)
    }
}
