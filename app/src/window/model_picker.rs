//! The model picker: a button with the name of the model in use, and under it every package of this machine with what is to be
//! known before it is chosen.
//!
//! Whether it is open is egui's to remember, as with every menu; what it shows is read anew each time.

use egui::text::{LayoutJob, TextFormat};
use egui::{
    Align, Button, FontId, Frame, Id, Layout, Margin, Popup, PopupCloseBehavior, RectAlign, RichText,
    ScrollArea, Ui, WidgetText, vec2,
};
use reinpath_model::package::KNOWN;

use super::command::{Command, CommandSender, ModelCommand, keys_of};
use super::model_list::{Fit, ListedModel, ModelFacts, ModelList};
use super::state::{AppState, ModelState, PackageState, WorkerState};
use super::theme;
use super::widgets::{caption, hairline, title, warning};
use crate::models;

/// Points.
const WIDTH: f32 = 384.0;
const MOST_HEIGHT: f32 = 420.0;

/// Said where there is nothing to choose but the demo.
const HOW_TO_ADD: &str = "No model of your own is here yet: `reinpath model add` makes a package from files you have, and \
                          `reinpath model get` downloads such files.";

/// The picker in egui's memory of what is open.
pub(super) fn id() -> Id {
    Id::unique("model picker")
}

/// Draws the button, and the picker while it is open.
pub(super) fn ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    let name = match &state.model.package {
        PackageState::Reading => "Reading the model",
        PackageState::Known(info) => info.name.as_str(),
        PackageState::Failed(_) => "No model",
    };
    let tip = format!("Choose the model ({})", keys_of(ui.ctx(), "Choose model"));
    let button = ui.add(Button::new(name).truncate());
    let button = button.accessible_name(format!("Model: {name}")).on_hover_text(tip);
    if button.clicked() && !Popup::is_id_open(ui.ctx(), id()) {
        commands.model(ModelCommand::ReadList);
    }
    if !Popup::is_id_open(ui.ctx(), id()) {
        ui.data_mut(|data| data.remove::<bool>(id()));
    }
    Popup::menu(&button)
        .id(id())
        .align(RectAlign::BOTTOM_END)
        .close_behavior(PopupCloseBehavior::CloseOnClickOutside)
        .accessible_name("Models")
        .show(|ui| picker_ui(ui, state, commands));
}

fn picker_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    ui.set_width(WIDTH);
    ui.spacing_mut().button_padding = vec2(theme::GRID, 4.0);
    match &state.model.list {
        Some(list) => list_ui(ui, &state.model, list, commands),
        None => {
            caption(ui, "Reading the models folder");
        }
    }
    ui.add_space(4.0);
    hairline(ui);
    ui.horizontal(|ui| {
        let open = Button::new("Open a model folder…");
        if ui.add_enabled(!state.picking, open).clicked() {
            commands.model(ModelCommand::PickFolder);
            ui.close();
        }
        if ui.add_enabled(!state.model.is_list_being_read, Button::new("Refresh")).clicked() {
            commands.model(ModelCommand::ReadList);
        }
    });
}

fn list_ui(ui: &mut Ui, state: &ModelState, list: &ModelList, commands: &CommandSender) {
    // The popup opens as small as what it showed at first: the list does not keep to that.
    let scroll = ScrollArea::vertical()
        .id_salt("models")
        .max_height(MOST_HEIGHT)
        .min_scrolled_height(MOST_HEIGHT)
        .auto_shrink([false, true]);
    scroll.show(ui, |ui| {
        for model in &list.models {
            match &model.facts {
                Ok(facts) => model_ui(ui, state, list, model, facts, commands),
                Err(reason) => broken_ui(ui, &model.name, reason),
            }
        }
        known_ui(ui, commands);
    });
    if let Some(fault) = &list.fault {
        warning(ui, fault);
    } else if list.models.iter().all(|model| model.is_demo) {
        caption(ui, HOW_TO_ADD);
    }
}

/// What the last line of a row says, and whether it is a warning.
fn memory_in_words(
    state: &ModelState,
    list: &ModelList,
    model: &ListedModel,
    facts: &ModelFacts,
) -> (String, bool) {
    let in_use = state.folder() == Some(model.folder.as_path());
    match state.memory() {
        Some(taken) if in_use => (format!("in use, takes {}", models::size_in_words(taken)), false),
        taken => {
            let Fit { words, fits } =
                Fit::of(facts.need, list.machine, taken.filter(|_| comes_back(state, list)).unwrap_or(0));
            (if in_use { format!("in use, {words}") } else { words }, !fits)
        }
    }
}

/// Whether the memory of the model in use is main memory that another may have instead. The pages of a quantised model
/// are its file's, which the system counts as free already; a GPU's memory is another one.
fn comes_back(state: &ModelState, list: &ModelList) -> bool {
    let on_cpu = matches!(&state.worker, WorkerState::Ready { device, .. } if device == "cpu");
    let used = list.models.iter().find(|model| state.folder() == Some(model.folder.as_path()));
    let precision = used.and_then(|model| model.facts.as_ref().ok()).map(|facts| facts.precision.as_str());
    on_cpu && precision.is_some_and(|precision| ["f32", "bf16", "f16"].contains(&precision))
}

fn model_ui(
    ui: &mut Ui,
    state: &ModelState,
    list: &ModelList,
    model: &ListedModel,
    facts: &ModelFacts,
    commands: &CommandSender,
) {
    let in_use = state.folder() == Some(model.folder.as_path());
    let (memory, warns) = memory_in_words(state, list, model, facts);
    let (allows, facts) = (&facts.allows, facts.in_words());
    let palette = theme::of(ui);
    let (plain, alert) =
        if in_use { (palette.on_accent, palette.on_accent) } else { (palette.text, palette.warning) };
    let small = |colour| TextFormat::simple(FontId::proportional(theme::CAPTION), colour);
    let mut words = LayoutJob::default();
    words.append(&model.name, 0.0, TextFormat::simple(theme::semibold(theme::BODY), plain));
    words.append(&format!("\n{facts}"), 0.0, small(plain));
    words.append(&format!("\n{memory}"), 0.0, small(if warns { alert } else { plain }));
    let mut said = format!("{}, {facts}, {memory}", model.name);
    if !allows.is_empty() {
        words.append(&format!("\n{allows}"), 0.0, small(plain));
        said = format!("{said}, {allows}");
    }
    let row = ui.add(Button::selectable(in_use, WidgetText::from(words)).wrap());
    let row = row.accessible_name(said);
    if in_use && !takes_keys(ui) {
        // By keyboard the picker is there to be used at once.
        row.request_focus();
        ui.data_mut(|data| data.insert_temp(id(), true));
    }
    if row.on_hover_text(model.folder.display().to_string()).clicked() {
        commands.model(ModelCommand::Use(model.folder.clone()));
        ui.close();
    }
}

/// Whether the keys were led into the picker since it was opened.
fn takes_keys(ui: &Ui) -> bool {
    ui.data(|data| data.get_temp(id()).unwrap_or(false))
}

/// A package that cannot be used is no button.
fn broken_ui(ui: &mut Ui, name: &str, reason: &str) {
    entry_ui(ui, |ui| {
        let palette = theme::of(ui);
        ui.label(RichText::new(name).font(theme::semibold(theme::BODY)).color(palette.weak));
        ui.label(RichText::new(format!("Cannot be used. {reason}")).small().color(palette.error));
    });
}

/// The published models that are known by name.
fn known_ui(ui: &mut Ui, commands: &CommandSender) {
    ui.add_space(4.0);
    hairline(ui);
    caption(ui, "Models that can be had");
    for known in KNOWN {
        entry_ui(ui, |ui| {
            title(ui, known.name);
            for line in [models::sizes_in_words(known), models::licence_in_words(known)] {
                ui.label(RichText::new(line).small());
            }
            let command = models::command_for(known);
            ui.label(RichText::new(&command).monospace().size(theme::CAPTION));
            let copy = ui.small_button("Copy command");
            if copy.accessible_name(format!("Copy the command for {}", known.name)).clicked() {
                commands.send(Command::Copy(command));
            }
        });
    }
}

/// What is read and not pressed.
fn entry_ui(ui: &mut Ui, content: impl FnOnce(&mut Ui)) {
    Frame::new().inner_margin(Margin::symmetric(8, 4)).show(ui, |ui| {
        // A menu's own layout would stretch the words over the line.
        ui.with_layout(Layout::top_down(Align::LEFT), |ui| {
            ui.spacing_mut().item_spacing.y = 1.0;
            content(ui);
        });
    });
}
