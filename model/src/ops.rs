//! The few operations that the encoders and the language model are made of, each with its gradient.
//!
//! Candle's own fused operations drop the gradient silently, and its primitive ones take many passes over memory. Each
//! operation here is one pass forward and one back on the CPU in f32, so that training and inference are the same
//! code; on other devices and in other precisions it is written with candle's primitives. Gradients are checked
//! against finite differences and against the primitives in the tests of each file.
//!
//! An operation and its `…_back` are for those who go back through a model themselves, layer by layer, without candle's
//! graph (`llama/pass.rs`): nothing is kept that they do not keep.

mod activation;
#[cfg(target_arch = "x86_64")]
mod amx;
mod attention;
mod few;
mod gemm;
#[cfg(target_arch = "x86_64")]
mod lanes;
mod linear;
mod log_probabilities;
mod loss;
mod norm;
mod packed;
mod pages;
mod products;
mod rope;
mod rows;
#[cfg(target_arch = "x86_64")]
mod share;

pub use activation::{gelu, silu_mul, silu_mul_back};
pub use attention::{
    Attention, Span, attention, attention_in_spans, attention_in_spans_back, attention_probabilities,
    self_attention,
};
pub use linear::linear;
pub use log_probabilities::{Predictions, log_probabilities};
pub use loss::cross_entropy;
pub use norm::{layer_norm, rms_norm, rms_norm_back};
pub use packed::{Packed, RowCount, Then};
pub use products::{Product, sum_of_products};
pub use rope::{Rotary, Rotation, rope};

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor, Var, bail};

/// Whether the one-pass operations apply to a tensor.
fn is_plain(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}

/// The values of a contiguous f32 tensor in CPU storage.
pub(crate) fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a contiguous tensor is needed, got strides {:?}", layout.stride());
    };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// Runs `f` as one of the threads that products are shared by. Each product then starts at once on this one; asked for
/// from outside, every single one waits until another thread has taken it.
pub fn as_a_worker<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| f())
}

/// Takes a batch (batch, …) through `f` in as many shares as there are threads, each on one thread from beginning to end:
/// no product waits for another thread's. `f` must treat each of the batch alone, and calls what it is given between its
/// own steps; an error from `watch`, which is called on this thread time and again, ends all shares. A batch that has
/// fewer than the threads, is not on the CPU or needs gradients goes through whole.
pub(crate) fn in_shares(
    x: &Tensor,
    watch: &mut dyn FnMut() -> Result<()>,
    f: impl Fn(&Tensor, &mut dyn FnMut() -> Result<()>) -> Result<Tensor> + Sync,
) -> Result<Tensor> {
    /// How often `watch` is called.
    const TIME: Duration = Duration::from_millis(20);
    let (batch, threads) = (x.dim(0)?, rayon::current_num_threads());
    if !is_plain(x) || x.track_op() || threads < 2 || batch < threads {
        return f(x, watch);
    }
    let is_ended = AtomicBool::new(false);
    let (done, ended) = crossbeam_channel::bounded::<()>(threads);
    let share = |i: usize| {
        let (begin, end) = (batch * i / threads, batch * (i + 1) / threads);
        let mut going = || if is_ended.load(Ordering::Relaxed) { bail!("ended") } else { Ok(()) };
        let share = alone(|| f(&x.narrow(0, begin, end - begin)?.contiguous()?, &mut going));
        // Nobody listens any more when `watch` has ended everything.
        done.send(()).ok();
        share
    };
    let share = &share;
    std::thread::scope(|scope| {
        let spawn = |i| {
            let thread = std::thread::Builder::new().name(format!("share-{i}"));
            thread.spawn_scoped(scope, move || share(i)).map_err(candle_core::Error::from)
        };
        let running = (0..threads).map(spawn).collect::<Result<Vec<_>>>()?;
        let mut left = threads;
        while left > 0 {
            match ended.recv_timeout(TIME) {
                Ok(()) => left -= 1,
                Err(_) => watch().inspect_err(|_| is_ended.store(true, Ordering::Relaxed))?,
            }
        }
        let panicked = |_| Err(candle_core::Error::Msg("a computing thread panicked".to_owned()));
        let shares = running.into_iter().map(|t| t.join().unwrap_or_else(panicked));
        Tensor::cat(&shares.collect::<Result<Vec<_>>>()?, 0)
    })
}

/// Runs `f` where products of matrices use this thread only; the thread must not be one of a pool.
pub fn alone<R: Send>(f: impl FnOnce() -> Result<R> + Send) -> Result<R> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
    let pool = pool.map_err(|e| candle_core::Error::Msg(format!("no thread can be started: {e}")))?;
    pool.install(f)
}

/// Runs `f` on the values of a tensor, which is made contiguous first.
fn with_values<R>(x: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let x = x.contiguous()?;
    let (storage, layout) = x.storage_and_layout();
    match &*storage {
        Storage::Cpu(cpu) => Ok(f(values(cpu, layout)?)),
        _ => bail!("a tensor in CPU memory is needed"),
    }
}

/// Gradients of the inputs of `f` from that of its result, by candle's own way back through `f` alone: for devices and
/// precisions that there is no arithmetic of our own for.
fn back_through(
    inputs: &[&Tensor],
    grad: &Tensor,
    f: impl FnOnce(&[Tensor]) -> Result<Tensor>,
) -> Result<Vec<Tensor>> {
    let vars = inputs.iter().map(|input| Var::from_tensor(&input.detach())).collect::<Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let mut gradients = (f(&tensors)? * grad.detach())?.sum_all()?.backward()?;
    vars.iter().map(|var| gradients.remove(var).map_or_else(|| var.zeros_like(), Ok)).collect()
}

/// `e^x` to about 2e-7, in arithmetic that compilers turn into vector instructions (`f32::exp` is a call per value).
// Always: it is compiled with the vectors of the function that calls it.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts, so that x - n ln 2 loses nothing (Cephes expf).
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and taking away 1.5 * 2^23 rounds to an integer without a call, which is then in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5e-1;
    let y = p * r * r + r + 1.0;
    // 2^n, by its exponent. A cast of `n` would not do: it saturates, and that no compiler turns into vectors.
    y * f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()))
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Result, Tensor, Var};

    use super::exp;

    #[test]
    fn shares_together_are_the_whole_and_end_when_they_are_told_to() -> Result<()> {
        let batch = 2 * rayon::current_num_threads() + 1;
        let x = Tensor::arange(0f32, batch as f32, &Device::Cpu)?.reshape((batch, 1))?;
        let twice = super::in_shares(&x, &mut || Ok(()), |x, _| x * 2.0)?;
        assert_eq!(twice.to_vec2::<f32>()?, (&x * 2.0)?.to_vec2::<f32>()?);
        let mut looks = 0;
        let mut watch = || {
            looks += 1;
            if looks < 3 { Ok(()) } else { candle_core::bail!("enough") }
        };
        let ended = super::in_shares(&x, &mut watch, |_, going| {
            loop {
                going()?;
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        assert!(ended.unwrap_err().to_string().contains("enough"));
        Ok(())
    }

    #[test]
    fn exp_is_exact_to_single_precision() {
        for i in -8600..8700 {
            let x = i as f32 * 0.01;
            let want = f64::from(x).exp();
            let error = (f64::from(exp(x)) - want).abs() / want;
            assert!(error < 3e-7, "exp({x}) is off by {error}");
        }
    }

    /// Values that differ and are the same every time.
    pub(super) fn sample(shape: &[usize], seed: u64) -> Result<Var> {
        let count: usize = shape.iter().product();
        let value = |i: usize| ((i as f64 * 12.9898 + seed as f64 * 78.233).sin() * 43758.547).fract() as f32;
        Var::from_tensor(&Tensor::from_vec((0..count).map(value).collect::<Vec<_>>(), shape, &Device::Cpu)?)
    }

    /// Asserts that `f` and `reference` agree in value and in the gradient of every input.
    pub(super) fn agree(
        inputs: &[Var],
        f: impl Fn(&[Tensor]) -> Result<Tensor>,
        reference: impl Fn(&[Tensor]) -> Result<Tensor>,
    ) -> Result<()> {
        let args: Vec<Tensor> = inputs.iter().map(|v| v.as_tensor().clone()).collect();
        let (got, want) = (f(&args)?, reference(&args)?);
        close(&got, &want, "value")?;
        let weights = sample(got.dims(), 99)?.as_tensor().detach();
        let got = (got * &weights)?.sum_all()?.backward()?;
        let want = (want * &weights)?.sum_all()?.backward()?;
        for (i, input) in inputs.iter().enumerate() {
            let got = got.get(input).expect("every input has a gradient");
            let want = want.get(input).expect("every input has a gradient");
            close(got, want, &format!("gradient of input {i}"))?;
        }
        Ok(())
    }

    /// Asserts that `back` (inputs, gradient of the result) gives what the graph of `f` gives for each of the inputs, and
    /// that candle's own way back through `f` gives the same.
    pub(super) fn back_agrees(
        inputs: &[Var],
        f: impl Fn(&[Tensor]) -> Result<Tensor>,
        back: impl Fn(&[Tensor], &Tensor) -> Result<Vec<Tensor>>,
    ) -> Result<()> {
        let args: Vec<Tensor> = inputs.iter().map(|v| v.as_tensor().clone()).collect();
        let y = f(&args)?;
        let grad = sample(y.dims(), 99)?.as_tensor().detach();
        let want = (y * &grad)?.sum_all()?.backward()?;
        let detached: Vec<Tensor> = args.iter().map(Tensor::detach).collect();
        let got = back(&detached, &grad)?;
        let alone = super::back_through(&detached.iter().collect::<Vec<_>>(), &grad, &f)?;
        assert_eq!(got.len(), inputs.len());
        for (i, ((input, got), alone)) in inputs.iter().zip(&got).zip(&alone).enumerate() {
            assert!(!got.track_op(), "nothing of a way back is remembered");
            let want = want.get(input).expect("every input has a gradient");
            close(got, want, &format!("way back to input {i}"))?;
            close(alone, want, &format!("candle's way back to input {i}"))?;
        }
        Ok(())
    }

    fn close(got: &Tensor, want: &Tensor, what: &str) -> Result<()> {
        assert_eq!(got.dims(), want.dims(), "{what}");
        let difference = (got - want)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
        let size = want.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
        assert!(difference <= 2e-5 * (1.0 + size), "{what}: off by {difference} at size {size}");
        Ok(())
    }
}
