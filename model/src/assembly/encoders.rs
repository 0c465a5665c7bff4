//! CONCH's and UNI's files: their sizes, which follow from the tensors, and the grid that both share.

use std::path::Path;

use serde_json::Value;

use super::{Error, Source, one_file, open};
use crate::package::{EncoderKind, EncoderSpec, GridRule, ResizeFilter, VisionSpec};
use crate::weights::Weights;

/// The name that every encoder's tensors are found by.
const PATCHES: &str = "patch_embed.proj.weight";
/// Channels of each head of the published encoders (timm's ViT-B and ViT-L).
const HEAD_CHANNELS: usize = 64;

/// More than any encoder has.
const MOST_LAYERS: usize = 1000;

/// OpenAI's normalisation, which CONCH has (`transform.py`, CONCH at 141cc09).
const OPENAI: ([f32; 3], [f32; 3]) = (VisionSpec::PUBLISHED_MEAN, VisionSpec::PUBLISHED_STD);
/// ImageNet's, which UNI has (`get_encoder.py`, UNI at 42715ef).
const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

/// The encoder in a file, or in a folder as it is published.
pub(super) fn find(kind: EncoderKind, path: &Path) -> Result<(EncoderSpec, Source), Error> {
    let file = one_file(path, &["pytorch_model.bin", "model.safetensors"])?;
    let source = Source::new(kind.name(), &file)?;
    let unfit = |reason: String| Error::Unfit { reason, path: file.clone() };
    let shape = Shape::of(&open(&file)?).map_err(unfit)?;
    let heads = match (heads(&file), shape.width % HEAD_CHANNELS) {
        (Some(heads), _) => heads,
        (None, 0) => shape.width / HEAD_CHANNELS,
        (None, _) => {
            let width = shape.width;
            return Err(unfit(format!(
                "how many heads share its {width} channels is in no config.json beside it"
            )));
        }
    };
    let (resize, (mean, std)) = match kind {
        EncoderKind::Conch => (ResizeFilter::Bicubic, OPENAI),
        EncoderKind::Uni | EncoderKind::Vit => (ResizeFilter::Bilinear, IMAGENET),
    };
    let spec = EncoderSpec {
        kind,
        weights: vec![source.name.clone()],
        image_size: shape.side,
        trained_size: None,
        resize,
        mean,
        std,
        patch_size: shape.patch,
        width: shape.width,
        layers: shape.layers,
        heads,
        mlp_width: shape.mlp_width,
        layer_scale: shape.layer_scale,
        prefix: shape.prefix,
    };
    Ok((spec, source))
}

/// Feeds two encoders at the sizes at which their grids are the same.
pub(super) fn share_a_grid(encoders: &mut [EncoderSpec], rule: GridRule) {
    let [conch, uni] = encoders else { return };
    let (like, other) = match rule {
        GridRule::UniAtConch | GridRule::Pooled => (&*conch, uni),
        GridRule::ConchAtUni => (&*uni, conch),
    };
    let side = (like.image_size / like.patch_size).saturating_mul(other.patch_size);
    if side != other.image_size {
        other.trained_size = Some(other.image_size);
        other.image_size = side;
    }
}

/// What the tensors of a vision transformer tell of it.
struct Shape {
    prefix: String,
    width: usize,
    patch: u32,
    /// Side of the pixel tensor that its positions belong to.
    side: u32,
    layers: usize,
    mlp_width: usize,
    layer_scale: bool,
}

impl Shape {
    fn of(weights: &Weights) -> Result<Self, String> {
        let name = weights.shapes().map(|(name, _)| name).find(|name| name.ends_with(PATCHES));
        let prefix = name.ok_or_else(|| format!("there is no tensor {PATCHES}, as every encoder has"))?;
        let prefix = prefix.strip_suffix(PATCHES).unwrap_or_default().to_owned();
        let shape = |name: &str| weights.shape(&format!("{prefix}{name}"));
        let known = |name: &str| shape(name).ok_or_else(|| format!("the tensor {prefix}{name} is missing"));
        if shape("reg_token").is_some() {
            return Err("an encoder with register tokens (UNI2-h) is not supported".to_owned());
        }
        let (patches, positions) = (known(PATCHES)?, known("pos_embed")?);
        let strange = |name: &str, shape: &[usize]| {
            format!("the tensor {prefix}{name} of shape {shape:?} is not that of a vision transformer")
        };
        let &[width, 3, patch, other] = patches else { return Err(strange(PATCHES, patches)) };
        let &[1, tokens, channels] = positions else { return Err(strange("pos_embed", positions)) };
        let grid = tokens.saturating_sub(1).isqrt();
        if patch != other || patch == 0 || channels != width || grid == 0 || grid * grid + 1 != tokens {
            return Err(strange("pos_embed", positions));
        }
        let layers =
            (0..MOST_LAYERS).take_while(|i| shape(&format!("blocks.{i}.norm1.weight")).is_some()).count();
        let inner = known("blocks.0.mlp.fc1.weight")?;
        let px = |value: usize| u32::try_from(value).map_err(|_too_large| strange("pos_embed", positions));
        Ok(Self {
            width,
            patch: px(patch)?,
            side: px(patch.saturating_mul(grid))?,
            layers,
            mlp_width: inner.first().copied().unwrap_or_default(),
            layer_scale: shape("blocks.0.ls1.gamma").is_some(),
            prefix,
        })
    }
}

/// The number of heads in the `config.json` beside a file, where there is one that tells it: timm's or CONCH's.
fn heads(file: &Path) -> Option<usize> {
    let text = std::fs::read_to_string(file.with_file_name("config.json")).ok()?;
    let config: Value = serde_json::from_str(&text).ok()?;
    let found = [("vision_cfg", "num_heads"), ("vision_cfg", "heads"), ("model_args", "num_heads")]
        .into_iter()
        .find_map(|(part, key)| config.get(part)?.get(key)?.as_u64())?;
    usize::try_from(found).ok()
}
