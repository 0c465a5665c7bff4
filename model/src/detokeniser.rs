//! Token ids to text as they come, never splitting a character.
//!
//! Byte-level BPE: a token can hold part of a character. What cannot be decoded yet comes out as U+FFFD at the end, and
//! is held back until it can be, or until the text ends.

use tokenizers::Tokenizer;

use crate::prompt::Error;

/// Decodes one sequence.
#[derive(Clone, Debug)]
pub struct Detokeniser<'a> {
    tokenizer: &'a Tokenizer,
    /// Tokens whose text was not given out yet.
    held: Vec<u32>,
}

impl<'a> Detokeniser<'a> {
    /// At the beginning of a text.
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, held: Vec::new() }
    }

    /// The text that is complete now; empty while a character is incomplete. Special tokens give none.
    pub fn push(&mut self, id: u32) -> Result<String, Error> {
        self.held.push(id);
        let text = self.decode()?;
        if text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        self.held.clear();
        Ok(text)
    }

    /// What is left, be it whole or not.
    pub fn finish(&mut self) -> Result<String, Error> {
        let text = if self.held.is_empty() { String::new() } else { self.decode()? };
        self.held.clear();
        Ok(text)
    }

    fn decode(&self) -> Result<String, Error> {
        self.tokenizer.decode(&self.held, true).map_err(|e| Error::Encode(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::Detokeniser;
    use crate::fixture::byte_tokenizer;

    #[test]
    fn characters_come_whole_however_many_tokens_they_take() {
        let tokenizer = byte_tokenizer(&[]).unwrap();
        let text = "Σ 5 µm, 細胞 🧫 é";
        let ids = tokenizer.encode_fast(text, false).unwrap().get_ids().to_vec();
        assert!(ids.len() > text.chars().count(), "one token per byte");
        let mut decoder = Detokeniser::new(&tokenizer);
        let mut pieces: Vec<String> = ids.iter().map(|&id| decoder.push(id).unwrap()).collect();
        assert!(pieces.iter().all(|p| !p.contains(char::REPLACEMENT_CHARACTER)));
        pieces.push(decoder.finish().unwrap());
        assert_eq!(pieces.concat(), text);
    }

    #[test]
    fn half_a_character_at_the_end_is_shown_as_such() {
        let tokenizer = byte_tokenizer(&[]).unwrap();
        let ids = tokenizer.encode_fast("é", false).unwrap().get_ids().to_vec();
        let mut decoder = Detokeniser::new(&tokenizer);
        assert_eq!(decoder.push(ids[0]).unwrap(), "");
        assert_eq!(decoder.finish().unwrap(), "\u{FFFD}");
        assert_eq!(decoder.finish().unwrap(), "");
    }
}
