//! Above the run: its name and how far it has come, and the list of all runs.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use egui::{
    Align, Button, Color32, Label, Layout, Response, RichText, ScrollArea, TextEdit, Ui, WidgetText, vec2,
};
use reinpath_training::run_folder::RunState;

use super::super::TrainCommand;
use super::super::words;
use super::{RunsCommand, RunsState};
use crate::runs::RunKey;
use crate::runs::told::{Listed, ListedRun, RunTold};
use crate::window::command::{CommandSender, keys_of};
use crate::window::state::AppState;
use crate::window::theme;
use crate::window::widgets::{caption, hairline, tick_box, title, toggle, warning};

/// Points.
const MOST_HEIGHT: f32 = 236.0;
const STATE_WIDTH: f32 = 132.0;
const STEP_WIDTH: f32 = 120.0;
const CHANGED_WIDTH: f32 = 84.0;
const BUTTONS_WIDTH: f32 = 216.0;
const LEAST_NAME_WIDTH: f32 = 96.0;

/// What is being typed.
#[derive(Default)]
pub(in crate::window::train) struct RunsPanel {
    path: String,
}

impl RunsPanel {
    /// Draws it.
    pub(in crate::window::train) fn ui(&mut self, ui: &mut Ui, state: &AppState, commands: &CommandSender) {
        let runs = &state.train.runs;
        header_ui(ui, runs, commands);
        if runs.is_list_shown || runs.shown.is_none() {
            match runs.list.as_deref() {
                None => {
                    caption(ui, "Looking for runs.");
                }
                Some([]) => {
                    let sentence = "There is no run yet: choose a preset on the left and press Look through.";
                    caption(ui, sentence);
                }
                Some(list) => list_ui(ui, state, list, commands),
            }
            self.open_ui(ui, runs, commands);
        }
        hairline(ui);
    }

    /// Opens a run that lies elsewhere.
    fn open_ui(&mut self, ui: &mut Ui, runs: &RunsState, commands: &CommandSender) {
        ui.horizontal(|ui| {
            if ui.add_enabled(!runs.is_picking, Button::new("Open a run…")).clicked() {
                send(commands, RunsCommand::PickFolder);
            }
            let edit = TextEdit::singleline(&mut self.path).desired_width(240.0).hint_text("Folder of a run");
            let edit = ui.add(edit).accessible_name("Folder of a run");
            let is_entered = edit.lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Enter));
            let path = self.path.trim();
            let button = ui.add_enabled(!path.is_empty(), Button::new("Open"));
            let button = button.accessible_name("Open the run in this folder");
            if !path.is_empty() && (is_entered || button.clicked()) {
                send(commands, RunsCommand::Open(PathBuf::from(path)));
                self.path.clear();
            }
            if ui.button("Refresh").on_hover_text("Look for runs anew").clicked() {
                send(commands, RunsCommand::Refresh);
            }
        });
    }
}

fn send(commands: &CommandSender, wish: RunsCommand) {
    commands.train(TrainCommand::Runs(wish));
}

/// The run in view: its name, how far it has come, when it last wrote something, and what is wrong with its folder.
fn header_ui(ui: &mut Ui, runs: &RunsState, commands: &CommandSender) {
    let told: Option<&RunTold> = runs.shown_run().map(AsRef::as_ref);
    ui.horizontal_wrapped(|ui| {
        let words = format!("Runs ({})", keys_of(ui.ctx(), "Runs"));
        if toggle(ui, runs.is_list_shown, words).clicked() {
            send(commands, RunsCommand::ToggleList);
        }
        let Some(key) = &runs.shown else { return };
        title(ui, &key.name()).on_hover_text(key.folder().display().to_string());
        let listed = runs.listed(key);
        if let Some(state) = told.map(|told| &told.listed).or(listed.map(|run| &run.state)) {
            standing_ui(ui, state, told);
        }
        let changed = told.map(|told| told.changed).or(listed.map(|run| run.changed));
        let changed = changed.and_then(|changed| since_in_words(changed, now()));
        if let Some(changed) = changed {
            caption(ui, format!("written {changed}"));
        }
    });
    let Some(told) = told else { return };
    if let Some(fault) = &told.fault {
        warning(ui, fault);
    } else if let Listed::Unreadable(sentence) = &told.listed {
        warning(ui, sentence);
    }
    if let Some((count, last)) = &told.strange {
        let lines = if *count == 1 { "One line of its events is" } else { "Lines of its events are" };
        let count = if *count == 1 { String::new() } else { format!(" ({count})") };
        warning(ui, &format!("{lines} none that this program knows{count}."))
            .on_hover_text(format!("The last of them:\n{last}"));
    }
}

/// All runs, a line each. Only those in sight are drawn.
fn list_ui(ui: &mut Ui, state: &AppState, list: &[ListedRun], commands: &CommandSender) {
    let spacing = ui.spacing().item_spacing.x;
    let others = STATE_WIDTH + STEP_WIDTH + CHANGED_WIDTH + BUTTONS_WIDTH + 5.0 * spacing;
    let name_width = (ui.available_width() - others).max(LEAST_NAME_WIDTH);
    ui.horizontal(|ui| {
        let weak = theme::of(ui).weak;
        let heads =
            [("Name", name_width), ("State", STATE_WIDTH), ("Step", STEP_WIDTH), ("Written", CHANGED_WIDTH)];
        for (head, width) in heads {
            cell(ui, width, RichText::new(head).small().color(weak));
        }
    });
    let (row, now) = (ui.spacing().interact_size.y, now());
    let scroll = ScrollArea::vertical().id_salt("runs").max_height(MOST_HEIGHT).auto_shrink([false, true]);
    scroll.show_rows(ui, row, list.len(), |ui, rows| {
        for run in list.get(rows).unwrap_or_default() {
            // By its folder, so that a button stays itself when the order changes.
            ui.push_id(run.key.folder(), |ui| {
                ui.horizontal(|ui| run_ui(ui, state, run, name_width, now, commands));
            });
        }
    });
}

fn run_ui(
    ui: &mut Ui,
    state: &AppState,
    run: &ListedRun,
    name_width: f32,
    now: u64,
    commands: &CommandSender,
) {
    let runs = &state.train.runs;
    let (key, name) = (&run.key, run.key.name());
    let told: Option<&RunTold> = runs.told.get(key).map(AsRef::as_ref);
    cell(ui, name_width, name.as_str()).on_hover_text(key.folder().display().to_string());
    let standing = told.map_or(&run.state, |told| &told.listed);
    let words = words::state(standing, told.and_then(|told| told.waits_for.as_deref()));
    let words = RichText::new(words).color(colour(ui, standing));
    let response = cell(ui, STATE_WIDTH, words);
    if let Some(sentence) = sentence(standing) {
        response.on_hover_text(sentence);
    }
    cell(ui, STEP_WIDTH, told.and_then(step_in_words).unwrap_or_default());
    let changed = told.map_or(run.changed, |told| told.changed);
    cell(ui, CHANGED_WIDTH, since_in_words(changed, now).unwrap_or_default());
    let is_shown = runs.shown.as_ref() == Some(key);
    if toggle(ui, is_shown, "Show").accessible_name(format!("Show {name}")).clicked() {
        send(commands, RunsCommand::Show(key.clone()));
    }
    let mut is_compared = runs.compared.contains(key);
    let compare = ui.add_enabled(!is_shown, tick_box(&mut is_compared, "Compare"));
    let compare = compare.on_hover_text("Lay it beside the run that is shown");
    if compare.accessible_name(format!("Compare {name}")).changed() {
        send(commands, RunsCommand::Compare(key.clone(), is_compared));
    }
    forget_ui(ui, state, key, &name, commands);
}

/// A run that was opened elsewhere can be taken off the list.
fn forget_ui(ui: &mut Ui, state: &AppState, key: &RunKey, name: &str, commands: &CommandSender) {
    if state.settings.runs.iter().any(|folder| folder == key.folder()) {
        let forget = ui.button("Forget").on_hover_text("Take it off this list; its folder stays as it is");
        if forget.accessible_name(format!("Forget {name}")).clicked() {
            send(commands, RunsCommand::Forget(key.clone()));
        }
    }
}

/// Words in a column of this width, cut where they do not fit.
fn cell(ui: &mut Ui, width: f32, words: impl Into<WidgetText>) -> Response {
    let size = vec2(width, ui.spacing().interact_size.y);
    let shown = ui.allocate_ui_with_layout(size, Layout::left_to_right(Align::Center), |ui| {
        ui.set_min_width(width);
        ui.add(Label::new(words).truncate())
    });
    shown.inner
}

fn standing_ui(ui: &mut Ui, state: &Listed, told: Option<&RunTold>) {
    let words = words::state(state, told.and_then(|told| told.waits_for.as_deref()));
    let words = RichText::new(words).color(colour(ui, state));
    let response = ui.label(words);
    if let Some(sentence) = sentence(state) {
        response.on_hover_text(sentence);
    }
}

/// What the few words leave out.
fn sentence(state: &Listed) -> Option<&str> {
    match state {
        Listed::Known(RunState::Failed(sentence)) | Listed::Unreadable(sentence) => Some(sentence),
        Listed::Known(RunState::Interrupted) => {
            Some("Its process ended without a word, as when it is killed; the run can go on.")
        }
        Listed::NeverBegan => Some("It was asked for, and no process has begun it."),
        Listed::Known(_) => None,
    }
}

fn colour(ui: &Ui, state: &Listed) -> Color32 {
    let palette = theme::of(ui);
    match state {
        Listed::Known(RunState::Failed(_)) | Listed::Unreadable(_) => palette.error,
        Listed::Known(RunState::Interrupted) | Listed::NeverBegan => palette.warning,
        Listed::Known(_) => palette.text,
    }
}

/// The stage at work and its step: `cold start 12 of 300`.
fn step_in_words(told: &RunTold) -> Option<String> {
    let stage = told.current_stage()?;
    let name = words::stage(&stage.name);
    Some(match stage.planned {
        0 => format!("{name} {}", stage.step()),
        planned => format!("{name} {} of {planned}", stage.step()),
    })
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// How long ago a time was, roughly: nobody has to see seconds tick. `None` where it is not known.
fn since_in_words(time: u64, now: u64) -> Option<String> {
    if time == 0 {
        return None;
    }
    let secs = now.saturating_sub(time);
    Some(match secs {
        0..60 => "just now".to_owned(),
        60..3600 => format!("{} min ago", secs / 60),
        3600..172_800 => format!("{} h ago", secs / 3600),
        _ => format!("{} days ago", secs / 86_400),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_roughly() {
        let since = |secs: u64| since_in_words(1_000_000 - secs, 1_000_000).unwrap();
        assert_eq!([since(0), since(59), since(60)], ["just now", "just now", "1 min ago"]);
        assert_eq!([since(3599), since(7200), since(172_800)], ["59 min ago", "2 h ago", "2 days ago"]);
        assert_eq!(since_in_words(2_000_000, 1_000_000).unwrap(), "just now", "a clock that was set back");
        assert_eq!(since_in_words(0, 1_000_000), None);
    }

    #[test]
    fn what_the_words_of_a_state_leave_out_is_told_where_there_is_more() {
        let failed = Listed::Known(RunState::Failed("no memory".to_owned()));
        assert_eq!(sentence(&failed), Some("no memory"));
        assert!(sentence(&Listed::NeverBegan).is_some());
        assert!(sentence(&Listed::Known(RunState::Stopped)).is_none());
    }
}
