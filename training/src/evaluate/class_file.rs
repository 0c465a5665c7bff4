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
//! split = "split"                            # the column with the part: train, validation or test
//!
//! [[class]]
//! folder = "lung_aca"
//! name = "lung adenocarcinoma"
//! ```

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use crate::dataset::split_named;
use crate::error::{Error, Result};
use crate::rows::Split;

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

/// Which images are asked about: those of the part `test`. What colour alone reaches is fitted on those of `train`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldOut {
    /// A CSV file in the data folder, its first line the names of its columns.
    pub manifest: String,
    /// Column with an image's path in the data folder.
    pub file: String,
    /// Column with what an image has in common with others; all images of a cluster must be of one part.
    pub cluster: String,
    /// Column with the part that an image belongs to.
    pub split: String,
}

/// What a manifest says of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub cluster: String,
    pub split: Split,
}

impl HeldOut {
    /// What the manifest says of each image, by its path in the data folder.
    ///
    /// # Errors
    /// Where a line is broken, a file is there twice, or a cluster is in two parts.
    pub fn origins(&self, data: &Path) -> Result<BTreeMap<String, Origin>> {
        let path = data.join(&self.manifest);
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let wrong = |reason: String| Error::Benchmark(format!("{reason}: {}", path.display()));
        let mut lines = text.trim_start_matches('\u{feff}').lines().zip(1..);
        let head: Vec<&str> = lines.next().map_or_else(Vec::new, |(line, _)| cells(line));
        let column = |name: &str| {
            let at = head.iter().position(|cell| *cell == name);
            at.ok_or_else(|| wrong(format!("the manifest has no column “{name}”")))
        };
        let columns = [column(&self.file)?, column(&self.cluster)?, column(&self.split)?];
        let mut origins = BTreeMap::new();
        let mut parts = BTreeMap::new();
        for (line, number) in lines.filter(|(line, _)| !line.trim().is_empty()) {
            let cells = cells(line);
            if line.contains('"') || cells.len() != head.len() {
                let (found, wanted) = (cells.len(), head.len());
                return Err(wrong(format!("line {number} has {found} cells instead of {wanted}, or quotes")));
            }
            let [file, cluster, split] = columns.map(|at| cells[at]);
            let split = split_named(split).ok_or_else(|| {
                wrong(format!("line {number}: “{split}” is none of train, validation, test"))
            })?;
            if *parts.entry(cluster).or_insert(split) != split {
                return Err(wrong(format!("line {number}: the cluster {cluster} is in two parts")));
            }
            if origins.insert(file.to_owned(), Origin { cluster: cluster.to_owned(), split }).is_some() {
                return Err(wrong(format!("line {number}: the file {file} is there twice")));
            }
        }
        Ok(origins)
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
            split: "split".to_owned(),
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
        let more = "[held_out]\nmanifest = \"../m.csv\"\nfile = \"f\"\ncluster = \"c\"\nsplit = \"s\"\n";
        assert!(refused(&format!("{second}{more}")).contains("“../m.csv”"));
    }

    #[test]
    fn a_manifest_gives_each_file_its_origin_or_says_where_it_is_broken() {
        let folder = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            std::fs::write(folder.path().join("m.csv"), text).unwrap();
            held_out().origins(folder.path())
        };
        let head = "file,class,cluster,split\n";
        let origins = read(&format!("\u{feff}{head}a/1.png, a, t0,test\n\na/2.png,a,t1,train\r\n")).unwrap();
        assert_eq!(origins["a/1.png"], Origin { cluster: "t0".to_owned(), split: Split::Test });
        assert_eq!(origins["a/2.png"], Origin { cluster: "t1".to_owned(), split: Split::Train });
        let refused = |text: &str| read(text).unwrap_err().to_string();
        assert!(refused("file,cluster,class\n").contains("no column “split”"));
        assert!(refused("").ends_with("m.csv"));
        let second = |line: &str| refused(&format!("{head}a.png,a,x,test\n{line}\n"));
        assert!(second("b.png").contains("line 3 has 1 cells"));
        assert!(second("a.png,a,x,test").contains("line 3: the file a.png is there twice"));
        assert!(second("b.png,a,x,train").contains("line 3: the cluster x is in two parts"));
        assert!(second("b.png,a,z,most").contains("“most”"));
    }
}
