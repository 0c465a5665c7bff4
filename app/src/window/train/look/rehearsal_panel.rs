//! Answers that the model wrote in the preflight, in a window of its own: a table of rows, answers and what each would earn.

use std::collections::BTreeSet;

use egui::{Grid, RichText, ScrollArea, Ui};
use reinpath_model::event::Stop;
use reinpath_training::rollout_record::{AnswerRecord, RolloutRecord};

use super::LookCommand;
use crate::window::command::CommandSender;
use crate::window::theme;
use crate::window::train::TrainCommand;
use crate::window::train::staged;
use crate::window::widgets::{caption, dialog};

/// The widest that an answer is shown, in points.
const WIDEST: f32 = 340.0;

/// Draws it.
pub(super) fn ui(ui: &Ui, records: &[RolloutRecord], commands: &CommandSender) {
    let mut is_open = true;
    let window = dialog(ui, "Sampled answers", "sampled answers", &mut is_open);
    window.default_size([760.0, 520.0]).collapsible(false).show(ui.ctx(), |ui| {
        caption(ui, "Written by the model as it is before the first step, with what each answer would earn.");
        ScrollArea::both().id_salt("sampled answers").auto_shrink(false).show(ui, |ui| {
            table_ui(ui, records);
        });
    });
    if !is_open {
        commands.train(TrainCommand::Look(LookCommand::ShowRehearsals(false)));
    }
}

fn table_ui(ui: &mut Ui, records: &[RolloutRecord]) {
    let parts = parts(records);
    let head = |ui: &mut Ui, words: &str| {
        ui.label(RichText::new(words).font(theme::semibold(theme::CAPTION)));
    };
    let grid = Grid::new("sampled answers").striped(true).max_col_width(WIDEST);
    grid.show(ui, |ui| {
        for words in ["Row", "Answer", "End", "Right", "Reward"] {
            head(ui, words);
        }
        for part in &parts {
            head(ui, part);
        }
        ui.end_row();
        for record in records {
            for answer in &record.answers {
                ui.label(&record.row).on_hover_text(&record.question);
                ui.vertical(|ui| {
                    ui.set_max_width(WIDEST);
                    staged::ui(ui, &staged::spans(&answer.text));
                });
                ui.label(end(answer));
                ui.label(if answer.is_right { "right" } else { "wrong" });
                ui.label(format!("{:.2}", answer.reward));
                for part in &parts {
                    ui.label(earned(answer, part));
                }
                ui.end_row();
            }
        }
    });
}

/// The parts of the reward that any of the answers has.
fn parts(records: &[RolloutRecord]) -> Vec<&str> {
    let answers = records.iter().flat_map(|record| &record.answers);
    let parts: BTreeSet<&str> =
        answers.flat_map(|answer| answer.rewards.keys().map(String::as_str)).collect();
    parts.into_iter().collect()
}

fn earned(answer: &AnswerRecord, part: &str) -> String {
    answer.rewards.get(part).map_or_else(|| "not scored".to_owned(), |value| format!("{value:.2}"))
}

fn end(answer: &AnswerRecord) -> String {
    let how = match answer.stop {
        Stop::End => "ended",
        Stop::MaxTokens => "cut off",
        Stop::Cancelled => "stopped",
    };
    format!("{how}, {} tokens", answer.tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> RolloutRecord {
        let answer = |parts: &[(&str, f64)], stop| AnswerRecord {
            text: "B".to_owned(),
            tokens: 7,
            stop,
            logprob: -1.0,
            rewards: parts.iter().map(|&(name, value)| (name.to_owned(), value)).collect(),
            reward: 1.0,
            advantage: 0.0,
            is_right: true,
        };
        RolloutRecord {
            answers: vec![
                answer(&[("format", 1.0), ("accuracy", 0.0)], Stop::End),
                answer(&[("semantic", 0.25)], Stop::MaxTokens),
            ],
            ..RolloutRecord::default()
        }
    }

    #[test]
    fn a_part_that_was_not_scored_is_said_so_and_is_not_0() {
        let records = [record()];
        assert_eq!(parts(&records), ["accuracy", "format", "semantic"]);
        let [first, second] = &records[0].answers[..] else { panic!("two answers") };
        assert_eq!(
            (earned(first, "accuracy"), earned(second, "accuracy")),
            ("0.00".into(), "not scored".into())
        );
        assert_eq!((end(first), end(second)), ("ended, 7 tokens".into(), "cut off, 7 tokens".into()));
    }
}
