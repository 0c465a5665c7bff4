//! The benchmark `pointing`: whether each sentence of an Observation looks at what it names, on phantom tissue, where the
//! mask of every structure is known.
//!
//! The pointing game (Zhang et al., "Top-down neural attention by excitation backprop", IJCV 2018): a map hits when its
//! brightest cell holds a pixel of the structure. A structure that is everywhere is hit by anything: beside the hits
//! stands the share of cells that hold it, exactly, sentence by sentence, and what counts is the difference. Then the
//! deletion test: a sentence that is true of its field against one from another field that is false here, read in its
//! place. What is measured is the model's own answers: statements that are false of their field point at nothing. The
//! figures are in `pointing/figures.rs`.

mod figures;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use reinpath_model::answer::{Prepared, Question};
use reinpath_model::attribution::Trace;
use reinpath_model::reinpath::ReinPath;
use reinpath_model::request::{MapMethod, Sampling, SentenceMap};
use reinpath_model::stage::{AnswerStage, StagedAnswer};
use serde::{Deserialize, Serialize};

use self::figures::figures;
pub use self::figures::{Deletion, Pointing, PointingFigures};
use crate::error::{Error, Result};
use crate::fields::patch_of;
use crate::phantom::{Claim, Component, QuestionItem, Truth, balanced_set, claims, draw};

/// Fields that are asked about at once.
const AT_ONCE: usize = 16;

/// Whether the brightest cell of each method's map holds a structure (between 0 and 1 where several cells are equally
/// bright), and the share of cells that hold it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    pub occlusion: f64,
    pub tam: f64,
    pub relative_attention: f64,
    pub chance: f64,
}

/// A sentence of an Observation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pointed {
    pub field: usize,
    pub sentence: String,
    /// Whether it hits anything of what it names; `None` where it names nothing that is there.
    pub hit: Option<Hit>,
    /// The same for each structure that it names.
    pub structures: BTreeMap<&'static str, Hit>,
    /// Whether all that it states is true of the field; `None` where it states nothing.
    pub is_true: Option<bool>,
    /// The deletion test of its map of occlusion (`SentenceMap::difference`).
    pub difference: f32,
    /// A sentence from another field that is false of this one, read in its place, and its deletion test.
    pub replaced_by: Option<(String, f32)>,
}

/// A field that is asked about.
struct Asked<'a> {
    number: usize,
    truth: &'a Truth,
    item: &'a QuestionItem,
    seed: u64,
}

/// What was written about a field, and where it looks.
struct Looked<'a> {
    asked: &'a Asked<'a>,
    question: Question,
    prepared: Prepared,
    answer: StagedAnswer,
    sentences: Vec<Pointed>,
}

/// Plays the game on the readable ones of the `n` fields that the benchmark `phantom` draws from this seed. `each` gets
/// every sentence of an Observation; `false` from it stops.
pub fn of_package(
    model: &ReinPath,
    n: usize,
    seed: u64,
    each: &mut dyn FnMut(&Pointed) -> bool,
) -> Result<PointingFigures> {
    let begin = std::time::Instant::now();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let items = balanced_set(&mut rng, n);
    let asked: Vec<Asked<'_>> = (items.iter().enumerate())
        .map(|(number, (truth, item))| Asked { number, truth, item, seed: rng.random() })
        .filter(|asked| asked.truth.is_assessable())
        .collect();
    let mut told: Vec<Pointed> = Vec::new();
    // What was said of fields so far, each once, the newest last.
    let mut said: Vec<String> = Vec::new();
    for chunk in asked.chunks(AT_ONCE) {
        let looked = in_threads(chunk, |asked| look(model, asked))?;
        for sentence in looked.iter().flat_map(|looked| &looked.sentences) {
            if sentence.is_true == Some(true) && sentence.hit.is_some() && !said.contains(&sentence.sentence)
            {
                said.push(sentence.sentence.clone());
            }
        }
        let replaced = in_threads(&looked, |looked| replace(model, looked, &said))?;
        let mut sentences = Vec::new();
        for (mut looked, replaced) in looked.into_iter().zip(replaced) {
            if let Some((at, other, difference)) = replaced {
                looked.sentences[at].replaced_by = Some((other, difference));
            }
            sentences.extend(looked.sentences);
        }
        for sentence in sentences {
            if !each(&sentence) {
                return Err(Error::Stopped);
            }
            told.push(sentence);
        }
    }
    Ok(figures(&told, asked.len(), seed, begin.elapsed().as_secs_f64()))
}

/// Does something to each, in order, on all cores. Not by rayon: the model holds a lock while its encoders compute, in which
/// a thread of rayon's would take up another of these and wait for itself.
fn in_threads<'a, T: Sync, R: Send>(
    items: &'a [T],
    work: impl Fn(&'a T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let threads = rayon::current_num_threads().clamp(1, items.len().max(1));
    let of_thread =
        |number: usize| -> Result<Vec<R>> { items.iter().skip(number).step_by(threads).map(&work).collect() };
    let failed = |reason: &str| Error::Benchmark(format!("a thread of the benchmark {reason}"));
    let parts = thread::scope(|scope| {
        let of_thread = &of_thread;
        let mut started = Vec::with_capacity(threads);
        for number in 0..threads {
            let thread = thread::Builder::new().name(format!("pointing-{number}"));
            let begun = thread.spawn_scoped(scope, move || of_thread(number));
            started.push(begun.map_err(|error| failed(&format!("cannot be started: {error}")))?);
        }
        started
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_panic| Err(failed("has failed"))))
            .collect::<Result<Vec<Vec<R>>>>()
    })?;
    let mut parts: Vec<_> = parts.into_iter().map(Vec::into_iter).collect();
    Ok((0..items.len()).filter_map(|at| parts[at % threads].next()).collect())
}

/// Lets the model answer, and looks where the sentences of its Observation look.
fn look<'a>(model: &ReinPath, asked: &'a Asked<'a>) -> Result<Looked<'a>> {
    let spec = model.manifest().patch;
    let field = draw(asked.truth, spec.size_px, asked.seed);
    let mask = field.mask.clone();
    let question = Question {
        patches: vec![patch_of(field, spec)?],
        question: asked.item.question.clone(),
        choices: asked.item.choices.clone(),
        context: asked.item.context.clone().unwrap_or_default(),
        history: Vec::new(),
        max_pixels: None,
    };
    let prepared = model.prepare(&question)?;
    let sampling = Sampling { max_tokens: model.manifest().generation.max_tokens, ..Sampling::default() };
    let (going, mut trace) = (AtomicBool::new(false), Trace::default());
    let finished =
        model.answer_traced(&question, &prepared, &sampling, &going, Some(&mut trace), &mut |_| {})?;
    let maps = model.maps(&question, &prepared, &trace, asked.seed, Duration::MAX, &going)?;
    // Of one patch there is a map of each method for each sentence.
    let of_sentences = maps.chunk_by(|(a, _), (b, _)| (a.stage, a.first_token) == (b.stage, b.first_token));
    let of_observation = of_sentences
        .filter(|maps| maps.iter().all(|(head, _)| head.stage == AnswerStage::Observation))
        .map(|maps| pointed(asked, maps, &mask, spec.size_px as usize));
    let sentences = of_observation.collect::<Result<_>>()?;
    Ok(Looked { asked, question, prepared, answer: finished.answer, sentences })
}

/// `maps` are those of one sentence: one of each method, else nothing can be compared.
fn pointed(asked: &Asked<'_>, maps: &[(SentenceMap, Vec<f32>)], mask: &[u8], side: usize) -> Result<Pointed> {
    let of = |method: MapMethod| {
        let missing = || Error::Benchmark(format!("a sentence has no map by {}", method.name()));
        maps.iter().find(|(head, _)| head.method == method).ok_or_else(missing)
    };
    let (head, occlusion) = of(MapMethod::Occlusion)?;
    let maps = [occlusion, &of(MapMethod::Tam)?.1, &of(MapMethod::RelativeAttention)?.1];
    let stated = claims(&head.sentence);
    let is_true = stated.iter().all(|claim| claim.holds(asked.truth));
    let hit = |components: &[Component]| {
        let holds = cells(mask, side, head, components);
        let chance = holds.iter().filter(|holds| **holds).count() as f64 / holds.len().max(1) as f64;
        let [occlusion, tam, relative_attention] = maps.map(|map| brightest(map, &holds));
        (chance > 0.0).then_some(Hit { occlusion, tam, relative_attention, chance })
    };
    let mut structures = BTreeMap::new();
    let mut named = Vec::new();
    for (name, components) in
        stated.iter().filter(|c| c.holds(asked.truth)).filter_map(|claim| structure(*claim))
    {
        if let Some(hit) = hit(components) {
            structures.insert(name, hit);
            named.extend_from_slice(components);
        }
    }
    Ok(Pointed {
        field: asked.number,
        sentence: head.sentence.clone(),
        hit: hit(&named),
        structures,
        is_true: (!stated.is_empty()).then_some(is_true),
        difference: head.difference(),
        replaced_by: None,
    })
}

/// What of a field a claim names, with its name in figures; `None` where it names nothing that lies somewhere.
fn structure(claim: Claim) -> Option<(&'static str, &'static [Component])> {
    use Component as C;
    let named: (&'static str, &'static [Component]) = match claim.name().as_str() {
        "pattern.benign_glands" => ("glands", &[C::BenignEpithelium, C::EpithelialNucleus, C::Lumen]),
        "pattern.tumour_glands" => ("glands", &[C::TumourEpithelium, C::EpithelialNucleus, C::Lumen]),
        "pattern.tumour_nests" => ("nests", &[C::TumourEpithelium, C::EpithelialNucleus]),
        "pattern.tumour_sheets" => ("sheets", &[C::TumourEpithelium, C::EpithelialNucleus]),
        "pattern.fibrous_stroma" | "stroma.abundant" => ("stroma", &[C::Stroma]),
        "pattern.necrosis" | "necrosis.present" => ("necrosis", &[C::Necrosis]),
        "pattern.mucin" => ("mucin", &[C::Mucin]),
        "pattern.fat" => ("fat", &[C::Fat]),
        "pattern.lymphoid_aggregate" | "lymphocytes.sparse" | "lymphocytes.dense" => {
            ("lymphocytes", &[C::Lymphocyte])
        }
        "mitoses.present" => ("mitoses", &[C::Mitosis]),
        name if name.starts_with("nuclear_size.") || name.starts_with("pleomorphism.") => {
            ("epithelial nuclei", &[C::EpithelialNucleus])
        }
        _ => return None,
    };
    Some(named)
}

/// Which cells of a map hold a pixel of these components; `mask` is that of a square field of `side` pixels.
fn cells(mask: &[u8], side: usize, head: &SentenceMap, components: &[Component]) -> Vec<bool> {
    let [left, top, width, height] = head.crop;
    let mut holds = vec![false; head.rows * head.cols];
    for (at, id) in mask.iter().enumerate() {
        if !components.iter().any(|component| *component as u8 == *id) {
            continue;
        }
        let (u, v) = (((at % side) as f64 + 0.5 - left) / width, ((at / side) as f64 + 0.5 - top) / height);
        if (0.0..1.0).contains(&u) && (0.0..1.0).contains(&v) {
            let (row, col) = ((v * head.rows as f64) as usize, (u * head.cols as f64) as usize);
            holds[row * head.cols + col] = true;
        }
    }
    holds
}

/// The share of the brightest cells that hold it: 0 or 1 where one is brighter than all others.
fn brightest(map: &[f32], holds: &[bool]) -> f64 {
    let most = map.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let brightest: Vec<bool> =
        map.iter().zip(holds).filter(|(value, _)| **value == most).map(|(_, holds)| *holds).collect();
    brightest.iter().filter(|holds| **holds).count() as f64 / brightest.len().max(1) as f64
}

/// Reads the answer once more with a false sentence in the place of its first true one that names a structure: which of its
/// sentences was replaced, by what, and the deletion test of that.
fn replace(model: &ReinPath, looked: &Looked<'_>, said: &[String]) -> Result<Option<(usize, String, f32)>> {
    let truth = looked.asked.truth;
    let is_chosen = |s: &Pointed| s.is_true == Some(true) && s.hit.is_some();
    let Some(at) = looked.sentences.iter().position(is_chosen) else { return Ok(None) };
    let is_false = |text: &&String| claims(text).iter().all(|claim| !claim.holds(truth));
    // Which one must not follow from the order of the fields alone.
    let turn = looked.asked.seed as usize % said.len().max(1);
    let mut others = said.iter().cycle().skip(turn).take(said.len());
    let observation = &looked.answer.observation;
    let Some(other) = others.find(|text| is_false(text) && !observation.contains(text.as_str())) else {
        return Ok(None);
    };
    let observation = observation.replacen(&looked.sentences[at].sentence, other, 1);
    let text = StagedAnswer { observation, ..looked.answer.clone() }.to_text();
    let (going, mut trace) = (AtomicBool::new(false), Trace::default());
    model.read_traced(&looked.question, &looked.prepared, &text, &going, Some(&mut trace), &mut |_| {})?;
    let maps =
        model.maps(&looked.question, &looked.prepared, &trace, looked.asked.seed, Duration::MAX, &going)?;
    let read = maps.iter().map(|(head, _)| head).find(|head| {
        head.stage == AnswerStage::Observation
            && head.method == MapMethod::Occlusion
            && head.sentence == *other
    });
    Ok(read.map(|head| (at, other.clone(), head.difference())))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::phantom::Attribute;

    fn head(rows: usize, crop: [f64; 4]) -> SentenceMap {
        SentenceMap {
            stage: AnswerStage::Observation,
            sentence: String::new(),
            first_token: 0,
            tokens: 1,
            patch: 0,
            rows,
            cols: rows,
            crop,
            method: MapMethod::Tam,
            fall: 0.0,
            random_fall: 0.0,
        }
    }

    #[test]
    fn a_cell_holds_what_lies_in_it() {
        let (fat, stroma) = (Component::Fat as u8, Component::Stroma as u8);
        let mut mask = vec![stroma; 36];
        (mask[0], mask[6 * 5 + 4]) = (fat, fat);
        let whole = head(3, [0.0, 0.0, 6.0, 6.0]);
        let holds = cells(&mask, 6, &whole, &[Component::Fat]);
        assert_eq!(holds.iter().enumerate().filter(|(_, h)| **h).map(|(i, _)| i).collect::<Vec<_>>(), [0, 8]);
        assert!(cells(&mask, 6, &whole, &[Component::Stroma, Component::Fat]).iter().all(|holds| *holds));
        assert!(cells(&mask, 6, &whole, &[Component::Mucin]).iter().all(|holds| !holds));
        // The centre crop leaves the first pixel out and moves the other one's cell.
        let holds = cells(&mask, 6, &head(2, [2.0, 2.0, 4.0, 4.0]), &[Component::Fat]);
        assert_eq!(holds, [false, false, false, true]);
    }

    #[test]
    fn the_brightest_cell_counts_and_equally_bright_ones_share() {
        let holds = [true, false, false, true];
        assert_eq!(brightest(&[0.9, 0.2, 0.1, 0.0], &holds), 1.0);
        assert_eq!(brightest(&[0.1, 0.2, 0.1, 0.0], &holds), 0.0);
        assert_eq!(brightest(&[0.5, 0.5, 0.1, 0.0], &holds), 0.5);
        assert_eq!(brightest(&[0.0; 4], &holds), 0.5, "a dark map points nowhere: chance");
    }

    #[test]
    fn what_a_true_claim_names_is_in_the_mask() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut seen = BTreeSet::new();
        for (truth, _) in balanced_set(&mut rng, 90).iter().filter(|(truth, _)| truth.is_assessable()) {
            let field = draw(truth, 224, rng.random());
            for claim in Attribute::ALL.iter().filter_map(|attribute| attribute.of(truth)) {
                let Some((name, components)) = structure(claim) else { continue };
                seen.insert(name);
                let is_there = field.mask.iter().any(|id| components.iter().any(|c| *c as u8 == *id));
                assert!(is_there, "{} in {truth:?}", claim.name());
            }
        }
        assert_eq!(seen.len(), 10, "{seen:?}");
        assert_eq!(structure(Claim::from_name("necrosis.absent").unwrap()), None);
        assert_eq!(structure(Claim::from_name("cellularity.high").unwrap()), None);
    }
}
