//! What answers that the policy wrote before the first step say about the run.

use reinpath_model::event::Stop;

use crate::event::Finding;
use crate::rollout_record::AnswerRecord;
use crate::trainer::Rehearsed;

/// Findings about the answers that a stage drew; none where it draws none. `is_later`: other stages come before it, and
/// will change the answers.
pub(super) fn findings(stage: &str, rehearsed: &Rehearsed, is_later: bool) -> Vec<Finding> {
    let answers: Vec<&AnswerRecord> = rehearsed.records.iter().flat_map(|record| &record.answers).collect();
    if answers.is_empty() {
        return Vec::new();
    }
    let (drawn, questions) = (answers.len(), rehearsed.records.len());
    let cut_off = answers.iter().filter(|answer| answer.stop != Stop::End).count();
    let mut findings = vec![summary(stage, rehearsed, &answers, cut_off)];
    let are_all_cut_off = cut_off == drawn;
    if are_all_cut_off && rehearsed.shortened_to.is_some() {
        // They say nothing about answers that may be as long as those of the run.
        return findings;
    }
    let later = if is_later { " The stages before it will change the answers." } else { "" };
    let mut doubtful = |finding: String, cure: &str| {
        findings.push(Finding { finding, cure: Some(cure.to_owned()), is_fatal: false });
    };
    if are_all_cut_off {
        doubtful(
            format!(
                "{stage}: all {drawn} answers that were drawn were cut off at the longest length.{later}"
            ),
            "Make `grpo.max_tokens` larger, or train the answers to end first (cold start): an answer that is cut off \
             has no conclusion to be rewarded for.",
        );
    }
    let is_level = |answers: &[AnswerRecord]| answers.windows(2).all(|two| two[0].reward == two[1].reward);
    if rehearsed.records.iter().all(|record| is_level(&record.answers)) {
        doubtful(
            format!(
                "{stage}: all answers to the same question earn the same, for each of the {questions} questions that \
                 were tried: there is nothing to learn from them.{later}"
            ),
            "Raise `grpo.temperature`, draw more answers (`grpo.samples`), set `grpo.resample`, or give it rows that \
             are neither too easy nor too hard.",
        );
    }
    findings
}

fn summary(stage: &str, rehearsed: &Rehearsed, answers: &[&AnswerRecord], cut_off: usize) -> Finding {
    let (drawn, questions) = (answers.len(), rehearsed.records.len());
    let mean = answers.iter().map(|answer| answer.reward).sum::<f64>() / drawn as f64;
    let right = answers.iter().filter(|answer| answer.is_right).count();
    let shortened = rehearsed.shortened_to.map_or_else(String::new, |tokens| {
        format!(" On the CPU they have at most {tokens} tokens here, fewer than in the run.")
    });
    let finding = format!(
        "{stage}: {drawn} answers to {questions} questions were drawn from the model as it is now; they would earn \
         {mean:.2} in the mean, {right} are right, {cut_off} were cut off.{shortened}"
    );
    Finding { finding, cure: None, is_fatal: false }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rollout_record::RolloutRecord;

    fn answer(reward: f64, stop: Stop) -> AnswerRecord {
        AnswerRecord {
            text: "B) nests".to_owned(),
            tokens: 3,
            stop,
            logprob: -1.0,
            rewards: BTreeMap::new(),
            reward,
            advantage: 0.0,
            is_right: reward > 1.0,
        }
    }

    fn record(answers: Vec<AnswerRecord>) -> RolloutRecord {
        RolloutRecord { stage: "grpo".to_owned(), row: "a".to_owned(), answers, ..RolloutRecord::default() }
    }

    fn rehearsed(rewards: [[f64; 2]; 2], stop: Stop) -> Rehearsed {
        let records = rewards.map(|two| record(two.map(|reward| answer(reward, stop)).to_vec())).to_vec();
        Rehearsed { records, ..Rehearsed::default() }
    }

    #[test]
    fn answers_that_differ_and_end_are_told_and_nothing_is_wrong() {
        let found = findings("grpo", &rehearsed([[2.0, 0.0], [0.5, 0.5]], Stop::End), false);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].finding.contains("4 answers to 2 questions") && found[0].cure.is_none());
        assert!(found[0].finding.contains("0.75 in the mean, 1 are right, 0 were cut off"), "{found:?}");
    }

    #[test]
    fn answers_that_all_earn_the_same_or_were_all_cut_off_are_doubtful() {
        let level = findings("grpo", &rehearsed([[2.0, 2.0], [0.5, 0.5]], Stop::End), false);
        assert!(level.len() == 2 && level[1].finding.contains("earn the same"), "{level:?}");
        assert!(level[1].cure.as_ref().is_some_and(|cure| cure.contains("grpo.resample")));
        let cut = findings("grpo", &rehearsed([[2.0, 0.0], [0.5, 0.5]], Stop::MaxTokens), true);
        assert!(cut.len() == 2 && cut[1].finding.contains("cut off at the longest length"), "{cut:?}");
        assert!(cut[1].finding.ends_with("will change the answers."), "{cut:?}");
        assert!(level.iter().chain(&cut).all(|finding| !finding.is_fatal));
    }

    #[test]
    fn answers_that_were_shortened_are_not_blamed_for_their_end() {
        let short =
            Rehearsed { shortened_to: Some(64), ..rehearsed([[0.0, 0.0], [0.0, 0.0]], Stop::MaxTokens) };
        let found = findings("grpo", &short, false);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].finding.contains("at most 64 tokens"), "{found:?}");
    }

    #[test]
    fn a_stage_that_draws_no_answers_has_no_findings() {
        assert!(findings("alignment", &Rehearsed::default(), false).is_empty());
    }
}
