//! The format's reward (paper, section 2.2): the three headings as they are trained, and text below them.

use reinpath_model::stage::{StagedAnswer, is_strictly_formatted};

/// Whether an answer is `[Observation]`, `[Analysis]`, `[Conclusion]`, each once, in order, on a line of its own, and
/// its first two stages have at least so many words each.
///
/// The words keep an answer from earning this with headings alone.
pub fn is_formatted(text: &str, minimum_words: usize) -> bool {
    if !is_strictly_formatted(text) {
        return false;
    }
    let (answer, _) = StagedAnswer::parse(text);
    [&answer.observation, &answer.analysis]
        .into_iter()
        .all(|stage| stage.split_whitespace().count() >= minimum_words)
}

#[cfg(test)]
mod tests {
    use super::is_formatted;

    /// The cases of TRL's `think_format_reward`, in this format.
    #[test]
    fn only_complete_answers_in_order_are_formatted() {
        for good in [
            "[Observation]\na\n[Analysis]\nb\n[Conclusion]\nc",
            "[Observation]\na\na\n\n[Analysis]\nb\nb\n[Conclusion]\nc\nc",
            "[Observation]\n<b>a</b>\n[Analysis]\n<think>b</think>\n[Conclusion]\nc",
        ] {
            assert!(is_formatted(good, 0), "{good:?}");
        }
        for bad in [
            // Not ended.
            "[Observation]\na\n[Analysis]\nb",
            "[Observation]\na\n[Analysis]\nb\n[Conclusion]",
            // Not begun.
            "a\n[Analysis]\nb\n[Conclusion]\nc",
            // Text before.
            "So:\n[Observation]\na\n[Analysis]\nb\n[Conclusion]\nc",
            // Repeated.
            "[Observation]\na\n[Observation]\na\n[Analysis]\nb\n[Conclusion]\nc",
            "[Observation]\na\n[Analysis]\nb\n[Conclusion]\nc\n[Conclusion]\nd",
            // Nothing below a heading.
            "[Observation]\n[Analysis]\nb\n[Conclusion]\nc",
            "",
        ] {
            assert!(!is_formatted(bad, 0), "{bad:?}");
        }
    }

    #[test]
    fn headings_with_hardly_a_word_earn_nothing_where_words_are_asked_for() {
        let text = "[Observation]\nTumour nests are seen.\n[Analysis]\nSo tumour.\n[Conclusion]\nB";
        assert!(is_formatted(text, 2));
        assert!(!is_formatted(text, 3), "the analysis has two words");
    }
}
