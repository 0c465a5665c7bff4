//! A data set looked through, in a window of its own: findings by kind with their count, and places that open their row.

use egui::{CollapsingHeader, RichText, ScrollArea, Ui};
use reinpath_training::dataset::{Finding, Place, grouped};

use super::{CheckState, CheckSummary, LookCommand};
use crate::window::command::{Command, CommandSender};
use crate::window::theme;
use crate::window::train::TrainCommand;
use crate::window::widgets::{caption, dialog, problem_ui};

/// Places of a finding that are listed.
const MOST_PLACES: usize = 100;

/// Draws it.
pub(super) fn ui(ui: &Ui, check: &CheckState, commands: &CommandSender) {
    let mut is_open = true;
    let window = dialog(ui, "Check of a data set", "data check", &mut is_open);
    window.default_size([520.0, 480.0]).collapsible(false).show(ui.ctx(), |ui| {
        caption(ui, check.data.display().to_string());
        if check.is_running {
            ui.horizontal(|ui| {
                ui.label(format!("Looking through the rows. Found so far: {}.", check.findings.len()));
                if ui.button("Stop").accessible_name("Stop the check").clicked() {
                    commands.train(TrainCommand::Look(LookCommand::Stop));
                }
            });
        }
        if let Some(fault) = &check.fault {
            problem_ui(ui, fault, |ui| {
                if ui.button("Copy message").clicked() {
                    commands.send(Command::Copy(fault.clone()));
                }
            });
        }
        if let Some(report) = &check.report {
            caption(ui, in_words(report));
            if check.findings.is_empty() {
                ui.label("Nothing is wrong with it.");
            }
        }
        ScrollArea::vertical().id_salt("data check").auto_shrink(false).show(ui, |ui| {
            for finding in &check.findings {
                finding_ui(ui, check, finding, commands);
            }
        });
    });
    if !is_open {
        commands.train(TrainCommand::Look(LookCommand::CloseCheck));
    }
}

fn finding_ui(ui: &mut Ui, check: &CheckState, finding: &Finding, commands: &CommandSender) {
    let palette = theme::of(ui);
    let (word, colour) =
        if finding.stops { ("Stops a run", palette.error) } else { ("Worth knowing", palette.weak) };
    ui.label(RichText::new(word).font(theme::semibold(theme::CAPTION)).color(colour));
    ui.label(&finding.sentence);
    let places = format!("Places: {}", grouped(finding.count));
    CollapsingHeader::new(places).id_salt(("places", finding.kind as u8)).show(ui, |ui| {
        for place in finding.places.iter().take(MOST_PLACES) {
            place_ui(ui, check, place, commands);
        }
        let more = finding.places.len().saturating_sub(MOST_PLACES);
        if more > 0 {
            caption(ui, format!("and {} more", grouped(more)));
        }
    });
    ui.add_space(4.0);
}

/// A place; where it is about a row, its button shows it.
fn place_ui(ui: &mut Ui, check: &CheckState, place: &Place, commands: &CommandSender) {
    ui.horizontal_wrapped(|ui| {
        if place.line > 0 {
            caption(ui, format!("line {}", place.line));
        }
        if !place.id.is_empty() {
            let show = ui.small_button(place.id.as_str()).on_hover_text("Show this row as the model gets it");
            if show.accessible_name(format!("Show the row {}", place.id)).clicked() {
                let (data, rows) = (check.data.clone(), vec![place.id.clone()]);
                commands.train(TrainCommand::Look(LookCommand::Preview { data, rows }));
            }
        }
        caption(ui, place.detail.clone());
    });
}

fn in_words(report: &CheckSummary) -> String {
    let counts = |of: &std::collections::BTreeMap<String, usize>| -> String {
        let words: Vec<String> =
            of.iter().map(|(name, &rows)| format!("{} {}", name.replace('_', " "), grouped(rows))).collect();
        words.join(", ")
    };
    let mut words = format!(
        "{} rows, {} images. Parts: {}. Of use for: {}.",
        grouped(report.rows),
        grouped(report.images),
        counts(&report.parts),
        counts(&report.usable)
    );
    if let Some((longest, limit)) = report.longest.zip(report.limit) {
        let (longest, limit) = (grouped(longest), grouped(limit));
        words.extend([" The longest row has ", &longest, " tokens; the model reads ", &limit, "."]);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_told_in_words() {
        let report = CheckSummary {
            rows: 3,
            images: 2,
            parts: [("train".to_owned(), 2), ("test".to_owned(), 1)].into(),
            usable: [("cold_start".to_owned(), 1)].into(),
            longest: Some(90),
            limit: Some(512),
        };
        let want = "3 rows, 2 images. Parts: test 1, train 2. Of use for: cold start 1. The longest row has 90 tokens; \
                    the model reads 512.";
        assert_eq!(in_words(&report), want);
    }
}
