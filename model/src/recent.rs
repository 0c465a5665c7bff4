//! What was computed for the patches of the last question, kept for the next one about the same patches: their features,
//! and the keys and values of the prompt up to them.
//!
//! An answer is the same to the last bit whether these were kept or not: the beginning of a prompt is always read on
//! its own.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::Tensor;

use crate::generate::Prefix;
use crate::llama::Llama;
use crate::patch::Patch;
use crate::reinpath::Error;

/// The last question's patches and prompt.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    features: Mutex<Option<(Vec<String>, Tensor)>>,
    prefix: Mutex<Option<Arc<Prefix>>>,
}

impl Recent {
    /// The features of these patches, (patches, image_tokens, fused), computed if they are not those of the last question.
    pub(crate) fn features(
        &self,
        patches: &[Patch],
        compute: impl FnOnce() -> Result<Tensor, Error>,
    ) -> Result<Tensor, Error> {
        let hashes: Vec<String> = patches.iter().map(Patch::hash).collect();
        let mut kept = locked(&self.features);
        if let Some((_, features)) = kept.as_ref().filter(|(of, _)| *of == hashes) {
            return Ok(features.clone());
        }
        let features = compute()?;
        *kept = Some((hashes, features.clone()));
        Ok(features)
    }

    /// The beginning of a prompt, read if it is not that of the last question.
    pub(crate) fn prefix(
        &self,
        llama: &Llama,
        embeddings: &Tensor,
        cancel: &AtomicBool,
    ) -> Result<Arc<Prefix>, Error> {
        let mut kept = locked(&self.prefix);
        if let Some(prefix) = kept.as_ref()
            && prefix.is_of(embeddings)?
        {
            return Ok(Arc::clone(prefix));
        }
        // Room for the new one first.
        *kept = None;
        let prefix = Arc::new(Prefix::read(llama, embeddings, cancel)?);
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
