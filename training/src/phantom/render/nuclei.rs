//! Painting single nuclei onto the planes of dye.

use super::Component;
use super::canvas::Canvas;
use super::layout::{Kind, Nucleus};
use super::noise::{cloud, grain, step};

/// Clears the cytoplasm around cells that have little: a pale rim around mitoses.
pub(super) fn halo(canvas: &mut Canvas, nucleus: &Nucleus) {
    if nucleus.kind != Kind::Mitosis {
        return;
    }
    let reach = 16.0;
    each_pixel(canvas, nucleus.x, nucleus.y, reach, |canvas, at, dx, dy, _, _| {
        let share = 0.85 * step(reach, reach - 4.0, dx.hypot(dy));
        canvas.haematoxylin[at] *= 1.0 - share;
        canvas.eosin[at] *= 1.0 - share;
    });
}

/// Paints a nucleus over what is there.
pub(super) fn paint(canvas: &mut Canvas, nucleus: &Nucleus) {
    if nucleus.kind == Kind::Mitosis {
        return figure(canvas, nucleus);
    }
    let (sin, cos) = nucleus.angle.sin_cos();
    let reach = nucleus.a * (1.0 + nucleus.bend.0.abs() + nucleus.bend.1.abs()) + 1.5;
    let component = component(nucleus.kind);
    let dark = base_darkness(nucleus.kind) * nucleus.darkness;
    let shift = (nucleus.hash & 0xFF) as i32;
    // Large vesicular nuclei show a nucleolus.
    let nucleolus = (nucleus.kind == Kind::Epithelial && nucleus.b > 7.0).then(|| {
        let side = (nucleus.hash >> 8 & 0xFF) as f32 / 255.0 - 0.5;
        (side * nucleus.a * 0.6, -side * nucleus.b * 0.5)
    });
    each_pixel(canvas, nucleus.x, nucleus.y, reach, |canvas, at, dx, dy, x, y| {
        let (u, v) = ((dx * cos + dy * sin) / nucleus.a, (dy * cos - dx * sin) / nucleus.b);
        let rho = (u * u + v * v).sqrt();
        let (c, s) = if rho > 1e-3 { (u / rho, v / rho) } else { (1.0, 0.0) };
        let outline = 1.0 + nucleus.bend.0 * (c * c - s * s) + nucleus.bend.1 * c * (4.0 * c * c - 3.0);
        let inside = (outline - rho) * nucleus.b;
        if inside < -0.8 {
            return;
        }
        let cover = step(-0.8, 0.8, inside);
        let mut h = dark;
        if nucleus.kind != Kind::Dust {
            let chromatin = 0.6 * grain().nearest(x + shift, y) + 0.5 * cloud().nearest(x, y + shift);
            let clumping = if nucleus.kind == Kind::Lymphocyte { 0.08 } else { 0.15 };
            let membrane = 0.3 * step(2.2, 0.8, inside);
            h *= 1.0 + clumping * chromatin + membrane;
        }
        if let Some((nx, ny)) = nucleolus {
            h += 0.5 * dark * step(2.6, 1.4, (dx - nx).hypot(dy - ny));
        }
        canvas.haematoxylin[at] += (h - canvas.haematoxylin[at]) * cover;
        canvas.eosin[at] += (0.22 - canvas.eosin[at]) * cover * 0.8;
        if cover > 0.5 && nucleus.kind != Kind::Dust {
            canvas.mask[at] = component as u8;
        }
    });
}

/// A mitotic figure: a ragged solid plate, or two facing ones.
fn figure(canvas: &mut Canvas, nucleus: &Nucleus) {
    let (sin, cos) = nucleus.angle.sin_cos();
    let apart = if nucleus.hash.is_multiple_of(3) { 4.6 } else { 0.0 };
    let shift = (nucleus.hash >> 4 & 0xFF) as i32;
    each_pixel(canvas, nucleus.x, nucleus.y, 16.0, |canvas, at, dx, dy, x, y| {
        let (u, v) = (dx * cos + dy * sin, dy * cos - dx * sin);
        let (half, offset) = if apart > 0.0 { (nucleus.b * 0.62, v.abs() - apart) } else { (nucleus.b, v) };
        let rho = ((u / nucleus.a).powi(2) + (offset / half).powi(2)).sqrt();
        let ragged = 0.14 * grain().nearest(x + shift, y) + 0.1 * cloud().nearest(x, y + shift);
        let cover = step(-0.12, 0.16, 1.0 + ragged - rho);
        if cover <= 0.0 {
            return;
        }
        canvas.haematoxylin[at] += (nucleus.darkness - canvas.haematoxylin[at]) * cover;
        canvas.eosin[at] += (0.3 - canvas.eosin[at]) * cover;
        if cover > 0.5 {
            canvas.mask[at] = Component::Mitosis as u8;
        }
    });
}

fn component(kind: Kind) -> Component {
    match kind {
        Kind::Mitosis => Component::Mitosis,
        Kind::Lymphocyte => Component::Lymphocyte,
        Kind::Epithelial => Component::EpithelialNucleus,
        Kind::Stromal => Component::StromalNucleus,
        Kind::Dust => Component::Necrosis,
    }
}

/// Haematoxylin of an ordinary nucleus of a kind.
fn base_darkness(kind: Kind) -> f32 {
    match kind {
        Kind::Mitosis | Kind::Lymphocyte | Kind::Stromal => 1.0,
        Kind::Epithelial => 0.85,
        Kind::Dust => 1.1,
    }
}

/// Visits the pixels within `reach` of a point: index, offset from the point, position.
fn each_pixel(
    canvas: &mut Canvas,
    cx: f32,
    cy: f32,
    reach: f32,
    mut visit: impl FnMut(&mut Canvas, usize, f32, f32, i32, i32),
) {
    let window = canvas.window;
    let x0 = ((cx - reach).floor() as i32).max(window.x);
    let x1 = ((cx + reach).ceil() as i32).min(window.x + window.w as i32 - 1);
    let y0 = ((cy - reach).floor() as i32).max(window.y);
    let y1 = ((cy + reach).ceil() as i32).min(window.y + window.h as i32 - 1);
    for y in y0..=y1 {
        for x in x0..=x1 {
            let at = (y - window.y) as usize * window.w as usize + (x - window.x) as usize;
            visit(canvas, at, x as f32 - cx, y as f32 - cy, x, y);
        }
    }
}
