//! A curve as it is drawn: of a stretch of a column as many places as there are pixels, smoothed, with what lies around them.

use std::ops::Range;

use crate::runs::column::{BLOCK, Column};

/// The fewest places of a curve, however narrow its plot is.
const FEWEST: usize = 16;

/// What is drawn of a curve. Each point is of a step and a value; on a log scale of the value's logarithm to base 10.
/// Steps that did not measure are left out, and the line goes on to the next one that did.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::window::train) struct Drawn {
    /// Smoothed as wished.
    pub(in crate::window::train) line: Vec<[f64; 2]>,
    /// The same without smoothing; empty where nothing is smoothed.
    pub(in crate::window::train) raw: Vec<[f64; 2]>,
    /// Step, least and greatest value; empty where every place is of one step.
    pub(in crate::window::train) band: Vec<[f64; 3]>,
    /// Places that cannot be drawn: infinite values, and on a log scale those that are not above 0.
    pub(in crate::window::train) left_out: usize,
}

/// The points of a curve between two steps (infinite: from the first, to the last), in at most about twice `width_px` places.
/// `smoothing` is in per cent: how much of the past a point holds.
///
/// With smoothing, places before the range are computed too, so that the curve at its left edge does not depend on where the
/// edge is.
pub(in crate::window::train) fn points(
    steps: &Column,
    values: &Column,
    range: (f64, f64),
    width_px: usize,
    smoothing: u8,
    is_log: bool,
) -> Drawn {
    let seen = stretch(steps, range);
    let lead = if smoothing > 0 { seen.len() / 2 } else { 0 };
    let range = seen.start.saturating_sub(lead)..seen.end.min(values.len());
    let mut drawn = Drawn::default();
    if range.is_empty() {
        return drawn;
    }
    let bins = values.bins(range.start, range.end, width_px.max(FEWEST));
    let mut smoother = Smoother::new(smoothing);
    let mut is_binned = false;
    for (n, bin) in bins.iter().enumerate() {
        let end = bins.get(n + 1).map_or(range.end, |next| next.at).max(bin.at + 1);
        let mean = f64::from(bin.mean);
        if !mean.is_finite() {
            // Nothing was measured, or nothing that is a number: the latter is said. A look at a few tells which.
            let is_measured = (bin.at..end).take(BLOCK).any(|at| values.get(at).is_some());
            drawn.left_out += usize::from(is_measured);
            continue;
        }
        let x = f64::midpoint(step_at(steps, bin.at), step_at(steps, end - 1));
        match place(smoother.next(mean), is_log) {
            Some(y) => drawn.line.push([x, y]),
            None => drawn.left_out += 1,
        }
        if let Some(y) = place(mean, is_log) {
            if smoothing > 0 {
                drawn.raw.push([x, y]);
            }
            is_binned |= end - bin.at > 1;
            let edge = |value: f32| place(f64::from(value), is_log).filter(|y| y.is_finite()).unwrap_or(y);
            drawn.band.push([x, edge(bin.low), edge(bin.high)]);
        }
    }
    if !is_binned {
        drawn.band.clear();
    }
    drawn
}

/// Where a value lies on the axis; `None`: nowhere.
pub(super) fn place(value: f64, is_log: bool) -> Option<f64> {
    if is_log { (value > 0.0).then(|| value.log10()) } else { Some(value) }
}

/// Indices of the steps in a range, with one more on each side, so that the line goes on beyond the plot's edges.
fn stretch(steps: &Column, (first, last): (f64, f64)) -> Range<usize> {
    let from = first_from(steps, first).saturating_sub(1);
    let to = (first_from(steps, last) + 1).min(steps.len());
    from..to
}

/// Index of the first step that is at least `step`.
fn first_from(steps: &Column, step: f64) -> usize {
    let (mut low, mut high) = (0, steps.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        if step_at(steps, middle) < step {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

fn step_at(steps: &Column, at: usize) -> f64 {
    steps.get(at).map_or(at as f64, f64::from)
}

/// Index of the step that is nearest to a place on the axis; `None` before the first step.
pub(in crate::window::train) fn nearest(steps: &Column, step: f64) -> Option<usize> {
    let after = first_from(steps, step).min(steps.len().checked_sub(1)?);
    let before = after.saturating_sub(1);
    let is_before = (step - step_at(steps, before)).abs() < (step_at(steps, after) - step).abs();
    Some(if is_before { before } else { after })
}

/// A running mean that forgets, and does not begin at 0: TensorBoard's formula.
struct Smoother {
    weight: f64,
    mean: f64,
    /// What is still of the 0 that the mean began with.
    of_beginning: f64,
}

impl Smoother {
    fn new(smoothing: u8) -> Self {
        Self { weight: f64::from(smoothing.min(99)) / 100.0, mean: 0.0, of_beginning: 1.0 }
    }

    fn next(&mut self, value: f64) -> f64 {
        self.mean = self.mean * self.weight + (1.0 - self.weight) * value;
        self.of_beginning *= self.weight;
        self.mean / (1.0 - self.of_beginning)
    }
}

/// A figure with four digits, short enough for an axis.
pub(in crate::window::train) fn in_words(value: f64) -> String {
    if !value.is_finite() {
        return "not a number".to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let size = value.abs();
    if !(1e-3..1e6).contains(&size) {
        return format!("{value:.2e}");
    }
    let decimals = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);

    fn steps(count: usize) -> Column {
        (1..=count).map(|step| step as f32).collect()
    }

    fn of(values: &[f32]) -> Column {
        values.iter().copied().collect()
    }

    #[test]
    fn few_values_are_drawn_as_they_are() {
        let drawn = points(&steps(3), &of(&[3.0, 1.0, 2.0]), ALL, 400, 0, false);
        assert_eq!(drawn.line, [[1.0, 3.0], [2.0, 1.0], [3.0, 2.0]]);
        assert!(drawn.band.is_empty() && drawn.raw.is_empty() && drawn.left_out == 0);
    }

    #[test]
    fn a_smoothed_constant_is_the_constant_from_its_first_point_on() {
        let drawn = points(&steps(1000), &of(&[0.25; 1000]), ALL, 100, 97, false);
        assert!((15..=202).contains(&drawn.line.len()), "{}", drawn.line.len());
        assert!(drawn.line.iter().all(|[_, y]| (y - 0.25).abs() < 1e-9));
        assert_eq!(drawn.raw.len(), drawn.line.len());
    }

    #[test]
    fn smoothing_is_tensorboards() {
        let drawn = points(&steps(3), &of(&[1.0, 0.0, 4.0]), ALL, 400, 50, false);
        let expected = [1.0, 0.25 / 0.75, (0.125 + 2.0) / 0.875];
        for ([_, found], expected) in drawn.line.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
    }

    #[test]
    fn a_log_scale_leaves_out_what_is_not_above_zero_and_counts_it() {
        let drawn = points(&steps(4), &of(&[100.0, 0.0, -1.0, 0.01]), ALL, 400, 0, true);
        assert_eq!(drawn.left_out, 2);
        let expected = [[1.0, 2.0], [4.0, -2.0]];
        assert!(
            drawn.line.iter().flatten().zip(expected.iter().flatten()).all(|(a, b)| (a - b).abs() < 1e-6)
        );
        assert_eq!(drawn.line.len(), 2);
    }

    #[test]
    fn what_was_not_measured_is_left_out_and_the_line_goes_on() {
        let drawn =
            points(&steps(5), &of(&[1.0, f32::NAN, f32::NAN, 2.0, f32::INFINITY]), ALL, 400, 0, false);
        assert_eq!(drawn.line, [[1.0, 1.0], [4.0, 2.0]]);
        assert_eq!(drawn.left_out, 1, "a loss that is no number is not a missing one");
    }

    #[test]
    fn many_values_become_as_many_places_as_there_are_pixels_and_keep_their_extremes() {
        let mut values = vec![1.0; 100_000];
        values[70_000] = 9.0;
        let drawn = points(&steps(100_000), &of(&values), ALL, 300, 0, false);
        assert!((150..=610).contains(&drawn.line.len()), "{}", drawn.line.len());
        assert!(drawn.band.iter().any(|[_, low, high]| *low == 1.0 && *high == 9.0));
        assert!(drawn.line.windows(2).all(|pair| pair[0][0] < pair[1][0]));
    }

    #[test]
    fn a_range_is_drawn_a_little_beyond_its_edges_and_no_further() {
        let values: Column = (0..1000).map(|n| n as f32).collect();
        let drawn = points(&steps(1000), &values, (100.0, 110.0), 400, 0, false);
        assert_eq!(drawn.line.first(), Some(&[99.0, 98.0]));
        assert!(drawn.line.last().is_some_and(|[step, _]| (110.0..=111.0).contains(step)));
        let beyond = points(&steps(1000), &values, (5000.0, 6000.0), 400, 0, false);
        assert!(beyond.line.len() <= 1);
        assert_eq!(points(&Column::default(), &Column::default(), ALL, 400, 0, false), Drawn::default());
    }

    #[test]
    fn the_nearest_step_is_found() {
        let sparse = of(&[1.0, 5.0, 20.0]);
        for (place, at) in [(-3.0, 0), (2.0, 0), (4.0, 1), (12.0, 1), (13.0, 2), (99.0, 2)] {
            assert_eq!(nearest(&sparse, place), Some(at), "{place}");
        }
        assert_eq!(nearest(&Column::default(), 1.0), None);
    }

    #[test]
    fn figures_are_short() {
        let cases = [
            (0.0, "0"),
            (1.0, "1"),
            (0.5, "0.5"),
            (0.123_456, "0.1235"),
            (-12.345_67, "-12.35"),
            (120.0, "120"),
            (123_456.7, "123457"),
            (0.000_02, "2.00e-5"),
            (f64::INFINITY, "not a number"),
        ];
        for (value, words) in cases {
            assert_eq!(in_words(value), words);
        }
    }
}
