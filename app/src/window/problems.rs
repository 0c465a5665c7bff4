//! Sentences about what went wrong that belong to no panel: they stay until they are read, over the lower edge of the viewer.

use egui::{Align2, Area, Id, Order, Rect, Ui, vec2};

use super::command::{Command, CommandSender};
use super::read::views::masked;
use super::state::AppState;
use super::theme;
use super::widgets::problem_ui;

/// Draws them inside `viewer`, and says that a file may be dropped while one is held over the window.
pub(super) fn ui(ui: &Ui, viewer: Rect, state: &AppState, commands: &CommandSender) {
    let at = viewer.center_bottom() - vec2(0.0, 5.0 * theme::GRID);
    if !state.problems.is_empty() {
        let area = Area::new(Id::unique("problems")).order(Order::Foreground).fixed_pos(at);
        area.pivot(Align2::CENTER_BOTTOM).show(ui.ctx(), |ui| {
            ui.set_max_width((viewer.width() - 4.0 * theme::GRID).clamp(200.0, 520.0));
            for problem in &state.problems {
                let sentence = masked(state, &problem.sentence);
                problem_ui(ui, &sentence, |ui| {
                    if ui.button("Dismiss").clicked() {
                        commands.send(Command::DismissProblem(problem.id));
                    }
                    if ui.button("Copy message").clicked() {
                        commands.send(Command::Copy(sentence.clone()));
                    }
                });
            }
        });
    }
    if ui.input(|input| !input.raw.hovered_files.is_empty()) {
        let painter = ui.painter();
        painter.rect_filled(viewer, 0.0, theme::SCRIM);
        let font = theme::semibold(theme::HEADING);
        painter.text(viewer.center(), Align2::CENTER_CENTER, "Drop to open", font, theme::MARK);
    }
}
