//! One JPEG 2000 tile of an Aperio file, decoded by OpenJPEG alone: whole tiles, each once.
//!
//! OpenSlide decodes it with the same library, but composes every region anew and unpacks it with six divisions for each pixel (its
//! `openslide-decode-jp2k.c` at 4.0.1), which is a third of the time. OpenJPEG is C code that parses strangers' files: this runs in the child
//! process only. Pixels are OpenSlide's to the bit; whatever a tile says that is not plainly understood is an error here, and OpenSlide reads
//! the region instead.

use std::sync::LazyLock;

use image::RgbImage;
use jpeg2k::{DecodeParameters, Image, ImageComponent};
use serde::{Deserialize, Serialize};

/// Where a tile lies in its file, and what its bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jpeg2000Tile {
    /// In the file.
    pub offset: u64,
    /// Bytes.
    pub length: u32,
    /// Pixels of the whole tile, also at the level's edge.
    pub width: u32,
    /// Pixels of the whole tile.
    pub height: u32,
    /// Aperio's compression 33003; 33005 is RGB.
    pub is_ycbcr: bool,
}

impl Jpeg2000Tile {
    /// The whole tile's pixels. The error is a few words.
    pub(super) fn decode(&self, bytes: &[u8]) -> Result<RgbImage, String> {
        // Before anything of that size is taken from memory.
        if size_in_header(bytes) != Some((self.width, self.height)) {
            return Err("its codestream is of another size".to_string());
        }
        // As OpenSlide has it: a stream that ends early is an error.
        let parameters = DecodeParameters::new().strict(true);
        let image = Image::from_bytes_with(bytes, parameters).map_err(|error| error.to_string())?;
        let [first, second, third] = image.components() else {
            return Err("it has not three components".to_string());
        };
        let plane = |component| self.plane(component);
        let (first, second, third) = (plane(first)?, plane(second)?, plane(third)?);
        let to_rgb = |(&y, (&cb, &cr))| if self.is_ycbcr { CONVERSION.rgb(y, cb, cr) } else { [y, cb, cr] };
        let rgb = first.iter().zip(second.iter().zip(&third)).flat_map(to_rgb).collect();
        RgbImage::from_raw(self.width, self.height, rgb).ok_or_else(|| "it is too short".to_string())
    }

    /// A component's samples, one for each pixel: those of a coarser component are repeated.
    fn plane(&self, component: &ImageComponent) -> Result<Vec<u8>, String> {
        let (width, height) = (component.width(), component.height());
        let is_known = component.precision() == 8 && !component.is_signed() && width > 0 && height > 0;
        let (across, down) =
            (self.width.checked_div(width).unwrap_or(0), self.height.checked_div(height).unwrap_or(0));
        if !is_known || (across * width, down * height) != (self.width, self.height) {
            return Err("its samples are of an unknown layout".to_string());
        }
        let samples = component.data();
        if (across, down) == (1, 1) {
            return Ok(samples.iter().map(|&sample| sample as u8).collect());
        }
        let mut plane = Vec::with_capacity(self.width as usize * self.height as usize);
        for row in samples.chunks_exact(width as usize) {
            let start = plane.len();
            plane.extend(row.iter().flat_map(|&sample| std::iter::repeat_n(sample as u8, across as usize)));
            for _ in 1..down {
                plane.extend_from_within(start..start + self.width as usize);
            }
        }
        Ok(plane)
    }
}

/// Width and height that a codestream begins with (ISO/IEC 15444-1, A.5.1: SIZ comes first); `None` for anything else.
fn size_in_header(bytes: &[u8]) -> Option<(u32, u32)> {
    const START_AND_SIZE: [u8; 4] = [0xff, 0x4f, 0xff, 0x51];
    if bytes.get(..4)? != START_AND_SIZE {
        return None;
    }
    let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (right, bottom, left, top) = (number(8)?, number(12)?, number(16)?, number(20)?);
    Some((right.checked_sub(left)?, bottom.checked_sub(top)?))
}

static CONVERSION: LazyLock<Conversion> = LazyLock::new(Conversion::new);

/// What each value of Cb and Cr adds, rounded as OpenSlide rounds (`make-tables.c` at 4.0.1).
struct Conversion {
    red_of_cr: [i16; 256],
    /// In 65536ths, a half among them.
    green_of_cb: [i32; 256],
    /// In 65536ths.
    green_of_cr: [i32; 256],
    blue_of_cb: [i16; 256],
}

impl Conversion {
    fn new() -> Self {
        let of = |value: usize| value as f64 - 128.0;
        Self {
            red_of_cr: std::array::from_fn(|cr| (1.402 * of(cr)).round() as i16),
            green_of_cb: std::array::from_fn(|cb| (65536.0 * (0.5 - 0.34414 * of(cb))).round() as i32),
            green_of_cr: std::array::from_fn(|cr| (65536.0 * -0.71414 * of(cr)).round() as i32),
            blue_of_cb: std::array::from_fn(|cb| (1.772 * of(cb)).round() as i16),
        }
    }

    fn rgb(&self, y: u8, cb: u8, cr: u8) -> [u8; 3] {
        let (cb, cr) = (usize::from(cb), usize::from(cr));
        let green = (self.green_of_cb[cb] + self.green_of_cr[cr]) >> 16;
        let add = |change: i16| (i16::from(y) + change).clamp(0, 255) as u8;
        [add(self.red_of_cr[cr]), add(green as i16), add(self.blue_of_cb[cb])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TILE: Jpeg2000Tile = Jpeg2000Tile { offset: 0, length: 0, width: 256, height: 240, is_ycbcr: true };

    fn header(numbers: [u32; 4]) -> Vec<u8> {
        let mut bytes = vec![0xff, 0x4f, 0xff, 0x51, 0, 47, 0, 0];
        bytes.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
        bytes
    }

    #[test]
    fn a_codestream_of_another_size_is_refused_before_it_is_decoded() {
        assert_eq!(size_in_header(&header([256, 240, 0, 0])), Some((256, 240)));
        assert_eq!(size_in_header(&header([300, 240, 44, 0])), Some((256, 240)));
        for wrong in
            [header([60_000, 60_000, 0, 0]), header([1, 1, 2, 2]), vec![], vec![0xff, 0x4f, 0xff, 0x51]]
        {
            assert!(TILE.decode(&wrong).unwrap_err().contains("another size"), "{wrong:?}");
        }
        let cut = header([256, 240, 0, 0]);
        assert!(TILE.decode(&cut).is_err(), "a header without a picture");
    }

    #[test]
    fn colours_are_rounded_as_openslide_rounds_them() {
        assert_eq!(CONVERSION.rgb(100, 128, 128), [100; 3]);
        // 1.402 · 127 = 178.05; 0.71414 · 127 = 90.70.
        assert_eq!(CONVERSION.rgb(76, 128, 255), [254, 0, 76]);
        assert_eq!(CONVERSION.rgb(150, 100, 140), [167, 151, 100]);
        assert_eq!(CONVERSION.rgb(255, 255, 0), [76, 255, 255]);
    }
}
