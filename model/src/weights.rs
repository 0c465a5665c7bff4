//! Weight files (safetensors, one or several) as a source of tensors for the layers' `load` functions.
//!
//! Each tensor that an architecture asks for is looked up by name and compared in shape before anything is allocated,
//! and a whole model is loaded before anything runs, so a package that does not fit is refused in one sentence. Files
//! are mapped, not read; stored f16, bf16 and f32 become f32. Other formats (PyTorch, GGUF) are not read here.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};

/// Bytes before the header of a safetensors file: its length.
const LENGTH_BYTES: usize = 8;

/// What is wrong with weight files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the weight file cannot be read: {source}: {path}", path = path.display())]
    Read { source: std::io::Error, path: PathBuf },
    #[error("this is no whole safetensors file ({reason}): {path}", path = path.display())]
    Foreign { reason: String, path: PathBuf },
    #[error("the tensor {tensor} of shape {expected:?} is missing: {path}", path = paths(paths_tried))]
    Missing { tensor: String, expected: Vec<usize>, paths_tried: Vec<PathBuf> },
    #[error("the tensor {tensor} should have shape {expected:?} but has {found:?}: {path}", path = path.display())]
    Shape { tensor: String, expected: Vec<usize>, found: Vec<usize>, path: PathBuf },
    #[error("the tensor {tensor} is stored as {found}, which is not one of F16, BF16 and F32: {path}", path = path.display())]
    Kind { tensor: String, found: String, path: PathBuf },
    #[error("the weights cannot be used: {0}")]
    Compute(String),
}

fn paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Where a tensor lies.
struct Stored {
    file: usize,
    kind: Dtype,
    shape: Vec<usize>,
    /// Bytes in the file.
    start: usize,
    end: usize,
}

/// Tensors of several files by name.
pub struct Weights {
    files: Vec<(PathBuf, Mmap)>,
    tensors: BTreeMap<String, Stored>,
}

/// How much was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub parameters: u64,
    /// Bytes in memory.
    pub memory: u64,
}

impl std::ops::AddAssign for Size {
    fn add_assign(&mut self, other: Self) {
        self.parameters += other.parameters;
        self.memory += other.memory;
    }
}

impl Weights {
    /// Maps the files and reads their headers. A tensor that two files hold is taken from the last.
    pub fn open(paths: &[PathBuf]) -> Result<Self, Error> {
        let mut weights = Self { files: Vec::new(), tensors: BTreeMap::new() };
        for path in paths {
            weights.add(path)?;
        }
        Ok(weights)
    }

    fn add(&mut self, path: &Path) -> Result<(), Error> {
        let unreadable = |source| Error::Read { source, path: path.to_owned() };
        let file = File::open(path).map_err(unreadable)?;
        // SAFETY: the map is only read. Should another program cut the file meanwhile, the worker's process ends,
        // which its parent reports; it holds nothing that could be damaged.
        #[expect(unsafe_code, reason = "mapping a file is unsafe by signature")]
        let map = unsafe { Mmap::map(&file) }.map_err(unreadable)?;
        let foreign = |reason: String| Error::Foreign { reason, path: path.to_owned() };
        let (header, metadata) = SafeTensors::read_metadata(&map).map_err(|e| foreign(e.to_string()))?;
        let start = LENGTH_BYTES + header;
        for name in metadata.offset_keys() {
            let Some(info) = metadata.info(&name) else { continue };
            let stored = Stored {
                file: self.files.len(),
                kind: info.dtype,
                shape: info.shape.clone(),
                start: start + info.data_offsets.0,
                end: start + info.data_offsets.1,
            };
            if stored.end > map.len() || stored.start > stored.end {
                return Err(foreign(format!("the tensor {name} lies outside the file")));
            }
            self.tensors.insert(name, stored);
        }
        self.files.push((path.to_owned(), map));
        Ok(())
    }

    /// Names and shapes of all tensors, by name.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, stored)| (name.as_str(), stored.shape.as_slice()))
    }

    /// Builds something from the tensors: `build` asks for what its architecture has, and the first tensor that is
    /// missing or has another shape is the error. Also says how much was loaded.
    pub fn build<T>(
        self,
        device: &Device,
        build: impl FnOnce(VarBuilder<'_>) -> candle_core::Result<T>,
    ) -> Result<(T, Size), Error> {
        let ledger = Arc::new(Ledger::default());
        let source = Source { weights: self, ledger: Arc::clone(&ledger) };
        let built = build(VarBuilder::from_backend(Box::new(source), DType::F32, device.clone()));
        let fault = ledger.fault.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (fault, built) {
            (Some(fault), _) => Err(fault),
            (None, Err(error)) => Err(Error::Compute(crate::reinpath::sentence(&error))),
            (None, Ok(built)) => {
                let parameters = ledger.parameters.load(Ordering::Relaxed);
                Ok((built, Size { parameters, memory: 4 * parameters }))
            }
        }
    }

    fn find(&self, name: &str, expected: &[usize]) -> Result<&Stored, Error> {
        let stored = self.tensors.get(name).ok_or_else(|| Error::Missing {
            tensor: name.to_owned(),
            expected: expected.to_vec(),
            paths_tried: self.files.iter().map(|(path, _)| path.clone()).collect(),
        })?;
        if stored.shape == expected {
            return Ok(stored);
        }
        Err(Error::Shape {
            tensor: name.to_owned(),
            expected: expected.to_vec(),
            found: stored.shape.clone(),
            path: self.files[stored.file].0.clone(),
        })
    }

    fn values(&self, name: &str, stored: &Stored) -> Result<Vec<f32>, Error> {
        let (path, map) = &self.files[stored.file];
        let bytes = &map[stored.start..stored.end];
        let pairs = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
        match stored.kind {
            Dtype::F32 => {
                Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
            }
            Dtype::F16 => Ok(pairs().map(|b| f16::from_le_bytes(b).to_f32()).collect()),
            Dtype::BF16 => Ok(pairs().map(|b| bf16::from_le_bytes(b).to_f32()).collect()),
            other => {
                Err(Error::Kind { tensor: name.to_owned(), found: format!("{other:?}"), path: path.clone() })
            }
        }
    }
}

/// What happened while an architecture asked for its tensors.
#[derive(Default)]
struct Ledger {
    /// Candle's errors carry text only; the first one of ours is kept here.
    fault: Mutex<Option<Error>>,
    parameters: AtomicU64,
}

struct Source {
    weights: Weights,
    ledger: Arc<Ledger>,
}

impl Source {
    fn tensor(&self, name: &str, expected: &[usize]) -> Result<Vec<f32>, Error> {
        let stored = self.weights.find(name, expected)?;
        self.weights.values(name, stored)
    }
}

impl SimpleBackend for Source {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _init: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        match self.tensor(name, shape.dims()) {
            Ok(values) => {
                self.ledger.parameters.fetch_add(values.len() as u64, Ordering::Relaxed);
                Tensor::from_vec(values, shape, device)?.to_dtype(dtype)
            }
            Err(fault) => {
                let error = candle_core::Error::Msg(fault.to_string());
                self.ledger.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
                Err(error)
            }
        }
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let shape = self.weights.tensors.get(name).map(|stored| stored.shape.clone()).unwrap_or_default();
        self.get(shape.into(), name, Init::Const(0.0), dtype, device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.weights.tensors.contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle_core::{DType, Device, Tensor};

    use super::{Error, Weights};

    fn write(path: &std::path::Path, name: &str, tensor: &Tensor) {
        candle_core::safetensors::save(&HashMap::from([(name, tensor.clone())]), path).unwrap();
    }

    #[test]
    fn every_stored_precision_becomes_f32_and_several_files_are_one() {
        let folder = tempfile::tempdir().unwrap();
        let values = Tensor::new(&[[1.5f32, -2.0], [0.25, 8.0]], &Device::Cpu).unwrap();
        let files: Vec<_> = [DType::F16, DType::BF16, DType::F32]
            .iter()
            .enumerate()
            .map(|(i, dtype)| {
                let path = folder.path().join(format!("{i}.safetensors"));
                write(&path, &format!("t{i}"), &values.to_dtype(*dtype).unwrap());
                path
            })
            .collect();
        let (tensors, size) = Weights::open(&files)
            .unwrap()
            .build(&Device::Cpu, |vb| {
                (0..3).map(|i| vb.get((2, 2), &format!("t{i}"))).collect::<candle_core::Result<Vec<_>>>()
            })
            .unwrap();
        for tensor in tensors {
            assert_eq!(tensor.to_vec2::<f32>().unwrap(), values.to_vec2::<f32>().unwrap());
        }
        assert_eq!((size.parameters, size.memory), (12, 48));
    }

    #[test]
    fn what_does_not_fit_is_named_with_tensor_file_and_shapes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        write(&path, "a", &Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap());
        let ask = |name: &'static str, shape: (usize, usize)| {
            let weights = Weights::open(std::slice::from_ref(&path)).unwrap();
            weights.build(&Device::Cpu, |vb| vb.get(shape, name)).unwrap_err()
        };
        let shape = ask("a", (3, 2));
        assert!(matches!(&shape, Error::Shape { found, .. } if found == &[2, 3]));
        assert!(shape.to_string().contains("[3, 2]") && shape.to_string().ends_with("w.safetensors"));
        let missing = ask("b", (3, 2)).to_string();
        assert!(
            missing.contains("tensor b of shape [3, 2]") && missing.ends_with("w.safetensors"),
            "{missing}"
        );
    }

    #[test]
    fn cut_and_foreign_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        write(&path, "a", &Tensor::zeros((20, 3), DType::F32, &Device::Cpu).unwrap());
        let whole = std::fs::read(&path).unwrap();
        let cut = whole.len() - 1;
        for bytes in [&whole[..cut], &whole[..40], &whole[..3], b"", b"PK\x03\x04 a zip file, not tensors"] {
            std::fs::write(&path, bytes).unwrap();
            let error = Weights::open(std::slice::from_ref(&path)).err().expect("refused").to_string();
            assert!(error.ends_with("w.safetensors"), "{error}");
        }
        let mut lying = whole.clone();
        lying[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        std::fs::write(&path, &lying).unwrap();
        assert!(Weights::open(std::slice::from_ref(&path)).is_err());
    }
}
