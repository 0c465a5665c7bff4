//! From amounts of dye to RGB: Beer-Lambert with two dyes, lamp, lens shading and grain.
//!
//! Stains vary far more than between real laboratories, on purpose: colour shall say nothing about the truth.

use super::noise::{Dice, grain};
use super::plan::Window;

/// How a slide was stained and photographed.
#[derive(Clone, Debug)]
pub(super) struct Stain {
    haematoxylin: [f32; 3],
    eosin: [f32; 3],
    /// Optical density everywhere (thick section, dim lamp).
    veil: [f32; 3],
    lamp: [f32; 3],
    /// Slope of brightness across a standard field, from its middle.
    shading: (f32, f32),
    noise: f32,
    meter: Meter,
    /// Standard deviation of the focus blur.
    pub(super) sigma: f32,
}

impl Stain {
    /// The stain of one slide, from `seed`.
    pub(super) fn draw(seed: u64) -> Self {
        let mut dice = Dice::at(seed, 3, 0, 0);
        let strength = |dice: &mut Dice| (dice.between(0.5f32.ln(), 1.7f32.ln())).exp();
        let (h, e) = (strength(&mut dice), strength(&mut dice));
        let mut turn = |base: [f32; 3], by: f32| base.map(|v| (v + dice.between(-by, by)).max(0.02));
        let haematoxylin = turn([0.65, 0.72, 0.32], 0.10).map(|v| v * h);
        let eosin = turn([0.13, 0.80, 0.42], 0.10).map(|v| v * e);
        let dim = dice.between(0.82, 1.0);
        let lamp = [0, 1, 2].map(|_| 255.0 * dim * dice.between(0.94, 1.0));
        let thick = dice.between(0.0, 0.10);
        Self {
            haematoxylin,
            eosin,
            veil: [0, 1, 2].map(|_| thick * dice.between(0.5, 1.0)),
            lamp,
            shading: (dice.between(-0.04, 0.04), dice.between(-0.04, 0.04)),
            noise: dice.between(0.5, 3.5),
            meter: Meter::draw(&mut dice),
            sigma: dice.between(0.0, 0.7),
        }
    }

    /// The one stain of a demo slide: ordinary, without shading.
    pub(super) fn of_slide(seed: u64) -> Self {
        let mut stain = Self::draw(seed);
        stain.haematoxylin = [0.65, 0.74, 0.33];
        stain.eosin = [0.12, 0.78, 0.40];
        stain.veil = [0.01, 0.02, 0.01];
        stain.lamp = [244.0, 242.0, 245.0];
        stain.shading = (0.0, 0.0);
        stain.noise = 1.5;
        stain.sigma = 0.5;
        stain
    }

    /// RGB rows of bare glass: what `expose` gives without dye or metering, but sooner.
    pub(super) fn expose_glass(&self, window: Window) -> Vec<u8> {
        let glass = [0, 1, 2].map(|c| self.lamp[c] * transmitted(self.veil[c]));
        let grains = grain();
        let mut rgb = Vec::with_capacity((window.w * window.h * 3) as usize);
        for y in window.y..window.y + window.h as i32 {
            for x in window.x..window.x + window.w as i32 {
                for (c, light) in glass.iter().enumerate() {
                    let noise = self.noise * grains.nearest(x * 2 + 71 * c as i32, y * 2 + 37 * c as i32);
                    rgb.push((light + noise).clamp(0.0, 255.0) as u8);
                }
            }
        }
        rgb
    }

    /// RGB rows from planes of haematoxylin and eosin over `window`; `metered` fields have their brightness and
    /// contrast moved towards values that do not depend on what they show.
    pub(super) fn expose(
        &self,
        haematoxylin: &[f32],
        eosin: &[f32],
        window: Window,
        metered: bool,
    ) -> Vec<u8> {
        let (w, grains) = (window.w as usize, grain());
        let middle = 0.5 * window.w as f32;
        let mut light = Vec::with_capacity(haematoxylin.len() * 3);
        for (k, (h, e)) in haematoxylin.iter().zip(eosin).enumerate() {
            let (i, j) = ((k % w) as f32, (k / w) as f32);
            let lens = 1.0 + (self.shading.0 * (i - middle) + self.shading.1 * (j - middle)) / (middle + 1.0);
            for c in 0..3 {
                let density = h * self.haematoxylin[c] + e * self.eosin[c] + self.veil[c];
                light.push(self.lamp[c] * lens * transmitted(density));
            }
        }
        let gains = if metered { self.meter.gains(&light) } else { [(1.0, 0.0); 3] };
        let mut rgb = Vec::with_capacity(light.len());
        for (k, pixel) in light.chunks_exact(3).enumerate() {
            let (x, y) = (window.x + (k % w) as i32, window.y + (k / w) as i32);
            for c in 0..3 {
                let noise = self.noise * grains.nearest(x * 2 + 71 * c as i32, y * 2 + 37 * c as i32);
                rgb.push((pixel[c] * gains[c].0 + gains[c].1 + noise).clamp(0.0, 255.0) as u8);
            }
        }
        rgb
    }
}

/// The share of light that passes: close to `exp(-density)`, but without a library call for each pixel.
#[inline]
fn transmitted(density: f32) -> f32 {
    let mut share = (1.0 - density / 256.0).max(0.0);
    for _ in 0..8 {
        share *= share;
    }
    share
}

/// Brightness and contrast towards which an exposure is moved.
#[derive(Clone, Debug)]
struct Meter {
    mean: [f32; 3],
    deviation: [f32; 3],
    /// 0 leaves the exposure as it is, 1 moves it all the way.
    strength: f32,
}

impl Meter {
    fn draw(dice: &mut Dice) -> Self {
        let red = dice.between(150.0, 218.0);
        let contrast = dice.between(18.0, 44.0);
        // Some fields stay as they are: a slide is not metered field by field.
        let strength = if dice.unit() < 0.25 { dice.between(0.0, 0.4) } else { dice.between(0.55, 0.95) };
        Self {
            mean: [red, red - dice.between(12.0, 62.0), red - dice.between(-12.0, 26.0)],
            deviation: [
                contrast * dice.between(0.85, 1.15),
                contrast * dice.between(0.95, 1.4),
                contrast * dice.between(0.6, 1.0),
            ],
            strength,
        }
    }

    /// Factor and offset for each channel of interleaved RGB.
    fn gains(&self, light: &[f32]) -> [(f32, f32); 3] {
        let n = (light.len() / 3).max(1) as f32;
        [0, 1, 2].map(|c| {
            let channel = || light.iter().skip(c).step_by(3);
            let mean = channel().sum::<f32>() / n;
            let deviation = (channel().map(|v| (v - mean).powi(2)).sum::<f32>() / n).sqrt().max(1.0);
            // More gain would show the grain of flat fields instead of their structure.
            let full = (self.deviation[c] / deviation).clamp(0.45, 1.9);
            let gain = 1.0 + self.strength * (full - 1.0);
            let target = mean + self.strength * (self.mean[c] - mean);
            (gain, target - mean * gain)
        })
    }
}
