//! The centre of the window: the slide with its tools, or what to do when there is none to show.
//!
//! It owns the tile cache and what the pointer is doing; everything else it wants goes out as commands.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use egui::{Align2, CursorIcon, Key, PointerButton, Pos2, Rect, Response, Sense, Ui, WidgetInfo, vec2};

use super::command::{CommandSender, PatchCommand, ViewCommand, ZOOM};
use super::event::TileFailure;
use super::patches;
use super::state::{AppState, SlideStatus, SlideTab, Tool};
use super::{theme, viewer_messages};
use crate::slide::{SlideInfo, Ticket, TileId};
use crate::viewer::overlay::{self, PatchMark, ScaleBar};
use crate::viewer::tile_cache::{SlideKey, TileCache};
use crate::viewer::tile_pixels::TilePixels;
use crate::viewer::tile_plan::TilePlan;
use crate::viewer::tile_renderer::{TileDrawData, UploadQueue};
use crate::viewer::viewport::{SlideRect, Viewport};

/// Texture memory for tiles.
const CACHE_BYTES: usize = 336 << 20;
/// Wheel points to magnification: a notch is about 1.3 times.
const WHEEL: f64 = 0.0055;

/// Where tiles come from: asked without waiting, `None` when the slide has too much to do.
pub(super) type TileSource<'a> = dyn Fn(SlideKey, TileId) -> Option<Ticket> + 'a;

/// What the pointer began on the slide.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Drag {
    /// The place on the slide that was grabbed.
    Pan((f64, f64)),
    /// The first corner of a rectangle.
    Rectangle((f64, f64)),
}

/// The panel.
pub(super) struct ViewerPanel {
    cache: TileCache<Ticket>,
    uploads: UploadQueue,
    prepare_nanos: Arc<AtomicU64>,
    drag: Option<Drag>,
    complete: bool,
    tiles_taken: u64,
}

impl Default for ViewerPanel {
    fn default() -> Self {
        Self {
            cache: TileCache::new(CACHE_BYTES),
            uploads: Arc::new(Mutex::new(VecDeque::new())),
            prepare_nanos: Arc::default(),
            drag: None,
            complete: false,
            tiles_taken: 0,
        }
    }
}

impl ViewerPanel {
    /// Takes a decoded tile, or the news that there is none.
    pub(super) fn arrive(
        &mut self,
        slide: SlideKey,
        tile: TileId,
        pixels: Result<&Arc<TilePixels>, &TileFailure>,
    ) {
        self.tiles_taken += u64::from(pixels.is_ok());
        match pixels {
            Err(failure) if failure.may_pass => self.cache.take_back(slide, tile),
            pixels => self.cache.arrive(slide, tile, pixels.ok().cloned()),
        }
    }

    /// Forgets the tiles of a slide that was closed.
    pub(super) fn forget(&mut self, slide: SlideKey) {
        self.cache.forget(slide);
    }

    /// Whether all that is in view is drawn from its own tiles.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Tiles that arrived since the start.
    pub(super) fn tiles_taken(&self) -> u64 {
        self.tiles_taken
    }

    /// What the last rendered frame took to hand tiles to the GPU.
    pub(super) fn prepare_time(&self) -> Duration {
        Duration::from_nanos(self.prepare_nanos.load(Ordering::Relaxed))
    }

    /// Draws into all of `ui`; returns the rectangle it took.
    pub(super) fn ui(
        &mut self,
        ui: &mut Ui,
        state: &AppState,
        commands: &CommandSender,
        source: &TileSource<'_>,
    ) -> Rect {
        let screen = ui.max_rect();
        ui.painter().rect_filled(screen, 0.0, theme::of(ui).surround);
        self.complete = false;
        match state.shown_slide() {
            None => viewer_messages::nothing_open_ui(ui, state, commands),
            Some(slide) => match &slide.status {
                SlideStatus::Opening { since } => {
                    viewer_messages::opening_ui(ui, slide, since.elapsed(), commands);
                }
                SlideStatus::Failed { sentence } => viewer_messages::failed_ui(ui, slide, sentence, commands),
                SlideStatus::Open { info } => self.slide_ui(ui, screen, state, slide, info, commands, source),
            },
        }
        screen
    }

    #[expect(clippy::too_many_arguments, reason = "one call, which splits what a frame is made of")]
    fn slide_ui(
        &mut self,
        ui: &mut Ui,
        screen: Rect,
        state: &AppState,
        slide: &SlideTab,
        info: &Arc<SlideInfo>,
        commands: &CommandSender,
        source: &TileSource<'_>,
    ) {
        let viewport =
            slide.viewport.unwrap_or_else(|| Viewport::fitted(info.width(), info.height(), screen.size()));
        let response = ui.interact(screen, ui.scope_id().with("slide"), Sense::click_and_drag());
        response
            .widget_info(|| WidgetInfo::labeled(egui::Role::Image, true, format!("Slide {}", slide.name())));
        let is_cut = self.draw_tiles(ui, screen, slide.key, info, &viewport, source);
        draw_patches(ui, screen, slide, &viewport);
        let frame = SlideFrame { screen, state, slide, info, viewport: &viewport, commands };
        let covered = overview_ui(ui, &frame);
        read_outs(ui, &frame, &response);
        // What was begun beside the overview may end over it.
        if !covered || self.drag.is_some() {
            self.pointer(ui, &frame, &response);
        }
        if is_cut {
            viewer_messages::zoom_in_ui(ui, screen, info);
        }
        if let Some(sentence) = &slide.unreadable {
            viewer_messages::unreadable_ui(ui, screen, slide.key, sentence, commands);
        }
    }

    /// True when more is in view than can be drawn.
    fn draw_tiles(
        &mut self,
        ui: &Ui,
        screen: Rect,
        key: SlideKey,
        info: &SlideInfo,
        viewport: &Viewport,
        source: &TileSource<'_>,
    ) -> bool {
        let viewport = snapped(viewport, screen, ui.pixels_per_point());
        let whole = SlideRect::of_size(f64::from(info.width()), f64::from(info.height()));
        let ground = theme::slide_background(info.background);
        ui.painter_at(screen).rect_filled(viewport.screen_rect(screen, whole), 0.0, ground);
        let most = self.cache.capacity() * 3 / 4;
        let plan = TilePlan::new(info, &viewport, screen, ui.pixels_per_point(), most);
        self.cache.begin_frame(key, &plan, &mut |tile| source(key, tile));
        let draws = self.cache.draws(key, info, &plan);
        self.complete = self.cache.is_complete(key, &plan);
        let uploads = self.cache.take_uploads();
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner).extend(uploads);
        if self.cache.has_arrived() {
            ui.ctx().request_repaint();
        }
        let data = TileDrawData {
            view: viewport.visible(screen),
            draws,
            uploads: Arc::clone(&self.uploads),
            prepare_nanos: Arc::clone(&self.prepare_nanos),
        };
        ui.painter_at(screen).add(data.into_shape(screen));
        plan.is_cut
    }

    fn pointer(&mut self, ui: &Ui, frame: &SlideFrame<'_>, response: &Response) {
        let SlideFrame { screen, commands, viewport, .. } = *frame;
        let tool = if ui.input(|input| input.key_down(Key::Space)) { Tool::Pan } else { frame.state.tool };
        zoom_with_wheel(ui, response, commands);
        if response.drag_started()
            && let Some(origin) = ui.input(|input| input.pointer.press_origin())
        {
            let place = viewport.slide_from_screen(screen, origin);
            let draws = tool == Tool::Patch && response.drag_started_by(PointerButton::Primary);
            self.drag = Some(if draws { Drag::Rectangle(place) } else { Drag::Pan(place) });
        }
        let pointer = response.interact_pointer_pos().or(response.hover_pos());
        match (self.drag, pointer) {
            (Some(Drag::Pan(grabbed)), Some(pointer)) if response.dragged() => {
                // Held to the place that was grabbed, so that the tolerance before a drag moves nothing.
                commands.view(ViewCommand::Pan(pointer - viewport.screen_from_slide(screen, grabbed)));
            }
            (Some(Drag::Rectangle(corner)), Some(pointer)) => {
                self.rectangle(ui, frame, response, corner, pointer);
            }
            _ => {}
        }
        if response.drag_stopped() || !response.is_pointer_button_down_on() {
            self.drag = None;
        }
        if let Some(pointer) = pointer {
            clicks(ui, frame, response, tool, pointer);
            self.cursor(ui, frame, response, tool, pointer);
        }
    }

    fn rectangle(
        &mut self,
        ui: &Ui,
        frame: &SlideFrame<'_>,
        response: &Response,
        corner: (f64, f64),
        pointer: Pos2,
    ) {
        let other = frame.viewport.slide_from_screen(frame.screen, pointer);
        if ui.input(|input| input.key_pressed(Key::Escape)) {
            self.drag = None;
        } else if response.drag_stopped() {
            frame.commands.patch(PatchCommand::DrawRectangle(corner, other));
        } else {
            let rect = Rect::from_two_pos(frame.viewport.screen_from_slide(frame.screen, corner), pointer);
            let painter = ui.painter_at(frame.screen);
            overlay::outline(&painter, rect, 1.5, theme::MARK_SELECTED);
            if let Some(model) = frame.state.model.info()
                && let Some(region) = patches::rectangle(corner, other, model, frame.info.mpp)
            {
                let words = patches::size_in_words(&region, frame.info.mpp);
                overlay::plate(&painter, rect.right_bottom(), Align2::RIGHT_TOP, &words);
            }
        }
    }

    fn cursor(&self, ui: &Ui, frame: &SlideFrame<'_>, response: &Response, tool: Tool, pointer: Pos2) {
        if !response.hovered() && !response.dragged() {
            return;
        }
        match (tool, self.drag) {
            (Tool::Pan, None) => ui.ctx().set_cursor_icon(CursorIcon::Grab),
            (_, Some(Drag::Pan(_))) => ui.ctx().set_cursor_icon(CursorIcon::Grabbing),
            (Tool::Patch, drag) => {
                ui.ctx().set_cursor_icon(CursorIcon::Crosshair);
                if let (None, Some(model)) = (drag, frame.state.model.info()) {
                    // What a click would place.
                    let place = frame.viewport.slide_from_screen(frame.screen, pointer);
                    let region = patches::square_at(place, model, frame.info.mpp);
                    let rect = frame.viewport.screen_rect(frame.screen, overlay::rect_of(&region));
                    overlay::outline(&ui.painter_at(frame.screen), rect, 1.0, theme::MARK);
                }
            }
            (Tool::Pan, Some(Drag::Rectangle(_))) => {}
        }
    }
}

/// One frame of one slide.
struct SlideFrame<'a> {
    screen: Rect,
    state: &'a AppState,
    slide: &'a SlideTab,
    info: &'a SlideInfo,
    viewport: &'a Viewport,
    commands: &'a CommandSender,
}

/// At the slide's own pixels, the viewport is moved by less than a pixel so that they fall on the screen's: nothing blurs.
fn snapped(viewport: &Viewport, screen: Rect, pixels_per_point: f32) -> Viewport {
    let mut snapped = *viewport;
    let pixel = snapped.slide_per_point / f64::from(pixels_per_point);
    if (pixel - 1.0).abs() < 1e-6 {
        let corner = snapped.visible(screen);
        snapped.centre.0 += corner.x0.round() - corner.x0;
        snapped.centre.1 += corner.y0.round() - corner.y0;
    }
    snapped
}

fn zoom_with_wheel(ui: &Ui, response: &Response, commands: &CommandSender) {
    let Some(pointer) = response.hover_pos() else { return };
    let (wheel, pinch) = ui.input(|input| (input.smooth_scroll_delta().y, input.zoom_delta()));
    let factor = (f64::from(wheel) * WHEEL).exp() * f64::from(pinch);
    if (factor - 1.0).abs() > 1e-6 {
        commands.view(ViewCommand::ZoomAt(pointer, factor));
    }
}

fn clicks(ui: &Ui, frame: &SlideFrame<'_>, response: &Response, tool: Tool, pointer: Pos2) {
    let SlideFrame { screen, commands, viewport, slide, .. } = *frame;
    let place = viewport.slide_from_screen(screen, pointer);
    if response.clicked() {
        ui.memory_mut(egui::Memory::stop_text_input);
        match tool {
            // A double click means one place.
            Tool::Patch if response.double_clicked() || response.triple_clicked() => {}
            Tool::Patch => commands.patch(PatchCommand::PlaceSquare(place)),
            Tool::Pan => {
                let under = slide.patches.places().iter().rev();
                let hit = under.filter(|patch| overlay::rect_of(&patch.region).contains(place));
                commands.patch(PatchCommand::Select(hit.map(|patch| patch.id).next()));
            }
        }
    }
    if response.double_clicked() && tool == Tool::Pan {
        commands.view(ViewCommand::ZoomAt(pointer, ZOOM * ZOOM));
    }
}

fn draw_patches(ui: &Ui, screen: Rect, slide: &SlideTab, viewport: &Viewport) {
    let painter = ui.painter_at(screen);
    for (number, place) in (1..).zip(slide.patches.places()) {
        let rect = viewport.screen_rect(screen, overlay::rect_of(&place.region));
        let mark = if slide.patches.selected == Some(place.id) {
            PatchMark::Selected
        } else if place.in_question {
            PatchMark::Asked
        } else {
            PatchMark::LeftOut
        };
        overlay::draw_patch(&painter, rect, number, mark);
    }
}

/// Draws the overview unless all of the slide is in view; true when the pointer is busy with it.
fn overview_ui(ui: &mut Ui, frame: &SlideFrame<'_>) -> bool {
    let SlideFrame { screen, slide, info, viewport, commands, .. } = *frame;
    let whole = SlideRect::of_size(f64::from(info.width()), f64::from(info.height()));
    if screen.contains_rect(viewport.screen_rect(screen, whole)) {
        return false;
    }
    let rect = overlay::overview_rect(screen, info.width(), info.height());
    let response = ui.interact(rect, ui.scope_id().with("overview"), Sense::click_and_drag());
    response.widget_info(|| WidgetInfo::labeled(egui::Role::Image, true, "Overview of the slide"));
    let painter = ui.painter_at(screen);
    painter.rect_filled(rect, 0.0, theme::slide_background(info.background));
    if let Some(picture) = &slide.overview {
        let uv = Rect::from_min_max(egui::pos2(0.0, 0.0), egui::pos2(1.0, 1.0));
        painter.image(picture.texture.id(), rect, uv, egui::Color32::WHITE);
    }
    overlay::outline(&painter, rect, 1.0, theme::BLANK);
    for place in slide.patches.places() {
        let region = overlay::rect_of(&place.region);
        let middle = (f64::midpoint(region.x0, region.x1), f64::midpoint(region.y0, region.y1));
        let at = rect.min
            + vec2((middle.0 / whole.x1) as f32 * rect.width(), (middle.1 / whole.y1) as f32 * rect.height());
        painter.circle_filled(at, 2.5, theme::MARK_CASING);
        painter.circle_filled(at, 1.5, theme::MARK_SELECTED);
    }
    let seen = overlay::viewport_box(rect, viewport, screen, whole);
    overlay::outline(&painter, seen, 1.5, theme::MARK_SELECTED);
    if let Some(pointer) = response.interact_pointer_pos()
        && (response.clicked() || response.dragged())
    {
        let at = pointer - rect.min;
        let place = (f64::from(at.x / rect.width()) * whole.x1, f64::from(at.y / rect.height()) * whole.y1);
        commands.view(ViewCommand::LookAt(place));
    }
    response.hovered() || response.dragged()
}

/// Scale bar at the bottom left; magnification and the pointer's place at the bottom right.
fn read_outs(ui: &Ui, frame: &SlideFrame<'_>, response: &Response) {
    let SlideFrame { screen, info, viewport, .. } = *frame;
    let painter = ui.painter_at(screen);
    let bar = ScaleBar::new(info.mpp, viewport.slide_per_point);
    let inset = theme::GRID;
    overlay::draw_scale_bar(&painter, screen.left_bottom() + vec2(inset, -inset), &bar);
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
