//! Starting, stopping and going on with runs; alarms; using what they make; and what closing the window does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use reinpath_training::rollout_record::RolloutRecord;

use super::super::command::{Command, ModelCommand};
use super::super::state::{AppState, Mode};
use super::super::update::{self, Effect, complain};
use super::TrainEffect;
use super::runs::{self, RunsCommand};
use crate::runs::RunKey;
use crate::runs::alarm::{Alarm, alarms, disk_full};
use crate::runs::launch::{Ended, Launch};

mod closing;
mod desk;
mod panel;
mod start;

pub(super) use self::desk::ControlDesk;
pub(super) use self::panel::ControlPanel;

/// How long a first press of Kill waits for the second.
const KILL_PATIENCE: Duration = Duration::from_secs(3);
/// How often the free room of the runs' disks is measured.
const BETWEEN_DISKS: Duration = Duration::from_secs(30);

/// What this part shows.
#[derive(Debug, Default)]
pub struct ControlState {
    /// Runs whose process this window started and has not seen end.
    pub started: Vec<RunKey>,
    /// How processes that this window started ended.
    pub ended: BTreeMap<RunKey, Ended>,
    /// Whether the window is to be closed while runs go on, and asks what is to become of them.
    pub closing: Closing,
    /// Alarms of the runs that are followed, by run, the worst first.
    pub alarms: BTreeMap<RunKey, Vec<Alarm>>,
    /// The alarm that came last.
    pub newest_alarm: Option<NewAlarm>,
    /// The run whose model is being made ready for the Ask panel.
    pub preparing: Option<RunKey>,
    /// How far that is, in words, and since when it goes on.
    pub preparing_words: String,
    pub preparing_since: Option<Instant>,
    /// Runs that were asked to stop and are on their way to a checkpoint.
    pub stopping: BTreeSet<RunKey>,
    /// The run that a first press of Kill meant, and when it came.
    pub kill_asked: Option<(RunKey, Instant)>,
    /// The run for which the assistant's model gave up its memory.
    pub released_for: Option<RunKey>,
    /// Runs that wait for others and will want the memory of their device then.
    pub wants_memory: BTreeMap<RunKey, String>,
    /// Bytes that the disks of running runs have left, and when they were last measured.
    pub disk_free: BTreeMap<RunKey, u64>,
    pub disks_measured: Option<Instant>,
}

/// An alarm that was not there before.
#[derive(Clone, Debug, PartialEq)]
pub struct NewAlarm {
    pub run: RunKey,
    pub sentence: String,
    pub since: Instant,
}

/// Wishes about it.
#[derive(Clone, Debug, PartialEq)]
pub enum ControlCommand {
    /// Starts the draft, if the preflight allows it; behind the running runs on the same device where `queued`.
    Start {
        queued: bool,
    },
    /// A checkpoint, then the end.
    Stop(RunKey),
    /// At once, without a checkpoint; the second of two presses does it.
    Kill(RunKey),
    Resume(RunKey),
    /// Asks with the model of a run from now on: its finished package.
    UsePackage(PathBuf),
    /// The same of a checkpoint, from which a package is made first.
    UseCheckpoint {
        run: RunKey,
        checkpoint: PathBuf,
    },
    /// No package is to be made of a checkpoint after all.
    StopPreparing,
    /// Looks what is wrong now: some alarms come of time that passes.
    LookForAlarms,
    /// The window is being closed.
    AskToClose,
    CloseAndLeaveRunning,
    CloseAndStop,
    StayOpen,
}

/// What happened to it.
#[derive(Debug)]
pub enum ControlEvent {
    Started(RunKey),
    /// It could not be started, as a sentence.
    NotStarted {
        run: RunKey,
        sentence: String,
    },
    Ended {
        run: RunKey,
        ended: Ended,
    },
    /// How far the making of a package is, in words.
    Preparing {
        run: RunKey,
        words: String,
    },
    /// A package was made of a checkpoint, or why not, as a sentence.
    Exported {
        run: RunKey,
        package: Result<PathBuf, String>,
    },
    /// Bytes that a run's disk has left.
    DiskFree {
        run: RunKey,
        bytes: u64,
    },
}

/// What is to be done for it outside the state.
#[derive(Clone, Debug, PartialEq)]
pub enum ControlEffect {
    Launch(Box<Launch>),
    Resume { run: RunKey, after: Vec<PathBuf> },
    Stop(RunKey),
    Kill(RunKey),
    Export { run: RunKey, checkpoint: PathBuf },
    StopExport,
    MeasureDisks(Vec<RunKey>),
}

/// How far closing the window has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Closing {
    #[default]
    No,
    /// The dialog is open.
    Asking,
    /// The runs were asked to stop, and the window closes once they have.
    Stopping,
    /// It closes now.
    Now,
}

impl ControlState {
    /// Whether closing the window needs an answer first: a run goes on that this window started.
    pub fn must_ask_to_close(&self) -> bool {
        self.closing != Closing::Now && !self.started.is_empty()
    }

    /// Whether another press of Kill ends this run.
    fn is_kill_asked(&self, run: &RunKey) -> bool {
        self.kill_asked.as_ref().is_some_and(|(asked, at)| asked == run && at.elapsed() < KILL_PATIENCE)
    }
}

/// Carries out a wish.
pub(in crate::window) fn command(state: &mut AppState, wish: ControlCommand) -> Vec<Effect> {
    match wish {
        ControlCommand::Start { queued } => start::start(state, queued),
        ControlCommand::Resume(run) => start::resume(state, run),
        ControlCommand::Stop(run) => {
            state.train.control.stopping.insert(run.clone());
            vec![effect(ControlEffect::Stop(run))]
        }
        ControlCommand::Kill(run) => kill(state, run),
        ControlCommand::UsePackage(package) => use_package(state, package),
        ControlCommand::UseCheckpoint { run, checkpoint } => use_checkpoint(state, run, checkpoint),
        ControlCommand::StopPreparing => {
            let control = &mut state.train.control;
            control.preparing_since = None;
            control.preparing.take().map(|_run| effect(ControlEffect::StopExport)).into_iter().collect()
        }
        ControlCommand::LookForAlarms => look_for_alarms(state),
        ControlCommand::AskToClose => closing::ask(state),
        ControlCommand::CloseAndLeaveRunning => closing::now(state),
        ControlCommand::CloseAndStop => closing::stop_all(state),
        ControlCommand::StayOpen => closing::stay(state),
    }
}

/// Takes in what happened.
pub(in crate::window) fn event(state: &mut AppState, news: ControlEvent) -> Vec<Effect> {
    match news {
        ControlEvent::Started(_run) => runs::command(state, RunsCommand::Refresh),
        ControlEvent::NotStarted { run, sentence } => {
            let how = sentence.clone();
            let ended = || Ended { how, is_good: false, last_lines: Vec::new() };
            state.train.control.ended.entry(run.clone()).or_insert_with(ended);
            complain(state, sentence);
            is_over(state, &run)
        }
        ControlEvent::Ended { run, ended } => {
            // Of the run in view the stage rail says it, with the log.
            if !ended.is_good && state.train.runs.shown.as_ref() != Some(&run) {
                let how = &ended.how;
                complain(
                    state,
                    format!("The run {} has ended, {how}: {}", run.name(), run.folder().display()),
                );
            }
            state.train.control.ended.insert(run.clone(), ended);
            is_over(state, &run)
        }
        ControlEvent::Preparing { run, words } => {
            if state.train.control.preparing == Some(run) {
                state.train.control.preparing_words = words;
            }
            Vec::new()
        }
        ControlEvent::Exported { run, package } => exported(state, &run, package),
        ControlEvent::DiskFree { run, bytes } => {
            state.train.control.disk_free.insert(run.clone(), bytes);
            look_at(state, &run);
            Vec::new()
        }
    }
}

/// A run that is followed has told more; called after `state.train.runs.told` has it.
pub(super) fn told(state: &mut AppState, run: &RunKey) -> Vec<Effect> {
    let Some(told) = state.train.runs.told.get(run) else { return Vec::new() };
    let (is_running, waits) = (told.is_running(), told.waits_for.is_some());
    let control = &mut state.train.control;
    if !is_running && !control.started.contains(run) {
        control.stopping.remove(run);
    }
    look_at(state, run);
    if is_running && !waits { start::turn_has_come(state, run) } else { Vec::new() }
}

/// Another run is in view.
pub(super) fn shown(state: &mut AppState) -> Vec<Effect> {
    state.train.control.kill_asked = None;
    if let Some(run) = state.train.runs.shown.clone() {
        look_at(state, &run);
    }
    Vec::new()
}

fn effect(effect: ControlEffect) -> Effect {
    Effect::Train(TrainEffect::Control(effect))
}

fn kill(state: &mut AppState, run: RunKey) -> Vec<Effect> {
    let control = &mut state.train.control;
    if control.is_kill_asked(&run) {
        control.kill_asked = None;
        return vec![effect(ControlEffect::Kill(run))];
    }
    control.kill_asked = Some((run, Instant::now()));
    Vec::new()
}

fn use_package(state: &mut AppState, package: PathBuf) -> Vec<Effect> {
    let mut effects = update::command(state, Command::Model(ModelCommand::Use(package)));
    effects.extend(update::command(state, Command::Mode(Mode::Read)));
    effects
}

fn use_checkpoint(state: &mut AppState, run: RunKey, checkpoint: PathBuf) -> Vec<Effect> {
    if state.train.control.preparing.is_some() {
        complain(state, "Another model is being made ready: wait for it, or cancel it first.".to_owned());
        return Vec::new();
    }
    if let Err(sentence) = start::program(state) {
        complain(state, sentence);
        return Vec::new();
    }
    let control = &mut state.train.control;
    control.preparing = Some(run.clone());
    control.preparing_since = Some(Instant::now());
    "starting".clone_into(&mut control.preparing_words);
    vec![effect(ControlEffect::Export { run, checkpoint })]
}

fn exported(state: &mut AppState, run: &RunKey, package: Result<PathBuf, String>) -> Vec<Effect> {
    let control = &mut state.train.control;
    if control.preparing.as_ref() != Some(run) {
        // It was cancelled, or is late.
        return Vec::new();
    }
    (control.preparing, control.preparing_since) = (None, None);
    match package {
        Ok(package) => use_package(state, package),
        Err(sentence) => {
            complain(state, sentence);
            Vec::new()
        }
    }
}

/// A process that this window started is there no more.
fn is_over(state: &mut AppState, run: &RunKey) -> Vec<Effect> {
    let control = &mut state.train.control;
    control.started.retain(|other| other != run);
    control.stopping.remove(run);
    control.wants_memory.remove(run);
    if control.released_for.as_ref() == Some(run) {
        control.released_for = None;
    }
    let mut effects = runs::command(state, RunsCommand::Refresh);
    effects.push(runs::follow(state));
    effects.extend(closing::is_over(state));
    effects
}

fn look_for_alarms(state: &mut AppState) -> Vec<Effect> {
    let followed: Vec<RunKey> = state.train.runs.told.keys().cloned().collect();
    let control = &mut state.train.control;
    control.alarms.retain(|run, _| followed.contains(run));
    control.disk_free.retain(|run, _| followed.contains(run));
    for run in &followed {
        look_at(state, run);
    }
    let control = &mut state.train.control;
    if control.disks_measured.is_some_and(|at| at.elapsed() < BETWEEN_DISKS) {
        return Vec::new();
    }
    control.disks_measured = Some(Instant::now());
    let told = &state.train.runs.told;
    let running: Vec<RunKey> =
        told.iter().filter(|(_, told)| told.is_running()).map(|(run, _)| run.clone()).collect();
    if running.is_empty() { Vec::new() } else { vec![effect(ControlEffect::MeasureDisks(running))] }
}

/// Looks what is wrong with a run that is followed.
fn look_at(state: &mut AppState, run: &RunKey) {
    let train = &state.train;
    let Some(told) = train.runs.told.get(run) else { return };
    let rollouts = &train.rollouts;
    // Rollouts of a step that was chosen need not be the newest.
    let is_newest = train.runs.shown.as_ref() == Some(run) && rollouts.step.is_none();
    let read = rollouts.records.as_ref().filter(|_| is_newest).and_then(|records| records.as_ref().ok());
    let records: &[RolloutRecord] = read.map_or(&[], Vec::as_slice);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut found = alarms(told, records, now);
    found.extend(train.control.disk_free.get(run).and_then(|free| disk_full(told, *free)));
    let control = &mut state.train.control;
    let before = control.alarms.insert(run.clone(), found.clone()).unwrap_or_default();
    let is_new = |alarm: &&Alarm| before.iter().all(|other| other.kind != alarm.kind);
    if let Some(alarm) = found.iter().find(is_new) {
        let (run, sentence) = (run.clone(), alarm.sentence.clone());
        control.newest_alarm = Some(NewAlarm { run, sentence, since: Instant::now() });
    }
}

#[cfg(test)]
mod tests;
