//! An answer as it comes: from tokens to text, stages and events.

use crate::detokeniser::Detokeniser;
use crate::event::AskEvent;
use crate::reinpath::{Error, ReinPath};
use crate::sampler::Drawn;
use crate::stage::{AnswerStage, Piece, StageParser, StagedAnswer};

/// From tokens to events.
pub(super) struct Writer<'a> {
    detokeniser: Detokeniser<'a>,
    pub(super) parser: StageParser,
    pub(super) answer: StagedAnswer,
    /// All text, headings and tags included.
    pub(super) raw: String,
    stage: Option<AnswerStage>,
    pub(super) count: usize,
    last: Option<Drawn>,
    events: &'a mut dyn FnMut(AskEvent),
}

impl<'a> Writer<'a> {
    pub(super) fn new(model: &'a ReinPath, events: &'a mut dyn FnMut(AskEvent)) -> Self {
        Self {
            detokeniser: Detokeniser::new(model.tokenizer.tokenizer()),
            parser: StageParser::of(model.manifest().instructions.form),
            answer: StagedAnswer::default(),
            raw: String::new(),
            stage: None,
            count: 0,
            last: None,
            events,
        }
    }

    pub(super) fn push(&mut self, drawn: Drawn) -> Result<(), Error> {
        self.count += 1;
        self.last = Some(drawn);
        let text = self.detokeniser.push(drawn.id)?;
        self.take(&text);
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<(), Error> {
        let text = self.detokeniser.finish()?;
        self.take(&text);
        let pieces = self.parser.finish();
        self.send(pieces);
        Ok(())
    }

    fn take(&mut self, text: &str) {
        self.raw.push_str(text);
        let pieces = self.parser.push(text);
        self.send(pieces);
    }

    /// Text that was held back is sent with the token that released it.
    fn send(&mut self, pieces: Vec<Piece>) {
        for piece in pieces {
            match piece {
                Piece::Stage(stage) => {
                    self.stage = Some(stage);
                    (self.events)(AskEvent::Stage { stage });
                }
                Piece::Text(text) => {
                    if let Some(stage) = self.stage {
                        self.answer.stage_mut(stage).push_str(&text);
                    }
                    let logprob = self.last.map_or(0.0, |t| t.logprob);
                    let index = self.count.saturating_sub(1);
                    (self.events)(AskEvent::Token { index, stage: self.stage, text, logprob });
                }
            }
        }
    }
}
