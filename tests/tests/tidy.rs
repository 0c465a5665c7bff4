//! The rules of `ARCHITECTURE.md` and `CONTRIBUTING.md` that a program can hold: which crate knows which, what a source
//! file starts with and how long it is, that the code map is complete, and that no path of one machine is committed.
//! After rust-analyzer's tidy tests. What needs judgement (names, comments, sizes of functions) stays with clippy and the reader.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const CRATES: [&str; 4] = ["app", "model", "training", "tests"];
const LONGEST_FILE: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests crate lies in the workspace")
        .to_path_buf()
}

/// Every file under `folder` that could be committed, as paths relative to the workspace, sorted.
fn files_under(folder: &str) -> Vec<String> {
    // What `.gitignore` names, and git's own folder (a file in a linked work tree).
    const NOT_OURS: [&str; 4] = ["target", ".git", "packaging/vendor", "runs"];
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the workspace can be listed") {
            let path = entry.expect("its entries can be read").path();
            let relative = path
                .strip_prefix(&root)
                .expect("it lies in the workspace")
                .to_string_lossy()
                .replace('\\', "/");
            if NOT_OURS.contains(&relative.as_str()) || relative.ends_with("/__pycache__") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(relative);
            }
        }
    }
    found.sort();
    found
}

fn is_rust(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|extension| extension == "rs")
}

fn rust_files() -> Vec<String> {
    let files: Vec<String> =
        CRATES.iter().flat_map(|folder| files_under(folder)).filter(|file| is_rust(file)).collect();
    assert!(files.len() > 8, "only {} source files found: the walk is broken", files.len());
    files
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{error}: {file}"))
}

/// Fails with one line per finding.
fn none(what: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{what}:\n  {}", findings.join("\n  "));
}

/// The names under `[dependencies]` of a crate's manifest (not those of its tests).
fn dependencies(folder: &str) -> BTreeSet<String> {
    let manifest: toml::Table = read(&format!("{folder}/Cargo.toml")).parse().expect("a manifest is TOML");
    manifest["dependencies"].as_table().expect("[dependencies] is a table").keys().cloned().collect()
}

/// `cargo tree` of one package alone, as it is built for this machine: one `name` a line.
fn packages_linked_by(package: &str, extra: &[&str]) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").expect("cargo names itself to the tests it runs");
    let output = Command::new(cargo)
        .args([
            "tree",
            "--offline",
            "--locked",
            "-p",
            package,
            "-e",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{lib}",
        ])
        .args(extra)
        .current_dir(root())
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| line.trim_end_matches(" (*)").to_owned())
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    let model = dependencies("model");
    let training = dependencies("training");
    let app = dependencies("app");
    assert!(
        app.contains("reinpath-training") && app.contains("reinpath-model"),
        "app uses training and model"
    );
    assert!(training.contains("reinpath-model"), "training uses model");
    for (name, known, unknown) in [
        ("model", &model, &["reinpath", "reinpath-training", "reinpath-tests"][..]),
        ("training", &training, &["reinpath", "reinpath-tests"]),
        ("app", &app, &["reinpath-tests"]),
    ] {
        for package in unknown {
            assert!(!known.contains(*package), "{name} must not depend on {package}");
        }
    }
    for (name, known) in [("model", &model), ("training", &training)] {
        for package in ["egui", "eframe", "wgpu", "openslide-rs", "openslide-sys", "rfd"] {
            assert!(!known.contains(package), "{name} knows no slide and no window, so not {package}");
        }
    }
}

#[test]
fn the_window_links_no_candle() {
    let window = packages_linked_by("reinpath", &[]);
    assert!(
        window.contains("egui") && window.contains("reinpath_model"),
        "cargo tree names what the window links: {window:?}"
    );
    let arithmetic: Vec<String> =
        window.into_iter().filter(|name| name.starts_with("candle") || name.starts_with("cudarc")).collect();
    none("The window must leave the arithmetic to its workers", &arithmetic);
}

/// Of all that is linked, what opens connections is used in one file: the one behind `reinpath model get`.
#[test]
fn one_source_file_uses_the_network() {
    let users: Vec<String> = rust_files()
        .into_iter()
        .filter(|file| file.contains("/src/"))
        .filter(|file| {
            let text = read(file);
            ["ureq::", "rustls::", "TcpStream", "UdpSocket", "TcpListener"]
                .iter()
                .any(|word| text.contains(word))
        })
        .collect();
    assert_eq!(users, ["app/src/hub/client.rs"]);
    for folder in ["model", "training"] {
        for package in ["ureq", "rustls"] {
            assert!(!dependencies(folder).contains(package), "{folder} needs no network, so not {package}");
        }
    }
}

#[test]
fn every_source_file_says_what_it_is() {
    let silent: Vec<String> =
        rust_files().into_iter().filter(|file| !read(file).starts_with("//! ")).collect();
    none("Files that do not open with `//!`", &silent);
}

#[test]
fn no_source_file_is_long() {
    let long: Vec<String> = rust_files()
        .into_iter()
        .map(|file| (read(&file).lines().count(), file))
        .filter(|(lines, _)| *lines > LONGEST_FILE)
        .map(|(lines, file)| format!("{file}: {lines} lines"))
        .collect();
    none("Files over 500 lines", &long);
}

/// What the code map names, by folder: under each heading such as `app/src`, the source files and folders in backquotes.
fn code_map() -> BTreeMap<String, BTreeSet<String>> {
    let mut map = BTreeMap::new();
    let mut folder: Option<String> = None;
    for line in read("ARCHITECTURE.md").lines() {
        let mut quoted = line.split('`').skip(1).step_by(2).map(str::to_owned);
        if line.starts_with('#') {
            folder = if line.starts_with("### ") { quoted.next() } else { None };
        } else if let Some(folder) = &folder {
            let names = quoted.filter(|name| is_rust(name) || name.ends_with('/'));
            map.entry(folder.clone()).or_insert_with(BTreeSet::new).extend(names);
        }
    }
    map
}

/// Whether a name of the code map (`slide.rs`, `owner.rs`, `slide/owner.rs`, `render/`) means a file under its folder.
fn means(name: &str, file: &str) -> bool {
    let file = format!("/{file}");
    let name = format!("/{name}");
    if name.ends_with('/') { file.contains(&name) } else { file.ends_with(&name) }
}

#[test]
fn the_code_map_names_every_source_file() {
    let map = code_map();
    let (mut unnamed, mut gone) = (Vec::new(), Vec::new());
    for folder in CRATES.map(|folder| format!("{folder}/src")) {
        let names = map.get(&folder).unwrap_or_else(|| panic!("ARCHITECTURE.md has no `### {folder}`"));
        let files = files_under(&folder);
        let files: Vec<&str> =
            files.iter().filter_map(|file| file.strip_prefix(&format!("{folder}/"))).collect();
        let is_named = |file: &str| names.iter().any(|name| means(name, file));
        unnamed.extend(files.iter().filter(|file| !is_named(file)).map(|file| format!("{folder}/{file}")));
        let is_there = |name: &str| files.iter().any(|file| means(name, file));
        gone.extend(names.iter().filter(|name| !is_there(name)).map(|name| format!("{folder}/{name}")));
    }
    none("Not in the code map of ARCHITECTURE.md", &unnamed);
    none("In the code map, but not there", &gone);
}

/// Whether a line holds a path that exists on one machine only: a first folder that is somebody's, at the start of a path.
fn has_machine_path(line: &str) -> bool {
    ["home", "root", "work", "farm", "Users"].iter().any(|folder| {
        let path = format!("/{folder}/");
        line.match_indices(&path).any(|(start, _)| {
            let before = line[..start].chars().next_back();
            !before.is_some_and(|before| before.is_alphanumeric() || "._-)}>/*$~".contains(before))
        })
    })
}

#[test]
fn a_machine_path_is_seen() {
    let slash = '/';
    for path in [
        format!("{slash}home{slash}ada{slash}slide.svs"),
        format!("see `{slash}root{slash}x`"),
        format!("C:{slash}Users{slash}ada"),
    ] {
        assert!(has_machine_path(&path), "{path}");
    }
    for path in [
        format!("assets{slash}work{slash}x"),
        format!("$OUT{slash}root{slash}x"),
        format!("https:{slash}{slash}a.org{slash}home{slash}x"),
    ] {
        assert!(!has_machine_path(&path), "{path}");
    }
}

#[test]
fn no_path_of_one_machine_is_committed() {
    let mut found = Vec::new();
    for file in files_under(".") {
        // Weights and pictures are not text; neither is what only looks like it.
        let Ok(text) = fs::read_to_string(root().join(&file)) else { continue };
        let lines = text.lines().enumerate().filter(|(_, line)| has_machine_path(line));
        found.extend(lines.map(|(index, _)| format!("{file}:{}", index + 1)));
    }
    none("Paths of one machine", &found);
}
