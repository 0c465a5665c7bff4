//! A package made from another: the language model quantised, all else as it is.

use std::path::{Path, PathBuf};

use crate::language;
use crate::package::{self, Beside, Manifest, Package, PackageWriter};
use crate::reinpath::Error;
use crate::weights::quantise::{Recipe, quantise};

/// Where the quantised language model lies in its package.
const LANGUAGE: &str = "language/model.gguf";

/// Writes `package` with its language model quantised into the folder `to`, which must not be there yet. `progress` gets
/// the share that is done; `false` from it stops, and nothing is left.
pub fn quantised_package(
    package: &Package,
    recipe: Recipe,
    to: &Path,
    progress: &mut dyn FnMut(f32) -> bool,
) -> Result<(), Error> {
    let refused =
        |reason: &str, path: &Path| Err(Error::Config { reason: reason.to_owned(), path: path.to_owned() });
    let weights = &package.manifest.language.weights;
    if weights.iter().any(|name| Path::new(name).extension().is_some_and(|e| e == "gguf")) {
        return refused("the language model of this package is quantised already", &package.folder);
    }
    // Without a slash at its end.
    let to: PathBuf = to.components().collect();
    if to.symlink_metadata().is_ok() {
        return refused("there is something here already; name a folder that does not exist", &to);
    }
    let failed = |source| package::Error::Write { source, path: to.clone() };
    let beside = Beside::create(&to).map_err(failed)?;
    write(package, recipe, beside.path(), progress)?;
    Ok(beside.put().map_err(failed)?)
}

fn write(
    package: &Package,
    recipe: Recipe,
    to: &Path,
    progress: &mut dyn FnMut(f32) -> bool,
) -> Result<(), Error> {
    let mut manifest: Manifest = package.manifest.clone();
    let config = language::config(package)?;
    let mut writer = PackageWriter::create(to)?;
    for name in package.files().filter(|name| !manifest.language.weights.contains(name)) {
        writer.copy(&package.file(&name), &name)?;
    }
    quantise(&language::weights(package, &config)?, &config, recipe, &writer.path(LANGUAGE)?, progress)?;
    manifest.language.weights = vec![LANGUAGE.to_owned()];
    recipe.name().clone_into(&mut manifest.language.precision);
    // Beside its parent in a list it must be told from it.
    manifest.name = format!("{} {}", manifest.name, recipe.name());
    manifest.provenance = format!("{}; quantised to {}", manifest.provenance, recipe.name());
    manifest.files = writer.records()?;
    Ok(writer.manifest(&manifest)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Speech, write_package};

    fn fixture(folder: &Path) -> Package {
        write_package(folder, Speech::Babble(3)).unwrap();
        Package::open(folder).unwrap()
    }

    #[test]
    fn a_quantised_package_loads_and_is_not_quantised_again() {
        let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let package = fixture(folder.path());
        let to = out.path().join("new/small");
        quantised_package(&package, Recipe::Q8_0, &to, &mut |_| true).unwrap();
        let small = Package::open(&to).unwrap();
        assert_eq!(small.manifest.language.precision, "q8_0");
        crate::reinpath::ReinPath::load(&small, &candle_core::Device::Cpu, &mut |_, _| true).unwrap();
        let again = quantised_package(&small, Recipe::Q8_0, &out.path().join("other"), &mut |_| true);
        assert!(again.unwrap_err().to_string().contains("quantised already"));
    }

    #[test]
    fn what_is_there_is_never_touched_and_nothing_half_is_left() {
        let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let package = fixture(folder.path());
        std::fs::write(out.path().join("mine"), "mine").unwrap();
        let refused = quantised_package(&package, Recipe::Q4KM, out.path(), &mut |_| true).unwrap_err();
        assert!(refused.to_string().contains("something here already"), "{refused}");
        assert_eq!(std::fs::read_to_string(out.path().join("mine")).unwrap(), "mine");
        let stopped = quantised_package(&package, Recipe::Q4KM, &out.path().join("new"), &mut |_| false);
        assert!(matches!(stopped, Err(Error::Weights(crate::weights::Error::Cancelled))));
        assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 1);
    }
}
