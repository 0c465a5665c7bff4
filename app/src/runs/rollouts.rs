//! Rollouts of a run: which steps have some, and their records, read when they are looked at.

use std::path::PathBuf;

use reinpath_training::rollout_record::RolloutRecord;

/// Steps with rollouts, in the order in which they were written. Each has a file of its own, a record a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolloutIndex {
    pub steps: Vec<RolloutStep>,
}

/// The rollouts of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolloutStep {
    pub stage: String,
    pub step: usize,
    /// Absolute.
    pub file: PathBuf,
    pub questions: usize,
}

/// What the answers to one row were, over the steps at which it was asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowHistory {
    pub row: String,
    /// In the order of the steps.
    pub records: Vec<RolloutRecord>,
    /// Steps that were not looked through, as too many.
    pub left_out: usize,
}
