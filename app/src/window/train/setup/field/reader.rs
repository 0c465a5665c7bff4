//! Reads fields out of a JSON schema (draft 2020-12) as schemars writes it.

use serde_json::{Map, Value};

use super::{Field, FieldKind, joined};

/// Settings that hold paths: the schema calls a path a string. The second word says whether it is one of a folder.
const PATHS: &[(&str, bool)] =
    &[("base", true), ("folder", true), ("questions", false), ("text_encoder", true)];
/// Words that are written otherwise than in a key.
const NAMES: &[(&str, &str)] = &[("grpo", "GRPO"), ("kl", "KL"), ("lora", "LoRA")];
/// Definitions within definitions: far more than a configuration has, and an end for one that refers to itself.
const DEEPEST: usize = 16;

/// The group of everything that a schema describes.
pub(super) fn root(schema: &Value) -> Result<Field, String> {
    let none = Map::new();
    let definitions = schema.get("$defs").and_then(Value::as_object).unwrap_or(&none);
    let reader = Reader { definitions };
    reader.field("", "", schema, true, 0)
}

struct Reader<'a> {
    definitions: &'a Map<String, Value>,
}

impl Reader<'_> {
    fn field(
        &self,
        path: &str,
        key: &str,
        schema: &Value,
        is_required: bool,
        depth: usize,
    ) -> Result<Field, String> {
        if depth > DEEPEST {
            return Err(format!("The settings below `{path}` have no end."));
        }
        let target = self.target(path, schema)?;
        let said = [schema, target].into_iter().find_map(|schema| schema.get("description")?.as_str());
        Ok(Field {
            key: key.to_owned(),
            title: title(key),
            help: said.map(one_line).unwrap_or_default(),
            default: schema.get("default").cloned(),
            is_required,
            kind: self.kind(path, key, target, depth)?,
        })
    }

    /// What a reference refers to, or the schema itself.
    fn target<'s>(&'s self, path: &str, schema: &'s Value) -> Result<&'s Value, String> {
        let Some(reference) = schema.get("$ref") else { return Ok(schema) };
        let name = reference.as_str().and_then(|reference| reference.strip_prefix("#/$defs/"));
        let found = name.and_then(|name| self.definitions.get(name));
        found.ok_or_else(|| format!("`{path}` refers to {reference}, which is not there."))
    }

    fn kind(&self, path: &str, key: &str, schema: &Value, depth: usize) -> Result<FieldKind, String> {
        if let Some(options) = list(schema, "anyOf") {
            let real: Vec<&Value> =
                options.iter().filter(|option| option.get("type") != Some(&Value::from("null"))).collect();
            return match real[..] {
                [real] if options.len() == 2 => self.optional(path, key, real, depth),
                _ => Err(unknown(path, schema)),
            };
        }
        if schema.get("oneOf").is_some() || schema.get("enum").is_some() {
            return choices(schema).map(FieldKind::Choice).ok_or_else(|| unknown(path, schema));
        }
        match schema.get("type") {
            Some(Value::String(name)) => self.plain(path, key, name, schema, depth),
            Some(Value::Array(names)) => {
                let real: Vec<&Value> = names.iter().filter(|name| *name != "null").collect();
                let ([real], Some(mut table)) = (&real[..], schema.as_object().cloned()) else {
                    return Err(unknown(path, schema));
                };
                table.insert("type".to_owned(), (*real).clone());
                self.optional(path, key, &Value::Object(table), depth)
            }
            _ => Err(unknown(path, schema)),
        }
    }

    fn optional(&self, path: &str, key: &str, schema: &Value, depth: usize) -> Result<FieldKind, String> {
        let mut inner = self.field(path, key, schema, false, depth + 1)?;
        // The default is that of the choice to leave it out.
        inner.default = None;
        Ok(FieldKind::Optional(Box::new(inner)))
    }

    fn plain(
        &self,
        path: &str,
        key: &str,
        name: &str,
        schema: &Value,
        depth: usize,
    ) -> Result<FieldKind, String> {
        match name {
            "boolean" => Ok(FieldKind::Bool),
            "integer" => Ok(FieldKind::Integer { min: schema.get("minimum").and_then(whole) }),
            "number" => Ok(FieldKind::Number),
            "string" => {
                let path = PATHS.iter().find(|(name, _)| *name == key);
                Ok(path.map_or(FieldKind::Text, |(_, is_folder)| FieldKind::Path { is_folder: *is_folder }))
            }
            "array" => {
                let items = schema.get("items").ok_or_else(|| unknown(path, schema))?;
                Ok(FieldKind::List(Box::new(self.field(path, "", items, true, depth + 1)?)))
            }
            "object" => {
                let properties = schema.get("properties").and_then(Value::as_object);
                let properties = properties.ok_or_else(|| unknown(path, schema))?;
                let required = list(schema, "required").unwrap_or_default();
                let fields = properties.iter().map(|(key, schema)| {
                    let is_required = required.iter().any(|name| name == key.as_str());
                    self.field(&joined(path, key), key, schema, is_required, depth + 1)
                });
                Ok(FieldKind::Group(fields.collect::<Result<_, _>>()?))
            }
            _ => Err(unknown(path, schema)),
        }
    }
}

/// The words that a choice has, with what each means, in the schema's order; `None` where it is no choice between words.
fn choices(schema: &Value) -> Option<Vec<(String, String)>> {
    let help = || schema.get("description").and_then(Value::as_str).map(one_line).unwrap_or_default();
    if let Some(word) = schema.get("const") {
        return Some(vec![(word.as_str()?.to_owned(), help())]);
    }
    if let Some(words) = list(schema, "enum") {
        return words.iter().map(|word| Some((word.as_str()?.to_owned(), String::new()))).collect();
    }
    let mut all = Vec::new();
    for part in list(schema, "oneOf")? {
        // A part that is made of further parts is no word.
        part.get("oneOf").is_none().then_some(())?;
        all.extend(choices(part)?);
    }
    Some(all)
}

fn list<'s>(schema: &'s Value, name: &str) -> Option<&'s [Value]> {
    schema.get(name).and_then(Value::as_array).map(Vec::as_slice)
}

/// A bound may be written as `0` or as `0.0`.
fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().map(|value| value as i64))
}

fn unknown(path: &str, schema: &Value) -> String {
    format!("No form is known for the setting `{path}`: {schema}")
}

/// `max_tokens` to `Max tokens`, `kl_weight` to `KL weight`.
fn title(key: &str) -> String {
    let named = |word: &str| {
        let found = NAMES.iter().find(|(key, _)| *key == word);
        found.map_or_else(|| word.to_owned(), |(_, name)| (*name).to_owned())
    };
    let words: Vec<String> = key.split('_').map(named).collect();
    let words = words.join(" ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A comment stands over several lines in the source.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
