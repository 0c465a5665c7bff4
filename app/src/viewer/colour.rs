//! How a slide's colours are shown: data that the tile shader reads. It never touches what a model receives.
//!
//! The order of the steps, the same in `tiles.wgsl` and in [`ColourLook::apply`]: ICC table, white balance, stain view, brightness, contrast,
//! gamma. All values are sRGB as they stand in the file, 0 to 1.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub mod icc;
pub mod macenko;
pub(super) mod shader_data;
pub mod stain;
pub mod white;

pub use stain::{StainChannel, StainVectors, StainView};

/// Cells along each side of an ICC table.
pub const TABLE_SIDE: u32 = 33;
/// What a channel is taken for at least where its logarithm is: the darkest value above black of eight bits.
pub const DARKEST: f32 = 1.0 / 255.0;

/// All of it; the default changes nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct ColourLook {
    /// Added, -1 to 1.
    pub brightness: f32,
    /// Factor around the middle, 0.2 to 5.
    pub contrast: f32,
    /// Exponent is 1 over it, 0.2 to 5.
    pub gamma: f32,
    /// The colour of the slide's background that is to become white; all ones: as it is.
    pub white: [f32; 3],
    /// From the slide's ICC profile to sRGB; `None`: as it is.
    pub table: Option<Arc<ColourTable>>,
    pub stain: Option<StainView>,
}

impl Default for ColourLook {
    fn default() -> Self {
        Self { brightness: 0.0, contrast: 1.0, gamma: 1.0, white: [1.0; 3], table: None, stain: None }
    }
}

impl ColourLook {
    /// Whether it changes nothing.
    pub fn is_neutral(&self) -> bool {
        *self == Self::default()
    }

    /// What the shader makes of a colour: its arithmetic on the CPU.
    #[must_use]
    pub fn apply(&self, rgb: [u8; 3]) -> [u8; 3] {
        if self.is_neutral() {
            return rgb;
        }
        let mut colour = rgb.map(|value| f32::from(value) / 255.0);
        if let Some(table) = &self.table {
            colour = table.look_up(colour);
        }
        for (value, white) in colour.iter_mut().zip(self.white) {
            *value = (*value / white.max(DARKEST)).min(1.0);
        }
        if let Some(stain) = &self.stain {
            colour = stain.apply(colour);
        }
        colour.map(|value| {
            let value = (value + self.brightness - 0.5) * self.contrast + 0.5;
            let value = value.clamp(0.0, 1.0).powf(1.0 / self.gamma);
            (value * 255.0).round() as u8
        })
    }
}

/// A 3-D lookup table: RGBA8, red fastest, then green, then blue, [`TABLE_SIDE`] each.
#[derive(Debug, PartialEq, Eq)]
pub struct ColourTable {
    /// Different for each table of a running program: what the renderer keeps its texture by.
    pub id: u64,
    pub rgba: Vec<u8>,
}

impl ColourTable {
    /// A table of what `convert` makes of each corner of its cells. Both sides of `convert` are 0 to 1.
    pub fn from_fn(convert: impl Fn([f32; 3]) -> [f32; 3]) -> Self {
        let rgb: Vec<f32> = corners().flat_map(convert).collect();
        Self::from_list(&rgb)
    }

    /// A table of three values, 0 to 1, for each corner in the order of [`corners`].
    fn from_list(rgb: &[f32]) -> Self {
        let mut rgba = Vec::with_capacity(rgb.len() / 3 * 4);
        for colour in rgb.chunks_exact(3) {
            rgba.extend(colour.iter().copied().map(byte));
            rgba.push(255);
        }
        Self { id: new_table_id(), rgba }
    }

    /// Whether it has the same colours as a list, but for `most` of 255.
    fn is_nearly(&self, rgb: &[f32], most: u8) -> bool {
        let colours = self.rgba.chunks_exact(4).zip(rgb.chunks_exact(3));
        colours.flat_map(|(a, b)| a.iter().zip(b)).all(|(a, b)| a.abs_diff(byte(*b)) <= most)
    }

    /// Between the eight nearest corners, as the GPU's linear sampler does.
    fn look_up(&self, rgb: [f32; 3]) -> [f32; 3] {
        let side = TABLE_SIDE as usize;
        let last = side - 1;
        let places = rgb.map(|value| {
            let place = value.clamp(0.0, 1.0) * last as f32;
            let below = (place.floor() as usize).min(last - 1);
            (below, place - below as f32)
        });
        let mut sum = [0.0; 3];
        for corner in 0..8_usize {
            let (mut weight, mut at, mut stride) = (1.0, 0, 1);
            for (axis, (below, part)) in places.iter().enumerate() {
                let is_upper = (corner >> axis) & 1 == 1;
                weight *= if is_upper { *part } else { 1.0 - part };
                at += (below + usize::from(is_upper)) * stride;
                stride *= side;
            }
            for (channel, value) in sum.iter_mut().enumerate() {
                *value += weight * f32::from(self.rgba[at * 4 + channel]) / 255.0;
            }
        }
        sum
    }
}

/// The colours at the corners of a table's cells, in the table's order.
fn corners() -> impl Iterator<Item = [f32; 3]> {
    let part = |n: u32| n as f32 / (TABLE_SIDE - 1) as f32;
    (0..TABLE_SIDE).flat_map(move |blue| {
        (0..TABLE_SIDE)
            .flat_map(move |green| (0..TABLE_SIDE).map(move |red| [part(red), part(green), part(blue)]))
    })
}

fn byte(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0).round() as u8
}

fn new_table_id() -> u64 {
    // 0 is the renderer's own table, which stands where there is none.
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLOURS: [[u8; 3]; 6] =
        [[0, 0, 0], [255, 255, 255], [200, 40, 90], [60, 160, 70], [241, 238, 243], [1, 2, 254]];

    #[test]
    fn the_default_changes_nothing() {
        for value in 0..=255 {
            assert_eq!(ColourLook::default().apply([value, 255 - value, 7]), [value, 255 - value, 7]);
        }
    }

    #[test]
    fn a_table_of_what_is_there_already_changes_nothing() {
        let look = ColourLook {
            table: Some(Arc::new(ColourTable::from_fn(|colour| colour))),
            ..ColourLook::default()
        };
        for colour in COLOURS {
            let shown = look.apply(colour);
            assert!(shown.iter().zip(colour).all(|(a, b)| a.abs_diff(b) <= 1), "{colour:?} {shown:?}");
        }
    }

    #[test]
    fn a_table_keeps_its_channels_apart() {
        let table = ColourTable::from_fn(|[red, green, blue]| [green, blue, red]);
        let look = ColourLook { table: Some(Arc::new(table)), ..ColourLook::default() };
        let [red, green, blue] = look.apply([200, 40, 90]);
        assert!(red.abs_diff(40) <= 1 && green.abs_diff(90) <= 1 && blue.abs_diff(200) <= 1);
    }

    #[test]
    fn the_picked_background_becomes_white_and_nothing_overflows() {
        let white = [230.0 / 255.0, 220.0 / 255.0, 240.0 / 255.0];
        let look = ColourLook { white, ..ColourLook::default() };
        assert_eq!(look.apply([230, 220, 240]), [255; 3]);
        assert_eq!(look.apply([255; 3]), [255; 3]);
        assert_eq!(look.apply([46, 44, 48]), [51; 3]);
        let black = ColourLook { white: [0.0; 3], ..ColourLook::default() };
        assert_eq!(black.apply([0, 1, 255]), [0, 255, 255], "a black background divides nothing by zero");
    }

    #[test]
    fn brightness_contrast_and_gamma_move_the_middle_as_they_say() {
        let brighter = ColourLook { brightness: 0.2, ..ColourLook::default() };
        assert_eq!(brighter.apply([100, 0, 250]), [151, 51, 255]);
        let harder = ColourLook { contrast: 3.0, ..ColourLook::default() };
        assert_eq!(harder.apply([160, 100, 10]), [225, 45, 0]);
        let lighter = ColourLook { gamma: 2.0, ..ColourLook::default() };
        assert_eq!(lighter.apply([64, 0, 255]), [128, 0, 255]);
    }

    #[test]
    fn every_table_has_its_own_id() {
        let [a, b] = [0, 1].map(|_| ColourTable::from_fn(|colour| colour).id);
        assert!(a != b && a != 0 && b != 0);
    }
}
