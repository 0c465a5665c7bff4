//! An answer as a chain of sentences: the terms in them, the words the model was unsure of, which sentences rest on which, and where on the
//! patches each looks.
//!
//! Functions of text and numbers alone: the window, exports and stability read answers through them. In reading order: `glossary` (terms),
//! `support` (what rests on what, and what that rule cannot see), `place` (maps).

use std::ops::Range;

use reinpath_model::prose::{split, words};
use reinpath_model::stage::{AnswerStage, StagedAnswer, extract_choice};

use crate::case::Token;

pub mod glossary;
mod place;
mod support;
#[cfg(test)]
mod tests;

pub use place::{Corner, LEAST, corners, index_of, indices_of, is_localised, legend, map_of};

use glossary::Glossary;
use support::Said;

/// An answer's sentences in reading order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chain {
    pub sentences: Vec<Sentence>,
    /// What each of them says: kept, so that of a growing answer only what is new is read.
    said: Vec<Said>,
}

/// A sentence of one stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Sentence {
    pub stage: AnswerStage,
    /// From 0, within its stage.
    pub index: usize,
    /// Its bytes in the text of its stage.
    pub bytes: Range<usize>,
    /// Terms of the glossary in it: bytes in the stage's text, and which of the glossary's terms.
    pub terms: Vec<(Range<usize>, usize)>,
    /// Words in it that were unlikely: bytes in the stage's text, and the probability of the least likely of its tokens.
    pub doubts: Vec<(Range<usize>, f32)>,
    /// The geometric mean of the probabilities of its tokens; `None` where they are not known.
    pub likelihood: Option<f32>,
    /// Which sentences of earlier stages it rests on, by their place in the chain.
    pub rests_on: Vec<usize>,
    /// Whether it rests on something that is observed; always true of an Observation.
    pub is_supported: bool,
}

/// What a chain is read from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    pub text: &'a StagedAnswer,
    /// The answer's tokens with their probabilities; empty where they are not known.
    pub tokens: &'a [Token],
    pub glossary: &'a Glossary,
    /// Words less likely than this, in per cent, are doubts; 0: none.
    pub unsure_below: u8,
    /// The question's options, so that a conclusion's letter counts as the option's text.
    pub choices: &'a [String],
}

impl Chain {
    /// The chain of an answer to a question without options.
    pub fn of(text: &StagedAnswer, tokens: &[Token], glossary: &Glossary, unsure_below: u8) -> Self {
        Self::read(&Source { text, tokens, glossary, unsure_below, choices: &[] })
    }

    /// The chain of an answer.
    pub fn read(source: &Source<'_>) -> Self {
        let mut chain = Self::default();
        chain.go_on(AnswerStage::Observation, source);
        chain
    }

    /// Reads the answer anew from this stage on; what stands in earlier stages must be as it was.
    pub fn go_on(&mut self, from: AnswerStage, source: &Source<'_>) {
        let kept = self.sentences.partition_point(|sentence| sentence.stage < from);
        self.sentences.truncate(kept);
        self.said.truncate(kept);
        for stage in AnswerStage::ALL.into_iter().filter(|stage| *stage >= from) {
            self.read_stage(stage, source);
        }
        self.link();
    }

    fn read_stage(&mut self, stage: AnswerStage, source: &Source<'_>) {
        let text = source.text.stage(stage);
        let likely = Likelihoods::of(stage, text, source.tokens);
        for (index, bytes) in split(text).into_iter().enumerate() {
            let sentence = &text[bytes.clone()];
            let in_stage = |part: Range<usize>| bytes.start + part.start..bytes.start + part.end;
            let found = source.glossary.found_in(sentence).into_iter();
            let terms = found.map(|(part, term)| (in_stage(part), term)).collect();
            let doubts = match source.unsure_below {
                0 => Vec::new(),
                below => likely.doubts(words(sentence).into_iter().map(in_stage), f32::from(below) / 100.0),
            };
            let mut said = Said::of(sentence, source.glossary);
            if stage == AnswerStage::Conclusion
                && index == 0
                && !source.choices.is_empty()
                && let Some(choice) = extract_choice(text, source.choices)
            {
                said.add(Said::of(&source.choices[choice], source.glossary));
            }
            self.said.push(said);
            self.sentences.push(Sentence {
                stage,
                index,
                terms,
                doubts,
                likelihood: likely.mean(&bytes),
                bytes,
                rests_on: Vec::new(),
                is_supported: false,
            });
        }
    }

    /// Finds what each sentence rests on.
    fn link(&mut self) {
        let last_of_analysis = self.sentences.iter().rposition(|s| s.stage == AnswerStage::Analysis);
        for at in 0..self.sentences.len() {
            let stage = self.sentences[at].stage;
            let mut rests_on = Vec::new();
            if stage != AnswerStage::Observation {
                let may_carry = |on: &usize| {
                    let sentence = &self.sentences[*on];
                    sentence.stage < stage && sentence.is_supported && self.said[at].rests_on(&self.said[*on])
                };
                rests_on = (0..at).filter(may_carry).collect();
                let before = at.checked_sub(1).filter(|before| self.sentences[*before].stage == stage);
                let goes_on = self.said[at].goes_on || Some(at) == last_of_analysis;
                if let (true, true, Some(before)) = (rests_on.is_empty(), goes_on, before) {
                    rests_on.clone_from(&self.sentences[before].rests_on);
                }
                let says_nothing = stage == AnswerStage::Conclusion && self.said[at].is_empty();
                if rests_on.is_empty() && says_nothing {
                    // "True." says nothing by itself: it is what the Analysis arrived at.
                    rests_on.extend(last_of_analysis.filter(|last| self.sentences[*last].is_supported));
                }
            }
            let sentence = &mut self.sentences[at];
            sentence.is_supported = stage == AnswerStage::Observation || !rests_on.is_empty();
            sentence.rests_on = rests_on;
        }
    }
}

/// How likely the tokens of a stage's text were.
struct Likelihoods {
    /// Bytes of each token in the stage's text, in order, and the logarithm of its probability.
    tokens: Vec<(Range<usize>, f32)>,
}

impl Likelihoods {
    /// Empty where the tokens do not make up the text: their places would be wrong.
    fn of(stage: AnswerStage, text: &str, tokens: &[Token]) -> Self {
        let mut at = 0;
        let mut placed = Vec::new();
        for token in tokens.iter().filter(|token| token.stage == Some(stage)) {
            if !text[at..].starts_with(&token.text) {
                return Self { tokens: Vec::new() };
            }
            let end = at + token.text.len();
            placed.push((at..end, token.logprob));
            at = end;
        }
        if at != text.len() {
            placed.clear();
        }
        Self { tokens: placed }
    }

    /// The tokens that have a part in these bytes.
    fn over(&self, bytes: &Range<usize>) -> impl Iterator<Item = f32> {
        let first = self.tokens.partition_point(|(token, _)| token.end <= bytes.start);
        let end = bytes.end;
        self.tokens[first..]
            .iter()
            .take_while(move |(token, _)| token.start < end)
            .map(|(_, logprob)| *logprob)
    }

    /// The words whose least likely token was less likely than `below`.
    fn doubts(&self, words: impl Iterator<Item = Range<usize>>, below: f32) -> Vec<(Range<usize>, f32)> {
        let least = |word: &Range<usize>| self.over(word).reduce(f32::min).map(f32::exp);
        words.filter_map(|word| least(&word).filter(|p| *p < below).map(|p| (word, p))).collect()
    }

    fn mean(&self, bytes: &Range<usize>) -> Option<f32> {
        let add = |(sum, count): (f32, usize), logprob: f32| (sum + logprob, count + 1);
        let (sum, count) = self.over(bytes).fold((0.0, 0), add);
        (count > 0).then(|| (sum / count as f32).exp())
    }
}
