//! The golden files (`tests/golden`, written by its `generate.py` from the reference implementations) against what this
//! program computes: values within 1e-4 of the largest, gradients within 1e-3.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var, safetensors};
use candle_nn::{VarBuilder, VarMap};
use reinpath_model::layers::LoraConfig;
use reinpath_model::llama::{KvCache, Llama, LlamaConfig, Positions};
use reinpath_model::package::{EncoderKind, EncoderSpec, ResizeFilter};
use reinpath_model::patch::Patch;
use reinpath_model::projector::{Projector, fuse};
use reinpath_model::sentence::SentenceEncoder;
use reinpath_model::vit::Vit;
use reinpath_tests::root;

pub(super) const CPU: Device = Device::Cpu;

pub(super) fn case(name: &str) -> PathBuf {
    root().join("tests/golden").join(name)
}

pub(super) fn tensors(name: &str, file: &str) -> HashMap<String, Tensor> {
    safetensors::load(case(name).join(file), &CPU).unwrap()
}

fn config(name: &str) -> LlamaConfig {
    serde_json::from_str(&std::fs::read_to_string(case(name).join("config.json")).unwrap()).unwrap()
}

/// Weights as variables, so that gradients can be asked for.
fn variables(tensors: &HashMap<String, Tensor>) -> VarMap {
    let map = VarMap::new();
    let vars = tensors.iter().map(|(name, tensor)| (name.clone(), Var::from_tensor(tensor).unwrap()));
    map.data().lock().unwrap().extend(vars);
    map
}

fn builder(map: &VarMap) -> VarBuilder<'static> {
    VarBuilder::from_varmap(map, DType::F32, &CPU)
}

fn in_bf16(tensors: HashMap<String, Tensor>) -> HashMap<String, Tensor> {
    tensors.into_iter().map(|(name, tensor)| (name, tensor.to_dtype(DType::BF16).unwrap())).collect()
}

/// Whether two tensors point the same way, whatever their precision.
fn same_direction(what: &str, got: &Tensor, want: &Tensor) {
    assert_eq!(got.dims(), want.dims(), "{what}");
    let values = |x: &Tensor| {
        let x = x.to_dtype(DType::F32).unwrap().flatten_all().unwrap();
        x.to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect::<Vec<_>>()
    };
    let (a, b) = (values(got), values(want));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let cosine = dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt();
    assert!(cosine > 0.999, "{what}: the cosine is {cosine}");
}

pub(super) fn largest(x: &Tensor) -> f32 {
    x.abs().unwrap().max_all().unwrap().to_scalar().unwrap()
}

pub(super) fn agree(what: &str, got: &Tensor, want: &Tensor, tolerance: f32) {
    assert_eq!(got.dims(), want.dims(), "{what}");
    let off = largest(&(got - want).unwrap()) / largest(want);
    assert!(off < tolerance, "{what} is off by {off}");
}

/// Every `grad.…` of the values against the gradient of the variable of that name.
fn gradients_agree(output: &Tensor, values: &HashMap<String, Tensor>, vars: &VarMap, n: usize) {
    let loss = (output * &values["weights"]).unwrap().sum_all().unwrap();
    let got = loss.backward().unwrap();
    let vars = vars.data().lock().unwrap();
    let mut compared = 0;
    for (name, want) in values.iter().collect::<BTreeMap<_, _>>() {
        let Some(name) = name.strip_prefix("grad.") else { continue };
        let gradient = got.get(&vars[name]).unwrap_or_else(|| panic!("{name} has no gradient"));
        agree(&format!("the gradient of {name}"), gradient, want, 1e-3);
        compared += 1;
    }
    assert_eq!(compared, n);
}

fn encoder(image_size: u32, trained_size: u32, width: usize, layer_scale: bool) -> EncoderSpec {
    EncoderSpec {
        kind: EncoderKind::Vit,
        weights: vec![],
        image_size,
        trained_size: Some(trained_size),
        resize: ResizeFilter::Bilinear,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        patch_size: 8,
        width,
        layers: 2,
        heads: 4,
        mlp_width: 4 * width,
        layer_scale,
        prefix: String::new(),
    }
}

#[test]
fn a_vit_agrees_with_timm_at_every_size() {
    let (values, vars) =
        (tensors("vit", "values.safetensors"), variables(&tensors("vit", "model.safetensors")));
    let vit = Vit::load(&builder(&vars), &encoder(48, 48, 32, true)).unwrap();
    for size in ["48x48", "96x96", "32x64"] {
        let got = vit.forward(&values[&format!("pixels_{size}")]).unwrap();
        agree(size, &got, &values[&format!("tokens_{size}")], 1e-4);
    }
    gradients_agree(&vit.forward(&values["pixels_96x96"]).unwrap(), &values, &vars, 5);
}

#[test]
fn in_bf16_everything_points_the_same_way() {
    let bf16 = |x: &Tensor| x.to_dtype(DType::BF16).unwrap();
    let load = |name: &str| variables(&in_bf16(tensors(name, "model.safetensors")));
    let vb = |vars: &VarMap| VarBuilder::from_varmap(vars, DType::BF16, &CPU);

    let (values, vars) = (tensors("vit", "values.safetensors"), load("vit"));
    let vit = Vit::load(&vb(&vars), &encoder(48, 48, 32, true)).unwrap();
    for size in ["48x48", "96x96"] {
        let got = vit.forward(&bf16(&values[&format!("pixels_{size}")])).unwrap();
        assert_eq!(got.dtype(), DType::BF16);
        same_direction(size, &got, &values[&format!("tokens_{size}")]);
    }
    for name in ["llama3", "llama3_1", "llama3_2"] {
        let (values, vars) = (tensors(name, "values.safetensors"), load(name));
        let llama = Llama::load(&vb(&vars), &config(name)).unwrap();
        assert_eq!(llama.dtype(), DType::BF16);
        let ids = ids(&values, "ids");
        let whole = logits(&llama, &ids, &Positions::after(0, 2, 12));
        same_direction(name, &whole, &values["logits"]);
        let far = logits(&llama, &ids, &Positions::after(5000, 2, 12));
        same_direction("far away", &far, &values["logits_at_5000"]);
    }
    let (values, vars) = (tensors("chain", "values.safetensors"), load("chain"));
    let projector = Projector::load(&vb(&vars).pp("projector"), 56, 48, 48).unwrap();
    same_direction(
        "the image tokens",
        &projector.forward(&bf16(&values["fused"])).unwrap(),
        &values["image"],
    );
}

fn ids(values: &HashMap<String, Tensor>, name: &str) -> Tensor {
    values[name].to_dtype(DType::U32).unwrap()
}

fn logits(llama: &Llama, ids: &Tensor, at: &Positions) -> Tensor {
    let hidden = llama.forward(&llama.embed(ids).unwrap(), at, None).unwrap();
    llama.logits(&hidden).unwrap()
}

fn llama_agrees(name: &str) {
    let (values, vars) =
        (tensors(name, "values.safetensors"), variables(&tensors(name, "model.safetensors")));
    let config = config(name);
    let llama = Llama::load(&builder(&vars), &config).unwrap();
    let ids = ids(&values, "ids");

    let whole = logits(&llama, &ids, &Positions::after(0, 2, 12));
    agree("the whole pass", &whole, &values["logits"], 1e-4);
    gradients_agree(&whole, &values, &vars, 5);
    agree("far away", &logits(&llama, &ids, &Positions::after(5000, 2, 12)), &values["logits_at_5000"], 1e-4);

    // A prompt and steps after it.
    let mut cache = KvCache::new(&config, 2, 12, DType::F32, &CPU).unwrap();
    let mut parts = Vec::new();
    for (from, n) in [(0, 7), (7, 1), (8, 1), (9, 3)] {
        let x = llama.embed(&ids.narrow(1, from, n).unwrap()).unwrap();
        let hidden = llama.forward(&x, &Positions::after(from, 2, n), Some(&mut cache)).unwrap();
        parts.push(llama.logits(&hidden).unwrap());
    }
    agree("prompt and steps", &Tensor::cat(&parts, 1).unwrap(), &values["logits"], 1e-4);

    // Padding itself means nothing: what stands after it is compared.
    let padded = logits(&llama, &ids, &Positions::padded(0, 12, &Arc::new(vec![5, 0])));
    for (row, from) in [(0, 5), (1, 0)] {
        let part = |x: &Tensor| x.narrow(0, row, 1).unwrap().narrow(1, from, 12 - from).unwrap();
        agree("with padding", &part(&padded), &part(&values["logits_padded"]), 1e-4);
    }
}

#[test]
fn llama_3_agrees_with_transformers() {
    llama_agrees("llama3");
}

#[test]
fn llama_3_1_agrees_with_transformers() {
    llama_agrees("llama3_1");
}

#[test]
fn llama_3_2_agrees_with_transformers() {
    llama_agrees("llama3_2");
}

#[test]
fn an_adapter_agrees_with_peft_apart_and_merged() {
    let values = tensors("lora", "values.safetensors");
    let vars = variables(&tensors("llama3", "model.safetensors"));
    let adapter = variables(&tensors("lora/adapter", "adapter_model.safetensors"));
    let mut llama = Llama::load(&builder(&vars), &config("llama3")).unwrap();
    let lora = LoraConfig { rank: 4, alpha: 6.0 };
    llama.adapt(&builder(&adapter).pp("base_model.model"), &lora).unwrap();
    let (ids, at) = (ids(&values, "ids"), Positions::after(0, 2, 12));
    let apart = logits(&llama, &ids, &at);
    agree("apart", &apart, &values["logits"], 1e-4);
    gradients_agree(&apart, &values, &adapter, 2);
    let pairs = llama.take_adapter();
    llama.put_adapter(Some(&pairs));
    llama.merge().unwrap();
    agree("merged", &logits(&llama, &ids, &at), &values["logits_merged"], 1e-4);
    llama.unmerge(&pairs).unwrap();
    agree("unmerged", &logits(&llama, &ids, &at), &values["logits"], 1e-4);
}

#[test]
fn sentences_agree_with_sentence_transformers() {
    let texts: Vec<String> =
        serde_json::from_str(&std::fs::read_to_string(case("bert").join("texts.json")).unwrap()).unwrap();
    let encoder = SentenceEncoder::load(&case("bert"), &CPU).unwrap();
    let want = &tensors("bert", "values.safetensors")["vectors"];
    agree("all at once", &encoder.embed(&texts).unwrap(), want, 1e-4);
    let alone = encoder.embed(&texts[1..2]).unwrap();
    agree("alone", &alone, &want.narrow(0, 1, 1).unwrap(), 1e-4);
}

#[test]
fn the_whole_chain_agrees_from_a_png_to_logits() {
    let (values, vars) =
        (tensors("chain", "values.safetensors"), variables(&tensors("chain", "model.safetensors")));
    let vb = builder(&vars);
    let image = image::open(case("chain").join("patch.png")).unwrap().to_rgb8();
    let patch = Patch::new(image.width(), image.height(), None, image.into_raw()).unwrap();
    let conch = EncoderSpec {
        resize: ResizeFilter::Bicubic,
        mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
        std: [0.268_629_55, 0.261_302_6, 0.275_777_1],
        ..encoder(96, 96, 24, false)
    };
    let uni = encoder(96, 48, 32, true);
    let features: Vec<Tensor> = [("conch", &conch), ("uni", &uni)]
        .into_iter()
        .map(|(name, spec)| {
            let pixels = patch.for_encoder(spec).unwrap().normalised(spec);
            let pixels = Tensor::from_vec(pixels, (1, 3, 96, 96), &CPU).unwrap();
            let want = &values[&format!("pixels_{name}")];
            // The same of the 255 steps of each value: what is left is how the division rounds.
            assert!(largest(&(&pixels - want).unwrap()) < 1e-5, "{name}");
            Vit::load(&vb.pp(name), spec).unwrap().forward(&pixels).unwrap()
        })
        .collect();
    let fused = fuse(&features, 12).unwrap();
    agree("the features", &fused, &values["fused"], 1e-4);
    let projected = Projector::load(&vb.pp("projector"), 56, 48, 48).unwrap().forward(&fused).unwrap();
    agree("the image tokens", &projected, &values["image"], 1e-4);
    let llama = Llama::load(&vb.pp("language"), &config("chain")).unwrap();
    let words = |name| llama.embed(&ids(&values, name)).unwrap();
    let x = Tensor::cat(&[words("before"), projected, words("after")], 1).unwrap();
    let hidden = llama.forward(&x, &Positions::after(0, 1, x.dim(1).unwrap()), None).unwrap();
    let last = hidden.narrow(1, x.dim(1).unwrap() - 7, 7).unwrap().contiguous().unwrap();
    agree("the logits", &llama.logits(&last).unwrap(), &values["logits"], 1e-4);
}
