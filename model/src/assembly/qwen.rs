//! A package of a Qwen2.5-VL: a folder as it is downloaded from the Hugging Face Hub, or a GGUF with its vision file.

use std::path::Path;

use super::{Error, Source};
use crate::package::{Generation, Instructions, LanguageSpec, Terms, VisionSpec};

/// A model that was found.
pub(super) struct Qwen {
    pub(super) files: Vec<Source>,
    pub(super) language: LanguageSpec,
    pub(super) vision: VisionSpec,
    pub(super) generation: Generation,
    pub(super) instructions: Instructions,
    pub(super) terms: Option<Terms>,
    /// The chat template, which is written into the package as a file of its own.
    pub(super) template: String,
}

/// Whether the language model at `path` is a Qwen2.5-VL's, by its `config.json` or its GGUF metadata.
pub(super) fn is_here(path: &Path) -> bool {
    let _ = path;
    todo!("share C")
}

impl Qwen {
    /// Finds the model at `path`, its vision file at `vision` where it has one that is not beside it, with another
    /// `tokenizer` than its own where one is named.
    pub(super) fn find(path: &Path, vision: Option<&Path>, tokenizer: Option<&Path>) -> Result<Self, Error> {
        let _ = (path, vision, tokenizer);
        todo!("share C")
    }
}
