//! A package made from another: the language model quantised, all else as it is. The vision tower of a Qwen2.5-VL, which is
//! published beside the language model, becomes a file of its own.

use std::path::{Path, PathBuf};

use crate::language;
use crate::package::{self, Beside, Manifest, Package, PackageWriter};
use crate::reinpath::{self, Error};
use crate::weights::keys;
use crate::weights::quantise::{Recipe, quantise};

/// Where the quantised language model lies in its package.
const LANGUAGE: &str = "language/model.gguf";
/// Where the vision tower lies that was beside the language model, and what its tensors' names begin with.
const VISION: &str = "vision/model.safetensors";
const VISION_PREFIX: &str = "visual.";

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
    let mut rewritten = manifest.language.weights.clone();
    if let Some(vision) = &mut manifest.vision
        && vision.weights.iter().any(|name| rewritten.contains(name))
    {
        let tower = reinpath::open(package, &vision.weights)?.renamed(keys::tower);
        tower.write(VISION_PREFIX, &writer.path(VISION)?)?;
        rewritten.append(&mut vision.weights);
        vision.weights = vec![VISION.to_owned()];
    }
    for name in package.files().filter(|name| !rewritten.contains(name)) {
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
    use std::collections::BTreeMap;

    use candle_core::{DType, Device, safetensors};

    use super::*;
    use crate::fixture::{Keys, Speech, write_folder, write_package, write_qwen_package};
    use crate::reinpath::ReinPath;

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
        ReinPath::load(&small, &Device::Cpu, &mut |_, _| true).unwrap();
        let again = quantised_package(&small, Recipe::Q8_0, &out.path().join("other"), &mut |_| true);
        assert!(again.unwrap_err().to_string().contains("quantised already"));
    }

    fn qwen(folder: &Path, keys: Keys) -> Package {
        write_qwen_package(folder, Speech::Babble(3)).unwrap();
        write_folder(folder, Speech::Babble(3), keys).unwrap();
        Package::open(folder).unwrap()
    }

    /// The tensors of a package's vision tower, with the precision in which they are stored.
    fn tower(package: &Package) -> BTreeMap<String, (DType, Vec<f32>)> {
        let files = package.manifest.vision.iter().flat_map(|vision| &vision.weights);
        let all = files.flat_map(|file| safetensors::load(package.file(file), &Device::Cpu).unwrap());
        let values = |tensor: &candle_core::Tensor| {
            tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        all.filter_map(|(name, tensor)| Some((keys::tower(&name)?, (tensor.dtype(), values(&tensor)))))
            .collect()
    }

    #[test]
    fn a_vision_tower_becomes_a_file_of_its_own_with_every_bit_as_it_was() {
        for keys in [Keys::Older, Keys::Newer] {
            let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let package = qwen(folder.path(), keys);
            let to = out.path().join("small");
            quantised_package(&package, Recipe::Q8_0, &to, &mut |_| true).unwrap();
            let small = Package::open(&to).unwrap();
            let files: Vec<String> = small.files().collect();
            assert!(files.iter().all(|name| !name.contains("-of-")), "{files:?}");
            assert!(files.iter().any(|name| name == LANGUAGE) && files.iter().any(|name| name == VISION));
            assert!(!tower(&small).is_empty() && tower(&small) == tower(&package));
            let kept = |package: &Package| {
                let Manifest { instructions, terms, patch, generation, .. } = package.manifest.clone();
                (instructions, terms, patch, generation)
            };
            assert_eq!(kept(&small), kept(&package));
            let model = ReinPath::load(&small, &Device::Cpu, &mut |_, _| true).unwrap();
            assert!(model.llama.is_quantised() && model.llama.config.mrope_section.is_some());
        }
    }

    #[test]
    fn a_vision_tower_that_is_a_file_of_its_own_already_is_copied() {
        let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut package = qwen(folder.path(), Keys::Older);
        let own = "vision/mmproj.gguf";
        std::fs::create_dir(folder.path().join("vision")).unwrap();
        std::fs::write(folder.path().join(own), "as it is").unwrap();
        package.manifest.vision.as_mut().expect("a tower").weights = vec![own.to_owned()];
        let to = out.path().join("small");
        quantised_package(&package, Recipe::Q8_0, &to, &mut |_| true).unwrap();
        assert_eq!(std::fs::read_to_string(to.join(own)).unwrap(), "as it is");
        assert!(!to.join(VISION).exists());
        assert_eq!(Package::open(&to).unwrap().manifest.vision, package.manifest.vision);
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
