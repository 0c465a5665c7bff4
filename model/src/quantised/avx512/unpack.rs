//! Weights of sixteen rows, unpacked from the blocks that files hold: a row in each lane of a vector.
//!
//! Layouts of blocks are those of `ggml-common.h`, orders of values those of `dequantize_row_*` (`ggml-quants.c`).

use std::arch::x86_64::{
    __m128i, __m512, __m512i, _mm_loadu_si128, _mm512_and_si512, _mm512_castsi128_si512,
    _mm512_cvtepi32_epi16, _mm512_cvtepi32_ps, _mm512_cvtph_ps, _mm512_inserti32x4, _mm512_loadu_epi32,
    _mm512_mul_ps, _mm512_or_si512, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_slli_epi32, _mm512_sllv_epi32, _mm512_srai_epi32, _mm512_srli_epi32,
    _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
    _mm512_xor_si512,
};

use super::{LANES, SPAN};

/// A block of 256: scale and minimum, eight scales and minima of six bits each, 256 values of four bits.
pub(super) const Q4K_BYTES: usize = 144;
/// A block of 256: lower four bits, upper two bits, sixteen signed scales, and their scale.
pub(super) const Q6K_BYTES: usize = 210;
/// Eight blocks of 32: a scale, and 32 values of eight bits.
pub(super) const Q8_0_BYTES: usize = 8 * 34;

/// Weights of sixteen rows and 256 columns, as unsigned bytes and what they are multiplied by.
pub(super) struct Tile {
    /// Four columns each.
    pub(super) quants: [__m512i; SPAN / 4],
    /// One for each 16 columns (Q6_K) or 32.
    pub(super) scales: [__m512; SPAN / 16],
    /// What is taken away from each weight of 32 columns (Q4_K alone).
    pub(super) mins: [__m512; SPAN / 32],
}

impl Tile {
    #[target_feature(enable = "avx512f")]
    pub(super) fn empty() -> Self {
        Self {
            quants: [_mm512_setzero_si512(); SPAN / 4],
            scales: [_mm512_setzero_ps(); SPAN / 16],
            mins: [_mm512_setzero_ps(); SPAN / 32],
        }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) fn set_q4k(&mut self, rows: &[&[u8; Q4K_BYTES]; LANES]) {
        let (four, six) = (_mm512_set1_epi8(0x0f), _mm512_set1_epi8(0x3f));
        let [head, low, middle, high] = fours(rows, 0);
        let (scale, min) = (halves(head), halves(_mm512_srli_epi32::<16>(head)));
        // The last four scales and minima have their upper two bits above the six of the first (`get_scale_min_k4`).
        let upper_scales = above_six(low);
        let upper_mins = above_six(middle);
        let scales =
            [_mm512_and_si512(low, six), _mm512_or_si512(_mm512_and_si512(high, four), upper_scales)];
        let mins = [
            _mm512_and_si512(middle, six),
            _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi32::<4>(high), four), upper_mins),
        ];
        for i in 0..8 {
            self.scales[i] = _mm512_mul_ps(scale, signed_byte(scales[i / 4], i % 4));
            self.mins[i] = _mm512_mul_ps(min, signed_byte(mins[i / 4], i % 4));
        }
        // 32 bytes hold 64 values: the first 32 in the lower halves of the bytes, the others in the upper ones.
        for part in 0..8 {
            for (i, bytes) in fours(rows, 16 + 16 * part).iter().enumerate() {
                let to = part / 2 * 16 + part % 2 * 4 + i;
                self.quants[to] = _mm512_and_si512(*bytes, four);
                self.quants[to + 8] = _mm512_and_si512(_mm512_srli_epi32::<4>(*bytes), four);
            }
        }
    }

    /// Weights are 32 more than they should be.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) fn set_q6k(&mut self, rows: &[&[u8; Q6K_BYTES]; LANES]) {
        // Of each 128 values, the upper bits of four lie in one byte, which are 32 values apart.
        for half in 0..2 {
            for part in 0..2 {
                let at = 64 * half + 16 * part;
                let (first, second) = (fours(rows, at), fours(rows, at + 32));
                let upper = fours(rows, 128 + 32 * half + 16 * part);
                for (i, ((first, second), upper)) in first.iter().zip(&second).zip(&upper).enumerate() {
                    let to = 32 * half + 4 * part + i;
                    self.quants[to] = six_bits(*first, _mm512_slli_epi32::<4>(*upper));
                    self.quants[to + 8] = six_bits(*second, _mm512_slli_epi32::<2>(*upper));
                    self.quants[to + 16] = six_bits(_mm512_srli_epi32::<4>(*first), *upper);
                    self.quants[to + 24] =
                        six_bits(_mm512_srli_epi32::<4>(*second), _mm512_srli_epi32::<2>(*upper));
                }
            }
        }
        let scale = halves_at(rows, 208);
        for (i, scales) in fours(rows, 192).iter().enumerate() {
            for byte in 0..4 {
                self.scales[4 * i + byte] = _mm512_mul_ps(scale, signed_byte(*scales, byte));
            }
        }
    }

    /// Weights are 128 more than they should be.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) fn set_q8_0(&mut self, rows: &[&[u8; Q8_0_BYTES]; LANES]) {
        // Turning the highest bit adds 128 to a signed byte.
        let sign = _mm512_set1_epi8(i8::MIN);
        for block in 0..8 {
            self.scales[block] = halves_at(rows, 34 * block);
            for part in 0..2 {
                for (i, bytes) in fours(rows, 34 * block + 2 + 16 * part).iter().enumerate() {
                    self.quants[8 * block + 4 * part + i] = _mm512_xor_si512(*bytes, sign);
                }
            }
        }
    }
}

/// Sixteen bytes of every row from `at`: four vectors with four bytes of each row.
#[target_feature(enable = "avx512f")]
#[inline]
fn fours<const N: usize>(rows: &[&[u8; N]; LANES], at: usize) -> [__m512i; 4] {
    // A quarter of each vector has one row's sixteen bytes: rows 0, 4, 8 and 12, rows 1, 5, 9 and 13, and so on.
    let (a, b) = (quarters(rows, 0, at), quarters(rows, 1, at));
    let (c, d) = (quarters(rows, 2, at), quarters(rows, 3, at));
    let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab_low, cd_low),
        _mm512_unpackhi_epi64(ab_low, cd_low),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ]
}

#[target_feature(enable = "avx512f")]
#[inline]
fn quarters<const N: usize>(rows: &[&[u8; N]; LANES], first: usize, at: usize) -> __m512i {
    let x = _mm512_castsi128_si512(sixteen(rows[first], at));
    let x = _mm512_inserti32x4::<1>(x, sixteen(rows[first + 4], at));
    let x = _mm512_inserti32x4::<2>(x, sixteen(rows[first + 8], at));
    _mm512_inserti32x4::<3>(x, sixteen(rows[first + 12], at))
}

#[inline]
fn sixteen<const N: usize>(row: &[u8; N], at: usize) -> __m128i {
    let bytes: &[u8; 16] = row[at..].first_chunk().expect("blocks are longer than what is asked of them");
    // SAFETY: the reference is to sixteen bytes.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// The upper two bits of each byte, above the lowest four.
#[target_feature(enable = "avx512f")]
#[inline]
fn above_six(x: __m512i) -> __m512i {
    let two = _mm512_set1_epi8(0x03);
    _mm512_slli_epi32::<4>(_mm512_and_si512(_mm512_srli_epi32::<6>(x), two))
}

/// Bytes of the lower four bits of one and bits 4 and 5 of the other.
#[target_feature(enable = "avx512f")]
#[inline]
fn six_bits(lower: __m512i, upper: __m512i) -> __m512i {
    let (four, two) = (_mm512_set1_epi8(0x0f), _mm512_set1_epi8(0x30));
    _mm512_or_si512(_mm512_and_si512(lower, four), _mm512_and_si512(upper, two))
}

/// Byte number `byte` of each lane, with its sign.
#[target_feature(enable = "avx512f")]
#[inline]
fn signed_byte(x: __m512i, byte: usize) -> __m512 {
    let up = _mm512_sllv_epi32(x, _mm512_set1_epi32(24 - 8 * byte as i32));
    _mm512_cvtepi32_ps(_mm512_srai_epi32::<24>(up))
}

/// The lower sixteen bits of each lane, as a number in half precision.
#[target_feature(enable = "avx512f")]
#[inline]
fn halves(x: __m512i) -> __m512 {
    _mm512_cvtph_ps(_mm512_cvtepi32_epi16(x))
}

/// The number in half precision that every row has at `at`.
#[target_feature(enable = "avx512f")]
#[inline]
fn halves_at<const N: usize>(rows: &[&[u8; N]; LANES], at: usize) -> __m512 {
    let mut bits = [0i32; LANES];
    for (bits, row) in bits.iter_mut().zip(rows) {
        *bits = i32::from(u16::from_le_bytes([row[at], row[at + 1]]));
    }
    // SAFETY: there are sixteen of them.
    halves(unsafe { _mm512_loadu_epi32(bits.as_ptr()) })
}
