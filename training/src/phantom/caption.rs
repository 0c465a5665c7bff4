//! Captions for contrastive training, and plain texts from which a decoder learns the words.
//!
//! The plain texts are notes, quizzes with bare answers, and drills: keys to the options of a quiz, and statements held
//! against a finding. None of them has stages: the model that is made from them has never seen a staged answer.

use rand::Rng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};

use super::Truth;
use super::answer::{CANNOT_BE_ASSESSED, compared};
use super::lexicon::{Attribute, wording};
use super::question::{QuestionItem, ask_any};
use super::sentence::{other_claims, sentence, state, state_quality};
use crate::subtask::QuestionKind;

/// A caption of one to three sentences: always the pattern, and some of the other attributes.
pub fn caption(truth: &Truth, rng: &mut impl Rng) -> String {
    let n = rng.random_range(0..=4);
    note(truth, n, rng)
}

/// One plain text about a field that only words describe: a note alone, what a finding is known by, a drill, or a
/// note with a question, its options and the bare answer.
pub fn describe(truth: &Truth, rng: &mut impl Rng) -> String {
    let n = rng.random_range(1..=4);
    match rng.random_range(0..100) {
        0..15 => note(truth, n, rng),
        15..25 => explanation(truth, rng),
        25..40 => option_drill(&ask_any(truth, QuestionKind::Choice, rng), rng),
        40..50 => statement_drill(truth, rng),
        50..75 => quiz(truth, &ask_any(truth, QuestionKind::Choice, rng), rng),
        75..90 => quiz(truth, &ask_any(truth, QuestionKind::TrueFalse, rng), rng),
        _ => quiz(truth, &ask_any(truth, QuestionKind::Open, rng), rng),
    }
}

/// A question with its options, and on a line of its own which letter stands for which of them. Each line says four
/// times what a quiz's answer says once, so that letters are learnt in a fraction of the texts.
fn option_drill(item: &QuestionItem, rng: &mut impl Rng) -> String {
    let mut pairs: Vec<(char, &String)> = ('A'..).zip(&item.choices).collect();
    pairs.shuffle(rng);
    let from_letter = rng.random_bool(0.3);
    let key: Vec<String> =
        pairs
            .into_iter()
            .map(|(letter, choice)| {
                if from_letter {
                    format!("{letter}) {choice}.")
                } else {
                    format!("{choice}, option {letter}.")
                }
            })
            .collect();
    format!("{}\n{}", with_options(item), key.join(" "))
}

/// A finding, and on the same line three statements that are held against it.
fn statement_drill(truth: &Truth, rng: &mut impl Rng) -> String {
    let mut item = ask_any(truth, QuestionKind::TrueFalse, rng);
    let mut held = Vec::new();
    while held.len() < 3 {
        let (Some(outcome), Some(statement)) = (&item.outcome, item.claimed.first()) else {
            return state_quality(truth.quality, rng);
        };
        held.push(compared(outcome, statement, rng));
        item = ask_any(truth, QuestionKind::TrueFalse, rng);
    }
    format!("{}\n{}", note(truth, 1, rng), held.join(" "))
}

/// The question, and its options below it.
fn with_options(item: &QuestionItem) -> String {
    let mut asked = item.question.clone();
    for (letter, choice) in ('A'..).zip(&item.choices) {
        asked.extend(["\n", &letter.to_string(), ") ", choice]);
    }
    asked
}

/// A note that states what the question needs, the question with its options, and the bare answer.
struct Quiz {
    note: String,
    asked: String,
    answer: String,
}

impl Quiz {
    fn new(truth: &Truth, item: &QuestionItem, rng: &mut impl Rng) -> Self {
        let mut note = item.answer.observation.clone();
        // The attribute that matters may be the only one of a note, so that it is the one that is looked for.
        if let Some(outcome) = &item.outcome
            && rng.random_bool(0.6)
        {
            let mut stated = outcome.claims.clone();
            stated.extend(other_claims(truth, &stated, rng).into_iter().take(1));
            stated.shuffle(rng);
            note = state(&stated, 3, rng);
        }
        Self { note, asked: with_options(item), answer: bare_answer(item) }
    }
}

/// A quiz as text. The note comes before the question or after it, then perhaps with the finding in the words of the
/// options.
fn quiz(truth: &Truth, item: &QuestionItem, rng: &mut impl Rng) -> String {
    let Quiz { mut note, asked, answer } = Quiz::new(truth, item, rng);
    if rng.random_bool(0.4) {
        return format!("{note}\n{asked}\n{answer}");
    }
    if let Some(outcome) = &item.outcome
        && rng.random_bool(0.6)
    {
        let led = rng.random_bool(0.5);
        let finding = match (item.kind, &item.label, item.claimed.first()) {
            (QuestionKind::Choice, Some(letter), _) if led => {
                format!("This means {}, option {letter}.", outcome.label())
            }
            (QuestionKind::TrueFalse, _, Some(statement)) if led => compared(outcome, statement, rng),
            _ => format!("This means {}.", outcome.label()),
        };
        note = format!("{note} {finding}");
    }
    format!("{asked}\n{note}\n{answer}")
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
        }
        for _ in 0..3000 {
            let truth = Truth::sample(&mut rng);
            let kind = *QuestionKind::ALL.choose(&mut rng).unwrap();
            let item = ask_any(&truth, kind, &mut rng);
            let Quiz { note, asked, answer } = Quiz::new(&truth, &item, &mut rng);
            assert!(claims(&note).iter().all(|claim| claim.holds(&truth)), "{note}");
            let text = quiz(&truth, &item, &mut rng);
            assert!(text.contains(&asked) && text.ends_with(&answer), "{text}");
            if let Some((_, label)) = answer.split_once(") ") {
                quizzes += 1;
                assert_eq!(asked.matches(&answer).count(), 1, "{text}");
                let said: Vec<_> = claims(&note).into_iter().flat_map(Claim::with_implied).collect();
                assert!(claims(label).iter().all(|claim| said.contains(claim)), "{text}");
            }
        }
        assert!(quizzes > 800, "{quizzes}");
    }
}
