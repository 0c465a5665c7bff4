//! What the window knows of the model in use, from its package.

use std::path::{Path, PathBuf};

use reinpath_model::package::{EncoderKind, EncoderSpec, Generation, PatchSpec, ResizeFilter, VisionSpec};

/// What a model expects of patches, from its package.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    pub name: String,
    /// Of the package.
    pub folder: PathBuf,
    pub patch: PatchSpec,
    /// What is given to it is shown as the patch's thumbnail.
    pub eyes: Eyes,
    pub generation: Generation,
}

/// How a model looks at patches.
#[derive(Clone, Debug, PartialEq)]
pub enum Eyes {
    /// At a square of each: a ReinPath model, of whose encoders this is the first.
    Encoder(EncoderSpec),
    /// At the whole of each, whatever its size, up to a limit of pixels: a Qwen2.5-VL.
    Vision(VisionSpec),
}

impl ModelInfo {
    /// Its vision tower, where it takes patches of any size.
    pub fn vision(&self) -> Option<&VisionSpec> {
        match &self.eyes {
            Eyes::Vision(vision) => Some(vision),
            Eyes::Encoder(_) => None,
        }
    }

    /// Of a model that is none, for tests and for the self-test, which say themselves what it answers: it takes patches of 224 px at
    /// 0.5 µm/px and looks at 112 px of them.
    pub fn scripted(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            folder: Path::new("models").join(name),
            patch: PatchSpec { size_px: 224, mpp: 0.5 },
            eyes: Eyes::Encoder(EncoderSpec {
                kind: EncoderKind::Vit,
                weights: Vec::new(),
                image_size: 112,
                trained_size: None,
                resize: ResizeFilter::Bicubic,
                mean: [0.5; 3],
                std: [0.5; 3],
                patch_size: 8,
                width: 8,
                layers: 1,
                heads: 1,
                mlp_width: 8,
                layer_scale: false,
                prefix: String::new(),
            }),
            generation: Generation::default(),
        }
    }

    /// The same of a model that takes patches of any size: a token for each 28 × 28 px of them, from 4 to 16,384 of these, as the
    /// published files of Qwen2.5-VL allow.
    pub fn scripted_vision(name: &str) -> Self {
        let vision = VisionSpec {
            weights: Vec::new(),
            precision: "f32".to_owned(),
            min_pixels: 3136,
            max_pixels: 12_845_056,
            mean: [0.5; 3],
            std: [0.5; 3],
            patch_size: 14,
            merge_size: 2,
            temporal_patch_size: 2,
            width: 8,
            layers: 1,
            heads: 1,
            mlp_width: 8,
            out_width: 8,
            window_size: 112,
            full_attention: vec![0],
        };
        Self { eyes: Eyes::Vision(vision), ..Self::scripted(name) }
    }
}
