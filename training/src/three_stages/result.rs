//! The package that a run makes: the base package's files, with another projector, one more adapter, and what it knows.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use candle_core::{DType, Var};
use half::f16;
use reinpath_model::known;
use reinpath_model::package::{AdapterSpec, FeatureRange, Manifest, PackageWriter};

use crate::error::{Error, Result};
use crate::features::{Usual, usual_of};
use crate::package_writer::{ADAPTER_NAMES, PROJECTOR_NAMES, adapter_config, write_named, write_tensors};
use crate::trainer::{Context, Learner};

/// The file that says what the package knows.
const KNOWN: &str = "known.safetensors";
/// The file of the projector.
const PROJECTOR: &str = "projector.safetensors";
/// Name of the adapter that a run adds.
const ADAPTER: &str = "staged";
/// Images from which it is told what a package knows, at most; and below how many nothing can be told.
const MOST_IMAGES: usize = 10_000;
const FEWEST_IMAGES: usize = 50;
/// Images whose features are read at once.
const AT_ONCE: usize = 64;

const TOO_FEW: &str = "There are too few images to tell what the package knows: its answers about other tissue carry no new warning.";

/// What is usual among the images of all stages; found when it is first asked for.
pub(super) struct Known<'a> {
    context: &'a Context,
    images: Vec<PathBuf>,
    usual: Option<Usual>,
}

impl<'a> Known<'a> {
    pub(super) fn new(context: &'a Context, learners: &[Box<dyn Learner + '_>]) -> Self {
        let all = super::images(learners);
        // Evenly over the sorted names, so that no data set is left out.
        let count = all.len().min(MOST_IMAGES);
        let images = (0..count).map(|i| all[i * all.len() / count].clone()).collect();
        Self { context, images, usual: None }
    }

    /// `None` where there are too few images to tell.
    fn usual(&mut self) -> Result<Option<&Usual>> {
        if self.usual.is_none() && self.images.len() >= FEWEST_IMAGES {
            let features = self.context.features(&self.images, &[])?;
            let places: Vec<usize> = (0..self.images.len()).filter(|&place| features.has(place)).collect();
            let mut summaries = Vec::with_capacity(places.len());
            for places in places.chunks(AT_ONCE) {
                let features = features.tensor(places)?;
                summaries.extend(known::summary(&features)?.to_dtype(DType::F32)?.to_vec2::<f32>()?);
            }
            self.usual = Some(usual_of(&summaries, self.context.package.manifest.fused_width())?);
        }
        Ok(self.usual.as_ref())
    }
}

/// Writes the package of a policy into a folder; what was there is replaced. `checkpoint` names the one that the policy
/// is of, where the run has not come to the end of a stage.
///
/// # Errors
/// [`Error::NoWeights`] where the policy has values that no package can hold, as after an update that went too far; then
/// the folder is left as it is.
pub(super) fn write_package(
    context: &Context,
    vars: &[(String, Var)],
    known: &mut Known<'_>,
    checkpoint: Option<&str>,
    folder: &Path,
) -> Result<()> {
    let (base, config) = (&context.package, &context.config);
    check_weights(vars, folder)?;
    // The files of an unfinished one may be links to the base's, and writing into those would change them.
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::io(folder)(error)),
        _ => {}
    }
    let mut writer = PackageWriter::create(folder)?;
    let mut manifest = base.manifest.clone();
    for name in kept(base.files(), &manifest, known.usual()?.is_some()) {
        writer.link(&base.file(&name), &name)?;
    }
    PROJECTOR.clone_into(&mut manifest.projector.weights);
    manifest.projector.prefix = String::new();
    write_named(&mut writer, PROJECTOR, vars, PROJECTOR_NAMES, "")?;
    if has_learnt(vars)? {
        let adapter = free_name(&manifest);
        let adapters = format!("{}/adapter_model.safetensors", adapter.folder);
        write_named(&mut writer, &adapters, vars, ADAPTER_NAMES, ADAPTER_NAMES)?;
        let text = adapter_config(&config.lora);
        writer.text(&format!("{}/adapter_config.json", adapter.folder), &text)?;
        manifest.adapters.push(adapter);
    }
    match known.usual()? {
        Some(usual) => {
            write_tensors(&mut writer, KNOWN, &usual.tensors)?;
            manifest.knows.feature_range =
                Some(FeatureRange { weights: KNOWN.to_owned(), limit: usual.limit });
        }
        None => context.warn(TOO_FEW)?,
    }
    manifest.name.clone_from(&config.name);
    if !config.description.is_empty() {
        manifest.description.clone_from(&config.description);
    }
    manifest.provenance = match checkpoint {
        None => provenance(context),
        Some(name) => format!("{}, as of the checkpoint {name}", provenance(context)),
    };
    manifest.files = writer.records()?;
    writer.manifest(&manifest)?;
    Ok(())
}

/// Refuses values that would be infinite or no numbers in f16: a package of them answers nothing.
fn check_weights(vars: &[(String, Var)], folder: &Path) -> Result<()> {
    for (name, var) in vars {
        let values = var.flatten_all()?.to_vec1::<f32>()?;
        if !values.iter().all(|&value| f16::from_f32(value).is_finite()) {
            return Err(Error::NoWeights { tensor: name.clone(), path: folder.to_owned() });
        }
    }
    Ok(())
}

/// The base package's files that the new one has too.
fn kept(files: impl Iterator<Item = String>, base: &Manifest, is_known: bool) -> BTreeSet<String> {
    let range = base.knows.feature_range.as_ref().filter(|_| is_known).map(|range| &range.weights);
    // A text encoder or a card are no part of the model, and are kept all the same.
    let all: BTreeSet<String> = files.chain(base.files.keys().cloned()).collect();
    let is_kept = |name: &String| *name != base.projector.weights && Some(name) != range;
    all.into_iter().filter(is_kept).collect()
}

/// Whether the adapters change anything: they begin with zeros in B, and stay so where only the projector learnt.
fn has_learnt(vars: &[(String, Var)]) -> Result<bool> {
    for (name, var) in vars {
        if name.ends_with("lora_B.weight") && var.abs()?.max_all()?.to_scalar::<f32>()? > 0.0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// An adapter under a name that no other of the package has.
fn free_name(manifest: &Manifest) -> AdapterSpec {
    let folder = |name: &str| format!("adapters/{name}");
    let is_taken = |name: &str| {
        manifest.adapters.iter().any(|adapter| adapter.name == name || adapter.folder == folder(name))
    };
    let (mut name, mut number) = (ADAPTER.to_owned(), 1);
    while is_taken(&name) {
        number += 1;
        name = format!("{ADAPTER}-{number}");
    }
    AdapterSpec { folder: folder(&name), name, alternative: false }
}

/// Where the package comes from, in a sentence.
fn provenance(context: &Context) -> String {
    let config = &context.config;
    let stages = [
        config.alignment.as_ref().map(|_| "alignment"),
        config.cold_start.as_ref().map(|_| "cold start"),
        config.grpo.as_ref().map(|_| "GRPO"),
    ];
    let stages: Vec<&str> = stages.into_iter().flatten().collect();
    let base = &context.package.manifest.provenance;
    format!("{base}; then reinpath-train run ({}), seed {}", stages.join(", "), config.seed)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use reinpath_model::fixture::{Speech, write_package as write_fixture};
    use reinpath_model::package::FileRecord;

    use super::*;

    fn manifest() -> Manifest {
        let folder = tempfile::tempdir().unwrap();
        write_fixture(folder.path(), Speech::Babble(1)).unwrap()
    }

    #[test]
    fn weights_that_are_no_numbers_in_a_package_are_refused_by_name() {
        let refused = |value: f32| {
            let fine = Var::new(&[1.0f32, -65504.0], &Device::Cpu).unwrap();
            let other = Var::new(&[0.0f32, value], &Device::Cpu).unwrap();
            check_weights(
                &[("fine".to_owned(), fine), ("other".to_owned(), other)],
                Path::new("runs/a/package"),
            )
        };
        refused(65504.0).unwrap();
        for value in [65520.0, -1e30, f32::INFINITY, f32::NAN] {
            let error = refused(value).unwrap_err().to_string();
            assert!(error.contains("values of other are no numbers"), "{error}");
            assert!(error.ends_with("runs/a/package"), "{error}");
        }
    }

    #[test]
    fn what_is_replaced_is_left_out_and_everything_else_is_kept() {
        let mut base = manifest();
        let record = FileRecord { bytes: 1, sha256: String::new() };
        for name in ["projector.safetensors", "text-encoder/config.json", "old-known.safetensors"] {
            base.files.insert(name.to_owned(), record.clone());
        }
        let range = FeatureRange { weights: "old-known.safetensors".to_owned(), limit: 1.0 };
        base.knows.feature_range = Some(range);
        let files = || ["language.safetensors", "projector.safetensors"].map(str::to_owned).into_iter();
        let names = kept(files(), &base, true);
        assert_eq!(
            names.into_iter().collect::<Vec<_>>(),
            ["language.safetensors", "text-encoder/config.json"]
        );
        assert!(kept(files(), &base, false).contains("old-known.safetensors"), "nothing new is known");
    }

    #[test]
    fn a_second_run_adds_an_adapter_beside_the_first() {
        let mut base = manifest();
        for name in ["staged", "staged-2", "staged-3"] {
            let new = free_name(&base);
            assert_eq!((new.name.as_str(), new.folder), (name, format!("adapters/{name}")));
            assert!(!new.alternative);
            base.adapters.push(AdapterSpec {
                name: name.to_owned(),
                folder: String::new(),
                alternative: false,
            });
        }
    }

    #[test]
    fn adapters_that_add_nothing_are_told_from_those_that_do() {
        let var = |value: f32| {
            let tensor = candle_core::Tensor::new(&[[0.0, value]], &candle_core::Device::Cpu).unwrap();
            vec![("base_model.model.lora_B.weight".to_owned(), Var::from_tensor(&tensor).unwrap())]
        };
        assert!(!has_learnt(&var(0.0)).unwrap());
        assert!(has_learnt(&var(-1e-9)).unwrap());
    }
}
