//! Products with packed weights in AVX-512.
//!
//! A tile of six rows of `x` and a panel of 64 outputs is summed in 24 vectors, over so many inputs at a time that the
//! six rows stay in the first cache; a panel stays in the second while all rows of a block go past it, and the next one
//! is asked for meanwhile. The rows are first laid out as they are read, the six values of an input side by side: as
//! they come, a power of two apart, they crowd each other out of the first cache. The sums begin as the bias, and what
//! is wanted of the products (GELU, a residual) is done while they are at hand: the result is written once, into memory
//! that nobody has cleared.

#![expect(
    unsafe_code,
    reason = "vectors are loaded and stored through pointers, and functions for a kind of processor are unsafe to call"
)]

use std::arch::x86_64::{
    __m512, __mmask16, _MM_HINT_ET0, _MM_HINT_T0, _MM_HINT_T1, _mm_prefetch, _mm512_add_ps, _mm512_fmadd_ps,
    _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps,
};
use std::cell::RefCell;
use std::ops::Range;

use super::work::Work;
use crate::ops::activation::normal_distribution;
use crate::ops::lanes::{self, LANES};

/// Rows of `x` that are multiplied together.
pub(super) const ROWS: usize = 6;
/// Outputs of a panel.
pub(super) const WIDTH: usize = 64;
/// Vectors of a row of a panel.
const VECTORS: usize = WIDTH / LANES;
/// Inputs that are summed before sums go to memory: six rows of them are half of the first cache.
const DEPTH: usize = 1024;
/// Rows of `x` that go past a panel before the next one is read: they and it fit the second cache.
const BLOCK: usize = 396;
/// Inputs between two looks at what to ask memory for.
const STEP: usize = 16;
/// Lines of the next panel that are asked for at a time, at most.
const MOST_LINES: usize = 8;

/// Whether this processor can.
pub(super) fn is_able() -> bool {
    is_x86_feature_detected!("avx512f")
}

/// A part of the panel that comes next, and the lines to ask for at a time.
#[derive(Clone, Copy)]
struct Ahead {
    panel: *const f32,
    lines: usize,
}

thread_local! {
    /// Rows of a block as tiles read them: what one product has laid out, the next one writes over.
    static LAID_OUT: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Some rows and panels of a product.
pub(super) fn compute(work: &Work<'_>, rows: Range<usize>, panels: Range<usize>) {
    assert!(is_able(), "this processor has no such vectors");
    // SAFETY: it has.
    unsafe { work.compute(rows, panels) }
}

impl Work<'_> {
    #[target_feature(enable = "avx512f")]
    fn compute(&self, rows: Range<usize>, panels: Range<usize>) {
        let height = rows.len().div_ceil(rows.len().div_ceil(BLOCK)).next_multiple_of(ROWS);
        let mut laid_out = LAID_OUT.take();
        for first in rows.clone().step_by(height) {
            let rows = first..rows.end.min(first + height);
            self.lay_out(rows.clone(), &mut laid_out);
            for panel in panels.clone() {
                for start in (0..self.inner).step_by(DEPTH) {
                    self.pass(rows.clone(), &laid_out, panel, start..self.inner.min(start + DEPTH));
                }
            }
        }
        LAID_OUT.set(laid_out);
    }

    /// Tile after tile (the last may have fewer rows), input after input, the values of a tile's rows.
    #[target_feature(enable = "avx512f")]
    fn lay_out(&self, rows: Range<usize>, laid_out: &mut Vec<f32>) {
        laid_out.resize(rows.len() * self.inner, 0.0);
        let x = &self.values.x[rows.start * self.inner..rows.end * self.inner];
        let tile = ROWS * self.inner;
        for (x, laid_out) in x.chunks(tile).zip(laid_out.chunks_mut(tile)) {
            match x.len() / self.inner {
                ROWS => interleave::<ROWS>(x, laid_out),
                5 => interleave::<5>(x, laid_out),
                4 => interleave::<4>(x, laid_out),
                3 => interleave::<3>(x, laid_out),
                2 => interleave::<2>(x, laid_out),
                _ => laid_out.copy_from_slice(x),
            }
        }
    }

    /// Takes rows, laid out, past some inputs of a panel.
    #[target_feature(enable = "avx512f")]
    fn pass(&self, rows: Range<usize>, laid_out: &[f32], panel: usize, span: Range<usize>) {
        // Panels lie one after another, each with its inputs in their order.
        let next = self.values.panels[..(panel * self.inner + span.end) * WIDTH].as_ptr_range().end;
        let tiles = rows.len().div_ceil(ROWS);
        let share = span.len() * VECTORS / tiles;
        let lines = share.div_ceil(span.len().div_ceil(STEP)).min(MOST_LINES);
        for (tile, row) in rows.clone().step_by(ROWS).enumerate() {
            let ahead = Ahead { panel: next.wrapping_add(tile * share * LANES), lines };
            let x = &laid_out[(row - rows.start) * self.inner..];
            match rows.end - row {
                1 => self.tile::<1>(row, x, panel, span.clone(), ahead),
                2 => self.tile::<2>(row, x, panel, span.clone(), ahead),
                3 => self.tile::<3>(row, x, panel, span.clone(), ahead),
                4 => self.tile::<4>(row, x, panel, span.clone(), ahead),
                5 => self.tile::<5>(row, x, panel, span.clone(), ahead),
                _ => self.tile::<ROWS>(row, x, panel, span.clone(), ahead),
            }
        }
    }

    /// `R` rows from `row`, laid out at the start of `x`, times some inputs of a panel.
    #[target_feature(enable = "avx512f")]
    fn tile<const R: usize>(&self, row: usize, x: &[f32], panel: usize, span: Range<usize>, ahead: Ahead) {
        let column = panel * WIDTH;
        let columns = WIDTH.min(self.out - column);
        let at = row * self.out + column;
        let is_first = span.start == 0;
        // Until the last inputs are in, there is nothing to be done with the sums.
        let is_last = span.end == self.inner;
        let residual = self.values.residual.filter(|_| is_last).map(|residual| &residual[at..]);
        for r in 0..R {
            for v in 0..VECTORS {
                let from = r * self.out + v * LANES;
                ask_to_write(self.to.0.wrapping_add(at + from));
                if let Some(residual) = residual {
                    ask::<_MM_HINT_T0>(residual.as_ptr().wrapping_add(from));
                }
            }
        }
        let mut sums = [[_mm512_setzero_ps(); VECTORS]; R];
        if !is_first {
            // SAFETY: the inputs before these have put sums there, and no other task has.
            sums = unsafe { load::<R>(self.to.0.add(at), self.out, columns) };
        } else if let Some(bias) = self.values.bias {
            // SAFETY: `multiply` has seen that there are as many values as columns of all panels.
            let [bias] = unsafe { load::<1>(bias[column..].as_ptr(), 0, columns) };
            sums = [bias; R];
        }
        let x = &x.as_chunks().0[span.clone()];
        let weights = &self.values.panels.as_chunks().0[panel * self.inner..][span];
        sums = accumulate::<R>(sums, x, weights, ahead);
        if let Some(residual) = residual {
            // SAFETY: `multiply` has seen that there are as many values as in the product, which has this tile.
            let residual = unsafe { load::<R>(residual.as_ptr(), self.out, columns) };
            for (sum, value) in sums.as_flattened_mut().iter_mut().zip(residual.as_flattened()) {
                *sum = _mm512_add_ps(*sum, *value);
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            // SAFETY: `multiply` has made room for the product; these columns of this row belong to this task alone.
            let to = unsafe { self.to.0.add(at + r * self.out) };
            for (v, (sum, mask)) in sums.iter().zip(masks(columns)).enumerate() {
                // SAFETY: as above; the mask leaves out what belongs to another row.
                unsafe { _mm512_mask_storeu_ps(to.wrapping_add(v * LANES), mask, *sum) };
            }
            if is_last && self.values.gelu {
                // SAFETY: as above, and they have been written just now.
                let values = unsafe { std::slice::from_raw_parts_mut(to, columns) };
                gelu(values);
            }
        }
    }
}

/// Rows one after another to input after input.
#[target_feature(enable = "avx512f")]
fn interleave<const R: usize>(x: &[f32], laid_out: &mut [f32]) {
    let inner = x.len() / R;
    let mut rows: [&[f32]; R] = [&[]; R];
    for (row, values) in rows.iter_mut().zip(x.chunks_exact(inner)) {
        *row = values;
    }
    for (i, values) in laid_out.as_chunks_mut::<R>().0.iter_mut().enumerate() {
        for (value, row) in values.iter_mut().zip(rows) {
            *value = row[i];
        }
    }
}

/// Adds the products of `R` rows of `x`, laid out, and the same inputs of a panel.
#[target_feature(enable = "avx512f")]
#[inline]
fn accumulate<const R: usize>(
    mut sums: [[__m512; VECTORS]; R],
    x: &[[f32; R]],
    weights: &[[f32; WIDTH]],
    ahead: Ahead,
) -> [[__m512; VECTORS]; R] {
    let (whole, rest) = weights.as_chunks::<STEP>();
    let (steps, rest_of_x) = x.as_chunks::<STEP>();
    let Ahead { mut panel, lines } = ahead;
    for (weights, x) in whole.iter().zip(steps) {
        for _ in 0..lines {
            ask::<_MM_HINT_T1>(panel);
            panel = panel.wrapping_add(LANES);
        }
        for (weights, x) in weights.iter().zip(x) {
            sums = add(sums, *x, weights);
        }
    }
    for (weights, x) in rest.iter().zip(rest_of_x) {
        sums = add(sums, *x, weights);
    }
    sums
}

/// Adds the products of one input.
#[target_feature(enable = "avx512f")]
#[inline]
fn add<const R: usize>(
    mut sums: [[__m512; VECTORS]; R],
    x: [f32; R],
    weights: &[f32; WIDTH],
) -> [[__m512; VECTORS]; R] {
    let mut vectors = [_mm512_setzero_ps(); VECTORS];
    for (vector, weights) in vectors.iter_mut().zip(weights.as_chunks::<LANES>().0) {
        // SAFETY: the reference is to sixteen values.
        *vector = unsafe { _mm512_loadu_ps(weights.as_ptr()) };
    }
    for (sums, x) in sums.iter_mut().zip(x) {
        let x = _mm512_set1_ps(x);
        for (sum, vector) in sums.iter_mut().zip(vectors) {
            *sum = _mm512_fmadd_ps(x, vector, *sum);
        }
    }
    sums
}

/// Exact GELU of a row of a tile, in vectors also where it is short.
#[target_feature(enable = "avx512f")]
pub(super) fn gelu(row: &mut [f32]) {
    let (vectors, rest) = row.as_chunks_mut::<LANES>();
    for vector in vectors {
        for x in vector {
            *x *= normal_distribution(*x);
        }
    }
    for x in rest {
        *x *= normal_distribution(*x);
    }
}

/// `columns` values of each of `R` rows that are `stride` apart, and zeros after them.
///
/// # Safety
/// All of them can be read.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn load<const R: usize>(from: *const f32, stride: usize, columns: usize) -> [[__m512; VECTORS]; R] {
    let masks = masks(columns);
    // No closures: they are calls where the function that they are given to is not compiled for these vectors.
    let mut rows = [[_mm512_setzero_ps(); VECTORS]; R];
    for (r, row) in rows.iter_mut().enumerate() {
        for (v, (vector, mask)) in row.iter_mut().zip(masks).enumerate() {
            let from = from.wrapping_add(r * stride + v * LANES);
            // SAFETY: the mask leaves out what is past the columns; the caller answers for the rest.
            *vector = unsafe { _mm512_maskz_loadu_ps(mask, from) };
        }
    }
    rows
}

/// Which lanes of the vectors of a row are among the first `columns`.
#[inline]
fn masks(columns: usize) -> [__mmask16; VECTORS] {
    std::array::from_fn(|v| lanes::first(columns.saturating_sub(v * LANES)))
}

/// Asks for the line at an address, which may be any.
#[inline]
pub(super) fn ask<const HINT: i32>(line: *const f32) {
    // SAFETY: the line is asked for and not read, and every processor of this architecture has SSE.
    #[allow(unused_unsafe, reason = "whether this is unsafe depends on the version of the library")]
    unsafe {
        _mm_prefetch::<HINT>(line.cast());
    }
}

/// The same of a line that will be written.
#[inline]
fn ask_to_write(line: *mut f32) {
    ask::<_MM_HINT_ET0>(line.cast_const());
}
