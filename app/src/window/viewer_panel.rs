//! The centre of the window: panes with slides and their tools, or what to do when there is none to show.
//!
//! What a pane is made of lies in `viewer_panel/`, one file each; parts of the reading mode (`read/`) draw over it. Nothing here changes the
//! state: wishes go out as commands.

use std::sync::Arc;
use std::time::Duration;

use egui::{PointerButton, Rect, Response, Sense, Stroke, StrokeKind, Ui, UiBuilder, WidgetInfo};

use super::command::CommandSender;
use super::event::TileFailure;
use super::read::ReadPanels;
use super::review::ReviewPanels;
use super::state::{AppState, SlideStatus, SlideTab, Tool};
use super::workers::Workers;
use super::{theme, viewer_messages};
use crate::slide::{SlideInfo, TileId};
use crate::viewer::tile_cache::SlideKey;
use crate::viewer::tile_engine::EngineCounters;
use crate::viewer::tile_pixels::TilePixels;
use crate::viewer::viewport::Viewport;

mod marks;
mod overview;
mod pointer;
mod read_outs;
mod tiles;

/// One frame of one pane.
pub(super) struct PaneFrame<'a> {
    /// Its number, from 0, row by row.
    pub pane: usize,
    /// Whether keys and panels are about its slide.
    pub is_active: bool,
    pub screen: Rect,
    pub state: &'a AppState,
    pub slide: &'a SlideTab,
    pub info: &'a Arc<SlideInfo>,
    /// As it is drawn in this frame.
    pub viewport: Viewport,
    pub commands: &'a CommandSender,
}

/// The panel.
#[derive(Default)]
pub(super) struct ViewerPanel {
    tiles: tiles::Tiles,
    pointer: pointer::Pointer,
    marks: marks::Marks,
    complete: bool,
}

impl ViewerPanel {
    /// Takes a decoded tile, or the news that there is none.
    pub(super) fn arrive(
        &mut self,
        slide: SlideKey,
        tile: TileId,
        pixels: Result<&Arc<TilePixels>, &TileFailure>,
    ) {
        self.tiles.arrive(slide, tile, pixels);
    }

    /// Forgets the tiles of a slide that was closed.
    pub(super) fn forget(&mut self, slide: SlideKey) {
        self.tiles.forget(slide);
    }

    /// Whether all that is in view, of every pane, is drawn from its own tiles.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Tiles that arrived since the start.
    pub(super) fn tiles_taken(&self) -> u64 {
        self.tiles.taken()
    }

    /// What the tiles cost since the start.
    pub(super) fn counters(&self) -> EngineCounters {
        self.tiles.counters()
    }

    /// What the last rendered frame took to hand tiles to the GPU.
    pub(super) fn prepare_time(&self) -> Duration {
        self.tiles.prepare_time()
    }

    /// Draws into all of `ui`; returns the rectangle it took.
    pub(super) fn ui(
        &mut self,
        ui: &mut Ui,
        state: &AppState,
        read: &mut ReadPanels,
        review: &mut ReviewPanels,
        commands: &CommandSender,
        workers: &Workers,
    ) -> Rect {
        let screen = ui.max_rect();
        ui.painter().rect_filled(screen, 0.0, theme::of(ui).surround);
        let views = &state.read.views;
        let rects = views.rects(screen);
        let mut complete = true;
        for (pane, (&rect, &key)) in rects.iter().zip(&views.panes).enumerate() {
            let slide = key.and_then(|key| state.slide(key));
            let builder = UiBuilder::new().id_salt(("pane", pane)).max_rect(rect);
            ui.scope_builder(builder, |ui| {
                let is_active = pane == views.active;
                complete &= self.pane_ui(ui, pane, is_active, state, slide, read, review, commands, workers);
                if is_active && rects.len() > 1 {
                    let line = Stroke::new(2.0, theme::of(ui).accent);
                    ui.painter_at(rect).rect_stroke(rect, 0.0, line, StrokeKind::Inside);
                }
            });
        }
        self.complete = complete;
        screen
    }

    /// True when all that is in view is drawn from its own tiles.
    #[expect(clippy::too_many_arguments, reason = "one call, which splits what a pane is made of")]
    fn pane_ui(
        &mut self,
        ui: &mut Ui,
        pane: usize,
        is_active: bool,
        state: &AppState,
        slide: Option<&SlideTab>,
        read: &mut ReadPanels,
        review: &mut ReviewPanels,
        commands: &CommandSender,
        workers: &Workers,
    ) -> bool {
        let screen = ui.max_rect();
        let Some(slide) = slide else {
            viewer_messages::nothing_open_ui(ui, state, commands);
            return false;
        };
        match &slide.status {
            SlideStatus::Opening { since } => {
                viewer_messages::opening_ui(ui, slide, since.elapsed(), commands);
                false
            }
            SlideStatus::Failed { sentence } => {
                viewer_messages::failed_ui(ui, slide, sentence, commands);
                false
            }
            SlideStatus::Open { info } => {
                let Some(viewport) = slide.viewport_in(screen.size()) else { return false };
                let frame = PaneFrame { pane, is_active, screen, state, slide, info, viewport, commands };
                self.slide_ui(ui, &frame, read, review, workers)
            }
        }
    }

    fn slide_ui(
        &mut self,
        ui: &mut Ui,
        frame: &PaneFrame<'_>,
        read: &mut ReadPanels,
        review: &mut ReviewPanels,
        workers: &Workers,
    ) -> bool {
        let screen = frame.screen;
        let response = ui.interact(screen, ui.scope_id().with("slide"), Sense::click_and_drag());
        let name = frame.state.name_of(frame.slide);
        response.widget_info(|| WidgetInfo::labeled(egui::Role::Image, true, format!("Slide {name}")));
        let drawn = self.tiles.draw(ui, frame, workers);
        read.survey.draw(ui, frame);
        read.annotate.draw(ui, frame);
        review.draw(ui, frame);
        marks::draw_patches(ui, frame);
        let covered = overview::ui(ui, frame);
        read_outs::ui(ui, frame, &response);
        // What was begun beside the overview may end over it.
        if !covered || self.pointer.is_busy(frame.pane) || self.marks.is_busy(frame.pane) {
            self.pointer(ui, frame, &response, read);
        }
        if drawn.is_cut {
            viewer_messages::zoom_in_ui(ui, screen, frame.info);
        }
        if let Some(sentence) = &frame.slide.unreadable {
            viewer_messages::unreadable_ui(ui, screen, frame.slide.key, sentence, frame.commands);
        }
        drawn.is_complete
    }

    /// Moving and zooming come first; what they leave belongs to the tool.
    fn pointer(&mut self, ui: &Ui, frame: &PaneFrame<'_>, response: &Response, read: &mut ReadPanels) {
        let pressed = response.clicked() || response.drag_started_by(PointerButton::Primary);
        if pressed && !frame.is_active {
            frame.commands.send(super::command::Command::Show(frame.slide.key));
        }
        let is_editing = frame.state.tool == Tool::Pan && read.annotate.pointer(ui, frame, response);
        if self.pointer.ui(ui, frame, response, is_editing) || is_editing {
            return;
        }
        match frame.state.tool {
            Tool::Patch => self.marks.ui(ui, frame, response),
            Tool::Mark(_) => {
                read.annotate.pointer(ui, frame, response);
            }
            Tool::White => read.colour.pointer(ui, frame, response),
            Tool::Pan => marks::select(ui, frame, response),
        }
    }
}
