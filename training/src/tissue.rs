//! Real tissue: patches of a labelled data set, described from what is measured in them.
//!
//! The labels of such a set say the class alone. The observation of each answer is written from measurements (open
//! spaces, red blood cells, nuclei), in words of `assets/tissue/lexicon.toml`; the analysis links them to the class, the
//! conclusion names it. No person has looked at a patch, and a measurement can be wrong: what comes of it is training
//! data for the demo model, not a description by a pathologist.

mod describe;
mod lexicon;
mod manifest;
mod measure;
mod nuclei;
mod patches;
mod plain_text;
mod question;
mod raster;
mod set;
mod views;

pub use describe::{Described, caption};
pub use lexicon::{Attribute, Class, Finding, Frames, Lexicon, Link, Value};
pub use manifest::{Entry, read_manifest, split_by_cluster};
pub use measure::{Measure, Measures, measure};
pub use patches::{MeasuredPatch, read_patches};
pub use plain_text::{option_drill_of_tissue, plain_text_of};
pub use question::{TissueItem, ask, ask_many};
pub use set::{SetOptions, SetSummary, write_set};

use std::path::PathBuf;

/// Why a labelled data set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TissueError {
    #[error("{source}: {}", path.display())]
    Io { source: std::io::Error, path: PathBuf },
    #[error("line {line}: {reason}: {}", path.display())]
    Manifest { line: usize, reason: String, path: PathBuf },
    #[error("the image cannot be read or written: {source}: {}", path.display())]
    Image { source: image::ImageError, path: PathBuf },
    #[error("the image has {width} × {height} px, but the words are for {side} × {side} px: {}", path.display())]
    Side { width: u32, height: u32, side: u32, path: PathBuf },
    #[error("the folder to write to is the one that is read: {}", path.display())]
    SameFolder { path: PathBuf },
    #[error(transparent)]
    Rows(#[from] crate::rows::RowsError),
}
