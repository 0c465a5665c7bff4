//! Names that an export does not tell, and a document without them: wherever a slide's file or its path was written, a sentence that an
//! error left behind or a comment, it says so no more.
//!
//! A name is found as a whole word, so that no hash and no other word is torn apart. What a person wrote otherwise (a patient's name in
//! a question) no program can know.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Document, Error};
use crate::review::Collection;

/// Shorter names are words like others.
const SHORTEST: usize = 4;
/// What stands in their place.
const HIDDEN: &str = "[hidden]";

/// Names of files and paths, the longest first.
pub(super) struct Names(Vec<String>);

impl Names {
    /// Every name that a collection has of its slides.
    pub(super) fn of(collection: &Collection) -> Self {
        let mut all = BTreeSet::new();
        for reviewed in &collection.reviewed {
            add(&mut all, &reviewed.case.slide.name);
            if let Some(path) = &reviewed.case.path {
                add(&mut all, &path.to_string_lossy());
            }
            let slide = reviewed.answer.stamp.as_ref().and_then(|stamp| stamp.slide.as_ref());
            if let Some(slide) = slide {
                add(&mut all, &slide.path);
            }
        }
        let mut names: Vec<String> = all.into_iter().collect();
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        Self(names)
    }

    /// The document without them.
    pub(super) fn hidden_in(&self, document: &Document) -> Result<Document, Error> {
        let failed = |error: serde_json::Error| Error::Content(error.to_string());
        let mut value = serde_json::to_value(document).map_err(failed)?;
        self.hide(&mut value);
        serde_json::from_value(value).map_err(failed)
    }

    fn hide(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                for name in &self.0 {
                    if let Some(hidden) = without(text, name) {
                        *text = hidden;
                    }
                }
            }
            Value::Array(list) => list.iter_mut().for_each(|value| self.hide(value)),
            Value::Object(table) => table.values_mut().for_each(|value| self.hide(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// A path, its file's name, and that without its ending where it has a digit, as the number of a case has.
fn add(all: &mut BTreeSet<String>, path: &str) {
    let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
    let is_number = stem.chars().any(|c| c.is_ascii_digit());
    for name in [Some(path), Some(name), Some(stem).filter(|_| is_number)].into_iter().flatten() {
        // A file that is called by a word alone names nobody, and the word may be one of the document's own.
        let is_word = !name.contains(|c: char| c.is_ascii_digit() || ['.', '/', '\\'].contains(&c));
        if name.chars().count() >= SHORTEST && !is_word {
            all.insert(name.to_owned());
        }
    }
}

/// A text with a name hidden wherever it stands as a whole word; `None` where it stands nowhere.
fn without(text: &str, name: &str) -> Option<String> {
    let is_edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    let mut hidden = String::new();
    let mut done = 0;
    for (at, said) in text.match_indices(name) {
        let end = at + said.len();
        if is_edge(text[..at].chars().next_back()) && is_edge(text[end..].chars().next()) {
            hidden += &text[done..at];
            hidden += HIDDEN;
            done = end;
        }
    }
    (done > 0).then(|| hidden + &text[done..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hidden_as_whole_words_only() {
        assert_eq!(
            without("at S26-1.svs, and S26-1.svs.", "S26-1.svs").unwrap(),
            "at [hidden], and [hidden]."
        );
        assert_eq!(without("beefcafe00", "cafe"), None, "a hash is not torn apart");
        assert_eq!(without("", "cafe"), None);
    }

    #[test]
    fn a_paths_parts_are_names_where_they_can_name_somebody() {
        let mut all = BTreeSet::new();
        add(&mut all, "/srv/anna/S26-104.ome.tiff");
        add(&mut all, "C:\\slides\\colon.svs");
        add(&mut all, "a.i");
        add(&mut all, "accepted");
        add(&mut all, "");
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let want = [
            "/srv/anna/S26-104.ome.tiff",
            "C:\\slides\\colon.svs",
            "S26-104",
            "S26-104.ome.tiff",
            "colon.svs",
        ];
        assert_eq!(all, want);
    }
}
