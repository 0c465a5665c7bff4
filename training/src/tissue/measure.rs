//! What is measured in a patch of tissue: open spaces, red blood cells, and nuclei.
//!
//! Each channel is first brought to mean 0 and deviation 1 over the patch, so that no gain or offset of a channel
//! (another scanner, another staining, a normalisation) changes a figure. In these units the stains separate by what
//! light they take: haematoxylin takes red, so nuclei are dark in red; red blood cells take green and blue but let red
//! through. What is left of the figures are shapes, shares and textures. They are in pixels of the patch, which is
//! measured as it is: thresholds on them (`assets/tissue/lexicon.toml`) are for patches of one size.

use std::collections::BTreeMap;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::nuclei::{self, Nuclei};
use super::raster::{Size, components, deviations, distances, grown, means};

/// A channel that varies less than this (in eight-bit levels) says nothing.
const LEAST_DEVIATION: f64 = 2.0;

/// Glass is this smooth (deviation within 5 × 5 pixels) and at least this bright.
const GLASS_DEVIATION: f64 = 0.10;
const GLASS_BRIGHTNESS: f64 = 0.25;
/// The smallest open space, before it is grown to its outline.
const SMALLEST_SPACE_PX: usize = 60;
/// How far an outline lies beyond what is smooth, and how much darker it may be.
const OUTLINE_PX: usize = 4;
const OUTLINE_DARKER: f64 = 0.45;
/// How much brighter than its surroundings an open space is: even cytoplasm is smooth too.
const SPACE_CONTRAST: f64 = 0.5;

/// How much more red than green and blue a red blood cell lets through, and how dark in green it is.
const RED_EXCESS: f64 = 1.2;
const RED_GREEN: f64 = 0.2;

/// A nucleus this near to an open space lies along it.
const ALONG_PX: f64 = 8.0;
/// The fewest whole nuclei whose sizes and shapes are compared.
const FEWEST_NUCLEI: usize = 8;

/// One figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Share of the patch that is open: glass, without tissue.
    OpenSpace,
    /// Median distance from the tissue to the nearest open space, in pixels; only where there is one.
    WallDepth,
    /// Share of the nuclei that lie along an open space; only where there is one.
    NucleiAlongSpaces,
    /// Share of the tissue that is red blood cells.
    RedCells,
    /// Share of the patch that is nuclei.
    NuclearShare,
    /// Area in pixels that a quarter of the nuclei exceed.
    NuclearArea,
    /// Deviation of the nuclei's areas over their mean.
    AreaVariation,
    /// Median of the nuclei's longer axis over their shorter one.
    Elongation,
}

/// The figures of a patch; one that does not apply is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Measures(BTreeMap<Measure, f64>);

impl Measures {
    /// One of the figures; `None` where it does not apply.
    pub fn get(&self, measure: Measure) -> Option<f64> {
        self.0.get(&measure).copied()
    }
}

impl FromIterator<(Measure, f64)> for Measures {
    fn from_iter<I: IntoIterator<Item = (Measure, f64)>>(figures: I) -> Self {
        Self(figures.into_iter().collect())
    }
}

/// Measures a patch; empty where it holds nothing that varies, or no tissue.
pub fn measure(patch: &RgbImage) -> Measures {
    let size = Size { width: patch.width() as usize, height: patch.height() as usize };
    let Some([red, green, blue]) = standardised(patch) else { return Measures::default() };
    let brightness: Vec<f64> = (0..size.area()).map(|at| (red[at] + green[at] + blue[at]) / 3.0).collect();
    let space = open_spaces(&brightness, size);
    let is_red_cell =
        |at: usize| red[at] - f64::midpoint(green[at], blue[at]) > RED_EXCESS && green[at] < RED_GREEN;
    let tissue: Vec<bool> = space.iter().map(|open| !open).collect();
    let tissue_px = count(&tissue);
    if tissue_px == 0 {
        return Measures::default();
    }
    let red_cells: Vec<bool> = (0..size.area()).map(|at| tissue[at] && is_red_cell(at)).collect();
    let cells: Vec<bool> = tissue.iter().zip(&red_cells).map(|(a, b)| *a && !b).collect();
    let darkness: Vec<f64> = red.iter().map(|value| -value).collect();
    let nuclei = nuclei::find(&means(&means(&darkness, size, 1), size, 1), &cells, size);

    let mut figures = vec![
        (Measure::OpenSpace, count(&space) as f64 / size.area() as f64),
        (Measure::RedCells, count(&red_cells) as f64 / tissue_px as f64),
        (Measure::NuclearShare, nuclei.area_px as f64 / size.area() as f64),
    ];
    figures.extend(of_nuclei(&nuclei));
    if space.contains(&true) {
        figures.extend(of_walls(&tissue, &nuclei, size));
    }
    figures.into_iter().collect()
}

fn count(mask: &[bool]) -> usize {
    mask.iter().filter(|inside| **inside).count()
}

/// Each channel with mean 0 and deviation 1; `None` where no channel varies.
fn standardised(patch: &RgbImage) -> Option<[Vec<f64>; 3]> {
    let n = f64::from(patch.width()) * f64::from(patch.height());
    let mut varies = false;
    let channels = [0, 1, 2].map(|channel: usize| {
        let values: Vec<f64> = patch.pixels().map(|pixel| f64::from(pixel.0[channel])).collect();
        let mean = values.iter().sum::<f64>() / n;
        let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        varies |= deviation >= LEAST_DEVIATION;
        values.into_iter().map(|v| (v - mean) / deviation.max(LEAST_DEVIATION)).collect()
    });
    varies.then_some(channels)
}

/// Where there is glass: bright, as smooth as no tissue is, and brighter than what surrounds it.
fn open_spaces(brightness: &[f64], size: Size) -> Vec<bool> {
    let roughness = deviations(brightness, size, 2);
    let level = means(brightness, size, 1);
    let smooth: Vec<bool> = roughness
        .iter()
        .zip(&level)
        .map(|(rough, bright)| *rough < GLASS_DEVIATION && *bright > GLASS_BRIGHTNESS)
        .collect();
    let mut open = vec![false; size.area()];
    for part in components(&smooth, size) {
        if part.len() < SMALLEST_SPACE_PX {
            continue;
        }
        let inside = mean_of(&level, part.iter().copied());
        let mut core = vec![false; size.area()];
        for at in part {
            core[at] = true;
        }
        let outline = grown(&core, size, OUTLINE_PX);
        let beyond = grown(&core, size, 2 * OUTLINE_PX);
        let around = (0..size.area()).filter(|at| beyond[*at] && !outline[*at]);
        // Where nothing surrounds it, the patch is glass.
        if around.clone().next().is_some() && inside - mean_of(&level, around) < SPACE_CONTRAST {
            continue;
        }
        for ((open, outline), bright) in open.iter_mut().zip(&outline).zip(&level) {
            *open |= *outline && *bright > inside - OUTLINE_DARKER;
        }
    }
    open
}

fn mean_of(plane: &[f64], at: impl Iterator<Item = usize>) -> f64 {
    let (sum, n) = at.fold((0.0, 0_usize), |(sum, n), at| (sum + plane[at], n + 1));
    sum / n.max(1) as f64
}

/// Sizes and shapes of whole nuclei.
fn of_nuclei(nuclei: &Nuclei) -> Vec<(Measure, f64)> {
    let whole = || nuclei.all.iter().filter(|nucleus| nucleus.is_whole);
    let areas: Vec<f64> = whole().map(|nucleus| nucleus.pixels.len() as f64).collect();
    if areas.len() < FEWEST_NUCLEI {
        return Vec::new();
    }
    let n = areas.len() as f64;
    let mean = areas.iter().sum::<f64>() / n;
    let deviation = (areas.iter().map(|area| (area - mean).powi(2)).sum::<f64>() / n).sqrt();
    vec![
        (Measure::NuclearArea, quantile(areas, 0.75)),
        (Measure::AreaVariation, deviation / mean),
        (Measure::Elongation, quantile(whole().map(|nucleus| nucleus.elongation).collect(), 0.5)),
    ]
}

/// How the tissue lies to the open spaces.
fn of_walls(tissue: &[bool], nuclei: &Nuclei, size: Size) -> Vec<(Measure, f64)> {
    let distance = distances(tissue, size);
    let depths = tissue.iter().zip(&distance).filter(|(inside, _)| **inside).map(|(_, d)| *d).collect();
    let mut figures = vec![(Measure::WallDepth, quantile(depths, 0.5))];
    if nuclei.all.len() >= FEWEST_NUCLEI {
        let is_along = |pixels: &[usize]| pixels.iter().any(|at| distance[*at] < ALONG_PX);
        let along = nuclei.all.iter().filter(|nucleus| is_along(&nucleus.pixels)).count();
        figures.push((Measure::NucleiAlongSpaces, along as f64 / nuclei.all.len() as f64));
    }
    figures
}

/// The value below which `share` of the values lie, between the two nearest; 0 of none.
fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = share * values.len().saturating_sub(1) as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    match (values.get(low), values.get(high)) {
        (Some(a), Some(b)) => a + (b - a) * at.fract(),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    const SIDE: u32 = 160;
    const TISSUE: [u8; 3] = [205, 150, 200];
    const NUCLEUS: [u8; 3] = [95, 70, 150];
    const GLASS: [u8; 3] = [238, 236, 240];
    const BLOOD: [u8; 3] = [215, 40, 70];

    /// Tissue with a fine texture; what `of` names lies in it.
    fn patch(of: impl Fn(f64, f64) -> Option<[u8; 3]>) -> RgbImage {
        RgbImage::from_fn(SIDE, SIDE, |x, y| {
            let grain = ((x * 7 + y * 13) % 5) as u8 * 6;
            match of(f64::from(x), f64::from(y)) {
                Some(GLASS) => Rgb(GLASS),
                Some(colour) => Rgb(colour.map(|c| c + grain / 3)),
                None => Rgb(TISSUE.map(|c| c + grain)),
            }
        })
    }

    /// Nuclei of this radius, this far apart.
    fn nuclei(radius: f64, apart: f64) -> impl Fn(f64, f64) -> Option<[u8; 3]> {
        move |x, y| {
            let off = |v: f64| (v + apart / 2.0).rem_euclid(apart) - apart / 2.0;
            (off(x - 10.0).hypot(off(y - 10.0)) <= radius).then_some(NUCLEUS)
        }
    }

    fn figure(patch: &RgbImage, of: Measure) -> f64 {
        measure(patch).get(of).unwrap_or_else(|| panic!("{of:?} is not measured"))
    }

    #[test]
    fn known_nuclei_are_measured() {
        let drawn = patch(nuclei(6.0, 20.0));
        let share = std::f64::consts::PI * 36.0 / 400.0;
        assert!((figure(&drawn, Measure::NuclearShare) / share - 1.0).abs() < 0.15);
        assert!((figure(&drawn, Measure::NuclearArea) / (36.0 * std::f64::consts::PI) - 1.0).abs() < 0.2);
        assert!(figure(&drawn, Measure::AreaVariation) < 0.15);
        assert!(figure(&drawn, Measure::Elongation) < 1.15);
        assert_eq!(figure(&drawn, Measure::OpenSpace), 0.0);
        assert_eq!(figure(&drawn, Measure::RedCells), 0.0);
        assert_eq!(measure(&drawn).get(Measure::WallDepth), None, "no wall without a space");
        let larger = patch(nuclei(8.0, 20.0));
        assert!(figure(&larger, Measure::NuclearArea) > figure(&drawn, Measure::NuclearArea) * 1.4);
    }

    #[test]
    fn open_spaces_and_the_nuclei_along_them_are_measured() {
        let cells = nuclei(6.0, 20.0);
        let half = patch(|x, y| if x < 60.0 { Some(GLASS) } else { cells(x, y) });
        assert!((figure(&half, Measure::OpenSpace) - 60.0 / 160.0).abs() < 0.05);
        let depth = figure(&half, Measure::WallDepth);
        assert!((depth - 50.0).abs() < 8.0, "{depth}");
        let along = figure(&half, Measure::NucleiAlongSpaces);
        assert!((0.1..0.35).contains(&along), "{along}");
    }

    #[test]
    fn red_blood_cells_are_no_nuclei() {
        let cells = nuclei(5.0, 20.0);
        let blood = |x: f64, y: f64| (x - 80.0).hypot(y - 80.0) < 24.0;
        let bled = patch(|x, y| if blood(x, y) { Some(BLOOD) } else { cells(x, y) });
        let share = std::f64::consts::PI * 24.0 * 24.0 / (160.0 * 160.0);
        assert!((figure(&bled, Measure::RedCells) / share - 1.0).abs() < 0.25);
        assert!(figure(&bled, Measure::NuclearArea) < 120.0, "the blood is no large nucleus");
    }

    #[test]
    fn another_gain_and_offset_of_each_channel_changes_nothing_that_counts() {
        let cells = nuclei(6.0, 20.0);
        let drawn = patch(|x, y| if y > 110.0 { Some(GLASS) } else { cells(x, y) });
        let changed = RgbImage::from_fn(SIDE, SIDE, |x, y| {
            let [red, green, blue] = drawn.get_pixel(x, y).0.map(f64::from);
            Rgb([red * 0.7 + 40.0, green * 0.9 + 5.0, blue * 0.6 + 20.0].map(|v| v.round() as u8))
        });
        let (before, after) = (measure(&drawn), measure(&changed));
        for measure in [Measure::OpenSpace, Measure::NuclearShare, Measure::NuclearArea, Measure::WallDepth] {
            let (before, after) = (before.get(measure).unwrap(), after.get(measure).unwrap());
            assert!((after / before - 1.0).abs() < 0.05, "{measure:?}: {before} and then {after}");
        }
    }

    #[test]
    fn of_blank_glass_nothing_is_measured() {
        assert_eq!(measure(&RgbImage::from_pixel(SIDE, SIDE, Rgb(GLASS))), Measures::default());
    }

    #[test]
    fn quantiles_lie_between_values() {
        assert!((quantile(vec![4.0, 1.0, 2.0], 0.5) - 2.0).abs() < 1e-12);
        assert!((quantile(vec![4.0, 1.0, 2.0], 0.75) - 3.0).abs() < 1e-12);
        assert_eq!(quantile(Vec::new(), 0.5), 0.0);
    }
}
