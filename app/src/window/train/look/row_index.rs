//! Which rows a file of rows has and where each stands, so that one can go from row to row and see a row as it is written.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use reinpath_training::dataset::rows_file;
use serde::Deserialize;
use serde_json::Value;

use crate::runs::trainer::lines::{Incoming, read_line};

/// What some editors put at the beginning of a text file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The rows of a file, in its order. Lines that are no rows are left out.
#[derive(Debug, PartialEq, Eq)]
pub struct RowIndex {
    /// The file of rows.
    path: PathBuf,
    rows: Vec<RowPlace>,
    /// Of the file when it was read: length and time of change.
    stamp: (u64, Option<SystemTime>),
}

#[derive(Debug, PartialEq, Eq)]
struct RowPlace {
    id: Box<str>,
    /// Bytes from the file's beginning.
    start: u64,
}

/// The one key that is looked at here.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

impl RowIndex {
    /// Reads the rows of a folder, or of a file of rows.
    ///
    /// # Errors
    /// A sentence, where the file cannot be read.
    pub(super) fn read(data: &Path) -> Result<Self, String> {
        let path = rows_file(data);
        let in_words =
            |error: std::io::Error| format!("The rows cannot be read, {error}: {}", path.display());
        let file = File::open(&path).map_err(in_words)?;
        let stamp = stamp(&file).map_err(in_words)?;
        let mut input = BufReader::new(file);
        let (mut rows, mut line) = (Vec::new(), Vec::new());
        loop {
            let start = input.stream_position().map_err(in_words)?;
            match read_line(&mut input, &mut line).map_err(in_words)? {
                Incoming::End => break,
                Incoming::TooLong => {}
                Incoming::Line => {
                    let text = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&line);
                    if let Ok(Named { id }) = serde_json::from_slice(text) {
                        rows.push(RowPlace { id: id.into(), start });
                    }
                }
            }
        }
        Ok(Self { path, rows, stamp })
    }

    /// Whether it is that of this data, and the file was not changed since.
    pub(super) fn is_of(&self, data: &Path) -> bool {
        self.path == rows_file(data)
            && File::open(&self.path).and_then(|file| stamp(&file)).is_ok_and(|stamp| stamp == self.stamp)
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The id of a row, counted from 0.
    pub fn id(&self, at: usize) -> Option<&str> {
        self.rows.get(at).map(|row| &*row.id)
    }

    /// Which row has this id; the first one where several have it.
    pub fn place(&self, id: &str) -> Option<usize> {
        self.rows.iter().position(|row| &*row.id == id)
    }

    /// A row as it is written, each key on a line of its own.
    ///
    /// # Errors
    /// A sentence, where the file cannot be read any more.
    pub(super) fn source(&self, at: usize) -> Result<String, String> {
        let in_words = |error: &dyn std::fmt::Display| {
            format!("The row cannot be read, {error}: {}", self.path.display())
        };
        let row = self.rows.get(at).ok_or_else(|| in_words(&"the file has no such row"))?;
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(row.start))?;
            let mut line = Vec::new();
            read_line(&mut BufReader::new(file), &mut line)?;
            Ok(line)
        };
        let line = read().map_err(|error| in_words(&error))?;
        let text = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&line);
        let row: Value = serde_json::from_slice(text).map_err(|error| in_words(&error))?;
        serde_json::to_string_pretty(&row).map_err(|error| in_words(&error))
    }
}

fn stamp(file: &File) -> std::io::Result<(u64, Option<SystemTime>)> {
    let about = file.metadata()?;
    // Not every file system keeps times.
    Ok((about.len(), about.modified().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_id_and_shown_as_they_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let text = "\u{feff}{\"id\":\"a\",\"images\":[\"x.png\"]}\n\nno row\n{\"id\":\"b \\\"2\\\"\"}";
        std::fs::write(folder.path().join("rows.jsonl"), text).unwrap();
        let index = RowIndex::read(folder.path()).unwrap();
        assert_eq!(
            (index.len(), index.id(0), index.id(1), index.id(2)),
            (2, Some("a"), Some("b \"2\""), None)
        );
        assert_eq!((index.place("b \"2\""), index.place("c")), (Some(1), None));
        assert_eq!(index.source(0).unwrap(), "{\n  \"id\": \"a\",\n  \"images\": [\n    \"x.png\"\n  ]\n}");
        assert!(index.source(1).unwrap().contains("b \\\"2\\\""));
        assert!(index.source(2).is_err());
        assert!(index.is_of(folder.path()) && !index.is_of(&folder.path().join("other")));
    }

    #[test]
    fn a_file_that_was_changed_is_read_anew_and_one_that_is_gone_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("some.jsonl");
        std::fs::write(&file, "{\"id\":\"a\"}\n").unwrap();
        let index = RowIndex::read(&file).unwrap();
        assert!(index.is_of(&file));
        std::fs::write(&file, "{\"id\":\"a\"}\n{\"id\":\"b\"}\n").unwrap();
        assert!(!index.is_of(&file));
        std::fs::remove_file(&file).unwrap();
        assert!(!index.is_of(&file));
        let error = RowIndex::read(folder.path()).unwrap_err();
        assert!(error.starts_with("The rows cannot be read") && error.ends_with("rows.jsonl"), "{error}");
    }
}
