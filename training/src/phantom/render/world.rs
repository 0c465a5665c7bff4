//! The demo slide as a function of position: two pieces of tissue on glass, divided into districts of one truth each.
//!
//! Every district is drawn by the code that draws single fields. Outlines, nuclei and texture depend on position
//! alone, so any rectangle can be drawn by itself and neighbouring rectangles agree to the pixel.

use std::collections::BTreeSet;

use image::RgbImage;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::blur;
use super::canvas::{Canvas, Ground};
use super::layout;
use super::noise::{Dice, cloud};
use super::plan::{Plan, Window};
use super::shape::STEP;
use super::stain::Stain;
use crate::phantom::{Pattern, Quality, Truth};

/// Distance between district centres, in pixels.
const PITCH: f32 = 2150.0;
/// Kind of the hashed grid of district centres.
const DISTRICTS: u64 = 40;
/// Focus blur of a blurred district.
const OUT_OF_FOCUS: f32 = 5.0;
/// Distance between the points at which a rectangle's districts are looked up.
const PROBE: usize = 64;

/// The demo slide.
pub struct World {
    stain: Stain,
    seed: u64,
    /// Row-major grid of district centres; as many plans.
    columns: i32,
    rows: i32,
    centres: Vec<(f32, f32)>,
    plans: Vec<Plan>,
}

/// A part of the demo slide with one truth.
#[derive(Clone, Debug)]
pub struct District {
    /// Closed outline in level-0 pixels; the last point repeats the first.
    pub polygon: Vec<(f32, f32)>,
    pub truth: Truth,
}

impl World {
    /// Width in level-0 pixels of 0.5 µm.
    pub const WIDTH: u32 = 20_480;
    /// Height in level-0 pixels of 0.5 µm.
    pub const HEIGHT: u32 = 15_360;

    /// The world of a seed. Takes about a second: each district's densities are calibrated.
    pub fn new(seed: u64) -> Self {
        let columns = (Self::WIDTH as f32 / PITCH).ceil() as i32;
        let rows = (Self::HEIGHT as f32 / PITCH).ceil() as i32;
        let cells: Vec<(i32, i32)> = (0..rows).flat_map(|j| (0..columns).map(move |i| (i, j))).collect();
        let centres: Vec<(f32, f32)> = cells
            .iter()
            .map(|&(i, j)| {
                let mut dice = Dice::at(seed, DISTRICTS, i, j);
                let mut place = |k: i32| (k as f32 + dice.between(0.25, 0.75)) * PITCH;
                (place(i), place(j))
            })
            .collect();
        let mut world =
            Self { stain: Stain::of_slide(seed), seed, columns, rows, centres, plans: Vec::new() };
        let truths = world.truths();
        world.plans = truths
            .into_par_iter()
            .enumerate()
            .map(|(k, truth)| {
                let mut plan = Plan::new(truth, seed.wrapping_mul(1_000_003).wrapping_add(k as u64));
                let (x, y) = world.centres[k];
                let align = |v: f32| (v as i32).div_euclid(STEP) * STEP - 224;
                plan.calibrate(Window { x: align(x), y: align(y), w: 448, h: 448 });
                plan
            })
            .collect();
        world
    }

    /// The truths of all districts: patterns in turn, so that each occurs, and one district out of focus.
    fn truths(&self) -> Vec<Truth> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut turn = 0;
        (0..self.centres.len())
            .map(|k| {
                let (x, y) = self.centres[k];
                // Districts that lie on glass do not use up a pattern.
                let pattern = Pattern::ALL[turn * 4 % Pattern::ALL.len()];
                let within = self.is_tissue(x, y);
                turn += usize::from(within);
                let quality = if within && turn == 10 { Quality::Blurred } else { Quality::Sharp };
                Truth::sample_with(pattern, quality, &mut rng)
            })
            .collect()
    }

    /// Draws the rectangle of `w` x `h` pixels at `(x, y)`, which may reach beyond the slide.
    pub fn draw(&self, x: i32, y: i32, w: u32, h: u32) -> RgbImage {
        let window = Window { x, y, w, h };
        let near = self.districts_near(window);
        let rgb = if near.is_empty() {
            self.stain.expose_glass(window)
        } else {
            let blurred = near.iter().any(|&d| self.is_blurred(d));
            let margin = if blurred { (3.0 * OUT_OF_FOCUS) as i32 } else { 2 };
            let wide = window.grown(margin);
            let canvas = Canvas::paint(self, &self.nuclei(wide, &near), wide);
            let sharp =
                |plane: &[f32]| blur::blurred(plane, wide.w as usize, margin as usize, self.stain.sigma);
            let (mut haematoxylin, mut eosin) = (sharp(&canvas.haematoxylin), sharp(&canvas.eosin));
            if blurred {
                let weights = self.blur_weights(window);
                for (plane, source) in
                    [(&mut haematoxylin, &canvas.haematoxylin), (&mut eosin, &canvas.eosin)]
                {
                    let soft = blur::blurred(source, wide.w as usize, margin as usize, OUT_OF_FOCUS);
                    for ((value, soft), weight) in plane.iter_mut().zip(&soft).zip(&weights) {
                        *value += (soft - *value) * weight;
                    }
                }
            }
            self.stain.expose(&haematoxylin, &eosin, window, false)
        };
        RgbImage::from_raw(w, h, rgb).expect("the stain exposes every pixel of the window")
    }

    /// What is true at a point; `None` on glass.
    pub fn truth_at(&self, x: f32, y: f32) -> Option<Truth> {
        self.district_at(x, y).map(|d| self.plans[d].truth)
    }

    /// Every district with tissue, with its outline.
    pub fn districts(&self) -> Vec<District> {
        let mut points: Vec<Vec<(f32, f32)>> = vec![Vec::new(); self.centres.len()];
        for y in (0..Self::HEIGHT).step_by(PROBE) {
            for x in (0..Self::WIDTH).step_by(PROBE) {
                if let Some(district) = self.district_at(x as f32, y as f32) {
                    points[district].push((x as f32, y as f32));
                }
            }
        }
        points
            .iter()
            .enumerate()
            .filter(|(_, inside)| !inside.is_empty())
            .map(|(district, inside)| District {
                polygon: self.polygon(district, middle(inside)),
                truth: self.plans[district].truth,
            })
            .collect()
    }

    /// The outline of a district as seen from a point within it.
    fn polygon(&self, district: usize, from: (f32, f32)) -> Vec<(f32, f32)> {
        const RAYS: usize = 96;
        const STRIDE: f32 = 16.0;
        let mut polygon: Vec<(f32, f32)> = (0..RAYS)
            .map(|k| {
                let (s, c) = (k as f32 / RAYS as f32 * std::f32::consts::TAU).sin_cos();
                let within = |r: f32| {
                    let (x, y) = (from.0 + c * r, from.1 + s * r);
                    Window { x: 0, y: 0, w: Self::WIDTH, h: Self::HEIGHT }.contains(x, y)
                        && self.district_at(x, y) == Some(district)
                };
                let mut far = STRIDE;
                while within(far) {
                    far += STRIDE;
                }
                let mut near = far - STRIDE;
                for _ in 0..4 {
                    let half = 0.5 * (near + far);
                    if within(half) { near = half } else { far = half }
                }
                (from.0 + c * near, from.1 + s * near)
            })
            .collect();
        polygon.push(polygon[0]);
        polygon
    }

    fn is_blurred(&self, district: usize) -> bool {
        self.plans[district].truth.quality == Quality::Blurred
    }

    /// The nuclei in and around a window.
    fn nuclei(&self, wide: Window, near: &BTreeSet<usize>) -> Vec<layout::Nucleus> {
        let reach = wide.grown(layout::REACH);
        let mut candidates = Vec::new();
        for &district in near {
            let inside = |x: f32, y: f32| self.district_at(x, y) == Some(district);
            layout::propose(&self.plans[district], reach, &inside, &mut candidates);
        }
        layout::thin(&candidates, reach)
    }

    /// The districts that may have a say in a window; empty where all is glass.
    fn districts_near(&self, window: Window) -> BTreeSet<usize> {
        let reach = window.grown(64 + layout::REACH);
        // Distances grow at most this much between a probe and any pixel around it, bends included.
        let slack = PROBE as f32 * 1.5;
        let mut near = BTreeSet::new();
        for y in (0..=reach.h as usize).step_by(PROBE) {
            for x in (0..=reach.w as usize).step_by(PROBE) {
                let (x, y) = ((reach.x + x as i32) as f32, (reach.y + y as i32) as f32);
                if tissue_depth(self.seed, x, y) < -slack {
                    continue;
                }
                let (bx, by) = self.bent(x, y);
                let distances = self.distances(bx, by);
                let nearest = distances.iter().map(|d| d.1).fold(f32::INFINITY, f32::min);
                near.extend(distances.iter().filter(|d| d.1 <= nearest + 2.0 * slack).map(|d| d.0));
            }
        }
        near
    }

    /// How much of each pixel's value is out of focus.
    fn blur_weights(&self, window: Window) -> Vec<f32> {
        let (i0, j0) = (window.x.div_euclid(STEP), window.y.div_euclid(STEP));
        let columns = (window.w as i32 / STEP + 3) as usize;
        let rows = (window.h as i32 / STEP + 3) as usize;
        let knots: Vec<f32> = (0..rows * columns)
            .map(|k| {
                let (i, j) = (i0 + (k % columns) as i32, j0 + (k / columns) as i32);
                let district = self.district_at((i * STEP) as f32, (j * STEP) as f32);
                f32::from(u8::from(district.is_some_and(|d| self.is_blurred(d))))
            })
            .collect();
        let mut weights = Vec::with_capacity((window.w * window.h) as usize);
        for y in window.y..window.y + window.h as i32 {
            for x in window.x..window.x + window.w as i32 {
                let (i, j) = (x.div_euclid(STEP), y.div_euclid(STEP));
                let (tx, ty) = ((x - i * STEP) as f32 / STEP as f32, (y - j * STEP) as f32 / STEP as f32);
                let at = (j - j0) as usize * columns + (i - i0) as usize;
                let top = knots[at] * (1.0 - tx) + knots[at + 1] * tx;
                let bottom = knots[at + columns] * (1.0 - tx) + knots[at + columns + 1] * tx;
                weights.push(top * (1.0 - ty) + bottom * ty);
            }
        }
        weights
    }

    /// The position by which districts are told apart: borders are bent.
    fn bent(&self, x: f32, y: f32) -> (f32, f32) {
        let shift = (self.seed & 0x3F) as f32;
        (
            x + 120.0 * cloud().at(x / 130.0 + shift, y / 130.0),
            y + 120.0 * cloud().at(x / 130.0, y / 130.0 + shift + 99.0),
        )
    }

    /// The centres around a bent position with their distances.
    fn distances(&self, x: f32, y: f32) -> [(usize, f32); 9] {
        let i0 = ((x / PITCH) as i32).clamp(1, self.columns - 2);
        let j0 = ((y / PITCH) as i32).clamp(1, self.rows - 2);
        std::array::from_fn(|k| {
            let (i, j) = (i0 + k as i32 % 3 - 1, j0 + k as i32 / 3 - 1);
            let district = (j * self.columns + i) as usize;
            let (cx, cy) = self.centres[district];
            (district, ((cx - x).powi(2) + (cy - y).powi(2)).sqrt())
        })
    }

    fn is_tissue(&self, x: f32, y: f32) -> bool {
        tissue_depth(self.seed, x, y) > 0.0
    }
}

impl Ground for World {
    fn district_at(&self, x: f32, y: f32) -> Option<usize> {
        if !self.is_tissue(x, y) {
            return None;
        }
        let (bx, by) = self.bent(x, y);
        self.distances(bx, by).into_iter().min_by(|a, b| a.1.total_cmp(&b.1)).map(|d| d.0)
    }

    fn plan(&self, district: usize) -> &Plan {
        &self.plans[district]
    }
}

/// About how far inside the tissue a point lies, in pixels; negative on glass.
fn tissue_depth(seed: u64, x: f32, y: f32) -> f32 {
    /// Centres and half axes of the two pieces, as shares of the slide.
    const PIECES: [[f32; 4]; 2] = [[0.325, 0.51, 0.27, 0.40], [0.79, 0.47, 0.145, 0.36]];
    let (w, h) = (World::WIDTH as f32, World::HEIGHT as f32);
    let shift = (seed & 0x7F) as f32;
    let x = x + 260.0 * cloud().at(x / 230.0 + shift, y / 230.0) + 24.0 * cloud().at(x / 24.0, y / 24.0);
    let y =
        y + 260.0 * cloud().at(x / 230.0, y / 230.0 + shift) + 24.0 * cloud().at(x / 24.0 + 50.0, y / 24.0);
    let depth = |[cx, cy, a, b]: [f32; 4]| {
        let (u, v) = ((x - cx * w) / (a * w), (y - cy * h) / (b * h));
        (1.0 - u.hypot(v)) * (a * w).min(b * h)
    };
    depth(PIECES[0]).max(depth(PIECES[1]))
}

/// The point of a list that is nearest to their mean.
fn middle(points: &[(f32, f32)]) -> (f32, f32) {
    let n = points.len() as f32;
    let mean = points.iter().fold((0.0, 0.0), |m, p| (m.0 + p.0 / n, m.1 + p.1 / n));
    let distance = |p: &(f32, f32)| (p.0 - mean.0).hypot(p.1 - mean.1);
    points.iter().copied().min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(mean)
}
