//! Where an answer looks: a map over the image tokens for each of its sentences, and how much that map is worth.
//!
//! The maps are token activation maps (`tam.rs`) averaged over the words with content of a sentence (`sentences.rs`);
//! relative attention (`relative.rs`) is there to compare with. What was said earlier in a conversation stands before the
//! patches: it takes no part in a map. What a map points at is an explanation only if the
//! sentence depends on it: the deletion test (`deletion.rs`) measures that, and its number belongs beside the map.

mod deletion;
mod relative;
mod sentences;
mod tam;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Tensor;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use self::deletion::Reader;
pub(crate) use self::deletion::log_probability;
use self::sentences::Sentence;
pub(crate) use self::sentences::first_token_of;
use self::tam::Activations;
use crate::answer::{Prepared, Question, turns};
use crate::detokeniser::Detokeniser;
use crate::generate::splice;
use crate::prompt::{self, ChatTokenizer, END_OF_TURN, Prompt, Segment};
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
#[derive(Clone, Debug, PartialEq, Eq)]
struct Places {
    /// Image tokens of one patch.
    image_tokens: usize,
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
    fn of(prompt: &Prompt, image_tokens: usize, tokenizer: &ChatTokenizer) -> Result<Self, prompt::Error> {
        let end_of_turn = tokenizer.token(END_OF_TURN)?;
        let mut places = Self { image_tokens, patches: Vec::new(), text: 0, question: Vec::new(), len: 0 };
        for segment in &prompt.segments {
            match segment {
                Segment::Patch(_) => {
                    places.patches.push(places.len);
                    places.len += image_tokens;
                }
                Segment::Tokens(ids) => {
                    let end = ids.iter().rposition(|&id| id == end_of_turn).unwrap_or(0);
                    (places.text, places.question) = (places.len, ids[..end].to_vec());
                    places.len += ids.len();
                }
            }
        }
        Ok(places)
    }
}

/// The values at the image tokens of all patches.
fn picked(values: &[f32], places: &Places) -> Vec<f32> {
    let of = |&start: &usize| values.get(start..start + places.image_tokens).unwrap_or_default();
    places.patches.iter().flat_map(of).copied().collect()
}

/// By how much each sentence's log-likelihood falls when cells of one patch are masked.
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
    /// values from 0 to 1, row by row. Values of one sentence's maps are comparable between its patches.
    ///
    /// `trace` is what [`ReinPath::answer_traced`] kept; `seed` draws the random masks. Reads the answer again
    /// (patches · (sentences + 9) + 1) times, mostly in part; a cancel is looked for in between and ends with
    /// [`Error::Cancelled`].
    pub fn maps(
        &self,
        question: &Question,
        prepared: &Prepared,
        trace: &Trace,
        seed: u64,
        cancel: &AtomicBool,
    ) -> Result<Vec<(SentenceMap, Vec<f32>)>, Error> {
        let sentences = sentences::sentences(&self.token_texts(&trace.ids)?);
        if sentences.is_empty() {
            return Ok(Vec::new());
        }
        let places = Places::of(&prepared.prompt, self.manifest().image_tokens(), &self.tokenizer)?;
        let grids = self.sentence_grids(&sentences, trace, &places, cancel)?;
        let images = self.embeddings(&prepared.features)?;
        let x = splice(&self.llama, &prepared.prompt, &images)?;
        let demand = Demand::of_one(x.dim(1)?.saturating_add(trace.ids.len()), 0);
        let (attention, falls) = self.with_room(demand, || {
            let mut reader = Reader::new(&self.llama, &x, &trace.ids, cancel)?;
            let whole = reader.read()?;
            let before = turns(&question.history);
            let attention =
                relative::relative_attention(self, &mut reader, &images, &places, &before, cancel)?;
            let falls = falls(&mut reader, &sentences, &whole, &places, &grids, &attention, seed)?;
            Ok((attention, falls))
        })?;
        let side = self.manifest().image_side();
        let crops = self.crops(question)?;
        let mut maps = Vec::new();
        for (i, sentence) in sentences.iter().enumerate() {
            for (patch, (falls, crop)) in falls.iter().zip(&crops).enumerate() {
                let cells = patch * places.image_tokens..(patch + 1) * places.image_tokens;
                for (method, grid, fall) in [
                    (MapMethod::Tam, &grids[i], falls.tam[i]),
                    (MapMethod::RelativeAttention, &attention, falls.attention[i]),
                ] {
                    let head = SentenceMap {
                        stage: sentence.stage,
                        sentence: sentence.text.clone(),
                        first_token: sentence.tokens.start,
                        tokens: sentence.tokens.len(),
                        patch,
                        rows: side,
                        cols: side,
                        crop: *crop,
                        method,
                        drop: fall as f32,
                        random_drop: falls.random[i] as f32,
                    };
                    maps.push((head, grid[cells.clone()].to_vec()));
                }
            }
        }
        Ok(maps)
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

    /// What the grid of each patch covers, in pixels of the patch: the encoders see the same centre square.
    fn crops(&self, question: &Question) -> Result<Vec<[f64; 4]>, Error> {
        let spec = self.manifest().encoders.first().expect("a package has an encoder, which is checked");
        question.patches.iter().map(|patch| Ok(patch.square_for(spec)?.crop)).collect()
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
        let side = self.manifest().image_side();
        let mut grids = Vec::with_capacity(sentences.len());
        for sentence in sentences {
            if cancel.load(Ordering::Relaxed) {
                return Err(Error::Cancelled);
            }
            let mut sum = vec![0.0; activations.image_tokens];
            for &token in &sentence.content {
                let map = activations.map(places.question.len() + token);
                let filtered =
                    map.chunks_exact(places.image_tokens).flat_map(|map| tam::rank_gaussian(map, side, side));
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
        for &start in &places.patches {
            rows.push(prompt.narrow(0, start, places.image_tokens)?);
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
        Ok(Activations { ids, columns, image_tokens: places.patches.len() * places.image_tokens })
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
    seed: u64,
) -> Result<Vec<Falls>, Error> {
    let count = places.image_tokens;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let masks: Vec<_> = places.patches.iter().map(|_| deletion::random_masks(&mut rng, count)).collect();
    let mut falls = Vec::with_capacity(places.patches.len());
    // The last patch first: see `Reader::read_masked`.
    for (patch, (&start, masks)) in places.patches.iter().zip(&masks).enumerate().rev() {
        let cells = patch * count..(patch + 1) * count;
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
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::fixture::{STAGED, Speech, model, patch};
    use crate::request::Sampling;
    use crate::stage::AnswerStage;

    fn question() -> Question {
        Question {
            patches: vec![patch(0, 32), patch(1, 48)],
            question: "What?".to_owned(),
            ..Question::default()
        }
    }

    /// What would be kept had the model written this text.
    fn written(model: &ReinPath, prepared: &Prepared, text: &str) -> Trace {
        let ids = model.tokenizer.encode(text).unwrap();
        let images = model.embeddings(&prepared.features).unwrap();
        let prompt = splice(&model.llama, &prepared.prompt, &images).unwrap();
        let answer =
            model.llama.embed(&Tensor::from_slice(&ids, (1, ids.len()), &Device::Cpu).unwrap()).unwrap();
        let (len, x) = (prompt.dim(1).unwrap(), Tensor::cat(&[&prompt, &answer], 1).unwrap());
        let at = crate::llama::Positions::after(0, 1, len + ids.len());
        let hidden = model.llama.forward(&x, &at, None).unwrap();
        let mut states = vec![hidden.narrow(1, 0, len).unwrap()];
        states.extend((0..ids.len()).map(|i| hidden.narrow(1, len + i, 1).unwrap()));
        Trace { hidden: states, ids }
    }

    #[test]
    fn every_sentence_has_a_map_of_each_method_on_each_patch() {
        let model = model(Speech::Script(&STAGED));
        let question = question();
        let prepared = model.prepare(&question).unwrap();
        let (cancel, mut trace) = (AtomicBool::new(false), Trace::default());
        let sampling = Sampling::default();
        let finished = model
            .answer_traced(&question, &prepared, &sampling, &cancel, Some(&mut trace), &mut |_| {})
            .unwrap();
        assert_eq!(trace.ids.len(), finished.tokens);
        let places = Places::of(&prepared.prompt, 4, &model.tokenizer).unwrap();
        assert_eq!(trace.hidden[0].dims(), [1, places.len, model.llama.config.hidden_size]);
        assert_eq!(model.tokenizer.tokenizer().decode(&places.question, false).unwrap(), "\nWhat?");
        let maps = model.maps(&question, &prepared, &trace, 0, &cancel).unwrap();
        assert_eq!(maps.len(), 3 * 2 * 2);
        for (i, (head, grid)) in maps.iter().enumerate() {
            assert_eq!((head.patch, head.rows, head.cols, grid.len()), (i / 2 % 2, 2, 2, 4));
            assert!(grid.iter().all(|x| (0.0..=1.0).contains(x)), "{grid:?}");
            // The script is said whatever is seen.
            assert_eq!((head.drop, head.random_drop), (0.0, 0.0));
        }
        let heads: Vec<_> = maps.iter().step_by(4).map(|(head, _)| head).collect();
        let told: Vec<_> =
            heads.iter().map(|h| (h.stage, h.sentence.as_str(), h.first_token, h.tokens)).collect();
        assert_eq!(
            told,
            [
                (AnswerStage::Observation, "Glands are seen.", 1, 2),
                (AnswerStage::Analysis, "They are regular.", 4, 2),
                (AnswerStage::Conclusion, "B) glands", 7, 2),
            ]
        );
        assert_eq!((maps[0].0.method, maps[1].0.method), (MapMethod::Tam, MapMethod::RelativeAttention));
        assert_eq!((maps[0].0.crop, maps[2].0.crop), ([0.0, 0.0, 32.0, 32.0], [8.0, 0.0, 32.0, 32.0]));
    }

    #[test]
    fn maps_are_the_same_twice_and_what_is_masked_matters() {
        let model = model(Speech::Babble(4));
        let question = question();
        let prepared = model.prepare(&question).unwrap();
        let trace = written(&model, &prepared, "[Observation]\nGlands.\n[Conclusion]\nIt is tumour.");
        let run = |seed| model.maps(&question, &prepared, &trace, seed, &AtomicBool::new(false)).unwrap();
        let first = run(3);
        assert_eq!(first.len(), 2 * 2 * 2);
        assert_eq!(first, run(3));
        let other = run(4);
        let grids = |maps: &[(SentenceMap, Vec<f32>)]| maps.iter().map(|m| m.1.clone()).collect::<Vec<_>>();
        assert_eq!(grids(&first), grids(&other), "the seed draws the random masks only");
        let random =
            |maps: &[(SentenceMap, Vec<f32>)]| maps.iter().map(|m| m.0.random_drop).collect::<Vec<_>>();
        assert_ne!(random(&first), random(&other));
        assert!(first.iter().all(|(head, _)| head.drop != 0.0 && head.difference() != 0.0), "{first:?}");
        let brightest = |grids: &[Vec<f32>]| grids.concat().into_iter().fold(0.0, f32::max);
        for sentence in grids(&first).chunks(4) {
            // The patches of a sentence share one scale.
            let tam = [sentence[0].clone(), sentence[2].clone()];
            assert_eq!(brightest(&tam), 1.0, "{tam:?}");
        }
    }

    #[test]
    fn without_sentences_there_are_no_maps_and_a_cancel_ends_them() {
        let model = model(Speech::Babble(4));
        let question = question();
        let prepared = model.prepare(&question).unwrap();
        let cancelled = AtomicBool::new(true);
        let outside = written(&model, &prepared, "no stage at all");
        assert!(model.maps(&question, &prepared, &outside, 0, &cancelled).unwrap().is_empty());
        assert!(model.maps(&question, &prepared, &Trace::default(), 0, &cancelled).unwrap().is_empty());
        let inside = written(&model, &prepared, "[Observation]\nGlands.");
        let ended = model.maps(&question, &prepared, &inside, 0, &cancelled);
        assert!(matches!(ended, Err(Error::Cancelled)));
    }
}
