//! The eyes of a loaded model, of either family: ReinPath's encoders with fusion and projector, or the vision tower of a
//! Qwen2.5-VL.

use candle_core::{Device, Tensor};

use super::{Error, at_prefix, open, open_encoder, open_tower};
use crate::images::{Images, Seen};
use crate::known::Known;
use crate::package::{EncoderSpec, Grid, Package, VisionSpec};
use crate::patch::Patch;
use crate::projector::{Projector, fuse};
use crate::qwen::Tower;
use crate::vit::Vit;
use crate::weights::Size;

/// Patches that go through the encoders at a time, so that memory does not grow with their number.
const PATCHES_AT_A_TIME: usize = 16;

/// What is told while eyes are loaded: what is being done, and how much of the whole model is done. An error ends it.
type Step<'a> = &'a mut dyn FnMut(&str, f32) -> Result<(), Error>;

/// What turns patches into image embeddings.
#[derive(Debug)]
pub(super) enum Sight {
    Encoders(Box<Encoders>),
    Tower(Box<Tower>),
}

/// ReinPath's two encoders, and what follows them.
#[derive(Debug)]
pub(super) struct Encoders {
    /// With what prepares its pixels.
    both: Vec<(EncoderSpec, Vit)>,
    pub(super) projector: Projector,
    /// What the package knows, where it says so.
    pub(super) known: Option<Known>,
    /// Side of the grid of image tokens.
    side: usize,
}

impl Sight {
    /// Loads the eyes of a package, which look for a language model of so many channels; `step` is told what is being
    /// done.
    pub(super) fn load(
        package: &Package,
        hidden: usize,
        device: &Device,
        step: Step<'_>,
    ) -> Result<(Self, Size), Error> {
        let Some(spec) = &package.manifest.vision else {
            let (encoders, size) = Encoders::load(package, hidden, device, step)?;
            return Ok((Self::Encoders(Box::new(encoders)), size));
        };
        let (tower, size) = load_tower(package, spec, hidden, device, step)?;
        Ok((Self::Tower(Box::new(tower)), size))
    }

    /// What they see of patches, for as long as `going` says so; `asked` limits the pixels of each patch where patches have
    /// any size.
    pub(super) fn look(
        &self,
        patches: &[Patch],
        asked: Option<u64>,
        device: &Device,
        going: &mut dyn FnMut() -> bool,
    ) -> Result<Seen, Error> {
        if patches.is_empty() {
            return Err(Error::Question("a question needs at least one patch".to_owned()));
        }
        match self {
            Self::Encoders(eyes) => Ok(Seen::Fused(eyes.features(patches, device, going)?)),
            Self::Tower(tower) => {
                let mut images = Images { embeddings: Vec::new(), grids: Vec::new() };
                for patch in patches {
                    let (tokens, grid) = image_tokens(tower, patch, asked, device, going)?;
                    images.embeddings.push(tokens);
                    images.grids.push(grid);
                }
                Ok(Seen::Merged(images))
            }
        }
    }

    /// Image embeddings of what was seen.
    pub(super) fn images(&self, seen: &Seen) -> Result<Images, Error> {
        match (self, seen) {
            (Self::Encoders(eyes), Seen::Fused(features)) => {
                Ok(Images::equal(&eyes.projector.forward(features)?, Grid::square(eyes.side))?)
            }
            (Self::Tower(_), Seen::Merged(images)) => Ok(images.clone()),
            _ => Err(Error::Family),
        }
    }

    /// Those of a ReinPath model.
    pub(super) fn encoders(&self) -> Result<&Encoders, Error> {
        match self {
            Self::Encoders(eyes) => Ok(eyes),
            Self::Tower(_) => Err(Error::Family),
        }
    }
}

impl Encoders {
    fn load(
        package: &Package,
        hidden: usize,
        device: &Device,
        step: Step<'_>,
    ) -> Result<(Self, Size), Error> {
        let manifest = &package.manifest;
        let (mut size, mut both) = (Size::default(), Vec::new());
        for (i, spec) in manifest.encoders.iter().enumerate() {
            step(&format!("loading the encoder {}", spec.kind.name()), 0.1 + 0.1 * i as f32)?;
            let (mut vit, loaded) = open_encoder(package, spec)?
                .build(device, |vb| Vit::load(&at_prefix(&vb, &spec.prefix), spec))?;
            vit.fold_scales()?;
            vit.fit_positions(spec.image_size)?;
            vit.pack()?;
            size += loaded;
            both.push((spec.clone(), vit));
        }
        step("loading the projector", 0.3)?;
        let (projector, loaded) =
            open(package, std::slice::from_ref(&manifest.projector.weights))?.build(device, |vb| {
                let vb = at_prefix(&vb, &manifest.projector.prefix);
                Projector::load(&vb, manifest.fused_width(), manifest.projector.hidden, hidden)
            })?;
        size += loaded;
        let known = match &manifest.knows.feature_range {
            None => None,
            Some(range) => {
                let weights = open(package, std::slice::from_ref(&range.weights))?;
                let (known, loaded) =
                    weights.build(device, |vb| Known::load(&vb, manifest.fused_width(), range))?;
                size += loaded;
                Some(known)
            }
        };
        Ok((Self { both, projector, known, side: manifest.image_side() }, size))
    }

    /// Fused features of the patches, (patches, image_tokens, fused).
    fn features(
        &self,
        patches: &[Patch],
        device: &Device,
        going: &mut dyn FnMut() -> bool,
    ) -> Result<Tensor, Error> {
        let parts = patches
            .chunks(PATCHES_AT_A_TIME)
            .map(|patches| self.features_at_once(patches, device, going))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Tensor::cat(&parts, 0)?)
    }

    fn features_at_once(
        &self,
        patches: &[Patch],
        device: &Device,
        going: &mut dyn FnMut() -> bool,
    ) -> Result<Tensor, Error> {
        let mut features = Vec::new();
        for (spec, vit) in &self.both {
            let side = spec.image_size as usize;
            let mut pixels = Vec::with_capacity(patches.len() * 3 * side * side);
            for patch in patches {
                if !going() {
                    return Err(Error::Cancelled);
                }
                pixels.extend(patch.for_encoder(spec)?.normalised(spec));
            }
            let pixels = Tensor::from_vec(pixels, (patches.len(), 3, side, side), device)?;
            features.push(while_going(going, |watch| vit.forward_watched(&pixels, watch))?);
        }
        Ok(fuse(&features, self.side)?)
    }
}

/// Image tokens (tokens, hidden) of one patch, and their grid.
fn image_tokens(
    tower: &Tower,
    patch: &Patch,
    asked: Option<u64>,
    device: &Device,
    going: &mut dyn FnMut() -> bool,
) -> Result<(Tensor, Grid), Error> {
    if !going() {
        return Err(Error::Cancelled);
    }
    let spec = tower.spec();
    let input = patch.for_vision(spec, asked)?;
    let (rows, cols) = (input.grid.tokens() * spec.merge_size.pow(2) as usize, cell_values(spec));
    let cells = Tensor::from_vec(input.cells(spec), (rows, cols), device)?;
    Ok((while_going(going, |watch| tower.forward(&cells, input.grid, watch))?, input.grid))
}

/// Values of one cell: three channels of its frames.
fn cell_values(spec: &VisionSpec) -> usize {
    3 * spec.temporal_patch_size as usize * spec.patch_size.pow(2) as usize
}

/// What is computed for as long as `going` says so, which is asked between blocks.
fn while_going<T>(
    going: &mut dyn FnMut() -> bool,
    compute: impl FnOnce(&mut dyn FnMut() -> candle_core::Result<()>) -> candle_core::Result<T>,
) -> Result<T, Error> {
    let mut is_stopped = false;
    let computed = compute(&mut || {
        if going() {
            return Ok(());
        }
        is_stopped = true;
        candle_core::bail!("cancelled")
    });
    if is_stopped { Err(Error::Cancelled) } else { Ok(computed?) }
}

fn load_tower(
    package: &Package,
    spec: &VisionSpec,
    hidden: usize,
    device: &Device,
    step: Step<'_>,
) -> Result<(Tower, Size), Error> {
    let mut stopped = None;
    let mut watch = |done: f32| {
        step("loading the vision tower", 0.1 + 0.3 * done).or_else(|error| {
            stopped = Some(error);
            candle_core::bail!("cancelled")
        })
    };
    let weights = open_tower(package, spec, hidden)?;
    let built = weights.build(device, |vb| Tower::load_watched(&vb, spec, &mut watch));
    if let Some(error) = stopped {
        return Err(error);
    }
    let (mut tower, size) = built?;
    tower.pack()?;
    Ok((tower, size))
}
