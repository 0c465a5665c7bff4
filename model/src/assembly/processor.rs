//! A vision tower's sizes in `config.json`, and what its image processor does to pixels, in the file of transformers 4
//! (`preprocessor_config.json`) or of transformers 5 (`processor_config.json`).

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::Error;
use crate::package::{Package, VisionSpec};
use crate::reinpath::read_json;

/// What `Resampling.BICUBIC` is in Pillow.
const BICUBIC: u64 = 3;

/// `vision_config`, with transformers' own values for what is missing (`Qwen2_5_VLVisionConfig`), but for the hidden size,
/// which no published model has from there.
#[derive(Deserialize)]
#[serde(default)]
struct VisionConfig {
    depth: usize,
    hidden_size: Option<usize>,
    hidden_act: String,
    intermediate_size: usize,
    num_heads: usize,
    /// The channels of an image have two names; some files have both.
    in_channels: Option<u32>,
    in_chans: Option<u32>,
    patch_size: u32,
    spatial_merge_size: u32,
    temporal_patch_size: u32,
    window_size: u32,
    out_hidden_size: usize,
    fullatt_block_indexes: Vec<usize>,
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self {
            depth: 32,
            hidden_size: None,
            hidden_act: "silu".to_owned(),
            intermediate_size: 3420,
            num_heads: 16,
            in_channels: None,
            in_chans: None,
            patch_size: 14,
            spatial_merge_size: 2,
            temporal_patch_size: 2,
            window_size: 112,
            out_hidden_size: 3584,
            fullatt_block_indexes: vec![7, 15, 23, 31],
        }
    }
}

/// An image processor, as far as it matters here.
#[derive(Default, Deserialize)]
struct Processor {
    min_pixels: Option<u64>,
    max_pixels: Option<u64>,
    /// The same under newer names, which are those of other processors' edges.
    size: Option<Pixels>,
    patch_size: Option<u32>,
    merge_size: Option<u32>,
    temporal_patch_size: Option<u32>,
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
    do_resize: Option<bool>,
    do_rescale: Option<bool>,
    do_normalize: Option<bool>,
    resample: Option<u64>,
}

#[derive(Deserialize)]
struct Pixels {
    shortest_edge: Option<u64>,
    longest_edge: Option<u64>,
}

/// The tower that the files in a folder describe; `config` is that of the whole model. The weights and their precision are
/// left to whoever knows them.
pub(super) fn tower(folder: &Path, config: &Value) -> Result<VisionSpec, Error> {
    let path = folder.join("config.json");
    let unfit = |reason: String| Error::Unfit { reason, path: path.clone() };
    let strange = |reason: String| unfit(format!("its vision_config is not as expected, {reason}"));
    let vision = config.get("vision_config").ok_or_else(|| strange("there is none".to_owned()))?;
    let vision = VisionConfig::deserialize(vision).map_err(|e| strange(e.to_string()))?;
    let spec = vision.spec().map_err(strange)?;
    Package::check_vision(&spec).map_err(unfit)?;
    let Some((path, processor)) = read(folder)? else { return Ok(spec) };
    let unfit = |reason: String| Error::Unfit { reason, path: path.clone() };
    let spec = processor.applied_to(spec).map_err(unfit)?;
    Package::check_vision(&spec).map_err(unfit)?;
    Ok(spec)
}

impl VisionConfig {
    /// With the published image processor, and a file that is to be replaced.
    fn spec(self) -> Result<VisionSpec, String> {
        if self.hidden_act != "silu" {
            return Err(format!("a tower with the activation '{}' is not supported", self.hidden_act));
        }
        if let Some(other) = self.in_channels.or(self.in_chans).filter(|&channels| channels != 3) {
            return Err(format!("images of {other} channels are not supported"));
        }
        let [min_pixels, max_pixels] = VisionSpec::PUBLISHED_PIXELS;
        Ok(VisionSpec {
            weights: vec!["model.safetensors".to_owned()],
            precision: String::new(),
            min_pixels,
            max_pixels,
            mean: VisionSpec::PUBLISHED_MEAN,
            std: VisionSpec::PUBLISHED_STD,
            patch_size: self.patch_size,
            merge_size: self.spatial_merge_size,
            temporal_patch_size: self.temporal_patch_size,
            width: self.hidden_size.ok_or("hidden_size is missing")?,
            layers: self.depth,
            heads: self.num_heads,
            mlp_width: self.intermediate_size,
            out_width: self.out_hidden_size,
            window_size: self.window_size,
            full_attention: self.fullatt_block_indexes,
        })
    }
}

/// The image processor's file; the older one is that of the weights, where both are there. `None`: it is the published one.
fn read(folder: &Path) -> Result<Option<(PathBuf, Processor)>, Error> {
    #[derive(Deserialize)]
    struct Whole {
        image_processor: Option<Processor>,
    }
    let (older, newer) = (folder.join("preprocessor_config.json"), folder.join("processor_config.json"));
    if older.is_file() {
        let processor = read_json(&older)?;
        return Ok(Some((older, processor)));
    }
    if newer.is_file() {
        let Whole { image_processor } = read_json(&newer)?;
        return Ok(image_processor.map(|processor| (newer, processor)));
    }
    Ok(None)
}

impl Processor {
    fn applied_to(self, spec: VisionSpec) -> Result<VisionSpec, String> {
        for (what, does, tower) in [
            ("patch_size", self.patch_size, spec.patch_size),
            ("merge_size", self.merge_size, spec.merge_size),
            ("temporal_patch_size", self.temporal_patch_size, spec.temporal_patch_size),
        ] {
            if let Some(other) = does.filter(|&does| does != tower) {
                return Err(format!("its {what} is {other}, but that of the vision tower is {tower}"));
            }
        }
        for (what, does) in [
            ("do_resize", self.do_resize),
            ("do_rescale", self.do_rescale),
            ("do_normalize", self.do_normalize),
        ] {
            if does == Some(false) {
                return Err(format!("an image processor without {what} is not supported"));
            }
        }
        if let Some(other) = self.resample.filter(|&filter| filter != BICUBIC) {
            return Err(format!("an image processor with the filter {other} (resample) is not supported"));
        }
        let (least, most) = self.size.map_or((None, None), |size| (size.shortest_edge, size.longest_edge));
        Ok(VisionSpec {
            min_pixels: self.min_pixels.or(least).unwrap_or(spec.min_pixels),
            max_pixels: self.max_pixels.or(most).unwrap_or(spec.max_pixels),
            mean: self.image_mean.unwrap_or(spec.mean),
            std: self.image_std.unwrap_or(spec.std),
            ..spec
        })
    }
}
