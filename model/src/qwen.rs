//! The vision tower of Qwen2.5-VL, from pixels to image tokens (`modeling_qwen2_5_vl.py`, transformers at 00b676f8f048).
//!
//! Pre-norm blocks with rotary positions of rows and columns, whose attention sees a window of 112 × 112 pixels, in a few
//! blocks the whole image; then squares of four cells become one token each. Its language model is `llama.rs`.
//! Nothing is trained here, and there are no videos.

mod block;
mod merger;
mod windows;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use self::block::Block;
use self::merger::Merger;
use crate::package::{Grid, VisionSpec};

/// A vision tower with its merger.
#[derive(Clone, Debug)]
pub struct Tower {
    /// (width, 3 · frames · patch · patch): the convolution as a product.
    patch_weight: Tensor,
    blocks: Vec<Block>,
    merger: Merger,
    spec: VisionSpec,
}

impl Tower {
    /// Reads the tensors that `spec` implies; `vb` stands at `visual`.
    pub fn load(vb: &VarBuilder<'_>, spec: &VisionSpec) -> Result<Self> {
        let _ = (vb, spec);
        todo!("share A")
    }

    /// The same; `watch` gets the share that is done before each block, and an error from it ends the loading.
    pub fn load_watched(
        vb: &VarBuilder<'_>,
        spec: &VisionSpec,
        watch: &mut dyn FnMut(f32) -> Result<()>,
    ) -> Result<Self> {
        let _ = (vb, spec, watch);
        todo!("share A")
    }

    /// Its sizes, and those of what it is given.
    pub fn spec(&self) -> &VisionSpec {
        &self.spec
    }

    /// Lays the weights out for products: for a model that is trained no further.
    pub fn pack(&mut self) -> Result<()> {
        todo!("share A")
    }

    /// Image tokens (tokens, out_width), row by row, of one image's cells (cells, 3 · frames · patch · patch), which come
    /// in the processor's order: token by token, the four cells of each together. `watch` is called between blocks, and an
    /// error from it ends the pass.
    pub fn forward(
        &self,
        cells: &Tensor,
        grid: Grid,
        watch: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Tensor> {
        let _ = (cells, grid, watch);
        todo!("share A")
    }
}
