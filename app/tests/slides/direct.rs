//! Tiles that are decoded in this process are those that OpenSlide gives: to the bit where packing loses nothing, and for JPEG as near as two
//! decoders are that round their inverse cosine transform and their upsampling of colour differently.

use std::collections::BTreeMap;
use std::path::Path;

use image::RgbImage;
use reinpath::slide::{DirectTiles, SlideHandle, TileId};

use super::{check_all, data, open};

/// Differences of a channel, in steps of 256.
#[derive(Debug, Default)]
struct Difference {
    channels: u64,
    sum: u64,
    above_two: u64,
    largest: u8,
}

/// What two decoders may differ by.
struct Tolerance {
    largest: u8,
    mean: f64,
    /// Part of the channels that may differ by more than 2.
    above_two: f64,
}

const EXACT: Tolerance = Tolerance { largest: 0, mean: 0.0, above_two: 0.0 };
const JPEG: Tolerance = Tolerance { largest: 3, mean: 0.6, above_two: 0.01 };
/// zune-jpeg weighs neighbouring samples of colour as libjpeg-turbo does, but rounds between the two directions.
const SUBSAMPLED_JPEG: Tolerance = Tolerance { largest: 8, mean: 0.6, above_two: 0.01 };

impl Difference {
    fn add(&mut self, found: &[u8], expected: &[u8]) {
        for (a, b) in found.iter().zip(expected) {
            let difference = a.abs_diff(*b);
            self.channels += 1;
            self.sum += u64::from(difference);
            self.above_two += u64::from(difference > 2);
            self.largest = self.largest.max(difference);
        }
    }

    fn check(&self, name: &str, tolerance: &Tolerance) -> Result<(), String> {
        let count = self.channels.max(1) as f64;
        let (mean, above_two) = (self.sum as f64 / count, self.above_two as f64 / count);
        let words = format!(
            "{name}: {} channels, mean {mean:.3}, largest {}, {:.3} % above 2",
            self.channels,
            self.largest,
            100.0 * above_two
        );
        eprintln!("{words}");
        let is_within = self.channels > 0
            && self.largest <= tolerance.largest
            && mean <= tolerance.mean
            && above_two <= tolerance.above_two;
        if is_within { Ok(()) } else { Err(words) }
    }
}

/// Every cell of every level beside the same pixels of the level read by OpenSlide from its corner (so that no origin is rounded).
fn compare(slide: &SlideHandle, direct: &DirectTiles) -> Result<Difference, String> {
    let mut difference = Difference::default();
    for (number, level) in (0..).zip(&direct.grid().levels) {
        let whole = slide.read_region(number, 0, 0, level.width, level.height);
        let whole = whole.map_err(|error| error.to_string())?.image;
        let (columns, rows) = direct.grid().tiles(number);
        for (column, row) in (0..rows).flat_map(|row| (0..columns).map(move |column| (column, row))) {
            let tile = TileId { level: number, column, row };
            let mut bytes = Vec::new();
            if !direct.read(tile, &mut bytes).map_err(|error| error.to_string())? {
                continue;
            }
            let decoded = direct.decode(tile, &bytes).map_err(|error| error.to_string())?;
            let (left, top) = (decoded.first.column * level.cell.0, decoded.first.row * level.cell.1);
            let part = image::imageops::crop_imm(&whole, left, top, decoded.width, decoded.height).to_image();
            if part.dimensions() != (decoded.width, decoded.height) {
                return Err(format!("tile {column},{row} of level {number} reaches past the level"));
            }
            let rgb: Vec<u8> =
                decoded.rgba.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
            difference.add(&rgb, part.as_raw());
        }
    }
    Ok(difference)
}

fn check(path: &Path, name: &str, tolerance: &Tolerance) -> Result<(), String> {
    let slide = open(path).map_err(|error| format!("{name}: {error}"))?;
    let direct = slide.direct().ok_or_else(|| format!("{name} is left to OpenSlide"))?;
    assert_eq!(slide.grid(), direct.grid());
    let difference = compare(&slide, direct).map_err(|fault| format!("{name}: {fault}"))?;
    difference.check(name, tolerance)
}

#[test]
fn tiles_of_real_slides_are_those_of_openslide() {
    let Some(data) = data() else { return };
    let slides = [
        ("slides/aperio/CMU-1-Small-Region.svs", &JPEG),
        ("slides/derived/CMU-1-Small-Region_pyramid4_jpeg.tif", &JPEG),
        ("slides/openslide-python/small.svs", &JPEG),
        ("slides/openslide-python/😐.svs", &JPEG),
        ("slides/openslide-python/boxes.tiff", &EXACT),
        ("slides/openslide-python/boxes_v1_old.tiff", &EXACT),
    ];
    check_all(&slides, |(name, tolerance)| check(&data.join(name), name, tolerance));
}

/// Transparency, grey, zstd, other vendors, DICOM, plain images: nothing of it is read here.
#[test]
fn everything_else_is_left_to_the_child() {
    let Some(data) = data() else { return };
    for name in [
        "slides/large_image/rgba_geotiff.tiff",
        "slides/large_image/test_orient1.tif",
        "slides/large_image/yb10kx5k.zstd.tiff",
        "slides/hamamatsu/test3-DAPI-2-(387).ndpi",
        "slides/dicom/wsi2dcm_jpeg/wsi2dcm_jpeg.dcm",
        "slides/ome-tiff/OS-1-detail.ome.tif",
        "slides/qupath/cells.tif",
        "slides/openslide-python/boxes.png",
    ] {
        let slide = open(&data.join(name)).unwrap();
        assert!(slide.direct().is_none(), "{name}");
        assert!(slide.grid().levels.iter().all(|level| level.cell == (256, 256)), "{name}");
    }
}

/// A slide whose tiles are all these bytes: 16-bit numbers as (tag, value), the tile's side, the level's size.
fn write_slide(path: &Path, tile: &[u8], side: u32, (width, height): (u32, u32), tags: &[(u16, u32)]) {
    let count = width.div_ceil(side) * height.div_ceil(side);
    let mut bytes = b"II*\0\0\0\0\0".to_vec();
    bytes.extend(tile);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let list = |bytes: &mut Vec<u8>, value: u32| {
        let start = bytes.len() as u32;
        bytes.extend((0..count).flat_map(|_| value.to_le_bytes()));
        start
    };
    let (offsets, counts) = (list(&mut bytes, 8), list(&mut bytes, tile.len() as u32));
    let bits = bytes.len() as u32;
    bytes.extend([8, 0, 8, 0, 8, 0, 0, 0]);
    let place = |list: u32, value: u32| if count == 1 { value } else { list };
    let mut entries: BTreeMap<u16, (u16, u32, u32)> = BTreeMap::from([
        (256, (4, 1, width)),
        (257, (4, 1, height)),
        (258, (3, 3, bits)),
        (277, (3, 1, 3)),
        (284, (3, 1, 1)),
        (322, (4, 1, side)),
        (323, (4, 1, side)),
        (324, (4, count, place(offsets, 8))),
        (325, (4, count, place(counts, tile.len() as u32))),
    ]);
    entries.extend(tags.iter().map(|&(tag, value)| (tag, (3, if tag == 530 { 2 } else { 1 }, value))));
    let start = bytes.len() as u32;
    bytes[4..8].copy_from_slice(&start.to_le_bytes());
    bytes.extend((entries.len() as u16).to_le_bytes());
    for (tag, (kind, count, value)) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend([0; 4]);
    std::fs::write(path, bytes).unwrap();
}

const COMPRESSION: u16 = 259;
const PHOTOMETRIC: u16 = 262;
const PREDICTOR: u16 = 317;
const SUBSAMPLING: u16 = 530;

#[test]
fn every_subsampling_of_colour_is_near_enough() {
    let folder = tempfile::tempdir().unwrap();
    let tiles: [(&str, &[u8], u32, &Tolerance); 3] = [
        ("4:4:4", include_bytes!("../golden/jpeg_tile_444.jpg"), 0x1_0001, &JPEG),
        ("4:2:2", include_bytes!("../golden/jpeg_tile_422.jpg"), 0x1_0002, &SUBSAMPLED_JPEG),
        ("4:2:0", include_bytes!("../golden/jpeg_tile_420.jpg"), 0x2_0002, &SUBSAMPLED_JPEG),
    ];
    for (name, tile, sampling, tolerance) in tiles {
        let path = folder.path().join(format!("{sampling}.tif"));
        let tags = [(COMPRESSION, 7), (PHOTOMETRIC, 6), (SUBSAMPLING, sampling)];
        // Not a whole number of tiles, so that the edges are cropped.
        write_slide(&path, tile, 256, (600, 300), &tags);
        check(&path, name, tolerance).unwrap();
    }
}

/// A picture whose every pixel is different from its neighbours.
fn picture(side: u32) -> RgbImage {
    RgbImage::from_fn(side, side, |x, y| {
        image::Rgb([(x * 7 % 256) as u8, (y * 5 % 256) as u8, (x * y % 256) as u8])
    })
}

#[test]
fn tiles_of_every_size_are_exact_where_packing_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for side in [128, 240, 256, 512] {
        let plain = picture(side).into_raw();
        let mut deflated = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut deflated, &plain).unwrap();
        let deflated = deflated.finish().unwrap();
        let lzw =
            weezl::encode::Encoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8).encode(&plain).unwrap();
        for (packing, tile) in [(1, &plain), (5, &lzw), (8, &deflated)] {
            // libtiff takes its rounded buffer for the tile's size there, and refuses it.
            if packing == 1 && !plain.len().is_multiple_of(1024) {
                continue;
            }
            for predictor in [1, 2] {
                let path = folder.path().join(format!("{side}-{packing}-{predictor}.tif"));
                let tags = [(COMPRESSION, packing), (PHOTOMETRIC, 2), (PREDICTOR, predictor)];
                write_slide(&path, tile, side, (700, 530), &tags);
                check(&path, &format!("packing {packing}, predictor {predictor}, {side} px"), &EXACT)
                    .unwrap();
            }
        }
    }
}

/// What both give of one cell of a tile of several cells lies in the same place.
#[test]
fn a_cell_of_a_large_tile_is_the_region_that_the_child_gives() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.tif");
    let tile = picture(512).into_raw();
    write_slide(&path, &tile, 512, (1300, 700), &[(COMPRESSION, 1), (PHOTOMETRIC, 2)]);
    let slide = open(&path).unwrap();
    let cell = TileId { level: 0, column: 3, row: 1 };
    let region = slide.grid().region(cell).unwrap();
    assert_eq!((region.x, region.y, region.w, region.h), (768, 256, 256, 256));
    let expected = slide.read_region(0, region.x, region.y, region.w, region.h).unwrap().image;
    let direct = slide.direct().unwrap();
    let mut bytes = Vec::new();
    assert!(direct.read(cell, &mut bytes).unwrap());
    let decoded = direct.decode(cell, &bytes).unwrap();
    let whole = image::RgbaImage::from_raw(decoded.width, decoded.height, decoded.rgba).unwrap();
    let found = image::imageops::crop_imm(&whole, 256, 256, 256, 256).to_image();
    assert!(found.pixels().zip(expected.pixels()).all(|(a, b)| a.0[..3] == b.0));
}

#[test]
fn a_slide_says_its_colour_profile() {
    let Some(data) = data() else { return };
    let reference: serde_json::Value =
        serde_json::from_slice(&std::fs::read(data.join("slides/OPENSLIDE_REFERENCE.json")).unwrap())
            .unwrap();
    let mut with_profile = 0;
    for (name, expected) in reference["slides"].as_object().unwrap() {
        if expected.get("open_error").is_some() {
            continue;
        }
        let slide = open(&data.join(name)).unwrap();
        let profile = slide.icc_profile().unwrap();
        assert_eq!(Some(profile.is_some()), expected["icc"].as_bool(), "{name}");
        // ICC.1:2022, 7.2: the file signature.
        assert!(profile.is_none_or(|profile| {
            with_profile += 1;
            profile.get(36..40) == Some(b"acsp")
        }));
    }
    eprintln!("{with_profile} slides have a colour profile");
}
