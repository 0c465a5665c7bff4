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
            sigma: dice.between(0.0, 0.7),
        }
    }

    /// RGB rows from planes of haematoxylin and eosin over `window`.
    pub(super) fn expose(&self, haematoxylin: &[f32], eosin: &[f32], window: Window) -> Vec<u8> {
        let mut rgb = Vec::with_capacity(haematoxylin.len() * 3);
        let (w, grains) = (window.w as usize, grain());
        let middle = 0.5 * window.w as f32;
        for (k, (h, e)) in haematoxylin.iter().zip(eosin).enumerate() {
            let (i, j) = ((k % w) as i32, (k / w) as i32);
            let light = 1.0
                + (self.shading.0 * (i as f32 - middle) + self.shading.1 * (j as f32 - middle))
                    / (middle + 1.0);
            let (x, y) = (window.x + i, window.y + j);
            for c in 0..3 {
                let density = h * self.haematoxylin[c] + e * self.eosin[c] + self.veil[c];
                let noise = self.noise * grains.nearest(x * 2 + 71 * c as i32, y * 2 + 37 * c as i32);
                rgb.push((self.lamp[c] * light * (-density).exp() + noise).clamp(0.0, 255.0) as u8);
            }
        }
        rgb
    }
}
