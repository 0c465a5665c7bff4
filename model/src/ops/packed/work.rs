//! A product with packed weights, cut into parts that threads do.

#![expect(
    unsafe_code,
    reason = "threads write rows and columns of their own into memory that nobody has cleared"
)]

use std::ops::Range;

use super::{RowCount, Values, amx, avx512};
use crate::ops::pages::ask_for_large;
use crate::ops::share::share;

/// Products of fewer values than this are done before another thread has begun.
const SMALL: usize = 1 << 18;

/// Which part of a processor multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    /// The vectors of AVX-512: as good for one row as for many.
    Vectors,
    /// The tile unit (AMX): faster for many rows, and no good for a few.
    Tiles,
}

impl Kernel {
    /// The best one that this processor has.
    pub(super) fn of(rows: RowCount) -> Option<Self> {
        match rows {
            RowCount::Many if amx::is_able() => Some(Self::Tiles),
            _ => avx512::is_able().then_some(Self::Vectors),
        }
    }

    /// Outputs of a panel.
    pub(super) fn width(self) -> usize {
        match self {
            Self::Vectors => avx512::WIDTH,
            Self::Tiles => amx::WIDTH,
        }
    }

    /// Rows that it multiplies together.
    fn rows(self) -> usize {
        match self {
            Self::Vectors => avx512::ROWS,
            Self::Tiles => amx::ROWS,
        }
    }
}

/// Where a product goes, (m, n). Each task writes rows and columns of its own.
pub(super) struct Out(pub(super) *mut f32);

// SAFETY: kernels alone use the pointer, and no two tasks write or read the same value.
unsafe impl Sync for Out {}

/// A product, of which tasks do a part each.
pub(super) struct Work<'a> {
    pub(super) values: &'a Values<'a>,
    /// Length of a row of `x`.
    pub(super) inner: usize,
    /// Length of a row of the product.
    pub(super) out: usize,
    pub(super) to: Out,
}

/// `x Wᵀ` for rows `x` (m, k) and the panels of a matrix (n, k), with what comes before and after: (m, n).
pub(super) fn multiply(kernel: Kernel, values: &Values<'_>, (m, k, n): (usize, usize, usize)) -> Vec<f32> {
    let Values { x, panels, bias, residual, .. } = values;
    assert!(
        x.len() == m * k
            && panels.len() == n.next_multiple_of(kernel.width()) * k
            && bias.is_none_or(|bias| bias.len() == n)
            && residual.is_none_or(|residual| residual.len() == m * n),
        "the sizes of a product differ"
    );
    let mut y = Vec::with_capacity(m * n);
    ask_for_large(&mut y);
    let work = Work { values, inner: k, out: n, to: Out(y.as_mut_ptr()) };
    let run = |rows: Range<usize>, panels: Range<usize>| match kernel {
        Kernel::Vectors => avx512::compute(&work, rows, panels),
        Kernel::Tiles => amx::compute(&work, rows, panels),
    };
    let panels = n.div_ceil(kernel.width());
    if m * k * n >= SMALL {
        share((m, kernel.rows()), panels, run);
    } else if m > 0 {
        run(0..m, 0..panels);
    }
    // SAFETY: there is room for so many, and the tasks together have written each of them.
    unsafe { y.set_len(m * n) };
    y
}
