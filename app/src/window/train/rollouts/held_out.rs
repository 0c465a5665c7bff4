//! Held-out accuracy of runs side by side, and whether a difference is more than chance.

use egui::{Grid, ScrollArea, Ui};

use super::super::super::widgets::{caption, title};
use super::super::words;
use crate::runs::told::{EvaluationTold, RunTold};

/// Draws the newest figures of each stage, and what follows for each run beside the first.
pub(super) fn ui(ui: &mut Ui, runs: &[&RunTold], names: &[String]) {
    title(ui, "Held-out accuracy");
    let stages = stages(runs);
    if stages.is_empty() {
        caption(ui, "None of these runs has answered held-out rows yet.");
        return;
    }
    ScrollArea::horizontal().id_salt("held-out accuracy").show(ui, |ui| {
        Grid::new("held-out accuracy of runs").striped(true).spacing([16.0, 4.0]).show(ui, |ui| {
            caption(ui, "run");
            for stage in &stages {
                caption(ui, format!("after {}, with 95 % interval", words::stage(stage)));
            }
            ui.end_row();
            for (told, name) in runs.iter().zip(names) {
                ui.label(name.as_str());
                for stage in &stages {
                    ui.label(newest(told, stage).map_or_else(|| "not measured".to_owned(), in_words));
                }
                ui.end_row();
            }
        });
    });
    let Some((first, others)) = runs.split_first() else { return };
    for (other, name) in others.iter().zip(names.iter().skip(1)) {
        if let Some(sentence) = verdict(&stages, (first, names[0].as_str()), (other, name.as_str())) {
            ui.label(sentence);
        }
    }
}

/// Stages in which any of the runs answered held-out rows, in their order.
fn stages<'a>(runs: &[&'a RunTold]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for stage in runs.iter().flat_map(|told| &told.stages).filter(|stage| !stage.evaluations.is_empty()) {
        if !names.contains(&stage.name.as_str()) {
            names.push(&stage.name);
        }
    }
    names
}

fn newest<'a>(told: &'a RunTold, stage: &str) -> Option<&'a EvaluationTold> {
    told.stage(stage)?.evaluations.last()
}

/// As in `62.0 % (55.0 to 69.0 %), n = 200, step 120`.
fn in_words(evaluation: &EvaluationTold) -> String {
    let figures = &evaluation.figures;
    if figures.n == 0 {
        return format!("no row with a label, step {}", evaluation.step);
    }
    let [low, high] = figures.interval_95.map(|share| share * 100.0);
    let accuracy = figures.accuracy * 100.0;
    format!("{accuracy:.1} % ({low:.1} to {high:.1} %), n = {}, step {}", figures.n, evaluation.step)
}

/// What the figures of two runs say of each other after the last stage that both have.
fn verdict(stages: &[&str], first: (&RunTold, &str), other: (&RunTold, &str)) -> Option<String> {
    let (stage, a, b) = stages
        .iter()
        .rev()
        .find_map(|stage| Some((stage, newest(first.0, stage)?, newest(other.0, stage)?)))?;
    let (a, b) = (&a.figures, &b.figures);
    if a.n == 0 || b.n == 0 {
        return None;
    }
    let stage = words::stage(stage);
    let (above, below) = if a.accuracy >= b.accuracy { (first.1, other.1) } else { (other.1, first.1) };
    let [a_low, a_high] = a.interval_95;
    let [b_low, b_high] = b.interval_95;
    let points = (a.accuracy - b.accuracy).abs() * 100.0;
    let mut sentence = if a_low <= b_high && b_low <= a_high {
        format!(
            "After {stage}, the intervals of {above} and {below} overlap: their difference of {points:.1} percentage points \
             may be chance."
        )
    } else {
        format!(
            "After {stage}, {above} is {points:.1} percentage points above {below}, and their intervals do not overlap."
        )
    };
    if a.n != b.n {
        sentence.push_str(" They did not answer the same rows.");
    }
    Some(sentence)
}

#[cfg(test)]
mod tests {
    use reinpath_training::event::RowFigures;

    use super::super::tests::run;
    use super::*;
    use crate::runs::told::StageTold;

    fn measured(name: &str, accuracy: f64, interval_95: [f64; 2], n: usize) -> RunTold {
        let mut told = run(name, &[]);
        let figures = RowFigures { n, accuracy, interval_95, ..RowFigures::default() };
        let evaluations = vec![EvaluationTold { step: 40, figures }];
        told.stages.push(StageTold { name: "grpo".to_owned(), evaluations, ..StageTold::default() });
        told
    }

    fn said(a: &RunTold, b: &RunTold) -> Option<String> {
        verdict(&stages(&[a, b]), (a, "first"), (b, "second"))
    }

    #[test]
    fn a_difference_whose_intervals_overlap_may_be_chance() {
        let a = measured("a", 0.60, [0.55, 0.65], 100);
        let b = measured("b", 0.64, [0.59, 0.69], 100);
        let sentence = said(&a, &b).unwrap();
        assert_eq!(
            sentence,
            "After GRPO, the intervals of second and first overlap: their difference of 4.0 percentage points may be \
             chance."
        );
        let c = measured("c", 0.80, [0.66, 0.90], 50);
        let sentence = said(&a, &c).unwrap();
        assert!(
            sentence.starts_with("After GRPO, second is 20.0 percentage points above first"),
            "{sentence}"
        );
        assert!(sentence.ends_with("They did not answer the same rows."), "{sentence}");
    }

    #[test]
    fn runs_without_held_out_rows_are_not_judged() {
        let (a, none) = (measured("a", 0.6, [0.5, 0.7], 100), run("b", &[]));
        assert_eq!(said(&a, &none), None);
        assert_eq!(said(&a, &measured("c", 0.0, [0.0, 1.0], 0)), None);
        assert_eq!(stages(&[&none]), [""; 0]);
        assert_eq!(stages(&[&none, &a]), ["grpo"]);
    }

    #[test]
    fn figures_have_their_interval_and_what_they_rest_on() {
        let told = measured("a", 0.62, [0.55, 0.69], 200);
        let evaluation = newest(&told, "grpo").unwrap();
        assert_eq!(in_words(evaluation), "62.0 % (55.0 to 69.0 %), n = 200, step 40");
        assert_eq!(newest(&told, "alignment"), None);
    }
}
