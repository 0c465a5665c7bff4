//! Rows of a data set: `rows.jsonl`, one JSON object a line, beside a folder of images.
//!
//! The format is `../shared/design/formats.md`, Row of a data set. A row is checked as it is read, since data sets
//! come from strangers: an image path cannot leave the data set's folder. Keys that this program does not know are
//! kept and written back. The images themselves are not opened here.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Component, Path, PathBuf};

use reinpath_model::stage::StagedAnswer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::phantom::QuestionItem;
use crate::subtask::QuestionKind;

/// What a row is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RowKind {
    /// A description of the images, for alignment.
    Caption,
    Open,
    Choice,
    TrueFalse,
}

impl From<QuestionKind> for RowKind {
    fn from(kind: QuestionKind) -> Self {
        match kind {
            QuestionKind::Choice => Self::Choice,
            QuestionKind::TrueFalse => Self::TrueFalse,
            QuestionKind::Open => Self::Open,
        }
    }
}

/// Which part of a data set a row belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    Train,
    Validation,
    Test,
}

/// The answer of a row: plain text or the three stages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RowAnswer {
    Text { text: String },
    Staged(StagedAnswer),
}

/// One example: images, a question, its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub id: String,
    /// Paths relative to the folder of `rows.jsonl`.
    pub images: Vec<String>,
    pub kind: RowKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtask: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// Options without letters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<RowAnswer>,
    /// A letter, `True` or `False`, or a name; absent where the images cannot be assessed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Clinical context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slide: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patient: Option<String>,
    /// x, y, width, height in level-0 pixels of the slide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<[f64; 4]>,
    /// Microns per pixel of the images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mpp: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Parts of the answer's text that could be wrong, such as a finding: they may weigh more in supervised training.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emphasis: Vec<String>,
    /// Keys that this program does not know.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

/// Why a file of rows cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    #[error("cannot read the rows: {source}: {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot write the rows: {source}: {}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("line {line}: {reason}: {}", path.display())]
    Line { path: PathBuf, line: usize, reason: String },
}

impl Row {
    /// A row without anything that is optional.
    pub fn new(id: impl Into<String>, image: impl Into<String>, kind: RowKind) -> Self {
        Self {
            id: id.into(),
            images: vec![image.into()],
            kind,
            subtask: None,
            question: None,
            choices: Vec::new(),
            answer: None,
            label: None,
            context: None,
            slide: None,
            patient: None,
            region: None,
            mpp: None,
            split: None,
            source: None,
            licence: None,
            emphasis: Vec::new(),
            more: serde_json::Map::new(),
        }
    }

    /// A caption of one image.
    pub fn from_caption(id: impl Into<String>, image: impl Into<String>, text: impl Into<String>) -> Self {
        let answer = Some(RowAnswer::Text { text: text.into() });
        Self { answer, ..Self::new(id, image, RowKind::Caption) }
    }

    /// A question about a phantom field that lies in one image.
    pub fn from_item(id: impl Into<String>, image: impl Into<String>, item: &QuestionItem) -> Self {
        Self {
            subtask: Some(item.subtask.to_owned()),
            question: Some(item.question.clone()),
            choices: item.choices.clone(),
            answer: Some(RowAnswer::Staged(item.answer.clone())),
            label: item.label.clone(),
            context: item.context.clone(),
            ..Self::new(id, image, item.kind.into())
        }
    }

    /// Parses and checks one line; the error is a sentence without the place.
    pub fn parse(line: &str) -> Result<Self, String> {
        let row: Self = serde_json::from_str(line).map_err(|error| error.to_string())?;
        row.check()?;
        Ok(row)
    }

    /// Whether a row that was made here would be read; the error is a sentence without the place.
    pub fn check(&self) -> Result<(), String> {
        if self.id.trim().is_empty() {
            return Err("the row has no id".to_owned());
        }
        if self.images.is_empty() {
            return Err("the row has no image".to_owned());
        }
        for image in &self.images {
            let is_inside = Path::new(image)
                .components()
                .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
            if image.is_empty() || !is_inside {
                return Err(format!("the image “{image}” does not lie in the data set's folder"));
            }
        }
        if self.kind != RowKind::Caption && self.question.as_ref().is_none_or(|q| q.trim().is_empty()) {
            return Err("the row has no question".to_owned());
        }
        match &self.answer {
            None if self.label.is_none() => return Err("the row has neither answer nor label".to_owned()),
            Some(RowAnswer::Staged(staged)) if staged.conclusion.trim().is_empty() => {
                return Err("the answer has neither a text nor a conclusion".to_owned());
            }
            _ => {}
        }
        self.check_label()?;
        if self.mpp.is_some_and(|mpp| !(mpp.is_finite() && mpp > 0.0)) {
            return Err("mpp must be more than 0".to_owned());
        }
        if self.region.is_some_and(|[_, _, width, height]| width <= 0.0 || height <= 0.0) {
            return Err("the region has no area".to_owned());
        }
        Ok(())
    }

    fn check_label(&self) -> Result<(), String> {
        if self.kind == RowKind::Choice && !(2..=26).contains(&self.choices.len()) {
            return Err("a choice question needs 2 to 26 choices".to_owned());
        }
        let Some(label) = self.label.as_deref() else { return Ok(()) };
        match self.kind {
            RowKind::Choice => {
                let in_range = ('A'..).take(self.choices.len()).any(|letter| label == letter.to_string());
                in_range.then_some(()).ok_or_else(|| format!("the label “{label}” is no letter of a choice"))
            }
            RowKind::TrueFalse if !["True", "False"].contains(&label) => {
                Err(format!("the label “{label}” is neither True nor False"))
            }
            RowKind::TrueFalse | RowKind::Open | RowKind::Caption => Ok(()),
        }
    }
}

/// Reads and checks `rows.jsonl`; empty lines are passed over, an id that is there twice is an error.
pub fn read_rows(path: &Path) -> Result<Vec<Row>, RowsError> {
    let read_error = |source| RowsError::Read { path: path.to_owned(), source };
    let mut rows = Vec::new();
    let mut ids = BTreeSet::new();
    for (index, line) in BufReader::new(File::open(path).map_err(read_error)?).lines().enumerate() {
        let line = line.map_err(read_error)?;
        if line.trim().is_empty() {
            continue;
        }
        let at_line = |reason| RowsError::Line { path: path.to_owned(), line: index + 1, reason };
        let row = Row::parse(&line).map_err(at_line)?;
        if !ids.insert(row.id.clone()) {
            return Err(at_line(format!("the id “{}” is there twice", row.id)));
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Writes `rows.jsonl`.
pub fn write_rows<'a>(path: &Path, rows: impl IntoIterator<Item = &'a Row>) -> Result<(), RowsError> {
    let write = || -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        for row in rows {
            serde_json::to_writer(&mut file, row)?;
            file.write_all(b"\n")?;
        }
        file.flush()
    };
    write().map_err(|source| RowsError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::phantom::balanced_set;

    fn test_file() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/rows-1.jsonl")
    }

    #[test]
    fn todays_program_reads_the_first_files() {
        let rows = read_rows(&test_file()).unwrap();
        assert_eq!(rows.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), ["c1", "o1", "m1", "t1", "u1"]);
        assert_eq!(rows[0].answer, Some(RowAnswer::Text { text: "Tumour nests. No mitoses.".to_owned() }));
        assert_eq!(rows[2].label.as_deref(), Some("B"));
        assert_eq!(rows[2].region, Some([400.0, 600.0, 512.0, 512.0]));
        assert_eq!(rows[2].split, Some(Split::Test));
        let Some(RowAnswer::Staged(staged)) = &rows[2].answer else { panic!("stages expected") };
        assert_eq!(staged.conclusion, "B) tumour nests");
        assert_eq!(rows[1].more["reviewed_by"], "somebody");
        let text = std::fs::read_to_string(test_file()).unwrap();
        for (line, row) in text.lines().zip(&rows) {
            let before: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_value(row).unwrap(), before, "nothing is lost or invented");
        }
    }

    #[test]
    fn items_survive_the_file() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let rows: Vec<Row> = (0..)
            .zip(balanced_set(&mut rng, 300))
            .map(|(n, (_, item))| Row::from_item(format!("q{n}"), format!("img/{n:04}.png"), &item))
            .collect();
        let path = std::env::temp_dir().join(format!("reinpath-rows-{}.jsonl", std::process::id()));
        write_rows(&path, &rows).unwrap();
        let read = read_rows(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read.unwrap(), rows);
    }

    #[test]
    fn wrong_rows_are_refused_with_the_reason() {
        let base = r#""id":"a","images":["x.png"],"question":"What?","answer":{"text":"y"}"#;
        let refused = |json: String| Row::parse(&json).unwrap_err();
        assert!(Row::parse(&format!(r#"{{{base},"kind":"open"}}"#)).is_ok());
        assert!(refused(format!(r#"{{{base},"kind":"poem"}}"#)).contains("poem"));
        assert!(refused(format!(r#"{{{base},"kind":"choice","choices":["a"]}}"#)).contains("2 to 26"));
        let three = refused(format!(r#"{{{base},"kind":"choice","choices":["a","b"],"label":"C"}}"#));
        assert!(three.contains("“C”"));
        assert!(refused(format!(r#"{{{base},"kind":"true_false","label":"yes"}}"#)).contains("yes"));
        assert!(refused(format!(r#"{{{base},"kind":"open","mpp":0}}"#)).contains("mpp"));
        assert!(refused(format!(r#"{{{base},"kind":"open","region":[0,0,0,5]}}"#)).contains("area"));
        for path in ["../x.png", "/etc/passwd", "a/../../x.png", ""] {
            let json = format!(r#"{{"id":"a","images":["{path}"],"kind":"caption","label":"y"}}"#);
            assert!(refused(json).contains("folder"), "{path}");
        }
        let no_answer = r#"{"id":"a","images":["x.png"],"kind":"open","question":"What?"}"#;
        assert!(refused(no_answer.to_owned()).contains("neither"));
        let empty = r#"{"id":"a","images":["x.png"],"kind":"caption","answer":{"txt":"y"}}"#;
        assert!(refused(empty.to_owned()).contains("conclusion"));
    }

    #[test]
    fn errors_name_the_line() {
        let path = std::env::temp_dir().join(format!("reinpath-bad-rows-{}.jsonl", std::process::id()));
        let row = r#"{"id":"a","images":["x.png"],"kind":"caption","label":"y"}"#;
        std::fs::write(&path, format!("{row}\n\n{row}\n")).unwrap();
        let error = read_rows(&path).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(error.starts_with("line 3: the id “a” is there twice"), "{error}");
        assert!(read_rows(Path::new("no/such/rows.jsonl")).unwrap_err().to_string().ends_with("rows.jsonl"));
    }
}
