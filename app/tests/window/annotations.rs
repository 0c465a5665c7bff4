//! Drawing, measuring, importing and keeping annotations.

use std::path::PathBuf;

use egui::{Key, Modifiers, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use reinpath::annotation::{Form, Geometry, geojson};
use reinpath::window::App;
use reinpath::window::command::Command;
use reinpath::window::read::annotate::{AnnotateCommand, SlideAnnotations};
use reinpath::window::read::{ReadCommand, ReadPlaces, Side};
use reinpath::window::state::{Mark, Tool};

use super::support::{
    Script, alike, click_at, drag, draw_slide, pass_notice, pixel, shown_viewport, until, viewer, window,
    window_from,
};

fn annotations<'a>(harness: &'a Harness<'_, App>) -> &'a SlideAnnotations {
    let state = harness.state().state();
    state.read.annotate.of(state.shown.unwrap()).unwrap()
}

fn choose(harness: &mut Harness<'_, App>, mark: Mark) {
    harness.state().commands().send(Command::Tool(Tool::Mark(mark)));
    // The strip of tools appears beside the slide.
    harness.step();
    harness.step();
    harness.step();
}

fn wish(harness: &mut Harness<'_, App>, wish: AnnotateCommand) {
    harness.state().commands().read(ReadCommand::Annotate(wish));
    harness.step();
    harness.step();
}

#[test]
fn each_tool_draws_its_shape_and_undo_takes_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = window(vec![draw_slide(folder.path())], Vec::new(), &Script::default());
    pass_notice(&mut harness);
    for (mark, form) in
        [(Mark::Rectangle, Form::Rectangle), (Mark::Ellipse, Form::Ellipse), (Mark::Freehand, Form::Plain)]
    {
        choose(&mut harness, mark);
        let middle = viewer(&harness).center();
        if mark == Mark::Freehand {
            harness.hover_at(middle);
            harness.step();
            harness.drag_at(middle);
            harness.step();
            for by in [vec2(60.0, 0.0), vec2(60.0, 60.0), vec2(0.0, 60.0)] {
                harness.hover_at(middle + by);
                harness.step();
            }
            harness.drop_at(middle + vec2(0.0, 60.0));
            harness.step();
            harness.step();
        } else {
            drag(&mut harness, middle, vec2(80.0, 60.0));
        }
        let (_, drawn) = annotations(&harness).selected().unwrap();
        assert_eq!(drawn.form, form, "{mark:?}");
        assert!(matches!(drawn.geometry, Geometry::Polygons(_)), "{mark:?}");
    }
    choose(&mut harness, Mark::Point);
    let at = viewer(&harness).center() + vec2(-80.0, 0.0);
    click_at(&mut harness, at);
    assert!(matches!(annotations(&harness).selected().unwrap().1.geometry, Geometry::Points(_)));
    assert_eq!(annotations(&harness).set.len(), 4);
    for left in [3, 2, 1, 0] {
        wish(&mut harness, AnnotateCommand::Undo);
        assert_eq!(annotations(&harness).set.len(), left);
    }
}

#[test]
fn a_polygon_is_drawn_by_clicks_and_closed_by_enter() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = window(vec![draw_slide(folder.path())], Vec::new(), &Script::default());
    pass_notice(&mut harness);
    choose(&mut harness, Mark::Polygon);
    let middle = viewer(&harness).center();
    let corners = [vec2(0.0, 0.0), vec2(120.0, 0.0), vec2(120.0, 100.0), vec2(0.0, 150.0)];
    for by in corners {
        click_at(&mut harness, middle + by);
    }
    assert!(annotations(&harness).set.is_empty(), "not closed yet");
    // The last corner is taken back.
    wish(&mut harness, AnnotateCommand::Undo);
    harness.key_press(Key::Enter);
    harness.step();
    harness.step();
    harness.step();
    let (_, drawn) = annotations(&harness).selected().unwrap();
    let Geometry::Polygons(polygons) = &drawn.geometry else { panic!("no area") };
    assert_eq!(polygons[0].rings[0].len(), 3);
    let viewport = shown_viewport(&harness);
    let (x, y) = viewport.slide_from_screen(viewer(&harness), middle);
    let [first_x, first_y] = polygons[0].rings[0][0];
    assert!(
        (x - first_x).abs() < 1.0 && (y - first_y).abs() < 1.0,
        "the first corner lies where it was clicked"
    );
}

#[test]
fn an_annotation_is_chosen_moved_and_deleted_with_the_move_tool() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = window(vec![draw_slide(folder.path())], Vec::new(), &Script::default());
    pass_notice(&mut harness);
    choose(&mut harness, Mark::Rectangle);
    let middle = viewer(&harness).center();
    drag(&mut harness, middle, vec2(100.0, 80.0));
    harness.state().commands().send(Command::Tool(Tool::Pan));
    harness.state().commands().read(ReadCommand::Side(Side::Annotations));
    harness.step();
    harness.step();
    harness.step();
    wish(&mut harness, AnnotateCommand::Select(None));
    let before = annotations(&harness).set.get(1).unwrap().geometry.bounds().unwrap();
    let viewport = shown_viewport(&harness);
    let on_screen = |x: f64, y: f64| viewport.screen_from_slide(viewer(&harness), (x, y));
    let inside = on_screen(f64::midpoint(before.x0, before.x1), f64::midpoint(before.y0, before.y1));
    click_at(&mut harness, inside);
    assert_eq!(annotations(&harness).selected, Some(1));
    drag(&mut harness, inside, vec2(40.0, 20.0));
    let after = annotations(&harness).set.get(1).unwrap().geometry.bounds().unwrap();
    let moved = 40.0 * viewport.slide_per_point;
    assert!((after.x0 - before.x0 - moved).abs() < 2.0, "{before:?} {after:?}");
    assert_eq!(shown_viewport(&harness), viewport, "the slide stays where it is");
    wish(&mut harness, AnnotateCommand::RemoveSelected);
    assert!(annotations(&harness).set.is_empty());
}

#[test]
fn what_is_drawn_is_seen_and_hidden_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = window(vec![draw_slide(folder.path())], Vec::new(), &Script::default());
    pass_notice(&mut harness);
    choose(&mut harness, Mark::Rectangle);
    let middle = viewer(&harness).center();
    let corner = middle + vec2(-150.0, -150.0);
    drag(&mut harness, corner, vec2(60.0, 60.0));
    wish(&mut harness, AnnotateCommand::Select(None));
    wish(&mut harness, AnnotateCommand::Fill(100));
    until(&mut harness, "the mesh", |app| {
        let state = app.state();
        !state.read.annotate.of(state.shown.unwrap()).unwrap().chunks.is_empty()
    });
    let inside = corner + vec2(30.0, 30.0);
    let filled = pixel(&harness.render().unwrap(), inside);
    assert!(alike(filled, reinpath::annotation::NO_CLASS_RGB), "{filled:?}");
    wish(&mut harness, AnnotateCommand::ToggleShown);
    let bare = pixel(&harness.render().unwrap(), inside);
    assert!(alike(bare, super::support::QUARTERS[0]), "{bare:?}");
}

#[test]
fn lengths_are_pixels_on_a_slide_without_a_scale_and_fields_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = window(vec![draw_slide(folder.path())], Vec::new(), &Script::default());
    pass_notice(&mut harness);
    for mark in [Mark::Ruler, Mark::Area, Mark::Angle, Mark::Field, Mark::Square, Mark::Counter] {
        choose(&mut harness, mark);
        let middle = viewer(&harness).center();
        drag(&mut harness, middle, vec2(90.0, 10.0));
        click_at(&mut harness, middle);
    }
    let of_counter = annotations(&harness).set.iter().all(|(_, annotation)| annotation.title() == "Count");
    assert!(of_counter, "nothing but counts is kept");
    assert!(harness.state().state().problems.is_empty());
    wish(&mut harness, AnnotateCommand::ToggleGrid);
    harness.render().unwrap();
}

/// Until the store was read: what is drawn before waits for it.
fn until_read(harness: &mut Harness<'_, App>) {
    until(harness, "the store to be read", |app| {
        let state = app.state();
        state.read.annotate.of(state.shown.unwrap()).is_some_and(|slide| !slide.is_busy)
    });
}

/// A slide and a store that outlive a window.
fn kept(folder: &std::path::Path) -> (PathBuf, ReadPlaces) {
    let places = ReadPlaces { store: Some(folder.join("data/store.sqlite")), ..ReadPlaces::default() };
    (draw_slide(folder), places)
}

#[test]
fn annotations_are_there_again_in_the_next_window() {
    let folder = tempfile::tempdir().unwrap();
    let (slide, places) = kept(folder.path());
    {
        let mut harness = window_from(vec![slide.clone()], &Script::default(), None, places.clone());
        pass_notice(&mut harness);
        until_read(&mut harness);
        choose(&mut harness, Mark::Ellipse);
        let middle = viewer(&harness).center();
        drag(&mut harness, middle, vec2(100.0, 80.0));
        assert_eq!(annotations(&harness).set.len(), 1);
        // Closed at once: the last change is saved on the way out.
    }
    let mut harness = window_from(vec![slide], &Script::default(), None, places);
    pass_notice(&mut harness);
    until_read(&mut harness);
    assert_eq!(annotations(&harness).set.iter().next().unwrap().1.form, Form::Ellipse);
}

#[test]
fn a_file_is_imported_and_exported_through_the_panel_and_comes_out_equal() {
    let folder = tempfile::tempdir().unwrap();
    let (slide, places) = kept(folder.path());
    let text = r#"{"type": "FeatureCollection", "features": [{"type": "Feature", "id": "first", "geometry":
        {"type": "Polygon", "coordinates": [[[300, 200], [500, 200], [500.5, 400], [300, 200]]]},
        "properties": {"objectType": "annotation", "name": "Gland", "classification":
            {"name": "Tumor", "color": [200, 0, 0]}, "measurements": {"Area": 7.5}, "own": [1]}}]}"#;
    let (file, out) = (folder.path().join("in.geojson"), folder.path().join("out.geojson.gz"));
    std::fs::write(&file, text).unwrap();
    let mut harness = window_from(vec![slide], &Script::default(), None, places);
    pass_notice(&mut harness);
    until_read(&mut harness);
    harness.state().commands().read(ReadCommand::Side(Side::Annotations));
    harness.run_ok();
    harness.get_by_label("Path of annotations").focus();
    harness.step();
    harness.get_by_label("Path of annotations").type_text(&file.display().to_string());
    harness.run_ok();
    harness.get_by_label("Import path").click();
    until(&mut harness, "the import", |app| app.state().read.annotate.news.is_some());
    harness.get_by_label_contains("1 annotation imported");
    wish(&mut harness, AnnotateCommand::Export(out.clone()));
    until(&mut harness, "the export", |app| {
        app.state().read.annotate.news.as_ref().is_some_and(|news| news.contains("written"))
    });
    assert_eq!(geojson::read(&out).unwrap(), geojson::read(&file).unwrap());
    wish(&mut harness, AnnotateCommand::Import(folder.path().join("none.geojson")));
    until(&mut harness, "the refusal", |app| !app.state().problems.is_empty());
    assert!(harness.state().state().problems[0].sentence.ends_with("none.geojson"));
}

#[test]
fn keys_choose_tools_and_show_the_strip() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = window(vec![draw_slide(folder.path())], Vec::new(), &Script::default());
    pass_notice(&mut harness);
    assert!(harness.query_by_label("Freehand").is_none(), "nothing covers the slide unasked");
    harness.key_press(Key::B);
    harness.run_ok();
    assert_eq!(harness.state().state().tool, Tool::Mark(Mark::Rectangle));
    harness.get_by_label("Freehand").click();
    harness.run_ok();
    assert_eq!(harness.state().state().tool, Tool::Mark(Mark::Freehand));
    harness.key_press_modifiers(Modifiers::SHIFT, Key::U);
    harness.run_ok();
    assert_eq!(harness.state().state().tool, Tool::Mark(Mark::Area));
}
