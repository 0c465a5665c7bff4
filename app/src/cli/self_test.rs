//! `reinpath self-test`: how fast the window is on this machine, measured on the window's own code.
//!
//! The application runs offscreen, at 60 frames a second, drawn by wgpu as on screen; making the system's window and showing the picture
//! are therefore not in the figures. While the slide is looked at in 60 random places, a scripted answer streams.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reinpath_model::event::{AskEvent, Finished, Stop};
use reinpath_model::package::{EncoderKind, EncoderSpec, Generation, PatchSpec, ResizeFilter};
use reinpath_model::stage::{AnswerStage, StagedAnswer};
use serde::Serialize;

use super::Failure;
use crate::demo_slide;
use crate::slide::{SlideHandle, SlideInfo};
use crate::window::answer_view::QuestionText;
use crate::window::answerer::Answerer;
use crate::window::command::{AskCommand, Command, PatchCommand, ViewCommand};
use crate::window::event::Event;
use crate::window::frame_times::FrameTime;
use crate::window::model_list::ModelList;
use crate::window::state::{ModelInfo, SlideStatus};
use crate::window::train::TrainPlaces;
use crate::window::update::AskOrder;
use crate::window::workers::EventSender;
use crate::window::{App, Parts, memory};

use offscreen::Offscreen;

mod offscreen;

/// Places that are looked at.
const FIELDS: usize = 60;
/// Magnifications in turn: level-0 pixels a screen pixel.
const SCALES: [f64; 4] = [1.0, 2.0, 4.0, 8.0];
const SEED: u64 = 7;
/// A slide or a field that takes longer ends the test.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// What the window thread may take for a frame.
const FRAME_LIMIT_MS: f64 = 16.0;
/// Tokens of the scripted answer, and the time between two.
const TOKENS: usize = 400;
const TOKEN_PACE: Duration = Duration::from_millis(20);

/// Arguments of `reinpath self-test`.
#[derive(Debug, Args)]
pub(super) struct SelfTestArguments {
    /// The slide to look at (default: the demo slide)
    slide: Option<PathBuf>,
    /// One JSON object, {"type": "self_test", "data": {…}}
    #[arg(long)]
    json: bool,
    /// Fail (exit code 1) when the window thread took longer than the limit for a frame; without this, measuring is success
    #[arg(long)]
    strict: bool,
}

/// The figures. Times of the window thread are per frame.
#[derive(Debug, Serialize)]
struct Report {
    slide: PathBuf,
    graphics: String,
    /// From the start of the command to the first frame drawn.
    start_secs: f64,
    /// From asking for the slide to its first picture complete.
    open_secs: f64,
    /// From the wish to look at a place until all of it is drawn from its own tiles.
    field_p50_secs: f64,
    field_p95_secs: f64,
    field_p99_secs: f64,
    fields: usize,
    tiles_per_sec: f64,
    #[serde(flatten)]
    frames: ThreadFigures,
    /// Of the window's process alone; the process that reads the slide has its own.
    peak_memory_mib: Option<f64>,
    frame_limit_ms: f64,
}

/// Every frame from the wish to open the slide on; those before it are in `start_secs`.
#[derive(Debug, Default, PartialEq, Serialize)]
struct ThreadFigures {
    #[serde(rename = "frames")]
    count: usize,
    frames_over_limit: usize,
    /// The program's part of a frame on the clock, waiting included.
    longest_frame_ms: f64,
    frame_p99_ms: f64,
    /// Processor time of the window thread between two frames, with egui, wgpu and, without a graphics card, some of the drawing.
    longest_thread_ms: Option<f64>,
}

impl ThreadFigures {
    fn of(frames: &[FrameTime]) -> Self {
        let mut own: Vec<f64> = frames.iter().map(|frame| ms(frame.own())).collect();
        own.sort_by(f64::total_cmp);
        Self {
            count: own.len(),
            frames_over_limit: own.iter().filter(|own| **own > FRAME_LIMIT_MS).count(),
            longest_frame_ms: quantile(&own, 1.0),
            frame_p99_ms: quantile(&own, 0.99),
            longest_thread_ms: frames.iter().filter_map(|frame| frame.processor).max().map(ms),
        }
    }
}

/// Measures and prints.
pub(super) fn self_test(arguments: &SelfTestArguments) -> Result<(), Failure> {
    let begun = Instant::now();
    let slide = match &arguments.slide {
        Some(slide) => slide.clone(),
        None => demo_slide::ensure(&mut |_| true).context("there is no demo slide")?,
    };
    let report = measure(slide, begun)?;
    let text = if arguments.json {
        let json = serde_json::json!({"type": "self_test", "data": report});
        format!("{json}\n")
    } else {
        in_words(&report)
    };
    io::stdout().lock().write_all(text.as_bytes()).context("cannot write to stdout")?;
    let ThreadFigures { count, frames_over_limit, longest_frame_ms, .. } = report.frames;
    if arguments.strict && frames_over_limit > 0 {
        let sentence = format!(
            "the window thread was over its limit of {FRAME_LIMIT_MS:.0} ms in {frames_over_limit} of {count} frames, \
             {longest_frame_ms:.1} ms at the longest"
        );
        return Err(Failure::Failed(anyhow!(sentence)));
    }
    Ok(())
}

fn measure(slide: PathBuf, begun: Instant) -> anyhow::Result<Report> {
    // Drawing the demo slide, if it had to be, is no part of starting.
    let begun = if begun.elapsed() > Duration::from_secs(1) { Instant::now() } else { begun };
    let stop = Arc::new(AtomicBool::new(false));
    let mut window = Offscreen::new(parts(&stop))?;
    window.app.commands().send(Command::AcceptNotice);
    window.frame()?;
    let start_secs = begun.elapsed().as_secs_f64();

    let asked = Instant::now();
    let frames_before = window.frames().len();
    window.app.commands().send(Command::Open(slide.clone()));
    until(&mut window, "the slide to open", App::is_view_complete)?;
    let open_secs = asked.elapsed().as_secs_f64();

    let info = shown_info(&window.app)?;
    let middle = (f64::from(info.width()) / 2.0, f64::from(info.height()) / 2.0);
    window.app.commands().patch(PatchCommand::PlaceSquare(middle));
    window.frame()?;
    let question = QuestionText { question: "Describe this field.".to_owned(), ..QuestionText::default() };
    window.app.commands().ask(AskCommand::Ask(Box::new(question)));

    let tiles_before = window.app.tiles_taken();
    let looked = Instant::now();
    let mut times = look_around(&mut window, &info)?;
    let tiles_per_sec = (window.app.tiles_taken() - tiles_before) as f64 / looked.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    if window.app.state().answer.as_ref().is_none_or(|answer| answer.tokens == 0) {
        bail!("the scripted answer did not reach the window");
    }

    times.sort_by(f64::total_cmp);
    Ok(Report {
        slide,
        graphics: window.device(),
        start_secs,
        open_secs,
        field_p50_secs: quantile(&times, 0.50),
        field_p95_secs: quantile(&times, 0.95),
        field_p99_secs: quantile(&times, 0.99),
        fields: times.len(),
        tiles_per_sec,
        frames: ThreadFigures::of(&window.frames()[frames_before..]),
        peak_memory_mib: memory::peak_mib(),
        frame_limit_ms: FRAME_LIMIT_MS,
    })
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Seconds until each of the places was complete.
fn look_around(window: &mut Offscreen, info: &SlideInfo) -> anyhow::Result<Vec<f64>> {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut times = Vec::with_capacity(FIELDS);
    for scale in SCALES.into_iter().cycle().take(FIELDS) {
        let x = rng.random_range(0.1..0.9) * f64::from(info.width());
        let y = rng.random_range(0.1..0.9) * f64::from(info.height());
        let wished = Instant::now();
        window.app.commands().view(ViewCommand::Scale(scale, 1.0));
        window.app.commands().view(ViewCommand::LookAt((x, y)));
        // The frame in which the wish is carried out: before it, the old place is complete.
        window.frame()?;
        until(window, "a field of view", App::is_view_complete)?;
        times.push(wished.elapsed().as_secs_f64());
    }
    Ok(times)
}

fn until(window: &mut Offscreen, what: &str, done: impl Fn(&App) -> bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        window.frame()?;
        if done(&window.app) {
            return Ok(());
        }
        if let Some(SlideStatus::Failed { sentence }) = window.app.state().shown_slide().map(|s| &s.status) {
            bail!("{sentence}");
        }
        if begun.elapsed() > LONGEST_WAIT {
            bail!("waited {} s for {what}", LONGEST_WAIT.as_secs());
        }
    }
}

fn shown_info(app: &App) -> anyhow::Result<Arc<SlideInfo>> {
    app.state().shown_slide().and_then(|slide| slide.info().cloned()).context("no slide is shown")
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = ((sorted.len() as f64 * q).ceil() as usize).clamp(1, sorted.len().max(1));
    sorted.get(at - 1).copied().unwrap_or_default()
}

fn in_words(report: &Report) -> String {
    let optional =
        |number: Option<f64>, unit: &str| number.map_or("unknown".to_owned(), |n| format!("{n:.1} {unit}"));
    let frames = &report.frames;
    let verdict = match frames.frames_over_limit {
        0 => "within the limit".to_owned(),
        over => format!("{over} over the limit"),
    };
    format!(
        "slide                {}\n\
         graphics             {}\n\
         start                {:.2} s\n\
         open                 {:.2} s\n\
         field of view        {:.0} ms p50, {:.0} ms p95, {:.0} ms p99 of {}\n\
         tiles                {:.0} a second\n\
         window thread        {:.1} ms longest frame, {:.1} ms p99 of {}, {verdict} of {:.0} ms\n\
         with egui and wgpu   {} of processor time at the longest\n\
         peak memory          {}\n",
        report.slide.display(),
        report.graphics,
        report.start_secs,
        report.open_secs,
        report.field_p50_secs * 1e3,
        report.field_p95_secs * 1e3,
        report.field_p99_secs * 1e3,
        report.fields,
        report.tiles_per_sec,
        frames.longest_frame_ms,
        frames.frame_p99_ms,
        frames.count,
        report.frame_limit_ms,
        optional(frames.longest_thread_ms, "ms"),
        optional(report.peak_memory_mib, "MiB"),
    )
}

fn parts(stop: &Arc<AtomicBool>) -> Parts {
    let stop = Arc::clone(stop);
    Parts {
        slides: Vec::new(),
        opener: Arc::new(|path| SlideHandle::open(path)),
        picker: Arc::new(|| Ok(Vec::new())),
        folder_picker: Arc::new(|| Ok(Vec::new())),
        models: Arc::new(|_in_use| ModelList::default()),
        answerer: Box::new(move |events| Box::new(Script::new(events, stop))),
        settings_file: None,
        training: TrainPlaces::default(),
    }
}

/// Streams the same word, so that an answer is written while tiles load.
struct Script {
    events: EventSender,
    stop: Arc<AtomicBool>,
}

impl Script {
    fn new(events: EventSender, stop: Arc<AtomicBool>) -> Self {
        let package = Event::Package(Ok(Arc::new(patch_of_the_demo())));
        // Not from the window thread, which takes the events.
        let told = events.clone();
        drop(Builder::new().name("script-package".to_owned()).spawn(move || told.send(package)));
        Self { events, stop }
    }
}

impl Answerer for Script {
    fn warm_up(&mut self) {}

    fn use_package(&mut self, _folder: PathBuf) {}

    fn cancel_load(&mut self) {}

    fn ask(&mut self, order: AskOrder, _slide: SlideHandle, _model: Arc<ModelInfo>) {
        let (events, stop) = (self.events.clone(), Arc::clone(&self.stop));
        let stream = move || {
            let send = |event| events.send(Event::Ask { id: order.id, event });
            send(AskEvent::Started { stamp: Box::default() });
            for index in 0..TOKENS {
                let stage = AnswerStage::ALL[index * 3 / TOKENS];
                if index % TOKENS.div_ceil(3) == 0 {
                    send(AskEvent::Stage { stage });
                }
                let token =
                    AskEvent::Token { index, stage: Some(stage), text: "glands ".to_owned(), logprob: 0.0 };
                if stop.load(Ordering::Relaxed) || !send(token) {
                    return;
                }
                std::thread::sleep(TOKEN_PACE);
            }
            send(AskEvent::Finished(Finished {
                answer: StagedAnswer::default(),
                choice: None,
                format_ok: true,
                tokens: TOKENS,
                prefill_secs: 0.0,
                decode_secs: TOKEN_PACE.as_secs_f64() * TOKENS as f64,
                stop: Stop::End,
                options: Vec::new(),
            }));
        };
        drop(Builder::new().name("script-answer".to_owned()).spawn(stream));
    }

    fn stop(&mut self, _id: u64) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Patches as the demo model takes them; no package is needed to measure the window.
fn patch_of_the_demo() -> ModelInfo {
    ModelInfo {
        name: "none (self-test)".to_owned(),
        folder: PathBuf::new(),
        patch: PatchSpec { size_px: 224, mpp: 0.5 },
        encoder: EncoderSpec {
            kind: EncoderKind::Vit,
            weights: Vec::new(),
            image_size: 112,
            trained_size: None,
            resize: ResizeFilter::Bicubic,
            mean: [0.5; 3],
            std: [0.5; 3],
            patch_size: 8,
            width: 8,
            layers: 1,
            heads: 1,
            mlp_width: 8,
            layer_scale: false,
            prefix: String::new(),
        },
        generation: Generation { max_tokens: TOKENS, ..Generation::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let times: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(
            (quantile(&times, 0.5), quantile(&times, 0.95), quantile(&times, 1.0)),
            (50.0, 95.0, 100.0)
        );
        assert_eq!((quantile(&[3.0], 0.99), quantile(&[], 0.5)), (3.0, 0.0));
    }

    #[test]
    fn a_long_frame_at_the_beginning_of_a_long_run_is_counted() {
        let frame = |work_ms| FrameTime { work: Duration::from_millis(work_ms), ..FrameTime::default() };
        let mut all = vec![frame(40)];
        all.extend(vec![frame(3); 2000]);
        let figures = ThreadFigures::of(&all);
        assert_eq!((figures.count, figures.frames_over_limit), (2001, 1));
        assert_eq!((figures.longest_frame_ms, figures.frame_p99_ms), (40.0, 3.0));
        assert_eq!(ThreadFigures::of(&[]), ThreadFigures::default());
    }
}
