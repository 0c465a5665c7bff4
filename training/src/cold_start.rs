//! Stage 2, cold start (paper, section 2.3): projector and adapters learn to answer in three stages, from rows with
//! staged answers. The loss is on the answer alone.

use std::ops::Range;
use std::path::PathBuf;

use candle_core::Var;
use reinpath_model::stage::AnswerStage;

use crate::batch::Sequence;
use crate::config::{ColdStartConfig, Optimisation};
use crate::dataset::{Purpose, answer_text, emphasised, question, select};
use crate::error::Result;
use crate::example::{Examples, Order, learning, supervised_step};
use crate::policy::Policy;
use crate::rows::{Row, RowAnswer};
use crate::trainer::{Context, Learner, Outlook, StepResult, Watch};

/// The stage.
pub(crate) struct ColdStart<'a> {
    config: &'a ColdStartConfig,
    optimisation: Optimisation,
    examples: Examples<'a>,
    order: Order,
}

impl<'a> ColdStart<'a> {
    /// Reads the rows, and takes part of them where the settings say so.
    pub(crate) fn new(context: &'a Context, config: &'a ColdStartConfig) -> Result<Self> {
        let seed = context.config.seed;
        let chosen = |rows: &[&Row]| config.select.map(|count| select(rows, count, seed));
        let examples = Examples::read(context, &config.data, Purpose::ColdStart, chosen)?;
        Ok(Self {
            optimisation: examples.resolved(&config.optimisation)?,
            order: Order::new(examples.pass.clone(), context.seed(&["cold_start"], 0)),
            config,
            examples,
        })
    }

    fn sequence(&self, row: usize) -> Result<Sequence> {
        let source = &self.examples.rows[row].row;
        let answer = answer_text(source).unwrap_or_default();
        let conclusion = conclusion(source, &answer);
        let emphasis = emphasised(&answer, &source.emphasis);
        let weigh = |token: &Range<usize>| {
            if token.end > conclusion {
                self.config.conclusion_weight
            } else if emphasis.iter().any(|part| token.start < part.end && part.start < token.end) {
                self.config.emphasis_weight
            } else {
                1.0
            }
        };
        let end = if conclusion < answer.len() { self.config.conclusion_weight } else { 1.0 };
        self.examples.sequence(row, question(source), &answer, weigh, end)
    }
}

/// Where the text of the conclusion begins in an answer's text; its end where it has none.
fn conclusion(row: &Row, text: &str) -> usize {
    match &row.answer {
        Some(RowAnswer::Staged(staged)) => {
            let conclusion = staged.stage(AnswerStage::Conclusion).trim();
            text.rfind(conclusion).filter(|_| !conclusion.is_empty()).unwrap_or(text.len())
        }
        _ => text.len(),
    }
}

impl Learner for ColdStart<'_> {
    fn name(&self) -> &'static str {
        "cold_start"
    }

    fn optimisation(&self) -> &Optimisation {
        &self.optimisation
    }

    fn learning(&self, policy: &Policy) -> Vec<(Var, f64)> {
        learning(policy, Some(self.config.projector_rate), Some(1.0), self.config.looks_rate)
    }

    fn step(&mut self, step: usize, policy: &Policy, _watch: &Watch<'_>) -> Result<StepResult> {
        let rows = self.order.batch(step, self.optimisation.batch);
        let sequences = rows.into_iter().map(|row| self.sequence(row)).collect::<Result<_>>()?;
        supervised_step(&self.examples, policy, &self.learning(policy), sequences, &self.optimisation)
    }

    fn images(&self) -> &[PathBuf] {
        &self.examples.images
    }

    fn outlook(&self) -> Outlook {
        let tokens = self.examples.features.shape().tokens;
        self.examples.outlook(&self.optimisation, |row| Ok(self.sequence(row)?.longest(tokens)))
    }
}
