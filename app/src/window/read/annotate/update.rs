//! Every change of what is annotated: wishes and news come in, work for threads goes out.

use std::path::PathBuf;
use std::sync::Arc;

use super::super::super::state::{AppState, SlideTab};
use super::super::super::update::Effect;
use super::super::{ReadEffect, Side};
use super::{AnnotateCommand, AnnotateEffect, BulkWork, SlideAnnotations};
use crate::annotation::set::{Altered, Change};
use crate::annotation::{Annotation, Class, Form, Geometry, Place, edit};
use crate::store::SlideId;
use crate::viewer::tile_cache::SlideKey;

mod news;
#[cfg(test)]
mod tests;

pub(in crate::window::read) use news::event;

/// More are changed by a thread: the window's has 16 ms for everything.
const MOST_AT_ONCE: usize = 1000;
/// Wishes that wait for a thread.
const MOST_WAITING: usize = 1000;
/// Of the points of a count.
const COUNT_NAME: &str = "Count";

/// Carries out a wish.
pub(in crate::window::read) fn command(state: &mut AppState, wish: AnnotateCommand) -> Vec<Effect> {
    let annotate = &mut state.read.annotate;
    match wish {
        AnnotateCommand::UseClass(class) => annotate.class = class.map(Arc::new),
        AnnotateCommand::ShowClass(class, is_shown) => {
            if is_shown {
                annotate.look.hidden.remove(&class);
            } else {
                annotate.look.hidden.insert(class);
            }
            return vec![of(AnnotateEffect::Look(annotate.look.clone()))];
        }
        AnnotateCommand::Search(text) => {
            annotate.look.search = text;
            return vec![of(AnnotateEffect::Look(annotate.look.clone()))];
        }
        AnnotateCommand::ToggleShown => annotate.is_shown = !annotate.is_shown,
        AnnotateCommand::ToggleGrid => annotate.is_grid_shown = !annotate.is_grid_shown,
        AnnotateCommand::Grid(um) => {
            state.settings.read.grid_um = um.clamp(1, 100_000);
            return vec![Effect::SaveSettings(state.settings.clone())];
        }
        AnnotateCommand::Fill(percent) => annotate.fill = percent.min(100),
        AnnotateCommand::Finish => annotate.finishes += 1,
        AnnotateCommand::Drawing(is_drawing) => annotate.is_drawing = is_drawing,
        AnnotateCommand::DismissNews => annotate.news = None,
        AnnotateCommand::RemoveSelected | AnnotateCommand::Undo if annotate.is_drawing => {
            annotate.steps_back += 1;
        }
        AnnotateCommand::PickImport => {
            state.read.side = Side::Annotations;
            return vec![of(AnnotateEffect::PickImport)];
        }
        AnnotateCommand::PickExport => {
            state.read.side = Side::Annotations;
            let name = state.shown_slide().map(|slide| state.name_of(slide));
            return name.map(|name| of(AnnotateEffect::PickExport { name })).into_iter().collect();
        }
        wish => return of_slide(state, wish),
    }
    Vec::new()
}

fn of(effect: AnnotateEffect) -> Effect {
    Effect::Read(ReadEffect::Annotate(effect))
}

/// Wishes about the annotations of the slide in view.
fn of_slide(state: &mut AppState, wish: AnnotateCommand) -> Vec<Effect> {
    let Some(key) = state.shown else { return Vec::new() };
    let annotate = &mut state.read.annotate;
    let Some(hash) = annotate.hashes.get(&key).cloned() else { return Vec::new() };
    let Some(slide) = annotate.slides.get_mut(&hash) else { return Vec::new() };
    if slide.is_busy && !matches!(wish, AnnotateCommand::Select(_) | AnnotateCommand::LookAt(_)) {
        if slide.waiting.len() < MOST_WAITING {
            slide.waiting.push(wish);
        }
        return Vec::new();
    }
    annotate.owns_keys = wish != AnnotateCommand::Select(None);
    let class = annotate.class.clone();
    let change = match wish {
        AnnotateCommand::Select(place) => {
            slide.selected = place.filter(|place| slide.set.get(*place).is_some());
            return Vec::new();
        }
        AnnotateCommand::LookAt(place) => return look_at(state, &hash, place),
        AnnotateCommand::Add(annotation) => {
            let change = added(slide, *annotation, class);
            slide.selected = change.altered.first().map(|altered| altered.place);
            Some(change)
        }
        AnnotateCommand::AddField(annotation) => {
            let change = added(slide, *annotation, class);
            (slide.field, slide.counted) = (change.altered.first().map(|altered| altered.place), None);
            Some(change)
        }
        AnnotateCommand::Replace(place, annotation) => altered(slide, place, Some(*annotation)),
        AnnotateCommand::Remove(place) => altered(slide, place, None),
        AnnotateCommand::RemoveSelected => {
            let unlocked =
                slide.selected().filter(|(_, annotation)| !annotation.is_locked).map(|(place, _)| place);
            unlocked.and_then(|place| altered(slide, place, None))
        }
        AnnotateCommand::Count(place) => Some(counted(slide, place)),
        AnnotateCommand::Undo => return walked(state, &hash, true),
        AnnotateCommand::Redo => return walked(state, &hash, false),
        AnnotateCommand::Import(path) => {
            annotate.news = None;
            return bulk(slide, hash, BulkWork::Import(path));
        }
        AnnotateCommand::Export(path) => return export(state, &hash, path),
        AnnotateCommand::SaveClass(class) => return save_class(state, &hash, class),
        _ => None,
    };
    change.map_or_else(Vec::new, |change| did(state, key, &hash, change))
}

/// A new annotation at the end; of the class that is drawn with, unless it has one.
fn added(slide: &SlideAnnotations, mut annotation: Annotation, class: Option<Arc<Class>>) -> Change {
    annotation.class = annotation.class.or(class);
    let place = slide.set.next_place();
    Change { altered: vec![Altered { place, before: None, after: Some(Arc::new(annotation)) }] }
}

/// `None` where there is nothing at the place, or nothing changes.
fn altered(slide: &SlideAnnotations, place: u64, after: Option<Annotation>) -> Option<Change> {
    let before = Arc::clone(slide.set.get(place)?);
    let after = after.map(Arc::new);
    if after.as_ref() == Some(&before) {
        return None;
    }
    Some(Change { altered: vec![Altered { place, before: Some(before), after }] })
}

/// One more point of the count, which begins where there is none.
fn counted(slide: &mut SlideAnnotations, place: Place) -> Change {
    let place = edit::rounded(place);
    let so_far =
        slide.counted.and_then(|counted| slide.set.get(counted).map(|annotation| (counted, annotation)));
    if let Some((at, before)) = so_far
        && let Geometry::Points(points) = &before.geometry
    {
        let mut points = points.clone();
        points.push(place);
        let after = Annotation { geometry: Geometry::Points(points), ..(**before).clone() };
        let altered = Altered { place: at, before: Some(Arc::clone(before)), after: Some(Arc::new(after)) };
        return Change { altered: vec![altered] };
    }
    let mut annotation = Annotation::new(Geometry::Points(vec![place]), Form::Plain);
    annotation.name = Some(COUNT_NAME.to_owned());
    let change = added(slide, annotation, None);
    slide.counted = change.altered.first().map(|altered| altered.place);
    change
}

/// Takes a change over into the set, the history, the picture and the store.
fn did(state: &mut AppState, key: SlideKey, hash: &str, change: Change) -> Vec<Effect> {
    let change = Arc::new(change);
    let Some(slide) = state.read.annotate.slides.get_mut(hash) else { return Vec::new() };
    slide.history.did(Arc::clone(&change));
    applied(state, key, hash, &change)
}

/// As [`did`], without the history.
fn applied(state: &mut AppState, key: SlideKey, hash: &str, change: &Change) -> Vec<Effect> {
    let id = slide_id(state, key, hash);
    let has_store = state.read.places.store.is_some();
    let Some(slide) = state.read.annotate.slides.get_mut(hash) else { return Vec::new() };
    slide.set.apply(change);
    let revision = slide.set.revision();
    for altered in &change.altered {
        slide.fresh.insert(altered.place, revision);
    }
    slide.settle();
    let mut effects = vec![of(AnnotateEffect::Mesh { hash: hash.to_owned(), revision, kept: change.now() })];
    effects.extend(saved(slide, id, has_store, change));
    effects
}

fn saved(slide: &mut SlideAnnotations, id: SlideId, has_store: bool, change: &Change) -> Option<Effect> {
    let is_kept = has_store && slide.not_kept.is_none();
    slide.is_saved = false;
    is_kept.then(|| of(AnnotateEffect::Save { slide: id, kept: change.now() }))
}

/// Who a slide is for the store: nameless while names are hidden.
fn slide_id(state: &AppState, key: SlideKey, hash: &str) -> SlideId {
    let name = state.slide(key).filter(|_| !state.settings.read.is_blinded).map(SlideTab::name);
    SlideId { hash: hash.to_owned(), name: name.unwrap_or_default() }
}

impl SlideAnnotations {
    /// Forgets places where nothing is any more.
    fn settle(&mut self) {
        let set = &self.set;
        for place in [&mut self.selected, &mut self.field, &mut self.counted] {
            place.take_if(|place| set.get(*place).is_none());
        }
    }
}

/// Undo, or redo.
fn walked(state: &mut AppState, hash: &str, is_back: bool) -> Vec<Effect> {
    let (Some(key), Some(slide)) = (state.shown, state.read.annotate.slides.get_mut(hash)) else {
        return Vec::new();
    };
    let change = if is_back { slide.history.undo() } else { slide.history.redo() };
    let Some(change) = change else { return Vec::new() };
    if change.altered.len() > MOST_AT_ONCE {
        return bulk(slide, hash.to_owned(), BulkWork::Apply(Arc::new(change)));
    }
    applied(state, key, hash, &change)
}

/// Lets a thread change many at once; until it has, wishes wait.
fn bulk(slide: &mut SlideAnnotations, hash: String, work: BulkWork) -> Vec<Effect> {
    slide.is_busy = true;
    let (revision, all) = (slide.set.revision(), slide.set.all().clone());
    vec![of(AnnotateEffect::Bulk { hash, revision, all, work })]
}

fn export(state: &mut AppState, hash: &str, path: PathBuf) -> Vec<Effect> {
    state.read.annotate.news = None;
    let slide = state.read.annotate.slides.get(hash);
    let all = slide.map(|slide| slide.set.all().clone()).unwrap_or_default();
    vec![of(AnnotateEffect::Export { path, all })]
}

fn save_class(state: &mut AppState, hash: &str, class: Class) -> Vec<Effect> {
    let annotate = &mut state.read.annotate;
    annotate.classes.insert(class.name.clone(), class.rgb);
    if annotate.class.as_ref().is_some_and(|used| used.name == class.name) {
        annotate.class = Some(Arc::new(class.clone()));
    }
    let mut effects = vec![of(AnnotateEffect::SaveClass(class.clone()))];
    if let Some(slide) = annotate.slides.get_mut(hash) {
        let is_other = |used: &Option<Arc<Class>>| {
            used.as_ref().is_some_and(|used| used.name == class.name && used.rgb != class.rgb)
        };
        if slide.set.counts().keys().any(is_other) {
            effects.extend(bulk(slide, hash.to_owned(), BulkWork::Recolour(class)));
        }
    }
    effects
}

fn look_at(state: &mut AppState, hash: &str, place: u64) -> Vec<Effect> {
    let Some(slide) = state.read.annotate.slides.get_mut(hash) else { return Vec::new() };
    let Some(bounds) = slide.set.get(place).map(|annotation| annotation.geometry.bounds()) else {
        return Vec::new();
    };
    slide.selected = Some(place);
    let screen = state.viewer;
    if let Some(bounds) = bounds
        && let Some(viewport) = state.shown_slide_mut().and_then(|slide| slide.viewport.as_mut())
    {
        viewport.look_at((f64::midpoint(bounds.x0, bounds.x1), f64::midpoint(bounds.y0, bounds.y1)));
        // Only as far out as it takes to see all of it.
        if let Some(screen) = screen {
            let side = f64::from(screen.width().min(screen.height())).max(1.0) * 0.8;
            let needed = bounds.width().max(bounds.height()) / side;
            if needed > viewport.slide_per_point {
                viewport.set_scale(screen.size(), needed);
            }
        }
        super::super::moved(state);
    }
    Vec::new()
}

/// A slide was opened.
pub(in crate::window::read) fn opened(state: &mut AppState, key: SlideKey) -> Vec<Effect> {
    let Some(hash) = state.slide(key).and_then(SlideTab::info).map(|info| info.hash.clone()) else {
        return Vec::new();
    };
    let has_store = state.read.places.store.is_some();
    let annotate = &mut state.read.annotate;
    annotate.hashes.insert(key, hash.clone());
    if annotate.slides.contains_key(&hash) {
        return Vec::new();
    }
    let slide = SlideAnnotations { is_busy: has_store, is_saved: true, ..SlideAnnotations::default() };
    annotate.slides.insert(hash.clone(), slide);
    has_store.then(|| of(AnnotateEffect::Load { hash })).into_iter().collect()
}

/// A slide was closed. Its annotations stay here where they are nowhere else.
pub(in crate::window::read) fn closed(state: &mut AppState, key: SlideKey) -> Vec<Effect> {
    let annotate = &mut state.read.annotate;
    let Some(hash) = annotate.hashes.remove(&key) else { return Vec::new() };
    let is_open = annotate.hashes.values().any(|other| *other == hash);
    let is_safe = annotate
        .slides
        .get(&hash)
        .is_some_and(|slide| slide.is_saved && !slide.is_busy && slide.not_kept.is_none());
    if is_open || !is_safe || state.read.places.store.is_none() {
        return Vec::new();
    }
    annotate.slides.remove(&hash);
    vec![of(AnnotateEffect::Forget { hash })]
}
