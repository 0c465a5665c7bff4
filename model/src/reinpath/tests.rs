//! Tiny packages loaded whole, refused where they do not fit, and what becomes of patches.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::fixture::{Family, Speech, model_of, write_package, write_package_of};
use crate::known::summary;
use crate::package::{AdapterSpec, FeatureRange, GridRule, MANIFEST};

fn fixture() -> (tempfile::TempDir, Manifest) {
    let folder = tempfile::tempdir().unwrap();
    let manifest = write_package(folder.path(), Speech::Babble(2)).unwrap();
    (folder, manifest)
}

fn load(folder: &Path) -> Result<ReinPath, Error> {
    ReinPath::load(&Package::open(folder)?, &Device::Cpu, &mut |_, _| true)
}

fn rewrite(folder: &Path, manifest: &Manifest) {
    std::fs::write(folder.join(MANIFEST), toml::to_string(manifest).unwrap()).unwrap();
}

fn patch(value: u8) -> Patch {
    Patch::new(32, 32, Some(0.5), vec![value; 32 * 32 * 3]).unwrap()
}

#[test]
fn patches_become_fused_features_and_embeddings_one_by_one_or_many() {
    let (folder, manifest) = fixture();
    let model = load(folder.path()).unwrap();
    let patches: Vec<Patch> = (0..20).map(|i| patch(i * 10)).collect();
    let features = model.features(&patches).unwrap();
    assert_eq!(features.dims(), [20, manifest.image_tokens(), manifest.fused_width()]);
    assert_eq!(model.embeddings(&features).unwrap().dims(), [20, 4, 32]);
    let one = model.features(&patches[17..18]).unwrap();
    let difference = (features.narrow(0, 17, 1).unwrap() - one).unwrap().abs().unwrap();
    assert!(difference.max_all().unwrap().to_scalar::<f32>().unwrap() < 1e-5);
    assert!(model.size.parameters > 1000 && model.size.memory == 4 * model.size.parameters);
    assert_eq!(model.package.memory().unwrap().weights, model.size.memory, "told before it is loaded");
}

#[test]
fn what_is_unlike_the_training_data_is_told() {
    let (folder, mut manifest) = fixture();
    let model = load(folder.path()).unwrap();
    let seen = |model: &ReinPath, patches: &[Patch]| model.look(patches, None, &mut || true).unwrap();
    assert_eq!(model.out_of_range(&seen(&model, &[patch(9)])).unwrap(), None);
    let mean = summary(&model.features(&[patch(128)]).unwrap()).unwrap().squeeze(0).unwrap();
    let width = mean.dim(0).unwrap();
    let write = |whiten: Tensor| {
        let tensors = HashMap::from([("mean", mean.clone()), ("whiten", whiten)]);
        candle_core::safetensors::save(&tensors, folder.path().join("known.safetensors")).unwrap();
    };
    write((Tensor::eye(width, DType::F32, &Device::Cpu).unwrap() * 10.0).unwrap());
    manifest.knows.tissues = vec!["phantom tissue".to_owned()];
    manifest.knows.feature_range = Some(FeatureRange { weights: "known.safetensors".into(), limit: 1.0 });
    rewrite(folder.path(), &manifest);
    let model = load(folder.path()).unwrap();
    let told = |patches: &[Patch]| model.out_of_range(&seen(&model, patches)).unwrap();
    assert_eq!(told(&[patch(128)]), None);
    let sentence = told(&[patch(255)]).unwrap();
    assert!(sentence.starts_with("This patch looks unlike") && sentence.contains("(phantom tissue)"));
    assert!(told(&[patch(128), patch(255)]).unwrap().starts_with("Patch 2 looks"));
    write(Tensor::eye(width - 1, DType::F32, &Device::Cpu).unwrap());
    assert!(load(folder.path()).unwrap_err().to_string().contains("known.safetensors"));
}

#[test]
fn a_package_that_does_not_fit_is_refused_before_anything_runs() {
    let (folder, manifest) = fixture();
    let refused = |change: &dyn Fn(&mut Manifest)| {
        let mut changed = manifest.clone();
        change(&mut changed);
        rewrite(folder.path(), &changed);
        load(folder.path()).unwrap_err().to_string()
    };
    let wide = refused(&|m| m.encoders[1].mlp_width = 17);
    assert!(wide.contains("blocks.0.mlp.fc1.weight") && wide.contains("[17, 12]"), "{wide}");
    assert!(wide.contains("[16, 12]") && wide.ends_with("uni.safetensors"), "{wide}");
    let deep = refused(&|m| m.encoders[0].layers = 2);
    assert!(deep.contains("blocks.1.norm1.weight") && deep.contains("missing"), "{deep}");
    let prefix = refused(&|m| m.encoders[0].prefix = "visual.trunk.".to_owned());
    assert!(prefix.contains("visual.trunk.patch_embed.proj.weight"), "{prefix}");
    let grid = refused(&|m| m.fusion.grid = GridRule::UniAtConch);
    assert!(grid.contains("only 'pooled' averages cells"), "{grid}");
    let odd = refused(&|m| m.encoders[0].image_size = 20);
    assert!(odd.contains("5 × 5 cells cannot be joined to image tokens of 2 × 2"), "{odd}");
    let huge = refused(&|m| m.encoders[0].image_size = 1_000_000);
    assert!(huge.contains("not supported"), "{huge}");
    let stop = refused(&|m| m.generation.stop = vec!["</s>".to_owned()]);
    assert!(stop.contains("</s>"), "{stop}");
    rewrite(folder.path(), &manifest);
    let path = folder.path().join("config.json");
    let config = std::fs::read_to_string(&path).unwrap();
    for (from, to) in [
        ("\"num_attention_heads\":4", "\"num_attention_heads\":0"),
        ("\"num_attention_heads\":4", "\"num_attention_heads\":5"),
        ("\"max_position_embeddings\":50000", "\"max_position_embeddings\":99999999999"),
        ("\"vocab_size\":", "\"rope_scaling\":{\"factor\":8},\"vocab_size\":"),
        ("\"vocab_size\":261", "\"vocab_size\":260"),
        ("{", "["),
    ] {
        assert!(config.contains(from), "{config}");
        std::fs::write(&path, config.replacen(from, to, 1)).unwrap();
        let error = load(folder.path()).unwrap_err().to_string();
        let file = if to.contains("260") { "tokenizer.json" } else { "config.json" };
        assert!(error.ends_with(file), "{error}");
    }
}

#[test]
fn loading_stops_when_told() {
    for family in Family::ALL {
        let folder = tempfile::tempdir().unwrap();
        write_package_of(family, folder.path(), Speech::Babble(2)).unwrap();
        let package = Package::open(folder.path()).unwrap();
        let stopped_at = |most: usize| {
            let mut steps = 0;
            let loaded = ReinPath::load(&package, &Device::Cpu, &mut |_, _| {
                steps += 1;
                steps < most
            });
            (steps, loaded)
        };
        let (steps, loaded) = stopped_at(usize::MAX);
        assert!(loaded.is_ok() && steps > 5, "{family:?}");
        for most in 1..=steps {
            let (told, stopped) = stopped_at(most);
            assert!(matches!(stopped, Err(Error::Cancelled)) && told == most, "{family:?} at {most}");
        }
    }
}

/// A patch of which each pixel differs from those beside it.
fn sized(width: u32, height: u32) -> Patch {
    let rgb = (0..width * height * 3).map(|i| (i * 7 % 251) as u8).collect();
    Patch::new(width, height, Some(0.5), rgb).unwrap()
}

#[test]
fn a_tower_sees_patches_of_any_size_each_as_its_own_tokens() {
    let folder = tempfile::tempdir().unwrap();
    write_package_of(Family::Qwen, folder.path(), Speech::Babble(2)).unwrap();
    let package = Package::open(folder.path()).unwrap();
    let model = ReinPath::load(&package, &Device::Cpu, &mut |_, _| true).unwrap();
    let patches = [sized(32, 32), sized(100, 60)];
    let hidden = model.llama.config.hidden_size;
    let look = |patches: &[Patch], asked| {
        let seen = model.look(patches, asked, &mut || true).unwrap();
        let images = model.images(&seen).unwrap();
        assert_eq!(model.grids(patches, asked).unwrap(), images.grids);
        assert_eq!(model.out_of_range(&seen).unwrap(), None);
        for (tokens, grid) in images.embeddings.iter().zip(&images.grids) {
            assert_eq!(tokens.dims(), [grid.tokens(), hidden]);
        }
        images
    };
    let both = look(&patches, None);
    assert_eq!(both.grids, [Grid::square(1), Grid { rows: 2, cols: 4 }]);
    let alone = look(&patches[1..], None);
    let values = |tokens: &Tensor| tokens.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (beside, alone) = (values(&both.embeddings[1]), values(&alone.embeddings[0]));
    assert!(beside.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-5));
    assert!(beside.chunks(hidden).skip(1).all(|token| token != &beside[..hidden]), "they differ");
    assert_eq!(look(&patches, Some(4 * 28 * 28)).grids, [Grid::square(1), Grid { rows: 1, cols: 2 }]);
    assert_eq!(model.package.memory().unwrap().weights, model.size.memory, "told before it is loaded");
}

#[test]
fn what_only_reinpaths_models_have_is_a_sentence_with_another() {
    let model = model_of(Family::Qwen, Speech::Babble(2));
    let seen = Seen::Fused(Tensor::zeros((1, 4, 20), DType::F32, &Device::Cpu).unwrap());
    assert!(matches!(model.features(&[patch(9)]), Err(Error::Family)));
    assert!(matches!(model.projector(), Err(Error::Family)));
    let Seen::Fused(features) = &seen else { panic!("it was made above") };
    assert!(matches!(model.embeddings(features), Err(Error::Family)));
    assert!(matches!(model.images(&seen), Err(Error::Family)));
    let empty = model.look(&[], None, &mut || true).unwrap_err().to_string();
    assert_eq!(empty, "a question needs at least one patch");
    let narrow = model.look(&[sized(201, 1)], None, &mut || true).unwrap_err().to_string();
    assert!(narrow.contains("201 × 1 px"), "{narrow}");
}

#[test]
fn a_tower_that_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = write_package_of(Family::Qwen, folder.path(), Speech::Babble(2)).unwrap();
    let refused = |change: &dyn Fn(&mut VisionSpec)| {
        let mut changed = manifest.clone();
        change(changed.vision.as_mut().expect("it has one"));
        rewrite(folder.path(), &changed);
        load(folder.path()).unwrap_err().to_string()
    };
    let foreign = refused(&|vision| vision.out_width = 36);
    let sentence = "the vision tower makes image tokens of 36 channels, but the language model reads 32";
    assert!(foreign.starts_with(sentence) && foreign.ends_with(MANIFEST), "{foreign}");
    let shallow = refused(&|vision| (vision.layers, vision.full_attention) = (1, vec![0]));
    assert!(shallow.contains("more layers") && shallow.contains("blocks.1."), "{shallow}");
    let deep = refused(&|vision| vision.layers = 3);
    assert!(deep.contains("blocks.2.") && deep.contains("missing"), "{deep}");
    let wide = refused(&|vision| vision.mlp_width = 25);
    assert!(wide.contains("blocks.0.mlp.") && wide.ends_with(".safetensors"), "{wide}");
}

#[test]
fn adapters_in_peft_layout_change_the_model_and_must_be_whole() {
    let (folder, mut manifest) = fixture();
    let plain = load(folder.path()).unwrap();
    let adapter = folder.path().join("adapter");
    std::fs::create_dir(&adapter).unwrap();
    std::fs::write(adapter.join("adapter_config.json"), r#"{"r": 2, "lora_alpha": 4, "peft_type": "LORA"}"#)
        .unwrap();
    let mut tensors = HashMap::new();
    let (hidden, inner) = (plain.llama.config.hidden_size, plain.llama.config.intermediate_size);
    for layer in 0..plain.llama.config.num_hidden_layers {
        for (name, from, to) in [
            ("self_attn.q_proj", hidden, hidden),
            ("self_attn.k_proj", hidden, hidden / 2),
            ("self_attn.v_proj", hidden, hidden / 2),
            ("self_attn.o_proj", hidden, hidden),
            ("mlp.gate_proj", hidden, inner),
            ("mlp.up_proj", hidden, inner),
            ("mlp.down_proj", inner, hidden),
        ] {
            let at = format!("base_model.model.model.layers.{layer}.{name}");
            let of = |shape| Tensor::full(0.1f32, shape, &Device::Cpu).unwrap();
            tensors.insert(format!("{at}.lora_A.weight"), of((2, from)));
            tensors.insert(format!("{at}.lora_B.weight"), of((to, 2)));
        }
    }
    let file = adapter.join("adapter_model.safetensors");
    candle_core::safetensors::save(&tensors, &file).unwrap();
    manifest.adapters =
        vec![AdapterSpec { name: "sft".to_owned(), folder: "adapter".to_owned(), alternative: false }];
    rewrite(folder.path(), &manifest);
    let adapted = load(folder.path()).unwrap();
    let run = |model: &ReinPath| {
        let x = Tensor::ones((1, 3, hidden), DType::F32, &Device::Cpu).unwrap();
        let at = crate::llama::Positions::after(0, 1, 3);
        let y = model.llama.forward(&x, &at, None).unwrap();
        y.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    assert_ne!(run(&plain), run(&adapted));
    tensors.remove("base_model.model.model.layers.1.mlp.up_proj.lora_B.weight");
    candle_core::safetensors::save(&tensors, &file).unwrap();
    let error = load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("layers.1.mlp.up_proj.lora_B.weight"), "{error}");
}
