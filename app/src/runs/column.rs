//! Figures over the steps of a stage: a column that grows at its end, that clones in next to no time, and that a plot reads in
//! as many places as it has pixels.

use std::sync::Arc;

/// Values of a block.
pub const BLOCK: usize = 64;

/// Values of one measure, one a step; NaN where a step did not measure it, infinite where what it measured was no finite number.
/// Clones share all blocks but the last one.
#[derive(Clone, Debug, Default)]
pub struct Column {
    pub(super) blocks: Arc<Vec<Arc<Block>>>,
    /// Fewer than [`BLOCK`] values.
    pub(super) tail: Vec<f32>,
}

/// [`BLOCK`] values, and what is drawn of them from far away.
#[derive(Clone, Debug)]
pub struct Block {
    pub values: [f32; BLOCK],
    pub summary: Bin,
    /// How many of the values are finite.
    pub finite: usize,
}

/// What a stretch of a column holds; NaN where it holds no finite value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    /// Index of the first value.
    pub at: usize,
    pub low: f32,
    pub high: f32,
    pub mean: f32,
}

impl Column {
    /// Values that all are missing.
    pub fn missing(len: usize) -> Self {
        std::iter::repeat_n(f32::NAN, len).collect()
    }

    /// How many values there are, the missing ones too.
    pub fn len(&self) -> usize {
        self.blocks.len() * BLOCK + self.tail.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at an index; `None` where it was not measured.
    pub fn get(&self, at: usize) -> Option<f32> {
        let value = match self.blocks.get(at / BLOCK) {
            Some(block) => block.values[at % BLOCK],
            None => *self.tail.get(at - self.blocks.len() * BLOCK)?,
        };
        (!value.is_nan()).then_some(value)
    }

    /// Adds a value at the end; NaN for a missing one.
    pub fn push(&mut self, value: f32) {
        self.tail.push(value);
        let Ok(values) = <[f32; BLOCK]>::try_from(self.tail.as_slice()) else { return };
        let mut sum = Sum::default();
        sum.add_all(&values);
        let block = Block { values, summary: sum.bin(self.blocks.len() * BLOCK), finite: sum.finite };
        self.tail.clear();
        Arc::make_mut(&mut self.blocks).push(Arc::new(block));
    }

    /// Drops all values from an index on.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len() {
            return;
        }
        let whole = len / BLOCK;
        if let Some(block) = self.blocks.get(whole) {
            self.tail = block.values[..len % BLOCK].to_vec();
            Arc::make_mut(&mut self.blocks).truncate(whole);
        } else {
            self.tail.truncate(len % BLOCK);
        }
    }

    /// All values; NaN where one is missing.
    pub fn iter(&self) -> impl Iterator<Item = f32> {
        let of_blocks = self.blocks.iter().flat_map(|block| block.values.iter().copied());
        of_blocks.chain(self.tail.iter().copied())
    }

    /// Stretches of equal length of the values `from..to`, at most `most` + 2 of them. Their borders lie at multiples of their
    /// length, which is a power of two: the same values fall into the same stretch wherever the range begins, so that a curve does
    /// not flicker while it is moved or grows. Takes time for `most` blocks, not for all values.
    pub fn bins(&self, from: usize, to: usize, most: usize) -> Vec<Bin> {
        let to = to.min(self.len());
        if from >= to {
            return Vec::new();
        }
        let length = (to - from).div_ceil(most.max(1)).next_power_of_two();
        let mut bins = Vec::with_capacity((to - from) / length + 2);
        let mut at = from;
        while at < to {
            let end = (at / length * length + length).min(to);
            bins.push(self.sum(at, end).bin(at));
            at = end;
        }
        bins
    }

    fn sum(&self, from: usize, to: usize) -> Sum {
        let mut sum = Sum::default();
        let mut at = from;
        while at < to {
            let (block, inside) = (at / BLOCK, at % BLOCK);
            let end = (block * BLOCK + BLOCK).min(to);
            match self.blocks.get(block) {
                Some(block) if end - at == BLOCK => sum.add_block(block),
                Some(block) => sum.add_all(&block.values[inside..inside + end - at]),
                None => sum.add_all(&self.tail[inside..inside + end - at]),
            }
            at = end;
        }
        sum
    }
}

impl FromIterator<f32> for Column {
    fn from_iter<T: IntoIterator<Item = f32>>(values: T) -> Self {
        let mut column = Self::default();
        for value in values {
            column.push(value);
        }
        column
    }
}

/// Finite values, added up.
struct Sum {
    low: f32,
    high: f32,
    total: f64,
    finite: usize,
}

impl Default for Sum {
    fn default() -> Self {
        Self { low: f32::INFINITY, high: f32::NEG_INFINITY, total: 0.0, finite: 0 }
    }
}

impl Sum {
    fn add_all(&mut self, values: &[f32]) {
        for &value in values {
            if value.is_finite() {
                self.low = self.low.min(value);
                self.high = self.high.max(value);
                self.total += f64::from(value);
                self.finite += 1;
            }
        }
    }

    fn add_block(&mut self, block: &Block) {
        if block.finite > 0 {
            self.low = self.low.min(block.summary.low);
            self.high = self.high.max(block.summary.high);
            self.total += f64::from(block.summary.mean) * block.finite as f64;
            self.finite += block.finite;
        }
    }

    fn bin(&self, at: usize) -> Bin {
        if self.finite == 0 {
            return Bin { at, low: f32::NAN, high: f32::NAN, mean: f32::NAN };
        }
        Bin { at, low: self.low, high: self.high, mean: (self.total / self.finite as f64) as f32 }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn numbers(len: usize) -> Column {
        (0..len).map(|at| at as f32).collect()
    }

    #[test]
    fn values_come_back_from_blocks_and_tail_alike() {
        for len in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 7] {
            let column = numbers(len);
            assert_eq!(column.len(), len);
            let all: Vec<f32> = column.iter().collect();
            assert_eq!(all, (0..len).map(|at| at as f32).collect::<Vec<_>>());
            assert_eq!(column.get(len), None);
            assert!((0..len).all(|at| column.get(at) == Some(at as f32)));
        }
        let column: Column = [1.0, f32::NAN, f32::INFINITY].into_iter().collect();
        assert_eq!((column.get(1), column.get(2)), (None, Some(f32::INFINITY)));
        assert!(Column::missing(100).iter().all(f32::is_nan));
    }

    #[test]
    fn a_clone_keeps_what_it_had_when_the_column_grows_or_is_cut() {
        let mut column = numbers(200);
        let before = column.clone();
        for len in [199, 128, 127, 64, 3, 0] {
            column.truncate(len);
            assert_eq!(column.len(), len);
            assert!(column.iter().eq(numbers(len).iter()), "{len}");
        }
        column.push(9.0);
        assert_eq!(column.get(0), Some(9.0));
        assert!(before.iter().eq(numbers(200).iter()));
    }

    #[test]
    fn bins_hold_what_a_look_at_every_value_finds() {
        let values: Vec<f32> = (0..1000_u32)
            .map(|at| match at % 7 {
                0 => f32::NAN,
                3 => f32::INFINITY,
                _ => (at * 7919 % 1000) as f32,
            })
            .collect();
        let column: Column = values.iter().copied().collect();
        for (from, to, most) in [(0, 1000, 10), (3, 997, 4), (130, 131, 5), (64, 640, 1000), (0, 5000, 1)] {
            let bins = column.bins(from, to, most);
            assert!(!bins.is_empty() && bins.len() <= most + 2, "{} for {most}", bins.len());
            assert_eq!(bins[0].at, from);
            let ends = bins.iter().skip(1).map(|bin| bin.at).chain([to.min(1000)]);
            for (bin, end) in bins.iter().zip(ends) {
                let finite: Vec<f32> =
                    values[bin.at..end].iter().copied().filter(|value| value.is_finite()).collect();
                if finite.is_empty() {
                    assert!(bin.low.is_nan() && bin.high.is_nan() && bin.mean.is_nan());
                    continue;
                }
                assert_eq!(bin.low, finite.iter().copied().fold(f32::INFINITY, f32::min));
                assert_eq!(bin.high, finite.iter().copied().fold(f32::NEG_INFINITY, f32::max));
                let mean = finite.iter().sum::<f32>() / finite.len() as f32;
                assert!((bin.mean - mean).abs() < 0.01, "{} instead of {mean}", bin.mean);
            }
        }
        assert_eq!(column.bins(10, 10, 5), []);
        assert_eq!(column.bins(2000, 3000, 5), []);
    }

    #[test]
    fn a_range_that_moves_keeps_the_borders_of_its_bins() {
        let column = numbers(10_000);
        let borders = |from, to| column.bins(from, to, 100).iter().map(|bin| bin.at).collect::<Vec<_>>();
        let (first, moved) = (borders(0, 9000), borders(500, 9500));
        let shared = first.iter().filter(|&&at| at >= 512).count();
        assert_eq!(first.iter().filter(|at| moved.contains(at)).count(), shared);
    }

    /// What a frame of a plot costs the window's thread.
    #[test]
    fn a_long_column_is_read_in_next_to_no_time() {
        let columns: Vec<Column> = (0..8).map(|_| numbers(200_000)).collect();
        let begin = Instant::now();
        let bins: usize = columns.iter().map(|column| column.bins(13, 199_999, 1000).len()).sum();
        let took = begin.elapsed();
        assert!(bins > 8 * 400, "{bins}");
        let bound =
            if cfg!(debug_assertions) { Duration::from_millis(400) } else { Duration::from_millis(32) };
        assert!(took < bound, "{took:?} for eight columns");
        let begin = Instant::now();
        let copies: Vec<Column> = (0..100).flat_map(|_| columns.iter().cloned()).collect();
        assert!(begin.elapsed() < bound, "{:?} for {} copies", begin.elapsed(), copies.len());
    }
}
