//! What happened outside the window thread: every worker thread sends these through one bounded channel.

use std::path::PathBuf;
use std::sync::Arc;

use reinpath_model::event::AskEvent;

use super::model_list::ModelList;
use super::patches::{PatchId, PatchPicture};
use super::picture::Picture;
use super::read::ReadEvent;
use super::review::ReviewEvent;
use super::state::{ModelInfo, WorkerState};
use super::train::TrainEvent;
use crate::slide::{SlideHandle, TileId};
use crate::viewer::tile_cache::SlideKey;
use crate::viewer::tile_pixels::TilePixels;

/// Why a tile could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileFailure {
    pub sentence: String,
    /// Whether it is worth asking for it again (`slide::Error::may_pass`).
    pub may_pass: bool,
}

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    SlideOpened {
        key: SlideKey,
        handle: SlideHandle,
    },
    SlideFailed {
        key: SlideKey,
        sentence: String,
    },
    /// A decoded tile, or why there is none.
    Tile {
        key: SlideKey,
        tile: TileId,
        pixels: Result<Arc<TilePixels>, TileFailure>,
    },
    Overview {
        key: SlideKey,
        picture: Picture,
    },
    PatchPicture {
        key: SlideKey,
        patch: PatchId,
        picture: PatchPicture,
    },
    /// The file dialog was closed; no paths when it was cancelled.
    Picked(Vec<PathBuf>),
    /// The dialog for a model's folder was closed; no folder when it was cancelled.
    ModelFolderPicked(Option<PathBuf>),
    /// No dialog can be shown on this machine, and what to do instead.
    PickerFailed(String),
    /// The package in use from now on, or why there is none.
    Package(Result<Arc<ModelInfo>, String>),
    /// A package that was chosen cannot be used, and the one in use stays.
    PackageRefused {
        folder: PathBuf,
        sentence: String,
    },
    /// The packages on this machine.
    Models(ModelList),
    Train(TrainEvent),
    Read(ReadEvent),
    Review(ReviewEvent),
    Worker(WorkerState),
    Ask {
        id: u64,
        event: AskEvent,
    },
    /// Memory of this process, in MiB.
    Memory(f64),
    /// Something that must be said but stops nothing.
    Problem(String),
}
