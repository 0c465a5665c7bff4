//! Settings that are read from files: presets, a run's configuration, a file of the user's.

use std::path::Path;

use serde_json::Value;

use super::super::TrainPlaces;
use super::{demo_rows, field};

/// The preset that a new window begins with.
pub(super) const FIRST: &str = "cpu-demo";
/// A preset that starts from the package that ships says so by this name.
const DEMO_PACKAGE: &str = "demo";

/// Settings that ship with the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preset {
    /// Of its file, without the ending.
    pub name: String,
    /// Its first line: a title, a colon, what it is for.
    pub about: String,
}

impl Preset {
    /// What its button says.
    pub fn title(&self) -> &str {
        self.about.split_once(':').map_or(self.name.as_str(), |(title, _)| title)
    }
}

/// The presets of a folder, by their names.
///
/// # Errors
/// A sentence, where the folder cannot be read.
pub(super) fn list(folder: &Path) -> Result<Vec<Preset>, String> {
    let in_words =
        |error: std::io::Error| format!("The presets cannot be read, {error}: {}", folder.display());
    let mut presets = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(in_words)? {
        let path = entry.map_err(in_words)?.path();
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned());
        let Some(name) = name.filter(|_| path.extension().is_some_and(|ending| ending == "toml")) else {
            continue;
        };
        let text = std::fs::read_to_string(&path).map_err(in_words)?;
        presets.push(Preset { name, about: about(&text) });
    }
    presets.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(presets)
}

/// The comment that a file begins with, as one line.
fn about(text: &str) -> String {
    let lines = text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim);
    lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The settings of a preset, with what ships and what is made beside the runs put into its place.
///
/// # Errors
/// A sentence, where there is no such preset, or where something it needs has no place.
pub(super) fn read(name: &str, places: &TrainPlaces) -> Result<Value, String> {
    let folder = places.presets.as_ref().ok_or("There is no folder of presets beside this program.")?;
    let mut settings = read_file(&folder.join(format!("{name}.toml")))?;
    place(&mut settings, places)?;
    Ok(settings)
}

/// The settings of a file of TOML, or of the run in a folder.
///
/// # Errors
/// A sentence, with the path last, where it cannot be read or is no configuration of a run.
pub(super) fn read_file(path: &Path) -> Result<Value, String> {
    let path = if path.is_dir() { path.join("config.toml") } else { path.to_owned() };
    let text = std::fs::read_to_string(&path)
        .map_err(|error| format!("The settings cannot be read, {error}: {}", path.display()))?;
    let table: toml::Table = toml::from_str(&text)
        .map_err(|error| format!("The file is no TOML, {}: {}", error.message(), path.display()))?;
    let settings = serde_json::to_value(table)
        .map_err(|error| format!("The settings cannot be read, {error}: {}", path.display()))?;
    check(&settings, &path)?;
    Ok(settings)
}

/// Refuses what the form could not show whole.
pub(super) fn check(settings: &Value, path: &Path) -> Result<(), String> {
    match field::root()?.wrong(settings, "") {
        None => Ok(()),
        Some(reason) => {
            Err(format!("The file is no configuration of a run. {reason} The file: {}", path.display()))
        }
    }
}

/// Replaces the demo package's name and the folder of the demo rows, which are relative to no folder, by their real places.
fn place(settings: &mut Value, places: &TrainPlaces) -> Result<(), String> {
    if settings["base"] == DEMO_PACKAGE {
        let package = places.demo_package.as_ref();
        let package =
            package.ok_or("The demo model, which this preset starts from, is not beside this program.")?;
        settings["base"] = text(package);
    }
    let rows = demo_rows::folder(places);
    for part in ["alignment", "cold_start", "grpo", "evaluation"] {
        let sources = settings.get_mut(part).and_then(|part| part.get_mut("data"));
        for source in sources.and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(folder) = source.get_mut("folder") else { continue };
            let below =
                folder.as_str().and_then(|folder| Path::new(folder).strip_prefix(demo_rows::NAME).ok());
            let Some(below) = below.map(Path::to_owned) else { continue };
            let rows =
                rows.as_ref().ok_or("There is no folder for runs, beside which the demo rows would lie.")?;
            *folder = text(&rows.join(below));
        }
    }
    Ok(())
}

fn text(path: &Path) -> Value {
    Value::String(path.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use reinpath_training::config::RunConfig;

    use super::*;

    /// Those of this source tree.
    fn shipped() -> TrainPlaces {
        let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets");
        TrainPlaces {
            runs: Some("/data/runs".into()),
            demo_package: Some(assets.join("models/demo")),
            presets: Some(assets.join("presets")),
            ..TrainPlaces::default()
        }
    }

    #[test]
    fn every_preset_is_a_whole_configuration_and_says_what_it_is_for() {
        let places = shipped();
        let presets = list(places.presets.as_ref().unwrap()).unwrap();
        let names: Vec<&str> = presets.iter().map(|preset| preset.name.as_str()).collect();
        assert_eq!(names, ["cpu-demo", "paper", "quick-try", "single-24gb"]);
        for preset in &presets {
            assert!(preset.about.contains(": ") && preset.title().len() < 30, "{preset:?}");
            let settings = read(&preset.name, &places).unwrap();
            let config: RunConfig = serde_json::from_value(settings.clone()).unwrap();
            assert!(config.alignment.is_some() && config.cold_start.is_some() && config.grpo.is_some());
            // Where the data lie, only the user can know; the demo alone brings its own.
            let empty = field::root().unwrap().empty(&settings, "");
            assert_eq!(empty.is_none(), preset.name == FIRST, "{}: {empty:?}", preset.name);
        }
    }

    #[test]
    fn the_papers_preset_has_the_papers_values() {
        let config: RunConfig = serde_json::from_value(read("paper", &shipped()).unwrap()).unwrap();
        assert_eq!(config.lora.rank, 128);
        assert_eq!((config.compute.device.as_str(), config.compute.precision.as_str()), ("cuda", "bf16"));
        let grpo = config.grpo.unwrap();
        assert_eq!((grpo.samples, grpo.kl_weight, grpo.optimisation.batch), (4, 0.04, 32));
        assert_eq!(config.alignment.unwrap().optimisation.learning_rate, 2e-4);
        assert_eq!(config.cold_start.unwrap().select, Some(5400));
    }

    #[test]
    fn the_demo_finds_its_package_and_its_rows_wherever_the_program_lies() {
        let places = shipped();
        let settings = read(FIRST, &places).unwrap();
        assert_eq!(settings["base"], text(places.demo_package.as_ref().unwrap()));
        let rows = Path::new("/data/demo-rows");
        assert_eq!(settings["grpo"]["data"][0]["folder"], text(&rows.join("train")));
        assert_eq!(settings["evaluation"]["data"][0]["folder"], text(&rows.join("validation")));
        assert!(demo_rows::are_used(&settings, &places));
        let nowhere = TrainPlaces { runs: None, ..shipped() };
        assert!(read(FIRST, &nowhere).unwrap_err().starts_with("There is no folder for runs"));
        let bare = TrainPlaces { demo_package: None, ..shipped() };
        assert!(read(FIRST, &bare).unwrap_err().starts_with("The demo model"));
    }

    #[test]
    fn a_file_that_is_no_configuration_is_refused_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.toml");
        assert!(read_file(&path).unwrap_err().ends_with("settings.toml"));
        for (text, said) in [
            ("name = ", "The file is no TOML"),
            ("name = \"a\"\nseed = 1\nbase = \"b\"\nsead = 2", "There is no setting `sead`"),
            ("name = \"a\"\nseed = 1", "`base` is missing"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = read_file(&path).unwrap_err();
            assert!(error.contains(said) && error.ends_with("settings.toml"), "{error}");
        }
        std::fs::write(folder.path().join("config.toml"), "name = \"a\"\nseed = 1\nbase = \"b\"").unwrap();
        assert_eq!(read_file(folder.path()).unwrap()["name"], "a", "a run's folder stands for its settings");
    }
}
