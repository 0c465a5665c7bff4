//! The texture of a view in numbers, and its colours.
//!
//! An encoder that must say these numbers of each view cannot answer by knowing the patch by heart: they change with what the view shows,
//! and are the same for patches that look alike. Any gain and offset of the channels leaves them alone, but for the colours at the end.
//! After `MaskFeat` (Wei et al., arXiv 2112.09133), which has an encoder say measured features, too; local binary patterns are those of
//! Ojala et al. (doi 10.1109/TPAMI.2002.1017623), uniform and without regard to rotation.

use rayon::prelude::*;

/// Sizes that structure is measured in: of one, two, four and eight pixels.
const BANDS: usize = 4;
/// The finest of them, of which patterns are counted, too.
const PATTERN_BANDS: usize = 3;
/// Kinds of patterns: none to eight of a ring's places at least as bright as its middle in one run, and all others.
const PATTERNS: usize = 10;
/// Spread, skewness and kurtosis of three channels, and how much each two have in common.
const OF_PLANES: usize = 12;

/// How many numbers there are: of all sizes together, of each band, of its energy, of what is left, of patterns, and the colours.
pub(super) const COUNT: usize = 9 + BANDS * (OF_PLANES + 6) + 9 + PATTERN_BANDS * 2 * PATTERNS + COLOURS;
/// Those at the end that are colours.
pub(super) const COLOURS: usize = 6;

/// Farther from the mean than so many deviations nothing is asked for.
const FARTHEST: f32 = 4.0;

/// What the numbers have in the mean over patches, and how far they lie from it.
#[derive(Clone, Debug)]
pub(super) struct TextureScale {
    mean: Vec<f32>,
    deviation: Vec<f32>,
}

/// One channel.
struct Plane {
    side: usize,
    values: Vec<f32>,
}

/// Of the values of a plane.
struct Moments {
    mean: f32,
    deviation: f32,
    skewness: f32,
    /// Of the fourth moment over the square of the second.
    ln_kurtosis: f32,
}

impl TextureScale {
    /// Of pictures `(side, side, 3)` with values from 0 to 255; at least one.
    pub(super) fn of(pictures: &[Vec<f32>], side: usize) -> Self {
        let measured: Vec<Vec<f32>> = pictures.par_iter().map(|rgb| measure(rgb, side)).collect();
        let moments = (0..COUNT).map(|at| {
            let values: Vec<f32> = measured.iter().map(|numbers| numbers[at]).collect();
            Moments::of(&values)
        });
        let (mean, deviation) = moments.map(|moments| (moments.mean, moments.deviation)).unzip();
        Self { mean, deviation }
    }

    /// The numbers of a picture `(side, side, 3)`: deviations from the mean over patches.
    pub(super) fn measure(&self, rgb: &[f32], side: usize) -> Vec<f32> {
        let scales = self.mean.iter().zip(&self.deviation);
        let scaled = measure(rgb, side).into_iter().zip(scales).map(|(number, (mean, deviation))| {
            ((number - mean) / deviation.max(1e-6)).clamp(-FARTHEST, FARTHEST)
        });
        scaled.collect()
    }
}

/// As they are.
fn measure(rgb: &[f32], side: usize) -> Vec<f32> {
    let mut numbers = Vec::with_capacity(COUNT);
    let mut planes: [Plane; 3] = std::array::from_fn(|channel| Plane {
        side,
        values: rgb.iter().skip(channel).step_by(3).copied().collect(),
    });
    let colours = planes.each_ref().map(|plane| Moments::of(&plane.values));
    numbers.extend(colours.iter().flat_map(|of| [of.skewness, of.ln_kurtosis]));
    for (plane, of) in planes.iter_mut().zip(&colours) {
        let gain = of.deviation.recip();
        plane.values.iter_mut().for_each(|value| *value = (*value - of.mean) * gain);
    }
    numbers.extend(in_common(&planes));
    for band in 0..BANDS {
        if band < PATTERN_BANDS {
            numbers.extend(planes[0].patterns());
            numbers.extend(mean_of(&planes).patterns());
        }
        let smooth = planes.each_ref().map(Plane::smooth);
        for (plane, smooth) in planes.iter_mut().zip(&smooth) {
            plane.values.iter_mut().zip(&smooth.values).for_each(|(value, mean)| *value -= mean);
            let energy = Moments::of(&plane.energy().values);
            numbers.extend([(energy.deviation / energy.mean).ln(), energy.skewness]);
        }
        describe(&mut planes, &mut numbers);
        numbers.extend(in_common(&planes));
        planes = smooth.map(|plane| plane.halved());
    }
    describe(&mut planes, &mut numbers);
    numbers.extend(colours.iter().flat_map(|of| [of.mean, of.deviation]));
    debug_assert_eq!(numbers.len(), COUNT);
    numbers
}

/// Adds the moments of each plane, and brings it to a mean of 0 and a deviation of 1.
fn describe(planes: &mut [Plane; 3], numbers: &mut Vec<f32>) {
    for plane in planes {
        let of = Moments::of(&plane.values);
        numbers.extend([of.deviation.ln(), of.skewness, of.ln_kurtosis]);
        let gain = of.deviation.recip();
        plane.values.iter_mut().for_each(|value| *value = (*value - of.mean) * gain);
    }
}

/// The correlations of red and green, red and blue, green and blue; of planes whose mean is 0 and whose deviation is 1.
fn in_common(planes: &[Plane; 3]) -> [f32; 3] {
    [(0, 1), (0, 2), (1, 2)].map(|(a, b)| {
        let (a, b) = (&planes[a].values, &planes[b].values);
        let [products] = sums(a, |at, value| [value * b[at]]);
        products / a.len() as f32
    })
}

fn mean_of(planes: &[Plane; 3]) -> Plane {
    let [red, green, blue] = planes;
    let values = red.values.iter().zip(&green.values).zip(&blue.values);
    Plane { side: red.side, values: values.map(|((r, g), b)| (r + g + b) / 3.0).collect() }
}

impl Plane {
    /// Weighed by 1, 4, 6, 4, 1 in both directions; mirrored at the border.
    fn smooth(&self) -> Self {
        let side = self.side;
        let weigh = |[a, b, c, d, e]: [f32; 5]| (a + e + 4.0 * (b + d) + 6.0 * c) / 16.0;
        let around = |at: usize| [-2, -1, 0, 1, 2].map(|by| mirrored(at as isize + by, side));
        let mut across = Vec::with_capacity(side * side);
        for row in self.values.chunks_exact(side) {
            let at_border = |x: usize| weigh(around(x).map(|x| row[x]));
            // In the middle nothing is mirrored, and several values are weighed at once.
            across.extend((0..side.min(2)).map(at_border));
            across.extend(row.windows(5).map(|near| weigh([near[0], near[1], near[2], near[3], near[4]])));
            across.extend((side.saturating_sub(2).max(2)..side).map(at_border));
        }
        let mut values = Vec::with_capacity(side * side);
        for y in 0..side {
            let [a, b, c, d, e] = around(y).map(|y| &across[y * side..][..side]);
            values.extend((0..side).map(|x| weigh([a[x], b[x], c[x], d[x], e[x]])));
        }
        Self { side, values }
    }

    /// Every second value of every second row.
    fn halved(&self) -> Self {
        let rows = self.values.chunks_exact(self.side).step_by(2);
        let values = rows.flat_map(|row| row.iter().step_by(2).copied()).collect();
        Self { side: self.side.div_ceil(2), values }
    }

    /// How strong the structure is around each place.
    fn energy(&self) -> Self {
        let squares = self.values.iter().map(|value| value * value).collect();
        let mut around = Self { side: self.side, values: squares }.smooth().halved().smooth();
        around.values.iter_mut().for_each(|value| *value = value.max(1e-9).sqrt());
        around
    }

    /// Square roots of the shares of each kind of pattern.
    fn patterns(&self) -> [f32; PATTERNS] {
        let side = self.side;
        let mut counts = [0u32; PATTERNS];
        for y in 1..side.saturating_sub(1) {
            let [above, row, below] = [y - 1, y, y + 1].map(|y| &self.values[y * side..][..side]);
            for ((above, row), below) in above.windows(3).zip(row.windows(3)).zip(below.windows(3)) {
                // A ring, one place after the other.
                let ring = [row[2], above[2], above[1], above[0], row[0], below[0], below[1], below[2]];
                let bits = ring.iter().fold(0u8, |bits, near| bits << 1 | u8::from(*near >= row[1]));
                let is_one_run = (bits ^ bits.rotate_left(1)).count_ones() <= 2;
                counts[if is_one_run { bits.count_ones() as usize } else { PATTERNS - 1 }] += 1;
            }
        }
        let all = counts.iter().sum::<u32>().max(1) as f32;
        counts.map(|count| (count as f32 / all).max(1e-4).sqrt())
    }
}

/// The place in a row of `side` that a place beyond its border is mirrored to.
fn mirrored(at: isize, side: usize) -> usize {
    let last = side as isize - 1;
    let at = at.abs();
    (if at > last { 2 * last - at } else { at }).clamp(0, last) as usize
}

/// Sums over values with their places; several in a row go to sums of their own, so that none waits for the one before.
fn sums<const N: usize>(values: &[f32], of: impl Fn(usize, f32) -> [f32; N]) -> [f32; N] {
    const LANES: usize = 16;
    let mut lanes = [[0.0f32; LANES]; N];
    for (start, chunk) in values.chunks(LANES).enumerate() {
        for (lane, value) in chunk.iter().enumerate() {
            for (sums, part) in lanes.iter_mut().zip(of(start * LANES + lane, *value)) {
                sums[lane] += part;
            }
        }
    }
    lanes.map(|sums| sums.iter().sum())
}

impl Moments {
    fn of(values: &[f32]) -> Self {
        let n = values.len().max(1) as f32;
        let [sum] = sums(values, |_, value| [value]);
        let mean = sum / n;
        let [second, third, fourth] = sums(values, |_, value| {
            let distance = value - mean;
            let square = distance * distance;
            [square, square * distance, square * square]
        });
        let variance = (second / n).max(1e-9);
        let deviation = variance.sqrt();
        let skewness = third / n / (variance * deviation);
        Self { mean, deviation, skewness, ln_kurtosis: (fourth / n / (variance * variance)).max(1e-9).ln() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stripes across, whose green is the negative of red.
    fn stripes(side: usize, width: usize) -> Vec<f32> {
        let pixel = |at: usize| {
            let light = if (at / side / width).is_multiple_of(2) { 200.0 } else { 100.0 + (at % 7) as f32 };
            [light, 255.0 - light, light / 2.0]
        };
        (0..side * side).flat_map(pixel).collect()
    }

    #[test]
    fn gains_and_offsets_of_channels_change_the_colours_alone() {
        let picture = stripes(48, 3);
        let other: Vec<f32> = picture
            .chunks_exact(3)
            .flat_map(|rgb| [rgb[0] * 0.5 + 60.0, rgb[1] * 0.9, rgb[2] * 1.5 + 10.0])
            .collect();
        let (first, second) = (measure(&picture, 48), measure(&other, 48));
        assert_eq!((first.len(), second.len()), (COUNT, COUNT));
        let colours = COUNT - COLOURS;
        for (at, (a, b)) in first.iter().zip(&second).take(colours).enumerate() {
            assert!((a - b).abs() < 2e-3 * a.abs().max(1.0), "{at}: {a} {b}");
        }
        assert!((second[colours] - (first[colours] * 0.5 + 60.0)).abs() < 0.01, "the mean of red");
        assert!((second[colours + 1] - first[colours + 1] * 0.5).abs() < 0.01, "its deviation");
    }

    #[test]
    fn what_two_channels_have_in_common_and_how_values_lie_is_measured() {
        let numbers = measure(&stripes(48, 3), 48);
        assert!((numbers[6] + 1.0).abs() < 1e-3, "green is the negative of red: {}", numbers[6]);
        assert!((numbers[7] - 1.0).abs() < 1e-3, "blue is half of red: {}", numbers[7]);
        let of = Moments::of(&[0.0, 0.0, 0.0, 4.0]);
        let expected = (1.0, 3.0f32.sqrt(), 2.0 / 3.0f32.sqrt(), (7.0f32 / 3.0).ln());
        let close = |a: f32, b: f32| (a - b).abs() < 1e-5;
        assert!(
            close(of.mean, expected.0) && close(of.deviation, expected.1),
            "{} {}",
            of.mean,
            of.deviation
        );
        assert!(close(of.skewness, expected.2) && close(of.ln_kurtosis, expected.3), "{}", of.skewness);
    }

    #[test]
    fn fine_and_coarse_structure_are_told_apart() {
        let spread_of_finest = 9 + 2 * PATTERNS + 6;
        let [fine, coarse] = [1, 12].map(|width| measure(&stripes(48, width), 48)[spread_of_finest]);
        assert!(fine > coarse + 0.5, "{fine} {coarse}");
    }

    #[test]
    fn an_edge_is_a_run_of_a_ring() {
        // The lower half is bright: of a ring around its first row five places are as bright as the middle.
        let plane = Plane { side: 6, values: (0..36).map(|at| if at < 18 { 0.0 } else { 1.0 }).collect() };
        let shares = plane.patterns().map(|share| share * share);
        // Rows 1 and 2 of four are dark, where nothing is darker; row 3 is the edge; row 4 is even.
        assert!((shares[8] - 0.75).abs() < 1e-3 && (shares[5] - 0.25).abs() < 1e-3, "{shares:?}");
    }

    #[test]
    fn numbers_are_scaled_by_those_of_all_patches() {
        let pictures = [stripes(32, 1), stripes(32, 2), stripes(32, 4), vec![128.0; 32 * 32 * 3]];
        let scale = TextureScale::of(&pictures, 32);
        let scaled: Vec<Vec<f32>> = pictures.iter().map(|picture| scale.measure(picture, 32)).collect();
        for at in 0..COUNT {
            let values: Vec<f32> = scaled.iter().map(|numbers| numbers[at]).collect();
            assert!(
                values.iter().all(|value| value.is_finite() && value.abs() <= FARTHEST),
                "{at}: {values:?}"
            );
            assert!(values.iter().sum::<f32>().abs() < 0.01, "{at}: {values:?}");
        }
    }
}
