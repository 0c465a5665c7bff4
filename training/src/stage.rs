//! The loop that all stages share: shuffle, gradient in parts, update, event.

use std::time::Instant;

use candle_core::{Tensor, Var};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use crate::config::Optimisation;
use crate::error::{Error, Result};
use crate::event::{EventSink, RunEvent, Step};
use crate::optimiser::AdamW;
use crate::parallel::{PARTS, gradients};

/// A stage's name, setting and random numbers.
#[derive(Debug)]
pub struct StagePlan<'a> {
    pub name: &'static str,
    pub optimisation: &'a Optimisation,
    pub seed: u64,
}

/// Order in which examples are taken: every example once, then again in another order.
#[derive(Debug)]
pub struct Shuffle {
    order: Vec<usize>,
    next: usize,
    rng: ChaCha8Rng,
}

impl Shuffle {
    /// Over `count` examples.
    pub fn new(count: usize, seed: u64) -> Self {
        Self { order: (0..count).collect(), next: count, rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// The next `n` examples.
    pub fn take(&mut self, n: usize) -> Vec<usize> {
        (0..n)
            .map(|_| {
                if self.next >= self.order.len() {
                    self.order.shuffle(&mut self.rng);
                    self.next = 0;
                }
                self.next += 1;
                self.order[self.next - 1]
            })
            .collect()
    }
}

/// Trains `vars` (each with a multiple of the learning rate): at each step `batch` gives the parts of a batch, and
/// `loss` a part's share of the loss, the shares adding up to the batch's.
pub fn train<B: Sync>(
    plan: &StagePlan<'_>,
    vars: Vec<(Var, f64)>,
    sink: &mut EventSink,
    mut batch: impl FnMut(usize) -> Result<[B; PARTS]>,
    loss: impl Fn(&B) -> candle_core::Result<Tensor> + Sync,
) -> Result<()> {
    let setting = plan.optimisation;
    sink.send(&RunEvent::Stage { stage: plan.name.to_owned(), steps: setting.steps })?;
    let mut optimiser = AdamW::new(vars, setting);
    let begin = Instant::now();
    for step in 0..setting.steps {
        let parts = batch(step)?;
        let gradients = gradients(optimiser.vars(), |part| loss(&parts[part]))?;
        let learning_rate = setting.rate(step);
        let gradient_norm = optimiser.update(&gradients, learning_rate)?;
        if !(gradients.loss.is_finite() && gradient_norm.is_finite()) {
            return Err(Error::NotANumber { stage: plan.name.to_owned(), step: step + 1 });
        }
        sink.send(&RunEvent::Step(Step {
            stage: plan.name.to_owned(),
            step: step + 1,
            loss: gradients.loss,
            learning_rate,
            gradient_norm,
            secs: begin.elapsed().as_secs_f64(),
            measures: std::collections::BTreeMap::new(),
        }))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Shuffle;

    #[test]
    fn every_example_comes_once_in_each_pass() {
        let mut shuffle = Shuffle::new(10, 1);
        let first = shuffle.take(10);
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        assert_ne!(first, shuffle.take(10));
    }
}
