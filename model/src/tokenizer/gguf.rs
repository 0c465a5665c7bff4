//! The tokenizer in a GGUF file's metadata (`gguf-py/gguf/constants.py`, ggml-org/llama.cpp): Llama 3's byte-level BPE, and
//! SentencePiece vocabularies as Llama 2 has. Others are refused: how they split text is in llama.cpp's code, not in the
//! file.

use tokenizers::models::bpe::{Merges, Vocab};
use tokenizers::{AddedToken, Tokenizer};

use super::byte_level;
use super::sentencepiece::{self, Piece};
use super::tiktoken::LLAMA_3;
use crate::weights::gguf::{Gguf, Value};

/// Numbers of llama.cpp's kinds of tokens.
const NORMAL: u64 = 1;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

/// The tokenizer of a file.
pub(super) fn tokenizer(gguf: &Gguf) -> Result<Tokenizer, String> {
    let tokens = gguf.list("tokenizer.ggml.tokens", text);
    let kinds = gguf.list("tokenizer.ggml.token_type", Value::unsigned);
    match (gguf.text("tokenizer.ggml.model"), tokens) {
        (Some("gpt2"), Some(tokens)) => match gguf.text("tokenizer.ggml.pre") {
            Some("llama-bpe" | "llama3" | "llama-v3") => {
                let merges = gguf.list("tokenizer.ggml.merges", text);
                bpe(tokens, &kinds.unwrap_or_default(), &merges.ok_or("it holds no merges")?)
            }
            other => Err(format!(
                "it splits text in the way '{}', which is not supported: name its tokenizer.json",
                other.unwrap_or("default")
            )),
        },
        (Some("llama"), Some(_))
            if matches!(gguf.value("tokenizer.ggml.add_space_prefix"), Some(Value::Bool(false))) =>
        {
            Err("it puts no space before a text, which is not supported: name its tokenizer.json".to_owned())
        }
        (Some("llama"), Some(tokens)) => {
            let scores = gguf.list("tokenizer.ggml.scores", score).ok_or("it holds no scores")?;
            let kinds = kinds.ok_or("it does not tell its kinds of tokens")?;
            if scores.len() != tokens.len() || kinds.len() != tokens.len() {
                return Err("it has not as many scores and kinds as tokens".to_owned());
            }
            let pieces = tokens.into_iter().zip(scores).zip(kinds);
            let pieces: Vec<Piece> =
                pieces.map(|((text, score), kind)| Piece { text: text.to_owned(), score, kind }).collect();
            sentencepiece::tokenizer(&pieces)
        }
        (None | Some("no_vocab"), _) | (Some("gpt2" | "llama"), None) => {
            Err("it holds no tokenizer: name the file of one".to_owned())
        }
        (Some(other), _) => Err(format!("it is of the kind '{other}', which is not supported")),
    }
}

fn bpe(tokens: Vec<&str>, kinds: &[u64], merges: &[&str]) -> Result<Tokenizer, String> {
    let vocab: Vocab = tokens.iter().map(|&token| token.to_owned()).zip(0..).collect();
    if vocab.len() != tokens.len() {
        return Err("a token stands in it twice".to_owned());
    }
    let pair = |merge: &&str| -> Result<(String, String), String> {
        let (left, right) = merge.split_once(' ').ok_or_else(|| format!("its merge '{merge}' is none"))?;
        Ok((left.to_owned(), right.to_owned()))
    };
    let merges: Merges = merges.iter().map(pair).collect::<Result<_, _>>()?;
    let mut tokenizer = byte_level(vocab, merges, LLAMA_3)?;
    let kinds = kinds.iter().copied().chain(std::iter::repeat(NORMAL));
    let added = tokens.into_iter().zip(kinds).filter(|(_, kind)| [CONTROL, USER_DEFINED].contains(kind));
    let added: Vec<_> =
        added.map(|(token, kind)| AddedToken::from(token, kind == CONTROL).normalized(false)).collect();
    tokenizer.add_tokens(added).map_err(|e| e.to_string())?;
    Ok(tokenizer)
}

fn text(value: Value<'_>) -> Option<&str> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

fn score(value: Value<'_>) -> Option<f32> {
    value.float().map(|score| score as f32)
}
