//! From a slide file to a staged answer: `reinpath ask` as a person runs it, with a tiny model.

#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use reinpath_model::event::{AskEvent, Stop};
use reinpath_model::fixture::{STAGED, Speech, write_package};
use reinpath_model::stage::AnswerStage;
use reinpath_tests::{program, shared};

struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    /// A folder with a slide of 300 × 200 pixels and a model package.
    fn new(speech: Speech<'_>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let picture = image::RgbImage::from_fn(300, 200, |x, y| image::Rgb([x as u8, y as u8, 99]));
        picture.save(folder.path().join("slide.png")).unwrap();
        let package = folder.path().join("package");
        std::fs::create_dir(&package).unwrap();
        write_package(&package, speech).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ask(&self, slide: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("reinpath"));
        command.arg("ask").arg(slide).arg("--model").arg(self.path("package")).args(arguments);
        command.env("REINPATH_BIN_DIR", program("reinpath-worker").parent().unwrap());
        command.env_remove("RUST_LOG").stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.ask(&self.path("slide.png"), arguments).output().unwrap()
    }
}

fn events(output: &Output) -> Vec<AskEvent> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const REGION: [&str; 2] = ["--region", "40,50,32,32"];
const QUESTION: [&str; 2] = ["--question", "What is it?"];

#[test]
fn the_events_come_in_order_and_the_stamp_tells_everything() {
    let desk = Desk::new(Speech::Script(&STAGED));
    let inputs = desk.path("inputs");
    let arguments = [
        &REGION[..],
        &["--region", "-10,180,64,32"],
        &QUESTION,
        &["--choice", "nests", "--choice", "glands", "--context", "colon", "--seed", "7", "--json"],
        &["--save-inputs", inputs.to_str().unwrap()],
    ];
    let output = desk.run(&arguments.concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let events = events(&output);
    let Some(AskEvent::Started { stamp }) = events.first() else { panic!("no stamp first") };
    let slide = stamp.slide.as_ref().unwrap();
    assert!(slide.path.ends_with("slide.png") && slide.hash.len() == 64);
    let sources: Vec<_> = stamp.patches.iter().map(|p| p.source.clone().unwrap()).collect();
    assert_eq!((sources[0].region, sources[1].region), ([40, 50, 32, 32], [-10, 180, 64, 32]));
    assert_eq!((sources[0].mpp_origin.as_str(), stamp.patches[0].mpp), ("missing", None));
    assert_eq!((stamp.sampling.seed, stamp.sampling.max_tokens, stamp.context.as_str()), (7, 64, "colon"));
    let warnings = stamp.warnings.join(" ");
    for part in ["scale of the patch is unknown", "not square", "past the slide's edge"] {
        assert!(warnings.contains(part), "{warnings}");
    }
    let stages: Vec<_> = events
        .iter()
        .filter_map(|e| if let AskEvent::Stage { stage } = e { Some(*stage) } else { None })
        .collect();
    assert_eq!(stages, AnswerStage::ALL);
    let Some(AskEvent::Finished(finished)) = events.last() else { panic!("no end") };
    assert_eq!((finished.choice.as_deref(), finished.stop), (Some("B"), Stop::End));
    // The pixels of the first patch, seen at half the size by both encoders.
    for encoder in ["conch", "uni"] {
        let picture = image::open(inputs.join(format!("patch1-{encoder}.png"))).unwrap().into_rgb8();
        assert_eq!(picture.dimensions(), (16, 16));
        let [r, g, b] = picture.get_pixel(8, 8).0;
        assert!(r.abs_diff(56) <= 1 && g.abs_diff(66) <= 1 && b == 99, "{r} {g} {b}");
    }
}

#[test]
fn maps_are_written_as_pictures_and_numbers() {
    let desk = Desk::new(Speech::Script(&STAGED));
    let maps = desk.path("maps");
    let output = desk.run(&[&REGION[..], &QUESTION, &["--save-maps", maps.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let text = std::fs::read_to_string(maps.join("maps.json")).unwrap();
    let records: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(records.len(), 3 * 2, "three sentences, two methods");
    for record in &records {
        let picture = image::open(maps.join(record["file"].as_str().unwrap())).unwrap().into_rgb8();
        assert_eq!(picture.dimensions(), (32, 32));
        for key in ["drop", "random_drop", "difference"] {
            assert_eq!(record[key].as_f64(), Some(0.0), "the script is said whatever is seen");
        }
    }
    assert_eq!(records[0]["sentence"], "Glands are seen.");
    assert_eq!(records[0]["file"], "observation1-patch1-tam.png");
}

#[test]
fn people_read_three_headings_and_the_stamp_stays_on_stderr() {
    let desk = Desk::new(Speech::Script(&STAGED));
    let output = desk.run(&[&REGION[..], &["--template", "describe"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let want = "Observation\nGlands are seen.\n\nAnalysis\nThey are regular.\n\nConclusion\nB) glands\n";
    assert_eq!(text, want);
    let notes = stderr(&output);
    assert!(notes.contains("warning: The scale") && notes.contains("model fixture"), "{notes}");
}

#[test]
fn the_same_seed_gives_the_same_events() {
    let desk = Desk::new(Speech::Babble(3));
    let run = |seed: &str| {
        let rest = ["--temperature", "1", "--max-tokens", "60", "--json", "--seed", seed];
        let output = desk.run(&[&REGION[..], &QUESTION, &rest].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let told = |e: &AskEvent| matches!(e, AskEvent::Stage { .. } | AskEvent::Token { .. });
        events(&output).into_iter().filter(told).collect::<Vec<_>>()
    };
    let first = run("5");
    assert!(first.len() > 10);
    assert_eq!(first, run("5"));
    assert_ne!(first, run("6"));
}

#[test]
fn bad_input_is_one_sentence_and_exit_code_1() {
    let desk = Desk::new(Speech::Script(&STAGED));
    let failed = |output: Output, part: &str| {
        let notes = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{notes}");
        assert_eq!(notes.lines().count(), 1, "{notes}");
        assert!(notes.contains(part), "{notes}");
    };
    failed(desk.run(&[&["--region", "300,0,10,10"][..], &QUESTION].concat()), "slide of 300 × 200 pixels");
    failed(desk.run(&[&REGION[..], &["--question", " "]].concat()), "the question is empty");
    failed(desk.run(&[&REGION[..], &QUESTION, &["--top-p", "0"]].concat()), "top-p");
    failed(desk.run(&[&REGION[..], &QUESTION, &["--device", "gpu"]].concat()), "'gpu' is no device");
    failed(desk.run(&[&REGION[..], &QUESTION, &["--worker", "/no/such"]].concat()), "/no/such");
    let no_slide = desk.path("package").join("config.json");
    failed(desk.ask(&no_slide, &[&REGION[..], &QUESTION].concat()).output().unwrap(), "config.json");
    std::fs::remove_file(desk.path("package").join("uni.safetensors")).unwrap();
    failed(desk.run(&[&REGION[..], &QUESTION].concat()), "uni.safetensors");
    let json = desk.run(&[&REGION[..], &QUESTION, &["--json"]].concat());
    assert!(matches!(events(&json).as_slice(), [AskEvent::Failed { error }] if error.contains("uni.safe")));
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let desk = Desk::new(Speech::Script(&STAGED));
    for wrong in [
        &QUESTION[..],
        &REGION[..],
        &["--region", "1,2,3", "--question", "What?"],
        &["--region", "1,2,3,4", "--question", "What?", "--template", "describe"],
        &["--region", "1,2,3,4", "--template", "nonesuch"],
        &["--region", "1,2,3,4", "--question", "What?", "--mpp", "0"],
        &["--region", "1,2,3,4", "--question", "What?", "--replay", "stamp.json"],
    ] {
        let output = desk.run(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_the_answer_and_ends_with_130() {
    let desk = Desk::new(Speech::Babble(3));
    let rest = ["--max-tokens", "40000", "--json"];
    let mut command = desk.ask(&desk.path("slide.png"), &[&REGION[..], &QUESTION, &rest].concat());
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("\"token\"") {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended early");
    }
    assert!(
        Command::new("sh").args(["-c", &format!("kill -INT {}", process.id())]).status().unwrap().success()
    );
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(130));
    let last: AskEvent = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    let AskEvent::Finished(finished) = last else { panic!("no end: {last:?}") };
    assert_eq!(finished.stop, Stop::Cancelled);
    assert!(finished.tokens < 40_000);
}

#[test]
fn a_real_slide_is_asked_at_the_packages_scale() {
    let Some(slide) = shared("data/slides/aperio/CMU-1-Small-Region.svs") else { return };
    let desk = Desk::new(Speech::Script(&STAGED));
    let arguments = ["--region", "400,600,512,512", "--question", "Describe this field.", "--json"];
    let output = desk.ask(&slide, &arguments).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let events = events(&output);
    let Some(AskEvent::Started { stamp }) = events.first() else { panic!("no stamp first") };
    let patch = &stamp.patches[0];
    assert!((patch.mpp.unwrap() - 0.5).abs() < 0.005, "{:?}", patch.mpp);
    assert!((patch.source.as_ref().unwrap().slide_mpp.unwrap() - 0.499).abs() < 1e-6);
    assert!(stamp.warnings.iter().any(|w| w.contains("255 µm of tissue")), "{:?}", stamp.warnings);
    assert!(matches!(events.last(), Some(AskEvent::Finished(f)) if f.format_ok));
}
