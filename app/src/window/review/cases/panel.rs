//! The conversation around the answer in view: what came before, which answers stand beside it, and what can be done with it.

use egui::{Button, Label, RichText, Ui};

use super::super::super::command::{AskCommand, CommandSender};
use super::super::super::state::AppState;
use super::super::super::theme;
use super::super::super::widgets::{caption, warning};
use super::super::chain::ChainCommand;
use super::super::{ReviewCommand, Shown};
use super::list::ListInput;
use super::questions::text_of;
use super::side_by_side::Columns;
use super::{CasesCommand, Step, conversation, labels, queue, reopen, update};

/// Samples that are offered at a time.
const SAMPLES: [u32; 2] = [3, 5];

/// What is being typed, and what is kept from frame to frame.
#[derive(Default)]
pub(in crate::window) struct CasesPanel {
    pub(super) list: ListInput,
    pub(super) columns: Columns,
}

pub(super) fn send(commands: &CommandSender, wish: CasesCommand) {
    commands.review(ReviewCommand::Cases(wish));
}

/// Goes on with what waited, whichever panel is shown: this is drawn in every frame.
pub(super) fn go_on(state: &AppState, commands: &CommandSender) {
    if reopen::is_due(state) || queue::is_due(state) {
        send(commands, CasesCommand::Settle);
    }
}

impl CasesPanel {
    /// The questions before the one in view, a line each, and its branches.
    #[expect(clippy::unused_self, reason = "as the other parts of the panel are called")]
    pub(in crate::window) fn path_ui(&mut self, ui: &mut Ui, state: &AppState, commands: &CommandSender) {
        let cases = &state.review.cases;
        if let Some(reopening) = &cases.reopening {
            missing_ui(ui, &reopening.step, commands);
        }
        if let Some(sentence) = &cases.not_kept {
            warning(ui, sentence);
        }
        let (Some(open), Some(shown)) = (&cases.open, super::shown(state)) else { return };
        let before = conversation::earlier(open, shown.question);
        for (number, (question, answer)) in (1..).zip(&before) {
            let words = format!("{number}. {}", first_line(&question.text));
            let row = Button::new(RichText::new(words).color(theme::of(ui).weak)).truncate();
            let row = ui.add(row.frame_when_inactive(false)).on_hover_text("Show this question");
            if row.clicked() {
                send(commands, CasesCommand::Show(answer.id.clone()));
            }
        }
        branches_ui(ui, state, commands);
    }

    /// What can be done with the answer in view: once more, edited, followed up, sampled.
    #[expect(clippy::unused_self, reason = "as the other parts of the panel are called")]
    pub(in crate::window) fn after_ui(
        &mut self,
        ui: &mut Ui,
        state: &AppState,
        shown: Shown<'_>,
        commands: &CommandSender,
    ) {
        remarks_ui(ui, state, shown, commands);
        if !shown.answer.is_over() {
            return;
        }
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing.x = 4.0;
            again_ui(ui, state, shown, commands);
            looks_ui(ui, state, shown, commands);
            if ui.button("Copy").on_hover_text("Copy question and answer").clicked() {
                commands.ask(AskCommand::CopyAnswer);
            }
        });
    }
}

fn first_line(text: &str) -> &str {
    text.trim().lines().next().unwrap_or_default()
}

/// The slide of the case is not there, or not yet.
fn missing_ui(ui: &mut Ui, step: &Step, commands: &CommandSender) {
    match step {
        Step::Opening(_) => {
            caption(ui, "Opening the slide of this case.");
        }
        Step::Picking(_) => {
            caption(ui, "Looking for the slide of this case.");
        }
        Step::Missing(sentence) => {
            warning(ui, sentence);
            if ui.button("Where is this slide?").clicked() {
                send(commands, CasesCommand::FindSlide);
            }
        }
    }
}

/// Which of the answers beside each other is in view, with arrows to the others.
fn branches_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    let Some((branches, at)) = update::branches(state).filter(|(branches, _)| branches.len() > 1) else {
        return;
    };
    ui.horizontal(|ui| {
        let arrow = |ui: &mut Ui, words: &str, name: &str, by: i32, is_on: bool| {
            let button = ui.add_enabled(is_on, Button::new(words)).on_hover_text(name);
            if button.accessible_name(name).clicked() {
                send(commands, CasesCommand::Branch(by));
            }
        };
        arrow(ui, "‹", "Answer before", -1, at > 0);
        ui.add(Label::new(format!("{} of {}", at + 1, branches.len())));
        arrow(ui, "›", "Answer after", 1, at + 1 < branches.len());
        if ui.button("Compare").on_hover_text("Lay these answers side by side").clicked() {
            send(commands, CasesCommand::Compare(branches.clone()));
        }
    });
}

/// What is to be known about the answer in view, and about what the model is to do next.
fn remarks_ui(ui: &mut Ui, state: &AppState, shown: Shown<'_>, commands: &CommandSender) {
    let cases = &state.review.cases;
    let usual = state.model.info().map(|model| model.generation.temperature);
    let history =
        shown.question.has_history.then(|| "The model was given the conversation before.".to_owned());
    let remarks = [labels::purpose(shown.answer), labels::sampling(shown.answer, usual), history];
    for remark in remarks.into_iter().flatten() {
        caption(ui, remark);
    }
    if cases.explaining.as_ref().is_some_and(|(_, answer)| *answer == shown.answer.id) {
        caption(ui, "Reading the answer again to see where each sentence looks.");
    }
    if !cases.queue.is_empty() {
        ui.horizontal(|ui| {
            caption(ui, waiting(cases.queue.len()));
            if ui.small_button("Take back").clicked() {
                send(commands, CasesCommand::ClearQueue);
            }
        });
    }
}

/// How many answers wait, in words.
pub(in crate::window) fn waiting(count: usize) -> String {
    if count == 1 { "1 answer waits".to_owned() } else { format!("{count} answers wait") }
}

/// The same question in another way.
fn again_ui(ui: &mut Ui, state: &AppState, shown: Shown<'_>, commands: &CommandSender) {
    if ui.button("Once more").on_hover_text("Ask the same with another seed").clicked() {
        send(commands, CasesCommand::Regenerate);
    }
    if ui.button("Edit question").on_hover_text("Ask it in other words, beside this one").clicked() {
        send(commands, CasesCommand::Edit(Some(shown.question.id.clone())));
    }
    for count in SAMPLES {
        let button = ui.button(format!("{count} samples"));
        if button.on_hover_text("Ask so many times and lay the answers side by side").clicked() {
            send(commands, CasesCommand::Samples(count));
        }
    }
    let ticked = state.shown_slide().map_or(0, |slide| slide.patches.in_question().count());
    if ticked > 1 {
        let button = ui.add_enabled(!state.is_asking(), Button::new("Compare patches"));
        if button.on_hover_text("Ask this of each ticked patch apart").clicked() {
            send(commands, CasesCommand::ComparePatches(Box::new(text_of(shown.question))));
        }
    }
}

fn looks_ui(ui: &mut Ui, state: &AppState, shown: Shown<'_>, commands: &CommandSender) {
    let id = &shown.answer.id;
    let button = ui.button("Where it looks").on_hover_text("Show where on the patches each sentence looks");
    if button.clicked() {
        if state.review.chain.maps.contains_key(id) {
            commands.review(ReviewCommand::Chain(ChainCommand::ToggleMap));
        } else {
            send(commands, CasesCommand::Explain(id.clone()));
        }
    }
}
