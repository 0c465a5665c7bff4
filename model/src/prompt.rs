//! From a question to token ids: the chat template and where the tokens of each patch stand.
//!
//! As in LLaVA, the text is cut at each patch's place, and the pieces are tokenised on their own. In a conversation the
//! patches stand in the last turn, before its question: LLaVA leaves an image in the turn that it came with, but here
//! every question names its patches anew, and what was said about others before is words alone.

mod own;

use std::ops::Range;
use std::path::{Path, PathBuf};

use tokenizers::Tokenizer;

use self::own::OwnTemplate;
pub use self::own::{IM_END, IMAGE_PAD, VISION_TOKENS};
use crate::package::{ChatTemplate, Grid, OptionMark, Package};
use crate::template::Template;
use crate::{tokenizer, weights};

/// Stands for one patch in the text of a prompt.
pub const IMAGE: &str = "<image>";
/// Ends a turn in Llama 3's template.
pub const END_OF_TURN: &str = "<|eot_id|>";
/// The special tokens of Llama 3's template; the demo tokenizer has the same.
pub const SPECIAL_TOKENS: [&str; 5] =
    ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", END_OF_TURN];

/// A tokenizer or a chat template that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the tokenizer cannot be used: {reason}: {path}", path = path.display())]
    Read { reason: String, path: PathBuf },
    #[error(transparent)]
    Weights(#[from] weights::Error),
    #[error("the text cannot be tokenised: {0}")]
    Encode(String),
    #[error("the tokenizer has no token {0}, which the chat template needs")]
    MissingToken(String),
    #[error("the chat template cannot be used: {reason}: {path}", path = path.display())]
    Template { reason: String, path: PathBuf },
    #[error("the chat template is in a file of its package, and cannot be read without it")]
    TemplateOfPackage,
}

/// A piece of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    Tokens(Vec<u32>),
    /// The tokens of the patch with this index.
    Patch(usize),
}

/// A prompt, ready for the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    pub segments: Vec<Segment>,
    /// The same as text.
    pub text: String,
}

impl Prompt {
    /// Length in tokens when each patch takes `image_tokens`.
    pub fn len(&self, image_tokens: usize) -> usize {
        length(&self.segments, &|_| image_tokens)
    }

    /// The same where patch i takes those of `grids[i]`.
    pub fn len_of(&self, grids: &[Grid]) -> usize {
        length(&self.segments, &tokens_of(grids))
    }

    /// How many tokens stand before the text that follows the last patch, when each takes `image_tokens`; 0 where there is
    /// no such text.
    pub fn shared_len(&self, image_tokens: usize) -> usize {
        self.shared(&|_| image_tokens)
    }

    /// The same where patch i takes those of `grids[i]`.
    pub fn shared_len_of(&self, grids: &[Grid]) -> usize {
        self.shared(&tokens_of(grids))
    }

    fn shared(&self, image_tokens: &dyn Fn(usize) -> usize) -> usize {
        let Some(last) = self.segments.iter().rposition(|s| matches!(s, Segment::Patch(_))) else { return 0 };
        let (shared, rest) = self.segments.split_at(last + 1);
        if length(rest, image_tokens) == 0 { 0 } else { length(shared, image_tokens) }
    }
}

/// Tokens of patch i.
fn tokens_of(grids: &[Grid]) -> impl Fn(usize) -> usize {
    move |patch| grids.get(patch).copied().map_or(0, Grid::tokens)
}

fn length(segments: &[Segment], image_tokens: &dyn Fn(usize) -> usize) -> usize {
    let len = |segment: &Segment| match segment {
        Segment::Tokens(ids) => ids.len(),
        Segment::Patch(patch) => image_tokens(*patch),
    };
    segments.iter().map(len).sum()
}

/// What the user said earlier in a conversation: as [`user_text`], without patches.
pub fn earlier_text(question: &str, choices: &[String]) -> String {
    earlier_text_in(OptionMark::default(), question, choices)
}

/// The same with options that are marked in this way.
pub fn earlier_text_in(mark: OptionMark, question: &str, choices: &[String]) -> String {
    user_text_in(mark, 0, "", question, choices).trim_start().to_owned()
}

/// What the user says: patches first, then context, question and choices, a line each.
pub fn user_text(patches: usize, context: &str, question: &str, choices: &[String]) -> String {
    user_text_in(OptionMark::default(), patches, context, question, choices)
}

/// The same with options that are marked in this way.
pub fn user_text_in(
    mark: OptionMark,
    patches: usize,
    context: &str,
    question: &str,
    choices: &[String],
) -> String {
    let mut lines = vec![IMAGE.repeat(patches)];
    if !context.trim().is_empty() {
        lines.push(format!("Context: {}", context.trim()));
    }
    lines.push(question.trim().to_owned());
    lines.extend(('A'..='Z').zip(choices).map(|(letter, choice)| mark.line(letter, choice)));
    lines.join("\n")
}

/// A tokenizer with a chat template.
#[derive(Clone, Debug)]
pub struct ChatTokenizer {
    tokenizer: Tokenizer,
    chat: Chat,
    /// What is said before the first question; empty: nothing, or what the template says by itself.
    system: String,
}

/// How turns are written.
#[derive(Clone, Debug)]
enum Chat {
    Llama3,
    Own(OwnTemplate),
}

impl ChatTokenizer {
    /// Reads the tokenizer of a package with its chat template and what is said before a question.
    pub fn of_package(package: &Package) -> Result<Self, Error> {
        let spec = &package.manifest.language;
        let path = package.file(&spec.tokenizer);
        let chat = match spec.chat_template {
            ChatTemplate::Llama3 => Self::read(&path, ChatTemplate::Llama3)?,
            ChatTemplate::File => {
                let file = package.file(spec.template.as_deref().unwrap_or_default());
                let template = Template::of_package(package)?;
                Self::with_template(tokenizer::read(&path)?, template, file).map_err(|e| at(e, &path))?
            }
        };
        Ok(Self { system: package.manifest.instructions.system.trim().to_owned(), ..chat })
    }

    /// Reads a tokenizer, in any form, and checks that it has the template's tokens. The template is Llama 3's: one in a
    /// file is [`Error::TemplateOfPackage`].
    pub fn read(path: &Path, template: ChatTemplate) -> Result<Self, Error> {
        Self::new(tokenizer::read(path)?, template).map_err(|error| at(error, path))
    }

    /// Joins a tokenizer and a template, which is Llama 3's.
    pub fn new(tokenizer: Tokenizer, template: ChatTemplate) -> Result<Self, Error> {
        if template == ChatTemplate::File {
            return Err(Error::TemplateOfPackage);
        }
        let chat = Self::of(tokenizer, Chat::Llama3);
        SPECIAL_TOKENS.iter().try_for_each(|t| chat.token(t).map(drop))?;
        Ok(chat)
    }

    /// Joins a tokenizer and a template of a model's own, which was read from `path`.
    pub fn with_template(tokenizer: Tokenizer, template: Template, path: PathBuf) -> Result<Self, Error> {
        let own = OwnTemplate::new(&tokenizer, template, path)?;
        Ok(Self::of(tokenizer, Chat::Own(own)))
    }

    fn of(mut tokenizer: Tokenizer, chat: Chat) -> Self {
        // Else `<|eot_id|>` in a question would end the user's turn.
        tokenizer.set_encode_special_tokens(true);
        Self { tokenizer, chat, system: String::new() }
    }

    /// The tokenizer itself.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The id of a token by its text.
    pub fn token(&self, text: &str) -> Result<u32, Error> {
        self.tokenizer.token_to_id(text).ok_or_else(|| Error::MissingToken(text.to_owned()))
    }

    /// The text of the token that ends a turn.
    pub fn end_of_turn(&self) -> &str {
        match self.chat {
            Chat::Llama3 => END_OF_TURN,
            Chat::Own(_) => IM_END,
        }
    }

    /// Whether a token belongs to the template and is no text.
    pub(crate) fn is_special(&self, id: u32) -> bool {
        match &self.chat {
            Chat::Llama3 => SPECIAL_TOKENS.iter().any(|t| self.tokenizer.token_to_id(t) == Some(id)),
            Chat::Own(own) => own.is_special(id),
        }
    }

    /// Ids of plain text; special tokens in it are not recognised.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let encoding = self.tokenizer.encode_fast(text, false).map_err(|e| Error::Encode(e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// As [`Self::encode`], and the bytes of the text that each token stands for.
    pub fn encode_with_bytes(&self, text: &str) -> Result<(Vec<u32>, Vec<Range<usize>>), Error> {
        let encoding = self.tokenizer.encode(text, false).map_err(|e| Error::Encode(e.to_string()))?;
        let bytes = encoding.get_offsets().iter().map(|&(start, end)| start..end).collect();
        Ok((encoding.get_ids().to_vec(), bytes))
    }

    /// The prompt of one question: the template around the user's text, up to where the answer begins.
    pub fn prompt(&self, user_text: &str) -> Result<Prompt, Error> {
        self.conversation(&[], user_text)
    }

    /// The prompt of a question after others with their answers, oldest first, as (what the user said, what was
    /// answered): words alone. [`IMAGE`] stands for a patch in the last turn only; a template of a model's own has the
    /// patches before the words.
    pub fn conversation(&self, before: &[(String, String)], user_text: &str) -> Result<Prompt, Error> {
        match &self.chat {
            Chat::Llama3 => self.in_llama_3(before, user_text),
            Chat::Own(own) => own.prompt(self, before, user_text),
        }
    }

    fn in_llama_3(&self, before: &[(String, String)], user_text: &str) -> Result<Prompt, Error> {
        let mut segments = vec![Segment::Tokens(vec![self.token("<|begin_of_text|>")?])];
        let mut text = "<|begin_of_text|>".to_owned();
        let system = (!self.system.is_empty()).then_some(("system", self.system.as_str()));
        let said = before
            .iter()
            .flat_map(|(said, answered)| [("user", said.as_str()), ("assistant", answered.as_str())]);
        for (role, words) in system.into_iter().chain(said) {
            push_tokens(&mut segments, self.header(role)?);
            push_tokens(&mut segments, self.encode(words.trim())?);
            push_tokens(&mut segments, vec![self.token(END_OF_TURN)?]);
            text.extend([header_text(role).as_str(), words.trim(), END_OF_TURN]);
        }
        push_tokens(&mut segments, self.header("user")?);
        for (i, piece) in user_text.trim().split(IMAGE).enumerate() {
            if i > 0 {
                segments.push(Segment::Patch(i - 1));
            }
            push_tokens(&mut segments, self.encode(piece)?);
        }
        push_tokens(&mut segments, vec![self.token(END_OF_TURN)?]);
        push_tokens(&mut segments, self.header("assistant")?);
        let (user, assistant) = (header_text("user"), header_text("assistant"));
        text.extend([user.as_str(), user_text.trim(), END_OF_TURN, assistant.as_str()]);
        Ok(Prompt { segments, text })
    }

    /// What a turn begins with.
    fn header(&self, role: &str) -> Result<Vec<u32>, Error> {
        let mut ids = vec![self.token("<|start_header_id|>")?];
        ids.extend(self.encode(role)?);
        ids.push(self.token("<|end_header_id|>")?);
        ids.extend(self.encode("\n\n")?);
        Ok(ids)
    }
}

/// An error about a token, with the file of the tokenizer that has none of that name.
fn at(error: Error, path: &Path) -> Error {
    match error {
        Error::MissingToken(token) => Error::Read {
            reason: format!("it has no token {token}, which the chat template needs"),
            path: path.to_owned(),
        },
        error => error,
    }
}

fn header_text(role: &str) -> String {
    format!("<|start_header_id|>{role}<|end_header_id|>\n\n")
}

fn push_tokens(segments: &mut Vec<Segment>, ids: Vec<u32>) {
    match segments.last_mut() {
        _ if ids.is_empty() => {}
        Some(Segment::Tokens(last)) => last.extend(ids),
        _ => segments.push(Segment::Tokens(ids)),
    }
}

#[cfg(test)]
mod tests;
