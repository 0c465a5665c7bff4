//! The threads that read rollouts: one for each kind of wish, each with the newest wish only, so that dragging over a thousand
//! steps reads those at which the hand rests.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use super::super::super::event::Event;
use super::super::super::workers::EventSender;
use super::super::{TrainEvent, TrainPlaces};
use super::{RolloutsEffect, RolloutsEvent, Sample, patch_file};
use crate::runs::RunKey;
use crate::runs::rollouts::{self, RolloutIndex, RolloutStep};

/// Steps that are looked through, from the newest back, for a question in another run.
const MOST_SEARCHED: usize = 400;

/// The threads behind it.
pub(in crate::window::train) struct RolloutsDesk {
    events: EventSender,
    _places: TrainPlaces,
    reads: Option<Newest<(RunKey, RolloutStep)>>,
    histories: Option<Newest<(RunKey, Vec<RolloutStep>, String)>>,
    pictures: Option<Newest<Pictures>>,
    searches: Option<Newest<Search>>,
    waits: Option<Newest<(RunKey, Duration)>>,
}

/// A run, images as its rollouts name them, and the folders in which they may lie.
type Pictures = (RunKey, Vec<String>, Vec<PathBuf>);

/// Runs, and the row that is looked for in their rollouts.
type Search = (Vec<(RunKey, Arc<RolloutIndex>)>, String);

impl RolloutsDesk {
    pub(in crate::window::train) fn new(events: EventSender, places: TrainPlaces) -> Self {
        Self {
            events,
            _places: places,
            reads: None,
            histories: None,
            pictures: None,
            searches: None,
            waits: None,
        }
    }

    pub(in crate::window::train) fn carry_out(&mut self, effect: RolloutsEffect) {
        let events = &self.events;
        match effect {
            RolloutsEffect::Read { run, step } => {
                self.reads.get_or_insert_with(|| reader(events.clone())).ask((run, step));
            }
            RolloutsEffect::ReadHistory { run, steps, row } => {
                self.histories.get_or_insert_with(|| historian(events.clone())).ask((run, steps, row));
            }
            RolloutsEffect::ReadPictures { run, images, folders } => {
                self.pictures.get_or_insert_with(|| painter(events.clone())).ask((run, images, folders));
            }
            RolloutsEffect::ReadSame { runs, row } => {
                self.searches.get_or_insert_with(|| searcher(events.clone())).ask((runs, row));
            }
            RolloutsEffect::Wait { run, time } => {
                self.waits.get_or_insert_with(|| clock(events.clone())).ask((run, time));
            }
        }
    }
}

fn reader(events: EventSender) -> Newest<(RunKey, RolloutStep)> {
    Newest::start("train-rollouts", move |(run, of): (RunKey, RolloutStep)| {
        let records = rollouts::read(&of);
        tell(&events, RolloutsEvent::Records { run, stage: of.stage, step: of.step, records })
    })
}

fn historian(events: EventSender) -> Newest<(RunKey, Vec<RolloutStep>, String)> {
    Newest::start("train-history", move |(run, steps, row): (RunKey, Vec<RolloutStep>, String)| {
        let history = rollouts::history(&steps, &row, steps.len());
        tell(&events, RolloutsEvent::History { run, history })
    })
}

fn painter(events: EventSender) -> Newest<(RunKey, Vec<String>, Vec<PathBuf>)> {
    Newest::start("train-patches", move |(run, images, folders): (RunKey, Vec<String>, Vec<PathBuf>)| {
        let read = |image: String| {
            let picture = patch_file::read(events.context(), &image, &folders);
            (image, picture)
        };
        let pictures = images.into_iter().map(read).collect();
        tell(&events, RolloutsEvent::Pictures { run, pictures })
    })
}

fn searcher(events: EventSender) -> Newest<Search> {
    Newest::start("train-same-question", move |(runs, row): Search| {
        let samples = runs.into_iter().map(|(run, index)| (run, newest_of(&index, &row))).collect();
        tell(&events, RolloutsEvent::Same { row, samples })
    })
}

fn clock(events: EventSender) -> Newest<(RunKey, Duration)> {
    Newest::start("train-rollouts-clock", move |(run, time): (RunKey, Duration)| {
        std::thread::sleep(time);
        tell(&events, RolloutsEvent::Due(run))
    })
}

/// False when the window is gone.
fn tell(events: &EventSender, news: RolloutsEvent) -> bool {
    events.send(Event::Train(TrainEvent::Rollouts(news)))
}

/// The newest record of a row among the last steps of a run. A step that cannot be read counts only where no other has it.
fn newest_of(index: &RolloutIndex, row: &str) -> Sample {
    let mut fault = None;
    for step in index.steps.iter().rev().take(MOST_SEARCHED) {
        match rollouts::history(std::slice::from_ref(step), row, 1) {
            Ok(mut found) => {
                if let Some(record) = found.records.pop() {
                    return Ok(Some(record));
                }
            }
            Err(sentence) => fault = fault.or(Some(sentence)),
        }
    }
    fault.map_or(Ok(None), Err)
}

/// A thread that carries out the newest wish; those that came before it and were not begun are forgotten. Dropping this ends
/// the thread once it has done what it is at.
struct Newest<W> {
    wish: Arc<Mutex<Option<W>>>,
    wake: Sender<()>,
}

impl<W: Send + 'static> Newest<W> {
    /// `work` returns false when nobody hears it any more.
    fn start(name: &str, mut work: impl FnMut(W) -> bool + Send + 'static) -> Self {
        let (wake, woken) = bounded(1);
        let wish = Arc::new(Mutex::new(None));
        let asked = Arc::clone(&wish);
        let run = move || {
            for () in woken {
                let wish = asked.lock().unwrap_or_else(PoisonError::into_inner).take();
                if wish.is_some_and(|wish| !work(wish)) {
                    return;
                }
            }
        };
        if let Err(error) = Builder::new().name(name.to_owned()).spawn(run) {
            tracing::error!("cannot start the thread {name}: {error}");
        }
        Self { wish, wake }
    }

    fn ask(&self, wish: W) {
        *self.wish.lock().unwrap_or_else(PoisonError::into_inner) = Some(wish);
        // Full: it was told already, and will find this wish.
        self.wake.try_send(()).ok();
    }
}

#[cfg(test)]
mod tests {
    use reinpath_training::rollout_record::RolloutRecord;

    use super::super::tests::record;
    use super::*;

    fn step(folder: &std::path::Path, step: usize, records: &[RolloutRecord]) -> RolloutStep {
        let lines: Vec<String> =
            records.iter().map(|record| serde_json::to_string(record).unwrap() + "\n").collect();
        let file = folder.join(format!("{step}.jsonl"));
        std::fs::write(&file, lines.concat()).unwrap();
        RolloutStep { stage: "grpo".to_owned(), step, file, questions: records.len() }
    }

    #[test]
    fn the_newest_step_with_a_row_is_found_from_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let steps = vec![
            step(folder.path(), 1, &[record(1, "a", &[1.0])]),
            step(folder.path(), 2, &[record(2, "b", &[1.0]), record(2, "a", &[2.0])]),
            step(folder.path(), 3, &[record(3, "b", &[3.0])]),
        ];
        let mut index = RolloutIndex { steps };
        assert_eq!(newest_of(&index, "a").unwrap().unwrap().step, 2);
        assert_eq!(newest_of(&index, "b").unwrap().unwrap().step, 3);
        assert_eq!(newest_of(&index, "c").unwrap(), None);
        index.steps[2].file = folder.path().join("gone.jsonl");
        assert_eq!(newest_of(&index, "b").unwrap().unwrap().step, 2, "a step that is gone stops nothing");
        let sentence = newest_of(&index, "c").unwrap_err();
        assert!(sentence.ends_with("gone.jsonl"), "{sentence}");
    }

    #[test]
    fn wishes_that_were_overtaken_are_forgotten() {
        let (began, begun) = bounded(8);
        let (go_on, may_go_on) = bounded::<()>(8);
        let thread = Newest::start("test", move |wish: u32| {
            began.send(wish).unwrap();
            may_go_on.recv().is_ok()
        });
        thread.ask(1);
        assert_eq!(begun.recv(), Ok(1));
        for wish in 2..100 {
            thread.ask(wish);
        }
        go_on.send(()).unwrap();
        assert_eq!(begun.recv(), Ok(99), "the last one, and no other");
        drop(go_on);
        drop(thread);
        assert!(begun.recv().is_err(), "the thread has ended");
    }
}
