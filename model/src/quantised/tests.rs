//! Products, rows and gradients of quantised matrices, against the same matrices in full precision.

use candle_core::Var;
use memmap2::MmapMut;

use super::*;

impl Quantised {
    /// A matrix in full precision, quantised in memory.
    pub(crate) fn of(full: &Tensor, kind: GgmlDType, paired_heads: Option<usize>) -> Result<Self> {
        let bytes = QTensor::quantize(full, kind)?.data()?.into_owned();
        Self::mapped(&mapped(&bytes)?, 0..bytes.len(), kind, full.dims2()?, paired_heads)
            .map_err(candle_core::Error::Msg)
    }
}

fn mapped(bytes: &[u8]) -> Result<Arc<Mmap>> {
    let mut map = MmapMut::map_anon(bytes.len())?;
    map.copy_from_slice(bytes);
    Ok(Arc::new(map.make_read_only()?))
}

/// The kinds that a Q8_0 or a Q4_K_M model is made of, and one without a kernel of ours.
const KINDS: [GgmlDType; 4] = [GgmlDType::Q4K, GgmlDType::Q6K, GgmlDType::Q8_0, GgmlDType::Q5K];

fn matrix(rows: usize, columns: usize) -> Tensor {
    let values = (0..rows * columns).map(|i| ((i * 7919 % 10_007) as f32 * 0.37).sin() * (i % 5 + 1) as f32);
    Tensor::from_vec(values.collect::<Vec<f32>>(), (rows, columns), &Device::Cpu).unwrap()
}

/// Whole numbers of which the largest of every 32 is 127, so that quantising them changes nothing.
fn whole_numbers(rows: usize, columns: usize) -> Tensor {
    let value = |i: usize| if i.is_multiple_of(32) { 127.0 } else { (i * 37 % 201) as f32 - 100.0 };
    let values: Vec<f32> = (0..rows * columns).map(value).collect();
    Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
}

fn off(got: &Tensor, want: &Tensor) -> Result<f32> {
    assert_eq!(got.dims(), want.dims());
    let largest = |x: &Tensor| x.abs()?.max_all()?.to_scalar::<f32>();
    Ok(largest(&(got - want)?)? / largest(want)?)
}

#[test]
fn products_are_those_of_the_matrix_in_full_precision() -> Result<()> {
    for kind in KINDS {
        // Whole tiles and one row more, work for one thread and for several, every width of a group.
        for (rows, columns) in [(16, 256), (37, 768), (1041, 512)] {
            let quantised = Arc::new(Quantised::of(&matrix(rows, columns), kind, None)?);
            let full = quantised.full()?;
            for m in [1, 2, 3, 4, 5, 8, 9, 20] {
                let x = whole_numbers(m, columns);
                let off = off(&quantised.apply(&x)?, &ops::linear(&x, &full, None)?)?;
                assert!(off < 2e-5, "{kind:?}, {m} x {columns} x {rows}: off by {off}");
            }
        }
    }
    Ok(())
}

#[test]
fn values_between_whole_numbers_are_rounded_little() -> Result<()> {
    for kind in KINDS {
        let quantised = Arc::new(Quantised::of(&matrix(48, 512), kind, None)?);
        let x = (matrix(3, 512) * 0.01)?;
        let off = off(&quantised.apply(&x)?, &ops::linear(&x, &quantised.full()?, None)?)?;
        assert!(off < 0.01, "{kind:?}: off by {off}");
    }
    Ok(())
}

#[test]
fn a_quantised_matrix_is_near_the_whole_one() -> Result<()> {
    for (kind, allowed) in
        [(GgmlDType::Q8_0, 0.01), (GgmlDType::Q6K, 0.04), (GgmlDType::Q5K, 0.07), (GgmlDType::Q4K, 0.12)]
    {
        let full = matrix(32, 512);
        let off = off(&Quantised::of(&full, kind, None)?.full()?, &full)?;
        assert!(off < allowed, "{kind:?}: off by {off}");
    }
    Ok(())
}

#[test]
fn only_the_rows_that_are_asked_for_are_read() -> Result<()> {
    let quantised = Quantised::of(&matrix(40, 256), GgmlDType::Q4K, None)?;
    let indices = Tensor::new(&[3u32, 0, 39, 3], &Device::Cpu)?;
    let want = quantised.full()?.index_select(&indices, 0)?;
    assert_eq!(quantised.rows(&indices)?.to_vec2::<f32>()?, want.to_vec2::<f32>()?);
    let refused = quantised.rows(&Tensor::new(&[40u32], &Device::Cpu)?).unwrap_err().to_string();
    assert!(refused.contains("no row 40"), "{refused}");
    Ok(())
}

#[test]
fn rows_that_are_stored_in_pairs_are_the_same_matrix() -> Result<()> {
    let (heads, head_dim) = (4, 16);
    let full = matrix(heads * head_dim, 256);
    let stored = full.reshape((heads, 2, head_dim / 2, 256))?.transpose(1, 2)?.contiguous()?;
    for kind in KINDS {
        let straight = Arc::new(Quantised::of(&full, kind, None)?);
        let paired = Arc::new(Quantised::of(&stored.reshape(full.dims())?, kind, Some(heads))?);
        let indices = Tensor::new(&[1u32, 8, 63], &Device::Cpu)?;
        let x = matrix(3, 256);
        for (got, want) in [
            (paired.full()?, straight.full()?),
            (paired.rows(&indices)?, straight.rows(&indices)?),
            (paired.apply(&x)?, straight.apply(&x)?),
        ] {
            assert_eq!(got.to_vec2::<f32>()?, want.to_vec2::<f32>()?, "{kind:?}");
        }
    }
    Ok(())
}

#[test]
fn gradients_go_through() -> Result<()> {
    let quantised = Arc::new(Quantised::of(&matrix(64, 256), GgmlDType::Q8_0, None)?);
    let x = Var::from_tensor(&whole_numbers(5, 256))?;
    let gradient =
        |y: &Tensor| -> Result<Tensor> { Ok(y.sqr()?.sum_all()?.backward()?.get(&x).unwrap().clone()) };
    let got = gradient(&quantised.apply(x.as_tensor())?)?;
    let want = gradient(&ops::linear(x.as_tensor(), &quantised.full()?, None)?)?;
    assert!(off(&got, &want)? < 1e-4);
    Ok(())
}

#[test]
fn what_is_no_number_is_neither_loaded_nor_hidden() -> Result<()> {
    for kind in KINDS {
        let whole = QTensor::quantize(&matrix(16, 256), kind)?.data()?.into_owned();
        let load =
            |bytes: &[u8]| Quantised::mapped(&mapped(bytes).unwrap(), 0..bytes.len(), kind, (16, 256), None);
        assert!(load(&whole).is_ok());
        // The scale of the second row's first block.
        let at = whole.len() / 16 + if kind == GgmlDType::Q6K { 208 } else { 0 };
        let mut bad = whole.clone();
        bad[at..at + 2].copy_from_slice(&half::f16::NAN.to_le_bytes());
        assert!(load(&bad).unwrap_err().contains("no numbers"), "{kind:?}");
        assert!(load(&whole[..whole.len() - 2]).unwrap_err().contains("size"), "{kind:?}");

        let quantised = Arc::new(load(&whole).map_err(candle_core::Error::Msg)?);
        let x = Tensor::full(f32::NAN, (2, 256), &Device::Cpu)?;
        let y = quantised.apply(&x)?.flatten_all()?.to_vec1::<f32>()?;
        // Candle's own kernels take the largest of a block and so pass over what is no number.
        assert!(kind == GgmlDType::Q5K || !has_kernel() || y.iter().all(|y| y.is_nan()), "{kind:?}");
    }
    Ok(())
}

#[cfg(target_arch = "x86_64")]
fn has_kernel() -> bool {
    avx512::is_able()
}

#[cfg(not(target_arch = "x86_64"))]
fn has_kernel() -> bool {
    false
}

#[test]
fn kinds_that_no_weights_are_stored_in_are_refused() -> Result<()> {
    let map = mapped(&[0; 36 * 8])?;
    let refused = Quantised::mapped(&map, 0..36 * 8, GgmlDType::Q8_1, (1, 256), None).unwrap_err();
    assert!(refused.contains("no kind of quantised weights"), "{refused}");
    let refused = Quantised::mapped(&map, 1..35, GgmlDType::Q8_0, (1, 32), None).unwrap_err();
    assert!(refused.contains("odd byte"), "{refused}");
    Ok(())
}
