//! What several tests of runs train on.

use reinpath_model::stage::StagedAnswer;
use reinpath_training::rows::{Row, RowAnswer, RowKind};

/// A question with a staged answer about an image; glands and nests take turns.
pub(crate) fn staged_row(id: &str, number: usize, image: String) -> Row {
    let (label, name) = [("A", "glands"), ("B", "nests")][number % 2];
    let answer = StagedAnswer {
        observation: format!("The field shows {name}."),
        analysis: format!("Field {number} fits {label}."),
        conclusion: format!("{label}) {name}"),
    };
    Row {
        question: Some("What is it?".to_owned()),
        choices: vec!["glands".to_owned(), "nests".to_owned()],
        answer: Some(RowAnswer::Staged(answer)),
        label: Some(label.to_owned()),
        ..Row::new(format!("{id} {number}"), image, RowKind::Choice)
    }
}
