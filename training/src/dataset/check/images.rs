//! The images of a data set: whether they are there, can be read, and show tissue at the scale that the model knows.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;

use super::{CheckOptions, FindingKind, Found, Place};
use crate::dataset::image_file::{image_size, read_patch};
use crate::rows::Row;

/// How much longer than wide an image may be (as in the model's `patch.rs`).
const MOST_NARROW: u64 = 100;

/// What is known of an image file.
#[derive(Clone, Debug, Default)]
pub(super) struct ImageFacts {
    pub(super) size: Option<(u32, u32)>,
    /// BLAKE3 of its pixels, where they were read.
    pub(super) pixels: Option<String>,
    pub(super) fault: Option<(FindingKind, String)>,
}

/// All images by the path that the rows name, and what was found.
pub(super) fn look<'a>(
    folder: &Path,
    rows: &[(usize, &'a Row)],
    options: &CheckOptions<'_>,
) -> (BTreeMap<&'a str, ImageFacts>, Vec<Found>) {
    // The first row that names an image, and how many do.
    let mut named: BTreeMap<&str, (usize, &Row, usize)> = BTreeMap::new();
    for &(line, row) in rows {
        for image in &row.images {
            named.entry(image).or_insert((line, row, 0)).2 += 1;
        }
    }
    let names: Vec<&str> = named.keys().copied().collect();
    let facts: BTreeMap<&str, ImageFacts> =
        names.into_par_iter().map(|name| (name, facts(&folder.join(name), options.decode))).collect();
    let mut found = Vec::new();
    for (name, facts) in &facts {
        let (Some((kind, fault)), Some((line, row, n))) = (&facts.fault, named.get(name)) else { continue };
        let more = if *n > 1 { format!(", which {n} rows name") } else { String::new() };
        found.push((*kind, Place::new(*line, row, format!("{name}{more}{fault}"))));
    }
    // In the order of the lines, like all else.
    found.sort_by_key(|(_, place)| place.line);
    found.extend(rows.iter().flat_map(|&(line, row)| strange_scale(line, row, &facts, options)));
    (facts, found)
}

/// `fault` is what stands behind the image's name.
fn facts(path: &Path, decode: bool) -> ImageFacts {
    if !path.is_file() {
        return ImageFacts {
            fault: Some((FindingKind::MissingImage, String::new())),
            ..ImageFacts::default()
        };
    }
    let read = if decode {
        read_patch(path, None).map(|patch| ((patch.width, patch.height), Some(patch.hash())))
    } else {
        image_size(path).map(|size| (size, None))
    };
    let unreadable = |reason: String| Some((FindingKind::UnreadableImage, format!(": {reason}")));
    match read {
        Err(error) => {
            // The path is named already.
            let text = error.to_string();
            let reason = text.strip_suffix(&format!(": {}", path.display())).unwrap_or(&text);
            ImageFacts { fault: unreadable(reason.to_owned()), ..ImageFacts::default() }
        }
        Ok(((width, height), pixels)) => {
            let is_narrow = u64::from(width.max(height)) > MOST_NARROW * u64::from(width.min(height));
            let narrow = || format!("{width} × {height} px are too narrow for the model");
            let fault = if is_narrow { unreadable(narrow()) } else { None };
            ImageFacts { size: Some((width, height)), pixels, fault }
        }
    }
}

/// Scales, sizes and shapes that the package was not made for.
fn strange_scale(
    line: usize,
    row: &Row,
    facts: &BTreeMap<&str, ImageFacts>,
    options: &CheckOptions<'_>,
) -> Vec<Found> {
    let Some(spec) = options.patch else { return Vec::new() };
    let sizes = row.images.iter().filter_map(|image| Some((image, facts.get(image.as_str())?.size?)));
    sizes
        .flat_map(|(image, (width, height))| {
            let warnings = spec.warnings(width, height, row.mpp);
            warnings.into_iter().map(move |warning| format!("{image}: {warning}"))
        })
        .map(|detail| (FindingKind::Scale, Place::new(line, row, detail)))
        .collect()
}

#[cfg(test)]
mod tests {
    use reinpath_model::package::PatchSpec;

    use super::*;
    use crate::dataset::for_tests::{question, save_picture};
    use crate::subtask::Subtasks;

    #[test]
    fn images_that_are_missing_damaged_or_narrow_are_named_with_their_first_row() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        save_picture(&file("good.png"), 32, 32);
        save_picture(&file("narrow.png"), 300, 2);
        let whole = std::fs::read(file("good.png")).unwrap();
        std::fs::write(file("cut.png"), &whole[..45]).unwrap();
        std::fs::write(file("text.png"), "no picture").unwrap();
        let names = ["text.png", "gone.png", "good.png", "cut.png", "gone.png", "narrow.png"];
        let rows = names.map(|name| question(name, name));
        let rows: Vec<(usize, &Row)> = (1..).zip(&rows).collect();
        let subtasks = Subtasks::shipped();
        let options = CheckOptions::new(&subtasks);
        let (facts, found) = look(folder.path(), &rows, &options);
        assert_eq!(facts.len(), 5);
        let told: Vec<(FindingKind, usize)> = found.iter().map(|(kind, place)| (*kind, place.line)).collect();
        let (missing, unreadable) = (FindingKind::MissingImage, FindingKind::UnreadableImage);
        assert_eq!(told, [(unreadable, 1), (missing, 2), (unreadable, 6)]);
        assert_eq!(found[1].1.detail, "gone.png, which 2 rows name");
        assert!(found[0].1.detail.starts_with("text.png: the image cannot be read"), "{found:?}");
        assert!(!found[0].1.detail.contains(&folder.path().display().to_string()), "{found:?}");

        let decode = CheckOptions { decode: true, ..options };
        let (_, found) = look(folder.path(), &rows, &decode);
        assert_eq!(found.len(), 4, "the one that ends early is found when it is read: {found:?}");

        let spec = PatchSpec { size_px: 32, mpp: 0.5 };
        let (_, found) = look(folder.path(), &rows[2..3], &CheckOptions { patch: Some(spec), ..options });
        assert!(found.len() == 1 && found[0].1.detail.contains("scale of the patch is unknown"), "{found:?}");
        let scaled = Row { mpp: Some(0.5), ..rows[2].1.clone() };
        let (_, found) = look(folder.path(), &[(3, &scaled)], &CheckOptions { patch: Some(spec), ..options });
        assert!(found.is_empty(), "{found:?}");
    }
}
