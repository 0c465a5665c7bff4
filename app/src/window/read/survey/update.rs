//! Every change of what is known of tissue and planned patches.

use std::sync::Arc;
use std::time::Instant;

use super::super::super::patches::{self, PatchId, PatchPicture};
use super::super::super::state::{AppState, SlideTab};
use super::super::super::update::{Effect, complain};
use super::super::{ReadEffect, annotate};
use super::{
    GAPS, GridArea, Judged, MOST_MADE, PlanArea, PlanOrder, PlanView, SurveyCommand, SurveyEffect,
    SurveyEvent, TissueStatus,
};
use crate::viewer::tile_cache::SlideKey;

/// Carries out a wish.
pub(in crate::window::read) fn command(state: &mut AppState, wish: SurveyCommand) -> Vec<Effect> {
    let survey = &mut state.read.survey;
    match wish {
        SurveyCommand::Size(size) => {
            survey.size = size;
            plan_again(state)
        }
        SurveyCommand::Gap(percent) => {
            survey.gap_percent = percent.clamp(*GAPS.start(), *GAPS.end());
            plan_again(state)
        }
        SurveyCommand::Over(area) => {
            survey.over = area;
            plan_again(state)
        }
        SurveyCommand::FindTissue => find_tissue(state),
        SurveyCommand::ShowMask(is_shown) => {
            survey.is_mask_shown = is_shown;
            Vec::new()
        }
        SurveyCommand::Threshold(chosen) => threshold(state, chosen),
        SurveyCommand::Plan => plan(state),
        SurveyCommand::DropPlan => {
            survey.plan = None;
            Vec::new()
        }
        SurveyCommand::Make => make(state),
        SurveyCommand::Judge(key) => judge(state, key),
    }
}

/// Takes in what happened.
pub(in crate::window::read) fn event(state: &mut AppState, news: SurveyEvent) -> Vec<Effect> {
    match news {
        SurveyEvent::Tissue { key, found } => {
            if state.slide(key).is_none() {
                return Vec::new();
            }
            let survey = &mut state.read.survey;
            let status = match found {
                Ok(mut view) => {
                    // Of two thresholds chosen in a row, the newer one stays chosen.
                    if let Some(known) = survey.view(key) {
                        view.chosen = known.chosen;
                    }
                    TissueStatus::Found(view)
                }
                Err(sentence) => TissueStatus::Failed(sentence),
            };
            survey.tissue.insert(key, status);
            let is_planned = survey.plan.as_ref().is_some_and(|plan| plan.key == key);
            if is_planned && survey.over == GridArea::Tissue && state.shown == Some(key) {
                return plan(state);
            }
        }
        SurveyEvent::Planned { id, regions, is_cut } => {
            if let Some(plan) = state.read.survey.plan.as_mut().filter(|plan| plan.id == id) {
                (plan.regions, plan.is_cut) = (Some(regions), is_cut);
            }
        }
        SurveyEvent::Judged { key, patch, flaws } => {
            if state.slide(key).is_some() {
                state.read.survey.judged.insert((key, patch), Judged::Known(flaws));
            }
        }
    }
    Vec::new()
}

/// A slide was opened.
pub(in crate::window::read) fn opened(_state: &mut AppState, _key: SlideKey) -> Vec<Effect> {
    Vec::new()
}

/// A slide was closed, or is about to be opened again: what was found on it may not hold any more.
pub(in crate::window::read) fn closed(state: &mut AppState, key: SlideKey) -> Vec<Effect> {
    let survey = &mut state.read.survey;
    survey.tissue.remove(&key);
    survey.judged.retain(|(slide, _), _| *slide != key);
    survey.plan.take_if(|plan| plan.key == key);
    Vec::new()
}

fn effect(effect: SurveyEffect) -> Effect {
    Effect::Read(ReadEffect::Survey(effect))
}

/// The slide in view, once it is open.
fn shown(state: &AppState) -> Option<SlideKey> {
    state.shown_slide().filter(|slide| slide.info().is_some()).map(|slide| slide.key)
}

fn find_tissue(state: &mut AppState) -> Vec<Effect> {
    let Some(key) = shown(state) else { return Vec::new() };
    let known = &mut state.read.survey.tissue;
    if matches!(known.get(&key), Some(TissueStatus::Searching { .. })) {
        return Vec::new();
    }
    known.insert(key, TissueStatus::Searching { since: Instant::now() });
    vec![effect(SurveyEffect::FindTissue { key })]
}

fn threshold(state: &mut AppState, chosen: Option<u8>) -> Vec<Effect> {
    let Some(key) = shown(state) else { return Vec::new() };
    let Some(TissueStatus::Found(view)) = state.read.survey.tissue.get_mut(&key) else { return Vec::new() };
    view.chosen = chosen;
    vec![effect(SurveyEffect::Threshold { key, map: Arc::clone(&view.map), chosen })]
}

/// After the rule was changed, what is shown follows it.
fn plan_again(state: &mut AppState) -> Vec<Effect> {
    if state.read.survey.plan.is_some() { plan(state) } else { Vec::new() }
}

fn plan(state: &mut AppState) -> Vec<Effect> {
    let Some(key) = shown(state) else { return Vec::new() };
    let area = match area(state, key) {
        Ok(area) => area,
        Err(sentence) => {
            state.read.survey.plan = None;
            complain(state, sentence.to_owned());
            return Vec::new();
        }
    };
    let (Some(model), Some(info)) =
        (state.model.info().cloned(), state.slide(key).and_then(SlideTab::info).cloned())
    else {
        complain(state, "The patch size is not known before the model package is.".to_owned());
        return Vec::new();
    };
    let side = state.read.survey.size.side(&model, info.mpp);
    let factor = 1.0 + f64::from(state.read.survey.gap_percent) / 100.0;
    let id = state.new_id();
    state.read.survey.plan = Some(PlanView { id, key, regions: None, is_cut: false });
    let step = (side.0 * factor, side.1 * factor);
    let order = PlanOrder { id, side, step, slide: (info.width(), info.height()), area };
    vec![effect(SurveyEffect::Plan(Box::new(order)))]
}

fn area(state: &AppState, key: SlideKey) -> Result<PlanArea, &'static str> {
    match state.read.survey.over {
        GridArea::Annotations => {
            let polygons = annotate::selected_polygons(state);
            if polygons.is_empty() {
                return Err("Draw an area (rectangle, ellipse, polygon or freehand) and select it first.");
            }
            Ok(PlanArea::Polygons(polygons))
        }
        GridArea::Tissue => {
            let view = state.read.survey.view(key).ok_or("Find the tissue of this slide first.")?;
            Ok(PlanArea::Tissue(Arc::clone(&view.mask)))
        }
    }
}

fn make(state: &mut AppState) -> Vec<Effect> {
    let Some(plan) = state.read.survey.plan.take() else { return Vec::new() };
    let regions = plan.regions.unwrap_or_default();
    if regions.is_empty() || regions.len() > MOST_MADE {
        return Vec::new();
    }
    let parts: Vec<_> = regions.into_iter().map(|region| (PatchId(state.new_id()), region)).collect();
    let Some(slide) = state.slide_mut(plan.key) else { return Vec::new() };
    slide.patches.add_whole(parts.iter().copied());
    let key = plan.key;
    let mut effects: Vec<Effect> =
        parts.into_iter().map(|(patch, region)| Effect::ReadPatch { key, patch, region }).collect();
    effects.push(Effect::WarmUp);
    effects
}

/// Patches are judged once their picture is there, so that the picture comes first.
fn judge(state: &mut AppState, key: SlideKey) -> Vec<Effect> {
    let Some(model) = state.model.info().cloned() else { return Vec::new() };
    let Some((slide, info)) = state.slide(key).and_then(|slide| Some((slide, slide.info()?.clone()))) else {
        return Vec::new();
    };
    let is_upsampled = patches::is_upsampled(&info, &model);
    let wanted: Vec<_> = slide
        .patches
        .places()
        .iter()
        .filter(|place| matches!(slide.patches.picture(place.id), Some(PatchPicture::Ready(_))))
        .filter(|place| !state.read.survey.is_judged(key, place.id))
        .map(|place| (place.id, place.region))
        .collect();
    let judged = &mut state.read.survey.judged;
    let ask = |(patch, region)| {
        judged.insert((key, patch), Judged::Asked);
        effect(SurveyEffect::Judge { key, patch, region, is_upsampled })
    };
    wanted.into_iter().map(ask).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::super::command::Command;
    use super::super::super::super::patches::PatchSize;
    use super::super::super::super::picture::Picture;
    use super::super::super::super::state::tests_support::model;
    use super::super::super::super::state::{PackageState, SlideStatus};
    use super::super::super::super::update;
    use super::super::TissueView;
    use super::*;
    use crate::slide::{Mpp, Region, SlideInfo};
    use crate::tissue::{Flaw, MaskRule, SaturationMap, TissueMask};
    use crate::viewer::tile_plan::tests::slide;

    /// A window with one open slide of 4096 × 3000 px at 0.5 µm/px and a known package.
    fn with_slide() -> (AppState, SlideKey) {
        let mut state = AppState::default();
        state.model.package = PackageState::Known(Arc::new(model()));
        update::command(&mut state, Command::Open("a.svs".into()));
        let key = state.shown.unwrap();
        let info = SlideInfo { mpp: Some(Mpp { x: 0.5, y: 0.5 }), ..slide() };
        state.slide_mut(key).unwrap().status = SlideStatus::Open { info: Arc::new(info) };
        (state, key)
    }

    fn view(values: Vec<u8>) -> TissueView {
        let map = SaturationMap { columns: 2, rows: 1, cell: 2048.0, values };
        let mask = TissueMask::new(&map, MaskRule { threshold: None, bridge: 0, smallest: 1 });
        let picture = Picture::new(&egui::Context::default(), "mask", &image::RgbImage::new(2, 1));
        let (map, mask) = (Arc::new(map), Arc::new(mask));
        TissueView { map, mask, picture, area_mm2: Some(1.0), share: 0.5, chosen: None }
    }

    #[test]
    fn tissue_is_looked_for_once_and_its_threshold_stays_chosen() {
        let (mut state, key) = with_slide();
        assert_eq!(
            command(&mut state, SurveyCommand::FindTissue),
            [effect(SurveyEffect::FindTissue { key })]
        );
        assert!(command(&mut state, SurveyCommand::FindTissue).is_empty(), "it is being looked for");
        event(&mut state, SurveyEvent::Tissue { key, found: Ok(Box::new(view(vec![0, 200]))) });
        let effects = command(&mut state, SurveyCommand::Threshold(Some(40)));
        assert!(matches!(
            effects.as_slice(),
            [Effect::Read(ReadEffect::Survey(SurveyEffect::Threshold { chosen: Some(40), .. }))]
        ));
        event(&mut state, SurveyEvent::Tissue { key, found: Ok(Box::new(view(vec![0, 200]))) });
        assert_eq!(state.read.survey.view(key).unwrap().chosen, Some(40));
        closed(&mut state, key);
        assert!(state.read.survey.view(key).is_none());
    }

    #[test]
    fn a_grid_over_tissue_is_shown_first_and_then_made() {
        let (mut state, key) = with_slide();
        command(&mut state, SurveyCommand::Over(GridArea::Tissue));
        assert!(command(&mut state, SurveyCommand::Plan).is_empty());
        assert_eq!(state.problems[0].sentence, "Find the tissue of this slide first.");
        event(&mut state, SurveyEvent::Tissue { key, found: Ok(Box::new(view(vec![0, 200]))) });
        command(&mut state, SurveyCommand::Size(PatchSize::Um(250)));
        let effects = command(&mut state, SurveyCommand::Plan);
        let [Effect::Read(ReadEffect::Survey(SurveyEffect::Plan(order)))] = effects.as_slice() else {
            panic!("{effects:?}")
        };
        assert_eq!((order.side, order.step, order.slide), ((500.0, 500.0), (500.0, 500.0), (4096, 3000)));
        let stale = order.id;
        // The rule is changed while the first grid is on its way.
        let effects = command(&mut state, SurveyCommand::Gap(100));
        let [Effect::Read(ReadEffect::Survey(SurveyEffect::Plan(order)))] = effects.as_slice() else {
            panic!("{effects:?}")
        };
        assert_eq!(order.step, (1000.0, 1000.0));
        let region = |x| Region { x, y: 0, w: 500, h: 500 };
        event(&mut state, SurveyEvent::Planned { id: stale, regions: vec![region(9)], is_cut: false });
        assert!(state.read.survey.plan.as_ref().unwrap().regions.is_none(), "a stale grid is not shown");
        let regions = vec![region(2048), region(3048)];
        event(&mut state, SurveyEvent::Planned { id: order.id, regions: regions.clone(), is_cut: false });
        let effects = command(&mut state, SurveyCommand::Make);
        assert_eq!(effects.len(), 3, "two are read, and the model is warmed up");
        let places = state.slide(key).unwrap().patches.places();
        assert_eq!(places.iter().map(|place| place.region).collect::<Vec<_>>(), regions);
        assert!(places.iter().all(|place| place.kept_whole && place.in_question));
        assert!(state.read.survey.plan.is_none());
    }

    #[test]
    fn more_patches_than_can_be_asked_about_are_not_made() {
        let (mut state, key) = with_slide();
        let regions = vec![Region { x: 0, y: 0, w: 10, h: 10 }; MOST_MADE + 1];
        state.read.survey.plan = Some(PlanView { id: 1, key, regions: Some(regions), is_cut: false });
        assert!(command(&mut state, SurveyCommand::Make).is_empty());
        assert!(state.slide(key).unwrap().patches.places().is_empty());
    }

    #[test]
    fn a_patch_is_judged_once_its_picture_is_there() {
        let (mut state, key) = with_slide();
        let (patch, region) = (PatchId(77), Region { x: 0, y: 0, w: 224, h: 224 });
        let slide = state.slide_mut(key).unwrap();
        slide.patches.add([(patch, region)]);
        assert!(command(&mut state, SurveyCommand::Judge(key)).is_empty());
        let given = Picture::new(&egui::Context::default(), "patch", &image::RgbImage::new(1, 1));
        let look = patches::PatchLook { given, whole: None, level: 0, mpp: None };
        let slide = state.slide_mut(key).unwrap();
        slide.patches.set_picture(patch, PatchPicture::Ready(Box::new(look)));
        let judge = effect(SurveyEffect::Judge { key, patch, region, is_upsampled: false });
        assert_eq!(command(&mut state, SurveyCommand::Judge(key)), [judge]);
        assert!(command(&mut state, SurveyCommand::Judge(key)).is_empty(), "it was asked for");
        event(&mut state, SurveyEvent::Judged { key, patch, flaws: vec![Flaw::Blurred] });
        assert_eq!(state.read.survey.flaws(key, patch), [Flaw::Blurred]);
    }
}
