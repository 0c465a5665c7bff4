//! Rows as token ids: what a package's tokenizer and chat template make of them. No weights are read.

use std::sync::LazyLock;

use reinpath_model::check::language_config;
use reinpath_model::llama::LlamaConfig;
use reinpath_model::package::Package;
use reinpath_model::prompt::{ChatTokenizer, Prompt, user_text};

use super::text::{Lengths, Measure, answer_text};
use crate::error::Result;
use crate::rows::Row;
use crate::subtask::Subtasks;

/// Stands for the question of a caption that has none of its own: alignment draws one for each from a set.
static CAPTION_QUESTION: LazyLock<String> =
    LazyLock::new(|| Subtasks::shipped().general.first().cloned().unwrap_or_default());

/// A package's tokenizer with what limits the length of rows.
#[derive(Debug)]
pub struct TokenMeasure {
    tokenizer: ChatTokenizer,
    end: u32,
    pub(super) config: LlamaConfig,
    /// Tokens of an image.
    pub(super) image_tokens: usize,
    answer_limit: usize,
}

impl TokenMeasure {
    /// Reads the tokenizer and the configuration of a package's language model.
    ///
    /// # Errors
    /// A package that must not or cannot be trained: nobody needs to measure rows for it.
    pub fn open(package: &Package) -> Result<Self> {
        package.may_train()?;
        let manifest = &package.manifest;
        let tokenizer = ChatTokenizer::of_package(package)?;
        Ok(Self {
            end: tokenizer.token(tokenizer.end_of_turn())?,
            tokenizer,
            config: language_config(package)?,
            image_tokens: manifest.image_tokens(),
            answer_limit: manifest.generation.max_tokens,
        })
    }

    /// The prompt of a row, up to where its answer begins.
    pub fn prompt(&self, row: &Row) -> Result<Prompt> {
        let context = row.context.as_deref().unwrap_or_default();
        let text = user_text(row.images.len(), context, question(row), &row.choices);
        Ok(self.tokenizer.prompt(&text)?)
    }

    /// The ids of a row's answer with the token that ends it; none where it has no answer.
    pub fn answer(&self, row: &Row) -> Result<Vec<u32>> {
        let Some(text) = answer_text(row) else { return Ok(Vec::new()) };
        let mut ids = self.tokenizer.encode(&text)?;
        ids.push(self.end);
        Ok(ids)
    }
}

/// The row's question; a caption without one gets the first of the general questions.
pub(crate) fn question(row: &Row) -> &str {
    row.question.as_deref().filter(|question| !question.trim().is_empty()).unwrap_or(&CAPTION_QUESTION)
}

impl Measure for TokenMeasure {
    fn lengths(&self, row: &Row) -> std::result::Result<Lengths, String> {
        let measured = self.prompt(row).and_then(|prompt| Ok((prompt, self.answer(row)?)));
        let (prompt, answer) = measured.map_err(|error| error.to_string())?;
        Ok(Lengths { prompt: prompt.len(self.image_tokens), answer: answer.len() })
    }

    fn limit(&self) -> usize {
        self.config.max_position_embeddings
    }

    fn answer_limit(&self) -> usize {
        self.answer_limit
    }
}

#[cfg(test)]
mod tests {
    use reinpath_model::fixture::{CONTEXT, Speech, write_package};

    use super::*;
    use crate::dataset::for_tests::question as a_question;

    #[test]
    fn a_row_is_as_long_as_its_prompt_with_its_images_and_its_answer() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = write_package(folder.path(), Speech::Babble(1)).unwrap();
        let measure = TokenMeasure::open(&Package::open(folder.path()).unwrap()).unwrap();
        let row = a_question("a", "x.png");
        let lengths = measure.lengths(&row).unwrap();
        // The fixture's tokens are bytes.
        assert_eq!(lengths.answer, answer_text(&row).unwrap().len() + 1);
        let two = Row { images: vec!["x.png".to_owned(), "y.png".to_owned()], ..row.clone() };
        let grown = measure.lengths(&two).unwrap().prompt - lengths.prompt;
        assert_eq!(grown, manifest.image_tokens());
        let label = Row { answer: None, ..row };
        assert_eq!(measure.lengths(&label).unwrap(), Lengths { answer: 0, ..lengths });
        assert_eq!((measure.limit(), measure.answer_limit()), (CONTEXT, 64));
        let caption = Row::from_caption("c", "x.png", "Nests.");
        assert!(measure.prompt(&caption).unwrap().text.contains(CAPTION_QUESTION.as_str()));
    }
}
