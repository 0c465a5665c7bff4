//! Token activation maps: arithmetic on slices, without a model (Li et al., ICCV 2025, arXiv:2506.23270).
//!
//! Follows the authors' `tam.py` (xmed-lab/TAM; read in the unchanged copy of adityanagachandra/TAM at 9f49bfe). Where
//! paper and code differ on the first tokens, this is the paper: the first generated token is explained by its own
//! logit, as every other, and so is the first token of the question. Repeated tokens are told by id instead of by text.

use std::collections::BTreeMap;

/// Side of the filter's window, the method's only parameter.
const WINDOW: usize = 3;
/// Keeps weights that are all zero from dividing by zero.
const SMALL: f32 = 1e-8;

/// What the hidden states of one answer say of its tokens.
#[derive(Debug)]
pub(super) struct Activations {
    /// The context in order: tokens of the question, then of the answer.
    pub(super) ids: Vec<u32>,
    /// For each distinct id, its positive logits: at each image token, then at each place of `ids`. A token of the
    /// question has its own place, one of the answer the place that predicts it.
    pub(super) columns: BTreeMap<u32, Vec<f32>>,
    /// Image tokens of all patches.
    pub(super) image_tokens: usize,
}

impl Activations {
    /// The map of the token at place `at` of the context over all image tokens, on one scale from 0 to 1 with its
    /// relevance to the tokens before it: a token that follows from the text stays dark (paper, equations 1 to 5).
    pub(super) fn map(&self, at: usize) -> Vec<f32> {
        let id = self.ids[at];
        let (map, relevance) = self.column(id).split_at(self.image_tokens);
        let relevance = &relevance[..at];
        let (mut interference, mut total) = (vec![0.0; map.len()], SMALL);
        for (&other, &weight) in self.ids.iter().zip(relevance) {
            if other != id && weight > 0.0 {
                total += weight;
                let values = self.column(other);
                interference.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
            }
        }
        for value in &mut interference {
            *value /= total;
        }
        let mut map = without(map, &interference);
        let bounds = bounds(map.iter().chain(relevance).copied());
        stretch(&mut map, bounds);
        map
    }

    fn column(&self, id: u32) -> &[f32] {
        self.columns.get(&id).expect("every token of the context has its activations")
    }
}

/// What is left of `map` when as much of `interference` is taken away as fits best in least squares (estimated causal
/// inference); never below 0.
fn without(map: &[f32], interference: &[f32]) -> Vec<f32> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let square = dot(interference, interference);
    let scale = if square > 0.0 { (dot(map, interference) / square) as f32 } else { 0.0 };
    map.iter().zip(interference).map(|(a, e)| (a - scale * e).max(0.0)).collect()
}

/// Smallest and largest value.
pub(super) fn bounds(values: impl Iterator<Item = f32>) -> (f32, f32) {
    values.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
}

/// Moves what lies between the bounds to 0 to 1; when nothing lies between them, all is 0.
pub(super) fn stretch(values: &mut [f32], (low, high): (f32, f32)) {
    let range = high - low;
    for x in values {
        *x = if range > 0.0 { (*x - low) / range } else { 0.0 };
    }
}

/// The rank Gaussian filter over a grid, mirrored at its edges: a median that listens to values near the median rank,
/// the more so the more a neighbourhood varies (paper, equations 6 and 7).
pub(super) fn rank_gaussian(map: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    let mut filtered = Vec::with_capacity(map.len());
    for row in 0..rows {
        for col in 0..cols {
            let mut window = [0.0; WINDOW * WINDOW];
            for (i, value) in window.iter_mut().enumerate() {
                let (row, col) = (mirrored(row + i / WINDOW, rows), mirrored(col + i % WINDOW, cols));
                *value = map[row * cols + col];
            }
            window.sort_unstable_by(f32::total_cmp);
            filtered.push(middle(&window));
        }
    }
    filtered
}

/// Place `at` of an axis with half a window added before it, in the axis of `len` places itself (numpy's `reflect`).
fn mirrored(at: usize, len: usize) -> usize {
    let at = at.abs_diff(WINDOW / 2);
    if at < len { at } else { (2 * (len - 1)).saturating_sub(at) }
}

/// Weighted mean of sorted values with weights around the median rank, as wide as the coefficient of variation.
fn middle(sorted: &[f32; WINDOW * WINDOW]) -> f32 {
    let n = sorted.len();
    let values = || sorted.iter().map(|&x| f64::from(x));
    let mean = values().sum::<f64>() / n as f64;
    if mean <= 0.0 {
        return 0.0;
    }
    let variance = values().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
    if variance <= 0.0 {
        // The limit of the weights below, which are 0 / 0 (and not a number in the authors' code).
        return sorted[n / 2];
    }
    let sigma = variance.sqrt() / mean;
    let weight = |rank: usize| (-(rank.abs_diff(n / 2) as f64).powi(2) / (2.0 * sigma * sigma)).exp();
    let total: f64 = (0..n).map(weight).sum();
    (values().enumerate().map(|(rank, x)| weight(rank) * x).sum::<f64>() / total) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: &[f32], want: &[f32]) {
        assert_eq!(got.len(), want.len());
        assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-5), "{got:?} instead of {want:?}");
    }

    fn activations(ids: &[u32], columns: &[(u32, &[f32])]) -> Activations {
        let columns = columns.iter().map(|(id, column)| (*id, column.to_vec())).collect();
        Activations { ids: ids.to_vec(), columns, image_tokens: 2 }
    }

    #[test]
    fn what_the_context_explains_is_taken_away() {
        let context = activations(
            &[5, 6, 7],
            &[
                (5, &[1.0, 0.0, 9.0, 9.0, 9.0]),
                (6, &[0.0, 2.0, 9.0, 9.0, 9.0]),
                (7, &[3.0, 4.0, 1.0, 3.0, 9.0]),
            ],
        );
        // The interference is 1/4 [1, 0] + 3/4 [0, 2] = [1/4, 3/2], its best scale (3/4 + 6) / (1/16 + 9/4) = 108/37.
        // What is left is [84/37, 0]; the highest relevance, 3, becomes 1.
        near(&context.map(2), &[28.0 / 37.0, 0.0]);
        // Nothing stands before the first.
        near(&context.map(0), &[1.0, 0.0]);
    }

    #[test]
    fn the_same_token_before_is_no_interference() {
        let context =
            activations(&[7, 6, 7], &[(6, &[0.0, 2.0, 9.0, 9.0, 9.0]), (7, &[3.0, 4.0, 1.0, 3.0, 9.0])]);
        // Only token 6 counts: [3, 4] - 2 [0, 2].
        near(&context.map(2), &[1.0, 0.0]);
    }

    #[test]
    fn without_any_activation_a_map_is_dark() {
        let dark = [0.0; 4];
        let context = activations(&[5, 6], &[(5, &dark), (6, &dark)]);
        near(&context.map(1), &[0.0, 0.0]);
    }

    #[test]
    fn the_filter_takes_spikes_away_and_leaves_plains() {
        // Computed with the authors' formula: around the corner the spike fills 4, 2 or 1 of 9 mirrored places.
        let filtered = rank_gaussian(&[0.0, 0.0, 0.0, 8.0], 2, 2);
        near(&filtered, &[2.572_654, 0.654_884, 0.654_884, 0.466_279]);
        near(&rank_gaussian(&[0.3; 12], 3, 4), &[0.3; 12]);
        near(&rank_gaussian(&[0.7], 1, 1), &[0.7]);
        near(&rank_gaussian(&[0.0; 6], 2, 3), &[0.0; 6]);
    }

    #[test]
    fn the_filter_keeps_the_median_of_even_slopes() {
        let values: Vec<f32> = (1u8..=9).map(f32::from).collect();
        assert!((rank_gaussian(&values, 3, 3)[4] - 5.0).abs() < 1e-5);
    }

    #[test]
    fn edges_are_mirrored_without_repeating_them() {
        let axis: Vec<usize> = (0..5).map(|at| mirrored(at, 3)).collect();
        assert_eq!(axis, [1, 0, 1, 2, 1]);
        assert_eq!([0, 1, 2].map(|at| mirrored(at, 1)), [0, 0, 0]);
    }
}
