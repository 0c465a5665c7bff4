//! The pixels that a Qwen2.5-VL makes of a patch: any size, resized whole, nothing cut off, in the order of its image
//! processor (`_preprocess` of `image_processing_pil_qwen2_vl.py`, transformers at 035abaa1d4d2).

use super::resize::resized;
use super::{Error, Patch};
use crate::package::{Grid, ImageSize, ResizeFilter, VisionSpec};

/// Colours of a pixel.
const CHANNELS: usize = 3;

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
        let size = spec.size_for(self.width, self.height, asked).map_err(Error::Vision)?;
        let (own, new) = ((self.width, self.height), (size.width_px, size.height_px));
        let [own, new] = [own, new].map(|(width, height)| (width as usize, height as usize));
        let rgb = resized(&self.rgb, own, new, ResizeFilter::Bicubic);
        Ok(VisionInput { size, grid: spec.grid(size), rgb })
    }
}

impl VisionInput {
    /// Normalised values, (cells, 3 · frames · patch · patch), cells in the order of image tokens, four together; `spec` is
    /// that of [`Patch::for_vision`].
    pub fn cells(&self, spec: &VisionSpec) -> Vec<f32> {
        let (patch, merge) = (spec.patch_size as usize, spec.merge_size as usize);
        let frames = spec.temporal_patch_size as usize;
        let row_len = self.size.width_px as usize * CHANNELS;
        let normalised = self::normalised(spec);
        let mut values = Vec::with_capacity(self.rgb.len() * frames);
        // Tokens row by row, in each its cells row by row.
        let tokens = (0..self.grid.rows).flat_map(|row| (0..self.grid.cols).map(move |col| (row, col)));
        let inside = || (0..merge).flat_map(move |y| (0..merge).map(move |x| (y, x)));
        let cells =
            tokens.flat_map(|(row, col)| inside().map(move |(y, x)| (row * merge + y, col * merge + x)));
        for (row, col) in cells {
            for (channel, of) in normalised.iter().enumerate() {
                let begin = values.len();
                for y in row * patch..(row + 1) * patch {
                    let at = y * row_len + col * patch * CHANNELS;
                    let pixels = self.rgb[at..at + patch * CHANNELS].chunks_exact(CHANNELS);
                    values.extend(pixels.map(|rgb| of[usize::from(rgb[channel])]));
                }
                // An image is a film that stands still.
                for _ in 1..frames {
                    values.extend_from_within(begin..begin + patch * patch);
                }
            }
        }
        values
    }
}

/// What each of the 256 values of a channel becomes.
fn normalised(spec: &VisionSpec) -> [Vec<f32>; CHANNELS] {
    [0, 1, 2].map(|channel| {
        let (mean, std) = (spec.mean[channel], spec.std[channel]);
        // The scale in f64, the rest in f32, as there.
        (0..=u8::MAX).map(|value| ((f64::from(value) / 255.0) as f32 - mean) / std).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of a channel at a pixel.
    fn value(x: u32, y: u32, channel: u32) -> u8 {
        (x * 3 + y * 2 + channel * 50) as u8
    }

    fn gradient(width: u32, height: u32) -> Patch {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let rgb = pixels.flat_map(|(x, y)| [0, 1, 2].map(|channel| value(x, y, channel))).collect();
        Patch::new(width, height, Some(0.5), rgb).expect("it has its bytes")
    }

    #[test]
    fn cells_of_a_token_stand_together_and_a_channel_holds_its_frames() {
        let spec = VisionSpec::for_tests();
        let patch = gradient(56, 84);
        let input = patch.for_vision(&spec, None).expect("it has a size");
        assert_eq!(
            (input.size, input.grid),
            (ImageSize { width_px: 56, height_px: 84 }, Grid { rows: 3, cols: 2 })
        );
        assert_eq!(input.rgb, patch.rgb, "no pixel is touched that need not be");
        let cells = input.cells(&spec);
        let width = 3 * 2 * 14 * 14;
        assert_eq!(cells.len(), 6 * 4 * width);
        // Token 3 is the second of the second row: its cells begin at cell row 2 and cell column 2.
        for (cell, (row, col)) in
            [(0, (0, 0)), (1, (0, 1)), (2, (1, 0)), (3, (1, 1)), (12, (2, 2)), (15, (3, 3)), (21, (4, 3))]
        {
            for channel in 0..3u32 {
                for (frame, y, x) in [(0, 0, 0), (0, 1, 5), (1, 0, 0), (1, 13, 13)] {
                    let at = ((channel * 2 + frame) * 14 + y) * 14 + x;
                    let own = f32::from(value(col * 14 + x, row * 14 + y, channel)) / 255.0;
                    let c = channel as usize;
                    let want = (own - spec.mean[c]) / spec.std[c];
                    let found = cells[cell * width + at as usize];
                    assert!(
                        (found - want).abs() < 1e-6,
                        "cell {cell}, channel {channel}: {found} and {want}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_patch_of_any_size_becomes_whole_tokens() {
        let spec = VisionSpec::for_tests();
        for ((width, height), asked, (rows, cols)) in [
            ((61, 97), None, (3, 2)),
            ((130, 70), None, (2, 5)),
            ((130, 70), Some(4 * 28 * 28), (1, 2)),
            ((3, 3), None, (2, 2)),
        ] {
            let input = gradient(width, height).for_vision(&spec, asked).expect("it has a size");
            assert_eq!(input.grid, Grid { rows, cols }, "{width} × {height}");
            assert_eq!(input.rgb.len(), rows * cols * 28 * 28 * 3);
            assert_eq!(input.cells(&spec).len(), rows * cols * 4 * 1176);
        }
        let error = gradient(201, 1).for_vision(&spec, None).expect_err("it is refused").to_string();
        assert!(error.contains("too narrow"), "{error}");
    }
}
