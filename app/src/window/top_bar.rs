//! The bar at the top: open slides as tabs, objectives, tools, theme.

use egui::{Align, Button, Layout, Ui};

use super::command::{Command, CommandSender, ViewCommand, keys_of};
use super::state::{AppState, Mode, SlideStatus, SlideTab, Tool};
use super::widgets::toggle;
use crate::viewer::overlay::objectives;

/// The longest name of a tab, in characters.
const LONGEST_NAME: usize = 28;

/// Draws the bar.
pub(super) fn ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    ui.horizontal_centered(|ui| {
        modes_ui(ui, state, commands);
        ui.separator();
        if state.mode == Mode::Train {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| theme_ui(ui, state, commands));
            return;
        }
        let open = ui.add_enabled(!state.picking, Button::new("Open…"));
        if open.on_hover_text(with_keys(ui, "Open a slide", "Open slide…")).clicked() {
            commands.send(Command::PickSlides);
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            theme_ui(ui, state, commands);
            ui.separator();
            tools_ui(ui, state, commands);
            if let Some(slide) = state.shown_slide().filter(|slide| slide.info().is_some()) {
                ui.separator();
                magnifications_ui(ui, slide, commands);
            }
            ui.separator();
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| tabs_ui(ui, state, commands));
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

fn with_keys(ui: &Ui, what: &str, name: &str) -> String {
    format!("{what} ({})", keys_of(ui.ctx(), name))
}

fn tabs_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    egui::ScrollArea::horizontal().id_salt("tabs").show(ui, |ui| {
        for slide in &state.slides {
            let shown = state.shown == Some(slide.key);
            let name = slide.name();
            ui.spacing_mut().item_spacing.x = 2.0;
            let tab = toggle(ui, shown, shortened(&name)).on_hover_text(slide.path.display().to_string());
            if tab.clicked() {
                commands.send(Command::Show(slide.key));
            }
            let close = ui.add(Button::new("×").frame_when_inactive(false));
            let close = close.accessible_name(format!("Close {name}"));
            if close.on_hover_text(format!("Close {name}")).clicked() || tab.middle_clicked() {
                commands.send(Command::Close(slide.key));
            }
        }
    });
}

/// The beginning and the end of a long name: slides of one case differ at the end.
fn shortened(name: &str) -> String {
    let characters: Vec<char> = name.chars().collect();
    if characters.len() <= LONGEST_NAME {
        return name.to_owned();
    }
    let half = (LONGEST_NAME - 1) / 2;
    let (head, tail) = (&characters[..half], &characters[characters.len() - half..]);
    format!("{}…{}", head.iter().collect::<String>(), tail.iter().collect::<String>())
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

/// Right to left: the slide's own magnification is next to the tools.
fn magnifications_ui(ui: &mut Ui, slide: &SlideTab, commands: &CommandSender) {
    let SlideStatus::Open { info } = &slide.status else { return };
    let pixels_per_point = ui.pixels_per_point();
    let scale = slide.viewport.map(|viewport| viewport.slide_per_point / f64::from(pixels_per_point));
    let mut steps: Vec<(String, f64)> = match info.mpp {
        Some(mpp) => objectives(mpp).into_iter().map(|(name, scale)| (format!("{name}×"), scale)).collect(),
        None => [10.0, 25.0, 50.0, 100.0].map(|percent| (format!("{percent} %"), 100.0 / percent)).to_vec(),
    };
    steps.reverse();
    ui.spacing_mut().item_spacing.x = 2.0;
    for (name, step) in steps {
        let on = scale.is_some_and(|scale| (scale / step - 1.0).abs() < 0.02);
        if toggle(ui, on, name).clicked() {
            commands.view(ViewCommand::Scale(step, pixels_per_point));
        }
    }
    if toggle(ui, false, "Fit").on_hover_text(with_keys(ui, "Show all of the slide", "Fit slide")).clicked() {
        commands.view(ViewCommand::Fit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_keeps_its_end() {
        assert_eq!(shortened("CMU-1.svs"), "CMU-1.svs");
        let short = shortened("TCGA-A1-A0SB-01Z-00-DX1.B34C267B-CAAA-4AB6-AD5C-276C26F997A1.svs");
        assert_eq!(short.chars().count(), 27);
        assert!(short.starts_with("TCGA-A1") && short.ends_with("97A1.svs"));
    }
}
