//! The runs of this machine, and what those that are looked at have told.

mod desk;
mod panel;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reinpath_training::machine::MachineSample;
use reinpath_training::run_folder::RunState;

pub(super) use self::desk::RunsDesk;
pub(super) use self::panel::RunsPanel;
use super::super::state::AppState;
use super::super::update::{Effect, complain};
use super::{TrainEffect, chart, control, rollouts};
use crate::runs::RunKey;
use crate::runs::told::{Listed, ListedRun, RunTold};

/// Runs that can be laid beside the shown one: with it as many as there are colours to tell apart.
const MOST_COMPARED: usize = 7;

/// What this part shows.
#[derive(Debug, Default)]
pub struct RunsState {
    /// The newest first; `None` before they were first looked for.
    pub list: Option<Vec<ListedRun>>,
    pub is_list_shown: bool,
    pub shown: Option<RunKey>,
    /// Runs that are laid beside the shown one.
    pub compared: Vec<RunKey>,
    /// What the shown and the compared runs, and those that this window started, have told.
    pub told: BTreeMap<RunKey, Arc<RunTold>>,
    /// The machine now; `None` where nothing is told.
    pub machine: Option<MachineSample>,
    /// Whether the dialog for a run's folder is open.
    pub is_picking: bool,
}

/// Wishes about it.
#[derive(Clone, Debug, PartialEq)]
pub enum RunsCommand {
    /// Looks for runs anew.
    Refresh,
    ToggleList,
    Show(RunKey),
    /// Shows the run in a folder that may lie anywhere.
    Open(PathBuf),
    /// Asks for such a folder with a dialog.
    PickFolder,
    /// Takes a run that lies outside the runs folder off the list; its folder stays.
    Forget(RunKey),
    Compare(RunKey, bool),
}

/// What happened to it.
#[derive(Debug)]
pub enum RunsEvent {
    List(Vec<ListedRun>),
    /// What a run has told by now.
    Told(Arc<RunTold>),
    Machine(MachineSample),
    /// The dialog for a run's folder was closed, without one where it was cancelled; an error is a sentence.
    Picked(Result<Option<PathBuf>, String>),
}

/// What is to be done for it outside the state.
#[derive(Clone, Debug, PartialEq)]
pub enum RunsEffect {
    /// Looks for runs in the runs folder alone.
    ReadList,
    /// Looks for runs there and in these folders.
    ReadListAlso(Vec<PathBuf>),
    /// Follow exactly these.
    Follow(Vec<RunKey>),
    PickFolder,
}

impl RunsState {
    /// What the run in view has told.
    pub fn shown_run(&self) -> Option<&Arc<RunTold>> {
        self.told.get(self.shown.as_ref()?)
    }

    /// The shown run and those beside it, the shown one first.
    pub fn laid_out(&self) -> impl Iterator<Item = &Arc<RunTold>> {
        self.shown.iter().chain(&self.compared).filter_map(|key| self.told.get(key))
    }

    /// The entry of a run in the list.
    fn listed(&self, key: &RunKey) -> Option<&ListedRun> {
        self.list.iter().flatten().find(|run| run.key == *key)
    }
}

/// Carries out a wish.
pub(in crate::window) fn command(state: &mut AppState, wish: RunsCommand) -> Vec<Effect> {
    match wish {
        RunsCommand::Refresh => vec![read_list(state)],
        RunsCommand::ToggleList => {
            let runs = &mut state.train.runs;
            runs.is_list_shown = !runs.is_list_shown;
            if runs.is_list_shown { vec![read_list(state)] } else { Vec::new() }
        }
        RunsCommand::Show(key) => show(state, key),
        RunsCommand::Open(folder) => open(state, &folder),
        RunsCommand::PickFolder if state.train.runs.is_picking => Vec::new(),
        RunsCommand::PickFolder => {
            state.train.runs.is_picking = true;
            vec![effect(RunsEffect::PickFolder)]
        }
        RunsCommand::Forget(key) => {
            state.settings.runs.retain(|folder| folder != key.folder());
            vec![Effect::SaveSettings(state.settings.clone()), read_list(state)]
        }
        RunsCommand::Compare(key, is_wanted) => compare(state, key, is_wanted),
    }
}

/// Takes in what happened.
pub(in crate::window) fn event(state: &mut AppState, news: RunsEvent) -> Vec<Effect> {
    match news {
        RunsEvent::List(list) => {
            let runs = &mut state.train.runs;
            let is_first = runs.list.is_none() && runs.shown.is_none();
            let chosen = if is_first { first_to_show(&list) } else { None };
            runs.list = Some(list);
            chosen.map_or_else(Vec::new, |key| show(state, key))
        }
        RunsEvent::Machine(sample) => {
            state.train.runs.machine = Some(sample);
            Vec::new()
        }
        // Late news of a run that nobody looks at any more.
        RunsEvent::Told(told) if !is_followed(state, &told.key) => Vec::new(),
        RunsEvent::Told(told) => {
            let key = told.key.clone();
            state.train.runs.told.insert(key.clone(), told);
            let mut effects = chart::told(state, &key);
            effects.extend(rollouts::told(state, &key));
            effects.extend(control::told(state, &key));
            effects
        }
        RunsEvent::Picked(picked) => {
            state.train.runs.is_picking = false;
            match picked {
                Ok(Some(folder)) => open(state, &folder),
                Ok(None) => Vec::new(),
                Err(sentence) => {
                    complain(state, sentence);
                    Vec::new()
                }
            }
        }
    }
}

/// Follows the shown run, those beside it and those that this window started.
pub(super) fn follow(state: &AppState) -> Effect {
    effect(RunsEffect::Follow(followed(state)))
}

fn followed(state: &AppState) -> Vec<RunKey> {
    let runs = &state.train.runs;
    let mut keys: Vec<RunKey> =
        runs.shown.iter().chain(&runs.compared).chain(&state.train.control.started).cloned().collect();
    keys.sort();
    keys.dedup();
    keys
}

fn is_followed(state: &AppState, key: &RunKey) -> bool {
    let runs = &state.train.runs;
    runs.shown.as_ref() == Some(key)
        || runs.compared.contains(key)
        || state.train.control.started.contains(key)
}

/// The run that is shown where none was chosen: one that is at work, or else the newest that can be read.
fn first_to_show(list: &[ListedRun]) -> Option<RunKey> {
    let is_running = |run: &&ListedRun| matches!(run.state, Listed::Known(RunState::Running(_)));
    let is_readable = |run: &&ListedRun| !matches!(run.state, Listed::Unreadable(_));
    let chosen = list.iter().find(is_running).or_else(|| list.iter().find(is_readable));
    chosen.map(|run| run.key.clone())
}

fn show(state: &mut AppState, key: RunKey) -> Vec<Effect> {
    let runs = &mut state.train.runs;
    if runs.shown.as_ref() == Some(&key) {
        return vec![follow(state)];
    }
    runs.compared.retain(|other| *other != key);
    runs.shown = Some(key);
    laid_out_anew(state)
}

fn open(state: &mut AppState, folder: &Path) -> Vec<Effect> {
    let folder = match std::path::absolute(folder) {
        Ok(folder) => folder,
        Err(error) => {
            complain(state, format!("The folder of a run is needed, {error}: {}", folder.display()));
            return Vec::new();
        }
    };
    let mut effects = Vec::new();
    let is_below_runs = folder.parent().is_some() && folder.parent() == state.train.places.runs.as_deref();
    if !is_below_runs && !state.settings.runs.contains(&folder) {
        state.settings.runs.push(folder.clone());
        effects.push(Effect::SaveSettings(state.settings.clone()));
    }
    effects.push(read_list(state));
    effects.extend(show(state, RunKey::new(folder)));
    effects
}

fn compare(state: &mut AppState, key: RunKey, is_wanted: bool) -> Vec<Effect> {
    let runs = &mut state.train.runs;
    let is_compared = runs.compared.contains(&key);
    if runs.shown.as_ref() == Some(&key) || is_compared == is_wanted {
        return Vec::new();
    }
    if runs.shown.is_none() {
        return show(state, key);
    }
    if is_compared {
        runs.compared.retain(|other| *other != key);
    } else if runs.compared.len() < MOST_COMPARED {
        runs.compared.push(key);
    } else {
        let most = MOST_COMPARED + 1;
        complain(state, format!("At most {most} runs can be laid side by side: take one away first."));
        return Vec::new();
    }
    laid_out_anew(state)
}

/// What follows when other runs are in view than before.
fn laid_out_anew(state: &mut AppState) -> Vec<Effect> {
    let followed = followed(state);
    state.train.runs.told.retain(|key, _| followed.contains(key));
    let mut effects = vec![effect(RunsEffect::Follow(followed))];
    effects.extend(chart::shown(state));
    effects.extend(rollouts::shown(state));
    effects.extend(control::shown(state));
    effects
}

fn read_list(state: &AppState) -> Effect {
    let also = &state.settings.runs;
    effect(if also.is_empty() { RunsEffect::ReadList } else { RunsEffect::ReadListAlso(also.clone()) })
}

fn effect(effect: RunsEffect) -> Effect {
    Effect::Train(TrainEffect::Runs(effect))
}

#[cfg(test)]
mod tests;
