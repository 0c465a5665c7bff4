//! The benchmark `rows`: held-out rows of a data set, answered as a user is answered, and what became of them. The same
//! during a run.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use candle_core::Tensor;
use rayon::prelude::*;
use reinpath_model::event::Stop;
use reinpath_model::patch::Patch;
use reinpath_model::reinpath::ReinPath;
use serde::{Deserialize, Serialize};

use super::answerer::Answerer;
use super::judge::{Labels, class, judge, option_name};
use crate::dataset::{kind_name, part_of, read_patch};
use crate::error::{Error, Result};
use crate::event::RowFigures;
use crate::phantom::Tally;
use crate::rows::{Row, RowKind, Split};

/// A row's answer and what was read in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnsweredRow {
    /// Id of the row.
    pub row: String,
    pub question: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    pub text: String,
    /// What the conclusion names; `None` where it names nothing.
    pub choice: Option<String>,
    /// `None` where the row has no label, or where no answer was asked for.
    pub is_right: Option<bool>,
    /// The likeliest option; `None` where there is none, or where it was not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likeliest: Option<String>,
    pub has_all_stages: bool,
    pub tokens: usize,
    pub is_cut_off: bool,
}

impl AnsweredRow {
    /// Whether the likeliest option is the right one.
    pub fn is_likeliest_right(&self) -> Option<bool> {
        Some(self.likeliest.as_ref()? == self.label.as_ref()?)
    }
}

/// The last event of an evaluation on rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowsReport {
    #[serde(flatten)]
    pub figures: RowFigures,
    /// Questions with options: right by the likeliest option after the written analysis, whatever was concluded.
    pub by_likelihood: Tally,
    /// Answers that were cut off.
    pub cut_off: usize,
    pub tokens: usize,
    pub secs: f64,
}

/// The rows that an evaluation asks: those of a split that have a question. Without a split, those of `test` where any
/// row belongs to it, else all.
pub fn asked(rows: &[Row], split: Option<Split>) -> Vec<&Row> {
    let has_test = rows.iter().any(|row| row.split == Some(Split::Test));
    let wanted = split.or(has_test.then_some(Split::Test));
    let is_wanted = |row: &&Row| wanted.is_none_or(|wanted| part_of(row) == wanted);
    rows.iter().filter(|row| row.kind != RowKind::Caption).filter(is_wanted).collect()
}

/// Answers rows, in order; `each` gets every answer, and `false` from it stops. `with_likelihood`: also which option is
/// the likeliest after what was written.
pub fn answer(
    answerer: &Answerer<'_>,
    rows: &[&Row],
    with_likelihood: bool,
    each: &mut dyn FnMut(&AnsweredRow) -> bool,
) -> Result<Vec<AnsweredRow>> {
    let asking = if with_likelihood { Asking::AnswersAndLikelihoods } else { Asking::Answers };
    ask(answerer, rows, asking, each)
}

/// Finds the likeliest option of each row right after the question, without an answer: for a model that cannot answer
/// yet.
pub fn likeliest(
    answerer: &Answerer<'_>,
    rows: &[&Row],
    each: &mut dyn FnMut(&AnsweredRow) -> bool,
) -> Result<Vec<AnsweredRow>> {
    ask(answerer, rows, Asking::Likelihoods, each)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asking {
    Answers,
    AnswersAndLikelihoods,
    Likelihoods,
}

fn ask(
    answerer: &Answerer<'_>,
    rows: &[&Row],
    asking: Asking,
    each: &mut dyn FnMut(&AnsweredRow) -> bool,
) -> Result<Vec<AnsweredRow>> {
    let labels = Labels::of(rows.iter().copied());
    let batch = answerer.batch.max(1);
    let mut answered = Vec::with_capacity(rows.len());
    for round in rows.chunks(batch * answerer.workers.max(1)) {
        let parts: Vec<Vec<AnsweredRow>> = if answerer.workers > 1 {
            let batch = round.len().div_ceil(answerer.workers);
            let parts = round.par_chunks(batch).map(|rows| part(answerer, rows, &labels, asking));
            parts.collect::<Result<_>>()?
        } else {
            vec![part(answerer, round, &labels, asking)?]
        };
        for row in parts.into_iter().flatten() {
            let goes_on = each(&row);
            answered.push(row);
            if !goes_on {
                return Err(Error::Stopped);
            }
        }
    }
    Ok(answered)
}

fn part(answerer: &Answerer<'_>, rows: &[&Row], labels: &Labels, asking: Asking) -> Result<Vec<AnsweredRow>> {
    let is_written = asking != Asking::Likelihoods;
    let written = if is_written { answerer.answer(rows)? } else { answerer.unwritten(rows)? };
    let likeliest = match asking {
        Asking::Answers => vec![None; rows.len()],
        Asking::AnswersAndLikelihoods | Asking::Likelihoods => answerer.likeliest(rows, &written)?,
    };
    let answered = rows.iter().zip(written).zip(likeliest).map(|((row, written), likeliest)| {
        let judged = judge(row, &written.text, labels);
        AnsweredRow {
            row: row.id.clone(),
            question: row.question.clone().unwrap_or_default(),
            choices: row.choices.clone(),
            label: row.label.clone(),
            text: written.text,
            choice: judged.choice,
            is_right: judged.is_right.filter(|_| is_written),
            likeliest: likeliest.map(|at| option_name(row, at)),
            has_all_stages: judged.has_all_stages,
            tokens: written.tokens,
            is_cut_off: written.stop == Stop::MaxTokens,
        }
    });
    Ok(answered.collect())
}

/// The figures of answers to these rows, which stand in the same order.
pub fn figures(rows: &[&Row], answered: &[AnsweredRow]) -> RowFigures {
    let mut figures = RowFigures::default();
    let (mut overall, mut stages) = (Tally::default(), Tally::default());
    for (row, answer) in rows.iter().zip(answered) {
        stages.add(answer.has_all_stages);
        figures.answer_tokens += answer.tokens as f64;
        let Some(is_right) = answer.is_right else { continue };
        overall.add(is_right);
        let has_options = matches!(row.kind, RowKind::Choice | RowKind::TrueFalse);
        figures.parse_failures += usize::from(has_options && answer.choice.is_none());
        let count = |tallies: &mut BTreeMap<String, Tally>, key: String| {
            tallies.entry(key).or_default().add(is_right);
        };
        count(&mut figures.by_kind, kind_name(row.kind).to_owned());
        if let Some(subtask) = &row.subtask {
            count(&mut figures.by_subtask, subtask.clone());
        }
        if let Some(class) = class(row) {
            count(&mut figures.by_class, class);
        }
    }
    let (low, high) = overall.wilson_95().unwrap_or((0.0, 1.0));
    figures.n = overall.total;
    figures.accuracy = overall.share().unwrap_or(0.0);
    figures.balanced_accuracy = balanced(&figures.by_class);
    figures.interval_95 = [low, high];
    figures.stages_present = stages.share().unwrap_or(0.0);
    figures.answer_tokens /= stages.total.max(1) as f64;
    figures
}

/// The mean over classes of the share that is right; 0 of nothing.
pub(super) fn balanced(by_class: &BTreeMap<String, Tally>) -> f64 {
    let shares: Vec<f64> = by_class.values().filter_map(|tally| tally.share()).collect();
    shares.iter().sum::<f64>() / shares.len().max(1) as f64
}

/// Evaluates a package on rows whose images lie below `folder`.
pub fn of_package(
    model: &ReinPath,
    folder: &Path,
    rows: &[&Row],
    each: &mut dyn FnMut(&AnsweredRow) -> bool,
) -> Result<RowsReport> {
    let images = |rows: &[&Row]| images_of(model, rows, &|row| patches(folder, row));
    report(&Answerer::of_package(model, &images), rows, each)
}

/// Answers rows, with likelihoods, and adds them up.
pub(super) fn report(
    answerer: &Answerer<'_>,
    rows: &[&Row],
    each: &mut dyn FnMut(&AnsweredRow) -> bool,
) -> Result<RowsReport> {
    let begin = Instant::now();
    let answered = answer(answerer, rows, true, each)?;
    Ok(RowsReport {
        figures: figures(rows, &answered),
        by_likelihood: by_likelihood(&answered),
        cut_off: answered.iter().filter(|answer| answer.is_cut_off).count(),
        tokens: answered.iter().map(|answer| answer.tokens).sum(),
        secs: begin.elapsed().as_secs_f64(),
    })
}

/// Of the answers with a likeliest option and a label, how often that option is the right one.
pub(crate) fn by_likelihood(answered: &[AnsweredRow]) -> Tally {
    let mut tally = Tally::default();
    answered.iter().filter_map(AnsweredRow::is_likeliest_right).for_each(|right| tally.add(right));
    tally
}

/// Image embeddings of rows, (images, image tokens, hidden) each, all patches through the encoders together.
pub(super) fn images_of(
    model: &ReinPath,
    rows: &[&Row],
    patches: &dyn Fn(&Row) -> Result<Vec<Patch>>,
) -> Result<Vec<Tensor>> {
    let patches = rows.iter().map(|row| patches(row)).collect::<Result<Vec<_>>>()?;
    let embeddings = model.embeddings(&model.features(&patches.concat())?)?;
    let mut at = 0;
    let of_row = |patches: &Vec<Patch>| {
        at += patches.len();
        Ok(embeddings.narrow(0, at - patches.len(), patches.len())?)
    };
    patches.iter().map(of_row).collect()
}

/// The patches of a row, read from its image files.
pub(crate) fn patches(folder: &Path, row: &Row) -> Result<Vec<Patch>> {
    let read = |image: &String| {
        read_patch(&folder.join(image), row.mpp).map_err(|error| Error::Benchmark(error.to_string()))
    };
    row.images.iter().map(read).collect()
}

impl std::fmt::Display for RowsReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let RowFigures { n, accuracy, balanced_accuracy, interval_95: [low, high], .. } = self.figures;
        writeln!(f, "{n} rows with a label, greedy")?;
        writeln!(
            f,
            "conclusion right           {:.1} % (95 % interval {:.1} to {:.1} %)",
            100.0 * accuracy,
            100.0 * low,
            100.0 * high
        )?;
        writeln!(f, "balanced over classes      {:.1} %", 100.0 * balanced_accuracy)?;
        write_tallies(f, &self.figures.by_kind)?;
        write_tallies(f, &self.figures.by_subtask)?;
        if self.by_likelihood.total > 0 {
            writeln!(f, "likeliest option right     {}", in_words(self.by_likelihood))?;
        }
        writeln!(f, "stages present             {:.1} %", 100.0 * self.figures.stages_present)?;
        writeln!(f, "conclusions without option {}", self.figures.parse_failures)?;
        writeln!(f, "cut off                    {}", self.cut_off)?;
        write!(
            f,
            "{:.1} tokens an answer, {} in all, {:.0} s",
            self.figures.answer_tokens, self.tokens, self.secs
        )
    }
}

/// A line for each tally, indented.
pub(super) fn write_tallies(
    f: &mut std::fmt::Formatter<'_>,
    tallies: &BTreeMap<String, Tally>,
) -> std::fmt::Result {
    tallies.iter().try_for_each(|(name, tally)| writeln!(f, "  {name:<25}{}", in_words(*tally)))
}

fn in_words(tally: Tally) -> String {
    let share = 100.0 * tally.share().unwrap_or(0.0);
    format!("{share:.1} % ({} of {})", tally.right, tally.total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, kind: RowKind, label: Option<&str>) -> Row {
        let choices =
            if kind == RowKind::Choice { vec!["nests".to_owned(), "glands".to_owned()] } else { vec![] };
        Row {
            question: Some("What is it?".to_owned()),
            choices,
            label: label.map(str::to_owned),
            ..Row::new(id, "a.png", kind)
        }
    }

    /// The answers as an answerer would give them, without one.
    fn answered(rows: &[&Row], conclusions: &[&str]) -> Vec<AnsweredRow> {
        let labels = Labels::of(rows.iter().copied());
        let answer = |(row, conclusion): (&&Row, &&str)| {
            let text = format!("[Observation]\nx\n[Analysis]\ny\n[Conclusion]\n{conclusion}");
            let judged = judge(row, &text, &labels);
            AnsweredRow {
                row: row.id.clone(),
                question: String::new(),
                choices: row.choices.clone(),
                label: row.label.clone(),
                text,
                choice: judged.choice,
                is_right: judged.is_right,
                likeliest: Some("A".to_owned()),
                has_all_stages: judged.has_all_stages,
                tokens: 10,
                is_cut_off: false,
            }
        };
        rows.iter().zip(conclusions).map(answer).collect()
    }

    #[test]
    fn figures_of_known_answers_are_known() {
        let rows = [
            row("a", RowKind::Choice, Some("A")),
            row("b", RowKind::Choice, Some("A")),
            row("c", RowKind::Choice, Some("A")),
            row("d", RowKind::Choice, Some("B")),
            row("e", RowKind::TrueFalse, Some("True")),
            row("f", RowKind::Open, Some("mucin")),
            row("g", RowKind::TrueFalse, None),
        ];
        let rows: Vec<&Row> = rows.iter().collect();
        let conclusions = ["A) nests", "A) nests", "I cannot say.", "A) nests", "True.", "Mucin.", "True."];
        let answers = answered(&rows, &conclusions);
        let figures = figures(&rows, &answers);
        assert_eq!((figures.n, figures.parse_failures), (6, 1), "a row without label is not counted");
        assert!((figures.accuracy - 4.0 / 6.0).abs() < 1e-12);
        // nests 2 of 3, glands 0 of 1, True 1 of 1, mucin 1 of 1.
        assert!((figures.balanced_accuracy - (2.0 / 3.0 + 0.0 + 1.0 + 1.0) / 4.0).abs() < 1e-12);
        assert_eq!(figures.by_class["nests"], Tally { right: 2, total: 3 });
        assert_eq!(figures.by_kind["choice"], Tally { right: 2, total: 4 });
        assert_eq!((figures.stages_present, figures.answer_tokens), (1.0, 10.0));
        assert_eq!(answers[3].is_likeliest_right(), Some(false));
        assert_eq!(answers[6].is_likeliest_right(), None);
        assert_eq!(super::figures(&[], &[]).interval_95, [0.0, 1.0]);
    }

    #[test]
    fn held_out_rows_are_asked_where_a_data_set_has_parts() {
        let part = |id, kind, split| Row { split, ..row(id, kind, Some("True")) };
        let kind = RowKind::TrueFalse;
        let whole = [part("a", kind, None), part("b", RowKind::Caption, None)];
        let ids = |rows: &[Row], split| -> Vec<String> {
            asked(rows, split).into_iter().map(|row| row.id.clone()).collect()
        };
        assert_eq!(ids(&whole, None), ["a"], "captions ask nothing");
        let parted = [
            part("a", kind, None),
            part("b", kind, Some(Split::Test)),
            part("c", kind, Some(Split::Validation)),
        ];
        assert_eq!(ids(&parted, None), ["b"]);
        assert_eq!(ids(&parted, Some(Split::Train)), ["a"]);
        assert_eq!(ids(&parted, Some(Split::Validation)), ["c"]);
    }

    #[test]
    fn an_image_that_is_not_there_or_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let row = row("a", RowKind::Open, Some("mucin"));
        let error = patches(folder.path(), &row).unwrap_err().to_string();
        assert!(error.ends_with("a.png"), "{error}");
        std::fs::write(folder.path().join("a.png"), "no picture").unwrap();
        let error = patches(folder.path(), &row).unwrap_err().to_string();
        assert!(error.ends_with("a.png"), "{error}");
    }
}
