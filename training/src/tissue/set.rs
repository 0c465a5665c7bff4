//! A labelled data set as rows: its images copied, more views of those to train on, questions with staged answers.
//!
//! What is written: the images under their own names, `views/` with the other views, `rows.jsonl`, `manifest.csv` as it
//! was read with a column for the split (the benchmark `classes` reads it), and `measured.jsonl` with the figures and
//! findings of each patch.

use std::io::Write as _;
use std::path::Path;

use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::Serialize;

use super::TissueError;
use super::describe::{Described, caption};
use super::lexicon::Lexicon;
use super::manifest::{CLUSTER, Entry, MANIFEST, read_manifest, split_by_cluster};
use super::measure::{Measures, measure};
use super::patches::MEASURED;
use super::question::{TissueItem, ask_many};
use super::views::View;
use crate::rows::{Row, RowAnswer, Split, write_rows};

/// Quality of the JPEG files of views.
const JPEG_QUALITY: u8 = 92;

/// How much is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SetOptions {
    /// Seed of the split, the wordings and the views.
    pub seed: u64,
    /// Questions about each image and each view.
    pub questions: usize,
    /// Captions of each image and each view.
    pub captions: usize,
    /// Other views of each image of the training part.
    pub views: usize,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SetSummary {
    pub images: usize,
    pub views: usize,
    pub rows: usize,
    pub train: usize,
    pub validation: usize,
    pub test: usize,
    /// Images in which nothing was clear; they have no rows.
    pub without_findings: usize,
}

/// An image that was read, measured and copied.
struct Patch<'a> {
    entry: &'a Entry,
    split: Split,
    measures: Measures,
    described: Described,
}

/// Writes the data set in the folder `from` as rows to the folder `to`.
pub fn write_set(from: &Path, to: &Path, options: &SetOptions) -> Result<SetSummary, TissueError> {
    let entries = read_manifest(from)?;
    std::fs::create_dir_all(to).map_err(io(to))?;
    let (source, target) = (from.canonicalize().map_err(io(from))?, to.canonicalize().map_err(io(to))?);
    if source == target {
        return Err(TissueError::SameFolder { path: to.to_owned() });
    }
    let parts = split_by_cluster(&entries, options.seed);
    let part_of = |entry: &Entry| parts.get(&entry.cluster).copied().unwrap_or(Split::Train);
    let patches: Vec<Patch<'_>> = entries
        .par_iter()
        .map(|entry| copy(from, to, entry, part_of(entry)))
        .collect::<Result<_, TissueError>>()?;

    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let mut summary = SetSummary { images: patches.len(), ..SetSummary::default() };
    let mut rows = Vec::new();
    let mut views = Vec::new();
    for patch in &patches {
        match patch.split {
            Split::Train => summary.train += 1,
            Split::Validation => summary.validation += 1,
            Split::Test => summary.test += 1,
        }
        if patch.described.measured.is_empty() {
            summary.without_findings += 1;
            continue;
        }
        rows.extend(rows_of(patch, &patch.entry.file, options, &mut rng));
        let n_views = if patch.split == Split::Train { options.views } else { 0 };
        for number in 1..=n_views {
            let file = view_file(&patch.entry.file, number);
            rows.extend(rows_of(patch, &file, options, &mut rng));
            views.push((patch, file, View::draw(&mut rng)));
        }
    }
    views.par_iter().try_for_each(|(patch, file, view)| {
        let seen = view.of(&read_image(&from.join(&patch.entry.file))?.1);
        write_jpeg(&seen, &to.join(file))
    })?;
    (summary.views, summary.rows) = (views.len(), rows.len());
    write_rows(&to.join("rows.jsonl"), &rows)?;
    write_lists(&patches, to)?;
    Ok(summary)
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> TissueError {
    let path = path.to_owned();
    move |source| TissueError::Io { source, path }
}

/// Reads, measures and copies one image.
fn copy<'a>(from: &Path, to: &Path, entry: &'a Entry, split: Split) -> Result<Patch<'a>, TissueError> {
    let path = from.join(&entry.file);
    let (bytes, image) = read_image(&path)?;
    let side = Lexicon::shipped().side_px;
    let (width, height) = image.dimensions();
    if (width, height) != (side, side) {
        return Err(TissueError::Side { width, height, side, path });
    }
    let measures = measure(&image);
    let described = Described::new(&entry.class, &measures).ok_or_else(|| TissueError::Manifest {
        line: entry.line,
        reason: format!("there are no words for the class “{}”", entry.class),
        path: from.join(MANIFEST),
    })?;
    write(&to.join(&entry.file), &bytes)?;
    Ok(Patch { entry, split, measures, described })
}

fn read_image(path: &Path) -> Result<(Vec<u8>, RgbImage), TissueError> {
    let bytes = std::fs::read(path).map_err(io(path))?;
    let image = image::load_from_memory(&bytes)
        .map_err(|source| TissueError::Image { source, path: path.to_owned() })?
        .into_rgb8();
    Ok((bytes, image))
}

/// Writes a file, and the folder that it lies in.
fn write(path: &Path, bytes: &[u8]) -> Result<(), TissueError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(io(folder))?;
    }
    std::fs::write(path, bytes).map_err(io(path))
}

fn write_jpeg(image: &RgbImage, path: &Path) -> Result<(), TissueError> {
    let mut bytes: Vec<u8> = Vec::new();
    image
        .write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY))
        .map_err(|source| TissueError::Image { source, path: path.to_owned() })?;
    write(path, &bytes)
}

/// Where a view of an image lies: `views/` and its path, the number in place of the ending. The ending belongs to the
/// name where another image differs in nothing else.
fn view_file(file: &str, number: usize) -> String {
    format!("views/{}-{number}.jpg", file.replace('.', "-"))
}

/// The captions and questions of one image, which shows `patch`.
fn rows_of(patch: &Patch<'_>, file: &str, options: &SetOptions, rng: &mut ChaCha8Rng) -> Vec<Row> {
    let lexicon = Lexicon::shipped();
    let mut rows = Vec::new();
    for number in 0..options.captions {
        let text = caption(&patch.described, rng);
        let emphasis =
            lexicon.statements(&text).into_iter().map(|(_, bytes)| text[bytes].to_owned()).collect();
        rows.push(Row { emphasis, ..Row::from_caption(format!("{file}-c{number}"), file, text) });
    }
    for (number, item) in ask_many(&patch.described, options.questions, rng).into_iter().enumerate() {
        rows.push(row_of(format!("{file}-q{number}"), file, item));
    }
    for row in &mut rows {
        row.split = Some(patch.split);
        row.source = Some(lexicon.source.clone());
        row.licence = Some(lexicon.licence.clone());
        row.more.insert(CLUSTER.to_owned(), patch.entry.cluster.clone().into());
    }
    rows
}

fn row_of(id: String, file: &str, item: TissueItem) -> Row {
    Row {
        subtask: item.subtask.map(str::to_owned),
        question: Some(item.question),
        choices: item.choices,
        answer: Some(RowAnswer::Staged(item.answer)),
        label: Some(item.label),
        context: item.context,
        emphasis: item.emphasis,
        ..Row::new(id, file, item.kind.into())
    }
}

/// Writes the manifest with the split, and what was measured.
fn write_lists(patches: &[Patch<'_>], to: &Path) -> Result<(), TissueError> {
    let lexicon = Lexicon::shipped();
    let (list, figures) = (to.join(MANIFEST), to.join(MEASURED));
    let (mut manifest, mut measured) = (Vec::new(), Vec::new());
    writeln!(manifest, "file,class,{CLUSTER},split").map_err(io(&list))?;
    for Patch { entry, split, measures, described } in patches {
        let part = match split {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
        };
        writeln!(manifest, "{},{},{},{part}", entry.file, entry.class, entry.cluster).map_err(io(&list))?;
        let states: Vec<String> = described.findings().map(|finding| lexicon.value(finding).name()).collect();
        let line = serde_json::json!({
            "image": entry.file,
            "class": entry.class,
            CLUSTER: entry.cluster,
            "split": split,
            "measures": measures,
            "states": states,
        });
        writeln!(measured, "{line}").map_err(io(&figures))?;
    }
    write(&list, &manifest)?;
    write(&figures, &measured)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use image::Rgb;

    use super::*;
    use crate::rows::{RowKind, read_rows};

    const OPTIONS: SetOptions = SetOptions { seed: 3, questions: 4, captions: 1, views: 2 };

    /// A data set of drawn patches: open with few nuclei, or closed with many.
    fn drawn_set() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = vec!["file,class,source_tissue_cluster,view".to_owned()];
        for (class, apart) in [("lung_n", 56), ("lung_aca", 28), ("lung_scc", 22)] {
            std::fs::create_dir(folder.path().join(class)).unwrap();
            for number in 0..20_u32 {
                let cluster = number / 2;
                let edge = if class == "lung_n" { 100 + cluster } else { cluster };
                let image = RgbImage::from_fn(224, 224, |x, y| {
                    let off = |v: u32| f64::from(v % apart) - 10.0;
                    let grain = ((x * 7 + y * 13) % 5) as u8 * 6;
                    if x < edge {
                        Rgb([240, 240, 242])
                    } else if off(x).hypot(off(y)) < 7.0 {
                        Rgb([90, 70, 150])
                    } else {
                        Rgb([200 + grain, 150 + grain, 200 + grain])
                    }
                });
                let file = format!("{class}/{number}.png");
                image.save(folder.path().join(&file)).unwrap();
                manifest.push(format!("{file},{class},{class}_{cluster},{}", number % 2));
            }
        }
        std::fs::write(folder.path().join(MANIFEST), manifest.join("\n")).unwrap();
        folder
    }

    #[test]
    fn a_set_is_written_as_rows_that_can_be_read_and_whose_parts_share_no_tissue() {
        let (from, to) = (drawn_set(), tempfile::tempdir().unwrap());
        let summary = write_set(from.path(), to.path(), &OPTIONS).unwrap();
        assert_eq!((summary.images, summary.without_findings), (60, 0));
        assert_eq!((summary.train, summary.validation, summary.test), (42, 6, 12));
        assert_eq!(summary.views, 84);
        let rows = read_rows(&to.path().join("rows.jsonl")).unwrap();
        assert_eq!(rows.len(), summary.rows);
        assert_eq!(rows.len(), (60 + 84) * 5);
        let mut parts = BTreeMap::<String, BTreeSet<Split>>::new();
        for row in &rows {
            assert!(to.path().join(&row.images[0]).is_file(), "{}", row.id);
            let cluster = row.more[CLUSTER].as_str().unwrap().to_owned();
            parts.entry(cluster).or_default().extend(row.split);
            assert!(!row.images[0].starts_with("views/") || row.split == Some(Split::Train), "{}", row.id);
            assert_eq!(row.kind == RowKind::Caption, row.question.is_none());
        }
        assert_eq!(parts.len(), 30);
        assert!(parts.values().all(|parts| parts.len() == 1), "{parts:?}");
        let kinds: BTreeSet<RowKind> = rows.iter().map(|row| row.kind).collect();
        assert_eq!(kinds.len(), 4);
        let manifest = std::fs::read_to_string(to.path().join(MANIFEST)).unwrap();
        assert!(manifest.lines().count() == 61 && manifest.contains(",test\n"));
    }

    #[test]
    fn the_same_seed_writes_the_same_rows_and_another_seed_others() {
        let from = drawn_set();
        let rows = |seed: u64| {
            let to = tempfile::tempdir().unwrap();
            write_set(from.path(), to.path(), &SetOptions { seed, views: 0, ..OPTIONS }).unwrap();
            std::fs::read_to_string(to.path().join("rows.jsonl")).unwrap()
        };
        let first = rows(1);
        assert_eq!(first, rows(1));
        assert_ne!(first, rows(2));
    }

    #[test]
    fn what_cannot_be_used_is_said_with_its_file() {
        let (from, to) = (drawn_set(), tempfile::tempdir().unwrap());
        let error = |from: &Path, to: &Path| write_set(from, to, &OPTIONS).unwrap_err().to_string();
        assert!(error(from.path(), from.path()).contains("the one that is read"));
        let lost = from.path().join("lung_n/3.png");
        std::fs::remove_file(&lost).unwrap();
        assert!(error(from.path(), to.path()).ends_with("3.png"));
        RgbImage::new(32, 32).save(&lost).unwrap();
        let small = error(from.path(), to.path());
        assert!(small.contains("32 × 32") && small.ends_with("3.png"), "{small}");
        std::fs::write(&lost, "no image").unwrap();
        assert!(error(from.path(), to.path()).contains("cannot be read"));
        std::fs::write(from.path().join(MANIFEST), "file,class,source_tissue_cluster\nlung_aca/1.png,x,y\n")
            .unwrap();
        let unknown = error(from.path(), to.path());
        assert!(unknown.starts_with("line 2") && unknown.contains("“x”"), "{unknown}");
    }
}
