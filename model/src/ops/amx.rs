//! Products in single precision by the tile unit of a processor (AMX), which multiplies in bf16 only.
//!
//! A value of 24 bits is the sum of three of 8 bits, without rest: high, middle and low. Of the nine products of two such
//! sums the six largest are added up, in f32; the other three are together at most about 2⁻²³ of the product, as its
//! rounding is. The unit does six products in bf16 sooner than vectors of AVX-512 do one in f32. (Henry, Tang, Heinecke
//! 2019, "Leveraging the bfloat16 artificial intelligence datatype for higher-precision computations": three parts and six
//! products.)
//!
//! The standard library has no names for the unit's instructions yet, so they are written as they are.

#![expect(
    unsafe_code,
    reason = "tiles are loaded and stored through pointers, by instructions that have no safe names"
)]

mod product;
mod split;

use std::arch::asm;
use std::marker::PhantomData;

pub(super) use self::product::{Finish, Left, Lines, Place, Right, TileProduct};
use super::lanes::LANES;

/// Rows and columns of a block of sums: two tiles by two.
pub(super) const SIDE: usize = 32;
/// Inputs that an instruction sums.
pub(super) const STEP: usize = 32;

/// Rows of 32 values in bf16, as many as a vector has lanes.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Tile([u16; LANES * STEP]);

/// 32 inputs of 32 rows of the left matrix, or of 32 columns of the right one, in parts: the high parts of the first and
/// of the second sixteen, then the middle and the low ones.
pub(super) type Parts = [Tile; 6];

/// A step of which everything is zero.
pub(super) const NOTHING: Parts = [Tile([0; LANES * STEP]); 6];

/// Sums of 32 rows and columns.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Sums(pub(super) [[f32; SIDE]; SIDE]);

/// Sums that have not begun.
pub(super) const NO_SUMS: Sums = Sums([[0.0; SIDE]; SIDE]);

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

    /// Adds the products of 32 rows and 32 columns to sums, over all steps, or begins them anew. With `is_half` there are
    /// only the first sixteen rows, and the sums of the others stay as they are.
    ///
    /// Meanwhile memory is asked for eight lines from `ahead` on with each step, wherever that is.
    #[expect(clippy::unused_self, reason = "who has it has set the tiles")]
    pub(super) fn multiply(
        &self,
        rows: &[Parts],
        columns: &[Parts],
        sums: &mut Sums,
        [is_first, is_half]: [bool; 2],
        ahead: *const f32,
    ) {
        assert!(rows.len() == columns.len() && !rows.is_empty(), "the steps of a product differ");
        let (rows, columns, steps) = (rows.as_ptr(), columns.as_ptr(), columns.len());
        // SAFETY: the tiles are set, as many steps can be read, and the sums have room for all that is stored.
        unsafe {
            if is_half {
                multiply_16(rows, columns, sums, steps, ahead, is_first);
            } else {
                multiply_32(rows, columns, sums, steps, ahead, is_first);
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

/// A function that adds the products of all steps to tiles of sums, which begin at zero or are read, and in the end are
/// stored. Halfway through a step and at its beginning memory is asked for four lines each.
macro_rules! kernel {
    (
        $(#[$about:meta])*
        $name:ident
        zero { $($zero:literal,)+ }
        read { $($read:literal,)+ }
        begin { $($begin:literal,)+ }
        end { $($end:literal,)+ }
        store { $($store:literal,)+ }
    ) => {
        $(#[$about])*
        unsafe fn $name(
            rows: *const Parts,
            columns: *const Parts,
            sums: *mut Sums,
            steps: usize,
            ahead: *const f32,
            is_first: bool,
        ) {
            // SAFETY: the caller answers for it.
            unsafe {
                asm!(
                    $($zero,)+
                    "test {is_first}, {is_first}",
                    "jnz 2f",
                    $($read,)+
                    "2:",
                    "prefetcht1 [{ahead}]",
                    "prefetcht1 [{ahead} + 0x40]",
                    "prefetcht1 [{ahead} + 0x80]",
                    "prefetcht1 [{ahead} + 0xc0]",
                    $($begin,)+
                    "prefetcht1 [{ahead} + 0x100]",
                    "prefetcht1 [{ahead} + 0x140]",
                    "prefetcht1 [{ahead} + 0x180]",
                    "prefetcht1 [{ahead} + 0x1c0]",
                    "add {ahead}, 0x200",
                    $($end,)+
                    "add {rows}, {parts}",
                    "add {columns}, {parts}",
                    "dec {steps}",
                    "jnz 2b",
                    $($store,)+
                    rows = inout(reg) rows => _,
                    columns = inout(reg) columns => _,
                    steps = inout(reg) steps => _,
                    ahead = inout(reg) ahead => _,
                    is_first = in(reg) usize::from(is_first),
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
    };
}

kernel! {
    /// Sums in tiles 0 to 3 (first rows by first and second columns, second rows by them), rows in 4 and 5, columns in 6 and 7.
    multiply_32
    zero { "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", }
    read {
        "tileloadd tmm0, [{sums} + {row}]",
        "tileloadd tmm1, [{sums} + {row} + 64]",
        "tileloadd tmm2, [{sums} + {row} + 0x800]",
        "tileloadd tmm3, [{sums} + {row} + 0x840]",
    }
    begin {
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
    }
    end {
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
    }
    store {
        "tilestored [{sums} + {row}], tmm0",
        "tilestored [{sums} + {row} + 64], tmm1",
        "tilestored [{sums} + {row} + 0x800], tmm2",
        "tilestored [{sums} + {row} + 0x840], tmm3",
    }
}

kernel! {
    /// The first sixteen rows alone, in the same order: sums in tiles 0 and 1, parts of the rows in 2 to 4, columns in 5 to 7.
    multiply_16
    zero { "tilezero tmm0", "tilezero tmm1", }
    read {
        "tileloadd tmm0, [{sums} + {row}]",
        "tileloadd tmm1, [{sums} + {row} + 64]",
    }
    begin {
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
    }
    end {
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tdpbf16ps tmm1, tmm4, tmm7",
        "tdpbf16ps tmm0, tmm3, tmm6",
        "tdpbf16ps tmm1, tmm3, tmm7",
        "tileloadd tmm6, [{columns} + {line} + 0x800]",
        "tdpbf16ps tmm0, tmm3, tmm6",
        "tileloadd tmm7, [{columns} + {line} + 0xc00]",
        "tdpbf16ps tmm1, tmm3, tmm7",
    }
    store {
        "tilestored [{sums} + {row}], tmm0",
        "tilestored [{sums} + {row} + 64], tmm1",
    }
}
