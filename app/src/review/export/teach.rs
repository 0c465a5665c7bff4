//! A run that learns from reviews: rows in a folder of their own, and the settings of a short cold start beside them.

use std::path::{Path, PathBuf};

use reinpath_model::package::Package;
use reinpath_training::config::RunConfig;

use super::patches::Gallery;
use super::rows::{Made, place};
use super::{Document, Error};
use crate::models::untrainable;
use crate::review::Collection;

/// The settings' file, beside the rows.
pub const SETTINGS: &str = "teach.toml";
/// What ships: the settings with places for what is not known before.
const TEMPLATE: &str = include_str!("../../../../assets/teach.toml");

/// What a run is made of beside the reviews.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Teaching {
    /// Name of the run and of its package.
    pub name: String,
    /// Folder of the package that learns.
    pub package: PathBuf,
    /// Rows that it must not forget meanwhile.
    pub rehearsal: Option<PathBuf>,
}

/// Writes rows and settings into a new folder; gives back what was written, as a sentence. Names are never told.
///
/// # Errors
/// A package that must not or cannot learn, not one row among the reviews, or a place that cannot be written to.
pub fn write(
    collection: &Collection,
    patches: Option<&Path>,
    to: &Path,
    teaching: &Teaching,
) -> Result<String, Error> {
    let document = Document::of(collection, false)?;
    // A package that cannot be read is the run's to complain of.
    if let Some(sentence) = Package::open(&teaching.package).ok().and_then(|package| untrainable(&package)) {
        return Err(Error::NotTaught(sentence));
    }
    let made = Made::of(&document, &mut Gallery::new(patches));
    if made.rows.is_empty() {
        return Err(made.fault());
    }
    // The settings name the folder as it will be called.
    let settings = settings(teaching, &absolute(to)?)?;
    place(to, |folder| {
        made.write(folder)?;
        let path = folder.join(SETTINGS);
        std::fs::write(&path, &settings).map_err(|reason| Error::write(&path, &reason))
    })?;
    Ok(made.in_words(to))
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|reason| Error::write(path, &reason))
}

/// The template with everything in its place.
fn settings(teaching: &Teaching, folder: &Path) -> Result<String, Error> {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let path = |path: &Path| quoted(&path.to_string_lossy());
    let rehearsal = teaching.rehearsal.as_deref().map(absolute).transpose()?;
    let lines: Vec<String> = TEMPLATE
        .lines()
        .filter(|line| rehearsal.is_some() || !line.contains("\"@REHEARSAL@\""))
        .map(|line| {
            let line = line.replace("\"@NAME@\"", &quoted(&teaching.name));
            let line = line.replace("\"@BASE@\"", &path(&teaching.package));
            let line = line.replace("\"@ROWS@\"", &path(folder));
            match &rehearsal {
                Some(rehearsal) => line.replace("\"@REHEARSAL@\"", &path(rehearsal)),
                None => line,
            }
        })
        .collect();
    let text = lines.join("\n") + "\n";
    let wrong =
        |error: toml::de::Error| Error::Content(format!("the settings are none, {}", error.message()));
    toml::from_str::<RunConfig>(&text).map_err(wrong)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn teaching() -> Teaching {
        Teaching {
            name: "Taught \"by\" reviews".to_owned(),
            package: "/models/demo \\ x".into(),
            rehearsal: Some("/data/demo-rows/train".into()),
        }
    }

    #[test]
    fn the_settings_name_package_and_rows_and_are_a_run_of_one_stage() {
        let text = settings(&teaching(), Path::new("/exports/teach-1")).unwrap();
        let config: RunConfig = toml::from_str(&text).unwrap();
        assert_eq!(
            (config.name.as_str(), config.base.as_path()),
            ("Taught \"by\" reviews", Path::new("/models/demo \\ x"))
        );
        assert!(config.alignment.is_none() && config.grpo.is_none() && config.evaluation.data.is_empty());
        let cold_start = config.cold_start.unwrap();
        let folders: Vec<&Path> = cold_start.data.iter().map(|source| source.folder.as_path()).collect();
        let rehearsal = std::path::absolute("/data/demo-rows/train").unwrap();
        assert_eq!(folders, [Path::new("/exports/teach-1"), &rehearsal]);
        assert_eq!((cold_start.data[0].repeat, cold_start.data[1].repeat), (8, 1));
        let optimisation = &cold_start.optimisation;
        assert_eq!((optimisation.steps, optimisation.batch), (80, 16));
        assert_eq!((optimisation.learning_rate, cold_start.projector_rate), (5e-4, 0.1));
        assert!(!text.contains('@'), "{text}");
    }

    #[test]
    fn without_rows_to_rehearse_the_reviews_are_all_there_is() {
        let alone = Teaching { rehearsal: None, ..teaching() };
        let config: RunConfig =
            toml::from_str(&settings(&alone, Path::new("/exports/teach-1")).unwrap()).unwrap();
        assert_eq!(config.cold_start.unwrap().data.len(), 1);
    }
}
