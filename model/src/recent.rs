//! What was computed for the patches of the last question, kept for the next one about the same patches: what was seen,
//! and the keys and values of the prompt up to them.
//!
//! An answer is the same to the last bit whether these were kept or not: the beginning of a prompt is always read on
//! its own.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::generate::Prefix;
use crate::images::{Seen, Spliced};
use crate::llama::Llama;
use crate::patch::Patch;
use crate::reinpath::Error;

/// The last question's patches and prompt.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    seen: Mutex<Option<(Looked, Seen)>>,
    prefix: Mutex<Option<Arc<Prefix>>>,
}

/// What was looked at.
#[derive(Debug, PartialEq, Eq)]
struct Looked {
    /// Of each patch.
    hashes: Vec<String>,
    /// Most pixels of each patch that were asked for.
    asked: Option<u64>,
}

impl Recent {
    /// What is seen of these patches in at most so many pixels each, computed if that was not seen for the last question.
    pub(crate) fn seen(
        &self,
        patches: &[Patch],
        asked: Option<u64>,
        compute: impl FnOnce() -> Result<Seen, Error>,
    ) -> Result<Seen, Error> {
        let looked = Looked { hashes: patches.iter().map(Patch::hash).collect(), asked };
        let mut kept = locked(&self.seen);
        if let Some((_, seen)) = kept.as_ref().filter(|(of, _)| *of == looked) {
            return Ok(seen.clone());
        }
        let seen = compute()?;
        *kept = Some((looked, seen.clone()));
        Ok(seen)
    }

    /// The beginning of a prompt, read if it is not that of the last question.
    pub(crate) fn prefix(
        &self,
        llama: &Llama,
        beginning: &Spliced,
        cancel: &AtomicBool,
    ) -> Result<Arc<Prefix>, Error> {
        let mut kept = locked(&self.prefix);
        if let Some(prefix) = kept.as_ref()
            && prefix.is_of(beginning)?
        {
            return Ok(Arc::clone(prefix));
        }
        // Room for the new one first.
        *kept = None;
        let prefix = Arc::new(Prefix::read(llama, beginning, cancel)?);
        *kept = Some(Arc::clone(&prefix));
        Ok(prefix)
    }

    /// Tokens of the beginning that is kept.
    pub(crate) fn kept_tokens(&self) -> usize {
        locked(&self.prefix).as_ref().map_or(0, |prefix| prefix.len())
    }

    /// Forgets what the language model computed, since it is another one now.
    pub(crate) fn forget_prefix(&self) {
        *locked(&self.prefix) = None;
    }
}

/// What a panic left behind is whole: it is replaced in one step.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
