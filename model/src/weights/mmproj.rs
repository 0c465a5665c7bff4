//! The vision tower in a GGUF file of its own (`mmproj`), as llama.cpp's `convert_hf_to_gguf.py --mmproj` writes it, under
//! Hugging Face's names: three matrices are one projection again, and two frames one convolution
//! (`tools/mtmd/models/qwen2vl.cpp` at 06e514f61476).

use std::sync::Arc;

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use super::check::Look;
use super::gguf::{Gguf, Value};
use super::{Error, Ledger, Size};
use crate::package::VisionSpec;

/// What such a file says that its tower is, of Qwen2.5-VL.
const PROJECTOR: &str = "qwen2.5vl_merger";
/// The convolution's name, and those of its two frames in the file.
const PATCHES: &str = "patch_embed.proj.weight";
const FRAMES: [&str; 2] = ["v.patch_embd.weight", "v.patch_embd.weight.1"];
/// Larger than any size of a tower.
const LARGEST: u64 = 1 << 16;

/// Whether this is such a file, by what it says of itself (`general.architecture` is `clip`).
pub fn is_mmproj(gguf: &Gguf) -> bool {
    gguf.text("general.architecture") == Some("clip")
}

/// The tower in the file, with the file's name in the package; pixel limits are the file's own, where it has some, and else
/// those of the published processor.
///
/// # Errors
/// Where it is no Qwen2.5-VL's (`clip.projector_type`), or does not say what it is.
pub fn vision(gguf: &Gguf, name: &str) -> Result<VisionSpec, Error> {
    if !is_mmproj(gguf) {
        return Err(gguf.error("it is no vision file (mmproj): its general.architecture is not 'clip'"));
    }
    let projector =
        ["clip.projector_type", "clip.vision.projector_type"].iter().find_map(|key| gguf.text(key));
    match projector {
        Some(PROJECTOR) => {}
        Some(other) => {
            return Err(gguf.error(format!("its vision tower is of the kind '{other}', not a Qwen2.5-VL's")));
        }
        None => return Err(gguf.error("clip.projector_type is missing")),
    }
    let size = |key: &str| size(gguf, key);
    let or = |key: &str, usual: u32| if gguf.value(key).is_some() { size(key) } else { Ok(usual) };
    let pixels = |key: &str, published: u64| gguf.value(key).and_then(Value::unsigned).unwrap_or(published);
    let layers = size("clip.vision.block_count")? as usize;
    let every = size("clip.vision.n_wa_pattern")? as usize;
    let [min_pixels, max_pixels] = VisionSpec::PUBLISHED_PIXELS;
    Ok(VisionSpec {
        weights: vec![name.to_owned()],
        precision: gguf.file_type().to_owned(),
        min_pixels: pixels("clip.vision.image_min_pixels", min_pixels),
        max_pixels: pixels("clip.vision.image_max_pixels", max_pixels),
        mean: colours(gguf, "clip.vision.image_mean", VisionSpec::PUBLISHED_MEAN)?,
        std: colours(gguf, "clip.vision.image_std", VisionSpec::PUBLISHED_STD)?,
        patch_size: size("clip.vision.patch_size")?,
        merge_size: or("clip.vision.spatial_merge_size", 2)?,
        temporal_patch_size: FRAMES.len() as u32,
        width: size("clip.vision.embedding_length")? as usize,
        layers,
        heads: size("clip.vision.attention.head_count")? as usize,
        // Older files say 0 for this one.
        mlp_width: rows(gguf, "v.blk.0.ffn_gate.weight")?,
        out_width: rows(gguf, "mm.2.weight")?,
        window_size: or("clip.vision.window_size", 112)?,
        full_attention: (0..layers).filter(|layer| (layer + 1).is_multiple_of(every)).collect(),
    })
}

fn size(gguf: &Gguf, key: &str) -> Result<u32, Error> {
    let size = gguf.value(key).and_then(Value::unsigned).filter(|size| (1..=LARGEST).contains(size));
    let size = size.and_then(|size| u32::try_from(size).ok());
    size.ok_or_else(|| gguf.error(format!("{key} is missing or no size")))
}

/// Outputs of a matrix.
fn rows(gguf: &Gguf, name: &str) -> Result<usize, Error> {
    let &[rows, _] = gguf.info(name)?.shape.as_slice() else {
        return Err(gguf.error(format!("the tensor {name} is no matrix")));
    };
    Ok(rows)
}

/// A number for each of the three colours.
fn colours(gguf: &Gguf, key: &str, published: [f32; 3]) -> Result<[f32; 3], Error> {
    let Some(found) = gguf.list(key, Value::float) else { return Ok(published) };
    let found = <[f64; 3]>::try_from(found);
    found
        .map(|of| of.map(|number| number as f32))
        .map_err(|_other_length| gguf.error(format!("{key} does not hold three numbers")))
}

/// Builds something from its tensors, as [`super::Weights::build`] does; names are those below `visual.`.
pub fn build<T>(
    gguf: &Arc<Gguf>,
    device: &Device,
    build: impl FnOnce(VarBuilder<'_>) -> candle_core::Result<T>,
) -> Result<(T, Size), Error> {
    let ledger = Arc::new(Ledger::default());
    let source = Source { tower: TowerFile(Arc::clone(gguf)), ledger: Arc::clone(&ledger) };
    let built = build(VarBuilder::from_backend(Box::new(source), DType::F32, device.clone()));
    ledger.settle(built)
}

/// Looks its tensors through, as [`super::Weights::check`] does.
pub fn check<T>(
    gguf: &Arc<Gguf>,
    build: impl FnOnce(VarBuilder<'_>) -> candle_core::Result<T>,
) -> Result<(T, Size), Error> {
    super::check::check(TowerFile(Arc::clone(gguf)), build)
}

/// Names in the file of the tensors that one of Hugging Face's (below `visual.`) is made of, one after another.
fn stored(name: &str) -> Vec<String> {
    if name == PATCHES {
        return FRAMES.map(str::to_owned).into();
    }
    if name == "merger.ln_q.weight" {
        return vec!["v.post_ln.weight".to_owned()];
    }
    if let Some(rest) = name.strip_prefix("merger.mlp.") {
        return vec![format!("mm.{rest}")];
    }
    let of_block = || -> Option<Vec<String>> {
        let (layer, part) = name.strip_prefix("blocks.")?.split_once('.')?;
        let (part, kind) = part.rsplit_once('.')?;
        let parts: &[&str] = match part {
            "norm1" => &["ln1"],
            "norm2" => &["ln2"],
            "attn.qkv" => &["attn_q", "attn_k", "attn_v"],
            "attn.proj" => &["attn_out"],
            "mlp.gate_proj" => &["ffn_gate"],
            "mlp.up_proj" => &["ffn_up"],
            "mlp.down_proj" => &["ffn_down"],
            _ => return None,
        };
        Some(parts.iter().map(|part| format!("v.blk.{layer}.{part}.{kind}")).collect())
    };
    of_block().unwrap_or_else(|| vec![name.to_owned()])
}

/// A file's tensors under their names below `visual.`.
struct TowerFile(Arc<Gguf>);

impl TowerFile {
    /// What a tensor is made of: names in the file, and the shape that each of them has.
    fn parts(&self, name: &str, shape: &[usize]) -> Result<(Vec<String>, Vec<usize>), Error> {
        let stored = stored(name);
        let missing = || self.0.error(format!("it has no tensor {name} of shape {shape:?}"));
        if name == PATCHES {
            // (width, 3, frames, patch, patch), of which the file has (width, 3, patch, patch) for each frame.
            return match *shape {
                [width, colours, frames, height, columns] if frames == stored.len() => {
                    Ok((stored, vec![width, colours, height, columns]))
                }
                _ => Err(missing()),
            };
        }
        let parts = stored.len();
        match shape.split_first() {
            Some((rows, rest)) if rows.is_multiple_of(parts) => {
                Ok((stored, [&[rows / parts][..], rest].concat()))
            }
            _ => Err(missing()),
        }
    }

    /// The values of a tensor.
    fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let (names, shape) = self.parts(name, shape)?;
        let read = |name: &String| self.0.values(name, &shape, None);
        if let [only] = names.as_slice() {
            return read(only);
        }
        let parts = names.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        // Frames take turns colour by colour; matrices come one after another.
        let axis = if name == PATCHES { 2 } else { 0 };
        Ok(taking_turns(&parts, shape[axis..].iter().product()))
    }
}

impl Look for TowerFile {
    fn look(&self, name: &str, shape: &[usize]) -> Result<usize, Error> {
        let (names, part) = self.parts(name, shape)?;
        names.iter().try_for_each(|name| self.0.look(name, &part).map(drop))?;
        // Whatever the file has, it is held in f32.
        Ok(shape.iter().product::<usize>() * size_of::<f32>())
    }

    fn shape_of(&self, name: &str) -> Option<Vec<usize>> {
        let names = stored(name);
        let mut shape = self.0.shape_of(names.first()?)?;
        if name == PATCHES {
            let &[width, colours, height, columns] = shape.as_slice() else { return None };
            return Some(vec![width, colours, names.len(), height, columns]);
        }
        let rows = shape.first_mut()?;
        *rows = rows.checked_mul(names.len())?;
        Some(shape)
    }
}

struct Source {
    tower: TowerFile,
    ledger: Arc<Ledger>,
}

/// So many values of each in turn.
fn taking_turns(all: &[Vec<f32>], at_a_time: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(all.iter().map(Vec::len).sum());
    let turns = all.first().map_or(0, Vec::len).checked_div(at_a_time).unwrap_or(0);
    for turn in 0..turns {
        for one in all {
            values.extend_from_slice(&one[turn * at_a_time..][..at_a_time]);
        }
    }
    values
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
        let values = self.ledger.keep(self.tower.values(name, shape.dims()))?;
        self.ledger.count(values.len(), values.len() * dtype.size_in_bytes());
        Tensor::from_vec(values, shape, device)?.to_dtype(dtype)
    }

    fn get_unchecked(&self, name: &str, _dtype: DType, _device: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("the tensor {name} is asked for without a shape")
    }

    fn contains_tensor(&self, name: &str) -> bool {
        stored(name).iter().all(|name| self.tower.0.info(name).is_ok())
    }
}

#[cfg(test)]
mod tests;
