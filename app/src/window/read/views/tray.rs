//! What the left panel says of several slides: how they are laid out, which were open before, and the folder as a list.

use egui::containers::menu::MenuButton;
use egui::{Align, Button, Label, Layout as Flow, ScrollArea, Sense, Ui, vec2};

use super::super::super::command::{Command, CommandSender, keys_of};
use super::super::super::slides_panel::paint_inside;
use super::super::super::state::{AppState, SlideTab};
use super::super::super::theme;
use super::super::super::widgets::{caption, hairline, title, toggle};
use super::super::ReadCommand;
use super::pane::DraggedSlide;
use super::{Folder, Layout, ViewsCommand};

/// The height of a slide of the folder's list, in points.
const ROW: f32 = 22.0;

fn wish(commands: &CommandSender, command: ViewsCommand) {
    commands.read(ReadCommand::Views(command));
}

/// Lets a slide's card be dragged to a pane.
pub(in crate::window) fn draggable(card: &egui::Response, slide: &SlideTab) {
    card.dnd_set_drag_payload(DraggedSlide(slide.key));
}

/// The head of the slides' part: a folder, recent slides.
pub(in crate::window) fn head_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    ui.horizontal(|ui| {
        title(ui, "Slides");
        ui.with_layout(Flow::right_to_left(Align::Center), |ui| {
            ui.spacing_mut().item_spacing.x = 2.0;
            let tip = format!("List the slides of a folder ({})", keys_of(ui.ctx(), "Open folder…"));
            let button = ui.add_enabled(!state.picking, Button::new("Folder…").small());
            if button.on_hover_text(tip).clicked() {
                wish(commands, ViewsCommand::PickFolder);
            }
            if !state.settings.read.is_blinded && !state.settings.recent.is_empty() {
                MenuButton::from_button(Button::new("Recent").small())
                    .ui(ui, |ui| recent_ui(ui, state, commands));
            }
        });
    });
    if !state.slides.is_empty() {
        layout_ui(ui, state, commands);
    }
}

fn recent_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    for path in &state.settings.recent {
        let name = path.file_name().map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy());
        if ui.button(name.into_owned()).on_hover_text(path.display().to_string()).clicked() {
            commands.send(Command::Open(path.clone()));
            ui.close();
        }
    }
    ui.separator();
    if ui.button("Forget these").clicked() {
        wish(commands, ViewsCommand::ForgetRecent);
        ui.close();
    }
}

fn layout_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    let views = &state.read.views;
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(2.0, 2.0);
        ui.spacing_mut().button_padding.x = 6.0;
        for (layout, words, name) in [
            (Layout::One, "1 × 1", "One pane"),
            (Layout::Two, "1 × 2", "Two panes"),
            (Layout::Four, "2 × 2", "Four panes"),
        ] {
            let tip = format!("{name} ({})", keys_of(ui.ctx(), name));
            if toggle(ui, views.layout == layout, words).on_hover_text(tip).clicked() {
                wish(commands, ViewsCommand::Layout(layout));
            }
        }
        let keys = keys_of(ui.ctx(), "Hide names");
        let tip = format!("Read blinded: no name of a file and no label is shown ({keys})");
        if toggle(ui, state.settings.read.is_blinded, "Hide names").on_hover_text(tip).clicked() {
            wish(commands, ViewsCommand::Blinded(!state.settings.read.is_blinded));
        }
        if views.layout != Layout::One {
            synchronise_ui(ui, state, commands);
        }
    });
}

fn synchronise_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    let views = &state.read.views;
    let keys = keys_of(ui.ctx(), "Synchronise panes");
    let tip = format!("The panes move and zoom together, at the same physical scale ({keys})");
    if toggle(ui, views.is_synchronised, "Synchronise").on_hover_text(tip).clicked() {
        wish(commands, ViewsCommand::Synchronise(!views.is_synchronised));
    }
    if views.is_aligning {
        let button = ui.button("Align here");
        if button.on_hover_text("From now on the panes belong together as they lie").clicked() {
            wish(commands, ViewsCommand::AlignHere);
        }
    } else if views.is_synchronised {
        let button = ui.button("Align…");
        if button.on_hover_text("Move one pane alone, then align it with the others").clicked() {
            wish(commands, ViewsCommand::Align);
        }
    }
}

/// The label, macro and thumbnail of the slide in view, each shown only when asked for, and never while names are hidden.
pub(in crate::window) fn labels_ui(
    ui: &mut Ui,
    state: &AppState,
    slide: &SlideTab,
    commands: &CommandSender,
) {
    let Some(info) = slide.info().filter(|info| !info.associated.is_empty()) else { return };
    if state.settings.read.is_blinded {
        return;
    }
    ui.menu_button("Label and macro…", |ui| {
        for image in &info.associated {
            let words = format!("{} ({} × {} px)", image.name, image.width, image.height);
            if ui.button(words).clicked() {
                wish(commands, ViewsCommand::ShowLabel(slide.key, image.name.clone()));
                ui.close();
            }
        }
    });
}

/// The folder as a list at the bottom of the panel, while one is open.
pub(in crate::window) fn folder_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    let Some(folder) = &state.read.views.folder else { return };
    let panel = egui::Panel::bottom("folder").resizable(true).default_size(220.0).size_range(96.0..=480.0);
    panel.frame(egui::Frame::NONE).show(ui, |ui| {
        ui.add_space(theme::GRID);
        hairline(ui);
        folder_head_ui(ui, state, folder, commands);
        if folder.is_being_read {
            ui.spinner();
            return;
        }
        let area = ScrollArea::vertical().id_salt("slides of the folder").auto_shrink(false);
        ui.spacing_mut().item_spacing.y = 0.0;
        area.show_rows(ui, ROW, folder.slides.len(), |ui, rows| {
            for at in rows {
                row_ui(ui, state, folder, at, commands);
            }
        });
    });
}

fn folder_head_ui(ui: &mut Ui, state: &AppState, folder: &Folder, commands: &CommandSender) {
    let shown = state.shown_slide().and_then(|slide| folder.place(&slide.path));
    let name = if state.settings.read.is_blinded { "Folder".to_owned() } else { folder.name() };
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 2.0;
        ui.with_layout(Flow::right_to_left(Align::Center), |ui| {
            let close = ui.add(Button::new("×").frame_when_inactive(false)).on_hover_text("Close the folder");
            if close.accessible_name("Close the folder").clicked() {
                wish(commands, ViewsCommand::CloseFolder);
            }
            for (by, words, command) in
                [(1, "Next", "Next slide of the folder"), (-1, "Previous", "Previous slide of the folder")]
            {
                let tip = format!("{command} ({})", keys_of(ui.ctx(), command));
                if ui.small_button(words).on_hover_text(tip).clicked() {
                    wish(commands, ViewsCommand::InFolder(by));
                }
            }
            ui.with_layout(Flow::left_to_right(Align::Center), |ui| {
                ui.add(Label::new(name).truncate().selectable(false));
            });
        });
    });
    let count = folder.slides.len();
    let words = match (shown, count) {
        (Some(at), _) => format!("{} of {count} slides", at + 1),
        (None, 1) => "1 slide".to_owned(),
        (None, _) => format!("{count} slides"),
    };
    caption(ui, words);
}

/// A slide that is open has its picture; of the others, which may be many, there is only the name.
fn row_ui(ui: &mut Ui, state: &AppState, folder: &Folder, at: usize, commands: &CommandSender) {
    let Some(path) = folder.slides.get(at) else { return };
    let open = state.slides.iter().find(|slide| slide.path == *path);
    let name = if state.settings.read.is_blinded {
        format!("File {}", at + 1)
    } else {
        path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        let (rect, _) = ui.allocate_exact_size(vec2(ROW, ROW), Sense::hover());
        if let Some(picture) = open.and_then(|slide| slide.overview.as_ref()) {
            paint_inside(ui, rect.shrink(2.0), &picture.texture, picture.aspect());
        }
        let shown = open.is_some_and(|slide| state.shown == Some(slide.key));
        let button = Button::selectable(shown, name.as_str()).truncate().sense(Sense::click_and_drag());
        let row = ui.add(button);
        if let Some(slide) = open {
            draggable(&row, slide);
        }
        if row.clicked() {
            wish(commands, ViewsCommand::ShowInFolder(at));
        }
    });
}
