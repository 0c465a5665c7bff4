//! Which tiles a viewport needs: the level that suits its scale, the cells in view (the middle first), then what will be needed soon: a margin,
//! further out where the view moves, and the next level.
//!
//! Pure geometry over a slide's cells; what is loaded, and what is drawn instead of it, is `tile_cache.rs`.

use std::ops::Range;

use egui::Rect;

use super::tile_pixels::TILE_BYTES;
use super::viewport::{SlideRect, Viewport};
use crate::slide::{TileGrid, TileId};

/// A level is fine enough when a screen pixel is at most this much finer than one of its own: the next finer level of a
/// pyramid with ratio 4 would cost up to 16 times the tiles.
const LARGEST_BLUR: f64 = 1.2;
/// The coarsest level is always kept, if its tiles take no more bytes than this.
const MOST_BASE_BYTES: usize = 32 << 20;
/// Tiles that are loaded before they are in view, beside and in the next level.
const MOST_MARGIN: usize = 64;
const MOST_NEXT: usize = 48;
/// How far ahead a movement is followed, in seconds.
const AHEAD_SECS: f64 = 0.5;
/// A movement is forgotten to a third in this time, in seconds.
const FORGET_SECS: f64 = 0.3;
/// A change of scale by this factor a second is zooming.
const ZOOMING: f64 = 1.3;

/// How the view of a slide has moved in the last frames.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Motion {
    /// Level-0 pixels a second.
    pub velocity: (f64, f64),
    /// The natural logarithm of the factor by which the slide becomes smaller in a second: below 0 while zooming in.
    pub zoom: f64,
    /// Centre and scale of the last frame.
    last: Option<((f64, f64), f64)>,
}

impl Motion {
    /// Takes in the view of a frame that comes `secs` after the one before.
    pub fn follow(&mut self, viewport: &Viewport, secs: f64) {
        let now = (viewport.centre, viewport.slide_per_point);
        let Some(((x, y), scale)) = self.last.replace(now) else { return };
        let secs = secs.clamp(1e-3, 1.0);
        let kept = (-secs / FORGET_SECS).exp();
        let blend = |old: f64, change: f64| old * kept + change / secs * (1.0 - kept);
        self.velocity = (blend(self.velocity.0, now.0.0 - x), blend(self.velocity.1, now.0.1 - y));
        self.zoom = blend(self.zoom, (now.1 / scale).ln());
    }

    fn is_zooming_in(&self) -> bool {
        self.zoom < -ZOOMING.ln()
    }
}

/// What to draw and load for one frame.
#[derive(Clone, Debug, PartialEq)]
pub struct TilePlan {
    pub level: u32,
    /// In view, nearest to the middle first.
    pub visible: Vec<TileId>,
    /// One tile further out on each side, more where the view moves to, and nearest to that first.
    pub margin: Vec<TileId>,
    /// Of the next level: the finer one's middle while zooming in, else the coarser one's.
    pub next: Vec<TileId>,
    /// The whole coarsest level, drawn where nothing finer has come yet; empty when it is large.
    pub base: Vec<TileId>,
    /// Whether more tiles are in view than may be, at the coarsest level too: `visible` is the middle of them.
    pub is_cut: bool,
}

impl TilePlan {
    /// Plans for `screen` with `pixels_per_point` physical pixels; at most `most_tiles` are visible.
    pub fn new(
        grid: &TileGrid,
        viewport: &Viewport,
        screen: Rect,
        pixels_per_point: f32,
        most_tiles: usize,
        motion: &Motion,
    ) -> Self {
        let view = viewport.visible(screen);
        let downsample = viewport.slide_per_point / f64::from(pixels_per_point.max(0.1));
        let coarsest = grid.levels.len().saturating_sub(1) as u32;
        let mut level = grid.level_for_downsample(downsample * LARGEST_BLUR).min(coarsest);
        while count(grid, level, &view) > most_tiles as u64 && level < coarsest {
            level += 1;
        }
        let is_cut = count(grid, level, &view) > most_tiles as u64;
        let seen = if is_cut { middle_part(grid, level, &view, most_tiles) } else { view };
        let middle = middle_of(&view);
        let mut visible = cells(grid, level, &seen, 0);
        if !viewport.is_upright() {
            // The box around a turned view holds corners that are not seen.
            visible.retain(|tile| viewport.screen_rect(screen, tile_rect(grid, *tile)).intersects(screen));
        }
        nearest_first(grid, &mut visible, middle);
        visible.truncate(most_tiles);
        let room = if is_cut { 0 } else { most_tiles - visible.len() };
        let margin = margin(grid, level, &view, &visible, room.min(MOST_MARGIN), motion);
        let next = next_level(grid, level, &view, (room - margin.len()).min(MOST_NEXT), motion);
        Self { level, visible, margin, next, base: base(grid, coarsest), is_cut }
    }

    /// Everything worth loading, most wanted first. What is in both the base and the rest comes once.
    pub fn wanted(&self) -> impl Iterator<Item = TileId> {
        let is_new = |tile: &TileId| self.base.is_empty() || !self.base.contains(tile);
        let rest = self.visible.iter().chain(&self.margin).chain(&self.next).copied();
        self.base.iter().copied().chain(rest.filter(is_new))
    }
}

/// The rectangle that a tile covers.
pub fn tile_rect(grid: &TileGrid, tile: TileId) -> SlideRect {
    let Some(level) = grid.levels.get(tile.level as usize) else {
        return SlideRect::of_size(0.0, 0.0);
    };
    let place = |cell: u32, side: u32, size: u32| {
        let start = f64::from(cell) * f64::from(side);
        (start * level.downsample, (start + f64::from(side)).min(f64::from(size)) * level.downsample)
    };
    let (x0, x1) = place(tile.column, level.cell.0, level.width);
    let (y0, y1) = place(tile.row, level.cell.1, level.height);
    SlideRect { x0, y0, x1, y1 }
}

/// The tiles of `level` that touch `view`, with `margin` more on each side, row by row.
pub fn cells(grid: &TileGrid, level: u32, view: &SlideRect, margin: u32) -> Vec<TileId> {
    let (across, down) = ranges(grid, level, view, margin);
    down.flat_map(|row| across.clone().map(move |column| TileId { level, column, row })).collect()
}

/// How many tiles of `level` touch `view`: of a slide without coarser levels far too many to list.
pub fn count(grid: &TileGrid, level: u32, view: &SlideRect) -> u64 {
    let (across, down) = ranges(grid, level, view, 0);
    across.len() as u64 * down.len() as u64
}

fn base(grid: &TileGrid, coarsest: u32) -> Vec<TileId> {
    let (columns, rows) = grid.tiles(coarsest);
    if u64::from(columns) * u64::from(rows) > (MOST_BASE_BYTES / TILE_BYTES) as u64 {
        return Vec::new();
    }
    cells(grid, coarsest, &SlideRect::of_size(f64::INFINITY, f64::INFINITY), 0)
}

/// The tiles around those in view, at most `most`, and those that the movement will bring.
fn margin(
    grid: &TileGrid,
    level: u32,
    view: &SlideRect,
    visible: &[TileId],
    most: usize,
    motion: &Motion,
) -> Vec<TileId> {
    if most == 0 {
        return Vec::new();
    }
    // As far as the next view at the most: a jump is no speed.
    let ahead = |velocity: f64, length: f64| (velocity * AHEAD_SECS).clamp(-length, length);
    let (x, y) = (ahead(motion.velocity.0, view.width()), ahead(motion.velocity.1, view.height()));
    let around = SlideRect {
        x0: view.x0 + x.min(0.0),
        y0: view.y0 + y.min(0.0),
        x1: view.x1 + x.max(0.0),
        y1: view.y1 + y.max(0.0),
    };
    // A view without coarser levels can hold more cells than could be listed; then there is no room either.
    if count(grid, level, &around) > 16 * (visible.len() + MOST_MARGIN) as u64 {
        return Vec::new();
    }
    let seen: std::collections::BTreeSet<TileId> = visible.iter().copied().collect();
    let mut margin = cells(grid, level, &around, 1);
    margin.retain(|tile| !seen.contains(tile));
    let middle = middle_of(view);
    nearest_first(grid, &mut margin, (middle.0 + x, middle.1 + y));
    margin.truncate(most);
    margin
}

fn next_level(grid: &TileGrid, level: u32, view: &SlideRect, most: usize, motion: &Motion) -> Vec<TileId> {
    let (next, view) = if motion.is_zooming_in() && level > 0 {
        let (x, y) = middle_of(view);
        let (half_width, half_height) = (view.width() / 4.0, view.height() / 4.0);
        let part =
            SlideRect { x0: x - half_width, y0: y - half_height, x1: x + half_width, y1: y + half_height };
        (level - 1, part)
    } else if (level as usize) + 1 < grid.levels.len() {
        (level + 1, *view)
    } else {
        return Vec::new();
    };
    if most == 0 || count(grid, next, &view) > 16 * MOST_NEXT as u64 {
        return Vec::new();
    }
    let mut cells = cells(grid, next, &view, 0);
    nearest_first(grid, &mut cells, middle_of(&view));
    cells.truncate(most);
    cells
}

/// The middle of what is seen of the slide, no larger than `most_tiles` of `level` are.
fn middle_part(grid: &TileGrid, level: u32, view: &SlideRect, most_tiles: usize) -> SlideRect {
    let seen = view.intersection(&whole(grid)).unwrap_or(*view);
    // A part that begins inside of a tile touches one more than its size says.
    let tiles = ((most_tiles as f64).sqrt().floor() - 1.0).max(0.5);
    let (across, down) = cell_size(grid, level);
    let (half_width, half_height) = (tiles * across / 2.0, tiles * down / 2.0);
    let (x, y) = middle_of(&seen);
    let part = SlideRect { x0: x - half_width, y0: y - half_height, x1: x + half_width, y1: y + half_height };
    part.intersection(&seen).unwrap_or(part)
}

/// The slide's own rectangle.
pub fn whole(grid: &TileGrid) -> SlideRect {
    grid.levels.first().map_or(SlideRect::of_size(0.0, 0.0), |level| {
        SlideRect::of_size(f64::from(level.width), f64::from(level.height))
    })
}

/// Width and height of a cell in level-0 pixels.
fn cell_size(grid: &TileGrid, level: u32) -> (f64, f64) {
    grid.levels.get(level as usize).map_or((1.0, 1.0), |level| {
        (f64::from(level.cell.0) * level.downsample, f64::from(level.cell.1) * level.downsample)
    })
}

/// Columns and rows of the tiles that touch `view`.
fn ranges(grid: &TileGrid, level: u32, view: &SlideRect, margin: u32) -> (Range<u32>, Range<u32>) {
    if view.x1 <= 0.0 || view.y1 <= 0.0 {
        return (0..0, 0..0);
    }
    let (columns, rows) = grid.tiles(level);
    let (across, down) = cell_size(grid, level);
    let range = |from: f64, to: f64, side: f64, count: u32| {
        // Casts from floats saturate, so that views far outside the slide give empty ranges.
        let first = ((from / side).floor().max(0.0) as u32).saturating_sub(margin);
        let end = ((to / side).ceil().max(0.0) as u32).saturating_add(margin).min(count);
        first..end
    };
    (range(view.x0, view.x1, across, columns), range(view.y0, view.y1, down, rows))
}

fn middle_of(rect: &SlideRect) -> (f64, f64) {
    (f64::midpoint(rect.x0, rect.x1), f64::midpoint(rect.y0, rect.y1))
}

fn nearest_first(grid: &TileGrid, tiles: &mut [TileId], place: (f64, f64)) {
    let distance = |tile: TileId| {
        let (x, y) = middle_of(&tile_rect(grid, tile));
        (x - place.0).hypot(y - place.1)
    };
    tiles.sort_by(|a, b| distance(*a).total_cmp(&distance(*b)));
}

#[cfg(test)]
pub(crate) mod tests;
