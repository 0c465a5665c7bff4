//! What was measured, as tables: Markdown for people, JSON for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::measure::{Measured, Outcome, Record};
use super::settings::{AblationsConfig, Comparison};
use crate::phantom::Tally;
use crate::statistics::{Difference, Unit, paired_bootstrap, paired_bootstrap_over_runs};

/// Seed of the bootstrap.
const SEED: u64 = 1;
/// Parts that answers are cut into by length.
const QUARTERS: usize = 4;

/// Records by arm and seed.
pub(super) type Records = BTreeMap<(String, u64), Record>;

/// Everything that is in the tables.
#[derive(Debug, Serialize)]
pub(super) struct Tables {
    #[serde(rename = "tables")]
    pub(super) compared: Vec<TableOf>,
    pub(super) lengths: Vec<LengthLine>,
    /// Held-out questions that every arm was asked.
    pub(super) questions: usize,
    pub(super) seeds: Vec<u64>,
    pub(super) training_secs: f64,
    pub(super) measuring_secs: f64,
}

/// One comparison.
#[derive(Debug, Serialize)]
pub(super) struct TableOf {
    title: String,
    note: String,
    lines: Vec<Line>,
}

/// An arm in a table.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    arm: String,
    title: String,
    /// Right conclusions with each seed; empty where the arm cannot answer yet.
    seeds: BTreeMap<u64, Tally>,
    /// All of them together, and Wilson's 95 % interval.
    conclusions: Tally,
    interval_95: Option<(f64, f64)>,
    /// Right by the likeliest option, on questions with options.
    by_likelihood: Tally,
    stages_present: Option<f64>,
    tokens: Option<f64>,
    /// What the differences are to.
    baseline: Option<String>,
    /// Over questions, all seeds counting in each draw; of conclusions where both arms answer, else of likelihoods.
    difference: Option<Difference>,
    /// The same with the seeds drawn again too.
    difference_over_seeds: Option<Difference>,
}

/// How long an arm's answers are, and how often they are right.
#[derive(Debug, Serialize)]
pub(super) struct LengthLine {
    arm: String,
    title: String,
    tokens: f64,
    conclusions: Tally,
    /// From the shortest answers to the longest: their mean length, and what of them is right.
    quarters: Vec<(f64, Tally)>,
}

impl Tables {
    pub(super) fn new(config: &AblationsConfig, records: &Records) -> Self {
        let measured = || records.values().filter_map(|record| record.measured.as_ref());
        Self {
            compared: config.tables.iter().map(|table| TableOf::new(config, table, records)).collect(),
            lengths: config
                .arms
                .iter()
                .filter_map(|arm| length_line(&arm.name, &arm.title, records))
                .collect(),
            questions: measured().map(|measured| measured.outcomes.len()).max().unwrap_or(0),
            seeds: config.seeds.clone(),
            training_secs: records.values().map(|record| record.training_secs).sum(),
            measuring_secs: measured().map(|measured| measured.secs).sum(),
        }
    }

    /// The tables as Markdown.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!(
            "# Ablations\n\n{} held-out questions, seeds {}. Shares in per cent; intervals are 95 %. A difference is in \
             points, paired over questions (bootstrap), and in brackets with the seeds drawn again too.\n",
            self.questions,
            self.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
        );
        for table in &self.compared {
            table.write(&mut text);
        }
        self.write_lengths(&mut text);
        // What is written to a text cannot fail.
        writeln!(
            text,
            "\nTrained in {:.0} min, measured in {:.0} min.",
            self.training_secs / 60.0,
            self.measuring_secs / 60.0
        )
        .ok();
        text
    }

    fn write_lengths(&self, text: &mut String) {
        text.push_str("\n## Answer length and accuracy\n\n");
        text.push_str("| arm | tokens | right | shortest quarter | second | third | longest quarter |\n");
        text.push_str("|---|---|---|---|---|---|---|\n");
        for line in &self.lengths {
            write!(text, "| {} | {:.0} | {} |", line.title, line.tokens, percent(line.conclusions)).ok();
            for (tokens, tally) in &line.quarters {
                write!(text, " {} at {tokens:.0} |", percent(*tally)).ok();
            }
            text.push('\n');
        }
    }
}

impl TableOf {
    fn new(config: &AblationsConfig, table: &Comparison, records: &Records) -> Self {
        let lines = table.arms.iter().enumerate().map(|(at, name)| {
            let above = at.checked_sub(1).map(|above| &table.arms[above]);
            let baseline = table.baseline.as_ref().or(above).filter(|baseline| *baseline != name);
            let title = config.arm(name).map_or(name.as_str(), |arm| arm.title.as_str());
            line(name, title, baseline.map(String::as_str), &config.seeds, records)
        });
        Self { title: table.title.clone(), note: table.note.clone(), lines: lines.collect() }
    }

    fn write(&self, text: &mut String) {
        write!(text, "\n## {}\n\n", self.title).ok();
        if !self.note.is_empty() {
            write!(text, "{}\n\n", self.note).ok();
        }
        text.push_str(
            "| arm | conclusion right | each seed | difference | likeliest option | stages | tokens |\n",
        );
        text.push_str("|---|---|---|---|---|---|---|\n");
        for line in &self.lines {
            let interval = line.interval_95.map_or_else(String::new, |(low, high)| {
                format!(" ({:.1} to {:.1})", 100.0 * low, 100.0 * high)
            });
            let seeds: Vec<String> = line.seeds.values().map(|tally| percent(*tally)).collect();
            writeln!(
                text,
                "| {} | {}{interval} | {} | {} | {} | {} | {} |",
                line.title,
                percent(line.conclusions),
                if seeds.is_empty() { "–".to_owned() } else { seeds.join(", ") },
                difference(line),
                percent(line.by_likelihood),
                line.stages_present.map_or("–".to_owned(), |share| format!("{:.1}", 100.0 * share)),
                line.tokens.map_or("–".to_owned(), |tokens| format!("{tokens:.0}")),
            )
            .ok();
        }
    }
}

fn line(name: &str, title: &str, baseline: Option<&str>, seeds: &[u64], records: &Records) -> Line {
    let of = |arm: &str, seed: u64| records.get(&(arm.to_owned(), seed))?.measured.as_ref();
    let own: Vec<(u64, &Measured)> = seeds.iter().filter_map(|&seed| Some((seed, of(name, seed)?))).collect();
    let answered: Vec<&(u64, &Measured)> =
        own.iter().filter(|(_, measured)| measured.figures.n > 0).collect();
    let conclusions =
        |measured: &Measured| tally(measured.outcomes.iter().filter_map(|outcome| outcome.is_right));
    let mean = |value: &dyn Fn(&Measured) -> f64| {
        let sum: f64 = answered.iter().map(|(_, measured)| value(measured)).sum();
        (!answered.is_empty()).then(|| sum / answered.len() as f64)
    };
    let together = sum(answered.iter().map(|(_, measured)| conclusions(measured)));
    let pairs: Vec<Vec<Unit>> = baseline.map_or_else(Vec::new, |baseline| {
        own.iter().filter_map(|(seed, measured)| units(measured, of(baseline, *seed)?)).collect()
    });
    let difference = paired_bootstrap(&pairs, SEED);
    Line {
        arm: name.to_owned(),
        title: title.to_owned(),
        seeds: answered.iter().map(|(seed, measured)| (*seed, conclusions(measured))).collect(),
        conclusions: together,
        interval_95: together.wilson_95(),
        by_likelihood: sum(own.iter().map(|(_, measured)| measured.by_likelihood)),
        stages_present: mean(&|measured| measured.figures.stages_present),
        tokens: mean(&|measured| measured.figures.answer_tokens),
        baseline: baseline.filter(|_| difference.is_some()).map(str::to_owned),
        difference,
        difference_over_seeds: paired_bootstrap_over_runs(&pairs, SEED),
    }
}

/// The differences of two arms by image, in order: of conclusions where both answered, else of likelihoods. `None` where
/// they were not asked the same.
fn units(arm: &Measured, baseline: &Measured) -> Option<Vec<Unit>> {
    let is_same = |(a, b): (&Outcome, &Outcome)| a.row == b.row;
    if arm.outcomes.len() != baseline.outcomes.len()
        || !arm.outcomes.iter().zip(&baseline.outcomes).all(is_same)
    {
        return None;
    }
    let both_answer = arm.figures.n > 0 && baseline.figures.n > 0;
    let is_right =
        |outcome: &Outcome| if both_answer { outcome.is_right } else { outcome.is_likeliest_right };
    let mut units = BTreeMap::<&str, Unit>::new();
    for (arm, baseline) in arm.outcomes.iter().zip(&baseline.outcomes) {
        // Also where it is empty, so that all seeds have the same units.
        let unit = units.entry(&arm.image).or_default();
        if let (Some(arm), Some(baseline)) = (is_right(arm), is_right(baseline)) {
            unit.pairs += 1;
            unit.difference += f64::from(i8::from(arm) - i8::from(baseline));
        }
    }
    Some(units.into_values().collect())
}

fn length_line(name: &str, title: &str, records: &Records) -> Option<LengthLine> {
    let of_arm = records.values().filter(|record| record.arm == name);
    let outcomes =
        of_arm.filter_map(|record| record.measured.as_ref()).flat_map(|measured| &measured.outcomes);
    let mut answers: Vec<(usize, bool)> =
        outcomes.filter_map(|outcome| Some((outcome.tokens, outcome.is_right?))).collect();
    if answers.len() < QUARTERS {
        return None;
    }
    // Only by length: where many are equally long, which of them are right must not decide on their quarter.
    answers.sort_by_key(|(tokens, _)| *tokens);
    let mean = |answers: &[(usize, bool)]| {
        answers.iter().map(|(tokens, _)| *tokens as f64).sum::<f64>() / answers.len().max(1) as f64
    };
    let right = |answers: &[(usize, bool)]| tally(answers.iter().map(|(_, is_right)| *is_right));
    let ends: Vec<usize> = (0..=QUARTERS).map(|quarter| answers.len() * quarter / QUARTERS).collect();
    let quarters = ends.windows(2).map(|ends| &answers[ends[0]..ends[1]]);
    Some(LengthLine {
        arm: name.to_owned(),
        title: title.to_owned(),
        tokens: mean(&answers),
        conclusions: right(&answers),
        quarters: quarters.map(|answers| (mean(answers), right(answers))).collect(),
    })
}

fn tally(right: impl Iterator<Item = bool>) -> Tally {
    let mut tally = Tally::default();
    right.for_each(|is_right| tally.add(is_right));
    tally
}

fn sum(tallies: impl Iterator<Item = Tally>) -> Tally {
    let add = |a: Tally, b: Tally| Tally { right: a.right + b.right, total: a.total + b.total };
    tallies.fold(Tally::default(), add)
}

fn percent(tally: Tally) -> String {
    tally.share().map_or("–".to_owned(), |share| format!("{:.1}", 100.0 * share))
}

fn difference(line: &Line) -> String {
    let points = |Difference { mean, interval_95: [low, high] }: Difference| {
        (format!("{:+.1}", 100.0 * mean), format!("{:+.1} to {:+.1}", 100.0 * low, 100.0 * high))
    };
    match (line.difference.map(points), line.difference_over_seeds.map(points)) {
        (Some((mean, interval)), Some((_, wide))) => format!("{mean} ({interval}) [{wide}]"),
        _ => "–".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ablations::settings::tests::WHOLE;
    use crate::event::RowFigures;

    /// A record of ten questions, of which the given ones were answered right, in answers of 10, 11, … tokens.
    fn record(arm: &str, seed: u64, right: &[usize]) -> Record {
        let outcome = |i: usize| Outcome {
            row: format!("q{i}"),
            image: format!("{i}.png"),
            is_right: Some(right.contains(&i)),
            is_likeliest_right: (i < 5).then_some(i < 2),
            tokens: 10 + i,
        };
        let figures = RowFigures { n: 10, stages_present: 1.0, answer_tokens: 14.5, ..RowFigures::default() };
        let measured = Measured {
            figures,
            by_likelihood: Tally { right: 2, total: 5 },
            secs: 30.0,
            outcomes: (0..10).map(outcome).collect(),
        };
        Record { arm: arm.to_owned(), seed, training_secs: 60.0, measured: Some(measured) }
    }

    fn tables(records: Vec<Record>) -> Tables {
        let config: AblationsConfig = toml::from_str(WHOLE).unwrap();
        let records = records.into_iter().map(|record| ((record.arm.clone(), record.seed), record)).collect();
        Tables::new(&config, &records)
    }

    #[test]
    fn arms_are_compared_question_by_question_over_all_seeds() {
        let tables = tables(vec![
            record("cold", 1, &[0, 1, 2, 3]),
            record("cold", 2, &[0, 1, 2, 3]),
            record("grpo-0", 1, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
            record("grpo-0", 2, &[0, 1, 2, 3, 4, 5]),
        ]);
        let [cold, grpo] = &tables.compared[0].lines[..] else { panic!("two arms") };
        assert_eq!((cold.conclusions, cold.difference), (Tally { right: 8, total: 20 }, None));
        assert_eq!(grpo.seeds[&1], Tally { right: 10, total: 10 });
        assert_eq!(grpo.by_likelihood, Tally { right: 4, total: 10 });
        let difference = grpo.difference.unwrap();
        assert!((difference.mean - 0.4).abs() < 1e-12 && difference.interval_95[0] > 0.0);
        let wide = grpo.difference_over_seeds.unwrap();
        assert!(wide.interval_95[0] <= difference.interval_95[0]);
        let text = tables.markdown();
        assert!(text.contains("| GRPO without the semantic reward | 80.0 ("), "{text}");
        assert!(text.contains("| 100.0, 60.0 | +40.0 ("), "{text}");
        assert!(text.contains("Trained in 4 min, measured in 2 min."), "{text}");
    }

    #[test]
    fn what_was_not_measured_yet_is_left_open() {
        let tables = tables(vec![record("grpo-0", 1, &[0])]);
        let grpo = &tables.compared[0].lines[1];
        assert_eq!((grpo.difference, grpo.conclusions), (None, Tally { right: 1, total: 10 }));
        assert!(tables.markdown().contains("| cold start | – | – | – | – | – | – |"));
    }

    #[test]
    fn an_arm_that_cannot_answer_yet_is_compared_by_likelihood() {
        let (mut before, after) = (record("cold", 1, &[]), record("grpo-0", 1, &[0]));
        if let Some(measured) = &mut before.measured {
            measured.figures.n = 0;
            measured.outcomes.iter_mut().for_each(|outcome| outcome.is_right = None);
            measured.outcomes[0].is_likeliest_right = Some(false);
        }
        let tables = tables(vec![before, after]);
        let [cold, grpo] = &tables.compared[0].lines[..] else { panic!("two arms") };
        assert!(cold.seeds.is_empty() && cold.tokens.is_none());
        assert!((grpo.difference.unwrap().mean - 0.2).abs() < 1e-12, "one of five questions with options");
    }

    #[test]
    fn long_and_short_answers_are_told_apart() {
        let tables = tables(vec![record("cold", 1, &[8, 9]), record("cold", 2, &[9])]);
        let [line] = &tables.lengths[..] else { panic!("one arm was measured") };
        assert!((line.tokens - 14.5).abs() < 1e-12);
        let right: Vec<usize> = line.quarters.iter().map(|(_, tally)| tally.right).collect();
        assert_eq!(right, [0, 0, 0, 3]);
        assert_eq!(line.quarters.iter().map(|(_, tally)| tally.total).sum::<usize>(), 20);
        assert!(line.quarters.is_sorted_by_key(|(tokens, _)| *tokens as usize));
    }
}
