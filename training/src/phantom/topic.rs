//! What each sub-task asks of a phantom field: the attributes that matter and the answers that are possible.
//!
//! The names are those of the shipped `assets/subtasks.toml`. Sub-tasks with fewer than four values are asked
//! together with a second attribute when four options are needed.

use rand::Rng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};

use super::claim::{Attribute, Claim};
use super::lexicon::wording;
use super::{Pattern, Quality, Truth};
use crate::subtask::QuestionKind;

/// A sub-task, as far as phantom tissue can answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    Cellularity,
    NuclearFeatures,
    Architecture,
    Stroma,
    Mitosis,
    Necrosis,
    Inflammation,
    TissueType,
    BenignOrMalignant,
    TumourType,
}

/// One possible answer: one value, or two together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outcome {
    pub claims: Vec<Claim>,
}

impl Outcome {
    /// Whether it is true of a field.
    pub fn holds(&self, truth: &Truth) -> bool {
        self.claims.iter().all(|claim| claim.holds(truth))
    }

    /// What an option and a conclusion call it.
    pub fn label(&self) -> String {
        self.pick(|w| vec![w.label.clone()].into(), |_| 0)
    }

    /// A noun phrase for it, at random.
    pub(super) fn phrase(&self, rng: &mut impl Rng) -> String {
        self.pick(|w| w.phrases.clone().into(), |n| rng.random_range(0..n))
    }

    fn pick(
        &self,
        texts: impl Fn(&'static super::Wording) -> std::borrow::Cow<'static, [String]>,
        mut index: impl FnMut(usize) -> usize,
    ) -> String {
        let mut say = |claims: &[Claim]| {
            wording(claims).map(|w| {
                let texts = texts(w);
                texts[index(texts.len())].clone()
            })
        };
        say(&self.claims).unwrap_or_else(|| {
            let parts: Vec<String> =
                self.claims.iter().filter_map(|claim| say(std::slice::from_ref(claim))).collect();
            parts.join(" and ")
        })
    }
}

impl Topic {
    /// Every topic, in the order of the shipped sub-tasks.
    pub const ALL: &[Self] = &[
        Self::Cellularity,
        Self::NuclearFeatures,
        Self::Architecture,
        Self::Stroma,
        Self::Mitosis,
        Self::Necrosis,
        Self::Inflammation,
        Self::TissueType,
        Self::BenignOrMalignant,
        Self::TumourType,
    ];

    /// The name of its sub-task.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cellularity => "cellularity",
            Self::NuclearFeatures => "nuclear features",
            Self::Architecture => "architecture",
            Self::Stroma => "stroma",
            Self::Mitosis => "mitosis",
            Self::Necrosis => "necrosis",
            Self::Inflammation => "inflammation",
            Self::TissueType => "tissue type",
            Self::BenignOrMalignant => "benign or malignant",
            Self::TumourType => "tumour type",
        }
    }

    /// The topic of that sub-task, if phantom tissue knows it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|topic| topic.name() == name)
    }

    /// What a sentence about it is about: “the cellularity cannot be assessed”.
    pub(super) fn subject(self) -> &'static str {
        match self {
            Self::Cellularity => "the cellularity",
            Self::NuclearFeatures => "the nuclei",
            Self::Architecture => "the architecture",
            Self::Stroma => "the stroma",
            Self::Mitosis => "the mitotic activity",
            Self::Necrosis => "necrosis",
            Self::Inflammation => "the inflammation",
            Self::TissueType => "the tissue type",
            Self::BenignOrMalignant => "the diagnosis",
            Self::TumourType => "the tumour type",
        }
    }

    /// The attributes that a free answer or a statement is about.
    pub fn attributes(self) -> &'static [Attribute] {
        match self {
            Self::Cellularity => &[Attribute::Cellularity],
            Self::NuclearFeatures => &[Attribute::NuclearSize, Attribute::Pleomorphism],
            Self::Architecture => &[Attribute::Architecture],
            Self::Stroma => &[Attribute::Stroma],
            Self::Mitosis => &[Attribute::Mitoses],
            Self::Necrosis => &[Attribute::Necrosis],
            Self::Inflammation => &[Attribute::Lymphocytes],
            Self::TissueType => &[Attribute::Pattern],
            Self::BenignOrMalignant => &[Attribute::Malignancy],
            Self::TumourType => &[Attribute::TumourType],
        }
    }

    /// The attributes that four options are about.
    fn choice_attributes(self) -> &'static [Attribute] {
        match self {
            Self::Cellularity => &[Attribute::Cellularity, Attribute::Necrosis],
            Self::Stroma => &[Attribute::Stroma, Attribute::Lymphocytes],
            Self::Inflammation => &[Attribute::Lymphocytes, Attribute::Stroma],
            Self::Mitosis => &[Attribute::Mitoses, Attribute::Necrosis],
            Self::Necrosis => &[Attribute::Necrosis, Attribute::Mitoses],
            Self::BenignOrMalignant => &[Attribute::Malignancy, Attribute::Architecture],
            _ => self.attributes(),
        }
    }

    /// Every answer that a question of this kind may have. Of a field to which it applies, exactly one is true.
    pub fn outcomes(self, kind: QuestionKind) -> Vec<Outcome> {
        let attributes =
            if kind == QuestionKind::Choice { self.choice_attributes() } else { self.attributes() };
        let mut outcomes = vec![Outcome { claims: Vec::new() }];
        for &attribute in attributes {
            outcomes = outcomes
                .iter()
                .flat_map(|outcome| {
                    Claim::all(attribute).map(|claim| {
                        let mut claims = outcome.claims.clone();
                        claims.push(claim);
                        Outcome { claims }
                    })
                })
                .collect();
        }
        if attributes.contains(&Attribute::Malignancy) && attributes.len() > 1 {
            // Only what can occur: there are no benign nests and no malignant field without epithelium.
            outcomes.retain(|outcome| wording(&outcome.claims).is_some());
        }
        outcomes
    }

    /// The answer that is true of a field; `None` where the question does not apply.
    pub fn outcome(self, truth: &Truth, kind: QuestionKind) -> Option<Outcome> {
        self.outcomes(kind).into_iter().find(|outcome| outcome.holds(truth))
    }

    /// Four options with `right` among them, shuffled. Whatever the options are, each is right equally often when the
    /// right one is drawn evenly from the outcomes, so that they betray nothing.
    pub(super) fn options(self, right: &Outcome, rng: &mut impl Rng) -> Vec<Outcome> {
        let all = self.outcomes(QuestionKind::Choice);
        let mut options = if self == Self::TissueType {
            confusable(right, &all, rng)
        } else {
            let mut others: Vec<Outcome> = all.into_iter().filter(|o| o != right).collect();
            others.shuffle(rng);
            others.truncate(3);
            others.push(right.clone());
            others
        };
        options.shuffle(rng);
        options
    }

    /// Something else that could be claimed of a field of which `right` is true.
    pub(super) fn other(self, right: &Outcome, rng: &mut impl Rng) -> Outcome {
        let all = self.outcomes(QuestionKind::TrueFalse);
        let pool = if self == Self::TissueType { confusable(right, &all, rng) } else { all };
        let others: Vec<Outcome> = pool.into_iter().filter(|o| o != right).collect();
        others.choose(rng).expect("every topic has at least two outcomes").clone()
    }

    /// A readable field of which `outcome` is true. Half of the fields or more are epithelial where the question
    /// would otherwise be answered by the tissue type alone.
    pub(super) fn field_with(self, outcome: &Outcome, rng: &mut impl Rng) -> Truth {
        let epithelial: Vec<Pattern> = Pattern::ALL.iter().copied().filter(|p| p.is_epithelial()).collect();
        let prefers_epithelium =
            matches!(self, Self::Cellularity | Self::Mitosis | Self::Necrosis | Self::Inflammation);
        loop {
            let pool = if prefers_epithelium && rng.random_bool(0.75) { &epithelial } else { Pattern::ALL };
            let pattern = *pool.choose(rng).expect("there are patterns");
            let truth = Truth::sample_with(pattern, Quality::Sharp, rng);
            if outcome.holds(&truth) {
                return truth;
            }
        }
    }
}

/// Four tissue types that are easily taken for each other, `right` among them.
///
/// Option sets are drawn so that every member of a set is right equally often: 5/18 of the sets are the epithelial
/// patterns, 5/18 the acellular ones, 4/9 lymphoid tissue with any three others. Seen from the right answer, that is
/// its own family in 5 of 8 cases, and always a set with lymphoid tissue otherwise.
fn confusable(right: &Outcome, all: &[Outcome], rng: &mut impl Rng) -> Vec<Outcome> {
    let pattern = |outcome: &Outcome| Pattern::ALL[usize::from(outcome.claims[0].level)];
    let right_pattern = pattern(right);
    if right_pattern != Pattern::LymphoidAggregate && rng.random_bool(0.625) {
        let family = |p: Pattern| {
            p != Pattern::LymphoidAggregate && p.is_epithelial() == right_pattern.is_epithelial()
        };
        return all.iter().filter(|o| family(pattern(o))).cloned().collect();
    }
    let fixed = |o: &Outcome| o == right || pattern(o) == Pattern::LymphoidAggregate;
    let mut others: Vec<Outcome> = all.iter().filter(|o| !fixed(o)).cloned().collect();
    others.shuffle(rng);
    let mut options: Vec<Outcome> = all.iter().filter(|o| fixed(o)).cloned().collect();
    options.extend(others.into_iter().take(4 - options.len()));
    options
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::subtask::Subtasks;

    #[test]
    fn topics_are_the_shipped_subtasks() {
        let subtasks = Subtasks::shipped();
        let names: Vec<&str> = subtasks.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, Topic::ALL.iter().map(|t| t.name()).collect::<Vec<_>>());
    }

    #[test]
    fn exactly_one_outcome_holds_where_a_question_applies() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..2000 {
            let truth = Truth::sample(&mut rng);
            for &topic in Topic::ALL {
                for &kind in QuestionKind::ALL {
                    let holding = topic.outcomes(kind).iter().filter(|o| o.holds(&truth)).count();
                    assert!(holding <= 1, "{topic:?} {kind:?} {truth:?}");
                    let applies = truth.is_assessable()
                        && match (topic, kind) {
                            (Topic::NuclearFeatures | Topic::Stroma, _)
                            | (Topic::Inflammation, QuestionKind::Choice) => truth.pattern.is_epithelial(),
                            (Topic::BenignOrMalignant, _) => {
                                !matches!(truth.pattern, Pattern::Mucin | Pattern::Necrosis)
                            }
                            _ => true,
                        };
                    assert_eq!(holding == 1, applies, "{topic:?} {kind:?} {truth:?}");
                }
            }
        }
    }

    #[test]
    fn options_do_not_betray_the_right_one() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let all = Topic::TissueType.outcomes(QuestionKind::Choice);
        let mut right_in: BTreeMap<Vec<Outcome>, BTreeMap<Outcome, usize>> = BTreeMap::new();
        for _ in 0..40_000 {
            let right = all.choose(&mut rng).unwrap();
            let mut options = Topic::TissueType.options(right, &mut rng);
            assert_eq!(options.iter().filter(|o| *o == right).count(), 1);
            options.sort();
            *right_in.entry(options).or_default().entry(right.clone()).or_default() += 1;
        }
        for (options, counts) in &right_in {
            let total: usize = counts.values().sum();
            assert_eq!(options.len(), 4);
            if total > 4000 {
                for count in counts.values() {
                    let share = *count as f64 / total as f64;
                    assert!((share - 0.25).abs() < 0.02, "{options:?} {share}");
                }
            }
        }
        // Sets with lymphoid tissue are too many for each of them to be counted: taken together.
        let with_lymphoid: Vec<_> = right_in
            .iter()
            .filter(|(o, _)| o.iter().any(|o| o.claims[0].name() == "pattern.lymphoid_aggregate"))
            .collect();
        let total: usize = with_lymphoid.iter().flat_map(|(_, c)| c.values()).sum();
        let lymphoid: usize = with_lymphoid
            .iter()
            .flat_map(|(_, c)| c.iter())
            .filter(|(o, _)| o.claims[0].name() == "pattern.lymphoid_aggregate")
            .map(|(_, n)| n)
            .sum();
        assert!((lymphoid as f64 / total as f64 - 0.25).abs() < 0.02);
    }
}
