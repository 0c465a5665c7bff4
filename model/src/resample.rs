//! The weights of an antialiased resize of one axis, which pixels (Pillow) and position embeddings (PyTorch) share: each
//! output value is a mean over the inputs that it covers.

/// How much an input counts by its distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernel {
    Triangle,
    /// Keys' cubic with a = -0.5.
    Cubic,
}

impl Kernel {
    /// Where it ends.
    fn support(self) -> f64 {
        match self {
            Self::Triangle => 1.0,
            Self::Cubic => 2.0,
        }
    }

    fn value(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        match (self, x.abs()) {
            (Self::Triangle, x) => (1.0 - x).max(0.0),
            (Self::Cubic, x) if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            (Self::Cubic, x) if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            (Self::Cubic, _) => 0.0,
        }
    }
}

/// For each of `to` output values, the first of `from` inputs that counts and the weights from there on, whose sum is 1
/// (Pillow's `precompute_coeffs`, PyTorch's `_compute_indices_min_size_weights_aa`).
pub(crate) fn taps(from: usize, to: usize, kernel: Kernel) -> impl Iterator<Item = (usize, Vec<f64>)> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let reach = kernel.support() * stretch;
    (0..to).map(move |i| {
        let center = (i as f64 + 0.5) * scale;
        let first = (center - reach + 0.5).max(0.0) as usize;
        let end = ((center + reach + 0.5) as usize).min(from);
        let mut weights: Vec<f64> =
            (first..end).map(|j| kernel.value((j as f64 - center + 0.5) * stretch.recip())).collect();
        let sum: f64 = weights.iter().sum();
        for weight in &mut weights {
            *weight /= sum;
        }
        (first, weights)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrinking_averages_what_it_covers() {
        let halved: Vec<_> = taps(8, 4, Kernel::Cubic).collect();
        assert!(halved.iter().all(|(_, weights)| (weights.iter().sum::<f64>() - 1.0).abs() < 1e-12));
        // Two output cells to either side are four input cells; the first row's left half lies outside.
        assert_eq!((halved[0].0, halved[0].1.iter().filter(|w| **w != 0.0).count()), (0, 5));
    }

    #[test]
    fn the_same_size_takes_each_value_as_it_is() {
        for (i, (first, weights)) in taps(3, 3, Kernel::Triangle).enumerate() {
            let at = |j: usize| if j < first { 0.0 } else { weights.get(j - first).copied().unwrap_or(0.0) };
            assert!((0..3).all(|j| at(j) == f64::from(u8::from(i == j))));
        }
    }
}
