//! Gradients of a batch in parts, one thread each.
//!
//! The models trained here are small: their products are too small to share between threads, and the passes between
//! them are not shared at all. So each thread takes its part of the batch through the whole model. The parts and the
//! order of their sum are fixed, so that a run gives the same numbers whatever the machine does.

use candle_core::{Result, Tensor, Var};
use reinpath_model::ops::alone;

/// Parts of a batch; two cores are the machine these runs are made for.
pub const PARTS: usize = 2;

/// Gradients by variable, `None` where there is none, and the loss.
#[derive(Debug)]
pub struct Gradients {
    pub values: Vec<Option<Vec<f32>>>,
    pub loss: f64,
}

/// Runs `loss(part)` for each part on a thread of its own and adds up losses and gradients.
pub fn gradients(vars: &[Var], loss: impl Fn(usize) -> Result<Tensor> + Sync) -> Result<Gradients> {
    let part = |part: usize| -> Result<Gradients> {
        let loss = loss(part)?;
        let store = loss.backward()?;
        let value = |var: &Var| store.get(var).map(|g| g.flatten_all()?.to_vec1::<f32>()).transpose();
        let values = vars.iter().map(value).collect::<Result<_>>()?;
        Ok(Gradients { values, loss: f64::from(loss.to_scalar::<f32>()?) })
    };
    let part = &part;
    let parts: Vec<Result<Gradients>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..PARTS).map(|i| scope.spawn(move || alone(|| part(i)))).collect();
        threads
            .into_iter()
            .map(|t| {
                t.join().unwrap_or_else(|_| Err(candle_core::Error::Msg("a training thread panicked".into())))
            })
            .collect()
    });
    let mut total = Gradients { values: vars.iter().map(|_| None).collect(), loss: 0.0 };
    for part in parts {
        let part = part?;
        total.loss += part.loss;
        for (sum, values) in total.values.iter_mut().zip(part.values) {
            match (sum, values) {
                (_, None) => {}
                (sum @ None, values) => *sum = values,
                (Some(sum), Some(values)) => sum.iter_mut().zip(values).for_each(|(s, v)| *s += v),
            }
        }
    }
    Ok(total)
}
