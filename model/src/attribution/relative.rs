//! Relative attention: how much more the end of the question looks at each image token than the end of a general
//! question does (Zhang et al., "MLLMs Know Where to Look", ICLR 2025; `rel_attention_llava` of `llava_methods.py` in
//! saccharomycetes/mllms_know, read in the copy of zenjieli/mllms_know at 1da0d55).
//!
//! The baseline of the maps: it belongs to the question, so that all sentences of an answer share it.

use std::sync::atomic::AtomicBool;

use super::deletion::Reader;
use super::tam::{bounds, stretch};
use super::{Places, picked};
use crate::generate::{or_cancelled, splice};
use crate::images::Images;
use crate::llama::Positions;
use crate::prompt::user_text;
use crate::reinpath::{Error, ReinPath};

/// The general question (`run.py` there).
const GENERAL: &str = "Write a general description of the image.";

/// The layer that is looked at: as far up as the authors' layer 14 of the 32 of LLaVA 1.5 7B.
fn layer(layers: usize) -> usize {
    layers * 14 / 32
}

/// The map over the image tokens of all patches, from 0 to 1, of which these are the `images`; `places` are those of the
/// prompt that `reader` reads, `before` the conversation that it begins with: the general question comes after the same.
pub(super) fn relative_attention(
    model: &ReinPath,
    reader: &mut Reader<'_>,
    images: &Images,
    places: &Places,
    before: &[(String, String)],
    cancel: &AtomicBool,
) -> Result<Vec<f32>, Error> {
    let layer = layer(model.llama.config.num_hidden_layers);
    let own = picked(&reader.attention(layer)?, places);
    let general = user_text(places.patches.len(), "", GENERAL, &[]);
    let prompt = model.tokenizer.conversation(before, &general)?;
    let x = splice(&model.llama, &prompt, images)?;
    let at = Positions::along(&x.course, 0, x.tokens()?);
    let attention = or_cancelled(model.llama.attention_at(layer, &x.x, &at, None, cancel), cancel)?;
    let attention: Vec<f32> = attention.mean(1)?.squeeze(0)?.to_vec1()?;
    let general = picked(&attention, &Places::of(&prompt, &places.grids, &model.tokenizer)?);
    let mut map = ratio(&own, &general);
    let range = bounds(map.iter().copied());
    stretch(&mut map, range);
    Ok(map)
}

/// `own / general`; 0 where nothing is looked at in general either.
fn ratio(own: &[f32], general: &[f32]) -> Vec<f32> {
    let divide = |(own, general): (&f32, &f32)| if *general > 0.0 { own / general } else { 0.0 };
    own.iter().zip(general).map(divide).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::attribution::tests::sized;
    use crate::fixture::{Family, Speech, model_of};

    #[test]
    fn the_layer_is_that_of_the_authors_at_their_depth() {
        assert_eq!([32, 6, 2, 1].map(layer), [14, 2, 0, 0]);
    }

    #[test]
    fn what_any_question_looks_at_counts_less() {
        assert_eq!(ratio(&[0.2, 0.2, 0.1], &[0.4, 0.1, 0.0]), [0.5, 2.0, 0.0]);
    }

    #[test]
    fn the_attention_of_a_step_is_that_of_the_whole_prompt() {
        for family in Family::ALL {
            is_that_of_the_whole_prompt(&model_of(family, Speech::Babble(7)));
        }
    }

    fn is_that_of_the_whole_prompt(model: &ReinPath) {
        let seen = model.look(&[sized(0, 60, 60)], None, &mut || true).unwrap();
        let images = model.images(&seen).unwrap();
        let map = |question: &str| {
            let prompt = model.tokenizer.prompt(&user_text(1, "", question, &[])).unwrap();
            let places = Places::of(&prompt, &images.grids, &model.tokenizer).unwrap();
            let x = splice(&model.llama, &prompt, &images).unwrap();
            let cancel = AtomicBool::new(false);
            let mut reader = Reader::new(&model.llama, &x, &[65, 66], &cancel).unwrap();
            let layer = layer(model.llama.config.num_hidden_layers);
            let step = reader.attention(layer).unwrap();
            let at = Positions::along(&x.course, 0, x.tokens().unwrap());
            let whole = model.llama.attention_at(layer, &x.x, &at, None, &cancel).unwrap();
            assert_eq!(whole.dims(), [1, model.llama.config.num_attention_heads, step.len()]);
            let whole = whole.mean(1).unwrap().squeeze(0).unwrap().to_vec1::<f32>().unwrap();
            assert!(step.iter().zip(&whole).all(|(a, b)| (a - b).abs() < 1e-5));
            let map = relative_attention(model, &mut reader, &images, &places, &[], &cancel).unwrap();
            cancel.store(true, Ordering::Relaxed);
            let ended = relative_attention(model, &mut reader, &images, &places, &[], &cancel);
            assert!(matches!(ended, Err(Error::Cancelled)));
            map
        };
        let own = map("Where are the glands?");
        assert_eq!(own.len(), 4);
        assert_eq!(bounds(own.iter().copied()), (0.0, 1.0));
    }
}
