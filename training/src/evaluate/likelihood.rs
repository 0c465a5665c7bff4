//! Which option a model holds likeliest, whatever it wrote: many questions at once, so that a whole benchmark is cheap.
//!
//! The option is scored as the conclusion after the observation and analysis that were written; where none were, as in a
//! model that has not yet learned stages, right after the prompt. By its mean log-likelihood per token, as
//! `options.rs` of the model does for one question: a sum would favour short options.

use std::sync::Arc;

use candle_core::Tensor;
use reinpath_model::llama::{KvCache, Positions};
use reinpath_model::stage::AnswerStage;

use super::answerer::{Answerer, Written};
use super::judge::options;
use crate::error::Result;
use crate::rows::{Row, RowKind};

/// A question whose options are to be scored.
struct Asked {
    /// Its place among the rows.
    row: usize,
    /// Embeddings of all that is read before `last`, (1, tokens, hidden).
    before: Tensor,
    /// The last token that all options share.
    last: u32,
    /// The tokens of each option after it.
    options: Vec<Vec<u32>>,
}

impl Asked {
    fn longest(&self) -> usize {
        self.options.iter().map(Vec::len).max().unwrap_or(0)
    }
}

impl Answerer<'_> {
    /// The place of the likeliest option of each row after what was written; `None` for an open question, and where
    /// prompt, answer and option are longer than the model reads.
    pub fn likeliest(&self, rows: &[&Row], written: &[Written]) -> Result<Vec<Option<usize>>> {
        let mut asked = Vec::new();
        for (at, (row, written)) in rows.iter().zip(written).enumerate() {
            asked.extend(self.asked(at, row, written)?);
        }
        let mut likeliest = vec![None; rows.len()];
        for asked in asked.chunks((self.batch / 4).max(1)) {
            for (asked, scores) in asked.iter().zip(self.scores(asked)?) {
                likeliest[asked.row] = first_highest(&scores);
            }
        }
        Ok(likeliest)
    }

    fn asked(&self, at: usize, row: &Row, written: &Written) -> Result<Option<Asked>> {
        let begin = before_conclusion(&written.text);
        let whole = |(letter, option): (char, String)| {
            let said = if row.kind == RowKind::Choice { format!("{letter}) {option}") } else { option };
            Ok(self.tokenizer.encode(&format!("{begin}\n{said}"))?)
        };
        let ids = ('A'..='Z').zip(options(row)).map(whole).collect::<Result<Vec<_>>>()?;
        // Encoded as a whole, since a token may reach over the line's end: what all share is the common beginning.
        let shared = shared_len(&ids);
        let Some(before) = shared.checked_sub(1) else { return Ok(None) };
        let mut x = written.prompt.clone();
        if before > 0 {
            let read = Tensor::from_slice(&ids[0][..before], (1, before), x.device())?;
            x = Tensor::cat(&[&x, &self.llama.embed(&read)?], 1)?;
        }
        let last = ids[0][before];
        let options = ids.into_iter().map(|ids| ids[shared..].to_vec()).collect();
        let asked = Asked { row: at, before: x, last, options };
        let fits = asked.before.dim(1)? + asked.longest() <= self.llama.config.max_position_embeddings;
        Ok(fits.then_some(asked))
    }

    /// The mean log-likelihood per token of each option.
    fn scores(&self, asked: &[Asked]) -> Result<Vec<Vec<f64>>> {
        let Some(first) = asked.first() else { return Ok(Vec::new()) };
        let device = first.before.device();
        let lengths = asked.iter().map(|a| a.before.dim(1)).collect::<candle_core::Result<Vec<_>>>()?;
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let width = asked.iter().map(Asked::longest).max().unwrap_or(0);
        let padding: Vec<usize> = lengths.iter().map(|len| longest - len).collect();
        let x = asked.iter().zip(&padding).map(|(a, &pad)| a.before.pad_with_zeros(1, pad, 0));
        let x = Tensor::cat(&x.collect::<candle_core::Result<Vec<_>>>()?, 0)?;
        let (llama, n) = (self.llama, asked.len());
        let mut cache = KvCache::new(&llama.config, n, longest + width, llama.dtype(), device)?;
        let at = Positions::padded(0, longest, &Arc::new(padding.clone()));
        llama.forward(&x, &at, Some(&mut cache))?;

        // A row for each option, padded on the right, where nothing of its own comes after.
        let question_of: Vec<usize> =
            (0..n).flat_map(|question| vec![question; asked[question].options.len()]).collect();
        cache.keep(&question_of)?;
        let (mut ids, mut places, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        for asked in asked {
            for option in &asked.options {
                places.extend((0..option.len()).map(|token| (ids.len() + token) as u32));
                targets.extend_from_slice(option);
                let end = ids.len() + width;
                ids.push(asked.last);
                ids.extend_from_slice(&option[..option.len() - 1]);
                ids.resize(end, 0);
            }
        }
        let x = llama.embed(&Tensor::from_vec(ids, (question_of.len(), width), device)?)?;
        let padding = question_of.iter().map(|&question| padding[question]).collect();
        let at = Positions::padded(cache.len(), width, &Arc::new(padding));
        let hidden = llama.forward(&x, &at, Some(&mut cache))?.flatten_to(1)?;
        let places = Tensor::from_slice(&places, places.len(), device)?;
        let logits = llama.logits(&hidden.index_select(&places, 0)?)?.to_vec2::<f32>()?;

        let mut tokens = logits.iter().zip(&targets).map(|(row, &id)| log_probability(row, id));
        let mut mean =
            |option: &Vec<u32>| tokens.by_ref().take(option.len()).sum::<f64>() / option.len() as f64;
        Ok(asked.iter().map(|asked| asked.options.iter().map(&mut mean).collect()).collect())
    }
}

/// The text up to where its conclusion begins, heading included; where it has none, the heading alone.
fn before_conclusion(text: &str) -> String {
    let heading = format!("[{}]", AnswerStage::Conclusion.name());
    let begins_line = |at: usize| at == 0 || text.as_bytes()[at - 1] == b'\n';
    match text.match_indices(&heading).map(|(at, _)| at).find(|&at| begins_line(at)) {
        Some(at) => text[..at + heading.len()].to_owned(),
        None => heading,
    }
}

/// How many tokens all begin with alike, each keeping at least one of its own.
fn shared_len(ids: &[Vec<u32>]) -> usize {
    let Some(first) = ids.first() else { return 0 };
    let most = ids.iter().map(|ids| ids.len().saturating_sub(1)).min().unwrap_or(0);
    (0..most).take_while(|&at| ids.iter().all(|ids| ids[at] == first[at])).count()
}

fn first_highest(scores: &[f64]) -> Option<usize> {
    let higher = |best: usize, at: usize| if scores[at] > scores[best] { at } else { best };
    (0..scores.len()).reduce(higher)
}

fn log_probability(logits: &[f32], id: u32) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&x| f64::from(x - max).exp()).sum();
    logits.get(id as usize).map_or(f64::NEG_INFINITY, |&x| f64::from(x - max) - sum.ln())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use reinpath_model::fixture::{STAGED, Speech, write_package};
    use reinpath_model::package::Package;
    use reinpath_model::patch::Patch;
    use reinpath_model::reinpath::ReinPath;

    use super::*;

    fn row(choices: &[&str]) -> Row {
        Row {
            question: Some("What is it?".to_owned()),
            choices: choices.iter().map(|&c| c.to_owned()).collect(),
            ..Row::new("a", "a.png", if choices.is_empty() { RowKind::Open } else { RowKind::Choice })
        }
    }

    #[test]
    fn the_begin_of_a_conclusion_is_found_at_the_start_of_a_line() {
        let twice = "[Analysis]\nx [Conclusion]\ny\n[Conclusion]\nB) z";
        assert_eq!(before_conclusion(twice), "[Analysis]\nx [Conclusion]\ny\n[Conclusion]");
        assert_eq!(before_conclusion("Nests."), "[Conclusion]");
    }

    #[test]
    fn options_share_their_beginning_and_keep_a_token_each() {
        assert_eq!(shared_len(&[vec![1, 2, 3], vec![1, 2, 4, 5]]), 2);
        assert_eq!(shared_len(&[vec![1, 2], vec![1, 2]]), 1);
        assert_eq!(shared_len(&[]), 0);
        assert_eq!(first_highest(&[-2.0, -1.0, -1.0]), Some(1));
        assert_eq!(first_highest(&[]), None);
    }

    #[test]
    fn many_questions_score_as_each_alone_and_as_the_model_scores_one() {
        let folder = tempfile::tempdir().unwrap();
        write_package(folder.path(), Speech::Script(&STAGED)).unwrap();
        let package = Package::open(folder.path()).unwrap();
        let model = ReinPath::load(&package, &Device::Cpu, &mut |_, _| true).unwrap();
        let patch = Patch::new(32, 32, Some(0.5), vec![90; 32 * 32 * 3]).unwrap();
        let features = model.features(&[patch]).unwrap();
        let images = |rows: &[&Row]| -> Result<Vec<Tensor>> {
            rows.iter().map(|_| Ok(model.embeddings(&features)?)).collect()
        };
        let answerer = Answerer::of_package(&model, &images);
        let rows = [row(&["nests", "glands", "sheets"]), row(&[]), row(&["a much longer option", "glands"])];
        let rows: Vec<&Row> = rows.iter().collect();
        let written = answerer.answer(&rows).unwrap();
        assert_eq!(written[0].text, STAGED.concat());
        let together = answerer.likeliest(&rows, &written).unwrap();
        assert_eq!(together, [Some(1), None, Some(1)], "the script says B) glands");
        for (at, row) in rows.iter().enumerate() {
            let alone = answerer.likeliest(&[row], &written[at..=at]).unwrap();
            assert_eq!(alone, together[at..=at]);
        }
        let asked = answerer.asked(0, rows[0], &written[0]).unwrap().unwrap();
        let batch = answerer.scores(&[asked]).unwrap();
        let ids = answerer.tokenizer.encode(&written[0].text).unwrap();
        let prompt = written[0].prompt.clone().into();
        let one = model.score_options(&prompt, &ids, &rows[0].choices).unwrap();
        assert_eq!(one.len(), 3);
        for (batch, one) in batch[0].iter().zip(one) {
            assert!((batch - f64::from(one.logprob)).abs() < 1e-4, "{batch} and {one:?}");
        }
    }
}
