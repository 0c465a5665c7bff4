//! `reinpath ask --replay` as whoever types it sees it: the same text, or the first difference and its cause, with a model of
//! each family.

#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use reinpath_model::fixture::{Family, STAGED, Speech, write_package_of};
use reinpath_tests::program;
use serde_json::Value;

struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    /// A home with a package among its models, and a slide beside it.
    fn new(family: Family, speech: Speech<'_>) -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        desk.draw("slide.png", 99);
        let package = desk.path("home/data/models/fixture");
        std::fs::create_dir_all(&package).unwrap();
        write_package_of(family, &package, speech).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn draw(&self, name: &str, blue: u8) {
        let picture = image::RgbImage::from_fn(300, 200, |x, y| image::Rgb([x as u8, y as u8, blue]));
        picture.save(self.path(name)).unwrap();
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(program("reinpath"));
        command.arg("ask").args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("REINPATH_HOME", self.path("home")).env_remove("RUST_LOG");
        command.env("REINPATH_BIN_DIR", program("reinpath-worker").parent().unwrap());
        command.output().unwrap()
    }

    /// Asks and writes the events into `a.jsonl`.
    fn record(&self) {
        self.record_with(&[]);
    }

    /// The same with more arguments.
    fn record_with(&self, more: &[&str]) {
        let slide = self.path("slide.png");
        let package = self.path("home/data/models/fixture");
        let arguments = [
            slide.to_str().unwrap(),
            "--model",
            package.to_str().unwrap(),
            "--region",
            "40,50,32,32",
            "--region",
            "100,20,90,60",
            "--question",
            "What is it?",
            "--choice",
            "nests",
            "--choice",
            "glands",
            "--context",
            "colon",
            "--temperature",
            "1",
            "--seed",
            "5",
            "--max-tokens",
            "60",
            "--json",
        ];
        let output = self.ask(&[&arguments[..], more].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        std::fs::write(self.path("a.jsonl"), output.stdout).unwrap();
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn differs(output: &Output, part: &str) {
    let told = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(part), "{told}");
}

#[test]
fn the_same_question_gives_the_same_text() {
    for family in Family::ALL {
        let desk = Desk::new(family, Speech::Babble(3));
        desk.record();
        let output = desk.ask(&["--replay", "a.jsonl"]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(stdout(&output), "The same text.\n");
        // A stream of its own ends with what came of it.
        let output = desk.ask(&["--replay", "a.jsonl", "--json"]);
        assert!(output.status.success(), "{}", stderr(&output));
        let last: Value = serde_json::from_str(stdout(&output).lines().last().unwrap()).unwrap();
        assert_eq!((last["type"].as_str(), last["data"]["same"].as_bool()), (Some("replayed"), Some(true)));
        std::fs::write(desk.path("b.jsonl"), &output.stdout).unwrap();
        assert!(desk.ask(&["--replay", "b.jsonl"]).status.success(), "what it wrote can be asked again");
    }
}

#[test]
fn a_changed_slide_is_the_cause_and_a_moved_one_is_found() {
    for family in Family::ALL {
        let desk = Desk::new(family, Speech::Babble(3));
        desk.record();
        // Moved, and among the slides that the window remembers.
        std::fs::rename(desk.path("slide.png"), desk.path("moved.png")).unwrap();
        differs(&desk.ask(&["--replay", "a.jsonl"]), "is not found: name it");
        std::fs::create_dir_all(desk.path("home/config")).unwrap();
        let recent = format!("recent = ['{}']\n", desk.path("moved.png").display());
        std::fs::write(desk.path("home/config/window.toml"), recent).unwrap();
        let output = desk.ask(&["--replay", "a.jsonl"]);
        assert_eq!(stdout(&output), "The same text.\n", "{}", stderr(&output));
        // Another picture at its place, and the one that it was nowhere.
        std::fs::remove_file(desk.path("moved.png")).unwrap();
        desk.draw("slide.png", 7);
        differs(&desk.ask(&["--replay", "a.jsonl"]), "the slide is another, or was changed");
        differs(&desk.ask(&["slide.png", "--replay", "a.jsonl"]), "the slide is another, or was changed");
    }
}

#[test]
fn another_package_is_the_cause_and_a_missing_one_is_named() {
    for family in Family::ALL {
        let desk = Desk::new(family, Speech::Babble(3));
        desk.record();
        let other = desk.path("other");
        std::fs::create_dir(&other).unwrap();
        write_package_of(family, &other, Speech::Script(&STAGED)).unwrap();
        let output = desk.ask(&["--replay", "a.jsonl", "--model", "other"]);
        differs(&output, "the model package is another: fixture");
        assert!(output.stdout.is_empty(), "{}", stdout(&output));
        std::fs::rename(desk.path("home/data/models"), desk.path("elsewhere")).unwrap();
        differs(&desk.ask(&["--replay", "a.jsonl"]), "is not on this machine");
    }
}

#[test]
fn another_text_from_all_the_same_is_said_to_be_arithmetic() {
    for family in Family::ALL {
        let desk = Desk::new(family, Speech::Script(&STAGED));
        desk.record();
        let text =
            std::fs::read_to_string(desk.path("a.jsonl")).unwrap().replace(" are seen.", " were seen.");
        std::fs::write(desk.path("a.jsonl"), text).unwrap();
        let output = desk.ask(&["--replay", "a.jsonl"]);
        differs(&output, "arithmetic differs");
        assert!(stderr(&output).contains("are seen."), "{}", stderr(&output));
    }
}

#[test]
fn a_stamp_alone_is_asked_and_its_pixels_compared() {
    for family in Family::ALL {
        let desk = Desk::new(family, Speech::Script(&STAGED));
        desk.record();
        let text = std::fs::read_to_string(desk.path("a.jsonl")).unwrap();
        let started: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        std::fs::write(desk.path("stamp.json"), started["data"]["stamp"].to_string()).unwrap();
        let output = desk.ask(&["--replay", "stamp.json"]);
        assert!(output.status.success(), "{}", stderr(&output));
        let said = stdout(&output);
        assert!(said.contains("Glands are seen.") && said.contains("without a text to compare"), "{said}");
        desk.draw("slide.png", 7);
        differs(&desk.ask(&["--replay", "stamp.json"]), "not to the same question");
    }
}

#[test]
fn a_limit_of_pixels_is_asked_for_again() {
    let desk = Desk::new(Family::Qwen, Speech::Babble(3));
    desk.record_with(&["--max-pixels", "1600"]);
    let output = desk.ask(&["--replay", "a.jsonl", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let started: Value = serde_json::from_str(stdout(&output).lines().next().unwrap()).unwrap();
    let stamp = &started["data"]["stamp"];
    assert_eq!(stamp["max_pixels"], 1600);
    let tensor = &stamp["patches"][1]["encoders"][0]["tensor"];
    assert_eq!(*tensor, serde_json::json!([28, 28]), "90 × 60 px are too many");
}

#[test]
fn a_replay_takes_its_question_from_the_file_alone() {
    let desk = Desk::new(Family::ReinPath, Speech::Script(&STAGED));
    for wrong in [
        &["--replay", "a.jsonl", "--question", "What?"][..],
        &["--replay", "a.jsonl", "--region", "1,2,3,4"],
        &["--replay", "a.jsonl", "--seed", "0"],
        &["--replay", "a.jsonl", "--max-pixels", "1600"],
        &["slide.png", "--region", "1,2,3,4", "--question", "What?", "--answer", "x"],
    ] {
        let output = desk.ask(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", stderr(&output));
    }
    differs(&desk.ask(&["--replay", "nonesuch.jsonl"]), "nonesuch.jsonl");
}
