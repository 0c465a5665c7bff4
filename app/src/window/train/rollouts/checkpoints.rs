//! What a run has made so far, each with a button that puts it into the Ask panel: its finished package and its checkpoints.

use std::path::PathBuf;

use egui::{Button, Ui};
use reinpath_training::run_folder::RunState;

use super::super::super::command::CommandSender;
use super::super::super::state::AppState;
use super::super::super::theme;
use super::super::super::widgets::{caption, hairline, title};
use super::super::TrainCommand;
use super::super::control::ControlCommand;
use super::super::words;
use crate::runs::told::{CheckpointTold, Listed, RunTold};

/// Draws the list of the run in view, the newest first.
pub(super) fn ui(ui: &mut Ui, state: &AppState, told: &RunTold, commands: &CommandSender) {
    ui.add_space(theme::GRID);
    hairline(ui);
    title(ui, "Models of this run");
    let package = finished_package(told);
    if package.is_none() && told.checkpoints.is_empty() {
        caption(ui, "There is none yet: its checkpoints and its finished package come here.");
        return;
    }
    if let Some(preparing) = &state.train.control.preparing {
        caption(ui, format!("A package is being made of a checkpoint of {}.", preparing.name()));
    }
    if let Some(package) = package {
        use_ui(ui, state, "The finished package", ControlCommand::UsePackage(package), commands);
    }
    for checkpoint in told.checkpoints.iter().rev() {
        let name = format!("{}, step {}", words::stage(&checkpoint.stage), checkpoint.step);
        use_ui(ui, state, &name, of_checkpoint(told, checkpoint), commands);
    }
}

/// A model by its name, and the button that uses it.
fn use_ui(ui: &mut Ui, state: &AppState, name: &str, command: ControlCommand, commands: &CommandSender) {
    ui.horizontal_wrapped(|ui| {
        ui.label(name);
        button_ui(ui, state, name, command, commands);
    });
}

/// The button that uses a model; its name is for those who do not see what it stands beside.
pub(super) fn button_ui(
    ui: &mut Ui,
    state: &AppState,
    name: &str,
    command: ControlCommand,
    commands: &CommandSender,
) {
    let is_free = state.train.control.preparing.is_none();
    let button = ui.add_enabled(is_free, Button::new("Use this model"));
    let about = "Answers questions about slides with it from now on";
    if button.accessible_name(format!("Use this model: {name}")).on_hover_text(about).clicked() {
        commands.train(TrainCommand::Control(command));
    }
}

/// What using the best of a run means: its finished package, or its newest checkpoint. `None` before there is one.
pub(super) fn newest(told: &RunTold) -> Option<ControlCommand> {
    finished_package(told)
        .map(ControlCommand::UsePackage)
        .or_else(|| told.checkpoints.last().map(|checkpoint| of_checkpoint(told, checkpoint)))
}

fn of_checkpoint(told: &RunTold, checkpoint: &CheckpointTold) -> ControlCommand {
    ControlCommand::UseCheckpoint { run: told.key.clone(), checkpoint: checkpoint.path.clone() }
}

/// Where the package of a finished run lies.
fn finished_package(told: &RunTold) -> Option<PathBuf> {
    match &told.listed {
        // A path in a run's folder is relative to it.
        Listed::Known(RunState::Finished(package)) => Some(told.key.folder().join(package)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::run;
    use super::*;

    #[test]
    fn a_finished_package_comes_before_the_newest_checkpoint() {
        let mut told = run("a", &[]);
        assert_eq!(newest(&told), None);
        for step in [5, 10] {
            let path = format!("/runs/a/checkpoints/{step}").into();
            told.checkpoints.push(CheckpointTold { stage: "grpo".to_owned(), step, path });
        }
        let (run, checkpoint) = (told.key.clone(), "/runs/a/checkpoints/10".into());
        assert_eq!(newest(&told), Some(ControlCommand::UseCheckpoint { run, checkpoint }));
        told.listed = Listed::Known(RunState::Finished("package".into()));
        assert_eq!(newest(&told), Some(ControlCommand::UsePackage("/runs/a/package".into())));
    }
}
