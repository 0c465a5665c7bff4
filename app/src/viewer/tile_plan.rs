//! Which tiles a viewport needs: the level that suits its scale, the cells in view (the middle first), and a margin.
//!
//! Pure geometry over a slide's levels; what is loaded, and what is drawn instead of it, is `tile_cache.rs`.

use std::ops::Range;

use egui::Rect;

use super::viewport::{SlideRect, Viewport};
use crate::slide::{SlideInfo, TILE_PX, TileId};

/// A level is fine enough when a screen pixel is at most this much finer than one of its own: the next finer level of a
/// pyramid with ratio 4 would cost up to 16 times the tiles.
const LARGEST_BLUR: f64 = 1.2;
/// The coarsest level is always kept, if it is not larger than this.
const MOST_BASE_TILES: u64 = 16;

/// What to draw and load for one frame.
#[derive(Clone, Debug, PartialEq)]
pub struct TilePlan {
    pub level: u32,
    /// In view, nearest to the middle first.
    pub visible: Vec<TileId>,
    /// One tile further out on each side, for when the slide is moved.
    pub margin: Vec<TileId>,
    /// The whole coarsest level, drawn where nothing finer has come yet; empty when it is large.
    pub base: Vec<TileId>,
    /// Whether more tiles are in view than may be, at the coarsest level too: `visible` is the middle of them.
    pub is_cut: bool,
}

impl TilePlan {
    /// Plans for `screen` with `pixels_per_point` physical pixels; at most `most_tiles` are visible.
    pub fn new(
        info: &SlideInfo,
        viewport: &Viewport,
        screen: Rect,
        pixels_per_point: f32,
        most_tiles: usize,
    ) -> Self {
        let view = viewport.visible(screen);
        let downsample = viewport.slide_per_point / f64::from(pixels_per_point.max(0.1));
        let coarsest = info.levels.len().saturating_sub(1) as u32;
        let mut level = info.level_for_downsample(downsample * LARGEST_BLUR).min(coarsest);
        while count(info, level, &view) > most_tiles as u64 && level < coarsest {
            level += 1;
        }
        let is_cut = count(info, level, &view) > most_tiles as u64;
        let seen = if is_cut { middle_part(info, level, &view, most_tiles) } else { view };
        let mut visible = cells(info, level, &seen, 0);
        let middle = (f64::midpoint(view.x0, view.x1), f64::midpoint(view.y0, view.y1));
        visible.sort_by(|a, b| distance(info, *a, middle).total_cmp(&distance(info, *b, middle)));
        visible.truncate(most_tiles);
        let room = if is_cut { 0 } else { most_tiles - visible.len() };
        let margin = if room == 0 { Vec::new() } else { ring(info, level, &seen, room) };
        let (columns, rows) = info.tiles(coarsest);
        let base = if u64::from(columns) * u64::from(rows) <= MOST_BASE_TILES {
            cells(info, coarsest, &SlideRect::of_size(f64::INFINITY, f64::INFINITY), 0)
        } else {
            Vec::new()
        };
        Self { level, visible, margin, base, is_cut }
    }

    /// Everything worth loading, most wanted first.
    pub fn wanted(&self) -> impl DoubleEndedIterator<Item = TileId> {
        self.base.iter().chain(&self.visible).chain(&self.margin).copied()
    }
}

/// The rectangle that a tile covers.
pub fn tile_rect(info: &SlideInfo, tile: TileId) -> SlideRect {
    let Some(level) = info.levels.get(tile.level as usize) else {
        return SlideRect::of_size(0.0, 0.0);
    };
    let place = |cell: u32, size: u32| {
        let start = f64::from(cell) * f64::from(TILE_PX);
        (start * level.downsample, (start + f64::from(TILE_PX)).min(f64::from(size)) * level.downsample)
    };
    let ((x0, x1), (y0, y1)) = (place(tile.column, level.width), place(tile.row, level.height));
    SlideRect { x0, y0, x1, y1 }
}

/// The tiles of `level` that touch `view`, with `margin` more on each side, row by row.
pub fn cells(info: &SlideInfo, level: u32, view: &SlideRect, margin: u32) -> Vec<TileId> {
    let (across, down) = ranges(info, level, view, margin);
    down.flat_map(|row| across.clone().map(move |column| TileId { level, column, row })).collect()
}

/// How many tiles of `level` touch `view`: of a slide without coarser levels far too many to list.
fn count(info: &SlideInfo, level: u32, view: &SlideRect) -> u64 {
    let (across, down) = ranges(info, level, view, 0);
    across.len() as u64 * down.len() as u64
}

/// The tiles around those that touch `view`, `most` at the most.
fn ring(info: &SlideInfo, level: u32, view: &SlideRect, most: usize) -> Vec<TileId> {
    let (across, down) = ranges(info, level, view, 0);
    let mut ring = cells(info, level, view, 1);
    ring.retain(|tile| !(across.contains(&tile.column) && down.contains(&tile.row)));
    ring.truncate(most);
    ring
}

/// The middle of what is seen of the slide, no larger than `most_tiles` of `level` are.
fn middle_part(info: &SlideInfo, level: u32, view: &SlideRect, most_tiles: usize) -> SlideRect {
    let whole = SlideRect::of_size(f64::from(info.width()), f64::from(info.height()));
    let seen = view.intersection(&whole).unwrap_or(*view);
    // A part that begins inside of a tile touches one more than its size says.
    let tiles = ((most_tiles as f64).sqrt().floor() - 1.0).max(0.5);
    let half = tiles * tile_side(info, level) / 2.0;
    let (x, y) = (f64::midpoint(seen.x0, seen.x1), f64::midpoint(seen.y0, seen.y1));
    let part = SlideRect { x0: x - half, y0: y - half, x1: x + half, y1: y + half };
    part.intersection(&seen).unwrap_or(part)
}

/// Level-0 pixels.
fn tile_side(info: &SlideInfo, level: u32) -> f64 {
    info.levels.get(level as usize).map_or(1.0, |level| level.downsample) * f64::from(TILE_PX)
}

/// Columns and rows of the tiles that touch `view`.
fn ranges(info: &SlideInfo, level: u32, view: &SlideRect, margin: u32) -> (Range<u32>, Range<u32>) {
    if view.x1 <= 0.0 || view.y1 <= 0.0 {
        return (0..0, 0..0);
    }
    let (columns, rows) = info.tiles(level);
    let side = tile_side(info, level);
    let range = |from: f64, to: f64, count: u32| {
        // Casts from floats saturate, so that views far outside the slide give empty ranges.
        let first = ((from / side).floor().max(0.0) as u32).saturating_sub(margin);
        let end = ((to / side).ceil().max(0.0) as u32).saturating_add(margin).min(count);
        first..end
    };
    (range(view.x0, view.x1, columns), range(view.y0, view.y1, rows))
}

fn distance(info: &SlideInfo, tile: TileId, (x, y): (f64, f64)) -> f64 {
    let rect = tile_rect(info, tile);
    (f64::midpoint(rect.x0, rect.x1) - x).hypot(f64::midpoint(rect.y0, rect.y1) - y)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use egui::{pos2, vec2};

    use super::*;
    use crate::slide::{Level, MppOrigin};

    /// A slide of 4096 × 3000 level-0 pixels with levels 1, 4 and 16.
    pub(crate) fn slide() -> SlideInfo {
        let level = |downsample: u32| Level {
            width: 4096 / downsample,
            height: 3000 / downsample,
            downsample: f64::from(downsample),
        };
        SlideInfo {
            path: "a.tif".into(),
            format: "test".into(),
            vendor: None,
            levels: vec![level(1), level(4), level(16)],
            mpp: None,
            mpp_origin: MppOrigin::Missing,
            mpp_source: String::new(),
            objective_power: None,
            background: [255; 3],
            properties: BTreeMap::new(),
            associated: Vec::new(),
            icc_profile: false,
            hash: String::new(),
            notes: Vec::new(),
        }
    }

    fn screen() -> Rect {
        Rect::from_min_size(pos2(0.0, 0.0), vec2(800.0, 600.0))
    }

    fn plan(slide_per_point: f64, pixels_per_point: f32) -> TilePlan {
        let mut viewport = Viewport::fitted(4096, 3000, screen().size());
        viewport.slide_per_point = slide_per_point;
        TilePlan::new(&slide(), &viewport, screen(), pixels_per_point, 500)
    }

    #[test]
    fn the_level_is_the_coarsest_that_looks_sharp() {
        assert_eq!(plan(1.0, 1.0).level, 0);
        assert_eq!(plan(3.0, 1.0).level, 0, "level 1 would be drawn a third larger");
        assert_eq!(plan(3.6, 1.0).level, 1);
        assert_eq!(plan(3.6, 2.0).level, 0, "twice the pixels on the same screen");
        assert_eq!(plan(100.0, 1.0).level, 2);
    }

    #[test]
    fn the_middle_comes_first_and_everything_in_view_is_there() {
        let plan = plan(1.0, 1.0);
        assert_eq!(plan.visible[0], TileId { level: 0, column: 7, row: 5 });
        // 800 × 600 pixels around (2048, 1500): columns 6..10 (1648 to 2448), rows 4..8 (1200 to 1800).
        assert_eq!(plan.visible.len(), 4 * 4);
        assert_eq!(plan.visible.len() + plan.margin.len(), 6 * 6);
        assert_eq!(plan.base, vec![TileId { level: 2, column: 0, row: 0 }]);
        assert_eq!(plan.wanted().next(), plan.base.first().copied());
    }

    #[test]
    fn too_many_tiles_mean_a_coarser_level() {
        let mut viewport = Viewport::fitted(4096, 3000, screen().size());
        viewport.slide_per_point = 3.0;
        let plan = TilePlan::new(&slide(), &viewport, screen(), 1.0, 20);
        assert_eq!(plan.level, 1);
        assert!(plan.visible.len() <= 20 && !plan.visible.is_empty());
        assert!(!plan.is_cut);
    }

    /// A slide with level 0 alone.
    fn flat(width: u32, height: u32) -> SlideInfo {
        SlideInfo { levels: vec![Level { width, height, downsample: 1.0 }], ..slide() }
    }

    #[test]
    fn of_one_large_level_the_middle_is_planned_and_nothing_else_is_listed() {
        for (width, height) in [(46_000, 33_000), (u32::MAX, u32::MAX)] {
            let viewport = Viewport::fitted(width, height, screen().size());
            let plan = TilePlan::new(&flat(width, height), &viewport, screen(), 1.0, 500);
            assert!(plan.is_cut && plan.margin.is_empty() && plan.base.is_empty());
            assert!((400..=500).contains(&plan.visible.len()), "{} tiles", plan.visible.len());
            let middle = (f64::from(width) / 2.0, f64::from(height) / 2.0);
            assert!(tile_rect(&flat(width, height), plan.visible[0]).contains(middle));
        }
        let mut viewport = Viewport::fitted(46_000, 33_000, screen().size());
        viewport.slide_per_point = 1.0;
        let plan = TilePlan::new(&flat(46_000, 33_000), &viewport, screen(), 1.0, 500);
        assert!(!plan.is_cut && !plan.margin.is_empty(), "near enough, all of it is there");
    }

    #[test]
    fn the_last_tiles_end_with_the_slide_and_beside_it_there_are_none() {
        let info = slide();
        let last = tile_rect(&info, TileId { level: 0, column: 15, row: 11 });
        assert_eq!((last.x1, last.y1), (4096.0, 3000.0));
        assert_eq!(info.tiles(0), (16, 12));
        let beside = SlideRect { x0: -900.0, y0: 10.0, x1: -10.0, y1: 500.0 };
        assert!(cells(&info, 0, &beside, 0).is_empty());
        let below = SlideRect { x0: 0.0, y0: 4000.0, x1: 100.0, y1: 5000.0 };
        assert!(cells(&info, 0, &below, 0).is_empty());
    }
}
