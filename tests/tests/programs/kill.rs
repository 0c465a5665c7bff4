//! A run that is killed with SIGKILL at any moment, also while a checkpoint is being written, goes on to the numbers that
//! it would have reached without.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use reinpath_model::fixture::{Speech, write_package};
use reinpath_model::package::Package;
use reinpath_tests::program;
use reinpath_training::event::RunEvent;
use reinpath_training::rows::{Row, Split, write_rows};
use reinpath_training::run_folder::{RunFolder, RunState};
use reinpath_training::seed;

use crate::rows::staged_row;

const KILLS: u64 = 30;
/// A process is given at least this long.
const SHORTEST: Duration = Duration::from_millis(30);
/// Runs that may be needed for that many.
const RUNS: usize = 90;

/// Three short stages of a tiny model: a checkpoint after every update, several updates from the same answers, an
/// evaluation now and then, and rewards by length from a program outside (without the line's number, which counts from
/// the start of the process), since a model of random weights earns none.
const CONFIG: &str = r#"
name = "kill"
seed = 5
base = "base"

[lora]
rank = 4
alpha = 8

[checkpoints]
every = 1
keep_last = 2

[evaluation]
every = 3
max_tokens = 8
data = [{ folder = "data", split = "validation" }]

[alignment]
data = [{ folder = "data", kinds = ["caption"] }]
[alignment.optimisation]
steps = 4
batch = 2
learning_rate = 1e-2

[cold_start]
data = [{ folder = "data", kinds = ["choice"] }]
[cold_start.optimisation]
steps = 5
batch = 3
micro_batch = 2
learning_rate = 1e-2

[grpo]
data = [{ folder = "data", kinds = ["choice"] }]
samples = 3
max_tokens = 12
updates = 2
[grpo.optimisation]
steps = 6
batch = 2
micro_batch = 3
learning_rate = 1e-2
[grpo.reward]
semantic = 0.0
external = '''sh -c 'while read -r line; do said=${line#*question}; echo "{\"score\": 0.${#said}}"; done' '''
"#;

/// A folder with a package, rows and a configuration.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(desk.path("base")).unwrap();
        write_package(&desk.path("base"), Speech::Babble(3)).unwrap();
        desk.write_rows();
        std::fs::write(desk.path("kill.toml"), CONFIG).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write_rows(&self) {
        let data = self.path("data");
        std::fs::create_dir(&data).unwrap();
        let row = |number: usize| {
            let image = format!("{number}.png");
            let pixel = |x: u32, y: u32| image::Rgb([(x * 7) as u8, (y * 5) as u8, (number * 20) as u8]);
            image::RgbImage::from_fn(32, 32, pixel).save(data.join(&image)).unwrap();
            if number.is_multiple_of(3) {
                return Row::from_caption(format!("caption {number}"), image, format!("Field {number}."));
            }
            let split = Some(if number > 9 { Split::Validation } else { Split::Train });
            Row { split, ..staged_row("choice", number, image) }
        };
        let rows: Vec<Row> = (0..12).map(row).collect();
        write_rows(&data.join("rows.jsonl"), &rows).unwrap();
    }

    /// Starts a run, or goes on with it where it is there already.
    fn start(&self, run: &Path) -> Child {
        let mut command = Command::new(program("reinpath-train"));
        if run.join("config.toml").exists() {
            command.arg("resume").arg(run);
        } else {
            command.arg("run").arg("kill.toml").arg("--run").arg(run);
        }
        let log = std::fs::File::options().create(true).append(true).open(self.path("stderr.txt")).unwrap();
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    fn succeeded(&self, ended: ExitStatus) {
        let said = || std::fs::read_to_string(self.path("stderr.txt")).unwrap();
        assert!(ended.success(), "{ended}: {}", said());
    }
}

/// What a run has made, without what a clock says.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// Every update and every evaluation, in order.
    events: Vec<RunEvent>,
    /// Every answer that was drawn.
    rollouts: BTreeMap<String, String>,
    /// Hashes of the package's files.
    files: BTreeMap<String, String>,
}

impl Outcome {
    fn of(run: &Path) -> Self {
        let text = std::fs::read_to_string(run.join("events.jsonl")).unwrap();
        let timeless = |line: &str| match serde_json::from_str(line).unwrap() {
            RunEvent::Step(mut step) => {
                step.secs = 0.0;
                step.measures.retain(|name, _| !name.ends_with("_secs"));
                Some(RunEvent::Step(step))
            }
            event @ RunEvent::Evaluation { .. } => Some(event),
            _ => None,
        };
        let mut rollouts = BTreeMap::new();
        for entry in std::fs::read_dir(run.join("rollouts")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            rollouts.insert(name, std::fs::read_to_string(&path).unwrap());
        }
        let RunState::Finished(package) = RunFolder::new(run).state().unwrap() else {
            panic!("the run has not finished: {}", run.display());
        };
        let files = Package::open(&run.join(package)).unwrap().manifest.files;
        Self {
            events: text.lines().filter_map(timeless).collect(),
            rollouts,
            files: files.into_iter().map(|(name, record)| (name, record.sha256)).collect(),
        }
    }

    fn steps(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, RunEvent::Step(_))).count()
    }
}

/// Whether a checkpoint is being written.
fn is_writing(run: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(run.join("checkpoints")) else { return false };
    entries.flatten().any(|entry| entry.path().extension().is_some_and(|extension| extension == "part"))
}

/// Kills a run after some time or, every other time, when it then writes a checkpoint. `None`: it was killed.
fn kill(child: &mut Child, number: u64, longest: Duration, run: &Path) -> Option<ExitStatus> {
    let begin = Instant::now();
    let share = seed::of(1, &["kill"], number) % 1000;
    let moment = longest * share as u32 / 1000;
    let waits_for_checkpoint = number % 2 == 1;
    loop {
        if let Some(ended) = child.try_wait().unwrap() {
            return Some(ended);
        }
        if begin.elapsed() >= moment && (!waits_for_checkpoint || is_writing(run)) {
            child.kill().unwrap();
            let ended = child.wait().unwrap();
            // It may have come to its end just before.
            return ended.code().map(|_| ended);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn killed_at_any_moment_a_run_goes_on_to_the_same_numbers() {
    let desk = Desk::new();
    let begin = Instant::now();
    let whole = desk.path("whole");
    desk.succeeded(desk.start(&whole).wait().unwrap());
    let mut took = begin.elapsed();
    let want = Outcome::of(&whole);
    assert_eq!(want.steps(), 4 + 5 + 6);
    assert!(want.events.len() > want.steps() && !want.rollouts.is_empty(), "{want:?}");

    let (mut kills, mut attempts, mut in_checkpoint) = (0, 0, 0);
    for number in 0..RUNS {
        let run = desk.path(&format!("run {number}"));
        // Features are cached beside the runs: they too are written anew, and by a process that may be killed.
        std::fs::remove_dir_all(desk.path("features")).ok();
        loop {
            let mut child = desk.start(&run);
            if kills >= KILLS {
                desk.succeeded(child.wait().unwrap());
                break;
            }
            attempts += 1;
            if let Some(ended) = kill(&mut child, attempts, took, &run) {
                desk.succeeded(ended);
                // It was quicker than the first, or had little left to do: on a busy machine no time says when to kill.
                took = (took * 3 / 4).max(SHORTEST);
                break;
            }
            kills += 1;
            in_checkpoint += u64::from(is_writing(&run));
            // Nothing is left to be done for one that was killed after its last event.
            if matches!(RunFolder::new(&run).state(), Ok(RunState::Finished(_))) {
                break;
            }
        }
        assert_eq!(Outcome::of(&run), want, "run {number}, after {kills} kills in all");
        if kills >= KILLS {
            break;
        }
    }
    assert_eq!(kills, KILLS, "the runs ended before they could be killed");
    assert!(in_checkpoint > 0, "no checkpoint was caught being written");
}
