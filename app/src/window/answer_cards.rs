//! The answer: three cards, of which the one being written is open and earlier ones show their first line.

use egui::{
    Align2, CornerRadius, FontId, Frame, Label, Margin, Rect, RichText, Sense, Shape, Stroke, Ui, WidgetInfo,
    pos2, vec2,
};
use reinpath_model::stage::AnswerStage;

use super::answer_view::{AnswerView, Phase};
use super::command::{AskCommand, CommandSender};
use super::theme;
use super::widgets::{caption, warning};

/// Draws what is known of an answer.
pub(super) fn ui(ui: &mut Ui, answer: &AnswerView, commands: &CommandSender) {
    ui.label(RichText::new(&answer.question.question).font(theme::semibold(theme::BODY)));
    for (letter, choice) in ('A'..).zip(&answer.question.choices) {
        caption(ui, format!("{letter}) {choice}"));
    }
    caption(ui, format!("{} · {}", answer.subject.words, progress(answer)));
    if !answer.preamble.trim().is_empty() {
        ui.label(answer.preamble.trim());
    }
    for stage in AnswerStage::ALL {
        card(ui, answer, stage, commands);
    }
    if let Phase::Finished(finished) = &answer.phase
        && let Some(line) = finished.options_line()
    {
        caption(ui, line);
    }
    if let Some(ending) = answer.ending() {
        let failed = matches!(answer.phase, Phase::Failed(_));
        let palette = theme::of(ui);
        let colour = if failed { palette.error } else { palette.warning };
        ui.label(RichText::new(ending).color(colour));
    }
    for sentence in &answer.warnings {
        warning(ui, sentence);
    }
    if let Some(stamp) = answer.stamp_line() {
        caption(ui, stamp);
    }
}

/// In one place and of about one length, so that nothing moves while it changes.
fn progress(answer: &AnswerView) -> String {
    match &answer.phase {
        Phase::Preparing => "preparing".to_owned(),
        Phase::Started => "looking".to_owned(),
        Phase::Writing => "writing".to_owned(),
        Phase::Stopping => "stopping".to_owned(),
        Phase::Finished(_) => match answer.time_to_first_words() {
            Some(first) => {
                format!("{} tokens, first words after {:.1} s", answer.tokens, first.as_secs_f64())
            }
            None => "finished".to_owned(),
        },
        Phase::Failed(_) => "failed".to_owned(),
    }
}

fn card(ui: &mut Ui, answer: &AnswerView, stage: AnswerStage, commands: &CommandSender) {
    let palette = theme::of(ui);
    let text = answer.text.stage(stage).trim();
    let open = answer.is_open(stage) && !text.is_empty();
    let frame = Frame::new()
        .fill(palette.raised)
        .corner_radius(CornerRadius::same(theme::RADIUS))
        .inner_margin(Margin { left: 12, right: 8, top: 4, bottom: 8 });
    let shown = frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.spacing_mut().item_spacing.y = 2.0;
        if head(ui, stage, open, !text.is_empty()) {
            commands.ask(AskCommand::ToggleCard(stage));
        }
        if open {
            ui.label(text);
        } else {
            // One line, empty while the stage has not come: the cards below stay where they are.
            let first = text.lines().next().unwrap_or_default();
            let words = if first.is_empty() && answer.stage == Some(stage) { "…" } else { first };
            let words = if words.is_empty() { " " } else { words };
            ui.add(Label::new(RichText::new(words).color(palette.weak)).truncate());
        }
    });
    let rect = shown.response.rect;
    let bar = Rect::from_min_max(rect.min, pos2(rect.min.x + 4.0, rect.max.y));
    ui.painter().rect_filled(
        bar,
        CornerRadius { nw: theme::RADIUS, sw: theme::RADIUS, ne: 0, se: 0 },
        palette.stage(stage),
    );
}

/// The stage's name, which opens and folds the card; true when it was clicked.
fn head(ui: &mut Ui, stage: AnswerStage, open: bool, has_text: bool) -> bool {
    let palette = theme::of(ui);
    let size = vec2(ui.available_width(), 22.0);
    let sense = if has_text { Sense::click() } else { Sense::hover() };
    let (rect, response) = ui.allocate_exact_size(size, sense);
    let state = match (has_text, open) {
        (false, _) => "not written yet",
        (true, true) => "open",
        (true, false) => "folded",
    };
    response.widget_info(|| {
        WidgetInfo::labeled(egui::Role::Button, has_text, format!("{}, {state}", stage.name()))
    });
    let colour = if has_text { palette.stage(stage) } else { palette.weak };
    let font: FontId = theme::semibold(theme::BODY);
    ui.painter().text(rect.left_center(), Align2::LEFT_CENTER, stage.name(), font, colour);
    if has_text {
        triangle(ui, pos2(rect.right() - 8.0, rect.center().y), open);
    }
    response.clicked()
}

/// Points down when open, right when folded.
fn triangle(ui: &Ui, middle: egui::Pos2, open: bool) {
    let corners = if open {
        [vec2(-4.0, -2.0), vec2(4.0, -2.0), vec2(0.0, 3.0)]
    } else {
        [vec2(-2.0, -4.0), vec2(3.0, 0.0), vec2(-2.0, 4.0)]
    };
    let points = corners.map(|corner| middle + corner).to_vec();
    ui.painter().add(Shape::convex_polygon(points, theme::of(ui).weak, Stroke::NONE));
}
