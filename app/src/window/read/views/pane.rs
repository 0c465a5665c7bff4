//! Panes beside each other: whose they are, and slides that are dragged to them.

use egui::{Align2, DragAndDrop, Stroke, StrokeKind, Ui, vec2};

use super::super::super::command::CommandSender;
use super::super::super::state::{AppState, Mode};
use super::super::super::theme;
use super::super::super::viewer_panel::PaneFrame;
use super::super::ReadCommand;
use super::{Layout, ViewsCommand};
use crate::viewer::overlay;
use crate::viewer::tile_cache::SlideKey;

/// A slide on its way to a pane or to another place among the tabs.
#[derive(Clone, Copy, Debug)]
pub(super) struct DraggedSlide(pub SlideKey);

/// The pane that is being drawn into `ui`; the active one before the first frame.
pub(in crate::window) fn pane_of(ui: &Ui, state: &AppState) -> usize {
    let views = &state.read.views;
    let middle = ui.max_rect().center();
    let found = views.centre.and_then(|all| views.rects(all).iter().position(|rect| rect.contains(middle)));
    found.unwrap_or(views.active)
}

/// The name of a pane's slide, and whether it moves with the others, when there are several panes.
pub(in crate::window) fn draw_head(ui: &Ui, frame: &PaneFrame<'_>) {
    let views = &frame.state.read.views;
    if views.layout == Layout::One {
        return;
    }
    let mut words = frame.state.name_of(frame.slide);
    if views.is_synchronised {
        let open = views.panes.iter().flatten().filter_map(|key| frame.state.slide(*key)?.info());
        let has_every_scale = open.clone().count() < 2 || open.clone().all(|info| info.mpp.is_some());
        words.push_str(match (views.is_aligning, frame.is_active, has_every_scale) {
            (true, true, _) => " · moves alone until aligned",
            (true, false, _) => " · waits to be aligned",
            (false, _, true) => " · synchronised",
            (false, _, false) => " · synchronised by pixels: a scale is not known",
        });
    }
    let at = frame.screen.left_top() + vec2(theme::GRID, theme::GRID);
    overlay::plate(&ui.painter_at(frame.screen), at, Align2::LEFT_TOP, &words);
}

/// While a slide is dragged, the pane that would take it is outlined; files that are dropped open in the pane they are held over.
pub(super) fn drop_ui(ui: &Ui, state: &AppState, commands: &CommandSender) {
    let views = &state.read.views;
    let (Mode::Read, Some(all)) = (state.mode, views.centre) else { return };
    let Some(pointer) = ui.input(|input| input.pointer.latest_pos()) else { return };
    let rects = views.rects(all);
    let Some(pane) = rects.iter().position(|rect| rect.contains(pointer)) else { return };
    if ui.input(|input| !input.raw.hovered_files.is_empty()) && pane != views.active {
        commands.read(ReadCommand::Views(ViewsCommand::Activate(pane)));
    }
    if !DragAndDrop::has_payload_of_type::<DraggedSlide>(ui.ctx()) {
        return;
    }
    let line = Stroke::new(3.0, theme::of(ui).accent);
    ui.painter().rect_stroke(rects[pane], 0.0, line, StrokeKind::Inside);
    if ui.input(|input| input.pointer.any_released())
        && let Some(dragged) = DragAndDrop::take_payload::<DraggedSlide>(ui.ctx())
    {
        commands.read(ReadCommand::Views(ViewsCommand::PutInto(dragged.0, pane)));
    }
}
