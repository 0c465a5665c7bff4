//! Products with quantised matrices in AVX-512 with VNNI, on the bytes as files have them.
//!
//! Sixteen rows of a matrix, one in each lane of a vector, are unpacked for 256 columns into a buffer that stays in the
//! first cache, and then multiplied by every row of `x`: unpacking costs as much as multiplying by a few rows, so that
//! prompts are bound by the products. Single steps, which memory should bound, have kernels of their own (`few.rs`). One
//! `vpdpbusd` multiplies four unsigned bytes of each lane (weights) by four signed ones (`x`, the same for all lanes).
//!
//! The lanes are those of the tiles in candle's `repack_x86.rs`, which keeps them in memory instead.

#![expect(
    unsafe_code,
    reason = "vectors are loaded through pointers, and functions for a kind of processor are unsafe to call"
)]

mod few;
mod unpack;

use std::arch::x86_64::{
    __m512, _MM_HINT_T1, _mm_prefetch, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps,
    _mm512_fnmadd_ps, _mm512_loadu_ps, _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_storeu_ps,
};
use std::ops::Range;

use candle_core::quantized::GgmlDType;
use rayon::prelude::*;

use self::unpack::{Q4K_BYTES, Q6K_BYTES, Q8_0_BYTES, Tile};
use super::activations::Group;

/// Rows of a matrix that are multiplied together.
const LANES: usize = 16;
/// Columns that are unpacked at a time.
const SPAN: usize = 256;
/// Rows of `x` that are multiplied together.
const WIDEST: usize = 8;
/// Into how many parts the work of a thread is cut, so that none waits long for the last.
const TASKS_PER_THREAD: usize = 4;
/// Products of fewer values than this are done before another thread has begun.
const SMALL: usize = 1 << 18;

/// How the weights are stored.
#[derive(Clone, Copy)]
enum Format {
    Q4K,
    Q6K,
    Q8_0,
}

impl Format {
    fn of(kind: GgmlDType) -> Option<Self> {
        match kind {
            GgmlDType::Q4K => Some(Self::Q4K),
            GgmlDType::Q6K => Some(Self::Q6K),
            GgmlDType::Q8_0 => Some(Self::Q8_0),
            _ => None,
        }
    }

    /// Bytes of `SPAN` columns of a row.
    fn bytes(self) -> usize {
        match self {
            Self::Q4K => Q4K_BYTES,
            Self::Q6K => Q6K_BYTES,
            Self::Q8_0 => Q8_0_BYTES,
        }
    }

    /// Columns that share a scale, and what is added to weights so that they are positive.
    fn scaling(self) -> (usize, i32) {
        match self {
            Self::Q4K => (32, 0),
            Self::Q6K => (16, 32),
            Self::Q8_0 => (32, 128),
        }
    }
}

/// `y = x Wᵀ` for rows `x` (m, k) and a matrix (n, k) of whole blocks; `false`, and nothing done, where there is no
/// kernel for this kind, shape or processor.
pub(super) fn multiply(
    kind: GgmlDType,
    bytes: &[u8],
    (m, k, n): (usize, usize, usize),
    x: &[f32],
    y: &mut [f32],
) -> bool {
    let Some(format) = Format::of(kind).filter(|_| k.is_multiple_of(SPAN)) else { return false };
    let few = few::Vectors::of(format).filter(|_| m <= few::MOST);
    if few.is_none() && !is_able() {
        return false;
    }
    let stride = k / SPAN * format.bytes();
    if m == 0 {
        return true;
    }
    assert!(
        x.len() == m * k && y.len() == m * n && bytes.len() == n * stride,
        "the sizes of a product differ"
    );
    if let Some(vectors) = few {
        few::multiply((format, vectors), bytes, (m, k, n), x, y);
        return true;
    }
    let groups = groups(format, x, (m, k));
    let lines = groups.iter().map(|group| group.width).sum();
    let work = Work { format, bytes, stride, rows: n, groups: &groups, lines, out: Out(y.as_mut_ptr()) };
    in_tasks(m * k * n, n.div_ceil(LANES), TASKS_PER_THREAD, |tiles| work.run(tiles));
    true
}

/// Whether this processor can, for any number of rows.
pub(super) fn is_able() -> bool {
    has_vectors() && is_x86_feature_detected!("avx512vnni")
}

/// Whether this processor has what all kernels need.
fn has_vectors() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
}

/// Runs `count` parts of a product of so many values, in so many tasks for each thread; a small one on this thread.
fn in_tasks(values: usize, count: usize, tasks_per_thread: usize, run: impl Fn(Range<usize>) + Sync) {
    if values < SMALL {
        return run(0..count);
    }
    let at_a_time = count.div_ceil(rayon::current_num_threads() * tasks_per_thread);
    (0..count.div_ceil(at_a_time)).into_par_iter().for_each(|task| {
        let first = task * at_a_time;
        run(first..count.min(first + at_a_time));
    });
}

/// `x` (m, k), quantised.
fn groups(format: Format, x: &[f32], (m, k): (usize, usize)) -> Vec<Group> {
    let group = |first: usize| {
        let rows = WIDEST.min(m - first);
        // SAFETY: `multiply` has asked whether the processor can.
        unsafe { packed(format, &x[first * k..][..rows * k], (first, rows, k)) }
    };
    if m <= WIDEST {
        return (0..m).step_by(WIDEST).map(group).collect();
    }
    (0..m.div_ceil(WIDEST)).into_par_iter().map(|i| group(i * WIDEST)).collect()
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn packed(format: Format, x: &[f32], (first, rows, columns): (usize, usize, usize)) -> Group {
    let (span, offset) = format.scaling();
    let mut group = Group::new(first, rows, columns, span);
    group.fill(x, columns, span, offset);
    group
}

/// Where a product goes, (m, n). Each task writes columns of its own.
struct Out(*mut f32);

// SAFETY: `Work::write` alone uses the pointer, and no two tasks write the same value.
unsafe impl Sync for Out {}

/// A product, of which tasks do a part each.
struct Work<'a> {
    format: Format,
    bytes: &'a [u8],
    /// Bytes of a row.
    stride: usize,
    rows: usize,
    groups: &'a [Group],
    /// Rows of all groups, those that are not there with them.
    lines: usize,
    out: Out,
}

impl Work<'_> {
    fn run(&self, tiles: Range<usize>) {
        // SAFETY: `multiply` has asked whether the processor can.
        unsafe { self.compute(tiles) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn compute(&self, tiles: Range<usize>) {
        let mut tile = Tile::empty();
        let mut sums = vec![[0.0f32; LANES]; self.lines];
        for index in tiles {
            let first = index * LANES;
            sums.fill([0.0; LANES]);
            for span in 0..self.stride / self.format.bytes() {
                self.ask_for(first + LANES, span);
                match self.format {
                    Format::Q4K => tile.set_q4k(&self.spans(first, span)),
                    Format::Q6K => tile.set_q6k(&self.spans(first, span)),
                    Format::Q8_0 => tile.set_q8_0(&self.spans(first, span)),
                }
                let mut lines = sums.as_mut_slice();
                for group in self.groups {
                    let (own, others) = std::mem::take(&mut lines).split_at_mut(group.width);
                    match group.width {
                        1 => self.add::<1>(&tile, group, span, own),
                        2 => self.add::<2>(&tile, group, span, own),
                        4 => self.add::<4>(&tile, group, span, own),
                        _ => self.add::<WIDEST>(&tile, group, span, own),
                    }
                    lines = others;
                }
            }
            self.write(first, &sums);
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn add<const R: usize>(&self, tile: &Tile, group: &Group, span: usize, sums: &mut [[f32; LANES]]) {
        match self.format {
            Format::Q4K => accumulate::<R, 8, true>(tile, group, span, sums),
            Format::Q6K => accumulate::<R, 4, false>(tile, group, span, sums),
            Format::Q8_0 => accumulate::<R, 8, false>(tile, group, span, sums),
        }
    }

    /// The bytes of 256 columns of sixteen rows. Past the last row they are that row's again, whose products are not
    /// written.
    fn spans<const N: usize>(&self, first: usize, span: usize) -> [&[u8; N]; LANES] {
        std::array::from_fn(|lane| {
            let row = (first + lane).min(self.rows - 1);
            let bytes = &self.bytes[row * self.stride + span * N..];
            bytes.first_chunk().expect("`multiply` has compared the sizes")
        })
    }

    /// Asks for what the next sixteen rows will need, in the order in which it lies in memory: sixteen rows at once are
    /// more streams than processors follow by themselves.
    fn ask_for(&self, first: usize, span: usize) {
        let length = LANES * self.format.bytes();
        let start = first * self.stride + span * length;
        for at in (start..self.bytes.len().min(start + length)).step_by(64) {
            let line = self.bytes[at..].as_ptr();
            // SAFETY: the line is asked for and not read, and every processor of this architecture has SSE.
            #[allow(unused_unsafe, reason = "whether this is unsafe depends on the version of the library")]
            unsafe {
                _mm_prefetch::<_MM_HINT_T1>(line.cast());
            }
        }
    }

    /// Puts the products with rows from `first` where they belong.
    fn write(&self, first: usize, sums: &[[f32; LANES]]) {
        let count = LANES.min(self.rows - first);
        let mut lines = sums;
        for group in self.groups {
            let (own, others) = lines.split_at(group.width);
            for (row, sums) in own[..group.rows].iter().enumerate() {
                let at = (group.first + row) * self.rows + first;
                // SAFETY: `multiply` has seen that there are `rows` values for each row of all groups; these ones,
                // columns `first..first + count`, belong to this task alone, and `y` is borrowed until all have ended.
                unsafe { std::ptr::copy_nonoverlapping(sums.as_ptr(), self.out.0.add(at), count) };
            }
            lines = others;
        }
    }
}

/// Adds the products of a tile's 256 columns and those of `R` rows of `x`. `FOURS` times four columns share a scale.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn accumulate<const R: usize, const FOURS: usize, const MINS: bool>(
    tile: &Tile,
    group: &Group,
    span: usize,
    sums: &mut [[f32; LANES]],
) {
    let parts = SPAN / 4 / FOURS;
    let quants = &group.quants.as_chunks::<R>().0[span * (SPAN / 4)..][..SPAN / 4];
    let starts = &group.starts.as_chunks::<R>().0[span * parts..][..parts];
    let scales = &group.scales.as_chunks::<R>().0[span * (SPAN / 32)..][..SPAN / 32];
    let offsets = &group.sums.as_chunks::<R>().0[span * (SPAN / 32)..][..SPAN / 32];
    let mut totals = [_mm512_setzero_ps(); R];
    for (total, sum) in totals.iter_mut().zip(sums.iter()) {
        *total = load(sum);
    }
    for (part, starts) in starts.iter().enumerate() {
        let mut products = [_mm512_setzero_si512(); R];
        for (product, start) in products.iter_mut().zip(starts) {
            *product = _mm512_set1_epi32(*start);
        }
        let weights = &tile.quants[part * FOURS..][..FOURS];
        for (weights, quants) in weights.iter().zip(&quants[part * FOURS..][..FOURS]) {
            for (product, four) in products.iter_mut().zip(quants) {
                *product = _mm512_dpbusd_epi32(*product, *weights, _mm512_set1_epi32(*four));
            }
        }
        let block = part * FOURS / 8;
        for ((total, product), scale) in totals.iter_mut().zip(&products).zip(&scales[block]) {
            let scale = _mm512_mul_ps(tile.scales[part], _mm512_set1_ps(*scale));
            *total = _mm512_fmadd_ps(_mm512_cvtepi32_ps(*product), scale, *total);
        }
        if MINS {
            for (total, sum) in totals.iter_mut().zip(&offsets[block]) {
                *total = _mm512_fnmadd_ps(tile.mins[block], _mm512_set1_ps(*sum), *total);
            }
        }
    }
    for (total, sum) in totals.iter().zip(sums) {
        store(sum, *total);
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load(values: &[f32; LANES]) -> __m512 {
    // SAFETY: the reference is to sixteen values.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store(to: &mut [f32; LANES], values: __m512) {
    // SAFETY: the reference is to sixteen values.
    unsafe { _mm512_storeu_ps(to.as_mut_ptr(), values) }
}
