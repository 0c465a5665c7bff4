//! What the cache has of a repository, asking nobody. Whether the repository has more cannot be known offline.

use std::path::Path;

use super::destination::{in_cache, reference, snapshot};
use super::{COMMIT_DIGITS, Error, Fetched, News, Settings, Wanted, is_hexadecimal};

/// Finds the wanted files of an earlier download.
pub(super) fn find(
    settings: &Settings,
    wanted: &Wanted,
    news: &mut dyn FnMut(News<'_>),
) -> Result<Fetched, Error> {
    if let Some(folder) = &wanted.output {
        return Err(Error::OfflineOutput(folder.clone()));
    }
    let repository_folder = in_cache(&settings.cache, &wanted.repository);
    let absent = |files: &'static str| Error::NotCached {
        repository: wanted.repository.to_string(),
        revision: wanted.revision.to_string(),
        files,
        path: repository_folder.clone(),
    };
    let commit = if wanted.revision.is_commit() {
        wanted.revision.to_string()
    } else {
        // Unreadable or absent, there is no commit to go by.
        let text =
            std::fs::read_to_string(reference(&repository_folder, &wanted.revision)).unwrap_or_default();
        text.trim().to_owned()
    };
    let folder = snapshot(&repository_folder, &commit);
    if !is_hexadecimal(&commit, COMMIT_DIGITS) || !folder.is_dir() {
        return Err(absent(""));
    }
    let mut names = Vec::new();
    collect(&folder, "", &mut names)?;
    names.retain(|name| wanted.includes(name));
    names.sort();
    if names.is_empty() {
        return Err(absent(" with any file that --include asks for"));
    }
    let sizes = names.iter().map(|name| size(&folder.join(name))).collect::<Result<Vec<u64>, Error>>()?;
    let bytes: u64 = sizes.iter().sum();
    news(News::Begun { commit: &commit, files: names.len(), bytes });
    for (name, bytes) in names.iter().zip(sizes) {
        news(News::Have { name, bytes, fetched: 0 });
    }
    Ok(Fetched { folder, commit, files: names.len(), bytes, fetched: 0 })
}

/// The size of a file; a name whose content was deleted from the cache is an error.
fn size(path: &Path) -> Result<u64, Error> {
    Ok(std::fs::metadata(path).map_err(|reason| Error::read(reason, path))?.len())
}

/// The names of all files below a folder, with slashes.
fn collect(folder: &Path, prefix: &str, names: &mut Vec<String>) -> Result<(), Error> {
    let read = |reason| Error::read(reason, folder);
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let entry = entry.map_err(read)?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        // Links are the files themselves here, so they are not followed.
        if entry.file_type().map_err(read)?.is_dir() {
            collect(&entry.path(), &format!("{name}/"), names)?;
        } else {
            names.push(name);
        }
    }
    Ok(())
}
