//! Rotary position embedding, half-split as in Hugging Face's Llama (`modeling_llama.py`, rotate_half).
//!
//! Angles are products in f32, as there: at the far end of a long context that is a visible rounding, and the published
//! models were trained with it.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{is_plain, values, with_values};

/// Fewer values than this are rotated before another thread has begun.
const SMALL: usize = 1 << 16;

/// The frequencies that positions turn with.
#[derive(Clone, Debug)]
pub struct Rotary {
    /// Radians per position of each of the `head_dim / 2` planes.
    frequencies: Arc<[f32]>,
    /// With which axis of a token's place each plane turns; `None`: all with the first.
    axes: Option<Arc<[u8]>>,
    /// Positions from here on are refused.
    limit: usize,
}

/// Cosines and sines of the tokens of a batch, (tokens, head_dim / 2) each: computed once for all layers.
#[derive(Clone, Debug)]
pub struct Rotation {
    cos: Arc<[f32]>,
    sin: Arc<[f32]>,
    half: usize,
}

impl Rotary {
    /// From the frequency of each of the `head_dim / 2` planes; `limit` is the length of the context.
    pub fn new(frequencies: &[f64], limit: usize) -> Self {
        Self { frequencies: frequencies.iter().map(|&f| f as f32).collect(), axes: None, limit }
    }

    /// The same where the first `sections[0]` planes turn with the first axis of a token's place, the next `sections[1]`
    /// with the second, and so on (`apply_multimodal_rotary_pos_emb`, transformers; its doubled sections are the two halves).
    #[must_use]
    pub fn in_sections(self, sections: &[usize]) -> Self {
        let axes = (0u8..).zip(sections).flat_map(|(axis, &planes)| std::iter::repeat_n(axis, planes));
        Self { axes: Some(axes.collect()), ..self }
    }

    /// The rotation of tokens at these places: time, row, column of each, which are one number for words; an error past the
    /// context.
    pub fn at_places(&self, places: &[[u32; 3]]) -> Result<Rotation> {
        let Some(axes) = &self.axes else {
            return self.at(&places.iter().map(|place| place[0]).collect::<Vec<_>>());
        };
        if let Some(far) = places.iter().flatten().max().filter(|&&p| p as usize >= self.limit) {
            candle_core::bail!("position {far} is past the model's context of {}", self.limit);
        }
        let angles = places.iter().flat_map(|place| {
            let planes = self.frequencies.iter().zip(axes.iter());
            planes.map(move |(f, &axis)| place[usize::from(axis)] as f32 * f)
        });
        Ok(Rotation::of(self.frequencies.len(), angles.collect::<Vec<_>>().as_slice()))
    }

    /// The rotation of tokens at these positions; an error past the context.
    pub fn at(&self, positions: &[u32]) -> Result<Rotation> {
        if let Some(far) = positions.iter().max().filter(|&&p| p as usize >= self.limit) {
            candle_core::bail!("position {far} is past the model's context of {}", self.limit);
        }
        let angles =
            || positions.iter().flat_map(|&p| self.frequencies.iter().map(move |f| f64::from(p as f32 * f)));
        Ok(Rotation {
            cos: angles().map(|angle| angle.cos() as f32).collect(),
            sin: angles().map(|angle| angle.sin() as f32).collect(),
            half: self.frequencies.len(),
        })
    }
}

impl Rotation {
    /// From the angles of all tokens, (tokens, half).
    pub fn of(half: usize, angles: &[f32]) -> Self {
        let each = || angles.iter().map(|&angle| f64::from(angle));
        Self {
            cos: each().map(|angle| angle.cos() as f32).collect(),
            sin: each().map(|angle| angle.sin() as f32).collect(),
            half,
        }
    }

    fn tokens(&self) -> usize {
        self.cos.len() / self.half.max(1)
    }

    /// The rotation back, which is also the way of a gradient.
    #[must_use]
    pub fn inverse(&self) -> Self {
        Self { sin: self.sin.iter().map(|sin| -sin).collect(), ..self.clone() }
    }

    fn rotate(&self, x: &[f32], heads: usize, sign: f32) -> Vec<f32> {
        let (half, head_dim) = (self.half, 2 * self.half);
        let mut y = vec![0.0; x.len()];
        let one = |(row, (x, y)): (usize, (&[f32], &mut [f32]))| {
            let at = row / heads * half;
            let (cos, sin) = (&self.cos[at..at + half], &self.sin[at..at + half]);
            for i in 0..half {
                let s = sign * sin[i];
                y[i] = x[i] * cos[i] - x[i + half] * s;
                y[i + half] = x[i + half] * cos[i] + x[i] * s;
            }
        };
        if x.len() < SMALL {
            x.chunks_exact(head_dim).zip(y.chunks_exact_mut(head_dim)).enumerate().for_each(one);
        } else {
            let rows = x.par_chunks_exact(head_dim).zip(y.par_chunks_exact_mut(head_dim)).enumerate();
            rows.with_min_len(SMALL / 4 / head_dim).for_each(one);
        }
        y
    }
}

/// Rotates `x` (batch, seq, heads, head_dim) by each token's rotation (`batch * seq` of them).
pub fn rope(x: &Tensor, rotation: &Rotation) -> Result<Tensor> {
    let (batch, seq, heads, head_dim) = x.dims4()?;
    if rotation.tokens() != batch * seq || head_dim != 2 * rotation.half {
        candle_core::bail!(
            "rope of {:?} with {} positions of {}",
            x.dims(),
            rotation.tokens(),
            2 * rotation.half
        );
    }
    if is_plain(x) {
        return x.contiguous()?.apply_op1(Rope { rotation: rotation.clone(), heads });
    }
    let half = rotation.half;
    let table =
        |values: &[f32]| Tensor::from_slice(values, (batch, seq, 1, half), x.device())?.to_dtype(x.dtype());
    let (cos, sin) = (table(&rotation.cos)?, table(&rotation.sin)?);
    let (a, b) = (x.narrow(3, 0, half)?, x.narrow(3, half, half)?);
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    Tensor::cat(&[first, second], 3)
}

struct Rope {
    rotation: Rotation,
    heads: usize,
}

impl CustomOp1 for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = self.rotation.rotate(values(x, xl)?, self.heads, 1.0);
        Ok((CpuStorage::F32(y), xl.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        // The gradient is the rotation back.
        let dx = with_values(grad, |g| self.rotation.rotate(g, self.heads, -1.0))?;
        Ok(Some(Tensor::from_vec(dx, x.dims(), x.device())?))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Result, Tensor};

    use super::super::tests::{agree, sample};
    use super::{Rotary, rope};

    #[test]
    fn agrees_with_primitives() -> Result<()> {
        let positions = [0, 1, 2, 4, 5, 8];
        let rotation = Rotary::new(&[1.0, 0.1], 9).at(&positions)?;
        let reference = |x: &Tensor| {
            let table = |f: fn(f64) -> f64| {
                let rows: Vec<f32> =
                    positions.iter().flat_map(|&p| [1.0, 0.1].map(|w| f(f64::from(p) * w) as f32)).collect();
                Tensor::from_vec(rows, (2, 3, 1, 2), x.device())
            };
            let (cos, sin) = (table(f64::cos)?, table(f64::sin)?);
            let (a, b) = (x.narrow(3, 0, 2)?, x.narrow(3, 2, 2)?);
            let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
            Tensor::cat(&[first, (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?], 3)
        };
        agree(&[sample(&[2, 3, 2, 4], 1)?], |a| rope(&a[0], &rotation), |a| reference(&a[0]))
    }

    #[test]
    fn sections_turn_by_their_axes() -> Result<()> {
        // Three planes by time, one by the row, two by the column.
        let frequencies = [1.0, 0.7, 0.5, 0.3, 0.2, 0.1];
        let axes = [0, 0, 0, 1, 2, 2];
        let places = [[0, 0, 0], [1, 1, 1], [2, 2, 2], [2, 2, 3], [2, 3, 2], [4, 4, 4]];
        let rotary = Rotary::new(&frequencies, 5).in_sections(&[3, 1, 2]);
        let rotation = rotary.at_places(&places)?;
        let reference = |x: &Tensor| {
            let table = |f: fn(f64) -> f64| {
                let row = |place: [u32; 3]| {
                    frequencies.iter().zip(axes).map(move |(w, axis)| f(f64::from(place[axis]) * w) as f32)
                };
                let rows: Vec<f32> = places.iter().flat_map(|&place| row(place)).collect();
                Tensor::from_vec(rows, (2, 3, 1, 6), x.device())
            };
            let (cos, sin) = (table(f64::cos)?, table(f64::sin)?);
            let (a, b) = (x.narrow(3, 0, 6)?, x.narrow(3, 6, 6)?);
            let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
            Tensor::cat(&[first, (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?], 3)
        };
        agree(&[sample(&[2, 3, 2, 12], 1)?], |a| rope(&a[0], &rotation), |a| reference(&a[0]))?;
        // Words, whose three numbers are one, turn as without sections; past the context is past it on any axis.
        let x = sample(&[1, 2, 1, 12], 2)?;
        let words = rotary.at_places(&[[3; 3], [4; 3]])?;
        let plain = Rotary::new(&frequencies, 5).at_places(&[[3; 3], [4; 3]])?;
        let (words, plain) = (rope(x.as_tensor(), &words)?, rope(x.as_tensor(), &plain)?);
        assert_eq!(words.flatten_all()?.to_vec1::<f32>()?, plain.flatten_all()?.to_vec1::<f32>()?);
        assert!(rotary.at_places(&[[2, 2, 5]]).is_err());
        Ok(())
    }

    #[test]
    fn many_values_turn_as_few_do_and_back_again() -> Result<()> {
        let rotary = Rotary::new(&[1.0, 0.1], 20_000);
        let positions: Vec<u32> = (0..17_000).collect();
        let (x, rotation) = (sample(&[1, 17_000, 1, 4], 1)?, rotary.at(&positions)?);
        let turned = rope(x.as_tensor(), &rotation)?;
        let last = rope(&x.narrow(1, 16_999, 1)?.detach(), &rotary.at(&[16_999])?)?;
        let far = |a: &Tensor, b: &Tensor| (a - b)?.abs()?.max_all()?.to_scalar::<f32>();
        assert_eq!(far(&turned.narrow(1, 16_999, 1)?, &last)?, 0.0);
        assert!(far(&rope(&turned, &rotation.inverse())?, x.as_tensor())? < 1e-5);
        assert!(far(&turned, x.as_tensor())? > 0.1);
        Ok(())
    }

    #[test]
    fn refuses_positions_past_its_context_and_rotations_of_others() -> Result<()> {
        let rotary = Rotary::new(&[1.0, 0.1], 9);
        assert!(rotary.at(&[9]).is_err());
        let x = sample(&[1, 1, 1, 4], 1)?;
        assert!(rope(x.as_tensor(), &rotary.at(&[8])?).is_ok());
        assert!(rope(x.as_tensor(), &rotary.at(&[7, 8])?).is_err());
        Ok(())
    }
}
