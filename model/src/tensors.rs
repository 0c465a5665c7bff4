//! Where layers take their tensors from: names below a prefix, of tensors in full precision and of matrices that stay
//! quantised.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};
use candle_nn::{Init, VarBuilder};

use crate::ops::{self, Packed, Then};
use crate::quantised::Quantised;

/// Named tensors below a prefix.
#[derive(Clone)]
pub struct Tensors<'a> {
    full: VarBuilder<'a>,
    quantised: Option<Arc<dyn QuantisedMatrices>>,
}

/// A file that keeps matrices quantised.
pub trait QuantisedMatrices: Send + Sync {
    /// The matrix of that whole name; `None` where it is stored in full precision.
    fn matrix(&self, name: &str, shape: (usize, usize), device: &Device) -> Result<Option<Quantised>>;
}

impl<'a> From<&VarBuilder<'a>> for Tensors<'a> {
    fn from(full: &VarBuilder<'a>) -> Self {
        Self { full: full.clone(), quantised: None }
    }
}

impl From<&Self> for Tensors<'_> {
    fn from(tensors: &Self) -> Self {
        tensors.clone()
    }
}

impl<'a> Tensors<'a> {
    /// Full tensors from `full`, and those matrices that `quantised` has, as they are.
    pub fn with_quantised(full: &VarBuilder<'a>, quantised: Arc<dyn QuantisedMatrices>) -> Self {
        Self { full: full.clone(), quantised: Some(quantised) }
    }

    /// The tensors below `part`.
    #[must_use]
    pub fn pp(&self, part: impl ToString) -> Self {
        Self { full: self.full.pp(part), quantised: self.quantised.clone() }
    }

    /// The tensors in full precision.
    pub fn full(&self) -> &VarBuilder<'a> {
        &self.full
    }

    /// A matrix (out, in) as it is stored.
    pub fn matrix(&self, out: usize, inner: usize, name: &str, init: Init) -> Result<Matrix> {
        if let Some(quantised) = &self.quantised {
            let prefix = self.full.prefix();
            let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
            if let Some(matrix) = quantised.matrix(&path, (out, inner), self.full.device())? {
                return Ok(Matrix::Quantised(Arc::new(matrix)));
            }
        }
        Ok(Matrix::Full(self.full.get_with_hints((out, inner), name, init)?))
    }
}

/// A matrix (out, in), in the precision in which it is stored.
#[derive(Clone, Debug)]
pub enum Matrix {
    Full(Tensor),
    Quantised(Arc<Quantised>),
    /// Laid out for products, in f32: it is trained and changed no further.
    Packed(Arc<Packed>),
}

impl Matrix {
    /// (out, in)
    pub fn dims(&self) -> Result<(usize, usize)> {
        match self {
            Self::Full(weight) => weight.dims2(),
            Self::Quantised(weight) => Ok(weight.dims()),
            Self::Packed(weight) => Ok(weight.dims()),
        }
    }

    /// `x Wᵀ + b`: (…, in) to (…, out).
    pub fn apply(&self, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        match self {
            Self::Full(weight) => ops::linear(x, weight, bias),
            Self::Quantised(weight) => {
                let y = weight.apply(x)?;
                bias.map_or(Ok(y.clone()), |bias| y.broadcast_add(bias))
            }
            Self::Packed(weight) => weight.apply(x, bias, Then::Keep),
        }
    }

    /// The rows of these indices, (indices, in), in full precision.
    pub fn rows(&self, indices: &Tensor) -> Result<Tensor> {
        match self {
            Self::Full(weight) => weight.index_select(indices, 0),
            Self::Quantised(weight) => weight.rows(indices),
            Self::Packed(weight) => weight.rows(indices),
        }
    }

    /// In full precision.
    pub fn full(&self) -> Result<Tensor> {
        match self {
            Self::Full(weight) => Ok(weight.clone()),
            Self::Quantised(weight) => weight.full(),
            Self::Packed(weight) => weight.full(),
        }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Full(weight) => weight.elem_count() * weight.dtype().size_in_bytes(),
            Self::Quantised(weight) => weight.bytes(),
            Self::Packed(weight) => weight.bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;
    use candle_core::quantized::GgmlDType;

    use super::*;

    fn sample(shape: (usize, usize), step: f32) -> Tensor {
        let values: Vec<f32> = (0..shape.0 * shape.1).map(|i| (i as f32 * step).sin()).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    #[test]
    fn a_quantised_matrix_multiplies_gives_rows_and_lets_gradients_through() -> Result<()> {
        let full = sample((64, 256), 0.37);
        let matrix = Matrix::Quantised(Arc::new(Quantised::of(&full, GgmlDType::Q8_0, None)?));
        let near = |a: &Tensor, b: &Tensor, tolerance: f32| -> Result<()> {
            assert_eq!(a.dims(), b.dims());
            let off =
                (a - b)?.abs()?.max_all()?.to_scalar::<f32>()? / b.abs()?.max_all()?.to_scalar::<f32>()?;
            assert!(off < tolerance, "off by {off}");
            Ok(())
        };
        assert_eq!(matrix.dims()?, (64, 256));
        assert!(matrix.bytes() < Matrix::Full(full.clone()).bytes() / 3);
        let x = Var::from_tensor(&sample((5, 256), 0.11))?;
        let bias = sample((1, 64), 0.9).squeeze(0)?;
        let (y, want) = (matrix.apply(&x, Some(&bias))?, ops::linear(&x, &full, Some(&bias))?);
        near(&y, &want, 0.02)?;
        let dx =
            |y: &Tensor| -> Result<Tensor> { Ok(y.sqr()?.sum_all()?.backward()?.get(&x).unwrap().clone()) };
        near(&dx(&y)?, &dx(&want)?, 0.02)?;
        let rows = Tensor::new(&[3u32, 0, 63], &Device::Cpu)?;
        near(&matrix.rows(&rows)?, &full.index_select(&rows, 0)?, 0.01)
    }
}
