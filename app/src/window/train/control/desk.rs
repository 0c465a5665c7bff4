//! The threads of starting, stopping and exporting: one for each process that is watched, one for each thing that is done once.
//!
//! They let go of the window when it is gone. No run ends with it.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread::Builder;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select};
use reinpath_model::package::MANIFEST;
use reinpath_training::disk;
use reinpath_training::run_folder::{RunFolder, RunState};
use serde_json::Value;

use super::{ControlEffect, ControlEvent};
use crate::runs::RunKey;
use crate::runs::launch;
use crate::runs::trainer::{Look, Trainer};
use crate::window::event::Event;
use crate::window::model_worker::as_sentence;
use crate::window::train::{TrainEvent, TrainPlaces};
use crate::window::workers::EventSender;

/// Between two looks at a process, and at whether the window is still there.
const LOOK: Duration = Duration::from_millis(200);
/// A process that has not taken its run's lock after so long has not begun: the lock comes before anything that takes time.
const BEGIN: Duration = Duration::from_secs(30);
/// Looks at whether a wish to stop has outlived the beginning of its run, which forgets earlier ones.
const STOP_LOOKS: u32 = 10;
const STOP_PAUSE: Duration = Duration::from_millis(500);

/// All of them.
pub(in crate::window::train) struct ControlDesk {
    events: EventSender,
    places: TrainPlaces,
    /// Threads look at the other end, and let go when this is dropped.
    _alive: Sender<()>,
    gone: Receiver<()>,
    /// Dropping it ends the making of a package.
    export: Option<Sender<()>>,
}

impl ControlDesk {
    pub(in crate::window::train) fn new(events: EventSender, places: TrainPlaces) -> Self {
        let (alive, gone) = bounded(0);
        Self { events, places, _alive: alive, gone, export: None }
    }

    /// Never waits.
    pub(in crate::window::train) fn carry_out(&mut self, effect: ControlEffect) {
        match effect {
            ControlEffect::Launch(order) => {
                let program = self.program();
                let run = RunKey::new(order.folder.clone());
                self.watch(run, move || launch::start(&program?, &order));
            }
            ControlEffect::Resume { run, after } => {
                let (program, folder) = (self.program(), run.folder().to_owned());
                self.watch(run, move || launch::resume(&program?, &folder, &after));
            }
            ControlEffect::Stop(run) => {
                let (events, gone) = (self.events.clone(), self.gone.clone());
                spawn("train-stop", move || {
                    if let Err(sentence) = stop(run.folder(), STOP_PAUSE, &gone) {
                        events.send(Event::Problem(sentence));
                    }
                });
            }
            ControlEffect::Kill(run) => {
                let events = self.events.clone();
                spawn("train-kill", move || {
                    if let Err(sentence) = launch::kill(run.folder()) {
                        events.send(Event::Problem(sentence));
                    }
                });
            }
            ControlEffect::Export { run, checkpoint } => self.export(run, checkpoint),
            ControlEffect::StopExport => self.export = None,
            ControlEffect::MeasureDisks(runs) => {
                let events = self.events.clone();
                spawn("train-disks", move || {
                    for run in runs {
                        if let Some(bytes) = disk::free(run.folder()) {
                            tell(&events, ControlEvent::DiskFree { run, bytes });
                        }
                    }
                });
            }
        }
    }

    fn program(&self) -> Result<PathBuf, String> {
        match &self.places.program {
            Some(Ok(program)) => Ok(program.clone()),
            Some(Err(reason)) => Err(as_sentence(reason)),
            None => Err("This window knows no program that trains.".to_owned()),
        }
    }

    fn watch(&self, run: RunKey, begin: impl FnOnce() -> Result<Child, String> + Send + 'static) {
        let (events, gone) = (self.events.clone(), self.gone.clone());
        spawn("train-wait", move || watch(begin, run, BEGIN, events, &gone));
    }

    fn export(&mut self, run: RunKey, checkpoint: PathBuf) {
        let (until, cancelled) = bounded(0);
        self.export = Some(until);
        let (program, events) = (self.program(), self.events.clone());
        spawn("train-export", move || {
            if let Some(package) = export(program, &run, &checkpoint, &events, &cancelled) {
                tell(&events, ControlEvent::Exported { run, package });
            }
        });
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    if let Err(error) = Builder::new().name(name.to_owned()).spawn(work) {
        // Nothing that depends on this thread will happen; the user can only free resources and try again.
        tracing::error!("cannot start the thread {name}: {error}");
    }
}

fn tell(events: &EventSender, news: ControlEvent) -> bool {
    events.send(Event::Train(TrainEvent::Control(news)))
}

/// Starts a process and watches it until its end. One that has not begun its run after `patience` is ended.
fn watch(
    begin: impl FnOnce() -> Result<Child, String>,
    run: RunKey,
    patience: Duration,
    events: EventSender,
    gone: &Receiver<()>,
) {
    let mut child = match begin() {
        Ok(child) => child,
        Err(sentence) => {
            tell(&events, ControlEvent::NotStarted { run, sentence });
            return;
        }
    };
    tell(&events, ControlEvent::Started(run.clone()));
    let folder = RunFolder::new(run.folder());
    let (start, mut has_begun) = (Instant::now(), false);
    while matches!(child.try_wait(), Ok(None)) {
        has_begun = has_begun || matches!(folder.state(), Ok(RunState::Running(_)));
        if !has_begun && start.elapsed() >= patience {
            never_began(child, run, patience, &events);
            return;
        }
        if gone.recv_timeout(LOOK) == Err(RecvTimeoutError::Disconnected) {
            drop(events);
            // The window may be gone before its program is, as in tests: the process is waited for all the same, since nobody
            // else can.
            if let Err(error) = child.wait() {
                tracing::debug!("the end of a run's process is not known: {error}");
            }
            return;
        }
    }
    let ended = launch::wait(child, run.folder());
    tell(&events, ControlEvent::Ended { run, ended });
}

fn never_began(mut child: Child, run: RunKey, patience: Duration, events: &EventSender) {
    if let Err(error) = child.kill() {
        tracing::debug!("the process has just ended: {error}");
    }
    let mut ended = launch::wait(child, run.folder());
    let secs = patience.as_secs();
    ended.how = format!("it did not begin its run within {secs} s and was ended");
    ended.is_good = false;
    let folder = run.folder().display();
    let sentence = format!("The program did not begin the run within {secs} s and was ended: {folder}");
    tell(events, ControlEvent::Ended { run: run.clone(), ended });
    tell(events, ControlEvent::NotStarted { run, sentence });
}

/// Asks the run in a folder to stop, again where it has only just begun and forgot the wish.
fn stop(folder: &Path, pause: Duration, gone: &Receiver<()>) -> Result<(), String> {
    let run = RunFolder::new(folder);
    let ask = || run.ask_to_stop().map_err(|error| format!("The run cannot be asked to stop: {error}"));
    // Who is at work now; it may have ended before the first look.
    let mut asked = match run.state() {
        Ok(RunState::Running(holder)) => Some(holder),
        _ => None,
    };
    ask()?;
    for _ in 0..STOP_LOOKS {
        if gone.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
            return Ok(());
        }
        let Ok(RunState::Running(holder)) = run.state() else {
            if asked.is_some() {
                break;
            }
            // It has not begun yet.
            continue;
        };
        if *asked.get_or_insert_with(|| holder.clone()) != holder {
            // Another process is at work by now, which nobody asked to stop.
            break;
        }
        if !run.stop_file().exists() {
            ask()?;
        }
    }
    Ok(())
}

/// Makes the package of a checkpoint, unless it is there; `None` when it was cancelled.
fn export(
    program: Result<PathBuf, String>,
    run: &RunKey,
    checkpoint: &Path,
    events: &EventSender,
    cancelled: &Receiver<()>,
) -> Option<Result<PathBuf, String>> {
    let name = checkpoint.file_name().unwrap_or(checkpoint.as_os_str());
    let out = run.folder().join("exports").join(name);
    if out.join(MANIFEST).is_file() {
        return Some(Ok(out));
    }
    let program = match program {
        Ok(program) => program,
        Err(sentence) => return Some(Err(sentence)),
    };
    let look =
        Look::Export { run: run.folder().to_owned(), checkpoint: checkpoint.to_owned(), out: out.clone() };
    let (send_end, end) = bounded(1);
    let (told, of_run) = (events.clone(), run.clone());
    let trainer = Trainer::start(
        &program,
        &look,
        move |event| {
            if let Some(words) = progress(&event) {
                tell(&told, ControlEvent::Preparing { run: of_run.clone(), words });
            }
        },
        // Nobody listens any more when it was cancelled.
        move |ended| drop(send_end.send(ended)),
    );
    let trainer = match trainer {
        Ok(trainer) => trainer,
        Err(sentence) => return Some(Err(sentence)),
    };
    let ended: Option<Result<(), String>> = select! {
        recv(end) -> ended => Some(ended.unwrap_or_else(|_gone| Err("The model could not be made.".to_owned()))),
        recv(cancelled) -> _ => None,
    };
    drop(trainer);
    Some(ended?.map(|()| out))
}

/// An event of an export, in words.
fn progress(event: &Value) -> Option<String> {
    let data = event.get("data").filter(|_| event.get("type").is_some_and(|kind| kind == "progress"))?;
    let what = data.get("what")?.as_str()?;
    let (done, total) = (data.get("done")?.as_u64()?, data.get("total")?.as_u64()?);
    Some(format!("{what} ({done} of {total})"))
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
