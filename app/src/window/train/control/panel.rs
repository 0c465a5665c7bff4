//! The buttons that start, stop, resume and use runs, the alarms, and the dialog of a window that is closed while runs go on.

use std::time::{Duration, Instant};

use egui::{
    Button, CornerRadius, Frame, Id, Label, Margin, Modal, RichText, ScrollArea, Spinner, Stroke, Ui, vec2,
};
use reinpath_training::run_folder::{RunFolder, RunState};

use super::start::{at_work_on, device, obstacle};
use super::{Closing, ControlCommand, KILL_PATIENCE};
use crate::runs::RunKey;
use crate::runs::alarm::{Alarm, AlarmKind};
use crate::runs::told::{Listed, RunTold};
use crate::window::command::{CommandSender, keys_of};
use crate::window::state::{AppState, WorkerState};
use crate::window::theme;
use crate::window::train::TrainCommand;
use crate::window::train::setup::SetupCommand;
use crate::window::train::words;
use crate::window::widgets::{caption, hairline, main_button, title, warning};

/// Between two looks for alarms that come of time that passes.
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);
/// How long a new alarm is announced.
const ANNOUNCED: Duration = Duration::from_secs(10);
/// Height of the list of alarms, in points.
const ALARMS_HEIGHT: f32 = 200.0;
/// Names of runs in one sentence.
const MOST_NAMES: usize = 3;

/// What drawing keeps from frame to frame.
#[derive(Default)]
pub(in crate::window::train) struct ControlPanel {
    looked: Option<Instant>,
}

fn wish(commands: &CommandSender, command: ControlCommand) {
    commands.train(TrainCommand::Control(command));
}

impl ControlPanel {
    /// Draws Start, why it cannot be pressed, and who is at work on the device.
    #[expect(clippy::unused_self, reason = "all parts of the panel are drawn by methods")]
    pub(in crate::window::train) fn start_ui(
        &mut self,
        ui: &mut Ui,
        state: &AppState,
        commands: &CommandSender,
    ) {
        hairline(ui);
        title(ui, "Start");
        let obstacle = obstacle(state);
        let others = at_work_on(state, device(state));
        let can_start = obstacle.is_none();
        ui.horizontal(|ui| {
            let tip = format!("Train with these settings ({})", keys_of(ui.ctx(), "Start run"));
            let start = ui.add_enabled(can_start, main_button(ui, "Start run")).on_hover_text(tip);
            if start.on_disabled_hover_text(obstacle.as_deref().unwrap_or_default()).clicked() {
                wish(commands, ControlCommand::Start { queued: false });
            }
            if !others.is_empty() {
                let tip = format!("Begins when {} has ended, also with this window closed", names(&others));
                let queue = ui.add_enabled(can_start, Button::new("Queue run")).on_hover_text(tip);
                if queue.clicked() {
                    wish(commands, ControlCommand::Start { queued: true });
                }
            }
        });
        match obstacle {
            Some(sentence) => caption(ui, sentence),
            None if others.is_empty() => caption(ui, format!("Nobody else is at work on {}.", device(state))),
            None => {
                caption(ui, format!("{} is at work on {} or waits for it.", names(&others), device(state)))
            }
        };
        if let Some(sentence) = memory_notice(state) {
            warning(ui, sentence);
        }
    }

    /// Draws what is wrong with the run in view.
    pub(in crate::window::train) fn alarms_ui(
        &mut self,
        ui: &mut Ui,
        state: &AppState,
        commands: &CommandSender,
    ) {
        self.look(ui, state, commands);
        let train = &state.train;
        let shown = train.runs.shown.as_ref();
        let found = shown.and_then(|run| train.control.alarms.get(run));
        let alarms: &[Alarm] = found.map_or(&[], Vec::as_slice);
        title(ui, "Alarms");
        if alarms.is_empty() {
            let words = if shown.is_some() { "Nothing seems wrong." } else { "No run is in view." };
            caption(ui, words);
        } else {
            ScrollArea::vertical().id_salt("alarms").max_height(ALARMS_HEIGHT).show(ui, |ui| {
                for alarm in alarms {
                    alarm_ui(ui, alarm, commands);
                }
            });
        }
        hairline(ui);
    }

    /// Time passes without news: it is looked now and then while a run is in view that goes on.
    fn look(&mut self, ui: &Ui, state: &AppState, commands: &CommandSender) {
        if !state.train.runs.told.values().any(|told| told.is_running()) {
            return;
        }
        if self.looked.is_none_or(|at| at.elapsed() >= BETWEEN_LOOKS) {
            self.looked = Some(Instant::now());
            wish(commands, ControlCommand::LookForAlarms);
        }
        ui.ctx().request_repaint_after(BETWEEN_LOOKS);
    }

    /// Draws what can be done with the run in view, and what is being done.
    #[expect(clippy::unused_self, reason = "all parts of the panel are drawn by methods")]
    pub(in crate::window::train) fn run_ui(
        &mut self,
        ui: &mut Ui,
        state: &AppState,
        commands: &CommandSender,
    ) {
        let Some(run) = &state.train.runs.shown else { return };
        let told = state.train.runs.shown_run().map(AsRef::as_ref);
        ui.horizontal(|ui| {
            // A line of its own height also before anything is known, so that what is below stays.
            ui.set_min_height(ui.spacing().interact_size.y);
            run_buttons(ui, state, run, told, commands);
        });
        let words = standing(state, run, told);
        ui.add(Label::new(RichText::new(words).small().color(theme::of(ui).weak)).truncate());
        preparing_ui(ui, state, commands);
    }

    /// Asks what is to become of the runs when the window is closed.
    #[expect(clippy::unused_self, reason = "all parts of the panel are drawn by methods")]
    pub(in crate::window::train) fn closing_ui(
        &mut self,
        ui: &Ui,
        state: &AppState,
        commands: &CommandSender,
    ) {
        let control = &state.train.control;
        if !matches!(control.closing, Closing::Asking | Closing::Stopping) {
            return;
        }
        let frame = Frame::popup(ui.style()).inner_margin(Margin::same(24));
        let modal = Modal::new(Id::unique("closing while runs go on")).frame(frame).show(ui.ctx(), |ui| {
            ui.set_width(440.0);
            if control.closing == Closing::Asking {
                asking_ui(ui, &control.started, commands);
            } else {
                stopping_ui(ui, &control.started, commands);
            }
        });
        if modal.should_close() {
            wish(commands, ControlCommand::StayOpen);
        }
    }
}

fn asking_ui(ui: &mut Ui, started: &[RunKey], commands: &CommandSender) {
    let is_one = started.len() == 1;
    ui.heading(if is_one { "A run goes on" } else { "Runs go on" });
    ui.label(format!("{} {} at work.", names(started), if is_one { "is" } else { "are" }));
    ui.label(if is_one {
        "It can go on without this window, which finds it again when it is opened; or it writes a checkpoint and stops, and can \
         be resumed."
    } else {
        "They can go on without this window, which finds them again when it is opened; or each writes a checkpoint and stops, \
         and can be resumed."
    });
    ui.add_space(theme::GRID);
    ui.horizontal(|ui| {
        let leave = main_button(ui, "Leave running").min_size(vec2(120.0, 32.0));
        if ui.add(leave).clicked() {
            wish(commands, ControlCommand::CloseAndLeaveRunning);
        }
        if ui.add(Button::new("Stop and close").min_size(vec2(120.0, 32.0))).clicked() {
            wish(commands, ControlCommand::CloseAndStop);
        }
        if ui.add(Button::new("Stay").min_size(vec2(80.0, 32.0))).clicked() {
            wish(commands, ControlCommand::StayOpen);
        }
    });
}

fn stopping_ui(ui: &mut Ui, started: &[RunKey], commands: &CommandSender) {
    ui.heading("Stopping");
    ui.horizontal(|ui| {
        ui.add(Spinner::new().size(14.0));
        let checkpoint = if started.len() == 1 { "the checkpoint" } else { "the checkpoints" };
        ui.label(format!("Waiting for {checkpoint} of {}; the window closes then.", names(started)));
    });
    ui.label(if started.len() == 1 {
        "It stops after its checkpoint also when the window is closed before."
    } else {
        "They stop after their checkpoints also when the window is closed before."
    });
    ui.add_space(theme::GRID);
    ui.horizontal(|ui| {
        if ui.add(Button::new("Close now").min_size(vec2(120.0, 32.0))).clicked() {
            wish(commands, ControlCommand::CloseAndLeaveRunning);
        }
        if ui.add(Button::new("Stay").min_size(vec2(80.0, 32.0))).clicked() {
            wish(commands, ControlCommand::StayOpen);
        }
    });
}

/// `a, b and 2 more`
fn names(runs: &[RunKey]) -> String {
    let shown: Vec<String> = runs.iter().take(MOST_NAMES).map(RunKey::name).collect();
    match runs.len().saturating_sub(MOST_NAMES) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn memory_notice(state: &AppState) -> Option<&'static str> {
    state.train.control.released_for.as_ref()?;
    match state.model.worker {
        WorkerState::Idle => Some(
            "The assistant's model has given up its memory for this run; the next question loads it again.",
        ),
        _ if state.is_asking() => {
            Some("The assistant's model gives up its memory for this run once its answer is written.")
        }
        _ => None,
    }
}

fn run_buttons(
    ui: &mut Ui,
    state: &AppState,
    run: &RunKey,
    told: Option<&RunTold>,
    commands: &CommandSender,
) {
    let control = &state.train.control;
    // A run that has told its end has its model, also while its process still goes.
    let is_finished = told.is_some_and(|told| matches!(told.listed, Listed::Known(RunState::Finished(_))));
    let is_at_work = control.started.contains(run) || told.is_some_and(RunTold::is_running);
    if is_at_work && !is_finished {
        let stop = ui.add_enabled(!control.stopping.contains(run), Button::new("Stop"));
        if stop.on_hover_text("Writes a checkpoint and ends; the run can be resumed").clicked() {
            wish(commands, ControlCommand::Stop(run.clone()));
        }
        kill_button(ui, control.is_kill_asked(run), run, commands);
        return;
    }
    let Some(told) = told else { return };
    match &told.listed {
        Listed::Known(RunState::Finished(_)) => {
            // Where it lies now: the folder may have been moved since.
            let package = RunFolder::new(run.folder()).package();
            let tip = "Ask the next questions with the model that this run has made";
            if ui.add(main_button(ui, "Use this model")).on_hover_text(tip).clicked() {
                wish(commands, ControlCommand::UsePackage(package.clone()));
            }
            let tip = "Takes its model as the one that the next run starts from";
            if ui.button("Continue from it").on_hover_text(tip).clicked() {
                commands.train(TrainCommand::Setup(SetupCommand::ContinueFrom(package)));
            }
        }
        Listed::NeverBegan => {
            if ui.add(main_button(ui, "Begin it")).on_hover_text("Starts it as it was asked for").clicked() {
                wish(commands, ControlCommand::Resume(run.clone()));
            }
        }
        Listed::Known(_) => {
            let tip = "Goes on from its last checkpoint, to the numbers of a run that never stopped";
            if ui.add(main_button(ui, "Resume")).on_hover_text(tip).clicked() {
                wish(commands, ControlCommand::Resume(run.clone()));
            }
        }
        Listed::Unreadable(_) => {}
    }
}

fn kill_button(ui: &mut Ui, is_asked: bool, run: &RunKey, commands: &CommandSender) {
    let kill = if is_asked {
        ui.ctx().request_repaint_after(KILL_PATIENCE);
        let words = "Kill now: work since the last checkpoint is lost";
        ui.add(Button::new(RichText::new(words).color(theme::of(ui).error)))
    } else {
        ui.button("Kill").on_hover_text("Ends it at once, without a checkpoint; asks once more")
    };
    if kill.clicked() {
        wish(commands, ControlCommand::Kill(run.clone()));
    }
}

/// What is being done with a run, in one line that is always there.
fn standing(state: &AppState, run: &RunKey, told: Option<&RunTold>) -> String {
    let control = &state.train.control;
    let newest = control.newest_alarm.as_ref().filter(|alarm| alarm.run == *run);
    if let Some(alarm) = newest.filter(|alarm| alarm.since.elapsed() < ANNOUNCED) {
        return format!("New alarm: {}", alarm.sentence);
    }
    if control.stopping.contains(run) {
        return "Stopping after a checkpoint.".to_owned();
    }
    if let Some(other) = told.and_then(|told| told.waits_for.as_ref()) {
        return format!("Waits for the end of another run: {}", other.display());
    }
    let Some(told) = told else { return "What the run has told is being read.".to_owned() };
    if control.started.contains(run) && !told.is_running() {
        return "The program starts.".to_owned();
    }
    if let Some(ended) = control.ended.get(run).filter(|ended| !ended.is_good) {
        return format!("Its process has ended: {}.", ended.how);
    }
    match control.alarms.get(run).map_or(0, Vec::len) {
        0 => " ".to_owned(),
        1 => "One alarm, at the top right.".to_owned(),
        count => format!("{count} alarms, at the top right."),
    }
}

/// A model that is being made ready for the Ask panel, of whichever run.
fn preparing_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    let control = &state.train.control;
    let (Some(run), Some(since)) = (&control.preparing, control.preparing_since) else { return };
    ui.horizontal(|ui| {
        ui.add(Spinner::new().size(12.0));
        let secs = since.elapsed().as_secs();
        caption(ui, format!("Making a model of {}: {}, {secs} s", run.name(), control.preparing_words));
        if ui.small_button("Cancel").accessible_name("Cancel making a model").clicked() {
            wish(commands, ControlCommand::StopPreparing);
        }
    });
}

fn alarm_ui(ui: &mut Ui, alarm: &Alarm, commands: &CommandSender) {
    let palette = theme::of(ui);
    let frame = Frame::new()
        .fill(palette.raised)
        .stroke(Stroke::new(1.0, palette.warning))
        .corner_radius(CornerRadius::same(theme::RADIUS))
        .inner_margin(Margin::same(8));
    frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        let head = format!("{}, {}", in_words(alarm.kind), place(alarm));
        ui.label(RichText::new(head).small().color(palette.warning));
        ui.label(&alarm.sentence);
        caption(ui, &alarm.cure);
        if let Some((key, value)) = &alarm.setting {
            let words = format!("Set {key} to {value} in the form");
            let tip = "For the next run: the one that goes on keeps its settings";
            if ui.small_button(words).on_hover_text(tip).clicked() {
                commands.train(TrainCommand::Setup(SetupCommand::Change(key.clone(), value.clone())));
            }
        }
    });
}

fn place(alarm: &Alarm) -> String {
    if alarm.stage.is_empty() {
        return "before the first step".to_owned();
    }
    format!("{} since step {}", words::stage(&alarm.stage), alarm.since)
}

fn in_words(kind: AlarmKind) -> &'static str {
    match kind {
        AlarmKind::Silent => "Silence",
        AlarmKind::NotANumber => "Not a number",
        AlarmKind::AllCutOff => "Answers cut off",
        AlarmKind::NoSpread => "Rewards without a spread",
        AlarmKind::KlRunsAway => "Distance runs away",
        AlarmKind::EntropyCollapses => "Entropy collapses",
        AlarmKind::EntropyExplodes => "Entropy explodes",
        AlarmKind::Degenerate => "Text degenerates",
        AlarmKind::Gaming => "Reward is gamed",
        AlarmKind::LossRises => "Loss rises",
        AlarmKind::GpuIdle => "GPU idle",
        AlarmKind::DiskFull => "Disk nearly full",
    }
}

#[cfg(test)]
mod tests {
    use egui_kittest::Harness;
    use egui_kittest::kittest::Queryable as _;

    use super::*;

    #[test]
    fn a_finished_run_can_be_used_before_its_process_is_gone() {
        for (state, button) in
            [(RunState::Finished("package".into()), "Use this model"), (RunState::Stopped, "Stop")]
        {
            let run = RunKey::new("/runs/a".into());
            let told = RunTold { listed: Listed::Known(state), ..RunTold::new(run.clone()) };
            let mut window = AppState::default();
            window.train.control.started.push(run.clone());
            let (commands, _sent) = CommandSender::new();
            let harness = Harness::builder().with_context_setup(theme::install).build_ui(move |ui| {
                run_buttons(ui, &window, &run, Some(&told), &commands);
            });
            assert!(harness.query_by_label(button).is_some(), "{button}");
            assert_eq!(harness.query_by_label("Kill").is_some(), button == "Stop");
        }
    }

    #[test]
    fn many_runs_are_named_by_the_first_ones() {
        let run = |name: &str| RunKey::new(format!("/runs/{name}").into());
        let runs: Vec<RunKey> = ["a", "b", "c", "d", "e"].map(run).to_vec();
        assert_eq!(names(&runs[..2]), "a, b");
        assert_eq!(names(&runs), "a, b, c and 2 more");
    }

    #[test]
    fn an_alarm_says_where_it_began() {
        let alarm = |stage: &str| Alarm {
            kind: AlarmKind::Silent,
            stage: stage.to_owned(),
            since: 7,
            sentence: String::new(),
            cure: String::new(),
            setting: None,
        };
        assert_eq!(place(&alarm("cold_start")), "cold start since step 7");
        assert_eq!(place(&alarm("grpo")), "GRPO since step 7");
        assert_eq!(place(&alarm("")), "before the first step");
    }
}
