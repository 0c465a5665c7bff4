//! The packages that a run can start from: those of this machine, and those that runs have made.

use egui::{ScrollArea, Ui};
use reinpath_training::run_folder::{RunFolder, RunState};

use super::super::super::command::{CommandSender, ModelCommand};
use super::super::super::state::AppState;
use super::super::super::widgets::caption;
use super::super::TrainCommand;
use super::SetupCommand;
use crate::runs::told::{Listed, ListedRun};

/// Points.
const MOST_HEIGHT: f32 = 360.0;

/// A button that opens the list of packages.
pub(super) fn packages_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    let menu = ui.menu_button("Packages", |ui| {
        ScrollArea::vertical().id_salt("train packages").max_height(MOST_HEIGHT).show(ui, |ui| {
            models_ui(ui, state, commands);
            runs_ui(ui, state, commands);
        });
    });
    if menu.response.clicked() && state.model.list.is_none() {
        commands.model(ModelCommand::ReadList);
    }
}

fn models_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    caption(ui, "On this machine");
    let Some(list) = &state.model.list else {
        caption(ui, "Reading the models folder");
        return;
    };
    let usable = list.models.iter().filter(|model| model.facts.is_ok());
    for model in usable {
        let path = model.folder.display().to_string();
        if ui.button(model.name.as_str()).on_hover_text(path).clicked() {
            commands.train(TrainCommand::Setup(SetupCommand::ContinueFrom(model.folder.clone())));
            ui.close();
        }
    }
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
