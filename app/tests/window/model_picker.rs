//! The model picker: what it shows of each package, and what comes of choosing one.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use egui::{Key, Modifiers};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use reinpath::window::App;
use reinpath::window::event::Event;
use reinpath::window::memory::MachineMemory;
use reinpath::window::model_list::{ListedModel, ModelFacts, ModelList};
use reinpath::window::state::{Mode, ModelInfo, WorkerState};
use reinpath::window::train::TrainCommand;
use reinpath::window::train::setup::SetupCommand;
use reinpath_model::package::{KNOWN, MemoryNeed};
use serde_json::json;

use super::support::{Script, model, until, window};

const GB: u64 = 1_000_000_000;

fn whole(name: &str, precision: &str, gigabytes: u64, licence: &str) -> ListedModel {
    let facts = ModelFacts {
        bytes: gigabytes * GB,
        precision: precision.to_owned(),
        licence: licence.to_owned(),
        allows: String::new(),
        untrainable: None,
        need: MemoryNeed { weights: gigabytes * GB, cache: Some(GB / 10) },
    };
    ListedModel {
        folder: format!("models/{name}").into(),
        name: name.to_owned(),
        is_demo: false,
        facts: Ok(facts),
    }
}

/// What the licence of the package `bound` says.
const ALLOWS: &str = "Research alone.";
const REFUSED: &str = "Its licence allows no training";

/// A package that must not be trained.
fn bound() -> ListedModel {
    let mut bound = whole("bound", "q4_k_m", 5, "CC-BY-NC-ND-4.0");
    if let Ok(facts) = &mut bound.facts {
        ALLOWS.clone_into(&mut facts.allows);
        facts.untrainable = Some(REFUSED.to_owned());
    }
    bound
}

/// The package in use, one that fits, one that does not, and a broken one.
fn shelf() -> ModelList {
    let broken = ListedModel {
        folder: "models/broken".into(),
        name: "broken".to_owned(),
        is_demo: false,
        facts: Err("There is no model package here: models/broken".to_owned()),
    };
    ModelList {
        models: vec![
            whole("scripted", "f16", 1, "MIT"),
            whole("small", "q8_0", 5, "Apache-2.0"),
            whole("large", "bf16", 16, ""),
            broken,
        ],
        fault: None,
        machine: Some(MachineMemory { total: 24 * GB, free: 12 * GB }),
    }
}

fn started(script: &Script) -> Harness<'static, App> {
    let mut harness = window(Vec::new(), Vec::new(), script);
    harness.step();
    harness.get_by_label("Accept and continue").click();
    harness.run_ok();
    until(&mut harness, "the package", |app| app.state().model.info().is_some());
    harness
}

/// Opens the picker by its button, and waits for what it shows.
fn open(harness: &mut Harness<'static, App>) {
    harness.get_by_label("Model: scripted").click();
    until(harness, "the list", |app| app.state().model.list.is_some());
    harness.run_ok();
}

#[test]
fn the_picker_shows_what_is_to_be_known_and_a_click_chooses() {
    let script = Script::default();
    script.lay_out(shelf());
    let mut harness = started(&script);
    open(&mut harness);
    harness.get_by_label_contains("scripted, f16 · 1.0 GB · MIT, in use, needs 1.1 GB");
    harness.get_by_label_contains("no licence stated, needs 16.1 GB, more than the 12.0 GB that are free");
    // What is broken says why, and is no button.
    harness.get_by_label_contains("Cannot be used. There is no model package here").click();
    harness.run_ok();
    assert!(script.used().is_empty());
    harness.get_by_label("small, q8_0 · 5.0 GB · Apache-2.0, needs 5.1 GB of 12.0 GB free").click();
    until(&mut harness, "the choice", |_| !script.used().is_empty());
    assert_eq!(script.used(), [Path::new("models/small")]);
    harness.run_ok();
    assert!(harness.query_by_label("Refresh").is_none(), "the picker is closed");
    let chosen = ModelInfo { name: "small".to_owned(), folder: "models/small".into(), ..model() };
    script.tell(Event::Package(Ok(Arc::new(chosen))));
    until(&mut harness, "the package", |app| app.state().model.folder() == Some(Path::new("models/small")));
    harness.get_by_label("Model: small");
    assert_eq!(harness.state().state().settings.model.as_deref(), Some(Path::new("models/small")));
}

#[test]
fn a_key_opens_the_picker_and_escape_closes_it() {
    let script = Script::default();
    let mut harness = started(&script);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::M);
    until(&mut harness, "the list", |app| app.state().model.list.is_some());
    harness.run_ok();
    harness.get_by_label_contains("No model of your own is here yet");
    harness.get_by_label("Refresh");
    harness.key_press(Key::Escape);
    harness.run_ok();
    assert!(harness.query_by_label("Refresh").is_none());
}

#[test]
fn a_folder_from_the_dialog_is_used_and_a_package_that_is_refused_says_why() {
    let script = Script::default();
    let mut harness = started(&script);
    open(&mut harness);
    harness.get_by_label("Open a model folder…").click();
    until(&mut harness, "the folder", |_| !script.used().is_empty());
    assert_eq!(script.used(), [Path::new("models/elsewhere")]);
    let sentence = "There is no model package here: models/elsewhere".to_owned();
    script.tell(Event::PackageRefused { folder: "models/elsewhere".into(), sentence: sentence.clone() });
    until(&mut harness, "the refusal", |app| !app.state().problems.is_empty());
    harness.get_by_label(&sentence);
    harness.get_by_label("Model: scripted");
}

#[test]
fn loading_can_be_cancelled() {
    let script = Script::default();
    let mut harness = started(&script);
    let loading =
        WorkerState::Loading { what: "weights".to_owned(), fraction: Some(0.4), since: Instant::now() };
    script.tell(Event::Worker(loading));
    until(&mut harness, "the load", |app| matches!(app.state().model.worker, WorkerState::Loading { .. }));
    harness.get_by_label("Cancel loading the model").click();
    until(&mut harness, "the cancel", |_| script.cancelled_loads() == 1);
    script.tell(Event::Worker(WorkerState::Idle));
    until(&mut harness, "the end", |app| app.state().model.worker == WorkerState::Idle);
    assert!(harness.query_by_label("Cancel loading the model").is_none());
}

#[test]
fn the_picker_says_what_a_licence_allows_and_which_models_can_be_had() {
    let script = Script::default();
    let mut models = shelf();
    models.models.push(bound());
    script.lay_out(models);
    let mut harness = started(&script);
    open(&mut harness);
    harness.get_by_label_contains(
        "bound, q4_k_m · 5.0 GB · CC-BY-NC-ND-4.0, needs 5.1 GB of 12.0 GB free, Research",
    );
    for known in KNOWN {
        harness.get_by_label(known.name);
        harness.get_by_label_contains(&format!("$(reinpath model get {})", known.repository));
        harness.get_by_label(&format!("Copy the command for {}", known.name));
        let licence = format!("{}, access has to be asked for on its page. {}", known.licence, known.allows);
        assert_eq!(known.is_gated, harness.query_all_by_label(&licence).next().is_some(), "{licence}");
    }
    assert_eq!(harness.query_all_by_label_contains("GB to download; in memory").count(), KNOWN.len());
}

#[test]
fn the_training_mode_offers_no_package_whose_licence_forbids_training() {
    let script = Script::default();
    script
        .lay_out(ModelList { models: vec![whole("free", "f16", 1, "MIT"), bound()], ..ModelList::default() });
    let mut harness = started(&script);
    harness.get_by_label("Train").click();
    until(&mut harness, "the training mode", |app| app.state().mode == Mode::Train);
    let base = |app: &App| app.state().train.setup.draft.pointer("/base").cloned();
    harness.state().commands().train(TrainCommand::Setup(SetupCommand::Begin));
    until(&mut harness, "empty settings", |app| app.state().train.setup.draft.is_object());
    harness.get_by_label("Packages").click();
    until(&mut harness, "the list", |app| app.state().model.list.is_some());
    harness.run_ok();
    harness.get_by_label(REFUSED);
    let before = base(harness.state());
    harness.get_by_label("bound").click();
    harness.run_ok();
    assert_eq!(base(harness.state()), before, "it is no button");

    // Typed, it is refused by the same sentence.
    harness.key_press(Key::Escape);
    harness.run_ok();
    assert!(harness.query_by_label(REFUSED).is_none());
    let typed = SetupCommand::Change("base".to_owned(), json!("models/bound"));
    harness.state().commands().train(TrainCommand::Setup(typed));
    until(&mut harness, "the change", |app| base(app) == Some(json!("models/bound")));
    harness.get_by_label(REFUSED);
    let typed = SetupCommand::Change("base".to_owned(), json!("models/free"));
    harness.state().commands().train(TrainCommand::Setup(typed));
    until(&mut harness, "the change", |app| base(app) == Some(json!("models/free")));
    assert!(harness.query_by_label(REFUSED).is_none());
}
