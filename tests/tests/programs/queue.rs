//! Runs that wait for others, and packages made of checkpoints, as whoever starts the program sees them.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use reinpath_model::fixture::{Speech, write_package};
use reinpath_model::package::Package;
use reinpath_tests::program;
use reinpath_training::event::RunEvent;
use reinpath_training::rows::{Row, write_rows};
use reinpath_training::run_folder::{RunFolder, RunLock, RunState};

use crate::rows::staged_row;

const CONFIG: &str = r#"
name = "queue"
seed = 5
base = "base"
lora = { rank = 4, alpha = 8.0 }
[checkpoints]
every = 1
keep_last = 9
[cold_start]
data = [{ folder = "data" }]
[cold_start.optimisation]
steps = 4
batch = 2
learning_rate = 1e-2
"#;

/// A folder with a package, data and a configuration.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        for name in ["base", "data"] {
            std::fs::create_dir(desk.path(name)).unwrap();
        }
        write_package(&desk.path("base"), Speech::Babble(3)).unwrap();
        image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([(x * 7) as u8, (y * 5) as u8, 40]))
            .save(desk.path("data").join("0.png"))
            .unwrap();
        let rows: Vec<Row> = (0..4).map(|number| staged_row("row", number, "0.png".to_owned())).collect();
        write_rows(&desk.path("data").join("rows.jsonl"), &rows).unwrap();
        std::fs::write(desk.path("run.toml"), CONFIG).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(program("reinpath-train"));
        command.args(words).env_remove("RUST_LOG").current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// A run in `own` that waits for the one in `other`, with the hold on the latter.
    fn waiting(&self) -> (Child, RunLock) {
        let other = RunFolder::new(self.path("other"));
        other.create().unwrap();
        let lock = other.lock().unwrap();
        let words = ["run", "run.toml", "--run", "own", "--detached", "--after", "other"];
        let run = self.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.until_it_waits();
        (run, lock)
    }

    fn export(&self, words: &[&str]) -> Output {
        self.command(&[&["export", "own"][..], words].concat()).output().unwrap()
    }

    fn told(&self) -> Vec<RunEvent> {
        let text = std::fs::read_to_string(self.path("own").join("events.jsonl")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn until_it_waits(&self) {
        let begun = Instant::now();
        while !self.told().iter().any(|event| matches!(event, RunEvent::Waiting { .. })) {
            assert!(begun.elapsed() < Duration::from_mins(1), "it does not wait: {:?}", self.told());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_run_waits_for_another_and_each_of_its_checkpoints_becomes_a_package() {
    let desk = Desk::new();
    let own = RunFolder::new(desk.path("own"));
    let (mut run, lock) = desk.waiting();
    assert!(matches!(own.state(), Ok(RunState::Running(_))), "others can wait for it in turn");
    drop(lock);
    assert!(run.wait().unwrap().success());
    let told = desk.told();
    let at = |is: fn(&RunEvent) -> bool| told.iter().position(is).unwrap();
    let waited = at(|event| matches!(event, RunEvent::Waiting { run } if run.ends_with("other")));
    assert!(waited < at(|event| matches!(event, RunEvent::Stage { .. })));
    let events = std::fs::read(own.events_file()).unwrap();

    // The newest checkpoint is the end, so that its package has the very files of the run's.
    let output = desk.export(&["-o", "newest"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let last = String::from_utf8(output.stdout).unwrap().lines().last().map(str::to_owned).unwrap();
    let last: RunEvent = serde_json::from_str(&last).unwrap();
    assert!(matches!(&last, RunEvent::Finished { package, .. } if package.ends_with("newest")), "{last:?}");
    let (made, newest) =
        (Package::open(&own.package()).unwrap(), Package::open(&desk.path("newest")).unwrap());
    assert_eq!(newest.manifest.files, made.manifest.files);

    let output = desk.export(&["--checkpoint", "cold_start-000002", "-o", "earlier"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let earlier = Package::open(&desk.path("earlier")).unwrap().manifest;
    assert!(earlier.provenance.ends_with("as of the checkpoint cold_start-000002"), "{}", earlier.provenance);
    assert_eq!(earlier.files.keys().collect::<Vec<_>>(), made.manifest.files.keys().collect::<Vec<_>>());
    assert_ne!(earlier.files, made.manifest.files);

    for (words, sentence) in [
        (["--checkpoint", "cold_start-000002", "-o", "earlier"], "something is there already"),
        (["--checkpoint", "cold_start-000009", "-o", "none"], "it is not there"),
    ] {
        let output = desk.export(&words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(sentence), "{said}");
    }
    assert!(!desk.path("none").exists() && !desk.path("none.part").exists());
    assert_eq!(std::fs::read(own.events_file()).unwrap(), events, "nothing of the run is changed");
}

#[test]
fn a_run_that_waits_stops_as_asked_and_can_be_gone_on_with() {
    let desk = Desk::new();
    let own = RunFolder::new(desk.path("own"));
    let (mut run, lock) = desk.waiting();
    own.ask_to_stop().unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(130));
    assert_eq!(own.state().unwrap(), RunState::Stopped);
    drop(lock);
    let output = desk.command(&["resume", "own", "--after", "other"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(matches!(own.state(), Ok(RunState::Finished(_))));
}
