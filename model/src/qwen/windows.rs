//! In which order the cells of an image stand in the tower, and which of them see each other (`get_window_index` and
//! `rot_pos_emb` there).

use candle_core::{Result, Tensor};

use crate::ops::Rotation;
use crate::package::{Grid, VisionSpec};

/// The order of an image's tokens in the tower, window by window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Windows {
    /// Token (row by row) that stands at each place.
    pub(super) order: Vec<u32>,
    /// Place of each token: the inverse.
    pub(super) inverse: Vec<u32>,
    /// Tokens of each window in turn; windows at the edges are smaller, none is empty.
    pub(super) tokens: Vec<usize>,
}

impl Windows {
    pub(super) fn of(grid: Grid, spec: &VisionSpec) -> Self {
        let _ = (grid, spec);
        todo!("share A")
    }

    /// The rotation of the cells in the order of the windows: rows, then columns (`head_dim / 4` planes each).
    pub(super) fn rotation(&self, grid: Grid, spec: &VisionSpec) -> Rotation {
        let _ = (grid, spec);
        todo!("share A")
    }
}

/// Attention of `q`, `k` and `v` (1, cells, heads, head_dim) inside stretches of these lengths, which are all cells in
/// their order, without a mask; (1, cells, heads · head_dim).
pub(super) fn attention(q: &Tensor, k: &Tensor, v: &Tensor, lengths: &[usize]) -> Result<Tensor> {
    let _ = (q, k, v, lengths);
    todo!("share A")
}
