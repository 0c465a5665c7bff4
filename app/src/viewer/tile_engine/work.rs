//! The engine's threads: some wait for the disk, some decode, and one for each slide listens to its child process.

use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Builder};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::super::tile_cache::SlideKey;
use super::super::tile_pixels::TilePixels;
use super::queue::{Batch, Origin, Queue, Unit};
use super::{Arrived, EngineSettings, Wake};
use crate::slide::{DecodedTile, Error, SlideReply, TILE_PX, TileGrid, TileId, spare};
use crate::{allocator, priority};

/// Answers of a child that wait to be prepared.
const MOST_REPLIES: usize = 32;

/// What the threads share.
pub(super) struct Shared {
    queue: Mutex<Queue>,
    /// There is something to be read, or room for it.
    readable: Condvar,
    /// There is something to be decoded, or room for it.
    decodable: Condvar,
    settings: EngineSettings,
    wake: Wake,
}

impl Shared {
    pub(super) fn new(mut settings: EngineSettings, wake: Wake) -> Self {
        if settings.decoders == 0 {
            settings.decoders = thread::available_parallelism().map_or(2, NonZeroUsize::get);
        }
        settings.readers = settings.readers.max(1);
        Self {
            queue: Mutex::new(Queue::new(settings.cache_bytes, settings.decoders, settings.readers)),
            readable: Condvar::new(),
            decodable: Condvar::new(),
            settings,
            wake,
        }
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stop(&self) {
        self.queue().stop();
        self.readable.notify_all();
        self.decodable.notify_all();
    }

    pub(super) fn want(&self, key: SlideKey, wanted: &[TileId], in_view: usize) {
        let mut queue = self.queue();
        let was_full = queue.is_full();
        let is_something_to_do = queue.want(key, wanted, in_view);
        let mut has_arrived = false;
        if is_something_to_do {
            queue.ask_children();
            has_arrived = queue.has_arrived();
        }
        // What came too late has left.
        self.rouse(queue, was_full, is_something_to_do);
        // What was kept in memory is there at once, but this frame may have no room for all of it.
        if has_arrived {
            (self.wake)();
        }
    }

    pub(super) fn take(&self, most: usize) -> Vec<Arrived> {
        let mut queue = self.queue();
        let was_full = queue.is_full();
        let taken = queue.take(most);
        // Only what had no room waits for this.
        let is_first = was_full && queue.ask_children();
        self.rouse(queue, was_full, false);
        if is_first {
            (self.wake)();
        }
        taken
    }

    pub(super) fn close(&self, key: SlideKey) {
        let mut queue = self.queue();
        let was_full = queue.is_full();
        queue.close(key);
        self.rouse(queue, was_full, true);
    }

    /// Lets go of the queue, and wakes threads for what is new: wishes, or room where there was none.
    fn rouse(&self, queue: MutexGuard<'_, Queue>, was_full: bool, is_readable: bool) {
        let has_room = was_full && !queue.is_full();
        drop(queue);
        if has_room {
            self.decodable.notify_all();
        }
        if has_room || is_readable {
            self.readable.notify_one();
        }
    }

    fn wait<'a>(condition: &Condvar, queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        condition.wait(queue).unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the threads that all slides share.
pub(super) fn start(shared: &Arc<Shared>) -> std::io::Result<()> {
    for number in 0..shared.settings.readers {
        let shared = Arc::clone(shared);
        Builder::new().name(format!("tile-read-{number}")).spawn(move || read(&shared))?;
    }
    for number in 0..shared.settings.decoders {
        let shared = Arc::clone(shared);
        Builder::new().name(format!("tile-decode-{number}")).spawn(move || decode(&shared))?;
    }
    Ok(())
}

/// Starts the thread that takes the answers of a slide's child process; it ends when nobody can answer any more.
pub(super) fn listen(
    shared: &Arc<Shared>,
    key: SlideKey,
    generation: u64,
) -> std::io::Result<Sender<SlideReply>> {
    let (sender, replies) = bounded(MOST_REPLIES);
    let shared = Arc::clone(shared);
    let thread = Builder::new().name("tile-replies".to_string());
    thread.spawn(move || take_replies(&shared, (key, generation), &replies))?;
    Ok(sender)
}

fn take_replies(shared: &Shared, slide: (SlideKey, u64), replies: &Receiver<SlideReply>) {
    for reply in replies {
        let pixels = reply.result.map(|pixels| Arc::new(TilePixels::from_rgb(&pixels.image)));
        let mut queue = shared.queue();
        if queue.is_stopped {
            return;
        }
        let mut is_first = queue.answered(slide, reply.id, pixels);
        is_first |= queue.ask_children();
        drop(queue);
        if is_first {
            (shared.wake)();
        }
    }
    // The slide is closed and its tiles are gone.
    spare::forget();
    allocator::give_back();
}

fn read(shared: &Shared) {
    let mut buffer = Vec::new();
    let mut queue = shared.queue();
    while !queue.is_stopped {
        let Some(batch) = queue.next_read() else {
            queue = Shared::wait(&shared.readable, queue);
            continue;
        };
        // A slow disk, or the first of many: one after the other wakes the next. What one thread reads fast enough is left to it.
        let is_starving = queue.is_starving();
        drop(queue);
        if is_starving {
            shared.readable.notify_one();
        }
        let is_read = read_batch(&batch, &mut buffer, shared);
        queue = shared.queue();
        let units = batch.units.len();
        queue.finish_read(batch, is_read.then_some(buffer.as_slice()));
        let is_first = queue.ask_children();
        if units == 1 {
            shared.decodable.notify_one();
        } else {
            shared.decodable.notify_all();
        }
        if is_first {
            drop(queue);
            (shared.wake)();
            queue = shared.queue();
        }
    }
}

fn read_batch(batch: &Batch, buffer: &mut Vec<u8>, shared: &Shared) -> bool {
    thread::sleep(shared.settings.read_delay);
    buffer.resize(batch.length, 0);
    let result = batch.origin.source.read(batch.offset, buffer);
    if let Err(error) = &result {
        tracing::debug!("tiles at {} are left to OpenSlide: {error}", batch.offset);
    }
    result.is_ok()
}

fn decode(shared: &Shared) {
    priority::step_back();
    let mut queue = shared.queue();
    while !queue.is_stopped {
        let Some(unit) = queue.next_decode() else {
            // What nobody wants any more was let go of, and there may be room again for what somebody wants.
            shared.readable.notify_one();
            queue = Shared::wait(&shared.decodable, queue);
            continue;
        };
        // Not with every tile: what wakes a thread is a part of what decoding takes.
        let is_running_out = queue.is_running_out();
        drop(queue);
        if is_running_out {
            shared.readable.notify_one();
        }
        queue = decode_unit(shared, unit);
    }
}

fn decode_unit(shared: &Shared, unit: Unit) -> MutexGuard<'_, Queue> {
    let Unit { origin, first, bytes } = unit;
    let decoded = match origin.source.decode(first, &bytes) {
        Ok(decoded) => decoded,
        Err(error) => {
            // OpenSlide may read what this decoder does not, and if it does not either, it says why.
            tracing::debug!("a tile is left to OpenSlide: {}", reason(&error));
            let mut queue = shared.queue();
            queue.finish_decode(&origin, first, true);
            let is_first = queue.ask_children();
            if !is_first {
                return queue;
            }
            drop(queue);
            (shared.wake)();
            return shared.queue();
        }
    };
    let grid = origin.source.grid();
    let mut cells: Vec<TileId> = grid.cells_of_file_tile(first).collect();
    if let &[cell] = cells.as_slice() {
        let pixels = Arc::new(whole(decoded));
        return hand_over(shared, &origin, cell, pixels, Some(first));
    }
    // Cells that somebody waits for first.
    let queue = shared.queue();
    cells.sort_by_key(|&cell| !queue.is_wanted(&origin, cell));
    drop(queue);
    for &cell in &cells {
        let pixels = Arc::new(cell_of(&decoded, grid, cell));
        drop(hand_over(shared, &origin, cell, pixels, None));
    }
    let mut queue = shared.queue();
    queue.finish_decode(&origin, first, false);
    queue
}

/// Puts a tile where it can be taken; with `unit`, that unit is finished.
fn hand_over<'a>(
    shared: &'a Shared,
    origin: &Origin,
    cell: TileId,
    pixels: Arc<TilePixels>,
    unit: Option<TileId>,
) -> MutexGuard<'a, Queue> {
    let mut queue = shared.queue();
    let is_first = queue.deliver(origin, cell, pixels);
    if let Some(first) = unit {
        queue.finish_decode(origin, first, false);
    }
    if is_first {
        drop(queue);
        (shared.wake)();
        queue = shared.queue();
    }
    queue
}

/// A tile of the file that is one cell.
fn whole(decoded: DecodedTile) -> TilePixels {
    let size = (decoded.width, decoded.height);
    if size == (TILE_PX, TILE_PX) {
        // As large as its size says, so it becomes a tile without being copied.
        let DecodedTile { rgba, .. } = decoded;
        return TilePixels::whole(rgba).unwrap_or_else(|| TilePixels::of_cell(&[], (0, 0), (0, 0), size));
    }
    TilePixels::of_cell(&decoded.rgba, size, (0, 0), size)
}

fn cell_of(decoded: &DecodedTile, grid: &TileGrid, cell: TileId) -> TilePixels {
    let size = grid.levels.get(cell.level as usize).map_or((1, 1), |level| level.cell);
    let from = ((cell.column - decoded.first.column) * size.0, (cell.row - decoded.first.row) * size.1);
    TilePixels::of_cell(&decoded.rgba, (decoded.width, decoded.height), from, size)
}

/// Without the file's name, which belongs into no log.
fn reason(error: &Error) -> String {
    match error {
        Error::Read { place, reason, .. } => format!("{place}, {reason}"),
        _ => "it is not one of this file".to_string(),
    }
}
