//! The bar at the top: open slides as tabs, objectives, tools, theme.

use egui::{Align, Button, Id, Key, Layout, TextEdit, Ui};

use super::command::{Command, CommandSender, ViewCommand, keys_of};
use super::read::ReadCommand;
use super::read::navigate::{NavigateCommand, magnification};
use super::read::views::tabs;
use super::state::{AppState, Mode, SlideTab, Tool};
use super::theme;
use super::widgets::toggle;
use crate::slide::SlideInfo;
use crate::viewer::overlay;
use crate::viewer::viewport::Viewport;

/// Room for what is typed, in points.
const TYPED_WIDTH: f32 = 84.0;

/// Draws the bar.
pub(super) fn ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    ui.horizontal_centered(|ui| {
        modes_ui(ui, state, commands);
        ui.separator();
        if state.mode == Mode::Train {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                theme_ui(ui, state, commands);
                list_ui(ui, commands);
            });
            return;
        }
        let open = ui.add_enabled(!state.picking, Button::new("Open…"));
        if open.on_hover_text(with_keys(ui, "Open a slide", "Open slide…")).clicked() {
            commands.send(Command::PickSlides);
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            theme_ui(ui, state, commands);
            list_ui(ui, commands);
            ui.separator();
            tools_ui(ui, state, commands);
            if let Some(slide) = state.shown_slide()
                && let Some(info) = slide.info()
            {
                ui.separator();
                magnifications_ui(ui, state, slide, info, commands);
                turn_ui(ui, slide.viewport.as_ref(), commands);
            }
            ui.separator();
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| tabs::ui(ui, state, commands));
        });
    });
}

fn modes_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    for (mode, name, tip) in [
        (Mode::Read, "Read", "Slides, questions and answers"),
        (Mode::Train, "Train", "Runs: start, watch, judge and use them"),
    ] {
        let tip = with_keys(ui, tip, name);
        if toggle(ui, state.mode == mode, name).on_hover_text(tip).clicked() && state.mode != mode {
            commands.send(Command::Mode(mode));
        }
    }
}

fn theme_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    let name = if state.settings.dark { "Light" } else { "Dark" };
    let tip = with_keys(ui, "Switch between dark and light", "Switch theme");
    if ui.button(name).on_hover_text(tip).clicked() {
        commands.send(Command::ToggleTheme);
    }
}

fn list_ui(ui: &mut Ui, commands: &CommandSender) {
    let tip = with_keys(ui, "Every command and its keys", "Command list");
    if ui.button("Commands").on_hover_text(tip).clicked() {
        commands.read(ReadCommand::Navigate(NavigateCommand::ToggleList));
    }
}

/// What a button does, with its keys where it has some.
fn with_keys(ui: &Ui, what: &str, name: &str) -> String {
    let keys = keys_of(ui.ctx(), name);
    if keys.is_empty() { what.to_owned() } else { format!("{what} ({keys})") }
}

/// Right to left.
fn tools_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    for (tool, name, tip, key) in [
        (Tool::Patch, "Patch", "Click to place a patch, drag to draw a rectangle", "Patch tool"),
        (Tool::Pan, "Move", "Drag the slide, click a patch to select it", "Move tool"),
    ] {
        let tip = with_keys(ui, tip, key);
        if toggle(ui, state.tool == tool, name).on_hover_text(tip).clicked() {
            commands.send(Command::Tool(tool));
        }
    }
}

/// Right to left: the slide's own magnification is next to the tools. Those above it are not offered.
fn magnifications_ui(
    ui: &mut Ui,
    state: &AppState,
    slide: &SlideTab,
    info: &SlideInfo,
    commands: &CommandSender,
) {
    let pixels_per_point = ui.pixels_per_point();
    let viewport = state.viewer.and_then(|pane| slide.viewport_in(pane.size()));
    let scale = viewport.map(|viewport| viewport.slide_per_point / f64::from(pixels_per_point));
    ui.spacing_mut().item_spacing.x = 2.0;
    typed_ui(ui, info, scale, commands);
    for (name, step) in magnification::steps(info.mpp).into_iter().rev() {
        let on = scale.is_some_and(|scale| magnification::is_at(scale, step));
        if toggle(ui, on, name).clicked() {
            commands.view(ViewCommand::Scale(step, pixels_per_point));
        }
    }
    if toggle(ui, false, "Fit").on_hover_text(with_keys(ui, "Show all of the slide", "Fit slide")).clicked() {
        commands.view(ViewCommand::Fit);
    }
}

/// What is being typed as the magnification.
#[derive(Clone, Debug, Default)]
struct Typed {
    text: String,
    /// Why it cannot be taken.
    fault: Option<String>,
}

/// A field that shows the magnification, and takes one: empty once it has the keyboard, so that one types without deleting.
fn typed_ui(ui: &mut Ui, info: &SlideInfo, scale: Option<f64>, commands: &CommandSender) {
    let id = Id::unique("magnification");
    let now = scale.map_or_else(String::new, |scale| overlay::magnification(info.mpp, scale));
    let has_focus = ui.memory(|memory| memory.has_focus(id));
    let mut typed: Typed = ui.data(|data| data.get_temp(id)).unwrap_or_default();
    let mut text = if has_focus { typed.text.clone() } else { now.clone() };
    let mut edit = TextEdit::singleline(&mut text).id(id).desired_width(TYPED_WIDTH).hint_text(now);
    if typed.fault.is_some() {
        edit = edit.text_color(theme::of(ui).error);
    }
    let response = ui.add(edit).accessible_name("Magnification");
    let is_entered = response.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
    if is_entered && !text.trim().is_empty() {
        match magnification::parse(&text, info.mpp) {
            Ok(scale) => {
                commands.view(ViewCommand::Scale(scale, ui.pixels_per_point()));
                typed = Typed::default();
            }
            Err(fault) => {
                typed = Typed { text, fault: Some(fault) };
                response.request_focus();
            }
        }
    } else if response.changed() && has_focus {
        typed = Typed { text, fault: None };
    } else if !has_focus {
        typed = Typed::default();
    }
    match &typed.fault {
        Some(fault) => response.show_tooltip_text(fault.as_str()),
        None => {
            response.on_hover_text("Type a magnification, a scale or per cent of the slide's own pixels");
        }
    }
    ui.data_mut(|data| data.insert_temp(id, typed));
}

/// How a slide is turned, as the button that turns it upright; nothing while it is.
fn turn_ui(ui: &mut Ui, viewport: Option<&Viewport>, commands: &CommandSender) {
    let Some(viewport) = viewport.filter(|viewport| !viewport.is_upright()) else { return };
    let tip = with_keys(ui, "Turn the slide upright", "Turn upright");
    let button = ui.button(overlay::turn_in_words(viewport)).on_hover_text(tip);
    if button.accessible_name("Turn upright").clicked() {
        commands.view(ViewCommand::TurnUpright);
    }
}
