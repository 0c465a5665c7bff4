//! The run of fibres: a phase that grows across them, bent by slow noise.

use super::noise::cloud;
use super::plan::Plan;

/// How far and how slowly fibres swing.
const SWING: f32 = 9.0;
const SLOW: f32 = 7.0;

/// The phase across the fibres at a point; lines of equal phase run along them.
pub(super) fn phase(plan: &Plan, x: f32, y: f32) -> f32 {
    let (s, c) = plan.fibre_angle.sin_cos();
    x * c + y * s + SWING * cloud().at(x / SLOW + 5.0, y / SLOW + 211.0)
}

/// The coordinate along the fibres.
pub(super) fn along(plan: &Plan, x: f32, y: f32) -> f32 {
    let (s, c) = plan.fibre_angle.sin_cos();
    y * c - x * s
}

/// The direction in which fibres run at a point, in radians.
pub(super) fn direction(plan: &Plan, x: f32, y: f32) -> f32 {
    let d = 2.0;
    let gx = phase(plan, x + d, y) - phase(plan, x - d, y);
    let gy = phase(plan, x, y + d) - phase(plan, x, y - d);
    gy.atan2(gx) + std::f32::consts::FRAC_PI_2
}
