//! Whether an answer to a row is right: only what its conclusion says counts.
//!
//! Choices and truth values are read by the one function that the reward and the window use too. An open conclusion is
//! right by the reward's own rule (`reward/accuracy.rs`); what a wrong one says instead is looked for among the answers to
//! the other open questions of its sub-task.

use std::collections::{BTreeMap, BTreeSet};

use reinpath_model::stage::{StagedAnswer, extract_choice};

use crate::reward::{Question, is_right, says_label};
use crate::rows::{Row, RowKind};

/// The options of a true/false question.
const TRUE_FALSE: [&str; 2] = ["True", "False"];

/// What was read in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The letter, truth value or name that the conclusion gives; `None` where it gives none.
    pub choice: Option<String>,
    /// `None` where the row has no label.
    pub is_right: Option<bool>,
    /// All three stages, once each, in order, each with text.
    pub has_all_stages: bool,
}

/// What open questions are answered with, by sub-task.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    open: BTreeMap<Option<String>, BTreeSet<String>>,
}

impl Labels {
    /// The labels of the open questions among these rows.
    pub fn of<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Self {
        let mut open = BTreeMap::<_, BTreeSet<String>>::new();
        for row in rows.into_iter().filter(|row| row.kind == RowKind::Open) {
            open.entry(row.subtask.clone()).or_default().extend(row.label.clone());
        }
        Self { open }
    }

    /// The label that a conclusion says.
    fn said(&self, row: &Row, conclusion: &str) -> Option<String> {
        let mut labels = self.open.get(&row.subtask).into_iter().flatten();
        labels.find(|label| says_label(conclusion, label)).cloned()
    }
}

/// The options of a row as its conclusion names them; empty for an open question.
pub fn options(row: &Row) -> Vec<String> {
    match row.kind {
        RowKind::Choice => row.choices.clone(),
        RowKind::TrueFalse => TRUE_FALSE.map(str::to_owned).to_vec(),
        RowKind::Open | RowKind::Caption => Vec::new(),
    }
}

/// The name of the option at this place: a letter, or `True` or `False`.
pub fn option_name(row: &Row, at: usize) -> String {
    match row.kind {
        RowKind::TrueFalse => TRUE_FALSE.get(at).copied().unwrap_or_default().to_owned(),
        _ => char::from(b'A' + at.min(25) as u8).to_string(),
    }
}

/// Reads an answer to a row.
pub fn judge(row: &Row, text: &str, labels: &Labels) -> Judged {
    let (answer, has_all_stages) = StagedAnswer::parse(text);
    if row.kind == RowKind::Open {
        return Judged { has_all_stages, ..judge_open(row, &answer.conclusion, labels) };
    }
    let choice = extract_choice(&answer.conclusion, &options(row)).map(|at| option_name(row, at));
    let is_right = row.label.as_ref().map(|label| choice.as_ref() == Some(label));
    Judged { choice, is_right, has_all_stages }
}

fn judge_open(row: &Row, conclusion: &str, labels: &Labels) -> Judged {
    let is_right = row.label.as_ref().and_then(|_| is_right(&Question::new(row, Vec::new()), conclusion));
    // In the words of the reference, it means the label without saying it.
    let own = row.label.clone().filter(|_| is_right == Some(true));
    Judged { choice: own.or_else(|| labels.said(row, conclusion)), is_right, has_all_stages: false }
}

/// What balanced accuracy averages over: the sub-task and the right answer in words.
pub fn class(row: &Row) -> Option<String> {
    let label = row.label.as_deref()?;
    let name = match (row.kind, label.bytes().next()) {
        (RowKind::Choice, Some(letter)) => {
            row.choices.get(letter.checked_sub(b'A')? as usize).map_or(label, String::as_str)
        }
        _ => label,
    };
    Some(match &row.subtask {
        Some(subtask) => format!("{subtask}: {name}"),
        None => name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::RowAnswer;

    fn row(kind: RowKind, choices: &[&str], label: Option<&str>) -> Row {
        Row {
            subtask: Some("inflammation".to_owned()),
            question: Some("What is seen?".to_owned()),
            choices: choices.iter().map(|&c| c.to_owned()).collect(),
            label: label.map(str::to_owned),
            ..Row::new("a", "a.png", kind)
        }
    }

    fn conclude(row: &Row, conclusion: &str, labels: &Labels) -> Judged {
        judge(row, &format!("[Observation]\nx\n[Analysis]\ny\n[Conclusion]\n{conclusion}"), labels)
    }

    #[test]
    fn a_choice_is_right_by_its_letter_and_unreadable_without_one() {
        let row = row(RowKind::Choice, &["few lymphocytes", "many lymphocytes"], Some("B"));
        let labels = Labels::default();
        let right = conclude(&row, "B) many lymphocytes", &labels);
        assert_eq!(
            right,
            Judged { choice: Some("B".to_owned()), is_right: Some(true), has_all_stages: true }
        );
        assert_eq!(conclude(&row, "A) few lymphocytes", &labels).is_right, Some(false));
        let unread = conclude(&row, "It cannot be assessed.", &labels);
        assert_eq!((unread.choice, unread.is_right), (None, Some(false)));
        let bare = judge(&row, "B) many lymphocytes", &labels);
        assert_eq!(
            (bare.choice, bare.has_all_stages),
            (None, false),
            "text before any heading concludes nothing"
        );
        assert_eq!(class(&row).unwrap(), "inflammation: many lymphocytes");
    }

    #[test]
    fn a_truth_value_is_read_at_the_start() {
        let row = row(RowKind::TrueFalse, &[], Some("False"));
        assert_eq!(conclude(&row, "False, we see few.", &Labels::default()).is_right, Some(true));
        assert_eq!(conclude(&row, "True.", &Labels::default()).is_right, Some(false));
        assert_eq!(class(&row).unwrap(), "inflammation: False");
    }

    #[test]
    fn an_open_conclusion_is_held_against_the_other_answers_of_its_sub_task() {
        let rows = [
            row(RowKind::Open, &[], Some("few lymphocytes")),
            row(RowKind::Open, &[], Some("few lymphocytes and scant stroma")),
            row(RowKind::Open, &[], Some("no lymphocytes")),
        ];
        let labels = Labels::of(&rows);
        let right = |row: &Row, text: &str| conclude(row, text, &labels).is_right.unwrap();
        assert!(right(&rows[0], "The finding is few lymphocytes."));
        assert!(right(&rows[1], "Few lymphocytes and scant stroma."));
        assert!(!right(&rows[0], "Few lymphocytes and scant stroma."), "more is named than is true");
        assert!(!right(&rows[0], "Few lymphocytes or no lymphocytes."), "two answers are none");
        assert!(!right(&rows[2], "Lymphocytes."));
        assert!(!right(&rows[0], "There are not few lymphocytes."), "it says the contrary");
        assert!(!right(&rows[0], "The number cannot be assessed, few lymphocytes."), "it declines");
        let named = |row: &Row, text: &str| conclude(row, text, &labels).choice;
        assert_eq!(named(&rows[0], "The field shows no lymphocytes."), rows[2].label);
        assert_eq!(named(&rows[0], "Few lymphocytes or no lymphocytes."), None);
        let none = conclude(&row(RowKind::Open, &[], None), "few lymphocytes", &labels);
        assert_eq!(none.is_right, None);
    }

    #[test]
    fn an_open_conclusion_in_the_words_of_the_reference_gives_the_label() {
        let answer = StagedAnswer { conclusion: "Hardly any.".to_owned(), ..StagedAnswer::default() };
        let answer = Some(RowAnswer::Staged(answer));
        let row = Row { answer, ..row(RowKind::Open, &[], Some("few lymphocytes")) };
        let judged = conclude(&row, "Hardly any", &Labels::default());
        assert_eq!((judged.choice, judged.is_right), (row.label.clone(), Some(true)));
        assert_eq!(conclude(&row, "Many.", &Labels::default()).is_right, Some(false));
    }
}
