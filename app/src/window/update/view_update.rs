//! Changes of what the viewer shows.

use egui::{Vec2, vec2};

use super::super::command::ViewCommand;
use super::super::state::AppState;
use crate::viewer::viewport::Viewport;

/// Carries out a wish about the slide in view; without one, or before it was first drawn, nothing happens.
pub(super) fn view(state: &mut AppState, wish: ViewCommand) {
    let Some(screen) = state.viewer else { return };
    let Some(slide) = state.shown_slide_mut() else { return };
    let Some(info) = slide.info().cloned() else { return };
    let patches = &slide.patches;
    let patch = match wish {
        ViewCommand::LookAtPatch(id) => patches.get(id).map(|place| place.region),
        _ => None,
    };
    let viewport =
        slide.viewport.get_or_insert_with(|| Viewport::fitted(info.width(), info.height(), screen.size()));
    match wish {
        ViewCommand::Fit => viewport.fit(screen.size()),
        ViewCommand::Zoom(factor) => viewport.zoom_at(screen, screen.center(), factor),
        ViewCommand::ZoomAt(pointer, factor) => viewport.zoom_at(screen, pointer, factor),
        ViewCommand::Pan(delta) => viewport.pan(delta),
        ViewCommand::Scroll(fractions) => viewport.pan(-scroll_points(fractions, screen.size())),
        ViewCommand::Scale(slide_per_pixel, pixels_per_point) => {
            viewport.set_scale(screen.size(), slide_per_pixel * f64::from(pixels_per_point));
        }
        ViewCommand::Turn(angle) => viewport.turn(angle),
        ViewCommand::TurnTo(angle) => viewport.turn_to(angle),
        ViewCommand::TurnUpright => {
            viewport.is_mirrored = false;
            viewport.turn_to(0.0);
        }
        ViewCommand::Mirror => viewport.mirror(),
        ViewCommand::LookAt(place) => viewport.look_at(place),
        ViewCommand::LookAtRegion(region) => viewport.show_all(screen.size(), region),
        ViewCommand::LookAtPatch(_) => {
            if let Some(region) = patch {
                let middle = |start: i64, length: u32| start as f64 + f64::from(length) / 2.0;
                viewport.look_at((middle(region.x, region.w), middle(region.y, region.h)));
            }
        }
    }
}

fn scroll_points(fractions: Vec2, size: Vec2) -> Vec2 {
    vec2(fractions.x * size.x, fractions.y * size.y)
}
