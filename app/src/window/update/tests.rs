//! Commands and events in, state and effects out: no egui context, no threads.

use std::path::Path;
use std::sync::Arc;

use egui::{Rect, pos2, vec2};
use reinpath_model::event::AskEvent;
use reinpath_model::stage::AnswerStage;

use super::super::answer_view::tests::token;
use super::super::command::{AskCommand, PatchCommand, ViewCommand};
use super::super::event::TileFailure;
use super::super::patches::PatchPicture;
use super::super::state::tests_support::model;
use super::super::state::{ModelInfo, PackageState, Tool};
use super::*;
use crate::slide::{Mpp, TileId};
use crate::viewer::tile_plan::tests::slide;

/// A window with one open slide of 4096 × 3000 px at 0.5 µm/px and a known package.
fn with_slide() -> (AppState, SlideKey) {
    let viewer = Rect::from_min_size(pos2(220.0, 36.0), vec2(800.0, 600.0));
    let mut state = AppState { viewer: Some(viewer), ..AppState::default() };
    state.model.package = PackageState::Known(Arc::new(model()));
    command(&mut state, Command::Open("a.svs".into()));
    let key = state.shown.unwrap();
    opened(&mut state, key, half_micron());
    (state, key)
}

/// A slide of 4096 × 3000 px at 0.5 µm/px.
fn half_micron() -> SlideInfo {
    SlideInfo { mpp: Some(Mpp { x: 0.5, y: 0.5 }), ..slide() }
}

fn place(state: &mut AppState, x: f64, y: f64) -> Vec<Effect> {
    command(state, Command::Patch(PatchCommand::PlaceSquare((x, y))))
}

fn question() -> QuestionText {
    QuestionText { question: "What is seen?".to_owned(), ..QuestionText::default() }
}

/// What goes to the model; what is kept of it is `review::cases`'s, and tested there.
fn asked(effects: Vec<Effect>) -> Vec<Effect> {
    effects.into_iter().filter(|effect| matches!(effect, Effect::Ask(_))).collect()
}

fn ask(state: &mut AppState, text: QuestionText) -> Vec<Effect> {
    asked(command(state, Command::Ask(AskCommand::Ask(Box::new(text)))))
}

fn again(state: &mut AppState) -> Vec<Effect> {
    asked(command(state, Command::Ask(AskCommand::Again)))
}

#[test]
fn a_path_is_opened_once_and_shown() {
    let mut state = AppState::default();
    let effects = command(&mut state, Command::Open("a.svs".into()));
    let key = state.shown.unwrap();
    assert_eq!(effects, [Effect::OpenSlide { key, path: "a.svs".into() }]);
    command(&mut state, Command::Open("b.svs".into()));
    assert!(command(&mut state, Command::Open("a.svs".into())).is_empty());
    assert_eq!((state.slides.len(), state.shown), (2, Some(key)));
    command(&mut state, Command::ShowNext(-1));
    assert_eq!(state.shown_slide().map(|slide| slide.path.as_path()), Some(Path::new("b.svs")));
}

#[test]
fn closing_shows_the_neighbour_and_late_news_of_it_is_ignored() {
    let mut state = AppState::default();
    for name in ["a", "b", "c"] {
        command(&mut state, Command::Open(name.into()));
    }
    let c = state.shown.unwrap();
    assert_eq!(command(&mut state, Command::CloseShown), [Effect::CloseSlide { key: c }]);
    assert_eq!(state.shown_slide().map(SlideTab::name), Some("b".to_owned()));
    event(&mut state, Event::SlideFailed { key: c, sentence: "late".to_owned() });
    assert_eq!(state.slides.len(), 2);
}

#[test]
fn a_failed_slide_can_be_tried_again() {
    let mut state = AppState::default();
    command(&mut state, Command::Open("bad.txt".into()));
    let key = state.shown.unwrap();
    event(&mut state, Event::SlideFailed { key, sentence: "This is a text: bad.txt".to_owned() });
    assert!(
        matches!(&state.slides[0].status, SlideStatus::Failed { sentence } if sentence.contains("a text"))
    );
    let effects = command(&mut state, Command::Retry(key));
    assert!(effects.contains(&Effect::OpenSlide { key, path: "bad.txt".into() }));
    assert!(matches!(state.slides[0].status, SlideStatus::Opening { .. }));
}

#[test]
fn a_patch_is_placed_read_and_warms_the_model_up() {
    let (mut state, key) = with_slide();
    let effects = place(&mut state, 1000.0, 1000.0);
    let placed = state.shown_slide().unwrap().patches.places()[0].clone();
    assert_eq!(placed.region, Region { x: 888, y: 888, w: 224, h: 224 });
    assert_eq!(effects, [Effect::ReadPatch { key, patch: placed.id, region: placed.region }, Effect::WarmUp]);
    assert!(place(&mut state, -5000.0, 0.0).is_empty(), "beside the slide there is nothing to mark");
    assert_eq!(state.shown_slide().unwrap().patches.places().len(), 1);
}

#[test]
fn without_a_package_a_patch_cannot_be_sized_and_the_reason_is_said_once() {
    let (mut state, _) = with_slide();
    state.model.package = PackageState::Failed("There is no package here: x".to_owned());
    assert!(place(&mut state, 1000.0, 1000.0).is_empty());
    place(&mut state, 1000.0, 1000.0);
    assert_eq!(state.problems.len(), 1);
    let id = state.problems[0].id;
    command(&mut state, Command::DismissProblem(id));
    assert!(state.problems.is_empty());
}

#[test]
fn a_large_rectangle_is_split_into_squares() {
    let (mut state, _) = with_slide();
    command(&mut state, Command::Patch(PatchCommand::DrawRectangle((100.0, 100.0), (548.0, 548.0))));
    let whole = state.shown_slide().unwrap().patches.places()[0].id;
    let effects = command(&mut state, Command::Patch(PatchCommand::Split(whole)));
    assert_eq!(effects.len(), 4);
    let patches = &state.shown_slide().unwrap().patches;
    assert!(patches.places().iter().all(|place| (place.region.w, place.region.h) == (224, 224)));
    command(&mut state, Command::Patch(PatchCommand::Undo));
    assert_eq!(state.shown_slide().unwrap().patches.places()[0].id, whole);
}

#[test]
fn what_hinders_a_question_is_said_with_what_to_do() {
    let mut empty = AppState::default();
    assert_eq!(obstacle(&empty, &question()), Some("Open a slide first.".to_owned()));
    empty.model.package = PackageState::Failed("There is no package here: x".to_owned());
    assert_eq!(obstacle(&empty, &question()), Some("There is no package here: x".to_owned()));
    let (mut state, _) = with_slide();
    assert!(obstacle(&state, &question()).is_some_and(|why| why.starts_with("Mark a patch")));
    assert!(ask(&mut state, question()).is_empty() && state.answer.is_none());
    place(&mut state, 1000.0, 1000.0);
    let blank = QuestionText { question: "  ".to_owned(), ..QuestionText::default() };
    assert!(obstacle(&state, &blank).is_some_and(|why| why.starts_with("Type a question")));
    let one = QuestionText { choices: vec!["a".to_owned()], ..question() };
    assert!(obstacle(&state, &one).is_some());
    assert_eq!(obstacle(&state, &question()), None);
    let only = state.shown_slide().unwrap().patches.places()[0].id;
    command(&mut state, Command::Patch(PatchCommand::InQuestion(only, false)));
    assert_eq!(obstacle(&state, &question()).as_deref(), Some(NO_PATCH_TICKED));
}

#[test]
fn a_question_is_asked_answered_stopped_and_asked_again() {
    let (mut state, key) = with_slide();
    place(&mut state, 1000.0, 1000.0);
    place(&mut state, 2000.0, 1000.0);
    let first = state.shown_slide().unwrap().patches.places()[0].id;
    command(&mut state, Command::Patch(PatchCommand::InQuestion(first, false)));
    let effects = ask(&mut state, question());
    let [Effect::Ask(order)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!((order.slide, order.regions.len()), (key, 1));
    let id = order.id;
    assert_eq!(state.answer.as_ref().map(|answer| answer.subject.words.as_str()), Some("a.svs, patch 2"));
    assert!(ask(&mut state, question()).is_empty(), "one at a time");
    for event_data in
        [AskEvent::Stage { stage: AnswerStage::Observation }, token(AnswerStage::Observation, "Glands")]
    {
        event(&mut state, Event::Ask { id, event: event_data });
    }
    event(&mut state, Event::Ask { id: id + 100, event: token(AnswerStage::Observation, "of another") });
    assert_eq!(state.answer.as_ref().unwrap().text.observation, "Glands");
    let effects = command(&mut state, Command::Ask(AskCommand::Stop));
    assert_eq!(effects, [Effect::StopAsking { id }]);
    event(&mut state, Event::Ask { id, event: AskEvent::Failed { error: "The worker ended".to_owned() } });
    assert!(!state.is_asking());
    assert_eq!(state.answer.as_ref().unwrap().text.observation, "Glands");
    assert!(matches!(again(&mut state).as_slice(), [Effect::Ask(_)]));
}

#[test]
fn again_asks_about_the_same_patches_of_the_same_slide() {
    let (mut state, key) = with_slide();
    place(&mut state, 1000.0, 1000.0);
    let first = state.shown_slide().unwrap().patches.places()[0].clone();
    let effects = ask(&mut state, question());
    let [Effect::Ask(order)] = effects.as_slice() else { panic!("{effects:?}") };
    let failed = |id| Event::Ask { id, event: AskEvent::Failed { error: "The worker ended".to_owned() } };
    event(&mut state, failed(order.id));
    // Another patch is ticked and another slide is shown meanwhile.
    command(&mut state, Command::Patch(PatchCommand::Remove(first.id)));
    place(&mut state, 2000.0, 1000.0);
    command(&mut state, Command::Open("b.svs".into()));
    let effects = again(&mut state);
    let [Effect::Ask(order)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!((order.slide, order.regions.as_slice()), (key, &[first.region][..]));
    event(&mut state, failed(order.id));
    command(&mut state, Command::Close(key));
    assert!(again(&mut state).is_empty());
    assert_eq!(
        state.problems[0].sentence,
        "Open the slide of the last question again to ask once more: a.svs"
    );
}

#[test]
fn a_slide_that_is_opened_again_has_its_view_and_patches_which_are_read_anew() {
    let (mut state, key) = with_slide();
    place(&mut state, 1000.0, 1000.0);
    let patch = state.shown_slide().unwrap().patches.places()[0].clone();
    command(&mut state, Command::View(ViewCommand::LookAtPatch(patch.id)));
    let viewport = state.shown_slide().unwrap().viewport;
    let failed = PatchPicture::Failed("The slide gave no answer".to_owned());
    event(&mut state, Event::PatchPicture { key, patch: patch.id, picture: failed });
    command(&mut state, Command::Retry(key));
    let read = Effect::ReadPatch { key, patch: patch.id, region: patch.region };
    assert_eq!(opened(&mut state, key, half_micron()), [read]);
    let slide = state.shown_slide().unwrap();
    assert!(slide.patches.picture(patch.id).is_none() && viewport.is_some());
    assert_eq!(slide.viewport, viewport);

    // The same after it was closed; but of another size it is another slide, and all of it is shown.
    command(&mut state, Command::CloseShown);
    command(&mut state, Command::Open("b.svs".into()));
    command(&mut state, Command::Open("a.svs".into()));
    let key = state.shown.unwrap();
    assert_eq!(state.shown_slide().unwrap().viewport, viewport);
    let mut larger = half_micron();
    larger.levels[0].width += 1;
    let read = Effect::ReadPatch { key, patch: patch.id, region: patch.region };
    assert_eq!(opened(&mut state, key, larger), [read]);
    assert!(state.shown_slide().unwrap().viewport.is_none() && state.last_closed.is_none());
}

#[test]
fn the_newest_unreadable_tile_is_named_until_it_is_dismissed() {
    let (mut state, key) = with_slide();
    for sentence in ["The slide gave no answer", "The slide cannot be read any more"] {
        let failure = TileFailure { sentence: sentence.to_owned(), may_pass: false };
        let tile = TileId { level: 0, column: 0, row: 0 };
        event(&mut state, Event::Tile { key, tile, pixels: Err(failure) });
        assert_eq!(state.shown_slide().unwrap().unreadable.as_deref(), Some(sentence));
    }
    command(&mut state, Command::DismissUnreadable(key));
    assert_eq!(state.shown_slide().unwrap().unreadable, None);
}

#[test]
fn a_drag_too_short_for_a_rectangle_places_the_square_at_its_middle() {
    let (mut state, _) = with_slide();
    command(&mut state, Command::Patch(PatchCommand::DrawRectangle((998.0, 1002.0), (1002.0, 998.0))));
    let placed = state.shown_slide().unwrap().patches.places()[0].region;
    assert_eq!(placed, Region { x: 888, y: 888, w: 224, h: 224 });
}

#[test]
fn escape_stops_an_answer_and_otherwise_leaves_the_patch_tool() {
    let (mut state, _) = with_slide();
    command(&mut state, Command::Tool(Tool::Patch));
    assert!(command(&mut state, Command::Ask(AskCommand::Stop)).is_empty());
    assert_eq!(state.tool, Tool::Pan);
}

#[test]
fn a_package_that_becomes_known_reads_the_patches_again() {
    let (mut state, key) = with_slide();
    place(&mut state, 1000.0, 1000.0);
    let effects = event(&mut state, Event::Package(Ok(Arc::new(model()))));
    assert!(matches!(effects.as_slice(), [Effect::ReadPatch { key: of, .. }] if *of == key));
}

#[test]
fn another_pixel_limit_is_remembered_shows_patches_anew_and_goes_with_the_next_question() {
    let (mut state, key) = with_slide();
    place(&mut state, 1000.0, 1000.0);
    let limit = |pixels| Command::Ask(AskCommand::MaxPixels(pixels));
    // Nothing is read anew: this model makes a square of every patch.
    let effects = command(&mut state, limit(200_704));
    let [Effect::SaveSettings(settings)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(settings.max_pixels, Some(200_704));
    assert_eq!(state.max_pixels(), None);
    event(&mut state, Event::Package(Ok(Arc::new(ModelInfo::scripted_vision("vision")))));
    assert_eq!(state.max_pixels(), Some(200_704));
    let effects = command(&mut state, limit(401_408));
    let [Effect::SaveSettings(_), Effect::ReadPatch { key: of, .. }] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(*of, key);
    let effects = ask(&mut state, question());
    let [Effect::Ask(order)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(order.how.max_pixels, Some(401_408));
}

#[test]
fn the_view_moves_only_when_asked() {
    let (mut state, _) = with_slide();
    assert!(state.shown_slide().unwrap().viewport.is_none(), "fitted until somebody moves it");
    command(&mut state, Command::View(ViewCommand::Scale(1.0, 2.0)));
    let viewport = state.shown_slide().unwrap().viewport.unwrap();
    assert!((viewport.slide_per_point - 2.0).abs() < 1e-9, "a level-0 pixel a physical pixel, two a point");
    place(&mut state, 100.0, 100.0);
    assert_eq!(state.shown_slide().unwrap().viewport, Some(viewport));
    let id = state.shown_slide().unwrap().patches.places()[0].id;
    command(&mut state, Command::View(ViewCommand::LookAtPatch(id)));
    assert_eq!(state.shown_slide().unwrap().viewport.unwrap().centre, (100.0, 100.0));
}

#[test]
fn settings_are_saved_when_they_change() {
    let mut state = AppState::default();
    let effects = command(&mut state, Command::AcceptNotice);
    assert_eq!(effects, [Effect::SaveSettings(Settings { notice_accepted: true, ..Settings::default() })]);
    command(&mut state, Command::ToggleTheme);
    assert!(!state.settings.dark && state.settings.notice_accepted);
}

#[test]
fn a_second_dialog_is_not_opened_over_the_first() {
    let mut state = AppState::default();
    assert_eq!(command(&mut state, Command::PickSlides), [Effect::PickSlides]);
    assert!(command(&mut state, Command::PickSlides).is_empty());
    let effects = event(&mut state, Event::Picked(vec!["a.svs".into()]));
    assert!(matches!(effects.as_slice(), [Effect::OpenSlide { .. }]) && !state.picking);
}
