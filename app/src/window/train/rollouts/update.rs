//! Every change of what is shown of rollouts. No files and no waiting; what is to be read goes out as effects.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use reinpath_training::rollout_record::RolloutRecord;

use super::super::super::state::AppState;
use super::super::super::update::Effect;
use super::super::{TrainEffect, words};
use super::{EVERY, RolloutsCommand, RolloutsEffect, RolloutsEvent, RolloutsState, Same};
use crate::runs::RunKey;
use crate::runs::rollouts::{RolloutIndex, RolloutStep, RowHistory};
use crate::runs::told::RunTold;

/// Steps that are looked through for one question.
const MOST_STEPS: usize = 2000;
/// Answers of one question that are laid side by side.
const MOST_BESIDE: usize = 6;

/// Carries out a wish.
pub(in crate::window) fn command(state: &mut AppState, wish: RolloutsCommand) -> Vec<Effect> {
    forget_another_run(state);
    let rollouts = &mut state.train.rollouts;
    match wish {
        RolloutsCommand::ShowStep { stage, step } => return show_step(state, &stage, step),
        RolloutsCommand::ShowNewest => {
            (rollouts.step, rollouts.note, rollouts.followed_at) = (None, None, None);
            close_history(rollouts);
            if let Some(Err(_)) = rollouts.records {
                // It is tried again.
                rollouts.read = None;
            }
            return follow(state, Instant::now());
        }
        RolloutsCommand::Question(at) => {
            rollouts.question = at;
            rollouts.opened.clear();
            let mut effects = read_pictures(state);
            effects.extend(read_same(state, false));
            return effects;
        }
        RolloutsCommand::History(row) => return read_history(state, row),
        RolloutsCommand::CloseHistory => close_history(rollouts),
        RolloutsCommand::HistoryStep(place, is_chosen) => {
            rollouts.history_chosen.retain(|&other| other != place);
            if is_chosen {
                rollouts.history_chosen.push(place);
                if rollouts.history_chosen.len() > MOST_BESIDE {
                    rollouts.history_chosen.remove(0);
                }
            }
        }
        RolloutsCommand::SortBy(column) => rollouts.sort = rollouts.sort.pressed(column),
        RolloutsCommand::OpenAnswer(place, true) => {
            rollouts.opened.insert(place);
        }
        RolloutsCommand::OpenAnswer(place, false) => {
            rollouts.opened.remove(&place);
        }
        RolloutsCommand::ReadSame => return read_same(state, true),
    }
    Vec::new()
}

/// Takes in what happened.
pub(in crate::window) fn event(state: &mut AppState, news: RolloutsEvent) -> Vec<Effect> {
    let shown = state.train.runs.shown.clone();
    let rollouts = &mut state.train.rollouts;
    match news {
        RolloutsEvent::Records { run, stage, step, records } => {
            let is_awaited = |of: &RolloutStep| of.stage == stage && of.step == step;
            if shown.as_ref() == Some(&run) && rollouts.reading.as_ref().is_some_and(is_awaited) {
                return take_records(state, records);
            }
        }
        RolloutsEvent::History { run, history } if shown.as_ref() == Some(&run) => {
            take_history(rollouts, history);
        }
        RolloutsEvent::Pictures { run, pictures } if shown.as_ref() == Some(&run) => {
            let wanted = rollouts.record().map(|record| record.images.clone()).unwrap_or_default();
            rollouts.pictures.extend(pictures.into_iter().filter(|(image, _)| wanted.contains(image)));
        }
        RolloutsEvent::Same { row, samples } if row == rollouts.same.row => {
            rollouts.same.samples = samples;
            rollouts.same.version += 1;
        }
        RolloutsEvent::Due(run) if shown.as_ref() == Some(&run) => {
            rollouts.is_waiting = false;
            return follow(state, Instant::now());
        }
        // Of a run, or a question, that is not looked at any more.
        RolloutsEvent::History { .. }
        | RolloutsEvent::Pictures { .. }
        | RolloutsEvent::Same { .. }
        | RolloutsEvent::Due(_) => {}
    }
    Vec::new()
}

/// A run that is followed has told more; called after `state.train.runs.told` has it.
pub(in crate::window::train) fn told(state: &mut AppState, run: &RunKey) -> Vec<Effect> {
    told_at(state, run, Instant::now())
}

pub(super) fn told_at(state: &mut AppState, run: &RunKey, now: Instant) -> Vec<Effect> {
    let mut effects = Vec::new();
    if state.train.runs.shown.as_ref() == Some(run) {
        forget_another_run(state);
        effects = follow(state, now);
    }
    effects.extend(read_same(state, false));
    effects
}

/// Another run is in view, or others are beside it.
pub(in crate::window::train) fn shown(state: &mut AppState) -> Vec<Effect> {
    forget_another_run(state);
    let mut effects = follow(state, Instant::now());
    effects.extend(read_same(state, false));
    effects
}

/// Forgets what is known of another run than the shown one.
fn forget_another_run(state: &mut AppState) {
    let shown = &state.train.runs.shown;
    let rollouts = &mut state.train.rollouts;
    if rollouts.run == *shown {
        return;
    }
    let sort = std::mem::take(&mut rollouts.sort);
    let version = rollouts.version + 1;
    let same = Same { version: rollouts.same.version + 1, ..Same::default() };
    *rollouts = RolloutsState { run: shown.clone(), sort, version, same, ..RolloutsState::default() };
}

fn show_step(state: &mut AppState, stage: &str, step: usize) -> Vec<Effect> {
    let found = state.train.runs.shown_run().and_then(|told| told.rollouts.nearest(stage, step)).cloned();
    let rollouts = &mut state.train.rollouts;
    let Some(found) = found else {
        let stage = words::stage(stage);
        rollouts.note = Some(format!("The run wrote no rollouts in the stage {stage}."));
        return Vec::new();
    };
    rollouts.note = None;
    rollouts.step = Some((found.stage.clone(), found.step));
    rollouts.opened.clear();
    close_history(rollouts);
    let is_there = rollouts.reading.is_none()
        && rollouts.read.as_ref() == Some(&found)
        && matches!(rollouts.records, Some(Ok(_)));
    if is_there { Vec::new() } else { read(state, found) }
}

fn read(state: &mut AppState, step: RolloutStep) -> Vec<Effect> {
    let Some(run) = state.train.runs.shown.clone() else { return Vec::new() };
    state.train.rollouts.reading = Some(step.clone());
    vec![effect(RolloutsEffect::Read { run, step })]
}

/// Reads the newest step, unless another one was chosen, it is there already, or the last was read a moment ago.
fn follow(state: &mut AppState, now: Instant) -> Vec<Effect> {
    let Some(told) = state.train.runs.shown_run() else { return Vec::new() };
    let rollouts = &mut state.train.rollouts;
    let Some(newest) = told.rollouts.newest().filter(|_| rollouts.step.is_none()) else { return Vec::new() };
    if rollouts.reading.as_ref().or(rollouts.read.as_ref()) == Some(newest) {
        return Vec::new();
    }
    let passed = rollouts.followed_at.map_or(EVERY, |at| now.saturating_duration_since(at));
    if passed < EVERY {
        if rollouts.is_waiting {
            return Vec::new();
        }
        rollouts.is_waiting = true;
        return vec![effect(RolloutsEffect::Wait {
            run: told.key.clone(),
            time: EVERY.saturating_sub(passed),
        })];
    }
    rollouts.followed_at = Some(now);
    let newest = newest.clone();
    read(state, newest)
}

fn take_records(state: &mut AppState, records: Result<Vec<RolloutRecord>, String>) -> Vec<Effect> {
    let rollouts = &mut state.train.rollouts;
    let row = rollouts.record().map(|record| record.row.clone());
    let count = records.as_ref().map_or(0, Vec::len);
    let same = records.iter().flatten().position(|record| Some(&record.row) == row.as_ref());
    rollouts.question = same.unwrap_or_else(|| rollouts.question.min(count.saturating_sub(1)));
    rollouts.records = Some(records);
    rollouts.read = rollouts.reading.take();
    rollouts.version += 1;
    let mut effects = read_pictures(state);
    effects.extend(read_same(state, false));
    effects
}

/// Asks for the patches of the shown question that are not there, and forgets those of others.
fn read_pictures(state: &mut AppState) -> Vec<Effect> {
    let folders = state.train.runs.shown_run().map(|told| data_folders(told)).unwrap_or_default();
    let rollouts = &mut state.train.rollouts;
    let wanted = rollouts.record().map(|record| record.images.clone()).unwrap_or_default();
    rollouts.pictures.retain(|image, _| wanted.contains(image));
    let images: Vec<String> =
        wanted.into_iter().filter(|image| !rollouts.pictures.contains_key(image)).collect();
    match rollouts.run.clone() {
        Some(run) if !images.is_empty() => {
            vec![effect(RolloutsEffect::ReadPictures { run, images, folders })]
        }
        _ => Vec::new(),
    }
}

/// Folders of the rows that the run answers.
fn data_folders(told: &RunTold) -> Vec<PathBuf> {
    let grpo = told.config.as_ref().and_then(|config| config.grpo.as_ref());
    grpo.map(|grpo| grpo.data.iter().map(|source| source.folder.clone()).collect()).unwrap_or_default()
}

fn read_history(state: &mut AppState, row: String) -> Vec<Effect> {
    let Some(told) = state.train.runs.shown_run() else { return Vec::new() };
    let steps = evenly(&told.rollouts.steps, MOST_STEPS);
    let rollouts = &mut state.train.rollouts;
    close_history(rollouts);
    rollouts.history_left_out = told.rollouts.steps.len() - steps.len();
    rollouts.history_of = Some(row.clone());
    vec![effect(RolloutsEffect::ReadHistory { run: told.key.clone(), steps, row })]
}

/// At most so many of them, evenly chosen, the first and the last among them.
pub(super) fn evenly(steps: &[RolloutStep], most: usize) -> Vec<RolloutStep> {
    let count = steps.len().min(most);
    let place = |n: usize| if count < 2 { 0 } else { n * (steps.len() - 1) / (count - 1) };
    (0..count).filter_map(|n| steps.get(place(n))).cloned().collect()
}

fn take_history(rollouts: &mut RolloutsState, history: Result<RowHistory, String>) {
    let Some(row) = &rollouts.history_of else { return };
    match history {
        Ok(mut history) if history.row == *row => {
            history.left_out += rollouts.history_left_out;
            rollouts.history_chosen = match history.records.len() {
                0 => Vec::new(),
                1 => vec![0],
                count => vec![0, count - 1],
            };
            rollouts.history_fault = None;
            rollouts.history = Some(history);
        }
        // Of a row that was looked at before.
        Ok(_) => {}
        Err(sentence) => rollouts.history_fault = Some(sentence),
    }
}

fn close_history(rollouts: &mut RolloutsState) {
    (rollouts.history_of, rollouts.history, rollouts.history_fault) = (None, None, None);
    rollouts.history_chosen.clear();
}

/// Asks for the answers of the runs side by side to the shown question, unless they were asked for; `again`: also then.
fn read_same(state: &mut AppState, again: bool) -> Vec<Effect> {
    let runs = &state.train.runs;
    if runs.compared.is_empty() {
        return Vec::new();
    }
    let with_rollouts = runs.laid_out().filter(|told| !told.rollouts.steps.is_empty());
    let found: Vec<(RunKey, Arc<RolloutIndex>)> =
        with_rollouts.map(|told| (told.key.clone(), Arc::clone(&told.rollouts))).collect();
    let rollouts = &mut state.train.rollouts;
    let Some(row) = rollouts.record().map(|record| record.row.clone()) else { return Vec::new() };
    let asked: Vec<RunKey> = found.iter().map(|(run, _)| run.clone()).collect();
    let same = &mut rollouts.same;
    if !again && same.row == row && same.asked == asked {
        return Vec::new();
    }
    if same.row != row {
        same.samples.clear();
        same.version += 1;
    }
    (same.row, same.asked) = (row.clone(), asked);
    vec![effect(RolloutsEffect::ReadSame { runs: found, row })]
}

fn effect(effect: RolloutsEffect) -> Effect {
    Effect::Train(TrainEffect::Rollouts(effect))
}
