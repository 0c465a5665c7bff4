//! Twenty steps of cold start and of GRPO against those of transformers' Trainer and of TRL (`tests/golden/training`,
//! written by `training.py`): the tiny Llama of `tests/golden/llama3` with LoRA and a projector, losses and gradient
//! norms within 1e-3. In one part and in several, with activations kept and computed again.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor, Var, safetensors};
use candle_nn::{VarBuilder, VarMap};
use reinpath_model::layers::LoraConfig;
use reinpath_model::llama::{Llama, LlamaConfig};
use reinpath_model::projector::Projector;
use reinpath_model::prompt::Segment;
use reinpath_tests::root;
use reinpath_training::batch::{Answer, Batch, ImageShape, Sequence};
use reinpath_training::config::{Compute, Optimisation, Scaling};
use reinpath_training::gradients::{gradients, predictions};
use reinpath_training::objective::{Answers, LossMeasures, Totals, advantages, policy_loss, supervised_loss};
use reinpath_training::optimiser::AdamW;
use reinpath_training::policy::{ADAPTERS, Model, PROJECTOR, Policy};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::training::PolicyLoss;

const CPU: Device = Device::Cpu;
const CHANNELS: usize = 24;
const IMAGE_TOKENS: usize = 4;

fn file(name: &str) -> PathBuf {
    root().join("tests/golden").join(name)
}

fn json<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_str(&std::fs::read_to_string(file(name)).unwrap()).unwrap()
}

fn tensors(name: &str) -> HashMap<String, Tensor> {
    safetensors::load(file(name), &CPU).unwrap()
}

/// Within 1e-3; what is nearly zero, of 0.05.
fn agree(what: &str, got: f64, want: f64) {
    let off = (got - want).abs() / want.abs().max(0.05);
    assert!(off < 1e-3, "{what}: {got} instead of {want}");
}

#[derive(Clone, Deserialize)]
struct Settings {
    steps: usize,
    learning_rate: f64,
    warm_up: f64,
    floor: f64,
    beta1: f64,
    beta2: f64,
    clip: f64,
    weight_decay: f64,
    projector_rate: f64,
}

impl Settings {
    fn optimisation(&self) -> Optimisation {
        Optimisation {
            steps: self.steps,
            learning_rate: self.learning_rate,
            warm_up: self.warm_up,
            floor: self.floor,
            beta1: self.beta1,
            beta2: self.beta2,
            clip: self.clip,
            weight_decay: self.weight_decay,
            ..toml::from_str("").unwrap()
        }
    }

    fn optimiser(&self, policy: &Policy) -> AdamW {
        let rate = |name: &str| if name.starts_with(PROJECTOR) { self.projector_rate } else { 1.0 };
        let learning = policy.vars.iter().map(|(name, var)| (var.clone(), rate(name)));
        AdamW::new(learning.collect(), &self.optimisation())
    }
}

/// A prompt around an image, with an answer.
#[derive(Clone, Deserialize)]
struct Example {
    before: Vec<u32>,
    image: usize,
    after: Vec<u32>,
    answer: Vec<u32>,
}

#[derive(Deserialize)]
struct ColdStart {
    #[serde(flatten)]
    settings: Settings,
    rows: Vec<Example>,
    losses: Vec<f64>,
    norms: Vec<f64>,
}

#[derive(Deserialize)]
struct Grpo {
    group: usize,
    rollouts: Vec<Rollout>,
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Rollout {
    /// The answers to one question after another.
    rows: Vec<Example>,
    rewards: Vec<f64>,
}

#[derive(Deserialize)]
struct Run {
    #[serde(flatten)]
    settings: Settings,
    #[serde(flatten)]
    loss: PolicyLoss,
    updates: usize,
    losses: Vec<f64>,
    norms: Vec<f64>,
    /// Mean over the two micro-batches of the share of ratios that are held.
    clipped: Vec<f64>,
}

/// The policy with the projector and the adapters of a file.
fn policy(name: &str) -> Policy {
    let config: LlamaConfig = json("llama3/config.json");
    let base = VarBuilder::from_tensors(tensors("llama3/model.safetensors"), DType::F32, &CPU);
    let mut llama = Llama::load(&base, &config).unwrap();
    let mut values = tensors(name);
    values.remove("images");
    let map = VarMap::new();
    let vars = values.iter().map(|(name, value)| (name.clone(), Var::from_tensor(value).unwrap()));
    map.data().lock().unwrap().extend(vars);
    let vb = VarBuilder::from_varmap(&map, DType::F32, &CPU);
    let lora = LoraConfig { rank: 4, alpha: 8.0 };
    llama.adapt(&vb.pp(ADAPTERS), &lora).unwrap();
    let projector = Projector::load(&vb.pp(PROJECTOR), CHANNELS, 48, 48).unwrap();
    let mut vars: Vec<(String, Var)> =
        map.data().lock().unwrap().iter().map(|(name, var)| (name.clone(), var.clone())).collect();
    vars.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(vars.len(), values.len(), "the file has every tensor by the name that it is asked for");
    let shape = ImageShape { tokens: IMAGE_TOKENS, channels: CHANNELS };
    Policy { model: Model { llama, projector, shape, device: CPU }, vars }
}

fn learning(policy: &Policy) -> Vec<Var> {
    policy.vars.iter().map(|(_, var)| var.clone()).collect()
}

/// Features of the images, one after another.
fn images() -> Vec<Vec<f32>> {
    tensors("training/trajectory_start.safetensors")["images"].flatten_from(1).unwrap().to_vec2().unwrap()
}

/// A batch of examples; those that follow one another with the same prompt share it.
fn batch(examples: &[Example], images: &[Vec<f32>]) -> Batch {
    let prompt = |e: &Example| (e.before.clone(), e.image, e.after.clone());
    let sequences: Vec<Sequence> = examples
        .chunk_by(|a, b| prompt(a) == prompt(b))
        .map(|same| Sequence {
            prompt: vec![
                Segment::Tokens(same[0].before.clone()),
                Segment::Patch(0),
                Segment::Tokens(same[0].after.clone()),
            ],
            images: vec![same[0].image],
            answers: same.iter().map(|example| Answer::new(example.answer.clone())).collect(),
        })
        .collect();
    let shape = ImageShape { tokens: IMAGE_TOKENS, channels: CHANNELS };
    Batch::new(&sequences, shape, |image| Ok(images[image].clone())).unwrap()
}

/// The 20 steps with so many rows at once, and where they end.
fn cold_start(case: &ColdStart, at_once: usize, compute: &Compute) {
    let what = format!("{at_once} rows at once, recomputation {}", compute.recompute);
    let (policy, images) = (policy("training/trajectory_start.safetensors"), images());
    let (optimisation, vars) = (case.settings.optimisation(), learning(&policy));
    let mut adam = case.settings.optimiser(&policy);
    for step in 0..case.settings.steps {
        let rows: Vec<Example> =
            (0..4).map(|i| case.rows[(4 * step + i) % case.rows.len()].clone()).collect();
        let total: usize = rows.iter().map(|row| row.answer.len()).sum();
        let parts: Vec<Batch> = rows.chunks(at_once).map(|rows| batch(rows, &images)).collect();
        let outcome = gradients(&policy.model, &vars, &parts, compute, |part, x| {
            Ok((supervised_loss(x, &parts[part].weights, total as f64)?, ()))
        })
        .unwrap();
        agree(&format!("{what}: loss {step}"), outcome.gradients.loss, case.losses[step]);
        let norm = adam.update(&outcome.gradients, optimisation.rate(step)).unwrap();
        agree(&format!("{what}: norm {step}"), norm, case.norms[step]);
    }
    let want = tensors("training/trajectory_second.safetensors");
    for (name, var) in &policy.vars {
        let largest = |x: &Tensor| x.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        let off = largest(&(var.as_tensor() - &want[name]).unwrap()) / largest(&want[name]);
        assert!(off < 1e-3, "{what}: {name} ends {off} off");
    }
}

#[test]
fn a_cold_start_takes_the_path_of_transformers_trainer() {
    let case: ColdStart = json("training/trajectory_cold_start.json");
    assert_eq!((case.losses.len(), case.norms.len()), (20, 20));
    for (at_once, recompute, workers) in [(2, false, 1), (4, true, 1), (1, false, 2)] {
        cold_start(&case, at_once, &Compute { recompute, workers, ..Compute::default() });
    }
}

/// The answers of a rollout in two micro-batches, with what is known of each token.
struct Half {
    batch: Batch,
    answer_of: Vec<usize>,
    /// Of all the rollout's answers.
    answers: Range<usize>,
    old: Vec<f32>,
    reference: Vec<f32>,
}

fn halves(rollout: &Rollout, policy: &Model, entered: &Model, images: &[Vec<f32>]) -> Vec<Half> {
    let middle = rollout.rows.len() / 2;
    let ranges = [0..middle, middle..rollout.rows.len()];
    let parts = ranges.clone().map(|range| batch(&rollout.rows[range], images));
    let told = |model: &Model| predictions(model, &parts, &Compute::default()).unwrap().into_iter();
    let told = told(policy).zip(told(entered)).collect::<Vec<_>>();
    parts
        .into_iter()
        .zip(ranges)
        .zip(told)
        .map(|((batch, answers), (old, reference))| Half {
            answer_of: batch.answer_of(),
            batch,
            answers,
            old: old.log_probabilities,
            reference: reference.log_probabilities,
        })
        .collect()
}

fn grpo(run: &Run, case: &Grpo, compute: &Compute) {
    let what = format!("{:?}, {:?}", run.loss.ratio, run.loss.aggregation);
    let (policy, images) = (policy("training/trajectory_second.safetensors"), images());
    let (config, optimisation) = (run.loss.config(), run.settings.optimisation());
    let (vars, entered) = (learning(&policy), policy.freeze().unwrap());
    let mut adam = run.settings.optimiser(&policy);
    for (round, rollout) in case.rollouts.iter().enumerate() {
        let earned = advantages(&rollout.rewards, case.group, Scaling::Group, 0.0);
        let halves = halves(rollout, &policy.model, &entered, &images);
        let parts: Vec<Batch> = halves.iter().map(|half| half.batch.clone()).collect();
        let totals = Totals {
            answers: rollout.rows.len(),
            tokens: rollout.rows.iter().map(|row| row.answer.len()).sum(),
        };
        for update in 0..run.updates {
            let step = round * run.updates + update;
            let outcome = gradients(&policy.model, &vars, &parts, compute, |part, x| {
                let Half { answer_of, answers, old, reference, .. } = &halves[part];
                let kept = vec![true; answers.len()];
                let answers = Answers {
                    old,
                    reference: Some(reference),
                    answer_of,
                    advantages: &earned[answers.clone()],
                    kept: &kept,
                };
                Ok(policy_loss(x, &answers, totals, &config)?)
            })
            .unwrap();
            agree(&format!("{what}: loss {step}"), outcome.gradients.loss, run.losses[step]);
            let share = outcome.measures.iter().map(LossMeasures::clipped_share).sum::<f64>() / 2.0;
            // One token of forty may lie on the other side of a bound.
            assert!((share - run.clipped[step]).abs() < 0.03, "{what}: {share} held at {step}");
            if update == 0 {
                assert_eq!(share, 0.0, "{what}: the first ratios are 1");
            }
            let norm = adam.update(&outcome.gradients, optimisation.rate(step)).unwrap();
            agree(&format!("{what}: norm {step}"), norm, run.norms[step]);
        }
    }
}

#[test]
fn grpo_takes_the_path_of_trl() {
    let case: Grpo = json("training/trajectory_grpo.json");
    assert_eq!((case.rollouts.len(), case.runs.len()), (10, 4));
    for (run, recompute) in case.runs.iter().zip([false, true, false, true]) {
        assert_eq!((run.losses.len(), run.norms.len()), (20, 20));
        grpo(run, &case, &Compute { recompute, ..Compute::default() });
    }
}
