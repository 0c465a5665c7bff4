//! The answers to a question: what each earned, in a table that can be sorted, and their texts by stage.

use egui::{Button, CornerRadius, Frame, Grid, Label, Margin, RichText, ScrollArea, Ui};
use reinpath_model::event::Stop;
use reinpath_training::reward::part;
use reinpath_training::rollout_record::{AnswerRecord, RolloutRecord};

use super::super::super::command::CommandSender;
use super::super::super::theme;
use super::super::super::widgets::{caption, title, toggle};
use super::super::TrainCommand;
use super::super::staged::{self, Span};
use super::sort::{Column, Sort};
use super::step_view::Staged;
use super::{RolloutsCommand, RolloutsState};

/// In the order in which the reward adds them; others follow by name.
const PARTS: [&str; 6] =
    [part::FORMAT, part::ACCURACY, part::SEMANTIC, part::EXTERNAL, part::REPETITION, part::OVERLONG];
/// A part of the reward that is absent, which is no zero.
const NOT_SCORED: &str = "not scored";

/// Draws them.
pub(super) fn ui(
    ui: &mut Ui,
    record: &RolloutRecord,
    rollouts: &RolloutsState,
    texts: &Staged,
    commands: &CommandSender,
) {
    let count = record.answers.len();
    title(ui, &format!("{count} {}", if count == 1 { "answer" } else { "answers" }));
    if count == 0 {
        return;
    }
    let order = rollouts.sort.order(&record.answers);
    ScrollArea::horizontal().id_salt("figures of the answers").show(ui, |ui| {
        table_ui(ui, record, &rollouts.sort, &order, commands);
    });
    for &at in &order {
        if let (Some(answer), Some(spans)) = (record.answers.get(at), texts.answers.get(at)) {
            card_ui(ui, record, answer, spans, at, rollouts.opened.contains(&at), commands);
        }
    }
}

/// The columns of a question's table: every part that any of its answers has.
pub(super) fn columns(record: &RolloutRecord) -> Vec<Column> {
    let has = |name: &str| record.answers.iter().any(|answer| answer.rewards.contains_key(name));
    let mut parts: Vec<&str> = PARTS.into_iter().filter(|name| has(name)).collect();
    for name in record.answers.iter().flat_map(|answer| answer.rewards.keys()) {
        if !parts.contains(&name.as_str()) {
            parts.push(name);
        }
    }
    let mut columns = vec![Column::Number, Column::IsRight, Column::Reward, Column::Advantage];
    columns.extend(parts.into_iter().map(|name| Column::Part(name.to_owned())));
    columns.extend([Column::Tokens, Column::Stop, Column::Logprob]);
    columns
}

fn table_ui(ui: &mut Ui, record: &RolloutRecord, sort: &Sort, order: &[usize], commands: &CommandSender) {
    let columns = columns(record);
    Grid::new("answers").striped(true).spacing([12.0, 4.0]).show(ui, |ui| {
        for column in &columns {
            head_ui(ui, column, sort, commands);
        }
        ui.end_row();
        for &at in order {
            let Some(answer) = record.answers.get(at) else { continue };
            for column in &columns {
                cell_ui(ui, record, answer, at, column);
            }
            ui.end_row();
        }
    });
}

fn head_ui(ui: &mut Ui, column: &Column, sort: &Sort, commands: &CommandSender) {
    let name = name_of(column);
    let is_sorted = sort.by == *column;
    let mark = match (is_sorted, sort.is_descending) {
        (false, _) => "",
        (true, true) => " ↓",
        (true, false) => " ↑",
    };
    let spoken = match (is_sorted, sort.is_descending) {
        (false, _) => format!("Sort by {name}"),
        (true, true) => format!("Sort by {name}, now the largest first"),
        (true, false) => format!("Sort by {name}, now the smallest first"),
    };
    let button = ui.add(Button::new(RichText::new(format!("{name}{mark}")).small()).small());
    if button.accessible_name(spoken).on_hover_text(meaning_of(column)).clicked() {
        commands.train(TrainCommand::Rollouts(RolloutsCommand::SortBy(column.clone())));
    }
}

fn cell_ui(ui: &mut Ui, record: &RolloutRecord, answer: &AnswerRecord, at: usize, column: &Column) {
    let words = in_words(record, answer, at, column);
    let palette = theme::of(ui);
    let colour = if words == NOT_SCORED { palette.weak } else { palette.text };
    ui.label(RichText::new(words).color(colour));
}

fn name_of(column: &Column) -> &str {
    match column {
        Column::Number => "answer",
        Column::IsRight => "right",
        Column::Reward => "reward",
        Column::Advantage => "advantage",
        Column::Part(name) => name,
        Column::Tokens => "tokens",
        Column::Stop => "end",
        Column::Logprob => "log p",
    }
}

fn meaning_of(column: &Column) -> &'static str {
    match column {
        Column::Number => "In the order in which the answers were drawn",
        Column::IsRight => "Whether the conclusion is the label",
        Column::Reward => "The weighted sum of the parts",
        Column::Advantage => "How much better than the question's other answers, as the update sees it",
        Column::Part(_) => "A part of the reward, before its weight",
        Column::Tokens => "Length in tokens",
        Column::Stop => "Whether the answer ended by itself or was cut off",
        Column::Logprob => "Sum of the tokens' log-probabilities when they were drawn, in nats",
    }
}

fn in_words(record: &RolloutRecord, answer: &AnswerRecord, at: usize, column: &Column) -> String {
    match column {
        Column::Number => (at + 1).to_string(),
        Column::IsRight => right_in_words(record, answer).to_owned(),
        Column::Reward => format!("{:.2}", answer.reward),
        Column::Advantage => format!("{:+.2}", answer.advantage),
        Column::Part(name) => {
            answer.rewards.get(name).map_or_else(|| NOT_SCORED.to_owned(), |value| format!("{value:.2}"))
        }
        Column::Tokens => answer.tokens.to_string(),
        Column::Stop => stop_in_words(answer.stop).to_owned(),
        Column::Logprob => format!("{:.1}", answer.logprob),
    }
}

/// Where there is no label, an answer is neither.
fn right_in_words(record: &RolloutRecord, answer: &AnswerRecord) -> &'static str {
    match (answer.is_right, record.label.is_some()) {
        (true, _) => "right",
        (false, true) => "wrong",
        (false, false) => NOT_SCORED,
    }
}

fn stop_in_words(stop: Stop) -> &'static str {
    match stop {
        Stop::End => "ended",
        Stop::MaxTokens => "cut off",
        Stop::Cancelled => "cancelled",
    }
}

/// As in `reward 2.50 · advantage +0.71 · right · 120 tokens, ended`.
pub(super) fn line_of(record: &RolloutRecord, answer: &AnswerRecord) -> String {
    let (right, stop) = (right_in_words(record, answer), stop_in_words(answer.stop));
    let AnswerRecord { reward, advantage, tokens, .. } = answer;
    format!("reward {reward:.2} · advantage {advantage:+.2} · {right} · {tokens} tokens, {stop}")
}

fn card_ui(
    ui: &mut Ui,
    record: &RolloutRecord,
    answer: &AnswerRecord,
    spans: &[Span],
    at: usize,
    is_open: bool,
    commands: &CommandSender,
) {
    frame(ui, |ui| {
        ui.horizontal_wrapped(|ui| {
            let state = if is_open { "open" } else { "folded" };
            let head = toggle(ui, is_open, format!("Answer {}", at + 1));
            if head.accessible_name(format!("Answer {}, {state}", at + 1)).clicked() {
                commands.train(TrainCommand::Rollouts(RolloutsCommand::OpenAnswer(at, !is_open)));
            }
            caption(ui, line_of(record, answer));
        });
        if is_open {
            staged::ui(ui, spans);
        } else {
            let first = RichText::new(staged::first_line(spans)).color(theme::of(ui).weak);
            ui.add(Label::new(first).truncate());
        }
    });
}

/// The box of an answer.
pub(super) fn frame(ui: &mut Ui, add: impl FnOnce(&mut Ui)) {
    let frame = Frame::new()
        .fill(theme::of(ui).raised)
        .corner_radius(CornerRadius::same(theme::RADIUS))
        .inner_margin(Margin::same(8));
    frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        add(ui);
    });
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;

    #[test]
    fn a_part_that_was_not_scored_is_no_zero() {
        let mut group = record(3, "a", &[1.0, 0.0]);
        group.answers[0].rewards.insert("semantic".to_owned(), 0.25);
        let semantic = Column::Part("semantic".to_owned());
        let words = |at: usize| in_words(&group, &group.answers[at], at, &semantic);
        assert_eq!([words(0), words(1)], ["0.25", "not scored"]);
        let reward = |at: usize| in_words(&group, &group.answers[at], at, &Column::Reward);
        assert_eq!(reward(1), "0.00", "a reward of nothing is a zero");
    }

    #[test]
    fn every_part_has_a_column_the_known_ones_first() {
        let mut group = record(3, "a", &[1.0, 0.0]);
        for (at, name) in [(0, "zeal"), (1, "semantic"), (0, "format")] {
            group.answers[at].rewards.insert(name.to_owned(), 1.0);
        }
        let names: Vec<String> = columns(&group).iter().map(|column| name_of(column).to_owned()).collect();
        let expected = ["answer", "right", "reward", "advantage", "format", "semantic", "zeal", "tokens"];
        assert_eq!(names[..8], expected);
        assert_eq!(names[8..], ["end", "log p"]);
    }

    #[test]
    fn nothing_is_wrong_where_there_is_no_label() {
        let mut group = record(3, "a", &[1.0, 0.0]);
        group.answers[0].is_right = true;
        let said = |group: &RolloutRecord| [0, 1].map(|at| right_in_words(group, &group.answers[at]));
        assert_eq!(said(&group), ["right", "wrong"]);
        (group.label, group.answers[0].is_right) = (None, false);
        assert_eq!(said(&group), ["not scored", "not scored"]);
        group.answers[1].stop = Stop::MaxTokens;
        let line = line_of(&group, &group.answers[1]);
        assert_eq!(line, "reward 0.00 · advantage +0.00 · not scored · 7 tokens, cut off");
    }
}
