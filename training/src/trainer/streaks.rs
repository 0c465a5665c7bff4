//! Batches in a row from which nothing can be learnt: no answer earned anything, or all were cut off.

use std::fmt;

use reinpath_model::event::Stop;

use crate::checkpoint::Streaks;
use crate::config::{OnTrouble, TroubleRule};
use crate::rollout_record::{AnswerRecord, RolloutRecord};

/// What happened too often in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// With the number of batches.
    NoReward(usize),
    CutOff(usize),
}

impl Trouble {
    pub(super) fn rule(self, rules: &TroubleRule) -> OnTrouble {
        match self {
            Self::NoReward(_) => rules.no_reward,
            Self::CutOff(_) => rules.cut_off,
        }
    }

    /// Name of the setting that decides.
    pub(super) fn setting(self) -> &'static str {
        match self {
            Self::NoReward(_) => "no_reward",
            Self::CutOff(_) => "cut_off",
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoReward(1) => write!(f, "No answer of a batch earned anything"),
            Self::NoReward(n) => write!(f, "No answer of {n} batches in a row earned anything"),
            Self::CutOff(1) => write!(f, "All answers of a batch were cut off at the longest length"),
            Self::CutOff(n) => {
                write!(f, "All answers of {n} batches in a row were cut off at the longest length")
            }
        }
    }
}

/// Counts a batch; what has now lasted for `patience` batches is told and counted anew. A step without answers of its
/// own changes nothing.
pub(super) fn observe(streaks: &mut Streaks, rollouts: &[RolloutRecord], patience: usize) -> Vec<Trouble> {
    let patience = patience.max(1);
    let all = |is_bad: fn(&AnswerRecord) -> bool| rollouts.iter().flat_map(|r| &r.answers).all(is_bad);
    let mut troubles = Vec::new();
    if rollouts.iter().all(|rollout| rollout.answers.is_empty()) {
        return troubles;
    }
    let kinds = [
        (&mut streaks.no_reward, all(|answer| answer.reward <= 0.0), Trouble::NoReward(patience)),
        (&mut streaks.cut_off, all(|answer| answer.stop == Stop::MaxTokens), Trouble::CutOff(patience)),
    ];
    for (streak, is_bad, trouble) in kinds {
        *streak = if is_bad { *streak + 1 } else { 0 };
        if *streak >= patience {
            *streak = 0;
            troubles.push(trouble);
        }
    }
    troubles
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(answers: &[(f64, Stop)]) -> Vec<RolloutRecord> {
        let answer = |&(reward, stop): &(f64, Stop)| AnswerRecord {
            text: String::new(),
            tokens: 1,
            stop,
            logprob: 0.0,
            rewards: std::collections::BTreeMap::new(),
            reward,
            advantage: 0.0,
            is_right: false,
        };
        let record = |answers: &[(f64, Stop)]| RolloutRecord {
            answers: answers.iter().map(answer).collect(),
            ..RolloutRecord::default()
        };
        answers.chunks(2).map(record).collect()
    }

    #[test]
    fn only_batches_in_a_row_are_trouble() {
        let mut streaks = Streaks::default();
        let nothing = batch(&[(0.0, Stop::End), (-0.1, Stop::End), (0.0, Stop::MaxTokens)]);
        let something = batch(&[(0.0, Stop::End), (0.0, Stop::End), (0.5, Stop::End)]);
        for rollouts in [&nothing, &nothing, &something, &nothing, &nothing] {
            assert!(observe(&mut streaks, rollouts, 3).is_empty());
        }
        assert!(observe(&mut streaks, &[], 3).is_empty(), "an update from the same answers");
        assert_eq!(observe(&mut streaks, &nothing, 3), [Trouble::NoReward(3)]);
        assert_eq!(streaks, Streaks::default(), "and it is counted anew");
    }

    #[test]
    fn answers_that_are_all_cut_off_are_told_apart() {
        let mut streaks = Streaks::default();
        let cut_off = batch(&[(1.0, Stop::MaxTokens), (2.0, Stop::MaxTokens)]);
        let both = batch(&[(0.0, Stop::MaxTokens), (0.0, Stop::MaxTokens)]);
        assert_eq!(observe(&mut streaks, &cut_off, 1), [Trouble::CutOff(1)]);
        assert_eq!(observe(&mut streaks, &both, 1), [Trouble::NoReward(1), Trouble::CutOff(1)]);
        let rules = TroubleRule { cut_off: OnTrouble::Stop, ..TroubleRule::default() };
        assert_eq!(Trouble::CutOff(1).rule(&rules), OnTrouble::Stop);
        assert_eq!(Trouble::NoReward(1).rule(&rules), OnTrouble::Warn);
    }
}
