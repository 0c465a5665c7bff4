//! Reviews as rows to train on: a folder with `rows.jsonl`, the images beside it, and `preference.jsonl`.
//!
//! A row is an answer of which every sentence stands, accepted or edited, as it reads with its edits: the cold start learns from it, and
//! GRPO from those whose question has options. A pair of `preference.jsonl` is an answer that is better and one that is worse, to one
//! question: as it was corrected and as it was generated, or one that stands and one of which a sentence was rejected. What cannot be
//! a row is left out and counted by its reason; what a model's licence forbids to learn from is in neither file, corrected or not.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use reinpath_model::stage::StagedAnswer;
use reinpath_training::rows::{Row, RowAnswer, Split, write_rows};
use serde::{Deserialize, Serialize};

use super::document::{CaseDocument, Judgement, QuestionDocument};
use super::patches::{Gallery, Seen};
use super::{Document, Error, count};

mod asked;

use self::asked::{Asked, is_whole};

/// The file of rows, as data sets have it.
pub const ROWS: &str = "rows.jsonl";
/// The file of pairs.
pub const PREFERENCE: &str = "preference.jsonl";
/// The folder of images, and what rows call it.
const IMAGES: &str = "img";

/// Two answers to one question, of which one is better.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    pub id: String,
    /// Paths relative to the folder.
    pub images: Vec<String>,
    pub question: String,
    /// Options without letters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// Clinical context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    pub chosen: StagedAnswer,
    pub rejected: StagedAnswer,
}

/// What was made.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub rows: Vec<Row>,
    pub pairs: Vec<Pair>,
    /// Where each image comes from, by its name in the folder.
    images: BTreeMap<String, PathBuf>,
    /// How many answers are no rows, by the reason.
    left_out: BTreeMap<&'static str, usize>,
    /// How many answers a licence keeps from being learnt from, by what it says.
    forbidden: BTreeMap<String, usize>,
}

/// Writes the folder whole or not at all.
///
/// # Errors
/// No row and no pair, a folder with something in it, or a place that cannot be written to.
pub(super) fn write(document: &Document, gallery: &mut Gallery, to: &Path) -> Result<Made, Error> {
    let made = Made::of(document, gallery);
    if made.rows.is_empty() && made.pairs.is_empty() {
        return Err(made.fault());
    }
    place(to, |folder| made.write(folder))?;
    Ok(made)
}

/// Fills a folder beside its place and gives it its name then.
pub(super) fn place(to: &Path, fill: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
    let failed = |reason: std::io::Error| Error::write(to, &reason);
    let mut name = to.file_name().ok_or_else(|| Error::write(to, &"this names no folder"))?.to_owned();
    name.push(".unfinished");
    let unfinished = to.with_file_name(name);
    if to.exists() {
        let is_empty = to.is_dir() && std::fs::read_dir(to).map_err(failed)?.next().is_none();
        if !is_empty {
            return Err(Error::NotEmpty { path: to.to_owned() });
        }
        std::fs::remove_dir(to).map_err(failed)?;
    }
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished).map_err(failed)?;
    }
    std::fs::create_dir_all(&unfinished).map_err(failed)?;
    let filled = fill(&unfinished).and_then(|()| std::fs::rename(&unfinished, to).map_err(failed));
    filled.inspect_err(|_| {
        // What was begun is of no use; that it cannot be removed is not worth a second sentence.
        drop(std::fs::remove_dir_all(&unfinished));
    })
}

impl Made {
    pub(super) fn of(document: &Document, gallery: &mut Gallery) -> Self {
        let mut made = Self::default();
        for case in &document.cases {
            for question in &case.questions {
                made.question(document, case, question, gallery);
            }
        }
        made
    }

    fn question(
        &mut self,
        document: &Document,
        case: &CaseDocument,
        question: &QuestionDocument,
        gallery: &mut Gallery,
    ) {
        let asked = question.answers.iter().map(|answer| Asked::of(case, question, answer));
        let (forbidden, asked): (Vec<Asked<'_>>, Vec<Asked<'_>>) =
            asked.partition(|asked| asked.terms.is_some());
        for sentence in forbidden.iter().filter_map(|asked| asked.terms) {
            *self.forbidden.entry(sentence.to_owned()).or_default() += 1;
        }
        for asked in &asked {
            match self.row(document, asked, gallery) {
                Ok(row) => self.rows.push(row),
                Err(reason) => *self.left_out.entry(reason).or_default() += 1,
            }
            self.corrected(asked, gallery);
        }
        self.against_each_other(&asked, gallery);
    }

    fn row(
        &mut self,
        document: &Document,
        asked: &Asked<'_>,
        gallery: &mut Gallery,
    ) -> Result<Row, &'static str> {
        asked.fault()?;
        let images = self.images(&asked.patches, gallery).ok_or("without the pixels of their patches")?;
        let only = match &asked.patches[..] {
            [only] => Some(only),
            _ => None,
        };
        let mut row = Row {
            images,
            question: Some(asked.question.to_owned()),
            choices: asked.choices.to_vec(),
            label: asked.label(),
            answer: Some(RowAnswer::Staged(asked.corrected.clone())),
            context: asked.context(),
            slide: Some(asked.slide.to_owned()),
            region: only.map(|patch| patch.region.map(|number| number as f64)),
            mpp: same(asked.patches.iter().map(|patch| patch.mpp)),
            split: Some(Split::Train),
            source: Some("review".to_owned()),
            emphasis: asked.emphasis(),
            ..Row::new(format!("review-{}", asked.answer.record.id.0), "", asked.kind())
        };
        row.more.insert("log".to_owned(), document.log.clone().into());
        row.check().map_err(|_reason| "that training would refuse")?;
        Ok(row)
    }

    /// As it was corrected, before as it was generated.
    fn corrected(&mut self, asked: &Asked<'_>, gallery: &mut Gallery) {
        let is_changed = asked
            .answer
            .sentences
            .iter()
            .any(|sentence| matches!(sentence.verdict, Some(Judgement::Edited | Judgement::Rejected)));
        if is_changed && asked.has_no_history && asked.corrected != asked.generated {
            let id = format!("{}-corrected", asked.answer.record.id.0);
            self.pair(id, asked, asked.corrected.clone(), asked.generated.clone(), gallery);
        }
    }

    /// Answers that stand, before answers to the same of which a sentence was rejected.
    fn against_each_other(&mut self, all: &[Asked<'_>], gallery: &mut Gallery) {
        let is_rejected = |asked: &Asked<'_>| {
            asked.answer.sentences.iter().any(|sentence| sentence.verdict == Some(Judgement::Rejected))
        };
        for worse in all.iter().filter(|asked| is_rejected(asked)) {
            let better = all.iter().find(|asked| asked.fault().is_ok() && asked.is_about_the_same(worse));
            if let Some(better) = better.filter(|better| better.corrected != worse.generated) {
                let id = format!("{}-over-{}", better.answer.record.id.0, worse.answer.record.id.0);
                self.pair(id, better, better.corrected.clone(), worse.generated.clone(), gallery);
            }
        }
    }

    fn pair(
        &mut self,
        id: String,
        asked: &Asked<'_>,
        chosen: StagedAnswer,
        rejected: StagedAnswer,
        gallery: &mut Gallery,
    ) {
        if !is_whole(&chosen) || rejected.to_text().trim().is_empty() {
            return;
        }
        let Some(images) = self.images(&asked.patches, gallery) else { return };
        self.pairs.push(Pair {
            id,
            images,
            question: asked.question.to_owned(),
            choices: asked.choices.to_vec(),
            context: asked.context(),
            chosen,
            rejected,
        });
    }

    /// The images of all patches, or none where one is missing.
    fn images(&mut self, patches: &[Seen], gallery: &mut Gallery) -> Option<Vec<String>> {
        let mut found = Vec::new();
        for patch in patches {
            let pixels = patch.pixels.as_deref()?;
            let (path, _) = gallery.file(Some(pixels))?;
            found.push((format!("{IMAGES}/{pixels}.png"), path));
        }
        let names = found.iter().map(|(name, _)| name.clone()).collect();
        self.images.extend(found);
        Some(names).filter(|names: &Vec<String>| !names.is_empty())
    }

    pub(super) fn write(&self, folder: &Path) -> Result<(), Error> {
        let images = folder.join(IMAGES);
        std::fs::create_dir_all(&images).map_err(|reason| Error::write(&images, &reason))?;
        for (name, from) in &self.images {
            let to = folder.join(name);
            std::fs::copy(from, &to).map_err(|reason| Error::write(&to, &reason))?;
        }
        let rows = folder.join(ROWS);
        write_rows(&rows, &self.rows).map_err(|error| Error::write(&rows, &error))?;
        let pairs = folder.join(PREFERENCE);
        let mut lines = String::new();
        for pair in &self.pairs {
            lines += &serde_json::to_string(pair).map_err(|error| Error::Content(error.to_string()))?;
            lines.push('\n');
        }
        std::fs::write(&pairs, lines).map_err(|reason| Error::write(&pairs, &reason))
    }

    /// What was written, as a sentence.
    pub(super) fn in_words(&self, to: &Path) -> String {
        let mut words = format!(
            "{} and {} written",
            count(self.rows.len(), "row"),
            count(self.pairs.len(), "preference pair")
        );
        let left_out: usize = self.left_out.values().chain(self.forbidden.values()).sum();
        if left_out > 0 {
            write!(words, ", {} left out ({})", count(left_out, "answer"), self.reasons()).ok();
        }
        format!("{words}: {}", to.display())
    }

    /// Why answers are no rows, with how many.
    fn reasons(&self) -> String {
        let left_out = self.left_out.iter().map(|(reason, number)| format!("{number} {reason}"));
        let says =
            |(sentence, number): (&String, &usize)| format!("{number} whose model's terms are: {sentence}");
        left_out.chain(self.forbidden.iter().map(says)).collect::<Vec<String>>().join(", ")
    }

    /// Why there is no row: the licence's own sentence where nothing else is in the way.
    pub(super) fn fault(&self) -> Error {
        let reasons = self.reasons();
        if reasons.is_empty() {
            return Error::NoRow("no answer was judged".to_owned());
        }
        if self.left_out.is_empty() {
            let sentences: Vec<&str> = self.forbidden.keys().map(String::as_str).collect();
            return Error::Forbidden(sentences.join("; "));
        }
        Error::NoRow(reasons)
    }
}

/// What all of them are.
fn same(mut all: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let first = all.next()??;
    all.all(|other| other == Some(first)).then_some(first)
}
