//! The demo slide in the user's cache, drawn on first use (`reinpath_training::phantom`).

use std::path::PathBuf;

use reinpath_training::phantom::{SlideError, write_demo_slide};

use crate::places::{self, Places};

/// The number is raised when the drawing changes, so that an older slide is not taken for it.
const FILE: &str = "demo-slide-1.tiff";

/// Why there is no demo slide.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Place(#[from] places::Error),
    #[error("the cache folder cannot be written ({source}): {path}", path = path.display())]
    Cache { source: std::io::Error, path: PathBuf },
    #[error(transparent)]
    Draw(#[from] SlideError),
}

impl Error {
    /// Whether it was `progress` that ended the drawing.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Draw(SlideError::Cancelled { .. }))
    }
}

/// The path of the demo slide, which is drawn first if it is not there: up to a minute, so not for the window's thread.
/// `progress` gets the share done, 0 to 1; `false` from it cancels and leaves nothing behind.
pub fn ensure(progress: &mut dyn FnMut(f32) -> bool) -> Result<PathBuf, Error> {
    ensure_in(&Places::find()?, progress)
}

/// The same in stated places.
pub fn ensure_in(places: &Places, progress: &mut dyn FnMut(f32) -> bool) -> Result<PathBuf, Error> {
    let path = places.cache.join(FILE);
    if path.is_file() && path.with_extension("geojson").is_file() {
        return Ok(path);
    }
    std::fs::create_dir_all(&places.cache)
        .map_err(|source| Error::Cache { source, path: places.cache.clone() })?;
    write_demo_slide(&path, progress)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_cannot_be_written_is_one_sentence_with_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, b"no folder").unwrap();
        let error = ensure_in(&Places::below(&file), &mut |_| true).unwrap_err();
        let sentence = error.to_string();
        assert!(sentence.starts_with("the cache folder cannot be written") && sentence.ends_with("cache"));
    }

    #[test]
    fn a_cancelled_drawing_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places::below(folder.path());
        assert!(ensure_in(&places, &mut |_| false).unwrap_err().is_cancelled());
        assert_eq!(std::fs::read_dir(&places.cache).unwrap().count(), 0);
    }
}
