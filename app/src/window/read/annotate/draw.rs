//! What lies over the tiles: annotations in one pass of the GPU, what changed since then, the selected one with its grips, what is being
//! drawn with its numbers, and the grid.

use std::sync::Arc;

use egui::{Align2, Color32, Painter, Pos2, Shape, Stroke, Ui, vec2};

use super::drawing::{self, Drawing};
use super::panel::AnnotatePanel;
use super::{AnnotateCommand, SlideAnnotations, pointer};
use crate::annotation::{Annotation, Geometry, Place, edit, measure};
use crate::viewer::overlay;
use crate::viewer::shape_renderer::ShapeDrawData;
use crate::window::read::ReadCommand;
use crate::window::state::{Mark, Tool};
use crate::window::theme;
use crate::window::viewer_panel::PaneFrame;

/// Points.
const LINE: f32 = 1.5;
const GRIP: f32 = 3.5;
const POINT: f32 = 4.0;
/// Grips of one annotation that are drawn: those nearest to the pointer.
const MOST_GRIPS: usize = 50;
/// What changed since the chunks were made and is drawn one by one; the rest comes with the next chunks, some milliseconds later.
const MOST_FRESH: usize = 50;
/// Places of one annotation that are drawn by hand; of a larger one the frame.
const MOST_PLACES: usize = 20_000;
/// Lines of the grid each way; a finer one would hide the slide.
const MOST_GRID_LINES: f64 = 120.0;

/// Draws all of it; also takes the keys that finish a shape or take its last corner back, since this is called in every frame.
pub(super) fn ui(panel: &mut AnnotatePanel, ui: &Ui, frame: &PaneFrame<'_>) {
    let state = &frame.state.read.annotate;
    if frame.is_active {
        keys(panel, ui, frame);
    }
    let painter = ui.painter_at(frame.screen);
    if state.is_grid_shown {
        grid(&painter, frame);
    }
    if let Some(annotations) = state.of(frame.slide.key).filter(|_| state.is_shown) {
        let data = ShapeDrawData {
            pane: frame.pane,
            viewport: frame.viewport,
            screen: frame.screen,
            chunks: annotations.chunks.clone(),
            line_points: LINE,
            fill_opacity: f32::from(state.fill) / 100.0,
            prepare_nanos: Arc::clone(&panel.prepare_nanos),
            ctx: ui.ctx().clone(),
        };
        if !data.chunks.is_empty() {
            painter.add(data.into_shape());
        }
        for place in annotations.fresh.keys().take(MOST_FRESH) {
            if let Some(annotation) = annotations.set.get(*place).filter(|annotation| state.shows(annotation))
            {
                outline(&painter, frame, annotation, colour(annotation), LINE);
            }
        }
        selected(panel, &painter, frame, annotations);
    }
    if let Some((_, mark, places)) = panel.measured.as_ref().filter(|(slide, ..)| *slide == frame.slide.key) {
        measured(&painter, frame, *mark, places, None);
    }
    let pointer =
        ui.input(|input| input.pointer.hover_pos()).filter(|pointer| frame.screen.contains(*pointer));
    if let Some(pointer) = pointer {
        under_pointer(panel, ui, &painter, frame, pointer);
    }
}

/// Enter ends a shape; undo and delete take its last corner back; the state hears whether there is one.
fn keys(panel: &mut AnnotatePanel, ui: &Ui, frame: &PaneFrame<'_>) {
    let state = &frame.state.read.annotate;
    let is_of_tool =
        |drawing: &Drawing| frame.state.tool == Tool::Mark(drawing.mark) && drawing.slide == frame.slide.key;
    if !panel.drawing.as_ref().is_some_and(is_of_tool) {
        panel.drawing = None;
    }
    let is_enter = !ui.ctx().text_edit_focused() && ui.input(|input| input.key_pressed(egui::Key::Enter));
    if (state.finishes != panel.finishes || is_enter) && panel.drawing.is_some() {
        pointer::finish(panel, frame);
    }
    if state.steps_back != panel.steps_back
        && let Some(drawing) = &mut panel.drawing
    {
        drawing.places.pop();
        if drawing.places.is_empty() {
            panel.drawing = None;
        }
    }
    (panel.finishes, panel.steps_back) = (state.finishes, state.steps_back);
    if panel.drawing.is_some() != state.is_drawing {
        frame.commands.read(ReadCommand::Annotate(AnnotateCommand::Drawing(panel.drawing.is_some())));
    }
}

fn colour(annotation: &Annotation) -> Color32 {
    let [r, g, b] = annotation.shown_rgb();
    theme::slide_background([r, g, b])
}

fn at(frame: &PaneFrame<'_>, [x, y]: Place) -> Pos2 {
    frame.viewport.screen_from_slide(frame.screen, (x, y))
}

/// A line in a dark casing, seen on light and dark tissue.
fn line(painter: &Painter, points: Vec<Pos2>, is_closed: bool, width: f32, colour: Color32) {
    let shape = |points: Vec<Pos2>, stroke: Stroke| {
        if is_closed { Shape::closed_line(points, stroke) } else { Shape::line(points, stroke) }
    };
    painter.add(shape(points.clone(), Stroke::new(width + 2.0, theme::MARK_CASING)));
    painter.add(shape(points, Stroke::new(width, colour)));
}

/// The outline of one annotation.
fn outline(painter: &Painter, frame: &PaneFrame<'_>, annotation: &Annotation, colour: Color32, width: f32) {
    if annotation.geometry.places().nth(MOST_PLACES).is_some() {
        if let Some(bounds) = annotation.geometry.bounds() {
            let corners = frame.viewport.screen_quad(frame.screen, bounds);
            line(painter, corners.to_vec(), true, width, colour);
        }
        return;
    }
    let on_screen = |places: &[Place]| places.iter().map(|place| at(frame, *place)).collect::<Vec<_>>();
    match &annotation.geometry {
        Geometry::Points(places) => {
            for place in places {
                painter.circle(at(frame, *place), POINT, colour, Stroke::new(1.0, theme::MARK_CASING));
            }
        }
        Geometry::Lines(lines) => lines.iter().for_each(|places| {
            line(painter, on_screen(places), false, width, colour);
        }),
        Geometry::Polygons(polygons) => {
            for ring in polygons.iter().flat_map(|polygon| &polygon.rings) {
                line(painter, on_screen(ring), true, width, colour);
            }
        }
        Geometry::Other(_) => {}
    }
}

fn selected(panel: &AnnotatePanel, painter: &Painter, frame: &PaneFrame<'_>, annotations: &SlideAnnotations) {
    let editing = panel.editing.as_ref().filter(|_| frame.is_active);
    let Some((place, kept)) = annotations.selected() else { return };
    let now = editing.filter(|editing| editing.place == place).map_or(&**kept, |editing| &editing.now);
    if !frame.state.read.annotate.shows(now) {
        return;
    }
    outline(painter, frame, now, theme::MARK_SELECTED, LINE + 0.5);
    if frame.is_active && !now.is_locked && frame.state.tool == Tool::Pan {
        let mut grips: Vec<Pos2> = edit::grips(now).into_iter().map(|(_, place)| at(frame, place)).collect();
        grips.retain(|grip| frame.screen.contains(*grip));
        if grips.len() > MOST_GRIPS {
            let pointer = painter.ctx().input(|input| input.pointer.hover_pos());
            let from = pointer.unwrap_or(frame.screen.center());
            grips.sort_by(|a, b| a.distance_sq(from).total_cmp(&b.distance_sq(from)));
            grips.truncate(MOST_GRIPS);
        }
        for grip in grips {
            painter.circle(grip, GRIP, theme::MARK, Stroke::new(1.0, theme::MARK_CASING));
        }
    }
    if let Some(editing) = editing {
        let words = measure::in_words(&editing.now, frame.info.mpp);
        beside_pointer(painter, painter.ctx().input(|input| input.pointer.hover_pos()), &words);
    }
}

/// What is being drawn, with its numbers; what a click would place.
fn under_pointer(panel: &AnnotatePanel, ui: &Ui, painter: &Painter, frame: &PaneFrame<'_>, pointer: Pos2) {
    let Tool::Mark(mark) = frame.state.tool else { return };
    let (x, y) = frame.viewport.slide_from_screen(frame.screen, pointer);
    let mpp = frame.info.mpp;
    if let Some(drawing) = panel.drawing.as_ref().filter(|drawing| drawing.slide == frame.slide.key) {
        let place = drawing.kept_to([x, y], ui.input(|input| input.modifiers.shift));
        measured(painter, frame, mark, &drawing.with(place), Some(pointer));
        return;
    }
    match mark {
        Mark::Field | Mark::Square => match drawing::field(mark, [x, y], mpp) {
            Some(field) => outline(painter, frame, &field, theme::MARK_SELECTED, LINE),
            None => {
                beside_pointer(painter, Some(pointer), "This slide has no scale, so no size can be drawn.");
            }
        },
        Mark::Counter => {
            let count = frame.state.read.annotate.of(frame.slide.key).and_then(SlideAnnotations::count);
            let (count, square_px) = count.unwrap_or_default();
            beside_pointer(painter, Some(pointer), &measure::count_in_words(count, square_px, mpp));
        }
        _ => {}
    }
}

/// A shape of places, and its numbers beside the pointer or its last place.
fn measured(painter: &Painter, frame: &PaneFrame<'_>, mark: Mark, places: &[Place], pointer: Option<Pos2>) {
    let (Some(first), Some(last)) = (places.first(), places.last()) else { return };
    let boxed = match mark {
        Mark::Rectangle => Some(edit::rectangle(*first, *last)),
        Mark::Ellipse => Some(edit::ellipse(*first, *last)),
        _ => None,
    };
    if let Some(geometry) = boxed {
        let annotation = Annotation::new(geometry, crate::annotation::Form::Plain);
        outline(painter, frame, &annotation, theme::MARK_SELECTED, LINE);
    } else {
        let points: Vec<Pos2> = places.iter().map(|place| at(frame, *place)).collect();
        let is_closed = matches!(mark, Mark::Polygon | Mark::Freehand | Mark::Area) && places.len() >= 3;
        line(painter, points, is_closed, LINE, theme::MARK_SELECTED);
    }
    if let Some(words) = drawing::in_words(mark, places, frame.info.mpp) {
        beside_pointer(painter, Some(pointer.unwrap_or_else(|| at(frame, *last))), &words);
    }
}

fn beside_pointer(painter: &Painter, pointer: Option<Pos2>, words: &str) {
    if let Some(pointer) = pointer {
        overlay::plate(painter, pointer + vec2(14.0, 14.0), Align2::LEFT_TOP, words);
    }
}

/// Squares of the chosen side, from the slide's left top corner; none without a scale, or where they would be too fine.
fn grid(painter: &Painter, frame: &PaneFrame<'_>) {
    let Some(mpp) = frame.info.mpp else {
        let corner = frame.screen.left_top() + vec2(theme::GRID, theme::GRID);
        overlay::plate(
            painter,
            corner,
            Align2::LEFT_TOP,
            "This slide has no scale, so the grid is not drawn.",
        );
        return;
    };
    let side_um = f64::from(frame.state.settings.read.grid_um.max(1));
    let (step_x, step_y) = (side_um / mpp.x, side_um / mpp.y);
    let (width, height) = frame.viewport.slide_size();
    let seen = frame.viewport.visible(frame.screen);
    let (x0, x1) = (seen.x0.max(0.0), seen.x1.min(width));
    let (y0, y1) = (seen.y0.max(0.0), seen.y1.min(height));
    if x0 >= x1 || y0 >= y1 {
        return;
    }
    if (x1 - x0) / step_x > MOST_GRID_LINES || (y1 - y0) / step_y > MOST_GRID_LINES {
        let corner = frame.screen.left_top() + vec2(theme::GRID, theme::GRID);
        overlay::plate(painter, corner, Align2::LEFT_TOP, "Zoom in to see the grid.");
        return;
    }
    let stroke = Stroke::new(1.0, theme::MARK_CASING);
    let first = |from: f64, step: f64| (from / step).ceil() as i64;
    for n in first(x0, step_x)..=(x1 / step_x).floor() as i64 {
        let x = n as f64 * step_x;
        painter.line_segment([at(frame, [x, y0]), at(frame, [x, y1])], stroke);
    }
    for n in first(y0, step_y)..=(y1 / step_y).floor() as i64 {
        let y = n as f64 * step_y;
        painter.line_segment([at(frame, [x0, y]), at(frame, [x1, y])], stroke);
    }
}
