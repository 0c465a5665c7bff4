//! Supervised training about phantom tissue, on top of what stage 0 made and what is frozen here: projector and LoRA
//! learn from captions, then from staged answers (the paper's stages 1 and 2, section 2.3; LoRA as in section 3.1). The
//! loss is on the answer alone.
//!
//! In the paper the projector learns alone from captions. A decoder as small as the demo's, which has never seen an
//! image, follows it only with its adapters, so that here both learn from the first caption on.
//!
//! The encoders being frozen, the features of each field are computed once.

mod example;

use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{DType, Device, Result as ComputeResult, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use reinpath_model::layers::LoraConfig;
use reinpath_model::llama::{Llama, Positions};
use reinpath_model::ops;
use reinpath_model::package::{AdapterSpec, FeatureRange, Package, PackageWriter};
use reinpath_model::projector::Projector;
use reinpath_model::reinpath::ReinPath;

use crate::config::SupervisedConfig;
use crate::error::{Error, Result};
use crate::event::{EventSink, RunEvent};
use crate::features::{self, Usual};
use crate::init;
use crate::package_writer::{adapter_config, write_tensors, write_vars};
use crate::phantom::Limits;
use crate::stage::{StagePlan, train as train_stage};

use self::example::{Drawn, LengthBatches, Part};

/// The file that says what the package knows.
const KNOWN: &str = "known.safetensors";

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
    base.may_train()?;
    let model = ReinPath::load(&base, &Device::Cpu, &mut |_, _| true)?;
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed);

    let drawn = Drawn::new(config, &model.tokenizer, &mut rng)?;
    sink.send(&RunEvent::Stage { stage: "features".to_owned(), steps: drawn.fields.len() })?;
    let features = features::of_fields(&model, &drawn.fields)?;

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
    let prefix = llama.embed(&Tensor::new(drawn.prefix.as_slice(), &Device::Cpu)?.unsqueeze(0)?)?;
    let policy = Policy { llama, projector, prefix, channels: spec.fused_width() };

    if let Some(optimisation) = &config.captions {
        let mut captions = LengthBatches::new(&drawn.captions, optimisation.batch, config.seed + 3);
        let plan = StagePlan { name: "captions", optimisation, seed: config.seed };
        let batch = |_| captions.parts(&features);
        train_stage(&plan, learning(config, &vars), &mut sink, batch, |part| loss(&policy, part))?;
    }
    let mut questions = LengthBatches::new(&drawn.questions, config.optimisation.batch, config.seed + 2);
    let plan = StagePlan { name: "supervised", optimisation: &config.optimisation, seed: config.seed };
    let batch = |_| questions.parts(&features);
    train_stage(&plan, learning(config, &vars), &mut sink, batch, |part| loss(&policy, part))?;

    let usual = features::usual(&features, spec.fused_width())?;
    let package = write_package(config, &base, &vars, &usual, run)?;
    sink.send(&RunEvent::Finished { package: package.clone(), secs: begin.elapsed().as_secs_f64() })?;
    Ok(package)
}

/// What learns, each with its multiple of the learning rate.
fn learning(config: &SupervisedConfig, vars: &VarMap) -> Vec<(Var, f64)> {
    let rate = |name: &str| match name {
        name if name.starts_with("model.mm_projector") => config.projector_rate,
        name if init::is_look(name) => config.looks_rate,
        _ => 1.0,
    };
    init::sorted_vars(vars).into_iter().map(|(name, var)| (var, rate(&name))).collect()
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
    usual: &Usual,
    run: &Path,
) -> Result<PathBuf> {
    let folder = run.join("package");
    let mut writer = PackageWriter::create(&folder)?;
    let mut manifest = base.manifest.clone();
    for name in base.manifest.files.keys().filter(|name| **name != manifest.projector.weights) {
        writer.copy(&base.file(name), name)?;
    }
    write_vars(
        &mut writer,
        &manifest.projector.weights,
        &subset(vars, "model.mm_projector"),
        "model.mm_projector.",
    )?;
    write_vars(&mut writer, "adapters/staged/adapter_model.safetensors", &subset(vars, "base_model"), "")?;
    writer.text("adapters/staged/adapter_config.json", &adapter_config(&config.lora))?;
    manifest.description.clone_from(&config.description);
    let limits = Limits::without(config.without).in_words();
    manifest.provenance =
        format!("{}; then reinpath-train run, seed {}{limits}", base.manifest.provenance, config.seed);
    manifest.adapters = vec![AdapterSpec {
        name: "staged".to_owned(),
        folder: "adapters/staged".to_owned(),
        alternative: false,
    }];
    write_tensors(&mut writer, KNOWN, &usual.tensors)?;
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
