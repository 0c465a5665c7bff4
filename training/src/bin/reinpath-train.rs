//! `reinpath-train`: the training programs on the command line.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use reinpath_model::package::Package;
use reinpath_training::error::Error;
use reinpath_training::evaluate::{self, HELD_OUT_SEED};
use reinpath_training::pretrain::pretrain;
use reinpath_training::run_cli::{self, INTERRUPTED, ResumeArguments, RunArguments};
use reinpath_training::{config, phantom_set};

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
    /// Takes a package through the three stages: alignment, cold start, GRPO
    Run(RunArguments),
    /// Goes on with a run that was stopped or killed, to the numbers of one that never was
    Resume(ResumeArguments),
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
    /// Writes phantom fields with captions, questions and truth
    Phantom {
        #[arg(long)]
        count: usize,
        #[arg(long)]
        seed: u64,
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
    match execute(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        // Asked for, so that there is nothing to complain of; the run's last event tells where it stands.
        Err(error) if matches!(error.downcast_ref(), Some(Error::Stopped)) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            // Nothing is left to be done when stderr is closed.
            writeln!(std::io::stderr(), "{error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> anyhow::Result<()> {
    if !matches!(command, Command::Run(_) | Command::Resume(_)) {
        // These have a log of their own.
        run_cli::log(None)?;
    }
    match command {
        Command::Pretrain { config, run } => {
            pretrain(&config::read(&config)?, &run.unwrap_or_else(|| run_cli::default_folder(&config)))?;
        }
        Command::Run(arguments) => run_cli::run(&arguments)?,
        Command::Resume(arguments) => run_cli::resume(&arguments)?,
        Command::Evaluate { model, benchmark: Benchmark::Phantom, limit, seed, json } => {
            evaluate_phantom(&model, limit, seed, json)?;
        }
        Command::Phantom { count, seed, out } => phantom_set::write(count, seed, &out)?,
    }
    Ok(())
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
