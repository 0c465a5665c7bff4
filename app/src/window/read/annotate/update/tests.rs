//! Wishes and news in, state and effects out: no egui context, no threads.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::annotation::set::AnnotationSet;
use crate::slide::{Mpp, SlideInfo};
use crate::viewer::tile_plan::tests::slide;
use crate::window::read;
use crate::window::read::annotate::AnnotateEvent;
use crate::window::state::{SlideStatus, SlideTab};

const KEY: SlideKey = SlideKey(7);

/// A window with one open slide, with a store or without.
fn with_slide(has_store: bool) -> AppState {
    let mut state = AppState::default();
    state.read.places.store = has_store.then(|| "store.sqlite".into());
    let info = SlideInfo { hash: "h".to_owned(), mpp: Some(Mpp { x: 0.5, y: 0.5 }), ..slide() };
    let mut tab = SlideTab::new(KEY, "a.svs".into());
    tab.status = SlideStatus::Open { info: Arc::new(info) };
    state.slides.push(tab);
    state.shown = Some(KEY);
    let effects = opened(&mut state, KEY);
    assert_eq!(effects.len(), usize::from(has_store), "{effects:?}");
    state
}

fn point(x: f64) -> Box<Annotation> {
    Box::new(Annotation::new(Geometry::Points(vec![[x, 1.0]]), Form::Plain))
}

fn add(state: &mut AppState, x: f64) -> Vec<Effect> {
    command(state, AnnotateCommand::Add(point(x)))
}

fn annotations(state: &AppState) -> &SlideAnnotations {
    state.read.annotate.of(KEY).unwrap()
}

#[test]
fn what_is_drawn_is_selected_meshed_and_saved_under_the_slides_hash() {
    let mut state = with_slide(true);
    event(&mut state, AnnotateEvent::Loaded { hash: "h".to_owned(), set: Box::default() });
    command(&mut state, AnnotateCommand::UseClass(Some(Class { name: "Tumor".to_owned(), rgb: [1, 2, 3] })));
    let effects = add(&mut state, 5.0);
    let of_slide = annotations(&state);
    let (place, kept) = of_slide.selected().unwrap();
    assert_eq!(kept.class.as_ref().unwrap().name, "Tumor");
    let now = vec![(place, Some(Arc::clone(kept)))];
    let slide = SlideId { hash: "h".to_owned(), name: "a.svs".to_owned() };
    assert_eq!(
        effects,
        [
            of(AnnotateEffect::Mesh { hash: "h".to_owned(), revision: 1, kept: now.clone() }),
            of(AnnotateEffect::Save { slide, kept: now }),
        ]
    );
    assert!(!of_slide.is_saved && of_slide.fresh.contains_key(&place));
    event(&mut state, AnnotateEvent::Saved);
    let (hash, rows) = ("h".to_owned(), Arc::new(vec![place]));
    event(&mut state, AnnotateEvent::Meshed { hash, revision: 1, chunks: Vec::new(), rows });
    assert!(annotations(&state).is_saved && annotations(&state).fresh.is_empty());
}

#[test]
fn blinded_reading_keeps_the_files_name_from_the_store() {
    let mut state = with_slide(true);
    event(&mut state, AnnotateEvent::Loaded { hash: "h".to_owned(), set: Box::default() });
    state.settings.read.is_blinded = true;
    let effects = add(&mut state, 5.0);
    let is_nameless = |effect: &Effect| matches!(effect, Effect::Read(ReadEffect::Annotate(AnnotateEffect::Save { slide, .. })) if slide.name.is_empty());
    assert!(effects.iter().any(is_nameless), "{effects:?}");
}

#[test]
fn wishes_wait_until_the_store_was_read() {
    let mut state = with_slide(true);
    assert!(add(&mut state, 1.0).is_empty() && add(&mut state, 2.0).is_empty());
    assert!(annotations(&state).set.is_empty());
    let all = BTreeMap::from([(1, Arc::new(*point(9.0)))]);
    let set = Box::new(AnnotationSet::of(all, 1));
    // Another slide, or none, is in view by now.
    state.shown = None;
    let effects = event(&mut state, AnnotateEvent::Loaded { hash: "h".to_owned(), set });
    assert_eq!(effects.len(), 4, "each is meshed and saved");
    assert_eq!(annotations(&state).set.all().keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(state.shown, None);
}

#[test]
fn what_cannot_be_read_is_said_and_nothing_of_that_slide_is_saved() {
    let mut state = with_slide(true);
    let sentence = "It was written by a newer version: store.sqlite".to_owned();
    event(&mut state, AnnotateEvent::NotLoaded { hash: "h".to_owned(), sentence: sentence.clone() });
    assert_eq!(state.problems[0].sentence, sentence);
    assert_eq!(add(&mut state, 1.0).len(), 1, "it is drawn and not saved");
    assert_eq!(annotations(&state).set.len(), 1);
}

#[test]
fn undo_redo_and_delete_walk_through_what_was_drawn() {
    let mut state = with_slide(false);
    for x in [1.0, 2.0] {
        add(&mut state, x);
    }
    assert!(super::super::owns_edit_keys(&state));
    command(&mut state, AnnotateCommand::RemoveSelected);
    assert_eq!((annotations(&state).set.len(), annotations(&state).selected), (1, None));
    for count in [2, 1, 0, 0] {
        command(&mut state, AnnotateCommand::Undo);
        assert_eq!(annotations(&state).set.len(), count);
    }
    for count in [1, 2, 1, 1] {
        command(&mut state, AnnotateCommand::Redo);
        assert_eq!(annotations(&state).set.len(), count);
    }
    command(&mut state, AnnotateCommand::Select(None));
    assert!(!super::super::owns_edit_keys(&state), "the keys are the patches' again");
}

#[test]
fn what_is_locked_is_not_deleted_by_the_key() {
    let mut state = with_slide(false);
    let mut locked = point(1.0);
    locked.is_locked = true;
    command(&mut state, AnnotateCommand::Add(locked));
    assert!(command(&mut state, AnnotateCommand::RemoveSelected).is_empty());
    assert_eq!(annotations(&state).set.len(), 1);
}

#[test]
fn while_a_shape_is_drawn_undo_and_delete_take_its_corners_back() {
    let mut state = with_slide(false);
    add(&mut state, 1.0);
    command(&mut state, AnnotateCommand::Drawing(true));
    assert!(command(&mut state, AnnotateCommand::Undo).is_empty());
    assert!(command(&mut state, AnnotateCommand::RemoveSelected).is_empty());
    assert_eq!((state.read.annotate.steps_back, annotations(&state).set.len()), (2, 1));
    command(&mut state, AnnotateCommand::Drawing(false));
    command(&mut state, AnnotateCommand::Undo);
    assert!(annotations(&state).set.is_empty());
}

#[test]
fn the_counter_counts_inside_the_field_placed_last_and_each_click_is_undone_alone() {
    let mut state = with_slide(false);
    let field = Annotation::new(edit::rectangle([0.0, 0.0], [2000.0, 2000.0]), Form::Rectangle);
    command(&mut state, AnnotateCommand::AddField(Box::new(field)));
    for place in [[10.0, 10.0], [20.0, 20.0], [5000.0, 10.0]] {
        command(&mut state, AnnotateCommand::Count(place));
    }
    assert_eq!(annotations(&state).count(), Some((2, 4e6)), "the third is outside");
    assert_eq!(annotations(&state).set.len(), 2);
    command(&mut state, AnnotateCommand::Undo);
    command(&mut state, AnnotateCommand::Undo);
    assert_eq!(annotations(&state).count(), Some((1, 4e6)));
    let another = Annotation::new(edit::rectangle([0.0, 0.0], [20.0, 20.0]), Form::Rectangle);
    command(&mut state, AnnotateCommand::AddField(Box::new(another)));
    assert_eq!(annotations(&state).count(), None, "another field, another count");
}

#[test]
fn many_are_changed_by_a_thread_and_wishes_wait_for_it() {
    let mut state = with_slide(false);
    let effects = command(&mut state, AnnotateCommand::Import("a.geojson".into()));
    assert!(matches!(
        &effects[..],
        [Effect::Read(ReadEffect::Annotate(AnnotateEffect::Bulk { revision: 0, .. }))]
    ));
    assert!(add(&mut state, 1.0).is_empty());
    let altered: Vec<Altered> = (1..=1500)
        .map(|n| Altered { place: n, before: None, after: Some(Arc::new(*point(n as f64))) })
        .collect();
    let all = altered.iter().map(|altered| (altered.place, altered.after.clone().unwrap())).collect();
    let set = Box::new(AnnotationSet::of(all, 1));
    let change = Arc::new(Change { altered });
    let news = Some("1500 annotations imported".to_owned());
    let rebuilt =
        AnnotateEvent::Rebuilt { hash: "h".to_owned(), set, change, is_new: true, news: news.clone() };
    event(&mut state, rebuilt);
    assert_eq!((annotations(&state).set.len(), &state.read.annotate.news), (1501, &news));
    command(&mut state, AnnotateCommand::Undo);
    assert_eq!(annotations(&state).set.len(), 1500);
    let effects = command(&mut state, AnnotateCommand::Undo);
    assert!(annotations(&state).is_busy, "undoing so many is a thread's work: {effects:?}");
    event(&mut state, AnnotateEvent::Failed { hash: "h".to_owned(), sentence: "no".to_owned() });
    assert!(!annotations(&state).is_busy);
}

#[test]
fn annotations_of_a_closed_slide_stay_only_where_they_are_nowhere_else() {
    let mut state = with_slide(false);
    add(&mut state, 1.0);
    assert!(closed(&mut state, KEY).is_empty());
    opened(&mut state, KEY);
    assert_eq!(annotations(&state).set.len(), 1, "without a store they live as long as the window");

    let mut state = with_slide(true);
    event(&mut state, AnnotateEvent::Loaded { hash: "h".to_owned(), set: Box::default() });
    add(&mut state, 1.0);
    assert!(closed(&mut state, KEY).is_empty(), "not saved yet");
    opened(&mut state, KEY);
    event(&mut state, AnnotateEvent::Saved);
    assert_eq!(closed(&mut state, KEY), [of(AnnotateEffect::Forget { hash: "h".to_owned() })]);
    assert!(state.read.annotate.slides.is_empty());
}

#[test]
fn only_areas_of_the_selected_annotation_are_given_to_others() {
    let mut state = with_slide(false);
    assert!(read::annotate::selected_polygons(&state).is_empty());
    let area = Annotation::new(edit::rectangle([0.0, 0.0], [20.0, 10.0]), Form::Rectangle);
    command(&mut state, AnnotateCommand::Add(Box::new(area)));
    assert_eq!(read::annotate::selected_polygons(&state)[0].area(), 200.0);
    add(&mut state, 1.0);
    assert!(read::annotate::selected_polygons(&state).is_empty());
}
