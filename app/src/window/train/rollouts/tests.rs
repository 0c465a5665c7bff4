//! What is on screen of rollouts, and when it changes: state and effects only, no files, no threads.

use reinpath_model::event::Stop;
use reinpath_training::rollout_record::AnswerRecord;
use reinpath_training::run_folder::RunState;

use super::super::super::update::Effect;
use super::super::TrainEffect;
use super::update::{evenly, told_at};
use super::*;
use crate::runs::told::{Listed, RunTold};

mod drawing;

/// An answer of seven tokens with this reward.
pub(super) fn answer(text: &str, reward: f64) -> AnswerRecord {
    AnswerRecord {
        text: text.to_owned(),
        tokens: 7,
        stop: Stop::End,
        logprob: -3.5,
        rewards: BTreeMap::new(),
        reward,
        advantage: 0.0,
        is_right: false,
    }
}

/// A question of a row with a label, an answer for each reward.
pub(super) fn record(step: usize, row: &str, rewards: &[f64]) -> RolloutRecord {
    RolloutRecord {
        stage: "grpo".to_owned(),
        step,
        row: row.to_owned(),
        images: vec![format!("img/{row}.png")],
        question: "What is seen?".to_owned(),
        choices: vec!["normal".to_owned(), "tumour".to_owned()],
        label: Some("B".to_owned()),
        reference: "[Conclusion]\nB) tumour".to_owned(),
        answers: rewards.iter().map(|&reward| answer("[Conclusion]\nB) tumour", reward)).collect(),
    }
}

/// The run in `/runs/<name>` with rollouts of these steps.
pub(super) fn run(name: &str, steps: &[usize]) -> RunTold {
    let key = RunKey::new(format!("/runs/{name}").into());
    let steps = steps.iter().map(|&step| step_of(name, step)).collect();
    RunTold {
        version: 1,
        listed: Listed::Known(RunState::Interrupted),
        rollouts: Arc::new(RolloutIndex { steps }),
        ..RunTold::new(key)
    }
}

fn step_of(name: &str, step: usize) -> RolloutStep {
    let file = format!("/runs/{name}/rollouts/{step}.jsonl").into();
    RolloutStep { stage: "grpo".to_owned(), step, file, questions: 2 }
}

/// A window in which the run `a` is shown, with rollouts of these steps.
fn showing(steps: &[usize]) -> (AppState, RunKey) {
    let mut state = AppState::default();
    let key = tell(&mut state, run("a", steps));
    state.train.runs.shown = Some(key.clone());
    (state, key)
}

fn tell(state: &mut AppState, told: RunTold) -> RunKey {
    let key = told.key.clone();
    state.train.runs.told.insert(key.clone(), Arc::new(told));
    key
}

fn rollouts_effects(effects: Vec<Effect>) -> Vec<RolloutsEffect> {
    let rollouts = |effect| match effect {
        Effect::Train(TrainEffect::Rollouts(effect)) => Some(effect),
        _ => None,
    };
    effects.into_iter().filter_map(rollouts).collect()
}

/// The steps that are read by these effects.
fn reads(effects: Vec<Effect>) -> Vec<usize> {
    let step = |effect| match effect {
        RolloutsEffect::Read { step, .. } => Some(step.step),
        _ => None,
    };
    rollouts_effects(effects).into_iter().filter_map(step).collect()
}

fn arrive(state: &mut AppState, run: &RunKey, step: usize, rows: &[&str]) -> Vec<RolloutsEffect> {
    let records = Ok(rows.iter().map(|row| record(step, row, &[1.0, 0.0])).collect());
    let news = RolloutsEvent::Records { run: run.clone(), stage: "grpo".to_owned(), step, records };
    rollouts_effects(event(state, news))
}

fn shown_row(state: &AppState) -> Option<&str> {
    state.train.rollouts.record().map(|record| record.row.as_str())
}

fn show_step(state: &mut AppState, step: usize) -> Vec<usize> {
    reads(command(state, RolloutsCommand::ShowStep { stage: "grpo".to_owned(), step }))
}

#[test]
fn the_newest_step_is_read_when_a_run_comes_into_view() {
    let (mut state, run) = showing(&[1, 5, 9]);
    assert_eq!(reads(shown(&mut state)), [9]);
    let effects = arrive(&mut state, &run, 9, &["a", "b"]);
    let images = vec!["img/a.png".to_owned()];
    assert_eq!(effects, [RolloutsEffect::ReadPictures { run, images, folders: Vec::new() }]);
    assert_eq!(shown_row(&state), Some("a"));
    assert_eq!(reads(shown(&mut state)), [0; 0], "it is there");
}

#[test]
fn a_newer_step_is_read_at_most_every_two_seconds_and_none_is_forgotten() {
    let (mut state, key) = showing(&[1]);
    let start = Instant::now();
    assert_eq!(reads(told_at(&mut state, &key, start)), [1]);
    arrive(&mut state, &key, 1, &["a"]);
    tell(&mut state, run("a", &[1, 2]));
    let soon = start + Duration::from_millis(500);
    let waits = rollouts_effects(told_at(&mut state, &key, soon));
    let time = Duration::from_millis(1500);
    assert_eq!(waits, [RolloutsEffect::Wait { run: key.clone(), time }]);
    tell(&mut state, run("a", &[1, 2, 3]));
    assert!(told_at(&mut state, &key, soon).is_empty(), "one wait is enough");
    assert_eq!(state.train.rollouts.read, Some(step_of("a", 1)));
    let later = start + EVERY;
    assert_eq!(reads(told_at(&mut state, &key, later)), [3], "those between are passed over");
}

#[test]
fn the_look_that_was_put_off_happens_even_when_the_run_tells_nothing_more() {
    let (mut state, key) = showing(&[1]);
    assert_eq!(reads(shown(&mut state)), [1]);
    arrive(&mut state, &key, 1, &["a"]);
    tell(&mut state, run("a", &[1, 2]));
    assert_eq!(rollouts_effects(told(&mut state, &key)).len(), 1);
    state.train.rollouts.followed_at = None;
    assert_eq!(reads(event(&mut state, RolloutsEvent::Due(key))), [2]);
}

#[test]
fn a_chosen_step_stays_whatever_the_run_tells() {
    let (mut state, key) = showing(&[10, 20, 30]);
    shown(&mut state);
    arrive(&mut state, &key, 30, &["a"]);
    assert_eq!(show_step(&mut state, 14), [10], "the nearest that has rollouts");
    assert_eq!(shown_row(&state), Some("a"), "what is on screen stays until the other has come");
    arrive(&mut state, &key, 10, &["b"]);
    tell(&mut state, run("a", &[10, 20, 30, 40]));
    assert!(told_at(&mut state, &key, Instant::now() + EVERY * 2).is_empty());
    assert_eq!(shown_row(&state), Some("b"));
    assert_eq!(show_step(&mut state, 10), [0; 0], "it is there");
    assert_eq!(reads(command(&mut state, RolloutsCommand::ShowNewest)), [40]);
}

#[test]
fn records_that_are_not_awaited_any_more_are_dropped() {
    let (mut state, key) = showing(&[1, 2]);
    shown(&mut state);
    assert_eq!(show_step(&mut state, 1), [1]);
    arrive(&mut state, &key, 2, &["late"]);
    assert_eq!(state.train.rollouts.records, None);
    arrive(&mut state, &RunKey::new("/runs/other".into()), 1, &["of another run"]);
    assert_eq!(state.train.rollouts.records, None);
    arrive(&mut state, &key, 1, &["a"]);
    assert_eq!(shown_row(&state), Some("a"));
}

#[test]
fn the_question_in_view_is_kept_where_the_next_step_asks_it_too() {
    let (mut state, key) = showing(&[1, 2, 3]);
    shown(&mut state);
    arrive(&mut state, &key, 3, &["a", "b", "c"]);
    command(&mut state, RolloutsCommand::Question(1));
    command(&mut state, RolloutsCommand::OpenAnswer(0, true));
    show_step(&mut state, 1);
    arrive(&mut state, &key, 1, &["c", "d", "b"]);
    assert_eq!(shown_row(&state), Some("b"));
    assert!(state.train.rollouts.opened.is_empty(), "these are other answers");
    show_step(&mut state, 2);
    arrive(&mut state, &key, 2, &["x"]);
    assert_eq!(shown_row(&state), Some("x"), "no question stands where there is none");
}

#[test]
fn a_stage_without_rollouts_is_said_and_moves_nothing() {
    let (mut state, key) = showing(&[1]);
    shown(&mut state);
    arrive(&mut state, &key, 1, &["a"]);
    let wish = RolloutsCommand::ShowStep { stage: "cold_start".to_owned(), step: 4 };
    assert!(command(&mut state, wish).is_empty());
    let note = state.train.rollouts.note.as_deref();
    assert_eq!(note, Some("The run wrote no rollouts in the stage cold start."));
    assert_eq!((shown_row(&state), &state.train.rollouts.step), (Some("a"), &None));
}

#[test]
fn a_step_that_could_not_be_read_can_be_tried_again() {
    let (mut state, run) = showing(&[1]);
    shown(&mut state);
    let records = Err("It is gone: 1.jsonl".to_owned());
    event(&mut state, RolloutsEvent::Records { run, stage: "grpo".to_owned(), step: 1, records });
    assert!(matches!(&state.train.rollouts.records, Some(Err(sentence)) if sentence.ends_with("1.jsonl")));
    assert_eq!(show_step(&mut state, 1), [1]);
    state.train.rollouts.reading = None;
    assert_eq!(reads(command(&mut state, RolloutsCommand::ShowNewest)), [1]);
}

#[test]
fn another_run_begins_anew_and_keeps_the_order_of_the_answers() {
    let (mut state, key) = showing(&[1]);
    shown(&mut state);
    arrive(&mut state, &key, 1, &["a"]);
    command(&mut state, RolloutsCommand::SortBy(Column::Reward));
    let other = tell(&mut state, run("b", &[4]));
    state.train.runs.shown = Some(other);
    assert_eq!(reads(shown(&mut state)), [4]);
    assert_eq!(state.train.rollouts.records, None);
    assert_eq!(state.train.rollouts.sort, Sort { by: Column::Reward, is_descending: true });
}

#[test]
fn the_history_of_a_row_is_read_and_its_ends_stand_side_by_side() {
    let (mut state, run) = showing(&[1, 2, 3]);
    let effects = rollouts_effects(command(&mut state, RolloutsCommand::History("a".to_owned())));
    let steps = [1, 2, 3].map(|step| step_of("a", step)).to_vec();
    let row = "a".to_owned();
    assert_eq!(effects, [RolloutsEffect::ReadHistory { run: run.clone(), steps, row }]);
    let records: Vec<_> = [1, 2, 3].into_iter().map(|step| record(step, "a", &[1.0])).collect();
    let other = RowHistory { row: "b".to_owned(), records: records.clone(), left_out: 0 };
    event(&mut state, RolloutsEvent::History { run: run.clone(), history: Ok(other) });
    assert_eq!(state.train.rollouts.history, None, "it is another row's");
    let history = RowHistory { row: "a".to_owned(), records, left_out: 0 };
    event(&mut state, RolloutsEvent::History { run, history: Ok(history) });
    assert_eq!(state.train.rollouts.history_chosen, [0, 2]);
    command(&mut state, RolloutsCommand::HistoryStep(1, true));
    command(&mut state, RolloutsCommand::HistoryStep(0, false));
    assert_eq!(state.train.rollouts.history_chosen, [2, 1]);
    command(&mut state, RolloutsCommand::CloseHistory);
    assert_eq!((&state.train.rollouts.history, &state.train.rollouts.history_of), (&None, &None));
}

#[test]
fn of_many_steps_the_ends_and_some_between_are_looked_through() {
    let steps: Vec<RolloutStep> = (1..=1000).map(|step| step_of("a", step)).collect();
    let chosen: Vec<usize> = evenly(&steps, 4).iter().map(|step| step.step).collect();
    assert_eq!(chosen, [1, 334, 667, 1000]);
    assert_eq!(evenly(&steps[..3], 4).len(), 3);
    assert_eq!(evenly(&steps, 1).len(), 1);
    assert!(evenly(&[], 4).is_empty());
}

#[test]
fn the_question_in_view_is_looked_for_in_every_run_side_by_side() {
    let (mut state, a) = showing(&[1]);
    shown(&mut state);
    arrive(&mut state, &a, 1, &["q", "r"]);
    let b = RunKey::new("/runs/b".into());
    state.train.runs.compared.push(b.clone());
    assert_eq!(rollouts_effects(shown(&mut state)).len(), 1, "b has told nothing yet");
    tell(&mut state, run("b", &[7]));
    let effects = rollouts_effects(told(&mut state, &b));
    let [RolloutsEffect::ReadSame { runs, row }] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!((runs.len(), row.as_str()), (2, "q"));
    assert!(told(&mut state, &b).is_empty(), "it was asked for");
    let samples = vec![(b.clone(), Ok(Some(record(7, "q", &[1.0]))))];
    event(&mut state, RolloutsEvent::Same { row: "q".to_owned(), samples });
    assert_eq!(state.train.rollouts.same.samples.len(), 1);
    let effects = rollouts_effects(command(&mut state, RolloutsCommand::Question(1)));
    let same = |effect: &RolloutsEffect| matches!(effect, RolloutsEffect::ReadSame { row, .. } if row == "r");
    assert!(effects.iter().any(same), "{effects:?}");
    assert!(state.train.rollouts.same.samples.is_empty(), "they were of another question");
    let late = vec![(b, Ok(None))];
    event(&mut state, RolloutsEvent::Same { row: "q".to_owned(), samples: late });
    assert!(state.train.rollouts.same.samples.is_empty());
}
