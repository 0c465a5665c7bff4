//! Phantom fields as the encoders see them, and what each cell of theirs shows.

use candle_core::{Device, Tensor};
use rand::Rng;
use rayon::prelude::*;
use reinpath_model::package::{EncoderSpec, PatchSpec};
use reinpath_model::patch::{EncoderInput, Patch};

use crate::error::Result;
use crate::phantom::{Component, Field, Limits, Truth, draw};

/// A field to draw.
#[derive(Clone, Copy, Debug)]
pub struct FieldPlan {
    pub truth: Truth,
    pub seed: u64,
}

/// `count` fields from the phantom distribution.
pub fn sample_plans(count: usize, rng: &mut impl Rng) -> Vec<FieldPlan> {
    limited_plans(count, Limits::default(), rng)
}

/// `count` fields within limits.
pub fn limited_plans(count: usize, limits: Limits, rng: &mut impl Rng) -> Vec<FieldPlan> {
    (0..count).map(|_| FieldPlan { truth: limits.field(rng), seed: rng.random() }).collect()
}

/// A field as a patch of the model.
pub fn patch(plan: &FieldPlan, spec: PatchSpec) -> Result<Patch> {
    patch_of(draw(&plan.truth, spec.size_px, plan.seed), spec)
}

pub(crate) fn patch_of(field: Field, spec: PatchSpec) -> Result<Patch> {
    let (width, height) = field.rgb.dimensions();
    Ok(Patch::new(width, height, Some(spec.mpp), field.rgb.into_raw())?)
}

/// A field prepared for training an encoder.
#[derive(Debug)]
pub struct EncoderExample {
    pub truth: Truth,
    /// What each encoder receives.
    pub inputs: Vec<EncoderInput>,
    /// Share of each component in each cell, `(grid, grid, Component::COUNT)`.
    pub cells: Vec<f32>,
}

/// Draws fields on all cores; `progress` is told how many are done.
pub fn draw_examples(
    plans: &[FieldPlan],
    patch: PatchSpec,
    encoders: &[EncoderSpec],
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Vec<EncoderExample>> {
    let done = std::sync::atomic::AtomicUsize::new(0);
    let grid = (encoders[0].image_size / encoders[0].patch_size) as usize;
    plans
        .par_iter()
        .map(|plan| {
            let field = draw(&plan.truth, patch.size_px, plan.seed);
            let cells = cell_shares(&field.mask, patch.size_px as usize, grid);
            let pixels = patch_of(field, patch)?;
            let inputs =
                encoders.iter().map(|e| pixels.for_encoder(e)).collect::<std::result::Result<_, _>>()?;
            progress(done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1);
            Ok(EncoderExample { truth: plan.truth, inputs, cells })
        })
        .collect()
}

fn cell_shares(mask: &[u8], side: usize, grid: usize) -> Vec<f32> {
    let cell = side / grid;
    let share = 1.0 / (cell * cell) as f32;
    let mut shares = vec![0.0; grid * grid * Component::COUNT];
    for y in 0..cell * grid {
        for x in 0..cell * grid {
            let at = (y / cell * grid + x / cell) * Component::COUNT;
            shares[at + mask[y * side + x] as usize] += share;
        }
    }
    shares
}

/// One of the eight ways to turn and mirror a square, which change nothing that is true of a field; none by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Symmetry(u8);

impl Symmetry {
    /// Any of the eight.
    pub fn sample(rng: &mut impl Rng) -> Self {
        Self(rng.random_range(0..8))
    }

    /// The square's values, `channels` to a place, after the turn.
    pub fn apply<T: Copy>(self, values: &[T], side: usize, channels: usize) -> Vec<T> {
        let place = |row: usize, column: usize| {
            let (mut r, mut c) = if self.0 & 1 == 0 { (row, column) } else { (column, row) };
            if self.0 & 2 != 0 {
                r = side - 1 - r;
            }
            if self.0 & 4 != 0 {
                c = side - 1 - c;
            }
            (r * side + c) * channels
        };
        let mut turned = Vec::with_capacity(values.len());
        for row in 0..side {
            for column in 0..side {
                let at = place(row, column);
                turned.extend_from_slice(&values[at..at + channels]);
            }
        }
        turned
    }
}

/// A batch of one encoder's inputs, turned, as (batch, 3, side, side).
pub fn pixels(
    examples: &[(&EncoderExample, Symmetry)],
    at: usize,
    encoder: &EncoderSpec,
) -> candle_core::Result<Tensor> {
    let side = encoder.image_size as usize;
    let mut values = Vec::with_capacity(examples.len() * 3 * side * side);
    for (example, symmetry) in examples {
        let input = &example.inputs[at];
        let rgb = symmetry.apply(&input.rgb, side, 3);
        values.extend(EncoderInput { rgb, side: input.side }.normalised(encoder));
    }
    Tensor::from_vec(values, (examples.len(), 3, side, side), &Device::Cpu)
}

#[cfg(test)]
mod tests {
    use super::Symmetry;

    #[test]
    fn the_eight_symmetries_differ_and_keep_every_value() {
        let values: Vec<u8> = (0..18).collect();
        let mut seen: Vec<Vec<u8>> = (0..8).map(|i| Symmetry(i).apply(&values, 3, 2)).collect();
        assert_eq!(seen[0], values);
        assert_eq!(&seen[1][2..4], &values[6..8], "mirrored at the diagonal");
        for turned in &seen {
            let mut sorted = turned.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, values);
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 8);
    }
}
