//! A data set in parts that share no patient, slide, source cluster or image.
//!
//! Rows that share anything, directly or through others, stay together; each such block goes whole into one part. The
//! parts are therefore as large as was asked only as far as the blocks allow.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::groups::{Link, links, origins};
use super::table::{Table, grouped};
use super::text::split_name;
use crate::rows::{Row, Split};

/// Shares of the rows that are held out; the rest is for training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Shares {
    pub validation: f64,
    pub test: f64,
}

/// How large a part became.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PartSize {
    pub rows: usize,
    /// Blocks of rows that stay together.
    pub blocks: usize,
}

/// What a split made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SplitReport {
    pub seed: u64,
    pub parts: BTreeMap<Split, PartSize>,
    /// Rows that name neither patient nor slide nor source cluster: only their image keeps them together.
    pub unknown_origin: usize,
}

/// Gives every row its part, whatever it said before. The same seed and rows give the same parts.
///
/// # Errors
/// When the shares are no shares, or there are fewer blocks than parts: one sentence, and no row is changed.
pub fn split(rows: &mut [Row], shares: Shares, seed: u64) -> Result<SplitReport, String> {
    let wanted = wanted(shares)?;
    let mut blocks = blocks(rows);
    if blocks.len() < wanted.len() {
        return Err(format!(
            "the rows cannot be split into {} parts: by patient, slide, source cluster and image they hang together in {}",
            wanted.len(),
            if blocks.len() == 1 { "one block".to_owned() } else { format!("{} blocks", blocks.len()) }
        ));
    }
    blocks.shuffle(&mut ChaCha8Rng::seed_from_u64(crate::seed::of(seed, &["split"], 0)));
    // The largest first: what is small then evens out.
    blocks.sort_by_key(|block| std::cmp::Reverse(block.len()));
    let mut parts: BTreeMap<Split, PartSize> =
        wanted.keys().map(|&part| (part, PartSize::default())).collect();
    for (at, block) in blocks.iter().enumerate() {
        let part = next_part(&wanted, &parts, rows.len(), blocks.len() - at);
        let size = parts.entry(part).or_default();
        size.rows += block.len();
        size.blocks += 1;
        for &row in block {
            rows[row].split = Some(part);
        }
    }
    let unknown_origin = rows.iter().filter(|row| origins(row).is_empty()).count();
    Ok(SplitReport { seed, parts, unknown_origin })
}

/// The share of each part that gets any.
fn wanted(shares: Shares) -> Result<BTreeMap<Split, f64>, String> {
    let Shares { validation, test } = shares;
    let is_share = |share: f64| (0.0..1.0).contains(&share);
    if !is_share(validation) || !is_share(test) || validation + test >= 1.0 || validation + test <= 0.0 {
        return Err(format!(
            "the shares of validation ({validation}) and test ({test}) must be more than 0 and less than 1 together"
        ));
    }
    let all = [(Split::Train, 1.0 - validation - test), (Split::Validation, validation), (Split::Test, test)];
    Ok(all.into_iter().filter(|(_, share)| *share > 0.0).collect())
}

/// The part that lacks most rows; an empty one as soon as there are only as many blocks left as empty parts.
fn next_part(
    wanted: &BTreeMap<Split, f64>,
    parts: &BTreeMap<Split, PartSize>,
    rows: usize,
    blocks_left: usize,
) -> Split {
    let rows_of = |part: &Split| parts.get(part).map_or(0, |size| size.rows);
    let empty = wanted.keys().filter(|part| rows_of(part) == 0).count();
    let lacking = |part: &Split, share: f64| share * rows as f64 - rows_of(part) as f64;
    wanted
        .iter()
        .filter(|(part, _)| blocks_left > empty || rows_of(part) == 0)
        .max_by(|(a, x), (b, y)| lacking(a, **x).total_cmp(&lacking(b, **y)).then(b.cmp(a)))
        .map_or(Split::Train, |(part, _)| *part)
}

/// Rows that hang together, as places in ascending order; blocks in the order of their first rows.
fn blocks(rows: &[Row]) -> Vec<Vec<usize>> {
    let mut roots: Vec<usize> = (0..rows.len()).collect();
    let mut first: BTreeMap<(Link, Cow<'_, str>), usize> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        for link in links(row) {
            let other = *first.entry(link).or_insert(at);
            let (a, b) = (root(&mut roots, at), root(&mut roots, other));
            // The earlier row is the root.
            roots[a.max(b)] = a.min(b);
        }
    }
    let mut blocks: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for at in 0..rows.len() {
        blocks.entry(root(&mut roots, at)).or_default().push(at);
    }
    blocks.into_values().collect()
}

/// The first row of a row's block; the way there is shortened (union-find with path halving).
fn root(roots: &mut [usize], mut at: usize) -> usize {
    while roots[at] != at {
        roots[at] = roots[roots[at]];
        at = roots[at];
    }
    at
}

impl std::fmt::Display for SplitReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all: usize = self.parts.values().map(|size| size.rows).sum();
        let mut table = Table::new(&["part", "rows", "share", "blocks"]);
        for (&part, size) in &self.parts {
            let share = format!("{:.1} %", 100.0 * size.rows as f64 / all.max(1) as f64);
            table.row(vec![split_name(part).to_owned(), grouped(size.rows), share, grouped(size.blocks)]);
        }
        write!(f, "{table}")?;
        writeln!(
            f,
            "Rows of a block share a patient, a slide, a source cluster or an image. Seed {}.",
            self.seed
        )?;
        if self.unknown_origin > 0 {
            writeln!(
                f,
                "{} of the rows name neither patient nor slide nor source cluster: whether the parts share any \
                 cannot be told.",
                grouped(self.unknown_origin)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::dataset::for_tests::question;

    /// What lies in more than one part.
    fn shared(rows: &[Row]) -> BTreeSet<(Link, String)> {
        let mut parts: BTreeMap<(Link, String), BTreeSet<Option<Split>>> = BTreeMap::new();
        for row in rows {
            for (link, name) in links(row) {
                parts.entry((link, name.into_owned())).or_default().insert(row.split);
            }
        }
        parts.into_iter().filter(|(_, parts)| parts.len() > 1).map(|(link, _)| link).collect()
    }

    const TENTHS: Shares = Shares { validation: 0.1, test: 0.1 };

    /// 300 rows of 60 patients; every tenth patient shares a slide with the next.
    fn rows() -> Vec<Row> {
        (0..300)
            .map(|n| {
                let patient = n / 5;
                let slide = if patient % 10 == 1 { patient - 1 } else { patient };
                Row {
                    patient: Some(format!("p{patient}")),
                    slide: Some(format!("s{slide}")),
                    ..question(&n.to_string(), &format!("img/{n}.png"))
                }
            })
            .collect()
    }

    #[test]
    fn parts_share_nothing_and_have_their_sizes() {
        let mut rows = rows();
        let report = split(&mut rows, TENTHS, 1).unwrap();
        assert!(shared(&rows).is_empty(), "{:?}", shared(&rows));
        assert_eq!(blocks(&rows).len(), 54, "six slides join two patients each");
        let sizes: Vec<usize> = report.parts.values().map(|size| size.rows).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 300);
        assert!(sizes[1].abs_diff(30) <= 5 && sizes[2].abs_diff(30) <= 5, "{report}");
        assert_eq!(report.unknown_origin, 0);
        let parts = |seed| {
            let mut rows = self::rows();
            split(&mut rows, TENTHS, seed).unwrap();
            rows.iter().map(|row| row.split).collect::<Vec<_>>()
        };
        assert_eq!(parts(1), parts(1));
        assert_ne!(parts(1), parts(2));
    }

    #[test]
    fn every_part_gets_a_block_even_of_three() {
        let mut rows = ["a", "b", "c"].map(|id| question(id, &format!("{id}.png")));
        let report = split(&mut rows, TENTHS, 1).unwrap();
        assert!(report.parts.values().all(|size| size.rows == 1), "{report}");
        assert_eq!(report.unknown_origin, 3);
        let only_test = Shares { validation: 0.0, test: 0.5 };
        assert_eq!(split(&mut rows, only_test, 1).unwrap().parts.len(), 2);
    }

    #[test]
    fn what_cannot_be_split_is_refused_and_stays_as_it_is() {
        let mut one = [question("a", "a.png")];
        let error = split(&mut one, TENTHS, 1).unwrap_err();
        assert!(error.contains("3 parts") && error.contains("one block"), "{error}");
        assert_eq!(one[0].split, None);
        for (validation, test) in [(0.5, 0.5), (-0.1, 0.2), (f64::NAN, 0.1), (0.0, 0.0)] {
            let mut rows = rows();
            assert!(split(&mut rows, Shares { validation, test }, 1).unwrap_err().contains("shares"));
        }
    }
}
