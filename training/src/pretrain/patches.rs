//! Real patches in the training of the encoders: read once, shown in other views each time.

use std::path::Path;

use candle_core::{DType, Device, Result as ComputeResult, Tensor};
use candle_nn::VarBuilder;
use candle_nn::ops::log_softmax;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use reinpath_model::layers::Linear;
use reinpath_model::ops;
use reinpath_model::package::EncoderSpec;
use reinpath_model::patch::Patch;
use reinpath_model::vit::Vit;

use super::Tissue;
use super::teacher::Teacher;
use super::texture::{self, TextureScale};
use super::view::{Channels, Cut, Palette, View, normalised};
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
/// Views of each patch, beside the whole, that the teacher learns from.
const TEACHER_VIEWS: usize = 2;
const TEACHER_SEED: u64 = 71;

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
    textures: Vec<Texture>,
}

/// The texture of patches as an encoder is shown them.
struct Texture {
    scale: TextureScale,
    /// What tells classes by texture; none where it is not asked.
    teacher: Option<Teacher>,
}

/// What is read from the mean over the cells of a view.
pub(super) struct PatchHeads {
    /// The class, then what can be measured.
    values: Vec<Linear>,
    texture: Option<Linear>,
    /// What the teacher says of each class.
    taught: Option<Linear>,
}

/// Views of a part of a batch's patches, and the cells that the encoder is shown of them.
pub(super) struct Shown {
    /// Their pixels are prepared in the part's own thread.
    views: Vec<Sight>,
    cells: Vec<u32>,
    /// The encoder's place among the encoders.
    at: usize,
}

/// A view of a patch, by its place in the list.
#[derive(Clone, Copy)]
struct Sight {
    patch: usize,
    view: View,
    /// A view of another patch that takes the place of a part of it.
    joined: Option<(usize, View, Cut)>,
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
        let common = common(&learnt);
        let is_asked_for = config.texture_weight > 0.0 || config.teacher_weight > 0.0;
        let textures = encoders.iter().enumerate().filter(|_| is_asked_for);
        let textures =
            textures.map(|(at, encoder)| Texture::of(&learnt, palette(config, at, common), config, encoder));
        let textures = textures.collect::<Result<_>>()?;
        Ok(Self { config, common, learnt, held_out: examples(&held_out)?, textures })
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
        let head = |name: &str, count: usize| Linear::load_with_bias(&vb.pp(name), width, count);
        let texture = (!self.textures.is_empty()).then(|| head("texture", texture::COUNT)).transpose()?;
        let is_taught = self.textures.iter().any(|texture| texture.teacher.is_some());
        let taught = is_taught.then(|| head("taught", lexicon.classes.len())).transpose()?;
        Ok(PatchHeads { values, texture, taught })
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
        let palette = palette(config, at, self.common);
        let grid = encoder.grid_side() * encoder.grid_side();
        let count = ((grid as f64 * config.cells).round() as usize).clamp(1, grid);
        let rng = &mut drawing.rng;
        std::array::from_fn(|part| {
            let mine = picked.iter().skip(part).step_by(PARTS);
            let views = mine.map(|&patch| self.sight(patch, &palette, rng)).collect();
            let mut cells: Vec<u32> =
                rand::seq::index::sample(rng, grid, count).into_iter().map(|cell| cell as u32).collect();
            cells.sort_unstable();
            Shown { views, cells, at }
        })
    }

    /// A view of a patch, perhaps joined with one of another in the same kind of colours.
    fn sight(&self, patch: usize, palette: &Palette, rng: &mut ChaCha8Rng) -> Sight {
        let view = View::draw(palette, self.config.zoom, rng);
        let joined = rng.random_bool(self.config.joined).then(|| {
            let other = rng.random_range(0..self.learnt.len());
            (other, view.elsewhere(self.config.zoom, rng), Cut::draw(rng))
        });
        Sight { patch, view, joined }
    }

    /// What a sight shows.
    fn picture(&self, sight: &Sight, encoder: &EncoderSpec) -> ComputeResult<Vec<f32>> {
        let mut rgb = sight.view.of(&self.learnt[sight.patch].patch, encoder)?;
        if let Some((other, view, cut)) = &sight.joined {
            cut.join(&mut rgb, &view.of(&self.learnt[*other].patch, encoder)?);
        }
        Ok(rgb)
    }

    /// A part's share of the loss on patches.
    pub(super) fn loss(
        &self,
        vit: &Vit,
        heads: &PatchHeads,
        encoder: &EncoderSpec,
        shown: &Shown,
    ) -> ComputeResult<Tensor> {
        let pictures: Vec<_> =
            shown.views.iter().map(|sight| self.picture(sight, encoder)).collect::<ComputeResult<_>>()?;
        let field = field(vit, encoder, &pictures, &shown.cells)?;
        let share = ((PARTS * pictures.len().max(1)) as f64).recip();
        let mut loss = self.loss_of_texture(heads, encoder, (shown, &pictures, &field), share)?;
        for (at, head) in heads.values.iter().enumerate() {
            let logits = &head.forward(&field)?;
            // Of two patches in one picture neither's value holds.
            let value =
                |sight: &Sight| self.learnt[sight.patch].values[at].filter(|_| sight.joined.is_none());
            let values: Vec<Option<u32>> = shown.views.iter().map(value).collect();
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

    /// The part of it that is about texture: its numbers, and what the teacher makes of them.
    fn loss_of_texture(
        &self,
        heads: &PatchHeads,
        encoder: &EncoderSpec,
        (shown, pictures, field): (&Shown, &[Vec<f32>], &Tensor),
        share: f64,
    ) -> ComputeResult<Tensor> {
        let mut loss = Tensor::zeros((), DType::F32, &Device::Cpu)?;
        let (Some(head), Some(texture)) = (&heads.texture, self.textures.get(shown.at)) else {
            return Ok(loss);
        };
        let numbers = texture.measure(pictures, encoder);
        if self.config.texture_weight > 0.0 {
            let weight = self.config.texture_weight * share / texture::COUNT as f64;
            let measured = as_tensor(&numbers)?;
            loss = (loss + (distance(&head.forward(field)?, &measured)? * weight)?)?;
        }
        if let (Some(head), Some(teacher)) = (&heads.taught, &texture.teacher) {
            let are_kept = shown.views.iter().map(|sight| sight.view.keeps_colours());
            let taught = teacher.scores(&as_tensor(&for_teacher(numbers, are_kept))?)?;
            let weight = self.config.teacher_weight * share / taught.dim(1)? as f64;
            loss = (loss + (distance(&head.forward(field)?, &taught)? * weight)?)?;
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
                let Some(class) = heads.taught.as_ref().or(heads.values.first()) else { break };
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

/// How the encoder `at` is shown colours.
fn palette(config: &TissueConfig, at: usize, common: Channels) -> Palette {
    let share = |shares: &[f64]| shares.get(at).copied().unwrap_or(0.0);
    Palette { recolour: share(&config.recolour), even: share(&config.even), common }
}

impl Texture {
    /// Of whole patches; the teacher learns from these also without their colours, and from other views of them.
    fn of(
        examples: &[Example],
        palette: Palette,
        config: &TissueConfig,
        encoder: &EncoderSpec,
    ) -> Result<Self> {
        let shown = |views: &[View]| -> ComputeResult<Vec<Vec<f32>>> {
            let pictures = examples.par_iter().zip(views);
            pictures.map(|(example, view)| view.of(&example.patch, encoder)).collect()
        };
        let whole = vec![View::plain(); examples.len()];
        let pictures = shown(&whole)?;
        let scale = TextureScale::of(&pictures, encoder.image_size as usize);
        let mut texture = Self { scale, teacher: None };
        if config.teacher_weight > 0.0 {
            let measured = texture.measure(&pictures, encoder);
            let mut numbers = for_teacher(measured.clone(), whole.iter().map(|_| false));
            numbers.extend(measured);
            let mut rng = ChaCha8Rng::seed_from_u64(TEACHER_SEED);
            for _ in 0..TEACHER_VIEWS {
                let views: Vec<View> =
                    examples.iter().map(|_| View::draw(&palette, config.zoom, &mut rng)).collect();
                let measured = texture.measure(&shown(&views)?, encoder);
                numbers.extend(for_teacher(measured, views.iter().map(View::keeps_colours)));
            }
            let classes: Vec<Option<u32>> = examples.iter().map(|example| example.values[0]).collect();
            let classes = classes.repeat(TEACHER_VIEWS + 2);
            let count = Lexicon::shipped().classes.len();
            texture.teacher = Some(Teacher::fit(&as_tensor(&numbers)?, &classes, count)?);
        }
        Ok(texture)
    }

    /// The numbers of pictures `(side, side, 3)`.
    fn measure(&self, pictures: &[Vec<f32>], encoder: &EncoderSpec) -> Vec<Vec<f32>> {
        pictures.par_iter().map(|rgb| self.scale.measure(rgb, encoder.image_size as usize)).collect()
    }
}

/// (views, `texture::COUNT`)
fn as_tensor(numbers: &[Vec<f32>]) -> ComputeResult<Tensor> {
    Tensor::from_vec(numbers.concat(), (numbers.len(), texture::COUNT), &Device::Cpu)
}

/// With the colours of the mean where they are not the patch's own.
fn for_teacher(mut numbers: Vec<Vec<f32>>, are_kept: impl Iterator<Item = bool>) -> Vec<Vec<f32>> {
    for (numbers, is_kept) in numbers.iter_mut().zip(are_kept) {
        if !is_kept {
            numbers[texture::COUNT - texture::COLOURS..].fill(0.0);
        }
    }
    numbers
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

/// The sum over rows whose class is known of the cross-entropy with smoothed targets.
fn smoothed(logits: &Tensor, classes: &[Option<u32>]) -> ComputeResult<Tensor> {
    let (rows, count) = logits.dims2()?;
    let mut targets = vec![0.0; rows * count];
    for (row, class) in targets.chunks_exact_mut(count).zip(classes) {
        if let Some(class) = class {
            row.fill(SMOOTHING / count as f32);
            row[*class as usize] += 1.0 - SMOOTHING;
        }
    }
    let targets = Tensor::from_vec(targets, (rows, count), &Device::Cpu)?;
    (log_softmax(logits, 1)? * targets)?.sum_all()?.neg()
}
