//! The three stages of an answer: where each begins in generated text, and what its conclusion chooses.
//!
//! The format is the paper's (section 2.1): a line `[Observation]`, a line `[Analysis]`, a line `[Conclusion]`, each
//! followed by its text. [`StageParser`] is tolerant, because people want to read what a model wrote even when its
//! headings are bold or numbered; [`is_strictly_formatted`] is not, because it is a reward.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A stage of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnswerStage {
    Observation,
    Analysis,
    Conclusion,
}

impl AnswerStage {
    /// The stages in the order in which an answer has them.
    pub const ALL: [Self; 3] = [Self::Observation, Self::Analysis, Self::Conclusion];

    /// The word as shown and as written in headings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Observation => "Observation",
            Self::Analysis => "Analysis",
            Self::Conclusion => "Conclusion",
        }
    }
}

/// The text of each stage; a stage that never came is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StagedAnswer {
    #[serde(default)]
    pub observation: String,
    #[serde(default)]
    pub analysis: String,
    #[serde(default)]
    pub conclusion: String,
}

impl StagedAnswer {
    /// The text of one stage.
    pub fn stage(&self, stage: AnswerStage) -> &str {
        match stage {
            AnswerStage::Observation => &self.observation,
            AnswerStage::Analysis => &self.analysis,
            AnswerStage::Conclusion => &self.conclusion,
        }
    }

    /// The text of one stage, to be written to.
    pub fn stage_mut(&mut self, stage: AnswerStage) -> &mut String {
        match stage {
            AnswerStage::Observation => &mut self.observation,
            AnswerStage::Analysis => &mut self.analysis,
            AnswerStage::Conclusion => &mut self.conclusion,
        }
    }

    /// The answer as it is trained and generated: each heading on its own line, its text on the next.
    pub fn to_text(&self) -> String {
        AnswerStage::ALL.map(|s| format!("[{}]\n{}", s.name(), self.stage(s))).join("\n")
    }

    /// Reads a whole text with the tolerant parser; the flag is [`StageParser::is_well_formed`].
    pub fn parse(text: &str) -> (Self, bool) {
        let mut parser = StageParser::default();
        let mut answer = Self::default();
        let mut stage = None;
        for piece in parser.push(text).into_iter().chain(parser.finish()) {
            match piece {
                Piece::Stage(next) => stage = Some(next),
                Piece::Text(text) => {
                    if let Some(stage) = stage {
                        answer.stage_mut(stage).push_str(&text);
                    }
                }
            }
        }
        (answer, parser.is_well_formed())
    }
}

/// What the parser gives back for text it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A heading was read: what follows belongs to this stage.
    Stage(AnswerStage),
    /// Text of the present stage (of none before the first heading).
    Text(String),
}

/// Assigns generated text to stages as it arrives, however it is cut into tokens.
#[derive(Clone, Debug, Default)]
pub struct StageParser {
    stage: Option<AnswerStage>,
    /// Text held back because it may turn out to be (the start of) a heading, with the line break before it.
    held: String,
    /// Whether something other than white space was released in the present stage.
    has_text: bool,
    /// Whether the present line already has text, so that no heading can begin in it.
    inside_line: bool,
    malformed: bool,
}

impl StageParser {
    /// Takes the next piece of text, returns what can be shown now.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for c in text.chars() {
            self.push_char(c, &mut pieces);
        }
        pieces
    }

    /// Tells the parser that the text has ended; returns what it held back.
    pub fn finish(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        match heading(&self.held, true) {
            Heading::Found(mark, rest) => self.take_heading(mark, rest, &mut pieces),
            Heading::Possible | Heading::None => self.release(&mut pieces),
        }
        if self.stage != Some(AnswerStage::Conclusion) || !self.has_text {
            self.malformed = true;
        }
        pieces
    }

    /// After [`Self::finish`]: whether the three stages came in order, each once and with text, and nothing before.
    pub fn is_well_formed(&self) -> bool {
        !self.malformed
    }

    /// The end of the text so far that was neither returned nor dropped as a heading yet.
    pub fn held(&self) -> &str {
        &self.held
    }

    /// The stage that text belongs to at this point.
    pub fn stage(&self) -> Option<AnswerStage> {
        self.stage
    }

    fn push_char(&mut self, c: char, pieces: &mut Vec<Piece>) {
        let may_begin = !self.inside_line || c == '<' || c == '\n' || self.held.starts_with('<');
        if !may_begin && self.held.is_empty() {
            return self.show(&c.to_string(), pieces);
        }
        if c == '\n' && self.inside_line && self.held.is_empty() {
            self.inside_line = false;
            self.held.push(c);
            return;
        }
        if c == '<' && !self.held.is_empty() && !self.held.trim().is_empty() {
            self.release(pieces);
        }
        self.held.push(c);
        match heading(&self.held, false) {
            Heading::Possible => {}
            Heading::None => self.release(pieces),
            Heading::Found(mark, rest) => self.take_heading(mark, rest, pieces),
        }
    }

    /// A heading was read in the held text; `rest` bytes at its end are already text of the stage.
    fn take_heading(&mut self, mark: Mark, rest: usize, pieces: &mut Vec<Piece>) {
        let held = std::mem::take(&mut self.held);
        let (head, tail) = held.split_at(held.len() - rest);
        let Mark::Begin(stage) = mark else {
            self.inside_line = false;
            return;
        };
        let next = self.stage.map_or(0, |s| s as usize + 1);
        if (stage as usize) < next {
            // Repeated or backward: it stays text, as the reader should see what the model wrote.
            self.malformed = true;
            self.show(head, pieces);
        } else {
            self.malformed |= stage as usize > next || (self.stage.is_some() && !self.has_text);
            self.stage = Some(stage);
            self.has_text = false;
            self.inside_line = false;
            pieces.push(Piece::Stage(stage));
        }
        for c in tail.chars() {
            self.push_char(c, pieces);
        }
    }

    fn release(&mut self, pieces: &mut Vec<Piece>) {
        let held = std::mem::take(&mut self.held);
        if held.is_empty() {
            return;
        }
        // A line break inside what was held starts a new line, in which a heading may begin again.
        match held.rfind('\n').filter(|&at| at > 0 && !held[..at].trim().is_empty()) {
            Some(at) => {
                let (before, after) = held.split_at(at);
                self.show(before, pieces);
                self.inside_line = false;
                after.clone_into(&mut self.held);
            }
            None => self.show(&held, pieces),
        }
    }

    fn show(&mut self, text: &str, pieces: &mut Vec<Piece>) {
        // White space between a heading and its text is layout, not text.
        let text = if self.has_text { text } else { text.trim_start() };
        if text.is_empty() {
            return;
        }
        self.has_text = true;
        self.inside_line = !text.ends_with('\n');
        self.malformed |= self.stage.is_none();
        match pieces.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ => pieces.push(Piece::Text(text.to_owned())),
        }
    }
}

#[derive(Clone, Copy)]
enum Mark {
    Begin(AnswerStage),
    /// A closing tag: consumed, begins nothing.
    End,
}

enum Heading {
    None,
    /// More text can still make it one.
    Possible,
    /// It is one; so many bytes after it were read already.
    Found(Mark, usize),
}

/// Reads `[Observation]`, `**Analysis:**`, `3. Conclusion`, `## Conclusion`, `<think>` and their like at the start of
/// `line`. Without brackets, colon or bold, only a line of its own is a heading ("Analysis shows …" is text).
fn heading(line: &str, ended: bool) -> Heading {
    let text = line.trim_start();
    if text.starts_with('<') {
        return tag(text, ended);
    }
    let open = text.trim_start_matches(|c: char| "#*_[ .)".contains(c) || c.is_ascii_digit());
    let prefix = &text[..text.len() - open.len()];
    let word_len = open.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(open.len());
    let (word, after) = open.split_at(word_len);
    let undecided = if ended { Heading::None } else { Heading::Possible };
    if prefix.len() > 12 {
        return Heading::None;
    }
    let names = AnswerStage::ALL.map(|s| (s, s.name().to_ascii_lowercase()));
    let lower = word.to_ascii_lowercase();
    let Some((stage, name)) = names.iter().find(|(_, name)| name.starts_with(&lower)) else {
        return Heading::None;
    };
    if lower.len() < name.len() {
        return if after.is_empty() { undecided } else { Heading::None };
    }
    let rest = after.trim_start_matches(|c: char| "]*_: \t".contains(c));
    let closers = &after[..after.len() - rest.len()];
    let is_marked = closers.contains([']', ':'])
        || (closers.contains("**") && prefix.contains("**"))
        || (closers.trim().is_empty() && rest.starts_with('\n'))
        || (rest.is_empty() && ended);
    match rest.chars().next() {
        Some(_) if is_marked => Heading::Found(Mark::Begin(*stage), rest.len()),
        Some(_) => Heading::None,
        None if ended && is_marked => Heading::Found(Mark::Begin(*stage), 0),
        None => undecided,
    }
}

fn tag(text: &str, ended: bool) -> Heading {
    let tags = [
        ("<think>", Mark::Begin(AnswerStage::Analysis)),
        ("</think>", Mark::End),
        ("<answer>", Mark::Begin(AnswerStage::Conclusion)),
        ("</answer>", Mark::End),
    ];
    let lower = text.to_ascii_lowercase();
    for (name, mark) in tags {
        if lower.starts_with(name) {
            return Heading::Found(mark, text.len() - name.len());
        }
        if !ended && name.starts_with(&lower) {
            return Heading::Possible;
        }
    }
    Heading::None
}

/// Whether a text is exactly `[Observation]`, `[Analysis]`, `[Conclusion]`, each once, in order, each on a line of its
/// own and followed by text, with nothing before: the paper's format reward (section 2.2).
pub fn is_strictly_formatted(text: &str) -> bool {
    let mut next = 0;
    let mut has_text = true;
    for line in text.lines() {
        let named = AnswerStage::ALL.iter().position(|s| line == format!("[{}]", s.name()));
        match named {
            Some(at) if at == next && has_text => {
                next += 1;
                has_text = false;
            }
            Some(_) => return false,
            None if line.trim().is_empty() => {}
            None if next == 0 => return false,
            None => has_text = true,
        }
    }
    next == AnswerStage::ALL.len() && has_text
}

/// Which of the choices a conclusion names: `B) …`, `(B)`, `B.`, `Answer: B`, or the text of exactly one choice.
///
/// A true/false question has the choices `True` and `False`. `None` when nothing or more than one is named.
pub fn extract_choice(conclusion: &str, choices: &[String]) -> Option<usize> {
    let text = conclusion.trim();
    letter(text).filter(|&i| i < choices.len()).or_else(|| named_choice(text, choices))
}

/// The letter at the start of a conclusion, as an index: marked by a bracket, stop or colon, or alone.
fn letter(text: &str) -> Option<usize> {
    let mut text = text.trim_start_matches(['*', '"', '\'', ' ']);
    for lead in ["the answer is", "answer is", "answer:", "the correct option is", "option"] {
        if text.get(..lead.len()).is_some_and(|start| start.eq_ignore_ascii_case(lead)) {
            text = text[lead.len()..].trim_start_matches([' ', ':', '*']);
        }
    }
    let bracketed = text.starts_with('(');
    let text = text.trim_start_matches('(');
    let mut chars = text.chars();
    let c = chars.next().filter(char::is_ascii_alphabetic)?;
    match chars.next() {
        Some(')' | '.' | ':' | ',' | ']' | '*') => {}
        None if c.is_ascii_uppercase() => {}
        Some(next) if bracketed && !next.is_alphanumeric() => {}
        _ => return None,
    }
    Some((c.to_ascii_uppercase() as u8 - b'A') as usize)
}

/// The choice whose text begins the conclusion, or else the only one that stands in it as whole words.
fn named_choice(text: &str, choices: &[String]) -> Option<usize> {
    let text = words(text);
    let choices: Vec<String> = choices.iter().map(|c| words(c)).collect();
    let longest = |hits: Vec<usize>| hits.into_iter().max_by_key(|&i| choices[i].len());
    let begins = (0..choices.len()).filter(|&i| text.starts_with(&choices[i])).collect();
    longest(begins).or_else(|| {
        let inside: Vec<usize> = (0..choices.len()).filter(|&i| text.contains(&choices[i])).collect();
        (inside.len() == 1).then(|| inside[0])
    })
}

/// Lower-case words with single spaces, one also at either end, so that `contains` matches whole words only.
pub fn words(text: &str) -> String {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).collect();
    format!(" {} ", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_in_pieces(text: &str, size: usize) -> (StagedAnswer, bool, String) {
        let mut parser = StageParser::default();
        let (mut answer, mut stage, mut outside) = (StagedAnswer::default(), None, String::new());
        let chars: Vec<char> = text.chars().collect();
        let mut pieces: Vec<Piece> =
            chars.chunks(size).flat_map(|c| parser.push(&c.iter().collect::<String>())).collect();
        pieces.extend(parser.finish());
        for piece in pieces {
            match (piece, stage) {
                (Piece::Stage(s), _) => stage = Some(s),
                (Piece::Text(t), Some(s)) => answer.stage_mut(s).push_str(&t),
                (Piece::Text(t), None) => outside.push_str(&t),
            }
        }
        (answer, parser.is_well_formed(), outside)
    }

    #[test]
    fn reads_headings_in_the_forms_models_write() {
        for text in [
            "[Observation]\nGlands.\n[Analysis]\nSo.\n[Conclusion]\nB) tumour",
            "**Observation:** Glands.\n\n**Analysis:** So.\n\n**Conclusion:** B) tumour",
            "1. Observation\nGlands.\n2. Analysis\nSo.\n3. Conclusion\nB) tumour",
            "observation: Glands.\nanalysis: So.\nconclusion: B) tumour",
            "## Observation\nGlands.\n## Analysis\nSo.\n## Conclusion\nB) tumour",
            "[Observation] Glands.\n[Analysis] So.\n[Conclusion] B) tumour",
        ] {
            for size in [1, 2, 3, 7, 1000] {
                let (answer, well_formed, outside) = parse_in_pieces(text, size);
                assert_eq!(answer.observation.trim(), "Glands.", "{text:?} in pieces of {size}");
                assert_eq!(answer.analysis.trim(), "So.", "{text:?} in pieces of {size}");
                assert_eq!(answer.conclusion, "B) tumour", "{text:?} in pieces of {size}");
                assert!(well_formed && outside.is_empty(), "{text:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn keeps_what_is_no_heading_and_marks_what_is_out_of_order() {
        let (answer, ok, _) =
            parse_in_pieces("[Observation]\nAnalysis shows\nAnalysis of glands.\n[Conclusion]\nx", 1);
        assert_eq!(answer.observation.trim(), "Analysis shows\nAnalysis of glands.");
        assert!(!ok, "a stage is missing");
        let (answer, ok, _) =
            parse_in_pieces("[Observation]\na\n[Analysis]\nb\n[Observation]\nc\n[Conclusion]\nd", 2);
        assert!(answer.analysis.contains("[Observation]") && answer.analysis.contains('c'));
        assert!(!ok, "a heading is repeated");
        let (_, ok, outside) = parse_in_pieces("Well.\n[Observation]\na\n[Analysis]\nb\n[Conclusion]\nc", 3);
        assert_eq!((ok, outside.trim()), (false, "Well."));
    }

    #[test]
    fn reads_think_and_answer_as_analysis_and_conclusion() {
        let (answer, ok, outside) =
            parse_in_pieces("<think>if a < b then c</think>\n<answer>B) x</answer>", 1);
        assert_eq!((answer.analysis.trim(), answer.conclusion.as_str()), ("if a < b then c", "B) x"));
        assert!(!ok && outside.is_empty());
    }

    #[test]
    fn strict_format_is_the_papers() {
        let good = "[Observation]\na\n[Analysis]\nb\nb\n[Conclusion]\nc";
        assert!(is_strictly_formatted(good));
        let same = StagedAnswer { observation: "a".into(), analysis: "b\nb".into(), conclusion: "c".into() };
        assert_eq!(same.to_text(), good);
        for bad in [
            "x\n[Observation]\na\n[Analysis]\nb\n[Conclusion]\nc",
            "[Observation]\na\n[Conclusion]\nc\n[Analysis]\nb",
            "[Observation]\na\n[Analysis]\n[Conclusion]\nc",
            "[Observation]\na\n[Analysis]\nb\n[Conclusion]\n",
            "**Observation**\na\n[Analysis]\nb\n[Conclusion]\nc",
            "[Observation]\na\n[Observation]\na\n[Analysis]\nb\n[Conclusion]\nc",
            "",
        ] {
            assert!(!is_strictly_formatted(bad), "{bad:?}");
        }
    }

    #[test]
    fn extracts_the_choice() {
        let choices: Vec<String> = ["glands", "tumour nests", "tumour", "no tumour"].map(String::from).into();
        for (text, want) in [
            ("B) tumour nests", Some(1)),
            ("(C)", Some(2)),
            ("D", Some(3)),
            ("Answer: A", Some(0)),
            ("**B.** tumour nests", Some(1)),
            ("tumour nests are seen", Some(1)),
            ("There are glands.", Some(0)),
            ("A tumour with glands", None),
            ("E) none", None),
            ("cannot be assessed", None),
            ("", None),
        ] {
            assert_eq!(extract_choice(text, &choices), want, "{text:?}");
        }
        let truth: Vec<String> = ["True", "False"].map(String::from).into();
        assert_eq!(extract_choice("True, the cellularity is high", &truth), Some(0));
        assert_eq!(extract_choice("False.", &truth), Some(1));
        assert_eq!(extract_choice("The field cannot be assessed", &truth), None);
    }
}
