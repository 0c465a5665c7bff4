//! Text from a prompt, token by token: one answer as it streams, or many at once.
//!
//! The prompt is read once into a preallocated cache, then each step reads one token per sequence. A batch is padded on
//! the left and gives the same greedy text as one sequence alone. What is written stands where the prompt's course goes on,
//! which after images is not where the cache ends. No speculative decoding, no beam search.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use crate::event::Stop;
use crate::images::{Images, Spliced};
use crate::llama::{Course, KvCache, Llama, Positions, Stretch};
use crate::package::Grid;
use crate::prompt::{Prompt, Segment};
use crate::reinpath::Error;
use crate::request::Sampling;
use crate::sampler::{Drawn, Sampler};

/// Tokens of a prompt that are read at a time: a cancel is looked for in between.
const BLOCK: usize = 512;

/// Embeddings of a prompt: those of its text with those of its patches spliced in, and where its tokens stand.
pub fn splice(llama: &Llama, prompt: &Prompt, images: &Images) -> Result<Spliced, Error> {
    let patches = images.embeddings.len();
    let places = prompt.segments.iter().filter(|s| matches!(s, Segment::Patch(_))).count();
    if places != patches {
        let reason = format!("the question has {patches} patches, but its text has places for {places}");
        return Err(Error::Question(reason));
    }
    fits(llama, prompt, &images.grids)?;
    let device = llama.device();
    let part = |segment: &Segment| match segment {
        Segment::Tokens(ids) => llama.embed(&Tensor::from_slice(ids, (1, ids.len()), &device)?),
        Segment::Patch(i) => match images.embeddings.get(*i) {
            Some(image) => image.unsqueeze(0)?.to_dtype(llama.dtype()),
            None => candle_core::bail!("the prompt has a place for patch {i} of {patches}"),
        },
    };
    let parts = prompt.segments.iter().map(part).collect::<candle_core::Result<Vec<_>>>()?;
    Ok(Spliced { x: Tensor::cat(&parts, 1)?, course: course(llama, prompt, images) })
}

/// Refuses a prompt about patches with these grids that is longer than what the model reads.
pub(crate) fn fits(llama: &Llama, prompt: &Prompt, grids: &[Grid]) -> Result<(), Error> {
    let (tokens, limit) = (prompt.len_of(grids), llama.config.max_position_embeddings);
    if tokens < limit { Ok(()) } else { Err(Error::TooLong { tokens, limit }) }
}

/// Where the tokens of a prompt stand: one after the other, but for a model whose places have rows and columns.
fn course(llama: &Llama, prompt: &Prompt, images: &Images) -> Course {
    if llama.config.mrope_section.is_none() {
        return Course::default();
    }
    Course::of(prompt.segments.iter().map(|segment| match segment {
        Segment::Tokens(ids) => Stretch::Words(ids.len()),
        Segment::Patch(i) => Stretch::Image(images.grids[*i]),
    }))
}

/// The beginning of a prompt, read once: what follows its patches differs from question to question.
#[derive(Debug)]
pub struct Prefix {
    beginning: Spliced,
    /// After the final norm, (1, tokens, hidden).
    pub(crate) hidden: Tensor,
    pub(crate) cache: KvCache,
}

impl Prefix {
    /// Reads a beginning; a cancel ends with [`Error::Cancelled`].
    pub fn read(llama: &Llama, beginning: &Spliced, cancel: &AtomicBool) -> Result<Self, Error> {
        let Spliced { x, course } = beginning;
        let mut cache = KvCache::new(&llama.config, 1, x.dim(1)?, llama.dtype(), x.device())?;
        let hidden = read(llama, x, course, &mut cache, cancel)?;
        Ok(Self { beginning: beginning.clone(), hidden, cache })
    }

    /// Tokens that were read.
    pub(crate) fn len(&self) -> usize {
        self.cache.len()
    }

    /// Whether it was read from the same embeddings at the same places.
    pub fn is_of(&self, beginning: &Spliced) -> Result<bool, Error> {
        let (own, other) = (&self.beginning, beginning);
        // What comes after it may go on in another way.
        let places = |of: &Spliced| of.course.places(0, self.len()).collect::<Vec<_>>();
        if own.x.dims() != other.x.dims() || places(own) != places(other) {
            return Ok(false);
        }
        let difference = (&own.x - &other.x)?.abs()?.max_all()?.to_dtype(DType::F32)?;
        Ok(difference.to_scalar::<f32>()? == 0.0)
    }
}

/// Reads `x` (1, tokens, hidden) after what the cache holds of a sequence with this course, a block at a time; returns the
/// hidden states of `x`.
pub(crate) fn read(
    llama: &Llama,
    x: &Tensor,
    course: &Course,
    cache: &mut KvCache,
    cancel: &AtomicBool,
) -> Result<Tensor, Error> {
    let len = x.dim(1)?;
    let mut hidden = Vec::with_capacity(len.div_ceil(BLOCK));
    for at in (0..len).step_by(BLOCK) {
        if cancel.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        let count = BLOCK.min(len - at);
        let positions = Positions::along(course, cache.len(), count);
        let block = x.narrow(1, at, count)?.contiguous()?;
        hidden.push(or_cancelled(llama.forward_unless(&block, &positions, Some(cache), cancel), cancel)?);
    }
    Ok(Tensor::cat(&hidden, 1)?)
}

/// What was computed, or [`Error::Cancelled`] where it ended because of that.
pub(crate) fn or_cancelled(
    computed: candle_core::Result<Tensor>,
    cancel: &AtomicBool,
) -> Result<Tensor, Error> {
    match computed {
        Err(_ended) if cancel.load(Ordering::Relaxed) => Err(Error::Cancelled),
        computed => Ok(computed?),
    }
}

/// How one text is generated.
#[derive(Clone, Copy, Debug)]
pub struct Generator<'a> {
    pub llama: &'a Llama,
    pub sampling: &'a Sampling,
    /// Tokens that end it.
    pub stop: &'a [u32],
    /// Tokens that fit into the cache after the longest text.
    pub room: usize,
    /// Looked at while the prompt is read and before each token.
    pub cancel: &'a AtomicBool,
}

impl Generator<'_> {
    /// Generates from a prompt, whose beginning may have been read already. Returns why it ended, and the cache with all
    /// that was read: the prompt and the text but for its last token.
    ///
    /// `show` gets the hidden states after the final norm as they are computed: those of the prompt, (1, tokens,
    /// hidden), then those of each token that is read after it, (1, 1, hidden). `each` gets every token but the one
    /// that stops.
    pub fn run(
        &self,
        prompt: &Spliced,
        prefix: Option<&Prefix>,
        show: &mut dyn FnMut(&Tensor),
        each: &mut dyn FnMut(Drawn) -> Result<(), Error>,
    ) -> Result<(Stop, KvCache), Error> {
        let Self { llama, sampling, stop, room, cancel } = *self;
        let Spliced { x, course } = prompt;
        let (len, device) = (x.dim(1)?, x.device());
        let limit = llama.config.max_position_embeddings;
        if len >= limit {
            return Err(Error::TooLong { tokens: len, limit });
        }
        let most = sampling.max_tokens.min(limit - len);
        let capacity = (len + most + room).min(limit);
        let mut cache = KvCache::new(&llama.config, 1, capacity, llama.dtype(), device)?;
        let before = match prefix {
            Some(prefix) => {
                cache.begin_with(&prefix.cache)?;
                Some(&prefix.hidden)
            }
            None => None,
        };
        let rest = x.narrow(1, cache.len(), len - cache.len())?;
        let hidden = match read(llama, &rest, course, &mut cache, cancel) {
            Err(Error::Cancelled) => return Ok((Stop::Cancelled, cache)),
            hidden => hidden?,
        };
        let mut logits = llama.logits(&hidden.narrow(1, hidden.dim(1)? - 1, 1)?)?;
        show(&before.map_or(Ok(hidden.clone()), |before| Tensor::cat(&[before, &hidden], 1))?);
        let mut sampler = Sampler::new(sampling);
        for count in 1..=most {
            if cancel.load(Ordering::Relaxed) {
                return Ok((Stop::Cancelled, cache));
            }
            let drawn = draw(&mut sampler, &logits.flatten_all()?.to_vec1()?)?;
            if stop.contains(&drawn.id) {
                return Ok((Stop::End, cache));
            }
            each(drawn)?;
            if count < most {
                let x = llama.embed(&Tensor::new(&[[drawn.id]], device)?)?;
                let at = Positions::along(course, cache.len(), 1);
                let hidden = llama.forward(&x, &at, Some(&mut cache))?;
                show(&hidden);
                logits = llama.logits(&hidden)?;
            }
        }
        Ok((Stop::MaxTokens, cache))
    }
}

fn draw(sampler: &mut Sampler, logits: &[f32]) -> Result<Drawn, Error> {
    let broken = || candle_core::Error::Msg("the language model gave no numbers".to_owned());
    Ok(sampler.draw(logits).ok_or_else(broken)?)
}

/// One sequence of a batch.
#[derive(Clone, Debug)]
pub struct Generated {
    /// Without the token that stopped.
    pub tokens: Vec<Drawn>,
    /// The token that stopped, where one did.
    pub end: Option<Drawn>,
    pub stop: Stop,
}

impl Generated {
    /// The ids alone.
    pub fn ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|t| t.id).collect()
    }
}

/// Generates `samples` answers to each of many prompts at once, each read once however many samples are drawn from it. The
/// answers to a prompt stand side by side; answer i draws with seed `sampling.seed + i`.
///
/// `progress` gets how many answers have ended after each step; `false` from it ends with [`Error::Cancelled`].
pub fn generate_batch(
    llama: &Llama,
    prompts: &[Spliced],
    samples: usize,
    sampling: &Sampling,
    stop: &[u32],
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<Generated>, Error> {
    let lengths = prompts.iter().map(Spliced::tokens).collect::<candle_core::Result<Vec<_>>>()?;
    let Some(&longest) = lengths.iter().max() else { return Ok(Vec::new()) };
    let limit = llama.config.max_position_embeddings;
    if longest >= limit {
        return Err(Error::TooLong { tokens: longest, limit });
    }
    let most = sampling.max_tokens.min(limit - longest);
    let device = prompts[0].x.device();
    let mut cache = KvCache::new(&llama.config, prompts.len(), longest + most, llama.dtype(), device)?;
    let padding: Vec<usize> = lengths.iter().map(|len| longest - len).collect();
    let rows = prompts.iter().zip(&padding).map(|(p, &pad)| p.x.pad_with_zeros(1, pad, 0));
    let x = Tensor::cat(&rows.collect::<candle_core::Result<Vec<_>>>()?, 0)?;
    let courses: Vec<Course> = prompts.iter().map(|p| p.course.clone()).collect();
    let at = Positions::along_padded(&courses, 0, longest, &Arc::new(padding.clone()));
    let hidden = llama.forward(&x, &at, Some(&mut cache))?;
    let last = llama.logits(&hidden.narrow(1, longest - 1, 1)?.contiguous()?)?;
    let prompt_of: Vec<usize> = (0..prompts.len()).flat_map(|p| std::iter::repeat_n(p, samples)).collect();
    if samples != 1 {
        cache.keep(&prompt_of)?;
    }
    let rows = prompt_of.iter().map(|&p| (padding[p], courses[p].clone()));
    let mut batch = Batch::new(sampling, rows.unzip());
    let mut values = last.reshape((prompts.len(), ()))?.to_vec2::<f32>()?;
    if samples != 1 {
        values = prompt_of.iter().map(|&p| values[p].clone()).collect();
    }
    for count in 1..=most {
        batch.draw(&values, stop)?;
        if !progress(batch.ended.iter().filter(|e| **e).count()) {
            return Err(Error::Cancelled);
        }
        if batch.ended.iter().all(|e| *e) || count == most {
            break;
        }
        batch.drop_ended(&mut cache)?;
        let last = batch.last_tokens();
        let x = llama.embed(&Tensor::from_slice(&last, (last.len(), 1), device)?)?;
        let at = Positions::along_padded(&batch.courses, cache.len(), 1, &batch.padding);
        let logits = llama.logits(&llama.forward(&x, &at, Some(&mut cache))?)?;
        values = logits.reshape((last.len(), ()))?.to_vec2::<f32>()?;
    }
    Ok(batch.done)
}

/// Answers that are being written at once.
struct Batch {
    done: Vec<Generated>,
    samplers: Vec<Sampler>,
    ended: Vec<bool>,
    /// Row r of the cache belongs to answer `rows[r]`; some of these may have ended.
    rows: Vec<usize>,
    /// Of each row.
    padding: Arc<Vec<usize>>,
    courses: Vec<Course>,
}

impl Batch {
    fn new(sampling: &Sampling, (padding, courses): (Vec<usize>, Vec<Course>)) -> Self {
        let n = padding.len();
        let seeded = |i: usize| Sampling { seed: sampling.seed.wrapping_add(i as u64), ..sampling.clone() };
        Self {
            done: vec![Generated { tokens: Vec::new(), end: None, stop: Stop::MaxTokens }; n],
            samplers: (0..n).map(|i| Sampler::new(&seeded(i))).collect(),
            ended: vec![false; n],
            rows: (0..n).collect(),
            padding: Arc::new(padding),
            courses,
        }
    }

    /// Draws the next token of each answer from the logits of each row.
    fn draw(&mut self, logits: &[Vec<f32>], stop: &[u32]) -> Result<(), Error> {
        let mut of_answers: Vec<Option<&[f32]>> = vec![None; self.samplers.len()];
        for (&answer, logits) in self.rows.iter().zip(logits).filter(|(answer, _)| !self.ended[**answer]) {
            of_answers[answer] = Some(logits);
        }
        // Each answer has a generator of its own, so that it does not matter which is drawn first.
        let drawn = self.samplers.par_iter_mut().zip(of_answers);
        let drawn = drawn.map(|(sampler, logits)| logits.map(|logits| draw(sampler, logits)).transpose());
        for (answer, drawn) in drawn.collect::<Result<Vec<_>, Error>>()?.into_iter().enumerate() {
            let Some(drawn) = drawn else { continue };
            if stop.contains(&drawn.id) {
                self.done[answer].stop = Stop::End;
                self.done[answer].end = Some(drawn);
                self.ended[answer] = true;
            } else {
                self.done[answer].tokens.push(drawn);
            }
        }
        Ok(())
    }

    /// Takes the rows of ended answers out of the cache. That copies it, so it is done only when it saves a good part
    /// of each step.
    fn drop_ended(&mut self, cache: &mut KvCache) -> Result<(), Error> {
        let kept: Vec<usize> = (0..self.rows.len()).filter(|&r| !self.ended[self.rows[r]]).collect();
        if kept.len() > self.rows.len() * 3 / 4 {
            return Ok(());
        }
        cache.keep(&kept)?;
        self.rows = kept.iter().map(|&r| self.rows[r]).collect();
        self.padding = Arc::new(kept.iter().map(|&r| self.padding[r]).collect());
        self.courses = kept.iter().map(|&r| self.courses[r].clone()).collect();
        Ok(())
    }

    /// The token that each row reads next; one that has ended reads its last again, whose result nobody looks at.
    fn last_tokens(&self) -> Vec<u32> {
        self.rows.iter().map(|&answer| self.done[answer].tokens.last().map_or(0, |t| t.id)).collect()
    }
}

#[cfg(test)]
mod tests;
