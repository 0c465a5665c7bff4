//! Matrices that stay quantised (ggml's blocks), each held once: mapped from its file, or on a device.
//!
//! Candle's `QTensor` copies a matrix out of its file and packs it again at the first product, another time where the
//! processor has AMX: four bits a weight become up to 20. Here the file's bytes are all there is. They are multiplied
//! where they lie: sixteen rows at a time being unpacked into a buffer that stays in the cache (`avx512.rs`), each row
//! alone where few rows are multiplied by it (`avx512/few.rs`), or by candle's own dot products where the processor has no
//! AVX-512 (`blocks.rs`). Pages that are not needed are the system's to drop, and two workers share them.

#[cfg(target_arch = "x86_64")]
mod activations;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod blocks;

use std::ops::Range;
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape, Tensor};
use memmap2::Mmap;
use rayon::prelude::*;

pub(crate) use self::blocks::check;
use crate::ops;

/// A quantised matrix (out, in).
#[derive(Debug)]
pub struct Quantised {
    held: Held,
    kind: GgmlDType,
    rows: usize,
    columns: usize,
    /// Heads in whose rows the bytes hold pairs (0, half, 1, half + 1, …) where this matrix has halves (0, 1, …, half,
    /// half + 1, …), as llama.cpp stores queries and keys.
    paired_heads: Option<usize>,
}

#[derive(Debug)]
enum Held {
    Mapped { map: Arc<Mmap>, place: Range<usize> },
    Device(QTensor),
}

impl Quantised {
    /// The matrix of `shape` at `place` in a mapped file. `paired_heads`: the heads in whose rows pairs are stored.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that names the tensor.
    pub fn mapped(
        map: &Arc<Mmap>,
        place: Range<usize>,
        kind: GgmlDType,
        shape: (usize, usize),
        paired_heads: Option<usize>,
    ) -> std::result::Result<Self, String> {
        let (rows, columns) = shape;
        blocks::check(kind, &map[place.clone()], shape)?;
        let paired_heads = paired_heads.filter(|&heads| heads > 0 && rows.is_multiple_of(2 * heads));
        let held = Held::Mapped { map: Arc::clone(map), place };
        Ok(Self { held, kind, rows, columns, paired_heads })
    }

    /// The same matrix in a device's memory; on the CPU it stays where it is.
    pub fn on(self, device: &Device) -> Result<Self> {
        let Held::Mapped { map, place } = &self.held else { return Ok(self) };
        if device.is_cpu() {
            return Ok(self);
        }
        let bytes = &map[place.clone()];
        let mut ordered = Vec::with_capacity(bytes.len());
        for row in 0..self.rows {
            ordered.extend_from_slice(self.row(bytes, row));
        }
        let storage = QStorage::from_data(ordered.into(), device, self.kind)?;
        let held = Held::Device(QTensor::new(storage, (self.rows, self.columns))?);
        Ok(Self { held, paired_heads: None, ..self })
    }

    /// (out, in)
    pub fn dims(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// Where it is multiplied.
    pub fn device(&self) -> Device {
        match &self.held {
            Held::Mapped { .. } => Device::Cpu,
            Held::Device(matrix) => matrix.device(),
        }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        match &self.held {
            Held::Mapped { place, .. } => place.len(),
            Held::Device(matrix) => matrix.storage_size_in_bytes(),
        }
    }

    /// `x Wᵀ`: (…, in) to (…, out). The matrix is frozen; the gradient of `x` goes through it.
    pub fn apply(self: &Arc<Self>, x: &Tensor) -> Result<Tensor> {
        x.contiguous()?.apply_op1(Product(Arc::clone(self)))
    }

    /// The rows of these indices, (indices, in), in full precision: only they are read.
    pub fn rows(&self, indices: &Tensor) -> Result<Tensor> {
        let bytes = match &self.held {
            Held::Device(matrix) => return matrix.embedding(indices),
            Held::Mapped { map, place } => &map[place.clone()],
        };
        let indices = indices.to_dtype(DType::U32)?.flatten_all()?.to_vec1::<u32>()?;
        let mut values = vec![0.0; indices.len() * self.columns];
        for (&index, values) in indices.iter().zip(values.chunks_exact_mut(self.columns)) {
            if index as usize >= self.rows {
                candle_core::bail!("there is no row {index} in a matrix of {} rows", self.rows);
            }
            blocks::to_float(self.kind, self.row(bytes, index as usize), values)?;
        }
        Tensor::from_vec(values, (indices.len(), self.columns), &Device::Cpu)
    }

    /// In full precision.
    pub fn full(&self) -> Result<Tensor> {
        let bytes = match &self.held {
            Held::Device(matrix) => return matrix.dequantize(&matrix.device()),
            Held::Mapped { map, place } => &map[place.clone()],
        };
        let mut values = vec![0.0; self.rows * self.columns];
        values
            .par_chunks_exact_mut(self.columns)
            .enumerate()
            .try_for_each(|(row, values)| blocks::to_float(self.kind, self.row(bytes, row), values))?;
        Tensor::from_vec(values, (self.rows, self.columns), &Device::Cpu)
    }

    /// The bytes of a row.
    fn row<'a>(&self, bytes: &'a [u8], row: usize) -> &'a [u8] {
        let stored = match self.paired_heads {
            None => row,
            Some(heads) => paired_row(row, self.rows / heads),
        };
        let length = bytes.len() / self.rows;
        &bytes[stored * length..][..length]
    }

    /// `x Wᵀ` of rows `x` of `in` values.
    fn multiply(&self, bytes: &[u8], x: &[f32]) -> Result<Vec<f32>> {
        let shape = (x.len() / self.columns, self.columns, self.rows);
        let mut y = vec![0.0; shape.0 * self.rows];
        if !in_vectors(self.kind, bytes, shape, x, &mut y) {
            blocks::multiply(self.kind, bytes, shape, x, &mut y)?;
        }
        if let Some(heads) = self.paired_heads {
            let mut pairs = Vec::with_capacity(self.rows / heads);
            for head in y.chunks_exact_mut(self.rows / heads) {
                in_halves(head, &mut pairs);
            }
        }
        Ok(y)
    }
}

/// Where a row lies that is counted in halves (0, 1, …, half, half + 1, …), where those of each head of `head_dim` rows,
/// an even number, are stored in pairs (0, half, 1, half + 1, …).
pub(crate) fn paired_row(row: usize, head_dim: usize) -> usize {
    let (head, within) = (row / head_dim, row % head_dim);
    let (second, plane) = (within / (head_dim / 2), within % (head_dim / 2));
    head * head_dim + 2 * plane + second
}

/// What a product with pairs of rows has given, put into halves; `pairs` is room for it.
fn in_halves(head: &mut [f32], pairs: &mut Vec<f32>) {
    pairs.clear();
    pairs.extend_from_slice(head);
    let (first, second) = head.split_at_mut(pairs.len() / 2);
    for ((first, second), pair) in first.iter_mut().zip(second).zip(pairs.chunks_exact(2)) {
        (*first, *second) = (pair[0], pair[1]);
    }
}

/// `y = x Wᵀ` by our own kernels; `false` where there is none for this matrix or processor.
#[cfg(target_arch = "x86_64")]
fn in_vectors(kind: GgmlDType, bytes: &[u8], shape: (usize, usize, usize), x: &[f32], y: &mut [f32]) -> bool {
    avx512::multiply(kind, bytes, shape, x, y)
}

#[cfg(not(target_arch = "x86_64"))]
fn in_vectors(_: GgmlDType, _: &[u8], _: (usize, usize, usize), _: &[f32], _: &mut [f32]) -> bool {
    false
}

/// The product with a quantised matrix, which is frozen: candle's own has no gradient at all, so that an adapter below
/// it would learn nothing.
struct Product(Arc<Quantised>);

impl Product {
    fn on_device(&self) -> Result<&QTensor> {
        match &self.0.held {
            Held::Device(matrix) => Ok(matrix),
            Held::Mapped { .. } => {
                candle_core::bail!("the matrix is in main memory, but what it multiplies is not")
            }
        }
    }
}

impl CustomOp1 for Product {
    fn name(&self) -> &'static str {
        "quantised-linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Held::Mapped { map, place } = &self.0.held else {
            candle_core::bail!("the matrix is on a device, but what it multiplies is not")
        };
        let (out, inner) = self.0.dims();
        let mut shape = layout.dims().to_vec();
        if shape.pop() != Some(inner) {
            candle_core::bail!("a linear layer for {inner} values got {:?}", layout.dims());
        }
        shape.push(out);
        let y = self.0.multiply(&map[place.clone()], ops::values(x, layout)?)?;
        Ok((CpuStorage::F32(y), shape.into()))
    }

    fn cuda_fwd(
        &self,
        x: &candle_core::CudaStorage,
        layout: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        self.on_device()?.cuda_fwd(x, layout)
    }

    fn metal_fwd(
        &self,
        x: &candle_core::MetalStorage,
        layout: &Layout,
    ) -> Result<(candle_core::MetalStorage, Shape)> {
        self.on_device()?.metal_fwd(x, layout)
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        // One matrix at a time in full precision, and only while its gradient is computed.
        let weight = self.0.full()?.to_dtype(DType::F32)?;
        Ok(Some(ops::linear(&grad.contiguous()?, &weight.t()?.contiguous()?, None)?.to_dtype(x.dtype())?))
    }
}

#[cfg(test)]
mod tests;
