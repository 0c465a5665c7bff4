//! `reinpath-train`: the training programs on the command line.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use reinpath_model::package::Package;
use reinpath_training::config;
use reinpath_training::dataset_cli::{self, DatasetCommand};
use reinpath_training::evaluate::{self, HELD_OUT_SEED};
use reinpath_training::phantom_set::{self, PhantomPlan};
use reinpath_training::pretrain::pretrain;
use reinpath_training::rows::Split;
use reinpath_training::supervised::supervised;

/// Training allocates and frees large tensors all the time; the system's allocator returns them to the kernel each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains and evaluates ReinPath models. Results go to stdout as JSON lines, everything else to stderr.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Stage 0: makes encoders, tokenizer and a base decoder from nothing, on phantom tissue
    Pretrain {
        config: PathBuf,
        /// Run folder; by default runs/ and the configuration's name
        #[arg(long)]
        run: Option<PathBuf>,
    },
    /// Supervised training on staged answers about phantom tissue
    Run {
        config: PathBuf,
        /// Run folder; by default runs/ and the configuration's name
        #[arg(long)]
        run: Option<PathBuf>,
    },
    /// Asks a package the questions of a benchmark and scores the generated conclusions
    Evaluate {
        /// Folder of the model package
        #[arg(long)]
        model: PathBuf,
        #[arg(long, value_enum)]
        benchmark: Benchmark,
        /// Number of questions
        #[arg(long, default_value_t = 600)]
        limit: usize,
        /// Seed of the fields and questions
        #[arg(long, default_value_t = HELD_OUT_SEED)]
        seed: u64,
        /// One JSON object a line: every answer, then the figures
        #[arg(long)]
        json: bool,
    },
    /// Data sets: looked through before a run, counted, shown as the model gets them, cut, imported
    #[command(subcommand)]
    Dataset(DatasetCommand),
    /// Writes phantom fields with captions, questions and truth
    Phantom {
        /// Fields
        #[arg(long)]
        count: usize,
        #[arg(long)]
        seed: u64,
        /// Questions about each field
        #[arg(long, default_value_t = 1)]
        questions: usize,
        /// Captions of each field
        #[arg(long, default_value_t = 1)]
        captions: usize,
        /// Part that all rows belong to: train, validation or test
        #[arg(long, value_parser = dataset_cli::part)]
        split: Option<Split>,
        /// Folder to write to
        #[arg(short)]
        out: PathBuf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Benchmark {
    /// Fields of phantom tissue that no training saw
    Phantom,
}

fn main() -> ExitCode {
    // Each part of a batch has its own thread; candle's shared pool would make them wait for one another.
    // SAFETY: no other thread runs yet.
    #[expect(unsafe_code, reason = "candle takes this setting from the environment alone")]
    unsafe {
        std::env::set_var("CANDLE_NUM_THREADS", "1");
    }
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    match execute(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to be done when stderr is closed.
            writeln!(std::io::stderr(), "{error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Pretrain { config, run } => {
            pretrain(&config::read(&config)?, &run.unwrap_or_else(|| default_run(&config)))?;
        }
        Command::Run { config, run } => {
            supervised(&config::read(&config)?, &run.unwrap_or_else(|| default_run(&config)))?;
        }
        Command::Evaluate { model, benchmark: Benchmark::Phantom, limit, seed, json } => {
            evaluate_phantom(&model, limit, seed, json)?;
        }
        Command::Dataset(command) => dataset_cli::execute(command)?,
        Command::Phantom { count, seed, questions, captions, split, out } => {
            phantom_set::write(&PhantomPlan { count, seed, questions, captions, split }, &out)?;
        }
    }
    Ok(())
}

fn default_run(config: &Path) -> PathBuf {
    Path::new("runs").join(config.file_stem().unwrap_or_default())
}

fn evaluate_phantom(model: &Path, limit: usize, seed: u64, json: bool) -> anyhow::Result<()> {
    anyhow::ensure!(limit > 0, "at least one question is needed (--limit)");
    let package = Package::open(model)?;
    let mut out = std::io::stdout().lock();
    let mut failed = None;
    let figures = evaluate::phantom(&package, limit, seed, &mut |answer| {
        if json {
            let line = serde_json::json!({"type": "answer", "data": answer});
            failed = writeln!(out, "{line}").err();
        }
        failed.is_none()
    });
    if let Some(error) = failed {
        return Err(error).context("the results cannot be written to stdout");
    }
    let figures = figures?;
    if json {
        writeln!(out, "{}", serde_json::json!({"type": "finished", "data": figures}))?;
    } else {
        writeln!(out, "{figures}")?;
    }
    Ok(())
}
