//! The threads behind looking: one for each look that goes on, which runs the training program as often as it takes.
//!
//! A look is given up by dropping its half of a channel: its thread then drops the program's handle, which kills it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use reinpath_training::config::RunConfig;
use reinpath_training::dataset;
use reinpath_training::disk;
use reinpath_training::event::{Finding, RunEvent};
use reinpath_training::machine::Sampler;
use serde_json::Value;

use super::preview::{CheckSummary, RowPreview, RowView};
use super::row_index::RowIndex;
use super::{LookEffect, LookEvent, LookJob, LookKind, LookNews, data_findings, machine_findings};
use crate::runs::trainer::{Look, Trainer};
use crate::window::event::Event;
use crate::window::train::{TrainEvent, TrainPlaces};
use crate::window::workers::EventSender;

/// The index that was made last: going from row to row does not read the whole file each time.
type LastIndex = Arc<Mutex<Option<Arc<RowIndex>>>>;

/// The looks that go on.
pub(in crate::window::train) struct LookDesk {
    events: EventSender,
    places: TrainPlaces,
    /// Dropping one gives its look up.
    going: BTreeMap<LookKind, Sender<()>>,
    index: LastIndex,
}

impl LookDesk {
    pub(in crate::window::train) fn new(events: EventSender, places: TrainPlaces) -> Self {
        Self { events, places, going: BTreeMap::new(), index: LastIndex::default() }
    }

    pub(in crate::window::train) fn carry_out(&mut self, effect: LookEffect) {
        match effect {
            LookEffect::Stop(kind) => drop(self.going.remove(&kind)),
            LookEffect::Start { number, job } => {
                // Without it nothing is begun.
                let Some(Ok(program)) = self.places.program.clone() else { return };
                let (going, given_up) = bounded(0);
                self.going.insert(job.kind(), going);
                let teller = Teller { events: self.events.clone(), number };
                let watcher = Watcher { program, given_up, teller };
                let index = Arc::clone(&self.index);
                let look = move || watcher.look(*job, &index);
                if let Err(error) = Builder::new().name("train-look-watch".to_owned()).spawn(look) {
                    // Nothing of this look will be told; the user can free resources and look again.
                    tracing::error!("cannot start a thread for looking: {error}");
                }
            }
        }
    }
}

/// Tells the window what one look found.
#[derive(Clone)]
struct Teller {
    events: EventSender,
    number: u64,
}

impl Teller {
    fn tell(&self, news: LookNews) {
        // A window that is gone gives the look up by itself.
        self.events.send(Event::Train(TrainEvent::Look(LookEvent { number: self.number, news })));
    }

    fn find(&self, finding: Finding) {
        self.tell(LookNews::Finding(finding));
    }
}

/// How one run of the program came out.
enum Outcome {
    /// It could not be started, as a sentence.
    NotStarted(String),
    Ended(Result<(), String>),
    GivenUp,
}

/// One look, in its own thread.
struct Watcher {
    program: PathBuf,
    given_up: Receiver<()>,
    teller: Teller,
}

impl Watcher {
    fn look(&self, job: LookJob, index: &LastIndex) {
        match job {
            LookJob::Preview { data, package, row } => self.preview(data, package, row, index),
            LookJob::Check { data, package } => self.check(data, package),
            LookJob::Preflight { config, folder, model_holds } => {
                self.preflight(config, folder, model_holds);
            }
        }
    }

    /// Runs the program to its end, or until nobody wants it any more.
    fn run(&self, look: &Look, told: impl FnMut(Value) + Send + 'static) -> Outcome {
        let (end, ended) = bounded(1);
        // The receiver may have gone first.
        let trainer = Trainer::start(&self.program, look, told, move |how| drop(end.send(how)));
        let _trainer = match trainer {
            Ok(trainer) => trainer,
            Err(sentence) => return Outcome::NotStarted(sentence),
        };
        select! {
            recv(ended) -> how => Outcome::Ended(
                how.unwrap_or_else(|_gone| Err("The training program is no longer listened to.".to_owned()))
            ),
            recv(self.given_up) -> _ => Outcome::GivenUp,
        }
    }

    fn preview(&self, data: PathBuf, package: PathBuf, row: Option<String>, last: &LastIndex) {
        // Where the file cannot be read the program says so.
        let index = index_of(&data, last).ok();
        let (teller, strange) = (self.teller.clone(), Strange::default());
        let kept = Arc::clone(&strange);
        let told = move |value: Value| {
            keep_warning(&value, &kept);
            if let Some(row) = data_of::<RowPreview>(value, "preview") {
                let view = RowView::read(teller.events.context(), row, index.clone());
                teller.tell(LookNews::Row(Arc::new(view)));
            }
        };
        let look = Look::Preview { data, package, rows: row.into_iter().collect() };
        let how = match self.run(&look, told) {
            Outcome::GivenUp => return,
            Outcome::NotStarted(sentence) => Err(sentence),
            Outcome::Ended(how) => how.and_then(|()| warned(&strange)),
        };
        self.teller.tell(LookNews::PreviewEnded(how));
    }

    fn check(&self, data: PathBuf, package: PathBuf) {
        let (teller, strange) = (self.teller.clone(), Strange::default());
        let is_whole = Arc::new(AtomicBool::new(false));
        let (kept, whole) = (Arc::clone(&strange), Arc::clone(&is_whole));
        let told = move |value: Value| {
            keep_warning(&value, &kept);
            if value["type"] == "finding" {
                let found = data_of::<dataset::Finding>(value, "finding");
                if let Some(found) = found {
                    teller.tell(LookNews::Checked(found));
                }
            } else if let Some(report) = data_of::<CheckSummary>(value, "finished") {
                whole.store(true, Ordering::Relaxed);
                teller.tell(LookNews::Report(report));
            }
        };
        let how = match self.run(&Look::Check { data, package }, told) {
            Outcome::GivenUp => return,
            Outcome::NotStarted(sentence) => Err(sentence),
            // It fails when something must be mended, which its findings say better.
            Outcome::Ended(_) if is_whole.load(Ordering::Relaxed) => warned(&strange),
            Outcome::Ended(how) => how,
        };
        self.teller.tell(LookNews::CheckEnded(how));
    }

    /// The machine first, which takes no time, then the data, then the program's own look at the whole run.
    fn preflight(&self, config: Box<RunConfig>, folder: PathBuf, model_holds: Option<u64>) {
        self.teller.tell(LookNews::At("Looking at this machine".to_owned()));
        let sample = Sampler::new().sample();
        let of_machine = machine_findings::findings(&config, Some(&sample), disk::free(&folder), model_holds);
        for found in of_machine.into_iter().chain(data_findings::overlaps(&config)) {
            self.teller.find(found);
        }
        for file in data_findings::files(&config) {
            match self.check_for(&config, file) {
                Outcome::GivenUp => return,
                Outcome::NotStarted(sentence) => {
                    return self.teller.tell(LookNews::PreflightEnded(Err(sentence)));
                }
                Outcome::Ended(_) => {}
            }
        }
        self.teller.tell(LookNews::At("Loading the model and trying the stages".to_owned()));
        let (teller, is_fatal) = (self.teller.clone(), Arc::new(AtomicBool::new(false)));
        let fatal = Arc::clone(&is_fatal);
        let told = move |value: Value| {
            if let Ok(event) = serde_json::from_value::<RunEvent>(value) {
                if let RunEvent::Finding(Finding { is_fatal: true, .. }) = &event {
                    fatal.store(true, Ordering::Relaxed);
                }
                if let Some(news) = news_of(event) {
                    teller.tell(news);
                }
            }
        };
        let how = match self.run(&Look::Preflight { config, folder }, told) {
            Outcome::GivenUp => return,
            Outcome::NotStarted(sentence) => Err(sentence),
            // It fails when it found something fatal, which is told already.
            Outcome::Ended(_) if is_fatal.load(Ordering::Relaxed) => Ok(()),
            Outcome::Ended(how) => how,
        };
        self.teller.tell(LookNews::PreflightEnded(how));
    }

    /// Checks a file of rows for a run.
    fn check_for(&self, config: &RunConfig, file: PathBuf) -> Outcome {
        self.teller.tell(LookNews::At(format!("Looking through the rows: {}", file.display())));
        let (teller, is_whole) = (self.teller.clone(), Arc::new(AtomicBool::new(false)));
        let (whole, of, run) = (Arc::clone(&is_whole), file.clone(), config.clone());
        let told = move |value: Value| {
            if value["type"] == "finished" {
                whole.store(true, Ordering::Relaxed);
            } else if value["type"] == "finding" {
                let found = data_of::<dataset::Finding>(value, "finding");
                let weighed = found.and_then(|found| data_findings::of_check(&found, &of, &run));
                if let Some(finding) = weighed {
                    teller.find(finding);
                }
            } else if let Some(news) = serde_json::from_value(value).ok().and_then(news_of) {
                teller.tell(news);
            }
        };
        let outcome = self.run(&Look::Check { data: file, package: config.base.clone() }, told);
        if let Outcome::Ended(Err(sentence)) = &outcome
            && !is_whole.load(Ordering::Relaxed)
        {
            self.teller.find(Finding { finding: sentence.clone(), cure: None, is_fatal: true });
        }
        outcome
    }
}

/// The last warning of a program that ended well otherwise, as that something it said is not understood.
type Strange = Arc<Mutex<Option<String>>>;

fn keep_warning(value: &Value, strange: &Strange) {
    if value["type"] == "warning" {
        let warning = value["data"]["warning"].as_str().map(str::to_owned);
        *strange.lock().unwrap_or_else(PoisonError::into_inner) = warning;
    }
}

fn warned(strange: &Strange) -> Result<(), String> {
    strange.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
}

/// What an event of a dry run is to the window; `None` of what it does not show.
fn news_of(event: RunEvent) -> Option<LookNews> {
    Some(match event {
        RunEvent::Finding(finding) => LookNews::Finding(finding),
        RunEvent::Rehearsal(record) => LookNews::Rehearsal(record),
        RunEvent::Progress { what, done, total } => {
            LookNews::At(format!("Preparing {what}: {done} of {total}"))
        }
        RunEvent::Warning { warning, .. } => LookNews::Finding(Finding {
            finding: warning,
            cure: Some("The run goes on with it, and counts it.".to_owned()),
            is_fatal: false,
        }),
        _ => return None,
    })
}

/// The data of a line of this type.
fn data_of<T: serde::de::DeserializeOwned>(mut value: Value, kind: &str) -> Option<T> {
    if value["type"] != kind {
        return None;
    }
    let data = value.get_mut("data").map(Value::take)?;
    serde_json::from_value(data)
        .inspect_err(|error| tracing::warn!("a {kind} is not understood: {error}"))
        .ok()
}

/// The rows of a data set: those that were read last, where they are the same still.
fn index_of(data: &Path, last: &LastIndex) -> Result<Arc<RowIndex>, String> {
    let kept = last.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(index) = kept.filter(|index| index.is_of(data)) {
        return Ok(index);
    }
    let index = Arc::new(RowIndex::read(data)?);
    *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&index));
    Ok(index)
}

#[cfg(test)]
mod tests;
