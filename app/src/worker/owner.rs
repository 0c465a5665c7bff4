//! The thread that owns the worker child: it starts it, hands it requests, tells what it says, and starts it again when it
//! died.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select};
use reinpath_model::event::{AskEvent, Finished};
use reinpath_model::frame::{self, Frame};
use reinpath_model::request::{Cancel, Hello, InputImage, Load, PROTOCOL, SentenceMap};
use serde::Deserialize;

use super::{Wish, WorkerCommand, WorkerEvent};
use crate::child::{FramedChild, FromChild};

/// A worker that goes on for so long after it was told to stop is ended.
const PATIENCE_WITH_CANCEL: Duration = Duration::from_secs(5);
/// How often overdue cancels are looked for.
const LOOK: Duration = Duration::from_millis(200);

/// What a request that the child has not answered to the end is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Load,
    /// Of the package that the dead child had, for this question.
    LoadAgain(u64),
    Ask,
}

struct Waiting {
    purpose: Purpose,
    /// When its cancel is overdue.
    overdue: Option<Instant>,
}

struct Running {
    process: FramedChild,
    greeted: bool,
    /// Whether it was told to load a package.
    has_package: bool,
}

/// State of the thread that owns the child.
pub(super) struct Owner {
    command: WorkerCommand,
    child: Option<Running>,
    package: Option<Load>,
    waiting: BTreeMap<u64, Waiting>,
    next_id: Arc<AtomicU64>,
    events: Sender<WorkerEvent>,
    wake: Box<dyn Fn() + Send>,
}

/// Data of a load's `failed`.
#[derive(Deserialize)]
struct LoadFailure {
    error: String,
}

/// Nobody listens any more.
struct Gone;

impl Owner {
    /// Without a child, which is started with the first request.
    pub(super) fn new(
        command: WorkerCommand,
        next_id: Arc<AtomicU64>,
        events: Sender<WorkerEvent>,
        wake: Box<dyn Fn() + Send>,
    ) -> Self {
        Self { command, child: None, package: None, waiting: BTreeMap::new(), next_id, events, wake }
    }

    /// Runs until nobody wishes or listens any more.
    pub(super) fn run(mut self, wishes: &Receiver<Wish>) {
        loop {
            let of_child = self.child.as_ref().map(|child| child.process.events.clone());
            let events = of_child.unwrap_or_else(crossbeam_channel::never);
            let done = select! {
                recv(wishes) -> wish => match wish {
                    Ok(wish) => self.fulfil(wish),
                    Err(_closed) => return,
                },
                recv(events) -> event => self.hear(event.unwrap_or(FromChild::Ended(None))),
                default(LOOK) => Ok(()),
            };
            // Also while the child has much to say.
            if done.and_then(|()| self.end_overdue()).is_err() {
                return;
            }
        }
    }

    fn tell(&self, event: WorkerEvent) -> Result<(), Gone> {
        self.events.send(event).map_err(|_closed| Gone)?;
        (self.wake)();
        Ok(())
    }

    fn fulfil(&mut self, wish: Wish) -> Result<(), Gone> {
        match wish {
            Wish::Load { id, load } => {
                self.package = Some(load.clone());
                self.wait_for(id, Purpose::Load);
                self.send(id, Frame::new(id, "load", &load), true)
            }
            Wish::Ask { id, ask, pixels } => {
                self.wait_for(id, Purpose::Ask);
                let lacks_package = self.child.as_ref().is_none_or(|child| !child.has_package);
                if let Some(load) = self.package.clone().filter(|_| lacks_package) {
                    let again = self.next_id.fetch_add(1, Ordering::Relaxed);
                    self.wait_for(again, Purpose::LoadAgain(id));
                    self.send(again, Frame::new(again, "load", &load), true)?;
                }
                if !self.waiting.contains_key(&id) {
                    return Ok(());
                }
                self.send(id, Frame::new(id, "ask", &ask).map(|frame| frame.with_bytes(pixels)), false)
            }
            Wish::Cancel { id } => self.cancel(id),
            Wish::CancelLoad { id } => self.cancel_load(id),
            Wish::Release => self.end_child("the model has given up its memory"),
        }
    }

    fn cancel(&mut self, id: u64) -> Result<(), Gone> {
        if self.child.is_none() || !self.waiting.contains_key(&id) {
            return Ok(());
        }
        if self.waiting.get(&id).is_some_and(|waiting| waiting.purpose == Purpose::Load) {
            return self.end_load();
        }
        self.send(id, Frame::new(id, "cancel", &Cancel { id }), false)?;
        let is_behind_a_load = self.waits_for_a_load(id);
        let Some(waiting) = self.waiting.get_mut(&id) else { return Ok(()) };
        if is_behind_a_load {
            // The load may take minutes and the next question needs it: the worker is left to it, and meets the question's
            // cancel afterwards.
            self.waiting.remove(&id);
            return self.tell(WorkerEvent::Answer {
                id,
                event: AskEvent::Finished(Finished::cancelled_before_it_began()),
            });
        }
        waiting.overdue.get_or_insert_with(|| Instant::now() + PATIENCE_WITH_CANCEL);
        Ok(())
    }

    /// Unlike [`Self::cancel`] this also ends a load that is repeated for the question of that id.
    fn cancel_load(&mut self, id: u64) -> Result<(), Gone> {
        let is_meant = |(&own, waiting): (&u64, &Waiting)| match waiting.purpose {
            Purpose::Load => own == id,
            Purpose::LoadAgain(of) => of == id,
            Purpose::Ask => false,
        };
        if self.waiting.iter().any(is_meant) { self.end_load() } else { Ok(()) }
    }

    /// Ends a load with its child: between two looks at its cancel a load may read for minutes, and what it has read is of no
    /// use. Nobody is told that the child ended, as that was wished; the next request starts another.
    fn end_load(&mut self) -> Result<(), Gone> {
        self.end_child("loading the model was cancelled")
    }

    /// Ends the child as was wished; what it has not answered to the end fails with this reason.
    fn end_child(&mut self, reason: &str) -> Result<(), Gone> {
        if let Some(Running { mut process, .. }) = self.child.take() {
            process.end();
        }
        self.fail_all(reason)
    }

    /// Whether a question's turn comes only after a load: the worker does one request after another.
    fn waits_for_a_load(&self, id: u64) -> bool {
        let is_question = self.waiting.get(&id).is_some_and(|waiting| waiting.purpose == Purpose::Ask);
        is_question
            && self.waiting.iter().any(|(&other, waiting)| match waiting.purpose {
                Purpose::Ask => false,
                Purpose::Load => other < id,
                Purpose::LoadAgain(of) => of <= id,
            })
    }

    fn wait_for(&mut self, id: u64, purpose: Purpose) {
        self.waiting.insert(id, Waiting { purpose, overdue: None });
    }

    /// Sends a frame to the child, which is started first when there is none.
    fn send(&mut self, id: u64, frame: Result<Frame, frame::Error>, is_load: bool) -> Result<(), Gone> {
        if self.child.is_none() {
            let mut command = Command::new(&self.command.program);
            match FramedChild::start(command.args(&self.command.arguments), "worker") {
                Ok(process) => {
                    self.child = Some(Running { process, greeted: false, has_package: false });
                }
                Err(error) => {
                    let program = self.command.program.display();
                    return self
                        .fail(id, &format!("the model's program cannot be started: {error}: {program}"));
                }
            }
        }
        let Some(child) = &mut self.child else { return Ok(()) };
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return self.fail(id, &error.to_string()),
        };
        if child.process.send(frame) {
            child.has_package |= is_load;
            return Ok(());
        }
        // It has gone, which its events will tell, or does not read.
        self.fail(id, "the model's process takes no more requests")
    }

    /// The request has come to nothing, and so has the question that a load was for.
    fn fail(&mut self, id: u64, error: &str) -> Result<(), Gone> {
        let error = error.to_owned();
        match self.waiting.remove(&id).map(|waiting| waiting.purpose) {
            None => Ok(()),
            Some(Purpose::Load) => self.tell(WorkerEvent::LoadFailed { id, error }),
            Some(Purpose::LoadAgain(ask)) => {
                // The next question tries again.
                if let Some(child) = &mut self.child {
                    child.has_package = false;
                }
                self.tell(WorkerEvent::LoadFailed { id: ask, error: error.clone() })?;
                self.fail(ask, &error)
            }
            Some(Purpose::Ask) => self.tell(WorkerEvent::Answer { id, event: AskEvent::Failed { error } }),
        }
    }

    fn hear(&mut self, event: FromChild) -> Result<(), Gone> {
        match event {
            FromChild::Frame(frame) => match self.understand(&frame) {
                Ok(done) => done,
                Err(fault) => self.bury(Some(&fault)),
            },
            FromChild::Stray(line) => {
                self.tell(WorkerEvent::Warning(format!("the model's process wrote: {line}")))
            }
            FromChild::Ended(fault) => self.bury(fault.as_deref()),
        }
    }

    /// Passes an event on; an outer error says why the child is understood no more.
    fn understand(&mut self, frame: &Frame) -> Result<Result<(), Gone>, String> {
        let in_words = |error: frame::Error| error.to_string();
        let id = frame.id;
        if frame.kind == "hello" {
            let hello: Hello = frame.parse().map_err(in_words)?;
            if hello.protocol != PROTOCOL {
                let theirs = hello.protocol;
                return Err(format!("it speaks protocol {theirs} and this program speaks {PROTOCOL}"));
            }
            self.child.iter_mut().for_each(|child| child.greeted = true);
            return Ok(Ok(()));
        }
        if self.child.as_ref().is_some_and(|child| !child.greeted) {
            return Err(format!("it began with '{}' instead of hello", frame.kind));
        }
        let Some(purpose) = self.waiting.get(&id).map(|waiting| waiting.purpose) else { return Ok(Ok(())) };
        // A load that is repeated for a question is told under the question's id.
        let told_id = if let Purpose::LoadAgain(ask) = purpose { ask } else { id };
        let event = match (frame.kind.as_str(), purpose) {
            ("progress", _) => {
                WorkerEvent::Progress { id: told_id, progress: frame.parse().map_err(in_words)? }
            }
            ("loaded", _) => {
                self.waiting.remove(&id);
                WorkerEvent::Loaded { id: told_id, loaded: frame.parse().map_err(in_words)? }
            }
            ("failed", Purpose::Load | Purpose::LoadAgain(_)) => {
                let failure: LoadFailure = frame.parse().map_err(in_words)?;
                return Ok(self.fail(id, &failure.error));
            }
            ("inputs", _) => WorkerEvent::Inputs { id, images: inputs(frame)? },
            ("maps", _) => WorkerEvent::Maps { id, maps: maps(frame)? },
            (other, _) => {
                let event = AskEvent::from_frame(frame)
                    .ok_or_else(|| format!("it sent the unknown event '{other}'"))?
                    .map_err(in_words)?;
                if event.is_end() {
                    self.waiting.remove(&id);
                }
                WorkerEvent::Answer { id, event }
            }
        };
        Ok(self.tell(event))
    }

    fn end_overdue(&mut self) -> Result<(), Gone> {
        let now = Instant::now();
        if self.waiting.values().any(|w| w.overdue.is_some_and(|overdue| overdue <= now)) {
            return self.bury(Some("it did not stop when told to"));
        }
        Ok(())
    }

    /// Ends the child and fails all that it had to do.
    fn bury(&mut self, fault: Option<&str>) -> Result<(), Gone> {
        let Some(Running { mut process, .. }) = self.child.take() else { return Ok(()) };
        let reason = match fault {
            None => format!("the model's process ended ({})", process.status()),
            Some(fault) => {
                process.end();
                format!("the model's process was ended: {fault}")
            }
        };
        self.fail_all(&reason)?;
        self.tell(WorkerEvent::Ended(reason))
    }

    /// Fails all that the child had to do.
    fn fail_all(&mut self, reason: &str) -> Result<(), Gone> {
        // Loads first, as when a package is refused: a question that waited for one fails because of it.
        let mut ids: Vec<u64> = self.waiting.keys().copied().collect();
        ids.sort_by_key(|id| self.waiting.get(id).is_some_and(|waiting| waiting.purpose == Purpose::Ask));
        for id in ids {
            self.fail(id, reason)?;
        }
        Ok(())
    }
}

/// The pictures of an `inputs` event.
fn inputs(frame: &Frame) -> Result<Vec<(InputImage, Vec<u8>)>, String> {
    let heads: Vec<InputImage> = frame.parse().map_err(|error| error.to_string())?;
    let mut rest = frame.bytes.as_slice();
    let mut images = Vec::with_capacity(heads.len());
    for head in heads {
        let bytes = head.width as usize * head.height as usize * 3;
        let (rgb, after) = rest.split_at_checked(bytes).ok_or("it sent too few pixels")?;
        rest = after;
        images.push((head, rgb.to_vec()));
    }
    Ok(images)
}

/// The grids of a `maps` event.
fn maps(frame: &Frame) -> Result<Vec<(SentenceMap, Vec<f32>)>, String> {
    let heads: Vec<SentenceMap> = frame.parse().map_err(|error| error.to_string())?;
    let mut rest = frame.bytes.as_slice();
    let mut maps = Vec::with_capacity(heads.len());
    for head in heads {
        let bytes = head.rows.checked_mul(head.cols).and_then(|cells| cells.checked_mul(4));
        let (grid, after) =
            bytes.and_then(|bytes| rest.split_at_checked(bytes)).ok_or("it sent too few cells of a map")?;
        rest = after;
        let cells = grid.chunks_exact(4).map(|cell| f32::from_le_bytes([cell[0], cell[1], cell[2], cell[3]]));
        maps.push((head, cells.collect()));
    }
    Ok(maps)
}

#[cfg(test)]
mod tests {
    use reinpath_model::request::MapMethod;
    use reinpath_model::stage::AnswerStage;

    use super::*;

    fn head(rows: usize, cols: usize) -> SentenceMap {
        SentenceMap {
            stage: AnswerStage::Analysis,
            sentence: "Glands.".to_owned(),
            first_token: 1,
            tokens: 2,
            patch: 0,
            rows,
            cols,
            crop: [0.0, 0.0, 8.0, 8.0],
            method: MapMethod::Tam,
            fall: 1.5,
            random_fall: 0.5,
        }
    }

    #[test]
    fn a_load_is_cancelled_by_the_id_that_its_progress_is_told_with() {
        let (sender, told) = crossbeam_channel::bounded(8);
        let command = WorkerCommand { program: "true".into(), arguments: Vec::new() };
        let mut owner = Owner::new(command, Arc::default(), sender, Box::new(|| {}));
        owner.wait_for(7, Purpose::Ask);
        assert!(owner.cancel_load(7).is_ok() && told.is_empty(), "the question is no load");
        owner.wait_for(8, Purpose::LoadAgain(7));
        assert!(owner.cancel_load(7).is_ok());
        let told: Vec<WorkerEvent> = told.try_iter().collect();
        let [WorkerEvent::LoadFailed { id: 7, .. }, WorkerEvent::Answer { id: 7, event }] = told.as_slice()
        else {
            panic!("{told:?}")
        };
        assert!(matches!(event, AskEvent::Failed { .. }) && owner.waiting.is_empty());
        assert!(owner.cancel_load(7).is_ok());
    }

    #[test]
    fn grids_are_read_one_after_the_other_and_false_sizes_are_refused() {
        let values = [0.0f32, 0.25, 1.0];
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let frame = |heads: &[SentenceMap]| Frame::new(1, "maps", &heads).unwrap().with_bytes(bytes.clone());
        let read = maps(&frame(&[head(1, 2), head(1, 1)])).unwrap();
        assert_eq!(read, [(head(1, 2), vec![0.0, 0.25]), (head(1, 1), vec![1.0])]);
        for wrong in [head(2, 2), head(usize::MAX, usize::MAX), head(usize::MAX / 4, 2)] {
            assert!(maps(&frame(&[wrong])).is_err());
        }
    }
}
