//! Products of matrices given as slices with strides: the one place that calls the `gemm` crate, or the tile unit where
//! there is one and it is faster.

#[cfg(target_arch = "x86_64")]
mod tiles;

use gemm::Parallelism;

/// A matrix inside a slice: element (i, j) is `values[i * row_stride + j * column_stride]`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A matrix whose rows are `row_stride` apart and contiguous.
    pub(super) fn new(values: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        let needed = if rows == 0 { 0 } else { (rows - 1) * row_stride + columns };
        assert!(values.len() >= needed, "a {rows} x {columns} matrix does not fit");
        Self { values, rows, columns, row_stride, column_stride: 1 }
    }

    /// Some of its rows.
    pub(super) fn rows(self, rows: std::ops::Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "a matrix has not these rows");
        // Of no rows, nothing is ever read, wherever they would begin.
        let start = if rows.is_empty() { 0 } else { rows.start * self.row_stride };
        Self { values: &self.values[start..], rows: rows.len(), ..self }
    }

    /// The transposed matrix, without moving anything.
    pub(super) fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// `out = keep * out + scale * a b`, where `out` has `a`'s rows, `row_stride` apart, and `b`'s columns.
///
/// Uses as many threads as the present rayon pool has.
pub(super) fn multiply(
    out: &mut [f32],
    row_stride: usize,
    a: Matrix<'_>,
    b: Matrix<'_>,
    keep: f32,
    scale: f32,
) {
    multiply_with(out, row_stride, a, b, [keep, scale], Parallelism::Rayon(0));
}

/// The same, on this thread alone: for many small products at once.
pub(super) fn multiply_here(
    out: &mut [f32],
    row_stride: usize,
    a: Matrix<'_>,
    b: Matrix<'_>,
    keep: f32,
    scale: f32,
) {
    multiply_with(out, row_stride, a, b, [keep, scale], Parallelism::None);
}

/// `scale * a b`, row after row, in memory that nothing was written to before: filling it with zeros takes as long as a
/// good part of a product with few columns.
pub(super) fn product(a: Matrix<'_>, b: Matrix<'_>, scale: f32) -> Vec<f32> {
    let len = a.rows * b.columns;
    let mut out = Vec::with_capacity(len);
    // SAFETY: the buffer has room for every element of the product, `run` writes all of them and, `keep` being 0, reads
    // none.
    #[expect(unsafe_code, reason = "the product writes the whole of a new buffer")]
    unsafe {
        run(out.as_mut_ptr(), b.columns, a, b, [0.0, scale], Parallelism::Rayon(0));
        out.set_len(len);
    }
    out
}

fn multiply_with(
    out: &mut [f32],
    row_stride: usize,
    a: Matrix<'_>,
    b: Matrix<'_>,
    scales: [f32; 2],
    threads: Parallelism,
) {
    let (rows, columns) = (a.rows, b.columns);
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(
        out.len() >= (rows - 1) * row_stride + columns && row_stride >= columns,
        "the product does not fit"
    );
    // SAFETY: the assertion keeps every element inside `out`, which is borrowed mutably and so overlaps neither factor;
    // its elements are distinct because rows do not overlap, and all of them hold values.
    #[expect(unsafe_code, reason = "`run` takes a raw pointer")]
    unsafe {
        run(out.as_mut_ptr(), row_stride, a, b, scales, threads);
    }
}

/// The product itself, to `out`.
///
/// # Safety
/// `out` is valid for writes of `a`'s rows, `row_stride` apart, of `b`'s columns each, none of which overlap one another
/// or a factor; where `keep`, the first of the scales, is not 0, they hold values.
#[expect(unsafe_code, reason = "the gemm crate takes raw pointers")]
unsafe fn run(
    out: *mut f32,
    row_stride: usize,
    a: Matrix<'_>,
    b: Matrix<'_>,
    [keep, scale]: [f32; 2],
    threads: Parallelism,
) {
    assert_eq!(a.columns, b.rows, "the inner sizes of a product differ");
    #[cfg(target_arch = "x86_64")]
    if tiles::can(a, b) {
        let is_alone = matches!(threads, Parallelism::None);
        // SAFETY: the caller answers for it.
        return unsafe { tiles::run((out, row_stride), a, b, [keep, scale], is_alone) };
    }
    // SAFETY: `Matrix::new` keeps every element of the factors inside its slice; the caller answers for `out`.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out,
            1,
            row_stride as isize,
            keep != 0.0,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            keep,
            scale,
            false,
            false,
            false,
            threads,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::{Matrix, multiply, multiply_here, product};

    /// Values that differ, as many as asked for.
    fn values(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
    }

    /// Rows that are `stride` apart, as columns one after the other.
    fn transposed(values: &[f32], rows: usize, columns: usize, stride: usize) -> Vec<f32> {
        (0..rows * columns).map(|i| values[i % rows * stride + i / rows]).collect()
    }

    /// A product (m, k) by (k, n) of factors in either order, some of whose values are held against a sum in f64.
    fn agrees((m, k, n): (usize, usize, usize), every: usize) {
        let (left, right, before) = (values(m * (k + 3), 1), values(k * (n + 5), 2), values(m * (n + 2), 3));
        let (left_t, right_t) = (transposed(&left, m, k, k + 3), transposed(&right, k, n, n + 5));
        let lefts = [Matrix::new(&left, m, k, k + 3), Matrix::new(&left_t, k, m, m).t()];
        let rights = [Matrix::new(&right, k, n, n + 5), Matrix::new(&right_t, n, k, k).t()];
        for (a, b) in lefts.iter().flat_map(|&a| rights.map(|b| (a, b))) {
            let (mut out, mut here) = (before.clone(), before.clone());
            multiply(&mut out, n + 2, a, b, 0.5, 2.0);
            multiply_here(&mut here, n + 2, a, b, 0.5, 2.0);
            assert_eq!(out, here, "threads compute what one does");
            for i in (0..m * (n + 2)).step_by(every) {
                let (row, column) = (i / (n + 2), i % (n + 2));
                if column >= n {
                    assert_eq!(out[i], before[i], "between rows nothing is written");
                    continue;
                }
                let terms = (0..k)
                    .map(|x| f64::from(left[row * (k + 3) + x]) * f64::from(right[x * (n + 5) + column]));
                let want = 0.5 * f64::from(before[i]) + 2.0 * terms.sum::<f64>();
                assert!((f64::from(out[i]) - want).abs() < 1e-4, "{} for {want} at {row}, {column}", out[i]);
            }
        }
    }

    #[test]
    fn large_products_are_those_of_their_rows_and_columns() {
        agrees((75, 613, 90), 1);
        // More columns than the sums of one thread wait for at a time.
        agrees((33, 530, 8300), 101);
    }

    #[test]
    fn a_new_product_is_the_one_into_zeros_also_of_nothing() {
        let values: Vec<f32> = (0..12).map(|i| i as f32 - 5.0).collect();
        let (a, b) = (Matrix::new(&values, 3, 4, 4), Matrix::new(&values, 4, 3, 3));
        let mut into = vec![0.0; 9];
        multiply(&mut into, 3, a, b, 0.0, 2.0);
        assert_eq!(product(a, b, 2.0), into);
        assert_eq!(product(b.t(), b, 1.0).len(), 9);
        let (tall, wide) = (Matrix::new(&[], 2, 0, 0), Matrix::new(&[], 0, 2, 2));
        assert_eq!(product(tall, wide, 1.0), [0.0; 4]);
        assert!(product(Matrix::new(&[], 0, 4, 4), b, 1.0).is_empty());
    }
}
