//! The sentences of an answer, each with the tokens that it was written with.
//!
//! A simple rule, for English: a full stop, question or exclamation mark before white space ends a sentence, and so
//! does a line break; an abbreviation, a single letter, the number of a list or a small letter after the stop says
//! that it does not. Headings belong to no sentence.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::stage::{AnswerStage, Piece, StageParser};

/// Words before a full stop that ends no sentence, in lower case and without the stop.
const ABBREVIATIONS: &str = "al approx avg ca cf dr e.g esp fig figs i.e incl prof resp viz vs";

/// Words that stand for nothing one could see.
const STOP_WORDS: &str = "about above after all also although an and any are as at be because been before being below \
    between both but by can could did do does each either few for from had has have hence here how however if in into \
    is it its may might more most much must neither no nor not of on only or other our out over own per same shall \
    should since so some such than that the their them then there therefore these they this those through thus to too \
    under until up upon us very was we were what when where whether which while will with within without would";

/// What may stand between a full stop and the white space after it, or before a sentence's first word.
const AROUND: [char; 12] = ['"', '\'', '”', '“', '’', '‘', ')', '(', ']', '[', '*', '_'];

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

/// Bytes of each sentence of a text, without the white space around it.
fn split(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    let mut add = |start: usize, end: usize| {
        let sentence = &text[start..end];
        let begin = start + sentence.len() - sentence.trim_start().len();
        let trimmed = sentence.trim();
        if !trimmed.is_empty() {
            ranges.push(begin..begin + trimmed.len());
        }
    };
    for (at, c) in text.char_indices() {
        let rest = &text[at + c.len_utf8()..];
        let end = match c {
            '\n' => at,
            '.' | '!' | '?' if is_end(&text[start..at], c, rest) => {
                text.len() - rest.trim_start_matches(AROUND).len()
            }
            _ => continue,
        };
        add(start, end);
        start = end;
    }
    add(start, text.len());
    ranges
}

/// Whether the mark ends the sentence that goes before it.
fn is_end(before: &str, mark: char, rest: &str) -> bool {
    let rest = rest.trim_start_matches(AROUND);
    let next = rest.trim_start();
    if rest.len() == next.len() && !rest.is_empty() {
        // Inside a number or an abbreviation.
        return false;
    }
    if next.starts_with(char::is_lowercase) {
        return false;
    }
    let before = before.trim_start_matches(|c: char| c.is_whitespace() || AROUND.contains(&c));
    let word = before.rsplit(char::is_whitespace).next().unwrap_or_default().trim_start_matches(AROUND);
    let is_letter = word.chars().count() == 1 && word.chars().all(char::is_alphabetic);
    let is_list_number = word == before && !word.is_empty() && word.chars().all(|c| c.is_ascii_digit());
    let is_abbreviation = is_in(ABBREVIATIONS, word);
    mark != '.' || !(is_letter || is_list_number || is_abbreviation)
}

/// Bytes of each word: letters and digits without a gap.
fn words(text: &str) -> Vec<Range<usize>> {
    let mut words: Vec<Range<usize>> = Vec::new();
    for (at, c) in text.char_indices().filter(|(_, c)| c.is_alphanumeric()) {
        let end = at + c.len_utf8();
        match words.last_mut() {
            Some(word) if word.end == at => word.end = end,
            _ => words.push(at..end),
        }
    }
    words
}

/// Whether a word can be seen in a picture: no stop word and no single letter, such as that of a choice.
fn has_content(word: &str) -> bool {
    let is_letter = word.chars().count() == 1 && word.chars().all(char::is_alphabetic);
    !is_letter && !is_in(STOP_WORDS, word)
}

/// Whether a list of words in lower case has this one.
fn is_in(list: &str, word: &str) -> bool {
    let word = word.to_lowercase();
    list.split_whitespace().any(|listed| listed == word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::STAGED;

    fn parts(text: &str) -> Vec<&str> {
        split(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn sentences_end_where_a_reader_ends_them() {
        let cases: [(&str, &[&str]); 10] = [
            ("Glands are seen. They are regular.", &["Glands are seen.", "They are regular."]),
            ("Nuclei of 7.5 µm, i.e. small. No mitoses!", &["Nuclei of 7.5 µm, i.e. small.", "No mitoses!"]),
            ("Cells, e.g. lymphocytes, vs. Tumour cells.", &["Cells, e.g. lymphocytes, vs. Tumour cells."]),
            ("1. Glands. \n2. Stroma\n", &["1. Glands.", "2. Stroma"]),
            ("The grade is 2. Necrosis is absent", &["The grade is 2.", "Necrosis is absent"]),
            ("B. tumour nests", &["B. tumour nests"]),
            ("(See Fig. 2.) \"Is it?\" Yes…", &["(See Fig. 2.)", "\"Is it?\"", "Yes…"]),
            ("As in Lee et al. This is so.", &["As in Lee et al. This is so."]),
            (" \n . ", &["."]),
            ("", &[]),
        ];
        for (text, want) in cases {
            assert_eq!(parts(text), want, "{text:?}");
        }
    }

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
