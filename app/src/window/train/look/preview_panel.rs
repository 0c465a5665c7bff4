//! A row as the model gets it, in a window of its own: what each encoder receives, the prompt, the answer, the row as it is written.

use egui::{Button, CollapsingHeader, Image, Key, RichText, ScrollArea, TextEdit, Ui, vec2};

use super::{EncoderPicture, LookCommand, PreviewState, RowView};
use crate::window::command::{Command, CommandSender};
use crate::window::train::TrainCommand;
use crate::window::train::staged;
use crate::window::widgets::{caption, dialog, problem_ui, title, warning};

/// The side at which an encoder's picture is shown, in points.
const PICTURE: f32 = 200.0;

/// The id that is being typed.
#[derive(Default)]
pub(super) struct PreviewPanel {
    wanted: String,
}

impl PreviewPanel {
    /// Draws it.
    pub(super) fn ui(&mut self, ui: &Ui, preview: &PreviewState, commands: &CommandSender) {
        let mut is_open = true;
        let window = dialog(ui, "Rows as the model gets them", "row preview", &mut is_open);
        let window = window.default_size([640.0, 620.0]).collapsible(false);
        window.show(ui.ctx(), |ui| {
            self.head_ui(ui, preview, commands);
            if let Some(fault) = &preview.fault {
                problem_ui(ui, fault, |ui| {
                    if ui.button("Copy message").clicked() {
                        commands.send(Command::Copy(fault.clone()));
                    }
                });
            }
            ScrollArea::vertical().id_salt("row preview").auto_shrink(false).show(ui, |ui| {
                match &preview.view {
                    Some(view) => view_ui(ui, view),
                    None if preview.is_running => {
                        caption(ui, "Reading the row.");
                    }
                    None => {
                        caption(ui, "There is no row to show.");
                    }
                }
            });
        });
        if !is_open {
            commands.train(TrainCommand::Look(LookCommand::ClosePreview));
        }
    }

    fn head_ui(&mut self, ui: &mut Ui, preview: &PreviewState, commands: &CommandSender) {
        let send = |command| commands.train(TrainCommand::Look(command));
        caption(ui, preview.data.display().to_string());
        let view = preview.view.as_ref();
        let place = view.and_then(|view| view.place.zip(view.index.as_ref().map(|index| index.len())));
        ui.horizontal_wrapped(|ui| {
            let has_previous = place.is_some_and(|(at, _)| at > 0);
            let previous = ui.add_enabled(has_previous, Button::new("Previous"));
            if previous.accessible_name("Previous row").clicked() {
                send(LookCommand::PreviewNext(-1));
            }
            let has_next = place.is_some_and(|(at, all)| at + 1 < all);
            let next = ui.add_enabled(has_next, Button::new("Next"));
            if next.accessible_name("Next row").clicked() {
                send(LookCommand::PreviewNext(1));
            }
            if let Some((at, all)) = place {
                ui.label(format!("Row {} of {all}", at + 1));
            }
            let label = ui.label("Id");
            let field = TextEdit::singleline(&mut self.wanted).id_salt("row id").desired_width(160.0);
            let field = ui.add(field).labelled_by(label.id);
            let is_entered = field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
            let is_typed = !self.wanted.trim().is_empty();
            let show =
                ui.add_enabled(is_typed, Button::new("Show")).accessible_name("Show the row with this id");
            if is_typed && (is_entered || show.clicked()) {
                let rows = vec![self.wanted.trim().to_owned()];
                send(LookCommand::Preview { data: preview.data.clone(), rows });
            }
            if preview.is_running && preview.view.is_some() {
                caption(ui, "Reading the row.");
            }
        });
    }
}

fn view_ui(ui: &mut Ui, view: &RowView) {
    let row = &view.row;
    title(ui, &row.id);
    for sentence in &row.warnings {
        warning(ui, sentence);
    }
    ui.horizontal_wrapped(|ui| {
        for picture in &view.pictures {
            picture_ui(ui, picture);
        }
    });
    let [images, tokens, channels] = row.features;
    caption(
        ui,
        format!(
            "{} tokens of prompt and {} of answer; the model reads {}. Images: {images}, each {tokens} tokens of \
             {channels} channels.",
            row.prompt_tokens, row.answer_tokens, row.limit
        ),
    );
    title(ui, "Prompt");
    ui.label(RichText::new(row.prompt.trim_end()).monospace());
    title(ui, "Answer to learn from");
    match &row.answer {
        Some(answer) => {
            staged::ui(ui, &staged::spans(answer));
        }
        None => {
            caption(ui, "The row has none.");
        }
    }
    if let Some(label) = &row.label {
        caption(ui, format!("Right answer: {label}"));
    }
    if !view.source.is_empty() {
        CollapsingHeader::new("The row as it is written").id_salt("row source").show(ui, |ui| {
            ui.label(RichText::new(&view.source).monospace());
        });
    }
}

fn picture_ui(ui: &mut Ui, picture: &EncoderPicture) {
    ui.vertical(|ui| {
        ui.set_max_width(PICTURE);
        match &picture.picture {
            Ok(shown) => {
                let size = vec2(PICTURE, PICTURE / shown.aspect());
                let image = Image::from_texture(&shown.texture).fit_to_exact_size(size);
                ui.add(image.alt_text(format!("What the encoder receives: {}", picture.words)));
            }
            Err(sentence) => {
                warning(ui, sentence);
            }
        }
        caption(ui, picture.words.clone());
    });
}
