//! GeoJSON of QuPath read and written again.

use serde_json::json;

use super::super::{Form, Geometry, ObjectKind};
use super::*;

fn one(value: Value) -> Annotation {
    let mut imported = from_value(value).unwrap();
    assert_eq!(imported.annotations.len(), 1);
    imported.annotations.remove(0)
}

/// Import, export, import; returns what was written in between.
fn survives(value: Value) -> Value {
    let first = one(value);
    let written = to_value(&first);
    assert_eq!(one(written.clone()), first, "{written}");
    written
}

#[test]
fn a_feature_as_qupath_writes_it_comes_back_word_for_word() {
    let feature = json!({
        "type": "Feature",
        "id": "3f8a1f0e-9f1c-4c1c-8f38-6cf1e3f4a001",
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[26268, 15298], [26268.25, 15474], [26478, 15474.5], [26268, 15298]],
                            [[26270, 15300], [26271, 15300], [26271, 15301], [26270, 15300]]],
            "plane": {"c": -1, "z": 2, "t": 0}
        },
        "nucleusGeometry": {"type": "Point", "coordinates": [1, 2]},
        "properties": {
            "objectType": "cell",
            "name": "first",
            "color": [1, 2, 255],
            "classification": {"names": ["Tumor", "Positive"], "color": [200, 0, 0]},
            "isLocked": true,
            "metadata": {"ANNOTATION_DESCRIPTION": "Look again", "seen": "twice"},
            "measurements": {"Nucleus: Area": 12.5, "DAB: Mean": null},
            "custom": {"deep": [1, {"er": true}]}
        }
    });
    let annotation = one(feature.clone());
    assert_eq!(annotation.kind, ObjectKind::Cell);
    assert_eq!(annotation.class.as_ref().unwrap().name, "Tumor: Positive");
    assert_eq!(annotation.rgb, Some([1, 2, 255]));
    assert_eq!(annotation.notes, "Look again");
    assert!(annotation.is_locked);
    assert_eq!(survives(feature.clone()), feature);
}

#[test]
fn colours_as_signed_numbers_stay_numbers() {
    let feature = json!({
        "type": "Feature", "id": "a", "geometry": {"type": "Point", "coordinates": [1.5, 2]},
        "properties": {
            "objectType": "annotation", "colorRGB": -16_776_961,
            "classification": {"name": "Stroma", "colorRGB": -6_895_466}, "measurements": []
        }
    });
    let annotation = one(feature.clone());
    assert_eq!(annotation.rgb, Some([0, 0, 255]));
    assert_eq!(annotation.class.as_ref().unwrap().rgb, [150, 200, 150]);
    assert_eq!(survives(feature.clone()), feature);
}

#[test]
fn lists_of_measurements_stay_lists_and_what_is_not_one_stays_as_it_is() {
    for (measurements, count) in [
        (json!([{"name": "a", "value": 1.0}, {"name": "b", "value": null}]), 2),
        (json!([{"name": "a", "value": 1}, {"name": "a", "value": 2}]), 0),
        (json!([]), 0),
        (json!({}), 0),
        (json!("many"), 0),
    ] {
        let feature = json!({
            "type": "Feature", "id": "a", "geometry": {"type": "Point", "coordinates": [1, 2]},
            "properties": {"measurements": measurements}
        });
        assert_eq!(one(feature.clone()).measurements.len(), count, "{measurements}");
        assert_eq!(survives(feature.clone()), feature);
    }
}

#[test]
fn every_kind_of_geometry_survives() {
    for geometry in [
        json!({"type": "Point", "coordinates": [1, 2, 7]}),
        json!({"type": "MultiPoint", "coordinates": [[1, 2], [3, 4]]}),
        json!({"type": "MultiPoint", "coordinates": [[1, 2]]}),
        json!({"type": "LineString", "coordinates": [[1, 2, 0], [3, 4, 1]]}),
        json!({"type": "MultiLineString", "coordinates": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]}),
        json!({"type": "MultiLineString", "coordinates": [[[1, 2], [3, 4]]]}),
        json!({"type": "Polygon", "isEllipse": true, "coordinates": [[[0, 1], [1, 0], [0, -1], [-1, 0], [0, 1]]]}),
        json!({"type": "MultiPolygon", "isEllipse": true, "coordinates": [[[[0, 1], [1, 0], [0, -1], [0, 1]]]]}),
        json!({"type": "MultiPolygon", "coordinates": [[[[0, 1], [1, 0], [0, -1], [0, 1]]], [[[5, 5], [6, 5], [6, 6], [5, 5]]]]}),
        json!({"type": "GeometryCollection", "geometries": [{"type": "Point", "coordinates": [1, 2]}]}),
        json!({"type": "Polygon", "coordinates": []}),
        json!({"type": "Polygon", "coordinates": [[["a", 1]]]}),
        json!({"type": "Point", "coordinates": [1e12, 0]}),
        Value::Null,
    ] {
        let feature = json!({"type": "Feature", "id": "a", "geometry": geometry, "properties": {}});
        assert_eq!(survives(feature.clone()), feature);
    }
}

#[test]
fn rectangles_and_ellipses_are_known_as_such() {
    let form = |geometry: Value| one(json!({"type": "Feature", "geometry": geometry})).form;
    let ring = json!([[[0, 0], [0, 5], [9, 5], [9, 0], [0, 0]]]);
    assert_eq!(form(json!({"type": "Polygon", "coordinates": ring})), Form::Rectangle);
    assert_eq!(form(json!({"type": "Polygon", "isEllipse": true, "coordinates": ring})), Form::Ellipse);
    let crooked = json!([[[0, 0], [0, 5], [9, 5], [9, 1], [0, 0]]]);
    assert_eq!(form(json!({"type": "Polygon", "coordinates": crooked})), Form::Plain);
}

#[test]
fn bare_geometries_lists_and_collections_are_read_and_missing_ids_counted() {
    let feature = json!({"type": "Feature", "id": "PathAnnotationObject", "geometry": {"type": "Point", "coordinates": [1, 2]}});
    let bare = json!({"type": "Point", "coordinates": [3, 4]});
    let all = json!([{"type": "FeatureCollection", "features": [feature, feature]}, bare]);
    let imported = from_value(all).unwrap();
    assert_eq!((imported.annotations.len(), imported.ids_made), (3, 1));
    assert_eq!(imported.annotations[0].id, "PathAnnotationObject");
    assert_eq!(imported.annotations[2].geometry, Geometry::Points(vec![[3.0, 4.0]]));
    assert_eq!(imported.annotations[2].id.len(), 36, "a UUID");
    let numbered =
        json!({"type": "Feature", "id": 12, "geometry": null, "properties": null, "objectType": "tile"});
    assert_eq!(one(numbered.clone()).kind, ObjectKind::Tile);
    assert_eq!(survives(numbered)["id"], 12);
}

#[test]
fn a_class_given_as_text_has_a_colour_of_its_own() {
    let class =
        |name: &str| one(json!({"type": "Feature", "properties": {"classification": name}})).class.unwrap();
    assert_eq!(class("Tumor").name, "Tumor");
    assert_eq!(class("Tumor").rgb, class("Tumor").rgb);
    assert_ne!(class("Tumor").rgb, class("Stroma").rgb);
}

#[test]
fn measurements_that_are_no_numbers_become_null() {
    let text = br#"{"type": "Feature", "geometry": null, "properties":
        {"name": "NaN \" Infinity", "measurements": {"a": NaN, "b": -Infinity, "c": 1.5}}}"#;
    let imported = parse(text).unwrap();
    let annotation = &imported.annotations[0];
    assert_eq!(annotation.name.as_deref(), Some("NaN \" Infinity"));
    assert_eq!(Value::Object(annotation.measurements.clone()), json!({"a": null, "b": null, "c": 1.5}));
}

#[test]
fn what_is_no_geojson_is_refused_by_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let bomb = "[".repeat(100_000);
    for text in
        ["", "12", "{}", "{\"type\": \"Topology\"}", "{\"type\": \"FeatureCollection\"}", "[", bomb.as_str()]
    {
        let path = folder.path().join("bad.geojson");
        std::fs::write(&path, text).unwrap();
        let sentence = read(&path).unwrap_err().to_string();
        assert!(
            sentence.starts_with("These are no annotations") && sentence.ends_with("bad.geojson"),
            "{sentence}"
        );
        assert_eq!(sentence.lines().count(), 1);
    }
    let sentence = read(&folder.path().join("none.geojson")).unwrap_err().to_string();
    assert!(sentence.starts_with("The annotations cannot be read"), "{sentence}");
}

#[test]
fn files_are_packed_by_name_and_unpacked_by_content() {
    let folder = tempfile::tempdir().unwrap();
    let annotations =
        vec![one(json!({"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}}))];
    for name in ["a.geojson", "a.geojson.gz"] {
        let path = folder.path().join(name);
        write(&path, &annotations).unwrap();
        assert_eq!(std::fs::read(&path).unwrap().starts_with(&GZIP), name.ends_with("gz"));
        assert_eq!(read(&path).unwrap(), annotations);
    }
    let renamed = folder.path().join("b.geojson");
    std::fs::rename(folder.path().join("a.geojson.gz"), &renamed).unwrap();
    assert_eq!(read(&renamed).unwrap(), annotations);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing unfinished is left");
    let nowhere = folder.path().join("none/a.geojson");
    assert!(write(&nowhere, &annotations).unwrap_err().to_string().ends_with("a.geojson"));
}
