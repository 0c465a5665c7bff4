//! What an answer earns (paper, section 2.2, equations 1 to 3): a sum of weighted parts, each a plain function.
//!
//! | part | value | weight |
//! |---|---|---|
//! | `format` | 1 for the three headings, each once, in order, with enough words below them | `format` (paper: 0.5) |
//! | `accuracy` | 1 for the right conclusion, where asked for only if the analysis leads to it | `accuracy` (paper: 2) |
//! | `semantic` | cosine of the observation and the reference observation | `semantic` (paper: 1) |
//! | `external` | what another program says | `external_weight` |
//! | `repetition` | 0 to −1, the share of runs of words that were there before | `gaming.repetition` |
//! | `overlong` | 0 to −1 over the last tokens that an answer may have | `overlong.weight` |
//!
//! What cannot be scored is no zero: the part is absent. A reference without observation, or without anything to compare
//! a conclusion with, leaves the part out for all answers to its question. Where the external program fails on one
//! answer, its part counts for none of the answers to that question, since only sums of the same parts can be compared.

mod accuracy;
mod external;
mod format;
mod gaming;
#[cfg(feature = "engine")]
mod judge;
mod overlong;
mod repetition;
#[cfg(feature = "engine")]
mod semantic;

use std::collections::BTreeMap;

use reinpath_model::event::Stop;
use reinpath_model::stage::StagedAnswer;

use crate::rows::{Row, RowAnswer, RowKind};

pub use self::accuracy::{chosen, is_right, says_label};
pub use self::external::{External, Verdict};
pub use self::format::is_formatted;
pub use self::gaming::is_supported;
#[cfg(feature = "engine")]
pub use self::judge::Judge;
pub use self::overlong::overlong;
pub use self::repetition::repeated_share;

/// Names of the parts of a reward, as in rollout records and, after `reward_`, among a step's measures.
pub mod part {
    pub const FORMAT: &str = "format";
    pub const ACCURACY: &str = "accuracy";
    pub const SEMANTIC: &str = "semantic";
    pub const EXTERNAL: &str = "external";
    pub const REPETITION: &str = "repetition";
    pub const OVERLONG: &str = "overlong";
}

/// What answers are held against.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Id of the row.
    pub id: String,
    pub kind: RowKind,
    pub text: String,
    /// Options without letters.
    pub choices: Vec<String>,
    /// A letter, `True` or `False`, or a name.
    pub label: Option<String>,
    /// The right answer; of plain text the conclusion is the whole.
    pub reference: Option<StagedAnswer>,
    /// Clinical context.
    pub context: Option<String>,
    /// Paths as they can be opened from where the program runs.
    pub images: Vec<String>,
}

impl Question {
    /// The question of a row, whose images lie at these paths.
    pub fn new(row: &Row, images: Vec<String>) -> Self {
        let reference = row.answer.as_ref().map(|answer| match answer {
            RowAnswer::Staged(staged) => staged.clone(),
            RowAnswer::Text { text } => match StagedAnswer::parse(text) {
                (staged, true) => staged,
                (_, false) => StagedAnswer { conclusion: text.clone(), ..StagedAnswer::default() },
            },
        });
        Self {
            id: row.id.clone(),
            kind: row.kind,
            text: row.question.clone().unwrap_or_default(),
            choices: row.choices.clone(),
            label: row.label.clone(),
            reference,
            context: row.context.clone(),
            images,
        }
    }
}

/// An answer as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    pub text: String,
    /// Length, with the token that ends it.
    pub tokens: usize,
    pub stop: Stop,
}

/// What an answer earned.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// Each part by its name in [`part`], unweighted; one that could not be scored is absent.
    pub parts: BTreeMap<String, f64>,
    /// The weighted sum of the parts that were scored for every answer to the question.
    pub reward: f64,
    /// Whether the conclusion is right, however it was arrived at; `false` where nothing can be said.
    pub is_right: bool,
    /// Why the external program could not score it.
    pub unscored: Option<String>,
}

/// Why answers cannot be scored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the semantic reward needs a text encoder: the package brings none and the setting \
         reward.text_encoder names none"
    )]
    NoEncoder,
    #[error("{0}")]
    Setting(String),
    #[error("the cosine can only be rescaled with the observations of at least two questions that differ")]
    NoUsual,
    #[cfg(feature = "engine")]
    #[error(transparent)]
    Encoder(#[from] reinpath_model::sentence::Error),
    #[error("the command that scores answers cannot be split into words: {0}")]
    Words(String),
    #[error("the program that scores answers cannot be started: {source}: {program}")]
    Start { source: std::io::Error, program: String },
    #[error(
        "the program that scores answers failed {failures} times in a row, last because {reason}: {program}"
    )]
    External { failures: usize, reason: String, program: String },
}

/// A question for the tests of the parts.
#[cfg(test)]
mod tests_support {
    use super::*;

    pub(super) fn choice() -> Question {
        Question {
            id: "m1".to_owned(),
            kind: RowKind::Choice,
            text: "What is the architecture?".to_owned(),
            choices: ["glands", "tumour nests", "fat", "mucin"].map(String::from).into(),
            label: Some("B".to_owned()),
            reference: Some(StagedAnswer {
                observation: "Tumour nests with several mitoses.".to_owned(),
                analysis: "Solid rounded groups mean tumour nests, option B.".to_owned(),
                conclusion: "B) tumour nests".to_owned(),
            }),
            context: None,
            images: vec!["img/0003.png".to_owned()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_becomes_what_answers_are_held_against() {
        let row = Row::parse(
            r#"{"id":"a","images":["x.png"],"kind":"open","question":"What?","answer":{"text":"Mucin."},"label":"mucin"}"#,
        )
        .unwrap();
        let question = Question::new(&row, vec!["data/x.png".to_owned()]);
        assert_eq!(question.reference.unwrap().conclusion, "Mucin.");
        let staged = "[Observation]\nPools.\n[Analysis]\nPale.\n[Conclusion]\nMucin.";
        let row = Row { answer: Some(RowAnswer::Text { text: staged.to_owned() }), ..row };
        let reference = Question::new(&row, Vec::new()).reference.unwrap();
        assert_eq!((reference.observation.trim(), reference.conclusion.trim()), ("Pools.", "Mucin."));
    }
}
