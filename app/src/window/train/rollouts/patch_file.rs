//! Patches of a question as pictures. A record names them as they could be opened from where the run was started; where that
//! is not here, they are looked for around the folders of the data.

use std::path::{Path, PathBuf};

use egui::Context;
use image::imageops::thumbnail;
use image::{ImageReader, RgbImage};

use super::super::super::picture::Picture;

/// The longer side of a picture in pixels: it is shown small, and a texture has its limits.
const MOST_PX: u32 = 512;

/// Reads one.
///
/// # Errors
/// A sentence that ends with the path.
pub(super) fn read(ctx: &Context, image: &str, folders: &[PathBuf]) -> Result<Picture, String> {
    let path = find(image, folders).ok_or_else(|| format!("The patch is not there any more: {image}"))?;
    let pixels =
        pixels(&path).map_err(|error| format!("The patch could not be read, {error}: {}", path.display()))?;
    Ok(Picture::new(ctx, "rollout patch", &small(pixels)))
}

/// The file as it is named, or the same path from a folder of the data or from one above it.
fn find(image: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let above = folders.iter().flat_map(|folder| folder.ancestors());
    let candidates = std::iter::once(PathBuf::from(image)).chain(above.map(|folder| folder.join(image)));
    candidates.into_iter().find(|path| path.is_file())
}

fn pixels(path: &Path) -> Result<RgbImage, image::ImageError> {
    let reader = ImageReader::open(path)?.with_guessed_format()?;
    Ok(reader.decode()?.into_rgb8())
}

fn small(pixels: RgbImage) -> RgbImage {
    let longer = pixels.width().max(pixels.height());
    if longer <= MOST_PX {
        return pixels;
    }
    let side = |length: u32| (u64::from(length) * u64::from(MOST_PX) / u64::from(longer)).max(1) as u32;
    thumbnail(&pixels, side(pixels.width()), side(pixels.height()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_found_as_it_is_named_or_around_its_data() {
        let place = tempfile::tempdir().unwrap();
        let rows = place.path().join("data/rows");
        std::fs::create_dir_all(rows.join("img")).unwrap();
        let file = rows.join("img/1.png");
        RgbImage::new(900, 3).save(&file).unwrap();
        let named = file.to_str().unwrap();
        assert_eq!(find(named, &[]), Some(file.clone()));
        let folders = [rows.clone()];
        assert_eq!(find("img/1.png", &folders), Some(file.clone()));
        assert_eq!(find("rows/img/1.png", &folders), Some(file.clone()), "named from further above");
        let jsonl = [rows.join("rows.jsonl")];
        assert_eq!(find("img/1.png", &jsonl), Some(file.clone()), "the data are named by their file");
        assert_eq!(find("img/2.png", &folders), None);
        let pixels = pixels(&file).unwrap();
        assert_eq!(small(pixels).dimensions(), (512, 1));
    }

    #[test]
    fn a_patch_that_cannot_be_shown_is_a_sentence_with_its_path() {
        let ctx = Context::default();
        let gone = read(&ctx, "img/gone.png", &[]).unwrap_err();
        assert_eq!(gone, "The patch is not there any more: img/gone.png");
        let place = tempfile::tempdir().unwrap();
        let broken = place.path().join("broken.png");
        std::fs::write(&broken, "no picture").unwrap();
        let sentence = read(&ctx, broken.to_str().unwrap(), &[]).unwrap_err();
        assert!(sentence.starts_with("The patch could not be read, "), "{sentence}");
        assert!(sentence.ends_with("broken.png"));
    }
}
