//! tiktoken's files (a token in base64 and its rank on each line), which Meta publishes as `tokenizer.model` since
//! Llama 3: a byte-level BPE whose merges are rebuilt from the ranks.
//!
//! Merges and their order are those of transformers' `TikTokenConverter` (`convert_slow_tokenizer.py` at 00111b31e662),
//! special tokens those of `convert_llama_weights_to_hf.py`.

use std::collections::HashMap;

use tokenizers::models::bpe::{Merges, Vocab};
use tokenizers::{AddedToken, Tokenizer};

use super::{Whole, byte_characters, byte_level};

/// How Llama 3 splits text before it is tokenised (meta-llama/llama3 `tokenizer.py`).
pub const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How Qwen 2 splits text, and Qwen2.5-VL (`tokenizer.json` of its repositories): as Llama 3, but each digit on its own.
pub const QWEN_2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Special tokens of Llama 3, which follow the ranks.
const SPECIAL_TOKENS: usize = 256;

/// Tokens by rank.
#[derive(Clone, Debug)]
pub struct Ranks(Vec<Vec<u8>>);

/// Whether a file begins as tiktoken's do.
pub(super) fn is_ranks(bytes: &[u8]) -> bool {
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    line.trim_ascii_end().ends_with(b" 0") && line.first() != Some(&b'{')
}

impl Ranks {
    /// Reads a file's content: ranks from 0 on, in order.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_not_text| "it is no list of ranks".to_owned())?;
        let mut tokens = Vec::new();
        for (rank, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let fault = || format!("line {} is not a token and the rank {rank}", rank + 1);
            let (token, number) = line.trim().split_once(' ').ok_or_else(fault)?;
            let token = base64::decode(token).map_err(|_not_base64| fault())?;
            if number.parse() != Ok(rank) || tokens.len() != rank || token.is_empty() {
                return Err(fault());
            }
            tokens.push(token);
        }
        Ok(Self(tokens))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The vocabulary and its merges, the first one first.
    pub fn vocabulary(&self) -> Result<(Vocab, Merges), String> {
        let ranks: HashMap<&[u8], u32> = self.0.iter().map(Vec::as_slice).zip(0..).collect();
        if ranks.len() != self.0.len() {
            return Err("a token stands in it twice".to_owned());
        }
        if let Some(byte) = (0..=u8::MAX).find(|byte| !ranks.contains_key([*byte].as_slice())) {
            return Err(format!("it has no token for the byte {byte}"));
        }
        let characters = byte_characters();
        let text = |token: &[u8]| token.iter().map(|&byte| characters[usize::from(byte)]).collect::<String>();
        let mut merges = Merges::new();
        for token in &self.0 {
            let halves = |at: usize| {
                let (left, right) = token.split_at(at);
                Some((*ranks.get(left)?, *ranks.get(right)?, at))
            };
            let mut pairs: Vec<_> = (1..token.len()).filter_map(halves).collect();
            pairs.sort_unstable();
            merges.extend(pairs.into_iter().map(|(_, _, at)| (text(&token[..at]), text(&token[at..]))));
        }
        Ok((self.0.iter().map(|token| text(token)).zip(0..).collect(), merges))
    }

    /// The tokenizer of these ranks that splits text by `pattern`; `special` tokens follow the ranks.
    pub fn tokenizer(
        &self,
        pattern: &str,
        special: impl IntoIterator<Item = String>,
    ) -> Result<Tokenizer, String> {
        let (vocab, merges) = self.vocabulary()?;
        let mut tokenizer = byte_level(vocab, merges, pattern, Whole::Kept)?;
        let special: Vec<_> =
            special.into_iter().map(|token| AddedToken::from(token, true).normalized(false)).collect();
        tokenizer.add_special_tokens(special).map_err(|e| e.to_string())?;
        Ok(tokenizer)
    }
}

/// Llama 3's tokenizer. All its versions have the same ranks; the special tokens have the names of 3.1, which gave
/// three of those that 3 reserved a use.
pub fn llama3(ranks: &Ranks) -> Result<Tokenizer, String> {
    ranks.tokenizer(LLAMA_3, special_tokens())
}

fn special_tokens() -> Vec<String> {
    let named = [
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|reserved_special_token_0|>",
        "<|reserved_special_token_1|>",
        "<|finetune_right_pad_id|>",
        "<|reserved_special_token_2|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eom_id|>",
        "<|eot_id|>",
        "<|python_tag|>",
    ];
    let reserved = (3..).map(|i| format!("<|reserved_special_token_{i}|>"));
    named.map(str::to_owned).into_iter().chain(reserved).take(SPECIAL_TOKENS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All bytes, then "he", "ll", "hell", "hello".
    fn small() -> String {
        let bytes = (0..=u8::MAX).map(|byte| vec![byte]);
        let words = ["he", "ll", "hell", "hello"].map(|word| word.as_bytes().to_vec());
        let lines = bytes.chain(words).enumerate();
        let lines = lines.map(|(rank, token)| format!("{} {rank}\n", base64::encode(token)));
        lines.collect::<Vec<_>>().concat()
    }

    #[test]
    fn ranks_become_merges_and_special_tokens_follow() {
        assert!(is_ranks(b"IQ== 0\nIg== 1\n") && !is_ranks(b"{ 0") && !is_ranks(b""));
        let ranks = Ranks::parse(small().as_bytes()).unwrap();
        let (_, merges) = ranks.vocabulary().unwrap();
        let merges: Vec<_> = merges.iter().map(|(l, r)| format!("{l} {r}")).collect();
        assert_eq!(merges, ["h e", "l l", "he ll", "hell o"]);
        let tokenizer = llama3(&ranks).unwrap();
        let ids = |text: &str| tokenizer.encode_fast(text, false).unwrap().get_ids().to_vec();
        assert_eq!(ids("hello"), [259]);
        assert_eq!(ids(" hell"), [32, 258]);
        assert_eq!(tokenizer.token_to_id("<|begin_of_text|>"), Some(260));
        assert_eq!(tokenizer.token_to_id("<|eot_id|>"), Some(269));
        assert_eq!(tokenizer.get_vocab_size(true), 260 + 256);
        assert_eq!(tokenizer.decode(&[259, 32, 0xc3, 0xa4], true).unwrap(), "hello ä");
    }

    #[test]
    fn what_is_no_list_of_ranks_is_refused() {
        let whole = small();
        for (broken, reason) in [
            (whole.replacen(" 7\n", " 8\n", 1), "line 8 "),
            (whole.replacen(" 7\n", "\n", 1), "line 8 "),
            (whole.replacen("AA== 0\n", "", 1), "line 1 "),
            (whole.replacen("AA==", "A(==", 1), "line 1 "),
            (whole.replacen("BQ== 5", "BA== 5", 1), "twice"),
            (whole.replacen("BQ== 5", "aGU= 5", 1), "twice"),
            (whole.replacen("BQ== 5", "aGVs 5", 1), "byte 5"),
        ] {
            let error = Ranks::parse(broken.as_bytes()).and_then(|ranks| llama3(&ranks)).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
