//! `reinpath demo-slide`: where the demo slide is, drawing it first if need be.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use crossbeam_channel::TryRecvError;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Failure, interrupts};
use crate::demo_slide;

/// Steps of the progress bar.
const STEPS: u64 = 1000;

/// Prints the path of the demo slide.
pub(super) fn demo_slide() -> Result<(), Failure> {
    let interrupted = interrupts(Arc::new(AtomicBool::new(true)))?;
    let style = ProgressStyle::with_template("drawing the demo slide {bar:40} {percent} % {eta} left")
        .context("the progress bar is misdescribed")?;
    // Draws on stderr, and nothing where that is no terminal.
    let bar = ProgressBar::new(STEPS).with_style(style);
    let made = demo_slide::ensure(&mut |done| {
        bar.set_position((done * STEPS as f32) as u64);
        interrupted.try_recv() == Err(TryRecvError::Empty)
    });
    bar.finish_and_clear();
    let path = match made {
        Ok(path) => path,
        Err(error) if error.is_cancelled() => return Err(Failure::Interrupted),
        Err(error) => return Err(Failure::Failed(error.into())),
    };
    let mut line = path.as_os_str().as_encoded_bytes().to_vec();
    line.push(b'\n');
    io::stdout().lock().write_all(&line).context("cannot write to stdout")?;
    Ok(())
}
