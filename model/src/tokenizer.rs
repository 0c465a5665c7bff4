//! Tokenizers in the forms in which they are published, told apart by what is in the file: `tokenizer.json` (Hugging
//! Face), tiktoken's ranks (Meta's `tokenizer.model` since Llama 3), SentencePiece models (Llama 2's), and the metadata
//! of GGUF files.
//!
//! All become the same type, which gives the same ids as the program that the form belongs to (`tests/tokenizers.rs`).

mod gguf;
pub mod sentencepiece;
pub mod tiktoken;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{SplitDelimiterBehavior, Tokenizer};

use crate::prompt::Error;
use crate::weights::gguf::Gguf;

/// Longer than any tokenizer's file; the longest published ones have some 30 MB.
const LONGEST: u64 = 256 << 20;

/// Reads a tokenizer.
pub fn read(path: &Path) -> Result<Tokenizer, Error> {
    let failed = |reason: String| Error::Read { reason, path: path.to_owned() };
    let unreadable = |e: std::io::Error| failed(e.to_string());
    let mut file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.by_ref().take(4).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes == b"GGUF" {
        return gguf::tokenizer(&Gguf::open(path)?).map_err(failed);
    }
    if file.metadata().map_err(unreadable)?.len() > LONGEST {
        return Err(failed(format!("it is longer than {} MB, as no tokenizer is", LONGEST >> 20)));
    }
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    if sentencepiece::is_model(&bytes) {
        let pieces = sentencepiece::pieces(&bytes).map_err(failed)?;
        return sentencepiece::tokenizer(&pieces).map_err(failed);
    }
    if tiktoken::is_ranks(&bytes) {
        return tiktoken::Ranks::parse(&bytes).and_then(|ranks| tiktoken::llama3(&ranks)).map_err(failed);
    }
    Tokenizer::from_bytes(&bytes).map_err(|e| failed(e.to_string()))
}

/// What becomes of words that are tokens as they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whole {
    /// They are those tokens, as in Llama 3.
    Kept,
    /// They are put together by merges as all others, as in Qwen 2.
    Merged,
}

/// A byte-level BPE that splits text by `pattern` first.
fn byte_level(vocab: Vocab, merges: Merges, pattern: &str, whole: Whole) -> Result<Tokenizer, String> {
    // The library writes each merge into a buffer of the longest token's length.
    for (left, right) in &merges {
        let joined = format!("{left}{right}");
        if let Some(strange) = [left, right, &joined].into_iter().find(|&part| !vocab.contains_key(part)) {
            return Err(format!("it merges '{left}' and '{right}', but '{strange}' is no token"));
        }
    }
    let text = |e: tokenizers::Error| e.to_string();
    let bpe = BPE::builder().vocab_and_merges(vocab, merges).ignore_merges(whole == Whole::Kept);
    let model = bpe.build().map_err(text)?;
    let mut tokenizer = Tokenizer::new(model);
    let pattern = SplitPattern::Regex(pattern.to_owned());
    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(text)?;
    let steps = vec![split.into(), ByteLevel::new(false, true, false).into()];
    tokenizer.with_pre_tokenizer(Some(Sequence::new(steps)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    Ok(tokenizer)
}

/// The character that stands for each byte in a byte-level vocabulary: itself where it can be seen, else one from
/// U+0100 on (`bytes_to_unicode`, openai/gpt-2 `encoder.py`).
fn byte_characters() -> [char; 256] {
    let mut characters = ['\0'; 256];
    let mut unseen = (0x100..).filter_map(char::from_u32);
    for (byte, character) in (0..=u8::MAX).zip(&mut characters) {
        let is_seen = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
        *character =
            if is_seen { char::from(byte) } else { unseen.next().unwrap_or(char::REPLACEMENT_CHARACTER) };
    }
    characters
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_byte_has_the_librarys_character() {
        let ours: BTreeSet<char> = byte_characters().into_iter().collect();
        let theirs: BTreeSet<char> = ByteLevel::alphabet().into_iter().collect();
        assert_eq!(ours, theirs);
        assert_eq!((byte_characters()[b' ' as usize], byte_characters()[b'\n' as usize]), ('Ġ', 'Ċ'));
    }

    #[test]
    fn what_is_no_tokenizer_is_refused_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.model");
        for bytes in
            [&b""[..], b"{", b"\x0a\x05\x0a\x03", b"IQ== 1\n", b"IQ== 0\nI 1\n", b"GGUF", b"\xff\xfe\xfd"]
        {
            std::fs::write(&path, bytes).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.ends_with("tokenizer.model") && error.lines().count() == 1, "{error}");
        }
    }
}
