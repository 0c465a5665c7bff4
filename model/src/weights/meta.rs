//! Meta's weight files (`consolidated.00.pth` and so on, one for each card the model was split over), under Hugging Face's
//! names.
//!
//! Which axis a matrix is split along and that queries and keys have their rows in pairs is `convert_llama_weights_to_hf.py`
//! (transformers at 01cc9cd9d804). Nothing is read before a tensor is asked for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Error, Float, Stored, Weights, in_halves};
use crate::llama::LlamaConfig;

/// A tensor that is put together as it is read.
pub(super) struct Join {
    /// In order, one of each file.
    pub(super) parts: Vec<Stored>,
    /// Along which they follow one another.
    axis: usize,
    /// Heads in whose rows the tensor is stored in pairs.
    heads: Option<usize>,
}

impl Join {
    /// The values of the whole, of which `shape` is (rows, columns). They are converted row by row to where they belong:
    /// besides the result nothing of its size is held.
    pub(super) fn values(&self, weights: &Weights, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let parts: Vec<Part<'_>> =
            self.parts.iter().map(|part| Part::of(weights, name, part)).collect::<Result<_, _>>()?;
        let rows = shape.first().copied().unwrap_or_default();
        let mut whole = Vec::with_capacity(shape.iter().product());
        match self.heads {
            Some(heads) if rows > 0 => {
                in_halves(rows, heads).for_each(|row| self.append_row(&parts, row, &mut whole));
            }
            _ => (0..rows).for_each(|row| self.append_row(&parts, row, &mut whole)),
        }
        if whole.iter().any(|value| !value.is_finite()) {
            // To name the file that it is in.
            self.parts.iter().try_for_each(|part| weights.check_values(name, part))?;
        }
        Ok(whole)
    }

    /// Appends a row of the whole, by its place in the files.
    fn append_row(&self, parts: &[Part<'_>], mut row: usize, whole: &mut Vec<f32>) {
        if self.axis == 1 {
            for part in parts {
                part.append_row(row, whole);
            }
            return;
        }
        for part in parts {
            if row < part.rows {
                return part.append_row(row, whole);
            }
            row -= part.rows;
        }
    }
}

/// The matrix that one file has of a tensor.
struct Part<'a> {
    rows: usize,
    columns: usize,
    values: Values<'a>,
}

enum Values<'a> {
    /// Row by row as they are stored.
    Stored(&'a [u8], Float),
    /// Put into order, where they are a view that lies otherwise.
    Ordered(Vec<f32>),
}

impl<'a> Part<'a> {
    fn of(weights: &'a Weights, name: &str, stored: &Stored) -> Result<Self, Error> {
        let values = if stored.strides.is_none() {
            let (bytes, kind) = weights.bytes(name, stored)?;
            Values::Stored(bytes, kind)
        } else {
            Values::Ordered(weights.values(name, stored)?)
        };
        Ok(Self { rows: stored.shape[0], columns: stored.shape[1], values })
    }

    fn append_row(&self, row: usize, whole: &mut Vec<f32>) {
        let (start, columns) = (row * self.columns, self.columns);
        match &self.values {
            Values::Stored(bytes, kind) => {
                let width = kind.width();
                kind.append(&bytes[start * width..][..columns * width], whole);
            }
            Values::Ordered(values) => whole.extend_from_slice(&values[start..][..columns]),
        }
    }
}

/// How a tensor of Meta's becomes one of Hugging Face's.
struct Translation {
    name: String,
    /// Along which axis it is split; `None`: every file has the whole.
    axis: Option<usize>,
    heads: Option<usize>,
}

impl Translation {
    fn new(name: impl Into<String>, axis: Option<usize>, heads: Option<usize>) -> Self {
        Self { name: name.into(), axis, heads }
    }

    /// Of the tensor `name`, whose part in one file has this shape; `None` for what the model does not need (the
    /// rotation's frequencies, which follow from the configuration).
    fn of(name: &str, shape: &[usize], config: &LlamaConfig) -> Option<Self> {
        match name {
            "norm.weight" => return Some(Self::new("model.norm.weight", None, None)),
            "output.weight" => return Some(Self::new("lm_head.weight", Some(0), None)),
            "tok_embeddings.weight" => {
                // Up to Llama 2 each file has some channels of all tokens; since Llama 3, all channels of some.
                let axis = usize::from(shape.get(1) != Some(&config.hidden_size));
                return Some(Self::new("model.embed_tokens.weight", Some(axis), None));
            }
            _ => {}
        }
        let (layer, part) = name.strip_prefix("layers.")?.split_once('.')?;
        let (part, axis, heads) = match part {
            "attention_norm.weight" => ("input_layernorm", None, None),
            "attention.wq.weight" => ("self_attn.q_proj", Some(0), Some(config.num_attention_heads)),
            "attention.wk.weight" => ("self_attn.k_proj", Some(0), Some(config.num_key_value_heads)),
            "attention.wv.weight" => ("self_attn.v_proj", Some(0), None),
            "attention.wo.weight" => ("self_attn.o_proj", Some(1), None),
            "ffn_norm.weight" => ("post_attention_layernorm", None, None),
            "feed_forward.w1.weight" => ("mlp.gate_proj", Some(0), None),
            "feed_forward.w2.weight" => ("mlp.down_proj", Some(1), None),
            "feed_forward.w3.weight" => ("mlp.up_proj", Some(0), None),
            _ => return None,
        };
        Some(Self::new(format!("model.layers.{layer}.{part}.weight"), axis, heads))
    }
}

impl Weights {
    /// Maps Meta's files, in the order of their numbers, of the Llama of `config`; the tensors have Hugging Face's names.
    pub fn open_meta(paths: &[PathBuf], config: &LlamaConfig) -> Result<Self, Error> {
        let mut whole = Self { files: Vec::new(), tensors: BTreeMap::new() };
        let mut shards = Vec::with_capacity(paths.len());
        for (file, path) in paths.iter().enumerate() {
            let mut shard = Self::open(std::slice::from_ref(path))?;
            shard.tensors.values_mut().for_each(|stored| stored.file = file);
            whole.files.append(&mut shard.files);
            shards.push(shard.tensors);
        }
        let Some(first) = shards.first() else { return Ok(whole) };
        let translations: Vec<(String, Translation)> = first
            .iter()
            .filter_map(|(name, stored)| Some((name.clone(), Translation::of(name, &stored.shape, config)?)))
            .collect();
        for (name, translation) in translations {
            let mut parts = Vec::with_capacity(shards.len());
            for (shard, path) in shards.iter_mut().zip(paths) {
                let missing = || Error::Torch {
                    reason: format!("it has no tensor {name}, which the first file has"),
                    path: path.clone(),
                };
                parts.push(shard.remove(&name).ok_or_else(missing)?);
            }
            let stored = whole.joined(&name, parts, &translation)?;
            whole.tensors.insert(translation.name, stored);
        }
        Ok(whole)
    }

    /// One tensor of the parts that each file has of it.
    fn joined(&self, name: &str, mut parts: Vec<Stored>, how: &Translation) -> Result<Stored, Error> {
        let Some(axis) = how.axis else { return Ok(parts.swap_remove(0)) };
        if parts.len() == 1 && how.heads.is_none() {
            return Ok(parts.swap_remove(0));
        }
        let first = &parts[0];
        let mut shape = first.shape.clone();
        let fault = |part: &Stored, reason: String| Error::Torch {
            reason: format!("the tensor {name} {reason}"),
            path: self.files[part.file].0.clone(),
        };
        if shape.len() != 2 {
            return Err(fault(first, format!("of shape {shape:?} is no matrix")));
        }
        for part in &parts[1..] {
            if part.shape.len() != 2 || part.shape[1 - axis] != shape[1 - axis] {
                let reason =
                    format!("of shape {:?} does not fit to {:?} of the first file", part.shape, first.shape);
                return Err(fault(part, reason));
            }
            shape[axis] += part.shape[axis];
        }
        if let Some(heads) = how.heads
            && !shape[0].is_multiple_of(2 * heads)
        {
            return Err(fault(first, format!("of shape {shape:?} cannot be shared by {heads} heads")));
        }
        Ok(Stored {
            file: first.file,
            kind: first.kind,
            start: first.start,
            end: first.end,
            strides: None,
            shape,
            join: Some(Join { parts, axis, heads: how.heads }),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::Path;

    use candle_core::{DType, Device, Tensor};
    use candle_nn::{VarBuilder, VarMap};

    use super::*;
    use crate::llama::{Llama, Positions};

    fn config() -> LlamaConfig {
        let text = r#"{"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "vocab_size": 30, "rms_norm_eps": 1e-5, "max_position_embeddings": 64}"#;
        serde_json::from_str(text).unwrap()
    }

    /// Hugging Face's tensors of a Llama, all different.
    fn tensors(config: &LlamaConfig) -> BTreeMap<String, Tensor> {
        let map = VarMap::new();
        Llama::load(&VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu), config).unwrap();
        let data = map.data().lock().unwrap();
        let mut names: Vec<&String> = data.keys().collect();
        names.sort();
        let value = |seed: usize, i: usize| ((i as f32 * 0.37 + seed as f32).sin()) * 0.5;
        let of = |(seed, name): (usize, &&String)| {
            let shape = data[*name].shape();
            let values: Vec<f32> = (0..shape.elem_count()).map(|i| value(seed, i)).collect();
            ((*name).clone(), Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
        };
        names.iter().enumerate().map(of).collect()
    }

    /// The same tensors as Meta has them, in as many files.
    fn meta(
        config: &LlamaConfig,
        whole: &BTreeMap<String, Tensor>,
        folder: &Path,
        files: usize,
    ) -> Vec<PathBuf> {
        let mut shards = vec![HashMap::new(); files];
        for (name, tensor) in whole {
            let name = name
                .replace("model.layers.", "layers.")
                .replace("self_attn.q_proj", "attention.wq")
                .replace("self_attn.k_proj", "attention.wk")
                .replace("self_attn.v_proj", "attention.wv")
                .replace("self_attn.o_proj", "attention.wo")
                .replace("mlp.gate_proj", "feed_forward.w1")
                .replace("mlp.down_proj", "feed_forward.w2")
                .replace("mlp.up_proj", "feed_forward.w3")
                .replace("input_layernorm", "attention_norm")
                .replace("post_attention_layernorm", "ffn_norm")
                .replace("model.embed_tokens", "tok_embeddings")
                .replace("model.norm", "norm")
                .replace("lm_head", "output");
            let heads = if name.contains("wq") {
                config.num_attention_heads
            } else if name.contains("wk") {
                config.num_key_value_heads
            } else {
                0
            };
            let tensor = if heads == 0 {
                tensor.clone()
            } else {
                let (rows, columns) = tensor.dims2().unwrap();
                let halves = tensor.reshape((heads, 2, rows / heads / 2, columns)).unwrap();
                halves.transpose(1, 2).unwrap().contiguous().unwrap().reshape((rows, columns)).unwrap()
            };
            let axis = usize::from(name.contains("wo") || name.contains("w2"));
            for (i, shard) in shards.iter_mut().enumerate() {
                let part = if name.contains("norm") {
                    tensor.clone()
                } else {
                    tensor.chunk(files, axis).unwrap()[i].contiguous().unwrap()
                };
                shard.insert(name.clone(), part);
            }
        }
        let write = |(i, shard): (usize, &HashMap<String, Tensor>)| {
            // Told by its content: what writes PyTorch's form is not needed here.
            let path = folder.join(format!("consolidated.{i:02}.pth"));
            candle_core::safetensors::save(shard, &path).unwrap();
            path
        };
        shards.iter().enumerate().map(write).collect()
    }

    fn logits(llama: &Llama) -> Vec<f32> {
        let ids = Tensor::new(&[[3u32, 9, 27, 4]], &Device::Cpu).unwrap();
        let x = llama.forward(&llama.embed(&ids).unwrap(), &Positions::after(0, 1, 4), None).unwrap();
        llama.logits(&x).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn one_file_or_two_give_the_logits_of_hugging_faces_layout() {
        let folder = tempfile::tempdir().unwrap();
        let (config, whole) = (config(), tensors(&config()));
        let load = |weights: Weights| weights.build(&Device::Cpu, |vb| Llama::load(&vb, &config)).unwrap();
        let path = folder.path().join("model.safetensors");
        let saved: HashMap<String, Tensor> = whole.clone().into_iter().collect();
        candle_core::safetensors::save(&saved, &path).unwrap();
        let (want, want_size) = load(Weights::open(&[path]).unwrap());
        for files in [1, 2] {
            let paths = meta(&config, &whole, folder.path(), files);
            let (got, size) = load(Weights::open_meta(&paths, &config).unwrap());
            assert_eq!(logits(&got), logits(&want), "{files} files");
            assert_eq!(size, want_size);
        }
    }

    #[test]
    fn a_value_that_is_no_number_is_told_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let (config, whole) = (config(), tensors(&config()));
        let paths = meta(&config, &whole, folder.path(), 2);
        let second = candle_core::safetensors::load(&paths[1], &Device::Cpu).unwrap();
        for name in ["layers.0.attention.wq.weight", "layers.1.feed_forward.w2.weight", "norm.weight"] {
            let mut bad = second.clone();
            bad.insert(name.to_owned(), (&second[name] * f64::NAN).unwrap());
            candle_core::safetensors::save(&bad, &paths[1]).unwrap();
            let weights = Weights::open_meta(&paths, &config).unwrap();
            let loaded = weights.build(&Device::Cpu, |vb| Llama::load(&vb, &config));
            // Of what is in every file the first one's is taken.
            if name == "norm.weight" {
                assert!(loaded.is_ok());
            } else {
                let error = loaded.map(drop).unwrap_err().to_string();
                assert!(error.contains("no finite numbers") && error.ends_with("01.pth"), "{error}");
            }
        }
    }

    #[test]
    fn views_and_halves_of_values_are_joined_as_they_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let (config, whole) = (config(), tensors(&config()));
        let halves: BTreeMap<String, Tensor> = whole
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.to_dtype(DType::BF16).unwrap()))
            .collect();
        let paths = meta(&config, &halves, folder.path(), 2);
        let mut weights = Weights::open_meta(&paths, &config).unwrap();
        for name in ["model.layers.0.self_attn.k_proj.weight", "model.layers.1.self_attn.o_proj.weight"] {
            let want = halves[name].to_dtype(DType::F32).unwrap().flatten_all().unwrap();
            let want = want.to_vec1::<f32>().unwrap();
            let stored = &weights.tensors[name];
            assert_eq!(weights.values(name, stored).unwrap(), want, "{name}");
            // A view that says how it lies, although it lies in order.
            let join = weights.tensors.get_mut(name).and_then(|stored| stored.join.as_mut()).unwrap();
            for part in &mut join.parts {
                part.strides = Some(vec![part.shape[1], 1]);
            }
            assert_eq!(weights.values(name, &weights.tensors[name]).unwrap(), want, "{name}");
        }
    }

    #[test]
    fn files_that_do_not_belong_together_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (config, whole) = (config(), tensors(&config()));
        let paths = meta(&config, &whole, folder.path(), 2);
        let second = candle_core::safetensors::load(&paths[1], &Device::Cpu).unwrap();
        let name = "layers.1.feed_forward.w2.weight";
        let refused = |tensors: &HashMap<String, Tensor>| {
            candle_core::safetensors::save(tensors, &paths[1]).unwrap();
            Weights::open_meta(&paths, &config).map(drop).unwrap_err().to_string()
        };
        let mut changed = second.clone();
        changed.remove(name);
        let error = refused(&changed);
        assert!(error.contains(name) && error.ends_with("consolidated.01.pth"), "{error}");
        changed.insert(name.to_owned(), Tensor::zeros((15, 12), DType::F32, &Device::Cpu).unwrap());
        let error = refused(&changed);
        assert!(error.contains(name) && error.contains("[15, 12]") && error.contains("[16, 12]"), "{error}");
    }
}
