//! The glossary: terms of pathology, the words they are known by, and what they mean.
//!
//! The shipped one is `assets/glossary.toml`; a user's own file, of the same form, changes its terms and adds others.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::LazyLock;

use reinpath_model::prose::words;
use serde::{Deserialize, Serialize};

const SHIPPED: &str = include_str!("../../../assets/glossary.toml");

static SHIPPED_GLOSSARY: LazyLock<Glossary> = LazyLock::new(|| {
    Glossary::new(
        read(SHIPPED).expect("the shipped glossary can be read, which a test checks"),
        &BTreeSet::new(),
    )
});

/// A term.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Term {
    pub name: String,
    /// Other words for it, with plurals and inflected forms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    pub meaning: String,
    /// The standard that defines it, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Whether every field has it, such as cells: two sentences do not rest on each other by it alone.
    #[serde(default, rename = "general", skip_serializing_if = "std::ops::Not::not")]
    pub is_general: bool,
}

/// A glossary's file.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    term: Vec<Term>,
}

/// Terms, and how they are found in a text.
#[derive(Clone, Debug)]
pub struct Glossary {
    terms: Vec<Term>,
    /// Words of each form in lower case and the term that it is of, by the first of these words; the longest first.
    forms: BTreeMap<String, Vec<(Vec<String>, usize)>>,
}

impl Default for Glossary {
    fn default() -> Self {
        Self::shipped()
    }
}

impl Glossary {
    /// The one that ships with the program.
    pub fn shipped() -> Self {
        SHIPPED_GLOSSARY.clone()
    }

    /// With the terms of a user's own file, TOML as in `assets/glossary.toml`: they replace those of the same name, and their words
    /// are theirs alone.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the text.
    pub fn with(self, own: &str) -> Result<Self, String> {
        Ok(self.with_terms(&read(own)?))
    }

    /// The same with terms that were read already.
    #[must_use]
    pub fn with_terms(self, own: &[Term]) -> Self {
        let mut terms = self.terms;
        let mut changed = BTreeSet::new();
        for term in own {
            let at = terms.iter().position(|known| is_same(&known.name, &term.name));
            changed.insert(at.unwrap_or(terms.len()));
            match at {
                Some(at) => terms[at] = term.clone(),
                None => terms.push(term.clone()),
            }
        }
        Self::new(terms, &changed)
    }

    /// `own` are the places of the user's terms.
    fn new(terms: Vec<Term>, own: &BTreeSet<usize>) -> Self {
        let mut owners: BTreeMap<Vec<String>, usize> = BTreeMap::new();
        // What comes later takes a form from what came before: the user's own terms are the last.
        for is_own in [false, true] {
            for (at, term) in terms.iter().enumerate().filter(|(at, _)| own.contains(at) == is_own) {
                for form in std::iter::once(&term.name).chain(&term.also) {
                    owners.insert(lower(form), at);
                }
            }
        }
        let mut forms: BTreeMap<String, Vec<(Vec<String>, usize)>> = BTreeMap::new();
        for (form, at) in owners {
            if let Some(first) = form.first().cloned() {
                forms.entry(first).or_default().push((form, at));
            }
        }
        for forms in forms.values_mut() {
            forms.sort_by_key(|(form, _)| std::cmp::Reverse(form.len()));
        }
        Self { terms, forms }
    }

    /// All terms; places of [`Self::found_in`] are places in this list.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// Bytes of each term in a text, and its place among the terms: whole words in any case, the longest form first, none inside
    /// another.
    pub fn found_in(&self, text: &str) -> Vec<(Range<usize>, usize)> {
        let words = Words::of(text);
        let mut found = Vec::new();
        let mut at = 0;
        while at < words.bytes.len() {
            match self.forms_at(&words, at).next() {
                Some((count, term)) => {
                    found.push((words.bytes[at].start..words.bytes[at + count - 1].end, term));
                    at += count;
                }
                None => at += 1,
            }
        }
        found
    }

    /// What a text is about: the terms in it, and those that one of them ends with (crowded glands are glands), but none that every
    /// field has.
    pub(super) fn meant_in(&self, text: &str) -> BTreeSet<usize> {
        let mut meant = BTreeSet::new();
        for (bytes, term) in self.found_in(text) {
            meant.insert(term);
            let words = Words::of(&text[bytes]);
            let count = words.bytes.len();
            for at in 1..count {
                let ends = self.forms_at(&words, at).filter(|(length, _)| at + length == count);
                meant.extend(ends.map(|(_, term)| term));
            }
        }
        meant.retain(|&term| !self.terms[term].is_general);
        meant
    }

    /// The forms that begin with a word of a text: how many words each has, and its term; the longest first.
    fn forms_at<'a>(&'a self, words: &'a Words<'_>, at: usize) -> impl Iterator<Item = (usize, usize)> + 'a {
        let forms = self.forms.get(&words.lower[at]).into_iter().flatten();
        forms.filter(move |(form, _)| words.has(form, at)).map(|(form, term)| (form.len(), *term))
    }
}

/// The words of a text.
struct Words<'a> {
    text: &'a str,
    bytes: Vec<Range<usize>>,
    lower: Vec<String>,
}

impl<'a> Words<'a> {
    fn of(text: &'a str) -> Self {
        let bytes = words(text);
        let lower = bytes.iter().map(|word| text[word.clone()].to_lowercase()).collect();
        Self { text, bytes, lower }
    }

    /// Whether a form stands here, with nothing but spaces, hyphens and slashes between its words.
    fn has(&self, form: &[String], at: usize) -> bool {
        let end = at + form.len();
        let is_joint = |c: char| c.is_whitespace() || matches!(c, '-' | '\u{2010}' | '\u{2011}' | '/');
        self.lower.get(at..end).is_some_and(|words| words == form)
            && self.bytes[at..end]
                .windows(2)
                .all(|pair| self.text[pair[0].end..pair[1].start].chars().all(is_joint))
    }
}

/// The words of a form in lower case.
fn lower(form: &str) -> Vec<String> {
    Words::of(form).lower
}

/// Whether two names are of one term.
pub fn is_same(a: &str, b: &str) -> bool {
    lower(a) == lower(b)
}

/// Whether the program ships a term of this name.
pub fn is_shipped(name: &str) -> bool {
    SHIPPED_GLOSSARY.terms.iter().any(|term| is_same(&term.name, name))
}

/// The terms of a glossary's file.
///
/// # Errors
/// A sentence that says what is wrong, and in which line.
pub fn read(text: &str) -> Result<Vec<Term>, String> {
    let file: File = toml::from_str(text).map_err(|error: toml::de::Error| {
        let line = error
            .span()
            .and_then(|span| text.get(..span.start))
            .map(|before| before.matches('\n').count() + 1);
        let place = line.map_or_else(String::new, |line| format!(" in line {line}"));
        format!("it is no glossary{place}, {}", error.message().replace('\n', " "))
    })?;
    for term in &file.term {
        check(term)?;
    }
    Ok(file.term)
}

/// Whether a term can be kept.
///
/// # Errors
/// A sentence that says what it lacks.
pub fn check(term: &Term) -> Result<(), String> {
    if lower(&term.name).is_empty() {
        return Err("a term needs a name with a letter or a digit".to_owned());
    }
    if term.meaning.trim().is_empty() {
        return Err(format!("the term “{}” needs a meaning", term.name));
    }
    match term.also.iter().find(|form| lower(form).is_empty()) {
        Some(form) => {
            Err(format!("“{form}”, another word for “{}”, has neither letter nor digit", term.name))
        }
        None => Ok(()),
    }
}

/// A glossary's file with these terms.
///
/// # Errors
/// A sentence, where they cannot be written as TOML.
pub fn to_text(terms: &[Term]) -> Result<String, String> {
    toml::to_string(&File { term: terms.to_vec() }).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn names<'a>(glossary: &'a Glossary, text: &'a str) -> Vec<(&'a str, &'a str)> {
        let found = glossary.found_in(text).into_iter();
        found.map(|(bytes, term)| (&text[bytes], glossary.terms()[term].name.as_str())).collect()
    }

    #[test]
    fn the_shipped_glossary_is_large_and_each_form_belongs_to_one_term() {
        let glossary = Glossary::shipped();
        assert!(glossary.terms().len() >= 150, "{}", glossary.terms().len());
        let mut owners: BTreeMap<Vec<String>, &str> = BTreeMap::new();
        for term in glossary.terms() {
            assert!(term.meaning.ends_with('.'), "{}", term.name);
            for form in std::iter::once(&term.name).chain(&term.also) {
                let before = owners.insert(lower(form), &term.name);
                assert!(
                    before.is_none_or(|other| other == term.name),
                    "{form}: {before:?} and {}",
                    term.name
                );
            }
        }
        for word in ["glands", "nests", "sheets", "mucin", "necrosis", "stroma", "mitoses", "pleomorphism"] {
            assert_eq!(glossary.found_in(word).len(), 1, "{word}");
        }
        assert_eq!(names(&glossary, "A lymphoid aggregate."), [("lymphoid aggregate", "lymphoid aggregate")]);
    }

    #[test]
    fn terms_are_whole_words_in_any_case_and_the_longest_first() {
        let glossary = Glossary::shipped();
        assert_eq!(
            names(&glossary, "NESTS of back-to-back glands, mitotic figures."),
            [("NESTS", "nest"), ("back-to-back glands", "crowded glands"), ("mitotic figures", "mitosis")]
        );
        assert!(names(&glossary, "Honest fathers, England, nestsof").is_empty(), "never inside a word");
        assert_eq!(
            names(&glossary, "a tumour, nests"),
            [("tumour", "tumour"), ("nests", "nest")],
            "a form does not reach over a comma"
        );
        assert!(names(&glossary, "").is_empty());
        let text = "Ödem: Größe, µm, 7,5 nests 🦀nuclei";
        assert_eq!(names(&glossary, text), [("nests", "nest"), ("nuclei", "nucleus")]);
    }

    #[test]
    fn what_a_text_is_about_leaves_out_what_every_field_has() {
        let glossary = Glossary::shipped();
        let meant = |text: &str| {
            let names = glossary.meant_in(text).into_iter().map(|at| glossary.terms()[at].name.clone());
            names.collect::<Vec<_>>()
        };
        assert!(meant("The cells of this tissue have nuclei.").is_empty());
        let crowded = meant("Irregular crowded glands.");
        assert!(crowded.contains(&"gland".to_owned()) && crowded.contains(&"crowded glands".to_owned()));
    }

    #[test]
    fn a_users_terms_replace_and_add() {
        let own = "[[term]]\nname = \"Mucin\"\nalso = [\"slime\", \"necrosis\"]\nmeaning = \"Mine.\"\n\n\
            [[term]]\nname = \"zebra body\"\nmeaning = \"New.\"\n";
        let shipped = Glossary::shipped();
        let count = shipped.terms().len();
        let glossary = shipped.with(own).unwrap();
        assert_eq!(glossary.terms().len(), count + 1);
        let found = names(&glossary, "Slime, zebra body, necrosis, mucinous.");
        assert_eq!(found, [("Slime", "Mucin"), ("zebra body", "zebra body"), ("necrosis", "Mucin")]);
        let text = to_text(&read(own).unwrap()).unwrap();
        assert_eq!(read(&text).unwrap(), read(own).unwrap(), "what is written is read again");
    }

    #[test]
    fn a_broken_file_is_refused_by_a_sentence() {
        let refused = |own: &str| Glossary::shipped().with(own).unwrap_err();
        assert!(refused("[[term]]\nname = \"a\"\nmeaning = 3\n").contains("line 3"));
        assert!(refused("[[term]]\nname = \"\"\nmeaning = \"x\"\n").contains("name"));
        assert!(refused("[[term]]\nname = \"a\"\nmeaning = \" \"\n").contains("meaning"));
        assert!(refused("[[term]]\nname = \"a\"\nmeaning = \"x\"\nalso = [\"…\"]\n").contains("neither"));
        assert!(refused("[[term]]\nname = \"a\"\nmeaning = \"x\"\nalias = []\n").contains("alias"));
    }

    #[test]
    fn an_answer_is_marked_without_delay() {
        let glossary = Glossary::shipped();
        let text = "Crowded glands with marked pleomorphism lie in a desmoplastic stroma. ".repeat(15);
        let begun = Instant::now();
        for _ in 0..20 {
            assert_eq!(glossary.found_in(&text).len(), 45);
        }
        // A millisecond each in what is released; tests run unoptimised, beside others.
        assert!(begun.elapsed().as_millis() < 400, "{:?}", begun.elapsed());
    }
}
