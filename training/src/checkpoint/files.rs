//! A checkpoint's tensors as safetensors files, in f32 and brought to the disk.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;

use candle_core::{Device, Tensor, Var};
use safetensors::tensor::{Dtype, SafeTensorError, View, serialize_to_file};

use crate::error::{Error, Result};
use crate::optimiser::Moments;

/// Prefixes of the moments' names.
const MOMENTS: [&str; 2] = ["first.", "second."];

/// Values of a tensor on their way to a file.
struct Values<'a> {
    shape: Vec<usize>,
    values: Cow<'a, [f32]>,
}

impl View for Values<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = Vec::with_capacity(self.data_len());
        for value in self.values.iter() {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        self.values.len() * size_of::<f32>()
    }
}

/// Writes the variables whose names are chosen.
pub(super) fn write(path: &Path, vars: &[(String, Var)], is_chosen: impl Fn(&str) -> bool) -> Result<()> {
    let mut tensors = Vec::new();
    for (name, var) in vars.iter().filter(|(name, _)| is_chosen(name)) {
        let values = Cow::Owned(var.flatten_all()?.to_vec1::<f32>()?);
        tensors.push((name.as_str(), Values { shape: var.dims().to_vec(), values }));
    }
    save(path, tensors)
}

/// Writes the optimiser's moments of variables.
pub(super) fn write_moments(path: &Path, names: &[String], moments: &[Moments]) -> Result<()> {
    let [first, second] = MOMENTS;
    let tensor = |prefix: &str, name: &str, values| {
        let values: Cow<'_, [f32]> = Cow::Borrowed(values);
        (format!("{prefix}{name}"), Values { shape: vec![values.len()], values })
    };
    let tensors = names.iter().zip(moments).flat_map(|(name, moments)| {
        [tensor(first, name, &moments.first[..]), tensor(second, name, &moments.second[..])]
    });
    save(path, tensors)
}

fn save<'a, S: AsRef<str> + Ord + std::fmt::Display>(
    path: &Path,
    tensors: impl IntoIterator<Item = (S, Values<'a>)>,
) -> Result<()> {
    serialize_to_file(tensors, None, path).map_err(|error| match error {
        SafeTensorError::IoError(error) => Error::io(path)(error),
        other => Error::Checkpoint { reason: other.to_string(), path: path.to_owned() },
    })?;
    // For writing: some systems bring nothing to the disk through a handle that cannot write.
    let file = File::options().write(true).open(path);
    file.and_then(|file| file.sync_all()).map_err(Error::io(path))
}

/// Reads a file's tensors.
pub(super) fn read(path: &Path) -> Result<HashMap<String, Tensor>> {
    candle_core::safetensors::load(path, &Device::Cpu)
        .map_err(|error| Error::Checkpoint { reason: error.to_string(), path: path.to_owned() })
}

/// Reads the optimiser's moments, by the names of the variables.
pub(super) fn read_moments(path: &Path) -> Result<BTreeMap<String, Moments>> {
    let tensors = read(path)?;
    let [first, second] = MOMENTS;
    let mut moments = BTreeMap::new();
    let mut names: Vec<&str> = tensors.keys().filter_map(|name| name.strip_prefix(first)).collect();
    names.sort_unstable();
    for name in names {
        let values = |prefix: &str| -> Result<Vec<f32>> {
            let missing = || Error::Checkpoint {
                reason: format!("it has no tensor {prefix}{name}"),
                path: path.to_owned(),
            };
            Ok(tensors.get(&format!("{prefix}{name}")).ok_or_else(missing)?.to_vec1()?)
        };
        moments.insert(name.to_owned(), Moments { first: values(first)?, second: values(second)? });
    }
    Ok(moments)
}
