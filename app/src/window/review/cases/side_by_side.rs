//! Answers side by side: each in a column of its own, with what differs from the first marked and said in words.

use std::collections::BTreeMap;
use std::sync::Arc;

use egui::text::{LayoutJob, TextFormat};
use egui::{Button, FontId, Frame, Label, Margin, Panel, RichText, ScrollArea, Stroke, Ui, vec2};
use reinpath_model::stage::{AnswerStage, StagedAnswer};

use super::super::super::command::CommandSender;
use super::super::super::state::AppState;
use super::super::super::theme::{self, Palette};
use super::super::super::widgets::{caption, title};
use super::panel::{CasesPanel, go_on, send, waiting};
use super::{CasesCommand, labels};
use crate::case::{Answer, Id, Question};
use crate::review::difference::{Piece, words};

/// Points.
const HEIGHT: f32 = 280.0;
const COLUMN: f32 = 260.0;

/// A column as it is drawn, and what it was made of.
struct Column {
    made_of: MadeOf,
    head: String,
    /// What is said above the text.
    remarks: Vec<String>,
    stages: Vec<(AnswerStage, Arc<LayoutJob>)>,
}

/// Texts are compared anew only when one of these is another: tokens of both answers, whether both have ended, the first one, the theme.
#[derive(Clone, PartialEq, Eq)]
struct MadeOf {
    first: Id,
    tokens: [usize; 2],
    are_over: bool,
    is_dark: bool,
    place: usize,
}

/// What is kept from frame to frame.
#[derive(Default)]
pub(super) struct Columns {
    kept: BTreeMap<Id, Column>,
}

/// An answer of the open case, or the one that is being written, with its question.
fn answer_of<'a>(state: &'a AppState, id: &Id) -> Option<(&'a Question, &'a Answer)> {
    let cases = &state.review.cases;
    if let Some(live) = state.answer.as_ref().filter(|live| live.record.id == *id) {
        return Some((cases.live.as_deref()?, &live.record));
    }
    let open = cases.open.as_ref()?;
    let answer = open.answers.get(id)?;
    Some((open.questions.get(&answer.question)?, answer))
}

impl CasesPanel {
    /// Answers side by side.
    pub(in crate::window) fn side_by_side_ui(
        &mut self,
        ui: &mut Ui,
        state: &AppState,
        commands: &CommandSender,
    ) {
        go_on(state, commands);
        let compared = &state.review.cases.compared;
        let answers: Vec<_> = compared.iter().filter_map(|id| answer_of(state, id)).collect();
        if answers.is_empty() {
            self.columns.kept.clear();
            return;
        }
        let frame = Frame::new().fill(theme::of(ui).panel).inner_margin(Margin::same(8));
        let panel = Panel::bottom("answers side by side").default_size(HEIGHT).size_range(120.0..=600.0);
        panel.frame(frame).show(ui, |ui| {
            ui.horizontal(|ui| {
                title(ui, "Side by side");
                let queue = state.review.cases.queue.len();
                if queue > 0 {
                    caption(ui, waiting(queue));
                }
                if ui.button("Close comparison").clicked() {
                    send(commands, CasesCommand::Compare(Vec::new()));
                }
            });
            let scroll = ScrollArea::horizontal().id_salt("columns").auto_shrink([false, false]);
            scroll.show(ui, |ui| {
                ui.horizontal_top(|ui| {
                    for place in 0..answers.len() {
                        self.columns.column_ui(ui, state, &answers, place, commands);
                    }
                });
            });
        });
    }
}

impl Columns {
    fn column_ui(
        &mut self,
        ui: &mut Ui,
        state: &AppState,
        answers: &[(&Question, &Answer)],
        place: usize,
        commands: &CommandSender,
    ) {
        let (question, answer) = answers[place];
        let first = answers[0].1;
        let made_of = MadeOf {
            first: first.id.clone(),
            tokens: [first.tokens.len(), answer.tokens.len()],
            are_over: first.is_over() && answer.is_over(),
            is_dark: state.settings.dark,
            place,
        };
        if self.kept.get(&answer.id).is_none_or(|column| column.made_of != made_of) {
            let column = column(made_of, question, first, answer, theme::of(ui));
            self.kept.insert(answer.id.clone(), column);
        }
        let Some(column) = self.kept.get(&answer.id) else { return };
        let shown = super::shown(state).is_some_and(|shown| shown.answer.id == answer.id);
        let size = vec2(COLUMN, ui.available_height());
        ui.allocate_ui(size, |ui| {
            ui.vertical(|ui| {
                ui.set_width(COLUMN);
                let head = Button::selectable(shown, column.head.as_str());
                if ui.add(head).on_hover_text("Put this answer into view").clicked() {
                    send(commands, CasesCommand::Show(answer.id.clone()));
                }
                for remark in &column.remarks {
                    caption(ui, remark.as_str());
                }
                let scroll = ScrollArea::vertical().id_salt(("column", place)).auto_shrink([false, false]);
                scroll.show(ui, |ui| stages_ui(ui, column));
            });
        });
    }
}

fn stages_ui(ui: &mut Ui, column: &Column) {
    for (stage, job) in &column.stages {
        let colour = theme::of(ui).stage(*stage);
        ui.label(RichText::new(stage.name()).font(theme::semibold(theme::BODY)).color(colour));
        ui.add(Label::new(Arc::clone(job)).wrap());
    }
}

/// Texts are compared once both answers have ended: before, everything would differ.
fn column(
    made_of: MadeOf,
    question: &Question,
    first: &Answer,
    answer: &Answer,
    palette: &Palette,
) -> Column {
    let is_first = first.id == answer.id;
    let (text, other) = (answer.text(), first.text());
    let mut remarks = Vec::new();
    if is_first {
        remarks.extend(labels::own_choice(answer));
    } else if made_of.are_over {
        remarks.extend(labels::choice(first, answer));
        let said = |stage| labels::agreement(stage, other.stage(stage), text.stage(stage));
        let stages: Vec<String> = AnswerStage::ALL.into_iter().filter_map(said).collect();
        if !stages.is_empty() {
            remarks.push(format!("{}.", stages.join("; ")));
        }
    } else if !answer.is_over() {
        remarks.push("Being written.".to_owned());
    }
    let compared = (!is_first && made_of.are_over).then_some(&other);
    Column {
        head: labels::column(made_of.place, question, answer),
        remarks,
        stages: marked(&text, compared, palette),
        made_of,
    }
}

/// The stages that have text; what another text has not is underlined.
fn marked(
    text: &StagedAnswer,
    other: Option<&StagedAnswer>,
    palette: &Palette,
) -> Vec<(AnswerStage, Arc<LayoutJob>)> {
    let plain = TextFormat::simple(FontId::proportional(theme::BODY), palette.text);
    let differs = TextFormat { underline: Stroke::new(1.5, palette.warning), ..plain.clone() };
    let mut stages = Vec::new();
    for stage in AnswerStage::ALL {
        let written = text.stage(stage).trim();
        if written.is_empty() {
            continue;
        }
        let mut job = LayoutJob::default();
        match other {
            None => job.append(written, 0.0, plain.clone()),
            Some(other) => {
                for piece in words(other.stage(stage).trim(), written) {
                    match piece {
                        Piece::Same(text) => job.append(text, 0.0, plain.clone()),
                        Piece::Added(text) => job.append(text, 0.0, differs.clone()),
                        // It stands in the first column.
                        Piece::Removed(_) => {}
                    }
                }
            }
        }
        stages.push((stage, Arc::new(job)));
    }
    stages
}

#[cfg(test)]
mod tests {
    use egui::Theme;

    use super::*;
    use crate::case::Token;

    fn answer(id: &str, text: &str) -> Answer {
        let token = Token { stage: Some(AnswerStage::Observation), text: text.to_owned(), logprob: -0.1 };
        Answer {
            id: Id(id.to_owned()),
            tokens: vec![token],
            failed: Some("it was stopped".to_owned()),
            ..Answer::default()
        }
    }

    fn columns(first: &Answer, other: &Answer) -> [Column; 2] {
        [(0, first), (1, other)].map(|(place, answer)| {
            let made_of = MadeOf {
                first: first.id.clone(),
                tokens: [1, 1],
                are_over: first.is_over() && answer.is_over(),
                is_dark: true,
                place,
            };
            column(made_of, &Question::default(), first, answer, theme::palette(Theme::Dark))
        })
    }

    fn underlined(column: &Column) -> Vec<&str> {
        let job = &column.stages[0].1;
        let is_marked = |section: &&egui::text::LayoutSection| section.format.underline.width > 0.0;
        let text = |section: &egui::text::LayoutSection| {
            &job.text[section.byte_range.start.0..section.byte_range.end.0]
        };
        job.sections.iter().filter(is_marked).map(text).collect()
    }

    #[test]
    fn words_that_the_first_answer_has_not_are_underlined() {
        let (first, other) = (answer("a", "Large nuclei are seen."), answer("b", "Small nuclei are seen."));
        let [one, two] = columns(&first, &other);
        assert!(underlined(&one).is_empty());
        assert_eq!(underlined(&two), ["Small"]);
        assert_eq!(two.remarks, ["Observation: 1 word differs."]);
        assert_eq!(two.stages[0].1.text, "Small nuclei are seen.");
    }

    #[test]
    fn nothing_is_compared_while_one_of_them_is_written() {
        let (first, mut other) = (answer("a", "Large nuclei."), answer("b", "Small"));
        other.failed = None;
        let [_, two] = columns(&first, &other);
        assert!(underlined(&two).is_empty());
        assert_eq!(two.remarks, ["Being written."]);
    }
}
