//! GeoJSON to annotations.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::super::{Annotation, Class, ObjectKind, new_id};
use super::{Imported, geometry};

/// Reads a collection, a feature, a list of features or a bare geometry; an error is the reason, without a path.
pub fn from_value(value: Value) -> Result<Imported, String> {
    let mut imported = Imported::default();
    gather(value, &mut imported)?;
    Ok(imported)
}

fn gather(value: Value, imported: &mut Imported) -> Result<(), String> {
    let mut object = match value {
        Value::Array(values) => return values.into_iter().try_for_each(|value| gather(value, imported)),
        Value::Object(object) => object,
        _ => return Err("it holds something else than GeoJSON objects".to_owned()),
    };
    match object.get("type").and_then(Value::as_str) {
        Some("FeatureCollection") => match object.remove("features") {
            Some(features @ Value::Array(_)) => gather(features, imported),
            _ => Err("its collection has no list of features".to_owned()),
        },
        Some("Feature") => {
            imported.push(object);
            Ok(())
        }
        Some(_) if object.contains_key("coordinates") || object.contains_key("geometries") => {
            let mut feature = Map::new();
            feature.insert("geometry".to_owned(), Value::Object(object));
            imported.push(feature);
            Ok(())
        }
        Some(other) => Err(format!("it holds an object of type “{other}”, which is not GeoJSON")),
        None => Err("it holds an object without a type, which is not GeoJSON".to_owned()),
    }
}

impl Imported {
    fn push(&mut self, mut feature: Map<String, Value>) {
        feature.remove("type");
        let id = match feature.get("id") {
            Some(Value::String(_)) => None,
            // A number stays in the rest as well, so that it is written as a number again.
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => {
                self.ids_made += 1;
                Some(new_id())
            }
        };
        let id = id.unwrap_or_else(|| take_text(&mut feature, "id").unwrap_or_default());
        if !feature.get("id").is_some_and(Value::is_number) {
            feature.remove("id");
        }
        let (geometry, form, of_geometry) = geometry::read(feature.remove("geometry").unwrap_or(Value::Null));
        let mut properties = match feature.remove("properties") {
            Some(Value::Object(properties)) => properties,
            other => {
                // Whatever stands there instead of an object.
                feature.extend(
                    other.filter(|other| !other.is_null()).map(|other| ("properties".to_owned(), other)),
                );
                Map::new()
            }
        };
        let kind = take_text(&mut properties, "objectType");
        let kind = kind.or_else(|| feature.get("objectType")?.as_str().map(str::to_owned));
        let mut annotation = Annotation::with_id(id, geometry, form);
        annotation.kind = kind_of(kind);
        annotation.take_properties(&mut properties);
        annotation.rest = feature;
        if !of_geometry.is_empty() {
            annotation.rest.insert("geometry".to_owned(), Value::Object(of_geometry));
        }
        if !properties.is_empty() {
            annotation.rest.insert("properties".to_owned(), Value::Object(properties));
        }
        self.annotations.push(annotation);
    }
}

impl Annotation {
    /// Takes what it understands; what stays says how it is written again.
    fn take_properties(&mut self, properties: &mut Map<String, Value>) {
        self.name = take_text(properties, "name");
        if properties.get("isLocked").and_then(Value::as_bool) == Some(true) {
            properties.remove("isLocked");
            self.is_locked = true;
        }
        if let Some(rgb) = properties.get("color").and_then(rgb_of_list) {
            properties.remove("color");
            self.rgb = Some(rgb);
        } else {
            self.rgb = properties.get("colorRGB").and_then(rgb_of_number);
        }
        if let Some(Value::Object(metadata)) = properties.get_mut("metadata") {
            self.notes = take_text(metadata, DESCRIPTION).unwrap_or_default();
            if metadata.is_empty() && !self.notes.is_empty() {
                properties.remove("metadata");
            }
        }
        self.class = take_class(properties).map(Arc::new);
        self.measurements = take_measurements(properties);
    }
}

/// Where QuPath keeps an annotation's description.
pub(super) const DESCRIPTION: &str = "ANNOTATION_DESCRIPTION";

fn kind_of(word: Option<String>) -> ObjectKind {
    match word.as_deref() {
        Some("annotation") => ObjectKind::Annotation,
        Some("detection") => ObjectKind::Detection,
        Some("cell") => ObjectKind::Cell,
        Some("tile") => ObjectKind::Tile,
        _ => ObjectKind::Other(word),
    }
}

/// Removes a text; anything else stays.
fn take_text(object: &mut Map<String, Value>, key: &str) -> Option<String> {
    let text = object.get(key)?.as_str()?.to_owned();
    object.remove(key);
    Some(text)
}

/// A class with a colour has its name taken away, and its colour; what else there is of it stays.
fn take_class(properties: &mut Map<String, Value>) -> Option<Class> {
    if let Some(name) = properties.get("classification").and_then(Value::as_str).map(str::to_owned) {
        properties.remove("classification");
        return Some(Class { rgb: rgb_of_name(&name), name });
    }
    let classification = properties.get_mut("classification")?.as_object_mut()?;
    let name = take_text(classification, "name").or_else(|| joined(classification.get("names")?))?;
    let of_list = classification.get("color").and_then(rgb_of_list);
    if of_list.is_some() {
        classification.remove("color");
    }
    let rgb = of_list.or_else(|| rgb_of_number(classification.get("colorRGB")?));
    if classification.is_empty() {
        properties.remove("classification");
    }
    Some(Class { rgb: rgb.unwrap_or_else(|| rgb_of_name(&name)), name })
}

/// The name of a class that QuPath writes in parts.
pub(super) fn joined(names: &Value) -> Option<String> {
    let names: Option<Vec<&str>> = names.as_array()?.iter().map(Value::as_str).collect();
    names.filter(|names| !names.is_empty()).map(|names| names.join(": "))
}

/// `[r, g, b]`.
fn rgb_of_list(value: &Value) -> Option<[u8; 3]> {
    let [r, g, b] = value.as_array()?.as_slice() else { return None };
    let byte = |value: &Value| value.as_u64().and_then(|number| u8::try_from(number).ok());
    Some([byte(r)?, byte(g)?, byte(b)?])
}

/// Java's signed 32 bits: alpha, red, green, blue.
fn rgb_of_number(value: &Value) -> Option<[u8; 3]> {
    let number = i32::try_from(value.as_i64()?).ok()?;
    let [_alpha, r, g, b] = number.to_be_bytes();
    Some([r, g, b])
}

/// A colour for a class that has none: the same for the same name, neither grey nor dark.
pub fn rgb_of_name(name: &str) -> [u8; 3] {
    let hash = blake3::hash(name.as_bytes());
    let [a, b, ..] = *hash.as_bytes();
    let hue = f32::from(u16::from_be_bytes([a, b])) / 65_536.0;
    egui::ecolor::Hsva::new(hue, 0.75, 0.95, 1.0).to_srgb()
}

/// An object of numbers, or QuPath's older list of names and values; anything else stays as it is.
fn take_measurements(properties: &mut Map<String, Value>) -> Map<String, Value> {
    let as_map = match properties.get("measurements") {
        Some(Value::Object(measurements)) if !measurements.is_empty() => measurements.clone(),
        Some(Value::Array(list)) => match listed(list) {
            Some(measurements) => measurements,
            None => return Map::new(),
        },
        _ => return Map::new(),
    };
    let was_list = properties.get("measurements").is_some_and(Value::is_array);
    if was_list {
        // An empty list stays, and says how they are written.
        properties.insert("measurements".to_owned(), Value::Array(Vec::new()));
    } else {
        properties.remove("measurements");
    }
    as_map
}

/// `None` when a measurement is named twice, or has more than a name and a value.
fn listed(list: &[Value]) -> Option<Map<String, Value>> {
    let mut measurements = Map::new();
    for entry in list {
        let entry = entry.as_object().filter(|entry| entry.len() == 2)?;
        let (name, value) = (entry.get("name")?.as_str()?, entry.get("value")?);
        if measurements.insert(name.to_owned(), value.clone()).is_some() {
            return None;
        }
    }
    Some(measurements)
}
