//! The vision tower in a GGUF file of its own (`mmproj`), as llama.cpp's `convert_hf_to_gguf.py --mmproj` writes it, under
//! Hugging Face's names: three matrices are one projection again, and two frames one convolution.

use std::sync::Arc;

use candle_core::Device;
use candle_nn::VarBuilder;

use super::gguf::Gguf;
use super::{Error, Size};
use crate::package::VisionSpec;

/// Whether this is such a file, by what it says of itself (`general.architecture` is `clip`).
pub fn is_mmproj(gguf: &Gguf) -> bool {
    let _ = gguf;
    todo!("share A")
}

/// The tower in the file, with the file's name in the package; pixel limits are those of the published processor.
///
/// # Errors
/// Where it is no Qwen2.5-VL's (`clip.projector_type`).
pub fn vision(gguf: &Gguf, name: &str) -> Result<VisionSpec, Error> {
    let _ = (gguf, name);
    todo!("share A")
}

/// Builds something from its tensors, as [`super::Weights::build`] does; names are those below `visual.`.
pub fn build<T>(
    gguf: &Arc<Gguf>,
    device: &Device,
    build: impl FnOnce(VarBuilder<'_>) -> candle_core::Result<T>,
) -> Result<(T, Size), Error> {
    let _ = (gguf, device, build);
    todo!("share A")
}
