//! Two kinds of TIFF that crate `tiff` does not decode: colour-mapped images and subsampled YCbCr without JPEG.
//!
//! Only 8-bit samples in strips, uncompressed or packed with LZW or Deflate, with or without the horizontal predictor:
//! what Bio-Formats and libtiff write. The layout of the subsampled data units is that of TIFF 6.0, section 21.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::samples::{Colour, Opacity, Raster, Samples};
use super::tiff_directory::{Directory, tag};

const PHOTOMETRIC_PALETTE: u32 = 3;
const PHOTOMETRIC_YCBCR: u32 = 6;
const COMPRESSION_JPEG: u32 = 7;
/// No image that this program holds in memory needs a longer strip.
const LONGEST_STRIP: usize = 1 << 30;

/// Whether `directory` describes an image that this file decodes.
pub(super) fn applies(directory: &Directory) -> bool {
    match directory.number(tag::PHOTOMETRIC, 1) {
        PHOTOMETRIC_PALETTE => true,
        PHOTOMETRIC_YCBCR => {
            directory.number(tag::COMPRESSION, 1) != COMPRESSION_JPEG && subsampling(directory) != (1, 1)
        }
        _ => false,
    }
}

/// Decodes the image of `directory` in the file at `path`; a channel's `measurements` are not coloured by its colour map.
pub(super) fn decode(path: &Path, directory: &Directory, measurements: bool) -> Result<Raster, String> {
    let mut layout = Layout::of(directory)?;
    if measurements && layout.map.is_some() {
        layout.map = Some((0..=255).map(|value| [value; 3]).collect());
    }
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    let mut rgb = vec![0; layout.width * layout.height * 3];
    let offsets = directory.numbers(tag::STRIP_OFFSETS).unwrap_or_default();
    let counts = directory.numbers(tag::STRIP_BYTE_COUNTS).unwrap_or_default();
    if offsets.len() != counts.len() || offsets.len() < layout.height.div_ceil(layout.rows_per_strip) {
        return Err("it has fewer strips than it needs".to_string());
    }
    for (index, rows) in rgb.chunks_mut(layout.rows_per_strip * layout.width * 3).enumerate() {
        let mut packed = vec![0; counts[index] as usize];
        file.seek(SeekFrom::Start(offsets[index] as u64)).map_err(|error| error.to_string())?;
        file.read_exact(&mut packed).map_err(|error| error.to_string())?;
        let height = rows.len() / (layout.width * 3);
        let strip = layout.unpack(&packed, height)?;
        layout.place(&strip, rows);
    }
    Ok(Raster {
        width: layout.width as u32,
        height: layout.height as u32,
        channels: 3,
        samples: Samples::U8(rgb),
        colour: if layout.map.is_some() { Colour::Rgb } else { Colour::YCbCr },
        opacity: Opacity::None,
    })
}

struct Layout {
    width: usize,
    height: usize,
    rows_per_strip: usize,
    compression: u32,
    predictor: bool,
    /// RGB of each index; absent for YCbCr.
    map: Option<Vec<[u8; 3]>>,
    /// Luma samples per chroma sample, across and down.
    subsampling: (usize, usize),
}

impl Layout {
    fn of(directory: &Directory) -> Result<Self, String> {
        let bits = directory.number(tag::BITS_PER_SAMPLE, 1);
        let planar = directory.number(tag::PLANAR, 1) == 2;
        if bits != 8 || planar || directory.has(tag::TILE_OFFSETS) {
            return Err(
                "its layout (tiles, planes or other than 8 bits) is read for plain colours only".to_string()
            );
        }
        let is_palette = directory.number(tag::PHOTOMETRIC, 1) == PHOTOMETRIC_PALETTE;
        if directory.number(tag::SAMPLES_PER_PIXEL, 1) != if is_palette { 1 } else { 3 } {
            return Err("its number of samples does not fit its kind of colour".to_string());
        }
        let (width, height) =
            (directory.number(tag::WIDTH, 0) as usize, directory.number(tag::HEIGHT, 0) as usize);
        let rows_per_strip =
            (directory.number(tag::ROWS_PER_STRIP, u32::MAX) as usize).clamp(1, height.max(1));
        let (across, down) = subsampling(directory);
        if !matches!(across, 1 | 2 | 4)
            || !matches!(down, 1 | 2 | 4)
            || rows_per_strip < height && !rows_per_strip.is_multiple_of(down as usize)
        {
            return Err("its colour subsampling is impossible".to_string());
        }
        Ok(Self {
            width,
            height,
            rows_per_strip,
            compression: directory.number(tag::COMPRESSION, 1),
            predictor: directory.number(tag::PREDICTOR, 1) == 2,
            map: if is_palette { Some(colour_map(directory)?) } else { None },
            subsampling: (across as usize, down as usize),
        })
    }

    fn row_bytes(&self) -> usize {
        match self.map {
            Some(_) => self.width,
            // A data unit holds its luma samples and one Cb and one Cr.
            None => self.width.div_ceil(self.subsampling.0) * (self.subsampling.0 * self.subsampling.1 + 2),
        }
    }

    fn unpack(&self, packed: &[u8], height: usize) -> Result<Vec<u8>, String> {
        let rows = if self.map.is_some() { height } else { height.div_ceil(self.subsampling.1) };
        let wanted = self.row_bytes() * rows;
        if wanted > LONGEST_STRIP {
            return Err("one of its strips is too long".to_string());
        }
        let mut strip = match self.compression {
            1 => packed.to_vec(),
            5 => {
                // A damaged end still leaves the strip's other rows; too few bytes are found out below.
                let mut strip = Vec::new();
                let mut decoder = weezl::decode::Decoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8);
                decoder.into_vec(&mut strip).decode_all(packed).status.map_err(|error| error.to_string())?;
                strip
            }
            8 | 32946 => {
                let mut strip = Vec::new();
                flate2::read::ZlibDecoder::new(packed)
                    .take(wanted as u64)
                    .read_to_end(&mut strip)
                    .map_err(|error| error.to_string())?;
                strip
            }
            other => return Err(format!("its compression (number {other}) is not known")),
        };
        if strip.len() < wanted {
            return Err("one of its strips is too short".to_string());
        }
        strip.truncate(wanted);
        if self.predictor {
            let step = if self.map.is_some() { 1 } else { 3 };
            for row in strip.chunks_mut(self.row_bytes()) {
                for index in step..row.len() {
                    row[index] = row[index].wrapping_add(row[index - step]);
                }
            }
        }
        Ok(strip)
    }

    /// Writes a strip into its rows of the picture, as RGB or as YCbCr at full size.
    fn place(&self, strip: &[u8], rows: &mut [u8]) {
        if let Some(map) = &self.map {
            for (pixel, &index) in rows.chunks_exact_mut(3).zip(strip) {
                pixel.copy_from_slice(&map[index as usize]);
            }
            return;
        }
        let (across, down) = self.subsampling;
        let units_across = self.width.div_ceil(across);
        let height = rows.len() / (self.width * 3);
        for (number, unit) in strip.chunks_exact(across * down + 2).enumerate() {
            let (left, top) = (number % units_across * across, number / units_across * down);
            for (inside, &luma) in unit[..across * down].iter().enumerate() {
                let (x, y) = (left + inside % across, top + inside / across);
                if x < self.width && y < height {
                    let at = (y * self.width + x) * 3;
                    rows[at..at + 3].copy_from_slice(&[luma, unit[across * down], unit[across * down + 1]]);
                }
            }
        }
    }
}

fn subsampling(directory: &Directory) -> (u32, u32) {
    if directory.number(tag::PHOTOMETRIC, 1) != PHOTOMETRIC_YCBCR {
        return (1, 1);
    }
    match directory.numbers(tag::YCBCR_SUBSAMPLING) {
        Some(&[across, down]) => (across as u32, down as u32),
        _ => (2, 2),
    }
}

/// 256 reds, 256 greens, 256 blues of 16 bits.
fn colour_map(directory: &Directory) -> Result<Vec<[u8; 3]>, String> {
    let numbers = directory
        .numbers(tag::COLOUR_MAP)
        .filter(|numbers| numbers.len() == 768)
        .ok_or("its colour map is missing")?;
    // Writers fill the low byte differently (ImageJ with zeros, libtiff with a copy of the high one): the high byte is right for both.
    let narrow = |value: f64| (value as u32 >> 8) as u8;
    Ok((0..256)
        .map(|index| [narrow(numbers[index]), narrow(numbers[index + 256]), narrow(numbers[index + 512])])
        .collect())
}
