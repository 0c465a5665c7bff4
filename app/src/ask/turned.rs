//! A patch that is turned around its middle: what a little turning changes of an answer should be nothing.

use image::RgbImage;
use reinpath_model::event::PatchSource;
use reinpath_model::patch::Patch;

use super::{CutPatch, Error, check_region, cut_patch, origin_in_words, size_px};
use crate::slide::{self, Region, SlideHandle, SlideInfo};

/// Pixels of the patch that are read beyond what the turned patch covers, for the neighbours of its outermost pixels.
const MARGIN: f64 = 2.0;

/// As [`cut_patch`], with the patch turned clockwise by degrees around its middle, as if the slide lay turned under it: as many pixels at the
/// same microns per pixel, and the slide's background where it reaches past the slide. 0: exactly that function's.
///
/// What is read is as long and wide as the turned patch needs; its pixels are mixed of their four neighbours (bilinear), which softens them a
/// little. Blocks: not for the window's thread.
///
/// # Errors
/// As [`cut_patch`], and for degrees that are no number.
pub fn cut_turned(slide: &SlideHandle, region: Region, mpp: f64, degrees: f64) -> Result<CutPatch, Error> {
    if degrees == 0.0 {
        return cut_patch(slide, region, mpp);
    }
    if !degrees.is_finite() {
        return Err(Error::Turned { degrees });
    }
    let info = slide.info();
    check_region(info, region)?;
    let turn = Turn::of(info, region, mpp, degrees);
    let grown = turn.grown();
    let pixels = slide.read_at_mpp(grown, Some(mpp))?;
    let rgb = turn.turned(&pixels.image, grown).into_raw();
    let [width, height] = turn.size;
    let scale = turn.level0_per_pixel;
    let own = info.mpp.map(|own| slide::Mpp { x: own.x * scale[0], y: own.y * scale[1] }.mean());
    let patch = Patch::new(width, height, own, rgb)?;
    let source = PatchSource {
        region: [region.x, region.y, region.w.into(), region.h.into()],
        level: pixels.level,
        slide_mpp: info.mpp.map(slide::Mpp::mean),
        mpp_origin: origin_in_words(info.mpp_origin),
        turned: degrees,
    };
    Ok(CutPatch { patch, source, is_padded: turn.is_padded(info) })
}

/// A region that is turned, and the pixels that are made of it.
#[derive(Clone, Copy, Debug)]
struct Turn {
    region: Region,
    /// Width and height of the patch in pixels: as many as `cut_patch` makes of the region.
    size: [u32; 2],
    level0_per_pixel: [f64; 2],
    cos: f64,
    sin: f64,
}

impl Turn {
    fn of(info: &SlideInfo, region: Region, mpp: f64, degrees: f64) -> Self {
        let size = size_px(region, info.mpp, mpp);
        let level0_per_pixel =
            [f64::from(region.w) / f64::from(size[0]), f64::from(region.h) / f64::from(size[1])];
        let (sin, cos) = degrees.to_radians().sin_cos();
        Self { region, size, level0_per_pixel, cos, sin }
    }

    /// Where on the slide a place of the patch lies: level-0 pixels of a place in pixels from the patch's middle.
    fn on_slide(&self, u: f64, v: f64) -> [f64; 2] {
        // The y axis points down, so what lay at (u, v) turned back counterclockwise is shown there.
        let (x, y) = (u * self.cos + v * self.sin, v * self.cos - u * self.sin);
        let [to_x, to_y] = self.level0_per_pixel;
        let middle = |origin: i64, length: u32| origin as f64 + f64::from(length) / 2.0;
        let Region { x: left, y: top, w, h } = self.region;
        [middle(left, w) + x * to_x, middle(top, h) + y * to_y]
    }

    /// The upright region around the same middle that holds the turned one with its margin. It grows by whole pixels of the patch to each
    /// side, so that its pixels lie as those of the region do.
    fn grown(&self) -> Region {
        let [width, height] = self.size.map(f64::from);
        let (cos, sin) = (self.cos.abs(), self.sin.abs());
        let more = |needed: f64, has: f64, level0: f64| {
            let pixels = ((needed - has) / 2.0 + MARGIN).ceil().max(MARGIN);
            (pixels * level0).ceil() as u32
        };
        let to_x = more(width * cos + height * sin, width, self.level0_per_pixel[0]);
        let to_y = more(width * sin + height * cos, height, self.level0_per_pixel[1]);
        let Region { x, y, w, h } = self.region;
        Region {
            x: x.saturating_sub(to_x.into()),
            y: y.saturating_sub(to_y.into()),
            w: w.saturating_add(to_x.saturating_mul(2)),
            h: h.saturating_add(to_y.saturating_mul(2)),
        }
    }

    /// The patch from the pixels of the region that was read.
    fn turned(&self, read: &RgbImage, region: Region) -> RgbImage {
        let [width, height] = self.size;
        let (has_x, has_y) = (f64::from(read.width()), f64::from(read.height()));
        let middle = [f64::from(width) / 2.0, f64::from(height) / 2.0];
        RgbImage::from_fn(width, height, |i, j| {
            let (u, v) = (f64::from(i) + 0.5 - middle[0], f64::from(j) + 0.5 - middle[1]);
            let [x, y] = self.on_slide(u, v);
            let at_x = (x - region.x as f64) * has_x / f64::from(region.w) - 0.5;
            let at_y = (y - region.y as f64) * has_y / f64::from(region.h) - 0.5;
            mixed(read, at_x, at_y)
        })
    }

    /// Whether a corner lies outside the slide.
    fn is_padded(&self, info: &SlideInfo) -> bool {
        let [u, v] = self.size.map(|length| f64::from(length) / 2.0);
        let (width, height) = (f64::from(info.width()), f64::from(info.height()));
        [(-u, -v), (u, -v), (-u, v), (u, v)].into_iter().any(|(u, v)| {
            let [x, y] = self.on_slide(u, v);
            // Rounding of sines is no part of a pixel.
            x < -1e-6 || y < -1e-6 || x > width + 1e-6 || y > height + 1e-6
        })
    }
}

/// The colour between four neighbouring pixels; beyond the edge, the edge's.
fn mixed(image: &RgbImage, x: f64, y: f64) -> image::Rgb<u8> {
    let (last_x, last_y) = (f64::from(image.width() - 1), f64::from(image.height() - 1));
    let (x, y) = (x.clamp(0.0, last_x), y.clamp(0.0, last_y));
    let (left, top) = (x.floor(), y.floor());
    let (to_right, to_bottom) = (x - left, y - top);
    let at = |x: f64, y: f64| image.get_pixel(x.min(last_x) as u32, y.min(last_y) as u32).0;
    let corners = [
        (at(left, top), (1.0 - to_right) * (1.0 - to_bottom)),
        (at(left + 1.0, top), to_right * (1.0 - to_bottom)),
        (at(left, top + 1.0), (1.0 - to_right) * to_bottom),
        (at(left + 1.0, top + 1.0), to_right * to_bottom),
    ];
    let channel = |c: usize| {
        let sum: f64 = corners.iter().map(|(rgb, weight)| f64::from(rgb[c]) * weight).sum();
        sum.round() as u8
    };
    image::Rgb([channel(0), channel(1), channel(2)])
}

#[cfg(test)]
mod tests {
    use image::imageops::{crop_imm, rotate90, rotate180, rotate270};

    use super::*;
    use crate::slide::{Level, Mpp, MppOrigin};

    fn info(width: u32, height: u32, mpp: Option<f64>) -> SlideInfo {
        SlideInfo {
            path: "drawn.png".into(),
            format: "PNG".to_owned(),
            vendor: None,
            levels: vec![Level { width, height, downsample: 1.0 }],
            mpp: mpp.map(|mpp| Mpp { x: mpp, y: mpp }),
            mpp_origin: MppOrigin::Missing,
            mpp_source: String::new(),
            objective_power: None,
            background: [255; 3],
            properties: std::collections::BTreeMap::new(),
            associated: Vec::new(),
            icc_profile: false,
            hash: String::new(),
            notes: Vec::new(),
        }
    }

    /// A picture in which no two neighbours are alike.
    fn picture(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([(x * 37 % 256) as u8, (y * 53 % 256) as u8, ((x * y) % 256) as u8])
        })
    }

    /// The part of a picture that a region covers.
    fn part(picture: &RgbImage, region: Region) -> RgbImage {
        crop_imm(picture, region.x as u32, region.y as u32, region.w, region.h).to_image()
    }

    fn turned(picture: &RgbImage, region: Region, degrees: f64) -> RgbImage {
        let turn = Turn::of(&info(picture.width(), picture.height(), None), region, 0.5, degrees);
        let grown = turn.grown();
        turn.turned(&part(picture, grown), grown)
    }

    #[test]
    fn quarter_turns_are_exact_and_clockwise() {
        let picture = picture(120, 100);
        for (w, h) in [(32, 32), (33, 33)] {
            let region = Region { x: 40, y: 30, w, h };
            let own = part(&picture, region);
            assert_eq!(turned(&picture, region, 90.0), rotate90(&own));
            assert_eq!(turned(&picture, region, 180.0), rotate180(&own));
            assert_eq!(turned(&picture, region, -90.0), rotate270(&own));
            assert_eq!(turned(&picture, region, 360.0), own);
        }
    }

    #[test]
    fn a_little_turning_keeps_the_middle_and_moves_the_corners_the_right_way() {
        // White right of the middle: turned clockwise, the upper end of the border leans to the right.
        let picture =
            RgbImage::from_fn(200, 200, |x, _| image::Rgb(if x >= 100 { [255; 3] } else { [0; 3] }));
        let region = Region { x: 60, y: 60, w: 80, h: 80 };
        let turned = turned(&picture, region, 5.0);
        assert_eq!(turned.dimensions(), (80, 80));
        let border = |y: u32| (0..80).find(|&x| turned.get_pixel(x, y).0[0] > 127).unwrap();
        assert_eq!(border(40), 40);
        let lean = 39.5 * 5.0_f64.to_radians().tan();
        assert!((f64::from(border(0)) - (40.0 + lean)).abs() <= 1.0, "{}", border(0));
        assert!((f64::from(border(79)) - (40.0 - lean)).abs() <= 1.0, "{}", border(79));
    }

    #[test]
    fn what_is_read_holds_every_turned_pixel() {
        let region = Region { x: -7, y: 1000, w: 450, h: 300 };
        for mpp in [None, Some(0.25), Some(0.31)] {
            for degrees in [5.0, -5.0, 45.0, 91.0, 179.0] {
                let turn = Turn::of(&info(5000, 5000, mpp), region, 0.5, degrees);
                let grown = turn.grown();
                let [u, v] = turn.size.map(|length| f64::from(length) / 2.0);
                for (u, v) in [(-u, -v), (u, -v), (-u, v), (u, v)] {
                    let [x, y] = turn.on_slide(u, v);
                    let [inside_x, inside_y] = [x - grown.x as f64, y - grown.y as f64];
                    assert!(inside_x > 0.0 && inside_x < f64::from(grown.w), "{mpp:?} {degrees} {inside_x}");
                    assert!(inside_y > 0.0 && inside_y < f64::from(grown.h), "{mpp:?} {degrees} {inside_y}");
                }
            }
        }
    }

    #[test]
    fn a_corner_past_the_slides_edge_is_told() {
        let at = |x: i64, degrees: f64| {
            let region = Region { x, y: 400, w: 100, h: 100 };
            let info = info(1000, 1000, Some(0.5));
            Turn::of(&info, region, 0.5, degrees).is_padded(&info)
        };
        assert!(at(0, 5.0) && at(-1, 90.0) && at(899, 45.0));
        assert!(!at(0, 90.0) && !at(30, 45.0));
    }
}
