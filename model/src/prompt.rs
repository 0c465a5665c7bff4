//! From a question to token ids: the chat template and where the tokens of each patch stand.
//!
//! As in LLaVA, the text is cut at each patch's place, and the pieces are tokenised on their own. In a conversation the
//! patches stand in the last turn, before its question: LLaVA leaves an image in the turn that it came with, but here
//! every question names its patches anew, and what was said about others before is words alone.

use std::ops::Range;
use std::path::{Path, PathBuf};

use tokenizers::Tokenizer;

use crate::package::ChatTemplate;
use crate::{tokenizer, weights};

/// Stands for one patch in the text of a prompt.
pub const IMAGE: &str = "<image>";
/// Ends a turn in Llama 3's template.
pub const END_OF_TURN: &str = "<|eot_id|>";
/// The special tokens of Llama 3's template; the demo tokenizer has the same.
pub const SPECIAL_TOKENS: [&str; 5] =
    ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", END_OF_TURN];

/// A tokenizer that cannot be used.
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
        self.segments
            .iter()
            .map(|s| match s {
                Segment::Tokens(ids) => ids.len(),
                Segment::Patch(_) => image_tokens,
            })
            .sum()
    }
}

impl Prompt {
    /// How many tokens stand before the text that follows the last patch; 0 where there is no such text.
    pub fn shared_len(&self, image_tokens: usize) -> usize {
        let Some(last) = self.segments.iter().rposition(|s| matches!(s, Segment::Patch(_))) else { return 0 };
        let (shared, rest) = self.segments.split_at(last + 1);
        let len = |segments: &[Segment]| {
            Self { segments: segments.to_vec(), text: String::new() }.len(image_tokens)
        };
        if len(rest) == 0 { 0 } else { len(shared) }
    }
}

/// What the user said earlier in a conversation: as [`user_text`], without patches.
pub fn earlier_text(question: &str, choices: &[String]) -> String {
    user_text(0, "", question, choices).trim_start().to_owned()
}

/// What the user says: patches first, then context, question and choices, a line each.
pub fn user_text(patches: usize, context: &str, question: &str, choices: &[String]) -> String {
    let mut lines = vec![IMAGE.repeat(patches)];
    if !context.trim().is_empty() {
        lines.push(format!("Context: {}", context.trim()));
    }
    lines.push(question.trim().to_owned());
    lines.extend(('A'..='Z').zip(choices).map(|(letter, choice)| format!("{letter}) {choice}")));
    lines.join("\n")
}

/// A tokenizer with a chat template.
#[derive(Clone, Debug)]
pub struct ChatTokenizer {
    tokenizer: Tokenizer,
    template: ChatTemplate,
}

impl ChatTokenizer {
    /// Reads a tokenizer, in any form, and checks that it has the template's tokens.
    pub fn read(path: &Path, template: ChatTemplate) -> Result<Self, Error> {
        Self::new(tokenizer::read(path)?, template).map_err(|error| match error {
            Error::MissingToken(token) => Error::Read {
                reason: format!("it has no token {token}, which the chat template needs"),
                path: path.to_owned(),
            },
            error => error,
        })
    }

    /// Joins a tokenizer and a template.
    pub fn new(mut tokenizer: Tokenizer, template: ChatTemplate) -> Result<Self, Error> {
        // Else `<|eot_id|>` in a question would end the user's turn.
        tokenizer.set_encode_special_tokens(true);
        let chat = Self { tokenizer, template };
        SPECIAL_TOKENS.iter().try_for_each(|t| chat.token(t).map(drop))?;
        Ok(chat)
    }

    /// The tokenizer itself.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The id of a token by its text.
    pub fn token(&self, text: &str) -> Result<u32, Error> {
        self.tokenizer.token_to_id(text).ok_or_else(|| Error::MissingToken(text.to_owned()))
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
    /// answered): words alone. [`IMAGE`] stands for a patch in the last turn only.
    pub fn conversation(&self, before: &[(String, String)], user_text: &str) -> Result<Prompt, Error> {
        let ChatTemplate::Llama3 = self.template;
        let mut segments = vec![Segment::Tokens(vec![self.token("<|begin_of_text|>")?])];
        let mut text = "<|begin_of_text|>".to_owned();
        for (said, answered) in before {
            for (role, words) in [("user", said), ("assistant", answered)] {
                push_tokens(&mut segments, self.header(role)?);
                push_tokens(&mut segments, self.encode(words.trim())?);
                push_tokens(&mut segments, vec![self.token(END_OF_TURN)?]);
                text.extend([header_text(role).as_str(), words.trim(), END_OF_TURN]);
            }
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
mod tests {
    use super::*;
    use crate::fixture::{Speech, write_package};

    #[test]
    fn the_user_says_patches_context_question_choices() {
        let choices = ["glands".to_owned(), "nests".to_owned()];
        assert_eq!(
            user_text(2, " colon ", "What is it? ", &choices),
            "<image><image>\nContext: colon\nWhat is it?\nA) glands\nB) nests"
        );
        assert_eq!(user_text(1, "", "What?", &[]), "<image>\nWhat?");
    }

    fn chat() -> ChatTokenizer {
        let folder = tempfile::tempdir().unwrap();
        write_package(folder.path(), Speech::Babble(1)).unwrap();
        ChatTokenizer::read(&folder.path().join("tokenizer.json"), ChatTemplate::Llama3).unwrap()
    }

    /// The prompt's tokens as text, special ones by their names and patches as [`IMAGE`].
    fn read_back(chat: &ChatTokenizer, prompt: &Prompt) -> String {
        let text = |segment: &Segment| match segment {
            Segment::Patch(_) => IMAGE.to_owned(),
            Segment::Tokens(ids) => chat.tokenizer().decode(ids, false).unwrap(),
        };
        prompt.segments.iter().map(text).collect()
    }

    #[test]
    fn a_conversation_of_two_turns_is_that_of_the_published_template() {
        let chat = chat();
        let choices = ["nests".to_owned(), "glands".to_owned()];
        let earlier = earlier_text(" What is seen?", &choices);
        let before = [(earlier, "[Observation]\nGlands.\n[Conclusion]\nB) glands\n".to_owned())];
        let prompt = chat.conversation(&before, &user_text(2, "colon", "Why? ", &[])).unwrap();
        // Llama 3's template for user, assistant, user, with the generation prompt (Meta's model card, "Prompt format").
        let golden = "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n\
                      What is seen?\nA) nests\nB) glands<|eot_id|>\
                      <|start_header_id|>assistant<|end_header_id|>\n\n\
                      [Observation]\nGlands.\n[Conclusion]\nB) glands<|eot_id|>\
                      <|start_header_id|>user<|end_header_id|>\n\n\
                      <image><image>\nContext: colon\nWhy?<|eot_id|>\
                      <|start_header_id|>assistant<|end_header_id|>\n\n";
        assert_eq!(prompt.text, golden);
        assert_eq!(read_back(&chat, &prompt), golden);
        let patches: Vec<&Segment> =
            prompt.segments.iter().filter(|s| matches!(s, Segment::Patch(_))).collect();
        assert_eq!(patches, [&Segment::Patch(0), &Segment::Patch(1)]);
        assert_eq!(prompt.segments.len(), 4, "words, two patches, words");
    }

    #[test]
    fn without_a_conversation_the_prompt_is_that_of_the_question_and_with_one_it_differs_only_before() {
        let chat = chat();
        let asked = user_text(1, "", "Why?", &[]);
        let alone = chat.prompt(&asked).unwrap();
        assert_eq!(chat.conversation(&[], &asked).unwrap(), alone);
        let before = [("What?".to_owned(), "Glands <image>".to_owned())];
        let after = chat.conversation(&before, &asked).unwrap();
        assert_eq!(after.segments[1..], alone.segments[1..], "a place named in words is none");
        assert!(after.text.ends_with(alone.text.trim_start_matches("<|begin_of_text|>")));
        assert_eq!(after.shared_len(4) - alone.shared_len(4), after.len(4) - alone.len(4));
    }

    #[test]
    fn words_that_look_like_the_end_of_a_turn_are_words() {
        let chat = chat();
        let end = chat.token(END_OF_TURN).unwrap();
        assert!(!chat.encode(&format!("a{END_OF_TURN}b")).unwrap().contains(&end));
        let prompt = chat.prompt(&format!("What is {END_OF_TURN}?")).unwrap();
        let plain = chat.prompt("What is it?").unwrap();
        let ends = |prompt: &Prompt| {
            let ids = prompt.segments.iter().flat_map(|segment| match segment {
                Segment::Tokens(ids) => ids.clone(),
                Segment::Patch(_) => Vec::new(),
            });
            ids.filter(|&id| id == end).count()
        };
        assert_eq!(ends(&prompt), ends(&plain));
    }
}
