//! Several slides: side by side and synchronised, recent ones, folders, the tray; names that are hidden.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use egui::{Rect, Ui, vec2};

use super::super::command::{Command, CommandSender, Named, ctrl, ctrl_shift, named};
use super::super::picture::Picture;
use super::super::state::AppState;
use super::ReadCommand;
use crate::viewer::tile_cache::SlideKey;
use crate::viewer::viewport::Viewport;

mod desk;
mod folder;
mod label;
mod pane;
mod privacy;
mod sync;
pub(in crate::window) mod tabs;
pub(in crate::window) mod tray;
mod update;

pub(super) use desk::ViewsDesk;
pub use folder::Folder;
pub use label::LabelView;
pub(in crate::window) use pane::{draw_head, pane_of};
pub(in crate::window) use privacy::{Names, masked};
pub(super) use update::{closed, command, event, moved, opened, shown};

/// How the middle of the window is divided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    #[default]
    One,
    /// Side by side.
    Two,
    /// Two rows of two.
    Four,
}

impl Layout {
    /// How many panes there are.
    pub fn panes(self) -> usize {
        let (columns, rows) = self.cells();
        columns * rows
    }

    /// Columns and rows.
    pub fn cells(self) -> (usize, usize) {
        match self {
            Self::One => (1, 1),
            Self::Two => (2, 1),
            Self::Four => (2, 2),
        }
    }
}

/// What of it is shown.
#[derive(Debug)]
pub struct ViewsState {
    pub layout: Layout,
    /// The slide of each pane, row by row; a slide is in one pane at the most.
    pub panes: Vec<Option<SlideKey>>,
    /// The pane that keys and panels are about: its slide is `AppState::shown`.
    pub active: usize,
    /// The rectangle of all panes in the last frame.
    pub centre: Option<Rect>,
    /// Whether the panes move and zoom together.
    pub is_synchronised: bool,
    /// Whether, while they do, the active one is moved alone to be aligned with the others.
    pub is_aligning: bool,
    /// How each slide lay when they were aligned.
    anchors: BTreeMap<SlideKey, Viewport>,
    pub folder: Option<Folder>,
    /// Slides that were opened by going through the folder: they are closed when one goes on.
    passing: BTreeSet<SlideKey>,
    /// The label or macro image that was asked for.
    pub label: Option<LabelView>,
}

impl Default for ViewsState {
    fn default() -> Self {
        Self {
            layout: Layout::One,
            panes: vec![None],
            active: 0,
            centre: None,
            is_synchronised: false,
            is_aligning: false,
            anchors: BTreeMap::new(),
            folder: None,
            passing: BTreeSet::new(),
            label: None,
        }
    }
}

impl ViewsState {
    /// The rectangles of the panes inside `screen`, in their order.
    pub fn rects(&self, screen: Rect) -> Vec<Rect> {
        let (columns, rows) = self.layout.cells();
        let size = vec2(screen.width() / columns as f32, screen.height() / rows as f32);
        let place = |cell: usize| vec2((cell % columns) as f32 * size.x, (cell / columns) as f32 * size.y);
        (0..columns * rows).map(|cell| Rect::from_min_size(screen.min + place(cell), size)).collect()
    }

    /// Where the active pane is; `None` before the first frame.
    pub fn active_rect(&self) -> Option<Rect> {
        self.rects(self.centre?).get(self.active).copied()
    }
}

/// Wishes about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewsCommand {
    Layout(Layout),
    Synchronise(bool),
    ToggleSynchronised,
    /// Move the active pane alone until [`Self::AlignHere`].
    Align,
    /// From now on the panes belong together as they lie now.
    AlignHere,
    /// Keys and panels are about this pane, also when it is empty.
    Activate(usize),
    /// Shows an open slide in a pane; what was there goes where it was.
    PutInto(SlideKey, usize),
    /// Puts a tab at a place among the tabs.
    MoveTab(SlideKey, usize),
    /// Ask for a folder with a dialog.
    PickFolder,
    OpenFolder(PathBuf),
    CloseFolder,
    /// The slide this many further in the folder; in that of the slide in view where none is open.
    InFolder(i32),
    /// The slide at this place of the folder.
    ShowInFolder(usize),
    Blinded(bool),
    ToggleBlinded,
    /// Show a label, macro or thumbnail by name, in a window of its own.
    ShowLabel(SlideKey, String),
    CloseLabel,
    ForgetRecent,
}

/// What happened to it.
#[derive(Debug)]
pub enum ViewsEvent {
    /// The dialog was closed; no folder when it was cancelled.
    FolderPicked(Result<Option<PathBuf>, String>),
    /// The slides in a folder, or why it cannot be listed, as a sentence.
    Listed {
        folder: PathBuf,
        slides: Result<Vec<PathBuf>, String>,
    },
    Label {
        key: SlideKey,
        name: String,
        picture: Result<Picture, String>,
    },
}

/// What is to be done by threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewsEffect {
    PickFolder,
    List(PathBuf),
    ReadLabel { key: SlideKey, name: String },
}

fn wish(command: ViewsCommand) -> Command {
    Command::Read(ReadCommand::Views(command))
}

const fn ctrl_alt(key: egui::Key) -> egui::KeyboardShortcut {
    egui::KeyboardShortcut::new(egui::Modifiers::COMMAND.plus(egui::Modifiers::ALT), key)
}

/// Its commands with names and keys.
pub const NAMED: &[Named] = &[
    named("One pane", &[ctrl_alt(egui::Key::Num1)], true, || wish(ViewsCommand::Layout(Layout::One))),
    named("Two panes", &[ctrl_alt(egui::Key::Num2)], true, || wish(ViewsCommand::Layout(Layout::Two))),
    named("Four panes", &[ctrl_alt(egui::Key::Num4)], true, || wish(ViewsCommand::Layout(Layout::Four))),
    named("Synchronise panes", &[ctrl_shift(egui::Key::S)], true, || wish(ViewsCommand::ToggleSynchronised)),
    named("Hide names", &[ctrl_shift(egui::Key::B)], true, || wish(ViewsCommand::ToggleBlinded)),
    named("Open folder…", &[ctrl_shift(egui::Key::O)], true, || wish(ViewsCommand::PickFolder)),
    named("Previous slide of the folder", &[ctrl(egui::Key::PageUp)], true, || {
        wish(ViewsCommand::InFolder(-1))
    }),
    named("Next slide of the folder", &[ctrl(egui::Key::PageDown)], true, || wish(ViewsCommand::InFolder(1))),
];

/// What is kept from frame to frame.
#[derive(Default)]
pub(in crate::window) struct ViewsPanel {}

#[expect(clippy::unused_self, reason = "all parts of the panel are drawn by methods")]
impl ViewsPanel {
    /// What lies over the window: the label of a slide once it was asked for, and the pane that a tab is dragged to.
    pub(super) fn over_all(&mut self, ui: &Ui, state: &AppState, commands: &CommandSender) {
        label::ui(ui, state, commands);
        pane::drop_ui(ui, state, commands);
    }
}
