//! The line at the bottom: that this is for research, which model, what it is doing, how fast.

use egui::{Align, Layout, ProgressBar, Ui};

use super::command::{CommandSender, ModelCommand};
use super::frame_times::FrameTimes;
use super::state::{AppState, PackageState, WorkerState};
use super::theme;
use super::widgets::caption;
use crate::models::size_in_words;

/// Draws the line.
pub(super) fn ui(ui: &mut Ui, state: &AppState, frame_times: &FrameTimes, commands: &CommandSender) {
    ui.horizontal_centered(|ui| {
        ui.spacing_mut().item_spacing.x = 2.0 * theme::GRID;
        caption(ui, "For research use only");
        caption(ui, package_in_words(&state.model.package));
        worker_ui(ui, &state.model.worker, commands);
        if let Some(rate) = state.answer.as_ref().and_then(super::answer_view::AnswerView::tokens_per_second)
        {
            caption(ui, format!("{rate:.0} tokens/s"));
        }
        if let Some(mib) = state.memory_mib {
            caption(ui, format!("{mib:.0} MiB"));
        }
        if state.frame_times_shown {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                caption(ui, frame_times.in_words());
            });
        }
    });
}

fn package_in_words(package: &PackageState) -> String {
    match package {
        PackageState::Reading => "Reading the model package".to_owned(),
        PackageState::Known(model) => format!("Model {}", model.name),
        PackageState::Failed(_) => "No model".to_owned(),
    }
}

fn worker_ui(ui: &mut Ui, worker: &WorkerState, commands: &CommandSender) {
    match worker {
        WorkerState::Idle => {}
        WorkerState::Loading { what, fraction, since } => {
            let elapsed = since.elapsed();
            let mut words = format!("Loading the model: {what}");
            if elapsed.as_secs() >= 5
                && let Some(done) = fraction.filter(|done| *done > 0.05)
            {
                let left = elapsed.as_secs_f32() * (1.0 - done) / done;
                words = format!("{words}, about {left:.0} s left");
            }
            caption(ui, words);
            match fraction {
                Some(fraction) => {
                    ui.add(ProgressBar::new(*fraction).desired_width(120.0).desired_height(6.0));
                }
                None => {
                    ui.add(egui::Spinner::new().size(12.0));
                }
            }
            let cancel = ui.small_button("Cancel").accessible_name("Cancel loading the model");
            if cancel.clicked() {
                commands.model(ModelCommand::CancelLoad);
            }
        }
        WorkerState::Ready { device, memory } => {
            caption(ui, format!("Loaded on {device}, {}", size_in_words(*memory)));
        }
        WorkerState::Ended(sentence) => {
            caption(ui, format!("{sentence}; it starts again with the next question"));
        }
    }
}
