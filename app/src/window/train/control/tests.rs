//! What each wish and each piece of news comes to, without a window and without a process.

use std::sync::Arc;

use reinpath_training::event::Finding;
use reinpath_training::run_folder::{Holder, RunState};
use serde_json::{Value, json};

use super::start::{at_work_on, obstacle};
use super::*;
use crate::runs::told::{Listed, ListedRun, RunTold};
use crate::window::command::Command;
use crate::window::event::Event;
use crate::window::state::WorkerState;
use crate::window::train::runs::RunsEffect;
use crate::window::train::{TrainCommand, TrainEvent};

fn key(name: &str) -> RunKey {
    RunKey::new(format!("/runs/{name}").into())
}

fn running() -> Listed {
    Listed::Known(RunState::Running(Holder::default()))
}

fn draft(device: &str) -> Value {
    json!({
        "name": "new", "seed": 1, "base": "/models/base", "compute": { "device": device },
        "cold_start": { "data": [{ "folder": "/data" }], "optimisation": {} },
    })
}

/// A window that could start the draft.
fn ready(device: &str) -> AppState {
    let mut state = AppState::default();
    let train = &mut state.train;
    train.places.runs = Some("/runs".into());
    train.places.program = Some(Ok("/bin/reinpath-train".into()));
    train.setup.draft = draft(device);
    train.look.preflight.of = Some(draft(device));
    state
}

fn told_of(name: &str, device: &str, listed: Listed) -> RunTold {
    RunTold {
        version: 1,
        listed,
        config: Some(Arc::new(serde_json::from_value(draft(device)).unwrap())),
        changed: u64::MAX,
        ..RunTold::new(key(name))
    }
}

/// A run that is followed has told so much.
fn tell(state: &mut AppState, told: RunTold) -> Vec<Effect> {
    let run = told.key.clone();
    state.train.runs.told.insert(run.clone(), Arc::new(told));
    super::told(state, &run)
}

fn wish(state: &mut AppState, wish: ControlCommand) -> Vec<Effect> {
    update::command(state, Command::Train(TrainCommand::Control(wish)))
}

fn hear(state: &mut AppState, news: ControlEvent) -> Vec<Effect> {
    update::event(state, Event::Train(TrainEvent::Control(news)))
}

/// The effects of this part among them.
fn own(effects: Vec<Effect>) -> Vec<ControlEffect> {
    let own = effects.into_iter().filter_map(|effect| match effect {
        Effect::Train(TrainEffect::Control(effect)) => Some(effect),
        _ => None,
    });
    own.collect()
}

fn follows(effects: &[Effect], run: &RunKey) -> bool {
    effects.iter().any(|effect| match effect {
        Effect::Train(TrainEffect::Runs(RunsEffect::Follow(runs))) => runs.contains(run),
        _ => false,
    })
}

fn ended(how: &str, is_good: bool) -> Ended {
    Ended { how: how.to_owned(), is_good, last_lines: Vec::new() }
}

fn problems(state: &AppState) -> Vec<&str> {
    state.problems.iter().map(|problem| problem.sentence.as_str()).collect()
}

/// The run that was started.
fn start(state: &mut AppState, queued: bool) -> (RunKey, Launch, Vec<Effect>) {
    let effects = wish(state, ControlCommand::Start { queued });
    let launch = effects.iter().find_map(|effect| match effect {
        Effect::Train(TrainEffect::Control(ControlEffect::Launch(launch))) => Some((**launch).clone()),
        _ => None,
    });
    let launch = launch.unwrap_or_else(|| panic!("{effects:?} {:?}", state.problems));
    (RunKey::new(launch.folder.clone()), launch, effects)
}

#[test]
fn a_draft_is_started_once_it_was_looked_through_and_then_shown_and_followed() {
    let mut state = ready("cpu");
    assert_eq!(obstacle(&state), None);
    let (run, launch, effects) = start(&mut state, false);
    assert!(run.folder().starts_with("/runs") && launch.after.is_empty(), "{launch:?}");
    assert_eq!(launch.config.name, "new");
    assert_eq!(
        (state.train.runs.shown.as_ref(), &state.train.control.started[..]),
        (Some(&run), &[run.clone()][..])
    );
    assert!(follows(&effects, &run));
    assert!(state.train.control.must_ask_to_close());
}

#[test]
fn what_stands_in_the_way_of_a_start_is_said_and_nothing_is_started() {
    type Change = fn(&mut AppState);
    let changes: [(Change, &str); 8] = [
        (|state| state.train.places.program = None, "knows no program"),
        (|state| state.train.places.program = Some(Err("not beside it: x".to_owned())), "Not beside it: x"),
        (|state| state.train.setup.draft = Value::Null, "Choose a preset first"),
        (|state| state.train.setup.fault = Some("No seed.".to_owned()), "No seed."),
        (|state| state.train.look.preflight.of = None, "Look the settings through first"),
        (|state| state.train.setup.draft = draft("cuda"), "have changed since"),
        (|state| state.train.look.preflight.is_running = true, "being looked through"),
        (
            |state| {
                let finding = Finding { finding: "No.".to_owned(), cure: None, is_fatal: true };
                state.train.look.preflight.findings.push(finding);
            },
            "One finding stands in the way",
        ),
    ];
    for (change, words) in changes {
        let mut state = ready("cpu");
        change(&mut state);
        let reason = obstacle(&state).unwrap();
        assert!(reason.contains(words), "{reason}");
        assert!(own(wish(&mut state, ControlCommand::Start { queued: false })).is_empty(), "{words}");
        assert_eq!(problems(&state), [reason]);
        assert!(state.train.control.started.is_empty());
    }
}

#[test]
fn a_queued_run_waits_for_those_on_the_same_device_and_a_start_for_none() {
    let mut state = ready("cuda:0");
    let listed = |name: &str, state: Listed| ListedRun { key: key(name), state, changed: 1 };
    state.train.runs.list = Some(vec![
        listed("same", running()),
        listed("other", running()),
        listed("unknown", running()),
        listed("ended", running()),
        listed("stopped", Listed::Known(RunState::Stopped)),
    ]);
    tell(&mut state, told_of("same", "cuda", running()));
    tell(&mut state, told_of("other", "cuda:1", running()));
    tell(&mut state, told_of("ended", "cuda:0", Listed::Known(RunState::Interrupted)));
    assert_eq!(at_work_on(&state, "cuda:0"), [key("same"), key("unknown")]);
    let (_, launch, _) = start(&mut state, true);
    assert_eq!(launch.after, [key("same").folder(), key("unknown").folder()]);
    let mut state = ready("cuda:0");
    state.train.control.started.push(key("just begun"));
    assert!(start(&mut state, false).1.after.is_empty());
}

fn holding(state: &mut AppState, device: &str) {
    state.model.worker = WorkerState::Ready { device: device.to_owned(), memory: 1 };
}

#[test]
fn the_assistants_model_gives_up_the_memory_of_the_gpu_that_a_run_needs() {
    for (run, held, gives_up) in [
        ("cuda", "cuda:0", true),
        ("cuda:1", "cuda:1", true),
        ("cuda:1", "cuda:0", false),
        ("cuda", "cpu", false),
        ("cpu", "cpu", false),
    ] {
        let mut state = ready(run);
        holding(&mut state, held);
        let (key, _, effects) = start(&mut state, false);
        assert_eq!(effects.contains(&Effect::ReleaseModel), gives_up, "{run} {held}");
        assert_eq!(state.train.control.released_for, gives_up.then_some(key));
    }
}

#[test]
fn a_queued_run_gets_the_memory_when_its_turn_has_come() {
    let mut state = ready("cuda");
    holding(&mut state, "cuda:0");
    state.train.control.started.push(key("before"));
    let (run, _, effects) = start(&mut state, true);
    assert!(!effects.contains(&Effect::ReleaseModel), "the other may take days");
    let mut waiting = RunTold { key: run.clone(), ..told_of("x", "cuda", running()) };
    waiting.waits_for = Some(key("before").folder().to_owned());
    assert!(!tell(&mut state, waiting.clone()).contains(&Effect::ReleaseModel));
    waiting.waits_for = None;
    assert!(tell(&mut state, waiting.clone()).contains(&Effect::ReleaseModel));
    assert!(!tell(&mut state, waiting).contains(&Effect::ReleaseModel), "once");
}

#[test]
fn stop_asks_for_a_checkpoint_and_says_so_until_the_run_has_ended() {
    let mut state = ready("cpu");
    let run = start(&mut state, false).0;
    assert_eq!(own(wish(&mut state, ControlCommand::Stop(run.clone()))), [ControlEffect::Stop(run.clone())]);
    let at_work = RunTold { key: run.clone(), ..told_of("x", "cpu", running()) };
    tell(&mut state, at_work);
    assert!(state.train.control.stopping.contains(&run), "not yet");
    hear(&mut state, ControlEvent::Ended { run: run.clone(), ended: ended("stopped as asked", true) });
    let control = &state.train.control;
    assert!(control.stopping.is_empty() && control.started.is_empty() && state.problems.is_empty());
    assert_eq!(state.train.control.ended[&run].how, "stopped as asked");
}

#[test]
fn kill_needs_a_second_press_within_its_time_and_on_the_same_run() {
    let mut state = ready("cpu");
    let press = |state: &mut AppState, name: &str| own(wish(state, ControlCommand::Kill(key(name))));
    assert!(press(&mut state, "a").is_empty());
    assert!(press(&mut state, "b").is_empty(), "another one");
    assert_eq!(press(&mut state, "b"), [ControlEffect::Kill(key("b"))]);
    assert!(press(&mut state, "b").is_empty(), "it asks again");
    let Some(before) = Instant::now().checked_sub(KILL_PATIENCE) else { return };
    state.train.control.kill_asked = Some((key("b"), before));
    assert!(press(&mut state, "b").is_empty(), "too late");
    wish(&mut state, ControlCommand::Kill(key("c")));
    update::command(&mut state, Command::Train(TrainCommand::Runs(RunsCommand::Show(key("d")))));
    assert!(press(&mut state, "c").is_empty(), "another run was looked at meanwhile");
}

#[test]
fn a_run_is_gone_on_with_once_and_its_last_end_is_forgotten() {
    let mut state = ready("cuda");
    tell(&mut state, told_of("a", "cuda", Listed::Known(RunState::Stopped)));
    holding(&mut state, "cuda:0");
    state.train.control.ended.insert(key("a"), ended("exit code 1", false));
    let effects = wish(&mut state, ControlCommand::Resume(key("a")));
    assert!(effects.contains(&Effect::ReleaseModel) && follows(&effects, &key("a")));
    assert_eq!(own(effects), [ControlEffect::Resume { run: key("a"), after: Vec::new() }]);
    assert!(state.train.control.ended.is_empty());
    assert!(wish(&mut state, ControlCommand::Resume(key("a"))).is_empty(), "it is at work");
}

#[test]
fn a_run_that_could_not_be_started_or_ended_badly_is_told_and_can_be_begun_again() {
    let mut state = ready("cpu");
    let run = start(&mut state, false).0;
    let sentence = "The training program cannot be started: x".to_owned();
    hear(&mut state, ControlEvent::NotStarted { run: run.clone(), sentence: sentence.clone() });
    assert_eq!(problems(&state), [sentence.as_str()]);
    assert_eq!(state.train.control.ended[&run], ended(&sentence, false));
    assert!(!state.train.control.must_ask_to_close());
    wish(&mut state, ControlCommand::Resume(run.clone()));
    assert_eq!(state.train.control.started, std::slice::from_ref(&run));
    state.problems.clear();
    state.train.runs.shown = Some(key("another"));
    hear(&mut state, ControlEvent::Ended { run, ended: ended("exit code 1", false) });
    assert!(
        problems(&state)[0].contains("has ended, exit code 1"),
        "another run is in view: {:?}",
        problems(&state)
    );
}

#[test]
fn a_finished_model_is_used_and_the_mode_changed() {
    let mut state = ready("cpu");
    let effects = wish(&mut state, ControlCommand::UsePackage("/runs/a/package".into()));
    assert!(effects.contains(&Effect::UsePackage("/runs/a/package".into())));
    assert_eq!(state.mode, Mode::Read);
}

#[test]
fn a_checkpoint_becomes_a_package_first_and_is_not_used_when_that_was_cancelled() {
    let mut state = ready("cpu");
    state.mode = Mode::Train;
    let use_it = |state: &mut AppState| {
        let checkpoint = "/runs/a/checkpoints/grpo-000010".into();
        own(wish(state, ControlCommand::UseCheckpoint { run: key("a"), checkpoint }))
    };
    let done = || ControlEvent::Exported { run: key("a"), package: Ok("/runs/a/exports/grpo-000010".into()) };
    assert_eq!(use_it(&mut state).len(), 1);
    assert!(
        use_it(&mut state).is_empty() && problems(&state)[0].starts_with("Another model"),
        "one at a time"
    );
    hear(&mut state, ControlEvent::Preparing { run: key("a"), words: "loading".to_owned() });
    assert_eq!(state.train.control.preparing_words, "loading");
    assert_eq!(own(wish(&mut state, ControlCommand::StopPreparing)), [ControlEffect::StopExport]);
    assert!(hear(&mut state, done()).is_empty(), "it was cancelled");
    assert_eq!(state.mode, Mode::Train);
    use_it(&mut state);
    let used = Effect::UsePackage("/runs/a/exports/grpo-000010".into());
    assert!(hear(&mut state, done()).contains(&used));
    assert_eq!((state.mode, &state.train.control.preparing), (Mode::Read, &None));
    state.problems.clear();
    use_it(&mut state);
    hear(&mut state, ControlEvent::Exported { run: key("a"), package: Err("No room.".to_owned()) });
    assert_eq!(problems(&state), ["No room."]);
}

/// A window with two runs of its own that is being closed.
fn closing() -> AppState {
    let mut state = ready("cpu");
    state.train.control.started = vec![key("a"), key("b")];
    wish(&mut state, ControlCommand::AskToClose);
    assert_eq!(state.train.control.closing, Closing::Asking);
    state
}

fn over(state: &mut AppState, name: &str) -> bool {
    let effects = hear(state, ControlEvent::Ended { run: key(name), ended: ended("stopped as asked", true) });
    effects.contains(&Effect::Quit)
}

#[test]
fn a_window_that_is_closed_leaves_its_runs_running_when_told_so() {
    let mut state = closing();
    assert_eq!(wish(&mut state, ControlCommand::CloseAndLeaveRunning), [Effect::Quit]);
    assert!(!state.train.control.must_ask_to_close(), "it is not asked again");
}

#[test]
fn a_window_that_is_closed_waits_for_the_last_run_to_stop() {
    let mut state = closing();
    let stops = own(wish(&mut state, ControlCommand::CloseAndStop));
    assert_eq!(stops, [ControlEffect::Stop(key("a")), ControlEffect::Stop(key("b"))]);
    assert!(wish(&mut state, ControlCommand::AskToClose).is_empty());
    assert_eq!(state.train.control.closing, Closing::Stopping, "a second wish to close takes nothing back");
    assert!(!over(&mut state, "b"));
    assert!(state.train.control.must_ask_to_close());
    assert!(over(&mut state, "a"));
    assert_eq!(state.train.control.closing, Closing::Now);
}

#[test]
fn a_window_that_stays_is_not_closed_by_the_end_of_its_runs() {
    let mut state = closing();
    wish(&mut state, ControlCommand::StayOpen);
    assert!(!over(&mut state, "a") && !over(&mut state, "b"));
    assert_eq!(state.train.control.closing, Closing::No);
}

#[test]
fn a_window_whose_runs_end_while_it_asks_closes() {
    let mut state = closing();
    assert!(!over(&mut state, "a") && over(&mut state, "b"));
    let mut state = ready("cpu");
    assert!(!state.train.control.must_ask_to_close());
    assert_eq!(wish(&mut state, ControlCommand::AskToClose), [Effect::Quit], "there is nothing to ask");
}

#[test]
fn a_new_alarm_is_announced_and_one_that_stays_is_not() {
    let mut state = ready("cpu");
    tell(&mut state, told_of("a", "cpu", running()));
    assert!(state.train.control.newest_alarm.is_none() && state.train.control.alarms[&key("a")].is_empty());
    hear(&mut state, ControlEvent::DiskFree { run: key("a"), bytes: 5 });
    let newest = state.train.control.newest_alarm.take().unwrap();
    assert!(newest.run == key("a") && newest.sentence.contains("0.0 GB"), "{newest:?}");
    tell(&mut state, told_of("a", "cpu", running()));
    assert!(state.train.control.newest_alarm.is_none());
    assert_eq!(state.train.control.alarms[&key("a")].len(), 1);
}

#[test]
fn the_disks_of_running_runs_are_measured_now_and_then() {
    let mut state = ready("cpu");
    tell(&mut state, told_of("a", "cpu", running()));
    tell(&mut state, told_of("b", "cpu", Listed::Known(RunState::Stopped)));
    let look = |state: &mut AppState| own(wish(state, ControlCommand::LookForAlarms));
    assert_eq!(look(&mut state), [ControlEffect::MeasureDisks(vec![key("a")])]);
    assert!(look(&mut state).is_empty(), "not at every look");
}
