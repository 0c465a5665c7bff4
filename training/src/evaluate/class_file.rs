//! What the benchmark `classes` asks: a TOML file that gives each folder of images its class and states the question, and
//! says which images are held out.
//!
//! ```toml
//! format = 1
//! question = "Which of these does the patch show?"
//! mpp = 0.5                                  # optional: microns per pixel of the images
//!
//! [held_out]                                 # optional: without it all images are asked about, and nothing is fitted
//! manifest = "manifest.csv"                  # in the data folder: a line for each image
//! file = "file"                              # the column with the image's path in the data folder
//! cluster = "source_tissue_cluster"          # the column that says which images show the same tissue
//! share = 0.25                               # how many of the clusters are held out
//! seed = 1                                   # and which
//!
//! [[class]]
//! folder = "lung_aca"
//! name = "lung adenocarcinoma"
//! ```

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::seed;

/// The version that this program reads.
const FORMAT: u32 = 1;
/// A question has one letter for each class.
const MOST_CLASSES: usize = 26;

/// The file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassFile {
    pub format: u32,
    pub question: String,
    /// Clinical context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Microns per pixel of the images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mpp: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<HeldOut>,
    #[serde(rename = "class")]
    pub classes: Vec<Class>,
}

/// A folder and what its images show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// A folder in the data folder.
    pub folder: String,
    /// The option as it stands in the question.
    pub name: String,
}

/// Which images are held out: whole clusters, never single files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldOut {
    /// A CSV file in the data folder, its first line the names of its columns.
    pub manifest: String,
    /// Column with an image's path in the data folder.
    pub file: String,
    /// Column with what an image has in common with others.
    pub cluster: String,
    /// Share of the clusters.
    pub share: f64,
    pub seed: u64,
}

impl HeldOut {
    /// Whether a cluster is held out. It hangs on its name and the seed alone, so that training and evaluation agree
    /// without a list, and a data set that grows moves nothing.
    pub fn holds(&self, cluster: &str) -> bool {
        // As many bits as an f64 holds.
        let drawn = seed::of(self.seed, &["held out", cluster], 0) >> 11;
        (drawn as f64) < self.share * 2f64.powi(53)
    }

    /// The cluster of each image by its path in the data folder.
    pub fn clusters(&self, data: &Path) -> Result<BTreeMap<String, String>> {
        let path = data.join(&self.manifest);
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let wrong = |reason: String| Error::Benchmark(format!("{reason}: {}", path.display()));
        let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate();
        let head: Vec<&str> = lines.next().map_or_else(Vec::new, |(_, line)| cells(line));
        let column = |name: &str| {
            let at = head.iter().position(|cell| *cell == name);
            at.ok_or_else(|| wrong(format!("the manifest has no column “{name}”")))
        };
        let (file, cluster) = (column(&self.file)?, column(&self.cluster)?);
        let mut clusters = BTreeMap::new();
        for (at, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            let cells = cells(line);
            if line.contains('"') || cells.len() != head.len() {
                let (found, wanted) = (cells.len(), head.len());
                return Err(wrong(format!(
                    "line {} has {found} cells instead of {wanted}, or quotes",
                    at + 1
                )));
            }
            if clusters.insert(cells[file].to_owned(), cells[cluster].to_owned()).is_some() {
                return Err(wrong(format!("line {}: the file {} is there twice", at + 1, cells[file])));
            }
        }
        Ok(clusters)
    }
}

/// Only plain CSV, without quotes.
fn cells(line: &str) -> Vec<&str> {
    line.split(',').map(str::trim).collect()
}

impl ClassFile {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        let wrong = |reason: &str| Error::Config { reason: reason.to_owned(), path: path.to_owned() };
        let file: Self = toml::from_str(&text).map_err(|e| wrong(e.message()))?;
        file.check().map_err(|reason| wrong(&reason))?;
        Ok(file)
    }

    fn check(&self) -> std::result::Result<(), String> {
        if self.format != FORMAT {
            return Err(format!("it has format {}, this program reads {FORMAT}", self.format));
        }
        if self.question.trim().is_empty() {
            return Err("the question is empty".to_owned());
        }
        if !(2..=MOST_CLASSES).contains(&self.classes.len()) {
            return Err(format!("2 to {MOST_CLASSES} classes are needed, not {}", self.classes.len()));
        }
        for (at, class) in self.classes.iter().enumerate() {
            let before = &self.classes[..at];
            if class.name.trim().is_empty() {
                return Err(format!("the class of the folder “{}” has no name", class.folder));
            }
            if before.iter().any(|other| other.folder == class.folder) {
                return Err(format!("the folder “{}” is there twice", class.folder));
            }
            if before.iter().any(|other| other.name == class.name) {
                return Err(format!("the class “{}” is there twice", class.name));
            }
            is_inside(&class.folder)?;
        }
        if self.mpp.is_some_and(|mpp| !(mpp.is_finite() && mpp > 0.0)) {
            return Err("mpp must be more than 0".to_owned());
        }
        let Some(held_out) = &self.held_out else { return Ok(()) };
        if !(held_out.share > 0.0 && held_out.share <= 1.0) {
            return Err("held_out.share must be more than 0 and at most 1".to_owned());
        }
        is_inside(&held_out.manifest)
    }
}

fn is_inside(name: &str) -> std::result::Result<(), String> {
    let is_inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    (is_inside && !name.is_empty())
        .then_some(())
        .ok_or_else(|| format!("“{name}” does not lie in the data folder"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(more: &str) -> Result<ClassFile> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        let classes = "[[class]]\nfolder = \"a\"\nname = \"adenocarcinoma\"\n";
        std::fs::write(&path, format!("format = 1\nquestion = \"Which?\"\n{classes}{more}")).unwrap();
        ClassFile::read(&path)
    }

    fn held_out() -> HeldOut {
        HeldOut {
            manifest: "m.csv".to_owned(),
            file: "file".to_owned(),
            cluster: "cluster".to_owned(),
            share: 0.25,
            seed: 1,
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_the_file_last() {
        let second = "[[class]]\nfolder = \"b\"\nname = \"benign tissue\"\n";
        assert_eq!(file(second).unwrap().classes.len(), 2);
        let refused = |more: &str| {
            let error = file(more).unwrap_err().to_string();
            assert!(error.ends_with("mine.toml"), "{error}");
            error
        };
        assert!(refused("").contains("2 to 26 classes"));
        assert!(refused("[[class]]\nfolder = \"a\"\nname = \"x\"\n").contains("folder “a” is there twice"));
        assert!(refused("[[class]]\nfolder = \"b\"\nname = \"adenocarcinoma\"\n").contains("is there twice"));
        assert!(refused("[[class]]\nfolder = \"../b\"\nname = \"x\"\n").contains("does not lie in"));
        assert!(refused("[[class]]\nfolder = \"b\"\nname = \"x\"\ncolour = \"red\"\n").contains("colour"));
        let share =
            "[held_out]\nmanifest = \"m.csv\"\nfile = \"f\"\ncluster = \"c\"\nshare = 0.0\nseed = 1\n";
        assert!(refused(&format!("{second}{share}")).contains("held_out.share"));
    }

    #[test]
    fn about_the_share_of_the_clusters_is_held_out_and_always_the_same() {
        let held_out = held_out();
        let names: Vec<String> = (0..4000).map(|i| format!("lung_aca_{i}")).collect();
        let held: Vec<&String> = names.iter().filter(|name| held_out.holds(name)).collect();
        assert!((900..1100).contains(&held.len()), "{}", held.len());
        assert!(held.iter().all(|name| held_out.holds(name)));
        let other = HeldOut { seed: 2, ..held_out.clone() };
        assert!(
            held.iter().filter(|name| other.holds(name)).count() < held.len() / 2,
            "another seed, others"
        );
        assert!(names.iter().all(|name| HeldOut { share: 1.0, ..held_out.clone() }.holds(name)));
    }

    #[test]
    fn a_manifest_gives_each_file_its_cluster_or_says_where_it_is_broken() {
        let folder = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            std::fs::write(folder.path().join("m.csv"), text).unwrap();
            held_out().clusters(folder.path())
        };
        let clusters = read("\u{feff}file,class,cluster\na/1.png, a, t0\n\na/2.png,a,t1\r\n").unwrap();
        assert_eq!((clusters["a/1.png"].as_str(), clusters["a/2.png"].as_str()), ("t0", "t1"));
        let refused = |text: &str| read(text).unwrap_err().to_string();
        assert!(refused("file,group\n").contains("no column “cluster”"));
        assert!(refused("").ends_with("m.csv"));
        assert!(refused("file,cluster\na.png,x\nb.png\n").contains("line 3 has 1 cells"));
        assert!(
            refused("file,cluster\na.png,x\na.png,y\n").contains("line 3: the file a.png is there twice")
        );
    }
}
