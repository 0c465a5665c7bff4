//! A patch, and the pixels that each encoder makes of it: the one place where they come from.
//!
//! Each encoder resizes the shortest edge with its own filter (antialiased, as Pillow and torchvision do), cuts the
//! centre square and normalises with its own statistics: CONCH bicubic with CLIP's, UNI bilinear with ImageNet's
//! (CONCH `transform.py` at 141cc09, UNI `get_encoder.py` at 42715ef).

mod resize;
mod vision;

use self::resize::resized;
pub use self::vision::VisionInput;
use crate::package::EncoderSpec;

/// How much longer than wide a patch may be: the part beyond the square is resized, too, and costs memory.
const MOST_NARROW: f64 = 100.0;

/// Pixels of a region, as they are given to the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    pub width: u32,
    pub height: u32,
    /// Microns per pixel of these pixels; `None` when unknown.
    pub mpp: Option<f64>,
    /// 8-bit RGB rows without padding, `width * height * 3` bytes.
    pub rgb: Vec<u8>,
}

/// A patch that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a patch of {width} × {height} px needs {expected} bytes of RGB, but has {found}")]
    Size { width: u32, height: u32, expected: usize, found: usize },
    #[error("a patch of {width} × {height} px is too narrow for the model, which looks at a square of it")]
    Narrow { width: u32, height: u32 },
    /// A size that an image processor refuses; the sentence says why.
    #[error("{0}")]
    Vision(String),
}

/// The pixels one encoder receives, before normalisation.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderInput {
    /// Width and height.
    pub side: u32,
    /// 8-bit RGB rows, `side * side * 3` bytes.
    pub rgb: Vec<u8>,
}

/// Where these pixels come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Square {
    /// Width and height.
    pub side: u32,
    /// Width and height of the whole patch after resizing, and the square's corner in it.
    resized: (u32, u32),
    left: u32,
    top: u32,
    /// x, y, width, height of what the centre crop keeps, in pixels of the patch.
    pub crop: [f64; 4],
    /// Microns per pixel of the pixels; `None` when unknown.
    pub mpp: Option<f64>,
}

impl Patch {
    /// A patch from RGB rows; an error when there are too few or too many bytes, or none.
    pub fn new(width: u32, height: u32, mpp: Option<f64>, rgb: Vec<u8>) -> Result<Self, Error> {
        let expected = width as usize * height as usize * 3;
        if expected == 0 || rgb.len() != expected {
            return Err(Error::Size { width, height, expected, found: rgb.len() });
        }
        Ok(Self { width, height, mpp, rgb })
    }

    /// BLAKE3 of the pixels, in hexadecimal.
    pub fn hash(&self) -> String {
        blake3::hash(&self.rgb).to_hex().to_string()
    }

    /// What `encoder` receives of this patch.
    pub fn for_encoder(&self, encoder: &EncoderSpec) -> Result<EncoderInput, Error> {
        let Square { side, resized: (width, height), left, top, .. } = self.square_for(encoder)?;
        let own = (self.width as usize, self.height as usize);
        let resized = resized(&self.rgb, own, (width as usize, height as usize), encoder.resize);
        let row_bytes = side as usize * 3;
        let rgb = (0..side)
            .flat_map(|row| {
                let at = ((top + row) as usize * width as usize + left as usize) * 3;
                &resized[at..at + row_bytes]
            })
            .copied()
            .collect();
        Ok(EncoderInput { side, rgb })
    }

    /// Where the square lies that `encoder` receives; no pixel is touched.
    pub fn square_for(&self, encoder: &EncoderSpec) -> Result<Square, Error> {
        let side = encoder.image_size;
        let (w, h) = (f64::from(self.width), f64::from(self.height));
        if w.max(h) > MOST_NARROW * w.min(h) {
            return Err(Error::Narrow { width: self.width, height: self.height });
        }
        let scale = f64::from(side) / w.min(h);
        // torchvision: the longer edge is cut to an integer, the crop's offset is rounded.
        let (new_w, new_h) = ((w * scale) as u32, (h * scale) as u32);
        let (new_w, new_h) = if w <= h { (side, new_h.max(side)) } else { (new_w.max(side), side) };
        let (left, top) = (half_rounded(new_w - side), half_rounded(new_h - side));
        let (to_x, to_y) = (w / f64::from(new_w), h / f64::from(new_h));
        Ok(Square {
            side,
            resized: (new_w, new_h),
            left,
            top,
            crop: [
                f64::from(left) * to_x,
                f64::from(top) * to_y,
                f64::from(side) * to_x,
                f64::from(side) * to_y,
            ],
            mpp: self.mpp.map(|mpp| mpp / scale),
        })
    }
}

impl EncoderInput {
    /// Normalised values, channel after channel: `(3, side, side)`.
    pub fn normalised(&self, encoder: &EncoderSpec) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.rgb.len());
        for c in 0..3 {
            let (mean, std) = (encoder.mean[c], encoder.std[c]);
            values.extend(self.rgb.chunks_exact(3).map(|rgb| (f32::from(rgb[c]) / 255.0 - mean) / std));
        }
        values
    }
}

/// `round(n / 2)` with halves to even, as Python rounds.
fn half_rounded(n: u32) -> u32 {
    let half = n / 2;
    if n % 2 == 1 && half % 2 == 1 { half + 1 } else { half }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoder(side: u32) -> EncoderSpec {
        EncoderSpec { image_size: side, mean: [0.5; 3], std: [0.5; 3], ..EncoderSpec::for_tests() }
    }

    #[test]
    fn crops_the_centre_and_says_so() {
        // Columns of value 0..8: after cropping 4 of 8 columns without resizing, 2..6 are left.
        let rgb = (0..4).flat_map(|_| (0..8u8).flat_map(|x| [x, x, x])).collect();
        let patch = Patch::new(8, 4, Some(0.5), rgb).unwrap();
        let input = patch.for_encoder(&encoder(4)).unwrap();
        assert_eq!(&input.rgb[..12], &[2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5]);
        let square = patch.square_for(&encoder(4)).unwrap();
        assert_eq!((square.crop, square.mpp), ([2.0, 0.0, 4.0, 4.0], Some(0.5)));
    }

    #[test]
    fn halving_doubles_the_microns_per_pixel_and_normalises_by_channel() {
        let rgb = [255u8, 0, 51].repeat(64);
        let patch = Patch::new(8, 8, Some(0.25), rgb).unwrap();
        let encoder = encoder(4);
        let input = patch.for_encoder(&encoder).unwrap();
        assert_eq!(patch.square_for(&encoder).unwrap().mpp, Some(0.5));
        let values = input.normalised(&encoder);
        assert_eq!((values[0], values[16], values[47]), (1.0, -1.0, -0.6));
    }

    #[test]
    fn refuses_pixels_that_do_not_fit() {
        assert!(Patch::new(2, 2, None, vec![0; 11]).is_err());
        assert!(Patch::new(0, 2, None, vec![]).is_err());
        let narrow = Patch::new(101, 1, None, vec![0; 303]).unwrap();
        assert!(narrow.for_encoder(&encoder(4)).unwrap_err().to_string().contains("too narrow"));
    }
}
