//! The window of a label or macro image, which is shown only when it is asked for: it may name a patient.

use egui::{Image, Ui, vec2};

use super::super::super::command::CommandSender;
use super::super::super::picture::Picture;
use super::super::super::state::AppState;
use super::super::super::widgets::{caption, dialog, warning};
use super::super::ReadCommand;
use super::ViewsCommand;
use crate::viewer::tile_cache::SlideKey;

/// How large it is shown at the most, in points.
const MOST_WIDE: f32 = 520.0;
const MOST_HIGH: f32 = 520.0;

/// An image that travels with a slide and was asked for.
#[derive(Debug)]
pub struct LabelView {
    pub key: SlideKey,
    /// As the slide calls it: `label`, `macro`, `thumbnail`.
    pub name: String,
    /// `None` while it is read; else it, or a sentence.
    pub picture: Option<Result<Picture, String>>,
}

/// Draws it, once it was asked for.
pub(super) fn ui(ui: &Ui, state: &AppState, commands: &CommandSender) {
    let Some(label) = &state.read.views.label else { return };
    let Some(slide) = state.slide(label.key) else { return };
    let mut is_open = true;
    let title = format!("{} of {}", label.name, state.name_of(slide));
    let window = dialog(ui, title, "label", &mut is_open);
    window.collapsible(false).resizable(false).show(ui.ctx(), |ui| {
        match &label.picture {
            None => {
                ui.spinner();
            }
            Some(Ok(picture)) => {
                let size = picture.texture.size_vec2();
                let scale = (MOST_WIDE / size.x.max(1.0)).min(MOST_HIGH / size.y.max(1.0)).min(1.0);
                ui.add(Image::from_texture((picture.texture.id(), vec2(size.x * scale, size.y * scale))));
            }
            Some(Err(sentence)) => {
                warning(ui, sentence);
            }
        }
        caption(ui, "Shown because it was asked for. It is not stored, exported or given to the model.");
    });
    if !is_open {
        commands.read(ReadCommand::Views(ViewsCommand::CloseLabel));
    }
}
