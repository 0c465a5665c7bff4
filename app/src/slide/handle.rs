//! The window's and the command line's hold on an open slide: ask for pixels, get replies, drop to cancel.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Builder;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::child::ServerCommand;
use super::direct::Structure;
use super::owner::{Owner, ReplyTo, Start, Wish, in_flight, start_child};
use super::server::threads;
use super::{DirectTiles, Error, Pixels, Region, Request, SlideInfo, SlideReply, TileGrid, TileId};

/// How long the reading process may give no sign of life while it is asked for something.
const PATIENCE: Duration = Duration::from_secs(5);
/// Requests that wait for the owner thread.
const WAITING_WISHES: usize = 1024;
/// How long the file's structure is waited for once the slide is open: both are read at the same time.
const STRUCTURE_WAIT: Duration = Duration::from_secs(2);

/// An open slide. Clones share one reading process, which ends with the last of them.
#[derive(Clone)]
pub struct SlideHandle {
    shared: Arc<Shared>,
}

struct Shared {
    info: SlideInfo,
    direct: Option<Arc<DirectTiles>>,
    grid: TileGrid,
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

    /// A ticket of a source that a test drives by hand, and what tells that it was dropped.
    #[cfg(test)]
    pub(crate) fn of(id: u64) -> (Self, Arc<AtomicBool>) {
        let cancelled = Arc::new(AtomicBool::new(false));
        (Self { id, cancelled: Arc::clone(&cancelled) }, cancelled)
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
        let structure = read_structure(&start.path);
        let (child, info) = start_child(&start)?;
        let direct = structure
            .and_then(|structure| structure.recv_timeout(STRUCTURE_WAIT).ok().flatten())
            .and_then(|structure| DirectTiles::of(structure, &start.path, &info))
            .map(Arc::new);
        let grid = direct.as_ref().map_or_else(|| TileGrid::of(&info), |direct| direct.grid().clone());
        let (wishes, waiting) = bounded(WAITING_WISHES);
        let path = start.path.clone();
        let owner = Owner::new(start, child, info.hash.clone(), waiting);
        let started = Builder::new().name("slide-owner".to_string()).spawn(move || owner.run());
        started.map_err(|error| Error::Start { reason: error.to_string(), path })?;
        Ok(Self { shared: Arc::new(Shared { info, direct, grid, wishes, next_id: AtomicU64::new(1) }) })
    }

    /// Everything about the slide but its pixels.
    pub fn info(&self) -> &SlideInfo {
        &self.shared.info
    }

    /// How each level is cut into cells for display.
    pub fn grid(&self) -> &TileGrid {
        &self.shared.grid
    }

    /// The file's own tiles, where this process reads and decodes them.
    pub fn direct(&self) -> Option<&Arc<DirectTiles>> {
        self.shared.direct.as_ref()
    }

    /// How many requests the reading process holds at a time: more of them wait outside, where they can still be taken back.
    pub(crate) fn most_in_flight() -> usize {
        in_flight()
    }

    /// How many requests for what is not needed yet the reading process should hold at a time: half of its threads stay free.
    pub(crate) fn most_read_ahead() -> usize {
        threads() / 2
    }

    /// The bytes of the slide's ICC colour profile, at most 16 MiB; `None` when it has none. Waits for them.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn icc_profile(&self) -> Result<Option<Vec<u8>>, Error> {
        let (reply, replies) = bounded(1);
        let (wish, _ticket) = self.wish(Request::IccProfile, ReplyTo::Profile(reply));
        let sent = self.shared.wishes.send(wish).ok();
        let answer = sent.and_then(|()| replies.recv().ok());
        answer.unwrap_or_else(|| Err(Error::Dead { path: self.path() }))
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
        let (wish, ticket) = self.wish(request, ReplyTo::Pixels(reply.clone()));
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
        let (wish, _ticket) = self.wish(request, ReplyTo::Pixels(reply));
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
            Request::IccProfile => Err(Error::BadRequest {
                place: request.to_string(),
                reason: "a colour profile has no pixels".to_string(),
                path: self.path(),
            }),
            _ => Ok(()),
        }
    }

    fn wish(&self, request: Request, reply: ReplyTo) -> (Wish, Ticket) {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let cancelled = Arc::new(AtomicBool::new(false));
        (Wish { id, request, cancelled: Arc::clone(&cancelled), reply }, Ticket { id, cancelled })
    }

    fn path(&self) -> PathBuf {
        self.shared.info.path.clone()
    }
}

/// Reads the structure of the file in a thread of its own: a drive that does not answer keeps nobody waiting but that thread.
fn read_structure(path: &Path) -> Option<Receiver<Option<Structure>>> {
    let (sender, receiver) = bounded(1);
    let path = path.to_path_buf();
    let reader = Builder::new().name("slide-structure".to_string()).spawn(move || {
        // The slide may not have opened: then nobody waits.
        drop(sender.send(Structure::read(&path)));
    });
    reader.is_ok().then_some(receiver)
}

impl std::fmt::Debug for SlideHandle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("SlideHandle").field(&self.shared.info.path).finish()
    }
}
