//! Drawn pictures, and histolab's, where its test data lie beside the checkout.

use std::path::{Path, PathBuf};

use image::imageops::{FilterType, blur, resize};
use image::{Rgb, RgbImage};

use super::*;
use crate::slide::Mpp;

/// A file of histolab's tests; `None`, with a printed reason, where it is absent.
fn histolab(file: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/images/histolab").join(file);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: there is no {}", path.display());
    None
}

fn read(path: &Path) -> RgbImage {
    image::open(path).unwrap().into_rgb8()
}

/// Glass with a square of tissue, from and to these pixels, whose cells are dark and light: (x + y) even or odd.
fn drawn(side: u32, from: u32, to: u32) -> RgbImage {
    RgbImage::from_fn(side, side, |x, y| {
        if !(from..to).contains(&x) || !(from..to).contains(&y) {
            return Rgb([240, 240, 241]);
        }
        if (x / 2 + y / 2) % 2 == 0 { Rgb([120, 40, 130]) } else { Rgb([220, 150, 200]) }
    })
}

#[test]
fn otsus_threshold_lies_between_two_heaps() {
    let mut histogram = [0_u64; 256];
    (histogram[10], histogram[12], histogram[200], histogram[210]) = (500, 400, 30, 20);
    let threshold = otsu(&histogram);
    assert!((12..200).contains(&threshold), "{threshold}");
    let mut one = [0_u64; 256];
    one[77] = 5;
    assert_eq!((otsu(&one), otsu(&[0; 256])), (0, 0));
    let mut last = [0_u64; 256];
    (last[0], last[255]) = (3, 3);
    assert_eq!(otsu(&last), 0, "what is above the threshold is the other heap");
}

#[test]
fn the_mask_is_the_tissue_and_its_area_is_told_in_level_0_pixels() {
    let map = SaturationMap::of(&drawn(128, 32, 96), 16.0, 2);
    assert_eq!((map.columns, map.rows, map.cell), (64, 64, 32.0));
    let mask = TissueMask::new(&map, MaskRule { threshold: None, bridge: 1, smallest: 4 });
    let expected = (64.0 * 16.0_f64).powi(2);
    assert!((mask.area() / expected - 1.0).abs() < 0.01, "{} instead of {expected}", mask.area());
    assert!(mask.contains((1024.0, 1024.0)) && !mask.contains((100.0, 1024.0)));
    assert!(!mask.contains((-1.0, 1024.0)) && !mask.contains((1e9, 1e9)));
}

#[test]
fn a_higher_threshold_never_makes_more_tissue() {
    let map = SaturationMap::of(&drawn(128, 32, 96), 1.0, 1);
    let area = |threshold| {
        TissueMask::new(&map, MaskRule { threshold: Some(threshold), bridge: 0, smallest: 1 }).area()
    };
    let areas: Vec<f64> = (0..=255).step_by(5).map(area).collect();
    assert!(areas.windows(2).all(|pair| pair[1] <= pair[0]), "{areas:?}");
    assert_eq!(area(255), 0.0);
}

#[test]
fn the_black_border_of_a_scanner_is_no_tissue() {
    let black = RgbImage::from_fn(32, 32, |x, y| Rgb([(x % 4) as u8, 0, (y % 5) as u8]));
    assert!(SaturationMap::of(&black, 1.0, 1).values.iter().all(|&value| value == 0));
}

#[test]
fn sizes_are_physical_where_the_scale_is_known() {
    // 32 level-0 pixels of 0.25 µm: cells of 8 µm.
    let rule = MaskRule::new(None, 32.0, Some(Mpp { x: 0.25, y: 0.25 }));
    assert_eq!((rule.bridge, rule.smallest), (3, 157));
    assert_eq!(MaskRule::new(Some(9), 32.0, None), MaskRule { threshold: Some(9), bridge: 1, smallest: 16 });
}

#[test]
fn glass_is_blank_and_tissue_is_blurred_only_when_it_is() {
    assert_eq!(flaws(&drawn(128, 0, 0), false), [Flaw::Blank]);
    assert_eq!(flaws(&drawn(128, 60, 68), false), [Flaw::Blank], "0.4 % of it are no tissue");
    let tissue = drawn(128, 0, 100);
    assert!(flaws(&tissue, false).is_empty());
    let unsharp = blur(&tissue, 3.0);
    assert_eq!(flaws(&unsharp, false), [Flaw::Blurred]);
    assert_eq!(flaws(&unsharp, true), [Flaw::Upsampled], "enlarged pixels are not called out of focus");
    assert_eq!(flaws(&drawn(128, 0, 0), true), [Flaw::Blank, Flaw::Upsampled]);
    assert!(flaws(&RgbImage::from_pixel(4, 4, Rgb([120, 40, 130])), false).is_empty(), "too small to judge");
}

#[test]
fn the_tiles_of_histolab_are_judged_as_their_names_say() {
    for (name, expected) in [
        ("no-tissue", Some(Flaw::Blank)),
        ("no-tissue2", Some(Flaw::Blank)),
        ("no-tissue-line", Some(Flaw::Blank)),
        ("almost-white-1", Some(Flaw::Blank)),
        ("almost-white-2", Some(Flaw::Blank)),
        ("high-nuclei-score-level0", None),
        ("medium-nuclei-score-level0", None),
        ("low-nuclei-score-level0", None),
        ("very-low-nuclei-score-level0", None),
        ("tissue-level0-4302-10273-4814-10785", None),
        ("tissue-level0-7352-11762-7864-12274", None),
    ] {
        let Some(path) = histolab(&format!("tiles/{name}.png")) else { return };
        // They have 0.5 µm/px or less; halved with the filter that slides are read with.
        let tile = read(&path);
        let (width, height) = (tile.width() / 2, tile.height() / 2);
        let found = flaws(&resize(&tile, width, height, FilterType::Lanczos3), false);
        assert_eq!(found.first().copied(), expected, "{name}");
        if expected.is_none() {
            let unsharp = resize(&blur(&tile, 4.0), width, height, FilterType::Lanczos3);
            assert_eq!(flaws(&unsharp, false), [Flaw::Blurred], "{name}, blurred by 2 µm");
        }
    }
}

/// The booleans of a NumPy file, row by row, with its shape.
fn booleans(path: &Path) -> (usize, usize, Vec<bool>) {
    let bytes = std::fs::read(path).unwrap();
    let head = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let words = String::from_utf8_lossy(&bytes[10..10 + head]).into_owned();
    assert!(words.contains("'|b1'") && words.contains("'fortran_order': False"), "{words}");
    let shape = words.split_once('(').unwrap().1.split_once(')').unwrap().0;
    let sides: Vec<usize> = shape.split(',').filter_map(|side| side.trim().parse().ok()).collect();
    (sides[0], sides[1], bytes[10 + head..].iter().map(|&byte| byte != 0).collect())
}

#[test]
fn the_mask_agrees_with_histolabs() {
    // histolab thresholds grey values and then grows the mask by five pixels, which no closing does: hence the lower bound of the third,
    // whose tissue is thin. In pixels of these pictures, as histolab has it.
    for (picture, mask, least) in [
        ("pil-images-rgb/tcga-lung-rgb", "tissue-mask-tcga-lung-rgb", 0.9),
        ("tiles/high-nuclei-score-level2", "tile-tissue-mask-high-nuclei-score-level2", 0.9),
        (
            "tiles/tissue-level2-3000-7666-7096-11763",
            "tile-tissue-mask-tissue-level2-3000-7666-7096-11763",
            0.85,
        ),
        ("tiles/high-nuclei-score-level0", "tile-tissue-mask-high-nuclei-score-level0", 0.9),
    ] {
        let (Some(picture), Some(expected)) =
            (histolab(&format!("{picture}.png")), histolab(&format!("expected/{mask}.npy")))
        else {
            return;
        };
        let map = SaturationMap::of(&read(&picture), 1.0, 1);
        let found = TissueMask::new(&map, MaskRule { threshold: None, bridge: 4, smallest: 500 });
        let (rows, columns, expected) = booleans(&expected);
        assert_eq!((found.columns as usize, found.rows as usize), (columns, rows));
        let count = |both: fn(bool, bool) -> bool| {
            found.is_tissue.iter().zip(&expected).filter(|&(&a, &b)| both(a, b)).count() as f64
        };
        let agreement = count(|a, b| a && b) / count(|a, b| a || b);
        assert!(agreement >= least, "{mask}: {agreement:.3}");
    }
}
