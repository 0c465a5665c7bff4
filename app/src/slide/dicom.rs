//! Just enough DICOM to say what a file is and which series it belongs to; its pixels are OpenSlide's business.
//!
//! Walks the elements of a Part 10 file in little-endian order (explicit VR, or implicit VR behind the file meta group)
//! until the series is known. DICOM PS3.5 and PS3.10; the storage classes are those of PS3.4, annex B.5.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The header lies within this many bytes in every file seen; only large private elements could push it further.
const HEADER_BYTES: u64 = 256 << 10;
const SOP_CLASS: u32 = 0x0008_0016;
const TRANSFER_SYNTAX: u32 = 0x0002_0010;
const MODALITY: u32 = 0x0008_0060;
const SERIES: u32 = 0x0020_000e;
const IMPLICIT_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2";
const WHOLE_SLIDE: &str = "1.2.840.10008.5.1.4.1.1.77.1.6";

/// What the header says; absent elements are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub sop_class: String,
    pub modality: String,
    pub series: String,
}

/// The header of the DICOM file at `path`; `None` when it is no DICOM file or cannot be read.
pub(super) fn header(path: &Path) -> Option<Header> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(HEADER_BYTES).read_to_end(&mut bytes).ok()?;
    (bytes.get(128..132)? == b"DICM").then(|| parse(&bytes[132..]))
}

/// Whether the file at `path` is an instance of the DICOM series `series`.
pub(super) fn is_in_series(path: &Path, series: &str) -> bool {
    !series.is_empty() && header(path).is_some_and(|header| header.series == series)
}

/// What a DICOM file that OpenSlide does not recognise is, after "This is".
pub(super) fn in_words(header: &Header) -> String {
    let kind = match header.sop_class.as_str() {
        WHOLE_SLIDE => "a DICOM whole-slide file of a kind that cannot be read",
        "1.2.840.10008.5.1.4.1.1.66.4" => "a DICOM segmentation, not a slide",
        "1.2.840.10008.5.1.4.1.1.66.7" => "a DICOM label map, not a slide",
        "1.2.840.10008.5.1.4.1.1.91.1" => "a DICOM file of annotations, not a slide",
        class if class.starts_with("1.2.840.10008.5.1.4.1.1.66.") => "a DICOM segmentation, not a slide",
        _ => {
            return match header.modality.as_str() {
                "" => "a DICOM file without a whole-slide pyramid".to_string(),
                modality => format!("a DICOM file of modality {modality} without a whole-slide pyramid"),
            };
        }
    };
    kind.to_string()
}

fn parse(mut rest: &[u8]) -> Header {
    let mut header = Header::default();
    let mut implicit = false;
    while let Some((tag, value, after)) = element(rest, implicit) {
        rest = after;
        let text = || String::from_utf8_lossy(value).trim_end_matches(['\0', ' ']).to_string();
        match tag {
            TRANSFER_SYNTAX => implicit = text() == IMPLICIT_LITTLE_ENDIAN,
            SOP_CLASS => header.sop_class = text(),
            MODALITY => header.modality = text(),
            SERIES => {
                header.series = text();
                break;
            }
            _ => {}
        }
    }
    header
}

/// Tag, value and what follows; `None` at the end, or at a sequence of unknown length that cannot be stepped over.
fn element(bytes: &[u8], implicit: bool) -> Option<(u32, &[u8], &[u8])> {
    let half = |at: usize| bytes.get(at..at + 2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let word = |at: usize| Some(u32::from(half(at)?) | u32::from(half(at + 2)?) << 16);
    let tag = u32::from(half(0)?) << 16 | u32::from(half(2)?);
    let is_meta = tag >> 16 == 2;
    let (start, length) = if implicit && !is_meta {
        (8, word(4)?)
    } else if matches!(
        bytes.get(4..6)?,
        b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SQ" | b"SV" | b"UC" | b"UN" | b"UR" | b"UT" | b"UV"
    ) {
        (12, word(8)?)
    } else {
        (8, u32::from(half(6)?))
    };
    if length == u32::MAX {
        let after = skip_items(bytes.get(start..)?)?;
        return Some((tag, &[], after));
    }
    let end = start.checked_add(length as usize)?;
    Some((tag, bytes.get(start..end)?, &bytes[end..]))
}

/// Steps over a sequence of undefined length: to behind its delimiter (FFFE,E0DD), found by its eight bytes.
fn skip_items(bytes: &[u8]) -> Option<&[u8]> {
    const DELIMITER: [u8; 8] = [0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0];
    let mut depth_end = bytes.windows(8).position(|window| window == DELIMITER)?;
    // Sequences inside end with the same delimiter: the outer one is the first that is followed by no item or delimiter.
    while bytes.get(depth_end + 8..depth_end + 10) == Some(&[0xfe, 0xff]) {
        depth_end += 8 + bytes[depth_end + 8..].windows(8).position(|window| window == DELIMITER)?;
    }
    bytes.get(depth_end + 8..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(tag: u32, kind: [u8; 2], value: &[u8]) -> Vec<u8> {
        let mut bytes = [((tag >> 16) as u16).to_le_bytes(), (tag as u16).to_le_bytes()].concat();
        bytes.extend(kind);
        bytes.extend((value.len() as u16).to_le_bytes());
        bytes.extend(value);
        bytes
    }

    #[test]
    fn class_modality_and_series_are_found_behind_sequences() {
        let mut bytes = short(TRANSFER_SYNTAX, *b"UI", b"1.2.840.10008.1.2.1\0");
        bytes.extend(short(SOP_CLASS, *b"UI", b"1.2.840.10008.5.1.4.1.1.66.4"));
        bytes.extend(short(MODALITY, *b"CS", b"SEG "));
        // A sequence of undefined length, with an item that ends in a delimiter of its own.
        bytes.extend(b"\x08\0\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0");
        bytes.extend(short(SERIES, *b"UI", b"1.2.3\0"));
        let header = parse(&bytes);
        assert_eq!((header.modality.as_str(), header.series.as_str()), ("SEG", "1.2.3"));
        assert_eq!(in_words(&header), "a DICOM segmentation, not a slide");
    }

    #[test]
    fn implicit_elements_follow_their_transfer_syntax_and_cut_files_end_quietly() {
        let mut bytes = short(TRANSFER_SYNTAX, *b"UI", b"1.2.840.10008.1.2\0");
        bytes.extend(b"\x08\0\x60\0\x02\0\0\0CT");
        assert_eq!(parse(&bytes).modality, "CT");
        for end in 0..bytes.len() {
            parse(&bytes[..end]);
        }
        assert_eq!(in_words(&Header::default()), "a DICOM file without a whole-slide pyramid");
    }
}
