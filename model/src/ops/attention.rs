//! Softmax attention with grouped heads, causal or not, over keys that may lie in a preallocated cache.
//!
//! The probabilities are computed again in the backward pass instead of being kept: at the lengths of answers that
//! costs less than the memory.

#![expect(clippy::inline_always, reason = "it is compiled with the vectors of the function that calls it")]

mod spans;

use std::ops::Range;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp3, D, DType, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

pub use self::spans::{Span, attention_in_spans, attention_in_spans_back};
use super::gemm::{Matrix, multiply, multiply_here};
use super::rows::{self, Rows};
use super::{exp, is_plain, with_values};

/// Products of fewer values than this, over all heads, are done before another thread has begun.
const SMALL: usize = 1 << 18;

/// Which keys a query sees.
#[derive(Clone, Debug, Default)]
pub struct Attention {
    /// The last query sees all keys, each earlier one a key less.
    pub causal: bool,
    /// Per sequence of the batch, the first key that is not padding. `None`: no padding.
    pub key_starts: Option<Arc<Vec<usize>>>,
}

/// Attention of `q` (batch, queries, heads, head_dim) over `k` and `v` (batch, keys, kv_heads, head_dim), scaled by
/// `1 / sqrt(head_dim)`; the result is (batch, queries, heads · head_dim). A query that sees nothing gives zeros.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, mask: &Attention) -> Result<Tensor> {
    let (batch, _, heads, head_dim) = q.dims4()?;
    let (kv_batch, keys, kv_heads, kv_dim) = k.dims4()?;
    if kv_batch != batch || kv_dim != head_dim || heads % kv_heads != 0 || k.dims() != v.dims() {
        candle_core::bail!("attention of {:?} over {:?} and {:?}", q.dims(), k.dims(), v.dims());
    }
    if mask.key_starts.as_ref().is_some_and(|s| s.len() != batch || s.iter().any(|&s| s > keys)) {
        candle_core::bail!(
            "attention over {keys} keys in {batch} sequences with padding {:?}",
            mask.key_starts
        );
    }
    if is_plain(q) {
        return q.apply_op3(k, v, Op(mask.clone()));
    }
    #[cfg(feature = "flash-attn")]
    if is_for_flash(q, mask) {
        return with_flash(q, k, v, mask.causal);
    }
    with_primitives(q, k, v, mask)
}

/// Attention of every token over every token, from the packed projections `qkv` (batch, tokens, 3, heads, head_dim).
pub fn self_attention(qkv: &Tensor) -> Result<Tensor> {
    if is_plain(qkv) {
        return qkv.contiguous()?.apply_op1(SelfOp);
    }
    let part = |i| qkv.narrow(2, i, 1)?.squeeze(2);
    attention(&part(0)?, &part(1)?, &part(2)?, &Attention::default())
}

/// Whether flash attention can do it: on an NVIDIA GPU, in 16 bits, without padding, heads of a width that its kernels
/// know. It has no way back.
#[cfg(feature = "flash-attn")]
fn is_for_flash(q: &Tensor, mask: &Attention) -> bool {
    let is_known_width = q.dim(D::Minus1).is_ok_and(|width| width.is_multiple_of(8) && width <= 256);
    q.device().is_cuda()
        && matches!(q.dtype(), DType::F16 | DType::BF16)
        && mask.key_starts.is_none()
        && is_known_width
        && !q.track_op()
}

/// [`attention`] by flash attention's kernels (Dao 2023), which keep no probabilities and know grouped heads.
#[cfg(feature = "flash-attn")]
fn with_flash(q: &Tensor, k: &Tensor, v: &Tensor, causal: bool) -> Result<Tensor> {
    let (batch, queries, heads, head_dim) = q.dims4()?;
    let scale = (head_dim as f32).powf(-0.5);
    let out =
        candle_flash_attn::flash_attn(&q.contiguous()?, &k.contiguous()?, &v.contiguous()?, scale, causal)?;
    out.reshape((batch, queries, heads * head_dim))
}

fn with_primitives(q: &Tensor, k: &Tensor, v: &Tensor, mask: &Attention) -> Result<Tensor> {
    let (batch, queries, heads, head_dim) = q.dims4()?;
    let probabilities = attention_probabilities(q, k, mask)?.to_dtype(v.dtype())?;
    probabilities.matmul(&of_each_head(v, heads)?)?.transpose(1, 2)?.reshape((
        batch,
        queries,
        heads * head_dim,
    ))
}

/// The probabilities of [`attention`] themselves, (batch, heads, queries, keys) in f32. Made of candle's primitives,
/// which is quick enough for looking at a few queries.
pub fn attention_probabilities(q: &Tensor, k: &Tensor, mask: &Attention) -> Result<Tensor> {
    let (batch, queries, heads, head_dim) = q.dims4()?;
    let keys = k.dim(1)?;
    let q = q.transpose(1, 2)?.contiguous()?; // (batch, heads, queries, head_dim)
    // The softmax in f32 whatever the precision, as in the reference implementations.
    let scores = q.matmul(&of_each_head(k, heads)?.t()?)?.to_dtype(DType::F32)?;
    let scores = (scores * (head_dim as f64).powf(-0.5))?;
    let scores = if mask.key_starts.is_some() || (mask.causal && queries > 1) {
        let hidden: Vec<f32> = (0..batch)
            .flat_map(|b| (0..queries).map(move |i| (b, i)))
            .flat_map(|(b, i)| {
                let visible = visible(mask, b, i, queries, keys);
                (0..keys).map(move |j| if visible.contains(&j) { 0.0 } else { -1e9 })
            })
            .collect();
        scores.broadcast_add(&Tensor::from_vec(hidden, (batch, 1, queries, keys), q.device())?)?
    } else {
        // A single step sees everything: there is nothing to bring to the device.
        scores
    };
    let scores = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
    scores.broadcast_div(&scores.sum_keepdim(D::Minus1)?)
}

/// Keys or values (batch, keys, kv_heads, head_dim) as each query head sees them: (batch, heads, keys, head_dim).
fn of_each_head(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, keys, kv_heads, head_dim) = x.dims4()?;
    x.transpose(1, 2)?
        .unsqueeze(2)?
        .broadcast_as((batch, kv_heads, heads / kv_heads, keys, head_dim))?
        .reshape((batch, heads, keys, head_dim))?
        .contiguous()
}

/// The keys that query `i` of sequence `b` sees.
fn visible(mask: &Attention, b: usize, i: usize, queries: usize, keys: usize) -> Range<usize> {
    let start = mask.key_starts.as_ref().map_or(0, |s| s[b]);
    let end = if mask.causal { (keys + i + 1).saturating_sub(queries) } else { keys };
    start..end.max(start)
}

/// Values of a tensor (batch, rows, heads, head_dim) in a slice; `head_dim` is contiguous.
#[derive(Clone, Copy)]
struct View<'a> {
    values: &'a [f32],
    batch: usize,
    rows: usize,
    heads: usize,
    head_dim: usize,
    batch_stride: usize,
    row_stride: usize,
    head_stride: usize,
}

impl<'a> View<'a> {
    fn new(storage: &'a CpuStorage, layout: &Layout) -> Result<Self> {
        let (batch, rows, heads, head_dim) = layout.shape().dims4()?;
        let [batch_stride, row_stride, head_stride, 1] = *layout.stride() else {
            candle_core::bail!("attention needs contiguous heads, got strides {:?}", layout.stride());
        };
        let values = &storage.as_slice::<f32>()?[layout.start_offset()..];
        Ok(Self { values, batch, rows, heads, head_dim, batch_stride, row_stride, head_stride })
    }

    /// Part `i` of packed projections (batch, rows, 3, heads, head_dim).
    fn packed(values: &'a [f32], dims: &[usize], i: usize) -> Self {
        let (rows, heads, head_dim) = (dims[1], dims[3], dims[4]);
        let width = heads * head_dim;
        Self {
            values: &values[i * width..],
            batch: dims[0],
            rows,
            heads,
            head_dim,
            batch_stride: rows * 3 * width,
            row_stride: 3 * width,
            head_stride: head_dim,
        }
    }

    fn matrix(&self, batch: usize, head: usize) -> Matrix<'a> {
        let at = self.offset(batch, head);
        Matrix::new(&self.values[at..], self.rows, self.head_dim, self.row_stride)
    }

    fn offset(&self, batch: usize, head: usize) -> usize {
        batch * self.batch_stride + head * self.head_stride
    }

    fn scale(&self) -> f32 {
        (self.head_dim as f32).powf(-0.5)
    }
}

/// How two matrices are multiplied: on all threads, or on this one.
type Multiply = fn(&mut [f32], usize, Matrix<'_>, Matrix<'_>, f32, f32);

/// Scores that become probabilities over the keys that are seen; what is not seen is 0.
struct Softmax<'a> {
    mask: &'a Attention,
    batch: usize,
    /// The query of the first row.
    first: usize,
    /// Queries of the sequence, which are not all here.
    queries: usize,
    rows_per_query: usize,
    keys: usize,
}

impl Rows for Softmax<'_> {
    #[inline(always)]
    fn compute(&self, _x: &[f32], y: &mut [f32]) {
        for (i, row) in y.chunks_exact_mut(self.keys).enumerate() {
            let query = self.first + i / self.rows_per_query;
            let seen = visible(self.mask, self.batch, query, self.queries, self.keys);
            row[..seen.start].fill(0.0);
            row[seen.end..].fill(0.0);
            let row = &mut row[seen];
            let max = rows::largest(row);
            for x in row.iter_mut() {
                *x = exp(*x - max);
            }
            let inverse = 1.0 / rows::sum(row, |x| x);
            for x in row.iter_mut() {
                *x *= inverse;
            }
        }
    }
}

/// Attention probabilities of one head, `(queries, keys)`, for some of the queries, into `p`.
fn probabilities(
    multiply: Multiply,
    p: &mut [f32],
    q: View<'_>,
    k: View<'_>,
    (batch, head): (usize, usize),
    queries: Range<usize>,
    mask: &Attention,
) {
    let kv_head = head / (q.heads / k.heads);
    let first = queries.start;
    let part = q.matrix(batch, head).rows(queries);
    multiply(p, k.rows, part, k.matrix(batch, kv_head).t(), 0.0, q.scale());
    let softmax = Softmax { mask, batch, first, queries: q.rows, rows_per_query: 1, keys: k.rows };
    rows::here(&softmax, &[], p);
}

/// The result as (batch, queries, heads · head_dim).
fn forward(q: View<'_>, k: View<'_>, v: View<'_>, mask: &Attention) -> Vec<f32> {
    let (width, group) = (q.heads * q.head_dim, q.heads / k.heads);
    let mut out = vec![0.0; q.batch * q.rows * width];
    if out.is_empty() {
        return out;
    }
    if q.rows == 1 {
        step(&mut out, q, k, v, mask);
        return out;
    }
    // Some queries of a sequence, all heads.
    let some = |batch: usize, first: usize, out: &mut [f32]| {
        let rows = out.len() / width;
        let mut p = vec![0.0; rows * k.rows];
        for head in 0..q.heads {
            probabilities(multiply_here, &mut p, q, k, (batch, head), first..first + rows, mask);
            let p = Matrix::new(&p, rows, k.rows, k.rows);
            multiply_here(&mut out[head * q.head_dim..], width, p, v.matrix(batch, head / group), 0.0, 1.0);
        }
    };
    if out.len() * k.rows < SMALL {
        out.chunks_exact_mut(q.rows * width).enumerate().for_each(|(batch, out)| some(batch, 0, out));
        return out;
    }
    // Enough parts that all threads have work to the end, and not so many that keys are packed more often than used.
    let parts = (2 * rayon::current_num_threads()).div_ceil(q.batch).min(q.rows.div_ceil(32));
    let at_a_time = q.rows.div_ceil(parts);
    out.par_chunks_exact_mut(q.rows * width).enumerate().for_each(|(batch, out)| {
        let parts = out.par_chunks_mut(at_a_time * width).enumerate();
        parts.for_each(|(part, out)| some(batch, part * at_a_time, out));
    });
    out
}

/// One query per sequence: all heads that share keys at once.
fn step(out: &mut [f32], q: View<'_>, k: View<'_>, v: View<'_>, mask: &Attention) {
    let group = q.heads / k.heads;
    let one = |i: usize, out: &mut [f32]| {
        let (batch, kv_head) = (i / k.heads, i % k.heads);
        let mut p = vec![0.0; group * k.rows];
        let queries = &q.values[q.offset(batch, kv_head * group)..];
        let queries = Matrix::new(queries, group, q.head_dim, q.head_stride);
        multiply_here(&mut p, k.rows, queries, k.matrix(batch, kv_head).t(), 0.0, q.scale());
        let softmax = Softmax { mask, batch, first: 0, queries: 1, rows_per_query: group, keys: k.rows };
        rows::here(&softmax, &[], &mut p);
        let p = Matrix::new(&p, group, k.rows, k.rows);
        multiply_here(out, q.head_dim, p, v.matrix(batch, kv_head), 0.0, 1.0);
    };
    let width = group * q.head_dim;
    if out.len() * k.rows < SMALL {
        out.chunks_exact_mut(width).enumerate().for_each(|(i, out)| one(i, out));
    } else {
        out.par_chunks_exact_mut(width).enumerate().for_each(|(i, out)| one(i, out));
    }
}

/// Where a gradient is written: as a view's strides say.
struct Target<'a> {
    values: &'a mut [f32],
    offset: usize,
    row_stride: usize,
}

/// Gradients of q, k and v into `targets(batch, query head)`; those of k and v are added to.
fn backward(
    [q, k, v]: [View<'_>; 3],
    mask: &Attention,
    grad: &[f32],
    gradients: &mut [Vec<f32>; 3],
    target: impl Fn(usize, usize, usize) -> (usize, usize),
) {
    let (width, queries, keys) = (q.heads * q.head_dim, q.rows, k.rows);
    let (mut p, mut ds) = (vec![0.0; queries * keys], vec![0.0; queries * keys]);
    for b in 0..q.batch {
        for h in 0..q.heads {
            let kv_head = h / (q.heads / k.heads);
            probabilities(multiply, &mut p, q, k, (b, h), 0..queries, mask);
            let grad = Matrix::new(&grad[b * queries * width + h * q.head_dim..], queries, q.head_dim, width);
            multiply(&mut ds, keys, grad, v.matrix(b, kv_head).t(), 0.0, 1.0);
            for (ds, p) in ds.chunks_exact_mut(keys).zip(p.chunks_exact(keys)) {
                let dot: f32 = ds.iter().zip(p).map(|(d, p)| d * p).sum();
                ds.iter_mut().zip(p).for_each(|(d, p)| *d = p * (*d - dot));
            }
            let matrix = |values| Matrix::new(values, queries, keys, keys);
            let products = [
                (matrix(&ds), k.matrix(b, kv_head), h, q.scale()),
                (matrix(&ds).t(), q.matrix(b, h), kv_head, q.scale()),
                (matrix(&p).t(), grad, kv_head, 1.0),
            ];
            for (i, (left, right, head, scale)) in products.into_iter().enumerate() {
                let (offset, row_stride) = target(i, b, head);
                let to = Target { values: &mut gradients[i], offset, row_stride };
                multiply(&mut to.values[to.offset..], to.row_stride, left, right, 1.0, scale);
            }
        }
    }
}

struct Op(Attention);

impl CustomOp3 for Op {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        ql: &Layout,
        k: &CpuStorage,
        kl: &Layout,
        v: &CpuStorage,
        vl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (q, k, v) = (View::new(q, ql)?, View::new(k, kl)?, View::new(v, vl)?);
        let shape = (q.batch, q.rows, q.heads * q.head_dim).into();
        Ok((CpuStorage::F32(forward(q, k, v, &self.0)), shape))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let tensors = [q.contiguous()?, k.contiguous()?, v.contiguous()?];
        let mut gradients = [&tensors[0], &tensors[1], &tensors[2]].map(|t| vec![0.0; t.elem_count()]);
        with_values(grad, |grad| -> Result<()> {
            let held = [&tensors[0], &tensors[1], &tensors[2]].map(Tensor::storage_and_layout);
            let [q, k, v] = [&held[0], &held[1], &held[2]].map(|(storage, layout)| match &**storage {
                candle_core::Storage::Cpu(cpu) => View::new(cpu, layout),
                _ => candle_core::bail!("a tensor in CPU memory is needed"),
            });
            let views = [q?, k?, v?];
            backward(views, &self.0, grad, &mut gradients, |i, b, head| {
                (views[i].offset(b, head), views[i].row_stride)
            });
            Ok(())
        })??;
        let [dq, dk, dv] = gradients;
        let of = |values, like: &Tensor| Tensor::from_vec(values, like.dims(), like.device()).map(Some);
        Ok((of(dq, q)?, of(dk, k)?, of(dv, v)?))
    }
}

struct SelfOp;

impl CustomOp1 for SelfOp {
    fn name(&self) -> &'static str {
        "self attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, rows, three, heads, head_dim) = layout.shape().dims5()?;
        if three != 3 {
            candle_core::bail!("packed projections have 3 parts, got {:?}", layout.dims());
        }
        let values = super::values(qkv, layout)?;
        let [q, k, v] = [0, 1, 2].map(|i| View::packed(values, layout.dims(), i));
        let shape = (batch, rows, heads * head_dim).into();
        Ok((CpuStorage::F32(forward(q, k, v, &Attention::default())), shape))
    }

    fn bwd(&self, qkv: &Tensor, _out: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let dims = qkv.dims().to_vec();
        let width = dims[3] * dims[4];
        let packed = with_values(qkv, |values| {
            with_values(grad, |grad| {
                let views = [0, 1, 2].map(|i| View::packed(values, &dims, i));
                // Each part has its own buffer of the packed shape, so that the parts are written through one stride.
                let mut gradients = [0, 1, 2].map(|_| vec![0.0; values.len() / 3]);
                backward(views, &Attention::default(), grad, &mut gradients, |_, b, head| {
                    (b * dims[1] * width + head * dims[4], width)
                });
                let [dq, dk, dv] = &gradients;
                let mut packed = Vec::with_capacity(values.len());
                for ((q, k), v) in
                    dq.chunks_exact(width).zip(dk.chunks_exact(width)).zip(dv.chunks_exact(width))
                {
                    packed.extend_from_slice(q);
                    packed.extend_from_slice(k);
                    packed.extend_from_slice(v);
                }
                packed
            })
        })??;
        Ok(Some(Tensor::from_vec(packed, dims, qkv.device())?))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::Result;

    use super::super::tests::{agree, sample};
    use super::{Attention, attention, self_attention, with_primitives};

    #[test]
    fn agrees_with_primitives() -> Result<()> {
        let inputs = [sample(&[2, 3, 4, 6], 1)?, sample(&[2, 5, 2, 6], 2)?, sample(&[2, 5, 2, 6], 3)?];
        for causal in [false, true] {
            for key_starts in [None, Some(Arc::new(vec![0, 2]))] {
                let mask = Attention { causal, key_starts };
                agree(
                    &inputs,
                    |a| attention(&a[0], &a[1], &a[2], &mask),
                    |a| with_primitives(&a[0], &a[1], &a[2], &mask),
                )?;
            }
        }
        Ok(())
    }

    #[test]
    fn packed_agrees_with_separate() -> Result<()> {
        agree(
            &[sample(&[2, 7, 3, 2, 4], 5)?],
            |a| self_attention(&a[0]),
            |a| {
                let part = |i| a[0].narrow(2, i, 1)?.squeeze(2);
                with_primitives(&part(0)?, &part(1)?, &part(2)?, &Attention::default())
            },
        )
    }

    #[test]
    fn reads_keys_from_a_longer_cache() -> Result<()> {
        let (q, k, v) = (sample(&[2, 1, 2, 4], 1)?, sample(&[2, 9, 2, 4], 2)?, sample(&[2, 9, 2, 4], 3)?);
        let mask = Attention { causal: true, key_starts: None };
        let (k, v) = (k.as_tensor().narrow(1, 0, 5)?, v.as_tensor().narrow(1, 0, 5)?);
        let strided = attention(q.as_tensor(), &k, &v, &mask)?;
        let plain = attention(q.as_tensor(), &k.contiguous()?, &v.contiguous()?, &mask)?;
        assert_eq!(strided.flatten_all()?.to_vec1::<f32>()?, plain.flatten_all()?.to_vec1::<f32>()?);
        Ok(())
    }
}
