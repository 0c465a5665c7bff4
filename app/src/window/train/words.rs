//! The words for a run's stages, states and measures, the same wherever the training mode says them.

use std::path::Path;

use reinpath_training::event::measure;
use reinpath_training::run_folder::RunState;

use super::chart::plots::HELD_OUT;
use crate::runs::told::Listed;

/// A stage within a sentence: `cold start`, `GRPO`.
pub(super) fn stage(name: &str) -> String {
    match name {
        "grpo" => "GRPO".to_owned(),
        other => other.replace('_', " "),
    }
}

/// A stage at the beginning of a line: `Cold start`.
pub(super) fn stage_title(name: &str) -> String {
    capital(&stage(name))
}

/// How far a run has come, in a few words at the beginning of a line.
pub(super) fn state(state: &Listed, waits_for: Option<&Path>) -> String {
    let words = match (state, waits_for) {
        (Listed::Known(RunState::Running(_)), Some(other)) => {
            let name = other.file_name().unwrap_or(other.as_os_str());
            return format!("Waits for {}", name.to_string_lossy());
        }
        (Listed::Known(RunState::Running(_)), None) => "Running",
        (Listed::Known(RunState::Stopped), _) => "Stopped, can go on",
        (Listed::Known(RunState::Interrupted), _) => "Ended without a word",
        (Listed::Known(RunState::Failed(_)), _) => "Failed",
        (Listed::Known(RunState::Finished(_)), _) => "Finished",
        (Listed::NeverBegan, _) => "Never began",
        (Listed::Unreadable(_), _) => "Cannot be read",
    };
    words.to_owned()
}

/// A measure as the title of its plot, with its unit; of one that this program does not know, its own name.
pub(super) fn measure_title(name: &str) -> String {
    let known = match name {
        HELD_OUT => "Held-out accuracy, with 95 % interval",
        measure::KL => "KL, nats per token",
        measure::ENTROPY => "Entropy, nats",
        measure::DRIFT => "Drift, nats",
        measure::LENGTH => "Answer length, tokens",
        measure::CUT_OFF => "Cut off, share of answers",
        measure::NO_SPREAD => "No spread, share of questions",
        measure::REWARD_SPREAD => "Spread of rewards",
        measure::CLIPPED => "Clipped, share",
        measure::TOKENS => "Tokens of a step",
        measure::UNSCORED => "Answers without a score",
        measure::ROLLOUT_SECS => "Writing answers, s per step",
        measure::UPDATE_SECS => "Update, s per step",
        other => return capital(&other.replace('_', " ")),
    };
    known.to_owned()
}

fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use reinpath_training::run_folder::Holder;

    use super::*;

    #[test]
    fn stages_and_measures_are_told_as_people_write_them() {
        assert_eq!([stage("cold_start"), stage("grpo")], ["cold start", "GRPO"]);
        assert_eq!([stage_title("cold_start"), stage_title("grpo")], ["Cold start", "GRPO"]);
        assert_eq!([measure_title("zeal"), measure_title("learning_rate")], ["Zeal", "Learning rate"]);
        assert_eq!(measure_title("kl"), "KL, nats per token");
    }

    #[test]
    fn every_state_has_its_words_and_a_waiting_run_says_for_which() {
        let running = Listed::Known(RunState::Running(Holder::default()));
        let other = Some(Path::new("/runs/other"));
        assert_eq!(state(&running, other), "Waits for other");
        let states = [
            (running, "Running"),
            (Listed::NeverBegan, "Never began"),
            (Listed::Unreadable("no".to_owned()), "Cannot be read"),
            (Listed::Known(RunState::Stopped), "Stopped, can go on"),
            (Listed::Known(RunState::Interrupted), "Ended without a word"),
            (Listed::Known(RunState::Failed("no".to_owned())), "Failed"),
            (Listed::Known(RunState::Finished("package".into())), "Finished"),
        ];
        for (listed, words) in states {
            assert_eq!(state(&listed, None), words);
        }
        assert_eq!(state(&Listed::Known(RunState::Stopped), other), "Stopped, can go on", "it waits no more");
    }
}
