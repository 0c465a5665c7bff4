//! The tiles of all panes: what is asked for, what is there, and handing it to the renderer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use egui::{Context, Rect, Ui};

use super::super::event::TileFailure;
use super::super::read::colour;
use super::super::theme;
use super::super::workers::Workers;
use super::PaneFrame;
use crate::slide::TileId;
use crate::viewer::tile_cache::{Drawing, SlideKey, TileCache};
use crate::viewer::tile_engine::EngineCounters;
use crate::viewer::tile_pixels::{TILE_BYTES, TilePixels};
use crate::viewer::tile_plan::{Motion, TilePlan};
use crate::viewer::tile_renderer::{TileDrawData, UploadQueue};
use crate::viewer::viewport::{SlideRect, Viewport};

/// Texture memory for tiles.
const CACHE_BYTES: usize = 256 << 20;
/// Textures grow by as many tiles as one of them holds.
const PAGE_TILES: u32 = 64;
/// Failures that wait to be told; of one slide only the newest is shown anyway.
const MOST_FAILURES: usize = 16;

/// The tiles of all panes.
pub(super) struct Tiles {
    cache: TileCache,
    uploads: UploadQueue,
    prepare_nanos: Arc<AtomicU64>,
    taken: u64,
    counters: EngineCounters,
    motions: BTreeMap<SlideKey, Motion>,
    /// Slides that were complete once: a blank after that is counted.
    seen: BTreeSet<SlideKey>,
    frame: Option<u64>,
    /// Slides that were drawn in the last frame and in this one: the others are wanted no more.
    drawn: [BTreeSet<SlideKey>; 2],
    /// What the active pane misses in this frame, and how many of it are in view.
    active: Option<(SlideKey, Vec<TileId>, usize)>,
    failures: VecDeque<(SlideKey, TileId, TileFailure)>,
}

/// How a pane was drawn.
pub(super) struct Drawn {
    /// All that is in view is drawn from its own tiles.
    pub is_complete: bool,
    /// More is in view than can be drawn.
    pub is_cut: bool,
}

impl Default for Tiles {
    fn default() -> Self {
        Self {
            cache: TileCache::new(CACHE_BYTES),
            uploads: Arc::new(Mutex::new(VecDeque::new())),
            prepare_nanos: Arc::default(),
            taken: 0,
            counters: EngineCounters::default(),
            motions: BTreeMap::new(),
            seen: BTreeSet::new(),
            frame: None,
            drawn: Default::default(),
            active: None,
            failures: VecDeque::new(),
        }
    }
}

impl Tiles {
    /// Takes a tile from somewhere else than the engine; failures come from here and are known.
    pub(super) fn arrive(
        &mut self,
        slide: SlideKey,
        tile: TileId,
        pixels: Result<&Arc<TilePixels>, &TileFailure>,
    ) {
        if let Ok(pixels) = pixels {
            self.taken += 1;
            self.cache.arrive(slide, tile, Arc::clone(pixels));
        }
    }

    pub(super) fn forget(&mut self, slide: SlideKey) {
        self.cache.forget(slide);
        self.motions.remove(&slide);
        self.seen.remove(&slide);
        self.failures.retain(|(of, _, _)| *of != slide);
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    pub(super) fn counters(&self) -> EngineCounters {
        self.counters
    }

    pub(super) fn prepare_time(&self) -> Duration {
        Duration::from_nanos(self.prepare_nanos.load(Ordering::Relaxed))
    }

    /// Draws the pane's tiles, and asks for those that are missing.
    pub(super) fn draw(&mut self, ui: &Ui, frame: &PaneFrame<'_>, workers: &Workers) -> Drawn {
        let PaneFrame { screen, info, .. } = *frame;
        let key = frame.slide.key;
        self.begin_frame(ui.ctx(), workers);
        let viewport = snapped(&frame.viewport, screen, ui.pixels_per_point());
        let whole = SlideRect::of_size(f64::from(info.width()), f64::from(info.height()));
        let ground = theme::slide_background(info.background);
        let corners = viewport.screen_quad(screen, whole).to_vec();
        ui.painter_at(screen).add(egui::Shape::convex_polygon(corners, ground, egui::Stroke::NONE));
        let Some(slide) = workers.handle(key) else {
            return Drawn { is_complete: false, is_cut: false };
        };
        let motion = self.motions.entry(key).or_default();
        motion.follow(&viewport, f64::from(ui.input(|input| input.stable_dt)));
        let (most, points) = (self.cache.capacity() * 3 / 4, ui.pixels_per_point());
        let plan = TilePlan::new(slide.grid(), &viewport, screen, points, most, motion);
        self.ask(key, frame.is_active, &plan, workers);
        // What was decoded before it came into view is drawn in the frame in which it does.
        let room = self.cache.room_now();
        if room > 0 {
            self.take(ui.ctx(), workers, room);
        }
        self.cache.show_arrived();
        let drawing = self.cache.draw(key, slide.grid(), &plan);
        let is_complete = self.cache.is_complete(key, &plan);
        self.note(key, &drawing, is_complete);
        let uploads = self.cache.take_uploads();
        self.counters.uploads += uploads.len() as u64;
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner).extend(uploads);
        if self.cache.has_arrived() {
            ui.ctx().request_repaint();
        }
        let data = TileDrawData {
            pane: frame.pane,
            viewport,
            screen,
            draws: drawing.draws,
            uploads: Arc::clone(&self.uploads),
            look: colour::look_of(frame.state, key),
            prepare_nanos: Arc::clone(&self.prepare_nanos),
        };
        ui.painter_at(screen).add(data.into_shape());
        Drawn { is_complete, is_cut: plan.is_cut }
    }

    /// Once for all panes: takes what was decoded, and takes back the wishes for slides that are not drawn any more.
    fn begin_frame(&mut self, ctx: &Context, workers: &Workers) {
        let number = ctx.cumulative_pass_nr();
        if self.frame.replace(number) == Some(number) {
            return;
        }
        let engine = workers.engine();
        let [before, last] = &self.drawn;
        for &hidden in before.difference(last) {
            engine.want(hidden, &[]);
        }
        let [before, last] = &mut self.drawn;
        *before = std::mem::take(last);
        self.active = None;
        self.take(ctx, workers, self.cache.room());
        self.cache.begin_frame();
        let pages = self.cache.slots_used().next_multiple_of(PAGE_TILES);
        self.counters = EngineCounters {
            texture_bytes: u64::from(pages) * TILE_BYTES as u64,
            uploads: self.counters.uploads,
            frames_with_a_missing_tile: self.counters.frames_with_a_missing_tile,
            frames_with_a_blank: self.counters.frames_with_a_blank,
            ..engine.counters()
        };
    }

    /// Takes what was decoded, at most `room` tiles, and tells what could not be.
    fn take(&mut self, ctx: &Context, workers: &Workers, room: usize) {
        let arrived = workers.engine().take(room);
        // The engine calls once for all that it has.
        if arrived.len() == room {
            ctx.request_repaint();
        }
        for arrived in arrived {
            match arrived.pixels {
                Ok(pixels) => {
                    self.taken += 1;
                    self.cache.arrive(arrived.key, arrived.tile, pixels);
                }
                Err(error) => {
                    let failure = TileFailure { may_pass: error.may_pass(), sentence: error.to_string() };
                    if !failure.may_pass {
                        self.cache.fail(arrived.key, arrived.tile);
                    }
                    self.failures.push_back((arrived.key, arrived.tile, failure));
                }
            }
        }
        self.failures.drain(..self.failures.len().saturating_sub(MOST_FAILURES));
        while let Some((key, tile, failure)) = self.failures.front() {
            if !workers.tell_failure(*key, *tile, failure.clone()) {
                ctx.request_repaint();
                break;
            }
            self.failures.pop_front();
        }
    }

    /// Asks for what is missing; between panes, the active one comes first.
    fn ask(&mut self, key: SlideKey, is_active: bool, plan: &TilePlan, workers: &Workers) {
        self.drawn[1].insert(key);
        let (missing, in_view) = self.cache.missing(key, plan);
        let engine = workers.engine();
        engine.want_ahead(key, &missing, in_view);
        if is_active {
            self.active = Some((key, missing, in_view));
        } else if let Some((active, missing, in_view)) = &self.active {
            engine.want_ahead(*active, missing, *in_view);
        }
    }

    fn note(&mut self, key: SlideKey, drawing: &Drawing, is_complete: bool) {
        self.counters.frames_with_a_missing_tile += u64::from(drawing.has_missing);
        if is_complete {
            self.seen.insert(key);
        }
        self.counters.frames_with_a_blank += u64::from(drawing.has_blank && self.seen.contains(&key));
    }
}

/// At the slide's own pixels, the viewport is moved by less than a pixel so that they fall on the screen's: nothing blurs.
fn snapped(viewport: &Viewport, screen: Rect, pixels_per_point: f32) -> Viewport {
    let mut snapped = *viewport;
    let pixel = snapped.slide_per_point / f64::from(pixels_per_point);
    if (pixel - 1.0).abs() < 1e-6 && viewport.is_upright() {
        let corner = snapped.visible(screen);
        snapped.centre.0 += corner.x0.round() - corner.x0;
        snapped.centre.1 += corner.y0.round() - corner.y0;
    }
    snapped
}
