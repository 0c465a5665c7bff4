//! Scores of answers to phantom questions: the conclusion against the truth, the observation claim by claim.
//!
//! Only what was generated counts. A conclusion that cannot be read is wrong; a claim in an Observation is right when
//! it holds for the field, and anything claimed of a field that cannot be read is wrong.

use reinpath_model::stage::{StagedAnswer, extract_choice};

use super::Truth;
use super::answer::CANNOT_BE_ASSESSED;
use super::claim::Claim;
use super::lexicon::claims;
use super::question::QuestionItem;
use super::topic::Outcome;
use crate::subtask::QuestionKind;

/// What was found in a conclusion, right or wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConclusionKind {
    /// A choice, a truth value or a value.
    Answer,
    CannotBeAssessed,
    Unreadable,
}

/// How one generated answer did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerScore {
    pub kind: QuestionKind,
    pub subtask: &'static str,
    /// The sub-task and the right answer: what balanced accuracy averages over.
    pub class: String,
    pub is_assessable: bool,
    pub is_right: bool,
    pub conclusion: ConclusionKind,
    /// All three stages came in order, each with text.
    pub has_all_stages: bool,
    /// Every statement of the Observation, and whether it is true of the field.
    pub claims: Vec<(Claim, bool)>,
}

/// Scores one answer. `is_well_formed` is what the stage parser said of its format.
pub fn score_answer(
    truth: &Truth,
    item: &QuestionItem,
    answer: &StagedAnswer,
    is_well_formed: bool,
) -> AnswerScore {
    let verdict = read_conclusion(item, &answer.conclusion);
    let is_right = match &item.outcome {
        None => verdict == Verdict::CannotBeAssessed,
        Some(outcome) => verdict == right_verdict(item, outcome),
    };
    let class = match (&item.outcome, &item.label) {
        (None, _) => CANNOT_BE_ASSESSED.to_owned(),
        (Some(_), Some(label)) if item.kind == QuestionKind::TrueFalse => {
            format!("{}: {label}", item.subtask)
        }
        (Some(outcome), _) => format!("{}: {}", item.subtask, outcome.label()),
    };
    let stages = [&answer.observation, &answer.analysis, &answer.conclusion];
    AnswerScore {
        kind: item.kind,
        subtask: item.subtask,
        class,
        is_assessable: truth.is_assessable(),
        is_right,
        conclusion: match verdict {
            Verdict::Choice(_) | Verdict::Values(_) => ConclusionKind::Answer,
            Verdict::CannotBeAssessed => ConclusionKind::CannotBeAssessed,
            Verdict::Unreadable => ConclusionKind::Unreadable,
        },
        has_all_stages: is_well_formed && stages.iter().all(|text| !text.trim().is_empty()),
        claims: claims(&answer.observation).into_iter().map(|claim| (claim, claim.holds(truth))).collect(),
    }
}

/// What a conclusion says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// Index of an option, or 0 for true and 1 for false.
    Choice(usize),
    /// The values of the topic's attributes, sorted.
    Values(Vec<Claim>),
    CannotBeAssessed,
    Unreadable,
}

fn read_conclusion(item: &QuestionItem, conclusion: &str) -> Verdict {
    let says_cannot = conclusion.to_lowercase().contains(CANNOT_BE_ASSESSED);
    let read = match item.kind {
        QuestionKind::Choice => extract_choice(conclusion, &item.choices).map(Verdict::Choice),
        QuestionKind::TrueFalse => {
            extract_choice(conclusion, &["True".to_owned(), "False".to_owned()]).map(Verdict::Choice)
        }
        QuestionKind::Open => conclusion_values(item, conclusion).map(Verdict::Values),
    };
    match read {
        // An answer that chooses and declines at once does neither.
        Some(verdict) if !says_cannot => verdict,
        None if says_cannot => Verdict::CannotBeAssessed,
        _ => Verdict::Unreadable,
    }
}

/// The values of the question's attributes that an open conclusion states, sorted; `None` when it states none.
fn conclusion_values(item: &QuestionItem, conclusion: &str) -> Option<Vec<Claim>> {
    let attributes = item.topic.attributes();
    let mut values: Vec<Claim> = claims(conclusion)
        .into_iter()
        .flat_map(Claim::with_implied)
        .filter(|claim| attributes.contains(&claim.attribute))
        .collect();
    values.sort_unstable();
    values.dedup();
    (!values.is_empty()).then_some(values)
}

fn right_verdict(item: &QuestionItem, outcome: &Outcome) -> Verdict {
    match item.kind {
        QuestionKind::Choice => item
            .claimed
            .iter()
            .position(|option| option == outcome)
            .map_or(Verdict::Unreadable, Verdict::Choice),
        QuestionKind::TrueFalse => Verdict::Choice(usize::from(item.claimed.first() != Some(outcome))),
        QuestionKind::Open => {
            let mut values = outcome.claims.clone();
            values.sort_unstable();
            Verdict::Values(values)
        }
    }
}

/// The share that a perfect reader gets right when every question comes with the patch of another one: the mean over
/// all pairs of different items. Where none of the options fits the other patch, one of four guesses is right.
pub fn chance_when_permuted(items: &[(Truth, QuestionItem)]) -> Option<f64> {
    let mut sum = 0.0;
    for (index, (_, item)) in items.iter().enumerate() {
        for (other, (truth, _)) in items.iter().enumerate() {
            if index != other {
                sum += chance_right(item, truth);
            }
        }
    }
    let pairs = items.len() * items.len().saturating_sub(1);
    (pairs > 0).then(|| sum / pairs as f64)
}

/// How probable it is that a perfect reader of `truth` answers `item`, which is about another field, correctly.
fn chance_right(item: &QuestionItem, truth: &Truth) -> f64 {
    let certain = |is_right: bool| if is_right { 1.0 } else { 0.0 };
    let Some(outcome) = &item.outcome else { return certain(!truth.is_assessable()) };
    if !truth.is_assessable() {
        return 0.0;
    }
    match item.kind {
        QuestionKind::Choice => match item.claimed.iter().find(|option| option.holds(truth)) {
            Some(option) => certain(option == outcome),
            None => 1.0 / item.claimed.len() as f64,
        },
        QuestionKind::TrueFalse => {
            let holds = item.claimed.first().is_some_and(|statement| statement.holds(truth));
            certain(holds == (item.claimed.first() == Some(outcome)))
        }
        QuestionKind::Open => certain(outcome.holds(truth)),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::seq::SliceRandom as _;
    use rand_chacha::ChaCha8Rng;

    use super::super::answer::staged_answer;
    use super::super::question::{ask, balanced_set};
    use super::super::{Attribute, PhantomReport, Tally, Topic};
    use super::*;

    fn items(n: usize, seed: u64) -> Vec<(Truth, QuestionItem)> {
        balanced_set(&mut ChaCha8Rng::seed_from_u64(seed), n)
    }

    fn conclude(text: &str) -> StagedAnswer {
        StagedAnswer { observation: "x".into(), analysis: "y".into(), conclusion: text.into() }
    }

    fn report(
        items: &[(Truth, QuestionItem)],
        answer: impl Fn(&QuestionItem) -> StagedAnswer,
    ) -> PhantomReport {
        let scores: Vec<_> =
            items.iter().map(|(t, item)| score_answer(t, item, &answer(item), true)).collect();
        PhantomReport::new(&scores)
    }

    #[test]
    fn generated_answers_are_right_in_every_respect() {
        let items = items(3000, 1);
        let report = report(&items, |item| item.answer.clone());
        assert_eq!(report.overall, Tally { right: 3000, total: 3000 });
        assert_eq!(report.stages_present.right, 3000);
        assert_eq!(report.claims.right, report.claims.total);
        assert!(report.claims.total > 6000);
        assert_eq!((report.parse_failures, report.wrongly_declined.right), (0, 0));
        assert_eq!(report.cannot_be_assessed, Tally { right: 210, total: 210 });
        assert_eq!(report.balanced_accuracy(), Some(1.0));
    }

    #[test]
    fn constant_answers_score_at_chance() {
        let items = items(6000, 2);
        for (text, kind, chance) in [
            ("A) x", "choice", 0.25),
            ("C", "choice", 0.25),
            ("True.", "true_false", 0.5),
            ("False", "true_false", 0.5),
        ] {
            let tally = report(&items, |_| conclude(text)).by_kind[kind];
            let share = tally.share().unwrap() / 0.93; // 7 % cannot be assessed
            assert!((share - chance).abs() < 0.04, "{text}: {share}");
        }
        let open = report(&items, |_| conclude("The cellularity is low, tumour nests.")).by_kind["open"];
        // A third of cellularity, a ninth of tissue, a quarter of architecture and type, half of malignancy.
        let chance = (1.0 / 3.0 + 1.0 / 9.0 + 0.25 + 0.25 + 0.5) / 10.0;
        assert!((open.share().unwrap() / 0.93 - chance).abs() < 0.03, "{open:?}");
        let declined = report(&items, |_| conclude("Cannot be assessed."));
        assert_eq!(declined.overall.right, declined.cannot_be_assessed.total);
        assert_eq!(declined.wrongly_declined.right, declined.wrongly_declined.total);
    }

    #[test]
    fn wrong_letters_values_and_empty_texts_are_wrong() {
        for (truth, item) in items(600, 3) {
            let Some(label) = &item.label else { continue };
            let score = |answer: &StagedAnswer| score_answer(&truth, &item, answer, true);
            let wrong = match item.kind {
                QuestionKind::Choice => if label == "A" { "B) x" } else { "A) x" }.to_owned(),
                QuestionKind::TrueFalse => if label == "True" { "False" } else { "True" }.to_owned(),
                QuestionKind::Open => {
                    let other =
                        item.topic.outcomes(item.kind).into_iter().find(|o| Some(o) != item.outcome.as_ref());
                    other.unwrap().label()
                }
            };
            assert!(!score(&conclude(&wrong)).is_right, "{wrong} for {item:?}");
            let both = format!("{} It cannot be assessed.", item.answer.conclusion);
            assert!(!score(&conclude(&both)).is_right);
            let empty = score(&StagedAnswer::default());
            assert!(
                !empty.is_right && !empty.has_all_stages && empty.conclusion == ConclusionKind::Unreadable
            );
            assert!(!score_answer(&truth, &item, &item.answer, false).has_all_stages);
        }
    }

    #[test]
    fn open_conclusions_may_name_the_pattern_from_which_the_value_follows() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let pattern = Outcome { claims: vec![Claim::from_name("pattern.tumour_nests").unwrap()] };
        let topic = Topic::Architecture;
        let truth = Topic::TissueType.field_with(&pattern, &mut rng);
        let item = ask(&truth, topic, QuestionKind::Open, &mut rng).unwrap();
        let right = |text: &str| score_answer(&truth, &item, &conclude(text), true).is_right;
        assert!(right("Tumour nests.") && right("A nested architecture."));
        assert!(
            !right("Tumour sheets.") && !right("Tumour nests and tumour sheets.") && !right("Fat cells.")
        );
    }

    #[test]
    fn swapped_patches_score_at_the_expected_chance() {
        let items = items(600, 5);
        let chance = chance_when_permuted(&items).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        let mut shares = Vec::new();
        for _ in 0..20 {
            let mut others: Vec<&Truth> = items.iter().map(|(truth, _)| truth).collect();
            others.shuffle(&mut rng);
            let scores: Vec<_> = items
                .iter()
                .zip(&others)
                .map(|((truth, item), other)| {
                    let seen = item.topic.outcome(other, item.kind);
                    let answer = match (&seen, other.is_assessable()) {
                        (None, true) => conclude("A) x"), // the question does not apply: a guess
                        _ => staged_answer(
                            other,
                            item.topic,
                            item.kind,
                            seen.as_ref(),
                            &item.claimed,
                            &mut rng,
                        ),
                    };
                    score_answer(truth, item, &answer, true)
                })
                .collect();
            shares.push(PhantomReport::new(&scores).overall.share().unwrap());
        }
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        assert!((mean - chance).abs() < 0.04, "{mean} against {chance}");
        assert!((0.2..0.5).contains(&chance), "{chance}");
    }

    #[test]
    fn false_claims_are_counted_by_attribute() {
        let mut answer = conclude("x");
        answer.observation =
            "The field shows tumour nests with several mitoses. Cellularity is high.".to_owned();
        let (truth, item) = items(200, 7)
            .into_iter()
            .find(|(t, _)| Attribute::Pattern.of(t).is_some_and(|c| c.level == 8))
            .unwrap();
        let report = PhantomReport::new(&[score_answer(&truth, &item, &answer, true)]);
        assert_eq!(report.claims, Tally { right: 0, total: 3 });
        assert_eq!(report.attributes.len(), 3);
        assert_eq!(report.attributes["mitoses"], Tally { right: 0, total: 1 });
        assert_eq!(report.weakest_attribute().unwrap().1.right, 0);
    }
}
