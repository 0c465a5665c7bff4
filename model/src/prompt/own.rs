//! Prompts by a model's own chat template, as Qwen2.5-VL has one: from its pieces to tokens.
//!
//! Names of special tokens are tokens where the template writes them, and words where somebody says them. What stands
//! between two special tokens is tokenised as one text, the template's words with what was said: so are the ids those of
//! transformers, which knows no difference.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tokenizers::Tokenizer;

use super::{ChatTokenizer, Error, IMAGE, Prompt, Segment, push_tokens};
use crate::template::{Piece, Role, Template, Turn};

/// Ends a turn in ChatML.
pub const IM_END: &str = "<|im_end|>";
/// Where the tokens of an image stand in Qwen2.5-VL's template.
pub const IMAGE_PAD: &str = "<|image_pad|>";
/// The special tokens of Qwen2.5-VL's template.
pub const VISION_TOKENS: [&str; 5] =
    ["<|im_start|>", IM_END, "<|vision_start|>", "<|vision_end|>", IMAGE_PAD];

/// A template of a model's own, with the special tokens that it can name.
#[derive(Clone, Debug)]
pub(super) struct OwnTemplate {
    template: Template,
    /// By name.
    special: BTreeMap<String, u32>,
    /// For messages.
    path: PathBuf,
}

impl OwnTemplate {
    /// Refuses a tokenizer without the special tokens of Qwen2.5-VL's template.
    pub(super) fn new(tokenizer: &Tokenizer, template: Template, path: PathBuf) -> Result<Self, Error> {
        let named = tokenizer.get_added_tokens_decoder().into_iter();
        let special: BTreeMap<String, u32> = named
            .filter(|(_, token)| token.special && !token.content.is_empty())
            .map(|(id, token)| (token.content, id))
            .collect();
        match VISION_TOKENS.iter().find(|name| !special.contains_key(**name)) {
            Some(name) => Err(Error::MissingToken((*name).to_owned())),
            None => Ok(Self { template, special, path }),
        }
    }

    pub(super) fn is_special(&self, id: u32) -> bool {
        self.special.values().any(|&own| own == id)
    }

    /// As [`ChatTokenizer::conversation`].
    pub(super) fn prompt(
        &self,
        chat: &ChatTokenizer,
        before: &[(String, String)],
        user_text: &str,
    ) -> Result<Prompt, Error> {
        let images = user_text.matches(IMAGE).count();
        let turn = |role, words: &str| Turn { role, images: 0, words: words.trim().to_owned() };
        let mut turns = Vec::new();
        if !chat.system.is_empty() {
            turns.push(turn(Role::System, &chat.system));
        }
        for (said, answered) in before {
            turns.extend([turn(Role::User, said), turn(Role::Assistant, answered)]);
        }
        turns.push(Turn { images, ..turn(Role::User, &user_text.replace(IMAGE, "")) });

        let mut prompt = Prompt { segments: Vec::new(), text: String::new() };
        let (mut plain, mut places) = (String::new(), 0);
        for piece in self.template.render(&turns)? {
            let frame = match piece {
                Piece::Frame(frame) => frame,
                Piece::Words(words) => {
                    prompt.text.push_str(&words);
                    plain.push_str(&words);
                    continue;
                }
            };
            prompt.text.push_str(&frame.replace(IMAGE_PAD, IMAGE));
            let mut rest = frame.as_str();
            while let Some((at, name, id)) = self.first_special(rest) {
                plain.push_str(&rest[..at]);
                push_tokens(&mut prompt.segments, chat.encode(&std::mem::take(&mut plain))?);
                if name == IMAGE_PAD {
                    prompt.segments.push(Segment::Patch(places));
                    places += 1;
                } else {
                    push_tokens(&mut prompt.segments, vec![id]);
                }
                rest = &rest[at + name.len()..];
            }
            plain.push_str(rest);
        }
        push_tokens(&mut prompt.segments, chat.encode(&plain)?);
        if places != images {
            let reason = format!("it has {places} places for {images} images");
            return Err(Error::Template { reason, path: self.path.clone() });
        }
        Ok(prompt)
    }

    /// The special token that comes first in a text: where it begins, its name and its id. Of those that begin at one place
    /// it is the longest.
    fn first_special(&self, text: &str) -> Option<(usize, &str, u32)> {
        // Place by place, so that a text of any length is gone through once however many tokens are in it.
        text.char_indices().find_map(|(at, _)| {
            let here = self.special.iter().filter(|(name, _)| text[at..].starts_with(name.as_str()));
            let (name, &id) = here.max_by_key(|(name, _)| name.len())?;
            Some((at, name.as_str(), id))
        })
    }
}
