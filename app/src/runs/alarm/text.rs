//! Texts that degenerate: runs of one character, or few words over and over (ms-swift's issue 3372).

use std::collections::BTreeSet;

use reinpath_training::rollout_record::RolloutRecord;
use serde_json::json;

use super::{Alarm, AlarmKind, Sight};

/// Share of the answers above which it is no accident.
const DEGENERATE: f32 = 0.25;
/// A character so many times in a row; a row of dashes under a heading is shorter.
const RUN: usize = 20;
/// An answer of so many words with so few different ones says one thing over and over; ordinary reports have half.
const WORDS: usize = 30;
const DISTINCT: f32 = 0.2;
/// Answers and characters of each that are looked at.
const MOST_ANSWERS: usize = 48;
const MOST_CHARACTERS: usize = 1500;

/// Of the newest rollouts of the stage at work.
pub(super) fn degenerate(sight: &Sight<'_>, records: &[RolloutRecord]) -> Option<Alarm> {
    let of_stage = || records.iter().filter(|record| record.stage == sight.stage.name);
    let since = of_stage().next()?.step;
    let count: usize = of_stage().map(|record| record.answers.len()).sum();
    let every = count.div_ceil(MOST_ANSWERS).max(1);
    let looked_at = of_stage().flat_map(|record| &record.answers).step_by(every);
    let (mut all, mut bad) = (0_usize, 0_usize);
    for answer in looked_at {
        all += 1;
        bad += usize::from(is_degenerate(&answer.text));
    }
    let share = bad as f32 / all as f32;
    (share > DEGENERATE).then(|| {
        let share = 100.0 * share;
        sight.alarm(
            AlarmKind::Degenerate,
            since,
            format!(
                "{share:.0} % of the answers of step {since} repeat a character or few words over and over."
            ),
            "Let repeated words cost reward.",
            Some(("grpo.reward.gaming.repetition".to_owned(), json!(1.0))),
        )
    })
}

fn is_degenerate(text: &str) -> bool {
    let text: String = text.chars().take(MOST_CHARACTERS).collect();
    let (mut last, mut run) = (None, 0);
    for character in text.chars().filter(|character| !character.is_whitespace()) {
        run = if last == Some(character) { run + 1 } else { 1 };
        last = Some(character);
        if run >= RUN {
            return true;
        }
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let distinct: BTreeSet<&str> = words.iter().copied().collect();
    words.len() >= WORDS && (distinct.len() as f32) < DISTINCT * words.len() as f32
}
