//! `reinpath-train`: the training programs on the command line.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use reinpath_training::config;
use reinpath_training::dataset_cli::{self, DatasetCommand};
use reinpath_training::error::Error;
use reinpath_training::evaluate_cli::{self, AblationsArgs, EvaluateArgs};
use reinpath_training::phantom::Claim;
use reinpath_training::phantom_set::{self, PhantomPlan};
use reinpath_training::pretrain::pretrain;
use reinpath_training::rows::Split;
use reinpath_training::run_cli::{self, ExportArguments, INTERRUPTED, ResumeArguments, RunArguments};
use reinpath_training::run_folder::RunFolder;
use reinpath_training::tensorboard;

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
    /// Stage 0: makes encoders, tokenizer and a base decoder from nothing, on phantom tissue and perhaps real patches
    Pretrain {
        config: PathBuf,
        /// Run folder; by default runs/ and the configuration's name
        #[arg(long)]
        run: Option<PathBuf>,
        /// Changes a setting, such as tissue.folder=runs/demo-lung; may be given several times
        #[arg(long = "set", value_name = "KEY=VALUE")]
        changes: Vec<String>,
    },
    /// Takes a package through the three stages: alignment, cold start, GRPO
    Run(RunArguments),
    /// Goes on with a run that was stopped or killed, to the numbers of one that never was
    Resume(ResumeArguments),
    /// Makes a package of a run's checkpoint, also while the run goes on
    Export(ExportArguments),
    /// Writes a run's figures as event files for TensorBoard
    Tensorboard {
        /// Folder of the run
        run: PathBuf,
        /// Folder to write to
        #[arg(short)]
        out: PathBuf,
    },
    /// Asks a package the questions of a benchmark and scores the generated conclusions
    Evaluate(EvaluateArgs),
    /// Trains the arms of an ablation with several seeds and writes a table of what each reaches
    Ablations(AblationsArgs),
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
        /// Claim that no field shows and nothing states, such as pattern.mucin
        #[arg(long, value_name = "CLAIM", value_parser = evaluate_cli::claim)]
        without: Option<Claim>,
        /// Claim that every field shows; the questions ask for the tissue type
        #[arg(long, value_name = "CLAIM", value_parser = evaluate_cli::claim, conflicts_with = "without")]
        only: Option<Claim>,
        /// Folder to write to
        #[arg(short)]
        out: PathBuf,
    },
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
        Command::Pretrain { config, run, changes } => {
            let folder = run.unwrap_or_else(|| run_cli::default_folder(&config));
            pretrain(&config::read_changed(&config, &changes)?, &folder)?;
        }
        Command::Run(arguments) => run_cli::run(&arguments)?,
        Command::Resume(arguments) => run_cli::resume(&arguments)?,
        Command::Export(arguments) => run_cli::export(&arguments)?,
        Command::Tensorboard { run, out } => {
            let scalars = tensorboard::write(&RunFolder::new(run), &out)?;
            tracing::info!("{scalars} scalars were written to {}", out.display());
        }
        Command::Evaluate(args) => evaluate_cli::evaluate(&args)?,
        Command::Ablations(args) => evaluate_cli::ablations(&args)?,
        Command::Dataset(command) => dataset_cli::execute(command)?,
        Command::Phantom { count, seed, questions, captions, split, without, only, out } => {
            let plan = PhantomPlan { count, seed, questions, captions, split, without, only };
            phantom_set::write(&plan, &out)?;
        }
    }
    Ok(())
}
