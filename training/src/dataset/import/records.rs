//! The records of a JSON list or of JSON lines, one after another.

use std::fmt;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use serde::Deserializer as _;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde_json::Value;

use crate::dataset::{BYTE_ORDER_MARK, DatasetError};
use crate::rows::RowsError;

/// Takes a record with its number, from 1.
type Each<'a> = dyn FnMut(usize, Value) -> Result<(), DatasetError> + 'a;

/// Gives every record of a file to `each`, whose error ends it.
pub(super) fn for_each(path: &Path, each: &mut Each<'_>) -> Result<(), DatasetError> {
    let mut file = BufReader::new(File::open(path).map_err(DatasetError::read(path))?);
    let begin = file.fill_buf().map_err(DatasetError::read(path))?;
    let mark = if begin.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    let is_list = begin[mark..].trim_ascii_start().starts_with(b"[");
    file.consume(mark);
    if is_list { list(file, path, each) } else { lines(file, path, each) }
}

fn lines(file: BufReader<File>, path: &Path, each: &mut Each<'_>) -> Result<(), DatasetError> {
    let mut number = 0;
    for (index, line) in file.lines().enumerate() {
        let line = line.map_err(DatasetError::read(path))?;
        if line.trim().is_empty() {
            continue;
        }
        number += 1;
        let record = serde_json::from_str(&line).map_err(|error| RowsError::Line {
            path: path.to_owned(),
            line: index + 1,
            reason: error.to_string().replace(" at line 1 column ", " at column "),
        })?;
        each(number, record)?;
    }
    Ok(())
}

fn list(file: BufReader<File>, path: &Path, each: &mut Each<'_>) -> Result<(), DatasetError> {
    let mut failed = None;
    let mut json = serde_json::Deserializer::from_reader(file);
    let read = json.deserialize_seq(Records { each, failed: &mut failed }).and_then(|()| json.end());
    match (failed, read) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => Err(DatasetError::content(format!("this is no JSON list: {error}"), path)),
        (None, Ok(())) => Ok(()),
    }
}

/// Hands the elements of a list on as they are read.
struct Records<'a, 'b> {
    each: &'a mut Each<'b>,
    failed: &'a mut Option<DatasetError>,
}

impl<'de> Visitor<'de> for Records<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut number = 0;
        while let Some(record) = list.next_element::<Value>()? {
            number += 1;
            if let Err(error) = (self.each)(number, record) {
                *self.failed = Some(error);
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}
