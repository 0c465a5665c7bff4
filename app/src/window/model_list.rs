//! The model packages that the picker offers, as plain data, how they are read, and what is said of their memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reinpath_model::package::MemoryNeed;

use super::memory::{MachineMemory, machine_memory};
use super::model_worker::as_sentence;
use crate::models::{self, Listed, Measured, size_in_words};
use crate::places::Places;

/// Reads which packages there are; the folder is that of the package in use, which may lie anywhere. Runs in a thread of its own.
pub type ModelLister = Arc<dyn Fn(Option<&Path>) -> ModelList + Send + Sync>;

/// What the picker offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelList {
    /// The demo first, then those of the models folder, then the one in use where it lies elsewhere.
    pub models: Vec<ListedModel>,
    /// Why the models folder could not be read, as a sentence.
    pub fault: Option<String>,
    /// As it was when the list was read; `None` where the system does not tell.
    pub machine: Option<MachineMemory>,
}

/// A folder that is, or should be, a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedModel {
    pub folder: PathBuf,
    /// The package's own; the folder's where it cannot be read.
    pub name: String,
    /// Whether it ships with the program.
    pub is_demo: bool,
    /// An error is a sentence that says why it cannot be used.
    pub facts: Result<ModelFacts, String>,
}

/// What is to be known of a package before it is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFacts {
    /// On the disk.
    pub bytes: u64,
    pub precision: String,
    /// Empty where none is stated.
    pub licence: String,
    /// What the licence allows, as a sentence; empty where nothing is known of it.
    pub allows: String,
    /// Why no run can start from it, as a sentence.
    pub untrainable: Option<String>,
    pub need: MemoryNeed,
}

impl ModelFacts {
    /// `q8_0 · 5.1 GB · MIT`
    pub fn in_words(&self) -> String {
        let licence = if self.licence.is_empty() { "no licence stated" } else { self.licence.as_str() };
        format!("{} · {} · {licence}", self.precision, size_in_words(self.bytes))
    }
}

/// Whether a model fits into memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit {
    pub words: String,
    /// True also where it is not known.
    pub fits: bool,
}

impl Fit {
    /// Of a model beside what runs now; `returned` bytes are those that the model in use will give back.
    pub fn of(need: MemoryNeed, machine: Option<MachineMemory>, returned: u64) -> Self {
        let total = need.total();
        // Without the cache the need is only a part of it.
        let bound = if need.cache.is_none() { "at least " } else { "" };
        let needs = format!("needs {bound}{}", size_in_words(total));
        let Some(machine) = machine else { return Self { words: needs, fits: true } };
        let free = machine.free.saturating_add(returned).min(machine.total);
        if total > machine.total {
            let all = size_in_words(machine.total);
            return Self { words: format!("{needs}, more than the {all} of this machine"), fits: false };
        }
        let (free_words, fits) = (size_in_words(free), total <= free);
        let words = if fits {
            format!("{needs} of {free_words} free")
        } else {
            format!("{needs}, more than the {free_words} that are free")
        };
        Self { words, fits }
    }
}

/// Reads the models folder and the package in use.
pub fn system_lister() -> ModelLister {
    Arc::new(|in_use| {
        let listed = Places::find()
            .map_err(|error| error.to_string())
            .and_then(|places| models::list(&places).map_err(|error| error.to_string()));
        let (listed, fault) = match listed {
            Ok(listed) => (listed, None),
            Err(reason) => (Vec::new(), Some(as_sentence(&reason))),
        };
        let mut models: Vec<ListedModel> = listed.into_iter().map(listed_model).collect();
        if let Some(folder) = in_use {
            add(&mut models, folder);
        }
        ModelList { models, fault, machine: machine_memory() }
    })
}

/// Adds the package in use, unless it is there already, be it by another path: then the path in use is the one that counts.
fn add(models: &mut Vec<ListedModel>, folder: &Path) {
    let real = folder.canonicalize().ok();
    let same = |other: &Path| {
        other == folder || (real.is_some() && other.canonicalize().ok().as_deref() == real.as_deref())
    };
    match models.iter().position(|model| same(&model.folder)) {
        Some(at) => folder.clone_into(&mut models[at].folder),
        None => models.push(listed_model(models::look_at(folder.to_owned(), false))),
    }
}

fn listed_model(Listed { folder, is_demo, package }: Listed) -> ListedModel {
    let name = match &package {
        Ok(measured) => measured.package.manifest.name.clone(),
        Err(_) => folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned(),
    };
    let facts = package.and_then(|Measured { package, bytes }| {
        let need = package.memory()?;
        let untrainable = models::untrainable(&package).map(|sentence| as_sentence(&sentence));
        let manifest = package.manifest;
        let allows = manifest.terms.map(|terms| terms.allows).unwrap_or_default();
        let (precision, licence) = (manifest.language.precision, manifest.licence);
        Ok(ModelFacts { bytes, precision, licence, allows, untrainable, need })
    });
    ListedModel { folder, name, is_demo, facts: facts.map_err(|error| as_sentence(&error.to_string())) }
}

#[cfg(test)]
mod tests {
    use reinpath_model::package::{Manifest, Package, PackageWriter, Terms};

    use super::*;

    const GB: u64 = 1_000_000_000;

    fn need(weights: u64, cache: Option<u64>) -> MemoryNeed {
        MemoryNeed { weights, cache }
    }

    #[test]
    fn memory_is_compared_with_what_is_free_and_with_what_there_is() {
        let machine = Some(MachineMemory { total: 24 * GB, free: 12 * GB });
        let said = |need, returned| {
            let fit = Fit::of(need, machine, returned);
            (fit.words, fit.fits)
        };
        let five = need(5 * GB, Some(GB / 10));
        assert_eq!(said(five, 0), ("needs 5.1 GB of 12.0 GB free".to_owned(), true));
        let sixteen = need(15 * GB, Some(GB));
        let words = "needs 16.0 GB, more than the 12.0 GB that are free".to_owned();
        assert_eq!(said(sixteen, 0), (words, false));
        assert_eq!(said(sixteen, 5 * GB), ("needs 16.0 GB of 17.0 GB free".to_owned(), true));
        let words = "needs at least 30.0 GB, more than the 24.0 GB of this machine".to_owned();
        assert_eq!(said(need(30 * GB, None), 30 * GB), (words, false));
        let unknown = Fit::of(five, None, 0);
        assert_eq!(unknown, Fit { words: "needs 5.1 GB".to_owned(), fits: true });
    }

    #[test]
    fn a_package_without_a_licence_says_so() {
        let mut facts = ModelFacts {
            bytes: 5 * GB,
            precision: "q8_0".to_owned(),
            licence: "MIT".to_owned(),
            allows: String::new(),
            untrainable: None,
            need: need(0, None),
        };
        assert_eq!(facts.in_words(), "q8_0 · 5.0 GB · MIT");
        facts.licence = String::new();
        assert!(facts.in_words().ends_with("no licence stated"));
    }

    #[test]
    fn what_a_licence_allows_and_forbids_is_known_before_a_package_is_chosen() {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/models/demo");
        let demo = Package::open(&demo).unwrap();
        let home = tempfile::tempdir().unwrap();
        let mut writer = PackageWriter::create(home.path()).unwrap();
        for name in demo.files() {
            writer.link(&demo.file(&name), &name).unwrap();
        }
        let terms = Terms {
            allows: "Research alone.".to_owned(),
            refuses_training: Some("its licence allows no training".to_owned()),
        };
        writer.manifest(&Manifest { terms: Some(terms), ..demo.manifest.clone() }).unwrap();
        let facts = listed_model(models::look_at(home.path().to_owned(), false)).facts.unwrap();
        assert_eq!(facts.allows, "Research alone.");
        assert_eq!(facts.untrainable.as_deref(), Some("Its licence allows no training"));
        let facts = listed_model(models::look_at(demo.folder, true)).facts.unwrap();
        assert_eq!((facts.allows.as_str(), facts.untrainable), ("", None));
    }

    #[test]
    fn the_package_in_use_is_listed_once_by_its_own_path_and_a_broken_one_with_the_reason() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("broken");
        std::fs::create_dir(&folder).unwrap();
        let mut models = Vec::new();
        add(&mut models, &folder);
        assert_eq!((models.len(), models[0].name.as_str()), (1, "broken"));
        let reason = models[0].facts.as_ref().unwrap_err();
        assert!(reason.starts_with("There is no model package here"), "{reason}");
        let other_path = home.path().join("broken/../broken");
        add(&mut models, &other_path);
        assert_eq!((models.len(), &models[0].folder), (1, &other_path));
        add(&mut models, &home.path().join("gone"));
        assert_eq!(models.len(), 2);
    }
}
