//! A look as the numbers that `tiles.wgsl` reads: mirrors its `Look`.

use egui::Rect;

use super::ColourLook;
use crate::viewer::viewport::Viewport;

/// turn, white with 1/gamma, brightness/contrast/table/stain, the row that unmixes with whether anything is changed, the stain.
pub(in crate::viewer) const LOOK_FLOATS: usize = 20;
/// A uniform's size in bytes, rows of 16.
pub(in crate::viewer) const LOOK_BYTES: u64 = (LOOK_FLOATS * size_of::<f32>()) as u64;
const _: () = assert!(LOOK_BYTES == 80);

/// The uniform of a pane.
pub(in crate::viewer) fn look_floats(look: &ColourLook, turn: [f32; 4]) -> [f32; LOOK_FLOATS] {
    let flag = |is_set: bool| f32::from(u8::from(is_set));
    let [white_red, white_green, white_blue] = look.white;
    let (unmix, stain) = look.stain.map_or(([0.0; 3], [0.0; 3]), |view| (view.unmix(), view.vector()));
    let mut floats = [0.0; LOOK_FLOATS];
    let rows: [[f32; 4]; 5] = [
        turn,
        [white_red, white_green, white_blue, 1.0 / look.gamma],
        [look.brightness, look.contrast, flag(look.table.is_some()), flag(look.stain.is_some())],
        [unmix[0], unmix[1], unmix[2], flag(!look.is_neutral())],
        [stain[0], stain[1], stain[2], 0.0],
    ];
    for (row, values) in floats.chunks_exact_mut(4).zip(rows) {
        row.copy_from_slice(&values);
    }
    floats
}

/// From points right of and below the pane's middle, as if the slide were upright, to the GPU's coordinates: two rows of a
/// matrix, with turn and mirror.
pub(in crate::viewer) fn turn_floats(viewport: &Viewport, screen: Rect) -> [f32; 4] {
    let (sin, cos) = viewport.rotation.sin_cos();
    let mirror = if viewport.is_mirrored { -1.0 } else { 1.0 };
    let across = 2.0 / f64::from(screen.width().max(1.0));
    // The GPU counts upwards.
    let down = -2.0 / f64::from(screen.height().max(1.0));
    [cos * mirror * across, -sin * across, sin * mirror * down, cos * down].map(|value| value as f32)
}

/// A place on the slide in points from the pane's middle, as if the slide were upright.
pub(in crate::viewer) fn upright_points(viewport: &Viewport, (x, y): (f64, f64)) -> [f32; 2] {
    let scale = viewport.slide_per_point;
    [((x - viewport.centre.0) / scale) as f32, ((y - viewport.centre.1) / scale) as f32]
}

#[cfg(test)]
mod tests {
    use egui::{pos2, vec2};

    use super::*;

    #[test]
    fn places_come_out_where_the_viewport_says() {
        let screen = Rect::from_min_size(pos2(220.0, 36.0), vec2(800.0, 600.0));
        for (rotation, is_mirrored) in [(0.0, false), (0.0, true), (1.1, false), (2.5, true)] {
            let mut viewport = Viewport::fitted(20_000, 15_000, screen.size());
            (viewport.rotation, viewport.is_mirrored) = (rotation, is_mirrored);
            for place in [(0.0, 0.0), (20_000.0, 0.0), (12_345.0, 6_789.0)] {
                let [x, y] = upright_points(&viewport, place);
                let [a, b, c, d] = turn_floats(&viewport, screen);
                let (gpu_x, gpu_y) = (a * x + b * y, c * x + d * y);
                let at = pos2(
                    screen.left() + f32::midpoint(gpu_x, 1.0) * screen.width(),
                    screen.top() + (1.0 - gpu_y) / 2.0 * screen.height(),
                );
                let wanted = viewport.screen_from_slide(screen, place);
                assert!(
                    (at - wanted).length() < 0.01,
                    "{rotation} {is_mirrored} {place:?}: {at:?} {wanted:?}"
                );
            }
        }
    }

    #[test]
    fn a_look_that_changes_nothing_says_so() {
        assert_eq!(look_floats(&ColourLook::default(), [0.0; 4])[15], 0.0);
        let brighter = ColourLook { brightness: 0.5, ..ColourLook::default() };
        assert_eq!(look_floats(&brighter, [0.0; 4])[15], 1.0);
        assert_eq!(look_floats(&brighter, [0.0; 4])[8], 0.5);
    }
}
