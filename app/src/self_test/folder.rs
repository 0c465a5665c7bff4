//! A folder of slides looked through, one after the other, as a reader of a day's cases does: what memory it leaves behind.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;

use super::offscreen::Offscreen;
use super::{Plan, WINDOW, parts};
use crate::window::command::{Command, ViewCommand};
use crate::window::workers::Opener;
use crate::window::{App, Parts, memory};

/// Opens each slide, looks at all of it and at its finest pixels, and closes it again. Memory of this process in MiB after each.
///
/// # Errors
/// When there is no graphics device, a slide cannot be read, or the system does not tell how much memory a process has.
pub fn look_through(slides: &[PathBuf], opener: Opener) -> anyhow::Result<Vec<f64>> {
    let stop = Arc::new(AtomicBool::new(false));
    let usual = parts(&Plan::of(PathBuf::new()), &stop);
    let mut window = Offscreen::new(Parts { opener, ..usual }, WINDOW)?;
    // What software needs that stands in for a graphics card is not ours.
    window.is_rasterising = false;
    window.app.commands().send(Command::AcceptNotice);
    let mut resident = Vec::with_capacity(slides.len());
    for slide in slides {
        window.app.commands().send(Command::Open(slide.clone()));
        window.until("the slide to open", App::is_view_complete)?;
        window.app.commands().view(ViewCommand::Scale(1.0, 1.0));
        window.frame()?;
        window.until("its finest pixels", App::is_view_complete)?;
        window.app.commands().send(Command::CloseShown);
        window.until("the slide to close", |app| app.state().slides.is_empty())?;
        resident.push(memory::resident_mib().context("the system does not tell a process's memory")?);
    }
    Ok(resident)
}
