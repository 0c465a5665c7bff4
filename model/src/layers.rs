//! The layers that encoders, projector and language model share.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};

use crate::ops;

/// A linear layer, with at most one active LoRA adapter: `y = W x + b + (α / rank) · B A x`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// (out, in)
    weight: Tensor,
    /// (out)
    bias: Option<Tensor>,
    adapter: Option<LoraPair>,
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

#[derive(Clone, Debug)]
struct LoraPair {
    /// (rank, in)
    a: Tensor,
    /// (out, rank)
    b: Tensor,
    scale: f64,
}

impl Linear {
    /// A layer without bias.
    pub fn load(vb: &VarBuilder<'_>, inner: usize, out: usize) -> Result<Self> {
        let weight = vb.get_with_hints((out, inner), "weight", candle_nn::init::DEFAULT_KAIMING_NORMAL)?;
        Ok(Self { weight, bias: None, adapter: None })
    }

    /// A layer with bias.
    pub fn load_with_bias(vb: &VarBuilder<'_>, inner: usize, out: usize) -> Result<Self> {
        let mut layer = Self::load(vb, inner, out)?;
        layer.bias = Some(vb.get_with_hints(out, "bias", Init::Const(0.0))?);
        Ok(layer)
    }

    /// A layer without bias that shares its weight (tied embeddings).
    pub fn from_weight(weight: Tensor) -> Self {
        Self { weight, bias: None, adapter: None }
    }

    /// Puts an adapter on the layer; `vb` holds `lora_A.weight` and `lora_B.weight` (PEFT `LoraLayer`, A drawn as
    /// Kaiming-uniform(√5), B zero).
    pub fn adapt(&mut self, vb: &VarBuilder<'_>, lora: &LoraConfig) -> Result<()> {
        let (out, inner) = self.weight.dims2()?;
        let bound = (inner as f64).sqrt().recip();
        let a =
            vb.get_with_hints((lora.rank, inner), "lora_A.weight", Init::Uniform { lo: -bound, up: bound })?;
        let b = vb.get_with_hints((out, lora.rank), "lora_B.weight", Init::Const(0.0))?;
        self.adapter = Some(LoraPair { a, b, scale: lora.scale() });
        Ok(())
    }

    /// Adds the adapter to the weight, so that it costs nothing any more.
    pub fn merge(&mut self) -> Result<()> {
        if let Some(LoraPair { a, b, scale }) = self.adapter.take() {
            let update = (b.matmul(&a)? * scale)?.to_dtype(self.weight.dtype())?;
            self.weight = (&self.weight + update)?;
        }
        Ok(())
    }

    /// `x` is (…, in), the result (…, out).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = ops::linear(x, &self.weight, self.bias.as_ref())?;
        match &self.adapter {
            None => Ok(y),
            Some(LoraPair { a, b, scale }) => {
                let inner = (ops::linear(x, a, None)? * *scale)?;
                y + ops::linear(&inner, b, None)?
            }
        }
    }
}

impl Linear {
    /// The layer with each output channel multiplied by `scale` (out), which is folded into the weights: they are much
    /// smaller than what goes through them.
    pub fn forward_scaled(&self, x: &Tensor, scale: Option<&Tensor>) -> Result<Tensor> {
        let Some(scale) = scale else { return self.forward(x) };
        let weight = self.weight.broadcast_mul(&scale.unsqueeze(1)?)?;
        let bias = self.bias.as_ref().map(|bias| bias * scale).transpose()?;
        ops::linear(x, &weight, bias.as_ref())
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
