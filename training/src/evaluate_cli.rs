//! `reinpath-train evaluate` and `reinpath-train ablations`: their arguments, and what they print.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use reinpath_model::package::{Architecture, Package};
use reinpath_model::reinpath::ReinPath;
use serde::Serialize;

use crate::dataset::ROWS;
use crate::dataset_cli::part;
use crate::error::Error;
use crate::evaluate::class_file::ClassFile;
use crate::evaluate::classes::{self, ClassOptions};
use crate::evaluate::rows::{self, asked};
use crate::evaluate::{self, HELD_OUT_SEED, pointing};
use crate::phantom::{Claim, Limits};
use crate::rows::{Split, read_rows};

/// Fields that the benchmark `phantom` asks about, unless it is told another number.
const PHANTOM_FIELDS: usize = 600;
/// The same where all show one claim.
const FIELDS_OF_ONE_CLAIM: usize = 200;

/// Arguments of `evaluate`.
#[derive(Args, Clone, Debug)]
pub struct EvaluateArgs {
    /// Folder of the model package
    #[arg(long)]
    model: PathBuf,
    #[arg(long, value_enum)]
    benchmark: Benchmark,
    /// Folder of the data: that of rows.jsonl, or that of the class folders
    #[arg(long, required_if_eq_any([("benchmark", "rows"), ("benchmark", "classes")]))]
    data: Option<PathBuf>,
    /// TOML file that gives each folder its class and states the question
    #[arg(long, required_if_eq("benchmark", "classes"))]
    classes: Option<PathBuf>,
    /// Part of the rows: train, validation or test; by default test where there is one, else all
    #[arg(long, value_parser = part)]
    split: Option<Split>,
    /// Most questions that are asked [default: 600 of phantom and pointing (200 with --only), otherwise all]
    #[arg(long)]
    limit: Option<usize>,
    /// Claim that no field shows and no question names, such as pattern.mucin (phantom)
    #[arg(long, value_name = "CLAIM", value_parser = claim)]
    without: Option<Claim>,
    /// Claim that every field shows; the questions ask for the tissue type (phantom)
    #[arg(long, value_name = "CLAIM", value_parser = claim, conflicts_with = "without")]
    only: Option<Claim>,
    /// Seed of the fields and questions of phantom and pointing, and of the order of options of classes
    #[arg(long, default_value_t = HELD_OUT_SEED)]
    seed: u64,
    /// Brings every image's channels to one mean and deviation first (classes)
    #[arg(long, requires = "classes")]
    normalise_colour: bool,
    /// cpu, cuda, cuda:N or metal
    #[arg(long, default_value = "cpu")]
    device: String,
    /// One JSON object a line: every answer, then the figures
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Benchmark {
    /// Rows of a data set
    Rows,
    /// A folder of class folders of images
    Classes,
    /// Fields of phantom tissue that no training saw
    Phantom,
    /// The same: whether each sentence of an Observation looks at the structure that it names
    Pointing,
}

/// A claim by its name, as an argument.
pub fn claim(name: &str) -> Result<Claim, String> {
    let claim = Claim::from_name(name);
    claim.ok_or_else(|| format!("no claim about a field is called {name}: use one such as pattern.mucin"))
}

/// Runs `evaluate`.
pub fn evaluate(args: &EvaluateArgs) -> anyhow::Result<()> {
    anyhow::ensure!(args.limit != Some(0), "at least one question is needed (--limit)");
    let is_phantom = args.benchmark == Benchmark::Phantom;
    anyhow::ensure!(!is_phantom || args.device == "cpu", "phantom is computed on the CPU alone (--device)");
    let limits = Limits { without: args.without, only: args.only };
    anyhow::ensure!(
        is_phantom || limits == Limits::default(),
        "only phantom fields can be drawn by what they show (--without, --only)"
    );
    anyhow::ensure!(
        args.split.is_none() || args.benchmark == Benchmark::Rows,
        "only rows have parts (--split)"
    );
    let package = Package::open(&args.model)?;
    check_family(&package)?;
    let mut out = Output::new(args.json);
    match (args.benchmark, &args.data, &args.classes) {
        (Benchmark::Phantom, _, _) => {
            let most = if limits.only.is_some() { FIELDS_OF_ONE_CLAIM } else { PHANTOM_FIELDS };
            let limit = args.limit.unwrap_or(most);
            let mut each = |answer: evaluate::ScoredAnswer| out.answer(&answer);
            let figures = evaluate::phantom_limited(&package, limit, args.seed, limits, &mut each);
            out.finish(figures)
        }
        (Benchmark::Pointing, _, _) => {
            let limit = args.limit.unwrap_or(PHANTOM_FIELDS);
            let model = load(&package, &args.device)?;
            let mut each = |sentence: &pointing::Pointed| out.answer(sentence);
            let figures = pointing::of_package(&model, limit, args.seed, &mut each);
            out.finish(figures)
        }
        (Benchmark::Rows, Some(data), _) => {
            let rows = read_rows(&data.join(ROWS))?;
            let mut asked = asked(&rows, args.split);
            asked.truncate(args.limit.unwrap_or(usize::MAX));
            anyhow::ensure!(!asked.is_empty(), "no row asks a question: {}", data.display());
            let model = load(&package, &args.device)?;
            let report = rows::of_package(&model, data, &asked, &mut |answer| out.answer(answer));
            out.finish(report)
        }
        (Benchmark::Classes, Some(data), Some(file)) => {
            let file = ClassFile::read(file)?;
            let model = load(&package, &args.device)?;
            let options =
                ClassOptions { limit: args.limit, seed: args.seed, normalise_colour: args.normalise_colour };
            let figures = classes::of_package(&model, data, &file, options, &mut |answer| out.answer(answer));
            out.finish(figures)
        }
        (Benchmark::Rows | Benchmark::Classes, _, _) => anyhow::bail!("--data and --classes are needed"),
    }
}

/// Refuses a family whose image tokens the benchmarks cannot lay out.
fn check_family(package: &Package) -> Result<(), Error> {
    match package.manifest.architecture {
        Architecture::ReinPath => Ok(()),
        Architecture::Qwen25Vl => Err(Error::Benchmark(format!(
            "this is a Qwen2.5-VL, and only ReinPath's models are measured by this program: {}",
            package.folder.display()
        ))),
    }
}

fn load(package: &Package, device: &str) -> anyhow::Result<ReinPath> {
    let device = reinpath_model::device::open(device)?;
    Ok(ReinPath::load(package, &device, &mut |_, _| true)?)
}

/// Stdout: JSON lines, or the figures alone in words.
struct Output {
    stdout: std::io::StdoutLock<'static>,
    is_json: bool,
    failed: Option<std::io::Error>,
}

impl Output {
    fn new(is_json: bool) -> Self {
        Self { stdout: std::io::stdout().lock(), is_json, failed: None }
    }

    /// `false` when nobody reads any more.
    fn answer(&mut self, answer: &impl Serialize) -> bool {
        if self.is_json {
            let line = serde_json::json!({"type": "answer", "data": answer});
            self.failed = writeln!(self.stdout, "{line}").err();
        }
        self.failed.is_none()
    }

    fn finish<T: Serialize + std::fmt::Display>(mut self, figures: Result<T, Error>) -> anyhow::Result<()> {
        if let Some(error) = self.failed {
            return Err(error).context("the results cannot be written to stdout");
        }
        let figures = figures?;
        if self.is_json {
            writeln!(self.stdout, "{}", serde_json::json!({"type": "finished", "data": figures}))?;
        } else {
            writeln!(self.stdout, "{figures}")?;
        }
        Ok(())
    }
}

/// Arguments of `ablations`.
#[derive(Args, Clone, Debug)]
pub struct AblationsArgs {
    /// TOML file of arms and tables
    config: PathBuf,
    /// Folder to work in; what is there already is not done again
    #[arg(short, long)]
    out: PathBuf,
}

/// Runs `ablations`; a signal stops it with a checkpoint of the run that is at work.
pub fn ablations(args: &AblationsArgs) -> anyhow::Result<()> {
    let config = crate::config::read(&args.config)?;
    let asked = Arc::new(AtomicBool::new(false));
    let signal = Arc::clone(&asked);
    ctrlc::set_handler(move || signal.store(true, Ordering::Relaxed)).context("signals cannot be heeded")?;
    let tables = crate::ablations::run(&config, &args.out, &asked)?;
    let line = serde_json::json!({"type": "finished", "data": {"tables": tables.display().to_string()}});
    writeln!(std::io::stdout().lock(), "{line}").context("the result cannot be written to stdout")
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches as _};

    use super::*;

    fn parse(args: &str) -> Result<EvaluateArgs, clap::Error> {
        let command = EvaluateArgs::augment_args(Command::new("evaluate"));
        let matches =
            command.try_get_matches_from(["evaluate"].into_iter().chain(args.split_whitespace()))?;
        EvaluateArgs::from_arg_matches(&matches)
    }

    #[test]
    fn each_benchmark_asks_for_what_it_needs() {
        assert_eq!(parse("--model m --benchmark phantom").unwrap().limit, None);
        let only = parse("--model m --benchmark phantom --only pattern.mucin").unwrap().only;
        assert_eq!(only.map(Claim::name).as_deref(), Some("pattern.mucin"));
        assert!(parse("--model m --benchmark pointing --limit 20 --seed 3 --json").is_ok());
        assert!(parse("--model m --benchmark rows --data d --split test").is_ok());
        assert!(parse("--model m --benchmark classes --data d --classes c.toml --normalise-colour").is_ok());
        for wrong in [
            "--model m",
            "--model m --benchmark rows",
            "--model m --benchmark classes --data d",
            "--model m --benchmark phantom --normalise-colour",
            "--model m --benchmark phantom --without pattern.bone",
            "--model m --benchmark phantom --without pattern.fat --only pattern.mucin",
            "--model m --benchmark poems",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("none");
        let args = parse(&format!("--model {} --benchmark phantom", model.display())).unwrap();
        assert!(evaluate(&args).unwrap_err().to_string().ends_with("none"));
    }
}
