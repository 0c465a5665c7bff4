//! Where there is tissue: Otsu's threshold on the saturation of a coarse level, gaps bridged, specks and holes taken away.
//!
//! Glass is grey and stains are not, so saturation separates them also where the light falls off towards the slide's edge.

use image::RgbImage;

use super::morphology::{close, drop_small};
use crate::slide::Mpp;

/// A pixel whose brightest channel is darker than this has no colour to speak of: black borders of scanners are no tissue.
const BLACK: u8 = 16;
/// Gaps up to twice as wide as this are bridged, in µm: lumens and cracks belong to the tissue around them.
const BRIDGE_UM: f64 = 20.0;
/// Specks and holes smaller than this go, in µm²: 0.01 mm².
const SMALLEST_UM2: f64 = 10_000.0;
/// The same in cells where the slide's scale is not known.
const SMALLEST_CELLS: u32 = 16;
/// Cells that are bridged at the most, however small they are.
const MOST_BRIDGED: u32 = 8;

/// How coloured a slide is, cell by cell.
#[derive(Clone, Debug, PartialEq)]
pub struct SaturationMap {
    pub columns: u32,
    pub rows: u32,
    /// The side of a cell in level-0 pixels.
    pub cell: f64,
    /// Row by row, 0 (grey) to 255.
    pub values: Vec<u8>,
}

/// How a mask is made of a [`SaturationMap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskRule {
    /// What is more saturated is tissue; `None`: Otsu's threshold.
    pub threshold: Option<u8>,
    /// Gaps of up to twice as many cells are bridged.
    pub bridge: u32,
    /// Specks and holes of fewer cells go.
    pub smallest: u32,
}

/// Where there is tissue on a slide, cell by cell.
#[derive(Clone, Debug, PartialEq)]
pub struct TissueMask {
    pub columns: u32,
    pub rows: u32,
    /// The side of a cell in level-0 pixels.
    pub cell: f64,
    /// Row by row.
    pub is_tissue: Vec<bool>,
    /// What is more saturated than this is tissue.
    pub threshold: u8,
}

/// (max − min) / max of the channels, as HSV has it.
pub(super) fn saturation([r, g, b]: [u8; 3]) -> u8 {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    if most < BLACK {
        return 0;
    }
    (u16::from(most - least) * 255 / u16::from(most)) as u8
}

impl SaturationMap {
    /// Of a level with `downsample` level-0 pixels a pixel, whose squares of `block` pixels become a cell: the saturation of their mean
    /// colour, so that the noise of single pixels does not count.
    pub fn of(level: &RgbImage, downsample: f64, block: u32) -> Self {
        let block = block.max(1);
        let (width, height) = level.dimensions();
        let (columns, rows) = (width.div_ceil(block), height.div_ceil(block));
        let mut values = Vec::with_capacity(columns as usize * rows as usize);
        let mut sums = vec![[0_u32; 4]; columns as usize];
        for row in 0..rows {
            sums.fill([0; 4]);
            for y in row * block..((row + 1) * block).min(height) {
                for x in 0..width {
                    let [r, g, b] = level.get_pixel(x, y).0;
                    let [red, green, blue, count] = &mut sums[(x / block) as usize];
                    *red += u32::from(r);
                    *green += u32::from(g);
                    *blue += u32::from(b);
                    *count += 1;
                }
            }
            values.extend(sums.iter().map(|&[r, g, b, count]| {
                let mean = |sum: u32| (sum / count.max(1)) as u8;
                saturation([mean(r), mean(g), mean(b)])
            }));
        }
        Self { columns, rows, cell: downsample * f64::from(block), values }
    }

    /// Otsu's threshold of it.
    pub fn threshold(&self) -> u8 {
        let mut histogram = [0_u64; 256];
        for &value in &self.values {
            histogram[usize::from(value)] += 1;
        }
        otsu(&histogram)
    }
}

/// The value that divides a histogram into two groups, of values up to it and of those above, that differ the most: Otsu, IEEE
/// Transactions on Systems, Man, and Cybernetics 9 (1979) 62. Of one value alone, 0.
pub fn otsu(histogram: &[u64; 256]) -> u8 {
    let count: u64 = histogram.iter().sum();
    let total: f64 = (0_u8..=255).zip(histogram).map(|(value, &of)| f64::from(value) * of as f64).sum();
    let (mut below, mut sum_below) = (0_u64, 0.0);
    let (mut best, mut threshold) = (0.0, 0);
    for (value, &of) in (0_u8..=255).zip(histogram) {
        below += of;
        sum_below += f64::from(value) * of as f64;
        let above = count - below;
        if below == 0 {
            continue;
        }
        if above == 0 {
            break;
        }
        let apart = sum_below / below as f64 - (total - sum_below) / above as f64;
        let variance = below as f64 * above as f64 * apart * apart;
        if variance > best {
            (best, threshold) = (variance, value);
        }
    }
    threshold
}

impl MaskRule {
    /// By physical sizes where the slide's scale is known, else by cells. `cell` in level-0 pixels.
    pub fn new(threshold: Option<u8>, cell: f64, mpp: Option<Mpp>) -> Self {
        let Some(mpp) = mpp else { return Self { threshold, bridge: 1, smallest: SMALLEST_CELLS } };
        let side_um = (cell * mpp.mean()).max(f64::MIN_POSITIVE);
        let bridge = ((BRIDGE_UM / side_um).round() as u32).min(MOST_BRIDGED);
        Self { threshold, bridge, smallest: (SMALLEST_UM2 / (side_um * side_um)).ceil() as u32 }
    }
}

impl TissueMask {
    /// Of how coloured a slide is.
    pub fn new(map: &SaturationMap, rule: MaskRule) -> Self {
        let threshold = rule.threshold.unwrap_or_else(|| map.threshold());
        let coloured: Vec<bool> = map.values.iter().map(|&value| value > threshold).collect();
        let columns = map.columns as usize;
        let mut is_tissue = close(&coloured, columns, rule.bridge as usize);
        drop_small(&mut is_tissue, columns, false, rule.smallest as usize);
        drop_small(&mut is_tissue, columns, true, rule.smallest as usize);
        Self { columns: map.columns, rows: map.rows, cell: map.cell, is_tissue, threshold }
    }

    /// The area of the tissue in level-0 pixels.
    pub fn area(&self) -> f64 {
        let cells = self.is_tissue.iter().filter(|&&cell| cell).count();
        cells as f64 * self.cell * self.cell
    }

    /// Whether there is tissue at a place, in level-0 pixels.
    pub fn contains(&self, (x, y): (f64, f64)) -> bool {
        if x < 0.0 || y < 0.0 || self.cell <= 0.0 {
            return false;
        }
        let (column, row) = ((x / self.cell) as usize, (y / self.cell) as usize);
        column < self.columns as usize
            && self.is_tissue.get(row * self.columns as usize + column).copied().unwrap_or(false)
    }
}
