//! Painting a window: base tissue per pixel from the lattice of depths, then nuclei, then blur.

use super::Component;
use super::fibre;
use super::layout::{Kind, Nucleus};
use super::noise::{cloud, grain, step};
use super::nuclei;
use super::plan::{Plan, Window};
use super::shape::{self, Region, STEP};
use crate::phantom::Pattern;

/// What lies where: districts with their plans.
pub(super) trait Ground: Sync {
    /// The number of the district at a point; `None` on bare glass.
    fn district_at(&self, x: f32, y: f32) -> Option<usize>;

    fn plan(&self, district: usize) -> &Plan;
}

/// Planes of dye and the mask over a window.
pub(super) struct Canvas {
    pub(super) window: Window,
    pub(super) haematoxylin: Vec<f32>,
    pub(super) eosin: Vec<f32>,
    pub(super) mask: Vec<u8>,
}

/// What is known at one lattice point.
#[derive(Clone, Copy, Default)]
struct Knot {
    district: Option<usize>,
    depth: f32,
    lumen: f32,
    necrosis: f32,
    phase: f32,
}

impl Canvas {
    /// Paints base tissue and nuclei over a window.
    pub(super) fn paint(ground: &dyn Ground, nuclei: &[Nucleus], window: Window) -> Self {
        let n = (window.w * window.h) as usize;
        let mut canvas = Self {
            window,
            haematoxylin: vec![0.0; n],
            eosin: vec![0.0; n],
            mask: vec![Component::Glass as u8; n],
        };
        canvas.paint_base(ground);
        for nucleus in nuclei {
            nuclei::halo(&mut canvas, nucleus);
        }
        for kind in [Kind::Dust, Kind::Stromal, Kind::Epithelial, Kind::Lymphocyte, Kind::Mitosis] {
            for nucleus in nuclei.iter().filter(|n| n.kind == kind) {
                nuclei::paint(&mut canvas, nucleus);
            }
        }
        canvas
    }

    fn paint_base(&mut self, ground: &dyn Ground) {
        let window = self.window;
        let (i0, j0) = (window.x.div_euclid(STEP), window.y.div_euclid(STEP));
        let i1 = (window.x + window.w as i32).div_euclid(STEP) + 1;
        let j1 = (window.y + window.h as i32).div_euclid(STEP) + 1;
        let mut above: Vec<Knot> = (i0..=i1).map(|i| knot(ground, i, j0)).collect();
        for j in j0..j1 {
            let below: Vec<Knot> = (i0..=i1).map(|i| knot(ground, i, j + 1)).collect();
            for i in i0..i1 {
                let k = (i - i0) as usize;
                self.paint_block(ground, i, j, [above[k], above[k + 1], below[k], below[k + 1]]);
            }
            above = below;
        }
    }

    /// Paints the pixels between four knots.
    fn paint_block(&mut self, ground: &dyn Ground, i: i32, j: i32, knots: [Knot; 4]) {
        let window = self.window;
        let one = knots.iter().all(|k| k.district == knots[0].district);
        if one && knots[0].district.is_none() {
            return;
        }
        let xs = (i * STEP).max(window.x)..((i + 1) * STEP).min(window.x + window.w as i32);
        let ys = (j * STEP).max(window.y)..((j + 1) * STEP).min(window.y + window.h as i32);
        for y in ys {
            for x in xs.clone() {
                let (tx, ty) = ((x - i * STEP) as f32 / STEP as f32, (y - j * STEP) as f32 / STEP as f32);
                let (fx, fy) = (x as f32, y as f32);
                let district = if one { knots[0].district } else { ground.district_at(fx, fy) };
                let Some(district) = district else { continue };
                let plan = ground.plan(district);
                let here = if one { mix(&knots, tx, ty) } else { look(plan, district, fx, fy) };
                let (h, e, component) = tissue(plan, x, y, here);
                let at = (y - window.y) as usize * window.w as usize + (x - window.x) as usize;
                self.haematoxylin[at] = h;
                self.eosin[at] = e;
                self.mask[at] = component as u8;
            }
        }
    }
}

fn knot(ground: &dyn Ground, i: i32, j: i32) -> Knot {
    let (x, y) = ((i * STEP) as f32, (j * STEP) as f32);
    match ground.district_at(x, y) {
        Some(district) => look(ground.plan(district), district, x, y),
        None => Knot::default(),
    }
}

fn look(plan: &Plan, district: usize, x: f32, y: f32) -> Knot {
    let depth = shape::depth(plan, x, y);
    let structured = shape::has_structures(plan.truth.pattern);
    Knot {
        district: Some(district),
        depth,
        lumen: shape::lumen_depth(plan, depth, x, y),
        necrosis: shape::necrosis_depth(plan, x, y),
        // Around structures the fibres follow the outline.
        phase: fibre::phase(plan, x, y) + if structured { 0.9 * depth } else { 0.0 },
    }
}

fn mix(knots: &[Knot; 4], tx: f32, ty: f32) -> Knot {
    let weights = [(1.0 - tx) * (1.0 - ty), tx * (1.0 - ty), (1.0 - tx) * ty, tx * ty];
    let sum = |value: fn(&Knot) -> f32| -> f32 { (0..4).map(|k| weights[k] * value(&knots[k])).sum() };
    Knot {
        district: knots[0].district,
        depth: sum(|k| k.depth),
        lumen: sum(|k| k.lumen),
        necrosis: sum(|k| k.necrosis),
        phase: sum(|k| k.phase),
    }
}

/// Dye and component of tissue without nuclei at a pixel.
fn tissue(plan: &Plan, x: i32, y: i32, here: Knot) -> (f32, f32, Component) {
    let region = shape::region(plan, here.depth, here.necrosis, here.lumen);
    let component = match region {
        Region::Stroma => Component::Stroma,
        Region::Epithelium if plan.truth.pattern == Pattern::BenignGlands => Component::BenignEpithelium,
        Region::Epithelium => Component::TumourEpithelium,
        Region::Lumen => Component::Lumen,
        Region::Necrosis => Component::Necrosis,
        Region::Mucin => Component::Mucin,
        Region::Fat => Component::Fat,
    };
    let living = shape::region(plan, here.depth, -1.0, here.lumen);
    let (mut h, mut e) = dye(plan, living, x, y, here);
    // Outlines are a pixel or two wide: mix with the neighbouring region there.
    if matches!(living, Region::Epithelium | Region::Stroma | Region::Lumen)
        && shape::has_structures(plan.truth.pattern)
    {
        let (near, other, share) = if here.lumen.abs() < 1.2 && here.depth > 0.0 && living != Region::Stroma {
            let other = if living == Region::Lumen { Region::Epithelium } else { Region::Lumen };
            (plan.truth.pattern != Pattern::TumourNests, other, 0.5 - 0.5 * here.lumen.abs() / 1.2)
        } else {
            let inside = if plan.truth.pattern == Pattern::Fat { Region::Fat } else { Region::Epithelium };
            let other = if living == Region::Stroma { inside } else { Region::Stroma };
            (here.depth.abs() < 1.2, other, 0.5 - 0.5 * here.depth.abs() / 1.2)
        };
        if near {
            let (oh, oe) = dye(plan, other, x, y, here);
            h += (oh - h) * share;
            e += (oe - e) * share;
        }
    }
    if here.necrosis > -4.0 && plan.truth.pattern != Pattern::Necrosis {
        let (oh, oe) = dye(plan, Region::Necrosis, x, y, here);
        let share = step(-4.0, 4.0, here.necrosis);
        h += (oh - h) * share;
        e += (oe - e) * share;
    } else if plan.truth.pattern == Pattern::Necrosis {
        (h, e) = dye(plan, Region::Necrosis, x, y, here);
    }
    (h.max(0.0), e.max(0.0), component)
}

/// Dye of one region at a pixel.
fn dye(plan: &Plan, region: Region, x: i32, y: i32, here: Knot) -> (f32, f32) {
    let fine = grain().nearest(x + 19, y + 83);
    match region {
        Region::Stroma => {
            let (h, e) = plan.tone.stroma;
            let along = fibre::along(plan, x as f32, y as f32);
            let strand = 0.9 * grain().at(here.phase / 1.6, along / 22.0)
                + 0.55 * cloud().at(here.phase / 0.8, along / 7.0);
            let loose = if plan.truth.pattern == Pattern::LymphoidAggregate { 0.6 } else { 1.0 };
            (h + 0.02 * strand, loose * e * (1.0 + 0.30 * strand).max(0.12) + 0.02 * fine)
        }
        Region::Epithelium => {
            let (h, e) = plan.tone.cytoplasm;
            let mottle = cloud().nearest(x, y);
            let apical = if plan.truth.pattern == Pattern::BenignGlands {
                0.10 * step(-3.0, 0.0, here.lumen)
            } else {
                0.0
            };
            // Tumour nests retract a little from the stroma.
            let nests = plan.truth.pattern == Pattern::TumourNests;
            let cleft = if nests { 1.0 - 0.8 * step(3.6, 1.6, here.depth) } else { 1.0 };
            (
                (h + 0.02 * mottle + 0.015 * fine) * cleft,
                (e * (1.0 + 0.12 * mottle) + 0.03 * fine + apical) * cleft,
            )
        }
        Region::Lumen | Region::Fat => {
            let (h, e) = plan.tone.empty;
            (h, e)
        }
        Region::Necrosis => {
            let clump = cloud().nearest(x + 41, y + 7);
            let crumb = grain().nearest(x + 3, y + 141);
            let tear = step(1.5, 2.1, cloud().at(x as f32 / 2.5, y as f32 / 2.5));
            let full = 1.0 - 0.8 * tear;
            let (h, e) = plan.tone.stroma;
            ((h + 0.05 + 0.03 * crumb) * full, (e * (1.0 + 0.16 * clump) + 0.13 * crumb + 0.05) * full)
        }
        Region::Mucin => {
            let (h, e) = plan.tone.cytoplasm;
            let along = fibre::along(plan, x as f32, y as f32);
            let stream =
                cloud().at(here.phase / 3.0, along / 22.0) + 0.4 * grain().at(here.phase / 1.5, along / 12.0);
            (h * (0.85 + 0.45 * stream), 0.22 * e * (1.0 + 0.2 * stream))
        }
    }
}
