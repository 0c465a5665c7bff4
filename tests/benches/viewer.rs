//! How fast the viewer is on this machine: tiles a second through the engine and by its decoders alone, and the paths of
//! `reinpath self-test`. A JSON object a line on stdout.
//!
//!     cargo bench -p reinpath-tests --bench viewer                       a small selection, within two minutes
//!     cargo bench -p reinpath-tests --bench viewer -- tiles              decoders, engine and child, one and two threads
//!     cargo bench -p reinpath-tests --bench viewer -- paths              every path that the viewer promises something about
//!     … --strict                                                         exit code 1 where a promise is not kept
//!
//! `tests/peers/viewer.py` starts it as `raw|engine|child SLIDE THREADS ROUNDS`. Large slides are written once, into `target/viewer`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use reinpath::slide::{DirectTiles, SlideHandle, TileId};
use reinpath::viewer::tile_cache::SlideKey;
use reinpath::viewer::tile_engine::{EngineSettings, TileEngine, Wake};
use reinpath_tests::root;
use reinpath_tests::slide_writer::{SlideSpec, write};
use serde_json::{Value, json};

/// Tiles of a round: about a second of one decoder.
const TILES: usize = 4096;
/// The child is slower, and its rate is known for comparison only.
const TILES_OF_CHILD: usize = 1024;
const ROUNDS: usize = 5;
/// Tiles that the engine is asked for at a time: more than are in flight, less than its cache holds.
const WISHES: usize = 128;
/// How long the consumer of the engine's tiles does something else after it took some: much less than a frame.
const BETWEEN_TAKES: Duration = Duration::from_millis(1);
/// Nothing that is measured takes longer.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

fn main() -> anyhow::Result<ExitCode> {
    let all: Vec<String> = std::env::args().skip(1).collect();
    // This program is the one that reads slides and measures paths, too: it need not be built apart.
    if matches!(all.first().map(String::as_str), Some("slide-server" | "self-test")) {
        return Ok(reinpath::cli::run());
    }
    let is_strict = all.iter().any(|argument| argument == "--strict");
    let words: Vec<&str> = all.iter().map(String::as_str).filter(|word| !word.starts_with("--")).collect();
    let mut promises = Promises::default();
    match words.as_slice() {
        [what @ ("raw" | "engine" | "child"), slide, threads, rounds] => {
            let slide = Slide::open(Path::new(slide))?;
            let samples = slide.rates(what, threads.parse()?, rounds.parse()?)?;
            say(&json!({"what": what, "samples": samples}))?;
        }
        ["tiles"] => tiles(&mut promises)?,
        ["paths"] => paths(&mut promises)?,
        [] if all.iter().any(|argument| argument == "--bench") => {
            tiles(&mut promises)?;
            path(
                &mut promises,
                "large JPEG, cold",
                &large("jpeg", &SlideSpec::large_jpeg())?,
                &["--cold", "--jumps", "60"],
            )?;
        }
        // `cargo test` starts it too, and measures nothing.
        _ => say(&json!({"usage": "see the head of tests/benches/viewer.rs"}))?,
    }
    for broken in &promises.broken {
        say(&json!({"what": "broken", "promise": broken}))?;
    }
    Ok(if is_strict && !promises.broken.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn say(line: &Value) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{line}")?)
}

/// What the viewer must keep, and did not.
#[derive(Default)]
struct Promises {
    broken: Vec<String>,
}

impl Promises {
    fn at_most(&mut self, what: &str, found: Option<f64>, most: f64) {
        let kept = found.is_some_and(|found| found <= most);
        self.note(kept, format!("{what}: {found:?} instead of at most {most}"));
    }

    fn at_least(&mut self, what: &str, found: f64, least: f64) {
        self.note(found >= least, format!("{what}: {found:.3} instead of at least {least}"));
    }

    fn note(&mut self, is_kept: bool, sentence: String) {
        if !is_kept {
            self.broken.push(sentence);
        }
    }
}

/// A large slide, written when it is not there yet.
fn large(name: &str, spec: &SlideSpec) -> anyhow::Result<PathBuf> {
    let folder = root().join("target/viewer");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{name}-{}x{}-{}.svs", spec.width, spec.height, spec.distinct_tiles));
    if !path.exists() {
        let unfinished = path.with_extension("unfinished");
        write(&unfinished, spec)?;
        std::fs::rename(&unfinished, &path)?;
    }
    Ok(path)
}

/// An open slide with tiles that are read without its child.
struct Slide {
    handle: SlideHandle,
    direct: Arc<DirectTiles>,
}

impl Slide {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let handle = SlideHandle::open(path)?;
        let direct = handle.direct().cloned();
        let direct =
            direct.with_context(|| format!("its tiles are not read directly: {}", path.display()))?;
        Ok(Self { handle, direct })
    }

    /// Tiles of the finest level, row by row from its middle, each of which is a tile of the file.
    fn tiles(&self, count: usize) -> anyhow::Result<Vec<TileId>> {
        let level = self.direct.grid().levels.first().context("the slide has no level")?;
        ensure!(level.per_file_tile == (1, 1), "tiles of the file must be those of the screen to be counted");
        let (columns, rows) = self.direct.grid().tiles(0);
        let cells = u64::from(columns) * u64::from(rows);
        let first = cells / 2;
        let id = |cell: u64| TileId {
            level: 0,
            column: (cell % u64::from(columns)) as u32,
            row: (cell / u64::from(columns)) as u32,
        };
        Ok((first..cells).chain(0..first).take(count).map(id).collect())
    }

    /// Tiles a second in each round, after one that is not counted.
    fn rates(&self, what: &str, threads: usize, rounds: usize) -> anyhow::Result<Vec<f64>> {
        let tiles = self.tiles(if what == "child" { TILES_OF_CHILD } else { TILES })?;
        let rate = |secs: f64| tiles.len() as f64 / secs;
        let rounds = 0..=rounds;
        let samples = match what {
            "raw" => rounds.map(|_| Ok(rate(self.raw(&tiles, threads)?))).collect::<anyhow::Result<Vec<_>>>(),
            "child" => rounds.map(|_| Ok(rate(self.child(&tiles, threads)?))).collect(),
            _ => {
                let engine = Engine::start(&self.handle, threads)?;
                rounds.map(|_| Ok(rate(engine.round(&tiles)?))).collect()
            }
        }?;
        Ok(samples[1..].to_vec())
    }

    /// Seconds in which threads that do nothing else read and decode the tiles.
    fn raw(&self, tiles: &[TileId], threads: usize) -> anyhow::Result<f64> {
        each(threads, tiles, |tile, bytes| {
            let is_stored = self.direct.read(tile, bytes)?;
            ensure!(is_stored, "a tile is not stored");
            let decoded = self.direct.decode(tile, bytes)?;
            ensure!(!decoded.rgba.is_empty(), "a tile has no pixels");
            Ok(())
        })
    }

    /// The same through OpenSlide in the child, with so many requests at a time.
    fn child(&self, tiles: &[TileId], threads: usize) -> anyhow::Result<f64> {
        each(threads, tiles, |tile, _bytes| {
            let pixels = self.handle.read_tile(tile)?;
            ensure!(pixels.image.width() > 0, "a tile has no pixels");
            Ok(())
        })
    }
}

/// Seconds in which threads do something with every tile, each with a buffer of its own.
fn each(
    threads: usize,
    tiles: &[TileId],
    work: impl Fn(TileId, &mut Vec<u8>) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<f64> {
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    thread::scope(|scope| {
        let (next, work) = (&next, &work);
        let workers = (0..threads)
            .map(|number| {
                let work = move || -> anyhow::Result<()> {
                    let mut bytes = Vec::new();
                    while let Some(&tile) = tiles.get(next.fetch_add(1, Ordering::Relaxed)) {
                        work(tile, &mut bytes)?;
                    }
                    Ok(())
                };
                Builder::new().name(format!("decode-{number}")).spawn_scoped(scope, work)
            })
            .collect::<Result<Vec<_>, _>>()?;
        for worker in workers {
            let Ok(done) = worker.join() else { bail!("a thread ended early") };
            done?;
        }
        Ok(())
    })?;
    Ok(begun.elapsed().as_secs_f64())
}

/// The engine as the window has it, with so many decoders.
struct Engine {
    engine: TileEngine,
    key: SlideKey,
}

impl Engine {
    fn start(slide: &SlideHandle, threads: usize) -> anyhow::Result<Self> {
        let window = thread::current();
        let wake: Wake = Arc::new(move || window.unpark());
        let settings = EngineSettings { decoders: threads, ..EngineSettings::default() };
        let (engine, key) = (TileEngine::start(settings, wake)?, SlideKey(1));
        engine.open(key, slide);
        Ok(Self { engine, key })
    }

    /// Seconds until all tiles have come, with caches that are empty.
    fn round(&self, tiles: &[TileId]) -> anyhow::Result<f64> {
        self.engine.want(self.key, &[]);
        self.engine.drop_caches();
        let begun = Instant::now();
        let (mut wanted, mut come) = (Vec::new(), 0);
        let mut rest = tiles.iter().copied();
        while come < tiles.len() {
            // Topped up when half has come, as the window does once a frame.
            if wanted.len() <= WISHES / 2 {
                let before = wanted.len();
                wanted.extend(rest.by_ref().take(WISHES - before));
                if wanted.len() > before {
                    self.engine.want(self.key, &wanted);
                }
            }
            let arrived = self.engine.take(WISHES);
            if arrived.is_empty() {
                ensure!(begun.elapsed() < LONGEST_WAIT, "{come} of {} tiles have come", tiles.len());
                thread::park_timeout(Duration::from_millis(20));
            }
            let has_come = !arrived.is_empty();
            for tile in arrived {
                tile.pixels?;
                if let Some(at) = wanted.iter().position(|wanted| *wanted == tile.tile) {
                    wanted.swap_remove(at);
                    come += 1;
                }
            }
            // As a window, which takes once a frame: to be woken for each tile would be a twentieth of what decoding takes.
            if has_come {
                thread::sleep(BETWEEN_TAKES);
            }
        }
        Ok(begun.elapsed().as_secs_f64())
    }
}

/// Decoders, engine and child in turn, in one run.
fn tiles(promises: &mut Promises) -> anyhow::Result<()> {
    let slide = Slide::open(&large("jpeg", &SlideSpec::large_jpeg())?)?;
    for threads in [1, 2] {
        let (mut raw, mut engine, mut child) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            raw.extend(slide.rates("raw", threads, 1)?);
            engine.extend(slide.rates("engine", threads, 1)?);
            child.extend(slide.rates("child", threads, 1)?);
        }
        for (what, samples) in [("raw", &raw), ("engine", &engine), ("child", &child)] {
            say(
                &json!({"what": what, "threads": threads, "tiles_per_sec": median(samples), "samples": samples}),
            )?;
        }
        let ratio = median(&engine) / median(&raw);
        let over_child = median(&raw) / median(&child);
        say(
            &json!({"what": "ratios", "threads": threads, "engine_of_raw": ratio, "raw_of_child": over_child}),
        )?;
        promises.at_least(&format!("engine / decoders alone, {threads} threads"), ratio, 0.95);
    }
    Ok(())
}

fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Every path with what is promised about it.
fn paths(promises: &mut Promises) -> anyhow::Result<()> {
    let small = SlideSpec { width: 2220, height: 2967, distinct_tiles: 108, ..SlideSpec::large_jpeg() };
    let small = large("small", &small)?;
    // Once before, so that the program and the driver come from memory: what is promised is a warm start.
    path(&mut Promises::default(), "small, before", &small, &["--jumps", "0"])?;
    let small = path(promises, "small, warm", &small, &["--jumps", "20"])?;
    let first =
        small["start_secs"].as_f64().zip(small["open_secs"].as_f64()).map(|(start, open)| start + open);
    promises.at_most("small: start to first picture, s", first, 0.6);
    promises.at_most("small: memory, MiB", small["peak_memory_mib"].as_f64(), 250.0 * 1e6 / 1_048_576.0);

    let jpeg = large("jpeg", &SlideSpec::large_jpeg())?;
    let jp2k = large("jp2k", &SlideSpec::large_jp2k())?;
    for (what, slide) in [("large JPEG, cold", &jpeg), ("large JPEG 2000, cold", &jp2k)] {
        let found = path(promises, what, slide, &["--cold"])?;
        promises.at_most(&format!("{what}: field p50, s"), found["jumps"][0]["p50_secs"].as_f64(), 0.060);
        promises.at_most(&format!("{what}: field p95, s"), found["jumps"][0]["p95_secs"].as_f64(), 0.090);
    }
    let slow = path(promises, "20 ms a read", &jpeg, &["--cold", "--read-delay-ms", "20"])?;
    promises.at_most("20 ms a read: field p50, s", slow["jumps"][0]["p50_secs"].as_f64(), 0.250);
    path(promises, "100,000 polygons", &jpeg, &["--annotations", "100000", "--jumps", "60"])?;
    path(promises, "while an answer streams", &jpeg, &["--scripted-answer", "--jumps", "60"])?;
    Ok(())
}

/// One path in a process of its own: its figures, with what is promised about all paths.
fn path(promises: &mut Promises, what: &str, slide: &Path, options: &[&str]) -> anyhow::Result<Value> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("self-test").arg(slide).arg("--json").args(options);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the path “{what}” ended with {}", output.status);
    let mut line: Value = serde_json::from_slice(&output.stdout).context("the path's figures are no JSON")?;
    let data = line["data"].take();
    say(&json!({"what": "path", "path": what, "options": options, "data": data}))?;
    promises.at_most(&format!("{what}: frames with a blank"), data["frames_with_a_blank"].as_f64(), 0.0);
    for frames in ["zoom_frames", "steady_frames"] {
        let found = data[frames]["frame_p999_ms"].as_f64();
        promises.at_most(&format!("{what}: window thread, p99.9 of {frames}, ms"), found, 16.0);
    }
    Ok(data)
}
