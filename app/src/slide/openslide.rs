//! Slides that OpenSlide reads. Only the `slide-server` child runs this: the C code parses strangers' files.
//!
//! OpenSlide gives premultiplied BGRA, transparent where nothing was scanned, and takes unsigned origins only (through
//! openslide-rs); this file makes straight RGB of it and clips regions that begin before the slide.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use image::RgbImage;
use openslide_rs::errors::OpenSlideError;
use openslide_rs::{Address, OpenSlide, Region as OpenSlideRegion, Size};

use super::{AssociatedImage, Level, Mpp, MppOrigin, SlideInfo};

/// Decoded tiles that OpenSlide keeps, in bytes.
const CACHE_BYTES: usize = 128 << 20;
/// Resolution tags coarser than this describe paper, not tissue: 72 dots per inch are 353 µm.
const PRINT_MPP: f64 = 25.0;
const WHITE: [u8; 3] = [255, 255, 255];

/// An open slide and the way back from an error.
///
/// After any error OpenSlide allows nothing but closing a handle, so one bad tile would end the whole slide (and fail what other
/// threads read meanwhile). A failed read is therefore repeated once on a fresh handle, which then serves everybody.
pub(super) struct OpenSlideReader {
    path: PathBuf,
    shared: Mutex<Arc<OpenSlide>>,
    /// Held while a failed read is repeated, so that two failures do not spoil each other's fresh handle.
    recovery: Mutex<()>,
    levels: Vec<Level>,
    background: [u8; 3],
}

/// Why OpenSlide did not open a file.
pub(super) enum Refusal {
    /// No reader of OpenSlide recognises it: it may still be a plain image.
    NotRecognised,
    /// A reader recognised it and failed; the format in words and OpenSlide's reason.
    Failed { format: &'static str, reason: String },
}

impl OpenSlideReader {
    /// Opens `path` and collects what is known about it (its hash is still empty).
    pub(super) fn open(path: &Path) -> Result<(Self, SlideInfo), Refusal> {
        let vendor = OpenSlide::detect_vendor(path).map_err(|_unrecognised| Refusal::NotRecognised)?;
        let format = format_in_words(&vendor, path);
        let failed = |error: OpenSlideError| Refusal::Failed { format, reason: reason(&error) };
        let slide = OpenSlide::new_with_cache(path, CACHE_BYTES).map_err(failed)?;
        let info = describe(&slide, path, vendor, format).map_err(failed)?;
        if info.levels.is_empty() {
            return Err(Refusal::Failed { format, reason: "it has no levels".to_string() });
        }
        let reader = Self {
            path: path.to_path_buf(),
            shared: Mutex::new(Arc::new(slide)),
            recovery: Mutex::new(()),
            levels: info.levels.clone(),
            background: info.background,
        };
        Ok((reader, info))
    }

    /// RGB of `w` × `h` pixels of `level` from (`x`, `y`) in level-0 pixels, which may lie outside the slide.
    ///
    /// The level exists and the size is within the limit: `source` has checked both.
    pub(super) fn read_region(&self, level: u32, x: i64, y: i64, w: u32, h: u32) -> Result<RgbImage, String> {
        let mut image = RgbImage::from_pixel(w, h, image::Rgb(self.background));
        let found = self.levels[level as usize];
        let (Some(columns), Some(rows)) = (
            Span::inside(x, w, found.width, found.downsample),
            Span::inside(y, h, found.height, found.downsample),
        ) else {
            return Ok(image);
        };
        let region = OpenSlideRegion {
            address: Address { x: columns.origin, y: rows.origin },
            level,
            size: Size { w: columns.length, h: rows.length },
        };
        let bgra = self.with_recovery(|slide| slide.read_region(&region))?;
        let row_bytes = columns.length as usize * 4;
        for (row, pixels) in bgra.chunks_exact(row_bytes).enumerate() {
            for (column, pixel) in pixels.chunks_exact(4).enumerate() {
                let rgb = image::Rgb(over_background(pixel, self.background));
                image.put_pixel(columns.skipped + column as u32, rows.skipped + row as u32, rgb);
            }
        }
        Ok(image)
    }

    /// An associated image as RGB on white; the name exists.
    pub(super) fn read_associated(&self, name: &str) -> Result<RgbImage, String> {
        let (size, bgra) = self.with_recovery(|slide| slide.read_associated_buffer(name))?;
        let rgb = bgra.chunks_exact(4).flat_map(|pixel| over_background(pixel, WHITE)).collect();
        RgbImage::from_raw(size.w, size.h, rgb)
            .ok_or_else(|| "OpenSlide gave the wrong number of pixels".to_string())
    }

    /// The colour profile as it stands in the file.
    pub(super) fn icc_profile(&self) -> Result<Option<Vec<u8>>, String> {
        self.with_recovery(OpenSlide::icc_profile)
    }

    fn with_recovery<T>(&self, read: impl Fn(&OpenSlide) -> Result<T, OpenSlideError>) -> Result<T, String> {
        let current = Arc::clone(&self.shared.lock().unwrap_or_else(PoisonError::into_inner));
        match read(&current) {
            Err(OpenSlideError::LibraryError(_)) => {}
            result => return result.map_err(|error| reason(&error)),
        }
        let _one_at_a_time = self.recovery.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || {
            OpenSlide::new_with_cache(&self.path, CACHE_BYTES).map(Arc::new).map_err(|error| reason(&error))
        };
        let candidate = fresh()?;
        let result = read(&candidate);
        let healthy =
            if matches!(result, Err(OpenSlideError::LibraryError(_))) { fresh()? } else { candidate };
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = healthy;
        result.map_err(|error| reason(&error))
    }
}

/// The part of a wanted row or column that lies inside a level.
struct Span {
    /// Level-0 pixels.
    origin: u32,
    /// Pixels of the level.
    length: u32,
    /// Wanted pixels of the level that come before the slide begins.
    skipped: u32,
}

impl Span {
    /// `None` when nothing of the wanted span is inside.
    fn inside(origin: i64, wanted: u32, extent: u32, downsample: f64) -> Option<Self> {
        let skipped = if origin < 0 { (-(origin as f64) / downsample).ceil() } else { 0.0 };
        if skipped >= f64::from(wanted) {
            return None;
        }
        let first = (origin as f64 + skipped * downsample).round();
        let left = f64::from(extent) - (first / downsample).floor();
        let length = (f64::from(wanted) - skipped).min(left.ceil());
        (length >= 1.0 && first <= f64::from(u32::MAX)).then_some(Self {
            origin: first as u32,
            length: length as u32,
            skipped: skipped as u32,
        })
    }
}

/// One premultiplied BGRA pixel (a native-endian ARGB word) on a background colour.
fn over_background(pixel: &[u8], background: [u8; 3]) -> [u8; 3] {
    let [alpha, red, green, blue] =
        u32::from_ne_bytes([pixel[0], pixel[1], pixel[2], pixel[3]]).to_be_bytes();
    if alpha == 255 {
        return [red, green, blue];
    }
    let through = 255 - u32::from(alpha);
    let mix =
        |colour: u8, under: u8| (u32::from(colour) + (u32::from(under) * through + 127) / 255).min(255) as u8;
    [mix(red, background[0]), mix(green, background[1]), mix(blue, background[2])]
}

fn reason(error: &OpenSlideError) -> String {
    match error {
        OpenSlideError::LibraryError(message) => message.clone(),
        other => other.to_string(),
    }
}

fn format_in_words(vendor: &str, path: &Path) -> &'static str {
    match vendor {
        "aperio" => "an Aperio SVS slide",
        "dicom" => "a DICOM whole-slide file",
        "generic-tiff" => "a tiled TIFF pyramid",
        "hamamatsu" if super::hash::has_extension(path, &["ndpi"]) => "a Hamamatsu NDPI slide",
        "hamamatsu" => "a Hamamatsu VMS slide",
        "leica" => "a Leica SCN slide",
        "mirax" => "a MIRAX slide",
        "philips" => "a Philips TIFF slide",
        "sakura" => "a Sakura SVSLIDE slide",
        "trestle" => "a Trestle TIFF slide",
        "ventana" => "a Ventana BIF slide",
        "zeiss" => "a Zeiss CZI slide",
        _ => "a slide of a kind that only OpenSlide knows",
    }
}

fn describe(
    slide: &OpenSlide,
    path: &Path,
    vendor: String,
    format: &'static str,
) -> Result<SlideInfo, OpenSlideError> {
    let mut properties = BTreeMap::new();
    for name in slide.property_names()? {
        let value = slide.property_value(&name)?;
        properties.insert(name, value);
    }
    let mut associated = Vec::new();
    for name in slide.associated_image_names()? {
        let size = slide.associated_image_dimensions(&name)?;
        associated.push(AssociatedImage { name, width: size.w, height: size.h });
    }
    associated.sort_by(|a, b| a.name.cmp(&b.name));
    let sizes = slide.all_level_dimensions().iter().zip(slide.all_level_downsamples());
    let levels =
        sizes.map(|(size, &downsample)| Level { width: size.w, height: size.h, downsample }).collect();
    let objective_power = positive_number(properties.get("openslide.objective-power"));
    let mut notes = Vec::new();
    let (mpp, mpp_origin, mpp_source) = scale(&vendor, &properties, objective_power, &mut notes);
    Ok(SlideInfo {
        path: path.to_path_buf(),
        format: format.trim_start_matches("an ").trim_start_matches("a ").to_string(),
        vendor: Some(vendor),
        levels,
        mpp,
        mpp_origin,
        mpp_source,
        objective_power,
        background: properties
            .get("openslide.background-color")
            .and_then(|hex| colour_from_hex(hex))
            .unwrap_or(WHITE),
        properties,
        associated,
        icc_profile: matches!(slide.icc_profile(), Ok(Some(_))),
        hash: String::new(),
        notes,
    })
}

/// Microns per pixel and how far to believe them. A generic TIFF has nothing but resolution tags, which any program may have written.
fn scale(
    vendor: &str,
    properties: &BTreeMap<String, String>,
    objective_power: Option<f64>,
    notes: &mut Vec<String>,
) -> (Option<Mpp>, MppOrigin, String) {
    let x = positive_number(properties.get("openslide.mpp-x"));
    let y = positive_number(properties.get("openslide.mpp-y"));
    if let (Some(x), Some(y)) = (x, y) {
        let mpp = Mpp { x, y };
        if vendor != "generic-tiff" {
            return (Some(mpp), MppOrigin::Trusted, "the slide's own metadata".to_string());
        }
        return from_resolution_tags(mpp, notes);
    }
    if let Some(power) = objective_power {
        let mpp = 10.0 / power;
        return (
            Some(Mpp { x: mpp, y: mpp }),
            MppOrigin::Inferred,
            format!("the objective power, {power}× taken as {mpp} µm per pixel"),
        );
    }
    missing_scale()
}

/// What TIFF resolution tags are worth: an inferred scale, or none when they describe a printed page.
pub(super) fn from_resolution_tags(mpp: Mpp, notes: &mut Vec<String>) -> (Option<Mpp>, MppOrigin, String) {
    if mpp.mean() > PRINT_MPP {
        notes.push(format!(
            "The resolution tags of the file say {:.1} µm per pixel, a resolution for print, which is not taken for the scale of the tissue.",
            mpp.mean()
        ));
        return missing_scale();
    }
    (Some(mpp), MppOrigin::Inferred, "the TIFF resolution tags".to_string())
}

pub(super) fn missing_scale() -> (Option<Mpp>, MppOrigin, String) {
    (None, MppOrigin::Missing, "the file does not say".to_string())
}

fn positive_number(text: Option<&String>) -> Option<f64> {
    text?.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0)
}

fn colour_from_hex(hex: &str) -> Option<[u8; 3]> {
    let bytes = u32::from_str_radix(hex.trim_start_matches('#'), 16)
        .ok()
        .filter(|_| hex.trim_start_matches('#').len() == 6)?;
    let [_, red, green, blue] = bytes.to_be_bytes();
    Some([red, green, blue])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn premultiplied_pixels_land_on_the_background() {
        let pixel = |alpha, red, green, blue| u32::from_be_bytes([alpha, red, green, blue]).to_ne_bytes();
        assert_eq!(over_background(&pixel(255, 10, 20, 30), [1, 2, 3]), [10, 20, 30]);
        assert_eq!(over_background(&pixel(0, 0, 0, 0), [1, 2, 3]), [1, 2, 3]);
        // Half-transparent red (200, premultiplied 100) on white.
        assert_eq!(over_background(&pixel(128, 100, 0, 0), WHITE), [227, 127, 127]);
    }

    #[test]
    fn spans_are_clipped_on_both_sides() {
        let span = Span::inside(-10, 20, 100, 4.0).map(|span| (span.origin, span.length, span.skipped));
        assert_eq!(span, Some((2, 17, 3)));
        let span = Span::inside(390, 20, 100, 4.0).map(|span| (span.origin, span.length, span.skipped));
        assert_eq!(span, Some((390, 3, 0)));
        assert!(Span::inside(-80, 20, 100, 4.0).is_none());
        assert!(Span::inside(400, 20, 100, 4.0).is_none());
        assert!(Span::inside(i64::MIN, u32::MAX, 100, 1.0).is_none());
        assert!(Span::inside(i64::MAX, u32::MAX, 100, 1.0).is_none());
    }

    #[test]
    fn background_colours_are_read_as_hex() {
        assert_eq!(colour_from_hex("FFEEDD"), Some([255, 238, 221]));
        assert_eq!(colour_from_hex("fff"), None);
        assert_eq!(colour_from_hex("gg0000"), None);
    }
}
