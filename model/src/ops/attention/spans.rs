//! Attention of many sequences that stand one after another in one row of tokens, without padding between them, of which
//! some may share their beginning.
//!
//! Several answers to one question read its prompt once: each is a span of its own that sees the prompt's.

#![expect(clippy::inline_always, reason = "it is compiled with the vectors of the function that calls it")]

use std::borrow::Cow;
use std::ops::Range;

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::super::rows::RowPairs;
use super::super::{back_through, is_plain, rows, with_values};
use super::{Attention, Matrix, Multiply, View, multiply, multiply_here, probabilities, with_primitives};

/// Queries whose probabilities exist at a time: few enough that what later queries would see need not be computed, and
/// that the probabilities stay near.
const QUERIES: usize = 128;

/// Tokens that stand one after another, each of which sees those before it among them, and tokens further to the front
/// that all of them see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// May be empty.
    pub seen: Range<usize>,
    pub own: Range<usize>,
}

impl Span {
    /// Keys that its last token sees.
    fn keys(&self) -> usize {
        self.seen.len() + self.own.len()
    }
}

/// Attention of `q` (tokens, heads, head_dim) over `k` and `v` (tokens, kv_heads, head_dim), as `spans` say, which are
/// all tokens in their order; the result is (tokens, heads · head_dim).
pub fn attention_in_spans(q: &Tensor, k: &Tensor, v: &Tensor, spans: &[Span]) -> Result<Tensor> {
    let shape = Shape::of(q, k, v, spans)?;
    if !is_plain(q) {
        return in_primitives(q, k, v, spans);
    }
    let out = with_values(q, |q| with_values(k, |k| with_values(v, |v| shape.forward([q, k, v], spans))))???;
    Tensor::from_vec(out, (shape.tokens, shape.heads * shape.head_dim), q.device())
}

/// Gradients of `q`, `k` and `v` from that of [`attention_in_spans`]' result.
pub fn attention_in_spans_back(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    spans: &[Span],
    grad: &Tensor,
) -> Result<[Tensor; 3]> {
    let shape = Shape::of(q, k, v, spans)?;
    if !is_plain(q) {
        let all = back_through(&[q, k, v], grad, |x| in_primitives(&x[0], &x[1], &x[2], spans))?;
        return Ok([all[0].clone(), all[1].clone(), all[2].clone()]);
    }
    let [dq, dk, dv] = with_values(q, |q| {
        with_values(k, |k| {
            with_values(v, |v| with_values(grad, |grad| shape.backward([q, k, v], grad, spans)))
        })
    })????;
    let of = |values: Vec<f32>, like: &Tensor| Tensor::from_vec(values, like.dims(), like.device());
    Ok([of(dq, q)?, of(dk, k)?, of(dv, v)?])
}

fn in_primitives(q: &Tensor, k: &Tensor, v: &Tensor, spans: &[Span]) -> Result<Tensor> {
    let mask = Attention { causal: true, key_starts: None };
    let one = |span: &Span| -> Result<Tensor> {
        let part = |x: &Tensor, range: &Range<usize>| x.narrow(0, range.start, range.len());
        let all = |x: &Tensor| -> Result<Tensor> {
            let own = part(x, &span.own)?;
            let keys = if span.seen.is_empty() { own } else { Tensor::cat(&[part(x, &span.seen)?, own], 0)? };
            keys.unsqueeze(0)
        };
        with_primitives(&part(q, &span.own)?.unsqueeze(0)?, &all(k)?, &all(v)?, &mask)?.squeeze(0)
    };
    Tensor::cat(&spans.iter().map(one).collect::<Result<Vec<_>>>()?, 0)
}

/// Sizes of queries, keys and values.
#[derive(Clone, Copy)]
struct Shape {
    tokens: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

/// What a span is computed from, as if it were a sequence alone, and how.
#[derive(Clone, Copy)]
struct Alone<'a> {
    q: View<'a>,
    k: View<'a>,
    v: View<'a>,
    multiply: Multiply,
}

impl Shape {
    fn of(q: &Tensor, k: &Tensor, v: &Tensor, spans: &[Span]) -> Result<Self> {
        let (tokens, heads, head_dim) = q.dims3()?;
        let (keys, kv_heads, kv_dim) = k.dims3()?;
        if keys != tokens
            || kv_dim != head_dim
            || kv_heads == 0
            || heads % kv_heads != 0
            || k.dims() != v.dims()
        {
            bail!("attention in spans of {:?} over {:?} and {:?}", q.dims(), k.dims(), v.dims());
        }
        let mut end = 0;
        for Span { seen, own } in spans {
            if own.start != end || own.end <= own.start || seen.start > seen.end || seen.end > own.start {
                bail!("attention of the tokens {own:?} over {seen:?} after those up to {end}");
            }
            end = own.end;
        }
        if end != tokens {
            bail!("attention of {tokens} tokens in spans up to {end}");
        }
        Ok(Self { tokens, heads, kv_heads, head_dim })
    }

    fn view(self, values: &[f32], rows: usize, heads: usize) -> View<'_> {
        View {
            values,
            batch: 1,
            rows,
            heads,
            head_dim: self.head_dim,
            batch_stride: 0,
            row_stride: heads * self.head_dim,
            head_stride: self.head_dim,
        }
    }

    /// Values of the queries' size of each span.
    fn parts<'a>(self, mut values: &'a mut [f32], spans: &[Span]) -> Vec<&'a mut [f32]> {
        let width = self.heads * self.head_dim;
        let mut parts = Vec::with_capacity(spans.len());
        for span in spans {
            let (part, rest) = std::mem::take(&mut values).split_at_mut(span.own.len() * width);
            parts.push(part);
            values = rest;
        }
        parts
    }

    /// Keys or values that a span sees, one after another.
    fn gathered<'a>(self, values: &'a [f32], span: &Span) -> Cow<'a, [f32]> {
        let width = self.kv_heads * self.head_dim;
        let of = |range: &Range<usize>| &values[range.start * width..range.end * width];
        if span.seen.is_empty() {
            Cow::Borrowed(of(&span.own))
        } else if span.seen.end == span.own.start {
            Cow::Borrowed(of(&(span.seen.start..span.own.end)))
        } else {
            Cow::Owned([of(&span.seen), of(&span.own)].concat())
        }
    }

    /// With fewer spans than threads, the threads share each product instead.
    fn multiply(spans: &[Span]) -> Multiply {
        if spans.len() < rayon::current_num_threads() { multiply } else { multiply_here }
    }

    fn alone<'a>(
        self,
        q: &'a [f32],
        k: &'a [f32],
        v: &'a [f32],
        span: &Span,
        multiply: Multiply,
    ) -> Alone<'a> {
        let width = self.heads * self.head_dim;
        let q = self.view(&q[span.own.start * width..], span.own.len(), self.heads);
        let (k, v) = (self.view(k, span.keys(), self.kv_heads), self.view(v, span.keys(), self.kv_heads));
        Alone { q, k, v, multiply }
    }

    fn forward(self, [q, k, v]: [&[f32]; 3], spans: &[Span]) -> Vec<f32> {
        let mut out = vec![0.0; q.len()];
        let multiply = Self::multiply(spans);
        self.parts(&mut out, spans).into_par_iter().zip(spans.par_iter()).for_each(|(out, span)| {
            let (k, v) = (self.gathered(k, span), self.gathered(v, span));
            self.alone(q, &k, &v, span, multiply).forward(out);
        });
        out
    }

    fn backward(self, [q, k, v]: [&[f32]; 3], grad: &[f32], spans: &[Span]) -> [Vec<f32>; 3] {
        let (width, kv_width) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
        let multiply = Self::multiply(spans);
        let parts = self.parts(&mut dq, spans).into_par_iter().zip(spans.par_iter());
        let of_spans: Vec<[Vec<f32>; 2]> = parts
            .map(|(dq, span)| {
                let (k, v) = (self.gathered(k, span), self.gathered(v, span));
                let mut of_keys = [0, 1].map(|_| vec![0.0; span.keys() * kv_width]);
                let grad = &grad[span.own.start * width..][..span.own.len() * width];
                self.alone(q, &k, &v, span, multiply).backward(grad, dq, &mut of_keys);
                of_keys
            })
            .collect();
        // In the order of the spans: what several of them see gets the same sum every time.
        for (span, of_keys) in spans.iter().zip(&of_spans) {
            for (sum, part) in [&mut dk, &mut dv].into_iter().zip(of_keys) {
                let (seen, own) = part.split_at(span.seen.len() * kv_width);
                for (range, part) in [(&span.seen, seen), (&span.own, own)] {
                    let sum = &mut sum[range.start * kv_width..range.end * kv_width];
                    sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
                }
            }
        }
        [dq, dk, dv]
    }
}

impl<'a> Alone<'a> {
    /// Some queries, and what the last of them sees: the rest of the sequence is as if it were not there.
    fn up_to(self, queries: &Range<usize>) -> Self {
        let keys = self.k.rows - self.q.rows + queries.end;
        let shorter = |view: View<'a>, rows: usize| View { rows, ..view };
        Self { q: shorter(self.q, queries.end), k: shorter(self.k, keys), v: shorter(self.v, keys), ..self }
    }

    fn blocks(self) -> impl Iterator<Item = Range<usize>> {
        let queries = self.q.rows;
        (0..queries).step_by(QUERIES).map(move |first| first..(first + QUERIES).min(queries))
    }

    /// Probabilities of some queries of a head into `p`, (queries, keys); what later keys have in it is not touched.
    fn probabilities<'p>(self, p: &'p mut [f32], head: usize, queries: &Range<usize>) -> &'p mut [f32] {
        let p = &mut p[..queries.len() * self.k.rows];
        let mask = Attention { causal: true, key_starts: None };
        probabilities(self.multiply, p, self.q, self.k, (0, head), queries.clone(), &mask);
        p
    }

    /// Room for the probabilities of a block of queries.
    fn room(self) -> Vec<f32> {
        vec![0.0; QUERIES.min(self.q.rows) * self.k.rows]
    }

    fn forward(self, out: &mut [f32]) {
        let (width, group) = (self.q.row_stride, self.q.heads / self.k.heads);
        let mut p = self.room();
        for queries in self.blocks() {
            let here = self.up_to(&queries);
            for head in 0..self.q.heads {
                let p = here.probabilities(&mut p, head, &queries);
                let p = Matrix::new(p, queries.len(), here.k.rows, here.k.rows);
                let out = &mut out[queries.start * width + head * self.q.head_dim..];
                (self.multiply)(out, width, p, here.v.matrix(0, head / group), 0.0, 1.0);
            }
        }
    }

    /// The queries' gradient into `dq`; those of keys and values are added to `of_keys`.
    fn backward(self, grad: &[f32], dq: &mut [f32], of_keys: &mut [Vec<f32>; 2]) {
        let (width, kv_width) = (self.q.row_stride, self.k.row_stride);
        let (group, head_dim, scale) = (self.q.heads / self.k.heads, self.q.head_dim, self.q.scale());
        let (mut p, mut ds) = (self.room(), self.room());
        for queries in self.blocks() {
            let here = self.up_to(&queries);
            let (count, keys) = (queries.len(), here.k.rows);
            for head in 0..self.q.heads {
                let (kv_head, at) = (head / group, queries.start * width + head * head_dim);
                let p = here.probabilities(&mut p, head, &queries);
                let ds = &mut ds[..count * keys];
                let grad = Matrix::new(&grad[at..], count, head_dim, width);
                (self.multiply)(ds, keys, grad, here.v.matrix(0, kv_head).t(), 0.0, 1.0);
                softmax_back(p, ds, keys);
                let (p, ds) = (Matrix::new(p, count, keys, keys), Matrix::new(ds, count, keys, keys));
                let q = self.q.matrix(0, head).rows(queries.clone());
                (self.multiply)(&mut dq[at..], width, ds, here.k.matrix(0, kv_head), 0.0, scale);
                let [dk, dv] = &mut *of_keys;
                (self.multiply)(&mut dk[kv_head * head_dim..], kv_width, ds.t(), q, 1.0, scale);
                (self.multiply)(&mut dv[kv_head * head_dim..], kv_width, p.t(), grad, 1.0, 1.0);
            }
        }
    }
}

/// Gradients of probabilities, rows of `keys` values, become those of the scores.
fn softmax_back(p: &[f32], ds: &mut [f32], keys: usize) {
    rows::pair_here(&SoftmaxBack { keys }, p, p, ds);
}

struct SoftmaxBack {
    keys: usize,
}

impl RowPairs for SoftmaxBack {
    #[inline(always)]
    fn compute(&self, p: &[f32], _same: &[f32], ds: &mut [f32]) {
        for (p, ds) in p.chunks_exact(self.keys).zip(ds.chunks_exact_mut(self.keys)) {
            let dot = rows::dot(p, ds);
            for (ds, p) in ds.iter_mut().zip(p) {
                *ds = p * (*ds - dot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Result, Tensor, Var};

    use super::super::super::tests::{back_agrees, sample};
    use super::*;

    fn span(seen: Range<usize>, own: Range<usize>) -> Span {
        Span { seen, own }
    }

    fn inputs(tokens: usize) -> Result<[Var; 3]> {
        Ok([sample(&[tokens, 4, 6], 1)?, sample(&[tokens, 2, 6], 2)?, sample(&[tokens, 2, 6], 3)?])
    }

    #[test]
    fn spans_agree_with_primitives_forward_and_back() -> Result<()> {
        // Two sequences, then a prompt with three answers, one of which stands right behind it.
        let spans = [span(0..0, 0..5), span(0..0, 5..6), span(0..0, 6..10), span(6..10, 10..13)];
        let more = [span(6..10, 13..14), span(6..10, 14..19)];
        let spans = [&spans[..], &more[..]].concat();
        back_agrees(
            &inputs(19)?,
            |a| in_primitives(&a[0], &a[1], &a[2], &spans),
            |a, grad| attention_in_spans_back(&a[0], &a[1], &a[2], &spans, grad).map(Vec::from),
        )?;
        let [q, k, v] = inputs(19)?;
        let off = |a: &Tensor, b: &Tensor| (a - b)?.abs()?.max_all()?.to_scalar::<f32>();
        let (got, want) = (attention_in_spans(&q, &k, &v, &spans)?, in_primitives(&q, &k, &v, &spans)?);
        assert!(off(&got, &want)? < 1e-5);
        assert!(!got.track_op());
        Ok(())
    }

    #[test]
    fn long_spans_are_computed_in_blocks_and_give_the_same() -> Result<()> {
        let spans = [span(0..0, 0..2 * QUERIES + 9), span(0..200, 2 * QUERIES + 9..3 * QUERIES + 20)];
        back_agrees(
            &inputs(3 * QUERIES + 20)?,
            |a| in_primitives(&a[0], &a[1], &a[2], &spans),
            |a, grad| attention_in_spans_back(&a[0], &a[1], &a[2], &spans, grad).map(Vec::from),
        )
    }

    #[test]
    fn in_another_precision_primitives_go_both_ways() -> Result<()> {
        let spans = [span(0..0, 0..4), span(0..4, 4..6)];
        let [q, k, v] = inputs(6)?;
        let wide = [q, k, v].map(|x| x.to_dtype(DType::F64).unwrap().detach());
        let grad = sample(&[6, 24], 4)?.to_dtype(DType::F64)?.detach();
        let narrow = |x: &Tensor| x.to_dtype(DType::F32);
        let got = attention_in_spans_back(&wide[0], &wide[1], &wide[2], &spans, &grad)?;
        let plain = wide.each_ref().map(|x| narrow(x).unwrap());
        let want = attention_in_spans_back(&plain[0], &plain[1], &plain[2], &spans, &narrow(&grad)?)?;
        for (got, want) in got.iter().zip(&want) {
            let off = (narrow(got)? - want)?.abs()?.max_all()?.to_scalar::<f32>()?;
            assert!(off < 1e-5, "{off}");
        }
        Ok(())
    }

    #[test]
    fn spans_that_are_not_all_tokens_in_order_are_refused() -> Result<()> {
        let [q, k, v] = inputs(6)?;
        let refused = |spans: &[Span]| attention_in_spans(&q, &k, &v, spans).is_err();
        assert!(!refused(&[span(0..0, 0..4), span(0..4, 4..6)]));
        assert!(refused(&[span(0..0, 0..4)]) && refused(&[]));
        assert!(refused(&[span(0..0, 0..4), span(0..5, 4..6)]));
        assert!(refused(&[span(0..0, 0..4), span(0..0, 5..6)]));
        assert!(refused(&[span(0..0, 0..6), span(0..0, 6..6)]));
        Ok(())
    }
}
