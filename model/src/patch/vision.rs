//! The pixels that a Qwen2.5-VL makes of a patch: any size, resized whole, nothing cut off, in the order of its image
//! processor (`_preprocess` of `image_processing_pil_qwen2_vl.py`, transformers at 035abaa1d4d2).

use super::{Error, Patch};
use crate::package::{Grid, ImageSize, VisionSpec};

/// What a vision tower receives of a patch, before normalisation.
#[derive(Clone, Debug, PartialEq)]
pub struct VisionInput {
    pub size: ImageSize,
    /// Of image tokens.
    pub grid: Grid,
    /// 8-bit RGB rows, `width_px * height_px * 3` bytes.
    pub rgb: Vec<u8>,
}

impl Patch {
    /// What the tower receives of this patch, where `asked` limits its pixels.
    pub fn for_vision(&self, spec: &VisionSpec, asked: Option<u64>) -> Result<VisionInput, Error> {
        let _ = (spec, asked);
        todo!("share A")
    }
}

impl VisionInput {
    /// Normalised values, (cells, 3 · frames · patch · patch), cells in the order of image tokens, four together.
    pub fn cells(&self, spec: &VisionSpec) -> Vec<f32> {
        let _ = spec;
        todo!("share A")
    }
}
