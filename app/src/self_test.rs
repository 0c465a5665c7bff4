//! The figures of the viewer, measured on the window's own code without a window: what `reinpath self-test` prints and `cargo bench` runs.
//!
//! The application runs offscreen, at 60 frames a second, drawn by wgpu as on screen; making the system's window and showing the picture
//! are therefore not in the figures. First the slide is looked at in 60 random places while a scripted answer streams. Then a second
//! window, whose caches are empty, jumps from field to unseen neighbouring field and zooms. There nothing is rasterised, but for the jumps
//! that say so: software that stands in for a graphics card takes the processors from the decoders, and what it takes is stated apart.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use egui::{Vec2, vec2};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::slide::{self, SlideHandle, SlideInfo};
use crate::viewer::tile_engine::{EngineCounters, EngineSettings};
use crate::window::answer_view::QuestionText;
use crate::window::command::{AskCommand, Command, PatchCommand, ViewCommand};
use crate::window::model_list::ModelList;
use crate::window::read::ReadPlaces;
use crate::window::train::TrainPlaces;
use crate::window::workers::Opener;
use crate::window::{App, Parts, memory};

use offscreen::Offscreen;
use paths::Walk;
use report::{ms, quantile};
use script::Script;

mod children;
mod folder;
mod offscreen;
mod paths;
mod polygons;
mod report;
mod script;

pub use folder::look_through;
pub use report::{FRAME_LIMIT_MS, Jumps, Quantiles, Report, ThreadFigures};

/// As large as the window opens.
const WINDOW: Vec2 = vec2(1440.0, 900.0);
/// Random places that are looked at.
const FIELDS: usize = 60;
/// Their magnifications in turn: level-0 pixels a screen pixel.
const SCALES: [f64; 4] = [1.0, 2.0, 4.0, 8.0];
/// Further scales of the jumps, with a part of their number each.
const FURTHER_SCALES: [f64; 2] = [4.0, 16.0];
/// One jump at a further scale, or rasterised, for so many at the finest.
const PART: usize = 4;
/// How long a slide whose reads are delayed may take to open.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    pub slide: PathBuf,
    /// Jumps at the finest scale; further ones at coarser scales. 0: nothing but the 60 random places is measured.
    pub jumps: usize,
    /// Points on which the slide is shown while jumping and zooming.
    pub size: (u32, u32),
    /// Added to every read, here and in the process that reads the slide.
    pub read_delay: Duration,
    /// Polygons that are shown while jumping and zooming.
    pub annotations: usize,
    pub seed: u64,
    /// Whether the file's pages are dropped before the slide is opened and before the jumps.
    pub is_cold: bool,
    /// Whether answers stream while jumping and zooming too.
    pub keeps_answering: bool,
}

impl Plan {
    /// What the issue of the viewer asks for: 200 jumps at 1280 × 800, the file warm.
    pub fn of(slide: PathBuf) -> Self {
        Self {
            slide,
            jumps: 200,
            size: (1280, 800),
            read_delay: Duration::ZERO,
            annotations: 0,
            seed: 7,
            is_cold: false,
            keeps_answering: false,
        }
    }
}

/// Measures all of the plan; takes seconds to minutes.
///
/// # Errors
/// When there is no graphics device, the slide cannot be read, or something takes longer than a minute.
pub fn measure(plan: &Plan) -> anyhow::Result<Report> {
    let mut report = look_around(plan)?;
    if plan.jumps > 0 {
        jump_and_zoom(plan, &mut report)?;
    }
    report.peak_memory_of_all_mib = memory::peak_mib();
    Ok(report)
}

/// Takes what the system remembers of a file out of its memory, so that reading it again reads the disk.
///
/// # Errors
/// When the file cannot be opened, or the system has no such call.
#[cfg(target_os = "linux")]
pub fn drop_pages(file: &Path) -> std::io::Result<()> {
    let file = std::fs::File::open(file)?;
    // Pages that were not written yet would stay.
    file.sync_all()?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok(())
}

/// Only Linux is known to do it.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn drop_pages(_file: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// The window as it opens: start, open, 60 random places with an answer.
fn look_around(plan: &Plan) -> anyhow::Result<Report> {
    make_cold(plan)?;
    let begun = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    let mut window = Offscreen::new(parts(plan, &stop), WINDOW)?;
    window.app.commands().send(Command::AcceptNotice);
    window.frame()?;
    let start_secs = begun.elapsed().as_secs_f64();

    let asked = Instant::now();
    let frames_before = window.frames().len();
    let info = open(&mut window, plan)?;
    let open_secs = asked.elapsed().as_secs_f64();
    ask_about_the_middle(&mut window, &info)?;

    let tiles_before = window.app.tiles_taken();
    let looked = Instant::now();
    let times = random_places(&mut window, &info, plan.seed)?;
    let tiles_per_sec = (window.app.tiles_taken() - tiles_before) as f64 / looked.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    check_answer(&window)?;
    let times = Quantiles::of(times);
    Ok(Report {
        slide: plan.slide.clone(),
        graphics: window.device(),
        start_secs,
        open_secs,
        field_p50_secs: times.p50_secs,
        field_p95_secs: times.p95_secs,
        field_p99_secs: times.p99_secs,
        fields: times.count,
        tiles_per_sec,
        frames: ThreadFigures::of(&window.frames()[frames_before..]),
        peak_memory_mib: memory::peak_mib(),
        frame_limit_ms: FRAME_LIMIT_MS,
        view: [plan.size.0, plan.size.1],
        is_cold: plan.is_cold,
        read_delay_ms: plan.read_delay.as_millis() as u64,
        annotations: plan.annotations,
        jumps: Vec::new(),
        zoom: Quantiles::default(),
        zoom_frames: ThreadFigures::default(),
        steady_frames: ThreadFigures::default(),
        share_of_frames_with_a_missing_tile: 0.0,
        frames_with_a_blank: 0,
        drawing_p50_ms: 0.0,
        drawing_p95_ms: 0.0,
        tiles: EngineCounters::default(),
        peak_memory_of_all_mib: None,
        children_peak_memory_mib: children::peak_mib(),
    })
}

/// Another window, whose caches are empty.
fn jump_and_zoom(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    make_cold(plan)?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut window = Offscreen::new(parts(plan, &stop), WINDOW)?;
    window.app.commands().send(Command::AcceptNotice);
    let info = open(&mut window, plan)?;
    if plan.annotations > 0 {
        polygons::show(&mut window, &info, plan.annotations, plan.seed)?;
    }
    if plan.keeps_answering {
        ask_about_the_middle(&mut window, &info)?;
    }
    let view = vec2(plan.size.0 as f32, plan.size.1 as f32);
    window.give_the_slide(view)?;
    window.until("the slide in its new size", App::is_view_complete)?;
    make_cold(plan)?;

    let (first, before) = (window.frames().len(), window.app.tile_counters());
    let mut walk = Walk::new(&mut window, &info, view, plan.keeps_answering);
    let jumped = |scale, is_rasterised, times| Jumps { scale, is_rasterised, times: Quantiles::of(times) };
    walk.window.is_rasterising = false;
    report.jumps.push(jumped(1.0, false, walk.jumps(1.0, (0.6, 0.6), plan.jumps)?));
    let part = plan.jumps.div_ceil(PART);
    for scale in FURTHER_SCALES {
        report.jumps.push(jumped(scale, false, walk.jumps(scale, (0.5, 0.5), part)?));
    }
    let zoomed = walk.zoom()?;
    walk.window.is_rasterising = true;
    report.jumps.push(jumped(1.0, true, walk.jumps(1.0, (0.2, 0.2), part)?));

    if plan.keeps_answering {
        check_answer(&window)?;
    }
    stop.store(true, Ordering::Relaxed);
    let (frames, after) = (window.frames(), window.app.tile_counters());
    report.zoom = Quantiles::of(zoomed.times);
    report.zoom_frames = ThreadFigures::of(&frames[zoomed.flowing]);
    report.steady_frames = ThreadFigures::of(&frames[first..]);
    let missing = after.frames_with_a_missing_tile - before.frames_with_a_missing_tile;
    report.share_of_frames_with_a_missing_tile = missing as f64 / (frames.len() - first).max(1) as f64;
    report.frames_with_a_blank = after.frames_with_a_blank - before.frames_with_a_blank;
    let mut drawing: Vec<f64> = window.drawing().iter().copied().map(ms).collect();
    drawing.sort_by(f64::total_cmp);
    (report.drawing_p50_ms, report.drawing_p95_ms) = (quantile(&drawing, 0.5), quantile(&drawing, 0.95));
    report.tiles = after;
    report.children_peak_memory_mib = children::peak_mib();
    Ok(())
}

fn make_cold(plan: &Plan) -> anyhow::Result<()> {
    if plan.is_cold {
        drop_pages(&plan.slide).with_context(|| {
            format!("the file's pages cannot be dropped from memory: {}", plan.slide.display())
        })?;
    }
    Ok(())
}

/// Until the first picture is complete.
fn open(window: &mut Offscreen, plan: &Plan) -> anyhow::Result<Arc<SlideInfo>> {
    window.app.commands().send(Command::Open(plan.slide.clone()));
    window.until("the slide to open", App::is_view_complete)?;
    window.app.state().shown_slide().and_then(|slide| slide.info().cloned()).context("no slide is shown")
}

fn ask_about_the_middle(window: &mut Offscreen, info: &SlideInfo) -> anyhow::Result<()> {
    let middle = (f64::from(info.width()) / 2.0, f64::from(info.height()) / 2.0);
    window.app.commands().patch(PatchCommand::PlaceSquare(middle));
    window.frame()?;
    let question = QuestionText { question: "Describe this field.".to_owned(), ..QuestionText::default() };
    window.app.commands().ask(AskCommand::Ask(Box::new(question)));
    Ok(())
}

fn check_answer(window: &Offscreen) -> anyhow::Result<()> {
    let answer = window.app.state().answer.as_ref();
    ensure!(answer.is_some_and(|answer| answer.tokens > 0), "the scripted answer did not reach the window");
    Ok(())
}

/// Seconds until each of the places was complete.
fn random_places(window: &mut Offscreen, info: &SlideInfo, seed: u64) -> anyhow::Result<Vec<f64>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut times = Vec::with_capacity(FIELDS);
    for scale in SCALES.into_iter().cycle().take(FIELDS) {
        let x = rng.random_range(0.1..0.9) * f64::from(info.width());
        let y = rng.random_range(0.1..0.9) * f64::from(info.height());
        let wished = Instant::now();
        window.app.commands().view(ViewCommand::Scale(scale, 1.0));
        window.app.commands().view(ViewCommand::LookAt((x, y)));
        // The frame in which the wish is carried out: before it, the old place is complete.
        window.frame()?;
        window.until("a field of view", App::is_view_complete)?;
        times.push(wished.elapsed().as_secs_f64());
    }
    Ok(times)
}

fn parts(plan: &Plan, stop: &Arc<AtomicBool>) -> Parts {
    let stop = Arc::clone(stop);
    Parts {
        slides: Vec::new(),
        opener: opener(plan.read_delay),
        picker: Arc::new(|| Ok(Vec::new())),
        folder_picker: Arc::new(|| Ok(Vec::new())),
        models: Arc::new(|_in_use| ModelList::default()),
        answerer: Box::new(move |events| Box::new(Script::new(events, stop))),
        settings_file: None,
        training: TrainPlaces::default(),
        reading: ReadPlaces::default(),
        tiles: EngineSettings { read_delay: plan.read_delay, ..EngineSettings::default() },
    }
}

fn opener(read_delay: Duration) -> Opener {
    if read_delay.is_zero() {
        return Arc::new(|path| SlideHandle::open(path));
    }
    Arc::new(move |path| {
        let failed = |error: std::io::Error| slide::Error::Start {
            reason: error.to_string(),
            path: path.to_path_buf(),
        };
        let program = match std::env::var_os("REINPATH_BIN_DIR") {
            Some(folder) => PathBuf::from(folder).join(format!("reinpath{}", std::env::consts::EXE_SUFFIX)),
            None => std::env::current_exe().map_err(failed)?,
        };
        let delay = read_delay.as_millis().to_string();
        let arguments: [OsString; 3] = ["slide-server".into(), "--read-delay-ms".into(), delay.into()];
        SlideHandle::open_with_command(program, &arguments, path, PATIENCE)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn pages_are_dropped_and_the_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slide.bin");
        std::fs::write(&path, vec![7; 100_000]).unwrap();
        drop_pages(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), vec![7; 100_000]);
        assert!(drop_pages(&folder.path().join("nothing")).is_err());
    }
}
