//! Plain TIFF images: the first channel and time point of a file that is no pyramid of OpenSlide's kinds.
//!
//! Directories are checked by [`super::tiff_directory`], pixels are decoded by crate `tiff` (and by [`super::tiff_chunks`] what
//! that crate does not decode). Images that are no pictures of tissue (bilevel scans, signed numbers, CMYK) are refused by name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use tiff::ColorType;
use tiff::decoder::{Decoder, DecodingResult, Limits};

use super::ome::OmeImage;
use super::openslide::{from_resolution_tags, missing_scale};
use super::plain::{Decoded, MOST_BYTES, MOST_PIXELS};
use super::samples::{Colour, Opacity, Raster, Samples};
use super::tiff_directory::{self, Directory, tag};
use super::{Mpp, MppOrigin, ome, tiff_chunks};

const COMPRESSION_JPEG: u32 = 7;
const EXTRA_PREMULTIPLIED: u32 = 1;
const EXTRA_STRAIGHT: u32 = 2;
const SAMPLE_FORMAT_SIGNED: u32 = 2;

/// Decodes the first image of the TIFF at `path`; an error says what the file is instead (after "This is").
pub(super) fn decode(path: &Path) -> Result<Decoded, String> {
    let damaged = |fault: String| format!("a damaged TIFF file ({fault})");
    let directories = tiff_directory::read(path).map_err(damaged)?;
    let first = directories.first().ok_or_else(|| damaged("it holds no image".to_string()))?;
    let description = first.text(tag::DESCRIPTION).unwrap_or_default();
    let ome = ome::parse(&description);
    refuse_other_kinds(path, first, &description, ome)?;
    let mut notes = Vec::new();
    let raster = if tiff_chunks::applies(first) {
        tiff_chunks::decode(path, first, ome.is_some())
    } else {
        decode_with_crate(path, first)
    };
    let image = raster.and_then(|raster| raster.into_rgb(&mut notes)).map_err(damaged)?;
    let image = orient(image, first.number(tag::ORIENTATION, 1));
    notes.extend(what_was_left_out(directories.len(), ome));
    let (mpp, mpp_origin, mpp_source) = scale(first, &description, ome, &mut notes);
    let mut properties = BTreeMap::new();
    if !description.is_empty() {
        properties.insert("tiff.ImageDescription".to_string(), description);
    }
    let format = if ome.is_some() { "OME-TIFF image" } else { "TIFF image" };
    let icc_profile = first.bytes(tag::ICC_PROFILE);
    Ok(Decoded {
        image,
        format: format.to_string(),
        mpp,
        mpp_origin,
        mpp_source,
        properties,
        icc_profile,
        notes,
    })
}

fn refuse_other_kinds(
    path: &Path,
    first: &Directory,
    description: &str,
    ome: Option<OmeImage>,
) -> Result<(), String> {
    if super::hash::has_extension(path, &["vsi"]) {
        return Err(
            "an Olympus VSI slide, whose pixels lie in ETS files that this program cannot read".to_string()
        );
    }
    if description.contains("PerkinElmer-QPI-ImageDescription") {
        return Err(
            "an Akoya QPTIFF slide of separate fluorescence channels, which this program cannot read"
                .to_string(),
        );
    }
    let kind = if ome.is_some() { "an OME-TIFF image" } else { "a TIFF image" };
    let bits = first.number(tag::BITS_PER_SAMPLE, 1);
    let (compression, photometric) = (first.number(tag::COMPRESSION, 1), first.number(tag::PHOTOMETRIC, 1));
    let reason = match () {
        () if compression == 6 => "packed with old-style JPEG, which this program cannot read".to_string(),
        () if bits < 8 => format!(
            "of {bits} bit{} per sample, which is no picture of tissue",
            if bits == 1 { "" } else { "s" }
        ),
        () if first.number(tag::SAMPLE_FORMAT, 1) == SAMPLE_FORMAT_SIGNED => {
            format!("of {bits}-bit signed numbers, which is no picture of tissue")
        }
        () if photometric == 5 => "in printing colours (CMYK), which this program cannot read".to_string(),
        () if u64::from(first.number(tag::WIDTH, 0)) * u64::from(first.number(tag::HEIGHT, 0))
            > MOST_PIXELS =>
        {
            "too large to be held in memory; make a tiled pyramid of it".to_string()
        }
        () if first.number(tag::WIDTH, 0) == 0 || first.number(tag::HEIGHT, 0) == 0 => {
            "without pixels".to_string()
        }
        () => return Ok(()),
    };
    Err(format!("{kind} {reason}"))
}

fn decode_with_crate(path: &Path, directory: &Directory) -> Result<Raster, String> {
    let in_words = |error: tiff::TiffError| error.to_string();
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut limits = Limits::default();
    limits.decoding_buffer_size = MOST_BYTES;
    limits.intermediate_buffer_size = MOST_BYTES;
    let mut decoder = Decoder::new(BufReader::new(file)).map_err(in_words)?.with_limits(limits);
    let (width, height) = decoder.dimensions().map_err(in_words)?;
    let colour_type = decoder.colortype().map_err(in_words)?;
    let (colour, colours) = match colour_type {
        ColorType::Gray(_) | ColorType::GrayA(_) | ColorType::Multiband { .. } => (Colour::Grey, 1),
        ColorType::RGB(8) if jpeg_says_ycbcr(path, directory) => (Colour::YCbCr, 3),
        ColorType::RGB(_) | ColorType::RGBA(_) => (Colour::Rgb, 3),
        ColorType::YCbCr(_) => (Colour::YCbCr, 3),
        other => return Err(format!("its kind of colour is not known, {other:?}")),
    };
    let mut result = DecodingResult::U8(Vec::new());
    let layout = decoder.read_image_to_buffer(&mut result).map_err(in_words)?;
    let channels = usize::from(colour_type.num_samples());
    let planes = layout.planes.max(1);
    let samples = match result {
        DecodingResult::U8(samples) => Samples::U8(interleave(samples, planes)),
        DecodingResult::U16(samples) => Samples::U16(interleave(samples, planes)),
        DecodingResult::F16(samples) => {
            Samples::F32(interleave(samples, planes).into_iter().map(f32::from).collect())
        }
        DecodingResult::F32(samples) => Samples::F32(interleave(samples, planes)),
        DecodingResult::F64(samples) => {
            Samples::F32(interleave(samples, planes).into_iter().map(|value| value as f32).collect())
        }
        DecodingResult::U32(samples) => {
            Samples::F32(interleave(samples, planes).into_iter().map(|value| value as f32).collect())
        }
        _ => return Err("its numbers are of a kind that this program does not read".to_string()),
    };
    let opacity = match directory.number(tag::EXTRA_SAMPLES, 0) {
        _ if channels <= colours => Opacity::None,
        EXTRA_PREMULTIPLIED => Opacity::Premultiplied,
        EXTRA_STRAIGHT => Opacity::Straight,
        _ => Opacity::None,
    };
    Ok(Raster { width, height, channels, samples, colour, opacity })
}

/// Whether the JPEG data of an image that its tags call RGB are YCbCr by their own markers: Bio-Formats writes such files.
///
/// A JFIF marker means YCbCr, an Adobe marker says itself; without either the tags are right.
fn jpeg_says_ycbcr(path: &Path, directory: &Directory) -> bool {
    let offset = [tag::TILE_OFFSETS, tag::STRIP_OFFSETS]
        .iter()
        .find_map(|&tag| directory.numbers(tag)?.first().copied());
    let (Some(offset), COMPRESSION_JPEG) = (offset, directory.number(tag::COMPRESSION, 1)) else {
        return false;
    };
    let mut head = [0; 64];
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(_unreadable) => return false,
    };
    if file.seek(SeekFrom::Start(offset as u64)).and_then(|_| file.read_exact(&mut head)).is_err() {
        return false;
    }
    // Both markers come first in the data, at most one behind the other.
    let adobe = head.windows(5).position(|window| window == b"Adobe").and_then(|at| head.get(at + 11));
    match adobe {
        Some(&transform) => transform == 1,
        None => head.windows(5).any(|window| window == b"JFIF\0"),
    }
}

/// RRR…GGG…BBB… to RGBRGB…
fn interleave<T: Copy>(samples: Vec<T>, planes: usize) -> Vec<T> {
    if planes <= 1 || samples.is_empty() {
        return samples;
    }
    let plane = samples.len() / planes;
    (0..plane)
        .flat_map(|index| (0..planes).map(move |number| index + number * plane))
        .map(|index| samples[index])
        .collect()
}

/// Turns and mirrors as tag Orientation asks.
fn orient(image: image::RgbImage, orientation: u32) -> image::RgbImage {
    let Some(orientation) = u8::try_from(orientation).ok().and_then(image::metadata::Orientation::from_exif)
    else {
        return image;
    };
    let mut image = image::DynamicImage::ImageRgb8(image);
    image.apply_orientation(orientation);
    image.into_rgb8()
}

fn what_was_left_out(images: usize, ome: Option<OmeImage>) -> Option<String> {
    match ome {
        Some(OmeImage { channels, planes, time_points, .. }) if channels * time_points > 1 && planes <= 1 => {
            Some(format!("Shown is the first channel and time point of {channels} × {time_points}."))
        }
        Some(OmeImage { channels, planes, time_points, .. }) if planes > 1 => Some(format!(
            "Shown is the first channel, time point and focal plane of {channels} × {time_points} × {planes}."
        )),
        None if images > 1 => Some(format!("Shown is the first of {images} images in the file.")),
        _ => None,
    }
}

fn scale(
    first: &Directory,
    description: &str,
    ome: Option<OmeImage>,
    notes: &mut Vec<String>,
) -> (Option<Mpp>, MppOrigin, String) {
    if let Some(mpp) = ome.and_then(|ome| ome.mpp) {
        return (Some(mpp), MppOrigin::Trusted, "the OME description".to_string());
    }
    let per_unit = |tag| {
        first
            .numbers(tag)
            .and_then(|numbers| numbers.first().copied())
            .filter(|density: &f64| density.is_finite() && *density > 0.0)
    };
    let (Some(x), Some(y)) = (per_unit(tag::X_RESOLUTION), per_unit(tag::Y_RESOLUTION)) else {
        return missing_scale();
    };
    let (unit, by_image_j) = match first.number(tag::RESOLUTION_UNIT, 2) {
        2 => (25_400.0, false),
        3 => (10_000.0, false),
        // ImageJ leaves the unit out of the tags and writes it into the description.
        1 if description.starts_with("ImageJ=") && image_j_unit_is_micron(description) => (1.0, true),
        _ => return missing_scale(),
    };
    let mpp = Mpp { x: unit / x, y: unit / y };
    if by_image_j {
        return (Some(mpp), MppOrigin::Inferred, "the TIFF resolution tags with ImageJ's unit".to_string());
    }
    from_resolution_tags(mpp, notes)
}

fn image_j_unit_is_micron(description: &str) -> bool {
    let unit = description.lines().find_map(|line| line.strip_prefix("unit="));
    matches!(unit.map(str::trim), Some("micron" | "microns" | "um" | "µm" | "μm" | "\\u00B5m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_become_pixels() {
        assert_eq!(interleave(vec![1, 2, 10, 20, 100, 200], 3), [1, 10, 100, 2, 20, 200]);
        assert_eq!(interleave(vec![1, 2, 3], 1), [1, 2, 3]);
    }

    #[test]
    fn what_is_left_out_is_said() {
        let ome = |channels, planes, time_points| Some(OmeImage { mpp: None, channels, planes, time_points });
        assert_eq!(
            what_was_left_out(6, ome(2, 1, 3)).unwrap(),
            "Shown is the first channel and time point of 2 × 3."
        );
        assert_eq!(what_was_left_out(1, ome(1, 1, 1)), None);
        assert!(what_was_left_out(5, ome(1, 5, 1)).unwrap().contains("focal plane"));
        assert!(what_was_left_out(2, None).unwrap().contains("first of 2"));
    }
}
