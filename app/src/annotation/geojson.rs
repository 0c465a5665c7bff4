//! QuPath's GeoJSON, plain or `.gz`: in and out without loss.
//!
//! After what QuPath writes and reads (its documentation and files; `shared/data/vqa/annotations`): a FeatureCollection, a Feature, an
//! array of features or a bare geometry; places in level-0 pixels. Unknown keys of features, geometries and properties are kept in
//! [`Annotation::rest`] and written again in their place; those of the collection around them are not. A file is read as a whole.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde_json::Value;

use super::{Annotation, Error};

mod decode;
mod encode;
mod geometry;

pub use decode::{from_value, rgb_of_name};
pub use encode::to_value;

/// More is no file of annotations, or a small file that unpacks without end.
const MOST_BYTES: u64 = 2 << 30;
/// The first bytes of gzip.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What a file held.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Imported {
    pub annotations: Vec<Annotation>,
    /// How many had no id and were given one.
    pub ids_made: usize,
}

/// Reads a file, unpacking it where its content says that it is packed.
pub fn read(path: &Path) -> Result<Vec<Annotation>, Error> {
    read_counted(path).map(|imported| imported.annotations)
}

/// Reads a file, and tells how many ids were made.
pub fn read_counted(path: &Path) -> Result<Imported, Error> {
    let bytes = bytes_of(path)?;
    parse(&bytes).map_err(|reason| Error::NotUnderstood { reason, path: path.to_owned() })
}

/// The unpacked bytes of a file, at most 2 GiB.
pub(super) fn bytes_of(path: &Path) -> Result<Vec<u8>, Error> {
    let too_large = || Error::TooLarge { path: path.to_owned() };
    let mut file = File::open(path).map_err(|reason| Error::read(path, &reason))?;
    let length = file.metadata().map_err(|reason| Error::read(path, &reason))?.len();
    if length > MOST_BYTES {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(length as usize);
    file.read_to_end(&mut bytes).map_err(|reason| Error::read(path, &reason))?;
    if !bytes.starts_with(&GZIP) {
        return Ok(bytes);
    }
    let mut unpacked = Vec::new();
    let mut unpacking = MultiGzDecoder::new(bytes.as_slice()).take(MOST_BYTES + 1);
    unpacking.read_to_end(&mut unpacked).map_err(|reason| Error::read(path, &reason))?;
    if unpacked.len() as u64 > MOST_BYTES { Err(too_large()) } else { Ok(unpacked) }
}

/// Reads unpacked text; an error is the reason, without a path.
pub fn parse(bytes: &[u8]) -> Result<Imported, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let value: Value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        // Java writes measurements that are no numbers without quotes, which is not JSON.
        Err(error) => match without_nan(bytes) {
            Some(mended) => serde_json::from_slice(&mended).map_err(|error| error.to_string())?,
            None => return Err(error.to_string()),
        },
    };
    from_value(value)
}

/// The same text with `NaN`, `Infinity` and `-Infinity` outside of strings as `null`; `None` when it has none.
fn without_nan(bytes: &[u8]) -> Option<Vec<u8>> {
    const WORDS: [&[u8]; 3] = [b"NaN", b"-Infinity", b"Infinity"];
    let mut mended = Vec::with_capacity(bytes.len());
    let (mut at, mut in_string, mut is_mended) = (0, false, false);
    while let Some(&byte) = bytes.get(at) {
        let rest = &bytes[at..];
        let word = WORDS.into_iter().find(|word| rest.starts_with(word));
        if let (false, Some(word)) = (in_string, word) {
            mended.extend_from_slice(b"null");
            at += word.len();
            is_mended = true;
            continue;
        }
        mended.push(byte);
        at += 1;
        if byte == b'"' {
            in_string = !in_string;
        } else if byte == b'\\' && in_string {
            mended.extend(bytes.get(at));
            at += 1;
        }
    }
    is_mended.then_some(mended)
}

/// Writes a FeatureCollection, packed when the name ends in `.gz`; beside its place first, and then renamed.
pub fn write(path: &Path, annotations: &[Annotation]) -> Result<(), Error> {
    write_all(path, annotations)
}

/// As [`write()`], of annotations wherever they lie.
pub fn write_all<'a>(
    path: &Path,
    annotations: impl IntoIterator<Item = &'a Annotation>,
) -> Result<(), Error> {
    let failed = |reason: std::io::Error| Error::write(path, &reason);
    let name = path.file_name().ok_or_else(|| Error::write(path, &"this names no file"))?;
    let is_packed = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    let mut unfinished_name = name.to_owned();
    unfinished_name.push(".part");
    let unfinished = path.with_file_name(unfinished_name);
    let file = File::create(&unfinished).map_err(failed)?;
    let written = if is_packed {
        let mut packing = GzEncoder::new(BufWriter::new(file), Compression::default());
        collection(&mut packing, annotations)
            .and_then(|()| packing.finish())
            .and_then(|buffer| buffer.into_inner().map_err(std::io::IntoInnerError::into_error))
    } else {
        let mut buffer = BufWriter::new(file);
        collection(&mut buffer, annotations)
            .and_then(|()| buffer.into_inner().map_err(std::io::IntoInnerError::into_error))
    };
    let finished = written.and_then(|file| file.sync_all()).and_then(|()| std::fs::rename(&unfinished, path));
    finished.map_err(|reason| {
        // What was begun is of no use; that it cannot be removed is not worth a second sentence.
        drop(std::fs::remove_file(&unfinished));
        failed(reason)
    })
}

fn collection<'a>(
    out: &mut impl Write,
    annotations: impl IntoIterator<Item = &'a Annotation>,
) -> std::io::Result<()> {
    out.write_all(b"{\"type\":\"FeatureCollection\",\"features\":[")?;
    for (n, annotation) in annotations.into_iter().enumerate() {
        out.write_all(if n == 0 { b"\n".as_slice() } else { b",\n".as_slice() })?;
        serde_json::to_writer(&mut *out, &to_value(annotation))?;
    }
    out.write_all(b"\n]}\n")?;
    out.flush()
}

#[cfg(test)]
mod tests;
