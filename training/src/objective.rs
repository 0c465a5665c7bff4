//! What the stages make smaller, as pure functions: likelihoods of given answers (stages 1 and 2), and the objective of
//! group relative policy optimisation (stage 3; paper, equations 4 to 8).
//!
//! The formulas and their constants are TRL's (`trl/trainer/grpo_trainer.py`, at d2b69d76), for they are what published
//! runs used. Where the paper's printed formulas differ from them or among themselves:
//!
//! - Equation 8 prints its bounds the wrong way round; they are read as 1 − ε and 1 + ε.
//! - Equation 7 takes the ratio of whole answers, a product over tokens ([`RatioLevel::Sequence`]); TRL has the token's
//!   and the geometric mean.
//! - Equation 6 weighs the distance to the reference policy once an answer; it is taken as the mean over its tokens.
//!
//! Nothing here knows a model: log-probabilities come in, a scalar with its gradient goes out.
//!
//! [`RatioLevel::Sequence`]: crate::config::RatioLevel::Sequence

mod advantage;
mod policy_loss;

pub use self::advantage::{advantages, are_alike, deviation, spreads};
pub use self::policy_loss::{Answers, LossMeasures, Totals, kept, policy_loss};

use candle_core::{Result, Tensor, bail};

/// `Σ weight · −log π` over the tokens of given answers: the loss of stages 1 and 2.
///
/// `log_probabilities` is (tokens), with a gradient; `total` is what the whole batch's weights add up to, so that the
/// losses of its micro-batches add up to the weighted mean.
pub fn supervised_loss(log_probabilities: &Tensor, weights: &[f32], total: f64) -> Result<Tensor> {
    let tokens = log_probabilities.dims1()?;
    if weights.len() != tokens {
        bail!("{tokens} log-probabilities have {} weights", weights.len());
    }
    if !(total.is_finite() && total > 0.0) {
        bail!("the weights of a batch's tokens add up to {total}");
    }
    let weights = weights.iter().map(|&weight| (-f64::from(weight) / total) as f32).collect::<Vec<_>>();
    let weights = Tensor::from_vec(weights, tokens, log_probabilities.device())?;
    (log_probabilities * weights)?.sum_all()
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Result, Tensor, Var};

    use super::supervised_loss;

    #[test]
    fn parts_of_a_batch_add_up_to_its_weighted_mean() -> Result<()> {
        let values = [-1.0f32, -2.0, -0.5, -4.0];
        let weights = [1.0f32, 2.0, 0.0, 1.0];
        let all = Var::from_tensor(&Tensor::new(&values, &Device::Cpu)?)?;
        let loss = supervised_loss(&all, &weights, 4.0)?;
        assert!((loss.to_scalar::<f32>()? - 9.0 / 4.0).abs() < 1e-6);
        let store = loss.backward()?;
        let gradient = store.get(&all).unwrap().to_vec1::<f32>()?;
        assert_eq!(gradient, [-0.25, -0.5, 0.0, -0.25]);
        let mut sum = 0.0;
        for at in 0..4 {
            let part = Tensor::new(&values[at..=at], &Device::Cpu)?;
            sum += supervised_loss(&part, &weights[at..=at], 4.0)?.to_scalar::<f32>()?;
        }
        assert!((sum - 9.0 / 4.0).abs() < 1e-6);
        Ok(())
    }

    #[test]
    fn a_batch_without_weight_is_refused() -> Result<()> {
        let values = Tensor::new(&[-1.0f32], &Device::Cpu)?;
        assert!(supervised_loss(&values, &[0.0], 0.0).is_err());
        assert!(supervised_loss(&values, &[1.0, 1.0], 2.0).is_err());
        Ok(())
    }
}
