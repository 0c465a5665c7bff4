//! Adapters of the language model, in PEFT's layout: their entries in the manifest, their files, and the terms of the
//! models that they were trained on.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::origin::{self, Origin};
use super::{Error, Source};
use crate::package::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, AdapterSpec, Known, Manifest};

/// Puts adapters into a manifest, whose terms become those of a model that nobody may train where one of them was trained on
/// it; what is returned are their files.
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
        let forbidding = forbidding(path);
        let licence = forbidding.map(|known| known.licence);
        origins.push(Origin::of(&format!("adapter {}", spec.name), path).under(licence));
        let is_free = manifest.terms.as_ref().is_none_or(|terms| terms.refuses_training.is_none());
        if let Some(known) = forbidding.filter(|_| is_free) {
            manifest.terms = Some(known.terms());
        }
        manifest.adapters.push(spec);
        files.extend(adapter);
    }
    Ok(files)
}

/// The published model that an adapter was trained on, where its terms forbid training. What another allows is not told of a
/// whole package because of an adapter: its language model may be under something else.
fn forbidding(folder: &Path) -> Option<&'static Known> {
    origin::known(origin::names(folder)).filter(|known| known.refuses_training.is_some())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Speech, write_package};
    use crate::package::Terms;

    /// An adapter's folder with a configuration and a model card.
    fn adapter(home: &Path, name: &str, config: &str, card: &str) -> PathBuf {
        let folder = home.join(name);
        std::fs::create_dir(&folder).expect("a new folder");
        for (file, text) in [(ADAPTER_CONFIG, config), (ADAPTER_WEIGHTS[0], ""), ("README.md", card)] {
            std::fs::write(folder.join(file), text).expect("a file");
        }
        folder
    }

    #[test]
    fn adapters_bring_the_terms_of_a_model_that_nobody_may_train() {
        let home = tempfile::tempdir().expect("a folder");
        let plain = write_package(home.path(), Speech::Babble(1)).expect("a package");
        let terms_of = |name: &str| Known::named(name).map(Known::terms);
        let with = |paths: &[PathBuf], terms: Option<Terms>| {
            let (mut manifest, mut origins) = (Manifest { terms, ..plain.clone() }, Vec::new());
            add(paths, &mut manifest, &mut origins).expect("they fit");
            (manifest.terms, origin::licences(&origins))
        };
        let by_config = r#"{"base_model_name_or_path": "WenchuanZhang/Patho-R1-7B"}"#;
        let by_card = "---\nlicense: mit\nbase_model: WenchuanZhang/Patho-R1-3B\n---\n";
        let unnamed = r#"{"base_model_name_or_path": null}"#;
        let forbids = terms_of("Patho-R1-3B");
        assert!(forbids.as_ref().is_some_and(|terms| terms.refuses_training.is_some()));
        for (name, config, card, licence) in [
            ("mine", by_config, "", "adapter mine: CC-BY-NC-ND-4.0"),
            ("sft", unnamed, by_card, "adapter sft: mit"),
            ("Patho-R1-3B-lora", unnamed, "", "adapter Patho-R1-3B-lora: CC-BY-NC-ND-4.0"),
        ] {
            let made = with(&[adapter(home.path(), name, config, card)], None);
            assert_eq!(made, (forbids.clone(), licence.to_owned()), "{name}");
        }

        // Others say nothing of the whole, nor take anything back.
        let open = r#"{"base_model_name_or_path": "Qwen/Qwen2.5-VL-7B-Instruct"}"#;
        let open = adapter(home.path(), "open", open, "");
        assert_eq!(with(std::slice::from_ref(&open), None), (None, "adapter open: not stated".to_owned()));
        let mine = home.path().join("mine");
        for paths in [[open.clone(), mine.clone()], [mine.clone(), open]] {
            assert_eq!(with(&paths, terms_of("Qwen2.5-VL-3B-Instruct")).0, forbids);
        }
        let own = Terms { refuses_training: Some("It says so itself".to_owned()), ..Terms::default() };
        assert_eq!(with(&[mine], Some(own.clone())).0, Some(own));
    }
}
