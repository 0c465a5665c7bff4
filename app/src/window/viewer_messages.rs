//! What the centre says when it has no slide to show, or not all of one: a sentence with what to do next.

use std::time::Duration;

use egui::{Align2, Rect, Ui, UiBuilder, vec2};

use super::command::{Command, CommandSender};
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

pub(super) fn nothing_open_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    centred(ui, |ui| {
        ui.label("Open a slide to begin, or drop one on this window.");
        ui.add_space(theme::GRID);
        let button = main_button(ui, "Open slide…").min_size(vec2(120.0, 32.0));
        if ui.add_enabled(!state.picking, button).clicked() {
            commands.send(Command::PickSlides);
        }
    });
}

pub(super) fn opening_ui(ui: &mut Ui, slide: &SlideTab, since: Duration, commands: &CommandSender) {
    centred(ui, |ui| {
        ui.spinner();
        ui.label(format!("Opening {}", slide.name()));
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
    centred(ui, |ui| {
        ui.heading(format!("{} could not be opened", slide.name()));
        ui.add_space(theme::GRID);
        ui.label(sentence);
        ui.weak("Check the file, then try again, or open another one.");
        ui.add_space(theme::GRID);
        ui.horizontal(|ui| {
            let width = 230.0;
            ui.add_space((ui.available_width() - width).max(0.0) / 2.0);
            if ui.button("Try again").clicked() {
                commands.send(Command::Retry(slide.key));
            }
            if ui.button("Copy message").clicked() {
                commands.send(Command::Copy(sentence.to_owned()));
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
    ui.scope_builder(UiBuilder::new().max_rect(rect), |ui| {
        problem_ui(ui, sentence, |ui| {
            if ui.button("Open again").clicked() {
                commands.send(Command::Retry(key));
            }
            if ui.button("Dismiss").clicked() {
                commands.send(Command::DismissUnreadable(key));
            }
            if ui.button("Copy message").clicked() {
                commands.send(Command::Copy(sentence.to_owned()));
            }
        });
    });
}
