//! The model packages on this machine: what lies in the models folder, and the demo that ships with the program; and what is
//! said of the published models that are known by name.
//!
//! Only manifests are read, and sizes asked for; on a network drive that, too, may take its time.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use reinpath_model::package::{self, Known, Package};

use crate::places::{self, Places};

/// What is told of a published model's memory: as it is published, and as `model convert` makes it.
const PRECISIONS: [&str; 3] = ["f32", "q8_0", "q4_k_m"];

/// The models folder could not be listed.
#[derive(Debug, thiserror::Error)]
#[error("the models folder cannot be read ({reason}): {path}", path = .path.display())]
pub struct Error {
    reason: io::Error,
    path: PathBuf,
}

/// A folder that is, or should be, a package.
#[derive(Debug)]
pub struct Listed {
    pub folder: PathBuf,
    /// Whether it ships with the program.
    pub is_demo: bool,
    /// What is wrong with it is as good to know as what it is.
    pub package: Result<Measured, package::Error>,
}

/// A package and what it takes on the disk.
#[derive(Clone, Debug)]
pub struct Measured {
    pub package: Package,
    pub bytes: u64,
}

/// Where packages are kept.
pub fn folder(places: &Places) -> PathBuf {
    places.data.join("models")
}

/// Every package of the models folder by its name, after the demo.
pub fn list(places: &Places) -> Result<Vec<Listed>, Error> {
    let demo = places::demo_package().ok().map(|folder| look_at(folder, true));
    let own = folders_in(&folder(places))?.into_iter().map(|folder| look_at(folder, false));
    Ok(demo.into_iter().chain(own).collect())
}

/// Bytes of all the package's files that are there.
pub fn bytes(package: &Package) -> u64 {
    package.files().filter_map(|name| Some(std::fs::metadata(package.file(&name)).ok()?.len())).sum()
}

/// A size in the unit that fits, `12.3 MB` or `16.1 GB`.
pub fn size_in_words(bytes: u64) -> String {
    if bytes < 1_000_000_000 {
        format!("{:.1} MB", bytes as f64 / 1e6)
    } else {
        format!("{:.1} GB", bytes as f64 / 1e9)
    }
}

/// Why a run cannot start from a package, as a sentence: its licence forbids it, or the family is not trained here.
pub fn untrainable(package: &Package) -> Option<String> {
    match package.may_train() {
        Ok(()) => None,
        Err(package::Error::Terms { sentence, .. }) => Some(sentence),
        Err(error) => Some(error.to_string()),
    }
}

/// A published model's licence with what it allows.
pub fn licence_in_words(known: &Known) -> String {
    let gate = if known.is_gated { ", access has to be asked for on its page" } else { "" };
    format!("{}{gate}. {}", known.licence, known.allows)
}

/// Bytes of a published model's files, which hold 16 bits for each value.
pub fn download_bytes(known: &Known) -> Option<u64> {
    known.memory("f32").map(|bytes| bytes / 2)
}

/// Bytes in memory of a published model, by the precision of its language model.
pub fn memory_of(known: &Known) -> impl Iterator<Item = (&'static str, u64)> {
    PRECISIONS.into_iter().filter_map(move |precision| Some((precision, known.memory(precision)?)))
}

/// `7.5 GB to download; in memory 15.0 GB in f32, 6.0 GB in q8_0, 4.5 GB in q4_k_m`
pub fn sizes_in_words(known: &Known) -> String {
    let download = download_bytes(known)
        .map_or_else(String::new, |bytes| format!("{} to download; ", size_in_words(bytes)));
    let memory =
        memory_of(known).map(|(precision, bytes)| format!("{} in {precision}", size_in_words(bytes)));
    format!("{download}in memory {}", memory.collect::<Vec<String>>().join(", "))
}

/// The line that downloads a published model and makes a package of it.
pub fn command_for(known: &Known) -> String {
    let Known { name, repository, .. } = known;
    format!("reinpath model add {name} --language \"$(reinpath model get {repository})\"")
}

/// Looks at a folder that is, or should be, a package.
pub fn look_at(folder: PathBuf, is_demo: bool) -> Listed {
    let package = Package::open(&folder).map(|package| Measured { bytes: bytes(&package), package });
    Listed { folder, is_demo, package }
}

/// The folders in a folder, sorted; none where it is not there. What begins with a dot is not meant to be seen.
fn folders_in(folder: &Path) -> Result<BTreeSet<PathBuf>, Error> {
    let unreadable = |reason| Error { reason, path: folder.to_owned() };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut folders = BTreeSet::new();
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        // A link to a package elsewhere is a package.
        if !is_hidden && entry.path().is_dir() {
            folders.insert(entry.path());
        }
    }
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_folder_that_is_not_there_holds_nothing() {
        let home = tempfile::tempdir().unwrap();
        assert!(folders_in(&folder(&Places::below(home.path()))).unwrap().is_empty());
    }

    #[test]
    fn sizes_are_said_in_the_unit_that_fits() {
        assert_eq!(size_in_words(12_345_678), "12.3 MB");
        assert_eq!(size_in_words(16_060_000_000), "16.1 GB");
    }

    #[test]
    fn a_published_model_is_told_with_its_sizes_its_licence_and_how_to_get_it() {
        let known = Known::named("Patho-R1-3B").unwrap();
        let sizes = sizes_in_words(known);
        let all = ["GB to download; in memory ", " GB in f32, ", " GB in q8_0, ", " GB in q4_k_m"];
        assert!(all.iter().all(|part| sizes.contains(part)), "{sizes}");
        let bytes: Vec<u64> = memory_of(known).map(|(_, bytes)| bytes).collect();
        assert!(bytes.is_sorted_by(|a, b| a > b) && download_bytes(known) == Some(bytes[0] / 2), "{bytes:?}");
        let licence = licence_in_words(known);
        assert!(licence.starts_with("CC-BY-NC-ND-4.0, access has to be asked for"), "{licence}");
        assert!(licence.ends_with(known.allows), "{licence}");
        assert_eq!(
            command_for(known),
            "reinpath model add Patho-R1-3B --language \"$(reinpath model get WenchuanZhang/Patho-R1-3B)\""
        );
        let open = Known::named("Qwen/Qwen2.5-VL-7B-Instruct").unwrap();
        assert!(!licence_in_words(open).contains("asked for"));
    }

    #[test]
    fn broken_packages_are_listed_and_what_is_none_is_not() {
        let home = tempfile::tempdir().unwrap();
        let places = Places::below(home.path());
        let models = folder(&places);
        for name in ["b", "a", ".partial"] {
            std::fs::create_dir_all(models.join(name)).unwrap();
        }
        std::fs::write(models.join("notes.txt"), "no package").unwrap();
        std::fs::write(models.join("b/reinpath.toml"), "format = 999").unwrap();
        let listed = list(&places).unwrap();
        let own: Vec<&Listed> = listed.iter().filter(|listed| !listed.is_demo).collect();
        assert_eq!(
            own.iter().map(|listed| listed.folder.clone()).collect::<Vec<_>>(),
            [models.join("a"), models.join("b")]
        );
        assert!(matches!(own[0].package, Err(package::Error::Missing(_))));
        assert!(matches!(own[1].package, Err(package::Error::Format { found: 999, .. })));
    }
}
