//! The stamp of the answer in view: everything that it was made with, and whether the same comes out again.

use egui::{CollapsingHeader, Grid, Label, RichText, Ui};

use super::super::super::command::{Command, CommandSender};
use super::super::super::state::AppState;
use super::super::super::theme;
use super::super::super::widgets::caption;
use super::super::{ReviewCommand, Shown};
use super::StabilityCommand;
use super::update::replay_of;
use crate::case::Id;
use crate::review::replay::{self, Replayed};

/// What a replay came to, compared once.
#[derive(Default)]
pub(super) struct Compared {
    /// The answer, and the one that was asked for to replay it.
    of: Option<(Id, Id)>,
    words: String,
}

/// Draws it.
pub(super) fn ui(
    compared: &mut Compared,
    ui: &mut Ui,
    state: &AppState,
    shown: Shown<'_>,
    commands: &CommandSender,
) {
    let Some(stamp) = shown.answer.stamp.as_deref() else { return };
    CollapsingHeader::new("Stamp").id_salt("stamp").show(ui, |ui| {
        Grid::new("stamp of the answer").num_columns(2).spacing([theme::GRID, 2.0]).show(ui, |ui| {
            for (name, value) in replay::stamp_lines(stamp) {
                caption(ui, name);
                ui.add(Label::new(RichText::new(value).small()).wrap());
                ui.end_row();
            }
        });
        ui.horizontal(|ui| {
            if ui.small_button("Copy as JSON").clicked() {
                match serde_json::to_string_pretty(stamp) {
                    Ok(json) => commands.send(Command::Copy(json)),
                    Err(error) => tracing::error!("the stamp cannot be written as JSON: {error}"),
                }
            }
            let again = ui.small_button("Replay").on_hover_text("Ask for the same once more, and compare");
            if again.clicked() {
                commands.review(ReviewCommand::Stability(StabilityCommand::Replay));
            }
        });
    });
    if let Some(again) = replay_of(state, shown.answer) {
        let of = Some((shown.answer.id.clone(), again.id.clone()));
        if compared.of != of {
            *compared = Compared { of, words: in_words(&replay::compare(shown.answer, again)) };
        }
        caption(ui, &compared.words);
    }
}

/// What a replay came to.
fn in_words(replayed: &Replayed) -> String {
    match replayed {
        Replayed::Same => "Replayed: the same text.".to_owned(),
        Replayed::Differs { at, before, after, cause } => {
            let at = at + 1;
            format!(
                "Replayed: the text differs from character {at} on (“{before}” became “{after}”): {cause}."
            )
        }
    }
}
