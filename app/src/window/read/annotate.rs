//! What is drawn and measured on slides: annotations, rulers, counts, the grid.
//!
//! In reading order: the state and wishes below, `update` (every change), `desk` (store, files and meshes, each in its thread), `mesh`
//! (annotations as chunks for the GPU, and the list's rows), then what is drawn: `tools`, `panel`, `details`, `pointer` (drawing and
//! editing), `drawing` (what is being drawn), `draw`.
//!
//! Annotations belong to a slide's content (its hash), so two tabs with the same slide share them. While they are read, or many are
//! changed at once by a thread, wishes wait and are carried out after it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use egui::Key;

use super::super::command::{Command, Named, ctrl, ctrl_shift, key, named};
use super::super::state::{AppState, Mark, Tool};
use super::ReadCommand;
use crate::annotation::set::{AnnotationSet, Change, History};
use crate::annotation::{Annotation, Class, Geometry, Place, Polygon};
use crate::store::{Kept, SlideId};
use crate::viewer::shape_mesh::ShapeChunk;
use crate::viewer::tile_cache::SlideKey;

mod desk;
mod details;
mod draw;
mod drawing;
mod mesh;
mod panel;
mod pointer;
mod tools;
mod update;

pub(super) use desk::AnnotateDesk;
pub use mesh::Look;
pub(in crate::window) use panel::AnnotatePanel;
pub(super) use update::{closed, command, event, opened};

/// What of it is shown.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a state of its own")]
pub struct AnnotateState {
    /// By the slide's hash.
    pub slides: BTreeMap<String, SlideAnnotations>,
    /// The hash of each open slide.
    hashes: BTreeMap<SlideKey, String>,
    /// Offered for drawing, in the order of their names.
    pub classes: BTreeMap<String, [u8; 3]>,
    /// The class of what is drawn next.
    pub class: Option<Arc<Class>>,
    /// Whether annotations are drawn at all.
    pub is_shown: bool,
    /// Which classes are not drawn, and what is searched for in the list.
    pub look: Look,
    /// How much of an area's inside is covered, in per cent.
    pub fill: u8,
    pub is_grid_shown: bool,
    /// What an import or an export came to, until another begins.
    pub news: Option<String>,
    /// Whether a shape is being drawn by clicks, so that undo and delete are about its corners.
    is_drawing: bool,
    /// Counts the wishes to finish the shape that is being drawn, and those to take its last corner back.
    finishes: u64,
    steps_back: u64,
    /// Whether undo and delete were about annotations last.
    owns_keys: bool,
}

impl Default for AnnotateState {
    fn default() -> Self {
        Self {
            slides: BTreeMap::new(),
            hashes: BTreeMap::new(),
            classes: usual_classes(),
            class: None,
            is_shown: true,
            look: Look::default(),
            fill: 15,
            is_grid_shown: false,
            news: None,
            is_drawing: false,
            finishes: 0,
            steps_back: 0,
            owns_keys: false,
        }
    }
}

/// The names that most programs begin with.
fn usual_classes() -> BTreeMap<String, [u8; 3]> {
    [
        ("Tumor", [0xd8, 0x1e, 0x2c]),
        ("Stroma", [0x4c, 0xaf, 0x50]),
        ("Necrosis", [0x3f, 0x51, 0xb5]),
        ("Immune cells", [0x9c, 0x27, 0xb0]),
        ("Other", [0xff, 0xc1, 0x07]),
    ]
    .map(|(name, rgb)| (name.to_owned(), rgb))
    .into()
}

/// The annotations of one slide.
#[derive(Debug, Default)]
pub struct SlideAnnotations {
    pub set: AnnotationSet,
    pub history: History,
    /// Its place in the set.
    pub selected: Option<u64>,
    /// As the GPU draws them, made by a thread; behind the set by some milliseconds.
    pub chunks: Vec<Arc<ShapeChunk>>,
    /// What the list shows: places in the set, the newest first.
    pub rows: Arc<Vec<u64>>,
    /// What changed since the chunks were made, with the set's revision; drawn on top of them until then.
    fresh: BTreeMap<u64, u64>,
    /// A thread reads or changes them: wishes wait.
    pub is_busy: bool,
    waiting: Vec<AnnotateCommand>,
    /// Why they are not saved, as a sentence.
    pub not_kept: Option<String>,
    /// Whether all of them are safe in the store.
    pub is_saved: bool,
    /// The ring or square that was placed last, and the points counted in it.
    field: Option<u64>,
    counted: Option<u64>,
}

/// Wishes about it. Places are level-0 pixels of the slide in view; numbers are places in its set.
#[derive(Clone, Debug, PartialEq)]
pub enum AnnotateCommand {
    Add(Box<Annotation>),
    /// A ring or a square in which the counter counts from now on.
    AddField(Box<Annotation>),
    Replace(u64, Box<Annotation>),
    Select(Option<u64>),
    /// Puts it into the middle and selects it.
    LookAt(u64),
    Remove(u64),
    /// Also takes back the last corner of what is being drawn.
    RemoveSelected,
    Undo,
    Redo,
    /// One more at this place.
    Count(Place),
    Import(PathBuf),
    Export(PathBuf),
    /// Asks for the file with a dialog.
    PickImport,
    PickExport,
    /// The class of what is drawn next.
    UseClass(Option<Class>),
    /// A class with its colour, for all that have it on the slide in view.
    SaveClass(Class),
    /// Whether annotations of a class (none: those without one) are drawn.
    ShowClass(Option<String>, bool),
    ToggleShown,
    ToggleGrid,
    /// The side of the grid's squares, in µm.
    Grid(u32),
    /// Per cent.
    Fill(u8),
    Search(String),
    /// Closes the shape that is being drawn.
    Finish,
    /// A shape is being drawn, or not any more.
    Drawing(bool),
    DismissNews,
}

/// What happened to it.
#[derive(Debug)]
pub enum AnnotateEvent {
    /// A slide's annotations were read from the store.
    Loaded {
        hash: String,
        set: Box<AnnotationSet>,
    },
    /// They cannot be read, as a sentence: what is made lives as long as the window.
    NotLoaded {
        hash: String,
        sentence: String,
    },
    /// The store's own classes.
    Classes(Vec<Class>),
    /// All is safe.
    Saved,
    /// Something could not be saved yet, as a sentence.
    Waiting(String),
    /// Chunks and rows of a revision of the set.
    Meshed {
        hash: String,
        revision: u64,
        chunks: Vec<Arc<ShapeChunk>>,
        rows: Arc<Vec<u64>>,
    },
    /// Many were changed at once.
    Rebuilt {
        hash: String,
        set: Box<AnnotationSet>,
        change: Arc<Change>,
        /// Whether it can be undone: it was not itself an undoing.
        is_new: bool,
        /// What is said about it.
        news: Option<String>,
    },
    /// A thread that was to change them came to nothing, as a sentence.
    Failed {
        hash: String,
        sentence: String,
    },
    Exported(String),
    /// The dialog was closed with a file.
    Picked(AnnotateCommand),
    /// No dialog can be shown, or a file could not be written, as a sentence.
    Complaint(String),
}

/// What is to be done by threads.
#[derive(Clone, Debug, PartialEq)]
pub enum AnnotateEffect {
    Load {
        hash: String,
    },
    Save {
        slide: SlideId,
        kept: Vec<Kept>,
    },
    SaveClass(Class),
    /// Offers the store again what it had no room for.
    Flush,
    /// The set has changed at these places.
    Mesh {
        hash: String,
        revision: u64,
        kept: Vec<Kept>,
    },
    /// All slides are drawn and listed in another way.
    Look(Look),
    /// The slide is not open any more.
    Forget {
        hash: String,
    },
    /// Changes many at once.
    Bulk {
        hash: String,
        revision: u64,
        all: BTreeMap<u64, Arc<Annotation>>,
        work: BulkWork,
    },
    Export {
        path: PathBuf,
        all: BTreeMap<u64, Arc<Annotation>>,
    },
    PickImport,
    PickExport {
        /// Without its ending.
        name: String,
    },
}

/// What a thread does to many annotations.
#[derive(Clone, Debug, PartialEq)]
pub enum BulkWork {
    Import(PathBuf),
    /// Undo or redo.
    Apply(Arc<Change>),
    /// All of the class with this name get this colour.
    Recolour(Class),
}

fn wish(wish: AnnotateCommand) -> Command {
    Command::Read(ReadCommand::Annotate(wish))
}

const fn shift(key: Key) -> egui::KeyboardShortcut {
    egui::KeyboardShortcut::new(egui::Modifiers::SHIFT, key)
}

/// Its commands with names and keys; the longer shortcuts come first.
pub const NAMED: &[Named] = &[
    named("Import annotations…", &[ctrl_shift(Key::I)], true, || wish(AnnotateCommand::PickImport)),
    named("Export annotations…", &[ctrl(Key::E)], true, || wish(AnnotateCommand::PickExport)),
    named("Measure area", &[shift(Key::U)], false, || Command::Tool(Tool::Mark(Mark::Area))),
    named("Measure angle", &[shift(Key::A)], false, || Command::Tool(Tool::Mark(Mark::Angle))),
    named("Square of 1 mm²", &[shift(Key::Q)], false, || Command::Tool(Tool::Mark(Mark::Square))),
    named("Draw rectangle", &[key(Key::B)], false, || Command::Tool(Tool::Mark(Mark::Rectangle))),
    named("Draw ellipse", &[key(Key::O)], false, || Command::Tool(Tool::Mark(Mark::Ellipse))),
    named("Draw polygon", &[key(Key::V)], false, || Command::Tool(Tool::Mark(Mark::Polygon))),
    named("Draw freehand", &[key(Key::D)], false, || Command::Tool(Tool::Mark(Mark::Freehand))),
    named("Draw line", &[key(Key::L)], false, || Command::Tool(Tool::Mark(Mark::Line))),
    named("Draw point", &[key(Key::Period)], false, || Command::Tool(Tool::Mark(Mark::Point))),
    named("Measure length", &[key(Key::U)], false, || Command::Tool(Tool::Mark(Mark::Ruler))),
    named("Count", &[key(Key::K)], false, || Command::Tool(Tool::Mark(Mark::Counter))),
    named("Field of 0.24 mm²", &[key(Key::Q)], false, || Command::Tool(Tool::Mark(Mark::Field))),
    named("Show grid", &[key(Key::G)], false, || wish(AnnotateCommand::ToggleGrid)),
    named("Show annotations", &[key(Key::A)], false, || wish(AnnotateCommand::ToggleShown)),
    // Enter does it too, while a shape is drawn: always, it would be taken from buttons that have the focus.
    named("Finish shape", &[], false, || wish(AnnotateCommand::Finish)),
];

impl AnnotateState {
    /// The annotations of an open slide.
    pub fn of(&self, key: SlideKey) -> Option<&SlideAnnotations> {
        self.slides.get(self.hashes.get(&key)?)
    }

    /// Whether an annotation is drawn, and can be reached with the pointer.
    pub fn shows(&self, annotation: &Annotation) -> bool {
        self.is_shown && self.look.shows(annotation)
    }
}

impl SlideAnnotations {
    /// The annotation that is selected, and its place in the set.
    pub fn selected(&self) -> Option<(u64, &Arc<Annotation>)> {
        let place = self.selected?;
        self.set.get(place).map(|annotation| (place, annotation))
    }

    /// How many were counted, and the area they were counted in, in square level-0 pixels.
    pub fn count(&self) -> Option<(usize, f64)> {
        let Geometry::Points(points) = &self.set.get(self.counted?)?.geometry else { return None };
        let field = self.field.and_then(|field| self.set.get(field)).map(|field| &field.geometry);
        let Some(Geometry::Polygons(polygons)) = field else { return Some((points.len(), 0.0)) };
        let is_inside = |point: &&Place| polygons.iter().any(|polygon| polygon.contains(**point));
        Some((points.iter().filter(is_inside).count(), polygons.iter().map(Polygon::area).sum()))
    }
}

/// The areas of the selected annotation of the slide in view.
pub(in crate::window) fn selected_polygons(state: &AppState) -> Vec<Polygon> {
    let slide = state.shown.and_then(|key| state.read.annotate.of(key));
    match slide.and_then(SlideAnnotations::selected).map(|(_, annotation)| &annotation.geometry) {
        Some(Geometry::Polygons(polygons)) => polygons.clone(),
        _ => Vec::new(),
    }
}

/// Whether undo, redo and delete are about annotations, not patches.
pub(in crate::window) fn owns_edit_keys(state: &AppState) -> bool {
    let annotate = &state.read.annotate;
    annotate.is_drawing || annotate.owns_keys || matches!(state.tool, Tool::Mark(_))
}

/// Names of classes that are hidden; `None`: annotations without a class.
pub type HiddenClasses = BTreeSet<Option<String>>;
