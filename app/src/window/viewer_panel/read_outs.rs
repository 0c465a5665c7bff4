//! What the corners of a pane say: scale bar, magnification, the pointer's place.

use egui::{Align2, Response, Ui, vec2};

use super::super::theme;
use super::PaneFrame;
use crate::viewer::overlay::{self, ScaleBar};

/// Scale bar at the bottom left, above it where the slide's upper edge is when it is turned; magnification and the pointer's place at the bottom right.
pub(super) fn ui(ui: &Ui, frame: &PaneFrame<'_>, response: &Response) {
    let PaneFrame { screen, info, viewport, .. } = *frame;
    let painter = ui.painter_at(screen);
    let bar = ScaleBar::new(info.mpp, viewport.slide_per_point);
    let inset = theme::GRID;
    let drawn = overlay::draw_scale_bar(&painter, screen.left_bottom() + vec2(inset, -inset), &bar);
    if !viewport.is_upright() {
        let above = drawn.left_top() - vec2(0.0, inset / 2.0);
        overlay::draw_turn(&painter, above, Align2::LEFT_BOTTOM, &viewport);
    }
    let slide_per_pixel = viewport.slide_per_point / f64::from(ui.pixels_per_point());
    let mut words = overlay::magnification(info.mpp, slide_per_pixel);
    if let Some(mpp) = info.mpp {
        words = format!("{words} · {:.2} µm/px", mpp.mean() * slide_per_pixel);
    }
    if let Some(pointer) = response.hover_pos() {
        let (x, y) = viewport.slide_from_screen(screen, pointer);
        words = match info.mpp {
            Some(mpp) => format!("{words} · x {:.2} mm, y {:.2} mm", x * mpp.x / 1e3, y * mpp.y / 1e3),
            None => format!("{words} · x {x:.0} px, y {y:.0} px"),
        };
    }
    overlay::plate(&painter, screen.right_bottom() - vec2(inset, inset), Align2::RIGHT_BOTTOM, &words);
}
