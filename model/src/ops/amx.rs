//! Products in single precision by the tile unit of a processor (AMX), which multiplies in bf16 only.
//!
//! A value of 24 bits is the sum of three of 8 bits, without rest: high, middle and low. Of the nine products of two such
//! sums the six largest are added up, in f32; the other three are together below 2⁻²³ of the product, as its rounding is.
//! Six products in bf16 take the unit less than half the time that one in f32 takes the vectors of AVX-512.
//! (Henry, Tang, Heinecke 2019, "Leveraging the bfloat16 artificial intelligence datatype for higher-precision
//! computations": three parts and six products.)
//!
//! The standard library has no names for the unit's instructions yet, so they are written as they are.

#![expect(
    unsafe_code,
    reason = "tiles are loaded and stored through pointers, by instructions that have no safe names"
)]

use std::arch::asm;
use std::arch::x86_64::{
    __m512, __m512i, __mmask16, _mm512_add_epi32, _mm512_and_si512, _mm512_castps_si512, _mm512_castsi512_ps,
    _mm512_mask_blend_epi16, _mm512_maskz_loadu_ps, _mm512_permutex2var_epi16, _mm512_set1_epi32,
    _mm512_srli_epi32, _mm512_store_si512, _mm512_sub_ps,
};
use std::marker::PhantomData;

/// Rows and columns of a block of sums: two tiles by two.
pub(super) const SIDE: usize = 32;
/// Inputs that an instruction sums.
pub(super) const STEP: usize = 32;
/// Values in f32 of a vector, and rows of a tile.
const LANES: usize = 16;

/// Sixteen rows of 32 values in bf16.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Tile([u16; LANES * STEP]);

/// 32 inputs of 32 rows of the left matrix, or of 32 columns of the right one, in parts: the high parts of the first and
/// of the second sixteen, then the middle and the low ones.
pub(super) type Parts = [Tile; 6];

/// A step of which everything is zero.
pub(super) const NOTHING: Parts = [Tile([0; LANES * STEP]); 6];

/// Sums of 32 rows and columns.
#[repr(C, align(64))]
pub(super) struct Sums(pub(super) [[f32; SIDE]; SIDE]);

/// Whether this processor has the unit and the system lets this process use it.
pub(super) fn is_able() -> bool {
    #[cfg(target_os = "linux")]
    {
        static IS_ABLE: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| has_unit() && is_permitted());
        *IS_ABLE
    }
    // Other systems are asked in other ways, which nobody has tried here.
    #[cfg(not(target_os = "linux"))]
    false
}

#[cfg(target_os = "linux")]
fn has_unit() -> bool {
    /// Leaf 7 of `cpuid`, EDX: tiles, and products of bf16.
    const TILE: u32 = 1 << 24;
    const BF16: u32 = 1 << 22;
    let has_vectors = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
    has_vectors && std::arch::x86_64::__cpuid_count(7, 0).edx & (TILE | BF16) == TILE | BF16
}

/// Asks the system for the unit's 8 kB of state, which a process gets only by asking.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: the call changes only which state the system keeps for this process.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

/// The unit of this thread, its eight tiles set to sixteen rows of 64 bytes each; given up when it is dropped.
pub(super) struct Unit(PhantomData<*const ()>);

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct Shape {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_of_row: [u16; 16],
    rows: [u8; 16],
}

impl Unit {
    /// # Panics
    /// When there is none: see [`is_able`].
    pub(super) fn new() -> Self {
        assert!(is_able(), "this processor has no tile unit");
        let mut shape =
            Shape { palette: 1, start_row: 0, reserved: [0; 14], bytes_of_row: [0; 16], rows: [0; 16] };
        shape.bytes_of_row[..8].fill(64);
        shape.rows[..8].fill(16);
        // SAFETY: the processor has the instruction, and the operand is of the form that it reads.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const shape, options(nostack, readonly)) };
        Self(PhantomData)
    }

    /// The sums of the products of 32 rows and 32 columns, over all steps. With `is_half` there are only the first sixteen
    /// rows, and the sums of the others are not written.
    ///
    /// Each step is read by a load of a tile as far as it can be, and each load of a tile serves two products or more.
    pub(super) fn multiply(&self, rows: &[Parts], columns: &[Parts], sums: &mut Sums, is_half: bool) {
        assert!(rows.len() == columns.len() && !rows.is_empty(), "the steps of a product differ");
        let (rows, columns, steps) = (rows.as_ptr(), columns.as_ptr(), columns.len());
        // SAFETY: the tiles are set, as many steps can be read, and the sums have room for all that is stored.
        unsafe {
            if is_half {
                multiply_16(rows, columns, sums, steps);
            } else {
                multiply_32(rows, columns, sums, steps);
            }
        }
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        // SAFETY: the processor has the instruction; nothing is in the tiles that anybody waits for.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// Sums in tiles 0 to 3 (first rows by first and second columns, second rows by them), rows in 4 and 5, columns in 6 and 7.
unsafe fn multiply_32(rows: *const Parts, columns: *const Parts, sums: *mut Sums, steps: usize) {
    // SAFETY: the caller answers for it.
    unsafe {
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "2:",
            // High rows with every part of the columns.
            "tileloadd tmm4, [{rows} + {line}]",
            "tileloadd tmm5, [{rows} + {line} + 0x400]",
            "tileloadd tmm6, [{columns} + {line}]",
            "tileloadd tmm7, [{columns} + {line} + 0x400]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tileloadd tmm6, [{columns} + {line} + 0x800]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tileloadd tmm7, [{columns} + {line} + 0xc00]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tileloadd tmm6, [{columns} + {line} + 0x1000]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tileloadd tmm7, [{columns} + {line} + 0x1400]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm3, tmm5, tmm7",
            // Low and middle rows with high columns.
            "tileloadd tmm6, [{columns} + {line}]",
            "tileloadd tmm7, [{columns} + {line} + 0x400]",
            "tileloadd tmm4, [{rows} + {line} + 0x1000]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{rows} + {line} + 0x1400]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tileloadd tmm4, [{rows} + {line} + 0x800]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{rows} + {line} + 0xc00]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            // Middle rows with middle columns.
            "tileloadd tmm6, [{columns} + {line} + 0x800]",
            "tileloadd tmm7, [{columns} + {line} + 0xc00]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {rows}, {parts}",
            "add {columns}, {parts}",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {row}], tmm0",
            "tilestored [{sums} + {row} + 64], tmm1",
            "tilestored [{sums} + {row} + 0x800], tmm2",
            "tilestored [{sums} + {row} + 0x840], tmm3",
            rows = inout(reg) rows => _,
            columns = inout(reg) columns => _,
            steps = inout(reg) steps => _,
            sums = in(reg) sums,
            line = in(reg) 64usize,
            row = in(reg) SIDE * size_of::<f32>(),
            parts = const size_of::<Parts>(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// The first sixteen rows alone, in the same order: sums in tiles 0 and 1, parts of the rows in 2 to 4, columns in 5 to 7.
unsafe fn multiply_16(rows: *const Parts, columns: *const Parts, sums: *mut Sums, steps: usize) {
    // SAFETY: the caller answers for it.
    unsafe {
        asm!(
            "tilezero tmm0", "tilezero tmm1",
            "2:",
            "tileloadd tmm2, [{rows} + {line}]",
            "tileloadd tmm3, [{rows} + {line} + 0x800]",
            "tileloadd tmm4, [{rows} + {line} + 0x1000]",
            "tileloadd tmm6, [{columns} + {line}]",
            "tileloadd tmm7, [{columns} + {line} + 0x400]",
            "tdpbf16ps tmm0, tmm2, tmm6",
            "tdpbf16ps tmm1, tmm2, tmm7",
            "tileloadd tmm5, [{columns} + {line} + 0x800]",
            "tdpbf16ps tmm0, tmm2, tmm5",
            "tileloadd tmm5, [{columns} + {line} + 0xc00]",
            "tdpbf16ps tmm1, tmm2, tmm5",
            "tileloadd tmm5, [{columns} + {line} + 0x1000]",
            "tdpbf16ps tmm0, tmm2, tmm5",
            "tileloadd tmm5, [{columns} + {line} + 0x1400]",
            "tdpbf16ps tmm1, tmm2, tmm5",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm0, tmm3, tmm6",
            "tdpbf16ps tmm1, tmm3, tmm7",
            "tileloadd tmm6, [{columns} + {line} + 0x800]",
            "tdpbf16ps tmm0, tmm3, tmm6",
            "tileloadd tmm7, [{columns} + {line} + 0xc00]",
            "tdpbf16ps tmm1, tmm3, tmm7",
            "add {rows}, {parts}",
            "add {columns}, {parts}",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {row}], tmm0",
            "tilestored [{sums} + {row} + 64], tmm1",
            rows = inout(reg) rows => _,
            columns = inout(reg) columns => _,
            steps = inout(reg) steps => _,
            sums = in(reg) sums,
            line = in(reg) 64usize,
            row = in(reg) SIDE * size_of::<f32>(),
            parts = const size_of::<Parts>(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// The parts of a row: 32 inputs, of which the first `inputs` are read from `x` and the others are zero, into line `row` of
/// the tiles of the high, middle and low parts.
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
    let mask = |half: usize| ((1u32 << x.len().saturating_sub(half * LANES).min(LANES)) - 1) as __mmask16;
    // SAFETY: the masks leave out what is past the end.
    unsafe {
        [
            _mm512_maskz_loadu_ps(mask(0), x.as_ptr()),
            _mm512_maskz_loadu_ps(mask(1), x.as_ptr().wrapping_add(LANES)),
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
