//! Reading and judging answers, in five parts, each with its state, wishes, news, threads (a desk) and panel in files of its own:
//! `cases` (the conversation, and everything that is kept), `chain` (an answer's sentences, with terms, doubts and places), `verdicts`
//! (what is thought of them), `stability` (whether an answer holds when nothing that matters changes), `export` (reports, tables, rows
//! to teach from). They meet in [`ReviewState`], and send each other commands. The store has one owner, the desk of `cases`.

use egui::Ui;
use reinpath_model::event::AskEvent;

use super::answer_view::AnswerView;
use super::command::{CommandSender, Named};
use super::read::ReadPlaces;
use super::state::AppState;
use super::update::{AskOrder, Effect};
use super::viewer_panel::PaneFrame;
use super::workers::{EventSender, Workers};
use crate::case;

pub mod cases;
pub mod chain;
pub mod export;
pub mod stability;
pub mod verdicts;

/// What of it is shown, as plain data.
#[derive(Debug, Default)]
pub struct ReviewState {
    pub cases: cases::CasesState,
    pub chain: chain::ChainState,
    pub verdicts: verdicts::VerdictsState,
    pub stability: stability::StabilityState,
    pub export: export::ExportState,
}

/// A wish of the user about answers.
#[derive(Clone, Debug, PartialEq)]
pub enum ReviewCommand {
    Cases(cases::CasesCommand),
    Chain(chain::ChainCommand),
    Verdicts(verdicts::VerdictsCommand),
    Stability(stability::StabilityCommand),
    Export(export::ExportCommand),
}

/// Something about answers that happened outside the window thread.
#[derive(Debug)]
pub enum ReviewEvent {
    Cases(cases::CasesEvent),
    Chain(chain::ChainEvent),
    Verdicts(verdicts::VerdictsEvent),
    Stability(stability::StabilityEvent),
    Export(export::ExportEvent),
}

/// Something about answers to be done outside the state.
#[derive(Clone, Debug, PartialEq)]
pub enum ReviewEffect {
    Cases(cases::CasesEffect),
    Chain(chain::ChainEffect),
    Verdicts(verdicts::VerdictsEffect),
    Stability(stability::StabilityEffect),
    Export(export::ExportEffect),
}

/// The answer that panels and keys are about.
#[derive(Clone, Copy, Debug)]
pub(in crate::window) struct Shown<'a> {
    pub question: &'a case::Question,
    pub answer: &'a case::Answer,
    /// Where it is the one that was asked for last: how far it is, and which of its stages are open.
    pub live: Option<&'a AnswerView>,
}

/// Every command of these parts that has a name.
pub fn named() -> impl Iterator<Item = &'static Named> {
    [cases::NAMED, chain::NAMED, verdicts::NAMED, stability::NAMED, export::NAMED].into_iter().flatten()
}

/// Carries out a wish.
pub(super) fn command(state: &mut AppState, wish: ReviewCommand) -> Vec<Effect> {
    match wish {
        ReviewCommand::Cases(wish) => cases::command(state, wish),
        ReviewCommand::Chain(wish) => chain::command(state, wish),
        ReviewCommand::Verdicts(wish) => verdicts::command(state, wish),
        ReviewCommand::Stability(wish) => stability::command(state, wish),
        ReviewCommand::Export(wish) => export::command(state, wish),
    }
}

/// Takes in what happened.
pub(super) fn event(state: &mut AppState, news: ReviewEvent) -> Vec<Effect> {
    match news {
        ReviewEvent::Cases(news) => cases::event(state, news),
        ReviewEvent::Chain(news) => chain::event(state, news),
        ReviewEvent::Verdicts(news) => verdicts::event(state, news),
        ReviewEvent::Stability(news) => stability::event(state, news),
        ReviewEvent::Export(news) => export::event(state, news),
    }
}

/// A question goes to the model; `answer` is what it will be answered in, and becomes `state.answer`.
pub(super) fn asked(state: &mut AppState, order: &AskOrder, answer: &mut AnswerView) -> Vec<Effect> {
    cases::asked(state, order, answer)
}

/// Something was written that does not belong to `state.answer`, such as an answer that is read again for its maps.
pub(super) fn heard(state: &mut AppState, id: u64, event: AskEvent) {
    cases::heard(state, id, event);
}

/// The order with this id has ended: `state.answer` was told, or `heard`.
pub(super) fn ended(state: &mut AppState, id: u64) -> Vec<Effect> {
    let mut effects = cases::ended(state, id);
    effects.extend(stability::ended(state, id));
    effects
}

/// The threads behind these parts; dropping them ends what they do, once all that is to be kept is kept.
pub(super) struct ReviewDesks {
    cases: cases::CasesDesk,
    chain: chain::ChainDesk,
    verdicts: verdicts::VerdictsDesk,
    stability: stability::StabilityDesk,
    export: export::ExportDesk,
}

impl ReviewDesks {
    pub(super) fn new(events: &EventSender, places: &ReadPlaces) -> Self {
        Self {
            cases: cases::CasesDesk::new(events.clone(), places),
            chain: chain::ChainDesk::new(events.clone(), places),
            verdicts: verdicts::VerdictsDesk::new(events.clone(), places),
            stability: stability::StabilityDesk::new(events.clone(), places),
            export: export::ExportDesk::new(events.clone(), places),
        }
    }

    /// Must not wait; `workers` gives the handles of open slides.
    pub(super) fn carry_out(&mut self, effect: ReviewEffect, workers: &Workers) {
        match effect {
            ReviewEffect::Cases(effect) => self.cases.carry_out(effect, workers),
            ReviewEffect::Chain(effect) => self.chain.carry_out(effect, workers),
            ReviewEffect::Verdicts(effect) => self.verdicts.carry_out(effect, workers),
            ReviewEffect::Stability(effect) => self.stability.carry_out(effect, workers),
            ReviewEffect::Export(effect) => self.export.carry_out(effect, workers),
        }
    }
}

/// What is being typed, and what is kept from frame to frame to draw fast.
#[derive(Default)]
pub(super) struct ReviewPanels {
    cases: cases::CasesPanel,
    chain: chain::ChainPanel,
    verdicts: verdicts::VerdictsPanel,
    stability: stability::StabilityPanel,
    export: export::ExportPanel,
}

impl ReviewPanels {
    /// The conversation below the question that is being typed: what came before, the answer in view, and what is thought of it.
    pub(super) fn conversation_ui(&mut self, ui: &mut Ui, state: &AppState, commands: &CommandSender) {
        self.cases.path_ui(ui, state, commands);
        let Some(shown) = cases::shown(state) else { return };
        self.chain.ui(ui, state, shown, &mut self.verdicts, commands);
        self.verdicts.ui(ui, state, shown, commands);
        self.cases.after_ui(ui, state, shown, commands);
        self.stability.ui(ui, state, shown, commands);
    }

    /// The list of cases.
    pub(super) fn cases_ui(&mut self, ui: &mut Ui, state: &AppState, commands: &CommandSender) {
        self.export.ui(ui, state, commands);
        self.cases.list_ui(ui, state, commands);
    }

    /// Answers side by side, in a panel of its own below the slide; nothing where none are compared.
    pub(super) fn below_ui(&mut self, ui: &mut Ui, state: &AppState, commands: &CommandSender) {
        self.cases.side_by_side_ui(ui, state, commands);
    }

    /// What lies over the slide of a pane: where the sentence in view looks.
    pub(super) fn draw(&mut self, ui: &Ui, frame: &PaneFrame<'_>) {
        self.chain.draw(ui, frame);
    }

    /// What lies over the whole window: dialogs.
    pub(super) fn over_all(&mut self, ui: &Ui, state: &AppState, commands: &CommandSender) {
        self.chain.over_all(ui, state, commands);
        self.export.over_all(ui, state, commands);
    }
}
