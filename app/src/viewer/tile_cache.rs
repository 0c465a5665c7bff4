//! Which tiles lie where in the renderer's textures, bounded in bytes; the least recently drawn make room.
//!
//! After walkers' and OpenSeadragon's caches: asking never waits, and a tile that is not there yet is drawn from others, finer ones where all of
//! them are there (zooming out), else the nearest coarser ones. All panes share one cache. It neither decodes (`tile_engine.rs` does) nor touches
//! the GPU (`tile_renderer.rs` carries the uploads out), so that tests drive it by hand.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::tile_pixels::{TILE_BYTES, TilePixels};
use super::tile_plan::{TilePlan, cells, count, tile_rect};
use super::viewport::SlideRect;
use crate::slide::{TILE_PX, TileGrid, TileId};

/// Tiles handed to the GPU in one frame: a field of 1280 × 800 pixels at once (lavapipe copies a tile in about 0.2 ms, a graphics card faster);
/// and how many of them may be tiles that are not in view.
pub const UPLOADS: usize = 30;
const UPLOADS_AHEAD: usize = 6;
/// Tiles that wait for their slots: with as many, no more are taken for a frame.
const MOST_WAITING: usize = 48;
/// Finer tiles that one missing tile may be drawn from: two levels of a pyramid of ratio 4 would be 256.
const MOST_FINER: u64 = 25;

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

/// How a plan is drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drawing {
    /// No two of them lie over each other.
    pub draws: Vec<TileDraw>,
    /// Some of the view is drawn from other tiles than its own, or not at all.
    pub has_missing: bool,
    /// Some of the view is not drawn at all, and not because it cannot be read.
    pub has_blank: bool,
}

#[derive(Clone, Copy, Debug)]
struct Resident {
    slot: u32,
    last_drawn: u64,
}

/// The cache.
pub struct TileCache {
    resident: BTreeMap<TileKey, Resident>,
    /// Resident tiles by when they were drawn last; slots make the places unique.
    by_age: BTreeMap<(u64, u32), TileKey>,
    /// Cannot be read: not asked for again.
    failed: BTreeSet<TileKey>,
    /// Arrived and without a slot yet, most wanted first.
    arrived: VecDeque<(TileKey, Arc<TilePixels>)>,
    /// Slots that were used and are free.
    free: Vec<u32>,
    used: u32,
    slots: u32,
    frame: u64,
    /// What is in view in this frame; until that is known, nothing.
    in_view: BTreeSet<TileKey>,
    /// Uploads that are left of this frame, and how many of them may be of tiles that are not in view.
    left: usize,
    left_ahead: usize,
    uploads: Vec<Upload>,
}

impl TileCache {
    /// A cache whose textures take `bytes` at the most.
    pub fn new(bytes: usize) -> Self {
        Self {
            resident: BTreeMap::new(),
            by_age: BTreeMap::new(),
            failed: BTreeSet::new(),
            arrived: VecDeque::new(),
            free: Vec::new(),
            used: 0,
            slots: (bytes / TILE_BYTES).max(1) as u32,
            frame: 0,
            in_view: BTreeSet::new(),
            left: 0,
            left_ahead: 0,
            uploads: Vec::new(),
        }
    }

    /// Tiles that fit.
    pub fn capacity(&self) -> usize {
        self.slots as usize
    }

    /// Slots that have been used so far: textures grow with them.
    pub fn slots_used(&self) -> u32 {
        self.used
    }

    /// Whether all that is in view of `plan` is drawn from its own tiles.
    pub fn is_complete(&self, slide: SlideKey, plan: &TilePlan) -> bool {
        plan.visible
            .iter()
            .all(|tile| self.resident.contains_key(&(slide, *tile)) || self.failed.contains(&(slide, *tile)))
    }

    /// Begins a frame of all panes: gives arrived tiles that were in view in the last one their slots.
    pub fn begin_frame(&mut self) {
        self.frame += 1;
        (self.left, self.left_ahead) = (UPLOADS, UPLOADS_AHEAD);
        let before = std::mem::take(&mut self.in_view);
        self.give_slots(|key| before.contains(key), usize::MAX);
    }

    /// Gives arrived tiles their slots: those that are in view in this frame, then a few others.
    pub fn show_arrived(&mut self) {
        let now = std::mem::take(&mut self.in_view);
        self.give_slots(|key| now.contains(key), usize::MAX);
        self.in_view = now;
        self.left_ahead -= self.give_slots(|_key| true, self.left_ahead);
    }

    /// To those of a kind, `most` of them at the most; returns to how many.
    fn give_slots(&mut self, is_meant: impl Fn(&TileKey) -> bool, most: usize) -> usize {
        let (mut later, mut given) = (VecDeque::new(), 0);
        for (key, pixels) in std::mem::take(&mut self.arrived) {
            if given == most.min(self.left) || !is_meant(&key) {
                later.push_back((key, pixels));
                continue;
            }
            given += 1;
            self.place(key, pixels);
        }
        self.left -= given;
        self.arrived = later;
        given
    }

    /// How many tiles can be taken before the next frame begins. Those that wait and are not in view hold up none that are.
    pub fn room(&self) -> usize {
        if self.arrived.len() >= MOST_WAITING {
            return 0;
        }
        let in_view = self.arrived.iter().filter(|(key, _)| self.in_view.contains(key)).count();
        UPLOADS.saturating_sub(in_view)
    }

    /// How many can still be taken for this frame, once it is known what is in view.
    pub fn room_now(&self) -> usize {
        self.room().saturating_sub(UPLOADS - self.left)
    }

    /// Takes a decoded tile; it gets its slot when a frame begins.
    pub fn arrive(&mut self, slide: SlideKey, tile: TileId, pixels: Arc<TilePixels>) {
        let key = (slide, tile);
        if !self.resident.contains_key(&key) && self.arrived.iter().all(|(waiting, _)| *waiting != key) {
            self.failed.remove(&key);
            self.arrived.push_back((key, pixels));
        }
    }

    /// A tile cannot be read: nobody asks for it again until the slide is forgotten.
    pub fn fail(&mut self, slide: SlideKey, tile: TileId) {
        self.failed.insert((slide, tile));
    }

    /// What `plan` wants and is not there, most wanted first, and how many of the first are in view. In passing, what it draws when something is
    /// missing is kept.
    pub fn missing(&mut self, slide: SlideKey, plan: &TilePlan) -> (Vec<TileId>, usize) {
        for &tile in &plan.base {
            self.touch((slide, tile));
        }
        self.in_view.extend(plan.base.iter().chain(&plan.visible).map(|tile| (slide, *tile)));
        let waiting: BTreeSet<TileKey> = self.arrived.iter().map(|(key, _)| *key).collect();
        let is_missing = |tile: &TileId| {
            let key = (slide, *tile);
            !self.resident.contains_key(&key) && !self.failed.contains(&key) && !waiting.contains(&key)
        };
        let missing: Vec<TileId> = plan.wanted().filter(is_missing).collect();
        let in_view = missing.iter().take_while(|tile| self.in_view.contains(&(slide, **tile))).count();
        (missing, in_view)
    }

    /// Forgets a closed slide (or one that is opened again).
    pub fn forget(&mut self, slide: SlideKey) {
        self.arrived.retain(|((of, _), _)| *of != slide);
        self.failed.retain(|(of, _)| *of != slide);
        let gone: Vec<TileKey> = self.resident.keys().filter(|(of, _)| *of == slide).copied().collect();
        for key in gone {
            if let Some(slot) = self.evict(key) {
                self.free.push(slot);
            }
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

    /// How to draw `plan` with what is there.
    pub fn draw(&mut self, slide: SlideKey, grid: &TileGrid, plan: &TilePlan) -> Drawing {
        let mut drawing = Drawing { draws: Vec::with_capacity(plan.visible.len()), ..Drawing::default() };
        for &tile in &plan.visible {
            let rect = tile_rect(grid, tile);
            if self.draw_part(slide, grid, tile, &rect, &mut drawing.draws) {
                continue;
            }
            let is_failed = self.failed.contains(&(slide, tile));
            drawing.has_missing |= !is_failed;
            let is_covered = self.cover_by_finer(slide, grid, tile, &rect, &mut drawing.draws)
                || self.cover_by_coarser(slide, grid, tile.level + 1, &rect, &mut drawing.draws);
            drawing.has_blank |= !is_covered && !is_failed;
        }
        drawing
    }

    /// Draws `part` from `tile`; false when that is not there.
    fn draw_part(
        &mut self,
        slide: SlideKey,
        grid: &TileGrid,
        tile: TileId,
        part: &SlideRect,
        draws: &mut Vec<TileDraw>,
    ) -> bool {
        let Some(slot) = self.touch((slide, tile)) else { return false };
        let whole = tile_rect(grid, tile);
        let side = grid.levels[tile.level as usize].downsample * f64::from(TILE_PX);
        let uv = |x: f64, y: f64| [((x - whole.x0) / side) as f32, ((y - whole.y0) / side) as f32];
        let ([left, top], [right, bottom]) = (uv(part.x0, part.y0), uv(part.x1, part.y1));
        draws.push(TileDraw { slot, rect: *part, uv: [left, top, right, bottom] });
        true
    }

    /// Draws `part` from the next finer level, if all of it is there.
    fn cover_by_finer(
        &mut self,
        slide: SlideKey,
        grid: &TileGrid,
        tile: TileId,
        part: &SlideRect,
        draws: &mut Vec<TileDraw>,
    ) -> bool {
        let Some(finer) = tile.level.checked_sub(1) else { return false };
        if count(grid, finer, part) > MOST_FINER {
            return false;
        }
        let children = cells(grid, finer, part, 0);
        if children.is_empty() || !children.iter().all(|child| self.resident.contains_key(&(slide, *child))) {
            return false;
        }
        for child in children {
            if let Some(shared) = part.intersection(&tile_rect(grid, child)) {
                self.draw_part(slide, grid, child, &shared, draws);
            }
        }
        true
    }

    /// Draws `part` from `level`, or where that is not there from coarser ones; false when some of it stays undrawn.
    fn cover_by_coarser(
        &mut self,
        slide: SlideKey,
        grid: &TileGrid,
        level: u32,
        part: &SlideRect,
        draws: &mut Vec<TileDraw>,
    ) -> bool {
        if level as usize >= grid.levels.len() {
            return false;
        }
        let mut is_covered = true;
        for parent in cells(grid, level, part, 0) {
            // Levels end a pixel apart: what none of them reaches is no hole.
            let Some(shared) = part.intersection(&tile_rect(grid, parent)) else { continue };
            is_covered &= self.draw_part(slide, grid, parent, &shared, draws)
                || self.cover_by_coarser(slide, grid, level + 1, &shared, draws);
        }
        is_covered
    }

    /// The slot of a resident tile, which counts as drawn.
    fn touch(&mut self, key: TileKey) -> Option<u32> {
        let resident = self.resident.get_mut(&key)?;
        if resident.last_drawn != self.frame {
            self.by_age.remove(&(resident.last_drawn, resident.slot));
            resident.last_drawn = self.frame;
            self.by_age.insert((self.frame, resident.slot), key);
        }
        Some(resident.slot)
    }

    fn place(&mut self, key: TileKey, pixels: Arc<TilePixels>) {
        let Some(slot) = self.free_slot() else { return };
        self.resident.insert(key, Resident { slot, last_drawn: self.frame });
        self.by_age.insert((self.frame, slot), key);
        self.uploads.push(Upload { slot, pixels });
    }

    /// An empty slot, else the one whose tile was drawn the longest ago, but not in the last frame.
    fn free_slot(&mut self) -> Option<u32> {
        if let Some(slot) = self.free.pop() {
            return Some(slot);
        }
        if self.used < self.slots {
            self.used += 1;
            return Some(self.used - 1);
        }
        let (&(last_drawn, _), &oldest) = self.by_age.first_key_value()?;
        if last_drawn + 1 >= self.frame {
            return None;
        }
        self.evict(oldest)
    }

    fn evict(&mut self, key: TileKey) -> Option<u32> {
        let Resident { slot, last_drawn } = self.resident.remove(&key)?;
        self.by_age.remove(&(last_drawn, slot));
        Some(slot)
    }
}

#[cfg(test)]
mod tests;
