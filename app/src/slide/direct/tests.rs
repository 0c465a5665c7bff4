//! Tiled TIFF files made here: what is understood, what is left to OpenSlide, and that pixels come out where they went in.

use std::collections::BTreeMap;

use super::*;
use crate::slide::{Level, MppOrigin};

/// Tags of one directory, with 16- or 32-bit numbers.
#[derive(Clone)]
struct Page {
    width: u32,
    height: u32,
    tile: u32,
    extra: Vec<(u16, u32)>,
}

fn page(width: u32, height: u32, tile: u32) -> Page {
    Page { width, height, tile, extra: Vec::new() }
}

/// The colour of a pixel of a page.
fn colour(page: usize, x: u32, y: u32) -> [u8; 3] {
    [(x % 251) as u8, (y % 241) as u8, (page * 50) as u8]
}

/// An uncompressed tiled TIFF, little-endian, of these pages.
fn tiff(pages: &[Page]) -> Vec<u8> {
    let mut bytes = b"II*\0\0\0\0\0".to_vec();
    let mut link = 4;
    for (number, page) in pages.iter().enumerate() {
        let (columns, rows) = (page.width.div_ceil(page.tile), page.height.div_ceil(page.tile));
        let mut offsets = Vec::new();
        for (column, row) in (0..rows).flat_map(|row| (0..columns).map(move |column| (column, row))) {
            offsets.push(bytes.len() as u32);
            for y in 0..page.tile {
                for x in 0..page.tile {
                    bytes.extend(colour(number, column * page.tile + x, row * page.tile + y));
                }
            }
        }
        let lists = bytes.len() as u32;
        let count = offsets.len() as u32;
        bytes.extend(offsets.iter().flat_map(|offset| offset.to_le_bytes()));
        bytes.extend((0..count).flat_map(|_| (page.tile * page.tile * 3).to_le_bytes()));
        let bits = bytes.len() as u32;
        bytes.extend([8, 0, 8, 0, 8, 0, 0, 0]);
        let one = |offset: u32, value: u32| if count == 1 { value } else { offset };
        let mut entries: BTreeMap<u16, (u16, u32, u32)> = BTreeMap::from([
            (tag::WIDTH, (4, 1, page.width)),
            (tag::HEIGHT, (4, 1, page.height)),
            (tag::BITS_PER_SAMPLE, (3, 3, bits)),
            (tag::COMPRESSION, (4, 1, 1)),
            (tag::PHOTOMETRIC, (4, 1, 2)),
            (tag::SAMPLES_PER_PIXEL, (4, 1, 3)),
            (tag::TILE_WIDTH, (4, 1, page.tile)),
            (tag::TILE_LENGTH, (4, 1, page.tile)),
            (tag::TILE_OFFSETS, (4, count, one(lists, offsets[0]))),
            (tag::TILE_BYTE_COUNTS, (4, count, one(lists + 4 * count, page.tile * page.tile * 3))),
        ]);
        if number > 0 {
            entries.insert(tag::NEW_SUBFILE_TYPE, (4, 1, 1));
        }
        for &(tag, value) in &page.extra {
            entries.insert(tag, (4, 1, value));
        }
        let start = bytes.len() as u32;
        bytes[link..link + 4].copy_from_slice(&start.to_le_bytes());
        bytes.extend((entries.len() as u16).to_le_bytes());
        for (tag, (kind, count, value)) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend(count.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        link = bytes.len();
        bytes.extend([0; 4]);
    }
    bytes
}

fn info(pages: &[Page]) -> SlideInfo {
    let level = |page: &Page| Level {
        width: page.width,
        height: page.height,
        downsample: f64::from(pages[0].width) / f64::from(page.width),
    };
    SlideInfo {
        path: "made.tif".into(),
        format: "tiled TIFF pyramid".to_string(),
        vendor: Some("generic-tiff".to_string()),
        levels: pages.iter().map(level).collect(),
        mpp: None,
        mpp_origin: MppOrigin::Missing,
        mpp_source: String::new(),
        objective_power: None,
        background: [255; 3],
        properties: BTreeMap::new(),
        associated: Vec::new(),
        icc_profile: false,
        hash: String::new(),
        notes: Vec::new(),
    }
}

fn opened(pages: &[Page]) -> (tempfile::TempDir, Option<DirectTiles>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made.tif");
    std::fs::write(&path, tiff(pages)).unwrap();
    let tiles = DirectTiles::open(&path, &info(pages));
    (folder, tiles)
}

fn pixels(tiles: &DirectTiles, tile: TileId) -> DecodedTile {
    let mut bytes = Vec::new();
    assert!(tiles.read(tile, &mut bytes).unwrap());
    tiles.decode(tile, &bytes).unwrap()
}

#[test]
fn every_pixel_is_where_it_was_written() {
    for side in [64, 240, 256, 512] {
        let pages = [page(700, 530, side), page(350, 265, side)];
        let (_folder, tiles) = opened(&pages);
        let tiles = tiles.unwrap();
        for (number, level) in (0..).zip(&tiles.grid().levels) {
            let (columns, rows) = level.tiles();
            for (column, row) in (0..rows).flat_map(|row| (0..columns).map(move |column| (column, row))) {
                let tile = TileId { level: number, column, row };
                let decoded = pixels(&tiles, tile);
                let (left, top) = (decoded.first.column * level.cell.0, decoded.first.row * level.cell.1);
                assert_eq!(decoded.width, side.min(level.width - left));
                assert_eq!(decoded.height, side.min(level.height - top));
                for (at, pixel) in (0..).zip(decoded.rgba.chunks_exact(4)) {
                    let (x, y) = (left + at % decoded.width, top + at / decoded.width);
                    let [r, g, b] = colour(number as usize, x, y);
                    assert_eq!(pixel, [r, g, b, 255], "{x},{y} of level {number} in tiles of {side}");
                }
            }
        }
    }
}

#[test]
fn a_large_tile_of_the_file_is_several_cells() {
    let pages = [page(1300, 600, 512)];
    let (_folder, tiles) = opened(&pages);
    let tiles = tiles.unwrap();
    assert_eq!((tiles.grid().levels[0].cell, tiles.grid().levels[0].per_file_tile), ((256, 256), (2, 2)));
    let decoded = pixels(&tiles, TileId { level: 0, column: 3, row: 1 });
    assert_eq!(decoded.first, TileId { level: 0, column: 2, row: 0 });
    assert_eq!(
        tiles.span(TileId { level: 0, column: 2, row: 0 }),
        tiles.span(TileId { level: 0, column: 3, row: 1 })
    );
}

#[test]
fn whatever_is_not_plain_is_left_to_the_child() {
    assert!(opened(&[page(700, 530, 256)]).1.is_some());
    assert!(opened(&[page(700, 530, 300)]).1.is_none(), "tiles that are no multiple of cells");
    for (tag, value) in [
        (tag::COMPRESSION, 34712),
        (tag::PHOTOMETRIC, 6),
        (tag::SAMPLES_PER_PIXEL, 4),
        (tag::PLANAR, 2),
        (tag::ORIENTATION, 3),
        (tag::FILL_ORDER, 2),
        (tag::PREDICTOR, 3),
        (tag::SAMPLE_FORMAT, 2),
        (tag::EXTRA_SAMPLES, 1),
        (tag::BITS_PER_SAMPLE, 16),
    ] {
        let odd = Page { extra: vec![(tag, value)], ..page(700, 530, 256) };
        assert!(opened(&[odd]).1.is_none(), "tag {tag} is {value}");
    }
    let same = [page(700, 530, 256), page(700, 530, 256)];
    assert!(opened(&same).1.is_none(), "two directories of one size");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made.tif");
    std::fs::write(&path, tiff(&[page(700, 530, 256)])).unwrap();
    let mut other = info(&[page(700, 530, 256)]);
    other.vendor = Some("ventana".to_string());
    assert!(DirectTiles::open(&path, &other).is_none(), "other vendors shift tiles");
    assert!(DirectTiles::open(&path, &info(&[page(701, 530, 256)])).is_none(), "another size");
    std::fs::write(&path, b"II*\0").unwrap();
    assert!(DirectTiles::open(&path, &info(&[page(700, 530, 256)])).is_none());
}

#[test]
fn tiles_of_jpeg_2000_are_for_the_child_and_said_where_they_lie() {
    let of = |compression, side| {
        opened(&[Page { extra: vec![(tag::COMPRESSION, compression)], ..page(700, 530, side) }])
    };
    for (compression, is_ycbcr) in [(33003, true), (33005, false)] {
        let (_folder, tiles) = of(compression, 240);
        let tiles = tiles.unwrap();
        assert_eq!(tiles.grid().levels[0].cell, (240, 240));
        let tile = TileId { level: 0, column: 2, row: 1 };
        let found = tiles.jpeg2000(tile).unwrap();
        assert_eq!((found.width, found.height, found.is_ycbcr), (240, 240, is_ycbcr));
        assert!(found.offset > 0 && found.length > 0);
        assert_eq!((tiles.span(tile), tiles.read(tile, &mut Vec::new()).unwrap()), (None, false));
        assert!(tiles.decode(tile, &[]).is_err());
        assert_eq!(tiles.jpeg2000(TileId { row: 99, ..tile }), None);
    }
    assert!(of(33005, 512).1.is_none(), "a cell of it would decode all of it");
    let (_folder, plain) = opened(&[page(700, 530, 240)]);
    assert_eq!(plain.unwrap().jpeg2000(TileId { level: 0, column: 0, row: 0 }), None);
}

#[test]
fn a_tile_that_is_short_or_not_there_is_an_error() {
    let (_folder, tiles) = opened(&[page(700, 530, 256)]);
    let tiles = tiles.unwrap();
    let tile = TileId { level: 0, column: 0, row: 0 };
    assert!(tiles.decode(tile, &[1, 2, 3]).unwrap_err().to_string().contains("too short"));
    for nowhere in [TileId { column: 3, ..tile }, TileId { row: 99, ..tile }, TileId { level: 7, ..tile }] {
        assert!(!tiles.read(nowhere, &mut Vec::new()).unwrap());
        assert!(tiles.decode(nowhere, &[]).is_err());
    }
}
