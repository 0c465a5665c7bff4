//! PyTorch's files (`torch.save`, the zip form since 1.6): where each tensor of a state dict lies in the file.
//!
//! The list of tensors is a pickle, which is read as data (`pickle.rs`); the values lie beside it uncompressed and are
//! mapped like those of other files. A state dict may lie under a key (`state_dict`), and its names may begin with
//! `module.`, which `DataParallel` adds.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};

use safetensors::Dtype;
use zip::read::{ArchiveOffset, Config};
use zip::{CompressionMethod, ZipArchive};

use super::Stored;
use super::pickle::{Pickle, Place, Value};

/// How the zip form begins.
pub(super) const SIGNATURE: &[u8] = b"PK\x03\x04";

/// Memory that the list of tensors of any file may take, in bytes.
const SMALL: usize = 1 << 20;

/// Keys under which training programs put the state dict.
const KEYS: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// The tensors of a file; `file` is its number among the others.
pub(super) fn tensors(map: &[u8], file: usize) -> Result<BTreeMap<String, Stored>, String> {
    // The archive is all of the file. Left to guess, the crate takes the second entry for the first where entries are as
    // long as the 64-bit records that PyTorch writes after them.
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let mut zip = ZipArchive::with_config(config, Cursor::new(map)).map_err(|e| e.to_string())?;
    let places = places(&mut zip, map.len())?;
    let list = places
        .keys()
        .find(|name| name.ends_with("/data.pkl"))
        .cloned()
        .ok_or("it holds no list of tensors (data.pkl)")?;
    let mut bytes = Vec::new();
    let entry = zip.by_name(&list).map_err(|e| e.to_string())?;
    // Compressed or not, more than its own length is not read.
    entry.take(map.len() as u64).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if let Ok(mut order) = zip.by_name(&list.replace("data.pkl", "byteorder")) {
        let mut word = [0; 6];
        if order.read_exact(&mut word).is_err() || &word != b"little" {
            return Err("its numbers begin with their largest byte, which is not supported".to_owned());
        }
    }
    let pickle = Pickle::read(&bytes, map.len().max(SMALL))?;
    let folder = list.trim_end_matches("data.pkl");
    let mut tensors = BTreeMap::new();
    for (name, place) in state_dict(&pickle)? {
        if let Some(tensor) = Tensor::read(&pickle, place) {
            let stored = tensor
                .stored(&places, folder, file)
                .map_err(|reason| format!("the tensor {name} {reason}"))?;
            tensors.insert(name.strip_prefix("module.").unwrap_or(name).to_owned(), stored);
        }
    }
    if tensors.is_empty() {
        return Err("it holds no tensors by name".to_owned());
    }
    // Tensors may share what is stored, as tied embeddings do; a file of which every tensor is all of it is a bomb.
    let all = tensors.values().fold(0usize, |all, stored| all.saturating_add(stored.end - stored.start));
    if all > map.len().saturating_mul(2) {
        return Err("its tensors lie upon one another".to_owned());
    }
    Ok(tensors)
}

/// Where the uncompressed entries of the archive lie.
fn places(
    zip: &mut ZipArchive<Cursor<&[u8]>>,
    zip_len: usize,
) -> Result<BTreeMap<String, (usize, usize)>, String> {
    let mut places = BTreeMap::new();
    for index in 0..zip.len() {
        let entry = zip.by_index_raw(index).map_err(|e| e.to_string())?;
        let name = entry.name().map_err(|e| e.to_string())?.into_owned();
        let start = entry.data_start().unwrap_or_default() as usize;
        if entry.compression() == CompressionMethod::Stored || name.ends_with("/data.pkl") {
            let size = entry.size() as usize;
            if start.checked_add(size).is_none_or(|end| end > zip_len) {
                return Err(format!("its part {name} lies outside it"));
            }
            places.insert(name, (start, size));
        }
    }
    Ok(places)
}

/// The entries of the state dict, wherever it lies.
fn state_dict(pickle: &Pickle) -> Result<Vec<(&str, Place)>, String> {
    let entries = |place: Place| pickle.entries(place).map(Iterator::collect::<Vec<_>>);
    let top = entries(pickle.root()).ok_or("it holds no state dict")?;
    if top.iter().any(|(_, place)| Tensor::read(pickle, *place).is_some()) {
        return Ok(top);
    }
    let inner = KEYS.iter().find_map(|key| {
        let (_, place) = top.iter().find(|(name, _)| name == key)?;
        entries(*place)
    });
    Ok(inner.unwrap_or(top))
}

/// A tensor as `_rebuild_tensor_v2` describes it.
struct Tensor<'a> {
    kind: &'a str,
    /// The storage's name in the archive, and how many values it has.
    storage: (&'a str, usize),
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl<'a> Tensor<'a> {
    fn read(pickle: &'a Pickle, place: Place) -> Option<Self> {
        if let Some(&[inner, ..]) = pickle.call(place, "torch._utils _rebuild_parameter") {
            // Once: a parameter of a parameter is none.
            return Self::rebuilt(pickle, inner);
        }
        Self::rebuilt(pickle, place)
    }

    fn rebuilt(pickle: &'a Pickle, place: Place) -> Option<Self> {
        let arguments = pickle.call(place, "torch._utils _rebuild_tensor_v2")?;
        let &[storage, offset, shape, strides, ..] = arguments else { return None };
        let Value::Persistent(storage) = pickle.get(storage) else { return None };
        let &[_, kind, name, _, count] = pickle.sequence(*storage)? else { return None };
        let Value::Global(kind) = pickle.get(kind) else { return None };
        Some(Self {
            kind,
            storage: (pickle.text(name)?, pickle.size(count)?),
            offset: pickle.size(offset)?,
            shape: pickle.sizes(shape)?,
            strides: pickle.sizes(strides)?,
        })
    }

    fn stored(
        &self,
        places: &BTreeMap<String, (usize, usize)>,
        folder: &str,
        file: usize,
    ) -> Result<Stored, String> {
        let (kind, width) = match self.kind {
            "torch FloatStorage" => (Dtype::F32, 4),
            "torch HalfStorage" => (Dtype::F16, 2),
            "torch BFloat16Storage" => (Dtype::BF16, 2),
            "torch DoubleStorage" => (Dtype::F64, 8),
            "torch LongStorage" => (Dtype::I64, 8),
            "torch IntStorage" => (Dtype::I32, 4),
            "torch ByteStorage" => (Dtype::U8, 1),
            "torch BoolStorage" => (Dtype::BOOL, 1),
            other => return Err(format!("is of the kind '{other}', which is not known")),
        };
        let (name, count) = self.storage;
        let (start, bytes) = *places
            .get(&format!("{folder}data/{name}"))
            .ok_or_else(|| format!("lies in {name}, which is not in the file"))?;
        let outside = || "lies outside its part of the file".to_owned();
        if self.strides.len() != self.shape.len() || count.checked_mul(width) != Some(bytes) {
            return Err(outside());
        }
        let values = self.shape.iter().try_fold(1usize, |n, dim| n.checked_mul(*dim)).ok_or_else(outside)?;
        // Also of a tensor that repeats itself: what is read is never more than what is stored.
        let reach = self
            .shape
            .iter()
            .zip(&self.strides)
            .try_fold(0usize, |reach, (dim, stride)| {
                reach.checked_add(dim.saturating_sub(1).checked_mul(*stride)?)
            })
            .and_then(|reach| reach.checked_add(self.offset)?.checked_add(usize::from(values > 0)))
            .ok_or_else(outside)?;
        if reach > count || values > count {
            return Err(outside());
        }
        let begin = start + self.offset * width;
        Ok(Stored {
            file,
            kind,
            shape: self.shape.clone(),
            start: begin,
            end: if self.is_in_order() { begin + values * width } else { start + bytes },
            strides: (!self.is_in_order()).then(|| self.strides.clone()),
            join: None,
        })
    }

    /// Whether the values lie row by row.
    fn is_in_order(&self) -> bool {
        let mut expected = 1;
        self.shape.iter().zip(&self.strides).rev().all(|(&dim, &stride)| {
            let is = dim == 1 || stride == expected;
            expected = expected.saturating_mul(dim);
            is
        })
    }
}
