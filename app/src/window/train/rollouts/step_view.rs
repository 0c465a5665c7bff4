//! The answers of a step: which step, which of its questions, and then what `question` and `answers` draw of it.

use egui::{Button, DragValue, ScrollArea, Slider, Ui, vec2};
use reinpath_training::rollout_record::RolloutRecord;

use super::super::super::command::CommandSender;
use super::super::super::state::AppState;
use super::super::super::widgets::{caption, hairline, problem_ui, title, toggle, warning};
use super::super::TrainCommand;
use super::super::runs::RunsCommand;
use super::super::staged::{self, Span};
use super::super::words;
use super::history_view::HistoryView;
use super::kept::Kept;
use super::{RolloutsCommand, RolloutsState, answers, checkpoints, question};
use crate::runs::rollouts::RolloutStep;
use crate::runs::told::RunTold;

/// Height of the list of questions.
const LIST_HEIGHT: f32 = 148.0;
/// Of one of them.
const ROW_HEIGHT: f32 = 22.0;

/// What drawing the right side keeps from frame to frame.
#[derive(Default)]
pub(super) struct StepView {
    /// Where in the index the shown step stands, of a version of the run.
    place: Kept<(u64, Option<RolloutStep>), Option<usize>>,
    /// The stages of the reference and of the answers of the shown question, of a version of the records.
    staged: Kept<(u64, usize), Staged>,
    history: HistoryView,
}

/// Texts by their stages.
pub(super) struct Staged {
    pub(super) reference: Vec<Span>,
    pub(super) answers: Vec<Vec<Span>>,
}

impl Staged {
    fn of(record: &RolloutRecord) -> Self {
        let answers = record.answers.iter().map(|answer| staged::spans(&answer.text)).collect();
        Self { reference: staged::spans(&record.reference), answers }
    }
}

/// What a question's answers earned together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Earned {
    pub(super) mean: f64,
    /// Standard deviation of the answers.
    pub(super) spread: f64,
    pub(super) right: usize,
    pub(super) answers: usize,
}

impl Earned {
    pub(super) fn of(record: &RolloutRecord) -> Self {
        let answers = record.answers.len();
        if answers == 0 {
            return Self::default();
        }
        let count = answers as f64;
        let mean = record.answers.iter().map(|answer| answer.reward).sum::<f64>() / count;
        let squares = record.answers.iter().map(|answer| (answer.reward - mean).powi(2)).sum::<f64>();
        let right = record.answers.iter().filter(|answer| answer.is_right).count();
        Self { mean, spread: (squares / count).sqrt(), right, answers }
    }

    /// As in `reward 1.25 ± 0.50, right 2 of 4`; nothing can be right where there is no label.
    pub(super) fn in_words(&self, has_label: bool) -> String {
        let right =
            if has_label { format!(", right {} of {}", self.right, self.answers) } else { String::new() };
        format!("reward {:.2} ± {:.2}{right}", self.mean, self.spread)
    }
}

impl StepView {
    /// Draws the right side.
    pub(super) fn ui(&mut self, ui: &mut Ui, state: &AppState, commands: &CommandSender) {
        ScrollArea::vertical().id_salt("rollouts panel").auto_shrink(false).show(ui, |ui| {
            title(ui, "Rollouts");
            let Some(told) = state.train.runs.shown_run() else {
                no_run_ui(ui, state, commands);
                return;
            };
            let rollouts = &state.train.rollouts;
            match &rollouts.history_of {
                Some(row) => self.history.ui(ui, rollouts, row, commands),
                None if told.rollouts.steps.is_empty() => {
                    caption(ui, why_none(told));
                }
                None => self.step_ui(ui, told, rollouts, commands),
            }
            checkpoints::ui(ui, state, told, commands);
        });
    }

    fn step_ui(&mut self, ui: &mut Ui, told: &RunTold, rollouts: &RolloutsState, commands: &CommandSender) {
        self.chooser_ui(ui, told, rollouts, commands);
        if let Some(note) = &rollouts.note {
            warning(ui, note);
        }
        match &rollouts.records {
            None => {
                caption(ui, "Reading the answers");
            }
            Some(Err(sentence)) => problem_ui(ui, sentence, |ui| {
                if ui.button("Try again").clicked() {
                    commands.train(TrainCommand::Rollouts(again(rollouts)));
                }
            }),
            Some(Ok(records)) => {
                questions_ui(ui, records, rollouts.question, commands);
                if let Some(record) = records.get(rollouts.question) {
                    let key = (rollouts.version, rollouts.question);
                    let staged = self.staged.get(key, || Staged::of(record));
                    hairline(ui);
                    question::ui(ui, record, rollouts, staged, commands);
                    hairline(ui);
                    answers::ui(ui, record, rollouts, staged, commands);
                }
            }
        }
    }

    fn chooser_ui(
        &mut self,
        ui: &mut Ui,
        told: &RunTold,
        rollouts: &RolloutsState,
        commands: &CommandSender,
    ) {
        let steps = &told.rollouts.steps;
        let last = steps.len().saturating_sub(1);
        let shown = rollouts.reading.as_ref().or(rollouts.read.as_ref());
        let find = || shown.and_then(|step| told.rollouts.place(&step.stage, step.step));
        let place = self.place.get((told.version, shown.cloned()), find).unwrap_or(last).min(last);
        let go = |at: usize| {
            if let Some(step) = steps.get(at) {
                commands.train(show(&step.stage, step.step));
            }
        };
        let Some(step) = steps.get(place) else { return };
        caption(ui, place_in_words(told, rollouts, step, place));
        ui.spacing_mut().slider_width = (ui.available_width() - 8.0).max(60.0);
        let mut at = place;
        let slider = ui.add_enabled(last > 0, Slider::new(&mut at, 0..=last).show_value(false));
        if slider.accessible_name("Step whose answers are shown").changed() && at != place {
            go(at);
        }
        ui.horizontal_wrapped(|ui| {
            if ui.add_enabled(place > 0, Button::new("Previous")).clicked() {
                go(place - 1);
            }
            let label = ui.label("Step");
            let mut typed = step.step;
            let number = DragValue::new(&mut typed).update_while_editing(false).range(1..=usize::MAX);
            if ui.add(number).labelled_by(label.id).changed() && typed != step.step {
                commands.train(show(&step.stage, typed));
            }
            if ui.add_enabled(place < last, Button::new("Next")).clicked() {
                go(place + 1);
            }
            let newest = toggle(ui, rollouts.step.is_none(), "Newest");
            let about = "Shows the newest answers as they come, at most every 2 s (End)";
            if newest.on_hover_text(about).clicked() {
                commands.train(TrainCommand::Rollouts(RolloutsCommand::ShowNewest));
            }
        });
    }
}

fn show(stage: &str, step: usize) -> TrainCommand {
    TrainCommand::Rollouts(RolloutsCommand::ShowStep { stage: stage.to_owned(), step })
}

/// Reads the same step once more.
fn again(rollouts: &RolloutsState) -> RolloutsCommand {
    match &rollouts.step {
        Some((stage, step)) => RolloutsCommand::ShowStep { stage: stage.clone(), step: *step },
        None => RolloutsCommand::ShowNewest,
    }
}

fn no_run_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    caption(ui, "No run is in view: its answers come here.");
    if !state.train.runs.is_list_shown && ui.button("Show runs").clicked() {
        commands.train(TrainCommand::Runs(RunsCommand::ToggleList));
    }
}

fn why_none(told: &RunTold) -> &'static str {
    match &told.config {
        Some(config) if config.grpo.is_none() => "This run has no stage GRPO, which alone writes rollouts.",
        _ => "There are no rollouts yet: the answers that the stage GRPO draws come here.",
    }
}

/// As in `GRPO, step 40 of 300 · the 8th of 60 steps with rollouts`.
fn place_in_words(told: &RunTold, rollouts: &RolloutsState, step: &RolloutStep, place: usize) -> String {
    let planned = told.stage(&step.stage).map_or(0, |stage| stage.planned);
    let of = if planned > 0 { format!(" of {planned}") } else { String::new() };
    let stage = words::stage(&step.stage);
    let reading = if rollouts.reading.is_some() { " · reading" } else { "" };
    let count = told.rollouts.steps.len();
    format!("{stage}, step {}{of} · {} of {count} steps with rollouts{reading}", step.step, place + 1)
}

fn questions_ui(ui: &mut Ui, records: &[RolloutRecord], shown: usize, commands: &CommandSender) {
    if records.is_empty() {
        caption(ui, "This step asked no questions.");
        return;
    }
    let count = records.len();
    let word = if count == 1 { "question" } else { "questions" };
    caption(ui, format!("{count} {word}, with mean and spread of the rewards"));
    let list = ScrollArea::vertical().id_salt("questions of the step").max_height(LIST_HEIGHT);
    list.auto_shrink([false, true]).show_rows(ui, ROW_HEIGHT, count, |ui, rows| {
        for at in rows {
            let Some(record) = records.get(at) else { continue };
            let words = format!("{}: {}", record.row, Earned::of(record).in_words(record.label.is_some()));
            let button = Button::selectable(at == shown, words.as_str()).truncate();
            let button = button.min_size(vec2(ui.available_width(), ROW_HEIGHT));
            if ui.add(button).accessible_name(format!("Question {words}")).clicked() {
                commands.train(TrainCommand::Rollouts(RolloutsCommand::Question(at)));
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;

    #[test]
    fn a_group_is_told_by_mean_spread_and_what_is_right() {
        let mut group = record(3, "a", &[1.0, 3.0, 1.0, 3.0]);
        group.answers[1].is_right = true;
        let earned = Earned::of(&group);
        assert_eq!(earned, Earned { mean: 2.0, spread: 1.0, right: 1, answers: 4 });
        assert_eq!(earned.in_words(true), "reward 2.00 ± 1.00, right 1 of 4");
        assert_eq!(earned.in_words(false), "reward 2.00 ± 1.00");
        group.answers.clear();
        assert_eq!(Earned::of(&group), Earned::default());
    }
}
