//! Whether a conclusion follows from what was written before it.

use reinpath_model::stage::words;

use super::{Question, chosen};
use crate::rows::RowKind;

/// Words that make a letter after them the name of an option.
const MARKS: [&str; 4] = ["option", "choice", "answer", "letter"];

/// Whether the analysis names the option that the conclusion of a choice question chooses: by its text, or by its letter
/// (`option B`, `(B)`, `B)`). True of other kinds, and of a conclusion that chooses nothing, which earns nothing anyway.
pub fn is_supported(question: &Question, analysis: &str, conclusion: &str) -> bool {
    if question.kind != RowKind::Choice {
        return true;
    }
    let Some(at) = chosen(question, conclusion) else { return true };
    words(analysis).contains(&words(&question.choices[at]))
        || names_letter(analysis, (b'A' + at as u8).into())
}

/// Whether a letter stands alone in a text and is marked as an option: “A nucleus” names none.
fn names_letter(text: &str, letter: char) -> bool {
    text.match_indices(letter).any(|(at, found)| {
        let (before, after) = (&text[..at], &text[at + found.len()..]);
        if before.ends_with(char::is_alphanumeric) || after.starts_with(char::is_alphanumeric) {
            return false;
        }
        let lead = before.trim_end_matches([' ', '(', ':', '"', '“']).to_lowercase();
        after.starts_with(')') || MARKS.iter().any(|mark| lead.ends_with(mark))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::choice;
    use super::*;

    #[test]
    fn an_analysis_supports_the_option_that_it_names() {
        let question = choice();
        for (analysis, supported) in [
            ("The groups are solid, so these are Tumour Nests.", true),
            ("This means solid groups, option B.", true),
            ("The best fit is (B).", true),
            ("Hence B) it is.", true),
            ("The answer: B.", true),
            ("The groups are solid. B cells are few.", false),
            ("Hence (C).", false),
            ("", false),
        ] {
            assert_eq!(is_supported(&question, analysis, "B) tumour nests"), supported, "{analysis:?}");
        }
        assert!(!is_supported(&question, "A nucleus is large.", "A) glands"));
        let statement = Question { kind: RowKind::TrueFalse, choices: Vec::new(), ..question };
        assert!(is_supported(&statement, "", "True"));
    }
}
