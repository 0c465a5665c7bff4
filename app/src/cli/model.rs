//! `reinpath model`: which packages there are, what one is, whether it fits together, the same one quantised, a new one
//! from published files, and what those are downloaded with.
//!
//! The manifest is read here. What reads weights is done by `reinpath-worker`, which has the arithmetic.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use reinpath_model::package::{
    GridRule, LanguageKind, Manifest, MemoryNeed, Package, QUESTION_PATCHES, USUAL_PIXELS, VisionSpec,
};
use serde_json::json;

use super::{Failure, interrupts};
use crate::models::bytes;
use crate::{models, places};

mod get;
mod list;

/// Arguments of `reinpath model`.
#[derive(Debug, Args)]
pub(super) struct ModelArguments {
    #[command(subcommand)]
    command: ModelCommand,
}

#[derive(Debug, Subcommand)]
enum ModelCommand {
    /// List the model packages on this machine, the broken ones too
    List(list::ListArguments),
    /// Download a repository of the Hugging Face Hub: the only command that uses the network
    Get(get::GetArguments),
    /// Say what a model package is: its parts, precision, size, licence and what it was made from
    Show {
        package: PathBuf,
        /// One JSON object, {"type": "model", "data": {…}}
        #[arg(long)]
        json: bool,
    },
    /// Look a model package through, every tensor by name and shape, and say what memory it takes
    Check {
        package: PathBuf,
        /// Load it, too, and say what it takes in main memory
        #[arg(long)]
        load: bool,
    },
    /// Write the same package with its language model quantised
    Convert {
        package: PathBuf,
        /// q8_0: hardly to be told from full precision; q4_k_m: half of that size
        #[arg(long, value_name = "PRECISION", value_parser = ["q8_0", "q4_k_m"])]
        to: String,
        /// The new package's folder; by default beside the package, with the precision at the end of its name
        #[arg(short, long, value_name = "FOLDER")]
        output: Option<PathBuf>,
    },
    /// Put a model package together from the files that you have, as they were published: the parts of a ReinPath model, or
    /// a Qwen2.5-VL; nothing is converted
    Add(Box<AddArguments>),
}

#[derive(Debug, Args)]
struct AddArguments {
    /// The new package's name
    name: String,
    /// The language model: a folder in Hugging Face's layout or in Meta's, or a GGUF file; a Qwen2.5-VL as it was
    /// downloaded, which needs nothing else
    #[arg(long, value_name = "FOLDER|FILE")]
    language: PathBuf,
    /// The vision file (mmproj) of a Qwen2.5-VL that is a GGUF file [default: the only one beside it]
    #[arg(long, value_name = "FILE")]
    vision: Option<PathBuf>,
    /// CONCH's pytorch_model.bin, or the folder with it
    #[arg(long, value_name = "FILE|FOLDER")]
    conch: Option<PathBuf>,
    /// UNI's pytorch_model.bin, or the folder with it
    #[arg(long, value_name = "FILE|FOLDER")]
    uni: Option<PathBuf>,
    /// The projector, such as LLaVA's mm_projector.bin [default: a new one, to be trained]
    #[arg(long, value_name = "FILE")]
    projector: Option<PathBuf>,
    /// A PEFT adapter of the language model; of several, one answers at a time
    #[arg(long = "adapter", value_name = "FOLDER")]
    adapters: Vec<PathBuf>,
    /// How the two encoders share a grid: UNI fed at CONCH's size, CONCH at UNI's, or UNI at CONCH's and averaged 2 × 2
    /// [default: uni-at-conch]
    #[arg(long, value_name = "RULE", value_parser = ["uni-at-conch", "conch-at-uni", "pooled"])]
    grid: Option<String>,
    /// The tokenizer (tokenizer.json or tokenizer.model) [default: the language model's own]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// The package's licence [default: what the model cards beside the files say]
    #[arg(long, value_name = "TEXT")]
    licence: Option<String>,
    /// Copy the files even where a link would do
    #[arg(long)]
    copy: bool,
    /// The new package's folder [default: among this user's packages, with the package's name]
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

pub(super) fn model(arguments: &ModelArguments) -> Result<(), Failure> {
    match &arguments.command {
        ModelCommand::List(arguments) => list::list(arguments),
        ModelCommand::Get(arguments) => get::get(arguments),
        ModelCommand::Show { package, json } => show(package, *json),
        ModelCommand::Check { package, load } => {
            let mut words: Vec<&OsStr> = vec![OsStr::new("check")];
            if *load {
                words.push(OsStr::new("--load"));
            }
            words.extend([OsStr::new("--"), package.as_os_str()]);
            worker(&words)
        }
        ModelCommand::Convert { package, to, output } => {
            let whole = package.canonicalize().unwrap_or_else(|_not_there| package.clone());
            let output = output.clone().unwrap_or_else(|| beside(&whole, to));
            let (to, output) = (OsStr::new(to), output.as_os_str());
            worker(&[
                "convert".as_ref(),
                "--to".as_ref(),
                to,
                "--output".as_ref(),
                output,
                "--".as_ref(),
                package.as_os_str(),
            ])
        }
        ModelCommand::Add(arguments) => add(arguments),
    }
}

fn add(arguments: &AddArguments) -> Result<(), Failure> {
    let output = match &arguments.output {
        Some(output) => output.clone(),
        None => among_packages(&arguments.name)?,
    };
    let word = OsStr::new::<str>;
    let mut words: Vec<&OsStr> = vec![word("add"), word("--language"), arguments.language.as_os_str()];
    let files = [
        ("--vision", &arguments.vision),
        ("--conch", &arguments.conch),
        ("--uni", &arguments.uni),
        ("--projector", &arguments.projector),
        ("--tokenizer", &arguments.tokenizer),
    ];
    for (option, file) in files {
        if let Some(file) = file {
            words.extend([word(option), file.as_os_str()]);
        }
    }
    for folder in &arguments.adapters {
        words.extend([word("--adapter"), folder.as_os_str()]);
    }
    // Only where it is asked for: a model without encoders has no grid to share.
    if let Some(grid) = &arguments.grid {
        words.extend([word("--grid"), word(grid)]);
    }
    words.extend([word("--output"), output.as_os_str()]);
    if let Some(licence) = &arguments.licence {
        words.extend([word("--licence"), word(licence)]);
    }
    if arguments.copy {
        words.push(word("--copy"));
    }
    // A name may begin with a dash.
    words.extend([word("--"), word(&arguments.name)]);
    worker(&words)
}

/// The folder of a package among the user's.
fn among_packages(name: &str) -> Result<PathBuf, Failure> {
    let mut parts = Path::new(name).components();
    if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
        return Err(Failure::Usage(format!("'{name}' cannot be a folder's name: choose one with --output")));
    }
    Ok(models::folder(&places::Places::find().map_err(anyhow::Error::from)?).join(name))
}

/// `models/demo-q8_0` for `models/demo`.
fn beside(package: &Path, precision: &str) -> PathBuf {
    let mut name = package.file_name().unwrap_or(OsStr::new("model")).to_owned();
    name.push("-");
    name.push(precision);
    package.with_file_name(name)
}

/// Lets the worker do it: what it says goes where this program's words go, and its exit code is this one's.
fn worker(arguments: &[&OsStr]) -> Result<(), Failure> {
    let program = places::program("reinpath-worker").map_err(anyhow::Error::from)?;
    // Ctrl-C reaches the worker, too, which tidies up; this program waits for it.
    let _interrupted = interrupts(Arc::new(AtomicBool::new(true)))?;
    let status = Command::new(&program)
        .args(arguments)
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(Failure::Told(code)),
        None => Err(anyhow!("the system ended reinpath-worker, perhaps for want of memory").into()),
    }
}

fn show(folder: &Path, as_json: bool) -> Result<(), Failure> {
    let package = Package::open(folder).map_err(anyhow::Error::from)?;
    let memory = package.memory().map_err(anyhow::Error::from)?;
    let text = if as_json {
        let data = json!({
            "folder": package.folder.to_string_lossy(),
            "hash": package.hash,
            "bytes": bytes(&package),
            "memory": memory,
            "manifest": package.manifest,
        });
        format!("{}\n", json!({ "type": "model", "data": data }))
    } else {
        let lines = lines(&package, memory).into_iter();
        lines.map(|(name, value)| format!("{name:<14} {value}\n")).collect::<Vec<String>>().concat()
    };
    io::stdout().lock().write_all(text.as_bytes()).context("cannot write to stdout")?;
    Ok(())
}

/// What the model takes in memory, on the CPU.
fn in_memory(need: MemoryNeed) -> String {
    let weights = format!("{:.1} MB for the weights", need.weights as f64 / 1e6);
    let Some(cache) = need.cache else { return weights };
    let cache = cache as f64 / 1e6;
    format!("{weights}, {cache:.1} MB for a long question about {QUESTION_PATCHES} patches and its answer")
}

fn lines(package: &Package, memory: MemoryNeed) -> Vec<(&'static str, String)> {
    let m = &package.manifest;
    let mut lines = vec![
        ("name", m.name.clone()),
        ("description", m.description.clone()),
        ("licence", m.licence.clone()),
    ];
    if let Some(terms) = &m.terms {
        lines.push(("allows", terms.allows.clone()));
        lines.push(("training", terms.refuses_training.clone().unwrap_or_default()));
    }
    lines.extend([("made from", m.provenance.clone()), ("created", m.created.clone())]);
    lines.extend(m.vision.as_ref().map_or_else(|| encoder_lines(m), |vision| vision_lines(m, vision)));
    let kind = match m.language.kind {
        LanguageKind::Llama => "Llama",
        LanguageKind::Qwen25Vl => "Qwen2.5-VL",
    };
    lines.push(("language", format!("{kind}, {}", m.language.precision)));
    lines.extend(m.adapters.iter().map(|adapter| ("adapter", adapter.name.clone())));
    lines.push(("knows", m.knows.tissues.join(", ")));
    lines.push(("size", format!("{:.1} MB", bytes(package) as f64 / 1e6)));
    lines.push(("memory", in_memory(memory)));
    lines.push(("hash", package.hash.clone()));
    lines.retain(|(_, value)| !value.is_empty());
    lines
}

/// What a ReinPath model sees with.
fn encoder_lines(m: &Manifest) -> Vec<(&'static str, String)> {
    let mut lines = vec![("patch", format!("{} × {0} px at {} µm per pixel", m.patch.size_px, m.patch.mpp))];
    for e in &m.encoders {
        let size = match e.trained_size() {
            trained if trained == e.image_size => format!("{} px", e.image_size),
            trained => format!("{} px, trained at {trained} px", e.image_size),
        };
        let shape = format!("{} layers of {} channels, cells of {} px", e.layers, e.width, e.patch_size);
        lines.push(("encoder", format!("{}, {shape}, {size}", e.kind.name())));
    }
    let grid = match m.fusion.grid {
        GridRule::UniAtConch => "UNI at CONCH's size".to_owned(),
        GridRule::ConchAtUni => "CONCH at UNI's size".to_owned(),
        GridRule::Pooled => format!("averaged to {0} × {0}", m.image_side()),
    };
    lines.push(("image tokens", format!("{} of {} channels, {grid}", m.image_tokens(), m.fused_width())));
    lines
}

/// What a Qwen2.5-VL sees with.
fn vision_lines(m: &Manifest, vision: &VisionSpec) -> Vec<(&'static str, String)> {
    let VisionSpec { layers, width, patch_size, precision, out_width, .. } = vision;
    let (size, mpp) = (m.patch.size_px, m.patch.mpp);
    vec![
        ("patch", format!("any size at {mpp} µm per pixel, {size} × {size} px unless another is marked")),
        (
            "vision tower",
            format!("{layers} layers of {width} channels, cells of {patch_size} px, {precision}"),
        ),
        (
            "image tokens",
            format!(
                "{} of {out_width} channels for {size} × {size} px, at most {} a patch ({} unless more are asked for)",
                m.image_tokens(),
                vision.most_tokens(None),
                vision.most_tokens(Some(USUAL_PIXELS)),
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use reinpath_model::package::{Architecture, PatchSpec};

    use super::*;
    use crate::window::state::{Eyes, ModelInfo};

    #[test]
    fn a_qwen_is_told_by_its_vision_tower_and_by_what_a_patch_costs() {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/models/demo");
        let Eyes::Vision(small) = ModelInfo::scripted_vision("qwen").eyes else { panic!("it has a tower") };
        let vision = VisionSpec {
            weights: vec!["language/model.safetensors".to_owned()],
            precision: "bf16".to_owned(),
            width: 1280,
            layers: 32,
            heads: 16,
            mlp_width: 3420,
            out_width: 2048,
            full_attention: vec![7, 15, 23, 31],
            ..small
        };
        let manifest = Manifest {
            architecture: Architecture::Qwen25Vl,
            patch: PatchSpec { size_px: 672, mpp: 0.5 },
            encoders: Vec::new(),
            vision: Some(vision.clone()),
            ..Package::open(&demo).unwrap().manifest
        };
        let told: Vec<String> =
            vision_lines(&manifest, &vision).into_iter().map(|(_, value)| value).collect();
        assert!(told[0].starts_with("any size at 0.5 µm per pixel, 672 × 672 px"), "{told:?}");
        assert_eq!(told[1], "32 layers of 1280 channels, cells of 14 px, bf16");
        assert_eq!(
            told[2],
            "576 of 2048 channels for 672 × 672 px, at most 16384 a patch (1280 unless more are asked for)"
        );
    }

    #[test]
    fn a_package_is_kept_under_its_name_unless_that_is_a_path() {
        assert!(among_packages("mine").unwrap().ends_with("models/mine"));
        for name in ["", "..", "a/b", "/a", "."] {
            assert!(matches!(among_packages(name), Err(Failure::Usage(_))), "{name}");
        }
    }

    #[test]
    fn memory_is_told_for_the_weights_and_for_a_question() {
        let told = in_memory(MemoryNeed { weights: 4_900_000_000, cache: Some(1_000_000_000) });
        assert_eq!(
            told,
            "4900.0 MB for the weights, 1000.0 MB for a long question about 4 patches and its answer"
        );
        assert_eq!(in_memory(MemoryNeed { weights: 1, cache: None }), "0.0 MB for the weights");
    }

    #[test]
    fn a_quantised_package_lies_beside_its_parent() {
        assert_eq!(beside(Path::new("models/demo"), "q8_0"), Path::new("models/demo-q8_0"));
        assert_eq!(beside(Path::new("demo/"), "q4_k_m"), Path::new("demo-q4_k_m"));
    }
}
