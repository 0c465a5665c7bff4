//! `reinpath-train dataset …` as a person runs it: good, broken, leaking, tiny and large data sets, and published ones.

#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use reinpath_model::fixture::{Speech, write_package};
use reinpath_tests::{program, shared};
use serde_json::Value;

fn train(arguments: &[&str]) -> Output {
    let mut command = Command::new(program("reinpath-train"));
    command.args(arguments).env_remove("RUST_LOG").stdin(Stdio::null());
    command.output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a command that must succeed printed.
fn told(arguments: &[&str]) -> String {
    let output = train(arguments);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    stdout(&output)
}

/// The one sentence of a command that must fail.
fn refused(arguments: &[&str]) -> String {
    let output = train(arguments);
    assert_eq!(output.status.code(), Some(1), "{}{}", stdout(&output), stderr(&output));
    assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    stderr(&output)
}

/// The data of the last object that `--json` printed, which is of the type `finished`.
fn finished(text: &str) -> Value {
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["type"], "finished", "{text}");
    last["data"].clone()
}

struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn picture(&self, name: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([8 * x as u8, 8 * y as u8, 99]))
            .save(path)
            .unwrap();
    }

    fn rows(&self, folder: &str, lines: &[String]) -> String {
        std::fs::create_dir_all(self.path(folder)).unwrap();
        std::fs::write(self.path(folder).join("rows.jsonl"), lines.join("\n")).unwrap();
        self.text(folder)
    }
}

/// A row of a choice question with a staged answer; `more` are further keys, each with a comma before it.
fn row(id: &str, image: &str, more: &str) -> String {
    format!(
        r#"{{"id":"{id}","images":["{image}"],"kind":"choice","subtask":"architecture","question":"What is it?","choices":["glands","nests"],"label":"B","answer":{{"observation":"Solid nests.","analysis":"No lumina are seen.","conclusion":"B) nests"}}{more}}}"#
    )
}

#[test]
fn a_phantom_data_set_is_split_checked_and_counted() {
    let desk = Desk::new();
    let data = desk.text("phantoms");
    told(&["phantom", "--count", "10", "--seed", "3", "--questions", "2", "--captions", "1", "-o", &data]);
    let split = ["dataset", "split", &data, "--validation", "0.2", "--test", "0.2", "-o", &data];
    assert!(refused(&split).contains("--force"), "what is there is not overwritten by accident");
    let text = told(&[&split[..], &["--force"]].concat());
    assert!(text.contains("validation") && text.contains("20.0 %"), "{text}");

    let text = told(&["dataset", "check", &data, "--decode"]);
    assert!(text.contains("30 rows, 10 images") && !text.contains("Would stop"), "{text}");
    let report = finished(&told(&["dataset", "check", &data, "--json"]));
    assert_eq!((&report["rows"], &report["parts"]["test"]), (&30.into(), &6.into()));
    assert_eq!(report["usable"]["alignment"], 10);

    let stats = finished(&told(&["dataset", "stats", &data, "--json"]));
    assert_eq!((&stats["all"]["rows"], &stats["unit"]), (&30.into(), &"words".into()));
    let text = told(&["dataset", "stats", &data]);
    assert!(text.contains("mean words") && text.contains("Right answers of choice"), "{text}");

    let chosen = desk.text("phantoms/cold-start.jsonl");
    let text = told(&["dataset", "select", &data, "--count", "5", "-o", &chosen]);
    assert!(text.starts_with("5 rows taken"), "{text}");
    let text = told(&["dataset", "check", &chosen]);
    assert!(text.contains("5 rows") && text.contains("Nothing is held out"), "{text}");
    let elsewhere = refused(&["dataset", "select", &data, "--count", "5", "-o", &desk.text("x.jsonl")]);
    assert!(elsewhere.contains("beside the images"), "{elsewhere}");
}

#[test]
fn everything_that_is_wrong_is_said_at_once_with_its_places() {
    let desk = Desk::new();
    desk.picture("data/img/0.png");
    desk.picture("data/img/1.png");
    std::fs::write(desk.path("data/img/text.png"), "no picture").unwrap();
    let lines = [
        row("a", "img/0.png", r#","patient":"p1","split":"train""#),
        row("b", "img/1.png", r#","patient":"p1","split":"test""#),
        row("c", "img/gone.png", r#","patient":"p2""#),
        row("d", "img/text.png", r#","patient":"p2""#),
        r#"{"id":"e","images":["img/0.png"]}"#.to_owned(),
        "not JSON".to_owned(),
        r#"{"id":"f","images":["img/0.png"],"kind":"open","question":"What?","answer":{"text":"Nests."},"patient":"p2"}"#
            .to_owned(),
        row("a", "img/0.png", r#","patient":"p2""#),
    ];
    let data = desk.rows("data", &lines);
    let output = train(&["dataset", "check", &data]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    for said in [
        "6 rows, 4 images",
        "1 image is not there",
        "line 3, c: img/gone.png",
        "line 4, d: img/text.png",
        "2 lines cannot be read as a row",
        "line 6: ",
        "the patient “p1” lies in train and in test",
        "1 row without the three stages",
        "1 row with an id that another row has",
    ] {
        assert!(text.contains(said), "“{said}” is not said:\n{text}");
    }
    assert!(stderr(&output).starts_with("5 things must be mended"), "{}", stderr(&output));

    let output = train(&["dataset", "check", &data, "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let events: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = events
        .iter()
        .filter(|event| event["type"] == "finding")
        .map(|event| event["data"]["kind"].as_str().unwrap())
        .collect();
    let want =
        ["broken_row", "repeated_id", "missing_image", "unreadable_image", "leakage", "without_stages"];
    assert_eq!(kinds, want);
    assert_eq!(events[2]["data"]["places"][0]["line"], 3);
    assert!(refused(&["dataset", "check", &desk.text("nothing")]).contains("rows.jsonl"));
}

#[test]
fn rows_are_held_against_a_package_and_shown_as_it_gets_them() {
    let desk = Desk::new();
    desk.picture("data/img/0.png");
    let long = "nests and ".repeat(6_000);
    let lines = [
        row("short", "img/0.png", r#","mpp":0.5"#),
        row("long", "img/0.png", "").replace("Solid nests.", &long),
    ];
    let data = desk.rows("data", &lines);
    let package = desk.text("package");
    std::fs::create_dir(&package).unwrap();
    write_package(Path::new(&package), Speech::Babble(1)).unwrap();
    let output = train(&["dataset", "check", &data, "--model", &package]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(text.contains("1 row longer than the model reads") && text.contains("line 2, long"), "{text}");
    assert!(text.contains("The scale of the patch is unknown"), "{text}");
    let stats = finished(&told(&["dataset", "stats", &data, "--model", &package, "--json"]));
    assert_eq!(stats["unit"], "tokens");

    let pixels = desk.text("pixels");
    let shown = told(&["dataset", "preview", &data, "--model", &package, "-o", &pixels]);
    assert!(shown.contains("What is it?\nA) glands\nB) nests") && shown.contains("of image 1"), "{shown}");
    let picture = image::open(desk.path("pixels/row1-image1-conch.png")).unwrap().into_rgb8();
    assert_eq!(picture.dimensions(), (16, 16));
    let json = told(&["dataset", "preview", &data, "--model", &package, "--row", "long", "--json"]);
    let view: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&view["type"], &view["data"]["id"]), (&"preview".into(), &"long".into()));
    let stretches = view["data"]["stretches"].as_array().unwrap();
    let what: Vec<&str> = stretches.iter().map(|stretch| stretch["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["text", "image", "text", "answer"]);
    let (prompt, answer) = (&view["data"]["prompt_tokens"], &stretches[3]);
    assert_eq!(prompt, &answer["at"], "the answer begins where the prompt ends");
    let wrong = refused(&["dataset", "preview", &data, "--model", &package, "--row", "x"]);
    assert!(wrong.contains("“x”"), "{wrong}");
}

#[test]
fn a_data_set_of_one_row_is_checked_and_selected_but_cannot_be_split() {
    let desk = Desk::new();
    desk.picture("data/x.png");
    let data = desk.rows("data", &[row("only", "x.png", "")]);
    let text = told(&["dataset", "check", &data]);
    assert!(text.contains("1 row, 1 image.") && text.contains("Nothing is held out"), "{text}");
    let out = desk.text("data/out.jsonl");
    let sentence = refused(&["dataset", "split", &data, "-o", &out]);
    assert!(sentence.contains("one block") && !Path::new(&out).exists(), "{sentence}");
    assert!(told(&["dataset", "select", &data, "--count", "9", "-o", &out]).contains("no more than these"));
}

#[test]
fn twenty_thousand_rows_are_checked_in_seconds() {
    let desk = Desk::new();
    for n in 0..200 {
        desk.picture(&format!("data/img/{n}.png"));
    }
    let mut text = String::new();
    for n in 0..20_000 {
        let part = if n % 200 < 20 { "test" } else { "train" };
        let more = format!(r#","slide":"s{}","split":"{part}""#, n % 200);
        writeln!(text, "{}", row(&format!("q{n}"), &format!("img/{}.png", n % 200), &more)).unwrap();
    }
    std::fs::write(desk.path("data/rows.jsonl"), text).unwrap();
    let began = Instant::now();
    let report = finished(&told(&["dataset", "check", &desk.text("data"), "--json"]));
    let took = began.elapsed();
    assert_eq!((&report["rows"], &report["images"]), (&20_000.into(), &200.into()));
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn published_data_sets_become_rows() {
    let Some(pathgen) = shared("data/vqa/pathgen/PathGen-1.6M_sample.json") else { return };
    let desk = Desk::new();
    let out = desk.text("pathgen");
    let import = [
        "dataset",
        "import",
        pathgen.to_str().unwrap(),
        "-o",
        &out,
        "--images",
        "img",
        "--licence",
        "CC-BY-4.0",
    ];
    let imported = finished(&told(&[&import[..], &["--json"]].concat()));
    assert_eq!((&imported["rows"], &imported["kinds"]["caption"]), (&5000.into(), &5000.into()));
    let stats = finished(&told(&["dataset", "stats", &out, "--json"]));
    assert_eq!((&stats["slides"], &stats["images"]), (&3582.into(), &5000.into()));
    let mean = stats["all"]["mean_length"].as_f64().unwrap();
    assert!((mean - 49.8).abs() < 0.1, "the mean caption has 49.8 words, not {mean}");
    let output = train(&["dataset", "check", &out]);
    assert!(stdout(&output).contains("5,000 images are not there"), "they have to be cut from the slides");

    let Some(choices) = shared("data/vqa/wsi-bench/Morphology_choice_test.json") else { return };
    let out = desk.text("wsi-bench");
    let arguments = ["dataset", "import", choices.to_str().unwrap(), "-o", &out, "--split", "test", "--json"];
    let imported = finished(&told(&arguments));
    assert_eq!((&imported["rows"], &imported["kinds"]["choice"]), (&682.into(), &682.into()));
    let stats = finished(&told(&["dataset", "stats", &out, "--json"]));
    // All but one answer is a letter alone; that one is `B "`.
    let labels = &stats["labels"]["choice"];
    let counts: Vec<u64> =
        ["A", "B", "C", "D"].iter().map(|&letter| labels[letter].as_u64().unwrap()).collect();
    assert_eq!(counts, [98, 344, 189, 50]);
    assert_eq!(stats["parts"]["test"]["rows"], 682);
}
