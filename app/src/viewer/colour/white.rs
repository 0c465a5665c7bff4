//! The colour of clear glass, from the pixels around a place that was picked.

use image::RgbImage;

/// The side of the square of pixels that is read around the place.
pub const SIDE: u32 = 9;

/// The median of each channel; `None` for a picture without pixels.
pub fn median(image: &RgbImage) -> Option<[u8; 3]> {
    let mut channels: [Vec<u8>; 3] = std::array::from_fn(|_| Vec::new());
    for pixel in image.pixels() {
        for (values, value) in channels.iter_mut().zip(pixel.0) {
            values.push(value);
        }
    }
    let mut median = [0; 3];
    for (middle, mut values) in median.iter_mut().zip(channels) {
        values.sort_unstable();
        *middle = *values.get(values.len() / 2)?;
    }
    Some(median)
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn a_speck_does_not_change_the_background() {
        let image = RgbImage::from_fn(SIDE, SIDE, |x, y| {
            if x < 4 && y < 4 { Rgb([10, 20, 30]) } else { Rgb([240, 236, 243]) }
        });
        assert_eq!(median(&image), Some([240, 236, 243]));
        assert_eq!(median(&RgbImage::new(0, 0)), None);
    }
}
