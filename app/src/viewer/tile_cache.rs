//! Which tiles lie where in the renderer's textures, bounded in bytes; the least recently drawn make room.
//!
//! After walkers' and OpenSeadragon's caches: asking never waits, a tile that is not there yet is drawn from the nearest coarser
//! ones, and requests that nobody wants any more are dropped. It neither decodes (the slide's own threads do) nor touches
//! the GPU (`tile_renderer.rs` carries the uploads out), so that tests drive it by hand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::tile_pixels::{TILE_BYTES, TilePixels};
use super::tile_plan::{TilePlan, cells, tile_rect};
use super::viewport::SlideRect;
use crate::slide::{SlideInfo, TILE_PX, TileId};

/// Tiles handed to the GPU in one frame: about a millisecond of copying.
const UPLOADS_PER_FRAME: usize = 12;
/// Decoded tiles that wait to be handed over.
const MOST_ARRIVED: usize = 256;

/// A slide, for as long as the window runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlideKey(pub u64);

type TileKey = (SlideKey, TileId);

/// A tile on its way to the GPU.
#[derive(Clone, Debug)]
pub struct Upload {
    pub slot: u32,
    pub pixels: Arc<TilePixels>,
}

/// A part of a tile in a slot, and the part of the slide that it is drawn on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TileDraw {
    pub slot: u32,
    pub rect: SlideRect,
    /// Left, top, right, bottom within the tile's texture, 0 to 1.
    pub uv: [f32; 4],
}

enum Entry<T> {
    /// Asked for; dropping the ticket takes the request back.
    Waiting {
        _ticket: T,
    },
    Arrived(Arc<TilePixels>),
    Resident {
        slot: u32,
        last_drawn: u64,
    },
    /// Cannot be read: not asked for again.
    Failed,
}

/// The cache; `T` is what cancels a request when it is dropped.
pub struct TileCache<T> {
    entries: BTreeMap<TileKey, Entry<T>>,
    /// Arrived tiles in order.
    arrived: VecDeque<TileKey>,
    slots: Vec<Option<TileKey>>,
    frame: u64,
    uploads: Vec<Upload>,
}

impl<T> TileCache<T> {
    /// A cache whose textures take `bytes` at the most.
    pub fn new(bytes: usize) -> Self {
        let slots = (bytes / TILE_BYTES).max(1);
        Self {
            entries: BTreeMap::new(),
            arrived: VecDeque::new(),
            slots: vec![None; slots],
            frame: 0,
            uploads: Vec::new(),
        }
    }

    /// Tiles that fit.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Tiles asked for and not there yet.
    pub fn waiting(&self) -> usize {
        self.entries.values().filter(|entry| matches!(entry, Entry::Waiting { .. })).count()
    }

    /// Whether all that is in view of `plan` is drawn from its own tiles.
    pub fn is_complete(&self, slide: SlideKey, plan: &TilePlan) -> bool {
        plan.visible.iter().all(|tile| {
            matches!(self.entries.get(&(slide, *tile)), Some(Entry::Resident { .. } | Entry::Failed))
        })
    }

    /// Takes a decoded tile; one that nobody asked for (any more) is dropped.
    pub fn arrive(&mut self, slide: SlideKey, tile: TileId, pixels: Option<Arc<TilePixels>>) {
        let key = (slide, tile);
        let Some(entry @ Entry::Waiting { .. }) = self.entries.get_mut(&key) else { return };
        match pixels {
            Some(pixels) if self.arrived.len() < MOST_ARRIVED => {
                *entry = Entry::Arrived(pixels);
                self.arrived.push_back(key);
            }
            Some(_) => drop(self.entries.remove(&key)),
            None => *entry = Entry::Failed,
        }
    }

    /// A tile did not come but may another time: it is asked for again while it is wanted.
    pub fn take_back(&mut self, slide: SlideKey, tile: TileId) {
        if let Some(Entry::Waiting { .. }) = self.entries.get(&(slide, tile)) {
            self.entries.remove(&(slide, tile));
        }
    }

    /// Begins a frame that shows `plan`: takes back what is not wanted any more, asks for what is missing (`ask` gets the
    /// most wanted last, as slides read the newest request first), and gives arrived tiles their slots.
    pub fn begin_frame(
        &mut self,
        slide: SlideKey,
        plan: &TilePlan,
        ask: &mut dyn FnMut(TileId) -> Option<T>,
    ) {
        self.frame += 1;
        let wanted: std::collections::BTreeSet<TileKey> = plan.wanted().map(|tile| (slide, tile)).collect();
        self.entries.retain(|key, entry| match entry {
            Entry::Waiting { .. } | Entry::Arrived(_) => wanted.contains(key),
            Entry::Resident { .. } | Entry::Failed => true,
        });
        self.arrived.retain(|key| wanted.contains(key));
        for &tile in &plan.base {
            self.touch((slide, tile));
        }
        for tile in plan.wanted().collect::<Vec<_>>().into_iter().rev() {
            if self.entries.contains_key(&(slide, tile)) {
                continue;
            }
            // A slide whose queue is full is asked again in the next frame.
            if let Some(ticket) = ask(tile) {
                self.entries.insert((slide, tile), Entry::Waiting { _ticket: ticket });
            }
        }
        self.place_arrived();
    }

    /// Forgets a closed slide (or one that is opened again).
    pub fn forget(&mut self, slide: SlideKey) {
        self.entries.retain(|(of, _), _| *of != slide);
        self.arrived.retain(|(of, _)| *of != slide);
        for slot in &mut self.slots {
            slot.take_if(|(of, _)| *of == slide);
        }
    }

    /// Uploads decided on since this was last called, in order.
    pub fn take_uploads(&mut self) -> Vec<Upload> {
        std::mem::take(&mut self.uploads)
    }

    /// Whether decoded tiles still wait for a later frame.
    pub fn has_arrived(&self) -> bool {
        !self.arrived.is_empty()
    }

    /// How to draw `plan` with what is there: exact tiles, else crops of the nearest coarser ones.
    pub fn draws(&mut self, slide: SlideKey, info: &SlideInfo, plan: &TilePlan) -> Vec<TileDraw> {
        let mut draws = Vec::with_capacity(plan.visible.len());
        for &tile in &plan.visible {
            self.cover(slide, info, tile, &tile_rect(info, tile), &mut draws);
        }
        draws
    }

    /// Draws `part` from `tile`, or from the coarser tiles under it.
    fn cover(
        &mut self,
        slide: SlideKey,
        info: &SlideInfo,
        tile: TileId,
        part: &SlideRect,
        draws: &mut Vec<TileDraw>,
    ) {
        let whole = tile_rect(info, tile);
        let Some(part) = part.intersection(&whole) else { return };
        if let Some(slot) = self.touch((slide, tile)) {
            let side = info.levels[tile.level as usize].downsample * f64::from(TILE_PX);
            let uv = |x: f64, y: f64| [((x - whole.x0) / side) as f32, ((y - whole.y0) / side) as f32];
            let ([left, top], [right, bottom]) = (uv(part.x0, part.y0), uv(part.x1, part.y1));
            draws.push(TileDraw { slot, rect: part, uv: [left, top, right, bottom] });
            return;
        }
        let coarser = tile.level + 1;
        if (coarser as usize) < info.levels.len() {
            for parent in cells(info, coarser, &part, 0) {
                self.cover(slide, info, parent, &part, draws);
            }
        }
    }

    /// The slot of a resident tile, which counts as drawn.
    fn touch(&mut self, key: TileKey) -> Option<u32> {
        match self.entries.get_mut(&key) {
            Some(Entry::Resident { slot, last_drawn }) => {
                *last_drawn = self.frame;
                Some(*slot)
            }
            _ => None,
        }
    }

    fn place_arrived(&mut self) {
        for _ in 0..UPLOADS_PER_FRAME {
            let Some(key) = self.arrived.pop_front() else { return };
            let Some(slot) = self.free_slot() else {
                self.entries.remove(&key);
                continue;
            };
            let resident = Entry::Resident { slot, last_drawn: self.frame };
            if let Some(Entry::Arrived(pixels)) = self.entries.insert(key, resident) {
                self.slots[slot as usize] = Some(key);
                self.uploads.push(Upload { slot, pixels });
            }
        }
    }

    /// An empty slot, else the one whose tile was drawn the longest ago, but not in the last frame.
    fn free_slot(&mut self) -> Option<u32> {
        if let Some(empty) = self.slots.iter().position(Option::is_none) {
            return Some(empty as u32);
        }
        let (oldest, slot, _) = self
            .entries
            .iter()
            .filter_map(|(key, entry)| match entry {
                Entry::Resident { slot, last_drawn } => Some((*key, *slot, *last_drawn)),
                _ => None,
            })
            .min_by_key(|(_, _, last_drawn)| *last_drawn)
            .filter(|(_, _, last_drawn)| last_drawn + 1 < self.frame)?;
        self.entries.remove(&oldest);
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use image::RgbImage;

    use super::super::tile_plan::tests::slide;
    use super::*;

    const SLIDE: SlideKey = SlideKey(1);

    fn id(level: u32, column: u32, row: u32) -> TileId {
        TileId { level, column, row }
    }

    fn pixels() -> Arc<TilePixels> {
        Arc::new(TilePixels::from_rgb(&RgbImage::new(TILE_PX, TILE_PX)))
    }

    fn plan_of(visible: &[TileId]) -> TilePlan {
        let level = visible[0].level;
        TilePlan { level, visible: visible.to_vec(), margin: vec![], base: vec![], is_cut: false }
    }

    /// A ticket that says so when it is dropped.
    struct Ticket(TileId, Rc<RefCell<Vec<TileId>>>);

    impl Drop for Ticket {
        fn drop(&mut self) {
            self.1.borrow_mut().push(self.0);
        }
    }

    /// A source driven by hand.
    #[derive(Default)]
    struct Source {
        asked: Vec<TileId>,
        dropped: Rc<RefCell<Vec<TileId>>>,
    }

    impl Source {
        fn frame(&mut self, cache: &mut TileCache<Ticket>, visible: &[TileId]) -> Vec<TileDraw> {
            let plan = plan_of(visible);
            cache.begin_frame(SLIDE, &plan, &mut |tile| {
                self.asked.push(tile);
                Some(Ticket(tile, Rc::clone(&self.dropped)))
            });
            cache.draws(SLIDE, &slide(), &plan)
        }
    }

    #[test]
    fn a_tile_is_asked_for_once_and_drawn_when_it_is_there() {
        let (mut cache, mut source) = (TileCache::new(64 * TILE_BYTES), Source::default());
        let tile = id(0, 3, 2);
        assert!(source.frame(&mut cache, &[tile]).is_empty());
        assert!(source.frame(&mut cache, &[tile]).is_empty());
        assert_eq!(source.asked, [tile]);
        cache.arrive(SLIDE, tile, Some(pixels()));
        let draws = source.frame(&mut cache, &[tile]);
        assert_eq!(draws.len(), 1);
        assert_eq!(draws[0].rect, tile_rect(&slide(), tile));
        assert_eq!(draws[0].uv, [0.0, 0.0, 1.0, 1.0]);
        assert_eq!(cache.take_uploads().len(), 1);
        assert!(cache.take_uploads().is_empty());
        assert!(cache.is_complete(SLIDE, &plan_of(&[tile])));
    }

    #[test]
    fn the_most_wanted_is_asked_for_last_because_the_newest_is_read_first() {
        let (mut cache, mut source) = (TileCache::new(64 * TILE_BYTES), Source::default());
        source.frame(&mut cache, &[id(0, 1, 1), id(0, 2, 1), id(0, 3, 1)]);
        assert_eq!(source.asked, [id(0, 3, 1), id(0, 2, 1), id(0, 1, 1)]);
    }

    #[test]
    fn a_missing_tile_is_cut_from_the_nearest_coarser_one() {
        let (mut cache, mut source) = (TileCache::new(64 * TILE_BYTES), Source::default());
        source.frame(&mut cache, &[id(2, 0, 0)]);
        cache.arrive(SLIDE, id(2, 0, 0), Some(pixels()));
        source.frame(&mut cache, &[id(2, 0, 0)]);
        // Level 2 has 16 level-0 pixels a pixel: a level-0 tile is a sixteenth of its tile's side.
        let draws = source.frame(&mut cache, &[id(0, 1, 0)]);
        assert_eq!(draws.len(), 1);
        assert_eq!(draws[0].uv, [0.0625, 0.0, 0.125, 0.0625]);
        source.frame(&mut cache, &[id(1, 0, 0)]);
        cache.arrive(SLIDE, id(1, 0, 0), Some(pixels()));
        source.frame(&mut cache, &[id(1, 0, 0)]);
        let draws = source.frame(&mut cache, &[id(0, 1, 0)]);
        assert_eq!(draws[0].uv, [0.25, 0.0, 0.5, 0.25], "level 1 is nearer");
    }

    #[test]
    fn what_left_the_view_is_taken_back_and_its_late_arrival_dropped() {
        let (mut cache, mut source) = (TileCache::new(64 * TILE_BYTES), Source::default());
        source.frame(&mut cache, &[id(0, 0, 0)]);
        source.frame(&mut cache, &[id(0, 9, 9)]);
        assert_eq!(*source.dropped.borrow(), [id(0, 0, 0)]);
        cache.arrive(SLIDE, id(0, 0, 0), Some(pixels()));
        source.frame(&mut cache, &[id(0, 9, 9)]);
        assert!(cache.take_uploads().is_empty());
        assert_eq!(cache.waiting(), 1);
    }

    #[test]
    fn the_longest_unseen_tile_makes_room_and_one_in_view_never_does() {
        let (mut cache, mut source) = (TileCache::new(2 * TILE_BYTES), Source::default());
        assert_eq!(cache.capacity(), 2);
        let [a, b, c] = [id(0, 0, 0), id(0, 1, 0), id(0, 2, 0)];
        for tile in [a, b] {
            source.frame(&mut cache, &[tile]);
            cache.arrive(SLIDE, tile, Some(pixels()));
            source.frame(&mut cache, &[tile]);
        }
        source.frame(&mut cache, &[b]);
        source.frame(&mut cache, &[c, b]);
        cache.arrive(SLIDE, c, Some(pixels()));
        assert_eq!(source.frame(&mut cache, &[c, b]).len(), 2, "c took a's place");
        assert!(source.frame(&mut cache, &[a]).is_empty());
        source.frame(&mut cache, &[b, c, a]);
        cache.arrive(SLIDE, a, Some(pixels()));
        let drawn = source.frame(&mut cache, &[b, c, a]);
        assert_eq!(drawn.len(), 2, "there is room for two, and both are in view");
    }

    #[test]
    fn a_tile_that_cannot_be_read_is_not_asked_for_again() {
        let (mut cache, mut source) = (TileCache::new(8 * TILE_BYTES), Source::default());
        source.frame(&mut cache, &[id(0, 0, 0)]);
        cache.arrive(SLIDE, id(0, 0, 0), None);
        source.frame(&mut cache, &[id(0, 0, 0)]);
        assert_eq!(source.asked.len(), 1);
        cache.forget(SLIDE);
        source.frame(&mut cache, &[id(0, 0, 0)]);
        assert_eq!(source.asked.len(), 2, "a slide that is opened again is read again");
    }

    #[test]
    fn a_tile_lost_with_its_reading_process_is_asked_for_again() {
        let (mut cache, mut source) = (TileCache::new(8 * TILE_BYTES), Source::default());
        let tile = id(0, 0, 0);
        source.frame(&mut cache, &[tile]);
        cache.take_back(SLIDE, tile);
        source.frame(&mut cache, &[tile]);
        assert_eq!(source.asked, [tile, tile]);
        cache.arrive(SLIDE, tile, Some(pixels()));
        source.frame(&mut cache, &[tile]);
        cache.take_back(SLIDE, tile);
        assert_eq!(source.frame(&mut cache, &[tile]).len(), 1, "one that is there stays");
    }

    #[test]
    fn uploads_are_bounded_in_a_frame() {
        let (mut cache, mut source) = (TileCache::new(64 * TILE_BYTES), Source::default());
        let many: Vec<TileId> = (0..40).map(|n| id(0, n % 8, n / 8)).collect();
        source.frame(&mut cache, &many);
        for &tile in &many {
            cache.arrive(SLIDE, tile, Some(pixels()));
        }
        source.frame(&mut cache, &many);
        assert_eq!(cache.take_uploads().len(), UPLOADS_PER_FRAME);
        assert!(cache.has_arrived());
        for _ in 0..4 {
            source.frame(&mut cache, &many);
        }
        assert!(!cache.has_arrived() && cache.is_complete(SLIDE, &plan_of(&many)));
    }
}
