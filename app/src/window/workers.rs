//! The threads behind the window: opening slides, decoding tiles, cutting patches, the file dialog, saving settings.
//!
//! Each is named, owns what it works on and reports through one bounded channel of events; dropping its handle ends it. The model is
//! behind `answerer.rs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::Builder;

use crossbeam_channel::{Receiver, Sender, bounded};
use egui::Context;
use image::RgbImage;
use image::imageops::{FilterType, resize, thumbnail};
use reinpath_model::package::{EncoderSpec, VisionSpec};
use reinpath_model::patch::Patch;

use super::answerer::Answerer;
use super::event::{Event, TileFailure};
use super::memory;
use super::model_list::ModelLister;
use super::patches::{PatchId, PatchLook, PatchPicture};
use super::picture::Picture;
use super::state::{Eyes, ModelInfo, Settings};
use super::update::{AskOrder, Effect};
use crate::ask::cut_patch;
use crate::models;
use crate::places::Places;
use crate::slide::{self, Region, SlideHandle, TileId};
use crate::viewer::tile_cache::SlideKey;
use crate::viewer::tile_engine::{EngineSettings, TileEngine};

/// Events that wait for the next frame.
const MOST_EVENTS: usize = 256;
/// Patches that wait to be cut.
const MOST_CUTS: usize = 256;
/// The longer side of an overview in pixels.
const OVERVIEW_PX: u32 = 512;
/// The longer side in pixels of the picture of a whole patch: it is shown small, and a texture has its limits.
const WHOLE_PATCH_PX: u32 = 512;
/// The largest coarsest level that an overview is made from.
const MOST_OVERVIEW_SOURCE: u64 = 6000 * 6000;

/// Opens a slide; tests put another reading process in its place.
pub type Opener = Arc<dyn Fn(&Path) -> Result<SlideHandle, slide::Error> + Send + Sync>;
/// Asks the user for files, or for one folder; an error is a sentence that says what to do instead. Runs in a thread of its own.
pub type Picker = Arc<dyn Fn() -> Result<Vec<PathBuf>, String> + Send + Sync>;

/// How the user is asked.
pub(super) struct Pickers {
    /// For slides.
    pub slides: Picker,
    /// For a model's folder.
    pub folder: Picker,
}

/// Where worker threads put events; wakes the window.
#[derive(Clone)]
pub struct EventSender {
    sender: Sender<Event>,
    ctx: Context,
}

impl EventSender {
    pub(super) fn new(ctx: Context) -> (Self, Receiver<Event>) {
        let (sender, receiver) = bounded(MOST_EVENTS);
        (Self { sender, ctx }, receiver)
    }

    /// Waits while the window is busy; false when it is gone.
    pub fn send(&self, event: Event) -> bool {
        let sent = self.sender.send(event).is_ok();
        self.ctx.request_repaint();
        sent
    }

    /// For the window thread itself, which must not wait for the channel that it empties: false when there is no room.
    fn offer(&self, event: Event) -> bool {
        let sent = self.sender.try_send(event).is_ok();
        self.ctx.request_repaint();
        sent
    }

    /// For making pictures.
    pub fn context(&self) -> &Context {
        &self.ctx
    }
}

/// An open slide's threads.
struct Desk {
    handle: SlideHandle,
    cuts: Sender<Cut>,
}

/// A patch to be cut as a model receives it.
struct Cut {
    patch: PatchId,
    region: Region,
    model: Arc<ModelInfo>,
    /// As [`super::state::AppState::max_pixels`].
    max_pixels: Option<u64>,
}

/// All of them.
pub struct Workers {
    events: EventSender,
    opener: Opener,
    pickers: Pickers,
    models: ModelLister,
    answerer: Box<dyn Answerer>,
    settings_file: Option<PathBuf>,
    engine: TileEngine,
    desks: BTreeMap<SlideKey, Desk>,
    /// Threads that only watch end when this is dropped.
    _alive: Sender<()>,
}

impl Workers {
    pub(super) fn new(
        events: EventSender,
        opener: Opener,
        pickers: Pickers,
        models: ModelLister,
        answerer: Box<dyn Answerer>,
        settings_file: Option<PathBuf>,
        tiles: EngineSettings,
    ) -> Self {
        let (alive, until_gone) = bounded(0);
        let watch = events.clone();
        let (desks, engine) = (BTreeMap::new(), start_engine(tiles, &events));
        let workers =
            Self { events, opener, pickers, models, answerer, settings_file, engine, desks, _alive: alive };
        Self::spawn("memory", move || memory::watch(&watch, &until_gone));
        workers
    }

    /// Carries out an effect for the model in use, which is given at most so many pixels of a patch; those of the window itself (the
    /// clipboard, quitting) are `window.rs`'s.
    pub(super) fn carry_out(
        &mut self,
        effect: Effect,
        model: Option<&Arc<ModelInfo>>,
        max_pixels: Option<u64>,
    ) {
        match effect {
            Effect::OpenSlide { key, path } => self.open(key, path),
            Effect::CloseSlide { key } => {
                self.engine.close(key);
                drop(self.desks.remove(&key));
            }
            Effect::ReadPatch { key, patch, region } => {
                if let Some(model) = model {
                    let model = Arc::clone(model);
                    self.cut(key, Cut { patch, region, model, max_pixels });
                }
            }
            Effect::PickSlides => self.pick(&self.pickers.slides, Event::Picked),
            Effect::PickModelFolder => {
                self.pick(&self.pickers.folder, |folders| {
                    Event::ModelFolderPicked(folders.into_iter().next())
                });
            }
            Effect::ReadModels { in_use } => self.read_models(in_use),
            Effect::UsePackage(folder) => self.answerer.use_package(folder),
            Effect::CancelLoad => self.answerer.cancel_load(),
            Effect::WarmUp => self.answerer.warm_up(),
            Effect::Ask(order) => self.ask(*order, model),
            Effect::StopAsking { id } => self.answerer.stop(id),
            Effect::SaveSettings(settings) => self.save(settings),
            Effect::ReleaseModel => self.answerer.release(),
            Effect::CopyText(_)
            | Effect::ToggleModelPicker
            | Effect::Train(_)
            | Effect::Read(_)
            | Effect::Review(_)
            | Effect::Quit => {}
        }
    }

    /// Takes over a slide that was opened.
    pub(super) fn adopt(&mut self, key: SlideKey, handle: SlideHandle) {
        self.engine.open(key, &handle);
        let (cuts, jobs) = bounded(MOST_CUTS);
        let (events, slide) = (self.events.clone(), handle.clone());
        Self::spawn("slide-patches", move || {
            send_overview(key, &slide, &events);
            for job in jobs {
                let picture = cut(&slide, &job, events.context()).unwrap_or_else(PatchPicture::Failed);
                if !events.send(Event::PatchPicture { key, patch: job.patch, picture }) {
                    return;
                }
            }
        });
        self.desks.insert(key, Desk { handle, cuts });
    }

    /// The handle of an open slide, for threads of their own: reading through it waits.
    pub(super) fn handle(&self, key: SlideKey) -> Option<SlideHandle> {
        self.desks.get(&key).map(|desk| desk.handle.clone())
    }

    /// Where the tiles of all slides come from.
    pub(super) fn engine(&self) -> &TileEngine {
        &self.engine
    }

    /// Tells why a tile cannot be read; false when that must be told again later.
    pub(super) fn tell_failure(&self, key: SlideKey, tile: TileId, failure: TileFailure) -> bool {
        self.events.offer(Event::Tile { key, tile, pixels: Err(failure) })
    }

    fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
        if let Err(error) = Builder::new().name(name.to_owned()).spawn(work) {
            // Nothing that depends on this thread will happen; the user can only free resources and try again.
            tracing::error!("cannot start the thread {name}: {error}");
        }
    }

    fn open(&self, key: SlideKey, path: PathBuf) {
        let (events, opener) = (self.events.clone(), Arc::clone(&self.opener));
        Self::spawn("open-slide", move || {
            let event = match opener(&path) {
                Ok(handle) => Event::SlideOpened { key, handle },
                Err(error) => Event::SlideFailed { key, sentence: error.to_string() },
            };
            events.send(event);
        });
    }

    fn cut(&self, key: SlideKey, job: Cut) {
        let Some(desk) = self.desks.get(&key) else { return };
        let patch = job.patch;
        if desk.cuts.try_send(job).is_err() {
            let picture =
                PatchPicture::Failed("Too many patches at once; remove it and place it again.".into());
            let events = self.events.clone();
            // The channel of events may be full as well, and the window thread must not wait for itself.
            Self::spawn("patch-refused", move || {
                events.send(Event::PatchPicture { key, patch, picture });
            });
        }
    }

    fn ask(&mut self, order: AskOrder, model: Option<&Arc<ModelInfo>>) {
        if let (Some(desk), Some(model)) = (self.desks.get(&order.slide), model) {
            self.answerer.ask(order, desk.handle.clone(), Arc::clone(model));
        }
    }

    fn pick(&self, picker: &Picker, picked: fn(Vec<PathBuf>) -> Event) {
        let (events, picker) = (self.events.clone(), Arc::clone(picker));
        Self::spawn("file-dialog", move || {
            let event = match picker() {
                Ok(paths) => picked(paths),
                Err(sentence) => Event::PickerFailed(sentence),
            };
            events.send(event);
        });
    }

    fn read_models(&self, in_use: Option<PathBuf>) {
        let (events, models) = (self.events.clone(), Arc::clone(&self.models));
        Self::spawn("model-list", move || {
            events.send(Event::Models(models(in_use.as_deref())));
        });
    }

    fn save(&self, settings: Settings) {
        let Some(path) = self.settings_file.clone() else { return };
        let events = self.events.clone();
        Self::spawn("save-settings", move || {
            if let Err(sentence) = save_settings(&path, &settings) {
                events.send(Event::Problem(sentence));
            }
        });
    }
}

/// Reads the settings; those of a file that is not there, or not understood, are the usual ones.
pub fn read_settings(path: &Path) -> Settings {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    toml::from_str(&text).unwrap_or_default()
}

fn save_settings(path: &Path, settings: &Settings) -> Result<(), String> {
    let in_words = |error: &dyn std::fmt::Display| {
        format!("The settings could not be saved, {error}: {}", path.display())
    };
    let text = toml::to_string(settings).map_err(|error| in_words(&error))?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| in_words(&error))?;
    }
    std::fs::write(path, text).map_err(|error| in_words(&error))
}

/// The system's dialog for slides.
pub fn system_picker() -> Picker {
    Arc::new(|| {
        let instead = "Drop a slide on the window, or start the program with the slide's path.";
        with_dialog(instead, || rfd::FileDialog::new().set_title("Open slide").pick_files())
    })
}

/// The system's dialog for a model's folder.
pub fn system_folder_picker() -> Picker {
    Arc::new(|| {
        let instead = match Places::find() {
            Ok(places) => {
                let shelf = models::folder(&places);
                format!("Put the model's folder, or a link to it, into {}", shelf.display())
            }
            Err(_no_home) => {
                "Set REINPATH_HOME and put the model's folder into data/models below it.".to_owned()
            }
        };
        let pick = || rfd::FileDialog::new().set_title("Open a model folder").pick_folder();
        with_dialog(&instead, || pick().map(|folder| vec![folder]))
    })
}

/// What a dialog gave; `instead` is said where the system shows none.
pub(super) fn with_dialog(
    instead: &str,
    dialog: impl FnOnce() -> Option<Vec<PathBuf>>,
) -> Result<Vec<PathBuf>, String> {
    /// Nobody closes a dialog sooner than this: there was none.
    const SOONEST: std::time::Duration = std::time::Duration::from_millis(250);
    let asked = std::time::Instant::now();
    match dialog() {
        None if asked.elapsed() < SOONEST => {
            Err(format!("This system shows no file dialog (it needs a desktop portal or zenity). {instead}"))
        }
        picked => Ok(picked.unwrap_or_default()),
    }
}

/// Without threads there are no tiles, which is said; everything else goes on.
fn start_engine(settings: EngineSettings, events: &EventSender) -> TileEngine {
    let ctx = events.context().clone();
    TileEngine::start(settings, Arc::new(move || ctx.request_repaint())).unwrap_or_else(|error| {
        events
            .offer(Event::Problem(format!("Slides cannot be drawn: the system gives no threads, {error}.")));
        TileEngine::idle()
    })
}

/// Without an overview the window shows an empty one; a slide that cannot be read says so by its tiles.
fn send_overview(key: SlideKey, slide: &SlideHandle, events: &EventSender) {
    let info = slide.info();
    let Some((level, coarsest)) = (0..).zip(&info.levels).last() else { return };
    if u64::from(coarsest.width) * u64::from(coarsest.height) > MOST_OVERVIEW_SOURCE {
        return;
    }
    let Ok(pixels) = slide.read_region(level, 0, 0, coarsest.width, coarsest.height) else { return };
    let scale = f64::from(OVERVIEW_PX) / f64::from(coarsest.width.max(coarsest.height).max(1));
    let side = |length: u32| ((f64::from(length) * scale.min(1.0)).round() as u32).max(1);
    let small = resize(&pixels.image, side(coarsest.width), side(coarsest.height), FilterType::Triangle);
    events.send(Event::Overview { key, picture: Picture::new(events.context(), "overview", &small) });
}

fn cut(slide: &SlideHandle, job: &Cut, ctx: &Context) -> Result<PatchPicture, String> {
    let cut = cut_patch(slide, job.region, job.model.patch.mpp).map_err(|error| error.to_string())?;
    let (level, mpp) = (cut.source.level, cut.patch.mpp);
    let (given, whole) = match &job.model.eyes {
        Eyes::Encoder(encoder) => square(cut.patch, encoder, ctx)?,
        Eyes::Vision(vision) => (scaled(&cut.patch, vision, job.max_pixels, ctx)?, None),
    };
    Ok(PatchPicture::Ready(Box::new(PatchLook { given, whole, level, mpp })))
}

/// As [`PatchLook::whole`].
type Whole = Option<(Picture, [f32; 4])>;

/// What an encoder receives of a patch, and, where its crop takes something away, the whole patch with what is kept of it.
fn square(patch: Patch, encoder: &EncoderSpec, ctx: &Context) -> Result<(Picture, Whole), String> {
    let input = patch.for_encoder(encoder).map_err(|error| error.to_string())?;
    let [x, y, w, h] = patch.square_for(encoder).map_err(|error| error.to_string())?.crop;
    let (width, height) = (f64::from(patch.width), f64::from(patch.height));
    let takes_away = w < width - 0.5 || h < height - 0.5;
    let crop = [(x / width) as f32, (y / height) as f32, (w / width) as f32, (h / height) as f32];
    let given = RgbImage::from_raw(input.side, input.side, input.rgb)
        .ok_or("the encoder's picture has too few pixels")?;
    let given = Picture::new(ctx, "patch", &given);
    let whole = RgbImage::from_raw(patch.width, patch.height, patch.rgb).filter(|_| takes_away);
    let whole = whole.map(|whole| (Picture::new(ctx, "whole patch", &shrunk(whole)), crop));
    Ok((given, whole))
}

/// What a vision tower receives of a patch: all of it, in the size that the limit allows.
fn scaled(
    patch: &Patch,
    vision: &VisionSpec,
    max_pixels: Option<u64>,
    ctx: &Context,
) -> Result<Picture, String> {
    let input = patch.for_vision(vision, max_pixels).map_err(|error| error.to_string())?;
    let given = RgbImage::from_raw(input.size.width_px, input.size.height_px, input.rgb)
        .ok_or("the vision tower's picture has too few pixels")?;
    Ok(Picture::new(ctx, "patch", &shrunk(given)))
}

/// At most [`WHOLE_PATCH_PX`] wide and high.
fn shrunk(image: RgbImage) -> RgbImage {
    let longer = image.width().max(image.height());
    if longer <= WHOLE_PATCH_PX {
        return image;
    }
    let side =
        |length: u32| (u64::from(length) * u64::from(WHOLE_PATCH_PX) / u64::from(longer)).max(1) as u32;
    thumbnail(&image, side(image.width()), side(image.height()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_patch_becomes_a_small_picture() {
        for (size, shown) in [((9000, 50), (512, 2)), ((40, 9000), (2, 512)), ((300, 200), (300, 200))] {
            assert_eq!(shrunk(RgbImage::new(size.0, size.1)).dimensions(), shown);
        }
        assert_eq!(shrunk(RgbImage::new(9000, 1)).dimensions(), (512, 1));
    }

    #[test]
    fn settings_survive_and_a_damaged_file_means_the_usual_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config/window.toml");
        assert_eq!(read_settings(&path), Settings::default());
        let model = Some(folder.path().join("models/own"));
        let settings = Settings { dark: false, model, max_pixels: Some(401_408), ..Settings::default() };
        save_settings(&path, &settings).unwrap();
        assert_eq!(read_settings(&path), settings);
        std::fs::write(&path, "dark = 3 ][").unwrap();
        assert_eq!(read_settings(&path), Settings::default());
        let error = save_settings(&path.join("below a file"), &settings).unwrap_err();
        assert!(error.starts_with("The settings could not be saved") && error.ends_with("below a file"));
    }
}
