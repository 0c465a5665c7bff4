//! Verdicts: what a reviewer decided about an answer, a stage or a sentence of it, and why.

use std::collections::BTreeSet;

use reinpath_model::prose;
use reinpath_model::stage::{AnswerStage, StagedAnswer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::case::Id;

/// What a verdict is about. Sentences are counted from 0 within their stage, as `reinpath_model::prose::split` has them in the text
/// that was generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    Answer,
    Stage(AnswerStage),
    Sentence(AnswerStage, usize),
}

impl Target {
    /// Whether what is decided about this holds of `other` as well: of a stage's sentences, and of all of an answer.
    pub fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::Answer, _) => true,
            (Self::Stage(stage), Self::Sentence(of, _)) => stage == of,
            _ => self == other,
        }
    }
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Accept,
    Reject,
    /// What it should say; of a whole stage, all of the stage's text.
    Edit(String),
}

/// Why something was edited or rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    NotVisible,
    WrongFeature,
    WrongPlace,
    WrongInference,
    UnsupportedConclusion,
    Wording,
}

impl Reason {
    /// In the order of their keys, 1 to 6.
    pub const ALL: [Self; 6] = [
        Self::NotVisible,
        Self::WrongFeature,
        Self::WrongPlace,
        Self::WrongInference,
        Self::UnsupportedConclusion,
        Self::Wording,
    ];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotVisible => "not visible",
            Self::WrongFeature => "wrong feature",
            Self::WrongPlace => "wrong place",
            Self::WrongInference => "wrong inference",
            Self::UnsupportedConclusion => "unsupported conclusion",
            Self::Wording => "wording",
        }
    }
}

/// A decision with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    pub target: Target,
    pub decision: Decision,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Empty when there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

/// What an entry of the log does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Decide(Verdict),
    /// Takes back the entry with this number.
    Undo(u64),
}

/// What is to be appended to the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Draft {
    pub answer: Id,
    /// Empty where the reviewer gave none.
    pub reviewer: String,
    pub action: Action,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// From 1, without gaps.
    pub number: u64,
    /// Milliseconds since 1970.
    pub at: i64,
    pub answer: Id,
    /// BLAKE3 of the answer as it is stored, so that no other answer can take its place.
    pub answer_hash: String,
    pub reviewer: String,
    pub action: Action,
}

/// Every sentence of an answer as it was generated: its stage, its place in it, and its text.
pub fn sentences(text: &StagedAnswer) -> Vec<(AnswerStage, usize, String)> {
    let of = |stage: AnswerStage| {
        let text = text.stage(stage);
        let ranges = prose::split(text).into_iter().enumerate();
        ranges.map(move |(index, range)| (stage, index, text[range].to_owned()))
    };
    AnswerStage::ALL.into_iter().flat_map(of).collect()
}

/// What holds of all that was decided about one answer: the decisions that were not taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// In the order in which they were made.
    held: Vec<Held>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    /// `None`: the log does not have it yet.
    number: Option<u64>,
    reviewer: String,
    verdict: Verdict,
}

impl Standing {
    /// From what the log says of an answer and what is still to be appended about it, both in their order.
    pub fn of(entries: &[Entry], waiting: &[Draft]) -> Self {
        let entries = entries.iter().map(|entry| (Some(entry.number), &entry.reviewer, &entry.action));
        let waiting = waiting.iter().map(|draft| (None, &draft.reviewer, &draft.action));
        let (mut undone, mut held) = (BTreeSet::new(), Vec::new());
        // From the end, so that taking back what took something back gives it back.
        for (number, reviewer, action) in entries.chain(waiting).rev() {
            if number.is_some_and(|number| undone.contains(&number)) {
                continue;
            }
            match action {
                Action::Undo(number) => {
                    undone.insert(*number);
                }
                Action::Decide(verdict) => {
                    held.push(Held { number, reviewer: reviewer.clone(), verdict: verdict.clone() });
                }
            }
        }
        held.reverse();
        Self { held }
    }

    /// What was decided last about it: of a sentence, the newest of its own, its stage's and the answer's.
    pub fn at(&self, target: Target) -> Option<&Verdict> {
        self.newest(target).map(|held| &held.verdict)
    }

    /// The number of the entry that [`Self::at`] is from; `None` also where the log does not have it yet.
    pub fn number_at(&self, target: Target) -> Option<u64> {
        self.newest(target).and_then(|held| held.number)
    }

    fn newest(&self, target: Target) -> Option<&Held> {
        self.held.iter().rev().find(|held| held.verdict.target.covers(target))
    }

    /// Whether every sentence of the answer was judged; an answer without sentences never is.
    pub fn is_complete(&self, text: &StagedAnswer) -> bool {
        let sentences = sentences(text);
        let is_judged = |(stage, index, _): &(AnswerStage, usize, String)| {
            self.at(Target::Sentence(*stage, *index)).is_some()
        };
        !sentences.is_empty() && sentences.iter().all(is_judged)
    }

    /// Whether anything was decided that was not taken back.
    pub fn has_any(&self) -> bool {
        !self.held.is_empty()
    }

    /// The number of the newest decision that the log has and that was not taken back.
    pub fn last(&self) -> Option<u64> {
        self.held.iter().rev().find_map(|held| held.number)
    }

    /// The same among one reviewer's own, with what it is about.
    pub fn last_by(&self, reviewer: &str) -> Option<(u64, Target)> {
        let mut own = self.held.iter().rev().filter(|held| held.reviewer == reviewer);
        own.find_map(|held| held.number.map(|number| (number, held.verdict.target)))
    }

    /// The newest decision about each target, in the order in which they were made.
    pub fn verdicts(&self) -> Vec<&Verdict> {
        let (mut seen, mut newest) = (BTreeSet::new(), Vec::new());
        for held in self.held.iter().rev() {
            if seen.insert(held.verdict.target) {
                newest.push(&held.verdict);
            }
        }
        newest.reverse();
        newest
    }
}

/// The answer as its reviewer wants it: edits in place, rejected sentences left out, all else as it was generated.
///
/// A stage that was edited as a whole has that text; what was decided afterwards about one of its sentences holds where the new text still
/// has this sentence word for word.
pub fn corrected(text: &StagedAnswer, standing: &Standing) -> StagedAnswer {
    let mut corrected = StagedAnswer::default();
    for stage in AnswerStage::ALL {
        *corrected.stage_mut(stage) = corrected_stage(text.stage(stage), stage, standing);
    }
    corrected
}

fn corrected_stage(text: &str, stage: AnswerStage, standing: &Standing) -> String {
    let decided = |index: usize| standing.at(Target::Sentence(stage, index));
    let whole = standing.at(Target::Stage(stage)).and_then(|verdict| match &verdict.decision {
        Decision::Edit(whole) if verdict.target == Target::Stage(stage) => Some(whole),
        _ => None,
    });
    let Some(whole) = whole else {
        return rewritten(text, |index, _| {
            let verdict = decided(index)?;
            // No text can be that of every sentence.
            let is_of_all = verdict.target == Target::Answer && matches!(verdict.decision, Decision::Edit(_));
            (!is_of_all).then_some(&verdict.decision)
        });
    };
    let ranges = prose::split(text);
    rewritten(whole, |_, sentence| {
        let index = ranges.iter().position(|range| &text[range.clone()] == sentence)?;
        let newer = decided(index).filter(|verdict| verdict.target == Target::Sentence(stage, index));
        newer.map(|verdict| &verdict.decision)
    })
}

/// A text with its sentences as they were decided; the white space between those that stay is kept.
fn rewritten<'a>(text: &str, decided: impl Fn(usize, &str) -> Option<&'a Decision>) -> String {
    let ranges = prose::split(text);
    let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else { return text.to_owned() };
    let (lead, tail) = (&text[..first.start], &text[last.end..]);
    let (mut out, mut end) = (String::new(), first.start);
    for (index, range) in ranges.iter().enumerate() {
        let (gap, sentence) = (&text[end..range.start], &text[range.clone()]);
        end = range.end;
        let kept = match decided(index, sentence) {
            Some(Decision::Reject) => continue,
            Some(Decision::Edit(edited)) => edited,
            Some(Decision::Accept) | None => sentence,
        };
        out.push_str(if out.is_empty() { lead } else { gap });
        out.push_str(kept);
    }
    if !out.is_empty() {
        out.push_str(tail);
    }
    out
}

#[cfg(test)]
mod tests;
