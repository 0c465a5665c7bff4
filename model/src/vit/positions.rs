//! Learned position embeddings, resized to another grid exactly as timm does at run time (`resample_abs_pos_embed`,
//! timm 1.0.15: bicubic, antialiased, the class token's position untouched).

use candle_core::{DType, Result, Tensor};

use crate::ops;
use crate::resample::{Kernel, taps};

/// Resizes `positions` (1, 1 + rows · columns, width), of a class token and a grid row by row, from the grid `from`
/// (rows, columns) to the grid `to`.
pub(super) fn resized(positions: &Tensor, from: (usize, usize), to: (usize, usize)) -> Result<Tensor> {
    if from == to {
        return Ok(positions.clone());
    }
    let width = positions.dim(2)?;
    let class = positions.narrow(1, 0, 1)?;
    // In f32 whatever the precision, as timm does.
    let grid = positions.narrow(1, 1, from.0 * from.1)?.to_dtype(DType::F32)?;
    // Columns first, then rows: each is a product with a matrix of weights.
    let weights = |from, to| Tensor::from_vec(weights(from, to), (to, from), positions.device());
    let grid = grid.reshape((from.0, from.1, width))?.transpose(1, 2)?; // (rows, width, columns)
    let grid = ops::linear(&grid.contiguous()?, &weights(from.1, to.1)?, None)?;
    let grid = grid.permute((2, 1, 0))?.contiguous()?; // (columns', width, rows)
    let grid = ops::linear(&grid, &weights(from.0, to.0)?, None)?;
    let grid = grid.permute((2, 0, 1))?.reshape((1, to.0 * to.1, width))?; // (rows' · columns', width)
    Tensor::cat(&[class, grid.to_dtype(positions.dtype())?], 1)
}

/// Weights of a bicubic resize of one axis as a matrix, (to, from).
fn weights(from: usize, to: usize) -> Vec<f32> {
    let mut all = vec![0.0; from * to];
    for (row, (first, weights)) in all.chunks_exact_mut(from).zip(taps(from, to, Kernel::Cubic)) {
        for (place, weight) in row[first..].iter_mut().zip(weights) {
            *place = weight as f32;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn a_flat_grid_stays_flat_and_a_slope_a_slope() -> Result<()> {
        // (1, 1 + 4 · 6, 2): a constant, and the column.
        let grid = (0..24).flat_map(|i| [3.0f32, (i % 6) as f32]);
        let values: Vec<f32> = [7.0, 8.0].into_iter().chain(grid).collect();
        let positions = Tensor::from_vec(values, (1, 25, 2), &Device::Cpu)?;
        let resized = resized(&positions, (4, 6), (5, 12))?;
        assert_eq!(resized.dims(), [1, 61, 2]);
        let rows: Vec<Vec<f32>> = resized.squeeze(0)?.to_vec2()?;
        assert_eq!(rows[0], [7.0, 8.0]);
        for (i, cell) in rows[1..].iter().enumerate() {
            assert!((cell[0] - 3.0).abs() < 1e-5);
            let column = i % 12;
            if (4..8).contains(&column) {
                assert!((cell[1] - (column as f32 * 0.5 - 0.25)).abs() < 1e-5, "{cell:?}");
            }
        }
        Ok(())
    }
}
