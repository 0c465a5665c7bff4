//! Curves of runs side by side: a plot for each measure, a line for each run.

use egui::{Id, Rect, Ui};
use reinpath_training::event::measure;

use super::super::super::command::CommandSender;
use super::super::super::state::AppState;
use super::super::super::theme;
use super::super::super::widgets::{caption, title, toggle};
use super::super::TrainCommand;
use super::super::chart::ChartCommand;
use super::super::chart::plots::{self, Curve, HELD_OUT};
use super::super::words;
use super::RolloutsCommand;
use crate::runs::told::{RunTold, StageTold, series};

/// Points that a row of plots takes, titles included, so that those out of sight need not be drawn.
const ROW_HEIGHT: f32 = 236.0;

/// In this order; others follow by name.
const FIRST: [&str; 12] = [
    HELD_OUT,
    measure::REWARD,
    measure::ACCURACY,
    series::LOSS,
    measure::KL,
    measure::ENTROPY,
    measure::LENGTH,
    measure::CUT_OFF,
    measure::NO_SPREAD,
    measure::CLIPPED,
    series::GRADIENT_NORM,
    series::LEARNING_RATE,
];

/// Draws them for the stage that the plots of one run show too.
pub(super) fn ui(
    ui: &mut Ui,
    state: &AppState,
    runs: &[&RunTold],
    names: &[String],
    commands: &CommandSender,
) {
    title(ui, "Curves");
    let stages = stages(runs);
    let Some(stage) = shown_stage(state, runs, &stages) else {
        caption(ui, "None of these runs has taken a step yet.");
        return;
    };
    ui.horizontal_wrapped(|ui| {
        for name in &stages {
            if toggle(ui, *name == stage, words::stage(name)).clicked() {
                let wish = ChartCommand::Stage(Some((*name).to_owned()));
                commands.train(TrainCommand::Chart(wish));
            }
        }
    });
    let hidden = &state.settings.chart.hidden;
    let mut measures = measures(runs, stage);
    measures.retain(|name| !hidden.iter().any(|other| other == name));
    for pair in measures.chunks(2) {
        let size = egui::vec2(ui.available_width(), ROW_HEIGHT);
        if !ui.is_rect_visible(Rect::from_min_size(ui.cursor().min, size)) {
            ui.allocate_space(size);
            continue;
        }
        ui.scope(|ui| {
            ui.set_min_height(ROW_HEIGHT);
            ui.columns(2, |columns| {
                for (ui, name) in columns.iter_mut().zip(pair) {
                    plot_ui(ui, state, runs, names, stage, name, commands);
                }
            });
        });
    }
}

fn plot_ui(
    ui: &mut Ui,
    state: &AppState,
    runs: &[&RunTold],
    names: &[String],
    stage: &str,
    name: &str,
    commands: &CommandSender,
) {
    let words = words::measure_title(name);
    caption(ui, words.as_str());
    let palette = theme::of(ui);
    let has =
        |told: &RunTold| told.stage(stage).is_some_and(|stage| measures_of(stage).any(|own| own == name));
    // A run keeps its colour and its line in every plot, also where another one has no curve.
    let curves = runs.iter().zip(names).enumerate().filter(|(_, (told, _))| has(told));
    let curves: Vec<Curve<'_>> = curves
        .map(|(place, (told, run))| {
            let (colour, style) = plots::look(palette, place);
            Curve { name: run.clone(), told, stage, measure: name, colour, style }
        })
        .collect();
    let id = Id::unique("runs side by side").with((stage, name));
    if let Some(step) = plots::one(ui, id, &words, &curves, &state.settings.chart) {
        let wish = RolloutsCommand::ShowStep { stage: stage.to_owned(), step };
        commands.train(TrainCommand::Rollouts(wish));
    }
}

/// Stages that any of the runs has begun, in the order of the run that has most of them.
fn stages<'a>(runs: &[&'a RunTold]) -> Vec<&'a str> {
    let longest = runs.iter().max_by_key(|told| told.stages.len());
    let mut names: Vec<&str> =
        longest.iter().flat_map(|told| told.stages.iter().map(|stage| stage.name.as_str())).collect();
    for stage in runs.iter().flat_map(|told| told.stages.iter()) {
        if !names.contains(&stage.name.as_str()) {
            names.push(&stage.name);
        }
    }
    names
}

/// The chosen one, or that at work in the first run.
fn shown_stage<'a>(state: &AppState, runs: &[&'a RunTold], stages: &[&'a str]) -> Option<&'a str> {
    let chosen = state.train.chart.stage.as_deref();
    let chosen = stages.iter().find(|name| Some(**name) == chosen).copied();
    let at_work = || runs.first().and_then(|told| told.current_stage()).map(|stage| stage.name.as_str());
    chosen.or_else(at_work).or_else(|| stages.last().copied())
}

/// What a stage has curves of.
fn measures_of(stage: &StageTold) -> impl Iterator<Item = &str> {
    let held_out = (!stage.evaluations.is_empty()).then_some(HELD_OUT);
    let steps = stage.measures.keys().map(String::as_str).filter(|name| *name != series::SECS);
    held_out.into_iter().chain(steps)
}

/// What any of the runs has curves of in a stage.
fn measures<'a>(runs: &[&'a RunTold], stage: &str) -> Vec<&'a str> {
    let found = runs.iter().filter_map(|told| told.stage(stage)).flat_map(measures_of);
    let mut names: Vec<&str> = found.collect();
    let place = |name: &str| FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len());
    names.sort_by_key(|name| (place(name), *name));
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::super::tests::run;
    use super::*;
    use crate::runs::column::Column;

    fn with_stage(name: &str, stage: &str, measures: &[&str]) -> RunTold {
        let mut told = run(name, &[]);
        let measures = measures.iter().map(|name| ((*name).to_owned(), Column::default())).collect();
        told.stages.push(StageTold { name: stage.to_owned(), measures, ..StageTold::default() });
        told
    }

    #[test]
    fn a_measure_of_any_run_has_one_plot_the_known_ones_first() {
        let a = with_stage("a", "grpo", &["zeal", "loss", "secs", "reward"]);
        let b = with_stage("b", "grpo", &["loss", "kl"]);
        assert_eq!(measures(&[&a, &b], "grpo"), ["reward", "loss", "kl", "zeal"]);
        assert_eq!(measures(&[&a, &b], "alignment"), [""; 0]);
    }

    #[test]
    fn the_stage_that_was_chosen_is_shown_where_a_run_has_it() {
        let mut a = with_stage("a", "alignment", &["loss"]);
        a.stages.push(StageTold { name: "grpo".to_owned(), ..StageTold::default() });
        let b = with_stage("b", "cold_start", &["loss"]);
        let runs = [&a, &b];
        let names = stages(&runs);
        assert_eq!(names, ["alignment", "grpo", "cold_start"]);
        let mut state = AppState::default();
        assert_eq!(shown_stage(&state, &runs, &names), Some("grpo"), "the one at work");
        state.train.chart.stage = Some("cold_start".to_owned());
        assert_eq!(shown_stage(&state, &runs, &names), Some("cold_start"));
        state.train.chart.stage = Some("pretrain".to_owned());
        assert_eq!(shown_stage(&state, &runs, &names), Some("grpo"), "no run has what was chosen");
        assert_eq!(shown_stage(&state, &[], &[]), None);
    }
}
