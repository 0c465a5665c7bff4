//! What rows say, as text: answers as they are trained, the words that weigh more, names, and lengths.

use std::ops::Range;

use crate::rows::{Row, RowAnswer, RowKind, Split};

/// The text of a row's answer as it is trained: its stages with their headings, or the plain text. `None` where the row
/// has a label alone.
pub fn answer_text(row: &Row) -> Option<String> {
    match row.answer.as_ref()? {
        RowAnswer::Text { text } => Some(text.clone()),
        RowAnswer::Staged(staged) => Some(staged.to_text()),
    }
}

/// The bytes of a text that belong to one of the parts (a row's `emphasis`), wherever they stand as whole words; sorted,
/// without overlaps.
pub fn emphasised(text: &str, parts: &[String]) -> Vec<Range<usize>> {
    let is_edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    let mut found: Vec<Range<usize>> = parts
        .iter()
        .filter(|part| !part.is_empty())
        .flat_map(|part| text.match_indices(part.as_str()).map(|(at, said)| at..at + said.len()))
        .filter(|bytes| is_edge(text[..bytes.start].chars().next_back()))
        .filter(|bytes| is_edge(text[bytes.end..].chars().next()))
        .collect();
    found.sort_by_key(|bytes| (bytes.start, bytes.end));
    let mut joined: Vec<Range<usize>> = Vec::with_capacity(found.len());
    for bytes in found {
        match joined.last_mut() {
            Some(last) if bytes.start <= last.end => last.end = last.end.max(bytes.end),
            _ => joined.push(bytes),
        }
    }
    joined
}

/// The name of a kind as in files and reports.
pub fn kind_name(kind: RowKind) -> &'static str {
    match kind {
        RowKind::Caption => "caption",
        RowKind::Open => "open",
        RowKind::Choice => "choice",
        RowKind::TrueFalse => "true_false",
    }
}

/// The name of a part of a data set.
pub fn split_name(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Validation => "validation",
        Split::Test => "test",
    }
}

/// The part of a data set with this name.
pub fn split_named(name: &str) -> Option<Split> {
    [Split::Train, Split::Validation, Split::Test].into_iter().find(|&split| split_name(split) == name)
}

/// The part that a row belongs to: `train` unless it says another.
pub(crate) fn part_of(row: &Row) -> Split {
    row.split.unwrap_or(Split::Train)
}

/// How long a row is for a model, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// The prompt, image tokens included.
    pub prompt: usize,
    /// The answer and the token that ends it; 0 where the row has no answer.
    pub answer: usize,
}

/// What tells how long rows are, and how long they may be.
pub trait Measure: Sync {
    /// The lengths of a row; an error is a sentence.
    fn lengths(&self, row: &Row) -> Result<Lengths, String>;

    /// Tokens that the model can read, prompt and answer together.
    fn limit(&self) -> usize;

    /// Tokens of the longest answer that the package writes.
    fn answer_limit(&self) -> usize;
}

/// Words of a text: what stands between white space.
pub(super) fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::for_tests::question;

    #[test]
    fn the_text_of_an_answer_has_its_headings() {
        let row = question("a", "x.png");
        let text = answer_text(&row).unwrap();
        assert_eq!(
            text,
            "[Observation]\nSolid nests.\n[Analysis]\nNo lumina, so nests.\n[Conclusion]\nB) nests"
        );
        assert_eq!(answer_text(&Row { answer: None, ..row }), None);
        assert_eq!(answer_text(&Row::from_caption("c", "x.png", "Nests.")).unwrap(), "Nests.");
    }

    #[test]
    fn emphasis_is_found_as_whole_words_and_once() {
        let parts = ["nests".to_owned(), "solid nests".to_owned(), "ü".to_owned(), String::new()];
        let text = "solid nests, nestsless, honests. nests ü";
        let found: Vec<&str> = emphasised(text, &parts).into_iter().map(|bytes| &text[bytes]).collect();
        assert_eq!(found, ["solid nests", "nests", "ü"]);
        assert!(emphasised(text, &["glands".to_owned()]).is_empty());
    }
}
