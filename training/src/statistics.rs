//! How sure a figure is: an interval of a share, and of the difference between two models that answered the same
//! questions.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// The normal distribution's 97.5th percentile.
const Z_95: f64 = 1.959_963_984_540_054;
/// Draws of a bootstrap.
const DRAWS: usize = 10_000;
/// Draws beyond either end of an interval that holds 95 % of them.
const BEYOND: usize = DRAWS / 40;

/// Wilson's 95 % interval of a share (Wilson 1927); `None` of nothing.
pub fn wilson_95(right: usize, total: usize) -> Option<(f64, f64)> {
    if total == 0 {
        return None;
    }
    let n = total as f64;
    let share = right as f64 / n;
    let z2 = Z_95 * Z_95;
    let centre = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z_95 / (1.0 + z2 / n) * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    Some(((centre - half).max(0.0), (centre + half).min(1.0)))
}

/// What a bootstrap draws: a question, or all questions about one field, patient or source, which are not independent of
/// one another.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Unit {
    /// Sum of the differences between the two models' scores.
    pub difference: f64,
    /// How many there are.
    pub pairs: usize,
}

/// By how much one model is better than another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    pub mean: f64,
    /// The middle 95 % of the draws (percentile bootstrap).
    pub interval_95: [f64; 2],
}

/// A paired bootstrap over questions: `runs` holds the same units once for each pair of trainings (seed), of which all
/// count in each draw. `None` where there is no pair, or where the runs do not have the same number of units.
pub fn paired_bootstrap(runs: &[Vec<Unit>], seed: u64) -> Option<Difference> {
    bootstrap(runs, false, seed)
}

/// The same where the trainings are drawn again too, with replacement like the questions (Owen 2007, the pigeonhole
/// bootstrap): what another training would come to. With three of them it is wide and only a rough guide.
pub fn paired_bootstrap_over_runs(runs: &[Vec<Unit>], seed: u64) -> Option<Difference> {
    bootstrap(runs, true, seed)
}

fn bootstrap(runs: &[Vec<Unit>], are_runs_drawn: bool, seed: u64) -> Option<Difference> {
    let units = runs.first()?.len();
    let all = runs.iter().flatten();
    let pairs: usize = all.clone().map(|unit| unit.pairs).sum();
    if pairs == 0 || runs.iter().any(|run| run.len() != units) {
        return None;
    }
    let mean = all.map(|unit| unit.difference).sum::<f64>() / pairs as f64;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut times = vec![1usize; runs.len()];
    let mut draws = Vec::with_capacity(DRAWS);
    for _ in 0..DRAWS {
        if are_runs_drawn {
            times.fill(0);
            for _ in 0..runs.len() {
                times[rng.random_range(0..runs.len())] += 1;
            }
        }
        let (mut sum, mut count) = (0.0, 0);
        for _ in 0..units {
            let at = rng.random_range(0..units);
            for (run, &times) in runs.iter().zip(&times) {
                sum += run[at].difference * times as f64;
                count += run[at].pairs * times;
            }
        }
        // A draw of units without a pair says nothing.
        draws.push(if count > 0 { sum / count as f64 } else { mean });
    }
    draws.sort_by(f64::total_cmp);
    Some(Difference { mean, interval_95: [draws[BEYOND], draws[DRAWS - 1 - BEYOND]] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(differences: &[f64]) -> Vec<Unit> {
        differences.iter().map(|&difference| Unit { difference, pairs: 1 }).collect()
    }

    #[test]
    fn wilson_gives_newcombes_values() {
        // Newcombe 1998, table I, method 3.
        for (right, total, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let (l, h) = wilson_95(right, total).unwrap();
            assert!((l - low).abs() < 5e-5 && (h - high).abs() < 5e-5, "{right} of {total}: {l} to {h}");
        }
        assert_eq!(wilson_95(0, 0), None);
        let (low, high) = wilson_95(20, 20).unwrap();
        assert!((low - 0.8389).abs() < 5e-5 && high == 1.0);
    }

    #[test]
    fn three_questions_give_the_interval_that_can_be_counted_by_hand() {
        // Of 27 equally likely draws of 0, 0 and 3, eight have the mean 0 and one has the mean 3: more than 2.5 % each.
        let found = paired_bootstrap(&[units(&[0.0, 0.0, 3.0])], 1).unwrap();
        assert_eq!(found, Difference { mean: 1.0, interval_95: [0.0, 3.0] });
        // Of 256 draws of 0, 0, 0 and 4 one has the mean 4 and 12 have the mean 3: together more than 2.5 %, the first
        // alone less.
        let found = paired_bootstrap(&[units(&[0.0, 0.0, 0.0, 4.0])], 1).unwrap();
        assert_eq!(found, Difference { mean: 1.0, interval_95: [0.0, 3.0] });
    }

    #[test]
    fn many_questions_give_the_normal_interval() {
        let differences: Vec<f64> =
            (0..400).map(|i| f64::from(i8::from(i < 100) - i8::from(i >= 360))).collect();
        let found = paired_bootstrap(&[units(&differences)], 2).unwrap();
        let half = Z_95 * (0.35_f64 - 0.15 * 0.15).sqrt() / 20.0;
        assert!((found.mean - 0.15).abs() < 1e-12);
        let [low, high] = found.interval_95;
        assert!((low - (0.15 - half)).abs() < 6e-3 && (high - (0.15 + half)).abs() < 6e-3, "{found:?}");
        assert_eq!(Some(found), paired_bootstrap(&[units(&differences)], 2), "the same from the same seed");
    }

    #[test]
    fn questions_about_one_field_are_drawn_together() {
        let alone = units(&[1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
        let together = vec![Unit { difference: 4.0, pairs: 4 }, Unit { difference: 0.0, pairs: 4 }];
        assert_eq!(paired_bootstrap(&[together], 3).unwrap().interval_95, [0.0, 1.0]);
        let [low, high] = paired_bootstrap(&[alone], 3).unwrap().interval_95;
        assert!(low > 0.0 && high < 1.0);
    }

    #[test]
    fn trainings_count_as_they_are_or_are_drawn_too() {
        let runs = [units(&[0.0; 50]), units(&[1.0; 50])];
        let exact = Difference { mean: 0.5, interval_95: [0.5, 0.5] };
        assert_eq!(paired_bootstrap(&runs, 4), Some(exact));
        assert_eq!(paired_bootstrap_over_runs(&runs, 4).unwrap().interval_95, [0.0, 1.0]);
        assert_eq!(paired_bootstrap(&[], 4), None);
        assert_eq!(paired_bootstrap(&[units(&[0.0]), units(&[])], 4), None);
    }
}
