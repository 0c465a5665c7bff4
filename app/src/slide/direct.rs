//! Tiles of plainly tiled TIFF slides, read and decoded in this process by Rust alone: whole tiles of the file, each once.
//!
//! OpenSlide composes every region anew and in a process of its own, which costs four to five times what decoding does. Here a slide that
//! OpenSlide has opened is looked at again: where each of its levels is plainly one directory of the file (see `direct_level.rs`), its
//! tiles are decoded without it. Everything else, patches for the model among it, stays with the child process, which decodes whole JPEG 2000
//! tiles where this file says where they lie (`jpeg2000_tile.rs`).
//! Pixels are OpenSlide's to the bit for uncompressed, LZW, Deflate and JPEG 2000 tiles, and up to the rounding of two decoders for JPEG
//! (`tests/slides/direct.rs` states how much).

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::direct_level::{DirectLevel, TAGS};
use super::jpeg_tile::Scratch;
use super::jpeg2000_tile::Jpeg2000Tile;
use super::tiff_directory::{self, Directory, tag};
use super::tile_grid::TileGrid;
use super::{Error, Request, SlideInfo, TileId};

/// Memory for the places of all tiles: a slide of 400,000 × 400,000 pixels needs a quarter of it.
const MOST_DIRECTORY_BYTES: u64 = 256 << 20;
const REDUCED_IMAGE: u32 = 1;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// An open file whose tiles are decoded here, or one by one by the child process. Any number of threads may read and decode at the same time.
#[derive(Debug)]
pub struct DirectTiles {
    file: File,
    path: PathBuf,
    grid: TileGrid,
    levels: Vec<DirectLevel>,
}

/// A decoded tile of the file, without what lies past its level's edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedTile {
    /// Rows of RGBA without padding; opaque.
    pub rgba: Vec<u8>,
    pub width: u32,
    pub height: u32,
    /// Its top left cell.
    pub first: TileId,
}

/// What a file holds, read while its slide is still being opened.
pub(super) struct Structure {
    file: File,
    directories: Vec<Directory>,
}

impl Structure {
    /// The directories of the TIFF at `path`; `None` when it is no sound TIFF file.
    pub(super) fn read(path: &Path) -> Option<Self> {
        // Opening what is no file (a pipe) may wait for ever.
        if !std::fs::metadata(path).ok()?.is_file() {
            return None;
        }
        let directories = tiff_directory::read_wanted(path, TAGS, MOST_DIRECTORY_BYTES).ok()?;
        Some(Self { file: File::open(path).ok()?, directories })
    }
}

impl DirectTiles {
    /// Looks at the file of an open slide; `None` where its layout is not plainly understood.
    pub fn open(path: &Path, info: &SlideInfo) -> Option<Self> {
        Self::of(Structure::read(path)?, path, info)
    }

    pub(super) fn of(structure: Structure, path: &Path, info: &SlideInfo) -> Option<Self> {
        let Structure { file, directories } = structure;
        let levels = levels(&directories, info)?;
        let grid = levels.iter().zip(&info.levels).map(|(level, known)| level.grid(known.downsample));
        let grid = TileGrid { levels: grid.collect() };
        Some(Self { file, path: path.to_path_buf(), grid, levels })
    }

    /// How each level is cut into cells.
    pub fn grid(&self) -> &TileGrid {
        &self.grid
    }

    /// Reads the bytes of the file's tile that holds `tile` into `bytes`; false when the file does not store it (the child process knows what
    /// is shown there).
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self, tile: TileId, bytes: &mut Vec<u8>) -> Result<bool, Error> {
        let Some((offset, length)) = self.span(tile) else { return Ok(false) };
        bytes.resize(length as usize, 0);
        self.read_at(offset, bytes).map_err(|error| self.error(tile, &error.to_string()))?;
        Ok(true)
    }

    /// Decodes the file's tile that holds `tile` from its bytes.
    ///
    /// # Errors
    /// When the tile is damaged, or packed in a way that OpenSlide may understand and this does not.
    pub fn decode(&self, tile: TileId, bytes: &[u8]) -> Result<DecodedTile, Error> {
        let Some((level, column, row)) = self.file_tile(tile) else {
            return Err(self.error(tile, "the slide has no such tile"));
        };
        let mut scratch = SCRATCH.take();
        // Bytes of strangers: what the decoder did not expect is damage like any other.
        let decoded = catch_unwind(AssertUnwindSafe(|| level.decode(column, row, bytes, &mut scratch)));
        let decoded = decoded.unwrap_or_else(|_panic| Err("its decoder gave up".to_string()));
        SCRATCH.set(scratch);
        let tile_of_file = decoded.map_err(|reason| {
            self.error(tile, &format!("the slide is damaged or truncated there ({reason})"))
        })?;
        let first = self.grid.first_of_file_tile(tile);
        Ok(DecodedTile {
            rgba: tile_of_file.rgba,
            width: tile_of_file.width,
            height: tile_of_file.height,
            first,
        })
    }

    /// Where the file's tile that holds `tile` lies; `None` where it is not stored, or not decoded in this process.
    pub(crate) fn span(&self, tile: TileId) -> Option<(u64, u32)> {
        let (level, column, row) = self.file_tile(tile)?;
        level.span_for_here(column, row)
    }

    /// The file's tile that is `tile`, where the child process decodes it by itself.
    pub fn jpeg2000(&self, tile: TileId) -> Option<Jpeg2000Tile> {
        let (level, column, row) = self.file_tile(tile)?;
        level.jpeg2000(column, row)
    }

    /// Fills `bytes` from `offset` on.
    pub(crate) fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        read_exact_at(&self.file, offset, bytes)
    }

    fn file_tile(&self, tile: TileId) -> Option<(&DirectLevel, u32, u32)> {
        let (across, down) = self.grid.levels.get(tile.level as usize)?.per_file_tile;
        Some((self.levels.get(tile.level as usize)?, tile.column / across, tile.row / down))
    }

    fn error(&self, tile: TileId, reason: &str) -> Error {
        Error::Read {
            place: Request::Tile(tile).to_string(),
            reason: reason.to_string(),
            path: self.path.clone(),
        }
    }
}

/// The one tiled directory that each level of the slide can only be; `None` where that is not certain.
fn levels(directories: &[Directory], info: &SlideInfo) -> Option<Vec<DirectLevel>> {
    let is_generic = match info.vendor.as_deref() {
        Some("generic-tiff") => true,
        Some("aperio") => false,
        _ => return None,
    };
    // As OpenSlide chooses them: of generic TIFF the first and those marked as smaller copies, of Aperio every tiled one.
    let tiled: Vec<&Directory> = directories
        .iter()
        .enumerate()
        .filter(|(index, directory)| {
            let is_copy = directory.number(tag::NEW_SUBFILE_TYPE, 0) & REDUCED_IMAGE != 0;
            directory.has(tag::TILE_WIDTH) && (!is_generic || *index == 0 || is_copy)
        })
        .map(|(_, directory)| directory)
        .collect();
    if tiled.len() != info.levels.len() {
        return None;
    }
    let find = |level: &super::Level| {
        let is_it = |directory: &&Directory| {
            (directory.number(tag::WIDTH, 0), directory.number(tag::HEIGHT, 0)) == (level.width, level.height)
        };
        let mut found = tiled.iter().copied().filter(is_it);
        let only = found.next().filter(|_| found.next().is_none())?;
        DirectLevel::of(only, level)
    };
    info.levels.iter().map(find).collect()
}

/// Fills `bytes` from `offset` on, without moving anybody's place in the file.
#[cfg(unix)]
pub(super) fn read_exact_at(file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

/// Fills `bytes` from `offset` on.
#[cfg(windows)]
pub(super) fn read_exact_at(file: &File, mut offset: u64, mut bytes: &mut [u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                offset += count as u64;
                bytes = &mut bytes[count..];
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
