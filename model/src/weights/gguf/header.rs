//! The header of a GGUF file (`docs/gguf.md`, ggml-org/ggml): metadata and where tensors lie, read without believing a
//! single count.
//!
//! Arrays, which hold a tokenizer's words, stay in the file until they are asked for.

use std::collections::BTreeMap;

use candle_core::quantized::GgmlDType;

/// More entries than any file has; a vocabulary is one entry.
const MOST_ENTRIES: u64 = 1 << 16;
/// More elements than the largest vocabulary.
const MOST_ELEMENTS: u64 = 1 << 24;
const MOST_DIMENSIONS: u32 = 4;

/// Numbers of the kinds of values.
const TEXT: u32 = 8;
const ARRAY: u32 = 9;

/// A value of the metadata that is no array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(&'a str),
}

impl Value<'_> {
    pub(crate) fn unsigned(self) -> Option<u64> {
        match self {
            Self::Unsigned(value) => Some(value),
            Self::Signed(value) => u64::try_from(value).ok(),
            Self::Bool(value) => Some(value.into()),
            Self::Float(_) | Self::Text(_) => None,
        }
    }

    pub(crate) fn float(self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(value),
            Self::Unsigned(value) => Some(value as f64),
            Self::Signed(value) => Some(value as f64),
            Self::Bool(_) | Self::Text(_) => None,
        }
    }
}

/// Where a tensor lies.
#[derive(Clone, Debug)]
pub(crate) struct TensorInfo {
    /// The slowest axis first, as everywhere here.
    pub(crate) shape: Vec<usize>,
    pub(crate) kind: GgmlDType,
    /// Bytes from the beginning of the tensors.
    pub(crate) offset: u64,
}

impl TensorInfo {
    /// Bytes of the tensor; `None` where that is no number.
    pub(super) fn bytes(&self) -> Option<usize> {
        let values = self.shape.iter().try_fold(1usize, |n, dim| n.checked_mul(*dim))?;
        values.div_ceil(self.kind.block_size()).checked_mul(self.kind.type_size())
    }
}

/// What the header says. Values are read again from the file when they are asked for.
#[derive(Debug)]
pub(super) struct Header {
    /// The kind of each value, and where in the file it begins.
    metadata: BTreeMap<String, (u32, usize)>,
    pub(super) tensors: BTreeMap<String, TensorInfo>,
    /// Where the tensors begin in the file.
    pub(super) data: u64,
}

impl Header {
    /// Reads the header of a file; what is wrong with it is a sentence.
    pub(super) fn read(file: &[u8]) -> Result<Self, String> {
        let mut reader = Reader { file, at: 0 };
        if reader.take(4)? != b"GGUF" {
            return Err("it does not begin as one".to_owned());
        }
        match reader.u32()? {
            2 | 3 => {}
            1 => return Err("it is of version 1, which is not supported".to_owned()),
            other => return Err(format!("it is of version {other}, which is not known")),
        }
        let (tensors, entries) = (reader.u64()?, reader.u64()?);
        if tensors > MOST_ENTRIES || entries > MOST_ENTRIES {
            return Err(format!("it claims {tensors} tensors and {entries} entries"));
        }
        let mut metadata = BTreeMap::new();
        for _ in 0..entries {
            let (key, kind) = (reader.text()?.to_owned(), reader.u32()?);
            metadata.insert(key, (kind, reader.at));
            reader.skip(kind)?;
        }
        let mut infos = BTreeMap::new();
        for _ in 0..tensors {
            let name = reader.text()?.to_owned();
            let info = reader.tensor().map_err(|reason| format!("the tensor {name} {reason}"))?;
            infos.insert(name, info);
        }
        let mut header = Self { metadata, tensors: infos, data: reader.at as u64 };
        let alignment = header.value(file, "general.alignment").map_or(Some(32), Value::unsigned);
        let alignment = alignment.filter(|a| a.is_power_of_two() && *a <= 1 << 20);
        let alignment = alignment.ok_or("its general.alignment makes no sense")?;
        header.data = header.data.next_multiple_of(alignment);
        Ok(header)
    }

    /// The value of a key; `None` where there is none or an array.
    pub(super) fn value<'a>(&self, file: &'a [u8], key: &str) -> Option<Value<'a>> {
        let &(kind, at) = self.metadata.get(key)?;
        Reader { file, at }.value(kind).ok()
    }

    /// The array of a key, each element as `of` reads it; `None` where there is no such array or an element is none of
    /// these.
    pub(super) fn list<'a, T>(
        &self,
        file: &'a [u8],
        key: &str,
        of: impl Fn(Value<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let &(kind, at) = self.metadata.get(key)?;
        let mut reader = Reader { file, at };
        if kind != ARRAY {
            return None;
        }
        let (kind, count) = (reader.u32().ok()?, reader.u64().ok()?);
        if count > MOST_ELEMENTS {
            return None;
        }
        (0..count).map(|_| of(reader.value(kind).ok()?)).collect()
    }
}

struct Reader<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: u64) -> Result<&'a [u8], String> {
        let end = usize::try_from(n).ok().and_then(|n| self.at.checked_add(n));
        let part = end.and_then(|end| self.file.get(self.at..end)).ok_or("its header is cut off")?;
        self.at += part.len();
        Ok(part)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let part = self.take(N as u64)?;
        part.try_into().map_err(|_other_length| "its header is cut off".to_owned())
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    fn text(&mut self) -> Result<&'a str, String> {
        let len = self.u64()?;
        std::str::from_utf8(self.take(len)?).map_err(|_not_utf8| "a text in its header is no text".to_owned())
    }

    fn value(&mut self, kind: u32) -> Result<Value<'a>, String> {
        Ok(match kind {
            0 => Value::Unsigned(u64::from(self.bytes::<1>()?[0])),
            1 => Value::Signed(i64::from(i8::from_le_bytes(self.bytes()?))),
            2 => Value::Unsigned(u64::from(u16::from_le_bytes(self.bytes()?))),
            3 => Value::Signed(i64::from(i16::from_le_bytes(self.bytes()?))),
            4 => Value::Unsigned(u64::from(self.u32()?)),
            5 => Value::Signed(i64::from(i32::from_le_bytes(self.bytes()?))),
            6 => Value::Float(f64::from(f32::from_le_bytes(self.bytes()?))),
            7 => Value::Bool(self.bytes::<1>()?[0] != 0),
            TEXT => Value::Text(self.text()?),
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.bytes()?)),
            12 => Value::Float(f64::from_le_bytes(self.bytes()?)),
            other => return Err(format!("a value in its header is of the kind {other}, which is not known")),
        })
    }

    /// Goes past a value.
    fn skip(&mut self, kind: u32) -> Result<(), String> {
        if kind != ARRAY {
            return self.value(kind).map(drop);
        }
        let (kind, count) = (self.u32()?, self.u64()?);
        let width = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            TEXT => {
                // Each text has a length of its own, so that there are no more turns than bytes.
                return (0..count).try_for_each(|_| self.text().map(drop));
            }
            other => {
                return Err(format!("an array in its header is of the kind {other}, which is not known"));
            }
        };
        self.take(count.checked_mul(width).ok_or("its header is cut off")?).map(drop)
    }

    fn tensor(&mut self) -> Result<TensorInfo, String> {
        let dimensions = self.u32()?;
        if dimensions > MOST_DIMENSIONS {
            return Err(format!("has {dimensions} dimensions"));
        }
        let mut shape = Vec::with_capacity(dimensions as usize);
        for _ in 0..dimensions {
            shape.push(usize::try_from(self.u64()?).map_err(|_large| "has no size".to_owned())?);
        }
        shape.reverse();
        let number = self.u32()?;
        let kind = kind(number)
            .ok_or_else(|| format!("is stored in the way {number} of ggml, which is not supported"))?;
        Ok(TensorInfo { shape, kind, offset: self.u64()? })
    }
}

/// ggml's numbers of what candle can read (`ggml_type`, ggml.h).
fn kind(number: u32) -> Option<GgmlDType> {
    Some(match number {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        30 => GgmlDType::BF16,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Vec<u8> {
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes
    }

    /// A header of one entry and no tensors.
    fn with_entry(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(3u32.to_le_bytes());
        file.extend(0u64.to_le_bytes());
        file.extend(1u64.to_le_bytes());
        file.extend(text(key));
        file.extend(kind.to_le_bytes());
        file.extend(value);
        file
    }

    fn array(kind: u32, count: u64, elements: &[u8]) -> Vec<u8> {
        [&kind.to_le_bytes()[..], &count.to_le_bytes()[..], elements].concat()
    }

    #[test]
    fn values_and_arrays_are_read_when_they_are_asked_for() {
        let words = [text("a"), text("bc")].concat();
        let file = with_entry("words", ARRAY, &array(TEXT, 2, &words));
        let header = Header::read(&file).unwrap();
        let read = header.list(&file, "words", |value| match value {
            Value::Text(text) => Some(text),
            _ => None,
        });
        assert_eq!(read, Some(vec!["a", "bc"]));
        assert_eq!(header.list(&file, "words", Value::unsigned), None);
        assert_eq!(header.value(&file, "words"), None);
        assert_eq!(header.data % 32, 0);
        let file = with_entry("n", 5, &(-3i32).to_le_bytes());
        assert_eq!(Header::read(&file).unwrap().value(&file, "n"), Some(Value::Signed(-3)));
    }

    #[test]
    fn counts_that_lie_are_refused_before_anything_is_allocated() {
        for file in [
            with_entry("a", ARRAY, &array(10, u64::MAX / 8, &[])),
            with_entry("a", ARRAY, &array(TEXT, u64::MAX, &text("a"))),
            with_entry("a", ARRAY, &array(ARRAY, 1, &[0; 64])),
            with_entry("a", TEXT, &u64::MAX.to_le_bytes()),
            with_entry("a", 99, &[0; 8]),
            with_entry("general.alignment", 4, &0u32.to_le_bytes()),
        ] {
            assert!(Header::read(&file).is_err());
        }
        let mut many = with_entry("a", 7, &[1]);
        many[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(Header::read(&many).unwrap_err().contains("claims"));
    }
}
