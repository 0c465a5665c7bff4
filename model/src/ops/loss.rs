//! Cross-entropy of next-token predictions.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::{exp, is_plain, values, with_values};

/// `Σ weight · -log softmax(logits)[target]` over the rows of `logits` (rows, vocabulary): a scalar.
///
/// Rows of weight 0 cost nothing. Divide the weights by what the loss is averaged over.
pub fn cross_entropy(logits: &Tensor, targets: &[u32], weights: &[f32]) -> Result<Tensor> {
    let (rows, vocabulary) = logits.dims2()?;
    if targets.len() != rows || weights.len() != rows || targets.iter().any(|&t| t as usize >= vocabulary) {
        candle_core::bail!("cross-entropy of {rows} × {vocabulary} logits with {} targets", targets.len());
    }
    if is_plain(logits) {
        let op = CrossEntropy { targets: Arc::new(targets.to_vec()), weights: Arc::new(weights.to_vec()) };
        return logits.contiguous()?.apply_op1(op);
    }
    let targets = Tensor::from_slice(targets, (rows, 1), logits.device())?;
    let weights = Tensor::from_slice(weights, (rows, 1), logits.device())?;
    let logits = logits.to_dtype(candle_core::DType::F32)?;
    let log_sum = logits.log_sum_exp(1)?.unsqueeze(1)?;
    ((log_sum - logits.gather(&targets, 1)?)? * weights)?.sum_all()
}

struct CrossEntropy {
    targets: Arc<Vec<u32>>,
    weights: Arc<Vec<f32>>,
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let vocabulary = layout.dims()[1];
        let mut loss = 0.0f64;
        for (i, row) in values(logits, layout)?.chunks_exact(vocabulary).enumerate() {
            if self.weights[i] != 0.0 {
                let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f32 = row.iter().map(|&x| exp(x - max)).sum();
                loss += f64::from(self.weights[i] * (max + sum.ln() - row[self.targets[i] as usize]));
            }
        }
        Ok((CpuStorage::F32(vec![loss as f32]), Shape::from(())))
    }

    fn bwd(&self, logits: &Tensor, _loss: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.to_scalar::<f32>()?;
        let (_, vocabulary) = logits.dims2()?;
        let d = with_values(logits, |logits| {
            let mut d = vec![0.0; logits.len()];
            let rows = logits.chunks_exact(vocabulary).zip(d.chunks_exact_mut(vocabulary));
            for (i, (row, d)) in rows.enumerate() {
                let weight = self.weights[i] * grad;
                if weight != 0.0 {
                    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    d.iter_mut().zip(row).for_each(|(d, &x)| *d = exp(x - max));
                    let scale = weight / d.iter().sum::<f32>();
                    for d in d.iter_mut() {
                        *d *= scale;
                    }
                    d[self.targets[i] as usize] -= weight;
                }
            }
            d
        })?;
        Ok(Some(Tensor::from_vec(d, logits.dims(), logits.device())?))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Result, Tensor};

    use super::super::tests::{agree, sample};
    use super::cross_entropy;

    #[test]
    fn agrees_with_primitives() -> Result<()> {
        let (targets, weights) = (vec![1u32, 0, 4], vec![0.5f32, 0.0, 2.0]);
        agree(
            &[sample(&[3, 5], 1)?],
            |a| cross_entropy(&a[0], &targets, &weights)?.reshape(1),
            |a| {
                let log_probabilities = a[0].broadcast_sub(&a[0].log_sum_exp(1)?.unsqueeze(1)?)?;
                let picked =
                    log_probabilities.gather(&Tensor::new(&[[1u32], [0], [4]], a[0].device())?, 1)?;
                (picked * Tensor::new(&[[-0.5f32], [0.0], [-2.0]], a[0].device())?)?.sum_all()?.reshape(1)
            },
        )
    }
}
