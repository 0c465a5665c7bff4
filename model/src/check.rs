//! Whether a package fits together: every tensor of its architecture by name and shape, with finite values, without
//! loading any of it. What the checks take in memory does not grow with the model.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::adapter::AdapterFiles;
use crate::known::Known;
use crate::language;
use crate::llama::LlamaConfig;
use crate::package::Package;
use crate::projector::Projector;
use crate::prompt::{ChatTokenizer, user_text};
use crate::qwen::Tower;
use crate::reinpath::{Error, at_prefix, check_vocabulary, open, open_encoder, open_tower};
use crate::vit::Vit;
use crate::weights::Size;

/// The configuration of the package's language model, without loading it.
pub fn language_config(package: &Package) -> Result<LlamaConfig, Error> {
    language::config(package)
}

/// What the package would take when it is loaded, or what is wrong with it.
pub fn check(package: &Package) -> Result<Size, Error> {
    check_unless(package, &AtomicBool::new(false))
}

/// The same; when `cancel` is set it ends with [`Error::Cancelled`].
pub fn check_unless(package: &Package, cancel: &AtomicBool) -> Result<Size, Error> {
    let going = || if cancel.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) };
    let manifest = &package.manifest;
    let tokenizer = ChatTokenizer::of_package(package)?;
    manifest.generation.stop.iter().try_for_each(|token| tokenizer.token(token).map(drop))?;
    // A chat template may fail on any question.
    tokenizer.prompt(&user_text(1, "", "?", &[]))?;
    let config = language::config(package)?;
    check_vocabulary(package, &config, &tokenizer)?;
    let mut size = match &manifest.vision {
        Some(spec) => open_tower(package, spec, config.hidden_size)?.check(|vb| Tower::load(&vb, spec))?.1,
        None => check_encoders(package, &config, &going)?,
    };
    going()?;
    let (mut llama, loaded) = language::check(package, &config, &mut |_| going().is_ok())?;
    size += loaded;
    for spec in &manifest.adapters {
        going()?;
        let adapter = AdapterFiles::open(package, spec, &llama)?.check(&mut llama)?;
        if spec.alternative || language::keeps_adapters(package) {
            size += adapter;
        }
    }
    if let Some(range) = &manifest.knows.feature_range {
        let weights = open(package, std::slice::from_ref(&range.weights))?;
        size += weights.check(|vb| Known::load(&vb, manifest.fused_width(), range))?.1;
    }
    Ok(size)
}

/// ReinPath's eyes: encoders and projector.
fn check_encoders(
    package: &Package,
    config: &LlamaConfig,
    going: &dyn Fn() -> Result<(), Error>,
) -> Result<Size, Error> {
    let manifest = &package.manifest;
    let mut size = Size::default();
    for spec in &manifest.encoders {
        going()?;
        let weights = open_encoder(package, spec)?;
        size += weights.check(|vb| Vit::load(&at_prefix(&vb, &spec.prefix), spec))?.1;
    }
    let spec = &manifest.projector;
    let weights = open(package, std::slice::from_ref(&spec.weights))?;
    let (features, embedding) = (manifest.fused_width(), config.hidden_size);
    let checked =
        weights.check(|vb| Projector::load(&at_prefix(&vb, &spec.prefix), features, spec.hidden, embedding));
    size += checked?.1;
    Ok(size)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::fixture::{Family, Speech, write_package_of};
    use crate::package::{MANIFEST, Manifest, VisionSpec};
    use crate::reinpath::ReinPath;

    fn load(package: &Package) -> Result<ReinPath, Error> {
        ReinPath::load(package, &Device::Cpu, &mut |_, _| true)
    }

    /// What is told of a package of this family whose manifest is changed: by loading it, and by a check.
    fn told(family: Family, change: &dyn Fn(&mut Manifest)) -> String {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = write_package_of(family, folder.path(), Speech::Babble(1)).unwrap();
        change(&mut manifest);
        std::fs::write(folder.path().join(MANIFEST), toml::to_string(&manifest).unwrap()).unwrap();
        let package = Package::open(folder.path()).unwrap();
        let told = load(&package).unwrap_err().to_string();
        assert_eq!(check(&package).unwrap_err().to_string(), told);
        told
    }

    #[test]
    fn what_fits_is_told_as_it_will_be() {
        for family in Family::ALL {
            let folder = tempfile::tempdir().unwrap();
            write_package_of(family, folder.path(), Speech::Babble(1)).unwrap();
            let package = Package::open(folder.path()).unwrap();
            assert_eq!(check(&package).unwrap(), load(&package).unwrap().size, "{family:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_told_as_loading_tells_it() {
        let encoder = told(Family::ReinPath, &|manifest| manifest.encoders[1].mlp_width = 17);
        assert!(encoder.contains("blocks.0.mlp.fc1.weight"), "{encoder}");
        let tower = |change: &dyn Fn(&mut VisionSpec)| {
            told(Family::Qwen, &|manifest| change(manifest.vision.as_mut().unwrap()))
        };
        let missing = tower(&|vision| vision.layers = 3);
        assert!(missing.contains("blocks.2.") && missing.contains("is missing"), "{missing}");
        let more = tower(&|vision| (vision.layers, vision.full_attention) = (1, vec![0]));
        assert!(more.contains("more layers") && more.contains("blocks.1."), "{more}");
        let width = tower(&|vision| vision.out_width += 1);
        assert!(width.contains("image tokens of") && width.ends_with(MANIFEST), "{width}");
    }
}
