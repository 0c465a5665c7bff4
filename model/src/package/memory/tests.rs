//! What is reckoned from headers and sizes, against what a loaded model takes.

use super::super::Manifest;
use super::*;

/// 16 image tokens a patch, answers of at most 100 tokens.
const MANIFEST: &str = r#"
    format = 1
    name = "test"
    architecture = "reinpath"
    [patch]
    size_px = 224
    mpp = 0.5
    [[encoders]]
    kind = "conch"
    weights = ["conch.safetensors"]
    image_size = 32
    resize = "bicubic"
    mean = [0.5, 0.5, 0.5]
    std = [0.5, 0.5, 0.5]
    patch_size = 8
    width = 8
    layers = 1
    heads = 1
    mlp_width = 8
    prefix = "visual.trunk."
    [fusion]
    grid = "pooled"
    [projector]
    weights = "projector.safetensors"
    hidden = 4
    [language]
    kind = "llama"
    weights = ["language.gguf"]
    config = "config.json"
    tokenizer = "tokenizer.json"
    chat_template = "llama-3"
    precision = "q8_0"
    [generation]
    temperature = 0.0
    top_p = 1.0
    max_tokens = 100
    stop = []
"#;

const CONFIG: &str = r#"{"num_hidden_layers": 3, "hidden_size": 64, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 4096}"#;

fn safetensors(header: &str) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file
}

/// A package whose encoder has 6 values in f16 beside a text tower, whose projector has 10, and whose language model
/// is a file of 1000 bytes.
fn package() -> (tempfile::TempDir, Package) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    let conch = r#"{"__metadata__": {"format": "pt"},
        "visual.trunk.w": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]},
        "text.w": {"dtype": "F16", "shape": [500], "data_offsets": [12, 1012]}}"#;
    write("conch.safetensors", &safetensors(conch));
    let projector = r#"{"w": {"dtype": "F32", "shape": [2, 5], "data_offsets": [0, 40]}}"#;
    write("projector.safetensors", &safetensors(projector));
    write("language.gguf", &[0; 1000]);
    write("config.json", CONFIG.as_bytes());
    let manifest = Manifest::parse(MANIFEST, Path::new("reinpath.toml")).unwrap();
    let package = Package { folder: folder.path().to_owned(), manifest, hash: String::new() };
    (folder, package)
}

#[test]
fn halves_double_and_quantised_files_stay_as_they_are() {
    let (_folder, mut package) = package();
    assert_eq!(package.memory().unwrap().weights, 6 * 4 + 10 * 4 + 1000);
    package.manifest.language.precision = "bf16".to_owned();
    assert_eq!(package.memory().unwrap().weights, 6 * 4 + 10 * 4 + 2000);
    package.manifest.encoders[0].prefix = String::new();
    assert_eq!(package.memory().unwrap().weights, 506 * 4 + 10 * 4 + 2000, "the text tower too");
}

#[test]
fn in_16_bits_the_language_model_takes_half_and_the_encoders_do_not() {
    let (folder, mut package) = package();
    let language = r#"{"w": {"dtype": "BF16", "shape": [10, 7], "data_offsets": [0, 140]}}"#;
    std::fs::write(folder.path().join("language.safetensors"), safetensors(language)).unwrap();
    let quantised = package.memory_in(2).unwrap();
    assert_eq!(quantised, package.memory().unwrap(), "a GGUF file is computed with in f32");
    package.manifest.language.weights = vec!["language.safetensors".to_owned()];
    package.manifest.language.precision = "bf16".to_owned();
    let (full, half) = (package.memory().unwrap(), package.memory_in(2).unwrap());
    assert_eq!((full.weights, half.weights), (6 * 4 + 10 * 4 + 70 * 4, 6 * 4 + 10 * 4 + 70 * 2));
    assert_eq!(half.cache.unwrap() * 2, full.cache.unwrap());
    assert_eq!(package.language_memory(2).unwrap(), 140);
}

#[test]
fn the_cache_holds_a_long_question_and_its_answer_but_no_more_than_the_model_reads() {
    let (folder, package) = package();
    let context = 4 * 16 + 512 + 100;
    let a_token = 2 * 3 * 2 * 16 * 4;
    let need = package.memory().unwrap();
    assert_eq!(need.cache, Some(a_token * (context + 64)));
    assert_eq!(need.total(), need.weights + a_token * (context + 64));
    std::fs::write(folder.path().join("config.json"), CONFIG.replace("4096", "128")).unwrap();
    assert_eq!(package.memory().unwrap().cache, Some(a_token * (128 + 64)));
    // Meta's names; how much it reads is not stated.
    let params = r#"{"dim": 64, "n_layers": 3, "n_heads": 4, "n_kv_heads": 2, "norm_eps": 1e-5}"#;
    std::fs::write(folder.path().join("config.json"), params).unwrap();
    assert_eq!(package.memory().unwrap().cache, Some(a_token * (context + 64)));
}

#[test]
fn sizes_that_are_in_no_json_file_are_not_guessed() {
    let (_folder, mut package) = package();
    package.manifest.language.config = "language.gguf".to_owned();
    let need = package.memory().unwrap();
    assert_eq!((need.cache, need.total()), (None, need.weights));
}

#[test]
fn damaged_files_are_named() {
    let (folder, package) = package();
    let refused = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        let before = std::fs::read(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let error = package.memory().unwrap_err().to_string();
        std::fs::write(&path, before).unwrap();
        assert!(error.ends_with(name), "{error}");
        error
    };
    assert!(refused("conch.safetensors", b"short").contains("5 bytes"));
    assert!(refused("conch.safetensors", &u64::MAX.to_le_bytes()).contains("no whole safetensors"));
    assert!(refused("projector.safetensors", &safetensors("[1]")).contains("header"));
    assert!(refused("config.json", b"{}").contains("num_hidden_layers"));
    let headless = CONFIG.replace("\"num_attention_heads\": 4", "\"num_attention_heads\": 0");
    assert!(refused("config.json", headless.as_bytes()).contains("no heads"));
    // Sizes beyond all bounds are no reason to stop.
    let huge = r#"{"w": {"dtype": "F32", "shape": [18446744073709551615, 9], "data_offsets": [0, 0]}}"#;
    std::fs::write(folder.path().join("projector.safetensors"), safetensors(huge)).unwrap();
    assert_eq!(package.memory().unwrap().total(), u64::MAX);
}

/// A model whose vision tower has 12 values in two shards, beside 75 of its language model, with 576 tokens for a patch.
const QWEN: &str = r#"
    format = 1
    name = "test"
    architecture = "qwen2.5-vl"
    [patch]
    size_px = 672
    mpp = 0.5
    [vision]
    weights = ["a.safetensors", "b.safetensors"]
    precision = "bf16"
    min_pixels = 3136
    max_pixels = 12845056
    mean = [0.5, 0.5, 0.5]
    std = [0.5, 0.5, 0.5]
    patch_size = 14
    merge_size = 2
    temporal_patch_size = 2
    width = 16
    layers = 2
    heads = 2
    mlp_width = 8
    out_width = 8
    window_size = 112
    full_attention = [1]
    [language]
    kind = "qwen2.5-vl"
    weights = ["a.safetensors", "b.safetensors"]
    config = "config.json"
    tokenizer = "tokenizer.json"
    chat_template = "file"
    template = "chat_template.jinja"
    precision = "bf16"
    [generation]
    temperature = 0.0
    top_p = 1.0
    max_tokens = 100
    stop = []
"#;

#[test]
fn of_files_that_hold_both_each_tensor_counts_once_and_the_tower_in_full() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    let (older, newer) = (
        r#"{"visual.w": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]},
            "model.embed_tokens.weight": {"dtype": "BF16", "shape": [10, 7], "data_offsets": [12, 152]}}"#,
        r#"{"model.visual.w": {"dtype": "BF16", "shape": [6], "data_offsets": [0, 12]},
            "lm_head.weight": {"dtype": "BF16", "shape": [5], "data_offsets": [12, 22]}}"#,
    );
    write("a.safetensors", &safetensors(older));
    write("b.safetensors", &safetensors(newer));
    write("config.json", CONFIG.as_bytes());
    let manifest = Manifest::parse(QWEN, Path::new("reinpath.toml")).unwrap();
    let mut package = Package { folder: folder.path().to_owned(), manifest, hash: String::new() };
    let need = package.memory().unwrap();
    assert_eq!(need.weights, 4 * (12 + 75));
    assert_eq!(package.memory_in(2).unwrap().weights, 4 * 12 + 2 * 75);
    assert_eq!(package.language_memory(2).unwrap(), 2 * 75);
    let a_token = 2 * 3 * 2 * 16 * 4;
    assert_eq!(need.cache, Some(a_token * (4 * 576 + 512 + 100 + 4 * 576)));
    // As newer files have it.
    write("config.json", format!(r#"{{"vision_config": {{}}, "text_config": {CONFIG}}}"#).as_bytes());
    assert_eq!(package.memory().unwrap(), need);
    // A tower in a file of its own, as llama.cpp's converter writes it.
    write("mmproj.gguf", &[0; 300]);
    let vision = package.manifest.vision.as_mut().unwrap();
    vision.weights = vec!["mmproj.gguf".to_owned()];
    for (precision, bytes) in [("f32", 300), ("f16", 600), ("q8_0", 1200)] {
        precision.clone_into(&mut package.manifest.vision.as_mut().unwrap().precision);
        assert_eq!(package.memory().unwrap().weights, bytes + 4 * 75, "{precision}");
    }
}

#[cfg(feature = "inference")]
#[test]
fn what_is_reckoned_is_what_a_loaded_model_takes() {
    use crate::fixture::{Family, Speech, write_package_of};
    use crate::reinpath::ReinPath;

    for family in Family::ALL {
        let folder = tempfile::tempdir().unwrap();
        write_package_of(family, folder.path(), Speech::Babble(2)).unwrap();
        let package = Package::open(folder.path()).unwrap();
        let model = ReinPath::load(&package, &candle_core::Device::Cpu, &mut |_, _| true).unwrap();
        assert_eq!(package.memory().unwrap().weights, model.size.memory, "{family:?}");
    }
}
