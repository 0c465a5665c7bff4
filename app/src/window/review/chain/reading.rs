//! The answer in view as a chain, read when something of it changes and kept between frames.

use reinpath_model::stage::{AnswerStage, StagedAnswer};

use super::super::super::state::AppState;
use super::super::Shown;
use crate::case::{Answer, Id};
use crate::chain::{Chain, Source};

/// An answer's text and what was read from it.
#[derive(Default)]
pub(super) struct Reading {
    read: Read,
    /// What it was read from.
    answer: Option<Id>,
    tokens: usize,
    revision: u64,
    unsure_below: u8,
}

/// What there is to draw.
#[derive(Default)]
pub(super) struct Read {
    pub(super) text: StagedAnswer,
    /// What was written before the first heading.
    pub(super) preamble: String,
    pub(super) chain: Chain,
}

impl Reading {
    /// Reads what is new of the answer in view: all of it where it is another one, or is read by other rules.
    pub(super) fn of(&mut self, state: &AppState, shown: Shown<'_>) -> &Read {
        let (revision, unsure_below) = (state.review.chain.revision, state.settings.review.unsure_below);
        let answer = shown.answer;
        let is_same = self.answer.as_ref() == Some(&answer.id)
            && (self.revision, self.unsure_below) == (revision, unsure_below)
            && self.tokens <= answer.tokens.len();
        if !is_same {
            *self = Self { answer: Some(answer.id.clone()), revision, unsure_below, ..Self::default() };
        }
        if self.tokens < answer.tokens.len() {
            self.take(state, answer, &shown.question.choices);
        }
        &self.read
    }

    /// Takes the tokens that were written since.
    fn take(&mut self, state: &AppState, answer: &Answer, choices: &[String]) {
        let mut from: Option<AnswerStage> = None;
        for token in &answer.tokens[self.tokens..] {
            match token.stage {
                Some(stage) => {
                    self.read.text.stage_mut(stage).push_str(&token.text);
                    from = Some(from.map_or(stage, |first| first.min(stage)));
                }
                None => self.read.preamble.push_str(&token.text),
            }
        }
        self.tokens = answer.tokens.len();
        let Some(from) = from else { return };
        let source = Source {
            text: &self.read.text,
            tokens: &answer.tokens,
            glossary: &state.review.chain.glossary,
            unsure_below: self.unsure_below,
            choices,
        };
        self.read.chain.go_on(from, &source);
    }
}
