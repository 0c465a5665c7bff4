//! Weights that are laid out once for products with them, for models that are trained no further.
//!
//! A general product arranges the weight anew each time, clears or presets what it adds to, and leaves GELU and sums to
//! passes of their own. Here the weight lies in panels of some outputs, as a kernel (`amx.rs`, `avx512.rs`) reads
//! it, in place of the plain one. Where there is no kernel for a processor, weights stay plain.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod work;

use candle_core::{DType, Device, Result, Tensor, bail};
use rayon::prelude::*;

use super::pages::ask_for_large;
use super::{is_plain, with_values};

/// A frozen weight (out, in), in panels (out / width, in, width), of which the last ends in zeros; the kernel has the width.
#[derive(Debug)]
pub struct Packed {
    panels: Vec<f32>,
    out: usize,
    inner: usize,
    kernel: Kernel,
}

/// How many rows go past a packed weight at a time. Each row's product is the same to the last bit, however many they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowCount {
    /// One or a few, often, as when tokens are written.
    Few,
    /// A hundred or more, as of the cells of an image: for them there may be a faster kernel.
    Many,
}

/// What is done with the product of a packed weight before it is written.
#[derive(Clone, Copy, Debug)]
pub enum Then<'a> {
    /// Nothing.
    Keep,
    /// Exact GELU.
    Gelu,
    /// A tensor of the product's shape is added.
    Add(&'a Tensor),
}

/// A product's values, but for its shape.
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "there is no kernel that reads them"))]
struct Values<'a> {
    x: &'a [f32],
    panels: &'a [f32],
    bias: Option<&'a [f32]>,
    residual: Option<&'a [f32]>,
    gelu: bool,
}

impl Packed {
    /// The weight (out, in) in panels; `None` where there is no kernel for it, or it is being trained.
    pub fn of(weight: &Tensor, rows: RowCount) -> Result<Option<Self>> {
        match Kernel::of(rows) {
            Some(kernel) => Self::for_kernel(weight, kernel),
            None => Ok(None),
        }
    }

    fn for_kernel(weight: &Tensor, kernel: Kernel) -> Result<Option<Self>> {
        let (out, inner) = weight.dims2()?;
        if !is_plain(weight) || weight.track_op() || out * inner == 0 {
            return Ok(None);
        }
        let width = kernel.width();
        let mut panels = vec![0.0; out.next_multiple_of(width) * inner];
        ask_for_large(&mut panels);
        with_values(weight, |weight| {
            let panels = panels.par_chunks_exact_mut(inner * width);
            panels.zip(weight.par_chunks(inner * width)).for_each(|(panel, rows)| {
                for (column, row) in rows.chunks_exact(inner).enumerate() {
                    for (values, value) in panel.chunks_exact_mut(width).zip(row) {
                        values[column] = *value;
                    }
                }
            });
        })?;
        Ok(Some(Self { panels, out, inner, kernel }))
    }

    /// (out, in)
    pub fn dims(&self) -> (usize, usize) {
        (self.out, self.inner)
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.panels.len() * DType::F32.size_in_bytes()
    }

    /// The rows of these indices, (indices, in).
    pub fn rows(&self, indices: &Tensor) -> Result<Tensor> {
        let indices = indices.to_dtype(DType::U32)?.flatten_all()?.to_vec1::<u32>()?;
        let width = self.kernel.width();
        let mut values = Vec::with_capacity(indices.len() * self.inner);
        for &index in &indices {
            let index = index as usize;
            if index >= self.out {
                bail!("there is no row {index} in a matrix of {} rows", self.out);
            }
            let panel = self.panels[index / width * width * self.inner..].chunks_exact(width);
            values.extend(panel.take(self.inner).map(|values| values[index % width]));
        }
        Tensor::from_vec(values, (indices.len(), self.inner), &Device::Cpu)
    }

    /// The plain weight.
    pub fn full(&self) -> Result<Tensor> {
        self.rows(&Tensor::arange(0, self.out as u32, &Device::Cpu)?)
    }

    /// `x Wᵀ + b`, and `then`: (…, in) to (…, out), on as many threads as the present pool has.
    ///
    /// # Errors
    /// Of what needs gradients: there are none through a packed weight.
    pub fn apply(&self, x: &Tensor, bias: Option<&Tensor>, then: Then<'_>) -> Result<Tensor> {
        let residual = if let Then::Add(residual) = then { Some(residual) } else { None };
        for tensor in [Some(x), bias, residual].into_iter().flatten() {
            if !is_plain(tensor) || tensor.track_op() {
                bail!("a packed weight is for values on the CPU in f32 that need no gradients");
            }
        }
        let mut shape = x.dims().to_vec();
        if shape.pop() != Some(self.inner) {
            bail!("a linear layer for {} values got {:?}", self.inner, x.dims());
        }
        shape.push(self.out);
        if let Some(residual) = residual.filter(|residual| residual.dims() != shape) {
            bail!("{:?} cannot be added to a product {shape:?}", residual.dims());
        }
        if let Some(bias) = bias.filter(|bias| bias.dims() != [self.out]) {
            bail!("a linear layer of {} outputs got a bias {:?}", self.out, bias.dims());
        }
        let sizes = (x.elem_count() / self.inner, self.inner, self.out);
        let gelu = matches!(then, Then::Gelu);
        let y = with_values(x, |x| {
            with_these(bias, |bias| {
                with_these(residual, |residual| {
                    multiply(self.kernel, &Values { x, panels: &self.panels, bias, residual, gelu }, sizes)
                })
            })
        })???;
        Tensor::from_vec(y, shape, &Device::Cpu)
    }
}

/// Runs `f` on the values of a tensor that may not be there.
fn with_these<R>(x: Option<&Tensor>, f: impl FnOnce(Option<&[f32]>) -> R) -> Result<R> {
    match x {
        None => Ok(f(None)),
        Some(x) => with_values(x, |x| f(Some(x))),
    }
}

#[cfg(target_arch = "x86_64")]
use self::work::{Kernel, multiply};

#[cfg(not(target_arch = "x86_64"))]
use self::none::{Kernel, multiply};

/// What stands for kernels where there are none.
#[cfg(not(target_arch = "x86_64"))]
mod none {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Kernel {}

    impl Kernel {
        pub(super) fn of(_: super::RowCount) -> Option<Self> {
            None
        }

        pub(super) fn width(self) -> usize {
            match self {}
        }
    }

    pub(super) fn multiply(kernel: Kernel, _: &super::Values<'_>, _: (usize, usize, usize)) -> Vec<f32> {
        match kernel {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::super::{alone, gelu, linear};
    use super::*;

    fn plain(shape: &[usize], seed: u64) -> Result<Tensor> {
        Ok(sample(shape, seed)?.as_tensor().detach())
    }

    /// The weight as each kernel of this processor takes it.
    fn packed(weight: &Tensor) -> Result<Vec<Packed>> {
        let mut kernels: Vec<Kernel> =
            [RowCount::Few, RowCount::Many].into_iter().filter_map(Kernel::of).collect();
        kernels.dedup();
        if kernels.len() < 2 {
            eprintln!("skipped for want of a kernel: this processor has {kernels:?}");
        }
        let packed = kernels.into_iter().map(|kernel| Packed::for_kernel(weight, kernel));
        Ok(packed.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    fn near(got: &Tensor, want: &Tensor, what: &str) -> Result<()> {
        assert_eq!(got.dims(), want.dims(), "{what}");
        let off = (got - want)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
        let size = want.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
        assert!(off <= 1e-5 * size, "{what}: off by {off} at size {size}");
        Ok(())
    }

    /// Products of these sizes, with everything that may come before and after them, against one step after another.
    fn agrees((rows, inner, out): (usize, usize, usize)) -> Result<()> {
        let (x, weight) = (plain(&[1, rows, inner], 1)?, plain(&[out, inner], 2)?);
        let (bias, residual) = (plain(&[out], 3)?, plain(&[1, rows, out], 4)?);
        let product = linear(&x, &weight, None)?;
        let with_bias = linear(&x, &weight, Some(&bias))?;
        for packed in packed(&weight)? {
            let kernel = packed.kernel;
            let what = |of: &str| format!("{of} of {rows} rows, {inner} to {out}, {kernel:?}");
            near(&packed.apply(&x, None, Then::Keep)?, &product, &what("product"))?;
            near(&packed.apply(&x, Some(&bias), Then::Keep)?, &with_bias, &what("product with bias"))?;
            near(&packed.apply(&x, Some(&bias), Then::Gelu)?, &gelu(&with_bias)?, &what("GELU"))?;
            let sum = packed.apply(&x, Some(&bias), Then::Add(&residual))?;
            near(&sum, &(&with_bias + &residual)?, &what("sum"))?;
            let sum = packed.apply(&x, None, Then::Add(&residual))?;
            near(&sum, &(&product + &residual)?, &what("sum without bias"))?;
        }
        Ok(())
    }

    /// The largest error of a product, of what its terms are together without their signs.
    fn error_of(packed: &Packed, x: &Tensor, weight: &Tensor) -> Result<f64> {
        let got = packed.apply(x, None, Then::Keep)?.to_dtype(DType::F64)?;
        let (x, weight) = (x.to_dtype(DType::F64)?, weight.to_dtype(DType::F64)?.t()?);
        let terms = x.abs()?.matmul(&weight.abs()?)?;
        ((got - x.matmul(&weight)?)?.abs()? / terms)?.max_all()?.to_scalar::<f64>()
    }

    #[test]
    fn every_kernel_computes_in_single_precision() -> Result<()> {
        // Values of many sizes. Of a single product, no digit can be left out unseen; of many, errors have opposite signs.
        let spread = |x: Tensor| x.broadcast_mul(&x.abs()?.powf(3.0)?.affine(1.0, 1e-3)?);
        for (inner, most) in [(1, 2.5e-7), (700, 2e-6)] {
            let (x, weight) = (spread(plain(&[40, inner], 1)?)?, spread(plain(&[90, inner], 2)?)?);
            for packed in packed(&weight)? {
                let error = error_of(&packed, &x, &weight)?;
                eprintln!("{:?}, {inner} inputs: off by {error:.1e} of the terms", packed.kernel);
                assert!(error < most, "{:?}, {inner} inputs: {error}", packed.kernel);
            }
        }
        Ok(())
    }

    #[test]
    fn what_is_no_number_stays_none() -> Result<()> {
        for value in [f32::NAN, f32::from_bits(0x7fff_ffff), f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = plain(&[1, 40], 1)?.flatten_all()?.to_vec1::<f32>()?;
            x[17] = value;
            let x = Tensor::from_vec(x, (1, 40), &Device::Cpu)?;
            for packed in packed(&plain(&[33, 40], 2)?)? {
                let y = packed.apply(&x, None, Then::Keep)?.flatten_all()?.to_vec1::<f32>()?;
                assert!(y.iter().all(|y| !y.is_finite()), "{value} by {:?}: {y:?}", packed.kernel);
            }
        }
        Ok(())
    }

    #[test]
    fn products_agree_with_those_of_the_plain_weight() -> Result<()> {
        for rows in [1, 2, 3, 4, 5, 6, 16, 17, 197, 401] {
            for inner in [7, 16, 32, 100] {
                for out in [1, 63, 64, 200] {
                    agrees((rows, inner, out))?;
                }
            }
        }
        // Sums that go to memory and back.
        agrees((13, 2077, 70))
    }

    #[test]
    fn one_thread_computes_what_many_do() -> Result<()> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(5).build().expect("threads can be started");
        let (x, weight) = (plain(&[197, 300], 1)?, plain(&[333, 300], 2)?);
        for packed in packed(&weight)? {
            let many = pool.install(|| packed.apply(&x, None, Then::Gelu))?;
            // A thread that is in no pool yet.
            let one = std::thread::scope(|scope| {
                let one = scope.spawn(|| alone(|| packed.apply(&x, None, Then::Gelu)));
                one.join().expect("the thread ends")
            })?;
            assert_eq!(many.to_vec2::<f32>()?, one.to_vec2::<f32>()?, "{:?}", packed.kernel);
            // Nor does it matter with how many others a row comes.
            let row = packed.apply(&x.narrow(0, 190, 1)?, None, Then::Gelu)?;
            assert_eq!(
                many.narrow(0, 190, 1)?.to_vec2::<f32>()?,
                row.to_vec2::<f32>()?,
                "{:?}",
                packed.kernel
            );
        }
        Ok(())
    }

    #[test]
    fn the_plain_weight_comes_back() -> Result<()> {
        let weight = plain(&[130, 9], 1)?;
        let rows = Tensor::new(&[129u32, 0, 64], &Device::Cpu)?;
        let want = weight.index_select(&rows, 0)?;
        for packed in packed(&weight)? {
            assert_eq!(packed.full()?.to_vec2::<f32>()?, weight.to_vec2::<f32>()?);
            assert_eq!(packed.rows(&rows)?.to_vec2::<f32>()?, want.to_vec2::<f32>()?);
            assert!(packed.rows(&Tensor::new(&[130u32], &Device::Cpu)?).is_err());
        }
        Ok(())
    }

    #[test]
    fn what_does_not_fit_or_needs_gradients_is_refused() -> Result<()> {
        assert!(
            Packed::of(sample(&[8, 5], 1)?.as_tensor(), RowCount::Many)?.is_none(),
            "it is being trained"
        );
        let Some(packed) = packed(&plain(&[8, 5], 1)?)?.pop() else { return Ok(()) };
        let refused = |x: &Tensor, bias: Option<&Tensor>, then: Then<'_>| {
            packed.apply(x, bias, then).expect_err("it is refused").to_string()
        };
        let x = plain(&[3, 5], 2)?;
        assert!(refused(sample(&[3, 5], 2)?.as_tensor(), None, Then::Keep).contains("no gradients"));
        assert!(refused(&plain(&[3, 4], 2)?, None, Then::Keep).contains("for 5 values"));
        assert!(refused(&x, Some(&plain(&[7], 3)?), Then::Keep).contains("a bias [7]"));
        assert!(refused(&x, None, Then::Add(&plain(&[3, 7], 3)?)).contains("cannot be added"));
        Ok(())
    }
}
