//! Checkpoints of a run: everything that a stopped or killed run needs to go on to the same numbers.
//!
//! A checkpoint is a folder `checkpoints/<stage>-<step>`:
//! - `adapters/adapter_model.safetensors` and `adapters/adapter_config.json`, in PEFT's layout;
//! - `projector.safetensors`, with LLaVA's names;
//! - `optimiser.safetensors`, both moments of what learns;
//! - `state.json`, where the run stands, and the hashes of the other files.
//!
//! All tensors are in f32, as they are in memory: a run goes on to the same numbers.
//!
//! No random generator is kept, since every draw follows from the seed and the step ([`crate::seed`]).
//!
//! It is written beside its place, brought to the disk and renamed, so that a kill or a loss of power at any moment
//! leaves it whole or not there; one that is not whole (`.part`) is removed. The file of events is brought to the disk
//! first, so that it holds what the checkpoint says it does.

mod files;
mod keep;
mod state;

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use candle_core::{Tensor, Var};

pub use self::state::{Best, FileRecord, State, Streaks};
use crate::config::{CheckpointRule, LoraSettings};
use crate::error::{Error, Result};
use crate::optimiser::Moments;
use crate::package_writer::{ADAPTER_NAMES, adapter_config};
use crate::run_folder::write_whole;

/// The version of `state.json` that this program writes, and the latest that it reads.
pub const FORMAT: u32 = 1;

const STATE: &str = "state.json";
const ADAPTERS: &str = "adapters/adapter_model.safetensors";
const ADAPTER_CONFIG: &str = "adapters/adapter_config.json";
const PROJECTOR: &str = "projector.safetensors";
const OPTIMISER: &str = "optimiser.safetensors";
/// At the end of the name of a folder that is being written or removed.
const PART: &str = ".part";

/// What is written.
#[derive(Debug)]
pub struct Snapshot<'a> {
    /// Projector and adapters, by name.
    pub vars: &'a [(String, Var)],
    pub lora: &'a LoraSettings,
    /// Names of the variables that learn, and what the optimiser remembers of each.
    pub learning: &'a [String],
    pub moments: &'a [Moments],
}

/// What was read.
#[derive(Debug)]
pub struct Loaded {
    pub state: State,
    /// Projector and adapters in f32, by name.
    pub values: HashMap<String, Tensor>,
    /// What the optimiser remembers of the variables that learn, by their names.
    pub moments: BTreeMap<String, Moments>,
    /// Where it was read from.
    pub path: PathBuf,
}

/// Names of checkpoints whose state cannot be read, and why.
type Damaged = Vec<(String, Error)>;

/// The checkpoints of a run.
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
}

impl Checkpoints {
    /// Those in a folder, which is made; what is not whole in it is removed.
    pub fn open(folder: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        let checkpoints = Self { folder };
        for name in checkpoints.names()?.into_iter().filter(|name| name.ends_with(PART)) {
            remove(&checkpoints.folder.join(name))?;
        }
        Ok(checkpoints)
    }

    /// The same for whoever only reads, while the run may be at work: nothing is made and nothing is removed.
    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The folder of a checkpoint.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Where each checkpoint of the run stands, the oldest first. Damaged ones are passed over.
    pub fn states(&self) -> Result<Vec<State>> {
        Ok(self.read_states()?.0)
    }

    /// The same, with the names of those whose state cannot be read and why.
    fn read_states(&self) -> Result<(Vec<State>, Damaged)> {
        let (mut states, mut damaged) = (Vec::new(), Vec::new());
        for name in self.names()?.into_iter().filter(|name| !name.ends_with(PART)) {
            match State::read(&self.folder.join(&name).join(STATE)) {
                Ok(state) if state.name() == name => states.push(state),
                Ok(_) => tracing::warn!("the folder {name} is no checkpoint of this run"),
                // Not damaged, and not this program's to judge.
                Err(error @ Error::CheckpointFormat { .. }) => return Err(error),
                Err(error) => damaged.push((name, error)),
            }
        }
        states.sort_by_key(|state| state.sequence);
        Ok((states, damaged))
    }

    /// The latest checkpoint that is whole, and a sentence for each later one that is not. Those are removed: the run
    /// will write them again.
    ///
    /// # Errors
    /// [`Error::CheckpointFormat`] when one was written by a later program.
    pub fn latest(&self) -> Result<(Option<Loaded>, Vec<String>)> {
        let (states, unreadable) = self.read_states()?;
        let mut damaged = Vec::new();
        for (name, error) in unreadable {
            damaged.push(error.to_string());
            self.discard(&name)?;
        }
        for state in states.iter().rev() {
            match self.load(&state.name()) {
                Ok(loaded) => return Ok((Some(loaded), damaged)),
                Err(error @ Error::Checkpoint { .. }) => {
                    damaged.push(error.to_string());
                    self.discard(&state.name())?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok((None, damaged))
    }

    /// Reads a checkpoint after a look at its hashes.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is damaged.
    pub fn load(&self, name: &str) -> Result<Loaded> {
        let path = self.folder.join(name);
        let state = State::read(&path.join(STATE))?;
        state.check_files(&path)?;
        let mut values = files::read(&path.join(ADAPTERS))?;
        values.extend(files::read(&path.join(PROJECTOR))?);
        let moments = files::read_moments(&path.join(OPTIMISER))?;
        Ok(Loaded { state, values, moments, path })
    }

    /// Writes a checkpoint; `state` gets its number and its hashes. Half of one that could not be written is removed.
    pub fn write(&self, state: &mut State, snapshot: &Snapshot<'_>) -> Result<()> {
        let written = self.write_watched(state, snapshot, &mut |_| Ok(()));
        if written.is_err() {
            // What fails here is removed when the run goes on.
            remove(&self.folder.join(state.name() + PART)).ok();
        }
        written
    }

    /// The same; `after` is told of each thing that is done.
    fn write_watched(
        &self,
        state: &mut State,
        snapshot: &Snapshot<'_>,
        after: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<()> {
        let part = self.folder.join(state.name() + PART);
        remove(&part)?;
        let adapters = part.join("adapters");
        std::fs::create_dir_all(&adapters).map_err(Error::io(&adapters))?;
        after("folder")?;
        let is_adapter = |name: &str| name.starts_with(ADAPTER_NAMES);
        files::write(&part.join(ADAPTERS), snapshot.vars, is_adapter)?;
        after(ADAPTERS)?;
        write_whole(&part.join(ADAPTER_CONFIG), adapter_config(snapshot.lora).as_bytes())?;
        after(ADAPTER_CONFIG)?;
        files::write(&part.join(PROJECTOR), snapshot.vars, |name| !is_adapter(name))?;
        after(PROJECTOR)?;
        files::write_moments(&part.join(OPTIMISER), snapshot.learning, snapshot.moments)?;
        after(OPTIMISER)?;
        let mut next = state.clone();
        next.sequence += 1;
        for name in [ADAPTERS, ADAPTER_CONFIG, PROJECTOR, OPTIMISER] {
            next.files.insert(name.to_owned(), FileRecord::of(&part.join(name))?);
        }
        next.write(&part.join(STATE))?;
        after(STATE)?;
        sync_folder(&adapters)?;
        sync_folder(&part)?;
        let whole = self.folder.join(state.name());
        // Only one that was damaged can have this name.
        remove(&whole)?;
        after("place")?;
        std::fs::rename(&part, &whole).map_err(Error::io(&whole))?;
        sync_folder(&self.folder)?;
        *state = next;
        after("name")
    }

    /// Removes the checkpoints that the rule keeps no longer. `state` is the latest; the one that its stage was entered
    /// from is always kept, since a reference policy is made of it.
    pub fn keep(&self, rule: &CheckpointRule, state: &State) -> Result<()> {
        let names: Vec<String> = self.states()?.iter().map(State::name).collect();
        let best = state.best.as_ref().map(|best| best.checkpoint.as_str());
        for name in keep::given_up(&names, rule, best, state.entry.as_deref()) {
            self.discard(name)?;
        }
        Ok(())
    }

    /// Removes a checkpoint such that no half of it is ever taken for one.
    fn discard(&self, name: &str) -> Result<()> {
        let (whole, part) = (self.folder.join(name), self.folder.join(format!("{name}{PART}")));
        remove(&part)?;
        std::fs::rename(&whole, &part).map_err(Error::io(&whole))?;
        remove(&part)
    }

    /// The names of all folders, in order.
    fn names(&self) -> Result<Vec<String>> {
        let failed = || Error::io(&self.folder);
        let mut names = Vec::new();
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(names),
            entries => entries.map_err(failed())?,
        };
        for entry in entries {
            let entry = entry.map_err(failed())?;
            names.extend(entry.file_name().into_string().ok().filter(|_| entry.path().is_dir()));
        }
        names.sort();
        Ok(names)
    }
}

impl Loaded {
    /// Gives the variables the values that they had.
    ///
    /// # Errors
    /// When a variable is not in the checkpoint, or has another shape: the configuration is another.
    pub fn restore(&self, vars: &[(String, Var)]) -> Result<()> {
        for (name, var) in vars {
            let wrong = |reason: String| Error::Checkpoint { reason, path: self.path.clone() };
            let value = self.values.get(name).ok_or_else(|| wrong(format!("it has no tensor {name}")))?;
            if value.dims() != var.dims() {
                let (found, wanted) = (value.dims(), var.dims());
                return Err(wrong(format!(
                    "its tensor {name} has the shape {found:?} instead of {wanted:?}"
                )));
            }
            var.set(&value.to_device(var.device())?)?;
        }
        Ok(())
    }
}

/// Removes a folder with all that is in it, if it is there.
fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(folder)(error)),
        _ => Ok(()),
    }
}

/// Brings the names of a folder's files to the disk, where the system has that.
fn sync_folder(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io(folder))?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

#[cfg(test)]
mod tests;
