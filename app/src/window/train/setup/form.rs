//! The form: every setting of the schema with a control of its kind, its help, and whether it was changed. It draws what is in the
//! draft and sends wishes; all it keeps is what is being typed.

use egui::{Align, Button, CollapsingHeader, Frame, Label, Layout, Margin, Response, TextEdit, Ui, vec2};
use serde_json::Value;

use super::super::super::command::CommandSender;
use super::super::super::state::AppState;
use super::super::super::widgets::{caption, problem_ui, tick_box};
use super::super::TrainCommand;
use super::field::{self, Field, FieldKind, joined};
use super::{SetupCommand, data_source, draft};

mod control;
mod number;
mod search;

use self::number::TypedNumbers;

/// Points.
const LABEL_WIDTH: f32 = 124.0;
/// What the word "changed" and the button beside it take.
const CHANGED_WIDTH: f32 = 118.0;
/// What a field takes beside the width of its text.
const FRAME_WIDTH: f32 = 12.0;
const LEAST_WIDTH: f32 = 60.0;

/// What the form keeps from frame to frame.
#[derive(Default)]
pub(super) struct FormMemory {
    pub(super) search: String,
    numbers: TypedNumbers,
    /// Help of the setting that has the keyboard's focus.
    pub(super) help: Option<String>,
}

/// The form while it is drawn.
pub(super) struct Form<'a> {
    pub(super) state: &'a AppState,
    pub(super) commands: &'a CommandSender,
    pub(super) memory: &'a mut FormMemory,
}

impl<'a> Form<'a> {
    /// Draws all settings, or those that are searched for.
    pub(super) fn ui(&mut self, ui: &mut Ui) {
        let root = match field::root() {
            Ok(root) => root,
            Err(sentence) => {
                problem_ui(ui, sentence, |_| {});
                return;
            }
        };
        self.search_ui(ui);
        if self.memory.search.trim().is_empty() {
            self.group_ui(ui, root.children(), "");
        } else {
            self.found_ui(ui, root);
        }
    }

    /// What the draft says of a setting.
    fn value(&self, key: &str) -> Option<&'a Value> {
        let state: &'a AppState = self.state;
        draft::get(&state.train.setup.draft, key)
    }

    fn change(&self, key: &str, value: Value) {
        self.commands.train(TrainCommand::Setup(SetupCommand::Change(key.to_owned(), value)));
    }

    fn group_ui(&mut self, ui: &mut Ui, fields: &[Field], path: &str) {
        for field in fields {
            self.field_ui(ui, field, &joined(path, &field.key));
        }
    }

    fn field_ui(&mut self, ui: &mut Ui, field: &Field, key: &str) {
        match &field.inner().kind {
            FieldKind::Group(fields) if matches!(field.kind, FieldKind::Optional(_)) => {
                self.stage_ui(ui, field, fields, key);
            }
            FieldKind::Group(fields) => self.folded_ui(ui, field, fields, key, &field.title),
            FieldKind::List(element) => match &element.kind {
                FieldKind::Group(fields) => self.sources_ui(ui, field, element, fields, key),
                FieldKind::Choice(choices) => self.choices_ui(ui, field, choices, key),
                _ => self.words_ui(ui, field, key),
            },
            _ => self.row_ui(ui, field, key),
        }
    }

    /// A group that may be left out, as a stage: a box to tick, and its settings below it.
    fn stage_ui(&mut self, ui: &mut Ui, field: &Field, fields: &[Field], key: &str) {
        let is_on = self.value(key).is_some_and(|value| !value.is_null());
        let mut on = is_on;
        let box_to_tick = ui.add(tick_box(&mut on, field.title.as_str()));
        let box_to_tick = self.explained(box_to_tick, field);
        if box_to_tick.changed() {
            self.change(key, if on { field.inner().start() } else { Value::Null });
        }
        if is_on {
            let title = format!("{} settings", field.title);
            self.folded_ui(ui, field, fields, key, &title);
        }
    }

    fn folded_ui(&mut self, ui: &mut Ui, field: &Field, fields: &[Field], key: &str, title: &str) {
        let title = match self.changes(fields, key) {
            0 => title.to_owned(),
            count => format!("{title} ({count} changed)"),
        };
        let shown = CollapsingHeader::new(title).id_salt(("train group", key)).show(ui, |ui| {
            self.group_ui(ui, fields, key);
        });
        if !field.help.is_empty() {
            shown.header_response.on_hover_text(&field.help);
        }
    }

    /// Settings that differ from their defaults.
    fn changes(&self, fields: &[Field], path: &str) -> usize {
        let count = |field: &Field| {
            let key = joined(path, &field.key);
            match &field.inner().kind {
                FieldKind::Group(fields) => self.changes(fields, &key),
                _ => usize::from(field.is_changed(self.value(&key))),
            }
        };
        fields.iter().map(count).sum()
    }

    /// A setting in one line: its name, its control, and whether it was changed.
    fn row_ui(&mut self, ui: &mut Ui, field: &Field, key: &str) {
        let is_changed = field.is_changed(self.value(key));
        ui.horizontal(|ui| {
            name_ui(ui, field);
            let taken = if is_changed { CHANGED_WIDTH } else { 0.0 };
            let width = (ui.available_width() - taken - FRAME_WIDTH).max(LEAST_WIDTH);
            let control = self.control_ui(ui, field, key, width);
            let control = control.accessible_name(format!("{} ({key})", field.title));
            self.explained(control, field);
            if is_changed {
                self.changed_ui(ui, key);
            }
        });
        if key == "base" {
            super::base::packages_ui(ui, self.state, self.commands);
        }
    }

    fn changed_ui(&self, ui: &mut Ui, key: &str) {
        caption(ui, "changed");
        if ui.small_button("Reset").accessible_name(format!("Reset {key}")).clicked() {
            self.change(key, Value::Null);
        }
    }

    /// Help as hover text, and for who goes by the keyboard below the form.
    fn explained(&mut self, response: Response, field: &Field) -> Response {
        let help = field.help_with_default();
        if help.is_empty() {
            return response;
        }
        if response.has_focus() {
            self.memory.help = Some(help.clone());
        }
        response.on_hover_text(help)
    }

    /// A list of data sets.
    fn sources_ui(&mut self, ui: &mut Ui, field: &Field, element: &Field, fields: &[Field], key: &str) {
        let heading = ui.label(field.title.as_str());
        if !field.help.is_empty() {
            heading.on_hover_text(&field.help);
        }
        let sources = self.value(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for (at, source) in sources.iter().enumerate() {
            let key = joined(key, &at.to_string());
            let border = Frame::group(ui.style()).inner_margin(Margin::same(6));
            border.show(ui, |ui| {
                caption(ui, data_source::heading(at, source));
                let (named, others): (Vec<&Field>, Vec<&Field>) =
                    fields.iter().partition(|field| field.is_required);
                for field in named {
                    self.field_ui(ui, field, &joined(&key, &field.key));
                }
                CollapsingHeader::new("Which rows").id_salt(("train rows", &key)).show(ui, |ui| {
                    for field in others {
                        self.field_ui(ui, field, &joined(&key, &field.key));
                    }
                });
                ui.horizontal(|ui| {
                    data_source::buttons_ui(ui, &key, source, self.commands);
                    let remove = ui.button("Remove").accessible_name(format!("Remove {key}"));
                    if remove.clicked() {
                        self.change(&key, Value::Null);
                    }
                });
            });
        }
        let add = ui.button("Add rows").accessible_name(format!("Add rows ({key})"));
        if add.clicked() {
            self.add(key, element.start());
        }
    }

    /// Adds to a list, which need not be there yet.
    fn add(&self, key: &str, value: Value) {
        match self.value(key) {
            Some(Value::Array(list)) => self.change(&joined(key, &list.len().to_string()), value),
            _ => self.change(key, Value::Array(vec![value])),
        }
    }

    /// Words of a list that each may be in it or not.
    fn choices_ui(&mut self, ui: &mut Ui, field: &Field, choices: &[(String, String)], key: &str) {
        let chosen = self.value(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let has = |word: &str| chosen.iter().any(|value| value.as_str() == Some(word));
        ui.horizontal_wrapped(|ui| {
            name_ui(ui, field);
            for (word, help) in choices {
                let mut on = has(word);
                let tick = ui.add(tick_box(&mut on, word.as_str()));
                let tick = tick.accessible_name(format!("{word} ({key})"));
                let is_ticked = tick.changed();
                self.explained(tick, field);
                if is_ticked {
                    let is_in = |other: &&String| if *other == word { on } else { has(other) };
                    let all = choices.iter().map(|(word, _)| word).filter(is_in);
                    self.change(key, all.map(|word| Value::String(word.clone())).collect());
                }
                if !help.is_empty() {
                    caption(ui, help.as_str());
                }
            }
        });
    }

    /// A list of words of the user's.
    fn words_ui(&mut self, ui: &mut Ui, field: &Field, key: &str) {
        let words = self.value(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        ui.horizontal(|ui| {
            name_ui(ui, field);
            let add = Button::new(format!("Add to {}", field.title.to_lowercase()));
            let add = ui.add(add).accessible_name(format!("Add to {key}"));
            if self.explained(add, field).clicked() {
                self.add(key, Value::String(String::new()));
            }
        });
        for (at, word) in words.iter().enumerate() {
            let key = joined(key, &at.to_string());
            ui.horizontal(|ui| {
                let mut text = word.as_str().unwrap_or_default().to_owned();
                let width = (ui.available_width() - 34.0 - FRAME_WIDTH).max(LEAST_WIDTH);
                let edit = TextEdit::singleline(&mut text).id(control::id(&key)).desired_width(width);
                if ui.add(edit).accessible_name(format!("{} ({key})", field.title)).changed() {
                    self.change(&key, Value::String(text));
                }
                if ui.button("×").accessible_name(format!("Remove {key}")).clicked() {
                    self.change(&key, Value::Null);
                }
            });
        }
    }
}

fn name_ui(ui: &mut Ui, field: &Field) {
    let size = vec2(LABEL_WIDTH, ui.spacing().interact_size.y);
    ui.allocate_ui_with_layout(size, Layout::left_to_right(Align::Center), |ui| {
        ui.set_min_width(LABEL_WIDTH);
        ui.add(Label::new(field.title.as_str()).truncate());
    });
}
