//! Whether an answer to a row is right: only what its conclusion says counts.
//!
//! Choices and truth values are read by the one function that the reward and the window use too. An open question has no
//! options: its conclusion is held against what the other open questions of its sub-task are answered with.

use std::collections::{BTreeMap, BTreeSet};

use reinpath_model::stage::{StagedAnswer, extract_choice, words};

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

    /// The one label that a conclusion names.
    fn named(&self, row: &Row, conclusion: &str) -> Option<String> {
        let text = words(conclusion);
        let labels = self.open.get(&row.subtask).into_iter().flatten().chain(&row.label);
        let inside: BTreeMap<String, &String> =
            labels.map(|label| (words(label), label)).filter(|(label, _)| text.contains(label)).collect();
        // "few lymphocytes and scant stroma" names "few lymphocytes" too.
        let is_whole = |label: &str| !inside.keys().any(|other| other != label && other.contains(label));
        let mut whole = inside.iter().filter(|(label, _)| is_whole(label));
        match (whole.next(), whole.next()) {
            (Some((_, label)), None) => Some((*label).clone()),
            _ => None,
        }
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
    let (answer, is_well_formed) = StagedAnswer::parse(text);
    let choice = match row.kind {
        RowKind::Open => labels.named(row, &answer.conclusion),
        _ => extract_choice(&answer.conclusion, &options(row)).map(|at| option_name(row, at)),
    };
    let is_right = row.label.as_ref().map(|label| match row.kind {
        RowKind::Open => choice.as_deref().is_some_and(|choice| words(choice) == words(label)),
        _ => choice.as_ref() == Some(label),
    });
    Judged { choice, is_right, has_all_stages: is_well_formed }
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
        let none = conclude(&row(RowKind::Open, &[], None), "few lymphocytes", &labels);
        assert_eq!(none.is_right, None);
    }
}
