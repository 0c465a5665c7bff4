//! Rotary position embedding, half-split as in Hugging Face's Llama (`modeling_llama.py`, rotate_half).

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::{is_plain, values, with_values};

/// Cosines and sines of every position, `(positions, head_dim / 2)` each.
#[derive(Clone, Debug)]
pub struct Rotary {
    cos: Arc<Vec<f32>>,
    sin: Arc<Vec<f32>>,
    half: usize,
}

impl Rotary {
    /// Tables for `positions` positions from the inverse frequencies of the `head_dim / 2` pairs.
    pub fn new(inverse_frequencies: &[f64], positions: usize) -> Self {
        let angles = || (0..positions).flat_map(|p| inverse_frequencies.iter().map(move |f| p as f64 * f));
        Self {
            cos: Arc::new(angles().map(|a| a.cos() as f32).collect()),
            sin: Arc::new(angles().map(|a| a.sin() as f32).collect()),
            half: inverse_frequencies.len(),
        }
    }

    /// How many positions the tables hold.
    pub fn positions(&self) -> usize {
        self.cos.len() / self.half
    }

    fn rotate(&self, x: &[f32], positions: &[u32], heads: usize, sign: f32) -> Vec<f32> {
        let (half, head_dim) = (self.half, 2 * self.half);
        let mut y = vec![0.0; x.len()];
        for (row, (x, y)) in x.chunks_exact(head_dim).zip(y.chunks_exact_mut(head_dim)).enumerate() {
            let at = positions[row / heads] as usize * half;
            let (cos, sin) = (&self.cos[at..at + half], &self.sin[at..at + half]);
            for i in 0..half {
                let s = sign * sin[i];
                y[i] = x[i] * cos[i] - x[i + half] * s;
                y[i + half] = x[i + half] * cos[i] + x[i] * s;
            }
        }
        y
    }
}

/// Rotates `x` (batch, seq, heads, head_dim) by each token's position (`batch * seq` of them).
pub fn rope(x: &Tensor, rotary: &Rotary, positions: &Arc<Vec<u32>>) -> Result<Tensor> {
    let (batch, seq, heads, head_dim) = x.dims4()?;
    if positions.len() != batch * seq || head_dim != 2 * rotary.half {
        candle_core::bail!(
            "rope of {:?} with {} positions of {}",
            x.dims(),
            positions.len(),
            2 * rotary.half
        );
    }
    if let Some(&far) = positions.iter().max().filter(|&&p| p as usize >= rotary.positions()) {
        candle_core::bail!("position {far} is past the model's context of {}", rotary.positions());
    }
    if is_plain(x) {
        let op = Rope { rotary: rotary.clone(), positions: Arc::clone(positions), heads, sign: 1.0 };
        return x.contiguous()?.apply_op1(op);
    }
    let half = rotary.half;
    let table = |values: &[f32]| {
        let rows: Vec<f32> =
            positions.iter().flat_map(|&p| values[p as usize * half..][..half].iter().copied()).collect();
        Tensor::from_vec(rows, (batch, seq, 1, half), x.device())?.to_dtype(x.dtype())
    };
    let (cos, sin) = (table(&rotary.cos)?, table(&rotary.sin)?);
    let (a, b) = (x.narrow(3, 0, half)?, x.narrow(3, half, half)?);
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    Tensor::cat(&[first, second], 3)
}

struct Rope {
    rotary: Rotary,
    positions: Arc<Vec<u32>>,
    heads: usize,
    /// 1 forward; the gradient is the rotation back.
    sign: f32,
}

impl CustomOp1 for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = self.rotary.rotate(values(x, xl)?, &self.positions, self.heads, self.sign);
        Ok((CpuStorage::F32(y), xl.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let dx = with_values(grad, |g| self.rotary.rotate(g, &self.positions, self.heads, -self.sign))?;
        Ok(Some(Tensor::from_vec(dx, x.dims(), x.device())?))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::{Result, Tensor};

    use super::super::tests::{agree, sample};
    use super::{Rotary, rope};

    #[test]
    fn agrees_with_primitives() -> Result<()> {
        let rotary = Rotary::new(&[1.0, 0.1], 9);
        let positions = Arc::new(vec![0, 1, 2, 4, 5, 8]);
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
        agree(&[sample(&[2, 3, 2, 4], 1)?], |a| rope(&a[0], &rotary, &positions), |a| reference(&a[0]))
    }

    #[test]
    fn refuses_positions_past_its_tables() -> Result<()> {
        let x = sample(&[1, 1, 1, 4], 1)?;
        assert!(rope(x.as_tensor(), &Rotary::new(&[1.0, 0.1], 9), &Arc::new(vec![9])).is_err());
        Ok(())
    }
}
