//! Nuclei in a patch: what is dark in red light, divided where two of them touch.
//!
//! A threshold between the two groups of the tissue's pixels (Otsu), then a watershed over the distance to the outline:
//! each nucleus grows from the place that lies deepest within it. Nothing is learned, and nothing about colour is
//! assumed but that haematoxylin takes red light.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::raster::{Size, components, distances, grown, means, shrunk, threshold};

/// Parts of the background smaller than this lie within a nucleus: a pale centre.
const LARGEST_HOLE_PX: usize = 60;

/// What is smaller is dust, or the end of a nucleus that was cut.
const SMALLEST_NUCLEUS_PX: usize = 20;

/// A place less deep than this starts no nucleus.
const SMALLEST_DEPTH_PX: f64 = 1.5;

/// Two places nearer to each other than this are of one nucleus.
const SEED_RADIUS: usize = 3;

/// One nucleus.
#[derive(Clone, Debug)]
pub(super) struct Nucleus {
    /// Its pixels.
    pub(super) pixels: Vec<usize>,
    /// Whether it lies wholly within the patch.
    pub(super) is_whole: bool,
    /// Its longer axis over its shorter one, of the ellipse with the same second moments.
    pub(super) elongation: f64,
}

/// The nuclei of a patch.
pub(super) struct Nuclei {
    pub(super) all: Vec<Nucleus>,
    /// Pixels that are taken by nuclei, whether or not they count as one.
    pub(super) area_px: usize,
}

/// Finds the nuclei within `tissue`; `darkness` is how much red light each pixel takes, in any unit.
pub(super) fn find(darkness: &[f64], tissue: &[bool], size: Size) -> Nuclei {
    let mask = nuclear_mask(darkness, tissue, size);
    let depth = means(&distances(&mask, size), size, 1);
    let labels = watershed(&depth, &mask, size);
    let mut pixels: Vec<Vec<usize>> = Vec::new();
    for (at, label) in labels.into_iter().enumerate() {
        if let Some(label) = label {
            pixels.resize(pixels.len().max(label + 1), Vec::new());
            pixels[label].push(at);
        }
    }
    let all = pixels
        .into_iter()
        .filter(|pixels| pixels.len() >= SMALLEST_NUCLEUS_PX)
        .map(|pixels| Nucleus {
            is_whole: !pixels.iter().any(|at| size.is_border(*at)),
            elongation: elongation(&pixels, size),
            pixels,
        })
        .collect();
    Nuclei { all, area_px: mask.iter().filter(|inside| **inside).count() }
}

/// What is dark, without single pixels and without holes.
fn nuclear_mask(darkness: &[f64], tissue: &[bool], size: Size) -> Vec<bool> {
    let of_tissue: Vec<f64> =
        darkness.iter().zip(tissue).filter(|(_, inside)| **inside).map(|(d, _)| *d).collect();
    let Some(least) = threshold(&of_tissue) else { return vec![false; size.area()] };
    let dark: Vec<bool> = darkness.iter().zip(tissue).map(|(d, inside)| *inside && *d > least).collect();
    let opened = grown(&shrunk(&dark, size, 1), size, 1);
    let mut mask: Vec<bool> = dark.iter().zip(opened).map(|(a, b)| *a && b).collect();
    let around: Vec<bool> = mask.iter().map(|inside| !inside).collect();
    for hole in components(&around, size) {
        if hole.len() < LARGEST_HOLE_PX {
            for at in hole {
                mask[at] = true;
            }
        }
    }
    mask
}

/// The number of the nucleus that each pixel of the mask belongs to: flooded from the deepest places downwards.
fn watershed(depth: &[f64], mask: &[bool], size: Size) -> Vec<Option<usize>> {
    let mut labels: Vec<Option<usize>> = vec![None; size.area()];
    let mut queue = BinaryHeap::new();
    for (label, seed) in seeds(depth, mask, size).into_iter().enumerate() {
        labels[seed] = Some(label);
        queue.push((depth[seed].to_bits(), Reverse(label), seed));
    }
    let mut order = queue.len();
    // Depths are not negative, so their bits are in their order; equal ones in the order in which they came.
    while let Some((_, _, at)) = queue.pop() {
        for beside in size.beside(at) {
            if mask[beside] && labels[beside].is_none() {
                labels[beside] = labels[at];
                queue.push((depth[beside].to_bits(), Reverse(order), beside));
                order += 1;
            }
        }
    }
    labels
}

/// One pixel for each nucleus: those that no pixel around them lies deeper than.
fn seeds(depth: &[f64], mask: &[bool], size: Size) -> Vec<usize> {
    let is_deepest = |at: usize| {
        let (x, y) = size.place(at);
        let rows = y.saturating_sub(SEED_RADIUS)..(y + SEED_RADIUS + 1).min(size.height);
        let columns = x.saturating_sub(SEED_RADIUS)..(x + SEED_RADIUS + 1).min(size.width);
        rows.flat_map(|row| columns.clone().map(move |column| row * size.width + column))
            .all(|other| depth[other] <= depth[at])
    };
    let peaks: Vec<bool> = (0..size.area())
        .map(|at| mask[at] && depth[at] > SMALLEST_DEPTH_PX && depth[at].is_finite() && is_deepest(at))
        .collect();
    components(&peaks, size).into_iter().filter_map(|peak| peak.first().copied()).collect()
}

/// The longer over the shorter axis of the ellipse with the same second moments; 1 for a circle.
fn elongation(pixels: &[usize], size: Size) -> f64 {
    let n = pixels.len() as f64;
    let places = || pixels.iter().map(|at| size.place(*at)).map(|(x, y)| (x as f64, y as f64));
    let (sum_x, sum_y) = places().fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
    let (mean_x, mean_y) = (sum_x / n, sum_y / n);
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (x, y) in places() {
        xx += (x - mean_x).powi(2);
        yy += (y - mean_y).powi(2);
        xy += (x - mean_x) * (y - mean_y);
    }
    // A pixel is a square, not a point.
    let (xx, yy, xy) = (xx / n + 1.0 / 12.0, yy / n + 1.0 / 12.0, xy / n);
    let spread = ((xx - yy).powi(2) + 4.0 * xy * xy).sqrt();
    ((xx + yy + spread) / (xx + yy - spread).max(1e-9)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 64, height: 48 };

    fn darkness(nuclei: &[(f64, f64, f64, f64)]) -> Vec<f64> {
        let is_dark = |at: usize| {
            let (x, y) = SIZE.place(at);
            nuclei
                .iter()
                .any(|(cx, cy, a, b)| ((x as f64 - cx) / a).powi(2) + ((y as f64 - cy) / b).powi(2) <= 1.0)
        };
        (0..SIZE.area()).map(|at| f64::from(is_dark(at))).collect()
    }

    #[test]
    fn known_nuclei_are_found_with_their_size_and_shape() {
        let drawn = [(12.0, 12.0, 5.0, 5.0), (32.0, 14.0, 9.0, 4.5), (50.0, 34.0, 6.0, 6.0)];
        let found = find(&darkness(&drawn), &vec![true; SIZE.area()], SIZE);
        assert_eq!(found.all.len(), 3);
        for ((_, _, a, b), nucleus) in drawn.iter().zip(&found.all) {
            let area = std::f64::consts::PI * a * b;
            assert!((nucleus.pixels.len() as f64 / area - 1.0).abs() < 0.1, "{}", nucleus.pixels.len());
            assert!((nucleus.elongation / (a / b) - 1.0).abs() < 0.1, "{}", nucleus.elongation);
            assert!(nucleus.is_whole);
        }
        assert_eq!(found.area_px, found.all.iter().map(|nucleus| nucleus.pixels.len()).sum::<usize>());
    }

    #[test]
    fn two_that_touch_are_two_and_one_with_a_pale_centre_is_one() {
        let touching = darkness(&[(20.0, 20.0, 7.0, 7.0), (32.0, 20.0, 7.0, 7.0)]);
        let found = find(&touching, &vec![true; SIZE.area()], SIZE);
        assert_eq!(found.all.len(), 2);
        let mut ring = darkness(&[(20.0, 20.0, 8.0, 8.0)]);
        for (at, value) in ring.iter_mut().enumerate() {
            let (x, y) = SIZE.place(at);
            if (x as f64 - 20.0).hypot(y as f64 - 20.0) < 3.0 {
                *value = 0.0;
            }
        }
        let found = find(&ring, &vec![true; SIZE.area()], SIZE);
        assert_eq!(found.all.len(), 1);
        assert!(found.all[0].pixels.len() > 180, "the centre belongs to it");
    }

    #[test]
    fn a_nucleus_that_the_border_cuts_is_not_whole_and_dust_is_none() {
        let found = find(&darkness(&[(0.0, 20.0, 6.0, 6.0)]), &vec![true; SIZE.area()], SIZE);
        assert_eq!(found.all.iter().map(|nucleus| nucleus.is_whole).collect::<Vec<_>>(), [false]);
        assert!(find(&darkness(&[(20.0, 20.0, 2.0, 2.0)]), &vec![true; SIZE.area()], SIZE).all.is_empty());
        assert!(find(&vec![0.5; SIZE.area()], &vec![true; SIZE.area()], SIZE).all.is_empty());
    }
}
