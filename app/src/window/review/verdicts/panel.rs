//! Below the answer: who judges, how far one is, whether it is kept, reasons, comments and the keys.

use egui::{Button, Id, RichText, TextEdit, Ui};

use super::super::super::command::{CommandSender, keys_of};
use super::super::super::state::AppState;
use super::super::super::theme;
use super::super::super::widgets::{caption, hairline, title, toggle, warning};
use super::super::{ReviewCommand, Shown};
use super::sentence::{in_words, took_enter};
use super::{Judged, VerdictsCommand};
use crate::case;
use crate::review::verdict::{Decision, Reason, Target, Verdict};

/// The commands whose keys are told, with the word for each.
const KEYS: [(&str, &str); 9] = [
    ("Accept sentence", "accept"),
    ("Reject sentence", "reject"),
    ("Edit sentence", "edit"),
    ("Accept stage", "accept stage"),
    ("Reject stage", "reject stage"),
    ("Accept the rest", "accept the rest"),
    ("Comment on verdict", "comment"),
    ("Take back verdict", "take back"),
    ("Next sentence", "next"),
];

/// What is being typed in it.
#[derive(Default)]
pub(super) struct Panel {
    reviewer: String,
    is_naming: bool,
    comment: String,
    comment_of: Option<(case::Id, Target)>,
}

fn send(commands: &CommandSender, wish: VerdictsCommand) {
    commands.review(ReviewCommand::Verdicts(wish));
}

impl Panel {
    pub(super) fn ui(
        &mut self,
        ui: &mut Ui,
        state: &AppState,
        shown: Shown<'_>,
        judged: &Judged,
        commands: &CommandSender,
    ) {
        ui.add_space(theme::GRID);
        hairline(ui);
        ui.horizontal(|ui| {
            title(ui, "Review");
            self.reviewer_ui(ui, state, commands);
        });
        caption(
            ui,
            format!("{} of {} judged{}", judged.count(), judged.sentences.len(), kept(state, judged)),
        );
        if let Some(sentence) = &state.review.verdicts.not_kept {
            warning(ui, sentence);
        }
        buttons_ui(ui, judged, commands);
        let last = last(state, shown, judged);
        reasons_ui(ui, last, commands);
        self.comment_ui(ui, state, shown, last, commands);
        caption(ui, keys_in_words(ui));
    }

    fn reviewer_ui(&mut self, ui: &mut Ui, state: &AppState, commands: &CommandSender) {
        let known = &state.settings.review.reviewer;
        if !self.is_naming {
            self.reviewer.clone_from(known);
        }
        let field = TextEdit::singleline(&mut self.reviewer).hint_text("Name").desired_width(140.0);
        let field = ui.add(field).accessible_name("Reviewer");
        self.is_naming = field.has_focus();
        if field.lost_focus() && self.reviewer.trim() != known {
            send(commands, VerdictsCommand::Reviewer(self.reviewer.clone()));
        }
        field.on_hover_text("Stands in the log of verdicts, and in exports only where asked for");
    }

    fn comment_ui(
        &mut self,
        ui: &mut Ui,
        state: &AppState,
        shown: Shown<'_>,
        last: Option<&Verdict>,
        commands: &CommandSender,
    ) {
        let verdicts = &state.review.verdicts;
        let is_of_shown = verdicts.typing_of.as_ref() == Some(&shown.answer.id);
        let Some(target) = verdicts.commenting.filter(|_| is_of_shown) else {
            self.comment_of = None;
            if let Some(verdict) = last {
                let words = if verdict.comment.is_empty() { "Comment…" } else { "Change comment…" };
                if ui.small_button(words).clicked() {
                    send(commands, VerdictsCommand::BeginComment);
                }
            }
            return;
        };
        let of = (shown.answer.id.clone(), target);
        let is_new = self.comment_of.as_ref() != Some(&of);
        if is_new {
            self.comment = last.map(|verdict| verdict.comment.clone()).unwrap_or_default();
            self.comment_of = Some(of);
        }
        let id = Id::unique("comment on a verdict");
        let is_done = took_enter(ui, id);
        let field = TextEdit::singleline(&mut self.comment)
            .id(id)
            .hint_text("Comment; Enter keeps")
            .desired_width(f32::INFINITY);
        let field = ui.add(field).accessible_name("Comment");
        if is_new {
            field.request_focus();
        }
        if is_done || field.lost_focus() {
            send(commands, VerdictsCommand::EndComment(Some(self.comment.clone())));
        }
    }
}

/// Whether the log has what was decided, in words.
fn kept(state: &AppState, judged: &Judged) -> String {
    match state.review.verdicts.waiting.len() {
        0 if judged.standing.has_any() => " · kept".to_owned(),
        0 => String::new(),
        1 => " · 1 verdict not kept yet".to_owned(),
        count => format!(" · {count} verdicts not kept yet"),
    }
}

/// What reasons and comments are about.
fn last<'a>(state: &AppState, shown: Shown<'_>, judged: &'a Judged) -> Option<&'a Verdict> {
    let last = state.review.verdicts.last.as_ref().filter(|(answer, _)| *answer == shown.answer.id);
    let focus = super::super::chain::focus(state).map(|(stage, index)| Target::Sentence(stage, index));
    let of = |target: Target| judged.standing.at(target);
    last.and_then(|(_, target)| of(*target)).or_else(|| focus.and_then(of))
}

fn buttons_ui(ui: &mut Ui, judged: &Judged, commands: &CommandSender) {
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        for (words, name, wish) in [
            ("Accept", "Accept sentence", VerdictsCommand::Sentence(Decision::Accept)),
            ("Edit sentence", "Edit sentence", VerdictsCommand::BeginEdit),
            ("Reject", "Reject sentence", VerdictsCommand::Sentence(Decision::Reject)),
            ("Accept the rest", "Accept the rest", VerdictsCommand::AcceptRest),
        ] {
            if ui.button(words).on_hover_text(keys_of(ui.ctx(), name)).clicked() {
                send(commands, wish);
            }
        }
        let back = ui.add_enabled(judged.standing.has_any(), Button::new("Take back"));
        if back.on_hover_text(keys_of(ui.ctx(), "Take back verdict")).clicked() {
            send(commands, VerdictsCommand::Undo);
        }
    });
}

/// Six reasons with their digits, of what was rejected or edited last.
fn reasons_ui(ui: &mut Ui, last: Option<&Verdict>, commands: &CommandSender) {
    let Some(verdict) = last.filter(|verdict| verdict.decision != Decision::Accept) else { return };
    caption(ui, format!("Why {}?", in_words(verdict)));
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = egui::vec2(4.0, 4.0);
        for (digit, reason) in (1..).zip(Reason::ALL) {
            let words = RichText::new(format!("{digit} {}", reason.name())).small();
            if toggle(ui, verdict.reason == Some(reason), words).clicked() {
                send(commands, VerdictsCommand::Reason(reason));
            }
        }
    });
}

/// The keys in one line, as they are now.
fn keys_in_words(ui: &Ui) -> String {
    let told = KEYS.iter().filter_map(|(name, words)| {
        let keys = keys_of(ui.ctx(), name);
        (!keys.is_empty()).then(|| format!("{keys} {words}"))
    });
    let reasons = ["Reason: not visible", "Reason: wording"].map(|name| keys_of(ui.ctx(), name));
    told.chain([format!("{} reason", reasons.join("–"))]).collect::<Vec<_>>().join(" · ")
}
