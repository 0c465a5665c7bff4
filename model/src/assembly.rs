//! A package put together from the files that a user has, as they are published: a language model in Hugging Face's
//! layout, in Meta's or in GGUF, CONCH, UNI, LLaVA's projector, PEFT's adapters; or a Qwen2.5-VL, which is whole as it is.
//!
//! Nothing is converted: files are linked or copied under the names that they were published with, and the manifest says
//! how to read them. The package is made beside the place where it will be, looked through, and put there last, so that
//! there is never half of one.

mod adapters;
mod encoders;
mod language;
mod origin;
mod processor;
mod projector;
mod qwen;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use self::language::Language;
use self::origin::Origin;
use self::qwen::Qwen;
use crate::check::check_unless;
use crate::package::{
    self, Architecture, Beside, EncoderKind, EncoderSpec, FORMAT, Fusion, Generation, GridRule, Instructions,
    Known, Knows, LanguageSpec, Manifest, Package, PackageWriter, PatchSpec, ProjectorSpec,
};
use crate::weights::{self, Size, Weights};
use crate::{prompt, reinpath};

/// Microns per pixel of patches; what published encoders saw most (20× objectives).
const MPP: f64 = 0.5;
/// Side of a usual patch where patches have any size: 576 image tokens.
const ANY_SIZE_PX: u32 = 672;

/// What a package is made of.
#[derive(Clone, Debug)]
pub struct Parts {
    pub name: String,
    /// A folder, or a GGUF file.
    pub language: PathBuf,
    /// The file of a Qwen2.5-VL's vision tower, where its language model is a GGUF file.
    pub vision: Option<PathBuf>,
    /// Files, or folders with one.
    pub conch: Option<PathBuf>,
    pub uni: Option<PathBuf>,
    pub projector: Option<PathBuf>,
    pub adapters: Vec<PathBuf>,
    pub grid: GridRule,
    /// Instead of the language model's own.
    pub tokenizer: Option<PathBuf>,
    /// Instead of what the parts say.
    pub licence: Option<String>,
    /// Copies all files, so that nobody who changes the originals changes the package.
    pub copy: bool,
}

/// A package that cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is something here already; name another folder: {path}", path = .0.display())]
    Exists(PathBuf),
    #[error("{reason}: {path}", path = path.display())]
    Unfit { reason: String, path: PathBuf },
    #[error("the package cannot be written: {source}: {path}", path = path.display())]
    Write { source: std::io::Error, path: PathBuf },
    #[error("a package needs at least one encoder: name CONCH's files, UNI's, or both")]
    NoEncoder,
    #[error(transparent)]
    Package(#[from] package::Error),
    #[error(transparent)]
    Weights(#[from] weights::Error),
    #[error(transparent)]
    Prompt(#[from] prompt::Error),
    #[error(transparent)]
    Model(#[from] reinpath::Error),
    #[error("cancelled")]
    Cancelled,
    /// A part for a model that has its own.
    #[error("{0} is for ReinPath models: a Qwen2.5-VL has its own eyes")]
    OwnEyes(&'static str),
    /// The parts do not fit together; the sentence names them as the user did.
    #[error("{0}")]
    Misfit(String),
}

/// A file that goes into the package.
struct Source {
    /// In the package.
    name: String,
    path: PathBuf,
}

impl Source {
    /// A file that keeps its own name in the folder `part` of the package.
    fn new(part: &str, path: &Path) -> Result<Self, Error> {
        let unfit = || Error::Unfit { reason: "this is no file's name".to_owned(), path: path.to_owned() };
        let own = path.file_name().and_then(OsStr::to_str).ok_or_else(unfit)?;
        Ok(Self { name: format!("{part}/{own}"), path: path.to_owned() })
    }
}

/// Whether what `language` names is a whole model that sees for itself, a Qwen2.5-VL, and no part of a ReinPath model.
pub fn has_own_eyes(language: &Path) -> bool {
    qwen::is_here(language)
}

/// Puts the package together in the new folder `to`. The size is what it will take in memory.
pub fn add(parts: &Parts, to: &Path) -> Result<(Package, Size), Error> {
    add_unless(parts, to, &Arc::default())
}

/// The same; when `cancel` is set it ends with [`Error::Cancelled`], and nothing is left.
pub fn add_unless(parts: &Parts, to: &Path, cancel: &Arc<AtomicBool>) -> Result<(Package, Size), Error> {
    if to.symlink_metadata().is_ok() {
        return Err(Error::Exists(to.to_owned()));
    }
    if to.file_name().is_none() {
        return Err(Error::Unfit { reason: "this is no folder's name".to_owned(), path: to.to_owned() });
    }
    let unwritten = |source| Error::Write { source, path: to.to_owned() };
    let plan = Plan::of(parts)?;
    let beside = Beside::create(to).map_err(unwritten)?;
    let made = beside.path().to_owned();
    let size = plan
        .write(parts.copy, &made, cancel)
        .and_then(|()| Ok(check_unless(&Package::open(&made)?, cancel)?))
        .map_err(|error| plan.in_the_users_words(&error, &made, to));
    if cancel.load(Ordering::Relaxed) {
        return Err(Error::Cancelled);
    }
    let size = size?;
    beside.put().map_err(unwritten)?;
    Ok((Package::open(to)?, size))
}

/// What will be written.
struct Plan {
    files: Vec<Source>,
    manifest: Manifest,
    /// Channels between the fused features and the embeddings of a projector that has to be made.
    new_projector: Option<projector::Shape>,
    /// A chat template, which is written as a file of its own.
    template: Option<String>,
}

impl Plan {
    fn of(parts: &Parts) -> Result<Self, Error> {
        if qwen::is_here(&parts.language) {
            return Self::of_qwen(parts);
        }
        if let Some(path) = &parts.vision {
            let reason = "--vision is for a Qwen2.5-VL, which the language model is not".to_owned();
            return Err(Error::Unfit { reason, path: path.clone() });
        }
        let mut language = Language::find(&parts.language, parts.tokenizer.as_deref())?;
        let mut files = std::mem::take(&mut language.files);
        let mut origins = vec![Origin::of("language", &parts.language)];
        let mut encoders = find_encoders(parts, &mut files, &mut origins)?;
        let size_px = encoders.iter().map(|e| e.image_size).max().ok_or(Error::NoEncoder)?;
        encoders::share_a_grid(&mut encoders, parts.grid);
        let mut manifest = Manifest {
            encoders,
            fusion: Fusion { grid: parts.grid, pool: if parts.grid == GridRule::Pooled { 2 } else { 1 } },
            projector: ProjectorSpec {
                weights: projector::NEW.to_owned(),
                hidden: language.hidden_size,
                prefix: String::new(),
            },
            ..begun(&parts.name, Architecture::ReinPath, size_px, language.spec, language.generation)
        };
        let new_projector = if let Some(path) = &parts.projector {
            files.push(add_projector(path, &mut manifest, &mut origins)?);
            None
        } else {
            projector::DESCRIPTION.clone_into(&mut manifest.description);
            Some(projector::Shape { features: manifest.fused_width(), hidden: language.hidden_size })
        };
        files.extend(finish(parts, &mut manifest, origins)?);
        if new_projector.is_some() {
            manifest.provenance.push_str(projector::PROVENANCE);
        }
        Ok(Self { files, manifest, new_projector, template: None })
    }

    /// Of a Qwen2.5-VL, which has all its parts.
    fn of_qwen(parts: &Parts) -> Result<Self, Error> {
        for (option, path) in
            [("--conch", &parts.conch), ("--uni", &parts.uni), ("--projector", &parts.projector)]
        {
            if path.is_some() {
                return Err(Error::OwnEyes(option));
            }
        }
        let Qwen { mut files, language, vision, generation, instructions, known, template } =
            Qwen::find(&parts.language, parts.vision.as_deref(), parts.tokenizer.as_deref())?;
        let licence = known.map(|known| known.licence);
        let mut origins = vec![Origin::of("model", &parts.language).under(licence)];
        if let Some(path) = &parts.vision {
            origins.push(Origin::of("vision", path).under(licence));
        }
        let mut manifest = Manifest {
            vision: Some(vision),
            instructions,
            terms: known.map(Known::terms),
            ..begun(&parts.name, Architecture::Qwen25Vl, ANY_SIZE_PX, language, generation)
        };
        files.extend(finish(parts, &mut manifest, origins)?);
        Ok(Self { files, manifest, new_projector: None, template: Some(template) })
    }

    fn write(&self, copy: bool, folder: &Path, cancel: &Arc<AtomicBool>) -> Result<(), Error> {
        let mut writer = PackageWriter::create(folder)?.until(cancel);
        for Source { name, path } in &self.files {
            let put = if copy { PackageWriter::copy } else { PackageWriter::link };
            put(&mut writer, path, name)?;
        }
        if let Some(template) = &self.template {
            writer.text(qwen::TEMPLATE, template)?;
        }
        if let Some(shape) = &self.new_projector {
            projector::write_new(shape, &writer.path(projector::NEW)?)?;
        }
        let manifest = Manifest { files: writer.records()?, ..self.manifest.clone() };
        Ok(writer.manifest(&manifest)?)
    }

    /// An error about the package that is being made, about the files that it is made of.
    fn in_the_users_words(&self, error: &Error, made: &Path, to: &Path) -> Error {
        let mut files: Vec<&Source> = self.files.iter().collect();
        // A name may be the beginning of another.
        files.sort_by_key(|file| std::cmp::Reverse(file.name.len()));
        let mut sentence = error.to_string();
        for Source { name, path } in files {
            let inside = made.join(name).display().to_string();
            sentence = sentence.replace(&inside, &path.display().to_string());
        }
        Error::Misfit(sentence.replace(&made.display().to_string(), &to.display().to_string()))
    }
}

/// A manifest with a language model, in which everything else is missing.
fn begun(
    name: &str,
    architecture: Architecture,
    size_px: u32,
    language: LanguageSpec,
    generation: Generation,
) -> Manifest {
    Manifest {
        format: FORMAT,
        name: name.to_owned(),
        description: String::new(),
        licence: String::new(),
        languages: Vec::new(),
        created: String::new(),
        provenance: String::new(),
        architecture,
        patch: PatchSpec { size_px, mpp: MPP },
        encoders: Vec::new(),
        fusion: Fusion::default(),
        projector: ProjectorSpec::default(),
        vision: None,
        language,
        instructions: Instructions::default(),
        terms: None,
        adapters: Vec::new(),
        generation,
        knows: Knows::default(),
        files: std::collections::BTreeMap::new(),
    }
}

/// Puts into a manifest what comes last in both families: the adapters, the licences, and where all parts come from. What is
/// returned are the adapters' files.
fn finish(parts: &Parts, manifest: &mut Manifest, mut origins: Vec<Origin>) -> Result<Vec<Source>, Error> {
    let files = adapters::add(&parts.adapters, manifest, &mut origins)?;
    manifest.licence = parts.licence.clone().unwrap_or_else(|| origin::licences(&origins));
    manifest.provenance = origin::provenance(&origins);
    Ok(files)
}

/// The encoders that are named, at their own sizes; their files and origins are put to the others.
fn find_encoders(
    parts: &Parts,
    files: &mut Vec<Source>,
    origins: &mut Vec<Origin>,
) -> Result<Vec<EncoderSpec>, Error> {
    let mut encoders = Vec::new();
    for (kind, path) in [(EncoderKind::Conch, &parts.conch), (EncoderKind::Uni, &parts.uni)] {
        let Some(path) = path else { continue };
        let (spec, file) = encoders::find(kind, path)?;
        origins.push(Origin::of(kind.name(), path));
        files.push(file);
        encoders.push(spec);
    }
    Ok(encoders)
}

/// Puts a projector into a manifest; what is returned is its file.
fn add_projector(path: &Path, manifest: &mut Manifest, origins: &mut Vec<Origin>) -> Result<Source, Error> {
    let (spec, file) = projector::find(path)?;
    manifest.projector = spec;
    origins.push(Origin::of("projector", path));
    Ok(file)
}

/// The one file that a user names: itself, or the first of these names that is in the folder.
fn one_file(path: &Path, names: &[&str]) -> Result<PathBuf, Error> {
    if path.is_file() {
        return Ok(path.to_owned());
    }
    let found = names.iter().map(|name| path.join(name)).find(|file| file.is_file());
    found.ok_or_else(|| {
        let reason = if path.is_dir() {
            format!("there is no {} in this folder", names.join(" and no "))
        } else {
            "there is no such file or folder".to_owned()
        };
        Error::Unfit { reason, path: path.to_owned() }
    })
}

/// The weights of one file.
fn open(path: &Path) -> Result<Weights, weights::Error> {
    Weights::open(&[path.to_owned()])
}
