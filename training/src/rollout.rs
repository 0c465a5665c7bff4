//! Answers that the policy writes itself: whole groups at once, each prompt read once however many answers it gets.
//!
//! The log-probabilities of the tokens are kept as they were drawn, at the temperature of sampling (as TRL takes them):
//! the ratio of the first update needs no further pass. Where top-p or top-k leave tokens out, they are still those of the
//! full distribution, which is what the policy is trained as.

use candle_core::Tensor;
use reinpath_model::event::Stop;
use reinpath_model::generate::{Generated, generate_batch};
use reinpath_model::images::Spliced;
use reinpath_model::prompt::Segment;
use reinpath_model::request::Sampling;

use crate::batch::{Answer, Sequence};
use crate::error::Result;
use crate::policy::Model;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub prompt: Vec<Segment>,
    /// Numbers of the images that the patches of the prompt are.
    pub images: Vec<usize>,
}

/// An answer that the policy wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// Ids of its tokens, that which ended it with them.
    pub ids: Vec<u32>,
    /// Of each, when it was drawn.
    pub log_probabilities: Vec<f32>,
    pub stop: Stop,
}

impl Rollout {
    /// The ids of what was said: without the token that ended it.
    pub fn said(&self) -> &[u32] {
        let said = self.ids.len() - usize::from(self.stop == Stop::End);
        &self.ids[..said]
    }

    /// Whether it was cut off.
    pub fn is_cut_off(&self) -> bool {
        self.stop != Stop::End
    }
}

impl From<Generated> for Rollout {
    fn from(generated: Generated) -> Self {
        let all = || generated.tokens.iter().chain(&generated.end);
        Self {
            ids: all().map(|drawn| drawn.id).collect(),
            log_probabilities: all().map(|drawn| drawn.tempered).collect(),
            stop: generated.stop,
        }
    }
}

impl Question {
    /// The question with answers to it, as the policy learns from them.
    pub fn answered(&self, group: &[Rollout]) -> Sequence {
        Sequence {
            prompt: self.prompt.clone(),
            images: self.images.clone(),
            answers: group.iter().map(|rollout| Answer::new(rollout.ids.clone())).collect(),
        }
    }
}

/// `samples` answers to each question by a model that does not learn meanwhile ([`crate::policy::Policy::merged`]).
///
/// Answer i of all draws with seed `sampling.seed + i`. `features` gives those of an image by its number; `progress` gets
/// how many answers have ended, and `false` from it ends with an error.
pub fn rollouts(
    model: &Model,
    questions: &[Question],
    features: impl Fn(usize) -> Result<Vec<f32>>,
    samples: usize,
    sampling: &Sampling,
    stop: &[u32],
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<Vec<Rollout>>> {
    let prompt = |question: &Question| -> Result<Spliced> {
        Ok(model.prompt(&question.prompt, &question.images, &features)?.into())
    };
    let prompts = questions.iter().map(prompt).collect::<Result<Vec<_>>>()?;
    if samples == 0 {
        return Ok(vec![Vec::new(); questions.len()]);
    }
    let answers = generate_batch(&model.llama, &prompts, samples, sampling, stop, progress)?;
    let answers: Vec<Rollout> = answers.into_iter().map(Rollout::from).collect();
    Ok(answers.chunks(samples).map(<[Rollout]>::to_vec).collect())
}

/// The largest difference between log-probabilities that were kept from sampling and the same computed again, (tokens):
/// how far the way answers are written is from the way they are learnt from.
pub fn drift(kept: &[f32], again: &Tensor) -> Result<f64> {
    let again = again.detach().to_vec1::<f32>()?;
    Ok(kept.iter().zip(&again).map(|(kept, again)| f64::from((kept - again).abs())).fold(0.0, f64::max))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::policy::tests::{batch, far, features, policy, sequence};

    fn questions() -> Vec<Question> {
        [sequence(&[0], 4, &[]), sequence(&[1, 2], 11, &[]), sequence(&[], 2, &[])]
            .map(|Sequence { prompt, images, .. }| Question { prompt, images })
            .to_vec()
    }

    fn sampling(temperature: f64) -> Sampling {
        Sampling { temperature, seed: 3, max_tokens: 12, ..Sampling::default() }
    }

    fn ask(model: &Model, temperature: f64, stop: &[u32]) -> Vec<Vec<Rollout>> {
        let (questions, sampling) = (questions(), sampling(temperature));
        rollouts(model, &questions, features, 4, &sampling, stop, &mut |_| true).unwrap()
    }

    #[test]
    fn what_was_kept_from_sampling_is_what_the_policy_says_again() {
        let policy = policy();
        let merged = policy.merged().unwrap();
        for temperature in [1.0, 0.7] {
            let groups = ask(&merged, temperature, &[]);
            let sequences: Vec<Sequence> =
                questions().iter().zip(&groups).map(|(question, group)| question.answered(group)).collect();
            let kept: Vec<f32> =
                groups.iter().flatten().flat_map(|r| r.log_probabilities.iter().copied()).collect();
            assert_eq!(kept.len(), 3 * 4 * 12);
            let again = batch(&policy.model, &sequences).at_temperature(temperature);
            let again = policy.model.predictions(&again).unwrap().log_probabilities;
            // The ratio of the first update is 1.
            assert!(far(&kept, &again) < 1e-3, "{}", far(&kept, &again));
            let tensor = Tensor::from_vec(again, kept.len(), &Device::Cpu).unwrap();
            assert!(drift(&kept, &tensor).unwrap() < 1e-3);
            let off: Vec<f32> = kept.iter().map(|x| x - 0.5).collect();
            assert!((drift(&off, &tensor).unwrap() - 0.5).abs() < 1e-2);
        }
    }

    #[test]
    fn the_token_that_ends_an_answer_belongs_to_it_and_is_not_said() {
        let merged = policy().merged().unwrap();
        let free = ask(&merged, 1.0, &[]);
        assert!(free.iter().flatten().all(|r| r.is_cut_off() && r.said().len() == 12));
        let stop = free[1][2].ids[5];
        let first = free[1][2].ids.iter().position(|&id| id == stop).unwrap();
        let ended = &ask(&merged, 1.0, &[stop])[1][2];
        assert!(!ended.is_cut_off());
        assert_eq!(ended.ids, free[1][2].ids[..=first]);
        assert_eq!(ended.said(), &free[1][2].ids[..first]);
        assert_eq!(ended.log_probabilities.len(), first + 1);
    }

    #[test]
    fn the_same_seed_writes_the_same_and_a_stop_is_an_error() {
        let merged = policy().merged().unwrap();
        assert_eq!(ask(&merged, 1.0, &[]), ask(&merged, 1.0, &[]));
        let stopped = rollouts(&merged, &questions(), features, 2, &sampling(1.0), &[], &mut |_| false);
        assert!(stopped.is_err());
        let none = rollouts(&merged, &[], features, 2, &sampling(1.0), &[], &mut |_| true).unwrap();
        assert!(none.is_empty());
    }
}
