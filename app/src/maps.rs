//! Where each sentence of an answer looks, for people: a picture of the patch under the map, and all numbers as JSON.
//!
//! How maps are made, and what their numbers mean, is in the crate `reinpath-model`, `attribution.rs`.

use std::path::{Path, PathBuf};

use image::imageops::{FilterType, resize};
use image::{ImageBuffer, ImageFormat, Luma, Rgb, RgbImage};
use reinpath_model::patch::Patch;
use reinpath_model::request::SentenceMap;
use reinpath_model::stage::AnswerStage;
use serde::Serialize;

use crate::ask::CutPatch;

/// The file with the numbers.
const NUMBERS: &str = "maps.json";
/// Colours of the values 0 and 1: neither occurs in tissue stained with haematoxylin and eosin.
const COLOURS: [[f32; 3]; 2] = [[0.0, 90.0, 255.0], [255.0, 240.0, 0.0]];
/// How much of the tissue the colour of the value 1 hides; lower values hide less.
const COVER: f32 = 0.6;

/// Maps that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the model's process sent a map of patch {patch}, but the question has {count}")]
    NoPatch { patch: usize, count: usize },
    #[error("the model's process sent a map that does not fit its patch: {0}")]
    Misfit(String),
    #[error("the maps cannot be written: {reason}: {path}", path = path.display())]
    Write { reason: String, path: PathBuf },
}

/// One map in `maps.json`.
#[derive(Serialize)]
struct Record<'a> {
    #[serde(flatten)]
    map: &'a SentenceMap,
    /// The fall of the log-likelihood beyond that of random masks.
    difference: f32,
    /// The picture, in the same folder.
    file: String,
    /// From 0 to 1, row by row.
    values: Vec<&'a [f32]>,
}

/// Writes `observation1-patch1-tam.png` and so on, and `maps.json`, into a folder, which is made if need be.
pub fn write_maps(
    folder: &Path,
    maps: &[(SentenceMap, Vec<f32>)],
    patches: &[CutPatch],
) -> Result<(), Error> {
    let failed = |reason: String, path: &Path| Error::Write { reason, path: path.to_owned() };
    std::fs::create_dir_all(folder).map_err(|error| failed(error.to_string(), folder))?;
    let mut records = Vec::with_capacity(maps.len());
    let mut sentences = Vec::new();
    for (map, grid) in maps {
        let no_patch = || Error::NoPatch { patch: map.patch + 1, count: patches.len() };
        let patch = &patches.get(map.patch).ok_or_else(no_patch)?.patch;
        let stage = map.stage.name().to_lowercase();
        let number = number(&mut sentences, map);
        let file = format!("{stage}{number}-patch{}-{}.png", map.patch + 1, map.method.name());
        let path = folder.join(&file);
        overlay(patch, map, grid)?
            .save_with_format(&path, ImageFormat::Png)
            .map_err(|error| failed(error.to_string(), &path))?;
        let values = grid.chunks(map.cols.max(1)).collect();
        records.push(Record { map, difference: map.difference(), file, values });
    }
    let path = folder.join(NUMBERS);
    let json = serde_json::to_vec_pretty(&records).map_err(|error| failed(error.to_string(), &path))?;
    std::fs::write(&path, json).map_err(|error| failed(error.to_string(), &path))
}

/// Which sentence of its stage a map is of, counted from 1; `sentences` are those met so far.
fn number(sentences: &mut Vec<(AnswerStage, usize)>, map: &SentenceMap) -> usize {
    let sentence = (map.stage, map.first_token);
    if !sentences.contains(&sentence) {
        sentences.push(sentence);
    }
    let before = sentences.iter().take_while(|other| **other != sentence);
    before.filter(|other| other.0 == map.stage).count() + 1
}

/// The patch with the map over what the model saw of it.
fn overlay(patch: &Patch, map: &SentenceMap, grid: &[f32]) -> Result<RgbImage, Error> {
    let cells = cells(map, grid)?;
    let [x, y, width, height] = map.crop;
    let inside = |at: f64, length: f64, end: u32| {
        at.is_finite()
            && length.is_finite()
            && at >= 0.0
            && length >= 1.0
            && at + length <= f64::from(end) + 1.0
    };
    if !inside(x, width, patch.width) || !inside(y, height, patch.height) {
        return Err(Error::Misfit(format!("{width} × {height} px at {x}, {y}")));
    }
    let mut picture = RgbImage::from_raw(patch.width, patch.height, patch.rgb.clone())
        .ok_or_else(|| Error::Misfit("its pixels are incomplete".to_owned()))?;
    let heat = resize(&cells, width.round() as u32, height.round() as u32, FilterType::Triangle);
    let (left, top) = (x.round() as u32, y.round() as u32);
    for (column, row, &Luma([value])) in heat.enumerate_pixels() {
        if let Some(pixel) = picture.get_pixel_mut_checked(left + column, top + row) {
            *pixel = warmed(*pixel, value);
        }
    }
    Ok(picture)
}

/// The values of a map as a picture of one pixel for each cell, from 0 to 1.
///
/// # Errors
/// Where there are not as many values as cells, or none.
pub fn cells(map: &SentenceMap, grid: &[f32]) -> Result<ImageBuffer<Luma<f32>, Vec<f32>>, Error> {
    let misfit = || Error::Misfit(format!("{} × {} cells", map.rows, map.cols));
    let (Ok(rows), Ok(cols)) = (u32::try_from(map.rows), u32::try_from(map.cols)) else {
        return Err(misfit());
    };
    // What is no number came from another process: it is shown as nothing.
    let values: Vec<f32> = grid.iter().map(|x| if x.is_finite() { x.clamp(0.0, 1.0) } else { 0.0 }).collect();
    let is_whole = map.rows.checked_mul(map.cols).is_some_and(|cells| cells > 0 && cells == values.len());
    ImageBuffer::from_raw(cols, rows, values).filter(|_| is_whole).ok_or_else(misfit)
}

/// The colour of a value from 0 to 1, and how much of what lies below it is hidden, from 0 to 1.
pub fn heat(value: f32) -> ([f32; 3], f32) {
    (std::array::from_fn(|c| COLOURS[0][c] + (COLOURS[1][c] - COLOURS[0][c]) * value), COVER * value)
}

/// The same for a map that explains nothing, in greys.
pub fn grey_heat(value: f32) -> ([f32; 3], f32) {
    ([255.0 * value; 3], COVER * value)
}

/// A pixel under a value from 0 to 1.
fn warmed(Rgb(tissue): Rgb<u8>, value: f32) -> Rgb<u8> {
    let (colour, cover) = heat(value);
    Rgb(std::array::from_fn(|c| (f32::from(tissue[c]) * (1.0 - cover) + colour[c] * cover).round() as u8))
}

#[cfg(test)]
mod tests {
    use reinpath_model::event::PatchSource;
    use reinpath_model::request::MapMethod;

    use super::*;

    fn map(stage: AnswerStage, first_token: usize, method: MapMethod) -> SentenceMap {
        SentenceMap {
            stage,
            sentence: "Glands.".to_owned(),
            first_token,
            tokens: 2,
            patch: 0,
            rows: 2,
            cols: 2,
            crop: [8.0, 0.0, 16.0, 16.0],
            method,
            fall: 1.5,
            random_fall: 0.25,
        }
    }

    fn patches() -> Vec<CutPatch> {
        let patch = Patch::new(32, 16, None, vec![100; 32 * 16 * 3]).unwrap();
        vec![CutPatch { patch, source: PatchSource::default(), is_padded: false }]
    }

    #[test]
    fn pictures_have_the_patchs_size_and_their_heat_where_the_model_looked() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("new");
        let (observation, analysis) = (AnswerStage::Observation, AnswerStage::Analysis);
        let grid = vec![0.0, 0.0, 0.0, 1.0];
        let maps = [
            (map(observation, 1, MapMethod::Tam), grid.clone()),
            (map(observation, 1, MapMethod::RelativeAttention), grid.clone()),
            (map(observation, 5, MapMethod::Tam), grid.clone()),
            (map(analysis, 9, MapMethod::Tam), grid.clone()),
        ];
        write_maps(&folder, &maps, &patches()).unwrap();
        for name in
            ["observation1-patch1-relative_attention", "observation2-patch1-tam", "analysis1-patch1-tam"]
        {
            assert!(folder.join(format!("{name}.png")).is_file(), "{name}");
        }
        let picture = image::open(folder.join("observation1-patch1-tam.png")).unwrap().into_rgb8();
        assert_eq!(picture.dimensions(), (32, 16));
        // Grey under 60 % of yellow in the lower right of the crop, plain elsewhere in it and outside of it.
        assert_eq!(picture.get_pixel(23, 15).0, [193, 184, 40]);
        assert_eq!(picture.get_pixel(8, 0).0, [100; 3]);
        assert_eq!(picture.get_pixel(30, 15).0, [100; 3]);
        let text = std::fs::read_to_string(folder.join(NUMBERS)).unwrap();
        let records: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(records.as_array().unwrap().len(), 4);
        let first = &records[0];
        assert_eq!(
            (first["difference"].as_f64(), first["stage"].as_str()),
            (Some(1.25), Some("observation"))
        );
        assert_eq!(first["values"], serde_json::json!([[0.0, 0.0], [0.0, 1.0]]));
        assert_eq!(first["file"], "observation1-patch1-tam.png");
    }

    #[test]
    fn each_patch_has_the_grid_of_its_own_size() {
        let folder = tempfile::tempdir().unwrap();
        let cut = |width: u32, height: u32| {
            let patch = Patch::new(width, height, None, vec![100; (width * height * 3) as usize]).unwrap();
            CutPatch { patch, source: PatchSource::default(), is_padded: false }
        };
        let whole = |patch, rows, cols, [width, height]: [f64; 2]| {
            let crop = [0.0, 0.0, width, height];
            SentenceMap { patch, rows, cols, crop, ..map(AnswerStage::Conclusion, 1, MapMethod::Tam) }
        };
        // Both are given whole, one as a row of three tokens and one as two times two.
        let maps = [
            (whole(0, 1, 3, [84.0, 28.0]), vec![0.0, 0.0, 1.0]),
            (whole(1, 2, 2, [56.0, 56.0]), vec![1.0, 0.0, 0.0, 0.0]),
        ];
        write_maps(folder.path(), &maps, &[cut(84, 28), cut(56, 56)]).unwrap();
        let picture = |name: &str| image::open(folder.path().join(name)).expect("it was written").into_rgb8();
        let (first, second) = (picture("conclusion1-patch1-tam.png"), picture("conclusion1-patch2-tam.png"));
        assert_eq!((first.dimensions(), second.dimensions()), ((84, 28), (56, 56)));
        // Grey under 60 % of yellow where the model looked, plain at the other end.
        for (hot, cold) in [
            (first.get_pixel(83, 14), first.get_pixel(0, 14)),
            (second.get_pixel(0, 0), second.get_pixel(55, 55)),
        ] {
            assert_eq!((hot.0, cold.0), ([193, 184, 40], [100; 3]));
        }
        let text = std::fs::read_to_string(folder.path().join(NUMBERS)).unwrap();
        let records: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(records[0]["values"], serde_json::json!([[0.0, 0.0, 1.0]]));
        assert_eq!(records[1]["values"], serde_json::json!([[1.0, 0.0], [0.0, 0.0]]));
    }

    #[test]
    fn maps_that_fit_no_patch_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let good = map(AnswerStage::Analysis, 1, MapMethod::Tam);
        let refused = |map: SentenceMap, grid: Vec<f32>| {
            write_maps(folder.path(), &[(map, grid)], &patches()).unwrap_err().to_string()
        };
        assert!(refused(SentenceMap { patch: 1, ..good.clone() }, vec![0.0; 4]).contains("patch 2"));
        assert!(refused(good.clone(), vec![0.0; 3]).contains("2 × 2 cells"));
        assert!(refused(SentenceMap { rows: 0, ..good.clone() }, Vec::new()).contains("0 × 2 cells"));
        for crop in [[8.0, 0.0, 1e9, 16.0], [f64::NAN, 0.0, 16.0, 16.0], [-1.0, 0.0, 16.0, 16.0]] {
            assert!(refused(SentenceMap { crop, ..good.clone() }, vec![0.0; 4]).contains("px at"));
        }
    }
}
