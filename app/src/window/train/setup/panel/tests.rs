//! The panel in an egui context of its own: what is ticked, typed and pressed changes the draft, and no setting is without a name.

use crossbeam_channel::Receiver;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use serde_json::{Value, json};

use super::super::super::super::command::Command;
use super::super::super::super::update::{self, Effect};
use super::super::super::super::{event::Event, theme};
use super::super::super::{TrainEffect, TrainEvent};
use super::super::{SetupEffect, SetupEvent};
use super::*;

/// The panel, and what its wishes come to.
struct Bench {
    state: AppState,
    panel: SetupPanel,
    commands: CommandSender,
    wishes: Receiver<Command>,
    effects: Vec<Effect>,
}

impl Bench {
    fn draft(&self) -> &Value {
        &self.state.train.setup.draft
    }
}

fn shown(state: AppState) -> Harness<'static, Bench> {
    let (commands, wishes) = CommandSender::new();
    let bench = Bench { state, panel: SetupPanel::default(), commands, wishes, effects: Vec::new() };
    let draw = |ui: &mut Ui, bench: &mut Bench| {
        bench.panel.ui(ui, &bench.state, &bench.commands);
        while let Ok(wish) = bench.wishes.try_recv() {
            bench.effects.extend(update::command(&mut bench.state, wish));
        }
    };
    Harness::builder()
        .with_size([400.0, 1600.0])
        .with_context_setup(theme::install)
        .build_ui_state(draw, bench)
}

fn tell(state: &mut AppState, news: SetupEvent) {
    update::event(state, Event::Train(TrainEvent::Setup(news)));
}

fn with_settings() -> AppState {
    let mut state = AppState::default();
    let settings = json!({
        "name": "a",
        "seed": 1,
        "base": "models/a",
        "grpo": { "data": [{ "folder": "rows" }], "optimisation": {}, "kl_weight": 0.1 },
    });
    tell(&mut state, SetupEvent::Loaded(Ok(settings)));
    state
}

#[test]
fn a_stage_is_ticked_and_taken_away_again() {
    let mut harness = shown(with_settings());
    harness.get_by_label("Alignment").click();
    harness.run_ok();
    let expected = json!({ "data": [{ "folder": "" }], "optimisation": {} });
    assert_eq!(harness.state().draft()["alignment"], expected);
    harness.get_by_label_contains("`alignment.data.0.folder` is still empty");
    harness.get_by_label("Undo").click();
    harness.run_ok();
    assert_eq!(harness.state().draft().get("alignment"), None);
}

#[test]
fn what_is_no_number_is_marked_and_changes_nothing() {
    let mut harness = shown(with_settings());
    harness.get_by_label("Seed (seed)").focus();
    harness.run_ok();
    harness.get_by_label("Seed (seed)").type_text("2");
    harness.run_ok();
    let typed = harness.state().draft()["seed"].clone();
    assert!(typed == 12 || typed == 21, "{typed}");
    harness.get_by_label("Seed (seed)").type_text("x");
    harness.run_ok();
    harness.get_by_label("not used");
    assert_eq!(harness.state().draft()["seed"], typed);
    harness.get_by_label_contains("What all random numbers of the run come from");
}

#[test]
fn a_setting_is_found_by_its_name_and_set_back_to_its_default() {
    let mut harness = shown(with_settings());
    harness.state_mut().panel.form.search = "kl weight".to_owned();
    harness.run_ok();
    harness.get_by_label("KL weight (grpo.kl_weight)");
    harness.get_by_label("changed");
    harness.get_by_label("Reset grpo.kl_weight").click();
    harness.run_ok();
    assert_eq!(harness.state().draft()["grpo"].get("kl_weight"), None);
    assert!(harness.query_by_label("changed").is_none());
    harness.state_mut().panel.form.search = "zzz".to_owned();
    harness.run_ok();
    harness.get_by_label_contains("No setting of the stages");
}

#[test]
fn every_control_has_a_name_when_everything_is_in_view() {
    // The harness refuses a control without one.
    let mut harness = shown(with_settings());
    harness.state_mut().panel.form.search = "o".to_owned();
    harness.run_ok();
    harness.state_mut().panel.form.search = "rows.jsonl".to_owned();
    harness.run_ok();
    harness.get_by_label("Folder (grpo.data.0.folder)");
    harness.get_by_label("Choose grpo.data.0.folder");
}

#[test]
fn before_there_are_settings_one_button_begins() {
    let mut harness = shown(AppState::default());
    harness.get_by_label_contains("no preset is beside this program");
    harness.get_by_label("Begin with empty settings").click();
    harness.run_ok();
    assert!(harness.state().draft().is_object());
    harness.get_by_label_contains("No stage is to be run");
}

#[test]
fn demo_rows_that_are_missing_are_drawn_when_it_is_asked_for() {
    let mut state = with_settings();
    tell(&mut state, SetupEvent::DemoRows(DemoRows::Missing));
    let mut harness = shown(state);
    harness.get_by_label("Draw the demo rows").click();
    // They are drawn by somebody who is not here: the wheel turns for ever.
    harness.run_steps(4);
    let make = Effect::Train(TrainEffect::Setup(SetupEffect::MakeDemoRows));
    assert_eq!(harness.state().effects, [make]);
    harness.get_by_label_contains("Starting to draw");
}
