//! How likely each option of a question is, beside the one that was written.
//!
//! The option is scored as the conclusion after the written observation and analysis, by its mean log-likelihood per
//! token: a sum would favour short options (length normalisation as in lm-evaluation-harness, `acc_norm`, there by bytes).

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Tensor;

use crate::answer::TRUE_FALSE;
use crate::attribution::first_token_of;
use crate::event::OptionScore;
use crate::images::Spliced;
use crate::llama::{Course, KvCache, Positions};
use crate::package::OptionMark;
use crate::reinpath::{Error, ReinPath};
use crate::room::Demand;
use crate::stage::AnswerStage;

impl ReinPath {
    /// Scores of the options after an answer that was written: `prompt` is its prompt, `ids` the answer. Empty where the
    /// answer has no conclusion.
    pub fn score_options(
        &self,
        prompt: &Spliced,
        ids: &[u32],
        choices: &[String],
    ) -> Result<Vec<OptionScore>, Error> {
        let Some(after) = self.conclusion(ids)? else { return Ok(Vec::new()) };
        let options = self.option_ids(&after.lead, choices)?;
        let longest = options.iter().map(Vec::len).max().unwrap_or(0);
        // The last token before the conclusion is read with each option.
        let read = &ids[..after.token - 1];
        let x = if read.is_empty() {
            prompt.x.clone()
        } else {
            let read = Tensor::from_slice(read, (1, read.len()), self.device())?;
            Tensor::cat(&[&prompt.x, &self.llama.embed(&read)?], 1)?
        };
        let len = x.dim(1)?;
        let room = len + longest;
        if room > self.llama.config.max_position_embeddings {
            return Ok(Vec::new());
        }
        self.with_room(Demand::of_one(room, 0), || {
            let mut cache = KvCache::new(&self.llama.config, 1, room, self.llama.dtype(), self.device())?;
            self.llama.forward(&x, &Positions::along(&prompt.course, 0, len), Some(&mut cache))?;
            let from = After { course: &prompt.course, len, last: ids[after.token - 1] };
            self.scores(&mut cache, &from, &options, &AtomicBool::new(false))
        })
    }

    /// The same from the cache of the generation, which holds the prompt and the answer.
    pub(crate) fn score_written_options(
        &self,
        cache: &mut KvCache,
        prompt: &Spliced,
        ids: &[u32],
        choices: &[String],
        cancel: &AtomicBool,
    ) -> Result<Vec<OptionScore>, Error> {
        let Some(after) = self.conclusion(ids)? else { return Ok(Vec::new()) };
        let options = self.option_ids(&after.lead, choices)?;
        let longest = options.iter().map(Vec::len).max().unwrap_or(0);
        let len = prompt.tokens()? + after.token - 1;
        if cache.len() < len || len + longest > cache.capacity()? {
            return Ok(Vec::new());
        }
        let from = After { course: &prompt.course, len, last: ids[after.token - 1] };
        self.scores(cache, &from, &options, cancel)
    }

    /// Tokens that the options of a question take at most, with what leads to them.
    pub(crate) fn options_room(&self, choices: &[String]) -> Result<usize, Error> {
        Ok(self.option_ids("\n", choices)?.iter().map(Vec::len).max().unwrap_or(0))
    }

    /// Where the conclusion of an answer begins.
    fn conclusion(&self, ids: &[u32]) -> Result<Option<Conclusion>, Error> {
        let texts = self.token_texts(ids)?;
        let token = first_token_of(&texts, AnswerStage::Conclusion).filter(|&token| token > 0);
        Ok(token.map(|token| {
            let text = &texts[token];
            Conclusion { token, lead: text[..text.len() - text.trim_start().len()].to_owned() }
        }))
    }

    fn option_ids(&self, lead: &str, choices: &[String]) -> Result<Vec<Vec<u32>>, Error> {
        let mark = self.manifest().instructions.options;
        let ids = |(letter, choice): (char, &String)| {
            Ok(self.tokenizer.encode(&format!("{lead}{}", written(mark, letter, choice, choices)))?)
        };
        ('A'..='Z').zip(choices).map(ids).collect()
    }

    /// Scores of options that follow what the cache holds.
    fn scores(
        &self,
        cache: &mut KvCache,
        from: &After<'_>,
        options: &[Vec<u32>],
        cancel: &AtomicBool,
    ) -> Result<Vec<OptionScore>, Error> {
        let mut scores = Vec::with_capacity(options.len());
        for (letter, ids) in ('A'..='Z').zip(options) {
            if cancel.load(Ordering::Relaxed) {
                return Err(Error::Cancelled);
            }
            let Some(before) = ids.len().checked_sub(1) else { return Ok(Vec::new()) };
            let read: Vec<u32> = std::iter::once(from.last).chain(ids[..before].iter().copied()).collect();
            cache.truncate(from.len);
            let x = self.llama.embed(&Tensor::from_slice(&read, (1, read.len()), self.device())?)?;
            let at = Positions::along(from.course, from.len, read.len());
            let hidden = self.llama.forward(&x, &at, Some(cache))?;
            let logits = self.llama.logits(&hidden)?.squeeze(0)?.to_vec2::<f32>()?;
            let logprob: f64 = logits.iter().zip(ids).map(|(row, &id)| log_probability(row, id)).sum();
            scores.push(OptionScore {
                letter: letter.to_string(),
                logprob: (logprob / ids.len() as f64) as f32,
                tokens: ids.len(),
            });
        }
        Ok(scores)
    }
}

/// What options follow: the token `last`, after the first `len` tokens of a cache, on this course.
struct After<'a> {
    course: &'a Course,
    len: usize,
    last: u32,
}

struct Conclusion {
    /// The first token with text of it.
    token: usize,
    /// The white space that this token begins with.
    lead: String,
}

/// An option as a conclusion names it.
fn written(mark: OptionMark, letter: char, choice: &str, choices: &[String]) -> String {
    if choices == TRUE_FALSE.map(str::to_owned) { choice.to_owned() } else { mark.line(letter, choice) }
}

fn log_probability(logits: &[f32], id: u32) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&x| f64::from(x - max).exp()).sum();
    logits.get(id as usize).map_or(f64::NEG_INFINITY, |&x| f64::from(x - max) - sum.ln())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Question;
    use crate::fixture::{STAGED, Speech, model, patch};
    use crate::generate::splice;
    use crate::request::Sampling;

    #[test]
    fn the_option_that_was_written_is_the_likeliest_and_both_ways_agree() {
        let model = model(Speech::Script(&STAGED));
        let question = Question {
            patches: vec![patch(0, 32)],
            question: "What is it?".to_owned(),
            choices: vec!["nests".to_owned(), "glands".to_owned(), "sheets".to_owned()],
            ..Question::default()
        };
        let prepared = model.prepare(&question).unwrap();
        let finished = model
            .answer(&question, &prepared, &Sampling::default(), &AtomicBool::new(false), &mut |_| {})
            .unwrap();
        assert_eq!(finished.choice.as_deref(), Some("B"));
        let letters: Vec<&str> = finished.options.iter().map(|o| o.letter.as_str()).collect();
        assert_eq!(letters, ["A", "B", "C"]);
        let best = finished.options.iter().max_by(|a, b| a.logprob.total_cmp(&b.logprob)).unwrap();
        assert_eq!(best.letter, "B", "{:?}", finished.options);

        let images = model.images(&prepared.seen).unwrap();
        let x = splice(&model.llama, &prepared.prompt, &images).unwrap();
        let batch = model
            .answer_batch(std::slice::from_ref(&question), 1, &Sampling::default(), &mut |_| true)
            .unwrap();
        let ids: Vec<u32> = batch[0].tokens.iter().map(|t| t.id).collect();
        let again = model.score_options(&x, &ids, &question.choices).unwrap();
        for (a, b) in finished.options.iter().zip(&again) {
            assert!((a.logprob - b.logprob).abs() < 1e-4, "{a:?} and {b:?}");
        }
        assert!(model.score_options(&x, &ids[..2], &question.choices).unwrap().is_empty());
    }
}
