//! The packages that arms start from: parts of one package, with a projector that has learned nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use candle_nn::{VarBuilder, VarMap};
use reinpath_model::llama::LlamaConfig;
use reinpath_model::package::{EncoderKind, MANIFEST, Manifest, Package, PackageWriter, ProjectorSpec};
use reinpath_model::projector::Projector;

use crate::error::{Error, Result};
use crate::init;
use crate::package_writer::write_vars;
use crate::pretrain::alone;

const PROJECTOR: &str = "projector.safetensors";
/// Where another decoder's files come to lie.
const DECODER_WEIGHTS: &str = "language/model.safetensors";
const DECODER_CONFIG: &str = "language/config.json";

/// Which parts of a package an arm starts from.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) package: &'a Package,
    /// None named: all.
    pub(super) encoders: &'a [EncoderKind],
    /// Folder of another decoder.
    pub(super) decoder: Option<&'a Path>,
    /// What the projector's first values are drawn from.
    pub(super) seed: u64,
}

/// Writes such a package into a folder; where it is already, nothing is done.
pub(super) fn write(parts: &Parts<'_>, folder: &Path) -> Result<PathBuf> {
    if folder.join(MANIFEST).is_file() {
        return Ok(folder.to_owned());
    }
    let package = parts.package;
    let mut manifest = package.manifest.clone();
    if !parts.encoders.is_empty() {
        manifest.encoders.retain(|encoder| parts.encoders.contains(&encoder.kind));
    }
    if let Some(missing) =
        parts.encoders.iter().find(|kind| !manifest.encoders.iter().any(|e| e.kind == **kind))
    {
        let reason = format!("the package has no encoder {}", missing.name());
        return Err(Error::Benchmark(format!("{reason}: {}", package.folder.display())));
    }
    let mut writer = PackageWriter::create(folder)?;
    for name in kept(package, &manifest, parts.decoder.is_some()) {
        writer.link(&package.file(&name), &name)?;
    }
    if let Some(decoder) = parts.decoder {
        writer.link(&decoder.join(alone::DECODER_WEIGHTS), DECODER_WEIGHTS)?;
        writer.link(&decoder.join(alone::DECODER_CONFIG), DECODER_CONFIG)?;
        manifest.language.weights = vec![DECODER_WEIGHTS.to_owned()];
        DECODER_CONFIG.clone_into(&mut manifest.language.config);
        "f16".clone_into(&mut manifest.language.precision);
    }
    let hidden = hidden_size(&folder.join(&manifest.language.config))?;
    write_projector(&mut writer, manifest.fused_width(), hidden, parts.seed)?;
    manifest.projector = ProjectorSpec { weights: PROJECTOR.to_owned(), hidden, prefix: String::new() };
    manifest.adapters = Vec::new();
    manifest.knows.feature_range = None;
    manifest.provenance =
        format!("{}; its adapters taken off, its projector drawn anew", manifest.provenance);
    manifest.files = writer.records()?;
    writer.manifest(&manifest)?;
    Ok(folder.to_owned())
}

/// The files that are taken over: all but adapters, projector, the range of features, and what was put aside.
fn kept(package: &Package, kept: &Manifest, has_other_decoder: bool) -> BTreeSet<String> {
    let whole = &package.manifest;
    let mut names: BTreeSet<String> = package.files().chain(whole.files.keys().cloned()).collect();
    let encoders: BTreeSet<&String> = kept.encoders.iter().flat_map(|encoder| &encoder.weights).collect();
    let mut left: BTreeSet<&String> = whole
        .encoders
        .iter()
        .flat_map(|encoder| &encoder.weights)
        .filter(|name| !encoders.contains(name))
        .collect();
    left.insert(&whole.projector.weights);
    left.extend(whole.knows.feature_range.iter().map(|range| &range.weights));
    if has_other_decoder {
        left.extend(whole.language.weights.iter().chain([&whole.language.config]));
    }
    let is_adapter =
        |name: &str| whole.adapters.iter().any(|adapter| Path::new(name).starts_with(&adapter.folder));
    names.retain(|name| !left.contains(name) && !is_adapter(name));
    names
}

fn hidden_size(config: &Path) -> Result<usize> {
    let text = std::fs::read_to_string(config).map_err(Error::io(config))?;
    let parsed: LlamaConfig = serde_json::from_str(&text)
        .map_err(|e| Error::Config { reason: e.to_string(), path: config.to_owned() })?;
    Ok(parsed.hidden_size)
}

fn write_projector(writer: &mut PackageWriter, fused: usize, hidden: usize, seed: u64) -> Result<()> {
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    Projector::load(&vb, fused, hidden, hidden)?;
    init::seed(&vars, seed)?;
    write_vars(writer, PROJECTOR, &vars, "")
}

#[cfg(test)]
mod tests {
    use reinpath_model::fixture::{Speech, write_package};
    use reinpath_model::reinpath::ReinPath;

    use super::*;

    fn package(folder: &Path) -> Package {
        write_package(folder, Speech::Babble(3)).unwrap();
        Package::open(folder).unwrap()
    }

    fn parts<'a>(package: &'a Package, encoders: &'a [EncoderKind], seed: u64) -> Parts<'a> {
        Parts { package, encoders, decoder: None, seed }
    }

    #[test]
    fn one_encoder_alone_makes_a_package_that_loads() {
        let folder = tempfile::tempdir().unwrap();
        let whole = package(folder.path());
        let to = folder.path().join("uni-alone");
        let path = write(&parts(&whole, &[EncoderKind::Uni], 1), &to).unwrap();
        let alone = Package::open(&path).unwrap();
        assert_eq!(alone.manifest.encoders.len(), 1);
        assert!(!to.join("conch.safetensors").exists() && to.join("uni.safetensors").exists());
        let model = ReinPath::load(&alone, &Device::Cpu, &mut |_, _| true).unwrap();
        assert_eq!(model.manifest().fused_width(), 12);
        let again = write(&parts(&whole, &[EncoderKind::Conch], 1), &to).unwrap();
        assert_eq!(Package::open(&again).unwrap().manifest, alone.manifest, "what is there is left alone");
    }

    #[test]
    fn another_seed_draws_another_projector_and_changes_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let whole = package(folder.path());
        let made = [1, 2].map(|seed| {
            let to = folder.path().join(seed.to_string());
            Package::open(&write(&parts(&whole, &[], seed), &to).unwrap()).unwrap().manifest.files
        });
        for (name, record) in &made[0] {
            assert_eq!(made[1].get(name) == Some(record), name != PROJECTOR, "{name}");
        }
        assert!(made[0].len() > 4);
    }

    #[test]
    fn an_encoder_that_the_package_does_not_have_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let whole = package(folder.path());
        let error = write(&parts(&whole, &[EncoderKind::Vit], 1), &folder.path().join("x")).unwrap_err();
        assert!(error.to_string().contains("no encoder vit"), "{error}");
    }
}
