//! Text from a prompt, token by token: one answer as it streams, or many at once.
//!
//! The prompt is read once into a preallocated cache, then each step reads one token per sequence. A batch is padded on
//! the left and gives the same greedy text as one sequence alone. No speculative decoding, no beam search.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Tensor};

use crate::event::Stop;
use crate::llama::{KvCache, Llama, Positions};
use crate::prompt::{Prompt, Segment};
use crate::reinpath::Error;
use crate::request::Sampling;
use crate::sampler::{Drawn, Sampler};

/// Embeddings of a prompt, (1, tokens, hidden): those of its text with those of its patches spliced in. `images` is
/// (patches, image_tokens, hidden).
pub fn splice(llama: &Llama, prompt: &Prompt, images: &Tensor) -> Result<Tensor, Error> {
    let (patches, image_tokens, _) = images.dims3()?;
    let places = prompt.segments.iter().filter(|s| matches!(s, Segment::Patch(_))).count();
    if places != patches {
        let reason = format!("the question has {patches} patches, but its text has places for {places}");
        return Err(Error::Question(reason));
    }
    let (tokens, limit) = (prompt.len(image_tokens), llama.config.max_position_embeddings);
    if tokens >= limit {
        return Err(Error::TooLong { tokens, limit });
    }
    let parts = prompt.segments.iter().map(|segment| match segment {
        Segment::Tokens(ids) => llama.embed(&Tensor::from_slice(ids, (1, ids.len()), images.device())?),
        Segment::Patch(i) => images.narrow(0, *i, 1),
    });
    Ok(Tensor::cat(&parts.collect::<candle_core::Result<Vec<_>>>()?, 1)?)
}

/// Generates from a prompt's embeddings (1, tokens, hidden). `each` gets every token but the one that stops; `cancel` is
/// looked at before each.
pub fn generate(
    llama: &Llama,
    prompt: &Tensor,
    sampling: &Sampling,
    stop: &[u32],
    cancel: &AtomicBool,
    each: &mut dyn FnMut(Drawn) -> Result<(), Error>,
) -> Result<Stop, Error> {
    let len = prompt.dim(1)?;
    let limit = llama.config.max_position_embeddings;
    if len >= limit {
        return Err(Error::TooLong { tokens: len, limit });
    }
    let most = sampling.max_tokens.min(limit - len);
    let mut cache = KvCache::new(&llama.config, 1, len + most, DType::F32, prompt.device())?;
    let mut sampler = Sampler::new(sampling);
    let hidden = llama.forward(prompt, &Positions::after(0, 1, len), Some(&mut cache))?;
    let mut logits = llama.logits(&hidden.narrow(1, len - 1, 1)?)?;
    for count in 1..=most {
        if cancel.load(Ordering::Relaxed) {
            return Ok(Stop::Cancelled);
        }
        let drawn = draw(&mut sampler, &logits.flatten_all()?.to_vec1()?)?;
        if stop.contains(&drawn.id) {
            return Ok(Stop::End);
        }
        each(drawn)?;
        if count < most {
            let x = llama.embed(&Tensor::new(&[[drawn.id]], prompt.device())?)?;
            let at = Positions::after(cache.len(), 1, 1);
            logits = llama.logits(&llama.forward(&x, &at, Some(&mut cache))?)?;
        }
    }
    Ok(Stop::MaxTokens)
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
    pub stop: Stop,
}

impl Generated {
    /// The ids alone.
    pub fn ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|t| t.id).collect()
    }
}

/// Generates from many prompts at once, each (1, tokens, hidden); sequence i draws with seed `sampling.seed + i`.
///
/// `progress` gets how many sequences have ended after each step; `false` from it ends with [`Error::Cancelled`].
pub fn generate_batch(
    llama: &Llama,
    prompts: &[Tensor],
    sampling: &Sampling,
    stop: &[u32],
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<Generated>, Error> {
    let lengths = prompts.iter().map(|p| p.dim(1)).collect::<candle_core::Result<Vec<_>>>()?;
    let Some(&longest) = lengths.iter().max() else { return Ok(Vec::new()) };
    let limit = llama.config.max_position_embeddings;
    if longest >= limit {
        return Err(Error::TooLong { tokens: longest, limit });
    }
    let most = sampling.max_tokens.min(limit - longest);
    let device = prompts[0].device();
    let mut cache = KvCache::new(&llama.config, prompts.len(), longest + most, DType::F32, device)?;
    let mut padding: Vec<usize> = lengths.iter().map(|len| longest - len).collect();
    let rows = prompts.iter().zip(&padding).map(|(p, &pad)| p.pad_with_zeros(1, pad, 0));
    let x = Tensor::cat(&rows.collect::<candle_core::Result<Vec<_>>>()?, 0)?;
    let at = Positions::padded(0, longest, &Arc::new(padding.clone()));
    let hidden = llama.forward(&x, &at, Some(&mut cache))?;
    let mut logits = llama.logits(&hidden.narrow(1, longest - 1, 1)?.contiguous()?)?;
    let mut done: Vec<Generated> =
        vec![Generated { tokens: Vec::new(), stop: Stop::MaxTokens }; prompts.len()];
    let mut samplers: Vec<Sampler> = (0..prompts.len() as u64)
        .map(|i| Sampler::new(&Sampling { seed: sampling.seed.wrapping_add(i), ..sampling.clone() }))
        .collect();
    // Row r of the cache belongs to sequence rows[r]; some rows may have ended.
    let mut rows: Vec<usize> = (0..prompts.len()).collect();
    let mut ended = vec![false; prompts.len()];
    for count in 1..=most {
        let values = logits.reshape((rows.len(), ()))?.to_vec2::<f32>()?;
        for (&row, values) in rows.iter().zip(&values) {
            if ended[row] {
                continue;
            }
            let drawn = draw(&mut samplers[row], values)?;
            if stop.contains(&drawn.id) {
                done[row].stop = Stop::End;
                ended[row] = true;
            } else {
                done[row].tokens.push(drawn);
            }
        }
        let left = ended.iter().filter(|e| !**e).count();
        if !progress(prompts.len() - left) {
            return Err(Error::Cancelled);
        }
        if left == 0 || count == most {
            break;
        }
        // Taking rows out copies the cache, so it is done only when that saves a good part of each step.
        if left <= rows.len() * 3 / 4 {
            let kept: Vec<usize> = (0..rows.len()).filter(|&r| !ended[rows[r]]).collect();
            cache.keep(&kept)?;
            rows = kept.iter().map(|&r| rows[r]).collect();
            padding = kept.iter().map(|&r| padding[r]).collect();
        }
        // A row that has ended reads its last token again, whose result nobody looks at.
        let last: Vec<u32> = rows.iter().map(|&row| done[row].tokens.last().map_or(0, |t| t.id)).collect();
        let x = llama.embed(&Tensor::from_slice(&last, (last.len(), 1), device)?)?;
        let at = Positions::padded(cache.len(), 1, &Arc::new(padding.clone()));
        logits = llama.logits(&llama.forward(&x, &at, Some(&mut cache))?)?;
    }
    Ok(done)
}
