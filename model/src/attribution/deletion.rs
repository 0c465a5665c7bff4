//! The deletion test: how much of its probability a sentence loses when the cells that a map points at cannot be seen.
//!
//! A masked cell is given the mean of its patch's image embeddings: it tells nothing of its place, keeps the stain and
//! brightness of the patch, and is as large as what the model is used to (zeros are not: the model never saw any). The
//! answer is not written again but read as it was (teacher forcing), so that all readings are of the same words.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Result as Computed, Tensor};
use rand_chacha::ChaCha8Rng;

use super::sentences::Sentence;
use crate::generate::or_cancelled;
use crate::images::Spliced;
use crate::llama::{Course, KvCache, Llama, Positions};
use crate::reinpath::Error;

/// Random masks that a map is compared with, per patch.
pub(super) const RANDOM_MASKS: usize = 8;
/// Tokens that are read at a time; a cancel is looked for in between.
const BLOCK: usize = 32;

/// Reads a prompt and its answer, as it is or with cells masked.
pub(super) struct Reader<'a> {
    llama: &'a Llama,
    /// Embeddings of the prompt and of all of the answer but its last token, (1, tokens, hidden).
    x: Tensor,
    /// Where they stand.
    course: Course,
    /// Tokens of the prompt.
    prompt: usize,
    /// The answer's tokens.
    ids: &'a [u32],
    cache: KvCache,
    /// Tokens at the beginning of the cache that were read without a mask.
    unmasked: usize,
    cancel: &'a AtomicBool,
}

impl<'a> Reader<'a> {
    /// `prompt` has the images spliced in; `ids` is the answer, of at least one token.
    pub(super) fn new(
        llama: &'a Llama,
        prompt: &Spliced,
        ids: &'a [u32],
        cancel: &'a AtomicBool,
    ) -> Result<Self, Error> {
        let Spliced { x: words, course } = prompt;
        let read = &ids[..ids.len().saturating_sub(1)];
        let x = if read.is_empty() {
            words.clone()
        } else {
            let answer = llama.embed(&Tensor::from_slice(read, (1, read.len()), words.device())?)?;
            Tensor::cat(&[words, &answer], 1)?
        };
        let cache = KvCache::new(&llama.config, 1, x.dim(1)?, llama.dtype(), words.device())?;
        let (prompt, course) = (prompt.tokens()?, course.clone());
        Ok(Self { llama, x, course, prompt, ids, cache, unmasked: 0, cancel })
    }

    /// Log-probability of each token of the answer.
    pub(super) fn read(&mut self) -> Result<Vec<f64>, Error> {
        let x = self.x.clone();
        let logprobs = self.read_from(0, &x)?;
        self.unmasked = x.dim(1)?;
        Ok(logprobs)
    }

    /// The same with these cells masked of the patch whose `count` image tokens begin at `start`. Readings of later
    /// patches first: what goes before a patch is then read once.
    pub(super) fn read_masked(
        &mut self,
        start: usize,
        count: usize,
        cells: &[usize],
    ) -> Result<Vec<f64>, Error> {
        let patch = self.x.narrow(1, start, count)?.squeeze(0)?;
        self.read_with(start, &masked(&patch, cells)?)
    }

    /// The same with other embeddings (image tokens, hidden) of the patch whose image tokens begin at `start`.
    pub(super) fn read_with(&mut self, start: usize, patch: &Tensor) -> Result<Vec<f64>, Error> {
        let from = start.min(self.unmasked);
        let end = start + patch.dim(0)?;
        let mut parts = vec![patch.to_dtype(self.x.dtype())?.unsqueeze(0)?];
        if from < start {
            parts.insert(0, self.x.narrow(1, from, start - from)?);
        }
        let after = self.x.dim(1)?.saturating_sub(end);
        if after > 0 {
            parts.push(self.x.narrow(1, end, after)?);
        }
        // Also when the reading is broken off, only what goes before the patch is sure to be unmasked.
        self.unmasked = from;
        let logprobs = self.read_from(from, &Tensor::cat(&parts, 1)?)?;
        self.unmasked = start;
        Ok(logprobs)
    }

    /// Ends every reading once it is set.
    pub(super) fn cancel(&self) -> &'a AtomicBool {
        self.cancel
    }

    /// How much the prompt's last token attends to each token of the prompt at a layer, the mean over its heads.
    pub(super) fn attention(&mut self, layer: usize) -> Result<Vec<f32>, Error> {
        let last = self.prompt - 1;
        if self.unmasked < last {
            self.read()?;
        }
        self.cache.truncate(last);
        self.unmasked = last;
        let (x, at) = (self.x.narrow(1, last, 1)?, Positions::along(&self.course, last, 1));
        let attention = self.llama.attention_at(layer, &x, &at, Some(&self.cache), self.cancel);
        let attention = or_cancelled(attention, self.cancel)?;
        Ok(attention.mean(1)?.squeeze(0)?.to_vec1()?)
    }

    /// Reads `rest` (1, tokens, hidden) after the first `from` tokens of the cache, which are part of the prompt.
    fn read_from(&mut self, from: usize, rest: &Tensor) -> Result<Vec<f64>, Error> {
        self.cache.truncate(from);
        let end = from + rest.dim(1)?;
        let mut logprobs = Vec::with_capacity(self.ids.len());
        let mut at = from;
        while at < end {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(Error::Cancelled);
            }
            let count = BLOCK.min(end - at);
            let x = rest.narrow(1, at - from, count)?.contiguous()?;
            let positions = Positions::along(&self.course, at, count);
            let hidden = self.llama.forward_unless(&x, &positions, Some(&mut self.cache), self.cancel);
            let hidden = or_cancelled(hidden, self.cancel)?;
            // The first token that predicts one of the answer is the prompt's last.
            let skipped = (self.prompt - 1).saturating_sub(at).min(count);
            if skipped < count {
                let hidden = hidden.narrow(1, skipped, count - skipped)?.contiguous()?;
                let logits = self.llama.logits(&hidden)?.squeeze(0)?.to_vec2::<f32>()?;
                let predicted = &self.ids[at + skipped + 1 - self.prompt..];
                for (logits, &id) in logits.iter().zip(predicted) {
                    logprobs.push(log_probability(logits, id)?);
                }
            }
            at += count;
        }
        Ok(logprobs)
    }
}

/// Natural logarithm of a token's probability.
pub(crate) fn log_probability(logits: &[f32], id: u32) -> Computed<f64> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&x| f64::from(x - max).exp()).sum();
    let logprob = logits.get(id as usize).map(|&x| f64::from(x - max) - sum.ln());
    match logprob {
        Some(logprob) if logprob.is_finite() => Ok(logprob),
        _ => candle_core::bail!("the language model gave no numbers"),
    }
}

/// Image embeddings (image tokens, hidden) of which these cells are replaced by the mean of all.
pub(super) fn masked(patch: &Tensor, cells: &[usize]) -> Computed<Tensor> {
    let count = patch.dim(0)?;
    let mut rows: Vec<u32> = (0..count as u32).collect();
    for &cell in cells {
        if let Some(row) = rows.get_mut(cell) {
            *row = count as u32;
        }
    }
    let with_mean = Tensor::cat(&[patch, &patch.mean_keepdim(0)?], 0)?;
    with_mean.index_select(&Tensor::from_vec(rows, count, patch.device())?, 0)
}

/// How many of so many cells are masked: a fifth, rounded up.
pub(super) fn fifth(cells: usize) -> usize {
    cells.div_ceil(5)
}

/// The cells with the highest values, a fifth of all; of equal ones the first.
pub(super) fn top_fifth(grid: &[f32]) -> Vec<usize> {
    let mut cells: Vec<usize> = (0..grid.len()).collect();
    cells.sort_by(|&a, &b| grid[b].total_cmp(&grid[a]));
    cells.truncate(fifth(grid.len()));
    cells
}

/// Masks of a fifth of the cells each.
pub(super) fn random_masks(rng: &mut ChaCha8Rng, cells: usize) -> Vec<Vec<usize>> {
    let mask = |_| rand::seq::index::sample(rng, cells, fifth(cells)).into_vec();
    (0..RANDOM_MASKS).map(mask).collect()
}

/// By how much a sentence's log-likelihood falls from one reading to another.
pub(super) fn log_fall(sentence: &Sentence, from: &[f64], to: &[f64]) -> f64 {
    of_tokens(sentence, from, to).map(|(from, to)| from - to).sum()
}

/// By how much the probabilities of a sentence's tokens, together, fall from one reading to another; both are of
/// log-probabilities. Of probabilities, as where deletion is a measure (Petsiuk et al., "RISE", BMVC 2018, section 4.3): of a
/// token that is improbable, as in a sentence that the patch does not bear out, the logarithm changes most, whatever is
/// hidden, though there is next to nothing to lose.
pub(super) fn fall(sentence: &Sentence, from: &[f64], to: &[f64]) -> f64 {
    of_tokens(sentence, from, to).map(|(from, to)| from.exp() - to.exp()).sum()
}

/// The log-probabilities of a sentence's tokens in two readings.
fn of_tokens<'a>(
    sentence: &Sentence,
    from: &'a [f64],
    to: &'a [f64],
) -> impl Iterator<Item = (&'a f64, &'a f64)> {
    let tokens = sentence.tokens.clone();
    from.iter().zip(to).skip(tokens.start).take(tokens.len())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use rand::SeedableRng as _;

    use super::*;
    use crate::attribution::Places;
    use crate::attribution::tests::sized;
    use crate::event::Stop;
    use crate::fixture::{Family, Speech, model_of};
    use crate::generate::{Generator, splice};
    use crate::reinpath::ReinPath;
    use crate::request::Sampling;
    use crate::sampler::Drawn;
    use crate::stage::AnswerStage;

    fn differs(a: &[f64], b: &[f64]) -> f64 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    }

    #[test]
    fn exactly_a_fifth_of_the_cells_is_masked_with_the_mean() {
        let values: Vec<f32> = (0..30u8).map(f32::from).collect();
        let patch = Tensor::from_vec(values, (10, 3), &Device::Cpu).unwrap();
        let grid = [0.1, 0.9, 0.2, 0.3, 0.3, 0.4, 0.5, 0.9, 0.9, 0.0];
        let cells = top_fifth(&grid);
        assert_eq!(cells, [1, 7], "of equal ones the first");
        let (before, after) =
            (patch.to_vec2::<f32>().unwrap(), masked(&patch, &cells).unwrap().to_vec2::<f32>().unwrap());
        let changed: Vec<usize> = (0..10).filter(|&i| before[i] != after[i]).collect();
        assert_eq!(changed, cells);
        assert_eq!(after[1], [13.5, 14.5, 15.5]);
        assert_eq!(after[1], after[7]);
        assert_eq!([1, 4, 5, 6, 49, 784].map(fifth), [1, 1, 1, 2, 10, 157]);
    }

    #[test]
    fn random_masks_are_as_large_and_the_same_for_a_seed() {
        let masks = |seed| random_masks(&mut ChaCha8Rng::seed_from_u64(seed), 49);
        let first = masks(3);
        assert_eq!(first.len(), RANDOM_MASKS);
        for mask in &first {
            let distinct: std::collections::BTreeSet<_> = mask.iter().filter(|&&cell| cell < 49).collect();
            assert_eq!(distinct.len(), 10);
        }
        assert_eq!(first, masks(3));
        assert_ne!(first, masks(4));
    }

    #[test]
    fn only_the_sentences_own_tokens_count() {
        let sentence =
            Sentence { stage: AnswerStage::Analysis, text: String::new(), tokens: 1..3, content: vec![1] };
        let logs = |probabilities: [f64; 4]| probabilities.map(f64::ln);
        let far = fall(&sentence, &logs([0.1, 0.9, 0.8, 0.9]), &logs([0.9, 0.4, 0.9, 0.1])) - 0.4;
        assert!(far.abs() < 1e-12, "{far}");
        assert_eq!(log_fall(&sentence, &[9.0, -1.0, -2.0, 9.0], &[0.0, -2.0, -4.0, 0.0]), 3.0);
    }

    #[test]
    fn an_answer_is_read_as_it_was_written_and_masks_change_it() {
        for family in Family::ALL {
            is_read_as_it_was_written(&model_of(family, Speech::Babble(7)));
        }
    }

    fn is_read_as_it_was_written(model: &ReinPath) {
        let prompt = model.tokenizer.prompt("<image><image>\nWhat is seen in these two patches?").unwrap();
        let seen = model.look(&[sized(0, 60, 60), sized(1, 60, 60)], None, &mut || true).unwrap();
        let images = model.images(&seen).unwrap();
        let x = splice(&model.llama, &prompt, &images).unwrap();
        let (cancel, mut drawn) = (AtomicBool::new(false), Vec::new());
        let sampling = Sampling { max_tokens: 20, ..Sampling::default() };
        let (llama, stop) = (&model.llama, &model.stop);
        let generator = Generator { llama, sampling: &sampling, stop, room: 0, cancel: &cancel };
        let mut each = |token: Drawn| {
            drawn.push(token);
            Ok(())
        };
        let (stop, _) = generator.run(&x, None, &mut |_| {}, &mut each).unwrap();
        assert_eq!((stop, drawn.len()), (Stop::MaxTokens, 20));
        let ids: Vec<u32> = drawn.iter().map(|token| token.id).collect();
        let written: Vec<f64> = drawn.iter().map(|token| f64::from(token.logprob)).collect();
        let places = Places::of(&prompt, &images.grids, &model.tokenizer).unwrap();
        let [first, second] = places.patches[..] else { panic!("there are two patches") };
        let count = 4;
        assert_eq!(places.image_tokens(), 2 * count);

        let mut reader = Reader::new(&model.llama, &x, &ids, &cancel).unwrap();
        assert!(x.tokens().unwrap() > BLOCK, "read in several blocks");
        let whole = reader.read().unwrap();
        assert!(differs(&whole, &written) < 1e-4);
        let later = reader.read_masked(second, count, &[2]).unwrap();
        let none = reader.read_masked(second, count, &[]).unwrap();
        let earlier = reader.read_masked(first, count, &[0]).unwrap();
        assert!(differs(&none, &whole) < 2e-5);
        assert!(differs(&later, &whole) > 1e-4 && differs(&earlier, &whole) > 1e-4);
        // In the other order, what a mask left in the cache is read again.
        assert!(differs(&reader.read_masked(second, count, &[2]).unwrap(), &later) < 2e-5);
        let attention = reader.attention(0).unwrap();
        assert_eq!(attention.len(), x.tokens().unwrap());
        assert!((attention.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        cancel.store(true, Ordering::Relaxed);
        assert!(matches!(reader.read(), Err(Error::Cancelled)));
    }
}
