//! A control for each kind of setting.

use egui::{Button, ComboBox, Id, Response, TextEdit, Ui};
use reinpath_training::machine::MachineSample;
use serde_json::Value;

use super::super::super::TrainCommand;
use super::super::field::{Field, FieldKind};
use super::super::{Pick, SetupCommand};
use super::{Form, LEAST_WIDTH};
use crate::window::widgets::tick_box;

/// The button that opens a dialog.
const CHOOSE_WIDTH: f32 = 78.0;

/// Of the text that is typed for a setting: the same wherever the setting is drawn, so that it keeps the focus.
pub(super) fn id(key: &str) -> Id {
    Id::unique(("train setting", key))
}

impl Form<'_> {
    pub(super) fn control_ui(&mut self, ui: &mut Ui, field: &Field, key: &str, width: f32) -> Response {
        match &field.inner().kind {
            FieldKind::Bool => self.switch_ui(ui, field, key),
            FieldKind::Integer { .. } | FieldKind::Number => self.number_ui(ui, field, key, width),
            FieldKind::Path { is_folder } => self.path_ui(ui, field, key, *is_folder, width),
            FieldKind::Choice(choices) => self.choice_ui(ui, field, choices, key, width),
            FieldKind::Text => match suggestions(key, self.state.train.runs.machine.as_ref()) {
                words if words.is_empty() => self.text_ui(ui, field, key, width),
                words => {
                    let text = self.text_ui(ui, field, key, (width - CHOOSE_WIDTH).max(LEAST_WIDTH));
                    self.suggestions_ui(ui, key, &words);
                    text
                }
            },
            // Those have lines of their own.
            FieldKind::Optional(_) | FieldKind::Group(_) | FieldKind::List(_) => ui.label(""),
        }
    }

    fn switch_ui(&mut self, ui: &mut Ui, field: &Field, key: &str) -> Response {
        let mut on = self.value(key).or(field.default.as_ref()).and_then(Value::as_bool).unwrap_or_default();
        let response = ui.add(tick_box(&mut on, ()));
        if response.changed() {
            self.change(key, Value::Bool(on));
        }
        response
    }

    fn text_ui(&mut self, ui: &mut Ui, field: &Field, key: &str, width: f32) -> Response {
        let value = self.value(key).or(field.default.as_ref());
        let mut text = value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let is_optional = matches!(field.kind, FieldKind::Optional(_));
        let hint = if is_optional { "none" } else { "" };
        let edit = TextEdit::singleline(&mut text).id(id(key)).desired_width(width).hint_text(hint);
        let response = ui.add(edit);
        if response.changed() {
            let is_none = is_optional && text.is_empty();
            self.change(key, if is_none { Value::Null } else { Value::String(text) });
        }
        response
    }

    fn path_ui(&mut self, ui: &mut Ui, field: &Field, key: &str, is_folder: bool, width: f32) -> Response {
        let response = self.text_ui(ui, field, key, (width - CHOOSE_WIDTH).max(LEAST_WIDTH));
        let choose = ui.add_enabled(!self.state.train.setup.is_picking, Button::new("Choose…"));
        if choose.accessible_name(format!("Choose {key}")).clicked() {
            let pick = Pick::Setting { key: key.to_owned(), is_folder };
            self.commands.train(TrainCommand::Setup(SetupCommand::Pick(pick)));
        }
        response
    }

    fn choice_ui(
        &mut self,
        ui: &mut Ui,
        field: &Field,
        choices: &[(String, String)],
        key: &str,
        width: f32,
    ) -> Response {
        let value = self.value(key).or(field.default.as_ref());
        let current = value.and_then(Value::as_str).unwrap_or_default();
        let list = ComboBox::from_id_salt(("train choice", key)).selected_text(current.to_owned());
        let shown = list.width(width.min(200.0)).show_ui(ui, |ui| {
            for (word, help) in choices {
                let mut row = ui.selectable_label(word == current, word.as_str());
                if !help.is_empty() {
                    row = row.on_hover_text(help.as_str());
                }
                if row.clicked() {
                    self.change(key, Value::String(word.clone()));
                }
            }
        });
        shown.response
    }

    fn suggestions_ui(&self, ui: &mut Ui, key: &str, words: &[(String, String)]) {
        let menu = ui.menu_button("Choose", |ui| {
            for (value, meaning) in words {
                if ui.button(format!("{value}   {meaning}")).accessible_name(value.as_str()).clicked() {
                    self.change(key, Value::String(value.clone()));
                    ui.close();
                }
            }
        });
        menu.response.accessible_name(format!("Choose {key}"));
    }
}

/// Words that a text is most often one of, each with what it means.
fn suggestions(key: &str, machine: Option<&MachineSample>) -> Vec<(String, String)> {
    let pair = |word: &str, meaning: &str| (word.to_owned(), meaning.to_owned());
    match key {
        "compute.device" => {
            let mut devices = vec![pair("cpu", "the processor")];
            let gpus = machine.map(|machine| machine.gpus.as_slice()).unwrap_or_default();
            devices.extend(gpus.iter().map(|gpu| (format!("cuda:{}", gpu.index), gpu.name.clone())));
            devices
        }
        "compute.precision" => vec![
            pair("f32", "4 bytes a weight"),
            pair("bf16", "2 bytes, the range of f32"),
            pair("f16", "2 bytes, finer and narrower"),
        ],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use reinpath_training::machine::GpuSample;

    use super::super::super::field;
    use super::*;

    #[test]
    fn the_devices_offered_are_those_of_the_machine() {
        let names = |machine: Option<&MachineSample>| -> Vec<String> {
            suggestions("compute.device", machine).into_iter().map(|(word, _)| word).collect()
        };
        assert_eq!(names(None), ["cpu"]);
        let gpu = GpuSample { index: 1, name: "GPU".to_owned(), ..GpuSample::default() };
        let machine = MachineSample { gpus: vec![gpu], ..MachineSample::default() };
        assert_eq!(names(Some(&machine)), ["cpu", "cuda:1"]);
        assert!(suggestions("name", Some(&machine)).is_empty());
    }

    #[test]
    fn what_is_suggested_is_a_setting() {
        for key in ["compute.device", "compute.precision"] {
            assert!(matches!(field::find(key).unwrap().kind, FieldKind::Text), "{key}");
        }
    }
}
