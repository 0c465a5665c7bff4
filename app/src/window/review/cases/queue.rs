//! One model at a time: what is sent to it, what waits for it, and what becomes of an answer that has ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use reinpath_model::event::{AskEvent, Finished, PatchSource, Stamp, Stop};

use super::super::super::answer_view::{AnswerView, QuestionText, Subject};
use super::super::super::review;
use super::super::super::state::{AppState, PackageState, SlideTab, WorkerState};
use super::super::super::update::{AskOrder, Effect, How, complain};
use super::{CasesEffect, Wanted, conversation, effect, keeper};
use crate::case::{Answer, Case, Id, OpenCase, PatchKept, Purpose, Question, now};
use crate::slide::Region;
use crate::store::SlideId;
use crate::store::case_keeper::CaseJob;

/// Answers that wait for the model.
const MOST_WAITING: usize = 64;
/// Characters of a case's title.
pub(super) const MOST_TITLE: usize = 80;

/// Said while nothing can be asked yet.
pub(in crate::window) const STILL_READING: &str = "The model package is still being read.";

/// Why no model answers now, as a sentence; `None` where one does.
pub(in crate::window) fn no_model(state: &AppState) -> Option<String> {
    match &state.model.package {
        PackageState::Failed(sentence) => Some(sentence.clone()),
        PackageState::Known(_) if state.model.chosen.is_none() => None,
        PackageState::Known(_) | PackageState::Reading => Some(STILL_READING.to_owned()),
    }
}

/// Asks for answers one after the other, each as soon as the model is free.
pub(in crate::window) fn enqueue(state: &mut AppState, wanted: Vec<Wanted>) -> Vec<Effect> {
    if let PackageState::Failed(sentence) = &state.model.package {
        let sentence = sentence.clone();
        complain(state, sentence);
        return Vec::new();
    }
    let queue = &mut state.review.cases.queue;
    if queue.len() + wanted.len() > MOST_WAITING {
        complain(state, format!("No more than {MOST_WAITING} answers can wait: some were not asked for."));
    }
    let queue = &mut state.review.cases.queue;
    let room = MOST_WAITING.saturating_sub(queue.len());
    queue.extend(wanted.into_iter().take(room));
    go_on(state)
}

/// Takes back what waits; whether anything did.
pub(in crate::window) fn clear_queue(state: &mut AppState) -> bool {
    let cases = &mut state.review.cases;
    let has_waited = !cases.queue.is_empty();
    cases.queue.clear();
    has_waited
}

/// Sends what waits, where the model is free: the next question, else an answer to be read again.
pub(super) fn go_on(state: &mut AppState) -> Vec<Effect> {
    if state.is_asking() {
        return Vec::new();
    }
    if let Some(sentence) = no_model(state) {
        if let PackageState::Failed(_) = state.model.package {
            state.review.cases.to_explain = None;
            if clear_queue(state) {
                complain(state, sentence);
            }
        }
        return Vec::new();
    }
    while let Some(wanted) = state.review.cases.queue.pop_front() {
        if state.slide(wanted.slide).is_some_and(|slide| slide.info().is_some()) {
            return send(state, wanted);
        }
        let words = &wanted.question.words;
        complain(state, format!("Open the slide of the question again to ask it: {words}"));
    }
    match state.review.cases.to_explain.take() {
        Some((id, is_wanted)) => explain(state, &id, is_wanted),
        None => Vec::new(),
    }
}

/// Whether something waits that the model could do.
pub(super) fn is_due(state: &AppState) -> bool {
    let cases = &state.review.cases;
    let waits = !cases.queue.is_empty() || cases.to_explain.is_some();
    waits && !state.is_asking() && no_model(state).is_none_or(|why| why != STILL_READING)
}

/// Sends a question to the model.
pub(in crate::window) fn send(state: &mut AppState, wanted: Wanted) -> Vec<Effect> {
    let Some(slide) = state.slide(wanted.slide) else { return Vec::new() };
    let subject = Subject {
        slide: slide.path.clone(),
        regions: wanted.regions.clone(),
        words: wanted.question.words.clone(),
    };
    let mut effects = give_up_explaining(state);
    let id = state.new_id();
    let Wanted { slide, regions, text, how, .. } = wanted.clone();
    let order = AskOrder { id, slide, regions, text: text.clone(), how };
    if let WorkerState::Ended(_) = state.model.worker {
        state.model.worker = WorkerState::Idle;
    }
    let mut answer = AnswerView::new(id, text, subject);
    state.review.cases.asked = Some(wanted);
    effects.extend(review::asked(state, &order, &mut answer));
    state.answer = Some(answer);
    effects.push(Effect::Ask(Box::new(order)));
    effects
}

/// A question goes to the model: it is kept, and its case with it, where they are new.
pub(in crate::window::review) fn asked(
    state: &mut AppState,
    order: &AskOrder,
    answer: &mut AnswerView,
) -> Vec<Effect> {
    let Some(Wanted { question, purpose, .. }) = state.review.cases.asked.clone() else { return Vec::new() };
    answer.record = Answer::begun(question.id.clone(), purpose.clone());
    let effects = keep_question(state, order, &question);
    // What only stands beside the answer in view does not take its place.
    let last = state.answer.as_ref().map(|last| last.record.id.clone());
    let cases = &mut state.review.cases;
    answer.record.began = conversation::later(cases.open.as_ref());
    let is_kept = |id: &Id| cases.open.as_ref().is_some_and(|open| open.answers.contains_key(id));
    cases.shown = match purpose {
        Purpose::Answer => None,
        _ => cases.shown.take().or(last).filter(is_kept),
    };
    if purpose == Purpose::Sample || question.group.is_some() {
        cases.compared.push(answer.record.id.clone());
    }
    cases.live = Some(question);
    effects
}

fn keep_question(state: &mut AppState, order: &AskOrder, question: &Arc<Question>) -> Vec<Effect> {
    let Some(slide) = state.slide(order.slide) else { return Vec::new() };
    let Some(hash) = slide.info().map(|info| info.hash.clone()) else { return Vec::new() };
    let is_named = !state.settings.read.is_blinded;
    let name = if is_named { slide.name() } else { String::new() };
    let path = is_named.then(|| std::path::absolute(&slide.path).unwrap_or_else(|_| slide.path.clone()));
    let keeps_patches = state.read.places.patches.is_some();
    let mpp = state.model.info().filter(|_| keeps_patches).map(|info| info.patch.mpp);
    let cases = &mut state.review.cases;
    if cases.open.as_ref().is_none_or(|open| open.case.id != question.case) {
        let (id, title) = (question.case.clone(), title_of(&question.text));
        let (slide, created) = (SlideId { hash, name: String::new() }, question.asked);
        let case = Case { id, slide, path: None, title, created, changed: created };
        cases.open = Some(OpenCase { case, questions: BTreeMap::new(), answers: BTreeMap::new() });
    }
    let Some(open) = &mut cases.open else { return Vec::new() };
    if open.questions.insert(question.id.clone(), Arc::clone(question)).is_some() {
        return Vec::new();
    }
    open.case.changed = now();
    if is_named {
        (open.case.slide.name, open.case.path) = (name, path);
    }
    let mut effects = vec![
        keeper(CaseJob::KeepCase(open.case.clone())),
        keeper(CaseJob::KeepQuestion(Arc::clone(question))),
    ];
    let is_kept = question.patches.iter().all(|patch| patch.pixels.is_some());
    if let Some(mpp) = mpp.filter(|_| !is_kept) {
        cases.keeping.insert(question.id.clone(), Arc::clone(question));
        let question = Arc::clone(question);
        effects.push(effect(CasesEffect::KeepPatches { slide: order.slide, question, mpp }));
    }
    effects
}

/// A question as a title: its first line, cut where it is long.
pub(super) fn title_of(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default().trim();
    if line.chars().count() <= MOST_TITLE {
        return line.to_owned();
    }
    let start: String = line.chars().take(MOST_TITLE - 1).collect();
    format!("{}…", start.trim_end())
}

/// Something was written for an order that is not `state.answer`'s.
pub(in crate::window::review) fn heard(state: &mut AppState, id: u64, event: AskEvent) {
    let AskEvent::Failed { error } = event else { return };
    if state.review.cases.explaining.as_ref().is_none_or(|(order, _)| *order != id) {
        return;
    }
    if state.review.cases.is_explaining_wanted {
        complain(state, format!("Where the sentences look cannot be told. {error}"));
    } else {
        tracing::info!("no maps of an answer: {error}");
    }
}

/// An order has ended.
pub(in crate::window::review) fn ended(state: &mut AppState, id: u64) -> Vec<Effect> {
    let cases = &mut state.review.cases;
    cases.explaining.take_if(|(order, _)| *order == id);
    let mut effects = Vec::new();
    if state.answer.as_ref().is_some_and(|answer| answer.id == id && !answer.is_running()) {
        effects = keep_answer(state);
    }
    effects.extend(go_on(state));
    effects
}

/// Puts the answer that has ended into its case, and keeps it there; one without a word is shown and forgotten.
fn keep_answer(state: &mut AppState) -> Vec<Effect> {
    let Some(live) = &state.answer else { return Vec::new() };
    let Some(question) = &state.review.cases.live else { return Vec::new() };
    if live.record.tokens.iter().all(|token| token.text.trim().is_empty()) {
        return Vec::new();
    }
    let answer = Arc::new(live.record.clone());
    let case = question.case.clone();
    let mut effects = vec![keeper(CaseJob::KeepAnswer { case: case.clone(), answer: Arc::clone(&answer) })];
    if let Some(maps) = state.review.chain.maps.get(&answer.id) {
        let (answer, maps) = (answer.id.clone(), Arc::clone(maps));
        effects.push(keeper(CaseJob::KeepMaps { answer, maps }));
    }
    let is_whole = matches!(&answer.finished, Some(Finished { stop: Stop::End | Stop::MaxTokens, .. }));
    let is_read = matches!(answer.purpose, Purpose::Answer | Purpose::Sample);
    let cases = &mut state.review.cases;
    if let Some(open) = cases.open.as_mut().filter(|open| open.case.id == case) {
        open.case.changed = now();
        effects.push(keeper(CaseJob::KeepCase(open.case.clone())));
        // Not where the model did not say how it was asked.
        if state.settings.review.makes_maps && is_whole && is_read && answer.stamp.is_some() {
            cases.to_explain.get_or_insert((answer.id.clone(), false));
        }
        open.answers.insert(answer.id.clone(), answer);
    }
    effects
}

/// The model is wanted for something else.
fn give_up_explaining(state: &mut AppState) -> Vec<Effect> {
    let given_up = state.review.cases.explaining.take();
    given_up.map(|(id, _)| Effect::StopAsking { id }).into_iter().collect()
}

/// Has an answer read again for the maps of its sentences, as soon as the model is free.
pub(super) fn explain_next(state: &mut AppState, id: Id) -> Vec<Effect> {
    let is_being_read = state.review.cases.explaining.as_ref().is_some_and(|(_, answer)| *answer == id);
    if is_being_read || state.review.chain.maps.contains_key(&id) {
        return Vec::new();
    }
    state.review.cases.to_explain = Some((id, true));
    go_on(state)
}

fn explain(state: &mut AppState, id: &Id, is_wanted: bool) -> Vec<Effect> {
    match reading_order(state, id) {
        Ok(order) => {
            let mut effects = give_up_explaining(state);
            let order = AskOrder { id: state.new_id(), ..order };
            let cases = &mut state.review.cases;
            cases.explaining = Some((order.id, id.clone()));
            cases.is_explaining_wanted = is_wanted;
            effects.push(Effect::Ask(Box::new(order)));
            effects
        }
        Err(sentence) => {
            if is_wanted {
                complain(state, sentence);
            }
            Vec::new()
        }
    }
}

/// The order that reads an answer again, without its number; an error is a sentence.
fn reading_order(state: &AppState, id: &Id) -> Result<AskOrder, String> {
    let open = state.review.cases.open.as_ref();
    let found = open.and_then(|open| Some((open, open.answers.get(id)?)));
    let Some((open, answer)) = found else {
        return Err("Where its sentences look can be told once the answer has ended.".to_owned());
    };
    let is_its_slide = |slide: &&SlideTab| slide.info().is_some_and(|info| info.hash == open.case.slide.hash);
    let Some(slide) = state.slides.iter().find(is_its_slide) else {
        return Err("Open the slide of this case to see where the sentences look.".to_owned());
    };
    let (text, regions, how) = match answer.stamp.as_deref() {
        Some(stamp) => as_stamped(state, stamp)?,
        None => as_sent(state, id).ok_or("The answer does not say how it was asked.")?,
    };
    let written = Some(conversation::as_generated(answer));
    Ok(AskOrder { id: 0, slide: slide.key, regions, text, how: How { written, has_maps: true, ..how } })
}

/// How an answer was asked, by its stamp: patches as they were, not as the question has them, since they may have been shifted or turned.
fn as_stamped(state: &AppState, stamp: &Stamp) -> Result<(QuestionText, Vec<Region>, How), String> {
    let model = state.model.info().ok_or_else(|| STILL_READING.to_owned())?;
    if !stamp.package.is_empty() && model.name != stamp.package {
        return Err(format!(
            "The answer is by the model {}: choose it to see where the sentences look.",
            stamp.package
        ));
    }
    let sources: Option<Vec<_>> = stamp.patches.iter().map(|patch| patch.source.as_ref()).collect();
    let Some(sources) = sources.filter(|sources| !sources.is_empty()) else {
        return Err("The answer does not say where its patches are.".to_owned());
    };
    let region = |source: &&PatchSource| PatchKept { region: source.region, ..PatchKept::default() }.region();
    let text = QuestionText {
        question: stamp.question.clone(),
        choices: stamp.choices.clone(),
        context: stamp.context.clone(),
    };
    let how = How {
        sampling: Some(stamp.sampling.clone()),
        history: stamp.history.clone(),
        turned: sources[0].turned,
        max_pixels: stamp.max_pixels,
        ..How::default()
    };
    Ok((text, sources.iter().map(region).collect(), how))
}

/// How the answer that came last was asked, where it is this one: known also without a stamp.
fn as_sent(state: &AppState, id: &Id) -> Option<(QuestionText, Vec<Region>, How)> {
    state.answer.as_ref().filter(|last| last.record.id == *id)?;
    let Wanted { text, regions, how, .. } = state.review.cases.asked.clone()?;
    Some((text, regions, how))
}
