//! Real patches in the training of the encoders: read once, shown in other views each time.

use std::path::Path;

use candle_core::{DType, Device, Result as ComputeResult, Tensor};
use candle_nn::VarBuilder;
use candle_nn::ops::log_softmax;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use reinpath_model::layers::Linear;
use reinpath_model::ops;
use reinpath_model::package::EncoderSpec;
use reinpath_model::patch::Patch;
use reinpath_model::vit::Vit;

use super::Tissue;
use super::texture::{self, TextureScale};
use super::view::{Channels, Palette, View, normalised};
use crate::config::{Optimisation, TissueConfig};
use crate::dataset::read_patch;
use crate::error::Result;
use crate::event::{EventSink, RunEvent};
use crate::parallel::PARTS;
use crate::phantom::colour_summary;
use crate::rows::Split;
use crate::stage::Shuffle;
use crate::tissue::{Lexicon, MeasuredPatch, read_patches};

/// The share of a class's probability that is spread over all classes: few patches are known by heart soon enough.
const SMOOTHING: f32 = 0.05;

/// A patch, and what each head is to say of it; `None` where nothing is clear.
struct Example {
    patch: Patch,
    /// The class, then what can be measured.
    values: Vec<Option<u32>>,
}

/// Patches to learn from, and others to measure on.
pub(super) struct Patches<'a> {
    config: &'a TissueConfig,
    learnt: Vec<Example>,
    held_out: Vec<Example>,
    /// The mean colours of those that are learnt from.
    common: Channels,
    /// How their texture is, for each encoder; none where it is not asked for.
    textures: Vec<TextureScale>,
}

/// What is read from the mean over the cells of a view.
pub(super) struct PatchHeads {
    /// The class, then what can be measured.
    values: Vec<Linear>,
    texture: Option<Linear>,
}

/// Views of a part of a batch's patches, and the cells that the encoder is shown of them.
pub(super) struct Shown {
    /// Patches by their place in the list; their pixels are prepared in the part's own thread.
    views: Vec<(usize, View)>,
    cells: Vec<u32>,
    /// The encoder's place among the encoders.
    at: usize,
}

/// Draws views, batch after batch.
pub(super) struct Drawing {
    shuffle: Shuffle,
    rng: ChaCha8Rng,
}

impl<'a> Patches<'a> {
    /// Reads the images of patches that are learnt from, and of the validation part where that is not one of them.
    pub(super) fn read(tissue: &Tissue<'a>, encoders: &[EncoderSpec]) -> Result<Self> {
        let Tissue { config, folder, .. } = *tissue;
        let is_held_out = !config.splits.contains(&Split::Validation);
        let held_out = if is_held_out { read_patches(folder, &[Split::Validation])? } else { Vec::new() };
        let examples = |patches: &[MeasuredPatch]| -> Result<Vec<Example>> {
            patches.par_iter().map(|patch| Example::read(folder, patch)).collect()
        };
        let learnt = examples(&tissue.patches)?;
        let asked_for = if config.texture_weight > 0.0 { encoders } else { &[] };
        let textures =
            asked_for.iter().map(|encoder| texture_scale(&learnt, encoder)).collect::<Result<_>>()?;
        Ok(Self { config, common: common(&learnt), learnt, held_out: examples(&held_out)?, textures })
    }

    /// One head for the class and one for each attribute that can be measured, and one for the texture.
    pub(super) fn heads(&self, vb: &VarBuilder<'_>, width: usize) -> ComputeResult<PatchHeads> {
        let lexicon = Lexicon::shipped();
        let measured = lexicon.attributes.iter().filter(|attribute| attribute.measure.is_some());
        let counts = measured.map(|attribute| lexicon.values_of(&attribute.name).len());
        let values = std::iter::once(lexicon.classes.len())
            .chain(counts)
            .enumerate()
            .map(|(i, count)| Linear::load_with_bias(&vb.pp(format!("patch{i}")), width, count))
            .collect::<ComputeResult<_>>()?;
        let texture = || Linear::load_with_bias(&vb.pp("texture"), width, texture::COUNT);
        let texture = (!self.textures.is_empty()).then(texture).transpose()?;
        Ok(PatchHeads { values, texture })
    }

    /// How the first encoder is trained on them.
    pub(super) fn optimisation(&self) -> &'a Optimisation {
        &self.config.optimisation
    }

    /// Begins to draw views.
    pub(super) fn drawing(&self, seed: u64) -> Drawing {
        Drawing { shuffle: Shuffle::new(self.learnt.len(), seed), rng: ChaCha8Rng::seed_from_u64(seed + 1) }
    }

    /// The views of the next batch, for the encoder `at`.
    pub(super) fn draw(&self, at: usize, encoder: &EncoderSpec, drawing: &mut Drawing) -> [Shown; PARTS] {
        let config = self.config;
        let picked = drawing.shuffle.take(config.batch);
        let share = |shares: &[f64]| shares.get(at).copied().unwrap_or(0.0);
        let palette =
            Palette { recolour: share(&config.recolour), even: share(&config.even), common: self.common };
        let grid = encoder.grid_side() * encoder.grid_side();
        let count = ((grid as f64 * config.cells).round() as usize).clamp(1, grid);
        let rng = &mut drawing.rng;
        std::array::from_fn(|part| {
            let mine = picked.iter().skip(part).step_by(PARTS);
            let views = mine.map(|&i| (i, View::draw(&palette, config.zoom, rng))).collect();
            let mut cells: Vec<u32> =
                rand::seq::index::sample(rng, grid, count).into_iter().map(|cell| cell as u32).collect();
            cells.sort_unstable();
            Shown { views, cells, at }
        })
    }

    /// A part's share of the loss on patches.
    pub(super) fn loss(
        &self,
        vit: &Vit,
        heads: &PatchHeads,
        encoder: &EncoderSpec,
        shown: &Shown,
    ) -> ComputeResult<Tensor> {
        let views: Vec<_> = shown.views.iter().map(|&(i, view)| (&self.learnt[i], view)).collect();
        let pictures = pictures(&views, encoder)?;
        let field = field(vit, encoder, &pictures, &shown.cells)?;
        let share = ((PARTS * views.len().max(1)) as f64).recip();
        let mut loss = Tensor::zeros((), DType::F32, &Device::Cpu)?;
        if let (Some(head), Some(scale)) = (&heads.texture, self.textures.get(shown.at)) {
            let numbers: Vec<f32> =
                pictures.iter().flat_map(|rgb| scale.measure(rgb, encoder.image_size as usize)).collect();
            let numbers = Tensor::from_vec(numbers, (views.len(), texture::COUNT), &Device::Cpu)?;
            let weight = self.config.texture_weight * share / texture::COUNT as f64;
            loss = (loss + (distance(&head.forward(&field)?, &numbers)? * weight)?)?;
        }
        for (at, head) in heads.values.iter().enumerate() {
            let logits = &head.forward(&field)?;
            let values: Vec<Option<u32>> = views.iter().map(|(example, _)| example.values[at]).collect();
            let of_head = if at == 0 {
                (smoothed(logits, &values)? * (self.config.class_weight * share))?
            } else {
                let weight = (self.config.measured_weight * share) as f32;
                let targets: Vec<u32> = values.iter().map(|value| value.unwrap_or(0)).collect();
                let weights: Vec<f32> =
                    values.iter().map(|value| if value.is_some() { weight } else { 0.0 }).collect();
                ops::cross_entropy(logits, &targets, &weights)?
            };
            loss = (loss + of_head)?;
        }
        Ok(loss)
    }

    /// How often the class of patches that were not learnt from is read right: as they are, and in even colours.
    pub(super) fn measure(
        &self,
        vit: &Vit,
        heads: &PatchHeads,
        encoder: &EncoderSpec,
        stage: &str,
        sink: &mut EventSink,
    ) -> Result<()> {
        let cells: Vec<u32> = (0..(encoder.grid_side() * encoder.grid_side()) as u32).collect();
        for (measure, view) in
            [("patches", View::plain()), ("patches in even colours", View::even(self.common))]
        {
            let (mut right, total) = (0, self.held_out.len());
            for chunk in self.held_out.chunks(50) {
                let views: Vec<_> = chunk.iter().map(|example| (example, view)).collect();
                let Some(class) = heads.values.first() else { break };
                let field = field(vit, encoder, &pictures(&views, encoder)?, &cells)?;
                let read = class.forward(&field)?.argmax(1)?.to_vec1::<u32>()?;
                right += chunk.iter().zip(read).filter(|(e, read)| e.values[0] == Some(*read)).count();
            }
            let (stage, measure) = (stage.to_owned(), measure.to_owned());
            sink.send(&RunEvent::Measured { stage, measure, right, total })?;
        }
        Ok(())
    }
}

impl Example {
    fn read(folder: &Path, patch: &MeasuredPatch) -> Result<Self> {
        let lexicon = Lexicon::shipped();
        let value_of = |attribute: &str| {
            let known = patch.described.value_of(attribute)?;
            let at = lexicon.values_of(attribute).into_iter().position(|value| value == known)?;
            Some(at as u32)
        };
        let measured = lexicon.attributes.iter().filter(|attribute| attribute.measure.is_some());
        let values = measured.map(|attribute| value_of(&attribute.name));
        Ok(Self {
            patch: read_patch(&folder.join(&patch.image), None)?,
            values: std::iter::once(Some(patch.class as u32)).chain(values).collect(),
        })
    }
}

/// What channels have in the mean over patches.
fn common(examples: &[Example]) -> Channels {
    let summaries: Vec<_> = examples.iter().map(|example| colour_summary(&example.patch.rgb)).collect();
    let mean = |at: usize| summaries.iter().map(|s| s[at]).sum::<f32>() / summaries.len().max(1) as f32;
    [0, 1, 2].map(|channel| (mean(channel), mean(channel + 3)))
}

/// What the texture of whole patches is.
fn texture_scale(examples: &[Example], encoder: &EncoderSpec) -> Result<TextureScale> {
    let whole = |example: &Example| View::plain().of(&example.patch, encoder);
    let pictures: Vec<_> = examples.par_iter().map(whole).collect::<ComputeResult<_>>()?;
    Ok(TextureScale::of(&pictures, encoder.image_size as usize))
}

/// Views as they are shown, each (side, side, 3) from 0 to 255.
fn pictures(views: &[(&Example, View)], encoder: &EncoderSpec) -> ComputeResult<Vec<Vec<f32>>> {
    views.iter().map(|(example, view)| view.of(&example.patch, encoder)).collect()
}

/// The mean over the cells that are shown, (views, width).
fn field(vit: &Vit, encoder: &EncoderSpec, pictures: &[Vec<f32>], cells: &[u32]) -> ComputeResult<Tensor> {
    let side = encoder.image_size as usize;
    let pixels: Vec<f32> = pictures.iter().flat_map(|rgb| normalised(rgb, encoder)).collect();
    let pixels = Tensor::from_vec(pixels, (pictures.len(), 3, side, side), &Device::Cpu)?;
    vit.forward_cells(&pixels, cells)?.narrow(1, 1, cells.len())?.mean(1)
}

/// The sum of Huber's losses: half the square up to a distance of 1, and from there on linear.
fn distance(said: &Tensor, measured: &Tensor) -> ComputeResult<Tensor> {
    let apart = (said - measured)?.abs()?;
    let near = apart.minimum(1.0)?;
    (&near * (apart - (&near * 0.5)?)?)?.sum_all()
}

/// The sum over rows of the cross-entropy with smoothed targets. (A class is always known.)
fn smoothed(logits: &Tensor, classes: &[Option<u32>]) -> ComputeResult<Tensor> {
    let (rows, count) = logits.dims2()?;
    let mut targets = vec![SMOOTHING / count as f32; rows * count];
    for (row, class) in targets.chunks_exact_mut(count).zip(classes) {
        if let Some(target) = class.and_then(|class| row.get_mut(class as usize)) {
            *target += 1.0 - SMOOTHING;
        }
    }
    let targets = Tensor::from_vec(targets, (rows, count), &Device::Cpu)?;
    (log_softmax(logits, 1)? * targets)?.sum_all()?.neg()
}
