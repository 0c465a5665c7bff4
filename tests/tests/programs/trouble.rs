//! What can go wrong in a run, as whoever starts one sees it: every trouble ends in a clear event, and the run stops with
//! a checkpoint or goes on with a counted warning, as its setting says.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use reinpath_model::fixture::{Speech, write_package};
use reinpath_model::package::Package;
use reinpath_tests::{program, root};
use reinpath_training::event::RunEvent;
use reinpath_training::rows::{Row, write_rows};
use reinpath_training::run_folder::{RunFolder, RunState};

use crate::rows::staged_row;

/// Image files, which the rows of a data set share.
const IMAGES: usize = 3;

const RUN: &str = r#"
name = "trouble"
seed = 5
base = "base"
lora = { rank = 4, alpha = 8.0 }
"#;

const COLD_START: &str = r#"
[cold_start]
data = [{ folder = "data" }]
[cold_start.optimisation]
steps = 4
batch = 2
learning_rate = 1e-2
"#;

/// Nearly greedy, so that no answer of the fixture ends by itself; its random letters earn nothing.
const GRPO: &str = r#"
[grpo]
data = [{ folder = "data" }]
samples = 2
max_tokens = 8
temperature = 0.1
[grpo.optimisation]
steps = 4
batch = 2
learning_rate = 1e-2
[grpo.reward]
semantic = 0.0
"#;

/// A reward of 1 for every answer.
const ALWAYS: &str = r#"grpo.reward.external=sh -c 'while read -r line; do echo "{\"score\": 1.0}"; done'"#;

/// A folder with a package, data and a configuration.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new(stages: &[&str], rows: &[Row]) -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        for name in ["base", "data"] {
            std::fs::create_dir(desk.path(name)).unwrap();
        }
        write_package(&desk.path("base"), Speech::Babble(3)).unwrap();
        for number in 0..IMAGES {
            let pixel = |x: u32, y: u32| image::Rgb([(x * 7) as u8, (y * 5) as u8, (number * 20) as u8]);
            let image = image::RgbImage::from_fn(32, 32, pixel);
            image.save(desk.path("data").join(format!("{number}.png"))).unwrap();
        }
        write_rows(&desk.path("data").join("rows.jsonl"), rows).unwrap();
        std::fs::write(desk.path("run.toml"), [&[RUN][..], stages].concat().concat()).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Begins a run in the folder of this name, with these settings changed.
    fn run(&self, name: &str, changes: &[&str]) -> Ended {
        self.ended(Command::new(program("reinpath-train")), &self.beginning(name, changes))
    }

    fn resume(&self, name: &str) -> Ended {
        self.ended(Command::new(program("reinpath-train")), &self.going_on(name))
    }

    fn beginning(&self, name: &str, changes: &[&str]) -> Vec<String> {
        let run = self.path(name).to_str().unwrap().to_owned();
        let mut arguments = vec!["run".to_owned(), "run.toml".to_owned(), "--run".to_owned(), run];
        arguments.extend(changes.iter().flat_map(|change| ["--set".to_owned(), (*change).to_owned()]));
        arguments
    }

    fn going_on(&self, name: &str) -> Vec<String> {
        vec!["resume".to_owned(), self.path(name).to_str().unwrap().to_owned()]
    }

    /// Runs the program where no file can grow beyond so many blocks, which have 512 or 1024 bytes, as the shell likes.
    fn limited(&self, blocks: usize, arguments: &[String]) -> Ended {
        // The signal would end the process before it sees the error.
        let script = r#"trap "" XFSZ; ulimit -f "$1"; shift; exec "$@""#;
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", &blocks.to_string()]).arg(program("reinpath-train"));
        self.ended(command, arguments)
    }

    fn ended(&self, mut command: Command, arguments: &[String]) -> Ended {
        command.args(arguments).env_remove("RUST_LOG").current_dir(self.folder.path()).stdin(Stdio::null());
        let output = command.output().unwrap();
        Ended {
            status: output.status,
            told: events(&String::from_utf8(output.stdout).unwrap()),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn state(&self, name: &str) -> RunState {
        RunFolder::new(self.path(name)).state().unwrap()
    }

    /// Names of all that lies among a run's checkpoints.
    fn checkpoints(&self, name: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(name).join("checkpoints")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Step, loss and gradient norm of every update in a run's file of events.
    fn updates(&self, name: &str) -> Vec<(usize, f64, f64)> {
        let text = std::fs::read_to_string(self.path(name).join("events.jsonl")).unwrap();
        let update = |event| match event {
            RunEvent::Step(step) => Some((step.step, step.loss, step.gradient_norm)),
            _ => None,
        };
        events(&text).into_iter().filter_map(update).collect()
    }
}

/// Every line is an event.
fn events(text: &str) -> Vec<RunEvent> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A process that is over.
struct Ended {
    status: ExitStatus,
    /// On stdout.
    told: Vec<RunEvent>,
    stderr: String,
}

impl Ended {
    fn succeeded(self) -> Self {
        assert!(self.status.success(), "{}: {}", self.status, self.stderr);
        assert!(matches!(self.told.last(), Some(RunEvent::Finished { .. })), "{:?}", self.told.last());
        self
    }

    /// The sentence of a run that failed: its last event, and the last that stderr says.
    fn failed(&self) -> &str {
        assert_eq!(self.status.code(), Some(1), "{}", self.stderr);
        let Some(RunEvent::Failed { error }) = self.told.last() else { panic!("{:?}", self.told.last()) };
        let said = self.stderr.lines().last().unwrap_or_default();
        assert!(said.starts_with(error.as_str()), "stderr ends with {said}, the events with {error}");
        error
    }

    /// Stage and step of every update.
    fn steps(&self) -> Vec<(&str, usize)> {
        let steps = self.told.iter().filter_map(|event| match event {
            RunEvent::Step(step) => Some((step.stage.as_str(), step.step)),
            _ => None,
        });
        steps.collect()
    }

    /// Stage and step of every checkpoint.
    fn saved(&self) -> Vec<(&str, usize)> {
        let saved = self.told.iter().filter_map(|event| match event {
            RunEvent::Checkpoint { stage, step, .. } => Some((stage.as_str(), *step)),
            _ => None,
        });
        saved.collect()
    }

    /// The warnings that begin so, each with its count.
    fn warned(&self, begin: &str) -> Vec<(&str, usize)> {
        let warned = self.told.iter().filter_map(|event| match event {
            RunEvent::Warning { warning, count } => Some((warning.as_str(), *count)),
            _ => None,
        });
        warned.filter(|(warning, _)| warning.starts_with(begin)).collect()
    }

    /// How often a warning that begins so had come each time it was told.
    fn counts(&self, begin: &str) -> Vec<usize> {
        self.warned(begin).into_iter().map(|(_, count)| count).collect()
    }
}

/// A question with a staged answer about one of the shared images.
fn row(number: usize) -> Row {
    staged_row("row", number, format!("{}.png", number % IMAGES))
}

fn rows(count: usize) -> Vec<Row> {
    (1..=count).map(row).collect()
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_with_a_checkpoint_or_is_counted() {
    let desk = Desk::new(&[COLD_START], &rows(4));
    // After the first update no number is left that could be computed with.
    let rate = "cold_start.optimisation.learning_rate=1e30";
    let ended = desk.run("stops", &[rate]);
    let error = "the loss is not a number at step 2 of cold_start";
    assert_eq!(ended.failed(), error);
    assert_eq!((ended.steps(), ended.saved()), (vec![("cold_start", 1)], vec![("cold_start", 1)]));
    assert_eq!(desk.checkpoints("stops"), ["cold_start-000001"]);
    assert_eq!(desk.state("stops"), RunState::Failed(error.to_owned()));

    let ended = desk.run("goes on", &[rate, "trouble.not_a_number=warn"]);
    let error = ended.failed();
    assert!(error.starts_with("the package is not written: values of "), "{error}");
    assert!(!desk.path("goes on").join("package").exists(), "its weights are no numbers");
    assert_eq!(ended.steps(), [("cold_start", 1)], "the other updates are left out");
    assert_eq!(ended.counts("The loss or its gradient was not a number"), [1, 2, 3]);
    assert_eq!(ended.saved(), [("cold_start", 4)]);
}

#[test]
fn answers_that_all_earn_nothing_stop_the_run_with_a_checkpoint_or_are_counted() {
    let desk = Desk::new(&[GRPO], &rows(4));
    let ended = desk.run("stops", &["trouble.patience=2", "trouble.no_reward=stop"]);
    let error = "No answer of 2 batches in a row earned anything: the run stops at step 2 of grpo, as its setting \
                 `trouble.no_reward` says";
    assert_eq!(ended.failed(), error);
    assert_eq!((ended.steps().len(), ended.saved()), (2, vec![("grpo", 2)]));
    assert_eq!(desk.checkpoints("stops"), ["grpo-000002"]);

    let ended = desk.run("goes on", &["trouble.patience=2"]).succeeded();
    assert_eq!(ended.steps().len(), 4);
    assert_eq!(ended.counts("No answer of 2 batches in a row earned anything."), [1, 2]);
}

#[test]
fn answers_that_are_all_cut_off_stop_the_run_with_a_checkpoint_or_are_counted() {
    let desk = Desk::new(&[GRPO], &rows(4));
    let ended = desk.run("stops", &[ALWAYS, "trouble.patience=2", "trouble.cut_off=stop"]);
    let error = "All answers of 2 batches in a row were cut off at the longest length: the run stops at step 2 of \
                 grpo, as its setting `trouble.cut_off` says";
    assert_eq!(ended.failed(), error);
    assert_eq!((ended.steps().len(), ended.saved()), (2, vec![("grpo", 2)]));

    let ended = desk.run("goes on", &[ALWAYS, "trouble.patience=2"]).succeeded();
    assert_eq!(ended.steps().len(), 4);
    let sentence = "All answers of 2 batches in a row were cut off at the longest length.";
    assert_eq!(ended.counts(sentence), [1, 2]);
    assert!(ended.warned("No answer").is_empty(), "they are rewarded");
}

#[test]
fn a_missing_image_in_row_9000_is_named_before_the_first_step_or_its_row_is_left_out() {
    let mut rows = rows(9_001);
    rows[8_999].images = vec!["gone.png".to_owned()];
    let desk = Desk::new(&[COLD_START], &rows);
    let ended = desk.run("stops", &[]);
    assert!(ended.failed().starts_with("row “row 9000” (line 9000): "), "{}", ended.failed());
    assert!(ended.failed().ends_with("/data/gone.png"), "{}", ended.failed());
    assert!(ended.steps().is_empty(), "{:?}", ended.steps());

    let ended = desk.run("goes on", &["trouble.image=warn"]).succeeded();
    let warned = ended.warned("The rows with an image are left out, as it cannot be read");
    let [(sentence, 1)] = warned[..] else { panic!("{warned:?}") };
    assert!(sentence.contains(": row “row 9000” (line 9000): "), "{sentence}");
    assert!(sentence.ends_with("/data/gone.png"), "{sentence}");
    assert_eq!(ended.steps().len(), 4);
}

#[test]
fn one_row_trains_with_a_warning_and_is_refused_only_for_what_needs_two() {
    let desk = Desk::new(&[COLD_START, GRPO], &rows(1));
    let ended = desk.run("run", &[]).succeeded();
    let steps = ended.steps();
    assert_eq!((steps.len(), steps[0], steps[7]), (8, ("cold_start", 1), ("grpo", 4)));
    let warning = "A batch of 2 is more than all rows, 1: the same row is there several times in each step.";
    assert_eq!(ended.counts(warning), [1, 2], "in either stage");
    Package::open(&desk.path("run").join("package")).unwrap();

    let mut arguments = desk.beginning("dry", &[]);
    arguments.push("--dry-run".to_owned());
    let ended = desk.ended(Command::new(program("reinpath-train")), &arguments);
    assert!(ended.status.success(), "{}", ended.stderr);
    let is_told = |event: &RunEvent| {
        let RunEvent::Finding(found) = event else { return false };
        found.finding == "grpo: a batch of 2 is more than all rows." && found.cure.is_some()
    };
    assert!(ended.told.iter().any(is_told), "{:?}", ended.told);

    // What is usual between questions cannot be told of one.
    let encoder = format!("grpo.reward.text_encoder={}", root().join("tests/golden/bert").display());
    let changes = [encoder.as_str(), "grpo.reward.semantic=1.0", "grpo.reward.rescale=true"];
    let ended = desk.run("rescaled", &changes);
    assert!(ended.failed().contains("at least two questions"), "{}", ended.failed());
    assert_eq!(ended.saved(), [("cold_start", 4)], "the stage before is not lost");
}

#[test]
fn a_text_encoder_that_is_not_there_is_told_before_the_first_step_of_any_stage() {
    let desk = Desk::new(&[COLD_START, GRPO], &rows(4));
    let ended = desk.run("none", &["grpo.reward.semantic=1.0"]);
    assert!(ended.failed().starts_with("the semantic reward needs a text encoder"), "{}", ended.failed());
    assert!(ended.steps().is_empty(), "{:?}", ended.steps());

    let ended = desk.run("gone", &["grpo.reward.semantic=1.0", "grpo.reward.text_encoder=no-such-encoder"]);
    assert!(ended.failed().ends_with("/no-such-encoder/config.json"), "{}", ended.failed());
    assert!(ended.steps().is_empty(), "{:?}", ended.steps());
}

#[cfg(target_os = "linux")]
#[test]
fn on_a_full_disk_a_run_stops_at_its_last_checkpoint_and_goes_on_when_there_is_room() {
    // A reward by the answer's length, without the line's number, which counts from the start of the process.
    let by_length = r#"grpo.reward.external=sh -c 'while read -r line; do said=${line#*question}; echo "{\"score\": 0.${#said}}"; done'"#;
    let desk = Desk::new(&[GRPO], &rows(4));
    let changes = [by_length, "grpo.temperature=1.0", "checkpoints.every=1"];
    desk.run("whole", &changes).succeeded();
    let want = desk.updates("whole");
    assert!(want.len() == 4 && want.iter().any(|&(_, _, norm)| norm > 0.0), "{want:?}");

    // The third step's answers are written to a disk that has no room.
    let full = std::path::Path::new("/dev/full");
    assert!(full.exists(), "this system has no {}", full.display());
    let rollouts = desk.path("run").join("rollouts");
    std::fs::create_dir_all(&rollouts).unwrap();
    let answers = rollouts.join("grpo-000003.jsonl");
    std::os::unix::fs::symlink(full, &answers).unwrap();
    let ended = desk.run("run", &changes);
    assert_eq!(ended.failed(), format!("the disk is full: {}", answers.display()));
    assert!(matches!(desk.state("run"), RunState::Failed(_)), "{:?}", desk.state("run"));
    assert_eq!(desk.checkpoints("run"), ["grpo-000001", "grpo-000002"]);
    std::fs::remove_file(&answers).unwrap();

    // There is room for answers and events, but for no third checkpoint.
    let ended = desk.limited(40, &desk.going_on("run"));
    let error = ended.failed();
    assert!(error.starts_with("File too large") && error.contains("grpo-000003.part"), "{error}");
    assert_eq!(desk.checkpoints("run"), ["grpo-000001", "grpo-000002"], "no half of one is left");

    desk.resume("run").succeeded();
    assert_eq!(desk.updates("run"), want);
}

#[test]
fn a_run_whose_file_of_events_finds_no_room_says_so_on_stdout() {
    let desk = Desk::new(&[COLD_START], &rows(4));
    let changes = ["cold_start.optimisation.steps=150", "checkpoints.every=0"];
    let ended = desk.limited(16, &desk.beginning("run", &changes));
    let error = ended.failed();
    assert!(error.starts_with("File too large") && error.ends_with("events.jsonl"), "{error}");
    let count = desk.updates("run").len();
    assert!(0 < count && count < 150, "{count} whole events of steps");

    desk.resume("run").succeeded();
    assert_eq!(desk.updates("run").len(), 150);
}
