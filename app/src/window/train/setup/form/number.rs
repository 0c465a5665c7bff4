//! Numbers as text: what is typed and is no number stays as it was typed, is marked, and changes nothing.

use std::collections::BTreeMap;

use egui::{Response, TextEdit, Ui};
use serde_json::{Number, Value};

use super::super::super::super::theme;
use super::super::super::super::widgets::caption;
use super::super::field::{Field, FieldKind};
use super::{Form, LEAST_WIDTH, control};

/// What the words beside a text that is no value take, in points.
const MARK_WIDTH: f32 = 64.0;

/// What is typed for settings, as long as it is not what the draft would be shown as.
#[derive(Default)]
pub(super) struct TypedNumbers(BTreeMap<String, Typed>);

struct Typed {
    text: String,
    /// What the setting is in force as while this is typed; when it becomes another, as by undoing, the text is stale.
    of: Option<Value>,
}

impl TypedNumbers {
    /// What to show for a setting.
    fn text(&mut self, key: &str, current: Option<&Value>) -> String {
        if self.0.get(key).is_some_and(|typed| typed.of.as_ref() != current) {
            self.0.remove(key);
        }
        match self.0.get(key) {
            Some(typed) => typed.text.clone(),
            None => current.map(Value::to_string).unwrap_or_default(),
        }
    }

    fn keep(&mut self, key: &str, text: String, of: Option<Value>) {
        self.0.insert(key.to_owned(), Typed { text, of });
    }

    /// From now on the setting is shown as the draft has it.
    fn forget(&mut self, key: &str) {
        self.0.remove(key);
    }
}

impl Form<'_> {
    pub(super) fn number_ui(&mut self, ui: &mut Ui, field: &Field, key: &str, width: f32) -> Response {
        let current = self.value(key).or(field.default.as_ref()).filter(|value| !value.is_null());
        let mut text = self.memory.numbers.text(key, current);
        let was_good = parsed(field, &text).is_some();
        let hint = if matches!(field.kind, FieldKind::Optional(_)) { "none" } else { "a number" };
        let colour = (!was_good).then_some(theme::of(ui).error);
        let mark = if was_good { 0.0 } else { MARK_WIDTH };
        let edit = TextEdit::singleline(&mut text)
            .id(control::id(key))
            .text_color_opt(colour)
            .hint_text(hint)
            .desired_width((width - mark).max(LEAST_WIDTH));
        let response = ui.add(edit);
        if response.changed() {
            let (of, wish) = match parsed(field, &text) {
                // Without a value of its own the default is in force.
                Some(Value::Null) => {
                    (field.default.clone().filter(|value| !value.is_null()), Some(Value::Null))
                }
                Some(value) => (Some(value.clone()), Some(value)),
                None => (current.cloned(), None),
            };
            self.memory.numbers.keep(key, text, of);
            if let Some(value) = wish {
                self.change(key, value);
            }
        } else if response.lost_focus() && was_good {
            self.memory.numbers.forget(key);
        }
        if !was_good {
            let why = format!("This is no value of the setting: {} stays.", shown(current));
            caption(ui, "not used").on_hover_text(why);
        }
        response
    }
}

fn shown(current: Option<&Value>) -> String {
    current.map_or_else(|| "none".to_owned(), Value::to_string)
}

/// The value that a text stands for; `Null` for an empty one that may be left out, `None` where it is no value of the setting.
fn parsed(field: &Field, text: &str) -> Option<Value> {
    let text = text.trim();
    if text.is_empty() {
        return matches!(field.kind, FieldKind::Optional(_)).then_some(Value::Null);
    }
    let value = match field.inner().kind {
        FieldKind::Integer { .. } => match text.parse::<u64>() {
            Ok(value) => Value::from(value),
            Err(_) => Value::from(text.parse::<i64>().ok()?),
        },
        // No JSON number is infinite, or none at all.
        _ => Value::Number(Number::from_f64(text.parse().ok()?)?),
    };
    field.wrong(&value, "").is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::field;
    use super::*;

    #[test]
    fn only_a_value_of_the_setting_is_taken() {
        let read = |key: &str, text: &str| parsed(field::find(key).unwrap(), text);
        assert_eq!(read("grpo.max_tokens", " 64 "), Some(json!(64)));
        for text in ["-1", "6.5", "many", "", "99999999999999999999999"] {
            assert_eq!(read("grpo.max_tokens", text), None, "{text}");
        }
        assert_eq!(read("grpo.kl_weight", "4e-2"), Some(json!(0.04)));
        assert_eq!(read("grpo.kl_weight", "1"), Some(json!(1.0)));
        for text in ["nan", "inf", "1e999", "0,5", ""] {
            assert_eq!(read("grpo.kl_weight", text), None, "{text}");
        }
        assert_eq!(read("cold_start.select", ""), Some(Value::Null), "it may be left out");
        assert_eq!(read("cold_start.select", "5400"), Some(json!(5400)));
        assert_eq!(read("seed", "18446744073709551615"), Some(json!(u64::MAX)));
    }

    #[test]
    fn what_is_typed_stays_until_the_setting_becomes_another() {
        let mut numbers = TypedNumbers::default();
        let (four, five) = (json!(4), json!(5));
        assert_eq!(numbers.text("grpo.samples", Some(&four)), "4");
        numbers.keep("grpo.samples", "4x".to_owned(), Some(four.clone()));
        assert_eq!(numbers.text("grpo.samples", Some(&four)), "4x");
        assert_eq!(numbers.text("grpo.samples", Some(&five)), "5", "undone, or set by an alarm");
        assert_eq!(numbers.text("grpo.samples", Some(&four)), "4");
        assert_eq!(numbers.text("cold_start.select", None), "");
    }
}
