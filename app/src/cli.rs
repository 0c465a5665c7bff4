//! The command line of `reinpath` (`design/command-line.md`): no command opens the window.
//!
//! Exit codes: 0 done, 1 failed (one sentence on stderr), 2 wrong usage, 130 ended by Ctrl-C.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use crossbeam_channel::{Receiver, bounded};

use crate::{slide, window};

mod annotations;
mod ask;
mod demo;
mod model;
mod replay;
mod review;
mod review_export;
mod self_test;
mod slide_commands;

/// Ask a slide questions and watch the answer come: observation, analysis, conclusion. For research use only.
#[derive(Debug, Parser)]
#[command(name = "reinpath", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Slides to open in the window
    #[arg(value_name = "SLIDE")]
    slides: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Files of annotations: what one holds, and ASAP's or QuPath's as GeoJSON
    Annotations(annotations::AnnotationsArguments),
    /// Ask a model about regions of a slide: observation, analysis, conclusion
    Ask(Box<ask::AskArguments>),
    /// Print where the demo slide is, drawing it first if need be
    DemoSlide,
    /// Model packages: which there are, what one is, whether it fits together, the same one quantised, a new one from
    /// published files, and downloads for it
    Model(model::ModelArguments),
    /// What was kept of answers and verdicts: whether the log of verdicts is whole, a list of cases, and exports
    Review(review::ReviewArguments),
    /// Say what a slide is: format, levels, microns per pixel, objective, properties, associated images
    Slide(slide_commands::SlideArguments),
    /// Measure how fast the window is on this machine
    SelfTest(self_test::SelfTestArguments),
    /// Write a region of a slide as a PNG
    Tile(slide_commands::TileArguments),
    /// Read one slide for another process (the window and the other commands start this themselves)
    #[command(hide = true)]
    SlideServer {
        #[arg(value_name = "SLIDE")]
        path: PathBuf,
        /// Make every read wait so long, to measure what a slow disk does
        #[arg(long, value_name = "MS", default_value_t = 0)]
        read_delay_ms: u64,
    },
}

/// Why a command did not do its work.
#[derive(Debug)]
pub enum Failure {
    /// Exit code 2: the arguments make no sense together.
    Usage(String),
    /// Exit code 1.
    Failed(anyhow::Error),
    /// Exit code 130: ended by Ctrl-C.
    Interrupted,
    /// Another program did the work, failed and said why; its exit code.
    Told(i32),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<slide::Error> for Failure {
    fn from(error: slide::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Does what this process was started for and says how it ended.
pub fn run() -> ExitCode {
    run_with(std::env::args_os())
}

fn run_with(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no failures; clap writes each where it belongs. A closed pipe is nobody to tell.
            drop(error.print());
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    log_to_stderr();
    let result = match arguments.command {
        None => window::run(arguments.slides).map_err(Failure::from),
        Some(Command::Annotations(arguments)) => annotations::annotations(&arguments),
        Some(Command::Ask(arguments)) => ask::ask(&arguments),
        Some(Command::DemoSlide) => demo::demo_slide(),
        Some(Command::Model(arguments)) => model::model(&arguments),
        Some(Command::Review(arguments)) => review::review(&arguments),
        Some(Command::Slide(arguments)) => slide_commands::slide(&arguments),
        Some(Command::SelfTest(arguments)) => self_test::self_test(&arguments),
        Some(Command::Tile(arguments)) => slide_commands::tile(&arguments),
        Some(Command::SlideServer { path, read_delay_ms }) => {
            slide::server::serve(&path, Duration::from_millis(read_delay_ms))
                .map_err(|error| Failure::Failed(error.into()))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(sentence)) => {
            complain(&sentence);
            ExitCode::from(2)
        }
        Err(Failure::Failed(error)) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
        Err(Failure::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(Failure::Told(code)) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
    }
}

/// The exit code of a command that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Ctrl-C and its like, one message each, instead of the end of the process. Until `is_heard` is set nobody takes messages,
/// and the process ends at once; its children end with it, as their stdin closes. Once per process.
fn interrupts(is_heard: Arc<AtomicBool>) -> Result<Receiver<()>, Failure> {
    let (sender, interrupted) = bounded(1);
    let note = move || {
        if !is_heard.load(Ordering::Relaxed) {
            std::process::exit(INTERRUPTED.into());
        }
        // With one message waiting another says nothing new.
        if sender.try_send(()).is_err() {
            tracing::debug!("Ctrl-C again");
        }
    };
    ctrlc::set_handler(note).context("Ctrl-C cannot be caught")?;
    Ok(interrupted)
}

fn complain(sentence: &str) {
    // With stderr closed there is nowhere left to say so.
    drop(writeln!(io::stderr().lock(), "reinpath: {sentence}"));
}

/// Logs go to stderr: stdout belongs to the output. `RUST_LOG` widens them; OpenSlide's callers need only warnings.
fn log_to_stderr() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_unset| EnvFilter::new("warn"));
    // Tests run several commands in one process: the first one's logger stays.
    drop(tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).try_init());
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn slides_without_a_command_are_for_the_window() {
        let parsed = Arguments::try_parse_from(["reinpath", "a.svs", "b.svs"]).unwrap();
        assert!(parsed.command.is_none());
        assert_eq!(parsed.slides.len(), 2);
        assert!(Arguments::try_parse_from(["reinpath", "tile", "a.svs"]).is_err());
    }
}
