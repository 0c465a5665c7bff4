//! A tower written as llama.cpp writes it, read back, and what is refused.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{self, Value as Entry};
use candle_core::quantized::{GgmlDType, QTensor};

use super::super::{Weights, keys};
use super::*;
use crate::package::Grid;
use crate::qwen::Tower;
use crate::qwen::tests::{sample, tensors};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn spec() -> VisionSpec {
    VisionSpec {
        weights: vec!["vision/mmproj.gguf".into()],
        precision: "f16".into(),
        width: 32,
        heads: 4,
        mlp_width: 64,
        out_width: 16,
        mean: [0.5, 0.25, 0.75],
        ..VisionSpec::for_tests()
    }
}

fn entries() -> BTreeMap<&'static str, Entry> {
    let text = |text: &str| Entry::String(text.to_owned());
    let colours = |of: [f32; 3]| Entry::Array(of.map(Entry::F32).into());
    BTreeMap::from([
        ("general.architecture", text("clip")),
        ("general.file_type", Entry::U32(1)),
        ("clip.projector_type", text("qwen2.5vl_merger")),
        ("clip.vision.block_count", Entry::U32(2)),
        ("clip.vision.embedding_length", Entry::U32(32)),
        ("clip.vision.feed_forward_length", Entry::U32(0)),
        ("clip.vision.attention.head_count", Entry::U32(4)),
        ("clip.vision.patch_size", Entry::U32(14)),
        ("clip.vision.n_wa_pattern", Entry::U32(2)),
        ("clip.vision.image_mean", colours([0.5, 0.25, 0.75])),
        ("clip.vision.image_std", colours(VisionSpec::PUBLISHED_STD)),
    ])
}

/// The tensors of a tower as the file has them: matrices in `kind`, the convolution in f16.
fn in_file(tower: &BTreeMap<String, Tensor>, kind: GgmlDType) -> Outcome<BTreeMap<String, QTensor>> {
    let mut all = BTreeMap::new();
    for (name, tensor) in tower {
        let (names, axis) = (stored(name), if name == PATCHES { 2 } else { 0 });
        let parts = tensor.chunk(names.len(), axis)?;
        for (name_there, part) in names.into_iter().zip(parts) {
            let part = if name == PATCHES { part.squeeze(2)? } else { part };
            let kind = match part.rank() {
                1 => GgmlDType::F32,
                2 => kind,
                _ => GgmlDType::F16,
            };
            // Candle quantises all that lies in memory: a part has to be alone there.
            all.insert(name_there, QTensor::quantize(&part.force_contiguous()?, kind)?);
        }
    }
    let positions = sample(&[4, 32], 1.0)?;
    all.insert("v.position_embd.weight".to_owned(), QTensor::quantize(&positions, GgmlDType::F32)?);
    Ok(all)
}

fn write(
    folder: &Path,
    entries: &BTreeMap<&'static str, Entry>,
    tensors: &BTreeMap<String, QTensor>,
) -> Outcome<Arc<Gguf>> {
    let path: PathBuf = folder.join("mmproj.gguf");
    let entries: Vec<(&str, &Entry)> = entries.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, of)| (name.as_str(), of)).collect();
    gguf_file::write(&mut File::create(&path)?, &entries, &tensors)?;
    Ok(Arc::new(Gguf::open(&path)?))
}

#[test]
fn names_are_those_that_llama_cpp_writes() {
    let names: [(&str, &[&str]); 8] = [
        ("patch_embed.proj.weight", &["v.patch_embd.weight", "v.patch_embd.weight.1"]),
        ("blocks.31.norm1.weight", &["v.blk.31.ln1.weight"]),
        ("blocks.0.attn.qkv.bias", &["v.blk.0.attn_q.bias", "v.blk.0.attn_k.bias", "v.blk.0.attn_v.bias"]),
        ("blocks.7.attn.proj.weight", &["v.blk.7.attn_out.weight"]),
        ("blocks.7.mlp.down_proj.bias", &["v.blk.7.ffn_down.bias"]),
        ("merger.ln_q.weight", &["v.post_ln.weight"]),
        ("merger.mlp.2.bias", &["mm.2.bias"]),
        ("other", &["other"]),
    ];
    for (name, want) in names {
        assert_eq!(stored(name), want, "{name}");
    }
}

#[test]
fn a_tower_in_a_gguf_file_is_the_one_in_safetensors() -> Outcome {
    let folder = tempfile::tempdir()?;
    let plain = tensors(&spec())?;
    let grid = Grid { rows: 5, cols: 6 };
    let cells = sample(&[grid.tokens() * 4, 1176], 3.0)?;
    for kind in [GgmlDType::F32, GgmlDType::F16, GgmlDType::Q8_0] {
        let gguf = write(folder.path(), &entries(), &in_file(&plain, kind)?)?;
        assert!(is_mmproj(&gguf));
        assert_eq!(vision(&gguf, "vision/mmproj.gguf")?, spec());
        let (tower, size) = build(&gguf, &Device::Cpu, |vb| Tower::load(&vb, &spec()))?;
        let values: usize = plain.values().map(Tensor::elem_count).sum();
        assert_eq!((size.parameters, size.memory), (values as u64, 4 * values as u64));
        let (_, looked_through) = check(&gguf, |vb| Tower::load(&vb, &spec()))?;
        assert_eq!(looked_through, size, "{kind:?}: what it takes is known beforehand");
        // What that precision makes of the values, as they would be published in full.
        let mut published = HashMap::new();
        for (name, tensor) in &plain {
            let is_matrix = tensor.rank() == 2;
            let tensor = tensor.clone();
            let rounded =
                if is_matrix { QTensor::quantize(&tensor, kind)?.dequantize(&Device::Cpu)? } else { tensor };
            published.insert(format!("model.visual.{name}"), rounded);
        }
        let path = folder.path().join("model.safetensors");
        candle_core::safetensors::save(&published, &path)?;
        let weights = Weights::open(&[path])?.renamed(keys::tower);
        let (want, _) = weights.build(&Device::Cpu, |vb| Tower::load(&vb, &spec()))?;
        let see = |tower: &Tower| tower.forward(&cells, grid, &mut || Ok(()));
        let off = (see(&tower)? - see(&want)?)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(off < 1e-6, "{kind:?}: {off}");
    }
    Ok(())
}

#[test]
fn other_towers_and_files_that_say_too_little_are_refused_in_a_sentence() -> Outcome {
    let folder = tempfile::tempdir()?;
    let tensors = in_file(&tensors(&spec())?, GgmlDType::F16)?;
    let text = |text: &str| Some(Entry::String(text.to_owned()));
    let two = Entry::Array(vec![Entry::F32(0.5); 2]);
    for (key, value, reason) in [
        ("general.architecture", text("llama"), "it is no vision file"),
        ("clip.projector_type", text("qwen2vl_merger"), "of the kind 'qwen2vl_merger', not a Qwen2.5-VL's"),
        ("clip.projector_type", None, "clip.projector_type is missing"),
        ("clip.vision.block_count", None, "clip.vision.block_count is missing"),
        (
            "clip.vision.block_count",
            Some(Entry::U32(u32::MAX)),
            "clip.vision.block_count is missing or no size",
        ),
        ("clip.vision.n_wa_pattern", Some(Entry::U32(0)), "n_wa_pattern is missing or no size"),
        ("clip.vision.window_size", text("112"), "clip.vision.window_size is missing or no size"),
        ("clip.vision.image_mean", Some(two), "clip.vision.image_mean does not hold three numbers"),
    ] {
        let mut entries = entries();
        entries.remove(key);
        entries.extend(value.map(|value| (key, value)));
        let gguf = write(folder.path(), &entries, &tensors)?;
        let error = vision(&gguf, "mmproj.gguf").expect_err(reason).to_string();
        assert!(error.contains(reason) && error.ends_with("mmproj.gguf"), "{error}");
    }
    Ok(())
}

#[test]
fn limits_and_the_projector_are_read_where_newer_files_have_them() -> Outcome {
    let folder = tempfile::tempdir()?;
    let mut entries = entries();
    entries.remove("clip.projector_type");
    entries.insert("clip.vision.projector_type", Entry::String(PROJECTOR.to_owned()));
    entries.insert("clip.vision.image_min_pixels", Entry::U32(784));
    entries.insert("clip.vision.image_max_pixels", Entry::U32(1_003_520));
    let gguf = write(folder.path(), &entries, &in_file(&tensors(&spec())?, GgmlDType::F16)?)?;
    let found = vision(&gguf, "vision/mmproj.gguf")?;
    assert_eq!(found, VisionSpec { min_pixels: 784, max_pixels: 1_003_520, ..spec() });
    Ok(())
}

#[test]
fn a_tensor_that_is_missing_or_has_another_shape_is_named() -> Outcome {
    let folder = tempfile::tempdir()?;
    let whole = tensors(&spec())?;
    let mut cut = in_file(&whole, GgmlDType::F16)?;
    cut.remove("v.blk.1.attn_k.weight");
    let load = |gguf: &Arc<Gguf>, spec: &VisionSpec| {
        let built = build(gguf, &Device::Cpu, |vb| Tower::load(&vb, spec));
        let told = built.expect_err("it is refused").to_string();
        let looked_through = check(gguf, |vb| Tower::load(&vb, spec));
        assert_eq!(looked_through.expect_err("it is refused").to_string(), told);
        told
    };
    let error = load(&write(folder.path(), &entries(), &cut)?, &spec());
    assert!(error.contains("the tensor v.blk.1.attn_k.weight is missing"), "{error}");
    cut.remove("v.blk.0.ffn_gate.weight");
    let gguf = write(folder.path(), &entries(), &cut)?;
    let error = vision(&gguf, "mmproj.gguf").expect_err("its size is not known").to_string();
    assert!(error.contains("the tensor v.blk.0.ffn_gate.weight is missing"), "{error}");
    let gguf = write(folder.path(), &entries(), &in_file(&whole, GgmlDType::F16)?)?;
    let error = load(&gguf, &VisionSpec { mlp_width: 63, ..spec() });
    assert!(error.contains("v.blk.0.ffn_gate.weight should have shape [63, 32]"), "{error}");
    let error = load(&gguf, &VisionSpec { temporal_patch_size: 3, ..spec() });
    assert!(
        error.contains("it has no tensor patch_embed.proj.weight of shape [32, 3, 3, 14, 14]"),
        "{error}"
    );
    Ok(())
}
