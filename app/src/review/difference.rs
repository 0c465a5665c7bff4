//! What an edit changed, word by word.

use std::ops::Range;
use std::time::Duration;

use similar::{ChangeTag, TextDiff};

/// Texts that have nothing in common are compared only so long; the difference is right after it too, but may be longer than need be.
const PATIENCE: Duration = Duration::from_millis(100);

/// A part of two texts: `Same` and `Removed` in their order are the one before, `Same` and `Added` the one after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Same(&'a str),
    Removed(&'a str),
    Added(&'a str),
}

/// What became of the words of a text; neighbours of one kind are one piece.
pub fn words<'a>(before: &'a str, after: &'a str) -> Vec<Piece<'a>> {
    let difference = TextDiff::configure().timeout(PATIENCE).diff_words(before, after);
    let (mut at_before, mut at_after) = (0, 0);
    let mut parts: Vec<(ChangeTag, Range<usize>)> = Vec::new();
    for change in difference.iter_all_changes() {
        let length = change.value().len();
        let range = match change.tag() {
            ChangeTag::Equal => {
                at_after += length;
                grown(&mut at_before, length)
            }
            ChangeTag::Delete => grown(&mut at_before, length),
            ChangeTag::Insert => grown(&mut at_after, length),
        };
        match parts.last_mut() {
            Some((tag, last)) if *tag == change.tag() => last.end = range.end,
            _ => parts.push((change.tag(), range)),
        }
    }
    let piece = |(tag, range): (ChangeTag, Range<usize>)| match tag {
        ChangeTag::Equal => Piece::Same(&before[range]),
        ChangeTag::Delete => Piece::Removed(&before[range]),
        ChangeTag::Insert => Piece::Added(&after[range]),
    };
    parts.into_iter().map(piece).collect()
}

/// The next bytes of a text that was read up to `at`.
fn grown(at: &mut usize, length: usize) -> Range<usize> {
    let start = *at;
    *at += length;
    start..*at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_texts_can_be_read_from_their_difference() {
        let long = "Glands lie back to back. ".repeat(200);
        let other = "Sheets of cells without lumina; ".repeat(150);
        for (before, after) in [
            ("Glands are seen.", "Glands are seen."),
            ("Glands are seen.", "Large glands are seen."),
            ("Glands are seen.", "Glands lie back to back."),
            ("", "New."),
            ("Old.", ""),
            ("", ""),
            ("Kerne  von 7,5 µm —\n groß", "Kerne von 7,5 µm — sehr groß"),
            ("אב גד", "אב הו גד 🔬"),
            (long.as_str(), other.as_str()),
        ] {
            let pieces = words(before, after);
            let read = |is_before: bool| {
                let of = |piece: &Piece<'_>| match *piece {
                    Piece::Same(text) => text.to_owned(),
                    Piece::Removed(text) if is_before => text.to_owned(),
                    Piece::Added(text) if !is_before => text.to_owned(),
                    Piece::Removed(_) | Piece::Added(_) => String::new(),
                };
                pieces.iter().map(of).collect::<String>()
            };
            assert_eq!((read(true).as_str(), read(false).as_str()), (before, after));
        }
    }

    #[test]
    fn only_the_words_that_changed_are_marked() {
        let pieces = words("The nuclei are small and round.", "The nuclei are large and round.");
        let expected = [
            Piece::Same("The nuclei are "),
            Piece::Removed("small"),
            Piece::Added("large"),
            Piece::Same(" and round."),
        ];
        assert_eq!(pieces, expected);
    }
}
