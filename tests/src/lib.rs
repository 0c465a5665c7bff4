//! Tests that cross crates live in `tests/`; this library only holds what they share.

use std::path::{Path, PathBuf};

pub mod seeded;
pub mod slide_writer;

/// The workspace's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_path_buf()
}

/// A program of this workspace, as built into `target/<profile>`.
///
/// # Panics
/// When it is not built: a test that skipped then would pass without having tested anything.
pub fn program(name: &str) -> PathBuf {
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    // The test itself lies in `target/<profile>/deps`, or elsewhere when cargo has a build directory of its own.
    let own = std::env::current_exe().unwrap_or_default();
    let beside = own.parent().and_then(Path::parent).map(|folder| folder.join(&file));
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let in_tree = root().join("target").join(profile).join(&file);
    let found = [beside, Some(in_tree)].into_iter().flatten().find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not built: run `cargo build --workspace --all-targets` first"))
}

/// A file of the test data beside the checkout; `None`, with a printed reason, where it is absent.
pub fn shared(path: &str) -> Option<PathBuf> {
    let path = root().join("..").join("shared").join(path);
    if path.exists() {
        return Some(path);
    }
    skipped(&path);
    None
}

#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn skipped(path: &Path) {
    eprintln!("skipped: there is no {}", path.display());
}
