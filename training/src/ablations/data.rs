//! The data of an ablation: phantom fields with their images and rows, written once.

use std::collections::BTreeSet;
use std::path::Path;

use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use reinpath_model::package::PatchSpec;

use super::settings::PhantomData;
use crate::dataset::ROWS;
use crate::error::{Error, Result};
use crate::phantom::{QuestionItem, Truth, ask_any, balanced_set, caption, decisive, draw, full_caption};
use crate::rows::{Row, RowAnswer, Split, write_rows};
use crate::seed;
use crate::subtask::QuestionKind;

/// The sub-tasks of rows that are no questions of their own.
const FULL_CAPTION: &str = "full caption";
const SHORT_CAPTION: &str = "short caption";
const CONCLUSION_ONLY: &str = "conclusion only";
/// What it was made from; written last.
const MADE_FROM: &str = "made-from.json";
/// Fewest fields that are drawn to choose from.
const FEWEST: usize = 300;

/// A field to draw, with the image that it becomes.
struct Field {
    image: String,
    truth: Truth,
    seed: u64,
}

/// Writes images and rows into a folder; where they are already, nothing is done.
///
/// # Errors
/// Where the folder holds other data.
pub(super) fn write(data: &PhantomData, patch: PatchSpec, folder: &Path) -> Result<()> {
    let done = folder.join(MADE_FROM);
    let made_from = serde_json::to_string(&(data, patch)).map_err(|e| Error::Benchmark(e.to_string()))?;
    if done.is_file() {
        let found = std::fs::read_to_string(&done).map_err(Error::io(&done))?;
        return (found == made_from).then_some(()).ok_or_else(|| {
            let reason = "this data was made with other settings: remove it, or work in another folder";
            Error::Benchmark(format!("{reason}: {}", folder.display()))
        });
    }
    let images = folder.join("img");
    std::fs::create_dir_all(&images).map_err(Error::io(&images))?;
    let (mut fields, mut rows) = (Vec::new(), Vec::new());
    learned(data, &mut fields, &mut rows);
    held_out(data, &mut fields, &mut rows);
    fields.par_iter().try_for_each(|field| {
        let path = folder.join(&field.image);
        let drawn = draw(&field.truth, patch.size_px, field.seed);
        drawn.rgb.save(&path).map_err(|e| Error::io(&path)(std::io::Error::other(e)))
    })?;
    write_rows(&folder.join(ROWS), &rows).map_err(|e| Error::Benchmark(e.to_string()))?;
    std::fs::write(&done, made_from).map_err(Error::io(&done))
}

/// Fields to learn from.
fn learned(data: &PhantomData, fields: &mut Vec<Field>, rows: &mut Vec<Row>) {
    let mut rng = rng(data, "learned");
    for (at, (truth, first)) in questions(data, data.fields, &mut rng).into_iter().enumerate() {
        let image = format!("img/learned-{at:05}.png");
        for i in 0..data.captions_per_field {
            let captions = [
                (FULL_CAPTION, "full", full_caption(&truth, &mut rng)),
                (SHORT_CAPTION, "short", caption(&truth, &mut rng)),
            ];
            for (subtask, word, text) in captions {
                let row = Row::from_caption(format!("{word}-{at:05}-{i}"), &image, text);
                rows.push(Row { subtask: Some(subtask.to_owned()), split: Some(Split::Train), ..row });
            }
        }
        for i in 0..data.questions_per_field {
            let item = if i == 0 { first.clone() } else { any_question(data, &truth, &mut rng) };
            let row = question(format!("question-{at:05}-{i}"), &image, &item, Split::Train);
            rows.push(conclusion_only(&row, &item));
            rows.push(row);
        }
        fields.push(Field { image, truth, seed: rng.random() });
    }
}

/// Fields to be measured on, with a question each.
fn held_out(data: &PhantomData, fields: &mut Vec<Field>, rows: &mut Vec<Row>) {
    let mut rng = rng(data, "held out");
    for (at, (truth, item)) in questions(data, data.held_out, &mut rng).into_iter().enumerate() {
        let image = format!("img/held-out-{at:05}.png");
        rows.push(question(format!("held-out-{at:05}"), &image, &item, Split::Test));
        fields.push(Field { image, truth, seed: rng.random() });
    }
}

fn rng(data: &PhantomData, what: &str) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed::of(data.seed, &["ablation data", what], 0))
}

/// Fields that can be read, with a question of the wanted sub-tasks each: kinds, sub-tasks and values evenly.
fn questions(data: &PhantomData, n: usize, rng: &mut ChaCha8Rng) -> Vec<(Truth, QuestionItem)> {
    let mut set = Vec::with_capacity(n);
    while set.len() < n {
        let drawn = balanced_set(rng, n.max(FEWEST));
        set.extend(drawn.into_iter().filter(|(_, item)| is_wanted(data, item)));
    }
    set.truncate(n);
    set
}

fn any_question(data: &PhantomData, truth: &Truth, rng: &mut ChaCha8Rng) -> QuestionItem {
    loop {
        let kind = QuestionKind::ALL.choose(rng).copied().unwrap_or(QuestionKind::Open);
        let item = ask_any(truth, kind, rng);
        if is_wanted(data, &item) {
            return item;
        }
    }
}

fn is_wanted(data: &PhantomData, item: &QuestionItem) -> bool {
    item.label.is_some() && data.subtasks.iter().any(|name| name == item.subtask)
}

fn question(id: String, image: &str, item: &QuestionItem, split: Split) -> Row {
    let row = Row::from_item(id, image, item);
    let text = item.answer.to_text();
    let parts: BTreeSet<String> = decisive(&text).into_iter().map(|bytes| text[bytes].to_owned()).collect();
    Row { emphasis: parts.into_iter().collect(), split: Some(split), ..row }
}

/// The same question, answered by its conclusion without a word before it.
fn conclusion_only(row: &Row, item: &QuestionItem) -> Row {
    Row {
        id: format!("{}-short", row.id),
        subtask: Some(CONCLUSION_ONLY.to_owned()),
        answer: Some(RowAnswer::Text { text: format!("[Conclusion]\n{}", item.answer.conclusion) }),
        emphasis: Vec::new(),
        ..row.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::judge::{Labels, judge};
    use crate::rows::{RowKind, read_rows};

    fn data() -> PhantomData {
        PhantomData {
            seed: 5,
            fields: 8,
            questions_per_field: 2,
            captions_per_field: 1,
            held_out: 12,
            subtasks: vec!["tissue type".to_owned(), "stroma".to_owned()],
        }
    }

    #[test]
    fn rows_are_of_the_wanted_sub_tasks_and_every_reference_answer_is_right() {
        let folder = tempfile::tempdir().unwrap();
        let patch = PatchSpec { size_px: 224, mpp: 0.5 };
        write(&data(), patch, folder.path()).unwrap();
        let rows = read_rows(&folder.path().join(ROWS)).unwrap();
        let count = |wanted: &dyn Fn(&Row) -> bool| rows.iter().filter(|row| wanted(row)).count();
        assert_eq!(count(&|row| row.split == Some(Split::Test)), 12);
        assert_eq!(count(&|row| row.subtask.as_deref() == Some(FULL_CAPTION)), 8);
        assert_eq!(count(&|row| row.subtask.as_deref() == Some(SHORT_CAPTION)), 8);
        assert_eq!(count(&|row| row.subtask.as_deref() == Some(CONCLUSION_ONLY)), 16);
        assert_eq!(rows.len(), 12 + 16 + 32);
        let labels = Labels::of(&rows);
        for row in rows.iter().filter(|row| row.kind != RowKind::Caption) {
            let text = match row.answer.clone().unwrap() {
                RowAnswer::Staged(staged) => staged.to_text(),
                RowAnswer::Text { text } => text,
            };
            assert_eq!(judge(row, &text, &labels).is_right, Some(true), "{row:?}");
            assert!(folder.path().join(&row.images[0]).is_file());
        }
        write(&data(), patch, folder.path()).unwrap();
        let error = write(&PhantomData { seed: 6, ..data() }, patch, folder.path()).unwrap_err().to_string();
        assert!(error.contains("other settings"), "{error}");
    }

    #[test]
    fn no_field_is_both_learned_and_held_out() {
        let (mut fields, mut rows) = (Vec::new(), Vec::new());
        learned(&data(), &mut fields, &mut rows);
        held_out(&data(), &mut fields, &mut rows);
        let seeds: BTreeSet<u64> = fields.iter().map(|field| field.seed).collect();
        assert_eq!((fields.len(), seeds.len()), (20, 20));
    }
}
