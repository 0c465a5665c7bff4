//! The projector: LLaVA's file, or a new one that has to be trained.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{Error, Source, one_file, open};
use crate::package::ProjectorSpec;

/// Where a new projector lies in its package.
pub(super) const NEW: &str = "projector/projector.safetensors";
/// What is said of a new one.
pub(super) const DESCRIPTION: &str = "Its projector is new and knows nothing: train it before you ask.";
pub(super) const PROVENANCE: &str = "; a new projector, seed 0";
const SEED: u64 = 0;

/// Sizes of a new projector.
pub(super) struct Shape {
    /// Channels of the fused features.
    pub(super) features: usize,
    /// Channels of the language model, and between the two layers (as in LLaVA).
    pub(super) hidden: usize,
}

/// The projector in a file such as LLaVA's `mm_projector.bin`, or in a folder with it.
pub(super) fn find(path: &Path) -> Result<(ProjectorSpec, Source), Error> {
    let file = one_file(path, &["mm_projector.bin", "projector.safetensors", "mm_projector.safetensors"])?;
    let weights = open(&file)?;
    let unfit = |reason: &str| Error::Unfit { reason: reason.to_owned(), path: file.clone() };
    // LLaVA writes `model.mm_projector.0.weight` and `model.mm_projector.2.weight`.
    let prefixes = weights.shapes().filter_map(|(name, shape)| Some((name.strip_suffix("0.weight")?, shape)));
    let mut projectors = prefixes.filter(|(prefix, _)| {
        let is_whole = prefix.is_empty() || prefix.ends_with('.');
        is_whole && weights.shape(&format!("{prefix}2.weight")).is_some()
    });
    let Some((prefix, first)) = projectors.next() else {
        return Err(unfit("there are no tensors 0.weight and 2.weight, as a projector of two layers has"));
    };
    if projectors.next().is_some() {
        return Err(unfit("there is more than one projector"));
    }
    let source = Source::new("projector", &file)?;
    let spec = ProjectorSpec {
        weights: source.name.clone(),
        hidden: first.first().copied().unwrap_or_default(),
        prefix: prefix.to_owned(),
    };
    Ok((spec, source))
}

/// Writes a new projector, drawn as PyTorch draws linear layers: evenly within 1 / √in.
pub(super) fn write_new(shape: &Shape, path: &Path) -> Result<(), Error> {
    let Shape { features, hidden } = *shape;
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut tensors = HashMap::new();
    for (layer, inner) in [(0, features), (2, hidden)] {
        let bound = (inner as f32).sqrt().recip();
        for (name, dims) in [("weight", vec![hidden, inner]), ("bias", vec![hidden])] {
            let count: usize = dims.iter().product();
            let values: Vec<f32> = (0..count).map(|_| rng.random_range(-bound..bound)).collect();
            let tensor =
                Tensor::from_vec(values, dims, &Device::Cpu).map_err(crate::reinpath::Error::from)?;
            tensors.insert(format!("{layer}.{name}"), tensor);
        }
    }
    candle_core::safetensors::save(&tensors, path).map_err(|e| Error::Write {
        source: std::io::Error::other(crate::reinpath::sentence(&e)),
        path: path.to_owned(),
    })
}
