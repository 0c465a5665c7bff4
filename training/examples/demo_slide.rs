//! Writes the demo slide and its truth, and says how long it took.
//!
//! `cargo run --release -p reinpath-training --no-default-features --example demo_slide -- OUT.tiff`

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use reinpath_training::phantom::write_demo_slide;

fn main() -> anyhow::Result<()> {
    let path = PathBuf::from(std::env::args().nth(1).context("name the TIFF to write")?);
    let begin = Instant::now();
    write_demo_slide(&path, &mut |_| true)?;
    let bytes = std::fs::metadata(&path)?.len();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:.1} s, {:.1} MB", begin.elapsed().as_secs_f64(), bytes as f64 / 1e6)?;
    Ok(())
}
