//! The preflight: the button, how far it is, and what was found, the gravest first, each with its cure.

use egui::{Align, Button, Layout, RichText, ScrollArea, Ui};
use reinpath_training::event::Finding;
use serde_json::Value;

use super::{LookCommand, LookState, Preflight};
use crate::window::command::{Command, CommandSender, keys_of};
use crate::window::state::AppState;
use crate::window::theme;
use crate::window::train::TrainCommand;
use crate::window::widgets::{caption, hairline, main_button, problem_ui, title};

/// Points that the findings take at most: the settings above them need the room.
const MOST_HEIGHT: f32 = 112.0;

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    Fatal,
    Doubtful,
    Fine,
}

impl Rank {
    const ALL: [Self; 3] = [Self::Fatal, Self::Doubtful, Self::Fine];

    fn of(finding: &Finding) -> Self {
        match finding {
            Finding { is_fatal: true, .. } => Self::Fatal,
            Finding { cure: Some(_), .. } => Self::Doubtful,
            Finding { cure: None, .. } => Self::Fine,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Fatal => "Would fail",
            Self::Doubtful => "Doubtful",
            Self::Fine => "Fine",
        }
    }
}

/// Draws it.
pub(super) fn ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    let (look, draft) = (&state.train.look, &state.train.setup.draft);
    let send = |command| commands.train(TrainCommand::Look(command));
    ui.add_space(theme::GRID);
    hairline(ui);
    ui.horizontal(|ui| {
        title(ui, "Preflight");
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            button_ui(ui, &look.preflight, draft, commands);
            if !look.rehearsals.is_empty() {
                let answers = ui.button("Sampled answers");
                if answers
                    .on_hover_text("Answers of the model before the first step, and their rewards")
                    .clicked()
                {
                    send(LookCommand::ShowRehearsals(true));
                }
            }
        });
    });
    caption(ui, verdict(look, draft));
    if let Some(fault) = &look.preflight.fault {
        problem_ui(ui, fault, |ui| {
            if ui.button("Copy message").clicked() {
                commands.send(Command::Copy(fault.clone()));
            }
        });
    }
    if look.preflight.findings.is_empty() {
        return;
    }
    let scroll = ScrollArea::vertical().id_salt("preflight findings").max_height(MOST_HEIGHT);
    scroll.auto_shrink([false, true]).show(ui, |ui| {
        ui.spacing_mut().item_spacing.y = 2.0;
        for rank in Rank::ALL {
            for finding in look.preflight.findings.iter().filter(|finding| Rank::of(finding) == rank) {
                finding_ui(ui, rank, finding);
            }
        }
    });
}

fn button_ui(ui: &mut Ui, preflight: &Preflight, draft: &Value, commands: &CommandSender) {
    let send = |command| commands.train(TrainCommand::Look(command));
    let keys = |name: &str| keys_of(ui.ctx(), name);
    let (look_keys, stop_keys) = (keys("Preflight"), keys("Stop looking"));
    if preflight.is_running {
        let stop = ui.button("Stop").accessible_name("Stop the preflight");
        if stop.on_hover_text(format!("End this look ({stop_keys})")).clicked() {
            send(LookCommand::Stop);
        }
        return;
    }
    // Once the run may start, its own button is the one that matters.
    let button =
        if preflight.allows(draft) { Button::new("Look again") } else { main_button(ui, "Look through") };
    let tip = format!("What the run needs against what there is, before it starts ({look_keys})");
    if ui.add(button).on_hover_text(tip).clicked() {
        send(LookCommand::Preflight);
    }
}

fn finding_ui(ui: &mut Ui, rank: Rank, finding: &Finding) {
    let palette = theme::of(ui);
    let colour = match rank {
        Rank::Fatal => palette.error,
        Rank::Doubtful => palette.warning,
        Rank::Fine => palette.weak,
    };
    ui.label(RichText::new(rank.word()).font(theme::semibold(theme::CAPTION)).color(colour));
    ui.label(RichText::new(&finding.finding).small());
    if let Some(cure) = &finding.cure {
        caption(ui, format!("What helps: {cure}"));
    }
    ui.add_space(4.0);
}

/// How far it is and what comes of it, as one sentence.
fn verdict(look: &LookState, draft: &Value) -> String {
    let preflight = &look.preflight;
    if preflight.is_running {
        let at = if look.preflight_at.is_empty() { "Beginning" } else { look.preflight_at.as_str() };
        return format!("{at}. Found so far: {}.", preflight.findings.len());
    }
    match &preflight.of {
        None => return "Look through data, memory and rewards before the run starts.".to_owned(),
        Some(of) if of != draft => return "The settings have changed since: look again.".to_owned(),
        Some(_) => {}
    }
    if preflight.fault.is_some() {
        return "It came to no end.".to_owned();
    }
    let count = |rank| preflight.findings.iter().filter(|finding| Rank::of(finding) == rank).count();
    match (count(Rank::Fatal), count(Rank::Doubtful)) {
        (0, 0) => "Nothing stands in the way.".to_owned(),
        (0, 1) => "The run can start; one thing is doubtful.".to_owned(),
        (0, n) => format!("The run can start; {n} things are doubtful."),
        (1, _) => "One thing must be mended before the run can start.".to_owned(),
        (n, _) => format!("{n} things must be mended before the run can start."),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn finding(cure: Option<&str>, is_fatal: bool) -> Finding {
        Finding { finding: "A.".to_owned(), cure: cure.map(str::to_owned), is_fatal }
    }

    fn looked(findings: Vec<Finding>) -> LookState {
        let preflight = Preflight { of: Some(json!(1)), findings, ..Preflight::default() };
        LookState { preflight, ..LookState::default() }
    }

    #[test]
    fn the_verdict_counts_what_must_be_mended_before_what_is_doubtful() {
        let of = |findings| verdict(&looked(findings), &json!(1));
        assert_eq!(of(vec![finding(None, false)]), "Nothing stands in the way.");
        assert!(of(vec![finding(Some("B."), false); 2]).ends_with("2 things are doubtful."));
        let both = vec![finding(Some("B."), false), finding(None, true)];
        assert!(of(both).starts_with("One thing must be mended"));
    }

    #[test]
    fn the_verdict_holds_for_the_settings_that_were_looked_at_alone() {
        assert!(verdict(&LookState::default(), &json!(1)).starts_with("Look through"));
        assert!(verdict(&looked(Vec::new()), &json!(2)).starts_with("The settings have changed"));
        let mut look = looked(vec![finding(None, false)]);
        look.preflight.is_running = true;
        look.preflight_at = "Looking at this machine".to_owned();
        assert_eq!(verdict(&look, &json!(2)), "Looking at this machine. Found so far: 1.");
        look.preflight.is_running = false;
        look.preflight.fault = Some("It was killed.".to_owned());
        assert_eq!(verdict(&look, &json!(1)), "It came to no end.");
    }
}
