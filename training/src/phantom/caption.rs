//! Captions for contrastive training, and plain texts from which a decoder learns the words.
//!
//! The plain texts are notes and quizzes with bare answers. None of them has stages: the model that is made from
//! them has never seen a staged answer.

use rand::Rng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};

use super::Truth;
use super::answer::CANNOT_BE_ASSESSED;
use super::lexicon::{Attribute, wording};
use super::question::{QuestionItem, ask_any};
use super::sentence::{other_claims, sentence, state, state_quality};
use crate::subtask::QuestionKind;

/// A caption of one to three sentences: always the pattern, and some of the other attributes.
pub fn caption(truth: &Truth, rng: &mut impl Rng) -> String {
    let n = rng.random_range(0..=4);
    note(truth, n, rng)
}

/// One plain text about a field that only words describe: a note alone, what a finding is known by, or a note with a
/// question, its options and the bare answer.
pub fn describe(truth: &Truth, rng: &mut impl Rng) -> String {
    let n = rng.random_range(1..=4);
    match rng.random_range(0..100) {
        0..20 => return note(truth, n, rng),
        20..30 => return explanation(truth, rng),
        _ => {}
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

/// What one of the findings is known by, such as “Tumour nests: each group is solid, rounded and without a lumen.”
fn explanation(truth: &Truth, rng: &mut impl Rng) -> String {
    let all = other_claims(truth, &[], rng);
    let Some(wording) = all.first().and_then(|claim| wording(&[*claim])) else {
        return state_quality(truth.quality, rng);
    };
    let reason = wording.reasons.choose(rng).map_or("", String::as_str);
    if rng.random_bool(0.5) {
        let name = sentence(&wording.label);
        return format!("{}: {reason}", name.trim_end_matches('.'));
    }
    format!("{reason} {}", sentence(&wording.label))
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
    state(&stated, 3, rng)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::phantom::{Claim, claims};

    #[test]
    fn captions_are_true_short_and_name_the_pattern() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..3000 {
            let truth = Truth::sample(&mut rng);
            let text = caption(&truth, &mut rng);
            let read = claims(&text);
            assert!(read.iter().all(|claim| claim.holds(&truth)), "{text}");
            let named = if truth.is_assessable() { Attribute::Pattern } else { Attribute::Quality };
            assert!(read.iter().any(|claim| claim.attribute == named), "{text}");
            assert!(text.matches('.').count() <= 3 && text.ends_with('.'), "{text}");
        }
    }

    #[test]
    fn plain_texts_have_no_stages_and_their_quizzes_can_be_answered_from_the_note() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut quizzes = 0;
        for _ in 0..3000 {
            let truth = Truth::sample(&mut rng);
            let text = describe(&truth, &mut rng);
            assert!(
                !["[", "Observation", "Analysis", "Conclusion"].iter().any(|h| text.contains(h)),
                "{text}"
            );
            let note = text.lines().next().unwrap();
            assert!(claims(note).iter().all(|claim| claim.holds(&truth)), "{text}");
            let answer = text.lines().last().unwrap();
            if let Some((_, label)) = answer.split_once(") ") {
                quizzes += 1;
                assert_eq!(text.matches(answer).count(), 2, "{text}"); // an option, and the answer
                let said: Vec<_> = claims(note).into_iter().flat_map(Claim::with_implied).collect();
                assert!(claims(label).iter().all(|claim| said.contains(claim)), "{text}");
            }
        }
        assert!(quizzes > 800, "{quizzes}");
    }
}
