//! The programs that make the demo model, on a very small configuration: the same numbers from the same seed, a package
//! that loads and answers, and nothing changed that a stage does not train.

use std::fmt::Write as _;
use std::path::Path;

use candle_core::Device;
use reinpath_model::package::Package;
use reinpath_model::sentence::SentenceEncoder;
use reinpath_training::config::{PretrainConfig, SupervisedConfig};
use reinpath_training::pretrain::{TEXT_ENCODER, pretrain};
use reinpath_training::rows::Split;
use reinpath_training::supervised::supervised;
use reinpath_training::tissue::{SetOptions, write_set};

const PRETRAIN: &str = r#"
name = "tiny"
seed = 5
pool = 2
fields = 24
texts = 60

[patch]
size_px = 224
mpp = 0.5

[[encoders]]
kind = "conch"
weights = ["conch.safetensors"]
image_size = 112
resize = "bicubic"
mean = [0.48, 0.46, 0.41]
std = [0.27, 0.26, 0.28]
patch_size = 28
width = 16
layers = 1
heads = 2
mlp_width = 32

[[encoders]]
kind = "uni"
weights = ["uni.safetensors"]
image_size = 112
resize = "bilinear"
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
patch_size = 28
width = 24
layers = 1
heads = 2
mlp_width = 32
layer_scale = true

[contrast]
width = 16
text_layers = 1
[contrast.optimisation]
steps = 2
batch = 8
learning_rate = 1e-3

[attributes]
steps = 2
batch = 8
learning_rate = 1e-3

[tokenizer]
vocabulary = 400

[language]
hidden_size = 32
intermediate_size = 48
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 2
max_position_embeddings = 512

[drills]
steps = 2
batch = 4
learning_rate = 1e-3

[text]
steps = 3
batch = 8
learning_rate = 2e-3

[sentence]
width = 16
layers = 1
heads = 2
[sentence.optimisation]
steps = 2
batch = 8
learning_rate = 1e-3
"#;

/// Real tissue: patches that `dataset lung` wrote.
const TISSUE: &str = r#"
[tissue]
name = "drawn lung"
texts = 0.5
batch = 4
class_weight = 1.0
measured_weight = 0.5
cells = 0.5
recolour = [0.8, 0.1]
even = [0.2, 0.2]
zoom = [0.6, 1.2]
[tissue.optimisation]
steps = 2
batch = 4
learning_rate = 1e-3
"#;

fn supervised_config(base: &Path) -> SupervisedConfig {
    let text = format!(
        "seed = 6\nbase = \"{}\"\ndescription = \"tiny\"\nfields = 12\nquestions_per_field = 2\n\
         captions_per_field = 1\ndecisive_weight = 2.0\n\
         [captions]\nsteps = 2\nbatch = 4\nlearning_rate = 1e-3\n\
         [lora]\nrank = 4\nalpha = 4\n\
         [optimisation]\nsteps = 3\nbatch = 4\nlearning_rate = 1e-3\n",
        base.display()
    );
    toml::from_str(&text).expect("the configuration is valid")
}

/// The events of a run without what a clock says.
fn losses(run: &Path) -> Vec<(String, f64)> {
    std::fs::read_to_string(run.join("events.jsonl"))
        .expect("a run writes its events")
        .lines()
        .filter_map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).expect("every line is JSON");
            let data = &event["data"];
            (event["type"] == "step").then(|| {
                (
                    data["stage"].as_str().unwrap_or_default().to_owned(),
                    data["loss"].as_f64().expect("a loss is a number"),
                )
            })
        })
        .collect()
}

#[test]
fn the_same_seed_makes_the_same_package_and_a_stage_changes_only_what_it_trains() {
    let folder = tempfile::tempdir().unwrap();
    let config: PretrainConfig = toml::from_str(PRETRAIN).unwrap();
    let runs = ["a", "b"].map(|name| folder.path().join(name));
    let packages = runs.each_ref().map(|run| pretrain(&config, run).unwrap());
    assert_eq!(losses(&runs[0]), losses(&runs[1]));
    assert_eq!(losses(&runs[0]).len(), 11, "every step of the five stages");
    let first = Package::open(&packages[0]).unwrap();
    assert_eq!(first.manifest, Package::open(&packages[1]).unwrap().manifest, "hashes of all files included");
    let sentences = SentenceEncoder::load(&packages[0].join(TEXT_ENCODER), &Device::Cpu).unwrap();
    assert_eq!(sentences.embed(&["Necrosis.".to_owned()]).unwrap().dims(), [1, 16]);

    let run = folder.path().join("supervised");
    let trained = Package::open(&supervised(&supervised_config(&packages[0]), &run).unwrap()).unwrap();
    for (name, record) in &first.manifest.files {
        let same = trained.manifest.files.get(name) == Some(record);
        assert_eq!(same, *name != first.manifest.projector.weights, "{name}");
    }
    let figures =
        reinpath_training::evaluate::phantom(&trained, 6, 7, &mut |answer| !answer.question.is_empty())
            .unwrap();
    assert_eq!(figures.n, 6);
    assert!(figures.accuracy < 0.9, "a model of a few steps knows nothing");
}

/// A labelled data set of drawn patches: dark discs on a light ground, of another size in each class.
#[expect(clippy::unwrap_used, reason = "called by tests alone")]
fn drawn_patches(folder: &Path) {
    let mut manifest = "file,class,source_tissue_cluster\n".to_owned();
    for (class, radius) in [("lung_n", 5.0), ("lung_aca", 8.0), ("lung_scc", 10.0)] {
        std::fs::create_dir_all(folder.join(class)).unwrap();
        for number in 0..10_u32 {
            let picture = image::RgbImage::from_fn(224, 224, |x, y| {
                let off = |v: u32| f64::from((v + number) % 32) - 16.0;
                let grain = ((x * 7 + y * 13) % 5) as u8 * 6;
                if off(x).hypot(off(y)) < radius {
                    image::Rgb([90, 70, 150])
                } else {
                    image::Rgb([200 + grain, 150 + grain, 200 + grain])
                }
            });
            picture.save(folder.join(class).join(format!("{number}.png"))).unwrap();
            writeln!(manifest, "{class}/{number}.png,{class},{class}_{number}").unwrap();
        }
    }
    std::fs::write(folder.join("manifest.csv"), manifest).unwrap();
}

#[test]
fn real_patches_are_learnt_where_their_folder_is_named_and_change_nothing_where_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (drawn, set) = (folder.path().join("drawn"), folder.path().join("set"));
    drawn_patches(&drawn);
    let options = SetOptions { seed: 1, questions: 1, captions: 1, views: 0 };
    write_set(&drawn, &set, &options).unwrap();

    let mut config: PretrainConfig = toml::from_str(&format!("{PRETRAIN}{TISSUE}")).unwrap();
    let without: PretrainConfig = toml::from_str(PRETRAIN).unwrap();
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| folder.path().join(name));
    pretrain(&config, &a).unwrap();
    pretrain(&without, &b).unwrap();
    assert_eq!(losses(&a), losses(&b), "settings without a folder have no effect");

    config.tissue.as_mut().unwrap().folder = Some(set.clone());
    let package = Package::open(&pretrain(&config, &c).unwrap()).unwrap();
    assert_eq!(package.manifest.knows.tissues, ["phantom tissue", "drawn lung"]);
    assert!(package.manifest.provenance.contains("patches of drawn lung"), "{}", package.manifest.provenance);
    let with = losses(&c);
    assert_eq!(with.iter().filter(|(stage, _)| stage == "tissue encoder").count(), 2);
    assert_eq!(with.len(), losses(&a).len() + 2);
    pretrain(&config, &d).unwrap();
    assert_eq!(with, losses(&d), "the same seed gives the same numbers");

    let f = folder.path().join("f");
    config.tissue.as_mut().unwrap().texture_weight = 30.0;
    pretrain(&config, &f).unwrap();
    let described = losses(&f);
    let changed: Vec<&str> =
        described.iter().zip(&with).filter(|(a, b)| a != b).map(|(a, _)| a.0.as_str()).collect();
    assert_eq!(changed, ["tissue encoder", "tissue encoder", "attribute encoder", "attribute encoder"]);
    assert!(described.iter().zip(&with).all(|(a, b)| a.0 != "tissue encoder" || a.1 > b.1), "{described:?}");

    // What the teacher says, also of two patches in one picture, in place of the class.
    let g = folder.path().join("g");
    let tissue = config.tissue.as_mut().unwrap();
    (tissue.class_weight, tissue.teacher_weight, tissue.joined) = (0.0, 20.0, 0.5);
    pretrain(&config, &g).unwrap();
    let taught = losses(&g);
    let changed = taught.iter().zip(&described).filter(|(a, b)| a != b).count();
    assert_eq!((changed, taught.len()), (4, described.len()), "{taught:?}");

    config.tissue.as_mut().unwrap().splits = vec![Split::Test];
    let refused = pretrain(&config, &folder.path().join("e")).unwrap_err().to_string();
    assert!(refused.contains("test part"), "{refused}");
}

#[test]
fn a_decoder_is_taken_from_a_package_with_the_same_tokenizer_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let config: PretrainConfig = toml::from_str(PRETRAIN).unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|name| folder.path().join(name));
    let whole = pretrain(&config, &a).unwrap();
    let mut taken = PretrainConfig { decoder_from: Some(whole.clone()), ..config };
    let package = pretrain(&taken, &b).unwrap();
    let [first, second] = [whole.clone(), package].map(|path| Package::open(&path).unwrap().manifest);
    assert_eq!(first.files, second.files, "the same weights to the byte");
    assert!(second.provenance.contains("decoder of an earlier run"), "{}", second.provenance);
    assert!(losses(&b).iter().all(|(stage, _)| stage != "base decoder" && stage != "letter drills"));

    taken.tokenizer.vocabulary += 8;
    let refused = pretrain(&taken, &c).unwrap_err().to_string();
    assert!(refused.contains("another tokenizer") && refused.contains("decoder_from"), "{refused}");
}
