//! The manifest of a labelled data set, and its split.
//!
//! `manifest.csv` names each image with its class and the piece of tissue that it shows: several images of one piece
//! (turned, mirrored, cut anew) share a `source_tissue_cluster`. A split never divides such a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use super::TissueError;
use crate::rows::Split;

/// The file's name in the data set's folder.
pub(super) const MANIFEST: &str = "manifest.csv";

/// The column of the pieces of tissue, and the key under which rows keep it.
pub(super) const CLUSTER: &str = "source_tissue_cluster";

/// The shares of each class's clusters that are for the test and for the validation.
const TEST_SHARE: f64 = 0.2;
const VALIDATION_SHARE: f64 = 0.1;

/// One image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its line in the manifest, from 1.
    pub line: usize,
    /// Its path, relative to the folder.
    pub file: String,
    /// The class, as its folder is called.
    pub class: String,
    /// The piece of tissue that it shows.
    pub cluster: String,
}

/// Reads the manifest of a folder. Columns that are not needed are passed over; quoted fields are not read.
pub fn read_manifest(folder: &Path) -> Result<Vec<Entry>, TissueError> {
    let path = folder.join(MANIFEST);
    let text =
        std::fs::read_to_string(&path).map_err(|source| TissueError::Io { source, path: path.clone() })?;
    parse(&text).map_err(|(line, reason)| TissueError::Manifest { line, reason, path })
}

/// Reads the text of a manifest; an error is the line and what is wrong there.
fn parse(text: &str) -> Result<Vec<Entry>, (usize, String)> {
    let mut lines = (1..).zip(text.lines());
    let header: Vec<&str> = lines.next().map_or_else(Vec::new, |(_, line)| line.split(',').collect());
    let column = |name: &str| {
        let found = header.iter().position(|column| column.trim() == name);
        found.ok_or_else(|| (1, format!("the manifest has no column “{name}”")))
    };
    let columns = [column("file")?, column("class")?, column(CLUSTER)?];
    let mut entries = Vec::new();
    let mut files = BTreeSet::new();
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        if line.contains('"') || fields.len() != header.len() {
            return Err((number, format!("the line does not have {} plain fields", header.len())));
        }
        let [file, class, cluster] = columns.map(|at| fields[at].to_owned());
        let is_inside = Path::new(&file).components().all(|part| matches!(part, Component::Normal(_)));
        if file.is_empty() || !is_inside {
            return Err((number, format!("the image “{file}” does not lie in the data set's folder")));
        }
        if cluster.is_empty() {
            return Err((number, format!("the image “{file}” has no {CLUSTER}")));
        }
        if !files.insert(file.clone()) {
            return Err((number, format!("the image “{file}” is there twice")));
        }
        entries.push(Entry { line: number, file, class, cluster });
    }
    Ok(entries)
}

/// Which part each cluster belongs to: of each class a fifth for the test and a tenth for the validation, drawn by
/// `seed`. The order of the entries does not matter.
pub fn split_by_cluster(entries: &[Entry], seed: u64) -> BTreeMap<String, Split> {
    // A cluster that is in two classes counts as of the first by name, so that it is in one part nevertheless.
    let mut class_of = BTreeMap::<&str, &str>::new();
    for entry in entries {
        let class = class_of.entry(&entry.cluster).or_insert(&entry.class);
        *class = (*class).min(entry.class.as_str());
    }
    let mut by_class = BTreeMap::<&str, Vec<&str>>::new();
    for (cluster, class) in class_of {
        by_class.entry(class).or_default().push(cluster);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut parts = BTreeMap::new();
    for clusters in by_class.values_mut() {
        clusters.shuffle(&mut rng);
        let share = |share: f64| (clusters.len() as f64 * share).round() as usize;
        let (test, validation) = (share(TEST_SHARE), share(VALIDATION_SHARE));
        for (index, cluster) in clusters.iter().enumerate() {
            let part = if index < test {
                Split::Test
            } else if index < test + validation {
                Split::Validation
            } else {
                Split::Train
            };
            parts.insert((*cluster).to_owned(), part);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let mut entries = Vec::new();
        for class in ["a", "b"] {
            for cluster in 0..40 {
                for view in 0..2 {
                    entries.push(Entry {
                        line: entries.len() + 2,
                        file: format!("{class}/{cluster}-{view}.png"),
                        class: class.to_owned(),
                        cluster: format!("{class}_{cluster}"),
                    });
                }
            }
        }
        entries
    }

    #[test]
    fn every_class_is_split_alike_and_a_cluster_never() {
        let entries = entries();
        let parts = split_by_cluster(&entries, 1);
        assert_eq!(parts.len(), 80, "a cluster has one part, so its images share it");
        for class in ["a", "b"] {
            let count = |part: Split| {
                let of_class = parts.iter().filter(|(cluster, _)| cluster.starts_with(class));
                of_class.filter(|(_, found)| **found == part).count()
            };
            assert_eq!([Split::Train, Split::Validation, Split::Test].map(count), [28, 4, 8]);
        }
        let mut turned = entries.clone();
        turned.reverse();
        assert_eq!(split_by_cluster(&turned, 1), parts, "the order does not matter");
        assert_ne!(split_by_cluster(&entries, 2), parts, "the seed does");
    }

    #[test]
    fn a_manifest_is_read_and_what_is_wrong_is_said() {
        let good = "file,class,source_tissue_cluster,view\na/1.png,a,a_0,0\n\na/2.png,a,a_0,1\n";
        let read = parse(good).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[1].cluster, "a_0");
        let wrong = |text: &str| parse(text).unwrap_err();
        assert!(wrong("file,class\n").1.contains("source_tissue_cluster"));
        assert!(wrong("").1.contains("“file”"));
        let head = "file,class,source_tissue_cluster\n";
        assert_eq!(wrong(&format!("{head}a.png,a,a_0\nb.png,a\n")).0, 3);
        assert!(wrong(&format!("{head}../a.png,a,a_0\n")).1.contains("folder"));
        assert!(wrong(&format!("{head}/a.png,a,a_0\n")).1.contains("folder"));
        assert!(wrong(&format!("{head}a.png,a,\n")).1.contains("source_tissue_cluster"));
        assert!(wrong(&format!("{head}a.png,a,x\na.png,a,y\n")).1.contains("twice"));
        let error = read_manifest(Path::new("no/such/folder")).unwrap_err().to_string();
        assert!(error.ends_with("manifest.csv"), "{error}");
    }
}
