//! Repeated text (Yeo et al. 2025, arXiv 2502.03373, appendix C.2; TRL's `get_repetition_penalty_reward`).

use std::collections::BTreeSet;

/// The share of runs of `length` neighbours that stood there before, from 0 to below 1; 0 of fewer neighbours, or where
/// `length` is 0.
///
/// TRL counts tokens; here it is words, which do not depend on a tokenizer.
pub fn repeated_share<T: Ord>(items: &[T], length: usize) -> f64 {
    if length == 0 || items.len() < length {
        return 0.0;
    }
    let different = items.windows(length).collect::<BTreeSet<_>>().len();
    1.0 - different as f64 / (items.len() - length + 1) as f64
}

#[cfg(test)]
mod tests {
    use super::repeated_share;

    /// TRL's own values (there as penalties of at most −1).
    #[test]
    fn runs_that_come_again_are_counted() {
        for (items, length, want) in [
            (&[1, 2, 3, 4][..], 2, 0.0),
            (&[5, 5, 5, 5, 5][..], 2, 0.75),
            (&[1, 2, 1, 2, 1, 2][..], 2, 0.6),
            (&[1, 2, 3, 1, 2, 3][..], 2, 0.4),
            (&[5][..], 2, 0.0),
            (&[][..], 2, 0.0),
            (&[1, 1][..], 0, 0.0),
        ] {
            assert!((repeated_share(items, length) - want).abs() < 1e-12, "{items:?}");
        }
    }
}
