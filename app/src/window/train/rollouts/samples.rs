//! The same question in each of the runs side by side: their newest answers to it.

use std::sync::Arc;

use egui::{ScrollArea, Ui};
use reinpath_training::rollout_record::RolloutRecord;

use super::super::super::command::CommandSender;
use super::super::super::state::AppState;
use super::super::super::widgets::{caption, title, warning};
use super::super::TrainCommand;
use super::super::staged::{self, Span};
use super::super::words;
use super::kept::Kept;
use super::step_view::Earned;
use super::{RolloutsCommand, Same, Sample, history_view, question};
use crate::runs::RunKey;
use crate::runs::told::RunTold;

/// Points; narrower columns cannot be read.
const COLUMN_WIDTH: f32 = 260.0;

/// What drawing it keeps from frame to frame: the answers of each sample by their stages, of a version of the samples.
#[derive(Default)]
pub(super) struct Samples {
    staged: Kept<u64, Vec<Vec<Vec<Span>>>>,
}

impl Samples {
    /// Draws them, a column a run.
    pub(super) fn ui(
        &mut self,
        ui: &mut Ui,
        state: &AppState,
        runs: &[&RunTold],
        names: &[String],
        commands: &CommandSender,
    ) {
        title(ui, "The same question in each run");
        let same = &state.train.rollouts.same;
        if same.row.is_empty() {
            caption(ui, "Choose a question on the right: the newest answers of each run to it come here.");
            return;
        }
        ui.horizontal_wrapped(|ui| {
            ui.label(format!("Row {}", same.row));
            if ui.button("Look for newer answers").clicked() {
                commands.train(TrainCommand::Rollouts(RolloutsCommand::ReadSame));
            }
        });
        if let Some(record) = same.samples.iter().find_map(|(_, sample)| record_of(sample)) {
            question::words_ui(ui, record);
        }
        let staged =
            self.staged.get(same.version, || same.samples.iter().map(|(_, one)| spans(one)).collect());
        let width = ui.available_width() / runs.len().max(1) as f32 - ui.spacing().item_spacing.x;
        ScrollArea::horizontal().id_salt("the same question").show(ui, |ui| {
            ui.horizontal_top(|ui| {
                for (told, name) in runs.iter().zip(names) {
                    ui.vertical(|ui| {
                        ui.set_width(width.max(COLUMN_WIDTH));
                        title(ui, name);
                        sample_ui(ui, same, staged, told);
                    });
                }
            });
        });
    }
}

fn record_of(sample: &Sample) -> Option<&RolloutRecord> {
    sample.as_ref().ok()?.as_ref()
}

fn spans(sample: &Sample) -> Vec<Vec<Span>> {
    let answers = record_of(sample).map(|record| record.answers.as_slice()).unwrap_or_default();
    answers.iter().map(|answer| staged::spans(&answer.text)).collect()
}

fn sample_ui(ui: &mut Ui, same: &Same, staged: &[Vec<Vec<Span>>], told: &RunTold) {
    let found = same.samples.iter().zip(staged).find(|((run, _), _)| *run == told.key);
    match found {
        Some(((_, Ok(Some(record))), texts)) => {
            let earned = Earned::of(record).in_words(record.label.is_some());
            caption(ui, format!("{}, step {}: {earned}", words::stage(&record.stage), record.step));
            history_view::answers_ui(ui, record, texts);
        }
        Some(((_, Ok(None)), _)) => {
            caption(ui, "None of its newest steps asked this question.");
        }
        Some(((_, Err(sentence)), _)) => {
            warning(ui, sentence);
        }
        None if told.rollouts.steps.is_empty() => {
            caption(ui, "This run has no rollouts.");
        }
        None => {
            caption(ui, "Looking through its newest steps");
        }
    }
}

/// Names of runs, each once: folders of the same name get a number.
pub(super) fn names(runs: &[&RunTold]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for told in runs {
        let name = told.key.name();
        let before = runs.iter().take(names.len()).filter(|other| other.key.name() == name).count();
        names.push(if before == 0 { name } else { format!("{name} ({})", before + 1) });
    }
    names
}

/// The runs that are laid side by side, the shown one first.
pub(super) fn laid_out(state: &AppState) -> Vec<&RunTold> {
    state.train.runs.laid_out().map(Arc::as_ref).collect()
}

/// Runs that are to be laid side by side and have told nothing yet.
pub(super) fn awaited(state: &AppState) -> Vec<&RunKey> {
    let runs = &state.train.runs;
    runs.shown.iter().chain(&runs.compared).filter(|key| !runs.told.contains_key(*key)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{record, run};
    use super::*;

    #[test]
    fn runs_of_the_same_name_are_told_apart() {
        let mut third = run("a", &[]);
        third.key = RunKey::new("/elsewhere/a".into());
        let (first, second) = (run("a", &[]), run("b", &[]));
        assert_eq!(names(&[&first, &second, &third]), ["a", "b", "a (2)"]);
    }

    #[test]
    fn a_sample_without_a_record_has_no_texts() {
        assert_eq!(spans(&Ok(Some(record(1, "a", &[1.0, 2.0])))).len(), 2);
        assert!(spans(&Ok(None)).is_empty());
        assert!(spans(&Err("It is gone".to_owned())).is_empty());
    }
}
