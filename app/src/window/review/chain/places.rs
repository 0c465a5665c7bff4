//! Where the sentence in view looks, over the slide that its answer is about.

use egui::epaint::Vertex;
use egui::{Align2, Color32, Mesh, Pos2, Rect, Sense, Shape, Ui, WidgetInfo, pos2, vec2};

use super::super::super::state::AppState;
use super::super::super::theme;
use super::super::super::viewer_panel::PaneFrame;
use super::super::{Shown, cases};
use super::{Layer, MapKey};
use crate::chain::{corners, is_localised, legend};
use crate::viewer::overlay;

/// Points that a plate takes, and between it and the map.
const PLATE: f32 = 22.0;
const GAP: f32 = 4.0;

/// Draws it into a pane.
pub(super) fn draw(ui: &Ui, frame: &PaneFrame<'_>) {
    let chain = &frame.state.review.chain;
    let Some(shown) = cases::shown(frame.state) else { return };
    let Some((key, layers)) = &chain.drawn else { return };
    if chain.wanted.as_ref() != Some(key) || key.answer != shown.answer.id || !is_of(frame, shown) {
        return;
    }
    let is_asked_for = is_asked_for(frame.state, key);
    for layer in layers {
        layer_ui(ui, frame, shown, layer, is_asked_for);
    }
}

/// Whether the slide of a pane is the one that the answer is about.
fn is_of(frame: &PaneFrame<'_>, shown: Shown<'_>) -> bool {
    let hash = &frame.info.hash;
    let stamped = shown.answer.stamp.as_ref().and_then(|stamp| stamp.slide.as_ref());
    match (stamped.filter(|slide| !slide.hash.is_empty()), shown.live) {
        (Some(slide), _) => slide.hash == *hash,
        (None, Some(live)) => live.subject.slide == frame.slide.path,
        (None, None) => {
            frame.state.review.cases.open.as_ref().is_some_and(|open| open.case.slide.hash == *hash)
        }
    }
}

/// Whether the user asked for the map by a key, rather than by resting the pointer on the sentence.
fn is_asked_for(state: &AppState, key: &MapKey) -> bool {
    let chain = &state.review.chain;
    let focus = chain.focus.as_ref().filter(|_| chain.is_map_shown);
    focus.is_some_and(|(id, stage, index)| *id == key.answer && (*stage, *index) == (key.stage, key.index))
}

fn layer_ui(ui: &Ui, frame: &PaneFrame<'_>, shown: Shown<'_>, layer: &Layer, is_asked_for: bool) {
    let head = &layer.head;
    let Some(corners) = corners(head, shown.answer.stamp.as_deref(), shown.question) else { return };
    let quad = corners.map(|corner| frame.viewport.screen_from_slide(frame.screen, corner));
    let around = Rect::from_points(&quad);
    if !around.intersects(frame.screen) {
        return;
    }
    // A map that means nothing is shown only to who asks for it, in grey.
    if is_localised(head) || is_asked_for {
        ui.painter_at(frame.screen).add(Shape::mesh(mesh(layer, quad)));
    }
    plate(ui, frame, around, head.patch, &legend(head));
}

fn mesh(layer: &Layer, quad: [Pos2; 4]) -> Mesh {
    let uvs = [pos2(0.0, 0.0), pos2(1.0, 0.0), pos2(1.0, 1.0), pos2(0.0, 1.0)];
    let mut mesh = Mesh::with_texture(layer.picture.texture.id());
    let vertices = quad.into_iter().zip(uvs);
    mesh.vertices.extend(vertices.map(|(pos, uv)| Vertex { pos, uv, color: Color32::WHITE }));
    mesh.add_triangle(0, 1, 2);
    mesh.add_triangle(0, 2, 3);
    mesh
}

/// Below the map, or above it where there is no room; always within the pane.
fn plate(ui: &Ui, frame: &PaneFrame<'_>, around: Rect, patch: usize, words: &str) {
    let screen = frame.screen.shrink(theme::GRID);
    let (y, anchor) = if around.bottom() + GAP + PLATE <= screen.bottom() {
        (around.bottom() + GAP, Align2::LEFT_TOP)
    } else {
        ((around.top() - GAP).max(screen.top() + PLATE), Align2::LEFT_BOTTOM)
    };
    let at = screen.left_top() + vec2((around.left() - screen.left()).max(0.0), y - screen.top());
    let rect = overlay::plate(&ui.painter_at(frame.screen), at, anchor, words);
    let response = ui.interact(rect, ui.scope_id().with(("where it looks", patch)), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(egui::Role::Label, true, words));
}
