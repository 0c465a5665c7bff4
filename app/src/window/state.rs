//! What the window shows, as plain data: slides, patches, the answer, the model, what went wrong.
//!
//! Only `update.rs` changes it. Handles, channels and threads are elsewhere (`workers.rs`); what is being typed belongs to the panels.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use egui::{Rect, Theme, Vec2};
use serde::{Deserialize, Serialize};

use super::answer_view::AnswerView;
use super::model_list::ModelList;
use super::patches::Patches;
use super::picture::Picture;
use super::read::ReadState;
use super::review::ReviewState;
use super::train::TrainState;
use crate::ask;
use crate::slide::SlideInfo;
use crate::viewer::tile_cache::SlideKey;
use crate::viewer::viewport::Viewport;

mod model_info;

pub use self::model_info::{Eyes, ModelInfo};

/// All of it.
#[derive(Debug, Default)]
pub struct AppState {
    pub mode: Mode,
    pub train: TrainState,
    pub read: ReadState,
    pub review: ReviewState,
    /// In the order of their tabs.
    pub slides: Vec<SlideTab>,
    pub shown: Option<SlideKey>,
    /// The slide that was closed last: what was marked on it is there again when its file is opened again.
    pub last_closed: Option<SlideTab>,
    pub tool: Tool,
    pub settings: Settings,
    pub problems: Vec<Problem>,
    pub model: ModelState,
    pub answer: Option<AnswerView>,
    /// Whether a dialog for files or a folder is open.
    pub picking: bool,
    /// Memory of this process; `None` where the system does not tell.
    pub memory_mib: Option<f64>,
    pub frame_times_shown: bool,
    pub left_folded: bool,
    /// The viewer's rectangle in the last frame.
    pub viewer: Option<Rect>,
    pub(super) last_id: u64,
}

/// What the window remembers from one start to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    pub dark: bool,
    /// Whether the notice that this is for research use only was accepted.
    pub notice_accepted: bool,
    /// Folder of the model package that was chosen; `None` for the demo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
    /// Most pixels of a patch that a model is given which takes patches of any size; `None`: as many as usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pixels: Option<u64>,
    /// The mode that was left.
    pub mode: Mode,
    /// Runs outside the runs folder that were opened.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<PathBuf>,
    /// Slides that were opened before, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recent: Vec<PathBuf>,
    pub chart: ChartSettings,
    pub read: ReadSettings,
    pub review: ReviewSettings,
    /// Keys that the user changed: by the command's name, as text such as `Ctrl+Shift+K`; no text: the command has none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<String, Vec<String>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            dark: true,
            notice_accepted: false,
            model: None,
            max_pixels: None,
            mode: Mode::Read,
            runs: Vec::new(),
            recent: Vec::new(),
            chart: ChartSettings::default(),
            read: ReadSettings::default(),
            review: ReviewSettings::default(),
            keys: BTreeMap::new(),
        }
    }
}

/// How slides are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReadSettings {
    /// Whether names of files are replaced by numbers and labels stay hidden, for blinded reading.
    pub is_blinded: bool,
    /// Whether slides are drawn without their ICC profile.
    pub is_icc_off: bool,
    /// The side of the grid's squares, in µm.
    pub grid_um: u32,
}

impl Default for ReadSettings {
    fn default() -> Self {
        Self { is_blinded: false, is_icc_off: false, grid_um: 250 }
    }
}

/// How answers are read and judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReviewSettings {
    /// Who judges; stands in the log, and in exports only where asked for.
    pub reviewer: String,
    /// Whether maps of where sentences look are made without being asked for, once an answer has ended.
    pub makes_maps: bool,
    /// Whether terms of the glossary are marked.
    pub marks_terms: bool,
    /// Words less likely than this, in per cent, are underlined; 0: none.
    pub unsure_below: u8,
}

impl Default for ReviewSettings {
    fn default() -> Self {
        Self { reviewer: String::new(), makes_maps: true, marks_terms: true, unsure_below: 50 }
    }
}

/// How plots are drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChartSettings {
    /// How much of the past a point holds, in per cent; 0: nothing is smoothed.
    pub smoothing: u8,
    pub is_logarithmic: bool,
    /// Measures that are not shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hidden: Vec<String>,
}

impl Default for ChartSettings {
    fn default() -> Self {
        Self { smoothing: 60, is_logarithmic: false, hidden: Vec::new() }
    }
}

impl Settings {
    pub fn theme(&self) -> Theme {
        if self.dark { Theme::Dark } else { Theme::Light }
    }
}

/// What the window is for at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Slides, questions, answers.
    #[default]
    Read,
    /// Runs.
    Train,
}

/// What the primary mouse button does on the slide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tool {
    #[default]
    Pan,
    Patch,
    /// Draws or measures.
    Mark(Mark),
    /// A click chooses the background that becomes white.
    White,
}

/// What is drawn or measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Rectangle,
    Ellipse,
    Polygon,
    Freehand,
    Line,
    Point,
    /// A length; nothing is kept of it but what is seen.
    Ruler,
    /// An area.
    Area,
    Angle,
    /// The ring of a field of 0.24 mm².
    Field,
    /// A square of 1 mm².
    Square,
    /// Each click counts one, inside the ring or the square.
    Counter,
}

/// A slide that was opened, or is being opened, or could not be.
#[derive(Debug)]
pub struct SlideTab {
    pub key: SlideKey,
    pub path: PathBuf,
    pub status: SlideStatus,
    /// `None` until the slide was first drawn.
    pub viewport: Option<Viewport>,
    /// The whole slide, small.
    pub overview: Option<Picture>,
    pub patches: Patches,
    /// The newest tile that could not be read, as a sentence, until it is dismissed.
    pub unreadable: Option<String>,
}

#[derive(Debug)]
pub enum SlideStatus {
    Opening { since: Instant },
    Open { info: Arc<SlideInfo> },
    Failed { sentence: String },
}

impl SlideTab {
    pub fn new(key: SlideKey, path: PathBuf) -> Self {
        Self {
            key,
            path,
            status: SlideStatus::Opening { since: Instant::now() },
            viewport: None,
            overview: None,
            patches: Patches::default(),
            unreadable: None,
        }
    }

    /// The file's name without its folder.
    pub fn name(&self) -> String {
        self.path
            .file_name()
            .map_or_else(|| self.path.display().to_string(), |name| name.to_string_lossy().into_owned())
    }

    pub fn info(&self) -> Option<&Arc<SlideInfo>> {
        match &self.status {
            SlideStatus::Open { info } => Some(info),
            _ => None,
        }
    }

    /// What a pane of `size` shows of it: the whole slide until something else was wished for; `None` while it is not open.
    pub fn viewport_in(&self, size: Vec2) -> Option<Viewport> {
        let info = self.info()?;
        Some(self.viewport.unwrap_or_else(|| Viewport::fitted(info.width(), info.height(), size)))
    }
}

/// A sentence that stays until it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub id: u64,
    pub sentence: String,
}

/// The model package, and the worker that holds the model.
#[derive(Clone, Debug, Default)]
pub struct ModelState {
    pub package: PackageState,
    pub worker: WorkerState,
    /// Folder of the package that was chosen and is being read.
    pub chosen: Option<PathBuf>,
    /// What the picker offers; `None` before it was first read.
    pub list: Option<ModelList>,
    pub is_list_being_read: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub enum PackageState {
    #[default]
    Reading,
    Known(Arc<ModelInfo>),
    /// There is none, or it cannot be used.
    Failed(String),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub enum WorkerState {
    /// Not started: the model loads at the first question.
    #[default]
    Idle,
    Loading {
        what: String,
        /// 0 to 1; `None` when unknown.
        fraction: Option<f32>,
        since: Instant,
    },
    Ready {
        device: String,
        /// Bytes that the weights take.
        memory: u64,
    },
    /// It ended; the next question starts another.
    Ended(String),
}

impl ModelState {
    pub fn info(&self) -> Option<&Arc<ModelInfo>> {
        match &self.package {
            PackageState::Known(info) => Some(info),
            _ => None,
        }
    }

    /// Folder of the package in use.
    pub fn folder(&self) -> Option<&Path> {
        self.info().map(|info| info.folder.as_path())
    }

    /// Bytes that the model takes while it is loaded.
    pub fn memory(&self) -> Option<u64> {
        match self.worker {
            WorkerState::Ready { memory, .. } => Some(memory),
            _ => None,
        }
    }
}

impl AppState {
    pub fn slide(&self, key: SlideKey) -> Option<&SlideTab> {
        self.slides.iter().find(|slide| slide.key == key)
    }

    pub fn slide_mut(&mut self, key: SlideKey) -> Option<&mut SlideTab> {
        self.slides.iter_mut().find(|slide| slide.key == key)
    }

    /// The slide in view.
    pub fn shown_slide(&self) -> Option<&SlideTab> {
        self.shown.and_then(|key| self.slide(key))
    }

    pub(super) fn shown_slide_mut(&mut self) -> Option<&mut SlideTab> {
        self.shown.and_then(|key| self.slide_mut(key))
    }

    /// What a slide is called on screen: its file, or its number while names are hidden.
    pub fn name_of(&self, slide: &SlideTab) -> String {
        if !self.settings.read.is_blinded {
            return slide.name();
        }
        let at = self.slides.iter().position(|open| open.key == slide.key);
        at.map_or_else(|| "Slide".to_owned(), |at| format!("Slide {}", at + 1))
    }

    /// Most pixels of a patch that the model in use is given; `None` where it makes a square of every patch, or none is known.
    pub fn max_pixels(&self) -> Option<u64> {
        let vision = self.model.info()?.vision()?;
        Some(ask::pixel_limit(vision, self.settings.max_pixels))
    }

    /// Whether words are being written, or will be soon.
    pub fn is_asking(&self) -> bool {
        self.answer.as_ref().is_some_and(AnswerView::is_running)
    }

    pub(super) fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

/// How long something may take before it shows progress.
pub const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
pub(crate) mod tests_support {
    use super::ModelInfo;

    /// The model of unit tests.
    pub(crate) fn model() -> ModelInfo {
        ModelInfo::scripted("test")
    }
}
