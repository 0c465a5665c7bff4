//! Data sets: a folder with `rows.jsonl` and the images that its rows name.
//!
//! Read for training ([`read_sources`]), looked through before it ([`check()`], [`stats()`], `preview`), and made from
//! others ([`import()`], [`select()`], [`split()`]). The format of a row is that of `rows.rs`. No weights are read here and nothing
//! is computed with a model; what needs a tokenizer stands behind the feature `engine`.

mod check;
mod groups;
mod image_file;
mod import;
#[cfg(feature = "engine")]
mod preview;
mod select;
mod source;
mod split;
mod stats;
mod table;
mod text;
#[cfg(feature = "engine")]
mod tokens;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

pub use self::check::{CheckOptions, CheckReport, Finding, FindingKind, Place, check};
pub use self::groups::Link;
pub use self::image_file::{image_size, read_patch};
pub use self::import::{Counted, ImportPlan, Imported, import};
#[cfg(feature = "engine")]
pub use self::preview::{EncoderView, Preview, Stretch, preview};
pub use self::select::{Selection, select, selection};
pub use self::source::{Purpose, SourceRow, SourceRows, read_sources};
pub use self::split::{PartSize, Shares, SplitReport, split};
pub use self::stats::{Group, Stats, SubtaskStats, Unit, stats};
pub use self::table::{Table, grouped};
#[cfg(feature = "engine")]
pub(crate) use self::text::part_of;
pub use self::text::{Lengths, Measure, answer_text, emphasised, kind_name, split_name, split_named};
#[cfg(feature = "engine")]
pub use self::tokens::TokenMeasure;
#[cfg(feature = "engine")]
pub(crate) use self::tokens::question;
use crate::rows::{Row, RowsError, write_rows};

/// Name of the file of rows in a data set's folder.
pub const ROWS: &str = "rows.jsonl";

/// What some editors put at the beginning of a text file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why a data set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    #[error(transparent)]
    Rows(#[from] RowsError),
    #[error("{reason}: {}", path.display())]
    Content { reason: String, path: PathBuf },
}

impl DatasetError {
    pub(crate) fn content(reason: impl Into<String>, path: &Path) -> Self {
        Self::Content { reason: reason.into(), path: path.to_owned() }
    }

    pub(crate) fn read(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Rows(RowsError::Read { path, source })
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Rows(RowsError::Write { path, source })
    }
}

/// A line of a file of rows.
#[derive(Debug)]
pub struct Line {
    /// From 1.
    pub number: usize,
    /// What stands there, or why it is no row.
    pub row: Result<Row, String>,
}

/// A data set as it lies on disk, broken lines included.
#[derive(Debug)]
pub struct Dataset {
    /// The folder from which the rows name their images.
    pub folder: PathBuf,
    /// The file of rows.
    pub path: PathBuf,
    /// Its lines, without the empty ones.
    pub lines: Vec<Line>,
}

impl Dataset {
    /// Reads a data set, given its folder or its file of rows. Lines that are no rows are kept as what they are.
    pub fn read(data: &Path) -> Result<Self, DatasetError> {
        let path = rows_file(data);
        let bytes = std::fs::read(&path).map_err(DatasetError::read(&path))?;
        let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes);
        let lines: Vec<(usize, &[u8])> = text
            .split(|&byte| byte == b'\n')
            .enumerate()
            .filter(|(_, line)| !line.trim_ascii().is_empty())
            .collect();
        let lines = lines.into_par_iter().map(|(i, line)| Line { number: i + 1, row: parse(line) }).collect();
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Self { folder, path, lines })
    }

    /// The rows with the numbers of their lines; broken lines are left out.
    pub fn rows(&self) -> impl Iterator<Item = (usize, &Row)> {
        self.lines.iter().filter_map(|line| Some((line.number, line.row.as_ref().ok()?)))
    }

    /// All rows; a broken line is an error, and so is an id that is there twice.
    pub fn into_rows(self) -> Result<Vec<Row>, DatasetError> {
        Ok(self.into_numbered_rows()?.into_iter().map(|(_, row)| row).collect())
    }

    /// The same, with the numbers of their lines.
    pub fn into_numbered_rows(self) -> Result<Vec<(usize, Row)>, DatasetError> {
        let mut rows = Vec::with_capacity(self.lines.len());
        let mut ids = HashSet::with_capacity(self.lines.len());
        for line in self.lines {
            let broken = |reason| RowsError::Line { path: self.path.clone(), line: line.number, reason };
            let row = line.row.map_err(broken)?;
            if !ids.insert(row.id.clone()) {
                let reason = format!("the id “{}” is there twice", row.id);
                return Err(RowsError::Line { path: self.path, line: line.number, reason }.into());
            }
            rows.push((line.number, row));
        }
        Ok(rows)
    }
}

/// The file of rows that a path means: itself, or the one in the folder.
pub fn rows_file(data: &Path) -> PathBuf {
    let is_file = data.extension().is_some_and(|extension| extension == "jsonl") && !data.is_dir();
    if is_file { data.to_owned() } else { data.join(ROWS) }
}

/// Writes a file of rows so that it is either whole or not there.
pub fn write_whole<'a>(path: &Path, rows: impl IntoIterator<Item = &'a Row>) -> Result<(), DatasetError> {
    let part = path.with_extension("jsonl.part");
    write_rows(&part, rows)?;
    std::fs::rename(&part, path).map_err(DatasetError::write(path))
}

fn parse(line: &[u8]) -> Result<Row, String> {
    let text = std::str::from_utf8(line).map_err(|error| format!("the line is not UTF-8 text ({error})"))?;
    // The line is known; the parser counts lines within it.
    Row::parse(text).map_err(|reason| reason.replace(" at line 1 column ", " at column "))
}

#[cfg(test)]
pub(crate) mod for_tests {
    use std::path::Path;

    use reinpath_model::stage::StagedAnswer;

    use crate::rows::{Row, RowAnswer, RowKind};

    /// A choice question between glands and nests, of which B is right, with a staged answer.
    pub(crate) fn question(id: &str, image: &str) -> Row {
        Row {
            question: Some("What is the architecture?".to_owned()),
            choices: vec!["glands".to_owned(), "nests".to_owned()],
            answer: Some(RowAnswer::Staged(staged("Solid nests.", "No lumina, so nests.", "B) nests"))),
            label: Some("B".to_owned()),
            subtask: Some("architecture".to_owned()),
            ..Row::new(id, image, RowKind::Choice)
        }
    }

    pub(crate) fn staged(observation: &str, analysis: &str, conclusion: &str) -> StagedAnswer {
        StagedAnswer {
            observation: observation.to_owned(),
            analysis: analysis.to_owned(),
            conclusion: conclusion.to_owned(),
        }
    }

    /// A small picture in one colour.
    pub(crate) fn save_picture(path: &Path, width: u32, height: u32) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbImage::from_pixel(width, height, image::Rgb([200, 120, 180])).save(path).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::for_tests::question;
    use super::*;

    #[test]
    fn broken_lines_are_kept_with_their_numbers_and_reasons() {
        let folder = tempfile::tempdir().unwrap();
        let row = serde_json::to_string(&question("a", "x.png")).unwrap();
        let mut bytes = BYTE_ORDER_MARK.to_vec();
        bytes.extend(format!("{row}\r\n\n{{\"id\":\n").bytes());
        bytes.extend(b"\xff\xfe\n");
        std::fs::write(folder.path().join(ROWS), &bytes).unwrap();
        let dataset = Dataset::read(folder.path()).unwrap();
        let numbers: Vec<usize> = dataset.lines.iter().map(|line| line.number).collect();
        assert_eq!(numbers, [1, 3, 4]);
        assert_eq!(
            dataset.rows().map(|(number, row)| (number, row.id.as_str())).collect::<Vec<_>>(),
            [(1, "a")]
        );
        let reason = |at: usize| dataset.lines[at].row.as_ref().unwrap_err().clone();
        assert!(reason(1).contains("at column") && !reason(1).contains("line 1"), "{}", reason(1));
        assert!(reason(2).contains("UTF-8"), "{}", reason(2));
        let error = dataset.into_rows().unwrap_err().to_string();
        assert!(error.starts_with("line 3: ") && error.ends_with(ROWS), "{error}");
    }

    #[test]
    fn an_id_that_is_there_twice_and_a_file_that_is_not_there_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.jsonl");
        write_whole(&path, [&question("a", "x.png"), &question("a", "y.png")]).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing unfinished is left");
        let error = Dataset::read(&path).unwrap().into_rows().unwrap_err().to_string();
        assert!(error.starts_with("line 2: the id “a” is there twice"), "{error}");
        let error = Dataset::read(&folder.path().join("gone")).unwrap_err().to_string();
        assert!(error.contains("cannot read the rows") && error.ends_with(ROWS), "{error}");
    }
}
