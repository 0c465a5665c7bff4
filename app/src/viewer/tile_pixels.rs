//! A tile as the GPU takes it: RGBA with smaller copies, so that it can be drawn smaller without shimmering.

use image::RgbImage;

use crate::slide::TILE_PX;

/// Sizes that a tile is kept in: itself, a half and a quarter, so that it can be drawn smaller without shimmering.
pub const MIP_COUNT: u32 = 3;
/// Bytes of a tile with its smaller copies, RGBA.
pub const TILE_BYTES: usize = {
    let side = TILE_PX as usize;
    side * side * 4 + side * side + side * side / 4
};

/// A tile as the GPU takes it: RGBA rows of 256, 128 and 64 pixels a side.
#[derive(Debug, PartialEq)]
pub struct TilePixels {
    pub mips: [Vec<u8>; MIP_COUNT as usize],
}

impl TilePixels {
    /// Makes the smaller copies; a tile at the slide's edge is continued with its last row and column.
    pub fn from_rgb(image: &RgbImage) -> Self {
        let side = TILE_PX as usize;
        let (width, height) = (image.width().min(TILE_PX) as usize, image.height().min(TILE_PX) as usize);
        let mut first = vec![255; side * side * 4];
        if width > 0 && height > 0 {
            for (y, row) in first.chunks_exact_mut(side * 4).enumerate() {
                let source = &image.as_raw()[y.min(height - 1) * image.width() as usize * 3..];
                for (x, pixel) in row.chunks_exact_mut(4).enumerate() {
                    let at = x.min(width - 1) * 3;
                    pixel[..3].copy_from_slice(&source[at..at + 3]);
                }
            }
        }
        let second = halved(&first, side);
        let third = halved(&second, side / 2);
        Self { mips: [first, second, third] }
    }
}

/// Means of 2 × 2 pixels.
fn halved(pixels: &[u8], side: usize) -> Vec<u8> {
    let mut half = Vec::with_capacity(pixels.len() / 4);
    for rows in pixels.chunks_exact(side * 8) {
        let (upper, lower) = rows.split_at(side * 4);
        for (a, b) in upper.chunks_exact(8).zip(lower.chunks_exact(8)) {
            for c in 0..4 {
                let sum = u16::from(a[c]) + u16::from(a[c + 4]) + u16::from(b[c]) + u16::from(b[c + 4]);
                half.push(((sum + 2) / 4) as u8);
            }
        }
    }
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smaller_copies_are_means_and_edges_are_continued() {
        let mut image = RgbImage::from_pixel(3, 2, image::Rgb([10, 20, 30]));
        image.put_pixel(2, 1, image::Rgb([50, 60, 70]));
        let tile = TilePixels::from_rgb(&image);
        assert_eq!(tile.mips.each_ref().map(Vec::len).iter().sum::<usize>(), TILE_BYTES);
        assert_eq!(&tile.mips[0][..4], &[10, 20, 30, 255]);
        let far = (100 * TILE_PX as usize + 100) * 4;
        assert_eq!(&tile.mips[0][far..far + 4], &[50, 60, 70, 255]);
        // Pixels (2, 0), (3, 0), (2, 1), (3, 1): two of each.
        assert_eq!(&tile.mips[1][4..8], &[30, 40, 50, 255]);
    }
}
