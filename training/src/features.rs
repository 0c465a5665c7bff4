//! Fused features of phantom fields, computed once because the encoders are frozen, and the range they lie in.

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;
use reinpath_model::known;
use reinpath_model::reinpath::ReinPath;

use crate::error::{Error, Result};
use crate::fields::{FieldPlan, patch};

/// Fields whose features are computed at once.
const BATCH: usize = 16;
/// The share of fields of its own kind that a model takes for known.
const KNOWN_SHARE: f64 = 0.985;
/// A patch may lie this much farther from the mean than those.
const MARGIN: f64 = 1.0;
/// How much of the correlation between channels is not believed.
const SHRINKAGE: f64 = 0.002;

/// Fused features of each field, `image tokens * channels` values.
pub fn of_fields(model: &ReinPath, plans: &[FieldPlan]) -> Result<Vec<Vec<f32>>> {
    let chunks: Vec<Vec<Vec<f32>>> = plans
        .par_chunks(BATCH)
        .map(|chunk| {
            let patches: Vec<_> =
                chunk.iter().map(|plan| patch(plan, model.manifest().patch)).collect::<Result<_>>()?;
            Ok(model.features(&patches)?.flatten_from(1)?.to_vec2::<f32>()?)
        })
        .collect::<Result<_>>()?;
    Ok(chunks.into_iter().flatten().collect())
}

/// What the model knows: the Gaussian of its fields' summaries, as `known.rs` of the model reads it.
#[derive(Debug)]
pub struct Usual {
    /// `mean` and `whiten`.
    pub tensors: HashMap<String, Tensor>,
    /// Largest distance that counts as known.
    pub limit: f32,
}

/// Fits what is usual to all fields but every fifth, on which the limit is set.
///
/// # Errors
/// When there are too few fields to tell what is usual.
pub fn usual(features: &[Vec<f32>], channels: usize) -> Result<Usual> {
    usual_of(&summaries(features, channels)?, channels)
}

/// The same from the summaries of `known.rs` of the model, two numbers a channel for each field or image.
pub fn usual_of(summaries: &[Vec<f32>], channels: usize) -> Result<Usual> {
    let (fitted, calibrated): (Vec<_>, Vec<_>) = summaries.iter().enumerate().partition(|(i, _)| i % 5 != 4);
    let width = 2 * channels;
    let rows: Vec<f64> = fitted.iter().flat_map(|(_, s)| s.iter().map(|&x| f64::from(x))).collect();
    let rows = DMatrix::from_row_slice(fitted.len(), width, &rows);
    let mean = rows.row_mean();
    let mut away = rows;
    away.row_iter_mut().for_each(|mut row| row -= &mean);
    let scale: Vec<f64> = away
        .column_iter()
        .map(|column| (column.norm_squared() / fitted.len().max(1) as f64).sqrt().max(1e-6))
        .collect();
    away.column_iter_mut().zip(&scale).for_each(|(mut column, s)| column /= *s);
    let mut correlation = away.tr_mul(&away) * ((1.0 - SHRINKAGE) / fitted.len().max(1) as f64);
    correlation.fill_diagonal(1.0);
    let inverse = correlation.cholesky().and_then(|factor| {
        let mut inverse = DMatrix::identity(width, width);
        factor.l().solve_lower_triangular_mut(&mut inverse).then_some(inverse)
    });
    let Some(mut whiten) = inverse else {
        return Err(Error::Features("the features of the fields are not all finite numbers".to_owned()));
    };
    whiten.column_iter_mut().zip(&scale).for_each(|(mut column, s)| column /= *s);
    let row_major: Vec<f32> = whiten.transpose().iter().map(|&x| x as f32).collect();
    let mean: Vec<f32> = mean.iter().map(|&x| x as f32).collect();
    let limit = limit(&whiten, &mean, calibrated.into_iter().map(|(_, summary)| summary));
    let tensors = HashMap::from([
        ("mean".to_owned(), Tensor::from_vec(mean, width, &Device::Cpu)?),
        ("whiten".to_owned(), Tensor::from_vec(row_major, (width, width), &Device::Cpu)?),
    ]);
    Ok(Usual { tensors, limit })
}

/// The quantile of the distances that [`KNOWN_SHARE`] stands for.
fn limit<'a>(whiten: &DMatrix<f64>, mean: &[f32], summaries: impl Iterator<Item = &'a Vec<f32>>) -> f32 {
    let mut distances: Vec<f64> = summaries
        .map(|summary| {
            let away = summary.iter().zip(mean).map(|(x, m)| f64::from(x - m));
            let away = DVector::from_iterator(mean.len(), away);
            (whiten * away).norm_squared() / mean.len() as f64
        })
        .collect();
    distances.sort_by(f64::total_cmp);
    let at = (distances.len() as f64 * KNOWN_SHARE) as usize;
    distances.get(at.min(distances.len().saturating_sub(1))).map_or(0.0, |d| (d * MARGIN) as f32)
}

fn summaries(features: &[Vec<f32>], channels: usize) -> Result<Vec<Vec<f32>>> {
    let mut summaries = Vec::with_capacity(features.len());
    for chunk in features.chunks(256) {
        let flat: Vec<f32> = chunk.concat();
        let tokens = flat.len() / chunk.len() / channels;
        let features = Tensor::from_vec(flat, (chunk.len(), tokens, channels), &Device::Cpu)?;
        summaries.extend(known::summary(&features)?.to_vec2::<f32>()?);
    }
    Ok(summaries)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use candle_nn::VarBuilder;
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;
    use reinpath_model::known::Known;
    use reinpath_model::package::FeatureRange;

    use super::*;

    /// Two tokens of two channels that move together.
    fn field(rng: &mut ChaCha8Rng, twist: f32) -> Vec<f32> {
        let mut token = || {
            let x: f32 = rng.random_range(-1.0..1.0);
            [x, x + rng.random_range(-0.1..0.1) + twist]
        };
        [token(), token()].concat()
    }

    #[test]
    fn what_breaks_the_habits_of_the_features_is_strange_even_within_their_ranges() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let fields: Vec<_> = (0..1000).map(|_| field(&mut rng, 0.0)).collect();
        let usual = usual(&fields, 2).unwrap();
        let range = FeatureRange { weights: String::new(), limit: usual.limit };
        let vb = VarBuilder::from_tensors(usual.tensors, candle_core::DType::F32, &Device::Cpu);
        let known = Known::load(&vb, 2, &range).unwrap();
        let is_strange = |field: Vec<f32>| {
            let features = Tensor::from_vec(field, (1, 2, 2), &Device::Cpu).unwrap();
            !known.strange(&features).unwrap().is_empty()
        };
        let alarms = (0..1000).filter(|_| is_strange(field(&mut rng, 0.0))).count();
        assert!(alarms < 20, "{alarms} of 1000");
        assert!((0..100).all(|_| is_strange(field(&mut rng, 0.6))));
    }
}
