//! Chat templates as models bring them: Jinja, rendered without Python (minijinja), on a budget, as they come from anybody.
//!
//! What people say is not put into the template, but a mark for it: so their words are known from the template's own when
//! both become tokens, and an `<|im_end|>` that somebody types ends no turn. Templates are rendered as transformers does
//! (`trim_blocks`, `lstrip_blocks`, loop controls, `raise_exception`); the methods of Python's texts are not there.
//!
//! The budget is of steps, of what is written and of what is said where it fails; [`Template::render`] tells what it cannot
//! bound.

use std::path::{Path, PathBuf};

use minijinja::{Environment, ErrorKind};
use serde_json::{Value, json};

use crate::package::{MANIFEST, Package};
use crate::prompt::Error;

/// Around the number of what somebody says, in its place: characters for private use, which no template writes.
const OPEN: char = '\u{e000}';
const CLOSE: char = '\u{e001}';

/// Instructions that a template may take; a conversation of many turns takes some thousands.
const FUEL: u64 = 100_000;
/// Bytes that a template may have, and that it may write.
const LONGEST: usize = 1 << 20;
/// Characters of what a template itself says where it fails.
const LONGEST_REASON: usize = 300;

/// A template that was read and compiles.
#[derive(Clone, Debug)]
pub struct Template {
    /// Its text.
    source: String,
    /// For messages.
    path: PathBuf,
}

/// A turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    pub role: Role,
    /// Images, which come before the words.
    pub images: usize,
    pub words: String,
}

impl Turn {
    /// As templates expect it, its words being a mark with this number.
    fn message(&self, number: usize) -> Value {
        let mark = format!("{OPEN}{number}{CLOSE}");
        if self.images == 0 {
            return json!({ "role": self.role.name(), "content": mark });
        }
        let mut content = vec![json!({ "type": "image" }); self.images];
        content.push(json!({ "type": "text", "text": mark }));
        json!({ "role": self.role.name(), "content": content })
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
}

impl Role {
    /// The name that templates know.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
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
        match &package.manifest.language.template {
            Some(name) => Self::read(&package.file(name)),
            None => Err(Error::Template {
                reason: "the manifest names none".to_owned(),
                path: package.file(MANIFEST),
            }),
        }
    }

    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let unreadable = |e: std::io::Error| refused(path, &format!("cannot be read, {e}"));
        if std::fs::metadata(path).map_err(unreadable)?.len() > LONGEST as u64 {
            return Err(too_long(path));
        }
        Self::new(std::fs::read_to_string(path).map_err(unreadable)?, path)
    }

    /// Checks a template's text: that it compiles, and asks a question about an image; `path` is for messages. It takes as
    /// much as [`Template::render`].
    pub fn new(source: String, path: &Path) -> Result<Self, Error> {
        if source.len() > LONGEST {
            return Err(too_long(path));
        }
        if source.contains([OPEN, CLOSE]) {
            return Err(refused(path, "holds characters that are needed for the words of a conversation"));
        }
        let template = Self { source, path: path.to_owned() };
        template.render(&[Turn { role: Role::User, images: 1, words: String::new() }])?;
        Ok(template)
    }

    /// Its text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The conversation up to where the next answer begins.
    ///
    /// Instructions and what is written are counted, and too many are an error. What a template holds on its way is not
    /// bounded: minijinja (2.24) shows nobody what `~`, `+`, a filter or a `set` block makes, so that a text that is joined
    /// to itself doubles every few instructions, and it computes constants before it counts. A budget of instructions that
    /// is enough for a conversation is enough for that, too, and a template's text does not tell how long its values become.
    /// One that needs more memory than there is ends its process, the worker's, and is not an error here.
    pub fn render(&self, turns: &[Turn]) -> Result<Vec<Piece>, Error> {
        let text = self.text(turns).map_err(|error| self.failed(&error))?;
        pieces(&text, turns).ok_or_else(|| {
            refused(&self.path, "does not give back what is said, each turn once and in order")
        })
    }

    /// The same with marks for what is said.
    fn text(&self, turns: &[Turn]) -> Result<String, minijinja::Error> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        environment.add_function("raise_exception", |reason: String| -> Result<String, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, reason))
        });
        let messages: Vec<Value> =
            turns.iter().enumerate().map(|(number, turn)| turn.message(number)).collect();
        // What transformers passes for what is not there.
        let context = json!({
            "messages": messages, "add_generation_prompt": true, "tools": null, "documents": null
        });
        let template = environment.template_from_str(&self.source)?;
        let mut text = vec![0; LONGEST];
        let mut rest = text.as_mut_slice();
        template.render_captured_to(context, &mut rest).map(drop)?;
        let written = LONGEST - rest.len();
        text.truncate(written);
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// What ended the rendering.
    fn failed(&self, error: &minijinja::Error) -> Error {
        let reason = match error.kind() {
            ErrorKind::OutOfFuel => "does not come to an end".to_owned(),
            ErrorKind::WriteFailure => format!("writes more than {LONGEST} bytes"),
            _ => format!("fails, {}", first_words(&error.to_string())),
        };
        refused(&self.path, &reason)
    }
}

/// A template that cannot be used, because of what it does or has.
fn refused(path: &Path, does: &str) -> Error {
    Error::Template { reason: format!("it {does}"), path: path.to_owned() }
}

fn too_long(path: &Path) -> Error {
    refused(path, &format!("has more than {LONGEST} bytes"))
}

/// The beginning of a template's own words, which may have several lines and any length.
fn first_words(said: &str) -> String {
    let line = said.lines().next().unwrap_or_default();
    match line.char_indices().nth(LONGEST_REASON) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// A rendered text cut at its marks; `None` where they are not those of the turns, each once and in order.
fn pieces(text: &str, turns: &[Turn]) -> Option<Vec<Piece>> {
    let mut parts = text.split(OPEN);
    let mut pieces: Vec<Piece> =
        parts.next().map(|begin| Piece::Frame(begin.to_owned())).into_iter().collect();
    let mut turns = turns.iter().enumerate();
    for part in parts {
        let (said, frame) = part.split_once(CLOSE)?;
        let (number, turn) = turns.next()?;
        if said != number.to_string() || frame.contains(CLOSE) {
            return None;
        }
        pieces.push(Piece::Words(turn.words.clone()));
        pieces.push(Piece::Frame(frame.to_owned()));
    }
    pieces.retain(|piece| !matches!(piece, Piece::Frame(text) | Piece::Words(text) if text.is_empty()));
    turns.next().is_none().then_some(pieces)
}

#[cfg(test)]
mod tests;
