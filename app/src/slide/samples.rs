//! Numbers of a decoded image as 8-bit RGB: which of them are colours, which are opacity, and how wide ones become narrow.
//!
//! 8-bit values stay as they are. 16-bit colour is scaled (0 … 65535 to 0 … 255). 16-bit and floating-point *measurements*
//! (one channel, as microscopes write them) use an unknown part of their range, so they are windowed from their least to their
//! greatest value, and a note says so.

use image::RgbImage;

/// Decoded numbers, interleaved by channel.
pub(super) enum Samples {
    U8(Vec<u8>),
    U16(Vec<u16>),
    F32(Vec<f32>),
}

/// What the first channels mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Grey,
    Rgb,
    /// Full range, as in JPEG (BT.601).
    YCbCr,
}

/// What the channel behind the colours means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opacity {
    /// No such channel, or one of no known meaning.
    None,
    Straight,
    /// Colours are already multiplied by it.
    Premultiplied,
}

/// One decoded image.
pub(super) struct Raster {
    pub width: u32,
    pub height: u32,
    pub channels: usize,
    pub samples: Samples,
    pub colour: Colour,
    pub opacity: Opacity,
}

impl Raster {
    /// 8-bit RGB with transparency on white; adds a note where values were windowed.
    pub(super) fn into_rgb(self, notes: &mut Vec<String>) -> Result<RgbImage, String> {
        let grey = self.colour == Colour::Grey;
        let narrow = match self.samples {
            Samples::U8(samples) => samples,
            Samples::U16(samples) if grey && self.opacity == Opacity::None => {
                window(&samples, self.channels, |&value| f64::from(value), "16-bit", notes)
            }
            Samples::U16(samples) => {
                samples.into_iter().map(|value| ((u32::from(value) + 128) / 257) as u8).collect()
            }
            Samples::F32(samples) => {
                let used = if grey { self.channels } else { 1 };
                window(&samples, used, |&value| f64::from(value), "floating-point", notes)
            }
        };
        let colours = if grey { 1 } else { 3 };
        if self.channels < colours {
            return Err(format!("it has {} channels where a colour needs {colours}", self.channels));
        }
        let mut rgb = Vec::new();
        let bytes = self.width as usize * self.height as usize * 3;
        rgb.try_reserve_exact(bytes)
            .map_err(|_too_large| "it needs more memory than there is".to_string())?;
        for pixel in narrow.chunks_exact(self.channels) {
            rgb.extend(self.colour.rgb(pixel).map(|value| self.opacity.on_white(value, pixel.get(colours))));
        }
        RgbImage::from_raw(self.width, self.height, rgb)
            .ok_or_else(|| "it holds fewer pixels than it says".to_string())
    }
}

impl Colour {
    fn rgb(self, pixel: &[u8]) -> [u8; 3] {
        match self {
            Self::Grey => [pixel[0]; 3],
            Self::Rgb => [pixel[0], pixel[1], pixel[2]],
            Self::YCbCr => rgb_from_ycbcr([pixel[0], pixel[1], pixel[2]]),
        }
    }
}

impl Opacity {
    fn on_white(self, value: u8, opacity: Option<&u8>) -> u8 {
        let (value, opacity) = (u32::from(value), opacity.map_or(255, |&opacity| u32::from(opacity)));
        match self {
            Self::None => value as u8,
            Self::Straight => ((value * opacity + 255 * (255 - opacity) + 127) / 255) as u8,
            Self::Premultiplied => (value + 255 - opacity).min(255) as u8,
        }
    }
}

/// JFIF's conversion, rounded to the nearest value.
pub(super) fn rgb_from_ycbcr([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (f32::from(y), f32::from(cb) - 128.0, f32::from(cr) - 128.0);
    let clamp = |value: f32| value.round().clamp(0.0, 255.0) as u8;
    [clamp(y + 1.402 * cr), clamp(y - 0.344_136 * cb - 0.714_136 * cr), clamp(y + 1.772 * cb)]
}

/// Least to greatest finite value of the first channel (of all channels for colours) becomes 0 to 255.
fn window<T>(
    samples: &[T],
    channels: usize,
    value: impl Fn(&T) -> f64,
    kind: &str,
    notes: &mut Vec<String>,
) -> Vec<u8> {
    let finite = || samples.iter().step_by(channels).map(&value).filter(|value| value.is_finite());
    let (least, greatest) = finite()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if least > greatest {
        notes.push(format!("The {kind} values are all undefined and shown black."));
        return vec![0; samples.len()];
    }
    notes.push(format!(
        "The {kind} values are shown windowed from the least, {least}, to the greatest, {greatest}."
    ));
    let scale = if greatest > least { 255.0 / (greatest - least) } else { 0.0 };
    samples.iter().map(|sample| ((value(sample) - least) * scale).round().clamp(0.0, 255.0) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_row(
        samples: Samples,
        channels: usize,
        colour: Colour,
        opacity: Opacity,
    ) -> (Vec<u8>, Vec<String>) {
        let length = match &samples {
            Samples::U8(samples) => samples.len(),
            Samples::U16(samples) => samples.len(),
            Samples::F32(samples) => samples.len(),
        };
        let mut notes = Vec::new();
        let raster =
            Raster { width: (length / channels) as u32, height: 1, channels, samples, colour, opacity };
        (raster.into_rgb(&mut notes).unwrap().into_raw(), notes)
    }

    #[test]
    fn sixteen_bit_colours_are_scaled_and_measurements_windowed() {
        let (rgb, notes) = one_row(Samples::U16(vec![0, 257, 65535]), 3, Colour::Rgb, Opacity::None);
        assert_eq!((rgb, notes.len()), (vec![0, 1, 255], 0));
        let (rgb, notes) = one_row(Samples::U16(vec![1000, 1500, 2000]), 1, Colour::Grey, Opacity::None);
        assert_eq!(rgb, [0, 0, 0, 128, 128, 128, 255, 255, 255]);
        assert!(notes[0].contains("1000") && notes[0].contains("2000"), "{notes:?}");
        let (rgb, notes) = one_row(Samples::F32(vec![f32::NAN, -1.0, 1.0]), 1, Colour::Grey, Opacity::None);
        assert_eq!((rgb[0], rgb[3], rgb[6], notes.len()), (0, 0, 255, 1));
    }

    #[test]
    fn transparency_lands_on_white() {
        let (rgb, _) = one_row(Samples::U8(vec![100, 0, 100, 255]), 2, Colour::Grey, Opacity::Straight);
        assert_eq!(rgb, [255, 255, 255, 100, 100, 100]);
        let (rgb, _) = one_row(Samples::U8(vec![50, 0, 0, 128]), 4, Colour::Rgb, Opacity::Premultiplied);
        assert_eq!(rgb, [177, 127, 127]);
        let (rgb, _) = one_row(Samples::U8(vec![9, 8, 7, 0]), 4, Colour::Rgb, Opacity::None);
        assert_eq!(rgb, [9, 8, 7]);
    }

    #[test]
    fn grey_ycbcr_stays_grey() {
        assert_eq!(rgb_from_ycbcr([77, 128, 128]), [77, 77, 77]);
        assert_eq!(rgb_from_ycbcr([76, 85, 255]), [254, 0, 0]);
    }
}
