//! The program `reinpath-worker`: holds a model and serves one program over stdin and stdout (see `worker.rs`).

use std::io;

use anyhow::Context;
use clap::Parser;
use reinpath_model::{device, frame, worker};
use tracing_subscriber::EnvFilter;

/// Holds a model for the program that starts it: frames over stdin and stdout, logs on stderr.
#[derive(Debug, Parser)]
#[command(name = "reinpath-worker", version)]
struct Arguments {
    /// Where to compute when a request does not say: cpu, cuda, cuda:N or metal
    #[arg(long, default_value = "cpu")]
    device: String,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_unset| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
    device::open(&arguments.device)?;
    let output = io::BufWriter::new(io::stdout().lock());
    match worker::serve(io::stdin(), output, &arguments.device) {
        // The other side has gone without a word, which is its right.
        Err(frame::Error::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        ended => ended.context("the worker ends"),
    }
}
