//! Rows of data sets as the policy learns from them: their token ids, their images' features, and the order in which they
//! come.
//!
//! Everything follows from the settings and the number of a step: which rows a step takes does not depend on how the
//! run came there.

use std::path::PathBuf;

use candle_core::Var;
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use reinpath_model::prompt::{END_OF_TURN, Prompt, user_text};

use crate::batch::{self, Answer, Batch, Sequence};
use crate::config::{DataSource, Optimisation};
use crate::dataset::{Purpose, SourceRow, read_sources};
use crate::error::{Error, Result};
use crate::event::measure;
use crate::features_cache::Features;
use crate::gradients::gradients;
use crate::init;
use crate::objective::supervised_loss;
use crate::policy::{ADAPTERS, Policy};
use crate::rows::Row;
use crate::seed;
use crate::trainer::{Context, Measures, Outlook, StepResult};

/// The rows of a stage with the features of their images.
pub(crate) struct Examples<'a> {
    pub(crate) context: &'a Context,
    /// Each row once.
    pub(crate) rows: Vec<SourceRow>,
    /// One pass over the data: places in `rows`.
    pub(crate) pass: Vec<usize>,
    /// Of each row, the numbers of its images.
    pub(crate) places: Vec<Vec<usize>>,
    /// Each once and sorted.
    pub(crate) images: Vec<PathBuf>,
    pub(crate) features: Features,
    end: u32,
}

impl<'a> Examples<'a> {
    /// Reads the rows of all sources that can be used for a purpose, of which `select` may take some, and computes the
    /// features of their images, where the cache has them not.
    ///
    /// # Errors
    /// Where no row is left, or an image cannot be read and the run's rule is to stop.
    pub(crate) fn read(
        context: &'a Context,
        sources: &[DataSource],
        purpose: Purpose,
        select: impl FnOnce(&[&Row]) -> Option<Vec<usize>>,
    ) -> Result<Self> {
        let read = read_sources(sources, purpose, context.config.seed)?;
        for (reason, count) in &read.left_out {
            let name = purpose.name();
            context
                .warn(&format!("{count} rows are of no use for the {name} and are left out: {reason}."))?;
        }
        let (mut rows, mut pass) = (read.rows, read.pass);
        let chosen = select(&rows.iter().map(|row| &row.row).collect::<Vec<_>>());
        if let Some(chosen) = chosen {
            keep(&mut rows, &mut pass, |place, _| chosen.binary_search(&place).is_ok());
        }
        let mut images: Vec<PathBuf> = rows.iter().flat_map(|row| row.images.iter().cloned()).collect();
        images.sort();
        images.dedup();
        let features = context.features(&images, &rows)?;
        let number = |image: &PathBuf| images.binary_search(image).ok();
        keep(&mut rows, &mut pass, |_, row| {
            row.images.iter().all(|image| number(image).is_some_and(|number| features.has(number)))
        });
        if pass.is_empty() {
            let name = purpose.name();
            return Err(Error::Setting(format!("no row is left for the {name}: look at its `data`")));
        }
        let places = rows.iter().map(|row| row.images.iter().filter_map(number).collect()).collect();
        let end = context.model.tokenizer.token(END_OF_TURN)?;
        Ok(Self { context, rows, pass, places, images, features, end })
    }

    /// The settings with as many steps as their epochs take. Tells where a batch is more than all rows.
    pub(crate) fn resolved(&self, optimisation: &Optimisation) -> Result<Optimisation> {
        let resolved = resolved(optimisation, self.pass.len())?;
        let (batch, rows) = (resolved.batch, self.rows.len());
        if rows < batch {
            self.context.warn(&format!(
                "A batch of {batch} is more than all rows, {rows}: the same row is there several times in each step."
            ))?;
        }
        Ok(resolved)
    }

    /// The prompt of a row with this question.
    pub(crate) fn prompt(&self, row: usize, question: &str) -> Result<Prompt> {
        let row = &self.rows[row].row;
        let context = row.context.as_deref().unwrap_or_default();
        let text = user_text(row.images.len(), context, question, &row.choices);
        Ok(self.context.model.tokenizer.prompt(&text)?)
    }

    /// A row with this question and an answer, whose tokens weigh what `weigh` says of the bytes that they stand for;
    /// `end` is the weight of the token that ends it.
    pub(crate) fn sequence(
        &self,
        row: usize,
        question: &str,
        answer: &str,
        weigh: impl Fn(&std::ops::Range<usize>) -> f32,
        end: f32,
    ) -> Result<Sequence> {
        let (mut ids, bytes) = self.context.model.tokenizer.encode_with_bytes(answer)?;
        ids.push(self.end);
        let weights = bytes.iter().map(weigh).chain([end]).collect();
        Ok(Sequence {
            prompt: self.prompt(row, question)?.segments,
            images: self.places[row].clone(),
            answers: vec![Answer { ids, weights }],
        })
    }

    /// Whether the language model can read a sequence.
    pub(crate) fn fits(&self, tokens: usize) -> bool {
        tokens <= self.context.model.llama.config.max_position_embeddings
    }

    /// What the steps will be, where `tokens` is the length of a row with its answer.
    pub(crate) fn outlook(
        &self,
        optimisation: &Optimisation,
        tokens: impl Fn(usize) -> Result<usize>,
    ) -> Outlook {
        let mut outlook = Outlook {
            rows: self.rows.len(),
            batch: optimisation.batch,
            at_once: at_once(optimisation.batch, optimisation.micro_batch, self.context),
            ..Outlook::default()
        };
        for (place, row) in self.rows.iter().enumerate() {
            // A row that has no tokens to count says so when it is trained on.
            let tokens = tokens(place).unwrap_or_default();
            outlook.too_long += usize::from(!self.fits(tokens));
            if tokens > outlook.longest {
                (outlook.longest, outlook.longest_row) = (tokens, row.row.id.clone());
            }
        }
        outlook
    }
}

/// Sequences that go through the model at once, on all workers together.
pub(crate) fn at_once(batch: usize, micro_batch: usize, context: &Context) -> usize {
    let most = if micro_batch == 0 { batch } else { micro_batch * context.config.compute.workers.max(1) };
    most.min(batch)
}

/// Keeps the rows that `is_kept` wants by their place, and what of a pass they are.
fn keep(rows: &mut Vec<SourceRow>, pass: &mut Vec<usize>, is_kept: impl Fn(usize, &SourceRow) -> bool) {
    let mut places = Vec::with_capacity(rows.len());
    let mut kept = Vec::new();
    for (place, row) in std::mem::take(rows).into_iter().enumerate() {
        let is_kept = is_kept(place, &row);
        places.push(is_kept.then_some(kept.len()));
        if is_kept {
            kept.push(row);
        }
    }
    *rows = kept;
    *pass = pass.iter().filter_map(|&place| places[place]).collect();
}

/// The settings with as many steps as their epochs take over `examples`.
fn resolved(optimisation: &Optimisation, examples: usize) -> Result<Optimisation> {
    let mut resolved = optimisation.clone();
    if resolved.batch == 0 {
        return Err(Error::Setting("a batch of 0 examples is none: `batch` must be at least 1".to_owned()));
    }
    if resolved.steps == 0 {
        resolved.steps = (resolved.epochs * examples as f64 / resolved.batch as f64).ceil().max(1.0) as usize;
    }
    Ok(resolved)
}

/// The order in which examples come: pass after pass, each shuffled in its own way.
pub(crate) struct Order {
    pass: Vec<usize>,
    seed: u64,
    /// The pass that was shuffled last, and its number.
    shuffled: Option<(u64, Vec<usize>)>,
}

impl Order {
    pub(crate) fn new(pass: Vec<usize>, seed: u64) -> Self {
        Self { pass, seed, shuffled: None }
    }

    /// The example at a place counted from the beginning of the stage.
    fn at(&mut self, place: usize) -> usize {
        let number = (place / self.pass.len()) as u64;
        if self.shuffled.as_ref().is_none_or(|(shuffled, _)| *shuffled != number) {
            let mut pass = self.pass.clone();
            pass.shuffle(&mut ChaCha8Rng::seed_from_u64(seed::of(self.seed, &["pass"], number)));
            self.shuffled = Some((number, pass));
        }
        let shuffled = self.shuffled.as_ref().map_or(&self.pass, |(_, pass)| pass);
        shuffled[place % self.pass.len()]
    }

    /// The examples of a batch, which is counted from the beginning of the stage.
    pub(crate) fn batch(&mut self, number: usize, size: usize) -> Vec<usize> {
        (number * size..(number + 1) * size).map(|place| self.at(place)).collect()
    }
}

/// What learns of the projector and of the adapters, each with its multiple of the learning rate; `None` learns not.
pub(crate) fn learning(
    policy: &Policy,
    projector: Option<f64>,
    adapters: Option<f64>,
    looks: f64,
) -> Vec<(Var, f64)> {
    let rate = |name: &str| match name {
        name if !name.starts_with(ADAPTERS) => projector.unwrap_or_default(),
        name if init::is_look(name) => adapters.unwrap_or_default() * looks,
        _ => adapters.unwrap_or_default(),
    };
    let learning = policy.learning(projector.is_some(), adapters.is_some());
    learning.map(|(name, var)| (var.clone(), rate(name))).collect()
}

/// A step of supervised learning on sequences, those that are too long left out.
pub(crate) fn supervised_step(
    examples: &Examples<'_>,
    policy: &Policy,
    learning: &[(Var, f64)],
    sequences: Vec<Sequence>,
    optimisation: &Optimisation,
) -> Result<StepResult> {
    let (shape, compute) = (policy.model.shape, &examples.context.config.compute);
    let all = sequences.len();
    let sequences: Vec<Sequence> =
        sequences.into_iter().filter(|sequence| examples.fits(sequence.longest(shape.tokens))).collect();
    let mut warnings = Vec::new();
    if sequences.len() < all {
        warnings.push("A row is longer than the language model reads and is left out.".to_owned());
    }
    let parts = batch::parts(&sequences, optimisation.micro_batch, compute.workers)
        .into_iter()
        .map(|part| Batch::new(&sequences[part], shape, |image| examples.features.of(image)))
        .collect::<Result<Vec<_>>>()?;
    if parts.is_empty() {
        return Err(Error::Features(
            "every row of a batch is longer than the language model reads".to_owned(),
        ));
    }
    let total: f64 = parts.iter().flat_map(|part| &part.weights).map(|&weight| f64::from(weight)).sum();
    let learning: Vec<Var> = learning.iter().map(|(var, _)| var.clone()).collect();
    let outcome = gradients(&policy.model, &learning, &parts, compute, |part, log_probabilities| {
        Ok((supervised_loss(log_probabilities, &parts[part].weights, total)?, ()))
    })?;
    let tokens: usize = parts.iter().map(|part| part.targets.len()).sum();
    let measures = Measures::from([
        (measure::TOKENS.to_owned(), tokens as f64),
        (measure::ENTROPY.to_owned(), outcome.entropy),
    ]);
    Ok(StepResult { gradients: outcome.gradients, measures, rollouts: Vec::new(), warnings })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_comes_once_in_a_pass_and_its_order_follows_from_the_place_alone() {
        let mut order = Order::new(vec![4, 5, 6, 6], 1);
        let taken: Vec<usize> = (0..12).map(|place| order.at(place)).collect();
        for pass in taken.chunks(4) {
            let mut sorted = pass.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, [4, 5, 6, 6]);
        }
        assert!(taken[..4] != taken[4..8] || taken[4..8] != taken[8..]);
        let mut other = Order::new(vec![4, 5, 6, 6], 1);
        assert_eq!((7..12).map(|place| other.at(place)).collect::<Vec<_>>(), taken[7..]);
    }

    #[test]
    fn epochs_become_steps_where_no_steps_are_said() {
        let settings = |text: &str| toml::from_str::<Optimisation>(text).unwrap();
        assert_eq!(resolved(&settings("batch = 4\nepochs = 1.5"), 10).unwrap().steps, 4);
        assert_eq!(resolved(&settings("batch = 4\nsteps = 7"), 10).unwrap().steps, 7);
        assert_eq!(resolved(&settings("batch = 4"), 1).unwrap().steps, 1);
        assert!(resolved(&settings("batch = 0"), 1).unwrap_err().to_string().contains("`batch`"));
    }
}
