//! What leaves the store: reviewed answers as JSON, HTML, PDF, GeoJSON, a table, and rows to train on.
//!
//! No label image, no path and no name leaves it unless asked for; every form carries the log's head. All forms are made of one
//! [`Document`], which is where names are left out: what it does not hold, no form can tell.
//!
//! In reading order: [`document`] (what is told), `names` (what is hidden), `words`, `patches` (the pixels beside it), `html`, `pdf`, `geojson`, `csv` (how), `rows` (what
//! can be trained on) and [`teach`] (a run's settings beside them).

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::Collection;

mod csv;
pub mod document;
mod geojson;
mod html;
mod names;
mod patches;
mod pdf;
mod rows;
pub mod teach;
#[cfg(test)]
mod tests;
mod words;

pub use document::Document;
pub use rows::{PREFERENCE, Pair, ROWS};

/// In what form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    Json,
    #[default]
    Html,
    Pdf,
    GeoJson,
    Csv,
    /// A folder of rows with their images.
    Rows,
}

impl Form {
    /// All of them, as they are offered.
    pub const ALL: [Self; 6] = [Self::Html, Self::Pdf, Self::Json, Self::Csv, Self::GeoJson, Self::Rows];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Html => "html",
            Self::Pdf => "pdf",
            Self::GeoJson => "geojson",
            Self::Csv => "csv",
            Self::Rows => "rows",
        }
    }

    /// The form with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.name() == name)
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Html => "HTML report",
            Self::Pdf => "PDF report",
            Self::GeoJson => "GeoJSON for QuPath",
            Self::Csv => "Table (CSV)",
            Self::Rows => "Training rows",
        }
    }

    /// Whether it is a folder.
    pub fn is_folder(self) -> bool {
        self == Self::Rows
    }

    /// Of its file's name, after the stop; a folder has none.
    pub fn ending(self) -> &'static str {
        if self.is_folder() { "" } else { self.name() }
    }

    /// What the file, or the folder, is called where nobody says otherwise.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Json => "review.json",
            Self::Html => "review.html",
            Self::Pdf => "review.pdf",
            Self::GeoJson => "review.geojson",
            Self::Csv => "review.csv",
            Self::Rows => "review-rows",
        }
    }
}

/// Why nothing was exported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("There is no answer to be exported: ask a question first, or judge an answer.")]
    Nothing,
    #[error("No row can be made of these reviews: {0}.")]
    NoRow(String),
    /// What the licence of the models that answered says.
    #[error("{0}.")]
    Forbidden(String),
    /// Why a package must not or cannot be trained.
    #[error("This model cannot be taught: {0}.")]
    NotTaught(String),
    #[error("The reviews cannot be put into words: {0}.")]
    Content(String),
    #[error("There is something in this folder already, name another: {}", path.display())]
    NotEmpty { path: PathBuf },
    #[error("The export cannot be written, {reason}: {}", path.display())]
    Write { reason: String, path: PathBuf },
}

impl Error {
    fn write(path: &Path, reason: &dyn std::fmt::Display) -> Self {
        Self::Write { reason: reason.to_string(), path: path.to_owned() }
    }
}

/// Writes an export to a file, or rows to a folder; beside its place first, and then renamed. `patches` is the folder of patches'
/// pixels; what it does not hold is left out, and counted in the sentence that is given back.
///
/// # Errors
/// Nothing to export, no row among the reviews, or a place that cannot be written to.
pub fn write(
    form: Form,
    collection: &Collection,
    tells_names: bool,
    patches: Option<&Path>,
    to: &Path,
) -> Result<String, Error> {
    let document = Document::of(collection, tells_names)?;
    let mut gallery = patches::Gallery::new(patches);
    match form {
        Form::Rows => return Ok(rows::write(&document, &mut gallery, to)?.in_words(to)),
        Form::Json => put(to, document.to_json()?.as_bytes())?,
        Form::Html => put(to, html::page(&document, &mut gallery).as_bytes())?,
        Form::Pdf => put(to, &pdf::bytes(&document, &mut gallery)?)?,
        Form::Csv => put(to, csv::table(&document).as_bytes())?,
        Form::GeoJson => geojson::write(&document, to)?,
    }
    let mut sentence = format!("{} written", count(document.answers().count(), "answer"));
    if gallery.missing() > 0 {
        write!(sentence, " without the pixels of {}", count(gallery.missing(), "patch")).ok();
    }
    Ok(format!("{sentence}: {}", to.display()))
}

/// `1 answer`, `2 patches`.
fn count(number: usize, word: &str) -> String {
    let ending = match (number, word.ends_with("ch")) {
        (1, _) => "",
        (_, true) => "es",
        _ => "s",
    };
    format!("{number} {word}{ending}")
}

/// Makes the folder that a file is to lie in.
fn make_folder_of(to: &Path) -> Result<(), Error> {
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.map_or(Ok(()), |folder| {
        std::fs::create_dir_all(folder).map_err(|reason| Error::write(folder, &reason))
    })
}

/// Writes a file whole or not at all.
fn put(to: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut name = to.file_name().ok_or_else(|| Error::write(to, &"this names no file"))?.to_owned();
    name.push(".part");
    let unfinished = to.with_file_name(name);
    make_folder_of(to)?;
    let written = File::create(&unfinished).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.and_then(|()| std::fs::rename(&unfinished, to)).map_err(|reason| {
        // What was begun is of no use; that it cannot be removed is not worth a second sentence.
        drop(std::fs::remove_file(&unfinished));
        Error::write(to, &reason)
    })
}
