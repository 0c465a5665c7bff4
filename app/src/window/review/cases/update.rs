//! Every change of the open case, of the list, and of what is in view of them.

use std::sync::Arc;

use super::super::super::read::Side;
use super::super::super::state::AppState;
use super::super::super::update::{Effect, complain};
use super::{
    CasesCommand, CasesEffect, CasesEvent, clear_queue, conversation, effect, keeper, questions, queue,
    reopen, shown,
};
use crate::case::{Case, Id, Maps, Purpose, Question};
use crate::store::case_keeper::CaseJob;

/// Carries out a wish.
pub(in crate::window::review) fn command(state: &mut AppState, wish: CasesCommand) -> Vec<Effect> {
    match wish {
        CasesCommand::Search(search) => {
            state.review.cases.search = search;
            vec![list(state)]
        }
        CasesCommand::OfSlide(on) => {
            state.review.cases.is_of_slide = on;
            vec![list(state)]
        }
        CasesCommand::Refresh => vec![list(state)],
        CasesCommand::Open(id, at) => vec![keeper(CaseJob::Open { id, at })],
        CasesCommand::Begin => reopen::begin(state),
        CasesCommand::Show(id) => {
            show_answer(state, id);
            Vec::new()
        }
        CasesCommand::Branch(by) => {
            show_if_any(state, branch(state, by));
            Vec::new()
        }
        CasesCommand::Along(by) => {
            show_if_any(state, along(state, by));
            Vec::new()
        }
        CasesCommand::Regenerate => questions::once_more(state, 1, &Purpose::Answer),
        CasesCommand::Samples(count) => questions::once_more(state, count, &Purpose::Sample),
        CasesCommand::AskEdited(text) => questions::ask_edited(state, &text),
        CasesCommand::FollowUp { text, has_history } => questions::follow_up(state, &text, has_history),
        CasesCommand::ComparePatches(text) => questions::compare_patches(state, &text),
        CasesCommand::Compare(answers) => {
            state.review.cases.compared = answers;
            Vec::new()
        }
        CasesCommand::Explain(id) => queue::explain_next(state, id),
        CasesCommand::Rename(id, title) => rename(state, &id, &title),
        CasesCommand::ClearQueue => {
            clear_queue(state);
            Vec::new()
        }
        CasesCommand::Edit(question) => {
            if question.is_some() {
                state.read.side = Side::Ask;
            }
            state.review.cases.editing = question;
            Vec::new()
        }
        CasesCommand::FindSlide => reopen::find_slide(state),
        CasesCommand::Settle => {
            let mut effects = reopen::settle(state);
            effects.extend(queue::go_on(state));
            effects
        }
    }
}

/// Takes in what happened.
pub(in crate::window::review) fn event(state: &mut AppState, news: CasesEvent) -> Vec<Effect> {
    let cases = &mut state.review.cases;
    match news {
        CasesEvent::Listed { search, list } => {
            if search == cases.search {
                cases.list = Some(list);
            }
        }
        CasesEvent::Opened { case, entries, maps, at } => {
            return reopen::opened(state, *case, entries, maps, at);
        }
        CasesEvent::Maps { id, maps } => return take_maps(state, id, maps),
        CasesEvent::PatchesKept { question, pixels } => return patches_kept(state, &question, pixels),
        CasesEvent::PatchesNotKept { question, sentence } => {
            cases.keeping.remove(&question);
            complain(state, sentence);
        }
        CasesEvent::Saved => {
            cases.not_kept = None;
            cases.is_list_old = true;
            return vec![effect(CasesEffect::Flush)];
        }
        CasesEvent::Waiting(sentence) => cases.not_kept = Some(sentence),
        CasesEvent::Failed(sentence) => {
            cases.not_kept = Some(sentence.clone());
            complain(state, sentence);
        }
    }
    Vec::new()
}

/// Reads the list as it is wished for.
fn list(state: &mut AppState) -> Effect {
    let slide = wanted_slide(state);
    let cases = &mut state.review.cases;
    cases.is_list_old = false;
    cases.listed_slide.clone_from(&slide);
    keeper(CaseJob::List { search: cases.search.clone(), slide })
}

/// The hash of the slide whose cases are to be listed; `None`: those of all slides.
pub(super) fn wanted_slide(state: &AppState) -> Option<String> {
    let slide = state.shown_slide().filter(|_| state.review.cases.is_of_slide)?;
    Some(slide.info()?.hash.clone())
}

/// Puts an answer of the open case into view; the one that is being written is `state.answer`.
fn show_answer(state: &mut AppState, id: Id) {
    let is_live = state.answer.as_ref().is_some_and(|live| live.record.id == id && live.is_running());
    let cases = &mut state.review.cases;
    if is_live {
        cases.shown = None;
    } else if cases.open.as_ref().is_some_and(|open| open.answers.contains_key(&id)) {
        cases.shown = Some(id);
    }
}

fn show_if_any(state: &mut AppState, id: Option<Id>) {
    if let Some(id) = id {
        show_answer(state, id);
    }
}

/// The answers that stand beside the one in view, that one among them, and its place.
pub(super) fn branches(state: &AppState) -> Option<(Vec<Id>, usize)> {
    let cases = &state.review.cases;
    let open = cases.open.as_ref()?;
    let shown = shown(state)?;
    let mut ids = conversation::branches(open, shown.question, &shown.answer.id);
    // The one that is being written is not part of the case yet.
    if let (Some(live), Some(question)) = (&state.answer, &cases.live)
        && live.is_running()
        && live.record.id != shown.answer.id
        && matches!(live.record.purpose, Purpose::Answer | Purpose::Sample)
        && conversation::are_beside(open, question, shown.question)
    {
        ids.push(live.record.id.clone());
    }
    let at = ids.iter().position(|id| *id == shown.answer.id)?;
    Some((ids, at))
}

/// The answer so many further among them; none beyond the first and the last.
fn branch(state: &AppState, by: i32) -> Option<Id> {
    let (branches, at) = branches(state)?;
    branches.get(at.checked_add_signed(by as isize)?).cloned()
}

/// The answer so many questions further along the conversation, or as far as it goes.
fn along(state: &AppState, by: i32) -> Option<Id> {
    let open = state.review.cases.open.as_ref()?;
    let shown = shown(state)?;
    if by < 0 {
        let before = conversation::earlier(open, shown.question);
        let steps = by.unsigned_abs() as usize;
        return before.get(before.len().saturating_sub(steps)).map(|(_, answer)| answer.id.clone());
    }
    let mut at = None;
    for _ in 0..by {
        let from = at.as_ref().unwrap_or(&shown.answer.id);
        match conversation::next(open, from).or_else(|| live_after(state, from)) {
            Some(next) => at = Some(next),
            None => break,
        }
    }
    at
}

/// The answer that is being written, where it follows this one.
fn live_after(state: &AppState, answer: &Id) -> Option<Id> {
    let live = state.answer.as_ref().filter(|live| live.is_running() && live.record.id != *answer)?;
    let question = state.review.cases.live.as_ref()?;
    (question.follows.as_ref() == Some(answer)).then(|| live.record.id.clone())
}

fn rename(state: &mut AppState, id: &Id, title: &str) -> Vec<Effect> {
    let title: String = title.trim().chars().take(queue::MOST_TITLE).collect();
    if title.is_empty() {
        return Vec::new();
    }
    let cases = &mut state.review.cases;
    let named = if let Some(open) = cases.open.as_mut().filter(|open| open.case.id == *id) {
        open.case.title.clone_from(&title);
        Some(open.case.clone())
    } else {
        let listed = cases.list.iter().flat_map(|list| list.iter()).find(|listed| listed.case.id == *id);
        listed.map(|listed| Case { title, ..listed.case.clone() })
    };
    named.map(|case| keeper(CaseJob::KeepCase(case))).into_iter().collect()
}

fn take_maps(state: &mut AppState, order: u64, maps: Maps) -> Vec<Effect> {
    let cases = &state.review.cases;
    if let Some((_, answer)) = cases.explaining.as_ref().filter(|(id, _)| *id == order) {
        let answer = answer.clone();
        state.review.chain.maps.insert(answer.clone(), Arc::clone(&maps));
        return vec![keeper(CaseJob::KeepMaps { answer, maps })];
    }
    // Of an answer that was asked for with its maps: they are kept with it, once it has ended.
    if let Some(live) = state.answer.as_ref().filter(|live| live.id == order) {
        let id = live.record.id.clone();
        state.review.chain.maps.insert(id, maps);
    }
    Vec::new()
}

fn patches_kept(state: &mut AppState, question: &Id, pixels: Vec<String>) -> Vec<Effect> {
    let cases = &mut state.review.cases;
    let Some(before) = cases.keeping.remove(question) else { return Vec::new() };
    let mut kept: Question = (*before).clone();
    for (patch, pixels) in kept.patches.iter_mut().zip(pixels) {
        patch.pixels = Some(pixels);
    }
    let kept = Arc::new(kept);
    if let Some(known) = cases.open.as_mut().and_then(|open| open.questions.get_mut(question)) {
        *known = Arc::clone(&kept);
    }
    if let Some(live) = cases.live.as_mut().filter(|live| live.id == *question) {
        *live = Arc::clone(&kept);
    }
    vec![keeper(CaseJob::KeepQuestion(kept))]
}
