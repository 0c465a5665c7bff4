//! Log-probabilities of given tokens, from hidden states, without logits that are kept.
//!
//! The logits of all tokens of a batch are the largest thing in a training step. Here those of a block of rows exist at a
//! time. They need not be made again on the way back either: the log-probability of a row follows from its own hidden
//! state alone, so that its slope, `(W[target] − Σ p W) / temperature`, can be taken while the probabilities are there.
//! The gradient of a hidden state is then its slope times the gradient of its log-probability.

#![expect(clippy::inline_always, reason = "it is compiled with the vectors of the function that calls it")]

use candle_core::{DType, Device, Result, Tensor, bail};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::gemm::{Matrix as View, multiply};
use super::{exp, is_plain, rows, with_values};
use crate::tensors::Matrix;

/// Values of logits that exist at a time. The head is read anew for each block: few rows would cost as much as many.
const LOGITS: usize = 1 << 24;
/// Rows of a block at least.
const FEWEST_ROWS: usize = 64;
/// Rows of a block at most.
const MOST_ROWS: usize = 2048;
/// Rows of a quantised head that are in full precision at a time.
const HEAD_ROWS: usize = 4096;

/// What is told of a prediction of each target.
#[derive(Clone, Debug)]
pub struct Predictions {
    /// Natural logarithm of the target's probability.
    pub log_probabilities: Vec<f32>,
    /// Entropy of the prediction, nats.
    pub entropies: Vec<f32>,
    /// How each log-probability changes with the hidden state that it follows from, (targets, hidden) in f32; where it
    /// was asked for.
    pub slopes: Option<Tensor>,
}

/// Predictions of `targets` from hidden states (targets, hidden) through a frozen head (vocabulary, hidden), the logits
/// divided by `temperature`. Nothing is remembered: the way back is [`Predictions::slopes`], made where `with_slopes`.
pub fn log_probabilities(
    hidden: &Tensor,
    head: &Matrix,
    targets: &[u32],
    temperature: f64,
    with_slopes: bool,
) -> Result<Predictions> {
    let (rows, width) = hidden.dims2()?;
    let (vocabulary, head_width) = head.dims()?;
    if rows != targets.len() || width != head_width || targets.iter().any(|&t| t as usize >= vocabulary) {
        bail!(
            "log-probabilities of {} targets from {:?} through {vocabulary} × {head_width}",
            targets.len(),
            hidden.dims()
        );
    }
    if !(temperature.is_finite() && temperature > 0.0) {
        bail!("log-probabilities at the temperature {temperature}");
    }
    let at_a_time = (LOGITS / vocabulary.max(1)).clamp(FEWEST_ROWS, MOST_ROWS);
    match head {
        Matrix::Full(weight) if is_plain(hidden) && is_plain(weight) => with_values(hidden, |hidden| {
            with_values(weight, |weight| {
                let head = Head { weight, vocabulary, width, inverse: (1.0 / temperature) as f32 };
                head.predict(hidden, targets, at_a_time, with_slopes)
            })
        })??,
        _ => with_primitives(&hidden.detach(), head, targets, temperature, at_a_time, with_slopes),
    }
}

/// A head in f32 in main memory.
struct Head<'a> {
    weight: &'a [f32],
    vocabulary: usize,
    width: usize,
    /// Of the temperature.
    inverse: f32,
}

impl Head<'_> {
    fn predict(
        &self,
        hidden: &[f32],
        targets: &[u32],
        at_a_time: usize,
        with_slopes: bool,
    ) -> Result<Predictions> {
        let (width, vocabulary) = (self.width, self.vocabulary);
        let weight = View::new(self.weight, vocabulary, width, width);
        let mut logits = vec![0.0; at_a_time.min(targets.len()) * vocabulary];
        let mut slopes = vec![0.0; if with_slopes { hidden.len() } else { 0 }];
        let (mut log_probabilities, mut entropies) =
            (Vec::with_capacity(targets.len()), Vec::with_capacity(targets.len()));
        for (block, targets) in targets.chunks(at_a_time).enumerate() {
            let (rows, at) = (targets.len(), block * at_a_time * width);
            let logits = &mut logits[..rows * vocabulary];
            let block = View::new(&hidden[at..], rows, width, width);
            multiply(logits, vocabulary, block, weight.t(), 0.0, self.inverse);
            let told: Vec<(f32, f32)> = logits
                .par_chunks_exact_mut(vocabulary)
                .zip(targets.par_iter())
                .map(|(row, &target)| Arch::new().dispatch(Row { row, target: target as usize }))
                .collect();
            log_probabilities.extend(told.iter().map(|(log_probability, _)| log_probability));
            entropies.extend(told.iter().map(|(_, entropy)| entropy));
            if with_slopes {
                let slopes = &mut slopes[at..][..rows * width];
                let probabilities = View::new(logits, rows, vocabulary, vocabulary);
                multiply(slopes, width, probabilities, weight, 0.0, -self.inverse);
                for (slope, &target) in slopes.chunks_exact_mut(width).zip(targets) {
                    let own = &self.weight[target as usize * width..][..width];
                    slope.iter_mut().zip(own).for_each(|(slope, own)| *slope += own * self.inverse);
                }
            }
        }
        let slopes = if with_slopes {
            Some(Tensor::from_vec(slopes, (targets.len(), width), &Device::Cpu)?)
        } else {
            None
        };
        Ok(Predictions { log_probabilities, entropies, slopes })
    }
}

/// A row of logits, which become probabilities; told are the target's log-probability and the entropy.
struct Row<'a> {
    row: &'a mut [f32],
    target: usize,
}

impl WithSimd for Row<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> (f32, f32) {
        let max = rows::largest(self.row);
        let target = self.row[self.target] - max;
        let weighted = rows::sum(self.row, |x| exp(x - max) * (x - max));
        for x in self.row.iter_mut() {
            *x = exp(*x - max);
        }
        let sum = rows::sum(self.row, |x| x);
        let inverse = 1.0 / sum;
        for x in self.row.iter_mut() {
            *x *= inverse;
        }
        (target - sum.ln(), sum.ln() - weighted * inverse)
    }
}

fn with_primitives(
    hidden: &Tensor,
    head: &Matrix,
    targets: &[u32],
    temperature: f64,
    at_a_time: usize,
    with_slopes: bool,
) -> Result<Predictions> {
    let (mut log_probabilities, mut entropies, mut slopes) = (Vec::new(), Vec::new(), Vec::new());
    for (block, targets) in targets.chunks(at_a_time).enumerate() {
        let x = hidden.narrow(0, block * at_a_time, targets.len())?.contiguous()?;
        let logits = (head.apply(&x, None)?.to_dtype(DType::F32)? / temperature)?.detach();
        let ids = Tensor::from_slice(targets, targets.len(), hidden.device())?;
        let log_sum = logits.log_sum_exp(1)?;
        let picked = logits.gather(&ids.unsqueeze(1)?, 1)?.squeeze(1)?;
        let probabilities = logits.broadcast_sub(&log_sum.unsqueeze(1)?)?.exp()?;
        let mean = (&probabilities * &logits)?.sum(1)?;
        log_probabilities.extend((picked - &log_sum)?.to_vec1::<f32>()?);
        entropies.extend((log_sum - mean)?.to_vec1::<f32>()?);
        if with_slopes {
            let own = head.rows(&ids)?.to_dtype(DType::F32)?;
            let slope = ((own - mean_row(head, &probabilities)?)? / temperature)?;
            slopes.push(slope.detach());
        }
    }
    let slopes = match slopes.as_slice() {
        [] if with_slopes => Some(hidden.to_dtype(DType::F32)?),
        [] => None,
        slopes => Some(Tensor::cat(slopes, 0)?),
    };
    Ok(Predictions { log_probabilities, entropies, slopes })
}

/// The mean of a head's rows by each row of probabilities (rows, vocabulary): (rows, hidden) in f32.
fn mean_row(head: &Matrix, probabilities: &Tensor) -> Result<Tensor> {
    let (vocabulary, width) = head.dims()?;
    if let Matrix::Full(weight) = head {
        let weight = weight.detach();
        return probabilities.to_dtype(weight.dtype())?.matmul(&weight)?.to_dtype(DType::F32);
    }
    let device = probabilities.device();
    let mut sum = Tensor::zeros((probabilities.dim(0)?, width), DType::F32, device)?;
    for at in (0..vocabulary).step_by(HEAD_ROWS) {
        let count = HEAD_ROWS.min(vocabulary - at);
        let ids = Tensor::arange(at as u32, (at + count) as u32, device)?;
        let part = probabilities.narrow(1, at, count)?.contiguous()?;
        sum = (sum + part.matmul(&head.rows(&ids)?.to_dtype(DType::F32)?)?)?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::quantized::GgmlDType;
    use candle_core::{D, Result, Tensor, Var};

    use super::super::tests::sample;
    use super::{Head, log_probabilities, with_primitives};
    use crate::quantised::Quantised;
    use crate::tensors::Matrix;

    const TARGETS: [u32; 7] = [3, 0, 49, 3, 20, 7, 8];

    fn off(a: &Tensor, b: &Tensor) -> Result<f32> {
        assert_eq!(a.dims(), b.dims());
        (a - b)?.abs()?.max_all()?.to_scalar()
    }

    /// Log-probabilities and entropies of the graph, and the gradient of the hidden states of a weighted sum.
    fn by_graph(hidden: &Var, head: &Tensor, weights: &Tensor) -> Result<[Tensor; 3]> {
        let logits = (hidden.matmul(&head.t()?)? / 0.7)?;
        let all = logits.broadcast_sub(&logits.log_sum_exp(1)?.unsqueeze(1)?)?;
        let ids = Tensor::from_slice(&TARGETS, (7, 1), hidden.device())?;
        let picked = all.gather(&ids, 1)?.squeeze(1)?;
        let entropy = (all.exp()? * &all)?.sum(D::Minus1)?.neg()?;
        let store = (&picked * weights)?.sum_all()?.backward()?;
        Ok([picked.detach(), entropy.detach(), store.get(hidden).unwrap().clone()])
    }

    #[test]
    fn values_entropies_and_slopes_are_those_of_the_graph_in_blocks_too() -> Result<()> {
        let hidden = Var::from_tensor(&(sample(&[7, 12], 1)?.as_tensor() * 2.0)?)?;
        let head = (sample(&[50, 12], 2)?.as_tensor() * 2.0)?.detach();
        let weights = sample(&[7], 3)?.as_tensor().detach();
        let [values, entropies, gradient] = by_graph(&hidden, &head, &weights)?;
        let whole = log_probabilities(&hidden, &Matrix::Full(head.clone()), &TARGETS, 0.7, true)?;
        let flat = head.flatten_all()?.to_vec1::<f32>()?;
        let blocks = Head { weight: &flat, vocabulary: 50, width: 12, inverse: (1.0 / 0.7) as f32 };
        let blocks = blocks.predict(&hidden.flatten_all()?.to_vec1::<f32>()?, &TARGETS, 3, true)?;
        let matrix = Matrix::Full(head);
        let primitives = with_primitives(&hidden.detach(), &matrix, &TARGETS, 0.7, 3, true)?;
        for told in [whole, blocks, primitives] {
            let of = |values: Vec<f32>| Tensor::from_vec(values, 7, hidden.device());
            assert!(off(&of(told.log_probabilities)?, &values)? < 1e-5);
            let far = off(&of(told.entropies)?, &entropies)?;
            // The difference of two numbers that are larger.
            assert!(far < 1e-4, "{far} of {entropies}");
            let slopes = told.slopes.unwrap();
            assert!(!slopes.track_op());
            assert!(off(&slopes.broadcast_mul(&weights.unsqueeze(1)?)?, &gradient)? < 1e-5);
        }
        let without = log_probabilities(&hidden, &matrix, &TARGETS, 0.7, false)?;
        assert!(without.slopes.is_none());
        Ok(())
    }

    #[test]
    fn a_quantised_head_tells_nearly_the_same() -> Result<()> {
        let hidden = (sample(&[7, 32], 1)?.as_tensor() * 2.0)?.detach();
        let head = sample(&[50, 32], 2)?.as_tensor().detach();
        let quantised = Matrix::Quantised(Arc::new(Quantised::of(&head, GgmlDType::Q8_0, None)?));
        let near = log_probabilities(&hidden, &quantised, &TARGETS, 1.0, true)?;
        let exact = log_probabilities(&hidden, &Matrix::Full(head), &TARGETS, 1.0, true)?;
        for (near, exact) in near.log_probabilities.iter().zip(&exact.log_probabilities) {
            assert!((near - exact).abs() < 0.05, "{near} {exact}");
        }
        assert!(off(&near.slopes.unwrap(), &exact.slopes.unwrap())? < 0.05);
        Ok(())
    }

    #[test]
    fn what_cannot_be_predicted_is_refused() -> Result<()> {
        let (hidden, head) = (sample(&[2, 12], 1)?, sample(&[50, 12], 2)?);
        let head = Matrix::Full(head.as_tensor().detach());
        let refused = |targets: &[u32], temperature: f64| {
            log_probabilities(&hidden, &head, targets, temperature, false).is_err()
        };
        assert!(!refused(&[0, 49], 1.0));
        assert!(refused(&[0, 50], 1.0) && refused(&[0], 1.0));
        assert!(refused(&[0, 1], 0.0) && refused(&[0, 1], f64::NAN));
        Ok(())
    }
}
