//! Outlines: how deep a point lies inside a gland, nest or fat cell, and inside a necrotic focus.
//!
//! Structures are the cells of a jittered hexagonal grid with rounded corners; the depth field is evaluated every
//! four pixels on a lattice that is fixed to the plane, so that tiles agree, and interpolated between.

use super::noise::{Dice, cloud, floor};
use super::plan::{Plan, Window};
use crate::phantom::{Pattern, Presence};

/// Distance between lattice points.
pub(super) const STEP: i32 = 4;

/// Kinds of hashed grids, so that they do not share their chance.
const STRUCTURES: u64 = 10;
const FOCI: u64 = 11;

/// What a point belongs to, before nuclei are laid over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Region {
    Stroma,
    Epithelium,
    Lumen,
    Necrosis,
    Mucin,
    Fat,
}

/// Depth fields at the lattice points of a window (and one beyond on each side).
pub(super) struct Lattice {
    pub(super) depth: Vec<f32>,
    pub(super) necrosis: Vec<f32>,
}

impl Lattice {
    /// The fields of `plan` without its inset and necrosis level.
    pub(super) fn raw(plan: &Plan, window: Window) -> Self {
        let (columns, rows) = ((window.w as i32) / STEP, (window.h as i32) / STEP);
        let mut lattice = Self { depth: Vec::new(), necrosis: Vec::new() };
        for j in 0..rows {
            for i in 0..columns {
                let (x, y) = ((window.x + i * STEP) as f32, (window.y + j * STEP) as f32);
                lattice.depth.push(raw_depth(plan, x, y));
                lattice.necrosis.push(if plan.truth.necrosis == Presence::Present {
                    raw_necrosis(plan, x, y)
                } else {
                    f32::NEG_INFINITY
                });
            }
        }
        lattice
    }
}

/// Whether the pattern is made of separate structures.
pub(super) fn has_structures(pattern: Pattern) -> bool {
    matches!(pattern, Pattern::BenignGlands | Pattern::TumourGlands | Pattern::TumourNests | Pattern::Fat)
}

/// Depth below the outline of the structure around a point; negative outside.
pub(super) fn depth(plan: &Plan, x: f32, y: f32) -> f32 {
    raw_depth(plan, x, y) - plan.inset
}

/// Depth inside necrosis; negative in living tissue.
pub(super) fn necrosis_depth(plan: &Plan, x: f32, y: f32) -> f32 {
    if plan.necrosis_level == f32::INFINITY {
        return -1000.0;
    }
    if plan.necrosis_level == f32::NEG_INFINITY {
        return 1000.0;
    }
    raw_necrosis(plan, x, y) - plan.necrosis_level
}

/// The region at a point whose depths are known.
#[inline]
pub(super) fn region(plan: &Plan, depth: f32, necrosis: f32, lumen_depth: f32) -> Region {
    if necrosis > 0.0 {
        return Region::Necrosis;
    }
    match plan.truth.pattern {
        Pattern::BenignGlands | Pattern::TumourGlands if lumen_depth > 0.0 => Region::Lumen,
        Pattern::BenignGlands | Pattern::TumourGlands | Pattern::TumourNests if depth > 0.0 => {
            Region::Epithelium
        }
        Pattern::Fat if depth > 0.0 => Region::Fat,
        Pattern::TumourSheets => Region::Epithelium,
        Pattern::Mucin => Region::Mucin,
        Pattern::Necrosis => Region::Necrosis,
        _ => Region::Stroma,
    }
}

/// How far beyond the epithelium a point of a gland lies; negative inside the epithelium.
pub(super) fn lumen_depth(plan: &Plan, depth: f32, x: f32, y: f32) -> f32 {
    let ragged = if plan.truth.pattern == Pattern::TumourGlands { 4.0 } else { 0.8 };
    depth - plan.height - ragged * cloud().at(x / 2.2 + 91.0, y / 2.2 + 37.0)
}

/// The region at a point, from scratch.
pub(super) fn region_at(plan: &Plan, x: f32, y: f32) -> (Region, f32) {
    let depth = depth(plan, x, y);
    let necrosis = necrosis_depth(plan, x, y);
    (region(plan, depth, necrosis, lumen_depth(plan, depth, x, y)), depth)
}

/// Shares of epithelium and stroma on a raw lattice.
pub(super) fn shares(plan: &Plan, lattice: &Lattice) -> (f32, f32) {
    let mut counts = (0u32, 0u32);
    for (raw, necrosis) in lattice.depth.iter().zip(&lattice.necrosis) {
        let depth = raw - plan.inset;
        match region(
            plan,
            depth,
            if plan.necrosis_level.is_finite() { necrosis - plan.necrosis_level } else { -1.0 },
            depth - plan.height,
        ) {
            Region::Epithelium => counts.0 += 1,
            Region::Stroma => counts.1 += 1,
            _ => {}
        }
    }
    let n = lattice.depth.len().max(1) as f32;
    (counts.0 as f32 / n, counts.1 as f32 / n)
}

/// Positions of structures and foci within their grid cells. They repeat every `PERIOD` cells, which is more than
/// a district, and save hashing at every point.
#[derive(Clone, Debug)]
pub(super) struct Scatter {
    structures: Vec<(f32, f32)>,
    /// Position in the cell and stretch.
    foci: Vec<[f32; 3]>,
}

const PERIOD: i32 = 32;

impl Scatter {
    /// The positions under a salt.
    pub(super) fn new(salt: u64) -> Self {
        let cells = || (0..PERIOD * PERIOD).map(|k| (k % PERIOD, k / PERIOD));
        Self {
            structures: cells()
                .map(|(i, j)| {
                    let mut dice = Dice::at(salt, STRUCTURES, i, j);
                    (dice.between(-0.2, 0.2), dice.between(-0.2, 0.2))
                })
                .collect(),
            foci: cells()
                .map(|(i, j)| {
                    let mut dice = Dice::at(salt, FOCI, i, j);
                    [dice.between(0.3, 0.7), dice.between(0.3, 0.7), dice.between(0.8, 1.25)]
                })
                .collect(),
        }
    }
}

fn within_period(i: i32, j: i32) -> usize {
    ((j & (PERIOD - 1)) * PERIOD + (i & (PERIOD - 1))) as usize
}

/// The centre of structure `(i, j)`.
#[inline]
pub(super) fn structure_centre(plan: &Plan, i: i32, j: i32) -> (f32, f32) {
    let (dx, dy) = plan.scatter.structures[within_period(i, j)];
    let shift = if j & 1 == 1 { 0.5 } else { 0.0 };
    ((i as f32 + 0.5 + shift + dx) * plan.pitch, ((j as f32 + 0.5) * 0.866 + dy) * plan.pitch)
}

/// Smoothed distance to the border between the nearest structure centre and its neighbours.
fn raw_depth(plan: &Plan, x: f32, y: f32) -> f32 {
    if !has_structures(plan.truth.pattern) {
        return 0.0;
    }
    let (amount, slow) = plan.warp;
    let offset = (plan.salt & 0xFF) as f32;
    let x = x + amount * cloud().at(x / slow + offset, y / slow);
    let y = y + amount * cloud().at(x / slow, y / slow + offset + 57.0);
    let j0 = floor(y / (plan.pitch * 0.866));
    let mut centres = [(0.0f32, 0.0f32, 0.0f32); 12];
    let mut nearest = 0;
    for (k, centre) in centres.iter_mut().enumerate() {
        let (dj, di) = (k as i32 / 4 - 1, k as i32 % 4 - 1);
        let j = j0 + dj;
        let shift = if j.rem_euclid(2) == 1 { 0.5 } else { 0.0 };
        let i0 = floor(x / plan.pitch - shift - 0.5);
        let (cx, cy) = structure_centre(plan, i0 + di, j);
        *centre = (cx, cy, (cx - x).powi(2) + (cy - y).powi(2));
    }
    for k in 1..centres.len() {
        if centres[k].2 < centres[nearest].2 {
            nearest = k;
        }
    }
    let (nx, ny, nd) = centres[nearest];
    let mut borders = [f32::INFINITY; 12];
    let mut first = f32::INFINITY;
    for (k, &(cx, cy, d)) in centres.iter().enumerate() {
        if k != nearest {
            borders[k] = (d - nd) / (2.0 * ((cx - nx).powi(2) + (cy - ny).powi(2)).sqrt());
            first = first.min(borders[k]);
        }
    }
    // A smooth minimum rounds the corners.
    let softness = plan.pitch * 0.045;
    let close = borders.iter().filter(|&&b| b - first < 6.0 * softness);
    first - softness * close.map(|b| ((first - b) / softness).exp()).sum::<f32>().ln()
}

/// Nearness to the centre of a necrotic focus, with a ragged outline.
fn raw_necrosis(plan: &Plan, x: f32, y: f32) -> f32 {
    const PITCH: f32 = 210.0;
    let wobble = 7.0;
    let x = x + wobble * cloud().at(x / 5.0 + 13.0, y / 5.0);
    let y = y + wobble * cloud().at(x / 5.0, y / 5.0 + 77.0);
    let (i0, j0) = (floor(x / PITCH), floor(y / PITCH));
    let mut best = f32::INFINITY;
    for j in j0 - 1..=j0 + 1 {
        for i in i0 - 1..=i0 + 1 {
            let [u, v, stretch] = plan.scatter.foci[within_period(i, j)];
            let (cx, cy) = ((i as f32 + u) * PITCH, (j as f32 + v) * PITCH);
            best = best.min(((cx - x) * stretch).powi(2) + ((cy - y) / stretch).powi(2));
        }
    }
    -best.sqrt()
}
