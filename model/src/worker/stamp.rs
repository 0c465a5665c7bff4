//! What the worker tells of a question before its answer: the pixels that the model receives, and the stamp.

use super::Fault;
use crate::answer::{Prepared, Question};
use crate::event::{EncoderStamp, PatchStamp, Stamp};
use crate::frame::Frame;
use crate::package::EncoderSpec;
use crate::patch::{self, Patch};
use crate::reinpath::{self, ReinPath};
use crate::request::{Ask, InputImage};

/// The name of a vision tower beside those of encoders.
const VISION: &str = "vision";

/// The pixels exactly as each encoder, or the vision tower, receives them.
pub(super) fn inputs(id: u64, model: &ReinPath, question: &Question) -> Result<Frame, Fault> {
    let (mut heads, mut bytes) = (Vec::new(), Vec::new());
    for (index, patch) in question.patches.iter().enumerate() {
        for (head, rgb) in inputs_of(model, question.max_pixels, patch).map_err(reinpath::Error::from)? {
            heads.push(InputImage { patch: index, ..head });
            bytes.extend(rgb);
        }
    }
    Ok(Frame::new(id, "inputs", &heads)?.with_bytes(bytes))
}

/// The pixels of one patch, as 8-bit RGB rows.
fn inputs_of(
    model: &ReinPath,
    max_pixels: Option<u64>,
    patch: &Patch,
) -> Result<Vec<(InputImage, Vec<u8>)>, patch::Error> {
    let head = |name: &str, width, height| InputImage { patch: 0, encoder: name.to_owned(), width, height };
    if let Some(spec) = &model.manifest().vision {
        let input = patch.for_vision(spec, max_pixels)?;
        return Ok(vec![(head(VISION, input.size.width_px, input.size.height_px), input.rgb)]);
    }
    let of = |spec: &EncoderSpec| {
        let input = patch.for_encoder(spec)?;
        Ok((head(spec.kind.name(), input.side, input.side), input.rgb))
    };
    model.manifest().encoders.iter().map(of).collect()
}

/// Everything needed to make the same answer again, as far as the worker knows it.
pub(super) fn stamp(
    model: &ReinPath,
    device: &str,
    request: &Ask,
    question: &Question,
    prepared: &Prepared,
) -> Result<Stamp, Fault> {
    let manifest = model.manifest();
    let patches = question.patches.iter().map(|patch| patch_stamp(model, question.max_pixels, patch));
    let patches = patches.collect::<Result<_, _>>().map_err(reinpath::Error::from)?;
    // What was asked for, as far as the package goes; another family's patches have no such limit.
    let asked = manifest.vision.as_ref().zip(question.max_pixels);
    Ok(Stamp {
        slide: None,
        patches,
        package: manifest.name.clone(),
        package_hash: model.package.hash.clone(),
        adapter: model.adapter().map(str::to_owned),
        precision: model.precision().to_owned(),
        question: request.question.clone(),
        choices: request.choices.clone(),
        context: request.context.clone(),
        history: request.history.clone(),
        prompt: prepared.prompt.text.clone(),
        sampling: request.sampling.clone(),
        device: device.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        declared_tissues: manifest.knows.must_declare().to_vec(),
        warnings: prepared.warnings.clone(),
        max_pixels: asked.map(|(spec, most)| spec.limit(Some(most))),
        terms: manifest.terms.as_ref().and_then(|terms| terms.refuses_training.clone()),
    })
}

fn patch_stamp(model: &ReinPath, max_pixels: Option<u64>, patch: &Patch) -> Result<PatchStamp, patch::Error> {
    let mut encoders = Vec::new();
    for spec in &model.manifest().encoders {
        let square = patch.square_for(spec)?;
        encoders.push(EncoderStamp {
            name: spec.kind.name().to_owned(),
            tensor: [square.side as usize; 2],
            effective_mpp: square.mpp,
            crop: square.crop,
        });
    }
    if let Some(spec) = &model.manifest().vision {
        let size = spec.size_for(patch.width, patch.height, max_pixels).map_err(patch::Error::Vision)?;
        let (width, height) = (f64::from(patch.width), f64::from(patch.height));
        encoders.push(EncoderStamp {
            name: VISION.to_owned(),
            tensor: [size.height_px as usize, size.width_px as usize],
            effective_mpp: patch.mpp.map(|mpp| mpp * width / f64::from(size.width_px)),
            crop: [0.0, 0.0, width, height],
        });
    }
    Ok(PatchStamp {
        source: None,
        width: patch.width,
        height: patch.height,
        mpp: patch.mpp,
        blake3: patch.hash(),
        encoders,
    })
}
