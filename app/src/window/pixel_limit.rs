//! The pixel limit in the Ask panel: how much of a patch a model is given that could be given all of it, and what that costs.

use egui::{Slider, Ui};
use reinpath_model::package::VisionSpec;
use reinpath_training::dataset::grouped;

use super::command::{AskCommand, CommandSender};
use super::patches;
use super::state::{AppState, ModelInfo};
use super::widgets::caption;

/// Points of a slider's number, and those of its rail where there is room.
const NUMBER: f32 = 64.0;
const RAIL: f32 = 100.0;

/// What is kept from frame to frame.
#[derive(Default)]
pub(super) struct PixelLimit {
    /// Tokens while the slider is dragged: patches are read anew once it is let go.
    dragged: Option<u64>,
}

impl PixelLimit {
    /// Draws it, where the model takes patches of any size.
    pub(super) fn ui(&mut self, ui: &mut Ui, state: &AppState, commands: &CommandSender) {
        let Some(model) = state.model.info() else { return };
        let (Some(vision), Some(limit)) = (model.vision(), state.max_pixels()) else { return };
        let side = u64::from(vision.token_side());
        let least = vision.most_tokens(Some(0)).max(1);
        let most = vision.most_tokens(None).max(least);
        let was_dragged = self.dragged.is_some();
        let mut tokens = self.dragged.take().unwrap_or_else(|| vision.most_tokens(Some(limit)));
        let response = ui
            .horizontal(|ui| {
                let label = ui.label("Most tokens a patch");
                // A narrow panel must not grow by it.
                ui.spacing_mut().slider_width = (ui.available_width() - NUMBER).clamp(NUMBER, RAIL);
                let slider = Slider::new(&mut tokens, least..=most).logarithmic(true);
                ui.add(slider.update_while_editing(false)).labelled_by(label.id)
            })
            .inner;
        let asked = tokens.saturating_mul(side * side);
        if response.dragged() {
            self.dragged = Some(tokens);
        } else if was_dragged || response.changed() {
            commands.ask(AskCommand::MaxPixels(asked));
        }
        response.on_hover_text(format!(
            "A token is {side} × {side} px. More of them show more detail of a large patch, and take more time and memory."
        ));
        caption(ui, in_words(state, model, vision, Some(asked)));
    }
}

/// What a patch may cost at most, and what those cost that are ticked.
fn in_words(state: &AppState, model: &ModelInfo, vision: &VisionSpec, asked: Option<u64>) -> String {
    let most = patches::most_in_words(vision, asked);
    let slide = state.shown_slide().and_then(|slide| Some((slide, slide.info()?)));
    let costs: Vec<usize> = slide.map_or_else(Vec::new, |(slide, info)| {
        let ticked = slide.patches.in_question();
        ticked.filter_map(|(_, place)| patches::tokens(&place.region, model, info.mpp, asked)).collect()
    });
    match costs.as_slice() {
        [] => format!("At most {most} a patch."),
        [one] => format!("At most {most} a patch; this patch: {}.", grouped(*one)),
        several => {
            let (count, sum) = (several.len(), several.iter().sum::<usize>());
            format!("At most {most} a patch; these {count} patches: {}.", grouped(sum))
        }
    }
}
