//! Lanes of the vectors of AVX-512 that kernels of our own are written in.

use std::arch::x86_64::__mmask16;

/// Values in f32 of a vector.
pub(super) const LANES: usize = 16;

/// The first `count` lanes, or all of them where there are not so many.
#[inline]
pub(super) fn first(count: usize) -> __mmask16 {
    ((1u32 << count.min(LANES)) - 1) as __mmask16
}
