//! `reinpath-train`: the training programs on the command line.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use reinpath_training::evaluate_cli::{self, AblationsArgs, EvaluateArgs};
use reinpath_training::pretrain::pretrain;
use reinpath_training::supervised::supervised;
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
    /// Supervised training on staged answers about phantom tissue
    Run {
        config: PathBuf,
        /// Run folder; by default runs/ and the configuration's name
        #[arg(long)]
        run: Option<PathBuf>,
    },
    /// Asks a package the questions of a benchmark and scores the generated conclusions
    Evaluate(EvaluateArgs),
    /// Trains the arms of an ablation with several seeds and writes a table of what each reaches
    Ablations(AblationsArgs),
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
        Command::Evaluate(args) => evaluate_cli::evaluate(&args)?,
        Command::Ablations(args) => evaluate_cli::ablations(&args)?,
        Command::Phantom { count, seed, out } => phantom_set::write(count, seed, &out)?,
    }
    Ok(())
}

fn default_run(config: &Path) -> PathBuf {
    Path::new("runs").join(config.file_stem().unwrap_or_default())
}
