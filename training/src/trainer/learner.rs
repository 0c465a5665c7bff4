//! What a stage brings to the loop.

use std::path::PathBuf;

use candle_core::Var;

use super::{Measures, Watch};
use crate::config::Optimisation;
use crate::error::Result;
use crate::parallel::Gradients;
use crate::policy::Policy;
use crate::rollout_record::RolloutRecord;

/// A stage of a run, as the loop sees it.
///
/// Everything follows from the configuration, the policy and the number of the step, so that nothing of a learner is in
/// a checkpoint.
pub trait Learner {
    /// Name of the stage, as in events and in the names of files: `alignment`, `cold_start`, `grpo`.
    fn name(&self) -> &'static str;

    /// Its settings; `steps` is how many there are, whatever `epochs` said.
    fn optimisation(&self) -> &Optimisation;

    /// What learns, each with its multiple of the learning rate: some of the policy's variables.
    fn learning(&self, policy: &Policy) -> Vec<(Var, f64)>;

    /// Told once, before the first step that this process takes, of the policy as it entered the stage, also in a run
    /// that goes on from the middle of the stage: a reference policy is made of it.
    fn enter(&mut self, _policy: &Policy) -> Result<()> {
        Ok(())
    }

    /// Loss and gradients of a step, counted from 0. [`crate::error::Error::Stopped`] from it means that the step was not
    /// done because the run is asked to stop.
    fn step(&mut self, step: usize, policy: &Policy, watch: &Watch<'_>) -> Result<StepResult>;

    /// Whether the step after this one (counted from 0) needs nothing that this one left in memory, such as answers
    /// that several updates are made from. Always so after the last step.
    fn may_pause_after(&self, _step: usize) -> bool {
        true
    }

    /// The image files of the rows, each once and sorted: their features say what the package knows.
    fn images(&self) -> &[PathBuf];

    /// What a step will be, for the dry run.
    fn outlook(&self) -> Outlook;

    /// Does on real rows, once, what the stage does that is not a step of the optimiser: GRPO computes rewards of the
    /// reference answers, and of answers that the policy writes. For the dry run.
    fn rehearse(&mut self, _policy: &Policy, _watch: &Watch<'_>) -> Result<Rehearsed> {
        Ok(Rehearsed::default())
    }
}

/// What came out when a stage was rehearsed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rehearsed {
    /// Each is a finding of the dry run with which nothing is wrong.
    pub sentences: Vec<String>,
    /// Answers that the policy wrote, a record a question; their step is 0. Empty where the stage draws none.
    pub records: Vec<RolloutRecord>,
    /// Most tokens that these answers could have, where a run lets them have more.
    pub shortened_to: Option<usize>,
}

/// What a step computed.
#[derive(Debug)]
pub struct StepResult {
    /// Of the variables that [`Learner::learning`] names, in its order; with the loss.
    pub gradients: Gradients,
    /// By the names in [`crate::event::measure`].
    pub measures: Measures,
    /// Answers that were drawn in this step, a record a question; empty where none were.
    pub rollouts: Vec<RolloutRecord>,
    /// Sentences; the loop counts and tells them.
    pub warnings: Vec<String>,
}

/// What the steps of a stage will be, as known before the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    pub rows: usize,
    /// Rows or questions of an update.
    pub batch: usize,
    /// Sequences that go through the model at once, on all workers together.
    pub at_once: usize,
    /// Tokens of the longest sequence, image tokens with them: prompt and answer, or prompt and longest answer allowed.
    pub longest: usize,
    /// Id of the row that it belongs to.
    pub longest_row: String,
    /// Rows that are longer than the language model reads.
    pub too_long: usize,
    /// Answers that are written at once; 0 where none are.
    pub answers: usize,
    /// Whether a frozen copy of the adapters is kept to compare with.
    pub has_reference: bool,
}
