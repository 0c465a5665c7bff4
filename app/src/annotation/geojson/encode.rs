//! Annotations to GeoJSON, as QuPath writes it; what [`super::decode`] kept aside goes back into its place.

use serde_json::{Map, Value, json};

use super::super::{Annotation, Class, ObjectKind};
use super::decode::{DESCRIPTION, joined};
use super::geometry;

/// One feature.
pub fn to_value(annotation: &Annotation) -> Value {
    let rest = &annotation.rest;
    let mut feature = Map::new();
    feature.insert("type".to_owned(), "Feature".into());
    // A number was kept aside, and stands for the id as long as that is the same.
    let id = rest.get("id").filter(|id| id.to_string() == annotation.id);
    feature.insert("id".to_owned(), id.cloned().unwrap_or_else(|| annotation.id.as_str().into()));
    let of_geometry = rest.get("geometry").and_then(Value::as_object);
    let geometry = geometry::write(&annotation.geometry, annotation.form, of_geometry);
    feature.insert("geometry".to_owned(), geometry);
    let properties = match rest.get("properties") {
        Some(strange) if !strange.is_object() => strange.clone(),
        kept => Value::Object(properties(annotation, kept.and_then(Value::as_object))),
    };
    feature.insert("properties".to_owned(), properties);
    for (key, value) in rest {
        if !matches!(key.as_str(), "id" | "geometry" | "properties") {
            feature.insert(key.clone(), value.clone());
        }
    }
    Value::Object(feature)
}

fn properties(annotation: &Annotation, rest: Option<&Map<String, Value>>) -> Map<String, Value> {
    let mut properties = rest.cloned().unwrap_or_default();
    let kind = match &annotation.kind {
        ObjectKind::Annotation => Some("annotation"),
        ObjectKind::Detection => Some("detection"),
        ObjectKind::Cell => Some("cell"),
        ObjectKind::Tile => Some("tile"),
        ObjectKind::Other(word) => word.as_deref(),
    };
    let stands_outside = annotation.rest.get("objectType").and_then(Value::as_str) == kind;
    if let (Some(kind), false) = (kind, stands_outside) {
        properties.insert("objectType".to_owned(), kind.into());
    }
    if let Some(name) = &annotation.name {
        properties.insert("name".to_owned(), name.as_str().into());
    }
    if annotation.is_locked {
        properties.insert("isLocked".to_owned(), true.into());
    }
    match annotation.rgb {
        Some(rgb) if properties.contains_key("colorRGB") => {
            properties.insert("colorRGB".to_owned(), number_of(rgb).into());
        }
        Some(rgb) => {
            properties.insert("color".to_owned(), json!(rgb));
        }
        None => {}
    }
    if let Some(class) = &annotation.class {
        let kept = properties.get("classification").and_then(Value::as_object);
        let classification = classification(class, kept);
        properties.insert("classification".to_owned(), classification);
    }
    if !annotation.notes.is_empty() {
        let mut metadata = match properties.remove("metadata") {
            Some(Value::Object(metadata)) => metadata,
            _ => Map::new(),
        };
        metadata.insert(DESCRIPTION.to_owned(), annotation.notes.as_str().into());
        properties.insert("metadata".to_owned(), Value::Object(metadata));
    }
    if !annotation.measurements.is_empty() {
        let measurements = if properties.get("measurements").is_some_and(Value::is_array) {
            let entry = |(name, value): (&String, &Value)| json!({ "name": name, "value": value });
            Value::Array(annotation.measurements.iter().map(entry).collect())
        } else {
            Value::Object(annotation.measurements.clone())
        };
        properties.insert("measurements".to_owned(), measurements);
    }
    properties
}

fn classification(class: &Class, kept: Option<&Map<String, Value>>) -> Value {
    let mut object = kept.cloned().unwrap_or_default();
    // A class that was written in parts keeps them while it is the same class.
    let is_in_parts = object.get("names").and_then(joined).as_ref() == Some(&class.name);
    if !is_in_parts {
        object.remove("names");
        object.insert("name".to_owned(), class.name.as_str().into());
    }
    if object.contains_key("colorRGB") {
        object.insert("colorRGB".to_owned(), number_of(class.rgb).into());
    } else if !object.contains_key("color") {
        // What is there already is a colour that was not understood.
        object.insert("color".to_owned(), json!(class.rgb));
    }
    Value::Object(object)
}

/// Java's signed 32 bits, opaque.
fn number_of([r, g, b]: [u8; 3]) -> i32 {
    i32::from_be_bytes([0xff, r, g, b])
}
