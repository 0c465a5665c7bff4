//! The rows of a configuration's data sources, as a stage trains on them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::text::{answer_text, part_of, split_name};
use super::{Dataset, DatasetError};
use crate::config::DataSource;
use crate::rows::{Row, RowAnswer, RowKind};

/// What rows are wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Stage 1: captions.
    Alignment,
    /// Stage 2: questions with staged answers.
    ColdStart,
    /// Stage 3: questions whose conclusion can be right or wrong.
    Grpo,
    /// Questions that are answered and scored.
    Evaluation,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 4] = [Self::Alignment, Self::ColdStart, Self::Grpo, Self::Evaluation];

    /// Its name in sentences.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alignment => "alignment",
            Self::ColdStart => "cold start",
            Self::Grpo => "GRPO",
            Self::Evaluation => "evaluation",
        }
    }

    /// The kinds of rows that are taken where a source names none. GRPO can also ask open questions, when it is told to:
    /// the paper's have options or are statements.
    pub fn kinds(self) -> &'static [RowKind] {
        match self {
            Self::Alignment => &[RowKind::Caption],
            Self::Grpo => &[RowKind::Choice, RowKind::TrueFalse],
            Self::ColdStart | Self::Evaluation => &[RowKind::Open, RowKind::Choice, RowKind::TrueFalse],
        }
    }

    /// Why a row of a wanted kind is of no use for this; `None` when it is.
    pub fn fault(self, row: &Row) -> Option<&'static str> {
        let is_caption = row.kind == RowKind::Caption;
        let has_text = answer_text(row).is_some_and(|text| !text.trim().is_empty());
        match self {
            Self::Alignment => (!has_text).then_some("there is no text to learn"),
            Self::ColdStart if is_caption => (!has_text).then_some("there is no text to learn"),
            Self::ColdStart => missing_stage(row),
            Self::Grpo | Self::Evaluation if is_caption => Some("a caption is no question"),
            Self::Grpo => {
                let has_conclusion = matches!(&row.answer, Some(RowAnswer::Staged(_)));
                (row.label.is_none() && !has_conclusion).then_some("there is neither label nor conclusion")
            }
            Self::Evaluation => None,
        }
    }
}

/// What an answer lacks of the three stages.
pub(super) fn missing_stage(row: &Row) -> Option<&'static str> {
    match &row.answer {
        None => Some("there is only a label"),
        Some(RowAnswer::Text { .. }) => Some("the answer has no stages"),
        Some(RowAnswer::Staged(staged)) => {
            let stages = [
                (&staged.observation, "the answer has no Observation"),
                (&staged.analysis, "the answer has no Analysis"),
                (&staged.conclusion, "the answer has no Conclusion"),
            ];
            stages.into_iter().find_map(|(text, missing)| text.trim().is_empty().then_some(missing))
        }
    }
}

/// A row, and its images as they can be opened.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceRow {
    pub row: Row,
    /// Its line in the data set's file of rows, from 1.
    pub line: usize,
    /// The row's images below the data set's folder, in their order.
    pub images: Vec<PathBuf>,
}

impl SourceRow {
    /// A row of the data set in `folder`, with its line.
    pub fn new(row: Row, line: usize, folder: &Path) -> Self {
        let images = row.images.iter().map(|image| folder.join(image)).collect();
        Self { row, line, images }
    }
}

/// The rows of all sources of a stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourceRows {
    /// Each row once, source after source.
    pub rows: Vec<SourceRow>,
    /// One pass over the data: places in `rows`, each as often as its source says (`repeat`).
    pub pass: Vec<usize>,
    /// How many rows of the wanted kinds were left out, by the reason.
    pub left_out: BTreeMap<&'static str, usize>,
}

/// Reads the rows of all sources that can be used for a purpose, in the order of their files. The images are not opened.
///
/// A `limit` is drawn by `seed`, so that of two limits the smaller takes a part of what the larger takes.
///
/// # Errors
/// A broken line, a sub-task that no row has, or a source of which no row can be used.
pub fn read_sources(sources: &[DataSource], purpose: Purpose, seed: u64) -> Result<SourceRows, DatasetError> {
    let mut all = SourceRows::default();
    for (number, source) in (0..).zip(sources) {
        let dataset = Dataset::read(&source.folder)?;
        let (folder, path) = (dataset.folder.clone(), dataset.path.clone());
        let rows = dataset.into_numbered_rows()?;
        let rows = rows.into_iter().map(|(line, row)| SourceRow::new(row, line, &folder)).collect::<Vec<_>>();
        check_source(source, &rows).map_err(|reason| DatasetError::content(reason, &path))?;
        let mut left_out = BTreeMap::new();
        let mut rows = wanted(source, purpose, rows, &mut left_out);
        if rows.is_empty() {
            return Err(DatasetError::content(none_left(source, purpose, &left_out), &path));
        }
        limit(&mut rows, source.limit, crate::seed::of(seed, &["rows"], number));
        for (reason, n) in left_out {
            *all.left_out.entry(reason).or_default() += n;
        }
        let places = all.rows.len()..all.rows.len() + rows.len();
        all.pass.extend((0..source.repeat).flat_map(|_| places.clone()));
        all.rows.extend(rows);
    }
    Ok(all)
}

/// A misspelt sub-task would otherwise silently take nothing.
fn check_source(source: &DataSource, rows: &[SourceRow]) -> Result<(), String> {
    if source.repeat == 0 {
        return Err("repeat must be at least 1".to_owned());
    }
    let has = |name: &String| rows.iter().any(|row| row.row.subtask.as_ref() == Some(name));
    match source.subtasks.iter().find(|name| !has(name)) {
        Some(name) => Err(format!("no row has the sub-task “{name}”")),
        None => Ok(()),
    }
}

fn wanted(
    source: &DataSource,
    purpose: Purpose,
    rows: Vec<SourceRow>,
    left_out: &mut BTreeMap<&'static str, usize>,
) -> Vec<SourceRow> {
    let kinds = if source.kinds.is_empty() { purpose.kinds() } else { &source.kinds[..] };
    let is_asked_for = |row: &Row| {
        let subtasks = &source.subtasks;
        part_of(row) == source.split
            && kinds.contains(&row.kind)
            && (subtasks.is_empty() || row.subtask.as_ref().is_some_and(|name| subtasks.contains(name)))
    };
    let mut is_usable = |row: &Row| {
        let fault = purpose.fault(row).filter(|_| !is_enough(source, purpose, row));
        if let Some(reason) = fault {
            *left_out.entry(reason).or_default() += 1;
        }
        fault.is_none()
    };
    rows.into_iter().filter(|row| is_asked_for(&row.row) && is_usable(&row.row)).collect()
}

/// Whether a source takes this answer as it is, with or without stages.
fn is_enough(source: &DataSource, purpose: Purpose, row: &Row) -> bool {
    source.without_stages
        && purpose == Purpose::ColdStart
        && answer_text(row).is_some_and(|text| !text.trim().is_empty())
}

fn none_left(source: &DataSource, purpose: Purpose, left_out: &BTreeMap<&'static str, usize>) -> String {
    let part = split_name(source.split);
    let reasons: Vec<String> = left_out.iter().map(|(reason, n)| format!("{n} rows: {reason}")).collect();
    let why = match reasons.as_slice() {
        [] => "none is of that part, of a kind that is wanted and of a sub-task that is wanted".to_owned(),
        reasons => reasons.join("; "),
    };
    format!("no row of the part “{part}” can be used for {} ({why})", purpose.name())
}

/// Keeps at most `most` rows (0: all), drawn by the seed, in their order.
fn limit(rows: &mut Vec<SourceRow>, most: usize, seed: u64) {
    if most == 0 || most >= rows.len() {
        return;
    }
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let mut is_kept = vec![false; rows.len()];
    order.iter().take(most).for_each(|&at| is_kept[at] = true);
    let mut kept = is_kept.into_iter();
    rows.retain(|_| kept.next().unwrap_or(false));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::for_tests::{question, staged};
    use crate::dataset::write_whole;
    use crate::rows::Split;

    fn source(folder: &Path, more: &str) -> DataSource {
        toml::from_str(&format!("folder = '{}'\n{more}", folder.display())).unwrap()
    }

    /// 40 questions of two sub-tasks, the last four held out, 10 captions and two questions with a label alone.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut rows: Vec<Row> = (0..40)
            .map(|n| Row {
                subtask: Some(if n % 2 == 0 { "architecture" } else { "necrosis" }.to_owned()),
                split: (n >= 36).then_some(Split::Validation),
                ..question(&format!("q{n}"), &format!("img/{n}.png"))
            })
            .collect();
        rows.extend((0..10).map(|n| Row::from_caption(format!("c{n}"), "img/0.png", "Nests.")));
        rows.extend((0..2).map(|n| Row { answer: None, ..question(&format!("l{n}"), "img/0.png") }));
        write_whole(&folder.path().join("rows.jsonl"), &rows).unwrap();
        folder
    }

    fn ids(rows: &SourceRows) -> Vec<&str> {
        rows.rows.iter().map(|row| row.row.id.as_str()).collect()
    }

    #[test]
    fn each_stage_gets_the_rows_that_it_can_use() {
        let folder = folder();
        let all = [source(folder.path(), "")];
        let read = |purpose| read_sources(&all, purpose, 1).unwrap();
        assert_eq!(read(Purpose::Alignment).rows.len(), 10);
        let cold_start = read(Purpose::ColdStart);
        assert_eq!((cold_start.rows.len(), &cold_start.left_out["there is only a label"]), (36, &2));
        assert_eq!(read(Purpose::Grpo).rows.len(), 38);
        assert_eq!(cold_start.rows[3].images, [folder.path().join("img/3.png")]);
        assert_eq!((cold_start.rows[3].line, read(Purpose::Alignment).rows[0].line), (4, 41));
        assert_eq!(cold_start.pass, (0..36).collect::<Vec<_>>());
        let held_out = [source(folder.path(), "split = 'validation'\nkinds = ['choice']")];
        assert_eq!(read_sources(&held_out, Purpose::Evaluation, 1).unwrap().rows.len(), 4);
    }

    #[test]
    fn answers_without_stages_are_learned_where_the_source_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let plain = Row {
            answer: Some(RowAnswer::Text { text: "Nests.".to_owned() }),
            ..question("plain", "img/0.png")
        };
        let label = Row { answer: None, ..question("label", "img/0.png") };
        write_whole(&folder.path().join("rows.jsonl"), &[plain, label]).unwrap();
        let read = |more: &str, purpose| {
            read_sources(&[source(folder.path(), more)], purpose, 1).map(|r| r.rows.len())
        };
        let refused = read("", Purpose::ColdStart).unwrap_err().to_string();
        assert!(refused.contains("1 rows: the answer has no stages"), "{refused}");
        assert_eq!(read("without_stages = true", Purpose::ColdStart).unwrap(), 1, "a label is no text");
    }

    #[test]
    fn a_limit_is_drawn_by_the_seed_and_a_smaller_one_is_a_part_of_it() {
        let folder = folder();
        let read = |limit: usize, seed| {
            let source = source(folder.path(), &format!("limit = {limit}\nsubtasks = ['necrosis']"));
            read_sources(&[source], Purpose::ColdStart, seed).unwrap()
        };
        let (few, more) = (read(5, 1), read(10, 1));
        assert_eq!((few.rows.len(), more.rows.len(), read(500, 1).rows.len()), (5, 10, 18));
        assert!(ids(&few).iter().all(|id| ids(&more).contains(id)));
        assert_eq!(ids(&more), ids(&read(10, 1)));
        assert_ne!(ids(&more), ids(&read(10, 2)));
    }

    #[test]
    fn a_row_comes_as_often_as_its_source_says() {
        let folder = folder();
        let sources = [source(folder.path(), "limit = 2"), source(folder.path(), "limit = 1\nrepeat = 3")];
        let read = read_sources(&sources, Purpose::Alignment, 1).unwrap();
        assert_eq!((read.rows.len(), read.pass), (3, vec![0, 1, 2, 2, 2]));
    }

    #[test]
    fn a_source_that_gives_nothing_is_refused_with_the_reason() {
        let folder = folder();
        let refused = |more: &str, purpose| {
            read_sources(&[source(folder.path(), more)], purpose, 1).unwrap_err().to_string()
        };
        let error = refused("split = 'test'", Purpose::Grpo);
        assert!(error.starts_with("no row of the part “test” can be used for GRPO"), "{error}");
        assert!(error.ends_with("rows.jsonl"), "{error}");
        assert!(refused("subtasks = ['necroses']", Purpose::Grpo).contains("“necroses”"));
        assert!(refused("kinds = ['caption']", Purpose::Grpo).contains("10 rows: a caption is no question"));
        assert!(refused("repeat = 0", Purpose::Grpo).contains("repeat"));
    }

    #[test]
    fn an_answer_without_one_of_its_stages_is_no_example_of_a_chain() {
        let row = question("a", "x.png");
        assert_eq!(Purpose::ColdStart.fault(&row), None);
        let lacking = Row { answer: Some(RowAnswer::Staged(staged(" ", "So.", "B) nests"))), ..row };
        assert_eq!(Purpose::ColdStart.fault(&lacking), Some("the answer has no Observation"));
        assert_eq!(Purpose::Grpo.fault(&lacking), None);
    }
}
