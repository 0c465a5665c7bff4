//! A package made of a checkpoint, of a run that may still be at work: nothing of the run's folder is changed.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::result::{Known, write_package};
use super::{learners, load, policy};
use crate::checkpoint::{Checkpoints, Loaded};
use crate::error::{Error, Result};
use crate::event::{EventSink, RunEvent};
use crate::run_folder::{RunFolder, StopSignal};
use crate::trainer::Events;

/// What is told on the way, in this order.
const PARTS: [&str; 3] = ["reading the checkpoint", "loading the model", "writing the package"];

/// Writes the package of a checkpoint (a folder of the run's `checkpoints`; the newest where none is named) into the
/// folder `out`, which must not be there yet. It appears there whole or not at all. Progress and the end are told on
/// stdout, in the events of a run.
///
/// # Errors
/// [`Error::Checkpoint`] when there is no such checkpoint, or it is damaged; [`Error::Stopped`] when a signal asked.
pub fn export(
    folder: &RunFolder,
    checkpoint: Option<&Path>,
    out: &Path,
    asked: &Arc<AtomicBool>,
) -> Result<PathBuf> {
    let begin = Instant::now();
    let out = std::path::absolute(out).map_err(Error::io(out))?;
    refuse_what_is_there(&out)?;
    let events = Arc::new(Events::new(EventSink::to_stdout(), BTreeMap::new()));
    let progress = |done: usize| {
        events.send(&RunEvent::Progress { what: PARTS[done].to_owned(), done, total: PARTS.len() })
    };
    progress(0)?;
    let config = folder.config()?;
    let loaded = read(folder, checkpoint)?;
    progress(1)?;
    let part = part_of(&out);
    // Not the run's own wish to stop: a run that stops can be exported.
    let stop = StopSignal::new(Arc::clone(asked), part.join("stop"));
    let context = load(config, folder, Arc::clone(&events), stop)?;
    if loaded.state.base != context.package.hash {
        return Err(Error::AnotherBase(context.package.folder));
    }
    let policy = policy(&context)?;
    loaded.restore(&policy.vars)?;
    let learners = learners(&context)?;
    progress(2)?;
    let mut known = Known::new(&context, &learners);
    write_package(&context, &policy.vars, &mut known, Some(&loaded.state.name()), &part)?;
    std::fs::rename(&part, &out).map_err(Error::io(&out))?;
    events.send(&RunEvent::Finished { package: out.clone(), secs: begin.elapsed().as_secs_f64() })?;
    Ok(out)
}

/// Reads the checkpoint that is named by its folder or by that folder's name alone, or the newest one.
fn read(folder: &RunFolder, checkpoint: Option<&Path>) -> Result<Loaded> {
    let checkpoints = Checkpoints::at(folder.checkpoints());
    let Some(path) = checkpoint else {
        let newest = checkpoints.states()?.pop();
        let missing =
            || Error::Checkpoint { reason: "there is none yet".to_owned(), path: folder.checkpoints() };
        return checkpoints.load(&newest.ok_or_else(missing)?.name());
    };
    let wrong = |reason: &str| Error::Checkpoint { reason: reason.to_owned(), path: path.to_owned() };
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| wrong("it has no name"))?;
    let place = checkpoints.path(name);
    let Ok(own) = place.canonicalize() else {
        return Err(wrong("it is not there (any more)"));
    };
    let is_named_alone = path.components().count() == 1;
    if !is_named_alone && path.canonicalize().ok().as_deref() != Some(own.as_path()) {
        return Err(wrong("it is none of this run"));
    }
    checkpoints.load(name)
}

/// An empty folder may be there; the folders above it are made.
fn refuse_what_is_there(out: &Path) -> Result<()> {
    match std::fs::read_dir(out) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                let sentence = format!("something is there already, name another folder: {}", out.display());
                return Err(Error::Setting(sentence));
            }
            std::fs::remove_dir(out).map_err(Error::io(out))?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io(out)(error)),
    }
    let parent = out.parent().unwrap_or(out);
    std::fs::create_dir_all(parent).map_err(Error::io(parent))
}

/// Beside the place of the package: half of one is never taken for whole.
fn part_of(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_holds_something_is_not_written_over() {
        let place = tempfile::tempdir().unwrap();
        let out = place.path().join("a/b");
        refuse_what_is_there(&out).unwrap();
        assert!(place.path().join("a").is_dir() && !out.exists());
        std::fs::create_dir(&out).unwrap();
        refuse_what_is_there(&out).unwrap();
        assert!(!out.exists(), "an empty one gives way");
        std::fs::create_dir(&out).unwrap();
        std::fs::write(out.join("mine"), "x").unwrap();
        let error = refuse_what_is_there(&out).unwrap_err().to_string();
        assert!(error.contains("name another folder") && error.ends_with('b'), "{error}");
        assert!(out.join("mine").is_file());
    }

    #[test]
    fn a_checkpoint_that_is_none_of_the_run_is_refused_and_nothing_is_made() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(place.path().join("run"));
        folder.create().unwrap();
        let refused = |checkpoint: Option<&Path>| read(&folder, checkpoint).unwrap_err().to_string();
        let none = refused(None);
        assert!(none.contains("there is none yet"), "{none}");
        assert!(!folder.checkpoints().exists(), "a look makes no folder");
        let gone = refused(Some(Path::new("grpo-000009")));
        assert!(gone.contains("not there") && gone.ends_with("grpo-000009"), "{gone}");
        let elsewhere = place.path().join("elsewhere/grpo-000001");
        for folder in [&elsewhere, &folder.checkpoints().join("grpo-000001")] {
            std::fs::create_dir_all(folder).unwrap();
        }
        let other = refused(Some(&elsewhere));
        assert!(other.contains("none of this run"), "{other}");
    }
}
