//! Weight files (safetensors or PyTorch's, one or several) as a source of tensors for the layers' `load` functions.
//!
//! Each tensor that an architecture asks for is looked up by name and compared in shape before anything is allocated,
//! and a whole model is loaded before anything runs, so a package that does not fit is refused in one sentence. Files
//! are mapped, not read; stored f16, bf16 and f32 become what is wanted.

mod check;
pub mod gguf;
pub(crate) mod keys;
mod meta;
pub mod mmproj;
mod original;
mod pickle;
pub mod quantise;
pub mod seeded;
mod torch;

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

use crate::quantised::paired_row;

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
    #[error("the tensor {tensor} holds values that are no finite numbers: {path}", path = path.display())]
    NotFinite { tensor: String, path: PathBuf },
    #[error("there are more layers than the architecture has, such as the tensor {tensor}: {path}", path = path.display())]
    TooMany { tensor: String, path: PathBuf },
    #[error("this PyTorch file cannot be used: {reason}: {path}", path = path.display())]
    Torch { reason: String, path: PathBuf },
    #[error("this GGUF file cannot be used: {reason}: {path}", path = path.display())]
    Gguf { reason: String, path: PathBuf },
    #[error("the weights cannot be written: {source}: {path}", path = path.display())]
    Write { source: std::io::Error, path: PathBuf },
    #[error("cancelled")]
    Cancelled,
    #[error("the weights cannot be used: {0}")]
    Compute(String),
    #[error("the device's memory ran out while weights were loaded: {0}")]
    Full(String),
}

fn paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The bytes of a file.
fn mapped(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is only read. Should another program cut the file meanwhile, the worker's process ends, which its
    // parent reports; it holds nothing that could be damaged.
    #[expect(unsafe_code, reason = "mapping a file is unsafe by signature")]
    unsafe {
        Mmap::map(file)
    }
}

/// Where a tensor lies.
struct Stored {
    file: usize,
    kind: Dtype,
    shape: Vec<usize>,
    /// Bytes in the file.
    start: usize,
    end: usize,
    /// Values from one to the next along each axis, where they do not lie row by row (PyTorch's views).
    strides: Option<Vec<usize>>,
    /// How it is put together, where it lies in several places.
    join: Option<meta::Join>,
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
        let map = mapped(&File::open(path).map_err(unreadable)?).map_err(unreadable)?;
        let foreign = |reason: String| Error::Foreign { reason, path: path.to_owned() };
        if map.starts_with(torch::SIGNATURE) {
            let tensors = torch::tensors(&map, self.files.len());
            let tensors = tensors.map_err(|reason| Error::Torch { reason, path: path.to_owned() })?;
            if tensors.values().any(|stored| stored.end > map.len() || stored.start > stored.end) {
                return Err(Error::Torch {
                    reason: "a tensor lies outside it".to_owned(),
                    path: path.to_owned(),
                });
            }
            self.tensors.extend(tensors);
            self.files.push((path.to_owned(), map));
            return Ok(());
        }
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
                strides: None,
                join: None,
            };
            if stored.end > map.len() || stored.start > stored.end {
                return Err(foreign(format!("the tensor {name} lies outside the file")));
            }
            self.tensors.insert(name, stored);
        }
        self.files.push((path.to_owned(), map));
        Ok(())
    }

    /// The same tensors under other names; those that get none are left out.
    #[must_use]
    pub(crate) fn renamed(self, name_of: impl Fn(&str) -> Option<String>) -> Self {
        let renamed = |(name, stored): (String, Stored)| Some((name_of(&name)?, stored));
        Self { files: self.files, tensors: self.tensors.into_iter().filter_map(renamed).collect() }
    }

    /// Names and shapes of all tensors, by name.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, stored)| (name.as_str(), stored.shape.as_slice()))
    }

    /// Refuses files with more layers than an architecture asks for: `prefix` is that of the first one too many.
    pub fn end_before(&self, prefix: &str) -> Result<(), Error> {
        match self.tensors.iter().find(|(name, _)| name.starts_with(prefix)) {
            None => Ok(()),
            Some((name, stored)) => {
                Err(Error::TooMany { tensor: name.clone(), path: self.files[stored.file].0.clone() })
            }
        }
    }

    /// The shape of a tensor; `None` where there is none of that name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|stored| stored.shape.as_slice())
    }

    /// The precision in which a tensor is stored, such as `bf16`.
    pub fn precision(&self, name: &str) -> Option<String> {
        self.tensors.get(name).map(|stored| format!("{:?}", stored.kind).to_lowercase())
    }

    /// Builds something from the tensors: `build` asks for what its architecture has, and the first tensor that is
    /// missing or has another shape is the error. Also says how much was loaded.
    pub fn build<T>(
        self,
        device: &Device,
        build: impl FnOnce(VarBuilder<'_>) -> candle_core::Result<T>,
    ) -> Result<(T, Size), Error> {
        self.build_in(DType::F32, device, build)
    }

    /// The same in another precision.
    pub fn build_in<T>(
        self,
        dtype: DType,
        device: &Device,
        build: impl FnOnce(VarBuilder<'_>) -> candle_core::Result<T>,
    ) -> Result<(T, Size), Error> {
        let ledger = Arc::new(Ledger::default());
        let source = Source { weights: self, ledger: Arc::clone(&ledger) };
        let built = build(VarBuilder::from_backend(Box::new(source), dtype, device.clone()));
        ledger.settle(built)
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
        if let Some(join) = &stored.join {
            return join.values(self, name, &stored.shape);
        }
        let (bytes, kind) = self.bytes(name, stored)?;
        let mut values = Vec::with_capacity(bytes.len() / kind.width());
        kind.append(bytes, &mut values);
        if values.iter().any(|value| !value.is_finite()) {
            let path = self.files[stored.file].0.clone();
            return Err(Error::NotFinite { tensor: name.to_owned(), path });
        }
        Ok(match &stored.strides {
            None => values,
            Some(strides) => row_by_row(&values, &stored.shape, strides),
        })
    }

    /// The bytes of a tensor that lies in one place, and how its values are stored.
    fn bytes(&self, name: &str, stored: &Stored) -> Result<(&[u8], Float), Error> {
        let (path, map) = &self.files[stored.file];
        let kind = match stored.kind {
            Dtype::F32 => Float::F32,
            Dtype::F16 => Float::F16,
            Dtype::BF16 => Float::Bf16,
            other => {
                let found = format!("{other:?}");
                return Err(Error::Kind { tensor: name.to_owned(), found, path: path.clone() });
            }
        };
        Ok((&map[stored.start..stored.end], kind))
    }
}

/// How values in full precision are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Float {
    F32,
    F16,
    Bf16,
}

impl Float {
    /// Bytes of a value.
    fn width(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// Appends the values in `bytes` to those of a tensor that is put together: the only copy of them.
    fn append(self, bytes: &[u8], values: &mut Vec<f32>) {
        let pairs = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
        match self {
            Self::F32 => {
                values.extend(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
            }
            Self::F16 => values.extend(pairs().map(|b| f16::from_le_bytes(b).to_f32())),
            Self::Bf16 => values.extend(pairs().map(|b| bf16::from_le_bytes(b).to_f32())),
        }
    }
}

/// The values of a view in order; the last one lies inside `values`.
fn row_by_row(values: &[f32], shape: &[usize], strides: &[usize]) -> Vec<f32> {
    let count = shape.iter().product();
    let mut index = vec![0; shape.len()];
    let mut ordered = Vec::with_capacity(count);
    for _ in 0..count {
        ordered.push(values[index.iter().zip(strides).map(|(i, stride)| i * stride).sum::<usize>()]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    ordered
}

/// Where the rows of `heads` heads lie that are stored in pairs (0, half, 1, half + 1, …), as Meta's files and GGUF have
/// those of queries and keys, in the order of halves (0, 1, …, half, half + 1, …). `rows` is their number, an even one for
/// each head.
fn in_halves(rows: usize, heads: usize) -> impl Iterator<Item = usize> {
    (0..rows).map(move |row| paired_row(row, rows / heads))
}

/// What happened while an architecture asked for its tensors.
#[derive(Default)]
struct Ledger {
    /// Candle's errors carry text only; the first one of ours is kept here.
    fault: Mutex<Option<Error>>,
    parameters: AtomicU64,
    bytes: AtomicU64,
}

impl Ledger {
    fn count(&self, parameters: usize, bytes: usize) {
        self.parameters.fetch_add(parameters as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn keep<T>(&self, result: Result<T, Error>) -> candle_core::Result<T> {
        result.map_err(|fault| {
            let error = candle_core::Error::Msg(fault.to_string());
            self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
            error
        })
    }

    /// What was built and how much was loaded, or the first of our faults.
    fn settle<T>(&self, built: candle_core::Result<T>) -> Result<(T, Size), Error> {
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (fault, built) {
            (Some(fault), _) => Err(fault),
            (None, Err(error)) if crate::room::is_shortage(&error) => {
                Err(Error::Full(crate::reinpath::sentence(&error)))
            }
            (None, Err(error)) => Err(Error::Compute(crate::reinpath::sentence(&error))),
            (None, Ok(built)) => {
                let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
                Ok((built, Size { parameters: read(&self.parameters), memory: read(&self.bytes) }))
            }
        }
    }
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
        let values = self.ledger.keep(self.tensor(name, shape.dims()))?;
        self.ledger.count(values.len(), values.len() * dtype.size_in_bytes());
        Tensor::from_vec(values, shape, device)?.to_dtype(dtype)
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

    use super::{Error, Weights, in_halves};

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
    fn rows_in_pairs_are_put_into_halves() {
        // Two heads of four rows.
        let stored = [0, 2, 1, 3, 10, 12, 11, 13];
        let halves: Vec<i32> = in_halves(8, 2).map(|row| stored[row]).collect();
        assert_eq!(halves, [0, 1, 2, 3, 10, 11, 12, 13]);
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
