//! Gradients of a policy over the parts of a batch, layer by layer: without a graph of the whole model, so that a layer's
//! activations are either kept in the least form that its way back needs or made again from what it read.
//!
//! Parts go one after another, or each worker takes every so manieth; their gradients are added up in a fixed order, so
//! that a run gives the same numbers whatever the machine does. The gradient of a log-probability's hidden state is known
//! when the log-probability is (`ops/log_probabilities.rs` of the model), so that logits exist once, a block at a time.

use std::collections::HashMap;

use candle_core::{DType, Device, Storage, Tensor, TensorId, Var};
use reinpath_model::llama::{Kept, Pass};
use reinpath_model::ops::{self, Predictions};

use crate::batch::Batch;
use crate::config::Compute;
use crate::error::Result;
use crate::parallel::Gradients;
use crate::policy::Model;

/// What a batch's parts gave.
#[derive(Debug)]
pub struct Outcome<M> {
    /// Of each variable, in the order in which they were named, and the parts' losses added up.
    pub gradients: Gradients,
    /// Mean entropy of the predictions, nats a token.
    pub entropy: f64,
    /// What the loss told beside, part by part.
    pub measures: Vec<M>,
}

/// Adds up the gradients of `loss` over the parts of a batch, with regard to the variables in `learning`.
///
/// `loss` gets the number of a part and the log-probabilities of its targets, (targets) in f32 on the CPU with a
/// gradient; it returns the part's share of the whole loss, a scalar, and whatever it measured. A loss that is no number
/// ends the part: the sum is then none either, and its gradients are of no use.
pub fn gradients<M: Send>(
    model: &Model,
    learning: &[Var],
    parts: &[Batch],
    compute: &Compute,
    loss: impl Fn(usize, &Tensor) -> Result<(Tensor, M)> + Sync,
) -> Result<Outcome<M>> {
    let adapters = model.llama.adapter_ids();
    let learns = learning.iter().any(|var| adapters.contains(&var.id()));
    let worker = |worker: usize, workers: usize| -> Result<(Sums, Vec<Told<M>>)> {
        let mut sums = Sums::new(learning);
        let mut told = Vec::new();
        for (number, batch) in parts.iter().enumerate().skip(worker).step_by(workers) {
            let part = Part { model, batch, learns, recompute: compute.recompute };
            told.push(part.learn(learning, &mut sums, |x| loss(number, x))?);
        }
        Ok((sums, told))
    };
    let mut of_workers = shared(model, parts.len(), compute, &worker)?.into_iter();
    let (mut sums, told) = of_workers.next().unwrap_or_else(|| (Sums::new(learning), Vec::new()));
    let mut told_by_others = Vec::new();
    for (other, told) in of_workers {
        sums.add_all(&other);
        told_by_others.push(told.into_iter());
    }
    // Worker 0 has the parts 0, n, 2 n …, worker 1 the parts 1, n + 1, …
    let mut in_order = Vec::with_capacity(parts.len());
    for first in told {
        in_order.push(first);
        in_order.extend(told_by_others.iter_mut().filter_map(Iterator::next));
    }
    let targets: usize = parts.iter().map(|batch| batch.targets.len()).sum();
    let entropy = in_order.iter().map(|told| told.entropy).sum::<f64>() / targets.max(1) as f64;
    let loss = in_order.iter().map(|told| told.loss).sum();
    let gradients = Gradients { values: sums.values.into_iter().map(Some).collect(), loss };
    Ok(Outcome { gradients, entropy, measures: in_order.into_iter().map(|told| told.measures).collect() })
}

/// Predictions of each part's targets by a policy that does not learn, such as the reference.
pub fn predictions(model: &Model, parts: &[Batch], compute: &Compute) -> Result<Vec<Predictions>> {
    let worker = |worker: usize, workers: usize| -> Result<Vec<Predictions>> {
        parts.iter().skip(worker).step_by(workers).map(|batch| model.predictions(batch)).collect()
    };
    let mut of_workers: Vec<_> =
        shared(model, parts.len(), compute, &worker)?.into_iter().map(Vec::into_iter).collect();
    let workers = of_workers.len().max(1);
    Ok((0..parts.len()).filter_map(|part| of_workers.get_mut(part % workers)?.next()).collect())
}

/// Runs `work(worker, workers)` on as many threads as are asked for and have something to do, each with a share of the
/// processor of its own; on this one with all of it where that is one.
fn shared<R: Send>(
    model: &Model,
    parts: usize,
    compute: &Compute,
    work: &(impl Fn(usize, usize) -> Result<R> + Sync),
) -> Result<Vec<R>> {
    let workers = if model.device.is_cpu() { compute.workers.clamp(1, parts.max(1)) } else { 1 };
    if workers == 1 {
        return Ok(vec![ops::as_a_worker(|| work(0, 1))?]);
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..workers).map(|i| scope.spawn(move || ops::alone(|| Ok(work(i, workers))))).collect();
        threads
            .into_iter()
            .map(|thread| {
                let panicked = "a training thread panicked";
                thread.join().unwrap_or_else(|_| Err(candle_core::Error::Msg(panicked.to_owned())))?
            })
            .collect()
    })
}

/// What is told of a part.
struct Told<M> {
    loss: f64,
    /// Sum over its predictions.
    entropy: f64,
    measures: M,
}

/// Gradients that are added up, by variable.
struct Sums {
    places: HashMap<TensorId, usize>,
    values: Vec<Vec<f32>>,
}

impl Sums {
    fn new(vars: &[Var]) -> Self {
        let places = vars.iter().enumerate().map(|(place, var)| (var.id(), place)).collect();
        Self { places, values: vars.iter().map(|var| vec![0.0; var.elem_count()]).collect() }
    }

    /// Adds the gradient of a variable, if it is one that learns.
    fn add(&mut self, var: TensorId, gradient: &Tensor) -> Result<()> {
        let Some(&place) = self.places.get(&var) else { return Ok(()) };
        let gradient = gradient.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.contiguous()?;
        let (storage, layout) = gradient.storage_and_layout();
        let (Storage::Cpu(values), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else {
            return Err(candle_core::Error::Msg("a gradient is not in main memory".to_owned()).into());
        };
        add_to(&mut self.values[place], &values.as_slice::<f32>()?[start..end]);
        Ok(())
    }

    fn add_all(&mut self, other: &Self) {
        for (sum, values) in self.values.iter_mut().zip(&other.values) {
            add_to(sum, values);
        }
    }
}

fn add_to(sum: &mut [f32], values: &[f32]) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

/// What is remembered of a layer for its way back.
enum Memory {
    /// What it keeps.
    Kept(Kept),
    /// What it read: the rest is made again.
    Read(Tensor),
}

/// A part of a batch on its way through the model.
struct Part<'a> {
    model: &'a Model,
    batch: &'a Batch,
    /// Whether adapters learn.
    learns: bool,
    recompute: bool,
}

impl Part<'_> {
    fn learn<M>(
        &self,
        learning: &[Var],
        sums: &mut Sums,
        loss: impl Fn(&Tensor) -> Result<(Tensor, M)>,
    ) -> Result<Told<M>> {
        let Self { model, batch, .. } = *self;
        let images = model.images(batch)?;
        let pass = model.pass(batch)?;
        let (memory, last) = self.forward(model.read(batch, images.as_ref())?, &pass)?;
        let predictions = model.predict(batch, &last, true)?;
        let entropy = predictions.entropies.iter().map(|&entropy| f64::from(entropy)).sum();
        let leaf = Var::from_vec(predictions.log_probabilities, batch.targets.len(), &Device::Cpu)?;
        let (loss, measures) = loss(leaf.as_tensor())?;
        let told =
            Told { loss: f64::from(loss.to_dtype(DType::F32)?.to_scalar::<f32>()?), entropy, measures };
        let slope = loss.backward()?.remove(leaf.as_tensor());
        let (Some(slope), Some(slopes)) = (slope, predictions.slopes) else { return Ok(told) };
        // Where all answers earned the same there is nothing to go back for.
        if !told.loss.is_finite() || slope.abs()?.max_all()?.to_scalar::<f32>()? == 0.0 {
            return Ok(told);
        }
        let slope = slope.detach().to_device(&model.device)?.unsqueeze(1)?;
        let grad = slopes.broadcast_mul(&slope)?.to_dtype(model.llama.dtype())?;
        drop(slopes);
        let grad = added_rows(&grad, &model.indices(&batch.from)?, batch.wanted.len())?;
        let grad = model.llama.final_norm_back(&last, &grad)?;
        drop(last);
        let grad = self.back(memory, grad, &pass, sums)?;
        if let Some(images) = images {
            self.images_back(&images, &grad, learning, sums)?;
        }
        Ok(told)
    }

    /// All layers; returns what is remembered of each, and the last one's result.
    fn forward(&self, mut x: Tensor, pass: &Pass) -> Result<(Vec<Memory>, Tensor)> {
        let llama = &self.model.llama;
        let mut memory = Vec::with_capacity(self.model.layers());
        for layer in 0..self.model.layers() {
            let kept = llama.begin_layer(layer, &x, pass)?;
            let y = llama.end_layer(layer, &kept)?;
            memory.push(if self.recompute { Memory::Read(x) } else { Memory::Kept(kept) });
            x = y;
        }
        Ok((memory, x))
    }

    /// All layers back, each forgotten when it is done; returns the gradient of what the first read.
    fn back(
        &self,
        mut memory: Vec<Memory>,
        mut grad: Tensor,
        pass: &Pass,
        sums: &mut Sums,
    ) -> Result<Tensor> {
        let llama = &self.model.llama;
        let mut learnt = Vec::new();
        while let Some(own) = memory.pop() {
            let layer = memory.len();
            let kept = match own {
                Memory::Kept(kept) => kept,
                Memory::Read(x) => llama.begin_layer(layer, &x, pass)?,
            };
            grad = llama.layer_back(layer, &kept, &grad, pass, self.learns.then_some(&mut learnt))?;
            for (var, gradient) in learnt.drain(..) {
                sums.add(var, &gradient)?;
            }
        }
        Ok(grad)
    }

    /// The projector's way back, by candle's graph of it.
    fn images_back(&self, images: &Tensor, grad: &Tensor, learning: &[Var], sums: &mut Sums) -> Result<()> {
        if !images.track_op() {
            return Ok(());
        }
        let Self { model, batch, .. } = *self;
        let own = grad.index_select(&model.indices(&batch.image_at)?, 0)?.to_dtype(DType::F32)?;
        let own = added_rows(&own, &model.indices(&batch.image_rows)?, images.dim(0)?)?;
        let store = (images * own)?.sum_all()?.backward()?;
        for var in learning {
            if let Some(gradient) = store.get(var) {
                sums.add(var.id(), gradient)?;
            }
        }
        Ok(())
    }
}

/// `count` rows of zeros to which the rows of `x` are added where `rows` says.
fn added_rows(x: &Tensor, rows: &Tensor, count: usize) -> Result<Tensor> {
    let zeros = Tensor::zeros((count, x.dim(1)?), x.dtype(), x.device())?;
    Ok(zeros.index_add(rows, x, 0)?)
}

#[cfg(test)]
mod tests;
