//! A run on its way: the stages with their progress, plots of what is measured, the machine's load, the log; and their export.

use std::path::PathBuf;

use egui::{Rect, Ui};
use reinpath_training::run_folder::RunState;

use super::super::command::CommandSender;
use super::super::state::AppState;
use super::super::update::{Effect, complain};
use super::super::widgets::caption;
use super::TrainEffect;
use crate::runs::RunKey;
use crate::runs::log::LogPage;
use crate::runs::told::{Listed, RunTold, StageTold};

mod curves;
mod desk;
#[cfg(test)]
mod example;
mod grid;
pub(super) mod line;
mod log_view;
mod machine;
mod measures;
pub(super) mod plots;
pub(super) mod rail;
mod trouble;

pub(super) use self::desk::ChartDesk;

/// What this part shows.
#[derive(Debug, Default)]
pub struct ChartState {
    /// The stage whose figures are shown; `None`: the one at work.
    pub stage: Option<String>,
    pub view: ChartView,
    pub log: LogPage,
    /// What is searched for in the log.
    pub search: String,
    /// Why the log could not be read, as a sentence.
    pub log_fault: Option<String>,
    /// Whether an answer to [`ChartEffect::ReadLog`] is to come.
    pub is_log_being_read: bool,
    /// Whether the run has told more since the log was asked for.
    pub is_log_stale: bool,
    /// The last lines of a run that did not end well.
    pub last_lines: Option<LastLines>,
    /// Exports under way.
    pub saving: usize,
    /// What was written last.
    pub saved: Option<PathBuf>,
}

/// What is shown of a run below its stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChartView {
    #[default]
    Curves,
    Machine,
    Log,
}

/// The last lines that a run wrote before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastLines {
    pub run: RunKey,
    /// When the run was last written to, in seconds since 1970: they are read again where it was written to since.
    pub changed: u64,
    pub lines: Vec<String>,
}

/// Wishes about it.
#[derive(Clone, Debug, PartialEq)]
pub enum ChartCommand {
    Stage(Option<String>),
    View(ChartView),
    SearchLog(String),
    /// How much of the past a point holds, in per cent.
    Smoothing(u8),
    /// The same while a slider is dragged; it is remembered with [`ChartCommand::Smoothing`] only.
    SmoothWhileDragging(u8),
    /// Whether axes are logarithmic.
    Log(bool),
    /// Hides the plot of a measure, or shows it again.
    Hide(String, bool),
    /// Writes the figures of the shown run as CSV, or as TensorBoard's event files, into a file or folder that a dialog asks for.
    SaveCsv,
    SaveTensorBoard,
    /// The same into a file or folder that was named.
    SaveCsvTo(PathBuf),
    SaveTensorBoardTo(PathBuf),
    /// Writes what is seen in a rectangle of the window, in points, as PNG; without a file a dialog asks for one.
    SavePlot {
        measure: String,
        rect: Rect,
        to: Option<PathBuf>,
    },
}

/// What happened to it.
#[derive(Debug)]
pub enum ChartEvent {
    Log {
        run: RunKey,
        /// What was searched for.
        search: String,
        page: LogPage,
    },
    LogFailed {
        run: RunKey,
        search: String,
        sentence: String,
    },
    LastLines {
        run: RunKey,
        changed: u64,
        lines: Vec<String>,
    },
    /// Something was written there, or why not, as a sentence.
    Saved(Result<PathBuf, String>),
    /// The dialog for a file was closed.
    NotSaved,
}

/// What is to be done for it outside the state.
#[derive(Clone, Debug, PartialEq)]
pub enum ChartEffect {
    ReadLog { run: RunKey, search: String },
    ReadLastLines { run: RunKey, changed: u64 },
    SaveCsv(RunKey),
    SaveCsvTo { run: RunKey, file: PathBuf },
    SaveTensorBoard(RunKey),
    SaveTensorBoardTo { run: RunKey, folder: PathBuf },
    SavePlot { run: RunKey, measure: String, rect: Rect, to: Option<PathBuf> },
}

impl ChartState {
    /// The stage of a run that is shown: the chosen one, or else the one at work.
    pub fn stage_of<'a>(&self, told: &'a RunTold) -> Option<&'a StageTold> {
        let chosen = self.stage.as_deref().and_then(|name| told.stage(name));
        chosen.or_else(|| told.current_stage())
    }

    /// The last lines of a run, as far as they were read.
    fn lines_of(&self, run: &RunKey) -> &[String] {
        self.last_lines
            .as_ref()
            .filter(|last| last.run == *run)
            .map(|last| last.lines.as_slice())
            .unwrap_or_default()
    }
}

/// Carries out a wish.
pub(in crate::window) fn command(state: &mut AppState, wish: ChartCommand) -> Vec<Effect> {
    let settings = &mut state.settings.chart;
    match wish {
        ChartCommand::Stage(stage) => {
            state.train.chart.stage = stage;
            return Vec::new();
        }
        ChartCommand::View(view) => {
            state.train.chart.view = view;
            return if view == ChartView::Log { read_log(state) } else { Vec::new() };
        }
        ChartCommand::SearchLog(search) => {
            state.train.chart.search = search;
            return read_log(state);
        }
        ChartCommand::SmoothWhileDragging(smoothing) => {
            settings.smoothing = smoothing.min(99);
            return Vec::new();
        }
        ChartCommand::Smoothing(smoothing) => settings.smoothing = smoothing.min(99),
        ChartCommand::Log(is_logarithmic) => settings.is_logarithmic = is_logarithmic,
        ChartCommand::Hide(measure, is_hidden) => {
            settings.hidden.retain(|other| *other != measure);
            if is_hidden {
                settings.hidden.push(measure);
            }
        }
        ChartCommand::SaveCsv => return save(state, ChartEffect::SaveCsv),
        ChartCommand::SaveTensorBoard => return save(state, ChartEffect::SaveTensorBoard),
        ChartCommand::SaveCsvTo(file) => return save(state, |run| ChartEffect::SaveCsvTo { run, file }),
        ChartCommand::SaveTensorBoardTo(folder) => {
            return save(state, |run| ChartEffect::SaveTensorBoardTo { run, folder });
        }
        ChartCommand::SavePlot { measure, rect, to } => {
            return save(state, |run| ChartEffect::SavePlot { run, measure, rect, to });
        }
    }
    vec![Effect::SaveSettings(state.settings.clone())]
}

/// Takes in what happened.
pub(in crate::window) fn event(state: &mut AppState, news: ChartEvent) -> Vec<Effect> {
    match news {
        ChartEvent::Log { run, search, page } => return log_came(state, &run, &search, Ok(page)),
        ChartEvent::LogFailed { run, search, sentence } => {
            return log_came(state, &run, &search, Err(sentence));
        }
        ChartEvent::LastLines { run, changed, lines } => {
            state.train.chart.last_lines = Some(LastLines { run, changed, lines });
        }
        ChartEvent::Saved(Ok(path)) => {
            saved(state);
            state.train.chart.saved = Some(path);
        }
        ChartEvent::Saved(Err(sentence)) => {
            saved(state);
            complain(state, sentence);
        }
        ChartEvent::NotSaved => saved(state),
    }
    Vec::new()
}

fn saved(state: &mut AppState) {
    let chart = &mut state.train.chart;
    chart.saving = chart.saving.saturating_sub(1);
}

fn save(state: &mut AppState, effect_of: impl FnOnce(RunKey) -> ChartEffect) -> Vec<Effect> {
    let Some(run) = state.train.runs.shown.clone() else { return Vec::new() };
    state.train.chart.saving += 1;
    state.train.chart.saved = None;
    vec![effect(effect_of(run))]
}

fn log_came(state: &mut AppState, run: &RunKey, search: &str, log: Result<LogPage, String>) -> Vec<Effect> {
    let is_of_shown = state.train.runs.shown.as_ref() == Some(run);
    let chart = &mut state.train.chart;
    chart.is_log_being_read = false;
    let is_wanted = is_of_shown && chart.search == search;
    if is_wanted {
        match log {
            Ok(page) => (chart.log, chart.log_fault) = (page, None),
            Err(sentence) => chart.log_fault = Some(sentence),
        }
    }
    if chart.view == ChartView::Log && (!is_wanted || chart.is_log_stale) {
        return read_log(state);
    }
    Vec::new()
}

fn read_log(state: &mut AppState) -> Vec<Effect> {
    let Some(run) = state.train.runs.shown.clone() else { return Vec::new() };
    let chart = &mut state.train.chart;
    (chart.is_log_being_read, chart.is_log_stale) = (true, false);
    vec![effect(ChartEffect::ReadLog { run, search: chart.search.clone() })]
}

/// A run that is followed has told more; called after `state.train.runs.told` has it.
pub(super) fn told(state: &mut AppState, run: &RunKey) -> Vec<Effect> {
    if state.train.runs.shown.as_ref() != Some(run) {
        return Vec::new();
    }
    let mut effects = read_last_lines(state);
    if state.train.chart.view == ChartView::Log {
        if state.train.chart.is_log_being_read {
            state.train.chart.is_log_stale = true;
        } else {
            effects.extend(read_log(state));
        }
    }
    effects
}

/// Another run is in view.
pub(super) fn shown(state: &mut AppState) -> Vec<Effect> {
    let chart = &mut state.train.chart;
    chart.stage = None;
    chart.log = LogPage::default();
    chart.log_fault = None;
    chart.saved = None;
    let is_log_shown = chart.view == ChartView::Log;
    let mut effects = read_last_lines(state);
    if is_log_shown {
        effects.extend(read_log(state));
    }
    effects
}

/// Reads how the shown run came to its end, where that was no good one and was not read yet.
fn read_last_lines(state: &AppState) -> Vec<Effect> {
    let Some(told) = state.train.runs.shown_run() else { return Vec::new() };
    let is_bad = match &told.listed {
        Listed::Known(state) => matches!(state, RunState::Failed(_) | RunState::Interrupted),
        Listed::NeverBegan | Listed::Unreadable(_) => true,
    };
    let last = state.train.chart.last_lines.as_ref();
    let is_read = last.is_some_and(|last| last.run == told.key && last.changed == told.changed);
    if !is_bad || is_read {
        return Vec::new();
    }
    vec![effect(ChartEffect::ReadLastLines { run: told.key.clone(), changed: told.changed })]
}

fn effect(effect: ChartEffect) -> Effect {
    Effect::Train(TrainEffect::Chart(effect))
}

/// What is being typed, and what drawing keeps from frame to frame.
#[derive(Default)]
pub(super) struct ChartPanel {
    search: log_view::Search,
    curves: curves::CurvesPanel,
}

impl ChartPanel {
    /// Draws it.
    pub(super) fn ui(&mut self, ui: &mut Ui, state: &AppState, commands: &CommandSender) {
        let chart = &state.train.chart;
        let Some(key) = &state.train.runs.shown else { return };
        let Some(told) = state.train.runs.shown_run() else {
            caption(ui, format!("Reading the run {}", key.name()));
            return;
        };
        let stage = chart.stage_of(told);
        rail::ui(ui, told, stage.map(|stage| stage.name.as_str()), commands);
        trouble::ui(ui, state, told, commands);
        self.curves.tools_ui(ui, state, told, commands);
        match chart.view {
            ChartView::Curves => self.curves.ui(ui, state, told, stage, commands),
            ChartView::Machine => machine::ui(ui, told, state.train.runs.machine.as_ref()),
            ChartView::Log => log_view::ui(ui, &mut self.search, chart, commands),
        }
    }
}

#[cfg(test)]
mod tests;
