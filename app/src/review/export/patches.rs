//! What an answer's model saw, and the pixels of it that were kept, checked by their hash; the scale bar beside them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use image::ImageFormat;

use crate::annotation::Place;
use crate::case::{Answer, Question, patch_file};

/// A patch as an answer's model received it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    /// Its number on the slide, from 1.
    pub number: usize,
    /// x, y, width, height in level-0 pixels.
    pub region: [i64; 4],
    /// Degrees by which it was turned clockwise.
    pub turned: f64,
    /// BLAKE3 of its pixels; `None` where it is not known.
    pub pixels: Option<String>,
    /// Microns per pixel; `None` when unknown.
    pub mpp: Option<f64>,
}

/// The patches of an answer: as its stamp has them, since a check of stability moves them; else as its question has them.
pub(super) fn seen(question: &Question, answer: &Answer) -> Vec<Seen> {
    let stamped = answer.stamp.as_ref().map_or(&[][..], |stamp| &stamp.patches[..]);
    let count = stamped.len().max(question.patches.len());
    (0..count)
        .map(|at| {
            let (kept, stamp) = (question.patches.get(at), stamped.get(at));
            let source = stamp.and_then(|stamp| stamp.source.as_ref());
            let pixels = stamp.map(|stamp| stamp.blake3.clone()).filter(|hash| !hash.is_empty());
            Seen {
                number: kept.map_or(at + 1, |kept| kept.number),
                region: source
                    .map(|source| source.region)
                    .or(kept.map(|kept| kept.region))
                    .unwrap_or_default(),
                turned: source.map_or(0.0, |source| source.turned),
                pixels: pixels.or_else(|| kept?.pixels.clone()),
                mpp: stamp.and_then(|stamp| stamp.mpp).filter(|mpp| mpp.is_finite() && *mpp > 0.0),
            }
        })
        .collect()
}

impl Seen {
    /// Its corners on the slide. A patch that was turned clockwise shows what lies turned the other way around its middle.
    pub(super) fn corners(&self) -> [Place; 4] {
        let [x, y, width, height] = self.region.map(|number| number as f64);
        let corners = [[x, y], [x + width, y], [x + width, y + height], [x, y + height]];
        if self.turned == 0.0 {
            return corners;
        }
        let (middle_x, middle_y) = (x + width / 2.0, y + height / 2.0);
        let (sin, cos) = (-self.turned).to_radians().sin_cos();
        corners.map(|[x, y]| {
            let (dx, dy) = (x - middle_x, y - middle_y);
            [middle_x + dx * cos - dy * sin, middle_y + dx * sin + dy * cos]
        })
    }

    /// In words, such as `Patch 2: 480, 320, 224 × 224 px`.
    pub(super) fn in_words(&self) -> String {
        let [x, y, width, height] = self.region;
        let turned =
            if self.turned == 0.0 { String::new() } else { format!(", turned by {}°", self.turned) };
        format!("Patch {}: x {x}, y {y}, {width} × {height} px of level 0{turned}", self.number)
    }
}

/// A picture as its file has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Png {
    pub bytes: Vec<u8>,
    pub width: u32,
    pub height: u32,
}

/// The folder of patches' pixels, and what was missed in it.
pub(super) struct Gallery {
    folder: Option<PathBuf>,
    missing: BTreeSet<String>,
    /// How many patches nobody knows the pixels of.
    unknown: usize,
}

impl Gallery {
    pub(super) fn new(folder: Option<&Path>) -> Self {
        Self { folder: folder.map(Path::to_owned), missing: BTreeSet::new(), unknown: 0 }
    }

    /// The file of a patch's pixels, where it is there and holds the pixels that it is named after.
    pub(super) fn file(&mut self, pixels: Option<&str>) -> Option<(PathBuf, Png)> {
        let Some(pixels) = pixels else {
            self.unknown += 1;
            return None;
        };
        let found = self.folder.as_deref().and_then(|folder| read(folder, pixels));
        if found.is_none() {
            self.missing.insert(pixels.to_owned());
        }
        found
    }

    /// How many patches were asked for and are not there.
    pub(super) fn missing(&self) -> usize {
        self.missing.len() + self.unknown
    }
}

fn read(folder: &Path, pixels: &str) -> Option<(PathBuf, Png)> {
    // A name that is no hash could lead out of the folder.
    if pixels.len() != blake3::OUT_LEN * 2 || !pixels.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let path = patch_file(folder, pixels);
    let bytes = std::fs::read(&path).ok()?;
    let image = image::load_from_memory_with_format(&bytes, ImageFormat::Png).ok()?.to_rgb8();
    let is_it = blake3::hash(image.as_raw()).to_hex().as_str() == pixels;
    is_it.then(|| (path, Png { bytes, width: image.width(), height: image.height() }))
}

/// A round length beside a picture.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bar {
    /// Of the picture's width.
    pub share: f64,
    pub label: String,
}

/// Which share of a picture's width the bar should have.
const SHARE: f64 = 0.2;

/// The bar whose length of 1, 2 or 5 times a power of ten is nearest to a fifth of the picture; `None` without a scale.
pub(super) fn bar(width: u32, mpp: Option<f64>) -> Option<Bar> {
    let across = f64::from(width) * mpp.filter(|mpp| mpp.is_finite() && *mpp > 0.0)?;
    let wanted = across * SHARE;
    if !(wanted.is_finite() && wanted > 0.0) {
        return None;
    }
    let power = 10_f64.powf(wanted.log10().floor());
    let lengths = [power, 2.0 * power, 5.0 * power, 10.0 * power];
    let distance = |length: &f64| (length / wanted).ln().abs();
    let length = lengths.into_iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))?;
    let (number, unit) = if length >= 1000.0 { (length / 1000.0, "mm") } else { (length, "µm") };
    // Powers of ten are not exact in binary.
    let digits = format!("{number:.6}");
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    Some(Bar { share: length / across, label: format!("{digits} {unit}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_round_and_near_a_fifth() {
        for (width, mpp, label, share) in [
            (224, 0.5, "20 µm", 20.0 / 112.0),
            (512, 0.25, "20 µm", 20.0 / 128.0),
            (1000, 10.0, "2 mm", 0.2),
            (100, 0.01, "0.2 µm", 0.2),
            (512, 1.0, "100 µm", 100.0 / 512.0),
        ] {
            let bar = bar(width, Some(mpp)).unwrap();
            assert_eq!(bar.label, label, "{width} px at {mpp}");
            assert!((bar.share - share).abs() < 1e-9, "{bar:?}");
        }
        for mpp in [None, Some(0.0), Some(-1.0), Some(f64::NAN), Some(f64::INFINITY)] {
            assert_eq!(bar(224, mpp), None, "{mpp:?}");
        }
    }

    #[test]
    fn a_patch_turned_clockwise_shows_what_lies_turned_the_other_way() {
        let seen = |turned| Seen { number: 1, region: [0, 0, 2, 2], turned, pixels: None, mpp: None };
        assert_eq!(seen(0.0).corners(), [[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]]);
        // Its upper left corner shows the slide's lower left one.
        let [[x, y], ..] = seen(90.0).corners();
        assert!(x.abs() < 1e-9 && (y - 2.0).abs() < 1e-9, "{x} {y}");
    }

    #[test]
    fn names_that_are_no_hashes_and_pixels_that_were_changed_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let image = image::RgbImage::from_pixel(4, 3, image::Rgb([9, 8, 7]));
        let hash = blake3::hash(image.as_raw()).to_hex().to_string();
        image.save(patch_file(folder.path(), &hash)).unwrap();
        let other = "0".repeat(64);
        image.save(patch_file(folder.path(), &other)).unwrap();
        image.save(folder.path().join("secret.png")).unwrap();
        let patches = folder.path().join("inner");
        std::fs::create_dir(&patches).unwrap();
        assert!(Gallery::new(Some(&patches)).file(Some("../secret")).is_none());
        let mut gallery = Gallery::new(Some(folder.path()));
        let (_, png) = gallery.file(Some(&hash)).unwrap();
        assert_eq!((png.width, png.height), (4, 3));
        assert!(gallery.file(Some(&other)).is_none() && gallery.file(None).is_none());
        assert_eq!(gallery.missing(), 2);
    }
}
