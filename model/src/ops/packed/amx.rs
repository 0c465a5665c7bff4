//! Products with packed weights in the tile unit (`ops/amx.rs`).

#![expect(unsafe_code, reason = "vectors are loaded and stored through pointers")]

use std::arch::x86_64::{
    _MM_HINT_T1, _mm512_add_ps, _mm512_load_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps,
};
use std::ops::Range;

use super::avx512::{ask, gelu};
use super::work::Work;
use crate::ops::amx::{Finish, Left, Lines, Place, Right, SIDE, Sums, TileProduct};
use crate::ops::lanes::LANES;

pub(super) use crate::ops::amx::is_able;

/// Rows that are multiplied together, and outputs of a panel.
pub(super) const ROWS: usize = SIDE;
pub(super) const WIDTH: usize = SIDE;

/// Some rows and panels of a product.
pub(super) fn compute(work: &Work<'_>, rows: Range<usize>, panels: Range<usize>) {
    let product = TileProduct {
        left: Left::Rows(Lines { values: work.values.x, stride: work.inner }),
        right: Right::Panels(work.values.panels),
        inner: work.inner,
        columns: work.out,
        finish: Written(work),
    };
    // SAFETY: `multiply` gives each task rows and panels of its own, and has seen that all values are there.
    unsafe { product.compute(rows, panels) };
}

/// A product whose sums are written with what is wanted of them.
struct Written<'a>(&'a Work<'a>);

impl Finish for Written<'_> {
    fn ask(&self, place: &Place) {
        for row in place.row..place.row + place.rows {
            let at = row * self.0.out + place.column;
            for v in [0, LANES] {
                ask::<_MM_HINT_T1>(self.0.to.0.wrapping_add(at + v));
                if let Some(residual) = self.0.values.residual {
                    ask::<_MM_HINT_T1>(residual.as_ptr().wrapping_add(at + v));
                }
            }
        }
    }

    unsafe fn put(&self, sums: &mut Sums, place: &Place) {
        // SAFETY: the caller answers for it.
        unsafe { self.write(sums, place) }
    }
}

impl Written<'_> {
    #[target_feature(enable = "avx512f")]
    fn write(&self, sums: &Sums, place: &Place) {
        let Work { values, out, to, .. } = self.0;
        let at = place.row * out + place.column;
        let bias = values.bias.map(|bias| bias[place.column..].as_ptr());
        let residual = values.residual.map(|residual| residual[at..].as_ptr());
        for (r, sums) in sums.0[..place.rows].iter().enumerate() {
            let row = r * out;
            // SAFETY: `multiply` has made room for the product; these columns of this row belong to this task alone.
            let to = unsafe { to.0.add(at + row) };
            for (v, mask) in place.masks().into_iter().enumerate() {
                let v = v * LANES;
                // SAFETY: a vector of sums is aligned, since the sums are; the masks leave out what belongs to another
                // row, of which `multiply` has seen that all there is can be read.
                unsafe {
                    let mut sum = _mm512_load_ps(sums.as_ptr().add(v));
                    if let Some(bias) = bias {
                        sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, bias.wrapping_add(v)));
                    }
                    if let Some(residual) = residual {
                        sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, residual.wrapping_add(row + v)));
                    }
                    _mm512_mask_storeu_ps(to.wrapping_add(v), mask, sum);
                }
            }
            if values.gelu {
                // SAFETY: as above, and they have been written just now.
                gelu(unsafe { std::slice::from_raw_parts_mut(to, place.columns) });
            }
        }
    }
}
