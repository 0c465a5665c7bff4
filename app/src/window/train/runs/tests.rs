//! Which runs are shown, compared and followed: wishes and news in, state and effects out.

use super::*;
use crate::runs::told::StageTold;

fn key(name: &str) -> RunKey {
    RunKey::new(Path::new("/runs").join(name))
}

fn listed(name: &str, state: Listed) -> ListedRun {
    ListedRun { key: key(name), state, changed: 1 }
}

fn stopped(name: &str) -> ListedRun {
    listed(name, Listed::Known(RunState::Stopped))
}

fn running(name: &str) -> ListedRun {
    listed(name, Listed::Known(RunState::Running(reinpath_training::run_folder::Holder::default())))
}

fn told(name: &str) -> Arc<RunTold> {
    Arc::new(RunTold {
        version: 1,
        listed: Listed::Known(RunState::Stopped),
        stages: vec![StageTold::default()],
        changed: 1,
        ..RunTold::new(key(name))
    })
}

fn followed_by(effects: &[Effect]) -> Vec<String> {
    let follow = effects.iter().find_map(|effect| match effect {
        Effect::Train(TrainEffect::Runs(RunsEffect::Follow(keys))) => Some(keys),
        _ => None,
    });
    follow.unwrap().iter().map(RunKey::name).collect()
}

fn show_named(state: &mut AppState, name: &str) -> Vec<Effect> {
    command(state, RunsCommand::Show(key(name)))
}

#[test]
fn the_first_list_shows_the_run_that_is_at_work_and_a_later_one_moves_nothing() {
    let mut state = AppState::default();
    let list = vec![stopped("new"), running("old"), stopped("older")];
    let effects = event(&mut state, RunsEvent::List(list.clone()));
    assert_eq!(state.train.runs.shown, Some(key("old")));
    assert_eq!(followed_by(&effects), ["old"]);
    let newer = [vec![running("newest")], list].concat();
    assert!(event(&mut state, RunsEvent::List(newer)).is_empty());
    assert_eq!(state.train.runs.shown, Some(key("old")));
    // Without one at work, the newest; without one that can be read, none.
    let mut state = AppState::default();
    let broken = listed("broken", Listed::Unreadable("no".to_owned()));
    event(&mut state, RunsEvent::List(vec![broken.clone(), stopped("a"), stopped("b")]));
    assert_eq!(state.train.runs.shown, Some(key("a")));
    let mut state = AppState::default();
    assert!(event(&mut state, RunsEvent::List(vec![broken])).is_empty());
    assert!(event(&mut state, RunsEvent::List(vec![stopped("late")])).is_empty());
    assert_eq!(state.train.runs.shown, None, "a run that appears later does not come into view by itself");
}

#[test]
fn runs_are_compared_once_each_and_never_with_themselves() {
    let mut state = AppState::default();
    let compare = |state: &mut AppState, name: &str, on| command(state, RunsCommand::Compare(key(name), on));
    compare(&mut state, "a", true);
    assert_eq!(state.train.runs.shown, Some(key("a")), "with nothing shown, it is the one that is");
    assert!(compare(&mut state, "a", true).is_empty());
    assert_eq!(followed_by(&compare(&mut state, "b", true)), ["a", "b"]);
    assert!(compare(&mut state, "b", true).is_empty() && compare(&mut state, "c", false).is_empty());
    show_named(&mut state, "b");
    assert_eq!((state.train.runs.shown.clone(), state.train.runs.compared.len()), (Some(key("b")), 0));
    for n in 0..MOST_COMPARED {
        compare(&mut state, &n.to_string(), true);
    }
    assert!(compare(&mut state, "one more", true).is_empty());
    assert_eq!((state.train.runs.compared.len(), state.problems.len()), (MOST_COMPARED, 1));
    assert!(!compare(&mut state, "0", false).is_empty());
    assert_eq!(state.train.runs.compared.len(), MOST_COMPARED - 1);
}

#[test]
fn what_is_known_of_a_run_goes_with_the_last_who_looks_at_it() {
    let mut state = AppState::default();
    show_named(&mut state, "a");
    event(&mut state, RunsEvent::Told(told("a")));
    assert!(state.train.runs.shown_run().is_some());
    event(&mut state, RunsEvent::Told(told("stranger")));
    assert_eq!(state.train.runs.told.len(), 1, "late news of a run that is not followed");
    state.train.control.started.push(key("a"));
    assert_eq!(followed_by(&show_named(&mut state, "b")), ["a", "b"]);
    assert!(state.train.runs.told.contains_key(&key("a")), "this window started it");
    state.train.control.started.clear();
    show_named(&mut state, "c");
    assert!(state.train.runs.told.is_empty());
    assert_eq!(show_named(&mut state, "c"), [follow(&state)], "it is in view already");
}

#[test]
fn a_run_elsewhere_is_remembered_until_it_is_forgotten() {
    let mut state = AppState::default();
    state.train.places.runs = Some("/runs".into());
    let effects = command(&mut state, RunsCommand::Open("/runs/a".into()));
    assert!(state.settings.runs.is_empty(), "that one is found anyway");
    assert!(effects.contains(&effect(RunsEffect::ReadList)));
    let elsewhere = PathBuf::from("/elsewhere/b");
    let effects = command(&mut state, RunsCommand::Open(elsewhere.clone()));
    assert_eq!(state.settings.runs, std::slice::from_ref(&elsewhere));
    assert_eq!(effects[0], Effect::SaveSettings(state.settings.clone()));
    assert_eq!(effects[1], effect(RunsEffect::ReadListAlso(vec![elsewhere.clone()])));
    assert_eq!(state.train.runs.shown, Some(RunKey::new(elsewhere.clone())));
    command(&mut state, RunsCommand::Open(elsewhere.clone()));
    assert_eq!(state.settings.runs.len(), 1);
    let effects = command(&mut state, RunsCommand::Forget(RunKey::new(elsewhere)));
    assert!(state.settings.runs.is_empty() && effects.contains(&effect(RunsEffect::ReadList)));
    assert!(command(&mut state, RunsCommand::Open(PathBuf::new())).is_empty());
    assert_eq!(state.problems.len(), 1, "an empty path is no folder");
}

#[test]
fn one_dialog_is_open_at_a_time_and_its_absence_is_said() {
    let mut state = AppState::default();
    assert_eq!(command(&mut state, RunsCommand::PickFolder), [effect(RunsEffect::PickFolder)]);
    assert!(command(&mut state, RunsCommand::PickFolder).is_empty());
    assert!(event(&mut state, RunsEvent::Picked(Ok(None))).is_empty());
    command(&mut state, RunsCommand::PickFolder);
    event(&mut state, RunsEvent::Picked(Err("There is no dialog.".to_owned())));
    assert_eq!(state.problems.len(), 1);
    command(&mut state, RunsCommand::PickFolder);
    event(&mut state, RunsEvent::Picked(Ok(Some("/elsewhere/c".into()))));
    assert_eq!(state.train.runs.shown, Some(RunKey::new("/elsewhere/c".into())));
}

#[test]
fn the_list_is_read_anew_when_it_is_shown() {
    let mut state = AppState::default();
    assert_eq!(command(&mut state, RunsCommand::ToggleList), [effect(RunsEffect::ReadList)]);
    assert!(state.train.runs.is_list_shown);
    assert!(command(&mut state, RunsCommand::ToggleList).is_empty());
    assert_eq!(command(&mut state, RunsCommand::Refresh), [effect(RunsEffect::ReadList)]);
}
