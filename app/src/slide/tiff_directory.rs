//! The structure of a TIFF file: its directories and tags, checked before anything is decoded.
//!
//! Decoders are lenient (they skip tags of unknown type and never look at the directories behind the first), so a damaged file
//! would open with whatever pixels come out. This walker follows TIFF 6.0 and BigTIFF and names the first fault it meets.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

/// Values longer than this are no tag this program reads (an ICC profile or an OME description is far smaller).
const LONGEST_VALUE: u64 = 64 << 20;
const MOST_DIRECTORIES: usize = 4096;
/// Bytes that are read at once.
const READ_AHEAD: usize = 64 << 10;

/// Numbers of the tags that are used.
pub(super) mod tag {
    pub(in super::super) const NEW_SUBFILE_TYPE: u16 = 254;
    pub(in super::super) const WIDTH: u16 = 256;
    pub(in super::super) const HEIGHT: u16 = 257;
    pub(in super::super) const BITS_PER_SAMPLE: u16 = 258;
    pub(in super::super) const COMPRESSION: u16 = 259;
    pub(in super::super) const PHOTOMETRIC: u16 = 262;
    pub(in super::super) const FILL_ORDER: u16 = 266;
    pub(in super::super) const DESCRIPTION: u16 = 270;
    pub(in super::super) const STRIP_OFFSETS: u16 = 273;
    pub(in super::super) const ORIENTATION: u16 = 274;
    pub(in super::super) const SAMPLES_PER_PIXEL: u16 = 277;
    pub(in super::super) const ROWS_PER_STRIP: u16 = 278;
    pub(in super::super) const STRIP_BYTE_COUNTS: u16 = 279;
    pub(in super::super) const X_RESOLUTION: u16 = 282;
    pub(in super::super) const Y_RESOLUTION: u16 = 283;
    pub(in super::super) const PLANAR: u16 = 284;
    pub(in super::super) const RESOLUTION_UNIT: u16 = 296;
    pub(in super::super) const PREDICTOR: u16 = 317;
    pub(in super::super) const COLOUR_MAP: u16 = 320;
    pub(in super::super) const TILE_WIDTH: u16 = 322;
    pub(in super::super) const TILE_LENGTH: u16 = 323;
    pub(in super::super) const TILE_OFFSETS: u16 = 324;
    pub(in super::super) const TILE_BYTE_COUNTS: u16 = 325;
    pub(in super::super) const SUB_DIRECTORIES: u16 = 330;
    pub(in super::super) const EXTRA_SAMPLES: u16 = 338;
    pub(in super::super) const SAMPLE_FORMAT: u16 = 339;
    pub(in super::super) const JPEG_TABLES: u16 = 347;
    pub(in super::super) const YCBCR_SUBSAMPLING: u16 = 530;
    pub(in super::super) const ICC_PROFILE: u16 = 34675;
}

/// The tags of one image of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    values: BTreeMap<u16, Value>,
}

#[derive(Clone, Debug)]
enum Value {
    Numbers(Vec<f64>),
    Bytes(Vec<u8>),
}

impl Directory {
    pub(super) fn numbers(&self, tag: u16) -> Option<&[f64]> {
        match self.values.get(&tag)? {
            Value::Numbers(numbers) => Some(numbers),
            Value::Bytes(_) => None,
        }
    }

    /// The first number of a tag, or its default.
    pub(super) fn number(&self, tag: u16, default: u32) -> u32 {
        self.numbers(tag).and_then(|numbers| numbers.first()).map_or(default, |&number| number as u32)
    }

    /// Text up to its first NUL; bytes that are not UTF-8 become replacement characters.
    pub(super) fn text(&self, tag: u16) -> Option<String> {
        match self.values.get(&tag)? {
            Value::Bytes(bytes) => {
                let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
                Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
            }
            Value::Numbers(_) => None,
        }
    }

    pub(super) fn has(&self, tag: u16) -> bool {
        self.values.contains_key(&tag)
    }

    /// Bytes as they stand in the file, whether they were called undefined or numbers of 8 bits.
    pub(super) fn bytes(&self, tag: u16) -> Option<Vec<u8>> {
        match self.values.get(&tag)? {
            Value::Bytes(bytes) => Some(bytes.clone()),
            Value::Numbers(numbers) => {
                let byte = |&number: &f64| (number <= 255.0 && number.fract() == 0.0).then_some(number as u8);
                numbers.iter().map(byte).collect()
            }
        }
    }
}

/// How much of a file is read, where nothing else bounds what a stranger's file can cost.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Tags whose values are read; `None`: all of them, and child directories too.
    wanted: Option<&'static [u16]>,
    /// Bytes of memory for all values together.
    bytes: u64,
}

/// All directories of the file in order; an error is the fault in words. For the child process, whose memory is limited.
pub(super) fn read(path: &Path) -> Result<Vec<Directory>, String> {
    read_within(path, Bounds { wanted: None, bytes: u64::MAX })
}

/// As [`read`], but only the values of `wanted`, in no more than `most_bytes` of memory: for the window's own process.
pub(super) fn read_wanted(
    path: &Path,
    wanted: &'static [u16],
    most_bytes: u64,
) -> Result<Vec<Directory>, String> {
    read_within(path, Bounds { wanted: Some(wanted), bytes: most_bytes })
}

fn read_within(path: &Path, bounds: Bounds) -> Result<Vec<Directory>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    Walker::new(file, length, bounds)?.directories()
}

struct Walker<R> {
    /// Directories and their values mostly lie together: one read of a slow disk gives several.
    reader: BufReader<R>,
    /// Where the reader stands.
    position: u64,
    length: u64,
    little: bool,
    big: bool,
    first: u64,
    bounds: Bounds,
}

impl<R: Read + Seek> Walker<R> {
    fn new(file: R, length: u64, bounds: Bounds) -> Result<Self, String> {
        let mut reader = BufReader::with_capacity(READ_AHEAD, file);
        let mut header = [0; 16];
        let have = length.min(16) as usize;
        reader.read_exact(&mut header[..have]).map_err(|error| error.to_string())?;
        let little = match &header[..2] {
            b"II" => true,
            b"MM" => false,
            _ => return Err("it has no TIFF header".to_string()),
        };
        let version = number(&header[2..4], little);
        let (big, first) = match version {
            42 if have >= 8 => (false, number(&header[4..8], little)),
            43 if have == 16 => (true, number(&header[8..16], little)),
            _ => return Err(format!("its header gives the unknown version {version}")),
        };
        Ok(Self { reader, position: have as u64, length, little, big, first, bounds })
    }

    fn directories(mut self) -> Result<Vec<Directory>, String> {
        let mut directories = Vec::new();
        let mut seen = BTreeSet::new();
        let mut next = self.first;
        while next != 0 {
            let (directory, following) = self.unseen_directory(&mut seen, next)?;
            if self.bounds.wanted.is_none() {
                self.check_children(&mut seen, &directory)?;
            }
            directories.push(directory);
            next = following;
        }
        if directories.is_empty() {
            return Err("it holds no image".to_string());
        }
        Ok(directories)
    }

    fn unseen_directory(&mut self, seen: &mut BTreeSet<u64>, start: u64) -> Result<(Directory, u64), String> {
        if !seen.insert(start) {
            return Err("one of its directories is referenced twice".to_string());
        }
        if seen.len() > MOST_DIRECTORIES {
            return Err(format!("it has more than {MOST_DIRECTORIES} directories"));
        }
        self.directory(start, seen.len() - 1)
    }

    /// Child directories (coarser levels of OME-TIFF) are checked as well; nothing in them is used.
    fn check_children(&mut self, seen: &mut BTreeSet<u64>, parent: &Directory) -> Result<(), String> {
        for &child in parent.numbers(tag::SUB_DIRECTORIES).unwrap_or_default() {
            let mut next = child as u64;
            while next != 0 {
                next = self.unseen_directory(seen, next)?.1;
            }
        }
        Ok(())
    }

    fn directory(&mut self, start: u64, index: usize) -> Result<(Directory, u64), String> {
        let (count_bytes, entry_bytes, link_bytes) = if self.big { (8, 20, 8) } else { (2, 12, 4) };
        let beyond = || format!("its directory {index} lies beyond its end");
        let count = number(&self.span(start, count_bytes).ok_or_else(beyond)?, self.little);
        let body = count.checked_mul(entry_bytes).filter(|&body| body < LONGEST_VALUE).ok_or_else(beyond)?;
        self.spend(body)?;
        let entries = self.span(start + count_bytes, body).ok_or_else(beyond)?;
        let link = self.span(start + count_bytes + body, link_bytes).ok_or_else(beyond)?;
        let mut directory = Directory::default();
        for entry in entries.chunks_exact(entry_bytes as usize) {
            let tag = number(&entry[..2], self.little) as u16;
            if self.bounds.wanted.is_some_and(|wanted| !wanted.contains(&tag)) {
                continue;
            }
            let value =
                self.value(entry).map_err(|fault| format!("{fault} (tag {tag}, directory {index})"))?;
            directory.values.insert(tag, value);
        }
        self.check_data_is_inside(&directory, index)?;
        Ok((directory, number(&link, self.little)))
    }

    fn value(&mut self, entry: &[u8]) -> Result<Value, String> {
        let kind = number(&entry[2..4], self.little);
        let size = match kind {
            1 | 2 | 6 | 7 => 1,
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 | 16 | 17 | 18 => 8,
            _ => return Err(format!("one of its values has the unknown type {kind}")),
        };
        let (count, inline) = if self.big {
            (number(&entry[4..12], self.little), &entry[12..20])
        } else {
            (number(&entry[4..8], self.little), &entry[8..12])
        };
        let bytes = count
            .checked_mul(size)
            .filter(|&bytes| bytes <= LONGEST_VALUE)
            .ok_or("one of its values is impossibly long")?;
        self.spend(if matches!(kind, 2 | 7) { bytes } else { bytes + count * size_of::<f64>() as u64 })?;
        let raw = if bytes as usize <= inline.len() {
            inline[..bytes as usize].to_vec()
        } else {
            let offset = number(inline, self.little);
            self.span(offset, bytes).ok_or("one of its values lies beyond its end")?
        };
        if matches!(kind, 2 | 7) {
            return Ok(Value::Bytes(raw));
        }
        Ok(Value::Numbers(raw.chunks_exact(size as usize).map(|item| self.decode(kind, item)).collect()))
    }

    fn decode(&self, kind: u64, item: &[u8]) -> f64 {
        let unsigned = number(item, self.little);
        match kind {
            5 => number(&item[..4], self.little) as f64 / number(&item[4..], self.little) as f64,
            6 => f64::from(unsigned as u8 as i8),
            8 => f64::from(unsigned as u16 as i16),
            9 => f64::from(unsigned as u32 as i32),
            10 => {
                f64::from(number(&item[..4], self.little) as i32)
                    / f64::from(number(&item[4..], self.little) as i32)
            }
            11 => f64::from(f32::from_bits(unsigned as u32)),
            12 => f64::from_bits(unsigned),
            17 => unsigned as i64 as f64,
            _ => unsigned as f64,
        }
    }

    fn spend(&mut self, bytes: u64) -> Result<(), String> {
        let left = self.bounds.bytes.checked_sub(bytes);
        self.bounds.bytes = left.ok_or("its directories need too much memory")?;
        Ok(())
    }

    fn check_data_is_inside(&self, directory: &Directory, index: usize) -> Result<(), String> {
        for (offsets, counts) in
            [(tag::STRIP_OFFSETS, tag::STRIP_BYTE_COUNTS), (tag::TILE_OFFSETS, tag::TILE_BYTE_COUNTS)]
        {
            let (Some(offsets), Some(counts)) = (directory.numbers(offsets), directory.numbers(counts))
            else {
                continue;
            };
            if offsets.iter().zip(counts).any(|(offset, count)| offset + count > self.length as f64) {
                return Err(format!("the pixels of its image {index} lie beyond its end"));
            }
        }
        Ok(())
    }

    fn span(&mut self, start: u64, length: u64) -> Option<Vec<u8>> {
        start.checked_add(length).filter(|&end| end <= self.length)?;
        // Relative, because that keeps what was read ahead.
        let by = i64::try_from(start).ok()? - i64::try_from(self.position).ok()?;
        self.reader.seek_relative(by).ok()?;
        self.position = start;
        let mut bytes = vec![0; length as usize];
        self.reader.read_exact(&mut bytes).ok()?;
        self.position += length;
        Some(bytes)
    }
}

fn number(bytes: &[u8], little: bool) -> u64 {
    let join = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
    if little { bytes.iter().rev().fold(0, join) } else { bytes.iter().fold(0, join) }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn directories(bytes: &[u8]) -> Result<Vec<Directory>, String> {
        within(bytes, Bounds { wanted: None, bytes: u64::MAX })
    }

    fn within(bytes: &[u8], bounds: Bounds) -> Result<Vec<Directory>, String> {
        Walker::new(Cursor::new(bytes), bytes.len() as u64, bounds)?.directories()
    }

    /// A TIFF of one directory with one tag: (type, count, value or offset), and the link behind it.
    fn tiff(kind: u16, count: u32, value: u32, link: u32) -> Vec<u8> {
        let mut bytes = b"II*\0\x08\0\0\0\x01\0".to_vec();
        bytes.extend(tag::WIDTH.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(value.to_le_bytes());
        bytes.extend(link.to_le_bytes());
        bytes
    }

    #[test]
    fn a_sound_file_gives_its_tags() {
        assert_eq!(directories(&tiff(3, 1, 640, 0)).unwrap()[0].number(tag::WIDTH, 0), 640);
    }

    #[test]
    fn only_what_is_wanted_is_read_and_no_more_than_is_allowed() {
        let file = tiff(4, 1, 640, 0);
        let bounds = |wanted: &'static [u16], bytes| Bounds { wanted: Some(wanted), bytes };
        assert!(!within(&file, bounds(&[tag::HEIGHT], 1000)).unwrap()[0].has(tag::WIDTH));
        assert!(within(&file, bounds(&[tag::WIDTH], 1000)).unwrap()[0].has(tag::WIDTH));
        // 12 bytes of entries, then 4 bytes of the value and 8 of the number it becomes.
        assert!(within(&file, bounds(&[tag::WIDTH], 24)).is_ok());
        assert!(within(&file, bounds(&[tag::WIDTH], 23)).unwrap_err().contains("too much memory"));
    }

    #[test]
    fn bytes_are_given_as_they_stand() {
        let bytes = |kind: u16, count: u32| {
            directories(&tiff(kind, count, 0x0304_0201, 0)).unwrap()[0].bytes(tag::WIDTH)
        };
        assert_eq!(bytes(7, 4), Some(vec![1, 2, 4, 3]));
        assert_eq!(bytes(1, 4), Some(vec![1, 2, 4, 3]));
        assert_eq!(bytes(3, 2), None, "513 is no byte");
    }

    #[test]
    fn faults_are_named() {
        assert!(directories(&tiff(99, 1, 640, 0)).unwrap_err().contains("unknown type 99"));
        assert!(directories(&tiff(4, 9, 640, 0)).unwrap_err().contains("beyond its end"));
        assert!(directories(&tiff(3, 1, 640, 8)).unwrap_err().contains("referenced twice"));
        assert!(directories(&tiff(3, 1, 640, 4000)).unwrap_err().contains("beyond its end"));
        assert!(directories(b"II\x2a\x01\x08\0\0\0").unwrap_err().contains("version"));
        assert!(directories(b"II").is_err());
    }
}
