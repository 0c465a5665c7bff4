//! The hash that names a slide in stamps and in the review store.
//!
//! BLAKE3 over the length, the first and last MiB and 64 evenly spaced 64 KiB blocks of every file that makes up the slide:
//! a few megabytes of reading however large the slide is. It tells slides apart; it does not prove that no byte was changed.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::dicom;

const MIB: u64 = 1 << 20;
const BLOCK: u64 = 64 << 10;
const BLOCKS: u64 = 64;

/// A hash of some of a slide's files: the opened one comes first in every slide, so it is read while the slide is still being opened.
pub(super) struct Begun {
    hasher: blake3::Hasher,
}

/// Takes in the opened file; `between` is called after each block that was read, so that a watcher sees
/// progress: on a slow drive one file's blocks can take longer together than the parent's patience.
pub(super) fn begin(path: &Path, mut between: impl FnMut()) -> io::Result<Begun> {
    let mut hasher = blake3::Hasher::new();
    add_file(&mut hasher, path, &mut between)?;
    Ok(Begun { hasher })
}

impl Begun {
    /// Hex BLAKE3 with the slide's other files in the order given.
    pub(super) fn end(mut self, others: &[PathBuf], mut between: impl FnMut()) -> io::Result<String> {
        for path in others {
            add_file(&mut self.hasher, path, &mut between)?;
        }
        Ok(self.hasher.finalize().to_hex().to_string())
    }
}

fn add_file(hasher: &mut blake3::Hasher, path: &Path, between: &mut dyn FnMut()) -> io::Result<()> {
    // What is no file (a pipe) may keep whoever opens it waiting for ever.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    fetch_ahead(&file, length);
    hasher.update(&length.to_le_bytes());
    let mut add = |start: u64, length: u64| -> io::Result<()> {
        add_span(hasher, &mut file, start, length)?;
        between();
        Ok(())
    };
    if length <= 2 * MIB {
        return add(0, length);
    }
    add(0, MIB)?;
    add(length - MIB, MIB)?;
    for start in block_starts(length) {
        add(start, BLOCK)?;
    }
    Ok(())
}

/// Blocks start at 0, step, 2·step …; the last one ends at the end of the file, which is longer than a block.
fn block_starts(length: u64) -> impl Iterator<Item = u64> {
    (0..BLOCKS)
        .map(move |index| (u128::from(length - BLOCK) * u128::from(index) / u128::from(BLOCKS - 1)) as u64)
}

/// Tells the system which blocks will be read: a network drive then answers them together instead of one after the other.
#[cfg(target_os = "linux")]
fn fetch_ahead(file: &File, length: u64) {
    use rustix::fs::{Advice, fadvise};
    if length <= 2 * MIB {
        return;
    }
    for start in block_starts(length) {
        if let Err(error) = fadvise(file, start, std::num::NonZeroU64::new(BLOCK), Advice::WillNeed) {
            // Only advice: reading works without.
            tracing::debug!("blocks of a slide are not read ahead: {error}");
            return;
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn fetch_ahead(_file: &File, _length: u64) {}

fn add_span(hasher: &mut blake3::Hasher, file: &mut File, start: u64, length: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(start))?;
    let mut span = vec![0; length as usize];
    file.read_exact(&mut span)?;
    hasher.update(&span);
    Ok(())
}

/// Every file that makes up the slide at `path`, the opened one first, the others in the order of their names.
///
/// MIRAX keeps its pixels in a folder of the slide's name, Hamamatsu VMS and VMU name their files in the opened one,
/// and the instances of a DICOM series lie beside each other. All other formats are one file.
pub(super) fn files_of_slide(
    path: &Path,
    vendor: Option<&str>,
    series: Option<&str>,
) -> io::Result<Vec<PathBuf>> {
    let mut others = match vendor {
        Some("mirax") => files_in(&path.with_extension(""))?,
        Some("hamamatsu") if has_extension(path, &["vms", "vmu"]) => named_in_index(path)?,
        Some("dicom") => {
            let folder =
                path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let belongs = |file: &PathBuf| series.is_some_and(|series| dicom::is_in_series(file, series));
            files_in(folder)?
                .into_iter()
                .filter(|file| file.file_name() != path.file_name())
                .filter(belongs)
                .collect()
        }
        _ => Vec::new(),
    };
    others.sort();
    others.insert(0, path.to_path_buf());
    Ok(others)
}

pub(super) fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let found = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    extensions.iter().any(|extension| found.eq_ignore_ascii_case(extension))
}

fn files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

/// The files that a VMS or VMU index names (`ImageFile(0,0)=name.jpg`) and that exist.
fn named_in_index(path: &Path) -> io::Result<Vec<PathBuf>> {
    let index = std::fs::read(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let names = String::from_utf8_lossy(&index)
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.1.trim().to_string()))
        .collect::<Vec<_>>();
    Ok(names
        .into_iter()
        .filter(|name| !name.is_empty())
        .map(|name| folder.join(name))
        .filter(|file| file.is_file())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_in_length_or_in_a_sampled_block_changes_the_hash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slide.svs");
        let mut bytes: Vec<u8> = (0..5_000_000_u32).map(|i| (i % 251) as u8).collect();
        let hash_of = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            begin(&path, || ()).unwrap().end(&[], || ()).unwrap()
        };
        let before = hash_of(&bytes);
        assert_eq!(before, hash_of(&bytes));
        bytes.push(0);
        assert_ne!(before, hash_of(&bytes), "length");
        bytes.pop();
        // The middle block of the 64 begins at 4,934,464 · 32 / 63.
        bytes[2_506_500] ^= 1;
        assert_ne!(before, hash_of(&bytes), "sampled block");
        let mut signs = 0;
        begin(&path, || signs += 1).unwrap();
        assert_eq!(signs, 66, "a sign of life after each block");
        let alone = begin(&path, || ()).unwrap().end(&[], || ()).unwrap();
        let other = folder.path().join("other.dat");
        std::fs::write(&other, b"more").unwrap();
        let both = begin(&path, || ()).unwrap().end(&[other], || ()).unwrap();
        assert_ne!(alone, both, "another file of the slide");
        assert!(begin(folder.path(), || ()).is_err(), "a folder is no file");
    }

    #[test]
    fn a_mirax_slide_is_its_folder_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mrxs");
        std::fs::write(&path, b"head").unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        for name in ["Slidedat.ini", "Data0000.dat"] {
            std::fs::write(folder.path().join("a").join(name), name).unwrap();
        }
        let files = files_of_slide(&path, Some("mirax"), None).unwrap();
        assert_eq!(
            files,
            [
                path.clone(),
                path.with_extension("").join("Data0000.dat"),
                path.with_extension("").join("Slidedat.ini")
            ]
        );
        assert_eq!(files_of_slide(&path, Some("aperio"), None).unwrap(), [path]);
    }
}
