//! Fused features of phantom fields, computed once because the encoders are frozen, and the range they lie in.

use rayon::prelude::*;
use reinpath_model::package::FeatureRange;
use reinpath_model::reinpath::ReinPath;

use crate::error::Result;
use crate::fields::{FieldPlan, patch};

/// Fields whose features are computed at once.
const BATCH: usize = 16;
/// A field may lie this much farther from the mean than the farthest thousandth of the known ones.
const MARGIN: f32 = 1.5;

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

/// Mean and deviation per channel of the fields' mean features, and the mean squared z-score that still counts as known.
pub fn range(features: &[Vec<f32>], channels: usize) -> FeatureRange {
    let means: Vec<Vec<f32>> = features.iter().map(|f| token_mean(f, channels)).collect();
    let n = means.len().max(1) as f32;
    let column = |c: usize| means.iter().map(move |m| m[c]);
    let mean: Vec<f32> = (0..channels).map(|c| column(c).sum::<f32>() / n).collect();
    let std: Vec<f32> = (0..channels)
        .map(|c| (column(c).map(|x| (x - mean[c]).powi(2)).sum::<f32>() / n).sqrt().max(1e-6))
        .collect();
    let mut range = FeatureRange { mean, std, limit: 0.0 };
    let mut distances: Vec<f32> = means.iter().map(|m| distance(m, &range)).collect();
    distances.sort_by(f32::total_cmp);
    let at = (distances.len() * 999 / 1000).min(distances.len().saturating_sub(1));
    range.limit = distances.get(at).copied().unwrap_or(0.0) * MARGIN;
    range
}

fn token_mean(features: &[f32], channels: usize) -> Vec<f32> {
    let tokens = (features.len() / channels).max(1) as f32;
    (0..channels).map(|c| features.iter().skip(c).step_by(channels).sum::<f32>() / tokens).collect()
}

/// Mean squared z-score.
fn distance(mean: &[f32], range: &FeatureRange) -> f32 {
    let z = mean.iter().zip(&range.mean).zip(&range.std).map(|((x, m), s)| ((x - m) / s).powi(2));
    z.sum::<f32>() / mean.len().max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn the_range_holds_what_it_was_made_from_and_not_what_is_far() {
        // Two tokens of one channel; the mean runs from 0 to 9.
        let features: Vec<Vec<f32>> = (0..10).map(|i| vec![i as f32 - 1.0, i as f32 + 1.0]).collect();
        let range = range(&features, 1);
        assert!((range.mean[0] - 4.5).abs() < 1e-5 && (range.std[0] - 8.25f32.sqrt()).abs() < 1e-4);
        assert!(range.limit >= 4.5f32.powi(2) / 8.25);
        assert!(range.limit < 20.0);
    }
}
