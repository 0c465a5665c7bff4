//! What the worker is asked, from an order of the window: its patches, cut from the slide, and its words.

use reinpath_model::request::Ask;

use super::as_sentence;
use crate::ask::{self, CutPatch, Question};
use crate::slide::{Region, SlideHandle};
use crate::window::state::ModelInfo;
use crate::window::update::AskOrder;

/// The patches as the model receives them, turned where the order says so.
pub(super) fn cut(order: &AskOrder, slide: &SlideHandle, model: &ModelInfo) -> Result<Vec<CutPatch>, String> {
    let turned = order.how.turned;
    let cut = |region: &Region| -> Result<CutPatch, String> {
        let mut cut = ask::cut_turned(slide, *region, model.patch.mpp, turned)
            .map_err(|error| as_sentence(&error.to_string()))?;
        // The stamp must say it, for whoever asks again.
        cut.source.turned = turned;
        Ok(cut)
    };
    order.regions.iter().map(cut).collect()
}

/// The request, and the pixels of all patches in order.
pub(super) fn request(
    order: AskOrder,
    model: &ModelInfo,
    patches: &[CutPatch],
) -> Result<(Ask, Vec<u8>), String> {
    let question = Question {
        text: order.text.question,
        choices: order.text.choices,
        context: order.text.context,
        sampling: order.how.sampling.unwrap_or_else(|| model.generation.sampling(0)),
        save_inputs: false,
        save_maps: order.how.has_maps,
        history: order.how.history,
        written: order.how.written,
        max_pixels: order.how.max_pixels,
    };
    ask::request(&question, patches).map_err(|error| as_sentence(&error.to_string()))
}
