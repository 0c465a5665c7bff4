//! Products with one row of `x` or a few, which is what a step of generation consists of.
//!
//! Transposing sixteen rows of a matrix (`unpack.rs`) pays where many rows of `x` use them; for a few it takes longer than
//! memory takes to bring them. Here each row of the matrix is read alone, from its first byte to its last, so that a
//! thread reads one stream, and the lanes of a vector are columns. Scales of both sides are multiplied for a whole block
//! at once and then spread over their lanes (`block.rs`, where the order of `x` is too).
//!
//! Without VNNI, bytes are multiplied in two steps with sixteen bits between them, which is room for weights of four and
//! six bits, but not for eight.

mod block;

use std::arch::x86_64::{
    __m512, __m512i, _MM_HINT_T0, _mm_prefetch, _mm512_add_epi16, _mm512_add_ps, _mm512_cvtepi32_ps,
    _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_fnmadd_ps, _mm512_loadu_si512, _mm512_madd_epi16,
    _mm512_maddubs_epi16, _mm512_mul_ps, _mm512_permutexvar_ps, _mm512_reduce_add_ps, _mm512_set1_epi16,
    _mm512_setzero_ps, _mm512_setzero_si512,
};
use std::ops::Range;

use self::block::{Block, Values};
use super::unpack::{Q4K_BYTES, Q6K_BYTES, Q8_0_BYTES};
use super::{Format, LANES, Out, SPAN, has_vectors, in_tasks, load};

/// The most rows of `x` for which this is faster than tiles.
pub(super) const MOST: usize = 4;
/// Bytes ahead of what is multiplied for which memory is asked: processors follow a stream by themselves, but not far
/// enough, and only to the end of a page.
const AHEAD: usize = 4096;
/// Into how many parts the work of a thread is cut: with few rows of `x` a product is short, and its end is when the last
/// part ends.
const TASKS_PER_THREAD: usize = 8;

/// How bytes are multiplied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Vectors {
    Vnni,
    Plain,
}

impl Vectors {
    /// What this processor has for a format; `None` where it has nothing.
    pub(super) fn of(format: Format) -> Option<Self> {
        match format {
            _ if !has_vectors() => None,
            _ if is_x86_feature_detected!("avx512vnni") => Some(Self::Vnni),
            Format::Q4K | Format::Q6K => Some(Self::Plain),
            Format::Q8_0 => None,
        }
    }
}

/// `y = x Wᵀ` for up to `MOST` rows `x` (m, k) and a matrix (n, k), whose sizes the caller has compared. `vectors` are
/// what [`Vectors::of`] this format has given, or plain ones instead of those with VNNI (not for Q8_0).
pub(super) fn multiply(
    (format, vectors): (Format, Vectors),
    bytes: &[u8],
    (m, k, n): (usize, usize, usize),
    x: &[f32],
    y: &mut [f32],
) {
    // SAFETY: that there are `vectors` says that the processor can.
    let values = unsafe { block::ordered(format, x, k) };
    let stride = k / SPAN * format.bytes();
    let out = Out(y.as_mut_ptr());
    let work = Work { format, vectors, bytes, stride, rows: n, values: &values, lines: m, out };
    in_tasks(m * k * n, n, TASKS_PER_THREAD, |rows| work.run(rows));
}

/// A product, of which tasks do some rows of the matrix each.
struct Work<'a> {
    format: Format,
    vectors: Vectors,
    bytes: &'a [u8],
    /// Bytes of a row of the matrix.
    stride: usize,
    rows: usize,
    /// (spans, lines)
    values: &'a [Values],
    /// Rows of `x`.
    lines: usize,
    out: Out,
}

impl Work<'_> {
    fn run(&self, rows: Range<usize>) {
        // SAFETY: that there are `vectors` says that the processor can.
        unsafe {
            match self.vectors {
                Vectors::Vnni => vnni::compute(self, rows),
                Vectors::Plain => plain::compute(self, rows),
            }
        }
    }

    /// The blocks of a row of the matrix.
    fn blocks<const N: usize>(&self, row: usize) -> &[[u8; N]] {
        self.bytes[row * self.stride..][..self.stride].as_chunks().0
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn write(&self, row: usize, line: usize, [a, b]: [__m512; 2]) {
        assert!(row < self.rows && line < self.lines, "each task has rows of the product");
        let total = _mm512_reduce_add_ps(_mm512_add_ps(a, b));
        // SAFETY: `y` has `rows` values for each of `lines`, as the caller of `multiply` has seen; this one belongs to
        // the task of this row alone, and `y` is borrowed until all have ended.
        unsafe { self.out.0.add(line * self.rows + row).write(total) };
    }
}

/// The kernels, compiled for vectors that have `$features` and multiply by `$product`: code for one kind of processor is
/// only put into code for the same kind.
macro_rules! kernels {
    ($features:literal, $product:ident) => {
        use super::*;

        #[target_feature(enable = $features)]
        pub(super) fn compute(work: &Work<'_>, rows: Range<usize>) {
            match work.lines {
                1 => of_format::<1>(work, rows),
                2 => of_format::<2>(work, rows),
                3 => of_format::<3>(work, rows),
                _ => of_format::<MOST>(work, rows),
            }
        }

        #[target_feature(enable = $features)]
        fn of_format<const R: usize>(work: &Work<'_>, rows: Range<usize>) {
            match work.format {
                Format::Q4K => multiply::<R, Q4K_BYTES>(work, rows, block::Q4K_LANES, |b| block::q4k(b)),
                Format::Q6K => multiply::<R, Q6K_BYTES>(work, rows, block::Q6K_LANES, |b| block::q6k(b)),
                Format::Q8_0 => multiply::<R, Q8_0_BYTES>(work, rows, block::Q8_0_LANES, |b| block::q8_0(b)),
            }
        }

        #[target_feature(enable = $features)]
        fn multiply<const R: usize, const N: usize>(
            work: &Work<'_>,
            rows: Range<usize>,
            lanes: [[i32; LANES]; 2],
            unpacked: impl Fn(&[u8; N]) -> Block,
        ) {
            let lanes = lanes.map(|lanes| whole(&lanes));
            for row in rows {
                let mut totals = [[_mm512_setzero_ps(); 2]; R];
                for (block, values) in work.blocks::<N>(row).iter().zip(work.values.as_chunks::<R>().0) {
                    ask_for(block);
                    let block = unpacked(block);
                    for (totals, values) in totals.iter_mut().zip(values) {
                        add(totals, &block, values, &lanes);
                    }
                }
                for (line, totals) in totals.into_iter().enumerate() {
                    work.write(row, line, totals);
                }
            }
        }

        /// Adds the product of a block and 256 values.
        #[target_feature(enable = $features)]
        #[inline]
        fn add(totals: &mut [__m512; 2], block: &Block, values: &Values, lanes: &[__m512i; 2]) {
            let scales = _mm512_mul_ps(block.scales, load(&values.scales));
            totals[0] = _mm512_fnmadd_ps(block.scales, load(&values.offsets), totals[0]);
            for i in 0..2 {
                let values = [whole(&values.quants[i][0]), whole(&values.quants[i][1])];
                let products = _mm512_cvtepi32_ps($product(block.weights[i], values));
                totals[i] = _mm512_fmadd_ps(products, _mm512_permutexvar_ps(lanes[i], scales), totals[i]);
            }
        }
    };
}

mod vnni {
    kernels!("avx512f,avx512bw,avx512vl,avx512vnni", in_one_step);
}

mod plain {
    kernels!("avx512f,avx512bw,avx512vl", in_two_steps);
}

/// Sums of eight products each: four bytes of both vectors of weights and of values.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn in_one_step(weights: [__m512i; 2], values: [__m512i; 2]) -> __m512i {
    let first = _mm512_dpbusd_epi32(_mm512_setzero_si512(), weights[0], values[0]);
    _mm512_dpbusd_epi32(first, weights[1], values[1])
}

/// The same for weights up to 63: four products of them are less than 2^15.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn in_two_steps(weights: [__m512i; 2], values: [__m512i; 2]) -> __m512i {
    let first = _mm512_maddubs_epi16(weights[0], values[0]);
    let second = _mm512_maddubs_epi16(weights[1], values[1]);
    _mm512_madd_epi16(_mm512_add_epi16(first, second), _mm512_set1_epi16(1))
}

/// Asks for what follows some way after a block.
#[inline]
fn ask_for<const N: usize>(block: &[u8; N]) {
    for at in (0..N).step_by(64) {
        let line = block.as_ptr().wrapping_add(AHEAD + at);
        // SAFETY: the line is asked for and not read, and every processor of this architecture has SSE.
        #[allow(unused_unsafe, reason = "whether this is unsafe depends on the version of the library")]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(line.cast());
        }
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn whole<T: Copy, const N: usize>(values: &[T; N]) -> __m512i {
    const { assert!(size_of::<[T; N]>() == 64) };
    // SAFETY: the reference is to 64 bytes.
    unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
}

#[cfg(test)]
mod tests;
