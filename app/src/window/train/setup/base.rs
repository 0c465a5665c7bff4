//! The packages that a run can start from: those of this machine, and those that runs have made.

use std::path::Path;

use egui::{Align, Button, Layout, ScrollArea, Ui};
use reinpath_training::run_folder::{RunFolder, RunState};

use super::super::super::command::{CommandSender, ModelCommand};
use super::super::super::state::AppState;
use super::super::super::widgets::{caption, warning};
use super::super::TrainCommand;
use super::SetupCommand;
use crate::runs::told::{Listed, ListedRun};

/// Points.
const MOST_WIDTH: f32 = 384.0;
const MOST_HEIGHT: f32 = 360.0;

/// A button that opens the list of packages.
pub(super) fn packages_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    let menu = ui.menu_button("Packages", |ui| {
        ui.set_max_width(MOST_WIDTH);
        ScrollArea::vertical().id_salt("train packages").max_height(MOST_HEIGHT).show(ui, |ui| {
            models_ui(ui, state, commands);
            runs_ui(ui, state, commands);
        });
    });
    if menu.response.clicked() && state.model.list.is_none() {
        commands.model(ModelCommand::ReadList);
    }
    if let Some(sentence) = refusal(state) {
        warning(ui, sentence);
    }
}

/// Why no run can start from the package that the settings name, as far as that is known before a run is looked through.
fn refusal(state: &AppState) -> Option<&str> {
    let base = Path::new(state.train.setup.draft.pointer("/base")?.as_str()?);
    let model = state.model.list.as_ref()?.models.iter().find(|model| model.folder == base)?;
    model.facts.as_ref().ok()?.untrainable.as_deref()
}

fn models_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    caption(ui, "On this machine");
    let Some(list) = &state.model.list else {
        caption(ui, "Reading the models folder");
        return;
    };
    for model in &list.models {
        let Ok(facts) = &model.facts else { continue };
        if let Some(sentence) = &facts.untrainable {
            refused_ui(ui, &model.name, sentence);
            continue;
        }
        let path = model.folder.display().to_string();
        if ui.button(model.name.as_str()).on_hover_text(path).clicked() {
            commands.train(TrainCommand::Setup(SetupCommand::ContinueFrom(model.folder.clone())));
            ui.close();
        }
    }
}

/// A package that must not or cannot be trained, with the reason.
fn refused_ui(ui: &mut Ui, name: &str, sentence: &str) {
    ui.add_enabled(false, Button::new(name));
    // A menu's own layout would stretch the words over the line.
    ui.with_layout(Layout::top_down(Align::LEFT), |ui| caption(ui, sentence));
}

fn runs_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    let finished: Vec<&ListedRun> =
        state.train.runs.list.iter().flatten().filter(|run| has_package(run)).collect();
    if finished.is_empty() {
        return;
    }
    caption(ui, "Made by runs");
    for run in finished {
        let package = RunFolder::new(run.key.folder()).package();
        if ui.button(run.key.name()).on_hover_text(package.display().to_string()).clicked() {
            commands.train(TrainCommand::Setup(SetupCommand::ContinueFrom(package)));
            ui.close();
        }
    }
}

fn has_package(run: &ListedRun) -> bool {
    matches!(run.state, Listed::Known(RunState::Finished(_)))
}
