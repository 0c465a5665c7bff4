//! Changes of the patches of the slide in view.

use super::super::command::PatchCommand;
use super::super::patches::{self, MOST_PARTS, PatchId, PatchSize, Patches};
use super::super::state::{AppState, ModelInfo, PackageState, SlideTab};
use super::{Effect, complain};
use crate::slide::{Mpp, Region};

/// Carries out a wish about patches.
pub(super) fn patch(state: &mut AppState, wish: PatchCommand) -> Vec<Effect> {
    match wish {
        PatchCommand::PlaceSquare(place) => {
            let size = state.read.survey.size;
            add(state, size != PatchSize::Package, |model, mpp| size.square_at(place, model, mpp))
        }
        PatchCommand::DrawRectangle(a, b) => {
            let size = state.read.survey.size;
            add(state, false, |model, mpp| {
                // Too small for a rectangle: a click whose pointer slipped.
                let middle = (f64::midpoint(a.0, b.0), f64::midpoint(a.1, b.1));
                patches::rectangle(a, b, model, mpp).unwrap_or_else(|| size.square_at(middle, model, mpp))
            })
        }
        PatchCommand::Select(id) => change(state, |patches| patches.selected = id),
        PatchCommand::Remove(id) => change(state, |patches| patches.remove(id)),
        PatchCommand::RemoveSelected => change(state, |patches| {
            if let Some(id) = patches.selected {
                patches.remove(id);
            }
        }),
        PatchCommand::MoveTo(id, to) => change(state, |patches| patches.move_to(id, to)),
        PatchCommand::InQuestion(id, yes) => change(state, |patches| patches.set_in_question(id, yes)),
        PatchCommand::KeepWhole(id) => change(state, |patches| patches.keep_whole(id)),
        PatchCommand::Split(id) => split(state, id),
        PatchCommand::Undo => change(state, Patches::undo),
        PatchCommand::Redo => change(state, Patches::redo),
    }
}

/// Reads the patches of every slide again, as after the model's package became known, or after its pixel limit was changed.
pub(super) fn read_all(state: &mut AppState) -> Vec<Effect> {
    state.slides.iter_mut().flat_map(read).collect()
}

/// Reads the patches of a slide again.
pub(super) fn read(slide: &mut SlideTab) -> Vec<Effect> {
    slide.patches.forget_pictures();
    let key = slide.key;
    let places = slide.patches.places().iter();
    places.map(|place| Effect::ReadPatch { key, patch: place.id, region: place.region }).collect()
}

fn change(state: &mut AppState, change: impl FnOnce(&mut Patches)) -> Vec<Effect> {
    if let Some(slide) = state.shown_slide_mut() {
        change(&mut slide.patches);
    }
    Vec::new()
}

/// `is_whole`: its size was chosen, so that it is not offered to be split.
fn add(
    state: &mut AppState,
    is_whole: bool,
    region: impl FnOnce(&ModelInfo, Option<Mpp>) -> Region,
) -> Vec<Effect> {
    let Some(model) = state.model.info().cloned() else {
        let why = match &state.model.package {
            PackageState::Failed(sentence) => sentence.clone(),
            _ => "The model package is still being read: its patch size is not known yet.".to_owned(),
        };
        complain(state, why);
        return Vec::new();
    };
    let id = PatchId(state.new_id());
    let Some(slide) = state.shown_slide_mut() else { return Vec::new() };
    let Some(info) = slide.info().cloned() else { return Vec::new() };
    let region = region(&model, info.mpp);
    if !patches::touches(&region, &info) {
        return Vec::new();
    }
    if is_whole {
        slide.patches.add_whole([(id, region)]);
    } else {
        slide.patches.add([(id, region)]);
    }
    // Who marks a patch asks about it next, and first words are wanted within a second.
    vec![Effect::ReadPatch { key: slide.key, patch: id, region }, Effect::WarmUp]
}

fn split(state: &mut AppState, id: PatchId) -> Vec<Effect> {
    let Some(model) = state.model.info().cloned() else { return Vec::new() };
    let Some((key, info, region)) = state
        .shown_slide()
        .and_then(|slide| Some((slide.key, slide.info()?.clone(), slide.patches.get(id)?.region)))
    else {
        return Vec::new();
    };
    let asked = state.max_pixels();
    let counts = patches::split_counts(&region, &model, info.mpp, asked);
    if counts.is_none_or(|(across, down)| across.saturating_mul(down) > MOST_PARTS) {
        return Vec::new();
    }
    let parts: Vec<(PatchId, Region)> = patches::split(&region, &model, info.mpp, asked)
        .into_iter()
        .filter(|part| patches::touches(part, &info))
        .map(|part| (PatchId(state.new_id()), part))
        .collect();
    if let Some(slide) = state.shown_slide_mut() {
        slide.patches.replace(id, parts.iter().copied());
    }
    parts.into_iter().map(|(patch, region)| Effect::ReadPatch { key, patch, region }).collect()
}
