//! The language model of a Qwen2.5-VL's package, in both layouts of its files, with and without adapters.

use std::collections::HashMap;

use candle_core::{Device, Tensor, safetensors};

use super::*;
use crate::adapter::AdapterFiles;
use crate::fixture::{Keys, Speech, write_folder, write_qwen_package};
use crate::llama::Positions;
use crate::package::{ADAPTER_CONFIG, AdapterSpec};

/// A package whose files are in this layout.
fn package(folder: &Path, keys: Keys) -> Package {
    write_qwen_package(folder, Speech::Babble(3)).unwrap();
    write_folder(folder, Speech::Babble(3), keys).unwrap();
    Package::open(folder).unwrap()
}

fn loaded(package: &Package) -> Llama {
    let config = config(package).unwrap();
    load(package, &config, DType::F32, &Device::Cpu, &mut |_| true).unwrap().0
}

fn logits(llama: &Llama) -> Vec<f32> {
    let x = llama.embed(&Tensor::new(&[[3u32, 9, 27, 4]], &Device::Cpu).unwrap()).unwrap();
    let hidden = llama.forward(&x, &Positions::after(0, 1, 4), None).unwrap();
    llama.logits(&hidden).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The largest difference.
fn off(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn both_layouts_give_the_same_model_to_the_bit() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let older = package(folders[0].path(), Keys::Older);
    let newer = package(folders[1].path(), Keys::Newer);
    let configs = [&older, &newer].map(|package| config(package).unwrap());
    assert_eq!(configs[0], configs[1]);
    assert!(configs[0].attention_bias && configs[0].mrope_section.is_some());
    assert_eq!(logits(&loaded(&older)), logits(&loaded(&newer)));
    // Looked through without being loaded, it takes as much.
    let (_, size) = check(&newer, &configs[1], &mut |_| true).unwrap();
    let (_, own) = load(&newer, &configs[1], DType::F32, &Device::Cpu, &mut |_| true).unwrap();
    assert_eq!(size, own);
}

#[test]
fn the_embeddings_are_the_head_where_the_files_have_none() {
    let folder = tempfile::tempdir().unwrap();
    let package = package(folder.path(), Keys::Newer);
    assert!(!config(&package).unwrap().tie_word_embeddings);
    for name in &package.manifest.language.weights {
        let path = package.file(name);
        let mut tensors = safetensors::load(&path, &Device::Cpu).unwrap();
        tensors.remove("lm_head.weight");
        safetensors::save(&tensors, &path).unwrap();
    }
    assert!(config(&package).unwrap().tie_word_embeddings);
    assert!(logits(&loaded(&package)).iter().all(|value| value.is_finite()));
}

#[test]
fn more_layers_than_it_says_and_other_kinds_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut package = package(folder.path(), Keys::Older);
    let config = config(&package).unwrap();
    let fewer = LlamaConfig { num_hidden_layers: 1, ..config };
    let error = weights(&package, &fewer).map(drop).unwrap_err().to_string();
    assert!(error.contains("model.layers.1."), "{error}");
    package.manifest.language.kind = LanguageKind::Llama;
    let error = super::config(&package).unwrap_err().to_string();
    assert!(error.contains("not a Llama"), "{error}");
}

/// Writes an adapter of rank 2 on queries and on the MLP's last layer, whose tensors are named by `name`.
fn write_adapter(package: &Package, llama: &Llama, name: impl Fn(&str) -> String) -> AdapterSpec {
    let spec = AdapterSpec { name: "lora".to_owned(), folder: "lora".to_owned(), alternative: true };
    let folder = package.file(&spec.folder);
    std::fs::create_dir_all(&folder).unwrap();
    let text = r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "down_proj"]}"#;
    std::fs::write(folder.join(ADAPTER_CONFIG), text).unwrap();
    let LlamaConfig { hidden_size: hidden, intermediate_size: inner, .. } = llama.config;
    let mut tensors = HashMap::new();
    for (i, linear) in llama.linear_names().enumerate() {
        let (columns, rows) = match linear.rsplit_once('.') {
            Some((_, "q_proj")) => (hidden, hidden),
            Some((_, "down_proj")) => (inner, hidden),
            _ => continue,
        };
        for (part, shape) in [("lora_A", (2, columns)), ("lora_B", (rows, 2))] {
            let value = |k: usize| 0.3 * ((i * 5 + k * 3) as f32).sin();
            let values: Vec<f32> = (0..shape.0 * shape.1).map(value).collect();
            let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
            tensors.insert(format!("base_model.model.{}.{part}.weight", name(&linear)), tensor);
        }
    }
    safetensors::save(&tensors, folder.join("adapter_model.safetensors")).unwrap();
    spec
}

#[test]
fn adapters_of_either_layout_give_the_same_beside_and_merged() {
    let folder = tempfile::tempdir().unwrap();
    let package = package(folder.path(), Keys::Older);
    let plain = logits(&loaded(&package));
    let newer = |linear: &str| linear.replace("model.layers.", "model.language_model.layers.");
    let mut beside = Vec::new();
    for name in [&str::to_owned as &dyn Fn(&str) -> String, &newer] {
        let mut llama = loaded(&package);
        let spec = write_adapter(&package, &llama, name);
        AdapterFiles::open(&package, &spec, &llama).unwrap().load(&mut llama, &Device::Cpu).unwrap();
        beside.push(logits(&llama));
    }
    assert_eq!(beside[0], beside[1]);
    let change = off(&beside[0], &plain);
    assert!(change > 1e-2, "{change}");
    // One that is part of the model is added to its weights.
    let spec = AdapterSpec { name: "lora".to_owned(), folder: "lora".to_owned(), alternative: false };
    let mut llama = loaded(&package);
    AdapterFiles::open(&package, &spec, &llama).unwrap().load(&mut llama, &Device::Cpu).unwrap();
    llama.merge().unwrap();
    assert!(off(&logits(&llama), &beside[0]) < 1e-3 * change);
}

#[test]
fn an_adapter_of_the_tower_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let package = package(folder.path(), Keys::Older);
    let llama = loaded(&package);
    let spec = write_adapter(&package, &llama, str::to_owned);
    let path = package.file("lora/adapter_model.safetensors");
    let mut tensors = safetensors::load(&path, &Device::Cpu).unwrap();
    let name = "base_model.model.visual.blocks.0.attn.qkv.lora_A.weight";
    tensors.insert(name.to_owned(), Tensor::zeros((2, 16), DType::F32, &Device::Cpu).unwrap());
    safetensors::save(&tensors, &path).unwrap();
    let error = AdapterFiles::open(&package, &spec, &llama).map(drop).unwrap_err().to_string();
    assert!(error.contains(name), "{error}");
}
