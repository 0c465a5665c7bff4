//! AdamW as PyTorch computes it (Loshchilov and Hutter 2019; `torch.optim.AdamW`), with clipping over the whole gradient
//! (`torch.nn.utils.clip_grad_norm_`); candle's own has neither clipping nor moments that can be kept.
//!
//! Moments lie in the machine's memory in f32 wherever the variables are. Variables in that memory are updated where
//! they lie. Values are split into pieces of one size, whatever the number of threads, so that the result is the same on
//! any machine of a kind. One number of steps holds for all variables, also for one that had no gradient at some step
//! (PyTorch counts them apart).

use std::cell::RefCell;

use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Result, Tensor, Var, bail};
use rayon::prelude::*;

use crate::config::Optimisation;
use crate::parallel::Gradients;

/// What PyTorch adds to the root of the second moment.
const EPS: f64 = 1e-8;
/// What PyTorch adds to a gradient's norm before it divides by it.
const NORM_EPS: f64 = 1e-6;
/// Values that one thread takes at a time.
const PIECE: usize = 1 << 16;

/// What AdamW remembers of a variable, a number for each of its values.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Running mean of the gradient.
    pub first: Vec<f32>,
    /// Running mean of its square.
    pub second: Vec<f32>,
}

/// AdamW over a fixed list of variables.
#[derive(Debug)]
pub struct AdamW {
    vars: Vec<Var>,
    /// Per variable, what its learning rate is multiplied by.
    rates: Vec<f64>,
    moments: Vec<Moments>,
    step: u64,
    beta1: f64,
    beta2: f64,
    weight_decay: f64,
    clip: f64,
}

impl AdamW {
    /// Over variables with multiples of the learning rate; they must hold f32. Moments begin at zero.
    pub fn new(vars: Vec<(Var, f64)>, optimisation: &Optimisation) -> Self {
        let zeros = |var: &Var| vec![0.0; var.elem_count()];
        let moments = vars.iter().map(|(var, _)| Moments { first: zeros(var), second: zeros(var) }).collect();
        let (vars, rates) = vars.into_iter().unzip();
        let Optimisation { beta1, beta2, weight_decay, clip, .. } = *optimisation;
        Self { vars, rates, moments, step: 0, beta1, beta2, weight_decay, clip }
    }

    /// The variables, in the order of their gradients.
    pub fn vars(&self) -> &[Var] {
        &self.vars
    }

    /// Updates so far.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// What is remembered of each variable, in their order, for a checkpoint.
    pub fn moments(&self) -> &[Moments] {
        &self.moments
    }

    /// Goes on from what a checkpoint kept; refused where it does not fit the variables.
    pub fn restore(&mut self, step: u64, moments: Vec<Moments>) -> Result<()> {
        let fits = |(var, moments): (&Var, &Moments)| {
            moments.first.len() == var.elem_count() && moments.second.len() == var.elem_count()
        };
        if moments.len() != self.vars.len() || !self.vars.iter().zip(&moments).all(fits) {
            bail!("the moments that the checkpoint kept are those of other variables");
        }
        (self.step, self.moments) = (step, moments);
        Ok(())
    }

    /// One update; returns the gradient's norm before clipping. A variable without a gradient stays as it is.
    ///
    /// Where the norm is no finite number nothing changes, neither variables nor moments: the caller decides what then.
    pub fn update(&mut self, gradients: &Gradients, rate: f64) -> Result<f64> {
        self.check(&gradients.values)?;
        let norm = gradient_norm(&gradients.values);
        if !norm.is_finite() {
            return Ok(norm);
        }
        // No limit is 0, as in transformers' Trainer.
        let clip = if self.clip > 0.0 { (self.clip / (norm + NORM_EPS)).min(1.0) } else { 1.0 };
        self.step += 1;
        for (i, gradient) in gradients.values.iter().enumerate() {
            let Some(gradient) = gradient else { continue };
            let formula = self.formula(i, rate, clip);
            formula.update(&self.vars[i], gradient, &mut self.moments[i])?;
        }
        Ok(norm)
    }

    fn check(&self, gradients: &[Option<Vec<f32>>]) -> Result<()> {
        if gradients.len() != self.vars.len() {
            bail!("{} gradients for {} variables", gradients.len(), self.vars.len());
        }
        for (var, gradient) in self.vars.iter().zip(gradients) {
            if gradient.as_ref().is_some_and(|gradient| gradient.len() != var.elem_count()) {
                bail!("a gradient is not as large as its variable, {:?}", var.dims());
            }
            if var.dtype() != DType::F32 {
                bail!("a variable that learns is in {:?} instead of f32", var.dtype());
            }
        }
        Ok(())
    }

    /// The numbers of this update for one variable.
    fn formula(&self, at: usize, rate: f64, clip: f64) -> Formula {
        let rate = rate * self.rates[at];
        // Scales and biases are not pulled towards zero.
        let decay = if self.vars[at].rank() > 1 { self.weight_decay } else { 0.0 };
        let unbias = |beta: f64| 1.0 - beta.powf(self.step as f64);
        Formula {
            clip: clip as f32,
            keep: (1.0 - rate * decay) as f32,
            new1: (1.0 - self.beta1) as f32,
            old2: self.beta2 as f32,
            new2: (1.0 - self.beta2) as f32,
            step: (rate / unbias(self.beta1)) as f32,
            root: unbias(self.beta2).sqrt() as f32,
        }
    }
}

/// The norm of the whole gradient.
pub fn gradient_norm(gradients: &[Option<Vec<f32>>]) -> f64 {
    gradients.iter().flatten().map(|gradient| squares(gradient)).sum::<f64>().sqrt()
}

/// The sum of squares, its pieces added up in their order.
fn squares(values: &[f32]) -> f64 {
    const LANES: usize = 8;
    let piece = |values: &[f32]| -> f64 {
        let mut sums = [0.0f64; LANES];
        for values in values.chunks(LANES) {
            for (sum, &value) in sums.iter_mut().zip(values) {
                *sum += f64::from(value) * f64::from(value);
            }
        }
        sums.iter().sum()
    };
    if values.len() <= PIECE {
        return piece(values);
    }
    values.par_chunks(PIECE).map(piece).collect::<Vec<f64>>().iter().sum()
}

/// What an update does to each value, in PyTorch's order of operations.
#[derive(Clone, Copy)]
struct Formula {
    /// What gradients are multiplied by.
    clip: f32,
    /// What weight decay leaves of a value.
    keep: f32,
    /// What of the new gradient enters the first moment.
    new1: f32,
    /// What stays of the second moment.
    old2: f32,
    new2: f32,
    /// The rate, by what the first moment lacks while it is young.
    step: f32,
    /// The root of what the second moment has of its final size.
    root: f32,
}

impl Formula {
    fn update(self, var: &Var, gradient: &[f32], moments: &mut Moments) -> Result<()> {
        if var.device().is_cpu() {
            let op = InPlace { formula: self, gradient, moments: RefCell::new(moments) };
            return var.inplace_op1(&op);
        }
        let mut values = var.flatten_all()?.to_vec1::<f32>()?;
        self.apply(&mut values, gradient, moments);
        var.set(&Tensor::from_vec(values, var.dims(), var.device())?)
    }

    fn apply(self, values: &mut [f32], gradient: &[f32], moments: &mut Moments) {
        let Moments { first, second } = moments;
        if values.len() <= PIECE {
            return self.apply_to_piece(values, gradient, first, second);
        }
        values
            .par_chunks_mut(PIECE)
            .zip(gradient.par_chunks(PIECE))
            .zip(first.par_chunks_mut(PIECE))
            .zip(second.par_chunks_mut(PIECE))
            .for_each(|(((values, gradient), first), second)| {
                self.apply_to_piece(values, gradient, first, second);
            });
    }

    fn apply_to_piece(self, values: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        let eps = EPS as f32;
        let moments = first.iter_mut().zip(second);
        for ((value, &g), (m, v)) in values.iter_mut().zip(gradient).zip(moments) {
            let g = g * self.clip;
            *m += self.new1 * (g - *m);
            *v = self.old2 * *v + self.new2 * (g * g);
            let size = v.sqrt() / self.root + eps;
            *value = self.keep * *value - self.step * (*m / size);
        }
    }
}

/// An update of a variable in the machine's memory. Candle lends its values to an operation only.
struct InPlace<'a> {
    formula: Formula,
    gradient: &'a [f32],
    moments: RefCell<&'a mut Moments>,
}

impl InplaceOp1 for InPlace<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
            bail!("a variable that learns must be contiguous and in f32");
        };
        self.formula.apply(&mut values[start..end], self.gradient, &mut self.moments.borrow_mut());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn optimisation(more: &str) -> Optimisation {
        toml::from_str(more).unwrap()
    }

    fn var(values: &[f32]) -> Var {
        Var::from_tensor(&Tensor::new(values, &Device::Cpu).unwrap()).unwrap()
    }

    fn gradients(values: &[f32]) -> Gradients {
        Gradients { values: vec![Some(values.to_vec())], loss: 0.0 }
    }

    #[test]
    fn the_first_step_is_the_sign_of_the_gradient_whatever_its_size() -> Result<()> {
        let var = var(&[1.0, 1.0, 1.0]);
        let mut adam = AdamW::new(vec![(var.clone(), 1.0)], &optimisation(""));
        let norm = adam.update(&gradients(&[30.0, -40.0, 0.0]), 0.1)?;
        assert!((norm - 50.0).abs() < 1e-6);
        let values = var.to_vec1::<f32>()?;
        assert!((values[0] - 0.9).abs() < 1e-4 && (values[1] - 1.1).abs() < 1e-4 && values[2] == 1.0);
        Ok(())
    }

    /// The formula of PyTorch's documentation in f64, for a matrix (which decays).
    fn by_hand(gradients: &[f64], rate: f64, decay: f64, (beta1, beta2): (f64, f64)) -> f64 {
        let (mut value, mut m, mut v) = (0.5f64, 0.0, 0.0);
        for (step, g) in (1..).zip(gradients) {
            value -= rate * decay * value;
            m = beta1 * m + (1.0 - beta1) * g;
            v = beta2 * v + (1.0 - beta2) * g * g;
            let m_hat = m / (1.0 - beta1.powi(step));
            let v_hat = v / (1.0 - beta2.powi(step));
            value -= rate * m_hat / (v_hat.sqrt() + 1e-8);
        }
        value
    }

    #[test]
    fn many_steps_follow_the_published_formula() -> Result<()> {
        let settings = optimisation("weight_decay = 0.1\nbeta1 = 0.8\nbeta2 = 0.95\nclip = 0.0");
        let var = Var::from_tensor(&Tensor::new(&[[0.5f32]], &Device::Cpu)?)?;
        let mut adam = AdamW::new(vec![(var.clone(), 0.5)], &settings);
        let steps: Vec<f64> = (0..50).map(|i| (f64::from(i) * 0.7).sin() * 3.0 + 0.2).collect();
        for &g in &steps {
            adam.update(&gradients(&[g as f32]), 0.02)?;
        }
        let got = f64::from(var.to_vec2::<f32>()?[0][0]);
        let want = by_hand(&steps, 0.01, 0.1, (0.8, 0.95));
        assert!((got - want).abs() < 1e-5, "{got} against {want}");
        assert_eq!(adam.step(), 50);
        Ok(())
    }

    #[test]
    fn a_gradient_is_clipped_as_a_whole_and_only_when_it_is_large() -> Result<()> {
        // The first moment after one step is a tenth of the gradient that was used.
        let used = |clip: &str, gradient: &[f32]| -> Result<Vec<f32>> {
            let mut adam = AdamW::new(vec![(var(&vec![0.0; gradient.len()]), 1.0)], &optimisation(clip));
            adam.update(&gradients(gradient), 0.1)?;
            Ok(adam.moments()[0].first.iter().map(|m| m * 10.0).collect())
        };
        let near = |got: Vec<f32>, want: [f32; 2]| got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-5);
        assert!(near(used("clip = 1.0", &[3.0, 4.0])?, [0.6, 0.8]));
        assert!(near(used("clip = 1.0", &[0.3, 0.4])?, [0.3, 0.4]));
        assert!(near(used("clip = 0.0", &[3.0, 4.0])?, [3.0, 4.0]));
        Ok(())
    }

    #[test]
    fn scales_and_biases_do_not_decay() -> Result<()> {
        let settings = optimisation("weight_decay = 0.5");
        let bias = var(&[2.0]);
        let matrix = Var::from_tensor(&Tensor::new(&[[2.0f32]], &Device::Cpu)?)?;
        let mut adam = AdamW::new(vec![(bias.clone(), 1.0), (matrix.clone(), 1.0)], &settings);
        adam.update(&Gradients { values: vec![Some(vec![0.0]), Some(vec![0.0])], loss: 0.0 }, 0.1)?;
        assert_eq!(bias.to_vec1::<f32>()?, [2.0]);
        assert!((matrix.to_vec2::<f32>()?[0][0] - 1.9).abs() < 1e-6);
        Ok(())
    }

    #[test]
    fn an_update_that_is_no_number_changes_nothing() -> Result<()> {
        let var = var(&[1.0, 2.0]);
        let mut adam = AdamW::new(vec![(var.clone(), 1.0)], &optimisation(""));
        adam.update(&gradients(&[1.0, 1.0]), 0.1)?;
        let (values, moments) = (var.to_vec1::<f32>()?, adam.moments().to_vec());
        assert!(adam.update(&gradients(&[1.0, f32::NAN]), 0.1)?.is_nan());
        assert_eq!((var.to_vec1::<f32>()?, adam.moments(), adam.step()), (values, moments.as_slice(), 1));
        Ok(())
    }

    #[test]
    fn a_restored_optimiser_goes_on_to_the_same_bits() -> Result<()> {
        let many: Vec<f32> = (0..200_000).map(|i| (i as f32 * 0.37).sin()).collect();
        let start: Vec<f32> = many.iter().map(|value| value * 0.1).collect();
        let settings = optimisation("weight_decay = 0.01");
        let whole = var(&start);
        let mut adam = AdamW::new(vec![(whole.clone(), 1.0)], &settings);
        adam.update(&gradients(&many), 1e-3)?;
        let kept = (whole.to_vec1::<f32>()?, adam.step(), adam.moments().to_vec());
        adam.update(&gradients(&start), 1e-3)?;

        let resumed = var(&kept.0);
        let mut adam = AdamW::new(vec![(resumed.clone(), 1.0)], &settings);
        adam.restore(kept.1, kept.2)?;
        adam.update(&gradients(&start), 1e-3)?;
        assert_eq!(whole.to_vec1::<f32>()?, resumed.to_vec1::<f32>()?);
        let other = vec![Moments { first: vec![0.0], second: vec![0.0] }];
        assert!(adam.restore(1, other).unwrap_err().to_string().contains("other variables"));
        Ok(())
    }

    #[test]
    fn candles_linear_regression_is_learnt_alike() -> Result<()> {
        // candle-nn's own test of its AdamW: 100 steps at rate 0.1 with a weight decay of 0.01.
        let (w, b) =
            (Var::zeros((1, 2), DType::F32, &Device::Cpu)?, Var::zeros((1, 1), DType::F32, &Device::Cpu)?);
        let xs = Tensor::new(&[[2f32, 1.0], [7.0, 4.0], [-4.0, 12.0], [5.0, 8.0]], &Device::Cpu)?;
        let ys = Tensor::new(&[[5f32], [23.0], [-2.0], [21.0]], &Device::Cpu)?;
        let settings = optimisation("weight_decay = 0.01\nclip = 0.0");
        let mut adam = AdamW::new(vec![(w.clone(), 1.0), (b.clone(), 1.0)], &settings);
        for _ in 0..100 {
            let loss = xs.matmul(&w.t()?)?.broadcast_add(&b)?.sub(&ys)?.sqr()?.sum_all()?;
            let store = loss.backward()?;
            let value = |var: &Var| store.get(var).map(|g| g.flatten_all()?.to_vec1::<f32>()).transpose();
            let values = vec![value(&w)?, value(&b)?];
            adam.update(&Gradients { values, loss: 0.0 }, 0.1)?;
        }
        let got = [w.to_vec2::<f32>()?[0].clone(), b.to_vec2::<f32>()?[0].clone()].concat();
        // Rounded to four digits there, and in f32 in another order here.
        for (got, want) in got.iter().zip([2.7257f32, 0.7097, 0.7873]) {
            assert!((got - want).abs() < 5e-4, "{got} against {want}");
        }
        Ok(())
    }
}
