//! The rows of the cold start: long chains of reasoning, evenly over the sub-tasks (the paper takes 5,400 of 13,000
//! "for long thought chains and uniform category distribution", section 3.1, and says no more).
//!
//! Our reading: every sub-task gives the same number of rows, as far as it has them, and within it every kind of
//! question does; of those, the rows with the most words of Observation and Analysis are taken. A conclusion is no part
//! of a chain.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::source::missing_stage;
use super::text::words;
use crate::rows::{Row, RowAnswer, RowKind};

/// The places of at most `count` rows in ascending order. Rows without all three stages are never taken; rows of equal
/// length are drawn by the seed.
pub fn select(rows: &[&Row], count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows.len()).filter(|&at| chain(rows[at]).is_some()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(crate::seed::of(seed, &["select"], 0)));
    order.sort_by_cached_key(|&at| Reverse(chain(rows[at])));
    let mut subtasks: BTreeMap<Option<&str>, BTreeMap<RowKind, Vec<usize>>> = BTreeMap::new();
    for at in order {
        let kinds = subtasks.entry(rows[at].subtask.as_deref()).or_default();
        kinds.entry(rows[at].kind).or_default().push(at);
    }
    let sizes: Vec<usize> = subtasks.values().map(|kinds| kinds.values().map(Vec::len).sum()).collect();
    let mut taken = Vec::new();
    for (kinds, share) in subtasks.values().zip(evenly(&sizes, count)) {
        let sizes: Vec<usize> = kinds.values().map(Vec::len).collect();
        for (longest, share) in kinds.values().zip(evenly(&sizes, share)) {
            taken.extend(&longest[..share]);
        }
    }
    taken.sort_unstable();
    taken
}

/// `count` shared out as evenly as the sizes allow; what is left over goes to the first.
fn evenly(sizes: &[usize], count: usize) -> Vec<usize> {
    let mut shares = vec![0; sizes.len()];
    let mut left = count.min(sizes.iter().sum());
    while left > 0 {
        let open: Vec<usize> = (0..sizes.len()).filter(|&at| shares[at] < sizes[at]).collect();
        let each = (left / open.len()).max(1);
        for at in open {
            let more = each.min(sizes[at] - shares[at]).min(left);
            shares[at] += more;
            left -= more;
        }
    }
    shares
}

/// Words of Observation and Analysis; `None` where a stage is missing or the row is a caption.
fn chain(row: &Row) -> Option<usize> {
    match &row.answer {
        Some(RowAnswer::Staged(staged)) if row.kind != RowKind::Caption && missing_stage(row).is_none() => {
            Some(words(&staged.observation) + words(&staged.analysis))
        }
        _ => None,
    }
}

/// What was taken of a sub-task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Selection {
    /// `None`: rows without a sub-task.
    pub subtask: Option<String>,
    /// Rows with all three stages.
    pub rows: usize,
    pub taken: usize,
    /// Mean words of Observation and Analysis, of all those rows and of those taken.
    pub chain_words: f64,
    pub taken_chain_words: f64,
}

/// What [`select`](select()) took, by sub-task.
pub fn selection(rows: &[&Row], taken: &[usize]) -> Vec<Selection> {
    let mut sums: BTreeMap<Option<&str>, [usize; 4]> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        let Some(length) = chain(row) else { continue };
        let sums = sums.entry(row.subtask.as_deref()).or_default();
        let is_taken = usize::from(taken.binary_search(&at).is_ok());
        let more = [1, length, is_taken, length * is_taken];
        sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
    }
    let mean = |sum: usize, n: usize| if n == 0 { 0.0 } else { sum as f64 / n as f64 };
    sums.into_iter()
        .map(|(subtask, [rows, length, taken, taken_length])| Selection {
            subtask: subtask.map(str::to_owned),
            rows,
            taken,
            chain_words: mean(length, rows),
            taken_chain_words: mean(taken_length, taken),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::for_tests::{question, staged};

    /// 30 rows of “a” and 4 of “b”, with chains of 2 to 7 words, and one without stages.
    fn rows() -> Vec<Row> {
        let mut rows: Vec<Row> = (0..34)
            .map(|n| Row {
                subtask: Some(if n < 30 { "a" } else { "b" }.to_owned()),
                answer: Some(RowAnswer::Staged(staged("seen", &"so ".repeat(n % 6 + 1), "B) nests"))),
                ..question(&n.to_string(), "x.png")
            })
            .collect();
        rows.push(Row { answer: None, subtask: Some("b".to_owned()), ..question("label", "x.png") });
        rows
    }

    #[test]
    fn the_longest_chains_are_taken_evenly_over_the_subtasks() {
        let rows = rows();
        let rows: Vec<&Row> = rows.iter().collect();
        let taken = select(&rows, 12, 1);
        assert_eq!(taken.len(), 12);
        assert_eq!(taken.iter().filter(|&&at| at >= 30).count(), 4, "all that the small sub-task has");
        assert!(taken.iter().all(|&at| at >= 30 || at % 6 >= 4), "{taken:?}");
        assert!(!taken.contains(&34), "a label is no chain");
        assert_eq!(taken, select(&rows, 12, 1));
        assert!((2..20).any(|seed| select(&rows, 12, seed) != taken), "equal lengths are drawn");
        let figures = selection(&rows, &taken);
        assert_eq!((figures[0].rows, figures[0].taken, figures[1].rows, figures[1].taken), (30, 8, 4, 4));
        assert!(figures[0].taken_chain_words > figures[0].chain_words);
        assert_eq!(select(&rows, 1000, 1).len(), 34);
        assert!(select(&[], 5, 1).is_empty());
    }

    #[test]
    fn kinds_are_even_within_a_subtask() {
        let mut rows = rows();
        for row in &mut rows[20..30] {
            row.kind = RowKind::Open;
        }
        let rows: Vec<&Row> = rows.iter().collect();
        let taken = select(&rows, 12, 1);
        assert_eq!(taken.iter().filter(|&&at| rows[at].kind == RowKind::Open).count(), 4);
    }

    #[test]
    fn shares_are_even_as_far_as_the_sizes_allow() {
        assert_eq!(evenly(&[10, 1, 10], 11), [5, 1, 5]);
        assert_eq!(evenly(&[10, 10, 10], 11), [4, 4, 3]);
        assert_eq!(evenly(&[1, 2], 9), [1, 2]);
        assert!(evenly(&[], 3).is_empty());
    }
}
