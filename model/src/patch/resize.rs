//! Resizing as Pillow does it (`Resample.c`, Pillow 13), to the last bit: the published encoders were trained on pixels that
//! came through it, and other libraries round differently in one value of a few thousand.
//!
//! Antialiased, in two passes with 8 bits between them.

use std::borrow::Cow;

use crate::package::ResizeFilter;
use crate::resample::{self, Kernel};

/// Bits behind the point of a weight (`PRECISION_BITS`).
const BITS: u32 = 32 - 8 - 2;
const CHANNELS: usize = 3;

/// The weights of one output value: its first input and one weight for each.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// Resizes RGB rows from `(width, height)` to another size.
pub(super) fn resized(rgb: &[u8], from: (usize, usize), to: (usize, usize), filter: ResizeFilter) -> Vec<u8> {
    if is_rows_first(from, to) {
        let rows = widened(rgb, from, to.0, filter);
        heightened(&rows, (to.0, from.1), to.1, filter).into_owned()
    } else {
        let columns = heightened(rgb, from, to.1, filter);
        widened(&columns, (from.0, to.1), to.0, filter).into_owned()
    }
}

/// Which pass comes first changes what is rounded between them: the columns do where the height loses more than twice what
/// the width loses (`ImagingResampleInner`, since Pillow 13).
fn is_rows_first(from: (usize, usize), to: (usize, usize)) -> bool {
    let lost = |from: usize, to: usize| from as i64 - to as i64;
    let (width, height) = (lost(from.0, to.0), lost(from.1, to.1));
    height <= 0 || height <= 2 * width
}

/// The rows, with `to` pixels in each.
fn widened(rgb: &[u8], from: (usize, usize), to: usize, filter: ResizeFilter) -> Cow<'_, [u8]> {
    if from.0 == to { rgb.into() } else { along_rows(rgb, from, to, filter).into() }
}

/// The columns, with `to` pixels in each.
fn heightened(rgb: &[u8], from: (usize, usize), to: usize, filter: ResizeFilter) -> Cow<'_, [u8]> {
    if from.1 == to { rgb.into() } else { along_columns(rgb, from, to, filter).into() }
}

/// Every row to `to` pixels.
fn along_rows(rgb: &[u8], (width, height): (usize, usize), to: usize, filter: ResizeFilter) -> Vec<u8> {
    let taps = taps(width, to, filter);
    let mut out = Vec::with_capacity(to * height * CHANNELS);
    for row in rgb.chunks_exact(width * CHANNELS) {
        for Taps { first, weights } in &taps {
            let mut sum = [1 << (BITS - 1); CHANNELS];
            for (pixel, weight) in row[first * CHANNELS..].chunks_exact(CHANNELS).zip(weights) {
                for (sum, &value) in sum.iter_mut().zip(pixel) {
                    *sum += i32::from(value) * weight;
                }
            }
            out.extend(sum.map(rounded));
        }
    }
    out
}

/// Every column to `to` pixels.
fn along_columns(rgb: &[u8], (width, _): (usize, usize), to: usize, filter: ResizeFilter) -> Vec<u8> {
    let row_len = width * CHANNELS;
    let taps = taps(rgb.len() / row_len, to, filter);
    let mut out = Vec::with_capacity(to * row_len);
    let mut sums = vec![0; row_len];
    for Taps { first, weights } in &taps {
        sums.fill(1 << (BITS - 1));
        for (row, weight) in rgb[first * row_len..].chunks_exact(row_len).zip(weights) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += i32::from(value) * weight;
            }
        }
        out.extend(sums.iter().map(|&sum| rounded(sum)));
    }
    out
}

fn rounded(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

/// The weights as Pillow rounds them (`normalize_coeffs_8bpc`).
fn taps(from: usize, to: usize, filter: ResizeFilter) -> Vec<Taps> {
    let kernel = match filter {
        ResizeFilter::Bicubic => Kernel::Cubic,
        ResizeFilter::Bilinear => Kernel::Triangle,
    };
    // `round` takes halves away from zero, as the cast of ±0.5 + x in C does.
    let fixed = |weight: f64| (weight * f64::from(1 << BITS)).round() as i32;
    let of = |(first, weights): (usize, Vec<f64>)| Taps {
        first,
        weights: weights.into_iter().map(fixed).collect(),
    };
    resample::taps(from, to, kernel).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(values: &[u8]) -> Vec<u8> {
        values.iter().flat_map(|&v| [v, v, v]).collect()
    }

    /// What Pillow 13.0.0 gives for `Image.resize` of the same values.
    #[test]
    fn small_pictures_become_what_pillow_makes_of_them() {
        let rgb = grey(&[0, 50, 100, 255, 10, 60, 110, 240]);
        let halved = resized(&rgb, (4, 2), (2, 2), ResizeFilter::Bilinear);
        // (0·3 + 50·3 + 100·1) / 7, (50·1 + 100·3 + 255·3) / 7 and so on.
        assert_eq!(halved, grey(&[36, 159, 46, 159]));
        let rough = grey(&[3, 250, 17, 99, 180, 90, 1, 255, 60, 20, 7, 77, 200, 30, 128]);
        let smaller = resized(&rough, (5, 3), (4, 2), ResizeFilter::Bicubic);
        assert_eq!(smaller, grey(&[63, 143, 88, 112, 30, 125, 122, 66]));
        assert_eq!(resized(&rgb, (4, 2), (4, 2), ResizeFilter::Bicubic), rgb);
        let flat = vec![77; 5 * 7 * 3];
        assert!(resized(&flat, (5, 7), (11, 3), ResizeFilter::Bicubic).iter().all(|&v| v == 77));
    }

    /// What Pillow 13.0.0 gives where the height shrinks and the width grows; rows first, two values would be larger by 1.
    #[test]
    fn the_columns_come_first_where_the_height_loses_more() {
        let rough: Vec<u8> = (0..6 * 3).map(|i| (i * i * 37 % 256) as u8).collect();
        let flatter = resized(&grey(&rough), (3, 6), (4, 2), ResizeFilter::Bicubic);
        assert_eq!(flatter, grey(&[60, 54, 82, 127, 172, 104, 84, 125]));
    }

    #[test]
    fn an_edge_overshoots_and_stays_within_eight_bits() {
        let rgb = grey(&[0, 0, 0, 255, 255, 255]);
        let larger = resized(&rgb, (6, 1), (12, 1), ResizeFilter::Bicubic);
        assert_eq!(larger, grey(&[0, 0, 0, 0, 0, 52, 203, 255, 255, 255, 255, 255]));
    }
}
