//! What the settings stand for: the TOML, and the command that runs it without a window.

use std::path::Path;

use egui::{Button, CollapsingHeader, Id, Label, RichText, TextEdit, Ui};
use reinpath_training::config::RunConfig;
use reinpath_training::run_folder::RunFolder;
use serde_json::Value;

use super::super::super::command::{Command, CommandSender};
use super::super::super::state::AppState;
use super::super::super::widgets::{caption, warning};
use super::super::TrainCommand;
use super::{SetupCommand, config, folder};

/// The name of the program where it is not known where it lies.
const PROGRAM: &str = "reinpath-train";

/// The settings as TOML, whole: what is not stated is there with its default.
pub(super) fn text_of(config: &RunConfig) -> Result<String, String> {
    toml::to_string_pretty(config)
        .map_err(|error| format!("The settings cannot be written as TOML: {error}."))
}

/// The command that runs a file of settings into a folder, as a shell takes it.
fn command_of(program: &str, file: &Path, folder: &Path) -> Result<String, String> {
    let (file, folder) = (file.to_string_lossy(), folder.to_string_lossy());
    shlex::try_join([program, "run", &*file, "--run", &*folder])
        .map_err(|error| format!("The command cannot be written for a shell: {error}."))
}

/// The command of the draft.
pub(super) fn command(state: &AppState) -> Result<String, String> {
    let folder = folder(state)?;
    let asked = RunFolder::new(folder.as_path()).asked_file();
    let file = state.train.setup.saved.as_deref().unwrap_or(&asked);
    let program = match &state.train.places.program {
        Some(Ok(program)) => program.to_string_lossy().into_owned(),
        _ => PROGRAM.to_owned(),
    };
    command_of(&program, file, &folder)
}

/// The view, with the text of the draft that it was last made for.
#[derive(Default)]
pub(super) struct TomlView {
    made: Option<(Value, Result<String, String>)>,
}

impl TomlView {
    /// Draws it, folded until it is asked for.
    pub(super) fn ui(&mut self, ui: &mut Ui, state: &AppState, commands: &CommandSender) {
        CollapsingHeader::new("Command and TOML").id_salt("train command and toml").show(ui, |ui| {
            command_ui(ui, state, commands);
            file_ui(ui, state, commands);
            match self.text(state) {
                Ok(text) => {
                    if ui.button("Copy TOML").clicked() {
                        commands.send(Command::Copy(text.clone()));
                    }
                    ui.add(Label::new(RichText::new(text).monospace()).wrap().selectable(true));
                }
                Err(sentence) => {
                    warning(ui, sentence);
                }
            }
        });
    }

    /// Made anew when the draft has changed.
    fn text(&mut self, state: &AppState) -> &Result<String, String> {
        let draft = &state.train.setup.draft;
        if self.made.as_ref().is_none_or(|(of, _)| of != draft) {
            self.made = None;
        }
        let make = || (draft.clone(), config(state).and_then(|config| text_of(&config)));
        &self.made.get_or_insert_with(make).1
    }
}

fn command_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    match command(state) {
        Ok(command) => {
            ui.add(Label::new(RichText::new(&command).monospace()).wrap().selectable(true));
            if ui.button("Copy command").clicked() {
                commands.send(Command::Copy(command));
            }
        }
        Err(sentence) => {
            warning(ui, &sentence);
        }
    }
    if state.train.setup.saved.is_none() {
        caption(
            ui,
            "The window writes this file when it starts the run; saved elsewhere, it runs from there.",
        );
    }
}

fn file_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    let setup = &state.train.setup;
    let label = ui.label("File of settings");
    let mut path = setup.file.to_string_lossy().into_owned();
    let edit = TextEdit::singleline(&mut path)
        .id(Id::unique("train settings file"))
        .hint_text("Empty: a dialog asks")
        .desired_width(f32::INFINITY);
    if ui.add(edit).labelled_by(label.id).changed() {
        commands.train(TrainCommand::Setup(SetupCommand::File(path.into())));
    }
    ui.horizontal(|ui| {
        let is_free = !setup.is_picking;
        if ui.add_enabled(is_free, Button::new("Open…")).clicked() {
            commands.train(TrainCommand::Setup(SetupCommand::Open));
        }
        if ui.add_enabled(is_free && config(state).is_ok(), Button::new("Save…")).clicked() {
            commands.train(TrainCommand::Setup(SetupCommand::Save));
        }
    });
    if let Some(saved) = &setup.saved {
        caption(ui, format!("Saved: {}", saved.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_pasted_into_a_shell() {
        let command = |file: &str| command_of(PROGRAM, Path::new(file), Path::new("/runs/a")).unwrap();
        assert_eq!(command("/runs/a/asked.toml"), "reinpath-train run /runs/a/asked.toml --run /runs/a");
        let strange = command("/my runs/it's.toml");
        let words = shlex::split(&strange).unwrap();
        assert_eq!(words, ["reinpath-train", "run", "/my runs/it's.toml", "--run", "/runs/a"]);
    }

    #[test]
    fn the_toml_holds_every_setting_and_reads_back() {
        let settings = serde_json::json!({ "name": "a", "seed": 3, "base": "b", "grpo": { "data": [], "optimisation": {} } });
        let config: RunConfig = serde_json::from_value(settings).unwrap();
        let text = text_of(&config).unwrap();
        assert_eq!(toml::from_str::<RunConfig>(&text).unwrap(), config);
        assert!(text.contains("repetition_words = 3") && text.contains("[checkpoints]"), "{text}");
    }
}
