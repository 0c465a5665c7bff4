//! SentencePiece models of the kind that Llama 2 has: a BPE over characters whose merges follow from the pieces' scores,
//! with bytes for what has no piece, and `▁` for a space.
//!
//! As transformers' `LlamaConverter` makes a fast tokenizer of them (`convert_slow_tokenizer.py` at 00111b31e662; the
//! merges are `generate_merges`). The file is a protobuf message, of which three fields matter; SentencePiece models of
//! the kind Unigram are refused.

use std::cmp::Reverse;
use std::collections::HashMap;

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::{Prepend, Replace, Sequence};
use tokenizers::{AddedToken, Tokenizer};

/// Stands for a space.
const SPACE: &str = "▁";

/// What a piece is (`SentencePiece.Type`; llama.cpp has the same numbers).
const NORMAL: u64 = 1;
const UNKNOWN: u64 = 2;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

/// The only kind of model that is read (`TrainerSpec.ModelType`).
const BPE_MODEL: u64 = 2;

/// A piece of the vocabulary; its place is its id.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    pub text: String,
    pub score: f32,
    pub kind: u64,
}

/// Whether a file begins as SentencePiece's do: a piece, of which the first field is a text.
pub(super) fn is_model(bytes: &[u8]) -> bool {
    matches!(bytes, [0x0a, _, 0x0a, ..])
}

/// The pieces of a model file.
pub fn pieces(bytes: &[u8]) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    for field in Fields(bytes) {
        match field? {
            (1, Field::Bytes(bytes)) => pieces.push(piece(bytes)?),
            (2, Field::Bytes(trainer)) => {
                for field in Fields(trainer) {
                    if let (3, Field::Number(kind)) = field?
                        && kind != BPE_MODEL
                    {
                        return Err("it is a SentencePiece model of another kind than BPE".to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    Ok(pieces)
}

fn piece(bytes: &[u8]) -> Result<Piece, String> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: NORMAL };
    for field in Fields(bytes) {
        match field? {
            (1, Field::Bytes(text)) => {
                let text = std::str::from_utf8(text).map_err(|_not_text| "a piece is no text".to_owned())?;
                text.clone_into(&mut piece.text);
            }
            (2, Field::Bits(bits)) => piece.score = f32::from_bits(bits),
            (3, Field::Number(kind)) => piece.kind = kind,
            _ => {}
        }
    }
    Ok(piece)
}

/// The tokenizer of these pieces.
pub fn tokenizer(pieces: &[Piece]) -> Result<Tokenizer, String> {
    let vocab: Vocab = pieces.iter().map(|piece| piece.text.clone()).zip(0..).collect();
    if vocab.len() != pieces.len() {
        return Err("a piece stands in it twice".to_owned());
    }
    let unknown = pieces.iter().find(|piece| piece.kind == UNKNOWN).ok_or("it has no unknown piece")?;
    let text = |e: tokenizers::Error| e.to_string();
    let model = BPE::builder()
        .vocab_and_merges(vocab, merges(pieces))
        .unk_token(unknown.text.clone())
        .fuse_unk(true)
        .byte_fallback(true)
        .build()
        .map_err(text)?;
    let mut tokenizer = Tokenizer::new(model);
    let spaces = Replace::new(" ", SPACE).map_err(text)?;
    let steps = vec![Prepend::new(SPACE.to_owned()).into(), spaces.into()];
    tokenizer.with_normalizer(Some(Sequence::new(steps))).map_err(text)?;
    let spaces = Replace::new(SPACE, " ").map_err(text)?;
    tokenizer.with_decoder(Some(Decoders::new(vec![
        spaces.into(),
        ByteFallback::new().into(),
        Fuse::new().into(),
        Strip::new(' ', 1, 0).into(),
    ])));
    let added = pieces.iter().filter(|piece| [UNKNOWN, CONTROL, USER_DEFINED].contains(&piece.kind));
    let added: Vec<_> = added
        .map(|piece| AddedToken::from(piece.text.clone(), piece.kind != USER_DEFINED).normalized(false))
        .collect();
    tokenizer.add_tokens(added).map_err(text)?;
    Ok(tokenizer)
}

/// Two pieces that make a third, those with the highest score first; of one piece, the longest left part first.
fn merges(pieces: &[Piece]) -> Merges {
    let ids: HashMap<&str, usize> = pieces.iter().map(|piece| piece.text.as_str()).zip(0..).collect();
    let mut found = Vec::new();
    for piece in pieces.iter().filter(|piece| piece.kind == NORMAL) {
        let cuts = piece.text.char_indices().skip(1).map(|(at, _)| piece.text.split_at(at));
        let mut pairs: Vec<_> =
            cuts.filter_map(|(left, right)| Some((*ids.get(left)?, *ids.get(right)?, left, right))).collect();
        pairs.sort_unstable();
        found.extend(pairs.into_iter().map(|(_, _, left, right)| (piece.score, left, right)));
    }
    let length = |text: &str| Reverse(text.chars().count());
    found.sort_by(|a, b| {
        b.0.total_cmp(&a.0).then_with(|| (length(a.1), length(a.2)).cmp(&(length(b.1), length(b.2))))
    });
    found.into_iter().map(|(_, left, right)| (left.to_owned(), right.to_owned())).collect()
}

/// A field of a protobuf message.
enum Field<'a> {
    Number(u64),
    Bits(u32),
    Bytes(&'a [u8]),
    Other,
}

/// The fields of a protobuf message, with their numbers; nothing follows a fault.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (part, rest) = self.0.split_at_checked(n).ok_or("it is cut off")?;
        self.0 = rest;
        Ok(part)
    }

    fn number(&mut self) -> Result<u64, String> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number in it does not end".to_owned())
    }

    fn field(&mut self) -> Result<(u64, Field<'a>), String> {
        let tag = self.number()?;
        let field = match tag & 7 {
            0 => Field::Number(self.number()?),
            1 => {
                self.take(8)?;
                Field::Other
            }
            2 => {
                let length =
                    usize::try_from(self.number()?).map_err(|_too_long| "it is cut off".to_owned())?;
                Field::Bytes(self.take(length)?)
            }
            5 => {
                let bits = self.take(4)?;
                Field::Bits(u32::from_le_bytes([bits[0], bits[1], bits[2], bits[3]]))
            }
            other => return Err(format!("it has a field of the kind {other}, which is not known")),
        };
        Ok((tag >> 3, field))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary() -> Vec<Piece> {
        let of = |text: &str, score: f32, kind: u64| Piece { text: text.to_owned(), score, kind };
        let mut pieces = vec![of("<unk>", 0.0, UNKNOWN), of("<s>", 0.0, CONTROL), of("</s>", 0.0, CONTROL)];
        pieces.extend((0..=u8::MAX).map(|byte| of(&format!("<0x{byte:02X}>"), 0.0, 6)));
        let words = ["▁a", "ab", "▁ab", "▁", "a", "b"];
        pieces.extend(words.iter().zip(0u8..).map(|(word, i)| of(word, -f32::from(i), NORMAL)));
        pieces
    }

    #[test]
    fn merges_follow_the_scores_and_bytes_stand_for_the_rest() {
        let pieces = vocabulary();
        let found: Vec<_> = merges(&pieces).into_iter().map(|(l, r)| format!("{l}+{r}")).collect();
        assert_eq!(found, ["▁+a", "a+b", "▁a+b", "▁+ab"]);
        let tokenizer = tokenizer(&pieces).unwrap();
        let ids = |text: &str| tokenizer.encode_fast(text, false).unwrap().get_ids().to_vec();
        assert_eq!(ids("ab"), [261]);
        assert_eq!(ids("é"), [262, 3 + 0xc3, 3 + 0xa9]);
        assert_eq!(tokenizer.decode(&ids("ab é a"), true).unwrap(), "ab é a");
    }

    #[test]
    fn a_file_that_is_cut_or_of_another_kind_is_refused() {
        // One piece "a" of score -1, then a trainer of the kind Unigram.
        let model = b"\x0a\x08\x0a\x01a\x15\0\0\x80\xbf\x12\x02\x18\x01";
        assert_eq!(
            pieces(&model[..10]).unwrap(),
            [Piece { text: "a".to_owned(), score: -1.0, kind: NORMAL }]
        );
        assert!(pieces(model).unwrap_err().contains("another kind"));
        for cut in 1..10 {
            assert!(pieces(&model[..cut]).is_err(), "{cut}");
        }
        assert!(pieces(&[0x80; 20]).is_err());
        assert!(tokenizer(&pieces(&model[..10]).unwrap()).unwrap_err().contains("unknown"));
    }
}
