//! Getting about on a slide: turning, pushing, going back, typing places and magnifications, the command list, keys that were changed.

use std::path::Path;

use egui::{
    Event, Key, Modifiers, MouseWheelSource, MouseWheelUnit, PointerButton, Pos2, TouchPhase, Vec2, vec2,
};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use reinpath::viewer::viewport::Viewport;
use reinpath::window::App;
use reinpath::window::command::ViewCommand;
use reinpath::window::read::ReadPlaces;

use super::support::{
    Script, drag, draw_slide, pass_notice, until, until_drawn, viewer, window, window_from,
};

/// A window with the drawn slide, past the notice.
fn opened(folder: &Path) -> Harness<'static, App> {
    let mut harness = window(vec![draw_slide(folder)], Vec::new(), &Script::default());
    pass_notice(&mut harness);
    harness
}

fn view(harness: &Harness<'_, App>) -> Viewport {
    harness.state().state().shown_slide().unwrap().viewport.unwrap()
}

fn close(a: (f64, f64), b: (f64, f64)) -> bool {
    (a.0 - b.0).abs() < 1e-3 && (a.1 - b.1).abs() < 1e-3
}

fn give(harness: &mut Harness<'_, App>, wish: ViewCommand) {
    harness.state().commands().view(wish);
    harness.step();
    harness.step();
}

fn wheel(harness: &mut Harness<'_, App>, delta: Vec2, modifiers: Modifiers) {
    harness.event(Event::MouseWheel {
        unit: MouseWheelUnit::Line,
        delta,
        phase: TouchPhase::Move,
        modifiers,
        source: MouseWheelSource::Wheel,
    });
    for _ in 0..4 {
        harness.step();
    }
}

fn button(harness: &mut Harness<'_, App>, pos: Pos2, button: PointerButton, pressed: bool) {
    harness.event(Event::PointerButton { pos, button, pressed, modifiers: Modifiers::NONE });
    harness.step();
}

#[test]
fn a_slide_is_turned_mirrored_and_set_upright_by_keys_and_by_the_button() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = opened(folder.path());
    harness.key_press(Key::R);
    harness.run_ok();
    harness.key_press(Key::R);
    harness.run_ok();
    harness.key_press_modifiers(Modifiers::SHIFT, Key::R);
    harness.run_ok();
    assert!((view(&harness).rotation.to_degrees() - 15.0).abs() < 1e-6);
    harness.key_press(Key::F);
    harness.run_ok();
    assert!(view(&harness).is_mirrored);
    harness.get_by_label("Turn upright").click();
    harness.run_ok();
    assert!(view(&harness).is_upright());
    assert!(harness.query_by_label("Turn upright").is_none(), "there is nothing to turn back");
}

#[test]
fn a_drag_with_alt_turns_the_slide_and_ends_at_quarter_turns() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = opened(folder.path());
    let middle = viewer(&harness).center();
    harness.event(Event::ModifiersChanged(Modifiers::ALT));
    drag(&mut harness, middle + vec2(200.0, 0.0), vec2(-203.0, 200.0));
    assert!((view(&harness).rotation.to_degrees() - 90.0).abs() < 1e-6, "{}", view(&harness).rotation);
    drag(&mut harness, middle + vec2(200.0, 0.0), vec2(-100.0, 100.0));
    assert!((view(&harness).rotation.to_degrees() - 135.0).abs() < 0.1);
    harness.event(Event::ModifiersChanged(Modifiers::NONE));
    let turned = view(&harness).rotation;
    give(&mut harness, ViewCommand::Scale(1.0, 1.0));
    drag(&mut harness, middle, vec2(60.0, 0.0));
    assert_eq!(view(&harness).rotation, turned, "without Alt it is moved");
}

#[test]
fn the_wheel_magnifies_exactly_and_with_shift_pans() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = opened(folder.path());
    give(&mut harness, ViewCommand::Scale(1.0, 1.0));
    harness.hover_at(viewer(&harness).center() + vec2(50.0, 30.0));
    harness.step();
    wheel(&mut harness, vec2(0.0, 1.0), Modifiers::NONE);
    let nearer = view(&harness).slide_per_point;
    assert!((0.75..0.85).contains(&nearer), "{nearer}");
    wheel(&mut harness, vec2(0.0, -1.0), Modifiers::NONE);
    assert!((view(&harness).slide_per_point - 1.0).abs() < 1e-9, "there and back again");
    let before = view(&harness);
    wheel(&mut harness, vec2(0.0, -1.0), Modifiers::SHIFT);
    let after = view(&harness);
    assert!(close(after.centre, (before.centre.0 + 40.0, before.centre.1)), "{before:?} {after:?}");
    assert_eq!(after.slide_per_point, before.slide_per_point);
}

#[test]
fn a_press_that_hardly_moves_is_a_click_and_moves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = opened(folder.path());
    give(&mut harness, ViewCommand::Scale(1.0, 1.0));
    let (middle, before) = (viewer(&harness).center(), view(&harness));
    let press = |harness: &mut Harness<'_, App>, by: Vec2| {
        harness.hover_at(middle);
        harness.step();
        button(harness, middle, PointerButton::Primary, true);
        harness.hover_at(middle + by);
        harness.step();
        button(harness, middle + by, PointerButton::Primary, false);
        harness.step();
    };
    press(&mut harness, vec2(4.0, 2.0));
    assert_eq!(view(&harness), before);
    harness.key_press(Key::P);
    harness.step();
    press(&mut harness, vec2(4.0, 2.0));
    let patches = harness.state().state().shown_slide().unwrap().patches.places().len();
    assert_eq!(patches, 1, "the click placed a square");
    harness.key_press(Key::M);
    harness.step();
    press(&mut harness, vec2(20.0, 0.0));
    assert!(close(view(&harness).centre, (before.centre.0 - 20.0, before.centre.1)));
}

#[test]
fn the_middle_button_and_space_move_the_slide_whatever_the_tool() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = opened(folder.path());
    give(&mut harness, ViewCommand::Scale(1.0, 1.0));
    let (middle, before) = (viewer(&harness).center(), view(&harness));
    harness.key_press(Key::P);
    harness.step();
    harness.hover_at(middle);
    harness.step();
    button(&mut harness, middle, PointerButton::Middle, true);
    for n in 1..=3_u8 {
        harness.hover_at(middle + vec2(10.0 * f32::from(n), 0.0));
        harness.step();
    }
    button(&mut harness, middle + vec2(30.0, 0.0), PointerButton::Middle, false);
    harness.step();
    assert!(close(view(&harness).centre, (before.centre.0 - 30.0, before.centre.1)));
    harness.key_down(Key::Space);
    harness.step();
    drag(&mut harness, middle, vec2(0.0, 40.0));
    harness.key_up(Key::Space);
    harness.step();
    assert!(close(view(&harness).centre, (before.centre.0 - 30.0, before.centre.1 - 40.0)));
    assert!(harness.state().state().shown_slide().unwrap().patches.places().is_empty(), "nothing was drawn");
}

#[test]
fn a_pushed_slide_goes_on_and_a_press_stops_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = opened(folder.path());
    give(&mut harness, ViewCommand::Scale(1.0, 1.0));
    let (middle, before) = (viewer(&harness).center(), view(&harness).centre);
    let mut now = harness.ctx.input(|input| input.time);
    let mut wait = |harness: &mut Harness<'_, App>, seconds: f64| {
        now += seconds;
        harness.input_mut().time = Some(now);
        harness.step();
    };
    harness.hover_at(middle);
    wait(&mut harness, 0.1);
    harness.event(Event::PointerButton {
        pos: middle,
        button: PointerButton::Primary,
        pressed: true,
        modifiers: Modifiers::NONE,
    });
    wait(&mut harness, 0.02);
    for n in 1..=6_u8 {
        harness.hover_at(middle + vec2(16.0 * f32::from(n), 0.0));
        wait(&mut harness, 0.02);
    }
    let end = middle + vec2(96.0, 0.0);
    harness.event(Event::PointerButton {
        pos: end,
        button: PointerButton::Primary,
        pressed: false,
        modifiers: Modifiers::NONE,
    });
    wait(&mut harness, 0.005);
    wait(&mut harness, 0.001);
    let released = view(&harness).centre;
    assert!((before.0 - released.0 - 96.0).abs() < 20.0, "{before:?} {released:?}");
    for _ in 0..12 {
        wait(&mut harness, 0.016);
    }
    let gone_on = view(&harness).centre;
    assert!(released.0 - gone_on.0 > 30.0, "{released:?} {gone_on:?}");
    button(&mut harness, end, PointerButton::Primary, true);
    let stopped = view(&harness).centre;
    harness.step();
    harness.step();
    assert_eq!(view(&harness).centre, stopped, "held by the press");
}

#[test]
fn a_magnification_is_typed() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = opened(folder.path());
    let mut enter = |text: &str| {
        harness.get_by_label("Magnification").focus();
        harness.run_ok();
        harness.get_by_label("Magnification").type_text(text);
        harness.run_ok();
        harness.key_press(Key::Enter);
        harness.run_ok();
        let scale = view(&harness).slide_per_point;
        (scale, harness.query_by_label_contains("type per cent of its pixels").is_some())
    };
    assert_eq!(enter("50 %"), (2.0, false));
    assert_eq!(enter("100"), (1.0, false));
    assert_eq!(enter("20×"), (1.0, true), "a drawn image has no microns");
}

#[test]
fn a_place_is_typed_and_one_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = opened(folder.path());
    harness.key_press_modifiers(Modifiers::COMMAND, Key::G);
    harness.run_ok();
    harness.get_by_label("Place").type_text("5000, 10");
    harness.run_ok();
    harness.get_by_label("Go").click();
    harness.run_ok();
    harness.get_by_label_contains("outside the slide");
    harness.key_press(Key::Escape);
    harness.run_ok();
    assert!(harness.query_by_label("Go").is_none(), "Escape closes the dialog");

    harness.key_press_modifiers(Modifiers::COMMAND, Key::G);
    harness.run_ok();
    harness.get_by_label("Place").type_text("800, 300, 200, 100");
    harness.run_ok();
    harness.key_press(Key::Enter);
    harness.run_ok();
    assert!(harness.query_by_label("Go").is_none());
    assert_eq!(view(&harness).centre, (900.0, 350.0));
    let there = view(&harness);
    harness.key_press_modifiers(Modifiers::ALT, Key::ArrowLeft);
    harness.run_ok();
    assert_eq!(view(&harness).centre, (600.0, 450.0));
    harness.key_press_modifiers(Modifiers::ALT, Key::ArrowRight);
    harness.run_ok();
    assert_eq!(view(&harness), there);
}

#[test]
fn a_command_is_found_in_the_list_and_given() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = opened(folder.path());
    harness.key_press_modifiers(Modifiers::COMMAND, Key::L);
    harness.run_ok();
    harness.get_by_label("Search commands").type_text("clockwise TURN");
    harness.run_ok();
    assert!(harness.query_by_label("Mirror").is_none());
    harness.get_by_label("Turn clockwise");
    harness.key_press(Key::Enter);
    harness.run_ok();
    assert!((view(&harness).rotation.to_degrees() - 15.0).abs() < 1e-6);
    assert!(harness.query_by_label("Search commands").is_none(), "the list is closed");

    harness.get_by_label("Commands").click();
    harness.run_ok();
    // Keys are for the list as long as it is there.
    harness.key_press(Key::R);
    harness.run_ok();
    assert!((view(&harness).rotation.to_degrees() - 15.0).abs() < 1e-6);
    harness.get_by_label("Search commands").type_text("mirror");
    harness.run_ok();
    harness.get_by_label("Mirror").click();
    harness.run_ok();
    assert!(view(&harness).is_mirrored);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::L);
    harness.run_ok();
    harness.key_press(Key::Escape);
    harness.run_ok();
    assert!(harness.query_by_label("Search commands").is_none());
}

#[test]
fn a_changed_key_works_at_once_and_after_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let slide = draw_slide(folder.path());
    let file = folder.path().join("window.toml");
    let start =
        || window_from(vec![slide.clone()], &Script::default(), Some(file.clone()), ReadPlaces::default());
    let mut harness = start();
    pass_notice(&mut harness);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::L);
    harness.run_ok();
    harness.get_by_label("Search commands").type_text("mirror");
    harness.run_ok();
    harness.get_by_label("Change keys…").click();
    harness.run_ok();
    harness.get_by_label("Change keys of Mirror").click();
    harness.run_ok();
    harness.key_press(Key::M);
    harness.run_ok();
    harness.get_by_label_contains("“Move tool” had these keys before");
    harness.key_press(Key::Escape);
    harness.run_ok();
    harness.key_press(Key::M);
    harness.run_ok();
    assert!(view(&harness).is_mirrored);
    until(&mut harness, "the settings to be saved", |_| {
        std::fs::read_to_string(&file).is_ok_and(|text| text.contains("Mirror = [\"M\"]"))
    });
    drop(harness);

    let mut harness = start();
    until_drawn(&mut harness);
    harness.key_press(Key::M);
    harness.run_ok();
    assert!(view(&harness).is_mirrored, "remembered");
    harness.key_press(Key::F);
    harness.run_ok();
    assert!(view(&harness).is_mirrored, "its old key is free");
}
