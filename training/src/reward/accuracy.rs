//! Whether a conclusion is right: extracted by rule and compared (paper, equation 1).
//!
//! Choices and statements are read by [`extract_choice`], as everywhere. An open conclusion must be the label or the
//! reference conclusion itself, or a sentence that only leads up to the label (`The finding is mucin.`), so that a list
//! of everything that could be right earns nothing. A question without label whose reference says that nothing can be
//! said is answered rightly by saying so and choosing nothing.
//!
//! Held-out rows are judged by the same rule for open conclusions (`evaluate/judge.rs`), so that an accuracy that falls
//! while this reward rises is never a difference of rules.

use reinpath_model::stage::{extract_choice, words};

use super::Question;
use crate::phantom::CANNOT_BE_ASSESSED;
use crate::rows::RowKind;

/// Words that may stand directly before an open conclusion's label.
const LEADS: [&str; 10] =
    ["is", "are", "show", "shows", "see", "suggest", "suggests", "indicates", "favours", "favors"];
/// Words that may stand between them and it.
const ARTICLES: [&str; 3] = ["a", "an", "the"];
/// Most words before an open conclusion's label.
const LONGEST_LEAD: usize = 8;

/// The option that a conclusion chooses, as an index into the choices; 0 is true and 1 false of a statement.
pub fn chosen(question: &Question, conclusion: &str) -> Option<usize> {
    match question.kind {
        RowKind::Choice => extract_choice(conclusion, &question.choices),
        RowKind::TrueFalse => extract_choice(conclusion, &["True".to_owned(), "False".to_owned()]),
        RowKind::Open | RowKind::Caption => None,
    }
}

/// Whether a conclusion is right; `None` where the question has nothing to compare it with.
pub fn is_right(question: &Question, conclusion: &str) -> Option<bool> {
    let reference = question.reference.as_ref().map(|answer| answer.conclusion.trim());
    let reference = reference.filter(|text| !text.is_empty());
    if question.label.is_none() && reference.is_some_and(declines) {
        return Some(declines(conclusion) && chosen(question, conclusion).is_none());
    }
    let says = |right: bool| Some(right && !declines(conclusion));
    match question.kind {
        RowKind::Choice | RowKind::TrueFalse => {
            let wanted = match &question.label {
                Some(label) => index_of(question.kind, label),
                None => reference.and_then(|text| chosen(question, text)),
            }?;
            says(chosen(question, conclusion) == Some(wanted))
        }
        RowKind::Open => {
            if question.label.is_none() && reference.is_none() {
                return None;
            }
            let as_reference = reference.is_some_and(|text| words(text) == words(conclusion));
            let as_label = question.label.as_deref().is_some_and(|label| says_label(conclusion, label));
            says(as_reference || as_label)
        }
        RowKind::Caption => None,
    }
}

/// Whether an open conclusion says this label and nothing else.
pub fn says_label(conclusion: &str, label: &str) -> bool {
    !declines(conclusion) && leads_to(conclusion, label)
}

/// A label as an index.
fn index_of(kind: RowKind, label: &str) -> Option<usize> {
    match (kind, label, label.as_bytes()) {
        (RowKind::TrueFalse, "True", _) => Some(0),
        (RowKind::TrueFalse, "False", _) => Some(1),
        (RowKind::Choice, _, [letter @ b'A'..=b'Z']) => Some(usize::from(letter - b'A')),
        _ => None,
    }
}

fn declines(conclusion: &str) -> bool {
    words(conclusion).contains(&words(CANNOT_BE_ASSESSED))
}

/// Whether a conclusion is the label, or a short sentence that ends with it after a word such as “is”.
fn leads_to(conclusion: &str, label: &str) -> bool {
    let (conclusion, label) = (words(conclusion), words(label));
    if label.trim().is_empty() {
        return false;
    }
    let Some(lead) = conclusion.strip_suffix(label.as_str()) else { return false };
    let mut lead: Vec<&str> = lead.split_whitespace().collect();
    if lead.is_empty() {
        return true;
    }
    if lead.last().is_some_and(|word| ARTICLES.contains(word)) {
        lead.pop();
    }
    lead.len() <= LONGEST_LEAD && lead.last().is_none_or(|word| LEADS.contains(word))
}

#[cfg(test)]
mod tests {
    use reinpath_model::stage::StagedAnswer;

    use super::super::tests_support::choice;
    use super::*;

    fn judged(question: &Question, cases: &[(&str, bool)]) {
        for (conclusion, want) in cases {
            assert_eq!(is_right(question, conclusion), Some(*want), "{conclusion:?}");
        }
    }

    #[test]
    fn a_choice_is_right_by_letter_or_by_text() {
        let cases = [
            ("B) tumour nests", true),
            ("(B)", true),
            ("Tumour nests are seen.", true),
            ("A) glands", false),
            ("C) tumour nests", false),
            ("B) tumour nests, but this cannot be assessed", false),
            ("", false),
        ];
        judged(&choice(), &cases);
    }

    #[test]
    fn without_a_label_the_reference_says_what_is_right() {
        let unlabelled = Question { label: None, ..choice() };
        judged(&unlabelled, &[("B", true), ("A", false)]);
        let nothing = Question { reference: None, ..unlabelled };
        assert_eq!(is_right(&nothing, "B"), None);
        assert_eq!(is_right(&Question { kind: RowKind::Caption, ..nothing }, "B"), None);
    }

    #[test]
    fn a_statement_is_true_or_false() {
        let question = Question {
            kind: RowKind::TrueFalse,
            choices: Vec::new(),
            label: Some("False".to_owned()),
            ..choice()
        };
        judged(&question, &[("False, the field shows glands.", true), ("True.", false), ("Perhaps.", false)]);
    }

    #[test]
    fn what_cannot_be_assessed_is_rightly_declined() {
        let reference = StagedAnswer {
            conclusion: "The field cannot be assessed.".to_owned(),
            ..StagedAnswer::default()
        };
        for kind in [RowKind::Choice, RowKind::TrueFalse, RowKind::Open] {
            let question = Question { kind, label: None, reference: Some(reference.clone()), ..choice() };
            judged(&question, &[("Cannot be assessed.", true), ("Cellularity cannot be assessed.", true)]);
            judged(&question, &[("B) tumour nests", false), ("True", false), ("", false)]);
        }
        let question = Question { label: None, reference: Some(reference), ..choice() };
        judged(&question, &[("B) cannot be assessed", false)]);
    }

    #[test]
    fn an_open_conclusion_says_the_label_and_nothing_else() {
        let question = Question {
            kind: RowKind::Open,
            choices: Vec::new(),
            label: Some("tumour nests".to_owned()),
            reference: Some(StagedAnswer {
                conclusion: "Solid nests of tumour.".to_owned(),
                ..StagedAnswer::default()
            }),
            ..choice()
        };
        let cases = [
            ("Tumour nests.", true),
            ("The finding is tumour nests.", true),
            ("The field shows the tumour nests", true),
            ("solid nests of tumour", true),
            ("glands, mucin, fat, tumour nests", false),
            ("There are no tumour nests.", false),
            ("This is not tumour nests.", false),
            ("Tumour.", false),
            ("Mucin.", false),
            ("", false),
        ];
        judged(&question, &cases);
    }

    /// As TRL's rewards have it: what is only in the reasoning, or was never finished, is wrong.
    #[test]
    fn an_answer_in_the_analysis_alone_is_wrong() {
        for text in
            ["[Observation]\nNests.\n[Analysis]\nB) tumour nests", "B) tumour nests", "[Conclusion]\n"]
        {
            let (answer, _) = StagedAnswer::parse(text);
            assert_eq!(is_right(&choice(), &answer.conclusion), Some(false), "{text:?}");
        }
    }
}
