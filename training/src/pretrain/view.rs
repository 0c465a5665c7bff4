//! A patch of tissue as an encoder is shown it once: turned, moved, magnified, in other colours.
//!
//! There are far fewer patches than phantom fields, and an encoder soon knows them by heart. What it should not go by is
//! changed each time: where a thing lies and which way it is turned, the staining, a little of the size. Colours change by
//! the gain and offset of each channel, as in `tissue/views.rs`.

use candle_core::Result;
use rand::Rng;
use reinpath_model::package::EncoderSpec;
use reinpath_model::patch::Patch;

use crate::fields::Symmetry;

/// The share of views that show the whole patch just as the model will.
const WHOLE: f64 = 0.2;
/// Width over height of a view, or the other way round, is at most e to this.
const STRETCH: f32 = 0.1;
/// How far from the middle a view that is not magnified may lie, as a share of half the patch.
const SHIFT: f32 = 0.05;
/// The means and deviations to which channels are brought, in eight-bit levels.
const MEANS: std::ops::Range<f32> = 110.0..215.0;
const DEVIATIONS: std::ops::Range<f32> = 22.0..60.0;
/// Where colours are kept or made even, how far gains may lie from 1 and offsets from 0: the staining itself says much of
/// these patches, and more than this would drown it.
const GAIN: f32 = 0.02;
const OFFSET: f32 = 2.0;

/// Of two views in one picture, the second begins no nearer to the border than this, as a share of the side.
const CUT: f32 = 0.2;

/// The mean and deviation of each channel.
pub(super) type Channels = [(f32, f32); 3];

/// Which shares of views have which colours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Palette {
    /// Share of views whose channels have any mean and deviation.
    pub(super) recolour: f64,
    /// Share of views whose channels have nearly those of `common`.
    pub(super) even: f64,
    /// What all patches have together.
    pub(super) common: Channels,
}

/// How a patch is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    place: Place,
    colours: Colours,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// All of it, as the encoder's own preparation makes it, turned.
    Whole(Symmetry),
    /// From a place in the view to one in the patch, both from -1 to 1 across: `[x, y, 1]` weighed, for x and for y.
    Part([[f32; 3]; 2]),
}

#[derive(Clone, Copy, Debug)]
enum Colours {
    /// Each channel's gain and offset.
    Kept([(f32, f32); 3]),
    /// The mean and deviation that each channel gets.
    Brought(Channels),
}

/// Where a picture ends and another begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// As a share of the side.
    at: f32,
    is_across: bool,
}

impl Cut {
    /// A straight line at random.
    pub(super) fn draw(rng: &mut impl Rng) -> Self {
        Self { at: rng.random_range(CUT..1.0 - CUT), is_across: rng.random_bool(0.5) }
    }

    /// Puts what lies behind the line from one picture into another; both `(side, side, 3)`.
    pub(super) fn join(self, rgb: &mut [f32], other: &[f32]) {
        let side = ((rgb.len() / 3) as f64).sqrt().round() as usize;
        let first = (self.at * side as f32) as usize;
        for (y, (row, other)) in rgb.chunks_mut(side * 3).zip(other.chunks(side * 3)).enumerate() {
            let from = match self.is_across {
                true if y < first => side,
                true => 0,
                false => first,
            };
            row[from * 3..].copy_from_slice(&other[from * 3..]);
        }
    }
}

impl View {
    /// A view at random; `zoom` is the part of the patch's side that is shown, from and to.
    pub(super) fn draw(palette: &Palette, zoom: [f64; 2], rng: &mut impl Rng) -> Self {
        let place = if rng.random_bool(WHOLE) {
            Place::Whole(Symmetry::sample(rng))
        } else {
            Place::Part(part(zoom, rng))
        };
        Self { place, colours: Colours::draw(palette, rng) }
    }

    /// Another part in the same kind of colours.
    pub(super) fn elsewhere(&self, zoom: [f64; 2], rng: &mut impl Rng) -> Self {
        Self { place: Place::Part(part(zoom, rng)), ..*self }
    }

    /// The patch as it is.
    pub(super) fn plain() -> Self {
        Self { place: Place::Whole(Symmetry::default()), colours: Colours::Kept([(1.0, 0.0); 3]) }
    }

    /// The whole patch in the colours that all patches have together: with nothing left to go by but its structure.
    pub(super) fn even(common: Channels) -> Self {
        Self { colours: Colours::Brought(common), ..Self::plain() }
    }

    /// Whether its colours are the patch's own.
    pub(super) fn keeps_colours(&self) -> bool {
        matches!(self.colours, Colours::Kept(_))
    }

    /// The patch as this view shows it to an encoder: `(side, side, 3)` with values from 0 to 255.
    pub(super) fn of(&self, patch: &Patch, encoder: &EncoderSpec) -> Result<Vec<f32>> {
        let side = encoder.image_size as usize;
        let mut rgb: Vec<f32> = match self.place {
            Place::Whole(turned) => {
                let input = patch.for_encoder(encoder).map_err(|e| candle_core::Error::Msg(e.to_string()))?;
                turned.apply(&input.rgb, side, 3).into_iter().map(f32::from).collect()
            }
            Place::Part(affine) => warped(patch, affine, side),
        };
        self.colours.apply(&mut rgb);
        Ok(rgb)
    }
}

/// A view as the encoder takes it: normalised, `(3, side, side)`.
pub(super) fn normalised<'a>(rgb: &'a [f32], encoder: &EncoderSpec) -> impl Iterator<Item = f32> + use<'a> {
    let statistics = std::array::from_fn::<_, 3, _>(|channel| (encoder.mean[channel], encoder.std[channel]));
    let of_channel = move |(channel, (mean, std)): (usize, (f32, f32))| {
        rgb.iter().skip(channel).step_by(3).map(move |value| (value / 255.0 - mean) / std)
    };
    statistics.into_iter().enumerate().flat_map(of_channel)
}

/// A square of the patch: turned by any angle, perhaps mirrored, a little stretched.
fn part(zoom: [f64; 2], rng: &mut impl Rng) -> [[f32; 3]; 2] {
    let (sin, cos) = rng.random_range(0.0..std::f32::consts::TAU).sin_cos();
    let [near, far] = zoom.map(|zoom| zoom.ln() as f32);
    let size = rng.random_range(near..=far).exp();
    let mirror = if rng.random_bool(0.5) { -1.0 } else { 1.0 };
    let stretch = rng.random_range(-STRETCH..STRETCH).exp();
    let room = if size < 1.0 { 1.0 - size } else { SHIFT };
    let mut shift = || rng.random_range(-1.0f32..1.0) * room;
    let (wide, high) = (size * mirror * stretch, size / stretch);
    [[cos * wide, -sin * high, shift()], [sin * wide, cos * high, shift()]]
}

/// The patch under an affine map, `(side, side, 3)`: each value is the mean of several points, so that nothing fine is
/// skipped over. Beyond its border the patch is mirrored.
fn warped(patch: &Patch, [to_x, to_y]: [[f32; 3]; 2], side: usize) -> Vec<f32> {
    let (width, height) = (patch.width as usize, patch.height as usize);
    let points = width.min(height).div_ceil(side).max(1);
    let share = 1.0 / (points * points) as f32;
    let across = |at: usize| (2 * at + 1) as f32 / (points * side) as f32 - 1.0;
    let pixel = |from: [f32; 3], u: f32, v: f32, pixels: usize| {
        ((from[0] * u + from[1] * v + from[2] + 1.0) * pixels as f32 - 1.0) / 2.0
    };
    let mut values = Vec::with_capacity(side * side * 3);
    for place in 0..side * side {
        let (row, column) = (place / side * points, place % side * points);
        let mut sum = [0.0f32; 3];
        for point in 0..points * points {
            let (u, v) = (across(column + point % points), across(row + point / points));
            let (x, y) = (pixel(to_x, u, v, width), pixel(to_y, u, v, height));
            add(&mut sum, patch, Between::new(x, width), Between::new(y, height));
        }
        values.extend(sum.map(|value| value * share));
    }
    values
}

/// Two neighbouring pixels, and how much the second counts.
#[derive(Clone, Copy)]
struct Between {
    first: usize,
    second: usize,
    share: f32,
}

impl Between {
    fn new(at: f32, pixels: usize) -> Self {
        let whole = pixels as f32;
        // Most lie inside, and a remainder takes its time.
        let at = if (0.0..=whole - 1.0).contains(&at) {
            at
        } else {
            // Mirrored at the outer edges of the first and the last pixel.
            let past = (at + 0.5).rem_euclid(2.0 * whole);
            let inside = if past > whole { 2.0 * whole - past } else { past };
            (inside - 0.5).clamp(0.0, whole - 1.0)
        };
        let first = (at as usize).min(pixels - 1);
        Self { first, second: (first + 1).min(pixels - 1), share: at - first as f32 }
    }
}

/// Adds a point of the patch, weighed between its four pixels.
fn add(sum: &mut [f32; 3], patch: &Patch, x: Between, y: Between) {
    let rows = [(y.first, 1.0 - y.share), (y.second, y.share)];
    let columns = [(x.first, 1.0 - x.share), (x.second, x.share)];
    for (row, by_row) in rows {
        for (column, by_column) in columns {
            let at = (row * patch.width as usize + column) * 3;
            for (sum, value) in sum.iter_mut().zip(&patch.rgb[at..at + 3]) {
                *sum += by_row * by_column * f32::from(*value);
            }
        }
    }
}

impl Colours {
    fn draw(palette: &Palette, rng: &mut impl Rng) -> Self {
        let chance: f64 = rng.random();
        if chance < palette.recolour {
            let mut channel = || (rng.random_range(MEANS), rng.random_range(DEVIATIONS));
            return Self::Brought([channel(), channel(), channel()]);
        }
        let mut change = || (rng.random_range(1.0 - GAIN..1.0 + GAIN), rng.random_range(-OFFSET..OFFSET));
        if chance < palette.recolour + palette.even {
            return Self::Brought(palette.common.map(|(mean, deviation)| {
                let (gain, offset) = change();
                (mean + offset, deviation * gain)
            }));
        }
        Self::Kept([change(), change(), change()])
    }

    /// Changes the colours of `(…, 3)` values from 0 to 255, which they do not leave.
    fn apply(self, rgb: &mut [f32]) {
        let n = (rgb.len() / 3).max(1) as f32;
        for channel in 0..3 {
            let (gain, offset) = match self {
                Self::Kept(channels) => channels[channel],
                Self::Brought(channels) => {
                    let values = || rgb.iter().skip(channel).step_by(3);
                    let mean = values().sum::<f32>() / n;
                    let deviation = (values().map(|v| (v - mean).powi(2)).sum::<f32>() / n).sqrt();
                    let (wanted, spread) = channels[channel];
                    let gain = spread / deviation.max(1.0);
                    (gain, wanted - mean * gain)
                }
            };
            for value in rgb.iter_mut().skip(channel).step_by(3) {
                *value = value.mul_add(gain, offset).clamp(0.0, 255.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Red rises to the right, green downwards.
    fn patch() -> Patch {
        let rgb = (0..64u8).flat_map(|y| (0..64u8).flat_map(move |x| [3 * x, 3 * y, 100])).collect();
        Patch::new(64, 64, None, rgb).unwrap()
    }

    #[test]
    fn a_view_that_changes_nothing_is_the_patch_made_smaller() {
        let same = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]];
        let seen = warped(&patch(), same, 32);
        assert_eq!(seen.len(), 32 * 32 * 3);
        for (place, rgb) in seen.chunks_exact(3).enumerate() {
            let (x, y) = (place % 32, place / 32);
            let expected = [6.0 * x as f32 + 1.5, 6.0 * y as f32 + 1.5, 100.0];
            assert!(rgb.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3), "{place}: {rgb:?}");
        }
    }

    #[test]
    fn a_part_is_magnified_and_beyond_the_border_the_patch_is_mirrored() {
        let middle = warped(&patch(), [[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]], 32);
        assert!((middle[0] - 48.0).abs() < 1.6 && (middle[31 * 3] - 141.0).abs() < 1.6, "{}", middle[0]);
        let beyond = warped(&patch(), [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]], 32);
        let (left, right) = (beyond[0], beyond[31 * 3]);
        assert!(
            (left - right).abs() < 4.0 && left > 90.0,
            "from the middle to the border and back: {left} {right}"
        );
    }

    #[test]
    fn views_are_drawn_from_the_seed_and_stay_within_the_range_of_colours() {
        let text = "kind = \"vit\"\nweights = [\"a\"]\nimage_size = 32\nresize = \"bilinear\"\n\
                    mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\npatch_size = 8\nwidth = 8\nlayers = 1\n\
                    heads = 1\nmlp_width = 8\n";
        let encoder: EncoderSpec = toml::from_str(text).unwrap();
        let draw = |seed: u64| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let palette = Palette { recolour: 0.4, even: 0.3, common: [(150.0, 40.0); 3] };
            let views: Vec<View> = (0..8).map(|_| View::draw(&palette, [0.6, 1.2], &mut rng)).collect();
            views.iter().flat_map(|view| view.of(&patch(), &encoder).unwrap()).collect::<Vec<f32>>()
        };
        let values = draw(1);
        assert_eq!(values.len(), 8 * 3 * 32 * 32);
        assert!(values.iter().all(|value| (0.0..=255.0).contains(value)));
        let as_input: Vec<f32> = normalised(&values[..3 * 32 * 32], &encoder).collect();
        assert_eq!((as_input.len(), as_input[1]), (3 * 32 * 32, (values[3] / 255.0 - 0.5) / 0.5));
        assert_eq!(values, draw(1));
        assert_ne!(values, draw(2));
    }

    #[test]
    fn behind_a_line_the_other_picture_begins() {
        let joined = |is_across: bool| {
            let mut rgb = vec![0.0; 10 * 10 * 3];
            Cut { at: 0.3, is_across }.join(&mut rgb, &[1.0; 10 * 10 * 3]);
            rgb
        };
        let of = |rgb: &[f32], x: usize, y: usize| rgb[(y * 10 + x) * 3 + 2];
        let (across, down) = (joined(true), joined(false));
        assert_eq!([of(&across, 9, 2), of(&across, 0, 3)], [0.0, 1.0]);
        assert_eq!([of(&down, 2, 9), of(&down, 3, 0)], [0.0, 1.0]);
    }

    #[test]
    fn channels_get_the_mean_and_the_deviation_that_was_drawn() {
        let mut rgb: Vec<f32> = (0..300).map(|i| 100.0 + (i % 7) as f32 * 5.0).collect();
        Colours::Brought([(120.0, 20.0); 3]).apply(&mut rgb);
        for channel in 0..3 {
            let values: Vec<f32> = rgb.iter().skip(channel).step_by(3).copied().collect();
            let mean = values.iter().sum::<f32>() / 100.0;
            let spread = (values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 100.0).sqrt();
            assert!((mean - 120.0).abs() < 0.1 && (spread - 20.0).abs() < 0.1, "{mean} {spread}");
        }
        let mut kept = vec![100.0; 6];
        Colours::Kept([(1.1, -10.0), (1.0, 0.0), (2.0, 100.0)]).apply(&mut kept);
        assert_eq!(kept[..2], [100.0, 100.0]);
        assert_eq!(kept[2], 255.0);
    }

    #[test]
    fn each_kind_of_colours_has_its_share() {
        let palette = Palette { recolour: 0.5, even: 0.3, common: [(150.0, 40.0); 3] };
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let (mut recoloured, mut even, mut kept) = (0, 0, 0);
        for _ in 0..1000 {
            match Colours::draw(&palette, &mut rng) {
                Colours::Kept(_) => kept += 1,
                Colours::Brought(channels)
                    if channels.iter().all(|(mean, deviation)| {
                        (mean - 150.0).abs() <= OFFSET && (deviation - 40.0).abs() <= 40.0 * GAIN + 0.01
                    }) =>
                {
                    even += 1;
                }
                Colours::Brought(_) => recoloured += 1,
            }
        }
        assert!((440..560).contains(&recoloured) && (240..360).contains(&even), "{recoloured} {even} {kept}");
        assert!((140..260).contains(&kept), "{kept}");
    }
}
