//! The training mode beside a run that is, or was, on its way: its stages, plots, log, what went wrong, and what is exported.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use egui::{Event, Modifiers, MouseWheelSource, MouseWheelUnit, Rect, TouchPhase, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use image::RgbaImage;
use reinpath::runs::RunKey;
use reinpath::runs::told::{Listed, RunTold, StageTold};
use reinpath::window::App;
use reinpath::window::state::{Mode, Settings};
use reinpath::window::train::chart::{ChartCommand, ChartView};
use reinpath::window::train::runs::RunsCommand;
use reinpath::window::train::{TrainCommand, TrainPlaces};
use reinpath_training::event::{EVENTS, RowFigures, RunEvent, Step};
use reinpath_training::run_folder::{RunFolder, RunState};

use super::support::{Script, alike, pixel, until, window_with};

const CONFIG: &str = r#"
name = "three stages"
seed = 1
base = "/models/demo"
[alignment]
data = [{ folder = "/data" }]
optimisation = {}
[cold_start]
data = [{ folder = "/data" }]
optimisation = {}
[grpo]
data = [{ folder = "/data" }]
optimisation = {}
"#;

/// The first curve of a plot in the dark theme.
const BLUE: [u8; 3] = [0x56, 0xb4, 0xe9];

fn step(stage: &str, step: usize, measures: &[(&str, f64)]) -> RunEvent {
    let measures: BTreeMap<String, f64> =
        measures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    RunEvent::Step(Step {
        stage: stage.to_owned(),
        step,
        loss: 2.0 / (step as f64).sqrt(),
        learning_rate: 1e-4,
        gradient_norm: 1.0 + (step % 5) as f64 * 0.1,
        secs: step as f64 * 0.5,
        measures,
    })
}

/// A run of three stages up to its end, whatever that is.
fn write_run(runs: &Path, name: &str, end: RunEvent) -> PathBuf {
    let mut events = Vec::new();
    for stage in ["alignment", "cold_start"] {
        events.push(RunEvent::Stage { stage: stage.to_owned(), steps: 40 });
        events.extend((1..=40).map(|n| step(stage, n, &[("tokens", 300.0)])));
    }
    events.push(RunEvent::Stage { stage: "grpo".to_owned(), steps: 60 });
    for n in 1..=60 {
        let reward = 0.2 + 0.01 * n as f64;
        let measures =
            [("reward", reward), ("reward_format", 0.9), ("reward_accuracy", reward), ("kl", 0.02)];
        events.push(step("grpo", n, &measures));
        if n % 20 == 0 {
            let figures =
                RowFigures { n: 80, accuracy: 0.5, interval_95: [0.39, 0.61], ..RowFigures::default() };
            events.push(RunEvent::Evaluation { stage: "grpo".to_owned(), step: n, figures });
        }
    }
    events.push(end);
    let mut lines = String::new();
    for event in &events {
        writeln!(lines, "{}", serde_json::to_string(event).unwrap()).unwrap();
    }
    write_folder(runs, name, &lines)
}

fn write_folder(runs: &Path, name: &str, events: &str) -> PathBuf {
    let path = runs.join(name);
    let folder = RunFolder::new(&path);
    folder.create().unwrap();
    folder.write_config(&toml::from_str(CONFIG).unwrap()).unwrap();
    std::fs::write(path.join(EVENTS), events).unwrap();
    std::fs::write(folder.log_file(), "INFO features are ready\nWARN 3 rows were left out\nINFO the end\n")
        .unwrap();
    path
}

/// The window in the training mode.
fn started(runs: &Path) -> Harness<'static, App> {
    let settings = Settings { notice_accepted: true, mode: Mode::Train, ..Settings::default() };
    let file = runs.join("window.toml");
    std::fs::write(&file, toml::to_string(&settings).unwrap()).unwrap();
    let places = TrainPlaces { runs: Some(runs.to_owned()), ..TrainPlaces::default() };
    window_with(Vec::new(), &Script::default(), Some(file), places)
}

fn told(app: &App) -> Option<&RunTold> {
    app.state().train.runs.shown_run().map(|told| &**told)
}

/// Shows a run, and waits until it is known as far as the last step of its last stage.
fn show(harness: &mut Harness<'static, App>, run: &Path, stages: usize, last: usize) {
    let key = RunKey::new(run.to_owned());
    send(harness, TrainCommand::Runs(RunsCommand::Show(key.clone())));
    until(harness, "the run to be read", |app| {
        told(app).is_some_and(|told| {
            let step = told.current_stage().map(StageTold::step);
            told.key == key && told.stages.len() == stages && step == Some(last)
        })
    });
    harness.run_ok();
}

fn send(harness: &mut Harness<'static, App>, wish: TrainCommand) {
    harness.state().commands().train(wish);
    harness.step();
    harness.step();
}

fn chart(harness: &mut Harness<'static, App>, wish: ChartCommand) {
    send(harness, TrainCommand::Chart(wish));
}

/// How many points of a rectangle have a colour.
fn coloured(image: &RgbaImage, rect: Rect, colour: [u8; 3]) -> usize {
    let (left, right) = (rect.left() as usize, rect.right() as usize);
    let (top, bottom) = (rect.top() as usize, rect.bottom() as usize);
    let all = (left..right).flat_map(|x| (top..bottom).map(move |y| egui::pos2(x as f32, y as f32)));
    all.filter(|&at| alike(pixel(image, at), colour)).count()
}

/// Keeps a picture for who wants to look at it.
fn keep(image: &RgbaImage, name: &str) {
    if let Some(folder) = std::env::var_os("REINPATH_SCREENSHOTS") {
        image.save(Path::new(&folder).join(name)).unwrap();
    }
}

#[test]
fn a_finished_run_is_shown_whole_and_can_be_exported() {
    let folder = tempfile::tempdir().unwrap();
    let end = RunEvent::Finished { package: "package".into(), secs: 90.0 };
    let run = write_run(folder.path(), "first", end);
    let mut harness = started(folder.path());
    show(&mut harness, &run, 3, 60);
    assert!(matches!(told(harness.state()).unwrap().listed, Listed::Known(RunState::Finished(_))));
    for label in [
        "Alignment: done, step 40 of 40",
        "Cold start: done, step 40 of 40",
        "GRPO: done, step 60 of 60",
        "Plot of Learning rate",
        "Plot of Gradient norm",
        "Plot of Reward",
    ] {
        harness.get_by_label(label);
    }
    let loss = harness.get_by_label("Plot of Loss").rect();
    let image = harness.render().unwrap();
    keep(&image, "training-curves.png");
    assert!(coloured(&image, loss, BLUE) > 20, "a curve is drawn");

    let figures = folder.path().join("figures.csv");
    chart(&mut harness, ChartCommand::SaveCsvTo(figures.clone()));
    until(&mut harness, "the figures", |app| app.state().train.chart.saved.as_ref() == Some(&figures));
    let text = std::fs::read_to_string(&figures).unwrap();
    assert!(text.starts_with("stage,step,loss,learning_rate,gradient_norm,secs,"), "{text:.100}");
    assert_eq!(text.lines().count(), 1 + 40 + 40 + 60);

    let picture = folder.path().join("loss.png");
    let wish = ChartCommand::SavePlot { measure: "loss".to_owned(), rect: loss, to: Some(picture.clone()) };
    chart(&mut harness, wish);
    until(&mut harness, "the picture", |app| app.state().train.chart.saved.as_ref() == Some(&picture));
    let saved = image::open(&picture).unwrap().to_rgba8();
    let size = (saved.width() as f32, saved.height() as f32);
    assert!((size.0 - loss.width()).abs() <= 1.0 && (size.1 - loss.height()).abs() <= 1.0, "{size:?}");
    let whole = Rect::from_min_size(egui::Pos2::ZERO, vec2(size.0, size.1));
    assert!(coloured(&saved, whole, BLUE) > 20, "the curve is in it");
    assert!(harness.state().state().problems.is_empty());
}

#[test]
fn stages_plots_and_scales_are_chosen_and_the_log_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let end = RunEvent::Stopped { stage: "grpo".to_owned(), step: 60 };
    let run = write_run(folder.path(), "first", end);
    let mut harness = started(folder.path());
    show(&mut harness, &run, 3, 60);
    harness.get_by_label("GRPO: ended early, step 60 of 60");
    harness.get_by_label("Plot of Reward");
    harness.get_by_label("Alignment: done, step 40 of 40").click();
    harness.run_ok();
    assert!(harness.query_by_label("Plot of Reward").is_none(), "alignment has none");
    harness.get_by_label("Plot of Loss");
    chart(&mut harness, ChartCommand::Hide("loss".to_owned(), true));
    assert!(harness.query_by_label("Plot of Loss").is_none());
    harness.get_by_label("Log scale").click();
    harness.run_ok();
    assert!(harness.state().state().settings.chart.is_logarithmic);
    harness.get_by_label("Plot of Learning rate");

    chart(&mut harness, ChartCommand::View(ChartView::Log));
    until(&mut harness, "the log", |app| app.state().train.chart.log.lines.len() == 3);
    harness.run_ok();
    harness.get_by_label_contains("3 rows were left out");
    chart(&mut harness, ChartCommand::SearchLog("features".to_owned()));
    until(&mut harness, "the search", |app| app.state().train.chart.log.lines.len() == 1);
    let image = harness.render().unwrap();
    keep(&image, "training-log.png");
    chart(&mut harness, ChartCommand::View(ChartView::Machine));
    harness.run_ok();
}

#[test]
fn a_run_that_failed_says_why_with_its_last_lines_and_offers_to_resume() {
    let folder = tempfile::tempdir().unwrap();
    let end = RunEvent::Failed { error: "the device has no memory left".to_owned() };
    let run = write_run(folder.path(), "first", end);
    let mut harness = started(folder.path());
    show(&mut harness, &run, 3, 60);
    until(&mut harness, "the last lines", |app| app.state().train.chart.last_lines.is_some());
    harness.run_ok();
    harness.get_by_label("The run failed: the device has no memory left");
    harness.get_by_label("Resume from the beginning");
    harness.get_by_label("Copy what went wrong");
    harness.get_by_label_contains("INFO the end");
    keep(&harness.render().unwrap(), "training-failed.png");
}

/// Steps of the large run.
const MANY: usize = 200_000;
/// The window thread's time for a frame; what is not optimised is slower.
const LONGEST_FRAME: Duration = Duration::from_millis(if cfg!(debug_assertions) { 250 } else { 16 });

#[test]
fn a_run_of_many_steps_is_scrolled_and_zoomed_without_slow_frames() {
    let folder = tempfile::tempdir().unwrap();
    let stage = RunEvent::Stage { stage: "grpo".to_owned(), steps: MANY };
    let mut events = format!("{}\n", serde_json::to_string(&stage).unwrap());
    for n in 1..=MANY {
        let noise = (n * 7919 % 1000) as f64 / 1000.0;
        writeln!(
            events,
            "{{\"type\":\"step\",\"data\":{{\"stage\":\"grpo\",\"step\":{n},\"loss\":{noise},\
             \"learning_rate\":0.0001,\"gradient_norm\":{noise},\"secs\":{n},\
             \"measures\":{{\"kl\":{noise},\"entropy\":1.5,\"reward\":{noise},\"length\":200}}}}}}"
        )
        .unwrap();
    }
    let run = write_folder(folder.path(), "long", &events);
    let mut harness = started(folder.path());
    show(&mut harness, &run, 1, MANY);
    let middle = harness.get_by_label("Plot of Loss").rect().center();
    harness.hover_at(middle);
    harness.step();
    let mut longest = Duration::ZERO;
    for n in 0..100 {
        // Every other time the plot is zoomed, and the plots are scrolled between.
        let modifiers = if n % 2 == 0 { Modifiers::COMMAND } else { Modifiers::NONE };
        harness.event_modifiers(
            Event::MouseWheel {
                unit: MouseWheelUnit::Line,
                delta: vec2(0.0, if n % 4 < 2 { 1.0 } else { -1.0 }),
                phase: TouchPhase::Move,
                modifiers,
                source: MouseWheelSource::Wheel,
            },
            modifiers,
        );
        harness.step();
        let frame = harness.state().frame_times().last().unwrap();
        // Time on the clock also passes while other processes run.
        longest = longest.max(frame.processor.map_or(frame.own(), |own| own.min(frame.own())));
    }
    assert!(longest < LONGEST_FRAME, "the longest frame took {longest:?}");
    keep(&harness.render().unwrap(), "training-many-steps.png");
}
