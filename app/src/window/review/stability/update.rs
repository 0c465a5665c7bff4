//! Asking for varied answers and for the same answer again, and how many of them are still to come.

use std::sync::Arc;

use reinpath_model::event::Stamp;
use reinpath_model::request::Sampling;

use super::super::super::answer_view::{Phase, QuestionText};
use super::super::super::state::AppState;
use super::super::super::update::{Effect, How, complain};
use super::super::cases::{self, Wanted};
use crate::case::{Answer, Id, Purpose, Question, Variation};
use crate::review::stability;
use crate::slide::Region;

/// How the same is drawn again where the package always takes the likeliest word, so that every answer would be the same: often used values
/// for language models of this size.
const WARMTH: f64 = 0.7;
const NUCLEUS: f64 = 0.95;

/// The answer in view and the question that it answers, where both are kept.
fn in_view(state: &AppState) -> Option<(Arc<Answer>, Arc<Question>)> {
    let shown = cases::shown(state).filter(|shown| shown.answer.is_over())?;
    let open = state.review.cases.open.as_ref()?;
    Some((open.answers.get(&shown.answer.id)?.clone(), open.questions.get(&shown.question.id)?.clone()))
}

/// The question as it is asked again, or `None` with a sentence about why it cannot be.
fn order(state: &mut AppState, question: &Arc<Question>) -> Option<Wanted> {
    let order = cases::order_of(state, question);
    if order.is_none() {
        complain(state, format!("Open the slide of this answer again to ask once more: {}", question.words));
    }
    order
}

/// Asks for answers to the question in view with something changed that should change nothing.
pub(super) fn begin(state: &mut AppState) -> Vec<Effect> {
    let Some((base, question)) = in_view(state) else { return Vec::new() };
    if state.review.stability.running.is_some() {
        return Vec::new();
    }
    let Some(mut order) = order(state, &question) else { return Vec::new() };
    if let Some(stamp) = &base.stamp {
        // As it was, also where the limit was changed since.
        order.how.max_pixels = stamp.max_pixels;
    }
    let settings = &state.review.stability;
    let variations = stability::variations(
        &question,
        settings.repeats,
        settings.is_shuffled,
        settings.is_shifted,
        settings.is_turned,
        next_seed(state, &question.id),
    );
    let usual = sampling_of(state, &base);
    let wanted: Vec<Wanted> =
        variations.into_iter().map(|variation| varied(&order, usual.as_ref(), variation)).collect();
    let stability = &mut state.review.stability;
    (stability.running, stability.asked) = (Some((base.id.clone(), wanted.len())), wanted.len());
    // The answer that is looked at stays in view.
    state.review.cases.shown = Some(base.id.clone());
    let effects = cases::enqueue(state, wanted);
    count(state);
    effects
}

/// How an answer was drawn: as its stamp says, else as the package in use does.
fn sampling_of(state: &AppState, answer: &Answer) -> Option<Sampling> {
    let stamped = answer.stamp.as_ref().map(|stamp| stamp.sampling.clone());
    stamped.or_else(|| state.model.info().map(|model| model.generation.sampling(0)))
}

/// A seed that no answer to the question was drawn with.
fn next_seed(state: &AppState, question: &Id) -> u64 {
    let open = state.review.cases.open.as_ref();
    let answers = open.map(|open| open.answers_to(question)).unwrap_or_default();
    let used = answers.iter().filter_map(|answer| Some(answer.stamp.as_ref()?.sampling.seed));
    // Those without a stamp count as well, so that asking a second time never asks the same.
    used.max().unwrap_or(0).max(answers.len() as u64)
}

fn varied(order: &Wanted, usual: Option<&Sampling>, variation: Variation) -> Wanted {
    let (choices, regions, turned) = stability::varied(&order.question, &variation);
    let sampling = match &variation {
        Variation::Repeated { seed } => usual.map(|usual| redrawn(usual, *seed)),
        _ => usual.cloned(),
    };
    Wanted {
        purpose: Purpose::Stability(variation),
        text: QuestionText { choices, ..order.text.clone() },
        regions,
        how: How { sampling, turned, ..order.how.clone() },
        ..order.clone()
    }
}

fn redrawn(usual: &Sampling, seed: u64) -> Sampling {
    if usual.temperature > 0.0 {
        Sampling { seed, ..usual.clone() }
    } else {
        Sampling { seed, temperature: WARMTH, top_p: NUCLEUS, ..usual.clone() }
    }
}

/// Takes back what is still to come, and stops what is being written of it.
pub(super) fn end(state: &mut AppState) -> Vec<Effect> {
    state.review.cases.queue.retain(|wanted| !is_varied(&wanted.purpose));
    let mut effects = Vec::new();
    if let Some(answer) = &mut state.answer
        && answer.is_running()
        && is_varied(&answer.record.purpose)
    {
        answer.phase = Phase::Stopping;
        effects.push(Effect::StopAsking { id: answer.id });
    }
    count(state);
    effects
}

fn is_varied(purpose: &Purpose) -> bool {
    matches!(purpose, Purpose::Stability(_))
}

/// How many varied answers are still to come: those that wait, and the one being written.
pub(super) fn to_come(state: &AppState) -> usize {
    let waiting = state.review.cases.queue.iter().filter(|wanted| is_varied(&wanted.purpose)).count();
    let is_written =
        state.answer.as_ref().is_some_and(|live| live.is_running() && is_varied(&live.record.purpose));
    waiting + usize::from(is_written)
}

/// Notes how many are still to come.
pub(super) fn count(state: &mut AppState) {
    let to_come = to_come(state);
    let running = &mut state.review.stability.running;
    *running = running.take().filter(|_| to_come > 0).map(|(id, _)| (id, to_come));
}

/// Asks for the answer in view once more, with everything as its stamp has it.
pub(super) fn replay(state: &mut AppState) -> Vec<Effect> {
    let Some((base, question)) = in_view(state) else { return Vec::new() };
    let Some(stamp) = base.stamp.as_deref() else {
        complain(state, "This answer has no stamp: it ended before the model began.".to_owned());
        return Vec::new();
    };
    let Some(order) = order(state, &question) else { return Vec::new() };
    let wanted = replayed(&order, stamp);
    state.review.cases.shown = Some(base.id.clone());
    cases::enqueue(state, vec![wanted])
}

/// An order as a stamp has it.
fn replayed(order: &Wanted, stamp: &Stamp) -> Wanted {
    let sources = stamp.patches.iter().filter_map(|patch| patch.source.as_ref());
    let regions: Vec<Region> = sources.clone().map(|source| region(source.region)).collect();
    let turned = sources.map(|source| source.turned).next().unwrap_or(0.0);
    let text = QuestionText {
        question: stamp.question.clone(),
        choices: stamp.choices.clone(),
        context: stamp.context.clone(),
    };
    let how = How {
        sampling: Some(stamp.sampling.clone()),
        history: stamp.history.clone(),
        turned,
        max_pixels: stamp.max_pixels,
        ..How::default()
    };
    Wanted { purpose: Purpose::Replay, text, regions, how, ..order.clone() }
}

fn region([x, y, w, h]: [i64; 4]) -> Region {
    let side = |length: i64| u32::try_from(length).unwrap_or(0);
    Region { x, y, w: side(w), h: side(h) }
}

/// The newest answer that was asked for to replay this one: to the same question, and asked the same way.
pub(super) fn replay_of<'a>(state: &'a AppState, base: &Answer) -> Option<&'a Arc<Answer>> {
    let open = state.review.cases.open.as_ref()?;
    let stamp = base.stamp.as_deref()?;
    let asked = |stamp: &Stamp| {
        let places = stamp
            .patches
            .iter()
            .map(|patch| patch.source.as_ref().map(|source| (source.region, source.turned)));
        (stamp.sampling.clone(), stamp.choices.clone(), places.collect::<Vec<_>>())
    };
    let is_it = |answer: &&Arc<Answer>| {
        answer.purpose == Purpose::Replay
            && answer.id != base.id
            && answer.is_over()
            && answer.began >= base.began
            && answer.stamp.as_deref().is_some_and(|other| asked(other) == asked(stamp))
    };
    open.answers_to(&base.question).into_iter().rev().find(is_it)
}
