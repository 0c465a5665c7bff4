//! GGUF files that are written and read again.

use std::collections::BTreeMap;

use candle_core::quantized::gguf_file;
use candle_nn::VarMap;
use half::f16;

use super::super::Weights;
use super::super::quantise::{Recipe, quantise};
use super::*;
use crate::llama::Llama;

#[test]
fn matrices_in_16_bits_come_back_as_they_were_with_their_rows_in_halves() {
    let folder = tempfile::tempdir().unwrap();
    // No block fits 16 columns, so that all matrices are stored in f16.
    let config = serde_json::json!({
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 30, "rms_norm_eps": 1e-5, "max_position_embeddings": 64
    });
    let config: LlamaConfig = serde_json::from_value(config).unwrap();
    let map = VarMap::new();
    Llama::load(&VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu), &config).unwrap();
    let (path, file) = (folder.path().join("whole.safetensors"), folder.path().join("tiny.gguf"));
    map.save(&path).unwrap();
    let whole = Weights::open(&[path]).unwrap();
    quantise(&whole, &config, Recipe::Q8_0, &file, &mut |_| true).unwrap();
    let gguf = Gguf::open(&file).unwrap();
    for (part, heads) in [("q_proj", Some(4)), ("k_proj", Some(2)), ("v_proj", None)] {
        let name = format!("model.layers.0.self_attn.{part}.weight");
        let shape = whole.shape(&name).unwrap().to_vec();
        assert_eq!(gguf.bytes(&name, &shape).unwrap().1, GgmlDType::F16);
        let values = whole.values(&name, whole.find(&name, &shape).unwrap()).unwrap();
        let want: Vec<f32> = values.iter().map(|&value| f16::from_f32(value).to_f32()).collect();
        assert_eq!(gguf.values(&name, &shape, heads).unwrap(), want, "{part}");
    }
}

/// A Qwen2.5-VL's language model in small, whose matrices no block fits.
fn qwen() -> LlamaConfig {
    let config = serde_json::json!({
        "model_type": "qwen2_5_vl", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 30, "rms_norm_eps": 1e-6,
        "rope_theta": 1e6, "rope_scaling": {"type": "mrope", "mrope_section": [0, 1, 1]},
        "max_position_embeddings": 64, "tie_word_embeddings": true
    });
    LlamaConfig::of_qwen(&config).unwrap()
}

#[test]
fn a_qwens_file_says_what_was_written_and_its_rows_are_in_no_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let (path, file) = (folder.path().join("whole.safetensors"), folder.path().join("tiny.gguf"));
    let map = VarMap::new();
    Llama::load(&VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu), &qwen()).unwrap();
    let vars: BTreeMap<_, _> = map.data().lock().unwrap().clone().into_iter().collect();
    for (i, var) in vars.values().enumerate() {
        // Biases begin as zeros, which would hide a mistake; what f16 holds comes back as it was.
        let value = |k: usize| f16::from_f32(0.7 * ((i + 3 * k) as f32).sin()).to_f32();
        let values: Vec<f32> = (0..var.elem_count()).map(value).collect();
        var.set(&Tensor::from_vec(values, var.dims(), &Device::Cpu).unwrap()).unwrap();
    }
    map.save(&path).unwrap();
    let whole = Weights::open(&[path]).unwrap();
    quantise(&whole, &qwen(), Recipe::Q8_0, &file, &mut |_| true).unwrap();
    let gguf = Arc::new(Gguf::open(&file).unwrap());
    assert_eq!(gguf.text("general.architecture"), Some("qwen2vl"));
    let sections = gguf.list("qwen2vl.rope.dimension_sections", Value::unsigned);
    assert_eq!(sections, Some(vec![0, 1, 1, 0]));
    let read = gguf.config().unwrap();
    assert_eq!(LlamaConfig { rms_norm_eps: qwen().rms_norm_eps, ..read.clone() }, qwen());
    let stored = |name: &str, shape: &[usize]| {
        let values = whole.values(name, whole.find(name, shape).unwrap()).unwrap();
        (values, gguf.values(name, shape, None).unwrap(), gguf.bytes(name, shape).unwrap().1)
    };
    for (part, rows) in [("q_proj", 16), ("k_proj", 8), ("v_proj", 8)] {
        let (bias, got, kind) = stored(&format!("model.layers.0.self_attn.{part}.bias"), &[rows]);
        assert_eq!((got, kind), (bias, GgmlDType::F32), "{part}");
        let (weight, got, kind) = stored(&format!("model.layers.0.self_attn.{part}.weight"), &[rows, 16]);
        assert_eq!((got, kind), (weight, GgmlDType::F16), "{part}");
    }
    // What is built has the same rows and biases.
    let (llama, _) = gguf.build(&Device::Cpu, &read, |tensors| Llama::load(tensors, &read)).unwrap();
    let (full, _) = whole.build(&Device::Cpu, |vb| Llama::load(&vb, &read)).unwrap();
    let x = Tensor::ones((1, 3, 16), DType::F32, &Device::Cpu).unwrap();
    let at = crate::llama::Positions::after(0, 1, 3);
    let [got, want] = [&llama, &full]
        .map(|llama| llama.forward(&x, &at, None).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap());
    assert_eq!(got, want);
}

#[test]
fn foreign_architectures_and_missing_sections_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.gguf");
    let told = |architecture: &str, block_count: u32| {
        let metadata = [
            ("general.architecture", gguf_file::Value::String(architecture.to_owned())),
            ("qwen2vl.block_count", gguf_file::Value::U32(block_count)),
            ("qwen2vl.attention.head_count", gguf_file::Value::U32(2)),
            ("qwen2vl.embedding_length", gguf_file::Value::U32(8)),
            ("qwen2vl.feed_forward_length", gguf_file::Value::U32(8)),
            ("qwen2vl.attention.layer_norm_rms_epsilon", gguf_file::Value::F32(1e-6)),
            ("qwen2vl.context_length", gguf_file::Value::U32(64)),
        ];
        let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value)).collect();
        let matrix = Tensor::zeros((4, 8), DType::F32, &Device::Cpu).unwrap();
        let matrix = QTensor::quantize(&matrix, GgmlDType::F32).unwrap();
        let tensors = [("token_embd.weight", &matrix), ("blk.1.attn_q.weight", &matrix)];
        gguf_file::write(&mut File::create(&path).unwrap(), &metadata, &tensors).unwrap();
        Gguf::open(&path).and_then(|gguf| gguf.config()).unwrap_err().to_string()
    };
    assert!(told("gemma", 2).contains("'gemma', not a Llama and not a Qwen2.5-VL"), "{}", told("gemma", 2));
    assert!(told("qwen2vl", 2).contains("dimension_sections"), "{}", told("qwen2vl", 2));
    assert!(told("qwen2vl", 1).contains("2 layers and claims fewer"), "{}", told("qwen2vl", 1));
}
