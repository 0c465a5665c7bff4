//! Buttons above the list of cases, and the window in which form, answers and place of an export are chosen.

use egui::{Button, TextEdit, Ui};

use super::update::selection;
use super::{ExportCommand, Which};
use crate::review::export::Form;
use crate::window::command::{CommandSender, keys_of};
use crate::window::review::ReviewCommand;
use crate::window::state::AppState;
use crate::window::widgets::{caption, dialog, main_button, tick_box, title, toggle};

/// Points.
const WIDTH: f32 = 460.0;

/// Nothing is typed here that the state does not have.
#[derive(Default)]
pub(in crate::window) struct ExportPanel {}

fn send(commands: &CommandSender, wish: ExportCommand) {
    commands.review(ReviewCommand::Export(wish));
}

impl ExportPanel {
    /// Above the list of cases: the buttons, and what the last export came to.
    #[expect(clippy::unused_self, reason = "as the other parts' panels are called")]
    pub(in crate::window) fn ui(&mut self, ui: &mut Ui, state: &AppState, commands: &CommandSender) {
        let is_free = state.review.export.running.is_none();
        ui.horizontal_wrapped(|ui| {
            let keys = keys_of(ui.ctx(), "Export reviews…");
            if ui.button("Export…").on_hover_text(keys).clicked() {
                send(commands, ExportCommand::Toggle);
            }
            let keys = keys_of(ui.ctx(), "Teach from these reviews");
            let tip = format!(
                "Writes training rows of every answer that was accepted or corrected to the end, and opens the training mode with them. {keys}"
            );
            let teach = ui.add_enabled(is_free, Button::new("Teach from these reviews"));
            if teach.on_hover_text(tip).clicked() {
                send(commands, ExportCommand::Teach);
            }
        });
        if !state.review.export.is_open {
            progress_ui(ui, state, commands);
        }
    }

    /// The window in which form, selection and place are chosen.
    #[expect(clippy::unused_self, reason = "as the other parts' panels are called")]
    pub(in crate::window) fn over_all(&mut self, ui: &Ui, state: &AppState, commands: &CommandSender) {
        if !state.review.export.is_open {
            return;
        }
        let mut is_open = true;
        let window = dialog(ui, "Export reviews", "export reviews", &mut is_open);
        window.default_width(WIDTH).collapsible(false).resizable(false).show(ui.ctx(), |ui| {
            ui.set_max_width(WIDTH);
            which_ui(ui, state, commands);
            form_ui(ui, state, commands);
            place_ui(ui, state, commands);
            progress_ui(ui, state, commands);
        });
        if !is_open {
            send(commands, ExportCommand::Toggle);
        }
    }
}

fn which_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    title(ui, "What");
    ui.horizontal_wrapped(|ui| {
        for (which, words) in [
            (Which::Answer, "This answer"),
            (Which::Case, "This case"),
            (Which::Reviewed, "Everything reviewed"),
        ] {
            let is_there = selection(state, which).is_some();
            let is_chosen = state.review.export.which == which;
            let button = ui.add_enabled_ui(is_there, |ui| toggle(ui, is_chosen, words)).inner;
            if button.clicked() {
                send(commands, ExportCommand::Which(which));
            }
        }
    });
}

fn form_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    let export = &state.review.export;
    title(ui, "As");
    ui.horizontal_wrapped(|ui| {
        for form in Form::ALL {
            if toggle(ui, export.form == form, form.title()).clicked() {
                send(commands, ExportCommand::Form(form));
            }
        }
    });
    caption(ui, about(export.form));
    let mut tells_names = export.tells_names;
    if ui.add(tick_box(&mut tells_names, "Tell the names of slides and reviewers")).changed() {
        send(commands, ExportCommand::TellNames(tells_names));
    }
    let names = if export.tells_names {
        "The export will say what slides are called, where they lie, and who judged."
    } else {
        "Slides and reviewers have numbers. What you typed yourself is exported as you typed it."
    };
    caption(ui, names);
}

/// What a form is for.
fn about(form: Form) -> &'static str {
    match form {
        Form::Html => "One file for any browser: patches with scale bar, stages, verdicts, stamp.",
        Form::Pdf => "The same on pages, to print and to keep.",
        Form::Json => "Everything that is known, for programs; its schema comes with the program.",
        Form::Csv => "A line for each sentence, for spreadsheets.",
        Form::GeoJson => "The patches as annotations, with the answers as their properties.",
        Form::Rows => "A folder with rows and images, for the cold start, GRPO and preferences.",
    }
}

fn place_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    let export = &state.review.export;
    title(ui, "To");
    ui.horizontal(|ui| {
        let mut path = export.to.to_string_lossy().into_owned();
        let field = TextEdit::singleline(&mut path).desired_width(WIDTH - 90.0).hint_text("Path");
        if ui.add(field).accessible_name("Path of the export").changed() {
            send(commands, ExportCommand::To(path.into()));
        }
        let pick = ui.add_enabled(!export.is_picking, Button::new("Pick…"));
        if pick.accessible_name("Pick the path of the export").clicked() {
            send(commands, ExportCommand::Pick(export.form));
        }
    });
    let chosen = selection(state, export.which);
    let is_ready = chosen.is_some() && export.running.is_none() && !export.to.as_os_str().is_empty();
    let write = ui.add_enabled(is_ready, main_button(ui, "Write"));
    if let (true, Some(chosen)) = (write.accessible_name("Write the export").clicked(), chosen) {
        send(commands, ExportCommand::Export(export.form, chosen));
    }
}

/// What is being written, or what was.
fn progress_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    let export = &state.review.export;
    if let Some(running) = &export.running {
        ui.horizontal(|ui| {
            ui.spinner();
            caption(ui, running);
        });
    }
    if let Some(news) = &export.news {
        ui.horizontal_wrapped(|ui| {
            caption(ui, news);
            if ui.small_button("Dismiss").accessible_name("Dismiss what the export came to").clicked() {
                send(commands, ExportCommand::DismissNews);
            }
        });
    }
}
