//! What colour alone can answer: the bar that an answer by sight has to clear.
//!
//! Nearest neighbours over the mean and deviation of red, green and blue. It is given every advantage: it knows the
//! truth of its training fields and looks only at those that fit one of the options.

use super::report::Tally;
use super::{QuestionItem, Truth};
use crate::subtask::QuestionKind;

/// How many neighbours vote.
const NEIGHBOURS: usize = 15;

/// Mean and standard deviation of red, green and blue, in any one unit.
pub type ColourSummary = [f32; 6];

/// The mean and deviation of the colours of 8-bit RGB rows.
pub fn colour_summary(rgb: &[u8]) -> ColourSummary {
    let n = (rgb.len() / 3).max(1) as f64;
    let mut summary = [0.0; 6];
    for channel in 0..3 {
        let values = || rgb.iter().skip(channel).step_by(3).map(|v| f64::from(*v));
        let mean = values().sum::<f64>() / n;
        let variance = values().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        summary[channel] = mean as f32;
        summary[channel + 3] = variance.sqrt() as f32;
    }
    summary
}

/// Answers the choice questions of `test` by the colours of `train`: the option that most of the 15 nearest fields
/// (of those that fit an option) agree with. Other questions and unreadable fields are left out.
pub fn colour_baseline(
    train: &[(ColourSummary, Truth)],
    test: &[(ColourSummary, Truth, QuestionItem)],
) -> Tally {
    let (mean, deviation) = spread(train);
    let standardised = |summary: &ColourSummary| -> ColourSummary {
        std::array::from_fn(|i| (summary[i] - mean[i]) / deviation[i])
    };
    let train: Vec<(ColourSummary, &Truth)> =
        train.iter().map(|(summary, truth)| (standardised(summary), truth)).collect();
    let mut tally = Tally::default();
    for (summary, _, item) in test {
        let Some(outcome) = item.outcome.as_ref().filter(|_| item.kind == QuestionKind::Choice) else {
            continue;
        };
        let here = standardised(summary);
        let mut fitting: Vec<(f32, usize)> = train
            .iter()
            .filter_map(|(there, truth)| {
                let option = item.claimed.iter().position(|option| option.holds(truth))?;
                Some((squared_distance(&here, there), option))
            })
            .collect();
        fitting.sort_by(|a, b| a.0.total_cmp(&b.0));
        fitting.truncate(NEIGHBOURS);
        tally.add(most_votes(&fitting).is_some_and(|option| item.claimed[option] == *outcome));
    }
    tally
}

/// The option with the most votes; of equals, the one with the nearest neighbour.
fn most_votes(nearest: &[(f32, usize)]) -> Option<usize> {
    let votes = |option: usize| nearest.iter().filter(|(_, o)| *o == option).count();
    let most = nearest.iter().map(|(_, option)| votes(*option)).max()?;
    nearest.iter().map(|(_, option)| *option).find(|option| votes(*option) == most)
}

fn squared_distance(a: &ColourSummary, b: &ColourSummary) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
}

/// Mean and deviation of each of the six numbers; a deviation of nothing counts as one.
fn spread(train: &[(ColourSummary, Truth)]) -> (ColourSummary, ColourSummary) {
    let n = train.len().max(1) as f32;
    let mean: ColourSummary = std::array::from_fn(|i| train.iter().map(|(s, _)| s[i]).sum::<f32>() / n);
    let deviation = std::array::from_fn(|i| {
        let variance = train.iter().map(|(s, _)| (s[i] - mean[i]).powi(2)).sum::<f32>() / n;
        if variance > 0.0 { variance.sqrt() } else { 1.0 }
    });
    (mean, deviation)
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::phantom::{Attribute, Topic, balanced_set};

    type Fields = Vec<(ColourSummary, Truth, QuestionItem)>;

    fn fields(n: usize, seed: u64, colour: impl Fn(&Truth, &mut ChaCha8Rng) -> ColourSummary) -> Fields {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let set = balanced_set(&mut rng, n);
        set.into_iter().map(|(truth, item)| (colour(&truth, &mut rng), truth, item)).collect()
    }

    fn baseline(colour: impl Fn(&Truth, &mut ChaCha8Rng) -> ColourSummary) -> Tally {
        let train: Vec<_> = fields(1500, 1, &colour).into_iter().map(|(s, t, _)| (s, t)).collect();
        colour_baseline(&train, &fields(900, 2, &colour))
    }

    #[test]
    fn colours_that_say_nothing_give_chance() {
        let tally = baseline(|_, rng| std::array::from_fn(|_| rng.random()));
        let (low, high) = tally.wilson_95().unwrap();
        assert!(low < 0.32 && high > 0.22 && tally.total > 250, "{tally:?}");
    }

    #[test]
    fn colours_that_say_all_give_everything() {
        let pattern = |truth: &Truth, _: &mut ChaCha8Rng| {
            let level = Attribute::Pattern.of(truth).map_or(-1.0, |claim| f32::from(claim.level));
            [level, 0.0, 0.0, 0.0, 0.0, 0.0]
        };
        let train: Vec<_> = fields(1500, 1, pattern).into_iter().map(|(s, t, _)| (s, t)).collect();
        let mut test = fields(900, 2, pattern);
        test.retain(|(_, _, item)| matches!(item.topic, Topic::TissueType | Topic::Architecture));
        let tally = colour_baseline(&train, &test);
        assert!(tally.right == tally.total && tally.total > 40, "{tally:?}");
    }

    #[test]
    fn summary_is_mean_and_deviation() {
        let whole = |rgb: &[u8]| colour_summary(rgb).map(|v| v.round() as i32);
        assert_eq!(whole(&[0, 10, 5, 20, 10, 5]), [10, 10, 5, 10, 0, 0]);
        assert_eq!(whole(&[]), [0; 6]);
    }
}
