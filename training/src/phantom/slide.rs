//! Writes the demo slide: a pyramidal tiled JPEG BigTIFF that OpenSlide reads, with its truth as GeoJSON beside it.
//!
//! The slide is streamed in strips: level 0 is drawn, cut into tiles and averaged into the coarser levels as it
//! goes, so that no level is ever held whole. The description is of Aperio's form because every version of
//! OpenSlide takes resolution and magnification from it. The geometry follows what QuPath imports as annotations.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use image::{RgbImage, imageops};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use rayon::prelude::*;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tiff::encoder::{DirectoryEncoder, Rational, TiffEncoder, TiffKindBig};
use tiff::tags::Tag;

use super::{District, World};

/// Seed of the demo slide.
const SEED: u64 = 20;
const TILE: u32 = 256;
/// Level-0 rows drawn at a time: two rows of tiles, one of level 1.
const STRIP: u32 = 512;
const LEVELS: usize = 5;
const QUALITY: u8 = 80;

type Directory<'a> = DirectoryEncoder<'a, BufWriter<File>, TiffKindBig>;

/// Why the demo slide could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SlideError {
    #[error("cannot write the demo slide ({source}): {}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("cannot lay out the demo slide ({source}): {}", path.display())]
    Layout { path: PathBuf, source: tiff::TiffError },
    #[error("cannot compress a tile of the demo slide ({source}): {}", path.display())]
    Compress { path: PathBuf, source: jpeg_encoder::EncodingError },
    #[error("writing the demo slide was cancelled: {}", path.display())]
    Cancelled { path: PathBuf },
}

/// What goes wrong below, before the path is known.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Write(#[from] std::io::Error),
    #[error(transparent)]
    Layout(#[from] tiff::TiffError),
    #[error(transparent)]
    Compress(#[from] jpeg_encoder::EncodingError),
    #[error("cancelled")]
    Cancelled,
}

/// Writes the demo slide to `path` and its truth to the same name with `.geojson`.
///
/// `progress` gets the share done, 0 to 1; when it returns `false` nothing is left behind. Both files appear under
/// their names only when complete. Holds about 100 MB and uses the threads of the current rayon pool.
pub fn write_demo_slide(path: &Path, progress: &mut dyn FnMut(f32) -> bool) -> Result<(), SlideError> {
    write(path, progress).map_err(|fault| {
        let path = path.to_owned();
        match fault {
            Fault::Write(source) => SlideError::Write { path, source },
            Fault::Layout(source) => SlideError::Layout { path, source },
            Fault::Compress(source) => SlideError::Compress { path, source },
            Fault::Cancelled => SlideError::Cancelled { path },
        }
    })
}

fn write(path: &Path, progress: &mut dyn FnMut(f32) -> bool) -> Result<(), Fault> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !progress(0.0) {
        return Err(Fault::Cancelled);
    }
    let world = World::new(SEED);
    let slide = NamedTempFile::new_in(folder)?;
    write_levels(&world, [World::WIDTH, World::HEIGHT], slide.reopen()?, progress)?;
    let mut geometry = NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut geometry, &feature_collection(&world.districts()))
        .map_err(std::io::Error::from)?;
    geometry.flush()?;
    geometry.persist(path.with_extension("geojson")).map_err(|e| e.error)?;
    slide.persist(path).map_err(|e| e.error)?;
    Ok(())
}

/// One level while it is being filled.
struct Level {
    width: u32,
    height: u32,
    /// Rows not yet cut into tiles, of the level's full width.
    pending: Vec<u8>,
    offsets: Vec<u64>,
    lengths: Vec<u64>,
}

impl Level {
    fn new([width, height]: [u32; 2], level: usize) -> Self {
        Self {
            width: width >> level,
            height: height >> level,
            pending: Vec::new(),
            offsets: Vec::new(),
            lengths: Vec::new(),
        }
    }

    /// Compresses the pending rows as rows of tiles; an incomplete last row is padded.
    fn cut(&mut self, directory: &mut Directory<'_>) -> Result<(), Fault> {
        let stride = self.width as usize * 3;
        let rows = (self.pending.len() / stride) as u32;
        let across = self.width.div_ceil(TILE);
        let tiles: Vec<Vec<u8>> = (0..rows.div_ceil(TILE) * across)
            .into_par_iter()
            .map(|k| self.tile(k % across * TILE, k / across * TILE, rows))
            .collect::<Result<_, _>>()?;
        for tile in tiles {
            self.offsets.push(directory.write_data(tile.as_slice())?);
            self.lengths.push(tile.len() as u64);
        }
        self.pending.clear();
        Ok(())
    }

    /// The compressed tile at `(x0, y0)` of the pending rows; beyond their edge the last pixels are repeated.
    fn tile(&self, x0: u32, y0: u32, rows: u32) -> Result<Vec<u8>, jpeg_encoder::EncodingError> {
        let mut pixels = Vec::with_capacity((TILE * TILE * 3) as usize);
        for y in y0..y0 + TILE {
            let row = y.min(rows - 1) as usize * self.width as usize;
            for x in x0..x0 + TILE {
                let at = (row + x.min(self.width - 1) as usize) * 3;
                pixels.extend_from_slice(&self.pending[at..at + 3]);
            }
        }
        let mut tile = Vec::new();
        let mut encoder = Encoder::new(&mut tile, QUALITY);
        encoder.set_sampling_factor(SamplingFactor::F_2_2);
        encoder.encode(&pixels, TILE as u16, TILE as u16, ColorType::Rgb)?;
        Ok(tile)
    }

    /// The pending rows at half the size, each pixel the mean of four.
    fn halved(&self) -> Vec<u8> {
        let (stride, half) = (self.width as usize * 3, self.width as usize / 2);
        self.pending
            .par_chunks_exact(2 * stride)
            .flat_map_iter(|pair| {
                let (top, bottom) = pair.split_at(stride);
                (0..half * 3).map(move |k| {
                    let at = k / 3 * 6 + k % 3;
                    let sum =
                        [top[at], top[at + 3], bottom[at], bottom[at + 3]].map(u16::from).iter().sum::<u16>();
                    ((sum + 2) / 4) as u8
                })
            })
            .collect()
    }
}

/// Writes the part of `size` at the world's origin; both sides are multiples of `1 << (LEVELS - 1)`.
fn write_levels(
    world: &World,
    size: [u32; 2],
    file: File,
    progress: &mut dyn FnMut(f32) -> bool,
) -> Result<(), Fault> {
    let [width, height] = size;
    let mut encoder = TiffEncoder::new_big(BufWriter::new(file))?;
    let mut levels: Vec<Level> = (0..LEVELS).map(|k| Level::new(size, k)).collect();
    let mut directory = encoder.image_directory()?;
    for top in (0..height).step_by(STRIP as usize) {
        let rows = STRIP.min(height - top);
        levels[0].pending = draw_strip(world, width, top, rows).into_raw();
        let last = top + rows == height;
        for k in 0..LEVELS {
            let full = levels[k].pending.len() as u32 / (levels[k].width * 3) >= TILE;
            if !(full || last) {
                break;
            }
            if k + 1 < LEVELS {
                let halved = levels[k].halved();
                levels[k + 1].pending.extend(halved);
            }
            levels[k].cut(&mut directory)?;
        }
        if !progress((top + rows) as f32 / height as f32) {
            return Err(Fault::Cancelled);
        }
    }
    // The tiles of all levels lie in one stretch of the file; the directories point into it.
    write_tags(&mut directory, &levels[0], 0)?;
    directory.finish()?;
    for (k, level) in levels.iter().enumerate().skip(1) {
        let mut directory = encoder.image_directory()?;
        write_tags(&mut directory, level, k)?;
        directory.finish()?;
    }
    Ok(())
}

/// Draws rows of level 0 over the whole width.
fn draw_strip(world: &World, width: u32, top: u32, rows: u32) -> RgbImage {
    let pieces: Vec<(u32, RgbImage)> = (0..width)
        .into_par_iter()
        .step_by(STRIP as usize)
        .map(|x| (x, world.draw(x as i32, top as i32, STRIP.min(width - x), rows)))
        .collect();
    let mut strip = RgbImage::new(width, rows);
    for (x, piece) in pieces {
        imageops::replace(&mut strip, &piece, i64::from(x), 0);
    }
    strip
}

fn write_tags(directory: &mut Directory<'_>, level: &Level, k: usize) -> Result<(), Fault> {
    const JPEG: u16 = 7;
    const YCBCR: u16 = 6;
    const CENTIMETRE: u16 = 3;
    directory.write_tag(Tag::NewSubfileType, u32::from(k > 0))?;
    directory.write_tag(Tag::ImageWidth, level.width)?;
    directory.write_tag(Tag::ImageLength, level.height)?;
    directory.write_tag(Tag::BitsPerSample, [8u16, 8, 8].as_slice())?;
    directory.write_tag(Tag::Compression, JPEG)?;
    directory.write_tag(Tag::PhotometricInterpretation, YCBCR)?;
    if k == 0 {
        let description = format!(
            "Aperio Image Library (form only; drawn by ReinPath)\r\n{}x{} phantom tissue, no patient|AppMag = 20|MPP = 0.5",
            level.width, level.height
        );
        directory.write_tag(Tag::ImageDescription, description.as_str())?;
    }
    directory.write_tag(Tag::SamplesPerPixel, 3u16)?;
    let per_centimetre = || Rational { n: 20_000 >> k, d: 1 };
    directory.write_tag(Tag::XResolution, per_centimetre())?;
    directory.write_tag(Tag::YResolution, per_centimetre())?;
    directory.write_tag(Tag::PlanarConfiguration, 1u16)?;
    directory.write_tag(Tag::ResolutionUnit, CENTIMETRE)?;
    directory.write_tag(Tag::TileWidth, TILE)?;
    directory.write_tag(Tag::TileLength, TILE)?;
    directory.write_tag(Tag::TileOffsets, level.offsets.as_slice())?;
    directory.write_tag(Tag::TileByteCounts, level.lengths.as_slice())?;
    directory.write_tag(Tag::ChromaSubsampling, [2u16, 2].as_slice())?;
    Ok(())
}

/// The truth as QuPath annotations: one polygon a district, in level-0 pixels.
fn feature_collection(districts: &[District]) -> Value {
    let features: Vec<Value> = districts
        .iter()
        .map(|district| {
            let ring: Vec<[f32; 2]> = district.polygon.iter().map(|&(x, y)| [x, y]).collect();
            json!({
                "type": "Feature",
                "geometry": { "type": "Polygon", "coordinates": [ring] },
                "properties": {
                    "objectType": "annotation",
                    "classification": { "name": json!(district.truth.pattern) },
                    "truth": json!(district.truth),
                },
            })
        })
        .collect();
    json!({ "type": "FeatureCollection", "features": features })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use tiff::decoder::Decoder;

    use super::*;

    #[test]
    fn levels_are_complete_and_halve() {
        let world = World::new(SEED);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part.tiff");
        let size = [6144, 1056];
        write_levels(&world, size, File::create(&path).unwrap(), &mut |_| true).unwrap();
        let mut decoder = Decoder::new(File::open(&path).unwrap()).unwrap();
        for k in 0..LEVELS {
            assert_eq!(decoder.dimensions().unwrap(), (size[0] >> k, size[1] >> k));
            let offsets = decoder.get_tag_u64_vec(Tag::TileOffsets).unwrap();
            let lengths = decoder.get_tag_u64_vec(Tag::TileByteCounts).unwrap();
            let across = (size[0] >> k).div_ceil(TILE);
            assert_eq!(offsets.len() as u32, across * (size[1] >> k).div_ceil(TILE));
            // The last tile that lies wholly within the level has the mean colour of what is drawn there.
            let (i, j) = ((size[0] >> k) / TILE - 1, ((size[1] >> k) / TILE).max(1) - 1);
            let at = (j * across + i) as usize;
            let tile = image::load_from_memory(&bytes(&path, offsets[at], lengths[at])).unwrap().to_rgb8();
            assert_eq!(tile.dimensions(), (TILE, TILE));
            let side = TILE << k;
            let rows = side.min(size[1] - j * side);
            let drawn = world.draw((i * side) as i32, (j * side) as i32, side, rows);
            let stored = imageops::crop_imm(&tile, 0, 0, TILE, rows >> k).to_image();
            for (a, b) in mean(&stored).into_iter().zip(mean(&drawn)) {
                assert!((a - b).abs() < 1.5, "level {k}: {a} stored, {b} drawn");
            }
            if k + 1 < LEVELS {
                decoder.next_image().unwrap();
            }
        }
        assert!(!decoder.more_images());
    }

    #[test]
    fn cancelling_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let result = write_demo_slide(&folder.path().join("demo.tiff"), &mut |done| done == 0.0);
        assert!(matches!(result, Err(SlideError::Cancelled { .. })));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_unwritable_folder_is_named() {
        let path = Path::new("no-such-folder/demo.tiff");
        let message = write_demo_slide(path, &mut |_| true).unwrap_err().to_string();
        assert!(message.starts_with("cannot write the demo slide"), "{message}");
        assert!(message.ends_with("no-such-folder/demo.tiff"), "{message}");
    }

    fn bytes(path: &Path, offset: u64, length: u64) -> Vec<u8> {
        use std::io::{Seek as _, SeekFrom};
        let mut file = File::open(path).unwrap();
        file.seek(SeekFrom::Start(offset)).unwrap();
        let mut bytes = vec![0; length as usize];
        file.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn mean(image: &RgbImage) -> [f64; 3] {
        let n = f64::from(image.width() * image.height());
        [0, 1, 2].map(|c| image.pixels().map(|p| f64::from(p.0[c])).sum::<f64>() / n)
    }
}
