//! Plain images (PNG, JPEG, TIFF) as slides of one stored level: decoded whole, the coarser levels made in memory.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

use image::codecs::{jpeg::JpegDecoder, png::PngDecoder};
use image::{DynamicImage, ImageDecoder, RgbImage};

use super::identify::Kind;
use super::openslide::missing_scale;
use super::samples::{Colour, Opacity, Raster, Samples};
use super::{Level, Mpp, MppOrigin, SlideInfo, plain_tiff, resample};

/// Largest picture held in memory, in pixels.
pub(super) const MOST_PIXELS: u64 = 250_000_000;
/// Largest buffer of decoded numbers; 16-bit RGB of the largest picture would need 1.5 GB.
pub(super) const MOST_BYTES: usize = 1 << 30;
/// Levels are made until the longer side is at most this.
const COARSEST_SIDE: u32 = 512;
const WHITE: [u8; 3] = [255, 255, 255];

/// A picture and what its file says about it.
pub(super) struct Decoded {
    pub image: RgbImage,
    pub format: String,
    pub mpp: Option<Mpp>,
    pub mpp_origin: MppOrigin,
    pub mpp_source: String,
    pub properties: BTreeMap<String, String>,
    pub icc_profile: Option<Vec<u8>>,
    pub notes: Vec<String>,
}

/// All levels of a plain image, finest first.
pub(super) struct PlainReader {
    levels: Vec<RgbImage>,
    icc_profile: Option<Vec<u8>>,
}

impl PlainReader {
    /// Decodes the file at `path`, which `identify` found to be of `kind`; an error says what it is (after "This is").
    pub(super) fn open(path: &Path, kind: Kind) -> Result<(Self, SlideInfo), String> {
        let decoded = match kind {
            Kind::Png => decode_png(path)?,
            Kind::Jpeg => decode_jpeg(path)?,
            Kind::Tiff => plain_tiff::decode(path)?,
        };
        let mut images = vec![decoded.image];
        while let Some(last) = images.last().filter(|last| last.width().max(last.height()) > COARSEST_SIDE) {
            images.push(resample::halve(last)?);
        }
        let whole = images.first().map_or(0, RgbImage::width);
        let levels = images.iter().map(|image| Level {
            width: image.width(),
            height: image.height(),
            downsample: f64::from(whole) / f64::from(image.width()),
        });
        let info = SlideInfo {
            path: path.to_path_buf(),
            format: decoded.format,
            vendor: None,
            levels: levels.collect(),
            mpp: decoded.mpp,
            mpp_origin: decoded.mpp_origin,
            mpp_source: decoded.mpp_source,
            objective_power: None,
            background: WHITE,
            properties: decoded.properties,
            associated: Vec::new(),
            icc_profile: decoded.icc_profile.is_some(),
            hash: String::new(),
            notes: decoded.notes,
        };
        Ok((Self { levels: images, icc_profile: decoded.icc_profile }, info))
    }

    /// The colour profile as it stands in the file.
    pub(super) fn icc_profile(&self) -> Option<&[u8]> {
        self.icc_profile.as_deref()
    }

    /// RGB of `w` × `h` pixels of `level` from (`x`, `y`) in level-0 pixels; white outside. The level exists.
    pub(super) fn read_region(&self, level: u32, x: i64, y: i64, w: u32, h: u32) -> RgbImage {
        let (whole, source) = (&self.levels[0], &self.levels[level as usize]);
        let left = (x as f64 * f64::from(source.width()) / f64::from(whole.width())).round() as i64;
        let top = (y as f64 * f64::from(source.height()) / f64::from(whole.height())).round() as i64;
        let mut image = RgbImage::from_pixel(w, h, image::Rgb(WHITE));
        // What both have: columns and rows of the source from `first` to `last`, exclusive.
        let common = |origin: i64, wanted: u32, extent: u32| {
            let last = origin.saturating_add(i64::from(wanted)).min(i64::from(extent));
            (origin.max(0), last)
        };
        let (first_column, last_column) = common(left, w, source.width());
        let (first_row, last_row) = common(top, h, source.height());
        if first_column >= last_column {
            return image;
        }
        let bytes = (last_column - first_column) as usize * 3;
        let target: &mut [u8] = &mut image;
        for row in first_row..last_row {
            let from = (row as usize * source.width() as usize + first_column as usize) * 3;
            let to = ((row - top) as usize * w as usize + (first_column - left) as usize) * 3;
            target[to..to + bytes].copy_from_slice(&source.as_raw()[from..from + bytes]);
        }
        image
    }
}

fn decode_png(path: &Path) -> Result<Decoded, String> {
    let damaged = |error: image::ImageError| format!("a damaged PNG image ({})", in_words(&error));
    let bytes = std::fs::read(path).map_err(|error| format!("a PNG image that cannot be read ({error})"))?;
    let decoder = PngDecoder::new(Cursor::new(bytes)).map_err(damaged)?;
    decode_with_crate(decoder, "PNG image")
        .map_err(|fault| fault.sentence("a PNG image", "a damaged PNG image"))
}

fn decode_jpeg(path: &Path) -> Result<Decoded, String> {
    if super::hash::has_extension(path, &["mrxs"]) {
        return Err(format!(
            "a MIRAX slide without its data folder “{}” beside it",
            path.with_extension("").file_name().unwrap_or_default().display()
        ));
    }
    let bytes = std::fs::read(path).map_err(|error| format!("a JPEG image that cannot be read ({error})"))?;
    if !has_end_of_image(&bytes) {
        return Err("a truncated JPEG image (its end is missing)".to_string());
    }
    let damaged = |error: image::ImageError| format!("a damaged JPEG image ({})", in_words(&error));
    let decoder = JpegDecoder::new(Cursor::new(bytes)).map_err(damaged)?;
    decode_with_crate(decoder, "JPEG image")
        .map_err(|fault| fault.sentence("a JPEG image", "a damaged JPEG image"))
}

enum Fault {
    TooLarge,
    Damaged(String),
}

impl Fault {
    fn sentence(self, kind: &str, damaged_kind: &str) -> String {
        match self {
            Self::TooLarge => format!("{kind} too large to be held in memory; make a tiled pyramid of it"),
            Self::Damaged(reason) => format!("{damaged_kind} ({reason})"),
        }
    }
}

fn decode_with_crate(mut decoder: impl ImageDecoder, format: &str) -> Result<Decoded, Fault> {
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MOST_PIXELS || decoder.total_bytes() > MOST_BYTES as u64 {
        return Err(Fault::TooLarge);
    }
    let damaged = |error: image::ImageError| Fault::Damaged(in_words(&error));
    // One that cannot be read is none: the picture is shown without.
    let icc_profile = decoder.icc_profile().ok().flatten();
    let orientation = decoder.orientation().map_err(damaged)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    image.apply_orientation(orientation);
    let image =
        if image.color().has_alpha() { on_white(image).map_err(Fault::Damaged)? } else { image.into_rgb8() };
    let (mpp, mpp_origin, mpp_source) = missing_scale();
    Ok(Decoded {
        image,
        format: format.to_string(),
        mpp,
        mpp_origin,
        mpp_source,
        properties: BTreeMap::new(),
        icc_profile,
        notes: Vec::new(),
    })
}

fn on_white(image: DynamicImage) -> Result<RgbImage, String> {
    let rgba = image.into_rgba8();
    let (width, height) = rgba.dimensions();
    let raster = Raster {
        width,
        height,
        channels: 4,
        samples: Samples::U8(rgba.into_raw()),
        colour: Colour::Rgb,
        opacity: Opacity::Straight,
    };
    raster.into_rgb(&mut Vec::new())
}

fn in_words(error: &image::ImageError) -> String {
    match error {
        image::ImageError::Decoding(error) => {
            std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
        }
        other => other.to_string(),
    }
}

/// Whether the end-of-image marker follows the picture data; decoders show a picture that ends early with grey in its place.
fn has_end_of_image(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[0xff, marker]) = bytes.get(at..at + 2) {
        at += 2;
        match marker {
            0xd9 => return true,
            0xff => at -= 1,
            0x01 | 0xd0..=0xd8 => {}
            _ => {
                let Some(&[high, low]) = bytes.get(at..at + 2) else { return false };
                at += usize::from(u16::from_be_bytes([high, low]));
                if marker == 0xda {
                    // In picture data 0xff is followed by 0 or by a restart marker: anything else is the next segment.
                    let Some(next) = bytes.get(at..).and_then(|data| {
                        data.windows(2)
                            .position(|pair| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7))
                    }) else {
                        return false;
                    };
                    at += next;
                }
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_cut_out_and_padded_on_all_sides() {
        let source = RgbImage::from_fn(5, 4, |x, y| image::Rgb([x as u8, y as u8, 7]));
        let reader = PlainReader { levels: vec![source.clone()], icc_profile: None };
        for (x, y, w, h) in [
            (0, 0, 5, 4),
            (-2, -1, 4, 9),
            (3, 2, 9, 9),
            (1, 1, 2, 2),
            (-9, 0, 3, 3),
            (5, 0, 3, 3),
            (0, i64::MAX, 2, 2),
            (i64::MIN, 0, 2, 2),
        ] {
            let found = reader.read_region(0, x, y, w, h);
            for (column, row, pixel) in found.enumerate_pixels() {
                let (at_x, at_y) = (x.saturating_add(i64::from(column)), y.saturating_add(i64::from(row)));
                let inside = (0..5).contains(&at_x) && (0..4).contains(&at_y);
                let expected =
                    if inside { *source.get_pixel(at_x as u32, at_y as u32) } else { image::Rgb(WHITE) };
                assert_eq!(*pixel, expected, "{column},{row} of {x},{y},{w},{h}");
            }
        }
    }

    #[test]
    fn the_end_of_a_jpeg_is_found_behind_its_data() {
        let mut bytes =
            vec![0xff, 0xd8, 0xff, 0xe0, 0, 4, 0xff, 0xd9, 0xff, 0xda, 0, 2, 1, 0xff, 0, 0xff, 0xd1, 2];
        assert!(!has_end_of_image(&bytes), "the marker inside a segment does not count");
        bytes.extend([0xff, 0xd9]);
        assert!(has_end_of_image(&bytes));
        for end in 0..bytes.len() {
            assert!(!has_end_of_image(&bytes[..end]));
        }
    }
}
