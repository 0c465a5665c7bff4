//! How good a region's pixels are: whether there is tissue at all, and whether it is in focus.

use image::RgbImage;

use super::Flaw;
use super::mask::saturation;

/// A region has tissue when more than this part of its pixels is coloured, and more than this part is darker than glass. Measured on the
/// tiles of histolab's tests: 3 % at the most of their empty ones are darker, 13 % and more of those with tissue are both.
const LEAST_TISSUE: f64 = 0.05;
/// What counts as coloured, of 255.
const COLOURED: u8 = 20;
/// What counts as darker than glass: the mean of red, green and blue.
const DARKER: u16 = 220;
/// Sharpness below which a region counts as out of focus. Measured on the same tiles at about 1 µm/px: 0.50 and more as they are, 0.18
/// at the most once blurred by a Gaussian of 1 µm, 0.04 by one of 2 µm.
const BLURRED: f64 = 0.25;
/// A picture narrower than this says nothing about focus.
const LEAST_SIDE: u32 = 16;

/// What a region's pixels suffer from. For the focus they must have about 1 µm/px (or the slide's own where that is coarser); `upsampled`
/// says that the slide itself is coarser than wanted, and then focus is not judged: enlarged pixels look blurred.
pub fn flaws(rgb: &RgbImage, upsampled: bool) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    if is_blank(rgb) {
        flaws.push(Flaw::Blank);
    } else if !upsampled && sharpness(rgb).is_some_and(|sharpness| sharpness < BLURRED) {
        flaws.push(Flaw::Blurred);
    }
    if upsampled {
        flaws.push(Flaw::Upsampled);
    }
    flaws
}

fn is_blank(rgb: &RgbImage) -> bool {
    let (mut coloured, mut darker, mut count) = (0_u64, 0_u64, 0_u64);
    for pixel in rgb.pixels() {
        let [r, g, b] = pixel.0;
        count += 1;
        coloured += u64::from(saturation(pixel.0) > COLOURED);
        darker += u64::from(u16::from(r) + u16::from(g) + u16::from(b) < 3 * DARKER);
    }
    let least = LEAST_TISSUE * count as f64;
    (coloured as f64) < least || (darker as f64) < least
}

/// The variance of the Laplacian over the variance of the luma, so that pale and dark stains are judged alike; `None` when the picture is
/// too small or of one colour. The measure of Pech-Pacheco et al., ICPR 2000, made independent of contrast.
fn sharpness(rgb: &RgbImage) -> Option<f64> {
    let (width, height) = rgb.dimensions();
    if width < LEAST_SIDE || height < LEAST_SIDE {
        return None;
    }
    let luma: Vec<f64> = rgb
        .pixels()
        .map(|pixel| {
            let [r, g, b] = pixel.0.map(f64::from);
            0.299 * r + 0.587 * g + 0.114 * b
        })
        .collect();
    let width = width as usize;
    let inner = (1..height as usize - 1).flat_map(|row| (1..width - 1).map(move |x| row * width + x));
    let laplacian = inner
        .map(|at| luma[at - 1] + luma[at + 1] + luma[at - width] + luma[at + width] - 4.0 * luma[at])
        .collect::<Vec<f64>>();
    let contrast = variance(&luma);
    (contrast > 1.0).then(|| variance(&laplacian) / contrast)
}

fn variance(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count
}
