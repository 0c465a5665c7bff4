//! Fused features of image files, computed once and kept on disk: the encoders are frozen in every stage.
//!
//! One file for each set of encoders, named by what the features follow from: the encoders' settings and the bytes of
//! their weights. It holds records of one length: the hash of an image file's bytes, the features in f32 (they are as
//! exact as if they were computed anew), and a checksum of both. A record that is damaged is computed again and written
//! at the end; a later record of the same image counts. Runs may share the file: one at a time adds to it.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use reinpath_model::patch::Patch;
use reinpath_model::reinpath::ReinPath;

use crate::batch::ImageShape;
use crate::error::{Error, Result};

/// What the file begins with; another format has another number.
const BEGIN: &[u8; 16] = b"reinpath feat 1\n";
/// Bytes of a hash and of a checksum.
const HASH: usize = blake3::OUT_LEN;
/// Images that are read at a time.
const AT_A_TIME: usize = 64;

type Hash = [u8; HASH];

/// Features of images, by the numbers that the images have where they were asked for.
#[derive(Debug)]
pub struct Features {
    store: Store,
    /// Where each image's features begin; `None`: it could not be read.
    places: Vec<Option<u64>>,
}

/// What came of [`prepare`].
#[derive(Debug)]
pub struct Prepared {
    pub features: Features,
    /// Images whose features were computed now.
    pub computed: usize,
    /// Records that were there but damaged; their features were computed again.
    pub damaged: usize,
    /// Images that could not be read, by their numbers, each with the reason.
    pub faults: Vec<(usize, Error)>,
}

/// Features of `images`, from the cache in `folder` or computed now and put there. `watch` gets how many images are done
/// and how many of them were computed; an error from it ends the work.
///
/// # Errors
/// When the cache cannot be written, or the model cannot compute. An image that cannot be read is no error but a fault.
pub fn prepare(
    model: &ReinPath,
    images: &[PathBuf],
    folder: &Path,
    watch: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Prepared> {
    let spec = model.manifest();
    let shape = ImageShape { tokens: spec.image_tokens(), channels: spec.fused_width() };
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let path = folder.join(format!("{}.features", key(model)?));
    let mut writer = Writer::open(Store::open(&path, shape)?)?;
    let mut places = Vec::with_capacity(images.len());
    let mut faults = Vec::new();
    for part in images.chunks(AT_A_TIME) {
        let hashes: Vec<Result<Hash>> = part.par_iter().map(|image| hash_of(image)).collect();
        let mut missing: Vec<(Hash, &PathBuf)> = Vec::new();
        for (image, hash) in part.iter().zip(&hashes) {
            if let Ok(hash) = hash
                && !missing.iter().any(|(own, _)| own == hash)
                && !writer.has(hash)?
            {
                missing.push((*hash, image));
            }
        }
        let mut unreadable: HashMap<Hash, Error> = HashMap::new();
        let computed: Vec<Result<Vec<f32>>> =
            missing.par_iter().map(|(_, image)| compute(model, image)).collect::<Result<_>>()?;
        for ((hash, _), features) in missing.iter().zip(computed) {
            match features {
                Ok(features) => writer.add(hash, &features)?,
                Err(error) => drop(unreadable.insert(*hash, error)),
            }
        }
        for (image, hash) in part.iter().zip(hashes) {
            let number = places.len();
            let place = hash.map(|hash| (writer.places.get(&hash).copied(), unreadable.remove(&hash)));
            places.push(match place {
                Ok((Some(place), _)) => Some(place),
                Ok((None, error)) => {
                    // Another copy of an image that was told already.
                    let again = || Error::Features(format!("the image cannot be read: {}", image.display()));
                    faults.push((number, error.unwrap_or_else(again)));
                    None
                }
                Err(error) => {
                    faults.push((number, error));
                    None
                }
            });
        }
        watch(places.len(), writer.added)?;
    }
    let Writer { store, added: computed, damaged, .. } = writer.done()?;
    Ok(Prepared { features: Features { store, places }, computed, damaged, faults })
}

impl Features {
    /// How many images there are, those that could not be read with them.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Size of the features of an image.
    pub fn shape(&self) -> ImageShape {
        self.store.shape
    }

    /// Whether an image could be read.
    pub fn has(&self, image: usize) -> bool {
        self.places.get(image).is_some_and(Option::is_some)
    }

    /// Features of an image, token by token.
    pub fn of(&self, image: usize) -> Result<Vec<f32>> {
        let Some(place) = self.places.get(image).copied().flatten() else {
            return Err(Error::Features(format!("image {image} has no features: it could not be read")));
        };
        self.store.read(place)?.map(|(_, features)| features).ok_or_else(|| {
            Error::Features(format!(
                "the features of an image were damaged while they were in use, start again: {}",
                self.store.path.display()
            ))
        })
    }

    /// Features of several images, (images, image tokens, channels) on the CPU.
    pub fn tensor(&self, images: &[usize]) -> Result<Tensor> {
        let ImageShape { tokens, channels } = self.shape();
        let mut values = Vec::with_capacity(images.len() * tokens * channels);
        for &image in images {
            values.extend(self.of(image)?);
        }
        Ok(Tensor::from_vec(values, (images.len(), tokens, channels), &Device::Cpu)?)
    }
}

/// What the features follow from beside the images, as a file's name.
fn key(model: &ReinPath) -> Result<String> {
    let (spec, mut hasher) = (model.manifest(), blake3::Hasher::new());
    // Two kinds of devices round differently.
    let settings = serde_json::json!([spec.encoders, spec.fusion, model.device().is_cpu()]);
    hasher.update(settings.to_string().as_bytes());
    for name in spec.encoders.iter().flat_map(|encoder| &encoder.weights) {
        hasher.update(&hash_of(&model.package.file(name))?);
    }
    Ok(hasher.finalize().to_hex()[..32].to_owned())
}

/// Of a file's bytes.
fn hash_of(file: &Path) -> Result<Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(file).map_err(Error::io(file))?).map_err(Error::io(file))?;
    Ok(*hasher.finalize().as_bytes())
}

/// Features of an image file, or why it cannot be read; an error where the model cannot compute.
///
/// It goes through the encoders alone: among others the last bits of its features would depend on them, and a run that
/// was killed halfway through the images would not go on to the same numbers.
fn compute(model: &ReinPath, image: &Path) -> Result<Result<Vec<f32>>> {
    match patch_of(model, image) {
        Ok(patch) => Ok(Ok(model.features(&[patch])?.flatten_all()?.to_vec1()?)),
        Err(fault) => Ok(Err(fault)),
    }
}

/// An image file as a patch that every encoder can look at.
fn patch_of(model: &ReinPath, image: &Path) -> Result<Patch> {
    let fault =
        |reason: String| Error::Features(format!("the image cannot be read ({reason}): {}", image.display()));
    // By what is in it: the wrong extension is no reason to fail.
    let bytes = std::fs::read(image).map_err(Error::io(image))?;
    let picture = image::load_from_memory(&bytes).map_err(|error| fault(error.to_string()))?.into_rgb8();
    let (width, height) = picture.dimensions();
    let patch =
        Patch::new(width, height, None, picture.into_raw()).map_err(|error| fault(error.to_string()))?;
    for encoder in &model.manifest().encoders {
        patch.square_for(encoder).map_err(|error| fault(error.to_string()))?;
    }
    Ok(patch)
}

/// A file of features.
#[derive(Debug)]
struct Store {
    file: Mutex<File>,
    path: PathBuf,
    shape: ImageShape,
}

impl Store {
    fn open(path: &Path, shape: ImageShape) -> Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        Ok(Self { file: Mutex::new(file.map_err(Error::io(path))?), path: path.to_owned(), shape })
    }

    /// Bytes of a record.
    fn record(&self) -> u64 {
        (2 * HASH + 4 * self.shape.tokens * self.shape.channels) as u64
    }

    /// The image's hash and the features of the record at a place; `None`: it is damaged.
    fn read(&self, place: u64) -> Result<Option<(Hash, Vec<f32>)>> {
        let mut record = vec![0; self.record() as usize];
        {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(place)).map_err(Error::io(&self.path))?;
            match file.read_exact(&mut record) {
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
                read => read.map_err(Error::io(&self.path))?,
            }
        }
        let (content, checksum) = record.split_at(record.len() - HASH);
        if blake3::hash(content).as_bytes() != checksum {
            return Ok(None);
        }
        let (hash, values) = content.split_at(HASH);
        let mut own = [0; HASH];
        own.copy_from_slice(hash);
        let (values, _) = values.as_chunks::<4>();
        Ok(Some((own, values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())))
    }
}

/// A file of features that nobody else adds to meanwhile.
struct Writer {
    store: Store,
    /// Where the record of each image begins.
    places: HashMap<Hash, u64>,
    /// Images whose records were looked at and are whole.
    whole: HashSet<Hash>,
    /// Where the next record goes.
    end: u64,
    added: usize,
    damaged: usize,
}

impl Writer {
    /// Waits until nobody else adds to the file, and reads which images it has. A file of another kind, or none, begins
    /// anew; an unfinished record at the end is cut off.
    fn open(store: Store) -> Result<Self> {
        let (record, path) = (store.record(), store.path.clone());
        let begin = BEGIN.len() as u64;
        let mut places = HashMap::new();
        let end = {
            let mut file = store.file.lock().unwrap_or_else(PoisonError::into_inner);
            let io = || Error::io(&path);
            file.lock().map_err(io())?;
            let len = file.metadata().map_err(io())?.len();
            let mut head = [0; BEGIN.len()];
            file.rewind().map_err(io())?;
            if len < begin || file.read_exact(&mut head).is_err() || head != *BEGIN {
                file.set_len(0).map_err(io())?;
                file.rewind().map_err(io())?;
                file.write_all(BEGIN).map_err(io())?;
            }
            let records = file.metadata().map_err(io())?.len().saturating_sub(begin) / record;
            for place in (0..records).map(|i| begin + i * record) {
                let mut hash = [0; HASH];
                file.seek(SeekFrom::Start(place)).map_err(io())?;
                file.read_exact(&mut hash).map_err(io())?;
                places.insert(hash, place);
            }
            let end = begin + records * record;
            file.set_len(end).map_err(io())?;
            end
        };
        Ok(Self { store, places, whole: HashSet::new(), end, added: 0, damaged: 0 })
    }

    /// Whether the features of an image are there and whole; a damaged record is forgotten.
    fn has(&mut self, hash: &Hash) -> Result<bool> {
        if self.whole.contains(hash) {
            return Ok(true);
        }
        let Some(&place) = self.places.get(hash) else { return Ok(false) };
        let is_whole = self.store.read(place)?.is_some_and(|(own, _)| own == *hash);
        if is_whole {
            self.whole.insert(*hash);
        } else {
            self.places.remove(hash);
            self.damaged += 1;
        }
        Ok(is_whole)
    }

    fn add(&mut self, hash: &Hash, features: &[f32]) -> Result<()> {
        let mut record = Vec::with_capacity(self.store.record() as usize);
        record.extend_from_slice(hash);
        record.extend(features.iter().flat_map(|value| value.to_le_bytes()));
        let checksum = blake3::hash(&record);
        record.extend_from_slice(checksum.as_bytes());
        if record.len() as u64 != self.store.record() {
            let reason = format!("the model gave {} values of features for an image", features.len());
            return Err(Error::Features(reason));
        }
        let mut file = self.store.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.end)).map_err(Error::io(&self.store.path))?;
        file.write_all(&record).map_err(Error::io(&self.store.path))?;
        drop(file);
        self.places.insert(*hash, self.end);
        self.whole.insert(*hash);
        self.end += self.store.record();
        self.added += 1;
        Ok(())
    }

    /// Lets others add to the file again.
    fn done(self) -> Result<Self> {
        {
            let file = self.store.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.unlock().map_err(Error::io(&self.store.path))?;
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests;
