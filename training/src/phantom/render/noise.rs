//! Sources of chance that depend on position only, so that neighbouring tiles agree: hashed dice and noise tables.
//!
//! The tables are smoothed white noise, computed once and sampled with wrap-around; that is much cheaper per pixel
//! than gradient noise and repeats only after hundreds of pixels, which fibres and nuclei hide.

use std::sync::OnceLock;

/// Side of a noise table; a power of two, for wrapping by masking.
const SIDE: usize = 256;

/// A small random sequence (splitmix64) seeded from a position.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// The sequence of grid cell `(ix, iy)` of the grid `kind` under `salt`.
    pub(super) fn at(salt: u64, kind: u64, ix: i32, iy: i32) -> Self {
        let cell = (u64::from(ix as u32) << 32) | u64::from(iy as u32);
        Self(scramble(salt ^ scramble(cell ^ scramble(kind))))
    }

    pub(super) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        scramble(self.0)
    }

    /// Uniform in 0..1.
    pub(super) fn unit(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Uniform in `low..high`.
    pub(super) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }
}

fn scramble(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Wrapping noise of mean 0 and standard deviation 1.
pub(super) struct Table(Vec<f32>);

impl Table {
    fn smoothed(seed: u64, radius: usize, passes: usize) -> Self {
        let mut values: Vec<f32> = (0..SIDE * SIDE)
            .map(|i| Dice::at(seed, 0, (i % SIDE) as i32, (i / SIDE) as i32).unit() - 0.5)
            .collect();
        for _ in 0..passes {
            values = box_rows_transposed(&values, radius);
            values = box_rows_transposed(&values, radius);
        }
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / values.len() as f32;
        let scale = 1.0 / variance.sqrt();
        Self(values.into_iter().map(|v| (v - mean) * scale).collect())
    }

    /// The nearest entry.
    #[inline]
    pub(super) fn nearest(&self, x: i32, y: i32) -> f32 {
        self.0[(y as usize & (SIDE - 1)) * SIDE + (x as usize & (SIDE - 1))]
    }

    /// Bilinear between entries.
    #[inline]
    pub(super) fn at(&self, x: f32, y: f32) -> f32 {
        let (ix, iy) = (floor(x), floor(y));
        let (tx, ty) = (x - ix as f32, y - iy as f32);
        let top = self.nearest(ix, iy) * (1.0 - tx) + self.nearest(ix + 1, iy) * tx;
        let bottom = self.nearest(ix, iy + 1) * (1.0 - tx) + self.nearest(ix + 1, iy + 1) * tx;
        top * (1.0 - ty) + bottom * ty
    }
}

/// The integer below; `f32::floor` is a library call on processors without SSE 4.1.
#[inline]
pub(super) fn floor(v: f32) -> i32 {
    let cut = v as i32;
    cut - i32::from((cut as f32) > v)
}

/// Box average along rows with wrap-around, written transposed, so that two calls smooth both axes.
fn box_rows_transposed(values: &[f32], radius: usize) -> Vec<f32> {
    let mut out = vec![0.0; SIDE * SIDE];
    for (y, row) in values.chunks_exact(SIDE).enumerate() {
        for x in 0..SIDE {
            let sum: f32 = (0..=2 * radius).map(|d| row[(x + SIDE + d - radius) & (SIDE - 1)]).sum();
            out[x * SIDE + y] = sum / (2 * radius + 1) as f32;
        }
    }
    out
}

/// Noise of a correlation length of about 1 entry (chromatin, film grain).
pub(super) fn grain() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| Table::smoothed(11, 1, 1))
}

/// Noise of a correlation length of about 4 entries (cytoplasm; sampled more slowly: warps and outlines).
pub(super) fn cloud() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| Table::smoothed(23, 2, 3))
}

/// Smooth step from 0 to 1 while `value` goes from `low` to `high`.
#[inline]
pub(super) fn step(low: f32, high: f32, value: f32) -> f32 {
    let t = ((value - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}
