//! Pictures of every state of the window, for a person to look at; without a person, cheap facts about the same states.
//!
//! `REINPATH_SCREENSHOTS=FOLDER cargo test -p reinpath --test window screens` writes them as PNG files; `REINPATH_SCREENSHOTS_SLIDE` names
//! a slide to show instead of the drawn one, and then only what holds for any slide is checked.

mod review;

use std::path::{Path, PathBuf};

use egui::{Key, Modifiers, Pos2, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use image::{Rgb, RgbImage, RgbaImage};
use reinpath::annotation::{Annotation, Class, Form, Geometry, ObjectKind, Polygon};
use reinpath::viewer::colour::StainChannel;
use reinpath::window::App;
use reinpath::window::command::{Command, ViewCommand};
use reinpath::window::read::annotate::AnnotateCommand;
use reinpath::window::read::colour::ColourCommand;
use reinpath::window::read::survey::{SurveyCommand, TissueStatus};
use reinpath::window::read::views::{Layout, ViewsCommand};
use reinpath::window::read::{ReadCommand, Side};
use reinpath::window::state::{Mark, Tool};

use super::support::{
    Script, alike, click_at, drag, pixel, shown_viewport, until, until_drawn, viewer, window,
};

/// What is drawn of tissue: glass, stroma, nuclei.
const GLASS: [u8; 3] = [244, 242, 245];
const STROMA: [u8; 3] = [226, 160, 194];
const NUCLEUS: [u8; 3] = [96, 70, 144];

/// A slide of 2400 × 1800 px: an island of stroma with nuclei in rows on glass.
fn draw_tissue(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    let image = RgbImage::from_fn(2400, 1800, |x, y| {
        let (across, down) = ((f64::from(x) - 1200.0) / 900.0, (f64::from(y) - 900.0) / 650.0);
        if across.hypot(down) > 1.0 {
            return Rgb(GLASS);
        }
        let (right, below) = (f64::from(x % 60) - 30.0, f64::from(y % 60) - 30.0);
        Rgb(if right.hypot(below) < 11.0 { NUCLEUS } else { STROMA })
    });
    image.save(&path).unwrap();
    path
}

/// The slide that is shown, and whether it is the drawn one.
fn slide(folder: &Path, name: &str) -> (PathBuf, bool) {
    match std::env::var_os("REINPATH_SCREENSHOTS_SLIDE") {
        Some(path) => (path.into(), false),
        None => (draw_tissue(folder, name), true),
    }
}

/// The window with slides, once the last one is drawn.
fn opened(slides: Vec<PathBuf>) -> Harness<'static, App> {
    let count = slides.len();
    let mut harness = window(slides, Vec::new(), &Script::default());
    harness.step();
    harness.get_by_label("Accept and continue").click();
    until(&mut harness, "all slides", |app| {
        app.state().slides.len() == count && app.state().slides.iter().all(|slide| slide.info().is_some())
    });
    until_drawn(&mut harness);
    harness
}

/// A picture of the window, written where the person wants them.
fn shot(harness: &mut Harness<'_, App>, name: &str) -> RgbaImage {
    let image = harness.render().unwrap();
    if let Some(folder) = std::env::var_os("REINPATH_SCREENSHOTS").map(PathBuf::from) {
        std::fs::create_dir_all(&folder).unwrap();
        image.save(folder.join(format!("{name}.png"))).unwrap();
    }
    image
}

fn send(harness: &mut Harness<'_, App>, wish: ReadCommand) {
    harness.state().commands().read(wish);
    harness.step();
    harness.step();
}

fn view(harness: &mut Harness<'_, App>, wish: ViewCommand) {
    harness.state().commands().view(wish);
    harness.step();
    until_drawn(harness);
}

/// Pictures until one fulfils the wish: threads make some of what is drawn.
fn until_seen(harness: &mut Harness<'_, App>, what: &str, seen: impl Fn(&RgbaImage) -> bool) {
    for _ in 0..100 {
        if seen(&harness.render().unwrap()) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        harness.step();
    }
    panic!("not seen: {what}");
}

/// Level-0 pixels in the middle of the slide in view.
fn middle(harness: &Harness<'_, App>) -> (f64, f64) {
    let info = harness.state().state().shown_slide().unwrap().info().unwrap().clone();
    (f64::from(info.width()) / 2.0, f64::from(info.height()) / 2.0)
}

fn area(name: &str, rgb: [u8; 3], rings: Vec<Vec<[f64; 2]>>) -> AnnotateCommand {
    AnnotateCommand::Add(Box::new(Annotation {
        id: format!("screens-{name}"),
        kind: ObjectKind::Annotation,
        geometry: Geometry::Polygons(vec![Polygon { rings }]),
        form: Form::Plain,
        class: Some(Class { name: name.to_owned(), rgb }.into()),
        name: Some(name.to_owned()),
        notes: String::new(),
        rgb: None,
        is_locked: false,
        measurements: serde_json::Map::new(),
        rest: serde_json::Map::new(),
    }))
}

#[test]
fn dark_and_light_differ_and_the_slide_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let (slide, is_drawn) = slide(folder.path(), "section.png");
    let mut harness = opened(vec![slide]);
    let at = viewer(&harness).center();
    let dark = shot(&mut harness, "dark");
    harness.state().commands().send(Command::ToggleTheme);
    harness.run_ok();
    until_drawn(&mut harness);
    let light = shot(&mut harness, "light");
    let bar = Pos2::new(700.0, 3.0);
    let brightness = |image: &RgbaImage| pixel(image, bar).iter().map(|&part| u32::from(part)).sum::<u32>();
    assert!(brightness(&dark) + 200 < brightness(&light), "{} {}", brightness(&dark), brightness(&light));
    assert!(alike(pixel(&dark, at), pixel(&light, at)), "the slide's colours belong to the slide");
    assert!(!is_drawn || alike(pixel(&dark, at), STROMA) || alike(pixel(&dark, at), NUCLEUS));
}

#[test]
fn a_slide_is_turned_and_seen_at_its_own_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let (slide, is_drawn) = slide(folder.path(), "section.png");
    let mut harness = opened(vec![slide]);
    harness.key_press(Key::R);
    harness.step();
    harness.key_press(Key::R);
    harness.run_ok();
    until_drawn(&mut harness);
    let turned = shot(&mut harness, "turned");
    let rotation = harness.state().state().shown_slide().unwrap().viewport.unwrap().rotation;
    assert!((rotation - std::f64::consts::FRAC_PI_6).abs() < 1e-6, "{rotation}");
    assert!(!is_drawn || !alike(pixel(&turned, viewer(&harness).center()), GLASS));
    view(&mut harness, ViewCommand::Fit);
    view(&mut harness, ViewCommand::Scale(1.0, 1.0));
    shot(&mut harness, "finest");
}

#[test]
fn two_slides_and_four_panes_are_drawn_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = slide(folder.path(), "first.png");
    let second = draw_tissue(folder.path(), "second.png");
    let mut harness = opened(vec![first, second]);
    let keys: Vec<_> = harness.state().state().slides.iter().map(|slide| slide.key).collect();
    send(&mut harness, ReadCommand::Views(ViewsCommand::Layout(Layout::Two)));
    for (pane, &key) in keys.iter().enumerate() {
        send(&mut harness, ReadCommand::Views(ViewsCommand::PutInto(key, pane)));
    }
    until_drawn(&mut harness);
    let two = shot(&mut harness, "two-slides");
    assert_eq!(harness.state().state().read.views.panes, [Some(keys[0]), Some(keys[1])]);
    // The second pane shows its own slide: its middle is tissue.
    let rects = harness.state().state().read.views.rects(harness.state().state().read.views.centre.unwrap());
    assert!(!alike(pixel(&two, rects[1].center()), GLASS));
    send(&mut harness, ReadCommand::Views(ViewsCommand::Layout(Layout::Four)));
    harness.run_ok();
    shot(&mut harness, "four-panes");
    let panes = &harness.state().state().read.views.panes;
    assert_eq!((panes.len(), panes.iter().flatten().count()), (4, 2));
}

#[test]
fn one_stain_is_shown_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (slide, is_drawn) = slide(folder.path(), "section.png");
    let mut harness = opened(vec![slide]);
    // A nucleus and the stroma beside it, at the slide's own pixels.
    view(&mut harness, ViewCommand::Scale(1.0, 1.0));
    view(&mut harness, ViewCommand::LookAt((1230.0, 930.0)));
    send(&mut harness, ReadCommand::Side(Side::Colour));
    let (nucleus, stroma) = (viewer(&harness).center(), viewer(&harness).center() + vec2(30.0, 0.0));
    let before = shot(&mut harness, "colour");
    send(&mut harness, ReadCommand::Colour(ColourCommand::Show(Some(StainChannel::First))));
    harness.run_ok();
    let alone = shot(&mut harness, "haematoxylin");
    if is_drawn {
        let dark = |at| pixel(&alone, at).iter().map(|&part| u32::from(part)).sum::<u32>();
        assert!(alike(pixel(&before, nucleus), NUCLEUS), "{:?}", pixel(&before, nucleus));
        assert!(
            dark(nucleus) + 60 < dark(stroma),
            "{:?} {:?}",
            pixel(&alone, nucleus),
            pixel(&alone, stroma)
        );
        assert!(!alike(pixel(&alone, stroma), pixel(&before, stroma)), "eosin is taken away");
    }
}

#[test]
fn annotations_lie_on_the_slide() {
    let folder = tempfile::tempdir().unwrap();
    let (slide, _) = slide(folder.path(), "section.png");
    let mut harness = opened(vec![slide]);
    let (x, y) = middle(&harness);
    let square = |reach: f64| {
        vec![[x - reach, y - reach], [x + reach, y - reach], [x + reach, y + reach], [x - reach, y + reach]]
    };
    send(&mut harness, ReadCommand::Side(Side::Annotations));
    let before = shot(&mut harness, "no-annotations");
    let red = [216, 30, 44];
    // With a hole, so that the middle stays as it was.
    let wish = area("Tumor", red, vec![square(x * 0.5), square(x * 0.25)]);
    send(&mut harness, ReadCommand::Annotate(wish));
    send(&mut harness, ReadCommand::Annotate(AnnotateCommand::Select(None)));
    let (screen, viewport) = (viewer(&harness), shown_viewport(&harness));
    let inside = viewport.screen_from_slide(screen, (x - x * 0.375, y));
    let hole = viewport.screen_from_slide(screen, (x, y));
    until_seen(&mut harness, "the area's colour", |image| {
        !alike(pixel(image, inside), pixel(&before, inside))
    });
    let with = shot(&mut harness, "annotations");
    assert!(alike(pixel(&with, hole), pixel(&before, hole)), "a hole is not filled");
    let set = harness.state().state().read.annotate.slides.values().next().unwrap();
    assert_eq!(set.set.len(), 1);
}

#[test]
fn a_ruler_says_its_length() {
    let folder = tempfile::tempdir().unwrap();
    let (slide, _) = slide(folder.path(), "section.png");
    let mut harness = opened(vec![slide]);
    let before = harness.render().unwrap();
    harness.state().commands().send(Command::Tool(Tool::Mark(Mark::Ruler)));
    harness.step();
    let from = viewer(&harness).center() - vec2(150.0, 40.0);
    drag(&mut harness, from, vec2(300.0, 80.0));
    let with = shot(&mut harness, "ruler");
    assert_eq!(harness.state().state().tool, Tool::Mark(Mark::Ruler));
    let changed = before.pixels().zip(with.pixels()).filter(|(before, with)| before != with).count();
    assert!(changed > 300, "a line of 310 points was drawn, not {changed} pixels");
    harness.key_press(Key::Escape);
    harness.run_ok();
}

#[test]
fn the_command_list_is_searched() {
    let folder = tempfile::tempdir().unwrap();
    let (slide, _) = slide(folder.path(), "section.png");
    let mut harness = opened(vec![slide]);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::L);
    harness.run_ok();
    assert!(harness.state().state().read.navigate.is_list_shown);
    shot(&mut harness, "command-list");
    harness.key_press_modifiers(Modifiers::COMMAND, Key::L);
    harness.run_ok();
    assert!(!harness.state().state().read.navigate.is_list_shown);
}

#[test]
fn names_are_hidden_in_blinded_reading() {
    let folder = tempfile::tempdir().unwrap();
    let path = draw_tissue(folder.path(), "Smith-John-1959.png");
    let mut harness = opened(vec![path]);
    assert!(harness.query_all_by_label_contains("Smith").next().is_some(), "the name is on the tab");
    send(&mut harness, ReadCommand::Views(ViewsCommand::Blinded(true)));
    harness.run_ok();
    shot(&mut harness, "blinded");
    assert!(harness.query_all_by_label_contains("Smith").next().is_none());
    assert!(harness.query_all_by_label_contains("Slide 1").next().is_some());
}

#[test]
fn tissue_is_found_and_a_patch_is_placed_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let (slide, is_drawn) = slide(folder.path(), "section.png");
    let mut harness = opened(vec![slide]);
    let key = harness.state().state().shown.unwrap();
    send(&mut harness, ReadCommand::Side(Side::Tissue));
    let before = harness.render().unwrap();
    send(&mut harness, ReadCommand::Survey(SurveyCommand::FindTissue));
    until(&mut harness, "the tissue", |app| {
        matches!(app.state().read.survey.tissue.get(&key), Some(TissueStatus::Found(_)))
    });
    harness.run_ok();
    let with = shot(&mut harness, "tissue");
    let at = viewer(&harness).center();
    if is_drawn {
        assert!(!alike(pixel(&with, at), pixel(&before, at)), "the mask covers the tissue");
        let (screen, viewport) = (viewer(&harness), shown_viewport(&harness));
        let glass = viewport.screen_from_slide(screen, (1200.0, 60.0));
        assert!(alike(pixel(&with, glass), GLASS), "{:?}", pixel(&with, glass));
    }
    send(&mut harness, ReadCommand::Side(Side::Ask));
    harness.key_press(Key::P);
    harness.step();
    click_at(&mut harness, at);
    harness.run_ok();
    shot(&mut harness, "patch");
    assert_eq!(harness.state().state().shown_slide().unwrap().patches.places().len(), 1);
}
