//! An answer with what was asked for it, and what of it can be a row.

use reinpath_model::stage::{AnswerStage, StagedAnswer, extract_choice};
use reinpath_training::rows::RowKind;

use super::super::document::{AnswerDocument, CaseDocument, Judgement, QuestionDocument};
use super::super::patches::{Seen, seen};
use crate::review::difference::{self, Piece};

/// An answer with what was asked for it: as the stamp says, since a check of stability asks otherwise than the question.
pub(super) struct Asked<'a> {
    pub answer: &'a AnswerDocument,
    pub question: &'a str,
    pub choices: &'a [String],
    context: &'a str,
    pub slide: &'a str,
    pub patches: Vec<Seen>,
    /// Whether the model read nothing of the conversation, which a row could not repeat.
    pub has_no_history: bool,
    /// What the licence of the model that answered says against learning from it.
    pub terms: Option<&'a str>,
    pub generated: StagedAnswer,
    pub corrected: StagedAnswer,
}

impl<'a> Asked<'a> {
    pub(super) fn of(
        case: &'a CaseDocument,
        question: &'a QuestionDocument,
        answer: &'a AnswerDocument,
    ) -> Self {
        let (asked, stamp) = (&question.question, answer.record.stamp.as_deref());
        let words = stamp.map(|stamp| stamp.question.trim()).filter(|words| !words.is_empty());
        Self {
            answer,
            question: words.unwrap_or(asked.text.trim()),
            choices: if words.is_some() {
                stamp.map_or(&[][..], |stamp| &stamp.choices[..])
            } else {
                &asked.choices
            },
            context: if words.is_some() {
                stamp.map_or("", |stamp| stamp.context.as_str())
            } else {
                &asked.context
            },
            slide: &case.slide.hash,
            patches: seen(asked, &answer.record),
            has_no_history: !asked.has_history && stamp.is_none_or(|stamp| stamp.history.is_empty()),
            terms: stamp.and_then(|stamp| stamp.terms.as_deref()),
            generated: trimmed(&answer.text),
            corrected: trimmed(&answer.corrected),
        }
    }

    /// Why it is no row.
    pub(super) fn fault(&self) -> Result<(), &'static str> {
        let verdicts = || self.answer.sentences.iter().map(|sentence| sentence.verdict);
        if verdicts().any(|verdict| verdict == Some(Judgement::Rejected)) {
            return Err("with a rejected sentence");
        }
        if self.answer.sentences.is_empty() || verdicts().any(|verdict| verdict.is_none()) {
            return Err("not judged to the end");
        }
        if !is_whole(&self.corrected) {
            return Err("without all three stages");
        }
        if !self.has_no_history {
            return Err("for which the model read the conversation");
        }
        Ok(())
    }

    pub(super) fn is_about_the_same(&self, other: &Self) -> bool {
        let pixels = |asked: &Self| -> Vec<Option<String>> {
            asked.patches.iter().map(|patch| patch.pixels.clone()).collect()
        };
        (self.question, self.choices, self.context) == (other.question, other.choices, other.context)
            && other.has_no_history
            && pixels(self) == pixels(other)
    }

    pub(super) fn context(&self) -> Option<String> {
        Some(self.context.trim().to_owned()).filter(|context| !context.is_empty())
    }

    /// A statement is asked without options, and answered by the conclusion's first word.
    pub(super) fn kind(&self) -> RowKind {
        let has = |name: &str| self.choices.iter().any(|choice| choice.eq_ignore_ascii_case(name));
        let is_statement = match self.choices.len() {
            0 => self.truth().is_some(),
            2 => has(TRUE_FALSE[0]) && has(TRUE_FALSE[1]),
            _ => false,
        };
        match self.choices.len() {
            _ if is_statement => RowKind::TrueFalse,
            0 | 1 => RowKind::Open,
            _ => RowKind::Choice,
        }
    }

    pub(super) fn label(&self) -> Option<String> {
        match self.kind() {
            RowKind::TrueFalse if self.choices.is_empty() => self.truth().map(str::to_owned),
            RowKind::TrueFalse => {
                let choice = extract_choice(&self.corrected.conclusion, self.choices)?;
                let named = |name: &&&str| self.choices[choice].eq_ignore_ascii_case(name);
                TRUE_FALSE.iter().find(named).map(|name| (*name).to_owned())
            }
            RowKind::Choice => {
                let choice = extract_choice(&self.corrected.conclusion, self.choices)?;
                ('A'..='Z').nth(choice).map(String::from)
            }
            RowKind::Open | RowKind::Caption => None,
        }
    }

    /// The conclusion's first word, where it says whether a statement is true: as the model's worker reads it.
    fn truth(&self) -> Option<&'static str> {
        let conclusion = self.corrected.conclusion.trim();
        let first = conclusion.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
        TRUE_FALSE.into_iter().find(|word| first.eq_ignore_ascii_case(word))
    }

    /// What the corrections added, as it stands in the corrected text: words that weigh more where a run says so.
    pub(super) fn emphasis(&self) -> Vec<String> {
        let mut parts: Vec<String> = Vec::new();
        for stage in AnswerStage::ALL {
            let mut part = String::new();
            let pieces = difference::words(self.generated.stage(stage), self.corrected.stage(stage));
            for piece in pieces.into_iter().chain([Piece::Same("|")]) {
                match piece {
                    Piece::Added(text) => part += text,
                    // White space between two words that were added belongs to them.
                    Piece::Same(text) if text.trim().is_empty() && !part.is_empty() => part += text,
                    Piece::Same(_) => {
                        let whole = part.trim_matches(|c: char| !c.is_alphanumeric()).to_owned();
                        if !whole.is_empty() && !parts.contains(&whole) {
                            parts.push(whole);
                        }
                        part.clear();
                    }
                    Piece::Removed(_) => {}
                }
            }
        }
        parts
    }
}

/// As conclusions say them.
const TRUE_FALSE: [&str; 2] = ["True", "False"];

/// Whether every stage says something.
pub(super) fn is_whole(answer: &StagedAnswer) -> bool {
    AnswerStage::ALL.iter().all(|stage| !answer.stage(*stage).trim().is_empty())
}

/// As answers are trained: nothing around the text of a stage.
fn trimmed(answer: &StagedAnswer) -> StagedAnswer {
    let mut trimmed = StagedAnswer::default();
    for stage in AnswerStage::ALL {
        answer.stage(stage).trim().clone_into(trimmed.stage_mut(stage));
    }
    trimmed
}
