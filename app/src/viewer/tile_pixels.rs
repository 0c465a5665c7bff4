//! A tile as the GPU takes it: RGBA with smaller copies, so that it can be drawn smaller without shimmering.
//!
//! A cell that is smaller than the texture (at the slide's edge, or of a file with small tiles) is continued with its last row and column:
//! whatever the sampler mixes in at its border is its own colour, at every size and turn, so that no seam shows between neighbours.

use image::RgbImage;

use crate::slide::{TILE_PX, spare};

/// Sizes that a tile is kept in: itself, a half and a quarter, so that it can be drawn smaller without shimmering.
pub const MIP_COUNT: u32 = 3;
/// Bytes of a tile with its smaller copies, RGBA.
pub const TILE_BYTES: usize = spare::BYTES;
const SIDE: usize = TILE_PX as usize;

/// A tile as the GPU takes it. Its memory is used again for another.
#[derive(Debug, PartialEq)]
pub struct TilePixels {
    /// All sizes, one after the other.
    bytes: Vec<u8>,
}

impl Drop for TilePixels {
    fn drop(&mut self) {
        spare::give(std::mem::take(&mut self.bytes));
    }
}

impl TilePixels {
    /// Makes the smaller copies of a cell's picture, which may be smaller than a tile.
    pub fn from_rgb(image: &RgbImage) -> Self {
        let mut rgba = spare::take(image.as_raw().len() / 3 * 4);
        for pixel in image.as_raw().chunks_exact(3) {
            rgba.extend([pixel[0], pixel[1], pixel[2], 255]);
        }
        let size = (image.width(), image.height());
        if size == (TILE_PX, TILE_PX) {
            return Self::with_copies(rgba);
        }
        Self::of_cell(&rgba, size, (0, 0), size)
    }

    /// The cell of `size` pixels from `origin` in a picture of RGBA that is as large as `picture`. What lies outside of it is left out.
    pub fn of_cell(rgba: &[u8], picture: (u32, u32), origin: (u32, u32), size: (u32, u32)) -> Self {
        let (row_bytes, rows) = (picture.0 as usize * 4, picture.1 as usize);
        let (left, top) = (origin.0 as usize * 4, origin.1 as usize);
        let width = (size.0.min(TILE_PX) as usize * 4).min(row_bytes.saturating_sub(left));
        let height = (size.1.min(TILE_PX) as usize).min(rows.saturating_sub(top));
        let mut first = spare::take(TILE_BYTES);
        first.resize(SIDE * SIDE * 4, 255);
        if width > 0 && height > 0 {
            for (y, row) in first.chunks_exact_mut(SIDE * 4).enumerate() {
                let start = (top + y.min(height - 1)) * row_bytes + left;
                let Some(source) = rgba.get(start..start + width) else { continue };
                row[..width].copy_from_slice(source);
                let last = &source[width - 4..];
                for pixel in row[width..].chunks_exact_mut(4) {
                    pixel.copy_from_slice(last);
                }
            }
        }
        Self::with_copies(first)
    }

    /// A picture that is a tile already, without copying it; `None` when it has another size.
    pub fn whole(rgba: Vec<u8>) -> Option<Self> {
        (rgba.len() == SIDE * SIDE * 4).then(|| Self::with_copies(rgba))
    }

    /// RGBA rows of 256, 128 and 64 pixels a side.
    pub fn mips(&self) -> [&[u8]; MIP_COUNT as usize] {
        let (first, smaller) = self.bytes.split_at(SIDE * SIDE * 4);
        let (second, third) = smaller.split_at(SIDE * SIDE);
        [first, second, third]
    }

    fn with_copies(mut bytes: Vec<u8>) -> Self {
        bytes.resize(TILE_BYTES, 0);
        let (first, smaller) = bytes.split_at_mut(SIDE * SIDE * 4);
        let (second, third) = smaller.split_at_mut(SIDE * SIDE);
        // With the widest vectors that this processor has.
        pulp::Arch::new().dispatch(|| {
            halve(first, SIDE, second);
            halve(second, SIDE / 2, third);
        });
        Self { bytes }
    }
}

/// Means of 2 × 2 pixels: of rows rounded down, then of columns rounded up, so that a picture becomes neither darker nor lighter. Every tile
/// that is decoded pays for this: two pixels, eight channels, are worked on at a time, and the loop becomes vectors.
#[expect(clippy::inline_always, reason = "only what is inlined gets the caller's vectors")]
#[inline(always)]
fn halve(pixels: &[u8], side: usize, means: &mut [u8]) {
    let means = means.as_chunks_mut().0.chunks_exact_mut(side / 2);
    for (rows, means) in pixels.chunks_exact(side * 8).zip(means) {
        let (upper, lower) = rows.split_at(side * 4);
        let pairs = upper.as_chunks().0.iter().zip(lower.as_chunks().0);
        for ((upper, lower), mean) in pairs.zip(means) {
            let of_rows = mean_down(u64::from_le_bytes(*upper), u64::from_le_bytes(*lower));
            *mean = mean_up(of_rows as u32, (of_rows >> 32) as u32).to_le_bytes();
        }
    }
}

/// Of eight bytes each, from everything but their lowest bits.
#[expect(clippy::inline_always, reason = "only what is inlined gets the caller's vectors")]
#[inline(always)]
fn mean_down(a: u64, b: u64) -> u64 {
    (a & b) + (((a ^ b) & 0xfefe_fefe_fefe_fefe) >> 1)
}

/// Of four.
#[expect(clippy::inline_always, reason = "only what is inlined gets the caller's vectors")]
#[inline(always)]
fn mean_up(a: u32, b: u32) -> u32 {
    (a | b) - (((a ^ b) & 0xfefe_fefe) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smaller_copies_are_means_and_edges_are_continued() {
        let mut image = RgbImage::from_pixel(3, 2, image::Rgb([10, 20, 30]));
        image.put_pixel(2, 1, image::Rgb([50, 60, 70]));
        let tile = TilePixels::from_rgb(&image);
        assert_eq!(tile.mips().map(<[u8]>::len).iter().sum::<usize>(), TILE_BYTES);
        assert_eq!(&tile.mips()[0][..4], &[10, 20, 30, 255]);
        let far = (100 * TILE_PX as usize + 100) * 4;
        assert_eq!(&tile.mips()[0][far..far + 4], &[50, 60, 70, 255]);
        // Pixels (2, 0), (3, 0), (2, 1), (3, 1): two of each.
        assert_eq!(&tile.mips()[1][4..8], &[30, 40, 50, 255]);
    }

    #[test]
    fn means_of_many_bytes_are_those_of_each() {
        for (a, b) in [(0, 0), (255, 255), (0, 255), (254, 255), (7, 8), (1, 128)] {
            let four = |value: u8| u32::from_le_bytes([value, 255 - value, value, 3]);
            let eight = |value: u8| u64::from(four(value)) << 32 | u64::from(four(255 - value));
            let down = |x: u8, y: u8| u16::midpoint(u16::from(x), u16::from(y)) as u8;
            let up = |x: u8, y: u8| (u16::from(x) + u16::from(y)).div_ceil(2) as u8;
            let expected = |mean: fn(u8, u8) -> u8| [mean(a, b), mean(255 - a, 255 - b), mean(a, b), 3];
            let [low, high] = [0, 32].map(|bit| (mean_down(eight(a), eight(b)) >> bit) as u32);
            assert_eq!(high.to_le_bytes(), expected(down), "{a} and {b}");
            let mirrored =
                |mean: fn(u8, u8) -> u8| [mean(255 - a, 255 - b), mean(a, b), mean(255 - a, 255 - b), 3];
            assert_eq!(low.to_le_bytes(), mirrored(down), "{a} and {b}");
            assert_eq!(mean_up(four(a), four(b)).to_le_bytes(), expected(up), "{a} and {b}");
        }
    }

    #[test]
    fn a_cell_is_cut_out_of_a_larger_tile_of_the_file() {
        let rgba: Vec<u8> =
            (0..300_u32 * 260).flat_map(|n| [(n % 300 / 2) as u8, (n / 300) as u8, 9, 255]).collect();
        let cell = TilePixels::of_cell(&rgba, (300, 260), (256, 256), (256, 256));
        assert_eq!(&cell.mips()[0][..4], &[128, 0, 9, 255], "column 256, row 256");
        assert_eq!(&cell.mips()[0][43 * 4..44 * 4], &[149, 0, 9, 255], "the last column");
        assert_eq!(&cell.mips()[0][200 * 4..201 * 4], &[149, 0, 9, 255], "and on");
        let last = &cell.mips()[0][(255 * 256 + 255) * 4..];
        assert_eq!(last, [149, 3, 9, 255]);
        assert!(TilePixels::whole(rgba).is_none());
        let whole = vec![5; 256 * 256 * 4];
        assert_eq!(TilePixels::whole(whole).map(|tile| tile.mips()[2][0]), Some(5));
        let nothing = TilePixels::of_cell(&[], (0, 0), (0, 0), (256, 256));
        assert_eq!(nothing.mips()[0][..4], [255; 4]);
    }
}
