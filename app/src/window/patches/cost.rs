//! What a patch costs where a model takes patches of any size: its image tokens, which grow with its pixels from the least to the limit,
//! and what is said beyond these.

use reinpath_model::package::VisionSpec;
use reinpath_training::dataset::grouped;

use crate::ask;
use crate::slide::{Mpp, Region};
use crate::window::state::ModelInfo;

/// Image tokens of a patch where `asked` limits its pixels; `None` for a model that makes a square of every patch, and for a shape that
/// the model refuses.
pub fn tokens(region: &Region, model: &ModelInfo, mpp: Option<Mpp>, asked: Option<u64>) -> Option<usize> {
    let vision = model.vision()?;
    let [width, height] = ask::size_px(*region, mpp, model.patch.mpp);
    let size = vision.size_for(width, height, asked).ok()?;
    Some(vision.grid(size).tokens())
}

/// The same in words.
pub fn tokens_in_words(
    region: &Region,
    model: &ModelInfo,
    mpp: Option<Mpp>,
    asked: Option<u64>,
) -> Option<String> {
    tokens(region, model, mpp, asked).map(counted)
}

/// The most that a patch may cost, in words.
pub fn most_in_words(vision: &VisionSpec, asked: Option<u64>) -> String {
    counted(usize::try_from(vision.most_tokens(asked)).unwrap_or(usize::MAX))
}

fn counted(tokens: usize) -> String {
    if tokens == 1 { "1 token".to_owned() } else { format!("{} tokens", grouped(tokens)) }
}

/// Whether the model would be given less of a patch than there is, or, for its shape, nothing of it.
pub(super) fn is_beyond(
    region: &Region,
    model: &ModelInfo,
    vision: &VisionSpec,
    mpp: Option<Mpp>,
    asked: Option<u64>,
) -> bool {
    let [width, height] = ask::size_px(*region, mpp, model.patch.mpp);
    vision.size_for(width, height, asked).is_err() || vision.is_beyond(width, height, asked)
}

/// Where the model is given a patch larger or smaller than it is, one sentence each; nothing for a model that makes a square of every patch, and nothing of a
/// shape that it refuses, which is told where its picture would be.
pub(super) fn warnings(
    region: &Region,
    model: &ModelInfo,
    mpp: Option<Mpp>,
    asked: Option<u64>,
) -> Vec<String> {
    let Some(vision) = model.vision() else { return Vec::new() };
    let [width, height] = ask::size_px(*region, mpp, model.patch.mpp);
    if vision.size_for(width, height, asked).is_err() {
        return Vec::new();
    }
    vision.warnings(width, height, mpp.map(|_own| model.patch.mpp), asked)
}
