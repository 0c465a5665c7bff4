//! Where epithelial nuclei lie: scattered through tumours, in one even row around benign glands.

use super::layout::{Kind, MARGIN, Nucleus, cells};
use super::noise::Dice;
use super::plan::{FIELD_AREA, Plan, Window};
use super::shape::{self, Region};
use crate::phantom::{Pattern, Pleomorphism};

/// Kind of the hashed grids of epithelial nuclei.
const EPITHELIAL: u64 = 20;

fn epithelial(plan: &Plan, x: f32, y: f32, angle: f32, dice: &mut Dice) -> Nucleus {
    let spread = plan.spread();
    let marked = plan.truth.pleomorphism == Some(Pleomorphism::Marked);
    let diameter = plan.diameter * (1.0 + dice.between(-spread, spread));
    let stretch = if marked { dice.between(1.0, 1.35) } else { dice.between(1.02, 1.14) };
    let bend = if marked { (dice.between(-0.12, 0.12), dice.between(-0.16, 0.16)) } else { (0.0, 0.02) };
    let darkness = if marked { dice.between(0.8, 1.7) } else { dice.between(0.92, 1.08) };
    Nucleus {
        kind: Kind::Epithelial,
        x,
        y,
        a: diameter * 0.5 * stretch.sqrt(),
        b: diameter * 0.5 / stretch.sqrt(),
        angle,
        bend,
        darkness,
        hash: dice.next_u64() as u32,
    }
}

/// Disordered cells throughout the epithelium (or floating in mucin), `asked` in a standard field.
pub(super) fn scattered(plan: &Plan, window: Window, asked: f32, out: &mut Vec<Nucleus>) {
    let share = if plan.truth.pattern == Pattern::Mucin { 1.0 } else { plan.shares.0.max(0.02) };
    let asked = asked.max(0.5);
    let spacing = (share * FIELD_AREA / asked).sqrt().clamp(plan.diameter * 0.82, 120.0);
    // The pitch across and down that makes a hexagonal grid of shifted rows.
    let pitch = (spacing * 1.0746, spacing * 0.9306);
    let jitter = ((spacing - plan.diameter * 0.8) * 0.5).clamp(spacing * 0.06, spacing * 0.24);
    let radius = plan.diameter * 0.5;
    cells(window, pitch, |i, j| {
        let mut dice = Dice::at(plan.salt, EPITHELIAL, i, j);
        let shift = if j.rem_euclid(2) == 1 { 0.5 } else { 0.0 };
        let x = (i as f32 + shift) * pitch.0 + dice.between(-jitter, jitter);
        let y = j as f32 * pitch.1 + dice.between(-jitter, jitter);
        let (region, depth) = shape::region_at(plan, x, y);
        let fits = match plan.truth.pattern {
            Pattern::Mucin => region == Region::Mucin,
            Pattern::TumourSheets => region == Region::Epithelium,
            Pattern::TumourGlands => {
                region == Region::Epithelium
                    && depth > radius * 0.7
                    && shape::lumen_depth(plan, depth, x, y) < -radius * 0.6
            }
            _ => region == Region::Epithelium && depth > radius * 0.8 + 1.5,
        };
        if fits {
            let angle = dice.between(0.0, std::f32::consts::PI);
            out.push(epithelial(plan, x, y, angle, &mut dice));
        }
    });
}

/// One even row of nuclei near the base of each gland, `asked` in a standard field.
pub(super) fn rows_of_glands(plan: &Plan, window: Window, asked: f32, out: &mut Vec<Nucleus>) {
    let per_gland = asked * 0.866 * plan.pitch * plan.pitch / FIELD_AREA;
    let share = (1.0 - plan.shares.1).clamp(0.2, 1.0);
    let ring =
        (share * 0.866 * plan.pitch * plan.pitch / std::f32::consts::PI).sqrt() - plan.diameter * 0.5 - 3.0;
    let spacing = (std::f32::consts::TAU * ring / per_gland.max(1.0)).max(plan.diameter * 0.98);
    let base = plan.diameter * 0.5 + 3.0;
    let reach = plan.pitch * 0.9;
    let first = |start: i32, p: f32| ((start as f32 - MARGIN as f32 - reach) / p).floor() as i32 - 1;
    let last = |end: i32, p: f32| ((end as f32 + MARGIN as f32 + reach) / p).ceil() as i32;
    for j in first(window.y, plan.pitch * 0.866)..=last(window.y + window.h as i32, plan.pitch * 0.866) {
        for i in first(window.x, plan.pitch)..=last(window.x + window.w as i32, plan.pitch) {
            let (cx, cy) = shape::structure_centre(plan, i, j);
            let mut dice = Dice::at(plan.salt, EPITHELIAL, i, j);
            let begin = dice.between(0.0, 1.0);
            let mut turn = begin;
            while turn < begin + std::f32::consts::TAU {
                let (s, c) = turn.sin_cos();
                let Some(radius) = outline(plan, cx, cy, c, s, base) else {
                    turn += 0.2;
                    continue;
                };
                let (x, y) = (cx + c * radius, cy + s * radius);
                turn += spacing / radius.max(6.0) * dice.between(0.94, 1.06);
                // The last gap would otherwise hold an overlapping nucleus.
                if turn > begin + std::f32::consts::TAU + 0.1 * spacing / radius.max(6.0) {
                    break;
                }
                if shape::necrosis_depth(plan, x, y) < 0.0 {
                    out.push(epithelial(plan, x, y, s.atan2(c), &mut dice));
                }
            }
        }
    }
}

/// Distance from a centre along a ray at which the depth falls to `wanted`.
fn outline(plan: &Plan, cx: f32, cy: f32, c: f32, s: f32, wanted: f32) -> Option<f32> {
    let at = |r: f32| shape::depth(plan, cx + c * r, cy + s * r) - wanted;
    let mut far = 6.0;
    while at(far) > 0.0 {
        far += 5.0;
        if far > plan.pitch * 0.9 {
            return None;
        }
    }
    let mut near = far - 5.0;
    for _ in 0..4 {
        let middle = 0.5 * (near + far);
        if at(middle) > 0.0 { near = middle } else { far = middle }
    }
    Some(near)
}
