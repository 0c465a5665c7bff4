//! `reinpath-train run`, `resume` and `export`: arguments, signals, and the log beside the events.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use clap::Args;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::MakeWriterExt as _;

use crate::config::{RunConfig, SupervisedConfig, changed, read_changed, read_table};
use crate::dry_run::dry_run;
use crate::error::{Error, Result};
use crate::run_folder::RunFolder;
use crate::supervised::supervised;
use crate::three_stages;

/// The exit code of a run that was stopped as asked.
pub const INTERRUPTED: u8 = 130;

/// What is logged when `RUST_LOG` says nothing.
const LOGGED: &str = "warn,reinpath_training=info,reinpath_model=info";

/// Arguments of `run`.
#[derive(Args, Debug)]
pub struct RunArguments {
    config: PathBuf,
    /// Run folder; by default runs/ and the configuration's name
    #[arg(long)]
    run: Option<PathBuf>,
    /// Changes a setting, such as grpo.kl_weight=0.01; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// Looks through data, shapes, memory, disk and rewards instead of training; fails when the run could not begin
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    launch: LaunchArguments,
}

/// Arguments of `resume`.
#[derive(Args, Debug)]
pub struct ResumeArguments {
    /// Folder of the run
    run: PathBuf,
    #[command(flatten)]
    launch: LaunchArguments,
}

/// What a launcher adds: the window, or a person who queues runs.
#[derive(Args, Debug, Default)]
pub struct LaunchArguments {
    /// Leaves the session of who started it, so that the run outlives their window and terminal
    #[arg(long)]
    detached: bool,
    /// Folder of a run that is to end first, however it does; may be given several times
    #[arg(long, value_name = "RUN")]
    after: Vec<PathBuf>,
}

/// Arguments of `export`.
#[derive(Args, Debug)]
pub struct ExportArguments {
    /// Folder of the run, which may be at work
    run: PathBuf,
    /// One of the run's checkpoints, its folder or that folder's name; by default the newest
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
    /// Folder of the package, which must not be there yet
    #[arg(short)]
    out: PathBuf,
}

/// Begins a run, or looks through it.
///
/// # Errors
/// [`Error::Stopped`] when a signal or the file `stop` stopped it.
pub fn run(arguments: &RunArguments) -> Result<()> {
    let RunArguments { config: path, run, changes, dry_run: is_dry, launch } = arguments;
    launch.detach();
    let folder = RunFolder::new(run.clone().unwrap_or_else(|| default_folder(path)));
    // The demo's run on fields that are drawn, until it too is one of three stages.
    if is_supervised(path, changes)? {
        log(None)?;
        let config: SupervisedConfig = read_changed(path, changes)?;
        return supervised(&config, folder.path()).map(drop);
    }
    let config: RunConfig = read_changed(path, changes)?;
    if *is_dry {
        log(None)?;
        let could_begin = dry_run(config, &folder, &signals()?)?;
        let failed = || Error::Setting("the run could not begin; its findings are on stdout".to_owned());
        return could_begin.then_some(()).ok_or_else(failed);
    }
    folder.create()?;
    log(Some(&folder))?;
    three_stages::run_after(config, &folder, &launch.after, &signals()?).map(drop)
}

/// Goes on with a run.
///
/// # Errors
/// [`Error::Stopped`] when a signal or the file `stop` stopped it.
pub fn resume(arguments: &ResumeArguments) -> Result<()> {
    let ResumeArguments { run, launch } = arguments;
    launch.detach();
    let folder = RunFolder::new(run);
    // Before the log makes a folder that is none.
    folder.config()?;
    log(Some(&folder))?;
    three_stages::resume_after(&folder, &launch.after, &signals()?).map(drop)
}

/// Makes a package of a checkpoint.
///
/// # Errors
/// [`Error::Stopped`] when a signal stopped it.
pub fn export(arguments: &ExportArguments) -> Result<()> {
    let ExportArguments { run, checkpoint, out } = arguments;
    three_stages::export(&RunFolder::new(run), checkpoint.as_deref(), out, &signals()?).map(drop)
}

impl LaunchArguments {
    /// Begins a session of its own: the end of a window or a terminal, and Ctrl-C in it, are then no matter of the run's.
    fn detach(&self) {
        #[cfg(unix)]
        if self.detached
            && let Err(error) = rustix::process::setsid()
        {
            // It leads a session or a group already, as after `setsid`: the log does not run yet, and nothing is lost.
            tracing::debug!("no session of its own: {error}");
        }
        #[cfg(not(unix))]
        let _ = self.detached;
    }
}

/// The run folder of a configuration, where none is named.
pub fn default_folder(config: &Path) -> PathBuf {
    Path::new("runs").join(config.file_stem().unwrap_or_default())
}

/// Whether a configuration is one of phantom fields that are drawn during the run.
fn is_supervised(path: &Path, changes: &[String]) -> Result<bool> {
    let config = changed(read_table(path)?, changes)?;
    Ok(["fields", "captions_per_field", "questions_per_field"].iter().any(|key| config.get(key).is_some()))
}

/// Logs to stderr, and to the run folder's `log.txt`. Once per process.
pub fn log(folder: Option<&RunFolder>) -> Result<()> {
    let filter = EnvFilter::try_from_default_env();
    let Some(folder) = folder else {
        let filter = filter.unwrap_or_else(|_unset| EnvFilter::new("warn"));
        // Tests run several commands in one process: the first one's logger stays.
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init().ok();
        return Ok(());
    };
    let filter = filter.unwrap_or_else(|_unset| EnvFilter::new(LOGGED));
    let path = folder.log_file();
    let file = std::fs::File::options().append(true).create(true).open(&path).map_err(Error::io(&path))?;
    let both = std::io::stderr.and(Mutex::new(file));
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(both).try_init().ok();
    // A panic of a process that nobody looks at would be lost.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    Ok(())
}

/// Ctrl-C, SIGTERM and SIGHUP as a wish to stop; a second one ends the process at once, which a run survives. Once per
/// process.
fn signals() -> Result<Arc<AtomicBool>> {
    let asked = Arc::new(AtomicBool::new(false));
    let note = Arc::clone(&asked);
    let handler = move || {
        if note.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED.into());
        }
        tracing::info!("stopping after this step; again to stop at once, without a checkpoint");
    };
    ctrlc::set_handler(handler).map_err(|e| Error::Setting(format!("Ctrl-C cannot be caught: {e}")))?;
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        run: RunArguments,
    }

    #[test]
    fn settings_are_changed_by_as_many_arguments_as_needed() {
        let words = ["run", "a/demo.toml", "--set", "seed=2", "--set", "grpo.samples=8", "--dry-run"];
        let RunArguments { config, run, changes, dry_run, launch } =
            Command::try_parse_from(words).unwrap().run;
        assert!(!launch.detached && launch.after.is_empty());
        assert_eq!(default_folder(&config), Path::new("runs/demo"));
        assert_eq!((run, dry_run), (None, true));
        assert_eq!(changes, ["seed=2", "grpo.samples=8"]);
    }

    #[test]
    fn a_launcher_detaches_a_run_and_lets_it_wait_for_several() {
        let words = ["run", "a.toml", "--run", "r", "--detached", "--after", "p", "--after", "q"];
        let RunArguments { run, launch, .. } = Command::try_parse_from(words).unwrap().run;
        assert_eq!(run.as_deref(), Some(Path::new("r")));
        assert!(launch.detached);
        assert_eq!(launch.after, [Path::new("p"), Path::new("q")]);
    }

    #[test]
    fn the_older_kind_of_configuration_is_told_by_its_keys() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "seed = 1\nfields = 5\n").unwrap();
        assert!(is_supervised(file.path(), &[]).unwrap());
        std::fs::write(file.path(), "seed = 1\n[grpo]\nsamples = 4\n").unwrap();
        assert!(!is_supervised(file.path(), &[]).unwrap());
        assert!(is_supervised(file.path(), &["fields=3".to_owned()]).unwrap());
    }
}
