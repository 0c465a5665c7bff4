//! A TIFF or BigTIFF file written from front to back, little-endian: first all data, then the directories.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, ensure};

/// One field of a directory.
pub(super) struct Field {
    tag: u16,
    kind: u16,
    count: u64,
    bytes: Vec<u8>,
}

impl Field {
    pub(super) fn shorts(tag: u16, values: &[u16]) -> Self {
        Self::new(tag, 3, values.len(), values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    pub(super) fn longs(tag: u16, values: &[u32]) -> Self {
        Self::new(tag, 4, values.len(), values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// Places in the file: 64 bits in BigTIFF.
    pub(super) fn offsets(tag: u16, values: &[u64], is_big: bool) -> Self {
        if is_big {
            return Self::new(
                tag,
                16,
                values.len(),
                values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            );
        }
        let values: Vec<u32> = values.iter().map(|&value| value as u32).collect();
        Self::longs(tag, &values)
    }

    pub(super) fn rational(tag: u16, above: u32, below: u32) -> Self {
        Self::new(tag, 5, 1, [above, below].into_iter().flat_map(u32::to_le_bytes).collect())
    }

    pub(super) fn text(tag: u16, text: &str) -> Self {
        let bytes: Vec<u8> = text.bytes().chain([0]).collect();
        Self::new(tag, 2, bytes.len(), bytes)
    }

    pub(super) fn bytes(tag: u16, bytes: &[u8]) -> Self {
        Self::new(tag, 7, bytes.len(), bytes.to_vec())
    }

    fn new(tag: u16, kind: u16, count: usize, bytes: Vec<u8>) -> Self {
        Self { tag, kind, count: count as u64, bytes }
    }
}

/// The file while it is written.
pub(super) struct TiffFile {
    out: BufWriter<File>,
    at: u64,
    is_big: bool,
}

impl TiffFile {
    pub(super) fn create(path: &Path, is_big: bool) -> anyhow::Result<Self> {
        let mut file = Self { out: BufWriter::new(File::create(path)?), at: 0, is_big };
        // Where the first directory lies is written at the end.
        let header: &[u8] = if is_big { b"II\x2B\0\x08\0\0\0\0\0\0\0\0\0\0\0" } else { b"II\x2A\0\0\0\0\0" };
        file.append(header)?;
        Ok(file)
    }

    /// Appends data; gives where it lies.
    pub(super) fn put(&mut self, bytes: &[u8]) -> anyhow::Result<u64> {
        // Fields point to even places.
        if self.at % 2 == 1 {
            self.append(&[0])?;
        }
        let at = self.at;
        self.append(bytes)?;
        Ok(at)
    }

    /// Writes the directories, each with its fields in the order of their tags.
    pub(super) fn finish(mut self, directories: &[Vec<Field>]) -> anyhow::Result<()> {
        let mut written = Vec::with_capacity(directories.len());
        for fields in directories {
            written.push(self.entries(fields)?);
        }
        let mut at = self.put(&[])?;
        let first = at;
        let last = written.len().saturating_sub(1);
        for (index, (fields, entries)) in directories.iter().zip(written).enumerate() {
            let mut bytes = if self.is_big {
                (fields.len() as u64).to_le_bytes().to_vec()
            } else {
                (fields.len() as u16).to_le_bytes().to_vec()
            };
            bytes.extend(entries);
            // An even length keeps the next one at an even place.
            at += (bytes.len() + self.word()) as u64;
            let next = if index == last { 0 } else { at };
            bytes.extend(self.number(next));
            self.append(&bytes)?;
        }
        ensure!(
            self.is_big || u32::try_from(self.at).is_ok(),
            "it is too large for a TIFF file that is not BigTIFF"
        );
        self.out.seek(SeekFrom::Start(if self.is_big { 8 } else { 4 }))?;
        let first = self.number(first);
        self.out.write_all(&first)?;
        self.out.flush().context("the file was not written to its end")
    }

    /// The entries of a directory, with what does not fit into them written before.
    fn entries(&mut self, fields: &[Field]) -> anyhow::Result<Vec<u8>> {
        let mut entries = Vec::new();
        for field in fields {
            entries.extend(field.tag.to_le_bytes());
            entries.extend(field.kind.to_le_bytes());
            entries.extend(self.number(field.count));
            if field.bytes.len() <= self.word() {
                entries.extend(&field.bytes);
                entries.extend(std::iter::repeat_n(0, self.word() - field.bytes.len()));
            } else {
                let place = self.put(&field.bytes)?;
                entries.extend(self.number(place));
            }
        }
        Ok(entries)
    }

    fn append(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.out.write_all(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Bytes of a place or a count.
    fn word(&self) -> usize {
        if self.is_big { 8 } else { 4 }
    }

    fn number(&self, value: u64) -> Vec<u8> {
        if self.is_big { value.to_le_bytes().to_vec() } else { (value as u32).to_le_bytes().to_vec() }
    }
}
