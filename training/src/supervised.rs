//! Supervised training on staged answers about phantom tissue: projector and LoRA learn, everything that stage 0 made
//! is frozen (the paper's stage 2, section 2.3; LoRA as in section 3.1). The loss is on the answer alone.
//!
//! The encoders being frozen, the features of each field are computed once.

use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{DType, Device, Result as ComputeResult, Tensor};
use candle_nn::{VarBuilder, VarMap};
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use reinpath_model::layers::LoraConfig;
use reinpath_model::llama::{Llama, Positions};
use reinpath_model::ops;
use reinpath_model::package::{AdapterSpec, FeatureRange, Package};
use reinpath_model::projector::Projector;
use reinpath_model::prompt::{ChatTokenizer, END_OF_TURN, Segment, user_text};
use reinpath_model::reinpath::ReinPath;

use crate::config::SupervisedConfig;
use crate::error::{Error, Result};
use crate::event::{EventSink, RunEvent};
use crate::features::{self, Usual};
use crate::fields::FieldPlan;
use crate::init;
use crate::package_writer::PackageWriter;
use crate::parallel::PARTS;
use crate::phantom::{Truth, ask_any, balanced_set};
use crate::stage::{Shuffle, StagePlan, train as train_stage};
use crate::subtask::QuestionKind;

/// The file that says what the package knows.
const KNOWN: &str = "known.safetensors";

/// One question with its answer, as token ids.
struct Example {
    field: usize,
    /// Ids after the patch up to the end of the answer.
    ids: Vec<u32>,
    /// Where the answer begins in `ids`.
    answer_at: usize,
    /// Where its conclusion begins.
    conclusion_at: usize,
}

impl Example {
    /// Weights of the answer's tokens.
    fn weights(&self, conclusion: f32) -> impl Iterator<Item = f32> {
        (self.answer_at..self.ids.len()).map(move |i| if i < self.conclusion_at { 1.0 } else { conclusion })
    }
}

/// A part of a batch, padded on the right.
struct Part {
    /// (rows, image tokens · channels)
    features: Tensor,
    /// (rows, longest)
    ids: Tensor,
    /// Flat positions whose next token is of an answer, those tokens, and their share of the whole batch's weight.
    at: Vec<u32>,
    targets: Vec<u32>,
    weights: Vec<f32>,
}

struct Policy {
    llama: Llama,
    projector: Projector,
    /// (1, prefix, hidden): what stands before the patch in every prompt.
    prefix: Tensor,
    /// Channels of the fused features.
    channels: usize,
}

/// Runs the training in a run folder; returns the folder of the package.
pub fn supervised(config: &SupervisedConfig, run: &Path) -> Result<PathBuf> {
    let begin = Instant::now();
    let mut sink = EventSink::create(run)?;
    let json = serde_json::to_value(config)
        .map_err(|e| Error::Config { reason: e.to_string(), path: run.to_owned() })?;
    sink.send(&RunEvent::Started { config: json })?;
    let base = Package::open(&config.base)?;
    let model = ReinPath::load(&base, &Device::Cpu, &mut |_, _| true)?;
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed);

    let (plans, examples, prefix) = draw_questions(config, &model.tokenizer, &mut rng)?;
    sink.send(&RunEvent::Stage { stage: "features".to_owned(), steps: plans.len() })?;
    let features = features::of_fields(&model, &plans)?;

    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let spec = &base.manifest;
    let mut llama = model.llama.clone();
    let lora = LoraConfig { rank: config.lora.rank, alpha: config.lora.alpha };
    llama.adapt(&vb.pp("base_model.model"), &lora)?;
    let hidden = llama.config.hidden_size;
    let projector =
        Projector::load(&vb.pp("model.mm_projector"), spec.fused_width(), spec.projector.hidden, hidden)?;
    init::seed(&vars, config.seed + 1)?;
    let prefix = llama.embed(&Tensor::new(prefix.as_slice(), &Device::Cpu)?.unsqueeze(0)?)?;
    let policy = Policy { llama, projector, prefix, channels: spec.fused_width() };

    let trained = init::sorted_vars(&vars)
        .into_iter()
        .map(|(name, var)| {
            (var, if name.starts_with("model.mm_projector") { config.projector_rate } else { 1.0 })
        })
        .collect();
    let mut shuffle = LengthBatches::new(&examples, config.optimisation.batch, config.seed + 2);
    let plan = StagePlan { name: "supervised", optimisation: &config.optimisation, seed: config.seed };
    let weight = config.conclusion_weight;
    let batch = |_| parts(&examples, &features, &shuffle.next(), weight);
    train_stage(&plan, trained, &mut sink, batch, |part: &Part| loss(&policy, part))?;

    let usual = features::usual(&features, spec.fused_width())?;
    let package = write_package(config, &base, &vars, &lora, &usual, run)?;
    sink.send(&RunEvent::Finished { package: package.clone(), secs: begin.elapsed().as_secs_f64() })?;
    Ok(package)
}

/// Fields and the questions about them: half from the balanced sets that evaluations are like, half any question.
fn draw_questions(
    config: &SupervisedConfig,
    tokenizer: &ChatTokenizer,
    rng: &mut ChaCha8Rng,
) -> Result<(Vec<FieldPlan>, Vec<Example>, Vec<u32>)> {
    let end = tokenizer.token(END_OF_TURN)?;
    let (mut plans, mut examples, mut prefix) = (Vec::new(), Vec::new(), Vec::new());
    for (truth, first) in balanced_set(rng, config.fields) {
        let field = plans.len();
        plans.push(FieldPlan { truth, seed: rng.random() });
        for i in 0..config.questions_per_field {
            let item = if i == 0 { first.clone() } else { any_question(&truth, rng) };
            let context = item.context.as_deref().unwrap_or_default();
            let prompt = tokenizer.prompt(&user_text(1, context, &item.question, &item.choices))?;
            let [Segment::Tokens(before), Segment::Patch(0), Segment::Tokens(after)] = &prompt.segments[..]
            else {
                return Err(Error::Tokenizer("a prompt without its patch".to_owned()));
            };
            prefix.clone_from(before);
            let mut ids = after.clone();
            let answer = item.answer.to_text();
            let conclusion = answer.rfind(&item.answer.conclusion).unwrap_or(answer.len());
            ids.extend(tokenizer.encode(&answer[..conclusion])?);
            let conclusion_at = ids.len();
            ids.extend(tokenizer.encode(&answer[conclusion..])?);
            ids.push(end);
            examples.push(Example { field, ids, answer_at: after.len(), conclusion_at });
        }
    }
    Ok((plans, examples, prefix))
}

fn any_question(truth: &Truth, rng: &mut ChaCha8Rng) -> crate::phantom::QuestionItem {
    let kind = QuestionKind::ALL.choose(rng).copied().unwrap_or(QuestionKind::Open);
    ask_any(truth, kind, rng)
}

/// Batches of like length from a shuffled order, so that little is padding.
struct LengthBatches<'a> {
    examples: &'a [Example],
    shuffle: Shuffle,
    batch: usize,
    ready: Vec<Vec<usize>>,
}

impl<'a> LengthBatches<'a> {
    /// Batches that are sorted together.
    const POOL: usize = 8;

    fn new(examples: &'a [Example], batch: usize, seed: u64) -> Self {
        Self { examples, shuffle: Shuffle::new(examples.len(), seed), batch, ready: Vec::new() }
    }

    fn next(&mut self) -> Vec<usize> {
        loop {
            if let Some(batch) = self.ready.pop() {
                return batch;
            }
            let mut pool = self.shuffle.take(self.batch * Self::POOL);
            pool.sort_by_key(|&i| (self.examples[i].ids.len(), i));
            self.ready = pool.chunks(self.batch).map(<[usize]>::to_vec).collect();
            // Which length comes when must not follow a pattern.
            let turn = self.shuffle.take(1)[0] % Self::POOL;
            self.ready.rotate_left(turn);
        }
    }
}

fn parts(
    examples: &[Example],
    features: &[Vec<f32>],
    batch: &[usize],
    conclusion_weight: f32,
) -> Result<[Part; PARTS]> {
    let scale = batch.iter().flat_map(|&i| examples[i].weights(conclusion_weight)).sum::<f32>().recip();
    let part = |part: usize| -> Result<Part> {
        let mine: Vec<&Example> = batch.iter().skip(part).step_by(PARTS).map(|&i| &examples[i]).collect();
        let longest = mine.iter().map(|e| e.ids.len()).max().unwrap_or(1);
        let (mut ids, mut at, mut targets, mut weights) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (row, example) in mine.iter().enumerate() {
            ids.extend_from_slice(&example.ids);
            ids.resize((row + 1) * longest, 0);
            for i in example.answer_at..example.ids.len() {
                at.push((row * longest + i - 1) as u32);
                targets.push(example.ids[i]);
            }
            weights.extend(example.weights(conclusion_weight).map(|weight| weight * scale));
        }
        let pixels: Vec<f32> = mine.iter().flat_map(|e| features[e.field].iter().copied()).collect();
        let width = pixels.len() / mine.len();
        Ok(Part {
            features: Tensor::from_vec(pixels, (mine.len(), width), &Device::Cpu)?,
            ids: Tensor::from_vec(ids, (mine.len(), longest), &Device::Cpu)?,
            at,
            targets,
            weights,
        })
    };
    Ok([part(0)?, part(1)?])
}

fn loss(policy: &Policy, part: &Part) -> ComputeResult<Tensor> {
    let (rows, longest) = part.ids.dims2()?;
    let image = policy.projector.forward(&part.features.reshape((rows, (), policy.channels))?)?;
    let hidden = image.dim(2)?;
    let prefix = policy.prefix.broadcast_as((rows, policy.prefix.dim(1)?, hidden))?;
    let x = Tensor::cat(&[&prefix, &image, &policy.llama.embed(&part.ids)?], 1)?;
    let seq = x.dim(1)?;
    let states = policy.llama.forward(&x, &Positions::after(0, rows, seq), None)?;
    let states = states.narrow(1, seq - longest, longest)?.contiguous()?.flatten_to(1)?;
    let at = Tensor::from_slice(&part.at, part.at.len(), &Device::Cpu)?;
    let logits = policy.llama.logits(&states.index_select(&at, 0)?)?;
    ops::cross_entropy(&logits, &part.targets, &part.weights)
}

fn write_package(
    config: &SupervisedConfig,
    base: &Package,
    vars: &VarMap,
    lora: &LoraConfig,
    usual: &Usual,
    run: &Path,
) -> Result<PathBuf> {
    let folder = run.join("package");
    let mut writer = PackageWriter::create(&folder)?;
    let mut manifest = base.manifest.clone();
    for name in base.manifest.files.keys().filter(|name| **name != manifest.projector.weights) {
        writer.copy(&base.file(name), name)?;
    }
    writer.tensors(
        &manifest.projector.weights,
        &subset(vars, "model.mm_projector"),
        "model.mm_projector.",
    )?;
    writer.tensors("adapters/staged/adapter_model.safetensors", &subset(vars, "base_model"), "")?;
    let adapter = serde_json::json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": null,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    });
    writer.text("adapters/staged/adapter_config.json", &format!("{adapter:#}\n"))?;
    manifest.description.clone_from(&config.description);
    manifest.provenance =
        format!("{}; then reinpath-train run, seed {}", base.manifest.provenance, config.seed);
    manifest.adapters = vec![AdapterSpec { name: "staged".to_owned(), folder: "adapters/staged".to_owned() }];
    writer.values(KNOWN, &usual.tensors)?;
    manifest.knows.feature_range = Some(FeatureRange { weights: KNOWN.to_owned(), limit: usual.limit });
    manifest.files = writer.records()?;
    writer.manifest(&manifest)?;
    Ok(folder)
}

/// The variables whose names begin with `prefix`.
fn subset(vars: &VarMap, prefix: &str) -> VarMap {
    let part = VarMap::new();
    {
        let mut data = part.data().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        data.extend(init::sorted_vars(vars).into_iter().filter(|(name, _)| name.starts_with(prefix)));
    }
    part
}
