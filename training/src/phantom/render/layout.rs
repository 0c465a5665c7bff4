//! Where nuclei lie: each kind on its own hashed grid, thinned where they would overlap.
//!
//! Everything here depends on position alone. A nucleus falls when a higher-ranking candidate is too near, whether
//! or not that one stands itself, so that the decision is local and neighbouring tiles agree.

use super::epithelium;
use super::fibre;
use super::noise::Dice;
use super::plan::{FIELD_AREA, Plan, Window};
use super::shape::{self, Region};
use crate::phantom::{Mitoses, Pattern};

/// How far outside a window candidates still matter, because they displace others.
pub(super) const MARGIN: i32 = 32;

/// How far a painted nucleus reaches from its centre.
pub(super) const REACH: i32 = 20;

/// Kinds of hashed grids.
const STROMAL: u64 = 21;
const LYMPHOCYTES: u64 = 22;
const MITOSES: u64 = 23;
const DUST: u64 = 24;

/// What a nucleus is; later kinds yield to earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Mitosis,
    Lymphocyte,
    Epithelial,
    Stromal,
    /// Fragments in necrosis, or a speck on the glass: no nucleus.
    Dust,
}

/// One nucleus: an ellipse with a bent outline.
#[derive(Clone, Debug)]
pub(super) struct Nucleus {
    pub(super) kind: Kind,
    pub(super) x: f32,
    pub(super) y: f32,
    /// Half axes.
    pub(super) a: f32,
    pub(super) b: f32,
    pub(super) angle: f32,
    /// Amplitudes of the second and third harmonic of the outline.
    pub(super) bend: (f32, f32),
    /// Haematoxylin relative to an ordinary nucleus.
    pub(super) darkness: f32,
    /// Chance for texture, and rank among its kind.
    pub(super) hash: u32,
}

/// Counts of nuclei by kind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Census([u32; 5]);

impl Census {
    pub(super) fn of(&self, kind: Kind) -> u32 {
        self.0[kind as usize]
    }

    /// All nuclei; fragments are none.
    pub(super) fn total(&self) -> u32 {
        self.0[..4].iter().sum()
    }
}

/// Counts the nuclei centred in a window.
pub(super) fn census(nuclei: &[Nucleus], window: Window) -> Census {
    let mut census = Census::default();
    for nucleus in nuclei.iter().filter(|n| window.contains(n.x, n.y)) {
        census.0[nucleus.kind as usize] += 1;
    }
    census
}

/// The nuclei of a plane that is one district, in and around a window.
pub(super) fn place_single(plan: &Plan, window: Window) -> Vec<Nucleus> {
    let mut candidates = Vec::new();
    propose(plan, window, &|_, _| true, &mut candidates);
    thin(&candidates, window)
}

/// Adds a plan's candidates in and around a window, as far as `inside` holds.
pub(super) fn propose(
    plan: &Plan,
    window: Window,
    inside: &dyn Fn(f32, f32) -> bool,
    out: &mut Vec<Nucleus>,
) {
    let start = out.len();
    if plan.truth.mitoses == Mitoses::Present {
        mitoses(plan, window, out);
    }
    if plan.lymphocytes() > 0.0 {
        lymphocytes(plan, window, out);
    }
    match plan.truth.pattern {
        Pattern::BenignGlands => epithelium::rows_of_glands(plan, window, split(plan).0, out),
        Pattern::TumourGlands | Pattern::TumourNests | Pattern::TumourSheets | Pattern::Mucin => {
            epithelium::scattered(plan, window, split(plan).0, out);
        }
        _ => {}
    }
    stromal(plan, window, out);
    dust(plan, window, out);
    let mut k = 0;
    out.retain(|nucleus| {
        k += 1;
        k <= start || inside(nucleus.x, nucleus.y)
    });
    // The order in which nuclei are painted over each other must depend on position alone.
    out[start..]
        .sort_unstable_by(|p, q| p.y.total_cmp(&q.y).then(p.x.total_cmp(&q.x)).then(p.hash.cmp(&q.hash)));
}

/// Visits the cells of a grid of `pitch` (across, down) around a window.
pub(super) fn cells(window: Window, pitch: (f32, f32), mut visit: impl FnMut(i32, i32)) {
    let first = |start: i32, pitch: f32| ((start - MARGIN) as f32 / pitch).floor() as i32 - 1;
    let last =
        |start: i32, side: u32, pitch: f32| ((start + side as i32 + MARGIN) as f32 / pitch).ceil() as i32 + 1;
    for j in first(window.y, pitch.1)..=last(window.y, window.h, pitch.1) {
        for i in first(window.x, pitch.0)..=last(window.x, window.w, pitch.0) {
            visit(i, j);
        }
    }
}

/// Nuclei asked for in epithelium and in stroma, per standard field.
fn split(plan: &Plan) -> (f32, f32) {
    let (epithelium, stroma) = plan.shares;
    match plan.truth.pattern {
        Pattern::LymphoidAggregate => (0.0, 6.0),
        Pattern::Necrosis => (0.0, 0.0),
        Pattern::Mucin => (plan.nuclei, 0.0),
        Pattern::Fat | Pattern::FibrousStroma => (0.0, plan.nuclei),
        _ => {
            let weight = 0.45 * stroma / (epithelium + 0.45 * stroma).max(0.01);
            (plan.nuclei * (1.0 - weight), plan.nuclei * weight)
        }
    }
}

/// Spindle nuclei along the fibres; in fat flattened against the walls.
fn stromal(plan: &Plan, window: Window, out: &mut Vec<Nucleus>) {
    let asked = split(plan).1;
    let fat = plan.truth.pattern == Pattern::Fat;
    let share = if fat { 1.0 } else { plan.shares.1 };
    if asked < 0.5 || share < 0.005 {
        return;
    }
    let spacing = (share * FIELD_AREA / asked).sqrt().clamp(if fat { 9.0 } else { 12.5 }, 120.0);
    cells(window, (spacing, spacing), |i, j| {
        let mut dice = Dice::at(plan.salt, STROMAL, i, j);
        let mut x = (i as f32 + dice.between(0.15, 0.85)) * spacing;
        let mut y = (j as f32 + dice.between(0.15, 0.85)) * spacing;
        if fat {
            (x, y) = to_wall(plan, x, y);
        }
        let (region, depth) = shape::region_at(plan, x, y);
        if region != Region::Stroma {
            return;
        }
        let structured = shape::has_structures(plan.truth.pattern);
        let angle = if structured && depth > -14.0 {
            let (gx, gy) = gradient(plan, x, y);
            gy.atan2(gx) + std::f32::consts::FRAC_PI_2
        } else {
            fibre::direction(plan, x, y) + dice.between(-0.2, 0.2)
        };
        out.push(Nucleus {
            kind: Kind::Stromal,
            x,
            y,
            a: dice.between(8.5, 12.0) * if fat { 0.75 } else { 1.0 },
            b: dice.between(2.3, 3.1) * if fat { 0.9 } else { 1.0 },
            angle,
            bend: (0.0, dice.between(-0.06, 0.06)),
            darkness: dice.between(0.85, 1.05),
            hash: dice.next_u64() as u32,
        });
    });
}

/// Slope of the depth field.
fn gradient(plan: &Plan, x: f32, y: f32) -> (f32, f32) {
    let d = 1.5;
    (
        (shape::depth(plan, x + d, y) - shape::depth(plan, x - d, y)) / (2.0 * d),
        (shape::depth(plan, x, y + d) - shape::depth(plan, x, y - d)) / (2.0 * d),
    )
}

/// Moves a point in fat onto the nearest wall.
fn to_wall(plan: &Plan, mut x: f32, mut y: f32) -> (f32, f32) {
    for _ in 0..3 {
        let beyond = shape::depth(plan, x, y) + plan.inset * 0.6;
        let (gx, gy) = gradient(plan, x, y);
        let steep = (gx * gx + gy * gy).max(0.2);
        x -= gx * beyond / steep;
        y -= gy * beyond / steep;
    }
    (x, y)
}

/// Lymphocytes in living tissue, in stroma rather than epithelium where there is enough of it.
fn lymphocytes(plan: &Plan, window: Window, out: &mut Vec<Nucleus>) {
    let living = match plan.truth.pattern {
        Pattern::Fat | Pattern::Mucin | Pattern::LymphoidAggregate | Pattern::FibrousStroma => 1.0,
        _ => (plan.shares.0 + plan.shares.1).clamp(0.3, 1.0).sqrt(),
    };
    let spacing = (FIELD_AREA * living / plan.lymphocytes()).sqrt();
    let packed = plan.truth.pattern == Pattern::LymphoidAggregate;
    let prefer_stroma = plan.shares.1 > 0.25;
    let jitter = if packed { 0.3 } else { 0.08 };
    cells(window, (spacing, spacing), |i, j| {
        let mut dice = Dice::at(plan.salt, LYMPHOCYTES, i, j);
        for attempt in 0..8 {
            let mut x = (i as f32 + dice.between(jitter, 1.0 - jitter)) * spacing;
            let mut y = (j as f32 + dice.between(jitter, 1.0 - jitter)) * spacing;
            if packed && j.rem_euclid(2) == 1 {
                x += spacing * 0.5;
            }
            if plan.truth.pattern == Pattern::Fat {
                (x, y) = to_wall(plan, x, y);
            }
            let fits = match shape::region_at(plan, x, y).0 {
                Region::Stroma | Region::Mucin => true,
                Region::Epithelium => !prefer_stroma || attempt >= 5,
                _ => false,
            };
            if fits {
                out.push(lymphocyte(x, y, &mut dice));
                return;
            }
        }
    });
}

fn lymphocyte(x: f32, y: f32, dice: &mut Dice) -> Nucleus {
    let radius = dice.between(6.0, 6.8);
    Nucleus {
        kind: Kind::Lymphocyte,
        x,
        y,
        a: radius * 1.03,
        b: radius * 0.97,
        angle: dice.between(0.0, 3.0),
        bend: (0.0, 0.015),
        darkness: dice.between(1.75, 2.0),
        hash: dice.next_u64() as u32,
    }
}

/// Mitotic figures within living epithelium.
fn mitoses(plan: &Plan, window: Window, out: &mut Vec<Nucleus>) {
    let spacing = (FIELD_AREA / 5.6).sqrt();
    cells(window, (spacing, spacing), |i, j| {
        let mut dice = Dice::at(plan.salt, MITOSES, i, j);
        for attempt in 0..24 {
            let room = if attempt < 12 { 0.12 } else { 0.0 };
            let x = (i as f32 + dice.between(room, 1.0 - room)) * spacing;
            let y = (j as f32 + dice.between(room, 1.0 - room)) * spacing;
            let (region, depth) = shape::region_at(plan, x, y);
            let free =
                depth > if attempt < 18 { 9.0 } else { 5.0 } || plan.truth.pattern == Pattern::TumourSheets;
            if region == Region::Epithelium && free && shape::necrosis_depth(plan, x, y) < -12.0 {
                out.push(Nucleus {
                    kind: Kind::Mitosis,
                    x,
                    y,
                    a: dice.between(9.5, 11.0),
                    b: dice.between(4.2, 5.2),
                    angle: dice.between(0.0, std::f32::consts::PI),
                    bend: (dice.between(-0.1, 0.1), dice.between(-0.15, 0.15)),
                    darkness: 2.9,
                    hash: dice.next_u64() as u32,
                });
                return;
            }
        }
    });
}

/// Nuclear dust in necrosis.
fn dust(plan: &Plan, window: Window, out: &mut Vec<Nucleus>) {
    if plan.necrosis_level == f32::INFINITY {
        return;
    }
    cells(window, (11.0, 11.0), |i, j| {
        let mut dice = Dice::at(plan.salt, DUST, i, j);
        let (x, y) = ((i as f32 + dice.unit()) * 11.0, (j as f32 + dice.unit()) * 11.0);
        if dice.unit() < 0.75 && shape::necrosis_depth(plan, x, y) > 2.0 {
            let radius = dice.between(0.8, 2.2);
            out.push(Nucleus {
                kind: Kind::Dust,
                x,
                y,
                a: radius * 1.2,
                b: radius,
                angle: dice.between(0.0, 3.0),
                bend: (0.0, 0.1),
                darkness: dice.between(1.0, 2.0),
                hash: dice.next_u64() as u32,
            });
        }
    });
}

/// A few specks of dust on bare glass.
pub(super) fn specks(window: Window, dice: &mut Dice) -> Vec<Nucleus> {
    (0..dice.next_u64() % 4)
        .map(|_| {
            let radius = dice.between(0.8, 2.5);
            Nucleus {
                kind: Kind::Dust,
                x: window.x as f32 + dice.unit() * window.w as f32,
                y: window.y as f32 + dice.unit() * window.h as f32,
                a: radius * dice.between(1.0, 2.5),
                b: radius,
                angle: dice.between(0.0, 3.0),
                bend: (0.0, 0.1),
                darkness: dice.between(0.3, 1.0),
                hash: dice.next_u64() as u32,
            }
        })
        .collect()
}

/// Removes nuclei that would overlap a higher-ranking one.
pub(super) fn thin(candidates: &[Nucleus], window: Window) -> Vec<Nucleus> {
    const BUCKET: f32 = 40.0;
    let (x0, y0) = ((window.x - 8 * MARGIN) as f32, (window.y - 8 * MARGIN) as f32);
    let columns = (window.w as f32 / BUCKET) as usize + 18;
    let rows = (window.h as f32 / BUCKET) as usize + 18;
    let place = |n: &Nucleus| {
        let i = ((n.x - x0) / BUCKET).clamp(0.0, (columns - 1) as f32) as usize;
        let j = ((n.y - y0) / BUCKET).clamp(0.0, (rows - 1) as f32) as usize;
        (i, j)
    };
    let mut buckets = vec![Vec::new(); columns * rows];
    for (k, nucleus) in candidates.iter().enumerate().filter(|(_, n)| n.kind != Kind::Dust) {
        let (i, j) = place(nucleus);
        buckets[j * columns + i].push(k);
    }
    let stands = |n: &Nucleus| {
        let (i, j) = place(n);
        for jj in j.saturating_sub(1)..(j + 2).min(rows) {
            for ii in i.saturating_sub(1)..(i + 2).min(columns) {
                if buckets[jj * columns + ii].iter().any(|&k| displaces(&candidates[k], n)) {
                    return false;
                }
            }
        }
        true
    };
    candidates.iter().filter(|n| n.kind == Kind::Dust || stands(n)).cloned().collect()
}

/// Whether `first` outranks `second` and leaves it no room.
fn displaces(first: &Nucleus, second: &Nucleus) -> bool {
    if (first.kind, first.hash) >= (second.kind, second.hash) {
        return false;
    }
    let room = match (first.kind, second.kind) {
        (Kind::Mitosis, _) => 14.5 + second.b,
        (Kind::Epithelial, Kind::Epithelial) => 0.62 * (first.b + second.b),
        (Kind::Stromal, Kind::Stromal) => 7.0,
        (Kind::Lymphocyte, Kind::Lymphocyte) => 11.0,
        (Kind::Lymphocyte, Kind::Epithelial) => 0.75 * (first.b + second.b),
        _ => 0.95 * (first.b + second.b),
    };
    (first.x - second.x).powi(2) + (first.y - second.y).powi(2) < room * room
}
