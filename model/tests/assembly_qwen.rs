//! Packages of a Qwen2.5-VL: its folder as it is downloaded, in both layouts, its GGUF with a vision file, and what is
//! refused.

#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use candle_core::quantized::gguf_file::{self, Content, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor, safetensors};
use reinpath_model::answer::Question;
use reinpath_model::assembly::{Parts, add, has_own_eyes};
use reinpath_model::check::check;
use reinpath_model::convert::quantised_package;
use reinpath_model::event::Finished;
use reinpath_model::fixture::{CHATML, Keys, Speech, write_folder};
use reinpath_model::images::Seen;
use reinpath_model::llama::LlamaConfig;
use reinpath_model::package::{
    AnswerForm, Architecture, ChatTemplate, GridRule, Instructions, Known, OptionMark, Package, STAGED, THINK,
};
use reinpath_model::patch::Patch;
use reinpath_model::reinpath::ReinPath;
use reinpath_model::request::Sampling;
use reinpath_model::weights::Weights;
use reinpath_model::weights::quantise::{Recipe, quantise};

const SHARDS: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];

/// A user's folders.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A model's folder as it is downloaded.
    fn downloaded(&self, name: &str, keys: Keys) -> PathBuf {
        let folder = self.path(name);
        std::fs::create_dir_all(&folder).unwrap();
        write_folder(&folder, Speech::Babble(7), keys).unwrap();
        folder
    }

    /// Puts a package together from a language model alone.
    fn add(&self, name: &str, language: &Path) -> Package {
        add(&parts(language), &self.path(name)).unwrap().0
    }
}

fn parts(language: &Path) -> Parts {
    Parts {
        name: "mine".to_owned(),
        language: language.to_owned(),
        vision: None,
        conch: None,
        uni: None,
        projector: None,
        adapters: Vec::new(),
        grid: GridRule::UniAtConch,
        tokenizer: None,
        licence: None,
        copy: false,
    }
}

fn load(package: &Package) -> ReinPath {
    ReinPath::load(package, &Device::Cpu, &mut |_, _| true).unwrap()
}

fn patch(width: u32, height: u32) -> Patch {
    let rgb = (0..width * height * 3).map(|i| (i * 7 % 251) as u8).collect();
    Patch::new(width, height, Some(0.5), rgb).unwrap()
}

/// What a model says to a question about two patches of different sizes.
fn answer(model: &ReinPath) -> Finished {
    let patches = vec![patch(90, 60), patch(56, 84)];
    let question = Question { patches, question: "What is seen?".to_owned(), ..Question::default() };
    let prepared = model.prepare(&question).unwrap();
    let sampling = Sampling { max_tokens: 12, ..Sampling::default() };
    model.answer(&question, &prepared, &sampling, &AtomicBool::new(false), &mut |_| {}).unwrap()
}

#[test]
fn a_downloaded_folder_answers_whichever_way_its_files_are_laid_out() {
    let home = Home::new();
    let older = home.downloaded("older", Keys::Older);
    let newer = home.downloaded("newer", Keys::Newer);
    assert!(has_own_eyes(&older) && has_own_eyes(&newer) && !has_own_eyes(home.0.path()));
    let older = home.add("packages/older", &older);
    let newer = home.add("packages/newer", &newer);

    let m = &older.manifest;
    assert_eq!((m.architecture, m.encoders.len()), (Architecture::Qwen25Vl, 0));
    assert_eq!((m.patch.size_px, m.patch.mpp, m.image_tokens()), (672, 0.5, 576));
    let shards = SHARDS.map(|name| format!("language/{name}"));
    assert_eq!(m.language.weights, shards);
    assert_eq!((m.language.config.as_str(), m.language.precision.as_str()), ("language/config.json", "bf16"));
    assert_eq!(m.language.chat_template, ChatTemplate::File);
    let template = older.file(m.language.template.as_ref().unwrap());
    assert_eq!(std::fs::read_to_string(template).unwrap(), CHATML);
    let vision = m.vision.as_ref().unwrap();
    // The tower lies in the first shard alone.
    assert_eq!((&vision.weights[..], vision.precision.as_str()), (&shards[..1], "bf16"));
    assert_eq!((vision.min_pixels, vision.max_pixels, vision.layers), (784, 802_816, 2));
    assert_eq!(m.generation.stop, ["<|endoftext|>", "<|im_end|>"]);
    assert_eq!(
        (m.generation.top_k, m.generation.repetition_penalty, m.generation.max_tokens),
        (1, 1.05, 512)
    );
    let staged = Instructions { system: STAGED.to_owned(), ..Instructions::default() };
    assert_eq!((&m.instructions, &m.terms), (&staged, &None));
    assert_eq!(m.licence, "model: not stated");
    // Shards, configuration, tokenizer and template, each once.
    assert_eq!((m.files.len(), older.files().count()), (5, 5));

    let (model, other) = (load(&older), load(&newer));
    assert_eq!(check(&older).unwrap(), model.size);
    assert_eq!(older.memory().unwrap().weights, model.size.memory);
    assert_eq!(newer.manifest.vision.as_ref().unwrap(), vision);
    let said = answer(&model);
    assert_eq!((said.tokens, said.raw.is_empty()), (12, false));
    assert_eq!(answer(&other).raw, said.raw);
}

#[test]
fn what_a_licence_allows_goes_with_every_package_made_from_it() {
    let home = Home::new();
    let folder = home.downloaded("downloaded", Keys::Older);
    let card = "---\nlicense: cc-by-nc-nd-4.0\nbase_model: Qwen/Qwen2.5-VL-3B-Instruct\n---\n# Patho-R1-3B\n";
    std::fs::write(folder.join("README.md"), card).unwrap();
    let package = home.add("patho", &folder);
    let known = Known::named("Patho-R1-3B").unwrap();
    let m = &package.manifest;
    assert_eq!(m.terms, Some(known.terms()));
    assert_eq!(m.licence, "model: cc-by-nc-nd-4.0");
    assert_eq!(m.generation.max_tokens, 2048);
    assert_eq!(
        m.instructions,
        Instructions { system: THINK.to_owned(), form: AnswerForm::Think, options: OptionMark::Stop }
    );
    let to = home.path("small");
    quantised_package(&package, Recipe::Q8_0, &to, &mut |_| true).unwrap();
    let small = Package::open(&to).unwrap();
    let own = |package: &Package| {
        let m = &package.manifest;
        (m.terms.clone(), m.licence.clone(), m.instructions.clone(), m.generation.clone())
    };
    assert_eq!(own(&small), own(&package));
    for package in [&package, &small] {
        let refused = package.may_train().unwrap_err().to_string();
        assert!(refused.contains(known.refuses_training.unwrap()), "{refused}");
    }
    assert_eq!(check(&small).unwrap(), load(&small).size);

    // A model whose card says nothing has the licence that is known of it.
    std::fs::write(folder.join("README.md"), "# Qwen2.5-VL-7B-Instruct\n").unwrap();
    let package = home.add("qwen", &folder);
    assert_eq!(package.manifest.licence, "model: Apache-2.0");
    let refused = package.may_train().unwrap_err().to_string();
    assert!(refused.contains("not trained") && refused.ends_with("qwen"), "{refused}");
}

/// The decoder of a downloaded folder, quantised, with the chat template as others publish it.
fn decoder_file(folder: &Path, name: &str, to: &Path) {
    let config: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("config.json")).unwrap()).unwrap();
    let config = LlamaConfig::of_qwen(&config).unwrap();
    let weights = Weights::open(&SHARDS.map(|name| folder.join(name))).unwrap();
    let plain = to.with_extension("plain");
    quantise(&weights, &config, Recipe::Q8_0, &plain, &mut |_| true).unwrap();
    let mut file = File::open(&plain).unwrap();
    let content = Content::read(&mut file).unwrap();
    let names: Vec<String> = content.tensor_infos.keys().cloned().collect();
    let tensors: BTreeMap<String, QTensor> = names
        .into_iter()
        .map(|name| (name.clone(), content.tensor(&mut file, &name, &Device::Cpu).unwrap()))
        .collect();
    let mut metadata: BTreeMap<String, Value> = content.metadata.into_iter().collect();
    metadata.insert("tokenizer.chat_template".to_owned(), Value::String(CHATML.to_owned()));
    metadata.insert("general.name".to_owned(), Value::String(name.to_owned()));
    write_gguf(to, &metadata, &tensors);
    std::fs::remove_file(plain).unwrap();
}

fn write_gguf(to: &Path, metadata: &BTreeMap<String, Value>, tensors: &BTreeMap<String, QTensor>) {
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, value)| (name.as_str(), value)).collect();
    gguf_file::write(&mut File::create(to).unwrap(), &metadata, &tensors).unwrap();
}

/// The tower of a downloaded folder, as llama.cpp's converter writes it.
fn vision_file(folder: &Path, projector: &str, to: &Path) {
    let stored: HashMap<String, Tensor> = safetensors::load(folder.join(SHARDS[0]), &Device::Cpu).unwrap();
    let mut tensors = BTreeMap::new();
    let mut put = |name: String, tensor: &Tensor| {
        // candle quantises all that a tensor is a part of.
        let tensor = tensor.force_contiguous().unwrap();
        tensors.insert(name, QTensor::quantize(&tensor, GgmlDType::F32).unwrap());
    };
    let sorted: BTreeMap<&String, &Tensor> = stored.iter().collect();
    for (name, tensor) in sorted {
        let Some(name) = name.strip_prefix("visual.") else { continue };
        let tensor = tensor.to_dtype(DType::F32).unwrap();
        if name == "patch_embed.proj.weight" {
            for (frame, end) in ["", ".1"].into_iter().enumerate() {
                let frame = tensor.narrow(2, frame, 1).and_then(|frame| frame.squeeze(2)).unwrap();
                put(format!("v.patch_embd.weight{end}"), &frame);
            }
        } else if let Some(rest) = name.strip_prefix("merger.mlp.") {
            put(format!("mm.{rest}"), &tensor);
        } else if let Some((layer, kind)) =
            name.strip_prefix("blocks.").and_then(|rest| rest.split_once(".attn.qkv."))
        {
            for (part, rows) in ["q", "k", "v"].into_iter().zip(tensor.chunk(3, 0).unwrap()) {
                put(format!("v.blk.{layer}.attn_{part}.{kind}"), &rows);
            }
        } else {
            let name = name.replace("blocks.", "v.blk.").replace("merger.ln_q", "v.post_ln");
            let name = name.replace("attn.proj", "attn_out").replace("mlp.", "ffn_").replace("_proj", "");
            put(name.replace("norm", "ln"), &tensor);
        }
    }
    let numbers = [
        ("block_count", 2),
        ("n_wa_pattern", 2),
        ("patch_size", 14),
        ("embedding_length", 16),
        ("attention.head_count", 2),
    ];
    let mut metadata: BTreeMap<String, Value> =
        numbers.map(|(key, number)| (format!("clip.vision.{key}"), Value::U32(number))).into();
    metadata.insert("general.file_type".to_owned(), Value::U32(0));
    for (key, text) in [("general.architecture", "clip"), ("clip.projector_type", projector)] {
        metadata.insert(key.to_owned(), Value::String(text.to_owned()));
    }
    write_gguf(to, &metadata, &tensors);
}

/// Image tokens of a patch.
fn image(package: &Package) -> Vec<f32> {
    let Seen::Merged(images) = load(package).look(&[patch(90, 60)], None, &mut || true).unwrap() else {
        panic!("it has no tower")
    };
    images.embeddings[0].flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn a_gguf_file_sees_with_the_file_beside_it_or_with_the_one_that_is_named() {
    let home = Home::new();
    let folder = home.downloaded("downloaded", Keys::Older);
    let ggufs = home.path("ggufs");
    std::fs::create_dir(&ggufs).unwrap();
    let decoder = ggufs.join("model-Q8_0.gguf");
    decoder_file(&folder, "Patho R1 3B", &decoder);
    let tokenizer = Some(folder.join("tokenizer.json"));
    let mine = Parts { tokenizer: tokenizer.clone(), ..parts(&decoder) };
    let refused = |parts: &Parts| add(parts, &home.path("refused")).unwrap_err().to_string();
    let blind = refused(&mine);
    assert!(
        blind.starts_with("this model sees with a second file (mmproj); put it beside or name"),
        "{blind}"
    );
    assert!(blind.ends_with("model-Q8_0.gguf"), "{blind}");

    let beside = ggufs.join("anything-F32.gguf");
    vision_file(&folder, "qwen2.5vl_merger", &beside);
    // The folder has one language model, and the file beside it is none.
    for (name, language) in [("file", &decoder), ("folder", &ggufs)] {
        let parts = Parts { language: language.clone(), ..mine.clone() };
        let (package, size) = add(&parts, &home.path(name)).unwrap();
        let m = &package.manifest;
        assert_eq!(m.vision.as_ref().unwrap().weights, ["vision/anything-F32.gguf"]);
        assert_eq!(
            (m.language.config.as_str(), m.language.precision.as_str()),
            ("language/model-Q8_0.gguf", "q8_0")
        );
        assert_eq!(m.terms, Some(Known::named("Patho-R1-3B").unwrap().terms()), "by its own name");
        let model = load(&package);
        assert_eq!(model.size, size);
        assert_eq!(answer(&model).tokens, 12);
    }
    let whole = home.add("whole", &folder);
    let (own, others) = (image(&Package::open(&home.path("file")).unwrap()), image(&whole));
    let off = own.iter().zip(&others).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(own.len() == others.len() && off < 1e-5, "{off}");

    let elsewhere = home.path("elsewhere.gguf");
    vision_file(&folder, "qwen2vl_merger", &elsewhere);
    let other = refused(&Parts { vision: Some(elsewhere.clone()), ..mine.clone() });
    assert!(other.contains("'qwen2vl_merger'") && other.ends_with("elsewhere.gguf"), "{other}");
    vision_file(&folder, "qwen2.5vl_merger", &elsewhere);
    std::fs::copy(&elsewhere, ggufs.join("another.gguf")).unwrap();
    let several = refused(&mine);
    assert!(several.contains("several vision files"), "{several}");
    let named = Parts { vision: Some(elsewhere), ..mine };
    let (package, _) = add(&named, &home.path("named")).unwrap();
    assert_eq!(package.manifest.vision.unwrap().weights, ["vision/elsewhere.gguf"]);
    // A tower brings its terms, and no way to answer.
    let plain = home.path("plain.gguf");
    decoder_file(&folder, "Qwen2.5 VL 3B Instruct", &plain);
    let tower = home.path("mmproj-Patho-R1-3B.gguf");
    vision_file(&folder, "qwen2.5vl_merger", &tower);
    let mixed = Parts { vision: Some(tower), tokenizer: named.tokenizer, ..parts(&plain) };
    let (package, _) = add(&mixed, &home.path("mixed")).unwrap();
    assert_eq!(package.manifest.terms, Some(Known::named("Patho-R1-3B").unwrap().terms()));
    assert_eq!(package.manifest.instructions.form, AnswerForm::Staged);
    let needless = Parts { vision: named.vision, ..parts(&folder) };
    assert!(refused(&needless).contains("--vision is for GGUF files"));
}

/// What happens to a downloaded folder, and to what a package is made of.
type Change<'a> = &'a dyn Fn(&Path, &mut Parts);
type Edit<'a> = &'a dyn Fn(&mut serde_json::Value);

/// Changes a JSON file.
fn edit(path: &Path, change: Edit<'_>) {
    let mut value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

fn config(folder: &Path, change: Edit<'_>) {
    edit(&folder.join("config.json"), change);
}

fn processor(folder: &Path, change: Edit<'_>) {
    edit(&folder.join("preprocessor_config.json"), change);
}

/// Takes the tensors below a prefix out of the first shard.
fn remove(folder: &Path, prefix: &str) {
    let path = folder.join(SHARDS[0]);
    let mut tensors = safetensors::load(&path, &Device::Cpu).unwrap();
    tensors.retain(|name, _| !name.starts_with(prefix));
    safetensors::save(&tensors, &path).unwrap();
}

/// Each fault is told in one sentence with the file at its end, and leaves nothing behind.
fn are_refused(faults: &[(Change<'_>, &str, &str)]) {
    for (change, reason, end) in faults {
        let home = Home::new();
        let folder = home.downloaded("model", Keys::Older);
        let mut parts = parts(&folder);
        change(&folder, &mut parts);
        std::fs::create_dir(home.path("packages")).unwrap();
        let error = add(&parts, &home.path("packages/mine")).unwrap_err().to_string();
        assert!(error.contains(reason) && error.ends_with(end), "{reason}: {error}");
        assert!(error.lines().count() == 1 && !error.contains(".part"), "{error}");
        assert_eq!(std::fs::read_dir(home.path("packages")).unwrap().count(), 0, "{reason}");
    }
}

#[test]
fn files_that_are_missing_or_another_familys_are_refused() {
    are_refused(&[
        (
            &|folder, _| std::fs::remove_file(folder.join("config.json")).unwrap(),
            "there is no config.json",
            "model",
        ),
        (
            &|folder, _| config(folder, &|value| value["model_type"] = "qwen2_vl".into()),
            "this is a model of the kind 'qwen2_vl', not a Llama and not a Qwen2.5-VL",
            "config.json",
        ),
        (
            &|folder, _| std::fs::remove_file(folder.join(SHARDS[1])).unwrap(),
            "it names model-00002-of-00002.safetensors, which is not there",
            "model.safetensors.index.json",
        ),
        (
            &|folder, _| config(folder, &|value| value["use_sliding_window"] = true.into()),
            "sliding window",
            "config.json",
        ),
        (
            &|folder, _| config(folder, &|value| value["vision_config"] = serde_json::Value::Null),
            "its vision_config is not as expected",
            "config.json",
        ),
        (
            &|folder, _| {
                config(folder, &|value| value["vision_config"]["hidden_size"] = serde_json::Value::Null);
            },
            "hidden_size is missing",
            "config.json",
        ),
        (
            &|folder, _| config(folder, &|value| value["vision_config"]["num_heads"] = 3.into()),
            "heads must divide width",
            "config.json",
        ),
        (
            &|folder, _| config(folder, &|value| value["vision_config"]["in_chans"] = 4.into()),
            "images of 4 channels",
            "config.json",
        ),
        (&|folder, _| remove(folder, "visual.blocks.1."), "blocks.1.", "model-00001-of-00002.safetensors"),
        (&|folder, _| remove(folder, "visual."), "there is no vision tower in the weights", "model"),
        (
            &|folder, parts| parts.uni = Some(folder.to_owned()),
            "--uni is for ReinPath models",
            "a Qwen2.5-VL has its own eyes",
        ),
    ]);
}

#[test]
fn image_processors_with_absurd_limits_and_templates_that_fail_are_refused() {
    let template =
        |folder: &Path, text: &str| std::fs::write(folder.join("chat_template.jinja"), text).unwrap();
    are_refused(&[
        (
            &|folder, _| processor(folder, &|value| value["max_pixels"] = 1_000_000_000_000u64.into()),
            "1000000000000 pixels are more than",
            "preprocessor_config.json",
        ),
        (
            &|folder, _| processor(folder, &|value| value["max_pixels"] = 700.into()),
            "784, is more than the most, 700",
            "preprocessor_config.json",
        ),
        (
            &|folder, _| processor(folder, &|value| value["min_pixels"] = (-1).into()),
            "the file is not as expected",
            "preprocessor_config.json",
        ),
        (
            &|folder, _| processor(folder, &|value| value["patch_size"] = 16.into()),
            "its patch_size is 16, but that of the vision tower is 14",
            "preprocessor_config.json",
        ),
        (
            &|folder, _| processor(folder, &|value| value["image_std"][1] = 0.into()),
            "std must be positive",
            "preprocessor_config.json",
        ),
        (
            &|folder, _| processor(folder, &|value| value["do_normalize"] = false.into()),
            "without do_normalize",
            "preprocessor_config.json",
        ),
        (
            &|folder, _| template(folder, "{{ raise_exception('no images') }}"),
            "the chat template cannot be used: it fails, invalid operation: no images",
            "chat_template.jinja",
        ),
        (
            &|folder, _| {
                let text = "{{ m.content[-1].text }}";
                template(folder, &format!("{{% for m in messages %}}{text}{text}{{% endfor %}}"));
            },
            "does not give back what is said",
            "chat_template.jinja",
        ),
        (
            &|folder, _| template(folder, "{% for m in messages %}{{ m.content[-1].text }}{% endfor %}"),
            "it has 0 places for 1 images",
            "chat_template.jinja",
        ),
        (
            &|folder, _| std::fs::remove_file(folder.join("chat_template.json")).unwrap(),
            "there is no chat template here",
            "model",
        ),
    ]);
}
