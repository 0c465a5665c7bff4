//! `y = x Wᵀ + b`, whose backward pass computes only the gradients that are wanted.
//!
//! Candle's product computes both sides' gradients, so a frozen weight would get one of its own size at every step.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::gemm::{Matrix, multiply};
use super::{few, is_plain, values, with_values};

/// A linear layer: `x` is (…, in), `weight` (out, in), `bias` (out); the result (…, out).
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    if is_plain(x) {
        let op = Linear { weight_grad: weight.track_op(), input_grad: x.track_op() };
        let x = x.contiguous()?;
        return match bias {
            None => x.apply_op2(weight, op),
            Some(bias) => x.apply_op3(weight, bias, op),
        };
    }
    let (rows, inner) = (x.elem_count() / x.dim(candle_core::D::Minus1)?, x.dim(candle_core::D::Minus1)?);
    let mut shape = x.dims().to_vec();
    shape.pop();
    shape.push(weight.dim(0)?);
    let y = x.reshape((rows, inner))?.matmul(&weight.t()?)?.reshape(shape)?;
    bias.map_or(Ok(y.clone()), |b| y.broadcast_add(b))
}

struct Linear {
    weight_grad: bool,
    input_grad: bool,
}

impl Linear {
    fn forward(
        x: (&CpuStorage, &Layout),
        weight: (&CpuStorage, &Layout),
        bias: Option<&[f32]>,
    ) -> Result<(CpuStorage, Shape)> {
        let (out, inner) = weight.1.shape().dims2()?;
        let mut shape = x.1.dims().to_vec();
        if shape.pop() != Some(inner) {
            candle_core::bail!("a linear layer for {inner} values got {:?}", x.1.dims());
        }
        shape.push(out);
        let (x, weight) = (values(x.0, x.1)?, values(weight.0, weight.1)?);
        let rows = x.len() / inner;
        let y = if (1..=few::MOST_ROWS).contains(&rows) {
            few_rows((x, rows), weight, inner, bias)
        } else {
            many_rows((x, rows), weight, inner, bias)
        };
        Ok((CpuStorage::F32(y), shape.into()))
    }

    fn backward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (out, inner) = weight.dims2()?;
        let rows = x.elem_count() / inner;
        let grad = grad.contiguous()?;
        let dx = if self.input_grad {
            let dx = with_values(&grad, |g| {
                with_values(weight, |w| {
                    let mut dx = vec![0.0; rows * inner];
                    multiply(
                        &mut dx,
                        inner,
                        Matrix::new(g, rows, out, out),
                        Matrix::new(w, out, inner, inner),
                        0.0,
                        1.0,
                    );
                    dx
                })
            })??;
            Some(Tensor::from_vec(dx, x.dims(), x.device())?)
        } else {
            None
        };
        let dw = if self.weight_grad {
            let dw = with_values(&grad, |g| {
                with_values(x, |x| {
                    let mut dw = vec![0.0; out * inner];
                    let g = Matrix::new(g, rows, out, out).t();
                    multiply(&mut dw, inner, g, Matrix::new(x, rows, inner, inner), 0.0, 1.0);
                    dw
                })
            })??;
            Some(Tensor::from_vec(dw, (out, inner), x.device())?)
        } else {
            None
        };
        Ok((dx, dw))
    }
}

/// Rows past a weight that is read once for all of them.
fn few_rows((x, rows): (&[f32], usize), weight: &[f32], inner: usize, bias: Option<&[f32]>) -> Vec<f32> {
    let columns = few::products(x, weight, inner);
    let out = weight.len() / inner;
    let mut y = if rows == 1 {
        columns
    } else {
        (0..rows).flat_map(|row| columns.iter().skip(row).step_by(rows)).copied().collect()
    };
    if let Some(bias) = bias {
        y.chunks_exact_mut(out.max(1)).for_each(|y| y.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias));
    }
    y
}

fn many_rows((x, rows): (&[f32], usize), weight: &[f32], inner: usize, bias: Option<&[f32]>) -> Vec<f32> {
    let out = weight.len() / inner;
    let mut y = vec![0.0; rows * out];
    if let Some(bias) = bias {
        // Parts long enough that a thread is worth its while.
        let at_a_time = ((1 << 15) / out.max(1)).max(1);
        let rows = y.par_chunks_exact_mut(out.max(1)).with_min_len(at_a_time);
        rows.for_each(|y| y.copy_from_slice(bias));
    }
    let keep = if bias.is_some() { 1.0 } else { 0.0 };
    let (x, weight) = (Matrix::new(x, rows, inner, inner), Matrix::new(weight, out, inner, inner));
    multiply(&mut y, out, x, weight.t(), keep, 1.0);
    y
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Self::forward((x, xl), (w, wl), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.backward(x, w, grad)
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear with bias"
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
        Self::forward((x, xl), (w, wl), Some(values(b, bl)?))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dx, dw) = self.backward(x, w, grad)?;
        if !self.weight_grad {
            return Ok((dx, dw, None));
        }
        let db = with_values(grad, |g| {
            let mut db = vec![0.0; b.elem_count()];
            for row in g.chunks_exact(db.len()) {
                db.iter_mut().zip(row).for_each(|(sum, g)| *sum += g);
            }
            db
        })?;
        Ok((dx, dw, Some(Tensor::from_vec(db, b.dims(), b.device())?)))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Result, Tensor};

    use super::super::alone;
    use super::super::tests::{agree, sample};
    use super::linear;

    #[test]
    fn agrees_with_primitives() -> Result<()> {
        let inputs = [sample(&[2, 3, 5], 1)?, sample(&[4, 5], 2)?, sample(&[4], 3)?];
        let flat = |x: &Tensor, w: &Tensor| x.reshape((6, 5))?.matmul(&w.t()?)?.reshape((2, 3, 4));
        agree(&inputs, |a| linear(&a[0], &a[1], Some(&a[2])), |a| flat(&a[0], &a[1])?.broadcast_add(&a[2]))?;
        agree(&inputs[..2], |a| linear(&a[0], &a[1], None), |a| flat(&a[0], &a[1]))
    }

    #[test]
    fn a_row_past_a_large_weight_is_the_same_row_among_few_and_many_others() -> Result<()> {
        let (inner, out) = (300, 1100);
        let (x, weight, bias) = (sample(&[20, inner], 1)?, sample(&[out, inner], 2)?, sample(&[out], 3)?);
        let far = |a: &Tensor, b: &Tensor| (a - b)?.abs()?.max_all()?.to_scalar::<f32>();
        for bias in [None, Some(bias.as_tensor())] {
            let all = linear(x.as_tensor(), weight.as_tensor(), bias)?;
            for row in 0..3 {
                for among in [1, 2, 7] {
                    let some = linear(&x.narrow(0, row, among)?, weight.as_tensor(), bias)?;
                    assert!(far(&some, &all.narrow(0, row, among)?)? < 1e-4, "row {row} among {among}");
                }
            }
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(5).build().expect("threads can be started");
        let row = x.narrow(0, 0, 1)?.detach();
        let (weight, row) = (weight.as_tensor().detach(), &row);
        let many = pool.install(|| linear(row, &weight, None))?;
        let one = std::thread::scope(|scope| {
            let one = scope.spawn(|| alone(|| linear(row, &weight, None)));
            one.join().expect("the thread ends")
        })?;
        assert_eq!(many.to_vec2::<f32>()?, one.to_vec2::<f32>()?);
        Ok(())
    }

    #[test]
    fn a_frozen_weight_gets_no_gradient() -> Result<()> {
        let (x, w) = (sample(&[3, 5], 1)?, sample(&[4, 5], 2)?);
        let frozen = w.as_tensor().detach();
        let grads = linear(x.as_tensor(), &frozen, None)?.sum_all()?.backward()?;
        assert!(grads.get(&x).is_some() && grads.get(&frozen).is_none());
        Ok(())
    }
}
