//! The patches of a data set that was written (`set.rs`), with what was measured in them: for what needs no rows.

use std::path::{Component, Path};

use serde::Deserialize;

use super::TissueError;
use super::describe::Described;
use super::lexicon::Lexicon;
use super::measure::Measures;
use crate::rows::Split;

/// The file with the figures and findings of each patch.
pub(super) const MEASURED: &str = "measured.jsonl";

/// A patch of which it is known what was measured.
#[derive(Clone, Debug)]
pub struct MeasuredPatch {
    /// Its image, relative to the folder.
    pub image: String,
    /// Its class: a place in [`Lexicon::classes`].
    pub class: usize,
    pub described: Described,
}

/// What is read of a line.
#[derive(Deserialize)]
struct Line {
    image: String,
    class: String,
    split: Split,
    measures: Measures,
}

/// The patches in these parts of a data set, in the order of the file. Those in which nothing was clear are there, too.
pub fn read_patches(folder: &Path, splits: &[Split]) -> Result<Vec<MeasuredPatch>, TissueError> {
    let path = folder.join(MEASURED);
    let text =
        std::fs::read_to_string(&path).map_err(|source| TissueError::Io { source, path: path.clone() })?;
    let mut patches = Vec::new();
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        match parse(text, splits) {
            Ok(patch) => patches.extend(patch),
            Err(reason) => return Err(TissueError::Manifest { line, reason, path }),
        }
    }
    Ok(patches)
}

/// Reads a line; `None` of another part. The error is a sentence without the place.
fn parse(text: &str, splits: &[Split]) -> Result<Option<MeasuredPatch>, String> {
    let Line { image, class, split, measures } =
        serde_json::from_str(text).map_err(|error| error.to_string())?;
    if !splits.contains(&split) {
        return Ok(None);
    }
    let is_inside = Path::new(&image).components().all(|part| matches!(part, Component::Normal(_)));
    if image.is_empty() || !is_inside {
        return Err(format!("the image “{image}” does not lie in the data set's folder"));
    }
    let place = Lexicon::shipped().classes.iter().position(|known| known.name == class);
    let (Some(place), Some(described)) = (place, Described::new(&class, &measures)) else {
        return Err(format!("there are no words for the class “{class}”"));
    };
    Ok(Some(MeasuredPatch { image, class: place, described }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(image: &str, class: &str, split: &str) -> String {
        format!(
            r#"{{"class":"{class}","image":"{image}","measures":{{"nuclear_share":0.4}},"split":"{split}","states":[]}}"#
        )
    }

    #[test]
    fn patches_of_the_wanted_parts_are_read_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let lines = [
            line("lung_aca/1.jpeg", "lung_aca", "train"),
            line("lung_n/2.jpeg", "lung_n", "test"),
            String::new(),
            line("lung_scc/3.jpeg", "lung_scc", "validation"),
        ];
        std::fs::write(folder.path().join(MEASURED), lines.join("\n")).unwrap();
        let of = |splits: &[Split]| -> Vec<String> {
            read_patches(folder.path(), splits).unwrap().into_iter().map(|patch| patch.image).collect()
        };
        assert_eq!(of(&[Split::Train]), ["lung_aca/1.jpeg"]);
        assert_eq!(of(&[Split::Train, Split::Validation]), ["lung_aca/1.jpeg", "lung_scc/3.jpeg"]);
        let read = read_patches(folder.path(), &[Split::Test]).unwrap();
        assert_eq!(Lexicon::shipped().classes[read[0].class].name, "lung_n");
        assert_eq!(read[0].described.measured.len(), 1, "the cellularity");
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        let wrong = |text: &str| parse(text, &[Split::Train]).unwrap_err();
        assert!(wrong(&line("../a.jpeg", "lung_n", "train")).contains("folder"));
        assert!(wrong(&line("a.jpeg", "heart", "train")).contains("heart"));
        assert!(wrong("{}").contains("image"));
        let folder = tempfile::tempdir().unwrap();
        let absent = read_patches(folder.path(), &[Split::Train]).unwrap_err().to_string();
        assert!(absent.ends_with(MEASURED), "{absent}");
        std::fs::write(folder.path().join(MEASURED), "\n{}\n").unwrap();
        let second = read_patches(folder.path(), &[Split::Train]).unwrap_err().to_string();
        assert!(second.starts_with("line 2: "), "{second}");
    }
}
