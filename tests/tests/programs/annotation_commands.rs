//! `reinpath annotations` as whoever types it sees it: files of ASAP and QuPath are counted, and written as GeoJSON.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::path::Path;
use std::process::{Command, Output};

use reinpath_tests::{program, shared};
use serde_json::Value;

fn annotations(arguments: &[&str]) -> Output {
    Command::new(program("reinpath")).arg("annotations").args(arguments).output().unwrap()
}

/// What a file holds.
fn contents(path: &Path) -> Value {
    let output = annotations(&["check", path.to_str().unwrap(), "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(line["type"], "annotations");
    line["data"].clone()
}

#[test]
fn a_file_is_counted_converted_and_counted_again() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from.geojson");
    let text = r#"{"type": "FeatureCollection", "features": [
        {"type": "Feature", "id": "7f1c9a52-0f4e-4a52-8c6e-6f2b1d3c4e5f",
         "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [90, 0], [90, 90], [0, 90], [0, 0]],
                                                         [[10, 10], [20, 10], [20, 20], [10, 10]]]},
         "properties": {"objectType": "annotation", "classification": {"name": "Tumor", "color": [200, 0, 0]}}},
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [-5, 120.5]},
         "properties": {"objectType": "detection"}}]}"#;
    std::fs::write(&from, text).unwrap();
    let before = contents(&from);
    assert_eq!((&before["annotations"], &before["holes"]), (&2.into(), &1.into()), "{before}");
    assert_eq!(before["kinds"]["detection"], 1);
    assert_eq!(before["classes"]["Tumor"], 1);
    assert_eq!(before["bounds"], serde_json::json!([-5.0, 0.0, 90.0, 120.5]));
    let to = folder.path().join("to.geojson.gz");
    let output = annotations(&["convert", from.to_str().unwrap(), "-o", to.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read(&to).unwrap()[..2], [0x1F, 0x8B], "a name that ends in .gz is compressed");
    assert_eq!(contents(&to), before);
}

#[test]
fn a_file_of_asap_becomes_geojson() {
    let Some(xml) = shared("data/vqa/annotations/wsidicom/annotation/asap/asap-polygon.xml") else { return };
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("asap.geojson");
    let output = annotations(&["convert", xml.to_str().unwrap(), "-o", to.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (before, after) = (contents(&xml), contents(&to));
    assert!(before["annotations"].as_u64().unwrap() > 0);
    assert_eq!(before["geometries"], after["geometries"]);
    assert_eq!(before["bounds"], after["bounds"]);
}

#[test]
fn a_file_that_holds_none_is_refused_by_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in
        [("text.geojson", "no JSON"), ("none.geojson", r#"{"type": "FeatureCollection", "features": []}"#)]
    {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let output = annotations(&["check", path.to_str().unwrap()]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.trim_end().ends_with(name) && told.lines().count() == 1, "{told}");
    }
    assert_eq!(annotations(&["convert", "a.geojson"]).status.code(), Some(2), "an output is wanted");
}
