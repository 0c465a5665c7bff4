//! What measuring a patch needs of planes and masks: window sums, components, distances, a threshold.
//!
//! Planes and masks are vectors, row by row. Windows are squares that the border of the patch cuts off, so that nothing
//! is assumed about what lies outside.

/// Width and height of a patch in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Size {
    /// Number of pixels.
    pub(super) fn area(self) -> usize {
        self.width * self.height
    }

    /// Column and row of a pixel.
    pub(super) fn place(self, at: usize) -> (usize, usize) {
        (at % self.width, at / self.width)
    }

    /// The up to four pixels beside a pixel.
    pub(super) fn beside(self, at: usize) -> impl Iterator<Item = usize> {
        let (x, y) = self.place(at);
        let left = (x > 0).then(|| at - 1);
        let right = (x + 1 < self.width).then_some(at + 1);
        let above = (y > 0).then(|| at - self.width);
        let below = (y + 1 < self.height).then_some(at + self.width);
        [left, right, above, below].into_iter().flatten()
    }

    /// Whether a pixel lies on the border.
    pub(super) fn is_border(self, at: usize) -> bool {
        let (x, y) = self.place(at);
        x == 0 || y == 0 || x + 1 == self.width || y + 1 == self.height
    }
}

/// For each pixel, the sum over the square window of `radius` around it, and how many pixels the window has.
///
/// By a table of sums over all rectangles from the corner, so that the radius costs nothing.
fn window_sums(value: impl Fn(usize) -> f64, size: Size, radius: usize) -> Vec<(f64, f64)> {
    let stride = size.width + 1;
    let mut table = vec![0.0; stride * (size.height + 1)];
    for y in 0..size.height {
        let mut row = 0.0;
        for x in 0..size.width {
            row += value(y * size.width + x);
            table[(y + 1) * stride + x + 1] = table[y * stride + x + 1] + row;
        }
    }
    let window = |at: usize| {
        let (x, y) = size.place(at);
        let (left, right) = (x.saturating_sub(radius), (x + radius + 1).min(size.width));
        let (top, bottom) = (y.saturating_sub(radius), (y + radius + 1).min(size.height));
        let sum =
            table[bottom * stride + right] - table[top * stride + right] - table[bottom * stride + left]
                + table[top * stride + left];
        (sum, ((right - left) * (bottom - top)) as f64)
    };
    (0..size.area()).map(window).collect()
}

/// The mean of each pixel's window.
pub(super) fn means(plane: &[f64], size: Size, radius: usize) -> Vec<f64> {
    window_sums(|at| plane[at], size, radius).into_iter().map(|(sum, n)| sum / n).collect()
}

/// The standard deviation within each pixel's window.
pub(super) fn deviations(plane: &[f64], size: Size, radius: usize) -> Vec<f64> {
    let squares = window_sums(|at| plane[at] * plane[at], size, radius);
    let mean = means(plane, size, radius);
    squares.into_iter().zip(mean).map(|((sum, n), mean)| (sum / n - mean * mean).max(0.0).sqrt()).collect()
}

fn counts(mask: &[bool], size: Size, radius: usize) -> Vec<(f64, f64)> {
    window_sums(|at| f64::from(mask[at]), size, radius)
}

/// A mask grown by `radius` on every side (dilation by a square).
pub(super) fn grown(mask: &[bool], size: Size, radius: usize) -> Vec<bool> {
    counts(mask, size, radius).into_iter().map(|(sum, _)| sum > 0.5).collect()
}

/// A mask shrunk by `radius` on every side (erosion by a square).
pub(super) fn shrunk(mask: &[bool], size: Size, radius: usize) -> Vec<bool> {
    counts(mask, size, radius).into_iter().map(|(sum, n)| sum > n - 0.5).collect()
}

/// The connected parts of a mask (four neighbours), each as its pixels, in the order of their first pixel.
pub(super) fn components(mask: &[bool], size: Size) -> Vec<Vec<usize>> {
    let mut is_left = mask.to_vec();
    let mut parts = Vec::new();
    for start in 0..mask.len() {
        if !is_left[start] {
            continue;
        }
        is_left[start] = false;
        let mut part = vec![start];
        let mut next = 0;
        while let Some(&at) = part.get(next) {
            next += 1;
            for beside in size.beside(at) {
                if is_left[beside] {
                    is_left[beside] = false;
                    part.push(beside);
                }
            }
        }
        parts.push(part);
    }
    parts
}

/// The Euclidean distance in pixels from each pixel to the nearest one outside the mask; infinite where there is none.
///
/// Exact, along columns and then along rows (Felzenszwalb and Huttenlocher, Distance Transforms of Sampled Functions).
pub(super) fn distances(mask: &[bool], size: Size) -> Vec<f64> {
    // More than any squared distance in a patch, and still finite, so that parabolas can be compared.
    const FAR: f64 = 1e12;
    let mut squared: Vec<f64> = mask.iter().map(|inside| if *inside { FAR } else { 0.0 }).collect();
    let mut line = Vec::new();
    for x in 0..size.width {
        line.clear();
        line.extend((0..size.height).map(|y| squared[y * size.width + x]));
        for (y, value) in lower_envelope(&line).into_iter().enumerate() {
            squared[y * size.width + x] = value;
        }
    }
    for row in squared.chunks_exact_mut(size.width) {
        let values = lower_envelope(row);
        row.copy_from_slice(&values);
    }
    squared.into_iter().map(|d| if d >= FAR { f64::INFINITY } else { d.sqrt() }).collect()
}

/// The smallest of `heights[q] + (p - q)²` over all q, for each p.
fn lower_envelope(heights: &[f64]) -> Vec<f64> {
    // The parabolas of the envelope, from left to right, and where each begins.
    let mut lowest: Vec<(usize, f64)> = Vec::new();
    for (q, height) in heights.iter().enumerate() {
        let mut begin = f64::NEG_INFINITY;
        while let Some(&(other, from)) = lowest.last() {
            let (x, y) = (q as f64, other as f64);
            begin = ((height + x * x) - (heights[other] + y * y)) / (2.0 * (x - y));
            if begin > from {
                break;
            }
            lowest.pop();
            begin = f64::NEG_INFINITY;
        }
        lowest.push((q, begin));
    }
    let mut at = 0;
    let value = |p: usize| {
        while lowest.get(at + 1).is_some_and(|(_, from)| *from < p as f64) {
            at += 1;
        }
        let (q, _) = lowest[at];
        heights[q] + (p as f64 - q as f64).powi(2)
    };
    (0..heights.len()).map(value).collect()
}

/// The value that best divides others into two groups (Otsu 1979): the largest variance between the groups.
/// `None` where all values are the same.
pub(super) fn threshold(values: &[f64]) -> Option<f64> {
    const BINS: usize = 128;
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if values.is_empty() || high - low <= f64::EPSILON {
        return None;
    }
    let width = (high - low) / BINS as f64;
    let mut counts = [0.0; BINS];
    for value in values {
        counts[(((value - low) / width) as usize).min(BINS - 1)] += 1.0;
    }
    let total = values.len() as f64;
    let all: f64 = counts.iter().enumerate().map(|(bin, n)| bin as f64 * n).sum::<f64>() / total;
    let (mut share, mut below, mut best) = (0.0, 0.0, (f64::NEG_INFINITY, 0));
    for (bin, n) in counts.iter().enumerate().take(BINS - 1) {
        share += n / total;
        below += bin as f64 * n / total;
        let between = (all * share - below).powi(2) / (share * (1.0 - share)).max(1e-12);
        if between > best.0 {
            best = (between, bin);
        }
    }
    Some(low + width * (best.1 + 1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 9, height: 7 };

    fn mask(inside: impl Fn(usize, usize) -> bool) -> Vec<bool> {
        (0..SIZE.area()).map(|at| SIZE.place(at)).map(|(x, y)| inside(x, y)).collect()
    }

    #[test]
    fn windows_are_cut_off_by_the_border() {
        let plane: Vec<f64> = (0..SIZE.area()).map(|at| at as f64).collect();
        let mean = means(&plane, SIZE, 1);
        assert!((mean[0] - 5.0).abs() < 1e-12, "of 0, 1, 9 and 10: {}", mean[0]);
        assert!((mean[30] - 30.0).abs() < 1e-12, "{}", mean[30]);
        assert!(deviations(&[4.0; 63], SIZE, 2).iter().all(|d| *d < 1e-6));
    }

    #[test]
    fn growing_and_shrinking_move_the_outline_by_the_radius() {
        let square = mask(|x, y| (3..6).contains(&x) && (2..5).contains(&y));
        assert_eq!(grown(&square, SIZE, 1), mask(|x, y| (2..7).contains(&x) && (1..6).contains(&y)));
        assert_eq!(shrunk(&square, SIZE, 1), mask(|x, y| x == 4 && y == 3));
    }

    #[test]
    fn parts_that_touch_at_a_corner_alone_are_two() {
        let two = mask(|x, y| (x < 2 && y < 2) || (x == 2 && y == 2));
        let parts = components(&two, SIZE);
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [4, 1]);
    }

    #[test]
    fn distances_are_those_of_a_search_through_all_pixels() {
        let inside = mask(|x, y| ![(1, 5), (7, 0), (8, 6)].contains(&(x, y)));
        for (at, distance) in distances(&inside, SIZE).into_iter().enumerate() {
            let (x, y) = SIZE.place(at);
            let nearest = (0..SIZE.area())
                .filter(|other| !inside[*other])
                .map(|other| SIZE.place(other))
                .map(|(u, v)| (x as f64 - u as f64).hypot(y as f64 - v as f64))
                .fold(f64::INFINITY, f64::min);
            assert!((distance - nearest).abs() < 1e-9, "{distance} is not {nearest} at {x}, {y}");
        }
        assert!(distances(&[true; 63], SIZE).iter().all(|d| d.is_infinite()));
    }

    #[test]
    fn a_threshold_lies_between_two_groups() {
        let mut values = vec![1.0, 1.1, 0.9, 1.05, 0.95, 1.0];
        values.extend([3.0, 3.1, 2.9]);
        let between = threshold(&values).unwrap();
        assert!((1.1..2.95).contains(&between), "{between}");
        assert_eq!(threshold(&[2.0; 5]), None);
        assert_eq!(threshold(&[]), None);
    }
}
