//! What went wrong in a run, with the last lines that it wrote and what can be done about it; and what it warned of.

use egui::{Button, CollapsingHeader, Label, RichText, ScrollArea, Ui};
use reinpath_training::run_folder::{RunFolder, RunState};

use super::super::super::command::{Command, CommandSender};
use super::super::super::state::AppState;
use super::super::super::widgets::{caption, problem_ui, warning};
use super::super::TrainCommand;
use super::super::control::ControlCommand;
use super::super::setup::SetupCommand;
use crate::runs::told::{Listed, RunTold};

/// Points: the height of a list of lines.
const HEIGHT: f32 = 120.0;

/// Why a run is not going on though it is not at its end, as a sentence; `None` where nothing went wrong.
fn failure(told: &RunTold, ended: Option<&str>) -> Option<String> {
    match &told.listed {
        // What it says may end with a path, which stands last.
        Listed::Known(RunState::Failed(error)) => Some(match ended {
            Some(how) => format!("The run failed ({how}): {error}"),
            None => format!("The run failed: {error}"),
        }),
        Listed::Known(RunState::Interrupted) => Some(match ended {
            Some(how) => format!("The run's process ended without a word of its own: {how}."),
            None => "The run's process ended without a word, as when it is killed or the machine stops."
                .to_owned(),
        }),
        Listed::NeverBegan => Some(match ended {
            Some(how) => format!("The run never began, its process ended: {how}."),
            None => "No process has begun this run.".to_owned(),
        }),
        Listed::Unreadable(sentence) => Some(sentence.clone()),
        Listed::Known(_) => None,
    }
}

/// What went wrong, with the last lines that the run wrote and what can be done; then what it warned of.
pub(super) fn ui(ui: &mut Ui, state: &AppState, told: &RunTold, commands: &CommandSender) {
    let ended = state.train.control.ended.get(&told.key);
    // A process that this window started may not have got as far as the folder yet.
    let is_awaited = ended.is_none() && state.train.control.started.contains(&told.key);
    let how = ended.filter(|ended| !ended.is_good).map(|ended| ended.how.as_str());
    if let Some(sentence) = failure(told, how).filter(|_| !is_awaited) {
        let lines = match ended.map(|ended| ended.last_lines.as_slice()) {
            Some(lines) if !lines.is_empty() => lines,
            _ => state.train.chart.lines_of(&told.key),
        };
        problem_ui(ui, &sentence, |ui| buttons(ui, told, &sentence, lines, commands));
        last_lines_ui(ui, lines);
    }
    if let Some(fault) = &told.fault {
        warning(ui, fault);
    }
    if let Some((count, last)) = &told.strange {
        warning(
            ui,
            &format!(
                "{count} lines among the run's events are none that this program knows; the last: {last}"
            ),
        );
    }
    warnings_ui(ui, told);
}

fn buttons(ui: &mut Ui, told: &RunTold, sentence: &str, lines: &[String], commands: &CommandSender) {
    match &told.listed {
        Listed::NeverBegan => {
            let asked = RunFolder::new(told.key.folder()).asked_file();
            if ui.button("Take its settings").on_hover_text("Into the form on the left").clicked() {
                commands.train(TrainCommand::Setup(SetupCommand::Load(asked)));
            }
        }
        Listed::Known(_) => {
            let words = if told.checkpoints.is_empty() {
                "Resume from the beginning"
            } else {
                "Resume from the last checkpoint"
            };
            if ui.button(words).clicked() {
                commands.train(TrainCommand::Control(ControlCommand::Resume(told.key.clone())));
            }
        }
        Listed::Unreadable(_) => {}
    }
    if ui.add(Button::new("Copy")).accessible_name("Copy what went wrong").clicked() {
        let all: Vec<&str> = std::iter::once(sentence).chain(lines.iter().map(String::as_str)).collect();
        commands.send(Command::Copy(all.join("\n")));
    }
}

fn last_lines_ui(ui: &mut Ui, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    caption(ui, "The last lines of its log:");
    let scroll = ScrollArea::both().id_salt("last lines").max_height(HEIGHT).auto_shrink([false, true]);
    scroll.show(ui, |ui| {
        ui.spacing_mut().item_spacing.y = 2.0;
        for line in lines {
            ui.add(Label::new(RichText::new(line).monospace().small()).extend());
        }
    });
}

fn warnings_ui(ui: &mut Ui, told: &RunTold) {
    let Some(newest) = told.warnings.last() else { return };
    let words = match told.warnings.len() {
        1 => "1 warning".to_owned(),
        count => format!("{count} warnings, the newest: {}", clipped(&newest.sentence)),
    };
    CollapsingHeader::new(RichText::new(words).small()).id_salt("warnings").show(ui, |ui| {
        let scroll = ScrollArea::vertical().id_salt("warnings list").max_height(HEIGHT);
        scroll.show(ui, |ui| {
            for told in told.warnings.iter().rev() {
                let times = if told.count > 1 { format!(" ({} times)", told.count) } else { String::new() };
                warning(ui, &format!("{}{times}", told.sentence));
            }
        });
    });
}

/// The beginning of a sentence.
fn clipped(sentence: &str) -> String {
    const MOST: usize = 80;
    match sentence.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &sentence[..end]),
        None => sentence.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::{running, told};
    use super::*;

    #[test]
    fn every_bad_end_is_a_sentence_and_a_good_one_is_none() {
        let of = |listed, how| failure(&told(listed, Vec::new()), how);
        let known = Listed::Known;
        let failed = || known(RunState::Failed("out of memory".to_owned()));
        assert_eq!(of(failed(), None).unwrap(), "The run failed: out of memory");
        assert_eq!(of(failed(), Some("exit code 1")).unwrap(), "The run failed (exit code 1): out of memory");
        assert!(of(known(RunState::Interrupted), Some("killed")).unwrap().ends_with(": killed."));
        assert!(of(known(RunState::Interrupted), None).is_some());
        assert!(of(Listed::NeverBegan, Some("exit code 2")).unwrap().ends_with("exit code 2."));
        assert_eq!(of(known(RunState::Stopped), None), None);
        assert_eq!(of(known(RunState::Finished("p".into())), None), None);
        assert_eq!(of(running(), None), None);
    }

    #[test]
    fn a_long_sentence_is_cut_between_characters() {
        assert_eq!(clipped("short"), "short");
        assert_eq!(clipped(&"ä".repeat(200)).chars().count(), 81);
    }
}
