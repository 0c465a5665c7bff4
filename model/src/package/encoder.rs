//! A patch's scale and size, and the encoders that look at it, as data.

use serde::{Deserialize, Serialize};

/// Largest side of an encoder's pixel tensor; the published ones have 448.
const LARGEST_IMAGE: u32 = 4096;

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

    /// A reason why there can be no such encoder.
    pub(super) fn check(&self) -> Result<(), String> {
        let name = self.kind.name();
        if [self.image_size, self.patch_size].contains(&0)
            || [self.width, self.layers, self.heads].contains(&0)
        {
            return Err(format!("{name}: image_size, patch_size, width, layers and heads must be positive"));
        }
        if !self.image_size.is_multiple_of(self.patch_size) || !self.width.is_multiple_of(self.heads) {
            return Err(format!("{name}: patch_size must divide image_size, and heads must divide width"));
        }
        if self.trained_size() == 0 || !self.trained_size().is_multiple_of(self.patch_size) {
            return Err(format!("{name}: patch_size must divide trained_size"));
        }
        if self.image_size.max(self.trained_size()) > LARGEST_IMAGE {
            return Err(format!("{name}: an encoder of more than {LARGEST_IMAGE} px is not supported"));
        }
        if self.std.iter().any(|s| !s.is_finite() || *s <= 0.0) {
            return Err(format!("{name}: std must be positive"));
        }
        Ok(())
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
