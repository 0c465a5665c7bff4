//! Who answers the rows of a benchmark: a language model with image embeddings from wherever they come, so that a package
//! and a policy in training are measured by the same code.

use candle_core::Tensor;
use reinpath_model::event::Stop;
use reinpath_model::generate::{Generated, generate_batch, splice};
use reinpath_model::images::{Images, Spliced};
use reinpath_model::llama::Llama;
use reinpath_model::package::Grid;
use reinpath_model::prompt::{ChatTokenizer, IMAGE, user_text};
use reinpath_model::reinpath::ReinPath;
use reinpath_model::request::Sampling;

use crate::error::{Error, Result};
use crate::rows::Row;

/// Answers written at once by a thread.
const BATCH: usize = 50;

/// Image embeddings of rows, one tensor (images, image tokens, hidden) each.
pub type ImagesOf<'a> = dyn Fn(&[&Row]) -> Result<Vec<Tensor>> + Sync + 'a;

/// A language model that answers rows.
pub struct Answerer<'a> {
    pub llama: &'a Llama,
    pub tokenizer: &'a ChatTokenizer,
    /// Tokens that end an answer.
    pub stop: &'a [u32],
    /// How answers are drawn; greedy for figures.
    pub sampling: Sampling,
    pub images: &'a ImagesOf<'a>,
    /// Answers written at once by a thread.
    pub batch: usize,
    /// Threads that write a batch each; more than one pays on a CPU with a small model.
    pub workers: usize,
}

/// An answer as it was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// Embeddings of the prompt, (1, tokens, hidden).
    pub prompt: Tensor,
    /// Headings included.
    pub text: String,
    pub tokens: usize,
    pub stop: Stop,
}

impl<'a> Answerer<'a> {
    /// The model of a package, as a user asks it: greedy, with at most so many tokens as the package says.
    pub fn of_package(model: &'a ReinPath, images: &'a ImagesOf<'a>) -> Self {
        let max_tokens = model.manifest().generation.max_tokens;
        let workers = if model.device().is_cpu() { rayon::current_num_threads() } else { 1 };
        Self {
            llama: &model.llama,
            tokenizer: &model.tokenizer,
            stop: &model.stop,
            sampling: Sampling { max_tokens, ..Sampling::default() },
            images,
            batch: BATCH,
            workers,
        }
    }

    /// One answer to each row, in order; all are written at once.
    pub fn answer(&self, rows: &[&Row]) -> Result<Vec<Written>> {
        let prompts = self.prompts(rows)?;
        let written = generate_batch(self.llama, &prompts, 1, &self.sampling, self.stop, &mut |_| true)?;
        let decode = |(answer, prompt): (Generated, Spliced)| {
            let text = self.tokenizer.tokenizer().decode(&answer.ids(), true);
            let text = text.map_err(|e| Error::Tokenizer(e.to_string()))?;
            Ok(Written { prompt: prompt.x, text, tokens: answer.tokens.len(), stop: answer.stop })
        };
        written.into_iter().zip(prompts).map(decode).collect()
    }

    /// What stands before anything is written.
    pub fn unwritten(&self, rows: &[&Row]) -> Result<Vec<Written>> {
        let unwritten =
            |prompt: Spliced| Written { prompt: prompt.x, text: String::new(), tokens: 0, stop: Stop::End };
        Ok(self.prompts(rows)?.into_iter().map(unwritten).collect())
    }

    /// The embeddings of each row's prompt.
    fn prompts(&self, rows: &[&Row]) -> Result<Vec<Spliced>> {
        let images = (self.images)(rows)?;
        rows.iter().zip(&images).map(|(row, images)| self.prompt(row, images)).collect()
    }

    fn prompt(&self, row: &Row, images: &Tensor) -> Result<Spliced> {
        let refused =
            |reason: String| Error::Benchmark(format!("the row “{}” cannot be asked: {reason}", row.id));
        let question = row.question.as_deref().unwrap_or_default();
        let context = row.context.as_deref().unwrap_or_default();
        if [question, context].into_iter().chain(row.choices.iter().map(String::as_str)).any(has_place) {
            return Err(refused(format!("its text contains {IMAGE}, which stands for an image")));
        }
        let text = user_text(row.images.len(), context, question, &row.choices);
        let images = Images::equal(images, Grid { rows: 1, cols: images.dim(1)? })?;
        splice(self.llama, &self.tokenizer.prompt(&text)?, &images).map_err(|error| match error {
            reinpath_model::reinpath::Error::Compute(error) => error.into(),
            error => refused(error.to_string()),
        })
    }
}

fn has_place(text: &str) -> bool {
    text.contains(IMAGE)
}
