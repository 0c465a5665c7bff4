//! Slides as large as those of scanners, written in seconds: tiled, pyramidal TIFF files whose tiles share their bytes.
//!
//! A level of 100,000 × 80,000 px has 122,383 tiles; here they point to a few thousand different ones, so that the file stays small while
//! every tile costs as much to read and decode as in a real slide. Tiles follow each other in the file row by row, as scanners write them.
//! Nothing of it is tissue; the same specification gives the same bytes.

use std::path::Path;

use anyhow::{Context, bail, ensure};

mod encode;
mod texture;
mod tiff_file;

use encode::Encoded;
use tiff_file::{Field, TiffFile};

/// How many times smaller each level of an Aperio file is than the one before.
const APERIO_STEP: u32 = 4;
/// The same of other files.
const STEP: u32 = 2;

/// What is written.
#[derive(Clone, Debug, PartialEq)]
pub struct SlideSpec {
    /// Of level 0, in pixels.
    pub width: u32,
    pub height: u32,
    /// Width and height of a tile in pixels.
    pub tile: u32,
    /// Resolutions: each half as wide as the one before, a quarter in Aperio files.
    pub levels: u32,
    pub codec: Codec,
    /// Microns per level-0 pixel; `None`: the file says nothing about it.
    pub mpp: Option<f64>,
    /// Whether it is to be known as an SVS file of Aperio; else as generic tiled TIFF.
    pub aperio: bool,
    /// Tiles that differ.
    pub distinct_tiles: usize,
    pub seed: u64,
    /// BigTIFF even where the file is small enough without.
    pub is_big: bool,
}

/// How tiles are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Tables that all tiles share are written once (`JPEGTables`), as scanners do.
    Jpeg { quality: u8, chroma: Chroma },
    /// Aperio's JPEG 2000: YCbCr (33003) or RGB (33005). The codestreams are those of `golden/tiles`, so tiles are 256 px.
    Jp2k { is_rgb: bool },
    /// zlib without compression: as large as the pixels, and exact.
    Deflate,
}

/// How the colours of a JPEG tile are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chroma {
    /// Red, green and blue themselves.
    Rgb,
    /// YCbCr, 4:4:4.
    Full,
    /// YCbCr, 4:2:0.
    Half,
}

impl SlideSpec {
    /// A large slide of JPEG tiles as scanners write them: 0.25 µm/px, quality 80, 4:2:0.
    pub fn large_jpeg() -> Self {
        Self {
            width: 100_000,
            height: 80_000,
            tile: 256,
            levels: 5,
            codec: Codec::Jpeg { quality: 80, chroma: Chroma::Half },
            mpp: Some(0.25),
            aperio: true,
            distinct_tiles: 9000,
            seed: 1,
            is_big: false,
        }
    }

    /// The same of JPEG 2000 tiles.
    pub fn large_jp2k() -> Self {
        Self { codec: Codec::Jp2k { is_rgb: false }, ..Self::large_jpeg() }
    }

    /// Width and height of each level in pixels, finest first.
    pub fn sizes(&self) -> Vec<(u32, u32)> {
        let step = if self.aperio { APERIO_STEP } else { STEP };
        let smaller = |length: u32, level: u32| (length / step.saturating_pow(level)).max(1);
        (0..self.levels).map(|level| (smaller(self.width, level), smaller(self.height, level))).collect()
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(self.width > 0 && self.height > 0, "a slide has at least one pixel");
        ensure!((1..=12).contains(&self.levels), "a slide has 1 to 12 levels here, not {}", self.levels);
        ensure!(self.distinct_tiles > 0, "a slide has at least one tile");
        let is_scale = self.mpp.is_none_or(|mpp| mpp.is_finite() && mpp > 0.0);
        ensure!(is_scale, "microns per pixel are more than 0");
        let is_whole = self.tile > 0 && self.tile.is_multiple_of(16) && self.tile <= 4096;
        ensure!(is_whole, "a TIFF file's tiles are a multiple of 16 px wide, not {}", self.tile);
        if let Codec::Jp2k { .. } = self.codec {
            ensure!(self.aperio, "JPEG 2000 tiles are written into Aperio files alone");
            ensure!(self.tile == 256, "the JPEG 2000 tiles at hand are 256 px wide, not {}", self.tile);
        }
        if let Codec::Jpeg { quality, .. } = self.codec {
            ensure!((1..=100).contains(&quality), "the quality of JPEG is 1 to 100, not {quality}");
        }
        Ok(())
    }
}

/// Writes the slide.
///
/// # Errors
/// When the specification makes no sense, `golden/tiles` is missing for JPEG 2000, or the file cannot be written.
pub fn write(path: &Path, spec: &SlideSpec) -> anyhow::Result<()> {
    spec.check()?;
    write_checked(path, spec).with_context(|| format!("the slide cannot be written: {}", path.display()))
}

fn write_checked(path: &Path, spec: &SlideSpec) -> anyhow::Result<()> {
    let encoded = encode::tiles(spec)?;
    let bytes: u64 = encoded.tiles.iter().map(|tile| tile.len() as u64).sum();
    let cells: u64 = spec.sizes().iter().map(|&size| cells(size, spec.tile)).sum();
    // Offsets and lengths of every cell, and a little for all else.
    let is_big = spec.is_big || bytes + cells * 16 + (1 << 20) > u64::from(u32::MAX);
    let mut file = TiffFile::create(path, is_big)?;
    let places = encoded.tiles.iter().map(|tile| file.put(tile)).collect::<anyhow::Result<Vec<u64>>>()?;
    let directories = (0..)
        .zip(spec.sizes())
        .map(|(level, size)| directory(spec, &encoded, &places, is_big, level, size))
        .collect::<anyhow::Result<Vec<_>>>()?;
    file.finish(&directories)
}

fn cells((width, height): (u32, u32), tile: u32) -> u64 {
    u64::from(width.div_ceil(tile)) * u64::from(height.div_ceil(tile))
}

/// Which of the different tiles each cell of a level is. Neighbours in a row follow each other in the file; rows begin as far from each
/// other as can be, so that reading one field does not bring those around it into memory.
fn shared_tiles(level: u32, size: (u32, u32), tile: u32, different: usize) -> anyhow::Result<Vec<usize>> {
    let cells = usize::try_from(cells(size, tile)).context("there are too many tiles")?;
    let columns = size.0.div_ceil(tile) as usize;
    // The golden section of what there is, as many times as there are rows before.
    let apart = (different as f64 * 0.618_034) as usize;
    // Another beginning for each level, so that a place does not look the same in all of them.
    let first = level as usize * 977;
    Ok((0..cells).map(|cell| (first + cell / columns * apart + cell % columns) % different).collect())
}

/// The fields of a level, in the order of their tags.
fn directory(
    spec: &SlideSpec,
    encoded: &Encoded,
    places: &[u64],
    is_big: bool,
    level: u32,
    size: (u32, u32),
) -> anyhow::Result<Vec<Field>> {
    let shared = shared_tiles(level, size, spec.tile, places.len())?;
    let lengths: Vec<u32> = shared.iter().map(|&tile| encoded.tiles[tile].len() as u32).collect();
    let offsets: Vec<u64> = shared.iter().map(|&tile| places[tile]).collect();
    let is_reduced = level > 0 && !spec.aperio;
    let mut fields = vec![
        Field::longs(254, &[u32::from(is_reduced)]),
        Field::longs(256, &[size.0]),
        Field::longs(257, &[size.1]),
        Field::shorts(258, &[8, 8, 8]),
        Field::shorts(259, &[compression(spec.codec)]),
        Field::shorts(262, &[photometric(spec.codec)]),
    ];
    if spec.aperio {
        fields.push(Field::text(270, &aperio_description(spec, level, size)));
    }
    fields.push(Field::shorts(277, &[3]));
    if let (Some(mpp), false) = (spec.mpp, spec.aperio) {
        let Some((per_cm, below)) = pixels_per_cm(mpp) else {
            bail!("{mpp} µm per pixel cannot be written")
        };
        fields.push(Field::rational(282, per_cm, below));
        fields.push(Field::rational(283, per_cm, below));
    }
    fields.push(Field::shorts(284, &[1]));
    if spec.mpp.is_some() && !spec.aperio {
        // Centimetres.
        fields.push(Field::shorts(296, &[3]));
    }
    fields.extend([
        Field::longs(322, &[spec.tile]),
        Field::longs(323, &[spec.tile]),
        Field::offsets(324, &offsets, is_big),
        Field::longs(325, &lengths),
    ]);
    if let Some(tables) = &encoded.tables {
        fields.push(Field::bytes(347, tables));
    }
    match spec.codec {
        Codec::Jpeg { chroma: Chroma::Half, .. } => fields.push(Field::shorts(530, &[2, 2])),
        Codec::Jpeg { chroma: Chroma::Full, .. } => fields.push(Field::shorts(530, &[1, 1])),
        _ => {}
    }
    Ok(fields)
}

fn compression(codec: Codec) -> u16 {
    match codec {
        Codec::Jpeg { .. } => 7,
        Codec::Jp2k { is_rgb: false } => 33_003,
        Codec::Jp2k { is_rgb: true } => 33_005,
        Codec::Deflate => 8,
    }
}

/// YCbCr for JPEG that stores it; Aperio calls its JPEG 2000 RGB in both cases.
fn photometric(codec: Codec) -> u16 {
    match codec {
        Codec::Jpeg { chroma: Chroma::Full | Chroma::Half, .. } => 6,
        _ => 2,
    }
}

/// What Aperio's scanners write, by which their files are known.
fn aperio_description(spec: &SlideSpec, level: u32, (width, height): (u32, u32)) -> String {
    let codec = match spec.codec {
        Codec::Jpeg { quality, .. } => format!("JPEG/RGB Q={quality}"),
        Codec::Jp2k { .. } => "J2K/KDU Q=70".to_owned(),
        Codec::Deflate => "Deflate".to_owned(),
    };
    let SlideSpec { width: full_width, height: full_height, tile, .. } = spec;
    let head = format!(
        "Aperio Image Library v11.2.1 \r\n{full_width}x{full_height} [0,0 {full_width}x{full_height}]"
    );
    let reduced = if level > 0 { format!(" -> {width}x{height}") } else { String::new() };
    let scale =
        spec.mpp.map_or_else(String::new, |mpp| format!("|AppMag = {}|MPP = {mpp:.4}", (10.0 / mpp).round()));
    format!("{head} ({tile}x{tile}){reduced} {codec}{scale}")
}

/// As a fraction with a denominator of 100; `None` when it has no place in one.
fn pixels_per_cm(mpp: f64) -> Option<(u32, u32)> {
    let hundredths = (10_000.0 / mpp * 100.0).round();
    (1.0..=f64::from(u32::MAX)).contains(&hundredths).then_some((hundredths as u32, 100))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(codec: Codec, aperio: bool) -> SlideSpec {
        SlideSpec {
            width: 700,
            height: 500,
            tile: 256,
            levels: 2,
            codec,
            mpp: Some(0.5),
            aperio,
            distinct_tiles: 5,
            seed: 3,
            is_big: false,
        }
    }

    #[test]
    fn the_same_specification_gives_the_same_file_and_another_seed_another() {
        let folder = tempfile::tempdir().unwrap();
        let spec = small(Codec::Jpeg { quality: 80, chroma: Chroma::Half }, true);
        let written = |name: &str, spec: &SlideSpec| {
            let path = folder.path().join(name);
            write(&path, spec).unwrap();
            std::fs::read(path).unwrap()
        };
        let first = written("a.svs", &spec);
        assert_eq!(first, written("b.svs", &spec));
        assert_ne!(first, written("c.svs", &SlideSpec { seed: 4, ..spec.clone() }));
        assert_eq!(&first[..4], b"II\x2A\0");
        assert_eq!(&written("d.svs", &SlideSpec { is_big: true, ..spec })[..4], b"II\x2B\0");
    }

    #[test]
    fn the_tiles_of_a_few_hundred_fields_are_different_bytes() {
        let spec = SlideSpec::large_jpeg();
        let tiles = shared_tiles(0, (spec.width, spec.height), spec.tile, spec.distinct_tiles).unwrap();
        let columns = 391;
        assert_eq!((tiles.len(), tiles[1] - tiles[0]), (columns * 313, 1));
        // 14 × 14 fields of 1280 × 800 px.
        let mut seen: Vec<usize> = (100..144)
            .flat_map(|row| (100..170).map(move |column| row * columns + column))
            .map(|cell| tiles[cell])
            .collect();
        let all = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() * 100 > all * 90, "{} of {all}", seen.len());
    }

    #[test]
    fn levels_halve_and_those_of_aperio_are_quarters() {
        let spec = small(Codec::Deflate, false);
        assert_eq!(spec.sizes(), [(700, 500), (350, 250)]);
        assert_eq!(SlideSpec { aperio: true, levels: 3, ..spec }.sizes(), [(700, 500), (175, 125), (43, 31)]);
    }

    #[test]
    fn a_specification_that_makes_no_sense_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wrong.tif");
        let spec = small(Codec::Deflate, false);
        for wrong in [
            SlideSpec { width: 0, ..spec.clone() },
            SlideSpec { tile: 250, ..spec.clone() },
            SlideSpec { levels: 0, ..spec.clone() },
            SlideSpec { distinct_tiles: 0, ..spec.clone() },
            SlideSpec { codec: Codec::Jp2k { is_rgb: true }, ..spec.clone() },
            SlideSpec { mpp: Some(0.0), ..spec },
        ] {
            assert!(write(&path, &wrong).is_err(), "{wrong:?}");
        }
    }
}
