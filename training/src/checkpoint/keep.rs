//! Which checkpoints are kept.

use crate::config::CheckpointRule;

/// Those of `names`, the oldest first, that are given up: all but the last ones (the latest always stays), the best,
/// and the one from which the stage was entered.
pub(super) fn given_up<'a>(
    names: &'a [String],
    rule: &CheckpointRule,
    best: Option<&str>,
    entry: Option<&str>,
) -> Vec<&'a str> {
    let old = names.len().saturating_sub(rule.keep_last.max(1));
    let best = best.filter(|_| rule.keep_best);
    let is_given_up = |name: &&str| Some(*name) != best && Some(*name) != entry;
    names[..old].iter().map(String::as_str).filter(is_given_up).collect()
}

#[cfg(test)]
mod tests {
    use super::given_up;
    use crate::config::CheckpointRule;

    #[test]
    fn the_last_the_best_and_the_one_a_stage_was_entered_from_are_kept() {
        let names = ["a-1", "a-2", "b-1", "b-2", "b-3"].map(str::to_owned);
        let rule = |keep_last, keep_best| CheckpointRule { every: 1, keep_last, keep_best };
        assert_eq!(given_up(&names, &rule(2, true), Some("b-1"), Some("a-2")), ["a-1"]);
        assert_eq!(given_up(&names, &rule(2, false), Some("b-1"), Some("a-2")), ["a-1", "b-1"]);
        assert_eq!(given_up(&names, &rule(1, true), None, None), ["a-1", "a-2", "b-1", "b-2"]);
        assert_eq!(given_up(&names, &rule(0, true), None, None).len(), 4, "the latest always stays");
        assert!(given_up(&names, &rule(9, false), None, None).is_empty());
    }
}
