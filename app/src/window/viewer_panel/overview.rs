//! The whole slide, small, in a corner of the pane: where one is, and going elsewhere by a click or a drag.

use egui::{Rect, Sense, Ui, WidgetInfo, vec2};

use super::super::command::{Command, ViewCommand};
use super::super::theme;
use super::PaneFrame;
use crate::viewer::overlay;
use crate::viewer::viewport::SlideRect;

/// Draws the overview unless all of the slide is in view; true when the pointer is busy with it. It stays upright when the slide is
/// turned: the outline of what is in view turns instead.
pub(super) fn ui(ui: &mut Ui, frame: &PaneFrame<'_>) -> bool {
    let PaneFrame { screen, slide, info, viewport, commands, .. } = *frame;
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
    let seen = overlay::seen_in_overview(rect, &viewport, screen, whole);
    overlay::outline_quad(&painter.with_clip_rect(rect.expand(1.5)), seen, 1.5, theme::MARK_SELECTED);
    if let Some(pointer) = response.interact_pointer_pos()
        && (response.clicked() || response.dragged())
    {
        let at = pointer - rect.min;
        let place = (f64::from(at.x / rect.width()) * whole.x1, f64::from(at.y / rect.height()) * whole.y1);
        if !frame.is_active {
            commands.send(Command::Show(slide.key));
        }
        commands.view(ViewCommand::LookAt(place));
    }
    response.hovered() || response.dragged()
}
