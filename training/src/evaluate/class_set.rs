//! The images of the benchmark `classes`: which lie in the folders of its classes, and which of them are asked about.

use std::collections::BTreeMap;
use std::path::Path;

use super::class_file::{Class, ClassFile, Origin};
use crate::error::{Error, Result};
use crate::rows::Split;

/// How images end that are read.
const IMAGES: [&str; 5] = ["png", "jpg", "jpeg", "tif", "tiff"];

/// An image of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassImage {
    /// In the data folder, with slashes.
    pub path: String,
    /// Its class, counted from 0.
    pub class: usize,
    /// What it has in common with others; itself where nothing is known.
    pub cluster: String,
    /// Those of `test` are asked about, those of `train` are what the colour machine is fitted on.
    pub split: Split,
}

/// The images of a data folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassSet {
    pub images: Vec<ClassImage>,
    /// Folders and files that belong to no class, or are no images.
    pub left_out: Vec<String>,
}

/// Lists the images of the classes, in order of classes and names.
///
/// # Errors
/// Where a class has no folder or no image, or an image is not in the manifest.
pub fn read(data: &Path, file: &ClassFile) -> Result<ClassSet> {
    let origins = file.held_out.as_ref().map(|held_out| held_out.origins(data)).transpose()?;
    let mut set = ClassSet::default();
    let manifest = file.held_out.as_ref().map(|held_out| held_out.manifest.as_str());
    for name in names(data)? {
        if !file.classes.iter().any(|class| class.folder == name) && manifest != Some(name.as_str()) {
            set.left_out.push(name);
        }
    }
    for (class, Class { folder, .. }) in file.classes.iter().enumerate() {
        let before = set.images.len();
        for name in names(&data.join(folder))? {
            let path = format!("{folder}/{name}");
            if !is_image(&data.join(&path)) {
                set.left_out.push(path);
                continue;
            }
            let Origin { cluster, split } = match (&file.held_out, &origins) {
                (Some(held_out), Some(origins)) => origins.get(&path).cloned().ok_or_else(|| {
                    let manifest = data.join(&held_out.manifest);
                    let manifest = manifest.display();
                    Error::Benchmark(format!("the image {path} is not in the manifest: {manifest}"))
                })?,
                _ => Origin { cluster: path.clone(), split: Split::Test },
            };
            set.images.push(ClassImage { path, class, cluster, split });
        }
        if set.images.len() == before {
            let folder = data.join(folder);
            return Err(Error::Benchmark(format!("the class has no image: {}", folder.display())));
        }
    }
    if !set.images.iter().any(|image| image.split == Split::Test) {
        return Err(Error::Benchmark(format!("no image is of the part test: {}", data.display())));
    }
    Ok(set)
}

/// What lies in a folder, by name.
fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).map_err(Error::io(folder))?;
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        Ok(entry.map_err(Error::io(folder))?.file_name().to_string_lossy().into_owned())
    };
    let mut names = entries.map(name).collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| IMAGES.contains(&extension.as_str())) && path.is_file()
}

/// The clusters of images by name, numbered.
pub(super) fn clusters(images: &[ClassImage]) -> BTreeMap<&str, usize> {
    let mut clusters: BTreeMap<&str, usize> =
        images.iter().map(|image| (image.cluster.as_str(), 0)).collect();
    clusters.values_mut().zip(0..).for_each(|(number, at)| *number = at);
    clusters
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::class_file::HeldOut;

    fn file(held_out: Option<HeldOut>) -> ClassFile {
        let class = |folder: &str, name: &str| Class { folder: folder.to_owned(), name: name.to_owned() };
        ClassFile {
            format: 1,
            question: "Which?".to_owned(),
            context: None,
            mpp: Some(0.5),
            held_out,
            classes: vec![class("pink", "pink tissue"), class("blue", "blue tissue")],
        }
    }

    fn write(folder: &Path, name: &str) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }

    #[test]
    fn only_images_in_the_folders_of_classes_are_read_and_the_rest_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for name in
            ["pink/b.PNG", "pink/a.jpeg", "pink/notes.txt", "pink/more/c.png", "blue/d.tif", "green/e.png"]
        {
            write(folder.path(), name);
        }
        write(folder.path(), "readme.md");
        let set = read(folder.path(), &file(None)).unwrap();
        let read: Vec<(&str, usize)> = set.images.iter().map(|i| (i.path.as_str(), i.class)).collect();
        assert_eq!(read, [("pink/a.jpeg", 0), ("pink/b.PNG", 0), ("blue/d.tif", 1)]);
        assert_eq!(set.left_out, ["green", "readme.md", "pink/more", "pink/notes.txt"]);
        assert!(set.images.iter().all(|image| image.split == Split::Test && image.cluster == image.path));
    }

    #[test]
    fn a_class_without_folder_or_image_is_refused_with_the_folder_last() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "pink/a.png");
        let missing = read(folder.path(), &file(None)).unwrap_err().to_string();
        assert!(missing.ends_with("blue"), "{missing}");
        write(folder.path(), "blue/notes.txt");
        let empty = read(folder.path(), &file(None)).unwrap_err().to_string();
        assert!(empty.starts_with("the class has no image") && empty.ends_with("blue"), "{empty}");
    }

    #[test]
    fn every_image_needs_its_line_in_the_manifest() {
        let folder = tempfile::tempdir().unwrap();
        let held_out = HeldOut {
            manifest: "m.csv".to_owned(),
            file: "file".to_owned(),
            cluster: "cluster".to_owned(),
            split: "split".to_owned(),
        };
        let file = file(Some(held_out));
        for name in ["pink/0.png", "pink/1.png", "blue/2.png"] {
            write(folder.path(), name);
        }
        let manifest = |last: &str| {
            let lines = format!("pink/0.png,t,train\npink/1.png,u,{last}\nblue/2.png,v,{last}\n");
            std::fs::write(folder.path().join("m.csv"), format!("file,cluster,split\n{lines}"))
        };
        manifest("test").unwrap();
        let set = read(folder.path(), &file).unwrap();
        let parts: Vec<(&str, Split)> = set.images.iter().map(|i| (i.cluster.as_str(), i.split)).collect();
        assert_eq!(parts, [("t", Split::Train), ("u", Split::Test), ("v", Split::Test)]);
        assert!(set.left_out.is_empty());
        manifest("train").unwrap();
        assert!(read(folder.path(), &file).unwrap_err().to_string().contains("of the part test"));
        write(folder.path(), "pink/new.png");
        let error = read(folder.path(), &file).unwrap_err().to_string();
        assert!(error.contains("pink/new.png") && error.ends_with("m.csv"), "{error}");
    }
}
