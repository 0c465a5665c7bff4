//! Slides: what a slide file is, its levels, its scale, and its pixels at any wanted microns per pixel.
//!
//! C code parses files of strangers in a child process only ([`server`]): this program again, started as
//! `reinpath slide-server`. The window and the command line hold a [`SlideHandle`], which owns that child. Display tiles of plain tiled TIFF
//! files are read and decoded beside it, in Rust ([`DirectTiles`]).
//! The words (slide, level, downsample, mpp, tile, region) are those of OpenSlide's `openslide.h` and of QuPath's tile requests.
//! Nothing here writes slides, and nothing here adjusts colours: pixels are 8-bit RGB as the file gives them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use image::RgbImage;
use serde::{Deserialize, Serialize};

mod child;
mod dicom;
mod direct;
mod direct_level;
mod error;
mod handle;
mod hash;
mod identify;
mod jpeg2000_tile;
mod jpeg_tile;
mod ome;
mod openslide;
mod owner;
mod plain;
mod plain_tiff;
mod protocol;
mod resample;
mod samples;
pub mod server;
mod signs;
mod source;
pub(crate) mod spare;
mod tiff_chunks;
mod tiff_directory;
mod tile_grid;

pub use direct::{DecodedTile, DirectTiles};
pub use error::Error;
pub use handle::{SlideHandle, Ticket};
pub use jpeg2000_tile::Jpeg2000Tile;
pub use protocol::{Request, SlideReply};
pub use tile_grid::{GridLevel, TileGrid};

/// Width and height of a display tile, in pixels of its level.
pub const TILE_PX: u32 = 256;

/// One resolution of the pyramid; level 0 is the finest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// Pixels of this level.
    pub width: u32,
    /// Pixels of this level.
    pub height: u32,
    /// Level-0 pixels per pixel of this level.
    pub downsample: f64,
}

/// Microns per pixel, along x and y apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mpp {
    pub x: f64,
    pub y: f64,
}

impl Mpp {
    /// One number for display and for comparison with a package's mpp: the geometric mean.
    pub fn mean(self) -> f64 {
        (self.x * self.y).sqrt()
    }

    /// The microns per pixel of a picture with `factor` level-0 pixels per pixel.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        Self { x: self.x * factor, y: self.y * factor }
    }
}

/// How far a slide's microns per pixel can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MppOrigin {
    /// The scanner or the format's own field says so.
    Trusted,
    /// Worked out from something weaker (`SlideInfo::mpp_source` says from what).
    Inferred,
    /// Unknown: lengths are in pixels.
    Missing,
}

/// A label, macro or thumbnail that travels with the slide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssociatedImage {
    pub name: String,
    pub width: u32,
    pub height: u32,
}

/// Everything about a slide but its pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlideInfo {
    /// The file that was opened. (In JSON as text; the handle puts the exact path back.)
    #[serde(serialize_with = "path_as_text")]
    pub path: PathBuf,
    /// The format in words, for example `Aperio SVS`.
    pub format: String,
    /// OpenSlide's name of the vendor; `None` for plain images.
    pub vendor: Option<String>,
    /// Finest first; never empty.
    pub levels: Vec<Level>,
    /// Microns per level-0 pixel; `None` when `mpp_origin` is `Missing`.
    pub mpp: Option<Mpp>,
    pub mpp_origin: MppOrigin,
    /// Where the microns per pixel come from, in words.
    pub mpp_source: String,
    /// What the scanner calls 20×, 40×: for display only.
    pub objective_power: Option<f64>,
    /// RGB that transparent areas and the outside of the slide are filled with.
    pub background: [u8; 3],
    pub properties: BTreeMap<String, String>,
    pub associated: Vec<AssociatedImage>,
    /// Whether the file carries an ICC colour profile.
    pub icc_profile: bool,
    /// BLAKE3 in hex over a fixed sample of every file of the slide (see `architecture.md` of the design).
    pub hash: String,
    /// What a reader should know, one sentence each.
    pub notes: Vec<String>,
}

impl SlideInfo {
    /// Level-0 width in pixels.
    pub fn width(&self) -> u32 {
        self.levels.first().map_or(0, |level| level.width)
    }

    /// Level-0 height in pixels.
    pub fn height(&self) -> u32 {
        self.levels.first().map_or(0, |level| level.height)
    }

    /// The coarsest level that is at least as fine as `downsample`; level 0 when none is.
    pub fn level_for_downsample(&self, downsample: f64) -> u32 {
        resample::level_for_downsample(&self.levels, downsample)
    }

    /// Columns and rows of the tile grid of `level`; (0, 0) where there is no such level.
    pub fn tiles(&self, level: u32) -> (u32, u32) {
        self.levels
            .get(level as usize)
            .map_or((0, 0), |level| (level.width.div_ceil(TILE_PX), level.height.div_ceil(TILE_PX)))
    }
}

/// A fixed cell of a level's grid of [`TILE_PX`] squares; for display only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TileId {
    pub level: u32,
    pub column: u32,
    pub row: u32,
}

/// A rectangle in level-0 pixels; it may reach past the slide on any side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    pub x: i64,
    pub y: i64,
    pub w: u32,
    pub h: u32,
}

/// The pixels that answer a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Pixels {
    /// 8-bit RGB rows without padding.
    pub image: RgbImage,
    /// The level they were read from (0 for associated images).
    pub level: u32,
    /// Their true microns per pixel; `None` when the slide's mpp is missing (then a region is given in level-0 pixels as they are).
    pub mpp: Option<Mpp>,
}

fn path_as_text<S: serde::Serializer>(path: &std::path::Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}
