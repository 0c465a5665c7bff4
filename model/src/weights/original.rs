//! Tensors written to a file of their own as they are stored.

use std::borrow::Cow;
use std::path::Path;

use safetensors::{Dtype, View};

use super::{Error, Stored, Weights};

/// A tensor on its way from file to file.
struct Original<'a> {
    kind: Dtype,
    shape: &'a [usize],
    bytes: Cow<'a, [u8]>,
}

impl View for Original<'_> {
    fn dtype(&self) -> Dtype {
        self.kind
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

impl Weights {
    /// Writes all tensors to a safetensors file, their names after `prefix`. Their bytes stay as they are; values that do not
    /// lie in one place, one after the other, are put in order in f32.
    pub(crate) fn write(&self, prefix: &str, path: &Path) -> Result<(), Error> {
        let tensors = self.tensors.iter().map(|(name, stored)| {
            self.original(name, stored).map(|original| (format!("{prefix}{name}"), original))
        });
        let tensors = tensors.collect::<Result<Vec<_>, _>>()?;
        let failed = |source| Error::Write { source, path: path.to_owned() };
        let file = safetensors::serialize(tensors, None).map_err(|e| failed(std::io::Error::other(e)))?;
        // Not the crate's own way to a file: who may read that would not be left to the system.
        std::fs::write(path, file).map_err(failed)
    }

    fn original<'a>(&'a self, name: &str, stored: &'a Stored) -> Result<Original<'a>, Error> {
        let shape = stored.shape.as_slice();
        if stored.join.is_none() && stored.strides.is_none() {
            let bytes = Cow::Borrowed(&self.files[stored.file].1[stored.start..stored.end]);
            return Ok(Original { kind: stored.kind, shape, bytes });
        }
        let values = self.values(name, stored)?;
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Ok(Original { kind: Dtype::F32, shape, bytes: Cow::Owned(bytes) })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle_core::{DType, Device, Tensor, safetensors};

    use super::*;

    #[test]
    fn values_keep_their_bits_and_their_precision() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from.safetensors"), folder.path().join("to.safetensors"));
        let whole = Tensor::new(&[[0.1f32, -2.7], [3e-6, 1e4]], &Device::Cpu).unwrap();
        let kinds = [("a", DType::F32), ("b", DType::F16), ("c", DType::BF16)];
        let tensors: HashMap<&str, Tensor> =
            kinds.iter().map(|&(name, kind)| (name, whole.to_dtype(kind).unwrap())).collect();
        safetensors::save(&tensors, &from).unwrap();
        let weights = Weights::open(&[from]).unwrap();
        weights.renamed(|name| (name != "a").then(|| name.to_owned())).write("x.", &to).unwrap();
        let written = safetensors::load(&to, &Device::Cpu).unwrap();
        assert_eq!(written.len(), 2);
        for (name, kind) in &kinds[1..] {
            let got = &written[&format!("x.{name}")];
            assert_eq!(got.dtype(), *kind);
            let values = |tensor: &Tensor| tensor.to_dtype(DType::F32).unwrap().to_vec2::<f32>().unwrap();
            assert_eq!(values(got), values(&tensors[name]));
        }
    }
}
