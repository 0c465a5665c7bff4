//! The colours of a slide's two stains, estimated from its own pixels.
//!
//! After M. Macenko et al., "A method for normalizing histology slides for quantitative analysis", ISBI 2009: the optical densities of
//! tissue lie in a plane, and the stains are the outermost directions in it. Numbers and order are those of torchstain, so that
//! both find the same.

use super::stain::{StainVectors, dot};

/// Pixels with less density (natural logarithm) than this in any channel are glass.
const BETA: f32 = 0.15;
/// The share of pixels beyond each of the outermost directions: they are noise.
const ALPHA: f64 = 0.01;
/// Pixels that are looked at, at the most.
const MOST_PIXELS: usize = 1 << 20;
/// Pixels of tissue without which nothing can be said.
const LEAST_PIXELS: usize = 500;
/// What a channel of clear glass has where nobody picked a background: torchstain's.
pub const USUAL_GROUND: [f32; 3] = [240.0 / 255.0; 3];

/// Why there is no estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "The slide shows too little stained tissue to estimate its stains: {found} pixels, at least {} are needed.",
        LEAST_PIXELS
    )]
    TooLittle { found: usize },
    #[error("The slide shows one stain only: two cannot be told apart.")]
    OneStain,
}

/// The stains of `pixels`, haematoxylin (the redder density) first; `ground` is the colour of clear glass, 0 to 1.
///
/// # Errors
/// When there is too little tissue, or only one stain.
pub fn estimate(pixels: impl Iterator<Item = [u8; 3]>, ground: [f32; 3]) -> Result<StainVectors, Error> {
    let ground = ground.map(|value| value.max(0.01) * 255.0);
    let tissue: Vec<[f32; 3]> = pixels
        .map(|[red, green, blue]| {
            let density = |value: u8, ground: f32| -((f32::from(value) + 1.0) / ground).ln();
            [density(red, ground[0]), density(green, ground[1]), density(blue, ground[2])]
        })
        .filter(|density| density.iter().all(|value| *value >= BETA))
        .collect();
    let step = tissue.len().div_ceil(MOST_PIXELS).max(1);
    let tissue: Vec<[f32; 3]> = tissue.into_iter().step_by(step).collect();
    if tissue.len() < LEAST_PIXELS {
        return Err(Error::TooLittle { found: tissue.len() });
    }
    let [along, beside] = plane(&tissue);
    // Densities are positive, and so is what they have along the first axis: no angle passes the half turn.
    let mut angles: Vec<f32> =
        tissue.iter().map(|density| dot(*density, beside).atan2(dot(*density, along))).collect();
    angles.sort_unstable_by(f32::total_cmp);
    let direction = |share: f64| {
        let (sin, cos) = percentile(&angles, share).sin_cos();
        let mut vector = [0.0; 3];
        for (value, (a, b)) in vector.iter_mut().zip(along.iter().zip(beside)) {
            *value = cos * a + sin * b;
        }
        vector
    };
    let (one, other) = (direction(ALPHA), direction(1.0 - ALPHA));
    let (first, second) = if one[0] > other[0] { (one, other) } else { (other, one) };
    StainVectors::from_two(first, second).ok_or(Error::OneStain)
}

/// The two directions in which densities differ most; the first points to where they are.
fn plane(densities: &[[f32; 3]]) -> [[f32; 3]; 2] {
    let (values, vectors) = eigen(covariance(densities));
    let mut order = [0, 1, 2];
    order.sort_unstable_by(|a: &usize, b| values[*b].total_cmp(&values[*a]));
    let [along, beside] = [order[0], order[1]].map(|at| vectors[at].map(|value| value as f32));
    let sign = if along.iter().sum::<f32>() < 0.0 { -1.0 } else { 1.0 };
    [along.map(|value| sign * value), beside]
}

fn covariance(densities: &[[f32; 3]]) -> [[f64; 3]; 3] {
    let count = densities.len() as f64;
    let mut means = [0.0; 3];
    for density in densities {
        for (mean, value) in means.iter_mut().zip(density) {
            *mean += f64::from(*value) / count;
        }
    }
    let mut sums = [[0.0; 3]; 3];
    for density in densities {
        let apart: [f64; 3] = std::array::from_fn(|n| f64::from(density[n]) - means[n]);
        for (row, a) in sums.iter_mut().zip(apart) {
            for (sum, b) in row.iter_mut().zip(apart) {
                *sum += a * b / (count - 1.0);
            }
        }
    }
    sums
}

/// Eigenvalues and eigenvectors (as rows, of length 1) of a symmetric matrix, by Jacobi's rotations.
fn eigen(mut matrix: [[f64; 3]; 3]) -> ([f64; 3], [[f64; 3]; 3]) {
    /// Three or four rounds are enough; more than this is for no matrix.
    const ROUNDS: usize = 32;
    let mut vectors = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    for _ in 0..ROUNDS {
        let beside = matrix[0][1].powi(2) + matrix[0][2].powi(2) + matrix[1][2].powi(2);
        if beside < 1e-24 {
            break;
        }
        for (p, q) in [(0, 1), (0, 2), (1, 2)] {
            if matrix[p][q].abs() < 1e-18 {
                continue;
            }
            let theta = (matrix[q][q] - matrix[p][p]) / (2.0 * matrix[p][q]);
            let tangent = theta.signum() / (theta.abs() + theta.hypot(1.0));
            let cos = 1.0 / tangent.hypot(1.0);
            let sin = tangent * cos;
            rotate(&mut matrix, &mut vectors, (p, q), (sin, cos));
        }
    }
    ([matrix[0][0], matrix[1][1], matrix[2][2]], vectors)
}

fn rotate(
    matrix: &mut [[f64; 3]; 3],
    vectors: &mut [[f64; 3]; 3],
    (p, q): (usize, usize),
    (sin, cos): (f64, f64),
) {
    for row in matrix.iter_mut() {
        (row[p], row[q]) = (cos * row[p] - sin * row[q], sin * row[p] + cos * row[q]);
    }
    for column in 0..3 {
        let (a, b) = (matrix[p][column], matrix[q][column]);
        (matrix[p][column], matrix[q][column]) = (cos * a - sin * b, sin * a + cos * b);
        let (a, b) = (vectors[p][column], vectors[q][column]);
        (vectors[p][column], vectors[q][column]) = (cos * a - sin * b, sin * a + cos * b);
    }
}

/// Between the two nearest of sorted values, which are at least one.
fn percentile(sorted: &[f32], share: f64) -> f32 {
    let place = share * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    let part = (place - below as f64) as f32;
    sorted[below] + part * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::stain::StainChannel;
    use super::*;

    #[test]
    fn eigenvectors_are_square_to_each_other_and_only_stretched() {
        let matrix = [[4.0, 1.0, -2.0], [1.0, 3.0, 0.5], [-2.0, 0.5, 1.0]];
        let (values, vectors) = eigen(matrix);
        for (value, vector) in values.iter().zip(vectors) {
            for (row, component) in matrix.iter().zip(vector) {
                let stretched: f64 = row.iter().zip(vector).map(|(a, b)| a * b).sum();
                assert!((stretched - value * component).abs() < 1e-9, "{value} {vector:?}");
            }
        }
        let product: f64 = vectors[0].iter().zip(vectors[1]).map(|(a, b)| a * b).sum();
        assert!(product.abs() < 1e-9);
        assert!((values.iter().sum::<f64>() - 8.0).abs() < 1e-9);
        assert_eq!(eigen([[2.0, 0.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 1.0]]).0, [2.0, 5.0, 1.0]);
    }

    /// Pixels of two stains in many mixtures, some of each alone.
    fn mixtures(vectors: &StainVectors) -> Vec<[u8; 3]> {
        let mut pixels = Vec::new();
        for first in 0..40 {
            for second in 0..40 {
                let (a, b) = (first as f32 * 0.02, second as f32 * 0.02);
                let density = |channel: usize| a * vectors.rows[0][channel] + b * vectors.rows[1][channel];
                let value = |channel: usize| (240.0 * 10_f32.powf(-density(channel)) - 1.0).round() as u8;
                pixels.push([value(0), value(1), value(2)]);
            }
        }
        pixels
    }

    #[test]
    fn the_stains_of_mixtures_are_found_again() {
        let mixed = StainVectors::from_two([0.65, 0.70, 0.29], [0.27, 0.80, 0.53]).unwrap();
        let found = estimate(mixtures(&mixed).into_iter(), USUAL_GROUND).unwrap();
        for channel in [StainChannel::First, StainChannel::Second] {
            let cosine = dot(found.vector(channel), mixed.vector(channel));
            // One part in a hundred lies beyond what is found, on purpose: 6 degrees.
            assert!(cosine > 0.9945, "{channel:?}: {found:?}");
        }
        let backwards: Vec<[u8; 3]> = mixtures(&mixed).into_iter().rev().collect();
        let again = estimate(backwards.into_iter(), USUAL_GROUND).unwrap();
        assert!(dot(again.rows[0], found.rows[0]) > 0.999_99, "the order of pixels means nothing");
    }

    #[test]
    fn glass_and_a_single_stain_are_refused() {
        let glass = std::iter::repeat_n([238, 239, 240], 10_000);
        assert_eq!(estimate(glass, USUAL_GROUND), Err(Error::TooLittle { found: 0 }));
        let one = (0..10_000).map(|n| {
            let amount = 0.2 + 0.00005 * n as f32;
            [0.6, 0.7, 0.4].map(|density: f32| (240.0 * 10_f32.powf(-amount * density)) as u8)
        });
        assert_eq!(estimate(one, USUAL_GROUND), Err(Error::OneStain));
    }

    /// Vectors by the reference code (NumPy, as torchstain computes them) for the pictures that torchstain is tested with.
    #[test]
    fn the_stains_of_torchstains_pictures_are_those_it_finds() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/images");
        let cases = [
            ("torchstain/source.png", [[0.66702, 0.72535, 0.17017], [0.35669, 0.91689, 0.17911]]),
            ("torchstain/target.png", [[0.72164, 0.66204, 0.20235], [0.34971, 0.91014, 0.22213]]),
            ("tiatoolbox/source_image.png", [[0.66604, 0.66896, 0.32998], [0.26069, 0.82383, 0.50334]]),
        ];
        for (name, wanted) in cases {
            let path = folder.join(name);
            if !path.is_file() {
                eprintln!("skipped: there is no {}", path.display());
                continue;
            }
            let image = image::open(path).unwrap().to_rgb8();
            let found = estimate(image.pixels().map(|pixel| pixel.0), USUAL_GROUND).unwrap();
            for (row, wanted) in found.rows.iter().zip(wanted) {
                let apart = row.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(apart < 2e-3, "{name}: {row:?} instead of {wanted:?}");
            }
        }
    }
}
