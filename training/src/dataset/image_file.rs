//! Image files of data sets (PNG, JPEG, TIFF) as patches of the model.
//!
//! Pixels are taken as they are stored: nothing is resized or turned here, since each encoder's own preparation is in
//! the model's `patch.rs`. Transparency is dropped, numbers of 16 bits become 8.

use std::path::Path;

use image::{ImageError, ImageReader};
use reinpath_model::patch::Patch;

use super::DatasetError;

/// Width and height of an image, from its header alone.
pub fn image_size(path: &Path) -> Result<(u32, u32), DatasetError> {
    open(path)?.into_dimensions().map_err(|error| unreadable(path, &error))
}

/// Reads an image as a patch; `mpp` are the microns per pixel that its row names.
pub fn read_patch(path: &Path, mpp: Option<f64>) -> Result<Patch, DatasetError> {
    let picture = open(path)?.decode().map_err(|error| unreadable(path, &error))?.into_rgb8();
    let (width, height) = picture.dimensions();
    Patch::new(width, height, mpp, picture.into_raw())
        .map_err(|error| DatasetError::content(error.to_string(), path))
}

type Reader = ImageReader<std::io::BufReader<std::fs::File>>;

fn open(path: &Path) -> Result<Reader, DatasetError> {
    let failed = |error| unreadable(path, &ImageError::IoError(error));
    ImageReader::open(path).map_err(failed)?.with_guessed_format().map_err(failed)
}

fn unreadable(path: &Path, error: &ImageError) -> DatasetError {
    let reason = match error {
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::NotFound => {
            "the image is not there".to_owned()
        }
        error => {
            let text = error.to_string();
            format!("the image cannot be read ({})", text.lines().next().unwrap_or_default())
        }
    };
    DatasetError::content(reason, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::for_tests::save_picture;

    #[test]
    fn an_image_is_read_as_it_is_and_what_is_wrong_with_it_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.png");
        save_picture(&path, 5, 3);
        assert_eq!(image_size(&path).unwrap(), (5, 3));
        let patch = read_patch(&path, Some(0.5)).unwrap();
        assert_eq!((patch.width, patch.height, patch.mpp), (5, 3, Some(0.5)));
        assert_eq!(&patch.rgb[..3], &[200, 120, 180]);
        let gone = read_patch(&folder.path().join("y.png"), None).unwrap_err().to_string();
        assert!(gone.starts_with("the image is not there") && gone.ends_with("y.png"), "{gone}");
        let text = folder.path().join("z.png");
        std::fs::write(&text, "no picture").unwrap();
        let broken = image_size(&text).unwrap_err().to_string();
        assert!(broken.starts_with("the image cannot be read") && broken.ends_with("z.png"), "{broken}");
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&text, &whole[..45]).unwrap();
        assert!(
            image_size(&text).is_ok() && read_patch(&text, None).is_err(),
            "cut off behind its header, which has 41 bytes"
        );
    }
}
