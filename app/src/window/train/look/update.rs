//! Every change of what looking shows: wishes and news come in, effects go out. Nothing here waits or reads a file.

use std::path::PathBuf;

use reinpath_training::config::RunConfig;
use serde_json::Value;

use super::{
    CheckState, LookCommand, LookEffect, LookEvent, LookJob, LookKind, LookNews, LookState, Preflight,
    PreviewState,
};
use crate::window::state::{AppState, WorkerState};
use crate::window::train::{TrainEffect, setup};
use crate::window::update::Effect;

/// Carries out a wish.
pub(in crate::window) fn command(state: &mut AppState, wish: LookCommand) -> Vec<Effect> {
    match wish {
        LookCommand::Preview { data, rows } => preview_row(state, data, rows.into_iter().next()),
        LookCommand::PreviewNext(by) => preview_next(state, by),
        LookCommand::ClosePreview => {
            state.train.look.preview.is_shown = false;
            stop(state, LookKind::Preview)
        }
        LookCommand::Check { data } => check(state, data),
        LookCommand::CloseCheck => {
            state.train.look.check.is_shown = false;
            stop(state, LookKind::Check)
        }
        LookCommand::Preflight => preflight(state),
        LookCommand::ShowRehearsals(shown) => {
            state.train.look.are_rehearsals_shown = shown;
            Vec::new()
        }
        LookCommand::Stop => stop_or_close(state),
    }
}

/// Takes in what happened.
pub(in crate::window) fn event(state: &mut AppState, LookEvent { number, news }: LookEvent) -> Vec<Effect> {
    let look = &mut state.train.look;
    match news {
        LookNews::At(_) | LookNews::Finding(_) | LookNews::Rehearsal(_) | LookNews::PreflightEnded(_) => {
            if look.preflight.is_running && look.preflight_number == number {
                of_preflight(look, news);
            }
        }
        LookNews::Row(_) | LookNews::PreviewEnded(_) => {
            if look.preview.is_running && look.preview.number == number {
                of_preview(&mut look.preview, news);
            }
        }
        LookNews::Checked(_) | LookNews::Report(_) | LookNews::CheckEnded(_) => {
            if look.check.is_running && look.check.number == number {
                of_check(&mut look.check, news);
            }
        }
    }
    Vec::new()
}

fn of_preflight(look: &mut LookState, news: LookNews) {
    match news {
        LookNews::At(words) => look.preflight_at = words,
        LookNews::Finding(finding) => look.preflight.findings.push(finding),
        LookNews::Rehearsal(record) => look.rehearsals.push(record),
        LookNews::PreflightEnded(how) => {
            look.preflight.is_running = false;
            look.preflight.fault = how.err();
        }
        _ => {}
    }
}

fn of_preview(preview: &mut PreviewState, news: LookNews) {
    match news {
        LookNews::Row(view) => preview.view = Some(view),
        LookNews::PreviewEnded(how) => {
            preview.is_running = false;
            preview.fault = how.err();
        }
        _ => {}
    }
}

fn of_check(check: &mut CheckState, news: LookNews) {
    match news {
        LookNews::Checked(finding) => check.findings.push(finding),
        LookNews::Report(report) => check.report = Some(report),
        LookNews::CheckEnded(how) => {
            check.is_running = false;
            check.fault = how.err();
        }
        _ => {}
    }
}

/// Why nothing can be looked at on this machine, as a sentence.
fn no_program(state: &AppState) -> Option<String> {
    match &state.train.places.program {
        Some(Ok(_)) => None,
        Some(Err(sentence)) => Some(sentence.clone()),
        None => Some("It is not known where the program reinpath-train is.".to_owned()),
    }
}

/// The package that the draft names, which need not be valid otherwise.
fn package(state: &AppState) -> Result<PathBuf, String> {
    if let Some(sentence) = no_program(state) {
        return Err(sentence);
    }
    let base = state.train.setup.draft.get("base").and_then(Value::as_str).filter(|base| !base.is_empty());
    base.map(PathBuf::from).ok_or_else(|| "Choose the model package to start from first.".to_owned())
}

fn start(number: u64, job: LookJob) -> Vec<Effect> {
    vec![Effect::Train(TrainEffect::Look(LookEffect::Start { number, job: Box::new(job) }))]
}

fn preview_row(state: &mut AppState, data: PathBuf, row: Option<String>) -> Vec<Effect> {
    let package = package(state);
    let number = state.new_id();
    let preview = &mut state.train.look.preview;
    if preview.data != data {
        // That of other data would be taken for a row of these.
        preview.view = None;
    }
    (preview.is_shown, preview.number) = (true, number);
    preview.data.clone_from(&data);
    preview.is_running = package.is_ok();
    match package {
        Ok(package) => {
            preview.fault = None;
            start(number, LookJob::Preview { data, package, row })
        }
        Err(sentence) => {
            preview.fault = Some(sentence);
            stopped(LookKind::Preview)
        }
    }
}

fn preview_next(state: &mut AppState, by: i32) -> Vec<Effect> {
    let preview = &state.train.look.preview;
    let Some(view) = &preview.view else { return Vec::new() };
    let Some((at, index)) = view.place.zip(view.index.as_ref()) else { return Vec::new() };
    let next = at.checked_add_signed(by as isize).and_then(|next| index.id(next));
    let Some(row) = next.map(str::to_owned) else { return Vec::new() };
    let data = preview.data.clone();
    preview_row(state, data, Some(row))
}

fn check(state: &mut AppState, data: PathBuf) -> Vec<Effect> {
    let package = package(state);
    let number = state.new_id();
    let check = &mut state.train.look.check;
    *check = CheckState {
        is_shown: true,
        is_running: package.is_ok(),
        data: data.clone(),
        fault: package.as_ref().err().cloned(),
        number,
        ..CheckState::default()
    };
    match package {
        Ok(package) => start(number, LookJob::Check { data, package }),
        Err(_told) => stopped(LookKind::Check),
    }
}

fn preflight(state: &mut AppState) -> Vec<Effect> {
    let plan = no_program(state)
        .map_or(Ok(()), Err)
        .and_then(|()| Ok((setup::config(state)?, setup::folder(state)?)));
    let number = state.new_id();
    let holds = |config: &RunConfig| model_holds(&state.model.worker, &config.compute.device);
    let job = plan.map(|(config, folder)| {
        let model_holds = holds(&config);
        LookJob::Preflight { config: Box::new(config), folder, model_holds }
    });
    let look = &mut state.train.look;
    look.preflight = Preflight {
        of: Some(state.train.setup.draft.clone()),
        is_running: job.is_ok(),
        fault: job.as_ref().err().cloned(),
        ..Preflight::default()
    };
    look.rehearsals.clear();
    look.preflight_at.clear();
    look.preflight_number = number;
    match job {
        Ok(job) => start(number, job),
        Err(_told) => stopped(LookKind::Preflight),
    }
}

/// Bytes that the assistant's model holds on a device.
fn model_holds(worker: &WorkerState, device: &str) -> Option<u64> {
    // As `reinpath_model` takes it, a GPU without a number is the first.
    let full = |device: &str| if device == "cuda" { "cuda:0".to_owned() } else { device.to_owned() };
    match worker {
        WorkerState::Ready { device: held, memory } => (full(held) == full(device)).then_some(*memory),
        _ => None,
    }
}

fn stopped(kind: LookKind) -> Vec<Effect> {
    vec![Effect::Train(TrainEffect::Look(LookEffect::Stop(kind)))]
}

/// Gives up a look, if one of this kind goes on.
fn stop(state: &mut AppState, kind: LookKind) -> Vec<Effect> {
    let look = &mut state.train.look;
    let is_running = match kind {
        LookKind::Preview => &mut look.preview.is_running,
        LookKind::Check => &mut look.check.is_running,
        LookKind::Preflight => &mut look.preflight.is_running,
    };
    if !std::mem::take(is_running) {
        return Vec::new();
    }
    match kind {
        LookKind::Preview => {}
        LookKind::Check => look.check.fault = Some("The data were not looked through to the end.".to_owned()),
        LookKind::Preflight => look.preflight.fault = Some("It was stopped before its end.".to_owned()),
    }
    stopped(kind)
}

fn stop_or_close(state: &mut AppState) -> Vec<Effect> {
    let effects: Vec<Effect> = [LookKind::Preview, LookKind::Check, LookKind::Preflight]
        .into_iter()
        .flat_map(|kind| stop(state, kind))
        .collect();
    if effects.is_empty() {
        let look = &mut state.train.look;
        // The newest first, as one leads to the other.
        if look.preview.is_shown {
            look.preview.is_shown = false;
        } else if look.check.is_shown {
            look.check.is_shown = false;
        } else {
            look.are_rehearsals_shown = false;
        }
    }
    effects
}

#[cfg(test)]
mod tests;
