//! Where one looks: places visited, going to one, the command list, keys that were changed, the gamepad.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use egui::{Key, KeyboardShortcut, Ui, ViewportCommand};

use super::super::command::{
    Command, CommandSender, Named, ViewCommand, alt, ctrl, key, named, scroll, shift,
};
use super::super::state::AppState;
use super::super::update::Effect;
use super::super::workers::{EventSender, Workers};
use super::{ReadCommand, ReadEffect, ReadPlaces, annotate, views};
use crate::viewer::tile_cache::SlideKey;
use crate::viewer::viewport::Viewport;

mod command_list;
pub mod gamepad;
mod go_to;
pub mod history;
pub mod key_map;
pub mod magnification;
pub mod motion;
pub mod place;

use gamepad::PadWish;
use history::Trail;
use key_map::{ChangedKeys, KeyMap, Keyboard};

/// How far R turns, in radians: 15°.
const TURN: f64 = std::f64::consts::PI / 12.0;
/// A page leaves a little of what was seen.
const PAGE: f32 = 0.9;

/// What of it is shown.
#[derive(Debug, Default)]
pub struct NavigateState {
    /// The way through each slide.
    pub trails: BTreeMap<SlideKey, Trail>,
    pub is_list_shown: bool,
    pub is_go_to_shown: bool,
    /// What happened to other commands when keys were changed last.
    pub key_news: Option<String>,
}

/// Wishes about it.
#[derive(Clone, Debug, PartialEq)]
pub enum NavigateCommand {
    /// The place that was looked at before.
    Back,
    /// The place that was gone back from.
    Forward,
    ToggleList,
    /// Shows the dialog for a place, or hides it.
    ShowGoTo(bool),
    ToggleFullScreen,
    /// Gives the command of this name these keys and no others.
    SetKeys(&'static str, Vec<KeyboardShortcut>),
    /// Gives the command of this name its own keys back.
    ResetKeys(&'static str),
    ResetAllKeys,
}

/// What happened to it.
#[derive(Clone, Copy, Debug)]
pub enum NavigateEvent {
    Pad(PadWish),
}

/// What is to be done by threads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NavigateEffect {
    ToggleFullScreen,
}

/// Its commands with names and keys.
pub const NAMED: &[Named] = &[
    named("Turn clockwise", &[key(Key::R)], false, || Command::View(ViewCommand::Turn(TURN))),
    named("Turn back", &[shift(Key::R)], false, || Command::View(ViewCommand::Turn(-TURN))),
    named("Turn upright", &[alt(Key::R)], false, || Command::View(ViewCommand::TurnUpright)),
    named("Mirror", &[key(Key::F)], false, || Command::View(ViewCommand::Mirror)),
    named("Page left", &[shift(Key::ArrowLeft)], false, || scroll(-PAGE, 0.0)),
    named("Page right", &[shift(Key::ArrowRight)], false, || scroll(PAGE, 0.0)),
    named("Back", &[alt(Key::ArrowLeft)], false, || wish(NavigateCommand::Back)),
    named("Forward", &[alt(Key::ArrowRight)], false, || wish(NavigateCommand::Forward)),
    named("Go to place…", &[ctrl(Key::G)], true, || wish(NavigateCommand::ShowGoTo(true))),
    named("Full screen", &[key(Key::F11)], true, || wish(NavigateCommand::ToggleFullScreen)),
    named("Command list", &[ctrl(Key::L)], true, || wish(NavigateCommand::ToggleList)),
];

fn wish(wish: NavigateCommand) -> Command {
    Command::Read(ReadCommand::Navigate(wish))
}

/// Whether a wish is about the window rather than a slide.
pub(in crate::window) fn is_for_both_modes(wish: &NavigateCommand) -> bool {
    use NavigateCommand::{Back, Forward, ShowGoTo};
    !matches!(wish, Back | Forward | ShowGoTo(_))
}

/// Carries out a wish.
pub(super) fn command(state: &mut AppState, wish: NavigateCommand) -> Vec<Effect> {
    match wish {
        NavigateCommand::Back => walk(state, Trail::back),
        NavigateCommand::Forward => walk(state, Trail::forward),
        NavigateCommand::ToggleList => {
            let navigate = &mut state.read.navigate;
            navigate.is_list_shown = !navigate.is_list_shown;
            // The list may just have given the wish for the dialog.
            navigate.is_go_to_shown &= !navigate.is_list_shown;
            navigate.key_news = None;
        }
        NavigateCommand::ShowGoTo(is_shown) => {
            let has_slide = state.shown_slide().is_some_and(|slide| slide.info().is_some());
            state.read.navigate.is_go_to_shown = is_shown && has_slide;
        }
        NavigateCommand::ToggleFullScreen => {
            return vec![Effect::Read(ReadEffect::Navigate(NavigateEffect::ToggleFullScreen))];
        }
        NavigateCommand::SetKeys(name, keys) => {
            return change_keys(state, |changed| key_map::assign(changed, name, &keys));
        }
        NavigateCommand::ResetKeys(name) => {
            return change_keys(state, |changed| key_map::reset(changed, name));
        }
        NavigateCommand::ResetAllKeys => {
            return change_keys(state, |changed| {
                changed.clear();
                Vec::new()
            });
        }
    }
    Vec::new()
}

fn change_keys(
    state: &mut AppState,
    change: impl FnOnce(&mut ChangedKeys) -> Vec<&'static str>,
) -> Vec<Effect> {
    let robbed = change(&mut state.settings.keys);
    let map = KeyMap::new(&state.settings.keys);
    let news = robbed.iter().map(|name| {
        let left = if map.keys(name).is_empty() { "has none now" } else { "keeps its others" };
        format!("“{name}” had these keys before and {left}.")
    });
    let news = news.collect::<Vec<_>>().join(" ");
    state.read.navigate.key_news = (!news.is_empty()).then_some(news);
    vec![Effect::SaveSettings(state.settings.clone())]
}

/// Goes to another place of the way through the slide in view.
fn walk(state: &mut AppState, step: fn(&mut Trail, Viewport, egui::Vec2, Instant) -> Option<Viewport>) {
    let (Some(screen), Some(key)) = (state.viewer, state.shown) else { return };
    let Some(now) = state.slide(key).and_then(|slide| slide.viewport) else { return };
    let Some(trail) = state.read.navigate.trails.get_mut(&key) else { return };
    let Some(place) = step(trail, now, screen.size(), Instant::now()) else { return };
    if let Some(slide) = state.slide_mut(key) {
        slide.viewport = Some(place);
    }
    // The other panes follow; the way itself must not take it for a new place.
    views::moved(state);
}

/// Takes in what happened.
pub(super) fn event(state: &mut AppState, news: NavigateEvent) -> Vec<Effect> {
    match news {
        NavigateEvent::Pad(wish) => gamepad::carry_out(state, wish),
    }
}

/// What is seen of the slide in view was changed by a wish.
pub(super) fn moved(state: &mut AppState) {
    let (Some(screen), Some(key)) = (state.viewer, state.shown) else { return };
    let Some(slide) = state.slide(key) else { return };
    let (Some(now), Some(info)) = (slide.viewport, slide.info()) else { return };
    let first = Viewport::fitted(info.width(), info.height(), screen.size());
    let trail = state.read.navigate.trails.entry(key).or_default();
    trail.moved(first, now, screen.size(), Instant::now());
}

/// A slide was closed.
pub(super) fn closed(state: &mut AppState, key: SlideKey) {
    if state.slide(key).is_none() {
        state.read.navigate.trails.remove(&key);
    }
    if state.shown.is_none() {
        state.read.navigate.is_go_to_shown = false;
    }
}

/// Its threads.
pub(super) struct NavigateDesk {
    events: EventSender,
    /// The gamepad's thread ends when this is dropped.
    #[cfg(feature = "gamepad")]
    _alive: crossbeam_channel::Sender<()>,
}

impl NavigateDesk {
    #[cfg(feature = "gamepad")]
    pub(super) fn new(events: EventSender, places: &ReadPlaces) -> Self {
        let (alive, until_gone) = crossbeam_channel::bounded(0);
        if places.has_gamepad {
            let sender = events.clone();
            let thread = std::thread::Builder::new().name("gamepad".to_owned());
            if let Err(error) = thread.spawn(move || gamepad::listen(&sender, &until_gone)) {
                tracing::warn!("no thread for gamepads: {error}");
            }
        }
        Self { events, _alive: alive }
    }

    #[cfg(not(feature = "gamepad"))]
    pub(super) fn new(events: EventSender, _places: &ReadPlaces) -> Self {
        Self { events }
    }

    pub(super) fn carry_out(&mut self, effect: NavigateEffect, _workers: &Workers) {
        match effect {
            NavigateEffect::ToggleFullScreen => {
                let ctx = self.events.context();
                let is_full = ctx.input(|input| input.viewport().fullscreen.unwrap_or(false));
                ctx.send_viewport_cmd(ViewportCommand::Fullscreen(!is_full));
            }
        }
    }
}

/// What is being typed, and the keys as they were put together last.
#[derive(Default)]
pub(in crate::window) struct NavigatePanel {
    list: command_list::CommandList,
    go_to: go_to::GoTo,
    map: Arc<KeyMap>,
    /// What the map was made from.
    changed: ChangedKeys,
}

impl NavigatePanel {
    /// The command list and the dialog for a place; and what the keys mean, for those who know no state.
    pub(super) fn over_all(&mut self, ui: &Ui, state: &AppState, commands: &CommandSender) {
        if self.changed != state.settings.keys {
            self.changed.clone_from(&state.settings.keys);
            self.map = Arc::new(KeyMap::new(&self.changed));
        }
        let keyboard = Keyboard {
            map: Arc::clone(&self.map),
            owned_by_annotations: annotate::owns_edit_keys(state),
            is_dialog_open: false,
        };
        let has_list = self.list.ui(ui, state, &keyboard, commands);
        let has_go_to = self.go_to.ui(ui, state, commands);
        key_map::set(ui.ctx(), Keyboard { is_dialog_open: has_list || has_go_to, ..keyboard });
    }
}

#[cfg(test)]
mod tests;
