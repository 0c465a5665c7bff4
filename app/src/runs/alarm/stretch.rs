//! Stretches of a stage's figures: the newest, the first, and what they are in the mean. All of bounded length.

use super::Sight;
use crate::runs::column::Column;

/// How many times the wanted values are looked through for those that were measured: some measures are there only for the first of
/// several updates.
const REACH: usize = 8;

/// Measured values, the newest last.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stretch {
    pub(super) values: Vec<f32>,
    /// The step of the first one.
    pub(super) since: usize,
}

impl Stretch {
    pub(super) fn mean(&self) -> f32 {
        mean(&self.values)
    }

    pub(super) fn newest(&self) -> f32 {
        self.values.last().copied().unwrap_or(f32::NAN)
    }
}

impl Sight<'_> {
    /// The newest `count` values of a measure; `None` where there are fewer.
    pub(super) fn last(&self, measure: &str, count: usize) -> Option<Stretch> {
        self.last_before(measure, count, self.stage.measure(measure)?.len())
    }

    /// The same before a row.
    pub(super) fn last_before(&self, measure: &str, count: usize, row: usize) -> Option<Stretch> {
        let column = self.stage.measure(measure)?;
        let mut values = Vec::with_capacity(count);
        let mut first = 0;
        for at in (row.saturating_sub(REACH * count)..row).rev() {
            if values.len() == count {
                break;
            }
            if let Some(value) = column.get(at) {
                values.push(value);
                first = at;
            }
        }
        values.reverse();
        (values.len() == count && count > 0).then(|| Stretch { values, since: self.step_of(first) })
    }

    /// The first `count` values of a measure, where the stage has at least twice as many steps: else they are the newest too.
    pub(super) fn first(&self, measure: &str, count: usize) -> Option<Vec<f32>> {
        let column = self.stage.measure(measure)?;
        if column.len() < 2 * count {
            return None;
        }
        let values: Vec<f32> =
            (0..column.len().min(REACH * count)).filter_map(|at| column.get(at)).take(count).collect();
        (values.len() == count).then_some(values)
    }

    /// The step of a row.
    pub(super) fn step_of(&self, row: usize) -> usize {
        self.stage.steps.get(row).map_or(row + 1, |step| step as usize)
    }

    /// Rows up to a step, that one included.
    pub(super) fn rows_until(&self, step: usize) -> usize {
        let steps = &self.stage.steps;
        let (mut low, mut high) = (0, steps.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.step_of(middle) <= step {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// In f64, so that the mean of equal values is that value and no threshold is missed by rounding.
pub(super) fn mean(values: &[f32]) -> f32 {
    let sum: f64 = values.iter().copied().map(f64::from).sum();
    (sum / values.len() as f64) as f32
}

/// NaN of nothing.
pub(super) fn median(values: &[f32]) -> f32 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f32::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f32::NAN)
}

/// The lowest and the highest value of a column, missing ones left out; `None` where there is none.
pub(super) fn range(column: &Column) -> Option<(f32, f32)> {
    /// Parts that are looked at.
    const PARTS: usize = 64;
    let bins = column.bins(0, column.len(), PARTS);
    // These pass over NaN.
    let low = bins.iter().map(|bin| bin.low).fold(f32::INFINITY, f32::min);
    let high = bins.iter().map(|bin| bin.high).fold(f32::NEG_INFINITY, f32::max);
    (low <= high).then_some((low, high))
}
