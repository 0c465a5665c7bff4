//! The layers that encoders, projector and language model share.

mod passed;

use std::sync::Arc;

use candle_core::{DType, Result, Tensor, TensorId, bail};
use candle_nn::{Init, VarBuilder};

pub use self::passed::Learnt;
pub(crate) use self::passed::read_gradient;
use crate::ops::{self, Packed, Product, RowCount, Then};
use crate::tensors::{Matrix, Tensors};

/// A linear layer, with at most one LoRA adapter that can be taken off: `y = W x + b + (α / rank) · B A x`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// (out, in)
    weight: Matrix,
    /// (out)
    bias: Option<Tensor>,
    adapter: Option<LoraPair>,
    /// Adapters that belong to a quantised weight for good.
    merged: Vec<LoraPair>,
}

/// How adapters are made (PEFT `LoraConfig`).
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LoraConfig {
    pub rank: usize,
    pub alpha: f64,
}

impl LoraConfig {
    /// What `B A x` is multiplied by.
    pub fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }
}

/// What an adapter adds to one layer; a clone shares its values.
#[derive(Clone, Debug)]
pub(crate) struct LoraPair {
    /// (rank, in)
    a: Tensor,
    /// (out, rank)
    b: Tensor,
    scale: f64,
}

impl LoraPair {
    /// Ids of its two tensors.
    pub(crate) fn ids(&self) -> [TensorId; 2] {
        [self.a.id(), self.b.id()]
    }

    /// The same values, which do not change when those of the pair do, in another precision where it is asked for.
    pub(crate) fn copied(&self, dtype: Option<DType>) -> Result<Self> {
        let copy = |x: &Tensor| x.detach().copy()?.to_dtype(dtype.unwrap_or(x.dtype()));
        Ok(Self { a: copy(&self.a)?, b: copy(&self.b)?, scale: self.scale })
    }

    /// `weight` (out, in) with `scale · B A` times `sign` added, rounded once.
    fn added_to(&self, weight: &Tensor, sign: f64) -> Result<Tensor> {
        let single = |x: &Tensor| x.detach().to_dtype(DType::F32);
        let (a, b) = (single(&self.a)?, single(&self.b)?);
        let update = Product::new(&b, &a).scaled(self.scale * sign);
        ops::sum_of_products(Some(&single(weight)?), &[update])?.to_dtype(weight.dtype())
    }
}

impl Linear {
    /// A layer without bias.
    pub fn load<'a>(tensors: impl Into<Tensors<'a>>, inner: usize, out: usize) -> Result<Self> {
        let init = candle_nn::init::DEFAULT_KAIMING_NORMAL;
        Ok(Self::new(tensors.into().matrix(out, inner, "weight", init)?, None))
    }

    /// A layer with bias.
    pub fn load_with_bias(vb: &VarBuilder<'_>, inner: usize, out: usize) -> Result<Self> {
        let mut layer = Self::load(vb, inner, out)?;
        layer.bias = Some(vb.get_with_hints(out, "bias", Init::Const(0.0))?);
        Ok(layer)
    }

    /// A layer whose weight is as it is stored, with a bias in full precision.
    pub fn load_biased(tensors: &Tensors<'_>, inner: usize, out: usize) -> Result<Self> {
        let mut layer = Self::load(tensors, inner, out)?;
        layer.bias = Some(tensors.full().get_with_hints(out, "bias", Init::Const(0.0))?);
        Ok(layer)
    }

    /// A layer of a weight (out, in) that is there already, and a bias (out).
    pub fn new(weight: Matrix, bias: Option<Tensor>) -> Self {
        Self { weight, bias, adapter: None, merged: Vec::new() }
    }

    /// Puts an adapter on the layer; `vb` holds `lora_A.weight` and `lora_B.weight` (PEFT `LoraLayer`, A drawn as
    /// Kaiming-uniform(√5), B zero).
    pub fn adapt(&mut self, vb: &VarBuilder<'_>, lora: &LoraConfig) -> Result<()> {
        let (out, inner) = self.weight.dims()?;
        let bound = (inner as f64).sqrt().recip();
        let a =
            vb.get_with_hints((lora.rank, inner), "lora_A.weight", Init::Uniform { lo: -bound, up: bound })?;
        let b = vb.get_with_hints((out, lora.rank), "lora_B.weight", Init::Const(0.0))?;
        self.adapter = Some(LoraPair { a, b, scale: lora.scale() });
        Ok(())
    }

    /// Takes the adapter off.
    pub(crate) fn take_adapter(&mut self) -> Option<LoraPair> {
        self.adapter.take()
    }

    /// Puts an adapter on in place of the one that is there.
    pub(crate) fn put_adapter(&mut self, adapter: Option<LoraPair>) {
        self.adapter = adapter;
    }

    /// Adds the adapter to a weight in full precision, so that it costs nothing any more. A quantised weight keeps its
    /// adapters beside it: added, they would be rounded away.
    pub fn merge(&mut self) -> Result<()> {
        if self.adapter.is_some() && matches!(self.weight, Matrix::Packed(_)) {
            bail!("an adapter cannot be added to a packed weight");
        }
        let Some(pair) = self.adapter.take() else { return Ok(()) };
        match &mut self.weight {
            Matrix::Full(weight) => *weight = pair.added_to(weight, 1.0)?,
            Matrix::Quantised(_) => self.merged.push(pair),
            Matrix::Packed(_) => {}
        }
        Ok(())
    }

    /// Takes a merged adapter out of the weight again and puts it on beside it.
    pub(crate) fn unmerge(&mut self, pair: LoraPair) -> Result<()> {
        match &mut self.weight {
            Matrix::Full(weight) => *weight = pair.added_to(weight, -1.0)?,
            Matrix::Quantised(_) => drop(self.merged.pop()),
            Matrix::Packed(_) => bail!("an adapter cannot be taken out of a packed weight"),
        }
        self.adapter = Some(pair);
        Ok(())
    }

    /// The layer with values that do not change when those of this one do; without an adapter.
    pub(crate) fn copied(&self) -> Result<Self> {
        let weight = match &self.weight {
            Matrix::Full(weight) => Matrix::Full(weight.detach().copy()?),
            // These do not change.
            Matrix::Quantised(_) | Matrix::Packed(_) => self.weight.clone(),
        };
        let bias = self.bias.as_ref().map(|bias| bias.detach().copy()).transpose()?;
        Ok(Self { weight, bias, adapter: None, merged: self.merged.clone() })
    }

    /// The adapter that is on the layer.
    pub(crate) fn adapter(&self) -> Option<&LoraPair> {
        self.adapter.as_ref()
    }

    /// The weight without the adapter, and the bias.
    pub(crate) fn parts(&self) -> (&Matrix, Option<&Tensor>) {
        (&self.weight, self.bias.as_ref())
    }

    /// The rows of the weight that give these outputs (indices), (outputs, in) in full precision; without the adapter.
    pub fn weight_rows(&self, outputs: &Tensor) -> Result<Tensor> {
        self.weight.rows(outputs)
    }

    /// `x` is (…, in), the result (…, out).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut y = self.weight.apply(x, self.bias.as_ref())?;
        for LoraPair { a, b, scale } in self.merged.iter().chain(&self.adapter) {
            let inner = (ops::linear(x, &a.to_dtype(x.dtype())?, None)? * *scale)?;
            y = (y + ops::linear(&inner, &b.to_dtype(x.dtype())?, None)?)?;
        }
        Ok(y)
    }
}

impl Linear {
    /// The layer with each output channel multiplied by `scale` (out), once and for all.
    ///
    /// # Errors
    /// Of a quantised weight: its scales are those of its file. Of a packed one: it is scaled before it is packed.
    pub fn fold(&mut self, scale: &Tensor) -> Result<()> {
        let Matrix::Full(weight) = &mut self.weight else {
            bail!("a quantised or packed weight cannot be scaled");
        };
        *weight = weight.broadcast_mul(&scale.unsqueeze(1)?)?;
        self.bias = self.bias.as_ref().map(|bias| bias * scale).transpose()?;
        Ok(())
    }

    /// The layer with each output channel multiplied by `scale` (out), which is folded into the weights: in training
    /// they are smaller than what goes through them and what is kept of that.
    pub fn forward_scaled(&self, x: &Tensor, scale: Option<&Tensor>) -> Result<Tensor> {
        let Some(scale) = scale else { return self.forward(x) };
        let Matrix::Full(weight) = &self.weight else { return self.forward(x)?.broadcast_mul(scale) };
        let weight = weight.broadcast_mul(&scale.unsqueeze(1)?)?;
        let bias = self.bias.as_ref().map(|bias| bias * scale).transpose()?;
        ops::linear(x, &weight, bias.as_ref())
    }

    /// Lays the weight out for products, where there is a kernel for it: for a layer that is trained and changed no
    /// further, and that so many rows go through. A weight that is a variable stays as it is.
    pub fn pack(&mut self, rows: RowCount) -> Result<()> {
        if let Matrix::Full(weight) = &self.weight
            && let Some(packed) = Packed::of(weight, rows)?
        {
            self.weight = Matrix::Packed(Arc::new(packed));
        }
        Ok(())
    }

    /// The packed weight, where nothing else belongs to the layer.
    fn packed(&self) -> Option<&Packed> {
        match &self.weight {
            Matrix::Packed(weight) if self.adapter.is_none() && self.merged.is_empty() => Some(weight),
            _ => None,
        }
    }

    /// Exact GELU of what the layer gives.
    pub fn forward_gelu(&self, x: &Tensor) -> Result<Tensor> {
        match self.packed() {
            Some(weight) => weight.apply(x, self.bias.as_ref(), Then::Gelu),
            None => ops::gelu(&self.forward(x)?),
        }
    }

    /// What the layer gives, scaled as by [`Self::forward_scaled`], on top of `residual` (…, out).
    pub fn forward_onto(&self, residual: &Tensor, x: &Tensor, scale: Option<&Tensor>) -> Result<Tensor> {
        match self.packed().filter(|_| scale.is_none()) {
            Some(weight) => weight.apply(x, self.bias.as_ref(), Then::Add(residual)),
            None => residual + self.forward_scaled(x, scale)?,
        }
    }
}

/// Root-mean-square normalisation.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    weight: Tensor,
    eps: f64,
}

impl RmsNorm {
    /// `hidden` is the size of the last axis.
    pub fn load(vb: &VarBuilder<'_>, hidden: usize, eps: f64) -> Result<Self> {
        Ok(Self { weight: vb.get_with_hints(hidden, "weight", Init::Const(1.0))?, eps })
    }

    /// Normalises the last axis.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::rms_norm(x, &self.weight, self.eps)
    }

    /// The gradient of `x` from that of the result, added to `plus`; the weight is frozen.
    pub(crate) fn back(&self, x: &Tensor, grad: &Tensor, plus: Option<&Tensor>) -> Result<Tensor> {
        ops::rms_norm_back(x, &self.weight, self.eps, grad, plus)
    }
}

/// Layer normalisation with bias.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// `hidden` is the size of the last axis.
    pub fn load(vb: &VarBuilder<'_>, hidden: usize, eps: f64) -> Result<Self> {
        let weight = vb.get_with_hints(hidden, "weight", Init::Const(1.0))?;
        Ok(Self { weight, bias: vb.get_with_hints(hidden, "bias", Init::Const(0.0))?, eps })
    }

    /// Normalises the last axis.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm(x, &self.weight, &self.bias, self.eps)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{D, Device};

    use super::*;

    fn sample(shape: &[usize], step: f32) -> Result<Tensor> {
        let count: usize = shape.iter().product();
        Tensor::from_vec((0..count).map(|i| (i as f32 * step).sin()).collect::<Vec<_>>(), shape, &Device::Cpu)
    }

    fn near(got: &Tensor, want: &Tensor) -> Result<()> {
        assert_eq!(got.dims(), want.dims());
        let off = (got - want)?.abs()?.flatten_all()?.max(D::Minus1)?.to_scalar::<f32>()?;
        assert!(off < 1e-4, "off by {off}");
        Ok(())
    }

    #[test]
    fn a_packed_layer_gives_what_the_plain_one_gives_and_stays_as_it_is() -> Result<()> {
        let (weight, bias) = (sample(&[70, 33], 0.37)?, sample(&[70], 0.9)?);
        let mut plain = Linear::new(Matrix::Full(weight), Some(bias));
        let scale = sample(&[70], 0.21)?;
        plain.fold(&scale)?;
        let mut packed = plain.clone();
        packed.pack(RowCount::Many)?;
        let (x, residual) = (sample(&[2, 5, 33], 0.11)?, sample(&[2, 5, 70], 0.13)?);
        near(&packed.forward(&x)?, &plain.forward(&x)?)?;
        near(&packed.forward_scaled(&x, Some(&scale))?, &plain.forward_scaled(&x, Some(&scale))?)?;
        near(&packed.forward_gelu(&x)?, &ops::gelu(&plain.forward(&x)?)?)?;
        near(&packed.forward_onto(&residual, &x, None)?, &(&residual + plain.forward(&x)?)?)?;
        let scaled = packed.forward_onto(&residual, &x, Some(&scale))?;
        near(&scaled, &(&residual + plain.forward_scaled(&x, Some(&scale))?)?)?;
        let rows = Tensor::new(&[69u32, 1], &Device::Cpu)?;
        near(&packed.weight_rows(&rows)?, &plain.weight_rows(&rows)?)?;
        let Some(_) = packed.packed() else {
            eprintln!("skipped: there is no kernel for this processor");
            return Ok(());
        };
        let refused = packed.fold(&scale).expect_err("it is packed").to_string();
        assert!(refused.contains("packed weight cannot be scaled"), "{refused}");
        packed.adapter = Some(LoraPair { a: sample(&[2, 33], 0.3)?, b: sample(&[70, 2], 0.4)?, scale: 1.0 });
        plain.adapter.clone_from(&packed.adapter);
        near(&packed.forward(&x)?, &plain.forward(&x)?)?;
        near(&packed.forward_gelu(&x)?, &ops::gelu(&plain.forward(&x)?)?)?;
        assert!(packed.merge().is_err());
        Ok(())
    }
}
