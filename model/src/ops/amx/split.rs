//! Values in parts, laid out as the tile unit reads them.

#![expect(
    unsafe_code,
    reason = "vectors are loaded and stored through pointers, and arrays are read as vectors"
)]

use std::arch::x86_64::{
    __m512, __m512i, _mm512_add_epi32, _mm512_and_si512, _mm512_castps_si512, _mm512_castsi512_ps,
    _mm512_load_si512, _mm512_loadu_ps, _mm512_mask_blend_epi16, _mm512_maskz_loadu_ps,
    _mm512_permutex2var_epi16, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_shuffle_i32x4,
    _mm512_srli_epi32, _mm512_store_si512, _mm512_sub_ps, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use super::{Parts, STEP, Tile};
use crate::ops::lanes::{self, LANES};

/// The parts of up to 32 inputs of a row into line `row` of the tiles of the high, middle and low parts; the inputs that
/// there are not are zero.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
pub(super) fn split_row(x: &[f32], row: usize, parts: &mut Parts) {
    let x: [__m512; 2] = load(x);
    // Of each pair of vectors, the upper halves of all lanes, in order.
    let odd: [u16; STEP] = std::array::from_fn(|i| 2 * i as u16 + 1);
    // SAFETY: the array has as many bytes as the vector.
    let odd: __m512i = unsafe { std::mem::transmute(odd) };
    let [first, second] = [parts_of(x[0]), parts_of(x[1])];
    for part in 0..3 {
        let values = _mm512_permutex2var_epi16(first[part], odd, second[part]);
        store(&mut parts[2 * part + row / LANES], row % LANES, values);
    }
}

/// The parts of two inputs of 32 columns, side by side as the unit multiplies them, into line `pair` of the tiles; the
/// columns that there are not are zero.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
pub(super) fn split_pair(even: &[f32], odd: &[f32], pair: usize, parts: &mut Parts) {
    let (even, odd): ([__m512; 2], [__m512; 2]) = (load(even), load(odd));
    for half in 0..2 {
        let [even, odd] = [parts_of(even[half]), parts_of(odd[half])];
        for part in 0..3 {
            let values = _mm512_mask_blend_epi16(0xaaaa_aaaa, _mm512_srli_epi32::<16>(even[part]), odd[part]);
            store(&mut parts[2 * part + half], pair, values);
        }
    }
}

/// High, middle and low part of each lane: bf16 values in the upper halves. Each is rounded to the nearest, so that no rest is
/// left after the third.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn parts_of(x: __m512) -> [__m512i; 3] {
    let (half, upper) = (_mm512_set1_epi32(0x8000), _mm512_set1_epi32(0xffff_0000_u32 as i32));
    let rounded = |x: __m512| _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(x), half), upper);
    let high = rounded(x);
    let rest = _mm512_sub_ps(x, _mm512_castsi512_ps(high));
    let middle = rounded(rest);
    [high, middle, _mm512_castps_si512(_mm512_sub_ps(rest, _mm512_castsi512_ps(middle)))]
}

/// The first 32 values, and zeros where there are fewer.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn load(x: &[f32]) -> [__m512; 2] {
    if let Some(x) = x.first_chunk::<STEP>() {
        // SAFETY: there are as many values.
        return unsafe { [_mm512_loadu_ps(x.as_ptr()), _mm512_loadu_ps(x.as_ptr().add(LANES))] };
    }
    // SAFETY: the masks leave out what is past the end.
    unsafe {
        [
            _mm512_maskz_loadu_ps(lanes::first(x.len()), x.as_ptr()),
            _mm512_maskz_loadu_ps(
                lanes::first(x.len().saturating_sub(LANES)),
                x.as_ptr().wrapping_add(LANES),
            ),
        ]
    }
}

/// Writes a line of a tile.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn store(tile: &mut Tile, line: usize, values: __m512i) {
    let line = &mut tile.0.as_chunks_mut::<STEP>().0[line];
    // SAFETY: a line is a vector, and so aligned, since the tile is.
    unsafe { _mm512_store_si512(line.as_mut_ptr().cast(), values) };
}

/// Sixteen lines of sixteen pairs of values: lines become columns. What was laid out for the left matrix is then laid out for
/// the right one, and the other way round.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn transpose(tile: &mut Tile) {
    let mut lines = [_mm512_setzero_si512(); LANES];
    for (line, values) in lines.iter_mut().zip(tile.0.as_chunks::<STEP>().0) {
        // SAFETY: a line is a vector, and so aligned, since the tile is.
        *line = unsafe { _mm512_load_si512(values.as_ptr().cast()) };
    }
    // Within each four lines and each quarter of a line, then quarters among the lines.
    let mut quarters = [_mm512_setzero_si512(); LANES];
    for (lines, quarters) in lines.as_chunks::<4>().0.iter().zip(quarters.as_chunks_mut::<4>().0) {
        let [a, b, c, d] = *lines;
        let (low, high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (low_2, high_2) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        *quarters = [
            _mm512_unpacklo_epi64(low, low_2),
            _mm512_unpackhi_epi64(low, low_2),
            _mm512_unpacklo_epi64(high, high_2),
            _mm512_unpackhi_epi64(high, high_2),
        ];
    }
    for i in 0..4 {
        let [a, b, c, d] = [quarters[i], quarters[4 + i], quarters[8 + i], quarters[12 + i]];
        let (even, odd) = (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xdd>(a, b));
        let (even_2, odd_2) = (_mm512_shuffle_i32x4::<0x88>(c, d), _mm512_shuffle_i32x4::<0xdd>(c, d));
        store(tile, i, _mm512_shuffle_i32x4::<0x88>(even, even_2));
        store(tile, 4 + i, _mm512_shuffle_i32x4::<0x88>(odd, odd_2));
        store(tile, 8 + i, _mm512_shuffle_i32x4::<0xdd>(even, even_2));
        store(tile, 12 + i, _mm512_shuffle_i32x4::<0xdd>(odd, odd_2));
    }
}
