//! The window: eframe's application, which drains events and commands in `logic` and only draws in `ui`.
//!
//! In reading order: `state` (plain data), `command` (what the user wants), `event` (what happened), `update` (every change of the state),
//! `workers` and `answerer` (threads), then the panels. After rerun's command sender and eframe's own split of logic and ui.

use std::path::PathBuf;
use std::time::Instant;

use crossbeam_channel::Receiver;
use eframe::egui_wgpu::RenderState;
use egui::{CentralPanel, Context, Frame, Margin, Panel, Popup, Ui, ViewportCommand};

use crate::places::Places;
use crate::slide::SlideHandle;
use crate::viewer::tile_engine::{EngineCounters, EngineSettings};
use crate::viewer::tile_renderer::TileRenderer;

mod answer_cards;
pub mod answer_view;
pub mod answerer;
mod ask_panel;
pub mod command;
pub mod event;
pub mod frame_times;
pub mod memory;
pub mod model_list;
mod model_picker;
mod model_worker;
mod notice;
pub mod patches;
mod picture;
mod pixel_limit;
mod problems;
pub mod read;
pub mod review;
mod slides_panel;
pub mod state;
mod status_bar;
pub mod theme;
mod top_bar;
pub mod train;
pub mod update;
mod viewer_messages;
mod viewer_panel;
mod widgets;
pub mod workers;

use answerer::AnswererMaker;
use command::{Command, CommandSender};
use event::Event;
use frame_times::FrameTimes;
use model_list::ModelLister;
use read::{ReadDesks, ReadPanels, ReadPlaces, ReadState, Side};
use review::{ReviewDesks, ReviewPanels};
use state::{AppState, Mode};
use train::control::ControlCommand;
use train::{TrainCommand, TrainDesks, TrainPanels, TrainPlaces, TrainState};
use update::Effect;
use viewer_panel::ViewerPanel;
use workers::{EventSender, Opener, Picker, Pickers, Workers};

/// Events taken in one frame: the rest waits for the next, so that none lasts long.
const EVENTS_PER_FRAME: usize = 64;

/// What the window is made with; tests and the self-test put other pieces in.
pub struct Parts {
    /// Opened at once.
    pub slides: Vec<PathBuf>,
    pub opener: Opener,
    pub picker: Picker,
    /// Asks for a model's folder.
    pub folder_picker: Picker,
    pub models: ModelLister,
    pub answerer: AnswererMaker,
    /// `None`: nothing is remembered.
    pub settings_file: Option<PathBuf>,
    pub training: TrainPlaces,
    pub reading: ReadPlaces,
    pub tiles: EngineSettings,
}

impl Parts {
    /// The real ones.
    pub fn usual(slides: Vec<PathBuf>) -> Self {
        let settings_file = Places::find().ok().map(|places| places.configuration.join("window.toml"));
        let last_model = settings_file.as_deref().and_then(|file| workers::read_settings(file).model);
        Self {
            slides,
            opener: std::sync::Arc::new(|path| SlideHandle::open(path)),
            picker: workers::system_picker(),
            folder_picker: workers::system_folder_picker(),
            models: model_list::system_lister(),
            answerer: Box::new(|events| Box::new(model_worker::ModelWorker::start(&events, last_model))),
            settings_file,
            training: TrainPlaces::usual(),
            reading: ReadPlaces::usual(),
            tiles: EngineSettings::default(),
        }
    }
}

/// winit takes files that are dropped on the window from X11 alone: where the desktop offers both, this process begins again
/// without the variables that lead winit to Wayland. (Telling its builder would need winit as a dependency of our own.)
#[cfg(target_os = "linux")]
fn prefer_x11() {
    use std::os::unix::process::CommandExt as _;
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (Some(display), Ok(program)) = (variable("DISPLAY"), std::env::current_exe()) else { return };
    // A variable that is left over from another session names a socket that is not there.
    let local = display.strip_prefix(':').and_then(|rest| rest.split('.').next());
    let is_there =
        local.is_none_or(|number| std::path::Path::new("/tmp/.X11-unix").join(format!("X{number}")).exists());
    let to_wayland = ["WAYLAND_DISPLAY", "WAYLAND_SOCKET"];
    if !is_there || to_wayland.iter().all(|name| variable(name).is_none()) {
        return;
    }
    let mut command = std::process::Command::new(program);
    command.args(std::env::args_os().skip(1));
    for name in to_wayland {
        command.env_remove(name);
    }
    let error = command.exec();
    tracing::warn!("files cannot be dropped on the window: {error}");
}

/// Opens the window with `slides` and returns when it is closed.
///
/// # Errors
/// When the system gives no window, for example without a display.
pub fn run(slides: Vec<PathBuf>) -> anyhow::Result<()> {
    #[cfg(target_os = "linux")]
    prefer_x11();
    let viewport = egui::ViewportBuilder::default()
        .with_title("ReinPath")
        .with_app_id("reinpath")
        .with_inner_size([1440.0, 900.0])
        .with_min_inner_size([900.0, 560.0])
        .with_drag_and_drop(true);
    let options = eframe::NativeOptions {
        viewport,
        renderer: eframe::Renderer::Wgpu,
        persistence_path: Places::find().ok().map(|places| places.data.join("window.ron")),
        ..Default::default()
    };
    let parts = Parts::usual(slides);
    eframe::run_native(
        "reinpath",
        options,
        Box::new(|cc| Ok(Box::new(App::new(&cc.egui_ctx, cc.wgpu_render_state.as_ref(), parts)))),
    )
    .map_err(|error| anyhow::anyhow!("The window cannot be opened: {error}"))
}

/// The application.
pub struct App {
    state: AppState,
    commands: CommandSender,
    command_receiver: Receiver<Command>,
    events: Receiver<Event>,
    workers: Workers,
    viewer: ViewerPanel,
    ask: ask_panel::AskPanel,
    train: TrainPanels,
    train_desks: TrainDesks,
    read: ReadPanels,
    read_desks: ReadDesks,
    review: ReviewPanels,
    review_desks: ReviewDesks,
    frame_times: FrameTimes,
    frame_started: Instant,
}

impl App {
    /// Makes the application; without a render state no tiles are drawn.
    pub fn new(ctx: &Context, render_state: Option<&RenderState>, parts: Parts) -> Self {
        theme::install(ctx);
        if let Some(render_state) = render_state {
            TileRenderer::install(render_state);
        }
        let (commands, command_receiver) = CommandSender::new();
        let (sender, events) = EventSender::new(ctx.clone());
        let answerer = (parts.answerer)(sender.clone());
        let settings = parts.settings_file.as_deref().map(workers::read_settings).unwrap_or_default();
        let train_desks = TrainDesks::new(&sender, &parts.training);
        let read_desks = ReadDesks::new(&sender, &parts.reading);
        let review_desks = ReviewDesks::new(&sender, &parts.reading);
        let pickers = Pickers { slides: parts.picker, folder: parts.folder_picker };
        let workers = Workers::new(
            sender,
            parts.opener,
            pickers,
            parts.models,
            answerer,
            parts.settings_file,
            parts.tiles,
        );
        if parts.slides.is_empty() && settings.mode == Mode::Train {
            commands.send(Command::Mode(Mode::Train));
        }
        for path in parts.slides {
            commands.send(Command::Open(path));
        }
        Self {
            state: AppState {
                settings,
                train: TrainState { places: parts.training, ..TrainState::default() },
                read: ReadState { places: parts.reading, ..ReadState::default() },
                ..AppState::default()
            },
            commands,
            command_receiver,
            events,
            workers,
            viewer: ViewerPanel::default(),
            ask: ask_panel::AskPanel::default(),
            train: TrainPanels::default(),
            train_desks,
            read: ReadPanels::default(),
            read_desks,
            review: ReviewPanels::default(),
            review_desks,
            frame_times: FrameTimes::default(),
            frame_started: Instant::now(),
        }
    }

    /// What is shown.
    pub fn state(&self) -> &AppState {
        &self.state
    }

    /// Where scripts put commands, as the panels do.
    pub fn commands(&self) -> &CommandSender {
        &self.commands
    }

    /// How long the last frames took.
    pub fn frame_times(&self) -> &FrameTimes {
        &self.frame_times
    }

    /// Whether all of the slide that is in view is drawn from its own tiles.
    pub fn is_view_complete(&self) -> bool {
        self.viewer.is_complete()
    }

    /// Tiles that were decoded for the viewer since the start.
    pub fn tiles_taken(&self) -> u64 {
        self.viewer.tiles_taken()
    }

    /// What the tiles cost since the start.
    pub fn tile_counters(&self) -> EngineCounters {
        self.viewer.counters()
    }

    /// Takes in what happened and carries out what is wanted. Draws nothing, waits for nothing.
    pub fn advance(&mut self, ctx: &Context) {
        self.frame_started = Instant::now();
        ctx.set_theme(self.state.settings.theme());
        for path in dropped_files(ctx) {
            self.commands.send(Command::Open(path));
        }
        if self.state.settings.notice_accepted {
            command::send_for_keys(ctx, self.state.mode, &self.commands);
        }
        let is_closing = ctx.input(|input| input.viewport().close_requested());
        if is_closing && self.state.train.control.must_ask_to_close() {
            ctx.send_viewport_cmd(ViewportCommand::CancelClose);
            self.commands.train(TrainCommand::Control(ControlCommand::AskToClose));
        }
        let mut taken = 0;
        while taken < EVENTS_PER_FRAME
            && let Ok(event) = self.events.try_recv()
        {
            taken += 1;
            self.take(ctx, event);
        }
        if taken == EVENTS_PER_FRAME {
            ctx.request_repaint();
        }
        while let Ok(command) = self.command_receiver.try_recv() {
            let effects = update::command(&mut self.state, command);
            self.carry_out(ctx, effects);
        }
    }

    fn take(&mut self, ctx: &Context, event: Event) {
        match &event {
            Event::SlideOpened { key, handle } if self.state.slide(*key).is_some() => {
                self.workers.adopt(*key, handle.clone());
            }
            Event::Tile { key, tile, pixels } => {
                self.viewer.arrive(*key, *tile, pixels.as_ref());
                if pixels.is_ok() {
                    return;
                }
            }
            _ => {}
        }
        let effects = update::event(&mut self.state, event);
        self.carry_out(ctx, effects);
    }

    fn carry_out(&mut self, ctx: &Context, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::CopyText(text) => ctx.copy_text(text),
                Effect::ToggleModelPicker => Popup::toggle_id(ctx, model_picker::id()),
                Effect::Train(effect) => self.train_desks.carry_out(effect),
                Effect::Read(effect) => self.read_desks.carry_out(effect, &self.workers),
                Effect::Review(effect) => self.review_desks.carry_out(effect, &self.workers),
                Effect::Quit => ctx.send_viewport_cmd(ViewportCommand::Close),
                effect => {
                    if let Effect::CloseSlide { key } = effect {
                        self.viewer.forget(key);
                    }
                    let model = self.state.model.info().cloned();
                    self.workers.carry_out(effect, model.as_ref(), self.state.max_pixels());
                }
            }
        }
    }

    /// Draws.
    pub fn draw(&mut self, ui: &mut Ui) {
        let (state, commands) = (&self.state, &self.commands);
        let side = |horizontal: i8, vertical: i8| {
            Frame::new().fill(theme::of(ui).panel).inner_margin(Margin::symmetric(horizontal, vertical))
        };
        let (bar, panel) = (side(8, 0), side(8, 8));
        let top = Panel::top("top bar").exact_size(theme::TOP_BAR).resizable(false);
        top.frame(bar).show(ui, |ui| top_bar::ui(ui, state, commands));
        let bottom = Panel::bottom("status bar").exact_size(theme::STATUS_BAR).resizable(false);
        bottom.frame(bar).show(ui, |ui| status_bar::ui(ui, state, &self.frame_times, commands));
        let seen = match state.mode {
            Mode::Read => {
                if !state.left_folded {
                    let left =
                        Panel::left("slides").default_size(theme::LEFT_PANEL).size_range(180.0..=360.0);
                    left.frame(panel).show(ui, |ui| slides_panel::ui(ui, state, commands));
                }
                let right = Panel::right("ask").default_size(theme::RIGHT_PANEL).size_range(300.0..=640.0);
                let (workers, viewer, ask) = (&self.workers, &mut self.viewer, &mut self.ask);
                let (read, review) = (&mut self.read, &mut self.review);
                right.frame(panel).show(ui, |ui| {
                    ReadPanels::side_ui(ui, state, commands);
                    match state.read.side {
                        Side::Ask => ask.ui(ui, state, review, commands),
                        Side::Annotations => read.annotate.ui(ui, state, commands),
                        Side::Colour => read.colour.ui(ui, state, commands),
                        Side::Tissue => read.survey.ui(ui, state, commands),
                        Side::Cases => review.cases_ui(ui, state, commands),
                    }
                });
                read.annotate.tools_ui(ui, state, commands);
                review.below_ui(ui, state, commands);
                CentralPanel::no_frame()
                    .show(ui, |ui| viewer.ui(ui, state, read, review, commands, workers))
                    .inner
            }
            Mode::Train => self.train.ui(ui, state, commands),
        };
        problems::ui(ui, seen, state, commands);
        self.train.over_all(ui, state, commands);
        self.read.over_all(ui, state, commands);
        self.review.over_all(ui, state, commands);
        if !state.settings.notice_accepted {
            notice::ui(ui, commands);
        }
        widgets::focus_ring(ui);
        if self.state.mode == Mode::Read {
            self.state.read.views.centre = Some(seen);
            self.state.viewer = self.state.read.views.active_rect();
        }
        self.finish_frame(ui);
    }

    fn finish_frame(&mut self, ui: &Ui) {
        // What panels sent in this frame is carried out at the beginning of the next one.
        if !self.command_receiver.is_empty() {
            ui.ctx().request_repaint();
        }
        self.frame_times.push(self.frame_started.elapsed(), self.viewer.prepare_time());
    }
}

impl eframe::App for App {
    fn logic(&mut self, ctx: &Context, _frame: &mut eframe::Frame) {
        self.advance(ctx);
    }

    fn ui(&mut self, ui: &mut Ui, _frame: &mut eframe::Frame) {
        self.draw(ui);
    }
}

fn dropped_files(ctx: &Context) -> Vec<PathBuf> {
    ctx.input(|input| input.raw.dropped_files.iter().map(|file| file.path().to_path_buf()).collect())
}
