//! A row as the model gets it: the prompt and its ids, where each image stands, and the encoders' pixels.
//!
//! Made from the package's manifest, tokenizer and configuration by the same functions that training and answering use;
//! no weights are read, so that a preview of the largest model takes no longer than that of the smallest.

use std::fmt;
use std::path::{Path, PathBuf};

use image::RgbImage;
use reinpath_model::package::{EncoderSpec, Package};
use reinpath_model::patch::Patch;
use reinpath_model::prompt::Segment;
use serde::Serialize;

use super::text::{answer_text, kind_name};
use super::tokens::question;
use super::{DatasetError, SourceRow, TokenMeasure, read_patch};
use crate::error::{Error, Result};
use crate::rows::RowKind;

/// Ids that people are shown at the beginning of a stretch.
const SHOWN_IDS: usize = 12;

/// A stretch of the sequence that the language model reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Stretch {
    /// Token ids from place `at` on.
    Text { at: usize, ids: Vec<u32> },
    /// The tokens of the row's image with this number, from 0.
    Image { at: usize, tokens: usize, image: usize },
    /// Ids of the answer, which the loss is on; the last one ends it.
    Answer { at: usize, ids: Vec<u32> },
}

/// What an encoder receives of all images of a row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EncoderView {
    pub encoder: &'static str,
    /// (images, 3, side, side)
    pub tensor: [usize; 4],
    /// x, y, width, height of what the encoder sees of each image, in the image's pixels.
    pub crops: Vec<[f64; 4]>,
    /// Of the normalised values.
    pub mean: f32,
    pub smallest: f32,
    pub largest: f32,
    /// The pixels as pictures, where they were written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PathBuf>,
}

/// A row as the model gets it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Preview {
    pub id: String,
    pub kind: RowKind,
    pub images: Vec<PathBuf>,
    /// The whole prompt as text; `<image>` stands for an image's tokens.
    pub prompt: String,
    pub answer: Option<String>,
    pub label: Option<String>,
    pub stretches: Vec<Stretch>,
    pub prompt_tokens: usize,
    pub answer_tokens: usize,
    /// Tokens that the language model reads.
    pub limit: usize,
    pub encoders: Vec<EncoderView>,
    /// (images, image tokens, channels of all encoders)
    pub features: [usize; 3],
    /// (images, image tokens, hidden size of the language model)
    pub embeddings: [usize; 3],
    /// What the package was not made for, and what a run would do otherwise.
    pub warnings: Vec<String>,
}

/// Prepares a row for a package. With `out`, the pixels of each encoder are written into that folder as PNG files whose
/// names begin with `name`.
pub fn preview(
    package: &Package,
    measure: &TokenMeasure,
    row: &SourceRow,
    name: &str,
    out: Option<&Path>,
) -> Result<Preview> {
    let manifest = &package.manifest;
    let patches: Vec<Patch> =
        row.images.iter().map(|path| read_patch(path, row.row.mpp)).collect::<std::result::Result<_, _>>()?;
    let prompt = measure.prompt(&row.row)?;
    let answer_ids = measure.answer(&row.row)?;
    let prompt_tokens = prompt.len(measure.image_tokens);
    let answer_tokens = answer_ids.len();
    let stretches = stretches(prompt.segments, answer_ids, measure.image_tokens);
    let encoders = manifest
        .encoders
        .iter()
        .map(|spec| encoder_view(spec, &patches, name, out))
        .collect::<Result<Vec<_>>>()?;
    let limit = measure.config.max_position_embeddings;
    let mut warnings: Vec<String> =
        patches.iter().flat_map(|p| manifest.patch.warnings(p.width, p.height, p.mpp)).collect();
    warnings.dedup();
    if prompt_tokens + answer_tokens > limit {
        warnings.push(format!("The row is longer than the {limit} tokens that the model reads."));
    }
    if row.row.question.is_none() {
        warnings.push(format!(
            "Alignment draws a question for each caption; here it is “{}”.",
            question(&row.row)
        ));
    }
    let (n, tokens) = (patches.len(), measure.image_tokens);
    Ok(Preview {
        id: row.row.id.clone(),
        kind: row.row.kind,
        images: row.images.clone(),
        prompt: prompt.text,
        answer: answer_text(&row.row),
        label: row.row.label.clone(),
        stretches,
        prompt_tokens,
        answer_tokens,
        limit,
        encoders,
        features: [n, tokens, manifest.fused_width()],
        embeddings: [n, tokens, measure.config.hidden_size],
        warnings,
    })
}

fn stretches(segments: Vec<Segment>, answer: Vec<u32>, image_tokens: usize) -> Vec<Stretch> {
    let mut stretches = Vec::with_capacity(segments.len() + 1);
    let mut at = 0;
    for segment in segments {
        let (stretch, tokens) = match segment {
            Segment::Tokens(ids) => {
                let tokens = ids.len();
                (Stretch::Text { at, ids }, tokens)
            }
            Segment::Patch(image) => (Stretch::Image { at, tokens: image_tokens, image }, image_tokens),
        };
        stretches.push(stretch);
        at += tokens;
    }
    if !answer.is_empty() {
        stretches.push(Stretch::Answer { at, ids: answer });
    }
    stretches
}

fn encoder_view(
    spec: &EncoderSpec,
    patches: &[Patch],
    name: &str,
    out: Option<&Path>,
) -> Result<EncoderView> {
    let side = spec.image_size as usize;
    let mut view = EncoderView {
        encoder: spec.kind.name(),
        tensor: [patches.len(), 3, side, side],
        crops: Vec::with_capacity(patches.len()),
        mean: 0.0,
        smallest: f32::INFINITY,
        largest: f32::NEG_INFINITY,
        files: Vec::new(),
    };
    let mut sum = 0.0;
    for (at, patch) in patches.iter().enumerate() {
        let input = patch.for_encoder(spec)?;
        view.crops.push(patch.square_for(spec)?.crop);
        for value in input.normalised(spec) {
            sum += f64::from(value);
            view.smallest = view.smallest.min(value);
            view.largest = view.largest.max(value);
        }
        if let Some(out) = out {
            let path = out.join(format!("{name}-image{}-{}.png", at + 1, spec.kind.name()));
            let picture = RgbImage::from_raw(input.side, input.side, input.rgb)
                .ok_or_else(|| DatasetError::content("the pixels are no picture", &path))?;
            picture.save(&path).map_err(|e| Error::io(&path)(std::io::Error::other(e)))?;
            view.files.push(path);
        }
    }
    view.mean = (sum / (patches.len() * 3 * side * side) as f64) as f32;
    Ok(view)
}

impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let images: Vec<String> = self.images.iter().map(|path| path.display().to_string()).collect();
        writeln!(f, "{} ({}): {}\n", self.id, kind_name(self.kind), images.join(", "))?;
        writeln!(f, "Prompt, {} tokens:\n{}\n", self.prompt_tokens, self.prompt.trim_end())?;
        match &self.answer {
            Some(answer) => writeln!(f, "Answer, {} tokens:\n{answer}\n", self.answer_tokens)?,
            None => writeln!(f, "No answer.\n")?,
        }
        if let Some(label) = &self.label {
            writeln!(f, "Right answer: {label}\n")?;
        }
        let all = self.prompt_tokens + self.answer_tokens;
        writeln!(f, "The language model reads {all} tokens of at most {}:", self.limit)?;
        for stretch in &self.stretches {
            match stretch {
                Stretch::Text { at, ids } => writeln!(f, "  {at:>6}  text    {}", shown(ids))?,
                Stretch::Image { at, tokens, image } => {
                    writeln!(f, "  {at:>6}  image   {tokens} tokens of image {}", image + 1)?;
                }
                Stretch::Answer { at, ids } => writeln!(f, "  {at:>6}  answer  {}", shown(ids))?,
            }
        }
        writeln!(f, "\nTensors:")?;
        for view in &self.encoders {
            let EncoderView { encoder, tensor, mean, smallest, largest, .. } = view;
            writeln!(f, "  {encoder:<11}{tensor:?}, mean {mean:.3}, from {smallest:.3} to {largest:.3}")?;
        }
        writeln!(f, "  {:<11}{:?}", "features", self.features)?;
        writeln!(f, "  {:<11}{:?}", "embeddings", self.embeddings)?;
        for file in self.encoders.iter().flat_map(|view| &view.files) {
            writeln!(f, "Pixels: {}", file.display())?;
        }
        self.warnings.iter().try_for_each(|warning| writeln!(f, "Note: {warning}"))
    }
}

/// The first ids, and how many there are.
fn shown(ids: &[u32]) -> String {
    let first: Vec<String> = ids.iter().take(SHOWN_IDS).map(u32::to_string).collect();
    let more = if ids.len() > SHOWN_IDS { format!(" … ({} ids)", ids.len()) } else { String::new() };
    first.join(" ") + &more
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use reinpath_model::answer::Question;
    use reinpath_model::fixture::{Speech, write_package};
    use reinpath_model::images::Seen;
    use reinpath_model::reinpath::ReinPath;

    use super::*;
    use crate::dataset::for_tests::{question as a_question, save_picture};
    use crate::rows::Row;

    #[test]
    fn a_preview_is_what_the_model_itself_makes_of_the_row() {
        let folder = tempfile::tempdir().unwrap();
        write_package(folder.path(), Speech::Babble(1)).unwrap();
        let package = Package::open(folder.path()).unwrap();
        let measure = TokenMeasure::open(&package).unwrap();
        save_picture(&folder.path().join("x.png"), 48, 32);
        let row = Row { mpp: Some(0.5), context: Some("Colon.".to_owned()), ..a_question("a", "x.png") };
        let row = SourceRow::new(row, 1, folder.path());
        let told = preview(&package, &measure, &row, "row1", Some(folder.path())).unwrap();

        let model = ReinPath::load(&package, &Device::Cpu, &mut |_, _| true).unwrap();
        let patch = read_patch(&row.images[0], Some(0.5)).unwrap();
        let prepared = model
            .prepare(&Question {
                patches: vec![patch],
                question: row.row.question.clone().unwrap(),
                choices: row.row.choices.clone(),
                context: "Colon.".to_owned(),
                history: Vec::new(),
                max_pixels: None,
            })
            .unwrap();
        assert_eq!(told.prompt, prepared.prompt.text);
        assert_eq!(told.prompt_tokens, prepared.prompt.len(model.manifest().image_tokens()));
        let Seen::Fused(features) = &prepared.seen else { panic!("the package has encoders") };
        assert_eq!(features.dims(), told.features);
        assert_eq!(model.embeddings(features).unwrap().dims(), told.embeddings);
        let stretches: Vec<usize> = told
            .stretches
            .iter()
            .map(|stretch| match stretch {
                Stretch::Text { at, .. } | Stretch::Image { at, .. } | Stretch::Answer { at, .. } => *at,
            })
            .collect();
        assert!(stretches.is_sorted() && stretches.last() == Some(&told.prompt_tokens), "{told}");
        assert_eq!(told.encoders[0].crops, [[8.0, 0.0, 32.0, 32.0]]);
        let picture = image::open(&told.encoders[1].files[0]).unwrap().into_rgb8();
        assert_eq!((picture.dimensions(), picture.get_pixel(3, 3).0), ((16, 16), [200, 120, 180]));
        assert!(told.to_string().contains("4 tokens of image 1"), "{told}");
        assert!(told.warnings.iter().any(|warning| warning.contains("not square")), "{told}");
    }
}
