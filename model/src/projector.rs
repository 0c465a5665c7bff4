//! From the encoders' features to the language model's embeddings: concatenation on channels over one grid, averages
//! over squares of cells, and a two-layer MLP with exact GELU (paper, section 2.2; LLaVA's `mlp2x_gelu`).

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::layers::Linear;
use crate::ops;

/// Joins the encoders' outputs (batch, 1 + cells, width) into (batch, cells / pool², sum of widths), row by row.
///
/// The class tokens are left out: what is joined keeps its place in the field.
pub fn fuse(features: &[Tensor], pool: usize) -> Result<Tensor> {
    let cells: Vec<Tensor> = features
        .iter()
        .map(|f| {
            let (_, tokens, _) = f.dims3()?;
            f.narrow(1, 1, tokens - 1)
        })
        .collect::<Result<_>>()?;
    let joined = Tensor::cat(&cells, 2)?;
    if pool == 1 {
        return Ok(joined);
    }
    let (batch, cells, width) = joined.dims3()?;
    let side = cells.isqrt() / pool;
    joined
        .reshape(vec![batch, side, pool, side, pool, width])?
        .mean((2, 4))? // (batch, side, side, width)
        .reshape((batch, side * side, width))
}

/// The two-layer MLP, with LLaVA's names below `vb`: `0.weight`, `0.bias`, `2.weight`, `2.bias`.
#[derive(Clone, Debug)]
pub struct Projector {
    first: Linear,
    second: Linear,
}

impl Projector {
    /// From `features` channels over `hidden` to `embedding`.
    pub fn load(vb: &VarBuilder<'_>, features: usize, hidden: usize, embedding: usize) -> Result<Self> {
        Ok(Self {
            first: Linear::load_with_bias(&vb.pp("0"), features, hidden)?,
            second: Linear::load_with_bias(&vb.pp("2"), hidden, embedding)?,
        })
    }

    /// (batch, tokens, features) to (batch, tokens, embedding).
    pub fn forward(&self, features: &Tensor) -> Result<Tensor> {
        self.second.forward(&ops::gelu(&self.first.forward(features)?)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Result, Tensor};

    use super::fuse;

    #[test]
    fn averages_squares_of_cells_in_place() -> Result<()> {
        // Two encoders of one channel over a 4 × 4 grid; the class token is 100.
        let a: Vec<f32> = std::iter::once(100.0).chain((0..16).map(|i| i as f32)).collect();
        let b: Vec<f32> = a.iter().map(|x| -x).collect();
        let of = |v: Vec<f32>| Tensor::from_vec(v, (1, 17, 1), &Device::Cpu);
        let fused = fuse(&[of(a)?, of(b)?], 2)?;
        let want = vec![vec![2.5f32, -2.5], vec![4.5, -4.5], vec![10.5, -10.5], vec![12.5, -12.5]];
        assert_eq!(fused.squeeze(0)?.to_vec2::<f32>()?, want);
        Ok(())
    }
}
