//! A package's manifest, as data: what the model is made of and what it was trained on.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use super::{Error, FORMAT, Instructions, Terms, VisionSpec};
use crate::request::Sampling;

/// Largest side of an encoder's pixel tensor; the published ones have 448.
const LARGEST_IMAGE: u32 = 4096;

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

/// The physical size of a patch: `size_px * mpp` microns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PatchSpec {
    /// Side of the square, in pixels at `mpp`.
    pub size_px: u32,
    /// Microns per pixel.
    pub mpp: f64,
}

impl PatchSpec {
    /// Side of the square, in microns.
    pub fn size_um(&self) -> f64 {
        f64::from(self.size_px) * self.mpp
    }

    /// Sentences about a patch of `width` × `height` pixels that the model was not trained to read: its scale (microns
    /// per pixel) or its physical size is unknown or more than a quarter off, or it is no square.
    pub fn warnings(&self, width: u32, height: u32, mpp: Option<f64>) -> Vec<String> {
        let mut warnings = Vec::new();
        let own = self.mpp;
        let is_off = |ratio: f64| !(0.8..=1.25).contains(&ratio);
        match mpp {
            None => warnings.push(format!(
                "The scale of the patch is unknown; the model was trained at {own} µm per pixel."
            )),
            Some(mpp) => {
                if is_off(mpp / own) {
                    warnings.push(format!(
                        "The patch has {mpp:.3} µm per pixel; the model was trained at {own} µm per pixel."
                    ));
                }
                let (side_um, own_um) = (f64::from(width.min(height)) * mpp, self.size_um());
                if is_off(side_um / own_um) {
                    warnings.push(format!(
                        "The patch shows {side_um:.0} µm of tissue; the model was trained on patches of {own_um:.0} µm."
                    ));
                }
            }
        }
        if is_off(f64::from(width) / f64::from(height)) {
            warnings.push("The patch is not square; the model sees only its centre.".to_owned());
        }
        warnings
    }
}

/// A vision transformer and how pixels are prepared for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncoderSpec {
    pub kind: EncoderKind,
    pub weights: Vec<String>,
    /// Side of the pixel tensor.
    pub image_size: u32,
    /// Side of the pixel tensor that the encoder was trained with, where it is another: its positions are resized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained_size: Option<u32>,
    pub resize: ResizeFilter,
    pub mean: [f32; 3],
    pub std: [f32; 3],
    /// Side of a ViT cell in pixels.
    pub patch_size: u32,
    /// Hidden size.
    pub width: usize,
    pub layers: usize,
    pub heads: usize,
    /// Hidden size of the MLP.
    pub mlp_width: usize,
    /// Whether each residual branch is scaled per channel (UNI).
    #[serde(default)]
    pub layer_scale: bool,
    /// What stands before the tensor names in the weight files: `visual.trunk.` for CONCH, nothing for UNI.
    #[serde(default)]
    pub prefix: String,
}

impl EncoderSpec {
    /// Cells along a side.
    pub fn grid_side(&self) -> usize {
        (self.image_size / self.patch_size.max(1)) as usize
    }

    /// Side of the pixel tensor that the encoder's positions belong to.
    pub fn trained_size(&self) -> u32 {
        self.trained_size.unwrap_or(self.image_size)
    }
}

/// Which published encoder this is, at whatever size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EncoderKind {
    /// Trained on image-text pairs.
    Conch,
    /// Trained on images alone.
    Uni,
    Vit,
}

impl EncoderKind {
    /// The name as in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conch => "conch",
            Self::Uni => "uni",
            Self::Vit => "vit",
        }
    }
}

/// Filter of an antialiased resize.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResizeFilter {
    Bicubic,
    Bilinear,
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

    /// Side of the grid of image tokens.
    pub fn image_side(&self) -> usize {
        self.encoders.iter().map(EncoderSpec::grid_side).min().unwrap_or(0) / self.fusion.pool
    }

    /// Image tokens of one patch.
    pub fn image_tokens(&self) -> usize {
        self.image_side().pow(2)
    }

    /// Channels of the fused features.
    pub fn fused_width(&self) -> usize {
        self.encoders.iter().map(|e| e.width).sum()
    }

    fn check(&self) -> Result<(), String> {
        let positive =
            |what: &str, ok: bool| if ok { Ok(()) } else { Err(format!("{what} must be positive")) };
        positive("patch.size_px", self.patch.size_px > 0)?;
        positive("patch.mpp", self.patch.mpp > 0.0 && self.patch.mpp.is_finite())?;
        positive("fusion.pool", self.fusion.pool > 0)?;
        if self.encoders.is_empty() {
            return Err("at least one encoder is needed".to_owned());
        }
        for e in &self.encoders {
            let name = e.kind.name();
            positive(&format!("{name}: image_size, patch_size, width, layers and heads"), {
                e.image_size > 0 && e.patch_size > 0 && e.width > 0 && e.layers > 0 && e.heads > 0
            })?;
            if !e.image_size.is_multiple_of(e.patch_size) || !e.width.is_multiple_of(e.heads) {
                return Err(format!(
                    "{name}: patch_size must divide image_size, and heads must divide width"
                ));
            }
            if e.trained_size() == 0 || !e.trained_size().is_multiple_of(e.patch_size) {
                return Err(format!("{name}: patch_size must divide trained_size"));
            }
            if e.image_size.max(e.trained_size()) > LARGEST_IMAGE {
                return Err(format!("{name}: an encoder of more than {LARGEST_IMAGE} px is not supported"));
            }
            if e.std.iter().any(|s| !s.is_finite() || *s <= 0.0) {
                return Err(format!("{name}: std must be positive"));
            }
        }
        self.check_grid()?;
        let names = (self.encoders.iter().flat_map(|e| &e.weights))
            .chain([&self.projector.weights, &self.language.config, &self.language.tokenizer])
            .chain(&self.language.weights)
            .chain(self.adapters.iter().map(|a| &a.folder))
            .chain(self.knows.feature_range.iter().map(|range| &range.weights));
        for name in names {
            // A manifest from elsewhere must not reach files outside its folder.
            if Path::new(name).components().any(|c| !matches!(c, Component::Normal(_))) || name.is_empty() {
                return Err(format!("'{name}' is not a file inside the package"));
            }
        }
        Ok(())
    }
}

impl Manifest {
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

#[cfg(test)]
impl EncoderSpec {
    /// A tiny encoder.
    pub(crate) fn for_tests() -> Self {
        Self {
            kind: EncoderKind::Vit,
            weights: vec!["vit.safetensors".into()],
            image_size: 32,
            trained_size: None,
            resize: ResizeFilter::Bicubic,
            mean: [0.5; 3],
            std: [0.5; 3],
            patch_size: 8,
            width: 16,
            layers: 1,
            heads: 2,
            mlp_width: 32,
            layer_scale: false,
            prefix: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PatchSpec;

    #[test]
    fn what_is_more_than_a_quarter_off_is_told() {
        let spec = PatchSpec { size_px: 224, mpp: 0.5 };
        assert!((spec.size_um() - 112.0).abs() < 1e-9);
        for (side, mpp) in [(224, 0.5), (224, 0.499), (224, 0.41), (250, 0.5)] {
            assert_eq!(spec.warnings(side, side, Some(mpp)), [""; 0]);
        }
        let told = |w, h, mpp| spec.warnings(w, h, mpp).join(" ");
        assert!(told(448, 448, Some(0.25)).contains("0.250 µm per pixel"));
        assert!(!told(448, 448, Some(0.25)).contains("of tissue"));
        assert!(told(512, 512, Some(0.5)).contains("256 µm of tissue"));
        assert!(told(224, 224, None).contains("unknown"));
        assert!(told(300, 224, Some(0.5)).contains("only its centre"));
    }
}
