//! Draws the setup: presets, the form, the run's folder, what it stands for, and what is still wrong with it.

use egui::{Button, Id, ScrollArea, TextEdit, Ui};

use super::super::super::command::{CommandSender, keys_of};
use super::super::super::state::AppState;
use super::super::super::widgets::{caption, main_button, problem_ui, title, warning};
use super::super::TrainCommand;
use super::demo_rows::DemoRows;
use super::form::{Form, FormMemory};
use super::toml_view::TomlView;
use super::{Pick, SetupCommand, folder};

/// What help and fault take below the form: always the same, so that nothing moves when the focus does.
const HELP_HEIGHT: f32 = 72.0;
const LEAST_HEIGHT: f32 = 80.0;

/// What is being typed, and what drawing keeps from frame to frame.
#[derive(Default)]
pub(in crate::window::train) struct SetupPanel {
    form: FormMemory,
    toml: TomlView,
}

impl SetupPanel {
    /// Draws it.
    pub(in crate::window::train) fn ui(&mut self, ui: &mut Ui, state: &AppState, commands: &CommandSender) {
        let bottom = ui.available_height();
        let top = ui.cursor().top();
        header_ui(ui, state, commands);
        let used = ui.cursor().top() - top;
        let most = (bottom - used - HELP_HEIGHT).max(LEAST_HEIGHT);
        self.form.help = None;
        let scroll =
            ScrollArea::vertical().id_salt("train setup").max_height(most).auto_shrink([false, true]);
        scroll.show(ui, |ui| {
            messages_ui(ui, state, commands);
            if state.train.setup.draft.is_object() {
                Form { state, commands, memory: &mut self.form }.ui(ui);
                folder_ui(ui, state, commands);
                self.toml.ui(ui, state, commands);
            } else {
                nothing_ui(ui, state, commands);
            }
        });
        self.foot_ui(ui, state);
    }

    /// What is still wrong, and what the setting with the focus means.
    fn foot_ui(&self, ui: &mut Ui, state: &AppState) {
        let area = ScrollArea::vertical().id_salt("train setup help").auto_shrink(false);
        area.max_height(HELP_HEIGHT).show(ui, |ui| {
            if let (Some(fault), true) = (&state.train.setup.fault, state.train.setup.draft.is_object()) {
                warning(ui, fault);
            }
            if let Some(help) = &self.form.help {
                caption(ui, help.as_str());
            }
        });
    }
}

fn send(commands: &CommandSender, wish: SetupCommand) {
    commands.train(TrainCommand::Setup(wish));
}

fn header_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    let setup = &state.train.setup;
    ui.horizontal(|ui| {
        title(ui, "Set up");
        ui.menu_button("Presets", |ui| presets_ui(ui, state, commands));
        let undo = ui.add_enabled(!setup.undo.is_empty(), Button::new("Undo"));
        if undo.on_hover_text(keys_of(ui.ctx(), "Undo setting")).clicked() {
            send(commands, SetupCommand::Undo);
        }
        let redo = ui.add_enabled(!setup.redo.is_empty(), Button::new("Redo"));
        if redo.on_hover_text(keys_of(ui.ctx(), "Redo setting")).clicked() {
            send(commands, SetupCommand::Redo);
        }
    });
}

fn presets_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    let presets = &state.train.setup.presets;
    if presets.is_empty() {
        caption(ui, "No preset is beside this program.");
    }
    for preset in presets {
        let button = ui.button(preset.title());
        if button.on_hover_text(preset.about.as_str()).clicked() {
            send(commands, SetupCommand::UsePreset(preset.name.clone()));
            ui.close();
        }
    }
    if ui.button("Empty settings").clicked() {
        send(commands, SetupCommand::Begin);
        ui.close();
    }
}

/// Before there are any settings.
fn nothing_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    let presets = &state.train.setup.presets;
    if presets.is_empty() {
        ui.label("There are no settings yet, and no preset is beside this program.");
    } else {
        ui.label("There are no settings yet: choose a preset above, or begin with empty ones.");
    }
    let button = main_button(ui, "Begin with empty settings");
    if ui.add(button).clicked() {
        send(commands, SetupCommand::Begin);
    }
}

/// What went wrong when settings were read, and how far the demo's rows are.
fn messages_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    let setup = &state.train.setup;
    if let Some(sentence) = &setup.recent_fault {
        problem_ui(ui, sentence, |ui| {
            if ui.button("Dismiss").clicked() {
                send(commands, SetupCommand::DismissFault);
            }
        });
    }
    let make = |ui: &mut Ui, words: &str| {
        if ui.button(words).clicked() {
            send(commands, SetupCommand::MakeDemoRows);
        }
    };
    match &setup.demo_rows {
        DemoRows::NotNeeded => {}
        DemoRows::There => {
            caption(ui, "The demo rows are there: phantom tissue, drawn by this program.");
        }
        DemoRows::Missing => {
            warning(ui, "The demo rows, which these settings name, are not there yet.");
            make(ui, "Draw the demo rows");
        }
        DemoRows::Making(what) => {
            ui.horizontal(|ui| {
                ui.spinner();
                caption(ui, format!("{what} …"));
            });
        }
        DemoRows::Failed(sentence) => problem_ui(ui, sentence, |ui| make(ui, "Try again")),
    }
}

fn folder_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    let setup = &state.train.setup;
    let label = ui.label("Run folder");
    let mut text =
        setup.folder.as_ref().map(|folder| folder.to_string_lossy().into_owned()).unwrap_or_default();
    let named = folder(state);
    let hint = named.as_ref().map(|folder| folder.display().to_string()).unwrap_or_default();
    let edit = TextEdit::singleline(&mut text)
        .id(Id::unique("train run folder"))
        .hint_text(hint)
        .desired_width(f32::INFINITY);
    if ui.add(edit).labelled_by(label.id).changed() {
        let folder = (!text.is_empty()).then(|| text.into());
        send(commands, SetupCommand::Folder(folder));
    }
    if let Err(sentence) = &named {
        warning(ui, sentence);
    }
    let choose = ui.add_enabled(!setup.is_picking, Button::new("Choose…"));
    if choose.accessible_name("Choose the run folder").clicked() {
        send(commands, SetupCommand::Pick(Pick::RunFolder));
    }
}

#[cfg(test)]
mod tests;
