//! A cache driven by hand, frame by frame.

use image::RgbImage;

use super::super::tile_plan::tests::grid;
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
    TilePlan { level, visible: visible.to_vec(), margin: vec![], next: vec![], base: vec![], is_cut: false }
}

/// A frame that shows these tiles: what it misses, and how it is drawn.
fn frame(cache: &mut TileCache, visible: &[TileId]) -> (Vec<TileId>, Drawing) {
    let plan = plan_of(visible);
    cache.begin_frame();
    let (missing, in_view) = cache.missing(SLIDE, &plan);
    assert_eq!(in_view, missing.len(), "this plan looks not ahead");
    cache.show_arrived();
    (missing, cache.draw(SLIDE, &grid(), &plan))
}

/// A cache in which these tiles are resident.
fn holding(slots: usize, tiles: &[TileId]) -> TileCache {
    let mut cache = TileCache::new(slots * TILE_BYTES);
    for &tile in tiles {
        frame(&mut cache, &[tile]);
        cache.arrive(SLIDE, tile, pixels());
        frame(&mut cache, &[tile]);
    }
    cache.take_uploads();
    cache
}

#[test]
fn a_tile_is_missing_until_it_arrives_and_is_then_drawn() {
    let mut cache = TileCache::new(64 * TILE_BYTES);
    let tile = id(0, 3, 2);
    let (missing, drawing) = frame(&mut cache, &[tile]);
    assert_eq!(missing, [tile]);
    assert!(drawing.draws.is_empty() && drawing.has_missing && drawing.has_blank);
    cache.arrive(SLIDE, tile, pixels());
    let (missing, drawing) = frame(&mut cache, &[tile]);
    assert!(missing.is_empty() && !drawing.has_missing && !drawing.has_blank);
    assert_eq!(drawing.draws.len(), 1);
    assert_eq!(drawing.draws[0].rect, tile_rect(&grid(), tile));
    assert_eq!(drawing.draws[0].uv, [0.0, 0.0, 1.0, 1.0]);
    assert_eq!(cache.take_uploads().len(), 1);
    assert!(cache.take_uploads().is_empty());
    assert!(cache.is_complete(SLIDE, &plan_of(&[tile])));
}

#[test]
fn a_missing_tile_is_cut_from_the_nearest_coarser_one() {
    let mut cache = holding(64, &[id(2, 0, 0)]);
    // Level 2 has 16 level-0 pixels a pixel: a level-0 tile is a sixteenth of its tile's side.
    let (_, drawing) = frame(&mut cache, &[id(0, 1, 0)]);
    assert_eq!(drawing.draws[0].uv, [0.0625, 0.0, 0.125, 0.0625]);
    assert!(drawing.has_missing && !drawing.has_blank);
    cache.arrive(SLIDE, id(1, 0, 0), pixels());
    let (_, drawing) = frame(&mut cache, &[id(0, 1, 0)]);
    assert_eq!(drawing.draws[0].uv, [0.25, 0.0, 0.5, 0.25], "level 1 is nearer");
}

#[test]
fn zooming_out_draws_what_is_there_of_the_finer_level() {
    let children: Vec<TileId> = (0..16).map(|n| id(0, n % 4, n / 4)).collect();
    let mut cache = holding(64, &children);
    let (missing, drawing) = frame(&mut cache, &[id(1, 0, 0)]);
    assert_eq!((missing.len(), drawing.draws.len(), drawing.has_blank), (1, 16, false));
    let mut cache = holding(64, &children[1..]);
    let (_, drawing) = frame(&mut cache, &[id(1, 0, 0)]);
    assert!(
        drawing.draws.is_empty() && drawing.has_blank,
        "only whole tiles, so that nothing lies over another"
    );
}

#[test]
fn a_coarse_level_that_is_not_all_there_leaves_a_blank_that_is_counted() {
    let mut cache = holding(64, &[id(1, 0, 0)]);
    let (_, drawing) = frame(&mut cache, &[id(0, 3, 0), id(0, 4, 0)]);
    assert_eq!((drawing.draws.len(), drawing.has_blank), (1, true));
}

#[test]
fn the_longest_unseen_tile_makes_room_and_one_in_view_never_does() {
    let [a, b, c] = [id(0, 0, 0), id(0, 1, 0), id(0, 2, 0)];
    let mut cache = holding(2, &[a, b]);
    assert_eq!((cache.capacity(), cache.slots_used()), (2, 2));
    frame(&mut cache, &[b]);
    frame(&mut cache, &[c, b]);
    cache.arrive(SLIDE, c, pixels());
    assert_eq!(frame(&mut cache, &[c, b]).1.draws.len(), 2, "c took a's place");
    assert_eq!(frame(&mut cache, &[b, c, a]).0, [a]);
    cache.arrive(SLIDE, a, pixels());
    assert_eq!(frame(&mut cache, &[b, c, a]).1.draws.len(), 2, "there is room for two, and both are in view");
}

#[test]
fn the_base_stays_however_long_it_is_not_drawn() {
    let base = id(2, 0, 0);
    let mut cache = holding(3, &[base]);
    let show = |cache: &mut TileCache, tile: TileId| {
        let plan = TilePlan { base: vec![base], ..plan_of(&[tile]) };
        cache.begin_frame();
        let missing = cache.missing(SLIDE, &plan).0;
        cache.show_arrived();
        missing
    };
    for column in 0..8 {
        let tile = id(0, column, 0);
        assert_eq!(show(&mut cache, tile), [tile]);
        cache.arrive(SLIDE, tile, pixels());
        show(&mut cache, tile);
        show(&mut cache, tile);
    }
    assert!(cache.is_complete(SLIDE, &plan_of(&[base])));
}

#[test]
fn a_tile_that_cannot_be_read_is_not_asked_for_again() {
    let mut cache = TileCache::new(8 * TILE_BYTES);
    let tile = id(0, 0, 0);
    cache.fail(SLIDE, tile);
    let (missing, drawing) = frame(&mut cache, &[tile]);
    assert!(missing.is_empty() && !drawing.has_missing && !drawing.has_blank);
    assert!(cache.is_complete(SLIDE, &plan_of(&[tile])));
    cache.forget(SLIDE);
    assert_eq!(frame(&mut cache, &[tile]).0, [tile], "a slide that is opened again is read again");
}

#[test]
fn a_closed_slide_gives_its_slots_back() {
    let mut cache = holding(2, &[id(0, 0, 0), id(0, 1, 0)]);
    cache.forget(SLIDE);
    for tile in [id(0, 5, 0), id(0, 6, 0)] {
        frame(&mut cache, &[tile]);
        cache.arrive(SLIDE, tile, pixels());
        assert_eq!(frame(&mut cache, &[tile]).1.draws.len(), 1);
    }
    assert_eq!(cache.slots_used(), 2);
}

#[test]
fn uploads_are_bounded_in_a_frame_and_those_in_view_come_first() {
    let mut cache = TileCache::new(128 * TILE_BYTES);
    let many: Vec<TileId> = (0..40).map(|n| id(0, n % 8, n / 8)).collect();
    let ahead: Vec<TileId> = (0..20).map(|n| id(0, n % 8, 8 + n / 8)).collect();
    frame(&mut cache, &many);
    for &tile in ahead.iter().chain(&many) {
        cache.arrive(SLIDE, tile, pixels());
    }
    assert_eq!(cache.room(), 0);
    let (missing, _) = frame(&mut cache, &many);
    assert!(missing.is_empty(), "what waits is not asked for again");
    assert_eq!(cache.take_uploads().len(), UPLOADS);
    let shown = many.iter().filter(|tile| cache.resident.contains_key(&(SLIDE, **tile))).count();
    assert_eq!(shown, UPLOADS, "none of the others before all that is in view");
    frame(&mut cache, &many);
    assert!(cache.is_complete(SLIDE, &plan_of(&many)));
    assert_eq!(cache.take_uploads().len(), many.len() - UPLOADS + UPLOADS_AHEAD);
    for _ in 0..3 {
        frame(&mut cache, &many);
    }
    assert!(!cache.has_arrived());
}

#[test]
fn what_is_missing_in_view_is_told_from_what_is_only_near() {
    let mut cache = TileCache::new(8 * TILE_BYTES);
    let (here, near, whole) = (id(0, 0, 0), id(0, 1, 0), id(2, 0, 0));
    let plan = TilePlan { margin: vec![near], base: vec![whole], ..plan_of(&[here]) };
    assert_eq!(cache.missing(SLIDE, &plan), (vec![whole, here, near], 2));
    cache.arrive(SLIDE, here, pixels());
    assert_eq!(cache.missing(SLIDE, &plan), (vec![whole, near], 1));
}

#[test]
fn what_comes_into_view_is_drawn_in_the_frame_in_which_it_does() {
    let mut cache = TileCache::new(128 * TILE_BYTES);
    frame(&mut cache, &[id(0, 0, 0)]);
    let next: Vec<TileId> = (0..20).map(|n| id(0, n % 8, 8 + n / 8)).collect();
    for &tile in &next {
        cache.arrive(SLIDE, tile, pixels());
    }
    cache.begin_frame();
    assert_eq!(cache.room_now(), UPLOADS, "nobody knows yet what will be in view");
    assert!(cache.missing(SLIDE, &plan_of(&next)).0.is_empty());
    assert!(!cache.is_complete(SLIDE, &plan_of(&next)));
    assert_eq!(cache.room_now(), UPLOADS - next.len());
    cache.show_arrived();
    assert!(cache.is_complete(SLIDE, &plan_of(&next)));
    assert_eq!(cache.take_uploads().len(), next.len());
    assert_eq!(cache.room_now(), UPLOADS - next.len(), "a frame's bound holds for all of it");
}

#[test]
fn what_waits_and_is_not_in_view_holds_up_none_that_is() {
    let mut cache = TileCache::new(128 * TILE_BYTES);
    frame(&mut cache, &[id(0, 0, 0)]);
    for n in 0..30 {
        cache.arrive(SLIDE, id(0, n % 8, 1 + n / 8), pixels());
    }
    assert_eq!(cache.room(), UPLOADS);
    cache.arrive(SLIDE, id(0, 0, 0), pixels());
    assert_eq!(cache.room(), UPLOADS - 1);
    frame(&mut cache, &[id(0, 0, 0)]);
    assert!(cache.is_complete(SLIDE, &plan_of(&[id(0, 0, 0)])));
}
