//! The activations: exact GELU (encoders, projector) and SiLU times gate (Llama's MLP).

#![expect(clippy::inline_always, reason = "it is compiled with the vectors of the function that calls it")]

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::rows::{self, RowPairs, Rows};
use super::{back_through, exp, is_plain, values, with_values};

/// Exact GELU, `x Φ(x)`.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    if is_plain(x) { x.contiguous()?.apply_op1(Gelu) } else { x.gelu_erf() }
}

/// `silu(gate) · up`, of equal shapes.
pub fn silu_mul(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if is_plain(gate) { gate.contiguous()?.apply_op2(&up.contiguous()?, SiluMul) } else { gate.silu()? * up }
}

/// Gradients of `gate` and `up` from that of [`silu_mul`]'s result.
pub fn silu_mul_back(gate: &Tensor, up: &Tensor, grad: &Tensor) -> Result<(Tensor, Tensor)> {
    if !is_plain(gate) {
        let both = back_through(&[gate, up], grad, |x| x[0].silu()? * &x[1])?;
        return Ok((both[0].clone(), both[1].clone()));
    }
    let gate_grad = with_values(gate, |gate| {
        with_values(up, |up| {
            with_values(grad, |grad| {
                let mut gate_grad = grad.to_vec();
                rows::each_pair(&GateBack, gate, up, &mut gate_grad, 1);
                gate_grad
            })
        })
    })???;
    Ok((Tensor::from_vec(gate_grad, gate.dims(), gate.device())?, silu_mul(gate, grad)?))
}

/// Φ(x), the normal distribution function, to 1.5e-7 (Abramowitz and Stegun 7.1.26).
#[inline(always)]
pub(super) fn normal_distribution(x: f32) -> f32 {
    // Past 9 the tail is below 1e-36, and soon so small that processors stumble over it.
    const FURTHEST: f32 = 9.0;
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let z = if z > FURTHEST { FURTHEST } else { z };
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let p = 1.061_405_4;
    let p = p * t - 1.453_152;
    let p = p * t + 1.421_413_7;
    let p = p * t - 0.284_496_74;
    let p = p * t + 0.254_829_6;
    let tail = 0.5 * p * t * exp(-z * z);
    if x < 0.0 { tail } else { 1.0 - tail }
}

struct Gelu;

impl Rows for Gelu {
    #[inline(always)]
    fn compute(&self, x: &[f32], y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x * normal_distribution(x);
        }
    }
}

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values(x, xl)?;
        let mut y = vec![0.0; x.len()];
        rows::each(self, x, &mut y, 1);
        Ok((CpuStorage::F32(y), xl.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        const FRAC_1_SQRT_2PI: f32 = 0.398_942_3;
        let slope = |x: f32| normal_distribution(x) + x * FRAC_1_SQRT_2PI * exp(-0.5 * x * x);
        let dx: Vec<f32> = with_values(x, |x| {
            with_values(grad, |g| x.iter().zip(g).map(|(&x, g)| g * slope(x)).collect())
        })??;
        Ok(Some(Tensor::from_vec(dx, x.dims(), x.device())?))
    }
}

struct SiluMul;

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

impl Rows for SiluMul {
    /// `y`, which is the other factor at first, times `silu(x)`.
    #[inline(always)]
    fn compute(&self, x: &[f32], y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y *= x * sigmoid(x);
        }
    }
}

impl CustomOp2 for SiluMul {
    fn name(&self) -> &'static str {
        "silu times"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        al: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (a, b) = (values(a, al)?, values(b, bl)?);
        let mut y = b.to_vec();
        rows::each(self, a, &mut y, 1);
        Ok((CpuStorage::F32(y), al.shape().clone()))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (da, db) = with_values(a, |a| {
            with_values(b, |b| {
                with_values(grad, |g| {
                    let (mut da, mut db) = (vec![0.0; a.len()], vec![0.0; a.len()]);
                    for i in 0..a.len() {
                        let s = sigmoid(a[i]);
                        da[i] = g[i] * b[i] * s * (1.0 + a[i] * (1.0 - s));
                        db[i] = g[i] * a[i] * s;
                    }
                    (da, db)
                })
            })
        })???;
        let of = |values, like: &Tensor| Tensor::from_vec(values, like.dims(), like.device()).map(Some);
        Ok((of(da, a)?, of(db, b)?))
    }
}

/// `y`, the gradient of the product at first, becomes that of the gate.
struct GateBack;

impl RowPairs for GateBack {
    #[inline(always)]
    fn compute(&self, gate: &[f32], up: &[f32], y: &mut [f32]) {
        for ((y, &gate), up) in y.iter_mut().zip(gate).zip(up) {
            let s = sigmoid(gate);
            *y *= up * s * (1.0 + gate * (1.0 - s));
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Result;

    use super::super::tests::{agree, back_agrees, sample};
    use super::{gelu, silu_mul, silu_mul_back};

    #[test]
    fn the_way_back_is_that_of_the_graph() -> Result<()> {
        let inputs = [sample(&[5, 30], 1)?, sample(&[5, 30], 2)?];
        back_agrees(
            &inputs,
            |a| silu_mul(&a[0], &a[1]),
            |a, grad| silu_mul_back(&a[0], &a[1], grad).map(|(gate, up)| vec![gate, up]),
        )
    }

    #[test]
    fn agrees_with_primitives() -> Result<()> {
        let wide = candle_core::Var::from_tensor(&(sample(&[40], 1)?.as_tensor() * 8.0)?)?;
        agree(&[wide], |a| gelu(&a[0]), |a| a[0].gelu_erf())?;
        agree(&[sample(&[30], 1)?, sample(&[30], 2)?], |a| silu_mul(&a[0], &a[1]), |a| a[0].silu()? * &a[1])
    }
}
