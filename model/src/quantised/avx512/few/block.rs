//! A block of 256 weights of one row, unpacked by masks and shifts, and 256 values of `x` in the order that these give.
//!
//! Two vectors each have the first and the second half of the weights that share a scale, in the same lanes: their
//! products are added before they are multiplied by it. Another product of the same scales, with sums of `x`, is taken
//! away: minima (Q4_K) or what makes weights positive (Q6_K, Q8_0), as llama.cpp does with its `bsums`.
//!
//! Layouts of blocks are those of `ggml-common.h`, orders of values those of `dequantize_row_*` (`ggml-quants.c`).

use std::arch::x86_64::{
    __m128i, __m256i, __m512, __m512i, _mm_cvtph_ps, _mm_cvtsi32_si128, _mm_loadu_si128, _mm_set_epi64x,
    _mm_setr_epi16, _mm256_cvtph_ps, _mm256_loadu_si256, _mm512_and_si512, _mm512_broadcast_i64x4,
    _mm512_broadcastss_ps, _mm512_castps128_ps512, _mm512_castsi256_si512, _mm512_cvtepi8_epi32,
    _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32, _mm512_inserti64x4, _mm512_loadu_si512, _mm512_mul_ps,
    _mm512_permutexvar_ps, _mm512_set1_epi8, _mm512_setr_epi32, _mm512_shuffle_i32x4, _mm512_sllv_epi32,
    _mm512_srli_epi32, _mm512_srlv_epi32, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi64, _mm512_xor_si512, _mm512_zextps256_ps512,
};

use super::super::unpack::{Q4K_BYTES, Q6K_BYTES, Q8_0_BYTES};
use super::super::{Format, LANES, SPAN};
use crate::quantised::activations::quantised;

/// Weights as unsigned bytes, twice the two vectors that are multiplied by the same scales, and all the scales.
pub(super) struct Block {
    pub(super) weights: [[__m512i; 2]; 2],
    pub(super) scales: __m512,
}

/// 256 values of a row of `x`.
#[derive(Clone)]
#[repr(C, align(64))]
pub(super) struct Values {
    /// In the order of [`Block::weights`].
    pub(super) quants: [[[i8; 64]; 2]; 2],
    /// What each of [`Block::scales`] is multiplied by.
    pub(super) scales: [f32; LANES],
    /// What is taken away for each of them.
    pub(super) offsets: [f32; LANES],
}

/// Which of [`Block::scales`] each lane of the products has.
pub(super) const Q4K_LANES: [[i32; LANES]; 2] = [
    [0, 0, 0, 0, 2, 2, 2, 2, 8, 8, 8, 8, 10, 10, 10, 10],
    [1, 1, 1, 1, 3, 3, 3, 3, 9, 9, 9, 9, 11, 11, 11, 11],
];
pub(super) const Q6K_LANES: [[i32; LANES]; 2] = [
    [0, 0, 8, 8, 1, 1, 9, 9, 2, 2, 10, 10, 3, 3, 11, 11],
    [4, 4, 12, 12, 5, 5, 13, 13, 6, 6, 14, 14, 7, 7, 15, 15],
];
pub(super) const Q8_0_LANES: [[i32; LANES]; 2] =
    [[0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3], [4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7]];

/// Rows `x` of `k` values, quantised: (spans, rows).
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn ordered(format: Format, x: &[f32], k: usize) -> Vec<Values> {
    let rows = x.len() / k;
    let none = Values { quants: [[[0; 64]; 2]; 2], scales: [0.0; LANES], offsets: [0.0; LANES] };
    let mut values = vec![none; k / SPAN * rows];
    for (row, x) in x.chunks_exact(k).enumerate() {
        for (values, x) in values.chunks_exact_mut(rows).zip(x.as_chunks::<SPAN>().0) {
            values[row].set(format, x);
        }
    }
    values
}

impl Values {
    #[expect(clippy::inline_always, reason = "it is compiled with the vectors of the function that calls it")]
    #[inline(always)]
    fn set(&mut self, format: Format, x: &[f32; SPAN]) {
        let places = match format {
            Format::Q4K => &Q4K_PLACES,
            Format::Q6K => &Q6K_PLACES,
            Format::Q8_0 => &Q8_0_PLACES,
        };
        let ordered = self.quants.as_flattened_mut().as_flattened_mut().as_chunks_mut::<8>().0;
        for (block, x) in x.as_chunks::<32>().0.iter().enumerate() {
            let (quants, scale) = quantised(x);
            for (place, quants) in places[4 * block..].iter().zip(quants.as_chunks::<8>().0) {
                ordered[*place] = *quants;
            }
            let sum = |quants: &[i8]| scale * quants.iter().map(|&q| i32::from(q)).sum::<i32>() as f32;
            match format {
                Format::Q4K => {
                    // Minima lie four lanes after their scales: see `q4k`.
                    let lane = block + (block & 4);
                    self.scales[lane] = scale;
                    self.offsets[lane + 4] = sum(&quants);
                }
                Format::Q6K => {
                    for (half, quants) in quants.as_chunks::<16>().0.iter().enumerate() {
                        self.scales[2 * block + half] = scale;
                        self.offsets[2 * block + half] = 32.0 * sum(quants);
                    }
                }
                Format::Q8_0 => {
                    self.scales[block] = scale;
                    self.offsets[block] = 128.0 * sum(&quants);
                }
            }
        }
    }
}

/// Where the weights of each eight columns are, counted in eights, in the order of [`Block::weights`].
const fn places(format: Format) -> [usize; SPAN / 8] {
    let mut places = [0; SPAN / 8];
    let mut eight = 0;
    while eight < places.len() {
        let (sixteen, block, within) = (eight / 2, eight / 4, eight % 2);
        places[eight] = match format {
            Format::Q4K => 16 * (block % 2) + 8 * (sixteen % 2) + 2 * (block / 2) + within,
            Format::Q6K => 16 * (sixteen / 4 % 2) + 8 * within + 2 * (sixteen % 4) + sixteen / 8,
            Format::Q8_0 => 16 * (block / 4) + 8 * (sixteen % 2) + 2 * (block % 4) + within,
        };
        eight += 1;
    }
    places
}

const Q4K_PLACES: [usize; SPAN / 8] = places(Format::Q4K);
const Q6K_PLACES: [usize; SPAN / 8] = places(Format::Q6K);
const Q8_0_PLACES: [usize; SPAN / 8] = places(Format::Q8_0);

/// Weights of even and of odd blocks of 32; scales 0 to 3, minima 0 to 3, scales 4 to 7, minima 4 to 7.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
pub(super) fn q4k(block: &[u8; Q4K_BYTES]) -> Block {
    let four = _mm512_set1_epi8(0x0f);
    // 32 bytes hold 64 values: the first 32 in the lower halves of the bytes, the others in the upper ones.
    let bytes = in_halves(whole_at(block, 16), whole_at(block, 80));
    let lower = bytes.map(|x| _mm512_and_si512(x, four));
    let upper = bytes.map(|x| _mm512_and_si512(_mm512_srli_epi32::<4>(x), four));
    // The last four scales and minima have their upper two bits above the six of the first (`get_scale_min_k4`).
    let first = number(block, 4);
    let last = number(block, 8) >> 32;
    let nibbles = (last | last << 28) & 0x0f0f_0f0f_0f0f_0f0f;
    let last = nibbles | (first >> 2 & 0x3030_3030_3030_3030);
    let first = first & 0x3f3f_3f3f_3f3f_3f3f;
    let scales = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_set_epi64x(last as i64, first as i64)));
    let of = _mm_cvtph_ps(_mm_cvtsi32_si128(number(block, 0) as i32));
    let lanes = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1);
    let of = _mm512_permutexvar_ps(lanes, _mm512_castps128_ps512(of));
    Block { weights: [lower, upper], scales: _mm512_mul_ps(scales, of) }
}

/// Weights, 32 more than they should be, of the first and the second 64 of each half; the scale of each 16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
pub(super) fn q6k(block: &[u8; Q6K_BYTES]) -> Block {
    let (four, two) = (_mm512_set1_epi8(0x0f), _mm512_set1_epi8(0x30));
    // Of each 128 values, the upper bits of four lie in one byte, which are 32 values apart.
    let up = _mm512_setr_epi32(4, 4, 4, 4, 4, 4, 4, 4, 2, 2, 2, 2, 2, 2, 2, 2);
    let down = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2);
    let (a, b) = (whole_at(block, 0), whole_at(block, 64));
    let bytes = [_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b)];
    let a = _mm512_broadcast_i64x4(half_at(block, 128));
    let b = _mm512_broadcast_i64x4(half_at(block, 160));
    let high = [_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b)];
    // The lower four bits of one, and bits 4 and 5 of the other.
    let six_bits =
        |lower, upper| _mm512_ternarylogic_epi32::<0xec>(lower, _mm512_and_si512(upper, two), four);
    let first = std::array::from_fn(|i| six_bits(bytes[i], _mm512_sllv_epi32(high[i], up)));
    let second =
        std::array::from_fn(|i| six_bits(_mm512_srli_epi32::<4>(bytes[i]), _mm512_srlv_epi32(high[i], down)));
    let of = i32::from(u16::from_le_bytes(*part(block, 208)));
    let of = _mm512_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(of)));
    let scales = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(quarter_at(block, 192)));
    Block { weights: [first, second], scales: _mm512_mul_ps(scales, of) }
}

/// Weights, 128 more than they should be, of the first and the last four blocks of 32; scales of all in the first lanes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
pub(super) fn q8_0(block: &[u8; Q8_0_BYTES]) -> Block {
    // Turning the highest bit adds 128 to a signed byte.
    let sign = _mm512_set1_epi8(i8::MIN);
    let two = |i: usize| {
        let (a, b) = (half_at(block, 34 * i + 2), half_at(block, 34 * i + 36));
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(a), b)
    };
    let four = |i: usize| in_halves(two(i), two(i + 2)).map(|x| _mm512_xor_si512(x, sign));
    let at = |i: usize| i16::from_le_bytes(*part(block, 34 * i));
    let scales = _mm_setr_epi16(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7));
    Block { weights: [four(0), four(4)], scales: _mm512_zextps256_ps512(_mm256_cvtph_ps(scales)) }
}

/// The first sixteen bytes of each 32 of two vectors, and the second.
#[target_feature(enable = "avx512f")]
#[inline]
fn in_halves(a: __m512i, b: __m512i) -> [__m512i; 2] {
    [_mm512_shuffle_i32x4::<0b10_00_10_00>(a, b), _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b)]
}

/// The eight bytes at `at`, as a number.
#[inline]
fn number<const N: usize>(block: &[u8; N], at: usize) -> u64 {
    u64::from_le_bytes(*part(block, at))
}

#[inline]
fn part<const N: usize, const PART: usize>(block: &[u8; N], at: usize) -> &[u8; PART] {
    block[at..].first_chunk().expect("blocks are longer than what is asked of them")
}

#[inline]
fn quarter_at<const N: usize>(block: &[u8; N], at: usize) -> __m128i {
    let bytes: &[u8; 16] = part(block, at);
    // SAFETY: the reference is to sixteen bytes.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn half_at<const N: usize>(block: &[u8; N], at: usize) -> __m256i {
    let bytes: &[u8; 32] = part(block, at);
    // SAFETY: the reference is to 32 bytes.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn whole_at<const N: usize>(block: &[u8; N], at: usize) -> __m512i {
    let bytes: &[u8; 64] = part(block, at);
    // SAFETY: the reference is to 64 bytes.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_a_place_of_its_own() {
        for places in [Q4K_PLACES, Q6K_PLACES, Q8_0_PLACES] {
            let mut sorted = places;
            sorted.sort_unstable();
            assert!(sorted.iter().copied().eq(0..SPAN / 8), "{places:?}");
        }
    }
}
