//! The bytes of a slide's different tiles.

use std::thread::{self, Builder};

use anyhow::{Context, bail, ensure};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use super::texture::{picture, rolled};
use super::{Chroma, Codec, SlideSpec};
use crate::root;
use crate::seeded::Seeded;

/// Pictures that are drawn; further tiles are these turned round at their edges.
const PICTURES: usize = 64;
/// Codestreams of each kind in `golden/tiles`.
const CODESTREAMS: usize = 8;

/// The tiles of a slide.
pub(super) struct Encoded {
    pub tiles: Vec<Vec<u8>>,
    /// The tables that all JPEG tiles share.
    pub tables: Option<Vec<u8>>,
}

/// Encodes them on all processors.
pub(super) fn tiles(spec: &SlideSpec) -> anyhow::Result<Encoded> {
    match spec.codec {
        Codec::Jpeg { quality, chroma } => {
            let streams = pictures(spec, &|rgb| jpeg(rgb, spec.tile, quality, chroma))?;
            let mut tables = None;
            let mut tiles = Vec::with_capacity(streams.len());
            for stream in streams {
                let (own, tile) = split(&stream).context("the JPEG encoder wrote something unexpected")?;
                ensure!(
                    tables.as_ref().is_none_or(|tables| *tables == own),
                    "the tables of two tiles differ"
                );
                tables = Some(own);
                tiles.push(tile);
            }
            Ok(Encoded { tiles, tables })
        }
        Codec::Deflate => Ok(Encoded { tiles: pictures(spec, &|rgb| Ok(stored(rgb)))?, tables: None }),
        Codec::Jp2k { is_rgb } => {
            let streams = codestreams(is_rgb)?;
            let tiles = (0..spec.distinct_tiles).map(|tile| streams[tile % streams.len()].clone()).collect();
            Ok(Encoded { tiles, tables: None })
        }
    }
}

type Encode<'a> = &'a (dyn Fn(&[u8]) -> anyhow::Result<Vec<u8>> + Sync);

fn pictures(spec: &SlideSpec, encode: Encode<'_>) -> anyhow::Result<Vec<Vec<u8>>> {
    let count = spec.distinct_tiles;
    let drawn: Vec<Vec<u8>> = (0..count.min(PICTURES) as u64)
        .map(|n| picture(spec.tile, spec.seed.wrapping_mul(1000) + n))
        .collect();
    let one = |tile: usize| {
        let of = &drawn[tile % drawn.len()];
        if tile < drawn.len() {
            return encode(of);
        }
        let mut seeded = Seeded::new(spec.seed.wrapping_mul(1_000_003) + tile as u64);
        let (columns, rows) = (seeded.below(spec.tile.into()), seeded.below(spec.tile.into()));
        encode(&rolled(of, spec.tile, columns as u32, rows as u32))
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = count.div_ceil(threads);
    thread::scope(|scope| {
        let one = &one;
        let workers = (0..threads)
            .map(|thread| {
                let part = (thread * share).min(count)..((thread + 1) * share).min(count);
                let work = move || part.map(one).collect::<anyhow::Result<Vec<_>>>();
                Builder::new().name(format!("encode-{thread}")).spawn_scoped(scope, work)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut tiles = Vec::with_capacity(count);
        for worker in workers {
            let Ok(part) = worker.join() else { bail!("a thread that encodes tiles ended early") };
            tiles.extend(part?);
        }
        Ok(tiles)
    })
}

fn jpeg(rgb: &[u8], side: u32, quality: u8, chroma: Chroma) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, quality);
    // Told that they are YCbCr already, it stores red, green and blue as they are.
    let (sampling, colours) = match chroma {
        Chroma::Rgb => (SamplingFactor::R_4_4_4, ColorType::Ycbcr),
        Chroma::Full => (SamplingFactor::R_4_4_4, ColorType::Rgb),
        Chroma::Half => (SamplingFactor::R_4_2_0, ColorType::Rgb),
    };
    encoder.set_sampling_factor(sampling);
    encoder.encode(rgb, side as u16, side as u16, colours)?;
    Ok(bytes)
}

/// A JPEG stream as TIFF stores it: its tables, and the rest without them and without the segments of JFIF.
fn split(stream: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mut tables, mut tile) = (vec![0xFF, 0xD8], vec![0xFF, 0xD8]);
    let mut rest = stream.strip_prefix(&[0xFF, 0xD8])?;
    loop {
        let [0xFF, marker, high, low, ..] = *rest else { return None };
        let length = usize::from(u16::from_be_bytes([high, low])) + 2;
        let (segment, after) = rest.split_at_checked(length)?;
        match marker {
            // Quantisation and Huffman tables.
            0xDB | 0xC4 => tables.extend_from_slice(segment),
            // APP segments and comments.
            0xE0..=0xEF | 0xFE => {}
            // The scan: the rest belongs to it.
            0xDA => {
                tile.extend_from_slice(rest);
                tables.extend([0xFF, 0xD9]);
                return Some((tables, tile));
            }
            _ => tile.extend_from_slice(segment),
        }
        rest = after;
    }
}

/// zlib's frame around blocks that are not compressed (RFC 1950, RFC 1951 section 3.2.4).
fn stored(bytes: &[u8]) -> Vec<u8> {
    const LONGEST: usize = 65_535;
    let mut out = vec![0x78, 0x01];
    let count = bytes.len().div_ceil(LONGEST);
    for (index, block) in bytes.chunks(LONGEST).enumerate() {
        let length = block.len() as u16;
        out.push(u8::from(index + 1 == count));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend(adler32(bytes).to_be_bytes());
    out
}

fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65_521;
    let (mut a, mut b) = (1_u32, 0_u32);
    // As many bytes as 32 bits hold the sums of.
    for part in bytes.chunks(5552) {
        for &byte in part {
            a += u32::from(byte);
            b += a;
        }
        a %= MODULUS;
        b %= MODULUS;
    }
    (b << 16) | a
}

fn codestreams(is_rgb: bool) -> anyhow::Result<Vec<Vec<u8>>> {
    let kind = if is_rgb { "rgb" } else { "ycbcr" };
    let folder = root().join("tests/golden/tiles");
    (0..CODESTREAMS)
        .map(|number| {
            let path = folder.join(format!("{kind}-{number}.j2k"));
            std::fs::read(&path).with_context(|| {
                format!("a JPEG 2000 tile is missing, tests/golden/tiles.py writes it: {}", path.display())
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_blocks_end_with_the_sum_that_zlib_wants() {
        // Of RFC 1950's definition: Adler-32 of “Wikipedia” is 0x11E60398.
        let out = stored(b"Wikipedia");
        assert_eq!(out[..7], [0x78, 0x01, 1, 9, 0, 0xF6, 0xFF]);
        assert_eq!(out[out.len() - 4..], [0x11, 0xE6, 0x03, 0x98]);
        let long = stored(&vec![7; 70_000]);
        assert_eq!((long[2], long.len()), (0, 2 + 5 + 65_535 + 5 + 4_465 + 4));
    }

    #[test]
    fn tables_and_tile_together_are_the_picture() {
        let rgb = picture(64, 1);
        let whole = jpeg(&rgb, 64, 80, Chroma::Half).unwrap();
        let (tables, tile) = split(&whole).unwrap();
        let joined = [&tables[..tables.len() - 2], &tile[2..]].concat();
        let decoded = |bytes: &[u8]| image::load_from_memory(bytes).unwrap().to_rgb8();
        assert_eq!(decoded(&joined), decoded(&whole));
        assert!(split(&whole[..20]).is_none() && split(b"no JPEG").is_none());
    }

    #[test]
    fn a_tile_is_about_as_large_as_one_of_a_scanner() {
        let bytes = jpeg(&picture(256, 1), 256, 80, Chroma::Half).unwrap().len();
        assert!((10_000..32_000).contains(&bytes), "{bytes} bytes");
    }
}
