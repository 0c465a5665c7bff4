//! Whether a model, and what a question needs beside it, fit into what a device has free; where they do not, a sentence
//! that says what would.
//!
//! It is said before anything is allocated: on the CPU nothing else stops in time, as the system grants memory that it
//! does not have and ends the process that uses it. What is computed on the way is not reckoned with, so that an
//! allocation on a GPU can fail all the same; that becomes the same sentence.

use std::fmt;
use std::path::PathBuf;

use candle_core::Device;

use crate::device::{self, Precision};
use crate::language;
use crate::llama::LlamaConfig;
use crate::package::Package;
use crate::reinpath::{self, Error, ReinPath};
use crate::weights::quantise::Recipe;

/// Who is asked how many bytes a device has free; `None` where nobody knows, and then nothing is refused.
pub(crate) type Free = fn(&Device) -> Option<u64>;

/// Memory that something needs and a device does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// What needs it, as a sentence begins.
    what: String,
    needed: u64,
    /// `None` where the system does not say.
    free: Option<u64>,
    /// Where, in words.
    place: String,
    /// Whether it was reckoned to fit, but an allocation failed.
    is_failure: bool,
    /// What would fit; empty where that is not known.
    advice: String,
    /// Of the package that was to be loaded.
    path: Option<PathBuf>,
}

impl std::error::Error for Shortage {}

impl From<Shortage> for Error {
    fn from(shortage: Shortage) -> Self {
        Self::Room(Box::new(shortage))
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, place, .. } = self;
        let needed = in_words(self.needed);
        let free = self.free.map(in_words);
        match (self.is_failure, free) {
            (false, Some(free)) => write!(f, "{what} needs {needed}, but {place} has {free} free")?,
            (false, None) => write!(f, "{what} needs {needed}, more than {place} has free")?,
            (true, Some(free)) => write!(
                f,
                "{place} ran out: {what} needs {needed} and what is computed on the way, and {free} are free now"
            )?,
            (true, None) => {
                write!(f, "{place} ran out: {what} needs {needed} and what is computed on the way")?;
            }
        }
        if !self.advice.is_empty() {
            write!(f, "; {}", self.advice)?;
        }
        self.path.as_ref().map_or(Ok(()), |path| write!(f, ": {}", path.display()))
    }
}

/// `12.3 MB` or `16.1 GB`.
fn in_words(bytes: u64) -> String {
    if bytes < 1_000_000_000 {
        format!("{:.1} MB", bytes as f64 / 1e6)
    } else {
        format!("{:.1} GB", bytes as f64 / 1e9)
    }
}

/// Whether an error of candle's says that a device's memory ran out.
pub(crate) fn is_shortage(error: &candle_core::Error) -> bool {
    // Neither NVIDIA's codes nor Metal's are more than text by now.
    const SIGNS: [&str; 3] =
        ["CUDA_ERROR_OUT_OF_MEMORY", "_STATUS_ALLOC_FAILED", "create metal resource: Buffer"];
    let sentence = reinpath::sentence(error);
    SIGNS.iter().any(|sign| sentence.contains(sign))
}

/// Bytes that a package's model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Taken {
    weights: u64,
    /// Of the language model alone.
    language: u64,
}

impl Taken {
    /// `None` where that cannot be reckoned: the files are at fault, which loading them says better.
    fn by(package: &Package, precision: Precision) -> Option<Self> {
        let value = precision.dtype().size_in_bytes() as u64;
        let weights = package.memory_in(value).ok()?.weights;
        let language = package.language_memory(value).ok()?;
        // A value takes two bytes of its file at least: what a header claims beyond that is told by its tensor's name.
        let files =
            package.files().filter_map(|name| Some(std::fs::metadata(package.file(&name)).ok()?.len()));
        let most = files.fold(0, u64::saturating_add).saturating_mul(2);
        Some(Self { weights: weights.min(most), language: language.min(most) })
    }

    /// How the same model, which is stored in this precision, would fit into so many bytes.
    fn advice(self, stored: &str, config: &LlamaConfig, free: u64) -> String {
        let others = self.weights.saturating_sub(self.language);
        let quantised = |recipe: &Recipe| (recipe.name(), recipe.bytes(config).saturating_add(others));
        let is_smaller = |(name, bytes): &(&str, u64)| *name != stored && *bytes < self.weights;
        let smaller: Vec<(&str, u64)> = Recipe::ALL.iter().map(quantised).filter(is_smaller).collect();
        // The recipes are in the order of their sizes.
        match (smaller.iter().find(|(_, bytes)| *bytes <= free), smaller.last()) {
            (Some((name, bytes)), _) => {
                format!("quantised to {name} it takes {}, which fits", in_words(*bytes))
            }
            (None, Some((name, bytes))) => {
                format!("even quantised to {name} it takes {}: use a smaller model", in_words(*bytes))
            }
            (None, None) => "use a smaller model".to_owned(),
        }
    }
}

/// Refuses a package whose model takes more than the device has free.
pub(crate) fn check_package(
    package: &Package,
    config: &LlamaConfig,
    precision: Precision,
    device: &Device,
    free: Free,
) -> Result<(), Error> {
    match (Taken::by(package, precision), free(device)) {
        (Some(taken), Some(free)) if taken.weights > free => {
            let advice = taken.advice(&package.manifest.language.precision, config, free);
            Err(of_package(package, taken, Some(free), advice, device).into())
        }
        _ => Ok(()),
    }
}

/// What ended the loading of a package, where that was the device's memory: the same sentence.
pub(crate) fn told_of_package(
    error: Error,
    package: &Package,
    precision: Precision,
    device: &Device,
    free: Free,
) -> Error {
    if !error.is_shortage() {
        return error;
    }
    let (Ok(config), Some(taken)) = (language::config(package), Taken::by(package, precision)) else {
        return error;
    };
    let free = free(device);
    let stored = &package.manifest.language.precision;
    let advice = free.map(|free| taken.advice(stored, &config, free)).unwrap_or_default();
    Shortage { is_failure: true, ..of_package(package, taken, free, advice, device) }.into()
}

fn of_package(
    package: &Package,
    taken: Taken,
    free: Option<u64>,
    advice: String,
    device: &Device,
) -> Shortage {
    Shortage {
        what: format!("the model {}", package.manifest.name),
        needed: taken.weights,
        free,
        place: device::memory_name(device),
        is_failure: false,
        advice,
        path: Some(package.folder.clone()),
    }
}

/// What questions need beside the weights: keys and values of what is read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Answers that are written side by side.
    pub(crate) answers: usize,
    /// Tokens that each of them begins with.
    pub(crate) prompt: usize,
    /// Tokens that each of them may go on with.
    pub(crate) written: usize,
    /// Tokens that are kept for the next question, and are not there yet.
    pub(crate) kept: usize,
}

impl Demand {
    /// Of one answer.
    pub(crate) fn of_one(prompt: usize, written: usize) -> Self {
        Self { answers: 1, prompt, written, kept: 0 }
    }

    fn tokens(&self) -> u64 {
        let each = (self.prompt as u64).saturating_add(self.written as u64);
        each.saturating_mul(self.answers as u64).saturating_add(self.kept as u64)
    }

    /// What a question that needs `a_token` bytes for each token has to be like to fit into `free` bytes.
    fn advice(&self, a_token: u64, free: u64) -> String {
        let tokens = free.checked_div(a_token).unwrap_or(0).saturating_sub(self.kept as u64);
        let written = tokens.checked_div(self.answers as u64).unwrap_or(0).saturating_sub(self.prompt as u64);
        let answers = tokens.checked_div(self.prompt as u64 + self.written as u64).unwrap_or(0);
        let shorter = (written > 0 && written < self.written as u64)
            .then(|| format!("answers of at most {written} tokens fit"));
        let fewer = (answers > 0 && answers < self.answers as u64).then(|| match answers {
            1 => "one at a time fits".to_owned(),
            _ => format!("{answers} at once fit"),
        });
        match (shorter, fewer) {
            (Some(shorter), Some(fewer)) => format!("{shorter}, or {fewer}"),
            (Some(fitting), None) | (None, Some(fitting)) => fitting,
            (None, None) => "ask about fewer patches, or use a smaller model".to_owned(),
        }
    }

    fn in_words(&self) -> String {
        let Self { answers, prompt, written, .. } = self;
        match (answers, written) {
            (_, 0) => format!("reading {prompt} tokens"),
            (1, _) => format!("a question of {prompt} tokens with an answer of at most {written}"),
            _ => {
                format!("writing {answers} answers of at most {written} tokens to prompts of {prompt} tokens")
            }
        }
    }
}

impl ReinPath {
    /// Does what has this demand, unless it does not fit into what the device has free. An allocation that fails is told
    /// in the same way.
    pub(crate) fn with_room<T>(
        &self,
        demand: Demand,
        run: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let needed = demand.tokens().saturating_mul(self.token_bytes());
        let free = (self.free)(self.device());
        if free.is_some_and(|free| needed > free) {
            return Err(self.shortage(demand, needed, free, false).into());
        }
        run().map_err(|error| {
            if error.is_shortage() {
                self.shortage(demand, needed, (self.free)(self.device()), true).into()
            } else {
                error
            }
        })
    }

    fn shortage(&self, demand: Demand, needed: u64, free: Option<u64>, is_failure: bool) -> Shortage {
        // What failed although it was reckoned to fit: how much less would do is not known.
        let advice = match free.filter(|&free| needed > free) {
            Some(free) => demand.advice(self.token_bytes(), free),
            None => "ask for shorter answers, fewer at once, or about fewer patches".to_owned(),
        };
        Shortage {
            what: demand.in_words(),
            needed,
            free,
            place: device::memory_name(self.device()),
            is_failure,
            advice,
            path: None,
        }
    }

    /// Bytes of the keys and values of a token.
    fn token_bytes(&self) -> u64 {
        let config = &self.llama.config;
        let values = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim;
        (values * self.llama.dtype().size_in_bytes()) as u64
    }
}

#[cfg(test)]
mod tests;
