//! What a file is, by its first bytes: an image that this program decodes itself, or a sentence about what it is instead.
//!
//! Names are a hint only (scanners reuse `.tif`, people rename files); they are looked at where the bytes do not decide.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::{dicom, hash};

/// Images that [`super::plain`] decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Png,
    Jpeg,
    Tiff,
}

/// Bytes that decide; DICOM's mark lies at 128, a text is judged by all of them.
const HEAD_BYTES: u64 = 4096;

/// First bytes of files that people try to open, and what such a file is (after "This is").
const OTHER_FILES: [(&[u8], &str); 22] = [
    (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image, which this program cannot read"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 code stream, which this program cannot read"),
    (b"ZISRAWFILE", "a Zeiss CZI file of a kind that cannot be read"),
    (b"SQLite format 3\0", "an SQLite database, not a slide"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Imaris, for example), not a slide"),
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "a compound document (Olympus OIB, for example), which this program cannot read",
    ),
    (b"II\xbc\x01", "a JPEG XR image, which this program cannot read"),
    (b"IIU\0", "a raw photograph, not a slide"),
    (b"GIF8", "a GIF image, which this program does not open"),
    (b"BM", "a BMP image, which this program does not open"),
    (b"8BPS", "a Photoshop document, which this program does not open"),
    (b"%PDF", "a PDF document, not a slide"),
    (b"%!PS", "a PostScript document, not a slide"),
    (b"PK\x03\x04", "a ZIP archive, not a slide"),
    (b"Rar!", "a RAR archive, not a slide"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive, not a slide"),
    (b"\x1f\x8b", "a gzip archive, not a slide"),
    (b"BZh", "a bzip2 archive, not a slide"),
    (b"\xfd7zXZ\0", "an xz archive, not a slide"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive, not a slide"),
    (b"\x7fELF", "a program, not a slide"),
    (b"MZ", "a program, not a slide"),
];

/// The kind of plain image at `path`, or what the file is instead.
pub(super) fn identify(path: &Path) -> io::Result<Result<Kind, String>> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok(kind_of(path, &head))
}

fn kind_of(path: &Path, head: &[u8]) -> Result<Kind, String> {
    if head.is_empty() {
        return Err("an empty file".to_string());
    }
    if head.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Ok(Kind::Png);
    }
    if head.starts_with(&[0xff, 0xd8, 0xff]) {
        return Ok(Kind::Jpeg);
    }
    if head.starts_with(b"II*")
        || head.starts_with(b"MM\0*")
        || head.starts_with(b"II+\0")
        || head.starts_with(b"MM\0+")
    {
        return Ok(Kind::Tiff);
    }
    if head.get(128..132) == Some(b"DICM") {
        return Err(dicom::header(path).map_or_else(
            || "a DICOM file that cannot be read".to_string(),
            |header| dicom::in_words(&header),
        ));
    }
    if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
        return Err("a WebP image, which this program does not open".to_string());
    }
    if head.starts_with(b"PK\x03\x04") && path.to_string_lossy().to_lowercase().ends_with(".zarr.zip") {
        return Err("a zipped Zarr array, which this program cannot read".to_string());
    }
    if let Some((_, what)) = OTHER_FILES.iter().find(|(first, _)| head.starts_with(first)) {
        return Err((*what).to_string());
    }
    Err(unknown(path, head))
}

fn unknown(path: &Path, head: &[u8]) -> String {
    let is_text = std::str::from_utf8(head).map_or_else(|error| error.error_len().is_none(), |_| true)
        && head.iter().all(|&byte| byte >= 0x20 || matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b));
    let claimed = slide_format_by_name(path);
    match (is_text, claimed) {
        (true, Some(format)) => format!("a text file with the name of {format}"),
        (true, None) => "a text file".to_string(),
        (false, Some(format)) => {
            format!("a file with the name of {format} and contents of another or a damaged kind")
        }
        (false, None) => "a file of a kind that this program does not know".to_string(),
    }
}

fn slide_format_by_name(path: &Path) -> Option<&'static str> {
    const FORMATS: [(&[&str], &str); 12] = [
        (&["svs"], "an Aperio slide"),
        (&["mrxs"], "a MIRAX slide"),
        (&["ndpi", "vms", "vmu"], "a Hamamatsu slide"),
        (&["scn"], "a Leica slide"),
        (&["bif"], "a Ventana slide"),
        (&["svslide"], "a Sakura slide"),
        (&["czi"], "a Zeiss slide"),
        (&["vsi"], "an Olympus slide"),
        (&["dcm"], "a DICOM file"),
        (&["tif", "tiff"], "a TIFF image"),
        (&["png"], "a PNG image"),
        (&["jpg", "jpeg"], "a JPEG image"),
    ];
    FORMATS.iter().find(|(extensions, _)| hash::has_extension(path, extensions)).map(|&(_, format)| format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_decide_before_names() {
        let of = |name: &str, head: &[u8]| kind_of(Path::new(name), head);
        assert_eq!(of("a.svs", b"\x89PNG\r\n\x1a\n...."), Ok(Kind::Png));
        assert_eq!(of("a.jpg", b"MM\0*...."), Ok(Kind::Tiff));
        assert_eq!(of("a.txt", b"Hello \xc3\xa9\n").unwrap_err(), "a text file");
        assert_eq!(of("a.svs", b"Hello").unwrap_err(), "a text file with the name of an Aperio slide");
        assert_eq!(of("a", b"").unwrap_err(), "an empty file");
        assert!(of("b.zarr.zip", b"PK\x03\x04").unwrap_err().contains("Zarr"));
        assert!(of("b.svs", b"\x01\x02\x00\x99").unwrap_err().contains("Aperio"));
    }
}
