//! What is drawn and can be pressed, under `egui_kittest`, with state made by hand.

use crossbeam_channel::Receiver;
use egui::vec2;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use reinpath_training::event::RowFigures;

use super::super::super::super::command::Command;
use super::super::super::super::theme;
use super::super::super::TrainCommand;
use super::super::super::control::ControlCommand;
use super::super::super::runs::RunsCommand;
use super::*;
use crate::runs::told::{CheckpointTold, EvaluationTold, StageTold};

fn harness(state: AppState, is_comparing: bool) -> (Harness<'static>, Receiver<Command>) {
    let (commands, sent) = CommandSender::new();
    let mut panel = RolloutsPanel::default();
    let draw = move |ui: &mut Ui| {
        if is_comparing {
            panel.compare_ui(ui, &state, &commands);
        } else {
            panel.ui(ui, &state, &commands);
        }
    };
    let builder = Harness::builder().with_size(vec2(900.0, 2400.0)).with_context_setup(theme::install);
    (builder.build_ui(draw), sent)
}

/// What pressing the widget of this name sends.
fn press(harness: &mut Harness<'_>, sent: &Receiver<Command>, name: &str) -> Vec<Command> {
    harness.get_by_label(name).click();
    harness.run_steps(3);
    sent.try_iter().collect()
}

fn rollouts(wish: RolloutsCommand) -> Vec<Command> {
    vec![Command::Train(TrainCommand::Rollouts(wish))]
}

/// A window with the answers of the last of three steps.
fn with_answers() -> AppState {
    let (mut state, key) = showing(&[1, 5, 9]);
    shown(&mut state);
    arrive(&mut state, &key, 9, &["a", "b"]);
    state
}

#[test]
fn everything_about_a_step_can_be_pressed_by_its_name() {
    let (mut harness, sent) = harness(with_answers(), false);
    harness.run_steps(2);
    harness.check_accessibility();
    let step = |step| RolloutsCommand::ShowStep { stage: "grpo".to_owned(), step };
    let wishes = [
        ("Question b: reward 0.50 ± 0.50, right 0 of 2", RolloutsCommand::Question(1)),
        ("Previous", step(5)),
        ("Newest", RolloutsCommand::ShowNewest),
        ("How its answers changed", RolloutsCommand::History("a".to_owned())),
        ("Sort by reward", RolloutsCommand::SortBy(Column::Reward)),
        ("Answer 1, folded", RolloutsCommand::OpenAnswer(0, true)),
    ];
    for (name, wish) in wishes {
        assert_eq!(press(&mut harness, &sent, name), rollouts(wish), "{name}");
    }
    harness.get_by_label("GRPO, step 9 · 3 of 3 steps with rollouts");
    harness.get_by_label("Right: B");
}

#[test]
fn without_a_run_or_without_rollouts_it_is_said_what_is_missing() {
    let (mut empty, sent) = harness(AppState::default(), false);
    let shows = vec![Command::Train(TrainCommand::Runs(RunsCommand::ToggleList))];
    assert_eq!(press(&mut empty, &sent, "Show runs"), shows);
    let (state, _key) = showing(&[]);
    let (harness, _sent) = harness(state, false);
    harness.get_by_label_contains("There are no rollouts yet");
    harness.get_by_label_contains("There is none yet: its checkpoints");
}

#[test]
fn a_history_is_drawn_with_its_ends_side_by_side() {
    let mut state = with_answers();
    command(&mut state, RolloutsCommand::History("a".to_owned()));
    let records = [1, 9].into_iter().map(|step| record(step, "a", &[1.0, 3.0])).collect();
    let history = RowHistory { row: "a".to_owned(), records, left_out: 0 };
    let run = state.train.runs.shown.clone().unwrap();
    event(&mut state, RolloutsEvent::History { run, history: Ok(history) });
    let (mut harness, sent) = harness(state, false);
    harness.run_steps(2);
    harness.check_accessibility();
    for title in ["Step 1", "Step 9"] {
        harness.get_by_label(title);
    }
    let name = "GRPO, step 9: reward 2.00 ± 1.00, right 0 of 2";
    assert_eq!(press(&mut harness, &sent, name), rollouts(RolloutsCommand::HistoryStep(1, false)));
    let name = "Back to the step";
    assert_eq!(press(&mut harness, &sent, name), rollouts(RolloutsCommand::CloseHistory));
}

/// A run that has answered held-out rows in GRPO and has a checkpoint.
fn measured(name: &str, accuracy: f64) -> RunTold {
    let mut told = run(name, &[4]);
    let interval_95 = [accuracy - 0.05, accuracy + 0.05];
    let figures = RowFigures { n: 100, accuracy, interval_95, ..RowFigures::default() };
    told.stages.push(StageTold {
        name: "grpo".to_owned(),
        planned: 4,
        steps: [1.0_f32, 2.0, 3.0, 4.0].into_iter().collect(),
        measures: BTreeMap::from([("loss".to_owned(), [0.5_f32, 0.4, 0.3, 0.2].into_iter().collect())]),
        evaluations: vec![EvaluationTold { step: 4, figures }],
    });
    let path = format!("/runs/{name}/checkpoints/4").into();
    told.checkpoints.push(CheckpointTold { stage: "grpo".to_owned(), step: 4, path });
    told
}

#[test]
fn two_runs_are_laid_side_by_side() {
    let (mut state, _key) = showing(&[4]);
    tell(&mut state, measured("a", 0.5));
    let b = tell(&mut state, measured("b", 0.7));
    state.train.runs.compared.push(b.clone());
    let (mut harness, sent) = harness(state, true);
    harness.run_steps(2);
    harness.check_accessibility();
    harness.get_by_label("50.0 % (45.0 to 55.0 %), n = 100, step 4");
    harness.get_by_label_contains("b is 20.0 percentage points above a");
    harness.get_by_label("The settings of a are not known yet.");
    harness.get_by_label_contains("Choose a question on the right");
    harness.get_by_label("Loss");
    let checkpoint = "/runs/b/checkpoints/4".into();
    let wish = ControlCommand::UseCheckpoint { run: b.clone(), checkpoint };
    let used = vec![Command::Train(TrainCommand::Control(wish))];
    assert_eq!(press(&mut harness, &sent, "Use this model: b"), used);
    let away = vec![Command::Train(TrainCommand::Runs(RunsCommand::Compare(b, false)))];
    assert_eq!(press(&mut harness, &sent, "Stop comparing"), away);
}
