//! The plots of the shown stage, and the tools above them: what is shown, how it is smoothed, where it is written.

use std::path::PathBuf;

use egui::menu::{MenuButton, MenuConfig};
use egui::{Align, Button, Id, Label, Layout, PopupCloseBehavior, RichText, Slider, TextEdit, Ui};

use super::super::super::command::CommandSender;
use super::super::super::state::{AppState, ChartSettings};
use super::super::super::theme;
use super::super::super::widgets::{caption, tick_box, title, toggle};
use super::super::TrainCommand;
use super::super::rollouts::RolloutsCommand;
use super::measures::{self, Group};
use super::plots::{self, Curve, HELD_OUT, Place};
use super::{ChartCommand, ChartView, grid, line};
use crate::runs::told::{RunTold, StageTold};

/// Frames for which the button of a plot is left out, so that it is not in the plot's picture: the one in which the wish for
/// the picture is carried out, the one that is taken, and one to spare.
const FRAMES_WITHOUT_BUTTON: u8 = 4;

const HOW_TO_ZOOM: &str = "A drag moves a plot, Ctrl and the wheel zoom it, a box drawn with the right button is zoomed to, a \
                           double click shows all. A click on a step shows its rollouts.";

/// What is being typed, and what drawing keeps from frame to frame.
#[derive(Default)]
pub(super) struct CurvesPanel {
    /// Where exports go; empty: a dialog asks.
    save_to: String,
    /// The plot of which a picture is taken, and for how many frames more.
    pictured: Option<(String, u8)>,
}

impl CurvesPanel {
    /// Draws the line of tools.
    pub(super) fn tools_ui(
        &mut self,
        ui: &mut Ui,
        state: &AppState,
        told: &RunTold,
        commands: &CommandSender,
    ) {
        let chart = &state.train.chart;
        ui.horizontal_wrapped(|ui| {
            let views =
                [(ChartView::Curves, "Curves"), (ChartView::Machine, "Machine"), (ChartView::Log, "Log")];
            for (view, name) in views {
                if toggle(ui, chart.view == view, name).clicked() {
                    commands.train(TrainCommand::Chart(ChartCommand::View(view)));
                }
            }
            if chart.view == ChartView::Curves {
                settings_ui(ui, &state.settings.chart, commands);
                if let Some(stage) = chart.stage_of(told) {
                    shown_plots_ui(ui, stage, &state.settings.chart, commands);
                }
            }
            self.export_ui(ui, commands);
            if chart.saving > 0 {
                caption(ui, "Saving");
            } else if let Some(path) = &chart.saved {
                caption(ui, format!("Saved: {}", path.display()));
            }
        });
    }

    fn export_ui(&mut self, ui: &mut Ui, commands: &CommandSender) {
        let stays_open = MenuConfig::new().close_behavior(PopupCloseBehavior::CloseOnClickOutside);
        MenuButton::new("Export").config(stays_open).ui(ui, |ui| {
            ui.set_min_width(320.0);
            let label = ui.label("Save to");
            let edit = TextEdit::singleline(&mut self.save_to).desired_width(300.0);
            ui.add(edit.hint_text("a path; empty: a dialog asks")).labelled_by(label.id);
            let path = self.named_path();
            if ui.button(with_dots("Figures as CSV", path.as_ref())).clicked() {
                let wish = path.clone().map_or(ChartCommand::SaveCsv, ChartCommand::SaveCsvTo);
                commands.train(TrainCommand::Chart(wish));
                ui.close();
            }
            if ui.button(with_dots("Folder for TensorBoard", path.as_ref())).clicked() {
                let wish = path.map_or(ChartCommand::SaveTensorBoard, ChartCommand::SaveTensorBoardTo);
                commands.train(TrainCommand::Chart(wish));
                ui.close();
            }
            caption(ui, "The PNG of a plot goes there too.");
        });
    }

    /// The path that was typed.
    fn named_path(&self) -> Option<PathBuf> {
        let typed = self.save_to.trim();
        (!typed.is_empty()).then(|| PathBuf::from(typed))
    }

    /// Draws the plots.
    pub(super) fn ui(
        &mut self,
        ui: &mut Ui,
        state: &AppState,
        told: &RunTold,
        stage: Option<&StageTold>,
        commands: &CommandSender,
    ) {
        let Some(stage) = stage.filter(|stage| !stage.steps.is_empty() || !stage.evaluations.is_empty())
        else {
            caption(ui, "No step has been taken yet.");
            return;
        };
        let settings = &state.settings.chart;
        let mut groups = measures::groups(stage);
        groups.retain(|group| !settings.hidden.contains(&group.key));
        if groups.is_empty() {
            caption(ui, "Every plot is hidden: choose some under Plots.");
            return;
        }
        caption(ui, HOW_TO_ZOOM);
        let base = Id::unique(("plot of a run", told.key.folder(), stage.name.as_str()));
        grid::ui(ui, "plots", groups.len(), |ui, n| {
            self.plot_ui(ui, base, told, stage, &groups[n], settings, commands);
        });
        if let Some((_, frames)) = &mut self.pictured {
            *frames -= 1;
            if *frames == 0 {
                self.pictured = None;
            }
            ui.ctx().request_repaint();
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a part of `ui`, whose arguments these are")]
    fn plot_ui(
        &mut self,
        ui: &mut Ui,
        base: Id,
        told: &RunTold,
        stage: &StageTold,
        group: &Group,
        settings: &ChartSettings,
        commands: &CommandSender,
    ) {
        let cell = ui.max_rect();
        let id = base.with(group.key.as_str());
        let below_title = id.with("left out");
        let left_out: usize = ui.data(|data| data.get_temp(below_title)).unwrap_or_default();
        let palette = theme::of(ui);
        ui.horizontal(|ui| {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if self.picture_button(ui, group) {
                    self.pictured = Some((group.key.clone(), FRAMES_WITHOUT_BUTTON));
                    let (measure, to) = (group.key.clone(), self.named_path());
                    commands.train(TrainCommand::Chart(ChartCommand::SavePlot { measure, rect: cell, to }));
                }
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                    title(ui, &group.title);
                    let newest = newest_in_words(stage, group, left_out);
                    ui.add(Label::new(RichText::new(newest).small().color(palette.weak)).truncate());
                });
            });
        });
        let curves: Vec<Curve<'_>> = (0..)
            .zip(&group.curves)
            .map(|(n, (measure, name))| {
                let (colour, style) = plots::look(palette, n);
                Curve { name: name.clone(), told, stage: &stage.name, measure, colour, style }
            })
            .collect();
        let place = Place { id, group: Some(base), height: ui.available_height() };
        let shown = plots::draw(ui, &place, &group.title, &curves, settings);
        if shown.left_out != left_out {
            ui.data_mut(|data| data.insert_temp(below_title, shown.left_out));
            ui.ctx().request_repaint();
        }
        if let Some(step) = shown.clicked {
            let stage = stage.name.clone();
            commands.train(TrainCommand::Rollouts(RolloutsCommand::ShowStep { stage, step }));
        }
    }

    /// The button that takes a plot's picture, which is not in it; true when it was clicked.
    fn picture_button(&self, ui: &mut Ui, group: &Group) -> bool {
        let is_pictured = self.pictured.as_ref().is_some_and(|(key, _)| *key == group.key);
        let button = ui.add_visible(!is_pictured, Button::new("PNG").small());
        button.accessible_name(format!("Save the plot {} as PNG", group.title)).clicked()
    }
}

/// Words of a button, which opens a dialog where no path was typed.
fn with_dots(words: &str, path: Option<&PathBuf>) -> String {
    if path.is_some() { words.to_owned() } else { format!("{words}…") }
}

fn settings_ui(ui: &mut Ui, settings: &ChartSettings, commands: &CommandSender) {
    let mut smoothing = settings.smoothing;
    let label = ui.label("Smoothing");
    let slider = ui.add(Slider::new(&mut smoothing, 0..=99).suffix(" %")).labelled_by(label.id);
    if slider.drag_stopped() || (slider.changed() && !slider.dragged()) {
        commands.train(TrainCommand::Chart(ChartCommand::Smoothing(smoothing)));
    } else if slider.changed() {
        commands.train(TrainCommand::Chart(ChartCommand::SmoothWhileDragging(smoothing)));
    }
    let is_log = settings.is_logarithmic;
    if toggle(ui, is_log, "Log scale").clicked() {
        commands.train(TrainCommand::Chart(ChartCommand::Log(!is_log)));
    }
}

fn shown_plots_ui(ui: &mut Ui, stage: &StageTold, settings: &ChartSettings, commands: &CommandSender) {
    let stays_open = MenuConfig::new().close_behavior(PopupCloseBehavior::CloseOnClickOutside);
    MenuButton::new("Plots").config(stays_open).ui(ui, |ui| {
        for group in measures::groups(stage) {
            let mut is_shown = !settings.hidden.contains(&group.key);
            if ui.add(tick_box(&mut is_shown, group.title.as_str())).clicked() {
                commands.train(TrainCommand::Chart(ChartCommand::Hide(group.key, !is_shown)));
            }
        }
    });
}

/// The newest value of a plot's first curve, and what could not be drawn.
fn newest_in_words(stage: &StageTold, group: &Group, left_out: usize) -> String {
    let first = group.curves.first().map(|(measure, _)| measure.as_str());
    let newest = match first {
        Some(HELD_OUT) => stage.evaluations.last().map(plots::held_out_in_words),
        Some(measure) => stage.latest(measure).map(|value| line::in_words(f64::from(value))),
        None => None,
    };
    let newest = newest.unwrap_or_default();
    match left_out {
        0 => newest,
        1 => format!("{newest} · 1 place cannot be drawn"),
        count => format!("{newest} · {count} places cannot be drawn"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_above_a_plot_tells_the_newest_value_and_what_is_left_out() {
        let stage = StageTold {
            name: "grpo".to_owned(),
            planned: 2,
            steps: [1.0_f32, 2.0].into_iter().collect(),
            measures: [("kl".to_owned(), [0.5_f32, 0.25].into_iter().collect())].into(),
            evaluations: Vec::new(),
        };
        let group = &measures::groups(&stage)[0];
        assert_eq!(newest_in_words(&stage, group, 0), "0.25");
        assert_eq!(newest_in_words(&stage, group, 3), "0.25 · 3 places cannot be drawn");
    }

    #[test]
    fn a_path_that_is_typed_needs_no_dialog() {
        let mut panel = CurvesPanel::default();
        assert_eq!(panel.named_path(), None);
        panel.save_to = " /tmp/figures.csv ".to_owned();
        assert_eq!(panel.named_path(), Some("/tmp/figures.csv".into()));
        assert_eq!(with_dots("Save", panel.named_path().as_ref()), "Save");
        assert_eq!(with_dots("Save", None), "Save…");
    }
}
