//! Wishes in, state and effects out.

use egui::{Rect, Vec2, pos2, vec2};

use super::super::super::command::PatchCommand;
use super::super::super::event::Event;
use super::super::super::state::{Mode, Settings};
use super::super::super::update;
use super::super::ReadEvent;
use super::*;
use crate::slide::Mpp;
use crate::viewer::tile_plan::tests::slide;
use crate::viewer::viewport::SlideRect;
use crate::window::state::{SlideStatus, SlideTab};

/// A window with one open slide of 4096 × 3000 px at 0.5 µm/px, which was drawn.
fn with_slide() -> AppState {
    let settings = Settings { notice_accepted: true, ..Settings::default() };
    let mut state = AppState { settings, ..AppState::default() };
    show_another(&mut state, "a.svs");
    state.viewer = Some(Rect::from_min_size(pos2(220.0, 36.0), vec2(800.0, 600.0)));
    state
}

fn show_another(state: &mut AppState, path: &str) {
    update::command(state, Command::Open(path.into()));
    let info = crate::slide::SlideInfo { mpp: Some(Mpp { x: 0.5, y: 0.5 }), ..slide() };
    let key = state.shown.unwrap();
    state.slide_mut(key).unwrap().status = SlideStatus::Open { info: Arc::new(info) };
}

fn view(state: &AppState) -> Viewport {
    state.shown_slide().unwrap().viewport.unwrap()
}

fn look(state: &mut AppState, wish: ViewCommand) {
    assert!(update::command(state, Command::View(wish)).is_empty());
}

fn navigate(state: &mut AppState, wish: NavigateCommand) -> Vec<Effect> {
    update::command(state, super::wish(wish))
}

#[test]
fn a_slide_is_turned_mirrored_and_set_upright() {
    let mut state = with_slide();
    look(&mut state, ViewCommand::Turn(TURN));
    assert!((view(&state).rotation.to_degrees() - 15.0).abs() < 1e-9);
    look(&mut state, ViewCommand::Mirror);
    assert!(view(&state).is_mirrored);
    look(&mut state, ViewCommand::TurnUpright);
    assert!(view(&state).is_upright());
    look(&mut state, ViewCommand::TurnTo(1.0));
    look(&mut state, ViewCommand::LookAtRegion(SlideRect { x0: 100.0, y0: 100.0, x1: 500.0, y1: 300.0 }));
    assert_eq!(view(&state).centre, (300.0, 200.0));
}

#[test]
fn back_and_forward_go_through_places_of_the_slide_in_view() {
    let mut state = with_slide();
    navigate(&mut state, NavigateCommand::Back);
    look(&mut state, ViewCommand::LookAtRegion(SlideRect { x0: 100.0, y0: 100.0, x1: 500.0, y1: 300.0 }));
    let there = view(&state);
    navigate(&mut state, NavigateCommand::Back);
    assert_eq!(view(&state).centre, (2048.0, 1500.0), "all of the slide, as it was opened");
    navigate(&mut state, NavigateCommand::Back);
    assert_eq!(view(&state).centre, (2048.0, 1500.0));
    navigate(&mut state, NavigateCommand::Forward);
    assert_eq!(view(&state), there);

    let first = state.shown.unwrap();
    show_another(&mut state, "b.svs");
    navigate(&mut state, NavigateCommand::Back);
    assert_eq!(
        state.shown_slide().map(SlideTab::name),
        Some("b.svs".to_owned()),
        "each slide has its own way"
    );
    update::command(&mut state, Command::Close(first));
    assert!(!state.read.navigate.trails.contains_key(&first));
}

#[test]
fn the_list_and_the_dialog_come_and_go() {
    let mut state = with_slide();
    navigate(&mut state, NavigateCommand::ShowGoTo(true));
    assert!(state.read.navigate.is_go_to_shown);
    navigate(&mut state, NavigateCommand::ToggleList);
    assert!(state.read.navigate.is_list_shown && !state.read.navigate.is_go_to_shown);
    // The list gives the wish for the dialog, and closes.
    navigate(&mut state, NavigateCommand::ShowGoTo(true));
    navigate(&mut state, NavigateCommand::ToggleList);
    assert!(!state.read.navigate.is_list_shown && state.read.navigate.is_go_to_shown);
    let mut empty = AppState::default();
    navigate(&mut empty, NavigateCommand::ShowGoTo(true));
    assert!(!empty.read.navigate.is_go_to_shown, "there is nowhere to go");
    let effects = navigate(&mut empty, NavigateCommand::ToggleFullScreen);
    assert_eq!(effects, [Effect::Read(ReadEffect::Navigate(NavigateEffect::ToggleFullScreen))]);
}

#[test]
fn changed_keys_are_saved_and_the_loser_is_named() {
    let mut state = AppState::default();
    let keys = vec![key_map::from_text("M").unwrap()];
    let effects = navigate(&mut state, NavigateCommand::SetKeys("Mirror", keys));
    assert_eq!(state.settings.keys["Mirror"], ["M"]);
    assert_eq!(effects, [Effect::SaveSettings(state.settings.clone())]);
    assert!(state.read.navigate.key_news.as_deref().unwrap().contains("“Move tool”"));
    navigate(&mut state, NavigateCommand::ResetKeys("Mirror"));
    assert!(!state.settings.keys.contains_key("Mirror"));
    assert!(state.settings.keys.contains_key("Move tool"), "what was taken stays taken until it is reset");
    navigate(&mut state, NavigateCommand::ResetAllKeys);
    assert!(state.settings.keys.is_empty() && state.read.navigate.key_news.is_none());
}

#[test]
fn a_gamepad_moves_what_is_read_and_nothing_else() {
    let mut state = with_slide();
    look(&mut state, ViewCommand::Scale(1.0, 1.0));
    let before = view(&state);
    let pad = |state: &mut AppState, wish: PadWish| {
        update::event(state, Event::Read(ReadEvent::Navigate(NavigateEvent::Pad(wish))))
    };
    let right = PadWish::Move { left: vec2(1.0, 0.0), right: Vec2::ZERO, seconds: 0.1 };
    pad(&mut state, right);
    assert!((view(&state).centre.0 - before.centre.0 - 0.15 * 800.0).abs() < 1e-3, "1.5 views a second");
    let up = PadWish::Move { left: vec2(0.0, 1.0), right: Vec2::ZERO, seconds: 0.1 };
    pad(&mut state, up);
    assert!(view(&state).centre.1 < before.centre.1, "up on the stick shows what lies above");
    let nearer = PadWish::Move { left: Vec2::ZERO, right: vec2(0.0, 1.0), seconds: 0.5 };
    pad(&mut state, nearer);
    assert!((view(&state).slide_per_point - 0.5).abs() < 1e-3, "{}", view(&state).slide_per_point);

    pad(&mut state, PadWish::Objective { nearer: false, pixels_per_point: 1.0 });
    assert_eq!(view(&state).slide_per_point, 1.0, "from 40× digital to 20×");
    pad(&mut state, PadWish::Objective { nearer: false, pixels_per_point: 1.0 });
    assert_eq!(view(&state).slide_per_point, 2.0);
    pad(&mut state, PadWish::Fit);
    assert!(view(&state).slide_per_point > 4.0);

    let kept = view(&state);
    state.mode = Mode::Train;
    pad(&mut state, right);
    state.mode = Mode::Read;
    state.settings.notice_accepted = false;
    pad(&mut state, right);
    assert_eq!(view(&state), kept);
}

#[test]
fn what_is_about_patches_does_not_disturb_the_way() {
    let mut state = with_slide();
    look(&mut state, ViewCommand::Fit);
    update::command(&mut state, Command::Patch(PatchCommand::Select(None)));
    let trail = &state.read.navigate.trails[&state.shown.unwrap()];
    assert!(!trail.has_behind() && !trail.has_ahead());
}
