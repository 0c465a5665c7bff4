//! Every command with its keys, to be searched, given and changed.

use egui::{
    Align, Align2, Button, Event, Frame, Id, Key, Label, Layout, Margin, Modal, Modifiers, RichText,
    ScrollArea, TextEdit, Ui, vec2,
};

use super::super::super::command::{self, CommandSender, Named};
use super::super::super::state::AppState;
use super::super::super::theme;
use super::super::super::widgets::{caption, hairline, toggle, warning};
use super::super::ReadCommand;
use super::NavigateCommand;
use super::key_map::{self, Keyboard};

/// Points.
const WIDTH: f32 = 580.0;
const HEIGHT: f32 = 400.0;
/// From the window's upper edge.
const BELOW_TOP: f32 = 64.0;
const KEYS_WIDTH: f32 = 130.0;
const ROW: f32 = 26.0;

/// What the Ask panel itself listens to.
const ASKS: &str = "Ctrl+Enter";

fn search_id() -> Id {
    Id::unique("command search")
}

/// What is typed and chosen in the list.
#[derive(Default)]
pub(super) struct CommandList {
    is_open: bool,
    search: String,
    /// The row that Enter gives.
    chosen: usize,
    is_changing: bool,
    /// The command whose new keys are waited for.
    recorded: Option<&'static str>,
    /// Why the keys that were pressed cannot be taken.
    refusal: Option<String>,
}

impl CommandList {
    /// Draws the list while it is to be shown; whether it still takes all keys afterwards.
    pub(super) fn ui(
        &mut self,
        ui: &Ui,
        state: &AppState,
        keyboard: &Keyboard,
        commands: &CommandSender,
    ) -> bool {
        if !state.read.navigate.is_list_shown {
            self.is_open = false;
            return false;
        }
        let is_new = !self.is_open;
        if is_new {
            *self = Self { is_open: true, ..Self::default() };
        }
        self.record(ui, commands);
        let id = Id::unique("command list");
        let area = Modal::default_area(id).anchor(Align2::CENTER_TOP, vec2(0.0, BELOW_TOP));
        let frame = Frame::popup(ui.style()).inner_margin(Margin::same(12));
        let modal = Modal::new(id).area(area).frame(frame).show(ui.ctx(), |ui| {
            ui.set_width(WIDTH);
            self.list_ui(ui, state, keyboard, commands, is_new)
        });
        let is_toggled = keyboard.map.keys("Command list").iter().any(|keys| {
            // The list takes all keys, also the one that opened it.
            !is_new && ui.ctx().input_mut(|input| input.consume_shortcut(keys))
        });
        let is_done = modal.inner || is_toggled || modal.should_close();
        if is_done {
            tell(commands, NavigateCommand::ToggleList);
        }
        !is_done
    }

    /// Takes the keys that are pressed for a command.
    fn record(&mut self, ui: &Ui, commands: &CommandSender) {
        let Some(name) = self.recorded else { return };
        let mut taken = None;
        ui.ctx().input_mut(|input| {
            input.events.retain(|event| match event {
                Event::Key { key, modifiers, pressed: true, .. }
                    if taken.is_none() && !key_map::is_modifier(*key) =>
                {
                    taken = Some(key_map::pressed(*modifiers, *key));
                    false
                }
                // What the key would type is not meant.
                Event::Text(_) => false,
                _ => true,
            });
        });
        let Some(keys) = taken else { return };
        self.recorded = None;
        if keys.logical_key == Key::Escape {
            return;
        }
        let is_reserved = key_map::from_text(ASKS).is_ok_and(|ask| key_map::are_same(ask, keys));
        self.refusal = is_reserved.then(|| format!("{ASKS} sends the question and stays with it."));
        if !is_reserved {
            tell(commands, NavigateCommand::SetKeys(name, vec![keys]));
        }
    }

    /// True when a command was given.
    fn list_ui(
        &mut self,
        ui: &mut Ui,
        state: &AppState,
        keyboard: &Keyboard,
        commands: &CommandSender,
        is_new: bool,
    ) -> bool {
        let rows = self.rows(state);
        let (moved, enter) = self.keys(ui, rows.len());
        self.search_ui(ui, is_new);
        let mut given = enter.then(|| rows.get(self.chosen).copied()).flatten();
        ui.add_space(4.0);
        let scroll =
            ScrollArea::vertical().id_salt("commands").max_height(HEIGHT).auto_shrink([false, false]);
        scroll.show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 1.0;
            for (n, &named) in rows.iter().enumerate() {
                if self.is_changing {
                    self.changing_ui(ui, named, state, keyboard, commands);
                } else if row_ui(ui, named, n == self.chosen, moved && n == self.chosen, keyboard) {
                    given = Some(named);
                }
            }
            if rows.is_empty() {
                caption(ui, "No command is called so.");
            }
        });
        hairline(ui);
        self.foot_ui(ui, state, keyboard, commands);
        if let Some(named) = given {
            commands.send(command::meant(named, keyboard.owned_by_annotations));
        }
        given.is_some()
    }

    /// What is possible in this mode and fits the search, by name.
    fn rows(&self, state: &AppState) -> Vec<&'static Named> {
        let mut rows: Vec<&'static Named> = command::all()
            .filter(|named| command::works_in(state.mode, &(named.command)()))
            .filter(|named| named.name != "Command list" || self.is_changing)
            .filter(|named| fits(&self.search, named.name))
            .collect();
        rows.sort_by_key(|named| named.name);
        rows
    }

    /// Up and down choose a row, Enter gives it: whether the choice moved, and whether Enter was pressed.
    fn keys(&mut self, ui: &Ui, rows: usize) -> (bool, bool) {
        let last = rows.saturating_sub(1);
        self.chosen = self.chosen.min(last);
        // Whoever went to a row or a button with Tab means that.
        let is_elsewhere = ui.memory(|memory| memory.focused().is_some_and(|id| id != search_id()));
        if self.is_changing || is_elsewhere {
            return (false, false);
        }
        let press = |key: Key| ui.ctx().input_mut(|input| input.consume_key(Modifiers::NONE, key));
        let (up, down, enter) = (press(Key::ArrowUp), press(Key::ArrowDown), press(Key::Enter));
        if up {
            self.chosen = self.chosen.saturating_sub(1);
        }
        if down {
            self.chosen = (self.chosen + 1).min(last);
        }
        (up || down, enter)
    }

    fn search_ui(&mut self, ui: &mut Ui, is_new: bool) {
        let edit = TextEdit::singleline(&mut self.search)
            .id(search_id())
            .hint_text("Search commands")
            .desired_width(f32::INFINITY);
        let edit = ui.add_enabled(self.recorded.is_none(), edit).accessible_name("Search commands");
        if is_new {
            edit.request_focus();
        }
        if edit.changed() {
            self.chosen = 0;
        }
    }

    /// A row whose keys can be changed.
    fn changing_ui(
        &mut self,
        ui: &mut Ui,
        named: &'static Named,
        state: &AppState,
        keyboard: &Keyboard,
        commands: &CommandSender,
    ) {
        let name = named.name;
        ui.horizontal(|ui| {
            let left = Layout::left_to_right(Align::Center);
            ui.allocate_ui_with_layout(vec2(190.0, ROW), left, |ui| {
                ui.set_min_width(190.0);
                ui.add(Label::new(name).truncate());
            });
            let is_recorded = self.recorded == Some(name);
            let words =
                if is_recorded { "Press the new keys".to_owned() } else { in_words(ui, keyboard, name) };
            ui.allocate_ui_with_layout(vec2(KEYS_WIDTH, ROW), left, |ui| {
                ui.set_min_width(KEYS_WIDTH);
                ui.add(Label::new(RichText::new(words).color(theme::of(ui).weak)).truncate());
            });
            ui.spacing_mut().item_spacing.x = 4.0;
            let change = toggle(ui, is_recorded, if is_recorded { "Cancel" } else { "Change" });
            if change.accessible_name(format!("Change keys of {name}")).clicked() {
                self.recorded = if is_recorded { None } else { Some(name) };
                self.refusal = None;
            }
            let has_keys = !keyboard.map.keys(name).is_empty();
            let remove = ui.add_enabled(has_keys && !is_recorded, Button::new("Remove"));
            if remove.accessible_name(format!("Remove keys of {name}")).clicked() {
                tell(commands, NavigateCommand::SetKeys(name, Vec::new()));
            }
            let is_changed = state.settings.keys.contains_key(name);
            let reset = ui.add_enabled(is_changed && !is_recorded, Button::new("Reset"));
            if reset.accessible_name(format!("Reset keys of {name}")).clicked() {
                tell(commands, NavigateCommand::ResetKeys(name));
            }
        });
    }

    fn foot_ui(&mut self, ui: &mut Ui, state: &AppState, keyboard: &Keyboard, commands: &CommandSender) {
        ui.horizontal(|ui| {
            if toggle(ui, self.is_changing, "Change keys…").clicked() {
                self.is_changing = !self.is_changing;
                (self.recorded, self.refusal) = (None, None);
            }
            let reset = Button::new("Reset all");
            if self.is_changing && ui.add_enabled(!state.settings.keys.is_empty(), reset).clicked() {
                tell(commands, NavigateCommand::ResetAllKeys);
            }
            if self.is_changing {
                caption(ui, "Click Change, then press the new keys. Escape keeps the old ones.");
            } else {
                caption(ui, "Enter gives the command, the arrow keys choose it.");
            }
        });
        for sentence in self.refusal.iter().chain(&state.read.navigate.key_news).chain(&keyboard.map.faults) {
            warning(ui, sentence);
        }
    }
}

/// A row that gives its command: true when it was clicked.
fn row_ui(ui: &mut Ui, named: &Named, is_chosen: bool, is_sought: bool, keyboard: &Keyboard) -> bool {
    let keys = in_words(ui, keyboard, named.name);
    let row = ui.with_layout(Layout::top_down_justified(Align::LEFT), |ui| {
        let button = Button::selectable(is_chosen, named.name).frame_when_inactive(false);
        ui.add(button.shortcut_text(keys)).accessible_name(named.name)
    });
    if is_sought {
        row.inner.scroll_to_me(None);
    }
    row.inner.clicked()
}

fn in_words(ui: &Ui, keyboard: &Keyboard, name: &str) -> String {
    let keys = keyboard.map.keys(name).iter().map(|keys| ui.ctx().format_shortcut(keys));
    keys.collect::<Vec<_>>().join(", ")
}

/// Whether every word that is searched for is in the name, in any order.
fn fits(search: &str, name: &str) -> bool {
    let name = name.to_lowercase();
    search.to_lowercase().split_whitespace().all(|word| name.contains(word))
}

fn tell(commands: &CommandSender, wish: NavigateCommand) {
    commands.read(ReadCommand::Navigate(wish));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_any_order() {
        assert!(fits("", "Turn clockwise") && fits("  ", "Turn clockwise"));
        assert!(fits("clock turn", "Turn clockwise") && fits("TURN", "Turn clockwise"));
        assert!(!fits("turn back", "Turn clockwise"));
    }

    #[test]
    fn the_reserved_keys_are_keys() {
        assert!(key_map::from_text(ASKS).is_ok());
    }
}
