//! Questions about a patch with their staged answers: what is measured, how it leads to the answer, the answer.
//!
//! A question about the class is answered from findings that speak for it; where none does, the analysis says no more
//! than that the class fits best. Letters and truth values are drawn evenly.

use std::sync::LazyLock;

use rand::Rng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use reinpath_model::stage::StagedAnswer;

use super::describe::{Described, choose, observation};
use super::lexicon::{Attribute, Finding, Lexicon, Link};
use crate::phantom::{OPTION, sentence};
use crate::subtask::{QuestionKind, Subtasks, with_statement};

static SUBTASKS: LazyLock<Subtasks> = LazyLock::new(Subtasks::shipped);

/// A question about a patch and the answer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TissueItem {
    pub kind: QuestionKind,
    /// The attribute that is asked about.
    pub attribute: &'static str,
    /// The sub-task that it belongs to, where there is one.
    pub subtask: Option<&'static str>,
    pub question: String,
    /// The options of a choice question without letters, exactly one right; empty otherwise.
    pub choices: Vec<String>,
    /// What the options mean, or the one finding that a true/false statement claims; empty for an open question.
    pub claimed: Vec<Finding>,
    /// What is true.
    pub outcome: Finding,
    pub answer: StagedAnswer,
    /// A letter, `True` or `False`, or the value's name.
    pub label: String,
    /// A clinical context that says nothing about the patch.
    pub context: Option<String>,
    /// What of the answer could be wrong: findings, letters, verdicts.
    pub emphasis: Vec<String>,
}

/// `count` questions about a patch. The first, and every other one, is about what follows from its class, and the very
/// first about the first attribute of the lexicon; the others are about what was measured.
pub fn ask_many(patch: &Described, count: usize, rng: &mut impl Rng) -> Vec<TissueItem> {
    let mut items = Vec::with_capacity(count);
    for index in 0..count {
        let pool =
            if index % 2 == 0 || patch.measured.is_empty() { &patch.class.states } else { &patch.measured };
        let outcome = if index == 0 { pool.first() } else { pool.choose(rng) };
        let kind = QuestionKind::ALL.choose(rng).copied().unwrap_or(QuestionKind::Open);
        if let Some(outcome) = outcome {
            items.extend(ask(patch, &Lexicon::shipped().value(*outcome).attribute, kind, rng));
        }
    }
    items
}

/// A question of this kind about one attribute of a patch; `None` where nothing is clear about it, or where nothing at
/// all was measured that an observation could state.
pub fn ask(patch: &Described, attribute: &str, kind: QuestionKind, rng: &mut impl Rng) -> Option<TissueItem> {
    let lexicon = Lexicon::shipped();
    let attribute = lexicon.attributes.iter().find(|known| known.name == attribute)?;
    let outcome = patch.value_of(&attribute.name).filter(|_| !patch.measured.is_empty())?;
    let mut values = lexicon.values_of(&attribute.name);
    let claimed: Vec<Finding> = match kind {
        QuestionKind::Open => Vec::new(),
        QuestionKind::Choice => {
            values.shuffle(rng);
            values
        }
        QuestionKind::TrueFalse if rng.random_bool(0.5) => vec![outcome],
        QuestionKind::TrueFalse => {
            values.retain(|value| *value != outcome);
            vec![*values.choose(rng)?]
        }
    };
    let words = &lexicon.value(outcome).label;
    let label = match kind {
        QuestionKind::Open => words.clone(),
        QuestionKind::Choice => letter_of(outcome, &claimed).to_string(),
        QuestionKind::TrueFalse if claimed.contains(&outcome) => "True".to_owned(),
        QuestionKind::TrueFalse => "False".to_owned(),
    };
    let question = question_text(attribute, kind, claimed.first().copied(), rng);
    let answer = staged_answer(patch, kind, outcome, &claimed, rng);
    let choices = match kind {
        QuestionKind::Choice => claimed.iter().map(|value| lexicon.value(*value).label.clone()).collect(),
        QuestionKind::TrueFalse | QuestionKind::Open => Vec::new(),
    };
    let context = rng.random_bool(0.2).then(|| choose(&lexicon.contexts, rng).to_owned());
    let emphasis = emphasis(&answer, kind, &label);
    Some(TissueItem {
        kind,
        attribute: &attribute.name,
        subtask: attribute.subtask.as_deref(),
        question,
        choices,
        claimed,
        outcome,
        answer,
        label,
        context,
        emphasis,
    })
}

pub(super) fn letter_of(outcome: Finding, options: &[Finding]) -> char {
    let index = options.iter().position(|option| *option == outcome).unwrap_or(0);
    char::from(b'A' + index as u8)
}

fn question_text(
    attribute: &Attribute,
    kind: QuestionKind,
    claimed: Option<Finding>,
    rng: &mut impl Rng,
) -> String {
    let own = attribute.templates(kind);
    let of_subtask = || {
        let subtask = attribute.subtask.as_ref().and_then(|name| SUBTASKS.get(name));
        subtask.map_or(&[][..], |subtask| subtask.templates(kind))
    };
    let template = choose(if own.is_empty() { of_subtask() } else { own }, rng);
    match (kind, claimed) {
        (QuestionKind::TrueFalse, Some(claimed)) => with_statement(template, &statement(claimed, rng)),
        // Typed in haste: without capital, without stop.
        (QuestionKind::Open, _) if rng.random_bool(0.1) => {
            template.trim_end_matches(['?', '.']).to_lowercase()
        }
        _ => template.to_owned(),
    }
}

/// A finding as a sentence, such as “The field shows small nuclei.”
fn statement(finding: Finding, rng: &mut impl Rng) -> String {
    let value = Lexicon::shipped().value(finding);
    match rng.random_range(0..4) {
        0 | 1 => sentence(choose(&value.clauses, rng)),
        2 => format!("The field shows {}.", choose(&value.phrases, rng)),
        _ => format!("We see {}.", choose(&value.phrases, rng)),
    }
}

fn staged_answer(
    patch: &Described,
    kind: QuestionKind,
    outcome: Finding,
    claimed: &[Finding],
    rng: &mut impl Rng,
) -> StagedAnswer {
    let lexicon = Lexicon::shipped();
    let (key, reasons) = if patch.class.states.contains(&outcome) {
        let links = fitting_links(patch, rng);
        let mut key: Vec<Finding> = links.iter().flat_map(|link| link.needs.iter().copied()).collect();
        key.sort_unstable();
        key.dedup();
        (key, links.iter().map(|link| choose(&link.texts, rng)).collect::<Vec<_>>())
    } else {
        (vec![outcome], vec![choose(&lexicon.value(outcome).reasons, rng)])
    };
    let found = found(kind, outcome, claimed, rng);
    StagedAnswer {
        observation: observation(patch, &key, rng),
        analysis: format!("{} {found}", reasons.join(" ")),
        conclusion: conclusion(kind, outcome, claimed, rng),
    }
}

/// One or two links to the class whose findings are all there; one that needs none where no other fits.
fn fitting_links(patch: &Described, rng: &mut impl Rng) -> Vec<&'static Link> {
    let links = &patch.class.links;
    let fits = |link: &&Link| {
        !link.needs.is_empty() && link.needs.iter().all(|finding| patch.measured.contains(finding))
    };
    let mut fitting: Vec<&'static Link> = links.iter().filter(fits).collect();
    if fitting.is_empty() {
        return links.iter().filter(|link| link.needs.is_empty()).take(1).collect();
    }
    fitting.shuffle(rng);
    fitting.truncate(rng.random_range(1..=2));
    fitting
}

/// What the reasons amount to; from here the conclusion takes it.
pub(super) fn found(kind: QuestionKind, outcome: Finding, claimed: &[Finding], rng: &mut impl Rng) -> String {
    let lexicon = Lexicon::shipped();
    let frames = &lexicon.frames;
    let label = &lexicon.value(outcome).label;
    match (kind, claimed.first()) {
        (QuestionKind::TrueFalse, Some(claim)) => {
            let frames = if *claim == outcome { &frames.agrees } else { &frames.disagrees };
            choose(frames, rng).replace("{s}", &lexicon.value(*claim).label).replace("{l}", label)
        }
        // The letter beside the option that it stands for.
        (QuestionKind::Choice, _) => {
            let option = format!("{label}{OPTION}{}", letter_of(outcome, claimed));
            choose(&frames.finding, rng).replace("{l}", &option)
        }
        _ => choose(&frames.finding, rng).replace("{l}", label),
    }
}

fn conclusion(kind: QuestionKind, outcome: Finding, claimed: &[Finding], rng: &mut impl Rng) -> String {
    let lexicon = Lexicon::shipped();
    let label = &lexicon.value(outcome).label;
    match (kind, claimed.first()) {
        (QuestionKind::Choice, _) => format!("{}) {label}", letter_of(outcome, claimed)),
        (QuestionKind::TrueFalse, Some(claim)) => {
            let verdict = if *claim == outcome { "True" } else { "False" };
            choose(&lexicon.frames.true_false, rng).replace("{v}", verdict).replace("{l}", label)
        }
        _ if rng.random_bool(1.0 / 3.0) => sentence(label),
        _ => choose(&lexicon.frames.open, rng).replace("{l}", label),
    }
}

/// The findings that an answer states, its letter and its verdict, each once and as it is written.
fn emphasis(answer: &StagedAnswer, kind: QuestionKind, label: &str) -> Vec<String> {
    let text = answer.to_text();
    let mut parts: Vec<String> =
        Lexicon::shipped().statements(&text).into_iter().map(|(_, bytes)| text[bytes].to_owned()).collect();
    match (kind, label) {
        (QuestionKind::Choice, letter) => {
            parts.push(format!("{}{letter}", OPTION.trim_start_matches([',', ' '])));
        }
        (QuestionKind::TrueFalse, "True") => parts.push("agrees".to_owned()),
        (QuestionKind::TrueFalse, _) => parts.push("does not agree".to_owned()),
        (QuestionKind::Open, _) => {}
    }
    parts.sort();
    parts.dedup();
    parts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::super::measure::{Measure, Measures};
    use super::*;

    /// A patch of which something can be stated: not all figures lie in the gaps between the values.
    fn patch(class: &str, rng: &mut impl Rng) -> Described {
        loop {
            let figures = Measures::from_iter([
                (Measure::OpenSpace, rng.random_range(0.0..0.5)),
                (Measure::NucleiAlongSpaces, rng.random_range(0.0..0.6)),
                (Measure::NuclearShare, rng.random_range(0.05..0.4)),
                (Measure::NuclearArea, rng.random_range(80.0..250.0)),
            ]);
            let patch = Described::new(class, &figures).unwrap();
            if !patch.measured.is_empty() {
                return patch;
            }
        }
    }

    fn read(text: &str) -> Vec<Finding> {
        Lexicon::shipped().statements(text).into_iter().map(|(finding, _)| finding).collect()
    }

    #[test]
    fn answers_are_true_short_and_begin_as_the_format_says() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for class in ["lung_n", "lung_aca", "lung_scc"] {
            for _ in 0..300 {
                let patch = patch(class, &mut rng);
                for item in ask_many(&patch, 6, &mut rng) {
                    let StagedAnswer { observation, analysis, conclusion } = &item.answer;
                    assert!(read(observation).iter().all(|f| patch.measured.contains(f)), "{item:?}");
                    assert!(read(conclusion).iter().all(|f| *f == item.outcome), "{item:?}");
                    assert!(read(analysis).contains(&item.outcome), "{item:?}");
                    assert!(patch.holds(item.outcome));
                    let n_words = item.answer.to_text().split_whitespace().count();
                    assert!((9..=95).contains(&n_words), "{n_words} words: {item:?}");
                    let start = match item.kind {
                        QuestionKind::Choice => format!("{}) ", item.label),
                        QuestionKind::TrueFalse => format!("{}, ", item.label),
                        QuestionKind::Open => String::new(),
                    };
                    assert!(conclusion.starts_with(&start), "{item:?}");
                    assert!(!item.question.is_empty() && !item.question.contains('{'), "{item:?}");
                    assert!(!analysis.contains('{') && !conclusion.contains('{'), "{item:?}");
                    let text = item.answer.to_text();
                    assert!(item.emphasis.iter().all(|part| text.contains(part.as_str())), "{item:?}");
                }
            }
        }
    }

    #[test]
    fn the_class_is_asked_first_and_letters_and_verdicts_are_even() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut labels = BTreeMap::<String, usize>::new();
        for _ in 0..3000 {
            let item = ask_many(&patch("lung_scc", &mut rng), 1, &mut rng).remove(0);
            assert_eq!((item.attribute, item.subtask), ("tissue", Some("tissue type")));
            if item.kind == QuestionKind::Choice {
                assert_eq!(item.choices.len(), 3);
            }
            *labels.entry(item.label).or_default() += 1;
        }
        for (label, share) in [("A", 1.0), ("B", 1.0), ("C", 1.0), ("True", 1.5), ("False", 1.5)] {
            let found = labels[label] as f64 / 1000.0 * 3.0;
            assert!((found - share).abs() < 0.3, "{label}: {found} of {share}");
        }
    }

    #[test]
    fn an_analysis_names_only_links_whose_findings_are_there() {
        let lexicon = Lexicon::shipped();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let nothing = Described::new("lung_aca", &Measures::default()).unwrap();
        assert!(ask_many(&nothing, 6, &mut rng).is_empty(), "nothing was observed");
        let small = Measures::from_iter([(Measure::NuclearArea, 100.0)]);
        let little = Described::new("lung_aca", &small).unwrap();
        let item = ask(&little, "tissue", QuestionKind::Open, &mut rng).unwrap();
        let generic = little.class.links.iter().filter(|link| link.needs.is_empty());
        assert!(generic.flat_map(|link| &link.texts).any(|text| item.answer.analysis.starts_with(text)));
        assert!(ask(&little, "cellularity", QuestionKind::Open, &mut rng).is_none());
        for _ in 0..500 {
            let patch = patch("lung_aca", &mut rng);
            let Some(item) = ask(&patch, "tissue", QuestionKind::Choice, &mut rng) else { panic!("no item") };
            let class = lexicon.class("lung_aca").unwrap();
            let said = |link: &&Link| link.texts.iter().any(|text| item.answer.analysis.contains(text));
            for link in class.links.iter().filter(said) {
                assert!(link.needs.iter().all(|f| read(&item.answer.observation).contains(f)), "{item:?}");
            }
        }
    }
}
