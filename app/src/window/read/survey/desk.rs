//! The threads behind it: `tissue` finds it, `patch-grid` lays patches, `patch-judge` looks whether they are good.

use std::sync::Arc;
use std::thread::Builder;

use crossbeam_channel::{Receiver, Sender, bounded};
use egui::{Color32, ColorImage, Context, TextureOptions};
use image::RgbImage;

use super::super::super::event::Event;
use super::super::super::patches::PatchId;
use super::super::super::picture::Picture;
use super::super::super::workers::{EventSender, Workers};
use super::super::{ReadEvent, ReadPlaces};
use super::newest::Newest;
use super::{PlanOrder, SurveyEffect, SurveyEvent, TissueView, grid};
use crate::ask::cut_patch;
use crate::slide::{Mpp, Region, SlideHandle, SlideInfo};
use crate::tissue::{self, Flaw, MaskRule, SaturationMap, TissueMask};
use crate::viewer::tile_cache::SlideKey;

/// Tissue is looked for on the finest level with no more pixels than this,
const MOST_LEVEL_PX: u64 = 4_000_000;
/// or, where even the coarsest has more, on that one up to this.
const MOST_COARSEST_PX: u64 = 6000 * 6000;
/// Cells of a mask, and along each of its sides: what a texture can hold on any machine.
const MOST_CELLS: u64 = 1_000_000;
const MOST_ALONG: u32 = 2048;
/// Focus is judged at this many microns per pixel,
const JUDGED_MPP: f64 = 1.0;
/// on the middle of a patch, at most this many pixels wide and high.
const MOST_JUDGED_PX: f64 = 1024.0;
/// Patches that wait to be judged.
const MOST_WAITING: usize = 512;
/// Over tissue: a green that no stain has, light enough to see the tissue through it.
const OVER_TISSUE: Color32 = Color32::from_rgba_premultiplied(0, 58, 36, 80);

/// The threads.
pub(in crate::window::read) struct SurveyDesk {
    events: EventSender,
    masks: Option<Newest<SlideKey, MaskJob>>,
    grids: Option<Newest<(), Box<PlanOrder>>>,
    judge: Option<Sender<JudgeJob>>,
}

/// A mask to be made; the slide is read where its map is not known yet.
struct MaskJob {
    key: SlideKey,
    slide: SlideHandle,
    map: Option<Arc<SaturationMap>>,
    chosen: Option<u8>,
}

struct JudgeJob {
    key: SlideKey,
    slide: SlideHandle,
    patch: PatchId,
    region: Region,
    is_upsampled: bool,
}

impl SurveyDesk {
    pub(in crate::window::read) fn new(events: EventSender, _places: &ReadPlaces) -> Self {
        Self { events, masks: None, grids: None, judge: None }
    }

    pub(in crate::window::read) fn carry_out(&mut self, effect: SurveyEffect, workers: &Workers) {
        match effect {
            SurveyEffect::FindTissue { key } => self.mask(key, None, None, workers),
            SurveyEffect::Threshold { key, map, chosen } => self.mask(key, Some(map), chosen, workers),
            SurveyEffect::Plan(order) => {
                let events = &self.events;
                self.grids.get_or_insert_with(|| surveyor(events.clone())).ask((), order);
            }
            SurveyEffect::Judge { key, patch, region, is_upsampled } => {
                let Some(slide) = workers.handle(key) else { return };
                let events = &self.events;
                let queue = self.judge.get_or_insert_with(|| start_judging(events.clone()));
                if queue.try_send(JudgeJob { key, slide, patch, region, is_upsampled }).is_err() {
                    tracing::warn!("too many patches wait to be judged: one is left out");
                }
            }
        }
    }

    fn mask(
        &mut self,
        key: SlideKey,
        map: Option<Arc<SaturationMap>>,
        chosen: Option<u8>,
        workers: &Workers,
    ) {
        let Some(slide) = workers.handle(key) else { return };
        let events = &self.events;
        let masks = self.masks.get_or_insert_with(|| mask_maker(events.clone()));
        masks.ask(key, MaskJob { key, slide, map, chosen });
    }
}

/// False when the window is gone.
fn tell(events: &EventSender, news: SurveyEvent) -> bool {
    events.send(Event::Read(ReadEvent::Survey(news)))
}

fn mask_maker(events: EventSender) -> Newest<SlideKey, MaskJob> {
    Newest::start("tissue", move |job: MaskJob| {
        let map = job.map.map_or_else(|| read_map(&job.slide).map(Arc::new), Ok);
        let mpp = job.slide.info().mpp;
        let found = map.map(|map| Box::new(view(map, mpp, job.chosen, events.context())));
        tell(&events, SurveyEvent::Tissue { key: job.key, found })
    })
}

fn surveyor(events: EventSender) -> Newest<(), Box<PlanOrder>> {
    Newest::start("patch-grid", move |order: Box<PlanOrder>| {
        let (regions, is_cut) = grid::lay(&order);
        tell(&events, SurveyEvent::Planned { id: order.id, regions, is_cut })
    })
}

fn start_judging(events: EventSender) -> Sender<JudgeJob> {
    let (queue, jobs) = bounded(MOST_WAITING);
    if let Err(error) = Builder::new().name("patch-judge".to_owned()).spawn(move || judge(&jobs, &events)) {
        tracing::error!("cannot start the thread patch-judge: {error}");
    }
    queue
}

fn judge(jobs: &Receiver<JudgeJob>, events: &EventSender) {
    for job in jobs {
        // A patch that cannot be read says so itself, where its picture would be.
        let Some(flaws) = flaws_of(&job) else { continue };
        if !tell(events, SurveyEvent::Judged { key: job.key, patch: job.patch, flaws }) {
            return;
        }
    }
}

fn flaws_of(job: &JudgeJob) -> Option<Vec<Flaw>> {
    let own = job.slide.info().mpp.map(Mpp::mean);
    // Enlarged pixels would look blurred.
    let judged = own.map_or(JUDGED_MPP, |own| own.max(JUDGED_MPP));
    let region = middle_of(job.region, MOST_JUDGED_PX * own.map_or(1.0, |own| judged / own));
    let patch = cut_patch(&job.slide, region, judged).ok()?.patch;
    let rgb = RgbImage::from_raw(patch.width, patch.height, patch.rgb)?;
    let mut flaws = tissue::flaws(&rgb, job.is_upsampled);
    if own.is_none() {
        // What is sharp depends on the scale, which nobody knows here.
        flaws.retain(|flaw| *flaw == Flaw::Blank);
    }
    Some(flaws)
}

/// The middle of a region, at most `most` level-0 pixels wide and high.
fn middle_of(region: Region, most: f64) -> Region {
    let most = most.clamp(1.0, f64::from(u32::MAX)) as u32;
    let (w, h) = (region.w.min(most), region.h.min(most));
    Region { x: region.x + i64::from((region.w - w) / 2), y: region.y + i64::from((region.h - h) / 2), w, h }
}

/// The level on which tissue is looked for, and how many of its pixels make the side of a cell.
fn level_for(info: &SlideInfo) -> Option<(u32, u32)> {
    let px = |level: u32| {
        let level = &info.levels[level as usize];
        u64::from(level.width) * u64::from(level.height)
    };
    let all = 0..info.levels.len() as u32;
    let coarsest = all.clone().min_by_key(|&level| px(level))?;
    let fine = all.filter(|&level| px(level) <= MOST_LEVEL_PX).max_by_key(|&level| px(level));
    let level = fine.or((px(coarsest) <= MOST_COARSEST_PX).then_some(coarsest))?;
    let size = &info.levels[level as usize];
    let by_cells = (px(level) as f64 / MOST_CELLS as f64).sqrt().ceil() as u32;
    let block = by_cells.max(size.width.max(size.height).div_ceil(MOST_ALONG)).max(1);
    Some((level, block))
}

fn read_map(slide: &SlideHandle) -> Result<SaturationMap, String> {
    let info = slide.info();
    let (level, block) = level_for(info).ok_or_else(|| {
        format!(
            "Tissue cannot be looked for: even the coarsest level of the slide has more than 36 million pixels: {}",
            info.path.display()
        )
    })?;
    let size = info.levels[level as usize];
    let pixels =
        slide.read_region(level, 0, 0, size.width, size.height).map_err(|error| error.to_string())?;
    Ok(SaturationMap::of(&pixels.image, size.downsample, block))
}

fn view(map: Arc<SaturationMap>, mpp: Option<Mpp>, chosen: Option<u8>, ctx: &Context) -> TissueView {
    let mask = TissueMask::new(&map, MaskRule::new(chosen, map.cell, mpp));
    let colour = |&is_tissue: &bool| if is_tissue { OVER_TISSUE } else { Color32::TRANSPARENT };
    let size = [mask.columns as usize, mask.rows as usize];
    let image = ColorImage::new(size, mask.is_tissue.iter().map(colour).collect());
    let picture = Picture { texture: ctx.load_texture("tissue", image, TextureOptions::NEAREST) };
    let area_mm2 = mpp.map(|mpp| mask.area() * mpp.x * mpp.y / 1e6);
    let count = mask.is_tissue.iter().filter(|&&cell| cell).count();
    let share = count as f64 / mask.is_tissue.len().max(1) as f64;
    TissueView { map, mask: Arc::new(mask), picture, area_mm2, share, chosen }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slide::Level;
    use crate::viewer::tile_plan::tests::slide;

    fn with_levels(sizes: &[(u32, u32)]) -> SlideInfo {
        let downsample = |width: u32| f64::from(sizes[0].0) / f64::from(width);
        let level = |&(width, height): &(u32, u32)| Level { width, height, downsample: downsample(width) };
        SlideInfo { levels: sizes.iter().map(level).collect(), ..slide() }
    }

    #[test]
    fn tissue_is_looked_for_on_the_finest_level_that_is_small_enough() {
        let pyramid = with_levels(&[(100_000, 80_000), (25_000, 20_000), (1562, 1250), (390, 312)]);
        assert_eq!(level_for(&pyramid), Some((2, 2)));
        assert_eq!(level_for(&with_levels(&[(900, 800)])), Some((0, 1)));
        assert_eq!(level_for(&with_levels(&[(5000, 5000)])), Some((0, 5)));
        assert_eq!(
            level_for(&with_levels(&[(40_000, 40_000)])),
            None,
            "one level, too large to be read whole"
        );
        assert_eq!(level_for(&with_levels(&[(40_000, 50)])), Some((0, 20)), "no texture is longer than 2048");
    }

    #[test]
    fn of_a_large_patch_the_middle_is_judged() {
        let region = Region { x: -100, y: 50, w: 5000, h: 300 };
        assert_eq!(middle_of(region, 1024.0), Region { x: 1888, y: 50, w: 1024, h: 300 });
        assert_eq!(middle_of(region, f64::INFINITY), region);
    }

    #[test]
    fn the_area_is_physical_only_where_the_scale_is_known() {
        let map = Arc::new(SaturationMap { columns: 2, rows: 1, cell: 2000.0, values: vec![0, 200] });
        let ctx = Context::default();
        let known = view(Arc::clone(&map), Some(Mpp { x: 0.5, y: 0.5 }), Some(100), &ctx);
        assert_eq!(known.area_mm2, Some(1.0), "2000 px of 0.5 µm are 1 mm");
        assert_eq!((known.share, known.picture.texture.size()), (0.5, [2, 1]));
        assert_eq!(view(map, None, Some(100), &ctx).area_mm2, None);
    }
}
