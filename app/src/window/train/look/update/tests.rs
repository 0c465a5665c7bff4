//! Wishes and news in, state and effects out: no threads, no program.

use std::sync::Arc;

use reinpath_training::event::Finding;
use serde_json::json;

use super::super::{RowIndex, RowView};
use super::*;

/// A window with settings that are whole, and with a training program.
fn ready() -> AppState {
    let mut state = AppState::default();
    state.train.places.program = Some(Ok("reinpath-train".into()));
    state.train.setup.draft = json!({"name": "a", "seed": 1, "base": "base"});
    state.train.setup.folder = Some("runs/a".into());
    state
}

fn wish(state: &mut AppState, wish: LookCommand) -> Vec<LookEffect> {
    let effects = command(state, wish);
    effects
        .into_iter()
        .map(|effect| match effect {
            Effect::Train(TrainEffect::Look(effect)) => effect,
            other => panic!("{other:?}"),
        })
        .collect()
}

/// The number and the job of the one look that a wish begins.
fn begun(state: &mut AppState, asked: LookCommand) -> (u64, LookJob) {
    match wish(state, asked).as_slice() {
        [LookEffect::Start { number, job }] => (*number, job.as_ref().clone()),
        other => panic!("{other:?}"),
    }
}

fn tell(state: &mut AppState, number: u64, news: LookNews) {
    assert!(event(state, LookEvent { number, news }).is_empty());
}

fn finding(is_fatal: bool) -> Finding {
    Finding { finding: "A.".to_owned(), cure: None, is_fatal }
}

fn allows(state: &AppState) -> bool {
    state.train.look.preflight.allows(&state.train.setup.draft)
}

#[test]
fn a_preflight_to_its_end_allows_these_settings_and_no_others() {
    let mut state = ready();
    assert!(!allows(&state), "nothing was looked at");
    let (number, job) = begun(&mut state, LookCommand::Preflight);
    let LookJob::Preflight { config, folder, model_holds: None } = job else { panic!("{job:?}") };
    assert!(config.name == "a" && folder.ends_with("runs/a"), "{}", folder.display());
    tell(&mut state, number, LookNews::Finding(finding(false)));
    assert!(!allows(&state), "it goes on");
    tell(&mut state, number, LookNews::PreflightEnded(Ok(())));
    assert!(allows(&state));
    state.train.setup.draft["seed"] = json!(2);
    assert!(!allows(&state));
    state.train.setup.draft["seed"] = json!(1);
    assert!(allows(&state), "taken back");
}

#[test]
fn a_fatal_finding_and_a_preflight_without_an_end_allow_nothing() {
    let mut state = ready();
    let (number, _) = begun(&mut state, LookCommand::Preflight);
    tell(&mut state, number, LookNews::Finding(finding(true)));
    tell(&mut state, number, LookNews::PreflightEnded(Ok(())));
    assert!(!allows(&state));
    let (number, _) = begun(&mut state, LookCommand::Preflight);
    assert!(state.train.look.preflight.findings.is_empty(), "of the look before");
    tell(&mut state, number, LookNews::PreflightEnded(Err("It was killed.".to_owned())));
    assert!(!allows(&state));
    assert_eq!(state.train.look.preflight.fault.as_deref(), Some("It was killed."));
}

#[test]
fn what_an_earlier_look_tells_late_is_not_listened_to() {
    let mut state = ready();
    let (first, _) = begun(&mut state, LookCommand::Preflight);
    let (second, _) = begun(&mut state, LookCommand::Preflight);
    tell(&mut state, first, LookNews::Finding(finding(true)));
    tell(&mut state, first, LookNews::PreflightEnded(Ok(())));
    assert!(state.train.look.preflight.is_running && state.train.look.preflight.findings.is_empty());
    tell(&mut state, second, LookNews::PreflightEnded(Ok(())));
    tell(&mut state, second, LookNews::Finding(finding(true)));
    assert!(allows(&state), "after its end nothing comes");
}

#[test]
fn settings_that_are_none_and_a_missing_program_are_said_in_place() {
    let mut state = ready();
    state.train.setup.draft = json!({"name": "a"});
    assert_eq!(wish(&mut state, LookCommand::Preflight), [LookEffect::Stop(LookKind::Preflight)]);
    let fault = state.train.look.preflight.fault.clone().unwrap();
    assert!(fault.contains("seed"), "{fault}");
    assert!(!state.train.look.preflight.is_running && !allows(&state));

    let mut state = ready();
    state.train.places.program = Some(Err("The program reinpath-train is missing: bin".to_owned()));
    wish(&mut state, LookCommand::Preflight);
    assert_eq!(
        state.train.look.preflight.fault.as_deref(),
        Some("The program reinpath-train is missing: bin")
    );
    wish(&mut state, LookCommand::Check { data: "rows".into() });
    assert!(state.train.look.check.is_shown && state.train.look.check.fault.is_some());
    state.train.places.program = None;
    wish(&mut state, LookCommand::Preview { data: "rows".into(), rows: Vec::new() });
    assert!(state.train.look.preview.is_shown && state.train.look.preview.fault.is_some());
}

#[test]
fn escape_ends_what_goes_on_and_then_closes_what_is_shown() {
    let mut state = ready();
    let (number, _) = begun(&mut state, LookCommand::Check { data: "rows".into() });
    tell(&mut state, number, LookNews::CheckEnded(Ok(())));
    begun(&mut state, LookCommand::Preflight);
    assert_eq!(wish(&mut state, LookCommand::Stop), [LookEffect::Stop(LookKind::Preflight)]);
    assert!(state.train.look.preflight.fault.is_some() && !allows(&state));
    assert!(state.train.look.check.is_shown);
    assert!(wish(&mut state, LookCommand::Stop).is_empty());
    assert!(!state.train.look.check.is_shown);
    assert!(wish(&mut state, LookCommand::Stop).is_empty());
}

#[test]
fn closing_a_check_that_goes_on_gives_it_up() {
    let mut state = ready();
    let (number, _) = begun(&mut state, LookCommand::Check { data: "rows".into() });
    assert_eq!(wish(&mut state, LookCommand::CloseCheck), [LookEffect::Stop(LookKind::Check)]);
    tell(&mut state, number, LookNews::CheckEnded(Ok(())));
    assert!(state.train.look.check.fault.is_some(), "it was given up");
    assert!(wish(&mut state, LookCommand::CloseCheck).is_empty());
}

#[test]
fn one_goes_from_row_to_row_and_the_last_one_stays_while_the_next_is_read() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rows.jsonl"), "{\"id\":\"a\"}\n{\"id\":\"b\"}\n").unwrap();
    let data = folder.path().to_owned();
    let mut state = ready();
    let (number, job) = begun(&mut state, LookCommand::Preview { data: data.clone(), rows: Vec::new() });
    assert_eq!(job, LookJob::Preview { data: data.clone(), package: "base".into(), row: None });
    assert!(wish(&mut state, LookCommand::PreviewNext(1)).is_empty(), "no row is known yet");
    let row = json!({"id": "a", "prompt": "What is seen?", "prompt_tokens": 9, "answer_tokens": 3, "limit": 512,
                     "features": [1, 4, 24]});
    let view = RowView {
        row: serde_json::from_value(row).unwrap(),
        pictures: Vec::new(),
        source: String::new(),
        place: Some(0),
        index: Some(Arc::new(RowIndex::read(&data).unwrap())),
    };
    tell(&mut state, number, LookNews::Row(Arc::new(view)));
    tell(&mut state, number, LookNews::PreviewEnded(Ok(())));
    assert!(wish(&mut state, LookCommand::PreviewNext(-1)).is_empty(), "it is the first");
    assert!(wish(&mut state, LookCommand::PreviewNext(2)).is_empty(), "there are two");
    let (_, job) = begun(&mut state, LookCommand::PreviewNext(1));
    assert!(matches!(&job, LookJob::Preview { row: Some(row), .. } if row == "b"), "{job:?}");
    let preview = &state.train.look.preview;
    assert!(preview.is_running && preview.view.as_ref().is_some_and(|view| view.row.id == "a"));
    begun(&mut state, LookCommand::Preview { data: "other".into(), rows: vec!["b".to_owned()] });
    assert!(state.train.look.preview.view.is_none(), "that row is of other data");
}

#[test]
fn the_assistants_model_counts_on_the_device_of_the_run_alone() {
    let ready = |device: &str| WorkerState::Ready { device: device.to_owned(), memory: 5 };
    assert_eq!(model_holds(&ready("cuda"), "cuda:0"), Some(5));
    assert_eq!(model_holds(&ready("cuda:1"), "cuda"), None);
    assert_eq!(model_holds(&ready("cpu"), "cpu"), Some(5));
    assert_eq!(model_holds(&WorkerState::Idle, "cpu"), None);
}
