//! What quantised matrices are multiplied by, quantised too: eight bits a value with a scale for every 32 of them, packed
//! in the order in which a kernel reads.
//!
//! llama.cpp's K-quants take one scale for 256 values (`quantize_row_q8_K`); 32 cost little here and lose less.

/// Values that share a scale.
const BLOCK: usize = 32;
/// Adding and taking away 1.5 · 2^23 rounds to an integer, which then lies in the lowest bits.
const ROUND: f32 = 12_582_912.0;

/// A few rows that go through a kernel together.
pub(super) struct Group {
    /// The first of its rows, and how many there are.
    pub(super) first: usize,
    pub(super) rows: usize,
    /// Rows that it has room for: 1, 2, 4 or 8. Those that are not there are zeros.
    pub(super) width: usize,
    /// Four values of each row in turn, (columns / 4, width).
    pub(super) quants: Vec<i32>,
    /// (columns / 32, width)
    pub(super) scales: Vec<f32>,
    /// Where each sum of products starts, (columns / span, width): the `offset` that is added to weights so that they
    /// are positive is taken away again by `-offset` times the sum of the values.
    pub(super) starts: Vec<i32>,
    /// Sum of the 32 values that share a scale, (columns / 32, width).
    pub(super) sums: Vec<f32>,
}

impl Group {
    /// Room for `rows` rows of `columns` values, of which `span` share a scale of the weights.
    pub(super) fn new(first: usize, rows: usize, columns: usize, span: usize) -> Self {
        let width = rows.next_power_of_two();
        Self {
            first,
            rows,
            width,
            quants: vec![0; columns / 4 * width],
            scales: vec![0.0; columns / BLOCK * width],
            starts: vec![0; columns / span * width],
            sums: vec![0.0; columns / BLOCK * width],
        }
    }

    /// Quantises `x`, its rows one after the other.
    #[expect(clippy::inline_always, reason = "it is compiled with the vectors of the function that calls it")]
    #[inline(always)]
    pub(super) fn fill(&mut self, x: &[f32], columns: usize, span: usize, offset: i32) {
        let width = self.width;
        for (row, x) in x.chunks_exact(columns).enumerate() {
            for (block, x) in x.as_chunks::<BLOCK>().0.iter().enumerate() {
                let (quants, scale) = quantised(x);
                for (four, quants) in quants.as_chunks::<4>().0.iter().enumerate() {
                    let at = (block * (BLOCK / 4) + four) * width + row;
                    self.quants[at] = i32::from_le_bytes(quants.map(|q| q as u8));
                }
                let mut total = 0;
                for (part, quants) in quants.chunks_exact(span).enumerate() {
                    let sum: i32 = quants.iter().map(|&q| i32::from(q)).sum();
                    self.starts[(block * (BLOCK / span) + part) * width + row] = -offset * sum;
                    total += sum;
                }
                self.scales[block * width + row] = scale;
                self.sums[block * width + row] = scale * total as f32;
            }
        }
    }
}

/// Values as whole numbers up to ±127, and what they are multiplied by to be themselves again. Where one is infinite or
/// no number, so is the scale.
#[expect(clippy::inline_always, reason = "as above")]
#[inline(always)]
pub(super) fn quantised(x: &[f32; BLOCK]) -> ([i8; BLOCK], f32) {
    // Without their signs, numbers are in order as their bits are, and what is no number comes last.
    let largest = x.iter().fold(0u32, |largest, x| largest.max(x.to_bits() & 0x7fff_ffff));
    let scale = f32::from_bits(largest) / 127.0;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    (x.map(|x| (x * inverse + ROUND).to_bits().wrapping_sub(ROUND.to_bits()) as i8), scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_size_and_their_place() {
        // Two rows of 64 values that are whole numbers already: the largest of each block is 127.
        let value = |row: usize, column: usize| match column % 32 {
            0 => 127.0,
            _ => (row * 64 + column) as f32 - 90.0,
        };
        let x: Vec<f32> = (0..128).map(|i| value(i / 64, i % 64)).collect();
        let mut group = Group::new(5, 2, 64, 16);
        group.fill(&x, 64, 16, 32);
        assert_eq!((group.first, group.rows, group.width), (5, 2, 2));
        for row in 0..2 {
            for column in 0..64 {
                let quants = group.quants[column / 4 * 2 + row].to_le_bytes();
                assert_eq!(f32::from(quants[column % 4] as i8), value(row, column), "{row} {column}");
            }
            for part in 0..4 {
                let sum: f32 = (0..16).map(|i| value(row, part * 16 + i)).sum();
                assert_eq!(group.starts[part * 2 + row] as f32, -32.0 * sum);
            }
            for block in 0..2 {
                assert_eq!(group.scales[block * 2 + row], 1.0);
                let sum: f32 = (0..32).map(|i| value(row, block * 32 + i)).sum();
                assert_eq!(group.sums[block * 2 + row], sum);
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = [0.5; 32];
            x[7] = bad;
            assert!(!quantised(&x).1.is_finite(), "{bad}");
        }
        assert_eq!(quantised(&[0.0; 32]), ([0; 32], 0.0));
    }
}
