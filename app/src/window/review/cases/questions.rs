//! Questions as they are asked: new ones, ones that follow up, edited ones, and the same once more.

use std::sync::Arc;

use reinpath_model::request::Sampling;

use super::super::super::answer_view::QuestionText;
use super::super::super::state::{AppState, ModelInfo, SlideTab};
use super::super::super::update::{Effect, How, complain, obstacle};
use super::{Wanted, conversation, enqueue, send, shown};
use crate::case::{Id, OpenCase, PatchKept, Purpose, Question, View};
use crate::slide::Region;
use crate::viewer::tile_cache::SlideKey;

/// How more samples are drawn where the package always takes the likeliest word, so that they would all be the same: often used values
/// for language models of this size.
pub(super) const WARMTH: f64 = 0.7;
pub(super) const NUCLEUS: f64 = 0.95;
/// Samples of one question at a time.
const MOST_SAMPLES: u32 = 8;

const OTHER_SLIDE: &str = "This conversation is about another slide: show that one, or begin a new case.";

/// What a question asks, without its patches.
pub(in crate::window) fn text_of(question: &Question) -> QuestionText {
    QuestionText {
        question: question.text.clone(),
        choices: question.choices.clone(),
        context: question.context.clone(),
    }
}

/// The ticked patches of the slide in view, with their numbers.
fn ticked(slide: &SlideTab) -> Vec<PatchKept> {
    slide.patches.in_question().map(|(number, place)| PatchKept::new(number, place.region)).collect()
}

/// What the viewer shows of a slide; `None` before it was first drawn.
fn view(slide: &SlideTab) -> Option<View> {
    let viewport = slide.viewport?;
    let (x, y) = viewport.centre;
    Some(View {
        centre: [x, y],
        slide_per_point: viewport.slide_per_point,
        rotation: viewport.rotation,
        is_mirrored: viewport.is_mirrored,
    })
}

/// The slide and the patches, as they are called on screen.
fn in_words(state: &AppState, slide: &SlideTab, patches: &[PatchKept]) -> String {
    let numbers: Vec<String> = patches.iter().map(|patch| patch.number.to_string()).collect();
    let word = if numbers.len() == 1 { "patch" } else { "patches" };
    format!("{}, {word} {}", state.name_of(slide), numbers.join(", "))
}

/// The open case, where it is about this slide.
fn case_of<'a>(state: &'a AppState, slide: &SlideTab) -> Option<&'a OpenCase> {
    let hash = &slide.info()?.hash;
    state.review.cases.open.as_ref().filter(|open| open.case.slide.hash == *hash)
}

/// A question about patches of the slide in view, of the open case or the first of a new one.
fn written(state: &AppState, text: &QuestionText, patches: Vec<PatchKept>, follows: Option<Id>) -> Question {
    let slide = state.shown_slide();
    let open = slide.and_then(|slide| case_of(state, slide));
    Question {
        id: Id::fresh(),
        case: open.map_or_else(Id::fresh, |open| open.case.id.clone()),
        follows,
        text: text.question.clone(),
        choices: text.choices.clone(),
        context: text.context.clone(),
        view: slide.and_then(view),
        words: slide.map(|slide| in_words(state, slide, &patches)).unwrap_or_default(),
        patches,
        asked: conversation::later(open),
        ..Question::default()
    }
}

/// What a question follows up that comes after the answer in view: that answer, or, where nothing came of it, what it followed itself.
fn after_shown(state: &AppState) -> Option<Id> {
    let shown = shown(state)?;
    let open = state.review.cases.open.as_ref().filter(|open| open.case.id == shown.question.case)?;
    let id = &shown.answer.id;
    if open.answers.contains_key(id) { Some(id.clone()) } else { shown.question.follows.clone() }
}

/// The end of the conversation in view.
fn at_end(state: &AppState) -> Option<Id> {
    let slide = state.shown_slide()?;
    let open = case_of(state, slide)?;
    match after_shown(state) {
        Some(after) => Some(conversation::end(open, &after)),
        // Nothing is in view yet, or nothing came of the first question.
        None if shown(state).is_none() => conversation::newest(open),
        None => None,
    }
}

/// Asks a question about the ticked patches of the slide in view: at the end of the conversation, or as the first of a case.
pub(in crate::window) fn ask(state: &mut AppState, text: &QuestionText) -> Vec<Effect> {
    let Some(slide) = state.shown_slide() else { return Vec::new() };
    let (key, patches) = (slide.key, ticked(slide));
    let regions = regions(&patches);
    let question = Arc::new(written(state, text, patches, at_end(state)));
    let (text, how) = (text.clone(), usual_how(state));
    send(state, Wanted { slide: key, question, purpose: Purpose::Answer, text, regions, how })
}

/// How a question is asked that says nothing else.
fn usual_how(state: &AppState) -> How {
    How { max_pixels: state.max_pixels(), ..How::default() }
}

/// Asks after the answer in view.
pub(super) fn follow_up(state: &mut AppState, text: &QuestionText, has_history: bool) -> Vec<Effect> {
    // What is in the way is shown by the Ask panel.
    if state.is_asking() || obstacle(state, text).is_some() {
        return Vec::new();
    }
    let Some(slide) = state.shown_slide() else { return Vec::new() };
    if case_of(state, slide).is_none() {
        complain(state, OTHER_SLIDE.to_owned());
        return Vec::new();
    }
    let question = written(state, text, ticked(slide), after_shown(state));
    let question = Arc::new(Question { has_history, ..question });
    let Some(wanted) = as_asked(state, &question, state.shown) else { return Vec::new() };
    send(state, wanted)
}

/// The question for each ticked patch apart.
pub(super) fn compare_patches(state: &mut AppState, text: &QuestionText) -> Vec<Effect> {
    if state.is_asking() || obstacle(state, text).is_some() {
        return Vec::new();
    }
    let Some(slide) = state.shown_slide() else { return Vec::new() };
    let (key, patches) = (slide.key, ticked(slide));
    if patches.len() < 2 {
        complain(state, "Tick at least two patches to compare them.".to_owned());
        return Vec::new();
    }
    let (follows, group) = (at_end(state), Some(Id::fresh()));
    // Where they begin a case, all of them belong to the same.
    let first = written(state, text, Vec::new(), None);
    let each = patches.into_iter().zip(0_i64..).map(|(patch, place)| {
        let region = patch.region();
        let question = Question {
            case: first.case.clone(),
            group: group.clone(),
            // In the order of the patches, also where the clock is too coarse to tell them apart.
            asked: first.asked + place,
            ..written(state, text, vec![patch], follows.clone())
        };
        Wanted {
            slide: key,
            question: Arc::new(question),
            purpose: Purpose::Answer,
            text: text.clone(),
            regions: vec![region],
            how: usual_how(state),
        }
    });
    let wanted = each.collect();
    state.review.cases.compared.clear();
    enqueue(state, wanted)
}

/// An edited question about the same patches, beside the one that it was made from.
pub(super) fn ask_edited(state: &mut AppState, text: &QuestionText) -> Vec<Effect> {
    let edited = state.review.cases.editing.clone();
    let edited = edited.or_else(|| shown(state).map(|shown| shown.question.id.clone()));
    let Some(before) = edited.and_then(|id| super::question(state, &id)) else { return Vec::new() };
    if text.question.trim().is_empty() || text.choices.len() == 1 {
        // The Ask panel says so.
        return Vec::new();
    }
    let Some(usual) = order_or_complain(state, &before) else { return Vec::new() };
    let question = Question {
        id: Id::fresh(),
        edited_from: Some(before.id.clone()),
        group: None,
        text: text.question.clone(),
        choices: text.choices.clone(),
        context: text.context.clone(),
        view: state.slide(usual.slide).and_then(view),
        asked: conversation::later(state.review.cases.open.as_ref()),
        ..(*before).clone()
    };
    state.review.cases.editing = None;
    let wanted = Wanted { question: Arc::new(question), text: text.clone(), ..usual };
    enqueue(state, vec![wanted])
}

/// The question in view once more, so many times, each with another seed.
pub(super) fn once_more(state: &mut AppState, count: u32, purpose: &Purpose) -> Vec<Effect> {
    let Some(question) = shown(state).map(|shown| shown.question.id.clone()) else { return Vec::new() };
    let Some(question) = super::question(state, &question) else { return Vec::new() };
    let Some(usual) = order_or_complain(state, &question) else { return Vec::new() };
    let Some(model) = state.model.info().cloned() else {
        complain(state, super::STILL_READING.to_owned());
        return Vec::new();
    };
    let cases = &state.review.cases;
    let kept = cases.open.as_ref().map_or(1, |open| conversation::next_seed(open, &question.id));
    // Those that are not answered yet have taken theirs.
    let waiting = cases.queue.iter().chain(cases.asked.iter().filter(|_| state.is_asking()));
    let waiting = waiting.filter(|wanted| wanted.question.id == question.id);
    let taken = waiting.filter_map(|wanted| Some(wanted.how.sampling.as_ref()?.seed.saturating_add(1))).max();
    let first = kept.max(taken.unwrap_or(0));
    let wanted = (0..count.clamp(1, MOST_SAMPLES)).map(|n| {
        let sampling = resampled(&model, first.saturating_add(n.into()));
        let how = How { sampling: Some(sampling), ..usual.how.clone() };
        Wanted { purpose: purpose.clone(), how, ..usual.clone() }
    });
    let wanted = wanted.collect();
    if *purpose == Purpose::Sample {
        state.review.cases.compared.clear();
    }
    enqueue(state, wanted)
}

/// How a question is drawn once more: as the package says, but never always the same.
fn resampled(model: &ModelInfo, seed: u64) -> Sampling {
    let usual = model.generation.sampling(seed);
    if usual.temperature > 0.0 { usual } else { Sampling { temperature: WARMTH, top_p: NUCLEUS, ..usual } }
}

fn regions(patches: &[PatchKept]) -> Vec<Region> {
    patches.iter().map(PatchKept::region).collect()
}

/// The question as it was asked, if its slide is open.
pub(in crate::window) fn order_of(state: &AppState, question: &Arc<Question>) -> Option<Wanted> {
    let open = state.review.cases.open.as_ref().filter(|open| open.case.id == question.case)?;
    let is_its_slide = |slide: &&SlideTab| slide.info().is_some_and(|info| info.hash == open.case.slide.hash);
    as_asked(state, question, state.slides.iter().find(is_its_slide).map(|slide| slide.key))
}

/// The order that a question of the open case is, with the conversation before it where the model is to read it.
fn as_asked(state: &AppState, question: &Arc<Question>, slide: Option<SlideKey>) -> Option<Wanted> {
    let open = state.review.cases.open.as_ref();
    let before = open.filter(|_| question.has_history).map(|open| conversation::earlier(open, question));
    let history = before.map(|before| conversation::history(&before)).unwrap_or_default();
    Some(Wanted {
        slide: slide?,
        question: Arc::clone(question),
        purpose: Purpose::Answer,
        text: text_of(question),
        regions: regions(&question.patches),
        how: How { history, ..usual_how(state) },
    })
}

fn order_or_complain(state: &mut AppState, question: &Arc<Question>) -> Option<Wanted> {
    let wanted = order_of(state, question);
    if wanted.is_none() {
        complain(state, format!("Open the slide of this question again to ask it: {}", question.words));
    }
    wanted
}
