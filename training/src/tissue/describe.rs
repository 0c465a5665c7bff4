//! Descriptions of a patch: sentences that state what was measured, in varied order and wording.

use rand::Rng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};

use super::lexicon::{Class, Finding, Lexicon};
use super::measure::Measures;
use crate::phantom::{framed, one_thing};

/// The most findings that an observation states, and the most sentences that it has.
const MOST_FINDINGS: usize = 4;
const MOST_SENTENCES: usize = 3;

/// What is known of a patch: its class, and what is clearly so in it.
#[derive(Clone, Debug)]
pub struct Described {
    pub(super) class: &'static Class,
    /// What was measured and is clear, at most one value of each attribute.
    pub(super) measured: Vec<Finding>,
}

impl Described {
    /// A patch of that class with these figures; `None` where the lexicon does not know the class.
    pub fn new(class: &str, measures: &Measures) -> Option<Self> {
        let lexicon = Lexicon::shipped();
        Some(Self { class: lexicon.class(class)?, measured: lexicon.findings(measures) })
    }

    /// Everything that is true of the patch: what its class says, then what was measured.
    pub fn findings(&self) -> impl Iterator<Item = Finding> {
        self.class.states.iter().chain(&self.measured).copied()
    }

    /// Whether a finding is true of the patch.
    pub fn holds(&self, finding: Finding) -> bool {
        self.findings().any(|known| known == finding)
    }

    /// Whether anything was measured that is clear.
    pub fn is_clear(&self) -> bool {
        !self.measured.is_empty()
    }

    /// The true value of an attribute; `None` where nothing is clear.
    pub fn value_of(&self, attribute: &str) -> Option<Finding> {
        self.findings().find(|finding| Lexicon::shipped().value(*finding).attribute == attribute)
    }
}

/// A caption: what the class is, and everything that is clear, in random order.
pub fn caption(patch: &Described, rng: &mut impl Rng) -> String {
    let mut findings = patch.measured.clone();
    findings.extend(patch.class.states.first());
    findings.shuffle(rng);
    state(&findings, 5, rng)
}

/// An observation: `key` and some of what else was measured. The class is for the conclusion.
pub(super) fn observation(patch: &Described, key: &[Finding], rng: &mut impl Rng) -> String {
    let mut key = key.to_vec();
    key.shuffle(rng);
    let mut others: Vec<Finding> = patch.measured.iter().copied().filter(|f| !key.contains(f)).collect();
    others.shuffle(rng);
    let wanted: usize = if key.len() < 2 { rng.random_range(2..=3) } else { rng.random_range(1..=2) };
    others.truncate(wanted.min(MOST_FINDINGS.saturating_sub(key.len())));
    // Mostly what matters comes first.
    let findings = if rng.random_bool(0.85) { [key, others].concat() } else { [others, key].concat() };
    state(&findings, MOST_SENTENCES, rng)
}

/// Sentences that state all of `findings`, in their order: at most `most`, as long as twice as many findings fit.
pub(super) fn state(findings: &[Finding], most: usize, rng: &mut impl Rng) -> String {
    let lexicon = Lexicon::shipped();
    let mut sentences = Vec::new();
    let mut rest = findings;
    while let Some((first, others)) = rest.split_first() {
        let first = lexicon.value(*first);
        let left = most.saturating_sub(sentences.len());
        let must_share = rest.len() > 2 * left.saturating_sub(1) + 1;
        if let Some((second, after)) = others.split_first()
            && (must_share || rng.random_bool(0.6))
        {
            let a = choose(&first.phrases, rng);
            let b = choose(&lexicon.value(*second).phrases, rng);
            sentences.push(framed(&format!("{a} and {b}"), rng));
            rest = after;
        } else {
            sentences.push(one_thing(&first.phrases, &first.clauses, rng));
            rest = others;
        }
    }
    sentences.join(" ")
}

/// One of several texts; none of none.
pub(super) fn choose<'a>(texts: &'a [String], rng: &mut impl Rng) -> &'a str {
    texts.choose(rng).map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::super::measure::Measure;
    use super::*;

    fn figures(rng: &mut impl Rng) -> Measures {
        Measures::from_iter([
            (Measure::OpenSpace, rng.random_range(0.0..0.5)),
            (Measure::WallDepth, rng.random_range(5.0..30.0)),
            (Measure::NucleiAlongSpaces, rng.random_range(0.0..0.6)),
            (Measure::RedCells, rng.random_range(0.0..0.08)),
            (Measure::NuclearShare, rng.random_range(0.05..0.4)),
            (Measure::NuclearArea, rng.random_range(80.0..250.0)),
            (Measure::AreaVariation, rng.random_range(0.4..0.9)),
            (Measure::Elongation, rng.random_range(1.2..1.8)),
        ])
    }

    #[test]
    fn captions_say_what_was_measured_and_the_class_and_nothing_else() {
        let lexicon = Lexicon::shipped();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut texts = BTreeSet::new();
        for _ in 0..2000 {
            let patch = Described::new("lung_aca", &figures(&mut rng)).unwrap();
            let text = caption(&patch, &mut rng);
            let mut read: Vec<Finding> = lexicon.statements(&text).into_iter().map(|(f, _)| f).collect();
            let mut known: Vec<Finding> = patch.measured.clone();
            known.push(patch.class.states[0]);
            read.sort();
            known.sort();
            assert_eq!(read, known, "{text}");
            assert!(text.matches('.').count() <= 5, "{text}");
            texts.insert(text);
        }
        assert!(texts.len() > 1900, "the wording varies: {}", texts.len());
    }

    #[test]
    fn observations_are_true_short_and_leave_the_class_to_the_conclusion() {
        let lexicon = Lexicon::shipped();
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for _ in 0..2000 {
            let patch = Described::new("lung_n", &figures(&mut rng)).unwrap();
            let key: Vec<Finding> = patch.measured.iter().copied().take(2).collect();
            let text = observation(&patch, &key, &mut rng);
            let read: Vec<Finding> = lexicon.statements(&text).into_iter().map(|(f, _)| f).collect();
            assert!(read.iter().all(|finding| patch.measured.contains(finding)), "{text}");
            assert!(key.iter().all(|finding| read.contains(finding)), "{text}");
            assert!(read.len() <= MOST_FINDINGS && text.matches('.').count() <= MOST_SENTENCES, "{text}");
        }
    }

    #[test]
    fn the_words_follow_the_figures() {
        let cells = |share: f64| {
            let figures = Measures::from_iter([(Measure::NuclearShare, share)]);
            let patch = Described::new("lung_scc", &figures).unwrap();
            patch.value_of("cellularity").map(|finding| Lexicon::shipped().value(finding).value.clone())
        };
        assert_eq!(cells(0.05).as_deref(), Some("low"));
        assert_eq!(cells(0.2).as_deref(), Some("moderate"));
        assert_eq!(cells(0.4).as_deref(), Some("high"));
        assert_eq!(cells(0.13), None, "between two ranges nothing is clear");
        assert!(Described::new("heart", &Measures::default()).is_none());
    }
}
