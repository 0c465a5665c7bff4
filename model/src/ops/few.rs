//! `x Wᵀ` for a few rows `x`, as where words are written one after another: it takes as long as the memory needs for the
//! weight, which every thread reads a part of, once for all rows.
//!
//! Four rows of the weight are read at a time, as memory gives more when it is asked in several places.

#![expect(clippy::inline_always, reason = "it is compiled with the vectors of the function that calls it")]

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// As many as are written together, with room: of more rows, arithmetic counts as much as memory.
pub(super) const MOST_ROWS: usize = 16;
/// Rows of the weight that are read at a time.
const AT_ONCE: usize = 4;
/// Values of the weight that a thread reads at a time; of fewer than two of these, all are read on one thread.
const PART: usize = 1 << 17;

/// The products of `x` (rows, inner), of at most [`MOST_ROWS`], and the rows of `weight` (out, inner): (out, rows). The same
/// on any number of threads, and for a row whatever the others are.
pub(super) fn products(x: &[f32], weight: &[f32], inner: usize) -> Vec<f32> {
    let (rows, out) = (x.len() / inner, weight.len() / inner);
    let mut y = vec![0.0; out * rows];
    if y.is_empty() {
        return y;
    }
    if weight.len() < 2 * PART {
        Arch::new().dispatch(Part { x, weight, inner, y: &mut y });
        return y;
    }
    let at_a_time = (PART / inner).next_multiple_of(AT_ONCE).max(AT_ONCE);
    let parts = y.par_chunks_mut(at_a_time * rows).zip(weight.par_chunks(at_a_time * inner));
    parts.for_each(|(y, weight)| Arch::new().dispatch(Part { x, weight, inner, y }));
    y
}

/// Some rows of the weight, and what comes of them.
struct Part<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    inner: usize,
    y: &'a mut [f32],
}

impl WithSimd for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Part { x, weight, inner, y } = self;
        let rows = x.len() / inner;
        let whole = weight.len() / (AT_ONCE * inner);
        let (weights, last) = weight.split_at(whole * AT_ONCE * inner);
        let (y, y_last) = y.split_at_mut(whole * AT_ONCE * rows);
        for (weight, y) in weights.chunks_exact(AT_ONCE * inner).zip(y.chunks_exact_mut(AT_ONCE * rows)) {
            past::<S, AT_ONCE>(simd, x, weight, inner, y);
        }
        for (weight, y) in last.chunks_exact(inner).zip(y_last.chunks_exact_mut(rows)) {
            past::<S, 1>(simd, x, weight, inner, y);
        }
    }
}

/// All rows of `x` past so many rows of the weight.
#[inline(always)]
fn past<S: Simd, const W: usize>(simd: S, x: &[f32], weight: &[f32], inner: usize, y: &mut [f32]) {
    let rows = x.len() / inner;
    let weights: [&[f32]; W] = std::array::from_fn(|i| &weight[i * inner..(i + 1) * inner]);
    let mut row = 0;
    while row < rows {
        let left = rows - row;
        let x = &x[row * inner..];
        row += match left {
            4.. => dots::<S, 4, W>(simd, x, weights, &mut y[row..], rows),
            2..4 => dots::<S, 2, W>(simd, x, weights, &mut y[row..], rows),
            _ => dots::<S, 1, W>(simd, x, weights, &mut y[row..], rows),
        };
    }
}

/// The first `X` rows of `x` past rows of the weight, whose results are `stride` apart; returns `X`.
#[inline(always)]
fn dots<S: Simd, const X: usize, const W: usize>(
    simd: S,
    x: &[f32],
    weights: [&[f32]; W],
    y: &mut [f32],
    stride: usize,
) -> usize {
    let inner = weights[0].len();
    let x: [_; X] = std::array::from_fn(|i| S::as_simd_f32s(&x[i * inner..(i + 1) * inner]));
    let weights = weights.map(|weight| S::as_simd_f32s(weight));
    let vectors = x[0].0.len();
    // All are as long, which spares the loop a look at each.
    let (x_whole, w_whole) = (x.map(|x| &x.0[..vectors]), weights.map(|w| &w.0[..vectors]));
    let mut sums = [[simd.splat_f32s(0.0); W]; X];
    for i in 0..vectors {
        let x = x_whole.map(|x| x[i]);
        for w in 0..W {
            let weight = w_whole[w][i];
            for r in 0..X {
                sums[r][w] = simd.mul_add_f32s(x[r], weight, sums[r][w]);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        for (w, &sum) in sums.iter().enumerate() {
            let rest: f32 = x[r].1.iter().zip(weights[w].1).map(|(x, w)| x * w).sum();
            y[w * stride + r] = simd.reduce_sum_f32s(sum) + rest;
        }
    }
    X
}

#[cfg(test)]
mod tests {
    use super::{MOST_ROWS, PART, products};

    fn values(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
    }

    /// A product held against sums in f64, and each of its rows against itself alone.
    fn agrees(rows: usize, inner: usize, out: usize) {
        let (x, weight) = (values(rows * inner, 1), values(out * inner, 2));
        let y = products(&x, &weight, inner);
        assert_eq!(y.len(), out * rows);
        for (r, x) in x.chunks_exact(inner).enumerate() {
            let alone = products(x, &weight, inner);
            for (o, weight) in weight.chunks_exact(inner).enumerate() {
                let terms = x.iter().zip(weight).map(|(x, w)| f64::from(x * w));
                let (want, size) =
                    terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
                let found = y[o * rows + r];
                assert!((f64::from(found) - want).abs() <= 1e-6 * size, "{found} for {want} at {r}, {o}");
                assert_eq!(found, alone[o], "a row is the same whatever the others are");
            }
        }
    }

    #[test]
    fn every_row_meets_every_row_of_the_weight() {
        for rows in 1..=MOST_ROWS {
            agrees(rows, 37, 11);
        }
        for (inner, out) in [(1, 1), (3, 4), (16, 5), (64, 2)] {
            agrees(3, inner, out);
        }
        const { assert!(300 * 1103 > 2 * PART, "on several threads") };
        agrees(7, 300, 1103);
        assert!(products(&[], &values(10, 1), 5).is_empty());
    }
}
