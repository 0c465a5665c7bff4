//! A thread that owns a store, and the handle by which it is given jobs: nobody waits for it, what it has no room for waits with the
//! handle, and what cannot be done now is tried again. When the handle is dropped, the thread does what is left, for two seconds at most.

use std::collections::VecDeque;
use std::thread::Builder;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use super::Error;

/// Jobs that wait for the thread; more wait with whoever offers them.
const MOST_JOBS: usize = 1024;
/// Until what failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the program's end waits for the last changes.
const LAST: Duration = Duration::from_secs(2);

/// What the thread works with.
pub(super) trait Owner: Send + 'static {
    type Job: Send + 'static;

    /// Notes what is to be done.
    fn take(&mut self, job: Self::Job);

    /// Does all that is to be done; what fails stays to be done, and is tried again.
    fn carry_out(&mut self) -> Result<(), Error>;

    /// Says that something waits; once for each error.
    fn tell_waiting(&self, error: &Error);
}

/// The thread's handle.
pub(super) struct Jobs<J> {
    /// What is lost where the thread takes too long, in the log: `annotations`.
    what: &'static str,
    /// `None` while it is dropped.
    sender: Option<Sender<J>>,
    /// What the thread had no room for.
    backlog: VecDeque<J>,
    /// Ends with the thread.
    end: Receiver<()>,
}

impl<J: Send + 'static> Jobs<J> {
    /// Starts a thread of this name.
    pub(super) fn start<O: Owner<Job = J>>(
        name: &str,
        what: &'static str,
        owner: O,
    ) -> std::io::Result<Self> {
        let (jobs, incoming) = bounded(MOST_JOBS);
        let (alive, end) = bounded(0);
        Builder::new().name(name.to_owned()).spawn(move || {
            run(owner, &incoming);
            drop(alive);
        })?;
        Ok(Self { what, sender: Some(jobs), backlog: VecDeque::new(), end })
    }

    /// Gives the thread something to do, after all that it was given before.
    pub(super) fn offer(&mut self, job: J) {
        self.backlog.push_back(job);
        self.flush();
    }

    /// Offers again what the thread had no room for.
    pub(super) fn flush(&mut self) {
        let Some(jobs) = &self.sender else { return };
        while let Some(job) = self.backlog.pop_front() {
            if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) = jobs.try_send(job) {
                self.backlog.push_front(job);
                return;
            }
        }
    }
}

impl<J> Drop for Jobs<J> {
    fn drop(&mut self) {
        let until = Instant::now() + LAST;
        if let Some(jobs) = self.sender.take() {
            for job in self.backlog.drain(..) {
                // A thread that takes nothing for that long will not keep the rest either.
                if let Err(error) = jobs.send_deadline(job, until) {
                    tracing::error!("some {} could not be handed to the store: {error}", self.what);
                    break;
                }
            }
        }
        // The thread keeps what it has and goes.
        if let Err(RecvTimeoutError::Timeout) = self.end.recv_deadline(until) {
            tracing::error!("the store takes too long to keep the last {}", self.what);
        }
    }
}

fn run<O: Owner>(mut owner: O, jobs: &Receiver<O::Job>) {
    let mut said: Option<Error> = None;
    loop {
        let is_waiting = said.is_some();
        let first =
            if is_waiting { jobs.recv_timeout(AGAIN) } else { jobs.recv().map_err(RecvTimeoutError::from) };
        let is_last = matches!(first, Err(RecvTimeoutError::Disconnected));
        first.into_iter().chain(jobs.try_iter()).for_each(|job| owner.take(job));
        match owner.carry_out() {
            Ok(()) => said = None,
            Err(error) => {
                if said.as_ref() != Some(&error) {
                    owner.tell_waiting(&error);
                }
                said = Some(error);
            }
        }
        if is_last {
            return;
        }
    }
}
