//! The window's and the command line's hold on a model: a `reinpath-worker` child, started when needed and again when it
//! died, which then loads the same package once more.
//!
//! One thread owns the child (`owner.rs`); requests go to it over a bounded channel, events come back over another, each
//! with the id of its request. Dropping the handle ends the child. What an answer is made of is in the crate
//! `reinpath-model`.

mod owner;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use reinpath_model::event::AskEvent;
use reinpath_model::request::{Ask, InputImage, Load, Loaded, Progress, SentenceMap};

use self::owner::Owner;
use crate::places;

/// Events that wait for the window to take them.
const WAITING_EVENTS: usize = 1024;
/// Requests that wait for the owner thread.
const WAITING_REQUESTS: usize = 64;

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
    /// Of a load, as `Progress`; a question that a load was repeated for fails next.
    LoadFailed {
        id: u64,
        error: String,
    },
    /// The pixels as each encoder receives them, when a question asked for them.
    Inputs {
        id: u64,
        images: Vec<(InputImage, Vec<u8>)>,
    },
    /// Where each sentence looks, when a question asked for it: grids row by row, from 0 to 1.
    Maps {
        id: u64,
        maps: Vec<(SentenceMap, Vec<f32>)>,
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
    CancelLoad { id: u64 },
    Release,
}

impl Worker {
    /// A worker that is started with the first request. `wake` is called after each event, so that a window can draw.
    pub fn start(command: Option<&str>, wake: impl Fn() + Send + 'static) -> Result<Self, Error> {
        let command = WorkerCommand::new(command)?;
        let (requests, wishes) = bounded(WAITING_REQUESTS);
        let (sender, events) = bounded(WAITING_EVENTS);
        let next_id = Arc::new(AtomicU64::new(1));
        let owner = Owner::new(command, Arc::clone(&next_id), sender, Box::new(wake));
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

    /// Stops a request; it still gets its last event. With a load ends the process, and with that the questions that wait
    /// for the load; the next request starts another.
    pub fn cancel(&self, id: u64) -> Result<(), Error> {
        self.wish(Wish::Cancel { id })
    }

    /// Ends the load whose progress is told with this id, its own or that of a question that it is repeated for, with the
    /// process and the questions that wait for it. A load that has come to its end stays.
    pub fn cancel_load(&self, id: u64) -> Result<(), Error> {
        self.wish(Wish::CancelLoad { id })
    }

    /// Ends the process, and with it the memory that its model takes; nothing is told of it. Requests that it has not
    /// answered to the end fail; the next one starts another process.
    pub fn release(&self) -> Result<(), Error> {
        self.wish(Wish::Release)
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
