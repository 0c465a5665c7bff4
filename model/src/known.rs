//! What a package knows: how far a patch lies from the patches that its model was trained on.
//!
//! A Gaussian over a patch's summary, the mean and the deviation of each channel of its fused features over the grid;
//! the measure is the Mahalanobis distance (Lee et al. 2018, arXiv:1807.03888, section 2.1, with one class). The
//! deviations tell textures apart whose means agree.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::package::FeatureRange;

/// The summaries that are usual, as loaded from a package.
#[derive(Clone, Debug)]
pub struct Known {
    /// (summary)
    mean: Tensor,
    /// (summary, summary): what makes usual summaries have unit covariance.
    whiten: Tensor,
    /// Largest distance that counts as known.
    limit: f32,
}

impl Known {
    /// From the tensors `mean` and `whiten` below `vb`; `fused` is the number of channels of fused features.
    pub fn load(vb: &VarBuilder<'_>, fused: usize, range: &FeatureRange) -> Result<Self> {
        let width = 2 * fused;
        Ok(Self {
            mean: vb.get(width, "mean")?,
            whiten: vb.get((width, width), "whiten")?,
            limit: range.limit,
        })
    }

    /// Mean squared whitened deviation of each patch's summary: about 1 for usual patches. `features` are (patches,
    /// image tokens, fused).
    pub fn distances(&self, features: &Tensor) -> Result<Vec<f32>> {
        let away = summary(features)?.broadcast_sub(&self.mean)?;
        away.matmul(&self.whiten.t()?)?.sqr()?.mean(1)?.to_vec1()
    }

    /// Positions of the patches that are unlike what the model was trained on.
    pub fn strange(&self, features: &Tensor) -> Result<Vec<usize>> {
        let distances = self.distances(features)?;
        // What is not a number is not known either.
        let is_known = |distance: f32| distance <= self.limit;
        Ok((0..distances.len()).filter(|&i| !is_known(distances[i])).collect())
    }
}

/// (patches, image tokens, fused) to (patches, 2 · fused): means, then deviations, over the grid.
pub fn summary(features: &Tensor) -> Result<Tensor> {
    let mean = features.mean_keepdim(1)?;
    let variance = features.broadcast_sub(&mean)?.sqr()?.mean(1)?;
    Tensor::cat(&[mean.squeeze(1)?, variance.sqrt()?], 1)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    #[test]
    fn distances_are_counted_along_what_is_usual() {
        let at = |rows: &[[f32; 2]; 2]| Tensor::new(rows, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        // One channel more: two tokens of two channels each.
        let features = at(&[[1.0, 10.0], [3.0, 10.0]]);
        assert_eq!(summary(&features).unwrap().to_vec2::<f32>().unwrap(), [[2.0, 10.0, 1.0, 0.0]]);
        let whiten = Tensor::new(
            &[[1.0f32, 0.0, 0.0, 0.0], [0.0, 0.1, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]],
            &Device::Cpu,
        );
        let mean = Tensor::new(&[2.0f32, 0.0, 1.0, 0.0], &Device::Cpu).unwrap();
        let known = Known { mean, whiten: whiten.unwrap(), limit: 0.5 };
        assert!((known.distances(&features).unwrap()[0] - 0.25).abs() < 1e-6);
        assert!(known.strange(&features).unwrap().is_empty());
        assert_eq!(known.strange(&at(&[[1.0, 20.0], [3.0, 20.0]])).unwrap(), [0]);
        assert_eq!(known.strange(&at(&[[f32::NAN, 10.0], [3.0, 10.0]])).unwrap(), [0]);
    }
}
