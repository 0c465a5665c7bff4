//! A question about a slide as data: patches cut from its regions, and the stamp completed with where they come from.
//!
//! The window and the command line both build their questions here. What a package thinks of a patch's scale or size is said by
//! `PatchSpec::warnings` or `VisionSpec::warnings` of the model crate; here it is only whether the slide has the region, and its
//! detail.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use image::RgbImage;
use reinpath_model::event::{PatchSource, SlideStamp, Stamp};
use reinpath_model::package::{USUAL_PIXELS, VisionSpec};
use reinpath_model::patch::Patch;
use reinpath_model::request::{Ask, Exchange, InputImage, PatchHeader, Sampling};
use reinpath_training::subtask::Subtasks;

use crate::slide::{self, MppOrigin, Region, SlideHandle, SlideInfo};

mod turned;

pub use turned::cut_turned;

/// The template of questions about a field as a whole.
pub const DESCRIBE: &str = "describe";

/// A question that cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the region {region} lies outside the slide of {width} × {height} pixels: {path}", path = path.display())]
    Outside { region: String, width: u32, height: u32, path: PathBuf },
    #[error("the question is empty")]
    NoQuestion,
    #[error("there is no template '{name}', only {known}")]
    NoTemplate { name: String, known: String },
    #[error("a patch cannot be turned by {degrees} degrees")]
    Turned { degrees: f64 },
    #[error(transparent)]
    Slide(#[from] slide::Error),
    #[error(transparent)]
    Patch(#[from] reinpath_model::patch::Error),
    #[error("the picture cannot be written: {reason}: {path}", path = path.display())]
    Write { reason: String, path: PathBuf },
}

/// What is asked, apart from the patches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Question {
    pub text: String,
    pub choices: Vec<String>,
    /// Clinical context; empty when there is none.
    pub context: String,
    pub sampling: Sampling,
    /// Whether the pixels come back as each encoder receives them.
    pub save_inputs: bool,
    /// Whether maps of where each sentence looks come back.
    pub save_maps: bool,
    /// Earlier questions and answers that the model reads first.
    pub history: Vec<Exchange>,
    /// An answer that is read instead of generated, headings included.
    pub written: Option<String>,
    /// Most pixels of a patch that the model is given, where it takes patches of any size; `None`: the package's own limit.
    pub max_pixels: Option<u64>,
}

/// A patch cut from a slide.
#[derive(Clone, Debug, PartialEq)]
pub struct CutPatch {
    pub patch: Patch,
    pub source: PatchSource,
    /// Whether a part of it lies outside the slide and is background.
    pub is_padded: bool,
}

/// A region that touches the slide, or an error that names the slide and its size.
pub fn check_region(info: &SlideInfo, region: Region) -> Result<(), Error> {
    let (width, height) = (info.width(), info.height());
    let touches =
        |at: i64, length: u32, end: u32| at < i64::from(end) && at.saturating_add(length.into()) > 0;
    if touches(region.x, region.w, width) && touches(region.y, region.h, height) {
        return Ok(());
    }
    let region = format!("{},{},{},{}", region.x, region.y, region.w, region.h);
    Err(Error::Outside { region, width, height, path: info.path.clone() })
}

/// Reads the pixels of a region at the wanted microns per pixel; where the slide's are unknown, its level-0 pixels.
/// Blocks: not for the window's thread.
pub fn cut_patch(slide: &SlideHandle, region: Region, mpp: f64) -> Result<CutPatch, Error> {
    let info = slide.info();
    check_region(info, region)?;
    let pixels = slide.read_at_mpp(region, Some(mpp))?;
    let (width, height) = pixels.image.dimensions();
    let patch = Patch::new(width, height, pixels.mpp.map(slide::Mpp::mean), pixels.image.into_raw())?;
    let source = PatchSource {
        region: [region.x, region.y, region.w.into(), region.h.into()],
        level: pixels.level,
        slide_mpp: info.mpp.map(slide::Mpp::mean),
        mpp_origin: origin_in_words(info.mpp_origin),
        turned: 0.0,
    };
    let is_padded = region.x < 0
        || region.y < 0
        || region.x + i64::from(region.w) > i64::from(info.width())
        || region.y + i64::from(region.h) > i64::from(info.height());
    Ok(CutPatch { patch, source, is_padded })
}

/// Width and height of the patch that [`cut_patch`] makes of a region of a slide with its `own` scale, as `slide/resample.rs` plans a
/// read at a scale; nothing is read.
pub fn size_px(region: Region, own: Option<slide::Mpp>, mpp: f64) -> [u32; 2] {
    let pixels = |length: u32, own: f64| (f64::from(length) * own / mpp).round().max(1.0) as u32;
    match own {
        Some(own) => [pixels(region.w, own.x), pixels(region.h, own.y)],
        None => [region.w.max(1), region.h.max(1)],
    }
}

/// The word for it in a stamp.
fn origin_in_words(origin: MppOrigin) -> String {
    let word = match origin {
        MppOrigin::Trusted => "trusted",
        MppOrigin::Inferred => "inferred",
        MppOrigin::Missing => "missing",
    };
    word.to_owned()
}

/// The request for a worker, and the pixels of all patches in order.
pub fn request(question: &Question, patches: &[CutPatch]) -> Result<(Ask, Vec<u8>), Error> {
    if question.text.trim().is_empty() {
        return Err(Error::NoQuestion);
    }
    let header =
        |cut: &CutPatch| PatchHeader { width: cut.patch.width, height: cut.patch.height, mpp: cut.patch.mpp };
    let ask = Ask {
        patches: patches.iter().map(header).collect(),
        question: question.text.trim().to_owned(),
        choices: question.choices.clone(),
        context: question.context.clone(),
        sampling: question.sampling.clone(),
        save_inputs: question.save_inputs,
        save_maps: question.save_maps,
        history: question.history.clone(),
        written: question.written.clone(),
        max_pixels: question.max_pixels,
    };
    let pixels = patches.iter().flat_map(|cut| cut.patch.rgb.iter().copied()).collect();
    Ok((ask, pixels))
}

/// How much coarser than what a model is given a slide may be without a warning.
const COARSER: f64 = 1.25;

/// The warning about a slide whose own pixels are coarser than the `given` microns per pixel: its patches are enlarged to the
/// scale of the package, where nothing else would show it.
pub fn enlargement(own: slide::Mpp, given: f64) -> Option<String> {
    let own = own.mean();
    (own > given * COARSER).then(|| {
        format!(
            "The slide has {own:.2} µm/px, the model is given {given:.2} µm/px: the patch is enlarged without detail."
        )
    })
}

/// Most pixels of a patch that a model with these eyes is given where `asked` were asked for, or [`USUAL_PIXELS`] where nothing
/// was: the published files allow so many that a patch would take longer than all of its answer.
pub fn pixel_limit(vision: &VisionSpec, asked: Option<u64>) -> u64 {
    vision.limit(Some(asked.unwrap_or(USUAL_PIXELS)))
}

/// The warning about a slide that declares none of the tissues of which a model must see one.
fn undeclared(tissues: &[String], properties: &BTreeMap<String, String>) -> Option<String> {
    let declares = |tissue: &String| properties.values().any(|value| value.contains(tissue.as_str()));
    (!tissues.is_empty() && !tissues.iter().any(declares)).then(|| {
        let known = tissues.join(", ");
        format!(
            "The model knows {known} only, and this slide does not say that it shows any: do not trust the answer."
        )
    })
}

/// Adds what the worker cannot know: the slide, and where on it each patch lies.
pub fn complete_stamp(stamp: &mut Stamp, info: &SlideInfo, patches: &[CutPatch]) {
    stamp.slide =
        Some(SlideStamp { path: info.path.to_string_lossy().into_owned(), hash: info.hash.clone() });
    for (stamp, cut) in stamp.patches.iter_mut().zip(patches) {
        stamp.source = Some(cut.source.clone());
    }
    stamp.warnings.extend(undeclared(&stamp.declared_tissues, &info.properties));
    let given = patches.iter().find_map(|cut| cut.patch.mpp);
    stamp.warnings.extend(info.mpp.zip(given).and_then(|(own, given)| enlargement(own, given)));
    if patches.iter().any(|cut| cut.is_padded) {
        stamp
            .warnings
            .push("The region reaches past the slide's edge; what lies outside is background.".to_owned());
    }
}

/// The question of a template: a sub-task's name, or [`DESCRIBE`] for the field as a whole.
pub fn template(name: &str, has_choices: bool) -> Result<String, Error> {
    let subtasks = Subtasks::shipped();
    let found = if name == DESCRIBE {
        subtasks.general.first()
    } else {
        subtasks.get(name).and_then(|subtask| {
            let wordings = if has_choices { &subtask.choice } else { &subtask.open };
            wordings.first()
        })
    };
    found.cloned().ok_or_else(|| {
        let known: Vec<&str> =
            std::iter::once(DESCRIBE).chain(subtasks.iter().map(|subtask| subtask.name.as_str())).collect();
        Error::NoTemplate { name: name.to_owned(), known: known.join(", ") }
    })
}

/// Writes the pixels that each encoder receives as `patch1-conch.png` and so on into a folder, which is made if need be.
pub fn write_inputs(folder: &Path, images: Vec<(InputImage, Vec<u8>)>) -> Result<(), Error> {
    let failed = |reason: String, path: &Path| Error::Write { reason, path: path.to_owned() };
    std::fs::create_dir_all(folder).map_err(|error| failed(error.to_string(), folder))?;
    for (head, rgb) in images {
        // The encoder's name comes from another process: only its letters and digits name the file.
        let encoder: String = head.encoder.chars().filter(char::is_ascii_alphanumeric).collect();
        let path = folder.join(format!("patch{}-{encoder}.png", head.patch + 1));
        RgbImage::from_raw(head.width, head.height, rgb)
            .ok_or_else(|| failed("its pixels are incomplete".to_owned(), &path))?
            .save_with_format(&path, image::ImageFormat::Png)
            .map_err(|error| failed(error.to_string(), &path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::state::ModelInfo;

    #[test]
    fn templates_are_sub_tasks_or_the_whole_field() {
        assert_eq!(template("describe", false).unwrap(), "Describe this field.");
        let subtasks = Subtasks::shipped();
        for subtask in subtasks.iter() {
            assert_eq!(template(&subtask.name, false).unwrap(), subtask.open[0]);
            assert_eq!(template(&subtask.name, true).unwrap(), subtask.choice[0]);
        }
        let error = template("nonesuch", false).unwrap_err().to_string();
        assert!(error.contains("describe, "), "{error}");
    }

    #[test]
    fn a_question_needs_words() {
        let question = Question { text: " \n".to_owned(), ..Question::default() };
        assert!(matches!(request(&question, &[]), Err(Error::NoQuestion)));
    }

    #[test]
    fn the_pixel_limit_goes_with_the_question() {
        let question =
            Question { text: "What is seen?".to_owned(), max_pixels: Some(200_704), ..Question::default() };
        let (ask, pixels) = request(&question, &[]).unwrap();
        assert_eq!((ask.max_pixels, pixels.len()), (Some(200_704), 0));
    }

    #[test]
    fn the_usual_limit_is_the_programs_and_never_beyond_the_packages() {
        let model = ModelInfo::scripted_vision("test");
        let published = model.vision().unwrap();
        assert_eq!(pixel_limit(published, None), USUAL_PIXELS);
        assert_eq!(pixel_limit(published, Some(2_000_000)), 2_000_000);
        assert_eq!(pixel_limit(published, Some(1)), published.min_pixels);
        let small = VisionSpec { max_pixels: 802_816, ..published.clone() };
        assert_eq!(pixel_limit(&small, None), 802_816);
    }

    #[test]
    fn a_slide_that_must_declare_its_tissue_and_does_not_is_told() {
        let slide = |comment: &str| BTreeMap::from([("openslide.comment".to_owned(), comment.to_owned())]);
        let known = ["phantom tissue".to_owned()];
        assert!(undeclared(&known, &slide("20x, a biopsy")).unwrap().contains("knows phantom tissue only"));
        assert_eq!(undeclared(&known, &slide("100x100 phantom tissue, no patient")), None);
        assert_eq!(undeclared(&[], &slide("20x, a biopsy")), None);
    }

    #[test]
    fn inputs_are_written_under_harmless_names() {
        let folder = tempfile::tempdir().unwrap();
        let head = InputImage { patch: 0, encoder: "../x/uni".to_owned(), width: 2, height: 1 };
        let folder = folder.path().join("new");
        write_inputs(&folder, vec![(head.clone(), vec![1, 2, 3, 4, 5, 6])]).unwrap();
        let image = image::open(folder.join("patch1-xuni.png")).unwrap().into_rgb8();
        assert_eq!(image.as_raw(), &[1, 2, 3, 4, 5, 6]);
        assert!(write_inputs(&folder, vec![(head, vec![1])]).is_err());
    }
}
