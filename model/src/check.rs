//! Whether a package fits together: every tensor of its architecture by name and shape, with finite values, without
//! loading any of it. What the checks take in memory does not grow with the model.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::adapter::AdapterFiles;
use crate::known::Known;
use crate::language;
use crate::llama::LlamaConfig;
use crate::package::{Architecture, LanguageKind, Package};
use crate::projector::Projector;
use crate::prompt::ChatTokenizer;
use crate::reinpath::{Error, at_prefix, check_vocabulary, open, open_encoder};
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
    let Architecture::ReinPath = package.manifest.architecture;
    let LanguageKind::Llama = package.manifest.language.kind;
    let manifest = &package.manifest;
    let tokenizer =
        ChatTokenizer::read(&package.file(&manifest.language.tokenizer), manifest.language.chat_template)?;
    manifest.generation.stop.iter().try_for_each(|token| tokenizer.token(token).map(drop))?;
    let config = language::config(package)?;
    check_vocabulary(package, &config, &tokenizer)?;
    let mut size = Size::default();
    for spec in &manifest.encoders {
        going()?;
        let weights = open_encoder(package, spec)?;
        size += weights.check(|vb| Vit::load(&at_prefix(&vb, &spec.prefix), spec))?.1;
    }
    let spec = &manifest.projector;
    let weights = open(package, std::slice::from_ref(&spec.weights))?;
    let (features, embedding) = (manifest.fused_width(), config.hidden_size);
    size += weights
        .check(|vb| Projector::load(&at_prefix(&vb, &spec.prefix), features, spec.hidden, embedding))?
        .1;
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
        size += weights.check(|vb| Known::load(&vb, features, range))?.1;
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::fixture::{Speech, write_package};
    use crate::package::MANIFEST;
    use crate::reinpath::ReinPath;

    #[test]
    fn what_fits_is_told_as_it_will_be_and_what_does_not_as_loading_tells_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = write_package(folder.path(), Speech::Babble(1)).unwrap();
        let package = Package::open(folder.path()).unwrap();
        let loaded = ReinPath::load(&package, &Device::Cpu, &mut |_, _| true).unwrap();
        assert_eq!(check(&package).unwrap(), loaded.size);
        manifest.encoders[1].mlp_width = 17;
        std::fs::write(folder.path().join(MANIFEST), toml::to_string(&manifest).unwrap()).unwrap();
        let package = Package::open(folder.path()).unwrap();
        let told = ReinPath::load(&package, &Device::Cpu, &mut |_, _| true).unwrap_err().to_string();
        assert_eq!(check(&package).unwrap_err().to_string(), told);
        assert!(told.contains("blocks.0.mlp.fc1.weight"));
    }
}
