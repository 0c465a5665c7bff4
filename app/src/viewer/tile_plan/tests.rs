//! What is planned for views of slides of three levels, of one level, in large and small cells.

use std::collections::BTreeMap;

use egui::{pos2, vec2};

use super::*;
use crate::slide::{GridLevel, Level, MppOrigin, SlideInfo};

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

/// Its cells.
pub(crate) fn grid() -> TileGrid {
    TileGrid::of(&slide())
}

fn screen() -> Rect {
    Rect::from_min_size(pos2(0.0, 0.0), vec2(800.0, 600.0))
}

fn viewport(slide_per_point: f64) -> Viewport {
    let mut viewport = Viewport::fitted(4096, 3000, screen().size());
    viewport.slide_per_point = slide_per_point;
    viewport
}

fn plan(slide_per_point: f64, pixels_per_point: f32) -> TilePlan {
    moving(&viewport(slide_per_point), pixels_per_point, &Motion::default())
}

fn moving(viewport: &Viewport, pixels_per_point: f32, motion: &Motion) -> TilePlan {
    TilePlan::new(&grid(), viewport, screen(), pixels_per_point, 500, motion)
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
    assert!(plan.next.iter().all(|tile| tile.level == 1) && !plan.next.is_empty(), "for zooming out");
    let wanted: Vec<TileId> = plan.wanted().collect();
    let once: std::collections::BTreeSet<TileId> = wanted.iter().copied().collect();
    assert_eq!(wanted.len(), once.len());
}

#[test]
fn a_movement_brings_the_tiles_ahead_first() {
    let motion = Motion { velocity: (1500.0, 0.0), ..Motion::default() };
    let plan = moving(&viewport(1.0), 1.0, &motion);
    assert!(plan.margin[0].column >= 10, "{:?}", plan.margin[0]);
    assert!(plan.margin.iter().any(|tile| tile.column == 12), "three quarters of a view ahead");
    assert!(plan.margin.len() <= MOST_MARGIN);
}

#[test]
fn zooming_in_prepares_the_middle_of_the_finer_level() {
    let motion = Motion { zoom: -2.0, ..Motion::default() };
    let plan = moving(&viewport(3.8), 1.0, &motion);
    assert_eq!(plan.level, 1);
    assert!(plan.next.iter().all(|tile| tile.level == 0) && !plan.next.is_empty());
    let out = moving(&viewport(3.8), 1.0, &Motion::default());
    assert!(out.next.iter().all(|tile| tile.level == 2));
}

#[test]
fn a_movement_is_measured_and_forgotten() {
    let (mut motion, mut view) = (Motion::default(), viewport(1.0));
    motion.follow(&view, 0.016);
    assert_eq!(motion.velocity, (0.0, 0.0));
    for _ in 0..60 {
        view.centre.0 += 10.0;
        motion.follow(&view, 0.016);
    }
    assert!((motion.velocity.0 - 625.0).abs() < 40.0, "{:?}", motion.velocity);
    for _ in 0..120 {
        motion.follow(&view, 0.016);
    }
    assert!(motion.velocity.0 < 2.0);
    view.slide_per_point = 0.5;
    motion.follow(&view, 0.016);
    assert!(motion.is_zooming_in());
}

#[test]
fn a_turned_view_leaves_out_what_its_box_holds_beside_it() {
    let mut turned = viewport(1.0);
    turned.rotation = std::f64::consts::FRAC_PI_4;
    let plan = moving(&turned, 1.0, &Motion::default());
    let around = cells(&grid(), 0, &turned.visible(screen()), 0).len();
    assert!(plan.visible.len() < around, "{} of {around}", plan.visible.len());
    let corner = turned.slide_from_screen(screen(), pos2(1.0, 1.0));
    assert!(plan.visible.iter().any(|tile| tile_rect(&grid(), *tile).contains(corner)));
}

#[test]
fn too_many_tiles_mean_a_coarser_level() {
    let plan = TilePlan::new(&grid(), &viewport(3.0), screen(), 1.0, 20, &Motion::default());
    assert_eq!(plan.level, 1);
    assert!(plan.visible.len() <= 20 && !plan.visible.is_empty());
    assert!(!plan.is_cut);
}

/// A slide with level 0 alone.
fn flat(width: u32, height: u32) -> TileGrid {
    let level = GridLevel { width, height, downsample: 1.0, cell: (256, 256), per_file_tile: (1, 1) };
    TileGrid { levels: vec![level] }
}

#[test]
fn of_one_large_level_the_middle_is_planned_and_nothing_else_is_listed() {
    let plan_of = |width: u32, height: u32, viewport: &Viewport| {
        TilePlan::new(&flat(width, height), viewport, screen(), 1.0, 500, &Motion::default())
    };
    for (width, height) in [(46_000, 33_000), (u32::MAX, u32::MAX)] {
        let plan = plan_of(width, height, &Viewport::fitted(width, height, screen().size()));
        assert!(plan.is_cut && plan.margin.is_empty() && plan.base.is_empty() && plan.next.is_empty());
        assert!((400..=500).contains(&plan.visible.len()), "{} tiles", plan.visible.len());
        let middle = (f64::from(width) / 2.0, f64::from(height) / 2.0);
        assert!(tile_rect(&flat(width, height), plan.visible[0]).contains(middle));
    }
    let mut viewport = Viewport::fitted(46_000, 33_000, screen().size());
    viewport.slide_per_point = 1.0;
    let plan = plan_of(46_000, 33_000, &viewport);
    assert!(!plan.is_cut && !plan.margin.is_empty(), "near enough, all of it is there");
}

#[test]
fn the_last_tiles_end_with_the_slide_and_beside_it_there_are_none() {
    let grid = grid();
    let last = tile_rect(&grid, TileId { level: 0, column: 15, row: 11 });
    assert_eq!((last.x1, last.y1), (4096.0, 3000.0));
    assert_eq!(grid.tiles(0), (16, 12));
    let beside = SlideRect { x0: -900.0, y0: 10.0, x1: -10.0, y1: 500.0 };
    assert!(cells(&grid, 0, &beside, 0).is_empty());
    let below = SlideRect { x0: 0.0, y0: 4000.0, x1: 100.0, y1: 5000.0 };
    assert!(cells(&grid, 0, &below, 0).is_empty());
}

#[test]
fn cells_that_are_no_squares_of_256_lie_where_they_belong() {
    let level =
        GridLevel { width: 700, height: 500, downsample: 2.0, cell: (240, 128), per_file_tile: (1, 1) };
    let grid = TileGrid { levels: vec![level] };
    let rect = tile_rect(&grid, TileId { level: 0, column: 2, row: 3 });
    assert_eq!((rect.x0, rect.y0, rect.x1, rect.y1), (960.0, 768.0, 1400.0, 1000.0));
    let touched = cells(&grid, 0, &SlideRect { x0: 470.0, y0: 0.0, x1: 490.0, y1: 10.0 }, 0);
    assert_eq!(touched.len(), 2, "it lies over the border at 480");
}
