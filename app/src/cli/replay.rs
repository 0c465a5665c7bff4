//! `reinpath ask --replay FILE`: the question of an answer once more, with all that its stamp says, and whether the same text comes out.
//!
//! The slide is found by its place or among those that the window remembers, by its hash; the package by its hash among those on this
//! machine. What cannot be found has to be named.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, anyhow, bail};
use reinpath_model::event::{PatchStamp, Stamp};
use reinpath_model::package::Package;
use reinpath_model::request::Load;
use serde::Deserialize;
use serde_json::json;

use super::ask::{AskArguments, Follower, Printer, converse, write, write_json};
use super::{Failure, complain, interrupts};
use crate::ask::{self, CutPatch, Question};
use crate::case::Answer;
use crate::models;
use crate::places::Places;
use crate::review::replay::{Replayed, compare, difference};
use crate::slide::{Region, SlideHandle};
use crate::worker::Worker;

mod recorded;

/// By how much a patch's own scale may differ from the one that was wanted: sides are whole pixels.
const ROUNDING: f64 = 0.02;

/// Asks again and compares.
pub(super) fn replay(arguments: &AskArguments, file: &Path, printer: &mut Printer) -> Result<(), Failure> {
    let before = recorded::read(file, arguments.answer.as_deref())?;
    let stamp =
        before.stamp.as_deref().ok_or_else(|| anyhow!("there is no stamp in it: {}", file.display()))?;
    let is_heard = Arc::new(AtomicBool::new(false));
    let interrupted = interrupts(Arc::clone(&is_heard))?;
    let folder = package_of(arguments, stamp)?;
    let worker = Worker::start(arguments.worker.as_deref(), || {}).map_err(anyhow::Error::from)?;
    // The model loads while the slide is read.
    worker.load(load(arguments, &folder, stamp)).map_err(anyhow::Error::from)?;
    let slide = slide_of(arguments, stamp)?;
    let usual = Package::open(&folder).ok().map(|package| package.manifest.patch.mpp);
    let patches =
        stamp.patches.iter().map(|patch| cut(&slide, patch, usual)).collect::<anyhow::Result<Vec<_>>>()?;
    let question = Question {
        text: stamp.question.clone(),
        choices: stamp.choices.clone(),
        context: stamp.context.clone(),
        sampling: stamp.sampling.clone(),
        save_inputs: arguments.save_inputs.is_some(),
        save_maps: arguments.save_maps.is_some(),
        history: stamp.history.clone(),
        written: None,
        max_pixels: stamp.max_pixels,
    };
    let (request, pixels) = ask::request(&question, &patches).map_err(anyhow::Error::from)?;
    let id = worker.ask(request, pixels).map_err(anyhow::Error::from)?;
    is_heard.store(true, Ordering::Relaxed);
    let has_text = !before.tokens.is_empty();
    printer.is_quiet = has_text;
    let after = {
        let mut follower = Follower::new(printer, slide.info(), &patches, arguments);
        converse(&worker, id, &mut follower, &interrupted)?;
        follower.heard
    };
    tell(&outcome(&before, &after, stamp, has_text), arguments.json)
}

/// What came of it.
#[derive(Debug, PartialEq)]
struct Outcome {
    is_same: bool,
    sentence: String,
    replayed: Option<Replayed>,
}

/// Compares the texts, or the pixels and prompts where the file holds no text.
fn outcome(before: &Answer, after: &Answer, stamp: &Stamp, has_text: bool) -> Outcome {
    if has_text {
        let replayed = compare(before, after);
        let (is_same, sentence) = (replayed == Replayed::Same, replayed.sentence());
        return Outcome { is_same, sentence, replayed: Some(replayed) };
    }
    let cause = after.stamp.as_deref().and_then(|new| difference(stamp, new));
    let sentence = match &cause {
        None => "The same pixels, prompt and model; the stamp comes without a text to compare.".to_owned(),
        Some(cause) => format!("The answer is not to the same question of the same model: {cause}."),
    };
    Outcome { is_same: cause.is_none(), sentence, replayed: None }
}

fn tell(outcome: &Outcome, as_json: bool) -> Result<(), Failure> {
    let Outcome { is_same, sentence, replayed } = outcome;
    if as_json {
        let mut data = json!({"same": is_same, "sentence": sentence});
        if let Some(Replayed::Differs { at, before, after, cause }) = replayed {
            data["difference"] = json!({"at": at, "before": before, "after": after, "cause": cause});
        }
        write_json(&json!({"type": "replayed", "data": data}))?;
    } else if *is_same {
        write(&format!("{sentence}\n"))?;
    }
    if *is_same {
        return Ok(());
    }
    // Said here: no event of the answer failed.
    complain(sentence);
    Err(Failure::Told(1))
}

/// The package that is named, or the one on this machine that gave the answer.
fn package_of(arguments: &AskArguments, stamp: &Stamp) -> Result<PathBuf, Failure> {
    if let Some(folder) = &arguments.model {
        return Ok(folder.clone());
    }
    let places = Places::find().map_err(anyhow::Error::from)?;
    let listed = models::list(&places).map_err(anyhow::Error::from)?;
    let gave_it = |listed: &models::Listed| {
        listed.package.as_ref().is_ok_and(|measured| measured.package.hash == stamp.package_hash)
    };
    let found = listed.into_iter().find(gave_it).map(|listed| listed.folder);
    let hash: String = stamp.package_hash.chars().take(8).collect();
    Ok(found.ok_or_else(|| {
        let name = &stamp.package;
        anyhow!("the model package that gave the answer, {name} ({hash}), is not on this machine: name one with --model")
    })?)
}

/// The same adapter, and the same precision unless another device is asked for, which has its own.
fn load(arguments: &AskArguments, folder: &Path, stamp: &Stamp) -> Load {
    let is_known = ["f32", "bf16", "f16"].contains(&stamp.precision.as_str());
    Load {
        package: folder.to_string_lossy().into_owned(),
        device: arguments.device.clone(),
        precision: (is_known && arguments.device.is_none()).then(|| stamp.precision.clone()),
        adapter: stamp.adapter.clone(),
    }
}

/// The slide that is named; or the one at the stamp's place or among those that the window remembers, by its hash; or, where none has it,
/// whatever is at the stamp's place now.
fn slide_of(arguments: &AskArguments, stamp: &Stamp) -> Result<SlideHandle, Failure> {
    if let Some(path) = &arguments.slide {
        return Ok(SlideHandle::open(path)?);
    }
    let Some(slide) = &stamp.slide else {
        return Err(Failure::Failed(anyhow!("the stamp names no slide: name it before --replay")));
    };
    let mut changed = None;
    if !slide.path.is_empty() && Path::new(&slide.path).exists() {
        let handle = SlideHandle::open(&slide.path)?;
        if handle.info().hash == slide.hash {
            return Ok(handle);
        }
        changed = Some(handle);
    }
    for path in recent().into_iter().filter(|path| path.exists()) {
        match SlideHandle::open(&path) {
            Ok(handle) if handle.info().hash == slide.hash => return Ok(handle),
            Ok(_other) => {}
            Err(error) => tracing::info!("{error}"),
        }
    }
    let hash: String = slide.hash.chars().take(8).collect();
    Ok(changed
        .ok_or_else(|| anyhow!("the slide of the answer ({hash}) is not found: name it before --replay"))?)
}

/// What the window remembers, as far as it is needed here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Remembered {
    recent: Vec<PathBuf>,
}

/// The slides that were opened before; none where that cannot be read.
fn recent() -> Vec<PathBuf> {
    let Ok(places) = Places::find() else { return Vec::new() };
    let text = std::fs::read_to_string(places.configuration.join("window.toml")).unwrap_or_default();
    toml::from_str::<Remembered>(&text).unwrap_or_default().recent
}

/// Cuts a patch as it was cut. Its stamp has the scale that it came to have, not the one that was wanted, of which the level that is read
/// depends: of those that it can have been, the one that gives the same pixels counts.
fn cut(slide: &SlideHandle, patch: &PatchStamp, usual: Option<f64>) -> anyhow::Result<CutPatch> {
    let Some(source) = &patch.source else {
        bail!("the stamp does not say where on the slide its patches lie");
    };
    let region = region(source.region)?;
    let mut first = None;
    for mpp in wanted(patch.mpp, usual) {
        let cut = ask::cut_turned(slide, region, mpp, source.turned)?;
        if cut.patch.hash() == patch.blake3 {
            return Ok(cut);
        }
        first.get_or_insert(cut);
    }
    first.context("the stamp's scale is none")
}

/// The microns per pixel that may have been wanted, the likeliest first.
fn wanted(came: Option<f64>, usual: Option<f64>) -> Vec<f64> {
    let Some(came) = came else {
        // Where a slide's scale is unknown its pixels are taken as they are, whatever is wanted.
        return vec![1.0];
    };
    let rounded = |digits: f64| (came * digits).round() / digits;
    let all = [usual.unwrap_or(came), came, rounded(100.0), rounded(1000.0)];
    let is_near = |mpp: &f64| mpp.is_finite() && *mpp > 0.0 && (mpp - came).abs() <= came * ROUNDING;
    let mut near: Vec<f64> = Vec::new();
    for mpp in all.into_iter().filter(is_near) {
        if !near.contains(&mpp) {
            near.push(mpp);
        }
    }
    near
}

fn region([x, y, w, h]: [i64; 4]) -> anyhow::Result<Region> {
    let side = |length: i64| u32::try_from(length).ok().filter(|&length| length > 0);
    let (Some(w), Some(h)) = (side(w), side(h)) else { bail!("the stamp's region is none: {x},{y},{w},{h}") };
    Ok(Region { x, y, w, h })
}

#[cfg(test)]
mod tests {
    use reinpath_model::event::{Finished, Stop};
    use reinpath_model::stage::AnswerStage;

    use super::*;
    use crate::case::{Id, Purpose, Token};

    #[test]
    fn scales_that_may_have_been_wanted_are_near_the_one_that_came() {
        assert_eq!(wanted(None, Some(0.5)), [1.0]);
        assert_eq!(wanted(Some(0.499_98), Some(0.5)), [0.5, 0.499_98]);
        assert_eq!(wanted(Some(0.249_9), Some(0.5)), [0.249_9, 0.25]);
        assert_eq!(wanted(Some(f64::NAN), None), [0.0; 0]);
    }

    #[test]
    fn a_region_has_two_sides() {
        assert_eq!(region([-1, 2, 3, 4]).unwrap(), Region { x: -1, y: 2, w: 3, h: 4 });
        assert!(region([0, 0, 0, 4]).is_err() && region([0, 0, 3, i64::MAX]).is_err());
    }

    #[test]
    fn without_a_text_pixels_and_prompt_are_compared() {
        let stamp = Stamp { prompt: "one".to_owned(), ..Stamp::default() };
        let answer = |stamp: &Stamp, text: &str| Answer {
            stamp: Some(Box::new(stamp.clone())),
            tokens: vec![Token {
                stage: Some(AnswerStage::Observation),
                text: text.to_owned(),
                logprob: 0.0,
            }],
            finished: Some(Finished { stop: Stop::End, ..Finished::cancelled_before_it_began() }),
            ..Answer::begun(Id::default(), Purpose::Answer)
        };
        let bare = Answer { tokens: Vec::new(), ..answer(&stamp, "") };
        let same = outcome(&bare, &answer(&stamp, "Glands."), &stamp, false);
        assert!(same.is_same && same.replayed.is_none() && same.sentence.contains("without a text"));
        let other = Stamp { prompt: "two".to_owned(), ..Stamp::default() };
        let differs = outcome(&bare, &answer(&other, "Glands."), &stamp, false);
        assert!(!differs.is_same && differs.sentence.ends_with("the prompt is another."), "{differs:?}");
        let limited = Stamp { max_pixels: Some(200_704), ..stamp.clone() };
        let limit = outcome(&bare, &answer(&limited, "Glands."), &stamp, false);
        assert!(!limit.is_same && limit.sentence.contains("pixel limit of a patch is another"), "{limit:?}");
        let text = outcome(&answer(&stamp, "A"), &answer(&stamp, "A"), &stamp, true);
        assert_eq!((text.is_same, text.sentence.as_str()), (true, "The same text."));
    }
}
