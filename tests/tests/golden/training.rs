//! Training against the golden files of `tests/golden/training` (written by `training.py` from PyTorch, PEFT,
//! transformers and TRL): advantages, losses with their gradients, AdamW, schedules.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{Device, Tensor, Var, safetensors};
use reinpath_tests::root;
use reinpath_training::config::{Aggregation, GrpoConfig, KlEstimator, Optimisation, RatioLevel, Scaling};
use reinpath_training::objective::{Answers, LossMeasures, Totals, advantages, policy_loss};
use reinpath_training::optimiser::AdamW;
use reinpath_training::parallel::Gradients;
use serde::Deserialize;
use serde::de::DeserializeOwned;

fn file(name: &str) -> PathBuf {
    root().join("tests/golden/training").join(name)
}

fn json<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_str(&std::fs::read_to_string(file(name)).unwrap()).unwrap()
}

fn tensors(name: &str) -> HashMap<String, Tensor> {
    safetensors::load(file(name), &Device::Cpu).unwrap()
}

/// Within `tolerance` of the larger of `scale` and the largest value wanted.
fn agree(what: &str, got: &[f64], want: &[f64], tolerance: f64, scale: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(scale.max(f64::MIN_POSITIVE), |largest, x| largest.max(x.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let off = (got - want).abs() / largest;
        assert!(off <= tolerance, "{what}: {got} instead of {want} at {i}");
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

#[derive(Deserialize)]
struct AdvantageCase {
    rewards: Vec<f64>,
    group: usize,
    scaling: Scaling,
    floor: f64,
    advantages: Vec<f64>,
}

#[test]
fn advantages_are_trls() {
    let cases: Vec<AdvantageCase> = json("advantages.json");
    assert_eq!(cases.len(), 18);
    for case in cases {
        let got = advantages(&case.rewards, case.group, case.scaling, case.floor);
        let what = format!("{:?} of {} with a floor of {}", case.scaling, case.group, case.floor);
        // TRL computes them in f32.
        agree(&what, &got, &case.advantages, 1e-6, 0.0);
    }
}

/// How the policy's loss is taken.
#[derive(Deserialize)]
pub(super) struct PolicyLoss {
    pub(super) aggregation: Aggregation,
    pub(super) ratio: RatioLevel,
    kl: KlEstimator,
    kl_weight: f64,
    clip_low: f64,
    clip_high: f64,
    max_tokens: usize,
}

impl PolicyLoss {
    /// The usual settings with these.
    pub(super) fn config(&self) -> GrpoConfig {
        let mut config: GrpoConfig = toml::from_str("data = []\noptimisation = {}").unwrap();
        config.aggregation = self.aggregation;
        config.ratio = self.ratio;
        config.kl = self.kl;
        config.kl_weight = self.kl_weight;
        config.clip_low = self.clip_low;
        config.clip_high = self.clip_high;
        config.max_tokens = self.max_tokens;
        config
    }
}

#[derive(Deserialize)]
struct LossCase {
    #[serde(flatten)]
    loss: PolicyLoss,
    scaling: Scaling,
    tokens: usize,
    /// Mean distance to the reference policy, a token.
    distance: f64,
    /// Share of ratios that are held.
    clipped: f64,
    from: String,
}

impl LossCase {
    fn name(&self) -> String {
        let Self { loss: PolicyLoss { aggregation, ratio, kl, kl_weight, .. }, scaling, from, .. } = self;
        format!("{aggregation:?}, {ratio:?}, {kl:?} × {kl_weight}, {scaling:?} (from {from})")
    }
}

#[derive(Deserialize)]
struct LossAnswers {
    answer_of: Vec<usize>,
    rewards: Vec<f64>,
    group: usize,
    answers: usize,
    /// Answers of the first of two micro-batches.
    first_half: usize,
}

/// The fixed log-probabilities of all tokens.
struct LossInputs {
    new: Vec<f32>,
    old: Vec<f32>,
    reference: Vec<f32>,
    answers: LossAnswers,
}

impl LossInputs {
    /// Loss, gradient and measures of the whole batch, its answers in these micro-batches.
    fn loss(&self, case: &LossCase, parts: &[std::ops::Range<usize>]) -> (f64, Vec<f32>, LossMeasures) {
        let config = case.loss.config();
        let LossAnswers { answer_of, rewards, group, answers, .. } = &self.answers;
        let advantages = advantages(rewards, *group, case.scaling, 0.0);
        let totals = Totals { answers: *answers, tokens: case.tokens };
        let (mut loss, mut gradient, mut measures) = (0.0, Vec::new(), LossMeasures::default());
        for part in parts {
            let at = |answer: usize| answer_of.partition_point(|&of| of < answer);
            let tokens = at(part.start)..at(part.end);
            let own: Vec<usize> = answer_of[tokens.clone()].iter().map(|of| of - part.start).collect();
            let new = Var::new(&self.new[tokens.clone()], &Device::Cpu).unwrap();
            let answers = Answers {
                old: &self.old[tokens.clone()],
                reference: Some(&self.reference[tokens]),
                answer_of: &own,
                advantages: &advantages[part.clone()],
                kept: &vec![true; part.len()],
            };
            let (value, measured) = policy_loss(new.as_tensor(), &answers, totals, &config).unwrap();
            let store = value.backward().unwrap();
            loss += f64::from(value.to_scalar::<f32>().unwrap());
            gradient.extend(store.get(&new).unwrap().to_vec1::<f32>().unwrap());
            measures += measured;
        }
        (loss, gradient, measures)
    }
}

#[test]
fn every_loss_and_its_gradient_are_those_of_trl_and_torch() {
    let values = tensors("objective.safetensors");
    let of = |name: &str| values[name].to_vec1::<f32>().unwrap();
    let inputs = LossInputs {
        new: of("new"),
        old: of("old"),
        reference: of("reference"),
        answers: json("objective_answers.json"),
    };
    let cases: Vec<LossCase> = json("objective.json");
    assert_eq!(cases.len(), 4 * 3 * 4 * 3, "aggregations, ratios, distances, scalings");
    assert!(cases.iter().filter(|case| case.from == "trl").count() >= 48);
    let losses = values["losses"].to_vec2::<f32>().unwrap();
    let gradients = values["gradients"].to_vec3::<f32>().unwrap();
    let (all, half) = (inputs.answers.answers, inputs.answers.first_half);
    let (whole, halves) = (0..all, [0..half, half..all]);
    for ((case, losses), gradients) in cases.iter().zip(&losses).zip(&gradients) {
        for (at, parts) in [std::slice::from_ref(&whole), &halves[..]].into_iter().enumerate() {
            let what = format!("{} in {}", case.name(), parts.len());
            let (loss, gradient, measures) = inputs.loss(case, parts);
            agree(&what, &[loss], &[f64::from(losses[at])], 1e-5, 0.1);
            agree(&what, &wide(&gradient), &wide(&gradients[at]), 1e-5, 0.0);
            agree(&what, &[measures.kl().unwrap()], &[case.distance], 1e-5, 0.1);
            assert_eq!(measures.tokens, case.tokens, "{what}");
            if parts.len() == 1 {
                // TRL counts the answer without a token among the ratios.
                let all = if case.loss.ratio == RatioLevel::Token { case.tokens } else { all };
                assert_eq!(measures.clipped, (case.clipped * all as f64).round() as usize, "{what}");
            }
        }
    }
}

#[derive(Deserialize)]
struct OptimiserCase {
    settings: Optimisation,
    rates: Vec<f64>,
    norms: Vec<f64>,
    schedules: Vec<Schedule>,
}

#[derive(Deserialize)]
struct Schedule {
    steps: usize,
    warm_up: f64,
    floor: f64,
    rates: Vec<f64>,
}

#[test]
fn adamw_takes_torchs_path_through_clipped_and_zero_gradients() {
    let case: OptimiserCase = json("optimiser.json");
    let values = tensors("optimiser.safetensors");
    let variable = |name: &str| Var::from_tensor(&values[name]).unwrap();
    let (matrix, vector) = (variable("matrix"), variable("vector"));
    let split = matrix.elem_count();
    let mut adam = AdamW::new(vec![(matrix.clone(), 1.0), (vector.clone(), 0.5)], &case.settings);
    let gradients = values["gradients"].to_vec2::<f32>().unwrap();
    let want = values["values"].to_vec2::<f32>().unwrap();
    assert_eq!(gradients.len(), case.settings.steps);
    for (step, (gradient, want)) in gradients.iter().zip(&want).enumerate() {
        let (first, second) = gradient.split_at(split);
        let gradients = Gradients { values: vec![Some(first.to_vec()), Some(second.to_vec())], loss: 0.0 };
        let rate = case.settings.rate(step);
        agree("the rate", &[rate], &[case.rates[step]], 1e-12, 0.0);
        let norm = adam.update(&gradients, rate).unwrap();
        agree("the norm", &[norm], &[case.norms[step]], 1e-6, 1e-3);
        let got = [&matrix, &vector].map(|var| var.flatten_all().unwrap().to_vec1::<f32>().unwrap()).concat();
        agree(&format!("step {step}"), &wide(&got), &wide(want), 3e-6, 0.0);
    }
}

#[test]
fn schedules_are_those_of_transformers() {
    let case: OptimiserCase = json("optimiser.json");
    assert_eq!(case.schedules.len(), 5);
    for Schedule { steps, warm_up, floor, rates } in case.schedules {
        let setting = Optimisation { steps, warm_up, floor, learning_rate: 1.0, ..case.settings.clone() };
        let got: Vec<f64> = (0..steps).map(|step| setting.rate(step)).collect();
        agree(&format!("{steps} steps, warm-up {warm_up}, floor {floor}"), &got, &rates, 1e-12, 0.0);
    }
}
