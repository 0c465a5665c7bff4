//! A Qwen2.5-VL's folder on its way through `reinpath model`: added, looked at, checked, converted, listed; its licence and terms stay
//! with it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use reinpath_model::fixture::{Keys, STAGED, Speech, write_folder};
use reinpath_model::package::Known;
use reinpath_tests::program;
use serde_json::Value;

/// A folder as it would be downloaded, whose name is that of a published model.
fn downloaded(home: &Path, keys: Keys) -> PathBuf {
    let folder = home.join("Patho-R1-3B");
    std::fs::create_dir(&folder).expect("the folder can be made");
    write_folder(&folder, Speech::Script(&STAGED), keys).expect("the folder can be written");
    folder
}

fn model(home: &Path, arguments: &[&str]) -> Output {
    let worker = program("reinpath-worker");
    Command::new(program("reinpath"))
        .arg("model")
        .args(arguments)
        .env("REINPATH_HOME", home)
        .env("REINPATH_ASSETS", home)
        .env("REINPATH_BIN_DIR", worker.parent().expect("it lies in a folder"))
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

/// What a command says on stdout.
fn said(home: &Path, arguments: &[&str]) -> String {
    let output = model(home, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it is text")
}

#[test]
fn a_folder_as_it_was_downloaded_becomes_a_package_that_keeps_its_terms() {
    for keys in [Keys::Older, Keys::Newer] {
        let home = tempfile::tempdir().unwrap();
        let folder = downloaded(home.path(), keys);
        let known = Known::named("WenchuanZhang/Patho-R1-3B").unwrap();
        let added = said(home.path(), &["add", "mine", "--language", folder.to_str().unwrap()]);
        let package = home.path().join("data/models/mine");
        assert!(added.contains(known.allows), "{added}");
        assert_eq!(added.lines().last(), package.to_str());
        let package = package.to_str().unwrap();
        assert!(said(home.path(), &["check", package, "--load"]).contains("fits together"));
        said(home.path(), &["convert", package, "--to", "q8_0"]);

        let converted = format!("{package}-q8_0");
        for (folder, precision) in [(package, "bf16"), (&converted, "q8_0")] {
            let shown: Value = serde_json::from_str(&said(home.path(), &["show", folder, "--json"])).unwrap();
            let manifest = &shown["data"]["manifest"];
            assert_eq!(manifest["architecture"], "qwen2.5-vl");
            assert_eq!(manifest["language"]["precision"], precision);
            assert_eq!(manifest["instructions"]["form"], "think");
            assert_eq!(manifest["terms"]["refuses_training"].as_str(), known.refuses_training);
            let licence = manifest["licence"].as_str().unwrap();
            assert!(licence.contains(known.licence), "{licence}");
            let words = said(home.path(), &["show", folder]);
            assert!(words.contains("vision tower") && words.contains("any size"), "{words}");
        }
        let listed = said(home.path(), &["list"]);
        assert_eq!(listed.matches(known.allows).count(), 2, "{listed}");
    }
}

#[test]
fn what_cannot_become_a_package_is_refused_by_a_sentence_and_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let folder = downloaded(home.path(), Keys::Older);
    let path = folder.to_str().unwrap();
    let refused = |more: &[&str], why: &str| {
        let output = model(home.path(), &[&["add", "mine", "--language", path][..], more].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.lines().count() == 1 && said.contains(why), "{said}");
        let left = std::fs::read_dir(home.path().join("data/models")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{why}");
    };
    refused(&["--grid", "pooled"], "--grid is for ReinPath models");
    refused(&["--conch", path], "--conch is for ReinPath models");
    let shard = folder.join("model-00002-of-00002.safetensors");
    std::fs::rename(&shard, folder.join("elsewhere")).unwrap();
    refused(&[], "model-00002-of-00002.safetensors");
    std::fs::write(folder.join("config.json"), r#"{"model_type": "llava"}"#).unwrap();
    std::fs::rename(folder.join("elsewhere"), &shard).unwrap();
    refused(&[], "'llava'");
}
