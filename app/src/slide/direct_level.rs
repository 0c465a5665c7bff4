//! One level of a plainly tiled TIFF: where its tiles lie in the file, and how their bytes become pixels.
//!
//! Plainly means: 8-bit RGB or YCbCr, chunky, upright, every tile in its place, packed with JPEG, JPEG 2000 or with nothing, LZW or Deflate,
//! all of which give the same pixels in every reader (JPEG up to rounding). Whatever else a directory says, the child process reads the
//! level. JPEG 2000 is decoded by C code, so that the child process decodes those tiles, one by one.

use std::io::Read;

use super::jpeg_tile::{JpegTables, Scratch};
use super::jpeg2000_tile::Jpeg2000Tile;
use super::tiff_directory::{Directory, tag};
use super::tile_grid::GridLevel;
use super::{Level, spare};

/// Everything that is looked at.
pub(super) const TAGS: &[u16] = &[
    tag::NEW_SUBFILE_TYPE,
    tag::WIDTH,
    tag::HEIGHT,
    tag::BITS_PER_SAMPLE,
    tag::COMPRESSION,
    tag::PHOTOMETRIC,
    tag::FILL_ORDER,
    tag::ORIENTATION,
    tag::SAMPLES_PER_PIXEL,
    tag::PLANAR,
    tag::PREDICTOR,
    tag::TILE_WIDTH,
    tag::TILE_LENGTH,
    tag::TILE_OFFSETS,
    tag::TILE_BYTE_COUNTS,
    tag::EXTRA_SAMPLES,
    tag::SAMPLE_FORMAT,
    tag::JPEG_TABLES,
];

/// Cells smaller than this would take more of the GPU's memory than they are worth.
const SMALLEST_TILE: u32 = 64;
const LARGEST_TILE: u32 = 2048;
const CELL: u32 = super::TILE_PX;
const PHOTOMETRIC_RGB: u32 = 2;
const PHOTOMETRIC_YCBCR: u32 = 6;

/// A level whose tiles are read and decoded in this process, or as they are by the child process.
#[derive(Debug)]
pub(super) struct DirectLevel {
    width: u32,
    height: u32,
    tile: (u32, u32),
    columns: u32,
    /// Offset and length of each tile, row by row; length 0: not stored.
    spans: Vec<(u64, u32)>,
    coding: Coding,
}

#[derive(Debug)]
enum Coding {
    Jpeg(JpegTables),
    Packed {
        packing: Packing,
        has_predictor: bool,
    },
    /// For the child process.
    Jpeg2000 {
        is_ycbcr: bool,
    },
}

#[derive(Clone, Copy, Debug)]
enum Packing {
    Nothing,
    Lzw,
    Deflate,
}

/// A tile's pixels inside its level.
pub(super) struct Decoded {
    pub rgba: Vec<u8>,
    pub width: u32,
    pub height: u32,
}

impl DirectLevel {
    /// The level that `directory` holds; `None` when it is not plainly that of `level`.
    pub(super) fn of(directory: &Directory, level: &Level) -> Option<Self> {
        let number = |tag, default| directory.number(tag, default);
        let (width, height) = (number(tag::WIDTH, 0), number(tag::HEIGHT, 0));
        let tile = (number(tag::TILE_WIDTH, 0), number(tag::TILE_LENGTH, 0));
        let is_side = |side: u32| match side {
            0..SMALLEST_TILE => false,
            SMALLEST_TILE..=CELL => true,
            side => side <= LARGEST_TILE && side.is_multiple_of(CELL),
        };
        let all_are = |tag, expected: f64| {
            directory.numbers(tag).is_none_or(|numbers| numbers.iter().all(|&number| number == expected))
        };
        let is_plain = (width, height) == (level.width, level.height)
            && is_side(tile.0)
            && is_side(tile.1)
            && number(tag::SAMPLES_PER_PIXEL, 1) == 3
            && directory.has(tag::BITS_PER_SAMPLE)
            && all_are(tag::BITS_PER_SAMPLE, 8.0)
            && all_are(tag::SAMPLE_FORMAT, 1.0)
            && number(tag::PLANAR, 1) == 1
            && number(tag::ORIENTATION, 1) == 1
            && number(tag::FILL_ORDER, 1) == 1
            && !directory.has(tag::EXTRA_SAMPLES);
        if !is_plain {
            return None;
        }
        let coding = Coding::of(directory)?;
        // The child process is asked for cells: those of a larger tile would decode it again and again.
        if matches!(coding, Coding::Jpeg2000 { .. }) && (tile.0 > CELL || tile.1 > CELL) {
            return None;
        }
        let columns = width.div_ceil(tile.0);
        let count = columns as usize * height.div_ceil(tile.1) as usize;
        let longest = u64::from(tile.0) * u64::from(tile.1) * 4 + (64 << 10);
        let spans = spans(directory, longest).filter(|spans| spans.len() == count)?;
        Some(Self { width, height, tile, columns, spans, coding })
    }

    /// How the level is cut into cells for display.
    pub(super) fn grid(&self, downsample: f64) -> GridLevel {
        let cell = (self.tile.0.min(CELL), self.tile.1.min(CELL));
        let per_file_tile = (self.tile.0 / cell.0, self.tile.1 / cell.1);
        GridLevel { width: self.width, height: self.height, downsample, cell, per_file_tile }
    }

    /// Offset and length of the tile of the file in this column and row; `None` when it is not stored, there is none, or it is not decoded
    /// in this process.
    pub(super) fn span_for_here(&self, column: u32, row: u32) -> Option<(u64, u32)> {
        self.span(column, row).filter(|_| !matches!(self.coding, Coding::Jpeg2000 { .. }))
    }

    /// The tile of the file in this column and row, where the child process decodes it by itself.
    pub(super) fn jpeg2000(&self, column: u32, row: u32) -> Option<Jpeg2000Tile> {
        let Coding::Jpeg2000 { is_ycbcr } = self.coding else { return None };
        let (offset, length) = self.span(column, row)?;
        Some(Jpeg2000Tile { offset, length, width: self.tile.0, height: self.tile.1, is_ycbcr })
    }

    fn span(&self, column: u32, row: u32) -> Option<(u64, u32)> {
        let at = row as usize * self.columns as usize + column as usize;
        self.spans.get(at).copied().filter(|&(_, length)| length > 0 && column < self.columns)
    }

    /// The pixels of the file's tile in this column and row, without what lies past the level's edge.
    pub(super) fn decode(
        &self,
        column: u32,
        row: u32,
        bytes: &[u8],
        scratch: &mut Scratch,
    ) -> Result<Decoded, String> {
        let (left, top) = (column.saturating_mul(self.tile.0), row.saturating_mul(self.tile.1));
        if left >= self.width || top >= self.height {
            return Err("there is no such tile".to_string());
        }
        let (width, height) = (self.tile.0.min(self.width - left), self.tile.1.min(self.height - top));
        let mut rgba = spare::take(self.tile.0 as usize * self.tile.1 as usize * 4);
        match &self.coding {
            Coding::Jpeg(tables) => tables.decode(bytes, self.tile, scratch, &mut rgba)?,
            Coding::Packed { packing, has_predictor } => {
                self.unpack(bytes, *packing, *has_predictor, &mut rgba)?;
            }
            Coding::Jpeg2000 { .. } => return Err("it is not decoded in this process".to_string()),
        }
        crop(&mut rgba, self.tile.0, (width, height));
        Ok(Decoded { rgba, width, height })
    }

    fn unpack(
        &self,
        bytes: &[u8],
        packing: Packing,
        has_predictor: bool,
        rgba: &mut Vec<u8>,
    ) -> Result<(), String> {
        let row_bytes = self.tile.0 as usize * 3;
        let wanted = row_bytes * self.tile.1 as usize;
        let mut rgb = unpacked(bytes, packing, wanted)?;
        if rgb.len() < wanted {
            return Err("it is too short".to_string());
        }
        rgb.truncate(wanted);
        if has_predictor {
            for row in rgb.chunks_exact_mut(row_bytes) {
                for at in 3..row_bytes {
                    row[at] = row[at].wrapping_add(row[at - 3]);
                }
            }
        }
        rgba.resize(wanted / 3 * 4, 255);
        for (to, from) in rgba.chunks_exact_mut(4).zip(rgb.chunks_exact(3)) {
            to[..3].copy_from_slice(from);
        }
        Ok(())
    }
}

impl Coding {
    fn of(directory: &Directory) -> Option<Self> {
        let photometric = directory.number(tag::PHOTOMETRIC, 1);
        let packing = match directory.number(tag::COMPRESSION, 1) {
            7 if matches!(photometric, PHOTOMETRIC_RGB | PHOTOMETRIC_YCBCR) => {
                let tables = directory.bytes(tag::JPEG_TABLES);
                // A value that cannot be read is not the same as none.
                if tables.is_none() && directory.has(tag::JPEG_TABLES) {
                    return None;
                }
                let tables = JpegTables::new(tables.as_deref(), photometric == PHOTOMETRIC_YCBCR)?;
                return Some(Self::Jpeg(tables));
            }
            33003 => return Some(Self::Jpeg2000 { is_ycbcr: true }),
            33005 => return Some(Self::Jpeg2000 { is_ycbcr: false }),
            1 => Packing::Nothing,
            5 => Packing::Lzw,
            8 | 32946 => Packing::Deflate,
            _ => return None,
        };
        let predictor = directory.number(tag::PREDICTOR, 1);
        // The predictor belongs to LZW and Deflate; without them, readers leave it out.
        let has_predictor = predictor == 2 && !matches!(packing, Packing::Nothing);
        (photometric == PHOTOMETRIC_RGB && matches!(predictor, 1 | 2))
            .then_some(Self::Packed { packing, has_predictor })
    }
}

/// Places as whole numbers; `None` when one of them is none, or is longer than any tile is.
fn spans(directory: &Directory, longest: u64) -> Option<Vec<(u64, u32)>> {
    let offsets = directory.numbers(tag::TILE_OFFSETS)?;
    let counts = directory.numbers(tag::TILE_BYTE_COUNTS)?;
    if offsets.len() != counts.len() {
        return None;
    }
    // Whole numbers up to here are exact as floats: no file is that large.
    let whole = |number: f64| {
        (number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&number)).then_some(number as u64)
    };
    let span = |(&offset, &count): (&f64, &f64)| {
        let length = whole(count).filter(|&length| length <= longest)?;
        Some((whole(offset)?, u32::try_from(length).ok()?))
    };
    offsets.iter().zip(counts).map(span).collect()
}

fn unpacked(bytes: &[u8], packing: Packing, wanted: usize) -> Result<Vec<u8>, String> {
    match packing {
        Packing::Nothing => Ok(bytes.to_vec()),
        Packing::Lzw => {
            // Old writers packed the codes the other way round; libtiff tells them by these bytes.
            if matches!(bytes, [0, second, ..] if second & 1 == 1) {
                return Err("it is packed with LZW of the old kind".to_string());
            }
            let mut rgb = vec![0; wanted];
            let mut decoder = weezl::decode::Decoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8);
            let (mut read, mut written) = (0, 0);
            while written < wanted {
                let result = decoder.decode_bytes(&bytes[read..], &mut rgb[written..]);
                (read, written) = (read + result.consumed_in, written + result.consumed_out);
                match result.status.map_err(|error| error.to_string())? {
                    weezl::LzwStatus::Ok if result.consumed_in + result.consumed_out > 0 => {}
                    _ => break,
                }
            }
            rgb.truncate(written);
            Ok(rgb)
        }
        Packing::Deflate => {
            let mut rgb = Vec::with_capacity(wanted);
            flate2::read::ZlibDecoder::new(bytes)
                .take(wanted as u64)
                .read_to_end(&mut rgb)
                .map_err(|error| error.to_string())?;
            Ok(rgb)
        }
    }
}

/// Keeps the left upper `width` × `height` of rows of `row` pixels.
fn crop(rgba: &mut Vec<u8>, row: u32, (width, height): (u32, u32)) {
    let (row, width, height) = (row as usize * 4, width as usize * 4, height as usize);
    if width < row {
        for number in 1..height {
            rgba.copy_within(number * row..number * row + width, number * width);
        }
    }
    rgba.truncate(width * height);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_cropped_at_the_edge() {
        let mut rgba: Vec<u8> = (0..48).collect();
        crop(&mut rgba, 4, (2, 3));
        assert_eq!(
            rgba,
            [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23, 32, 33, 34, 35, 36, 37, 38, 39]
        );
        let mut rgba: Vec<u8> = (0..48).collect();
        crop(&mut rgba, 4, (4, 2));
        assert_eq!(rgba, (0..32).collect::<Vec<u8>>());
    }

    #[test]
    fn lzw_and_deflate_give_back_what_was_packed() {
        let rgb: Vec<u8> = (0..60_u32).map(|n| (n * n % 251) as u8).collect();
        let lzw =
            weezl::encode::Encoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8).encode(&rgb).unwrap();
        assert_eq!(unpacked(&lzw, Packing::Lzw, 60).unwrap(), rgb);
        assert_eq!(unpacked(&lzw, Packing::Lzw, 30).unwrap(), rgb[..30]);
        assert!(unpacked(&lzw[..lzw.len() / 2], Packing::Lzw, 60).is_ok_and(|part| part.len() < 60));
        let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut packer, &rgb).unwrap();
        let deflated = packer.finish().unwrap();
        assert_eq!(unpacked(&deflated, Packing::Deflate, 60).unwrap(), rgb);
        assert!(unpacked(b"no stream", Packing::Deflate, 60).is_err());
        assert!(unpacked(&[0, 1, 2], Packing::Lzw, 60).unwrap_err().contains("old kind"));
    }
}
