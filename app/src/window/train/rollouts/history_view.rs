//! How the answers to one question changed over a run: the mean reward as a curve, the steps as a list, and the answers of some of
//! them side by side.

use egui::{Button, ScrollArea, Ui, vec2};
use egui_plot::{Line, Plot, Points};
use reinpath_training::rollout_record::RolloutRecord;

use super::super::super::command::CommandSender;
use super::super::super::theme;
use super::super::super::widgets::{caption, problem_ui, title};
use super::super::TrainCommand;
use super::super::staged::{self, Span};
use super::super::words;
use super::kept::Kept;
use super::step_view::Earned;
use super::{RolloutsCommand, RolloutsState, answers, question};
use crate::runs::rollouts::RowHistory;

/// Points.
const CURVE_HEIGHT: f32 = 120.0;
const LIST_HEIGHT: f32 = 148.0;
const ROW_HEIGHT: f32 = 22.0;
/// Width of the answers of a step beside others.
const COLUMN_WIDTH: f32 = 260.0;

/// The answers of each chosen step, by their stages.
type Beside = Vec<Vec<Vec<Span>>>;

/// What drawing it keeps from frame to frame.
#[derive(Default)]
pub(super) struct HistoryView {
    /// Of a row, of so many records of it, and of the chosen ones.
    beside: Kept<(String, usize, Vec<usize>), Beside>,
}

impl HistoryView {
    /// Draws the history of a row, or that it is being read.
    pub(super) fn ui(&mut self, ui: &mut Ui, rollouts: &RolloutsState, row: &str, commands: &CommandSender) {
        ui.horizontal_wrapped(|ui| {
            title(ui, &format!("How the answers to row {row} changed"));
            if ui.button("Back to the step").clicked() {
                commands.train(TrainCommand::Rollouts(RolloutsCommand::CloseHistory));
            }
        });
        if let Some(sentence) = &rollouts.history_fault {
            problem_ui(ui, sentence, |ui| {
                if ui.button("Try again").clicked() {
                    commands.train(TrainCommand::Rollouts(RolloutsCommand::History(row.to_owned())));
                }
            });
            return;
        }
        let Some(history) = &rollouts.history else {
            caption(ui, "Looking through the steps of the run");
            return;
        };
        let Some(first) = history.records.first() else {
            caption(ui, "None of the steps that were looked through asked this question.");
            return;
        };
        question::words_ui(ui, first);
        if history.left_out > 0 {
            caption(ui, format!("{} steps were not looked through: there are too many.", history.left_out));
        }
        curve_ui(ui, history);
        list_ui(ui, rollouts, history, commands);
        let mut chosen = rollouts.history_chosen.clone();
        chosen.sort_unstable();
        let key = (row.to_owned(), history.records.len(), chosen.clone());
        let beside = self.beside.get(key, || beside(history, &chosen));
        beside_ui(ui, history, &chosen, beside);
    }
}

fn beside(history: &RowHistory, chosen: &[usize]) -> Beside {
    let records = chosen.iter().filter_map(|&place| history.records.get(place));
    let spans = |record: &RolloutRecord| {
        record.answers.iter().map(|answer| staged::spans(&answer.text)).collect::<Vec<_>>()
    };
    records.map(spans).collect()
}

/// Mean rewards over steps.
fn points(history: &RowHistory) -> Vec<[f64; 2]> {
    history.records.iter().map(|record| [record.step as f64, Earned::of(record).mean]).collect()
}

fn curve_ui(ui: &mut Ui, history: &RowHistory) {
    caption(ui, "Mean reward of its answers, by step");
    let points = points(history);
    let colour = theme::of(ui).text;
    let plot = Plot::new(("rewards of a row", history.row.as_str()))
        .height(CURVE_HEIGHT)
        .allow_scroll(false)
        .allow_zoom(false)
        .allow_drag(false);
    let shown = plot.show(ui, |plot| {
        plot.line(Line::new("mean reward", points.clone()).color(colour));
        plot.points(Points::new("mean reward at a step", points).radius(2.5).color(colour));
    });
    shown.response.widget_info(|| {
        egui::WidgetInfo::labeled(egui::Role::Image, true, "Plot of the mean reward of this row's answers")
    });
}

fn list_ui(ui: &mut Ui, rollouts: &RolloutsState, history: &RowHistory, commands: &CommandSender) {
    caption(ui, "Steps that asked it; press those whose answers are to stand side by side");
    let list = ScrollArea::vertical().id_salt("steps of a row").max_height(LIST_HEIGHT);
    list.auto_shrink([false, true]).show_rows(ui, ROW_HEIGHT, history.records.len(), |ui, rows| {
        for place in rows {
            let Some(record) = history.records.get(place) else { continue };
            let is_chosen = rollouts.history_chosen.contains(&place);
            let words = step_in_words(record);
            let button = Button::selectable(is_chosen, words.as_str()).truncate();
            if ui.add(button.min_size(vec2(ui.available_width(), ROW_HEIGHT))).clicked() {
                let wish = RolloutsCommand::HistoryStep(place, !is_chosen);
                commands.train(TrainCommand::Rollouts(wish));
            }
        }
    });
}

/// As in `GRPO, step 40: reward 1.25 ± 0.50, right 2 of 4`.
fn step_in_words(record: &RolloutRecord) -> String {
    let earned = Earned::of(record).in_words(record.label.is_some());
    format!("{}, step {}: {earned}", words::stage(&record.stage), record.step)
}

fn beside_ui(ui: &mut Ui, history: &RowHistory, chosen: &[usize], texts: &[Vec<Vec<Span>>]) {
    let records = chosen.iter().filter_map(|&place| history.records.get(place));
    ScrollArea::horizontal().id_salt("answers of a row side by side").show(ui, |ui| {
        ui.horizontal_top(|ui| {
            for (record, spans) in records.zip(texts) {
                ui.vertical(|ui| {
                    ui.set_width(COLUMN_WIDTH);
                    title(ui, &format!("Step {}", record.step));
                    answers_ui(ui, record, spans);
                });
            }
        });
    });
}

/// The answers to a question below each other, whole.
pub(super) fn answers_ui(ui: &mut Ui, record: &RolloutRecord, texts: &[Vec<Span>]) {
    for (answer, spans) in record.answers.iter().zip(texts) {
        answers::frame(ui, |ui| {
            caption(ui, answers::line_of(record, answer));
            staged::ui(ui, spans);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;

    #[test]
    fn the_curve_has_the_mean_reward_of_each_step() {
        let records = vec![record(3, "a", &[1.0, 2.0]), record(9, "a", &[3.0])];
        let history = RowHistory { row: "a".to_owned(), records, left_out: 0 };
        assert_eq!(points(&history), [[3.0, 1.5], [9.0, 3.0]]);
        assert_eq!(step_in_words(&history.records[0]), "GRPO, step 3: reward 1.50 ± 0.50, right 0 of 2");
        let texts = beside(&history, &[1, 7]);
        assert_eq!(texts.len(), 1, "a place that is not there is left out");
        assert_eq!(texts[0].len(), 1);
    }
}
