//! What OpenSlide 4.0.1 opens agrees with what openslide-python measured: properties, levels, regions, associated images.

use serde_json::Value;

use super::{assert_near, check_all, data, open, statistics};

/// libjpeg versions differ by a unit here and there; measured on whole regions that is far below one in mean and deviation.
const TOLERANCE: f64 = 1.0;

#[test]
fn slides_agree_with_openslide() {
    let Some(data) = data() else { return };
    let reference: Value =
        serde_json::from_slice(&std::fs::read(data.join("slides/OPENSLIDE_REFERENCE.json")).unwrap())
            .unwrap();
    let slides: Vec<(&String, &Value)> = reference["slides"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, slide)| slide.get("open_error").is_none())
        .collect();
    assert!(slides.len() >= 20, "only {} slides in the reference", slides.len());
    check_all(&slides, |(name, expected)| {
        std::panic::catch_unwind(|| compare(&data.join(name), name, expected)).map_err(|panic| {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            format!("{name}: {}", text.unwrap_or_default())
        })
    });
}

fn compare(path: &std::path::Path, name: &str, expected: &Value) {
    let slide = open(path).unwrap();
    let info = slide.info();
    assert_eq!(info.vendor.as_deref(), expected["detect_format"].as_str());
    let sizes: Vec<_> =
        info.levels.iter().map(|level| serde_json::json!([level.width, level.height])).collect();
    assert_eq!(Value::from(sizes), expected["level_dimensions"], "level sizes");
    for (level, downsample) in info.levels.iter().zip(expected["level_downsamples"].as_array().unwrap()) {
        assert!((level.downsample - downsample.as_f64().unwrap()).abs() < 1e-9, "downsamples");
    }
    for (key, value) in expected["properties"].as_object().unwrap() {
        let value = value.as_str().unwrap();
        let found = info.properties.get(key).unwrap_or_else(|| panic!("property {key} is missing"));
        // The reference cuts long values.
        let agrees = value.strip_suffix("...").map_or(found == value, |start| found.starts_with(start));
        assert!(agrees, "property {key}: {found:?} instead of {value:?}");
    }
    assert_eq!(
        info.properties.len(),
        expected["properties"].as_object().unwrap().len(),
        "number of properties"
    );
    assert_eq!(Some(info.icc_profile), expected["icc"].as_bool(), "ICC profile");
    assert_eq!(info.hash.len(), 64);
    let on_white = serde_json::from_str(include_str!("../golden/openslide_regions.json")).unwrap();
    for region in expected["regions"].as_array().unwrap() {
        compare_region(&slide, name, region, &on_white);
    }
    for (image, expected) in expected["associated"].as_object().unwrap() {
        let found = slide.read_associated(image).unwrap().image;
        assert_eq!(
            serde_json::json!([found.width(), found.height()]),
            expected["size"],
            "associated image {image}"
        );
        let (mean, deviation) = statistics(&found);
        assert_near(image, mean, three(&expected["mean"]), TOLERANCE);
        assert_near(image, deviation, three(&expected["std"]), TOLERANCE);
    }
}

/// `on_white` holds the regions that are partly transparent (`golden/openslide_regions.py`).
fn compare_region(slide: &reinpath::slide::SlideHandle, name: &str, region: &Value, on_white: &Value) {
    let number = |value: &Value| value.as_i64().unwrap();
    let level = number(&region["level"]) as u32;
    let (x, y) = (number(&region["location"][0]), number(&region["location"][1]));
    let (w, h) = (number(&region["size"][0]) as u32, number(&region["size"][1]) as u32);
    let what = format!("{name}, level {level}, {}", region["at"]);
    let found = slide.read_region(level, x, y, w, h);
    if region.get("error").is_some() {
        let error = found.expect_err(&what).to_string();
        assert!(error.contains("damaged or truncated"), "{error}");
        return;
    }
    let (mean, deviation) = statistics(&found.unwrap().image);
    let expected = if region["mean"][3] == 255.0 {
        region
    } else {
        &on_white[format!("{name} {level} {}", region["at"].as_str().unwrap())]
    };
    assert_near(&format!("{what}, mean"), mean, three(&expected["mean"]), TOLERANCE);
    assert_near(&format!("{what}, deviation"), deviation, three(&expected["std"]), TOLERANCE);
}

fn three(value: &Value) -> [f64; 3] {
    std::array::from_fn(|channel| value[channel].as_f64().unwrap())
}

#[test]
fn scales_say_where_they_come_from() {
    use reinpath::slide::MppOrigin::{Inferred, Missing, Trusted};
    let Some(data) = data() else { return };
    let slides = [
        ("slides/aperio/CMU-1-Small-Region.svs", Trusted),
        ("slides/derived/CMU-1-Small-Region_pyramid4_jpeg.tif", Inferred),
        ("slides/large_image/rgba_geotiff.tiff", Missing),
        // 72 dots per inch are no microscope's.
        ("slides/large_image/yb10kx5k.zstd.tiff", Missing),
        ("slides/ome-tiff/OS-1-detail.ome.tif", Trusted),
        ("slides/qupath/cells.tif", Inferred),
        ("slides/openslide-python/boxes.png", Missing),
    ];
    for (name, origin) in slides {
        let slide = open(&data.join(name)).unwrap();
        assert_eq!(slide.info().mpp_origin, origin, "{name}");
        assert_eq!(slide.info().mpp.is_none(), origin == Missing, "{name}");
        assert!(!slide.info().mpp_source.is_empty(), "{name}");
    }
}

#[test]
fn any_scale_can_be_asked_for_and_the_level_fits() {
    use reinpath::slide::Region;
    let Some(data) = data() else { return };
    let slide = open(&data.join("slides/derived/CMU-1-Small-Region_pyramid4_jpeg.tif")).unwrap();
    let region = Region { x: 400, y: 600, w: 1024, h: 512 };
    let finest = slide.read_at_mpp(region, None).unwrap();
    assert_eq!((finest.level, finest.image.dimensions()), (0, (1024, 512)));
    let (mean, _) = statistics(&finest.image);
    for (wanted, level, size) in [
        (0.25, 0, (2044, 1022)),
        (0.499, 0, (1024, 512)),
        (0.998, 1, (512, 256)),
        (1.5, 1, (341, 170)),
        (3.992, 3, (128, 64)),
    ] {
        let pixels = slide.read_at_mpp(region, Some(wanted)).unwrap();
        assert_eq!((pixels.level, pixels.image.dimensions()), (level, size), "at {wanted} µm per pixel");
        let effective = pixels.mpp.unwrap();
        assert!((effective.mean() / wanted - 1.0).abs() < 0.01, "at {wanted}: {effective:?}");
        // The same tissue at every scale; coarse levels of JPEG have drifted by up to two units.
        assert_near(&format!("at {wanted} µm per pixel"), statistics(&pixels.image).0, mean, 2.5);
    }
}

#[test]
fn regions_past_the_edges_are_background() {
    use reinpath::slide::Region;
    let Some(data) = data() else { return };
    let slide = open(&data.join("slides/aperio/CMU-1-Small-Region.svs")).unwrap();
    let inside = slide.read_region(0, 0, 0, 100, 100).unwrap().image;
    let shifted = slide.read_region(0, -30, -40, 100, 100).unwrap().image;
    for (x, y, pixel) in shifted.enumerate_pixels() {
        let expected =
            if x < 30 || y < 40 { &image::Rgb([255; 3]) } else { inside.get_pixel(x - 30, y - 40) };
        assert_eq!(pixel, expected, "at {x},{y}");
    }
    let corner = slide.read_region(0, 2200, 2947, 100, 100).unwrap().image;
    let edge = slide.read_region(0, 2200, 2947, 20, 20).unwrap().image;
    assert_eq!(corner.get_pixel(19, 19), edge.get_pixel(19, 19));
    assert!(corner.enumerate_pixels().all(|(x, y, pixel)| x < 20 && y < 20 || pixel.0 == [255; 3]));
    for (x, y) in [(-1000, 5), (5, 100_000), (i64::MIN, 0), (i64::MAX, i64::MAX), (5_000_000_000, 0)] {
        let far = slide.read_region(0, x, y, 50, 50).unwrap().image;
        assert!(far.pixels().all(|pixel| pixel.0 == [255; 3]), "at {x},{y}");
        let far = slide.read_at_mpp(Region { x, y, w: 50, h: 50 }, Some(1.0)).unwrap().image;
        assert!(far.pixels().all(|pixel| pixel.0 == [255; 3]), "at {x},{y} with a scale");
    }
    for (level, w, h) in [(1, 10, 10), (0, 0, 10), (0, u32::MAX, u32::MAX)] {
        let error = slide.read_region(level, 0, 0, w, h).unwrap_err().to_string();
        assert!(error.ends_with("CMU-1-Small-Region.svs"), "{error}");
    }
    assert!(slide.read_at_mpp(Region { x: 0, y: 0, w: 9, h: 9 }, Some(f64::NAN)).is_err());
}

#[test]
fn tiles_cover_a_level_exactly() {
    use reinpath::slide::{TILE_PX, TileId};
    let Some(data) = data() else { return };
    let slide = open(&data.join("slides/derived/CMU-1-Small-Region_pyramid4_jpeg.tif")).unwrap();
    let level = slide.info().levels[2];
    let whole = slide.read_region(2, 0, 0, level.width, level.height).unwrap().image;
    let (columns, rows) = slide.info().tiles(2);
    assert_eq!((columns, rows), (3, 3));
    for (column, row) in (0..columns).flat_map(|column| (0..rows).map(move |row| (column, row))) {
        let tile = slide.read_tile(TileId { level: 2, column, row }).unwrap().image;
        let (left, top) = (column * TILE_PX, row * TILE_PX);
        assert_eq!(tile.dimensions(), (TILE_PX.min(level.width - left), TILE_PX.min(level.height - top)));
        let expected = image::imageops::crop_imm(&whole, left, top, tile.width(), tile.height()).to_image();
        // OpenSlide takes origins in level-0 pixels, so a tile may lie an eighth of this level's pixel off its place and be
        // interpolated; a whole pixel would make a difference of more than 15.
        let difference: u64 = tile.iter().zip(expected.iter()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let mean = difference as f64 / tile.len() as f64;
        assert!(mean < 6.0, "tile {column},{row} differs by {mean:.2} on average");
    }
    assert!(slide.read_tile(TileId { level: 2, column: 3, row: 0 }).is_err());
    assert!(slide.read_tile(TileId { level: 9, column: 0, row: 0 }).is_err());
}
