//! Other views of a patch, for training: turned, mirrored, and half of them in other colours.
//!
//! Nothing that is measured changes with them (see `measure.rs`), so that a view is described by what was measured in
//! the patch itself. Colours change by the gain and offset of each channel: what is learned from views holds in another
//! staining, and after every patch is brought to one mean and deviation.

use image::{RgbImage, imageops};
use rand::Rng;

/// What a view does to a patch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct View {
    /// Quarter turns.
    turns: u8,
    is_mirrored: bool,
    /// The mean and the deviation to which each channel is brought, in eight-bit levels; `None` leaves the colours.
    channels: Option<[(f64, f64); 3]>,
}

impl View {
    /// A view at random.
    pub(super) fn draw(rng: &mut impl Rng) -> Self {
        let turns = rng.random_range(0..4);
        let is_mirrored = rng.random_bool(0.5);
        let channels = rng.random_bool(0.5).then(|| {
            let mut channel = || (rng.random_range(110.0..215.0), rng.random_range(22.0..60.0));
            [channel(), channel(), channel()]
        });
        Self { turns, is_mirrored, channels }
    }

    /// The patch as this view shows it.
    pub(super) fn of(&self, patch: &RgbImage) -> RgbImage {
        let turned = match self.turns {
            0 => patch.clone(),
            1 => imageops::rotate90(patch),
            2 => imageops::rotate180(patch),
            _ => imageops::rotate270(patch),
        };
        let mut view = if self.is_mirrored { imageops::flip_horizontal(&turned) } else { turned };
        if let Some(channels) = self.channels {
            bring_to(&mut view, channels);
        }
        view
    }
}

/// Brings each channel to a mean and a deviation.
fn bring_to(image: &mut RgbImage, channels: [(f64, f64); 3]) {
    let n = f64::from(image.width()) * f64::from(image.height());
    for (channel, (wanted, spread)) in channels.into_iter().enumerate() {
        let values = || image.pixels().map(|pixel| f64::from(pixel.0[channel]));
        let mean = values().sum::<f64>() / n;
        let deviation = (values().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt();
        let gain = spread / deviation.max(1.0);
        for pixel in image.pixels_mut() {
            let value = (f64::from(pixel.0[channel]) - mean).mul_add(gain, wanted);
            pixel.0[channel] = value.round().clamp(0.0, 255.0) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn patch() -> RgbImage {
        RgbImage::from_fn(8, 8, |x, y| Rgb([(x * 20) as u8, (y * 20) as u8, (x * y) as u8]))
    }

    #[test]
    fn a_view_moves_pixels_and_loses_none() {
        let still = View { turns: 0, is_mirrored: false, channels: None };
        assert_eq!(still.of(&patch()), patch());
        let turned = View { turns: 1, is_mirrored: true, ..still }.of(&patch());
        assert_ne!(turned, patch());
        let sorted = |image: &RgbImage| {
            let mut pixels: Vec<[u8; 3]> = image.pixels().map(|pixel| pixel.0).collect();
            pixels.sort_unstable();
            pixels
        };
        assert_eq!(sorted(&turned), sorted(&patch()));
    }

    #[test]
    fn channels_get_the_mean_and_the_deviation_that_was_drawn() {
        let view = View { turns: 0, is_mirrored: false, channels: Some([(120.0, 20.0); 3]) };
        let seen = view.of(&patch());
        for channel in 0..3 {
            let values: Vec<f64> = seen.pixels().map(|pixel| f64::from(pixel.0[channel])).collect();
            let mean = values.iter().sum::<f64>() / 64.0;
            let spread = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 64.0).sqrt();
            assert!((mean - 120.0).abs() < 1.0 && (spread - 20.0).abs() < 1.0, "{mean} {spread}");
        }
    }

    #[test]
    fn half_of_the_views_keep_the_colours() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let kept = (0..1000).filter(|_| View::draw(&mut rng).channels.is_none()).count();
        assert!((430..570).contains(&kept), "{kept}");
    }
}
