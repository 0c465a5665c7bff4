//! One JPEG tile of a TIFF file as RGBA, decoded by zune-jpeg with the tables that the file keeps apart (TIFF Technical Note 2).
//!
//! The file's photometric tag decides which colours the stream holds, as in OpenSlide; what an encoder's markers claim is left out. zune-jpeg
//! takes its word from an Adobe marker (Adobe's Technical Note 5116), so the one that says what the tag says is put in front.
//! Layouts that the two libraries treat differently (other samplings than the usual ones, components called R, G and B in a file that says
//! YCbCr) are errors here: the slide's child process then decodes the tile.

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

/// Scans of a progressive stream: encoders write about ten.
const MOST_SCANS: usize = 32;

const START: [u8; 2] = [0xff, 0xd8];
const END: u8 = 0xd9;
const SCAN: u8 = 0xda;
const COMMENT: u8 = 0xfe;

/// What all tiles of a level share.
#[derive(Clone, Debug)]
pub(super) struct JpegTables {
    /// The beginning of every stream: its marker, Adobe's segment, the tables.
    head: Vec<u8>,
    is_ycbcr: bool,
}

/// Memory that one thread uses again and again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    stream: Vec<u8>,
    rgb: Vec<u8>,
}

/// What a frame header says, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    width: u32,
    height: u32,
    /// Name, and horizontal and vertical sampling as one byte, of each component.
    components: [(u8, u8); 3],
}

impl JpegTables {
    /// `tables` is the value of tag JPEGTables; `None` when it is not understood.
    pub(super) fn new(tables: Option<&[u8]>, is_ycbcr: bool) -> Option<Self> {
        let mut head = START.to_vec();
        head.extend([0xff, 0xee, 0, 14]);
        head.extend(b"Adobe");
        head.extend([0, 100, 0, 0, 0, 0, u8::from(is_ycbcr)]);
        if let Some(tables) = tables {
            let (end, header) = copy_segments(tables, &mut head).ok()?;
            // Tables alone: neither a frame nor picture data.
            if header.is_some() || tables.get(end + 1).is_some_and(|&marker| marker != END) {
                return None;
            }
        }
        Some(Self { head, is_ycbcr })
    }

    /// Decodes a tile of `width` × `height` pixels into `rgba`, which becomes exactly that large.
    pub(super) fn decode(
        &self,
        bytes: &[u8],
        (width, height): (u32, u32),
        scratch: &mut Scratch,
        rgba: &mut Vec<u8>,
    ) -> Result<(), String> {
        let Scratch { stream, rgb } = scratch;
        stream.clear();
        stream.extend_from_slice(&self.head);
        let (end, header) = copy_segments(bytes, stream)?;
        let header = header.ok_or("it has no frame header")?;
        self.check(&header, (width, height))?;
        let scan = bytes.get(end..).unwrap_or_default();
        if scan.get(1) != Some(&SCAN) {
            return Err("it has no picture data".to_string());
        }
        stream.extend_from_slice(scan);
        // From RGB the decoder makes no RGBA.
        let wanted = if self.is_ycbcr { ColorSpace::RGBA } else { ColorSpace::RGB };
        let options = DecoderOptions::default()
            .set_strict_mode(false)
            .set_max_width(width as usize)
            .set_max_height(height as usize)
            .jpeg_set_max_scans(MOST_SCANS)
            .jpeg_set_out_colorspace(wanted);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(stream.as_slice()), options);
        let pixels = width as usize * height as usize;
        rgba.clear();
        rgba.resize(pixels * 4, 255);
        if self.is_ycbcr {
            return decoder.decode_into(rgba).map_err(|error| error.to_string());
        }
        // Nothing of the tile before, where this one ends too early.
        rgb.clear();
        rgb.resize(pixels * 3, 255);
        decoder.decode_into(rgb).map_err(|error| error.to_string())?;
        for (to, from) in rgba.chunks_exact_mut(4).zip(rgb.chunks_exact(3)) {
            to[..3].copy_from_slice(from);
        }
        Ok(())
    }

    fn check(&self, header: &Header, size: (u32, u32)) -> Result<(), String> {
        if (header.width, header.height) != size {
            let Header { width, height, .. } = header;
            return Err(format!("it holds {width} × {height} pixels"));
        }
        let [(_, first), (_, second), (_, third)] = header.components;
        let is_usual = first == 0x11 || self.is_ycbcr && matches!(first, 0x21 | 0x12 | 0x22);
        if !is_usual || (second, third) != (0x11, 0x11) {
            return Err("its colours are sampled in an unusual way".to_string());
        }
        if self.is_ycbcr && header.components.map(|(name, _)| name) == *b"RGB" {
            return Err(
                "it calls its components red, green and blue, and the file says otherwise".to_string()
            );
        }
        Ok(())
    }
}

/// Appends the segments of a stream to `to`, without comments and what applications left in it, up to the picture data or the end; returns
/// where that begins, and the frame header that was met.
fn copy_segments(stream: &[u8], to: &mut Vec<u8>) -> Result<(usize, Option<Header>), String> {
    if !stream.starts_with(&START) {
        return Err("it does not begin as a JPEG stream".to_string());
    }
    let mut header = None;
    let mut at = START.len();
    loop {
        let (mark, marker) = match stream.get(at..) {
            None | Some([]) => return Ok((stream.len(), header)),
            Some([0xff, 0xff, ..]) => {
                at += 1;
                continue;
            }
            Some([0xff, marker, rest @ ..]) => (rest, *marker),
            Some(_) => return Err("bytes stand between its segments".to_string()),
        };
        if matches!(marker, SCAN | END) {
            return Ok((at, header));
        }
        let &[high, low, ..] = mark else { return Err("one of its segments is cut off".to_string()) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let segment = stream.get(at..at + 2 + length).filter(|_| length >= 2);
        let segment = segment.ok_or("one of its segments is cut off")?;
        match marker {
            0xc0..=0xc2 => {
                if header.is_some() {
                    return Err("it has two frame headers".to_string());
                }
                header = Some(frame_header(&segment[4..])?);
            }
            // Lossless, hierarchical and arithmetic frames; 0xc4 is a Huffman table, 0xcc belongs to arithmetic coding.
            0xc3 | 0xc5..=0xcf => return Err("it is coded in an unusual way".to_string()),
            0x00 | 0x01 | 0xd0..=0xd8 => return Err("a marker stands where none may".to_string()),
            _ => {}
        }
        if !matches!(marker, 0xe0..=0xef | COMMENT) {
            to.extend_from_slice(segment);
        }
        at += 2 + length;
    }
}

fn frame_header(body: &[u8]) -> Result<Header, String> {
    let &[
        8,
        height_high,
        height_low,
        width_high,
        width_low,
        3,
        a,
        a_sampling,
        _,
        b,
        b_sampling,
        _,
        c,
        c_sampling,
        _,
    ] = body
    else {
        return Err("it does not hold three colours of 8 bits".to_string());
    };
    Ok(Header {
        width: u32::from(u16::from_be_bytes([width_high, width_low])),
        height: u32::from(u16::from_be_bytes([height_high, height_low])),
        components: [(a, a_sampling), (b, b_sampling), (c, c_sampling)],
    })
}

#[cfg(test)]
mod tests {
    use image::codecs::jpeg::JpegEncoder;
    use image::{ExtendedColorType, RgbImage};

    use super::*;

    /// 32 × 16 pixels, left half red, right half blue, as `image` encodes them (YCbCr).
    fn encoded() -> Vec<u8> {
        let image =
            RgbImage::from_fn(32, 16, |x, _| image::Rgb(if x < 16 { [220, 30, 40] } else { [20, 40, 210] }));
        let mut bytes = Vec::new();
        let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 95);
        encoder.encode(image.as_raw(), 32, 16, ExtendedColorType::Rgb8).unwrap();
        bytes
    }

    /// The tables of a stream, and the stream without them, as TIFF files keep them.
    fn split(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (mut tables, mut rest) = (START.to_vec(), START.to_vec());
        let mut at = 2;
        while bytes[at + 1] != SCAN {
            let length = 2 + usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
            let target = if matches!(bytes[at + 1], 0xdb | 0xc4) { &mut tables } else { &mut rest };
            target.extend_from_slice(&bytes[at..at + length]);
            at += length;
        }
        tables.extend([0xff, END]);
        rest.extend_from_slice(&bytes[at..]);
        (tables, rest)
    }

    fn decode(tables: &JpegTables, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let mut rgba = vec![7; 3];
        tables.decode(bytes, (32, 16), &mut Scratch::default(), &mut rgba)?;
        Ok(rgba)
    }

    fn near(found: &[u8], expected: [u8; 3]) -> bool {
        found[3] == 255 && found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) < 12)
    }

    #[test]
    fn a_tile_is_decoded_with_the_tables_of_its_file() {
        let whole = encoded();
        let (tables, tile) = split(&whole);
        let apart = decode(&JpegTables::new(Some(&tables), true).unwrap(), &tile).unwrap();
        assert_eq!(apart.len(), 32 * 16 * 4);
        assert!(near(&apart[4 * 4..], [220, 30, 40]) && near(&apart[28 * 4..], [20, 40, 210]), "{apart:?}");
        assert_eq!(decode(&JpegTables::new(None, true).unwrap(), &whole).unwrap(), apart);
    }

    #[test]
    fn the_file_decides_what_the_colours_are() {
        let mut stream = encoded();
        let rgb = JpegTables::new(None, false).unwrap();
        // Luma and both chromas of the red, taken for colours.
        assert!(near(&decode(&rgb, &stream).unwrap()[4 * 4..], [88, 101, 222]));
        let frame = stream.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
        stream[frame + 11] = 0x22;
        assert!(decode(&rgb, &stream).unwrap_err().contains("unusual way"));
    }

    #[test]
    fn damage_is_named_and_never_a_panic() {
        let stream = encoded();
        let tables = JpegTables::new(None, true).unwrap();
        for end in 0..stream.len() {
            // A stream that ends early still has its beginning.
            drop(decode(&tables, &stream[..end]));
        }
        for at in 0..stream.len() {
            let mut damaged = stream.clone();
            damaged[at] ^= 0x55;
            drop(std::panic::catch_unwind(|| decode(&tables, &damaged)));
        }
        assert!(decode(&tables, b"no picture").unwrap_err().contains("does not begin"));
        let mut rgba = Vec::new();
        let larger = tables.decode(&stream, (64, 16), &mut Scratch::default(), &mut rgba);
        assert!(larger.unwrap_err().contains("32 × 16"));
        assert!(JpegTables::new(Some(&stream), true).is_none(), "a whole picture is no table");
    }
}
