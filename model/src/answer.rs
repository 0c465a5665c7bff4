//! Questions to a loaded model: one answer as a stream of events, or many answers at once for evaluation.
//!
//! Joins what the other files do: features, prompt, generation, text, stages. An answer that is written already is read
//! instead (`read.rs`).

mod read;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use candle_core::Tensor;

use self::writer::Writer;
use crate::attribution::Trace;
use crate::event::{AskEvent, Finished, Stop};
use crate::generate::{Generator, Prefix, fits, generate_batch, splice};
use crate::images::{Seen, Spliced};
use crate::llama::KvCache;
use crate::package::{Grid, OptionMark};
use crate::patch::Patch;
use crate::prompt::{IMAGE, Prompt, earlier_text_in, user_text_in};
use crate::reinpath::{Error, ReinPath};
use crate::request::{Exchange, Sampling};
use crate::room::Demand;
use crate::sampler::{self, Drawn};
use crate::stage::extract_choice;

/// The options of a true/false question, as its answer names them.
pub(crate) const TRUE_FALSE: [&str; 2] = ["True", "False"];
/// Options have one letter each.
const MOST_CHOICES: usize = 26;

/// A question about patches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Question {
    pub patches: Vec<Patch>,
    pub question: String,
    pub choices: Vec<String>,
    /// Clinical context; empty when there is none.
    pub context: String,
    /// Earlier questions and answers, oldest first, which the model reads before this one: words without patches. Empty:
    /// the question stands alone.
    pub history: Vec<Exchange>,
    /// The most pixels of a patch that the model is given, where its patches have any size; `None`: the package's limit.
    pub max_pixels: Option<u64>,
}

/// A question that was made ready: what the stamp tells of it.
#[derive(Debug)]
pub struct Prepared {
    pub prompt: Prompt,
    /// What the model sees of the patches.
    pub seen: Seen,
    /// Rows and columns of the image tokens of each patch.
    pub grids: Vec<Grid>,
    /// What the package does not know, in sentences.
    pub warnings: Vec<String>,
    started: Instant,
}

/// One answer of many.
#[derive(Clone, Debug)]
pub struct BatchAnswer {
    /// Embeddings of its prompt, with their places.
    pub prompt: Spliced,
    pub text: String,
    pub tokens: Vec<Drawn>,
    pub stop: Stop,
}

impl Question {
    /// What is wrong with the question, in a sentence; `None` when nothing is.
    pub fn fault(&self) -> Option<String> {
        if self.question.trim().is_empty() {
            return Some("the question is empty".to_owned());
        }
        if self.patches.is_empty() {
            return Some("a question needs at least one patch".to_owned());
        }
        let texts = [&self.question, &self.context].into_iter().chain(&self.choices);
        let earlier =
            self.history.iter().flat_map(|e| [&e.question, &e.answer].into_iter().chain(&e.choices));
        if texts.chain(earlier).any(|t| t.contains(IMAGE)) {
            return Some(format!("the text must not contain {IMAGE}, which stands for a patch"));
        }
        let options = self.choices.len();
        (options > MOST_CHOICES)
            .then(|| format!("a question can have at most {MOST_CHOICES} choices, not {options}"))
    }

    fn user_text(&self, mark: OptionMark) -> String {
        user_text_in(mark, self.patches.len(), &self.context, &self.question, &self.choices)
    }
}

/// What was said before a question, as (what the user said, what was answered), with options that are marked in this way.
pub(crate) fn turns(mark: OptionMark, history: &[Exchange]) -> Vec<(String, String)> {
    history.iter().map(|e| (earlier_text_in(mark, &e.question, &e.choices), e.answer.clone())).collect()
}

impl ReinPath {
    /// Reads the patches and the text of a question.
    pub fn prepare(&self, question: &Question) -> Result<Prepared, Error> {
        self.prepare_unless(question, &AtomicBool::new(false))
    }

    /// The same; when `cancel` is set it ends with [`Error::Cancelled`].
    pub fn prepare_unless(&self, question: &Question, cancel: &AtomicBool) -> Result<Prepared, Error> {
        let started = Instant::now();
        if let Some(fault) = question.fault() {
            return Err(Error::Question(fault));
        }
        let (prompt, grids) = self.prompt(question)?;
        let mut going = || !cancel.load(Ordering::Relaxed);
        let asked = question.max_pixels;
        let compute = || self.look(&question.patches, asked, &mut going);
        let seen = self.recent.seen(&question.patches, asked, compute)?;
        let mut warnings: Vec<String> =
            question.patches.iter().flat_map(|patch| self.patch_warnings(patch, asked)).collect();
        let mut told = std::collections::BTreeSet::new();
        warnings.retain(|warning| told.insert(warning.clone()));
        warnings.extend(self.out_of_range(&seen)?);
        Ok(Prepared { prompt, seen, grids, warnings, started })
    }

    /// Sentences about a patch that the model was not trained to read, or is given in another size than it has.
    fn patch_warnings(&self, patch: &Patch, asked: Option<u64>) -> Vec<String> {
        let Patch { width, height, mpp, .. } = *patch;
        match &self.manifest().vision {
            Some(spec) => spec.warnings(width, height, mpp, asked),
            None => self.manifest().patch.warnings(width, height, mpp),
        }
    }

    /// The prompt of a question, and the grid of each of its patches. One that is too long is refused here: to look at many
    /// patches takes minutes.
    fn prompt(&self, question: &Question) -> Result<(Prompt, Vec<Grid>), Error> {
        let mark = self.manifest().instructions.options;
        let before = turns(mark, &question.history);
        let prompt = self.tokenizer.conversation(&before, &question.user_text(mark))?;
        let grids = self.grids(&question.patches, question.max_pixels)?;
        fits(&self.llama, &prompt, &grids)?;
        Ok((prompt, grids))
    }

    /// Answers: stages and tokens go to `events`, which does not get the end; that is returned.
    pub fn answer(
        &self,
        question: &Question,
        prepared: &Prepared,
        sampling: &Sampling,
        cancel: &AtomicBool,
        events: &mut dyn FnMut(AskEvent),
    ) -> Result<Finished, Error> {
        self.answer_traced(question, prepared, sampling, cancel, None, events)
    }

    /// As [`Self::answer`], and keeps in `trace` what the maps of the answer are made from.
    pub fn answer_traced(
        &self,
        question: &Question,
        prepared: &Prepared,
        sampling: &Sampling,
        cancel: &AtomicBool,
        trace: Option<&mut Trace>,
        events: &mut dyn FnMut(AskEvent),
    ) -> Result<Finished, Error> {
        if let Some(fault) = sampler::fault(sampling) {
            return Err(Error::Question(fault));
        }
        let mut writer = Writer::new(self, events);
        let mut first = None;
        let (mut hidden, mut ids) = (Vec::new(), Vec::new());
        let is_kept = trace.is_some();
        let x = splice(&self.llama, &prepared.prompt, &self.images(&prepared.seen)?)?;
        let room = self.options_room(&question.choices)?;
        let generator = Generator { llama: &self.llama, sampling, stop: &self.stop, room, cancel };
        let mut keep = |states: &Tensor| {
            if is_kept {
                hidden.push(states.clone());
            }
        };
        let written = self.with_room(self.demand(prepared, &x, sampling, room)?, || {
            let prefix = self.read_patches(prepared, &x, cancel)?;
            generator.run(&x, prefix.as_deref(), &mut keep, &mut |drawn| {
                first.get_or_insert_with(Instant::now);
                ids.push(drawn.id);
                writer.push(drawn)
            })
        });
        let (stop, cache) = match written {
            Err(Error::Cancelled) => (Stop::Cancelled, None),
            written => written.map(|(stop, cache)| (stop, Some(cache)))?,
        };
        writer.finish()?;
        let said = Said { stop, cache, prompt: &x, first };
        let finished = self.finished(question, prepared, &writer, said, &ids, cancel)?;
        if let Some(trace) = trace {
            *trace = Trace { hidden, ids };
        }
        Ok(finished)
    }

    /// The end of an answer whose tokens are `ids`: what it chooses, and how likely each option is.
    fn finished(
        &self,
        question: &Question,
        prepared: &Prepared,
        writer: &Writer<'_>,
        said: Said<'_>,
        ids: &[u32],
        cancel: &AtomicBool,
    ) -> Result<Finished, Error> {
        let Said { mut stop, cache, prompt, first } = said;
        let (end, first) = (Instant::now(), first.unwrap_or_else(Instant::now));
        let choice = chosen(&writer.answer.conclusion, &question.choices);
        let options = match cache {
            Some(mut cache) if stop != Stop::Cancelled && !question.choices.is_empty() => {
                match self.score_written_options(&mut cache, prompt, ids, &question.choices, cancel) {
                    Err(Error::Cancelled) => {
                        stop = Stop::Cancelled;
                        Vec::new()
                    }
                    scores => scores?,
                }
            }
            _ => Vec::new(),
        };
        Ok(Finished {
            choice,
            format_ok: writer.parser.is_well_formed(),
            answer: writer.answer.clone(),
            tokens: writer.count,
            prefill_secs: (first - prepared.started).as_secs_f64(),
            decode_secs: (end - first).as_secs_f64(),
            stop,
            raw: writer.raw.clone(),
            options,
        })
    }

    /// What an answer to the prompt `x` needs, with `room` tokens after it, and what goes before the question.
    fn demand(
        &self,
        prepared: &Prepared,
        x: &Spliced,
        sampling: &Sampling,
        room: usize,
    ) -> Result<Demand, Error> {
        let prompt = x.tokens()?;
        let most = self.llama.config.max_position_embeddings.saturating_sub(prompt);
        let shared = prepared.prompt.shared_len_of(&prepared.grids);
        Ok(Demand {
            kept: shared.saturating_sub(self.recent.kept_tokens()),
            ..Demand::of_one(prompt, sampling.max_tokens.saturating_add(room).min(most))
        })
    }

    /// The prompt up to its last patch; `None` where nothing follows the patches.
    fn read_patches(
        &self,
        prepared: &Prepared,
        x: &Spliced,
        cancel: &AtomicBool,
    ) -> Result<Option<Arc<Prefix>>, Error> {
        match prepared.prompt.shared_len_of(&prepared.grids) {
            0 => Ok(None),
            shared => self.recent.prefix(&self.llama, &x.first(shared)?, cancel).map(Some),
        }
    }

    /// Answers many questions at once, each `samples` times, side by side; the texts are as generated, headings
    /// included. Answer i draws with seed `sampling.seed + i`. `progress` gets how many answers have ended, also (none)
    /// between the layers of what it sees with; `false` from it cancels.
    pub fn answer_batch(
        &self,
        questions: &[Question],
        samples: usize,
        sampling: &Sampling,
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Vec<BatchAnswer>, Error> {
        let fault = questions.iter().find_map(Question::fault).or_else(|| sampler::fault(sampling));
        if let Some(fault) = fault {
            return Err(Error::Question(fault));
        }
        if questions.is_empty() {
            return Ok(Vec::new());
        }
        let prompts = self.spliced(questions, &mut || progress(0))?;
        let lengths = prompts.iter().map(Spliced::tokens).collect::<candle_core::Result<Vec<_>>>()?;
        let longest = lengths.into_iter().max().unwrap_or(0);
        let most = self.llama.config.max_position_embeddings.saturating_sub(longest);
        let demand = Demand {
            answers: prompts.len().saturating_mul(samples),
            ..Demand::of_one(longest, sampling.max_tokens.min(most))
        };
        let generated = self.with_room(demand, || {
            generate_batch(&self.llama, &prompts, samples, sampling, &self.stop, progress)
        })?;
        // Each prompt has its samples side by side.
        let prompts = prompts.into_iter().flat_map(|prompt| std::iter::repeat_n(prompt, samples));
        let decode = |(g, prompt): (crate::generate::Generated, Spliced)| {
            let text = self
                .tokenizer
                .tokenizer()
                .decode(&g.ids(), true)
                .map_err(|e| crate::prompt::Error::Encode(e.to_string()))?;
            Ok(BatchAnswer { prompt, text, tokens: g.tokens, stop: g.stop })
        };
        generated.into_iter().zip(prompts).map(decode).collect()
    }

    /// Embeddings of the prompts of questions, whose patches are looked at together.
    fn spliced(
        &self,
        questions: &[Question],
        going: &mut dyn FnMut() -> bool,
    ) -> Result<Vec<Spliced>, Error> {
        let mut prompts = Vec::with_capacity(questions.len());
        for alike in questions.chunk_by(|a, b| a.max_pixels == b.max_pixels) {
            let own = alike.iter().map(|question| self.prompt(question)).collect::<Result<Vec<_>, _>>()?;
            let patches: Vec<Patch> = alike.iter().flat_map(|q| q.patches.iter().cloned()).collect();
            let images = self.images(&self.look(&patches, alike[0].max_pixels, going)?)?;
            let mut at = 0;
            for (prompt, grids) in own {
                prompts.push(splice(&self.llama, &prompt, &images.part(at, grids.len()))?);
                at += grids.len();
            }
        }
        Ok(prompts)
    }
}

/// Letter of the choice that a conclusion names, or `True` or `False`.
fn chosen(conclusion: &str, choices: &[String]) -> Option<String> {
    let words = TRUE_FALSE.map(str::to_owned);
    if choices.is_empty() || choices == words {
        // An open question may speak of what is true: only the first word counts.
        let first = conclusion.trim().split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
        return words.into_iter().find(|w| first.eq_ignore_ascii_case(w));
    }
    let index = extract_choice(conclusion, choices)?;
    Some(char::from(b'A' + index as u8).to_string())
}

/// How an answer came to its end.
struct Said<'a> {
    stop: Stop,
    /// With the prompt and the answer but for its last token; `None` where that was cut short.
    cache: Option<KvCache>,
    prompt: &'a Spliced,
    /// When its first token was there.
    first: Option<Instant>,
}

#[cfg(test)]
mod tests;
