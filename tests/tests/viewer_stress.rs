//! Files of strangers: damaged, cut off anywhere, changed in one byte. Each gives a picture or one clear sentence, within 5 s, and neither a
//! crash of this process nor its memory.
//!
//! `REINPATH_STRESS=full` makes every cut and change; without it, one in twenty.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use reinpath::slide::{SlideHandle, TileId};
use reinpath::viewer::tile_cache::SlideKey;
use reinpath::viewer::tile_engine::{EngineSettings, TileEngine, Wake};
use reinpath::window::memory::resident_mib;
use reinpath_tests::seeded::Seeded;
use reinpath_tests::slide_writer::{Chroma, Codec, SlideSpec, write};
use reinpath_tests::{program, shared};

/// What the reading process may take without a sign of life, as in the window.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same with what a busy machine adds.
const LONGEST: Duration = Duration::from_secs(7);
/// A coarsest level larger than this is not read whole.
const MOST_OVERVIEW: u64 = 4_000_000;
/// What this process may have gained in the end: caches, and nothing that grows with the number of files.
const MOST_GAINED_MIB: f64 = 300.0;

/// Opens files and looks at them as the window does.
struct Reader {
    engine: TileEngine,
    opened: u64,
    /// Files that gave a picture, and files that gave a sentence.
    pictures: usize,
    refused: usize,
    memory_before: Option<f64>,
}

impl Reader {
    fn new() -> Self {
        let window = thread::current();
        let wake: Wake = Arc::new(move || window.unpark());
        let engine = TileEngine::start(EngineSettings::default(), wake).unwrap();
        Self { engine, opened: 0, pictures: 0, refused: 0, memory_before: resident_mib() }
    }

    fn look_at(&mut self, path: &Path, what: &str) {
        let begun = Instant::now();
        let program = program("reinpath");
        let opened = SlideHandle::open_with_command(program, &["slide-server".into()], path, PATIENCE);
        in_time(begun, what);
        let handle = match opened {
            Ok(handle) => handle,
            Err(error) => {
                self.refused += 1;
                check_sentence(&error.to_string(), path, what);
                return;
            }
        };
        self.pictures += 1;
        let coarsest = *handle.info().levels.last().unwrap();
        if u64::from(coarsest.width) * u64::from(coarsest.height) <= MOST_OVERVIEW {
            let begun = Instant::now();
            let level = handle.info().levels.len() as u32 - 1;
            if let Err(error) = handle.read_region(level, 0, 0, coarsest.width, coarsest.height) {
                check_sentence(&error.to_string(), path, what);
            }
            in_time(begun, what);
        }
        self.take_tiles(&handle, path, what);
    }

    /// The tiles in the four corners, through the engine.
    fn take_tiles(&mut self, handle: &SlideHandle, path: &Path, what: &str) {
        self.opened += 1;
        let key = SlideKey(self.opened);
        let (columns, rows) = handle.grid().tiles(0);
        let (right, bottom) = (columns.saturating_sub(1), rows.saturating_sub(1));
        let corners = [(0, 0), (right, 0), (0, bottom), (right, bottom)];
        let mut missing: BTreeSet<TileId> =
            corners.map(|(column, row)| TileId { level: 0, column, row }).into();
        self.engine.open(key, handle);
        let wanted: Vec<TileId> = missing.iter().copied().collect();
        self.engine.want(key, &wanted);
        let begun = Instant::now();
        while !missing.is_empty() {
            // Each tile may cost the reading process its life, which it has twice.
            assert!(begun.elapsed() < 4 * LONGEST, "{what}: {missing:?} never came");
            let arrived = self.engine.take(16);
            if arrived.is_empty() {
                thread::park_timeout(Duration::from_millis(20));
            }
            for tile in arrived.into_iter().filter(|tile| tile.key == key) {
                missing.remove(&tile.tile);
                if let Err(error) = tile.pixels {
                    check_sentence(&error.to_string(), path, what);
                }
            }
        }
        self.engine.close(key);
    }

    #[expect(clippy::print_stderr, reason = "how often each happened is worth knowing")]
    fn finish(self, what: &str) {
        let gained = resident_mib().zip(self.memory_before).map(|(now, before)| now - before);
        eprintln!("{what}: {} pictures, {} sentences, {gained:?} MiB gained", self.pictures, self.refused);
        assert!(gained.is_none_or(|gained| gained < MOST_GAINED_MIB), "{what}: {gained:?} MiB gained");
    }
}

fn in_time(begun: Instant, what: &str) {
    assert!(begun.elapsed() < LONGEST, "{what} took {:.1} s", begun.elapsed().as_secs_f64());
}

/// One line that ends with the file.
fn check_sentence(sentence: &str, path: &Path, what: &str) {
    let name = path.to_string_lossy();
    assert!(sentence.ends_with(&*name) && sentence.len() > name.len() + 10, "{what}: {sentence}");
    assert!(!sentence.contains('\n'), "{what}: {sentence}");
}

/// How many of `count` are made in this run.
fn of(count: usize) -> usize {
    if std::env::var("REINPATH_STRESS").is_ok_and(|value| value == "full") { count } else { count / 20 }
}

/// Small slides of each kind that is decoded in this process, written for the test.
fn small_slides(folder: &Path) -> Vec<PathBuf> {
    let spec = SlideSpec { width: 700, height: 500, levels: 2, distinct_tiles: 5, ..SlideSpec::large_jpeg() };
    let rgb = Codec::Jpeg { quality: 70, chroma: Chroma::Rgb };
    let kinds = [
        ("aperio.svs", spec.clone()),
        ("rgb.tif", SlideSpec { codec: rgb, aperio: false, tile: 240, ..spec.clone() }),
        ("deflate.tif", SlideSpec { codec: Codec::Deflate, aperio: false, tile: 64, is_big: true, ..spec }),
    ];
    kinds
        .map(|(name, spec)| {
            let path = folder.join(name);
            write(&path, &spec).unwrap();
            path
        })
        .into()
}

#[test]
fn damaged_files_give_a_picture_or_a_sentence() {
    let Some(folder) = shared("data/slides/corrupt") else { return };
    let mut reader = Reader::new();
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "{files:?}");
    for file in files {
        reader.look_at(&file, &file.file_name().unwrap().to_string_lossy());
    }
    assert!(reader.refused > 5, "damaged files are refused");
    reader.finish("damaged files");
}

#[test]
fn slides_that_were_cut_off_give_a_picture_or_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let mut slides = small_slides(folder.path());
    // Those that are there take the places of written ones.
    let real = [
        "data/slides/aperio/CMU-1-Small-Region.svs",
        "data/slides/derived/CMU-1-Small-Region_pyramid4_jpeg.tif",
        "data/slides/ome-tiff/OS-1-detail.ome.tif",
    ];
    for (slot, path) in slides.iter_mut().zip(real) {
        *slot = shared(path).unwrap_or_else(|| slot.clone());
    }
    let (mut reader, mut seeded) = (Reader::new(), Seeded::new(200));
    for slide in slides {
        let whole = fs::read(&slide).unwrap();
        let name = slide.file_name().unwrap().to_string_lossy().into_owned();
        let cut = folder.path().join(format!("cut-{name}"));
        for _ in 0..of(200) {
            let length = seeded.below(whole.len() as u64) as usize;
            fs::write(&cut, &whole[..length]).unwrap();
            reader.look_at(&cut, &format!("{name} cut off after {length} bytes"));
        }
    }
    reader.finish("cut off slides");
}

#[test]
fn slides_with_a_changed_byte_give_a_picture_or_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let mut slides = small_slides(folder.path());
    slides.extend(shared("data/slides/openslide-python/boxes.tiff"));
    let (mut reader, mut seeded) = (Reader::new(), Seeded::new(2000));
    for turn in 0..of(2000) {
        let slide = &slides[turn % slides.len()];
        let mut bytes = fs::read(slide).unwrap();
        let length = bytes.len() as u64;
        // Directories lie at the end of the slides written here; most bytes are pixels.
        let at = match turn / slides.len() % 2 {
            0 => seeded.below(length),
            _ => length - 1 - seeded.below(length.min(3000)),
        } as usize;
        bytes[at] ^= 1 + seeded.below(255) as u8;
        let name = slide.file_name().unwrap().to_string_lossy().into_owned();
        let changed = folder.path().join(format!("changed-{name}"));
        fs::write(&changed, &bytes).unwrap();
        reader.look_at(&changed, &format!("{name} with byte {at} = {}", bytes[at]));
    }
    assert!(reader.pictures > 0, "a changed pixel leaves a slide a slide");
    reader.finish("changed slides");
}
