//! What the centre says when it has no slide to show, or not all of one: a sentence with what to do next.

use std::path::PathBuf;
use std::time::Duration;

use egui::{Align2, Rect, Sense, Ui, UiBuilder, WidgetInfo, vec2};

use super::command::{Command, CommandSender};
use super::read::ReadCommand;
use super::read::views::{Layout, Names, ViewsCommand, pane_of};
use super::state::{AppState, PATIENCE, SlideTab};
use super::theme;
use super::widgets::{main_button, problem_ui};
use crate::slide::SlideInfo;
use crate::viewer::overlay;
use crate::viewer::tile_cache::SlideKey;

fn centred(ui: &mut Ui, add: impl FnOnce(&mut Ui)) {
    let screen = ui.max_rect();
    let size = vec2(460.0_f32.min(screen.width() - 2.0 * theme::GRID), screen.height() * 0.55);
    let rect = Rect::from_center_size(screen.center(), size);
    ui.scope_builder(UiBuilder::new().max_rect(rect), |ui| {
        ui.add_space(rect.height() * 0.35);
        ui.vertical_centered(add);
    });
}

/// Recent slides that are offered in an empty pane.
const MOST_RECENT: usize = 6;

pub(super) fn nothing_open_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    let pane = pane_of(ui, state);
    let is_active = pane == state.read.views.active;
    // What is opened from here opens here.
    let activate = || commands.read(ReadCommand::Views(ViewsCommand::Activate(pane)));
    let several = state.read.views.layout != Layout::One;
    if several {
        let response = ui.interact(ui.max_rect(), ui.scope_id().with("empty pane"), Sense::click());
        let name = format!("Empty pane {}", pane + 1);
        response.widget_info(|| WidgetInfo::labeled(egui::Role::Button, true, name.as_str()));
        if response.clicked() && !is_active {
            activate();
        }
    }
    centred(ui, |ui| {
        let words = if several && !state.slides.is_empty() {
            "Drag a slide here, or open another."
        } else {
            "Open a slide to begin, or drop one on this window."
        };
        ui.label(words);
        ui.add_space(theme::GRID);
        let button = main_button(ui, "Open slide…").min_size(vec2(120.0, 32.0));
        if ui.add_enabled(!state.picking, button).clicked() {
            activate();
            commands.send(Command::PickSlides);
        }
        if several {
            open_ones_ui(ui, state, pane, commands);
        }
        recent_ui(ui, state, &activate, commands);
    });
}

/// Open slides that are in no pane.
fn open_ones_ui(ui: &mut Ui, state: &AppState, pane: usize, commands: &CommandSender) {
    let panes = &state.read.views.panes;
    for slide in state.slides.iter().filter(|slide| !panes.contains(&Some(slide.key))).take(MOST_RECENT) {
        if ui.button(format!("Show {}", state.name_of(slide))).clicked() {
            commands.read(ReadCommand::Views(ViewsCommand::PutInto(slide.key, pane)));
        }
    }
}

/// Slides that were open before; none while names are hidden.
fn recent_ui(ui: &mut Ui, state: &AppState, activate: &dyn Fn(), commands: &CommandSender) {
    let is_open = |path: &&PathBuf| state.slides.iter().any(|slide| slide.path == **path);
    let mut recent = state.settings.recent.iter().filter(|path| !is_open(path)).take(MOST_RECENT).peekable();
    if state.settings.read.is_blinded || recent.peek().is_none() {
        return;
    }
    ui.add_space(2.0 * theme::GRID);
    ui.weak("Recent");
    for path in recent {
        let name = path.file_name().map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy());
        if ui.link(name.into_owned()).on_hover_text(path.display().to_string()).clicked() {
            activate();
            commands.send(Command::Open(path.clone()));
        }
    }
}

pub(super) fn opening_ui(ui: &mut Ui, slide: &SlideTab, since: Duration, commands: &CommandSender) {
    centred(ui, |ui| {
        ui.spinner();
        ui.label(format!("Opening {}", Names::of(ui.ctx(), slide)));
        if since > PATIENCE {
            ui.weak(format!("{} s", since.as_secs()));
            if ui.button("Cancel").clicked() {
                commands.send(Command::Close(slide.key));
            }
        } else {
            ui.ctx().request_repaint_after(PATIENCE);
        }
    });
}

pub(super) fn failed_ui(ui: &mut Ui, slide: &SlideTab, sentence: &str, commands: &CommandSender) {
    let sentence = Names::shown(ui.ctx(), sentence);
    centred(ui, |ui| {
        ui.heading(format!("{} could not be opened", Names::of(ui.ctx(), slide)));
        ui.add_space(theme::GRID);
        ui.label(sentence.as_str());
        ui.weak("Check the file, then try again, or open another one.");
        ui.add_space(theme::GRID);
        ui.horizontal(|ui| {
            let width = 230.0;
            ui.add_space((ui.available_width() - width).max(0.0) / 2.0);
            if ui.button("Try again").clicked() {
                commands.send(Command::Retry(slide.key));
            }
            if ui.button("Copy message").clicked() {
                commands.send(Command::Copy(sentence.clone()));
            }
            if ui.button("Close").clicked() {
                commands.send(Command::Close(slide.key));
            }
        });
    });
}

/// Of a slide whose coarsest level has more tiles in view than can be drawn.
pub(super) fn zoom_in_ui(ui: &Ui, screen: Rect, info: &SlideInfo) {
    let words = if info.levels.len() == 1 {
        "Zoom in to see this slide: it has one level."
    } else {
        "Zoom in to see this slide: its coarsest level is large."
    };
    let at = screen.center_top() + vec2(0.0, theme::GRID);
    overlay::plate(&ui.painter_at(screen), at, Align2::CENTER_TOP, words);
}

pub(super) fn unreadable_ui(
    ui: &mut Ui,
    screen: Rect,
    key: SlideKey,
    sentence: &str,
    commands: &CommandSender,
) {
    let rect = Rect::from_min_max(
        screen.left_top() + vec2(theme::GRID, theme::GRID),
        screen.right_top() + vec2(-theme::OVERVIEW - 3.0 * theme::GRID, 120.0),
    );
    let sentence = Names::shown(ui.ctx(), sentence);
    ui.scope_builder(UiBuilder::new().max_rect(rect), |ui| {
        problem_ui(ui, &sentence, |ui| {
            if ui.button("Open again").clicked() {
                commands.send(Command::Retry(key));
            }
            if ui.button("Dismiss").clicked() {
                commands.send(Command::DismissUnreadable(key));
            }
            if ui.button("Copy message").clicked() {
                commands.send(Command::Copy(sentence.clone()));
            }
        });
    });
}
