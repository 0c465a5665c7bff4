//! Staged answers: what is observed, how it leads to the answer, and the answer.
//!
//! Every sentence of an Observation is true of the field. About 45 to 75 words in all: training time is proportional
//! to length, so nothing is padding.

use std::ops::Range;

use rand::Rng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use reinpath_model::stage::StagedAnswer;

use super::claim::{Attribute, Claim};
use super::lexicon::{statements, wording};
use super::question::letter_of;
use super::sentence::{other_claims, sentence, state, state_quality};
use super::topic::{Outcome, Topic};
use super::{Quality, Truth};
use crate::subtask::QuestionKind;

/// What stands before the letter of the option that an Analysis arrives at.
pub(crate) const OPTION: &str = ", option ";

/// What the conclusion of every unreadable field contains.
pub const CANNOT_BE_ASSESSED: &str = "cannot be assessed";

/// The answer to a question of which `outcome` is the true one (`None`: the field cannot be read); `claimed` are the
/// options or the statement.
pub(super) fn staged_answer(
    truth: &Truth,
    topic: Topic,
    kind: QuestionKind,
    outcome: Option<&Outcome>,
    claimed: &[Outcome],
    rng: &mut impl Rng,
) -> StagedAnswer {
    match outcome {
        None => unreadable_answer(truth.quality, topic, rng),
        Some(outcome) => StagedAnswer {
            observation: observation(truth, topic, outcome, rng),
            analysis: analysis(truth, kind, outcome, claimed, rng),
            conclusion: conclusion(kind, outcome, claimed, rng),
        },
    }
}

/// The bytes of an answer's words that could be wrong: what is stated of the field, letters of options and whether a
/// statement agrees. Of the other words many would do as well.
pub fn decisive(answer: &str) -> Vec<Range<usize>> {
    let stated = statements(answer).into_iter().map(|(_, bytes)| bytes);
    let letters = answer.match_indices(OPTION).map(|(at, said)| at + said.len()..at + said.len() + 1);
    let verdicts = [verdict(true), verdict(false)]
        .into_iter()
        .flat_map(|said| answer.match_indices(said).map(|(at, said)| at..at + said.len()));
    stated.chain(letters).chain(verdicts).collect()
}

fn observation(truth: &Truth, topic: Topic, outcome: &Outcome, rng: &mut impl Rng) -> String {
    let mut key = evidence(truth, outcome);
    key.shuffle(rng);
    let mut others = other_claims(truth, &key, rng);
    if rng.random_bool(0.7)
        && let Some(at) = others.iter().position(|c| c.attribute == Attribute::Pattern)
    {
        others.swap(0, at);
    }
    let n = if topic == Topic::TissueType { 3 } else { rng.random_range(2..=3) };
    others.truncate(n.min(4 - key.len().min(2)));
    // Mostly what matters comes first; a report may also begin with the tissue.
    let claims: Vec<Claim> =
        if rng.random_bool(0.85) { [key, others].concat() } else { [others, key].concat() };
    state(&claims, 3, rng)
}

/// What an observer states for an outcome: its values, or the pattern where the value follows from the pattern.
fn evidence(truth: &Truth, outcome: &Outcome) -> Vec<Claim> {
    let mut evidence: Vec<Claim> = Vec::new();
    for claim in &outcome.claims {
        let stated = match claim.attribute {
            Attribute::Architecture | Attribute::Malignancy | Attribute::TumourType => {
                Attribute::Pattern.of(truth)
            }
            _ => Some(*claim),
        };
        evidence.extend(stated.filter(|s| !evidence.contains(s)));
    }
    evidence
}

fn analysis(
    truth: &Truth,
    kind: QuestionKind,
    outcome: &Outcome,
    claimed: &[Outcome],
    rng: &mut impl Rng,
) -> String {
    let reasons: Vec<&str> = evidence(truth, outcome)
        .into_iter()
        .filter_map(|claim| wording(&[claim])?.reasons.choose(rng).map(String::as_str))
        .collect();
    let label = outcome.label();
    let link = match (kind, claimed.first()) {
        (QuestionKind::TrueFalse, Some(statement)) => compared(outcome, statement, rng),
        // The letter beside the option that it stands for: from there the conclusion takes it.
        (QuestionKind::Choice, _) => choose(
            &[
                "So the finding is {l}{o}.",
                "This means {l}{o}.",
                "The best fit is {l}{o}.",
                "Therefore the answer is {l}{o}.",
            ],
            rng,
        )
        .replace("{o}", &format!("{OPTION}{}", letter_of(outcome, claimed)))
        .replace("{l}", &label),
        _ => choose(
            &[
                "So the finding is {l}.",
                "This means {l}.",
                "The best fit is {l}.",
                "Therefore the answer is {l}.",
            ],
            rng,
        )
        .replace("{l}", &label),
    };
    format!("{} {link}", reasons.join(" "))
}

/// Whether a statement agrees with what was found, in words.
pub(super) fn verdict(agrees: bool) -> &'static str {
    if agrees { "agrees" } else { "does not agree" }
}

/// A statement held against what was found: the two stand side by side before they are compared.
pub(super) fn compared(outcome: &Outcome, statement: &Outcome, rng: &mut impl Rng) -> String {
    choose(
        &[
            "This means {l}. The statement says {s}, which {agrees}.",
            "So the finding is {l}. The statement says {s}: it {agrees}.",
            "The field shows {l}, and the statement of {s} {agrees} with this.",
        ],
        rng,
    )
    .replace("{agrees}", verdict(statement == outcome))
    .replace("{s}", &statement.label())
    .replace("{l}", &outcome.label())
}

fn conclusion(kind: QuestionKind, outcome: &Outcome, claimed: &[Outcome], rng: &mut impl Rng) -> String {
    let label = outcome.label();
    match (kind, claimed.first()) {
        (QuestionKind::Choice, _) => format!("{}) {label}", letter_of(outcome, claimed)),
        (QuestionKind::TrueFalse, Some(statement)) => {
            let verdict = if statement == outcome { "True" } else { "False" };
            choose(&["{v}, the field shows {l}.", "{v}, the finding is {l}.", "{v}, we see {l}."], rng)
                .replace("{v}", verdict)
                .replace("{l}", &label)
        }
        _ => match rng.random_range(0..3) {
            0 => sentence(&label),
            1 => format!("The finding is {label}."),
            _ => format!("The field shows {label}."),
        },
    }
}

fn unreadable_answer(quality: Quality, topic: Topic, rng: &mut impl Rng) -> StagedAnswer {
    let level = if quality == Quality::Blank { 2 } else { 1 };
    let reason = wording(&[Claim { attribute: Attribute::Quality, level }])
        .and_then(|w| w.reasons.choose(rng))
        .map_or_else(String::new, Clone::clone);
    let more: &[&str] = if quality == Quality::Blank {
        &["Only bare glass is visible.", "The glass is bare.", "No cells are visible."]
    } else {
        &["Nuclei are not visible.", "Borders of cells are not visible.", "All details are lost."]
    };
    let subject = topic.subject();
    StagedAnswer {
        observation: format!("{} {}", state_quality(quality, rng), choose(more, rng)),
        analysis: format!(
            "{reason} {}",
            choose(
                &[
                    "So {s} cannot be judged.",
                    "No judgement of {s} is possible.",
                    "Nothing can be said about {s}."
                ],
                rng
            )
            .replace("{s}", subject)
        ),
        conclusion: match rng.random_range(0..3) {
            0 => sentence(CANNOT_BE_ASSESSED),
            1 => format!("The field {CANNOT_BE_ASSESSED}."),
            _ => sentence(&format!("{subject} {CANNOT_BE_ASSESSED}")),
        },
    }
}

fn choose<'a>(texts: &[&'a str], rng: &mut impl Rng) -> &'a str {
    texts.choose(rng).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::super::{balanced_set, claims};
    use super::*;

    #[test]
    fn stages_are_true_short_and_begin_as_the_format_says() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for (truth, item) in balanced_set(&mut rng, 4000) {
            let StagedAnswer { observation, analysis, conclusion } = &item.answer;
            let stated = claims(observation);
            assert!(stated.iter().all(|claim| claim.holds(&truth)), "{item:?}");
            let n_words = [observation, analysis, conclusion].iter().flat_map(|t| t.split(' ')).count();
            assert!((12..=75).contains(&n_words), "{n_words} words: {item:?}");
            let Some(outcome) = &item.outcome else {
                assert!(conclusion.to_lowercase().contains(CANNOT_BE_ASSESSED), "{item:?}");
                continue;
            };
            let said: Vec<Claim> = stated.iter().flat_map(|claim| claim.with_implied()).collect();
            assert!(outcome.claims.iter().all(|claim| said.contains(claim)), "{item:?}");
            assert!((2..=3).contains(&observation.matches('.').count()), "{item:?}");
            let start = match item.kind {
                QuestionKind::Choice => format!("{}) ", item.label.as_deref().unwrap()),
                QuestionKind::TrueFalse => format!("{}, ", item.label.as_deref().unwrap()),
                QuestionKind::Open => String::new(),
            };
            assert!(conclusion.starts_with(&start), "{item:?}");
        }
    }

    #[test]
    fn what_could_be_wrong_is_found_in_every_answer() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for (_, item) in balanced_set(&mut rng, 600) {
            let Some(outcome) = &item.outcome else { continue };
            let text = item.answer.to_text();
            let parts: Vec<&str> = decisive(&text).into_iter().map(|bytes| &text[bytes]).collect();
            // In the Analysis and in the Conclusion; the letter or the verdict where there is one.
            for claim in &outcome.claims {
                let said = parts.iter().filter(|part| claims(part).contains(claim)).count();
                assert!(said >= 2, "{claim:?} in {parts:?}: {text}");
            }
            let decided = match item.kind {
                QuestionKind::Choice => item.label.as_deref().unwrap(),
                QuestionKind::TrueFalse if item.label.as_deref() == Some("True") => "agrees",
                QuestionKind::TrueFalse => "does not agree",
                QuestionKind::Open => continue,
            };
            assert!(parts.contains(&decided), "{parts:?}: {text}");
        }
    }
}
