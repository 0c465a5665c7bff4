//! The eyes of a Qwen2.5-VL, as data: which sizes its vision tower has, and what size a patch is given to it at
//! (`smart_resize` of `image_processing_qwen2_vl.py`, transformers at 035abaa1d4d2).

use serde::{Deserialize, Serialize};

/// Most pixels of a patch that a model is given unless more are asked for: 1,280 tokens (`longest_edge` there); the
/// published files allow 16,384.
pub const USUAL_PIXELS: u64 = 1280 * 28 * 28;

/// What is known of a vision tower and of its image processor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VisionSpec {
    /// Files that hold the tower's tensors: the language model's own, a file of the tower alone, or a GGUF (`mmproj`).
    pub weights: Vec<String>,
    /// Precision in which they are stored.
    pub precision: String,
    /// Fewest and most pixels of what the tower is given of a patch.
    pub min_pixels: u64,
    pub max_pixels: u64,
    pub mean: [f32; 3],
    pub std: [f32; 3],
    /// Side of a cell in pixels.
    pub patch_size: u32,
    /// Cells along a side of the square that becomes one image token.
    pub merge_size: u32,
    /// Frames of a cell; an image is shown that often.
    pub temporal_patch_size: u32,
    /// Hidden size of the tower.
    pub width: usize,
    pub layers: usize,
    pub heads: usize,
    /// Hidden size of the MLP.
    pub mlp_width: usize,
    /// Size of an image token: the language model's hidden size.
    pub out_width: usize,
    /// Side of an attention window in pixels.
    pub window_size: u32,
    /// The layers whose attention sees the whole image, by number from 0.
    pub full_attention: Vec<usize>,
}

/// Rows and columns of the image tokens of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    pub rows: usize,
    pub cols: usize,
}

impl Grid {
    /// A square one.
    pub fn square(side: usize) -> Self {
        Self { rows: side, cols: side }
    }

    /// Image tokens in all.
    pub fn tokens(self) -> usize {
        self.rows * self.cols
    }
}

/// The size in which a patch is given to a vision tower, both sides multiples of [`VisionSpec::token_side`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSize {
    pub width_px: u32,
    pub height_px: u32,
}

impl VisionSpec {
    /// Side of what becomes one image token, in pixels.
    pub fn token_side(&self) -> u32 {
        self.patch_size.saturating_mul(self.merge_size).max(1)
    }

    /// Most pixels of what the tower is given, where `asked` were asked for: never more than the processor's own limit, and
    /// never fewer than its least.
    pub fn limit(&self, asked: Option<u64>) -> u64 {
        asked.unwrap_or(self.max_pixels).min(self.max_pixels).max(self.min_pixels)
    }

    /// Most image tokens of a patch: what the limit costs.
    pub fn most_tokens(&self, asked: Option<u64>) -> u64 {
        self.limit(asked) / u64::from(self.token_side()).pow(2)
    }

    /// The grid of image tokens of that size.
    pub fn grid(&self, size: ImageSize) -> Grid {
        let side = self.token_side();
        Grid { rows: (size.height_px / side) as usize, cols: (size.width_px / side) as usize }
    }

    /// The size in which a patch of `width` × `height` pixels is given to the tower.
    ///
    /// # Errors
    /// A sentence where one side is more than 200 times the other.
    pub fn size_for(&self, width: u32, height: u32, asked: Option<u64>) -> Result<ImageSize, String> {
        let _ = (width, height, asked);
        todo!("share A")
    }

    /// Sentences about a patch of `width` × `height` pixels of which the tower is given less than there is: how much
    /// smaller, and at how many microns per pixel where the patch's `mpp` is known.
    pub fn warnings(&self, width: u32, height: u32, mpp: Option<f64>, asked: Option<u64>) -> Vec<String> {
        let _ = (width, height, mpp, asked);
        todo!("share A")
    }

    /// A reason why there can be no such tower or no such limits.
    pub(super) fn check(&self) -> Result<(), String> {
        todo!("share A")
    }
}
