//! The three stages of an answer: where each begins in generated text, and what its conclusion chooses.
//!
//! The format is the paper's (section 2.1): a line `[Observation]`, a line `[Analysis]`, a line `[Conclusion]`, each
//! followed by its text. [`StageParser`] is tolerant, because people want to read what a model wrote even when its
//! headings are bold or numbered; [`is_strictly_formatted`] is not, because it is a reward. Other models answer in tags,
//! `<think>` and `<answer>`, which are read as Analysis and Conclusion; inside them no line is a heading.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::package::AnswerForm;

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
    form: AnswerForm,
    stage: Option<AnswerStage>,
    tag: Tag,
    /// Text held back because it may turn out to be (the start of) a heading, with the line break before it.
    held: String,
    /// Whether something other than white space was released in the present stage.
    has_text: bool,
    /// Whether the present line already has text, so that no heading can begin in it.
    inside_line: bool,
    malformed: bool,
}

/// The last tag that began or ended a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Tag {
    #[default]
    None,
    Open(AnswerStage),
    Closed,
}

impl StageParser {
    /// A parser of answers that should have this form. All are read alike; the form tells which are well formed.
    pub fn of(form: AnswerForm) -> Self {
        Self { form, ..Self::default() }
    }

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
        match self.heading(true) {
            Heading::Found(mark, rest) => self.take_heading(mark, rest, &mut pieces),
            Heading::Possible | Heading::None => self.release(&mut pieces),
        }
        self.fault_in_tags(self.tag != Tag::Closed);
        if self.stage != Some(AnswerStage::Conclusion) || !self.has_text {
            self.malformed = true;
        }
        pieces
    }

    /// After [`Self::finish`]: whether the three stages came in order, each once and with text, and nothing before; of an
    /// answer in tags, whether it is one `<think>` and one `<answer>`, both closed and with text, and nothing else.
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
        match self.heading(false) {
            Heading::Possible => {}
            Heading::None => self.release(pieces),
            Heading::Found(mark, rest) => self.take_heading(mark, rest, pieces),
        }
    }

    /// What the held text is; `ended` where nothing comes after it.
    fn heading(&self, ended: bool) -> Heading {
        match (self.held.trim_start(), self.tag) {
            ("", Tag::Open(_)) if !ended => Heading::Possible,
            (text, Tag::Open(_)) if !text.starts_with('<') => Heading::None,
            _ => heading(&self.held, ended),
        }
    }

    /// A heading was read in the held text; `rest` bytes at its end are already text of the stage.
    fn take_heading(&mut self, mark: Mark, rest: usize, pieces: &mut Vec<Piece>) {
        let held = std::mem::take(&mut self.held);
        let (head, tail) = held.split_at(held.len() - rest);
        let (stage, tag) = match mark {
            Mark::Heading(stage) => (stage, self.tag),
            Mark::Begin(stage) => (stage, Tag::Open(stage)),
            Mark::End(stage) => {
                self.fault_in_tags(self.tag != Tag::Open(stage));
                if self.tag == Tag::Open(stage) {
                    self.tag = Tag::Closed;
                }
                self.inside_line = false;
                return;
            }
        };
        let next = match (self.stage, self.form) {
            (Some(stage), _) => stage as usize + 1,
            (None, AnswerForm::Staged) => AnswerStage::Observation as usize,
            (None, AnswerForm::Think) => AnswerStage::Analysis as usize,
        };
        if self.stage.is_some_and(|present| stage <= present) {
            // Repeated or backward: it stays text, as the reader should see what the model wrote.
            self.malformed = true;
            self.show(head, pieces);
        } else {
            self.fault_in_tags(matches!(self.tag, Tag::Open(_)));
            self.malformed |= stage as usize != next || (self.stage.is_some() && !self.has_text);
            self.stage = Some(stage);
            self.tag = tag;
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
        // White space between a heading and its text, or after a closing tag, is layout, not text.
        let text = if self.has_text { text } else { text.trim_start() };
        if text.is_empty() || (self.tag == Tag::Closed && text.trim().is_empty()) {
            return;
        }
        self.has_text = true;
        self.inside_line = !text.ends_with('\n');
        self.malformed |= self.stage.is_none();
        self.fault_in_tags(!matches!(self.tag, Tag::Open(_)));
        match pieces.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ => pieces.push(Piece::Text(text.to_owned())),
        }
    }

    /// Marks what is wrong with an answer that should be in tags, and with no other.
    fn fault_in_tags(&mut self, is_fault: bool) {
        self.malformed |= is_fault && self.form == AnswerForm::Think;
    }
}

#[derive(Clone, Copy)]
enum Mark {
    Heading(AnswerStage),
    /// An opening tag.
    Begin(AnswerStage),
    /// A closing tag: consumed, begins nothing.
    End(AnswerStage),
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
        Some(_) if is_marked => Heading::Found(Mark::Heading(*stage), rest.len()),
        Some(_) => Heading::None,
        None if ended && is_marked => Heading::Found(Mark::Heading(*stage), 0),
        None => undecided,
    }
}

fn tag(text: &str, ended: bool) -> Heading {
    let tags = [
        ("<think>", Mark::Begin(AnswerStage::Analysis)),
        ("</think>", Mark::End(AnswerStage::Analysis)),
        ("<answer>", Mark::Begin(AnswerStage::Conclusion)),
        ("</answer>", Mark::End(AnswerStage::Conclusion)),
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
mod tests;
