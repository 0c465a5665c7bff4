//! Sums of products of matrices in one piece of memory: what several linear layers that read the same input send back,
//! an adapter beside its weight, a residual under a layer's result.
//!
//! Nothing of them is remembered for a way back.

use candle_core::{Device, Result, Tensor, bail};

use super::gemm::{self, Matrix, multiply};
use super::{is_plain, with_values};

/// A product of two matrices, either of which is read transposed where it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Product<'a> {
    left: &'a Tensor,
    right: &'a Tensor,
    left_transposed: bool,
    right_transposed: bool,
    scale: f64,
}

impl<'a> Product<'a> {
    /// `left right`: what a linear layer with the weight `right` sends back, of the gradient `left`.
    pub fn new(left: &'a Tensor, right: &'a Tensor) -> Self {
        Self { left, right, left_transposed: false, right_transposed: false, scale: 1.0 }
    }

    /// `x Wᵀ`: a linear layer.
    pub fn linear(x: &'a Tensor, weight: &'a Tensor) -> Self {
        Self { right_transposed: true, ..Self::new(x, weight) }
    }

    /// `leftᵀ right`: a weight's gradient, of that of the layer's result and of what the layer read.
    pub fn outer(left: &'a Tensor, right: &'a Tensor) -> Self {
        Self { left_transposed: true, ..Self::new(left, right) }
    }

    /// The same, multiplied by `scale`.
    #[must_use]
    pub fn scaled(self, scale: f64) -> Self {
        Self { scale: self.scale * scale, ..self }
    }

    /// Rows, columns, and the inner size.
    fn dims(&self) -> Result<(usize, usize, usize)> {
        let (mut rows, mut inner) = self.left.dims2()?;
        if self.left_transposed {
            (rows, inner) = (inner, rows);
        }
        let (mut right_inner, mut columns) = self.right.dims2()?;
        if self.right_transposed {
            (right_inner, columns) = (columns, right_inner);
        }
        if inner != right_inner {
            bail!("a product of {:?} and {:?}", self.left.dims(), self.right.dims());
        }
        Ok((rows, columns, inner))
    }

    /// The product, added to `before`, row after row.
    fn add_to(&self, before: Option<Vec<f32>>) -> Result<Vec<f32>> {
        let (_, columns, _) = self.dims()?;
        let ((left_rows, left_columns), (right_rows, right_columns)) =
            (self.left.dims2()?, self.right.dims2()?);
        with_values(self.left, |left| {
            with_values(self.right, |right| {
                let left = Matrix::new(left, left_rows, left_columns, left_columns);
                let left = if self.left_transposed { left.t() } else { left };
                let right = Matrix::new(right, right_rows, right_columns, right_columns);
                let right = if self.right_transposed { right.t() } else { right };
                let scale = self.scale as f32;
                match before {
                    None => gemm::product(left, right, scale),
                    Some(mut sum) => {
                        multiply(&mut sum, columns, left, right, 1.0, scale);
                        sum
                    }
                }
            })
        })?
    }

    fn with_primitives(&self) -> Result<Tensor> {
        let turned = |x: &Tensor, is_transposed: bool| if is_transposed { x.t() } else { Ok(x.clone()) };
        let left = turned(&self.left.detach(), self.left_transposed)?;
        let right = turned(&self.right.detach(), self.right_transposed)?;
        let product = left.matmul(&right)?;
        if self.scale == 1.0 { Ok(product) } else { product * self.scale }
    }
}

/// `plus` and the products, all of one shape, added up.
///
/// # Errors
/// Of products of different shapes, or when there is nothing to add up.
pub fn sum_of_products(plus: Option<&Tensor>, products: &[Product<'_>]) -> Result<Tensor> {
    let Some(first) = products.first() else { bail!("a sum of no products") };
    let (rows, columns, _) = first.dims()?;
    for product in products {
        let (own_rows, own_columns, _) = product.dims()?;
        if (own_rows, own_columns) != (rows, columns) {
            bail!("a sum of products of {rows} × {columns} and {own_rows} × {own_columns}");
        }
    }
    if let Some(plus) = plus.filter(|plus| plus.dims() != [rows, columns]) {
        bail!("a product of {rows} × {columns} added to {:?}", plus.dims());
    }
    if plus.is_none_or(is_plain) && products.iter().all(|p| is_plain(p.left) && is_plain(p.right)) {
        let mut sum = plus.map(|plus| with_values(plus, <[f32]>::to_vec)).transpose()?;
        for product in products {
            sum = Some(product.add_to(sum.take())?);
        }
        return Tensor::from_vec(sum.unwrap_or_default(), (rows, columns), &Device::Cpu);
    }
    let mut sum = plus.map(Tensor::detach);
    for product in products {
        let product = product.with_primitives()?;
        sum = Some(match sum {
            None => product,
            Some(sum) => (sum + product)?,
        });
    }
    sum.ok_or_else(|| candle_core::Error::Msg("a sum of no products".to_owned()))
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Result, Tensor};

    use super::super::tests::sample;
    use super::{Product, sum_of_products};

    #[test]
    fn sums_are_those_of_the_primitives_and_remember_nothing() -> Result<()> {
        let (x, w) = (sample(&[6, 5], 1)?, sample(&[4, 5], 2)?);
        let (g, v) = (sample(&[3, 6], 3)?, sample(&[3, 4], 4)?);
        let plus = sample(&[6, 4], 5)?;
        let products = [Product::linear(&x, &w).scaled(0.5), Product::outer(&g, &v).scaled(-1.0).scaled(3.0)];
        let got = sum_of_products(Some(&plus), &products)?;
        let linear = (x.matmul(&w.t()?)? * 0.5)?;
        let outer = (g.t()?.matmul(v.as_tensor())? * -3.0)?;
        let want = ((plus.as_tensor() + &linear)? + &outer)?;
        let off = |a: &Tensor, b: &Tensor| (a - b)?.abs()?.max_all()?.to_scalar::<f64>();
        let wide = |x: &Tensor| x.to_dtype(DType::F64);
        assert!(off(&wide(&got)?, &wide(&want)?)? < 1e-5);
        assert!(!got.track_op());
        let plain = sum_of_products(None, &[Product::new(&linear, &w)])?;
        assert!(off(&wide(&plain)?, &wide(&linear.matmul(w.as_tensor())?)?)? < 1e-5);
        let (x, w) = (wide(&x)?, wide(&w)?);
        let primitives = sum_of_products(None, &[Product::linear(&x, &w).scaled(0.5)])?;
        assert!(off(&primitives, &wide(&linear)?)? < 1e-5);
        assert!(!primitives.track_op());
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_refused() -> Result<()> {
        let (x, w, plus) = (sample(&[6, 5], 1)?, sample(&[4, 5], 2)?, sample(&[6, 5], 3)?);
        assert!(sum_of_products(None, &[Product::new(&x, &w)]).is_err());
        assert!(sum_of_products(Some(&plus), &[Product::linear(&x, &w)]).is_err());
        assert!(sum_of_products(None, &[Product::linear(&x, &w), Product::linear(&w, &w)]).is_err());
        assert!(sum_of_products(None, &[]).is_err());
        Ok(())
    }
}
