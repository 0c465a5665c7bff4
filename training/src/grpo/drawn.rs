//! Answers to a batch of questions, with everything that updates from them need.

use std::collections::BTreeMap;

use reinpath_model::request::Sampling;
use reinpath_model::stage::StagedAnswer;

use super::{Grpo, REHEARSED};
use crate::batch::{self, Batch, Sequence};
use crate::error::{Error, Result};
use crate::event::measure;
use crate::gradients::predictions;
use crate::objective::{Answers, advantages, are_alike, deviation, kept, spreads};
use crate::policy::{Model, Policy};
use crate::reward::{Candidate, Scored};
use crate::rollout::{Question, Rollout, rollouts};
use crate::rollout_record::{AnswerRecord, RolloutRecord};
use crate::trainer::{Measures, Watch};

/// The answers to a question, scored.
struct Group {
    row: usize,
    asked: Question,
    answers: Vec<Rollout>,
    texts: Vec<String>,
    scored: Vec<Scored>,
}

/// What was drawn for a batch.
pub(super) struct Drawn {
    /// Micro-batches, at the temperature of sampling.
    pub(super) parts: Vec<Batch>,
    of_parts: Vec<OfPart>,
    /// (answers) whether each is in the loss.
    pub(super) kept: Vec<bool>,
    /// Of each answer, in tokens.
    pub(super) lengths: Vec<usize>,
    pub(super) measures: Measures,
    pub(super) records: Vec<RolloutRecord>,
    pub(super) warnings: Vec<String>,
}

/// What the loss of a micro-batch needs.
struct OfPart {
    old: Vec<f32>,
    reference: Option<Vec<f32>>,
    answer_of: Vec<usize>,
    advantages: Vec<f64>,
    kept: Vec<bool>,
}

impl Drawn {
    /// The answers of a micro-batch.
    pub(super) fn answers(&self, part: usize) -> Answers<'_> {
        let OfPart { old, reference, answer_of, advantages, kept } = &self.of_parts[part];
        Answers { old, reference: reference.as_deref(), answer_of, advantages, kept }
    }
}

impl Grpo<'_> {
    /// Has the policy answer the questions of a step, and scores the answers.
    pub(super) fn draw(&mut self, step: usize, policy: &Policy, watch: &Watch<'_>) -> Result<Drawn> {
        let (batch, round) = (self.optimisation.batch, step / self.config.updates);
        let writer = policy.merged()?;
        let rows = self.order.batch(round, batch);
        let sampling = self.sampling(step, 0);
        let mut groups = self.groups(&writer, &rows, &sampling, watch)?;
        let mut warnings = Vec::new();
        if self.config.resample > 0 {
            groups = self.resampled(groups, &writer, step, watch)?;
            if groups.iter().any(Group::is_alike) {
                warnings.push(
                    "Too few questions had both right and wrong answers; the batch was filled with others."
                        .to_owned(),
                );
            }
        }
        let mut drawn = self.drawn(&groups, policy, step, watch)?;
        drawn.warnings = warnings;
        Ok(drawn)
    }

    /// Other questions in place of those whose answers are all right or all wrong (DAPO), until there are enough or the
    /// attempts are over; then the first of what was left out fills the batch.
    fn resampled(
        &mut self,
        groups: Vec<Group>,
        writer: &Model,
        step: usize,
        watch: &Watch<'_>,
    ) -> Result<Vec<Group>> {
        let batch = groups.len();
        let (mut alike, mut useful): (Vec<Group>, Vec<Group>) = groups.into_iter().partition(Group::is_alike);
        for attempt in 1..=self.config.resample {
            if useful.len() >= batch {
                break;
            }
            let seed = |i: usize| {
                self.examples
                    .context
                    .seed(&["grpo", "resample", &attempt.to_string()], (step * batch + i) as u64)
            };
            let pass = &self.examples.pass;
            let rows: Vec<usize> = (0..batch).map(|i| pass[(seed(i) % pass.len() as u64) as usize]).collect();
            let sampling = self.sampling(step, attempt);
            let more = self.groups(writer, &rows, &sampling, watch)?;
            let (other, more): (Vec<Group>, Vec<Group>) = more.into_iter().partition(Group::is_alike);
            useful.extend(more);
            alike.extend(other);
        }
        useful.extend(alike);
        useful.truncate(batch);
        Ok(useful)
    }

    /// Has the policy answer the first rows before the first step, as a step would, and scores the answers: a record a
    /// question, of step 0.
    pub(super) fn rehearsed(&mut self, policy: &Policy, watch: &Watch<'_>) -> Result<Vec<RolloutRecord>> {
        let (config, context) = (self.config, self.examples.context);
        let writer = policy.merged()?;
        let rows: Vec<usize> = (0..self.questions.len().min(REHEARSED)).collect();
        let sampling = Sampling {
            max_tokens: self.shortened_to().unwrap_or(config.max_tokens),
            seed: context.seed(&["grpo", "rehearsal"], 0),
            ..self.sampling(0, 0)
        };
        let groups = self.groups(&writer, &rows, &sampling, watch)?;
        let rewards: Vec<f64> =
            groups.iter().flat_map(|group| group.scored.iter().map(|one| one.reward)).collect();
        let advantages = advantages(&rewards, config.samples, config.scaling, config.spread_floor);
        let records = groups.iter().zip(advantages.chunks(config.samples));
        Ok(records
            .map(|(group, advantages)| RolloutRecord { step: 0, ..self.record(group, advantages, 0) })
            .collect())
    }

    /// How the answers of a step are drawn, at the first attempt or a later one.
    fn sampling(&self, step: usize, attempt: usize) -> Sampling {
        let (config, context) = (self.config, self.examples.context);
        Sampling {
            temperature: config.temperature,
            top_p: config.top_p,
            max_tokens: config.max_tokens,
            seed: context.seed(&["grpo", "answers", &attempt.to_string()], step as u64),
            ..Sampling::default()
        }
    }

    /// Answers to rows, scored.
    fn groups(
        &mut self,
        writer: &Model,
        rows: &[usize],
        sampling: &Sampling,
        watch: &Watch<'_>,
    ) -> Result<Vec<Group>> {
        let (config, context) = (self.config, self.examples.context);
        let asked = rows.iter().map(|&row| self.asked(row)).collect::<Result<Vec<_>>>()?;
        let features = |image: usize| self.examples.features.of(image);
        let mut going = |_ended: usize| !watch.is_stopped();
        let answers =
            rollouts(writer, &asked, features, config.samples, sampling, &context.model.stop, &mut going);
        let answers = answers.map_err(|error| if watch.is_stopped() { Error::Stopped } else { error })?;
        let tokenizer = context.model.tokenizer.tokenizer();
        let said = |answer: &Rollout| {
            tokenizer.decode(answer.said(), true).map_err(|error| Error::Tokenizer(error.to_string()))
        };
        let texts = answers
            .iter()
            .map(|group| group.iter().map(said).collect::<Result<Vec<_>>>())
            .collect::<Result<Vec<_>>>()?;
        let candidate = |(text, answer): (&String, &Rollout)| Candidate {
            text: text.clone(),
            tokens: answer.ids.len(),
            stop: answer.stop,
        };
        let candidates: Vec<Vec<Candidate>> = texts
            .iter()
            .zip(&answers)
            .map(|(texts, answers)| texts.iter().zip(answers).map(candidate).collect())
            .collect();
        let questions: Vec<_> = rows.iter().map(|&row| self.questions[row].clone()).collect();
        let scored = self.ready()?.score(&questions, &candidates)?;
        let groups = rows.iter().zip(asked).zip(answers).zip(texts.into_iter().zip(scored));
        Ok(groups
            .map(|(((&row, asked), answers), (texts, scored))| Group { row, asked, answers, texts, scored })
            .collect())
    }

    /// What updates from these groups need.
    fn drawn(&self, groups: &[Group], policy: &Policy, step: usize, watch: &Watch<'_>) -> Result<Drawn> {
        let (config, compute) = (self.config, &self.examples.context.config.compute);
        let rewards: Vec<f64> =
            groups.iter().flat_map(|group| group.scored.iter().map(|one| one.reward)).collect();
        let advantages = advantages(&rewards, config.samples, config.scaling, config.spread_floor);
        let answers = || groups.iter().flat_map(|group| &group.answers);
        let kept = kept(&answers().map(|answer| answer.stop).collect::<Vec<_>>(), config.mask_cut_off);
        let sequences: Vec<Sequence> =
            groups.iter().map(|group| group.asked.answered(&group.answers)).collect();
        let ranges = batch::parts(&sequences, self.optimisation.micro_batch, compute.workers);
        let parts = ranges
            .iter()
            .map(|range| {
                let features = |image: usize| self.examples.features.of(image);
                let batch = Batch::new(&sequences[range.clone()], policy.model.shape, features)?;
                Ok(batch.at_temperature(config.temperature))
            })
            .collect::<Result<Vec<_>>>()?;
        watch.check()?;
        let references = match &self.reference {
            None => Vec::new(),
            Some(reference) => predictions(reference, &parts, compute)?,
        };
        let mut references = references.into_iter();
        let of_parts = ranges
            .iter()
            .enumerate()
            .map(|(number, range)| {
                let own = range.start * config.samples..range.end * config.samples;
                let mine = groups[range.clone()].iter().flat_map(|group| &group.answers);
                OfPart {
                    old: mine.flat_map(|answer| answer.log_probabilities.iter().copied()).collect(),
                    reference: references.next().map(|of_part| of_part.log_probabilities),
                    answer_of: parts[number].answer_of(),
                    advantages: advantages[own.clone()].to_vec(),
                    kept: kept[own].to_vec(),
                }
            })
            .collect();
        Ok(Drawn {
            of_parts,
            lengths: answers().map(|answer| answer.ids.len()).collect(),
            measures: measures(groups, &rewards, config.samples),
            records: groups
                .iter()
                .zip(advantages.chunks(config.samples))
                .map(|(group, advantages)| self.record(group, advantages, step))
                .collect(),
            warnings: Vec::new(),
            parts,
            kept,
        })
    }

    fn record(&self, group: &Group, advantages: &[f64], step: usize) -> RolloutRecord {
        let question = &self.questions[group.row];
        let answers = group.answers.iter().zip(&group.texts).zip(group.scored.iter().zip(advantages));
        RolloutRecord {
            stage: "grpo".to_owned(),
            step: step + 1,
            row: question.id.clone(),
            images: question.images.clone(),
            question: question.text.clone(),
            choices: question.choices.clone(),
            label: question.label.clone(),
            reference: question.reference.as_ref().map(StagedAnswer::to_text).unwrap_or_default(),
            answers: answers
                .map(|((answer, text), (scored, &advantage))| AnswerRecord {
                    text: text.clone(),
                    tokens: answer.ids.len(),
                    stop: answer.stop,
                    logprob: answer.log_probabilities.iter().map(|&x| f64::from(x)).sum(),
                    rewards: scored.parts.clone(),
                    reward: scored.reward,
                    advantage,
                    is_right: scored.is_right,
                })
                .collect(),
        }
    }
}

impl Group {
    /// Whether its answers are all right or all wrong.
    fn is_alike(&self) -> bool {
        are_alike(&self.scored.iter().map(|one| one.is_right).collect::<Vec<_>>())
    }
}

/// Means over the answers of a batch.
fn measures(groups: &[Group], rewards: &[f64], samples: usize) -> Measures {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let share = |count: usize, of: usize| count as f64 / of.max(1) as f64;
    let answers: Vec<&Rollout> = groups.iter().flat_map(|group| &group.answers).collect();
    let scored: Vec<&Scored> = groups.iter().flat_map(|group| &group.scored).collect();
    let mut parts: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (name, &value) in scored.iter().flat_map(|one| &one.parts) {
        parts.entry(name).or_default().push(value);
    }
    let mut measures: Measures = parts
        .iter()
        .filter_map(|(name, values)| Some((measure::of_part(name)?.to_owned(), mean(values))))
        .collect();
    let lengths: Vec<f64> = answers.iter().map(|answer| answer.ids.len() as f64).collect();
    let no_spread = rewards.chunks(samples).filter(|group| deviation(group) == 0.0).count();
    let count = |is: &dyn Fn(&&Scored) -> bool| scored.iter().copied().filter(is).count();
    let unscored = count(&|one| one.unscored.is_some());
    measures.extend([
        (measure::REWARD.to_owned(), mean(rewards)),
        (measure::REWARD_SPREAD.to_owned(), mean(&spreads(rewards, samples))),
        (measure::NO_SPREAD.to_owned(), share(no_spread, groups.len())),
        (measure::ACCURACY.to_owned(), share(count(&|one| one.is_right), scored.len())),
        (measure::LENGTH.to_owned(), mean(&lengths)),
        (
            measure::CUT_OFF.to_owned(),
            share(answers.iter().filter(|a| a.is_cut_off()).count(), answers.len()),
        ),
    ]);
    if unscored > 0 {
        measures.insert(measure::UNSCORED.to_owned(), unscored as f64);
    }
    measures
}
