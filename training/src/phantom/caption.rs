//! Captions for contrastive training.

use rand::Rng;
use rand::seq::SliceRandom as _;

use super::Truth;
use super::claim::Attribute;
use super::sentence::{other_claims, state, state_quality};

/// A caption of one to three sentences: always the pattern, and some of the other attributes.
pub fn caption(truth: &Truth, rng: &mut impl Rng) -> String {
    let n = rng.random_range(0..=4);
    note(truth, n, rng)
}

/// Everything that can be said of a field, in random order.
pub fn full_caption(truth: &Truth, rng: &mut impl Rng) -> String {
    if !truth.is_assessable() {
        return state_quality(truth.quality, rng);
    }
    state(&other_claims(truth, &[], rng), 5, rng)
}

/// The pattern and up to `n_others` other attributes.
pub(super) fn note(truth: &Truth, n_others: usize, rng: &mut impl Rng) -> String {
    let Some(pattern) = Attribute::Pattern.of(truth) else {
        return state_quality(truth.quality, rng);
    };
    let mut stated = vec![pattern];
    stated.extend(other_claims(truth, &[pattern], rng).into_iter().take(n_others));
    if rng.random_bool(0.4) {
        stated.shuffle(rng);
    }
    state(&stated, 3, rng)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::phantom::claims;

    #[test]
    fn full_captions_state_all_that_can_be_said() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for _ in 0..1000 {
            let truth = Truth::sample(&mut rng);
            let mut read = claims(&full_caption(&truth, &mut rng));
            read.sort();
            let mut all = other_claims(&truth, &[], &mut rng);
            if !truth.is_assessable() {
                all = Attribute::Quality.of(&truth).into_iter().collect();
            }
            all.sort();
            assert_eq!(read, all);
        }
    }

    #[test]
    fn captions_are_true_short_and_name_the_pattern() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..3000 {
            let truth = Truth::sample(&mut rng);
            let text = caption(&truth, &mut rng);
            let read = claims(&text);
            assert!(read.iter().all(|claim| claim.holds(&truth)), "{text}");
            let named = if truth.is_assessable() { Attribute::Pattern } else { Attribute::Quality };
            assert!(read.iter().any(|claim| claim.attribute == named), "{text}");
            assert!(text.matches('.').count() <= 3 && text.ends_with('.'), "{text}");
        }
    }
}
