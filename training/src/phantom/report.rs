//! The figures of a whole benchmark: the scores of single answers added up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::score::{AnswerScore, ConclusionKind};
use crate::statistics::wilson_95;

/// So many right of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub right: usize,
    pub total: usize,
}

impl Tally {
    /// Counts one more.
    pub fn add(&mut self, is_right: bool) {
        self.right += usize::from(is_right);
        self.total += 1;
    }

    /// The share that is right; `None` of nothing.
    pub fn share(self) -> Option<f64> {
        (self.total > 0).then(|| self.right as f64 / self.total as f64)
    }

    /// Wilson's 95 % interval of the share; `None` of nothing.
    pub fn wilson_95(self) -> Option<(f64, f64)> {
        wilson_95(self.right, self.total)
    }
}

/// The scores of a whole benchmark.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PhantomReport {
    /// Conclusions that are right.
    pub overall: Tally,
    pub by_kind: BTreeMap<String, Tally>,
    pub by_subtask: BTreeMap<String, Tally>,
    /// By sub-task and right answer.
    pub by_class: BTreeMap<String, Tally>,
    pub stages_present: Tally,
    /// Conclusions from which nothing could be read.
    pub parse_failures: usize,
    /// Statements in Observations that are true, by attribute.
    pub attributes: BTreeMap<String, Tally>,
    /// Statements in Observations that are true, together.
    pub claims: Tally,
    /// Fields that cannot be read and were answered so.
    pub cannot_be_assessed: Tally,
    /// Readable fields that were answered “cannot be assessed” (`right` counts these mistakes).
    pub wrongly_declined: Tally,
}

impl PhantomReport {
    /// Adds up the scores of single answers.
    pub fn new<'a>(scores: impl IntoIterator<Item = &'a AnswerScore>) -> Self {
        let mut report = Self::default();
        for score in scores {
            report.add(score);
        }
        report
    }

    fn add(&mut self, score: &AnswerScore) {
        self.overall.add(score.is_right);
        let count = |tallies: &mut BTreeMap<String, Tally>, key: &str| {
            tallies.entry(key.to_owned()).or_default().add(score.is_right);
        };
        count(&mut self.by_kind, score.kind.name());
        count(&mut self.by_subtask, score.subtask);
        count(&mut self.by_class, &score.class);
        self.stages_present.add(score.has_all_stages);
        self.parse_failures += usize::from(score.conclusion == ConclusionKind::Unreadable);
        for (claim, holds) in &score.claims {
            self.attributes.entry(claim.attribute.name().to_owned()).or_default().add(*holds);
            self.claims.add(*holds);
        }
        if score.is_assessable {
            self.wrongly_declined.add(score.conclusion == ConclusionKind::CannotBeAssessed);
        } else {
            self.cannot_be_assessed.add(score.is_right);
        }
    }

    /// The mean over the classes of the share that is right; `None` of nothing.
    pub fn balanced_accuracy(&self) -> Option<f64> {
        let shares: Vec<f64> = self.by_class.values().filter_map(|tally| tally.share()).collect();
        (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
    }

    /// The attribute that is stated falsely most often, with its tally.
    pub fn weakest_attribute(&self) -> Option<(&str, Tally)> {
        let share = |tally: &Tally| tally.share().unwrap_or(1.0);
        self.attributes
            .iter()
            .min_by(|a, b| share(a.1).total_cmp(&share(b.1)))
            .map(|(name, tally)| (name.as_str(), *tally))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_know_their_interval() {
        let (low, high) = Tally { right: 90, total: 100 }.wilson_95().unwrap();
        assert!((low - 0.8256).abs() < 1e-3 && (high - 0.9448).abs() < 1e-3, "{low} {high}");
        assert_eq!(Tally::default().wilson_95(), None);
        let (low, high) = Tally { right: 5, total: 5 }.wilson_95().unwrap();
        assert!(low > 0.5 && high <= 1.0);
    }
}
