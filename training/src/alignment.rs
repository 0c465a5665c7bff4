//! Stage 1, feature alignment (paper, section 2.3): the projector learns to say what the encoders see in the language
//! model's own terms. Each caption is the answer to a question drawn from a predefined set; the loss is on the caption.
//!
//! LLaVA's "plain" form leaves the question out (`preprocess_plain`, haotian-liu/LLaVA); the paper draws one, so that the
//! prompt is a chat here.

use std::path::PathBuf;

use candle_core::Var;

use crate::batch::Sequence;
use crate::config::{AlignmentConfig, Optimisation};
use crate::dataset::{Purpose, answer_text};
use crate::error::{Error, Result};
use crate::example::{Examples, Order, learning, supervised_step};
use crate::policy::Policy;
use crate::subtask::Subtasks;
use crate::trainer::{Context, Learner, Outlook, StepResult, Watch};

/// The stage.
pub(crate) struct Alignment<'a> {
    config: &'a AlignmentConfig,
    optimisation: Optimisation,
    examples: Examples<'a>,
    order: Order,
    questions: Vec<String>,
}

impl<'a> Alignment<'a> {
    /// Reads the captions and the questions.
    pub(crate) fn new(context: &'a Context, config: &'a AlignmentConfig) -> Result<Self> {
        let examples = Examples::read(context, &config.data, Purpose::Alignment, |_| None)?;
        let questions = match &config.questions {
            None => Subtasks::shipped().general,
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
                text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
            }
        };
        if questions.is_empty() {
            return Err(Error::Setting("`alignment.questions` has no question".to_owned()));
        }
        Ok(Self {
            optimisation: examples.resolved(&config.optimisation)?,
            order: Order::new(examples.pass.clone(), context.seed(&["alignment"], 0)),
            config,
            examples,
            questions,
        })
    }

    /// The row that stands at a place of the order, with the question drawn for it there.
    fn sequence(&self, row: usize, place: usize) -> Result<Sequence> {
        let drawn = self.examples.context.seed(&["alignment", "question"], place as u64);
        let question = &self.questions[(drawn % self.questions.len() as u64) as usize];
        let source = &self.examples.rows[row].row;
        // A caption with a question of its own keeps it.
        let question = source.question.as_ref().filter(|own| !own.trim().is_empty()).unwrap_or(question);
        let answer = answer_text(source).unwrap_or_default();
        self.examples.sequence(row, question, &answer, |_| 1.0, 1.0)
    }
}

impl Learner for Alignment<'_> {
    fn name(&self) -> &'static str {
        "alignment"
    }

    fn optimisation(&self) -> &Optimisation {
        &self.optimisation
    }

    fn learning(&self, policy: &Policy) -> Vec<(Var, f64)> {
        let adapters = self.config.adapters.then_some(self.config.adapter_rate);
        learning(policy, Some(1.0), adapters, self.config.looks_rate)
    }

    fn step(&mut self, step: usize, policy: &Policy, _watch: &Watch<'_>) -> Result<StepResult> {
        let batch = self.optimisation.batch;
        let rows = self.order.batch(step, batch).into_iter().zip(step * batch..);
        let sequences = rows.map(|(row, place)| self.sequence(row, place)).collect::<Result<_>>()?;
        supervised_step(&self.examples, policy, &self.learning(policy), sequences, &self.optimisation)
    }

    fn images(&self) -> &[PathBuf] {
        &self.examples.images
    }

    fn outlook(&self) -> Outlook {
        let tokens = self.examples.features.shape().tokens;
        self.examples.outlook(&self.optimisation, |row| Ok(self.sequence(row, row)?.longest(tokens)))
    }
}
