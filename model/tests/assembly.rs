//! Packages put together from files as they are published, and adapters that are switched.

#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use candle_core::{DType, Device, Tensor, safetensors};
use candle_nn::{VarBuilder, VarMap};
use reinpath_model::assembly::{Error, Parts, add, add_unless};
use reinpath_model::fixture::{Speech, byte_tokenizer, write_package};
use reinpath_model::llama::{Llama, LlamaConfig, Positions};
use reinpath_model::package::{GridRule, Known, Package};
use reinpath_model::patch::Patch;
use reinpath_model::reinpath::ReinPath;
use reinpath_model::weights::Weights;
use reinpath_model::weights::quantise::{Recipe, quantise};

/// A user's folders with the parts of a tiny model.
struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        let made = home.path("fixture");
        std::fs::create_dir(&made).unwrap();
        write_package(&made, Speech::Babble(3)).unwrap();
        for (part, from, to) in [
            ("llama", "config.json", "config.json"),
            ("llama", "tokenizer.json", "tokenizer.json"),
            ("llama", "language.safetensors", "model.safetensors"),
            ("conch", "conch.safetensors", "pytorch_model.bin"),
            ("uni", "uni.safetensors", "model.safetensors"),
        ] {
            std::fs::create_dir_all(home.path(part)).unwrap();
            std::fs::copy(made.join(from), home.path(part).join(to)).unwrap();
        }
        home.write("llama/README.md", "---\nlicense: llama3\n---\n");
        home.write(
            "llama/generation_config.json",
            r#"{"eos_token_id": [257], "do_sample": true, "temperature": 0.6, "top_p": 0.9}"#,
        );
        home.write("conch/config.json", r#"{"vision_cfg": {"num_heads": 2}}"#);
        home.write("uni/config.json", r#"{"model_args": {"num_heads": 2}}"#);
        let projector = safetensors::load(made.join("projector.safetensors"), &Device::Cpu).unwrap();
        home.save("mm_projector.bin", "model.mm_projector.", &projector);
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Saves tensors, with something before their names.
    fn save(&self, name: &str, prefix: &str, tensors: &HashMap<String, Tensor>) {
        let renamed: HashMap<String, Tensor> =
            tensors.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone())).collect();
        safetensors::save(&renamed, self.path(name)).unwrap();
    }

    fn parts(&self) -> Parts {
        Parts {
            name: "mine".to_owned(),
            language: self.path("llama"),
            vision: None,
            conch: Some(self.path("conch")),
            uni: Some(self.path("uni/model.safetensors")),
            projector: Some(self.path("mm_projector.bin")),
            adapters: Vec::new(),
            grid: GridRule::Pooled,
            tokenizer: None,
            licence: None,
            copy: false,
        }
    }

    /// An adapter's folder, of these layers.
    fn adapter(&self, name: &str, value: f32, layers: &[&str]) -> PathBuf {
        let folder = self.path(name);
        std::fs::create_dir_all(&folder).unwrap();
        let config =
            serde_json::json!({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": layers});
        std::fs::write(folder.join("adapter_config.json"), config.to_string()).unwrap();
        let mut tensors = HashMap::new();
        for layer in 0..2 {
            for linear in layers {
                let out = if *linear == "v_proj" { 16 } else { 32 };
                let at = format!("base_model.model.model.layers.{layer}.self_attn.{linear}");
                let of = |shape: (usize, usize)| Tensor::full(value, shape, &Device::Cpu).unwrap();
                tensors.insert(format!("{at}.lora_A.weight"), of((2, 32)));
                tensors.insert(format!("{at}.lora_B.weight"), of((out, 2)));
            }
        }
        safetensors::save(&tensors, folder.join("adapter_model.safetensors")).unwrap();
        folder
    }
}

fn load(folder: &Path) -> ReinPath {
    ReinPath::load(&Package::open(folder).unwrap(), &Device::Cpu, &mut |_, _| true).unwrap()
}

/// Hidden states of something, to the last bit.
fn hidden(model: &ReinPath) -> Vec<f32> {
    let x = Tensor::ones((1, 3, 32), DType::F32, &Device::Cpu).unwrap();
    let y = model.llama.forward(&x, &Positions::after(0, 1, 3), None).unwrap();
    y.flatten_all().unwrap().to_vec1().unwrap()
}

fn embeddings(model: &ReinPath) -> Vec<f32> {
    let patch = Patch::new(32, 32, Some(0.5), (0..32 * 32 * 3).map(|i| (i % 251) as u8).collect()).unwrap();
    let features = model.features(&[patch]).unwrap();
    model.embeddings(&features).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn published_files_become_a_package_that_computes_the_same() {
    let home = Home::new();
    let to = home.path("packages/mine");
    let (package, size) = add(&home.parts(), &to).unwrap();
    let model = load(&to);
    assert_eq!(size, model.size);
    let whole = load(&home.path("fixture"));
    assert_eq!(hidden(&model), hidden(&whole));
    let manifest = &package.manifest;
    // All but what the files do not tell and the fixture has otherwise: how pixels are prepared.
    for (own, fixture) in manifest.encoders.iter().zip(&whole.manifest().encoders) {
        let shape = |e: &reinpath_model::package::EncoderSpec| {
            (e.kind, e.image_size, e.patch_size, e.width, e.layers, e.heads, e.mlp_width, e.layer_scale)
        };
        assert_eq!(shape(own), shape(fixture));
    }
    assert_eq!(manifest.projector.prefix, "model.mm_projector.");
    assert_eq!(manifest.projector.weights, "projector/mm_projector.bin");
    assert_eq!(
        manifest.licence,
        "language: llama3; conch: not stated; uni: not stated; projector: not stated"
    );
    assert!(manifest.provenance.contains("language from llama"), "{}", manifest.provenance);
    assert_eq!((manifest.generation.temperature, manifest.generation.top_p), (0.6, 0.9));
    assert_eq!(manifest.generation.stop, ["<|end_of_text|>", "<|eot_id|>"]);
    assert_eq!(manifest.language.precision, "f32");
    assert_eq!(manifest.files.len(), 6);
    assert!(manifest.files.values().all(|record| record.sha256.len() == 64));
    assert!(embeddings(&model).iter().all(|v| v.is_finite()));
    let mut copied = home.parts();
    copied.copy = true;
    copied.licence = Some("mine alone".to_owned());
    let (copied, _) = add(&copied, &home.path("packages/copied")).unwrap();
    assert_eq!(copied.manifest.licence, "mine alone");
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let links =
            |package: &Package| package.file("language/model.safetensors").metadata().unwrap().nlink();
        assert_eq!((links(&package), links(&copied)), (2, 1));
    }
    let again = add(&home.parts(), &to).unwrap_err().to_string();
    assert!(again.contains("already") && again.ends_with("mine"), "{again}");
}

#[test]
fn ctrl_c_leaves_nothing_and_neither_does_a_process_that_was_killed() {
    let home = Home::new();
    let (folder, to) = (home.path("packages"), home.path("packages/mine"));
    // As a process leaves it that had no time to tidy up.
    let left = folder.join(".mine.1.part/language");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("model.safetensors"), "half").unwrap();
    for copy in [false, true] {
        let parts = Parts { copy, ..home.parts() };
        let stopped = add_unless(&parts, &to, &Arc::new(AtomicBool::new(true)));
        assert!(matches!(stopped, Err(Error::Cancelled)), "{:?}", stopped.err());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    }
    add(&home.parts(), &to).unwrap();
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
}

/// A Llama whose sizes suit blocks of 32.
fn round_config(vocab_size: usize) -> LlamaConfig {
    let config = serde_json::json!({
        "hidden_size": 32, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": vocab_size, "rms_norm_eps": 1e-5, "max_position_embeddings": 64
    });
    serde_json::from_value(config).unwrap()
}

#[test]
fn a_gguf_file_becomes_a_package_with_a_tokenizer_that_is_named() {
    let home = Home::new();
    let config = round_config(261);
    let map = VarMap::new();
    Llama::load(&VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu), &config).unwrap();
    map.save(home.path("whole.safetensors")).unwrap();
    let whole = Weights::open(&[home.path("whole.safetensors")]).unwrap();
    let file = home.path("tiny.gguf");
    quantise(&whole, &config, Recipe::Q8_0, &file, &mut |_| true).unwrap();
    let without = add(&Parts { language: file.clone(), ..home.parts() }, &home.path("none")).unwrap_err();
    assert!(without.to_string().contains("no tokenizer"), "{without}");
    let tokenizer = Some(home.path("llama/tokenizer.json"));
    let to = home.path("quantised");
    let (package, size) = add(&Parts { language: file, tokenizer, ..home.parts() }, &to).unwrap();
    let language = &package.manifest.language;
    assert_eq!((language.config.as_str(), language.precision.as_str()), ("language/tiny.gguf", "q8_0"));
    let model = load(&to);
    assert_eq!(model.size, size);
    let (full, _) = whole.build(&Device::Cpu, |vb| Llama::load(&vb, &config)).unwrap();
    let x = Tensor::ones((1, 3, 32), DType::F32, &Device::Cpu).unwrap();
    let want = full.forward(&x, &Positions::after(0, 1, 3), None).unwrap();
    let want: Vec<f32> = want.flatten_all().unwrap().to_vec1().unwrap();
    let off = hidden(&model).iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(off > 0.0 && off < 0.1, "{off}");
}

#[test]
fn metas_folder_becomes_a_package_with_its_own_tokenizer() {
    let home = Home::new();
    let folder = home.path("meta");
    std::fs::create_dir(&folder).unwrap();
    let bytes = (0..=u8::MAX).map(|byte| format!("{} {byte}\n", base64::encode([byte])));
    std::fs::write(folder.join("tokenizer.model"), bytes.collect::<String>()).unwrap();
    let params = serde_json::json!({
        "dim": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "vocab_size": 512, "multiple_of": 96,
        "norm_eps": 1e-5, "rope_theta": 500_000.0, "use_scaled_rope": true
    });
    std::fs::write(folder.join("params.json"), params.to_string()).unwrap();
    let mut shapes = vec![("tok_embeddings".to_owned(), vec![512, 32]), ("norm".to_owned(), vec![32])];
    for layer in 0..2 {
        for (part, shape) in [
            ("attention_norm", vec![32]),
            ("attention.wq", vec![32, 32]),
            ("attention.wk", vec![16, 32]),
            ("attention.wv", vec![16, 32]),
            ("attention.wo", vec![32, 32]),
            ("ffn_norm", vec![32]),
            ("feed_forward.w1", vec![96, 32]),
            ("feed_forward.w2", vec![32, 96]),
            ("feed_forward.w3", vec![96, 32]),
        ] {
            shapes.push((format!("layers.{layer}.{part}"), shape));
        }
    }
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let values = Tensor::rand(-0.5f32, 0.5, shape, &Device::Cpu).unwrap();
        (format!("{name}.weight"), values.to_dtype(DType::BF16).unwrap())
    };
    let tensors: HashMap<String, Tensor> = shapes.into_iter().map(tensor).collect();
    safetensors::save(&tensors, folder.join("consolidated.00.pth")).unwrap();
    let to = home.path("from-meta");
    let (package, size) = add(&Parts { language: folder, ..home.parts() }, &to).unwrap();
    let (language, generation) = (&package.manifest.language, &package.manifest.generation);
    assert_eq!(language.weights, ["language/consolidated.00.pth"]);
    assert_eq!((language.config.as_str(), language.precision.as_str()), ("language/params.json", "bf16"));
    assert_eq!(language.tokenizer, "language/tokenizer.model");
    assert_eq!(generation.stop, ["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"]);
    let model = load(&to);
    assert_eq!(model.size, size);
    assert!(model.llama.config.tie_word_embeddings, "there is no head in the file");
    assert_eq!(model.llama.config.rope_scaling.as_ref().unwrap().factor, 32.0);
    assert!(hidden(&model).iter().all(|v| v.is_finite()));
}

#[test]
fn encoders_share_the_grid_that_the_rule_says() {
    let home = Home::new();
    // An encoder of twice as many cells a side, as CONCH's is to UNI's.
    let conch = safetensors::load(home.path("conch/pytorch_model.bin"), &Device::Cpu).unwrap();
    let mut finer = conch.clone();
    finer.insert("pos_embed".to_owned(), Tensor::ones((1, 65, 8), DType::F32, &Device::Cpu).unwrap());
    home.save("conch/pytorch_model.bin", "visual.trunk.", &finer);
    for (rule, sizes, tokens) in [
        (GridRule::UniAtConch, [(32, 32), (32, 16)], 64),
        (GridRule::ConchAtUni, [(16, 32), (16, 16)], 16),
        (GridRule::Pooled, [(32, 32), (32, 16)], 16),
    ] {
        let to = home.path(&format!("{rule:?}"));
        let (package, _) = add(&Parts { grid: rule, ..home.parts() }, &to).unwrap();
        let m = &package.manifest;
        let found: Vec<_> = m.encoders.iter().map(|e| (e.image_size, e.trained_size())).collect();
        assert_eq!((found.as_slice(), m.image_tokens()), (&sizes[..], tokens), "{rule:?}");
        assert_eq!((m.encoders[0].prefix.as_str(), m.patch.size_px), ("visual.trunk.", 32));
        assert_eq!(embeddings(&load(&to)).len(), tokens * 32);
    }
}

#[test]
fn without_a_projector_a_new_one_is_made_and_told() {
    let home = Home::new();
    let parts = Parts { projector: None, ..home.parts() };
    let (package, _) = add(&parts, &home.path("new")).unwrap();
    assert!(package.manifest.description.contains("train it"));
    assert!(package.manifest.provenance.contains("a new projector"));
    let values = embeddings(&load(&home.path("new")));
    assert!(values.iter().any(|v| *v != values[0]));
    add(&parts, &home.path("again")).unwrap();
    let bytes = |name: &str| std::fs::read(home.path(name).join("projector/projector.safetensors")).unwrap();
    assert!(bytes("new") == bytes("again"), "the same seed gives the same projector");
}

#[test]
fn what_does_not_fit_is_told_in_the_users_words_and_leaves_nothing_behind() {
    type Change<'a> = &'a dyn Fn(&Home, &mut Parts);
    let change_tensor = |home: &Home, file: &str, name: &str, to: Option<Tensor>| {
        let mut tensors = safetensors::load(home.path(file), &Device::Cpu).unwrap();
        tensors.remove(name).unwrap();
        tensors.extend(to.map(|tensor| (name.to_owned(), tensor)));
        home.save(file, "", &tensors);
    };
    let zeros = |shape: &[usize]| Some(Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap());
    let nan = Tensor::full(f32::NAN, 12, &Device::Cpu).unwrap();
    let faults: [(Change<'_>, &str, &str); 14] = [
        (
            &|home, _| {
                change_tensor(home, "llama/model.safetensors", "model.layers.1.mlp.up_proj.weight", None);
            },
            "model.layers.1.mlp.up_proj.weight",
            "llama/model.safetensors",
        ),
        (
            &|home, _| {
                change_tensor(home, "uni/model.safetensors", "blocks.0.mlp.fc2.weight", zeros(&[12, 15]));
            },
            "blocks.0.mlp.fc2.weight should have shape [12, 16]",
            "uni/model.safetensors",
        ),
        (
            &|home, _| change_tensor(home, "uni/model.safetensors", "blocks.0.ls1.gamma", Some(nan.clone())),
            "blocks.0.ls1.gamma holds values that are no finite numbers",
            "uni/model.safetensors",
        ),
        (
            &|home, _| change_tensor(home, "conch/pytorch_model.bin", "pos_embed", zeros(&[1, 16, 8])),
            "pos_embed of shape [1, 16, 8]",
            "conch/pytorch_model.bin",
        ),
        (
            &|home, _| change_tensor(home, "mm_projector.bin", "model.mm_projector.2.weight", None),
            "two layers",
            "mm_projector.bin",
        ),
        (
            &|home, _| {
                let path = home.path("llama/model.safetensors");
                let bytes = std::fs::read(&path).unwrap();
                std::fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
            },
            "safetensors",
            "llama/model.safetensors",
        ),
        (
            &|home, _| {
                byte_tokenizer(&["more"]).unwrap().save(home.path("llama/tokenizer.json"), false).unwrap();
            },
            "a token 261",
            "llama/tokenizer.json",
        ),
        (
            &|home, _| {
                home.write("llama/model.safetensors.index.json", r#"{"weight_map": {"a": "../fixture/x"}}"#);
            },
            "no file beside it",
            "index.json",
        ),
        (&|home, _| std::fs::remove_file(home.path("llama/config.json")).unwrap(), "config.json", "llama"),
        (
            &|home, _| home.write("llama/config.json", r#"{"model_type": "llava", "text_config": {}}"#),
            "this is a model of the kind 'llava', not a Llama and not a Qwen2.5-VL",
            "llama/config.json",
        ),
        (
            &|_, parts| parts.vision = Some("mmproj.gguf".into()),
            "--vision is for a Qwen2.5-VL",
            "mmproj.gguf",
        ),
        (&|_, parts| parts.uni = Some("nowhere".into()), "no such file", "nowhere"),
        (
            &|home, parts| {
                let folder = home.adapter("sft", 0.1, &["q_proj"]);
                std::fs::write(folder.join("adapter_config.json"), r#"{"peft_type": "IA3"}"#).unwrap();
                parts.adapters = vec![folder];
            },
            "plain LoRA",
            "sft/adapter_config.json",
        ),
        (
            &|home, parts| {
                let folder = home.adapter("sft", 0.1, &["q_proj"]);
                let config = r#"{"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "o_proj"]}"#;
                std::fs::write(folder.join("adapter_config.json"), config).unwrap();
                parts.adapters = vec![folder];
            },
            "o_proj.lora_A.weight",
            "sft/adapter_model.safetensors",
        ),
    ];
    for (change, reason, file) in faults {
        let home = Home::new();
        let mut parts = home.parts();
        change(&home, &mut parts);
        check_refusal(&home, &parts, reason, file);
    }
}

/// Nothing is added and nothing left; one sentence gives the reason, and the file at its end.
fn check_refusal(home: &Home, parts: &Parts, reason: &str, file: &str) {
    std::fs::create_dir(home.path("packages")).unwrap();
    let error = add(parts, &home.path("packages/mine")).unwrap_err().to_string();
    assert!(error.contains(reason) && error.ends_with(file), "{reason}: {error}");
    assert!(error.lines().count() == 1 && !error.contains(".part"), "{error}");
    let left: Vec<_> = std::fs::read_dir(home.path("packages")).unwrap().collect();
    assert!(left.is_empty(), "{reason}: {left:?}");
}

#[test]
fn a_model_without_an_encoder_is_refused() {
    let home = Home::new();
    let none = add(&Parts { conch: None, uni: None, ..home.parts() }, &home.path("mine")).unwrap_err();
    assert!(none.to_string().contains("at least one encoder"), "{none}");
}

#[test]
fn of_several_adapters_one_is_active_and_switching_needs_no_loading() {
    let home = Home::new();
    let adapters =
        vec![home.adapter("sft", 0.1, &["q_proj", "v_proj"]), home.adapter("rl", -0.2, &["o_proj"])];
    add(&home.parts(), &home.path("plain")).unwrap();
    let merged = |place: usize| Parts { adapters: vec![adapters[place].clone()], ..home.parts() };
    add(&merged(0), &home.path("one")).unwrap();
    add(&Parts { adapters: adapters.clone(), ..home.parts() }, &home.path("both")).unwrap();

    let plain = hidden(&load(&home.path("plain")));
    let mut model = load(&home.path("both"));
    assert_eq!(model.adapter(), Some("sft"));
    let sft = hidden(&model);
    model.activate(None).unwrap();
    assert_eq!((hidden(&model), model.adapter()), (plain.clone(), None));
    model.activate(Some("rl")).unwrap();
    let rl = hidden(&model);
    model.activate(Some("sft")).unwrap();
    assert_eq!(hidden(&model), sft);
    assert!(sft != plain && rl != plain && rl != sft);
    let unknown = model.activate(Some("dpo")).unwrap_err().to_string();
    assert!(unknown.contains("'dpo'") && unknown.contains("sft, rl"), "{unknown}");
    assert_eq!(hidden(&model), sft, "a name that is not known changes nothing");

    // A single one is part of the weights: the same sums, in another order.
    let one = load(&home.path("one"));
    assert_eq!(one.adapter(), None);
    let largest = |values: &[f32]| values.iter().fold(0f32, |most, v| most.max(v.abs()));
    let off: Vec<f32> = hidden(&one).iter().zip(&sft).map(|(a, b)| a - b).collect();
    let change: Vec<f32> = sft.iter().zip(&plain).map(|(a, b)| a - b).collect();
    assert!(largest(&off) < 1e-4 * largest(&change), "{} of {}", largest(&off), largest(&change));
}

#[test]
fn an_adapter_brings_the_terms_of_the_model_that_it_was_trained_on() {
    let home = Home::new();
    let folder = home.adapter("mine", 0.1, &["q_proj"]);
    let parts = Parts { adapters: vec![folder.clone()], copy: true, ..home.parts() };
    let free = add(&parts, &home.path("free")).unwrap().0;
    assert!(free.manifest.terms.is_none() && free.may_train().is_ok());

    let path = folder.join("adapter_config.json");
    let mut config: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    config["base_model_name_or_path"] = "WenchuanZhang/Patho-R1-7B".into();
    std::fs::write(&path, config.to_string()).unwrap();
    let bound = add(&parts, &home.path("bound")).unwrap().0;
    let known = Known::named("Patho-R1-7B").unwrap();
    assert_eq!(bound.manifest.terms, Some(known.terms()));
    let refused = bound.may_train().unwrap_err().to_string();
    assert!(refused.contains(known.refuses_training.unwrap()), "{refused}");
}
