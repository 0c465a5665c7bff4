//! From the encoders' features to the language model's embeddings: concatenation on channels over one grid, averages
//! over squares of cells, and a two-layer MLP with exact GELU (paper, section 2.2; LLaVA's `mlp2x_gelu`).

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::layers::Linear;
use crate::ops;

/// Joins the encoders' outputs (batch, 1 + cells, width) into (batch, side², sum of widths), row by row: the cells of
/// each are averaged over squares until its grid has that side.
///
/// The class tokens are left out: what is joined keeps its place in the field.
pub fn fuse(features: &[Tensor], side: usize) -> Result<Tensor> {
    let grids = features.iter().map(|f| averaged(&f.narrow(1, 1, f.dim(1)? - 1)?, side));
    Tensor::cat(&grids.collect::<Result<Vec<_>>>()?, 2)
}

/// (batch, cells, width) to (batch, side², width).
fn averaged(cells: &Tensor, side: usize) -> Result<Tensor> {
    let (batch, count, width) = cells.dims3()?;
    if count == side * side {
        return Ok(cells.clone());
    }
    let pool = count.isqrt() / side;
    if (pool * side).pow(2) != count {
        candle_core::bail!("a grid of {count} cells cannot become one of {side} × {side}");
    }
    cells
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

    /// The same values, which do not change when those of the projector do.
    pub fn copied(&self) -> Result<Self> {
        Ok(Self { first: self.first.copied()?, second: self.second.copied()? })
    }

    /// Its tensors by their names.
    pub fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let mut tensors = Vec::new();
        for (name, layer) in [("0", &self.first), ("2", &self.second)] {
            let (weight, bias) = layer.parts();
            tensors.push((format!("{name}.weight"), weight.full()?));
            tensors.extend(bias.map(|bias| (format!("{name}.bias"), bias.clone())));
        }
        Ok(tensors)
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
        let (a, b) = (of(a)?, of(b)?);
        let want = vec![vec![2.5f32, -2.5], vec![4.5, -4.5], vec![10.5, -10.5], vec![12.5, -12.5]];
        assert_eq!(fuse(&[a.clone(), b], 2)?.squeeze(0)?.to_vec2::<f32>()?, want);
        // A coarse grid of its own beside a fine one.
        let coarse = Tensor::new(&[[[9.0f32], [1.0], [2.0], [3.0], [4.0]]], &Device::Cpu)?;
        let want = vec![vec![2.5f32, 1.0], vec![4.5, 2.0], vec![10.5, 3.0], vec![12.5, 4.0]];
        assert_eq!(fuse(&[a.clone(), coarse], 2)?.squeeze(0)?.to_vec2::<f32>()?, want);
        assert!(fuse(&[a], 3).is_err());
        Ok(())
    }
}
