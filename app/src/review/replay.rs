//! Whether an answer comes out again as it was: two answers to one question compared, the first difference of their texts, and its cause
//! as far as their stamps tell it. And a stamp in words.
//!
//! The same package, pixels, prompt and sampling on the same device give the same text. Where all that is equal and the text is not,
//! arithmetic differs: another processor, or another number of threads. No stamp tells of that.

use reinpath_model::event::{AskEvent, PatchStamp, Stamp, Stop};
use reinpath_model::request::Sampling;
use reinpath_model::stage::AnswerStage;
use reinpath_training::dataset::grouped;

use crate::case::{Answer, Token};

/// Characters that are shown of each text where they differ.
const SHOWN: usize = 40;
/// Characters of them before the difference.
const SHOWN_BEFORE: usize = 12;

/// What came of asking again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    Same,
    Differs {
        /// The first character that differs, counted from 0 over all stages with their headings.
        at: usize,
        /// The text around it, 40 characters at most.
        before: String,
        after: String,
        /// As a clause: “the device is another: cpu, before cuda:0”.
        cause: String,
    },
}

impl Replayed {
    /// As a sentence.
    pub fn sentence(&self) -> String {
        match self {
            Self::Same => "The same text.".to_owned(),
            Self::Differs { at, before, after, cause } => {
                let at = at + 1;
                format!("The text differs from character {at} on (“{before}” became “{after}”): {cause}.")
            }
        }
    }
}

/// Compares what was written before with what was written now.
pub fn compare(before: &Answer, after: &Answer) -> Replayed {
    let texts = [written(before), written(after)].map(|text| text.chars().collect::<Vec<char>>());
    let [old, new] = &texts;
    let same = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    if same == old.len() && same == new.len() {
        return Replayed::Same;
    }
    let around = |text: &[char]| -> String {
        let piece = text.iter().skip(same.saturating_sub(SHOWN_BEFORE)).take(SHOWN);
        piece.map(|&c| if c == '\n' { ' ' } else { c }).collect()
    };
    Replayed::Differs { at: same, before: around(old), after: around(new), cause: cause(before, after) }
}

/// The text of an answer: what stands before the first heading, then each stage that has text under its heading.
fn written(answer: &Answer) -> String {
    let before: String =
        answer.tokens.iter().filter(|token| token.stage.is_none()).map(|token| token.text.as_str()).collect();
    let text = answer.text();
    let stages = AnswerStage::ALL.into_iter().filter(|&stage| !text.stage(stage).trim().is_empty());
    let mut parts: Vec<String> =
        stages.map(|stage| format!("[{}]\n{}", stage.name(), text.stage(stage).trim())).collect();
    if !before.trim().is_empty() {
        parts.insert(0, before.trim().to_owned());
    }
    parts.join("\n")
}

/// Why two answers differ, as a clause.
fn cause(before: &Answer, after: &Answer) -> String {
    let (Some(old), Some(new)) = (&before.stamp, &after.stamp) else {
        return "one of the answers has no stamp".to_owned();
    };
    if let Some(cause) = difference(old, new) {
        return cause;
    }
    let was_stopped =
        |answer: &Answer| answer.finished.as_ref().is_none_or(|finished| finished.stop == Stop::Cancelled);
    match (was_stopped(before), was_stopped(after)) {
        (true, _) => "the first one was stopped before its end".to_owned(),
        (false, true) => "the second one was stopped before its end".to_owned(),
        (false, false) => "all that the stamp tells is the same, so the arithmetic differs".to_owned(),
    }
}

/// The first thing that differs between two stamps, as a clause; `None` where nothing does that could change the text.
pub fn difference(before: &Stamp, after: &Stamp) -> Option<String> {
    let hash = |stamp: &Stamp| stamp.slide.as_ref().map(|slide| short(&slide.hash)).unwrap_or_default();
    let pixels =
        |stamp: &Stamp| -> Vec<String> { stamp.patches.iter().map(|patch| short(&patch.blake3)).collect() };
    let name = |stamp: &Stamp| format!("{} ({})", stamp.package, short(&stamp.package_hash));
    let adapter = |stamp: &Stamp| stamp.adapter.clone().unwrap_or_else(|| "none".to_owned());
    let told = |what: &str, old: String, new: String| -> Option<String> {
        (old != new).then(|| format!("{what}: {new}, before {old}"))
    };
    // A stamp that names no slide says nothing of it.
    let has_slides = before.slide.is_some() && after.slide.is_some();
    let slide = has_slides.then(|| told("the slide is another, or was changed", hash(before), hash(after)));
    let same_words = before.prompt == after.prompt
        && (&before.question, &before.choices, &before.context, &before.history)
            == (&after.question, &after.choices, &after.context, &after.history);
    slide
        .flatten()
        .or_else(|| {
            told("the pixels of the patches are others", pixels(before).join(", "), pixels(after).join(", "))
        })
        .or_else(|| {
            let is_same = before.package_hash == after.package_hash;
            if is_same { None } else { told("the model package is another", name(before), name(after)) }
        })
        .or_else(|| told("the adapter is another", adapter(before), adapter(after)))
        .or_else(|| told("the pixel limit of a patch is another", limit(before), limit(after)))
        .or_else(|| told("the precision is another", before.precision.clone(), after.precision.clone()))
        .or_else(|| told("the device is another", before.device.clone(), after.device.clone()))
        .or_else(|| (!same_words).then(|| "the prompt is another".to_owned()))
        .or_else(|| told("the sampling is another", drawn(&before.sampling), drawn(&after.sampling)))
        .or_else(|| told("the version is another", before.version.clone(), after.version.clone()))
}

/// Adds an event of an answer to its record.
pub fn hear(answer: &mut Answer, event: &AskEvent) {
    match event {
        AskEvent::Started { stamp } => answer.stamp = Some(stamp.clone()),
        AskEvent::Stage { .. } => {}
        AskEvent::Token { stage, text, logprob, .. } => {
            answer.tokens.push(Token { stage: *stage, text: text.clone(), logprob: *logprob });
        }
        AskEvent::Finished(finished) => answer.finished = Some(finished.clone()),
        AskEvent::Failed { error } => answer.failed = Some(error.clone()),
    }
}

/// Every field of a stamp, name and value, for people.
pub fn stamp_lines(stamp: &Stamp) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(slide) = &stamp.slide {
        lines.push(("Slide", slide.path.clone()));
        lines.push(("Slide's hash", slide.hash.clone()));
    }
    lines.extend(stamp.patches.iter().flat_map(patch_lines));
    lines.push(("Model package", stamp.package.clone()));
    lines.push(("Package's hash", stamp.package_hash.clone()));
    if let Some(adapter) = &stamp.adapter {
        lines.push(("Adapter", adapter.clone()));
    }
    lines.push(("Precision", stamp.precision.clone()));
    lines.push(("Device", stamp.device.clone()));
    lines.push(("Version", stamp.version.clone()));
    lines.push(("Question", stamp.question.clone()));
    if !stamp.choices.is_empty() {
        lines.push(("Options", stamp.choices.join("; ")));
    }
    if !stamp.context.is_empty() {
        lines.push(("Context", stamp.context.clone()));
    }
    for exchange in &stamp.history {
        lines.push(("Asked before", exchange.question.clone()));
        if !exchange.choices.is_empty() {
            lines.push(("Options before", exchange.choices.join("; ")));
        }
        lines.push(("Answered before", exchange.answer.clone()));
    }
    if stamp.max_pixels.is_some() {
        lines.push(("Pixel limit", limit(stamp)));
    }
    lines.push(("Sampling", drawn(&stamp.sampling)));
    lines.push(("Prompt", stamp.prompt.clone()));
    if !stamp.declared_tissues.is_empty() {
        lines.push(("Knows only", stamp.declared_tissues.join(", ")));
    }
    lines.extend(stamp.terms.iter().map(|terms| ("Terms", terms.clone())));
    lines.extend(stamp.warnings.iter().map(|warning| ("Warning", warning.clone())));
    lines
}

fn patch_lines(patch: &PatchStamp) -> Vec<(&'static str, String)> {
    let scale = |mpp: Option<f64>| mpp.map_or("scale unknown".to_owned(), |mpp| format!("{mpp:.4} µm/px"));
    let mut lines = Vec::new();
    if let Some(source) = &patch.source {
        let [x, y, w, h] = source.region;
        let turned =
            if source.turned == 0.0 { String::new() } else { format!(", turned by {}°", source.turned) };
        lines.push(("Patch", format!("{w} × {h} px at {x}, {y} of level 0{turned}")));
        let origin = &source.mpp_origin;
        let slide = scale(source.slide_mpp);
        lines.push(("Read from", format!("level {}, slide {slide} ({origin})", source.level)));
    }
    lines.push(("Given", format!("{} × {} px, {}", patch.width, patch.height, scale(patch.mpp))));
    lines.push(("Pixels' hash", patch.blake3.clone()));
    lines.extend(patch.encoders.iter().map(|encoder| {
        let ([height, width], [x, y, w, h]) = (encoder.tensor, encoder.crop);
        let scale = scale(encoder.effective_mpp);
        let name = &encoder.name;
        (
            "Encoder",
            format!("{name}: {width} × {height}, {scale}, of the patch {w:.1} × {h:.1} px at {x:.1}, {y:.1}"),
        )
    }));
    lines
}

/// Most pixels of a patch that the model was given, in words.
fn limit(stamp: &Stamp) -> String {
    let pixels = stamp.max_pixels.map(|pixels| usize::try_from(pixels).unwrap_or(usize::MAX));
    pixels.map_or_else(|| "the package's own".to_owned(), |pixels| format!("{} px", grouped(pixels)))
}

/// How tokens were drawn, in words.
fn drawn(sampling: &Sampling) -> String {
    let Sampling { temperature, top_k, top_p, repetition_penalty, seed, max_tokens } = sampling;
    format!(
        "temperature {temperature}, top-k {top_k}, top-p {top_p}, repetition penalty {repetition_penalty}, seed {seed}, \
         at most {max_tokens} tokens"
    )
}

/// Enough of a hash to tell it from others.
fn short(hash: &str) -> String {
    hash.chars().take(8).collect()
}

#[cfg(test)]
mod tests;
