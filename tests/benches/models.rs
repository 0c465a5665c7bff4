//! Speed of models at real sizes with random weights, for `tests/peers/models.py`, and a package at real sizes, to see what
//! it takes in memory. A JSON object a line on stdout.
//!
//!     models vit-l REPEATS                     # ViT-L/16 at 224, batch of 8, f32
//!     models llama FOLDER PRECISION REPEATS    # 1.24 billion parameters; its file is written into FOLDER once
//!     models package FOLDER                    # CONCH, UNI and 8 billion parameters in Q4_K_M

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, anyhow, bail};
use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use reinpath_model::device;
use reinpath_model::fixture::byte_tokenizer;
use reinpath_model::llama::{KvCache, Llama, LlamaConfig, Positions, RopeScaling};
use reinpath_model::package::{EncoderKind, EncoderSpec, Manifest, PackageWriter, ResizeFilter};
use reinpath_model::projector::Projector;
use reinpath_model::vit::Vit;
use reinpath_model::weights::gguf::Gguf;
use reinpath_model::weights::quantise::Recipe;
use reinpath_model::weights::seeded::write_seeded;

/// As in the programs that compute.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Images that go through the encoder at once.
const IMAGES: usize = 8;
/// Tokens of the prompt, and steps after none.
const PROMPT: usize = 128;
const STEPS: usize = 64;

fn main() -> anyhow::Result<()> {
    // `cargo bench` gives arguments of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => say(&serde_json::json!({ "usage": "see the head of tests/benches/models.rs" })),
        ["vit-l", repeats] => vit_l(repeats.parse()?),
        ["llama", folder, precision, repeats] => llama(Path::new(folder), precision, repeats.parse()?),
        ["package", folder] => package(Path::new(folder)),
        other => bail!("{other:?} is no measurement"),
    }
}

fn say(line: &serde_json::Value) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{line}")?)
}

/// Units a second of each run of `f`, after one that is not counted.
fn measure(
    what: &str,
    unit: &str,
    units: usize,
    repeats: usize,
    mut f: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    f()?;
    let mut samples = Vec::with_capacity(repeats);
    for _ in 0..repeats {
        let start = Instant::now();
        f()?;
        samples.push(units as f64 / start.elapsed().as_secs_f64());
    }
    let resident = device::resident();
    say(&serde_json::json!({ "what": what, "unit": unit, "samples": samples, "resident_bytes": resident }))
}

/// The tensors that `load` asks for, random, and such that nothing is kept for gradients.
fn random(
    load: impl FnOnce(&VarBuilder<'_>) -> candle_core::Result<()>,
) -> anyhow::Result<HashMap<String, Tensor>> {
    let map = VarMap::new();
    load(&VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu))?;
    let data = map.data().lock().map_err(|_poisoned| anyhow!("a tensor could not be made"))?;
    Ok(data.iter().map(|(name, var)| (name.clone(), var.as_tensor().detach())).collect())
}

fn encoder(kind: EncoderKind, image_size: u32, (width, layers, heads): (usize, usize, usize)) -> EncoderSpec {
    EncoderSpec {
        kind,
        weights: vec![format!("{}.safetensors", kind.name())],
        image_size,
        trained_size: None,
        resize: ResizeFilter::Bicubic,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        patch_size: 16,
        width,
        layers,
        heads,
        mlp_width: 4 * width,
        layer_scale: kind == EncoderKind::Uni,
        prefix: String::new(),
    }
}

fn vit_l(repeats: usize) -> anyhow::Result<()> {
    let spec = encoder(EncoderKind::Uni, 224, (1024, 24, 16));
    let tensors = random(|vb| Vit::load(vb, &spec).map(drop))?;
    let mut vit = Vit::load(&VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu), &spec)?;
    vit.fold_scales()?;
    vit.pack()?;
    let count = IMAGES * 3 * 224 * 224;
    let values: Vec<f32> = (0..count).map(|i| (i as f32 * 0.618).sin()).collect();
    let pixels = Tensor::from_vec(values, (IMAGES, 3, 224, 224), &Device::Cpu)?;
    measure("vit-l", "images/s", IMAGES, repeats, || {
        let features = vit.forward(&pixels)?;
        // A speed of numbers that are none would say nothing.
        let sum = features.sum_all()?.to_scalar::<f32>()?;
        if sum.is_finite() { Ok(()) } else { bail!("the encoder gave no numbers") }
    })
}

/// Llama 3.2 with 1.24 billion parameters, or Llama 3.1 with 8.03.
fn llama_config(billions: usize) -> LlamaConfig {
    let small = billions == 1;
    LlamaConfig {
        hidden_size: if small { 2048 } else { 4096 },
        intermediate_size: if small { 8192 } else { 14_336 },
        num_hidden_layers: if small { 16 } else { 32 },
        num_attention_heads: 32,
        num_key_value_heads: 8,
        head_dim: if small { 64 } else { 128 },
        vocab_size: 128_256,
        rms_norm_eps: 1e-5,
        rope_theta: 500_000.0,
        rope_scaling: Some(RopeScaling {
            factor: if small { 32.0 } else { 8.0 },
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        }),
        rope_factors: None,
        attention_bias: false,
        mrope_section: None,
        max_position_embeddings: 131_072,
        tie_word_embeddings: small,
    }
}

fn llama(folder: &Path, precision: &str, repeats: usize) -> anyhow::Result<()> {
    let recipe = Recipe::ALL.iter().find(|recipe| recipe.name() == precision).context("no such precision")?;
    let path = folder.join(format!("llama-1b-{precision}.gguf"));
    if !path.exists() {
        std::fs::create_dir_all(folder)?;
        write_seeded(&llama_config(1), *recipe, 1, &path)?;
    }
    let gguf = Arc::new(Gguf::open(&path)?);
    let config = gguf.config()?;
    let (llama, _) = gguf.build(&Device::Cpu, &config, |tensors| Llama::load(tensors, &config))?;
    let ids: Vec<u32> = (0..PROMPT).map(|i| (i * 7919 % config.vocab_size) as u32).collect();
    let empty = || KvCache::new(&config, 1, PROMPT, DType::F32, &Device::Cpu);
    // The logits of the last token, as for the first word of an answer.
    let read = |ids: &[u32], cache: &mut KvCache| -> anyhow::Result<()> {
        let x = llama.embed(&Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?)?;
        let at = Positions::after(cache.len(), 1, ids.len());
        let hidden = llama.forward(&x, &at, Some(cache))?;
        let logits = llama.logits(&hidden.narrow(1, ids.len() - 1, 1)?)?;
        let sum = logits.sum_all()?.to_scalar::<f32>()?;
        if sum.is_finite() { Ok(()) } else { bail!("the language model gave no numbers") }
    };
    let mut cache = empty()?;
    measure(&format!("prompt-{precision}"), "tokens/s", PROMPT, repeats, || {
        cache.truncate(0);
        read(&ids, &mut cache)
    })?;
    measure(&format!("decode-{precision}"), "tokens/s", STEPS, repeats, || {
        cache.truncate(0);
        ids[..STEPS].iter().try_for_each(|id| read(&[*id], &mut cache))
    })
}

fn package(folder: &Path) -> anyhow::Result<()> {
    let mut manifest = Manifest::parse(include_str!("real-size.toml"), Path::new("real-size.toml"))?;
    let config = llama_config(8);
    let mut writer = PackageWriter::create(folder)?;
    for spec in &manifest.encoders {
        let tensors = random(|vb| Vit::load(vb, spec).map(drop))?;
        candle_core::safetensors::save(&tensors, writer.path(&spec.weights[0])?)?;
    }
    let (fused, inner) = (manifest.fused_width(), manifest.projector.hidden);
    let tensors = random(|vb| Projector::load(vb, fused, inner, config.hidden_size).map(drop))?;
    candle_core::safetensors::save(&tensors, writer.path(&manifest.projector.weights)?)?;
    writer.text(&manifest.language.config, &serde_json::to_string(&config)?)?;
    let tokenizer = byte_tokenizer(&[]).map_err(|e| anyhow!(e))?;
    tokenizer.save(writer.path(&manifest.language.tokenizer)?, false).map_err(|e| anyhow!(e))?;
    write_seeded(&config, Recipe::Q4KM, 8, &writer.path(&manifest.language.weights[0])?)?;
    manifest.files = writer.records()?;
    writer.manifest(&manifest)?;
    say(&serde_json::json!({ "package": folder }))
}
