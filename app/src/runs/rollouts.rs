//! Rollouts of a run: which steps have some, and their records, read when they are looked at.

use std::path::{Path, PathBuf};

use reinpath_training::rollout_record::RolloutRecord;

use super::list::sentence;

/// A file of rollouts that is larger was not written by a run.
const MOST_BYTES: u64 = 256 << 20;

/// Steps with rollouts, in the order in which they were written. Each has a file of its own, a record a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolloutIndex {
    pub steps: Vec<RolloutStep>,
}

/// The rollouts of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolloutStep {
    pub stage: String,
    pub step: usize,
    /// Absolute.
    pub file: PathBuf,
    pub questions: usize,
}

/// What the answers to one row were, over the steps at which it was asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowHistory {
    pub row: String,
    /// In the order of the steps.
    pub records: Vec<RolloutRecord>,
    /// Steps that were not looked through, as too many.
    pub left_out: usize,
}

impl RolloutIndex {
    /// The step of a stage that lies nearest to this one, the earlier one of two.
    pub fn nearest(&self, stage: &str, step: usize) -> Option<&RolloutStep> {
        self.steps.iter().filter(|known| known.stage == stage).min_by_key(|known| known.step.abs_diff(step))
    }

    pub fn newest(&self) -> Option<&RolloutStep> {
        self.steps.last()
    }

    /// Where a step stands among all of them.
    pub fn place(&self, stage: &str, step: usize) -> Option<usize> {
        self.steps.iter().rposition(|known| known.step == step && known.stage == stage)
    }
}

/// The records of a step; an error is a sentence. Lines that are none are passed over while one is good.
pub fn read(step: &RolloutStep) -> Result<Vec<RolloutRecord>, String> {
    let bytes = bytes_of(&step.file)?;
    let (mut records, mut strange) = (Vec::new(), 0);
    for line in lines(&bytes) {
        match serde_json::from_slice(line) {
            Ok(record) => records.push(record),
            Err(_) => strange += 1,
        }
    }
    let path = step.file.display();
    match (records.len(), strange) {
        (0, 0) => Err(format!("The file of the step's answers is empty: {path}")),
        (0, 1) => Err(format!("The one line of the step's answers is no rollout: {path}")),
        (0, strange) => {
            Err(format!("None of the {strange} lines of the step's answers is a rollout: {path}"))
        }
        _ => Ok(records),
    }
}

/// What was answered to a row at the given steps, at most `most` of them, evenly chosen with the first and the last. An error, where
/// no file at all can be read, is a sentence.
pub fn history(steps: &[RolloutStep], row: &str, most: usize) -> Result<RowHistory, String> {
    // Few of a file's records are of this row: what does not even hold its id need not be parsed.
    let sign = format!("\"row\":{}", serde_json::Value::from(row)).into_bytes();
    let chosen = chosen(steps.len(), most);
    let mut history =
        RowHistory { row: row.to_owned(), records: Vec::new(), left_out: steps.len() - chosen.len() };
    let (mut fault, mut is_one_good) = (None, false);
    for step in chosen.iter().map(|&at| &steps[at]) {
        let bytes = match bytes_of(&step.file) {
            Ok(bytes) => bytes,
            Err(sentence) => {
                fault = fault.or(Some(sentence));
                continue;
            }
        };
        is_one_good = true;
        let with_sign = lines(&bytes).filter(|line| contains(line, &sign));
        let records = with_sign.filter_map(|line| serde_json::from_slice::<RolloutRecord>(line).ok());
        history.records.extend(records.filter(|record| record.row == row));
    }
    match fault {
        Some(sentence) if !is_one_good => Err(sentence),
        _ => Ok(history),
    }
}

/// Of `count` places at most `most`, evenly spaced, with the first and the last.
fn chosen(count: usize, most: usize) -> Vec<usize> {
    match most {
        _ if count <= most => (0..count).collect(),
        0 => Vec::new(),
        1 => vec![count - 1],
        most => (0..most).map(|n| n * (count - 1) / (most - 1)).collect(),
    }
}

fn bytes_of(file: &Path) -> Result<Vec<u8>, String> {
    let in_words = |error: std::io::Error| format!("{}: {}", sentence(&error), file.display());
    if std::fs::metadata(file).map_err(in_words)?.len() > MOST_BYTES {
        return Err(format!("The file of the step's answers is too large to be one: {}", file.display()));
    }
    std::fs::read(file).map_err(in_words)
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty())
}

fn contains(line: &[u8], sign: &[u8]) -> bool {
    line.windows(sign.len()).any(|window| window == sign)
}

#[cfg(test)]
mod tests {
    use reinpath_model::event::Stop;
    use reinpath_training::rollout_record::AnswerRecord;

    use super::*;

    fn record(step: usize, row: &str) -> RolloutRecord {
        let answer = AnswerRecord {
            text: format!("step {step}"),
            tokens: 2,
            stop: Stop::End,
            logprob: -1.0,
            rewards: [("format".to_owned(), 1.0)].into(),
            reward: 1.0,
            advantage: 0.0,
            is_right: true,
        };
        RolloutRecord {
            stage: "grpo".to_owned(),
            step,
            row: row.to_owned(),
            question: "What?".to_owned(),
            answers: vec![answer],
            ..RolloutRecord::default()
        }
    }

    fn step(folder: &Path, step: usize, rows: &[&str]) -> RolloutStep {
        let file = folder.join(format!("{step}.jsonl"));
        let lines: Vec<String> =
            rows.iter().map(|row| serde_json::to_string(&record(step, row)).unwrap() + "\n").collect();
        std::fs::write(&file, lines.concat()).unwrap();
        RolloutStep { stage: "grpo".to_owned(), step, file, questions: rows.len() }
    }

    #[test]
    fn the_nearest_step_is_of_the_same_stage_and_rather_the_earlier_one() {
        let known = |stage: &str, step| RolloutStep {
            stage: stage.to_owned(),
            step,
            file: PathBuf::new(),
            questions: 1,
        };
        let index =
            RolloutIndex { steps: vec![known("a", 10), known("a", 20), known("b", 14), known("b", 40)] };
        let nearest = |stage, step| index.nearest(stage, step).map(|found| found.step);
        assert_eq!((nearest("a", 14), nearest("a", 15), nearest("a", 16)), (Some(10), Some(10), Some(20)));
        assert_eq!((nearest("a", 1000), nearest("b", 0), nearest("c", 1)), (Some(20), Some(14), None));
        assert_eq!(index.newest().map(|found| found.step), Some(40));
        assert_eq!((index.place("b", 14), index.place("a", 14)), (Some(2), None));
    }

    #[test]
    fn good_lines_are_read_beside_strange_ones_and_a_file_without_any_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let good = step(folder.path(), 1, &["r1", "r2"]);
        assert_eq!(read(&good).unwrap(), [record(1, "r1"), record(1, "r2")]);
        let text = std::fs::read_to_string(&good.file).unwrap();
        std::fs::write(&good.file, format!("rubbish\n\n{text}{{\"row\":\n")).unwrap();
        assert_eq!(read(&good).unwrap().len(), 2);
        std::fs::write(&good.file, b"rubbish\n\xff\xfe\n").unwrap();
        let refused = read(&good).unwrap_err();
        assert!(refused.starts_with("None of the 2 lines") && refused.ends_with("1.jsonl"), "{refused}");
        std::fs::write(&good.file, "").unwrap();
        assert!(read(&good).unwrap_err().contains("is empty"));
        std::fs::remove_file(&good.file).unwrap();
        assert!(read(&good).unwrap_err().ends_with("1.jsonl"));
    }

    #[test]
    fn a_rows_history_is_that_row_alone_over_steps_that_are_evenly_chosen() {
        let folder = tempfile::tempdir().unwrap();
        let id = "r \"1\"";
        let rows: [&[&str]; 2] = [&[id, "r2"], &["r2", "r"]];
        let steps: Vec<RolloutStep> = (0..9).map(|n| step(folder.path(), n, rows[n % 2])).collect();
        let all = history(&steps, id, 100).unwrap();
        let at = |history: &RowHistory| history.records.iter().map(|record| record.step).collect::<Vec<_>>();
        assert_eq!((at(&all), all.left_out), (vec![0, 2, 4, 6, 8], 0));
        assert!(all.records.iter().all(|record| record.row == id));
        let few = history(&steps, id, 3).unwrap();
        assert_eq!((at(&few), few.left_out), (vec![0, 4, 8], 6));
        std::fs::remove_file(&steps[4].file).unwrap();
        assert_eq!(at(&history(&steps, id, 3).unwrap()), [0, 8], "one file that is gone hides no other");
        assert!(history(&steps[4..5], id, 3).unwrap_err().ends_with("4.jsonl"));
        assert!(history(&[], id, 3).unwrap().records.is_empty());
    }
}
