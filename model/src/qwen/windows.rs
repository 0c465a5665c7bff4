//! In which order the cells of an image stand in the tower, and which of them see each other (`get_window_index` and
//! `rot_pos_emb` there).

use candle_core::{Result, Tensor};

use crate::ops::{self, Attention, Rotation};
use crate::package::{Grid, VisionSpec};

/// Base of the frequencies (`Qwen2_5_VisionRotaryEmbedding`).
const THETA: f64 = 10_000.0;

/// Queries whose scores exist at a time, at most: an image at the published limit has 65,536 cells.
const QUERIES: usize = 4096;

/// The order of an image's tokens in the tower, window by window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Token (row by row) that stands at each place.
    pub order: Vec<u32>,
    /// Place of each token: the inverse.
    pub inverse: Vec<u32>,
    /// Tokens of each window in turn; windows at the edges are smaller, none is empty.
    pub tokens: Vec<usize>,
}

impl Windows {
    /// Those of an image of so many tokens.
    pub fn of(grid: Grid, spec: &VisionSpec) -> Self {
        let Grid { rows, cols } = grid;
        let side = (spec.window_size / spec.token_side()).max(1) as usize;
        let (mut order, mut tokens) = (Vec::with_capacity(grid.tokens()), Vec::new());
        for top in (0..rows).step_by(side) {
            for left in (0..cols).step_by(side) {
                let before = order.len();
                for row in top..(top + side).min(rows) {
                    order.extend((left..(left + side).min(cols)).map(|col| (row * cols + col) as u32));
                }
                tokens.push(order.len() - before);
            }
        }
        let mut inverse = vec![0; order.len()];
        for (place, &token) in (0u32..).zip(&order) {
            inverse[token as usize] = place;
        }
        Self { order, inverse, tokens }
    }

    /// The rotation of the cells in the order of the windows: rows, then columns (`head_dim / 4` planes each).
    pub(super) fn rotation(&self, grid: Grid, spec: &VisionSpec) -> Rotation {
        let merge = spec.merge_size as usize;
        let half = spec.width / spec.heads.max(1) / 2;
        let frequencies: Vec<f32> =
            (0..half / 2).map(|i| THETA.powf(-2.0 * i as f64 / half as f64) as f32).collect();
        let mut angles = Vec::with_capacity(self.order.len() * merge * merge * half);
        for &token in &self.order {
            let (row, col) = (token as usize / grid.cols * merge, token as usize % grid.cols * merge);
            for (y, x) in (0..merge).flat_map(|y| (0..merge).map(move |x| (y, x))) {
                // Products in f32, as there.
                for place in [row + y, col + x] {
                    angles.extend(frequencies.iter().map(|frequency| place as f32 * frequency));
                }
            }
        }
        Rotation::of(half, &angles)
    }
}

/// Attention of `q`, `k` and `v` (1, cells, heads, head_dim) inside stretches of these lengths, which are all cells in
/// their order, without a mask; (1, cells, heads · head_dim).
pub(super) fn attention(q: &Tensor, k: &Tensor, v: &Tensor, lengths: &[usize]) -> Result<Tensor> {
    let (_, _, heads, head_dim) = q.dims4()?;
    let (mut parts, mut begin) = (Vec::new(), 0);
    for equal in lengths.chunk_by(|a, b| a == b) {
        let (count, length) = (equal.len(), equal[0]);
        let [q, k, v] = [q, k, v].map(|x| x.narrow(1, begin, count * length));
        let (q, k, v) = (q?, k?, v?);
        parts.push(if count == 1 {
            of_one(&q, &k, &v)?
        } else {
            // Windows of one size are a batch.
            let batch = |x: &Tensor| x.reshape((count, length, heads, head_dim));
            let seen = ops::attention(&batch(&q)?, &batch(&k)?, &batch(&v)?, &Attention::default())?;
            seen.reshape((1, count * length, heads * head_dim))?
        });
        begin += count * length;
    }
    Tensor::cat(&parts, 1)
}

/// Attention of cells that all see each other, some queries at a time where there are many.
fn of_one(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    let cells = q.dim(1)?;
    let at_a_time = cells.div_ceil(cells.div_ceil(QUERIES).max(1)).max(1);
    let some = |first: usize| {
        let q = q.narrow(1, first, at_a_time.min(cells - first))?;
        ops::attention(&q, k, v, &Attention::default())
    };
    let parts = (0..cells).step_by(at_a_time).map(some).collect::<Result<Vec<_>>>()?;
    Tensor::cat(&parts, 1)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::tests::sample;
    use super::*;

    /// The grids that are looked at: whole windows, edges, one row, one token.
    const GRIDS: [(usize, usize); 7] = [(4, 4), (5, 3), (8, 8), (1, 9), (24, 24), (13, 6), (1, 1)];

    /// `get_window_index` of one image, step by step: the index, and where windows begin and end in tokens.
    fn window_index(rows: usize, cols: usize) -> (Vec<u32>, Vec<usize>) {
        let side = 112 / 2 / 14;
        // Also where it divides: a whole row of windows is empty then.
        let (pad_h, pad_w) = (side - rows % side, side - cols % side);
        let (windows_h, windows_w) = ((rows + pad_h) / side, (cols + pad_w) / side);
        let mut padded = vec![-100i64; (rows + pad_h) * (cols + pad_w)];
        for row in 0..rows {
            for col in 0..cols {
                padded[row * (cols + pad_w) + col] = (row * cols + col) as i64;
            }
        }
        let (mut index, mut ends) = (Vec::new(), vec![0]);
        for top in 0..windows_h {
            for left in 0..windows_w {
                for y in 0..side {
                    for x in 0..side {
                        let found = padded[(top * side + y) * (cols + pad_w) + left * side + x];
                        index.extend(u32::try_from(found).ok());
                    }
                }
                ends.push(index.len());
            }
        }
        ends.dedup();
        (index, ends)
    }

    #[test]
    fn windows_are_those_of_transformers_and_none_is_empty() {
        for (rows, cols) in GRIDS {
            let windows = Windows::of(Grid { rows, cols }, &VisionSpec::for_tests());
            let (index, ends) = window_index(rows, cols);
            assert_eq!(windows.order, index, "{rows} × {cols}");
            let lengths: Vec<usize> = ends.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert_eq!(windows.tokens, lengths, "{rows} × {cols}");
            assert!(windows.tokens.iter().all(|&tokens| tokens > 0));
            let back: Vec<u32> = windows.inverse.iter().map(|&place| windows.order[place as usize]).collect();
            assert_eq!(back, (0..(rows * cols) as u32).collect::<Vec<_>>(), "{rows} × {cols}");
        }
    }

    /// Row and column of every cell in the processor's order, as `rot_pos_emb` makes them: a grid of cells, cut into rows
    /// and columns of tokens, whose two inner axes change places.
    fn places(rows: usize, cols: usize) -> Vec<[usize; 2]> {
        let mut places = Vec::new();
        for token_row in 0..rows {
            for token_col in 0..cols {
                for y in 0..2 {
                    for x in 0..2 {
                        places.push([token_row * 2 + y, token_col * 2 + x]);
                    }
                }
            }
        }
        places
    }

    #[test]
    fn cells_turn_by_their_row_and_their_column() -> Result<()> {
        let spec = VisionSpec::for_tests();
        for (rows, cols) in GRIDS {
            let grid = Grid { rows, cols };
            let windows = Windows::of(grid, &spec);
            let cells = grid.tokens() * 4;
            // Ones in the first half of a head of 8 become the cosines, and in the second half the sines.
            let ones = Tensor::new(&[1f32, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], &Device::Cpu)?;
            let ones = ones.broadcast_as((1, cells, 1, 8))?.contiguous()?;
            let turned = ops::rope(&ones, &windows.rotation(grid, &spec))?.reshape((cells, 8))?;
            let turned = turned.to_vec2::<f32>()?;
            let places = places(rows, cols);
            for (place, &token) in windows.order.iter().enumerate() {
                for inside in 0..4 {
                    let [row, col] = places[token as usize * 4 + inside].map(|at| at as f64);
                    // Four planes: two frequencies of the row, then the same of the column.
                    for (plane, angle) in [row, row * 0.01, col, col * 0.01].into_iter().enumerate() {
                        let found = &turned[place * 4 + inside];
                        let near = |a: f32, b: f64| (f64::from(a) - b).abs() < 1e-5;
                        assert!(near(found[plane], angle.cos()), "{rows} × {cols}, token {token}");
                        assert!(near(found[plane + 4], angle.sin()), "{rows} × {cols}, token {token}");
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn each_stretch_sees_itself_alone_also_in_a_batch() -> Result<()> {
        let lengths: [usize; 7] = [8, 8, 8, 4, 8, 8, 12];
        let cells: usize = lengths.iter().sum();
        let qkv = sample(&[1, cells, 6, 4], 1.0)?;
        let [q, k, v] = [0, 2, 4].map(|head| qkv.narrow(2, head, 2).expect("it has six heads"));
        let seen = attention(&q, &k, &v, &lengths)?;
        assert_eq!(seen.dims(), [1, cells, 8]);
        let mut begin = 0;
        for length in lengths {
            let part = |x: &Tensor| x.narrow(1, begin, length)?.contiguous();
            let alone = ops::attention(&part(&q)?, &part(&k)?, &part(&v)?, &Attention::default())?;
            let off = (seen.narrow(1, begin, length)? - alone)?.abs()?.max_all()?.to_scalar::<f32>()?;
            assert!(off < 1e-6, "{off}");
            begin += length;
        }
        Ok(())
    }

    #[test]
    fn a_large_image_is_seen_some_queries_at_a_time() -> Result<()> {
        let cells = QUERIES + 2;
        let qkv = sample(&[1, cells, 3, 4], 2.0)?;
        let [q, k, v] = [0, 1, 2].map(|head| qkv.narrow(2, head, 1).expect("it has three heads"));
        let (seen, whole) = (of_one(&q, &k, &v)?, ops::attention(&q, &k, &v, &Attention::default())?);
        assert_eq!(seen.dims(), whole.dims());
        assert!((seen - whole)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-6);
        Ok(())
    }
}
