//! The loss of stage 3 with its gradient, token by token (paper, equations 5 to 8).
//!
//! Both are computed here in f64 from the log-probabilities, which are few, and given to the graph as a scalar: the
//! same on every device, and no long chain of small operations to keep for the way back.

use std::ops::AddAssign;

use candle_core::{Result, Tensor, bail};
use reinpath_model::event::Stop;

use crate::config::{Aggregation, GrpoConfig, KlEstimator, RatioLevel};

/// The answers of a micro-batch, their tokens one after another.
#[derive(Clone, Copy, Debug)]
pub struct Answers<'a> {
    /// (tokens) log-probabilities under the policy that wrote the answers.
    pub old: &'a [f32],
    /// (tokens) those under the reference policy. Needed where the distance to it weighs something.
    pub reference: Option<&'a [f32]>,
    /// (tokens) which of the answers each token belongs to. Never falls.
    pub answer_of: &'a [usize],
    /// (answers)
    pub advantages: &'a [f64],
    /// (answers) whether an answer is in the loss at all; see [`kept`].
    pub kept: &'a [bool],
}

/// What the loss of a micro-batch is a share of: the whole batch of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Answers, also those that are left out of the loss.
    pub answers: usize,
    /// Tokens of the answers that are in the loss.
    pub tokens: usize,
}

impl Totals {
    /// Of a batch with answers of these lengths in tokens.
    pub fn new(lengths: &[usize], kept: &[bool]) -> Self {
        let tokens = lengths.iter().zip(kept).filter(|(_, kept)| **kept).map(|(length, _)| length).sum();
        Self { answers: lengths.len(), tokens }
    }
}

/// What is measured beside the loss. Sums, so that those of micro-batches can be added.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossMeasures {
    /// Tokens in the loss.
    pub tokens: usize,
    /// Ratios in the loss: tokens, or answers where the ratio is that of answers.
    pub ratios: usize,
    /// Ratios beyond a bound at which they are held, so that they have no gradient.
    pub clipped: usize,
    /// The estimated distance to the reference policy, added up over tokens; `None` without a reference.
    pub kl_sum: Option<f64>,
}

impl LossMeasures {
    /// Mean distance to the reference policy a token; `None` where it was not measured.
    pub fn kl(&self) -> Option<f64> {
        Some(self.kl_sum? / self.tokens.max(1) as f64)
    }

    /// Share of ratios that are held.
    pub fn clipped_share(&self) -> f64 {
        self.clipped as f64 / self.ratios.max(1) as f64
    }
}

impl AddAssign for LossMeasures {
    fn add_assign(&mut self, other: Self) {
        self.tokens += other.tokens;
        self.ratios += other.ratios;
        self.clipped += other.clipped;
        if let Some(sum) = other.kl_sum {
            *self.kl_sum.get_or_insert(0.0) += sum;
        }
    }
}

/// Which answers are in the loss: all, or those that were not cut off.
pub fn kept(stops: &[Stop], mask_cut_off: bool) -> Vec<bool> {
    stops.iter().map(|stop| !mask_cut_off || *stop == Stop::End).collect()
}

/// A micro-batch's share of the loss of an update, as a scalar whose sum over the micro-batches is the update's loss,
/// and what was measured.
///
/// `new` is (tokens), in f32, the log-probabilities of the answers' tokens under the policy that learns, at the
/// temperature at which the answers were drawn. A token's loss is `−min(ρ·A, clip(ρ)·A) + β·KL`, where the ratio `ρ`
/// and what divides the sum are those of `config`. An answer whose advantage is 0 has no policy gradient, whatever its
/// ratio; the distance to the reference keeps its own. A ratio that is too large for a number makes the loss infinite
/// and is not hidden here.
pub fn policy_loss(
    new: &Tensor,
    answers: &Answers<'_>,
    totals: Totals,
    config: &GrpoConfig,
) -> Result<(Tensor, LossMeasures)> {
    let values = new.to_vec1::<f32>()?;
    check(values.len(), answers, config)?;
    let TokenLoss { value, slopes, measures } = token_loss(&values, answers, totals, config);
    let slopes = Tensor::from_vec(slopes, values.len(), new.device())?;
    // Zero in value, `slopes` in gradient.
    let moved = (new - new.detach())?;
    Ok((((moved * slopes)?.sum_all()? + value)?, measures))
}

fn check(tokens: usize, answers: &Answers<'_>, config: &GrpoConfig) -> Result<()> {
    let has_all =
        answers.old.len() == tokens && answers.reference.is_none_or(|values| values.len() == tokens);
    if !has_all {
        bail!(
            "{tokens} tokens of answers have old or reference log-probabilities of another number of tokens"
        );
    }
    if answers.answer_of.len() != tokens || !answers.answer_of.is_sorted() {
        bail!("the tokens of answers are not in the order of the answers");
    }
    let count = answers.advantages.len();
    if answers.kept.len() != count || answers.answer_of.last().is_some_and(|&last| last >= count) {
        bail!("there are {count} advantages for {} answers", answers.kept.len());
    }
    if config.kl_weight != 0.0 && answers.reference.is_none() {
        bail!("the distance to the reference policy has a weight, but its log-probabilities are missing");
    }
    Ok(())
}

struct TokenLoss {
    value: f64,
    /// (tokens) the derivative of the value by each log-probability.
    slopes: Vec<f32>,
    measures: LossMeasures,
}

fn token_loss(new: &[f32], answers: &Answers<'_>, totals: Totals, config: &GrpoConfig) -> TokenLoss {
    let mut value = 0.0;
    let mut slopes = vec![0.0; new.len()];
    let in_loss = answers.answer_of.iter().filter(|&&answer| answers.kept[answer]).count();
    let mut measures =
        LossMeasures { tokens: in_loss, kl_sum: answers.reference.map(|_| 0.0), ..LossMeasures::default() };
    let here = Totals { answers: answers.advantages.len(), tokens: in_loss };
    let mut end = 0;
    for run in answers.answer_of.chunk_by(|a, b| a == b) {
        let tokens = end..end + run.len();
        end = tokens.end;
        let answer = run[0];
        if !answers.kept[answer] {
            continue;
        }
        let weight = token_weight(run.len(), here, totals, config);
        let log_ratios: Vec<f64> =
            tokens.clone().map(|at| f64::from(new[at]) - f64::from(answers.old[at])).collect();
        let terms = terms(&log_ratios, answers.advantages[answer], config, &mut measures);
        for (at, term) in tokens.zip(terms) {
            let (kl, kl_slope) = match answers.reference {
                Some(reference) => distance(f64::from(new[at]) - f64::from(reference[at]), config.kl),
                None => (0.0, 0.0),
            };
            if let Some(sum) = &mut measures.kl_sum {
                *sum += kl;
            }
            // Not multiplied where it weighs nothing: infinity times 0 is no number.
            let (kl, kl_slope) = if config.kl_weight == 0.0 {
                (0.0, 0.0)
            } else {
                (config.kl_weight * kl, config.kl_weight * kl_slope)
            };
            value += weight * (term.value + kl);
            slopes[at] = (weight * (term.slope + kl_slope)) as f32;
        }
    }
    TokenLoss { value, slopes, measures }
}

/// What each token of an answer of `length` tokens weighs in the sum.
fn token_weight(length: usize, here: Totals, totals: Totals, config: &GrpoConfig) -> f64 {
    let all_answers = totals.answers.max(1) as f64;
    match config.aggregation {
        Aggregation::Grpo => 1.0 / (all_answers * length as f64),
        // The mean over this micro-batch, which counts as much as it has answers: TRL's mean over equal micro-batches.
        Aggregation::Bnpo => here.answers as f64 / all_answers / here.tokens.max(1) as f64,
        Aggregation::DrGrpo => 1.0 / (all_answers * config.max_tokens.max(1) as f64),
        Aggregation::Dapo => 1.0 / totals.tokens.max(1) as f64,
    }
}

/// What a token adds before it is weighed, and the derivative of its answer's sum by its log-probability.
#[derive(Clone, Copy)]
struct Term {
    value: f64,
    slope: f64,
}

/// The policy's part for each token of one answer.
fn terms(log_ratios: &[f64], advantage: f64, config: &GrpoConfig, measures: &mut LossMeasures) -> Vec<Term> {
    let mut held = |log_ratio: f64| {
        let (term, is_held) = clipped(log_ratio, advantage, config);
        measures.ratios += 1;
        measures.clipped += usize::from(is_held);
        term
    };
    let length = log_ratios.len() as f64;
    let sum: f64 = log_ratios.iter().sum();
    // One ratio for all tokens: each carries the answer's term, so that each log-probability moves all of them.
    let of_answer = match config.ratio {
        RatioLevel::Token => return log_ratios.iter().map(|&log_ratio| held(log_ratio)).collect(),
        RatioLevel::Sequence => {
            let term = held(sum);
            Term { slope: term.slope * length, ..term }
        }
        RatioLevel::SequenceMean => held(sum / length),
    };
    vec![of_answer; log_ratios.len()]
}

/// `−min(ρ·A, clip(ρ)·A)` with its derivative by log ρ, and whether ρ is held at a bound.
fn clipped(log_ratio: f64, advantage: f64, config: &GrpoConfig) -> (Term, bool) {
    if advantage == 0.0 {
        return (Term { value: 0.0, slope: 0.0 }, false);
    }
    let ratio = log_ratio.exp();
    let (bound, is_held) = if advantage > 0.0 {
        (1.0 + config.clip_high, ratio > 1.0 + config.clip_high)
    } else {
        (1.0 - config.clip_low, ratio < 1.0 - config.clip_low)
    };
    if is_held {
        (Term { value: -bound * advantage, slope: 0.0 }, true)
    } else {
        (Term { value: -ratio * advantage, slope: -ratio * advantage }, false)
    }
}

/// An estimate of the distance to the reference policy from log π − log π_ref, and its derivative by log π.
fn distance(difference: f64, estimator: KlEstimator) -> (f64, f64) {
    match estimator {
        KlEstimator::K1 => (difference, 1.0),
        KlEstimator::K2 => (0.5 * difference * difference, difference),
        // exp_m1: the two ones cancel where the policies are close.
        KlEstimator::K3 => ((-difference).exp_m1() + difference, -(-difference).exp_m1()),
    }
}

#[cfg(test)]
mod tests;
