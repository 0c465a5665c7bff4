//! The program `reinpath-worker`: holds a model and serves one program over stdin and stdout (see `worker.rs`); or
//! checks, converts or puts together a package, for `reinpath model`.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use reinpath_model::assembly::{self, Parts};
use reinpath_model::package::{GridRule, Package};
use reinpath_model::reinpath::ReinPath;
use reinpath_model::weights::Size;
use reinpath_model::weights::quantise::Recipe;
use reinpath_model::{check, convert, device, frame, worker};
use tracing_subscriber::EnvFilter;

/// A model allocates and frees large tensors all the time; the system's allocator returns them to the kernel each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code after Ctrl-C.
const INTERRUPTED: i32 = 130;

/// Holds a model for the program that starts it: frames over stdin and stdout, logs on stderr.
#[derive(Debug, Parser)]
#[command(name = "reinpath-worker", version)]
struct Arguments {
    /// Where to compute when a request does not say: cpu, cuda, cuda:N or metal
    #[arg(long, default_value = "cpu")]
    device: String,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look a package through and say what it takes
    Check {
        package: PathBuf,
        /// Load it, too
        #[arg(long)]
        load: bool,
    },
    /// Write a package with its language model quantised
    Convert {
        package: PathBuf,
        #[arg(long, value_parser = ["q8_0", "q4_k_m"])]
        to: String,
        #[arg(short, long)]
        output: PathBuf,
    },
    /// Put a package together from published files
    Add(Box<AddArguments>),
}

#[derive(Debug, Args)]
struct AddArguments {
    name: String,
    #[arg(long)]
    language: PathBuf,
    #[arg(long)]
    vision: Option<PathBuf>,
    #[arg(long)]
    conch: Option<PathBuf>,
    #[arg(long)]
    uni: Option<PathBuf>,
    #[arg(long)]
    projector: Option<PathBuf>,
    #[arg(long = "adapter")]
    adapters: Vec<PathBuf>,
    /// [default: uni-at-conch]
    #[arg(long, value_parser = ["uni-at-conch", "conch-at-uni", "pooled"])]
    grid: Option<String>,
    #[arg(long)]
    tokenizer: Option<PathBuf>,
    #[arg(long)]
    licence: Option<String>,
    #[arg(long)]
    copy: bool,
    #[arg(short, long)]
    output: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_unset| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
    let (name, done) = match &arguments.command {
        None => ("reinpath-worker", serve(&arguments.device)),
        Some(Command::Check { package, load }) => ("reinpath", checked(package, *load, &arguments.device)),
        Some(Command::Convert { package, to, output }) => ("reinpath", converted(package, to, output)),
        Some(Command::Add(arguments)) => ("reinpath", added(arguments)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With stderr closed there is nowhere left to say so.
            drop(writeln!(io::stderr().lock(), "{name}: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(device: &str) -> anyhow::Result<()> {
    device::open(device)?;
    let output = io::BufWriter::new(io::stdout().lock());
    match worker::serve(io::stdin(), output, device) {
        // The other side has gone without a word, which is its right.
        Err(frame::Error::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        ended => ended.context("the worker ends"),
    }
}

fn checked(folder: &Path, load: bool, device: &str) -> anyhow::Result<()> {
    let package = Package::open(folder)?;
    say_that_it_fits(&package, check::check(&package)?)?;
    if !load {
        return Ok(());
    }
    let model = ReinPath::load(&package, &device::open(device)?, &mut |_, _| true)?;
    if let Some(resident) = device::resident() {
        let files: u64 =
            package.files().filter_map(|name| Some(std::fs::metadata(package.file(&name)).ok()?.len())).sum();
        let (resident, files) = (resident as f64 / 1e6, files as f64 / 1e6);
        let times = resident / files;
        writeln!(
            io::stdout().lock(),
            "Loaded, in {}: {resident:.1} MB of main memory, {times:.2} times the package's {files:.1} MB.",
            model.precision()
        )?;
    }
    Ok(())
}

fn say_that_it_fits(package: &Package, size: Size) -> anyhow::Result<()> {
    let (parameters, memory) = (size.parameters as f64 / 1e6, size.memory as f64 / 1e6);
    let name = &package.manifest.name;
    writeln!(
        io::stdout().lock(),
        "{name} fits together: {parameters:.1} million parameters, {memory:.1} MB in memory."
    )?;
    Ok(())
}

fn added(arguments: &AddArguments) -> anyhow::Result<()> {
    if arguments.grid.is_some() && assembly::has_own_eyes(&arguments.language) {
        return Err(assembly::Error::OwnEyes("--grid").into());
    }
    let grid = match arguments.grid.as_deref() {
        Some("conch-at-uni") => GridRule::ConchAtUni,
        Some("pooled") => GridRule::Pooled,
        _ => GridRule::UniAtConch,
    };
    let parts = Parts {
        name: arguments.name.clone(),
        language: arguments.language.clone(),
        vision: arguments.vision.clone(),
        conch: arguments.conch.clone(),
        uni: arguments.uni.clone(),
        projector: arguments.projector.clone(),
        adapters: arguments.adapters.clone(),
        grid,
        tokenizer: arguments.tokenizer.clone(),
        licence: arguments.licence.clone(),
        copy: arguments.copy,
    };
    let stopped = stopped_by_ctrl_c()?;
    let (package, size) = match assembly::add_unless(&parts, &arguments.output, &stopped) {
        Err(assembly::Error::Cancelled) => std::process::exit(INTERRUPTED),
        added => added?,
    };
    say_that_it_fits(&package, size)?;
    let mut out = io::stdout().lock();
    if !package.manifest.description.is_empty() {
        writeln!(out, "{}", package.manifest.description)?;
    }
    if let Some(terms) = &package.manifest.terms {
        writeln!(out, "{}", terms.allows)?;
    }
    writeln!(out, "{}", package.folder.display())?;
    Ok(())
}

/// What Ctrl-C sets from now on instead of ending the process, so that nothing half is left. Once per process.
fn stopped_by_ctrl_c() -> anyhow::Result<Arc<AtomicBool>> {
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&stopped);
    ctrlc::set_handler(move || stop.store(true, Ordering::Relaxed)).context("Ctrl-C cannot be caught")?;
    Ok(stopped)
}

fn converted(folder: &Path, to: &str, output: &Path) -> anyhow::Result<()> {
    let recipe = Recipe::ALL.iter().find(|recipe| recipe.name() == to).context("an unknown precision")?;
    let stopped = stopped_by_ctrl_c()?;
    let is_seen = io::stderr().is_terminal();
    let mut progress = |done: f32| {
        if is_seen {
            // With stderr closed there is nobody to see it.
            drop(write!(io::stderr().lock(), "\rquantising {:3.0} %", 100.0 * done));
        }
        !stopped.load(Ordering::Relaxed)
    };
    let written = convert::quantised_package(&Package::open(folder)?, *recipe, output, &mut progress);
    if is_seen {
        drop(writeln!(io::stderr().lock()));
    }
    if stopped.load(Ordering::Relaxed) && written.is_err() {
        std::process::exit(INTERRUPTED);
    }
    written?;
    writeln!(io::stdout().lock(), "{}", output.display())?;
    Ok(())
}
