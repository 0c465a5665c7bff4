//! What wishes and news change: the sentence in view, its map, how words are marked, the glossary.

use std::sync::Arc;

use reinpath_model::prose::split;
use reinpath_model::stage::AnswerStage;

use super::super::super::state::AppState;
use super::super::super::update::{Effect, complain};
use super::super::cases::{self, CasesCommand};
use super::super::{ReviewEffect, Shown};
use super::{ChainCommand, ChainEffect, ChainEvent, MapKey, OwnTerms, is_open};
use crate::chain::glossary::{Glossary, Term, check, is_same};
use crate::chain::indices_of;

/// The sentence of the answer in view that keys are about: its stage and its place in it.
pub(in crate::window) fn focus(state: &AppState) -> Option<(AnswerStage, usize)> {
    let (id, stage, index) = state.review.chain.focus.as_ref()?;
    let shown = cases::shown(state)?;
    (shown.answer.id == *id).then_some((*stage, *index))
}

/// Carries out a wish.
pub(in crate::window::review) fn command(state: &mut AppState, wish: ChainCommand) -> Vec<Effect> {
    match wish {
        ChainCommand::Focus(place) => focus_on(state, place),
        ChainCommand::Step(by) => step(state, by),
        ChainCommand::ToggleMap => return toggle_map(state),
        ChainCommand::LookAt(place) => {
            let id = cases::shown(state).map(|shown| shown.answer.id.clone());
            let place = place.zip(id).map(|((stage, index), id)| (id, stage, index));
            state.review.chain.looked_at = place;
        }
        ChainCommand::Want(key) => return want(state, key),
        ChainCommand::Fold(stage) => fold(state, stage),
        ChainCommand::ToggleTerms => {
            state.settings.review.marks_terms ^= true;
            return vec![Effect::SaveSettings(state.settings.clone())];
        }
        ChainCommand::UnsureBelow(per_cent) => {
            state.settings.review.unsure_below = per_cent.min(100);
            return vec![Effect::SaveSettings(state.settings.clone())];
        }
        ChainCommand::MakesMaps(makes) => {
            state.settings.review.makes_maps = makes;
            return vec![Effect::SaveSettings(state.settings.clone())];
        }
        ChainCommand::SaveTerm { name, also, meaning } => return save_term(state, &name, also, meaning),
        ChainCommand::RemoveTerm(name) => {
            return change_glossary(state, |own| {
                own.retain(|term| !is_same(&term.name, &name));
                Ok(())
            });
        }
    }
    Vec::new()
}

/// Takes in what happened.
pub(in crate::window::review) fn event(state: &mut AppState, news: ChainEvent) -> Vec<Effect> {
    match news {
        ChainEvent::Failed(sentence) => complain(state, sentence),
        ChainEvent::Glossary(Ok(own)) => use_terms(state, own),
        ChainEvent::Glossary(Err(sentence)) => {
            state.review.chain.own = OwnTerms::Broken(sentence.clone());
            complain(state, sentence);
        }
        ChainEvent::Drawn { key, layers } => {
            if state.review.chain.wanted.as_ref() == Some(&key) {
                state.review.chain.drawn = Some((key, layers));
            }
        }
    }
    Vec::new()
}

/// Makes a sentence of the answer in view the one that keys are about, and opens its stage.
fn focus_on(state: &mut AppState, place: Option<(AnswerStage, usize)>) {
    let Some(shown) = cases::shown(state) else { return };
    let id = shown.answer.id.clone();
    if let Some((stage, _)) = place
        && !is_open(state, shown, stage)
    {
        fold(state, stage);
    }
    state.review.chain.focus = place.map(|(stage, index)| (id, stage, index));
}

/// Goes on by so many sentences; from none to the first or the last, and not beyond these.
fn step(state: &mut AppState, by: i32) {
    let Some(shown) = cases::shown(state) else { return };
    let all = sentences(shown);
    let at = focus(state).and_then(|place| all.iter().position(|other| *other == place));
    let last = all.len() as i64 - 1;
    let next = match at {
        Some(at) => (at as i64 + i64::from(by)).clamp(0, last.max(0)),
        None if by < 0 => last,
        None => 0,
    };
    let place = usize::try_from(next).ok().and_then(|next| all.get(next).copied());
    if place.is_some() {
        focus_on(state, place);
    }
}

/// Every sentence of an answer.
fn sentences(shown: Shown<'_>) -> Vec<(AnswerStage, usize)> {
    let text = shown.answer.text();
    let of_stage = |stage: AnswerStage| (0..split(text.stage(stage)).len()).map(move |index| (stage, index));
    AnswerStage::ALL.into_iter().flat_map(of_stage).collect()
}

fn fold(state: &mut AppState, stage: AnswerStage) {
    let Some(shown) = cases::shown(state) else { return };
    let (id, is_open, is_live) =
        (shown.answer.id.clone(), is_open(state, shown, stage), shown.live.is_some());
    match &mut state.answer {
        Some(answer) if is_live => answer.toggle(stage),
        _ => {
            state.review.chain.opened.insert((id, stage), !is_open);
        }
    }
}

/// Shows or hides where the sentence looks; an answer without maps is read again for them.
fn toggle_map(state: &mut AppState) -> Vec<Effect> {
    let Some(shown) = cases::shown(state) else { return Vec::new() };
    let (id, is_over) = (shown.answer.id.clone(), shown.answer.is_over());
    if focus(state).is_none() {
        state.review.chain.is_map_shown = false;
        step(state, 1);
    }
    if !is_over || focus(state).is_none() {
        // Maps are made of what was written to its end.
        return Vec::new();
    }
    let chain = &mut state.review.chain;
    chain.is_map_shown = !chain.is_map_shown;
    if !chain.is_map_shown || chain.maps.contains_key(&id) {
        return Vec::new();
    }
    if state.review.cases.explaining.as_ref().is_some_and(|(_, explained)| *explained == id) {
        return Vec::new();
    }
    cases::command(state, CasesCommand::Explain(id))
}

/// Other maps are to be drawn.
fn want(state: &mut AppState, key: Option<MapKey>) -> Vec<Effect> {
    state.review.chain.wanted.clone_from(&key);
    let Some(key) = key else {
        state.review.chain.drawn = None;
        return Vec::new();
    };
    let Some(maps) = state.review.chain.maps.get(&key.answer).cloned() else { return Vec::new() };
    let Some(shown) = cases::shown(state).filter(|shown| shown.answer.id == key.answer) else {
        return Vec::new();
    };
    let text = shown.answer.text();
    let which = indices_of(&maps, text.stage(key.stage), key.stage, key.index);
    vec![Effect::Review(ReviewEffect::Chain(ChainEffect::Draw { key, maps, which }))]
}

fn use_terms(state: &mut AppState, own: Vec<Term>) {
    let chain = &mut state.review.chain;
    chain.glossary = Arc::new(Glossary::shipped().with_terms(&own));
    chain.own = OwnTerms::Known(own);
    chain.revision += 1;
}

fn save_term(state: &mut AppState, name: &str, also: Vec<String>, meaning: String) -> Vec<Effect> {
    let known = state.review.chain.glossary.terms().iter().find(|term| is_same(&term.name, name)).cloned();
    let also = also.into_iter().map(|form| form.trim().to_owned()).filter(|form| !form.is_empty()).collect();
    // What the user wrote is no longer the standard's.
    let source =
        known.as_ref().filter(|known| known.meaning == meaning).and_then(|known| known.source.clone());
    let is_general = known.is_some_and(|known| known.is_general);
    let term = Term { name: name.trim().to_owned(), also, meaning, source, is_general };
    change_glossary(state, move |own| {
        check(&term)?;
        match own.iter_mut().find(|other| is_same(&other.name, &term.name)) {
            Some(other) => *other = term,
            None => own.push(term),
        }
        Ok(())
    })
}

/// Changes the user's terms and keeps them; a file that cannot be read is never written over.
fn change_glossary(
    state: &mut AppState,
    change: impl FnOnce(&mut Vec<Term>) -> Result<(), String>,
) -> Vec<Effect> {
    let has_file = state.read.places.glossary.is_some();
    let mut own = match &state.review.chain.own {
        OwnTerms::Known(own) => own.clone(),
        OwnTerms::Unread if !has_file => Vec::new(),
        OwnTerms::Unread => {
            complain(state, "The glossary is still being read: try again.".to_owned());
            return Vec::new();
        }
        OwnTerms::Broken(sentence) => {
            let sentence =
                format!("The glossary is not changed, because its file is left as it is. {sentence}");
            complain(state, sentence);
            return Vec::new();
        }
    };
    if let Err(reason) = change(&mut own) {
        complain(state, format!("The glossary is not changed: {reason}."));
        return Vec::new();
    }
    use_terms(state, own.clone());
    if !has_file {
        return Vec::new();
    }
    vec![Effect::Review(ReviewEffect::Chain(ChainEffect::SaveGlossary(own)))]
}
