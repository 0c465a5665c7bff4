//! What colour alone says of patches: six numbers and a machine fitted on them, and patches whose colours are made alike,
//! so that nothing is left for it to go by.

use reinpath_model::patch::Patch;

use super::svm::{Point, Svm};
use crate::phantom::{ColourSummary, colour_summary};

/// The mean and deviation that each channel is brought to: red, green and blue, then their deviations.
pub type Target = ColourSummary;

/// The mean colours of patches, which are what others are brought to; `None` of nothing.
pub fn mean_colours(summaries: &[ColourSummary]) -> Option<Target> {
    let n = summaries.len() as f32;
    let mean = std::array::from_fn(|i| summaries.iter().map(|summary| summary[i]).sum::<f32>() / n);
    (!summaries.is_empty()).then_some(mean)
}

/// Brings every channel of a patch to one mean and deviation, as far as 0 to 255 allow (Reinhard's transfer, on the
/// channels themselves). A channel without any deviation becomes the mean everywhere.
pub fn normalise(patch: &mut Patch, target: &Target) {
    let own = colour_summary(&patch.rgb);
    for channel in 0..3 {
        let (mean, deviation) = (own[channel], own[channel + 3]);
        let scale = if deviation > 0.0 { target[channel + 3] / deviation } else { 0.0 };
        let new: Vec<u8> = (0..=255u8)
            .map(|value| {
                ((f32::from(value) - mean) * scale + target[channel]).round().clamp(0.0, 255.0) as u8
            })
            .collect();
        for value in patch.rgb.iter_mut().skip(channel).step_by(3) {
            *value = new[usize::from(*value)];
        }
    }
}

/// A machine that knows six colour numbers of each patch: it is given every advantage, its setting being the best of a
/// cross-validation.
#[derive(Debug)]
pub struct ColourSvm {
    svm: Svm,
    /// Patches that it was fitted on.
    pub fitted: usize,
    /// Share of right answers in the cross-validation.
    pub cross_validated: f64,
}

impl ColourSvm {
    /// Fits it to patches with their classes; `groups` says which show the same tissue. `None` before there are two
    /// classes.
    pub fn fit(patches: &[(ColourSummary, usize)], groups: &[usize]) -> Option<Self> {
        let first = patches.first()?.1;
        if patches.iter().all(|(_, class)| *class == first) {
            return None;
        }
        let examples: Vec<(Point, usize)> =
            patches.iter().map(|(summary, class)| (point(summary), *class)).collect();
        let (setting, cross_validated) = Svm::best_setting(&examples, groups);
        Some(Self { svm: Svm::fit(&examples, setting), fitted: examples.len(), cross_validated })
    }

    /// The class of a patch.
    pub fn class(&self, summary: &ColourSummary) -> Option<usize> {
        self.svm.class(&point(summary))
    }
}

fn point(summary: &ColourSummary) -> Point {
    summary.iter().map(|&x| f64::from(x)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(shift: u8) -> Patch {
        let rgb = (0..16u8).flat_map(|i| [100 + i + shift, 90 + 2 * i, 80 + 3 * (i % 4)]).collect();
        Patch::new(4, 4, None, rgb).unwrap()
    }

    #[test]
    fn channels_come_to_one_mean_and_deviation_and_keep_their_order() {
        let target = [150.0, 100.0, 120.0, 20.0, 15.0, 10.0];
        let mut changed = patch(20);
        normalise(&mut changed, &target);
        for (found, wanted) in colour_summary(&changed.rgb).iter().zip(target) {
            assert!((found - wanted).abs() < 0.6, "{found} and {wanted}");
        }
        let red = |patch: &Patch| patch.rgb.iter().step_by(3).copied().collect::<Vec<_>>();
        assert!(red(&changed).is_sorted());
        let mut other = patch(0);
        normalise(&mut other, &target);
        assert_eq!(other, changed, "what differed in colour alone is the same");
    }

    #[test]
    fn a_patch_of_one_colour_gets_the_mean_and_bright_ones_stay_in_range() {
        let mut blank = Patch::new(2, 2, None, vec![250; 12]).unwrap();
        normalise(&mut blank, &[150.0, 100.0, 120.0, 20.0, 15.0, 10.0]);
        assert_eq!(&blank.rgb[..3], &[150, 100, 120]);
        let mut wide = patch(0);
        normalise(&mut wide, &[250.0, 250.0, 250.0, 90.0, 90.0, 90.0]);
        assert!(wide.rgb.contains(&255) && wide.rgb.iter().any(|&value| value < 200));
        assert_eq!(mean_colours(&[]), None);
        assert_eq!(mean_colours(&[[0.0; 6], [2.0; 6]]), Some([1.0; 6]));
    }

    #[test]
    fn colours_that_differ_are_told_apart_and_one_class_is_none() {
        let summary = |class: usize, i: usize| {
            [100.0 + 50.0 * class as f32 + (i % 7) as f32, 90.0, 80.0, 5.0 + (i % 3) as f32, 6.0, 7.0]
        };
        let patches: Vec<_> = (0..60).map(|i| (summary(i % 2, i), i % 2)).collect();
        let groups: Vec<usize> = (0..60).collect();
        let svm = ColourSvm::fit(&patches, &groups).unwrap();
        assert!(svm.cross_validated > 0.99 && svm.fitted == 60);
        assert_eq!((svm.class(&summary(0, 5)), svm.class(&summary(1, 5))), (Some(0), Some(1)));
        assert!(ColourSvm::fit(&patches.iter().map(|(s, _)| (*s, 0)).collect::<Vec<_>>(), &groups).is_none());
    }
}
