//! The whole ReinPath model of a package: two encoders, projector, language model with its adapters, tokenizer
//! (paper, section 2.2).
//!
//! From patches to image embeddings; how text is generated from them is in `generate.rs`. Nothing is trained here.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use candle_nn::VarBuilder;

use crate::adapter::AdapterFiles;
use crate::device::Precision;
use crate::known::Known;
use crate::language;
use crate::llama::{Adapter, Llama, LlamaConfig};
use crate::package::{self, Architecture, EncoderSpec, LanguageKind, Manifest, Package};
use crate::patch::{self, Patch};
use crate::projector::{Projector, fuse};
use crate::prompt::{self, ChatTokenizer};
use crate::recent::Recent;
use crate::vit::Vit;
use crate::weights::{self, Size, Weights};

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
    /// The adapters of which at most one is active, by name.
    adapters: Vec<(String, Adapter)>,
    /// The one that is, by its place.
    active: Option<usize>,
    pub tokenizer: ChatTokenizer,
    /// What the package knows, where it says so.
    known: Option<Known>,
    /// Ids of the tokens that end an answer.
    pub stop: Vec<u32>,
    pub size: Size,
    device: Device,
    pub(crate) recent: Recent,
}

impl ReinPath {
    /// Loads a package. `progress` gets what is being done and how much is done (0 to 1); `false` from it cancels.
    pub fn load(
        package: &Package,
        device: &Device,
        progress: &mut dyn FnMut(&str, f32) -> bool,
    ) -> Result<Self, Error> {
        Self::load_in(package, device, Precision::of(device), progress)
    }

    /// The same with the language model in another precision. The encoders are small and always in f32.
    pub fn load_in(
        package: &Package,
        device: &Device,
        precision: Precision,
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
        let config = language::config(package)?;
        check_vocabulary(package, &config, &tokenizer)?;
        let mut size = Size::default();
        let mut encoders = Vec::new();
        for (i, spec) in manifest.encoders.iter().enumerate() {
            step(&format!("loading the encoder {}", spec.kind.name()), 0.1 + 0.1 * i as f32)?;
            let (mut vit, loaded) = open_encoder(package, spec)?
                .build(device, |vb| Vit::load(&at_prefix(&vb, &spec.prefix), spec))?;
            vit.fold_scales()?;
            vit.fit_positions(spec.image_size)?;
            vit.pack()?;
            size += loaded;
            encoders.push((spec.clone(), vit));
        }
        step("loading the projector", 0.3)?;
        let (projector, loaded) =
            open(package, std::slice::from_ref(&manifest.projector.weights))?.build(device, |vb| {
                let (inner, out) = (manifest.projector.hidden, config.hidden_size);
                let vb = at_prefix(&vb, &manifest.projector.prefix);
                Projector::load(&vb, manifest.fused_width(), inner, out)
            })?;
        size += loaded;
        step("loading the language model", 0.4)?;
        let mut going = |done: f32| step("loading the language model", 0.4 + 0.4 * done).is_ok();
        let (mut llama, loaded) = language::load(package, &config, precision.dtype(), device, &mut going)?;
        size += loaded;
        let mut adapters = Vec::new();
        for spec in &manifest.adapters {
            step(&format!("loading the adapter {}", spec.name), 0.8)?;
            let files = AdapterFiles::open(package, spec, &llama)?;
            let loaded = files.load(&mut llama, device)?;
            if spec.alternative || llama.is_quantised() {
                size += loaded;
            }
            if spec.alternative {
                adapters.push((spec.name.clone(), llama.take_adapter()));
            } else {
                llama.merge()?;
            }
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
        llama.put_adapter(adapters.first().map(|(_, adapter)| adapter));
        Ok(Self {
            package: package.clone(),
            encoders,
            projector,
            llama,
            active: (!adapters.is_empty()).then_some(0),
            adapters,
            tokenizer,
            known,
            stop,
            size,
            device: device.clone(),
            recent: Recent::default(),
        })
    }

    /// The package's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.package.manifest
    }

    /// Makes one of the package's alternative adapters the active one, or none. The rest of the model stays as it is;
    /// what was computed from its hidden states (a cache of keys and values) is of no use any more.
    pub fn activate(&mut self, name: Option<&str>) -> Result<(), Error> {
        let active = match name {
            None => None,
            Some(name) => {
                let place = self.adapters.iter().position(|(own, _)| own == name);
                Some(place.ok_or_else(|| self.unknown_adapter(name))?)
            }
        };
        self.llama.put_adapter(active.map(|place| &self.adapters[place].1));
        self.active = active;
        self.recent.forget_prefix();
        Ok(())
    }

    /// The name of the active adapter among the alternatives.
    pub fn adapter(&self) -> Option<&str> {
        self.active.map(|place| self.adapters[place].0.as_str())
    }

    fn unknown_adapter(&self, name: &str) -> Error {
        let names: Vec<&str> = self.adapters.iter().map(|(own, _)| own.as_str()).collect();
        let reason = if names.is_empty() {
            format!("there is no adapter '{name}' to choose")
        } else {
            format!("there is no adapter '{name}' to choose, but {}", names.join(", "))
        };
        Error::Config { reason, path: self.package.file(package::MANIFEST) }
    }

    /// The precision of the language model: that of its arithmetic, or the way in which it is quantised.
    pub fn precision(&self) -> &str {
        if self.llama.is_quantised() {
            &self.manifest().language.precision
        } else {
            Precision::from_dtype(self.llama.dtype()).map_or("f32", Precision::name)
        }
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
        Ok(fuse(&features, self.manifest().image_side())?)
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

/// The tensors below the prefix that stands before the names of an encoder or a projector.
pub(crate) fn at_prefix<'a>(vb: &VarBuilder<'a>, prefix: &str) -> VarBuilder<'a> {
    match prefix.trim_end_matches('.') {
        "" => vb.clone(),
        prefix => vb.pp(prefix),
    }
}

/// An encoder's weights, with as many layers as the manifest says.
pub(crate) fn open_encoder(package: &Package, spec: &EncoderSpec) -> Result<Weights, weights::Error> {
    let weights = open(package, &spec.weights)?;
    weights.end_before(&format!("{}blocks.{}.", spec.prefix, spec.layers))?;
    Ok(weights)
}

pub(crate) fn open(package: &Package, files: &[String]) -> Result<Weights, weights::Error> {
    Weights::open(&files.iter().map(|name| package.file(name)).collect::<Vec<_>>())
}

pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text =
        std::fs::read_to_string(path).map_err(|source| Error::Read { source, path: path.to_owned() })?;
    serde_json::from_str(&text).map_err(|e| Error::Config {
        reason: format!("the file is not as expected, {e}"),
        path: path.to_owned(),
    })
}

pub(crate) fn check_vocabulary(
    package: &Package,
    config: &LlamaConfig,
    tokenizer: &ChatTokenizer,
) -> Result<(), Error> {
    // Not how many there are: numbers may be left out.
    let last = tokenizer.tokenizer().get_vocab(true).into_values().max();
    if let Some(last) = last.filter(|&id| id as usize >= config.vocab_size) {
        let vocab = config.vocab_size;
        let reason = format!("the tokenizer has a token {last}, but the language model only {vocab}");
        return Err(Error::Config { reason, path: package.file(&package.manifest.language.tokenizer) });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::fixture::{Speech, write_package};
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
}
