//! Open slides as tabs in the top bar.

use egui::{Button, DragAndDrop, Sense, Ui};

use super::super::super::command::{Command, CommandSender};
use super::super::super::state::AppState;
use super::super::ReadCommand;
use super::pane::DraggedSlide;
use super::{Names, ViewsCommand};

/// The longest name of a tab, in characters.
const LONGEST_NAME: usize = 28;

/// Draws the tabs. One can be dragged to another place among them, or to a pane.
pub(in crate::window) fn ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    // The bar is drawn before what needs the names.
    Names::keep(ui.ctx(), state);
    egui::ScrollArea::horizontal().id_salt("tabs").show(ui, |ui| {
        for (at, slide) in state.slides.iter().enumerate() {
            let shown = state.shown == Some(slide.key);
            let name = state.name_of(slide);
            ui.spacing_mut().item_spacing.x = 2.0;
            let about =
                if state.settings.read.is_blinded { name.clone() } else { slide.path.display().to_string() };
            let button = Button::selectable(shown, shortened(&name)).sense(Sense::click_and_drag());
            let tab = ui.add(button).on_hover_text(about);
            tab.dnd_set_drag_payload(DraggedSlide(slide.key));
            if tab.clicked() {
                commands.send(Command::Show(slide.key));
            }
            if tab.dnd_hover_payload::<DraggedSlide>().is_some_and(|dragged| dragged.0 != slide.key)
                && ui.input(|input| input.pointer.any_released())
                && let Some(dragged) = DragAndDrop::take_payload::<DraggedSlide>(ui.ctx())
            {
                commands.read(ReadCommand::Views(ViewsCommand::MoveTab(dragged.0, at)));
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
