//! Products with packed weights in the tile unit (`ops/amx.rs`).
//!
//! Some inputs of a block of rows are split into their parts, so that they stay in the second cache while all panels go
//! past them. A panel is split when its turn comes: the rows of a block share that work, and weights take no more memory
//! than they do for AVX-512.

#![expect(
    unsafe_code,
    reason = "vectors are loaded and stored through pointers, and functions for a kind of processor are unsafe to call"
)]

use std::arch::x86_64::{
    _mm512_add_ps, _mm512_load_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_setzero_ps,
};
use std::cell::RefCell;
use std::ops::Range;

use super::avx512::{gelu, masks};
use super::{WIDTH, Work};
use crate::ops::amx::{NOTHING, Parts, SIDE, STEP, Sums, Unit, split_pair, split_row};

pub(super) use crate::ops::amx::is_able;

/// Rows that are multiplied together.
pub(super) const ROWS: usize = SIDE;

/// Values of a vector.
const LANES: usize = 16;
/// Inputs that are summed before sums go to memory.
const DEPTH: usize = 512;
/// Rows of a block: with so many inputs, in parts, they and a panel fit the second cache.
const BLOCK: usize = 384;

/// Parts of the rows of a block and of a panel: what one product has written, the next one writes over.
#[derive(Default)]
struct Room {
    /// Step after step of 32 rows, then of the next.
    rows: Vec<Parts>,
    /// The same of 32 columns.
    columns: Vec<Parts>,
}

thread_local! {
    static ROOM: RefCell<Room> = RefCell::default();
}

/// Where 32 rows and columns of a product are, and between which inputs they are summed.
struct Place {
    row: usize,
    rows: usize,
    column: usize,
    is_first: bool,
    is_last: bool,
}

/// Some rows and panels of a product.
pub(super) fn compute(work: &Work<'_>, rows: Range<usize>, panels: Range<usize>) {
    let unit = Unit::new();
    let mut room = ROOM.take();
    // SAFETY: who has the unit has these vectors.
    unsafe { compute_with(&unit, &mut room, work, rows, panels) }
    ROOM.set(room);
}

#[target_feature(enable = "avx512f,avx512bw")]
fn compute_with(unit: &Unit, room: &mut Room, work: &Work<'_>, rows: Range<usize>, panels: Range<usize>) {
    let height = rows.len().div_ceil(rows.len().div_ceil(BLOCK).max(1)).next_multiple_of(SIDE).max(SIDE);
    for first in rows.clone().step_by(height) {
        let rows = first..rows.end.min(first + height);
        for start in (0..work.inner).step_by(DEPTH) {
            let span = start..work.inner.min(start + DEPTH);
            split_rows(work, rows.clone(), span.clone(), &mut room.rows);
            for panel in panels.clone() {
                split_panel(work, panel, span.clone(), &mut room.columns);
                pass(unit, room, work, rows.clone(), panel, &span);
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn split_rows(work: &Work<'_>, rows: Range<usize>, span: Range<usize>, parts: &mut Vec<Parts>) {
    let steps = span.len().div_ceil(STEP);
    // What is not written of the last 32 rows belongs to rows that there are not, and nobody reads their sums.
    parts.resize(rows.len().div_ceil(SIDE) * steps, NOTHING);
    for (i, row) in rows.enumerate() {
        let x = &work.values.x[row * work.inner..][span.clone()];
        let parts = &mut parts[i / SIDE * steps..][..steps];
        for (x, parts) in x.chunks(STEP).zip(parts) {
            split_row(x, i % SIDE, parts);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn split_panel(work: &Work<'_>, panel: usize, span: Range<usize>, parts: &mut Vec<Parts>) {
    let steps = span.len().div_ceil(STEP);
    parts.resize(WIDTH / SIDE * steps, NOTHING);
    let inputs: &[[f32; WIDTH]] = &work.values.panels.as_chunks().0[panel * work.inner..][span];
    for (step, inputs) in inputs.chunks(STEP).enumerate() {
        for pair in 0..STEP / 2 {
            let of = |i: usize| inputs.get(2 * pair + i).map_or(&[][..], |input| &input[..]);
            let (even, odd) = (of(0), of(1));
            for half in 0..WIDTH / SIDE {
                let from = |input: &'_ [f32]| -> Range<usize> {
                    let from = (half * SIDE).min(input.len());
                    from..(from + SIDE).min(input.len())
                };
                split_pair(&even[from(even)], &odd[from(odd)], pair, &mut parts[half * steps + step]);
            }
        }
    }
}

/// Takes rows past a panel, both split.
#[target_feature(enable = "avx512f,avx512bw")]
fn pass(unit: &Unit, room: &Room, work: &Work<'_>, rows: Range<usize>, panel: usize, span: &Range<usize>) {
    let steps = span.len().div_ceil(STEP);
    let mut sums = Sums([[0.0; SIDE]; SIDE]);
    for (half, columns) in room.columns.chunks_exact(steps).enumerate() {
        let column = panel * WIDTH + half * SIDE;
        if column >= work.out {
            break;
        }
        for (row, parts) in rows.clone().step_by(SIDE).zip(room.rows.chunks_exact(steps)) {
            let place = Place {
                row,
                rows: SIDE.min(rows.end - row),
                column,
                is_first: span.start == 0,
                is_last: span.end == work.inner,
            };
            unit.multiply(parts, columns, &mut sums, place.rows <= SIDE / 2);
            put(&sums, &place, work);
        }
    }
}

/// Adds sums to those of the inputs before, and does what is wanted of the product after the last.
#[target_feature(enable = "avx512f,avx512bw")]
fn put(sums: &Sums, place: &Place, work: &Work<'_>) {
    let columns = SIDE.min(work.out - place.column);
    let bias = work.values.bias.filter(|_| place.is_last).map(|bias| bias[place.column..].as_ptr());
    let residual = work.values.residual.filter(|_| place.is_last);
    for (r, sums) in sums.0[..place.rows].iter().enumerate() {
        let at = (place.row + r) * work.out + place.column;
        let residual = residual.map(|residual| residual[at..].as_ptr());
        // SAFETY: `multiply` has made room for the product; these columns of this row belong to this task alone.
        let to = unsafe { work.to.0.add(at) };
        for (v, mask) in masks(columns).into_iter().take(SIDE / LANES).enumerate() {
            let at = v * LANES;
            // SAFETY: a vector of sums is aligned, since the sums are; the masks leave out what belongs to another row, of
            // which `multiply` has seen that all there is can be read; what the product holds was put there by the
            // inputs before these.
            unsafe {
                let mut sum = _mm512_load_ps(sums.as_ptr().add(at));
                let of = |values: Option<*const f32>| match values {
                    Some(values) => _mm512_maskz_loadu_ps(mask, values.wrapping_add(at)),
                    None => _mm512_setzero_ps(),
                };
                if !place.is_first {
                    sum = _mm512_add_ps(sum, of(Some(to.cast_const())));
                }
                sum = _mm512_add_ps(_mm512_add_ps(sum, of(bias)), of(residual));
                _mm512_mask_storeu_ps(to.wrapping_add(at), mask, sum);
            }
        }
        if place.is_last && work.values.gelu {
            // SAFETY: as above, and they have been written just now.
            gelu(unsafe { std::slice::from_raw_parts_mut(to, columns) });
        }
    }
}
