//! ggml's blocks as bytes of a file: what must hold of them, their values, and products by candle's dot products, which
//! read them where they lie (AVX2, NEON).

use candle_core::Result;
use candle_core::quantized::k_quants::{
    self, BlockQ2K, BlockQ3K, BlockQ4_0, BlockQ4_1, BlockQ4K, BlockQ5_0, BlockQ5_1, BlockQ5K, BlockQ6K,
    BlockQ8_0,
};
use candle_core::quantized::{GgmlDType, GgmlType};

/// Blocks that are plain bytes: any bits are a value, and they lie at even addresses.
trait Plain: GgmlType {}

impl Plain for BlockQ4_0 {}
impl Plain for BlockQ4_1 {}
impl Plain for BlockQ5_0 {}
impl Plain for BlockQ5_1 {}
impl Plain for BlockQ8_0 {}
impl Plain for BlockQ2K {}
impl Plain for BlockQ3K {}
impl Plain for BlockQ4K {}
impl Plain for BlockQ5K {}
impl Plain for BlockQ6K {}

/// Calls a function of the block type that `kind` names.
macro_rules! of_kind {
    ($kind:expr, $function:ident($($argument:expr),*)) => {
        match $kind {
            GgmlDType::Q4_0 => $function::<BlockQ4_0>($($argument),*),
            GgmlDType::Q4_1 => $function::<BlockQ4_1>($($argument),*),
            GgmlDType::Q5_0 => $function::<BlockQ5_0>($($argument),*),
            GgmlDType::Q5_1 => $function::<BlockQ5_1>($($argument),*),
            GgmlDType::Q8_0 => $function::<BlockQ8_0>($($argument),*),
            GgmlDType::Q2K => $function::<BlockQ2K>($($argument),*),
            GgmlDType::Q3K => $function::<BlockQ3K>($($argument),*),
            GgmlDType::Q4K => $function::<BlockQ4K>($($argument),*),
            GgmlDType::Q5K => $function::<BlockQ5K>($($argument),*),
            GgmlDType::Q6K => $function::<BlockQ6K>($($argument),*),
            other => candle_core::bail!("{other:?} is no kind of quantised weights"),
        }
    };
}

/// Where the scales of a block lie, which are numbers in half precision (`ggml-common.h`); `None` for a kind that no
/// weights are stored in.
fn scales(kind: GgmlDType) -> Option<&'static [usize]> {
    match kind {
        GgmlDType::Q4_0 | GgmlDType::Q5_0 | GgmlDType::Q8_0 => Some(&[0]),
        GgmlDType::Q4_1 | GgmlDType::Q5_1 | GgmlDType::Q4K | GgmlDType::Q5K => Some(&[0, 2]),
        GgmlDType::Q2K => Some(&[80, 82]),
        GgmlDType::Q3K => Some(&[108]),
        GgmlDType::Q6K => Some(&[208]),
        _ => None,
    }
}

/// Looks whether these are the blocks of a matrix (out, in); the reason why not is the end of a sentence.
pub(crate) fn check(
    kind: GgmlDType,
    bytes: &[u8],
    (rows, columns): (usize, usize),
) -> std::result::Result<(), String> {
    let Some(scales) = scales(kind) else {
        return Err(format!("is stored as {kind:?}, which is no kind of quantised weights"));
    };
    let (block, size) = (kind.block_size(), kind.type_size());
    if rows == 0 || columns == 0 || !columns.is_multiple_of(block) {
        return Err(format!("has rows of {columns} values, which are no blocks of {block}"));
    }
    if Some(bytes.len()) != rows.checked_mul(columns / block).and_then(|blocks| blocks.checked_mul(size)) {
        return Err("has not the size of its shape".to_owned());
    }
    if !bytes.as_ptr().addr().is_multiple_of(2) {
        return Err("begins at an odd byte".to_owned());
    }
    // The upper five bits below the sign are all ones in what is infinite or no number.
    let is_finite = |block: &[u8], at: usize| block[at + 1] & 0x7c != 0x7c;
    if bytes.chunks_exact(size).any(|block| !scales.iter().all(|&at| is_finite(block, at))) {
        return Err("holds values that are no numbers".to_owned());
    }
    Ok(())
}

fn cast<T: Plain>(bytes: &[u8]) -> &[T] {
    let blocks = bytes.as_ptr().cast::<T>();
    assert!(
        bytes.len().is_multiple_of(size_of::<T>()) && blocks.is_aligned(),
        "`check` has looked at size and place"
    );
    // SAFETY: the bytes are borrowed for as long as the blocks, as many as whole blocks have and aligned for them, and
    // any bits are a valid block (`Plain`).
    #[expect(unsafe_code, reason = "mapped bytes are read as the blocks that they are")]
    unsafe {
        std::slice::from_raw_parts(blocks, bytes.len() / size_of::<T>())
    }
}

/// The values of blocks that `check` has seen.
pub(super) fn to_float(kind: GgmlDType, bytes: &[u8], values: &mut [f32]) -> Result<()> {
    #[expect(clippy::unnecessary_wraps, reason = "as `of_kind!` needs it")]
    fn of<T: Plain>(bytes: &[u8], values: &mut [f32]) -> Result<()> {
        T::to_float(cast(bytes), values);
        Ok(())
    }
    of_kind!(kind, of(bytes, values))
}

/// `y = x Wᵀ` for rows `x` (m, k) and a matrix (n, k) of blocks that `check` has seen.
pub(super) fn multiply(
    kind: GgmlDType,
    bytes: &[u8],
    (m, k, n): (usize, usize, usize),
    x: &[f32],
    y: &mut [f32],
) -> Result<()> {
    fn of<T: Plain>(mkn: (usize, usize, usize), bytes: &[u8], x: &[f32], y: &mut [f32]) -> Result<()> {
        k_quants::matmul(mkn, x, cast::<T>(bytes), y)
    }
    of_kind!(kind, of((m, k, n), bytes, x, y))
}
