//! Everything in the test data that is no slide for this program is refused by one sentence that says what it is.

use std::path::PathBuf;

use reinpath::slide::SlideHandle;

use super::{check_all, data, open};

/// File and what its sentence must say.
const REFUSED: [(&str, &str); 36] = [
    (
        "corrupt/CMU-1-Saved-1_16_no_datadir.mrxs",
        "a MIRAX slide without its data folder “CMU-1-Saved-1_16_no_datadir”",
    ),
    ("corrupt/histolab-broken-v1.svs", "a text file with the name of an Aperio slide"),
    ("corrupt/histolab-broken.svs", "a text file with the name of an Aperio slide"),
    ("corrupt/mayhem-corpus-7765c4a2.bin", "a damaged TIFF file"),
    ("corrupt/tifftools_bad_datatype.tif", "a damaged TIFF file (one of its values has the unknown type 514"),
    (
        "corrupt/tifftools_bad_double_reference.tif",
        "a damaged TIFF file (one of its directories is referenced twice",
    ),
    ("corrupt/tifftools_bad_header1.tif", "a damaged TIFF file (its header"),
    ("corrupt/tifftools_bad_jpeg.tif", "a damaged TIFF file"),
    (
        "corrupt/tifftools_bad_strip_offset.tif",
        "a damaged TIFF file (the pixels of its image 0 lie beyond its end",
    ),
    ("corrupt/tifftools_bad_tag_offset.tif", "a damaged TIFF file (one of its values lies beyond its end"),
    ("corrupt/truncated.jpg", "a truncated JPEG image"),
    ("dicom/ez_test/ez_test.dcm", "a DICOM whole-slide file that cannot be opened (No pyramid levels found)"),
    ("dicom/highdicom_seg_image_sm_control/highdicom_seg_image_sm_control.dcm", "a DICOM segmentation"),
    (
        "dicom/highdicom_seg_image_sm_control_labelmap/highdicom_seg_image_sm_control_labelmap.dcm",
        "a DICOM label map",
    ),
    (
        "dicom/highdicom_seg_image_sm_control_labelmap_palette_color/highdicom_seg_image_sm_control_labelmap_palette_color.dcm",
        "a DICOM label map",
    ),
    ("dicom/highdicom_seg_image_sm_dots/highdicom_seg_image_sm_dots.dcm", "a DICOM segmentation"),
    (
        "dicom/highdicom_seg_image_sm_dots_tiled_full/highdicom_seg_image_sm_dots_tiled_full.dcm",
        "a DICOM segmentation",
    ),
    ("dicom/highdicom_seg_image_sm_numbers/highdicom_seg_image_sm_numbers.dcm", "a DICOM segmentation"),
    ("dicom/highdicom_sm_annotations/highdicom_sm_annotations.dcm", "a DICOM file of annotations"),
    (
        "dicom/highdicom_sm_image_grayscale/highdicom_sm_image_grayscale.dcm",
        "a DICOM whole-slide file that cannot be opened",
    ),
    ("dicom/highdicom_sm_image_jpegls/highdicom_sm_image_jpegls.dcm", "Unsupported transfer syntax"),
    ("dicom/pathml_small_dicom/pathml_small_dicom.dcm", "a DICOM whole-slide file that cannot be opened"),
    ("large_image/notanimage.txt", "a text file"),
    ("large_image/sample_float32_8bit_range.zarr.zip", "a zipped Zarr array"),
    ("libvips/1bit.tif", "a TIFF image of 1 bit per sample"),
    ("libvips/2bit.tif", "a TIFF image of 2 bits per sample"),
    ("libvips/4bit.tif", "a TIFF image of 4 bits per sample"),
    ("libvips/dicom_test_image.dcm", "a DICOM file of modality"),
    ("libvips/issue412.jp2", "a JPEG 2000 image"),
    ("libvips/multi-channel-z-series.ome.tif", "an OME-TIFF image of 8-bit signed numbers"),
    ("libvips/ojpeg-tile.tif", "old-style JPEG"),
    ("libvips/world.jp2", "a JPEG 2000 image"),
    (
        "openslide-python/unopenable.tiff",
        "a tiled TIFF pyramid that cannot be opened (Unsupported TIFF compression: 52479)",
    ),
    ("other/Image_Mouse13_PB_H7.vsi", "an Olympus VSI slide"),
    ("other/vsi-ets-test-jpg2k.vsi", "an Olympus VSI slide"),
    ("qptiff/pathml_small_vectra.qptiff", "an Akoya QPTIFF slide"),
];

#[test]
fn files_that_are_no_slides_are_named() {
    let Some(data) = data() else { return };
    check_all(&REFUSED, |(name, what)| {
        let path = data.join("slides").join(name);
        let sentence = match open(&path) {
            Ok(_) => return Err(format!("{name} was opened")),
            Err(error) => error.to_string(),
        };
        let is_one_line = !sentence.contains('\n') && sentence.ends_with(&path.display().to_string());
        if sentence.contains(what) && is_one_line && sentence.matches("shared").count() == 1 {
            Ok(())
        } else {
            Err(format!("{name}: {sentence}"))
        }
    });
}

/// What lies in the folder of slides and is about them.
const NOT_TESTED: [&str; 1] = ["slides/OPENSLIDE_REFERENCE.json"];

/// Every file of the folder opens with known pixels (as OpenSlide's, or as a plain image's) or is refused in known words.
#[test]
fn no_file_is_forgotten() {
    let Some(data) = data() else { return };
    let slides = data.join("slides");
    let reference: serde_json::Value =
        serde_json::from_slice(&std::fs::read(slides.join("OPENSLIDE_REFERENCE.json")).unwrap()).unwrap();
    let plain: serde_json::Value = serde_json::from_str(include_str!("../golden/plain_slides.json")).unwrap();
    let all = files(&slides);
    assert!(all.len() > 80, "only {} files", all.len());
    let mut forgotten = Vec::new();
    for file in all {
        let name = file.strip_prefix(&data).unwrap().to_str().unwrap().replace('\\', "/");
        let opens = reference["slides"].get(&name).is_some_and(|slide| slide.get("open_error").is_none())
            || plain.get(&name).is_some();
        let is_refused = REFUSED.iter().any(|(refused, _)| name.strip_prefix("slides/") == Some(*refused));
        assert!(!(opens && is_refused), "{name} is in two lists");
        if !opens && !is_refused && !NOT_TESTED.contains(&name.as_str()) {
            forgotten.push(name);
        }
    }
    assert!(forgotten.is_empty(), "in no list: {}", forgotten.join(", "));
}

fn files(folder: &std::path::Path) -> Vec<PathBuf> {
    let entries = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn what_is_no_file_at_all_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("nowhere.svs");
    let sentence = open(&missing).unwrap_err().to_string();
    assert_eq!(sentence, format!("Cannot open the file, there is no such file: {}", missing.display()));
    assert!(open(folder.path()).unwrap_err().to_string().contains("a folder"));
    let empty = folder.path().join("empty.svs");
    std::fs::write(&empty, b"").unwrap();
    assert!(open(&empty).unwrap_err().to_string().contains("an empty file"));
}

/// File, percent of it that is left, and whether that still opens: its pixels are then missing.
const TRUNCATED: [(&str, usize, bool); 10] = [
    ("derived/CMU-1-Small-Region_pyramid4_jpeg.tif", 1, false),
    ("derived/CMU-1-Small-Region_pyramid4_jpeg.tif", 30, false),
    ("derived/CMU-1-Small-Region_pyramid4_jpeg.tif", 60, false),
    ("derived/CMU-1-Small-Region_pyramid4_jpeg.tif", 99, false),
    ("large_image/rgba_geotiff.tiff", 60, true),
    ("large_image/rgba_geotiff.tiff", 99, true),
    ("dicom/wsi2dcm_jpeg/wsi2dcm_jpeg.dcm", 60, true),
    ("dicom/wsi2dcm_jpeg/wsi2dcm_jpeg.dcm", 99, true),
    ("large_image/yb10kx5k.png", 60, false),
    ("qupath/cells.tif", 60, false),
];

/// A slide cut short anywhere is refused or fails in its reads, but never takes the program with it.
#[test]
fn truncated_slides_end_in_sentences() {
    let Some(data) = data() else { return };
    let folder = tempfile::tempdir().unwrap();
    check_all(&TRUNCATED, |&(name, percent, opens)| {
        let whole = std::fs::read(data.join("slides").join(name)).unwrap();
        let path = folder.path().join(format!("{percent}-{}", name.replace('/', "-")));
        std::fs::write(&path, &whole[..whole.len() * percent / 100]).unwrap();
        let sentence = match (open(&path), opens) {
            (Err(error), false) => error.to_string(),
            (Ok(slide), true) => match read_all(&slide) {
                Err(error) => error.to_string(),
                Ok(()) => return Err(format!("{percent} % of {name} were read whole")),
            },
            (Err(error), true) => return Err(format!("{percent} % of {name} do not open: {error}")),
            (Ok(_), false) => return Err(format!("{percent} % of {name} open")),
        };
        let is_one_line = !sentence.contains('\n') && sentence.ends_with(&path.display().to_string());
        if is_one_line { Ok(()) } else { Err(format!("{percent} % of {name}: {sentence}")) }
    });
}

fn read_all(slide: &SlideHandle) -> Result<(), reinpath::slide::Error> {
    for (number, level) in (0..).zip(&slide.info().levels) {
        slide.read_region(number, 0, 0, level.width, level.height)?;
    }
    Ok(())
}
