//! Whether the draft can be started, on which device others are at work, and who gives up memory for it.

use std::path::PathBuf;

use reinpath_training::run_folder::RunState;
use serde_json::Value;

use super::{ControlEffect, effect};
use crate::runs::RunKey;
use crate::runs::launch::Launch;
use crate::runs::told::Listed;
use crate::window::model_worker::as_sentence;
use crate::window::state::{AppState, WorkerState};
use crate::window::train::runs::{self, RunsCommand};
use crate::window::train::setup;
use crate::window::update::{Effect, complain};

/// Whether there is a program that trains; an error is a sentence.
pub(super) fn program(state: &AppState) -> Result<(), String> {
    match &state.train.places.program {
        Some(Ok(_program)) => Ok(()),
        Some(Err(reason)) => Err(as_sentence(reason)),
        None => Err("This window knows no program that trains.".to_owned()),
    }
}

/// Why the draft cannot be started now, as a sentence that says what to do; `None` when it can.
pub(super) fn obstacle(state: &AppState) -> Option<String> {
    if let Err(sentence) = program(state) {
        return Some(sentence);
    }
    let (setup, preflight) = (&state.train.setup, &state.train.look.preflight);
    if setup.draft.is_null() {
        return Some("Choose a preset first.".to_owned());
    }
    if let Some(fault) = &setup.fault {
        return Some(fault.clone());
    }
    if preflight.is_running {
        return Some("The settings are being looked through.".to_owned());
    }
    match &preflight.of {
        None => return Some("Look the settings through first.".to_owned()),
        Some(of) if *of != setup.draft => {
            return Some("The settings have changed since they were looked through: look again.".to_owned());
        }
        Some(_) => {}
    }
    if let Some(fault) = &preflight.fault {
        return Some(fault.clone());
    }
    match preflight.findings.iter().filter(|finding| finding.is_fatal).count() {
        0 => None,
        1 => Some("One finding stands in the way: follow its cure and look again.".to_owned()),
        count => Some(format!("{count} findings stand in the way: follow their cures and look again.")),
    }
}

/// The device that the draft names.
pub(super) fn device(state: &AppState) -> &str {
    state.train.setup.draft.pointer("/compute/device").and_then(Value::as_str).unwrap_or("cpu")
}

/// Whether two names are of one device: `cuda` is the first GPU.
fn is_same(one: &str, other: &str) -> bool {
    let whole = |name: &str| if name == "cuda" { "cuda:0".to_owned() } else { name.to_owned() };
    whole(one) == whole(other)
}

/// The runs that are at work on a device, or wait for it. One whose device is not known counts.
pub(super) fn at_work_on(state: &AppState, device: &str) -> Vec<RunKey> {
    let (list, control) = (&state.train.runs, &state.train.control);
    let listed = list.list.iter().flatten();
    let running = listed
        .filter(|run| matches!(run.state, Listed::Known(RunState::Running(_))))
        .map(|run| &run.key)
        // What a run has told is newer than the list.
        .filter(|key| list.told.get(*key).is_none_or(|told| told.is_running()));
    let is_elsewhere = |key: &RunKey| {
        let config = list.told.get(key).and_then(|told| told.config.as_ref());
        config.is_some_and(|config| !is_same(&config.compute.device, device))
    };
    let mut keys: Vec<RunKey> =
        running.chain(&control.started).filter(|key| !is_elsewhere(key)).cloned().collect();
    keys.sort();
    keys.dedup();
    keys
}

/// Starts the draft.
pub(super) fn start(state: &mut AppState, queued: bool) -> Vec<Effect> {
    match order(state, queued) {
        Ok(launch) => launched(state, launch),
        Err(sentence) => {
            complain(state, sentence);
            Vec::new()
        }
    }
}

fn order(state: &AppState, queued: bool) -> Result<Launch, String> {
    if let Some(sentence) = obstacle(state) {
        return Err(sentence);
    }
    let config = setup::config(state)?;
    let folder = setup::folder(state)?;
    let folder = std::path::absolute(&folder)
        .map_err(|error| format!("The run's folder has no path, {error}: {}", folder.display()))?;
    if state.train.control.started.iter().any(|run| run.folder() == folder) {
        return Err(format!("A run is at work here already: {}", folder.display()));
    }
    let before = if queued { at_work_on(state, &config.compute.device) } else { Vec::new() };
    let after: Vec<PathBuf> = before.iter().map(|run| run.folder().to_owned()).collect();
    Ok(Launch { folder, config, after })
}

fn launched(state: &mut AppState, launch: Launch) -> Vec<Effect> {
    let run = RunKey::new(launch.folder.clone());
    let device = launch.config.compute.device.clone();
    let mut effects = if launch.after.is_empty() {
        release(state, &run, &device)
    } else {
        // What it waits for may take days, in which the assistant can still answer.
        state.train.control.wants_memory.insert(run.clone(), device);
        Vec::new()
    };
    begun(state, &run);
    effects.push(effect(ControlEffect::Launch(Box::new(launch))));
    effects.extend(runs::command(state, RunsCommand::Show(run)));
    effects
}

/// Goes on with a run.
pub(super) fn resume(state: &mut AppState, run: RunKey) -> Vec<Effect> {
    if state.train.control.started.contains(&run) {
        return Vec::new();
    }
    if let Err(sentence) = program(state) {
        complain(state, sentence);
        return Vec::new();
    }
    let config = state.train.runs.told.get(&run).and_then(|told| told.config.clone());
    let mut effects = config.map_or_else(Vec::new, |config| release(state, &run, &config.compute.device));
    begun(state, &run);
    effects.push(runs::follow(state));
    effects.push(effect(ControlEffect::Resume { run, after: Vec::new() }));
    effects
}

/// From now on a process of this window is at work on it.
fn begun(state: &mut AppState, run: &RunKey) {
    let control = &mut state.train.control;
    control.started.push(run.clone());
    control.ended.remove(run);
    control.stopping.remove(run);
}

/// A run that this window queued waits for no other any more.
pub(super) fn turn_has_come(state: &mut AppState, run: &RunKey) -> Vec<Effect> {
    let device = state.train.control.wants_memory.remove(run);
    device.map_or_else(Vec::new, |device| release(state, run, &device))
}

/// The assistant's model gives up its memory where the run wants that of the same GPU.
fn release(state: &mut AppState, run: &RunKey, device: &str) -> Vec<Effect> {
    let is_gpu = device.starts_with("cuda") || device == "metal";
    let is_in_the_way = match &state.model.worker {
        WorkerState::Ready { device: held, .. } => is_gpu && is_same(held, device),
        // On which device it will be is not known yet.
        WorkerState::Loading { .. } => is_gpu,
        WorkerState::Idle | WorkerState::Ended(_) => false,
    };
    if !is_in_the_way {
        return Vec::new();
    }
    state.train.control.released_for = Some(run.clone());
    vec![Effect::ReleaseModel]
}
