//! The table: a line for each sentence, after RFC 4180 in UTF-8.
//!
//! A spreadsheet takes what begins with `=`, `+`, `-` or `@` for a formula, and so runs what a stranger wrote: such a text gets a `'` in
//! front of it (OWASP, CSV injection).

use super::Document;
use super::document::{AnswerDocument, CaseDocument, QuestionDocument, SentenceDocument};
use crate::case::utc;

/// What the columns are called.
const COLUMNS: [&str; 22] = [
    "slide",
    "slide name",
    "slide hash",
    "case",
    "question id",
    "question",
    "choices",
    "context",
    "answer id",
    "purpose",
    "package",
    "package hash",
    "stage",
    "sentence",
    "text",
    "verdict",
    "reason",
    "edited",
    "comment",
    "reviewer",
    "judged",
    "log",
];

/// All of it.
pub(super) fn table(document: &Document) -> String {
    let mut out = String::new();
    line(&mut out, COLUMNS.map(str::to_owned));
    for (case, question, answer) in document.answers() {
        for sentence in &answer.sentences {
            line(&mut out, cells(document, case, question, answer, sentence));
        }
    }
    out
}

fn cells(
    document: &Document,
    case: &CaseDocument,
    question: &QuestionDocument,
    answer: &AnswerDocument,
    sentence: &SentenceDocument,
) -> [String; 22] {
    let asked = &question.question;
    let entry = answer.entries.iter().find(|entry| Some(entry.number) == sentence.entry);
    let stamp = answer.record.stamp.as_ref();
    let choices: Vec<String> =
        ('A'..='Z').zip(&asked.choices).map(|(letter, choice)| format!("{letter}) {choice}")).collect();
    [
        case.slide.number.to_string(),
        case.slide.name.clone().unwrap_or_default(),
        case.slide.hash.clone(),
        case.id.0.clone(),
        asked.id.0.clone(),
        asked.text.clone(),
        choices.join("; "),
        asked.context.clone(),
        answer.record.id.0.clone(),
        answer.purpose(),
        stamp.map(|stamp| stamp.package.clone()).unwrap_or_default(),
        stamp.map(|stamp| stamp.package_hash.clone()).unwrap_or_default(),
        sentence.stage.name().to_owned(),
        (sentence.index + 1).to_string(),
        sentence.text.clone(),
        sentence.verdict_words(),
        sentence.reason.map(|reason| reason.name().to_owned()).unwrap_or_default(),
        sentence.edited.clone().unwrap_or_default(),
        sentence.comment.clone(),
        entry.map(|entry| entry.reviewer.clone()).unwrap_or_default(),
        entry.map(|entry| utc(entry.at)).unwrap_or_default(),
        document.log.clone(),
    ]
}

fn line(out: &mut String, cells: [String; 22]) {
    *out += &cells.map(|cell| quoted(&cell)).join(",");
    *out += "\r\n";
}

fn quoted(cell: &str) -> String {
    let is_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let cell = if is_formula { format!("'{cell}") } else { cell.to_owned() };
    if cell.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn formulas_are_texts_and_quotes_are_doubled() {
        for (cell, want) in [
            ("plain", "plain"),
            ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            ("-1,5", "\"'-1,5\""),
            ("say \"no\"\n", "\"say \"\"no\"\"\n\""),
            ("@x", "'@x"),
            ("", ""),
        ] {
            assert_eq!(quoted(cell), want, "{cell:?}");
        }
    }
}
