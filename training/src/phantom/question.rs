//! Questions about phantom fields, with their staged answers: choice, true/false and open.
//!
//! Nothing but the field gives the answer away: letters, values and truth values are drawn evenly. Some questions
//! carry a clinical context that says nothing about the field, so that a context does not derail the model.

use std::sync::LazyLock;

use rand::Rng;
use rand::seq::IndexedRandom as _;
use reinpath_model::stage::StagedAnswer;

use super::answer::staged_answer;
use super::limits::{Limits, limited_set};
use super::sentence::sentence;
use super::topic::{Outcome, Topic};
use super::{Quality, Truth, wording};
use crate::subtask::{QuestionKind, Subtasks, with_statement};

static SUBTASKS: LazyLock<Subtasks> = LazyLock::new(Subtasks::shipped);

/// The share of fields in a balanced set that cannot be read.
pub(super) const UNREADABLE_SHARE: f64 = 0.07;

/// A question about a field and the answer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuestionItem {
    pub kind: QuestionKind,
    pub topic: Topic,
    /// The name of the sub-task.
    pub subtask: &'static str,
    pub question: String,
    /// Four options of a choice question, exactly one right, without letters; empty otherwise.
    pub choices: Vec<String>,
    /// What the options mean, or the one outcome that a true/false statement claims; empty for an open question.
    pub claimed: Vec<Outcome>,
    /// What is true of the field; `None` where it cannot be assessed.
    pub outcome: Option<Outcome>,
    pub answer: StagedAnswer,
    /// A letter, `True` or `False`, or the value's name; `None` where the field cannot be assessed.
    pub label: Option<String>,
    /// A clinical context that says nothing about the field.
    pub context: Option<String>,
}

/// A question of this topic and kind about a field; `None` where it does not apply to the field.
pub fn ask(truth: &Truth, topic: Topic, kind: QuestionKind, rng: &mut impl Rng) -> Option<QuestionItem> {
    let outcome = topic.outcome(truth, kind);
    if truth.is_assessable() && outcome.is_none() {
        return None;
    }
    // Of a field that cannot be read anything may be asked: as if some outcome were true.
    let assumed = match &outcome {
        Some(outcome) => outcome.clone(),
        None => topic.outcomes(kind).choose(rng)?.clone(),
    };
    let claimed = match kind {
        QuestionKind::Open => Vec::new(),
        QuestionKind::Choice => topic.options(&assumed, rng),
        QuestionKind::TrueFalse if rng.random_bool(0.5) => vec![assumed.clone()],
        QuestionKind::TrueFalse => vec![topic.other(&assumed, rng)],
    };
    let label = outcome.as_ref().map(|outcome| match kind {
        QuestionKind::Open => outcome.label(),
        QuestionKind::Choice => letter_of(outcome, &claimed).to_string(),
        QuestionKind::TrueFalse if claimed[0] == *outcome => "True".to_owned(),
        QuestionKind::TrueFalse => "False".to_owned(),
    });
    let question = question_text(topic, kind, claimed.first(), rng);
    let choices = match kind {
        QuestionKind::Choice => claimed.iter().map(Outcome::label).collect(),
        QuestionKind::TrueFalse | QuestionKind::Open => Vec::new(),
    };
    let answer = staged_answer(truth, topic, kind, outcome.as_ref(), &claimed, rng);
    let context = rng.random_bool(0.2).then(|| context_line(rng));
    Some(QuestionItem {
        kind,
        topic,
        subtask: topic.name(),
        question,
        choices,
        claimed,
        outcome,
        answer,
        label,
        context,
    })
}

/// A question of this kind about a field, of any topic that applies to it. An open question asks for the field as a
/// whole more often than for any part of it, since that is what people ask.
pub fn ask_any(truth: &Truth, kind: QuestionKind, rng: &mut impl Rng) -> QuestionItem {
    loop {
        let topic = if kind == QuestionKind::Open && rng.random_bool(0.2) {
            Topic::TissueType
        } else {
            *Topic::ALL.choose(rng).expect("there are topics")
        };
        if let Some(item) = ask(truth, topic, kind, rng) {
            return item;
        }
    }
}

/// `n` fields with a question each: equal numbers of the three kinds, topics evenly within each, values evenly within
/// each topic; 7 % of the fields cannot be read. The order is random.
pub fn balanced_set(rng: &mut impl Rng, n: usize) -> Vec<(Truth, QuestionItem)> {
    limited_set(rng, n, Limits::default())
}

/// A blank or a blurred field.
pub(super) fn unreadable_field(rng: &mut impl Rng) -> Truth {
    loop {
        let truth = Truth::sample(rng);
        let quality = if rng.random_bool(0.5) { Quality::Blank } else { Quality::Blurred };
        if quality == Quality::Blurred || truth.quality == Quality::Blank {
            return Truth { quality, ..truth };
        }
    }
}

/// The letter of the first option that is `outcome`.
pub(super) fn letter_of(outcome: &Outcome, options: &[Outcome]) -> char {
    let index = options.iter().position(|option| option == outcome).unwrap_or(0);
    char::from(b'A' + index as u8)
}

fn question_text(topic: Topic, kind: QuestionKind, claimed: Option<&Outcome>, rng: &mut impl Rng) -> String {
    let templates = SUBTASKS.get(topic.name()).map_or(&[][..], |subtask| subtask.templates(kind));
    let pool = if topic == Topic::TissueType && kind == QuestionKind::Open && rng.random_bool(0.6) {
        &SUBTASKS.general
    } else {
        templates
    };
    let template = pool.choose(rng).map_or("", String::as_str);
    match (kind, claimed) {
        (QuestionKind::TrueFalse, Some(claimed)) => with_statement(template, &statement(claimed, rng)),
        // Typed in haste: without capital, without stop.
        (QuestionKind::Open, _) if rng.random_bool(0.1) => {
            template.trim_end_matches(['?', '.']).to_lowercase()
        }
        _ => template.to_owned(),
    }
}

/// A statement as a sentence, such as “The field shows tumour nests.”
pub(super) fn statement(outcome: &Outcome, rng: &mut impl Rng) -> String {
    let clauses = wording(&outcome.claims).map_or(&[][..], |w| &w.clauses);
    match clauses.choose(rng).filter(|_| rng.random_bool(0.5)) {
        Some(clause) => sentence(clause),
        None if rng.random_bool(0.5) => format!("The field shows {}.", outcome.phrase(rng)),
        None => format!("We see {}.", outcome.phrase(rng)),
    }
}

/// Organ, stain, age or sex: true of some patient, and of no use for the question.
fn context_line(rng: &mut impl Rng) -> String {
    let organs =
        ["Colon", "Breast", "Lung", "Prostate", "Stomach", "Liver", "Skin", "Kidney", "Bladder", "Ovary"];
    let organ = organs[rng.random_range(0..organs.len())];
    let sex = if rng.random_bool(0.5) { "Woman" } else { "Man" };
    let age = rng.random_range(25..90);
    match rng.random_range(0..5) {
        0 => format!("{organ}, H&E."),
        1 => format!("{organ} biopsy."),
        2 => format!("{sex}, {age} years."),
        3 => format!("{sex}, {age} years, {}.", organ.to_lowercase()),
        _ => format!("{organ} resection, H&E, {age} years."),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn balanced_sets_betray_nothing() {
        let set = balanced_set(&mut ChaCha8Rng::seed_from_u64(1), 6000);
        let mut kinds = BTreeMap::<_, usize>::new();
        let mut topics = BTreeMap::<_, usize>::new();
        let mut labels = BTreeMap::<_, usize>::new();
        for (truth, item) in &set {
            assert_eq!(item.label.is_some(), truth.is_assessable());
            *kinds.entry(item.kind).or_default() += 1;
            *topics.entry((item.kind, item.topic)).or_default() += 1;
            if item.kind != QuestionKind::Open {
                *labels.entry(item.label.clone().unwrap_or_default()).or_default() += 1;
            }
            if item.kind == QuestionKind::Choice {
                let distinct: std::collections::BTreeSet<_> = item.choices.iter().collect();
                assert_eq!(distinct.len(), 4);
            }
        }
        assert!(kinds.values().all(|n| *n == 2000), "{kinds:?}");
        assert!(topics.values().all(|n| *n == 200), "{topics:?}");
        assert_eq!(set.iter().filter(|(truth, _)| !truth.is_assessable()).count(), 420);
        for (label, share) in
            [("A", 0.25), ("B", 0.25), ("C", 0.25), ("D", 0.25), ("True", 0.5), ("False", 0.5)]
        {
            let share_found = labels[label] as f64 / 1860.0;
            assert!((share_found - share).abs() < 0.04, "{label}: {share_found}");
        }
    }

    #[test]
    fn a_statement_alone_does_not_tell_whether_it_is_true() {
        let set = balanced_set(&mut ChaCha8Rng::seed_from_u64(2), 30_000);
        let mut by_statement = BTreeMap::<_, [usize; 2]>::new();
        for (_, item) in set.iter().filter(|(_, item)| item.kind == QuestionKind::TrueFalse) {
            if let Some(label) = &item.label {
                by_statement.entry((item.topic, item.claimed[0].clone())).or_default()
                    [usize::from(label == "True")] += 1;
            }
        }
        for (statement, [no, yes]) in by_statement {
            let share = yes as f64 / (no + yes) as f64;
            assert!((share - 0.5).abs() < 0.18, "{statement:?}: {share} of {}", no + yes);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_set() {
        let set = |seed| balanced_set(&mut ChaCha8Rng::seed_from_u64(seed), 60);
        assert_eq!(set(3), set(3));
        assert_ne!(set(3), set(4));
    }

    #[test]
    fn any_field_can_be_asked_about_in_any_kind() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        for _ in 0..500 {
            let truth = Truth::sample(&mut rng);
            for &kind in QuestionKind::ALL {
                let item = ask_any(&truth, kind, &mut rng);
                assert!(!item.question.is_empty() && !item.question.contains('{'), "{item:?}");
                assert_eq!(item.choices.len(), if kind == QuestionKind::Choice { 4 } else { 0 });
            }
        }
    }
}
