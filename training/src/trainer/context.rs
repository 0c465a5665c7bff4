//! What every stage of a run works with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reinpath_model::package::Package;
use reinpath_model::reinpath::ReinPath;

use crate::checkpoint::State;
use crate::config::{OnTrouble, RunConfig};
use crate::dataset::SourceRow;
use crate::error::{Error, Result};
use crate::event::{EventSink, RunEvent};
use crate::features_cache::{Features, Prepared, prepare};
use crate::run_folder::{RunFolder, StopSignal};
use crate::seed;

/// How often it is told how far something is.
const BETWEEN_PROGRESS: Duration = Duration::from_secs(2);
/// Images that cannot be read and are each named.
const FAULTS: usize = 10;

/// A run's events, from whichever part of it they come.
#[derive(Debug)]
pub struct Events {
    sink: Mutex<EventSink>,
    /// How often each warning came.
    warnings: Mutex<BTreeMap<String, usize>>,
}

impl Events {
    pub fn new(sink: EventSink, warnings: BTreeMap<String, usize>) -> Self {
        Self { sink: Mutex::new(sink), warnings: Mutex::new(warnings) }
    }

    pub fn send(&self, event: &RunEvent) -> Result<()> {
        locked(&self.sink).send(event)
    }

    /// Tells a warning, a plain sentence, with how often it came.
    pub fn warn(&self, warning: &str) -> Result<()> {
        let count = {
            let mut warnings = locked(&self.warnings);
            let count = warnings.entry(warning.to_owned()).or_default();
            *count += 1;
            *count
        };
        tracing::warn!("{warning}");
        self.send(&RunEvent::Warning { warning: warning.to_owned(), count })
    }
}

/// A run with everything that is loaded for it. Its stages borrow it.
#[derive(Debug)]
pub struct Context {
    /// With absolute paths.
    pub config: RunConfig,
    pub folder: RunFolder,
    /// The package that the run starts from, and its model: encoders, frozen language model, tokenizer.
    pub package: Package,
    pub model: ReinPath,
    /// Folder for what is computed once for many runs, such as the features of images.
    pub cache: PathBuf,
    pub events: Arc<Events>,
    pub stop: StopSignal,
}

impl Context {
    /// The seed of one use of random numbers in this run.
    pub fn seed(&self, words: &[&str], number: u64) -> u64 {
        seed::of(self.config.seed, words, number)
    }

    pub fn send(&self, event: &RunEvent) -> Result<()> {
        self.events.send(event)
    }

    /// Tells a warning, a plain sentence, with how often it came.
    pub fn warn(&self, warning: &str) -> Result<()> {
        self.events.warn(warning)
    }

    /// The wish to stop, for what takes long.
    pub fn watch(&self) -> Watch<'_> {
        Watch { stop: &self.stop }
    }

    /// Features of image files, by their numbers here: from the cache, or computed now and put there. Where the run's
    /// rule lets it go on, an image that cannot be read has none ([`Features::has`]), and its rows have to be left out. The
    /// first of `rows` with such an image is named.
    pub fn features(&self, images: &[PathBuf], rows: &[SourceRow]) -> Result<Features> {
        let (total, mut told) = (images.len(), Instant::now());
        let mut watch = |done: usize, computed: usize| -> Result<()> {
            self.watch().check()?;
            if computed > 0 && told.elapsed() >= BETWEEN_PROGRESS {
                told = Instant::now();
                let what = "features".to_owned();
                self.send(&RunEvent::Progress { what, done, total })?;
            }
            Ok(())
        };
        let Prepared { features, damaged, faults, .. } =
            prepare(&self.model, images, &self.cache, &mut watch)?;
        if damaged > 0 {
            self.warn(&format!(
                "The cached features of {damaged} images were damaged and are computed again."
            ))?;
        }
        let more = faults.len().saturating_sub(FAULTS);
        for (number, fault) in faults.into_iter().take(FAULTS) {
            let fault = of_row(fault, rows, &images[number]);
            if self.config.trouble.image == OnTrouble::Stop {
                return Err(fault);
            }
            self.warn(&format!("The rows with an image are left out, as it cannot be read: {fault}"))?;
        }
        if more > 0 {
            self.warn(&format!("The rows with {more} more images are left out, as these cannot be read."))?;
        }
        Ok(features)
    }

    /// How often each warning came so far.
    pub(super) fn warnings(&self) -> BTreeMap<String, usize> {
        locked(&self.events.warnings).clone()
    }

    /// Brings the events to the disk; returns how many bytes they are.
    pub(super) fn sync_events(&self) -> Result<u64> {
        locked(&self.events.sink).sync()
    }

    /// Tells of a checkpoint.
    pub(crate) fn send_checkpoint(&self, state: &State) -> Result<()> {
        let path = self.folder.checkpoints().join(state.name());
        let path = path.strip_prefix(self.folder.path()).unwrap_or(&path).to_owned();
        self.send(&RunEvent::Checkpoint { stage: state.stage.clone(), step: state.step, path })
    }
}

/// The wish that a run stop, as seen from within a step.
#[derive(Clone, Debug)]
pub struct Watch<'a> {
    stop: &'a StopSignal,
}

impl Watch<'_> {
    /// Looks for a file, so that it is asked between parts of a step and not in inner loops.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_asked()
    }

    /// # Errors
    /// [`Error::Stopped`] when the run is asked to stop.
    pub fn check(&self) -> Result<()> {
        if self.is_stopped() { Err(Error::Stopped) } else { Ok(()) }
    }
}

/// What is wrong with an image, with the first row that has it.
fn of_row(fault: Error, rows: &[SourceRow], image: &PathBuf) -> Error {
    match rows.iter().find(|row| row.images.contains(image)) {
        Some(SourceRow { row, line, .. }) => {
            Error::Image { row: row.id.clone(), line: *line, source: Box::new(fault) }
        }
        None => fault,
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
