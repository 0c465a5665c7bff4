//! A folder of 100 slides, looked through one after the other, leaves the window's memory flat.

#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reinpath::self_test::look_through;
use reinpath::slide::SlideHandle;
use reinpath_tests::program;
use reinpath_tests::slide_writer::{SlideSpec, write};

const SLIDES: usize = 100;
/// After so many every cache is as full as it becomes. Tiles that stayed would add 3 MiB a slide after it.
const SETTLED: usize = 30;
/// Slides over which a mean is taken: with each of them memory goes up and down by some MiB.
const AROUND: usize = 10;
const MOST_GROWTH: f64 = 1.1;

#[test]
fn a_hundred_slides_one_after_the_other_leave_memory_flat() {
    let folder = tempfile::tempdir().unwrap();
    let different: Vec<PathBuf> = (0..5)
        .map(|seed| {
            let spec = SlideSpec {
                width: 2400,
                height: 1800,
                levels: 2,
                distinct_tiles: 12,
                seed,
                ..SlideSpec::large_jpeg()
            };
            let path = folder.path().join(format!("original-{seed}.svs"));
            write(&path, &spec).unwrap();
            path
        })
        .collect();
    let slides: Vec<PathBuf> = (0..SLIDES)
        .map(|number| {
            let path = folder.path().join(format!("slide-{number:03}.svs"));
            std::fs::copy(&different[number % different.len()], &path).unwrap();
            path
        })
        .collect();
    let opener = Arc::new(|path: &Path| {
        let program = program("reinpath");
        SlideHandle::open_with_command(program, &["slide-server".into()], path, Duration::from_secs(20))
    });
    let resident = look_through(&slides, opener).unwrap();
    let mean = |from: usize| resident[from..from + AROUND].iter().sum::<f64>() / AROUND as f64;
    let (settled, end) = (mean(SETTLED), mean(SLIDES - AROUND));
    let peak = resident.iter().copied().fold(0.0, f64::max);
    eprintln!("after {SETTLED} slides {settled:.0} MiB, at most {peak:.0} MiB, after {SLIDES} {end:.0} MiB");
    assert!(peak <= settled.min(end) * MOST_GROWTH, "{resident:?}");
}
