//! The wishes for one slide's tiles: which are being read, decoded or asked for, and which lie together in the file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crossbeam_channel::Sender;

use super::source::TileSource;
use crate::slide::{SlideReply, Ticket, TileId};

/// Tiles of the file with no more than this between them are read together, as long as it is no more than [`LONGEST_READ`].
const LARGEST_GAP: u64 = 64 << 10;
const LONGEST_READ: u64 = 1 << 20;
/// How many wishes are looked at for neighbours in the file.
const NEIGHBOURS: usize = 64;

/// What is wanted of one slide, and what is being done for it.
pub(super) struct Wishes {
    pub source: Arc<dyn TileSource>,
    /// Tells a slide that was closed from one that was opened under the same key.
    pub generation: u64,
    /// When it was wanted last.
    pub rank: u64,
    pub list: Vec<TileId>,
    /// So many of the list's first are in view; the others may be before long.
    pub in_view: usize,
    /// The list's places, of tiles that have not been taken.
    pub places: BTreeMap<TileId, usize>,
    /// Units that are being read, wait to be decoded or are being decoded.
    pub busy: BTreeSet<TileId>,
    pub reads: usize,
    /// Units that this process cannot decode.
    pub by_child: BTreeSet<TileId>,
    pub asked: BTreeMap<u64, (TileId, Ticket)>,
    /// In `arrived`.
    pub done: BTreeSet<TileId>,
    pub replies: Sender<SlideReply>,
}

impl Wishes {
    /// None yet.
    pub(super) fn new(generation: u64, source: Arc<dyn TileSource>, replies: Sender<SlideReply>) -> Self {
        Self {
            source,
            generation,
            rank: 0,
            list: Vec::new(),
            in_view: 0,
            places: BTreeMap::new(),
            busy: BTreeSet::new(),
            reads: 0,
            by_child: BTreeSet::new(),
            asked: BTreeMap::new(),
            done: BTreeSet::new(),
            replies,
        }
    }

    /// Whether nothing is being done for a wish.
    fn is_open(&self, tile: TileId) -> bool {
        self.places.contains_key(&tile) && !self.done.contains(&tile)
    }

    /// The unit of a wish for which this process has something to read, and where that lies.
    pub(super) fn readable(&self, tile: TileId) -> Option<(TileId, (u64, u32))> {
        let first = self.source.grid().first_of_file_tile(tile);
        if !self.is_open(tile) || self.busy.contains(&first) || self.by_child.contains(&first) {
            return None;
        }
        Some((first, self.source.span(first)?))
    }

    /// Whether the child process is to be asked for a wish.
    pub(super) fn is_for_child(&self, tile: TileId) -> bool {
        let first = self.source.grid().first_of_file_tile(tile);
        self.is_open(tile)
            && (self.by_child.contains(&first) || self.source.span(first).is_none())
            && !self.asked.values().any(|(asked, _)| *asked == tile)
    }

    /// How many tiles the child process may have been asked for when it is asked for the wish `at`.
    pub(super) fn most_asked(&self, at: usize) -> usize {
        if at < self.in_view { self.source.most_asked() } else { self.source.most_asked_ahead() }
    }

    /// The best place among the wishes for cells of a unit.
    pub(super) fn place_of_unit(&self, first: TileId) -> Option<usize> {
        let cells = self.source.grid().cells_of_file_tile(first);
        cells.filter_map(|cell| self.places.get(&cell)).min().copied()
    }

    /// The unit of the wish `at`, and those near it in the file that are wanted too.
    pub(super) fn neighbours(&self, at: usize) -> Option<Vec<(TileId, (u64, u32))>> {
        let wanted = self.readable(*self.list.get(at)?)?;
        let mut near: Vec<(TileId, (u64, u32))> =
            self.list[at..].iter().take(NEIGHBOURS).filter_map(|&tile| self.readable(tile)).collect();
        near.sort_by_key(|&(first, (offset, _))| (offset, first));
        near.dedup();
        let end_of = |&(_, (offset, length)): &(TileId, (u64, u32))| offset + u64::from(length);
        let middle = near.iter().position(|unit| *unit == wanted)?;
        let (mut start, mut end) = (wanted.1.0, end_of(&wanted));
        let mut range = middle..middle + 1;
        while let Some(next) = near.get(range.end) {
            if next.1.0 > end + LARGEST_GAP || end_of(next).max(end) - start > LONGEST_READ {
                break;
            }
            end = end_of(next).max(end);
            range.end += 1;
        }
        while let Some(before) = range.start.checked_sub(1).and_then(|at| near.get(at)) {
            let reaches = end_of(before).max(end);
            if end_of(before) + LARGEST_GAP < start || reaches - before.1.0 > LONGEST_READ {
                break;
            }
            (start, end) = (before.1.0.min(start), reaches);
            range.start -= 1;
        }
        Some(near.drain(range).collect())
    }
}
