//! Conversations: what is asked after an answer, beside it, and again in the next window.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use egui::{Key, Modifiers, Role, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use reinpath::case::{self, Answer, OpenCase};
use reinpath::window::App;
use reinpath::window::command::{Command, ViewCommand};
use reinpath::window::read::views::ViewsCommand;
use reinpath::window::read::{ReadCommand, ReadPlaces, Side};
use reinpath::window::review::ReviewCommand;
use reinpath::window::review::cases::{CasesCommand, CasesState};
use reinpath::window::state::Tool;
use reinpath_model::event::Stop;
use reinpath_model::stage::AnswerStage;

use super::support::{
    Script, click_at, draw_slide, pass_notice, until, until_drawn, viewer, window, window_from,
};

const QUESTION: &str = "What is seen?";

fn cases<'a>(harness: &'a Harness<'_, App>) -> &'a CasesState {
    &harness.state().state().review.cases
}

fn open<'a>(harness: &'a Harness<'_, App>) -> &'a OpenCase {
    cases(harness).open.as_ref().unwrap()
}

fn wish(harness: &mut Harness<'_, App>, wish: CasesCommand) {
    harness.state().commands().review(ReviewCommand::Cases(wish));
    harness.step();
    harness.step();
}

fn side(harness: &mut Harness<'_, App>, side: Side) {
    harness.state().commands().read(ReadCommand::Side(side));
    harness.step();
    harness.step();
}

/// Past the notice, with so many patches ticked and a question typed.
fn prepare(harness: &mut Harness<'_, App>, patches: u8) {
    pass_notice(harness);
    harness.key_press(Key::P);
    harness.step();
    let middle = viewer(harness).center();
    for n in 0..patches {
        click_at(harness, middle + vec2(f32::from(n) * 240.0 - 120.0, 40.0));
    }
    harness.state().commands().send(Command::Tool(Tool::Pan));
    harness.get_by_label("Question").focus();
    harness.step();
    harness.get_by_label("Question").type_text(QUESTION);
    harness.run_ok();
}

fn ready(folder: &Path, script: &Script, patches: u8) -> Harness<'static, App> {
    let mut harness = window(vec![draw_slide(folder)], Vec::new(), script);
    prepare(&mut harness, patches);
    harness
}

/// Waits until the model has so many orders, and answers the last with one sentence.
fn answer(harness: &mut Harness<'_, App>, script: &Script, orders: usize, words: &str) {
    until(harness, "the question to be asked", |app| {
        script.orders().len() == orders && app.state().is_asking()
    });
    script.write(AnswerStage::Observation, words);
    script.finish(Stop::End);
    until(harness, "the answer's end", |app| {
        let open = app.state().review.cases.open.as_ref();
        open.is_some_and(|open| open.answers.values().any(|answer| answer.text().observation == words))
    });
}

fn press(harness: &mut Harness<'_, App>, button: &str) {
    // Wherever it stands on the scrolled panel.
    harness.get_by_role_and_label(Role::Button, button).click_accesskit();
    harness.step();
    harness.step();
}

/// The observation of the answer that the conversation is at.
fn in_view(harness: &Harness<'_, App>) -> String {
    let kept = cases(harness).shown.as_ref().and_then(|id| open(harness).answers.get(id));
    let kept = kept.map(|answer: &Arc<Answer>| answer.text().observation);
    kept.or_else(|| harness.state().state().answer.as_ref().map(|live| live.text.observation.clone()))
        .unwrap()
}

#[test]
fn a_conversation_of_three_is_led_by_the_panel_and_walked_by_keys() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut harness = ready(folder.path(), &script, 1);
    press(&mut harness, "Ask");
    answer(&mut harness, &script, 1, "Glands.");
    press(&mut harness, "Follow up");
    answer(&mut harness, &script, 2, "Stroma.");
    harness.get_by_label("Give the model the conversation so far").click();
    harness.run_ok();
    press(&mut harness, "Follow up");
    answer(&mut harness, &script, 3, "Mucin.");
    let orders = script.orders();
    assert!(orders[1].how.history.is_empty(), "only where it is wanted");
    let told: Vec<_> = orders[2].how.history.iter().map(|one| one.answer.as_str()).collect();
    assert_eq!(told, ["[Observation]\nGlands.", "[Observation]\nStroma."]);
    harness.get_by_label("2. What is seen?");
    for (key, seen) in [(Key::ArrowUp, "Stroma."), (Key::ArrowUp, "Glands."), (Key::ArrowDown, "Stroma.")] {
        harness.key_press_modifiers(Modifiers::ALT, key);
        harness.run_ok();
        assert_eq!(in_view(&harness), seen);
    }
    harness.get_by_label("1. What is seen?").click();
    harness.run_ok();
    assert_eq!(in_view(&harness), "Glands.");
    press(&mut harness, "New case");
    assert!(cases(&harness).open.is_none());
}

#[test]
fn an_answer_is_asked_for_once_more_and_its_question_edited_and_the_branches_walked() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut harness = ready(folder.path(), &script, 1);
    press(&mut harness, "Ask");
    answer(&mut harness, &script, 1, "Glands.");
    harness.key_press_modifiers(Modifiers::COMMAND, Key::J);
    answer(&mut harness, &script, 2, "Stroma.");
    harness.get_by_label("2 of 2");
    press(&mut harness, "Edit question");
    harness.get_by_label("Question").focus();
    harness.step();
    harness.get_by_label("Question").type_text(" Look again.");
    harness.run_ok();
    press(&mut harness, "Ask edited");
    answer(&mut harness, &script, 3, "Mucin.");
    let edited = &script.orders()[2];
    assert!(edited.text.question.contains(QUESTION) && edited.text.question.contains("Look again."));
    assert_eq!(edited.regions, script.orders()[0].regions);
    harness.get_by_label("3 of 3");
    for (key, seen) in
        [(Key::OpenBracket, "Stroma."), (Key::OpenBracket, "Glands."), (Key::CloseBracket, "Stroma.")]
    {
        harness.key_press(key);
        harness.run_ok();
        assert_eq!(in_view(&harness), seen);
    }
    harness.get_by_label("2 of 3");
    assert_eq!(open(&harness).questions.len(), 2);
}

#[test]
fn samples_lie_side_by_side_with_what_differs_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut harness = ready(folder.path(), &script, 1);
    press(&mut harness, "Ask");
    answer(&mut harness, &script, 1, "Glands.");
    press(&mut harness, "3 samples");
    answer(&mut harness, &script, 2, "Large nuclei.");
    answer(&mut harness, &script, 3, "Small nuclei.");
    answer(&mut harness, &script, 4, "Large nuclei. ");
    harness.run_ok();
    harness.get_by_label("Side by side");
    harness.get_by_label("Observation: 1 word differs.");
    harness.get_by_label("Observation: the same words.");
    assert_eq!(in_view(&harness), "Glands.", "what is in view stays");
    harness.render().unwrap();
    harness.get_by_label("Answer 2").click();
    harness.run_ok();
    assert_eq!(in_view(&harness), "Small nuclei.");
    press(&mut harness, "Close comparison");
    assert!(harness.query_by_label("Side by side").is_none());
}

#[test]
fn two_patches_are_asked_about_apart_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut harness = ready(folder.path(), &script, 2);
    press(&mut harness, "Ask");
    answer(&mut harness, &script, 1, "Both.");
    press(&mut harness, "Compare patches");
    answer(&mut harness, &script, 2, "Glands.");
    answer(&mut harness, &script, 3, "Stroma.");
    let orders = script.orders();
    assert_eq!((orders[0].regions.len(), orders[1].regions.len(), orders[2].regions.len()), (2, 1, 1));
    assert_ne!(orders[1].regions, orders[2].regions);
    harness.run_ok();
    harness.get_by_label("Answer about patch 1");
    harness.get_by_label("Answer about patch 2");
}

#[test]
fn escape_stops_the_answer_and_what_waits_for_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut harness = ready(folder.path(), &script, 1);
    press(&mut harness, "Ask");
    answer(&mut harness, &script, 1, "Glands.");
    press(&mut harness, "5 samples");
    until(&mut harness, "the first sample", |app| app.state().is_asking());
    assert_eq!(cases(&harness).queue.len(), 4);
    harness.key_press(Key::Escape);
    until(&mut harness, "the stop", |_| !script.stopped().is_empty());
    script.finish(Stop::Cancelled);
    until(&mut harness, "the end", |app| !app.state().is_asking());
    assert_eq!((cases(&harness).queue.len(), script.orders().len()), (0, 2));
}

fn places(folder: &Path) -> ReadPlaces {
    let data = folder.join("data");
    ReadPlaces {
        store: Some(data.join("store.sqlite")),
        patches: Some(data.join("patches")),
        ..ReadPlaces::default()
    }
}

fn until_listed(harness: &mut Harness<'_, App>, count: usize) {
    until(harness, "the list of cases", |app| {
        app.state().review.cases.list.as_ref().is_some_and(|list| list.len() == count)
    });
}

#[test]
fn a_case_is_there_again_in_the_next_window_with_its_patches_and_its_view() {
    let folder = tempfile::tempdir().unwrap();
    let places = places(folder.path());
    let (region, viewport, pixels);
    {
        let script = Script::default();
        let slide = draw_slide(folder.path());
        let mut harness = window_from(vec![slide], &script, None, places.clone());
        prepare(&mut harness, 1);
        harness.state().commands().view(ViewCommand::Scale(1.0, 1.0));
        harness.state().commands().view(ViewCommand::LookAt((500.0, 400.0)));
        harness.step();
        press(&mut harness, "Ask");
        answer(&mut harness, &script, 1, "Cribriform glands.");
        until(&mut harness, "the patch to be kept", |app| {
            let open = app.state().review.cases.open.as_ref();
            let mut questions = open.into_iter().flat_map(|open| open.questions.values());
            questions.any(|question| question.patches.iter().all(|patch| patch.pixels.is_some()))
        });
        let question = open(&harness).questions.values().next().unwrap();
        pixels = question.patches[0].pixels.clone().unwrap();
        region = question.patches[0].region();
        viewport = harness.state().state().shown_slide().unwrap().viewport.unwrap();
        // Closed at once: the answer is kept on the way out.
    }
    let picture = case::patch_file(places.patches.as_ref().unwrap(), &pixels);
    assert_eq!(image::open(picture).unwrap().width(), 224);

    let mut harness = window_from(Vec::new(), &Script::default(), None, places);
    harness.step();
    harness.get_by_label("Accept and continue").click();
    harness.run_ok();
    side(&mut harness, Side::Cases);
    until_listed(&mut harness, 1);
    // Words of the answer find it, others do not.
    for (words, count) in [("none such", 0), ("cribriform", 1)] {
        harness.state().commands().review(ReviewCommand::Cases(CasesCommand::Search(words.to_owned())));
        until_listed(&mut harness, count);
    }
    harness.run_ok();
    harness.get_by_label_contains("Case What is seen?").click();
    until(&mut harness, "the case", |app| app.state().review.cases.open.is_some());
    until(&mut harness, "its patches", |app| {
        app.state().shown_slide().is_some_and(|slide| !slide.patches.places().is_empty())
    });
    until_drawn(&mut harness);
    let slide = harness.state().state().shown_slide().unwrap();
    assert_eq!(slide.patches.places()[0].region, region);
    assert!(slide.patches.places()[0].in_question);
    assert_eq!(slide.viewport.unwrap().centre, viewport.centre);
    assert!((slide.viewport.unwrap().slide_per_point - viewport.slide_per_point).abs() < 1e-9);
    assert_eq!(in_view(&harness), "Cribriform glands.");
    harness.get_by_label("Once more");
}

#[test]
fn typing_into_the_search_field_lists_what_it_finds() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut harness = ready(folder.path(), &script, 1);
    press(&mut harness, "Ask");
    answer(&mut harness, &script, 1, "Cribriform glands.");
    side(&mut harness, Side::Cases);
    until_listed(&mut harness, 1);
    harness.get_by_label("Search cases").focus();
    harness.step();
    harness.get_by_label("Search cases").type_text("mucin");
    until_listed(&mut harness, 0);
    harness.get_by_label("None found.");
    assert_eq!(cases(&harness).search, "mucin");
}

#[test]
fn a_blinded_list_names_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut harness = ready(folder.path(), &script, 1);
    press(&mut harness, "Ask");
    answer(&mut harness, &script, 1, "Glands.");
    side(&mut harness, Side::Cases);
    until_listed(&mut harness, 1);
    harness.run_ok();
    assert!(harness.query_all_by_label_contains("quarters.png · 1 answer").next().is_some());
    harness.state().commands().read(ReadCommand::Views(ViewsCommand::Blinded(true)));
    harness.run_ok();
    assert!(harness.query_all_by_label_contains("slide hidden · 1 answer").next().is_some());
    assert!(harness.query_by_label_contains("quarters.png").is_none());
}

#[test]
fn an_answer_that_cannot_be_saved_is_said_and_kept_until_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let (script, places) = (Script::default(), places(folder.path()));
    let slide = draw_slide(folder.path());
    let mut harness = window_from(vec![slide], &script, None, places.clone());
    prepare(&mut harness, 1);
    side(&mut harness, Side::Cases);
    until_listed(&mut harness, 0);
    side(&mut harness, Side::Ask);
    let other = rusqlite::Connection::open(places.store.unwrap()).unwrap();
    other.busy_timeout(Duration::from_secs(20)).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    press(&mut harness, "Ask");
    answer(&mut harness, &script, 1, "Glands.");
    until(&mut harness, "the refusal", |app| app.state().review.cases.not_kept.is_some());
    harness.get_by_label_contains("Another program holds the store");
    assert_eq!(in_view(&harness), "Glands.");
    other.execute_batch("COMMIT").unwrap();
    until(&mut harness, "the save", |app| app.state().review.cases.not_kept.is_none());
    until(&mut harness, "the answer in the file", |_| {
        let count = other.query_row("SELECT count(*) FROM answer", [], |row| row.get::<_, i64>(0));
        count.is_ok_and(|count| count == 1)
    });
    wish(&mut harness, CasesCommand::Refresh);
    until_listed(&mut harness, 1);
}
