//! Exporting and teaching from the window: by keys, from a question to a file and to the training mode.

use std::path::Path;

use egui::{Key, Modifiers};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use reinpath::review::export::Form;
use reinpath::window::App;
use reinpath::window::read::ReadPlaces;
use reinpath::window::review::ReviewCommand;
use reinpath::window::review::export::ExportCommand;
use reinpath::window::state::Mode;
use reinpath_model::event::Stop;
use reinpath_model::stage::AnswerStage;
use reinpath_training::dataset::Dataset;
use reinpath_training::rows::RowAnswer;

use super::support::{Script, ask_about_the_middle, draw_slide, pass_notice, until, window_from};

const OBSERVATION: &str = "Glands lie back to back. Mucin is absent.";

/// Everything is kept below the test's folder.
fn places(folder: &Path) -> ReadPlaces {
    ReadPlaces {
        store: Some(folder.join("data/store.sqlite")),
        patches: Some(folder.join("data/patches")),
        exports: Some(folder.join("data/exports")),
        ..ReadPlaces::default()
    }
}

/// A window with a slide, past its notice.
fn ready(folder: &Path, script: &Script) -> Harness<'static, App> {
    let mut harness = window_from(vec![draw_slide(folder)], script, None, places(folder));
    pass_notice(&mut harness);
    harness
}

/// A question that was asked, answered, and accepted sentence by sentence.
fn reviewed(folder: &Path, script: &Script) -> Harness<'static, App> {
    let mut harness = ready(folder, script);
    ask_about_the_middle(&mut harness);
    script.write(AnswerStage::Observation, OBSERVATION);
    script.write(AnswerStage::Analysis, "The glands are crowded.");
    script.write(AnswerStage::Conclusion, "An adenocarcinoma is likely.");
    script.finish(Stop::End);
    until(&mut harness, "the end", |app| !app.state().is_asking());
    until(&mut harness, "the patch to be kept", |app| {
        let open = app.state().review.cases.open.as_ref();
        open.is_some_and(|open| {
            let patches: Vec<_> = open.questions.values().flat_map(|question| &question.patches).collect();
            !patches.is_empty() && patches.iter().all(|patch| patch.pixels.is_some())
        })
    });
    harness.key_press_modifiers(Modifiers::SHIFT, Key::Y);
    until(&mut harness, "the verdicts to be kept", |app| {
        let verdicts = &app.state().review.verdicts;
        verdicts.waiting.is_empty() && verdicts.entries.values().map(Vec::len).sum::<usize>() == 4
    });
    harness
}

fn ctrl_alt(harness: &mut Harness<'_, App>, key: Key) {
    harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::ALT, key);
    harness.step();
    harness.step();
}

#[test]
fn a_report_is_written_by_keys_and_names_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut harness = reviewed(folder.path(), &script);
    ctrl_alt(&mut harness, Key::E);
    assert!(harness.state().state().review.export.is_open);
    harness.get_by_label("HTML report");
    let to = harness.state().state().review.export.to.clone();
    assert!(to.starts_with(folder.path().join("data/exports")), "{}", to.display());
    harness.get_by_label("Write the export").click();
    until(&mut harness, "the report", |app| app.state().review.export.news.is_some());
    harness.get_by_label_contains("1 answer written");
    let text = std::fs::read_to_string(&to).unwrap();
    for part in ["What is seen?", "Mucin is absent.", "accepted", "data:image/png;base64,"] {
        assert!(text.contains(part), "{part} is not in the report");
    }
    assert!(!text.contains("quarters"), "the slide's name was not asked for");

    harness.get_by_label("Table (CSV)").click();
    harness.run_ok();
    let export = &harness.state().state().review.export;
    assert_eq!((export.form, export.to.extension().unwrap().to_str()), (Form::Csv, Some("csv")));
    harness.get_by_label("Tell the names of slides and reviewers").click();
    harness.run_ok();
    harness.get_by_label("Write the export").click();
    let table = to.with_extension("csv");
    until(&mut harness, "the table", |app| app.state().review.export.running.is_none() && table.is_file());
    assert!(std::fs::read_to_string(&table).unwrap().contains("quarters.png"), "now it was asked for");
    ctrl_alt(&mut harness, Key::E);
    assert!(harness.query_by_label("Write the export").is_none(), "the window is closed");
    assert!(harness.state().state().problems.is_empty());
}

#[test]
fn teaching_opens_the_training_mode_with_the_rows() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut harness = reviewed(folder.path(), &script);
    ctrl_alt(&mut harness, Key::T);
    until(&mut harness, "the settings", |app| {
        let state = app.state();
        state.mode == Mode::Train && state.train.setup.draft.is_object()
    });
    let state = harness.state().state();
    let draft = &state.train.setup.draft;
    let rows = Path::new(draft["cold_start"]["data"][0]["folder"].as_str().unwrap());
    assert!(rows.starts_with(folder.path().join("data/exports")), "{}", rows.display());
    assert!(draft["base"].as_str().unwrap().ends_with("scripted"), "{draft}");
    assert_eq!(draft["cold_start"]["data"].as_array().unwrap().len(), 1, "it is not the demo model");
    assert_eq!(state.train.setup.fault, None);
    let rows = Dataset::read(rows).unwrap().into_rows().unwrap();
    assert_eq!(rows.len(), 1);
    let Some(RowAnswer::Staged(answer)) = &rows[0].answer else { panic!("{:?}", rows[0]) };
    assert_eq!(answer.observation, OBSERVATION);
    assert!(state.problems.is_empty(), "{:?}", state.problems);
}

#[test]
fn without_reviews_a_sentence_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready(folder.path(), &Script::default());
    ctrl_alt(&mut harness, Key::T);
    until(&mut harness, "the refusal", |app| !app.state().problems.is_empty());
    assert!(harness.state().state().problems[0].sentence.starts_with("There is no answer to be exported"));
    assert_eq!(harness.state().state().mode, Mode::Read);
    let export = |wish| ReviewCommand::Export(wish);
    harness.state().commands().review(export(ExportCommand::Toggle));
    harness.run_ok();
    harness.state().commands().review(export(ExportCommand::To("".into())));
    harness.run_ok();
    harness.get_by_label("Write the export").click();
    harness.run_ok();
    assert_eq!(harness.state().state().review.export.running, None, "there is no path to write to");
    harness.key_press(Key::Escape);
    harness.run_ok();
    assert!(!harness.state().state().review.export.is_open, "Escape closes the window over the others");
}

#[test]
fn escape_closes_the_dialog_and_only_then_stops_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut harness = ready(folder.path(), &script);
    ask_about_the_middle(&mut harness);
    script.write(AnswerStage::Observation, OBSERVATION);
    harness.state().commands().review(ReviewCommand::Export(ExportCommand::Toggle));
    until(&mut harness, "the dialog", |app| app.state().review.export.is_open);
    harness.step();
    harness.key_press(Key::Escape);
    until(&mut harness, "its end", |app| !app.state().review.export.is_open);
    assert!(harness.state().state().is_asking(), "the answer goes on");
    harness.step();
    harness.key_press(Key::Escape);
    until(&mut harness, "the stop", |_| !script.stopped().is_empty());
}
