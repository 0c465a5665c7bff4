//! What a model that was not trained by this program is told before a question, so that its answer comes in stages.

use serde::{Deserialize, Serialize};

/// Asks for Observation, Analysis and Conclusion.
pub const STAGED: &str = include_str!("../../../assets/prompts/staged.txt");
/// Patho-R1's own words (its repository's README, chain of thought).
pub const THINK: &str = include_str!("../../../assets/prompts/patho-r1.txt");

/// What is said before a question, and how options are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instructions {
    /// The system turn; empty: none, or the chat template's own.
    #[serde(default)]
    pub system: String,
    #[serde(default)]
    pub form: AnswerForm,
    #[serde(default)]
    pub options: OptionMark,
}

impl Instructions {
    /// Whether nothing is said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How a whole answer is built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnswerForm {
    /// Three headings.
    #[default]
    Staged,
    /// `<think>` (Analysis), then `<answer>` (Conclusion).
    Think,
}

/// What stands between an option's letter and its words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptionMark {
    /// `A) glands`
    #[default]
    Bracket,
    /// `A. glands`
    Stop,
}

impl OptionMark {
    /// An option with its letter.
    pub fn line(self, letter: char, option: &str) -> String {
        match self {
            Self::Bracket => format!("{letter}) {option}"),
            Self::Stop => format!("{letter}. {option}"),
        }
    }
}
