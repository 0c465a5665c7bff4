//! The tokenizer in a GGUF file's metadata (`gguf-py/gguf/constants.py`, ggml-org/llama.cpp): the byte-level BPE of Llama 3
//! and of Qwen 2, and SentencePiece vocabularies as Llama 2 has. Others are refused: how they split text is in llama.cpp's code, not in the
//! file.

use tokenizers::models::bpe::{Merges, Vocab};
use tokenizers::normalizers::NFC;
use tokenizers::{AddedToken, Tokenizer};

use super::sentencepiece::{self, Piece};
use super::tiktoken::{LLAMA_3, QWEN_2};
use super::{Whole, byte_level};
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
        (Some("gpt2"), Some(tokens)) => {
            let words = match gguf.text("tokenizer.ggml.pre") {
                Some("llama-bpe" | "llama3" | "llama-v3") => Words::Llama3,
                Some("qwen2") => Words::Qwen2,
                other => {
                    return Err(format!(
                        "it splits text in the way '{}', which is not supported: name its tokenizer.json",
                        other.unwrap_or("default")
                    ));
                }
            };
            let merges = gguf.list("tokenizer.ggml.merges", text);
            bpe(tokens, &kinds.unwrap_or_default(), &merges.ok_or("it holds no merges")?, words)
        }
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

/// Whose way of making words of a text.
#[derive(Clone, Copy)]
enum Words {
    Llama3,
    Qwen2,
}

fn bpe(tokens: Vec<&str>, kinds: &[u64], merges: &[&str], words: Words) -> Result<Tokenizer, String> {
    let vocab: Vocab = tokens.iter().map(|&token| token.to_owned()).zip(0..).collect();
    if vocab.len() != tokens.len() {
        return Err("a token stands in it twice".to_owned());
    }
    let pair = |merge: &&str| -> Result<(String, String), String> {
        let (left, right) = merge.split_once(' ').ok_or_else(|| format!("its merge '{merge}' is none"))?;
        Ok((left.to_owned(), right.to_owned()))
    };
    let merges: Merges = merges.iter().map(pair).collect::<Result<_, _>>()?;
    let mut tokenizer = match words {
        Words::Llama3 => byte_level(vocab, merges, LLAMA_3, Whole::Kept)?,
        Words::Qwen2 => {
            let mut tokenizer = byte_level(vocab, merges, QWEN_2, Whole::Merged)?;
            tokenizer.with_normalizer(Some(NFC)).map_err(|e| e.to_string())?;
            tokenizer
        }
    };
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

#[cfg(test)]
mod tests {
    use candle_core::quantized::gguf_file::{self, Value as Written};
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    use super::*;

    /// A file with all bytes, "he", "ll" and the special token of an image, and no merge for "hell".
    fn file(path: &std::path::Path, pre: &str) -> Gguf {
        let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
        alphabet.sort_unstable();
        let mut tokens: Vec<String> = alphabet.iter().map(char::to_string).collect();
        tokens.extend(["he", "ll", "hell", "<|image_pad|>"].map(str::to_owned));
        let text = |text: &str| Written::String(text.to_owned());
        let kinds = (0..tokens.len()).map(|i| Written::I32(if i + 1 == tokens.len() { 3 } else { 1 }));
        let metadata = [
            ("tokenizer.ggml.model", text("gpt2")),
            ("tokenizer.ggml.pre", text(pre)),
            ("tokenizer.ggml.token_type", Written::Array(kinds.collect())),
            ("tokenizer.ggml.merges", Written::Array(vec![text("h e"), text("l l")])),
            ("tokenizer.ggml.tokens", Written::Array(tokens.iter().map(|token| text(token)).collect())),
        ];
        let metadata: Vec<(&str, &Written)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
        gguf_file::write(&mut std::fs::File::create(path).unwrap(), &metadata, &[]).unwrap();
        Gguf::open(path).unwrap()
    }

    #[test]
    fn each_way_of_making_words_is_that_of_its_family() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.gguf");
        let ids = |tokenizer: &Tokenizer, text: &str| {
            tokenizer.encode_fast(text, false).unwrap().get_ids().to_vec()
        };
        let llama = tokenizer(&file(&path, "llama-bpe")).unwrap();
        let qwen = tokenizer(&file(&path, "qwen2")).unwrap();
        assert_eq!((ids(&llama, "hell"), ids(&qwen, "hell")), (vec![258], vec![256, 257]));
        // Composed and decomposed letters are one to Qwen.
        assert_eq!(ids(&qwen, "\u{e4}"), ids(&qwen, "a\u{308}"));
        assert_ne!(ids(&llama, "\u{e4}"), ids(&llama, "a\u{308}"));
        assert_eq!(ids(&qwen, "<|image_pad|>"), [259]);
        assert_eq!(qwen.token_to_id("<|image_pad|>"), Some(259));
        let other = tokenizer(&file(&path, "tekken")).unwrap_err();
        assert!(other.contains("'tekken'"), "{other}");
    }
}
