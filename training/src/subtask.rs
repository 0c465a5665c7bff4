//! The sub-tasks that questions belong to: four domains and ten sub-tasks as shipped, any number as edited.
//!
//! Read from `subtasks.toml` (`../shared/design/formats.md`, Sub-tasks). Nothing here knows a name: the phantom
//! generator keeps its own mapping from names to what it draws.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The file as shipped.
const SHIPPED: &str = include_str!("../../assets/subtasks.toml");

/// The version of the format that this program reads.
const FORMAT: u32 = 1;

/// The gap that a true/false wording leaves for its statement.
const STATEMENT: &str = "{statement}";

/// What kind of answer a question asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuestionKind {
    /// One of several options, named by its letter.
    Choice,
    /// Whether a statement is true.
    TrueFalse,
    /// Free text.
    Open,
}

impl QuestionKind {
    /// Every kind.
    pub const ALL: &[Self] = &[Self::Choice, Self::TrueFalse, Self::Open];

    /// Its name in files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Choice => "choice",
            Self::TrueFalse => "true_false",
            Self::Open => "open",
        }
    }
}

/// Why a file of sub-tasks cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SubtaskError {
    #[error("cannot read the sub-tasks: {source}: {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the sub-tasks are not valid TOML: {}: {}", source.message(), path.display())]
    Parse { path: PathBuf, source: toml::de::Error },
    #[error("the sub-tasks have format {found}, this program reads {FORMAT}: {}", path.display())]
    Format { path: PathBuf, found: u32 },
    #[error("{reason}: {}", path.display())]
    Content { path: PathBuf, reason: String },
}

/// All sub-tasks, by domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subtasks {
    format: u32,
    /// Questions about a field as a whole, which belong to no sub-task.
    #[serde(default)]
    pub general: Vec<String>,
    #[serde(rename = "domain")]
    pub domains: Vec<Domain>,
}

/// A group of sub-tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    pub name: String,
    #[serde(default)]
    pub description: String,
    #[serde(rename = "subtask")]
    pub subtasks: Vec<Subtask>,
}

/// One thing that can be asked, and the wordings of its questions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subtask {
    pub name: String,
    #[serde(default)]
    pub description: String,
    /// The kinds of question that make sense for it.
    pub kinds: Vec<QuestionKind>,
    #[serde(default)]
    pub open: Vec<String>,
    #[serde(default)]
    pub choice: Vec<String>,
    /// Each holds `{statement}` once.
    #[serde(default)]
    pub true_false: Vec<String>,
}

impl Subtask {
    /// The wordings for one kind of question.
    pub fn templates(&self, kind: QuestionKind) -> &[String] {
        match kind {
            QuestionKind::Choice => &self.choice,
            QuestionKind::TrueFalse => &self.true_false,
            QuestionKind::Open => &self.open,
        }
    }
}

impl Subtasks {
    /// The sub-tasks that ship with the program.
    pub fn shipped() -> Self {
        Self::parse(SHIPPED, Path::new("subtasks.toml")).expect("the embedded sub-tasks are read by a test")
    }

    /// Reads a user's file.
    pub fn read(path: &Path) -> Result<Self, SubtaskError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SubtaskError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Parses and checks the text of a file; `path` is named in errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self, SubtaskError> {
        let subtasks: Self =
            toml::from_str(text).map_err(|source| SubtaskError::Parse { path: path.to_owned(), source })?;
        if subtasks.format != FORMAT {
            return Err(SubtaskError::Format { path: path.to_owned(), found: subtasks.format });
        }
        subtasks.check().map_err(|reason| SubtaskError::Content { path: path.to_owned(), reason })?;
        Ok(subtasks)
    }

    /// Every sub-task, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Subtask> {
        self.domains.iter().flat_map(|domain| &domain.subtasks)
    }

    /// The sub-task of that name.
    pub fn get(&self, name: &str) -> Option<&Subtask> {
        self.iter().find(|subtask| subtask.name == name)
    }

    fn check(&self) -> Result<(), String> {
        let mut names = std::collections::BTreeSet::new();
        for subtask in self.iter() {
            let name = &subtask.name;
            if name.trim().is_empty() {
                return Err("a sub-task has no name".to_owned());
            }
            if !names.insert(name) {
                return Err(format!("the sub-task “{name}” is there twice"));
            }
            for &kind in &subtask.kinds {
                if subtask.templates(kind).is_empty() {
                    let kind = kind.name();
                    return Err(format!("the sub-task “{name}” allows {kind} but has no wording for it"));
                }
            }
            if subtask.true_false.iter().any(|t| t.matches(STATEMENT).count() != 1) {
                return Err(format!("a true_false wording of “{name}” does not hold {STATEMENT} once"));
            }
        }
        if names.is_empty() {
            return Err("there is no sub-task".to_owned());
        }
        Ok(())
    }
}

/// Puts a statement into a true/false wording.
pub fn with_statement(template: &str, statement: &str) -> String {
    template.replacen(STATEMENT, statement, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_file_has_four_domains_ten_subtasks_and_six_wordings_of_each_kind() {
        let subtasks = Subtasks::shipped();
        assert_eq!(subtasks.domains.len(), 4);
        assert_eq!(subtasks.iter().count(), 10);
        assert!(subtasks.general.len() >= 24);
        for subtask in subtasks.iter() {
            for &kind in QuestionKind::ALL {
                assert!(subtask.kinds.contains(&kind));
                assert!(subtask.templates(kind).len() >= 6, "{} {}", subtask.name, kind.name());
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_the_file_last() {
        let error = |text: &str| Subtasks::parse(text, Path::new("mine.toml")).unwrap_err().to_string();
        assert!(error("format = 2\ndomain = []").contains("format 2"));
        assert!(error("format = 1\ndomain = []").contains("no sub-task"));
        let twice = "[[domain.subtask]]\nname = \"a\"\nkinds = [\"open\"]\nopen = [\"What?\"]\n";
        assert!(error(&format!("format = 1\n[[domain]]\nname = \"d\"\n{twice}{twice}")).contains("twice"));
        let gap = "[[domain.subtask]]\nname = \"a\"\nkinds = []\ntrue_false = [\"True?\"]\n";
        let message = error(&format!("format = 1\n[[domain]]\nname = \"d\"\n{gap}"));
        assert!(message.contains(STATEMENT) && message.ends_with("mine.toml"), "{message}");
        let kind = "[[domain.subtask]]\nname = \"a\"\nkinds = [\"choice\"]\n";
        assert!(error(&format!("format = 1\n[[domain]]\nname = \"d\"\n{kind}")).contains("no wording"));
        assert!(error("format = ").ends_with("mine.toml"));
    }
}
