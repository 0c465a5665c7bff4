//! Patches on the slide: drawing them, and the tool that places them.

use egui::{Align2, Color32, CursorIcon, Key, PointerButton, Pos2, Response, Shape, Stroke, Ui};

use super::super::command::PatchCommand;
use super::super::{patches, theme};
use super::PaneFrame;
use crate::viewer::overlay;
use crate::viewer::viewport::SlideRect;

/// The rectangle that is being drawn.
#[derive(Default)]
pub(super) struct Marks {
    /// The pane, and the first corner on its slide.
    drawn: Option<(usize, (f64, f64))>,
}

impl Marks {
    /// Whether a rectangle is being drawn in this pane.
    pub(super) fn is_busy(&self, pane: usize) -> bool {
        self.drawn.is_some_and(|(drawn, _)| drawn == pane)
    }

    /// The patch tool: a click places a square, a drag draws a rectangle.
    pub(super) fn ui(&mut self, ui: &Ui, frame: &PaneFrame<'_>, response: &Response) {
        if response.drag_started_by(PointerButton::Primary)
            && let Some(origin) = ui.input(|input| input.pointer.press_origin())
        {
            self.drawn = Some((frame.pane, frame.viewport.slide_from_screen(frame.screen, origin)));
        }
        let Some(pointer) = response.interact_pointer_pos().or(response.hover_pos()) else { return };
        let is_drawing = self.is_busy(frame.pane);
        if let Some((_, corner)) = self.drawn
            && is_drawing
        {
            self.rectangle(ui, frame, response, corner, pointer);
            if response.drag_stopped() || !response.is_pointer_button_down_on() {
                self.drawn = None;
            }
        }
        if response.clicked() {
            ui.memory_mut(egui::Memory::stop_text_input);
            // A double click means one place.
            if !response.double_clicked() && !response.triple_clicked() {
                let place = frame.viewport.slide_from_screen(frame.screen, pointer);
                frame.commands.patch(PatchCommand::PlaceSquare(place));
            }
        }
        if response.hovered() || response.dragged() {
            ui.ctx().set_cursor_icon(CursorIcon::Crosshair);
            if let (false, Some(model)) = (is_drawing, frame.state.model.info()) {
                // What a click would place.
                let place = frame.viewport.slide_from_screen(frame.screen, pointer);
                let region = frame.state.read.survey.size.square_at(place, model, frame.info.mpp);
                outline(ui, frame, overlay::rect_of(&region), 1.0, theme::MARK);
            }
        }
    }

    fn rectangle(
        &mut self,
        ui: &Ui,
        frame: &PaneFrame<'_>,
        response: &Response,
        corner: (f64, f64),
        pointer: Pos2,
    ) {
        let other = frame.viewport.slide_from_screen(frame.screen, pointer);
        if ui.input(|input| input.key_pressed(Key::Escape)) {
            self.drawn = None;
        } else if response.drag_stopped() {
            frame.commands.patch(PatchCommand::DrawRectangle(corner, other));
        } else {
            // A rectangle of the slide, also where the slide is turned.
            let drawn = SlideRect {
                x0: corner.0.min(other.0),
                y0: corner.1.min(other.1),
                x1: corner.0.max(other.0),
                y1: corner.1.max(other.1),
            };
            outline(ui, frame, drawn, 1.5, theme::MARK_SELECTED);
            if let Some(model) = frame.state.model.info()
                && let Some(region) = patches::rectangle(corner, other, model, frame.info.mpp)
            {
                let size = patches::size_in_words(&region, frame.info.mpp);
                let asked = frame.state.max_pixels();
                let tokens = patches::tokens_in_words(&region, model, frame.info.mpp, asked);
                let words = [Some(size), tokens].into_iter().flatten().collect::<Vec<_>>().join(" · ");
                let around = frame.viewport.screen_rect(frame.screen, drawn);
                let painter = ui.painter_at(frame.screen);
                overlay::plate(&painter, around.right_bottom(), Align2::RIGHT_TOP, &words);
            }
        }
    }
}

/// A click of the move tool selects the topmost patch under it, or none.
pub(super) fn select(ui: &Ui, frame: &PaneFrame<'_>, response: &Response) {
    let Some(pointer) = response.interact_pointer_pos().or(response.hover_pos()) else { return };
    if response.clicked() {
        ui.memory_mut(egui::Memory::stop_text_input);
        let place = frame.viewport.slide_from_screen(frame.screen, pointer);
        let under = frame.slide.patches.places().iter().rev();
        let hit = under.filter(|patch| overlay::rect_of(&patch.region).contains(place));
        frame.commands.patch(PatchCommand::Select(hit.map(|patch| patch.id).next()));
    }
}

/// Draws the patches of the pane's slide: those in view.
pub(super) fn draw_patches(ui: &Ui, frame: &PaneFrame<'_>) {
    let seen = frame.viewport.visible(frame.screen);
    for (number, place) in (1..).zip(frame.slide.patches.places()) {
        let rect = overlay::rect_of(&place.region);
        if rect.intersection(&seen).is_none() {
            continue;
        }
        let (width, colour) = if frame.slide.patches.selected == Some(place.id) {
            (3.0, theme::MARK_SELECTED)
        } else if place.in_question {
            (1.5, theme::MARK)
        } else {
            (1.0, theme::BLANK)
        };
        let corners = outline(ui, frame, rect, width, colour);
        let words = number.to_string();
        let painter = ui.painter_at(frame.screen);
        // The number stands at the corner that is uppermost on screen, so that it lies outside however the slide is turned.
        let higher = |a: &Pos2, b: &Pos2| a.y.total_cmp(&b.y).then(a.x.total_cmp(&b.x));
        if let Some(at) = corners.into_iter().min_by(higher) {
            overlay::plate(&painter, at, Align2::LEFT_BOTTOM, &words);
        }
    }
}

/// A rectangle of the slide as a line that is seen on light and dark tissue; returns its corners on screen.
fn outline(ui: &Ui, frame: &PaneFrame<'_>, rect: SlideRect, width: f32, colour: Color32) -> [Pos2; 4] {
    let corners = frame.viewport.screen_quad(frame.screen, rect);
    let painter = ui.painter_at(frame.screen);
    for stroke in [Stroke::new(width + 2.0, theme::MARK_CASING), Stroke::new(width, colour)] {
        painter.add(Shape::closed_line(corners.to_vec(), stroke));
    }
    corners
}
