//! What a licence says is kept: a package that must not be trained, and one that cannot be, are refused by every program
//! that trains, in one sentence.

use std::path::Path;
use std::process::{Command, Output};

use reinpath_model::fixture::{Speech, write_package, write_qwen_package};
use reinpath_model::package::{Known, Manifest, PackageWriter};
use reinpath_tests::program;
use reinpath_training::event::RunEvent;
use reinpath_training::rows::{Row, write_rows};

const RUN: &str = r#"
name = "terms"
seed = 5
base = "base"
[cold_start]
data = [{ folder = "data" }]
[cold_start.optimisation]
steps = 1
batch = 1
learning_rate = 1e-2
"#;

/// A folder with data, a configuration and a place for the package that is to be trained.
fn desk() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for name in ["base", "data"] {
        std::fs::create_dir(folder.path().join(name)).expect("a folder can be made");
    }
    let rows = [Row::from_caption("a", "a.png", "Glands.")];
    write_rows(&folder.path().join("data/rows.jsonl"), &rows).expect("rows can be written");
    std::fs::write(folder.path().join("run.toml"), RUN).expect("settings can be written");
    folder
}

fn train(folder: &Path, arguments: &str) -> Output {
    Command::new(program("reinpath-train"))
        .args(arguments.split_whitespace())
        .env_remove("RUST_LOG")
        .current_dir(folder)
        .output()
        .expect("the program starts")
}

/// The last that a command says which fails.
fn refusal(folder: &Path, arguments: &str) -> String {
    let output = train(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments}: {said}");
    said.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn patho_r1_is_trained_by_nobody() {
    let desk = desk();
    let terms = Known::named("WenchuanZhang/Patho-R1-3B").unwrap().terms();
    let sentence = terms.refuses_training.clone().unwrap();
    let manifest = write_package(&desk.path().join("base"), Speech::Babble(3)).unwrap();
    let manifest = Manifest { terms: Some(terms), ..manifest };
    PackageWriter::create(&desk.path().join("base")).unwrap().manifest(&manifest).unwrap();

    for arguments in [
        "run run.toml --run run",
        "resume run",
        "dataset check data --model base",
        "dataset preview data --model base",
    ] {
        let said = refusal(desk.path(), arguments);
        assert!(said.contains(&sentence), "{arguments}: {said}");
    }
    assert!(!desk.path().join("run/package").exists());
    let looked = train(desk.path(), "run run.toml --run another --dry-run");
    assert_eq!(looked.status.code(), Some(1));
    let findings: Vec<_> = String::from_utf8(looked.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| match serde_json::from_str::<RunEvent>(line).unwrap() {
            RunEvent::Finding(finding) if finding.is_fatal => Some(finding),
            _ => None,
        })
        .collect();
    let [finding] = &findings[..] else { panic!("{findings:?}") };
    assert!(finding.finding.contains(&sentence) && finding.cure.is_some(), "{finding:?}");
}

#[test]
fn a_qwen_is_neither_trained_nor_measured() {
    let desk = desk();
    write_qwen_package(&desk.path().join("base"), Speech::Babble(3)).unwrap();
    for (arguments, why) in [
        ("run run.toml --run run", "Qwen2.5-VL"),
        ("dataset stats data --model base", "Qwen2.5-VL"),
        ("evaluate --model base --benchmark phantom --limit 3", "only ReinPath's models are measured"),
        ("evaluate --model base --benchmark rows --data data", "only ReinPath's models are measured"),
    ] {
        let said = refusal(desk.path(), arguments);
        assert!(said.contains(why) && said.ends_with("base"), "{arguments}: {said}");
    }
}
