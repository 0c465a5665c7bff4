//! Products of matrices given as slices with strides: the one place that calls the `gemm` crate.

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
    product(out, row_stride, a, b, [keep, scale], Parallelism::Rayon(0));
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
    product(out, row_stride, a, b, [keep, scale], Parallelism::None);
}

fn product(
    out: &mut [f32],
    row_stride: usize,
    a: Matrix<'_>,
    b: Matrix<'_>,
    [keep, scale]: [f32; 2],
    threads: Parallelism,
) {
    assert_eq!(a.columns, b.rows, "the inner sizes of a product differ");
    let (rows, columns) = (a.rows, b.columns);
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(
        out.len() >= (rows - 1) * row_stride + columns && row_stride >= columns,
        "the product does not fit"
    );
    // SAFETY: `Matrix::new` and the assertion above keep every accessed element inside its slice, `out` is borrowed
    // mutably and so overlaps neither factor, and its elements are distinct because rows do not overlap.
    #[expect(unsafe_code, reason = "the gemm crate takes raw pointers")]
    unsafe {
        gemm::gemm(
            rows,
            columns,
            a.columns,
            out.as_mut_ptr(),
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
