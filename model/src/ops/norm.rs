//! RMS and layer normalisation over the last axis.

#![expect(clippy::inline_always, reason = "it is compiled with the vectors of the function that calls it")]

use candle_core::{CpuStorage, CustomOp2, CustomOp3, D, DType, Layout, Result, Shape, Tensor};

use super::rows::{self, RowPairs, Rows};
use super::{back_through, is_plain, values, with_values};

/// `x / sqrt(mean(x²) + eps) · weight`: `x` is (…, hidden), `weight` (hidden).
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    if is_plain(x) {
        return x
            .contiguous()?
            .apply_op2(weight, RmsNorm { eps: eps as f32, weight_grad: weight.track_op() });
    }
    let dtype = x.dtype();
    let x = x.to_dtype(DType::F32)?;
    let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    x.broadcast_div(&scale)?.to_dtype(dtype)?.broadcast_mul(weight)
}

/// The gradient of `x` from that of [`rms_norm`]'s result, added to `plus`: what comes back past the normalisation.
pub fn rms_norm_back(
    x: &Tensor,
    weight: &Tensor,
    eps: f64,
    grad: &Tensor,
    plus: Option<&Tensor>,
) -> Result<Tensor> {
    if !is_plain(x) {
        let back = &back_through(&[x], grad, |x| rms_norm(&x[0], &weight.detach(), eps))?[0];
        return plus.map_or_else(|| Ok(back.clone()), |plus| plus + back);
    }
    let mut dx =
        plus.map_or_else(|| Ok(vec![0.0; x.elem_count()]), |plus| with_values(plus, <[f32]>::to_vec))?;
    with_values(x, |x| {
        with_values(weight, |weight| {
            let norm = RmsNormBack { weight, eps: eps as f32 };
            with_values(grad, |grad| rows::each_pair(&norm, x, grad, &mut dx, weight.len()))
        })
    })???;
    Tensor::from_vec(dx, x.dims(), x.device())
}

/// The way back of root-mean-square normalisation, added to what is there.
struct RmsNormBack<'a> {
    weight: &'a [f32],
    eps: f32,
}

impl RowPairs for RmsNormBack<'_> {
    #[inline(always)]
    fn compute(&self, x: &[f32], grad: &[f32], y: &mut [f32]) {
        let width = self.weight.len();
        let rows = x.chunks_exact(width).zip(grad.chunks_exact(width)).zip(y.chunks_exact_mut(width));
        for ((x, grad), y) in rows {
            let r = inverse_rms(x, self.eps);
            let back = rows::sum_of_products(grad, self.weight, x) * r * r * r / width as f32;
            for (((y, x), g), w) in y.iter_mut().zip(x).zip(grad).zip(self.weight) {
                *y += g * w * r - x * back;
            }
        }
    }
}

/// `(x - mean) / sqrt(variance + eps) · weight + bias`: `x` is (…, hidden), `weight` and `bias` (hidden).
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    if is_plain(x) {
        let op = LayerNorm { eps: eps as f32, weight_grad: weight.track_op() };
        return x.contiguous()?.apply_op3(weight, bias, op);
    }
    let dtype = x.dtype();
    let x = x.to_dtype(DType::F32)?;
    let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    x.broadcast_div(&scale)?.to_dtype(dtype)?.broadcast_mul(weight)?.broadcast_add(bias)
}

struct RmsNorm {
    eps: f32,
    weight_grad: bool,
}

/// Reciprocal of the root mean square.
#[inline(always)]
fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    (rows::sum(x, |x| x * x) / x.len() as f32 + eps).sqrt().recip()
}

/// A normalisation with its parameters.
struct With<'a, N> {
    norm: &'a N,
    weight: &'a [f32],
    bias: &'a [f32],
}

impl Rows for With<'_, RmsNorm> {
    #[inline(always)]
    fn compute(&self, x: &[f32], y: &mut [f32]) {
        let width = self.weight.len();
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            let r = inverse_rms(x, self.norm.eps);
            for ((y, x), w) in y.iter_mut().zip(x).zip(self.weight) {
                *y = x * r * w;
            }
        }
    }
}

impl Rows for With<'_, LayerNorm> {
    #[inline(always)]
    fn compute(&self, x: &[f32], y: &mut [f32]) {
        let width = self.weight.len();
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            let (mean, r) = self.norm.statistics(x);
            for (((y, x), w), b) in y.iter_mut().zip(x).zip(self.weight).zip(self.bias) {
                *y = (x - mean) * r * w + b;
            }
        }
    }
}

/// Eight running sums: the compiler may then add in vectors, which it must not with one.
fn sum_of(values: impl ExactSizeIterator<Item = f32>) -> f32 {
    let mut sums = [0.0f32; 8];
    for (i, value) in values.enumerate() {
        sums[i % 8] += value;
    }
    sums.iter().sum()
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (values(x, xl)?, values(w, wl)?);
        let mut y = vec![0.0; x.len()];
        rows::each(&With { norm: self, weight: w, bias: &[] }, x, &mut y, w.len());
        Ok((CpuStorage::F32(y), xl.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let hidden = w.elem_count();
        let (dx, dw) = with_values(x, |x| {
            with_values(w, |w| {
                with_values(grad, |g| {
                    let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; hidden]);
                    for ((x, g), dx) in
                        x.chunks_exact(hidden).zip(g.chunks_exact(hidden)).zip(dx.chunks_exact_mut(hidden))
                    {
                        let r = inverse_rms(x, self.eps);
                        let dot = sum_of((0..hidden).map(|i| g[i] * w[i] * x[i]));
                        let back = dot * r * r * r / hidden as f32;
                        for i in 0..hidden {
                            dx[i] = g[i] * w[i] * r - x[i] * back;
                        }
                        if self.weight_grad {
                            for i in 0..hidden {
                                dw[i] += g[i] * x[i] * r;
                            }
                        }
                    }
                    (dx, dw)
                })
            })
        })???;
        let dw = self.weight_grad.then(|| Tensor::from_vec(dw, hidden, x.device())).transpose()?;
        Ok((Some(Tensor::from_vec(dx, x.dims(), x.device())?), dw))
    }
}

struct LayerNorm {
    eps: f32,
    weight_grad: bool,
}

impl LayerNorm {
    /// Mean and reciprocal standard deviation.
    #[inline(always)]
    fn statistics(&self, x: &[f32]) -> (f32, f32) {
        let n = x.len() as f32;
        let mean = rows::sum(x, |x| x) / n;
        let variance = rows::sum(x, |x| (x - mean) * (x - mean)) / n;
        (mean, (variance + self.eps).sqrt().recip())
    }

    /// Gradients of x, weight and bias.
    fn backward(&self, x: &[f32], w: &[f32], g: &[f32]) -> [Vec<f32>; 3] {
        let hidden = w.len();
        let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; hidden], vec![0.0; hidden]);
        for ((x, g), dx) in
            x.chunks_exact(hidden).zip(g.chunks_exact(hidden)).zip(dx.chunks_exact_mut(hidden))
        {
            let (mean, r) = self.statistics(x);
            let n = hidden as f32;
            let sum = sum_of((0..hidden).map(|i| g[i] * w[i])) / n;
            let dot = sum_of((0..hidden).map(|i| g[i] * w[i] * (x[i] - mean))) * r * r / n;
            for i in 0..hidden {
                dx[i] = r * (g[i] * w[i] - sum - (x[i] - mean) * dot);
            }
            if self.weight_grad {
                for i in 0..hidden {
                    dw[i] += g[i] * (x[i] - mean) * r;
                    db[i] += g[i];
                }
            }
        }
        [dx, dw, db]
    }
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w, b) = (values(x, xl)?, values(w, wl)?, values(b, bl)?);
        let mut y = vec![0.0; x.len()];
        rows::each(&With { norm: self, weight: w, bias: b }, x, &mut y, w.len());
        Ok((CpuStorage::F32(y), xl.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [dx, dw, db] =
            with_values(x, |x| with_values(w, |w| with_values(grad, |g| self.backward(x, w, g))))???;
        let dx = Some(Tensor::from_vec(dx, x.dims(), x.device())?);
        if !self.weight_grad {
            return Ok((dx, None, None));
        }
        let of = |values: Vec<f32>| Tensor::from_vec(values, b.dims(), b.device()).map(Some);
        Ok((dx, of(dw)?, of(db)?))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{D, Result};

    use super::super::tests::{agree, back_agrees, sample};
    use super::{layer_norm, rms_norm, rms_norm_back};

    #[test]
    fn the_way_back_is_that_of_the_graph_and_adds_to_what_came_past() -> Result<()> {
        let (weight, plus) = (sample(&[20], 2)?, sample(&[3, 20], 3)?);
        let (weight, plus) = (weight.as_tensor().detach(), plus.as_tensor().detach());
        back_agrees(
            &[sample(&[3, 20], 1)?],
            |a| rms_norm(&a[0], &weight, 1e-5),
            |a, grad| {
                let past = rms_norm_back(&a[0], &weight, 1e-5, grad, Some(&plus))?;
                let alone = rms_norm_back(&a[0], &weight, 1e-5, grad, None)?;
                let difference = ((past - &plus)? - &alone)?.abs()?.max_all()?.to_scalar::<f32>()?;
                assert!(difference < 1e-5, "{difference}");
                Ok(vec![alone])
            },
        )
    }

    #[test]
    fn agrees_with_primitives() -> Result<()> {
        let inputs = [sample(&[2, 3, 10], 1)?, sample(&[10], 2)?, sample(&[10], 3)?];
        agree(
            &inputs[..2],
            |a| rms_norm(&a[0], &a[1], 1e-5),
            |a| {
                let scale = (a[0].sqr()?.mean_keepdim(D::Minus1)? + 1e-5)?.sqrt()?;
                a[0].broadcast_div(&scale)?.broadcast_mul(&a[1])
            },
        )?;
        agree(
            &inputs,
            |a| layer_norm(&a[0], &a[1], &a[2], 1e-6),
            |a| {
                let x = a[0].broadcast_sub(&a[0].mean_keepdim(D::Minus1)?)?;
                let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + 1e-6)?.sqrt()?;
                x.broadcast_div(&scale)?.broadcast_mul(&a[1])?.broadcast_add(&a[2])
            },
        )
    }
}
