//! Slides that the writer makes are slides: OpenSlide opens each kind, and both ways of reading them see the same pixels.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use image::RgbImage;
use reinpath::slide::{Jpeg2000Tile, Region, Request, SlideHandle, TileId};
use reinpath_tests::program;
use reinpath_tests::slide_writer::{Chroma, Codec, SlideSpec, write};

fn spec(codec: Codec, aperio: bool) -> SlideSpec {
    SlideSpec {
        width: 1000,
        height: 700,
        tile: 256,
        levels: 2,
        codec,
        mpp: Some(0.25),
        aperio,
        distinct_tiles: 9,
        seed: 5,
        is_big: false,
    }
}

fn open(path: &Path, arguments: &[&str]) -> SlideHandle {
    let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    SlideHandle::open_with_command(program("reinpath"), &arguments, path, Duration::from_secs(20)).unwrap()
}

/// The largest and the mean difference between the two ways of reading a cell of the finest level.
fn differences(slide: &SlideHandle, tile: TileId) -> (u8, f64) {
    let direct = slide.direct().expect("this kind is read directly");
    let mut bytes = Vec::new();
    assert!(direct.read(tile, &mut bytes).unwrap());
    let ours = direct.decode(tile, &bytes).unwrap();
    assert_eq!(ours.first, tile);
    let (x, y) = (i64::from(tile.column) * 256, i64::from(tile.row) * 256);
    let theirs = slide.read_region(0, x, y, ours.width, ours.height).unwrap().image;
    let ours = ours.rgba.chunks_exact(4).flat_map(|pixel| pixel[..3].iter());
    let apart: Vec<u8> = ours.zip(theirs.as_raw()).map(|(a, b)| a.abs_diff(*b)).collect();
    assert_eq!(apart.len(), theirs.as_raw().len());
    let sum: f64 = apart.iter().map(|&apart| f64::from(apart)).sum();
    (*apart.iter().max().unwrap(), sum / apart.len() as f64)
}

#[test]
fn every_kind_is_opened_and_both_readers_agree() {
    let folder = tempfile::tempdir().unwrap();
    let jpeg = |chroma| Codec::Jpeg { quality: 80, chroma };
    // The bounds are wider than those of `slides/direct.rs` in `app`: here it is the writer that is tested.
    let kinds = [
        ("half", spec(jpeg(Chroma::Half), true), 24, 1.5),
        ("full", spec(jpeg(Chroma::Full), false), 8, 1.0),
        ("rgb", spec(jpeg(Chroma::Rgb), false), 8, 1.0),
        ("big", SlideSpec { is_big: true, ..spec(jpeg(Chroma::Half), false) }, 24, 1.5),
        ("deflate", spec(Codec::Deflate, false), 0, 0.0),
    ];
    for (name, spec, largest, mean) in kinds {
        let path = folder.path().join(format!("{name}.tif"));
        write(&path, &spec).unwrap();
        let slide = open(&path, &["slide-server"]);
        let info = slide.info();
        let sizes: Vec<(u32, u32)> = info.levels.iter().map(|level| (level.width, level.height)).collect();
        assert_eq!(sizes, spec.sizes(), "{name}");
        assert!((info.mpp.unwrap().x - 0.25).abs() < 1e-3, "{name}: {:?}", info.mpp);
        assert_eq!(info.format.contains("Aperio"), spec.aperio, "{name}: {}", info.format);
        // A whole tile, and those at the right and the lower edge.
        for (column, row) in [(1, 1), (3, 0), (0, 2)] {
            let found = differences(&slide, TileId { level: 0, column, row });
            assert!(found.0 <= largest && found.1 <= mean, "{name}, tile {column},{row}: {found:?}");
        }
    }
}

/// What the child answers to a wish for one tile of the file.
fn jpeg_2000(slide: &SlideHandle, id: TileId, change: impl Fn(&mut Jpeg2000Tile)) -> (RgbImage, Region) {
    let region = slide.grid().region(id).unwrap();
    let mut tile = slide.direct().unwrap().jpeg2000(id).unwrap();
    change(&mut tile);
    let pixels = slide.read(Request::Jpeg2000 { tile, level: id.level, region }).unwrap();
    assert_eq!(pixels.level, id.level);
    assert!((pixels.mpp.unwrap().x / slide.info().levels[id.level as usize].downsample - 0.25).abs() < 1e-3);
    (pixels.image, region)
}

#[test]
fn jpeg_2000_is_read_by_the_child_tile_by_tile_and_as_openslide_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    for is_rgb in [false, true] {
        let path = folder.path().join(format!("{is_rgb}.svs"));
        write(&path, &spec(Codec::Jp2k { is_rgb }, true)).unwrap();
        let slide = open(&path, &["slide-server"]);
        for (level, column, row) in [(0, 0, 0), (0, 1, 1), (0, 3, 0), (0, 0, 2), (1, 0, 0)] {
            let id = TileId { level, column, row };
            let (found, Region { x, y, w, h }) = jpeg_2000(&slide, id, |_tile| ());
            let expected = slide.read_region(level, x, y, w, h).unwrap().image;
            assert!(found == expected, "{id:?}, RGB: {is_rgb}");
        }
        let image = slide.read_region(0, 0, 0, 256, 256).unwrap().image;
        // Pink to violet, whichever way the colours are stored.
        let sum = |channel: usize| image.pixels().map(|pixel| u64::from(pixel.0[channel])).sum::<u64>();
        assert!(sum(0) > sum(1) && sum(2) > sum(1), "{is_rgb}: {} {} {}", sum(0), sum(1), sum(2));
        // Colours that are taken for others are seen: it is the tile itself that was decoded.
        let id = TileId { level: 0, column: 1, row: 1 };
        let other = jpeg_2000(&slide, id, |tile| tile.is_ycbcr = !tile.is_ycbcr).0;
        assert!(other != jpeg_2000(&slide, id, |_tile| ()).0);
    }
}

#[test]
fn a_tile_of_jpeg_2000_that_is_not_understood_is_left_to_openslide() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.svs");
    write(&path, &spec(Codec::Jp2k { is_rgb: false }, true)).unwrap();
    let slide = open(&path, &["slide-server"]);
    let id = TileId { level: 0, column: 1, row: 1 };
    let (expected, _) = jpeg_2000(&slide, id, |_tile| ());
    let odd: [fn(&mut Jpeg2000Tile); 4] = [
        |tile| tile.offset = 1 << 40,
        |tile| tile.offset += 1,
        |tile| tile.length /= 2,
        |tile| (tile.width, tile.height) = (512, 256),
    ];
    for change in odd {
        assert!(jpeg_2000(&slide, id, change).0 == expected);
    }
}

#[test]
fn a_slide_as_large_as_a_scanners_is_a_small_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.svs");
    write(&path, &SlideSpec { distinct_tiles: 64, ..SlideSpec::large_jpeg() }).unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() < 20_000_000);
    let slide = open(&path, &["slide-server"]);
    assert_eq!(
        (slide.info().width(), slide.info().height(), slide.info().levels.len()),
        (100_000, 80_000, 5)
    );
    let (columns, rows) = slide.grid().tiles(0);
    assert_eq!((columns, rows), (391, 313));
    let (largest, mean) = differences(&slide, TileId { level: 0, column: columns - 1, row: rows - 1 });
    assert!(largest <= 24 && mean <= 1.5, "{largest} {mean}");
}

#[test]
fn a_slow_disk_is_made_by_an_argument() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slow.tif");
    write(&path, &spec(Codec::Deflate, false)).unwrap();
    let slide = open(&path, &["slide-server", "--read-delay-ms", "300"]);
    let begun = Instant::now();
    slide.read_region(0, 0, 0, 256, 256).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
}
