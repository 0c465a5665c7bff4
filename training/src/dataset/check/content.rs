//! What a row says, held against itself, the sub-tasks, and the length that a model reads.

use reinpath_model::stage::{extract_choice, is_strictly_formatted};

use super::{CheckOptions, FindingKind, Found, Place};
use crate::dataset::source::missing_stage;
use crate::dataset::text::{Measure, answer_text, emphasised};
use crate::rows::{Row, RowAnswer, RowKind};

/// Stands for a patch in a prompt (`prompt.rs` of the model).
const IMAGE: &str = "<image>";
/// Characters of a conclusion that are quoted.
const QUOTED: usize = 60;

/// The row's length in tokens, where it can be told, and what was found.
pub(super) fn look(line: usize, row: &Row, options: &CheckOptions<'_>) -> (Option<usize>, Vec<Found>) {
    let mut found = Vec::new();
    let mut tell = |kind, detail: String| found.push((kind, Place::new(line, row, detail)));
    if let Some(what) = image_mark(row) {
        tell(FindingKind::ImageMark, format!("the {what} contains {IMAGE}"));
    }
    look_at_answer(row, &mut tell);
    if let Some(choice) = repeated_choice(&row.choices) {
        tell(FindingKind::RepeatedChoice, format!("“{}” is there twice", row.choices[choice].trim()));
    }
    if let Some(name) = row.subtask.as_deref().filter(|name| options.subtasks.get(name).is_none()) {
        tell(FindingKind::UnknownSubtask, format!("“{name}”"));
    }
    let length = options.measure.and_then(|measure| look_at_length(row, measure, &mut tell));
    (length, found)
}

fn look_at_answer(row: &Row, tell: &mut impl FnMut(FindingKind, String)) {
    let text = answer_text(row).unwrap_or_default();
    if row.kind == RowKind::Caption {
        if text.trim().is_empty() {
            tell(FindingKind::WithoutText, "the caption has no text".to_owned());
        }
    } else if let Some(missing) = missing_stage(row) {
        tell(FindingKind::WithoutStages, missing.to_owned());
    } else if !is_strictly_formatted(&text) {
        let detail = "a stage's text holds a heading of its own";
        tell(FindingKind::Unformatted, detail.to_owned());
    }
    if let Some(detail) = other_conclusion(row) {
        tell(FindingKind::OtherConclusion, detail);
    }
    for part in &row.emphasis {
        if emphasised(&text, std::slice::from_ref(part)).is_empty() {
            tell(FindingKind::StrayEmphasis, format!("“{}”", quoted(part)));
        }
    }
}

fn look_at_length(
    row: &Row,
    measure: &dyn Measure,
    tell: &mut impl FnMut(FindingKind, String),
) -> Option<usize> {
    let lengths = match measure.lengths(row) {
        Ok(lengths) => lengths,
        Err(reason) => {
            tell(FindingKind::TooLong, format!("its length cannot be told: {reason}"));
            return None;
        }
    };
    let (length, limit) = (lengths.prompt + lengths.answer, measure.limit());
    if length > limit {
        let detail =
            format!("{length} tokens (prompt {}, answer {}) of {limit}", lengths.prompt, lengths.answer);
        tell(FindingKind::TooLong, detail);
    }
    if lengths.answer > measure.answer_limit() {
        let detail = format!("its answer has {} tokens of {}", lengths.answer, measure.answer_limit());
        tell(FindingKind::LongAnswer, detail);
    }
    Some(length)
}

fn image_mark(row: &Row) -> Option<&'static str> {
    let has_mark = |text: &Option<String>| text.as_ref().is_some_and(|text| text.contains(IMAGE));
    if has_mark(&row.question) {
        Some("question")
    } else if has_mark(&row.context) {
        Some("context")
    } else {
        row.choices.iter().any(|choice| choice.contains(IMAGE)).then_some("choice")
    }
}

/// The second of two equal choices.
fn repeated_choice(choices: &[String]) -> Option<usize> {
    let plain = |choice: &String| choice.trim().to_lowercase();
    (1..choices.len()).find(|&at| choices[..at].iter().any(|other| plain(other) == plain(&choices[at])))
}

/// What a conclusion that does not name the label names instead.
fn other_conclusion(row: &Row) -> Option<String> {
    let (Some(RowAnswer::Staged(staged)), Some(label)) = (&row.answer, &row.label) else { return None };
    let names = ["True".to_owned(), "False".to_owned()];
    let (choices, wanted) = match row.kind {
        RowKind::Choice => {
            let letter = label.bytes().next().unwrap_or_default();
            (row.choices.as_slice(), usize::from(letter.saturating_sub(b'A')))
        }
        RowKind::TrueFalse => (names.as_slice(), usize::from(label == "False")),
        RowKind::Open | RowKind::Caption => return None,
    };
    let named = extract_choice(&staged.conclusion, choices);
    (named != Some(wanted))
        .then(|| format!("the label is {label}, the conclusion “{}”", quoted(&staged.conclusion)))
}

/// The beginning of a text, in one line.
fn quoted(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= QUOTED {
        return line;
    }
    line.chars().take(QUOTED).chain(['…']).collect()
}
