//! What is said at the first start, before anything else can be done: research use only.

use egui::{Button, Frame, Id, Margin, Modal, Ui, vec2};

use super::command::{Command, CommandSender};
use super::theme;
use super::widgets::main_button;

/// Shows the notice over everything until it is accepted.
pub(super) fn ui(ui: &Ui, commands: &CommandSender) {
    let frame = Frame::popup(ui.style()).inner_margin(Margin::same(24));
    Modal::new(Id::unique("research use only")).frame(frame).show(ui.ctx(), |ui| {
        ui.set_width(440.0);
        ui.heading("For research use only");
        ui.label(
            "ReinPath Desktop is not a medical device. Its answers are generated and can be wrong, also when they \
             are well written; the model that comes with it has seen drawn tissue only.",
        );
        ui.label("Do not use it for diagnosis, treatment or any other decision about a patient.");
        ui.label("Slides, questions and answers stay on this machine.");
        ui.add_space(theme::GRID);
        ui.horizontal(|ui| {
            let accept = main_button(ui, "Accept and continue").min_size(vec2(160.0, 32.0));
            if ui.add(accept).clicked() {
                commands.send(Command::AcceptNotice);
            }
            if ui.add(Button::new("Quit").min_size(vec2(80.0, 32.0))).clicked() {
                commands.send(Command::Quit);
            }
        });
    });
}
