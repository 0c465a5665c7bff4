//! A support vector machine with a Gaussian kernel, for the figure that colour alone reaches: one against one, solved by
//! sequential minimal optimisation with second-order working sets (Fan, Chen and Lin 2005, as in LIBSVM).
//!
//! Our own, since the crates that have one bring a linear algebra of their own for it. For thousands of examples with few
//! features, not more: it keeps the whole kernel matrix.

/// Stops when no pair of examples violates optimality by more (LIBSVM's default).
const TOLERANCE: f64 = 1e-3;
/// Updates of a pair, for each example, after which a solution is taken as it is.
const MOST_UPDATES: usize = 1_000;
/// Stands for a curvature that is not positive, as two equal examples have it.
const LEAST_CURVATURE: f64 = 1e-12;
/// Parts of the examples in a cross-validation.
const FOLDS: usize = 5;
/// What a cross-validation tries: the cost of an error, and the kernel's width for features of unit deviation.
const COSTS: [f64; 4] = [1.0, 3.0, 10.0, 30.0];
const WIDTHS: [f64; 3] = [0.3, 1.0, 3.0];

/// Features of an example.
pub type Point = Vec<f64>;

/// How a machine is fitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// Most that one example weighs.
    pub cost: f64,
    /// The kernel of two points is `exp(-gamma · squared distance)`, after each feature has been given unit deviation.
    pub gamma: f64,
}

/// A fitted machine of any number of classes.
#[derive(Clone, Debug)]
pub struct Svm {
    scale: Scale,
    gamma: f64,
    classes: usize,
    /// For each pair of classes, in order, what tells them apart.
    pairs: Vec<Pair>,
}

/// Two classes, of which the first is positive.
#[derive(Clone, Debug)]
struct Pair {
    classes: [usize; 2],
    /// Points on or within the margin, with their signed weights.
    support: Vec<(Point, f64)>,
    bias: f64,
}

/// Brings each feature to mean 0 and deviation 1.
#[derive(Clone, Debug)]
struct Scale {
    mean: Vec<f64>,
    deviation: Vec<f64>,
}

impl Svm {
    /// Fits a machine to examples with their classes, counted from 0.
    pub fn fit(examples: &[(Point, usize)], setting: Setting) -> Self {
        let scale = Scale::of(&examples.iter().map(|(point, _)| point));
        let scaled: Vec<(Point, usize)> =
            examples.iter().map(|(point, class)| (scale.apply(point), *class)).collect();
        let classes = examples.iter().map(|(_, class)| class + 1).max().unwrap_or(0);
        let mut pairs = Vec::new();
        for first in 0..classes {
            for second in first + 1..classes {
                pairs.extend(Pair::fit([first, second], &scaled, setting));
            }
        }
        Self { scale, gamma: setting.gamma, classes, pairs }
    }

    /// The setting that tells held-out fifths apart best, with its share of right answers. `groups` says which examples
    /// belong together and are held out together, as two views of one piece of tissue.
    pub fn best_setting(examples: &[(Point, usize)], groups: &[usize]) -> (Setting, f64) {
        let features = examples.first().map_or(1, |(point, _)| point.len().max(1)) as f64;
        let settings = COSTS
            .iter()
            .flat_map(|&cost| WIDTHS.iter().map(move |width| Setting { cost, gamma: width / features }));
        let mut best = (Setting { cost: COSTS[0], gamma: WIDTHS[0] / features }, -1.0);
        for setting in settings {
            let share = Self::cross_validated(examples, groups, setting);
            if share > best.1 {
                best = (setting, share);
            }
        }
        best
    }

    fn cross_validated(examples: &[(Point, usize)], groups: &[usize], setting: Setting) -> f64 {
        let mut right = 0;
        for fold in 0..FOLDS {
            let is_held_out = |at: usize| groups.get(at).is_some_and(|group| group % FOLDS == fold);
            let (asked, fitted): (Vec<usize>, Vec<usize>) =
                (0..examples.len()).partition(|&at| is_held_out(at));
            let fitted: Vec<(Point, usize)> = fitted.into_iter().map(|at| examples[at].clone()).collect();
            let svm = Self::fit(&fitted, setting);
            right += asked.iter().filter(|&&at| svm.class(&examples[at].0) == Some(examples[at].1)).count();
        }
        right as f64 / examples.len().max(1) as f64
    }

    /// The class that wins against most others; of equals the one with the larger margins. `None` before there are two.
    pub fn class(&self, point: &[f64]) -> Option<usize> {
        let point = self.scale.apply(point);
        let mut votes = vec![(0usize, 0.0); self.classes];
        for pair in &self.pairs {
            let decision = pair.decision(&point, self.gamma);
            let [first, second] = pair.classes;
            votes[if decision >= 0.0 { first } else { second }].0 += 1;
            votes[first].1 += decision;
            votes[second].1 -= decision;
        }
        let beats = |a: (usize, f64), b: (usize, f64)| a.0 > b.0 || (a.0 == b.0 && a.1 > b.1);
        let better = |best: usize, class: usize| if beats(votes[class], votes[best]) { class } else { best };
        (0..self.classes).reduce(better).filter(|_| !self.pairs.is_empty())
    }
}

impl Pair {
    /// `None` where one of the two classes has no example.
    fn fit(classes: [usize; 2], examples: &[(Point, usize)], setting: Setting) -> Option<Self> {
        let (points, signs): (Vec<&Point>, Vec<f64>) = examples
            .iter()
            .filter_map(|(point, class)| match *class {
                class if class == classes[0] => Some((point, 1.0)),
                class if class == classes[1] => Some((point, -1.0)),
                _ => None,
            })
            .unzip();
        if !(signs.contains(&1.0) && signs.contains(&-1.0)) {
            return None;
        }
        let n = points.len();
        let mut kernel = vec![0.0; n * n];
        for (a, row) in kernel.chunks_exact_mut(n).enumerate() {
            for (b, value) in row.iter_mut().enumerate() {
                *value = gaussian(points[a], points[b], setting.gamma);
            }
        }
        let Solution { weights, bias } = solve(&kernel, &signs, setting.cost);
        let support = (points.into_iter().zip(weights).zip(signs))
            .filter(|((_, weight), _)| *weight > 0.0)
            .map(|((point, weight), sign)| (point.clone(), weight * sign))
            .collect();
        Some(Self { classes, support, bias })
    }

    fn decision(&self, point: &[f64], gamma: f64) -> f64 {
        self.support.iter().map(|(other, weight)| weight * gaussian(point, other, gamma)).sum::<f64>()
            + self.bias
    }
}

struct Solution {
    weights: Vec<f64>,
    bias: f64,
}

/// Minimises `½ αᵀQα − Σα` with `0 ≤ α ≤ cost` and `Σ yα = 0`, where `Q` is the kernel (n, n) signed by `y` on both
/// sides.
fn solve(kernel: &[f64], signs: &[f64], cost: f64) -> Solution {
    let n = signs.len();
    let mut weights = vec![0.0_f64; n];
    let mut gradient = vec![-1.0_f64; n];
    for _ in 0..MOST_UPDATES * n {
        // What an example gains when y·α grows; α cannot leave its bounds.
        let gain = |at: usize| -signs[at] * gradient[at];
        let can_grow = |at: usize| if signs[at] > 0.0 { weights[at] < cost } else { weights[at] > 0.0 };
        let can_fall = |at: usize| if signs[at] > 0.0 { weights[at] > 0.0 } else { weights[at] < cost };
        let Some(up) = (0..n).filter(|&at| can_grow(at)).reduce(|a, b| if gain(b) > gain(a) { b } else { a })
        else {
            break;
        };
        let curvature = |at: usize| {
            (kernel[up * n + up] + kernel[at * n + at] - 2.0 * kernel[up * n + at]).max(LEAST_CURVATURE)
        };
        let descent = |at: usize| (gain(up) - gain(at)).powi(2) / curvature(at);
        let lower = |&at: &usize| can_fall(at) && gain(at) < gain(up);
        let Some(down) = (0..n).filter(lower).reduce(|a, b| if descent(b) > descent(a) { b } else { a })
        else {
            break;
        };
        let least = (0..n).filter(|&at| can_fall(at)).map(gain).fold(f64::INFINITY, f64::min);
        if gain(up) - least < TOLERANCE {
            break;
        }
        let room_up = if signs[up] > 0.0 { cost - weights[up] } else { weights[up] };
        let room_down = if signs[down] > 0.0 { weights[down] } else { cost - weights[down] };
        let step = ((gain(up) - gain(down)) / curvature(down)).min(room_up).min(room_down);
        for (at, (slope, sign)) in gradient.iter_mut().zip(signs).enumerate() {
            *slope += sign * step * (kernel[at * n + up] - kernel[at * n + down]);
        }
        weights[up] = bounded(weights[up] + signs[up] * step, cost);
        weights[down] = bounded(weights[down] - signs[down] * step, cost);
    }
    let bias = bias(&weights, &gradient, signs, cost);
    Solution { weights, bias }
}

/// Puts what is a rounding away from a bound on it.
fn bounded(weight: f64, cost: f64) -> f64 {
    match weight {
        weight if weight < cost * 1e-12 => 0.0,
        weight if weight > cost * (1.0 - 1e-12) => cost,
        weight => weight,
    }
}

/// Half way between what the examples that could still move ask for.
fn bias(weights: &[f64], gradient: &[f64], signs: &[f64], cost: f64) -> f64 {
    let (mut highest, mut lowest) = (f64::NEG_INFINITY, f64::INFINITY);
    for ((&weight, &gradient), &sign) in weights.iter().zip(gradient).zip(signs) {
        let gain = -sign * gradient;
        let (below, above) = (weight < cost, weight > 0.0);
        let (can_grow, can_fall) = if sign > 0.0 { (below, above) } else { (above, below) };
        if can_grow {
            highest = highest.max(gain);
        }
        if can_fall {
            lowest = lowest.min(gain);
        }
    }
    f64::midpoint(highest, lowest)
}

impl Scale {
    fn of<'a>(points: &(impl Iterator<Item = &'a Point> + Clone)) -> Self {
        let n = points.clone().count().max(1) as f64;
        let features = points.clone().next().map_or(0, Vec::len);
        let mean_of = |value: &dyn Fn(&Point) -> f64| points.clone().map(value).sum::<f64>() / n;
        let mean: Vec<f64> = (0..features).map(|i| mean_of(&|point| point[i])).collect();
        let deviation = (0..features)
            .map(|i| mean_of(&|point| (point[i] - mean[i]).powi(2)).sqrt())
            .map(|deviation| if deviation > 0.0 { deviation } else { 1.0 })
            .collect();
        Self { mean, deviation }
    }

    fn apply(&self, point: &[f64]) -> Point {
        point.iter().zip(&self.mean).zip(&self.deviation).map(|((x, mean), d)| (x - mean) / d).collect()
    }
}

fn gaussian(a: &[f64], b: &[f64], gamma: f64) -> f64 {
    let squared: f64 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
    (-gamma * squared).exp()
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn cloud(rng: &mut ChaCha8Rng, centre: [f64; 2], class: usize, n: usize) -> Vec<(Point, usize)> {
        let mut near = |x: f64| x + rng.random_range(-0.4..0.4);
        (0..n).map(|_| (vec![near(centre[0]), near(centre[1])], class)).collect()
    }

    fn right(svm: &Svm, examples: &[(Point, usize)]) -> usize {
        examples.iter().filter(|(point, class)| svm.class(point) == Some(*class)).count()
    }

    #[test]
    fn two_points_get_the_solution_that_can_be_written_down() {
        // Scaled to -1 and 1, their kernel is exp(-4 gamma) = k; then α = 1 / (1 - k) and the margin is 1.
        let gamma = 0.5;
        let examples = [(vec![3.0], 0), (vec![7.0], 1)];
        let svm = Svm::fit(&examples, Setting { cost: 1e6, gamma });
        let [pair] = &svm.pairs[..] else { panic!("one pair") };
        let alpha = 1.0 / (1.0 - (-4.0 * gamma).exp());
        assert_eq!(pair.support.len(), 2);
        assert!(pair.support.iter().all(|(_, weight)| (weight.abs() - alpha).abs() < 1e-6));
        assert!((pair.decision(&[-1.0], gamma) - 1.0).abs() < 1e-6 && pair.bias.abs() < 1e-9);
        assert_eq!((svm.class(&[4.9]), svm.class(&[5.1])), (Some(0), Some(1)));
        let held = Svm::fit(&examples, Setting { cost: 0.25, gamma });
        assert!(held.pairs[0].support.iter().all(|(_, weight)| weight.abs() == 0.25), "the cost is the most");
    }

    #[test]
    fn clouds_that_lie_apart_are_told_apart() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut draw = |n| {
            let centres = [[0.0, 0.0], [2.0, 0.0], [1.0, 2.0]];
            (0..3).flat_map(|class| cloud(&mut rng, centres[class], class, n)).collect::<Vec<_>>()
        };
        let (fitted, asked) = (draw(40), draw(100));
        let svm = Svm::fit(&fitted, Setting { cost: 1.0, gamma: 0.5 });
        assert_eq!(svm.pairs.len(), 3);
        assert_eq!((right(&svm, &fitted), right(&svm, &asked)), (120, 300));
    }

    #[test]
    fn what_no_line_tells_apart_is_told_apart() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let corners = [([0.0, 0.0], 0), ([2.0, 2.0], 0), ([0.0, 2.0], 1), ([2.0, 0.0], 1)];
        let mut draw = |n| {
            corners.iter().flat_map(|&(centre, class)| cloud(&mut rng, centre, class, n)).collect::<Vec<_>>()
        };
        let (fitted, asked) = (draw(30), draw(100));
        let groups: Vec<usize> = (0..fitted.len()).collect();
        let (setting, share) = Svm::best_setting(&fitted, &groups);
        assert!(share > 0.99, "{setting:?}: {share}");
        assert_eq!(right(&Svm::fit(&fitted, setting), &asked), 400);
    }

    #[test]
    fn labels_that_mean_nothing_are_not_learned() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut examples = cloud(&mut rng, [0.0, 0.0], 0, 200);
        for (_, class) in &mut examples {
            *class = usize::from(rng.random_bool(0.5));
        }
        let groups: Vec<usize> = (0..examples.len()).collect();
        let (_, share) = Svm::best_setting(&examples, &groups);
        assert!((0.35..0.65).contains(&share), "{share}");
    }

    #[test]
    fn one_class_alone_is_no_choice() {
        let svm = Svm::fit(&[(vec![1.0], 0), (vec![2.0], 0)], Setting { cost: 1.0, gamma: 1.0 });
        assert_eq!(svm.class(&[1.0]), None);
        assert_eq!(Svm::fit(&[], Setting { cost: 1.0, gamma: 1.0 }).class(&[1.0]), None);
    }
}
