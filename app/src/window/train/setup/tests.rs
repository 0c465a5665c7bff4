//! Wishes and news in, draft and effects out: no egui context, no threads, no files.

use serde_json::json;

use super::super::{TrainEvent, TrainPlaces};
use super::*;
use crate::runs::RunKey;
use crate::runs::told::{Listed, ListedRun};
use crate::window::event::Event;
use crate::window::update;

fn settings() -> Value {
    json!({
        "name": "First try",
        "seed": 1,
        "base": "models/a",
        "grpo": { "data": [{ "folder": "rows" }], "optimisation": {} },
    })
}

fn tell(state: &mut AppState, news: SetupEvent) -> Vec<Effect> {
    update::event(state, Event::Train(TrainEvent::Setup(news)))
}

/// A window with settings that could be looked through.
fn with_settings() -> AppState {
    let mut state = AppState::default();
    assert!(
        tell(&mut state, SetupEvent::Loaded(Ok(settings()))).is_empty(),
        "they need not be written again"
    );
    assert_eq!(state.train.setup.fault, None);
    state
}

fn wish(state: &mut AppState, key: &str, value: Value) -> Vec<Effect> {
    command(state, SetupCommand::Change(key.to_owned(), value))
}

fn problems(state: &AppState) -> Vec<&str> {
    state.problems.iter().map(|problem| problem.sentence.as_str()).collect()
}

#[test]
fn a_change_is_kept_can_be_undone_and_is_saved() {
    let mut state = with_settings();
    let effects = wish(&mut state, "grpo.max_tokens", json!(64));
    let mut expected = settings();
    expected["grpo"]["max_tokens"] = json!(64);
    assert_eq!(effects, [effect(SetupEffect::SaveDraft(expected.clone()))]);
    assert_eq!(config(&state).unwrap().grpo.unwrap().max_tokens, 64);
    assert!(wish(&mut state, "grpo.max_tokens", json!(64)).is_empty(), "nothing changes");
    assert_eq!(command(&mut state, SetupCommand::Undo), [effect(SetupEffect::SaveDraft(settings()))]);
    assert_eq!(state.train.setup.draft, settings());
    assert!(command(&mut state, SetupCommand::Undo).is_empty());
    command(&mut state, SetupCommand::Redo);
    assert_eq!(state.train.setup.draft, expected);
    command(&mut state, SetupCommand::ContinueFrom("runs/a/package".into()));
    assert_eq!(config(&state).unwrap().base, Path::new("runs/a/package"));
}

#[test]
fn what_is_wrong_with_the_settings_is_said_with_the_settings_name_and_can_still_be_edited() {
    let mut state = with_settings();
    wish(&mut state, "grpo.ratio", json!("tokens"));
    let fault = state.train.setup.fault.clone().unwrap();
    assert!(fault.contains("`grpo.ratio`") && fault.contains("sequence_mean"), "{fault}");
    assert_eq!(config(&state).unwrap_err(), fault);
    wish(&mut state, "grpo.ratio", Value::Null);
    assert_eq!(state.train.setup.fault, None);
    wish(&mut state, "grpo.data.0.folder", json!(""));
    assert_eq!(state.train.setup.fault.as_deref(), Some("`grpo.data.0.folder` is still empty."));
    wish(&mut state, "grpo.data.0", Value::Null);
    assert!(state.train.setup.fault.as_ref().unwrap().contains("`grpo.data` names nothing"));
    wish(&mut state, "grpo", Value::Null);
    assert!(state.train.setup.fault.as_ref().unwrap().starts_with("No stage is to be run"));
}

#[test]
fn a_wish_that_means_no_setting_is_refused_in_a_sentence() {
    let mut state = AppState::default();
    assert!(wish(&mut state, "seed", json!(2)).is_empty());
    assert_eq!(problems(&state), ["There are no settings yet: choose a preset first."]);
    let mut state = with_settings();
    for key in ["grpo.sampels", "cold_start.select", "grpo.data.7.limit"] {
        assert!(wish(&mut state, key, json!(3)).is_empty(), "{key}");
        assert!(problems(&state).last().unwrap().contains(key), "{:?}", problems(&state));
    }
    assert_eq!(state.train.setup.draft, settings());
    assert!(state.train.setup.undo.is_empty());
}

#[test]
fn an_alarm_can_set_what_the_draft_does_not_state() {
    let mut state = with_settings();
    wish(&mut state, "grpo.reward.gaming.repetition", json!(1.0));
    wish(&mut state, "checkpoints.keep_last", json!(1));
    let config = config(&state).unwrap();
    assert_eq!(config.grpo.unwrap().reward.gaming.repetition, 1.0);
    assert_eq!((config.checkpoints.keep_last, config.checkpoints.every), (1, 100));
}

#[test]
fn other_settings_replace_the_draft_and_can_be_undone() {
    let mut state = with_settings();
    command(&mut state, SetupCommand::Folder(Some("somewhere".into())));
    let other = json!({ "name": "b", "seed": 2, "base": "c" });
    let effects = command(&mut state, SetupCommand::UsePreset("paper".to_owned()));
    assert_eq!(effects, [effect(SetupEffect::ReadPreset("paper".to_owned()))]);
    let effects = tell(&mut state, SetupEvent::Loaded(Ok(other.clone())));
    assert_eq!(effects, [effect(SetupEffect::SaveDraft(other))]);
    assert_eq!(state.train.setup.folder, None, "it was the other run's");
    command(&mut state, SetupCommand::Undo);
    assert_eq!(state.train.setup.draft, settings());
    tell(&mut state, SetupEvent::Loaded(Err("It cannot be read.".to_owned())));
    assert_eq!(state.train.setup.recent_fault.as_deref(), Some("It cannot be read."));
    assert_eq!(state.train.setup.draft, settings());
    command(&mut state, SetupCommand::DismissFault);
    assert_eq!(state.train.setup.recent_fault, None);
}

#[test]
fn empty_settings_say_what_to_fill_in_first() {
    let mut state = AppState::default();
    command(&mut state, SetupCommand::Begin);
    assert!(state.train.setup.fault.as_ref().unwrap().starts_with("No stage is to be run"));
    let stage = field::find("grpo").unwrap().inner().start();
    wish(&mut state, "grpo", stage);
    assert_eq!(state.train.setup.fault.as_deref(), Some("`name` is still empty."));
}

#[test]
fn the_demo_rows_are_drawn_for_a_preset_that_was_chosen_and_not_for_what_a_start_brings() {
    let mut state = AppState::default();
    assert!(tell(&mut state, SetupEvent::DemoRows(DemoRows::Missing)).is_empty());
    assert_eq!(state.train.setup.demo_rows, DemoRows::Missing);
    command(&mut state, SetupCommand::UsePreset("cpu-demo".to_owned()));
    let effects = tell(&mut state, SetupEvent::DemoRows(DemoRows::Missing));
    assert_eq!(effects, [effect(SetupEffect::MakeDemoRows)]);
    assert!(matches!(state.train.setup.demo_rows, DemoRows::Making(_)), "it is said at once");
    assert!(command(&mut state, SetupCommand::MakeDemoRows).is_empty(), "once at a time");
    assert!(tell(&mut state, SetupEvent::DemoRows(DemoRows::Missing)).is_empty());
    assert!(matches!(state.train.setup.demo_rows, DemoRows::Making(_)));
    tell(&mut state, SetupEvent::DemoRows(DemoRows::Failed("No room.".to_owned())));
    assert_eq!(command(&mut state, SetupCommand::MakeDemoRows), [effect(SetupEffect::MakeDemoRows)]);
    tell(&mut state, SetupEvent::DemoRows(DemoRows::There));
    assert_eq!(state.train.setup.demo_rows, DemoRows::There);
}

#[test]
fn a_run_is_named_after_its_settings_and_never_lies_in_the_folder_of_another() {
    let mut state = with_settings();
    assert!(folder(&state).unwrap_err().starts_with("There is no folder for runs"));
    let runs = if cfg!(windows) { "C:\\runs" } else { "/runs" };
    state.train.places = TrainPlaces { runs: Some(runs.into()), ..TrainPlaces::default() };
    let below = |name: &str| Ok(Path::new(runs).join(name));
    assert_eq!(folder(&state), below("first-try"));
    let listed = |name: &str| ListedRun {
        key: RunKey::new(Path::new(runs).join(name)),
        state: Listed::NeverBegan,
        changed: 0,
    };
    state.train.runs.list = Some(vec![listed("first-try"), listed("first-try-2")]);
    state.train.control.started.push(RunKey::new(Path::new(runs).join("first-try-3")));
    assert_eq!(folder(&state), below("first-try-4"));
    wish(&mut state, "name", json!(" /.. "));
    assert_eq!(folder(&state), below("run"), "a name is no path");
    let chosen = Path::new(runs).join("own");
    command(&mut state, SetupCommand::Folder(Some(chosen.clone())));
    assert_eq!(folder(&state), Ok(chosen));
    command(&mut state, SetupCommand::Folder(Some(PathBuf::new())));
    assert_eq!(state.train.setup.folder, None);
}

#[test]
fn paths_come_from_one_dialog_at_a_time() {
    let mut state = with_settings();
    let pick = Pick::Setting { key: "grpo.data.0.folder".to_owned(), is_folder: true };
    let effects = command(&mut state, SetupCommand::Pick(pick.clone()));
    assert_eq!(effects, [effect(SetupEffect::Pick(pick.clone()))]);
    assert!(command(&mut state, SetupCommand::Pick(Pick::RunFolder)).is_empty());
    let picked = |path: Option<&str>| Ok(path.map(PathBuf::from));
    tell(&mut state, SetupEvent::Picked { what: pick, path: picked(Some("/data/rows")) });
    assert_eq!(state.train.setup.draft["grpo"]["data"][0]["folder"], "/data/rows");
    command(&mut state, SetupCommand::Pick(Pick::RunFolder));
    tell(&mut state, SetupEvent::Picked { what: Pick::RunFolder, path: picked(None) });
    assert_eq!((state.train.setup.folder.clone(), state.train.setup.is_picking), (None, false));
    let none = Err("This system shows no file dialog.".to_owned());
    tell(&mut state, SetupEvent::Picked { what: Pick::Open, path: none });
    assert_eq!(problems(&state), ["This system shows no file dialog."]);
}

#[test]
fn settings_are_saved_as_toml_to_the_path_that_is_typed_or_asked_for() {
    let mut state = with_settings();
    assert_eq!(command(&mut state, SetupCommand::Save), [effect(SetupEffect::Pick(Pick::Save))]);
    let path = || PathBuf::from("/own/run.toml");
    let effects = tell(&mut state, SetupEvent::Picked { what: Pick::Save, path: Ok(Some(path())) });
    let [Effect::Train(TrainEffect::Setup(SetupEffect::SaveFile { path: saved, text }))] = &effects[..]
    else {
        panic!("{effects:?}");
    };
    assert_eq!(*saved, path());
    assert_eq!(toml::from_str::<RunConfig>(text).unwrap(), config(&state).unwrap());
    tell(&mut state, SetupEvent::Saved(Ok(path())));
    state.train.places.runs = Some("/runs".into());
    let command_line = toml_view::command(&state).unwrap();
    assert!(command_line.starts_with("reinpath-train run /own/run.toml --run "), "{command_line}");
    assert_eq!(command(&mut state, SetupCommand::Open), [effect(SetupEffect::ReadFile(path()))]);
    wish(&mut state, "seed", json!(2));
    assert!(
        toml_view::command(&state).unwrap().contains("asked.toml"),
        "the saved file holds other settings"
    );
    wish(&mut state, "seed", json!("one"));
    assert!(command(&mut state, SetupCommand::Save).is_empty());
    assert!(problems(&state)[0].contains("`seed`"));
}
