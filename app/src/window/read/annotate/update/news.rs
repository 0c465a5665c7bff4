//! What threads have to say about annotations: read, saved, meshed, changed by the thousand.

use std::sync::Arc;

use super::{command, of, of_slide, saved, slide_id};
use crate::annotation::set::{AnnotationSet, Change};
use crate::store::SlideId;
use crate::window::read::annotate::{AnnotateEffect, AnnotateEvent};
use crate::window::state::AppState;
use crate::window::update::{Effect, complain};

/// Takes in what happened.
pub(in crate::window::read) fn event(state: &mut AppState, news: AnnotateEvent) -> Vec<Effect> {
    match news {
        AnnotateEvent::Loaded { hash, set } => loaded(state, &hash, *set),
        AnnotateEvent::NotLoaded { hash, sentence } => {
            if let Some(slide) = state.read.annotate.slides.get_mut(&hash) {
                slide.not_kept = Some(sentence.clone());
            }
            complain(state, sentence);
            go_on(state, &hash)
        }
        AnnotateEvent::Classes(classes) => {
            state.read.annotate.classes.extend(classes.into_iter().map(|class| (class.name, class.rgb)));
            Vec::new()
        }
        AnnotateEvent::Saved => {
            for slide in state.read.annotate.slides.values_mut() {
                slide.is_saved = true;
            }
            vec![of(AnnotateEffect::Flush)]
        }
        AnnotateEvent::Waiting(sentence) | AnnotateEvent::Complaint(sentence) => {
            complain(state, sentence);
            Vec::new()
        }
        AnnotateEvent::Meshed { hash, revision, chunks, rows } => {
            if let Some(slide) = state.read.annotate.slides.get_mut(&hash) {
                (slide.chunks, slide.rows) = (chunks, rows);
                slide.fresh.retain(|_, changed| *changed > revision);
            }
            Vec::new()
        }
        AnnotateEvent::Rebuilt { hash, set, change, is_new, news } => {
            if news.is_some() {
                state.read.annotate.news = news;
            }
            rebuilt(state, &hash, *set, &change, is_new)
        }
        AnnotateEvent::Failed { hash, sentence } => {
            complain(state, sentence);
            go_on(state, &hash)
        }
        AnnotateEvent::Exported(news) => {
            state.read.annotate.news = Some(news);
            Vec::new()
        }
        AnnotateEvent::Picked(wish) => command(state, wish),
    }
}

fn loaded(state: &mut AppState, hash: &str, set: AnnotationSet) -> Vec<Effect> {
    let annotate = &mut state.read.annotate;
    let Some(slide) = annotate.slides.get_mut(hash) else { return Vec::new() };
    for class in set.counts().keys().flatten() {
        annotate.classes.entry(class.name.clone()).or_insert(class.rgb);
    }
    (slide.set, slide.is_saved) = (set, true);
    go_on(state, hash)
}

fn rebuilt(
    state: &mut AppState,
    hash: &str,
    set: AnnotationSet,
    change: &Arc<Change>,
    is_new: bool,
) -> Vec<Effect> {
    let key = state.read.annotate.hashes.iter().find(|(_, of)| *of == hash).map(|(key, _)| *key);
    let id = key.map_or_else(
        || SlideId { hash: hash.to_owned(), name: String::new() },
        |key| slide_id(state, key, hash),
    );
    let has_store = state.read.places.store.is_some();
    let annotate = &mut state.read.annotate;
    let Some(slide) = annotate.slides.get_mut(hash) else { return Vec::new() };
    for class in set.counts().keys().flatten() {
        annotate.classes.entry(class.name.clone()).or_insert(class.rgb);
    }
    slide.set = set;
    if is_new && !change.altered.is_empty() {
        slide.history.did(Arc::clone(change));
    }
    slide.settle();
    let mut effects: Vec<Effect> = Vec::new();
    if !change.altered.is_empty() {
        effects.extend(saved(slide, id, has_store, change));
    }
    effects.extend(go_on(state, hash));
    effects
}

/// A thread is through with a slide's annotations: carries out what waited for it.
fn go_on(state: &mut AppState, hash: &str) -> Vec<Effect> {
    let Some(slide) = state.read.annotate.slides.get_mut(hash) else { return Vec::new() };
    slide.is_busy = false;
    let waiting = std::mem::take(&mut slide.waiting);
    // They were about this slide, and a wish is always about the one in view.
    let hashes = &state.read.annotate.hashes;
    let before = state.shown;
    let is_shown = before.is_some_and(|key| hashes.get(&key).is_some_and(|shown| shown == hash));
    let any = || hashes.iter().find(|(_, of)| *of == hash).map(|(key, _)| *key);
    let Some(key) = before.filter(|_| is_shown).or_else(any) else { return Vec::new() };
    state.shown = Some(key);
    let effects = waiting.into_iter().flat_map(|wish| of_slide(state, wish)).collect();
    state.shown = before;
    effects
}
