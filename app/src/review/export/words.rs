//! What an export says of an answer and its sentences, in words and numbers that every form shares.

use reinpath_model::stage::AnswerStage;

use super::document::{AnswerDocument, Judgement, Scope, SentenceDocument};
use crate::case::{Purpose, Variation};

impl AnswerDocument {
    /// Its sentences of a stage.
    pub fn of_stage(&self, stage: AnswerStage) -> impl Iterator<Item = &SentenceDocument> {
        self.sentences.iter().filter(move |sentence| sentence.stage == stage)
    }

    /// Whether a stage was edited as a whole, not sentence by sentence.
    pub fn is_rewritten(&self, stage: AnswerStage) -> bool {
        let is_whole = |sentence: &SentenceDocument| {
            sentence.verdict == Some(Judgement::Edited) && sentence.scope != Some(Scope::Sentence)
        };
        self.of_stage(stage).any(is_whole)
    }

    /// How many sentences were accepted, edited, rejected and not judged.
    pub fn counts(&self) -> [usize; 4] {
        let kinds = [Some(Judgement::Accepted), Some(Judgement::Edited), Some(Judgement::Rejected), None];
        kinds.map(|kind| self.sentences.iter().filter(|sentence| sentence.verdict == kind).count())
    }

    /// What it was asked for, in words.
    pub fn purpose(&self) -> String {
        match &self.record.purpose {
            Purpose::Answer => "Answer".to_owned(),
            Purpose::Sample => "Sample".to_owned(),
            Purpose::Replay => "Replay".to_owned(),
            Purpose::Stability(Variation::Repeated { seed }) => format!("Repeated with seed {seed}"),
            Purpose::Stability(Variation::Shuffled { .. }) => "Options in another order".to_owned(),
            Purpose::Stability(Variation::Shifted { x, y }) => format!("Patches shifted by {x}, {y} px"),
            Purpose::Stability(Variation::Turned { degrees }) => format!("Patches turned by {degrees}°"),
        }
    }
}

impl SentenceDocument {
    /// The verdict in words, such as `rejected: not visible`.
    pub fn verdict_words(&self) -> String {
        let word = match self.verdict {
            None => return "not judged".to_owned(),
            Some(Judgement::Accepted) => "accepted",
            Some(Judgement::Edited) => "edited",
            Some(Judgement::Rejected) => "rejected",
        };
        let reason = self.reason.map(|reason| format!(": {}", reason.name())).unwrap_or_default();
        let scope = match self.scope {
            Some(Scope::Stage) => " with its stage",
            Some(Scope::Answer) => " with the answer",
            Some(Scope::Sentence) | None => "",
        };
        format!("{word}{scope}{reason}")
    }
}
