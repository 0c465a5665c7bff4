//! The answer's cards with their sentences, what the pointer rests on, and how words are marked.

use egui::{CornerRadius, DragValue, Frame, Label, Margin, Rect, RichText, Ui, pos2};
use reinpath_model::stage::AnswerStage;

use super::super::super::answer_cards::{self, Card};
use super::super::super::command::CommandSender;
use super::super::super::state::AppState;
use super::super::super::theme;
use super::super::super::widgets::{caption, hairline, tick_box, toggle};
use super::super::verdicts::VerdictsPanel;
use super::super::{ReviewCommand, Shown};
use super::glossary_window::GlossaryWindow;
use super::reading::Read;
use super::row::{self, Look};
use super::{ChainCommand, is_open, pointed};
use crate::case::{Answer, Id};
use crate::review::verdict::Target;

/// Seconds that the pointer rests on a sentence before its map is shown: less would flicker over the slide while it passes by.
const REST: f64 = 0.3;

/// What is drawn, for all functions that draw a part of it.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) state: &'a AppState,
    pub(super) shown: Shown<'a>,
    pub(super) read: &'a Read,
    pub(super) commands: &'a CommandSender,
}

impl View<'_> {
    pub(super) fn wish(&self, wish: ChainCommand) {
        self.commands.review(ReviewCommand::Chain(wish));
    }
}

/// What is kept from frame to frame.
#[derive(Default)]
pub(super) struct Cards {
    /// The sentence under the pointer, and since when (egui's time).
    pointer: Option<((AnswerStage, usize), f64)>,
    /// The sentence that was scrolled to.
    scrolled: Option<(Id, AnswerStage, usize)>,
    /// Whether the whole text stands in the place of the stages, as the model generated it.
    is_as_written: bool,
}

impl Cards {
    pub(super) fn ui(
        &mut self,
        ui: &mut Ui,
        view: View<'_>,
        verdicts: &mut VerdictsPanel,
        glossary: &mut GlossaryWindow,
    ) {
        ui.add_space(theme::GRID);
        hairline(ui);
        let View { state, shown, read, commands } = view;
        // Tags alone make no token.
        let has_text = !shown.answer.tokens.is_empty() || shown.answer.raw().is_some();
        // What is being edited is seen.
        let is_as_written = self.is_as_written && has_text && state.review.verdicts.editing.is_none();
        // What was written before the first stage is a part of the whole text.
        answer_cards::head_ui(ui, shown, if is_as_written { "" } else { read.preamble.as_str() });
        let is_over = shown.answer.is_over();
        let mut hovered = None;
        if is_as_written {
            as_written_ui(ui, shown.answer);
        } else if !is_over || !verdicts.target_ui(ui, state, shown, Target::Answer, commands) {
            for stage in AnswerStage::ALL {
                self.card(ui, view, stage, verdicts, glossary, &mut hovered);
            }
        }
        answer_cards::foot_ui(ui, shown.answer);
        ui.horizontal(|ui| {
            marks_ui(ui, view, glossary);
            if has_text {
                let button = toggle(ui, self.is_as_written, "As written");
                self.is_as_written ^=
                    button.on_hover_text("The whole text, headings or tags included").clicked();
            }
        });
        self.look(ui, view, hovered);
        self.scrolled.clone_from(&state.review.chain.focus);
    }

    fn card(
        &mut self,
        ui: &mut Ui,
        view: View<'_>,
        stage: AnswerStage,
        verdicts: &mut VerdictsPanel,
        glossary: &mut GlossaryWindow,
        hovered: &mut Option<(AnswerStage, usize)>,
    ) {
        let text = view.read.text.stage(stage).trim();
        let is_begun = view.shown.live.is_some_and(|live| live.is_running() && live.stage == Some(stage));
        if text.is_empty() && !is_begun {
            // Not every model writes every stage.
            return;
        }
        // What is being edited is seen, whatever the user folded.
        let is_edited = match view.state.review.verdicts.editing {
            Some(Target::Stage(edited) | Target::Sentence(edited, _)) => edited == stage,
            Some(Target::Answer) | None => false,
        };
        let is_open = !text.is_empty() && (is_edited || is_open(view.state, view.shown, stage));
        let card = Card { stage, text, is_open };
        if card.ui(ui, |ui| self.sentences_ui(ui, view, stage, verdicts, glossary, hovered)) {
            view.wish(ChainCommand::Fold(stage));
        }
    }

    fn sentences_ui(
        &mut self,
        ui: &mut Ui,
        view: View<'_>,
        stage: AnswerStage,
        verdicts: &mut VerdictsPanel,
        glossary: &mut GlossaryWindow,
        hovered: &mut Option<(AnswerStage, usize)>,
    ) {
        let View { state, shown, read, commands } = view;
        let is_over = shown.answer.is_over();
        if is_over && verdicts.target_ui(ui, state, shown, Target::Stage(stage), commands) {
            return;
        }
        let chain = &read.chain;
        let focus = state.review.chain.focus.as_ref().filter(|(id, ..)| *id == shown.answer.id);
        let pointed = pointed(state, shown.answer);
        let pointed = chain.sentences.iter().find(|s| Some((s.stage, s.index)) == pointed);
        for (at, sentence) in chain.sentences.iter().enumerate().filter(|(_, s)| s.stage == stage) {
            let place = (stage, sentence.index);
            let is_focused = focus.is_some_and(|(_, stage, index)| (*stage, *index) == place);
            let look = Look { is_focused, is_rested_on: pointed.is_some_and(|s| s.rests_on.contains(&at)) };
            let top = ui.cursor().top();
            let target = Target::Sentence(stage, sentence.index);
            let is_drawn = is_over && verdicts.target_ui(ui, state, shown, target, commands);
            if !is_drawn {
                let response = row::ui(ui, view, at, look, glossary);
                if response.contains_pointer() {
                    *hovered = Some(place);
                }
                if response.clicked() {
                    view.wish(ChainCommand::Focus(Some(place)));
                }
            }
            row::captions_ui(ui, view, at, look);
            if is_focused {
                let left = ui.max_rect().left();
                let rect = Rect::from_min_max(pos2(left - 5.0, top), pos2(left - 2.0, ui.cursor().top()));
                ui.painter().rect_filled(rect, 1.0, theme::of(ui).stage(stage));
                if self.scrolled != state.review.chain.focus {
                    ui.scroll_to_rect(rect, None);
                }
            }
        }
    }

    /// Tells the state what the pointer rests on.
    fn look(&mut self, ui: &Ui, view: View<'_>, hovered: Option<(AnswerStage, usize)>) {
        let looked_at = view.state.review.chain.looked_at.as_ref();
        let Some(place) = hovered else {
            self.pointer = None;
            if looked_at.is_some() {
                view.wish(ChainCommand::LookAt(None));
            }
            return;
        };
        let now = ui.input(|input| input.time);
        let since = match self.pointer {
            Some((before, since)) if before == place => since,
            _ => now,
        };
        self.pointer = Some((place, since));
        let id = &view.shown.answer.id;
        if now - since < REST {
            ui.ctx().request_repaint_after_secs((REST - (now - since)) as f32);
        } else if looked_at.is_none_or(|(of, stage, index)| of != id || (*stage, *index) != place) {
            view.wish(ChainCommand::LookAt(Some(place)));
        }
    }
}

/// The whole text, in the place of the stages, and what of it is not there.
fn as_written_ui(ui: &mut Ui, answer: &Answer) {
    let frame = Frame::new()
        .fill(theme::of(ui).raised)
        .corner_radius(CornerRadius::same(theme::RADIUS))
        .inner_margin(Margin::same(8));
    frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.add(Label::new(RichText::new(answer.as_written())).wrap().selectable(true));
    });
    if answer.raw().is_none() {
        let missing = if answer.is_over() {
            "Headings and tags were not kept with this answer."
        } else {
            "Headings and tags are shown once the answer has ended."
        };
        caption(ui, missing);
    }
}

/// What is marked, and the way to the glossary.
fn marks_ui(ui: &mut Ui, view: View<'_>, glossary: &mut GlossaryWindow) {
    let settings = &view.state.settings.review;
    ui.menu_button("Reading aids", |ui| {
        let mut marks_terms = settings.marks_terms;
        if ui.add(tick_box(&mut marks_terms, "Mark terms")).changed() {
            view.wish(ChainCommand::ToggleTerms);
        }
        ui.horizontal(|ui| {
            let label = ui.label("Underline words less likely than");
            let mut per_cent = settings.unsure_below;
            let number = DragValue::new(&mut per_cent).range(0..=100).suffix(" %");
            if ui.add(number).labelled_by(label.id).changed() {
                view.wish(ChainCommand::UnsureBelow(per_cent));
            }
        });
        let mut makes_maps = settings.makes_maps;
        if ui.add(tick_box(&mut makes_maps, "Find out where sentences look after each answer")).changed() {
            view.wish(ChainCommand::MakesMaps(makes_maps));
        }
        if ui.button("Glossary…").clicked() {
            glossary.open(None);
            ui.close();
        }
    });
}
