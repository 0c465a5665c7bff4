//! Which plots a stage has: those of its loss first, then one for each measure or family of measures that its steps have.

use reinpath_training::event::measure;

use super::super::words;
use super::plots::HELD_OUT;
use crate::runs::told::{StageTold, series};

/// What is drawn in one plot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// The measure that the plot is named after in the settings.
    pub(super) key: String,
    /// With the unit.
    pub(super) title: String,
    /// Measures, the first one being the most important, each with its name in the legend.
    pub(super) curves: Vec<(String, String)>,
}

/// Measures in the order of their plots.
const ORDER: [&str; 17] = [
    series::LOSS,
    series::LEARNING_RATE,
    series::GRADIENT_NORM,
    measure::REWARD,
    measure::ACCURACY,
    measure::KL,
    measure::ENTROPY,
    measure::CLIPPED,
    measure::LENGTH,
    measure::CUT_OFF,
    measure::NO_SPREAD,
    measure::REWARD_SPREAD,
    measure::ROLLOUT_SECS,
    measure::UPDATE_SECS,
    measure::DRIFT,
    measure::TOKENS,
    measure::UNSCORED,
];

/// The parts of the reward, which share its plot.
const PARTS: &[(&str, &str)] = &[
    (measure::REWARD_FORMAT, "format"),
    (measure::REWARD_ACCURACY, "accuracy"),
    (measure::REWARD_SEMANTIC, "semantic"),
    (measure::REWARD_EXTERNAL, "external"),
    (measure::REWARD_REPETITION, "repetition"),
    (measure::REWARD_OVERLONG, "overlong"),
];

/// The title of the plot that is named after a measure.
fn title(key: &str) -> String {
    match key {
        // It has the time of the update too.
        measure::ROLLOUT_SECS => "Time of a step, s".to_owned(),
        other => words::measure_title(other),
    }
}

/// The plots of a stage.
pub(super) fn groups(stage: &StageTold) -> Vec<Group> {
    let has = |name: &str| stage.measures.contains_key(name);
    let mut groups = Vec::new();
    for key in ORDER {
        let mut curves = Vec::new();
        let mut add = |name: &str, words: &str| {
            if has(name) {
                curves.push((name.to_owned(), words.to_owned()));
            }
        };
        match key {
            measure::REWARD => {
                add(key, "whole reward");
                for (part, words) in PARTS {
                    add(part, words);
                }
            }
            measure::ACCURACY => {
                add(key, "of training answers");
                if !stage.evaluations.is_empty() {
                    curves.push((HELD_OUT.to_owned(), "held out, 95 % interval".to_owned()));
                }
            }
            measure::ROLLOUT_SECS => {
                add(key, "writing answers");
                add(measure::UPDATE_SECS, "update");
            }
            // In the plot before.
            measure::UPDATE_SECS => {}
            _ => add(key, &title(key)),
        }
        if !curves.is_empty() {
            groups.push(Group { key: key.to_owned(), title: title(key), curves });
        }
    }
    let unknown = stage.measures.keys().filter(|name| !is_known(name));
    groups.extend(unknown.map(|name| Group {
        key: name.clone(),
        title: title(name),
        curves: vec![(name.clone(), title(name))],
    }));
    groups
}

/// Whether a measure has its place among the known plots, or in none, as the time has that is an axis of its own.
fn is_known(name: &str) -> bool {
    name == series::SECS || ORDER.contains(&name) || PARTS.iter().any(|(part, _)| *part == name)
}

#[cfg(test)]
mod tests {
    use reinpath_training::event::RowFigures;

    use super::*;
    use crate::runs::told::EvaluationTold;

    fn stage(names: &[&str]) -> StageTold {
        let column = || std::iter::once(1.0_f32).collect();
        StageTold {
            name: "grpo".to_owned(),
            planned: 1,
            steps: column(),
            measures: names.iter().map(|name| ((*name).to_owned(), column())).collect(),
            evaluations: Vec::new(),
        }
    }

    fn keys(stage: &StageTold) -> Vec<String> {
        groups(stage).into_iter().map(|group| group.key).collect()
    }

    #[test]
    fn only_what_is_measured_has_a_plot_and_the_loss_comes_first() {
        let told = stage(&["secs", "gradient_norm", "learning_rate", "kl", "loss"]);
        assert_eq!(keys(&told), ["loss", "learning_rate", "gradient_norm", "kl"]);
    }

    #[test]
    fn the_parts_of_the_reward_share_its_plot_and_its_spread_has_its_own() {
        let told = stage(&["reward", "reward_accuracy", "reward_format", "reward_spread", "update_secs"]);
        let groups = groups(&told);
        assert_eq!(keys(&told), ["reward", "reward_spread", "rollout_secs"]);
        let names: Vec<&str> = groups[0].curves.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["reward", "reward_format", "reward_accuracy"]);
        assert_eq!(groups[2].curves.len(), 1);
    }

    #[test]
    fn an_unknown_measure_has_a_plot_of_its_own_after_the_known_ones() {
        let told = stage(&["a_new_thing", "loss"]);
        assert_eq!(keys(&told), ["loss", "a_new_thing"]);
        assert_eq!(groups(&told)[1].title, "A new thing");
    }

    #[test]
    fn held_out_rows_have_a_plot_also_where_no_accuracy_is_measured() {
        let mut told = stage(&["loss"]);
        told.evaluations.push(EvaluationTold { step: 1, figures: RowFigures::default() });
        assert_eq!(keys(&told), ["loss", "accuracy"]);
        assert_eq!(groups(&told)[1].curves[0].0, HELD_OUT);
    }
}
