//! Loops over rows, on all threads and in the vectors of whatever processor the program runs on: compiled for the oldest
//! one alone, an activation takes as long as the product before it.
//!
//! Sums and maxima are taken in as many running ones as the widest vectors have lanes, whatever the processor, so that
//! every one of them gives the same result.

#![expect(clippy::inline_always, reason = "it is compiled with the vectors of the function that calls it")]

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Values that a thread computes at a time; fewer than two of these are not worth another thread.
const PART: usize = 1 << 15;
/// Running sums.
const LANES: usize = 16;

/// What is computed of rows. `compute` is to be `#[inline(always)]`.
pub(super) trait Rows: Sync {
    /// Rows of `y` from the same rows of `x`; from themselves where there is no `x`.
    fn compute(&self, x: &[f32], y: &mut [f32]);
}

/// Rows of `width` values of `y` from those of `x`, which has as many.
pub(super) fn each(rows: &impl Rows, x: &[f32], y: &mut [f32], width: usize) {
    assert!(x.len() == y.len() && width > 0, "as many values come out as go in");
    if y.len() < 2 * PART {
        here(rows, x, y);
    } else {
        let part = (PART / width).max(1) * width;
        y.par_chunks_mut(part).zip(x.par_chunks(part)).for_each(|(y, x)| here(rows, x, y));
    }
}

/// The same, on this thread.
pub(super) fn here(rows: &impl Rows, x: &[f32], y: &mut [f32]) {
    Arch::new().dispatch(Task { rows, x, y });
}

struct Task<'a, R> {
    rows: &'a R,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl<R: Rows> WithSimd for Task<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        self.rows.compute(self.x, self.y);
    }
}

/// What is computed of rows from those of two others. `compute` is to be `#[inline(always)]`.
pub(super) trait RowPairs: Sync {
    /// Changes rows of `y` by the same rows of `a` and of `b`.
    fn compute(&self, a: &[f32], b: &[f32], y: &mut [f32]);
}

/// Changes rows of `width` values of `y` by those of `a` and `b`, which have as many.
pub(super) fn each_pair(rows: &impl RowPairs, a: &[f32], b: &[f32], y: &mut [f32], width: usize) {
    assert!(a.len() == y.len() && b.len() == y.len() && width > 0, "all have as many values");
    if y.len() < 2 * PART {
        pair_here(rows, a, b, y);
    } else {
        let part = (PART / width).max(1) * width;
        let inputs = a.par_chunks(part).zip(b.par_chunks(part));
        y.par_chunks_mut(part).zip(inputs).for_each(|(y, (a, b))| pair_here(rows, a, b, y));
    }
}

/// The same, on this thread.
pub(super) fn pair_here(rows: &impl RowPairs, a: &[f32], b: &[f32], y: &mut [f32]) {
    Arch::new().dispatch(PairTask { rows, a, b, y });
}

struct PairTask<'a, R> {
    rows: &'a R,
    a: &'a [f32],
    b: &'a [f32],
    y: &'a mut [f32],
}

impl<R: RowPairs> WithSimd for PairTask<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        self.rows.compute(self.a, self.b, self.y);
    }
}

/// The sum of the products of two times as many values.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            sums[i] += a[i] * b[i];
        }
    }
    for (i, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        sums[i] += a * b;
    }
    sums.iter().sum()
}

/// The sum of the products of three times as many values.
#[inline(always)]
pub(super) fn sum_of_products(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest), (c, c_rest)) =
        (a.as_chunks::<LANES>(), b.as_chunks::<LANES>(), c.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for ((a, b), c) in a.iter().zip(b).zip(c) {
        for i in 0..LANES {
            sums[i] += a[i] * b[i] * c[i];
        }
    }
    for (i, ((a, b), c)) in a_rest.iter().zip(b_rest).zip(c_rest).enumerate() {
        sums[i] += a * b * c;
    }
    sums.iter().sum()
}

/// The sum of `f` of all values.
#[inline(always)]
pub(super) fn sum(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let (whole, rest) = values.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in whole {
        for (sum, &value) in sums.iter_mut().zip(chunk) {
            *sum += f(value);
        }
    }
    for (sum, &value) in sums.iter_mut().zip(rest) {
        *sum += f(value);
    }
    sums.iter().sum()
}

/// The largest value, passing over what is no number.
#[inline(always)]
pub(super) fn largest(values: &[f32]) -> f32 {
    let (whole, rest) = values.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in whole {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = if value > *lane { value } else { *lane };
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Doubled;

    impl Rows for Doubled {
        #[inline(always)]
        fn compute(&self, x: &[f32], y: &mut [f32]) {
            // The first of each row of three stays as it is.
            for (x, y) in x.chunks_exact(3).zip(y.chunks_exact_mut(3)) {
                y.copy_from_slice(&[x[0], 2.0 * x[1], 2.0 * x[2]]);
            }
        }
    }

    #[test]
    fn every_row_is_computed_once_and_whole() {
        for rows in [1, 5, 100_000] {
            let x: Vec<f32> = (0..3 * rows).map(|i| i as f32).collect();
            let mut y = vec![-1.0; x.len()];
            each(&Doubled, &x, &mut y, 3);
            let want = |i: usize| if i.is_multiple_of(3) { i as f32 } else { 2.0 * i as f32 };
            assert!(y.iter().enumerate().all(|(i, &y)| y == want(i)));
        }
    }

    struct Together;

    impl RowPairs for Together {
        #[inline(always)]
        fn compute(&self, a: &[f32], b: &[f32], y: &mut [f32]) {
            for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
                *y += a * b;
            }
        }
    }

    #[test]
    fn every_pair_of_rows_changes_its_own() {
        for rows in [1, 100_000] {
            let a: Vec<f32> = (0..3 * rows).map(|i| (i % 7) as f32).collect();
            let b: Vec<f32> = (0..3 * rows).map(|i| (i % 5) as f32).collect();
            let mut y = vec![1.0; a.len()];
            each_pair(&Together, &a, &b, &mut y, 3);
            assert!(y.iter().zip(a.iter().zip(&b)).all(|(y, (a, b))| *y == 1.0 + a * b));
        }
    }

    #[test]
    fn sums_and_maxima_are_of_all_values() {
        for len in [0u16, 1, 15, 16, 17, 100] {
            let values: Vec<f32> = (0..len).map(|i| f32::from((i * 7) % 101) - 20.0).collect();
            assert_eq!(sum(&values, |x| x * x), values.iter().map(|x| x * x).sum::<f32>(), "{len}");
            assert_eq!(largest(&values), values.iter().copied().fold(f32::NEG_INFINITY, f32::max), "{len}");
            assert_eq!(dot(&values, &values), sum(&values, |x| x * x), "{len}");
            let ones = vec![1.0; values.len()];
            assert_eq!(sum_of_products(&values, &ones, &values), sum(&values, |x| x * x), "{len}");
        }
        assert_eq!(largest(&[1.0, f32::NAN, 3.0, f32::NAN]), 3.0);
    }
}
