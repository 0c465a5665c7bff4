//! AdamW with clipping over the whole gradient (Loshchilov and Hutter 2019; candle's own has no clipping).

use candle_core::{Result, Tensor, Var};

use crate::parallel::Gradients;

/// AdamW over a fixed list of variables; moments in f32.
#[derive(Debug)]
pub struct AdamW {
    vars: Vec<Var>,
    /// Per variable, what its learning rate is multiplied by.
    rates: Vec<f64>,
    first: Vec<Vec<f32>>,
    second: Vec<Vec<f32>>,
    step: i32,
    weight_decay: f64,
    clip: f64,
}

impl AdamW {
    /// Over variables with multiples of the learning rate.
    pub fn new(vars: Vec<(Var, f64)>, weight_decay: f64, clip: f64) -> Self {
        let zeros = || vars.iter().map(|(v, _)| vec![0.0; v.elem_count()]).collect();
        let (first, second) = (zeros(), zeros());
        let (vars, rates) = vars.into_iter().unzip();
        Self { vars, rates, first, second, step: 0, weight_decay, clip }
    }

    /// The variables, in the order of their gradients.
    pub fn vars(&self) -> &[Var] {
        &self.vars
    }

    /// One update; returns the gradient's norm before clipping. A variable without a gradient stays as it is.
    pub fn update(&mut self, gradients: &Gradients, rate: f64) -> Result<f64> {
        const BETA1: f32 = 0.9;
        const BETA2: f32 = 0.98;
        const EPS: f32 = 1e-8;
        let squares = |g: &Vec<f32>| g.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>();
        let norm = gradients.values.iter().flatten().map(squares).sum::<f64>().sqrt();
        let scale = if norm > self.clip { (self.clip / norm) as f32 } else { 1.0 };
        self.step += 1;
        let (unbias1, unbias2) = (1.0 - BETA1.powi(self.step), 1.0 - BETA2.powi(self.step));
        for (i, gradient) in gradients.values.iter().enumerate() {
            let Some(gradient) = gradient else { continue };
            let var = &self.vars[i];
            let mut values = var.flatten_all()?.to_vec1::<f32>()?;
            let rate = (rate * self.rates[i]) as f32;
            // Scales and biases are not pulled towards zero.
            let decay = if var.rank() > 1 { self.weight_decay as f32 } else { 0.0 };
            let moments = self.first[i].iter_mut().zip(&mut self.second[i]);
            for ((value, &g), (m, v)) in values.iter_mut().zip(gradient).zip(moments) {
                let g = g * scale;
                *m = BETA1 * *m + (1.0 - BETA1) * g;
                *v = BETA2 * *v + (1.0 - BETA2) * g * g;
                let step = (*m / unbias1) / ((*v / unbias2).sqrt() + EPS);
                *value -= rate * (step + decay * *value);
            }
            var.set(&Tensor::from_vec(values, var.dims(), var.device())?)?;
        }
        Ok(norm)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Result, Tensor, Var};

    use super::AdamW;
    use crate::parallel::Gradients;

    #[test]
    fn the_first_step_is_the_sign_of_the_gradient_whatever_its_size() -> Result<()> {
        let var = Var::from_tensor(&Tensor::new(&[1.0f32, 1.0, 1.0], &Device::Cpu)?)?;
        let mut adam = AdamW::new(vec![(var.clone(), 1.0)], 0.0, 1.0);
        let norm = adam.update(&Gradients { values: vec![Some(vec![30.0, -40.0, 0.0])], loss: 0.0 }, 0.1)?;
        assert!((norm - 50.0).abs() < 1e-6);
        let values = var.to_vec1::<f32>()?;
        assert!((values[0] - 0.9).abs() < 1e-4 && (values[1] - 1.1).abs() < 1e-4 && values[2] == 1.0);
        Ok(())
    }
}
