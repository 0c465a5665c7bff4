//! The settings of a run as a tree of fields, made from the configuration's own schema
//! ([`reinpath_training::config::schema`]): what each is called, what it means, what it may hold. The form draws this tree, so that
//! the window has each setting of the TOML, once, under its own name.
//!
//! Only what the schema of `RunConfig` uses is understood; everything else is an error that names the setting.

use std::fmt::Write as _;
use std::sync::LazyLock;

use reinpath_training::config;
use serde_json::{Map, Value};

mod reader;

/// A setting, or a group of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    /// In the table that it lies in; empty for the whole and for an element of a list.
    pub(super) key: String,
    /// The key in words.
    pub(super) title: String,
    /// What it means, in one line; empty where the source says nothing.
    pub(super) help: String,
    /// What it is where nothing is said.
    pub(super) default: Option<Value>,
    /// Whether there is no configuration without it.
    pub(super) is_required: bool,
    pub(super) kind: FieldKind,
}

/// What a setting may hold.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FieldKind {
    Bool,
    /// A whole number, at least `min`.
    Integer {
        min: Option<i64>,
    },
    Number,
    Text,
    Path {
        is_folder: bool,
    },
    /// One of several words, each with what it means.
    Choice(Vec<(String, String)>),
    /// It may be left out.
    Optional(Box<Field>),
    Group(Vec<Field>),
    List(Box<Field>),
}

static ROOT: LazyLock<Result<Field, String>> = LazyLock::new(|| reader::root(&config::schema()));

/// All settings of a run, as one group.
///
/// # Errors
/// A sentence, where the schema holds something that no form is known for.
pub(super) fn root() -> Result<&'static Field, &'static str> {
    ROOT.as_ref().map_err(String::as_str)
}

/// The setting of a key with dots between its parts, such as `grpo.data.0.folder`.
pub(super) fn find(key: &str) -> Option<&'static Field> {
    let mut field = root().ok()?;
    for part in key.split('.') {
        field = field.child(part)?;
    }
    Some(field)
}

/// `grpo` and `max_tokens` to `grpo.max_tokens`.
pub(super) fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

impl Field {
    /// The setting itself, without the choice to leave it out.
    pub(super) fn inner(&self) -> &Self {
        match &self.kind {
            FieldKind::Optional(inner) => inner.inner(),
            _ => self,
        }
    }

    /// The settings of a group; none of anything else.
    pub(super) fn children(&self) -> &[Self] {
        match &self.inner().kind {
            FieldKind::Group(fields) => fields,
            _ => &[],
        }
    }

    fn child(&self, part: &str) -> Option<&Self> {
        match &self.inner().kind {
            FieldKind::Group(fields) => fields.iter().find(|field| field.key == part),
            FieldKind::List(element) => part.parse::<usize>().ok().map(|_| element.as_ref()),
            _ => None,
        }
    }

    /// What it means and what it is by default, as the form shows it.
    pub(super) fn help_with_default(&self) -> String {
        let mut text = self.help.clone();
        if let FieldKind::Choice(choices) = &self.inner().kind {
            for (value, help) in choices.iter().filter(|(_, help)| !help.is_empty()) {
                let space = if text.is_empty() { "" } else { " " };
                // Writing to a string cannot fail.
                write!(text, "{space}{value}: {help}").ok();
            }
        }
        let default = match &self.default {
            Some(Value::Null) => "none".to_owned(),
            Some(Value::String(text)) if text.is_empty() => "empty".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(list)) if list.is_empty() => "empty".to_owned(),
            Some(Value::Array(_) | Value::Object(_)) | None => return text,
            Some(Value::Bool(on)) => if *on { "on" } else { "off" }.to_owned(),
            Some(value @ Value::Number(_)) => value.to_string(),
        };
        let space = if text.is_empty() { "" } else { " " };
        write!(text, "{space}Default: {default}.").ok();
        text
    }

    /// Whether a value is not the default, where there is one.
    pub(super) fn is_changed(&self, value: Option<&Value>) -> bool {
        let Some(value) = value else { return false };
        match &self.default {
            Some(default) => !is_same(default, value),
            None => matches!(self.kind, FieldKind::Optional(_)) && !value.is_null(),
        }
    }

    /// The least that the form begins it with: what is required is there, and empty.
    pub(super) fn start(&self) -> Value {
        if let Some(default) = &self.default {
            return default.clone();
        }
        match &self.kind {
            FieldKind::Bool => Value::Bool(false),
            FieldKind::Integer { min } => Value::from(min.unwrap_or(0).max(0)),
            FieldKind::Number => Value::from(0.0),
            FieldKind::Text | FieldKind::Path { .. } => Value::String(String::new()),
            FieldKind::Choice(choices) => {
                choices.first().map_or(Value::Null, |(value, _)| Value::String(value.clone()))
            }
            FieldKind::Optional(_) => Value::Null,
            FieldKind::Group(fields) => {
                let required = fields.iter().filter(|field| field.is_required);
                Value::Object(required.map(|field| (field.key.clone(), field.first())).collect())
            }
            FieldKind::List(_) => Value::Array(Vec::new()),
        }
    }

    /// As [`Self::start`], but a list that must not be empty begins with one element.
    fn first(&self) -> Value {
        match &self.kind {
            FieldKind::List(element) if self.is_required => Value::Array(vec![element.start()]),
            _ => self.start(),
        }
    }

    /// Why a value is none of this setting, as a sentence that names the setting by its key with dots.
    pub(super) fn wrong(&self, value: &Value, path: &str) -> Option<String> {
        let is = |expected: &str| Some(format!("`{path}` must be {expected}, not {value}."));
        match &self.kind {
            FieldKind::Optional(_) if value.is_null() => None,
            FieldKind::Optional(inner) => inner.wrong(value, path),
            FieldKind::Bool if value.is_boolean() => None,
            FieldKind::Bool => is("true or false"),
            FieldKind::Number if value.is_number() => None,
            FieldKind::Number => is("a number"),
            FieldKind::Integer { min: Some(0) } if value.is_u64() => None,
            FieldKind::Integer { min: Some(0) } => is("a whole number that is not negative"),
            FieldKind::Integer { min } => {
                let is_good = value.as_i64().is_some_and(|value| min.is_none_or(|min| value >= min));
                let expected = min.map_or_else(
                    || "a whole number".to_owned(),
                    |min| format!("a whole number that is at least {min}"),
                );
                if is_good { None } else { is(&expected) }
            }
            FieldKind::Text | FieldKind::Path { .. } if value.is_string() => None,
            FieldKind::Text => is("a text"),
            FieldKind::Path { .. } => is("a path"),
            FieldKind::Choice(choices) => {
                let is_one = choices.iter().any(|(choice, _)| value.as_str() == Some(choice.as_str()));
                let words: Vec<&str> = choices.iter().map(|(choice, _)| choice.as_str()).collect();
                if is_one { None } else { is(&format!("one of {}", words.join(", "))) }
            }
            FieldKind::List(element) => match value {
                Value::Array(list) => {
                    let mut numbered = list.iter().enumerate();
                    numbered.find_map(|(at, value)| element.wrong(value, &joined(path, &at.to_string())))
                }
                _ => is("a list"),
            },
            FieldKind::Group(fields) => match value {
                Value::Object(table) => wrong_in_table(fields, table, path),
                _ if path.is_empty() => Some("The settings of a run must be a table.".to_owned()),
                _ => is("a table of settings"),
            },
        }
    }

    /// What is still to be filled in, as a sentence that names the setting.
    pub(super) fn empty(&self, value: &Value, path: &str) -> Option<String> {
        match (&self.inner().kind, value) {
            (FieldKind::Path { .. } | FieldKind::Text, Value::String(text))
                if self.is_required && text.trim().is_empty() =>
            {
                Some(format!("`{path}` is still empty."))
            }
            (FieldKind::List(_), Value::Array(list)) if self.is_required && list.is_empty() => {
                Some(format!("`{path}` names nothing yet: add one."))
            }
            (FieldKind::List(element), Value::Array(list)) => {
                let mut numbered = list.iter().enumerate();
                numbered.find_map(|(at, value)| element.empty(value, &joined(path, &at.to_string())))
            }
            (FieldKind::Group(fields), Value::Object(table)) => fields.iter().find_map(|field| {
                table.get(&field.key).and_then(|value| field.empty(value, &joined(path, &field.key)))
            }),
            _ => None,
        }
    }
}

fn wrong_in_table(fields: &[Field], table: &Map<String, Value>, path: &str) -> Option<String> {
    let stranger = table.keys().find(|key| fields.iter().all(|field| field.key != **key));
    if let Some(key) = stranger {
        return Some(format!("There is no setting `{}`.", joined(path, key)));
    }
    fields.iter().find_map(|field| {
        let path = joined(path, &field.key);
        match table.get(&field.key) {
            Some(value) => field.wrong(value, &path),
            None if field.is_required => Some(format!("`{path}` is missing.")),
            None => None,
        }
    })
}

/// Whether two values mean the same: `1` and `1.0` do.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests;
