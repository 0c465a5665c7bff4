//! A folder as a list of slides.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

/// Extensions of files that this program may open, as `slide::identify` and OpenSlide know them. Contents decide when one is opened.
const EXTENSIONS: [&str; 16] = [
    "svs", "tif", "tiff", "ndpi", "vms", "vmu", "mrxs", "scn", "bif", "svslide", "czi", "dcm", "avs", "png",
    "jpg", "jpeg",
];
/// Slides of a folder that are listed.
const MOST_SLIDES: usize = 20_000;

/// A folder that was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    pub path: PathBuf,
    /// In the order of their names; empty while it is read.
    pub slides: Vec<PathBuf>,
    pub is_being_read: bool,
    /// The step that is taken once it is listed.
    pub(super) step: Option<i32>,
}

impl Folder {
    /// The place of a slide in it.
    pub fn place(&self, slide: &Path) -> Option<usize> {
        self.slides.iter().position(|path| path == slide)
    }

    /// Its name on screen.
    pub fn name(&self) -> String {
        let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned());
        name.unwrap_or_else(|| self.path.display().to_string())
    }
}

/// The slides that lie in a folder itself, by name, numbers in the order of their value. Waits for the disk.
///
/// # Errors
/// A sentence, with the path last.
pub(super) fn list(folder: &Path) -> Result<Vec<PathBuf>, String> {
    // A slide that was given by its name alone lies in the empty path.
    let place = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let in_words =
        |error: std::io::Error| format!("The folder cannot be listed, {error}: {}", folder.display());
    let mut slides = Vec::new();
    for entry in std::fs::read_dir(place).map_err(in_words)? {
        let name = entry.map_err(in_words)?.file_name();
        let path = folder.join(&name);
        // What begins with a dot is hidden, or what a Mac left beside the file.
        if is_slide_by_name(&path) && !name.to_string_lossy().starts_with('.') && path.is_file() {
            slides.push(path);
        }
    }
    slides.sort_by(|a, b| by_name(&name_of(a), &name_of(b)));
    slides.truncate(MOST_SLIDES);
    Ok(slides)
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn is_slide_by_name(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

/// As people sort: without case, and numbers by their value. Names that are the same then go by their letters.
fn by_name(a: &str, b: &str) -> Ordering {
    let (lower_a, lower_b) = (a.to_lowercase(), b.to_lowercase());
    let (mut left, mut right) = (lower_a.as_str(), lower_b.as_str());
    loop {
        let ((head_a, rest_a), (head_b, rest_b)) = (split(left), split(right));
        let order = match (number(head_a), number(head_b)) {
            (Some(x), Some(y)) => x.len().cmp(&y.len()).then_with(|| x.cmp(y)),
            _ => head_a.cmp(head_b),
        };
        if order != Ordering::Equal {
            return order;
        }
        if rest_a.is_empty() || rest_b.is_empty() {
            return rest_a.len().cmp(&rest_b.len()).then_with(|| a.cmp(b));
        }
        (left, right) = (rest_a, rest_b);
    }
}

/// The digits at the beginning, or what comes before the first digit; and the rest.
fn split(text: &str) -> (&str, &str) {
    let is_number = text.starts_with(|letter: char| letter.is_ascii_digit());
    let end = text.find(|letter: char| letter.is_ascii_digit() != is_number).unwrap_or(text.len());
    text.split_at(end)
}

/// Digits without leading zeros: the longer one is the larger number, and no number is too long.
fn number(text: &str) -> Option<&str> {
    text.starts_with(|letter: char| letter.is_ascii_digit()).then(|| text.trim_start_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_as_people_sort_them() {
        let mut names = ["b.svs", "A10.svs", "a9.svs", "a010b", "a10", "A2.svs", "a", ""];
        names.sort_by(|a, b| by_name(a, b));
        assert_eq!(names, ["", "a", "A2.svs", "a9.svs", "a10", "A10.svs", "a010b", "b.svs"]);
        let long = "9".repeat(40);
        assert_eq!(by_name(&long, &format!("1{long}")), Ordering::Less);
    }

    #[test]
    fn a_folder_lists_its_slides_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["s10.svs", "s2.SVS", "notes.txt", ".hidden.svs", "photo.jpeg"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        std::fs::create_dir(folder.path().join("folder.svs")).unwrap();
        let names: Vec<String> = list(folder.path()).unwrap().iter().map(|path| name_of(path)).collect();
        assert_eq!(names, ["photo.jpeg", "s2.SVS", "s10.svs"]);
        let gone = folder.path().join("gone");
        let sentence = list(&gone).unwrap_err();
        assert!(
            sentence.starts_with("The folder cannot be listed") && sentence.ends_with("gone"),
            "{sentence}"
        );
    }
}
