//! Questions to a loaded model: one answer as a stream of events, or many answers at once for evaluation.
//!
//! Joins what the other files do: features, prompt, generation, text, stages. An answer that is written already is read
//! instead (`read.rs`).

mod read;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use candle_core::Tensor;

use crate::attribution::Trace;
use crate::detokeniser::Detokeniser;
use crate::event::{AskEvent, Finished, Stop};
use crate::generate::{Generator, Prefix, generate_batch, splice};
use crate::llama::KvCache;
use crate::patch::Patch;
use crate::prompt::{IMAGE, Prompt, earlier_text, user_text};
use crate::reinpath::{Error, ReinPath};
use crate::request::{Exchange, Sampling};
use crate::room::Demand;
use crate::sampler::{self, Drawn};
use crate::stage::{AnswerStage, Piece, StageParser, StagedAnswer, extract_choice};

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
}

/// A question that was made ready: what the stamp tells of it.
#[derive(Debug)]
pub struct Prepared {
    pub prompt: Prompt,
    /// (patches, image_tokens, fused)
    pub features: Tensor,
    /// What the package does not know, in sentences.
    pub warnings: Vec<String>,
    started: Instant,
}

/// One answer of many.
#[derive(Clone, Debug)]
pub struct BatchAnswer {
    /// Embeddings of its prompt, (1, tokens, hidden).
    pub prompt: Tensor,
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

    fn user_text(&self) -> String {
        user_text(self.patches.len(), &self.context, &self.question, &self.choices)
    }
}

/// What was said before a question, as (what the user said, what was answered).
pub(crate) fn turns(history: &[Exchange]) -> Vec<(String, String)> {
    history.iter().map(|e| (earlier_text(&e.question, &e.choices), e.answer.clone())).collect()
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
        let prompt = self.prompt(question)?;
        let mut going = || !cancel.load(Ordering::Relaxed);
        let compute = || self.features_while(&question.patches, &mut going);
        let features = self.recent.features(&question.patches, compute)?;
        let spec = &self.manifest().patch;
        let mut warnings: Vec<String> =
            question.patches.iter().flat_map(|p| spec.warnings(p.width, p.height, p.mpp)).collect();
        let mut told = std::collections::BTreeSet::new();
        warnings.retain(|warning| told.insert(warning.clone()));
        warnings.extend(self.out_of_range(&features)?);
        Ok(Prepared { prompt, features, warnings, started })
    }

    fn prompt(&self, question: &Question) -> Result<Prompt, Error> {
        Ok(self.tokenizer.conversation(&turns(&question.history), &question.user_text())?)
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
        let x = splice(&self.llama, &prepared.prompt, &self.embeddings(&prepared.features)?)?;
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
        let said = Said { stop, cache, prompt: x.dim(1)?, first };
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
        said: Said,
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
            raw: String::new(),
            options,
        })
    }

    /// What an answer to the prompt `x` needs, with `room` tokens after it, and what goes before the question.
    fn demand(
        &self,
        prepared: &Prepared,
        x: &Tensor,
        sampling: &Sampling,
        room: usize,
    ) -> Result<Demand, Error> {
        let prompt = x.dim(1)?;
        let most = self.llama.config.max_position_embeddings.saturating_sub(prompt);
        let shared = prepared.prompt.shared_len(self.manifest().image_tokens());
        Ok(Demand {
            kept: shared.saturating_sub(self.recent.kept_tokens()),
            ..Demand::of_one(prompt, sampling.max_tokens.saturating_add(room).min(most))
        })
    }

    /// The prompt up to its last patch; `None` where nothing follows the patches.
    fn read_patches(
        &self,
        prepared: &Prepared,
        x: &Tensor,
        cancel: &AtomicBool,
    ) -> Result<Option<Arc<Prefix>>, Error> {
        match prepared.prompt.shared_len(self.manifest().image_tokens()) {
            0 => Ok(None),
            shared => self.recent.prefix(&self.llama, &x.narrow(1, 0, shared)?, cancel).map(Some),
        }
    }

    /// Answers many questions at once, each `samples` times, side by side; the texts are as generated, headings
    /// included. Answer i draws with seed `sampling.seed + i`. `progress` gets how many answers have ended, also (none)
    /// between the layers of the encoders; `false` from it cancels.
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
        let patches: Vec<Patch> = questions.iter().flat_map(|q| q.patches.iter().cloned()).collect();
        let images = self.embeddings(&self.features_while(&patches, &mut || progress(0))?)?;
        let mut at = 0;
        let mut prompts = Vec::with_capacity(questions.len());
        for question in questions {
            let prompt = self.prompt(question)?;
            prompts.push(splice(&self.llama, &prompt, &images.narrow(0, at, question.patches.len())?)?);
            at += question.patches.len();
        }
        let lengths = prompts.iter().map(|p| p.dim(1)).collect::<candle_core::Result<Vec<_>>>()?;
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
        let decode = |(g, prompt): (crate::generate::Generated, Tensor)| {
            let text = self
                .tokenizer
                .tokenizer()
                .decode(&g.ids(), true)
                .map_err(|e| crate::prompt::Error::Encode(e.to_string()))?;
            Ok(BatchAnswer { prompt, text, tokens: g.tokens, stop: g.stop })
        };
        generated.into_iter().zip(prompts).map(decode).collect()
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
struct Said {
    stop: Stop,
    /// With the prompt and the answer but for its last token; `None` where that was cut short.
    cache: Option<KvCache>,
    /// Tokens of the prompt.
    prompt: usize,
    /// When its first token was there.
    first: Option<Instant>,
}

/// From tokens to events.
struct Writer<'a> {
    detokeniser: Detokeniser<'a>,
    parser: StageParser,
    answer: StagedAnswer,
    stage: Option<AnswerStage>,
    count: usize,
    last: Option<Drawn>,
    events: &'a mut dyn FnMut(AskEvent),
}

impl<'a> Writer<'a> {
    fn new(model: &'a ReinPath, events: &'a mut dyn FnMut(AskEvent)) -> Self {
        Self {
            detokeniser: Detokeniser::new(model.tokenizer.tokenizer()),
            parser: StageParser::default(),
            answer: StagedAnswer::default(),
            stage: None,
            count: 0,
            last: None,
            events,
        }
    }

    fn push(&mut self, drawn: Drawn) -> Result<(), Error> {
        self.count += 1;
        self.last = Some(drawn);
        let text = self.detokeniser.push(drawn.id)?;
        let pieces = self.parser.push(&text);
        self.send(pieces);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        let text = self.detokeniser.finish()?;
        let pieces = self.parser.push(&text);
        self.send(pieces);
        let pieces = self.parser.finish();
        self.send(pieces);
        Ok(())
    }

    /// Text that was held back is sent with the token that released it.
    fn send(&mut self, pieces: Vec<Piece>) {
        for piece in pieces {
            match piece {
                Piece::Stage(stage) => {
                    self.stage = Some(stage);
                    (self.events)(AskEvent::Stage { stage });
                }
                Piece::Text(text) => {
                    if let Some(stage) = self.stage {
                        self.answer.stage_mut(stage).push_str(&text);
                    }
                    let logprob = self.last.map_or(0.0, |t| t.logprob);
                    let index = self.count.saturating_sub(1);
                    (self.events)(AskEvent::Token { index, stage: self.stage, text, logprob });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
