//! A data set among the settings: what it is in a few words, and looking at it before a run does.

use std::path::Path;

use egui::{Button, Ui};
use serde_json::Value;

use super::super::super::command::CommandSender;
use super::super::TrainCommand;
use super::super::look::LookCommand;

/// Its heading: its number and the end of its path.
pub(super) fn heading(at: usize, source: &Value) -> String {
    let folder = source.get("folder").and_then(Value::as_str).unwrap_or_default();
    let name = Path::new(folder).file_name().map(|name| name.to_string_lossy().into_owned());
    let split = source.get("split").and_then(Value::as_str).unwrap_or("train");
    match name {
        Some(name) => format!("{} · {name} · {split}", at + 1),
        None => format!("{} · no folder yet", at + 1),
    }
}

/// Looks at its rows as the model gets them, and looks all of it through.
pub(super) fn buttons_ui(ui: &mut Ui, key: &str, source: &Value, commands: &CommandSender) {
    let folder = source.get("folder").and_then(Value::as_str).unwrap_or_default();
    let is_named = !folder.is_empty();
    let preview = ui.add_enabled(is_named, Button::new("Preview rows"));
    let preview = preview.accessible_name(format!("Preview rows ({key})"));
    if preview.on_disabled_hover_text("Name a folder first.").clicked() {
        let wish = LookCommand::Preview { data: folder.into(), rows: Vec::new() };
        commands.train(TrainCommand::Look(wish));
    }
    let check = ui.add_enabled(is_named, Button::new("Check"));
    let check = check.accessible_name(format!("Check ({key})"));
    if check.on_disabled_hover_text("Name a folder first.").clicked() {
        commands.train(TrainCommand::Look(LookCommand::Check { data: folder.into() }));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_data_set_is_headed_by_its_folder_and_part() {
        let source = json!({ "folder": "/data/demo-rows", "split": "test" });
        assert_eq!(heading(0, &source), "1 · demo-rows · test");
        assert_eq!(heading(2, &json!({ "folder": "rows/own.jsonl" })), "3 · own.jsonl · train");
        assert_eq!(heading(1, &json!({ "folder": "" })), "2 · no folder yet");
    }
}
