//! Whether a data set can be trained on, told before a run begins: broken rows, missing images, leakage between its
//! parts, answers without stages, rows that are too long.
//!
//! Each finding is a sentence with what to do, a count, and the places. Whether an answer is true nobody can tell here.

mod content;
mod images;
mod leakage;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use rayon::prelude::*;
use reinpath_model::package::PatchSpec;
use serde::{Deserialize, Serialize};

use super::Dataset;
use super::source::Purpose;
use super::text::{Measure, part_of};
use crate::rows::{Row, Split};
use crate::subtask::Subtasks;

/// What a data set is held against.
#[derive(Clone, Copy)]
pub struct CheckOptions<'a> {
    /// The sub-tasks that rows may name.
    pub subtasks: &'a Subtasks,
    /// Reads every image to its end instead of its header alone, and compares pixels between the parts.
    pub decode: bool,
    /// The patch that the package was made for.
    pub patch: Option<PatchSpec>,
    /// How long rows are for the package, where one is given.
    pub measure: Option<&'a dyn Measure>,
}

impl<'a> CheckOptions<'a> {
    /// What can be checked without a package.
    pub fn new(subtasks: &'a Subtasks) -> Self {
        Self { subtasks, decode: false, patch: None, measure: None }
    }
}

/// What can be wrong with a data set; what would stop a run, or make its figures worthless, comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    NoRows,
    BrokenRow,
    RepeatedId,
    MissingImage,
    UnreadableImage,
    ImageMark,
    TooLong,
    Leakage,
    /// From here on a run goes on.
    WithoutText,
    WithoutStages,
    Unformatted,
    OtherConclusion,
    RepeatedChoice,
    UnknownSubtask,
    StrayEmphasis,
    LongAnswer,
    Scale,
    UnknownOrigin,
    NotHeldOut,
}

impl FindingKind {
    /// Whether a run could not go on with it, or what it then reports would not be true.
    pub fn stops(self) -> bool {
        self < Self::WithoutText
    }
}

/// Where something was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Line of the file of rows, from 1; 0 where it is about the whole.
    pub line: usize,
    /// The row's id; empty where the line is no row.
    pub id: String,
    pub detail: String,
}

impl Place {
    fn new(line: usize, row: &Row, detail: impl Into<String>) -> Self {
        Self { line, id: row.id.clone(), detail: detail.into() }
    }

    fn whole(detail: impl Into<String>) -> Self {
        Self { line: 0, id: String::new(), detail: detail.into() }
    }
}

/// All of one kind that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub kind: FindingKind,
    pub stops: bool,
    /// What it means and what can be done.
    pub sentence: String,
    pub count: usize,
    pub places: Vec<Place>,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckReport {
    pub path: PathBuf,
    pub rows: usize,
    /// Image files, each counted once.
    pub images: usize,
    pub parts: BTreeMap<Split, usize>,
    /// How many rows each stage can use, of the kinds that it takes by itself.
    pub usable: BTreeMap<Purpose, usize>,
    /// Tokens of the longest row, and how many the package reads.
    pub longest: Option<usize>,
    pub limit: Option<usize>,
    /// What stops a run comes first.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

impl CheckReport {
    /// How many kinds of findings would stop a run.
    pub fn stops(&self) -> usize {
        self.findings.iter().filter(|finding| finding.stops).count()
    }
}

/// A kind of finding and one place of it.
type Found = (FindingKind, Place);

/// Looks a data set through. Rows and images are read on all cores; the findings come in the order of the lines.
pub fn check(dataset: &Dataset, options: &CheckOptions<'_>) -> CheckReport {
    let rows: Vec<(usize, &Row)> = dataset.rows().collect();
    let mut found: Vec<Found> = broken(dataset);
    found.extend(repeated_ids(&rows));
    let lengths: Vec<(Option<usize>, Vec<Found>)> =
        rows.par_iter().map(|&(line, row)| content::look(line, row, options)).collect();
    let longest = lengths.iter().filter_map(|(length, _)| *length).max();
    found.extend(lengths.into_iter().flat_map(|(_, found)| found));
    let (images, of_images) = images::look(&dataset.folder, &rows, options);
    found.extend(of_images);
    found.extend(leakage::look(&rows, &images));

    let mut parts = BTreeMap::new();
    for (_, row) in &rows {
        *parts.entry(part_of(row)).or_default() += 1;
    }
    if parts.len() == 1 && parts.contains_key(&Split::Train) {
        let detail = format!("all {} rows belong to the part train", rows.len());
        found.push((FindingKind::NotHeldOut, Place::whole(detail)));
    }
    let usable = Purpose::ALL.map(|purpose| {
        let is_usable = |row: &Row| purpose.kinds().contains(&row.kind) && purpose.fault(row).is_none();
        (purpose, rows.iter().filter(|(_, row)| is_usable(row)).count())
    });
    CheckReport {
        path: dataset.path.clone(),
        rows: rows.len(),
        images: images.len(),
        parts,
        usable: usable.into_iter().collect(),
        longest,
        limit: options.measure.map(Measure::limit),
        findings: report::findings(found),
    }
}

fn broken(dataset: &Dataset) -> Vec<Found> {
    if dataset.lines.is_empty() {
        return vec![(FindingKind::NoRows, Place::whole("the file has no line"))];
    }
    let faults = dataset.lines.iter().filter_map(|line| Some((line.number, line.row.as_ref().err()?)));
    faults
        .map(|(line, reason)| Place { line, id: String::new(), detail: reason.clone() })
        .map(|place| (FindingKind::BrokenRow, place))
        .collect()
}

fn repeated_ids(rows: &[(usize, &Row)]) -> Vec<Found> {
    let mut seen = BTreeSet::new();
    rows.iter()
        .filter(|(_, row)| !seen.insert(row.id.as_str()))
        .map(|(line, row)| {
            (FindingKind::RepeatedId, Place::new(*line, row, "an earlier row has the same id"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::dataset::for_tests::{question, save_picture, staged};
    use crate::dataset::{Lengths, write_whole};
    use crate::rows::{RowAnswer, RowKind};

    /// A data set of these rows, all of whose images are there.
    fn report(rows: &[Row]) -> CheckReport {
        let folder = tempfile::tempdir().unwrap();
        for image in rows.iter().flat_map(|row| &row.images) {
            save_picture(&folder.path().join(image), 8, 8);
        }
        report_in(folder.path(), rows, &CheckOptions::new(&Subtasks::shipped()))
    }

    fn report_in(folder: &Path, rows: &[Row], options: &CheckOptions<'_>) -> CheckReport {
        write_whole(&folder.join("rows.jsonl"), rows).unwrap();
        check(&Dataset::read(folder).unwrap(), options)
    }

    fn kinds(report: &CheckReport) -> Vec<FindingKind> {
        report.findings.iter().map(|finding| finding.kind).collect()
    }

    fn held_out() -> Row {
        Row { split: Some(Split::Test), patient: Some("p9".to_owned()), ..question("held out", "test.png") }
    }

    fn good(id: &str) -> Row {
        Row { patient: Some("p1".to_owned()), ..question(id, &format!("{id}.png")) }
    }

    #[test]
    fn nothing_is_found_in_a_good_data_set() {
        let report = report(&[good("a"), good("b"), held_out()]);
        assert!(report.findings.is_empty(), "{report}");
        assert_eq!((report.rows, report.images, report.stops()), (3, 3, 0));
        assert_eq!((report.parts[&Split::Train], report.parts[&Split::Test]), (2, 1));
        assert_eq!((report.usable[&Purpose::Alignment], report.usable[&Purpose::Grpo]), (0, 3));
    }

    #[test]
    fn what_rows_say_is_held_against_itself() {
        let other = Row { label: Some("A".to_owned()), ..good("other") };
        let stages = Row { answer: Some(RowAnswer::Text { text: "Nests.".to_owned() }), ..good("stages") };
        let heading = staged("Nests.\n[Analysis]\nTwice.", "So.", "B) nests");
        let heading = Row { answer: Some(RowAnswer::Staged(heading)), ..good("heading") };
        let twice = vec!["nests".to_owned(), "Nests ".to_owned()];
        let twice = Row { choices: twice, ..good("twice") };
        let stray = Row { emphasis: vec!["mucin".to_owned()], ..good("stray") };
        let unknown = Row { subtask: Some("astrology".to_owned()), ..good("unknown") };
        let mark = Row { question: Some("<image>\nWhat?".to_owned()), ..good("mark") };
        let empty = Row { label: Some("x".to_owned()), ..Row::new("empty", "a.png", RowKind::Caption) };
        let empty = Row { patient: Some("p1".to_owned()), ..empty };
        let report = report(&[other, stages, heading, twice, stray, unknown, mark, empty, held_out()]);
        let want = [
            FindingKind::ImageMark,
            FindingKind::WithoutText,
            FindingKind::WithoutStages,
            FindingKind::Unformatted,
            FindingKind::OtherConclusion,
            FindingKind::RepeatedChoice,
            FindingKind::UnknownSubtask,
            FindingKind::StrayEmphasis,
        ];
        assert_eq!(kinds(&report), want, "{report}");
        assert_eq!(report.stops(), 1);
        let conclusion = &report.findings[4];
        assert_eq!((conclusion.places[0].line, conclusion.places[0].id.as_str()), (1, "other"));
        assert!(conclusion.places[0].detail.contains("the label is A"), "{conclusion:?}");
    }

    #[test]
    fn a_conclusion_that_nothing_can_be_read_from_is_found_only_where_there_is_a_label() {
        let vague = RowAnswer::Staged(staged("Blank.", "Nothing.", "Cannot be assessed."));
        let labelled = Row { answer: Some(vague.clone()), ..good("labelled") };
        let unlabelled = Row { answer: Some(vague), label: None, ..good("unlabelled") };
        let report = report(&[labelled, unlabelled, held_out()]);
        assert_eq!((kinds(&report), report.findings[0].count), (vec![FindingKind::OtherConclusion], 1));
    }

    #[test]
    fn rows_are_held_against_the_length_that_the_model_reads() {
        struct Characters;
        impl Measure for Characters {
            fn lengths(&self, row: &Row) -> Result<Lengths, String> {
                Ok(Lengths { prompt: 10, answer: row.id.len() })
            }
            fn limit(&self) -> usize {
                14
            }
            fn answer_limit(&self) -> usize {
                3
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let rows = ["abc", "abcd", "abcde"].map(|id| Row { images: vec!["x.png".to_owned()], ..good(id) });
        save_picture(&folder.path().join("x.png"), 8, 8);
        let subtasks = Subtasks::shipped();
        let options = CheckOptions { measure: Some(&Characters), ..CheckOptions::new(&subtasks) };
        let report = report_in(folder.path(), &rows, &options);
        assert_eq!(kinds(&report)[..2], [FindingKind::TooLong, FindingKind::LongAnswer]);
        assert_eq!((report.findings[0].count, report.findings[1].count), (1, 2));
        assert_eq!((report.longest, report.limit), (Some(15), Some(14)));
        let detail = &report.findings[0].places[0].detail;
        assert!(detail.contains("15") && detail.contains("14"), "{detail}");
    }

    #[test]
    fn broken_lines_and_an_empty_file_stop() {
        let folder = tempfile::tempdir().unwrap();
        let subtasks = Subtasks::shipped();
        let report = report_in(folder.path(), &[], &CheckOptions::new(&subtasks));
        assert_eq!((kinds(&report), report.stops()), (vec![FindingKind::NoRows], 1));
        std::fs::write(folder.path().join("rows.jsonl"), "{\n").unwrap();
        let report = check(&Dataset::read(folder.path()).unwrap(), &CheckOptions::new(&subtasks));
        assert_eq!(kinds(&report), [FindingKind::BrokenRow]);
        let text = report.to_string();
        assert!(text.contains("line 1") && text.contains("Would stop a run"), "{text}");
    }
}
