//! The stages of a run beside each other, each with how far it is and how long it will take.

use egui::{CornerRadius, Frame, Label, Margin, ProgressBar, RichText, Ui};
use reinpath_training::run_folder::RunState;

use super::super::super::command::CommandSender;
use super::super::super::theme;
use super::super::super::widgets::{caption, toggle};
use super::super::TrainCommand;
use super::super::words;
use super::ChartCommand;
use crate::runs::told::{Listed, Progress, RunTold, StageTold, series};

/// The stages that a run can have, in their order.
const STAGES: [&str; 3] = ["alignment", "cold_start", "grpo"];
/// Steps whose time says how long the next ones take.
const RECENT: usize = 50;
/// Seconds that a stage must have taken before it is said how long the rest takes.
const SOONEST: f32 = 5.0;

/// A stage as the rail shows it.
#[derive(Clone, Debug, PartialEq)]
struct Cell {
    name: String,
    state: StageState,
    step: usize,
    planned: usize,
    /// Seconds that it will still take, where that is known.
    left: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StageState {
    NotAsked,
    ToCome,
    AtWork,
    Done,
    /// The run's process ended in it.
    Ended,
}

impl StageState {
    fn in_words(self) -> &'static str {
        match self {
            Self::NotAsked => "not in this run",
            Self::ToCome => "to come",
            Self::AtWork => "at work",
            Self::Done => "done",
            Self::Ended => "ended early",
        }
    }
}

/// Draws the rail.
pub(super) fn ui(ui: &mut Ui, told: &RunTold, shown: Option<&str>, commands: &CommandSender) {
    let cells = cells(told);
    ui.columns(cells.len(), |columns| {
        for (ui, cell) in columns.iter_mut().zip(&cells) {
            let progress =
                told.progress.as_ref().filter(|_| cell.state == StageState::AtWork && cell.step == 0);
            cell_ui(ui, cell, progress, shown == Some(cell.name.as_str()), commands);
        }
    });
    before_the_first_stage(ui, told);
}

fn cell_ui(ui: &mut Ui, cell: &Cell, progress: Option<&Progress>, is_shown: bool, commands: &CommandSender) {
    let frame = Frame::new()
        .fill(theme::of(ui).raised)
        .corner_radius(CornerRadius::same(theme::RADIUS))
        .inner_margin(Margin::same(6));
    frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.spacing_mut().item_spacing.y = 4.0;
        let title = words::stage_title(&cell.name);
        ui.horizontal(|ui| {
            let can_be_shown = !matches!(cell.state, StageState::NotAsked | StageState::ToCome);
            let button = ui.add_enabled_ui(can_be_shown, |ui| toggle(ui, is_shown, title.as_str())).inner;
            let tip = if is_shown { "Show the stage at work" } else { "Show the figures of this stage" };
            if button.accessible_name(format!("{title}: {}", in_words(cell))).on_hover_text(tip).clicked() {
                let stage = (!is_shown).then(|| cell.name.clone());
                commands.train(TrainCommand::Chart(ChartCommand::Stage(stage)));
            }
            let words = RichText::new(cell.state.in_words()).small().color(theme::of(ui).weak);
            ui.add(Label::new(words).truncate());
        });
        // The same lines in every state, so that nothing below moves.
        let (fraction, words) = match progress {
            Some(progress) => (share(progress.done, progress.total), progress_in_words(progress)),
            None => (share(cell.step, cell.planned), steps_in_words(cell)),
        };
        ui.add(ProgressBar::new(fraction).desired_height(6.0))
            .accessible_name(format!("Progress of {title}"));
        caption(ui, words);
    });
}

/// Before any stage has begun: what the run waits for or makes ready.
fn before_the_first_stage(ui: &mut Ui, told: &RunTold) {
    if let Some(other) = &told.waits_for {
        caption(ui, format!("Waits until the run before it has ended: {}", other.display()));
    } else if told.stages.is_empty()
        && told.is_running()
        && let Some(progress) = &told.progress
    {
        caption(ui, progress_in_words(progress));
    }
}

fn cells(told: &RunTold) -> Vec<Cell> {
    let asked = |name: &str| {
        let config = told.config.as_deref();
        config.is_none_or(|config| match name {
            "alignment" => config.alignment.is_some(),
            "cold_start" => config.cold_start.is_some(),
            _ => config.grpo.is_some(),
        })
    };
    let current = told.current_stage().map(|stage| stage.name.as_str());
    let begun = |stage: &StageTold| {
        let state = match (&told.listed, current == Some(stage.name.as_str())) {
            (_, false) | (Listed::Known(RunState::Finished(_)), true) => StageState::Done,
            (Listed::Known(RunState::Running(_)), true) => StageState::AtWork,
            (_, true) => StageState::Ended,
        };
        let left = if state == StageState::AtWork { seconds_left(stage) } else { None };
        Cell { name: stage.name.clone(), state, step: stage.step(), planned: stage.planned, left }
    };
    let not_begun = |name: &str| {
        let state = if asked(name) { StageState::ToCome } else { StageState::NotAsked };
        Cell { name: name.to_owned(), state, step: 0, planned: 0, left: None }
    };
    let mut cells: Vec<Cell> =
        STAGES.iter().map(|name| told.stage(name).map_or_else(|| not_begun(name), &begun)).collect();
    let is_other = |stage: &&StageTold| !STAGES.contains(&stage.name.as_str());
    cells.extend(told.stages.iter().filter(is_other).map(begun));
    cells
}

/// Seconds until a stage ends if its next steps take as long as the last ones; `None` while too little is known.
fn seconds_left(stage: &StageTold) -> Option<f64> {
    let secs = stage.measure(series::SECS)?;
    let last = secs.len().checked_sub(1)?;
    let first = last.saturating_sub(RECENT);
    let (now, then) = (secs.get(last)?, secs.get(first)?);
    let steps = f64::from(stage.steps.get(last)?) - f64::from(stage.steps.get(first)?);
    let left = stage.planned.checked_sub(stage.step())?;
    (now >= SOONEST && steps > 0.0).then(|| f64::from(now - then) / steps * left as f64)
}

/// A time that is not known exactly.
pub(super) fn time_left(secs: f64) -> String {
    let minutes = (secs / 60.0).round() as u64;
    match minutes {
        _ if secs < 55.0 => format!("about {} s left", ((secs / 5.0).ceil() * 5.0).max(5.0)),
        0..60 => format!("about {} min left", minutes.max(1)),
        60..1440 => format!("about {} h {} min left", minutes / 60, minutes % 60),
        _ => format!("about {} d {} h left", minutes / 1440, minutes % 1440 / 60),
    }
}

fn share(done: usize, total: usize) -> f32 {
    if total == 0 { 0.0 } else { done as f32 / total as f32 }
}

fn steps_in_words(cell: &Cell) -> String {
    let steps = match (cell.state, cell.planned) {
        (StageState::NotAsked | StageState::ToCome, _) => return " ".to_owned(),
        (_, 0) => format!("step {}", cell.step),
        (_, planned) => format!("step {} of {planned}", cell.step),
    };
    match cell.left {
        Some(left) => format!("{steps}, {}", time_left(left)),
        None => steps,
    }
}

fn progress_in_words(progress: &Progress) -> String {
    format!("{}: {} of {}", progress.what, progress.done, progress.total)
}

/// State and steps in one line.
fn in_words(cell: &Cell) -> String {
    match cell.state {
        StageState::NotAsked | StageState::ToCome => cell.state.in_words().to_owned(),
        state => format!("{}, {}", state.in_words(), steps_in_words(cell)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::example::{running, told};
    use super::*;

    /// A stage that took so many steps of two seconds.
    fn stage(name: &str, steps: usize, planned: usize) -> StageTold {
        let secs = (1..=steps).map(|step| 2.0 * step as f32).collect();
        StageTold {
            name: name.to_owned(),
            planned,
            steps: (1..=steps).map(|step| step as f32).collect(),
            measures: BTreeMap::from([(series::SECS.to_owned(), secs)]),
            evaluations: Vec::new(),
        }
    }

    fn states(told: &RunTold) -> Vec<StageState> {
        cells(told).into_iter().map(|cell| cell.state).collect()
    }

    #[test]
    fn the_rail_says_of_each_stage_how_far_it_is() {
        use StageState::{AtWork, Done, Ended, NotAsked, ToCome};
        assert_eq!(states(&told(running(), Vec::new())), [NotAsked, ToCome, NotAsked]);
        let work = vec![stage("cold_start", 10, 40)];
        assert_eq!(states(&told(running(), work.clone())), [NotAsked, AtWork, NotAsked]);
        assert_eq!(
            states(&told(Listed::Known(RunState::Stopped), work.clone())),
            [NotAsked, Ended, NotAsked]
        );
        let finished = Listed::Known(RunState::Finished("package".into()));
        assert_eq!(states(&told(finished, work)), [NotAsked, Done, NotAsked]);
        let two = vec![stage("cold_start", 40, 40), stage("grpo", 1, 9), stage("pretrain", 1, 2)];
        assert_eq!(states(&told(running(), two)), [NotAsked, Done, Done, AtWork]);
    }

    #[test]
    fn the_time_left_is_that_of_the_last_steps() {
        assert_eq!(seconds_left(&stage("grpo", 2, 40)), None, "after 4 s nothing is said");
        assert_eq!(seconds_left(&stage("grpo", 0, 40)), None);
        assert_eq!(seconds_left(&stage("grpo", 10, 40)), Some(60.0));
        let mut slower = stage("grpo", 200, 300);
        let secs =
            (1..=200).map(|step| if step <= 100 { 0.1 * step as f32 } else { 10.0 * (step - 99) as f32 });
        slower.measures.insert(series::SECS.to_owned(), secs.collect());
        assert_eq!(seconds_left(&slower), Some(1000.0), "the first hundred steps were faster");
        assert_eq!(seconds_left(&stage("grpo", 40, 40)), Some(0.0));
    }

    #[test]
    fn times_are_told_as_exactly_as_they_are_known() {
        let cases = [
            (0.0, "about 5 s left"),
            (12.0, "about 15 s left"),
            (58.0, "about 1 min left"),
            (170.0, "about 3 min left"),
            (3600.0 * 2.5, "about 2 h 30 min left"),
            (86400.0 * 3.0 + 3600.0 * 4.0, "about 3 d 4 h left"),
        ];
        for (secs, words) in cases {
            assert_eq!(time_left(secs), words);
        }
    }

    #[test]
    fn a_stage_at_work_is_one_line_for_a_screen_reader() {
        let cells = cells(&told(running(), vec![stage("cold_start", 10, 40)]));
        assert_eq!(in_words(&cells[1]), "at work, step 10 of 40, about 1 min left");
        assert_eq!(in_words(&cells[0]), "not in this run");
    }
}
