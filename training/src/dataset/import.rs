//! Rows from data sets as they are published: LLaVA's JSON (`conversations`, also `messages`) and PathGen-1.6M's
//! (`wsi_id`, `position`, `caption`), each as a JSON list or as JSON lines.
//!
//! Records are read one after another, so that memory does not grow with the file. What cannot become a row is left out
//! and counted by its reason; keys that are not ours are kept. Images are not touched: they belong where the rows name
//! them, below the folder that the rows are written to.

mod llava;
mod options;
mod pathgen;
mod records;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use super::DatasetError;
use super::table::{Table, counted, grouped};
use super::text::kind_name;
use crate::rows::{Row, RowKind, Split};

/// What is said of all rows that are imported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportPlan {
    /// Folder in which the images lie, relative to the rows; empty: beside them.
    pub images: String,
    /// Takes every answer as a caption, as in LLaVA's data for the first stage.
    pub captions: bool,
    pub split: Option<Split>,
    pub source: Option<String>,
    pub licence: Option<String>,
}

/// How often something came, and the first record with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Counted {
    pub count: usize,
    /// From 1.
    pub first: usize,
}

/// What an import made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    pub records: usize,
    pub rows: usize,
    pub kinds: BTreeMap<RowKind, usize>,
    /// Records of which no row was made, by the reason.
    pub left_out: BTreeMap<String, Counted>,
    /// What was changed on the way.
    pub notes: BTreeMap<String, Counted>,
}

/// Imports a published file into a file of rows, which appears when it is whole.
///
/// # Errors
/// When a file cannot be read or written, is no JSON, or holds no record that can become a row.
pub fn import(from: &Path, to: &Path, plan: &ImportPlan) -> Result<Imported, DatasetError> {
    let part = to.with_extension("jsonl.part");
    let mut writer = Writer {
        plan,
        part: &part,
        file: BufWriter::new(File::create(&part).map_err(DatasetError::write(&part))?),
        ids: HashSet::new(),
        done: Imported::default(),
    };
    let read = records::for_each(from, &mut |number, record| writer.add(number, record));
    let finished = read.and_then(|()| writer.finish(from));
    match finished {
        Ok(done) => std::fs::rename(&part, to).map_err(DatasetError::write(to)).map(|()| done),
        Err(error) => {
            // The error that is returned says why; a part of a file is of no use.
            std::fs::remove_file(&part).ok();
            Err(error)
        }
    }
}

/// A record that became rows.
struct Made {
    rows: Vec<Row>,
    /// What was changed on the way.
    note: Option<&'static str>,
}

struct Writer<'a> {
    plan: &'a ImportPlan,
    part: &'a Path,
    file: BufWriter<File>,
    /// Ids that are taken.
    ids: HashSet<String>,
    done: Imported,
}

impl Writer<'_> {
    fn add(&mut self, number: usize, record: Value) -> Result<(), DatasetError> {
        self.done.records += 1;
        let made = rows_of(record, number, self.plan).and_then(|made| {
            made.rows.iter().try_for_each(Row::check)?;
            Ok(made)
        });
        match made {
            Err(reason) => count(&mut self.done.left_out, reason, number),
            Ok(made) => {
                if let Some(note) = made.note {
                    count(&mut self.done.notes, note.to_owned(), number);
                }
                for row in made.rows {
                    self.write(row, number)?;
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, mut row: Row, number: usize) -> Result<(), DatasetError> {
        if self.ids.contains(&row.id) {
            // One more than there are ids: one of them is free.
            let mut numbered = (2..self.ids.len() + 3).map(|n| format!("{}~{n}", row.id));
            row.id = numbered.find(|id| !self.ids.contains(id)).unwrap_or_default();
            count(&mut self.done.notes, "an id that was there already got a number".to_owned(), number);
        }
        self.ids.insert(row.id.clone());
        self.done.rows += 1;
        *self.done.kinds.entry(row.kind).or_default() += 1;
        let line = serde_json::to_vec(&row).map_err(std::io::Error::other);
        let written = line.and_then(|mut line| {
            line.push(b'\n');
            self.file.write_all(&line)
        });
        written.map_err(DatasetError::write(self.part))
    }

    fn finish(mut self, from: &Path) -> Result<Imported, DatasetError> {
        self.file.flush().map_err(DatasetError::write(self.part))?;
        if self.done.rows > 0 {
            return Ok(self.done);
        }
        let most = self.done.left_out.iter().max_by_key(|(_, counted)| counted.count);
        let why = most.map_or("it holds no record", |(reason, _)| reason.as_str());
        Err(DatasetError::content(format!("no row can be made of this file: {why}"), from))
    }
}

fn count(counts: &mut BTreeMap<String, Counted>, what: String, number: usize) {
    counts.entry(what).or_insert(Counted { count: 0, first: number }).count += 1;
}

fn rows_of(record: Value, number: usize, plan: &ImportPlan) -> Result<Made, String> {
    let Value::Object(record) = record else { return Err("the record is no object".to_owned()) };
    let has = |key: &str| record.contains_key(key);
    let mut made = if has("conversations") || has("messages") {
        llava::rows(record, number, plan)?
    } else if has("caption") && has("wsi_id") {
        pathgen::rows(record)?
    } else {
        return Err(
            "the record is neither LLaVA's (conversations) nor PathGen's (wsi_id, position, caption)"
                .to_owned(),
        );
    };
    for row in &mut made.rows {
        for image in &mut row.images {
            *image = below(&plan.images, image);
        }
        row.split = row.split.or(plan.split);
        row.source = plan.source.clone().or(row.source.take());
        row.licence = plan.licence.clone().or(row.licence.take());
    }
    Ok(made)
}

fn below(folder: &str, image: &str) -> String {
    match folder.trim_end_matches('/') {
        "" => image.to_owned(),
        folder => format!("{folder}/{image}"),
    }
}

/// What a record says beside question and answer: our keys by their meaning, the others as they are.
fn keep(row: &mut Row, record: &Map<String, Value>) {
    // What a row would be read by, but for those keys of text that are taken over.
    const OURS: [&str; 16] = [
        "kind", "question", "choices", "answer", "label", "region", "mpp", "split", "emphasis", "images",
        "slide", "patient", "subtask", "context", "source", "licence",
    ];
    for (key, value) in record {
        match (key.as_str(), value.as_str()) {
            ("slide" | "wsi_id", Some(text)) => row.slide = Some(text.to_owned()),
            ("patient", Some(text)) => row.patient = Some(text.to_owned()),
            ("subtask", Some(text)) => row.subtask = Some(text.to_owned()),
            ("context", Some(text)) => row.context = Some(text.to_owned()),
            ("source", Some(text)) => row.source = Some(text.to_owned()),
            ("licence", Some(text)) => row.licence = Some(text.to_owned()),
            (key, _) if OURS.contains(&key) => {
                row.more.insert(format!("imported_{key}"), value.clone());
            }
            (key, _) => {
                row.more.insert(key.to_owned(), value.clone());
            }
        }
    }
    let named = row.slide.iter().chain(&row.images).find_map(|text| tcga_patient(text));
    row.patient = row.patient.take().or(named);
}

/// The participant of a TCGA barcode in a text, such as `TCGA-21-1083` in `TCGA-LUSC/TCGA-21-1083-01Z-00-DX1.pt`.
fn tcga_patient(text: &str) -> Option<String> {
    text.match_indices("TCGA-").find_map(|(at, _)| {
        let barcode = text.get(at..at + 12)?;
        let is_part = |part: &str| part.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        let parts: Vec<&str> = barcode.split('-').collect();
        let fits = matches!(parts.as_slice(), [_, site, person] if site.len() == 2 && is_part(site) && is_part(person));
        fits.then(|| barcode.to_owned())
    })
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (records, rows) = (counted(self.records, "record", "records"), counted(self.rows, "row", "rows"));
        writeln!(f, "{records} gave {rows}.\n")?;
        let mut kinds = Table::new(&["kind", "rows"]);
        for (&kind, &n) in &self.kinds {
            kinds.row(vec![kind_name(kind).to_owned(), grouped(n)]);
        }
        write!(f, "{kinds}")?;
        for (title, counts) in [("Left out", &self.left_out), ("Changed", &self.notes)] {
            if !counts.is_empty() {
                writeln!(f, "\n{title}:")?;
            }
            for (what, Counted { count, first }) in counts {
                writeln!(f, "- {}, the first is {first}: {what}", counted(*count, "record", "records"))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Dataset;

    fn imported(text: &str, plan: &ImportPlan) -> Result<(Imported, Vec<Row>), String> {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("data.json"), folder.path().join("rows.jsonl"));
        std::fs::write(&from, text).unwrap();
        let done = import(&from, &to, plan);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1 + usize::from(done.is_ok()));
        let done = done.map_err(|error| error.to_string())?;
        Ok((done, Dataset::read(&to).unwrap().into_rows().unwrap()))
    }

    const PATHGEN: &str = r#"{"wsi_id": "TCGA-F7-A50J-01Z-00-DX1.D754", "position": ["21408", "27328"],
        "caption": "Pleomorphic cells.", "file_id": "f1"}"#;

    #[test]
    fn pathgen_becomes_captions_with_slide_patient_and_region() {
        let plan = ImportPlan {
            images: "img/".to_owned(),
            licence: Some("mine".to_owned()),
            ..ImportPlan::default()
        };
        let (done, rows) = imported(&format!("\n[{PATHGEN}]"), &plan).unwrap();
        assert_eq!((done.records, done.rows, done.kinds[&RowKind::Caption]), (1, 1, 1));
        let row = &rows[0];
        assert_eq!(row.images, ["img/TCGA-F7-A50J-01Z-00-DX1.D754/21408_27328.jpg"]);
        assert_eq!(
            (row.patient.as_deref(), row.region),
            (Some("TCGA-F7-A50J"), Some([21408.0, 27328.0, 672.0, 672.0]))
        );
        assert_eq!((row.licence.as_deref(), row.mpp), (Some("mine"), None));
        assert_eq!(row.more["file_id"], "f1");
    }

    #[test]
    fn what_cannot_become_a_row_is_counted_and_ids_stay_their_own() {
        let line = PATHGEN.replace('\n', " ");
        let odd = r#"{"wsi_id": "s", "position": ["x", "1"], "caption": "Cells."}"#;
        let outside =
            r#"{"id": 1, "image": "../x.png", "conversations": [{"from": "human", "value": "<image>What?"},
            {"from": "gpt", "value": "Cells."}]}"#
                .replace('\n', " ");
        let text = format!("{line}\n{line}\n\n{odd}\n7\n{outside}\n");
        let (done, rows) = imported(&text, &ImportPlan::default()).unwrap();
        assert_eq!((done.records, done.rows, done.left_out.len()), (5, 2, 3));
        assert!(done.left_out.keys().any(|reason| reason.contains("folder")), "{done}");
        assert!(rows[1].id.ends_with("~2") && done.notes.len() == 1, "{done}");
        assert!(done.to_string().starts_with("5 records gave 2 rows."), "{done}");
    }

    #[test]
    fn a_file_that_gives_nothing_is_refused_with_the_reason_and_leaves_nothing() {
        let refused = |text: &str| imported(text, &ImportPlan::default()).unwrap_err();
        assert!(refused("[{\"a\": 1}]").contains("neither LLaVA's"));
        assert!(refused("[]").contains("no record"));
        assert!(refused("").contains("no record"));
        let cut = refused(&format!("[{PATHGEN},"));
        assert!(cut.contains("EOF") && cut.ends_with("data.json"), "{cut}");
        let line = refused(&format!("{}\n{{\n", PATHGEN.replace('\n', " ")));
        assert!(line.starts_with("line 2: "), "{line}");
        assert!(refused("no JSON").starts_with("line 1: "));
    }

    #[test]
    fn patients_are_read_from_barcodes_alone() {
        let slide = "TCGA-LUSC/TCGA-21-1083-01Z-00-DX1.8288ca92.pt";
        assert_eq!(tcga_patient(slide).as_deref(), Some("TCGA-21-1083"));
        for text in ["TCGA-LUSC/x.pt", "TCGA-21-10", "slide-7", "TCGA-21-108é-"] {
            assert_eq!(tcga_patient(text), None, "{text}");
        }
    }
}
