//! Captions for contrastive training, and plain texts from which a decoder learns the words.
//!
//! The plain texts are notes and quizzes with bare answers. None of them has stages: the model that is made from
//! them has never seen a staged answer.

use rand::Rng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};

use super::answer::CANNOT_BE_ASSESSED;
use super::lexicon::Attribute;
use super::question::{QuestionItem, ask_any};
use super::sentence::{other_claims, sentence, state, state_quality};
use super::{Truth, claims};
use crate::subtask::QuestionKind;

/// A caption of one to three sentences: always the pattern, and some of the other attributes.
pub fn caption(truth: &Truth, rng: &mut impl Rng) -> String {
    let n = rng.random_range(0..=4);
    note(truth, n, rng)
}

/// One plain text about a field that only words describe: a note alone, or a note with a question, its options and
/// the bare answer.
pub fn describe(truth: &Truth, rng: &mut impl Rng) -> String {
    let n = rng.random_range(1..=4);
    if rng.random_bool(0.25) {
        return note(truth, n, rng);
    }
    let kind = if rng.random_bool(0.5) {
        QuestionKind::Choice
    } else {
        *[QuestionKind::TrueFalse, QuestionKind::Open].choose(rng).expect("two kinds")
    };
    quiz(truth, &ask_any(truth, kind, rng), rng)
}

/// A note that states what the question needs, the question, and the bare answer.
fn quiz(truth: &Truth, item: &QuestionItem, rng: &mut impl Rng) -> String {
    let mut text = item.answer.observation.clone();
    // The attribute that matters may be the only one of a note, so that it is the one that is looked for.
    if let Some(outcome) = &item.outcome
        && rng.random_bool(0.3)
    {
        let mut stated = outcome.claims.clone();
        stated.extend(other_claims(truth, &stated, rng).into_iter().take(1));
        stated.shuffle(rng);
        text = state(&stated, 3, rng);
    }
    text.push('\n');
    text.push_str(&item.question);
    for (letter, choice) in ('A'..).zip(&item.choices) {
        text.extend(["\n", &letter.to_string(), ") ", choice]);
    }
    text.push('\n');
    text.push_str(&bare_answer(item));
    text
}

/// `B) tumour nests`, `True`, or the value.
fn bare_answer(item: &QuestionItem) -> String {
    match (&item.label, &item.outcome) {
        (Some(letter), Some(outcome)) if item.kind == QuestionKind::Choice => {
            format!("{letter}) {}", outcome.label())
        }
        (Some(label), _) if item.kind == QuestionKind::TrueFalse => label.clone(),
        (Some(label), _) => sentence(label),
        (None, _) => sentence(CANNOT_BE_ASSESSED),
    }
}

fn note(truth: &Truth, n_others: usize, rng: &mut impl Rng) -> String {
    let Some(pattern) = Attribute::Pattern.of(truth) else {
        return state_quality(truth.quality, rng);
    };
    let mut stated = vec![pattern];
    stated.extend(other_claims(truth, &[pattern], rng).into_iter().take(n_others));
    if rng.random_bool(0.4) {
        stated.shuffle(rng);
    }
    let text = state(&stated, 3, rng);
    debug_assert_eq!(claims(&text).len(), stated.len());
    text
}
