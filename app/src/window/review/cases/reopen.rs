//! A case that is opened: its slide is shown with its patches and its view, and where the file has moved, the user is asked for it.

use std::sync::Arc;

use egui::vec2;

use super::super::super::command::Command;
use super::super::super::patches::{self, PatchId};
use super::super::super::read::{self, Side};
use super::super::super::state::{AppState, SlideStatus, SlideTab};
use super::super::super::update::{self, Effect, show};
use super::super::verdicts;
use super::{Reopening, Step, conversation, keeper};
use crate::case::{Id, Maps, OpenCase, Question};
use crate::review::verdict::Entry;
use crate::slide::Region;
use crate::store::case_keeper::CaseJob;
use crate::viewer::tile_cache::SlideKey;
use crate::viewer::viewport::Viewport;

const NOT_THERE: &str = "The slide of this case is not where it was.";
const ANOTHER: &str =
    "The file that was opened is another slide than that of this case: its content differs.";
/// Until the viewer was first drawn.
const SOME_SCREEN: egui::Vec2 = vec2(800.0, 600.0);

/// The next question begins a case; an answer that is being written goes on to its end, where it belongs.
pub(super) fn begin(state: &mut AppState) -> Vec<Effect> {
    let is_asking = state.is_asking();
    let cases = &mut state.review.cases;
    (cases.open, cases.shown, cases.editing, cases.reopening) = (None, None, None, None);
    cases.compared.clear();
    cases.queue.clear();
    cases.to_explain = None;
    if !is_asking {
        (cases.live, cases.asked) = (None, None);
        state.answer = None;
    }
    state.read.side = Side::Ask;
    Vec::new()
}

/// A case was read from the store: it is shown at an answer of it, with its slide.
pub(super) fn opened(
    state: &mut AppState,
    case: OpenCase,
    entries: Vec<Entry>,
    maps: Vec<(Id, Maps)>,
    at: Option<Id>,
) -> Vec<Effect> {
    begin(state);
    for answer in case.answers.keys() {
        // What the log has is read anew.
        state.review.verdicts.entries.remove(answer);
    }
    verdicts::loaded(state, entries);
    state.review.chain.maps.extend(maps);
    let cases = &mut state.review.cases;
    cases.shown = at.filter(|id| case.answers.contains_key(id)).or_else(|| conversation::newest(&case));
    let (hash, path) = (case.case.slide.hash.clone(), case.case.path.clone());
    cases.open = Some(case);
    if let Some(key) = tab_of(state, &hash) {
        return restore(state, key);
    }
    let (effects, step) = match path {
        Some(path) => {
            let effects = update::command(state, Command::Open(path));
            (effects, state.shown.map_or_else(|| Step::Missing(NOT_THERE.to_owned()), Step::Opening))
        }
        None => (Vec::new(), Step::Missing(NOT_THERE.to_owned())),
    };
    state.review.cases.reopening = Some(Reopening { hash, step });
    effects
}

/// Asks by a dialog where the slide is.
pub(super) fn find_slide(state: &mut AppState) -> Vec<Effect> {
    if state.picking {
        return Vec::new();
    }
    let known = state.slides.iter().map(|slide| slide.key).collect();
    if let Some(reopening) = &mut state.review.cases.reopening {
        reopening.step = Step::Picking(known);
    }
    update::command(state, Command::PickSlides)
}

/// The tab of an open slide with this hash.
fn tab_of(state: &AppState, hash: &str) -> Option<SlideKey> {
    let is_it = |slide: &&SlideTab| slide.info().is_some_and(|info| info.hash == hash);
    state.slides.iter().find(is_it).map(|slide| slide.key)
}

/// What came of looking for a slide; `None` while nothing did.
enum Found {
    Slide(SlideKey),
    Missing(&'static str),
}

fn found(state: &AppState) -> Option<Found> {
    let Reopening { hash, step } = state.review.cases.reopening.as_ref()?;
    if let Some(key) = tab_of(state, hash) {
        return Some(Found::Slide(key));
    }
    match step {
        Step::Opening(key) => match state.slide(*key).map(|slide| &slide.status) {
            Some(SlideStatus::Opening { .. }) => None,
            Some(SlideStatus::Open { .. }) => Some(Found::Missing(ANOTHER)),
            Some(SlideStatus::Failed { .. }) | None => Some(Found::Missing(NOT_THERE)),
        },
        Step::Picking(_) if state.picking => None,
        Step::Picking(known) => {
            let new: Vec<_> = state.slides.iter().filter(|slide| !known.contains(&slide.key)).collect();
            if new.iter().any(|slide| matches!(slide.status, SlideStatus::Opening { .. })) {
                return None;
            }
            let has_other = new.iter().any(|slide| slide.info().is_some());
            Some(Found::Missing(if has_other { ANOTHER } else { NOT_THERE }))
        }
        Step::Missing(_) => None,
    }
}

/// Whether something is known now of the slide of the case.
pub(super) fn is_due(state: &AppState) -> bool {
    found(state).is_some()
}

/// Goes on with opening a case.
pub(super) fn settle(state: &mut AppState) -> Vec<Effect> {
    match found(state) {
        Some(Found::Slide(key)) => restore(state, key),
        Some(Found::Missing(why)) => {
            if let Some(reopening) = &mut state.review.cases.reopening {
                reopening.step = Step::Missing(why.to_owned());
            }
            Vec::new()
        }
        None => Vec::new(),
    }
}

/// Shows the slide of the open case with the patches and the view of the question in view.
fn restore(state: &mut AppState, key: SlideKey) -> Vec<Effect> {
    state.review.cases.reopening = None;
    show(state, Some(key));
    let Some(question) = question_to_restore(state) else { return Vec::new() };
    let mut effects = restore_patches(state, key, &question);
    restore_view(state, key, &question);
    effects.extend(remember_path(state, key));
    effects
}

fn question_to_restore(state: &AppState) -> Option<Arc<Question>> {
    let cases = &state.review.cases;
    let open = cases.open.as_ref()?;
    let of_shown = cases.shown.as_ref().and_then(|id| open.questions.get(&open.answers.get(id)?.question));
    let newest = || open.questions.values().max_by_key(|question| question.asked);
    of_shown.or_else(newest).cloned()
}

/// All patches of the case by their numbers, so that each has the number again that it had; those of the question are ticked.
fn restore_patches(state: &mut AppState, key: SlideKey, question: &Question) -> Vec<Effect> {
    let Some(info) = state.slide(key).and_then(SlideTab::info).cloned() else { return Vec::new() };
    let Some(open) = &state.review.cases.open else { return Vec::new() };
    let mut all: Vec<(usize, Region)> = Vec::new();
    for patch in open.questions.values().flat_map(|question| &question.patches) {
        let place = (patch.number, patch.region());
        if !all.contains(&place) && patches::touches(&place.1, &info) {
            all.push(place);
        }
    }
    all.sort_by_key(|(number, region)| (*number, region.y, region.x));
    let ticked: Vec<Region> = question.patches.iter().map(crate::case::PatchKept::region).collect();
    let places: Vec<(PatchId, Region, bool)> = all
        .into_iter()
        .map(|(_, region)| (PatchId(state.new_id()), region, ticked.contains(&region)))
        .collect();
    let Some(slide) = state.slide_mut(key) else { return Vec::new() };
    let new = slide.patches.restore(places);
    new.into_iter().map(|(patch, region)| Effect::ReadPatch { key, patch, region }).collect()
}

fn restore_view(state: &mut AppState, key: SlideKey, question: &Question) {
    let Some(view) = question.view else { return };
    let screen = state.viewer.map_or(SOME_SCREEN, |viewer| viewer.size());
    let Some(slide) = state.slide_mut(key) else { return };
    let Some(info) = slide.info().cloned() else { return };
    let mut viewport = Viewport::fitted(info.width(), info.height(), screen);
    viewport.is_mirrored = view.is_mirrored;
    viewport.turn_to(view.rotation);
    viewport.set_scale(screen, view.slide_per_point);
    viewport.look_at((view.centre[0], view.centre[1]));
    slide.viewport = Some(viewport);
    read::moved(state);
}

/// A slide that has moved is found there the next time.
fn remember_path(state: &mut AppState, key: SlideKey) -> Option<Effect> {
    if state.settings.read.is_blinded {
        return None;
    }
    let slide = state.slide(key)?;
    let path = std::path::absolute(&slide.path).unwrap_or_else(|_no_folder| slide.path.clone());
    let name = slide.name();
    let open = state.review.cases.open.as_mut()?;
    if open.case.path.as_ref() == Some(&path) && open.case.slide.name == name {
        return None;
    }
    (open.case.path, open.case.slide.name) = (Some(path), name);
    Some(keeper(CaseJob::KeepCase(open.case.clone())))
}
