//! The dialog in which a place of the slide is typed.

use egui::{Button, Frame, Id, Key, Margin, Modal, RichText, TextEdit, Ui, vec2};

use super::super::super::command::{CommandSender, ViewCommand};
use super::super::super::state::{AppState, SlideTab};
use super::super::super::theme;
use super::super::super::widgets::{caption, main_button};
use super::super::ReadCommand;
use super::NavigateCommand;
use super::place::{self, Target};

/// What is typed.
#[derive(Default)]
pub(super) struct GoTo {
    is_open: bool,
    text: String,
    /// Why one cannot go there.
    fault: Option<String>,
}

impl GoTo {
    /// Draws the dialog while it is to be shown; whether it still takes all keys afterwards.
    pub(super) fn ui(&mut self, ui: &Ui, state: &AppState, commands: &CommandSender) -> bool {
        if !state.read.navigate.is_go_to_shown {
            self.is_open = false;
            return false;
        }
        let is_new = !self.is_open;
        if is_new {
            *self = Self { is_open: true, ..Self::default() };
        }
        let frame = Frame::popup(ui.style()).inner_margin(Margin::same(16));
        let modal = Modal::new(Id::unique("go to place")).frame(frame).show(ui.ctx(), |ui| {
            ui.set_width(360.0);
            self.dialog_ui(ui, state, commands, is_new)
        });
        let is_done = modal.inner || modal.should_close();
        if is_done {
            commands.read(ReadCommand::Navigate(NavigateCommand::ShowGoTo(false)));
        }
        !is_done
    }

    /// True when it is done.
    fn dialog_ui(&mut self, ui: &mut Ui, state: &AppState, commands: &CommandSender, is_new: bool) -> bool {
        ui.heading("Go to a place");
        let edit = TextEdit::singleline(&mut self.text)
            .id(Id::unique("place"))
            .hint_text("x, y or x, y, width, height")
            .desired_width(f32::INFINITY);
        let edit = ui.add(edit).accessible_name("Place");
        if is_new {
            edit.request_focus();
        }
        if edit.changed() {
            self.fault = None;
        }
        match &self.fault {
            Some(fault) => ui.label(RichText::new(fault).small().color(theme::of(ui).error)),
            None => caption(ui, "Pixels, mm or µm from the slide's upper left corner."),
        };
        ui.add_space(theme::GRID);
        ui.horizontal(|ui| {
            let is_entered = edit.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
            let go = main_button(ui, "Go").min_size(vec2(80.0, 28.0));
            if ui.add(go).clicked() || is_entered {
                match self.go(state, commands) {
                    Ok(()) => return true,
                    Err(fault) => {
                        self.fault = Some(fault);
                        edit.request_focus();
                    }
                }
            }
            ui.add(Button::new("Cancel").min_size(vec2(80.0, 28.0))).clicked()
        })
        .inner
    }

    fn go(&self, state: &AppState, commands: &CommandSender) -> Result<(), String> {
        let info = state.shown_slide().and_then(SlideTab::info);
        let info = info.ok_or_else(|| "Open a slide first.".to_owned())?;
        match place::parse(&self.text, info)? {
            Target::Place(place) => commands.view(ViewCommand::LookAt(place)),
            Target::Region(region) => commands.view(ViewCommand::LookAtRegion(region)),
        }
        Ok(())
    }
}
