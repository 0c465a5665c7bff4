//! Advantages: how much better an answer is than the others to its question (paper, equation 4).

use crate::config::Scaling;

/// What TRL adds to a deviation before it divides by it.
const EPSILON: f64 = 1e-4;

/// The advantage of each answer: its reward less the mean of its group, divided as `scaling` says by the unbiased
/// standard deviation, which counts for no less than `floor`.
///
/// `rewards` holds the answers to one question after another, `group` of them each. Where all rewards of a group are
/// equal its advantages are exactly 0, whatever rounding makes of the mean.
pub fn advantages(rewards: &[f64], group: usize, scaling: Scaling, floor: f64) -> Vec<f64> {
    let of_batch = deviation(rewards);
    let of_group = |rewards: &[f64]| -> Vec<f64> {
        if rewards.windows(2).all(|pair| pair[0] == pair[1]) {
            return vec![0.0; rewards.len()];
        }
        let mean = mean(rewards);
        let divisor = match scaling {
            Scaling::Group => deviation(rewards).max(floor) + EPSILON,
            Scaling::Batch => of_batch.max(floor) + EPSILON,
            Scaling::None => 1.0,
        };
        rewards.iter().map(|reward| (reward - mean) / divisor).collect()
    };
    rewards.chunks(group.max(1)).flat_map(of_group).collect()
}

/// The unbiased standard deviation of each group's rewards.
pub fn spreads(rewards: &[f64], group: usize) -> Vec<f64> {
    rewards.chunks(group.max(1)).map(deviation).collect()
}

/// Whether the answers to a question are all right or all wrong, so that they teach nothing about being right (DAPO's
/// rule for drawing another question).
///
/// Rewards do not tell this: the semantic part differs between any two answers.
pub fn are_alike(is_right: &[bool]) -> bool {
    is_right.windows(2).all(|pair| pair[0] == pair[1])
}

/// The unbiased standard deviation (divided by n − 1); 0 of fewer than two values.
pub fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four answers to each of two questions.
    const REWARDS: [f64; 8] = [3.5, 1.0, 1.5, 0.0, 3.4, 3.45, 3.4, 3.5];

    fn close(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() < 1e-9, "{got} against {want}");
        }
    }

    #[test]
    fn deviations_are_unbiased_as_in_trl() {
        close(&[deviation(&[1.0, 2.0, 3.0]), deviation(&[3.0, 5.0])], &[1.0, std::f64::consts::SQRT_2]);
        close(&[deviation(&[7.0]), deviation(&[])], &[0.0, 0.0]);
        close(&spreads(&[1.0, 2.0, 3.0, 4.0, 4.0, 4.0], 3), &[1.0, 0.0]);
    }

    #[test]
    fn a_group_is_divided_by_its_own_deviation() {
        // Mean 1.5; squares 4, 0.25, 0, 2.25.
        let spread = (6.5f64 / 3.0).sqrt() + 1e-4;
        let want = [2.0 / spread, -0.5 / spread, 0.0, -1.5 / spread];
        close(&advantages(&REWARDS[..4], 4, Scaling::Group, 0.0), &want);
    }

    #[test]
    fn the_batch_or_nothing_can_be_divided_by_instead() {
        let spread = deviation(&REWARDS) + 1e-4;
        let batch = advantages(&REWARDS, 4, Scaling::Batch, 0.0);
        close(&batch[..4], &[2.0 / spread, -0.5 / spread, 0.0, -1.5 / spread]);
        let none = advantages(&REWARDS, 4, Scaling::None, 0.0);
        close(&none[..4], &[2.0, -0.5, 0.0, -1.5]);
        close(&none[4..], &[-0.0375, 0.0125, -0.0375, 0.0625]);
    }

    #[test]
    fn a_floor_keeps_a_tiny_spread_from_becoming_a_full_advantage() {
        let largest = |floor: f64| {
            let values = advantages(&REWARDS[4..], 4, Scaling::Group, floor);
            values.into_iter().fold(0.0f64, |largest, value| largest.max(value.abs()))
        };
        assert!(largest(0.0) > 1.0);
        assert!((largest(0.5) - 0.0625 / 0.5001).abs() < 1e-9);
        // A floor below the spread changes nothing.
        let with = |floor| advantages(&REWARDS[..4], 4, Scaling::Group, floor);
        assert_eq!(with(0.0), with(0.5));
    }

    #[test]
    fn equal_rewards_have_no_advantage_at_all() {
        // The mean of these is not 0.1 in floating point.
        for scaling in [Scaling::Group, Scaling::Batch, Scaling::None] {
            let rewards = [0.1, 0.1, 0.1, 2.0, 0.0, 1.0];
            assert_eq!(advantages(&rewards, 3, scaling, 0.0)[..3], [0.0; 3]);
        }
        assert_eq!(advantages(&[2.5], 1, Scaling::Group, 0.0), [0.0]);
    }

    #[test]
    fn groups_are_alike_by_being_right_and_not_by_reward() {
        assert!(are_alike(&[true; 4]) && are_alike(&[false; 4]));
        assert!(!are_alike(&[true, false, true, true]));
    }
}
