//! The thread that owns a slide's reading process: what is sent when, how long is waited, and what follows a death.
//!
//! Only a few requests are in the child at a time (so that a cancelled one is hardly ever decoded), tiles newest first.
//! A child that dies or hangs fails what it was reading; it is started again once, and after its second death the slide is dead.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, select};

use super::child::{FromChild, RunningChild, ServerCommand, protocol_fault};
use super::protocol::Answer;
use super::server::threads;
use super::{Error, Request, SlideInfo, SlideReply};

/// Requests in the child for each of its threads: one being decoded and one waiting.
const IN_FLIGHT: usize = 2;
/// A request may take this many times the patience when the child shows life by answering others.
const LONGEST_WAIT: u32 = 3;
/// How soon a reply is offered again to a receiver whose channel was full.
const RETRY: Duration = Duration::from_millis(5);
const RESTARTS: u32 = 1;

/// How to start the reading process of one slide.
pub(super) struct Start {
    pub command: ServerCommand,
    pub path: PathBuf,
    pub patience: Duration,
}

/// How many requests are in a child at the most.
pub(super) fn in_flight() -> usize {
    IN_FLIGHT * threads()
}

/// A request and where its answer goes.
pub(super) struct Wish {
    pub id: u64,
    pub request: Request,
    pub cancelled: Arc<AtomicBool>,
    pub reply: ReplyTo,
}

/// Who waits for an answer.
pub(super) enum ReplyTo {
    Pixels(Sender<SlideReply>),
    /// Of a channel that has room for it.
    Profile(Sender<Result<Option<Vec<u8>>, Error>>),
}

impl Wish {
    /// Gives the answer to who waits for it; returns it when there is no room. Nobody may be there to receive it, which is their business.
    fn answer(
        &self,
        result: Result<Answer, Error>,
        path: &std::path::Path,
    ) -> Result<(), Result<Answer, Error>> {
        // A child that answers something else is no child of ours.
        let confused = || Error::Start {
            reason: "it answered something else than it was asked".to_string(),
            path: path.to_path_buf(),
        };
        match &self.reply {
            ReplyTo::Pixels(sender) => {
                let result = result.and_then(|answer| match answer {
                    Answer::Pixels(pixels) => Ok(pixels),
                    Answer::Profile(_) => Err(confused()),
                });
                let reply = SlideReply { id: self.id, request: self.request.clone(), result };
                match sender.try_send(reply) {
                    Err(TrySendError::Full(reply)) => Err(reply.result.map(Answer::Pixels)),
                    Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
                }
            }
            ReplyTo::Profile(sender) => {
                let result = result.and_then(|answer| match answer {
                    Answer::Profile(profile) => Ok(profile),
                    Answer::Pixels(_) => Err(confused()),
                });
                drop(sender.try_send(result));
                Ok(())
            }
        }
    }
}

/// Starts a child and waits until it has opened the slide.
pub(super) fn start_child(start: &Start) -> Result<(RunningChild, SlideInfo), Error> {
    let path = || start.path.clone();
    let place = || "its properties".to_string();
    let failed_to_start = |reason: String| Error::Start { reason, path: path() };
    let mut child = RunningChild::start(&start.command, &start.path)
        .map_err(|error| failed_to_start(error.to_string()))?;
    loop {
        match child.events.recv_timeout(start.patience) {
            Ok(FromChild::Hello(hello)) => {
                if let Some(fault) = protocol_fault(&hello) {
                    return Err(failed_to_start(fault));
                }
            }
            Ok(FromChild::Opened(mut info)) => {
                info.path = path();
                return Ok((child, *info));
            }
            Ok(FromChild::Failed { failure, .. }) => return Err(failure.into_error(path())),
            Ok(FromChild::Progress { .. } | FromChild::Answer { .. }) => {}
            Ok(FromChild::Ended(Some(fault))) => return Err(failed_to_start(fault)),
            Ok(FromChild::Ended(None)) | Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::Crashed { place: place(), status: child.end(), path: path() });
            }
            Err(RecvTimeoutError::Timeout) => {
                return Err(Error::Hung { place: place(), seconds: start.patience.as_secs(), path: path() });
            }
        }
    }
}

/// State of the owner thread.
pub(super) struct Owner {
    start: Start,
    child: Option<RunningChild>,
    /// The slide's hash when it was first opened.
    hash: String,
    restarts: u32,
    wishes: Receiver<Wish>,
    patches: VecDeque<Wish>,
    tiles: VecDeque<Wish>,
    in_flight: Vec<(Wish, Instant)>,
    last_sign_of_life: Instant,
    /// Replies that their receivers have had no room for.
    outbox: VecDeque<(Wish, Result<Answer, Error>)>,
}

enum News {
    Wish(Wish),
    FromChild(FromChild),
    /// Every handle has been dropped.
    Closed,
    Nothing,
}

impl Owner {
    pub(super) fn new(start: Start, child: RunningChild, hash: String, wishes: Receiver<Wish>) -> Self {
        Self {
            start,
            child: Some(child),
            hash,
            restarts: 0,
            wishes,
            patches: VecDeque::new(),
            tiles: VecDeque::new(),
            in_flight: Vec::new(),
            last_sign_of_life: Instant::now(),
            outbox: VecDeque::new(),
        }
    }

    pub(super) fn run(mut self) {
        loop {
            self.deliver();
            self.send_waiting();
            match self.wait() {
                News::Wish(wish) => self.accept(wish),
                News::FromChild(event) => self.handle(event),
                News::Closed => return,
                News::Nothing => {}
            }
            self.check_patience();
        }
    }

    fn wait(&self) -> News {
        let never = crossbeam_channel::never();
        let events = self.child.as_ref().map_or(&never, |child| &child.events);
        let timeout = self.time_left();
        select! {
            recv(self.wishes) -> wish => wish.map_or(News::Closed, News::Wish),
            recv(events) -> event => News::FromChild(event.unwrap_or(FromChild::Ended(None))),
            default(timeout) => News::Nothing,
        }
    }

    fn time_left(&self) -> Duration {
        if !self.outbox.is_empty() {
            return RETRY;
        }
        let patience = self.start.patience;
        self.in_flight
            .iter()
            .map(|(_, sent)| self.deadline(*sent).saturating_duration_since(Instant::now()))
            .min()
            .unwrap_or(patience)
            .min(patience)
    }

    /// A request is overdue when the child has shown no life for the patience since it was sent, or after thrice that in any case.
    fn deadline(&self, sent: Instant) -> Instant {
        let patience = self.start.patience;
        (sent.max(self.last_sign_of_life) + patience).min(sent + patience * LONGEST_WAIT)
    }

    fn accept(&mut self, wish: Wish) {
        match wish.request {
            Request::Tile(_) => self.tiles.push_back(wish),
            _ => self.patches.push_back(wish),
        }
    }

    fn next(&mut self) -> Option<Wish> {
        while let Some(wish) = self.patches.pop_front().or_else(|| self.tiles.pop_back()) {
            if !wish.cancelled.load(Ordering::Relaxed) {
                return Some(wish);
            }
        }
        None
    }

    fn send_waiting(&mut self) {
        // Wishes that have just come may be newer than the ones waiting, or take them back.
        while let Ok(wish) = self.wishes.try_recv() {
            self.accept(wish);
        }
        while self.outbox.is_empty() && self.in_flight.len() < in_flight() {
            let Some(wish) = self.next() else { return };
            if let Err(error) = self.ensure_child() {
                self.outbox.push_back((wish, Err(error)));
                self.deliver();
                continue;
            }
            let Some(child) = &mut self.child else { continue };
            let sent = child.request(wish.id, &wish.request).is_ok();
            if self.in_flight.is_empty() {
                self.last_sign_of_life = Instant::now();
            }
            self.in_flight.push((wish, Instant::now()));
            if !sent {
                self.bury(false);
            }
        }
    }

    fn ensure_child(&mut self) -> Result<(), Error> {
        if self.child.is_some() {
            return Ok(());
        }
        let path = || self.start.path.clone();
        if self.restarts >= RESTARTS {
            return Err(Error::Dead { path: path() });
        }
        self.restarts += 1;
        let (child, info) = start_child(&self.start)?;
        if info.hash != self.hash {
            self.restarts = RESTARTS;
            return Err(Error::File {
                reason: "it has changed since it was opened".to_string(),
                path: path(),
            });
        }
        self.child = Some(child);
        Ok(())
    }

    fn handle(&mut self, event: FromChild) {
        self.last_sign_of_life = Instant::now();
        match event {
            FromChild::Answer { id, answer } => self.finish(id, Ok(answer)),
            FromChild::Failed { id, failure } => {
                let error = failure.into_error(self.start.path.clone());
                self.finish(id, Err(error));
            }
            FromChild::Ended(fault) => {
                if let Some(fault) = fault {
                    tracing::warn!("the slide server was understood no more: {fault}");
                }
                self.bury(false);
            }
            FromChild::Progress { id } => {
                for (_, sent) in self.in_flight.iter_mut().filter(|(wish, _)| wish.id == id) {
                    *sent = Instant::now();
                }
            }
            FromChild::Hello(_) | FromChild::Opened(_) => {}
        }
    }

    fn finish(&mut self, id: u64, result: Result<Answer, Error>) {
        if let Some(index) = self.in_flight.iter().position(|(wish, _)| wish.id == id) {
            let (wish, _) = self.in_flight.swap_remove(index);
            self.outbox.push_back((wish, result));
        }
    }

    fn check_patience(&mut self) {
        let now = Instant::now();
        if self.in_flight.iter().any(|(_, sent)| self.deadline(*sent) <= now) {
            self.bury(true);
        }
    }

    /// Ends the child and fails all that it was reading: which of them it died of cannot be known.
    fn bury(&mut self, hung: bool) {
        let Some(mut child) = self.child.take() else { return };
        let status = child.end();
        let (path, seconds) = (self.start.path.clone(), self.start.patience.as_secs());
        for (wish, _) in self.in_flight.drain(..) {
            let (place, path) = (wish.request.to_string(), path.clone());
            let error = if hung {
                Error::Hung { place, seconds, path }
            } else {
                Error::Crashed { place, status: status.clone(), path }
            };
            self.outbox.push_back((wish, Err(error)));
        }
    }

    fn deliver(&mut self) {
        while let Some((wish, result)) = self.outbox.pop_front() {
            if wish.cancelled.load(Ordering::Relaxed) {
                continue;
            }
            if let Err(result) = wish.answer(result, &self.start.path) {
                self.outbox.push_front((wish, result));
                return;
            }
        }
    }
}
