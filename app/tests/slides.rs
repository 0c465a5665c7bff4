//! Slides as users have them: every file of `../shared/data/slides` either opens with the right pixels or is refused by a
//! sentence that says what it is, and a reading process that hangs or dies harms nothing else.
//!
//! What OpenSlide must give was measured with openslide-python (`OPENSLIDE_REFERENCE.json`); what plain images must give
//! was computed with numpy (`golden/plain_slides.py`). Without `../shared` the tests of files skip, and say so.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests panic where something is wrong and print why they skip"
)]

#[path = "slides/child.rs"]
mod child;
#[path = "slides/command_line.rs"]
mod command_line;
#[path = "slides/direct.rs"]
mod direct;
#[path = "slides/plain.rs"]
mod plain;
#[path = "slides/reference.rs"]
mod reference;
#[path = "slides/refused.rs"]
mod refused;

use std::path::{Path, PathBuf};
use std::time::Duration;

use image::RgbImage;
use reinpath::slide::{Error, SlideHandle};

/// The folder of test data; `None` (with the reason on stderr) where it is absent.
fn data() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: there is no {}", folder.display());
    None
}

/// Opens a slide with the program of this build as its reading process. With more patience than the window has: here several of
/// them start at once, on a machine that may have other work; what patience means is tested with scripts.
fn open(path: &Path) -> Result<SlideHandle, Error> {
    SlideHandle::open_with_command(
        env!("CARGO_BIN_EXE_reinpath"),
        &["slide-server".into()],
        path,
        Duration::from_secs(20),
    )
}

/// Mean and standard deviation of each channel.
fn statistics(image: &RgbImage) -> ([f64; 3], [f64; 3]) {
    let n = f64::from(image.width()) * f64::from(image.height());
    let (mut sums, mut squares) = ([0_u64; 3], [0_u64; 3]);
    for pixel in image.as_raw().chunks_exact(3) {
        for channel in 0..3 {
            let value = u64::from(pixel[channel]);
            sums[channel] += value;
            squares[channel] += value * value;
        }
    }
    let mean = sums.map(|sum| sum as f64 / n);
    (
        mean,
        std::array::from_fn(|channel| (squares[channel] as f64 / n - mean[channel].powi(2)).max(0.0).sqrt()),
    )
}

/// Panics unless both triples agree within `tolerance`.
fn assert_near(what: &str, found: [f64; 3], expected: [f64; 3], tolerance: f64) {
    for (found_one, expected_one) in found.iter().zip(expected) {
        assert!(
            (found_one - expected_one).abs() <= tolerance,
            "{what}: {found:.3?} instead of {expected:.3?} (± {tolerance})"
        );
    }
}

/// Runs `check` on every item on two threads (children start in parallel) and panics with all failures together.
fn check_all<T: Sync>(items: &[T], check: impl Fn(&T) -> Result<(), String> + Sync) {
    let failures = std::sync::Mutex::new(Vec::new());
    let (first, second) = items.split_at(items.len() / 2);
    std::thread::scope(|scope| {
        for half in [first, second] {
            let (failures, check) = (&failures, &check);
            scope.spawn(move || {
                for item in half {
                    if let Err(failure) = check(item) {
                        failures.lock().unwrap().push(failure);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), items.len(), failures.join("\n"));
}
