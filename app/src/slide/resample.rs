//! From a wanted scale to a level, and from that level's pixels to the wanted size.
//!
//! The level is the coarsest one that is still at least as fine as wanted, so that pixels are only ever made fewer, except where
//! level 0 itself is coarser than wanted. Resampling is Lanczos with the support widened by the scale (as in Pillow), on sRGB values.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

use super::{Level, Mpp, Region};

/// Levels within 1 % of the wanted scale count as fine enough: pyramids are rarely exact powers of two.
const TOLERANCE: f64 = 1.01;
/// Level-0 pixels to either side that arithmetic on regions still resolves exactly.
const FARTHEST: i64 = 1 << 40;

/// The coarsest level with a downsample of at most `downsample` (and 1 % more); level 0 when there is none.
pub(super) fn level_for_downsample(levels: &[Level], downsample: f64) -> u32 {
    level_among(levels.iter().map(|level| level.downsample), downsample)
}

/// The same of downsamples alone, finest first.
pub(super) fn level_among(downsamples: impl Iterator<Item = f64>, downsample: f64) -> u32 {
    let mut best = (0, f64::NEG_INFINITY);
    for (index, own) in (0..).zip(downsamples) {
        if index == 0 || own <= downsample * TOLERANCE && own >= best.1 {
            best = (index, own);
        }
    }
    best.0
}

/// How to read a region at a wanted scale: which pixels of which level, and what to make of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Plan {
    pub level: u32,
    /// Origin in level-0 pixels and size in pixels of the level.
    pub x: i64,
    pub y: i64,
    pub w: u32,
    pub h: u32,
    /// The part of what is read that the region covers, in pixels of the level: left, top, width, height.
    pub crop: [f64; 4],
    pub width: u32,
    pub height: u32,
    pub mpp: Option<Mpp>,
}

/// Plans a read of `region` at `wanted` microns per pixel; without either scale, level-0 pixels as they are.
pub(super) fn plan(levels: &[Level], mpp: Option<Mpp>, region: Region, wanted: Option<f64>) -> Plan {
    let (Some(mpp), Some(wanted)) = (mpp, wanted) else {
        let crop = [0.0, 0.0, f64::from(region.w), f64::from(region.h)];
        return Plan {
            level: 0,
            x: region.x,
            y: region.y,
            w: region.w,
            h: region.h,
            crop,
            width: region.w,
            height: region.h,
            mpp,
        };
    };
    let width = (f64::from(region.w) * mpp.x / wanted).round().max(1.0);
    let height = (f64::from(region.h) * mpp.y / wanted).round().max(1.0);
    // The effective scale follows from whole pixels of the result, so it may differ from the wanted one in the last digits.
    let (scale_x, scale_y) = (f64::from(region.w) / width, f64::from(region.h) / height);
    let level = level_for_downsample(levels, scale_x.min(scale_y));
    let downsample = levels.get(level as usize).map_or(1.0, |level| level.downsample);
    // There is no slide that far out, and differences of larger numbers would lose whole pixels.
    let near = |origin: i64| origin.clamp(-FARTHEST, FARTHEST) as f64;
    let (left, top) = (near(region.x) / downsample, near(region.y) / downsample);
    let (right, bottom) = (left + f64::from(region.w) / downsample, top + f64::from(region.h) / downsample);
    Plan {
        level,
        x: (left.floor() * downsample).round() as i64,
        y: (top.floor() * downsample).round() as i64,
        w: (right.ceil() - left.floor()).max(1.0) as u32,
        h: (bottom.ceil() - top.floor()).max(1.0) as u32,
        crop: [left - left.floor(), top - top.floor(), right - left, bottom - top],
        width: width.min(f64::from(u32::MAX)) as u32,
        height: height.min(f64::from(u32::MAX)) as u32,
        mpp: Some(Mpp { x: mpp.x * scale_x, y: mpp.y * scale_y }),
    }
}

/// `image`, of which `crop` (left, top, width, height) is stretched or shrunk to `width` × `height`.
///
/// Returns the pixels untouched when crop and size are the whole picture, and an error text for a crop outside of it.
pub(super) fn resize(image: RgbImage, crop: [f64; 4], width: u32, height: u32) -> Result<RgbImage, String> {
    let (whole_width, whole_height) = image.dimensions();
    let whole = [0.0, 0.0, f64::from(whole_width), f64::from(whole_height)];
    let is_whole = crop.iter().zip(whole).all(|(a, b)| (a - b).abs() < 1e-6);
    if is_whole && (width, height) == (whole_width, whole_height) {
        return Ok(image);
    }
    resize_with(image, crop, width, height, ResizeAlg::Convolution(FilterType::Lanczos3))
}

/// The next coarser level of a picture: each pixel the mean of 2 × 2; at least one pixel each way.
pub(super) fn halve(image: &RgbImage) -> Result<RgbImage, String> {
    let (width, height) = image.dimensions();
    let crop = [0.0, 0.0, f64::from(width), f64::from(height)];
    resize_with(
        image.clone(),
        crop,
        (width / 2).max(1),
        (height / 2).max(1),
        ResizeAlg::Convolution(FilterType::Box),
    )
}

fn resize_with(
    image: RgbImage,
    crop: [f64; 4],
    width: u32,
    height: u32,
    algorithm: ResizeAlg,
) -> Result<RgbImage, String> {
    let (whole_width, whole_height) = image.dimensions();
    // Typed, so that only the code for 8-bit RGB is compiled.
    let pixels = image.into_raw();
    let source = TypedImageRef::<U8x3>::from_buffer(whole_width, whole_height, &pixels)
        .map_err(|error| error.to_string())?;
    let mut target = TypedImage::<U8x3>::new(width, height);
    // Rounding can push a crop a few billionths past the edge.
    let [left, top] = [crop[0].max(0.0), crop[1].max(0.0)];
    let crop_width = crop[2].min(f64::from(whole_width) - left);
    let crop_height = crop[3].min(f64::from(whole_height) - top);
    let options = ResizeOptions::new().resize_alg(algorithm).crop(left, top, crop_width, crop_height);
    Resizer::new().resize_typed(&source, &mut target, &options).map_err(|error| error.to_string())?;
    RgbImage::from_raw(width, height, target.pixels().iter().flat_map(|pixel| pixel.0).collect())
        .ok_or_else(|| "resampling gave the wrong number of bytes".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(downsamples: &[f64]) -> Vec<Level> {
        downsamples
            .iter()
            .map(|&downsample| Level {
                width: (4096.0 / downsample) as u32,
                height: (2048.0 / downsample) as u32,
                downsample,
            })
            .collect()
    }

    #[test]
    fn the_level_is_the_coarsest_that_is_fine_enough() {
        let levels = levels(&[1.0, 4.0, 16.0]);
        for (downsample, level) in
            [(0.5, 0), (1.0, 0), (3.9, 0), (3.97, 1), (4.0, 1), (15.0, 1), (16.0, 2), (100.0, 2)]
        {
            assert_eq!(level_for_downsample(&levels, downsample), level, "downsample {downsample}");
        }
    }

    #[test]
    fn a_plan_covers_the_region_and_says_its_true_scale() {
        let plan = plan(
            &levels(&[1.0, 4.0]),
            Some(Mpp { x: 0.25, y: 0.25 }),
            Region { x: -10, y: 401, w: 2048, h: 1024 },
            Some(1.0),
        );
        assert_eq!((plan.level, plan.width, plan.height), (1, 512, 256));
        assert_eq!((plan.x, plan.y), (-12, 400));
        assert_eq!((plan.w, plan.h), (513, 257));
        let exact = [0.5, 0.25, 512.0, 256.0];
        assert!(
            plan.crop.iter().zip(exact).all(|(found, exact)| (found - exact).abs() < 1e-9),
            "{:?}",
            plan.crop
        );
        assert_eq!(plan.mpp, Some(Mpp { x: 1.0, y: 1.0 }));
    }

    #[test]
    fn without_mpp_pixels_are_taken_as_they_are() {
        let region = Region { x: 5, y: 6, w: 7, h: 8 };
        let plan = plan(&levels(&[1.0, 4.0]), None, region, Some(2.0));
        assert_eq!((plan.level, plan.width, plan.height, plan.mpp), (0, 7, 8, None));
    }

    #[test]
    fn resizing_keeps_flat_colours_and_means() {
        let image =
            RgbImage::from_fn(64, 48, |x, y| image::Rgb([if (x + y) % 2 == 0 { 0 } else { 200 }, 17, 255]));
        let small = resize(image.clone(), [0.0, 0.0, 64.0, 48.0], 16, 12).unwrap();
        for pixel in small.pixels() {
            assert!(
                (i32::from(pixel.0[0]) - 100).abs() <= 12,
                "a chequerboard becomes grey, got {}",
                pixel.0[0]
            );
            assert_eq!(pixel.0[1..], [17, 255]);
        }
        assert_eq!(
            resize(image.clone(), [0.0, 0.0, 64.0, 48.0], 64, 48).unwrap(),
            image,
            "no resampling where none is wanted"
        );
        assert_eq!(halve(&image).unwrap().get_pixel(3, 3).0, [100, 17, 255]);
    }
}
