//! Runs side by side: what each is, what it reached on held-out rows, in which settings they differ, their curves in the same
//! plots, and their answers to the same question.

use egui::{Grid, Label, ScrollArea, Sense, Shape, Stroke, Ui, vec2};
use egui_plot::LineStyle;
use reinpath_training::config::RunConfig;

use super::super::super::command::CommandSender;
use super::super::super::state::AppState;
use super::super::super::theme;
use super::super::super::widgets::{caption, hairline, title};
use super::super::TrainCommand;
use super::super::chart::plots;
use super::super::runs::RunsCommand;
use super::super::words;
use super::kept::Kept;
use super::samples::{self, Samples};
use super::{checkpoints, curves, held_out};
use crate::runs::RunKey;
use crate::runs::difference::{Difference, differences};
use crate::runs::told::RunTold;

/// Characters of a value in the table of differences; the whole is told at the pointer.
const MOST_CHARACTERS: usize = 40;

/// What drawing them keeps from frame to frame.
#[derive(Default)]
pub(super) struct Comparison {
    /// Of versions of the runs.
    differences: Kept<Vec<(RunKey, u64)>, Vec<Difference>>,
    samples: Samples,
}

impl Comparison {
    /// Draws them.
    pub(super) fn ui(&mut self, ui: &mut Ui, state: &AppState, commands: &CommandSender) {
        let runs = samples::laid_out(state);
        let names = samples::names(&runs);
        ui.horizontal_wrapped(|ui| {
            title(ui, "Runs side by side");
            if ui.button("Stop comparing").clicked() {
                for key in &state.train.runs.compared {
                    commands.train(TrainCommand::Runs(RunsCommand::Compare(key.clone(), false)));
                }
            }
        });
        ScrollArea::vertical().id_salt("runs side by side").auto_shrink(false).show(ui, |ui| {
            for (place, (told, name)) in runs.iter().zip(&names).enumerate() {
                head_ui(ui, state, told, name, place, commands);
            }
            for key in samples::awaited(state) {
                caption(ui, format!("Reading the run {}", key.name()));
            }
            hairline(ui);
            held_out::ui(ui, &runs, &names);
            hairline(ui);
            self.differences_ui(ui, &runs, &names);
            hairline(ui);
            curves::ui(ui, state, &runs, &names, commands);
            hairline(ui);
            self.samples.ui(ui, state, &runs, &names, commands);
        });
    }

    fn differences_ui(&mut self, ui: &mut Ui, runs: &[&RunTold], names: &[String]) {
        title(ui, "Settings in which they differ");
        for (told, name) in runs.iter().zip(names) {
            if told.config.is_none() {
                caption(ui, format!("The settings of {name} are not known yet."));
            }
        }
        let known =
            || runs.iter().zip(names).filter_map(|(told, name)| Some((told.config.as_deref()?, name)));
        if known().count() < 2 {
            return;
        }
        let key = runs.iter().map(|told| (told.key.clone(), told.version)).collect();
        let found = self.differences.get(key, || {
            let configs: Vec<&RunConfig> = known().map(|(config, _)| config).collect();
            differences(&configs)
        });
        if found.is_empty() {
            caption(ui, "None: their settings are the same.");
            return;
        }
        ScrollArea::horizontal().id_salt("differences").show(ui, |ui| {
            Grid::new("differences of runs").striped(true).spacing([16.0, 4.0]).show(ui, |ui| {
                caption(ui, "setting");
                for (_, name) in known() {
                    caption(ui, name.as_str());
                }
                ui.end_row();
                for difference in found {
                    difference_ui(ui, difference);
                }
            });
        });
    }
}

fn difference_ui(ui: &mut Ui, difference: &Difference) {
    ui.label(difference.key.as_str());
    for value in &difference.values {
        match value {
            None => {
                caption(ui, "not set");
            }
            Some(value) => {
                let short = elided(value);
                let is_whole = short == *value;
                let label = ui.add(Label::new(short).extend());
                if !is_whole {
                    label.on_hover_text(value.as_str());
                }
            }
        }
    }
    ui.end_row();
}

/// At most [`MOST_CHARACTERS`]: of a path its end is kept, of anything else its beginning.
fn elided(value: &str) -> String {
    let count = value.chars().count();
    if count <= MOST_CHARACTERS {
        return value.to_owned();
    }
    let kept = MOST_CHARACTERS - 1;
    if value.contains(['/', '\\']) && !value.contains(" = ") {
        let end: String = value.chars().skip(count - kept).collect();
        return format!("…{end}");
    }
    let beginning: String = value.chars().take(kept).collect();
    format!("{beginning}…")
}

/// A run with its line in the plots, how far it is, and what can be done with it.
fn head_ui(
    ui: &mut Ui,
    state: &AppState,
    told: &RunTold,
    name: &str,
    place: usize,
    commands: &CommandSender,
) {
    ui.horizontal_wrapped(|ui| {
        let line = line_ui(ui, place);
        title(ui, name).on_hover_text(told.key.folder().display().to_string());
        caption(ui, format!("{}; {line}", words::state(&told.listed, told.waits_for.as_deref())));
        if let Some(command) = checkpoints::newest(told) {
            checkpoints::button_ui(ui, state, name, command, commands);
        }
        if place > 0 {
            let button = ui.button("Take away").on_hover_text("Takes this run out of the comparison");
            if button.accessible_name(format!("Take {name} out of the comparison")).clicked() {
                let wish = RunsCommand::Compare(told.key.clone(), false);
                commands.train(TrainCommand::Runs(wish));
            }
        }
    });
}

/// The line of a run as the plots have it; returns its kind in words.
fn line_ui(ui: &mut Ui, place: usize) -> &'static str {
    let (colour, style) = plots::look(theme::of(ui), place);
    let (rect, _) = ui.allocate_exact_size(vec2(40.0, 16.0), Sense::hover());
    let ends = [rect.left_center(), rect.right_center()];
    let stroke = Stroke::new(2.0, colour);
    let (words, lengths) = match style {
        LineStyle::Solid => ("solid line", None),
        LineStyle::Dashed { length } => {
            (if length > 7.0 { "long dashes" } else { "short dashes" }, Some((length, length * 0.6)))
        }
        LineStyle::Dotted { spacing } => {
            (if spacing > 7.0 { "wide dots" } else { "narrow dots" }, Some((2.0, spacing)))
        }
    };
    match lengths {
        None => {
            ui.painter().line_segment(ends, stroke);
        }
        Some((dash, gap)) => ui.painter().extend(Shape::dashed_line(&ends, stroke, dash, gap)),
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_keep_what_tells_them_apart() {
        assert_eq!(elided("0.0002"), "0.0002");
        let path = elided("/slides/somebody/data/pathology/answers/of/2026/rows.jsonl");
        assert!(path.starts_with('…') && path.ends_with("of/2026/rows.jsonl"), "{path}");
        assert_eq!(path.chars().count(), MOST_CHARACTERS);
        let words = elided(&"a description that is long ".repeat(3));
        assert!(words.starts_with("a description") && words.ends_with('…'), "{words}");
        assert_eq!(words.chars().count(), MOST_CHARACTERS);
        let group = elided("folder = /data/answers, split = train, limit = 0, repeat = 1");
        assert!(group.starts_with("folder = /data/answers"), "{group}");
    }
}
