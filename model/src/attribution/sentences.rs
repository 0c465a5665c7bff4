//! The sentences of an answer, each with the tokens that it was written with.
//!
//! Where a sentence ends is `prose.rs`'s. Headings belong to no sentence.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::prose::{has_content, split, words};
use crate::stage::{AnswerStage, Piece, StageParser};

/// A sentence of one stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sentence {
    pub(super) stage: AnswerStage,
    pub(super) text: String,
    /// The tokens that it was written with; one that ends a sentence and begins the next belongs to both.
    pub(super) tokens: Range<usize>,
    /// Those of them that are part of a word with content; at least one.
    pub(super) content: Vec<usize>,
}

/// The sentences of a generated text, given as the text of each of its tokens, that have a word with content.
pub(super) fn sentences(tokens: &[String]) -> Vec<Sentence> {
    let mut sentences = Vec::new();
    for stage in stage_texts(tokens) {
        for range in split(&stage.text) {
            let text = &stage.text[range.clone()];
            let tokens = &stage.tokens[range];
            let content: BTreeSet<usize> = words(text)
                .into_iter()
                .filter(|word| has_content(&text[word.clone()]))
                .flat_map(|word| &tokens[word])
                .copied()
                .collect();
            let (Some(&first), Some(&last)) = (tokens.first(), tokens.last()) else { continue };
            if !content.is_empty() {
                let end = last + 1;
                sentences.push(Sentence {
                    stage: stage.stage,
                    text: text.to_owned(),
                    tokens: first..end,
                    content: content.into_iter().collect(),
                });
            }
        }
    }
    sentences
}

/// The first token with text of a stage, of a generated text given as the text of each of its tokens.
pub(crate) fn first_token_of(tokens: &[String], stage: AnswerStage) -> Option<usize> {
    stage_texts(tokens).iter().find(|text| text.stage == stage)?.tokens.first().copied()
}

/// The text of one stage.
struct StageText {
    stage: AnswerStage,
    text: String,
    /// The token that each byte of the text came with.
    tokens: Vec<usize>,
}

/// Reads the stages as [`StageParser`] does, and keeps track of tokens while it holds text back.
fn stage_texts(tokens: &[String]) -> Vec<StageText> {
    let mut parser = StageParser::default();
    let mut texts = Vec::new();
    // The tokens of the bytes that the parser holds.
    let mut held: Vec<usize> = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        for c in token.chars() {
            held.extend(std::iter::repeat_n(index, c.len_utf8()));
            let pieces = parser.push(c.encode_utf8(&mut [0; 4]));
            let decided = held.len().saturating_sub(parser.held().len());
            place(&mut texts, pieces, &held[..decided]);
            held.drain(..decided);
        }
    }
    let pieces = parser.finish();
    let decided = held.len().saturating_sub(parser.held().len());
    place(&mut texts, pieces, &held[..decided]);
    texts
}

/// Adds what the parser returned. Of the text that it decided on, headings and layout come first and are dropped: what
/// it returns is the end.
fn place(texts: &mut Vec<StageText>, pieces: Vec<Piece>, decided: &[usize]) {
    let returned: usize =
        pieces.iter().map(|piece| if let Piece::Text(text) = piece { text.len() } else { 0 }).sum();
    let mut at = decided.len().saturating_sub(returned);
    for piece in pieces {
        match piece {
            Piece::Stage(stage) => texts.push(StageText { stage, text: String::new(), tokens: Vec::new() }),
            Piece::Text(text) => {
                let tokens = decided.get(at..at + text.len());
                at += text.len();
                if let (Some(last), Some(tokens)) = (texts.last_mut(), tokens) {
                    last.text.push_str(&text);
                    last.tokens.extend_from_slice(tokens);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::STAGED;

    #[test]
    fn each_sentence_has_its_tokens_and_headings_belong_to_none() {
        let tokens = STAGED.map(str::to_owned);
        let found = sentences(&tokens);
        let brief: Vec<_> =
            found.iter().map(|s| (s.stage, s.text.as_str(), s.tokens.clone(), s.content.clone())).collect();
        assert_eq!(
            brief,
            [
                (AnswerStage::Observation, "Glands are seen.", 1..3, vec![1, 2]),
                (AnswerStage::Analysis, "They are regular.", 4..6, vec![5]),
                (AnswerStage::Conclusion, "B) glands", 7..9, vec![8]),
            ]
        );
    }

    #[test]
    fn tokens_are_found_however_the_text_is_cut_and_wherever_the_parser_hesitates() {
        let text = "Well.\n**Observation:** Analysis of\nobs é cells. Conclusive\n2. Analysis\nSo µ.\n<answer>B) x yz\
                    </answer>";
        let chars: Vec<char> = text.chars().collect();
        for size in [1, 2, 5] {
            let tokens: Vec<String> = chars.chunks(size).map(|c| c.iter().collect()).collect();
            let found = sentences(&tokens);
            let texts: Vec<&str> = found.iter().map(|s| s.text.as_str()).collect();
            let want = ["Analysis of", "obs é cells.", "Conclusive", "B) x yz"];
            assert_eq!(texts, want, "in pieces of {size}");
            for sentence in &found {
                let written = tokens[sentence.tokens.clone()].concat();
                assert!(written.contains(&sentence.text), "{written:?} for {:?}", sentence.text);
                assert!(written.len() < sentence.text.len() + 2 * size + 2, "{written:?}");
                assert!(sentence.content.iter().all(|token| sentence.tokens.contains(token)));
            }
        }
    }

    #[test]
    fn what_says_nothing_to_see_gets_no_sentence() {
        let tokens = ["[Observation]\n", "It", " is", " so.", "\n[Conclusion]\n", "A"].map(str::to_owned);
        assert!(sentences(&tokens).is_empty() && sentences(&[]).is_empty());
    }
}
