//! An answer's frame: the question above it, a card for each stage that there is, of which the one being written is open and earlier ones
//! show their first line, and below them how it ended. What stands in the cards is drawn by `review/chain`.

use std::time::Duration;

use egui::{
    Align2, CornerRadius, FontId, Frame, Label, Margin, Rect, RichText, Sense, Shape, Stroke, Ui, WidgetInfo,
    pos2, vec2,
};
use reinpath_model::event::Finished;
use reinpath_model::stage::AnswerStage;

use super::answer_view::{AnswerView, Phase, ending_of, stamp_line_of, with_full_stop};
use super::review::Shown;
use super::theme;
use super::widgets::{caption, warning};
use crate::case::Answer;

const A_SECOND: Duration = Duration::from_secs(1);
/// Nobody counts the seconds of a wait that is shorter.
const SHORTLY: Duration = Duration::from_secs(3);

/// The question, what it is about and how far the answer is; `preamble` is what was written before the first heading.
pub(super) fn head_ui(ui: &mut Ui, shown: Shown<'_>, preamble: &str) {
    let question = shown.question;
    ui.label(RichText::new(&question.text).font(theme::semibold(theme::BODY)));
    for (letter, choice) in ('A'..).zip(&question.choices) {
        caption(ui, format!("{letter}) {choice}"));
    }
    if shown.live.is_some_and(|answer| matches!(answer.phase, Phase::Preparing | Phase::Started)) {
        // The seconds are counted.
        ui.ctx().request_repaint_after(A_SECOND);
    }
    let progress = shown.live.map_or_else(|| result(shown.answer), progress);
    caption(ui, format!("{} · {progress}", question.words));
    if !preamble.trim().is_empty() {
        ui.label(preamble.trim());
    }
}

/// How likely the options are, how it ended, what to bear in mind, and what it was made with.
pub(super) fn foot_ui(ui: &mut Ui, answer: &Answer) {
    if let Some(line) = answer.finished.as_ref().and_then(Finished::options_line) {
        caption(ui, line);
    }
    if let Some(ending) = ending_of(answer) {
        let palette = theme::of(ui);
        let colour = if answer.failed.is_some() { palette.error } else { palette.warning };
        ui.label(RichText::new(ending).color(colour));
    }
    if let Some(stamp) = &answer.stamp {
        for sentence in &stamp.warnings {
            warning(ui, sentence);
        }
        if let Some(terms) = &stamp.terms {
            caption(ui, with_full_stop(terms));
        }
        caption(ui, stamp_line_of(stamp));
    }
}

/// In one place and of about one length, so that nothing moves while it changes.
fn progress(answer: &AnswerView) -> String {
    match &answer.phase {
        Phase::Preparing => since("preparing", answer.waiting_for()),
        Phase::Started => since("looking", answer.waiting_for()),
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

/// What is done before the first word, and for how long where that is long enough to wonder.
fn since(what: &str, waited: Duration) -> String {
    if waited < SHORTLY { what.to_owned() } else { format!("{what}, {} s", waited.as_secs()) }
}

/// The same of an answer that was kept.
fn result(answer: &Answer) -> String {
    match (&answer.finished, &answer.failed) {
        (Some(finished), _) => format!("{} tokens", finished.tokens),
        (None, Some(_)) => "failed".to_owned(),
        (None, None) => "not finished".to_owned(),
    }
}

/// A stage's card.
#[derive(Clone, Copy, Debug)]
pub(super) struct Card<'a> {
    pub(super) stage: AnswerStage,
    /// All of its text so far, without white space around it.
    pub(super) text: &'a str,
    pub(super) is_open: bool,
}

impl Card<'_> {
    /// Draws it, with `contents` where it is open; true when it is to be opened or folded.
    pub(super) fn ui(self, ui: &mut Ui, contents: impl FnOnce(&mut Ui)) -> bool {
        let palette = theme::of(ui);
        let has_text = !self.text.is_empty();
        let frame = Frame::new()
            .fill(palette.raised)
            .corner_radius(CornerRadius::same(theme::RADIUS))
            .inner_margin(Margin { left: 12, right: 8, top: 4, bottom: 8 });
        let shown = frame.show(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.spacing_mut().item_spacing.y = 2.0;
            let is_clicked = head(ui, self.stage, self.is_open, has_text);
            if self.is_open {
                contents(ui);
            } else {
                // One line, also before its first word: the card stays as high as it is.
                let first = self.text.lines().next().unwrap_or_default();
                let words = if first.is_empty() { "…" } else { first };
                ui.add(Label::new(RichText::new(words).color(palette.weak)).truncate());
            }
            is_clicked
        });
        let rect = shown.response.rect;
        let bar = Rect::from_min_max(rect.min, pos2(rect.min.x + 4.0, rect.max.y));
        ui.painter().rect_filled(
            bar,
            CornerRadius { nw: theme::RADIUS, sw: theme::RADIUS, ne: 0, se: 0 },
            palette.stage(self.stage),
        );
        shown.inner
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Id, Purpose, Token};

    #[test]
    fn an_answer_that_was_kept_before_its_end_says_so() {
        let mut kept = Answer::begun(Id::default(), Purpose::Answer);
        kept.tokens.push(Token { stage: None, text: "Well.".to_owned(), logprob: 0.0 });
        assert_eq!(result(&kept), "not finished");
    }

    #[test]
    fn a_long_wait_is_counted() {
        assert_eq!(since("looking", Duration::from_millis(2900)), "looking");
        assert_eq!(since("looking", Duration::from_millis(61_900)), "looking, 61 s");
    }
}
