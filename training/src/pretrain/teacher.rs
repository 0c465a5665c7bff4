//! What a machine that sees only numbers of texture and colour makes of a view.
//!
//! An encoder that is told the classes of a few patches knows them by heart before it knows what they look like. A machine that is fitted
//! on the texture and colours of the same patches generalises better; asked what that machine says of each view, an encoder has to look, since the
//! answer changes with the view, and any picture can be asked about, even one of two patches (distillation: Hinton et al., arXiv
//! 1503.02531). Colours count where they are the patch's own; of a view in other colours they are taken for what patches have in the mean,
//! and its texture says alone what it is. The machine is regularised least squares with a Gaussian kernel, solved by conjugate gradients.

use candle_core::{D, DType, Device, Result, Tensor};

use super::texture::{COLOURS, COUNT};

/// Width of the kernel for numbers of unit deviation: `exp(-GAMMA · mean squared distance)`; with what large weights cost, chosen by
/// cross-validation over the clusters of the lung set's training part.
const GAMMA: f64 = 0.5;
/// What large weights cost.
const RIDGE: f64 = 0.1;
/// Steps of the solver, and the share of the first error at which it ends.
const STEPS: usize = 300;
const TOLERANCE: f64 = 1e-4;

/// A fitted machine.
#[derive(Debug)]
pub(super) struct Teacher {
    /// (views, numbers)
    points: Tensor,
    /// (views, classes)
    weights: Tensor,
}

impl Teacher {
    /// From the numbers of views (views, `texture::COUNT`), each a deviation from the mean over patches, and their classes. Colours that
    /// are not the patch's own are 0.
    pub(super) fn fit(numbers: &Tensor, classes: &[Option<u32>], count: usize) -> Result<Self> {
        let points = weighed(numbers)?;
        let mut targets = vec![-1.0 / count as f32; classes.len() * count];
        for (row, class) in targets.chunks_exact_mut(count).zip(classes) {
            match class {
                Some(class) => row[*class as usize] += 1.0,
                None => row.fill(0.0),
            }
        }
        let targets = Tensor::from_vec(targets, (classes.len(), count), &Device::Cpu)?;
        let alike = kernel(&points, &points)?;
        let weights = solve(&alike, &targets)?;
        // In units of how far scores lie apart.
        let scores = alike.matmul(&weights)?;
        let deviation = f64::from(scores.sqr()?.mean_all()?.to_scalar::<f32>()?).sqrt();
        Ok(Self { points, weights: (weights / deviation.max(1e-6))? })
    }

    /// What it says of each class: (views, classes), of numbers (views, `texture::COUNT`).
    pub(super) fn scores(&self, numbers: &Tensor) -> Result<Tensor> {
        kernel(&weighed(numbers)?, &self.points)?.matmul(&self.weights)
    }
}

/// Six colours weigh as much as all other numbers together.
fn weighed(numbers: &Tensor) -> Result<Tensor> {
    let of_colours = ((COUNT - COLOURS) as f64 / COLOURS as f64).sqrt();
    let texture = numbers.narrow(1, 0, COUNT - COLOURS)?;
    let colours = (numbers.narrow(1, COUNT - COLOURS, COLOURS)? * of_colours)?;
    Tensor::cat(&[&texture, &colours], 1)
}

/// How alike points (n, numbers) and (m, numbers) are: (n, m).
fn kernel(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let squares = |x: &Tensor| x.sqr()?.sum_keepdim(D::Minus1);
    let apart = squares(a)?.broadcast_add(&squares(b)?.t()?)?;
    let apart = (apart - (a.matmul(&b.t()?)? * 2.0)?)?;
    (apart * (-GAMMA / a.dim(1)? as f64))?.exp()
}

/// `(alike + RIDGE) · weights = targets`, each column for itself.
fn solve(alike: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let mut weights = targets.zeros_like()?;
    let mut rest = targets.clone();
    let mut direction = rest.clone();
    let products = |a: &Tensor, b: &Tensor| (a * b)?.sum_keepdim(0);
    let largest = |x: &Tensor| x.max_all()?.to_dtype(DType::F64)?.to_scalar::<f64>();
    let mut squares = products(&rest, &rest)?;
    let enough = largest(&squares)? * TOLERANCE * TOLERANCE;
    for _ in 0..STEPS {
        if largest(&squares)? <= enough {
            break;
        }
        let image = (alike.matmul(&direction)? + (&direction * RIDGE)?)?;
        // A column that is solved already stays as it is.
        let length = (&squares / (products(&direction, &image)? + 1e-20)?)?;
        weights = (weights + direction.broadcast_mul(&length)?)?;
        rest = (rest - image.broadcast_mul(&length)?)?;
        let next = products(&rest, &rest)?;
        let share = (&next / (squares + 1e-20)?)?;
        direction = (&rest + direction.broadcast_mul(&share)?)?;
        squares = next;
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::super::texture::COUNT;
    use super::*;

    /// Views of two classes, whose first number lies within a band or outside of it, where no line tells them apart.
    fn views(count: usize, seed: u64) -> (Tensor, Vec<Option<u32>>) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut numbers = Vec::new();
        let mut classes = Vec::new();
        for _ in 0..count {
            let first: f32 = rng.random_range(-3.0..3.0);
            classes.push(Some(u32::from(first.abs() < 1.5)));
            // The first numbers say the same; the others nothing.
            numbers.extend(
                (0..COUNT).map(|at| if at < COUNT / 2 { first } else { rng.random_range(-0.5..0.5) }),
            );
        }
        (Tensor::from_vec(numbers, (count, COUNT), &Device::Cpu).unwrap(), classes)
    }

    #[test]
    fn it_tells_views_that_it_was_not_fitted_on() {
        let (numbers, classes) = views(300, 1);
        let teacher = Teacher::fit(&numbers, &classes, 2).unwrap();
        let (asked, expected) = views(100, 2);
        let said = teacher.scores(&asked).unwrap().argmax(1).unwrap().to_vec1::<u32>().unwrap();
        let right = said.iter().zip(&expected).filter(|(said, class)| Some(**said) == **class).count();
        assert!(right >= 93, "{right}");
    }

    #[test]
    fn the_equations_hold_and_scores_have_unit_deviation() {
        let (numbers, classes) = views(60, 3);
        let teacher = Teacher::fit(&numbers, &classes, 2).unwrap();
        let scores = teacher.scores(&numbers).unwrap();
        let mean = scores.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap();
        assert!((mean - 1.0).abs() < 1e-3, "{mean}");

        let alike = kernel(&teacher.points, &teacher.points).unwrap();
        let targets = Tensor::from_vec(vec![1.0f32; 60], (60, 1), &Device::Cpu).unwrap();
        let weights = solve(&alike, &targets).unwrap();
        let back = (alike.matmul(&weights).unwrap() + (weights * RIDGE).unwrap()).unwrap();
        let apart = (back - targets).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(apart < 1e-3, "{apart}");
    }

    #[test]
    fn colours_that_are_known_are_gone_by_and_others_leave_it_to_texture() {
        // Of half of the views the colours are known, and say what the texture says.
        let (numbers, classes) = views(400, 4);
        let colours: Vec<f32> = classes
            .iter()
            .enumerate()
            .flat_map(|(at, class)| {
                let of_class = if *class == Some(1) { 1.0 } else { -1.0 };
                [if at % 2 == 0 { of_class } else { 0.0 }; COLOURS]
            })
            .collect();
        let with = |colours: Vec<f32>| {
            let colours = Tensor::from_vec(colours, (400, COLOURS), &Device::Cpu).unwrap();
            Tensor::cat(&[&numbers.narrow(1, 0, COUNT - COLOURS).unwrap(), &colours], 1).unwrap()
        };
        let teacher = Teacher::fit(&with(colours.clone()), &classes, 2).unwrap();
        let right = |numbers: &Tensor, expected: &dyn Fn(u32) -> u32| {
            let said = teacher.scores(numbers).unwrap().argmax(1).unwrap().to_vec1::<u32>().unwrap();
            said.iter().zip(&classes).filter(|(said, class)| **said == expected(class.unwrap())).count()
        };
        assert!(right(&with(vec![0.0; 400 * COLOURS]), &|class| class) > 370, "by texture alone");
        let turned: Vec<f32> = colours.iter().map(|colour| -colour).collect();
        let fooled = right(&with(turned), &|class| 1 - class);
        assert!(fooled > 50, "colours that say the opposite are heard: {fooled}");
    }
}
