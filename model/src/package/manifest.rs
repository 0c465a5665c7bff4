//! A package's manifest, as data: what the model is made of and what it was trained on.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use super::{
    EncoderKind, EncoderSpec, Error, FORMAT, Instructions, PatchSpec, Terms, USUAL_PIXELS, VisionSpec,
};
use crate::request::Sampling;

/// The manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    pub name: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub licence: String,
    #[serde(default)]
    pub languages: Vec<String>,
    #[serde(default)]
    pub created: String,
    #[serde(default)]
    pub provenance: String,
    pub architecture: Architecture,
    pub patch: PatchSpec,
    /// Encoders, fusion and projector of a ReinPath model, which has them all; another has none of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub encoders: Vec<EncoderSpec>,
    #[serde(default, skip_serializing_if = "Fusion::is_default")]
    pub fusion: Fusion,
    #[serde(default, skip_serializing_if = "ProjectorSpec::is_absent")]
    pub projector: ProjectorSpec,
    /// The eyes of a Qwen2.5-VL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vision: Option<VisionSpec>,
    pub language: LanguageSpec,
    #[serde(default, skip_serializing_if = "Instructions::is_default")]
    pub instructions: Instructions,
    /// What the model's licence says about using it here, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<Terms>,
    #[serde(default)]
    pub adapters: Vec<AdapterSpec>,
    pub generation: Generation,
    #[serde(default)]
    pub knows: Knows,
    #[serde(default)]
    pub files: BTreeMap<String, FileRecord>,
}

/// Which model the package holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architecture {
    #[serde(rename = "reinpath")]
    ReinPath,
    #[serde(rename = "qwen2.5-vl")]
    Qwen25Vl,
}

/// How the features of the encoders become one grid of image tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fusion {
    pub grid: GridRule,
    /// Side of the square of cells, of the coarsest grid, that are averaged into one image token (`pooled` only; 1 is
    /// none).
    #[serde(default = "one")]
    pub pool: usize,
}

impl Default for Fusion {
    fn default() -> Self {
        Self { grid: GridRule::Pooled, pool: 1 }
    }
}

impl Fusion {
    /// Whether nothing is said of it.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn one() -> usize {
    1
}

/// How the encoders come to one grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GridRule {
    /// UNI is fed at CONCH's size (784 tokens of 1,792 channels for the published ones).
    UniAtConch,
    /// CONCH is fed at UNI's size (196 tokens).
    ConchAtUni,
    /// Each at its own size; cells are averaged over squares.
    Pooled,
}

/// The two-layer MLP from fused features to the language model's embeddings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProjectorSpec {
    pub weights: String,
    /// Size between the two layers.
    pub hidden: usize,
    /// What stands before the tensor names in the weight file: `model.mm_projector.` for LLaVA's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
}

impl ProjectorSpec {
    /// Whether there is none.
    pub fn is_absent(&self) -> bool {
        *self == Self::default()
    }
}

/// The language model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LanguageSpec {
    pub kind: LanguageKind,
    pub weights: Vec<String>,
    /// `config.json` (Hugging Face), `params.json` (Meta), or the GGUF file itself.
    pub config: String,
    /// `tokenizer.json`, or another form that `tokenizer.rs` reads.
    pub tokenizer: String,
    pub chat_template: ChatTemplate,
    /// The file of the chat template ([`ChatTemplate::File`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Precision in which the weights are stored.
    pub precision: String,
}

/// Architecture of the language model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LanguageKind {
    Llama,
    /// A Llama with biases and multimodal positions.
    #[serde(rename = "qwen2.5-vl")]
    Qwen25Vl,
}

/// How a question becomes a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChatTemplate {
    /// Headers and `<|eot_id|>` as in Llama 3 Instruct.
    #[serde(rename = "llama-3")]
    Llama3,
    /// The model's own, in Jinja, in a file of the package.
    #[serde(rename = "file")]
    File,
}

/// A PEFT adapter in the package.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterSpec {
    pub name: String,
    pub folder: String,
    /// Whether it is one of several of which at most one is active, and which can be switched while the model is
    /// loaded; the first is, unless another is asked for. All others are part of the model for good.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alternative: bool,
}

/// Defaults of generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    pub temperature: f64,
    /// 0 is all.
    #[serde(default)]
    pub top_k: usize,
    pub top_p: f64,
    /// 1 changes nothing.
    #[serde(default = "no_penalty")]
    pub repetition_penalty: f64,
    pub max_tokens: usize,
    /// Tokens that end an answer, by their text.
    pub stop: Vec<String>,
}

fn no_penalty() -> f64 {
    Sampling::default().repetition_penalty
}

impl Default for Generation {
    fn default() -> Self {
        let Sampling { temperature, top_k, top_p, repetition_penalty, max_tokens, .. } = Sampling::default();
        Self { temperature, top_k, top_p, repetition_penalty, max_tokens, stop: Vec::new() }
    }
}

impl Generation {
    /// How an answer is drawn when nothing else is wanted.
    pub fn sampling(&self, seed: u64) -> Sampling {
        let Self { temperature, top_k, top_p, repetition_penalty, max_tokens, .. } = *self;
        Sampling { temperature, top_k, top_p, repetition_penalty, seed, max_tokens }
    }
}

/// What the model was trained on; outside it, answers carry a warning.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Knows {
    #[serde(default)]
    pub tissues: Vec<String>,
    /// Whether a slide must say in its properties that it shows one of the tissues: for models of drawn tissue, which
    /// real tissue may resemble in its features.
    #[serde(default)]
    pub declared: bool,
    /// Typical patches' features; `None` when nothing is known.
    #[serde(default)]
    pub feature_range: Option<FeatureRange>,
}

impl Knows {
    /// The tissues of which a slide must declare one; empty where it need not.
    pub fn must_declare(&self) -> &[String] {
        if self.declared { &self.tissues } else { &[] }
    }
}

/// Which patches are usual: a Gaussian over the summaries of their features (see `known.rs`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FeatureRange {
    /// The file with its `mean` and `whiten`.
    pub weights: String,
    /// Largest mean squared whitened deviation that counts as known.
    pub limit: f32,
}

/// Size and hash of a file, as recorded when the package was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    pub bytes: u64,
    /// In hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// Reads a manifest's text; `path` is for messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let invalid = |reason: String| Error::Manifest { reason, path: path.to_owned() };
        let version: Version = toml::from_str(text).map_err(|e| invalid(e.message().to_owned()))?;
        if version.format == 0 || version.format > FORMAT {
            return Err(Error::Format { found: version.format, path: path.to_owned() });
        }
        let manifest: Self = toml::from_str(text).map_err(|e| invalid(e.message().to_owned()))?;
        manifest.check().map_err(invalid)?;
        Ok(manifest)
    }

    /// Side of the grid of image tokens of a ReinPath model.
    pub fn image_side(&self) -> usize {
        self.encoders.iter().map(EncoderSpec::grid_side).min().unwrap_or(0) / self.fusion.pool
    }

    /// Image tokens of one patch; where patches have any size, of one as large as the manifest says, within the usual
    /// limit of pixels.
    pub fn image_tokens(&self) -> usize {
        let Some(vision) = &self.vision else { return self.image_side().pow(2) };
        let side = self.patch.size_px;
        vision.size_for(side, side, Some(USUAL_PIXELS)).map_or(0, |size| vision.grid(size).tokens())
    }

    /// Channels of the fused features.
    pub fn fused_width(&self) -> usize {
        self.encoders.iter().map(|e| e.width).sum()
    }

    fn check(&self) -> Result<(), String> {
        positive("patch.size_px", self.patch.size_px > 0)?;
        positive("patch.mpp", self.patch.mpp > 0.0 && self.patch.mpp.is_finite())?;
        positive("fusion.pool", self.fusion.pool > 0)?;
        match self.architecture {
            Architecture::ReinPath => self.check_reinpath()?,
            Architecture::Qwen25Vl => self.check_qwen()?,
        }
        for name in self.names() {
            // A manifest from elsewhere must not reach files outside its folder.
            if Path::new(name).components().any(|c| !matches!(c, Component::Normal(_))) || name.is_empty() {
                return Err(format!("'{name}' is not a file inside the package"));
            }
        }
        Ok(())
    }

    /// The files and folders that are named.
    fn names(&self) -> impl Iterator<Item = &String> {
        (self.encoders.iter().flat_map(|e| &e.weights))
            .chain(self.vision.iter().flat_map(|vision| &vision.weights))
            .chain((!self.projector.is_absent()).then_some(&self.projector.weights))
            .chain([&self.language.config, &self.language.tokenizer])
            .chain(&self.language.template)
            .chain(&self.language.weights)
            .chain(self.adapters.iter().map(|a| &a.folder))
            .chain(self.knows.feature_range.iter().map(|range| &range.weights))
    }

    /// What a ReinPath model has, and what it has not.
    fn check_reinpath(&self) -> Result<(), String> {
        if self.encoders.is_empty() {
            return Err("at least one encoder is needed".to_owned());
        }
        if self.projector.is_absent() {
            return Err("a projector is needed".to_owned());
        }
        if self.vision.is_some() {
            return Err("a ReinPath model has encoders, and no vision".to_owned());
        }
        if self.language.kind != LanguageKind::Llama || self.language.chat_template != ChatTemplate::Llama3 {
            return Err(
                "the language model of a ReinPath model is a llama, with llama-3's template".to_owned()
            );
        }
        self.encoders.iter().try_for_each(EncoderSpec::check)?;
        self.check_grid()
    }

    /// What a Qwen2.5-VL has, and what it has not.
    fn check_qwen(&self) -> Result<(), String> {
        let Some(vision) = &self.vision else {
            return Err("a qwen2.5-vl model needs its vision".to_owned());
        };
        if !self.encoders.is_empty() || !self.projector.is_absent() || self.knows.feature_range.is_some() {
            return Err(
                "a qwen2.5-vl model has no encoders, no projector and no range of features".to_owned()
            );
        }
        if self.language.kind != LanguageKind::Qwen25Vl {
            return Err("the language model of a qwen2.5-vl model is a qwen2.5-vl, too".to_owned());
        }
        if self.language.chat_template != ChatTemplate::File || self.language.template.is_none() {
            return Err("a qwen2.5-vl model needs its chat template as a file".to_owned());
        }
        if vision.weights.is_empty() || self.language.weights.is_empty() {
            return Err("a qwen2.5-vl model needs files of its vision and of its language model".to_owned());
        }
        vision.check()
    }

    /// Whether the encoders come to one grid in the way that the rule says.
    fn check_grid(&self) -> Result<(), String> {
        let coarsest = self.encoders.iter().map(EncoderSpec::grid_side).min().unwrap_or(0);
        if !coarsest.is_multiple_of(self.fusion.pool) {
            return Err("fusion.pool must divide the coarsest grid".to_owned());
        }
        let side = self.image_side();
        let fits = |e: &EncoderSpec| side > 0 && e.grid_side().is_multiple_of(side);
        if let Some(e) = self.encoders.iter().find(|e| !fits(e)) {
            let grid = e.grid_side();
            return Err(format!(
                "{}: its {grid} × {grid} cells cannot be joined to image tokens of {side} × {side}",
                e.kind.name()
            ));
        }
        let whose = match self.fusion.grid {
            GridRule::Pooled => return Ok(()),
            GridRule::UniAtConch => EncoderKind::Conch,
            GridRule::ConchAtUni => EncoderKind::Uni,
        };
        let own = |e: &EncoderSpec| e.kind == whose && e.image_size == e.trained_size();
        if !self.encoders.iter().any(own) {
            return Err(format!("fusion.grid needs {} at the size that it was trained at", whose.name()));
        }
        if self.encoders.iter().any(|e| e.grid_side() != side) {
            return Err("fusion.grid: only 'pooled' averages cells".to_owned());
        }
        Ok(())
    }
}

fn positive(what: &str, ok: bool) -> Result<(), String> {
    if ok { Ok(()) } else { Err(format!("{what} must be positive")) }
}
