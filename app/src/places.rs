//! Where things live: the user's folders, what ships with the program, and the other programs.
//!
//! `REINPATH_HOME` puts configuration, data and cache under one folder; `REINPATH_BIN_DIR` and `REINPATH_ASSETS` say where
//! programs and shipped files are when they are not where an installation or a working tree has them.

use std::path::{Path, PathBuf};

/// Why something is not where it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("this system names no home folder: set REINPATH_HOME to a folder for settings, data and cache")]
    NoHome,
    #[error(
        "the demo model is not installed: set REINPATH_ASSETS to the folder that holds models/demo, or name a model package"
    )]
    NoDemoModel,
    #[error("the program {name} is not beside this one: set REINPATH_BIN_DIR to its folder: {path}", path = folder.display())]
    NoProgram { name: String, folder: PathBuf },
}

/// The user's folders; none need exist yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    pub configuration: PathBuf,
    pub data: PathBuf,
    pub cache: PathBuf,
}

impl Places {
    /// The platform's folders, or those below `REINPATH_HOME`.
    pub fn find() -> Result<Self, Error> {
        if let Some(home) = variable("REINPATH_HOME") {
            return Ok(Self::below(&home));
        }
        let platform = directories::ProjectDirs::from("", "", "reinpath").ok_or(Error::NoHome)?;
        Ok(Self {
            configuration: platform.config_dir().to_owned(),
            data: platform.data_dir().to_owned(),
            cache: platform.cache_dir().to_owned(),
        })
    }

    /// All three below one folder.
    pub fn below(home: &Path) -> Self {
        Self { configuration: home.join("config"), data: home.join("data"), cache: home.join("cache") }
    }
}

/// The folder of a variable that is set and not empty.
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The folder of what ships with the program, if there is one.
pub fn assets() -> Option<PathBuf> {
    variable("REINPATH_ASSETS").or_else(|| {
        let program = std::env::current_exe().ok()?;
        assets_beside(program.parent()?)
    })
}

/// Installed; on macOS inside the bundle; then in the working tree, from `target/<profile>` and `target/<profile>/deps`.
fn assets_beside(folder: &Path) -> Option<PathBuf> {
    ["../share/reinpath", "../Resources", "../../assets", "../../../assets"]
        .iter()
        .map(|place| folder.join(place))
        .find(|place| place.join("models").is_dir())
}

/// The package of the demo model.
pub fn demo_package() -> Result<PathBuf, Error> {
    assets()
        .map(|assets| assets.join("models").join("demo"))
        .filter(|package| package.is_dir())
        .ok_or(Error::NoDemoModel)
}

/// Another program of this installation, such as `reinpath-worker`.
pub fn program(name: &str) -> Result<PathBuf, Error> {
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let own = std::env::current_exe().unwrap_or_default();
    let own_folder = own.parent().unwrap_or(Path::new("."));
    let folder = variable("REINPATH_BIN_DIR").unwrap_or_else(|| own_folder.to_owned());
    let path = folder.join(&file);
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::NoProgram { name: name.to_owned(), folder })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assets_are_found_from_an_installation_and_from_a_working_tree() {
        let root = tempfile::tempdir().unwrap();
        for (program, assets) in [
            ("installed/bin", "installed/share/reinpath"),
            ("tree/target/release", "tree/assets"),
            ("deps/target/debug/deps", "deps/assets"),
        ] {
            let (program, assets) = (root.path().join(program), root.path().join(assets));
            std::fs::create_dir_all(&program).unwrap();
            assert_eq!(assets_beside(&program), None);
            std::fs::create_dir_all(assets.join("models")).unwrap();
            let found = assets_beside(&program).unwrap();
            assert_eq!(found.canonicalize().unwrap(), assets.canonicalize().unwrap());
        }
    }

    #[test]
    fn a_missing_program_is_named_with_its_folder() {
        let error = program("reinpath-nonesuch").unwrap_err().to_string();
        assert!(error.contains("reinpath-nonesuch") && error.contains("REINPATH_BIN_DIR"), "{error}");
    }
}
