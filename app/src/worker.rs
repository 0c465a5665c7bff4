//! The window's and the command line's hold on a model: a `reinpath-worker` child, started when needed and again when it
//! died, which then loads the same package once more.
//!
//! One thread owns the child; requests go to it over a bounded channel, events come back over another, each with the
//! id of its request. Dropping the handle ends the child. What an answer is made of is in the crate `reinpath-model`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use reinpath_model::event::AskEvent;
use reinpath_model::frame::{self, Frame};
use reinpath_model::request::{Ask, Cancel, Hello, InputImage, Load, Loaded, PROTOCOL, Progress};
use serde::Deserialize;

use crate::child::{FramedChild, FromChild};
use crate::places;

/// Events that wait for the window to take them.
const WAITING_EVENTS: usize = 1024;
/// Requests that wait for the owner thread.
const WAITING_REQUESTS: usize = 64;
/// A worker that goes on for so long after it was told to stop is ended.
const PATIENCE_WITH_CANCEL: Duration = Duration::from_secs(5);
/// How often overdue cancels are looked for.
const LOOK: Duration = Duration::from_millis(200);

/// A worker that cannot be started or takes no more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the worker's command line cannot be split into words: {0}")]
    Words(String),
    #[error(transparent)]
    Place(#[from] places::Error),
    #[error("the thread of the model's process cannot be started: {0}")]
    Thread(std::io::Error),
    #[error("the model's process has too much to do")]
    Busy,
}

/// How to start a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerCommand {
    pub program: PathBuf,
    pub arguments: Vec<String>,
}

impl WorkerCommand {
    /// The worker of this installation, or a user's command line, split into words without a shell.
    pub fn new(command: Option<&str>) -> Result<Self, Error> {
        let Some(line) = command else {
            return Ok(Self { program: places::program("reinpath-worker")?, arguments: Vec::new() });
        };
        let mut words = shlex::split(line).unwrap_or_default().into_iter();
        let program = words.next().ok_or_else(|| Error::Words(line.to_owned()))?;
        Ok(Self { program: program.into(), arguments: words.collect() })
    }
}

/// What happens to requests. Ids are those that [`Worker`] returned for them.
#[derive(Clone, Debug, PartialEq)]
pub enum WorkerEvent {
    /// Of a load, be it asked for or repeated for a question after the worker died.
    Progress {
        id: u64,
        progress: Progress,
    },
    Loaded {
        id: u64,
        loaded: Loaded,
    },
    LoadFailed {
        id: u64,
        error: String,
    },
    /// The pixels as each encoder receives them, when a question asked for them.
    Inputs {
        id: u64,
        images: Vec<(InputImage, Vec<u8>)>,
    },
    /// Of a question; the last one is `finished` or `failed`.
    Answer {
        id: u64,
        event: AskEvent,
    },
    /// Something to show that ends nothing.
    Warning(String),
    /// The process ended, in words; what it was doing has failed already. The next question starts a new one.
    Ended(String),
}

/// A model behind a process. Dropping it ends the process and waits for that, which takes a moment at most.
#[derive(Debug)]
pub struct Worker {
    requests: Sender<Wish>,
    events: Receiver<WorkerEvent>,
    next_id: Arc<AtomicU64>,
    owner: Option<JoinHandle<()>>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The owner ends when both channels have lost their other end.
        self.requests = bounded(0).0;
        self.events = crossbeam_channel::never();
        if self.owner.take().is_some_and(|owner| owner.join().is_err()) {
            tracing::error!("the thread of the model's process panicked");
        }
    }
}

enum Wish {
    Load { id: u64, load: Load },
    Ask { id: u64, ask: Box<Ask>, pixels: Vec<u8> },
    Cancel { id: u64 },
}

impl Worker {
    /// A worker that is started with the first request. `wake` is called after each event, so that a window can draw.
    pub fn start(command: Option<&str>, wake: impl Fn() + Send + 'static) -> Result<Self, Error> {
        let command = WorkerCommand::new(command)?;
        let (requests, wishes) = bounded(WAITING_REQUESTS);
        let (sender, events) = bounded(WAITING_EVENTS);
        let next_id = Arc::new(AtomicU64::new(1));
        let owner = Owner {
            command,
            child: None,
            package: None,
            waiting: BTreeMap::new(),
            next_id: Arc::clone(&next_id),
            events: sender,
            wake: Box::new(wake),
        };
        let owner = Builder::new()
            .name("worker-owner".to_owned())
            .spawn(move || owner.run(&wishes))
            .map_err(Error::Thread)?;
        Ok(Self { requests, events, next_id, owner: Some(owner) })
    }

    /// Loads a package, which every later question is answered with; returns the id of the request.
    pub fn load(&self, load: Load) -> Result<u64, Error> {
        let id = self.new_id();
        self.wish(Wish::Load { id, load })?;
        Ok(id)
    }

    /// Asks; `pixels` are the RGB rows of all patches in order. Returns the id of the request.
    pub fn ask(&self, ask: Ask, pixels: Vec<u8>) -> Result<u64, Error> {
        let id = self.new_id();
        self.wish(Wish::Ask { id, ask: Box::new(ask), pixels })?;
        Ok(id)
    }

    /// Stops a request; it still gets its last event.
    pub fn cancel(&self, id: u64) -> Result<(), Error> {
        self.wish(Wish::Cancel { id })
    }

    /// What happens; to be taken regularly, as a full channel holds the worker back.
    pub fn events(&self) -> &Receiver<WorkerEvent> {
        &self.events
    }

    fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    fn wish(&self, wish: Wish) -> Result<(), Error> {
        self.requests.try_send(wish).map_err(|_full_or_gone| Error::Busy)
    }
}

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
struct Owner {
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
    fn run(mut self, wishes: &Receiver<Wish>) {
        loop {
            let of_child = self.child.as_ref().map(|child| child.process.events.clone());
            let events = of_child.unwrap_or_else(crossbeam_channel::never);
            let done = select! {
                recv(wishes) -> wish => match wish {
                    Ok(wish) => self.fulfil(wish),
                    Err(_closed) => return,
                },
                recv(events) -> event => self.hear(event.unwrap_or(FromChild::Ended(None))),
                default(LOOK) => self.end_overdue(),
            };
            if done.is_err() {
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
            Wish::Cancel { id } => {
                if self.child.is_none() {
                    return Ok(());
                }
                let Some(waiting) = self.waiting.get_mut(&id) else { return Ok(()) };
                waiting.overdue.get_or_insert_with(|| Instant::now() + PATIENCE_WITH_CANCEL);
                let again =
                    self.waiting.iter().find(|(_, w)| w.purpose == Purpose::LoadAgain(id)).map(|(&i, _)| i);
                for id in [Some(id), again].into_iter().flatten() {
                    self.send(id, Frame::new(id, "cancel", &Cancel { id }), false)?;
                }
                Ok(())
            }
        }
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
        while let Some((&id, _)) = self.waiting.first_key_value() {
            self.fail(id, &reason)?;
        }
        self.tell(WorkerEvent::Ended(reason))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_split_into_words_without_a_shell() {
        let command = WorkerCommand::new(Some("ssh 'my server' reinpath-worker --device cuda; rm")).unwrap();
        assert_eq!(command.program, PathBuf::from("ssh"));
        assert_eq!(command.arguments, ["my server", "reinpath-worker", "--device", "cuda;", "rm"]);
        assert!(WorkerCommand::new(Some("")).is_err() && WorkerCommand::new(Some("a 'b")).is_err());
    }
}
