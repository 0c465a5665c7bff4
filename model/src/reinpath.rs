//! The whole model of a package: ReinPath's two encoders with their projector (paper, section 2.2) or the vision tower of a
//! Qwen2.5-VL, then language model with its adapters and tokenizer.
//!
//! From patches to image embeddings, by the eyes in `sight.rs`; how text is generated from them is in `generate.rs`. Nothing
//! is trained here.

mod sight;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor};
use candle_nn::VarBuilder;

use self::sight::Sight;
use crate::adapter::AdapterFiles;
use crate::device::{self, Precision};
use crate::images::{Images, Seen};
use crate::language;
use crate::llama::{Adapter, Llama, LlamaConfig};
use crate::package::{self, EncoderSpec, Grid, LanguageKind, Manifest, Package, VisionSpec};
use crate::patch::{self, Patch};
use crate::projector::Projector;
use crate::prompt::{self, ChatTokenizer};
use crate::recent::Recent;
use crate::room::{self, Shortage};
use crate::weights::gguf::Gguf;
use crate::weights::{self, Size, Weights, keys, mmproj};

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
    /// What only ReinPath's own models have was wanted of another.
    #[error(
        "the model is a Qwen2.5-VL, which has no encoders, no fused features and no projector as ReinPath's models have"
    )]
    Family,
    #[error(transparent)]
    Room(Box<Shortage>),
    #[error("the model's arithmetic failed: {}", sentence(.0))]
    Compute(#[from] candle_core::Error),
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// Whether a device's memory ran out.
    pub(crate) fn is_shortage(&self) -> bool {
        match self {
            Self::Compute(error) => room::is_shortage(error),
            Self::Weights(weights::Error::Full(_)) => true,
            _ => false,
        }
    }
}

/// The first line of an arithmetic error: with `RUST_BACKTRACE` set, candle's own text goes on for pages.
pub(crate) fn sentence(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// A loaded model.
#[derive(Debug)]
pub struct ReinPath {
    pub package: Package,
    sight: Sight,
    pub llama: Llama,
    /// The adapters of which at most one is active, by name.
    adapters: Vec<(String, Adapter)>,
    /// The one that is, by its place.
    active: Option<usize>,
    pub tokenizer: ChatTokenizer,
    /// Ids of the tokens that end an answer.
    pub stop: Vec<u32>,
    pub size: Size,
    device: Device,
    pub(crate) recent: Recent,
    /// Who tells what the device has free.
    pub(crate) free: room::Free,
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

    /// The same with the language model in another precision. What it sees with is small and always in f32. A model that
    /// takes more than the device has free is refused before any of it is loaded.
    pub fn load_in(
        package: &Package,
        device: &Device,
        precision: Precision,
        progress: &mut dyn FnMut(&str, f32) -> bool,
    ) -> Result<Self, Error> {
        Self::load_beside(package, device, precision, device::free, progress)
    }

    /// The same where `free` tells what the device has free.
    pub(crate) fn load_beside(
        package: &Package,
        device: &Device,
        precision: Precision,
        free: room::Free,
        progress: &mut dyn FnMut(&str, f32) -> bool,
    ) -> Result<Self, Error> {
        Self::load_parts(package, device, precision, free, progress)
            .map_err(|error| room::told_of_package(error, package, precision, device, free))
    }

    fn load_parts(
        package: &Package,
        device: &Device,
        precision: Precision,
        free: room::Free,
        progress: &mut dyn FnMut(&str, f32) -> bool,
    ) -> Result<Self, Error> {
        let manifest = &package.manifest;
        let mut step = |what: &str, done: f32| progress(what, done).then_some(()).ok_or(Error::Cancelled);
        step("reading the tokenizer", 0.0)?;
        let tokenizer = ChatTokenizer::of_package(package)?;
        let config = language::config(package)?;
        check_vocabulary(package, &config, &tokenizer)?;
        room::check_package(package, &config, precision, device, free)?;
        let (sight, mut size) = Sight::load(package, config.hidden_size, device, &mut step)?;
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
        // Nobody trains a Qwen2.5-VL here: with its adapters its weights are as they stay.
        if manifest.language.kind == LanguageKind::Qwen25Vl {
            llama.pack()?;
        }
        let stop = manifest.generation.stop.iter().map(|t| tokenizer.token(t)).collect::<Result<_, _>>()?;
        step("ready", 1.0)?;
        llama.put_adapter(adapters.first().map(|(_, adapter)| adapter));
        Ok(Self {
            package: package.clone(),
            sight,
            llama,
            active: (!adapters.is_empty()).then_some(0),
            adapters,
            tokenizer,
            stop,
            size,
            device: device.clone(),
            recent: Recent::default(),
            free,
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

    /// What the model sees of patches, for as long as `going` says so, which is asked between patches and between the blocks
    /// of what it sees with; `false` from it ends with [`Error::Cancelled`]. `asked` limits the pixels that it is given of
    /// each, where patches have any size. The only place where pixels become tensors.
    pub fn look(
        &self,
        patches: &[Patch],
        asked: Option<u64>,
        going: &mut dyn FnMut() -> bool,
    ) -> Result<Seen, Error> {
        self.sight.look(patches, asked, &self.device, going)
    }

    /// Image embeddings of what was seen, as they stand among words.
    pub fn images(&self, seen: &Seen) -> Result<Images, Error> {
        self.sight.images(seen)
    }

    /// Rows and columns of the image tokens that [`Self::look`] makes of each patch: known before it looks.
    pub fn grids(&self, patches: &[Patch], asked: Option<u64>) -> Result<Vec<Grid>, Error> {
        let Some(spec) = &self.manifest().vision else {
            return Ok(vec![Grid::square(self.manifest().image_side()); patches.len()]);
        };
        let of = |patch: &Patch| spec.size_for(patch.width, patch.height, asked).map(|size| spec.grid(size));
        Ok(patches.iter().map(of).collect::<Result<_, _>>().map_err(patch::Error::Vision)?)
    }

    /// Fused features of the patches, (patches, image_tokens, fused). As the three that follow for ReinPath's own models
    /// alone: of another it is [`Error::Family`].
    pub fn features(&self, patches: &[Patch]) -> Result<Tensor, Error> {
        self.features_while(patches, &mut || true)
    }

    /// The same for as long as `going` says so, as in [`Self::look`].
    pub fn features_while(
        &self,
        patches: &[Patch],
        going: &mut dyn FnMut() -> bool,
    ) -> Result<Tensor, Error> {
        self.sight.encoders()?;
        match self.look(patches, None, going)? {
            Seen::Fused(features) => Ok(features),
            Seen::Merged(_) => Err(Error::Family),
        }
    }

    /// What makes image embeddings of fused features.
    pub fn projector(&self) -> Result<&Projector, Error> {
        Ok(&self.sight.encoders()?.projector)
    }

    /// Image embeddings of fused features: (patches, image_tokens, fused) to (patches, image_tokens, hidden).
    pub fn embeddings(&self, features: &Tensor) -> Result<Tensor, Error> {
        Ok(self.projector()?.forward(features)?)
    }

    /// One plain sentence when patches look unlike anything the model was trained on.
    pub fn out_of_range(&self, seen: &Seen) -> Result<Option<String>, Error> {
        let (Sight::Encoders(eyes), Seen::Fused(features)) = (&self.sight, seen) else { return Ok(None) };
        let Some(known) = &eyes.known else { return Ok(None) };
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

/// Where a vision tower's tensors are.
pub(crate) enum TowerWeights {
    /// In full precision, under the tower's own names.
    Full(Weights),
    /// In a GGUF file of their own.
    Gguf(Arc<Gguf>),
}

impl TowerWeights {
    /// Builds something from the tensors, as [`Weights::build`] does.
    pub(crate) fn build<T>(
        self,
        device: &Device,
        build: impl FnOnce(VarBuilder<'_>) -> candle_core::Result<T>,
    ) -> Result<(T, Size), weights::Error> {
        match self {
            Self::Full(weights) => weights.build(device, build),
            Self::Gguf(gguf) => mmproj::build(&gguf, device, build),
        }
    }

    /// Looks the tensors through, as [`Weights::check`] does.
    pub(crate) fn check<T>(
        self,
        build: impl FnOnce(VarBuilder<'_>) -> candle_core::Result<T>,
    ) -> Result<(T, Size), weights::Error> {
        match self {
            Self::Full(weights) => weights.check(build),
            Self::Gguf(gguf) => mmproj::check(&gguf, build),
        }
    }
}

/// A vision tower's weights, with as many blocks as the manifest says; `hidden` are the channels of the language model that it
/// sees for.
pub(crate) fn open_tower(package: &Package, spec: &VisionSpec, hidden: usize) -> Result<TowerWeights, Error> {
    if spec.out_width != hidden {
        let reason = format!(
            "the vision tower makes image tokens of {} channels, but the language model reads {hidden}",
            spec.out_width
        );
        return Err(Error::Config { reason, path: package.file(package::MANIFEST) });
    }
    if let [file] = spec.weights.as_slice()
        && Path::new(file).extension().is_some_and(|own| own == "gguf")
    {
        return Ok(TowerWeights::Gguf(Arc::new(Gguf::open(&package.file(file))?)));
    }
    let weights = open(package, &spec.weights)?.renamed(keys::tower);
    weights.end_before(&format!("blocks.{}.", spec.layers))?;
    Ok(TowerWeights::Full(weights))
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
mod tests;
