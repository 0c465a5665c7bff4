//! How stable the answer in view is: what is varied, how many answers are still to come, how many agree, and those that differ.

use std::sync::Arc;

use egui::{CollapsingHeader, DragValue, Label, Ui};
use reinpath_model::stage::AnswerStage;

use super::super::super::command::{CommandSender, keys_of};
use super::super::super::state::AppState;
use super::super::super::theme;
use super::super::super::widgets::{caption, tick_box};
use super::super::cases::CasesCommand;
use super::super::verdicts::difference_job;
use super::super::{ReviewCommand, Shown};
use super::update::to_come;
use super::{MOST_REPEATS, StabilityCommand};
use crate::case::{Answer, Id};
use crate::chain::glossary::Glossary;
use crate::review::stability::{self, Agreement};

/// Answers that differ, as they are shown at most.
const MOST_DIFFERING: usize = 20;

/// What was compared, and what came of it.
#[derive(Default)]
pub(super) struct Compared {
    /// Read once: the terms that are shipped, so that a figure means the same on every machine.
    glossary: Option<Glossary>,
    /// The answer, and how many there are to its question.
    of: Option<(Id, usize)>,
    agreement: Agreement,
    differing: Vec<Differing>,
}

/// An answer that differs.
struct Differing {
    id: Id,
    /// What was varied, and where it differs.
    words: String,
    /// The texts of the stages that do: this answer's, and the other's.
    texts: Vec<(String, String)>,
}

fn send(commands: &CommandSender, wish: StabilityCommand) {
    commands.review(ReviewCommand::Stability(wish));
}

impl Compared {
    /// Draws it.
    pub(super) fn ui(&mut self, ui: &mut Ui, state: &AppState, shown: Shown<'_>, commands: &CommandSender) {
        self.compare(state, shown);
        CollapsingHeader::new("Stability").id_salt("stability").show(ui, |ui| {
            settings_ui(ui, state, shown, commands);
        });
        let to_come = to_come(state);
        let is_of_shown =
            state.review.stability.running.as_ref().is_some_and(|(id, _)| *id == shown.answer.id);
        if is_of_shown && to_come > 0 {
            ui.horizontal(|ui| {
                let asked = state.review.stability.asked;
                caption(ui, format!("{} of {asked} varied answers", asked.saturating_sub(to_come)));
                if ui.small_button("Stop checking").clicked() {
                    send(commands, StabilityCommand::End);
                }
            });
        }
        if self.agreement.answers > 0 {
            self.agreement_ui(ui, shown, commands);
        }
    }

    /// Compares anew when there is another answer.
    fn compare(&mut self, state: &AppState, shown: Shown<'_>) {
        let open = state.review.cases.open.as_ref();
        let answers: Vec<Arc<Answer>> = open
            .map(|open| open.answers_to(&shown.question.id).into_iter().cloned().collect())
            .unwrap_or_default();
        let of = Some((shown.answer.id.clone(), answers.len()));
        if self.of == of {
            return;
        }
        self.of = of;
        let glossary = self.glossary.get_or_insert_with(Glossary::shipped);
        self.agreement = stability::agreement(shown.answer, shown.question, &answers, glossary);
        let own = shown.answer.text();
        let differing = self.agreement.differing.iter().take(MOST_DIFFERING);
        let differing = differing.filter_map(|(id, variation, stages)| {
            let other = answers.iter().find(|answer| answer.id == *id)?.text();
            let names: Vec<&str> = stages.iter().map(|stage| stage.name()).collect();
            let texts = stages
                .iter()
                .map(|stage| (own.stage(*stage).trim().to_owned(), other.stage(*stage).trim().to_owned()));
            let words = format!("{}: {} differs", stability::in_words(variation), names.join(" and "));
            Some(Differing { id: id.clone(), words, texts: texts.collect() })
        });
        self.differing = differing.collect();
    }

    fn agreement_ui(&self, ui: &mut Ui, shown: Shown<'_>, commands: &CommandSender) {
        let told = AnswerStage::ALL.into_iter().filter_map(|stage| {
            let agreeing = self.agreement.agreeing(stage)?;
            Some(format!("{} {agreeing} of {}", stage.name(), self.agreement.answers))
        });
        let told = told.collect::<Vec<_>>().join(" · ");
        caption(ui, format!("Agreement: {told}")).on_hover_text(stability::RULE);
        if self.differing.is_empty() {
            return;
        }
        let count = self.agreement.differing.len();
        CollapsingHeader::new(format!("{count} that differ")).id_salt("those that differ").show(ui, |ui| {
            for differing in &self.differing {
                differing.ui(ui, commands);
            }
            if count > self.differing.len() {
                caption(ui, format!("{} more are in the case.", count - self.differing.len()));
            }
        });
        if shown.question.choices.is_empty() {
            caption(ui, "Without options a conclusion is compared by its terms.");
        }
    }
}

impl Differing {
    fn ui(&self, ui: &mut Ui, commands: &CommandSender) {
        ui.horizontal_wrapped(|ui| {
            caption(ui, &self.words);
            if ui.small_button("Show").on_hover_text(&*self.words).clicked() {
                commands.review(ReviewCommand::Cases(CasesCommand::Show(self.id.clone())));
            }
        });
        for (own, other) in &self.texts {
            ui.add(Label::new(difference_job(theme::of(ui), own, other)).wrap());
        }
    }
}

/// What a tick wishes for.
type Wish = fn(bool) -> StabilityCommand;

fn settings_ui(ui: &mut Ui, state: &AppState, shown: Shown<'_>, commands: &CommandSender) {
    let stability = &state.review.stability;
    caption(ui, "Asks again with something changed that should change nothing.");
    ui.horizontal(|ui| {
        let mut repeats = stability.repeats;
        let label = ui.label("Of each kind");
        let value = ui.add(DragValue::new(&mut repeats).range(1..=MOST_REPEATS)).labelled_by(label.id);
        if value.changed() {
            send(commands, StabilityCommand::Repeats(repeats));
        }
    });
    let kinds: [(&str, bool, Wish); 3] = [
        ("Options in other orders", stability.is_shuffled, StabilityCommand::Shuffled),
        ("Patches shifted by 5 %", stability.is_shifted, StabilityCommand::Shifted),
        ("Patches turned by 5°", stability.is_turned, StabilityCommand::Turned),
    ];
    for (words, is_on, wish) in kinds {
        let mut is_on = is_on;
        let is_about_options = words.starts_with("Options");
        let can_be = !is_about_options || shown.question.choices.len() > 1;
        if ui.add_enabled(can_be, tick_box(&mut is_on, words)).changed() {
            send(commands, wish(is_on));
        }
    }
    let keys = keys_of(ui.ctx(), "Check stability");
    let is_free = stability.running.is_none();
    let button = ui.add_enabled(is_free, egui::Button::new("Check stability"));
    if button.on_hover_text(keys).clicked() {
        send(commands, StabilityCommand::Begin);
    }
}
