//! The whole ReinPath model of a package: two encoders, projector, language model with its adapters, tokenizer
//! (paper, section 2.2).
//!
//! From patches to image embeddings; how text is generated from them is in `generate.rs`. Nothing is trained here.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use candle_nn::VarBuilder;
use serde::Deserialize;

use crate::known::Known;
use crate::layers::LoraConfig;
use crate::llama::{Llama, LlamaConfig};
use crate::package::{self, Architecture, EncoderSpec, LanguageKind, Manifest, Package};
use crate::patch::{self, Patch};
use crate::projector::{Projector, fuse};
use crate::prompt::{self, ChatTokenizer};
use crate::vit::Vit;
use crate::weights::{self, Size, Weights};

/// A `config.json` with a longer context than this is not believed: tables of this length are allocated.
const LONGEST_CONTEXT: usize = 1 << 20;
/// Patches that go through the encoders at a time, so that memory does not grow with their number.
const PATCHES_AT_A_TIME: usize = 16;

/// A model that cannot be loaded or cannot compute.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Package(#[from] package::Error),
    #[error(transparent)]
    Weights(#[from] weights::Error),
    #[error(transparent)]
    Prompt(#[from] prompt::Error),
    #[error(transparent)]
    Patch(#[from] patch::Error),
    #[error("the file cannot be read: {source}: {path}", path = path.display())]
    Read { source: std::io::Error, path: PathBuf },
    #[error("{reason}: {path}", path = path.display())]
    Config { reason: String, path: PathBuf },
    #[error(
        "the prompt has {tokens} tokens, but the model reads at most {limit}: ask a shorter question or about fewer patches"
    )]
    TooLong { tokens: usize, limit: usize },
    #[error("{0}")]
    Question(String),
    #[error("the model's arithmetic failed: {}", sentence(.0))]
    Compute(#[from] candle_core::Error),
    #[error("cancelled")]
    Cancelled,
}

/// The first line of an arithmetic error: with `RUST_BACKTRACE` set, candle's own text goes on for pages.
pub(crate) fn sentence(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// A loaded model.
#[derive(Debug)]
pub struct ReinPath {
    pub package: Package,
    /// With what prepares its pixels.
    encoders: Vec<(EncoderSpec, Vit)>,
    projector: Projector,
    pub llama: Llama,
    pub tokenizer: ChatTokenizer,
    /// What the package knows, where it says so.
    known: Option<Known>,
    /// Ids of the tokens that end an answer.
    pub stop: Vec<u32>,
    pub size: Size,
    device: Device,
}

/// PEFT's `adapter_config.json`, as far as it matters here.
#[derive(Deserialize)]
struct PeftConfig {
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
}

impl ReinPath {
    /// Loads a package. `progress` gets what is being done and how much is done (0 to 1); `false` from it cancels.
    pub fn load(
        package: &Package,
        device: &Device,
        progress: &mut dyn FnMut(&str, f32) -> bool,
    ) -> Result<Self, Error> {
        let Architecture::ReinPath = package.manifest.architecture;
        let LanguageKind::Llama = package.manifest.language.kind;
        let manifest = &package.manifest;
        let mut step = |what: &str, done: f32| progress(what, done).then_some(()).ok_or(Error::Cancelled);
        step("reading the tokenizer", 0.0)?;
        let tokenizer = ChatTokenizer::read(
            &package.file(&manifest.language.tokenizer),
            manifest.language.chat_template,
        )?;
        let config = read_config(package, &tokenizer)?;
        let mut size = Size::default();
        let mut encoders = Vec::new();
        for (i, spec) in manifest.encoders.iter().enumerate() {
            step(&format!("loading the encoder {}", spec.kind.name()), 0.1 + 0.1 * i as f32)?;
            let (vit, loaded) = open(package, &spec.weights)?
                .build(device, |vb| Vit::load(&at_prefix(&vb, &spec.prefix), spec))?;
            size += loaded;
            encoders.push((spec.clone(), vit));
        }
        step("loading the projector", 0.3)?;
        let (projector, loaded) =
            open(package, std::slice::from_ref(&manifest.projector.weights))?.build(device, |vb| {
                let (inner, out) = (manifest.projector.hidden, config.hidden_size);
                Projector::load(&vb, manifest.fused_width(), inner, out)
            })?;
        size += loaded;
        step("loading the language model", 0.4)?;
        let (mut llama, loaded) =
            open(package, &manifest.language.weights)?.build(device, |vb| Llama::load(&vb, &config))?;
        size += loaded;
        for adapter in &manifest.adapters {
            step(&format!("merging the adapter {}", adapter.name), 0.8)?;
            merge_adapter(&mut llama, &package.file(&adapter.folder), device)?;
        }
        let known = match &manifest.knows.feature_range {
            None => None,
            Some(range) => {
                let weights = open(package, std::slice::from_ref(&range.weights))?;
                let (known, loaded) =
                    weights.build(device, |vb| Known::load(&vb, manifest.fused_width(), range))?;
                size += loaded;
                Some(known)
            }
        };
        let stop = manifest.generation.stop.iter().map(|t| tokenizer.token(t)).collect::<Result<_, _>>()?;
        step("ready", 1.0)?;
        Ok(Self {
            package: package.clone(),
            encoders,
            projector,
            llama,
            tokenizer,
            known,
            stop,
            size,
            device: device.clone(),
        })
    }

    /// The package's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.package.manifest
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Fused features of the patches, (patches, image_tokens, fused): the only place where pixels become tensors.
    pub fn features(&self, patches: &[Patch]) -> Result<Tensor, Error> {
        if patches.is_empty() {
            return Err(Error::Question("a question needs at least one patch".to_owned()));
        }
        let parts = patches
            .chunks(PATCHES_AT_A_TIME)
            .map(|patches| self.features_at_once(patches))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Tensor::cat(&parts, 0)?)
    }

    fn features_at_once(&self, patches: &[Patch]) -> Result<Tensor, Error> {
        let mut features = Vec::new();
        for (spec, vit) in &self.encoders {
            let side = spec.image_size as usize;
            let mut pixels = Vec::with_capacity(patches.len() * 3 * side * side);
            for patch in patches {
                pixels.extend(patch.for_encoder(spec)?.normalised(spec));
            }
            let pixels = Tensor::from_vec(pixels, (patches.len(), 3, side, side), &self.device)?;
            features.push(vit.forward(&pixels)?);
        }
        Ok(fuse(&features, self.manifest().fusion.pool)?)
    }

    /// Image embeddings of fused features: (patches, image_tokens, fused) to (patches, image_tokens, hidden).
    pub fn embeddings(&self, features: &Tensor) -> Result<Tensor, Error> {
        Ok(self.projector.forward(features)?)
    }

    /// One plain sentence when patches look unlike anything the model was trained on.
    pub fn out_of_range(&self, features: &Tensor) -> Result<Option<String>, Error> {
        let Some(known) = &self.known else { return Ok(None) };
        let strange: Vec<String> = known.strange(features)?.iter().map(|i| (i + 1).to_string()).collect();
        let tissues = &self.manifest().knows.tissues;
        let trained_on =
            if tissues.is_empty() { String::new() } else { format!(" ({})", tissues.join(", ")) };
        let who = match (strange.as_slice(), features.dim(0)?) {
            ([], _) => return Ok(None),
            (_, 1) => "This patch looks".to_owned(),
            ([only], _) => format!("Patch {only} looks"),
            (several, _) => format!("Patches {} look", several.join(", ")),
        };
        Ok(Some(format!(
            "{who} unlike anything the model was trained on{trained_on}: do not trust the answer."
        )))
    }
}

/// The tensors below the prefix that stands before an encoder's names.
fn at_prefix<'a>(vb: &VarBuilder<'a>, prefix: &str) -> VarBuilder<'a> {
    match prefix.trim_end_matches('.') {
        "" => vb.clone(),
        prefix => vb.pp(prefix),
    }
}

fn open(package: &Package, files: &[String]) -> Result<Weights, weights::Error> {
    Weights::open(&files.iter().map(|name| package.file(name)).collect::<Vec<_>>())
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text =
        std::fs::read_to_string(path).map_err(|source| Error::Read { source, path: path.to_owned() })?;
    serde_json::from_str(&text).map_err(|e| Error::Config {
        reason: format!("the file is not as expected, {e}"),
        path: path.to_owned(),
    })
}

fn read_config(package: &Package, tokenizer: &ChatTokenizer) -> Result<LlamaConfig, Error> {
    let path = package.file(&package.manifest.language.config);
    let json: serde_json::Value = read_json(&path)?;
    let wrong = |reason: String| Error::Config { reason, path: path.clone() };
    if json.get("rope_scaling").is_some_and(|v| !v.is_null()) {
        return Err(wrong(
            "the language model scales its positions (rope_scaling), which is not supported".to_owned(),
        ));
    }
    let config = LlamaConfig::deserialize(&json)
        .map_err(|e| wrong(format!("this is no configuration of a Llama, {e}")))?;
    let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
    let sizes = [config.hidden_size, config.intermediate_size, config.vocab_size, heads, kv_heads];
    if sizes.contains(&0) || sizes.iter().any(|&s| s > LONGEST_CONTEXT) {
        return Err(wrong(format!("the language model's sizes {sizes:?} make no sense")));
    }
    if config.hidden_size % heads != 0 || heads % kv_heads != 0 || config.head_dim() % 2 != 0 {
        let hidden = config.hidden_size;
        return Err(wrong(format!(
            "{hidden} channels cannot be shared by {heads} heads and {kv_heads} for keys"
        )));
    }
    if config.max_position_embeddings == 0 || config.max_position_embeddings > LONGEST_CONTEXT {
        let context = config.max_position_embeddings;
        return Err(wrong(format!("a context of {context} tokens makes no sense")));
    }
    let known = tokenizer.tokenizer().get_vocab_size(true);
    if known > config.vocab_size {
        let vocab = config.vocab_size;
        return Err(wrong(format!("the tokenizer has {known} tokens, but the language model {vocab}")));
    }
    Ok(config)
}

/// Adds a PEFT LoRA adapter of all linear layers to the language model's weights.
fn merge_adapter(llama: &mut Llama, folder: &Path, device: &Device) -> Result<(), Error> {
    let path = folder.join("adapter_config.json");
    let config: PeftConfig = read_json(&path)?;
    if config.r == 0 || config.use_rslora || config.use_dora || !config.lora_alpha.is_finite() {
        let reason = "only plain LoRA adapters with a rank of at least 1 are supported".to_owned();
        return Err(Error::Config { reason, path });
    }
    let lora = LoraConfig { rank: config.r, alpha: config.lora_alpha };
    let weights = Weights::open(&[folder.join("adapter_model.safetensors")])?;
    weights.build(device, |vb| {
        llama.adapt(&vb.pp("base_model.model"), &lora)?;
        llama.merge()
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::fixture::{Speech, write_package};
    use crate::known::summary;
    use crate::package::{AdapterSpec, FeatureRange, MANIFEST};

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
    }

    #[test]
    fn what_is_unlike_the_training_data_is_told() {
        let (folder, mut manifest) = fixture();
        let model = load(folder.path()).unwrap();
        assert_eq!(model.out_of_range(&model.features(&[patch(9)]).unwrap()).unwrap(), None);
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
        let told = |patches: &[Patch]| model.out_of_range(&model.features(patches).unwrap()).unwrap();
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
            assert!(error.ends_with("config.json"), "{error}");
        }
    }

    #[test]
    fn loading_stops_when_told() {
        let (folder, _) = fixture();
        let package = Package::open(folder.path()).unwrap();
        let mut steps = 0;
        let stopped = ReinPath::load(&package, &Device::Cpu, &mut |_, _| {
            steps += 1;
            steps < 3
        });
        assert!(matches!(stopped, Err(Error::Cancelled)) && steps == 3);
    }

    #[test]
    fn adapters_in_peft_layout_change_the_model_and_must_be_whole() {
        let (folder, mut manifest) = fixture();
        let plain = load(folder.path()).unwrap();
        let adapter = folder.path().join("adapter");
        std::fs::create_dir(&adapter).unwrap();
        std::fs::write(
            adapter.join("adapter_config.json"),
            r#"{"r": 2, "lora_alpha": 4, "peft_type": "LORA"}"#,
        )
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
        manifest.adapters = vec![AdapterSpec { name: "sft".to_owned(), folder: "adapter".to_owned() }];
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
}
