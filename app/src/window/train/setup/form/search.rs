//! Searching for a setting by its name or its help.

use egui::{TextEdit, Ui};
use serde_json::Value;

use super::super::super::super::widgets::caption;
use super::super::field::{Field, FieldKind, joined};
use super::{Form, LEAST_WIDTH, control};

impl Form<'_> {
    pub(super) fn search_ui(&mut self, ui: &mut Ui) {
        ui.horizontal(|ui| {
            let label = ui.label("Search settings");
            let edit = TextEdit::singleline(&mut self.memory.search)
                .id(control::id("search"))
                .hint_text("kl, learning rate, clip …")
                .desired_width((ui.available_width() - 60.0).max(LEAST_WIDTH));
            ui.add(edit).labelled_by(label.id);
            if !self.memory.search.is_empty() && ui.small_button("Clear").clicked() {
                self.memory.search.clear();
            }
        });
    }

    /// The settings that are searched for, each with the path to it.
    pub(super) fn found_ui(&mut self, ui: &mut Ui, root: &Field) {
        let searched = self.memory.search.trim().to_lowercase();
        let mut found = Vec::new();
        find(root, "", &searched, &|key| self.value(key), &mut found);
        if found.is_empty() {
            caption(ui, "No setting of the stages that are ticked has this in its name or its help.");
        }
        for (key, field) in found {
            caption(ui, key.as_str());
            self.field_ui(ui, field, &key);
        }
    }
}

/// Goes through the settings in their order. A stage that is not to be run has none.
fn find<'f, 'v>(
    field: &'f Field,
    path: &str,
    searched: &str,
    value: &dyn Fn(&str) -> Option<&'v Value>,
    found: &mut Vec<(String, &'f Field)>,
) {
    for child in field.children() {
        let key = joined(path, &child.key);
        let is_left_out = value(&key).is_none_or(Value::is_null);
        match &child.inner().kind {
            FieldKind::Group(_) if matches!(child.kind, FieldKind::Optional(_)) && is_left_out => {}
            FieldKind::Group(_) => find(child, &key, searched, value, found),
            FieldKind::List(element) if matches!(element.kind, FieldKind::Group(_)) => {
                let count = value(&key).and_then(Value::as_array).map_or(0, Vec::len);
                for at in 0..count {
                    find(element, &joined(&key, &at.to_string()), searched, value, found);
                }
            }
            _ if is_meant(child, &key, searched) => found.push((key, child)),
            _ => {}
        }
    }
}

fn is_meant(field: &Field, key: &str, searched: &str) -> bool {
    [key, field.title.as_str(), field.help.as_str()].iter().any(|text| text.to_lowercase().contains(searched))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::{draft, field};
    use super::*;

    fn keys(settings: &Value, searched: &str) -> Vec<String> {
        let mut found = Vec::new();
        find(field::root().unwrap(), "", searched, &|key| draft::get(settings, key), &mut found);
        found.into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn a_setting_is_found_by_its_name_and_by_its_help_in_the_stages_that_are_run() {
        let settings = json!({ "grpo": { "data": [{ "folder": "a" }], "optimisation": {} } });
        assert_eq!(keys(&settings, "kl_weight"), ["grpo.kl_weight"]);
        assert_eq!(keys(&settings, "max tokens"), ["grpo.max_tokens", "evaluation.max_tokens"]);
        assert_eq!(keys(&settings, "schulman"), ["grpo.kl"], "its type explains it");
        assert_eq!(keys(&settings, "rows.jsonl"), ["grpo.data.0.folder"]);
        assert!(keys(&json!({}), "kl_weight").is_empty(), "the stage is not run");
        assert!(keys(&settings, "no such thing").is_empty());
    }
}
