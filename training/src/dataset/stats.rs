//! What a data set holds: rows and mean answer length by sub-task (as the paper's Fig. 2 b), by kind and by part, and how
//! often each label is the right one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use rayon::prelude::*;
use serde::Serialize;

use super::Dataset;
use super::table::{Table, counted, grouped};
use super::text::{Measure, answer_text, kind_name, part_of, split_name, words};
use crate::rows::{Row, RowKind, Split};
use crate::subtask::Subtasks;

/// What answers are measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Words,
    /// Of a package's tokenizer, the one that ends an answer included.
    Tokens,
}

/// Figures of some rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Group {
    pub rows: usize,
    /// Rows that have an answer.
    pub answers: usize,
    /// Mean length of those answers as they are trained, headings included; 0 where there is none.
    pub mean_length: f64,
    pub longest: usize,
    /// Rows of each kind.
    pub kinds: BTreeMap<RowKind, usize>,
}

/// Figures of a sub-task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SubtaskStats {
    /// The domain that the list of sub-tasks puts it in; `None` where it does not have it.
    pub domain: Option<String>,
    /// `None`: rows without a sub-task.
    pub subtask: Option<String>,
    #[serde(flatten)]
    pub group: Group,
}

/// Figures of a data set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stats {
    pub path: PathBuf,
    pub unit: Unit,
    /// Lines that are no rows; they are not counted anywhere else.
    pub broken: usize,
    pub all: Group,
    /// Files, patients and slides, each counted once.
    pub images: usize,
    pub patients: usize,
    pub slides: usize,
    /// In the order of the list of sub-tasks, then by name.
    pub subtasks: Vec<SubtaskStats>,
    pub parts: BTreeMap<Split, Group>,
    /// How often each label is the right one, of choice and true/false questions.
    pub labels: BTreeMap<RowKind, BTreeMap<String, usize>>,
}

/// Counts a data set. Answers are measured in tokens where a measure is given, else in words.
///
/// # Errors
/// When a row cannot be measured: one sentence.
pub fn stats(dataset: &Dataset, subtasks: &Subtasks, measure: Option<&dyn Measure>) -> Result<Stats, String> {
    let rows: Vec<&Row> = dataset.rows().map(|(_, row)| row).collect();
    let lengths: Vec<Option<usize>> =
        rows.par_iter().map(|row| answer_length(row, measure)).collect::<Result<_, _>>()?;
    let group = |belongs: &dyn Fn(&Row) -> bool| {
        Group::of(rows.iter().zip(&lengths).filter(|(row, _)| belongs(row)).map(|(row, n)| (*row, *n)))
    };
    let present: BTreeSet<Option<&str>> = rows.iter().map(|row| row.subtask.as_deref()).collect();
    let subtasks = in_order(subtasks, &present)
        .into_iter()
        .map(|(domain, name)| SubtaskStats {
            domain: domain.map(str::to_owned),
            subtask: name.map(str::to_owned),
            group: group(&|row| row.subtask.as_deref() == name),
        })
        .collect();
    let parts: BTreeSet<Split> = rows.iter().map(|row| part_of(row)).collect();
    let parts = parts.into_iter().map(|part| (part, group(&|row| part_of(row) == part))).collect();
    let mut labels: BTreeMap<RowKind, BTreeMap<String, usize>> = BTreeMap::new();
    for row in rows.iter().filter(|row| [RowKind::Choice, RowKind::TrueFalse].contains(&row.kind)) {
        let label = row.label.clone().unwrap_or_else(|| "none".to_owned());
        *labels.entry(row.kind).or_default().entry(label).or_default() += 1;
    }
    let distinct = |name: &dyn Fn(&Row) -> Option<&str>| {
        rows.iter().filter_map(|&row| name(row)).collect::<BTreeSet<_>>().len()
    };
    Ok(Stats {
        path: dataset.path.clone(),
        unit: if measure.is_some() { Unit::Tokens } else { Unit::Words },
        broken: dataset.lines.len() - rows.len(),
        all: group(&|_| true),
        images: rows.iter().flat_map(|row| &row.images).collect::<BTreeSet<_>>().len(),
        patients: distinct(&|row| row.patient.as_deref()),
        slides: distinct(&|row| row.slide.as_deref()),
        subtasks,
        parts,
        labels,
    })
}

fn answer_length(row: &Row, measure: Option<&dyn Measure>) -> Result<Option<usize>, String> {
    let Some(text) = answer_text(row) else { return Ok(None) };
    match measure {
        None => Ok(Some(words(&text))),
        Some(measure) => measure.lengths(row).map(|lengths| Some(lengths.answer)),
    }
}

/// The sub-tasks that rows have, with their domains: those of the list in its order, then the others, then none.
fn in_order<'a>(
    subtasks: &'a Subtasks,
    present: &BTreeSet<Option<&'a str>>,
) -> Vec<(Option<&'a str>, Option<&'a str>)> {
    let listed: Vec<(Option<&str>, Option<&str>)> = subtasks
        .domains
        .iter()
        .flat_map(|domain| {
            domain.subtasks.iter().map(|s| (Some(domain.name.as_str()), Some(s.name.as_str())))
        })
        .filter(|(_, name)| present.contains(name))
        .collect();
    let is_listed = |name: &str| subtasks.get(name).is_some();
    let others = present.iter().flatten().filter(|name| !is_listed(name)).map(|&name| (None, Some(name)));
    let none = present.contains(&None).then_some((None, None));
    listed.iter().copied().chain(others).chain(none).collect()
}

impl Group {
    fn of<'a>(rows: impl Iterator<Item = (&'a Row, Option<usize>)>) -> Self {
        let (mut group, mut sum) = (Self::default(), 0);
        for (row, length) in rows {
            group.rows += 1;
            *group.kinds.entry(row.kind).or_default() += 1;
            if let Some(length) = length {
                group.answers += 1;
                group.longest = group.longest.max(length);
                sum += length;
            }
        }
        group.mean_length = if group.answers == 0 { 0.0 } else { sum as f64 / group.answers as f64 };
        group
    }

    fn cells(&self) -> Vec<String> {
        const KINDS: [RowKind; 4] = [RowKind::Caption, RowKind::Open, RowKind::Choice, RowKind::TrueFalse];
        let of_kind = |kind| grouped(self.kinds.get(&kind).copied().unwrap_or(0));
        let length = if self.answers == 0 { "–".to_owned() } else { format!("{:.1}", self.mean_length) };
        let mut cells = vec![grouped(self.rows)];
        cells.extend(KINDS.map(of_kind));
        cells.extend([length, grouped(self.longest)]);
        cells
    }
}

impl Stats {
    fn table(&self, first: &str) -> Table {
        let mean = match self.unit {
            Unit::Words => "mean words",
            Unit::Tokens => "mean tokens",
        };
        Table::new(&[first, "rows", "caption", "open", "choice", "true/false", mean, "longest"])
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let things = [
            counted(self.all.rows, "row", "rows"),
            counted(self.images, "image", "images"),
            counted(self.slides, "slide", "slides"),
            counted(self.patients, "patient", "patients"),
        ];
        writeln!(f, "{}: {}.", self.path.display(), things.join(", "))?;
        if self.broken > 0 {
            let lines = counted(self.broken, "line is", "lines are");
            writeln!(f, "{lines} no row and not counted; `dataset check` names them.")?;
        }
        let mut subtasks = self.table("sub-task");
        for SubtaskStats { domain, subtask, group } in &self.subtasks {
            let name = subtask.as_deref().unwrap_or("(none)");
            let name = domain.as_ref().map_or(name.to_owned(), |domain| format!("{domain}: {name}"));
            subtasks.row([vec![name], group.cells()].concat());
        }
        subtasks.row([vec!["all".to_owned()], self.all.cells()].concat());
        let mut parts = self.table("part");
        for (&part, group) in &self.parts {
            parts.row([vec![split_name(part).to_owned()], group.cells()].concat());
        }
        write!(f, "\n{subtasks}\n{parts}")?;
        for (&kind, labels) in &self.labels {
            let all: usize = labels.values().sum();
            let shares: Vec<String> = labels
                .iter()
                .map(|(label, &n)| format!("{label} {:.1} %", 100.0 * n as f64 / all as f64))
                .collect();
            write!(f, "\nRight answers of {}: {}.", kind_name(kind), shares.join(", "))?;
        }
        if self.labels.is_empty() { Ok(()) } else { writeln!(f) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::for_tests::question;
    use crate::dataset::{Lengths, write_whole};

    fn dataset(rows: &[Row]) -> Dataset {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        write_whole(&path, rows).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}broken\n")).unwrap();
        Dataset::read(folder.path()).unwrap()
    }

    #[test]
    fn rows_and_lengths_are_counted_by_subtask_part_and_label() {
        let rows = [
            Row { subtask: Some("mine".to_owned()), ..question("a", "x.png") },
            Row { split: Some(Split::Test), slide: Some("s1".to_owned()), ..question("b", "x.png") },
            Row { label: Some("A".to_owned()), answer: None, ..question("c", "y.png") },
            Row::from_caption("d", "y.png", "Two words."),
        ];
        let stats = stats(&dataset(&rows), &Subtasks::shipped(), None).unwrap();
        assert_eq!(
            (stats.all.rows, stats.broken, stats.images, stats.slides, stats.patients),
            (4, 1, 2, 1, 0)
        );
        let names: Vec<Option<&str>> = stats.subtasks.iter().map(|s| s.subtask.as_deref()).collect();
        assert_eq!(names, [Some("architecture"), Some("mine"), None]);
        assert_eq!((stats.subtasks[0].domain.is_some(), stats.subtasks[1].domain.is_some()), (true, false));
        let architecture = &stats.subtasks[0].group;
        assert_eq!((architecture.rows, architecture.answers, architecture.mean_length), (2, 1, 11.0));
        assert_eq!(stats.subtasks[2].group.mean_length, 2.0);
        assert_eq!((stats.parts[&Split::Train].rows, stats.parts[&Split::Test].rows), (3, 1));
        assert_eq!(
            stats.labels[&RowKind::Choice],
            BTreeMap::from([("A".to_owned(), 1), ("B".to_owned(), 2)])
        );
        let text = stats.to_string();
        assert!(text.contains("(none)") && text.contains("A 33.3 %, B 66.7 %"), "{text}");
    }

    #[test]
    fn answers_are_measured_in_tokens_where_a_tokenizer_is_given() {
        struct Seven;
        impl Measure for Seven {
            fn lengths(&self, row: &Row) -> Result<Lengths, String> {
                if row.id == "bad" { Err("no".to_owned()) } else { Ok(Lengths { prompt: 3, answer: 7 }) }
            }
            fn limit(&self) -> usize {
                100
            }
            fn answer_limit(&self) -> usize {
                100
            }
        }
        let subtasks = Subtasks::shipped();
        let stats_of = |id: &str| stats(&dataset(&[question(id, "x.png")]), &subtasks, Some(&Seven));
        let good = stats_of("a").unwrap();
        assert_eq!((good.unit, good.all.mean_length, good.all.longest), (Unit::Tokens, 7.0, 7));
        assert_eq!(stats_of("bad").unwrap_err(), "no");
    }
}
