//! What the engine does next: plain data without threads, so that tests drive it by hand.
//!
//! A *unit* is a tile of the file, named by its first cell: it is read and decoded once, however many of its cells are wanted. Of each slide
//! the wishes are a list; a wish leaves it when its tile is taken. Nothing here waits, reads or decodes.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crossbeam_channel::Sender;

use super::super::tile_cache::SlideKey;
use super::super::tile_pixels::TilePixels;
use super::kept::Kept;
use super::source::TileSource;
use super::wishes::Wishes;
use super::{Arrived, EngineCounters};
use crate::slide::{Error, SlideReply, TileId};

/// Finished tiles that wait to be taken: a few frames' worth. More are not decoded until some are.
const MOST_ARRIVED: usize = 64;
/// Tiles whose bytes have been read and not decoded, for each thread that decodes: enough to never wait for the disk, and few
/// enough that what is wanted next is not read late. When half is left, more is read.
const READ_AHEAD: usize = 8;

/// The queue of all slides.
pub(super) struct Queue {
    slides: BTreeMap<SlideKey, Wishes>,
    /// Read and not decoded yet.
    read: Vec<Unit>,
    arrived: Vec<Arrived>,
    kept: Kept,
    counters: EngineCounters,
    wants: u64,
    most_read: usize,
    /// Reads of one slide at a time: fewer than there are threads, so that a drive that hangs stops no other slide.
    most_reads_of_slide: usize,
    pub(super) is_stopped: bool,
}

/// Which slide a piece of work belongs to.
#[derive(Clone)]
pub(super) struct Origin {
    pub key: SlideKey,
    generation: u64,
    pub source: Arc<dyn TileSource>,
}

/// Bytes that are read at once.
pub(super) struct Batch {
    pub origin: Origin,
    pub offset: u64,
    pub length: usize,
    /// Units with their places within the bytes.
    pub units: Vec<(TileId, std::ops::Range<usize>)>,
}

/// A tile of the file, read.
pub(super) struct Unit {
    pub origin: Origin,
    pub first: TileId,
    pub bytes: Vec<u8>,
}

impl Queue {
    pub(super) fn new(cache_bytes: usize, decoders: usize, readers: usize) -> Self {
        Self {
            slides: BTreeMap::new(),
            read: Vec::new(),
            arrived: Vec::new(),
            kept: Kept::new(cache_bytes),
            counters: EngineCounters::default(),
            wants: 0,
            most_read: READ_AHEAD * decoders.max(1),
            most_reads_of_slide: (readers * 3 / 4).max(1),
            is_stopped: false,
        }
    }

    pub(super) fn open(
        &mut self,
        key: SlideKey,
        generation: u64,
        source: Arc<dyn TileSource>,
        replies: Sender<SlideReply>,
    ) {
        self.close(key);
        self.slides.insert(key, Wishes::new(generation, source, replies));
    }

    pub(super) fn close(&mut self, key: SlideKey) {
        self.slides.remove(&key);
        self.read.retain(|unit| unit.origin.key != key);
        self.arrived.retain(|arrived| arrived.key != key);
        self.kept.forget(key);
    }

    /// Nothing is done any more; who answers for a slide notices.
    pub(super) fn stop(&mut self) {
        self.is_stopped = true;
        self.slides.clear();
        self.read.clear();
        self.arrived.clear();
        self.kept.clear();
    }

    /// Replaces the wishes of a slide, the first `in_view` of which are in view; true when something is to be done for them.
    pub(super) fn want(&mut self, key: SlideKey, wanted: &[TileId], in_view: usize) -> bool {
        self.wants += 1;
        let Some(slide) = self.slides.get_mut(&key) else { return false };
        (slide.rank, slide.in_view) = (self.wants, in_view);
        if slide.list == wanted && slide.places.len() == wanted.len() {
            return !wanted.is_empty();
        }
        let before = std::mem::take(&mut slide.places);
        slide.list = wanted.to_vec();
        slide.places = (0..).zip(wanted).map(|(at, &tile)| (tile, at)).collect();
        let grid = slide.source.grid();
        let untouched = |tile: &&TileId| {
            !slide.places.contains_key(*tile)
                && !slide.done.contains(*tile)
                && !slide.busy.contains(&grid.first_of_file_tile(**tile))
        };
        self.counters.dropped += before.keys().filter(untouched).count() as u64;
        slide.asked.retain(|_, asked| slide.places.contains_key(&asked.0));
        // What came too late may be wanted again.
        for late in self
            .arrived
            .extract_if(.., |arrived| arrived.key == key && !slide.places.contains_key(&arrived.tile))
        {
            slide.done.remove(&late.tile);
            if let Ok(pixels) = late.pixels {
                self.kept.put(key, late.tile, pixels);
            }
        }
        for &tile in wanted {
            if !slide.done.contains(&tile)
                && let Some(pixels) = self.kept.take(key, tile)
            {
                slide.done.insert(tile);
                self.arrived.push(Arrived { key, tile, pixels: Ok(pixels) });
            }
        }
        !wanted.is_empty()
    }

    /// Whether so much waits to be taken that nothing more is read, decoded or asked for.
    pub(super) fn is_full(&self) -> bool {
        self.arrived.len() >= MOST_ARRIVED
    }

    /// Whether tiles wait to be taken.
    pub(super) fn has_arrived(&self) -> bool {
        !self.arrived.is_empty()
    }

    /// The most wanted finished tiles; each leaves its slide's wishes.
    pub(super) fn take(&mut self, most: usize) -> Vec<Arrived> {
        let slides = &self.slides;
        self.arrived.sort_by_key(|arrived| {
            let slide = slides.get(&arrived.key);
            let place = slide.and_then(|slide| slide.places.get(&arrived.tile));
            (place.copied().unwrap_or(usize::MAX), Reverse(slide.map_or(0, |slide| slide.rank)))
        });
        let taken: Vec<Arrived> = self.arrived.drain(..most.min(self.arrived.len())).collect();
        for arrived in &taken {
            if let Some(slide) = self.slides.get_mut(&arrived.key) {
                slide.done.remove(&arrived.tile);
                slide.places.remove(&arrived.tile);
            }
        }
        taken
    }

    pub(super) fn counters(&self) -> EngineCounters {
        EngineCounters { cache_bytes: self.kept.bytes() as u64, ..self.counters }
    }

    pub(super) fn drop_caches(&mut self) {
        self.kept.clear();
    }

    /// Whether nothing is left of what was read.
    pub(super) fn is_starving(&self) -> bool {
        self.read.is_empty()
    }

    /// Whether so little is left of what was read that more should be.
    pub(super) fn is_running_out(&self) -> bool {
        self.read.len() <= self.most_read / 2
    }

    /// What is to be read next; `None` while enough waits to be decoded or taken.
    pub(super) fn next_read(&mut self) -> Option<Batch> {
        if self.read.len() >= self.most_read || self.is_full() {
            return None;
        }
        let most = self.most_reads_of_slide;
        let (_, key, at) = self
            .slides
            .iter()
            .filter(|(_, slide)| slide.reads < most)
            .filter_map(|(key, slide)| {
                let at = slide.list.iter().position(|&tile| slide.readable(tile).is_some())?;
                Some(((at, Reverse(slide.rank)), *key, at))
            })
            .min_by_key(|(order, _, _)| *order)?;
        let slide = self.slides.get_mut(&key)?;
        let units = slide.neighbours(at)?;
        slide.reads += 1;
        slide.busy.extend(units.iter().map(|(first, _)| *first));
        let offset = units.iter().map(|(_, (offset, _))| *offset).min()?;
        let end = units.iter().map(|(_, (offset, length))| offset + u64::from(*length)).max()?;
        let place = |(offset_of, length): (u64, u32)| {
            let start = (offset_of - offset) as usize;
            start..start + length as usize
        };
        let units = units.into_iter().map(|(first, span)| (first, place(span))).collect();
        Some(Batch {
            origin: Origin { key, generation: slide.generation, source: Arc::clone(&slide.source) },
            offset,
            length: (end - offset) as usize,
            units,
        })
    }

    /// Takes in what was read: `None` when it could not be. What is not wanted any more is dropped before it is decoded.
    pub(super) fn finish_read(&mut self, batch: Batch, bytes: Option<&[u8]>) {
        let Batch { origin, units, .. } = batch;
        let Some(slide) =
            self.slides.get_mut(&origin.key).filter(|slide| slide.generation == origin.generation)
        else {
            return;
        };
        slide.reads -= 1;
        for (first, place) in units {
            let wanted = slide.place_of_unit(first).is_some();
            match bytes.and_then(|bytes| bytes.get(place)) {
                Some(bytes) if wanted => {
                    self.read.push(Unit { origin: origin.clone(), first, bytes: bytes.to_vec() });
                }
                Some(_) => {
                    slide.busy.remove(&first);
                    self.counters.dropped += 1;
                }
                // The child finds out for itself, and says so in OpenSlide's words.
                None => {
                    slide.busy.remove(&first);
                    slide.by_child.insert(first);
                }
            }
        }
    }

    /// The most wanted of what was read.
    pub(super) fn next_decode(&mut self) -> Option<Unit> {
        if self.is_full() {
            return None;
        }
        let mut best: Option<((usize, Reverse<u64>), usize)> = None;
        let mut at = 0;
        while at < self.read.len() {
            let unit = &self.read[at];
            let slide = self.slides.get(&unit.origin.key);
            let order = slide.and_then(|slide| Some((slide.place_of_unit(unit.first)?, Reverse(slide.rank))));
            let Some(order) = order else {
                let unit = self.read.swap_remove(at);
                if let Some(slide) = self.slides.get_mut(&unit.origin.key) {
                    slide.busy.remove(&unit.first);
                }
                self.counters.dropped += 1;
                // What was swapped in has not been looked at; what was found lies before it.
                continue;
            };
            if best.is_none_or(|(known, _)| order < known) {
                best = Some((order, at));
            }
            at += 1;
        }
        best.map(|(_, at)| self.read.swap_remove(at))
    }

    /// Whether the cell is waited for.
    pub(super) fn is_wanted(&self, origin: &Origin, tile: TileId) -> bool {
        self.slide_of(origin).is_some_and(|slide| slide.places.contains_key(&tile))
    }

    /// Takes in a decoded cell; true when it is the first that waits to be taken.
    pub(super) fn deliver(&mut self, origin: &Origin, tile: TileId, pixels: Arc<TilePixels>) -> bool {
        if self.slide_of(origin).is_none() {
            return false;
        }
        self.counters.decoded_here += 1;
        self.put(origin.key, tile, pixels)
    }

    /// A unit was decoded; `is_damaged`: it could not be, and the child is asked for its cells.
    pub(super) fn finish_decode(&mut self, origin: &Origin, first: TileId, is_damaged: bool) {
        let Some(slide) =
            self.slides.get_mut(&origin.key).filter(|slide| slide.generation == origin.generation)
        else {
            return;
        };
        slide.busy.remove(&first);
        if is_damaged {
            slide.by_child.insert(first);
        }
    }

    /// Asks the child processes for what only they can give, as much as each takes; true when one refused for good and said so.
    pub(super) fn ask_children(&mut self) -> bool {
        let mut is_first = false;
        if self.is_full() {
            return false;
        }
        for (&key, slide) in &mut self.slides {
            let mut at = 0;
            while slide.asked.len() < slide.most_asked(at) && at < slide.list.len() {
                let tile = slide.list[at];
                at += 1;
                if !slide.is_for_child(tile) {
                    continue;
                }
                match slide.source.ask(tile, &slide.replies) {
                    Ok(ticket) => drop(slide.asked.insert(ticket.id(), (tile, ticket))),
                    // Its queue is full: another time.
                    Err(Error::Cancelled { .. }) => break,
                    Err(error) => {
                        is_first |= self.arrived.is_empty();
                        slide.done.insert(tile);
                        self.arrived.push(Arrived { key, tile, pixels: Err(error) });
                    }
                }
            }
        }
        is_first
    }

    /// Takes in an answer of a child; true when it is the first that waits to be taken.
    pub(super) fn answered(
        &mut self,
        (key, generation): (SlideKey, u64),
        id: u64,
        result: Result<Arc<TilePixels>, Error>,
    ) -> bool {
        let slide = self.slides.get_mut(&key).filter(|slide| slide.generation == generation);
        let Some((tile, _ticket)) = slide.and_then(|slide| slide.asked.remove(&id)) else { return false };
        match result {
            Ok(pixels) => {
                self.counters.decoded_by_child += 1;
                self.put(key, tile, pixels)
            }
            Err(error) => {
                if let Some(slide) = self.slides.get_mut(&key) {
                    slide.done.insert(tile);
                }
                self.arrived.push(Arrived { key, tile, pixels: Err(error) });
                self.arrived.len() == 1
            }
        }
    }

    fn put(&mut self, key: SlideKey, tile: TileId, pixels: Arc<TilePixels>) -> bool {
        let Some(slide) = self.slides.get_mut(&key) else { return false };
        if slide.places.contains_key(&tile) && slide.done.insert(tile) {
            self.arrived.push(Arrived { key, tile, pixels: Ok(pixels) });
            return self.arrived.len() == 1;
        }
        // The rest of a large tile of the file is no waste: it was decoded for its neighbour.
        let grid = slide.source.grid();
        let is_alone = grid.cells_of_file_tile(grid.first_of_file_tile(tile)).nth(1).is_none();
        self.counters.decoded_in_vain += u64::from(is_alone);
        self.kept.put(key, tile, pixels);
        false
    }

    fn slide_of(&self, origin: &Origin) -> Option<&Wishes> {
        self.slides.get(&origin.key).filter(|slide| slide.generation == origin.generation)
    }
}
