//! The window.

use std::path::PathBuf;

/// Opens the window with `slides` and returns when it is closed.
///
/// # Errors
/// Always, for now: this build has no window yet.
pub fn run(_slides: Vec<PathBuf>) -> anyhow::Result<()> {
    anyhow::bail!("this build has no window yet, use a command: reinpath --help")
}
