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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::fixture::{Family, Speech, write_package_of};
    use crate::package::{MANIFEST, Package, Terms};

    /// A model whose licence forbids to learn from it.
    fn model(family: Family) -> ReinPath {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = write_package_of(family, folder.path(), Speech::Babble(1)).unwrap();
        let refuses_training = Some("Nobody may learn from it.".to_owned());
        manifest.terms = Some(Terms { allows: "Looking.".to_owned(), refuses_training });
        std::fs::write(folder.path().join(MANIFEST), toml::to_string(&manifest).unwrap()).unwrap();
        let package = Package::open(folder.path()).unwrap();
        ReinPath::load(&package, &Device::Cpu, &mut |_, _| true).unwrap()
    }

    /// A patch of 100 × 60 px, asked about with a limit.
    fn question(max_pixels: Option<u64>) -> Question {
        let rgb = (0..100 * 60 * 3).map(|i| (i * 7 % 251) as u8).collect();
        Question {
            patches: vec![Patch::new(100, 60, Some(0.5), rgb).unwrap()],
            question: "What?".to_owned(),
            max_pixels,
            ..Question::default()
        }
    }

    fn stamped(model: &ReinPath, question: &Question) -> Stamp {
        let prepared = model.prepare(question).unwrap();
        let Ok(stamp) = stamp(model, "cpu", &Ask::default(), question, &prepared) else {
            panic!("the patch was seen")
        };
        stamp
    }

    #[test]
    fn a_tower_is_told_with_the_size_that_it_was_given_and_the_limit_that_was_asked_for() {
        let model = model(Family::Qwen);
        let of = |width: usize, height: usize| EncoderStamp {
            name: "vision".to_owned(),
            tensor: [height, width],
            effective_mpp: Some(0.5 * 100.0 / width as f64),
            crop: [0.0, 0.0, 100.0, 60.0],
        };
        for (asked, told, vision) in [
            (None, None, of(112, 56)),
            (Some(4 * 28 * 28), Some(4 * 28 * 28), of(56, 28)),
            // More than the package allows is what it allows.
            (Some(u64::MAX), Some(802_816), of(112, 56)),
        ] {
            let question = question(asked);
            let stamp = stamped(&model, &question);
            assert_eq!((stamp.max_pixels, stamp.patches[0].encoders.as_slice()), (told, &[vision][..]));
            assert_eq!(stamp.terms.as_deref(), Some("Nobody may learn from it."));
            let Ok(frame) = inputs(7, &model, &question) else { panic!("the patch was seen") };
            let heads: Vec<InputImage> = frame.parse().unwrap();
            let [height, width] = stamp.patches[0].encoders[0].tensor;
            assert_eq!((heads[0].width as usize, heads[0].height as usize), (width, height));
            assert_eq!((heads.len(), heads[0].encoder.as_str()), (1, "vision"));
            assert_eq!(frame.bytes.len(), width * height * 3);
        }
    }

    #[test]
    fn encoders_are_told_one_by_one_and_have_no_limit() {
        let stamp = stamped(&model(Family::ReinPath), &question(Some(4 * 28 * 28)));
        let names: Vec<&str> = stamp.patches[0].encoders.iter().map(|e| e.name.as_str()).collect();
        assert_eq!((names.as_slice(), stamp.max_pixels), (&["conch", "uni"][..], None));
    }
}
