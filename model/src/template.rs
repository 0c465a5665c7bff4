//! Chat templates as models bring them: Jinja, rendered without Python (minijinja), on a budget, as they come from anybody.
//!
//! What people say is not put into the template, but a mark for it: so their words are known from the template's own when
//! both become tokens, and an `<|im_end|>` that somebody types ends no turn. Templates are rendered as transformers does
//! (`trim_blocks`, `lstrip_blocks`, loop controls, `raise_exception`).

use std::path::Path;

use crate::package::Package;
use crate::prompt::Error;

/// A template that was read and compiles.
#[derive(Clone, Debug)]
pub struct Template {
    /// Its text.
    source: String,
}

/// A turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    pub role: Role,
    /// Images, which come before the words.
    pub images: usize,
    pub words: String,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
}

/// A piece of a rendered conversation, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Of the template: names of special tokens in it are tokens.
    Frame(String),
    /// What somebody said: words, whatever they look like.
    Words(String),
}

impl Template {
    /// Reads the file of a package that its manifest names.
    pub fn of_package(package: &Package) -> Result<Self, Error> {
        let _ = package;
        todo!("share C")
    }

    /// Checks a template's text; `path` is for messages.
    pub fn new(source: String, path: &Path) -> Result<Self, Error> {
        let _ = (source, path);
        todo!("share C")
    }

    /// Its text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The conversation up to where the next answer begins.
    pub fn render(&self, turns: &[Turn]) -> Result<Vec<Piece>, Error> {
        let _ = turns;
        todo!("share C")
    }
}
