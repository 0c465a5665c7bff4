//! What is thought of a sentence where it stands: a mark with its word, the edit as a difference, and the field in which it is edited.

use egui::text::{LayoutJob, TextFormat};
use egui::{
    Color32, Event, FontId, Id, Key, KeyboardShortcut, Label, Modifiers, RichText, Sense, Stroke, TextEdit,
    Ui, WidgetInfo, pos2, vec2,
};

use super::super::super::command::CommandSender;
use super::super::super::state::AppState;
use super::super::super::theme::{self, Palette};
use super::super::super::widgets::caption;
use super::super::chain::{self, ChainCommand};
use super::super::{ReviewCommand, Shown};
use super::{Judged, VerdictsCommand};
use crate::case;
use crate::review::difference::{self, Piece};
use crate::review::verdict::{Decision, Target, Verdict};

/// Begins a line in a field whose plain Enter keeps what is typed.
const NEW_LINE: KeyboardShortcut = KeyboardShortcut::new(Modifiers::SHIFT, Key::Enter);
/// The side of a mark, in points.
const MARK: f32 = 10.0;
/// Before the words that replace others, in points.
const REPLACEMENT_GAP: f32 = 3.0;

/// What is being typed in place of a sentence.
#[derive(Default)]
pub(super) struct Editor {
    of: Option<(case::Id, Target)>,
    text: String,
}

fn send(commands: &CommandSender, wish: VerdictsCommand) {
    commands.review(ReviewCommand::Verdicts(wish));
}

/// Draws it; whether it drew the text itself.
pub(super) fn ui(
    editor: &mut Editor,
    ui: &mut Ui,
    state: &AppState,
    shown: Shown<'_>,
    judged: &Judged,
    target: Target,
    commands: &CommandSender,
) -> bool {
    let verdicts = &state.review.verdicts;
    let of = (shown.answer.id.clone(), target);
    if verdicts.editing == Some(target) && verdicts.typing_of.as_ref() == Some(&of.0) {
        editor.ui(ui, judged, of, commands);
        return true;
    }
    if editor.of.as_ref() == Some(&of) {
        editor.of = None;
    }
    let Some(verdict) = judged.standing.at(target) else { return false };
    let edited = match &verdict.decision {
        Decision::Edit(edited) if verdict.target == target => Some(edited),
        _ => None,
    };
    if edited.is_none() && !matches!(target, Target::Sentence(..)) {
        // Each of its sentences says so.
        return false;
    }
    mark_ui(ui, verdict, target);
    let Some((edited, generated)) = edited.zip(judged.texts.get(&target)) else { return false };
    difference_ui(ui, state, (target, generated.as_str(), edited.as_str()), commands);
    true
}

/// A verdict in a few words, such as `rejected: not visible`.
pub(super) fn in_words(verdict: &Verdict) -> String {
    let word = match verdict.decision {
        Decision::Accept => "accepted",
        Decision::Edit(_) => "edited",
        Decision::Reject => "rejected",
    };
    verdict.reason.map_or_else(|| word.to_owned(), |reason| format!("{word}: {}", reason.name()))
}

fn mark_ui(ui: &mut Ui, verdict: &Verdict, target: Target) {
    let palette = theme::of(ui);
    let colour = match verdict.decision {
        Decision::Accept => palette.weak,
        Decision::Edit(_) => palette.warning,
        Decision::Reject => palette.error,
    };
    // The text of a whole stage stands at its head.
    let is_of_stage = verdict.target != target && matches!(verdict.decision, Decision::Edit(_));
    let row = ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        sign(ui, &verdict.decision, colour);
        let words = if is_of_stage { "edited with its stage".to_owned() } else { in_words(verdict) };
        ui.label(RichText::new(words).small().color(colour));
        if !verdict.comment.is_empty() {
            caption(ui, "with a comment");
        }
    });
    if !verdict.comment.is_empty() {
        row.response.on_hover_text(verdict.comment.as_str());
    }
}

/// A hook, a pen's stroke or a cross.
fn sign(ui: &mut Ui, decision: &Decision, colour: Color32) {
    let (rect, _) = ui.allocate_exact_size(vec2(MARK, MARK), Sense::hover());
    let at = |x: f32, y: f32| pos2(rect.left() + x * MARK, rect.top() + y * MARK);
    let stroke = Stroke::new(1.5, colour);
    let lines = match decision {
        Decision::Accept => [[at(0.1, 0.55), at(0.4, 0.85)], [at(0.4, 0.85), at(0.9, 0.15)]],
        Decision::Edit(_) => [[at(0.1, 0.9), at(0.8, 0.1)], [at(0.1, 0.95), at(0.9, 0.95)]],
        Decision::Reject => [[at(0.15, 0.15), at(0.85, 0.85)], [at(0.85, 0.15), at(0.15, 0.85)]],
    };
    for line in lines {
        ui.painter().line_segment(line, stroke);
    }
}

/// Two texts as one, with what was removed struck through and what was added underlined.
pub(in crate::window) fn difference_job(palette: &Palette, before: &str, after: &str) -> LayoutJob {
    let mut job = LayoutJob::default();
    let format =
        |color| TextFormat { font_id: FontId::proportional(theme::BODY), color, ..TextFormat::default() };
    let mut was_removed = false;
    for piece in difference::words(before, after) {
        match piece {
            Piece::Same(text) => job.append(text, 0.0, format(palette.text)),
            Piece::Removed(text) => {
                let strikethrough = Stroke::new(1.0, palette.weak);
                job.append(text, 0.0, TextFormat { strikethrough, ..format(palette.weak) });
            }
            Piece::Added(text) => {
                let underline = Stroke::new(1.0, palette.text);
                // No space stands between a word and the one that takes its place.
                let gap = if was_removed { REPLACEMENT_GAP } else { 0.0 };
                job.append(text, gap, TextFormat { underline, ..format(palette.text) });
            }
        }
        was_removed = matches!(piece, Piece::Removed(_));
    }
    job
}

/// The sentence with what the edit changed; a click puts the focus on it.
fn difference_ui(
    ui: &mut Ui,
    state: &AppState,
    (target, generated, edited): (Target, &str, &str),
    commands: &CommandSender,
) {
    let job = difference_job(theme::of(ui), generated, edited);
    let text = ui.add(Label::new(job).wrap().sense(Sense::click()));
    // Read out as it stands now, not as the two texts in one.
    text.widget_info(|| WidgetInfo::labeled(egui::Role::Label, true, edited));
    if let Target::Sentence(stage, index) = target {
        if text.clicked() {
            commands.review(ReviewCommand::Chain(ChainCommand::Focus(Some((stage, index)))));
        }
        if chain::focus(state) == Some((stage, index)) {
            // Beside the text, which the pointer may be over.
            let (left, y) = (text.rect.left() - 4.0, text.rect.y_range());
            ui.painter().vline(left, y, Stroke::new(2.0, theme::of(ui).focus));
        }
    }
    let back = ui.small_button("As generated").on_hover_text("Take the sentence as the model wrote it");
    if back.clicked() {
        send(commands, VerdictsCommand::Decide(target, Decision::Accept));
    }
}

impl Editor {
    fn ui(&mut self, ui: &mut Ui, judged: &Judged, of: (case::Id, Target), commands: &CommandSender) {
        let is_new = self.of.as_ref() != Some(&of);
        if is_new {
            let edited = judged.standing.at(of.1).filter(|verdict| verdict.target == of.1);
            self.text = match edited.map(|verdict| &verdict.decision) {
                Some(Decision::Edit(text)) => text.clone(),
                _ => judged.texts.get(&of.1).cloned().unwrap_or_default(),
            };
            self.of = Some(of.clone());
        }
        let id = Id::unique(("edited sentence", of));
        let is_done = took_enter(ui, id);
        let field = TextEdit::multiline(&mut self.text)
            .id(id)
            .return_key(NEW_LINE)
            .desired_rows(2)
            .desired_width(f32::INFINITY);
        let field = ui.add(field).accessible_name("Edited sentence");
        if is_new {
            field.request_focus();
        }
        ui.horizontal(|ui| {
            if ui.small_button("Keep").on_hover_text("Enter").clicked() || is_done {
                send(commands, VerdictsCommand::EndEdit(Some(self.text.clone())));
            }
            if ui.small_button("As it was").on_hover_text("Esc").clicked() {
                send(commands, VerdictsCommand::EndEdit(None));
            }
            caption(ui, "Enter keeps, Shift+Enter begins a line");
        });
    }
}

/// Takes a plain Enter that was pressed in a field, and the focus from it.
pub(super) fn took_enter(ui: &Ui, field: Id) -> bool {
    if !ui.memory(|memory| memory.has_focus(field)) {
        return false;
    }
    let mut is_taken = false;
    ui.input_mut(|input| {
        input.events.retain(|event| {
            let is_enter = matches!(event, Event::Key { key: Key::Enter, pressed: true, modifiers, .. }
                if modifiers.is_none());
            is_taken |= is_enter;
            !is_enter
        });
    });
    if is_taken {
        ui.memory_mut(|memory| memory.surrender_focus(field));
    }
    is_taken
}
