//! Several slides: panes, synchronised, folders, names that are hidden; patches by rule.

use std::path::{Path, PathBuf};

use egui::{Key, Modifiers, Rect};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use image::{Rgb, RgbImage};
use reinpath::viewer::viewport::Viewport;
use reinpath::window::App;
use reinpath::window::command::Command;
use reinpath::window::read::ReadCommand;
use reinpath::window::read::views::{Layout, ViewsCommand};
use reinpath::window::state::{SlideTab, Tool};

use crate::support::{QUARTERS, Script, alike, drag, draw_slide, pixel, until, until_drawn, viewer, window};

/// Copies of the test slide under these names.
fn slides(folder: &Path, names: &[&str]) -> Vec<PathBuf> {
    let drawn = draw_slide(folder);
    let paths: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    for path in &paths {
        std::fs::copy(&drawn, path).unwrap();
    }
    std::fs::remove_file(drawn).unwrap();
    paths
}

/// The window with these slides, past the notice.
fn accepted(slides: Vec<PathBuf>) -> Harness<'static, App> {
    let script = Script::default();
    let mut harness = window(slides, Vec::new(), &script);
    harness.step();
    harness.get_by_label("Accept and continue").click();
    harness.run_ok();
    harness
}

fn wish(harness: &mut Harness<'_, App>, command: ViewsCommand) {
    harness.state().commands().send(Command::Read(ReadCommand::Views(command)));
    harness.step();
    harness.step();
}

fn rects(harness: &Harness<'_, App>) -> Vec<Rect> {
    let views = &harness.state().state().read.views;
    views.rects(views.centre.unwrap())
}

fn viewport(app: &App, name: &str) -> Option<Viewport> {
    let slide = app.state().slides.iter().find(|slide| slide.name() == name);
    slide.and_then(|slide| slide.viewport)
}

#[test]
fn two_slides_lie_side_by_side_and_move_together() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = accepted(slides(folder.path(), &["a.png", "b.png"]));
    until(&mut harness, "both slides to be open", |app| {
        app.state().slides.iter().all(|slide| slide.info().is_some())
    });
    harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::ALT, Key::Num2);
    harness.step();
    until_drawn(&mut harness);
    assert_eq!(harness.state().state().read.views.layout, Layout::Two);
    let image = harness.render().unwrap();
    for (pane, rect) in rects(&harness).into_iter().enumerate() {
        for (n, offset) in
            [(-60.0, -40.0), (60.0, -40.0), (-60.0, 40.0), (60.0, 40.0)].into_iter().enumerate()
        {
            let found = pixel(&image, rect.center() + egui::vec2(offset.0, offset.1));
            assert!(alike(found, QUARTERS[n]), "pane {pane}, quarter {n}: {found:?}");
        }
    }

    harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::S);
    harness.run_ok();
    assert!(harness.state().state().read.views.is_synchronised);
    harness.get_by_label("100 %").click();
    harness.run_ok();
    let screen = viewer(&harness);
    drag(&mut harness, screen.center(), egui::vec2(80.0, 30.0));
    harness.run_ok();
    let (a, b) = (viewport(harness.state(), "a.png").unwrap(), viewport(harness.state(), "b.png").unwrap());
    assert!((a.slide_per_point - 1.0).abs() < 1e-9 && (b.slide_per_point - 1.0).abs() < 1e-9);
    assert!((a.centre.0 - b.centre.0).abs() < 1e-6 && (a.centre.1 - b.centre.1).abs() < 1e-6, "{a:?} {b:?}");
    assert!(a.centre.0 < 560.0, "it was moved: {a:?}");
    until_drawn(&mut harness);
}

#[test]
fn an_empty_pane_offers_what_is_open_and_a_tab_can_be_dragged_to_a_pane() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = accepted(slides(folder.path(), &["a.png", "b.png"]));
    until(&mut harness, "both slides to be open", |app| {
        app.state().slides.iter().all(|slide| slide.info().is_some())
    });
    wish(&mut harness, ViewsCommand::Layout(Layout::Two));
    let keys: Vec<_> = harness.state().state().slides.iter().map(|slide| slide.key).collect();
    assert_eq!(harness.state().state().read.views.panes, [Some(keys[1]), Some(keys[0])]);
    // The tab lies in the top bar; the card in the panel below has the name as well.
    let tab = harness.query_all_by_label("a.png").map(|node| node.rect()).find(|rect| rect.bottom() < 40.0);
    let from = tab.unwrap().center();
    let to = rects(&harness)[0].center();
    drag(&mut harness, from, to - from);
    harness.run_ok();
    assert_eq!(harness.state().state().read.views.panes, [Some(keys[0]), Some(keys[1])]);
    assert_eq!(harness.state().state().shown, Some(keys[0]));

    wish(&mut harness, ViewsCommand::Layout(Layout::Four));
    harness.run_ok();
    assert_eq!(harness.query_all_by_label("Open slide…").count(), 2, "two panes are empty");
    harness.get_by_label("Empty pane 4");
}

#[test]
fn a_folder_is_gone_through_with_two_keys() {
    let folder = tempfile::tempdir().unwrap();
    let paths = slides(folder.path(), &["s1.png", "s2.png", "s10.png"]);
    std::fs::write(folder.path().join("notes.txt"), "no slide").unwrap();
    let mut harness = accepted(vec![paths[0].clone()]);
    until_drawn(&mut harness);
    for (name, count) in [("s2.png", 2), ("s10.png", 2)] {
        harness.key_press_modifiers(Modifiers::COMMAND, Key::PageDown);
        until(&mut harness, name, |app| {
            app.state().shown_slide().is_some_and(|slide| slide.name() == name && slide.info().is_some())
        });
        assert_eq!(harness.state().state().slides.len(), count, "the first was opened by hand and stays");
    }
    harness.get_by_label("3 of 3 slides");
    harness.key_press_modifiers(Modifiers::COMMAND, Key::PageDown);
    harness.run_ok();
    assert_eq!(harness.state().state().shown_slide().map(SlideTab::name).as_deref(), Some("s10.png"));
    until_drawn(&mut harness);
}

#[test]
fn while_names_are_hidden_no_name_of_a_file_is_anywhere_in_the_window() {
    let folder = tempfile::tempdir().unwrap();
    let mut paths = slides(folder.path(), &["smith.png", "jones.png"]);
    let bad = folder.path().join("brown.txt");
    std::fs::write(&bad, "no slide").unwrap();
    paths.push(bad);
    let mut harness = accepted(paths);
    until(&mut harness, "all to be opened or refused", |app| {
        let is_done =
            |slide: &SlideTab| !matches!(slide.status, reinpath::window::state::SlideStatus::Opening { .. });
        app.state().slides.iter().all(is_done)
    });
    harness
        .state()
        .commands()
        .send(Command::Read(ReadCommand::Views(ViewsCommand::OpenFolder(folder.path().to_path_buf()))));
    until(&mut harness, "the folder", |app| {
        app.state().read.views.folder.as_ref().is_some_and(|folder| !folder.is_being_read)
    });
    let named = |harness: &Harness<'_, App>| -> usize {
        ["smith", "jones", "brown"]
            .into_iter()
            .map(|name| harness.query_all_by_label_contains(name).count())
            .sum()
    };
    harness.run_ok();
    assert!(named(&harness) > 3, "names are shown until they are hidden");
    harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::B);
    harness.run_ok();
    assert_eq!(named(&harness), 0);
    // In several panes, and with the one that could not be opened in view.
    wish(&mut harness, ViewsCommand::Layout(Layout::Four));
    harness.run_ok();
    assert_eq!(named(&harness), 0);
    harness.get_by_label("Slide 3 could not be opened");
    harness.state().commands().send(Command::Open(folder.path().join("smith.png")));
    harness.run_ok();
    assert_eq!(named(&harness), 0);
}

/// Glass with a square of stained tissue, 1200 × 900 px.
fn draw_tissue(folder: &Path) -> PathBuf {
    let path = folder.join("tissue.png");
    let image = RgbImage::from_fn(1200, 900, |x, y| {
        let is_tissue = (264..936).contains(&x) && (114..786).contains(&y);
        if !is_tissue {
            return Rgb([242, 241, 243]);
        }
        if (x / 3 + y / 3) % 2 == 0 { Rgb([110, 40, 130]) } else { Rgb([225, 150, 200]) }
    });
    image.save(&path).unwrap();
    path
}

#[test]
fn patches_are_laid_over_the_tissue_and_those_on_glass_are_called_blank() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = accepted(vec![draw_tissue(folder.path())]);
    until_drawn(&mut harness);
    harness.get_by_label("Tissue").click();
    harness.run_ok();
    harness.get_by_label("Find tissue").click();
    let key = harness.state().state().shown.unwrap();
    until(&mut harness, "the tissue", |app| app.state().read.survey.view(key).is_some());
    let share = harness.state().state().read.survey.view(key).unwrap().share;
    assert!((share - 672.0 * 672.0 / (1200.0 * 900.0)).abs() < 0.02, "{share}");
    harness.get_by_label("All tissue").click();
    harness.run_ok();
    harness.get_by_label("Lay a grid").click();
    until(&mut harness, "the grid", |app| {
        app.state().read.survey.plan.as_ref().is_some_and(|plan| plan.regions.is_some())
    });
    harness.run_ok();
    harness.get_by_label("9 patches, row by row.");
    harness.get_by_label("Make 9 patches").click();
    until(&mut harness, "the patches", |app| app.state().shown_slide().unwrap().patches.places().len() == 9);
    let regions: Vec<_> = {
        let patches = &harness.state().state().shown_slide().unwrap().patches;
        patches.places().iter().map(|place| place.region).collect()
    };
    assert!(regions.is_sorted_by_key(|region| (region.y, region.x)), "row by row: {regions:?}");

    // One more, by hand, on glass: it is judged once its picture is there.
    harness.state().commands().send(Command::Tool(Tool::Patch));
    harness.state().commands().patch(reinpath::window::command::PatchCommand::PlaceSquare((120.0, 450.0)));
    until(&mut harness, "all to be judged", |app| {
        let slide = app.state().shown_slide().unwrap();
        let survey = &app.state().read.survey;
        slide.patches.places().len() == 10
            && slide.patches.places().iter().any(|place| !survey.flaws(key, place.id).is_empty())
    });
    let survey = &harness.state().state().read.survey;
    let places = harness.state().state().shown_slide().unwrap().patches.places();
    let blank: Vec<_> = places.iter().filter(|place| !survey.flaws(key, place.id).is_empty()).collect();
    assert!(blank.len() == 1 && blank[0].region.x == 8, "{blank:?}");
    harness.step();
    harness.get_by_label("Hardly any tissue: most of it is glass.");
}
