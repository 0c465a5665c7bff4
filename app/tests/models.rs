//! `reinpath model list` as a program: what lies in the models folder, whole or broken, and what to do where nothing does.

#![expect(clippy::unwrap_used, reason = "tests panic where something is wrong")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use reinpath_model::package::{KNOWN, Known, Manifest, Package, PackageWriter};
use serde_json::Value;

fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets")
}

fn list(home: &Path, assets: &Path, arguments: &[&str]) -> String {
    model(home, assets, &[&["list"][..], arguments].concat())
}

/// What `reinpath model …` says on stdout.
fn model(home: &Path, assets: &Path, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_reinpath"))
        .arg("model")
        .args(arguments)
        .env("REINPATH_HOME", home)
        .env("REINPATH_ASSETS", assets)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let copy = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &copy);
        } else {
            fs::copy(entry.path(), copy).unwrap();
        }
    }
}

#[test]
fn whole_and_broken_packages_are_listed_beside_the_demo() {
    let home = tempfile::tempdir().unwrap();
    let models = home.path().join("data/models");
    // Another package of the same files, and one whose weights are gone.
    for name in ["copy", "gutted"] {
        copy_folder(&assets().join("models/demo"), &models.join(name));
    }
    fs::remove_file(models.join("gutted/projector.safetensors")).unwrap();
    let lines: Vec<Value> = list(home.path(), &assets(), &["--json"])
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .collect();
    let [demo, copy, gutted] = lines.as_slice() else { panic!("three packages, not {lines:?}") };
    assert!(lines.iter().all(|line| line["type"] == "model"));
    assert_eq!(demo["data"]["demo"].as_bool(), Some(true));
    assert_eq!(copy["data"]["demo"].as_bool(), Some(false));
    for key in ["name", "bytes", "precision", "licence", "hash"] {
        assert!(!copy["data"][key].is_null(), "{key}");
        assert_eq!(demo["data"][key], copy["data"][key], "{key}");
    }
    assert_eq!(copy["data"]["folder"], models.join("copy").to_str().unwrap());
    let error = gutted["data"]["error"].as_str().unwrap();
    assert!(error.contains("missing") && error.contains("gutted"), "{error}");

    let words = list(home.path(), &assets(), &[]);
    assert_eq!(words.lines().count(), 3, "{words}");
    assert!(words.contains(" MB  ") && words.contains(error), "{words}");
}

#[test]
fn an_empty_list_says_how_to_get_a_package() {
    let home = tempfile::tempdir().unwrap();
    let words = list(home.path(), home.path(), &[]);
    assert!(words.contains("reinpath model get") && words.contains("models"), "{words}");
    assert!(words.contains("reinpath model list --known"), "{words}");
    assert_eq!(list(home.path(), home.path(), &["--json"]), "");
}

#[test]
fn what_a_licence_allows_and_forbids_is_told_wherever_its_package_is() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("data/models/bound");
    copy_folder(&assets().join("models/demo"), &folder);
    let known = Known::named("WenchuanZhang/Patho-R1-7B").unwrap();
    let manifest = Package::open(&folder).unwrap().manifest;
    let manifest = Manifest {
        name: "bound".to_owned(),
        licence: known.licence.to_owned(),
        terms: Some(known.terms()),
        ..manifest
    };
    PackageWriter::create(&folder).unwrap().manifest(&manifest).unwrap();

    let words = list(home.path(), home.path(), &[]);
    let [line, allows] = words.lines().collect::<Vec<_>>()[..] else { panic!("{words}") };
    assert!(line.starts_with("bound ") && line.contains(known.licence), "{words}");
    assert_eq!(allows.trim(), known.allows);
    let line: Value = serde_json::from_str(&list(home.path(), home.path(), &["--json"])).unwrap();
    assert_eq!(line["data"]["allows"].as_str(), Some(known.allows));
    assert_eq!(line["data"]["untrainable"].as_str(), known.refuses_training);
    let folder = folder.to_str().unwrap();
    let words = model(home.path(), &assets(), &["show", folder]);
    let told =
        |name: &str, value: &str| words.lines().any(|line| line.starts_with(name) && line.ends_with(value));
    assert!(told("allows", known.allows) && told("training", known.refuses_training.unwrap()), "{words}");
    let data: Value =
        serde_json::from_str(&model(home.path(), &assets(), &["show", folder, "--json"])).unwrap();
    assert_eq!(data["data"]["manifest"]["terms"]["allows"].as_str(), Some(known.allows));
}

#[test]
fn published_models_are_listed_without_any_package() {
    let home = tempfile::tempdir().unwrap();
    let words = list(home.path(), home.path(), &["--known"]);
    for known in KNOWN {
        assert!(words.contains(&format!("$(reinpath model get {})", known.repository)), "{words}");
    }
    assert_eq!(list(home.path(), home.path(), &["--known", "--json"]).lines().count(), KNOWN.len());
}
