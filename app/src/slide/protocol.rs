//! What the slide's handle and its child say to each other, over the framing of `reinpath_model::frame`.
//!
//! The child gets the slide's path as an argument (paths need not be UTF-8) and opens it unasked. It says `hello`, then `opened`
//! with the [`super::SlideInfo`] or `failed`; then `read` requests are answered, in any order, by `pixels` or `failed` of the same id.

use std::fmt;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::{Error, Jpeg2000Tile, Mpp, Pixels, Region, TileId};

/// A wish for pixels of one slide.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// A tile for display, smaller than [`super::TILE_PX`] only where the level ends.
    Tile(TileId),
    /// `w` × `h` pixels of `level` from (`x`, `y`) in level-0 pixels.
    Region { level: u32, x: i64, y: i64, w: u32, h: u32 },
    /// A tile of the file, decoded by itself and cut to `region.w` × `region.h` pixels: the same pixels as [`Self::Region`] of `level` and
    /// `region`, which is read where the tile is not understood.
    Jpeg2000 { tile: Jpeg2000Tile, level: u32, region: Region },
    /// A region resampled to `mpp` microns per pixel; without a wish, or with the slide's mpp missing, level-0 pixels as they are.
    AtMpp { region: Region, mpp: Option<f64> },
    /// A label, macro or thumbnail, whole.
    Associated { name: String },
    /// The bytes of the colour profile; no pixels, so [`super::SlideHandle::icc_profile`] asks for it.
    IccProfile,
}

impl fmt::Display for Request {
    /// The place in words, for messages.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tile(TileId { level, column, row }) => {
                write!(formatter, "tile {column},{row} of level {level}")
            }
            Self::Region { level, x, y, w, h }
            | Self::Jpeg2000 { level, region: Region { x, y, w, h }, .. } => {
                write!(formatter, "region {x},{y} of {w} × {h} pixels of level {level}")
            }
            Self::AtMpp { region: Region { x, y, w, h }, .. } => write!(formatter, "region {x},{y},{w},{h}"),
            Self::Associated { name } => write!(formatter, "the associated image “{name}”"),
            Self::IccProfile => write!(formatter, "its colour profile"),
        }
    }
}

/// An answered request.
#[derive(Clone, Debug, PartialEq)]
pub struct SlideReply {
    /// The number of the [`super::Ticket`] it answers.
    pub id: u64,
    pub request: Request,
    pub result: Result<Pixels, Error>,
}

/// A [`Pixels`] without its bytes, which follow the frame.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct PixelsHead {
    pub width: u32,
    pub height: u32,
    pub level: u32,
    pub mpp: Option<Mpp>,
}

impl PixelsHead {
    pub(super) fn of(pixels: &Pixels) -> Self {
        Self {
            width: pixels.image.width(),
            height: pixels.image.height(),
            level: pixels.level,
            mpp: pixels.mpp,
        }
    }

    /// `None` when the number of bytes is not that of the picture.
    pub(super) fn with_bytes(self, rgb: Vec<u8>) -> Option<Pixels> {
        let image = RgbImage::from_raw(self.width, self.height, rgb)
            .filter(|image| image.as_raw().len() == self.bytes())?;
        Some(Pixels { image, level: self.level, mpp: self.mpp })
    }

    fn bytes(self) -> usize {
        self.width as usize * self.height as usize * 3
    }
}

/// Says whether there is a colour profile, whose bytes follow the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProfileHead {
    pub exists: bool,
}

/// What the child answered.
#[derive(Debug)]
pub(super) enum Answer {
    Pixels(Pixels),
    Profile(Option<Vec<u8>>),
}

/// An [`Error`] without its path, which the parent knows better.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Failure {
    File { reason: String },
    NotASlide { what: String },
    Read { place: String, reason: String },
    NoAssociatedImage { name: String, known: String },
    BadRequest { place: String, reason: String },
}

impl Failure {
    pub(super) fn of(error: &Error) -> Self {
        match error.clone() {
            Error::File { reason, .. } => Self::File { reason },
            Error::NotASlide { what, .. } => Self::NotASlide { what },
            Error::Read { place, reason, .. } => Self::Read { place, reason },
            Error::NoAssociatedImage { name, known, .. } => Self::NoAssociatedImage { name, known },
            Error::BadRequest { place, reason, .. } => Self::BadRequest { place, reason },
            other => Self::File { reason: other.to_string() },
        }
    }

    pub(super) fn into_error(self, path: std::path::PathBuf) -> Error {
        match self {
            Self::File { reason } => Error::File { reason, path },
            Self::NotASlide { what } => Error::NotASlide { what, path },
            Self::Read { place, reason } => Error::Read { place, reason, path },
            Self::NoAssociatedImage { name, known } => Error::NoAssociatedImage { name, known, path },
            Self::BadRequest { place, reason } => Error::BadRequest { place, reason, path },
        }
    }
}
