//! The window's and the command line's hold on an open slide: ask for pixels, get replies, drop to cancel.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Builder;
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError, bounded};

use super::child::ServerCommand;
use super::owner::{Owner, Start, Wish, start_child};
use super::{Error, Pixels, Region, Request, SlideInfo, SlideReply, TileId};

/// How long the reading process may give no sign of life while it is asked for something.
const PATIENCE: Duration = Duration::from_secs(5);
/// Requests that wait for the owner thread.
const WAITING_WISHES: usize = 1024;

/// An open slide. Clones share one reading process, which ends with the last of them.
#[derive(Clone)]
pub struct SlideHandle {
    shared: Arc<Shared>,
}

struct Shared {
    info: SlideInfo,
    wishes: Sender<Wish>,
    next_id: AtomicU64,
}

/// A request that was sent without waiting. Dropping it cancels the request: its reply is not delivered, and if it
/// has not reached the reading process yet it is never decoded.
#[must_use = "dropping the ticket cancels the request"]
#[derive(Debug)]
pub struct Ticket {
    id: u64,
    cancelled: Arc<AtomicBool>,
}

impl Ticket {
    /// The number that the [`SlideReply`] repeats.
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

impl SlideHandle {
    /// Opens the slide at `path` in a child process; blocks until it is open, for 5 s without a sign of life at the most.
    ///
    /// # Errors
    /// What the file is instead of a slide, or why the child gave no answer.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let command = ServerCommand::own()
            .map_err(|error| Error::Start { reason: error.to_string(), path: path.to_path_buf() })?;
        Self::start(Start { command, path: path.to_path_buf(), patience: PATIENCE })
    }

    /// Opens a slide with another reading process than this program: `program arguments… path`, killed after `patience`
    /// without a sign of life. Tests drive hanging and crashing ones with it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with_command(
        program: impl Into<PathBuf>,
        arguments: &[OsString],
        path: impl AsRef<Path>,
        patience: Duration,
    ) -> Result<Self, Error> {
        let command = ServerCommand { program: program.into(), arguments: arguments.to_vec() };
        Self::start(Start { command, path: path.as_ref().to_path_buf(), patience })
    }

    fn start(start: Start) -> Result<Self, Error> {
        let (child, info) = start_child(&start)?;
        let (wishes, waiting) = bounded(WAITING_WISHES);
        let path = start.path.clone();
        let owner = Owner::new(start, child, info.hash.clone(), waiting);
        let started = Builder::new().name("slide-owner".to_string()).spawn(move || owner.run());
        started.map_err(|error| Error::Start { reason: error.to_string(), path })?;
        Ok(Self { shared: Arc::new(Shared { info, wishes, next_id: AtomicU64::new(1) }) })
    }

    /// Everything about the slide but its pixels.
    pub fn info(&self) -> &SlideInfo {
        &self.shared.info
    }

    /// Asks for pixels without waiting; the reply goes to `reply`, if the ticket still lives then.
    ///
    /// Tiles are read newest first, everything else before any tile and in the order asked. A full `reply` channel delays
    /// all replies of this slide until it is drained.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when more requests wait than the queue holds, [`Error::Dead`] when nothing can be read any more.
    pub fn request(&self, request: Request, reply: &Sender<SlideReply>) -> Result<Ticket, Error> {
        self.check(&request)?;
        let (wish, ticket) = self.wish(request, reply);
        match self.shared.wishes.try_send(wish) {
            Ok(()) => Ok(ticket),
            Err(TrySendError::Full(wish)) => {
                Err(Error::Cancelled { place: wish.request.to_string(), path: self.path() })
            }
            Err(TrySendError::Disconnected(_)) => Err(Error::Dead { path: self.path() }),
        }
    }

    /// Asks for pixels and waits for them.
    ///
    /// # Errors
    /// Why they cannot be read; the handle stays usable unless it is [`Error::Dead`].
    pub fn read(&self, request: Request) -> Result<Pixels, Error> {
        self.check(&request)?;
        let (reply, replies) = bounded(1);
        let (wish, _ticket) = self.wish(request, &reply);
        drop(reply);
        // The owner answers every wish: its patience with the reading process is the time limit.
        let sent = self.shared.wishes.send(wish).ok();
        let answer = sent.and_then(|()| replies.recv().ok());
        answer.map_or_else(|| Err(Error::Dead { path: self.path() }), |reply| reply.result)
    }

    /// A tile for display; see [`Request::Tile`].
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_tile(&self, tile: TileId) -> Result<Pixels, Error> {
        self.read(Request::Tile(tile))
    }

    /// `w` × `h` pixels of `level` from (`x`, `y`) in level-0 pixels; the background colour outside the slide.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_region(&self, level: u32, x: i64, y: i64, w: u32, h: u32) -> Result<Pixels, Error> {
        self.read(Request::Region { level, x, y, w, h })
    }

    /// A region at a wanted scale; with the slide's mpp missing, or without a wish, level-0 pixels as they are
    /// ([`Pixels::mpp`] says what came of it).
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_at_mpp(&self, region: Region, mpp: Option<f64>) -> Result<Pixels, Error> {
        self.read(Request::AtMpp { region, mpp })
    }

    /// A label, macro or thumbnail by name.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_associated(&self, name: &str) -> Result<Pixels, Error> {
        self.read(Request::Associated { name: name.to_string() })
    }

    /// A scale that is no number would reach the child as no scale at all: JSON has no word for it.
    fn check(&self, request: &Request) -> Result<(), Error> {
        match request {
            Request::AtMpp { mpp: Some(mpp), .. } if !mpp.is_finite() || *mpp <= 0.0 => {
                Err(Error::BadRequest {
                    place: request.to_string(),
                    reason: "microns per pixel must be more than 0".to_string(),
                    path: self.path(),
                })
            }
            _ => Ok(()),
        }
    }

    fn wish(&self, request: Request, reply: &Sender<SlideReply>) -> (Wish, Ticket) {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let cancelled = Arc::new(AtomicBool::new(false));
        (
            Wish { id, request, cancelled: Arc::clone(&cancelled), reply: reply.clone() },
            Ticket { id, cancelled },
        )
    }

    fn path(&self) -> PathBuf {
        self.shared.info.path.clone()
    }
}

impl std::fmt::Debug for SlideHandle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("SlideHandle").field(&self.shared.info.path).finish()
    }
}
