//! The whole application under `egui_kittest`, with a scripted model and slides drawn for the test.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use egui::{Key, Pos2, Rect, Role, Vec2, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use image::{Rgb, RgbImage, RgbaImage};
use reinpath::slide::SlideHandle;
use reinpath::viewer::tile_engine::EngineSettings;
use reinpath::viewer::viewport::Viewport;
use reinpath::window::answerer::Answerer;
use reinpath::window::event::Event;
use reinpath::window::model_list::ModelList;
use reinpath::window::read::ReadPlaces;
use reinpath::window::state::ModelInfo;
use reinpath::window::train::TrainPlaces;
use reinpath::window::update::AskOrder;
use reinpath::window::workers::EventSender;
use reinpath::window::{App, Parts};
use reinpath_model::event::{AskEvent, Finished, Stop};
use reinpath_model::package::Generation;
use reinpath_model::stage::{AnswerStage, StagedAnswer};

/// Nothing on a busy machine takes longer.
const LONGEST: Duration = Duration::from_secs(30);

/// Colours of the test slide's quarters: top left, top right, bottom left, bottom right.
pub(crate) const QUARTERS: [[u8; 3]; 4] = [[200, 40, 90], [60, 160, 70], [50, 80, 190], [230, 200, 60]];

/// A slide of 1200 × 900 px in four colours.
pub(crate) fn draw_slide(folder: &Path) -> PathBuf {
    let path = folder.join("quarters.png");
    let image =
        RgbImage::from_fn(1200, 900, |x, y| Rgb(QUARTERS[usize::from(x >= 600) + 2 * usize::from(y >= 450)]));
    image.save(&path).unwrap();
    path
}

/// A model that says what the test makes it say.
#[derive(Clone, Default)]
pub(crate) struct Script {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    events: Option<EventSender>,
    orders: Vec<AskOrder>,
    stopped: Vec<u64>,
    used: Vec<PathBuf>,
    cancelled_loads: usize,
    models: ModelList,
}

impl Script {
    /// The questions that were asked.
    pub(crate) fn orders(&self) -> Vec<AskOrder> {
        self.inner.lock().unwrap().orders.clone()
    }

    /// The orders that were stopped.
    pub(crate) fn stopped(&self) -> Vec<u64> {
        self.inner.lock().unwrap().stopped.clone()
    }

    /// The packages that were chosen.
    pub(crate) fn used(&self) -> Vec<PathBuf> {
        self.inner.lock().unwrap().used.clone()
    }

    /// How often a load was cancelled.
    pub(crate) fn cancelled_loads(&self) -> usize {
        self.inner.lock().unwrap().cancelled_loads
    }

    /// What the picker is to find.
    pub(crate) fn lay_out(&self, models: ModelList) {
        self.inner.lock().unwrap().models = models;
    }

    /// Sends an event of the model.
    pub(crate) fn tell(&self, event: Event) {
        assert!(self.inner.lock().unwrap().events.as_ref().unwrap().send(event));
    }

    /// Sends an event of the last question.
    pub(crate) fn say(&self, event: AskEvent) {
        let id = self.orders().last().unwrap().id;
        self.tell(Event::Ask { id, event });
    }

    /// A heading and a text.
    pub(crate) fn write(&self, stage: AnswerStage, text: &str) {
        self.say(AskEvent::Stage { stage });
        for (index, word) in text.split_inclusive(' ').enumerate() {
            self.say(AskEvent::Token { index, stage: Some(stage), text: word.to_owned(), logprob: -0.1 });
        }
    }

    pub(crate) fn finish(&self, stop: Stop) {
        self.say(finished(stop));
    }
}

/// The end of an answer.
pub(crate) fn finished(stop: Stop) -> AskEvent {
    AskEvent::Finished(Finished {
        answer: StagedAnswer::default(),
        choice: None,
        format_ok: true,
        tokens: 12,
        prefill_secs: 0.1,
        decode_secs: 0.5,
        stop,
        raw: String::new(),
        options: Vec::new(),
    })
}

impl Answerer for Script {
    fn warm_up(&mut self) {}

    fn use_package(&mut self, folder: PathBuf) {
        self.inner.lock().unwrap().used.push(folder);
    }

    fn cancel_load(&mut self) {
        self.inner.lock().unwrap().cancelled_loads += 1;
    }

    fn ask(&mut self, order: AskOrder, _slide: SlideHandle, _model: Arc<ModelInfo>) {
        self.inner.lock().unwrap().orders.push(order);
    }

    fn stop(&mut self, id: u64) {
        self.inner.lock().unwrap().stopped.push(id);
    }
}

/// The model that answers; none of its answers is longer than 64 tokens.
pub(crate) fn model() -> ModelInfo {
    let generation = Generation { max_tokens: 64, ..Generation::default() };
    ModelInfo { generation, ..ModelInfo::scripted("scripted") }
}

/// The window as it is started for the first time: with the notice, and without training.
pub(crate) fn window(slides: Vec<PathBuf>, picked: Vec<PathBuf>, script: &Script) -> Harness<'static, App> {
    harness(parts(slides, picked, script))
}

/// The window with remembered settings, and with what it trains with.
pub(crate) fn window_with(
    slides: Vec<PathBuf>,
    script: &Script,
    settings_file: Option<PathBuf>,
    training: TrainPlaces,
) -> Harness<'static, App> {
    harness(Parts { settings_file, training, ..parts(slides, Vec::new(), script) })
}

/// The window with whatever else differs from the usual test: settings, a store.
pub(crate) fn window_from(
    slides: Vec<PathBuf>,
    script: &Script,
    settings_file: Option<PathBuf>,
    reading: ReadPlaces,
) -> Harness<'static, App> {
    harness(Parts { settings_file, reading, ..parts(slides, Vec::new(), script) })
}

fn parts(slides: Vec<PathBuf>, picked: Vec<PathBuf>, script: &Script) -> Parts {
    let (script, shelf) = (script.clone(), script.clone());
    Parts {
        slides,
        opener: Arc::new(|path| {
            let program = env!("CARGO_BIN_EXE_reinpath");
            SlideHandle::open_with_command(program, &["slide-server".into()], path, Duration::from_secs(20))
        }),
        picker: Arc::new(move || Ok(picked.clone())),
        folder_picker: Arc::new(|| Ok(vec!["models/elsewhere".into()])),
        models: Arc::new(move |_in_use| shelf.inner.lock().unwrap().models.clone()),
        answerer: Box::new(move |events| {
            script.inner.lock().unwrap().events = Some(events.clone());
            assert!(events.send(Event::Package(Ok(Arc::new(model())))));
            Box::new(script)
        }),
        settings_file: None,
        training: TrainPlaces::default(),
        reading: ReadPlaces::default(),
        tiles: EngineSettings::default(),
    }
}

fn harness(parts: Parts) -> Harness<'static, App> {
    Harness::builder()
        .with_size(vec2(1440.0, 900.0))
        .wgpu()
        .build_eframe(|cc| App::new(&cc.egui_ctx, cc.wgpu_render_state.as_ref(), parts))
}

/// Frames until `done`.
pub(crate) fn until(harness: &mut Harness<'_, App>, what: &str, done: impl Fn(&App) -> bool) {
    let begun = Instant::now();
    while !done(harness.state()) {
        assert!(begun.elapsed() < LONGEST, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(3));
        harness.step();
    }
    harness.step();
}

/// Frames until everything in view is drawn from its own tiles.
pub(crate) fn until_drawn(harness: &mut Harness<'_, App>) {
    until(harness, "the slide to be drawn", App::is_view_complete);
}

/// Past the notice, once everything in view is drawn.
pub(crate) fn pass_notice(harness: &mut Harness<'_, App>) {
    harness.step();
    harness.get_by_label("Accept and continue").click();
    until_drawn(harness);
}

/// Places a patch in the middle of the viewer and asks what is seen there.
pub(crate) fn ask_about_the_middle(harness: &mut Harness<'_, App>) {
    harness.key_press(Key::P);
    harness.step();
    let middle = viewer(harness).center();
    click_at(harness, middle);
    harness.get_by_label("Question").focus();
    harness.step();
    harness.get_by_label("Question").type_text("What is seen?");
    harness.run_ok();
    harness.get_by_role_and_label(Role::Button, "Ask").click();
    until(harness, "the question to be asked", |app| app.state().is_asking());
}

/// The viewer's rectangle.
pub(crate) fn viewer(harness: &Harness<'_, App>) -> Rect {
    harness.state().state().viewer.unwrap()
}

/// What is shown of the slide in view: the whole of it until something else was wished for.
pub(crate) fn shown_viewport(harness: &Harness<'_, App>) -> Viewport {
    harness.state().state().shown_slide().unwrap().viewport_in(viewer(harness).size()).unwrap()
}

/// Moves there and clicks.
pub(crate) fn click_at(harness: &mut Harness<'_, App>, at: Pos2) {
    harness.hover_at(at);
    harness.step();
    harness.drag_at(at);
    harness.step();
    harness.drop_at(at);
    harness.step();
    harness.step();
}

/// Presses, moves in a few steps and releases.
pub(crate) fn drag(harness: &mut Harness<'_, App>, from: Pos2, by: Vec2) {
    harness.hover_at(from);
    harness.step();
    harness.drag_at(from);
    harness.step();
    for n in 1_u8..=4 {
        harness.hover_at(from + by * (f32::from(n) / 4.0));
        harness.step();
    }
    harness.drop_at(from + by);
    harness.step();
    harness.step();
}

/// The colour of a pixel.
pub(crate) fn pixel(image: &RgbaImage, at: Pos2) -> [u8; 3] {
    let [r, g, b, _] = image.get_pixel(at.x as u32, at.y as u32).0;
    [r, g, b]
}

/// Whether two colours differ by no more than rounding does.
pub(crate) fn alike(a: [u8; 3], b: [u8; 3]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.abs_diff(b) <= 3)
}
