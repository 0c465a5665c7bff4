//! Weight files looked through without being loaded: every tensor that an architecture asks for by name and shape, and
//! whether its values are finite numbers.

use std::sync::Arc;

use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use safetensors::Dtype;

use super::gguf::{Gguf, stored_name};
use super::{Error, Ledger, Size, Stored, Weights};
use crate::quantised;

impl Weights {
    /// As [`Self::build`], but what is built holds no values and serves to ask for its tensors only. The size is what it
    /// would take.
    pub fn check<T>(
        self,
        build: impl FnOnce(VarBuilder<'_>) -> candle_core::Result<T>,
    ) -> Result<(T, Size), Error> {
        check(self, build)
    }

    pub(super) fn check_values(&self, name: &str, stored: &Stored) -> Result<(), Error> {
        if let Some(join) = &stored.join {
            return join.parts.iter().try_for_each(|part| self.check_values(name, part));
        }
        let (path, map) = &self.files[stored.file];
        match is_finite(&map[stored.start..stored.end], stored.kind) {
            Some(true) => Ok(()),
            Some(false) => Err(Error::NotFinite { tensor: name.to_owned(), path: path.clone() }),
            None => {
                let found = format!("{:?}", stored.kind);
                Err(Error::Kind { tensor: name.to_owned(), found, path: path.clone() })
            }
        }
    }
}

impl Gguf {
    /// As [`Weights::check`].
    pub fn check<T>(
        self: &Arc<Self>,
        build: impl FnOnce(VarBuilder<'_>) -> candle_core::Result<T>,
    ) -> Result<(T, Size), Error> {
        check(Arc::clone(self), build)
    }
}

pub(super) fn check<S: Look + Send + Sync + 'static, T>(
    source: S,
    build: impl FnOnce(VarBuilder<'_>) -> candle_core::Result<T>,
) -> Result<(T, Size), Error> {
    let ledger = Arc::new(Ledger::default());
    let checked = Checked { source, ledger: Arc::clone(&ledger) };
    let built = build(VarBuilder::from_backend(Box::new(checked), DType::F32, Device::Cpu));
    ledger.settle(built)
}

/// Where a tensor can be looked at.
pub(super) trait Look {
    /// Whether the tensor is there as it should be: the bytes it would take in memory.
    fn look(&self, name: &str, shape: &[usize]) -> Result<usize, Error>;

    /// The shape of a tensor that is there.
    fn shape_of(&self, name: &str) -> Option<Vec<usize>>;
}

impl Look for Weights {
    fn look(&self, name: &str, shape: &[usize]) -> Result<usize, Error> {
        let stored = self.find(name, shape)?;
        self.check_values(name, stored)?;
        Ok(shape.iter().product::<usize>() * size_of::<f32>())
    }

    fn shape_of(&self, name: &str) -> Option<Vec<usize>> {
        self.shape(name).map(<[usize]>::to_vec)
    }
}

impl Look for Arc<Gguf> {
    fn look(&self, name: &str, shape: &[usize]) -> Result<usize, Error> {
        let (bytes, kind) = self.bytes(name, shape)?;
        let full = match kind {
            GgmlDType::F32 => Dtype::F32,
            GgmlDType::F16 => Dtype::F16,
            GgmlDType::BF16 => Dtype::BF16,
            _ => {
                let columns = shape.last().copied().unwrap_or(1);
                let rows = shape.iter().product::<usize>().checked_div(columns).unwrap_or(0);
                quantised::check(kind, bytes, (rows, columns))
                    .map_err(|reason| self.error(format!("the tensor {} {reason}", stored_name(name))))?;
                return Ok(bytes.len());
            }
        };
        if is_finite(bytes, full) == Some(false) {
            return Err(self.not_finite(name));
        }
        Ok(shape.iter().product::<usize>() * size_of::<f32>())
    }

    fn shape_of(&self, name: &str) -> Option<Vec<usize>> {
        self.info(name).ok().map(|info| info.shape.clone())
    }
}

/// Whether all values are finite; `None` where they are of a kind that is not read.
fn is_finite(bytes: &[u8], kind: Dtype) -> Option<bool> {
    // Not finite is what has every bit of its exponent set.
    let halves = |exponent: u16| {
        bytes.chunks_exact(2).all(|b| u16::from_le_bytes([b[0], b[1]]) & exponent != exponent)
    };
    match kind {
        Dtype::F32 => {
            Some(bytes.chunks_exact(4).all(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).is_finite()))
        }
        Dtype::F16 => Some(halves(0x7c00)),
        Dtype::BF16 => Some(halves(0x7f80)),
        _ => None,
    }
}

struct Checked<S> {
    source: S,
    ledger: Arc<Ledger>,
}

impl<S: Look + Send + Sync> SimpleBackend for Checked<S> {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _init: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let bytes = self.ledger.keep(self.source.look(name, shape.dims()))?;
        self.ledger.count(shape.elem_count(), bytes);
        // One zero, seen as often as the shape has places.
        Tensor::zeros((), dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let shape = self.source.shape_of(name).unwrap_or_default();
        self.get(shape.into(), name, Init::Const(0.0), dtype, device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.source.shape_of(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use half::{bf16, f16};

    use super::*;

    #[test]
    fn values_that_are_no_numbers_are_found_in_every_precision() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let check = |tensor: Tensor| {
            candle_core::safetensors::save(&HashMap::from([("a", tensor)]), &path).unwrap();
            Weights::open(std::slice::from_ref(&path)).unwrap().check(|vb| vb.get(3, "a"))
        };
        let cpu = &Device::Cpu;
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for tensor in [
                Tensor::new(&[1.0, value, 2.0], cpu),
                Tensor::new(&[1.0, value, 2.0].map(f16::from_f32), cpu),
                Tensor::new(&[1.0, value, 2.0].map(bf16::from_f32), cpu),
            ] {
                let error = check(tensor.unwrap()).unwrap_err().to_string();
                assert!(error.contains("tensor a ") && error.ends_with("w.safetensors"), "{error}");
            }
        }
        let (empty, size) = check(Tensor::new(&[1.0f32, -3e38, 2e-40], cpu).unwrap()).unwrap();
        assert_eq!((empty.dims(), size), (&[3usize][..], Size { parameters: 3, memory: 12 }));
        let shape = check(Tensor::new(&[1.0f32; 4], cpu).unwrap()).unwrap_err();
        assert!(matches!(shape, Error::Shape { .. }));
    }
}
