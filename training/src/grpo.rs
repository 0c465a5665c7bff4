//! Stage 3, group relative policy optimisation (paper, sections 2.2 and 2.3, equations 1 to 8): the policy writes several
//! answers to each question, each is rewarded, and what earned more than its group's mean becomes likelier.
//!
//! A step is an update. Answers are written at the first of the `updates` that are made from them, by the policy as it is
//! then; their log-probabilities are kept from sampling. The reference is the policy that entered the stage.

mod drawn;

use std::path::PathBuf;

use candle_core::{Device, Var};
use reinpath_model::event::Stop;
use reinpath_model::sentence::SentenceEncoder;

use self::drawn::Drawn;
use crate::config::{GrpoConfig, Optimisation};
use crate::dataset::{Purpose, SourceRow, answer_text, question};
use crate::error::{Error, Result};
use crate::event::measure;
use crate::example::{Examples, Order, at_once, learning};
use crate::gradients::gradients;
use crate::objective::{LossMeasures, Totals, policy_loss};
use crate::policy::{Model, Policy};
use crate::pretrain::TEXT_ENCODER;
use crate::reward::{self, Candidate, Judge};
use crate::rollout;
use crate::trainer::{Context, Learner, Outlook, Rehearsed, StepResult, Watch};

/// Log-probabilities kept from sampling that are farther than this from the same computed again in f32 mean that answers
/// are not written as they are learnt from.
const DRIFT: f64 = 0.05;
/// Rows whose reference answers are rewarded in a dry run, and which the policy answers there.
const REHEARSED: usize = 4;
/// Most tokens of an answer that is written in a dry run on the CPU, where long ones take minutes.
const REHEARSED_TOKENS: usize = 64;

/// The stage.
pub(crate) struct Grpo<'a> {
    config: &'a GrpoConfig,
    optimisation: Optimisation,
    examples: Examples<'a>,
    order: Order,
    /// Of each row, what its answers are held against.
    questions: Vec<reward::Question>,
    /// Until the judge has it.
    encoder: Option<SentenceEncoder>,
    judge: Option<Judge>,
    /// Where the distance to it weighs something.
    reference: Option<Model>,
    /// The answers that more updates are to be made from.
    drawn: Option<Drawn>,
}

impl<'a> Grpo<'a> {
    /// Reads the rows, and the text encoder where the semantic reward weighs something.
    pub(crate) fn new(context: &'a Context, config: &'a GrpoConfig) -> Result<Self> {
        check(config)?;
        let examples = Examples::read(context, &config.data, Purpose::Grpo, |_| None)?;
        let question = |source: &SourceRow| {
            let images = source.images.iter().map(|path| path.display().to_string()).collect();
            reward::Question::new(&source.row, images)
        };
        let questions = examples.rows.iter().map(question).collect();
        let mut optimisation = examples.resolved(&config.optimisation)?;
        if config.optimisation.steps == 0 {
            // An epoch asks every question once, however many updates are made from its answers.
            optimisation.steps *= config.updates;
        }
        Ok(Self {
            order: Order::new(examples.pass.clone(), context.seed(&["grpo"], 0)),
            encoder: encoder(context, config)?,
            judge: None,
            reference: None,
            drawn: None,
            config,
            optimisation,
            examples,
            questions,
        })
    }

    /// Starts what scores answers, an external program with it. Only now: the stages before may take days.
    fn ready(&mut self) -> Result<&mut Judge> {
        if self.judge.is_none() {
            let mut judge = Judge::new(&self.config.reward, self.config.max_tokens, self.encoder.take())?;
            judge.learn_usual(&self.questions)?;
            self.judge = Some(judge);
        }
        self.judge.as_mut().ok_or_else(|| Error::Features("answers cannot be scored".to_owned()))
    }

    /// What the reference answers of the first rows would earn, as sentences.
    fn earned_by_references(&mut self, watch: &Watch<'_>) -> Result<Vec<String>> {
        let mut sentences = Vec::new();
        for row in 0..self.questions.len().min(REHEARSED) {
            watch.check()?;
            let source = &self.examples.rows[row].row;
            let Some(text) = answer_text(source) else { continue };
            let tokens = self.examples.context.model.tokenizer.encode(&text)?.len() + 1;
            let (question, id) = (self.questions[row].clone(), source.id.clone());
            let candidate = Candidate { text, tokens, stop: Stop::End };
            let scored = self.ready()?.score(&[question], &[vec![candidate]])?;
            let Some(scored) = scored.first().and_then(|group| group.first()) else { continue };
            let parts: Vec<String> =
                scored.parts.iter().map(|(name, value)| format!("{name} {value:.2}")).collect();
            let (reward, parts) = (scored.reward, parts.join(", "));
            sentences.push(format!("The reference answer of the row {id} would earn {reward:.2} ({parts})."));
        }
        Ok(sentences)
    }

    /// Most tokens of an answer in a dry run, where that is fewer than in a run.
    fn shortened_to(&self) -> Option<usize> {
        let is_slow = self.examples.context.config.compute.device == "cpu";
        (is_slow && self.config.max_tokens > REHEARSED_TOKENS).then_some(REHEARSED_TOKENS)
    }

    /// The row's prompt as the model is asked.
    fn asked(&self, row: usize) -> Result<rollout::Question> {
        let prompt = self.examples.prompt(row, question(&self.examples.rows[row].row))?;
        Ok(rollout::Question { prompt: prompt.segments, images: self.examples.places[row].clone() })
    }

    /// One update from what was drawn.
    fn update(&self, drawn: &Drawn, policy: &Policy, is_first: bool) -> Result<StepResult> {
        let config = self.config;
        let totals = Totals::new(&drawn.lengths, &drawn.kept);
        let outcome = {
            let learning: Vec<Var> = self.learning(policy).into_iter().map(|(var, _)| var).collect();
            let compute = &self.examples.context.config.compute;
            gradients(&policy.model, &learning, &drawn.parts, compute, |part, new| {
                let answers = drawn.answers(part);
                let drift = if is_first { rollout::drift(answers.old, new)? } else { 0.0 };
                let (loss, measures) = policy_loss(new, &answers, totals, config)?;
                Ok((loss, (measures, drift)))
            })?
        };
        let mut told = LossMeasures::default();
        let mut drift = 0.0f64;
        for (measures, of_part) in outcome.measures {
            told += measures;
            drift = drift.max(of_part);
        }
        let mut result = StepResult {
            gradients: outcome.gradients,
            measures: drawn.measures.clone(),
            rollouts: Vec::new(),
            warnings: Vec::new(),
        };
        let mut measured = |name: &str, value: f64| result.measures.insert(name.to_owned(), value);
        measured(measure::TOKENS, totals.tokens as f64);
        measured(measure::ENTROPY, outcome.entropy);
        measured(measure::CLIPPED, told.clipped_share());
        if let Some(kl) = told.kl() {
            measured(measure::KL, kl);
        }
        if is_first {
            measured(measure::DRIFT, drift);
            let is_exact = self.examples.context.model.precision() == "f32";
            if is_exact && drift > DRIFT {
                result.warnings.push(
                    "Log-probabilities kept from sampling differ from the same computed again: answers are not \
                     written as they are learnt from."
                        .to_owned(),
                );
            }
        }
        Ok(result)
    }
}

/// What no run could be made of.
fn check(config: &GrpoConfig) -> Result<()> {
    let wrong = |sentence: &str| Err(Error::Setting(sentence.to_owned()));
    match config {
        GrpoConfig { samples: 0 | 1, .. } => {
            wrong("`grpo.samples` must be at least 2: an answer is compared with others to the same question")
        }
        GrpoConfig { updates: 0, .. } => wrong("`grpo.updates` must be at least 1"),
        GrpoConfig { max_tokens: 0, .. } => wrong("`grpo.max_tokens` must be at least 1"),
        GrpoConfig { temperature, .. } if *temperature <= 0.0 => wrong(
            "`grpo.temperature` must be more than 0: the same answer every time leaves nothing to compare",
        ),
        _ => Ok(()),
    }
}

/// The sentence encoder of the settings, or the package's own.
fn encoder(context: &Context, config: &GrpoConfig) -> Result<Option<SentenceEncoder>> {
    if config.reward.semantic == 0.0 {
        return Ok(None);
    }
    let own = context.package.folder.join(TEXT_ENCODER);
    let folder = match &config.reward.text_encoder {
        Some(folder) => folder.clone(),
        None if own.is_dir() => own,
        None => return Err(reward::Error::NoEncoder.into()),
    };
    // Small, and asked for a few sentences at a time: it stays off the device that trains.
    Ok(Some(SentenceEncoder::load(&folder, &Device::Cpu).map_err(reward::Error::from)?))
}

impl Learner for Grpo<'_> {
    fn name(&self) -> &'static str {
        "grpo"
    }

    fn optimisation(&self) -> &Optimisation {
        &self.optimisation
    }

    fn learning(&self, policy: &Policy) -> Vec<(Var, f64)> {
        learning(policy, Some(self.config.projector_rate), Some(1.0), self.config.looks_rate)
    }

    fn enter(&mut self, policy: &Policy) -> Result<()> {
        self.ready()?;
        if self.config.kl_weight != 0.0 {
            self.reference = Some(policy.freeze()?);
        }
        Ok(())
    }

    fn step(&mut self, step: usize, policy: &Policy, watch: &Watch<'_>) -> Result<StepResult> {
        let begin = std::time::Instant::now();
        let kept = self.drawn.take();
        let is_first = kept.is_none();
        let mut drawn = match kept {
            Some(drawn) => drawn,
            None => self.draw(step, policy, watch)?,
        };
        let secs = begin.elapsed().as_secs_f64();
        let mut result = self.update(&drawn, policy, is_first)?;
        if is_first {
            result.measures.insert(measure::ROLLOUT_SECS.to_owned(), secs);
        }
        let update_secs = begin.elapsed().as_secs_f64() - secs;
        result.measures.insert(measure::UPDATE_SECS.to_owned(), update_secs);
        // Told once, with the first update from them.
        result.rollouts = std::mem::take(&mut drawn.records);
        result.warnings.append(&mut drawn.warnings);
        self.drawn = (!self.may_pause_after(step)).then_some(drawn);
        Ok(result)
    }

    fn may_pause_after(&self, step: usize) -> bool {
        (step + 1).is_multiple_of(self.config.updates) || step + 1 >= self.optimisation.steps
    }

    fn images(&self) -> &[PathBuf] {
        &self.examples.images
    }

    fn outlook(&self) -> Outlook {
        let (optimisation, samples) = (&self.optimisation, self.config.samples);
        let tokens = self.examples.features.shape().tokens;
        let longest = |row: usize| {
            let prompt = self.examples.prompt(row, question(&self.examples.rows[row].row))?;
            Ok(prompt.len(tokens) + self.config.max_tokens)
        };
        Outlook {
            at_once: at_once(optimisation.batch * samples, optimisation.micro_batch, self.examples.context),
            answers: optimisation.batch * samples,
            has_reference: self.config.kl_weight != 0.0,
            ..self.examples.outlook(optimisation, longest)
        }
    }

    fn rehearse(&mut self, policy: &Policy, watch: &Watch<'_>) -> Result<Rehearsed> {
        Ok(Rehearsed {
            sentences: self.earned_by_references(watch)?,
            records: self.rehearsed(policy, watch)?,
            shortened_to: self.shortened_to(),
        })
    }
}

#[cfg(test)]
mod tests;
