//! From a truth to the measures of its drawing: pitches, insets, densities, sizes.
//!
//! All lengths are pixels of 0.5 µm. Levels are translated into targets for what comes out (counts per standard
//! field, shares of the area); `calibrate` then sets the free measures so that a given window meets them.

use super::layout::{self, Kind};
use super::noise::Dice;
use super::shape::{self, Lattice, Scatter};
use crate::phantom::{
    Amount, Cellularity, Mitoses, NuclearSize, Pattern, Pleomorphism, Presence, Stroma, Truth,
};

/// Area of the standard field of 224 px, to which counts refer.
pub(super) const FIELD_AREA: f32 = 224.0 * 224.0;

/// The lumen's share of a tumour gland.
const LUMEN: f32 = 0.17;

/// A rectangle of the plane, in pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) x: i32,
    pub(super) y: i32,
    pub(super) w: u32,
    pub(super) h: u32,
}

impl Window {
    pub(super) fn area(self) -> f32 {
        self.w as f32 * self.h as f32
    }

    /// The window with `margin` more on each side.
    pub(super) fn grown(self, margin: i32) -> Self {
        let more = 2 * margin as u32;
        Self { x: self.x - margin, y: self.y - margin, w: self.w + more, h: self.h + more }
    }

    pub(super) fn contains(self, x: f32, y: f32) -> bool {
        let (dx, dy) = (x - self.x as f32, y - self.y as f32);
        dx >= 0.0 && dy >= 0.0 && dx < self.w as f32 && dy < self.h as f32
    }
}

/// The measures with which one district (or one field) is drawn.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) truth: Truth,
    pub(super) salt: u64,
    pub(super) scatter: Scatter,
    /// Distance between the centres of structures (glands, nests, fat cells).
    pub(super) pitch: f32,
    /// Half the gap between neighbouring structures; set by `calibrate` from the stroma's share.
    pub(super) inset: f32,
    /// Displacement and wavelength with which outlines are bent.
    pub(super) warp: (f32, f32),
    /// Height of a gland's epithelium, beyond which the lumen begins; in tumour glands set by `calibrate`.
    pub(super) height: f32,
    /// Level of the necrosis field above which tissue is dead; infinite without necrosis.
    pub(super) necrosis_level: f32,
    /// Mean diameter of epithelial nuclei.
    pub(super) diameter: f32,
    /// Nuclei asked for per standard field in epithelium and stroma; set by `calibrate`.
    pub(super) nuclei: f32,
    /// Share of the area that is epithelium (without lumen) and stroma, as measured by `calibrate`.
    pub(super) shares: (f32, f32),
    /// Direction of the fibres.
    pub(super) fibre_angle: f32,
    /// Pattern-independent tone of cytoplasm, stroma and nuclei: haematoxylin and eosin multipliers.
    pub(super) tone: Tone,
}

/// Amounts of dye that vary between specimens and say nothing about the truth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tone {
    pub(super) cytoplasm: (f32, f32),
    pub(super) stroma: (f32, f32),
    pub(super) empty: (f32, f32),
}

impl Plan {
    /// The measures for `truth` before calibration.
    pub(super) fn new(truth: Truth, salt: u64) -> Self {
        let mut dice = Dice::at(salt, 1, 0, 0);
        let pitch = dice.between(0.94, 1.08)
            * match truth.pattern {
                Pattern::BenignGlands => by_cellularity(truth, 150.0, 116.0, 94.0),
                Pattern::TumourGlands => by_cellularity(truth, 130.0, 108.0, 98.0),
                Pattern::TumourNests => by_cellularity(truth, 130.0, 118.0, 112.0),
                Pattern::Fat => 82.0,
                _ => 100.0,
            };
        let warp = match truth.pattern {
            Pattern::BenignGlands => (1.5, 8.0),
            Pattern::TumourGlands => (9.0, 5.0),
            Pattern::TumourNests => (4.0, 8.0),
            _ => (2.0, 8.0),
        };
        let diameter = match truth.nuclear_size {
            Some(NuclearSize::Large) => dice.between(18.6, 19.8),
            _ => dice.between(10.4, 11.4),
        };
        Self {
            truth,
            salt,
            scatter: Scatter::new(salt),
            pitch,
            inset: 3.0,
            warp,
            height: 22.0,
            necrosis_level: f32::INFINITY,
            diameter,
            nuclei: (target_total(truth).2 - lymphocytes_asked(truth)).max(10.0),
            shares: (1.0, 0.0),
            fibre_angle: dice.between(0.0, std::f32::consts::PI),
            tone: Tone::draw(&mut dice),
        }
    }

    /// Sets inset, necrosis level and nuclear density so that `window` meets the truth's levels.
    pub(super) fn calibrate(&mut self, window: Window) {
        let lattice = Lattice::raw(self, window);
        self.necrosis_level = match (self.truth.pattern, self.truth.necrosis) {
            (Pattern::Necrosis, _) => f32::NEG_INFINITY,
            (_, Presence::Absent) => f32::INFINITY,
            (_, Presence::Present) => quantile(lattice.necrosis.clone(), 1.0 - 0.21),
        };
        if let Some(share) = stroma_share(self.truth, self.salt) {
            let alive: Vec<f32> = lattice
                .depth
                .iter()
                .zip(&lattice.necrosis)
                .filter(|(_, n)| **n < self.necrosis_level)
                .map(|(d, _)| *d)
                .collect();
            let of_alive = share * lattice.depth.len() as f32 / alive.len().max(1) as f32;
            self.inset = quantile(alive.clone(), of_alive.min(0.95));
            if self.truth.pattern == Pattern::TumourGlands {
                let glands: Vec<f32> = alive.iter().map(|d| d - self.inset).filter(|d| *d > 0.0).collect();
                self.height = quantile(glands, 1.0 - LUMEN).clamp(16.0, 38.0);
            }
        }
        self.shares = shape::shares(self, &lattice);
        let (low, high, aim) = target_total(self.truth);
        for _ in 0..5 {
            let found = layout::census(&layout::place_single(self, window), window);
            let scale = FIELD_AREA / window.area();
            let total = found.total() as f32 * scale;
            if total >= low && total <= high {
                break;
            }
            let wanted = (aim - found.of(Kind::Lymphocyte) as f32 * scale).max(4.0);
            let got = (total - found.of(Kind::Lymphocyte) as f32 * scale).max(2.0);
            self.nuclei = (self.nuclei * (wanted / got).clamp(0.5, 1.9)).min(340.0);
        }
    }

    /// Whether the nuclei found in a standard field agree with the truth.
    pub(super) fn accepts(&self, found: &layout::Census) -> bool {
        let (low, high, _) = target_total(self.truth);
        let total = found.total() as f32;
        let mitoses = found.of(Kind::Mitosis);
        let lymphocytes = found.of(Kind::Lymphocyte);
        total >= low
            && total <= high
            && match self.truth.mitoses {
                Mitoses::Absent => mitoses == 0,
                Mitoses::Present => (4..=7).contains(&mitoses),
            }
            && match self.truth.lymphocytes {
                Amount::Absent => lymphocytes == 0,
                Amount::Sparse => (6..=12).contains(&lymphocytes),
                Amount::Dense => lymphocytes >= 42,
            }
    }

    /// Relative spread of nuclear diameters: the largest is about `(1 + s) / (1 - s)` times the smallest.
    pub(super) fn spread(&self) -> f32 {
        if self.truth.pleomorphism == Some(Pleomorphism::Marked) { 0.42 } else { 0.05 }
    }

    /// Lymphocytes asked for per standard field.
    pub(super) fn lymphocytes(&self) -> f32 {
        lymphocytes_asked(self.truth)
    }
}

impl Tone {
    fn draw(dice: &mut Dice) -> Self {
        Self {
            cytoplasm: (dice.between(0.08, 0.24), dice.between(0.25, 0.62)),
            stroma: (dice.between(0.03, 0.14), dice.between(0.32, 0.72)),
            empty: (dice.between(0.0, 0.06), dice.between(0.0, 0.10)),
        }
    }
}

fn by_cellularity(truth: Truth, low: f32, moderate: f32, high: f32) -> f32 {
    match truth.cellularity {
        Cellularity::Low => low,
        Cellularity::Moderate => moderate,
        Cellularity::High => high,
    }
}

fn lymphocytes_asked(truth: Truth) -> f32 {
    match (truth.pattern, truth.lymphocytes) {
        (_, Amount::Absent) => 0.0,
        (_, Amount::Sparse) => 8.5,
        (Pattern::LymphoidAggregate, Amount::Dense) => 260.0,
        (Pattern::FibrousStroma, Amount::Dense) => 110.0,
        (_, Amount::Dense) if truth.stroma == Some(Stroma::Scant) => 78.0,
        (_, Amount::Dense) => 64.0,
    }
}

/// Least, most and intended number of nuclei of all kinds in a standard field.
///
/// Neighbouring levels are a factor of at least 1.8 apart.
pub(super) fn target_total(truth: Truth) -> (f32, f32, f32) {
    match truth.cellularity {
        _ if truth.pattern == Pattern::Necrosis => (0.0, 12.0, 4.0),
        Cellularity::Low => (18.0, 27.0, 24.0),
        Cellularity::Moderate => (49.0, 55.0, 52.0),
        Cellularity::High => (100.0, 400.0, 118.0),
    }
}

/// The stroma's intended share of the area, for patterns with structures.
fn stroma_share(truth: Truth, salt: u64) -> Option<f32> {
    let mut dice = Dice::at(salt, 2, 0, 0);
    match (truth.pattern, truth.stroma) {
        (Pattern::Fat, _) => Some(dice.between(0.10, 0.14)),
        (Pattern::TumourSheets, _) | (_, None) => None,
        (_, Some(Stroma::Scant)) => Some(dice.between(0.06, 0.085)),
        (_, Some(Stroma::Abundant)) => Some(dice.between(0.39, 0.43)),
    }
}

fn quantile(mut values: Vec<f32>, share: f32) -> f32 {
    if values.is_empty() {
        return 0.0;
    }
    let rank = ((values.len() - 1) as f32 * share.clamp(0.0, 1.0)) as usize;
    *values.select_nth_unstable_by(rank, f32::total_cmp).1
}
