//! Where an answer looks: a map over the image tokens for each of its sentences, and how much that map is worth.
//!
//! Where there is time for it, the maps are what the sentence loses when places of the patch cannot be seen
//! (`occlusion.rs`). Token activation maps (`tam.rs`) averaged over the words with content of a sentence (`sentences.rs`)
//! are always there; relative attention (`relative.rs`) is there to compare with. What was said earlier in a conversation
//! stands before the patches: it takes no part in a map. What a map points at is an explanation only if the sentence depends
//! on it: the deletion test (`deletion.rs`) measures that, and its number belongs beside the map.

mod deletion;
mod occlusion;
mod relative;
mod sentences;
mod tam;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use candle_core::Tensor;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use self::deletion::Reader;
pub(crate) use self::deletion::log_probability;
use self::occlusion::{Occlusion, Scene, occlusion};
use self::sentences::Sentence;
pub(crate) use self::sentences::first_token_of;
use self::tam::Activations;
use crate::answer::{Prepared, Question, turns};
use crate::detokeniser::Detokeniser;
use crate::generate::splice;
use crate::package::Grid;
use crate::patch::Patch;
use crate::prompt::{self, ChatTokenizer, Prompt, Segment};
use crate::reinpath::{Error, ReinPath};
use crate::request::{MapMethod, SentenceMap};
use crate::room::Demand;

/// What is kept of an answer while it is generated, for its maps.
#[derive(Debug, Default)]
pub struct Trace {
    /// Hidden states after the final norm: those of the prompt, (1, tokens, hidden), then those of each token of the
    /// answer that was read, (1, 1, hidden).
    pub hidden: Vec<Tensor>,
    /// The answer's tokens, without the one that stopped it.
    pub ids: Vec<u32>,
}

/// Where things stand in a prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Places {
    /// The grid of the image tokens of each patch.
    grids: Vec<Grid>,
    /// The first image token of each patch.
    patches: Vec<usize>,
    /// The first token of the text after the patches.
    text: usize,
    /// The tokens of that text, up to where the turn ends.
    question: Vec<u32>,
    /// Tokens in all.
    len: usize,
}

impl Places {
    fn of(prompt: &Prompt, grids: &[Grid], tokenizer: &ChatTokenizer) -> Result<Self, prompt::Error> {
        let end_of_turn = tokenizer.token(tokenizer.end_of_turn())?;
        let mut places = Self::default();
        for segment in &prompt.segments {
            match segment {
                Segment::Patch(patch) => {
                    let grid = grids.get(*patch).copied().unwrap_or(Grid::square(0));
                    places.grids.push(grid);
                    places.patches.push(places.len);
                    places.len += grid.tokens();
                }
                Segment::Tokens(ids) => {
                    let end = ids.iter().rposition(|&id| id == end_of_turn).unwrap_or(0);
                    // What ends an image is no text.
                    let is_text = |&id: &u32| !tokenizer.is_special(id);
                    let begin = ids[..end].iter().position(is_text).unwrap_or(end);
                    (places.text, places.question) = (places.len + begin, ids[begin..end].to_vec());
                    places.len += ids.len();
                }
            }
        }
        Ok(places)
    }

    /// Image tokens of all patches.
    fn image_tokens(&self) -> usize {
        self.grids.iter().copied().map(Grid::tokens).sum()
    }

    /// Each patch's own among the values at the image tokens of all.
    fn cells(&self) -> Vec<Range<usize>> {
        let mut end = 0;
        let own = |grid: &Grid| {
            let start = end;
            end += grid.tokens();
            start..end
        };
        self.grids.iter().map(own).collect()
    }
}

/// The values at the image tokens of all patches.
fn picked(values: &[f32], places: &Places) -> Vec<f32> {
    let of = |(&start, grid): (&usize, &Grid)| values.get(start..start + grid.tokens()).unwrap_or_default();
    places.patches.iter().zip(&places.grids).flat_map(of).copied().collect()
}

/// By how much each sentence's probability falls when cells of one patch are masked.
struct Falls {
    /// Per sentence, those of its own map.
    tam: Vec<f64>,
    /// Per sentence, those of the map that all share.
    attention: Vec<f64>,
    /// Per sentence, the mean over random masks.
    random: Vec<f64>,
}

impl ReinPath {
    /// Where each sentence of an answer looks: sentence by sentence, patch by patch, a map of each method with its
    /// values from 0 to 1, row by row. Values of one sentence's maps are comparable between its patches. Those of occlusion
    /// are there where they take no longer than `patience`, as a few of them tell.
    ///
    /// `trace` is what [`ReinPath::answer_traced`] kept; `seed` draws the random masks. Reads the answer again
    /// (patches · (sentences + 9) + 1) times, mostly in part, and for occlusion (patches · (sentences + 44)) times with
    /// what is seen; a cancel is looked for in between and ends with [`Error::Cancelled`].
    pub fn maps(
        &self,
        question: &Question,
        prepared: &Prepared,
        trace: &Trace,
        seed: u64,
        patience: Duration,
        cancel: &AtomicBool,
    ) -> Result<Vec<(SentenceMap, Vec<f32>)>, Error> {
        let sentences = sentences::sentences(&self.token_texts(&trace.ids)?);
        if sentences.is_empty() {
            return Ok(Vec::new());
        }
        let places = Places::of(&prepared.prompt, &prepared.grids, &self.tokenizer)?;
        let grids = self.sentence_grids(&sentences, trace, &places, cancel)?;
        let images = self.images(&prepared.seen)?;
        let x = splice(&self.llama, &prepared.prompt, &images)?;
        let demand = Demand::of_one(x.tokens()?.saturating_add(trace.ids.len()), 0);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (attention, falls, hidden) = self.with_room(demand, || {
            let mut reader = Reader::new(&self.llama, &x, &trace.ids, cancel)?;
            let begun = Instant::now();
            let (whole, reading) = (reader.read()?, begun.elapsed());
            let before = turns(self.manifest().instructions.options, &question.history);
            let attention =
                relative::relative_attention(self, &mut reader, &images, &places, &before, cancel)?;
            let falls = falls(&mut reader, &sentences, &whole, &places, &grids, &attention, &mut rng)?;
            let mut scene = Scene {
                model: self,
                question,
                places: &places,
                sentences: &sentences,
                whole: &whole,
                reading,
                reader: &mut reader,
            };
            let hidden = match occlusion(&mut scene, &mut rng, patience) {
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                // The other maps are there, and better than none.
                Err(error) => {
                    tracing::warn!("maps of occlusion cannot be made: {error}");
                    None
                }
                Ok(hidden) => hidden,
            };
            Ok((attention, falls, hidden))
        })?;
        let crops = question.patches.iter().map(|patch| self.crop(patch)).collect::<Result<Vec<_>, _>>()?;
        let made = Made { grids, attention, falls, hidden };
        Ok(made.maps(&sentences, &crops, &places))
    }

    /// The text of each token; what was an incomplete character comes with the token that completes it.
    pub(crate) fn token_texts(&self, ids: &[u32]) -> Result<Vec<String>, Error> {
        let mut detokeniser = Detokeniser::new(self.tokenizer.tokenizer());
        let mut texts = ids.iter().map(|&id| detokeniser.push(id)).collect::<Result<Vec<_>, _>>()?;
        let rest = detokeniser.finish()?;
        if let Some(last) = texts.last_mut() {
            last.push_str(&rest);
        }
        Ok(texts)
    }

    /// What the grid of a patch covers, in pixels of the patch: encoders see the same centre square, a tower all of it.
    fn crop(&self, patch: &Patch) -> Result<[f64; 4], Error> {
        match self.manifest().encoders.first() {
            Some(spec) => Ok(patch.square_for(spec)?.crop),
            None => Ok([0.0, 0.0, f64::from(patch.width), f64::from(patch.height)]),
        }
    }

    /// Per sentence, the mean of the maps of its words with content, over the image tokens of all patches, from 0 to 1.
    fn sentence_grids(
        &self,
        sentences: &[Sentence],
        trace: &Trace,
        places: &Places,
        cancel: &AtomicBool,
    ) -> Result<Vec<Vec<f32>>, Error> {
        let activations = self.activations(trace, places)?;
        let cells = places.cells();
        let mut grids = Vec::with_capacity(sentences.len());
        for sentence in sentences {
            if cancel.load(Ordering::Relaxed) {
                return Err(Error::Cancelled);
            }
            let mut sum = vec![0.0; activations.image_tokens];
            for &token in &sentence.content {
                let map = activations.map(places.question.len() + token);
                let of_patches = cells.iter().zip(&places.grids);
                let filtered = of_patches
                    .flat_map(|(own, grid)| tam::rank_gaussian(&map[own.clone()], grid.rows, grid.cols));
                sum.iter_mut().zip(filtered).for_each(|(sum, value)| *sum += value);
            }
            let range = tam::bounds(sum.iter().copied());
            tam::stretch(&mut sum, range);
            grids.push(sum);
        }
        Ok(grids)
    }

    /// The positive logits of the question's and the answer's tokens at every image token and at each other, from the
    /// hidden states that were kept: one product.
    fn activations(&self, trace: &Trace, places: &Places) -> Result<Activations, Error> {
        let Some((prompt, steps)) = trace.hidden.split_first() else {
            return Err(Error::Question("no hidden states were kept of this answer".to_owned()));
        };
        let prompt = prompt.squeeze(0)?;
        let mut rows = Vec::new();
        for (&start, grid) in places.patches.iter().zip(&places.grids) {
            rows.push(prompt.narrow(0, start, grid.tokens())?);
        }
        if !places.question.is_empty() {
            rows.push(prompt.narrow(0, places.text, places.question.len())?);
        }
        // Each token of the answer stands where it is predicted.
        rows.push(prompt.narrow(0, places.len - 1, 1)?);
        for step in steps.iter().take(trace.ids.len().saturating_sub(1)) {
            rows.push(step.squeeze(0)?);
        }
        let ids: Vec<u32> = places.question.iter().chain(&trace.ids).copied().collect();
        let distinct: BTreeSet<u32> = ids.iter().copied().collect();
        let distinct: Vec<u32> = distinct.into_iter().collect();
        let logits = self.llama.logits_of(&Tensor::cat(&rows, 0)?, &distinct)?;
        let columns = logits.relu()?.t()?.to_vec2::<f32>()?;
        let columns: BTreeMap<u32, Vec<f32>> = distinct.into_iter().zip(columns).collect();
        Ok(Activations { ids, columns, image_tokens: places.image_tokens() })
    }
}

/// All that maps are told from.
struct Made {
    /// Token activation maps, per sentence over all image tokens.
    grids: Vec<Vec<f32>>,
    /// The map of relative attention that all sentences share.
    attention: Vec<f32>,
    /// Per patch.
    falls: Vec<Falls>,
    /// Where there was time for it.
    hidden: Option<Occlusion>,
}

impl Made {
    /// Sentence by sentence, patch by patch, one of each method.
    fn maps(
        &self,
        sentences: &[Sentence],
        crops: &[[f64; 4]],
        places: &Places,
    ) -> Vec<(SentenceMap, Vec<f32>)> {
        let cells = places.cells();
        let mut maps = Vec::new();
        for (i, sentence) in sentences.iter().enumerate() {
            for (patch, (falls, crop)) in self.falls.iter().zip(crops).enumerate() {
                let Grid { rows, cols } = places.grids[patch];
                let mut of_methods = vec![
                    (MapMethod::Tam, &self.grids[i], falls.tam[i], falls.random[i]),
                    (MapMethod::RelativeAttention, &self.attention, falls.attention[i], falls.random[i]),
                ];
                if let Some(Occlusion { grids, falls, random }) = &self.hidden {
                    of_methods.push((MapMethod::Occlusion, &grids[i], falls[patch][i], random[patch][i]));
                }
                for (method, grid, fall, random) in of_methods {
                    let head = SentenceMap {
                        stage: sentence.stage,
                        sentence: sentence.text.clone(),
                        first_token: sentence.tokens.start,
                        tokens: sentence.tokens.len(),
                        patch,
                        rows,
                        cols,
                        crop: *crop,
                        method,
                        fall: fall as f32,
                        random_fall: random as f32,
                    };
                    maps.push((head, grid[cells[patch].clone()].to_vec()));
                }
            }
        }
        maps
    }
}

/// The deletion tests of all maps, patch by patch. `grids` are the sentences' own maps, `attention` the one they share.
fn falls(
    reader: &mut Reader<'_>,
    sentences: &[Sentence],
    whole: &[f64],
    places: &Places,
    grids: &[Vec<f32>],
    attention: &[f32],
    rng: &mut ChaCha8Rng,
) -> Result<Vec<Falls>, Error> {
    let masks: Vec<_> = places.grids.iter().map(|grid| deletion::random_masks(rng, grid.tokens())).collect();
    let mut falls = Vec::with_capacity(places.patches.len());
    // The last patch first: see `Reader::read_masked`.
    let of_patches = places.patches.iter().zip(places.cells()).zip(&masks);
    for ((&start, cells), masks) in of_patches.rev() {
        let count = cells.len();
        let all = |read: &[f64]| sentences.iter().map(|s| deletion::fall(s, whole, read)).collect::<Vec<_>>();
        let shared = reader.read_masked(start, count, &deletion::top_fifth(&attention[cells.clone()]))?;
        let mut random = vec![0.0; sentences.len()];
        for mask in masks {
            let read = all(&reader.read_masked(start, count, mask)?);
            random.iter_mut().zip(read).for_each(|(sum, fall)| *sum += fall / masks.len() as f64);
        }
        let mut tam = Vec::with_capacity(sentences.len());
        for (sentence, grid) in sentences.iter().zip(grids) {
            let read = reader.read_masked(start, count, &deletion::top_fifth(&grid[cells.clone()]))?;
            tam.push(deletion::fall(sentence, whole, &read));
        }
        falls.push(Falls { tam, attention: all(&shared), random });
    }
    falls.reverse();
    Ok(falls)
}

#[cfg(test)]
mod tests;
