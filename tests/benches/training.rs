//! Time of a step of training at real sizes with seeded weights, for `tests/peers/training.py`: a JSON object a line on
//! stdout. Peak memory is measured from outside.
//!
//!     training cold-start SHAPE REPEATS RECOMPUTE [DEVICE [PRECISION [WORKERS]]]
//!     training grpo       SHAPE REPEATS RECOMPUTE [DEVICE [PRECISION [WORKERS]]]
//!
//! SHAPE: `tiny` (6.8 million parameters), `small` (254 million) or `8b`; RECOMPUTE: `on` or `off`. Where WORKERS is not
//! given, the smallest shape has as many as the processor has cores, each with a part of the batch, and the others one.

use std::io::Write as _;
use std::time::Instant;

use anyhow::{Context as _, bail};
use candle_core::{DType, Device, Shape, Tensor, Var};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder, VarMap};
use reinpath_model::device::{self, Precision};
use reinpath_model::generate::generate_batch;
use reinpath_model::images::Spliced;
use reinpath_model::layers::LoraConfig;
use reinpath_model::llama::{Llama, LlamaConfig};
use reinpath_model::projector::Projector;
use reinpath_model::prompt::Segment;
use reinpath_model::request::Sampling;
use reinpath_training::batch::{Answer, Batch, ImageShape, Sequence, parts};
use reinpath_training::config::{Compute, GrpoConfig, Optimisation, Scaling};
use reinpath_training::gradients::{gradients, predictions};
use reinpath_training::objective::{Answers, Totals, advantages, policy_loss, supervised_loss};
use reinpath_training::optimiser::AdamW;
use reinpath_training::policy::{ADAPTERS, Model, PROJECTOR, Policy};

/// What `reinpath-train` allocates with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Kept in step with `tests/peers/training.py`.
const SEQUENCES: usize = 8;
const TOKENS: usize = 350;
const QUESTIONS: usize = 8;
const PROMPT: usize = 200;
const SAMPLES: usize = 4;
const RANK: usize = 128;
/// Answers that go through the model at once in an update.
const MICRO_BATCH: usize = 8;

fn main() -> anyhow::Result<()> {
    // `cargo bench` gives arguments of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let [what, shape, repeats, recompute, more @ ..] = arguments.as_slice() else {
        return say(&serde_json::json!({ "usage": "see the head of tests/benches/training.rs" }));
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = match more.get(2) {
        Some(workers) => workers.parse()?,
        None => {
            if shape == "tiny" {
                cores
            } else {
                1
            }
        }
    };
    let compute = Compute {
        device: more.first().cloned().unwrap_or_else(|| "cpu".to_owned()),
        precision: more.get(1).cloned().unwrap_or_else(|| "f32".to_owned()),
        recompute: recompute == "on",
        workers,
    };
    let bench = Bench::new(shape, compute)?;
    match what.as_str() {
        "cold-start" => bench.cold_start(repeats.parse()?),
        "grpo" => bench.grpo(repeats.parse()?),
        other => bail!("{other} is no measurement"),
    }
}

fn say(line: &serde_json::Value) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{line}")?)
}

/// The language model of that name, and the tokens of its answers.
fn shape(name: &str) -> anyhow::Result<(LlamaConfig, usize)> {
    let (hidden, layers, heads, kv_heads, inner, vocabulary, answer) = match name {
        "tiny" => (256, 6, 4, 2, 768, 4096, 128),
        "small" => (1024, 16, 16, 8, 2816, 32_000, 128),
        "8b" => (4096, 32, 32, 8, 14_336, 128_256, 256),
        other => bail!("{other} is no shape"),
    };
    let config = LlamaConfig {
        hidden_size: hidden,
        intermediate_size: inner,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        num_key_value_heads: kv_heads,
        head_dim: hidden / heads,
        vocab_size: vocabulary,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: None,
        rope_factors: None,
        attention_bias: false,
        mrope_section: None,
        max_position_embeddings: 1024,
        tie_word_embeddings: false,
    };
    Ok((config, answer))
}

/// Numbers from a seed (splitmix64), in [0, 1).
struct Numbers(u64);

impl Iterator for Numbers {
    type Item = f32;

    fn next(&mut self) -> Option<f32> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some(((x ^ (x >> 31)) >> 40) as f32 / (1u32 << 24) as f32)
    }
}

impl Numbers {
    /// Of a name: the same wherever it is asked for.
    fn of(name: &str) -> Self {
        Self(name.bytes().fold(1, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
    }

    fn ids(&mut self, count: usize, vocabulary: usize) -> Vec<u32> {
        self.take(count).map(|x| 3 + (x * (vocabulary - 3) as f32) as u32).collect()
    }
}

/// Any tensor that is asked for: constants as its layer wants them, else seeded numbers of the size of trained weights.
struct Seeded;

impl SimpleBackend for Seeded {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        if let Init::Const(value) = init {
            return Tensor::full(value as f32, shape, device)?.to_dtype(dtype);
        }
        let values: Vec<f32> = Numbers::of(name).take(shape.elem_count()).map(|x| (x - 0.5) * 0.07).collect();
        Tensor::from_vec(values, shape, device)?.to_dtype(dtype)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("the shape of {name} is not known")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

/// A policy, its optimiser and what it is to compute.
struct Bench {
    policy: Policy,
    vars: Vec<Var>,
    compute: Compute,
    /// Tokens of an answer that is drawn.
    answer: usize,
}

impl Bench {
    fn new(name: &str, compute: Compute) -> anyhow::Result<Self> {
        let (config, answer) = shape(name)?;
        let device = device::open(&compute.device)?;
        let dtype = Precision::named(&compute.precision).context("no such precision")?.dtype();
        let seeded = VarBuilder::from_backend(Box::new(Seeded), dtype, device.clone());
        let mut llama = Llama::load(&seeded, &config)?;
        let map = VarMap::new();
        let vb = VarBuilder::from_varmap(&map, DType::F32, &device);
        llama.adapt(&vb.pp(ADAPTERS), &LoraConfig { rank: RANK, alpha: 2.0 * RANK as f64 })?;
        // There are no images: the peers have none either.
        let image = ImageShape { tokens: 1, channels: 1 };
        let idle = VarBuilder::from_backend(Box::new(Seeded), DType::F32, device.clone());
        let projector = Projector::load(&idle.pp(PROJECTOR), 1, 1, config.hidden_size)?;
        let data = map.data().lock().map_err(|_poisoned| anyhow::anyhow!("a tensor could not be made"))?;
        let mut vars: Vec<(String, Var)> =
            data.iter().map(|(name, var)| (name.clone(), var.clone())).collect();
        drop(data);
        vars.sort_by(|a, b| a.0.cmp(&b.0));
        let model = Model { llama, projector, shape: image, device };
        let learning = vars.iter().map(|(_, var)| var.clone()).collect();
        Ok(Self { policy: Policy { model, vars }, vars: learning, compute, answer })
    }

    fn optimiser(&self) -> anyhow::Result<(AdamW, Optimisation)> {
        let optimisation: Optimisation = toml::from_str("steps = 1000\nlearning_rate = 1e-4")?;
        let learning = self.vars.iter().map(|var| (var.clone(), 1.0)).collect();
        Ok((AdamW::new(learning, &optimisation), optimisation))
    }

    fn vocabulary(&self) -> usize {
        self.policy.model.llama.config.vocab_size
    }

    fn batches(&self, sequences: &[Sequence], at_once: usize) -> anyhow::Result<Vec<Batch>> {
        let batch = |range: std::ops::Range<usize>| {
            let no_image = |_| Ok(vec![0.0]);
            Ok(Batch::new(&sequences[range], self.policy.model.shape, no_image)?)
        };
        parts(sequences, at_once, self.compute.workers).into_iter().map(batch).collect()
    }

    fn cold_start(&self, repeats: usize) -> anyhow::Result<()> {
        let mut numbers = Numbers::of("cold start");
        let sequence = |_| {
            let ids = numbers.ids(TOKENS, self.vocabulary());
            let (first, rest) = ids.split_at(1);
            let answers = vec![Answer::new(rest.to_vec())];
            Sequence { prompt: vec![Segment::Tokens(first.to_vec())], images: vec![], answers }
        };
        let sequences: Vec<Sequence> = (0..SEQUENCES).map(sequence).collect();
        let (mut adam, optimisation) = self.optimiser()?;
        let total = (SEQUENCES * (TOKENS - 1)) as f64;
        let mut seconds = Vec::new();
        for step in 0..=repeats {
            let begin = Instant::now();
            let batches = self.batches(&sequences, 0)?;
            let outcome = gradients(&self.policy.model, &self.vars, &batches, &self.compute, |part, x| {
                Ok((supervised_loss(x, &batches[part].weights, total)?, ()))
            })?;
            let norm = adam.update(&outcome.gradients, optimisation.rate(step))?;
            anyhow::ensure!(norm.is_finite() && norm > 0.0, "the step computed no numbers");
            seconds.push(begin.elapsed().as_secs_f64());
        }
        say(&serde_json::json!({ "seconds": seconds[1..] }))
    }

    fn grpo(&self, repeats: usize) -> anyhow::Result<()> {
        let mut numbers = Numbers::of("grpo");
        let prompts: Vec<Vec<u32>> = (0..QUESTIONS).map(|_| numbers.ids(PROMPT, self.vocabulary())).collect();
        let mut config: GrpoConfig = toml::from_str("data = []\noptimisation = {}\nratio = \"token\"")?;
        (config.samples, config.max_tokens) = (SAMPLES, self.answer);
        let entered = self.policy.freeze()?;
        let (mut adam, optimisation) = self.optimiser()?;
        let (mut seconds, mut of) = (Vec::new(), [Vec::new(), Vec::new(), Vec::new()]);
        for step in 0..=repeats {
            let begin = Instant::now();
            let (sequences, old) = self.rollouts(&prompts, step)?;
            let rollout = begin.elapsed().as_secs_f64();
            let batches = self.batches(&sequences, MICRO_BATCH)?;
            let reference = predictions(&entered, &batches, &self.compute)?;
            let referred = begin.elapsed().as_secs_f64();
            let rewards: Vec<f64> = numbers.by_ref().take(QUESTIONS * SAMPLES).map(f64::from).collect();
            let earned = advantages(&rewards, SAMPLES, Scaling::Group, 0.0);
            // Where the answers and the tokens of each batch begin among all.
            let (mut starts, mut at) = (Vec::new(), (0, 0));
            for batch in &batches {
                starts.push(at);
                at = (at.0 + batch.answers.len(), at.1 + batch.targets.len());
            }
            let totals = Totals { answers: at.0, tokens: at.1 };
            let kept = vec![true; at.0];
            let outcome = gradients(&self.policy.model, &self.vars, &batches, &self.compute, |part, x| {
                let (batch, (answer, token)) = (&batches[part], starts[part]);
                let own = answer..answer + batch.answers.len();
                let answers = Answers {
                    old: &old[token..token + batch.targets.len()],
                    reference: Some(&reference[part].log_probabilities),
                    answer_of: &batch.answer_of(),
                    advantages: &earned[own.clone()],
                    kept: &kept[own],
                };
                Ok(policy_loss(x, &answers, totals, &config)?)
            })?;
            let norm = adam.update(&outcome.gradients, optimisation.rate(step))?;
            anyhow::ensure!(norm.is_finite() && norm > 0.0, "the step computed no numbers");
            let whole = begin.elapsed().as_secs_f64();
            if step > 0 {
                seconds.push(whole);
                let each = [rollout, referred - rollout, whole - referred];
                of.iter_mut().zip(each).for_each(|(of, secs)| of.push(secs));
            }
        }
        let [rollout, reference, update] = of;
        let parts = serde_json::json!({ "rollout": rollout, "reference": reference, "update": update });
        say(&serde_json::json!({ "seconds": seconds, "parts": parts }))
    }

    /// Answers to the prompts, none of which ends by itself, and the log-probability of each token as it was drawn.
    fn rollouts(&self, prompts: &[Vec<u32>], step: usize) -> anyhow::Result<(Vec<Sequence>, Vec<f32>)> {
        let writer = self.policy.merged()?;
        let segments: Vec<Segment> = prompts.iter().cloned().map(Segment::Tokens).collect();
        let embedded = segments
            .iter()
            .map(|prompt| {
                let embedded = writer.prompt(std::slice::from_ref(prompt), &[], |_| Ok(Vec::new()));
                embedded.map(Spliced::from)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let seed = step as u64;
        let sampling = Sampling { temperature: 1.0, max_tokens: self.answer, seed, ..Sampling::default() };
        let drawn = generate_batch(&writer.llama, &embedded, SAMPLES, &sampling, &[], &mut |_| true)?;
        let old = drawn.iter().flat_map(|answer| answer.tokens.iter().map(|token| token.tempered)).collect();
        let sequences = segments
            .into_iter()
            .zip(drawn.chunks(SAMPLES))
            .map(|(prompt, drawn)| Sequence {
                prompt: vec![prompt],
                images: vec![],
                answers: drawn.iter().map(|answer| Answer::new(answer.ids())).collect(),
            })
            .collect();
        Ok((sequences, old))
    }
}
