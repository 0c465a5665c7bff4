//! Questions that carry their options in the text: “Which? A) glands B) nests”.

/// What asks for the letter alone, in LLaVA's and others' data; staged answers say more.
const LETTER_ALONE: &str = "Answer with the option's letter from the given choices directly.";

/// The question and its options without letters; `None` where the text has no two of them, marked `A)`, `(A)`, `A.` or
/// `A:` and in order.
pub(super) fn split_options(text: &str) -> Option<(String, Vec<String>)> {
    let marks = [')', '.', ':'].into_iter().find_map(|closer| marks(text, closer))?;
    let stem = text[..marks[0].0].trim();
    let is_by_line = text[..marks[0].0].trim_end_matches([' ', '\t', '(']).ends_with('\n');
    let mut rest = "";
    let mut options = Vec::with_capacity(marks.len());
    for (at, &(_, begin)) in marks.iter().enumerate() {
        let end = marks.get(at + 1).map_or(text.len(), |next| next.0);
        let mut option = text[begin..end].trim();
        // What stands below the last line of options belongs to the question.
        if is_by_line
            && at + 1 == marks.len()
            && let Some((last, more)) = option.split_once('\n')
        {
            (option, rest) = (last.trim(), more.trim());
        }
        options.push(option.trim_end_matches([',', ';']).trim_end().to_owned());
    }
    let stem =
        ["Choices:", "Options:"].iter().find_map(|word| stem.strip_suffix(word)).unwrap_or(stem).trim();
    let question = [stem, rest].join("\n").replace(LETTER_ALONE, "").trim().to_owned();
    let is_whole = !question.is_empty() && options.iter().all(|option| !option.is_empty());
    is_whole.then_some((question, options))
}

/// Where the options' marks begin and end: `A`, `B` and so on, each behind the one before; at least two.
fn marks(text: &str, closer: char) -> Option<Vec<(usize, usize)>> {
    let candidates: Vec<(char, usize, usize)> = text
        .char_indices()
        .filter(|(_, c)| c.is_ascii_uppercase())
        .filter_map(|(at, letter)| mark(text, at, letter, closer))
        .collect();
    let begins = candidates.iter().enumerate().filter(|(_, (letter, ..))| *letter == 'A');
    begins
        .map(|(first, _)| {
            let mut next = 'A'..='Z';
            let mut wanted = next.next();
            let mut chain = Vec::new();
            for &(letter, begin, end) in &candidates[first..] {
                if Some(letter) == wanted {
                    chain.push((begin, end));
                    wanted = next.next();
                }
            }
            chain
        })
        .find(|chain| chain.len() >= 2)
}

/// The mark at a capital letter that stands alone before the closer; with a bracket before it, where there is one.
fn mark(text: &str, at: usize, letter: char, closer: char) -> Option<(char, usize, usize)> {
    let after = text[at + 1..].strip_prefix(closer)?;
    // “U.S.” is no option.
    if closer != ')' && !after.starts_with(char::is_whitespace) {
        return None;
    }
    let before = &text[..at];
    let begin = if before.ends_with('(') { at - 1 } else { at };
    let stands_alone = text[..begin].chars().next_back().is_none_or(char::is_whitespace);
    stands_alone.then_some((letter, begin, at + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Option<(String, Vec<String>)> {
        split_options(text)
    }

    #[expect(clippy::unnecessary_wraps, reason = "what it is compared with may be none")]
    fn parts(question: &str, options: &[&str]) -> Option<(String, Vec<String>)> {
        Some((question.to_owned(), options.iter().map(|&option| option.to_owned()).collect()))
    }

    #[test]
    fn options_are_found_in_the_ways_in_which_they_are_published() {
        let glands_nests = parts("Which?", &["glands", "solid nests"]);
        for text in [
            "Which? A) glands B) solid nests",
            "Which? A) glands   B) solid nests",
            "Which?\n(A) glands\n(B) solid nests",
            "Which?\nA. glands\nB. solid nests\n",
            "Which? Choices: A) glands; B) solid nests;",
            "Which?\nA: glands\nB: solid nests\nAnswer with the option's letter from the given choices directly.",
        ] {
            assert_eq!(cut(text), glands_nests, "{text}");
        }
        assert_eq!(cut("Which?\nA) x\nB) y\nThink first."), parts("Which?\nThink first.", &["x", "y"]));
        let three = parts("Is it type A (large)?", &["yes", "no, it is B", "both"]);
        assert_eq!(cut("Is it type A (large)? A) yes B) no, it is B C) both"), three);
    }

    #[test]
    fn questions_without_options_stay_whole() {
        for text in [
            "What is seen in A) of the figure?",
            "Was this made in the U.S.A. or elsewhere?",
            "A) glands B) nests",
            "Which? A) B) nests",
            "What is vitamin B) doing?",
            "Größe A",
        ] {
            assert_eq!(cut(text), None, "{text}");
        }
    }
}
