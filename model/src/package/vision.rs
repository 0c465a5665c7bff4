//! The eyes of a Qwen2.5-VL, as data: which sizes its vision tower has, and what size a patch is given to it at
//! (`smart_resize` of `image_processing_qwen2_vl.py`, transformers at 035abaa1d4d2).

use serde::{Deserialize, Serialize};

/// Most pixels of a patch that a model is given unless more are asked for: 1,280 tokens (`longest_edge` there); the
/// published files allow 16,384.
pub const USUAL_PIXELS: u64 = 1280 * 28 * 28;

/// How much longer than wide a patch may be.
const MOST_NARROW: f64 = 200.0;
/// Most pixels that any image processor may allow: four times what the published ones do.
const LARGEST_IMAGE: u64 = 1 << 26;
/// Largest size of anything in a tower; the published ones have 5,120. Products of a few of these are numbers still.
const LARGEST_SIZE: usize = 1 << 16;
/// Largest side of a cell, and of a token in cells.
const LARGEST_CELL: u32 = 1 << 10;
/// Most frames of a cell: each of them takes the memory of the image again.
const MOST_FRAMES: u32 = 16;

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
    /// The tower's own name of a tensor in published files, which have either of these before it; `None` for those of the
    /// language model.
    pub(crate) fn own_name(name: &str) -> Option<&str> {
        ["visual.", "model.visual."].into_iter().find_map(|prefix| name.strip_prefix(prefix))
    }

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
        let own = [f64::from(width), f64::from(height)];
        let [w, h] = own;
        if w.min(h) < 1.0 || w.max(h) > MOST_NARROW * w.min(h) {
            return Err(format!(
                "a patch of {width} × {height} px is too narrow for the model: one side may be at most {MOST_NARROW} \
                 times the other"
            ));
        }
        let side = f64::from(self.token_side());
        let (least, most) = (self.min_pixels as f64, self.limit(asked) as f64);
        let nearest = self.nearest(own);
        let pixels = nearest[0] * nearest[1];
        // Operation by operation as there, so that no rounding differs.
        let sides = if pixels > most {
            let shrink = (w * h / most).sqrt();
            own.map(|length| (length / shrink / side).floor() * side)
        } else if pixels < least {
            let grow = (least / (w * h)).sqrt();
            own.map(|length| (length * grow / side).ceil() * side)
        } else {
            nearest
        };
        let [width_px, height_px] = sides.map(|length| length.max(side) as u32);
        Ok(ImageSize { width_px, height_px })
    }

    /// Width and height rounded to whole tokens; halves to even, as Python rounds.
    fn nearest(&self, own: [f64; 2]) -> [f64; 2] {
        let side = f64::from(self.token_side());
        own.map(|length| (length / side).round_ties_even() * side)
    }

    /// Whether a patch of `width` × `height` pixels has more of them than the limit, in whole tokens.
    pub fn is_beyond(&self, width: u32, height: u32, asked: Option<u64>) -> bool {
        let [w, h] = self.nearest([f64::from(width), f64::from(height)]);
        w * h > self.limit(asked) as f64
    }

    /// Sentences about a patch of `width` × `height` pixels of which the tower is given fewer than there are, because of the
    /// limit, or more, because of the least: in what size, and at how many microns per pixel where the patch's `mpp` is known.
    /// The sentence of [`Self::size_for`] where the patch has no size.
    pub fn warnings(&self, width: u32, height: u32, mpp: Option<f64>, asked: Option<u64>) -> Vec<String> {
        let size = match self.size_for(width, height, asked) {
            Ok(size) => size,
            Err(sentence) => return vec![sentence],
        };
        let ImageSize { width_px, height_px } = size;
        let [w, h] = self.nearest([f64::from(width), f64::from(height)]);
        let bound = if self.is_beyond(width, height, asked) {
            format!("the limit is {}", image_tokens(self.most_tokens(asked)))
        } else if f64::from(width_px) * f64::from(height_px) > w * h {
            let token = u64::from(self.token_side()).pow(2);
            format!("the least is {}", image_tokens(self.min_pixels.div_ceil(token).max(1)))
        } else {
            return Vec::new();
        };
        let scale = mpp.map_or_else(String::new, |mpp| {
            format!(", at {:.3} µm per pixel", mpp * f64::from(width) / f64::from(width_px))
        });
        vec![format!(
            "The patch of {width} × {height} px is given to the model in {width_px} × {height_px} px{scale}: {bound}."
        )]
    }

    /// A reason why there can be no such tower or no such limits.
    pub(super) fn check(&self) -> Result<(), String> {
        let refused = |reason: &str| Err(format!("vision: {reason}"));
        let Self { patch_size, merge_size, temporal_patch_size, .. } = *self;
        if self.weights.is_empty() {
            return refused("no weights are named");
        }
        if [patch_size, merge_size, temporal_patch_size, self.window_size].contains(&0)
            || [self.width, self.layers, self.heads, self.mlp_width, self.out_width].contains(&0)
        {
            return refused("every size must be positive");
        }
        if patch_size.max(merge_size) > LARGEST_CELL
            || temporal_patch_size > MOST_FRAMES
            || [self.width, self.layers, self.mlp_width, self.out_width].iter().any(|&s| s > LARGEST_SIZE)
        {
            return refused("a vision tower of this size is not supported");
        }
        if !self.width.is_multiple_of(self.heads) || !(self.width / self.heads).is_multiple_of(4) {
            return refused("heads must divide width into parts that are multiples of 4");
        }
        let side = self.token_side();
        if !self.window_size.is_multiple_of(side) {
            return refused(&format!("window_size must be a multiple of patch_size · merge_size = {side}"));
        }
        if let Some(layer) = self.full_attention.iter().find(|&&layer| layer >= self.layers) {
            return refused(&format!("full_attention names layer {layer} of {} layers", self.layers));
        }
        if self.mean.iter().any(|mean| !mean.is_finite())
            || self.std.iter().any(|s| !s.is_finite() || *s <= 0.0)
        {
            return refused("std must be positive, and mean a number");
        }
        self.check_limits().map_err(|reason| format!("vision: {reason}"))
    }

    fn check_limits(&self) -> Result<(), String> {
        let (min, max) = (self.min_pixels, self.max_pixels);
        let token = u64::from(self.token_side()).pow(2);
        if min > max {
            return Err(format!("the least number of pixels, {min}, is more than the most, {max}"));
        }
        if max < token {
            return Err(format!("at most {max} pixels are less than the {token} of one image token"));
        }
        if max > LARGEST_IMAGE {
            return Err(format!("at most {max} pixels are more than the {LARGEST_IMAGE} that are supported"));
        }
        Ok(())
    }
}

fn image_tokens(count: u64) -> String {
    if count == 1 { "1 image token".to_owned() } else { format!("{count} image tokens") }
}

/// What the published processors say, for files that say nothing (`preprocessor_config.json` of Qwen2.5-VL-7B-Instruct).
impl VisionSpec {
    /// Fewest and most pixels: 4 and 16,384 tokens.
    pub const PUBLISHED_PIXELS: [u64; 2] = [4 * 28 * 28, 16_384 * 28 * 28];
    /// CLIP's, by OpenAI.
    pub const PUBLISHED_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
    /// CLIP's.
    pub const PUBLISHED_STD: [f32; 3] = [0.268_629_55, 0.261_302_6, 0.275_777_1];
}

#[cfg(test)]
impl VisionSpec {
    /// A tiny tower with the published processor.
    pub(crate) fn for_tests() -> Self {
        let [min_pixels, max_pixels] = Self::PUBLISHED_PIXELS;
        Self {
            weights: vec!["model.safetensors".into()],
            precision: "f32".into(),
            min_pixels,
            max_pixels,
            mean: Self::PUBLISHED_MEAN,
            std: Self::PUBLISHED_STD,
            patch_size: 14,
            merge_size: 2,
            temporal_patch_size: 2,
            width: 16,
            layers: 2,
            heads: 2,
            mlp_width: 24,
            out_width: 12,
            window_size: 112,
            full_attention: vec![1],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(spec: &VisionSpec, width: u32, height: u32, asked: Option<u64>) -> (u32, u32) {
        let size = spec.size_for(width, height, asked).expect("it has a size");
        (size.width_px, size.height_px)
    }

    /// What `smart_resize` gives in Python for the same numbers.
    #[test]
    fn sizes_are_those_of_the_published_processor() {
        let spec = VisionSpec::for_tests();
        for (own, want) in [
            ((672, 672), (672, 672)),
            ((278, 561), (280, 560)),
            ((561, 278), (560, 280)),
            // 70 / 28 = 2.5 and 98 / 28 = 3.5 are halves; 126 / 28 = 4.5, too.
            ((70, 70), (56, 56)),
            ((42, 98), (56, 112)),
            ((98, 126), (112, 112)),
            // Smaller than the smallest.
            ((1, 1), (56, 56)),
            ((13, 13), (56, 56)),
            ((14, 14), (56, 56)),
            ((28, 28), (56, 56)),
            ((5, 1000), (28, 812)),
            ((1000, 5), (812, 28)),
            ((200, 1), (812, 28)),
            ((56, 56), (56, 56)),
            ((224, 224), (224, 224)),
            ((1023, 767), (1036, 756)),
            ((4000, 3000), (4004, 2996)),
            // The largest, and beyond.
            ((3584, 3584), (3584, 3584)),
            ((3598, 3570), (3584, 3584)),
            ((20_000, 20_000), (3556, 3556)),
            ((5613, 2777), (5068, 2520)),
            ((20_000, 100), (19_992, 112)),
            ((40_000, 201), (40_012, 196)),
        ] {
            assert_eq!(size(&spec, own.0, own.1, None), want, "{own:?}");
        }
    }

    #[test]
    fn a_limit_that_is_asked_for_makes_it_smaller_but_never_larger_than_the_processors_own() {
        let spec = VisionSpec::for_tests();
        let usual = Some(USUAL_PIXELS);
        for (own, want) in [
            ((1024, 1024), (980, 980)),
            ((1008, 1008), (980, 980)),
            ((1001, 1002), (980, 980)),
            ((2048, 512), (1988, 476)),
            ((10_000, 112), (9464, 84)),
            ((1036, 980), (1008, 952)),
            ((672, 672), (672, 672)),
        ] {
            assert_eq!(size(&spec, own.0, own.1, usual), want, "{own:?}");
        }
        assert_eq!(size(&spec, 672, 672, Some(100 * 28 * 28)), (280, 280));
        // Less than the least is the least.
        for own in [(1024, 1024), (56, 56)] {
            assert_eq!(size(&spec, own.0, own.1, Some(1)), (56, 56), "{own:?}");
        }
        assert_eq!(size(&spec, 84, 28, Some(1)), (112, 56));
        assert_eq!(size(&spec, 5000, 28, Some(1)), (728, 28));
        assert_eq!(size(&spec, 20_000, 20_000, Some(u64::MAX)), (3556, 3556));
        assert_eq!((spec.most_tokens(None), spec.most_tokens(usual)), (16_384, 1280));
        let grid = spec.grid(ImageSize { width_px: 672, height_px: 336 });
        assert_eq!((grid, grid.tokens()), (Grid { rows: 12, cols: 24 }, 288));
    }

    #[test]
    fn what_is_too_narrow_or_nothing_is_refused() {
        let spec = VisionSpec { min_pixels: 0, ..VisionSpec::for_tests() };
        for (width, height) in [(201, 1), (1, 201), (0, 0), (0, 5), (u32::MAX, 1)] {
            let sentence = spec.size_for(width, height, None).expect_err("it is refused");
            assert!(sentence.contains(&format!("{width} × {height} px")), "{sentence}");
            assert!(sentence.contains("at most 200 times"), "{sentence}");
            assert_eq!(spec.warnings(width, height, None, None), [sentence]);
        }
        // Without a least number of pixels a patch is one token at least.
        assert_eq!(size(&spec, 3, 3, None), (28, 28));
        assert_eq!(size(&spec, 20_000, 20_000, Some(0)), (28, 28));
    }

    #[test]
    fn a_patch_that_is_made_smaller_is_told_with_its_scale() {
        let spec = VisionSpec::for_tests();
        let told = |side: u32, mpp, asked| spec.warnings(side, side, mpp, asked).join(" ");
        // Rounding to whole tokens is not worth a word.
        assert_eq!(told(1024, Some(0.5), None), "");
        assert_eq!(told(683, Some(0.5), Some(USUAL_PIXELS)), "");
        let smaller = told(1024, Some(0.5), Some(USUAL_PIXELS));
        assert!(smaller.contains("1024 × 1024 px") && smaller.contains("980 × 980 px"), "{smaller}");
        assert!(
            smaller.contains("at 0.522 µm per pixel") && smaller.contains("1280 image tokens"),
            "{smaller}"
        );
        assert!(!told(1024, None, Some(USUAL_PIXELS)).contains("µm"));
        let one_token = VisionSpec { min_pixels: 0, ..spec }.warnings(100, 100, None, Some(784)).join(" ");
        assert!(one_token.ends_with("28 × 28 px: the limit is 1 image token."), "{one_token}");
    }

    #[test]
    fn a_patch_that_is_made_larger_is_told_with_its_scale() {
        let spec = VisionSpec::for_tests();
        assert_eq!(spec.warnings(56, 56, Some(0.5), None), [""; 0]);
        assert_eq!(
            spec.warnings(43, 60, Some(0.5), None),
            [""; 0],
            "rounding is not worth a word here either"
        );
        let larger = spec.warnings(20, 20, Some(0.5), Some(USUAL_PIXELS)).join(" ");
        assert!(larger.contains("20 × 20 px is given to the model in 56 × 56 px, at 0.179 µm"), "{larger}");
        assert!(larger.ends_with("the least is 4 image tokens."), "{larger}");
        assert!(!spec.is_beyond(20, 20, None), "nothing of it is lost");
        // Where no least is stated it is a token.
        let free = VisionSpec { min_pixels: 0, ..spec };
        let larger = free.warnings(9, 9, None, None).join(" ");
        assert!(larger.ends_with("28 × 28 px: the least is 1 image token."), "{larger}");
    }

    #[test]
    fn towers_and_limits_that_cannot_be_are_refused_with_a_reason() {
        let spec = VisionSpec::for_tests();
        assert_eq!(spec.check(), Ok(()));
        let refused = |change: &dyn Fn(&mut VisionSpec), reason: &str| {
            let mut spec = VisionSpec::for_tests();
            change(&mut spec);
            let found = spec.check().expect_err(reason);
            assert!(found.starts_with("vision: ") && found.contains(reason), "{found}");
        };
        refused(&|s| s.weights.clear(), "no weights");
        refused(&|s| s.merge_size = 0, "positive");
        refused(&|s| s.mlp_width = 0, "positive");
        refused(&|s| s.width = usize::MAX, "not supported");
        refused(&|s| s.patch_size = u32::MAX, "not supported");
        refused(&|s| s.temporal_patch_size = 17, "not supported");
        refused(&|s| s.heads = 3, "heads must divide width");
        refused(&|s| s.heads = 8, "multiples of 4");
        refused(&|s| s.window_size = 100, "window_size must be a multiple of patch_size · merge_size = 28");
        refused(&|s| s.full_attention.push(2), "full_attention names layer 2 of 2 layers");
        refused(&|s| s.std[1] = 0.0, "std must be positive");
        refused(&|s| s.mean[2] = f32::NAN, "mean a number");
        refused(&|s| s.min_pixels = s.max_pixels + 1, "is more than the most");
        refused(&|s| (s.min_pixels, s.max_pixels) = (0, 783), "less than the 784 of one image token");
        refused(&|s| s.max_pixels = (1 << 26) + 1, "that are supported");
    }
}
