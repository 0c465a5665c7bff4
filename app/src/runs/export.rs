//! Figures of a run as CSV.

use std::collections::BTreeSet;
use std::io::{Result, Write};

use super::told::{EvaluationTold, RunTold, StageTold, series};

/// Columns that come first where they are there; the others follow by name.
const FIRST: [&str; 4] = [series::LOSS, series::LEARNING_RATE, series::GRADIENT_NORM, series::SECS];
/// Columns of held-out rows, where some were answered.
const HELD_OUT: [&str; 4] = ["held_out_n", "held_out_accuracy", "held_out_low_95", "held_out_high_95"];

/// Writes every figure of a run: a line for each step of each stage (and for each step after which held-out rows were answered),
/// under a line with the columns' names. What a step did not measure is empty. Fields with commas, quotes or line ends are
/// quoted as in RFC 4180; lines end with a line feed.
pub fn csv(told: &RunTold, out: &mut impl Write) -> Result<()> {
    let names = names(told);
    let has_held_out = told.stages.iter().any(|stage| !stage.evaluations.is_empty());
    write!(out, "stage,step")?;
    for name in names.iter().copied().chain(HELD_OUT.into_iter().filter(|_| has_held_out)) {
        write!(out, ",{}", quoted(name))?;
    }
    writeln!(out)?;
    for stage in &told.stages {
        of_stage(stage, &names, has_held_out, out)?;
    }
    out.flush()
}

/// The measures of all stages.
fn names(told: &RunTold) -> Vec<&str> {
    let all: BTreeSet<&str> =
        told.stages.iter().flat_map(|stage| stage.measures.keys().map(String::as_str)).collect();
    let first = FIRST.into_iter().filter(|name| all.contains(name));
    let others = all.iter().copied().filter(|name| !FIRST.contains(name));
    first.chain(others).collect()
}

fn of_stage(stage: &StageTold, names: &[&str], has_held_out: bool, out: &mut impl Write) -> Result<()> {
    let columns: Vec<_> = names.iter().map(|name| stage.measure(name)).collect();
    let mut evaluations = stage.evaluations.iter().peekable();
    let mut line = |at: Option<usize>, step: usize, evaluation: Option<&EvaluationTold>| -> Result<()> {
        write!(out, "{},{step}", quoted(&stage.name))?;
        for column in &columns {
            match column.zip(at).and_then(|(column, at)| column.get(at)) {
                Some(value) => write!(out, ",{value}")?,
                None => write!(out, ",")?,
            }
        }
        match evaluation.map(|evaluation| &evaluation.figures) {
            Some(figures) => {
                let [low, high] = figures.interval_95;
                write!(out, ",{},{},{low},{high}", figures.n, figures.accuracy)?;
            }
            None if has_held_out => write!(out, ",,,,")?,
            None => {}
        }
        writeln!(out)
    };
    for at in 0..stage.steps.len() {
        let Some(step) = stage.steps.get(at).map(|step| step as usize) else { continue };
        while let Some(before) = evaluations.next_if(|evaluation| evaluation.step < step) {
            line(None, before.step, Some(before))?;
        }
        let evaluation = evaluations.next_if(|evaluation| evaluation.step == step);
        line(Some(at), step, evaluation)?;
    }
    for after in evaluations {
        line(None, after.step, Some(after))?;
    }
    Ok(())
}

fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use reinpath_training::event::RowFigures;

    use super::*;
    use crate::runs::RunKey;

    fn stage(name: &str, measures: &[(&str, &[f32])], evaluations: Vec<EvaluationTold>) -> StageTold {
        let count = measures.first().map_or(0, |(_, values)| values.len());
        StageTold {
            name: name.to_owned(),
            planned: count,
            steps: (1..=count).map(|step| step as f32).collect(),
            measures: measures
                .iter()
                .map(|(name, values)| ((*name).to_owned(), values.iter().copied().collect()))
                .collect::<BTreeMap<_, _>>(),
            evaluations,
        }
    }

    fn evaluation(step: usize) -> EvaluationTold {
        let figures =
            RowFigures { n: 80, accuracy: 0.75, interval_95: [0.65, 0.8125], ..RowFigures::default() };
        EvaluationTold { step, figures }
    }

    fn text(stages: Vec<StageTold>) -> String {
        let told = RunTold { stages, ..RunTold::new(RunKey::new("/runs/a".into())) };
        let mut out = Vec::new();
        csv(&told, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_figure_of_every_stage_has_its_place() {
        let first = stage("alignment", &[("loss", &[2.5, 2.0]), ("secs", &[1.0, 2.0])], Vec::new());
        let measures: &[(&str, &[f32])] = &[("kl", &[0.5, f32::NAN]), ("loss", &[1.0, f32::INFINITY])];
        let second = stage("grpo", measures, vec![evaluation(2)]);
        assert_eq!(
            text(vec![first, second]),
            "stage,step,loss,secs,kl,held_out_n,held_out_accuracy,held_out_low_95,held_out_high_95\n\
             alignment,1,2.5,1,,,,,\n\
             alignment,2,2,2,,,,,\n\
             grpo,1,1,,0.5,,,,\n\
             grpo,2,inf,,,80,0.75,0.65,0.8125\n"
        );
    }

    #[test]
    fn held_out_rows_before_the_first_and_after_the_last_step_have_lines_of_their_own() {
        let told = stage("grpo", &[("loss", &[1.0])], vec![evaluation(0), evaluation(7)]);
        let text = text(vec![told]);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(lines, ["grpo,0,,80,0.75,0.65,0.8125", "grpo,1,1,,,,", "grpo,7,,80,0.75,0.65,0.8125"]);
    }

    #[test]
    fn a_run_without_held_out_rows_has_no_columns_of_them_and_strange_names_are_quoted() {
        let told = stage("grpo", &[("a \"new\", thing", &[1.5])], Vec::new());
        assert_eq!(text(vec![told]), "stage,step,\"a \"\"new\"\", thing\"\ngrpo,1,1.5\n");
        assert_eq!(text(Vec::new()), "stage,step\n");
    }
}
