//! Runs from the window, with the real `reinpath-train`: prepared, started, watched, stopped, gone on with, left by one window and
//! found by the next, killed, used. Where that program is not built beside this one, these tests skip and say so.
//!
//! `REINPATH_SCREENSHOTS` names a folder for pictures of the way; they are for people to judge.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use egui::{Key, Role, ViewportEvent, ViewportId};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use reinpath::runs::told::{Listed, RunTold};
use reinpath::window::App;
use reinpath::window::state::Mode;
use reinpath::window::train::control::{Closing, ControlCommand};
use reinpath::window::train::look::LookCommand;
use reinpath::window::train::runs::RunsCommand;
use reinpath::window::train::setup::SetupCommand;
use reinpath::window::train::{TrainCommand, TrainPlaces};
use reinpath_training::run_folder::{RunFolder, RunState};
use rustix::process::{Pid, Signal, getsid, kill_process};
use serde_json::{Value, json};

use super::support::{Script, draw_slide, window_with};

/// A busy machine with an unoptimised build needs a while for a whole run.
const LONGEST: Duration = Duration::from_mins(15);

/// Settings that make the CPU demo shorter; the cold start stays long enough to be stopped on its way.
fn shorter() -> Vec<(&'static str, Value)> {
    vec![
        ("alignment.optimisation.steps", json!(2)),
        ("alignment.optimisation.batch", json!(2)),
        ("cold_start.optimisation.steps", json!(400)),
        ("cold_start.optimisation.batch", json!(2)),
        ("grpo.optimisation.steps", json!(2)),
        ("grpo.optimisation.batch", json!(2)),
        ("grpo.max_tokens", json!(24)),
        ("evaluation.data.0.limit", json!(2)),
        ("evaluation.max_tokens", json!(8)),
        ("checkpoints.every", json!(20)),
    ]
}

/// A program that is built beside the window's.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
pub(super) fn built(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_BIN_EXE_reinpath")).with_file_name(name);
    if path.is_file() {
        return Some(path);
    }
    eprintln!("skipped: {name} is not built; run `cargo build --workspace` first");
    None
}

pub(super) fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets")
}

fn places(home: &Path, program: PathBuf) -> TrainPlaces {
    TrainPlaces {
        runs: Some(home.join("runs")),
        program: Some(Ok(program)),
        demo_package: Some(assets().join("models/demo")),
        presets: Some(assets().join("presets")),
        draft: Some(home.join("training.toml")),
    }
}

/// A window in the training mode.
fn opened(training: TrainPlaces, script: &Script) -> Harness<'static, App> {
    let mut harness = window_with(Vec::new(), script, None, training);
    harness.step();
    harness.get_by_label("Accept and continue").click();
    harness.step();
    harness.step();
    harness.get_by_label("Train").click();
    until(&mut harness, "the training mode", |app| app.state().mode == Mode::Train);
    harness
}

/// Frames until `done`.
pub(super) fn until(harness: &mut Harness<'_, App>, what: &str, done: impl Fn(&App) -> bool) {
    let begun = Instant::now();
    while !done(harness.state()) {
        let problems = &harness.state().state().problems;
        assert!(begun.elapsed() < LONGEST, "waited in vain for {what}: {problems:?}");
        std::thread::sleep(Duration::from_millis(20));
        harness.step();
    }
    harness.step();
}

pub(super) fn wish(harness: &Harness<'_, App>, command: TrainCommand) {
    harness.state().commands().train(command);
}

pub(super) fn press(harness: &mut Harness<'_, App>, button: &str) {
    harness.step();
    // A run that was killed offers Resume beside its failure too.
    let found = harness.query_all_by_role_and_label(Role::Button, button).next();
    found.unwrap_or_else(|| panic!("there is no button {button}")).click();
    harness.step();
    harness.step();
}

/// Writes a picture of the window, where somebody wants to look.
pub(super) fn picture(harness: &mut Harness<'_, App>, name: &str) {
    let Some(folder) = std::env::var_os("REINPATH_SCREENSHOTS").map(PathBuf::from) else { return };
    std::fs::create_dir_all(&folder).unwrap();
    harness.step();
    harness.render().unwrap().save(folder.join(format!("{name}.png"))).unwrap();
}

fn shown(app: &App) -> Option<&RunTold> {
    app.state().train.runs.shown_run().map(|told| &**told)
}

/// Steps of all stages that the run in view has told.
fn steps(app: &App) -> usize {
    shown(app).map_or(0, |told| told.stages.iter().map(|stage| stage.steps.len()).sum())
}

pub(super) fn state_of(app: &App) -> Option<&RunState> {
    match &shown(app)?.listed {
        Listed::Known(state) => Some(state),
        _ => None,
    }
}

/// The CPU demo, made shorter and looked through until it may start.
fn prepare(harness: &mut Harness<'_, App>, home: &Path) {
    wish(harness, TrainCommand::Setup(SetupCommand::UsePreset("cpu-demo".to_owned())));
    until(harness, "the preset", |app| app.state().train.setup.draft.get("grpo").is_some());
    let rows = ["train", "validation"].map(|part| home.join("demo-rows").join(part).join("rows.jsonl"));
    until(harness, "the demo rows", |_| rows.iter().all(|rows| rows.is_file()));
    for (key, value) in shorter() {
        wish(harness, TrainCommand::Setup(SetupCommand::Change(key.to_owned(), value)));
    }
    until(harness, "the changes", |app| {
        app.state().train.setup.draft.pointer("/checkpoints/every") == Some(&json!(20))
    });
    let fault = &harness.state().state().train.setup.fault;
    assert_eq!(*fault, None);
    wish(harness, TrainCommand::Look(LookCommand::Preflight));
    until(harness, "the preflight", |app| {
        let (preflight, draft) = (&app.state().train.look.preflight, &app.state().train.setup.draft);
        preflight.of.as_ref() == Some(draft) && !preflight.is_running
    });
    let preflight = &harness.state().state().train.look.preflight;
    assert!(preflight.allows(&harness.state().state().train.setup.draft), "{preflight:?}");
}

#[test]
fn a_run_is_started_watched_stopped_gone_on_with_left_found_again_and_its_model_used() {
    let (Some(program), Some(_worker)) = (built("reinpath-train"), built("reinpath-worker")) else { return };
    let home = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut harness = opened(places(home.path(), program.clone()), &script);
    prepare(&mut harness, home.path());
    picture(&mut harness, "1-looked-through");

    press(&mut harness, "Start run");
    until(&mut harness, "the first steps", |app| steps(app) >= 3);
    let before = steps(harness.state());
    until(&mut harness, "curves that move", |app| steps(app) > before);
    picture(&mut harness, "2-running");
    let run = harness.state().state().train.runs.shown.clone().unwrap();
    let folder = RunFolder::new(run.folder());
    assert!(folder.asked_file().is_file() && run.folder().starts_with(home.path().join("runs")));
    let Ok(RunState::Running(holder)) = folder.state() else { panic!("{:?}", folder.state()) };
    let pid = holder.pid.and_then(|pid| Pid::from_raw(pid as i32)).unwrap();
    assert_eq!(getsid(Some(pid)).unwrap(), pid, "it has a session of its own");

    press(&mut harness, "Stop");
    until(&mut harness, "the stop", |app| state_of(app) == Some(&RunState::Stopped));
    until(&mut harness, "its process", |app| app.state().train.control.started.is_empty());
    assert!(harness.state().state().train.control.ended[&run].is_good);
    picture(&mut harness, "3-stopped");

    let stopped_at = steps(harness.state());
    press(&mut harness, "Resume");
    until(&mut harness, "steps after the stop", |app| steps(app) > stopped_at);
    drop(harness);

    // The window is gone, the run goes on, and the next window finds it.
    let script = Script::default();
    let mut harness = opened(places(home.path(), program), &script);
    wish(&harness, TrainCommand::Runs(RunsCommand::Show(run.clone())));
    until(&mut harness, "the run in the next window", |app| steps(app) > stopped_at);
    assert!(!harness.state().state().train.control.must_ask_to_close(), "this window did not start it");
    until(&mut harness, "the end", |app| matches!(state_of(app), Some(RunState::Finished(_))));
    picture(&mut harness, "4-finished");
    let told = shown(harness.state()).unwrap();
    let all: Vec<(&str, usize)> =
        told.stages.iter().map(|stage| (stage.name.as_str(), stage.step())).collect();
    assert_eq!(all, [("alignment", 2), ("cold_start", 400), ("grpo", 2)]);
    assert_eq!(steps(harness.state()), 404, "each step once, also those around the stop");
    assert!(!told.rollouts.steps.is_empty() && told.strange.is_none());

    press(&mut harness, "Use this model");
    until(&mut harness, "the choice", |_| !script.used().is_empty());
    assert_eq!(script.used(), [folder.package()]);
    assert_eq!(harness.state().state().mode, Mode::Read);
    picture(&mut harness, "5-used");
    answers(&folder.package(), home.path());
    exported(&mut harness, &script, &folder);
}

/// The model that a run made answers a question about a slide.
pub(super) fn answers(package: &Path, home: &Path) {
    let slide = draw_slide(home);
    let program = Path::new(env!("CARGO_BIN_EXE_reinpath"));
    let mut command = Command::new(program);
    command.arg("ask").arg(slide).args(["--region", "400,300,224,224", "--question", "What is seen?"]);
    command.arg("--model").arg(package).args(["--device", "cpu", "--max-tokens", "12", "--json"]);
    let output = command.env("REINPATH_BIN_DIR", program.parent().unwrap()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"finished\""), "{said}");
}

/// A checkpoint that is left becomes a package, which is used too, and nothing of the run is changed.
fn exported(harness: &mut Harness<'_, App>, script: &Script, folder: &RunFolder) {
    let mut checkpoints: Vec<PathBuf> =
        std::fs::read_dir(folder.checkpoints()).unwrap().map(|entry| entry.unwrap().path()).collect();
    checkpoints.sort();
    let checkpoint = checkpoints.pop().unwrap();
    let events = std::fs::read(folder.events_file()).unwrap();
    let run = harness.state().state().train.runs.shown.clone().unwrap();
    let out = folder.path().join("exports").join(checkpoint.file_name().unwrap());
    wish(
        harness,
        TrainCommand::Control(ControlCommand::UseCheckpoint { run, checkpoint: checkpoint.clone() }),
    );
    until(harness, "the checkpoint's package", |_| script.used().len() == 2);
    assert_eq!(script.used()[1], out);
    let package = reinpath_model::package::Package::open(&out).unwrap();
    let name = checkpoint.file_name().unwrap().to_str().unwrap();
    assert!(package.manifest.provenance.ends_with(&format!("as of the checkpoint {name}")));
    assert_eq!(std::fs::read(folder.events_file()).unwrap(), events);
    assert!(checkpoint.is_dir());
}

#[test]
fn a_run_that_is_killed_says_so_and_can_be_gone_on_with_while_the_window_goes_on() {
    let Some(program) = built("reinpath-train") else { return };
    let home = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut harness = opened(places(home.path(), program), &script);
    prepare(&mut harness, home.path());
    press(&mut harness, "Start run");
    until(&mut harness, "the first steps", |app| steps(app) >= 3);
    press(&mut harness, "Kill");
    press(&mut harness, "Kill now: work since the last checkpoint is lost");
    until(&mut harness, "the end", |app| app.state().train.control.started.is_empty());
    let run = harness.state().state().train.runs.shown.clone().unwrap();
    let ended = &harness.state().state().train.control.ended[&run];
    assert!(ended.how.contains("signal 9") && !ended.is_good, "{ended:?}");
    assert!(!ended.last_lines.is_empty());
    until(&mut harness, "the state", |app| state_of(app) == Some(&RunState::Interrupted));
    picture(&mut harness, "6-killed");
    press(&mut harness, "Resume");
    until(&mut harness, "the run", |app| matches!(state_of(app), Some(RunState::Running(_))));
    press(&mut harness, "Stop");
    until(&mut harness, "the stop", |app| app.state().train.control.started.is_empty());
}

/// A program that hangs: it begins no run, and says where it is.
fn hanging(home: &Path) -> PathBuf {
    let path = home.join("hangs");
    let write = r#"printf '#!/bin/sh\necho $$ > pid.part; mv pid.part pid; exec sleep 300\n' > "$1" && chmod +x "$1""#;
    assert!(Command::new("sh").args(["-c", write, "sh"]).arg(&path).status().unwrap().success());
    path
}

#[test]
fn closing_the_window_while_its_run_goes_on_asks_first() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("runs/asked");
    std::fs::create_dir_all(&folder).unwrap();
    let asked = "name = \"asked\"\nseed = 1\nbase = \"/base\"\n";
    std::fs::write(folder.join("asked.toml"), asked).unwrap();
    let script = Script::default();
    let mut harness = opened(places(home.path(), hanging(home.path())), &script);
    wish(&harness, TrainCommand::Runs(RunsCommand::Open(folder.clone())));
    until(&mut harness, "the run", |app| shown(app).is_some_and(|told| told.listed == Listed::NeverBegan));
    press(&mut harness, "Begin it");
    // Where the process begins: the folder above the run's.
    let pid = home.path().join("runs/pid");
    until(&mut harness, "the process", |_| pid.is_file());
    let pid: i32 = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();

    close(&mut harness);
    harness.get_by_label("A run goes on");
    harness.get_by_label("asked is at work.");
    harness.get_by_label_contains("It can go on without this window");
    picture(&mut harness, "7-closing");
    press(&mut harness, "Stay");
    assert_eq!(harness.state().state().train.control.closing, Closing::No);
    close(&mut harness);
    harness.key_press(Key::Escape);
    until(&mut harness, "staying", |app| app.state().train.control.closing == Closing::No);
    close(&mut harness);
    press(&mut harness, "Leave running");
    assert_eq!(harness.state().state().train.control.closing, Closing::Now);
    drop(harness);
    // It lives on until it is ended here.
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

/// As the window's own button does.
fn close(harness: &mut Harness<'_, App>) {
    let root = harness.input_mut().viewports.get_mut(&ViewportId::ROOT).unwrap();
    root.events.push(ViewportEvent::Close);
    until(harness, "the question", |app| app.state().train.control.closing == Closing::Asking);
}
