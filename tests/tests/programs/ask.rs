//! From a slide file to a staged answer: `reinpath ask` as a person runs it, with a tiny model of each family.

#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use reinpath_model::event::{AskEvent, Stop};
use reinpath_model::fixture::{Family, STAGED, Speech, write_package_of};
use reinpath_model::stage::AnswerStage;
use reinpath_tests::{program, shared};

struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    /// A folder with a slide of 300 × 200 pixels and a model package.
    fn new(family: Family, speech: Speech<'_>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let picture = image::RgbImage::from_fn(300, 200, |x, y| image::Rgb([x as u8, y as u8, 99]));
        picture.save(folder.path().join("slide.png")).unwrap();
        let package = folder.path().join("package");
        std::fs::create_dir(&package).unwrap();
        write_package_of(family, &package, speech).unwrap();
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
    for family in Family::ALL {
        let desk = Desk::new(family, Speech::Script(&STAGED));
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
        assert_eq!(
            (stamp.sampling.seed, stamp.sampling.max_tokens, stamp.context.as_str()),
            (7, 64, "colon")
        );
        let warnings = stamp.warnings.join(" ");
        assert!(warnings.contains("past the slide's edge"), "{warnings}");
        for part in ["scale of the patch is unknown", "not square"] {
            // The other family takes patches of any size.
            assert_eq!(warnings.contains(part), family == Family::ReinPath, "{warnings}");
        }
        let stages: Vec<_> = events
            .iter()
            .filter_map(|e| if let AskEvent::Stage { stage } = e { Some(*stage) } else { None })
            .collect();
        assert_eq!(stages, AnswerStage::ALL);
        let Some(AskEvent::Finished(finished)) = events.last() else { panic!("no end") };
        assert_eq!((finished.choice.as_deref(), finished.stop), (Some("B"), Stop::End));
        assert_eq!(finished.raw, STAGED.concat());
        // The pixels of the first patch: seen at half the size by both encoders, or rounded to one image token.
        let (seen_by, side): (&[&str], u32) = match family {
            Family::ReinPath => (&["conch", "uni"], 16),
            Family::Qwen => (&["vision"], 28),
        };
        for encoder in seen_by {
            let picture = image::open(inputs.join(format!("patch1-{encoder}.png"))).unwrap().into_rgb8();
            assert_eq!(picture.dimensions(), (side, side));
            let [r, g, b] = picture.get_pixel(side / 2, side / 2).0;
            assert!(r.abs_diff(56) <= 1 && g.abs_diff(66) <= 1 && b == 99, "{r} {g} {b}");
        }
    }
}

#[test]
fn maps_are_written_as_pictures_and_numbers() {
    for family in Family::ALL {
        let desk = Desk::new(family, Speech::Script(&STAGED));
        let maps = desk.path("maps");
        let rest = ["--region", "100,20,90,60", "--save-maps", maps.to_str().unwrap()];
        let output = desk.run(&[&REGION[..], &QUESTION, &rest].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let text = std::fs::read_to_string(maps.join("maps.json")).unwrap();
        let records: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(records.len(), 3 * 2 * 3, "three sentences, two patches, three methods");
        for record in &records {
            let file = record["file"].as_str().unwrap();
            let picture = image::open(maps.join(file)).unwrap().into_rgb8();
            let size = if file.contains("-patch1-") { (32, 32) } else { (90, 60) };
            assert_eq!(picture.dimensions(), size, "{file}");
            for key in ["fall", "random_fall", "difference"] {
                assert_eq!(record[key].as_f64(), Some(0.0), "the script is said whatever is seen");
            }
        }
        assert_eq!(records[0]["sentence"], "Glands are seen.");
        assert_eq!(records[0]["file"], "observation1-patch1-tam.png");
    }
}

#[test]
fn people_read_three_headings_and_the_stamp_stays_on_stderr() {
    for family in Family::ALL {
        let desk = Desk::new(family, Speech::Script(&STAGED));
        let output = desk.run(&[&REGION[..], &["--template", "describe"]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let want = "Observation\nGlands are seen.\n\nAnalysis\nThey are regular.\n\nConclusion\nB) glands\n";
        assert_eq!(text, want);
        let notes = stderr(&output);
        assert!(notes.contains("model fixture"), "{notes}");
        assert_eq!(notes.contains("warning: The scale"), family == Family::ReinPath, "{notes}");
    }
}

#[test]
fn whoever_wants_to_reads_the_answer_as_it_was_written() {
    for family in Family::ALL {
        let desk = Desk::new(family, Speech::Script(&STAGED));
        let output = desk.run(&[&REGION[..], &QUESTION, &["--raw"]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stderr(&output).contains("model fixture"), "{}", stderr(&output));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{}\n", STAGED.concat()));
    }
}

#[test]
fn tags_are_seen_in_the_raw_text_alone_also_where_it_was_cut() {
    const THOUGHT: [&str; 4] = ["<think>", "They are regular.", "</think>\n<answer>", "B) glands</answer>"];
    for family in Family::ALL {
        let desk = Desk::new(family, Speech::Script(&THOUGHT));
        let said = |more: &[&str]| {
            let output = desk.run(&[&REGION[..], &QUESTION, more].concat());
            assert!(output.status.success(), "{}", stderr(&output));
            (String::from_utf8(output.stdout.clone()).unwrap(), stderr(&output))
        };
        let (headings, _) = said(&[]);
        assert_eq!(headings, "Analysis\nThey are regular.\n\nConclusion\nB) glands\n", "{family:?}");
        assert_eq!(said(&["--raw"]).0, format!("{}\n", THOUGHT.concat()), "{family:?}");
        let (cut, notes) = said(&["--raw", "--max-tokens", "2"]);
        assert_eq!(cut, "<think>They are regular.\n", "{family:?}");
        assert!(notes.contains("warning: the answer was cut after 2 tokens"), "{notes}");
    }
}

#[test]
fn a_patch_that_is_made_smaller_for_the_pixel_limit_is_told_of() {
    let desk = Desk::new(Family::Qwen, Speech::Script(&STAGED));
    let limited = |limit: &str| {
        let rest = ["--region", "0,0,300,200", "--max-pixels", limit, "--json"];
        let output = desk.run(&[&rest[..], &QUESTION].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        match events(&output).into_iter().next() {
            Some(AskEvent::Started { stamp }) => stamp,
            other => panic!("no stamp first: {other:?}"),
        }
    };
    let whole = limited("100000");
    assert_eq!((whole.max_pixels, whole.patches[0].encoders[0].tensor), (Some(100_000), [196, 308]));
    assert!(whole.warnings.is_empty(), "{:?}", whole.warnings);
    let smaller = limited("10000");
    assert_eq!((smaller.max_pixels, smaller.patches[0].encoders[0].tensor), (Some(10_000), [56, 112]));
    assert!(smaller.warnings.join(" ").contains("112 × 56 px"), "{:?}", smaller.warnings);
}

/// What is said of a pixel limit by a model that makes a square of each patch.
const NO_LIMIT: &str = "--max-pixels is for models that take patches of any size";

#[test]
fn a_pixel_limit_is_wrong_usage_where_the_model_makes_a_square_of_each_patch() {
    for family in Family::ALL {
        let desk = Desk::new(family, Speech::Script(&STAGED));
        let output = desk.run(&[&REGION[..], &QUESTION, &["--max-pixels", "10000"]].concat());
        let notes = stderr(&output);
        let (code, is_told) = match family {
            Family::ReinPath => (2, true),
            Family::Qwen => (0, false),
        };
        assert_eq!((output.status.code(), notes.contains(NO_LIMIT)), (Some(code), is_told), "{notes}");
        assert_eq!(output.stdout.is_empty(), is_told);
    }
}

#[cfg(unix)]
#[test]
fn a_pixel_limit_for_a_package_elsewhere_is_told_of_where_it_has_none() {
    for family in Family::ALL {
        let desk = Desk::new(family, Speech::Script(&STAGED));
        // Found from the worker's folder, and not from here.
        let (here, worker) = (desk.folder.path().display(), program("reinpath-worker"));
        let script = format!("cd '{here}' && exec '{}'", worker.display());
        std::fs::write(desk.path("worker.sh"), script).unwrap();
        let mut command = Command::new(program("reinpath"));
        command.arg("ask").arg(desk.path("slide.png")).args(REGION).args(QUESTION);
        command.args(["--model", "package", "--mpp", "0.5", "--max-pixels", "10000"]);
        command.arg("--worker").arg(format!("sh '{}'", desk.path("worker.sh").display()));
        command.env_remove("RUST_LOG").stdin(Stdio::null());
        let output = command.output().unwrap();
        let notes = stderr(&output);
        assert!(output.status.success(), "{notes}");
        assert_eq!(notes.contains(&format!("warning: {NO_LIMIT}")), family == Family::ReinPath, "{notes}");
    }
}

#[test]
fn the_same_seed_gives_the_same_events() {
    for family in Family::ALL {
        let desk = Desk::new(family, Speech::Babble(3));
        let run = |seed: &str| {
            let rest = ["--temperature", "1", "--max-tokens", "60", "--json", "--seed", seed];
            let output = desk.run(&[&REGION[..], &QUESTION, &rest].concat());
            assert!(output.status.success(), "{}", stderr(&output));
            let told = |e: &AskEvent| matches!(e, AskEvent::Stage { .. } | AskEvent::Token { .. });
            events(&output).into_iter().filter(told).collect::<Vec<_>>()
        };
        let first = run("5");
        assert!(first.len() > 10, "{family:?}: {}", first.len());
        assert_eq!(first, run("5"));
        assert_ne!(first, run("6"));
    }
}

#[test]
fn bad_input_is_one_sentence_and_exit_code_1() {
    for (family, weights) in
        [(Family::ReinPath, "uni.safetensors"), (Family::Qwen, "model-00002-of-00002.safetensors")]
    {
        let desk = Desk::new(family, Speech::Script(&STAGED));
        let failed = |output: Output, part: &str| {
            let notes = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{notes}");
            assert_eq!(notes.lines().count(), 1, "{notes}");
            assert!(notes.contains(part), "{notes}");
        };
        failed(
            desk.run(&[&["--region", "300,0,10,10"][..], &QUESTION].concat()),
            "slide of 300 × 200 pixels",
        );
        failed(desk.run(&[&REGION[..], &["--question", " "]].concat()), "the question is empty");
        failed(desk.run(&[&REGION[..], &QUESTION, &["--top-p", "0"]].concat()), "top-p");
        failed(desk.run(&[&REGION[..], &QUESTION, &["--device", "gpu"]].concat()), "'gpu' is no device");
        failed(desk.run(&[&REGION[..], &QUESTION, &["--worker", "/no/such"]].concat()), "/no/such");
        let no_slide = desk.path("package").join("config.json");
        failed(desk.ask(&no_slide, &[&REGION[..], &QUESTION].concat()).output().unwrap(), "config.json");
        std::fs::remove_file(desk.path("package").join(weights)).unwrap();
        failed(desk.run(&[&REGION[..], &QUESTION].concat()), weights);
        let json = desk.run(&[&REGION[..], &QUESTION, &["--json"]].concat());
        assert!(matches!(events(&json).as_slice(), [AskEvent::Failed { error }] if error.contains(weights)));
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let desk = Desk::new(Family::ReinPath, Speech::Script(&STAGED));
    for wrong in [
        &QUESTION[..],
        &REGION[..],
        &["--region", "1,2,3", "--question", "What?"],
        &["--region", "1,2,3,4", "--question", "What?", "--template", "describe"],
        &["--region", "1,2,3,4", "--template", "nonesuch"],
        &["--region", "1,2,3,4", "--question", "What?", "--mpp", "0"],
        &["--region", "1,2,3,4", "--question", "What?", "--max-pixels", "0"],
        &["--region", "1,2,3,4", "--question", "What?", "--raw", "--json"],
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
    for family in Family::ALL {
        let desk = Desk::new(family, Speech::Babble(3));
        let rest = ["--max-tokens", "40000", "--json"];
        let mut command = desk.ask(&desk.path("slide.png"), &[&REGION[..], &QUESTION, &rest].concat());
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("\"token\"") {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "it ended early");
        }
        let interrupt = format!("kill -INT {}", process.id());
        assert!(Command::new("sh").args(["-c", &interrupt]).status().unwrap().success());
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        assert_eq!(process.wait().unwrap().code(), Some(130));
        let last: AskEvent = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
        let AskEvent::Finished(finished) = last else { panic!("no end: {last:?}") };
        assert_eq!(finished.stop, Stop::Cancelled);
        assert!(finished.tokens < 40_000 && !finished.raw.is_empty());
    }
}

#[test]
fn a_real_slide_is_asked_at_the_packages_scale() {
    let Some(slide) = shared("data/slides/aperio/CMU-1-Small-Region.svs") else { return };
    for family in Family::ALL {
        let desk = Desk::new(family, Speech::Script(&STAGED));
        let arguments = ["--region", "400,600,512,512", "--question", "Describe this field.", "--json"];
        let output = desk.ask(&slide, &arguments).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let events = events(&output);
        let Some(AskEvent::Started { stamp }) = events.first() else { panic!("no stamp first") };
        let patch = &stamp.patches[0];
        assert!((patch.mpp.unwrap() - 0.5).abs() < 0.005, "{:?}", patch.mpp);
        assert!((patch.source.as_ref().unwrap().slide_mpp.unwrap() - 0.499).abs() < 1e-6);
        match family {
            Family::ReinPath => {
                let told = stamp.warnings.iter().any(|w| w.contains("255 µm of tissue"));
                assert!(told, "{:?}", stamp.warnings);
            }
            // All of it is seen, as near to its own size as image tokens go.
            Family::Qwen => {
                assert_eq!((patch.encoders[0].tensor, stamp.warnings.len()), ([504, 504], 0));
            }
        }
        assert!(matches!(events.last(), Some(AskEvent::Finished(f)) if f.format_ok));
    }
}
