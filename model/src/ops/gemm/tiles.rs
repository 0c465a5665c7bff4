//! Products in the tile unit (`ops/amx.rs`), where they are large enough for it.

#![expect(
    unsafe_code,
    reason = "threads write rows and columns of their own through one pointer, in vectors"
)]

use std::arch::x86_64::{
    _mm512_fmadd_ps, _mm512_load_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_mul_ps,
    _mm512_set1_ps,
};

use super::Matrix;
use crate::ops::amx::{Finish, Left, Lines, Place, Right, SIDE, Sums, TileProduct, is_able};
use crate::ops::lanes::LANES;
use crate::ops::share::share;

/// Rows, columns and inputs that a product has to have: of fewer, most of a tile would be empty.
const FEWEST: usize = 24;
/// Products of fewer values than this take less time than the tiles need to be filled.
const SMALLEST: usize = 1 << 19;

/// Whether a product of so many rows, inputs and columns is for the unit, and it can read its factors.
pub(super) fn can(a: Matrix<'_>, b: Matrix<'_>) -> bool {
    let (m, k, n) = (a.rows, a.columns, b.columns);
    let has_lines = |m: Matrix<'_>| m.row_stride == 1 || m.column_stride == 1;
    m.min(k).min(n) >= FEWEST && m * k * n >= SMALLEST && has_lines(a) && has_lines(b) && is_able()
}

/// `out = keep * out + scale * a b`, with `out`'s rows so far apart, on all threads of the present pool or on this one.
///
/// # Safety
/// As of [`super::run`].
pub(super) unsafe fn run(
    out: (*mut f32, usize),
    a: Matrix<'_>,
    b: Matrix<'_>,
    [keep, scale]: [f32; 2],
    is_alone: bool,
) {
    let lines = |matrix: Matrix<'_>| {
        let along = matrix.column_stride == 1;
        let stride = if along { matrix.row_stride } else { matrix.column_stride };
        (along, stride)
    };
    let ((a_along, a_stride), (b_along, b_stride)) = (lines(a), lines(b));
    let (left, right) =
        (Lines { values: a.values, stride: a_stride }, Lines { values: b.values, stride: b_stride });
    let product = TileProduct {
        left: if a_along { Left::Rows(left) } else { Left::Inputs(left) },
        right: if b_along { Right::Inputs(right) } else { Right::Columns(right) },
        inner: a.columns,
        columns: b.columns,
        finish: Scaled { to: out.0, stride: out.1, keep, scale },
    };
    let panels = b.columns.div_ceil(SIDE);
    // SAFETY: the caller answers for the values; threads have rows and panels of their own.
    let compute = |rows, panels| unsafe { product.compute(rows, panels) };
    if is_alone {
        compute(0..a.rows, 0..panels);
    } else {
        share((a.rows, SIDE), panels, compute);
    }
}

/// A product that is added to what is there.
struct Scaled {
    to: *mut f32,
    stride: usize,
    keep: f32,
    scale: f32,
}

// SAFETY: places of a product are shared out among threads, and each writes its own alone.
unsafe impl Sync for Scaled {}

impl Finish for Scaled {
    unsafe fn put(&self, sums: &mut Sums, place: &Place) {
        // SAFETY: the caller answers for it.
        unsafe { self.write(sums, place) }
    }
}

impl Scaled {
    #[target_feature(enable = "avx512f")]
    fn write(&self, sums: &Sums, place: &Place) {
        let (keep, scale) = (_mm512_set1_ps(self.keep), _mm512_set1_ps(self.scale));
        for (r, sums) in sums.0[..place.rows].iter().enumerate() {
            let at = (place.row + r) * self.stride + place.column;
            for (v, mask) in place.masks().into_iter().enumerate() {
                // SAFETY: a vector of sums is aligned, since the sums are; the caller of `run` answers for the place, of
                // which the mask leaves out what belongs to others, and that there are values in it where they are kept.
                unsafe {
                    let to = self.to.add(at).wrapping_add(v * LANES);
                    let mut value = _mm512_mul_ps(scale, _mm512_load_ps(sums.as_ptr().add(v * LANES)));
                    if self.keep != 0.0 {
                        value = _mm512_fmadd_ps(keep, _mm512_maskz_loadu_ps(mask, to), value);
                    }
                    _mm512_mask_storeu_ps(to, mask, value);
                }
            }
        }
    }
}
