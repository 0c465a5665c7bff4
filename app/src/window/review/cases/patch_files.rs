//! The thread that keeps the pixels of questions' patches: each as a PNG named by the hash of its pixels, so that the same patch is kept
//! once.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::Builder;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use image::{ImageFormat, RgbImage};
use reinpath_model::patch::Patch;

use super::super::super::event::Event;
use super::super::super::workers::EventSender;
use super::super::ReviewEvent;
use super::CasesEvent;
use crate::ask::cut_patch;
use crate::case::{Question, patch_file};
use crate::slide::SlideHandle;

/// Questions that wait for the thread; more wait with whoever offers them.
const MOST_JOBS: usize = 64;

/// A question whose patches are to be kept.
pub(super) struct Cut {
    pub slide: SlideHandle,
    pub question: Arc<Question>,
    /// As the model is given them.
    pub mpp: f64,
}

/// The thread's handle; the thread ends with it, once it has done what it is at.
pub(super) struct PatchFiles {
    jobs: Sender<Cut>,
    /// What the thread had no room for.
    backlog: VecDeque<Cut>,
}

impl PatchFiles {
    pub(super) fn start(folder: PathBuf, events: EventSender) -> Self {
        let (jobs, incoming) = bounded(MOST_JOBS);
        let run = move || keep_all(&incoming, &folder, &events);
        if let Err(error) = Builder::new().name("case-patches".to_owned()).spawn(run) {
            tracing::error!("cannot start the thread case-patches: {error}");
        }
        Self { jobs, backlog: VecDeque::new() }
    }

    /// Does not wait.
    pub(super) fn keep(&mut self, cut: Cut) {
        self.backlog.push_back(cut);
        self.flush();
    }

    /// Hands over what waits, as far as there is room.
    pub(super) fn flush(&mut self) {
        while let Some(cut) = self.backlog.pop_front() {
            match self.jobs.try_send(cut) {
                Ok(()) => {}
                Err(TrySendError::Full(cut)) => return self.backlog.push_front(cut),
                // The thread could not be started, which was said.
                Err(TrySendError::Disconnected(_)) => return self.backlog.clear(),
            }
        }
    }
}

fn keep_all(jobs: &Receiver<Cut>, folder: &Path, events: &EventSender) {
    for job in jobs {
        let question = job.question.id.clone();
        let news = match keep(&job, folder) {
            Ok(pixels) => CasesEvent::PatchesKept { question, pixels },
            Err(sentence) => CasesEvent::PatchesNotKept { question, sentence },
        };
        if !events.send(Event::Review(ReviewEvent::Cases(news))) {
            return;
        }
    }
}

/// The names of the patches' pixels, in order; an error is a sentence.
fn keep(job: &Cut, folder: &Path) -> Result<Vec<String>, String> {
    let keep = |patch: &crate::case::PatchKept| {
        let cut = cut_patch(&job.slide, patch.region(), job.mpp);
        write(cut.map_err(|error| error.to_string())?.patch, folder)
    };
    job.question.patches.iter().map(keep).collect()
}

/// Writes the pixels beside their place and renames them, so that no half of a picture is ever there; what is there already stays.
fn write(patch: Patch, folder: &Path) -> Result<String, String> {
    let pixels = patch.hash();
    let path = patch_file(folder, &pixels);
    if path.exists() {
        return Ok(pixels);
    }
    let failed = |reason: String| format!("The patch could not be kept, {reason}: {}", path.display());
    std::fs::create_dir_all(folder).map_err(|error| failed(error.to_string()))?;
    let image = RgbImage::from_raw(patch.width, patch.height, patch.rgb)
        .ok_or_else(|| failed("it has too few pixels".to_owned()))?;
    // Two windows may keep the same patch at once.
    let part = folder.join(format!("{pixels}.{}.part", std::process::id()));
    let written = image
        .save_with_format(&part, ImageFormat::Png)
        .map_err(|error| error.to_string())
        .and_then(|()| std::fs::rename(&part, &path).map_err(|error| error.to_string()));
    if let Err(reason) = written {
        std::fs::remove_file(&part).ok();
        return Err(failed(reason));
    }
    Ok(pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(value: u8) -> Patch {
        Patch::new(2, 1, Some(0.5), vec![value, 2, 3, 4, 5, 6]).unwrap()
    }

    #[test]
    fn pixels_are_kept_once_under_their_hash() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("patches");
        let name = write(patch(1), &folder).unwrap();
        assert_eq!(name, patch(1).hash());
        let path = patch_file(&folder, &name);
        assert_eq!(image::open(&path).unwrap().into_rgb8().as_raw(), &[1, 2, 3, 4, 5, 6]);
        let written = std::fs::metadata(&path).unwrap().modified().unwrap();
        assert_eq!(write(patch(1), &folder), Ok(name.clone()));
        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), written);
        assert_ne!(write(patch(9), &folder), Ok(name));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2, "nothing is left beside them");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a file");
        std::fs::write(&file, "").unwrap();
        let error = write(patch(1), &file.join("below")).unwrap_err();
        assert!(error.starts_with("The patch could not be kept, ") && error.contains("below"), "{error}");
    }
}
