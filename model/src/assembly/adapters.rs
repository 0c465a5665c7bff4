//! Adapters of the language model, in PEFT's layout: their entries in the manifest, and their files.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::origin::Origin;
use super::{Error, Source};
use crate::package::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, AdapterSpec, Manifest};

/// Puts adapters into a manifest; what is returned are their files.
pub(super) fn add(
    paths: &[PathBuf],
    manifest: &mut Manifest,
    origins: &mut Vec<Origin>,
) -> Result<Vec<Source>, Error> {
    let mut files = Vec::new();
    for path in paths {
        // Several are told apart when a question is asked; a single one is part of the model.
        let (spec, adapter) = find(path, paths.len() > 1)?;
        if manifest.adapters.iter().any(|other| other.name == spec.name) {
            let reason = format!("another adapter has the name '{}' too: rename its folder", spec.name);
            return Err(Error::Unfit { reason, path: path.clone() });
        }
        origins.push(Origin::of(&format!("adapter {}", spec.name), path));
        manifest.adapters.push(spec);
        files.extend(adapter);
    }
    Ok(files)
}

/// An adapter's folder: its entry in the manifest, and its files.
fn find(folder: &Path, alternative: bool) -> Result<(AdapterSpec, Vec<Source>), Error> {
    let unfit = |reason: &str| Error::Unfit { reason: reason.to_owned(), path: folder.to_owned() };
    let whole = folder.canonicalize().map_err(|e| unfit(&format!("the folder cannot be read, {e}")))?;
    let name = whole.file_name().and_then(OsStr::to_str).ok_or_else(|| unfit("this is no folder"))?;
    let weights = ADAPTER_WEIGHTS.into_iter().find(|file| folder.join(file).is_file());
    let weights = weights.ok_or_else(|| unfit("there is no adapter_model.safetensors here"))?;
    let part = format!("adapters/{name}");
    let files = [ADAPTER_CONFIG, weights]
        .map(|file| Source { name: format!("{part}/{file}"), path: folder.join(file) });
    Ok((AdapterSpec { name: name.to_owned(), folder: part, alternative }, files.into()))
}
