//! A Qwen2.5-VL of random weights at real sizes: a package, what it takes and how fast it is, and what `tests/peers/qwen.py`
//! measures. A JSON object a line on stdout.
//!
//!     qwen package FOLDER 3b|7b    # the language model in Q4_K_M, the vision tower in bf16; 2 to 6 GB
//!     qwen load PACKAGE            # what is said of its memory beforehand, and what it then takes
//!     qwen speed PACKAGE REPEATS   # vision tower, prompt and steps, with a patch of 672 × 672
//!     qwen peer FOLDER REPEATS     # in f32, of the files that `peers/qwen.py` wrote into FOLDER
//!
//! A package that takes more than there is is refused by `load` in one sentence, before anything of it is loaded; so does
//! `reinpath-worker check --load`.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context as _, anyhow, bail, ensure};
use candle_core::{Device, Tensor};
use reinpath_model::device;
use reinpath_model::fixture::{CHATML, Family, byte_tokenizer_of, tower_tensors};
use reinpath_model::generate::{Generator, splice};
use reinpath_model::images::{Images, Spliced};
use reinpath_model::llama::{Llama, LlamaConfig};
use reinpath_model::package::{Manifest, Package, PackageWriter, STAGED, VisionSpec};
use reinpath_model::patch::Patch;
use reinpath_model::prompt::{Prompt, Segment, user_text};
use reinpath_model::qwen::Tower;
use reinpath_model::reinpath::ReinPath;
use reinpath_model::request::Sampling;
use reinpath_model::weights::Weights;
use reinpath_model::weights::quantise::Recipe;
use reinpath_model::weights::seeded::write_seeded;
use reinpath_tests::seeded::Seeded;
use serde_json::{Map, Value, json};

/// As in the programs that compute.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Side of the patch in pixels: 24 × 24 image tokens.
const SIDE: u32 = 672;
/// Tokens that are written after the first one.
const STEPS: usize = 32;

/// What is left of a model of 3B to be measured beside its peer; kept in step with `tests/peers/qwen.py`.
const PEER_BLOCKS: usize = 8;
const PEER_LAYERS: usize = 9;
/// Ids of the words before and after the patch, with those of `<|vision_start|>` and `<|vision_end|>`; kept in step, too.
const BEFORE: (std::ops::Range<u32>, u32) = (1000..1015, 151_652);
const AFTER: (u32, std::ops::Range<u32>) = (151_653, 2000..2020);

/// Values that all matrices of a tower are made of, and how many of them are taken from there together.
const POOL: usize = 1 << 20;
const RUN: usize = 1 << 13;
/// Largest weight, of even distribution with a deviation of 0.02.
const LARGEST: f32 = 0.034_641;

fn main() -> anyhow::Result<()> {
    // `cargo bench` gives arguments of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => say(&json!({ "usage": "see the head of tests/benches/qwen.rs" })),
        ["package", folder, size] => package(Path::new(folder), size),
        ["load", package] => load(Path::new(package)).map(drop),
        ["speed", package, repeats] => speed(Path::new(package), repeats.parse()?),
        ["peer", folder, repeats] => peer(Path::new(folder), repeats.parse()?),
        other => bail!("{other:?} is no measurement"),
    }
}

fn say(line: &Value) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{line}")?)
}

fn manifest() -> anyhow::Result<Manifest> {
    Ok(Manifest::parse(include_str!("real-size-qwen.toml"), Path::new("real-size-qwen.toml"))?)
}

/// The language model of that size, in the fields of its published `config.json`.
fn config_file(size: &str) -> anyhow::Result<Value> {
    let [hidden, layers, heads, kv_heads, mlp, vocabulary] = match size {
        "3b" => [2048, 36, 16, 2, 11_008, 151_936],
        "7b" => [3584, 28, 28, 4, 18_944, 152_064],
        other => bail!("'{other}' is no size: use 3b or 7b"),
    };
    Ok(json!({
        "model_type": "qwen2_5_vl",
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "max_position_embeddings": 128_000,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": kv_heads,
        "rms_norm_eps": 1e-6,
        "rope_scaling": { "type": "mrope", "mrope_section": [16, 24, 24] },
        "rope_theta": 1_000_000.0,
        "tie_word_embeddings": size == "3b",
        "use_sliding_window": false,
        "vocab_size": vocabulary,
    }))
}

fn config(size: &str) -> anyhow::Result<LlamaConfig> {
    LlamaConfig::of_qwen(&config_file(size)?).map_err(|reason| anyhow!(reason))
}

fn package(folder: &Path, size: &str) -> anyhow::Result<()> {
    let (file, config, mut manifest) = (config_file(size)?, config(size)?, manifest()?);
    manifest.name = format!("Sizes of Qwen2.5-VL-{}, random weights", size.to_uppercase());
    STAGED.clone_into(&mut manifest.instructions.system);
    let vision = manifest.vision.as_mut().context("the manifest has no vision tower")?;
    vision.out_width = config.hidden_size;
    let mut writer = PackageWriter::create(folder)?;
    write_tower(vision, &writer.path(&vision.weights[0])?)?;
    let language = &manifest.language;
    writer.text(&language.config, &file.to_string())?;
    writer.text(language.template.as_deref().context("the manifest has no chat template")?, CHATML)?;
    let tokenizer = byte_tokenizer_of(Family::Qwen, &[]).map_err(|e| anyhow!(e))?;
    tokenizer.save(writer.path(&language.tokenizer)?, false).map_err(|e| anyhow!(e))?;
    write_seeded(&config, Recipe::Q4KM, 8, &writer.path(&language.weights[0])?)?;
    manifest.files = writer.records()?;
    writer.manifest(&manifest)?;
    say(&json!({ "package": folder }))
}

/// Writes a tower in bf16 as a safetensors file, piece by piece: norms of one, and all else taken from one pool of random
/// values. The same sizes make the same file.
fn write_tower(spec: &VisionSpec, path: &Path) -> anyhow::Result<()> {
    let tensors = tower_tensors(spec);
    let (mut header, mut at) = (Map::new(), 0);
    for (name, shape) in &tensors {
        let end = at + 2 * shape.iter().product::<usize>();
        header.insert(name.clone(), json!({ "dtype": "BF16", "shape": shape, "data_offsets": [at, end] }));
        at = end;
    }
    let mut header = serde_json::to_vec(&header)?;
    // Values begin at a multiple of eight.
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    let mut seeded = Seeded::new(9);
    let random = |_| bf16((2.0 * seeded.fraction() as f32 - 1.0) * LARGEST);
    let pool: Vec<u8> = (0..POOL).flat_map(random).collect();
    for (name, shape) in &tensors {
        let mut left = 2 * shape.iter().product::<usize>();
        if name.contains("norm") || name.contains("ln_q") {
            file.write_all(&bf16(1.0).repeat(left / 2))?;
            continue;
        }
        while left > 0 {
            let start = seeded.below((POOL / RUN) as u64) as usize * RUN * 2;
            let piece = &pool[start..][..left.min(2 * RUN)];
            file.write_all(piece)?;
            left -= piece.len();
        }
    }
    Ok(file.flush()?)
}

/// The bytes of the value, cut off.
fn bf16(value: f32) -> [u8; 2] {
    ((value.to_bits() >> 16) as u16).to_le_bytes()
}

fn load(folder: &Path) -> anyhow::Result<ReinPath> {
    let package = Package::open(folder)?;
    let (reckoned, before, begin) = (package.memory()?, device::resident(), Instant::now());
    let model = ReinPath::load(&package, &Device::Cpu, &mut |_, _| true)?;
    say(&json!({
        "load": package.manifest.name,
        "seconds": begin.elapsed().as_secs_f64(),
        "parameters": model.size.parameters,
        "weights_bytes": model.size.memory,
        "reckoned_weights_bytes": reckoned.weights,
        "reckoned_cache_bytes": reckoned.cache,
        "resident_before_bytes": before,
        "resident_bytes": device::resident(),
    }))?;
    Ok(model)
}

/// The patch: stripes, shifted from row to row.
fn patch() -> anyhow::Result<Patch> {
    let rgb = (0..SIDE * SIDE * 3).map(|i| ((i * 31 + i / 2016 * 17) % 251) as u8).collect();
    Ok(Patch::new(SIDE, SIDE, Some(0.5), rgb)?)
}

/// What came of writing after a prompt, wherever it would have ended.
struct Written {
    /// Until the first token was chosen.
    prefill_secs: f64,
    /// From then until the last one was.
    decode_secs: f64,
    ids: Vec<u32>,
    logprobs: Vec<f32>,
}

fn write(llama: &Llama, prompt: &Spliced) -> anyhow::Result<Written> {
    let sampling = Sampling { max_tokens: STEPS + 1, ..Sampling::default() };
    let cancel = AtomicBool::new(false);
    let generator = Generator { llama, sampling: &sampling, stop: &[], room: 0, cancel: &cancel };
    let (begin, mut drawn) = (Instant::now(), Vec::with_capacity(STEPS + 1));
    generator.run(prompt, None, &mut |_| {}, &mut |token| {
        drawn.push((token, begin.elapsed().as_secs_f64()));
        Ok(())
    })?;
    ensure!(drawn.len() == STEPS + 1, "{} tokens were written", drawn.len());
    let ((_, prefill_secs), (_, end)) = (drawn[0], drawn[STEPS]);
    let logprobs: Vec<f32> = drawn.iter().map(|(token, _)| token.logprob).collect();
    ensure!(logprobs.iter().all(|logprob| logprob.is_finite()), "the language model gave no numbers");
    let ids = drawn.iter().map(|(token, _)| token.id).collect();
    Ok(Written { prefill_secs, decode_secs: end - prefill_secs, ids, logprobs })
}

/// One line of a measurement.
fn tell(what: &str, unit: &str, samples: &[f64]) -> anyhow::Result<()> {
    say(&json!({ "what": what, "unit": unit, "samples": samples, "resident_bytes": device::resident() }))
}

fn speed(folder: &Path, repeats: usize) -> anyhow::Result<()> {
    let (model, patches) = (load(folder)?, [patch()?]);
    let prompt = model.tokenizer.prompt(&user_text(1, "", "What is seen?", &[]))?;
    let (mut tower, mut prefill, mut decode) = (Vec::new(), Vec::new(), Vec::new());
    // The first turn is not counted.
    for turn in 0..=repeats {
        let begin = Instant::now();
        let seen = model.look(&patches, None, &mut || true)?;
        let seen_secs = begin.elapsed().as_secs_f64();
        let spliced = splice(&model.llama, &prompt, &model.images(&seen)?)?;
        let written = write(&model.llama, &spliced)?;
        if turn > 0 {
            tower.push(1.0 / seen_secs);
            prefill.push(spliced.tokens()? as f64 / written.prefill_secs);
            decode.push(STEPS as f64 / written.decode_secs);
        }
    }
    tell("tower", "patches/s", &tower)?;
    tell("prefill", "tokens/s", &prefill)?;
    tell("decode", "tokens/s", &decode)
}

fn peer(folder: &Path, repeats: usize) -> anyhow::Result<()> {
    let spec = manifest()?.vision.context("the manifest has no vision tower")?;
    let spec = VisionSpec { layers: PEER_BLOCKS, full_attention: vec![PEER_BLOCKS - 1], ..spec };
    let weights = Weights::open(&[folder.join("tower.safetensors")])?;
    let (mut tower, _) = weights.build(&Device::Cpu, |vb| Tower::load(&vb, &spec))?;
    let config = LlamaConfig { num_hidden_layers: PEER_LAYERS, ..config("3b")? };
    let weights = Weights::open(&[folder.join("decoder.safetensors")])?;
    let (mut llama, _) = weights.build(&Device::Cpu, |vb| Llama::load(&vb, &config))?;
    // As a package's are.
    tower.pack()?;
    llama.pack()?;
    let patch = patch()?;
    let (mut prefill, mut decode, mut last) = (Vec::new(), Vec::new(), None);
    // The first turn is not counted.
    for turn in 0..=repeats {
        let begin = Instant::now();
        let prompt = spliced(&tower, &llama, &patch)?;
        let seen_secs = begin.elapsed().as_secs_f64();
        let written = write(&llama, &prompt)?;
        if turn > 0 {
            prefill.push(prompt.tokens()? as f64 / (seen_secs + written.prefill_secs));
            decode.push(STEPS as f64 / written.decode_secs);
        }
        last = Some(written);
    }
    tell("prefill", "tokens/s", &prefill)?;
    tell("decode", "tokens/s", &decode)?;
    // A speed of other numbers than the peer's would say nothing.
    let Written { ids, logprobs, .. } = last.context("nothing was written")?;
    say(&json!({ "what": "answer", "ids": ids, "logprobs": logprobs }))
}

/// The peer's prompt, from the pixels on.
fn spliced(tower: &Tower, llama: &Llama, patch: &Patch) -> anyhow::Result<Spliced> {
    let input = patch.for_vision(tower.spec(), None)?;
    let (cells, values) = (4 * input.grid.tokens(), input.cells(tower.spec()));
    let cells = Tensor::from_vec(values, (cells, 3 * 2 * 14 * 14), &Device::Cpu)?;
    let tokens = tower.forward(&cells, input.grid, &mut || Ok(()))?;
    let images = Images { embeddings: vec![tokens], grids: vec![input.grid] };
    let ((before, start), (end, after)) = (BEFORE, AFTER);
    let segments = vec![
        Segment::Tokens(before.chain([start]).collect()),
        Segment::Patch(0),
        Segment::Tokens([end].into_iter().chain(after).collect()),
    ];
    Ok(splice(llama, &Prompt { segments, text: String::new() }, &images)?)
}
