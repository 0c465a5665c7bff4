//! Linear layers as a pass over many tokens takes them, forward and back, without candle's graph: the weight is frozen,
//! an adapter learns.
//!
//! An adapter of rank r costs as much beside a layer of width 2 r as the layer itself. Where there are more tokens than
//! it takes to add it to the weight, it is added: every product with the tokens is then of the layer's size alone. The
//! sum is made anew for each use, so that no second copy of the model is kept. Where the weight is not in f32 the adapter
//! stays beside it (added, it would be rounded away) and is brought to the precision of what goes through, as PEFT does
//! under autocast; its own values and their gradients are kept in f32.

use candle_core::{DType, Result, Tensor, TensorId};

use super::{Linear, LoraPair};
use crate::ops::{Product, sum_of_products};
use crate::tensors::Matrix;

/// The gradient of a variable, by the variable's id.
pub type Learnt = (TensorId, Tensor);

/// What goes back through a linear layer.
pub(crate) struct Passed {
    /// Left and right side and scale of the products whose sum is the gradient of what the layer read.
    products: Vec<(Tensor, Tensor, f64)>,
    /// Of the adapter's two matrices, where they learn.
    pub(crate) learnt: Vec<Learnt>,
}

/// The gradient of what several layers read, from what goes back through each of them.
pub(crate) fn read_gradient(layers: &[&Passed]) -> Result<Tensor> {
    let all = layers.iter().flat_map(|layer| &layer.products);
    let products: Vec<Product<'_>> = all.map(|(l, r, scale)| Product::new(l, r).scaled(*scale)).collect();
    sum_of_products(None, &products)
}

impl Linear {
    /// What the layer makes of `x` (rows, in), added to `plus`: (rows, out). Nothing is remembered.
    pub(crate) fn pass(&self, x: &Tensor, plus: Option<&Tensor>) -> Result<Tensor> {
        let (weight, bias) = self.parts();
        let whole = self.whole(x)?;
        let mut y = match (&whole, weight) {
            (Some(weight), _) | (None, Matrix::Full(weight)) => {
                sum_of_products(plus, &[Product::linear(x, weight)])?
            }
            (None, Matrix::Packed(weight)) => sum_of_products(plus, &[Product::linear(x, &weight.full()?)])?,
            (None, Matrix::Quantised(weight)) => {
                let y = weight.apply(&x.detach())?.detach();
                plus.map_or_else(|| Ok(y.clone()), |plus| plus + &y)?
            }
        };
        if whole.is_none() {
            for pair in self.beside() {
                let LoraPair { a, b, scale } = pair.beside(x)?;
                let inner = sum_of_products(None, &[Product::linear(x, &a).scaled(scale)])?;
                y = sum_of_products(Some(&y), &[Product::linear(&inner, &b)])?;
            }
        }
        bias.map_or_else(|| Ok(y.clone()), |bias| y.broadcast_add(&bias.detach()))
    }

    /// What goes back of `grad` (rows, out), the gradient of the layer's result of `x`; with the adapter's gradients
    /// where it `learns`.
    pub(crate) fn pass_back(&self, x: &Tensor, grad: &Tensor, learns: bool) -> Result<Passed> {
        let (weight, _) = self.parts();
        let mut passed = Passed { products: Vec::new(), learnt: Vec::new() };
        let whole = self.whole(x)?;
        let is_whole = whole.is_some();
        let weight = match (whole, weight) {
            (Some(weight), _) => weight,
            (None, Matrix::Full(weight)) => weight.detach(),
            (None, Matrix::Packed(weight)) => weight.full()?.to_dtype(grad.dtype())?,
            (None, Matrix::Quantised(weight)) => weight.full()?.to_dtype(grad.dtype())?,
        };
        passed.products.push((grad.clone(), weight, 1.0));
        if !is_whole {
            for pair in self.beside() {
                let LoraPair { a, b, scale } = pair.beside(x)?;
                let inner = sum_of_products(None, &[Product::new(grad, &b)])?;
                passed.products.push((inner, a, scale));
            }
        }
        if let Some(pair) = self.adapter().filter(|_| learns) {
            passed.learnt = pair.learn(x, grad)?;
        }
        Ok(passed)
    }

    /// Adapters that are not part of the weight.
    fn beside(&self) -> impl Iterator<Item = &LoraPair> {
        self.merged.iter().chain(&self.adapter)
    }

    /// The weight with its adapter added, where that is less work than taking the rows of `x` past it.
    fn whole(&self, x: &Tensor) -> Result<Option<Tensor>> {
        let (Matrix::Full(weight), Some(pair)) = (&self.weight, &self.adapter) else { return Ok(None) };
        let (out, inner) = weight.dims2()?;
        if weight.dtype() != DType::F32 || !self.merged.is_empty() || x.dim(0)? * (out + inner) <= out * inner
        {
            return Ok(None);
        }
        pair.added_to(weight, 1.0).map(Some)
    }
}

impl LoraPair {
    /// The pair in the precision of `x`, without a memory of what it came from.
    fn beside(&self, x: &Tensor) -> Result<Self> {
        let of = |values: &Tensor| values.detach().to_dtype(x.dtype());
        Ok(Self { a: of(&self.a)?, b: of(&self.b)?, scale: self.scale })
    }

    /// Gradients of both matrices from what the layer read (rows, in) and the gradient of its result (rows, out).
    ///
    /// By way of the gradient of the whole weight where that takes fewer products, as it does when the rank is large for
    /// the layer.
    fn learn(&self, x: &Tensor, grad: &Tensor) -> Result<Vec<Learnt>> {
        let LoraPair { a, b, scale } = self.beside(x)?;
        let (rows, inner, out, rank) = (x.dim(0)?, x.dim(1)?, grad.dim(1)?, a.dim(0)?);
        let (by_whole, by_rank) = ((rows + 2 * rank) * inner * out, 2 * rows * (inner + out) * rank);
        let (a_grad, b_grad) = if by_whole < by_rank && x.dtype() == DType::F32 {
            let whole = sum_of_products(None, &[Product::outer(grad, x)])?;
            (
                sum_of_products(None, &[Product::outer(&b, &whole).scaled(scale)])?,
                sum_of_products(None, &[Product::linear(&whole, &a).scaled(scale)])?,
            )
        } else {
            let narrow_grad = sum_of_products(None, &[Product::new(grad, &b)])?;
            let narrow = sum_of_products(None, &[Product::linear(x, &a)])?;
            (
                sum_of_products(None, &[Product::outer(&narrow_grad, x).scaled(scale)])?,
                sum_of_products(None, &[Product::outer(grad, &narrow).scaled(scale)])?,
            )
        };
        Ok(vec![(self.a.id(), a_grad), (self.b.id(), b_grad)])
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::quantized::GgmlDType;
    use candle_core::{Device, Var};

    use super::*;
    use crate::quantised::Quantised;

    const OUT: usize = 24;
    const INNER: usize = 32;

    fn sample(rows: usize, columns: usize, step: f64) -> Result<Tensor> {
        let values = (0..rows * columns).map(|i| (i as f64 * step).sin() as f32 * 0.5);
        Tensor::from_vec(values.collect::<Vec<_>>(), (rows, columns), &Device::Cpu)
    }

    /// A layer with an adapter of variables, and these.
    fn layer(weight: Matrix, rank: usize) -> Result<(Linear, Var, Var)> {
        let a = Var::from_tensor(&sample(rank, INNER, 0.7)?)?;
        let b = Var::from_tensor(&sample(OUT, rank, 1.3)?)?;
        let mut linear = Linear::new(weight, None);
        let (a_tensor, b_tensor) = (a.as_tensor().clone(), b.as_tensor().clone());
        linear.put_adapter(Some(LoraPair { a: a_tensor, b: b_tensor, scale: 2.0 }));
        Ok((linear, a, b))
    }

    fn far(a: &Tensor, b: &Tensor) -> Result<f32> {
        assert_eq!(a.dims(), b.dims());
        (a - b)?.abs()?.max_all()?.to_scalar()
    }

    /// Largest differences of the result and of the gradients of `x`, A and B from those of candle's graph.
    fn differences(weight: Matrix, rank: usize, rows: usize) -> Result<[f32; 4]> {
        let (linear, a, b) = layer(weight, rank)?;
        let x = Var::from_tensor(&sample(rows, INNER, 0.37)?)?;
        let (plus, grad) = (sample(rows, OUT, 0.9)?, sample(rows, OUT, 2.1)?);
        let want = (linear.forward(&x)? + &plus)?;
        let store = (&want * &grad)?.sum_all()?.backward()?;
        let plain = x.detach();
        let got = linear.pass(&plain, Some(&plus))?;
        assert!(!got.track_op());
        let passed = linear.pass_back(&plain, &grad, true)?;
        let ids: Vec<TensorId> = passed.learnt.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, [a.id(), b.id()]);
        assert!(linear.pass_back(&plain, &grad, false)?.learnt.is_empty());
        Ok([
            far(&got, &want)?,
            far(&read_gradient(&[&passed])?, store.get(&x).unwrap())?,
            far(&passed.learnt[0].1, store.get(&a).unwrap())?,
            far(&passed.learnt[1].1, store.get(&b).unwrap())?,
        ])
    }

    #[test]
    fn few_tokens_and_many_pass_as_through_candles_graph() -> Result<()> {
        let weight = sample(OUT, INNER, 0.11)?;
        // Of 13 rows the adapter stays beside, of 14 it is added; the gradients of rank 2 go by the rank, of rank 16 not.
        for (rank, rows) in [(2, 3), (2, 13), (2, 14), (2, 60), (16, 3), (16, 60)] {
            for far in differences(Matrix::Full(weight.clone()), rank, rows)? {
                assert!(far < 2e-4, "rank {rank}, {rows} rows: {far}");
            }
        }
        let (linear, ..) = layer(Matrix::Full(weight), 2)?;
        assert!(linear.whole(&sample(13, INNER, 0.5)?)?.is_none());
        assert!(linear.whole(&sample(14, INNER, 0.5)?)?.is_some());
        Ok(())
    }

    #[test]
    fn a_quantised_weight_keeps_its_adapter_beside_it() -> Result<()> {
        let weight = Quantised::of(&sample(OUT, INNER, 0.11)?, GgmlDType::Q8_0, None)?;
        for far in differences(Matrix::Quantised(Arc::new(weight)), 4, 60)? {
            assert!(far < 2e-4, "{far}");
        }
        Ok(())
    }

    #[test]
    fn beside_half_precision_an_adapter_and_its_gradients_are_nearly_those_of_single() -> Result<()> {
        let weight = sample(OUT, INNER, 0.11)?;
        let (single, ..) = layer(Matrix::Full(weight.clone()), 4)?;
        let (half, ..) = layer(Matrix::Full(weight.to_dtype(DType::BF16)?), 4)?;
        let (x, grad) = (sample(20, INNER, 0.37)?, sample(20, OUT, 2.1)?);
        let (half_x, half_grad) = (x.to_dtype(DType::BF16)?, grad.to_dtype(DType::BF16)?);
        let near = |got: &Tensor, want: &Tensor| -> Result<()> {
            let got = got.to_dtype(DType::F32)?;
            let dot = |a: &Tensor, b: &Tensor| (a * b)?.sum_all()?.to_scalar::<f32>();
            let cosine = dot(&got, want)? / (dot(&got, &got)? * dot(want, want)?).sqrt();
            assert!(cosine > 0.999, "{cosine}");
            Ok(())
        };
        assert_eq!(half.pass(&half_x, None)?.dtype(), DType::BF16);
        near(&half.pass(&half_x, None)?, &single.pass(&x, None)?)?;
        near(&half.forward(&half_x)?, &single.forward(&x)?)?;
        let (got, want) = (half.pass_back(&half_x, &half_grad, true)?, single.pass_back(&x, &grad, true)?);
        near(&read_gradient(&[&got])?, &read_gradient(&[&want])?)?;
        for (got, want) in got.learnt.iter().zip(&want.learnt) {
            near(&got.1, &want.1)?;
        }
        Ok(())
    }
}
