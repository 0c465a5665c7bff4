//! The window as a user meets it, run without a display: open, look, mark, ask, read, stop, choose a model; and what goes
//! wrong.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands, also in its support")]

mod annotations;
mod cases;
mod chains;
mod colours;
mod exports;
mod model_picker;
mod navigation;
mod screens;
mod several;
mod support;
#[cfg(unix)]
mod teaching;
mod training;
#[cfg(unix)]
mod training_run;
mod verdicts;
mod vision;
#[cfg(unix)]
mod worker;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::{Key, Modifiers, vec2};
use egui_kittest::kittest::Queryable;
use reinpath::window::patches::PatchPicture;
use reinpath::window::state::{SlideStatus, Tool};
use reinpath_model::event::{AskEvent, Stop};
use reinpath_model::stage::AnswerStage;

use support::{
    QUARTERS, Script, alike, ask_about_the_middle, click_at, drag, draw_slide, pass_notice, pixel, until,
    until_drawn, viewer, window,
};

const OBSERVATION: &str = "Glands lie back to back.";
const ANALYSIS: &str = "Their nuclei are large.";
const CONCLUSION: &str = "An adenocarcinoma is likely.";

#[test]
fn a_slide_is_opened_marked_asked_about_and_the_answer_read() {
    let folder = tempfile::tempdir().unwrap();
    let slide = draw_slide(folder.path());
    let script = Script::default();
    let mut harness = window(Vec::new(), vec![slide], &script);
    harness.step();
    harness.get_by_label("Accept and continue").click();
    harness.run_ok();
    harness.get_by_label("Open slide…").click();
    until_drawn(&mut harness);

    // The four quarters are where they belong.
    let image = harness.render().unwrap();
    let middle = viewer(&harness).center();
    for (n, offset) in
        [vec2(-90.0, -90.0), vec2(90.0, -90.0), vec2(-90.0, 90.0), vec2(90.0, 90.0)].into_iter().enumerate()
    {
        let found = pixel(&image, middle + offset);
        assert!(alike(found, QUARTERS[n]), "quarter {n}: {found:?}");
    }

    harness.key_press(Key::P);
    harness.step();
    click_at(&mut harness, middle);
    until(&mut harness, "the patch to be read", |app| {
        let patches = &app.state().shown_slide().unwrap().patches;
        patches.places().first().is_some_and(|place| patches.picture(place.id).is_some())
    });
    {
        let patches = &harness.state().state().shown_slide().unwrap().patches;
        let place = &patches.places()[0];
        assert_eq!((place.region.w, place.region.h), (224, 224));
        assert!((place.region.x - 488).abs() <= 2 && (place.region.y - 338).abs() <= 2, "{:?}", place.region);
        let Some(PatchPicture::Ready(look)) = patches.picture(place.id) else { panic!("no picture") };
        assert_eq!(look.given.texture.size(), [112, 112]);
    }

    harness.get_by_label("Question").focus();
    harness.step();
    harness.get_by_label("Question").type_text("What is seen?");
    harness.run_ok();
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Enter);
    until(&mut harness, "the question to be asked", |app| app.state().is_asking());
    assert_eq!(script.orders()[0].text.question, "What is seen?");
    harness.get_by_label("Stop");

    script.write(AnswerStage::Observation, OBSERVATION);
    until(&mut harness, "the observation", |app| {
        app.state().answer.as_ref().is_some_and(|answer| answer.text.observation == OBSERVATION)
    });
    harness.get_by_label("Observation, open");
    harness.get_by_label(OBSERVATION);
    let conclusion = harness.query_all_by_label_contains("Conclusion,").next();
    assert!(conclusion.is_none(), "a stage is shown once it is there");

    script.write(AnswerStage::Analysis, ANALYSIS);
    script.write(AnswerStage::Conclusion, CONCLUSION);
    script.finish(Stop::End);
    until(&mut harness, "the end", |app| !app.state().is_asking());
    harness.get_by_label("Observation, folded");
    harness.get_by_label("Conclusion, open");
    harness.get_by_label(CONCLUSION);
    harness.get_by_label("Analysis, folded").click();
    harness.run_ok();
    harness.get_by_label("Analysis, open");
    harness.get_by_label(ANALYSIS);
}

/// A window with a slide and a patch that was asked about.
fn asked(folder: &Path, script: &Script) -> egui_kittest::Harness<'static, reinpath::window::App> {
    let mut harness = window(vec![draw_slide(folder)], Vec::new(), script);
    pass_notice(&mut harness);
    ask_about_the_middle(&mut harness);
    harness
}

#[test]
fn stop_keeps_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut harness = asked(folder.path(), &script);
    script.write(AnswerStage::Observation, OBSERVATION);
    until(&mut harness, "words", |app| {
        app.state().answer.as_ref().is_some_and(reinpath::window::answer_view::AnswerView::has_text)
    });
    harness.get_by_label("Stop").click();
    until(&mut harness, "the stop", |_| !script.stopped().is_empty());
    script.finish(Stop::Cancelled);
    until(&mut harness, "the end", |app| !app.state().is_asking());
    harness.get_by_label("Stopped. What was written is kept.");
    harness.get_by_label(OBSERVATION);
}

#[test]
fn a_worker_that_dies_leaves_its_words_and_the_next_question_works() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut harness = asked(folder.path(), &script);
    script.write(AnswerStage::Observation, OBSERVATION);
    script.say(AskEvent::Failed { error: "The model's process ended (killed by signal 9)".to_owned() });
    until(&mut harness, "the failure", |app| !app.state().is_asking());
    harness.get_by_label_contains("killed by signal 9");
    harness.get_by_label(OBSERVATION);
    harness.get_by_label("Again").click();
    until(&mut harness, "the second question", |app| app.state().is_asking());
    script.write(AnswerStage::Conclusion, CONCLUSION);
    script.finish(Stop::End);
    until(&mut harness, "the end", |app| !app.state().is_asking());
    assert_eq!(script.orders().len(), 2);
    harness.get_by_label(CONCLUSION);
}

fn patches(harness: &egui_kittest::Harness<'_, reinpath::window::App>) -> usize {
    harness.state().state().shown_slide().unwrap().patches.places().len()
}

#[test]
fn escape_is_for_the_rectangle_and_the_menu_before_it_stops_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut harness = asked(folder.path(), &script);
    let (from, to) = (viewer(&harness).center(), viewer(&harness).center() - vec2(200.0, 150.0));
    harness.hover_at(from);
    harness.step();
    harness.drag_at(from);
    harness.step();
    harness.hover_at(to);
    harness.step();
    harness.key_press(Key::Escape);
    harness.step();
    harness.drop_at(to);
    harness.step();
    harness.step();
    assert_eq!((patches(&harness), harness.state().state().tool), (1, Tool::Patch), "no rectangle was drawn");

    harness.get_by_label("Templates").click();
    harness.run_ok();
    harness.get_by_label("General");
    harness.key_press(Key::Escape);
    harness.run_ok();
    assert!(harness.query_by_label("General").is_none(), "the menu is closed");
    assert!(script.stopped().is_empty(), "the answer goes on");
    harness.key_press(Key::Escape);
    until(&mut harness, "the stop", |_| !script.stopped().is_empty());
}

#[test]
fn a_rectangle_may_end_over_the_overview() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut harness = asked(folder.path(), &script);
    harness.get_by_label("100 %").click();
    harness.run_ok();
    let (from, overview) = (viewer(&harness).center(), harness.get_by_label("Overview of the slide").rect());
    drag(&mut harness, from, overview.center() - from);
    assert_eq!(patches(&harness), 2);
}

#[derive(Debug)]
struct Dropped(PathBuf);

impl egui::DroppedFile for Dropped {
    fn path(&self) -> &Path {
        &self.0
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        Err("the window reads no bytes itself".to_owned())
    }
}

#[test]
fn a_file_that_is_no_slide_is_named_and_the_window_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("notes.txt");
    std::fs::write(&bad, "not a slide").unwrap();
    let script = Script::default();
    let mut harness = window(Vec::new(), vec![draw_slide(folder.path())], &script);
    harness.step();
    harness.get_by_label("Accept and continue").click();
    harness.run_ok();
    harness.input_mut().dropped_files.push(Arc::new(Dropped(bad)));
    until(&mut harness, "the refusal", |app| {
        matches!(app.state().shown_slide().map(|slide| &slide.status), Some(SlideStatus::Failed { .. }))
    });
    harness.run_ok();
    harness.get_by_label("notes.txt could not be opened");
    harness.get_by_label("Try again");
    harness.get_by_label("Copy message");
    harness.get_by_label("Close").click();
    harness.run_ok();
    harness.get_by_label("Open slide…").click();
    until_drawn(&mut harness);
}

#[test]
fn the_slide_is_moved_magnified_and_its_patches_undone() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut harness = window(vec![draw_slide(folder.path())], Vec::new(), &script);
    pass_notice(&mut harness);
    let screen = viewer(&harness);
    let view = |harness: &egui_kittest::Harness<'_, reinpath::window::App>| {
        harness.state().state().shown_slide().unwrap().viewport.unwrap()
    };

    harness.get_by_label("100 %").click();
    harness.run_ok();
    until_drawn(&mut harness);
    assert!((view(&harness).slide_per_point - 1.0).abs() < 1e-9);
    drag(&mut harness, screen.center(), vec2(100.0, 50.0));
    assert_eq!(
        view(&harness).centre,
        (500.0, 400.0),
        "the slide follows the pointer, from where it was grabbed"
    );

    // Magnified where the pointer is.
    let pointer = screen.center() + vec2(60.0, -40.0);
    let under = view(&harness).slide_from_screen(screen, pointer);
    harness.hover_at(pointer);
    harness.step();
    harness.event(egui::Event::MouseWheel {
        unit: egui::MouseWheelUnit::Line,
        delta: vec2(0.0, 2.0),
        phase: egui::TouchPhase::Move,
        modifiers: Modifiers::NONE,
        source: egui::MouseWheelSource::Wheel,
    });
    for _ in 0..30 {
        harness.step();
    }
    let after = view(&harness);
    assert!(after.slide_per_point < 0.8, "{}", after.slide_per_point);
    let still_under = after.slide_from_screen(screen, pointer);
    assert!((under.0 - still_under.0).hypot(under.1 - still_under.1) < 0.5, "{under:?} {still_under:?}");

    harness.key_press(Key::Num0);
    harness.run_ok();
    harness.key_press(Key::P);
    harness.run_ok();
    // A rectangle of about 3 × 1 squares is offered to be split.
    let scale = view(&harness).slide_per_point as f32;
    drag(&mut harness, screen.center() - vec2(336.0, 112.0) / scale, vec2(672.0, 224.0) / scale);
    assert_eq!(patches(&harness), 1);
    // The patch's thumbnail, when it comes, moves the button between being found and being clicked.
    let begun = std::time::Instant::now();
    while patches(&harness) != 3 {
        assert!(begun.elapsed().as_secs() < 30, "the rectangle is not split");
        harness.run_ok();
        if let Some(button) = harness.query_by_label("Split into 3") {
            button.click();
        }
        harness.run_ok();
    }
    harness.key_press(Key::Delete);
    harness.run_ok();
    assert_eq!(patches(&harness), 2);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Z);
    harness.run_ok();
    assert_eq!(patches(&harness), 3);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Z);
    harness.run_ok();
    assert_eq!(patches(&harness), 1);
    harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::Z);
    harness.run_ok();
    assert_eq!(patches(&harness), 3);
}
