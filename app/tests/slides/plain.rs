//! Plain images open with the pixels that numpy computes from them, and say what was left out.

use std::collections::BTreeMap;

use image::RgbImage;
use reinpath::slide::{Error, SlideHandle};
use serde::Deserialize;

use super::{check_all, data, open, statistics};

/// Other inverse DCTs, other upsampling of colour: a unit in the mean, a few in a single pixel.
const JPEG_TOLERANCE: (f64, i32) = (1.0, 6);
/// Rounding of the last digit.
const EXACT_TOLERANCE: (f64, i32) = (0.02, 1);

#[derive(Deserialize)]
struct Golden {
    size: [u32; 2],
    mean: [f64; 3],
    std: [f64; 3],
    corner: [i32; 3],
    centre: [i32; 3],
}

fn golden() -> BTreeMap<String, Golden> {
    serde_json::from_str(include_str!("../golden/plain_slides.json")).unwrap()
}

#[test]
fn plain_images_have_the_right_pixels() {
    let Some(data) = data() else { return };
    let golden: Vec<_> = golden().into_iter().collect();
    check_all(&golden, |(name, expected)| {
        let slide = open(&data.join(name)).map_err(|error| format!("{name}: {error}"))?;
        let [width, height] = expected.size;
        if (slide.info().width(), slide.info().height()) != (width, height) {
            return Err(format!("{name}: {} × {} pixels", slide.info().width(), slide.info().height()));
        }
        let image = whole(&slide, width, height).map_err(|error| error.to_string())?;
        let lossy = ["jpeg", "ome-tiff/OS", "subsampled"].iter().any(|part| name.contains(part));
        let (tolerance, unit) = if lossy { JPEG_TOLERANCE } else { EXACT_TOLERANCE };
        let (mean, deviation) = statistics(&image);
        let far = |found: [f64; 3], expected: [f64; 3]| {
            found.iter().zip(expected).any(|(a, b)| (a - b).abs() > tolerance)
        };
        if far(mean, expected.mean) || far(deviation, expected.std) {
            return Err(format!(
                "{name}: mean {mean:.3?} instead of {:?}, deviation {deviation:.3?} instead of {:?}",
                expected.mean, expected.std
            ));
        }
        for (place, pixel, expected) in [
            ("corner", image.get_pixel(0, 0), expected.corner),
            ("centre", image.get_pixel(width / 2, height / 2), expected.centre),
        ] {
            if pixel
                .0
                .iter()
                .zip(expected)
                .any(|(&found, expected)| (i32::from(found) - expected).abs() > unit)
            {
                return Err(format!("{name}: {place} {:?} instead of {expected:?}", pixel.0));
            }
        }
        Ok(())
    });
}

/// Level 0 in bands: the largest image is 150 MB of pixels, more than a busy machine passes through a pipe in the patience of a handle.
fn whole(slide: &SlideHandle, width: u32, height: u32) -> Result<RgbImage, Error> {
    let mut rows = Vec::new();
    for top in (0..height).step_by(1250) {
        let band = slide.read_region(0, 0, i64::from(top), width, 1250.min(height - top))?.image;
        rows.extend(band.into_raw());
    }
    Ok(RgbImage::from_raw(width, height, rows).unwrap())
}

#[test]
fn coarser_levels_are_made_in_memory() {
    let Some(data) = data() else { return };
    let slide = open(&data.join("slides/large_image/yb10kx5k.png")).unwrap();
    let sizes: Vec<_> = slide.info().levels.iter().map(|level| (level.width, level.height)).collect();
    assert_eq!(sizes, [(10000, 5000), (5000, 2500), (2500, 1250), (1250, 625), (625, 312), (312, 156)]);
    let coarse = slide.read_region(5, 0, 0, 312, 156).unwrap().image;
    let (mean, _) = statistics(&coarse);
    let golden = &golden()["slides/large_image/yb10kx5k.png"];
    assert!(mean.iter().zip(golden.mean).all(|(a, b)| (a - b).abs() < 2.0), "{mean:?}");
}

#[test]
fn what_is_not_shown_is_said() {
    let Some(data) = data() else { return };
    let notes = [
        ("slides/qupath/cells-2c.ome.tif", "first channel and time point of 2 × 1"),
        ("slides/qupath/cells-2t.ome.tif", "first channel and time point of 1 × 2"),
        ("slides/qupath/cells-gray16.tif", "windowed from the least"),
        ("slides/qupath/cells-gray32.tif", "windowed from the least"),
        ("slides/generic-tiff/pathml_smalltif.tif", "first of 2 images"),
    ];
    for (name, note) in notes {
        let slide = open(&data.join(name)).unwrap();
        assert!(
            slide.info().notes.iter().any(|line| line.contains(note)),
            "{name}: {:?}",
            slide.info().notes
        );
    }
    let slide = open(&data.join("slides/ome-tiff/OS-1-detail.ome.tif")).unwrap();
    assert_eq!(slide.info().notes, Vec::<String>::new());
    let mpp = slide.info().mpp.unwrap();
    assert!((mpp.x - 0.227_097_243).abs() < 1e-9 && (mpp.y - 0.227_102_400).abs() < 1e-9, "{mpp:?}");
}
